/* SPDX-License-Identifier: MIT
 *
 * Every lock: whoever changes one, or sleeps until another one lets go of it, is killed at each instruction of that, and whoever comes next finds
 * it whole. A process that is killed leaves memory as it is at that instruction: so each operation is led through once, and all that memory was
 * meanwhile is looked behind.
 */
#include <errno.h>
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
#include "base/proc.h"
#include "include/thirl/lock.h"
#include "sync/barrier.h"
#include "sync/beacon.h"
#include "sync/mutex.h"
#include "sync/sem.h"
#include "sync/token.h"
#include "tests/member.h"
#include "tests/room.h"
#include "tests/step.h"

#define COND_WAITED (UINT64_C(1) << 32)

static struct board {
    thirl_mutex mutex, urgent, again;
    thirl_rwlock rwlock;
    thirl_cond cond;
    thirl_sem sem, count;
    thirl_event event, automatic;
    thirl_once once;
    thirl_barrier barrier;
    uint64_t first, second; /* equal, but while somebody has the mutex, or writes */
} * board;

/* With a partner, who has what is waited for. */
static struct meeting {
    uint32_t ready; /* it has it */
    int32_t waiter; /* who waits: a pid */
} * meeting;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED || meeting == MAP_FAILED ? -1 : room_begin(state);
}

/* Everything as new, and as if somebody slept at each, so that whoever changes it wakes: their words come first. */
static void anew(void) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, 0), 0);
    assert_int_equal(thirl_mutex_init(&board->urgent, THIRL_LOCK_INHERIT), 0);
    assert_int_equal(thirl_mutex_init(&board->again, THIRL_LOCK_RECURSIVE), 0);
    assert_int_equal(thirl_rwlock_init(&board->rwlock, 0), 0);
    assert_int_equal(thirl_cond_init(&board->cond, 0), 0);
    assert_int_equal(thirl_sem_init(&board->sem, 1, 0), 0);
    assert_int_equal(thirl_sem_init(&board->count, 0, THIRL_LOCK_COUNTING), 0);
    assert_int_equal(thirl_event_init(&board->event, 0), 0);
    assert_int_equal(thirl_event_init(&board->automatic, THIRL_LOCK_AUTOMATIC), 0);
    assert_int_equal(thirl_barrier_init(&board->barrier, 1), 0);
    board->cond.thirl_own[0] |= COND_WAITED;
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

/* ---- mutex ---- */

static int tear(void) {
    atomic_poke(&board->first, board->first + 1);
    return 0;
}

static int lock(void) {
    return thirl_mutex_lock(&board->mutex, THIRL_NOW) < 0;
}

static int lock_and_change(void) {
    CHECK(lock() == 0);
    (void)tear();
    atomic_poke(&board->second, board->first);
    return 0;
}

static struct mutex *mutex_inside(void) {
    return (struct mutex *)(void *)&board->mutex;
}

static int lock_and_be_waited_for(void) {
    CHECK(lock_and_change() == 0);
    mutex_inside()->crowd = CROWD_THERE;
    mutex_inside()->word |= OWNER_WAITERS;
    return 0;
}

/* Others have waited, but none of late. */
static int lock_behind_a_crowd(void) {
    CHECK(lock_and_change() == 0);
    mutex_inside()->crowd = CROWD_THERE + (CROWD_LASTS - 1) * CROWD_ONCE;
    return 0;
}

static int unlock(void) {
    return thirl_mutex_unlock(&board->mutex);
}

static int condemn(void) {
    return thirl_mutex_condemn(&board->mutex);
}

static int mend(void) {
    atomic_poke(&board->second, board->first);
    return thirl_mutex_mend(&board->mutex);
}

/* Nobody finds torn what he is not told of; and what was mended is so for the next. */
static int takes(thirl_mutex *mutex) {
    int rc = thirl_mutex_lock(mutex, THIRL_NOW);
    CHECK(rc == THIRL_OWNER_DIED || (rc == 0 && board->first == board->second));
    board->second = board->first;
    CHECK(rc == 0 || thirl_mutex_mend(mutex) == 0);
    CHECK(thirl_mutex_unlock(mutex) == 0 && thirl_mutex_lock(mutex, THIRL_NOW) == 0);
    CHECK(thirl_mutex_unlock(mutex) == 0 && thirl_mutex_deinit(mutex) == 0);
    return 0;
}

