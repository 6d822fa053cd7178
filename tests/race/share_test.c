/* SPDX-License-Identifier: MIT
 *
 * The read-write lock (sync/rwlock.c, owner.c) on the loom: the code as it is, each interleaving of its atomic operations within some
 * switches, and one thread dead at any of them. Nobody ever reads beside one who writes; nobody waits for a slice while nobody has died;
 * and after a death nobody waits for long.
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

#include "tests/race/loom.h"
#include "tests/race/players.h"
#include "tests/room.h"

#define take owner_take_flags
#include "sync/owner.c" /* NOLINT(bugprone-suspicious-include): the code as it is */
#undef take

#include "sync/rwlock.c" /* NOLINT(bugprone-suspicious-include): the code as it is */

static unsigned more; /* switches, by the first argument */

enum doing { NOTHING, READS, WRITES };

static struct table {
    thirl_rwlock lock;
    uint32_t doing[LOOM_THREADS];
    uint32_t torn, told, mended;
} table;

static void begin(void) {
    memset(&table, 0, sizeof table);
    players_begin();
    if (thirl_rwlock_init(&table.lock, 0) != 0) loom_wrong("it cannot begin");
}

/* In, and looks who else is. */
static void come_in(int rc, enum doing doing) {
    unsigned self = loom_self();
    if (rc != 0 && rc != THIRL_OWNER_DIED) loom_wrong("it does not get in");
    for (unsigned i = 0; i < LOOM_THREADS; i++) {
        if (i != self && !loom_dead(i) && (table.doing[i] == WRITES || (doing == WRITES && table.doing[i] != NOTHING)))
            loom_wrong("one writes beside another one");
    }
    if (table.torn != 0 && rc == 0) loom_wrong("nobody was told that it is torn");
    table.told += rc == THIRL_OWNER_DIED;
    table.doing[self] = doing;
}

static void go_out(void) {
    table.doing[loom_self()] = NOTHING;
    if (thirl_rwlock_unlock(&table.lock) != 0) loom_wrong("it cannot let go");
}

static void read_it(void) {
    come_in(thirl_rwlock_read(&table.lock, THIRL_NEVER), READS);
    loom_step();
    go_out();
}

static void write_it(void) {
    int rc = thirl_rwlock_write(&table.lock, THIRL_NEVER);
    come_in(rc, WRITES);
    if (rc == THIRL_OWNER_DIED) {
        table.torn = 0;
        if (thirl_rwlock_mend(&table.lock) != 0) loom_wrong("it cannot be mended");
    }
    table.torn = 1;
    loom_step();
    table.torn = 0;
    go_out();
}

static void one_writes(unsigned who) {
    (who == 0 ? write_it : read_it)();
}

static void two_write(unsigned who) {
    (who < 2 ? write_it : read_it)();
}

static const uint64_t before = UINT64_C(1) << 62, behind = UINT64_C(1) << 61;

/* Reads for a while and more than once, and has others listed before and behind it, so that its share moves. */
static void read_twice(void) {
    struct slip *slip = party_me()->slip;
    slip_hold(slip, before, &table, NULL);
    come_in(thirl_rwlock_read(&table.lock, THIRL_NEVER), READS);
    slip_hold(slip, behind, &table, NULL);
    slip_drop(slip, before);
    if (thirl_rwlock_read(&table.lock, THIRL_NEVER) < 0) loom_wrong("it cannot read again");
    loom_step();
    if (thirl_rwlock_unlock(&table.lock) != 0) loom_wrong("it cannot let go of one");
    slip_drop(slip, behind);
    loom_step();
    go_out();
}

static void reads_twice(unsigned who) {
    (who == 0 ? write_it : who == 1 ? read_twice : read_it)();
}

/* Two read already, one of them with others listed before and behind it, and so did one who is dead and forgotten. */
static void begin_beside_a_dead_one(void) {
    begin();
    struct rwlock *l = inside(&table.lock);
    l->shares = 3;
    slip_hold(&players.slip[1], before, l, NULL);
    slip_hold(&players.slip[1], share_of(l->tag), l, NULL);
    slip_hold(&players.slip[1], behind, l, NULL);
    slip_hold(&players.slip[2], share_of(l->tag), l, NULL);
    table.doing[1] = table.doing[2] = READS;
}

