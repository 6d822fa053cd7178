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
    bool named; /* the locks are not these, but those that have a name */
} * board;

/* What each of the two has. */
static struct locks {
    thirl_sem *sem, *held;
    thirl_event *event[2];
    thirl_once *once, *half;
    thirl_barrier *barrier;
} locks;

static thirl_lock *find(const char *name, enum thirl_lock_kind kind, uint32_t count, uint32_t flags) {
    static const thirl_lock none;
    const struct thirl_lock_options options = {.size = sizeof options, .count = count, .flags = flags};
    thirl_lock *lock;
    return thirl_lock_open(&lock, name, kind, &options) == 0 ? lock : (thirl_lock *)(uintptr_t)&none;
}

static void have_locks(void) {
    locks = (struct locks){&board->sem,  &board->held, {&board->event[0], &board->event[1]},
                           &board->once, &board->half, &board->barrier};
    if (board->named) {
        locks = (struct locks){find("sem", THIRL_LOCK_SEM, 1, 0)->sem,
                               find("held", THIRL_LOCK_SEM, 1, 0)->sem,
                               {find("event/0", THIRL_LOCK_EVENT, 0, THIRL_LOCK_AUTOMATIC)->event,
                                find("event/1", THIRL_LOCK_EVENT, 0, THIRL_LOCK_AUTOMATIC)->event},
                               find("once", THIRL_LOCK_ONCE, 0, 0)->once,
                               find("half", THIRL_LOCK_ONCE, 0, 0)->once,
                               find("barrier", THIRL_LOCK_BARRIER, 2, 0)->barrier};
    }
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static int take_turns(void) {
    for (int i = 0; i < TURNS; i++) {
        CHECK(thirl_sem_wait(locks.sem, thirl_in_ms(20000)) == 0);
        CHECK(atomic_add(&board->inside, 1u) == 0);
        if (i % 10 == 0) room_sleep(CLOCK_MS / 5);
        (void)atomic_sub(&board->inside, 1u);
        CHECK(thirl_sem_post(locks.sem) == 0);
    }
    return 0;
}

static int do_it_once(void) {
    int rc = thirl_once_begin(locks.once, thirl_in_ms(20000));
    CHECK(rc == 0 || rc == THIRL_ONCE_YOURS);
    if (rc == 0) return 0;
    room_sleep(5 * CLOCK_MS);
    (void)atomic_add(&board->done, 1u);
    CHECK(thirl_once_end(locks.once, 1) == 0);
    return 0;
}

static int ring(unsigned who) {
    for (int i = 0; i < TURNS; i++) {
        if (who == 0) CHECK(thirl_event_set(locks.event[1]) == 0);
        CHECK(thirl_event_wait(locks.event[who], thirl_in_ms(20000)) == 0);
        if (who == 1) CHECK(thirl_event_set(locks.event[0]) == 0);
    }
    return 0;
}

/* Dies with everything. */
static int leave_it(void) {
    CHECK(thirl_sem_wait(locks.held, THIRL_NOW) == 0);
    CHECK(thirl_once_begin(locks.half, THIRL_NOW) == THIRL_ONCE_YOURS);
    CHECK(thirl_barrier_wait(locks.barrier, NULL, thirl_in_ms(20000)) == 0);
    return 0;
}

static int find_it(void) {
    CHECK(thirl_barrier_wait(locks.barrier, NULL, thirl_in_ms(20000)) == 0);
    CHECK(thirl_barrier_wait(locks.barrier, NULL, thirl_in_ms(20000)) == THIRL_OWNER_DIED);
    CHECK(thirl_sem_wait(locks.held, thirl_in_ms(20000)) == THIRL_OWNER_DIED);
    CHECK(thirl_once_begin(locks.half, thirl_in_ms(20000)) == THIRL_OWNER_DIED);
    CHECK(thirl_once_end(locks.half, 1) == 0 && thirl_sem_post(locks.held) == 0);
    CHECK(thirl_barrier_leave(locks.barrier) == 0);
    return 0;
}

static int play(unsigned who) {
    CHECK(getpid() == 1);
    have_locks();
    CHECK(thirl_barrier_join(locks.barrier) == 0);
    for (uint32_t i = 1; i <= TURNS; i++) {
        uint32_t generation = 0;
        CHECK(thirl_barrier_wait(locks.barrier, &generation, thirl_in_ms(20000)) == 0);
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

static void play_both(bool named) {
    pid_t child[2];
    memset(board, 0, sizeof *board);
    board->named = named;
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

static void two_that_are_number_one(void **state) {
    (void)state;
    play_both(false);
}

static void two_who_know_a_name(void **state) {
    (void)state;
    play_both(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_that_are_number_one),
                                       cmocka_unit_test(two_who_know_a_name)};
    return cmocka_run_group_tests(tests, begin, room_end);
}
