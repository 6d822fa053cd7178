/* SPDX-License-Identifier: MIT
 *
 * Events over connections: one who tells, any number who watch. What a watcher does not read is counted by event and reaches it whole, however
 * long it sleeps; who comes late hears what is told from then on; who dies takes only its own with it. And whoever is killed
 * anywhere leaves the others whole.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conform/event.h"

#define EVENTS 5u
#define WATCHERS 3

/* Takes one, and how often it was told; 0 times: none came, or it ended. */
static uint32_t take(thirl *end, uint64_t *times, thirl_time until) {
    thirl_msg *msg = NULL;
    uint32_t number = UINT32_MAX;
    *times = 0;
    if (thirl_take(end, &msg, until) == 0) {
        must_be(thirl_msg_size(msg), sizeof number);
        memcpy(&number, thirl_msg_data(msg), sizeof number);
        *times = thirl_msg_times(msg);
        must(*times > 0);
        thirl_free(&msg);
    }
    return number;
}

static void meet(thirl *out, thirl *in) {
    uint64_t times;
    must_be(event_notify(out, 0, PATIENCE), 0);
    must_be(take(in, &times, PATIENCE), 0);
    must_be(times, 1);
}

/* Of the table that the notifier has for each. */
static uint32_t table_of(thirl *end) {
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(end, &limits), 0);
    must(limits.senders == 1 && limits.receivers == 0 && limits.reliable == 1 && limits.ordered == 0);
    return (uint32_t)limits.queue_messages;
}

#define STORM 120000u

/* More than any socket takes: the rest is counted, and none of it is lost. */
static void what_is_not_read_is_counted(struct conform *c) {
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL), *in = conform_open(c, THIRL_WATCH, NULL);
    meet(out, in);
    for (uint32_t i = 0; i < STORM; i++) {
        must_be(at_once(c, event_notify(out, i % EVENTS, THIRL_NOW)), 0);
    }
    uint64_t told[EVENTS] = {0}, sum = 0, times, messages = 0;
    while (sum < STORM) {
        uint32_t number = take(in, &times, thirl_in_ms(1));
        must(number < EVENTS || times == 0);
        if (times == 0) { /* the rest leaves when the notifier looks again */
            struct thirl_want want = {.end = out, .wanted = THIRL_WANT_ROOM};
            must_be(thirl_wait(&want, 1, PATIENCE), 1);
            continue;
        }
        told[number] += times;
        sum += times;
        messages++;
    }
    for (uint32_t i = 0; i < EVENTS; i++) {
        must_be(told[i], STORM / EVENTS);
    }
    printf("%u events came as %llu messages\n", STORM, (unsigned long long)messages);
    must(messages < STORM / 2);
    must_be(thirl_recv(in, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

/* Fills the socket and leaves something in the table: how many were told. */
static uint32_t fill(const struct conform *c, thirl *out, uint32_t event) {
    for (uint32_t i = 0; i < STORM; i++) {
        must_be(at_once(c, event_notify(out, event, THIRL_NOW)), 0);
    }
    return STORM;
}

static uint64_t drain(thirl *in, uint32_t event, thirl_time until) {
    uint64_t sum = 0, times;
    for (uint32_t number; (number = take(in, &times, until)) != UINT32_MAX;) {
        must_be(number, event);
        sum += times;
        until = thirl_in_ms(30);
    }
    return sum;
}

static void close_and_report(const struct conform *c, struct peer *stage) {
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL);
    uint32_t told = 0;
    must_be(event_notify(out, 7, PATIENCE), 0);
    told = 1 + fill(c, out, 7);
    conform_tell(stage, told);
    must_be(thirl_close(&out, PATIENCE), 0);
}

static void close_sends_what_waits(struct conform *c) {
    struct peer peer;
    uint64_t sum = 0, times;
    conform_start(&peer, c, close_and_report);
    thirl *in = conform_open(c, THIRL_WATCH, NULL);
    must_be(thirl_recv(in, NULL, 0, NULL, PATIENCE), -EMSGSIZE); /* they have met */
    uint64_t told = conform_hear(&peer);
    while (sum < told) {
        must_be(take(in, &times, PATIENCE), 7);
        sum += times;
    }
    must_be(sum, told);
    conform_join(&peer);
    must_be(thirl_close(&in, PATIENCE), 0);
}

/* A call of the descriptor, and of thirl_peer's kin, is a call: nothing has to be told for what waits to leave. */
static void waiting_sends_what_waits(struct conform *c) {
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL), *in = conform_open(c, THIRL_WATCH, NULL);
    meet(out, in);
    must(thirl_fd(out) >= 0);
    uint64_t told = fill(c, out, 7), sum = 0;
    sum += drain(in, 7, THIRL_NOW);
    must(sum < told);
    for (int64_t until = conform_now() + 10000 * MS; sum < told && conform_now() < until;) {
        must(thirl_fd(out) >= 0);
        sum += drain(in, 7, thirl_in_ms(30));
    }
    must_be(sum, told);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

static void read_late(const struct conform *c, struct peer *stage) {
    thirl *in = conform_open(c, THIRL_WATCH, NULL);
    uint64_t times, sum = 0;
    must_be(take(in, &times, PATIENCE), 0);
    conform_tell(stage, 0);
    conform_sleep(100 * MS);
    while (sum < STORM) {
        must_be(take(in, &times, PATIENCE), 7);
        sum += times;
    }
    must_be(sum, STORM);
    must_be(thirl_close(&in, PATIENCE), 0);
}

/* With ?full=block nothing lies anywhere when a call has returned in time. */
static void block_waits_for_the_sockets(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, read_late);
    thirl *out = conform_open(c, THIRL_NOTIFY, "full=block");
    must_be(event_notify(out, 0, PATIENCE), 0);
    conform_hear(&peer);
    int64_t began = conform_now();
    for (uint32_t i = 0; i < STORM; i++) {
        must_be(event_notify(out, 7, PATIENCE), 0);
    }
    must(conform_now() - began > 50 * MS);
    conform_join(&peer); /* it has all, and nobody has called since */
    must_be(thirl_close(&out, PATIENCE), 0);
}

