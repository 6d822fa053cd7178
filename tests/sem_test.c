/* SPDX-License-Identifier: MIT
 *
 * The semaphore of include/thirl/lock.h: what each call answers, between threads and between processes, and whose permits come back.
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

#define CHILDREN 4
#define SOON thirl_in_ms(20000)

static struct board {
    thirl_sem sem;
    thirl_mutex mutex;
    uint64_t taken, posted;
    uint32_t inside[CHILDREN]; /* the number of the turn */
    uint32_t victim;           /* + 1: its permit may be another one's already */
    uint32_t ready, go;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(uint32_t permits, uint32_t flags) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_sem_init(&board->sem, permits, flags), 0);
    assert_int_equal(thirl_mutex_init(&board->mutex, THIRL_LOCK_DEADLOCK), 0);
}

static void permits_of_one_thread(void **state) {
    (void)state;
    anew(THIRL_SEM_PERMITS_MAX, 0);
    for (int i = 0; i < THIRL_SEM_PERMITS_MAX; i++) {
        assert_int_equal(thirl_sem_wait(&board->sem, i % 2 == 0 ? THIRL_NOW : THIRL_NEVER), 0);
    }
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EAGAIN);
    int64_t began = clock_now();
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(70)), -ETIMEDOUT);
    assert_true(clock_now() - began >= 70 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
    assert_int_equal(thirl_sem_deinit(&board->sem), -EBUSY);
    assert_int_equal(party_me()->slip->held, THIRL_SEM_PERMITS_MAX);
    for (int i = 0; i < THIRL_SEM_PERMITS_MAX; i++) {
        assert_int_equal(thirl_sem_post(&board->sem), 0);
    }
    assert_int_equal(party_me()->slip->held, 0);
    assert_int_equal(party_me()->slip->wait.kind, 0);
    assert_int_equal(thirl_sem_post(&board->sem), -EPERM);
    assert_int_equal(thirl_sem_deinit(&board->sem), 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EINVAL);
    assert_int_equal(thirl_sem_post(&board->sem), -EINVAL);
    assert_int_equal(thirl_sem_deinit(&board->sem), -EINVAL);
}

static void a_count_of_one_thread(void **state) {
    (void)state;
    anew(2, THIRL_LOCK_COUNTING);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NEVER), 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EAGAIN);
    int64_t began = clock_now();
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(70)), -ETIMEDOUT);
    assert_true(clock_now() - began >= 70 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
    assert_int_equal(thirl_sem_post(&board->sem), 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    assert_int_equal(thirl_sem_deinit(&board->sem), 0);
    anew(THIRL_SEM_COUNT_MAX, THIRL_LOCK_COUNTING);
    assert_int_equal(thirl_sem_post(&board->sem), -EOVERFLOW);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    assert_int_equal(thirl_sem_post(&board->sem), 0);
    assert_int_equal(party_me()->slip->held, 0);
}

static void what_is_none(void **state) {
    (void)state;
    thirl_sem *nothing = NULL;
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EINVAL);
    assert_int_equal(thirl_sem_wait(nothing, THIRL_NOW), -EINVAL);
    assert_int_equal(thirl_sem_post(nothing), -EINVAL);
    assert_int_equal(thirl_sem_deinit(nothing), -EINVAL);
    assert_int_equal(thirl_sem_init(nothing, 1, 0), -EINVAL);
    assert_int_equal(thirl_sem_init(&board->sem, 0, 0), -EINVAL);
    assert_int_equal(thirl_sem_init(&board->sem, THIRL_SEM_PERMITS_MAX + 1, 0), -EINVAL);
    assert_int_equal(thirl_sem_init(&board->sem, THIRL_SEM_COUNT_MAX + 1, THIRL_LOCK_COUNTING), -EINVAL);
    assert_int_equal(thirl_sem_init(&board->sem, 1, THIRL_LOCK_RECURSIVE), -EINVAL);
    assert_int_equal(thirl_sem_init(&board->sem, 1, THIRL_LOCK_COUNTING | THIRL_LOCK_DEADLOCK), -EINVAL);
    assert_int_equal(thirl_mutex_init((thirl_mutex *)(void *)&board->sem, 0), 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EINVAL); /* a mutex is no semaphore */
}

/* ---- threads ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 1000
#else
#define ROUNDS 5000
#endif

static uint64_t plain; /* only a semaphore of one permit keeps the threads apart: for ThreadSanitizer */

static void *count_in_thread(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        if (thirl_sem_wait(argument, THIRL_NEVER) != 0) abort();
        plain++;
        if (thirl_sem_post(argument) != 0) abort();
    }
    return NULL;
}

