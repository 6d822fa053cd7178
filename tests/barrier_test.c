/* SPDX-License-Identifier: MIT
 *
 * The barrier of include/thirl/lock.h: what each call answers, who waits for whom, and what is told of the dead.
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
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/lock.h"
#include "sync/order.h"
#include "tests/member.h"
#include "tests/room.h"

#define MOST 4

static struct board {
    thirl_barrier barrier;
    thirl_mutex mutex;
    uint32_t came[MOST];
    uint32_t ready, go, told;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(uint32_t places) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_barrier_init(&board->barrier, places), 0);
    assert_int_equal(thirl_mutex_init(&board->mutex, THIRL_LOCK_DEADLOCK), 0);
}

static void answers_of_one_thread(void **state) {
    (void)state;
    uint32_t generation = 77;
    anew(1);
    thirl_barrier *barrier = &board->barrier;
    assert_int_equal(thirl_barrier_wait(barrier, NULL, THIRL_NOW), -EPERM);
    assert_int_equal(thirl_barrier_leave(barrier), -EPERM);
    assert_int_equal(thirl_barrier_join(barrier), 0);
    assert_int_equal(thirl_barrier_join(barrier), -EALREADY);
    assert_int_equal(party_me()->slip->held, 1);
    for (uint32_t i = 1; i <= 70000; i++) { /* more than the last bits of a place tell apart */
        assert_int_equal(thirl_barrier_wait(barrier, &generation, THIRL_NOW), 0);
        assert_int_equal(generation, i);
    }
    assert_int_equal(thirl_barrier_wait(barrier, NULL, THIRL_NEVER), 0);
    assert_int_equal(thirl_barrier_deinit(barrier), -EBUSY);
    assert_int_equal(thirl_barrier_leave(barrier), 0);
    assert_int_equal(thirl_barrier_leave(barrier), -EPERM);
    assert_int_equal(party_me()->slip->held, 0);
    assert_int_equal(party_me()->slip->wait.kind, 0);
    assert_int_equal(thirl_barrier_deinit(barrier), 0);
    assert_int_equal(thirl_barrier_join(barrier), -EINVAL);
    assert_int_equal(thirl_barrier_wait(barrier, NULL, THIRL_NOW), -EINVAL);
    assert_int_equal(thirl_barrier_leave(barrier), -EINVAL);
    assert_int_equal(thirl_barrier_deinit(barrier), -EINVAL);
    assert_int_equal(thirl_barrier_init(barrier, 0), -EINVAL);
    assert_int_equal(thirl_barrier_init(barrier, THIRL_BARRIER_PLACES_MAX + 1), -EINVAL);
    assert_int_equal(thirl_barrier_init(NULL, 1), -EINVAL);
    assert_int_equal(thirl_barrier_join(NULL), -EINVAL);
}

/* Alone with two places it cannot open, until somebody else has come; and who gave up has not. */
static int come_once(void *argument) {
    uint32_t generation = 0;
    (void)argument;
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    atomic_store(&board->ready, 1);
    CHECK(member_wait(&board->go, 1));
    CHECK(thirl_barrier_wait(&board->barrier, &generation, thirl_in_ms(9000)) == 0);
    CHECK(generation == 1);
    CHECK(thirl_barrier_leave(&board->barrier) == 0);
    return 0;
}

static void who_gave_up_has_not_come(void **state) {
    (void)state;
    anew(2);
    assert_int_equal(thirl_barrier_join(&board->barrier), 0);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, THIRL_NOW), -EAGAIN);
    pid_t child = room_fork(come_once, NULL);
    assert_true(member_wait(&board->ready, 1));
    int64_t began = clock_now();
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(120)), -ETIMEDOUT);
    assert_true(clock_now() - began >= 120 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
    char pid[32];
    (void)snprintf(pid, sizeof pid, "pid %d ", (int)child);
    assert_non_null(strstr(thirl_why(), pid));
    atomic_store(&board->go, 1);
    room_sleep(30 * CLOCK_MS);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)), 0);
    assert_int_equal(room_reap(child), 0);
    /* it has left: nobody waits for it */
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, THIRL_NOW), 0);
    assert_int_equal(thirl_barrier_leave(&board->barrier), 0);
    /* nobody is there: it begins anew */
    assert_int_equal(thirl_barrier_join(&board->barrier), 0);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_barrier_leave(&board->barrier), 0);
}

/* ---- many ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 200
#else
#define ROUNDS 500
#endif

static uint64_t plain[MOST]; /* only the barrier orders them: for ThreadSanitizer */

