/* SPDX-License-Identifier: MIT
 *
 * The histogram of the bench: buckets without gaps, and percentiles as close as it promises, beside sorted values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/hist.h"

#define VALUES 20000
#define ERROR (1.0 / 128)

static uint64_t state;

static uint64_t dice(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void buckets_follow_each_other(void **unused) {
    (void)unused;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t first = hist_first(i), width = hist_width(i);
        assert_int_equal(hist_bucket(first), i);
        assert_int_equal(hist_bucket(first + width - 1), i);
        assert_true(width == 1 || (double)width / (double)first <= ERROR);
        if (i + 1 < HIST_BUCKETS) {
            assert_int_equal(hist_first(i + 1), first + width);
        }
    }
    assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
}

/* The value at that rank, or the next one, give or take a bucket; and where a clock is coarse, half a step. */
static void percentiles_are_close(const uint64_t *sorted, const struct hist *hist, double step) {
    static const double parts[] = {0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        double value = hist_at(hist, parts[i]);
        double exact = (double)sorted[(size_t)(parts[i] * VALUES)];
        double slack = exact * ERROR + 1 + step;
        if (value < exact - slack || value > exact + slack) {
            fail_msg("%g: %g, and sorting says %g", parts[i], value, exact);
        }
    }
    assert_true(hist_at(hist, 1) <= (double)sorted[VALUES - 1]);
    assert_int_equal(hist->most, sorted[VALUES - 1]);
    assert_int_equal(hist->least, sorted[0] + 1);
    assert_int_equal(hist->count, VALUES);
}

static void percentiles_are_as_sorted(void **unused) {
    (void)unused;
    static struct hist hist, half[2];
    static uint64_t value[VALUES];
    for (unsigned kind = 0; kind < 40; kind++) {
        const uint64_t step = kind % 4 == 3 ? 21 : 1; /* ticks of a coarse clock */
        memset(&hist, 0, sizeof hist);
        memset(half, 0, sizeof half);
        state = 88172645463325252U + kind;
        for (unsigned i = 0; i < VALUES; i++) {
            uint64_t n = kind % 3 == 0 ? dice() >> (24 + dice() % 40) : 200 + dice() % (50U << kind % 20);
            n = n % (UINT64_C(1) << HIST_WIDEST) / step * step;
            value[i] = n;
            hist_add(&half[i % 2], n);
        }
        hist_merge(&hist, &half[0]);
        hist_merge(&hist, &half[1]);
        qsort(value, VALUES, sizeof *value, compare);
        percentiles_are_close(value, &hist, step > 1 ? (double)step : 0);
    }
}

static void an_empty_one_says_nothing(void **unused) {
    (void)unused;
    static struct hist hist, one;
    assert_true(hist_at(&hist, 0.5) <= 0);
    hist_add(&one, 0);
    hist_merge(&hist, &one);
    assert_int_equal(hist.least, 1);
    assert_true(hist_at(&hist, 0.5) <= 0);
    hist_add(&hist, UINT64_MAX);
    assert_int_equal(hist.most, UINT64_MAX);
    assert_true(hist_at(&hist, 0.99) > 1e12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_follow_each_other),
        cmocka_unit_test(percentiles_are_as_sorted),
        cmocka_unit_test(an_empty_one_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