static void threads_are_kept_apart(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= THIRL_LOCK_COUNTING; flags += THIRL_LOCK_COUNTING) {
        pthread_t thread[4];
        anew(1, flags);
        plain = 0;
        for (int t = 0; t < 4; t++) assert_int_equal(pthread_create(&thread[t], NULL, count_in_thread, &board->sem), 0);
        for (int t = 0; t < 4; t++) assert_int_equal(pthread_join(thread[t], NULL), 0);
        assert_int_equal(plain, 4 * ROUNDS);
    }
}

static void *post_for_others(void *nothing) {
    (void)nothing;
    return (void *)(intptr_t)thirl_sem_post(&board->sem);
}

/* A permit is the process's; what each thread is listed with follows. */
static void another_thread_gives_back(void **state) {
    (void)state;
    pthread_t thread;
    void *rc = NULL;
    anew(2, 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    assert_int_equal(pthread_create(&thread, NULL, post_for_others, NULL), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_null(rc);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    assert_int_equal(party_me()->slip->held, 2);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_sem_post(&board->sem), 0);
    assert_int_equal(thirl_sem_post(&board->sem), 0);
    assert_int_equal(party_me()->slip->held, 0);
}

/* ---- processes ---- */

/* Takes a permit, and gives it back when told. */
static int hold(void *argument) {
    (void)argument;
    CHECK(thirl_sem_wait(&board->sem, THIRL_NEVER) >= 0);
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->go, 1));
    CHECK(thirl_sem_post(&board->sem) == 0);
    return 0;
}

static void permits_between_processes(void **state) {
    (void)state;
    anew(2, 0);
    pid_t child[2] = {room_fork(hold, NULL), room_fork(hold, NULL)};
    assert_true(member_wait(&board->ready, 2));
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_sem_post(&board->sem), -EPERM);
    assert_int_equal(thirl_sem_deinit(&board->sem), -EBUSY);
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(120)), -ETIMEDOUT);
    kill(child[0], SIGSTOP); /* stopped is not dead */
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(120)), -ETIMEDOUT);
    kill(child[0], SIGCONT);
    atomic_store(&board->go, 1);
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(9000)), 0);
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(9000)), 0);
    assert_int_equal(thirl_sem_post(&board->sem), 0);
    assert_int_equal(thirl_sem_post(&board->sem), 0);
    assert_int_equal(room_reap(child[0]), 0);
    assert_int_equal(room_reap(child[1]), 0);
    assert_int_equal(party_me()->slip->held, 0);
}

/* Who dies with a permit: exactly one is told, for each, whether it tries, waits already, or comes later. */
static void permits_of_the_dead_come_back(void **state) {
    (void)state;
    anew(2, 0);
    pid_t child[2] = {room_fork(hold, NULL), room_fork(hold, NULL)};
    assert_true(member_wait(&board->ready, 2));
    for (int i = 0; i < 2; i++) {
        kill(child[i], SIGKILL);
        assert_int_equal(room_reap(child[i]), 128 + SIGKILL);
    }
    int64_t began = clock_now();
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(9000)), THIRL_OWNER_DIED);
    assert_true(clock_now() - began < CLOCK_S);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), THIRL_OWNER_DIED);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EAGAIN);
    for (int i = 0; i < 2; i++) assert_int_equal(thirl_sem_post(&board->sem), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(thirl_sem_post(&board->sem), 0);
    assert_int_equal(thirl_sem_deinit(&board->sem), 0);
}

static int forked(void *argument) {
    (void)argument;
    CHECK(thirl_sem_post(&board->sem) == -EPERM);
    CHECK(thirl_sem_wait(&board->sem, THIRL_NOW) == -EAGAIN);
    return 0;
}

static void a_forked_child_holds_nothing(void **state) {
    (void)state;
    anew(1, 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    assert_int_equal(room_run(forked, NULL), 0);
    assert_int_equal(thirl_sem_post(&board->sem), 0);
}

static void *cross(void *argument) {
    (void)argument;
    if (thirl_mutex_lock(&board->mutex, THIRL_NEVER) != 0) abort();
    atomic_store(&board->ready, 1);
    if (thirl_sem_wait(&board->sem, thirl_in_ms(9000)) != 0) abort();
    if (thirl_sem_post(&board->sem) != 0 || thirl_mutex_unlock(&board->mutex) != 0) abort();
    return NULL;
}

/* Waits for nothing that is known. */
static void *stand_by(void *joins) {
    return (void *)(intptr_t)((joins != NULL && party_join() != 0) || !member_wait(&board->go, 1));
}

/* Two threads of one process wait for each other, while so many permits are in its hand. What the one with the permits is told. */
static int cross_over(uint32_t permits, thirl_time until) {
    pthread_t thread;
    anew(permits, 0);
    for (uint32_t i = 0; i < permits; i++) assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), 0);
    assert_int_equal(pthread_create(&thread, NULL, cross, NULL), 0);
    assert_true(member_wait(&board->ready, 1));
    int rc = thirl_mutex_lock(&board->mutex, until);
    for (uint32_t i = 0; i < permits; i++) assert_int_equal(thirl_sem_post(&board->sem), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return rc;
}

