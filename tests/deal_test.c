/* SPDX-License-Identifier: MIT
 *
 * PUSH and PULL over connections: every message to one worker who has time for it; what a worker leaves when it dies, at whatever
 * moment, another one gets, and knows it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/weave.h"
#include "tests/crew.h"
#include "tests/room.h"

#define BODY 500
#define MANY 600u

/* What the workers have seen; shared with children. */
static struct board {
    uint32_t came[MANY], again[MANY], by[8];
    uint32_t ready, closed, slow;
} * board;

static void clear(void) {
    memset(board, 0, sizeof *board);
}

/* Works until the pusher closes, or dies. */
static void work_as(unsigned which) {
    struct crew_message m;
    thirl *pull = NULL;
    ok(thirl_open(&pull, THIRL_PULL, crew_address, NULL));
    (void)atomic_add(&board->ready, 1);
    int rc;
    while ((rc = crew_take(pull, &m, thirl_in_ms(50))) == 0 || (rc == -ETIMEDOUT && atomic_load(&board->closed) == 0)) {
        if (rc != 0) {
            continue;
        }
        must(m.number < MANY);
        (void)atomic_add(&board->came[m.number], 1);
        (void)atomic_add(&board->again[m.number], m.again);
        (void)atomic_add(&board->by[which], 1);
        for (int ms = 0; which == 0 && ms < 200 && atomic_load(&board->by[1]) < board->slow * board->by[0]; ms++) {
            (void)usleep(1000);
        }
    }
    must(rc == -ETIMEDOUT || rc == -THIRL_EPEERDIED); /* that the pusher leaves is no news */
    must(thirl_close(&pull, LONG) == 0);
}

static void first_worker(void) {
    work_as(0);
}

static void second_worker(void) {
    work_as(1);
}

static void await(const uint32_t *word, uint32_t value) {
    for (int64_t until = clock_now() + 8 * CLOCK_S; atomic_load(word) < value;) {
        assert_true(clock_now() < until);
        (void)usleep(200);
    }
}

static void each_message_to_one(void **state) {
    clear();
    crew_at(*state, NULL);
    board->slow = 3;
    thirl *push = crew_open(THIRL_PUSH);
    pid_t slow = peer_start(first_worker), fast = peer_start(second_worker);
    struct thirl_peer peer = {.size = sizeof peer};
    for (int64_t until = clock_now() + 8 * CLOCK_S; atomic_load(&board->ready) < 2; (void)usleep(200)) {
        int rc = thirl_peer(push, &peer); /* lets them in */
        assert_true((rc == 0 || rc == -ENOTCONN) && clock_now() < until);
    }
    static const size_t sizes[] = {8, 100, 8192, 8193, 40000, 300000};
    for (uint64_t n = 0; n < 300; n++) {
        assert_int_equal(crew_send(push, n, sizes[n % 6], LONG), 0);
    }
    assert_int_equal(thirl_close(&push, LONG), 0);
    atomic_store(&board->closed, 1);
    peer_reap(slow);
    peer_reap(fast);
    for (unsigned n = 0; n < 300; n++) {
        assert_int_equal(board->came[n], 1);
        assert_int_equal(board->again[n], 0);
    }
    assert_int_equal(board->by[0] + board->by[1], 300);
    assert_true(board->by[0] > 0 && board->by[1] > 2 * board->by[0]); /* the idle one takes it */
}

/* Received by copy: finished when the worker receives again. */
static uint64_t copied(thirl *pull) {
    char data[BODY];
    size_t size;
    uint64_t number;
    assert_int_equal(thirl_recv(pull, data, sizeof data, &size, LONG), 0);
    assert_int_equal(size, sizeof data);
    memcpy(&number, data, sizeof number);
    return number;
}