static void *go_round_in_thread(void *argument) {
    unsigned who = (unsigned)(uintptr_t)argument;
    uint32_t generation;
    if (thirl_barrier_join(&board->barrier) != 0) abort();
    for (uint64_t i = 0; i < ROUNDS; i++) {
        plain[who] = i + 1;
        if (thirl_barrier_wait(&board->barrier, &generation, THIRL_NEVER) != 0 || generation != 2 * i + 1) abort();
        for (unsigned t = 0; t < MOST; t++) {
            if (plain[t] != i + 1) abort();
        }
        if (thirl_barrier_wait(&board->barrier, &generation, THIRL_NEVER) != 0 || generation != 2 * i + 2) abort();
    }
    if (thirl_barrier_leave(&board->barrier) != 0) abort();
    return NULL;
}

static void threads_go_round(void **state) {
    (void)state;
    pthread_t thread[MOST];
    anew(MOST);
    memset(plain, 0, sizeof plain);
    for (unsigned t = 0; t < MOST; t++) {
        assert_int_equal(pthread_create(&thread[t], NULL, go_round_in_thread, (void *)(uintptr_t)t), 0);
    }
    for (unsigned t = 0; t < MOST; t++) assert_int_equal(pthread_join(thread[t], NULL), 0);
    assert_int_equal(thirl_barrier_deinit(&board->barrier), 0);
}

/* Comes again and again until it is told to go; notes down for which generation, and never finds anybody behind. */
static int go_round(void *argument) {
    uint32_t *own = argument, generation = 0;
    (void)alarm(100);
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->go) == 0) {
        int rc = thirl_barrier_wait(&board->barrier, &generation, thirl_in_ms(20000));
        CHECK(rc == 0 || (rc == THIRL_OWNER_DIED && strstr(thirl_why(), "died") != NULL));
        if (rc != 0) (void)atomic_add(&board->told, 1u);
        atomic_store(own, generation);
        for (int c = 0; c < MOST && atomic_load(&board->told) == 0; c++) { /* 0: was not there then */
            uint32_t its = atomic_load(&board->came[c]);
            CHECK(its == 0 || generation - its <= 1 || its - generation <= 1);
        }
    }
    CHECK(thirl_barrier_leave(&board->barrier) == 0);
    return 0;
}

static void processes_go_round(void **state) {
    (void)state;
    pid_t child[MOST];
    anew(MOST);
    for (int c = 0; c < MOST; c++) child[c] = room_fork(go_round, &board->came[c]);
    for (int c = 0; c < MOST; c++) assert_true(member_wait(&board->came[c], ROUNDS));
    atomic_store(&board->go, 1);
    for (int c = 0; c < MOST; c++) assert_int_equal(room_reap(child[c]), 0);
    assert_int_equal(board->told, 0);
    assert_int_equal(thirl_barrier_deinit(&board->barrier), 0);
}

/* ---- death ---- */

static int stay_away(void *argument) {
    (void)argument;
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    CHECK(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)) == 0);
    atomic_store(&board->ready, 1);
    CHECK(member_wait(&board->go, 1));
    return 0;
}

/* Ends without leaving. */
static int come_when_told(void *argument) {
    (void)argument;
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    atomic_store(&board->ready, 1);
    CHECK(member_wait(&board->go, 1));
    CHECK(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)) == 0);
    return 0;
}

/* One does not come and is killed: the others are told who, by then, once, and go on without; his place is free. */
static void a_death_is_told_to_all_once(void **state) {
    (void)state;
    char pid[32];
    anew(2);
    assert_int_equal(thirl_barrier_join(&board->barrier), 0);
    pid_t child = room_fork(stay_away, NULL);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)), 0);
    assert_true(member_wait(&board->ready, 1));
    kill(child, SIGSTOP); /* stopped is not dead */
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(120)), -ETIMEDOUT);
    kill(child, SIGKILL);
    assert_int_equal(room_reap(child), 128 + SIGKILL);
    int64_t began = clock_now();
    uint32_t generation = 0;
    assert_int_equal(thirl_barrier_wait(&board->barrier, &generation, thirl_in_ms(9000)), THIRL_OWNER_DIED);
    assert_true(clock_now() - began < CLOCK_S);
    (void)snprintf(pid, sizeof pid, "pid %d,", (int)child);
    assert_non_null(strstr(thirl_why(), pid));
    assert_int_equal(generation, 2);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, THIRL_NOW), 0);
    /* somebody takes the place, and is waited for */
    atomic_store(&board->ready, 0);
    child = room_fork(come_when_told, NULL);
    assert_true(member_wait(&board->ready, 1));
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(70)), -ETIMEDOUT);
    atomic_store(&board->go, 1);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)), 0);
    assert_int_equal(room_reap(child), 0);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, THIRL_NOW), THIRL_OWNER_DIED); /* it did not leave */
    assert_int_equal(thirl_barrier_leave(&board->barrier), 0);
}

static int join_only(void *argument) {
    int want = (int)(intptr_t)argument;
    return thirl_barrier_join(&board->barrier) == want ? 0 : 1;
}

