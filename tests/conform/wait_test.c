/* SPDX-License-Identifier: MIT
 *
 * thirl_wait: one call for ends and descriptors of every kind, until there is a message, or room, or nobody any more.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/conform/conform.h"

static thirl *open_n(const struct conform *c, enum thirl_role role, unsigned n, const char *options) {
    thirl *end = NULL;
    must_be(thirl_open(&end, role, conform_address(c, n, options), NULL), 0);
    return end;
}

static struct thirl_want want(thirl *end, uint32_t wanted) {
    return (struct thirl_want){.end = end, .fd = -1, .wanted = wanted};
}

static int64_t cpu_time(void) {
    struct rusage usage;
    must_be(getrusage(RUSAGE_THREAD, &usage), 0);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 * MS +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* Waits until a try of that element has an answer; more than a few tries in vain would be a busy loop. */
static int wait_and_receive(struct thirl_want *wants, size_t count, size_t which, void *data, size_t capacity,
                            size_t *size) {
    int rc = -EAGAIN;
    for (int tries = 0; rc == -EAGAIN; tries++) {
        must(tries < 50);
        must(thirl_wait(wants, count, PATIENCE) > 0);
        must_be(wants[which].ready & ~(uint32_t)(THIRL_WANT_MESSAGE | THIRL_WANT_ROOM), 0);
        if ((wants[which].ready & THIRL_WANT_MESSAGE) != 0) {
            rc = thirl_recv(wants[which].end, data, capacity, size, THIRL_NOW);
        }
    }
    return rc;
}

/* ---- messages ---- */

static unsigned channel; /* of a peer that serves: set before it is started */

