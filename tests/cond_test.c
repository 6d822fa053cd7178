/* SPDX-License-Identifier: MIT
 *
 * The condition variable of include/thirl/lock.h: what each call answers, between threads and between processes; and no wake-up is lost.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/lock.h"
#include "sync/order.h"
#include "tests/member.h"
#include "tests/room.h"

static struct board {
    thirl_mutex mutex, another;
    thirl_cond cond, other;
    uint32_t ready, waits, woken, go; /* by the mutex */
    uint32_t seen;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static const uint32_t with_each_flag[] = {0, THIRL_LOCK_RECURSIVE, THIRL_LOCK_INHERIT,
                                          THIRL_LOCK_RECURSIVE | THIRL_LOCK_INHERIT, THIRL_LOCK_DEADLOCK};
#define FLAGS (sizeof with_each_flag / sizeof *with_each_flag)

static void anew(uint32_t flags) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, flags), 0);
    assert_int_equal(thirl_mutex_init(&board->another, flags), 0);
    assert_int_equal(thirl_cond_init(&board->cond, 0), 0);
    assert_int_equal(thirl_cond_init(&board->other, 0), 0);
}

/* Until somebody, with the mutex, has said so often that it waits. */
static bool until_they_wait(uint32_t threads) {
    for (int64_t until = clock_now() + 20 * CLOCK_S; clock_now() < until; room_sleep(CLOCK_MS / 5)) {
        int rc = thirl_mutex_lock(&board->mutex, thirl_in_ms(20000));
        bool all = rc == 0 && board->waits >= threads;
        if (rc != 0 || thirl_mutex_unlock(&board->mutex) != 0) return false;
        if (all) return true;
    }
    return false;
}

static void answers_of_one_thread(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        uint32_t flags = with_each_flag[i];
        anew(flags);
        assert_int_equal(thirl_cond_signal(&board->cond), 0);
        assert_int_equal(thirl_cond_broadcast(&board->cond), 0);
        assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, THIRL_NOW), -EPERM);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
        assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, THIRL_NOW), -EAGAIN);
        int64_t began = clock_now();
        assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(120)), -ETIMEDOUT);
        assert_true(clock_now() - began >= 120 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
        assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, (thirl_time){1}), -ETIMEDOUT);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0); /* it has it again after each */
        assert_int_equal(party_me()->slip->held, 0);
        assert_int_equal(party_me()->slip->wait.kind, 0);
        if ((flags & THIRL_LOCK_RECURSIVE) != 0) {
            assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
            assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
            assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, THIRL_NEVER), -EBUSY);
            assert_non_null(strstr(thirl_why(), "2 times"));
            assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
            assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, THIRL_NOW), -EAGAIN);
            assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
        }
        assert_int_equal(thirl_cond_deinit(&board->cond), 0);
        assert_int_equal(thirl_cond_signal(&board->cond), -EINVAL);
        assert_int_equal(thirl_cond_broadcast(&board->cond), -EINVAL);
        assert_int_equal(thirl_cond_deinit(&board->cond), -EINVAL);
        assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, THIRL_NOW), -EINVAL);
    }
    assert_int_equal(thirl_cond_init(&board->cond, 1), -EINVAL);
    assert_int_equal(thirl_cond_init(NULL, 0), -EINVAL);
    assert_int_equal(thirl_cond_signal(NULL), -EINVAL);
    assert_int_equal(thirl_cond_wait(NULL, &board->mutex, THIRL_NOW), -EINVAL);
    assert_int_equal(thirl_cond_wait(&board->other, NULL, THIRL_NOW), -EPERM);
}

/* Waits until `go` counts more than what it has seen of it, or has gone by: one more for each who is woken once. */
static int wait_until_told(void *argument) {
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    board->waits++;
    while (board->go == 0) {
        int rc = thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000));
        CHECK(rc == 0);
        board->woken++;
    }
    board->go -= argument != NULL;
    board->waits--;
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    return 0;
}

#define WAITERS 4

/* One signal is for one: the others sleep on, also when they look up after their slices; unless that one is slower than their slice, which
 * *exact then does not say. All by a broadcast. */
