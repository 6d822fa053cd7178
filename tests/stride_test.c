/* SPDX-License-Identifier: MIT
 *
 * Semaphores, events, what is done once, and barriers: whoever changes one is killed at an instruction of it, at some of them or, with the
 * argument "all", at every one. Whoever comes next finds it whole.
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

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/lock.h"
#include "sync/barrier.h"
#include "sync/beacon.h"
#include "sync/sem.h"
#include "sync/token.h"
#include "tests/member.h"
#include "tests/room.h"
#include "tests/step.h"

static struct board {
    thirl_sem sem, count;
    thirl_event event, automatic;
    thirl_once once;
    thirl_barrier barrier;
} * board;

static bool all;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

/* Everything as new, and as if somebody slept at each, so that whoever changes it wakes: their words come first. */
static void anew(void) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_sem_init(&board->sem, 1, 0), 0);
    assert_int_equal(thirl_sem_init(&board->count, 0, THIRL_LOCK_COUNTING), 0);
    assert_int_equal(thirl_event_init(&board->event, 0), 0);
    assert_int_equal(thirl_event_init(&board->automatic, THIRL_LOCK_AUTOMATIC), 0);
    assert_int_equal(thirl_barrier_init(&board->barrier, 1), 0);
    board->sem.thirl_own[0] |= SEM_WAITERS;
    board->count.thirl_own[0] |= TOKEN_WAITERS;
    board->event.thirl_own[0] |= BEACON_WAITERS;
    board->automatic.thirl_own[0] |= TOKEN_WAITERS;
    board->barrier.thirl_own[0] |= BARRIER_WAITERS;
}

/* What is killed in the midst: what has to be so before, what it does, and what the next one makes of it. */
struct operation {
    const char *name;
    int (*earlier)(void); /* of others */
    int (*before)(void);
    int (*itself)(void);
    int (*behind)(void);
};

static int nothing(void) {
    return 0;
}

static int permit_wait(void) {
    return thirl_sem_wait(&board->sem, THIRL_NOW);
}

static int permit_post(void) {
    return thirl_sem_post(&board->sem);
}

/* It is there, once: told of or not. */
static int permit_is_there(void) {
    CHECK(permit_wait() >= 0);
    CHECK(permit_wait() == -EAGAIN);
    CHECK(permit_post() == 0 && permit_wait() == 0 && permit_post() == 0);
    return 0;
}

static int die_with_the_permit(void *none) {
    (void)none;
    return permit_wait();
}

static int permit_of_the_dead(void) {
    return room_run(die_with_the_permit, NULL);
}

static int count_wait(void) {
    return thirl_sem_wait(&board->count, THIRL_NOW);
}

static int count_post(void) {
    return thirl_sem_post(&board->count);
}

static int count_is_sane(void) {
    int there = 0;
    while (count_wait() == 0) there++;
    CHECK(there <= 1);
    CHECK(count_post() == 0 && count_wait() == 0 && count_wait() == -EAGAIN);
    return 0;
}

static int event_set(void) {
    return thirl_event_set(&board->event) != 0 ? 1 : thirl_event_set(&board->automatic);
}

static int event_reset(void) {
    return thirl_event_reset(&board->event) != 0 ? 1 : thirl_event_reset(&board->automatic);
}

static int event_wait(void) {
    return thirl_event_wait(&board->event, THIRL_NOW) != 0 ? 1 : thirl_event_wait(&board->automatic, THIRL_NOW);
}

static int events_are_sane(void) {
    CHECK(event_set() == 0 && event_wait() == 0);
    CHECK(thirl_event_wait(&board->event, THIRL_NOW) == 0);
    CHECK(thirl_event_wait(&board->automatic, THIRL_NOW) == -EAGAIN);
    CHECK(event_reset() == 0 && thirl_event_wait(&board->event, THIRL_NOW) == -EAGAIN);
    return 0;
}

static int once_begin(void) {
    return thirl_once_begin(&board->once, THIRL_NOW) > 0 ? 0 : 1;
}

static int once_end(void) {
    return thirl_once_end(&board->once, 1);
}