static void send_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = NULL;
    for (uint64_t word; (word = conform_hear(stage)) != 0;) {
        if (end == NULL) {
            end = open_n(c, THIRL_PAIR, channel, NULL);
        }
        conform_sleep(word % 3 == 0 ? 20 * MS : 0);
        conform_send(end, 10, word);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

#define ENDS 3

static void waits_for_several(struct conform *c, bool with_descriptor) {
    struct peer peer[ENDS];
    struct thirl_want wants[ENDS + 1];
    int tube[2];
    must_be(pipe(tube), 0);
    for (channel = 0; channel < ENDS; channel++) {
        conform_start(&peer[channel], c, send_on_demand);
    }
    for (unsigned i = 0; i < ENDS; i++) {
        wants[i] = want(open_n(c, THIRL_PAIR, i, NULL), THIRL_WANT_MESSAGE);
    }
    wants[ENDS] = (struct thirl_want){.fd = with_descriptor ? tube[0] : -1, .wanted = POLLIN};
    char data[16];
    size_t size;
    for (uint64_t word = 1; word < 60; word++) {
        unsigned i = (unsigned)(word * 7 % ENDS);
        conform_tell(&peer[i], word);
        must_be(wait_and_receive(wants, ENDS + 1, i, data, sizeof data, &size), 0);
        must(size == 10 && conform_intact(data, size, word));
    }
    if (with_descriptor) {
        must_be(write(tube[1], "x", 1), 1);
        for (int tries = 0; wants[ENDS].ready != POLLIN; tries++) {
            must(tries < 20 && thirl_wait(wants, ENDS + 1, PATIENCE) > 0);
        }
        must_be(read(tube[0], data, 1), 1);
    }
    /* Nothing is there, and to wait for it costs nothing. */
    for (unsigned i = 0; i < ENDS; i++) {
        must_be(thirl_recv(wants[i].end, data, sizeof data, NULL, THIRL_NOW), -EAGAIN);
    }
    int64_t began = conform_now(), busy = cpu_time();
    must_be(thirl_wait(wants, ENDS + 1, thirl_in_ms(300)), -ETIMEDOUT);
    must_say("before the deadline");
    must(conform_now() - began >= 299 * MS);
    must(conform_sanitized() || cpu_time() - busy < 60 * MS);
    must_be(thirl_wait(wants, ENDS + 1, THIRL_NOW), -EAGAIN);
    must_say("at once");
    for (unsigned i = 0; i < ENDS; i++) { /* they close, and that is told */
        conform_tell(&peer[i], 0);
        must_be(wait_and_receive(wants, ENDS + 1, i, data, sizeof data, &size), -THIRL_ECLOSED);
        must_be(thirl_close(&wants[i].end, PATIENCE), 0);
        wants[i] = want(NULL, 0);
        conform_join(&peer[i]);
    }
    close(tube[0]);
    close(tube[1]);
}

static void waits_for_messages(struct conform *c) {
    waits_for_several(c, false);
}

static void waits_beside_a_descriptor(struct conform *c) {
    waits_for_several(c, true);
}

static void stay(const struct conform *c, struct peer *stage) {
    thirl *end = open_n(c, THIRL_PAIR, channel, NULL);
    conform_send(end, 1, 1);
    conform_hear(stage);
}

static void tells_of_death(struct conform *c) {
    int64_t least = INT64_MAX;
    for (int i = 0; i < 4; i++) {
        struct peer peer, other;
        channel = 1;
        conform_start(&other, c, stay);
        channel = 0;
        conform_start(&peer, c, stay);
        int tube[2];
        must_be(pipe(tube), 0);
        struct thirl_want wants[] = {want(open_n(c, THIRL_PAIR, 0, NULL), THIRL_WANT_MESSAGE),
                                     want(open_n(c, THIRL_PAIR, 1, NULL), THIRL_WANT_MESSAGE),
                                     {.fd = i % 2 == 0 ? -1 : tube[0], .wanted = POLLIN}};
        conform_recv(wants[0].end, 1, 1);
        conform_recv(wants[1].end, 1, 1);
        int64_t began = conform_now();
        conform_kill(&peer);
        char data[8];
        size_t size;
        must_be(wait_and_receive(wants, 3, 0, data, sizeof data, &size), -THIRL_EPEERDIED);
        least = conform_now() - began < least ? conform_now() - began : least;
        conform_kill(&other);
        must_be(thirl_close(&wants[0].end, THIRL_NOW), 0);
        must_be(thirl_close(&wants[1].end, THIRL_NOW), 0);
        close(tube[0]);
        close(tube[1]);
    }
    must(least < 200 * MS);
}

/* ---- room ---- */

static void drain_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = open_n(c, THIRL_PAIR, 0, "queue=64K");
    static char data[4096];
    size_t size = 1;
    must_be(thirl_recv(end, data, sizeof data, &size, PATIENCE), 0);
    conform_tell(stage, 0);
    conform_hear(stage);
    conform_sleep(50 * MS);
    while (thirl_recv(end, data, sizeof data, &size, PATIENCE) == 0 && size != 0) {}
    must_be(size, 0);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void wait_for_room(struct conform *c, bool with_descriptor) {
    static char data[1000];
    struct peer peer;
    conform_start(&peer, c, drain_on_demand);
    thirl *end = open_n(c, THIRL_PAIR, 0, "queue=64K");
    int tube[2];
    must_be(pipe(tube), 0);
    must_be(thirl_send(end, data, sizeof data, PATIENCE), 0);
    conform_hear(&peer);
    while (thirl_send(end, data, sizeof data, conform_while(c)) == 0) {}
    struct thirl_want wants[] = {want(end, THIRL_WANT_ROOM | THIRL_WANT_MESSAGE),
                                 {.fd = with_descriptor ? tube[0] : -1, .wanted = POLLIN}};
    conform_tell(&peer, 0);
    int rc = -EAGAIN;
    for (int tries = 0; rc == -EAGAIN; tries++) {
        must(tries < 2000);
        must_be(thirl_wait(wants, 2, PATIENCE), 1);
        must_be(wants[0].ready & THIRL_WANT_GONE, 0);
        rc = (wants[0].ready & THIRL_WANT_ROOM) != 0
                 ? thirl_send(end, data, sizeof data, THIRL_NOW)
                 : (thirl_recv(end, data, sizeof data, NULL, THIRL_NOW) == -EAGAIN ? -EAGAIN : 1);
    }
    must_be(rc, 0);
    must_be(thirl_send(end, NULL, 0, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
    close(tube[0]);
    close(tube[1]);
}

static void waits_for_room(struct conform *c) {
    wait_for_room(c, false);
}

static void waits_for_room_beside_a_descriptor(struct conform *c) {
    wait_for_room(c, true);
}

static void waits_for_both_at_once(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    struct thirl_want wants[] = {want(a, THIRL_WANT_ROOM), want(a, THIRL_WANT_MESSAGE),
                                 want(a, THIRL_WANT_MESSAGE | THIRL_WANT_ROOM)};
    must_be(thirl_wait(wants, 3, PATIENCE), 2);
    must(wants[0].ready == THIRL_WANT_ROOM && wants[1].ready == 0 && wants[2].ready == THIRL_WANT_ROOM);
    conform_send(b, 10, 1);
    for (int tries = 0; wants[1].ready == 0; tries++) {
        must(tries < 1000);
        must(thirl_wait(&wants[1], 1, PATIENCE) == 1);
    }
    must(thirl_wait(wants, 3, PATIENCE) == 3);
    must_be(wants[2].ready, THIRL_WANT_MESSAGE | THIRL_WANT_ROOM);
    conform_recv(a, 10, 1);
    must_be(thirl_close(&b, PATIENCE), 0);
    must_be(thirl_close(&a, PATIENCE), 0);
}

/* ---- many, none, and wrong ones ---- */

static void takes_any_number(struct conform *c) {
    thirl *a, *b;
    struct thirl_want wants[40];
    conform_both(c, 0, NULL, &a, &b);
    for (size_t i = 0; i < 40; i++) {
        wants[i] = i % 4 == 0 ? want(NULL, 0) : want(a, i % 4 == 3 ? 0 : THIRL_WANT_MESSAGE);
    }
    must_be(thirl_wait(wants, 40, thirl_in_ms(30)), -ETIMEDOUT);
    conform_send(b, 10, 1);
    must_be(thirl_wait(wants, 40, PATIENCE), 20);
    conform_recv(a, 10, 1);
    int64_t began = conform_now();
    must_be(thirl_wait(NULL, 0, thirl_in_ms(30)), -ETIMEDOUT);
    must_be(thirl_wait(NULL, 0, THIRL_NOW), -EAGAIN);
    must(conform_now() - began >= 29 * MS);
    must_be(thirl_wait(NULL, 1, THIRL_NOW), -EINVAL);
    wants[0] = want(a, 64);
    must_be(thirl_wait(wants, 1, THIRL_NOW), -EINVAL);
    must_say("element 0");
    must_be(thirl_close(&b, PATIENCE), 0);
    must_be(thirl_close(&a, PATIENCE), 0);
    thirl *reader = open_n(c, THIRL_READ, 1, NULL);
    wants[0] = want(reader, THIRL_WANT_ROOM);
    must_be(thirl_wait(wants, 1, THIRL_NOW), -THIRL_EROLE);
    wants[0] = want(reader, THIRL_WANT_MESSAGE);
    must_be(thirl_wait(wants, 1, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&reader, THIRL_NOW), 0);
}

/* ---- killed while it waits ---- */

static unsigned lot;

static void wait_until_killed(const struct conform *c, struct peer *stage) {
    static const char *const points[] = {"choose.sleep.before", "choose.sleep.after"};
    char data[16];
    int tube[2];
    (void)stage;
    must_be(pipe(tube), 0);
    conform_die_at(points[lot % 2], 1 + lot / 4);
    struct thirl_want wants[] = {want(open_n(c, THIRL_PAIR, 0, NULL), THIRL_WANT_MESSAGE),
                                 {.fd = lot % 4 < 2 ? -1 : tube[0], .wanted = POLLIN}};
    conform_send(wants[0].end, 10, 1);
    for (;;) {
        must(thirl_wait(wants, 2, PATIENCE) > 0);
        (void)!thirl_recv(wants[0].end, data, sizeof data, NULL, THIRL_NOW);
    }
}

static void any_point_may_kill(struct conform *c) {
    for (lot = 0; lot < 8; lot++) {
        struct peer peer;
        conform_start(&peer, c, wait_until_killed);
        thirl *end = open_n(c, THIRL_PAIR, 0, NULL);
        conform_recv(end, 10, 1);
        int rc = 0;
        for (int64_t until = conform_now() + 10000 * MS; rc == 0 && conform_now() < until;) {
            (void)!thirl_send(end, "again", 5, THIRL_NOW);       /* so that it passes more than once */
            rc = thirl_recv(end, NULL, 0, NULL, thirl_in_ms(1)); /* this way has met it */
            rc = rc == -ETIMEDOUT ? 0 : rc;
        }
        must_be(rc, -THIRL_EPEERDIED);
        conform_kill(&peer);
        (void)!thirl_close(&end, THIRL_NOW);
    }
}

/* ---- queues and events ---- */

static void push_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = NULL;
    for (uint64_t word; (word = conform_hear(stage)) != 0;) {
        if (end == NULL) {
            end = open_n(c, THIRL_PUSH, 0, NULL);
        }
        conform_send(end, 10, word);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void waits_for_a_queue(struct conform *c) {
    struct peer peer;
    int tube[2];
    must_be(pipe(tube), 0);
    conform_start(&peer, c, push_on_demand);
    struct thirl_want wants[] = {want(open_n(c, THIRL_PULL, 0, NULL), THIRL_WANT_MESSAGE),
                                 {.fd = -1, .wanted = POLLIN}};
    for (uint64_t word = 1; word < 40; word++) {
        char data[16];
        size_t size;
        wants[1].fd = word < 20 ? -1 : tube[0];
        conform_tell(&peer, word);
        must_be(wait_and_receive(wants, 2, 0, data, sizeof data, &size), 0);
        must(size == 10 && conform_intact(data, size, word));
    }
    must_be(thirl_wait(wants, 2, thirl_in_ms(60)), -ETIMEDOUT);
    must_be(thirl_recv(wants[0].end, NULL, 0, NULL, THIRL_NOW), -EAGAIN); /* the last one is done */
    conform_tell(&peer, 0);
    conform_join(&peer);
    must_be(thirl_close(&wants[0].end, PATIENCE), 0);
    close(tube[0]);
    close(tube[1]);
}

/* Beside a descriptor it sleeps too: only lives are looked at now and then. */
static void idles_beside_a_descriptor(struct conform *c) {
    int tube[2];
    struct rusage before, after;
    must_be(pipe(tube), 0);
    struct thirl_want wants[] = {want(open_n(c, THIRL_PULL, 0, NULL), THIRL_WANT_MESSAGE),
                                 {.fd = tube[0], .wanted = POLLIN}};
    must_be(thirl_wait(wants, 2, thirl_in_ms(10)), -ETIMEDOUT);
    must_be(getrusage(RUSAGE_THREAD, &before), 0);
    must_be(thirl_wait(wants, 2, thirl_in_ms(500)), -ETIMEDOUT);
    must_be(getrusage(RUSAGE_THREAD, &after), 0);
    must(after.ru_nvcsw - before.ru_nvcsw <= 25); /* a look every 50 ms, and some to spare */
    must_be(thirl_close(&wants[0].end, PATIENCE), 0);
    close(tube[0]);
    close(tube[1]);
}

static void notify_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = open_n(c, THIRL_NOTIFY, 0, NULL);
    for (uint64_t word; (word = conform_hear(stage)) != 0;) {
        uint32_t event = (uint32_t)word;
        struct thirl_want wanted = want(end, THIRL_WANT_ROOM);
        int rc = thirl_send(end, &event, sizeof event, THIRL_NOW);
        while (rc == -EAGAIN) {
            must_be(thirl_wait(&wanted, 1, PATIENCE), 1);
            rc = thirl_send(end, &event, sizeof event, THIRL_NOW);
        }
        must_be(rc, 0);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void waits_for_an_event(struct conform *c) {
    struct peer peer;
    int tube[2];
    must_be(pipe(tube), 0);
    conform_start(&peer, c, notify_on_demand);
    struct thirl_want wants[] = {want(open_n(c, THIRL_WATCH, 0, NULL), THIRL_WANT_MESSAGE),
                                 {.fd = -1, .wanted = POLLIN}};
    for (uint32_t word = 1; word < 40; word++) {
        uint32_t event[2];
        size_t size;
        wants[1].fd = word < 20 ? -1 : tube[0];
        conform_tell(&peer, word);
        must_be(wait_and_receive(wants, 2, 0, event, sizeof event, &size), 0);
        must(size >= sizeof *event && event[0] == word);
    }
    must_be(thirl_wait(wants, 2, thirl_in_ms(60)), -ETIMEDOUT);
    conform_tell(&peer, 0);
    conform_join(&peer);
    must_be(thirl_close(&wants[0].end, PATIENCE), 0);
    close(tube[0]);
    close(tube[1]);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(waits_for_messages),
        CONFORM(waits_beside_a_descriptor),
        CONFORM(tells_of_death),
        CONFORM(waits_for_room),
        CONFORM(waits_for_room_beside_a_descriptor),
        CONFORM(waits_for_both_at_once),
        CONFORM_FOR(takes_any_number, CONFORM_PAIR | CONFORM_STREAM),
        CONFORM(any_point_may_kill),
        CONFORM_FOR(waits_for_a_queue, CONFORM_QUEUE),
        {"idles_beside_a_descriptor", idles_beside_a_descriptor, "shm-queue", CONFORM_QUEUE},
        CONFORM_FOR(waits_for_an_event, CONFORM_EVENT),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
