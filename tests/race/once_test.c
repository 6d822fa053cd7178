/* SPDX-License-Identifier: MIT
 *
 * sync/once.c, and sync/owner.c below it, as they are, in all orders and with a death at each step (tests/race/braid.h): it is done by one
 * at a time and once, whoever comes later sees it done, and who follows a dead one is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define OWNER_SPINS 1
#include "tests/race/braided.h"
/* The rooms themselves, not their library. */
#include "sync/owner.c" /* NOLINT(bugprone-suspicious-include) */
#include "sync/once.c"  /* NOLINT(bugprone-suspicious-include) */

static thirl_once it;
static unsigned done, told, failures;
static bool doing[BRAID_MOST];

static void begin(void) {
    memset(&it, 0, sizeof it);
    memset(doing, 0, sizeof doing);
    done = told = 0;
}

static void do_once(unsigned who) {
    for (;;) {
        int rc = thirl_once_begin(&it, THIRL_NEVER);
        if (rc == 0) {
            braid_check(done != 0);
            return;
        }
        braid_check(rc == THIRL_ONCE_YOURS || rc == THIRL_OWNER_DIED);
        told += rc == THIRL_OWNER_DIED;
        for (unsigned i = 0; i < BRAID_MOST; i++) braid_check(!doing[i] || (int)i == braid_dead());
        doing[who] = true;
        braid_step(__LINE__); /* somebody else may come now */
        braid_check(rc == THIRL_OWNER_DIED || (braid_dead() < 0 ? !doing[0] || who == 0 : !doing[0]));
        doing[who] = false;
        bool fails = who < failures;
        done += !fails;
        braid_check(thirl_once_end(&it, !fails) == 0);
        braid_check(braid_me()->slip->held == 0);
        if (fails) return;
    }
}

static void it_is_done(void) {
    const struct once *o = (const struct once *)(const void *)&it;
    braid_check(o->word == ONCE_DONE);
    braid_check(done == 1 || (braid_dead() >= 0 && done == 2));
    braid_check(told <= (braid_dead() >= 0 ? 1 + failures : 0));
}

static void walk(const char *name, unsigned participants, unsigned changes, bool kills) {
    const struct braid braid = {.name = name,
                                .participants = participants,
                                .begin = begin,
                                .body = do_once,
                                .end = it_is_done,
                                .changes = changes,
                                .kills = kills};
    assert_true(braid_walk(&braid));
}

static void everybody_lives(void **state) {
    (void)state;
    failures = 0;
    walk("once by two", 2, 5, false);
    walk("once by three", 3, 3, false);
    failures = 1;
    walk("once by three, one of whom cannot", 3, 2, false);
}

static void one_dies(void **state) {
    (void)state;
    failures = 0;
    walk("once by two, one dies", 2, 4, true);
    walk("once by three, one dies", 3, 2, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_lives),
        cmocka_unit_test(one_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
