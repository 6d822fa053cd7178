/* SPDX-License-Identifier: MIT
 *
 * Who has given up a sleep is not counted among the sleepers for ever, whatever the sleep ended by: each would cost a ring in vain. The
 * protocol itself is proven by race/rouse_test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mem/hail.h"
#include "mem/rouse.h"

static unsigned sleepers(const struct rouse *rouse) {
    return (unsigned)(rouse->word >> 32) & ROUSE_SLEEPERS;
}

static void counts_nobody_twice(void **state) {
    static struct rouse rouse;
    struct rouse_sleep one = {.seen = 0}, other = {.seen = 0};
    (void)state;
    for (unsigned i = 0; i < 1000; i++) { /* something else was ready each time, and nobody says that this is late */
        (void)rouse_arm(&rouse, &one, false);
        rouse_disarm(&one);
    }
    assert_int_equal(sleepers(&rouse), 1);
    (void)rouse_arm(&rouse, &other, false);
    assert_int_equal(sleepers(&rouse), 2);
    (void)rouse_wake(&rouse, 1); /* whoever it is: one is taken off, and neither may take another one off */
    rouse_disarm(&other);
    rouse_late(&rouse, &other);
    (void)rouse_arm(&rouse, &one, false);
    assert_int_equal(sleepers(&rouse), 2);
    rouse_disarm(&one);
    rouse_late(&rouse, &one);
    assert_int_equal(sleepers(&rouse), 1); /* one too many at most for each ring, which the next ring takes off */
    (void)rouse_wake(&rouse, 5);
    assert_int_equal(sleepers(&rouse), 0);
}

/* Two threads of one end: nobody knows whose count it is, so none is taken off while both may sleep. */
static void threads_share_a_sleep(void **state) {
    static struct rouse rouse;
    struct rouse_sleep end = {.seen = 0};
    (void)state;
    (void)rouse_arm(&rouse, &end, false);
    (void)rouse_arm(&rouse, &end, false);
    rouse_disarm(&end);
    (void)rouse_arm(&rouse, &end, false);
    assert_int_equal(sleepers(&rouse), 3);
    rouse_disarm(&end);
    rouse_disarm(&end);
    (void)rouse_wake(&rouse, 9);
    assert_int_equal(sleepers(&rouse), 0);
}

/* The simpler form of it: without one who wants it nothing is rung. */
static void a_hail_needs_one_who_wants_it(void **state) {
    static struct hail hail;
    (void)state;
    uint32_t seen = hail_want(&hail.came);
    hail_wake(&hail.came);
    assert_int_equal(hail.came.given, seen + 1);
    hail_wake(&hail.came); /* two have seen him: one was faster */
    assert_true(hail.came.given == seen + 1 && hail.came.wanted == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_nobody_twice),
        cmocka_unit_test(threads_share_a_sleep),
        cmocka_unit_test(a_hail_needs_one_who_wants_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
