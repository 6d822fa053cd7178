/* SPDX-License-Identifier: MIT
 *
 * Mutex, read-write lock, condition variable: whoever changes one, or sleeps until another one lets go of it, is killed at each instruction of
 * that, and whoever comes next finds it whole.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "include/thirl/lock.h"
#include "sync/mutex.h"
#include "tests/member.h"
#include "tests/room.h"
#include "tests/stride.h"

#define COND_WAITED (UINT64_C(1) << 32)
#define SOON thirl_in_ms(20000)

static struct board {
    thirl_mutex mutex, urgent, again;
    thirl_rwlock rwlock;
    thirl_cond cond;
    uint64_t first, second; /* equal, but while somebody has the mutex, or writes */
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : stride_begin(state);
}

/* Everything as new, and as if somebody slept at each, so that whoever changes it wakes: their words come first. */
static void anew(void) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, 0), 0);
    assert_int_equal(thirl_mutex_init(&board->urgent, THIRL_LOCK_INHERIT), 0);
    assert_int_equal(thirl_mutex_init(&board->again, THIRL_LOCK_RECURSIVE), 0);
    assert_int_equal(thirl_rwlock_init(&board->rwlock, 0), 0);
    assert_int_equal(thirl_cond_init(&board->cond, 0), 0);
    board->cond.thirl_own[0] |= COND_WAITED;
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

/* ---- behind a partner ---- */

static int mutex_of_another(void) {
    return stride_meet(&(struct stride_partner){lock, unlock});
}

static int lock_behind(void) {
    return thirl_mutex_lock(&board->mutex, SOON);
}

static int take_urgent(void) {
    return thirl_mutex_lock(&board->urgent, THIRL_NOW);
}

static int urgent_of_another(void) {
    return stride_meet(&(struct stride_partner){take_urgent, unlock_urgent});
}

static int lock_urgent_behind(void) {
    return thirl_mutex_lock(&board->urgent, SOON);
}

static int take_to_write(void) {
    return thirl_rwlock_write(&board->rwlock, THIRL_NOW);
}

static int rwlock_of_a_writer(void) {
    return stride_meet(&(struct stride_partner){take_to_write, let_go_of_it});
}

static int rwlock_of_a_reader(void) {
    return stride_meet(&(struct stride_partner){read_it, let_go_of_it});
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
    return stride_meet(&(struct stride_partner){stride_nothing, signal_with_the_mutex});
}

static int cond_wait_long(void) {
    return thirl_cond_wait(&board->cond, &board->mutex, SOON);
}

static const struct stride operations[] = {
    {"mutex_lock", stride_nothing, stride_nothing, lock_and_change, mutex_is_whole},
    {"mutex_lock, from a dead one", mutex_of_the_dead, stride_nothing, lock, mutex_is_whole},
    {"mutex_unlock", stride_nothing, lock_and_change, unlock, mutex_is_whole},
    {"mutex_unlock, others wait", stride_nothing, lock_and_be_waited_for, unlock, mutex_is_whole},
    {"mutex_unlock, others have waited", stride_nothing, lock_behind_a_crowd, unlock, mutex_is_whole},
    {"mutex_mend", mutex_of_the_dead, lock, mend, mutex_is_whole},
    {"mutex_condemn", stride_nothing, lock, condemn, mutex_is_whole_or_given_up},
    {"mutex_lock, lending priority", stride_nothing, stride_nothing, lock_urgent, urgent_is_whole},
    {"mutex_lock, lending priority, from a dead one", urgent_of_the_dead, stride_nothing, lock_urgent, urgent_is_whole},
    {"mutex_unlock, lending priority", stride_nothing, lock_urgent, unlock_urgent, urgent_is_whole},
    {"mutex_lock, twice", stride_nothing, stride_nothing, lock_twice, again_is_whole},
    {"mutex_unlock, twice", stride_nothing, lock_twice, unlock_twice, again_is_whole},
    {"rwlock_read", stride_nothing, stride_nothing, read_it, rwlock_is_whole},
    {"rwlock_write", stride_nothing, stride_nothing, write_it, rwlock_is_whole},
    {"rwlock_write, from a dead one", rwlock_of_the_dead, stride_nothing, write_it, rwlock_is_whole},
    {"rwlock_unlock, of a reader", stride_nothing, read_it, let_go_of_it, rwlock_is_whole},
    {"rwlock_unlock, of a writer", stride_nothing, write_it, let_go_of_it, rwlock_is_whole},
    {"cond_wait", stride_nothing, lock, cond_wait_it, cond_is_whole},
    {"cond_signal", stride_nothing, stride_nothing, cond_signal_it, cond_is_whole},
    {"cond_broadcast", stride_nothing, stride_nothing, cond_broadcast_it, cond_is_whole},
    {"mutex_lock, behind another", mutex_of_another, stride_nothing, lock_behind, mutex_is_whole},
    {"mutex_lock, lending priority", urgent_of_another, stride_nothing, lock_urgent_behind, urgent_is_whole},
    {"rwlock_read, behind a writer", rwlock_of_a_writer, stride_nothing, read_behind, rwlock_is_whole},
    {"rwlock_write, behind a writer", rwlock_of_a_writer, stride_nothing, write_behind, rwlock_is_whole},
    {"rwlock_write, behind a reader", rwlock_of_a_reader, stride_nothing, write_behind, rwlock_is_whole},
    {"cond_wait, until another signals", one_who_signals, lock, cond_wait_long, cond_is_whole},
};

static void killed_at_each_instruction(void **state) {
    (void)state;
    stride_through(operations, sizeof operations / sizeof *operations, anew, board, sizeof *board);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_each_instruction)};
    return cmocka_run_group_tests(tests, begin, room_end);
}
