/* SPDX-License-Identifier: MIT
 *
 * Locks between two PID namespaces, where both processes are number 1, and so are their threads: nobody is taken for the other one, and each
 * learns of the other's death.
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
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/lock.h"
#include "tests/member.h"
#include "tests/room.h"

#define TURNS 200

static struct board {
    thirl_sem sem, held;
    thirl_event event[2];
    thirl_once once, half;
    thirl_barrier barrier;
    uint32_t inside, done;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static int take_turns(void) {
    for (int i = 0; i < TURNS; i++) {
        CHECK(thirl_sem_wait(&board->sem, thirl_in_ms(20000)) == 0);
        CHECK(atomic_add(&board->inside, 1u) == 0);
        if (i % 10 == 0) room_sleep(CLOCK_MS / 5);
        (void)atomic_sub(&board->inside, 1u);
        CHECK(thirl_sem_post(&board->sem) == 0);
    }
    return 0;
}

static int do_it_once(void) {
    int rc = thirl_once_begin(&board->once, thirl_in_ms(20000));
    CHECK(rc == 0 || rc == THIRL_ONCE_YOURS);
    if (rc == 0) return 0;
    room_sleep(5 * CLOCK_MS);
    (void)atomic_add(&board->done, 1u);
    CHECK(thirl_once_end(&board->once, 1) == 0);
    return 0;
}

static int ring(unsigned who) {
    for (int i = 0; i < TURNS; i++) {
        if (who == 0) CHECK(thirl_event_set(&board->event[1]) == 0);
        CHECK(thirl_event_wait(&board->event[who], thirl_in_ms(20000)) == 0);
        if (who == 1) CHECK(thirl_event_set(&board->event[0]) == 0);
    }
    return 0;
}

/* Dies with everything. */
static int leave_it(void) {
    CHECK(thirl_sem_wait(&board->held, THIRL_NOW) == 0);
    CHECK(thirl_once_begin(&board->half, THIRL_NOW) == THIRL_ONCE_YOURS);
    CHECK(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(20000)) == 0);
    return 0;
}

static int find_it(void) {
    CHECK(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(20000)) == 0);
    CHECK(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(20000)) == THIRL_OWNER_DIED);
    CHECK(thirl_sem_wait(&board->held, thirl_in_ms(20000)) == THIRL_OWNER_DIED);
    CHECK(thirl_once_begin(&board->half, thirl_in_ms(20000)) == THIRL_OWNER_DIED);
    CHECK(thirl_once_end(&board->half, 1) == 0 && thirl_sem_post(&board->held) == 0);
    CHECK(thirl_barrier_leave(&board->barrier) == 0);
    return 0;
}

static int play(unsigned who) {
    CHECK(getpid() == 1);
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    for (uint32_t i = 1; i <= TURNS; i++) {
        uint32_t generation = 0;
        CHECK(thirl_barrier_wait(&board->barrier, &generation, thirl_in_ms(20000)) == 0);
        CHECK(generation == i);
    }
    CHECK(take_turns() == 0 && do_it_once() == 0 && ring(who) == 0);
    return who == 0 ? leave_it() : find_it();
}

/* As process 1 of a new PID namespace, with a /proc of its own. */
static int enter(void *who) {
    if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return 77;
    }
    pid_t first = fork();
    if (first == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(mount("proc", "/proc", "proc", 0, NULL) != 0 ? 77 : play((unsigned)(uintptr_t)who));
    }
    return first < 0 ? 77 : room_reap(first);
}

static void two_that_are_number_one(void **state) {
    (void)state;
    pid_t child[2];
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_sem_init(&board->sem, 1, 0), 0);
    assert_int_equal(thirl_sem_init(&board->held, 1, 0), 0);
    assert_int_equal(thirl_barrier_init(&board->barrier, 2), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(thirl_event_init(&board->event[i], THIRL_LOCK_AUTOMATIC), 0);
    for (int i = 0; i < 2; i++) child[i] = room_fork(enter, (void *)(uintptr_t)i);
    int status[2] = {room_reap(child[0]), room_reap(child[1])};
    if (status[0] == 77 && status[1] == 77) {
        print_message("skip: PID and mount namespaces cannot be made here\n");
        skip();
    }
    assert_int_equal(status[0], 0);
    assert_int_equal(status[1], 0);
    assert_int_equal(board->done, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_that_are_number_one)};
    return cmocka_run_group_tests(tests, begin, room_end);
}
