/* SPDX-License-Identifier: MIT
 *
 * A read-write lock and death: who reads, writes, waits, lets go, takes over from the dead or counts their shares is killed, and stopped,
 * at each named point of it. Whoever is left gets on, and is told when the state may be torn.
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

#define TURNS 18
#define PASSES 4           /* the first of a point, and a later one */
#define LONG (5 * CLOCK_S) /* on a busy machine; it takes 150 ms */

static struct board {
    thirl_rwlock lock;
    uint64_t first, second; /* equal, but while somebody writes */
    uint64_t turns[2];      /* of writing */
    uint32_t ready, told;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(void) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_rwlock_init(&board->lock, 0), 0);
}

static int read_once(bool nap) {
    int rc = thirl_rwlock_read(&board->lock, thirl_in_ms(20000));
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    CHECK(rc != 0 || atomic_peek(&board->first) == atomic_peek(&board->second));
    CHECK(thirl_rwlock_write(&board->lock, THIRL_NOW) == -EDEADLK);
    if (nap) room_sleep(CLOCK_MS / 3);
    CHECK(rc != 0 || atomic_peek(&board->first) == atomic_peek(&board->second));
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    return 0;
}

static int write_once(unsigned who, bool gives_up) {
    const thirl_time soon = {clock_now() + 50 * CLOCK_US};
    int rc = thirl_rwlock_write(&board->lock, gives_up ? soon : thirl_in_ms(20000));
    if (rc == -ETIMEDOUT && gives_up) {
        return 0;
    }
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    if (rc == THIRL_OWNER_DIED) {
        atomic_poke(&board->told, board->told + 1);
        atomic_poke(&board->second, board->first);
        CHECK(thirl_rwlock_mend(&board->lock) == 0);
    }
    CHECK(board->first == board->second);
    atomic_poke(&board->first, board->first + 1);
    weave("test.rwlock.half");
    room_sleep(CLOCK_MS / 3);
    atomic_poke(&board->second, board->second + 1);
    atomic_poke(&board->turns[who], board->turns[who] + 1);
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    return 0;
}

/* The victim has an order; it takes turns with the other, and so each holds, waits, gives up and hands over. */
static int take_turns(void *order) {
    unsigned who = order != NULL;
    if (order != NULL && setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->ready) < 2) room_sleep(CLOCK_MS / 10);
    for (int i = 0; i < TURNS; i++) {
        CHECK((i % 3 == 1 ? read_once(true) : write_once(who, i % 3 == 2)) == 0);
        CHECK(read_once(false) == 0);
    }
    return 0;
}

/* Others have died with the lock: the victim writes and mends, or reads, and then gives the lock up. */
static int take_over(void *order) {
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    int rc = thirl_rwlock_write(&board->lock, thirl_in_ms(10));
    CHECK(rc == -ETIMEDOUT || (rc >= 0 && thirl_rwlock_unlock(&board->lock) == 0)); /* without a word */
    CHECK(read_once(false) == 0);
    CHECK(write_once(1, false) == 0);
    CHECK(thirl_rwlock_write(&board->lock, thirl_in_ms(20000)) == 0);
    CHECK(thirl_rwlock_condemn(&board->lock) == 0);
    return 0;
}

static int die_writing(void *nothing) {
    (void)nothing;
    CHECK(thirl_rwlock_write(&board->lock, THIRL_NOW) == 0);
    atomic_poke(&board->first, board->first + 1);
    return raise(SIGKILL);
}

static int die_reading(void *nothing) {
    (void)nothing;
    CHECK(thirl_rwlock_read(&board->lock, THIRL_NOW) == 0);
    return raise(SIGKILL);
}

/* One who takes turns meets the order: whether it did. */
static bool trial(char *order, bool killed) {
    anew();
    pid_t other = room_fork(take_turns, NULL);
    int status = room_watch(room_fork(take_turns, order));
    assert_true(room_fated(status, killed));
    int64_t began = clock_now();
    assert_int_equal(room_reap(other), 0);
    assert_int_equal(write_once(0, false), 0); /* the victim may have been the last */
    assert_int_equal(read_once(false), 0);
    assert_true(clock_now() - began < LONG);
    uint64_t deaths = status == 128 + SIGKILL ? 1 : 0, torn = board->first - board->turns[0] - board->turns[1];
    assert_true(torn <= deaths && board->told <= deaths);
    assert_true(torn == 0 || board->told == 1);
    assert_int_equal(thirl_rwlock_deinit(&board->lock), 0);
    return status != 0;
}

/* The same of who takes over from a reader and, if so, from a writer that died. */
static bool succession(char *order, bool killed, bool torn) {
    anew();
    if (torn) {
        assert_int_equal(room_run(die_writing, NULL), 128 + SIGKILL);
    } else {
        assert_int_equal(room_run(die_reading, NULL), 128 + SIGKILL);
        assert_int_equal(room_run(die_reading, NULL), 128 + SIGKILL);
    }
    int status = room_watch(room_fork(take_over, order));
    assert_true(room_fated(status, killed));
    int64_t began = clock_now();
    int rc = thirl_rwlock_write(&board->lock, thirl_in_ms(20000));
    assert_true(clock_now() - began < LONG);
    if (status != 128 + SIGKILL) {
        assert_int_equal(rc, -ENOTRECOVERABLE);
    } else if (rc != -ENOTRECOVERABLE) {
        assert_true(rc == THIRL_OWNER_DIED || (rc == 0 && board->first == board->second));
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    }
    assert_int_equal(thirl_rwlock_deinit(&board->lock), 0);
    return status != 0;
}

static int read_with(void *order) {
    CHECK(setenv("THIRL_WEAVE_AT", order, 1) == 0);
    CHECK(thirl_rwlock_read(&board->lock, thirl_in_ms(20000)) == 0);
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    return 0;
}

/* One who reads has to wait for one who writes. */
static bool line(char *order, bool killed) {
    anew();
    assert_int_equal(thirl_rwlock_write(&board->lock, THIRL_NOW), 0);
    pid_t victim = room_fork(read_with, order);
    room_sleep(5 * CLOCK_MS);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    int status = room_watch(victim);
    assert_true(room_fated(status, killed));
    int64_t began = clock_now();
    assert_int_equal(write_once(0, false), 0); /* and is told nothing: who only waited has written nothing */
    assert_int_equal(board->told, 0);
    assert_true(clock_now() - began < LONG);
    return status != 0;
}

/* How often a point was met, the first time and a later one. */
static unsigned meet(const char *name, bool killed) {
    unsigned met = 0;
    for (int pass = 1; pass <= (killed ? PASSES : 1); pass += PASSES - 1) {
        char order[96];
        (void)snprintf(order, sizeof order, "%s:%d:%s", name, pass, killed ? "kill" : "stop");
        met += trial(order, killed);
        met += succession(order, killed, true);
        met += succession(order, killed, false);
        met += line(order, killed);
    }
    return met;
}

static void at_each_point(bool killed) {
    assert_true(point_all("rwlock. test.rwlock.", 30, meet, killed));
}

static void killed_at_each_point(void **state) {
    (void)state;
    at_each_point(true);
}

static void stopped_at_each_point(void **state) {
    (void)state;
    at_each_point(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_each_point),
        cmocka_unit_test(stopped_at_each_point),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
