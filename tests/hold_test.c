/* SPDX-License-Identifier: MIT
 *
 * Pieces that come back in any order, against a plain list of those that are out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem/hold.h"
#include "tests/room.h"

struct out {
    uint64_t ticket, at;
};

/* A random walk from empty to empty: fills and drains by turns, so that both ends are met. */
static void walk(uint64_t first, unsigned steps) {
    struct hold hold = {.out = 0};
    struct out out[HOLD_MAX];
    size_t count = 0;
    uint64_t at = first;
    for (unsigned step = 0; step < steps || count > 0; step++) {
        unsigned bias = step >= steps ? 0 : step / 100 % 3 == 0 ? 80 : step / 100 % 3 == 1 ? 20 : 50;
        assert_int_equal(hold_full(&hold), count == HOLD_MAX);
        if (!hold_full(&hold) && room_dice(100) < bias) {
            at += 8 * (1 + room_dice(50));
            uint64_t ticket = count == 0 && room_dice(2) == 0 ? hold_first(&hold, at) : hold_out(&hold, at);
            assert_in_range(ticket, 1, HOLD_MAX);
            out[count++] = (struct out){ticket, at};
        } else if (count > 0) {
            size_t i = (size_t)room_dice(count);
            assert_int_equal(hold_back(&hold, out[i].ticket), i == 0);
            for (count--; i < count; i++) out[i] = out[i + 1]; /* stays in the order of tickets */
        }
        assert_int_equal(hold_empty(&hold), count == 0);
        if (count > 0) {
            assert_int_equal(hold_oldest(&hold), out[0].at);
        }
    }
    assert_int_equal(hold.out, 0);
}

static void knows_the_oldest(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++) walk(room_dice(1000), 2000);
}

static void passes_all_bounds(void **state) {
    (void)state;
    walk(UINT64_MAX - 5000, 4000);
    walk((UINT64_C(1) << 32) - 5000, 4000);
    walk((UINT64_C(1) << 63) - 5000, 4000);
}

static void is_full_at_its_bound(void **state) {
    struct hold hold = {.out = 0};
    uint64_t ticket[HOLD_MAX];
    (void)state;
    for (uint64_t i = 0; i < HOLD_MAX; i++) {
        assert_false(hold_full(&hold));
        ticket[i] = hold_out(&hold, i * 8);
    }
    assert_true(hold_full(&hold));
    /* However long the oldest is out, each of the others makes room for another one. */
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t *one = &ticket[1 + i % (HOLD_MAX - 1)];
        assert_false(hold_back(&hold, *one));
        assert_false(hold_full(&hold));
        *one = hold_out(&hold, (HOLD_MAX + i) * 8);
        assert_true(hold_full(&hold));
        assert_int_equal(hold_oldest(&hold), 0);
    }
    assert_true(hold_back(&hold, ticket[0]));
    assert_int_equal(hold_oldest(&hold), (1000 - (HOLD_MAX - 1) + HOLD_MAX) * 8);
    for (uint64_t i = 1; i < HOLD_MAX; i++) {
        (void)hold_back(&hold, ticket[i]);
    }
    assert_true(hold_empty(&hold));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_oldest),
        cmocka_unit_test(passes_all_bounds),
        cmocka_unit_test(is_full_at_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
