/* SPDX-License-Identifier: MIT
 *
 * What a sender in shared memory waits for: the room that its last message lacked. What was refused before that one holds nothing up.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "tests/room.h"

#define SOON thirl_in_ms(5000)
#define LARGE 20000 /* goes into the pool, */
#define SMALL 1500  /* and into the ring */

static thirl *out, *in;
static int fd; /* of out; -1: it was not asked for */

static void open_both(enum thirl_role sender, enum thirl_role receiver, const char *options) {
    static int count;
    char address[100], byte = 'x';
    (void)snprintf(address, sizeof address, "shm://lack%d?queue=4K&pool=256K%s", ++count, options);
    out = in = NULL;
    assert_int_equal(thirl_open(&out, sender, address, NULL), 0);
    if (sender == THIRL_PUB) *strstr(address, "&full") = '\0'; /* is the publisher's to say */
    assert_int_equal(thirl_open(&in, receiver, address, NULL), 0);
    int rc = -EAGAIN;
    for (int tries = 0; rc == -EAGAIN && tries < 5000; tries++) { /* they get to know each other */
        rc = thirl_send(out, &byte, 1, THIRL_NOW);
        (void)!thirl_recv(in, NULL, 0, NULL, THIRL_NOW);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), 0);
}

static void close_both(void) {
    assert_true(thirl_close(&in, THIRL_NOW) >= 0); /* so nobody is waited for */
    assert_true(thirl_close(&out, THIRL_NOW) >= 0);
}

static bool waits_for_room(void) {
    struct thirl_want want = {.end = out, .fd = -1, .wanted = THIRL_WANT_ROOM};
    int rc = thirl_wait(&want, 1, THIRL_NOW);
    assert_true(rc == 1 || rc == -EAGAIN);
    return rc == -EAGAIN;
}

static bool is_readable(void) {
    struct pollfd polled = {fd, POLLIN, 0};
    return poll(&polled, 1, 0) == 1;
}

static bool has_room(void) {
    bool room = !waits_for_room();
    assert_true(!room || fd < 0 || is_readable());
    return room;
}

/* There is none for another one like it, and the descriptor says so: it may be readable once too often, as it is now and then for a look at who
 * lives, but not for ever. */
static bool lacks_room(int (*send)(size_t), size_t size) {
    for (int tries = 0; fd >= 0 && is_readable(); tries++) {
        assert_int_equal(send(size), -EAGAIN);
        assert_true(tries < 1000);
    }
    return waits_for_room();
}

static int by_copy(size_t size) {
    static const char message[LARGE];
    return thirl_send(out, message, size, THIRL_NOW);
}

static int among_many(size_t size) {
    static char message[LARGE];
    const struct iovec one = {message, size};
    size_t count = 1;
    return thirl_send_many(out, &one, &count, THIRL_NOW);
}

static int in_place(size_t size) {
    thirl_msg *msg = NULL;
    int rc = thirl_loan(out, &msg, size, THIRL_NOW);
    return rc != 0 ? rc : thirl_put(out, &msg, THIRL_NOW);
}

/* Fills it with messages of that size; how many there were. */
static unsigned fill(int (*send)(size_t), size_t size) {
    unsigned sent = 0;
    int rc = 0;
    while (sent < 100 && (rc = send(size)) == 0) sent++;
    assert_int_equal(rc, -EAGAIN);
    return sent;
}

static void drain(unsigned messages) {
    static char heard[LARGE];
    for (unsigned i = 0; i < messages; i++) assert_int_equal(thirl_recv(in, heard, sizeof heard, NULL, SOON), 0);
}

static void go_through(enum thirl_role sender, enum thirl_role receiver) {
    static int (*const sends[])(size_t) = {by_copy, among_many, in_place};
    for (unsigned i = 0; i < 12; i++) {
        int (*send)(size_t) = sends[i % 3];
        size_t size = i / 3 % 2 ? LARGE : SMALL;
        open_both(sender, receiver, "&full=fail");
        fd = i < 6 ? -1 : thirl_fd(out);
        assert_true(has_room());
        unsigned sent = fill(send, size);
        assert_in_range(sent, 1, 20);
        assert_true(lacks_room(send, size));
        assert_int_equal(send(1), 0);
        assert_true(has_room());
        assert_int_equal(send(size), -EAGAIN);
        assert_true(lacks_room(send, size));
        drain(sent + 1);
        assert_true(has_room());
        assert_int_equal(send(size), 0);
        close_both();
    }
}

static void a_small_message_is_not_held_up_by_a_large_one(void **state) {
    (void)state;
    go_through(THIRL_PUB, THIRL_SUB);
    go_through(THIRL_PUSH, THIRL_PULL);
}

/* A pair's descriptor is for what comes, and it has no full=. */
static void nor_between_two(void **state) {
    static int (*const sends[])(size_t) = {by_copy, among_many, in_place};
    (void)state;
    fd = -1;
    for (unsigned i = 0; i < 6; i++) {
        open_both(THIRL_PAIR, THIRL_PAIR, "");
        unsigned sent = fill(sends[i % 3], i < 3 ? SMALL : LARGE);
        assert_true(waits_for_room());
        assert_int_equal(sends[i % 3](1), 0);
        assert_true(has_room());
        assert_int_equal(sends[i % 3](i < 3 ? SMALL : LARGE), -EAGAIN);
        assert_true(waits_for_room());
        drain(sent + 1);
        assert_true(has_room());
        close_both();
    }
}

static int lend(size_t size) {
    thirl_msg *msg = NULL;
    return thirl_loan(out, &msg, size, THIRL_NOW);
}

static void a_loan_that_comes_back_makes_room(void **state) {
    thirl_msg *msg[64] = {NULL};
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        int rc = 0;
        unsigned lent = 0;
        open_both(i % 2 ? THIRL_PUB : THIRL_PUSH, i % 2 ? THIRL_SUB : THIRL_PULL, "&full=fail");
        fd = i < 2 ? -1 : thirl_fd(out);
        while (lent < 64 && (rc = thirl_loan(out, &msg[lent], LARGE, THIRL_NOW)) == 0) lent++;
        assert_int_equal(rc, -EAGAIN);
        assert_in_range(lent, 2, 20);
        assert_true(lacks_room(lend, LARGE));
        thirl_free(&msg[--lent]);
        assert_true(has_room());
        assert_int_equal(thirl_loan(out, &msg[lent++], LARGE, THIRL_NOW), 0);
        while (lent > 0) thirl_free(&msg[--lent]);
        close_both();
    }
}

/* What was dropped has been dealt with: nobody waits for its place. */
static void what_is_dropped_lacks_nothing(void **state) {
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        size_t size = i % 2 ? LARGE : SMALL;
        open_both(i / 2 % 2 ? THIRL_PUB : THIRL_PUSH, i / 2 % 2 ? THIRL_SUB : THIRL_PULL, "&full=drop-newest");
        fd = i < 4 ? -1 : thirl_fd(out);
        for (unsigned n = 0; n < 30; n++) assert_int_equal(by_copy(size), 0);
        assert_true(has_room());
        close_both();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_message_is_not_held_up_by_a_large_one),
        cmocka_unit_test(nor_between_two),
        cmocka_unit_test(a_loan_that_comes_back_makes_room),
        cmocka_unit_test(what_is_dropped_lacks_nothing),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
