/* SPDX-License-Identifier: MIT
 *
 * A pusher over shared memory at its edges: what does not fit, what was dropped, loans that are many, large or never sent, and what its
 * descriptor says then. What flows is the conformance suite's.
 */
#define _GNU_SOURCE
#include <errno.h>
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
#include "include/thirl/thirl.h"
#include "tests/refuse.h"
#include "tests/room.h"

#define LONG thirl_in_ms(10000)

static char data[1 << 20], buffer[1 << 20];
static thirl *in, *out;

static void begin(const char *options) {
    static unsigned number;
    char address[128];
    (void)snprintf(address, sizeof address, "shm://offer.%u%s", ++number, options);
    if (thirl_open(&in, THIRL_PULL, address, NULL) != 0 || thirl_open(&out, THIRL_PUSH, address, NULL) != 0) {
        fail_msg("%s", thirl_why());
    }
}

static void finish(void) {
    (void)!thirl_close(&out, THIRL_NOW);
    assert_int_equal(thirl_close(&in, LONG), 0);
}

static void send_number(uint64_t number) {
    assert_int_equal(thirl_send(out, &number, sizeof number, LONG), 0);
}

static uint64_t recv_number(uint64_t *lost) {
    thirl_msg *msg = NULL;
    uint64_t number = UINT64_MAX;
    assert_int_equal(thirl_take(in, &msg, LONG), 0);
    memcpy(&number, thirl_msg_data(msg), sizeof number);
    if (lost != NULL) {
        *lost = thirl_msg_lost(msg);
    }
    thirl_free(&msg);
    return number;
}

/* Until it is full: how many there was room for. */
static uint64_t fill(void) {
    uint64_t number = 0;
    while (thirl_send(out, &number, sizeof number, THIRL_NOW) == 0) {
        number++;
        assert_in_range(number, 1, 100000);
    }
    return number;
}

static bool is_lit(int fd) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 1;
}

/* Which option it is that lets a larger one through. */
static void what_is_too_large_is_told_what_would_do(void **state) {
    static const struct {
        const char *options;
        size_t size;
        const char *part;
    } all[] = {
        {"?max=1K", 2000, "?max=2000 or more"},
        {"?queue=4K&pool=4K", 100000, "?queue="},
        {"?queue=4K&pool=256K", sizeof data, "?pool="},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        thirl_msg *msg = NULL;
        begin(all[i].options);
        for (int loan = 0; loan < 2; loan++) {
            assert_int_equal(loan ? thirl_loan(out, &msg, all[i].size, LONG) : thirl_send(out, data, all[i].size, LONG),
                             -EMSGSIZE);
            if (strstr(thirl_why(), all[i].part) == NULL) {
                fail_msg("\"%s\" is not in \"%s\"", all[i].part, thirl_why());
            }
        }
        send_number(7);
        assert_int_equal(recv_number(NULL), 7);
        finish();
    }
}

/* Many at once go as far as they can; the rest is told. */
static void of_many_those_go_that_can(void **state) {
    struct iovec many[40];
    size_t count = 40, size;
    (void)state;
    begin("?max=1K");
    int fd = thirl_fd(out);
    for (size_t i = 0; i < 40; i++) {
        many[i] = (struct iovec){data, i + 1};
    }
    assert_true(is_lit(fd));
    assert_int_equal(thirl_send_many(out, many, &count, LONG), 0);
    assert_int_equal(count, 40);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(thirl_recv(in, buffer, sizeof buffer, &size, LONG), 0);
        assert_int_equal(size, i + 1);
    }
    many[3].iov_len = 2000;
    count = 40;
    int rc = thirl_send_many(out, many, &count, LONG);
    assert_true(count == 3 && rc == -EMSGSIZE);
    many[0].iov_len = 2000;
    count = 40;
    assert_int_equal(thirl_send_many(out, many, &count, LONG), -EMSGSIZE);
    assert_int_equal(count, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(thirl_recv(in, buffer, sizeof buffer, &size, LONG), 0);
    }
    (void)fill();
    assert_false(is_lit(fd));
    many[0].iov_len = 1;
    count = 2;
    assert_int_equal(thirl_send_many(out, many, &count, THIRL_NOW), -EAGAIN);
    finish();
    /* Up to one whose data is missing; and as many as there is room for. */
    begin("?queue=16K&pool=4K");
    static struct iovec all[1000];
    for (size_t i = 0; i < 1000; i++) {
        all[i] = (struct iovec){data, 1};
    }
    all[3].iov_base = NULL;
    count = 1000;
    rc = thirl_send_many(out, all, &count, LONG);
    assert_true(count == 3 && rc == -EINVAL);
    all[3].iov_base = data;
    count = 1000;
    assert_int_equal(thirl_send_many(out, all, &count, THIRL_NOW), -EAGAIN);
    assert_in_range(count, 65, 999);
    for (size_t i = 0; i < count + 3; i++) {
        assert_int_equal(thirl_recv(in, buffer, sizeof buffer, &size, LONG), 0);
        assert_int_equal(size, 1);
    }
    finish();
}

