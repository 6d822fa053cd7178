/* SPDX-License-Identifier: MIT
 *
 * sync/barrier.c as it is, in all orders and with a death at each step (tests/race/braid.h): nobody passes before all have come that live
 * and have a place, all who pass are told the same, whoever gave up had not come, and nobody sleeps beside an open barrier.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/race/braided.h"
/* The room itself, not its library. */
#include "sync/barrier.c" /* NOLINT(bugprone-suspicious-include) */

#define ROUNDS_MOST 4

static thirl_barrier barrier;
static struct {
    unsigned participants, rounds;
    int64_t limit[BRAID_MOST];
    bool late_comer; /* there is a place less than participants */
    bool leaves;     /* all but the first leave after one round */
    bool begun;      /* it has opened before, so nobody waits for free places */
} plan;
static bool joined[BRAID_MOST], left[BRAID_MOST];
static unsigned came[BRAID_MOST]; /* for how many generations */
static int told[ROUNDS_MOST + 2]; /* by generation: nobody yet, or what the first was told */
static unsigned gave_up;

static void begin(void) {
    memset(&barrier, 0, sizeof barrier);
    memset(joined, 0, sizeof joined);
    memset(left, 0, sizeof left);
    memset(came, 0, sizeof came);
    gave_up = 0;
    for (unsigned g = 0; g < ROUNDS_MOST + 2; g++) told[g] = -1;
    braid_check(thirl_barrier_init(&barrier, plan.participants - plan.late_comer) == 0);
}

/* Who passes generation g, from 1 on, knows that all have come that have a place. */
static void look_around(unsigned who, uint32_t generation, int rc) {
    braid_check(generation >= 1 && generation <= ROUNDS_MOST);
    for (unsigned i = 0; i < plan.participants; i++) {
        braid_check(!joined[i] || left[i] || (int)i == braid_dead() || came[i] >= generation);
    }
    braid_check(came[who] == generation);
    braid_check(told[generation] == -1 || told[generation] == rc);
    braid_check(rc == 0 || (rc == THIRL_OWNER_DIED && braid_dead() >= 0));
    told[generation] = rc;
}

static unsigned opened(void) {
    const struct barrier *b = (const struct barrier *)(const void *)&barrier;
    return (unsigned)generation_of(b->word);
}

static void meet(unsigned who) {
    uint32_t generation = 0;
    int rc = thirl_barrier_join(&barrier);
    if (plan.late_comer && rc == -EBUSY) {
        return;
    }
    braid_check(rc == 0);
    struct barrier *b = (struct barrier *)(void *)&barrier;
    b->word |= plan.begun ? BARRIER_BEGUN : 0; /* nobody is left of those for whom it did */
    came[who] = opened();
    joined[who] = true;
    for (unsigned i = 0; i < (plan.leaves && who != 0 ? 1 : plan.rounds); i++) {
        braid_step(__LINE__); /* it has a place and has not come */
        unsigned before = opened();
        came[who] = before + 1;
        rc = thirl_barrier_wait(&barrier, &generation, (thirl_time){plan.limit[who]});
        if (rc == (plan.limit[who] == 0 ? -EAGAIN : -ETIMEDOUT)) {
            braid_check(plan.limit[who] != INT64_MAX);
            braid_check(opened() == before); /* it has not opened, and cannot without this one */
            gave_up++;
            came[who] = before;
            braid_step(__LINE__); /* and does not while others go on */
            break;
        }
        braid_check(rc >= 0);
        look_around(who, generation, rc);
    }
    left[who] = true;
    braid_check(thirl_barrier_leave(&barrier) == 0);
    braid_check(braid_me()->slip->held == 0 && braid_me()->slip->wait.kind == SLIP_NOTHING);
}

static void all_have_gone(void) {
    const struct barrier *b = (const struct barrier *)(const void *)&barrier;
    unsigned taken = 0;
    for (unsigned i = 0; i < b->places; i++) {
        taken += b->place[i].holder != 0;
    }
    braid_check(taken <= (braid_dead() >= 0 ? 1 : 0));
    braid_check(gave_up == 0 || braid_dead() >= 0 || plan.limit[0] != plan.limit[1] || plan.late_comer);
}

static void walk(const char *name, unsigned participants, unsigned rounds, unsigned changes, unsigned slices,
                 bool kills) {
    plan.participants = participants;
    plan.rounds = rounds;
    const struct braid braid = {.name = name,
                                .participants = participants,
                                .begin = begin,
                                .body = meet,
                                .end = all_have_gone,
                                .changes = changes,
                                .slices = slices,
                                .kills = kills};
    assert_true(braid_walk(&braid));
}

static void limits(int64_t limit) {
    for (unsigned i = 0; i < BRAID_MOST; i++) plan.limit[i] = limit;
}

#define SOON (BRAID_LATE / 2)

static void everybody_lives(void **state) {
    (void)state;
    limits(INT64_MAX);
    walk("a barrier of two", 2, 2, 3, 0, false);
    walk("a barrier of two, three times", 2, 3, 1, 1, false);
    walk("a barrier of three", 3, 1, 2, 0, false);
    walk("a barrier of four", 4, 1, 1, 0, false);
    plan.leaves = true;
    walk("a barrier of three, two leave", 3, 2, 2, 0, false);
    plan.leaves = false;
}

/* One has no time: it has come for all, or for nobody. */
static void one_gives_up(void **state) {
    (void)state;
    limits(SOON);
    plan.limit[0] = 0;
    walk("a barrier of two, one only looks", 2, 2, 3, 0, false);
    walk("a barrier of three, one only looks", 3, 1, 2, 0, false);
}

static void one_dies(void **state) {
    (void)state;
    limits(SOON);
    walk("a barrier of two, one dies", 2, 2, 2, 0, true);
    walk("a barrier of three, one dies", 3, 2, 1, 0, true);
}

static void one_comes_later(void **state) {
    (void)state;
    limits(SOON);
    plan.late_comer = true;
    walk("a barrier of two, and one who takes a place", 3, 2, 1, 0, false);
    walk("a barrier of two, and one who takes a dead one's place", 3, 2, 1, 0, true);
    plan.late_comer = false;
    plan.begun = true;
    walk("a barrier that has opened, two take places", 2, 1, 3, 0, false);
    plan.begun = false;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_lives),
        cmocka_unit_test(one_gives_up),
        cmocka_unit_test(one_dies),
        cmocka_unit_test(one_comes_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