static int wakes_one_and_all(bool in_mutex, bool *exact) {
    pid_t child[WAITERS];
    for (int i = 0; i < WAITERS; i++) child[i] = room_fork(wait_until_told, NULL);
    CHECK(until_they_wait(WAITERS));
    room_sleep(120 * CLOCK_MS);
    for (uint32_t n = 1; n <= 2; n++) {
        CHECK(thirl_cond_signal(&board->cond) == 0);
        CHECK(member_wait(&board->woken, n));
        room_sleep(120 * CLOCK_MS);
    }
    CHECK(thirl_cond_deinit(&board->cond) == -EBUSY);
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    uint32_t woken = board->woken;
    *exact = woken == 2;
    board->go = 1;
    if (in_mutex) CHECK(thirl_cond_broadcast(&board->cond) == 0);
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    if (!in_mutex) CHECK(thirl_cond_broadcast(&board->cond) == 0);
    for (int i = 0; i < WAITERS; i++) CHECK(room_reap(child[i]) == 0);
    CHECK(board->woken <= woken + WAITERS && board->waits == 0);
    CHECK(thirl_cond_deinit(&board->cond) == 0);
    return 0;
}

static void a_signal_is_for_one_and_a_broadcast_for_all(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        bool exact = false;
        for (int tries = 0; !exact && tries < 10; tries++) {
            anew(with_each_flag[i]);
            assert_int_equal(wakes_one_and_all(i % 2 == 0, &exact), 0);
        }
        assert_true(exact);
    }
}

/* It is ended, or the mutex given up, while somebody waits. */
static int wait_for_its_end(void *expected) {
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    board->waits++;
    int rc = thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000));
    CHECK(rc == (int)(intptr_t)expected);
    CHECK(rc == -ENOTRECOVERABLE || thirl_mutex_unlock(&board->mutex) == 0);
    return 0;
}

static void who_waits_is_told_of_the_end(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        anew(with_each_flag[i]);
        pid_t child = room_fork(wait_for_its_end, (void *)(intptr_t)-ENOTRECOVERABLE);
        assert_true(until_they_wait(1));
        assert_int_equal(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)), 0);
        assert_int_equal(thirl_mutex_condemn(&board->mutex), 0);
        assert_int_equal(thirl_cond_signal(&board->cond), 0);
        assert_int_equal(room_reap(child), 0);
        anew(with_each_flag[i]);
        child = room_fork(wait_for_its_end, (void *)(intptr_t)-EINVAL);
        assert_true(until_they_wait(1));
        memset(&board->cond, 0, sizeof board->cond); /* what deinit would not do */
        assert_int_equal(room_reap(child), 0);
    }
}

static int die_with_it(void *argument) {
    (void)argument;
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    return raise(SIGKILL);
}

static int wait_and_be_told(void *argument) {
    (void)argument;
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    board->waits++;
    CHECK(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000)) == THIRL_OWNER_DIED);
    CHECK(thirl_mutex_mend(&board->mutex) == 0 && thirl_mutex_unlock(&board->mutex) == 0);
    return 0;
}

/* The mutex's owner dies, and nobody else is there to find out, or to signal. */
static void who_waits_takes_over_from_a_dead_owner(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        anew(with_each_flag[i]);
        pid_t child = room_fork(wait_and_be_told, NULL);
        assert_true(until_they_wait(1));
        int64_t began = clock_now();
        assert_int_equal(room_run(die_with_it, NULL), 128 + SIGKILL);
        assert_int_equal(room_reap(child), 0);
        assert_true(clock_now() - began < CLOCK_S);
    }
}

/* ---- many at once ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 1000
#else
#define ROUNDS 4000
#endif

static struct ball {
    uint32_t at; /* whose turn it is: only the mutex keeps the threads apart, for ThreadSanitizer */
} ball;

