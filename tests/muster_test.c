/* SPDX-License-Identifier: MIT
 *
 * A barrier and death: who joins, comes, waits, opens it, gives up, leaves, or removes a dead one is killed, and stopped, at each named
 * point. The others pass, all of them are told the same, and the places come back.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/lock.h"
#include "tests/member.h"
#include "tests/ordeal.h"
#include "tests/room.h"

#define TURNS 6
#define PLAYERS (ORDEAL_OTHERS + 1)

static struct board {
    uint32_t ended; /* the victim has; of tests/ordeal.h */
    uint32_t passed[PLAYERS], told[PLAYERS];
    thirl_barrier barrier;
} * board;

static void three_places(void) {
    if (thirl_barrier_init(&board->barrier, PLAYERS) != 0) abort();
}

static void two_places(void) {
    if (thirl_barrier_init(&board->barrier, 2) != 0) abort();
}

/* Passes as often, or until it cannot open any more: somebody has died before it opened for the first time. */
static int pass(unsigned who, int times) {
    for (int i = 0; i < times;) {
        bool ended = atomic_load(&board->ended) != 0;
        int rc = thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(who == ORDEAL_VICTIM ? 20000 : 300));
        CHECK(rc == 0 || rc == THIRL_OWNER_DIED || rc == -ETIMEDOUT);
        if (rc == -ETIMEDOUT && ended && board->passed[who] == 0) break;
        board->told[who] += rc == THIRL_OWNER_DIED;
        board->passed[who] += rc >= 0;
        i += rc >= 0;
    }
    return 0;
}

static int take_part(unsigned who) {
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    CHECK(pass(who, TURNS) == 0);
    CHECK(thirl_barrier_leave(&board->barrier) == 0);
    return 0;
}

static int join_and_die(void *nothing) {
    (void)nothing;
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    return 0;
}

/* Nobody is there any more, and as many as there are places can join. */
static bool is_empty(uint32_t places) {
    bool good = thirl_barrier_join(&board->barrier) == 0;
    for (uint32_t i = 1; i < places; i++) good = room_run(join_and_die, NULL) == 0 && good;
    return thirl_barrier_leave(&board->barrier) == 0 && good;
}

static bool all_were_told_the_same(bool died) {
    return board->passed[0] == board->passed[1] && board->told[0] == board->told[1] &&
           board->told[0] <= (died ? 1u : 0u) && (died || board->passed[0] == TURNS) && is_empty(PLAYERS);
}

/* One ends without leaving, and the victim is one of two who notice. */
static int take_part_or_die(unsigned who) {
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    CHECK(pass(who, who == 0 ? 2 : TURNS) == 0);
    return who == 0 ? 0 : thirl_barrier_leave(&board->barrier);
}

static bool both_deaths_are_told(bool died) {
    uint32_t least = board->passed[0] == 2 ? 1 : 0; /* of one; and once more when who says it dies */
    return board->told[1] >= least && board->told[1] <= (died ? 3u : 1u) && is_empty(PLAYERS);
}

/* Two have died, and nobody else is there. */
static void two_dead(void) {
    two_places();
    if (room_run(join_and_die, NULL) != 0 || room_run(join_and_die, NULL) != 0) abort();
}

static int be_alone(unsigned who) {
    if (who != ORDEAL_VICTIM) return 0;
    for (int i = 0; i < ORDEAL_PASSES; i++) {
        CHECK(thirl_barrier_join(&board->barrier) == 0);
        CHECK(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(1)) == -ETIMEDOUT);
        CHECK(thirl_barrier_wait(&board->barrier, NULL, THIRL_NOW) == -EAGAIN);
        CHECK(thirl_barrier_leave(&board->barrier) == 0);
    }
    return 0;
}

static bool two_are_free(bool died) {
    (void)died;
    return is_empty(2);
}

static const struct ordeal ordeals[] = {
    {"members", "barrier.", three_places, take_part, all_were_told_the_same, NULL},
    {"members, one of whom dies", "barrier.bury. barrier.open. barrier.wait.", three_places, take_part_or_die,
     both_deaths_are_told, NULL},
    {"who comes behind the dead", "barrier.", two_dead, be_alone, two_are_free, NULL},
};

int main(void) {
    const struct ordeals all = {.ordeal = ordeals,
                                .count = sizeof ordeals / sizeof *ordeals,
                                .points = "barrier.",
                                .board = (void **)(void *)&board,
                                .size = (sizeof *board + 63) / 64 * 64};
    return ordeal_main(&all);
}
