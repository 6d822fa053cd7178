/* SPDX-License-Identifier: MIT
 *
 * A pair in shared memory where there is little room: a lane, a pool or a file system that is full, or nearly so, or held by loans. What goes
 * arrives whole and in order, what cannot go says what it would take, and goes when that is there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/large.h"
#include "tests/member.h"
#include "tests/refuse.h"

#define SOON LARGE_SOON
#define KIB ((size_t)1 << 10)

static thirl *from, *to;

static bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

static int open_both(const char *address) {
    CHECK(thirl_open(&from, THIRL_PAIR, address, NULL) == 0 && thirl_open(&to, THIRL_PAIR, address, NULL) == 0);
    return 0;
}

static int close_both(void) {
    CHECK(thirl_close(&to, THIRL_NOW) == 0 && thirl_close(&from, THIRL_NOW) >= 0);
    return 0;
}

/* Sends messages of that size, numbered from there on, until there is no room: how many. */
static unsigned send_all(size_t size, uint64_t first) {
    unsigned char data[2 * KIB];
    unsigned sent = 0;
    int rc = 0;
    while (rc == 0) {
        large_fill(data, size, first + sent);
        rc = thirl_send(from, data, size, THIRL_NOW);
        sent += rc == 0;
    }
    return rc == -EAGAIN ? sent : 0;
}

/* Receives so many, which are these. */
static int recv_all(size_t size, uint64_t first, unsigned count) {
    unsigned char data[2 * KIB];
    for (unsigned i = 0; i < count; i++) {
        size_t got;
        CHECK(thirl_recv(to, data, sizeof data, &got, THIRL_NOW) == 0 && got == size);
        CHECK(large_intact(data, size, first + i));
    }
    return 0;
}

static int take(size_t size, uint64_t number) {
    thirl_msg *msg = NULL;
    CHECK(large_take(to, &msg, size, number));
    thirl_free(&msg);
    return 0;
}

static int send_large(size_t size, uint64_t number, int expected) {
    unsigned char *data = malloc(size);
    CHECK(data != NULL);
    large_fill(data, size, number);
    int rc = thirl_send(from, data, size, THIRL_NOW);
    free(data);
    CHECK(rc == expected);
    return 0;
}

/* ---- large ones ---- */

/* In the lane it is no more than a reference, and that needs room, too. */
static int do_a_large_one_waits_for_room_in_the_lane(void *nothing) {
    (void)nothing;
    CHECK(open_both("shm://tight?queue=4096") == 0);
    unsigned large = send_all(KIB, 0), small = send_all(8, 10); /* to the last corner */
    CHECK(large == 3 && small > 40);
    CHECK(send_large(64 * KIB, 100, -EAGAIN) == 0);
    CHECK(recv_all(KIB, 0, large) == 0);
    CHECK(send_large(64 * KIB, 100, 0) == 0);
    CHECK(large_put(from, 8000, 101, SOON) == 0); /* what is lent lies there already where the lane is too short */
    CHECK(recv_all(8, 10, small) == 0);
    CHECK(take(64 * KIB, 100) == 0 && take(8000, 101) == 0);
    return close_both();
}
IN_A_CHILD(a_large_one_waits_for_room_in_the_lane)

static int do_who_polls_hears_a_large_one(void *nothing) {
    (void)nothing;
    CHECK(open_both("shm://tight?queue=4096") == 0);
    struct pollfd polled = {.fd = thirl_fd(to), .events = POLLIN};
    CHECK(polled.fd >= 0);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK(thirl_recv(to, NULL, 0, NULL, THIRL_NOW) == -EAGAIN); /* it is dark */
        CHECK(send_large(64 * KIB, i, 0) == 0);
        CHECK(poll(&polled, 1, 0) == 1); /* at once: later its timer lights it */
        CHECK(take(64 * KIB, i) == 0);
    }
    return close_both();
}
IN_A_CHILD(who_polls_hears_a_large_one)

/* What it would take, it says; and that is enough. */
static int is_advised(const char *address, size_t size, const char *option) {
    char advised[100];
    unsigned long long bytes = 0;
    CHECK(open_both(address) == 0);
    CHECK(send_large(size, 0, -EMSGSIZE) == 0);
    const char *advice = strstr(thirl_why(), option);
    CHECK(advice != NULL && sscanf(advice + strlen(option), "%llu", &bytes) == 1 && bytes > size);
    CHECK(bytes < (strstr(option, "queue") != NULL ? size + 100 : 4 * size + 1));
    CHECK(close_both() == 0);
    (void)snprintf(advised, sizeof advised, "%s&%s%llu", address, option + 1, bytes);
    CHECK(open_both(advised) == 0);
    CHECK(send_large(size, 1, 0) == 0 && take(size, 1) == 0);
    return close_both();
}