/* Of those that had no place the next one says how many they were; a loan that is never sent leaves that to the next. */
static void what_was_dropped_is_said(void **state) {
    (void)state;
    uint64_t lost = 99;
    thirl_msg *msg = NULL;
    begin("?queue=4K&full=drop-newest&pool=4K");
    struct thirl_want want = {.end = out, .wanted = THIRL_WANT_ROOM};
    for (uint64_t i = 0; i < 1000; i++) {
        send_number(i);
    }
    assert_int_equal(thirl_wait(&want, 1, LONG), 1); /* there is always room for what is dropped */
    uint64_t came = 0;
    while (thirl_recv(in, buffer, sizeof buffer, NULL, THIRL_NOW) == 0) {
        came++;
    }
    assert_in_range(came, 1, 999);
    assert_int_equal(thirl_loan(out, &msg, 8, LONG), 0);
    thirl_free(&msg);
    send_number(5000);
    assert_int_equal(recv_number(&lost), 5000);
    assert_int_equal(lost, 1000 - came);
    for (uint64_t i = 0; i < 3; i++) {
        send_number(i);
        assert_int_equal(recv_number(&lost), i);
        assert_int_equal(lost, 0);
    }
    finish();
}

/* So many may be out at once, and what follows one that is not sent waits for it. */
static void loans_are_bounded_and_keep_their_turn(void **state) {
    (void)state;
    thirl_msg *msgs[4096] = {NULL};
    int count = 0, rc = 0;
    begin("?queue=256K");
    int fd = thirl_fd(out);
    while (count < 4096 && (rc = thirl_loan(out, &msgs[count], 8, THIRL_NOW)) == 0) {
        count++;
    }
    assert_int_equal(rc, -EBUSY);
    assert_in_range(count, 2, 4095);
    for (int i = count - 1; i >= 0; i--) { /* the last one first */
        const uint64_t number = (uint64_t)i;
        memcpy(thirl_msg_data(msgs[i]), &number, sizeof number);
        if (i % 2 == 0) {
            assert_int_equal(thirl_put(out, &msgs[i], LONG), 0);
        } else {
            thirl_free(&msgs[i]);
        }
    }
    assert_true(is_lit(fd));
    for (int i = 0; i < count; i += 2) {
        assert_int_equal(recv_number(NULL), i);
    }
    finish();
}

/* A record that is lent and not sent holds room back, and no more than its own. */
static void a_loan_that_stays_out_stops_nobody_early(void **state) {
    (void)state;
    thirl_msg *msg = NULL;
    begin("?queue=4K&pool=4K");
    send_number(0);
    send_number(1);
    assert_int_equal(thirl_loan(out, &msg, 8, LONG), 0);
    assert_int_equal(recv_number(NULL), 0);
    assert_int_equal(recv_number(NULL), 1);
    uint64_t many = fill();
    assert_in_range(many, 2, 4096);
    memcpy(thirl_msg_data(msg), &many, sizeof many);
    assert_int_equal(thirl_put(out, &msg, LONG), 0);
    assert_int_equal(recv_number(NULL), many);
    for (uint64_t i = 0; i < many; i++) {
        assert_int_equal(recv_number(NULL), i);
    }
    finish();
}

/* Whoever sleeps is woken when there is as much room as it needs: behind one large record, and behind many small ones. */
static void who_sleeps_is_woken_for_what_it_needs(void **state) {
    static const struct { size_t before, count, needed; } all[] = {{3000, 1, 3000}, {200, 14, 3500}, {8, 60, 8}};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t size = 0, there = 0;
        begin("?queue=4K&pool=4K");
        while (there < all[i].count && thirl_send(out, data, all[i].before, THIRL_NOW) == 0) {
            there++;
        }
        assert_int_equal(there, all[i].count);
        int rc = thirl_send(out, data, all[i].needed, thirl_in_ms(20));
        while (rc == 0) { /* there was room still */
            there++;
            rc = thirl_send(out, data, all[i].needed, thirl_in_ms(20));
        }
        assert_int_equal(rc, -ETIMEDOUT);
        for (size_t k = 0; k < there; k++) {
            assert_int_equal(thirl_recv(in, buffer, sizeof buffer, &size, LONG), 0);
        }
        assert_int_equal(thirl_recv(in, buffer, sizeof buffer, &size, THIRL_NOW), -EAGAIN); /* done with the last one */
        assert_int_equal(thirl_send(out, data, all[i].needed, LONG), 0);
        assert_int_equal(thirl_recv(in, buffer, sizeof buffer, &size, LONG), 0);
        assert_int_equal(size, all[i].needed);
        finish();
    }
}