/* One tries to write and counts the shares, twice; meanwhile one lets go, one reads again, and its share moves in its list. */
static void counts(unsigned who) {
    for (int i = 0; who == 0 && i < 2; i++) {
        inside(&table.lock)->counted = 0;
        int rc = thirl_rwlock_write(&table.lock, THIRL_NOW);
        if (rc != -EAGAIN) {
            come_in(rc, WRITES);
            go_out();
        }
    }
    if (who == 1) {
        slip_drop(party_me()->slip, before);
        if (thirl_rwlock_read(&table.lock, THIRL_NEVER) < 0) loom_wrong("it cannot read again");
        if (thirl_rwlock_unlock(&table.lock) != 0) loom_wrong("it cannot let go of one");
        loom_step();
        slip_drop(party_me()->slip, behind);
    }
    if (who != 0) go_out();
}

static void end_of_counts(void) {
    if (thirl_rwlock_write(&table.lock, (thirl_time){loom_now() + 1}) < 0) loom_wrong("a dead one keeps its share");
}

/* One only tries, or gives up soon. */
static void one_tries(unsigned who) {
    int rc = who == 0   ? thirl_rwlock_write(&table.lock, THIRL_NOW)
             : who == 1 ? thirl_rwlock_write(&table.lock, (thirl_time){loom_now() - 1})
                        : thirl_rwlock_read(&table.lock, THIRL_NEVER);
    if (rc != -EAGAIN && rc != -ETIMEDOUT) {
        come_in(rc, who == 2 ? READS : WRITES);
        go_out();
    }
}

static void end(void) {
    const struct rwlock *l = inside(&table.lock);
    bool died = false;
    for (unsigned i = 0; i < LOOM_THREADS; i++) {
        died = died || loom_dead(i);
    }
    players_end();
    if (!died && ((uint32_t)l->shares != 0 || l->word != 0)) loom_wrong("it is not free in the end");
    if (!died && table.told != 0) loom_wrong("somebody was told, and nobody has died");
}

static bool walk(const char *name, void (*play)(unsigned), unsigned mortal, unsigned slices, unsigned switches) {
    const struct loom walk = {.name = name,
                              .threads = 3,
                              .mortal = mortal,
                              .slices = slices,
                              .switches = switches + more,
                              .begin = begin,
                              .play = play,
                              .end = end,
                              .memory = {{&table, sizeof table}, {&players, sizeof players}}};
    return loom_walk(&walk);
}

static void nobody_writes_beside_another_one(void **state) {
    (void)state;
    assert_true(walk("two read, one writes", one_writes, 0, 0, 3));
    assert_true(walk("one reads, two write", two_write, 0, 0, 3));
    assert_true(walk("one reads twice", reads_twice, 0, 0, 3));
    assert_true(walk("two only try", one_tries, 0, 0, 3));
}

static void shares_and_turns_of_the_dead_come_back(void **state) {
    (void)state;
    assert_true(walk("a reader is killed", one_writes, 2, 6, 2));
    assert_true(walk("a reader is killed beside one who reads twice", reads_twice, 4, 6, 2));
    assert_true(walk("one who reads twice is killed", reads_twice, 2, 6, 2));
    assert_true(walk("who writes is killed", one_writes, 1, 6, 2));
    assert_true(walk("one of two who write is killed", two_write, 1, 6, 2));
    assert_true(walk("a reader is killed between two who write", two_write, 4, 6, 2));
    const struct loom dead = {.name = "one counts while others come and go",
                              .threads = 3,
                              .switches = (room_is_brief() ? 4 : 6) + more,
                              .begin = begin_beside_a_dead_one,
                              .play = counts,
                              .end = end_of_counts,
                              .memory = {{&table, sizeof table}, {&players, sizeof players}}};
    assert_true(loom_walk(&dead));
    assert_true(walk("one who tries is killed", one_tries, 1, 6, 2));
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_writes_beside_another_one),
        cmocka_unit_test(shares_and_turns_of_the_dead_come_back),
    };
    more = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
