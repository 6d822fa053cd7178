/* SPDX-License-Identifier: MIT
 *
 * What ?hurt= can say, and that the dice fall as it says.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mech/harm.h"

static const struct thirl_limits good = {.size = sizeof good, .reliable = 1, .ordered = 1};
static const struct thirl_limits bad = {.size = sizeof bad};
static struct harm harm;

static void refuses(const char *text, bool stream, const char *piece) {
    int rc = harm_read(&harm, "shm://x", text, &good, stream);
    if (rc != -EINVAL || strstr(thirl_why(), piece) == NULL) {
        print_error("%s: %d, %s\n", text, rc, thirl_why());
    }
    assert_int_equal(rc, -EINVAL);
    assert_non_null(strstr(thirl_why(), piece));
}

static void reads_kinds(void **state) {
    (void)state;
    assert_int_equal(harm_read(&harm, "shm://x", "42:again,fail=ENOMEM@5,delay=2ms/3,short/1", &good, false), 0);
    assert_true(harm.seed == 42);
    assert_true(harm.rule[HARM_AGAIN].on && harm.rule[HARM_AGAIN].often == 8);
    assert_true(harm.rule[HARM_FAIL].on && harm.rule[HARM_FAIL].at == 5 && harm.rule[HARM_FAIL].value == -ENOMEM);
    assert_true(harm.rule[HARM_DELAY].value == 2000000 && harm.rule[HARM_DELAY].often == 3);
    assert_true(harm.rule[HARM_SHORT].often == 1);
    assert_false(harm.rule[HARM_LOSE].on);
    assert_false(harm_breaks(&harm));
    assert_int_equal(harm_read(&harm, "shm://x", "1:fail=THIRL_EPEERDIED/2,lose@3", &good, false), 0);
    assert_true(harm.rule[HARM_FAIL].value == -THIRL_EPEERDIED);
    assert_true(harm_breaks(&harm));
}

static void keeps_to_the_claims(void **state) {
    (void)state;
    assert_int_equal(harm_read(&harm, "shm://x", "7", &good, false), 0);
    assert_true(harm.rule[HARM_AGAIN].on && harm.rule[HARM_SHORT].on && harm.rule[HARM_DELAY].on);
    assert_false(harm_breaks(&harm) || harm.rule[HARM_FAIL].on);
    assert_int_equal(harm_read(&harm, "udp://x", "7", &bad, false), 0);
    assert_true(harm.rule[HARM_LOSE].on && harm.rule[HARM_DOUBLE].on && harm.rule[HARM_SWAP].on);
    assert_int_equal(harm_read(&harm, "udp://x", "7", &bad, true), 0);
    assert_false(harm_breaks(&harm));
}

static void refuses_wrong_texts(void **state) {
    (void)state;
    refuses("", false, "is no seed");
    refuses("0", false, "is no seed");
    refuses("x:again", false, "\"x\" in ?hurt= is no seed");
    refuses("99999999999999999999", false, "is no seed");
    refuses("7:", false, "is no kind of harm; there are again, fail, short, delay, lose, double, swap and flip");
    refuses("7:again,", false, "no kind");
    refuses("7,again", false, "is no seed");
    refuses("7:agains", false, "\"agains\"");
    refuses("7:abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabc", false, "ghij\" in ?hurt= is no kind");
    refuses("7:again,again", false, "twice");
    refuses("7:again=3", false, "wrong value");
    refuses("7:fail=EAGAIN", false, "wrong value");
    refuses("7:fail=EMADEUP", false, "wrong value");
    refuses("7:fail=", false, "wrong value");
    refuses("7:delay=5", false, "wrong value");
    refuses("7:delay=2s", false, "wrong value");
    refuses("7:delay=0ms", false, "wrong value");
    refuses("7:again/0", false, "is not KIND");
    refuses("7:again@", false, "is not KIND");
    refuses("7:again/3@4", false, "is not KIND");
    refuses("7:again!", false, "is not KIND");
    refuses("7:lose", true, "a stream has none");
    refuses("7:swap/3", true, "a stream has none");
}

/* Any bytes: an answer, with a sentence. */
static void survives_noise(void **state) {
    static const char alphabet[] = "7:again,fail=ENOMEM@5/3delayshortmsu%\xff";
    char text[40];
    uint32_t seed = 1;
    (void)state;
    for (int round = 0; round < 50000; round++) {
        size_t length = 0;
        for (seed = seed * 1664525 + 1013904223; length < (seed >> 8) % sizeof text; length++) {
            text[length] = alphabet[(seed >> length % 20) % (sizeof alphabet - 1)];
        }
        text[length < sizeof text ? length : sizeof text - 1] = '\0';
        int rc = harm_read(&harm, "shm://x", text, &bad, round % 2 == 0);
        assert_true(rc == 0 || (rc == -EINVAL && *thirl_why() != '\0'));
    }
}

static void throws_as_told(void **state) {
    struct dice dice, same;
    unsigned hits = 0;
    (void)state;
    assert_int_equal(harm_read(&harm, "shm://x", "3:again/4,fail@10", &good, false), 0);
    dice_init(&dice, harm.seed, 0);
    dice_init(&same, harm.seed, 0);
    for (unsigned call = 1; call <= 4000; call++) {
        dice_begin(&dice, &harm);
        dice_begin(&same, &harm);
        assert_int_equal(dice.due, same.due);
        assert_int_equal(dice_due(&dice, HARM_FAIL), call == 10);
        bool again = dice_once(&dice, HARM_AGAIN);
        hits += again;
        if (again) { /* the second try of a call is the same call */
            (void)dice_end(&dice, -EAGAIN);
            dice_begin(&dice, &harm);
            assert_false(dice_once(&dice, HARM_AGAIN));
        }
        (void)dice_end(&dice, 0);
        (void)dice_end(&same, 0);
        assert_true(dice.call == call);
    }
    assert_in_range(hits, 850, 1150);
    dice_init(&same, harm.seed, 1);
    assert_true(dice_below(&dice, 10) < 10 && dice_below(&same, 1) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_kinds),    cmocka_unit_test(keeps_to_the_claims), cmocka_unit_test(refuses_wrong_texts),
        cmocka_unit_test(survives_noise), cmocka_unit_test(throws_as_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
