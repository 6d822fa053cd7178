/* SPDX-License-Identifier: MIT
 *
 * When the processor is given up, and when that is left alone.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mech/haste.h"

static unsigned yields;
static bool held_up; /* somebody else gets the processor meanwhile */

/* In place of libc's. */
int sched_yield(void) {
    const struct timespec slice = {.tv_nsec = 200000};
    yields++;
    if (held_up) {
        (void)nanosleep(&slice, NULL);
    }
    return 0;
}

/* So many messages come that need not be waited for, and then one that is there when the processor was given up once. Did that happen
 * before the try that would have failed, and before no other? */
static bool burst(struct haste *h, unsigned direct) {
    for (unsigned i = 0; i < direct; i++) {
        unsigned before = yields;
        bool early = haste_before(h);
        assert_true(early || yields == before || h->shun != 0);
        if (early) {
            return false;
        }
        haste_direct(h);
    }
    if (haste_before(h)) {
        return true;
    }
    if (haste_allowance(h) != 0) {
        haste_learn(h, 1);
    }
    return false;
}

static unsigned foreseen(struct haste *h, unsigned direct, unsigned bursts) {
    unsigned count = 0;
    for (unsigned i = 0; i < bursts; i++) {
        count += burst(h, direct);
    }
    return count;
}

/* One in sixteen tries first all the same; and a machine that is held up for a moment costs a few of them. */
static void test_foresees(void **state) {
    (void)state;
    held_up = false;
    for (unsigned direct = 0; direct < 5; direct++) {
        struct haste h = {0};
        assert_int_equal(foreseen(&h, direct, 4), 0);
        assert_in_range(foreseen(&h, direct, 1000), 700, 1000);
        assert_in_range(foreseen(&h, direct + 3, 1000), 700, 1000); /* it gets used to another number */
    }
}

/* Messages in no order are not foreseen, and cost no yield. */
static void test_doubts(void **state) {
    (void)state;
    struct haste h = {0};
    unsigned count = 0, dice = 1;
    held_up = false;
    for (unsigned i = 0; i < 1000; i++) {
        dice = dice * 1103515245 + 12345;
        count += burst(&h, dice >> 16 & 7);
    }
    assert_in_range(count, 0, 100);
}

/* A third program wants the processor: each time it is left alone for longer. One that only came by costs a wait for each 25 us. */
static void test_shuns(void **state) {
    struct haste h = {0};
    unsigned last = 0;
    (void)state;
    held_up = true;
    for (int i = 0; i < 12; i++) {
        h.shun = 0;
        assert_false(haste_yield(&h));
        assert_true(h.shun > last || h.shun == 4096);
        last = h.shun;
        assert_false(haste_before(&h));
        assert_int_equal(haste_allowance(&h), 0);
    }
    assert_int_equal(last, 4096);
    held_up = false;
    for (unsigned i = 0; i < 100000 && h.good < 8; i++) {
        (void)haste_yield(&h);
    }
    held_up = true;
    assert_false(haste_yield(&h));
    assert_in_range(h.shun, 8, 64);
}

/* Whoever empties a long queue takes his time: that is no third program, and giving way to him stays right. */
static void test_long_queue(void **state) {
    struct haste full = {0}, few = {0};
    (void)state;
    held_up = true;
    unsigned early = foreseen(&full, 5000, 40); /* of so many that no machine that is busy takes longer */
    assert_true(early > 25);
    assert_int_equal(full.shun, 0);
    for (unsigned i = 0; i < 70; i++) { /* nor is it dear to wait for him */
        struct haste_wait w = {.patient = true, .tries = 1, .began = clock_now() - 300 * CLOCK_US};
        full.run = 5000;
        haste_found(&full, &w);
    }
    assert_int_equal(full.shun, 0);
    (void)foreseen(&few, 2, 40);
    assert_true(few.penalty != 0); /* whatever is left of it by now */
    held_up = false;
}

/* A sender who is let get ahead may take long, if it sends enough meanwhile; else somebody else had the processor. */
static void test_leads(void **state) {
    struct haste h = {0};
    (void)state;
    held_up = true;
    for (unsigned i = 0; i < 5; i++) {
        yields = 0;
        haste_lead(&h, 1000, true);
        assert_int_equal(yields, 1);
        assert_false(haste_is_off(&h));
    }
    haste_lead(&h, 10, true);
    assert_int_equal(yields, 1); /* what came since the last time was not worth it */
    assert_true(haste_is_off(&h));
    haste_lead(&h, 1000, true);
    assert_int_equal(yields, 1);
    held_up = false;
    struct haste brief = {0};
    for (unsigned i = 0; i < 5; i++) {
        haste_lead(&brief, 0, false);
        assert_false(haste_is_off(&brief));
    }
    assert_int_equal(yields, 6);
}

/* One wait, in which the try after so many that fail finds something; or the one that may sleep does. How many failed before. */
static unsigned wait_for(struct haste *h, unsigned late, bool *slept) {
    struct haste_wait w = haste_begin(h, true);
    unsigned failed = 0;
    for (bool nothing = true; nothing;) {
        *slept = w.sleeps;
        nothing = !w.sleeps && failed < late;
        failed += nothing;
        assert_int_equal(haste_again(h, &w, nothing), nothing);
    }
    return failed;
}