static void without_workers(void **state) {
    crew_at(*state, NULL);
    thirl *push = crew_open(THIRL_PUSH), *other = NULL;
    assert_int_equal(crew_send(push, 1, BODY, THIRL_NOW), -EAGAIN);
    assert_int_equal(crew_send(push, 1, BODY, thirl_in_ms(30)), -ETIMEDOUT);
    assert_non_null(strstr(thirl_why(), "nobody"));
    assert_int_equal(thirl_open(&other, THIRL_PUSH, crew_address, NULL), -EBUSY);
    assert_int_equal(thirl_open(&other, THIRL_SUB, crew_address, NULL), -THIRL_EROLE);
    thirl *pull = crew_open(THIRL_PULL);
    struct crew_message m;
    assert_int_equal(crew_take(pull, &m, THIRL_NOW), -EAGAIN);
    struct pollfd in = {.fd = thirl_fd(pull), .events = POLLIN}, out = {.fd = thirl_fd(push), .events = POLLIN};
    assert_int_equal(poll(&in, 1, 0), 0);
    assert_int_equal(poll(&out, 1, 1000), 1);
    uint64_t n = 0;
    while (crew_send(push, n, BODY, THIRL_NOW) == 0) {
        assert_true(++n < 100);
    }
    assert_true(n >= 2); /* a few ahead, no more: */
    assert_true(n <= 8);
    assert_int_equal(poll(&out, 1, 0), 0);
    assert_int_equal(poll(&in, 1, 1000), 1);
    assert_int_equal(copied(pull), 0);
    assert_int_equal(poll(&out, 1, 0), 0); /* it is in its hands */
    assert_int_equal(copied(pull), 1);
    assert_int_equal(poll(&out, 1, 1000), 1);
    assert_int_equal(crew_send(push, n, BODY, LONG), 0);
    /* The one in hand and those behind it are unfinished. */
    assert_int_equal(thirl_close(&push, thirl_in_ms(30)), n);
    for (uint64_t i = 2; i <= n; i++) {
        assert_int_equal(copied(pull), i);
    }
    assert_int_equal(crew_take(pull, &m, thirl_in_ms(50)), -ETIMEDOUT);
    push = crew_open(THIRL_PUSH); /* another one: the worker goes on */
    assert_int_equal(crew_send(push, 77, BODY, LONG), 0);
    assert_int_equal(copied(pull), 77);
    assert_int_equal(crew_take(pull, &m, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_close(&push, LONG), 0);
    assert_int_equal(thirl_close(&pull, LONG), 0);
}

/* Whoever takes finishes each by itself, in any order, or gives it back. */
static void jobs_are_done_or_given_back(void **state) {
    crew_at(*state, NULL);
    thirl *push = crew_open(THIRL_PUSH), *pull = crew_open(THIRL_PULL), *other = NULL;
    thirl_msg *msg[4] = {NULL};
    struct crew_message m;
    for (uint64_t n = 0; n < 4; n++) {
        assert_int_equal(crew_send(push, n, BODY, LONG), 0);
        assert_int_equal(thirl_take(pull, &msg[n], LONG), 0);
        assert_int_equal(thirl_msg_number(msg[n]), n);
    }
    assert_int_equal(crew_send(push, 4, BODY, thirl_in_ms(30)), -ETIMEDOUT); /* taking the next one finishes none */
    assert_int_equal(thirl_done(&msg[2]), 0);
    assert_int_equal(crew_send(push, 4, BODY, LONG), 0);
    assert_int_equal(crew_send(push, 5, BODY, thirl_in_ms(30)), -ETIMEDOUT);
    assert_int_equal(thirl_requeue(&msg[1]), 0);
    assert_null(msg[1]);
    other = crew_open(THIRL_PULL);
    (void)crew_send(push, 5, BODY, THIRL_NOW);
    m = crew_next(other);
    assert_int_equal(m.number, 1);
    assert_true(m.again);
    assert_int_equal(crew_next(pull).number, 4);
    thirl_free(&msg[0]);
    assert_int_equal(thirl_close(&pull, LONG), 0); /* the one in hand goes to the other */
    for (int i = 0, rc = -EAGAIN; rc != 0; i++) {
        assert_true(i < 2000);
        (void)crew_send(push, 9, BODY, THIRL_NOW);
        rc = crew_take(other, &m, thirl_in_ms(1));
        rc = rc == 0 && m.number != 3 ? -EAGAIN : rc;
    }
    assert_true(m.again);
    thirl_free(&msg[3]); /* legal, and nothing */
    while (crew_take(other, &m, thirl_in_ms(50)) == 0) {}
    assert_int_equal(thirl_close(&push, LONG), 0);
    assert_int_equal(thirl_close(&other, LONG), 0);
}

/* A job outlives its pusher in the worker's hands, but not the way back. */
static void hold_one(void) {
    thirl *push = NULL;
    ok(thirl_open(&push, THIRL_PUSH, crew_address, NULL));
    ok(thirl_send(push, "12345678", 8, LONG));
    (void)pause();
}

static void pusher_of_a_job_dies(void **state) {
    crew_at(*state, NULL);
    pid_t pid = peer_start(hold_one);
    thirl *pull = crew_open(THIRL_PULL);
    thirl_msg *msg = NULL, *next = NULL;
    assert_int_equal(thirl_take(pull, &msg, LONG), 0);
    peer_slay(pid);
    assert_int_equal(thirl_take(pull, &next, LONG), -THIRL_EPEERDIED);
    assert_int_equal(thirl_requeue(&msg), -THIRL_EPEERDIED);
    assert_non_null(strstr(thirl_why(), "gone"));
    assert_int_equal(thirl_done(&msg), 0);
    pid = peer_start(hold_one);
    assert_int_equal(thirl_take(pull, &msg, LONG), 0);
    thirl_free(&msg);
    peer_slay(pid);
    assert_int_equal(thirl_close(&pull, LONG), 0);
}

/* ---- death ---- */

static void take_and_stop(void) {
    struct crew_message m;
    thirl *pull = NULL;
    ok(thirl_open(&pull, THIRL_PULL, crew_address, NULL));
    for (int i = 0; i < 2; i++) {
        ok(crew_take(pull, &m, LONG));
    }
    thirl_msg *held = NULL;
    ok(thirl_take(pull, &held, LONG));
    (void)atomic_add(&board->ready, 1);
    (void)raise(SIGSTOP);
}

/* It has finished two, has one in hand, and more in its socket. */
static void worker_dies_with_jobs(void **state) {
    clear();
    crew_at(*state, NULL);
    thirl *push = crew_open(THIRL_PUSH);
    pid_t pid = peer_start(take_and_stop);
    uint64_t n = 0;
    while (crew_send(push, n, BODY, thirl_in_ms(n < 6 ? 8000 : 50)) == 0) {
        n++;
        assert_true(n < 20);
    }
    await(&board->ready, 1);
    peer_slay(pid);
    thirl *pull = crew_open(THIRL_PULL);
    assert_int_equal(n, 6);
    for (uint64_t i = 2; i <= 8; i++) {
        struct crew_message m;
        int rc = -ETIMEDOUT;
        for (int turns = 0; rc == -ETIMEDOUT && turns < 500; turns++) { /* the pusher moves on when it is called */
            int sent = crew_send(push, n, BODY, THIRL_NOW);
            assert_true(sent == 0 || sent == -EAGAIN);
            n += sent == 0;
            rc = crew_take(pull, &m, thirl_in_ms(10));
        }
        assert_int_equal(rc, 0);
        assert_int_equal(m.number, i);
        assert_int_equal(m.again, i < 6); /* those that came back go first, and say so */
    }
    assert_int_equal(thirl_close(&pull, LONG), 0);
    assert_true(thirl_close(&push, THIRL_NOW) > 0);
}

static void *push_all(void *address) {
    thirl *push = NULL;
    uintptr_t left = 0;
    (void)address;
    ok(thirl_open(&push, THIRL_PUSH, crew_address, NULL));
    for (uint64_t n = 0; n < 40; n++) {
        char data[3000];
        memset(data, (int)n, sizeof data);
        memcpy(data, &n, sizeof n);
        ok(thirl_send(push, data, n % 5 == 4 ? sizeof data : 64, LONG));
    }
    left = (uintptr_t)thirl_close(&push, LONG);
    return (void *)left; // NOLINT(performance-no-int-to-ptr)
}

/* On a board of its own: every message is a byte on the worker's side, so content is looked at there. */
static void work_plainly(void) {
    unsigned char data[4096];
    size_t size;
    thirl *pull = NULL;
    int rc;
    ok(thirl_open(&pull, THIRL_PULL, crew_address, NULL));
    (void)atomic_add(&board->ready, 1);
    for (;;) {
        thirl_msg *msg = NULL;
        uint64_t n;
        rc = thirl_take(pull, &msg, thirl_in_ms(50));
        if (rc == -ETIMEDOUT && atomic_load(&board->closed) == 0) {
            continue;
        }
        if (rc != 0) {
            break;
        }
        size = thirl_msg_size(msg);
        must(size == 64 || size == 3000);
        memcpy(data, thirl_msg_data(msg), size);
        memcpy(&n, data, sizeof n);
        must(n < 40);
        for (size_t i = sizeof n; i < size; i++) {
            must(data[i] == (unsigned char)n);
        }
        (void)atomic_add(&board->came[n], 1);
        (void)atomic_add(&board->again[n], (uint32_t)(thirl_msg_again(msg) != 0));
        (void)usleep(200); /* the other one gets some as well */
        if (n % 10 == 7 && !thirl_msg_again(msg)) {
            ok(thirl_requeue(&msg));
            continue;
        }
        thirl_free(&msg);
    }
    must(rc == -ETIMEDOUT);
    must(thirl_close(&pull, LONG) == 0);
}

static const char *const points[] = {"ear.done.before",  "ear.done.after",   "ear.take.after",  "ear.back.after",
                                     "ear.back.before",  "tell.send.before", "tell.send.after", "meet.hello.before",
                                     "meet.hello.after", "chain.link.after", "link.bye.before", "link.bye.after",
                                     "haul.close.before"};
static char order[80];

static void die_at_work(void) {
    (void)setenv("THIRL_WEAVE_AT", order, 1);
    work_plainly();
}

/* A worker is killed at every point of its way, at several passes; nothing is lost, and what comes twice says so. */
static void killed_anywhere(void **state) {
    unsigned killed = 0, tried = 0;
    for (unsigned i = 0; i < 3 * (sizeof points / sizeof *points); i++) {
        static const unsigned passes[] = {1, 2, 7};
        if (room_is_brief() && i % 3 != i / 3 % 3) {
            continue; /* each point at one of its passes */
        }
        tried++;
        clear();
        crew_at(*state, NULL);
        (void)snprintf(order, sizeof order, "%s:%u:kill", points[i / 3], passes[i % 3]);
        pid_t victim = peer_start(die_at_work), other = peer_start(work_plainly);
        pthread_t pusher;
        void *left = NULL;
        assert_int_equal(pthread_create(&pusher, NULL, push_all, NULL), 0);
        assert_int_equal(pthread_join(pusher, &left), 0);
        atomic_store(&board->closed, 1);
        if ((uintptr_t)left != 0) {
            fail_msg("%s: %u are unfinished", order, (unsigned)(uintptr_t)left);
        }
        int status = 0;
        assert_int_equal(waitpid(victim, &status, 0), victim);
        killed += WIFSIGNALED(status);
        peer_reap(other);
        for (unsigned n = 0; n < 40; n++) {
            if (board->came[n] == 0 || (board->came[n] > 1 && board->again[n] == 0)) {
                fail_msg("%s: message %u came %u times, %u of them marked", order, n, board->came[n], board->again[n]);
            }
        }
    }
    assert_true(killed > tried / 3);
}

static const char *const pusher_points[] = {"deal.give.before", "deal.give.after", "hub.join.after",
                                            "tell.send.before", "hub.drop.before", "hub.close.before",
                                            "meet.join.before", "meet.join.after"};

static void push_and_die(void) {
    (void)setenv("THIRL_WEAVE_AT", order, 1);
    (void)push_all(NULL);
}

/* A pusher is killed; the workers are told once, and work for the next one. */
static void pusher_killed_anywhere(void **state) {
    crew_at(*state, NULL);
    thirl *pull = crew_open(THIRL_PULL);
    unsigned deaths = 0;
    for (unsigned i = 0; i < 2 * (sizeof pusher_points / sizeof *pusher_points); i++) {
        (void)snprintf(order, sizeof order, "%s:%u:kill", pusher_points[i / 2], i % 2 == 0 ? 1u : 9u);
        pid_t pid = peer_start(push_and_die);
        int status = 0, rc = 0;
        uint64_t came = 0;
        thirl_msg *msg = NULL;
        while (rc == 0 || rc == -ETIMEDOUT) {
            rc = thirl_take(pull, &msg, thirl_in_ms(20));
            if (rc == 0) {
                uint64_t n;
                memcpy(&n, thirl_msg_data(msg), sizeof n);
                assert_int_equal(n, came); /* what it had sent comes first, and in order */
                came++;
                thirl_free(&msg);
            } else if (rc == -ETIMEDOUT && waitpid(pid, &status, WNOHANG) == pid) {
                pid = 0;
                break; /* it died before it had met us */
            }
        }
        if (pid != 0) {
            assert_int_equal(waitpid(pid, &status, 0), pid);
        }
        deaths += WIFSIGNALED(status);
        assert_true(rc == -THIRL_EPEERDIED || rc == -ETIMEDOUT);
        assert_true(WIFSIGNALED(status) || came == 40); /* who has closed is no news, and left nothing */
    }
    assert_true(deaths >= 8);
    assert_int_equal(thirl_close(&pull, LONG), 0);
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : peer_setup(state);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CREW_OVER_ALL(each_message_to_one),    CREW_OVER_ALL(without_workers),
        CREW_OVER_ALL(worker_dies_with_jobs),  CREW_OVER_ALL(jobs_are_done_or_given_back),
        CREW_OVER_ALL(pusher_of_a_job_dies),   CREW_OVER_ALL(killed_anywhere),
        CREW_OVER_ALL(pusher_killed_anywhere),
    };
    crew_filter(argc, argv);
    return cmocka_run_group_tests_name("deal", tests, begin, peer_teardown);
}