static int do_what_is_too_large_is_told_how_it_would_go(void *nothing) {
    (void)nothing;
    CHECK(is_advised("shm://tight?pool=1", 5 << 20, "?queue=") == 0);
    CHECK(is_advised("shm://tight?queue=4096", 20 << 20, "?pool=") == 0);
    return 0;
}
IN_A_CHILD(what_is_too_large_is_told_how_it_would_go)

/* ---- a file system that gives no more ---- */

static int do_what_is_there_is_enough(void *nothing) {
    (void)nothing;
    CHECK(open_both("shm://tight?queue=64K") == 0);
    CHECK(large_put(from, 100 * KIB, 0, SOON) == 0 && take(100 * KIB, 0) == 0);
    if (refuse(SYS_fallocate, ENOSPC) != 0) return REFUSE_SKIP;
    for (uint64_t i = 1; i < 5; i++) { /* one place, where several were wanted */
        CHECK(large_put(from, 100 * KIB, i, SOON) == 0 && take(100 * KIB, i) == 0);
    }
    thirl_msg *msg = NULL;
    for (uint64_t i = 0; i < 3; i++) CHECK(large_put(from, 20000, i, SOON) == 0); /* in the lane */
    CHECK(thirl_loan(from, &msg, 20000, THIRL_NOW) == -EAGAIN && msg == NULL);    /* which is full now */
    for (uint64_t i = 0; i < 3; i++) CHECK(take(20000, i) == 0);
    CHECK(large_put(from, 20000, 3, SOON) == 0 && take(20000, 3) == 0);
    return close_both();
}

static void what_is_there_is_enough(void **state) {
    (void)state;
    int rc = room_run(do_what_is_there_is_enough, NULL);
    if (rc == REFUSE_SKIP) skip();
    assert_int_equal(rc, 0);
}

/* ---- loans ---- */

/* A sealed message is written where it is sent from, like a loan; but for that there is another way. */
static int do_all_that_can_be_lent_is_lent(void *nothing) {
    thirl_msg *loans[THIRL_HELD_MAX], *more = NULL;
    (void)nothing;
    CHECK(open_both("shm://tight?crc") == 0);
    for (uint64_t i = 0; i < THIRL_HELD_MAX; i++) {
        CHECK(thirl_loan(from, &loans[i], 8, SOON) == 0);
        large_fill(thirl_msg_data(loans[i]), 8, i);
    }
    CHECK(thirl_loan(from, &more, 8, SOON) == -EBUSY && more == NULL);
    CHECK(send_large(8000, 100, 0) == 0);
    CHECK(thirl_take(to, &more, THIRL_NOW) == -EAGAIN); /* it comes behind them */
    for (unsigned i = 0; i < THIRL_HELD_MAX; i++) CHECK(thirl_put(from, &loans[i], SOON) == 0);
    CHECK(recv_all(8, 0, THIRL_HELD_MAX) == 0 && take(8000, 100) == 0);
    return close_both();
}
IN_A_CHILD(all_that_can_be_lent_is_lent)

static int takes_one_and_dies(void *nothing) {
    char byte;
    (void)nothing;
    CHECK(thirl_open(&to, THIRL_PAIR, "shm://tight?queue=4096", NULL) == 0);
    CHECK(thirl_recv(to, &byte, 1, NULL, SOON) == 0);
    (void)raise(SIGKILL);
    return 1;
}

