/* SPDX-License-Identifier: MIT
 *
 * Patterns of topics.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "include/thirl/thirl.h"
#include "wire/topic.h"

static void patterns_fit_what_they_should(void **state) {
    static const struct {
        const char *pattern, *topic;
        bool fits;
    } cases[] = {
        {"camera/*", "camera/front", true},
        {"camera/*", "camera/front/left", false},
        {"camera/*", "camera", false},
        {"camera/*", "camera/", true},
        {"camera/*", "cameras/front", false},
        {"camera/**", "camera/front/left", true},
        {"camera/**", "camera", true},
        {"camera/**", "cameras", false},
        {"*", "camera", true},
        {"*", "camera/front", false},
        {"**", "camera/front", true},
        {"**", "x", true},
        {"*/front", "camera/front", true},
        {"*/front", "camera/back", false},
        {"**/front", "a/b/c/front", true},
        {"**/front", "front", true},
        {"**/front", "front/back", false},
        {"a/**/b/**/c", "a/b/c", true},
        {"a/**/b/**/c", "a/x/b/y/z/c", true},
        {"a/**/b/**/c", "a/x/y/z/c", false},
        {"a/**/b", "a/b/c/b", true},
        {"cam*/f*t", "camera/front", true},
        {"cam*/f*t", "camera/ft", true},
        {"cam*/f*t", "camera/f", false},
        {"*a*b*", "xxaxxbxx", true},
        {"*a*b*", "xxbxxaxx", false},
        {"a*", "a", true},
        {"**/**", "a", true},
        {"***", "a/b", false}, /* no component that is two stars, but one with stars in it */
        {"**t", "front", true},
        {"**t", "a/front", false},
        {"plain", "plain", true},
        {"plain", "plai", false},
        {"plain", "plainer", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (topic_fits(cases[i].pattern, cases[i].topic) != cases[i].fits) {
            fail_msg("%s and %s", cases[i].pattern, cases[i].topic);
        }
    }
}

static void stars_do_not_explode(void **state) {
    char pattern[200] = "", topic[200] = "", *end = pattern;
    (void)state;
    for (int i = 0; i < 40; i++) {
        end = stpcpy(end, i % 2 ? "**/" : "*a*a/");
        memcpy(topic + 4 * (size_t)i, "aaa/", 4);
    }
    *end = 'b';
    topic[160] = 'c';
    assert_false(topic_fits(pattern, topic));
}

static void two_stars_are_a_component(void **state) {
    (void)state;
    assert_int_equal(topic_check("a/**/b/*", "shm://x"), 0);
    assert_int_equal(topic_check("**", "shm://x"), 0);
    assert_int_equal(topic_check("a**", "shm://x"), -THIRL_EADDRESS);
    assert_int_equal(topic_check("a/***", "shm://x"), -THIRL_EADDRESS);
    assert_int_equal(topic_check("a/**b/c", "shm://a/**b/c"), -THIRL_EADDRESS);
    assert_non_null(strstr(thirl_why(), "shm://a/**b/c"));
    assert_true(topic_wild("a*"));
    assert_false(topic_wild("a/b"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_fit_what_they_should),
        cmocka_unit_test(stars_do_not_explode),
        cmocka_unit_test(two_stars_are_a_component),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
