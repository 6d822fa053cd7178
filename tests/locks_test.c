/* SPDX-License-Identifier: MIT
 *
 * A mutex and death: who holds, waits, lets go, takes over, mends or gives up is killed, and stopped, at each named point of it. Whoever
 * is left gets on, is told when the state may be torn, and never otherwise.
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
#include "sync/owner.h"
#include "tests/member.h"
#include "tests/point.h"
#include "tests/room.h"

#define TURNS 16
#define PASSES 3 /* the first of a point, and later ones */
#define TRIES 5  /* to meet one that hangs on who comes when */

static struct board {
    thirl_mutex mutex;
    uint64_t first, second; /* equal, but within a turn */
    uint64_t turns[2];
    uint32_t ready, told;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static int turn(unsigned who, bool nap) {
    int rc = thirl_mutex_lock(&board->mutex, thirl_in_ms(20000));
    if (rc == -ENOTRECOVERABLE) {
        return rc;
    }
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    if (rc == THIRL_OWNER_DIED) {
        atomic_poke(&board->told, board->told + 1);
        atomic_poke(&board->second, board->first);
        CHECK(thirl_mutex_mend(&board->mutex) == 0);
    }
    CHECK(board->first == board->second);
    atomic_poke(&board->first, board->first + 1);
    weave("test.mutex.half");
    if (nap) {
        room_sleep(CLOCK_MS / 2);
    }
    atomic_poke(&board->second, board->second + 1);
    atomic_poke(&board->turns[who], board->turns[who] + 1);
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    return 0;
}

/* Nobody has waited for a while: then it lets go without looking for those who do. */
static int go_on_alone(void) {
    for (int i = 0; i < 2 * CROWD_LASTS; i++) {
        int rc = thirl_mutex_lock(&board->mutex, thirl_in_ms(20000));
        CHECK(rc == 0 && board->first == board->second);
        CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    }
    return 0;
}

/* The victim has an order; it takes turns with the other, and so holds, waits and hands over; afterwards it is alone. */
static int take_turns(void *order) {
    unsigned who = order != NULL;
    if (order != NULL && setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->ready) < 2) {
        room_sleep(CLOCK_MS / 10);
    }
    for (int i = 0; i < TURNS; i++) {
        if (turn(who, i % 2 == 0) != 0) {
            return 1;
        }
    }
    return order != NULL ? go_on_alone() : 0;
}

/* Somebody has died with the mutex: the victim takes over, and mends or gives up. */
static int take_over(void *order) {
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    CHECK(turn(1, false) == 0);
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    CHECK(thirl_mutex_condemn(&board->mutex) == 0);
    return 0;
}

static int die_inside(void *nothing) {
    (void)nothing;
    CHECK(thirl_mutex_lock(&board->mutex, THIRL_NOW) == 0);
    atomic_poke(&board->first, board->first + 1);
    return raise(SIGKILL);
}

static void anew(uint32_t flags) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, flags), 0);
}

/* One who takes turns meets the order: whether it did. */
static bool trial(char *order, uint32_t flags, bool killed) {
    anew(flags);
    pid_t other = room_fork(take_turns, NULL);
    int status = room_watch(room_fork(take_turns, order));
    assert_true(room_fated(status, killed));
    assert_int_equal(room_reap(other), 0);
    assert_int_equal(turn(0, false), 0); /* the victim may have been the last */
    assert_int_equal(board->turns[0], TURNS + 1);
    uint64_t deaths = status == 128 + SIGKILL ? 1 : 0, torn = board->first - board->turns[0] - board->turns[1];
    assert_true(torn <= deaths && board->told <= deaths);
    assert_true(torn == 0 || board->told == 1);
    assert_true(deaths == 1 || board->turns[1] == TURNS);
    return status != 0;
}

/* The same of who takes over from one who died. */
static bool succession(char *order, uint32_t flags, bool killed) {
    anew(flags);
    assert_int_equal(room_run(die_inside, NULL), 128 + SIGKILL);
    int status = room_watch(room_fork(take_over, order));
    assert_true(room_fated(status, killed));
    int64_t began = clock_now();
    int rc = thirl_mutex_lock(&board->mutex, thirl_in_ms(20000));
    assert_true(clock_now() - began < CLOCK_S);
    if (status != 128 + SIGKILL) {
        assert_int_equal(rc, -ENOTRECOVERABLE);
    } else if (rc != -ENOTRECOVERABLE) {
        assert_true(rc == THIRL_OWNER_DIED || (rc == 0 && board->first == board->second));
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
    }
    return status != 0;
}

static unsigned meet(const char *name, bool killed) {
    unsigned met = 0;
    for (int inherits = 0; inherits < 2; inherits++) {
        uint32_t flags = inherits ? THIRL_LOCK_INHERIT : 0;
        bool other_kind = strncmp(name, inherits ? "owner." : "urgent.", inherits ? 6 : 7) == 0;
        for (int pass = 1; pass <= (killed ? PASSES : 1) && !other_kind; pass += PASSES - 1) {
            char order[96];
            (void)snprintf(order, sizeof order, "%s:%d:%s", name, pass, killed ? "kill" : "stop");
            for (int tries = 0, before = (int)met; tries < TRIES && (int)met == before; tries++) {
                met += trial(order, flags, killed);
                met += succession(order, flags, killed);
            }
        }
    }
    return met;
}

static void at_each_point(bool killed) {
    assert_true(point_all("mutex. owner. urgent. test.mutex.", 1, meet, killed));
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