static int mutex_is_whole(void) {
    return takes(&board->mutex);
}

static int mutex_is_whole_or_given_up(void) {
    return thirl_mutex_lock(&board->mutex, THIRL_NOW) == -ENOTRECOVERABLE ? 0
           : thirl_mutex_unlock(&board->mutex) != 0                       ? 1
                                                                          : mutex_is_whole();
}

static int die_with_the_mutex(void *none) {
    (void)none;
    return lock() != 0 ? 1 : tear();
}

static int mutex_of_the_dead(void) {
    return room_run(die_with_the_mutex, NULL);
}

static int lock_urgent(void) {
    return thirl_mutex_lock(&board->urgent, THIRL_NOW) < 0 ? 1 : tear();
}

static int unlock_urgent(void) {
    atomic_poke(&board->second, board->first);
    return thirl_mutex_unlock(&board->urgent);
}

static int die_with_the_urgent(void *none) {
    (void)none;
    return lock_urgent();
}

static int urgent_of_the_dead(void) {
    return room_run(die_with_the_urgent, NULL);
}

static int urgent_is_whole(void) {
    return takes(&board->urgent);
}

static int lock_twice(void) {
    CHECK(thirl_mutex_lock(&board->again, THIRL_NOW) == 0 && thirl_mutex_lock(&board->again, THIRL_NOW) == 0);
    return tear();
}

static int unlock_twice(void) {
    atomic_poke(&board->second, board->first);
    return thirl_mutex_unlock(&board->again) != 0 ? 1 : thirl_mutex_unlock(&board->again);
}

static int again_is_whole(void) {
    return takes(&board->again);
}

/* ---- read-write lock ---- */

static int read_it(void) {
    return thirl_rwlock_read(&board->rwlock, THIRL_NOW) < 0;
}

static int write_it(void) {
    return thirl_rwlock_write(&board->rwlock, THIRL_NOW) < 0 ? 1 : tear();
}

static int let_go_of_it(void) {
    atomic_poke(&board->second, board->first);
    return thirl_rwlock_unlock(&board->rwlock);
}

static int die_writing(void *none) {
    (void)none;
    return write_it();
}

static int rwlock_of_the_dead(void) {
    return room_run(die_writing, NULL);
}

static int rwlock_is_whole(void) {
    int rc = thirl_rwlock_write(&board->rwlock, THIRL_NOW);
    rc = rc == -EAGAIN ? thirl_rwlock_write(&board->rwlock, thirl_in_ms(20000)) : rc; /* it has counted just now */
    CHECK(rc == THIRL_OWNER_DIED || (rc == 0 && board->first == board->second));
    CHECK(rc == 0 || thirl_rwlock_mend(&board->rwlock) == 0);
    CHECK(thirl_rwlock_unlock(&board->rwlock) == 0 && thirl_rwlock_read(&board->rwlock, THIRL_NOW) == 0);
    CHECK(thirl_rwlock_unlock(&board->rwlock) == 0 && thirl_rwlock_deinit(&board->rwlock) == 0);
    return 0;
}

/* ---- condition variable ---- */

static int cond_wait_it(void) {
    int rc = thirl_cond_wait(&board->cond, &board->mutex, THIRL_NOW);
    return rc == 0 || rc == -EAGAIN ? 0 : 1;
}

static int cond_signal_it(void) {
    return thirl_cond_signal(&board->cond);
}

static int cond_broadcast_it(void) {
    return thirl_cond_broadcast(&board->cond);
}

/* Somebody waits, and is woken. */
static int wait_for_the_next(void *none) {
    (void)none;
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    while (board->first == 0) CHECK(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000)) == 0);
    return unlock();
}

static int cond_is_whole(void) {
    int rc = thirl_mutex_lock(&board->mutex, THIRL_NOW);
    CHECK(rc >= 0 && thirl_mutex_mend(&board->mutex) == 0);
    pid_t child = room_fork(wait_for_the_next, NULL);
    rc = thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(1));
    CHECK(rc == 0 || rc == -ETIMEDOUT);
    CHECK(tear() == 0 && cond_signal_it() == 0 && unlock() == 0 && room_reap(child) == 0);
    CHECK(thirl_cond_deinit(&board->cond) == 0);
    return 0;
}

