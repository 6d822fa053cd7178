/* SPDX-License-Identifier: MIT
 *
 * Noting in which order locks are taken, and death: who holds one and is about to take another, to wait for it, or to take it over from a dead
 * one, is killed, and stopped, as it notes that. Others get all locks, are told when a holder died and never otherwise, and whoever reads
 * the notes meanwhile sees no order that nobody took.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/doctor.h"
#include "include/thirl/lock.h"
#include "tests/member.h"
#include "tests/ordeal.h"
#include "tests/room.h"

#define LOCKS 3 /* of three, who takes all notes three pairs: one for each pass */

_Static_assert(LOCKS *(LOCKS - 1) / 2 >= ORDEAL_PASSES, "a pair is noted once");

static struct board {
    uint32_t ended; /* the victim has; of tests/ordeal.h */
    uint32_t taken; /* the last lock is, by who lets the victim wait */
    uint32_t told;  /* how often somebody was told of a death */
    thirl_mutex mutex[LOCKS];
} * board;

static void locks(void) {
    for (int i = 0; i < LOCKS; i++) {
        if (thirl_mutex_init(&board->mutex[i], 0) != 0) abort();
    }
}

static int take(int lock) {
    int rc = thirl_mutex_lock(&board->mutex[lock], thirl_in_ms(20000));
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    if (rc == THIRL_OWNER_DIED) {
        (void)atomic_add(&board->told, 1u);
        CHECK(thirl_mutex_mend(&board->mutex[lock]) == 0);
    }
    return 0;
}

static int take_all(unsigned who) {
    (void)who;
    for (int i = 0; i < LOCKS; i++) CHECK(take(i) == 0);
    for (int i = LOCKS; i-- > 0;) CHECK(thirl_mutex_unlock(&board->mutex[i]) == 0);
    return 0;
}

/* One who comes afterwards gets all, and finds them mended. */
static int find_all_mended(void *nothing) {
    uint32_t told = board->told;
    (void)nothing;
    CHECK(take_all(0) == 0 && board->told - told <= LOCKS); /* the victim may have been the last */
    told = board->told;
    CHECK(take_all(0) == 0 && board->told == told);
    return 0;
}

/* deaths: of others than the victim, each with one lock in its hand. */
static bool are_free(bool died, uint32_t deaths) {
    bool good = room_run(find_all_mended, NULL) == 0;
    /* Who dies as it notes has the locks before that one. */
    return good && (died ? board->told >= 1 && board->told <= LOCKS - 1 + deaths : board->told == deaths);
}

static bool all_are_free(bool died) {
    return are_free(died, 0);
}

/* ---- who waits ---- */

static int keep_it_waiting(unsigned who) {
    if (who == 0) {
        CHECK(take(LOCKS - 1) == 0);
        atomic_store(&board->taken, 1);
        room_sleep(10 * CLOCK_MS);
        CHECK(thirl_mutex_unlock(&board->mutex[LOCKS - 1]) == 0);
    }
    CHECK(member_wait(&board->taken, 1));
    return take_all(who);
}

/* ---- who takes over ---- */

static int die_with_the_last(void *nothing) {
    (void)nothing;
    CHECK(take(LOCKS - 1) == 0);
    return raise(SIGKILL);
}

static void locks_of_a_dead_one(void) {
    locks();
    if (room_run(die_with_the_last, NULL) != 128 + SIGKILL) abort();
}

static bool both_deaths_are_told(bool died) {
    return are_free(died, 1);
}

/* ---- who reads ---- */

/* There is one order that makes a circle at most: the one that the victim takes last. */
static int look(bool *circle) {
    struct thirl_doctor *seen;
    CHECK(thirl_doctor_look(&seen) == 0);
    CHECK(seen->missed == 0 && seen->orders <= 1);
    *circle = seen->orders == 1;
    if (*circle) {
        const struct thirl_order *order = seen->order[0];
        CHECK(order->count == 2 && order->step[0].held.name == order->step[1].taken.name &&
              order->step[1].held.name == order->step[0].taken.name &&
              order->step[0].held.name != order->step[0].taken.name);
    }
    thirl_doctor_free(&seen);
    return 0;
}

static int read_or_turn_round(unsigned who) {
    bool circle;
    if (who != ORDEAL_VICTIM) {
        while (atomic_load(&board->ended) == 0) CHECK(look(&circle) == 0);
        return 0;
    }
    CHECK(take_all(who) == 0 && look(&circle) == 0 && !circle);
    CHECK(take(1) == 0 && take(0) == 0);
    CHECK(thirl_mutex_unlock(&board->mutex[0]) == 0 && thirl_mutex_unlock(&board->mutex[1]) == 0);
    CHECK(look(&circle) == 0 && circle);
    return 0;
}

static const struct ordeal ordeals[] = {
    {"who holds, and others want it", "rank.", locks, take_all, all_are_free, NULL},
    {"who waits for what another has", "rank.", locks, keep_it_waiting, all_are_free, NULL},
    {"who takes over", "rank.", locks_of_a_dead_one, take_all, both_deaths_are_told, NULL},
    {"who turns round, while others read", "rank.", locks, read_or_turn_round, all_are_free, NULL},
};

int main(void) {
    const struct ordeals all = {.ordeal = ordeals,
                                .count = sizeof ordeals / sizeof *ordeals,
                                .points = "rank.",
                                .board = (void **)(void *)&board,
                                .size = (sizeof *board + 63) / 64 * 64};
    return ordeal_main(&all);
}