/* ThreadSanitizer has a thread of its own in each process, which for all that is known might give a permit back. */
static void skip_with_strange_threads(void) {
#if defined(__SANITIZE_THREAD__)
    print_message("skip: a thread of the sanitizer's is in each process\n");
    skip();
#endif
}

static void a_circle_through_a_semaphore_is_told(void **state) {
    (void)state;
    skip_with_strange_threads();
    assert_int_equal(cross_over(1, SOON), -EDEADLK);
    assert_non_null(strstr(thirl_why(), "a permit of a semaphore from"));
    assert_int_equal(cross_over(SLIP_HOLDS, SOON), -EDEADLK);
    anew(1, THIRL_LOCK_DEADLOCK);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NEVER), 0);
    assert_int_equal(thirl_sem_wait(&board->sem, SOON), -EDEADLK); /* this thread alone */
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_sem_post(&board->sem), 0);
}

/* Any thread of a process may give a permit back, and one may be held that is not listed. */
static void nobody_is_told_who_may_hope(void **state) {
    (void)state;
    for (int joins = 0; joins < 2; joins++) {
        pthread_t other;
        void *answer;
        anew(1, 0);
        assert_int_equal(pthread_create(&other, NULL, stand_by, joins ? &joins : NULL), 0);
        assert_int_equal(cross_over(1, thirl_in_ms(400)), -ETIMEDOUT);
        atomic_store(&board->go, 1);
        assert_int_equal(pthread_join(other, &answer), 0);
        assert_null(answer);
    }
    assert_int_equal(cross_over(SLIP_HOLDS + 1, thirl_in_ms(400)), -ETIMEDOUT);
}

/* Two processes with a permit each, of which each wants another. */
static int want_another(void *nothing) {
    (void)nothing;
    CHECK(thirl_sem_wait(&board->sem, SOON) == 0);
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->ready, 2));
    int rc = thirl_sem_wait(&board->sem, SOON);
    CHECK(rc == 0 || rc == -EDEADLK);
    if (rc == -EDEADLK) (void)atomic_add(&board->taken, UINT64_C(1));
    CHECK(rc != 0 || thirl_sem_post(&board->sem) == 0);
    return thirl_sem_post(&board->sem);
}

static void of_two_processes_one_is_told(void **state) {
    (void)state;
    skip_with_strange_threads();
    anew(2, THIRL_LOCK_DEADLOCK);
    pid_t child[2];
    for (int i = 0; i < 2; i++) child[i] = room_fork(want_another, NULL);
    for (int i = 0; i < 2; i++) assert_int_equal(room_reap(child[i]), 0);
    assert_int_equal(board->taken, 1);
}

/* What is held and waited for stands where others read it. */
static void slips_say_who_holds_what(void **state) {
    (void)state;
    anew(2, 0);
    pid_t child = room_fork(hold, NULL);
    assert_true(member_wait(&board->ready, 1));
    struct knot graph = {.all = false};
    assert_int_equal(order_look(&graph), 0);
    unsigned found = 0;
    for (unsigned i = 0; i < graph.count; i++) {
        const struct slip *slip = &graph.thread[i].slip;
        found += graph.process[graph.thread[i].process].pid == child && graph.process[graph.thread[i].process].alive &&
                 slip->held == 1 && slip->hold[0].object == (uint64_t)(uintptr_t)&board->sem &&
                 slip->hold[0].site != 0 && strcmp(order_kind((uint32_t)slip->hold[0].tag & 15), "semaphore") == 0;
    }
    assert_int_equal(found, 1);
    knot_free(&graph);
    atomic_store(&board->go, 1);
    assert_int_equal(room_reap(child), 0);
}

/* ---- random kills ---- */

/* At one time, which is known when nothing has changed from one look to the next; else 0. */
static unsigned holders_now(void) {
    uint32_t seen[CHILDREN];
    unsigned holders = 0;
    for (unsigned c = 0; c < CHILDREN; c++) seen[c] = atomic_total_load(&board->inside[c]);
    uint32_t victim = atomic_total_load(&board->victim);
    for (unsigned c = 0; c < CHILDREN; c++) {
        if (atomic_total_load(&board->inside[c]) != seen[c]) return 0;
        holders += seen[c] != 0 && c + 1 != victim;
    }
    return holders;
}

