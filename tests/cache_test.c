/* SPDX-License-Identifier: MIT
 *
 * Shared caches as programs see them: what is found is whole and stays while it is pinned; versions; expiry; the bound in bytes; and what a
 * forked child is told.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/cache.h"
#include "tests/pantry.h"
#include "tests/room.h"

#define SOON thirl_in_ms(20000)

static void says_what_is_wrong(void **state) {
    (void)state;
    thirl_cache *c = NULL;
    struct thirl_cache_options o = {.size = sizeof o, .bytes = 8192, .items = 10000};
    struct thirl_cache_pin pin = {0};
    char value[8] = {0};
    uint64_t version = 0;
    assert_int_equal(thirl_cache_open(&c, "", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_cache_open(&c, "tcp://x:1", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_cache_open(NULL, PANTRY, NULL), -EINVAL);
    assert_int_equal(thirl_cache_open(&c, PANTRY, &o), -EINVAL);
    assert_non_null(strstr(thirl_why(), "needs"));
    assert_int_equal(thirl_cache_remove_name(PANTRY), -ENOENT);
    o = (struct thirl_cache_options){.size = sizeof o, .bytes = PANTRY_BYTES, .mode = 07777};
    assert_int_equal(thirl_cache_open(&c, PANTRY, &o), -EINVAL);
    o = (struct thirl_cache_options){.size = sizeof o, .there = 1};
    assert_int_equal(thirl_cache_open(&c, PANTRY, &o), -ENOENT);
    c = pantry_open(PANTRY_BYTES);
    assert_non_null(c);
    assert_int_equal(thirl_cache_get(c, "", 0, &pin), -EINVAL);
    assert_int_equal(thirl_cache_get(c, NULL, 1, &pin), -EINVAL);
    assert_int_equal(thirl_cache_get(c, "k", 1, NULL), -EINVAL);
    assert_int_equal(thirl_cache_put(c, "k", 1, NULL, 8, THIRL_NEVER, SOON), -EINVAL);
    assert_int_equal(thirl_cache_put(c, "k", 1, value, 8, THIRL_NOW, SOON), -EINVAL);
    assert_int_equal(thirl_cache_swap(c, "k", 1, value, 8, THIRL_NEVER, NULL, SOON), -EINVAL);
    assert_int_equal(thirl_cache_remove(c, "k", 70000, SOON), -EINVAL);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), THIRL_CACHE_MISS);
    assert_int_equal(thirl_cache_remove(c, "k", 1, SOON), THIRL_CACHE_MISS);
    char *large = calloc(1, PANTRY_BYTES);
    assert_int_equal(thirl_cache_put(c, "k", 1, large, PANTRY_BYTES / 2, THIRL_NEVER, SOON), -EMSGSIZE);
    assert_int_equal(thirl_cache_put(c, "k", 1, large, pantry_info(c).largest - 64, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_put(c, "k", 1, large, pantry_info(c).largest - 64, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_put(c, "empty", 5, NULL, 0, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_get(c, "empty", 5, &pin), 0);
    assert_int_equal(pin.size, 0);
    assert_int_equal((uintptr_t)pin.value % 16, 0);
    struct thirl_cache_pin copy = pin;
    thirl_cache_unpin(c, &pin);
    thirl_cache_unpin(c, &pin); /* is none any more */
    thirl_cache_unpin(c, &copy);
    thirl_cache_unpin(c, NULL);
    free(large);
    thirl_cache_close(&c);
    thirl_cache_close(&c);
    assert_int_equal(thirl_cache_swap(c, "k", 1, value, 8, THIRL_NEVER, &version, SOON), -EINVAL);
    c = pantry_open(0); /* it stays, as large as it was made */
    assert_int_equal(pantry_info(c).bytes, PANTRY_BYTES);
    assert_int_equal(pantry_info(c).items, 2);
    thirl_cache_close(&c);
}

