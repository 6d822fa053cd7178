/* SPDX-License-Identifier: MIT
 *
 * Events: each reaches the one who watches, whole, and in the order of its sender where that is claimed; many come at once, and
 * where they are counted one message stands for several; whoever watches closes or dies
 * and the senders are told. An event is as large as thirl_limits says, and here a number, so that the small ones of a mechanism do.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conform/conform.h"

static struct thirl_limits limits_of(thirl *end) {
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(end, &limits), 0);
    return limits;
}

static bool is_counted(const struct conform *c) {
    return strcmp(c->line->name, "sig") != 0;
}

/* One who tells all who watch; elsewhere anybody tells the one who watches. */
static bool is_hub(const struct conform *c) {
    return conform_claims(c).senders == 1;
}

/* One tells one, and each hears how the other has ended. */
static bool is_pair(const struct conform *c) {
    return conform_claims(c).senders == 1 && conform_claims(c).receivers == 1;
}

static int notify(thirl *end, uint32_t number, thirl_time until) {
    return thirl_send(end, &number, sizeof number, until);
}

static uint32_t watch(thirl *end) {
    uint32_t number = UINT32_MAX;
    size_t size = 0;
    must_be(thirl_recv(end, &number, sizeof number, &size, PATIENCE), 0);
    must_be(size, sizeof number);
    return number;
}

