/* SPDX-License-Identifier: MIT
 *
 * Semaphore, event, once, barrier: whoever changes one, or sleeps until another one has changed it, is killed at each instruction of that, and
 * whoever comes next finds it whole.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "include/thirl/lock.h"
#include "sync/barrier.h"
#include "sync/beacon.h"
#include "sync/sem.h"
#include "sync/token.h"
#include "tests/member.h"
#include "tests/room.h"
#include "tests/stride.h"

#define SOON thirl_in_ms(20000)

static struct board {
    thirl_sem sem, count;
    thirl_event event, automatic;
    thirl_once once;
    thirl_barrier barrier;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : stride_begin(state);
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

/* ---- behind a partner ---- */

static int permit_of_another(void) {
    return stride_meet(&(struct stride_partner){permit_wait, permit_post});
}

static int permit_wait_long(void) {
    return thirl_sem_wait(&board->sem, SOON);
}

static int one_who_posts(void) {
    return stride_meet(&(struct stride_partner){stride_nothing, count_post});
}

static int count_wait_long(void) {
    return thirl_sem_wait(&board->count, SOON);
}

static int one_who_sets(void) {
    return stride_meet(&(struct stride_partner){stride_nothing, event_set});
}

static int event_wait_long(void) {
    return thirl_event_wait(&board->event, SOON) != 0 ? 1 : thirl_event_wait(&board->automatic, SOON);
}

static int once_of_another(void) {
    return stride_meet(&(struct stride_partner){once_begin, once_end});
}

static int once_begin_long(void) {
    return thirl_once_begin(&board->once, SOON);
}

static const struct stride operations[] = {
    {"sem_wait", stride_nothing, stride_nothing, permit_wait, permit_is_there},
    {"sem_wait, from a dead one", permit_of_the_dead, stride_nothing, permit_wait, permit_is_there},
    {"sem_post", stride_nothing, permit_wait, permit_post, permit_is_there},
    {"sem_wait, counting", stride_nothing, count_post, count_wait, count_is_sane},
    {"sem_post, counting", stride_nothing, stride_nothing, count_post, count_is_sane},
    {"event_set", stride_nothing, stride_nothing, event_set, events_are_sane},
    {"event_reset", stride_nothing, event_set, event_reset, events_are_sane},
    {"event_wait", stride_nothing, event_set, event_wait, events_are_sane},
    {"once_begin", stride_nothing, stride_nothing, once_begin, once_is_mine_or_done},
    {"once_end", stride_nothing, once_begin, once_end, once_is_mine_or_done},
    {"barrier_join", stride_nothing, stride_nothing, barrier_join_it, place_is_free},
    {"barrier_join, behind a dead one", place_of_the_dead, stride_nothing, barrier_join_it, place_is_free},
    {"barrier_wait", stride_nothing, barrier_join_it, barrier_pass, place_is_free},
    {"barrier_leave", stride_nothing, join_and_pass, barrier_leave, place_is_free},
    {"sem_wait, behind another", permit_of_another, stride_nothing, permit_wait_long, permit_is_there},
    {"sem_wait, until another posts", one_who_posts, stride_nothing, count_wait_long, count_is_sane},
    {"event_wait, until another sets", one_who_sets, stride_nothing, event_wait_long, events_are_sane},
    {"once_begin, behind another", once_of_another, stride_nothing, once_begin_long, once_is_mine_or_done},
};

static void killed_at_each_instruction(void **state) {
    (void)state;
    stride_through(operations, sizeof operations / sizeof *operations, anew, board, sizeof *board);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_each_instruction)};
    return cmocka_run_group_tests(tests, begin, room_end);
}
