/* SPDX-License-Identifier: MIT
 *
 * Locks between processes that are each the first of a PID namespace of its own, so that their numbers are all the same: who they are is
 * told apart all the same, and whose death it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/lock.h"
#include "tests/member.h"
#include "tests/room.h"

#define ROUNDS 500
#define CANNOT 77

static struct board {
    thirl_mutex mutex;
    thirl_cond cond;
    thirl_rwlock lock;
    uint64_t first, second; /* equal while nobody writes */
    uint32_t at, in, go;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(void) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, 0), 0);
    assert_int_equal(thirl_cond_init(&board->cond, 0), 0);
    assert_int_equal(thirl_rwlock_init(&board->lock, 0), 0);
}

struct guest {
    int (*body)(uint32_t who);
    uint32_t who;
};

/* Runs it as process 1 of a new PID namespace with its own /proc; dies with whoever waits for it here. */
static int live_apart(void *argument) {
    const struct guest *guest = argument;
    if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return CANNOT;
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(mount("proc", "/proc", "proc", 0, NULL) != 0 ? CANNOT : getpid() != 1 ? 1 : guest->body(guest->who));
    }
    return pid < 0 ? CANNOT : room_reap(pid);
}

static pid_t invite(struct guest *guest) {
    return room_fork(live_apart, guest);
}

/* false, with a line: it cannot be done here. */
static bool can(void) {
    pid_t pid = geteuid() == 0 ? fork() : -1;
    if (pid == 0) {
        _exit(unshare(CLONE_NEWPID | CLONE_NEWNS) == 0 ? 0 : CANNOT);
    }
    if (pid > 0 && room_reap(pid) == 0) {
        return true;
    }
    print_message("PID namespaces cannot be made here\n");
    return false;
}

static bool wait_word(const uint32_t *word, uint32_t value) {
    for (int64_t until = clock_now() + 20 * CLOCK_S; atomic_load(word) < value;) {
        if (clock_now() > until) return false;
        room_sleep(CLOCK_MS / 5);
    }
    return true;
}

/* Three pass a ball, each to the next. */
static int pass(uint32_t who) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
        while (board->at % 3 != who) CHECK(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000)) == 0);
        board->at++;
        CHECK(thirl_cond_broadcast(&board->cond) == 0);
        CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    }
    return 0;
}

static void a_ball_is_passed(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest one = {pass, 1}, two = {pass, 2};
    anew();
    pid_t first = invite(&one), second = invite(&two);
    assert_int_equal(pass(0), 0);
    assert_int_equal(room_reap(first), 0);
    assert_int_equal(room_reap(second), 0);
    assert_int_equal(board->at, 3 * ROUNDS);
}

static int read_and_write(uint32_t who) {
    for (uint32_t i = 0; i < ROUNDS; i++) {
        bool to_write = i % 3 == who;
        CHECK((to_write ? thirl_rwlock_write : thirl_rwlock_read)(&board->lock, thirl_in_ms(20000)) == 0);
        CHECK(board->first == board->second);
        if (to_write) {
            atomic_poke(&board->first, board->first + 1);
            atomic_poke(&board->second, board->second + 1);
        }
        CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    }
    return 0;
}

static void readers_and_writers_are_told_apart(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest one = {read_and_write, 1}, two = {read_and_write, 2};
    anew();
    pid_t first = invite(&one), second = invite(&two);
    assert_int_equal(read_and_write(0), 0);
    assert_int_equal(room_reap(first), 0);
    assert_int_equal(room_reap(second), 0);
}

static int stay_as_reader(uint32_t who) {
    CHECK(thirl_rwlock_read(&board->lock, thirl_in_ms(20000)) == 0);
    (void)atomic_add(&board->in, 1u);
    CHECK(who != 0 || wait_word(&board->go, 1));
    if (who != 0) (void)pause();
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    return 0;
}

static int end_with_the_mutex(uint32_t who) {
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    (void)atomic_add(&board->in, who);
    return 0;
}

/* One of two readers dies, both with the number 1: the other one's share stays. */
static void one_of_two_dies(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest stays = {stay_as_reader, 0}, dies = {stay_as_reader, 1};
    anew();
    pid_t first = invite(&stays), second = invite(&dies);
    assert_true(wait_word(&board->in, 2));
    kill(second, SIGKILL);
    assert_int_equal(room_reap(second), 128 + SIGKILL);
    assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(200)), -ETIMEDOUT);
    atomic_store(&board->go, 1);
    assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(9000)), 0);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    assert_int_equal(room_reap(first), 0);
}

/* Who waits takes over from an owner in another namespace. */
static void who_waits_takes_over(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest dies = {end_with_the_mutex, 1};
    anew();
    assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
    pid_t pid = invite(&dies);
    assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000)), THIRL_OWNER_DIED);
    assert_int_equal(board->in, 1);
    assert_int_equal(thirl_mutex_mend(&board->mutex), 0);
    assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
    assert_int_equal(room_reap(pid), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ball_is_passed),
        cmocka_unit_test(readers_and_writers_are_told_apart),
        cmocka_unit_test(one_of_two_dies),
        cmocka_unit_test(who_waits_takes_over),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
