/* SPDX-License-Identifier: MIT
 *
 * CRC-32C: published values, bit by bit, and that the instruction and the tables agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc.h"

typedef uint32_t form(uint32_t, const void *, size_t);
static form *const forms[] = {crc_add, crc_add_slowly};
#define FORMS (sizeof forms / sizeof *forms)

/* By its definition: the remainder of a division, one bit after the other. */
static uint32_t divide(uint32_t crc, const unsigned char *at, size_t size) {
    crc = ~crc;
    for (size_t i = 0; i < 8 * size; i++) {
        uint32_t bit = (crc ^ (uint32_t)(at[i / 8] >> i % 8)) & 1;
        crc = crc >> 1 ^ (bit != 0 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void fill(unsigned char *to, size_t size, uint32_t seed) {
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        to[i] = (unsigned char)(seed >> 24);
    }
}

/* The check value of the algorithm, and the examples of RFC 3720, B.4. */
static void knows_published_values(void **state) {
    unsigned char bytes[32];
    (void)state;
    for (size_t f = 0; f < FORMS; f++) {
        assert_int_equal(forms[f](0, "123456789", 9), 0xe3069283u);
        assert_int_equal(forms[f](0, "", 0), 0);
        memset(bytes, 0, sizeof bytes);
        assert_int_equal(forms[f](0, bytes, sizeof bytes), 0x8a9136aau);
        memset(bytes, 0xff, sizeof bytes);
        assert_int_equal(forms[f](0, bytes, sizeof bytes), 0x62a8ab43u);
        for (unsigned i = 0; i < 32; i++) {
            bytes[i] = (unsigned char)i;
        }
        assert_int_equal(forms[f](0, bytes, sizeof bytes), 0x46dd794eu);
        for (unsigned i = 0; i < 32; i++) {
            bytes[i] = (unsigned char)(31 - i);
        }
        assert_int_equal(forms[f](0, bytes, sizeof bytes), 0x113fdb5cu);
    }
}

/* Around every size at which the work is done differently, from every place in a word. */
static void divides_every_size(void **state) {
    static unsigned char bytes[8 + 7000];
    static const size_t steps[] = {0, 185, 3 * 64, 2 * 3 * 64, 3 * 1024, 3 * 1024 + 3 * 64, 2 * 3 * 1024, 6500};
    (void)state;
    fill(bytes, sizeof bytes, 1);
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        size_t from = steps[s] < 40 ? 0 : steps[s] - 40;
        for (size_t size = from; size < from + 80; size++) {
            unsigned char *at = bytes + size % 8;
            uint32_t before = (uint32_t)size * 2654435761u, wanted = divide(before, at, size);
            for (size_t f = 0; f < FORMS; f++) {
                assert_int_equal(forms[f](before, at, size), wanted);
            }
        }
    }
}

/* Any two pieces come to what the whole comes to, whoever computed which. */
static void goes_on(void **state) {
    static unsigned char bytes[20000];
    (void)state;
    fill(bytes, sizeof bytes, 2);
    uint32_t whole = crc_add_slowly(0, bytes, sizeof bytes);
    assert_int_equal(crc_add(0, bytes, sizeof bytes), whole);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 1 + cut / 5) {
        for (size_t f = 0; f < FORMS * FORMS; f++) {
            uint32_t first = forms[f % FORMS](0, bytes, cut);
            assert_int_equal(forms[f / FORMS](first, bytes + cut, sizeof bytes - cut), whole);
        }
    }
}

static void sees_every_bit(void **state) {
    static unsigned char bytes[3300];
    (void)state;
    fill(bytes, sizeof bytes, 3);
    uint32_t good = crc_add(0, bytes, sizeof bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_int_not_equal(crc_add(0, bytes, sizeof bytes), good);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_published_values),
        cmocka_unit_test(divides_every_size),
        cmocka_unit_test(goes_on),
        cmocka_unit_test(sees_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