static int take_turns_for_ever(void *argument) {
    uint32_t *inside = argument, turn = (uint32_t)getpid() << 16;
    for (;;) {
        int rc = thirl_sem_wait(&board->sem, thirl_in_ms(20000));
        CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
        (void)atomic_swap(inside, ++turn);
        CHECK(holders_now() <= 2);
        (void)atomic_add(&board->taken, UINT64_C(1));
        atomic_store(inside, 0);
        CHECK(thirl_sem_post(&board->sem) == 0);
    }
}

static void strike(pid_t child, int c) {
    (void)atomic_swap(&board->victim, (uint32_t)c + 1);
    kill(child, SIGKILL);
    assert_int_equal(room_reap(child), 128 + SIGKILL);
    (void)atomic_swap(&board->inside[c], 0u);
    (void)atomic_swap(&board->victim, 0u);
}

/* Four take turns at two permits and are killed at random: never three inside, and in the end both permits are there. */
static void random_kills(void **state) {
    (void)state;
    pid_t child[CHILDREN];
    anew(2, 0);
    for (int c = 0; c < CHILDREN; c++) child[c] = room_fork(take_turns_for_ever, &board->inside[c]);
    for (int k = 0; k < 80; k++) {
        int c = (int)room_dice(CHILDREN);
        room_sleep((int64_t)room_dice(3000) * CLOCK_US);
        strike(child[c], c);
        child[c] = room_fork(take_turns_for_ever, &board->inside[c]);
    }
    uint64_t before = atomic_load(&board->taken);
    for (int64_t until = clock_now() + 9 * CLOCK_S; atomic_load(&board->taken) < before + 100;) {
        assert_true(clock_now() < until);
        room_sleep(CLOCK_MS);
    }
    for (int c = 0; c < CHILDREN; c++) strike(child[c], c);
    for (int i = 0; i < 2; i++) assert_true(thirl_sem_wait(&board->sem, thirl_in_ms(9000)) >= 0);
    assert_int_equal(thirl_sem_wait(&board->sem, THIRL_NOW), -EAGAIN);
    for (int i = 0; i < 2; i++) assert_int_equal(thirl_sem_post(&board->sem), 0);
}

static int consume_for_ever(void *argument) {
    (void)argument;
    for (;;) {
        CHECK(thirl_sem_wait(&board->sem, thirl_in_ms(20000)) == 0);
        (void)atomic_add(&board->taken, UINT64_C(1));
    }
}

/* Takers of a counting one are killed at random: each takes at most the one that it had not noted down yet. */
static void random_kills_of_takers(void **state) {
    (void)state;
    pid_t child[2];
    uint64_t deaths = 0, posted = 0;
    anew(0, THIRL_LOCK_COUNTING);
    for (int c = 0; c < 2; c++) child[c] = room_fork(consume_for_ever, NULL);
    for (int k = 0; k < 60; k++) {
        int c = (int)room_dice(2);
        for (uint64_t burst = room_dice(20); burst > 0; burst--, posted++) {
            assert_int_equal(thirl_sem_post(&board->sem), 0);
        }
        room_sleep((int64_t)room_dice(1000) * CLOCK_US);
        kill(child[c], SIGKILL);
        deaths++;
        assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
        child[c] = room_fork(consume_for_ever, NULL);
    }
    for (int64_t until = clock_now() + 9 * CLOCK_S; thirl_sem_wait(&board->sem, THIRL_NOW) == 0;) {
        assert_int_equal(thirl_sem_post(&board->sem), 0);
        assert_true(clock_now() < until);
        room_sleep(CLOCK_MS);
    }
    for (int c = 0; c < 2; c++) {
        kill(child[c], SIGKILL);
        deaths++;
        assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
    }
    assert_true(board->taken <= posted && board->taken + deaths >= posted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permits_of_one_thread),
        cmocka_unit_test(a_count_of_one_thread),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(threads_are_kept_apart),
        cmocka_unit_test(another_thread_gives_back),
        cmocka_unit_test(permits_between_processes),
        cmocka_unit_test(permits_of_the_dead_come_back),
        cmocka_unit_test(a_forked_child_holds_nothing),
        cmocka_unit_test(a_circle_through_a_semaphore_is_told),
        cmocka_unit_test(nobody_is_told_who_may_hope),
        cmocka_unit_test(of_two_processes_one_is_told),
        cmocka_unit_test(slips_say_who_holds_what),
        cmocka_unit_test(random_kills),
        cmocka_unit_test(random_kills_of_takers),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