static int once_is_mine_or_done(void) {
    int rc = thirl_once_begin(&board->once, THIRL_NOW);
    CHECK(rc >= 0);
    CHECK(rc == 0 || once_end() == 0);
    CHECK(thirl_once_begin(&board->once, THIRL_NOW) == 0);
    return 0;
}

static int barrier_join_it(void) {
    return thirl_barrier_join(&board->barrier);
}

static int barrier_pass(void) {
    int rc = thirl_barrier_wait(&board->barrier, NULL, THIRL_NOW);
    return rc < 0 ? rc : 0;
}

static int barrier_leave(void) {
    return thirl_barrier_leave(&board->barrier);
}

static int join_and_pass(void) {
    return barrier_join_it() != 0 ? 1 : barrier_pass();
}

static int die_with_the_place(void *none) {
    (void)none;
    return barrier_join_it();
}

static int place_of_the_dead(void) {
    return room_run(die_with_the_place, NULL);
}

static int place_is_free(void) {
    CHECK(join_and_pass() == 0 && barrier_pass() == 0 && barrier_leave() == 0);
    return 0;
}

static const struct operation operations[] = {
    {"sem_wait", nothing, nothing, permit_wait, permit_is_there},
    {"sem_wait, from a dead one", permit_of_the_dead, nothing, permit_wait, permit_is_there},
    {"sem_post", nothing, permit_wait, permit_post, permit_is_there},
    {"sem_wait, counting", nothing, count_post, count_wait, count_is_sane},
    {"sem_post, counting", nothing, nothing, count_post, count_is_sane},
    {"event_set", nothing, nothing, event_set, events_are_sane},
    {"event_reset", nothing, event_set, event_reset, events_are_sane},
    {"event_wait", nothing, event_set, event_wait, events_are_sane},
    {"once_begin", nothing, nothing, once_begin, once_is_mine_or_done},
    {"once_end", nothing, once_begin, once_end, once_is_mine_or_done},
    {"barrier_join", nothing, nothing, barrier_join_it, place_is_free},
    {"barrier_join, behind a dead one", place_of_the_dead, nothing, barrier_join_it, place_is_free},
    {"barrier_wait", nothing, barrier_join_it, barrier_pass, place_is_free},
    {"barrier_leave", nothing, join_and_pass, barrier_leave, place_is_free},
};
#define OPERATIONS (sizeof operations / sizeof *operations)

static int do_operation(void *argument) {
    const struct operation *operation = argument;
    int rc = thirl_sem_post(&board->sem); /* joins the registry; it has no permit */
    if (rc != -EPERM || operation->before() != 0) {
        return 1;
    }
    step_mark();
    rc = operation->itself();
    step_mark();
    return rc < 0;
}

/* A step is two changes of process: there is no need to wake another processor for each. */
static void on_one_processor(void) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

static void killed_at_its_instructions(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    unsigned stride = all ? 1 : 499;
#else
    unsigned stride = all ? 1 : 89;
#endif
    unsigned trials = 0;
    on_one_processor();
    for (size_t i = 0; i < OPERATIONS; i++) {
        bool inside = true;
        unsigned at = (unsigned)room_dice(stride);
        for (; inside; at += stride, trials++) {
            anew();
            assert_int_equal(operations[i].earlier(), 0);
            pid_t child = step_begin(do_operation, (void *)(uintptr_t)&operations[i]);
            if (child < 0) {
                print_message("skip: no process can be traced here\n");
                return;
            }
            inside = step_on(child, at);
            step_kill(child);
            int rc = operations[i].behind();
            if (rc != 0) print_message("%s, killed after %u instructions\n", operations[i].name, at);
            assert_int_equal(rc, 0);
            assert_true(at < 100000);
        }
        if (all) print_message("%s: %u instructions\n", operations[i].name, at);
    }
    print_message("killed at %u instructions\n", trials);
    assert_true(trials > OPERATIONS);
}

int main(int argc, char **argv) {
    all = argc > 1 && strcmp(argv[1], "all") == 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_its_instructions)};
    return cmocka_run_group_tests(tests, begin, room_end);
}