/* The peer of a loan dies, and another one comes: what is written into the loan now is nobody's, and its place is not used again before. */
static int do_a_loan_outlives_its_conversation(void *nothing) {
    thirl_msg *loan = NULL;
    (void)nothing;
    CHECK(thirl_open(&from, THIRL_PAIR, "shm://tight?queue=4096", NULL) == 0);
    pid_t first = room_fork(takes_one_and_dies, NULL);
    CHECK(thirl_send(from, "x", 1, SOON) == 0);
    CHECK(thirl_loan(from, &loan, KIB, SOON) == 0);
    CHECK(room_reap(first) == 128 + SIGKILL);
    CHECK(thirl_recv(from, NULL, 0, NULL, SOON) == -THIRL_EPEERDIED);
    CHECK(thirl_send(from, "x", 1, SOON) == -THIRL_EPEERDIED);
    CHECK(thirl_open(&to, THIRL_PAIR, "shm://tight?queue=4096", NULL) == 0);
    unsigned sent = send_all(500, 0), got = 0;
    for (unsigned some = sent; some != 0; sent += some) {
        CHECK(recv_all(500, got, some) == 0);
        got += some;
        some = send_all(500, sent);
    }
    CHECK(got >= 2 && got <= 6); /* what the ring has beside the loan, once */
    memset(thirl_msg_data(loan), 0xee, KIB);
    CHECK(thirl_put(from, &loan, SOON) == -THIRL_EPEERDIED && says("the peer that this message was for has died"));
    for (int round = 0; round < 3; round++) {
        unsigned some = send_all(500, sent);
        CHECK(some >= 6 && recv_all(500, sent, some) == 0);
        sent += some;
    }
    return close_both();
}
IN_A_CHILD(a_loan_outlives_its_conversation)

/* Its end is closed, which told of room by a descriptor; its peer is dead, and whoever comes then is not talked to. */
static int do_a_loan_outlives_its_end(void *nothing) {
    thirl_msg *loan = NULL;
    int tube[2];
    (void)nothing;
    CHECK(pipe2(tube, O_CLOEXEC) == 0 && thirl_open(&from, THIRL_PAIR, "shm://tight?queue=4096", NULL) == 0);
    pid_t first = room_fork(takes_one_and_dies, NULL);
    CHECK(thirl_send(from, "x", 1, SOON) == 0 && thirl_loan(from, &loan, KIB, SOON) == 0);
    struct thirl_want wants[] = {{.end = from, .fd = -1, .wanted = THIRL_WANT_ROOM}, {.fd = tube[0], .wanted = POLLIN}};
    CHECK(thirl_wait(wants, 2, SOON) == 1);
    CHECK(room_reap(first) == 128 + SIGKILL && thirl_send(from, "x", 1, SOON) == -THIRL_EPEERDIED);
    CHECK(thirl_close(&from, THIRL_NOW) >= 0);
    CHECK(thirl_open(&to, THIRL_PAIR, "shm://tight?queue=4096", NULL) == 0);
    memset(thirl_msg_data(loan), 0xee, KIB);
    thirl_free(&loan);
    CHECK(thirl_recv(to, NULL, 0, NULL, THIRL_NOW) == -EAGAIN);
    return thirl_close(&to, THIRL_NOW);
}
IN_A_CHILD(a_loan_outlives_its_end)

/* ---- a descriptor that tells of room ---- */

static int drains(size_t size) {
    static char bytes[KIB];
    size_t got = 0;
    while (size != 0) {
        CHECK(thirl_recv(to, bytes, size < sizeof bytes ? size : sizeof bytes, &got, THIRL_NOW) == 0);
        size -= got;
    }
    return 0;
}

/* Whoever tries what it tells of does not try in vain again and again. A timer lights it now and then where the peer is of this very process. */
static int do_loans_keep_the_descriptor_right(void *nothing) {
    (void)nothing;
    CHECK(thirl_open(&from, THIRL_WRITE, "shm://tight?queue=4096", NULL) == 0);
    CHECK(thirl_open(&to, THIRL_READ, "shm://tight", NULL) == 0);
    struct pollfd polled = {.fd = thirl_fd(from), .events = POLLIN};
    thirl_msg *msg = NULL;
    CHECK(polled.fd >= 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            CHECK(poll(&polled, 1, 0) == 1);
            CHECK(large_put(from, KIB, 0, THIRL_NOW) == 0);
        }
        int tries = 0;
        do CHECK(tries++ < 100 && thirl_loan(from, &msg, KIB, THIRL_NOW) == -EAGAIN);
        while (poll(&polled, 1, 0) != 0);
        CHECK(drains(3 * KIB) == 0);
        CHECK(poll(&polled, 1, 10000) == 1);
    }
    bool dark = false;
    for (int tries = 0; !dark; tries++) {
        CHECK(tries < 100 && large_put(from, 4072, 0, THIRL_NOW) == 0); /* to the last corner */
        dark = poll(&polled, 1, 0) == 0;
        CHECK(drains(4072) == 0 && poll(&polled, 1, 10000) == 1);
    }
    return close_both();
}
IN_A_CHILD(loans_keep_the_descriptor_right)