static void compares_versions(void **state) {
    (void)state;
    thirl_cache *c = pantry_open(PANTRY_BYTES);
    struct thirl_cache_pin pin = {0};
    uint64_t version = 7, first;
    assert_int_equal(thirl_cache_swap(c, "k", 1, "a", 1, THIRL_NEVER, &version, SOON), THIRL_CACHE_OTHER);
    assert_int_equal(version, 0);
    assert_int_equal(thirl_cache_swap(c, "k", 1, "a", 1, THIRL_NEVER, &version, SOON), 0);
    assert_int_not_equal(version, 0);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(pin.version, version);
    first = version;
    version = 0;
    assert_int_equal(thirl_cache_swap(c, "k", 1, "b", 1, THIRL_NEVER, &version, SOON), THIRL_CACHE_OTHER);
    assert_int_equal(version, first);
    assert_int_equal(thirl_cache_swap(c, "k", 1, "b", 1, THIRL_NEVER, &version, SOON), 0);
    assert_true(version > first);
    assert_int_equal(*(const char *)pin.value, 'a'); /* what was pinned stays */
    assert_int_equal(pantry_info(c).waiting, 1);
    thirl_cache_unpin(c, &pin);
    assert_int_equal(pantry_info(c).waiting, 0);
    assert_int_equal(thirl_cache_remove(c, "k", 1, SOON), 0);
    assert_int_equal(thirl_cache_swap(c, "k", 1, "c", 1, THIRL_NEVER, &version, SOON), THIRL_CACHE_OTHER);
    assert_int_equal(version, 0);
    assert_int_equal(thirl_cache_swap(c, "k", 1, "c", 1, THIRL_NEVER, &version, SOON), 0);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(*(const char *)pin.value, 'c');
    thirl_cache_unpin(c, &pin);
    thirl_cache_close(&c);
}

static int add_up(void *times) {
    thirl_cache *c = pantry_open(PANTRY_BYTES);
    for (int i = 0; i < *(int *)times; i++) {
        struct thirl_cache_pin pin = {0};
        uint64_t version, sum;
        int rc;
        do {
            rc = thirl_cache_get(c, "sum", 3, &pin);
            version = rc == 0 ? pin.version : 0;
            sum = rc == 0 ? *(const uint64_t *)pin.value + 1 : 1;
            thirl_cache_unpin(c, &pin);
            rc = rc < 0 ? rc : thirl_cache_swap(c, "sum", 3, &sum, sizeof sum, THIRL_NEVER, &version, SOON);
        } while (rc == THIRL_CACHE_OTHER);
        if (rc != 0) {
            return 1;
        }
    }
    thirl_cache_close(&c);
    return 0;
}

static void nobody_swaps_unseen(void **state) {
    (void)state;
    int times = 5000;
    pid_t child[3];
    for (int i = 0; i < 3; i++) {
        child[i] = room_fork(add_up, &times);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(room_reap(child[i]), 0);
    }
    thirl_cache *c = pantry_open(PANTRY_BYTES);
    struct thirl_cache_pin pin = {0};
    assert_int_equal(thirl_cache_get(c, "sum", 3, &pin), 0);
    assert_int_equal(*(const uint64_t *)pin.value, 15000);
    thirl_cache_close(&c); /* unpins */
    c = pantry_open(PANTRY_BYTES);
    assert_int_equal(pantry_info(c).pins, 0);
    assert_int_equal(pantry_info(c).seats_taken, 1);
    thirl_cache_close(&c);
}

static void expires(void **state) {
    (void)state;
    thirl_cache *c = pantry_open(PANTRY_BYTES);
    struct thirl_cache_pin pin = {0};
    thirl_time end = thirl_in_ms(300);
    for (uint32_t key = 0; key < 20; key++) {
        assert_int_equal(thirl_cache_put(c, &key, sizeof key, "x", 1, end, SOON), 0);
    }
    uint32_t key = 0;
    assert_int_equal(thirl_cache_get(c, &key, sizeof key, &pin), 0);
    assert_int_equal(pin.expires.ns, end.ns);
    while (clock_now() < end.ns) {
        room_sleep(CLOCK_MS);
    }
    assert_int_equal(*(const char *)pin.value, 'x'); /* found before: it stays */
    assert_int_equal(pantry_info(c).items, 20);
    uint64_t version = 0;
    assert_int_equal(thirl_cache_get(c, &key, sizeof key, &pin), THIRL_CACHE_MISS);
    key = 1;
    assert_int_equal(thirl_cache_get(c, &key, sizeof key, &pin), THIRL_CACHE_MISS);
    assert_int_equal(pantry_info(c).items, 18); /* who misses it takes it away */
    key = 2;
    assert_int_equal(thirl_cache_swap(c, &key, sizeof key, "y", 1, THIRL_NEVER, &version, SOON), 0);
    key = 3;
    assert_int_equal(thirl_cache_remove(c, &key, sizeof key, SOON), THIRL_CACHE_MISS);
    assert_int_equal(pantry_info(c).expired, 4);
    assert_int_equal(pantry_info(c).items, 17);
    for (key = PANTRY_KEYS; pantry_info(c).evicted == 0; key++) { /* others fall to those who need room */
        assert_int_equal(pantry_put(c, key, 16), 0);
    }
    assert_int_equal(pantry_info(c).expired, 20);
    thirl_cache_close(&c);
}

