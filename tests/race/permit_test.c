/* SPDX-License-Identifier: MIT
 *
 * sync/sem.c as it is, in all orders and with a death at each step (tests/race/braid.h): never more permits than there are, none is lost,
 * and nobody sleeps beside one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/race/braided.h"
/* The room itself, not its library. */
#include "sync/sem.c" /* NOLINT(bugprone-suspicious-include) */

static thirl_sem sem;
static unsigned permits, turns, told, timed_out;
static bool holds[BRAID_MOST];
static int64_t limit[BRAID_MOST];

static void begin(void) {
    memset(&sem, 0, sizeof sem);
    told = timed_out = 0;
    memset(holds, 0, sizeof holds);
    braid_check(thirl_sem_init(&sem, permits, 0) == 0);
}

/* The living that hold one. */
static unsigned holders(void) {
    unsigned count = 0;
    for (int i = 0; i < BRAID_MOST; i++) {
        count += holds[i] && i != braid_dead();
    }
    return count;
}

static void take_turns(unsigned who) {
    for (unsigned i = 0; i < turns; i++) {
        int rc = thirl_sem_wait(&sem, (thirl_time){limit[who]});
        if (rc == -ETIMEDOUT && limit[who] != INT64_MAX) {
            timed_out++;
            continue;
        }
        braid_check(rc == 0 || rc == THIRL_OWNER_DIED);
        told += rc == THIRL_OWNER_DIED;
        holds[who] = true;
        braid_check(holders() <= permits);
        holds[who] = false;
        braid_check(thirl_sem_post(&sem) == 0);
        braid_check(braid_me()->slip->held == 0);
    }
}

static void all_are_back(void) {
    struct sem *s = (struct sem *)(void *)&sem;
    unsigned held = 0;
    for (unsigned i = 0; i < permits; i++) {
        held += s->holder[i] != 0;
    }
    braid_check(held + told <= (braid_dead() >= 0));
    braid_check(timed_out == 0 || limit[2] != INT64_MAX);
}

static void walk(const char *name, unsigned participants, unsigned p, unsigned t, unsigned changes, unsigned slices,
                 bool kills) {
    permits = p;
    turns = t;
    const struct braid braid = {.name = name,
                                .participants = participants,
                                .begin = begin,
                                .body = take_turns,
                                .end = all_are_back,
                                .changes = changes,
                                .slices = slices,
                                .kills = kills};
    assert_true(braid_walk(&braid));
}

static void everybody_lives(void **state) {
    (void)state;
    limit[0] = limit[1] = limit[2] = limit[3] = INT64_MAX;
    walk("two, one permit", 2, 1, 2, 5, 1, false);
    walk("three, one permit", 3, 1, 1, 3, 1, false);
    walk("three, two permits", 3, 2, 1, 3, 0, false);
    walk("four, two permits", 4, 2, 1, 2, 0, false);
}

static void one_gives_up(void **state) {
    (void)state;
    limit[2] = BRAID_LATE / 2;
    walk("three, one permit, one gives up", 3, 1, 1, 3, 1, false);
    walk("three, one permit, one gives up, one dies", 3, 1, 1, 2, 0, true);
    limit[2] = INT64_MAX;
}

static void one_dies(void **state) {
    (void)state;
    walk("two, one permit, one dies", 2, 1, 2, 3, 0, true);
    walk("three, one permit, one dies", 3, 1, 1, 2, 0, true);
    walk("three, two permits, one dies", 3, 2, 1, 2, 0, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_lives),
        cmocka_unit_test(one_gives_up),
        cmocka_unit_test(one_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
