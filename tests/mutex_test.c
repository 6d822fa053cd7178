/* SPDX-License-Identifier: MIT
 *
 * The mutex of include/thirl/lock.h: what each call answers, between threads and between processes, and who is told of a death.
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
    thirl_mutex mutex, other;
    uint64_t first, second; /* equal while nobody is inside */
    uint32_t ready, go;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(uint32_t flags) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, flags), 0);
    assert_int_equal(thirl_mutex_init(&board->other, flags), 0);
}

static int with_each_flag[] = {0, THIRL_LOCK_RECURSIVE, THIRL_LOCK_INHERIT, THIRL_LOCK_RECURSIVE | THIRL_LOCK_INHERIT,
                               THIRL_LOCK_DEADLOCK};
#define FLAGS (sizeof with_each_flag / sizeof *with_each_flag)

static void answers_of_one_thread(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        uint32_t flags = (uint32_t)with_each_flag[i];
        bool recursive = (flags & THIRL_LOCK_RECURSIVE) != 0;
        anew(flags);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), -EPERM);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
        assert_int_equal(thirl_mutex_deinit(&board->mutex), -EBUSY);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), recursive ? 0 : -EDEADLK);
        if (recursive) {
            assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NEVER), 0);
            assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
            assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
        }
        assert_int_equal(thirl_mutex_lock(&board->other, thirl_in_ms(5)), 0);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0); /* not the last that it took */
        assert_int_equal(thirl_mutex_unlock(&board->other), 0);
        assert_int_equal(thirl_mutex_unlock(&board->other), -EPERM);
        assert_int_equal(party_me()->slip->held, 0);
        assert_int_equal(thirl_mutex_deinit(&board->mutex), 0);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), -EINVAL);
        assert_int_equal(thirl_mutex_deinit(&board->mutex), -EINVAL);
    }
    assert_int_equal(thirl_mutex_init(&board->mutex, 8), -EINVAL);
    assert_int_equal(thirl_mutex_init(NULL, 0), -EINVAL);
    assert_int_equal(thirl_mutex_lock(NULL, THIRL_NOW), -EINVAL);
}

/* A child takes it, and either lets go when told, or stays until it is killed. */
static int hold(void *argument) {
    CHECK(thirl_mutex_lock(&board->mutex, THIRL_NEVER) >= 0);
    atomic_store(&board->ready, 1);
    CHECK(member_wait(&board->go, 1));
    if (argument != NULL) {
        room_sleep(20 * CLOCK_MS);
    }
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    return 0;
}

static void answers_between_processes(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        anew((uint32_t)with_each_flag[i]);
        pid_t child = room_fork(hold, board);
        assert_true(member_wait(&board->ready, 1));
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), -EAGAIN);
        assert_int_equal(thirl_mutex_deinit(&board->mutex), -EBUSY);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), -EPERM);
        int64_t began = clock_now();
        assert_int_equal(thirl_mutex_lock(&board->mutex, thirl_in_ms(120)), -ETIMEDOUT);
        assert_true(clock_now() - began >= 120 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
        atomic_store(&board->go, 1);
        assert_int_equal(thirl_mutex_lock(&board->mutex, thirl_in_ms(9000)), 0);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
        assert_int_equal(room_reap(child), 0);
        assert_int_equal(party_me()->slip->held, 0);
        assert_int_equal(party_me()->slip->wait.kind, 0);
    }
}

/* A mutex whose holder was killed. */
static void orphan(uint32_t flags) {
    anew(flags);
    pid_t child = room_fork(hold, NULL);
    assert_true(member_wait(&board->ready, 1));
    kill(child, SIGKILL);
    assert_int_equal(room_reap(child), 128 + SIGKILL);
}

/* The holder dies: whoever waits is told within a slice or two, mends, and the next one knows nothing of it. */
static void the_next_owner_is_told(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        orphan((uint32_t)with_each_flag[i]);
        int64_t began = clock_now();
        assert_int_equal(thirl_mutex_lock(&board->mutex, thirl_in_ms(9000)), THIRL_OWNER_DIED);
        assert_true(clock_now() - began < 5 * CLOCK_S);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0); /* without a word */
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), THIRL_OWNER_DIED);
        assert_int_equal(thirl_mutex_mend(&board->mutex), 0);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
        assert_int_equal(thirl_mutex_condemn(&board->mutex), 0);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), -ENOTRECOVERABLE);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NEVER), -ENOTRECOVERABLE);
        assert_int_equal(thirl_mutex_mend(&board->mutex), -EPERM);
        assert_int_equal(thirl_mutex_deinit(&board->mutex), 0);
        assert_int_equal(party_me()->slip->held, 0);
    }
}