/* What answers soon is not slept for; what does not is, after a few tries, but for one wait in 32. */
static void test_waits(void **state) {
    struct haste h = {0};
    bool slept;
    unsigned sleeps = 0, tries = 0;
    (void)state;
    held_up = false;
    assert_int_equal(wait_for(&h, 0, &slept), 0);
    assert_false(slept);
    for (int i = 0; i < 64; i++) {
        (void)wait_for(&h, 20, &slept);
    }
    for (int i = 0; i < 1000; i++) {
        (void)wait_for(&h, 20, &slept);
        sleeps += slept;
    }
    assert_in_range(sleeps, 0, 200); /* a wait in which the processor is taken away is one too long */
    for (int i = 0; i < 1000; i++) {
        unsigned failed = wait_for(&h, UINT32_MAX, &slept);
        assert_true(slept);
        tries += failed > 8;
    }
    assert_in_range(tries, 0, 40);

    struct haste_wait none = haste_begin(&h, false); /* without patience a call is made once */
    assert_false(none.sleeps);
    assert_false(haste_again(&h, &none, true));
}

/* In a flow through a queue that holds many, whoever finds none looks again after 20 us; without a flow at once. */
static void test_flows(void **state) {
    (void)state;
    held_up = false;
    for (unsigned direct = 0; direct < 20; direct += 10) {
        struct haste h = {.leads = true};
        int64_t least = INT64_MAX;
        for (unsigned i = 0; i < 20; i++) {
            struct timespec began, now;
            bool slept;
            for (unsigned k = 0; direct != 0 && k < direct + i; k++) { /* as many each time would be foreseen */
                (void)wait_for(&h, 0, &slept);
            }
            (void)clock_gettime(CLOCK_MONOTONIC, &began);
            (void)wait_for(&h, 1, &slept);
            (void)clock_gettime(CLOCK_MONOTONIC, &now);
            int64_t took = (now.tv_sec - began.tv_sec) * 1000000000 + now.tv_nsec - began.tv_nsec;
            least = took < least ? took : least;
        }
        assert_true(direct == 0 ? least < 20000 : least >= 20000);
    }
}

/* A peer that answers after 60 us takes the processor 60 us each time: that ends soon, and is tried again only now and then. */
static void test_dear(void **state) {
    struct haste h = {0};
    unsigned awake = 0;
    (void)state;
    held_up = false;
    for (unsigned i = 0; i < 3000; i++) {
        struct haste_wait w = haste_begin(&h, true);
        const struct timespec answer = {.tv_nsec = 20000};
        for (unsigned tries = 0;; tries++) {
            bool nothing = !w.sleeps && tries < 3;
            if (nothing && tries != 0) {
                (void)nanosleep(&answer, NULL);
            }
            if (!haste_again(&h, &w, nothing)) {
                break;
            }
        }
        awake += !w.sleeps;
    }
    assert_in_range(awake, 0, 400);
}

/* So many in a row that came, but late, and it is left alone for long, however sure the foresight was. A single one is nothing. */
static void test_late(void **state) {
    struct haste h = {.streak = 8, .usual = 5};
    (void)state;
    held_up = false;
    for (unsigned i = 0; i < 128; i++) {
        const struct haste_wait late = {.tries = 1, .began = clock_now() - CLOCK_MS};
        const struct haste_wait soon = {.tries = 1, .began = clock_now()};
        assert_int_equal(h.shun, 0);
        haste_found(&h, i == 63 ? &soon : &late); /* that one breaks the row */
    }
    assert_int_equal(h.shun, 1024);
    h.streak = 8;
    h.run = h.usual;
    yields = 0;
    assert_false(haste_before(&h));
    assert_int_equal(yields, 0);
    assert_int_equal(haste_allowance(&h), 0);
    assert_int_equal(h.shun, 1023);
}

/* As often as the last wait needed, twice, but no more than is ever tried; and half of that when nothing came. */
static void test_limits(void **state) {
    struct haste h = {0};
    (void)state;
    for (unsigned which = 1; which <= HASTE_MOST; which++) {
        haste_learn(&h, which);
        assert_int_equal(h.limit, 2 * which < HASTE_MOST ? 2 * which : HASTE_MOST);
    }
    haste_learn(&h, 0);
    assert_int_equal(h.limit, HASTE_MOST / 2);
}

static void test_quiet(void **state) {
    struct haste h = {.quiet = true};
    bool slept;
    (void)state;
    held_up = false;
    yields = 0;
    assert_int_equal(wait_for(&h, 1, &slept), 0);
    assert_true(slept);
    assert_int_equal(foreseen(&h, 0, 100), 0);
    haste_lead(&h, 1, true);
    assert_int_equal(yields, 0);
    assert_true(haste_is_off(&h));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foresees),   cmocka_unit_test(test_doubts), cmocka_unit_test(test_shuns),
        cmocka_unit_test(test_long_queue), cmocka_unit_test(test_leads),  cmocka_unit_test(test_waits),
        cmocka_unit_test(test_flows),      cmocka_unit_test(test_dear),   cmocka_unit_test(test_late),
        cmocka_unit_test(test_limits),     cmocka_unit_test(test_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
