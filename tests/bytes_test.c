/* SPDX-License-Identifier: MIT
 *
 * Copying a few bytes, and more: exact at every size and place, not a byte beside them, and over itself as memmove does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/copy.h"
#include "tests/room.h"

static unsigned char big[1 << 20];

static void copies_exactly(void **state) {
    unsigned char from[340], to[340], wanted[340];
    (void)state;
    for (size_t i = 0; i < sizeof from; i++) from[i] = (unsigned char)room_dice(256);
    for (size_t size = 0; size <= 300; size++) {
        for (size_t a = 0; a < 16; a++) {
            size_t b = (a * 5 + size) % 16;
            memset(to, 0xcc, sizeof to);
            memset(wanted, 0xcc, sizeof wanted);
            memcpy(wanted + 8 + b, from + a, size);
            copy_any(to + 8 + b, from + a, size);
            assert_memory_equal(to, wanted, sizeof to);
        }
    }
    for (size_t size = 301; size < sizeof big; size = size * 2 + 7) {
        memset(big, (int)size, sizeof big);
        unsigned char *copy = malloc(size); /* just as large, for the sanitizers */
        assert_non_null(copy);
        copy_any(copy, big, size);
        assert_memory_equal(copy, big, size);
        free(copy);
    }
    for (size_t size = 1; size <= 80; size++) {
        unsigned char *exact = malloc(size), *copy = malloc(size);
        assert_true(exact != NULL && copy != NULL);
        memset(exact, (int)size, size);
        copy_any(copy, exact, size);
        assert_memory_equal(copy, exact, size);
        free(exact);
        free(copy);
    }
}

/* Parts of a packet are taken apart where it lies. */
static void copies_over_itself(void **state) {
    unsigned char got[300], wanted[300];
    (void)state;
    for (size_t size = 0; size <= 130; size++) {
        for (size_t from = 0; from <= 150; from += 7) {
            for (size_t to = 0; to <= 150; to += 3) {
                for (size_t i = 0; i < sizeof got; i++) got[i] = wanted[i] = (unsigned char)(i * 7 + size);
                memmove(wanted + to, wanted + from, size);
                copy_over(got + to, got + from, size);
                assert_memory_equal(got, wanted, sizeof got);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(copies_exactly), cmocka_unit_test(copies_over_itself)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