static int expect_condemned(void *argument) {
    (void)argument;
    atomic_store(&board->ready, 1);
    return thirl_mutex_lock(&board->mutex, thirl_in_ms(9000)) == -ENOTRECOVERABLE ? 0 : 1;
}

/* A try finds a dead holder, too; and who sleeps when it is given up wakes. */
static void a_try_is_told_and_sleepers_of_a_condemned_one_wake(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        orphan((uint32_t)with_each_flag[i]);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), THIRL_OWNER_DIED);
        atomic_store(&board->ready, 0);
        pid_t child = room_fork(expect_condemned, NULL);
        assert_true(member_wait(&board->ready, 1));
        room_sleep(10 * CLOCK_MS);
        int64_t began = clock_now();
        assert_int_equal(thirl_mutex_condemn(&board->mutex), 0);
        assert_int_equal(room_reap(child), 0);
        assert_true(clock_now() - began < 5 * CLOCK_S);
    }
}

/* ---- many at once ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 1000
#else
#define ROUNDS 5000
#endif

static uint64_t plain; /* only the mutex keeps the threads apart: for ThreadSanitizer */

static void *count_in_thread(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        if (thirl_mutex_lock(argument, THIRL_NEVER) != 0) abort();
        plain++;
        if (thirl_mutex_unlock(argument) != 0) abort();
    }
    return NULL;
}

static void threads_are_kept_apart(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        pthread_t thread[4];
        anew((uint32_t)with_each_flag[i]);
        plain = 0;
        for (int t = 0; t < 4; t++)
            assert_int_equal(pthread_create(&thread[t], NULL, count_in_thread, &board->mutex), 0);
        for (int t = 0; t < 4; t++) assert_int_equal(pthread_join(thread[t], NULL), 0);
        assert_int_equal(plain, 4 * ROUNDS);
    }
}

static int count_in_process(void *argument) {
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        int rc = thirl_mutex_lock(&board->mutex, thirl_in_ms(20000));
        CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
        if (rc == THIRL_OWNER_DIED) {
            atomic_poke(&board->second, board->first);
            CHECK(thirl_mutex_mend(&board->mutex) == 0);
        }
        CHECK(board->first == board->second);
        atomic_poke(&board->first, board->first + 1);
        atomic_poke(&board->second, board->second + 1);
        CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    }
    return 0;
}

static void processes_are_kept_apart(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        pid_t child[3];
        anew((uint32_t)with_each_flag[i]);
        for (int c = 0; c < 3; c++) child[c] = room_fork(count_in_process, NULL);
        for (int c = 0; c < 3; c++) assert_int_equal(room_reap(child[c]), 0);
        assert_int_equal(board->first, 3 * ROUNDS);
        assert_int_equal(board->second, 3 * ROUNDS);
    }
}

static int count_for_ever(void *argument) {
    for (;;) {
        int rc = count_in_process(argument);
        if (rc != 0) return rc;
    }
}

/* Processes are killed at random: whoever is told repairs, nobody finds the state torn without being told, and nobody waits for ever. */
static void random_kills(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        pid_t child[3];
        anew((uint32_t)with_each_flag[i]);
        for (int c = 0; c < 3; c++) child[c] = room_fork(count_for_ever, NULL);
        for (int k = 0; k < 40; k++) {
            int c = (int)room_dice(3);
            room_sleep((int64_t)room_dice(3000) * CLOCK_US);
            kill(child[c], SIGKILL);
            assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
            child[c] = room_fork(count_for_ever, NULL);
        }
        for (int c = 0; c < 3; c++) {
            kill(child[c], SIGKILL);
            assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
        }
        assert_int_equal(count_in_process(NULL), 0);
    }
}

