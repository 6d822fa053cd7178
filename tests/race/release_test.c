/* SPDX-License-Identifier: MIT
 *
 * The mutex (sync/mutex.c, owner.c) on the loom with store buffers: whoever lets go by a plain store, and who comes to wait meanwhile. The
 * code as it is, each interleaving of its atomic operations within some switches, and one thread dead at any of them. While nobody has died
 * nobody waits for a slice; after a death nobody waits for long.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CROWD_LASTS 1 /* it comes and goes within a walk */

#include "tests/race/loom.h"
#include "tests/race/players.h"

#include "sync/owner.c" /* NOLINT(bugprone-suspicious-include): the code as it is */

#include "sync/mutex.c" /* NOLINT(bugprone-suspicious-include): the code as it is */

static unsigned more; /* switches, by the first argument */

static struct table {
    thirl_mutex mutex;
    uint32_t within;
    uint32_t times; /* that each takes it */
} table;

static void begin(void) {
    const uint32_t times = table.times;
    memset(&table, 0, sizeof table);
    table.times = times;
    players_begin();
    if (thirl_mutex_init(&table.mutex, 0) != 0) loom_wrong("it cannot begin");
}

static void go_through(thirl_time until) {
    int rc = thirl_mutex_lock(&table.mutex, until);
    if (rc == -ETIMEDOUT && until.ns != INT64_MAX) {
        return;
    }
    if (rc == THIRL_OWNER_DIED) {
        table.within = 0;
        if (thirl_mutex_mend(&table.mutex) != 0) loom_wrong("it cannot be mended");
    } else if (rc != 0) {
        loom_wrong("no mutex");
    }
    if (table.within++ != 0) loom_wrong("two have the mutex");
    loom_step();
    table.within = 0;
    if (thirl_mutex_unlock(&table.mutex) != 0) loom_wrong("it was not its mutex");
}

static void all_take_it(unsigned who) {
    (void)who;
    for (uint32_t i = 0; i < table.times; i++) go_through(THIRL_NEVER);
}

/* One comes once, and the others twice. */
static void one_is_late(unsigned who) {
    for (uint32_t i = who == 0; i < 2; i++) go_through(THIRL_NEVER);
}

/* One gives up after a while. */
static void one_gives_up(unsigned who) {
    for (uint32_t i = 0; i < table.times; i++) {
        go_through(who == 0 ? THIRL_TIME(loom_now() + OWNER_SLICE_NS) : THIRL_NEVER);
    }
}

static bool walk(const char *name, void (*play)(unsigned), unsigned threads, unsigned mortal, unsigned slices,
                 unsigned switches) {
    const struct loom walk = {.name = name,
                              .threads = threads,
                              .mortal = mortal,
                              .slices = slices,
                              .switches = switches + more,
                              .buffers = true,
                              .begin = begin,
                              .play = play,
                              .end = players_end,
                              .memory = {{&table, sizeof table}, {&players, sizeof players}}};
    return loom_walk(&walk);
}

static void nobody_waits_in_vain(void **state) {
    (void)state;
    table.times = 2;
    assert_true(walk("two take it twice", all_take_it, 2, 0, 0, 4));
    table.times = 3;
    assert_true(walk("two take it three times", all_take_it, 2, 0, 0, 3));
    table.times = 1;
    assert_true(walk("three take it", all_take_it, 3, 0, 0, 3));
    assert_true(walk("two take it twice, and one comes", one_is_late, 3, 0, 0, 2));
    assert_true(walk("one of two gives up", one_gives_up, 2, 0, 2, 4));
}

static void the_dead_hold_up_nobody(void **state) {
    (void)state;
    table.times = 2;
    assert_true(walk("one of two is killed", all_take_it, 2, 1, 4, 3));
    table.times = 1;
    assert_true(walk("one of three is killed", all_take_it, 3, 1, 6, 2));
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_in_vain),
        cmocka_unit_test(the_dead_hold_up_nobody),
    };
    more = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