/* Larger than the queue, it lies elsewhere. */
static void a_large_loan_lies_in_the_pool(void **state) {
    (void)state;
    size_t size = 0;
    begin("?queue=4K&pool=16M");
    for (int i = 0; i < 10; i++) {
        thirl_msg *msg = NULL;
        int rc = thirl_loan(out, &msg, 100000, LONG);
        assert_int_equal(rc, 0);
        memset(thirl_msg_data(msg), i, 100000);
        assert_int_equal(thirl_put(out, &msg, LONG), 0);
        assert_int_equal(thirl_recv(in, buffer, sizeof buffer, &size, LONG), 0);
        assert_true(size == 100000 && buffer[0] == i && buffer[99999] == i);
    }
    finish();
}

/* ---- workers who die, and who cannot make others' fences ---- */

static int take_one_and_die(void *address) {
    thirl *worker = NULL;
    thirl_msg *msg = NULL;
    if (thirl_open(&worker, THIRL_PULL, address, NULL) != 0 || thirl_take(worker, &msg, LONG) != 0) {
        return 1;
    }
    return kill(getpid(), SIGKILL);
}

/* Who waits for room in vain looks who is dead, and calls the others for what he had. */
static void a_pusher_without_room_finds_the_dead(void **state) {
    static char address[] = "shm://offer.mortal?queue=4K";
    thirl_msg *msg = NULL;
    uint64_t number = 0;
    (void)state;
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address, NULL), 0);
    assert_int_equal(thirl_send(out, &number, sizeof number, LONG), 0);
    assert_int_equal(room_run(take_one_and_die, address), 128 + SIGKILL);
    number = fill();
    assert_int_equal(thirl_send(out, &number, sizeof number, thirl_in_ms(120)), -ETIMEDOUT);
    assert_int_equal(thirl_open(&in, THIRL_PULL, address, NULL), 0);
    assert_int_equal(thirl_take(in, &msg, THIRL_NOW), 0);
    assert_true(thirl_msg_again(msg));
    memcpy(&number, thirl_msg_data(msg), sizeof number);
    assert_int_equal(number, 0);
    thirl_free(&msg);
    finish();
}

#define ROUNDS 3000u

static void *work_on(void *wrong) {
    for (uint64_t i = 0, number, got; i < ROUNDS; i++) {
        if (i % 700 == 0) {
            room_sleep(10 * CLOCK_MS); /* the queue is full by then, and the pusher sleeps */
        }
        if (thirl_recv(in, &number, sizeof number, &got, LONG) != 0 || got != sizeof number || number != i) {
            return wrong;
        }
    }
    return NULL;
}

/* Now the one sleeps, now the other, and nobody for longer than until there is something to do. */
static int wake_each_other(void *nothing) {
    pthread_t thread;
    void *wrong = NULL;
    int rc = refuse(SYS_membarrier, ENOSYS);
    if (rc != 0) {
        return rc;
    }
    if (thirl_open(&in, THIRL_PULL, "shm://offer.unfenced?queue=4K", NULL) != 0 ||
        thirl_open(&out, THIRL_PUSH, "shm://offer.unfenced?queue=4K", NULL) != 0 ||
        pthread_create(&thread, NULL, work_on, &rc) != 0) {
        return 1;
    }
    for (uint64_t i = 0; i < ROUNDS; i++) {
        if (thirl_send(out, &i, sizeof i, LONG) != 0) {
            return 2;
        }
        if (i % 500 == 0) {
            room_sleep(2 * CLOCK_MS); /* the worker sleeps by then */
        }
    }
    rc = pthread_join(thread, &wrong) == 0 && wrong == NULL ? 0 : 3;
    return thirl_close(&out, LONG) == 0 && thirl_close(&in, LONG) == 0 ? rc : 4 + (nothing != NULL);
}

static void who_makes_no_fence_for_others_makes_his_own(void **state) {
    (void)state;
    int rc = room_run(wake_each_other, NULL);
    if (rc == REFUSE_SKIP) {
        skip();
    }
    assert_int_equal(rc, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_makes_no_fence_for_others_makes_his_own), /* before this process knows that it could */
        cmocka_unit_test(what_is_too_large_is_told_what_would_do),
        cmocka_unit_test(of_many_those_go_that_can),
        cmocka_unit_test(what_was_dropped_is_said),
        cmocka_unit_test(loans_are_bounded_and_keep_their_turn),
        cmocka_unit_test(a_loan_that_stays_out_stops_nobody_early),
        cmocka_unit_test(a_large_loan_lies_in_the_pool),
        cmocka_unit_test(who_sleeps_is_woken_for_what_it_needs),
        cmocka_unit_test(a_pusher_without_room_finds_the_dead),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