/* Two who pass a ball: each waits for the other ROUNDS times. One lost wake-up would cost a slice, which shows in the whole. */
static int pass(struct ball *b, uint32_t who, bool all) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(thirl_mutex_lock(&board->mutex, THIRL_NEVER) == 0);
        while (b->at != who) CHECK(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000)) == 0);
        b->at = 1 - who;
        if (i % 2 == 0) CHECK(thirl_mutex_unlock(&board->mutex) == 0);
        CHECK((all ? thirl_cond_broadcast(&board->cond) : thirl_cond_signal(&board->cond)) == 0);
        if (i % 2 != 0) CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    }
    return 0;
}

static void *pass_in_thread(void *argument) {
    return (void *)(intptr_t)pass(&ball, 1, argument != NULL);
}

static void threads_pass_a_ball(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        pthread_t thread;
        void *rc;
        anew(with_each_flag[i]);
        ball.at = 0;
        void *all = i % 2 == 0 ? NULL : board;
        assert_int_equal(pthread_create(&thread, NULL, pass_in_thread, all), 0);
        assert_int_equal(pass(&ball, 0, all != NULL), 0);
        assert_int_equal(pthread_join(thread, &rc), 0);
        assert_null(rc);
    }
}

static int pass_in_process(void *argument) {
    return pass((struct ball *)(void *)&board->seen, 1, argument != NULL);
}

static void processes_pass_a_ball(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        anew(with_each_flag[i]);
        pid_t child = room_fork(pass_in_process, NULL);
        assert_int_equal(pass((struct ball *)(void *)&board->seen, 0, false), 0);
        assert_int_equal(room_reap(child), 0);
    }
}

/* A queue of numbers between several on both sides: each is taken once. */
static struct basket {
    uint32_t full, made, taken;
    uint64_t sum;
    bool over;
} basket;
#define ROOM 3

static void *make(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        if (thirl_mutex_lock(&board->mutex, THIRL_NEVER) != 0) return argument;
        while (basket.full == ROOM) {
            if (thirl_cond_wait(&board->other, &board->mutex, thirl_in_ms(20000)) != 0) return argument;
        }
        basket.full++;
        basket.made++;
        if (thirl_cond_signal(&board->cond) != 0 || thirl_mutex_unlock(&board->mutex) != 0) return argument;
    }
    return NULL;
}

static void *take(void *argument) {
    for (;;) {
        if (thirl_mutex_lock(&board->mutex, THIRL_NEVER) != 0) return argument;
        while (basket.full == 0 && !basket.over) {
            if (thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000)) != 0) return argument;
        }
        bool over = basket.full == 0;
        basket.full -= !over;
        basket.taken += !over;
        if (thirl_mutex_unlock(&board->mutex) != 0 || thirl_cond_signal(&board->other) != 0) return argument;
        if (over) return NULL;
    }
}

static void threads_share_a_queue(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        pthread_t thread[5];
        void *rc = NULL;
        anew(with_each_flag[i]);
        basket = (struct basket){0};
        for (int t = 0; t < 5; t++) assert_int_equal(pthread_create(&thread[t], NULL, t < 2 ? make : take, board), 0);
        for (int t = 0; t < 2; t++) assert_true(pthread_join(thread[t], &rc) == 0 && rc == NULL);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NEVER), 0);
        basket.over = true;
        assert_int_equal(thirl_cond_broadcast(&board->cond), 0);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
        for (int t = 2; t < 5; t++) assert_true(pthread_join(thread[t], &rc) == 0 && rc == NULL);
        assert_int_equal(basket.taken, 2 * ROUNDS);
    }
}

/* A forked child does not hold what its parent holds. */
static int forked(void *argument) {
    (void)argument;
    CHECK(thirl_cond_wait(&board->cond, &board->mutex, THIRL_NOW) == -EPERM);
    CHECK(thirl_cond_signal(&board->cond) == 0);
    return 0;
}

static void a_forked_child_holds_nothing(void **state) {
    (void)state;
    anew(0);
    assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
    assert_int_equal(room_run(forked, NULL), 0);
    assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
}