static int stays(void *nothing) {
    char byte;
    (void)nothing;
    CHECK(thirl_open(&to, THIRL_PAIR, "shm://tight?pool=64K&queue=64K", NULL) == 0);
    CHECK(thirl_recv(to, &byte, 1, NULL, SOON) == 0 && thirl_send(to, "x", 1, SOON) == 0);
    CHECK(thirl_recv(to, &byte, 1, NULL, SOON) == -THIRL_ECLOSED);
    return thirl_close(&to, SOON);
}

static void *give_back(void *loan) {
    room_sleep(20 * CLOCK_MS); /* mostly the other one sleeps by then */
    thirl_free(loan);
    return NULL;
}

/* One thread waits for a place in the pool, in poll, and another one gives up a loan: nobody else could tell it. */
static int do_a_loan_that_is_given_up_makes_room(void *nothing) {
    thirl_msg *loans[5] = {NULL};
    pthread_t thread;
    int tube[2];
    char byte;
    (void)nothing;
    CHECK(pipe2(tube, O_CLOEXEC) == 0);
    CHECK(thirl_open(&from, THIRL_PAIR, "shm://tight?pool=64K&queue=64K", NULL) == 0);
    pid_t peer = room_fork(stays, NULL);
    CHECK(thirl_send(from, "x", 1, SOON) == 0 && thirl_recv(from, &byte, 1, NULL, SOON) == 0);
    struct thirl_want wants[] = {{.end = from, .fd = -1, .wanted = THIRL_WANT_ROOM}, {.fd = tube[0], .wanted = POLLIN}};
    for (int i = 0; i < 4; i++) CHECK(thirl_loan(from, &loans[i], 16 * KIB, SOON) == 0);
    CHECK(thirl_wait(wants, 2, SOON) == 1);
    CHECK(thirl_loan(from, &loans[4], 16 * KIB, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_wait(wants, 2, THIRL_NOW) == -EAGAIN);
    CHECK(pthread_create(&thread, NULL, give_back, &loans[2]) == 0);
    int64_t begun = clock_now(); /* its last look, at the deadline, would find it */
    CHECK(thirl_wait(wants, 2, SOON) == 1 && wants[0].ready == THIRL_WANT_ROOM && clock_now() - begun < 10 * CLOCK_S);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(thirl_loan(from, &loans[2], 16 * KIB, THIRL_NOW) == 0);
    for (int i = 0; i < 4; i++) thirl_free(&loans[i]);
    CHECK(thirl_close(&from, SOON) == 0 && close(tube[0]) == 0 && close(tube[1]) == 0);
    return room_reap(peer);
}
IN_A_CHILD(a_loan_that_is_given_up_makes_room)

/* ---- many at once ---- */

static char many[100][16];

/* So many messages of that size, of which each says which it is. */
static size_t prepare(struct iovec *messages, size_t count, size_t size) {
    for (size_t i = 0; i < count; i++) {
        memset(many[i], (int)('0' + i), size);
        messages[i] = (struct iovec){many[i], size};
    }
    return count;
}

static bool is_of(const struct iovec *message, size_t size, size_t number) {
    return message->iov_len == size && memcmp(message->iov_base, many[number], size) == 0;
}

/* Messages of 16 bytes come, the first so many of what was prepared. */
static int come_in_a_row(size_t count) {
    struct iovec messages[100];
    char buffer[100 * 16];
    for (size_t got = 0, some; got < count; got += some) {
        some = 100;
        CHECK(thirl_recv_many(to, buffer, sizeof buffer, messages, &some, THIRL_NOW) == 0 && got + some <= count);
        for (size_t i = 0; i < some; i++) CHECK(is_of(&messages[i], 16, got + i));
    }
    return 0;
}

/* Many that are alike, and few, but more than there is room for. */
static int do_of_a_run_goes_what_fits(void *nothing) {
    struct iovec messages[100];
    (void)nothing;
    CHECK(open_both("shm://tight?queue=4096") == 0);
    size_t sent = prepare(messages, 100, 16);
    CHECK(thirl_send_many(from, messages, &sent, THIRL_NOW) == 0 && sent == 100 && come_in_a_row(100) == 0);
    for (uint64_t i = 0; i < 3; i++) CHECK(large_put(from, 1200, i, SOON) == 0);
    sent = prepare(messages, 50, 16);
    CHECK(thirl_send_many(from, messages, &sent, THIRL_NOW) == -EAGAIN && sent >= 20 && sent <= 30);
    CHECK(recv_all(1200, 0, 3) == 0 && come_in_a_row(sent) == 0);
    return close_both();
}
IN_A_CHILD(of_a_run_goes_what_fits)

/* One that lies elsewhere, among others that do not. */
static int do_a_large_one_goes_along(void *nothing) {
    struct iovec messages[9];
    char byte[16];
    (void)nothing;
    CHECK(open_both("shm://tight?queue=4096") == 0);
    size_t count = prepare(messages, 9, 8), got;
    unsigned char *data = malloc(64 * KIB);
    CHECK(data != NULL);
    large_fill(data, 64 * KIB, 7);
    messages[4] = (struct iovec){data, 64 * KIB};
    CHECK(thirl_send_many(from, messages, &count, THIRL_NOW) == 0 && count == 9);
    for (size_t i = 0; i < 9; i++) {
        if (i == 4) {
            CHECK(take(64 * KIB, 7) == 0);
        } else {
            CHECK(thirl_recv(to, byte, sizeof byte, &got, THIRL_NOW) == 0);
            CHECK(is_of(&(struct iovec){byte, got}, 8, i));
        }
    }
    free(data);
    return close_both();
}
IN_A_CHILD(a_large_one_goes_along)

/* A stream knows no messages: all their bytes come, one behind the other. */
static int do_many_bytes_are_a_stream(void *nothing) {
    struct iovec messages[10];
    char buffer[130];
    (void)nothing;
    CHECK(thirl_open(&from, THIRL_WRITE, "shm://tight", NULL) == 0);
    CHECK(thirl_open(&to, THIRL_READ, "shm://tight", NULL) == 0);
    for (int round = 0; round < 2; round++) {
        size_t count = prepare(messages, 10, 13), size;
        CHECK(thirl_send_many(from, messages, &count, THIRL_NOW) == 0 && count == 10);
        CHECK(thirl_recv(to, buffer, sizeof buffer, &size, THIRL_NOW) == 0 && size == 130);
        for (size_t i = 0; i < 10; i++) CHECK(is_of(&(struct iovec){buffer + 13 * i, 13}, 13, i));
    }
    return close_both();
}
IN_A_CHILD(many_bytes_are_a_stream)

static int do_of_a_run_comes_what_there_is_room_for(void *nothing) {
    static const struct {
        size_t capacity, got;
    } rooms[] = {{13, 1}, {28, 1}, {29, 2}, {45, 3}, {200, 3}}; /* each begins where 8 divides */
    struct iovec messages[10];
    _Alignas(8) char buffer[200];
    (void)nothing;
    CHECK(open_both("shm://tight?queue=4096") == 0);
    size_t count = prepare(messages, 10, 13), number = 0;
    CHECK(thirl_send_many(from, messages, &count, THIRL_NOW) == 0 && count == 10);
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        count = 4;
        CHECK(thirl_recv_many(to, buffer, 12, messages, &count, THIRL_NOW) == -EMSGSIZE && says("13 bytes"));
        count = 4;
        CHECK(thirl_recv_many(to, buffer, rooms[i].capacity, messages, &count, THIRL_NOW) == 0);
        CHECK(count == rooms[i].got);
        for (size_t k = 0; k < count; k++, number++) CHECK(is_of(&messages[k], 13, number));
    }
    CHECK(number == 10);
    return close_both();
}
IN_A_CHILD(of_a_run_comes_what_there_is_room_for)

int main(void) {
#define T(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        T(a_large_one_waits_for_room_in_the_lane),
        T(who_polls_hears_a_large_one),
        T(what_is_too_large_is_told_how_it_would_go),
        T(what_is_there_is_enough),
        T(all_that_can_be_lent_is_lent),
        T(a_loan_outlives_its_conversation),
        T(a_loan_outlives_its_end),
        T(loans_keep_the_descriptor_right),
        T(a_loan_that_is_given_up_makes_room),
        T(of_a_run_goes_what_fits),
        T(a_large_one_goes_along),
        T(many_bytes_are_a_stream),
        T(of_a_run_comes_what_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