static void places_of_the_dead_come_back(void **state) {
    (void)state;
    anew(2);
    assert_int_equal(room_run(join_only, NULL), 0);
    assert_int_equal(room_run(join_only, NULL), 0);
    assert_int_equal(thirl_barrier_join(&board->barrier), 0);
    pid_t child = room_fork(come_once, NULL);
    assert_true(member_wait(&board->ready, 1));
    assert_int_equal(room_run(join_only, (void *)(intptr_t)-EBUSY), 0);
    assert_int_equal(thirl_barrier_deinit(&board->barrier), -EBUSY);
    kill(child, SIGKILL);
    assert_int_equal(room_reap(child), 128 + SIGKILL);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, THIRL_NOW), -EAGAIN); /* it has not opened yet */
    assert_int_equal(thirl_barrier_leave(&board->barrier), 0);
    assert_int_equal(thirl_barrier_deinit(&board->barrier), 0);
}

/* Members are killed at random and others take their places: nobody waits for ever, nobody is left behind, all deaths are told. */
static void random_kills(void **state) {
    (void)state;
    pid_t child[MOST];
    anew(MOST);
    for (int c = 0; c < MOST; c++) child[c] = room_fork(go_round, &board->came[c]);
    for (int c = 0; c < MOST; c++)
        assert_true(member_wait(&board->came[c], 1)); /* before it has opened once, all four are waited for */
    for (int k = 0; k < 30; k++) {
        int c = (int)room_dice(MOST);
        room_sleep((int64_t)room_dice(3000) * CLOCK_US);
        uint32_t told = atomic_load(&board->told), ready = atomic_load(&board->ready);
        kill(child[c], SIGKILL);
        assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
        assert_true(member_wait(&board->told, told + MOST - 1));
        atomic_store(&board->came[c], 0);
        child[c] = room_fork(go_round, &board->came[c]);
        assert_true(member_wait(&board->ready, ready + 1));
    }
    atomic_store(&board->go, 1);
    for (int c = 0; c < MOST; c++) assert_int_equal(room_reap(child[c]), 0);
    assert_int_equal(thirl_barrier_deinit(&board->barrier), 0);
}

/* ---- circles ---- */

/* Holds the mutex at the barrier. */
static void *come_with_the_mutex(void *argument) {
    (void)argument;
    if (thirl_barrier_join(&board->barrier) != 0 || thirl_mutex_lock(&board->mutex, THIRL_NEVER) != 0) abort();
    atomic_store(&board->ready, 1);
    if (thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)) != 0) abort();
    if (thirl_mutex_unlock(&board->mutex) != 0 || thirl_barrier_leave(&board->barrier) != 0) abort();
    return NULL;
}

/* One more who is at the barrier already: two who wait there do not wait for each other. */
static void *come_too(void *argument) {
    (void)argument;
    if (thirl_barrier_join(&board->barrier) != 0 || thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)) != 0)
        abort();
    if (thirl_barrier_leave(&board->barrier) != 0) abort();
    return NULL;
}

static void a_circle_through_a_barrier_is_told(void **state) {
    (void)state;
    pthread_t thread[2];
    struct knot graph = {.all = false};
    anew(3);
    assert_int_equal(pthread_create(&thread[0], NULL, come_with_the_mutex, NULL), 0);
    assert_int_equal(pthread_create(&thread[1], NULL, come_too, NULL), 0);
    assert_true(member_wait(&board->ready, 1));
    /* not a member yet: a wait for the mutex may well end */
    assert_int_equal(thirl_mutex_lock(&board->mutex, thirl_in_ms(200)), -ETIMEDOUT);
    assert_int_equal(order_look(&graph), 0);
    for (unsigned i = 0; i < graph.count; i++) {
        unsigned circle[4];
        assert_int_equal(knot_circle(&graph, i, circle, 4), 0);
    }
    knot_free(&graph);
    assert_int_equal(thirl_barrier_join(&board->barrier), 0);
    assert_int_equal(thirl_mutex_lock(&board->mutex, thirl_in_ms(9000)), -EDEADLK);
    assert_non_null(strstr(thirl_why(), "barrier"));
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)), 0);
    for (int t = 0; t < 2; t++) assert_int_equal(pthread_join(thread[t], NULL), 0);
    assert_int_equal(thirl_barrier_leave(&board->barrier), 0);
    assert_int_equal(party_me()->slip->held, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_one_thread),
        cmocka_unit_test(who_gave_up_has_not_come),
        cmocka_unit_test(threads_go_round),
        cmocka_unit_test(processes_go_round),
        cmocka_unit_test(a_death_is_told_to_all_once),
        cmocka_unit_test(places_of_the_dead_come_back),
        cmocka_unit_test(random_kills),
        cmocka_unit_test(a_circle_through_a_barrier_is_told),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