/* ---- semaphore ---- */

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

/* ---- event, once, barrier ---- */

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

/* ---- waiting for a partner ---- */

#define SOON thirl_in_ms(20000)

struct partner {
    int (*take)(void), (*give)(void);
};

static pid_t partner; /* 0: none */

/* Has it until the other one sleeps; or for a while, for one that is led so slowly that the slices of its sleep are over before they begin. */
static int have_until_wanted(void *argument) {
    const struct partner *own = argument;
    CHECK(own->take() == 0);
    atomic_store(&meeting->ready, 1);
    while (atomic_load(&meeting->waiter) == 0) room_sleep(CLOCK_MS);
    for (int looks = 0; looks < 100 && proc_state(meeting->waiter, 0) != 'S'; looks++) room_sleep(CLOCK_MS);
    return own->give();
}

static int meet(const struct partner *own) {
    *meeting = (struct meeting){.ready = 0};
    partner = room_fork(have_until_wanted, (void *)(uintptr_t)own);
    return member_wait(&meeting->ready, 1) ? 0 : 1;
}

/* Its time is over when it has given. */
static int part(const struct operation *operation) {
    int rc = partner != 0 ? room_reap(partner) : 0;
    partner = 0;
    if (rc != 0) print_message("%s: the partner answers %d\n", operation->name, rc);
    return rc;
}

static int mutex_of_another(void) {
    return meet(&(struct partner){lock, unlock});
}

static int lock_behind(void) {
    return thirl_mutex_lock(&board->mutex, SOON);
}

static int take_urgent(void) {
    return thirl_mutex_lock(&board->urgent, THIRL_NOW);
}

static int urgent_of_another(void) {
    return meet(&(struct partner){take_urgent, unlock_urgent});
}

static int lock_urgent_behind(void) {
    return thirl_mutex_lock(&board->urgent, SOON);
}

static int take_to_write(void) {
    return thirl_rwlock_write(&board->rwlock, THIRL_NOW);
}

static int rwlock_of_a_writer(void) {
    return meet(&(struct partner){take_to_write, let_go_of_it});
}

static int rwlock_of_a_reader(void) {
    return meet(&(struct partner){read_it, let_go_of_it});
}

static int read_behind(void) {
    return thirl_rwlock_read(&board->rwlock, SOON);
}

static int write_behind(void) {
    return thirl_rwlock_write(&board->rwlock, SOON);
}

static int signal_with_the_mutex(void) {
    CHECK(thirl_mutex_lock(&board->mutex, SOON) == 0 && cond_signal_it() == 0);
    return unlock();
}

static int one_who_signals(void) {
    return meet(&(struct partner){nothing, signal_with_the_mutex});
}

static int cond_wait_long(void) {
    return thirl_cond_wait(&board->cond, &board->mutex, SOON);
}

static int permit_of_another(void) {
    return meet(&(struct partner){permit_wait, permit_post});
}

static int permit_wait_long(void) {
    return thirl_sem_wait(&board->sem, SOON);
}

static int one_who_posts(void) {
    return meet(&(struct partner){nothing, count_post});
}

static int count_wait_long(void) {
    return thirl_sem_wait(&board->count, SOON);
}

static int one_who_sets(void) {
    return meet(&(struct partner){nothing, event_set});
}

static int event_wait_long(void) {
    return thirl_event_wait(&board->event, SOON) != 0 ? 1 : thirl_event_wait(&board->automatic, SOON);
}

static int once_of_another(void) {
    return meet(&(struct partner){once_begin, once_end});
}

static int once_begin_long(void) {
    return thirl_once_begin(&board->once, SOON);
}