/* A forked child is another owner: it neither holds what its parent holds, nor lets go of it. */
static int forked(void *argument) {
    (void)argument;
    CHECK(thirl_mutex_lock(&board->mutex, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_mutex_unlock(&board->mutex) == -EPERM);
    return 0;
}

static void a_forked_child_holds_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < FLAGS; i++) {
        anew((uint32_t)with_each_flag[i]);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
        assert_int_equal(room_run(forked, NULL), 0);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
    }
}

/* ---- circles ---- */

static void *cross(void *argument) {
    (void)argument;
    if (thirl_mutex_lock(&board->other, THIRL_NEVER) != 0) abort();
    atomic_store(&board->ready, 1);
    while (atomic_load(&board->go) == 0) room_sleep(CLOCK_MS);
    intptr_t rc = thirl_mutex_lock(&board->mutex, THIRL_NEVER);
    if (rc == 0 && thirl_mutex_unlock(&board->mutex) != 0) abort();
    if (rc == -EDEADLK && strstr(thirl_why(), "circle") == NULL) abort();
    if (thirl_mutex_unlock(&board->other) != 0) abort();
    return (void *)rc;
}

static int cross_in_process(void *argument) {
    return -(int)(intptr_t)cross(argument);
}

/* Two that take two mutexes both ways: exactly one is told, with the circle, and the other gets on. */
static int meet(pid_t child, pthread_t thread) {
    CHECK(member_wait(&board->ready, 1));
    CHECK(thirl_mutex_lock(&board->mutex, THIRL_NEVER) == 0);
    atomic_store(&board->go, 1);
    int rc = thirl_mutex_lock(&board->other, thirl_in_ms(9000));
    CHECK(rc == 0 || (rc == -EDEADLK && strstr(thirl_why(), "circle") != NULL));
    if (rc == 0) CHECK(thirl_mutex_unlock(&board->other) == 0);
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    void *theirs = NULL;
    int other = child != 0 ? -room_reap(child) : (pthread_join(thread, &theirs), (int)(intptr_t)theirs);
    CHECK((rc == -EDEADLK) + (other == -EDEADLK) == 1 && (rc == 0 || other == 0));
    return 0;
}

static int circle_of_threads(void *argument) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, cross, argument) == 0);
    return meet(0, thread);
}

static int circle_of_processes(void *argument) {
    pthread_t none = {0};
    return meet(room_fork(cross_in_process, argument), none);
}

static void a_circle_is_told_to_one(void **state) {
    (void)state;
    anew(THIRL_LOCK_DEADLOCK);
    assert_int_equal(room_run(circle_of_processes, NULL), 0);
    anew(THIRL_LOCK_DEADLOCK);
    assert_int_equal(room_run(circle_of_threads, NULL), 0);
    anew(THIRL_LOCK_DEADLOCK | THIRL_LOCK_INHERIT);
    assert_int_equal(room_run(circle_of_threads, NULL), 0);
}

/* What is held and waited for stands where others read it. */
static void slips_say_who_holds_what(void **state) {
    (void)state;
    anew(0);
    pid_t child = room_fork(hold, NULL);
    assert_true(member_wait(&board->ready, 1));
    struct knot graph = {.all = false};
    assert_int_equal(order_look(&graph), 0);
    unsigned found = 0;
    for (unsigned i = 0; i < graph.count; i++) {
        const struct slip *slip = &graph.thread[i].slip;
        const struct knot_process *process = &graph.process[graph.thread[i].process];
        found += process->pid == child && process->alive && slip->held == 1 &&
                 slip->hold[0].object == (uint64_t)(uintptr_t)&board->mutex && slip->hold[0].site != 0;
    }
    assert_int_equal(found, 1);
    knot_free(&graph);
    atomic_store(&board->go, 1);
    assert_int_equal(room_reap(child), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_one_thread),
        cmocka_unit_test(answers_between_processes),
        cmocka_unit_test(the_next_owner_is_told),
        cmocka_unit_test(a_try_is_told_and_sleepers_of_a_condemned_one_wake),
        cmocka_unit_test(threads_are_kept_apart),
        cmocka_unit_test(processes_are_kept_apart),
        cmocka_unit_test(random_kills),
        cmocka_unit_test(a_forked_child_holds_nothing),
        cmocka_unit_test(a_circle_is_told_to_one),
        cmocka_unit_test(slips_say_who_holds_what),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
