/* SPDX-License-Identifier: MIT
 *
 * What is put around a message, ?crc and ?lifespan, where it has no place: with a mechanism that says what a test tells it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mech/seal.h"
#include "tests/puppet.h"

static const struct mech *sealed;
static struct mech within; /* the puppet, which does not mind */

static void *open_sealed(void) {
    struct thirl_options options = THIRL_OPTIONS;
    int rc;
    options.crc = 1;
    puppet_new();
    within = puppet_mech;
    within.crc = true;
    sealed = &within;
    assert_int_equal(seal_wrap(&sealed, "puppet://x", &options), 0);
    void *self = puppet_open(sealed, THIRL_PAIR, "puppet://x", &options, &rc);
    assert_int_equal(rc, 0);
    return self;
}

/* What the mechanism says of sizes is of messages with their CRC. */
static void who_lends_too_little_says_what_is_left(void **state) {
    (void)state;
    struct mech_piece piece = {.data = NULL};
    void *self = open_sealed();
    (void)strcpy(puppet.said, "it is too large");
    PUPPET_SAYS(-EMSGSIZE);
    assert_int_equal(sealed->loan(self, &piece, 999), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "it is too large"));
    assert_non_null(strstr(thirl_why(), "4 of these bytes are its CRC, so that 996 are left"));
    puppet.tries = puppet.answers = 0;
    assert_int_equal(sealed->loan(self, &piece, SIZE_MAX - 3), -EMSGSIZE);
    assert_int_equal(puppet.tries, 0);
    assert_non_null(strstr(thirl_why(), "larger than the 996"));
    assert_int_equal(sealed->loan(self, &piece, 40), 0);
    assert_int_equal(piece.capacity, 40);
    puppet_close(sealed, self);
    mech_unwrap(sealed);
}

static void what_is_ready_is_the_mechanisms_to_say(void **state) {
    (void)state;
    void *self = open_sealed();
    for (int way = 0; way < 4; way++) {
        puppet.ready = way >= 2;
        assert_int_equal(sealed->ready(self, (enum mech_way)(way % 2)), way >= 2);
    }
    puppet_close(sealed, self);
    mech_unwrap(sealed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_lends_too_little_says_what_is_left),
        cmocka_unit_test(what_is_ready_is_the_mechanisms_to_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
