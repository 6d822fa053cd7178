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
    struct hold hold = {.first = first, .next = first};
    struct out out[HOLD_MAX];
    size_t count = 0;
    uint64_t at = first * 16, expected = first;
    for (unsigned step = 0; step < steps || count > 0; step++) {
        unsigned bias = step >= steps ? 0 : step / 100 % 3 == 0 ? 80 : step / 100 % 3 == 1 ? 20 : 50;
        assert_int_equal(hold_empty(&hold), hold.next - hold.first == 0);
        if (!hold_full(&hold) && room_dice(100) < bias) {
            at += 8 * (1 + room_dice(50));
            uint64_t ticket = hold_out(&hold, at);
            assert_int_equal(ticket, expected++);
            out[count++] = (struct out){ticket, at};
        } else if (count > 0) {
            size_t i = (size_t)room_dice(count);
            hold_back(&hold, out[i].ticket);
            for (count--; i < count; i++) out[i] = out[i + 1]; /* stays in the order of tickets */
        }
        assert_int_equal(hold_empty(&hold), count == 0);
        if (count > 0) {
            assert_int_equal(hold_oldest(&hold), out[0].at);
            assert_int_equal(hold.first, out[0].ticket);
            assert_true(hold_full(&hold) || expected - out[0].ticket < HOLD_MAX);
        }
    }
    assert_int_equal(hold.back, 0);
}

static void knows_the_oldest(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++) walk(room_dice(1000), 2000);
}

static void counts_beyond_all_bounds(void **state) {
    (void)state;
    walk(UINT64_MAX - 500, 4000);
    walk((UINT64_C(1) << 32) - 500, 4000);
    walk((UINT64_C(1) << 63) - 500, 4000);
}

static void is_full_at_its_bound(void **state) {
    struct hold hold = {.first = 0};
    (void)state;
    for (uint64_t turn = 0; turn < 3; turn++) {
        for (uint64_t i = 0; i < HOLD_MAX; i++) {
            assert_false(hold_full(&hold));
            (void)hold_out(&hold, i * 8);
        }
        assert_true(hold_full(&hold));
        uint64_t base = turn * HOLD_MAX;
        /* As long as the oldest is out, whatever else comes back makes no room. */
        for (uint64_t i = HOLD_MAX - 1; i > 0; i--) {
            hold_back(&hold, base + i);
            assert_true(hold_full(&hold));
            assert_int_equal(hold_oldest(&hold), 0);
        }
        hold_back(&hold, base);
        assert_true(hold_empty(&hold));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_oldest),
        cmocka_unit_test(counts_beyond_all_bounds),
        cmocka_unit_test(is_full_at_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
