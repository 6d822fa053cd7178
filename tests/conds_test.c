/* SPDX-License-Identifier: MIT
 *
 * A condition variable and death: who waits, was woken, signals or broadcasts is killed, and stopped, at each named point of it, and at
 * random. Nobody takes the only wake-up along, and whoever is left gets on.
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/weave.h"
#include "include/thirl/lock.h"
#include "tests/member.h"
#include "tests/point.h"
#include "tests/room.h"

#define TURNS 6
#define PASSES 3 /* the first of a point, and a later one */
#define WAITERS 2
#define LONG (5 * CLOCK_S) /* on a busy machine; it takes 100 ms */

static struct board {
    thirl_mutex mutex;
    thirl_cond cond, room, idle;
    uint32_t ready, waiting; /* by the mutex */
    uint32_t full, over;
    uint64_t turns;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(uint32_t flags) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, flags), 0);
    assert_int_equal(thirl_cond_init(&board->cond, 0), 0);
    assert_int_equal(thirl_cond_init(&board->room, 0), 0);
    assert_int_equal(thirl_cond_init(&board->idle, 0), 0);
}

/* With the mutex by now, whoever had it before. */
static int had(int rc) {
    return rc == THIRL_OWNER_DIED ? thirl_mutex_mend(&board->mutex) : rc;
}

static int take(void) {
    return had(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)));
}

/* ---- one wake-up for all: who is woken passes it on ---- */

static int wait_and_pass_on(void *order) {
    if (order != NULL && setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    CHECK(take() == 0);
    board->waiting++;
    while (board->ready == 0) {
        CHECK(had(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000))) == 0);
    }
    weave("test.cond.woken");
    CHECK(thirl_cond_signal(&board->cond) == 0);
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    return 0;
}

static bool until_they_wait(uint32_t waiters) {
    for (int64_t until = clock_now() + LONG; clock_now() < until; room_sleep(CLOCK_MS / 10)) {
        bool all = take() == 0 && board->waiting >= waiters;
        if (thirl_mutex_unlock(&board->mutex) != 0) return false;
        if (all) return true;
    }
    return false;
}

static int make_ready(bool all) {
    CHECK(take() == 0);
    board->ready = 1;
    CHECK((all ? thirl_cond_broadcast(&board->cond) : thirl_cond_signal(&board->cond)) == 0);
    return thirl_mutex_unlock(&board->mutex);
}

static int signal_when_they_wait(void *nothing) {
    (void)nothing;
    return until_they_wait(WAITERS) ? make_ready(false) : 1;
}

static int signal_with(void *order) {
    return setenv("THIRL_WEAVE_AT", order, 1) != 0 ? 1 : make_ready(false);
}

static int broadcast_with(void *order) {
    return setenv("THIRL_WEAVE_AT", order, 1) != 0 ? 1 : make_ready(true);
}

/* The others get on in time: only if nobody made it ready is it made so here. */
static void get_on(const pid_t *other, unsigned others) {
    int64_t began = clock_now();
    assert_int_equal(take(), 0);
    bool ready = board->ready != 0;
    assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
    if (!ready) assert_int_equal(make_ready(false), 0);
    for (unsigned i = 0; i < others; i++) assert_int_equal(room_reap(other[i]), 0);
    assert_true(clock_now() - began < LONG);
}

/* One who waits, and slept first, meets the order. */
static bool relay(char *order, uint32_t flags, bool killed) {
    pid_t other[WAITERS];
    anew(flags);
    pid_t victim = room_fork(wait_and_pass_on, order);
    int64_t until = clock_now() + 20 * CLOCK_MS; /* it may die or stop before it says that it waits */
    while (atomic_load(&board->waiting) == 0 && clock_now() < until) room_sleep(CLOCK_MS / 10);
    for (int i = 0; i < WAITERS; i++) other[i] = room_fork(wait_and_pass_on, NULL);
    room_sleep(3 * CLOCK_MS);
    pid_t first =
        room_fork(signal_when_they_wait, NULL); /* it may have to wait for one who has stopped with the mutex */
    int status = room_watch(victim);
    assert_true(room_fated(status, killed));
    assert_int_equal(room_reap(first), 0);
    get_on(other, WAITERS);
    return status != 0;
}

/* One who signals, or broadcasts, does. */
static bool announce(char *order, uint32_t flags, bool killed, int (*how)(void *)) {
    pid_t other[WAITERS];
    anew(flags);
    for (int i = 0; i < WAITERS; i++) other[i] = room_fork(wait_and_pass_on, NULL);
    assert_true(until_they_wait(WAITERS));
    int status = room_watch(room_fork(how, order));
    assert_true(room_fated(status, killed));
    get_on(other, WAITERS);
    return status != 0;
}

