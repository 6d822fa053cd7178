/* SPDX-License-Identifier: MIT
 *
 * Both ends of a channel in this process, for tests of what befalls one of them in the midst of a call: its mechanism is a real one, of which a
 * test replaces what it asks for. Included once, as tests/lone.h is.
 */
#ifndef TESTS_BEFALL_H
#define TESTS_BEFALL_H

#include "chan/end.h"
#include "tests/lone.h"
#include "tests/member.h"

static inline bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

static thirl *a, *b;     /* both ends of a channel */
static struct mech fake; /* of a: the real one at first */
static const struct mech *real;

static inline int open_both(const char *address, enum thirl_role one, enum thirl_role other) {
    CHECK(thirl_open(&a, one, address, NULL) == 0 && thirl_open(&b, other, address, NULL) == 0);
    real = a->mech;
    fake = *real;
    a->mech = &fake;
    return 0;
}

static inline int open_pair(const char *address) {
    char byte;
    CHECK(open_both(address, THIRL_PAIR, THIRL_PAIR) == 0);
    for (int i = 0; i < 2; i++) { /* they know each other */
        thirl *from = i == 0 ? a : b, *to = i == 0 ? b : a;
        int rc = -EAGAIN;
        for (int tries = 0; rc == -EAGAIN && tries < 5000; tries++) {
            rc = thirl_send(from, "x", 1, THIRL_NOW);
            (void)!thirl_recv(to, NULL, 0, NULL, THIRL_NOW);
        }
        CHECK(rc == 0 && thirl_recv(to, &byte, 1, NULL, thirl_in_ms(5000)) == 0);
    }
    return 0;
}

static inline int close_both(void) {
    a->mech = real;
    a->send = real->send;
    a->recv = real->recv;
    CHECK(thirl_close(&a, THIRL_NOW) >= 0 && thirl_close(&b, THIRL_NOW) >= 0);
    return 0;
}

/* As a close begins, and as if there had been none. */
static inline void begin_close(thirl *end, bool closes) {
    atomic_store(&end->closing, closes);
    for (int way = 0; way < 2; way++) {
        atomic_store(&end->way[way].open, closes || !end->way[way].allowed ? END_NEVER : end->epoch);
    }
}

static inline const char *socket_address(void) {
    static char address[100];
    (void)snprintf(address, sizeof address, "unix://%s/socket", room_path);
    return address;
}

static inline struct thirl_want for_message(thirl *end) {
    return (struct thirl_want){.end = end, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
}

static int tube[2] __attribute__((unused));

static inline struct thirl_want for_tube(void) {
    return (struct thirl_want){.fd = tube[0], .wanted = 1};
}

static inline void send_to_a(void) {
    if (thirl_send(b, "y", 1, THIRL_NOW) != 0) abort();
}

static inline int take_from_a(void) {
    char byte = 0;
    CHECK(thirl_recv(a, &byte, 1, NULL, THIRL_NOW) == 0 && byte == 'y');
    return 0;
}

/* The number of a call of that end; 0: a does not hear it. */
static inline uint64_t ask_of(thirl *caller) {
    uint64_t call = 0;
    for (int tries = 0; thirl_ask(caller, "what", 4, &call, THIRL_NOW) == -EAGAIN && tries < 5000; tries++) {
        struct thirl_want want = for_message(a); /* who comes is let in */
        (void)!thirl_wait(&want, 1, THIRL_NOW);
    }
    return call;
}

static inline uint64_t ask(void) {
    return ask_of(b);
}

#endif