static const struct operation operations[] = {
    {"mutex_lock", nothing, nothing, lock_and_change, mutex_is_whole},
    {"mutex_lock, from a dead one", mutex_of_the_dead, nothing, lock, mutex_is_whole},
    {"mutex_unlock", nothing, lock_and_change, unlock, mutex_is_whole},
    {"mutex_unlock, others wait", nothing, lock_and_be_waited_for, unlock, mutex_is_whole},
    {"mutex_unlock, others have waited", nothing, lock_behind_a_crowd, unlock, mutex_is_whole},
    {"mutex_mend", mutex_of_the_dead, lock, mend, mutex_is_whole},
    {"mutex_condemn", nothing, lock, condemn, mutex_is_whole_or_given_up},
    {"mutex_lock, lending priority", nothing, nothing, lock_urgent, urgent_is_whole},
    {"mutex_lock, lending priority, from a dead one", urgent_of_the_dead, nothing, lock_urgent, urgent_is_whole},
    {"mutex_unlock, lending priority", nothing, lock_urgent, unlock_urgent, urgent_is_whole},
    {"mutex_lock, twice", nothing, nothing, lock_twice, again_is_whole},
    {"mutex_unlock, twice", nothing, lock_twice, unlock_twice, again_is_whole},
    {"rwlock_read", nothing, nothing, read_it, rwlock_is_whole},
    {"rwlock_write", nothing, nothing, write_it, rwlock_is_whole},
    {"rwlock_write, from a dead one", rwlock_of_the_dead, nothing, write_it, rwlock_is_whole},
    {"rwlock_unlock, of a reader", nothing, read_it, let_go_of_it, rwlock_is_whole},
    {"rwlock_unlock, of a writer", nothing, write_it, let_go_of_it, rwlock_is_whole},
    {"cond_wait", nothing, lock, cond_wait_it, cond_is_whole},
    {"cond_signal", nothing, nothing, cond_signal_it, cond_is_whole},
    {"cond_broadcast", nothing, nothing, cond_broadcast_it, cond_is_whole},
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
    {"mutex_lock, behind another", mutex_of_another, nothing, lock_behind, mutex_is_whole},
    {"mutex_lock, lending priority", urgent_of_another, nothing, lock_urgent_behind, urgent_is_whole},
    {"rwlock_read, behind a writer", rwlock_of_a_writer, nothing, read_behind, rwlock_is_whole},
    {"rwlock_write, behind a writer", rwlock_of_a_writer, nothing, write_behind, rwlock_is_whole},
    {"rwlock_write, behind a reader", rwlock_of_a_reader, nothing, write_behind, rwlock_is_whole},
    {"cond_wait, until another signals", one_who_signals, lock, cond_wait_long, cond_is_whole},
    {"sem_wait, behind another", permit_of_another, nothing, permit_wait_long, permit_is_there},
    {"sem_wait, until another posts", one_who_posts, nothing, count_wait_long, count_is_sane},
    {"event_wait, until another sets", one_who_sets, nothing, event_wait_long, events_are_sane},
    {"once_begin, behind another", once_of_another, nothing, once_begin_long, once_is_mine_or_done},
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

/* The operation does what it is to do, when nobody is killed. */
static void does(const struct operation *operation) {
    anew();
    assert_int_equal(operation->earlier(), 0);
    pid_t child = step_begin(do_operation, (void *)(uintptr_t)operation);
    atomic_store(&meeting->waiter, child);
    assert_int_equal(step_let(child), 0);
    assert_int_equal(part(operation), 0);
}

static void killed_at_each_instruction(void **state) {
    (void)state;
    unsigned instructions = 0, states = 0;
    step_on_one_processor();
    for (size_t i = 0; i < OPERATIONS; i++) {
        const struct operation *operation = &operations[i];
        struct step_trace trace;
        does(operation);
        anew();
        assert_int_equal(operation->earlier(), 0);
        pid_t child = step_begin(do_operation, (void *)(uintptr_t)operation);
        atomic_store(&meeting->waiter, child);
        if (!step_through(&trace, child, board, sizeof *board)) {
            print_message("skip: no process can be traced here\n");
            skip();
        }
        assert_int_equal(part(operation), 0);
        assert_true(trace.instructions > 10 && trace.states > 1);
        instructions += trace.instructions;
        states += trace.states;
        do {
            int rc = operation->behind();
            if (rc != 0) print_message("%s, killed in state %u of %u\n", operation->name, trace.at, trace.states);
            assert_int_equal(rc, 0);
        } while (step_next(&trace));
        step_forget(&trace);
    }
    print_message("%zu operations were killed at each of %u instructions: %u states\n", OPERATIONS, instructions,
                  states);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_each_instruction)};
    return cmocka_run_group_tests(tests, begin, room_end);
}