/* Signals with the mutex in its hand, and then wants what the one that waits has held all the time. */
static int signal_and_want(void *argument) {
    (void)argument;
    CHECK(thirl_mutex_lock(&board->mutex, THIRL_NEVER) == 0); /* which the other one lets go of while it waits */
    CHECK(thirl_cond_signal(&board->cond) == 0);
    atomic_store(&board->go, 1);
    int rc = thirl_mutex_lock(&board->another, thirl_in_ms(9000));
    CHECK(rc == 0 || (rc == -EDEADLK && strstr(thirl_why(), "circle") != NULL));
    CHECK(rc != 0 || thirl_mutex_unlock(&board->another) == 0);
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    return rc == 0 ? 0 : 2;
}

/* Coming back from a wait would end in a circle: one of the two is told, and both go on. Who waited is without the mutex then. */
static int wait_in_a_circle(void *argument) {
    (void)argument;
    CHECK(thirl_mutex_lock(&board->another, THIRL_NOW) == 0 && thirl_mutex_lock(&board->mutex, THIRL_NOW) == 0);
    pid_t child = room_fork(signal_and_want, NULL);
    int rc = 0;
    while (rc == 0 && atomic_load(&board->go) == 0) rc = thirl_cond_wait(&board->cond, &board->mutex, THIRL_NEVER);
    CHECK(rc == 0 || (rc == -EDEADLK && strstr(thirl_why(), "circle") != NULL));
    CHECK(thirl_mutex_unlock(&board->mutex) == (rc == 0 ? 0 : -EPERM));
    CHECK(thirl_mutex_unlock(&board->another) == 0);
    int other = room_reap(child);
    CHECK((rc == 0 && other == 2) || (rc != 0 && other == 0));
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(9000)) == 0 && thirl_mutex_unlock(&board->mutex) == 0);
    return 0;
}

static void a_circle_is_told_to_one(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        anew(THIRL_LOCK_DEADLOCK);
        assert_int_equal(room_run(wait_in_a_circle, NULL), 0);
    }
    /* Who signals asked for nothing: it is the other one that is told. */
    anew(THIRL_LOCK_DEADLOCK);
    assert_int_equal(thirl_mutex_init(&board->another, 0), 0);
    assert_int_equal(room_run(wait_in_a_circle, NULL), 0);
}

/* How many threads of the process wait for the condition variable with nothing in their hands, by what others read of them. */
static unsigned waiting(pid_t process) {
    struct knot graph = {.all = false};
    assert_int_equal(order_look(&graph), 0);
    unsigned found = 0;
    for (unsigned i = 0; i < graph.count; i++) {
        const struct slip *slip = &graph.thread[i].slip;
        found += graph.process[graph.thread[i].process].pid == process && slip->held == 0 &&
                 slip->wait.kind == SLIP_COND && slip->wait.object == (uint64_t)(uintptr_t)&board->cond &&
                 slip->wait.site != 0 && strcmp(order_kind(slip->wait.kind), "condition variable") == 0;
    }
    knot_free(&graph);
    return found;
}

/* What is waited for stands where others read it. */
static void slips_say_who_waits(void **state) {
    (void)state;
    anew(0);
    pid_t child = room_fork(wait_until_told, NULL);
    assert_true(until_they_wait(1));
    unsigned found = 0; /* it strikes the mutex off its list only when it has let go of it */
    for (int64_t until = clock_now() + 20 * CLOCK_S; found == 0 && clock_now() < until; room_sleep(CLOCK_MS / 5)) {
        found = waiting(child);
    }
    assert_int_equal(found, 1);
    assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NEVER), 0);
    board->go = 1;
    assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
    assert_int_equal(thirl_cond_signal(&board->cond), 0);
    assert_int_equal(room_reap(child), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_one_thread),        cmocka_unit_test(threads_pass_a_ball),
        cmocka_unit_test(threads_share_a_queue),        cmocka_unit_test(a_signal_is_for_one_and_a_broadcast_for_all),
        cmocka_unit_test(who_waits_is_told_of_the_end), cmocka_unit_test(who_waits_takes_over_from_a_dead_owner),
        cmocka_unit_test(processes_pass_a_ball),        cmocka_unit_test(a_forked_child_holds_nothing),
        cmocka_unit_test(a_circle_is_told_to_one),      cmocka_unit_test(slips_say_who_waits),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