static void a_full_table_waits(struct conform *c) {
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL), *in = conform_open(c, THIRL_WATCH, NULL);
    meet(out, in);
    uint64_t told = fill(c, out, 7), sum = 0, times;
    uint32_t places = table_of(out), more = 0;
    int rc = 0;
    while ((rc = at_once(c, event_notify(out, 1000 + more, THIRL_NOW))) == 0) {
        must(++more <= 2 * places); /* some still find their way into the kernel */
    }
    must_be(rc, -EAGAIN);
    must_say("?queue=");
    must(more >= places - 1);
    must_be(event_notify(out, 1, thirl_in_ms(60)), -ETIMEDOUT);
    must_be(at_once(c, event_notify(out, 7, THIRL_NOW)), 0); /* that one has a place */
    told++;
    uint8_t *came = calloc(2 * places, 1);
    must(came != NULL);
    while (sum < told + more) {
        uint32_t number = take(in, &times, thirl_in_ms(1));
        sum += times;
        if (times == 0) {
            must(thirl_fd(out) >= 0);
        } else if (number != 7) {
            must(number >= 1000 && number < 1000 + more && times == 1 && came[number - 1000]++ == 0);
        }
    }
    must_be(sum, told + more);
    free(came);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

static void all_hear_all(struct conform *c) {
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL), *in[WATCHERS];
    uint64_t times;
    for (int i = 0; i < WATCHERS; i++) {
        in[i] = conform_open(c, THIRL_WATCH, NULL);
        must_be(event_notify(out, (uint32_t)i, PATIENCE), 0);
        must_be(take(in[i], &times, PATIENCE), i); /* and nothing of before */
    }
    for (int i = 0; i < WATCHERS; i++) {
        for (int k = i + 1; k < WATCHERS; k++) {
            must_be(take(in[i], &times, PATIENCE), k);
        }
    }
    for (uint32_t i = 0; i < STORM; i++) { /* the first one reads, the others sleep */
        must_be(at_once(c, event_notify(out, i % EVENTS, THIRL_NOW)), 0);
    }
    for (int i = 0; i < WATCHERS; i++) {
        uint64_t sum = 0;
        while (sum < STORM) {
            must(take(in[i], &times, thirl_in_ms(1)) < EVENTS || times == 0);
            sum += times;
            must(times != 0 || thirl_fd(out) >= 0);
        }
        must_be(sum, STORM);
        must_be(thirl_close(&in[i], PATIENCE), 0); /* one that leaves is no news */
    }
    int rc = 0; /* over a network, news of who has gone is under way for a while */
    for (int64_t until = conform_now() + 10000 * MS; rc == 0 && conform_now() < until;) {
        rc = event_notify(out, 1, thirl_in_ms(60));
    }
    must_be(rc, -ETIMEDOUT);
    must_say("nobody");
    must_be(thirl_close(&out, PATIENCE), 0);
}

static void a_descriptor_tells_of_what_is_counted(struct conform *c) {
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL), *in = conform_open(c, THIRL_WATCH, NULL);
    meet(out, in);
    struct pollfd polled = {.fd = thirl_fd(in), .events = POLLIN};
    uint64_t times, sum = 0;
    for (uint32_t i = 0; i < 100; i++) {
        must_be(event_notify(out, i, PATIENCE), 0);
    }
    while (sum < 100) { /* one read brings many: the descriptor stays lit for those that it has */
        must_be(poll(&polled, 1, 10000), 1);
        must(take(in, &times, THIRL_NOW) < 100 ||
             conform_hurt(c)); /* where reads are cut short one may bring half of one */
        sum += times;
    }
    must_be(poll(&polled, 1, 50), 0);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

