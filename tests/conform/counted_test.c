/* SPDX-License-Identifier: MIT
 *
 * Events that are counted: where one is told again before it is taken, or finds no room, one message stands for several; who is killed on
 * either side loses none of those that were told, and none comes that was not.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conform/event.h"

#define SENDERS 4
#define STORM 250000u /* of each of four */
#define EVENTS 5u

static void tell_the_same(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (uint32_t i = 0; i < conform_many(c, STORM); i++) {
        must_be(event_notify(end, i % EVENTS, PATIENCE), 0);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void what_is_told_again_is_counted(struct conform *c) {
    struct peer peer[SENDERS];
    uint64_t told[EVENTS] = {0}, sum = 0, times, messages = 0;
    for (int i = 0; i < SENDERS; i++) {
        conform_start(&peer[i], c, tell_the_same);
    }
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    for (int i = 0; i < SENDERS; i++) {
        conform_tell(&peer[i], 0);
    }
    uint64_t all = SENDERS * (uint64_t)conform_many(c, STORM);
    while (sum < all) {
        uint32_t number = event_take(end, &times, PATIENCE);
        must(number < EVENTS && times > 0);
        told[number] += times;
        sum += times;
        messages++;
    }
    must(messages <= all);
    for (uint32_t i = 0; i < EVENTS; i++) {
        must_be(told[i], all / EVENTS);
    }
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    for (int i = 0; i < SENDERS; i++) {
        conform_join(&peer[i]);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_full_table_waits(struct conform *c) {
    thirl *in = conform_open(c, THIRL_WATCH, NULL), *out = conform_open(c, THIRL_NOTIFY, NULL);
    uint32_t most = (uint32_t)conform_limits(in).queue_messages;
    for (uint32_t i = 0; i < most; i++) {
        must_be(at_once(c, event_notify(out, i * 3, THIRL_NOW)), 0);
    }
    must_be(event_notify(out, 1, THIRL_NOW), -EAGAIN);
    must_say("?queue=");
    must_be(event_notify(out, 1, thirl_in_ms(60)), -ETIMEDOUT);
    must_be(at_once(c, event_notify(out, 3, THIRL_NOW)), 0); /* that one has a word */
    must(most != 0);
    uint8_t *came = calloc(most, 1);
    must(came != NULL);
    for (uint32_t i = 0; i < most; i++) {
        uint64_t times;
        uint32_t number = event_take(in, &times, PATIENCE);
        must(number % 3 == 0 && number / 3 < most && came[number / 3]++ == 0);
        must_be(times, number == 3 ? 2 : 1);
    }
    free(came);
    must_be(event_notify(out, 1, PATIENCE), 0);
    must_be(event_watch(in), 1);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

struct tale { /* in memory that all share */
    uint64_t told, taken, lost;
};

static struct tale *tale;
static unsigned lot;

static const char *const notifier_points[] = {"tally.add.before",   "tally.add.after",    "tally.wake.before",
                                              "tally.wake.between", "tally.grant.before", "event.ring.before"};
static const char *const watcher_points[] = {"tally.take.before", "tally.wish.shown"};
static const char *const joiner_points[] = {"tally.make.created", "tally.make.before", "event.join.before",
                                            "event.close.before"};

static void tell_until_killed(const struct conform *c, struct peer *stage) {
    (void)stage;
    conform_die_at(notifier_points[lot / 3], 1 + lot % 3 * 5);
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (uint32_t i = 0;; i++) {
        must_be(event_notify(end, 7, PATIENCE), 0);
        tale->told++;
        conform_sleep(i % 2 * MS);
    }
}

static void share_a_tale(void) {
    tale = mmap(NULL, sizeof *tale, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(tale != MAP_FAILED);
}

/* Whatever a notifier has told is there once, and what it was about to tell at most once. */
static void killed_notifiers_lose_nothing(struct conform *c) {
    share_a_tale();
    for (lot = 0; lot < 3 * sizeof notifier_points / sizeof *notifier_points; lot++) {
        struct peer peer;
        uint64_t got = 0, times;
        *tale = (struct tale){0};
        conform_start(&peer, c, tell_until_killed);
        thirl *end = conform_open(c, THIRL_WATCH, NULL);
        struct pollfd polled[] = {{.fd = peer.wire, .events = POLLIN}, {.fd = thirl_fd(end), .events = POLLIN}};
        for (bool sleeps = false; (polled[0].revents & POLLHUP) == 0; sleeps = !sleeps) {
            if (sleeps) {
                (void)event_take(end, &times, thirl_in_ms(2));
            } else {
                must(poll(polled, 2, 20000) > 0);
                (void)event_take(end, &times, THIRL_NOW);
            }
            got += times;
            (void)poll(polled, 1, 0);
        }
        conform_kill(&peer);
        while (event_take(end, &times, thirl_in_ms(150)) != UINT32_MAX) {
            got += times;
        }
        must(got >= tale->told && got <= tale->told + 1);
        must_be(thirl_close(&end, PATIENCE), 0);
    }
}

static void watch_until_killed(const struct conform *c, struct peer *stage) {
    (void)stage;
    conform_die_at(watcher_points[lot % 2], 1 + lot / 2 * 3);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    for (;;) {
        uint64_t times;
        (void)event_take(end, &times, PATIENCE);
        tale->taken += times;
    }
}

/* What a watcher had not taken when it died is there for the next one. */
static void killed_watchers_lose_nothing(struct conform *c) {
    share_a_tale();
    for (lot = 0; lot < 8; lot++) {
        struct peer peer;
        uint64_t told = 0, times;
        *tale = (struct tale){0};
        conform_start(&peer, c, watch_until_killed);
        thirl *out = conform_open(c, THIRL_NOTIFY, NULL);
        int rc = 0;
        for (uint32_t i = 0; rc == 0; i++) {
            rc = event_notify(out, i % 4, thirl_in_ms(500));
            told += rc == 0;
            conform_sleep(MS / 2);
        }
        must(rc == -THIRL_EPEERDIED || (rc == -ETIMEDOUT && told == 0)); /* it may die before they meet */
        conform_kill(&peer);
        thirl *end = conform_open(c, THIRL_WATCH, NULL);
        must_be(event_notify(out, 9, PATIENCE), 0);
        uint64_t got = 0;
        while (event_take(end, &times, thirl_in_ms(20)) != UINT32_MAX) {
            got += times;
        }
        must_be(got + tale->taken, told + 1);
        must_be(thirl_close(&end, PATIENCE), 0);
        must_be(thirl_close(&out, PATIENCE), 0);
    }
}

static void join_until_killed(const struct conform *c, struct peer *stage) {
    conform_die_at(joiner_points[lot], 1);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_tell(stage, 0);
}

static void killed_joiners_leave_nothing(struct conform *c) {
    for (lot = 0; lot < sizeof joiner_points / sizeof *joiner_points; lot++) {
        struct peer peer;
        conform_start(&peer, c, join_until_killed);
        struct pollfd polled = {.fd = peer.wire, .events = POLLIN};
        must_be(poll(&polled, 1, 20000), 1);
        must_be(polled.revents & POLLHUP, POLLHUP);
        conform_kill(&peer);
        thirl *in = conform_open(c, THIRL_WATCH, NULL), *out = conform_open(c, THIRL_NOTIFY, NULL);
        must_be(event_notify(out, 1, PATIENCE), 0);
        must_be(event_watch(in), 1);
        must_be(thirl_close(&in, PATIENCE), 0);
        must_be(thirl_close(&out, PATIENCE), 0);
        must_be(conform_channels(c), 0);
    }
}

/* ---- over a pair ---- */

static void tell_too_much(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(event_notify(end, 1, PATIENCE), 0);
    conform_hear(stage);
    uint64_t told = 0;
    for (; told < 20000; told++) {
        must_be(at_once(c, event_notify(end, (uint32_t)(told % EVENTS), THIRL_NOW)),
                0); /* a full pair makes nobody wait */
    }
    conform_tell(stage, told);
    must_be(thirl_close(&end, PATIENCE), 0); /* and what waits leaves here */
}

static void what_finds_no_room_is_counted(struct conform *c) {
    struct peer peer;
    uint64_t told[EVENTS] = {0}, sum = 0, times, messages = 0;
    conform_start(&peer, c, tell_too_much);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    must_be(event_watch(end), 1);
    conform_tell(&peer, 0);
    uint64_t all = conform_hear(&peer);
    while (sum < all) {
        uint32_t number = event_take(end, &times, PATIENCE);
        must(number < EVENTS && times > 0);
        told[number] += times;
        sum += times;
        messages++;
    }
    must(messages < all);
    for (uint32_t i = 0; i < EVENTS; i++) {
        must_be(told[i], all / EVENTS);
    }
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    conform_join(&peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void too_many_different_wait(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, event_watch_until_death);
    conform_hear(&peer);
    struct conform there = *c;
    there.stage = peer.pid;
    thirl *out = conform_open(&there, THIRL_NOTIFY, NULL);
    must_be(event_notify(out, 1, PATIENCE), 0);
    conform_hear(&peer);
    int rc = 0;
    uint32_t n = 0;
    while ((rc = at_once(c, event_notify(out, n, THIRL_NOW))) == 0 && n < 1000000) {
        n++;
    }
    must_be(rc, -EAGAIN);
    must(n >= conform_limits(out).queue_messages);
    must_be(event_notify(out, n, thirl_in_ms(60)), -ETIMEDOUT);
    must_say("?queue=");
    must_be(at_once(c, event_notify(out, n - 1, THIRL_NOW)), 0); /* that one has its place */
    conform_kill(&peer);
    must(thirl_close(&out, PATIENCE) != 0);
}

/* Killed around each telling: what was told is there once, or, what was being told, not. */
static const char *const pair_points[] = {"knell.tell.before", "knell.tell.after", "knell.count.after"};

static void tell_a_pair_until_killed(const struct conform *c, struct peer *stage) {
    (void)stage;
    conform_die_at(pair_points[lot / 3], 2 + lot % 3 * 700);
    thirl *end = conform_open(c, THIRL_NOTIFY, "queue=4K");
    for (;;) {
        must_be(event_notify(end, 7, PATIENCE), 0);
        tale->told++;
    }
}

static void killed_notifiers_tell_no_lies(struct conform *c) {
    share_a_tale();
    for (lot = 0; lot < 3 * sizeof pair_points / sizeof *pair_points; lot++) {
        struct peer peer;
        uint64_t got = 0, times;
        *tale = (struct tale){0};
        conform_start(&peer, c, tell_a_pair_until_killed);
        thirl *end = conform_open(c, THIRL_WATCH, "queue=4K");
        for (int rc = 0; rc == 0;) {
            thirl_msg *msg = NULL;
            rc = thirl_take(end, &msg, tale->told == 0 ? thirl_in_ms(1000) : PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED || (rc == -ETIMEDOUT && tale->told == 0)); /* before they met */
            times = rc == 0 ? thirl_msg_times(msg) : 0;
            must(rc != 0 || *(uint32_t *)thirl_msg_data(msg) == 7);
            got += times;
            thirl_free(&msg);
            if (lot / 3 == 2 && got == 1) {
                conform_sleep(20 * MS); /* so that it fills */
            }
        }
        must(got <= tale->told + 1); /* what waited at the dead one is gone with it */
        conform_kill(&peer);
        must_be(thirl_close(&end, PATIENCE), 0);
    }
}

/* No system call while nobody sleeps: told from its price, which a wake-up would multiply. */
static void telling_is_cheap(struct conform *c) {
    thirl *in = conform_open(c, THIRL_WATCH, NULL), *out = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(event_notify(out, 1, PATIENCE), 0);
    int64_t least = INT64_MAX, each = conform_many(c, 1000);
    for (int round = 0; round < 200; round++) { /* short ones: nobody else was there in one of them */
        int64_t began = conform_now();
        for (int64_t i = 0; i < each; i++) {
            must_be(at_once(c, event_notify(out, 1, THIRL_NOW)), 0);
        }
        int64_t took = conform_now() - began;
        least = took < least ? took : least;
    }
    printf("a notification takes %lld ns\n", (long long)(least / each));
    must(conform_sanitized() || c->with[0] != '\0' || least / each < 150);
    uint64_t times;
    must_be(event_take(in, &times, PATIENCE), 1);
    must_be(times, 200 * each + 1);
    must_be(thirl_close(&in, PATIENCE), 0);
    must_be(thirl_close(&out, PATIENCE), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_ONLY(what_is_told_again_is_counted, "shm-event"),
        CONFORM_ONLY(a_full_table_waits, "shm-event"),
        CONFORM_ONLY(killed_notifiers_lose_nothing, "shm-event"),
        CONFORM_ONLY(killed_watchers_lose_nothing, "shm-event"),
        CONFORM_ONLY(killed_joiners_leave_nothing, "shm-event"),
        CONFORM_ONLY(telling_is_cheap, "shm-event"),
        CONFORM_ONLY(what_finds_no_room_is_counted, "tell-"),
        CONFORM_ONLY(too_many_different_wait, "tell-"),
        CONFORM_ONLY(killed_notifiers_tell_no_lies, "tell-"),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