static void is_bounded(void **state) {
    (void)state;
    thirl_cache *c = pantry_open(PANTRY_BYTES);
    for (uint32_t i = 1; i < 20000; i++) {
        uint32_t key = (uint32_t)room_dice(PANTRY_KEYS * 4);
        assert_int_equal(pantry_put(c, key, i), 0);
        assert_int_equal(pantry_get(c, key), i); /* what was put is there */
    }
    struct thirl_cache_info i = pantry_info(c);
    assert_true(i.evicted > 1000 && i.items > 100);
    print_message("%llu of %llu bytes are in use, with values of 8 to %d bytes\n", (unsigned long long)i.used,
                  (unsigned long long)i.room, PANTRY_LARGEST);
    assert_true(i.used <= i.room && i.used > i.room / 2);
    assert_int_equal(i.hits, 19999);
    assert_int_equal(i.puts, 19999);
    assert_int_equal(room_entries("area"), 1);
    pantry_audit();
    thirl_cache_close(&c);
}

/* One look at very many things does not wash out what is needed. */
static void a_scan_leaves_what_is_needed(void **state) {
    (void)state;
    thirl_cache *c = pantry_open(1 << 20);
    for (int round = 0; round < 6; round++) {
        for (uint32_t key = 0; key < 100; key++) {
            if (pantry_get(c, key) == 0) {
                assert_int_equal(pantry_put(c, key, 16 * (key + 1)), 0);
            }
        }
    }
    for (uint32_t key = 1000; key < 21000; key++) {
        assert_int_equal(pantry_put(c, key, 1), 0);
    }
    unsigned there = 0;
    for (uint32_t key = 0; key < 100; key++) {
        there += pantry_get(c, key) != 0;
    }
    assert_true(pantry_info(c).evicted > 10000);
    assert_true(there >= 95);
    thirl_cache_close(&c);
}

static int in_a_child(void *c) {
    struct thirl_cache_pin pin = {0};
    bool told = thirl_cache_get(c, "k", 1, &pin) == -THIRL_EFORKED &&
                thirl_cache_put(c, "k", 1, "b", 1, THIRL_NEVER, SOON) == -THIRL_EFORKED;
    thirl_cache *inherited = c;
    thirl_cache_close(&inherited);
    thirl_cache *own = pantry_open(PANTRY_BYTES);
    return !(told && own != NULL && thirl_cache_put(own, "k", 1, "b", 1, THIRL_NEVER, SOON) == 0);
}

static void is_told_of_a_fork(void **state) {
    (void)state;
    thirl_cache *c = pantry_open(PANTRY_BYTES);
    struct thirl_cache_pin pin = {0};
    assert_int_equal(thirl_cache_put(c, "k", 1, "a", 1, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(room_run(in_a_child, c), 0);
    assert_int_equal(*(const char *)pin.value, 'a');
    assert_int_equal(pantry_info(c).pins, 1);
    thirl_cache_unpin(c, &pin);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(*(const char *)pin.value, 'b');
    thirl_cache_close(&c);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, pantry_clear)
    const struct CMUnitTest tests[] = {
        T(says_what_is_wrong),           T(compares_versions), T(nobody_swaps_unseen), T(expires), T(is_bounded),
        T(a_scan_leaves_what_is_needed), T(is_told_of_a_fork),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
