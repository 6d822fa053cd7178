/* SPDX-License-Identifier: MIT
 *
 * sync/token.c and sync/beacon.c as they are, in all orders and with a death at each step (tests/race/braid.h): what was posted is taken
 * once, and nobody sleeps beside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TOKEN_SPINS 1
#include "tests/race/braided.h"
/* The rooms themselves, not their library. */
#include "sync/token.c"  /* NOLINT(bugprone-suspicious-include) */
#include "sync/beacon.c" /* NOLINT(bugprone-suspicious-include) */

static uint64_t word;
static thirl_event event;
static struct {
    unsigned posts, most;
    unsigned poster;
    int64_t limit;
} plan;
static unsigned posted, took, missed;

static void begin(void) {
    word = 0;
    posted = took = missed = 0;
    braid_check(thirl_event_init(&event, plan.most == 1 ? THIRL_LOCK_AUTOMATIC : 0) == 0);
}

/* ---- a word that counts ---- */

static void post_or_take(unsigned who) {
    if (who == plan.poster) {
        for (unsigned i = 0; i < plan.posts; i++) {
            int rc = token_post(&word, TOKEN_MAX);
            braid_check(rc == 0);
            posted++;
        }
        return;
    }
    int rc = token_spin(&word) == 0 ? 0 : token_take(&word, plan.limit);
    braid_check(rc == 0 || (rc == -ETIMEDOUT && plan.limit != INT64_MAX));
    took += rc == 0;
    missed += rc != 0;
}

/* Who died may have posted, or taken, one more than it said. */
static void adds_up(void) {
    unsigned left = token_count(word), slack = braid_dead() >= 0;
    braid_check(took + left <= posted + slack && took + left + slack >= posted);
    braid_check(missed == 0 || left == 0);
}

/* ---- events ---- */

static void set_or_wait(unsigned who) {
    if (who == plan.poster) {
        for (unsigned i = 0; i < plan.posts; i++) {
            if (i != 0) braid_check(thirl_event_reset(&event) == 0);
            braid_check(thirl_event_set(&event) == 0);
            posted++;
        }
        return;
    }
    int rc = thirl_event_wait(&event, (thirl_time){plan.limit});
    braid_check(rc == 0 || (rc == -ETIMEDOUT && plan.limit != INT64_MAX));
    took += rc == 0;
    missed += rc != 0;
    braid_check(braid_me()->slip->wait.kind == SLIP_NOTHING);
}

/* Reset at once: who slept passes all the same. */
static void pulse_or_wait(unsigned who) {
    if (who == plan.poster) {
        bool all_sleep = braid_asleep(1) && braid_asleep(2);
        braid_check(thirl_event_set(&event) == 0);
        if (all_sleep) {
            braid_check(thirl_event_reset(&event) == 0);
        }
        return;
    }
    braid_check(thirl_event_wait(&event, THIRL_NEVER) == 0);
}

static void nothing_more(void) {
}

static void set_lets_pass(void) {
    const struct beacon *e = (const struct beacon *)(const void *)&event;
    unsigned slack = braid_dead() >= 0;
    if (plan.most == 1) {
        braid_check(token_count(e->word) <= 1 && took <= posted + slack);
        braid_check(missed == 0 || token_count(e->word) == 0);
    } else {
        braid_check(missed == 0 || (e->word & BEACON_SET) == 0);
    }
}

static void walk(const char *name, void (*body)(unsigned who), void (*end)(void), unsigned participants,
                 unsigned changes, unsigned slices, bool kills) {
    const struct braid braid = {.name = name,
                                .participants = participants,
                                .begin = begin,
                                .body = body,
                                .end = end,
                                .changes = changes,
                                .slices = slices,
                                .kills = kills};
    assert_true(braid_walk(&braid));
}

#define SOON (BRAID_LATE / 2)

static void posts_and_takers(void **state) {
    (void)state;
    plan.most = 0;
    plan.limit = INT64_MAX;
    plan.poster = 0;
    plan.posts = 1;
    walk("a count of one, one taker", post_or_take, adds_up, 2, 6, 1, false);
    plan.posts = 2;
    walk("a count of two, two takers", post_or_take, adds_up, 3, 3, 0, false);
    plan.posts = 3;
    walk("a count of three, three takers", post_or_take, adds_up, 4, 1, 0, false);
    plan.limit = SOON;
    walk("a count of three, two takers in haste, and the poster dies", post_or_take, adds_up, 3, 2, 0, true);
    plan.poster = 2;
    plan.posts = 2;
    plan.limit = INT64_MAX;
    walk("a count of two, and a taker dies", post_or_take, adds_up, 3, 3, 0, true);
}

static void automatic_events(void **state) {
    (void)state;
    plan.most = 1;
    plan.poster = 0;
    plan.posts = 1;
    plan.limit = INT64_MAX;
    walk("an automatic event, one waiter", set_or_wait, set_lets_pass, 2, 6, 1, false);
    plan.limit = SOON;
    plan.posts = 2;
    walk("an automatic event, two waiters in haste", set_or_wait, set_lets_pass, 3, 3, 0, false);
    walk("an automatic event, and the setter dies", set_or_wait, set_lets_pass, 3, 3, 0, true);
    plan.poster = 2;
    plan.posts = 1;
    walk("an automatic event, and a waiter dies", set_or_wait, set_lets_pass, 3, 3, 0, true);
}

static void events_that_stay(void **state) {
    (void)state;
    plan.most = 0;
    plan.poster = 0;
    plan.posts = 2;
    plan.limit = INT64_MAX;
    walk("an event, one waiter", set_or_wait, set_lets_pass, 2, 6, 1, false);
    walk("an event, two waiters", set_or_wait, set_lets_pass, 3, 2, 1, false);
    walk("an event that is reset at once, two waiters", pulse_or_wait, nothing_more, 3, 3, 0, false);
    plan.limit = SOON;
    walk("an event, and the setter dies", set_or_wait, set_lets_pass, 3, 3, 0, true);
    plan.poster = 2;
    plan.limit = INT64_MAX;
    walk("an event, and a waiter dies", set_or_wait, set_lets_pass, 3, 3, 0, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(posts_and_takers),
        cmocka_unit_test(automatic_events),
        cmocka_unit_test(events_that_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