/* ---- a queue of one, which all fill and empty ---- */

static int fill(int64_t ms) {
    int rc = take();
    while (rc == 0 && board->full != 0) rc = had(thirl_cond_wait(&board->room, &board->mutex, thirl_in_ms(ms)));
    board->full += rc == 0;
    (void)thirl_cond_signal(&board->cond);
    CHECK(rc == 0 || rc == -ETIMEDOUT);
    return thirl_mutex_unlock(&board->mutex);
}

static int empty(int64_t ms) {
    int rc = take();
    while (rc == 0 && board->full == 0) rc = had(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(ms)));
    board->full -= rc == 0;
    (void)thirl_cond_broadcast(&board->room);
    CHECK(rc == 0 || rc == -ETIMEDOUT);
    return thirl_mutex_unlock(&board->mutex);
}

/* A signal that finds only who has given up. */
static int idle(void) {
    CHECK(take() == 0);
    int rc = had(thirl_cond_wait(&board->idle, &board->mutex, THIRL_NOW));
    CHECK(rc == 0 || rc == -EAGAIN);
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    return thirl_cond_signal(&board->idle);
}

static int turn(int64_t ms) {
    CHECK(fill(ms) == 0 && empty(ms) == 0 && idle() == 0);
    return 0;
}

static int take_turns(void *order) {
    if (order != NULL && setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    for (int i = 0; i < TURNS; i++) CHECK(turn(20000) == 0);
    return 0;
}

static int take_turns_until_over(void *nothing) {
    (void)nothing;
    while (atomic_load(&board->over) == 0) CHECK(turn(5) == 0);
    return 0;
}

static bool queue(char *order, uint32_t flags, bool killed) {
    anew(flags);
    pid_t other = room_fork(take_turns, NULL), victim = room_fork(take_turns, order);
    int status = room_watch(victim);
    assert_true(room_fated(status, killed));
    pid_t third = room_fork(take_turns_until_over, NULL);
    int64_t began = clock_now();
    assert_int_equal(room_reap(other), 0);
    assert_true(clock_now() - began < LONG);
    atomic_store(&board->over, 1);
    assert_int_equal(room_reap(third), 0);
    assert_true(board->full <= 1);
    return status != 0;
}

/* ---- */

/* How often a point was met, the first time and a later one. */
static unsigned meet(const char *name, bool killed) {
    unsigned met = 0;
    for (int pass = 1; pass <= (killed ? PASSES : 1); pass += PASSES - 1) {
        char order[96];
        uint32_t flags = pass == 1 ? 0 : THIRL_LOCK_INHERIT;
        (void)snprintf(order, sizeof order, "%s:%d:%s", name, pass, killed ? "kill" : "stop");
        met += relay(order, flags, killed);
        met += pass == 1 && announce(order, flags, killed, signal_with);
        met += pass == 1 && announce(order, THIRL_LOCK_INHERIT, killed, broadcast_with);
        met += queue(order, flags, killed);
    }
    return met;
}

static void at_each_point(bool killed) {
    assert_true(point_all("cond. test.cond.", 30, meet, killed));
}

static void killed_at_each_point(void **state) {
    (void)state;
    at_each_point(true);
}

static void stopped_at_each_point(void **state) {
    (void)state;
    at_each_point(false);
}

/* Those who take turns at a queue are killed at random, and replaced. */
static unsigned kills = 60;

static void random_kills(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= THIRL_LOCK_INHERIT; flags += THIRL_LOCK_INHERIT) {
        pid_t child[4];
        anew(flags);
        for (int c = 0; c < 4; c++) child[c] = room_fork(take_turns_until_over, NULL);
        for (unsigned k = 0; k < kills; k++) {
            unsigned c = (unsigned)room_dice(4);
            room_sleep((int64_t)room_dice(3000) * CLOCK_US);
            kill(child[c], SIGKILL);
            assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
            child[c] = room_fork(take_turns_until_over, NULL);
        }
        int64_t began = clock_now();
        pid_t last = room_fork(take_turns, NULL);
        assert_int_equal(room_reap(last), 0);
        atomic_store(&board->over, 1);
        for (int c = 0; c < 4; c++) assert_int_equal(room_reap(child[c]), 0);
        assert_true(clock_now() - began < LONG);
        assert_true(board->full <= 1);
    }
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_each_point),
        cmocka_unit_test(stopped_at_each_point),
        cmocka_unit_test(random_kills),
    };
    kills = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : kills;
    return cmocka_run_group_tests(tests, begin, room_end);
}
