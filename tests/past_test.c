/* SPDX-License-Identifier: MIT
 *
 * What a publisher keeps of its last messages, and how it is told how old one is.
 */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/thirl.h"
#include "mech/past.h"
#include "mech/stamp.h"

static struct past past;

static int is_new(void **state) {
    (void)state;
    past = (struct past){.room = 64};
    return 0;
}

static int ends(void **state) {
    (void)state;
    past_free(&past);
    return 0;
}

static void put(uint64_t number, const char *text) {
    assert_int_equal(past_put(&past, number, text, strlen(text)), 0);
}

static void is_kept(uint64_t number, const char *text) {
    size_t size;
    assert_true(past.first <= number && number < past.next);
    const void *bytes = past_get(&past, number, &size);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(bytes, text, size);
}

static void the_oldest_make_room(void **state) {
    static const char sixteen[] = "0123456789abcdef";
    (void)state;
    for (uint64_t number = 10; number < 200; number++) {
        put(number, number % 3 == 0 ? "" : sixteen);
        is_kept(number, number % 3 == 0 ? "" : sixteen); /* also one of nothing */
        assert_true(past.first >= 10 && past.next == number + 1);
        is_kept(past.first, past.first % 3 == 0 ? "" : sixteen);
    }
    assert_int_equal(past.next - past.first, 5);
    past_trim(&past, 3); /* they have gone long ago */
    assert_int_equal(past.next - past.first, 5);
}

static void many_are_numbered_anew(void **state) {
    (void)state;
    past.room = 8 * 200;
    for (uint64_t number = 1000; number < 1300; number++) {
        put(number, "short");
    }
    assert_int_equal(past.first, 1100);
    for (uint64_t number = past.first; number < past.next; number++) {
        is_kept(number, "short");
    }
}

static void one_that_is_larger_than_all_has_room_made(void **state) {
    char large[1001];
    (void)state;
    memset(large, 'L', 1000);
    large[1000] = '\0';
    put(1, "small");
    put(2, large);
    is_kept(2, large);
    assert_int_equal(past.first, 2);
    put(3, "small");
    is_kept(3, "small");
}

static void a_hole_in_the_numbers_forgets_all_before_it(void **state) {
    (void)state;
    put(1, "one");
    put(2, "two");
    put(7, "seven");
    assert_true(past.first == 7 && past.next == 8);
    is_kept(7, "seven");
}

static void without_memory_nothing_is_kept(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its allocator ends the process */
#endif
    put(1, "one");
    past.room = SIZE_MAX / 2;
    past_free(&past); /* as a first message finds it */
    assert_int_equal(past_put(&past, 2, "two", 3), -ENOMEM);
    assert_non_null(strstr(thirl_why(), "no memory to keep a message of 3 bytes"));
    assert_true(past.first == past.next);
    past = (struct past){.room = 64};
    put(3, "three");
    is_kept(3, "three");
    past.pieces = past.next - past.first + ((uint64_t)1 << 58); /* so many that no more can be noted */
    past.first = past.next - past.pieces;
    assert_int_equal(past_put(&past, 4, "four", 4), -ENOMEM);
    assert_true(past.first == past.next);
}

/* ---- its age ---- */

static enum stamp_verdict judge(const struct stamp *mine, int64_t sent, int64_t lifespan, int64_t *allowed) {
    unsigned char bytes[20];
    int64_t age;
    const uint64_t times[] = {htole64((uint64_t)sent), htole64((uint64_t)lifespan)};
    stamp_write(mine, bytes);
    memcpy(bytes, times, sizeof times);
    return stamp_judge(mine, bytes, &age, allowed);
}

static void an_age_is_judged(void **state) {
    struct stamp mine, other;
    int64_t now = clock_now(), allowed = 0, age;
    unsigned char bytes[20];
    (void)state;
    stamp_init(&mine, CLOCK_S * 60);
    assert_int_equal(judge(&mine, now, CLOCK_S * 30, &allowed), STAMP_GOOD);
    assert_true(allowed == CLOCK_S * 30); /* the shorter lifespan of both */
    assert_int_equal(judge(&mine, now, CLOCK_S * 90, &allowed), STAMP_GOOD);
    assert_true(allowed == CLOCK_S * 60);
    assert_int_equal(judge(&mine, now - CLOCK_MS, 1000, &allowed), STAMP_STALE);
    other = mine;
    other.clock++;
    stamp_write(&other, bytes);
    assert_int_equal(stamp_judge(&mine, bytes, &age, &allowed), STAMP_FOREIGN);
}

static void a_time_that_cannot_be_is_damage(void **state) {
    static const int64_t never = INT64_MIN;
    struct stamp mine;
    int64_t now = clock_now(), allowed;
    (void)state;
    stamp_init(&mine, CLOCK_S * 60);
    assert_int_equal(judge(&mine, -1, CLOCK_S, &allowed), STAMP_DAMAGED);
    assert_int_equal(judge(&mine, never, CLOCK_S, &allowed), STAMP_DAMAGED);
    assert_int_equal(judge(&mine, now + 3600 * CLOCK_S, CLOCK_S, &allowed), STAMP_DAMAGED);
    assert_int_equal(judge(&mine, now, 0, &allowed), STAMP_DAMAGED);
    assert_int_equal(judge(&mine, now, -CLOCK_S, &allowed), STAMP_DAMAGED);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, is_new, ends)
    const struct CMUnitTest tests[] = {
        TEST(the_oldest_make_room),
        TEST(many_are_numbered_anew),
        TEST(one_that_is_larger_than_all_has_room_made),
        TEST(a_hole_in_the_numbers_forgets_all_before_it),
        TEST(without_memory_nothing_is_kept),
        TEST(an_age_is_judged),
        TEST(a_time_that_cannot_be_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