/* ---- killed anywhere ---- */

struct tale { /* in memory that all share */
    uint64_t told, taken;
};

static struct tale *tale;
static unsigned lot;

static const char *const notifier_points[] = {"herald.tell.before", "herald.tell.after", "herald.count.after",
                                              "tell.send.before",   "tell.send.after",   "hub.join.after"};

static void tell_until_killed(const struct conform *c, struct peer *stage) {
    (void)stage;
    conform_die_at(notifier_points[lot / 3], lot / 3 == 5 ? 1 : 1 + lot % 3 * 40);
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (;;) {
        must_be(event_notify(end, 7, PATIENCE), 0);
        tale->told++;
    }
}

/* What has reached the kernel is there, and what was being told at most once more; the table of a dead notifier died with it. */
static void killed_notifiers_tell_no_lies(struct conform *c) {
    tale = mmap(NULL, sizeof *tale, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(tale != MAP_FAILED);
    for (lot = 0; lot < 3 * sizeof notifier_points / sizeof *notifier_points; lot++) {
        struct peer peer;
        uint64_t got = 0, times;
        bool counts = lot / 3 == 2;
        *tale = (struct tale){0};
        conform_start(&peer, c, tell_until_killed);
        thirl *end = conform_open(c, THIRL_WATCH, NULL);
        struct pollfd polled = {.fd = peer.wire, .events = POLLIN};
        for (bool over = false; !over; over = (polled.revents & POLLHUP) != 0) {
            (void)take(end, &times, thirl_in_ms(2));
            got += times;
            if (counts && times != 0) { /* it is to find the socket full */
                must_be(poll(&polled, 1, 20000), 1);
            }
            must(poll(&polled, 1, 0) >= 0);
        }
        conform_kill(&peer);
        while (take(end, &times, thirl_in_ms(50)) != UINT32_MAX) {
            got += times;
        }
        must(got <= tale->told + 1 && (counts || got >= tale->told));
        must_be(thirl_close(&end, PATIENCE), 0);
    }
}

static void watch_until_killed(const struct conform *c, struct peer *stage) {
    conform_die_at("heed.hear.after", 1 + lot * 7);
    thirl *end = conform_open(c, THIRL_WATCH, NULL);
    for (;;) {
        uint64_t times;
        (void)take(end, &times, PATIENCE);
        conform_tell(stage, times);
    }
}

/* A watcher's death is told once, by name, and takes nothing from the others. */
static void a_watcher_dies_alone(struct conform *c) {
    for (lot = 0; lot < 4; lot++) {
        struct peer peer;
        uint64_t told = 0, got = 0, times;
        int deaths = 0;
        conform_start(&peer, c, watch_until_killed);
        thirl *out = conform_open(c, THIRL_NOTIFY, NULL);
        must_be(event_notify(out, 1, PATIENCE), 0); /* to the first one */
        thirl *in = conform_open(c, THIRL_WATCH, NULL);
        for (int i = 0; i < 200 || deaths == 0; i++) {
            int rc = event_notify(out, 1, PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED);
            if (rc != 0) {
                must_say("died");
                conform_names(c, peer.pid);
                deaths++;
                continue;
            }
            told++;
            (void)take(in, &times, THIRL_NOW);
            got += times;
            conform_sleep(MS / 4);
            must(i < 40000);
        }
        while (take(in, &times, thirl_in_ms(50)) != UINT32_MAX) {
            got += times;
        }
        must_be(deaths, 1);
        must(got == told || got + 1 == told); /* the second one may have come just after the first of them */
        conform_kill(&peer);
        must_be(thirl_close(&out, PATIENCE), 0);
        must_be(thirl_close(&in, PATIENCE), 0);
    }
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_ONLY(what_is_not_read_is_counted, "event-"),
        CONFORM_ONLY(close_sends_what_waits, "event-"),
        CONFORM_ONLY(waiting_sends_what_waits, "event-"),
        CONFORM_ONLY(block_waits_for_the_sockets, "event-"),
        CONFORM_ONLY(a_full_table_waits, "event-"),
        CONFORM_ONLY(all_hear_all, "event-"),
        CONFORM_ONLY(a_descriptor_tells_of_what_is_counted, "event-"),
        CONFORM_ONLY(killed_notifiers_tell_no_lies, "event-"),
        CONFORM_ONLY(a_watcher_dies_alone, "event-"),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
