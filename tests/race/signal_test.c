/* SPDX-License-Identifier: MIT
 *
 * The condition variable and its mutex (sync/cond.c, mutex.c, owner.c) on the loom: the code as it is, each interleaving of its atomic
 * operations within some switches, and one thread dead at any of them. While nobody has died nobody waits for a slice; after a death
 * nobody waits for long.
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

#include "sync/owner.c" /* NOLINT(bugprone-suspicious-include): the code as it is */

#define inside mutex_inside
#define refuse mutex_refuse
#include "sync/mutex.c" /* NOLINT(bugprone-suspicious-include): the code as it is */
#undef inside
#undef refuse

#include "sync/cond.c" /* NOLINT(bugprone-suspicious-include): the code as it is */

static unsigned more; /* switches, by the first argument */

#define PATIENCE (6 * OWNER_SLICE_NS)

static struct table {
    thirl_mutex mutex;
    thirl_cond cond;
    uint32_t ready; /* what is waited for */
    uint32_t within;
    bool all, outside; /* signalled by broadcast; when it has let go of the mutex */
} table;

static void begin(void) {
    bool all = table.all, outside = table.outside;
    memset(&table, 0, sizeof table);
    players_begin();
    table.all = all;
    table.outside = outside;
    if (thirl_mutex_init(&table.mutex, 0) != 0 || thirl_cond_init(&table.cond, 0) != 0) loom_wrong("it cannot begin");
}

/* Somebody died with the mutex: it was about to say that it is ready, or to pass that on. Whoever is told does. */
static void enter(int rc) {
    if (rc == THIRL_OWNER_DIED) {
        table.within = 0;
        table.ready = 1;
        if (thirl_mutex_mend(&table.mutex) != 0) loom_wrong("it cannot be mended");
    } else if (rc != 0) {
        loom_wrong("no mutex");
    }
    if (table.within++ != 0) loom_wrong("two have the mutex");
}

static void leave_it(void) {
    table.within = 0;
    if (thirl_mutex_unlock(&table.mutex) != 0) loom_wrong("it was not its mutex");
}

static void get_it(void) {
    enter(thirl_mutex_lock(&table.mutex, THIRL_NEVER));
}

/* Waits until it is ready; false: the deadline was before. Looks at what it was told only when it is to be told. */
static bool wait_for_it(void) {
    const thirl_time until = {loom_now() + PATIENCE};
    while (table.ready == 0) {
        table.within = 0;
        int rc = thirl_cond_wait(&table.cond, &table.mutex, until);
        enter(rc == -ETIMEDOUT ? 0 : rc);
        if (rc == -ETIMEDOUT) {
            /* who was killed before it began to signal has not signalled */
            bool signalled = !table.outside || (uint32_t)atomic_peek(&inside(&table.cond)->word) != 0;
            if (table.ready != 0 && signalled) loom_wrong("it was ready, and nobody was woken");
            return false;
        }
    }
    return true;
}

static void say_it(void) {
    (void)(table.all ? thirl_cond_broadcast(&table.cond) : thirl_cond_signal(&table.cond));
}

/* The last one makes it ready; each of the others who is woken passes it on, before it lets go. */
static void pass_on(unsigned who) {
    get_it();
    bool over = true;
    if (who + 1 == LOOM_THREADS) {
        table.ready = 1;
    } else {
        over = wait_for_it();
    }
    if (over) {
        say_it();
    }
    leave_it();
}

static void two(unsigned who) {
    pass_on(who == 1 ? LOOM_THREADS - 1 : who);
}

static void three(unsigned who) {
    pass_on(who == 2 ? LOOM_THREADS - 1 : who);
}

static void nap(void) {
    static const uint32_t nothing;
    (void)loom_futex_wait(&nothing, 0, loom_now() + OWNER_SLICE_NS);
}

/* The same, but it says so when it has let go. */
static void outside(unsigned who) {
    get_it();
    if (who == 2) {
        table.ready = 1;
        leave_it();
        say_it();
        return;
    }
    (void)wait_for_it();
    leave_it();
}

/* Looks in only: it waits once, and not for this. */
static void look_in(thirl_time until) {
    get_it();
    table.within = 0;
    int rc = thirl_cond_wait(&table.cond, &table.mutex, until);
    enter(rc < 0 ? 0 : rc);
    leave_it();
}

/* One gives up at once, while a signal finds nobody asleep, and one comes. */
static void brief(unsigned who) {
    if (who == 0) {
        look_in(THIRL_NOW);
    } else if (who == 1) {
        outside(1);
    } else {
        say_it();
        outside(2);
    }
}

/* It is said when the one who waits looks up after a slice; and another one comes then, who goes on waiting. */
static void later(unsigned who) {
    if (who != 0) nap();
    if (who == 0) {
        outside(0);
    } else if (who == 2 && table.outside) {
        outside(2);
    } else if (who == 2) {
        get_it();
        table.ready = 1;
        say_it();
        leave_it();
    } else if (table.ready != 0) {
        look_in((thirl_time){loom_now() + 2 * OWNER_SLICE_NS});
    }
}

/* Two waits and two signals, each for one thing: one who comes later takes no wake-up that is due to one who was there. */
static void things(unsigned who) {
    get_it();
    if (who < 2) {
        if (wait_for_it()) table.ready--;
        leave_it();
        return;
    }
    for (int i = 0; i < 2; i++) {
        table.ready++;
        leave_it();
        (void)thirl_cond_signal(&table.cond);
        if (i == 0) get_it();
    }
}

static bool walk(const char *name, void (*play)(unsigned), unsigned threads, unsigned mortal, unsigned slices,
                 unsigned switches) {
    const struct loom walk = {.name = name,
                              .threads = threads,
                              .mortal = mortal,
                              .slices = slices,
                              .switches = switches + more,
                              .begin = begin,
                              .play = play,
                              .end = players_end,
                              .memory = {{&table, sizeof table}, {&players, sizeof players}}};
    return loom_walk(&walk);
}

static void nobody_waits_in_vain(void **state) {
    (void)state;
    table.all = false;
    assert_true(walk("one waits, one signals", two, 2, 0, 0, 9));
    assert_true(walk("two wait and pass it on", three, 3, 0, 0, 3));
    assert_true(walk("two wait for a thing each", things, 3, 0, 0, 3));
    assert_true(walk("one only looks in", brief, 3, 0, 0, 3));
    assert_true(walk("one comes when it is said", later, 3, 0, 4, 2));
    table.all = true;
    assert_true(walk("two wait for a broadcast", outside, 3, 0, 0, 3));
}

static void the_dead_take_no_wake_up_along(void **state) {
    (void)state;
    table.all = false;
    assert_true(walk("one of two who wait is killed", three, 3, 1, 6, 2));
    assert_true(walk("who signals is killed", three, 3, 4, 12, 2));
    table.all = true;
    assert_true(walk("who broadcasts is killed", three, 3, 4, 12, 2));
    assert_true(walk("who waits for a broadcast is killed", outside, 3, 1, 6, 2));
    table.outside = true;
    assert_true(walk("who broadcasts is killed, and one comes", later, 3, 4, 12, 2));
    table.outside = false;
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_in_vain),
        cmocka_unit_test(the_dead_take_no_wake_up_along),
    };
    more = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