static const uint32_t numbers[] = {0, 1, 7, 0x12345678, 0x7ffffffe, 0x7fffffff};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static void tell_numbers(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (size_t i = 0; i < NUMBERS; i++) {
        must_be(notify(end, numbers[i], PATIENCE), 0); /* the first one waits for somebody who watches */
    }
    struct thirl_peer peer = {.size = sizeof peer};
    must_be(thirl_peer(end, &peer), 0);
    if (!conform_claims(c).cross_host) {
        must_be(peer.pid, c->stage);
        must(strstr(peer.exe, "event_test") != NULL);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_hear(stage);
}

static void events_arrive(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, tell_numbers);
    conform_sleep(50 * MS);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    unsigned came = 0;
    for (size_t i = 0; i < NUMBERS; i++) {
        uint32_t number = watch(end);
        if (limits_of(end).ordered) {
            must_be(number, numbers[i]);
        }
        for (size_t n = 0; n < NUMBERS; n++) {
            came |= number == numbers[n] ? 1u << n : 0;
        }
    }
    must_be(came, (1u << NUMBERS) - 1);
    struct thirl_peer sender = {.size = sizeof sender};
    if (is_counted(c) && !is_hub(c)) {
        must_be(thirl_peer(end, &sender), -ENOTCONN); /* whoever tells only counts up */
    } else if (!is_hub(c)) {                          /* there it has left by now */
        must_be(thirl_peer(end, &sender), 0);
        must_be(sender.pid, peer.pid);
    }
    if (is_pair(c)) {
        must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    } else {
        must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
        must_say("nothing arrived");
        must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(60)), -ETIMEDOUT);
    }
    conform_tell(&peer, 0);
    conform_join(&peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* It is refused, by name of the first; once that one has gone there may be another. */
static void a_second_notifier_is_refused(struct conform *c) {
    must(is_pair(c));
    thirl *in = conform_open(c, THIRL_WATCH, NULL), *first = conform_open(c, THIRL_NOTIFY, NULL), *second = NULL;
    must_be(notify(first, 1, PATIENCE), 0);
    must_be(watch(in), 1);
    int rc = thirl_open(&second, THIRL_NOTIFY, conform_address(c, 0, NULL), NULL);
    rc = rc == 0 ? notify(second, 2, thirl_in_ms(50)) : rc; /* at the door, where nobody is asked before that */
    must_be(rc, -EBUSY);
    must_say("pid");
    (void)!thirl_close(&second, THIRL_NOW);
    must_be(notify(first, 3, PATIENCE), 0);
    must_be(watch(in), 3);
    must_be(thirl_recv(in, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    must_be(thirl_close(&first, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
    second = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(thirl_close(&second, PATIENCE), 0);
}

static void what_is_no_event_is_refused(struct conform *c) {
    thirl *in = conform_open(c, THIRL_WATCH, NULL), *out = conform_open(c, THIRL_NOTIFY, NULL);
    struct thirl_limits limits = limits_of(out);
    static char data[64];
    must(limits.message_max >= 4 && limits.message_max < sizeof data && limits.sends == 1 && limits.receives == 0);
    must_be(limits.boundaries, 1);
    must_be(thirl_send(out, data, (size_t)limits.message_max + 1, PATIENCE), -EMSGSIZE);
    must_say("4 bytes");
    must_be(thirl_send(out, data, 0, PATIENCE), -EINVAL);
    must_be(thirl_send(out, data, 3, PATIENCE), -EINVAL);
    must_be(notify(out, 0x80000000, PATIENCE), -EINVAL);
    must_say("31 bits");
    thirl_msg *msg = NULL;
    must_be(thirl_loan(out, &msg, (size_t)limits.message_max + 1, PATIENCE), -EMSGSIZE);
    must_be(thirl_recv(out, data, 4, NULL, THIRL_NOW), -THIRL_EROLE);
    must_be(notify(in, 1, THIRL_NOW), -THIRL_EROLE);
    must_be(notify(out, 5, PATIENCE), 0);
    size_t size = 0;
    must_be(thirl_recv(in, data, 3, &size, PATIENCE), -EMSGSIZE); /* and it stays */
    must_be(size, 4);
    must_be(watch(in), 5);
    must_be(thirl_loan(out, &msg, 4, PATIENCE), 0);
    memcpy(thirl_msg_data(msg), &(uint32_t){6}, 4);
    must_be(thirl_put(out, &msg, PATIENCE), 0);
    must_be(thirl_take(in, &msg, PATIENCE), 0);
    must(thirl_msg_size(msg) == 4 && *(uint32_t *)thirl_msg_data(msg) == 6);
    thirl_free(&msg);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

/* ---- a storm ---- */

#define SENDERS 4
#define EACH 5000u

static void storm(const struct conform *c, struct peer *stage) {
    uint32_t sender = (uint32_t)conform_hear(stage), each = conform_many(c, EACH);
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (uint32_t i = 0; i < each; i++) {
        must_be(notify(end, sender << 24 | i, PATIENCE), 0);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_storm_arrives(struct conform *c) {
    struct peer peer[SENDERS];
    uint32_t next[SENDERS] = {0}, each = conform_many(c, EACH);
    const unsigned senders = is_hub(c) ? 1 : SENDERS;
    for (unsigned i = 0; i < senders; i++) {
        conform_start(&peer[i], c, storm);
    }
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    must_be(limits_of(end).reliable, 1);
    must_be(limits_of(end).ordered, !is_counted(c));
    for (unsigned i = 0; i < senders; i++) {
        conform_tell(&peer[i], i);
    }
    uint8_t *seen = calloc(SENDERS, EACH);
    bool ordered = limits_of(end).ordered;
    must(seen != NULL);
    for (uint32_t i = 0; i < senders * each; i++) {
        uint32_t number = watch(end), sender = number >> 24, count = number & 0xffffff;
        must(sender < senders && count < each);
        must_be(seen[sender * EACH + count]++, 0);
        if (ordered) {
            must_be(count, next[sender]);
        }
        next[sender]++;
    }
    free(seen);
    int rc = thirl_recv(end, NULL, 0, NULL, THIRL_NOW);
    must(rc == -EAGAIN || (is_pair(c) && rc == -THIRL_ECLOSED));
    for (unsigned i = 0; i < senders; i++) {
        conform_join(&peer[i]);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- waiting ---- */

static void tell_on_word(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (uint64_t number; (number = conform_hear(stage)) != UINT64_MAX;) {
        must_be(notify(end, (uint32_t)number, PATIENCE), 0);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void descriptor_tells_of_an_event(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, tell_on_word);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    struct pollfd polled = {.fd = thirl_fd(end), .events = POLLIN};
    must(polled.fd >= 0);
    for (uint32_t i = 0; i < 20; i++) {
        /* Once too often, while they meet or by a tick. */
        for (int tries = 0; tries < 3 && poll(&polled, 1, 0) == 1; tries++) {
            must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
        }
        must_be(poll(&polled, 1, 0), 0);
        conform_tell(&peer, i);
        must_be(poll(&polled, 1, 10000), 1);
        must_be(watch(end), i);
    }
    conform_tell(&peer, UINT64_MAX);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void nobody_who_watches_is_waited_for(struct conform *c) {
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(notify(out, 1, THIRL_NOW), -EAGAIN);
    int64_t before = conform_now();
    must_be(notify(out, 1, thirl_in_ms(80)), -ETIMEDOUT);
    must_say("nobody");
    must(conform_now() - before >= 79 * MS);
    must_be(thirl_close(&out, PATIENCE), 0);
}

static void one_watches(struct conform *c) {
    if (is_hub(c)) {
        conform_skip("many watch there");
    }
    thirl *end = conform_open(c, THIRL_WATCH, NULL), *other = NULL;
    must_be(limits_of(end).receivers, 1);
    must_be(thirl_open(&other, THIRL_WATCH, conform_address(c, 0, NULL), NULL), -EBUSY);
    /* sig:// carries nothing else, and this channel of shm:// does not either. */
    must_be(thirl_open(&other, THIRL_PAIR, conform_address(c, is_counted(c) ? 0 : 1, NULL), NULL), -THIRL_EROLE);
    must_be(thirl_open(&other, THIRL_WATCH, conform_address(c, 1, NULL), NULL),
            0); /* another channel is another matter */
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(notify(out, 3, PATIENCE), 0);
    must_be(watch(end), 3);
    must_be(thirl_recv(other, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&other, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(notify(out, 4, PATIENCE), -THIRL_ECLOSED);
    must_say("closed");
    must_be(notify(out, 4, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&out, PATIENCE), 0);
    end = conform_open(c, THIRL_WATCH, NULL); /* again, and nothing is left of before */
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    out = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(notify(out, 5, PATIENCE), 0);
    must_be(watch(end), 5);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- death ---- */

static void watch_until_death(const struct conform *c, struct peer *stage) {
    struct conform own = *c;
    own.stage = getpid();
    thirl *end = conform_open(&own, THIRL_WATCH, NULL);
    conform_tell(stage, 0);
    must_be(watch(end), 1);
    conform_tell(stage, 0);
    (void)pause();
}

static void death_of_the_watcher_is_told(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, watch_until_death);
    conform_hear(&peer);
    struct conform there = *c;
    there.stage = peer.pid;
    thirl *out = conform_open(&there, THIRL_NOTIFY, NULL);
    must_be(notify(out, 1, PATIENCE), 0);
    conform_hear(&peer);
    must_be(notify(out, 2, PATIENCE), 0); /* waits, and dies with it */
    conform_kill(&peer);
    int rc = 0;
    for (int64_t until = conform_now() + 10000 * MS; rc == 0 && conform_now() < until;) {
        rc = notify(out, 3, PATIENCE);
    }
    must_be(rc, -THIRL_EPEERDIED);
    if (!conform_claims(c).cross_host) {
        must_say("pid ");
    }
    must_be(notify(out, 4, thirl_in_ms(60)), -ETIMEDOUT); /* told once */
    rc = thirl_close(&out, PATIENCE);
    must(rc == 0 || (is_pair(c) && rc > 0)); /* where it is known what the dead one had not taken */
}

/* A sender that dies harms nobody: what it had sent is there. */
static void notify_and_die(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    unsigned some =
        is_pair(c) ? 5 : 10; /* what waits for room, and a queue may have it for ten, is gone with this one */
    for (uint32_t i = 0; i < some; i++) {
        must_be(notify(end, i, PATIENCE), 0);
    }
    conform_tell(stage, some);
    (void)pause();
}

static void death_of_a_sender_loses_nothing(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, notify_and_die);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -EMSGSIZE); /* they have met */
    uint64_t some = conform_hear(&peer);
    conform_kill(&peer);
    unsigned came = 0;
    for (uint32_t i = 0; i < some; i++) {
        uint32_t number = watch(end);
        must(number < some && (number == i || is_counted(c)));
        came |= 1u << number;
    }
    must_be(came, (1u << some) - 1);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- killed anywhere ---- */

static const char *const sig_points[] = {"catch.take.handler",  "sig.join.before",  "roll.begin.locked",
                                         "roll.finish.renamed", "sig.throw.before", "sig.close.between",
                                         "roll.leave.file",     "roll.leave.told",  "catch.herd.before"};

static unsigned lot;

/* Lets every signal through, so that it has to be made to block one. */
static void *idle(void *nothing) {
    for (;;) {
        (void)pause();
    }
    return nothing;
}

static void take_part(const struct conform *c, struct peer *stage) {
    char order[64];
    pthread_t thread;
    struct conform own = *c;
    own.stage = getpid();
    (void)snprintf(order, sizeof order, "%s:%u:kill", sig_points[lot / 2], 1 + lot % 2);
    must_be(pthread_create(&thread, NULL, idle, NULL), 0);
    (void)setenv("THIRL_WEAVE_AT", order, 1);
    thirl *in = conform_open(&own, THIRL_WATCH, NULL), *out = conform_open(&own, THIRL_NOTIFY, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        must_be(notify(out, i, PATIENCE), 0);
        must_be(watch(in), i);
    }
    must_be(thirl_close(&in, PATIENCE), 0);
    must_be(thirl_close(&out, PATIENCE), 0);
    conform_tell(stage, 0);
}

static void any_point_may_kill(struct conform *c) {
    for (lot = 0; lot < 2 * sizeof sig_points / sizeof *sig_points; lot++) {
        struct peer peer;
        conform_start(&peer, c, take_part);
        struct pollfd polled = {.fd = peer.wire, .events = POLLIN};
        must_be(poll(&polled, 1, 20000), 1);
        conform_kill(&peer);
    }
    thirl *end = conform_open(c, THIRL_WATCH, NULL); /* what the dead have left goes with the next one who opens */
    must_be(thirl_close(&end, PATIENCE), 0);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/chan", c->registry);
    must_be(conform_lines_of(path), 0);
}

/* ---- counted events ---- */

/* Takes one, and how often it was told. */
static uint32_t take_counted(thirl *end, uint64_t *times, thirl_time until) {
    thirl_msg *msg = NULL;
    uint32_t number = UINT32_MAX;
    int rc = thirl_take(end, &msg, until);
    *times = 0;
    if (rc == 0) {
        must_be(thirl_msg_size(msg), sizeof number);
        memcpy(&number, thirl_msg_data(msg), sizeof number);
        *times = thirl_msg_times(msg);
        thirl_free(&msg);
    } else {
        must(rc == -EAGAIN || rc == -ETIMEDOUT);
    }
    return number;
}

#define STORM 250000u /* of each of four */
#define EVENTS 5u

static void tell_the_same(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (uint32_t i = 0; i < conform_many(c, STORM); i++) {
        must_be(notify(end, i % EVENTS, PATIENCE), 0);
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
        uint32_t number = take_counted(end, &times, PATIENCE);
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
    uint32_t most = (uint32_t)limits_of(in).queue_messages;
    for (uint32_t i = 0; i < most; i++) {
        must_be(at_once(c, notify(out, i * 3, THIRL_NOW)), 0);
    }
    must_be(notify(out, 1, THIRL_NOW), -EAGAIN);
    must_say("?queue=");
    must_be(notify(out, 1, thirl_in_ms(60)), -ETIMEDOUT);
    must_be(at_once(c, notify(out, 3, THIRL_NOW)), 0); /* that one has a word */
    must(most != 0);
    uint8_t *came = calloc(most, 1);
    must(came != NULL);
    for (uint32_t i = 0; i < most; i++) {
        uint64_t times;
        uint32_t number = take_counted(in, &times, PATIENCE);
        must(number % 3 == 0 && number / 3 < most && came[number / 3]++ == 0);
        must_be(times, number == 3 ? 2 : 1);
    }
    free(came);
    must_be(notify(out, 1, PATIENCE), 0);
    must_be(watch(in), 1);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

struct tale { /* in memory that all share */
    uint64_t told, taken, lost;
};

static struct tale *tale;

static const char *const notifier_points[] = {"tally.add.before",   "tally.add.after",    "tally.wake.before",
                                              "tally.wake.between", "tally.grant.before", "event.ring.before"};
static const char *const watcher_points[] = {"tally.take.before", "tally.wish.shown"};
static const char *const joiner_points[] = {"tally.make.created", "tally.make.before", "event.join.before",
                                            "event.close.before"};

static void order_death(const char *point, unsigned pass) {
    char order[64];
    (void)snprintf(order, sizeof order, "%s:%u:kill", point, pass);
    (void)setenv("THIRL_WEAVE_AT", order, 1);
}

static void tell_until_killed(const struct conform *c, struct peer *stage) {
    (void)stage;
    order_death(notifier_points[lot / 3], 1 + lot % 3 * 5);
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (uint32_t i = 0;; i++) {
        must_be(notify(end, 7, PATIENCE), 0);
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
                (void)take_counted(end, &times, thirl_in_ms(2));
            } else {
                must(poll(polled, 2, 20000) > 0);
                (void)take_counted(end, &times, THIRL_NOW);
            }
            got += times;
            (void)poll(polled, 1, 0);
        }
        conform_kill(&peer);
        while (take_counted(end, &times, thirl_in_ms(150)) != UINT32_MAX) {
            got += times;
        }
        must(got >= tale->told && got <= tale->told + 1);
        must_be(thirl_close(&end, PATIENCE), 0);
    }
}

static void watch_until_killed(const struct conform *c, struct peer *stage) {
    (void)stage;
    order_death(watcher_points[lot % 2], 1 + lot / 2 * 3);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    for (;;) {
        uint64_t times;
        (void)take_counted(end, &times, PATIENCE);
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
            rc = notify(out, i % 4, thirl_in_ms(500));
            told += rc == 0;
            conform_sleep(MS / 2);
        }
        must(rc == -THIRL_EPEERDIED || (rc == -ETIMEDOUT && told == 0)); /* it may die before they meet */
        conform_kill(&peer);
        thirl *end = conform_open(c, THIRL_WATCH, NULL);
        must_be(notify(out, 9, PATIENCE), 0);
        uint64_t got = 0;
        while (take_counted(end, &times, thirl_in_ms(20)) != UINT32_MAX) {
            got += times;
        }
        must_be(got + tale->taken, told + 1);
        must_be(thirl_close(&end, PATIENCE), 0);
        must_be(thirl_close(&out, PATIENCE), 0);
    }
}

static void join_until_killed(const struct conform *c, struct peer *stage) {
    order_death(joiner_points[lot], 1);
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
        must_be(notify(out, 1, PATIENCE), 0);
        must_be(watch(in), 1);
        must_be(thirl_close(&in, PATIENCE), 0);
        must_be(thirl_close(&out, PATIENCE), 0);
        char path[256];
        (void)snprintf(path, sizeof path, "%s/chan", c->registry);
        must_be(conform_lines_of(path), 0);
    }
}

/* ---- over a pair ---- */

static void tell_too_much(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(notify(end, 1, PATIENCE), 0);
    conform_hear(stage);
    uint64_t told = 0;
    for (; told < 20000; told++) {
        must_be(at_once(c, notify(end, (uint32_t)(told % EVENTS), THIRL_NOW)), 0); /* a full pair makes nobody wait */
    }
    conform_tell(stage, told);
    must_be(thirl_close(&end, PATIENCE), 0); /* and what waits leaves here */
}

static void what_finds_no_room_is_counted(struct conform *c) {
    struct peer peer;
    uint64_t told[EVENTS] = {0}, sum = 0, times, messages = 0;
    conform_start(&peer, c, tell_too_much);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    must_be(watch(end), 1);
    conform_tell(&peer, 0);
    uint64_t all = conform_hear(&peer);
    while (sum < all) {
        uint32_t number = take_counted(end, &times, PATIENCE);
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
    conform_start(&peer, c, watch_until_death);
    conform_hear(&peer);
    struct conform there = *c;
    there.stage = peer.pid;
    thirl *out = conform_open(&there, THIRL_NOTIFY, NULL);
    must_be(notify(out, 1, PATIENCE), 0);
    conform_hear(&peer);
    int rc = 0;
    uint32_t n = 0;
    while ((rc = at_once(c, notify(out, n, THIRL_NOW))) == 0 && n < 1000000) {
        n++;
    }
    must_be(rc, -EAGAIN);
    must(n >= limits_of(out).queue_messages);
    must_be(notify(out, n, thirl_in_ms(60)), -ETIMEDOUT);
    must_say("?queue=");
    must_be(at_once(c, notify(out, n - 1, THIRL_NOW)), 0); /* that one has its place */
    conform_kill(&peer);
    must(thirl_close(&out, PATIENCE) != 0);
}

/* Killed around each telling: what was told is there once, or, what was being told, not. */
static const char *const pair_points[] = {"knell.tell.before", "knell.tell.after", "knell.count.after"};

static void tell_a_pair_until_killed(const struct conform *c, struct peer *stage) {
    (void)stage;
    order_death(pair_points[lot / 3], 2 + lot % 3 * 700);
    thirl *end = conform_open(c, THIRL_NOTIFY, "queue=4K");
    for (;;) {
        must_be(notify(end, 7, PATIENCE), 0);
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
    must_be(notify(out, 1, PATIENCE), 0);
    int64_t least = INT64_MAX, each = conform_many(c, 1000);
    for (int round = 0; round < 200; round++) { /* short ones: nobody else was there in one of them */
        int64_t began = conform_now();
        for (int64_t i = 0; i < each; i++) {
            must_be(at_once(c, notify(out, 1, THIRL_NOW)), 0);
        }
        int64_t took = conform_now() - began;
        least = took < least ? took : least;
    }
    printf("a notification takes %lld ns\n", (long long)(least / each));
    must(conform_sanitized() || c->with[0] != '\0' || least / each < 150);
    uint64_t times;
    must_be(take_counted(in, &times, PATIENCE), 1);
    must_be(times, 200 * each + 1);
    must_be(thirl_close(&in, PATIENCE), 0);
    must_be(thirl_close(&out, PATIENCE), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(events_arrive, CONFORM_EVENT),
        CONFORM_FOR(what_is_no_event_is_refused, CONFORM_EVENT),
        CONFORM_ONLY(a_second_notifier_is_refused, "tell-"),
        CONFORM_FOR(a_storm_arrives, CONFORM_EVENT),
        CONFORM_FOR(descriptor_tells_of_an_event, CONFORM_EVENT),
        CONFORM_FOR(nobody_who_watches_is_waited_for, CONFORM_EVENT),
        CONFORM_FOR(one_watches, CONFORM_EVENT),
        CONFORM_FOR(death_of_the_watcher_is_told, CONFORM_EVENT),
        CONFORM_FOR(death_of_a_sender_loses_nothing, CONFORM_EVENT),
        CONFORM_ONLY(any_point_may_kill, "sig"),
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
