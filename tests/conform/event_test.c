/* SPDX-License-Identifier: MIT
 *
 * Events: each reaches the one who watches, whole, and in the order of its sender where that is claimed; many come at once; whoever watches
 * closes or dies and the senders are told. An event is as large as thirl_limits says, and here a number, so that the small ones of a
 * mechanism do.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/conform/event.h"

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

static const uint32_t numbers[] = {0, 1, 7, 0x12345678, 0x7ffffffe, 0x7fffffff};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static void tell_numbers(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    for (size_t i = 0; i < NUMBERS; i++) {
        must_be(event_notify(end, numbers[i], PATIENCE), 0); /* the first one waits for somebody who watches */
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
        uint32_t number = event_watch(end);
        if (conform_limits(end).ordered) {
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
    must_be(event_notify(first, 1, PATIENCE), 0);
    must_be(event_watch(in), 1);
    int rc = thirl_open(&second, THIRL_NOTIFY, conform_address(c, 0, NULL), NULL);
    rc = rc == 0 ? event_notify(second, 2, thirl_in_ms(50)) : rc; /* at the door, where nobody is asked before that */
    must_be(rc, -EBUSY);
    must_say("pid");
    (void)!thirl_close(&second, THIRL_NOW);
    must_be(event_notify(first, 3, PATIENCE), 0);
    must_be(event_watch(in), 3);
    must_be(thirl_recv(in, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    must_be(thirl_close(&first, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
    second = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(thirl_close(&second, PATIENCE), 0);
}

static void what_is_no_event_is_refused(struct conform *c) {
    thirl *in = conform_open(c, THIRL_WATCH, NULL), *out = conform_open(c, THIRL_NOTIFY, NULL);
    struct thirl_limits limits = conform_limits(out);
    static char data[64];
    must(limits.message_max >= 4 && limits.message_max < sizeof data && limits.sends == 1 && limits.receives == 0);
    must_be(limits.boundaries, 1);
    must_be(thirl_send(out, data, (size_t)limits.message_max + 1, PATIENCE), -EMSGSIZE);
    must_say("4 bytes");
    must_be(thirl_send(out, data, 0, PATIENCE), -EINVAL);
    must_be(thirl_send(out, data, 3, PATIENCE), -EINVAL);
    must_be(event_notify(out, 0x80000000, PATIENCE), -EINVAL);
    must_say("31 bits");
    thirl_msg *msg = NULL;
    must_be(thirl_loan(out, &msg, (size_t)limits.message_max + 1, PATIENCE), -EMSGSIZE);
    must_be(thirl_recv(out, data, 4, NULL, THIRL_NOW), -THIRL_EROLE);
    must_be(event_notify(in, 1, THIRL_NOW), -THIRL_EROLE);
    must_be(event_notify(out, 5, PATIENCE), 0);
    size_t size = 0;
    must_be(thirl_recv(in, data, 3, &size, PATIENCE), -EMSGSIZE); /* and it stays */
    must_be(size, 4);
    must_be(event_watch(in), 5);
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
        must_be(event_notify(end, sender << 24 | i, PATIENCE), 0);
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
    must_be(conform_limits(end).reliable, 1);
    must_be(conform_limits(end).ordered, !is_counted(c));
    for (unsigned i = 0; i < senders; i++) {
        conform_tell(&peer[i], i);
    }
    uint8_t *seen = calloc(SENDERS, EACH);
    bool ordered = conform_limits(end).ordered;
    must(seen != NULL);
    for (uint32_t i = 0; i < senders * each; i++) {
        uint32_t number = event_watch(end), sender = number >> 24, count = number & 0xffffff;
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
        must_be(event_notify(end, (uint32_t)number, PATIENCE), 0);
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
        must_be(event_watch(end), i);
    }
    conform_tell(&peer, UINT64_MAX);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void nobody_who_watches_is_waited_for(struct conform *c) {
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(event_notify(out, 1, THIRL_NOW), -EAGAIN);
    int64_t before = conform_now();
    must_be(event_notify(out, 1, thirl_in_ms(80)), -ETIMEDOUT);
    must_say("nobody");
    must(conform_now() - before >= 79 * MS);
    must_be(thirl_close(&out, PATIENCE), 0);
}

static void one_watches(struct conform *c) {
    if (is_hub(c)) {
        conform_skip("many watch there");
    }
    thirl *end = conform_open(c, THIRL_WATCH, NULL), *other = NULL;
    must_be(conform_limits(end).receivers, 1);
    must_be(thirl_open(&other, THIRL_WATCH, conform_address(c, 0, NULL), NULL), -EBUSY);
    /* sig:// carries nothing else, and this channel of shm:// does not either. */
    must_be(thirl_open(&other, THIRL_PAIR, conform_address(c, is_counted(c) ? 0 : 1, NULL), NULL), -THIRL_EROLE);
    must_be(thirl_open(&other, THIRL_WATCH, conform_address(c, 1, NULL), NULL),
            0); /* another channel is another matter */
    thirl *out = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(event_notify(out, 3, PATIENCE), 0);
    must_be(event_watch(end), 3);
    must_be(thirl_recv(other, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&other, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(event_notify(out, 4, PATIENCE), -THIRL_ECLOSED);
    must_say("closed");
    must_be(event_notify(out, 4, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&out, PATIENCE), 0);
    end = conform_open(c, THIRL_WATCH, NULL); /* again, and nothing is left of before */
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    out = conform_open(c, THIRL_NOTIFY, NULL);
    must_be(event_notify(out, 5, PATIENCE), 0);
    must_be(event_watch(end), 5);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- death ---- */

static void death_of_the_watcher_is_told(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, event_watch_until_death);
    conform_hear(&peer);
    struct conform there = *c;
    there.stage = peer.pid;
    thirl *out = conform_open(&there, THIRL_NOTIFY, NULL);
    must_be(event_notify(out, 1, PATIENCE), 0);
    conform_hear(&peer);
    must_be(event_notify(out, 2, PATIENCE), 0); /* waits, and dies with it */
    conform_kill(&peer);
    int rc = 0;
    for (int64_t until = conform_now() + 10000 * MS; rc == 0 && conform_now() < until;) {
        rc = event_notify(out, 3, PATIENCE);
    }
    must_be(rc, -THIRL_EPEERDIED);
    if (!conform_claims(c).cross_host) {
        must_say("pid ");
    }
    must_be(event_notify(out, 4, thirl_in_ms(60)), -ETIMEDOUT); /* told once */
    rc = thirl_close(&out, PATIENCE);
    must(rc == 0 || (is_pair(c) && rc > 0)); /* where it is known what the dead one had not taken */
}

/* A sender that dies harms nobody: what it had sent is there. */
static void notify_and_die(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_NOTIFY, NULL);
    unsigned some =
        is_pair(c) ? 5 : 10; /* what waits for room, and a queue may have it for ten, is gone with this one */
    for (uint32_t i = 0; i < some; i++) {
        must_be(event_notify(end, i, PATIENCE), 0);
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
        uint32_t number = event_watch(end);
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
    pthread_t thread;
    struct conform own = *c;
    own.stage = getpid();
    must_be(pthread_create(&thread, NULL, idle, NULL), 0);
    conform_die_at(sig_points[lot / 2], 1 + lot % 2);
    thirl *in = conform_open(&own, THIRL_WATCH, NULL), *out = conform_open(&own, THIRL_NOTIFY, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        must_be(event_notify(out, i, PATIENCE), 0);
        must_be(event_watch(in), i);
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
    must_be(conform_channels(c), 0);
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
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
