/* SPDX-License-Identifier: MIT
 *
 * Sentences and names of errors.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

/* Runs first: nothing has failed yet. */
static void empty_before_the_first(void **state) {
    (void)state;
    assert_string_equal(thirl_why(), "");
    assert_int_equal(err_add(-EAGAIN, "only %d", 1), -EAGAIN);
    assert_string_equal(thirl_why(), "only 1");
}

static void says(void **state) {
    (void)state;
    errno = ENOENT;
    assert_int_equal(err_say(EBUSY, "%s is taken by %d", "camera", 7), -EBUSY);
    assert_int_equal(errno, ENOENT);
    assert_string_equal(thirl_why(), "camera is taken by 7");
    assert_int_equal(err_say(THIRL_ECLOSED, "gone"), -THIRL_ECLOSED);
    assert_string_equal(thirl_why(), "gone");
}

static void says_with_the_system(void **state) {
    (void)state;
    errno = EPIPE;
    assert_int_equal(err_system(EACCES, "open %s", "/x"), -EACCES);
    assert_string_equal(thirl_why(), "open /x: Permission denied");
    assert_int_equal(errno, EPIPE);
    assert_int_equal(err_system(THIRL_EFORMAT, "card"), -THIRL_EFORMAT);
    assert_string_equal(thirl_why(), "card: what was read is not thirl's, or is damaged");
    assert_int_equal(err_system(999999, "x"), -999999);
    assert_string_equal(thirl_why(), "x: unknown error");
}

static void adds(void **state) {
    (void)state;
    (void)err_say(ENOSPC, "full");
    assert_int_equal(err_add(-ENOSPC, "make room in %s", "/dev/shm"), -ENOSPC);
    assert_string_equal(thirl_why(), "full; make room in /dev/shm");
}

static void quotes_itself(void **state) {
    (void)state;
    (void)err_say(EIO, "inner");
    (void)err_say(EIO, "outer (%s)", thirl_why());
    assert_string_equal(thirl_why(), "outer (inner)");
}

static void cuts_what_is_too_long(void **state) {
    char text[2000];
    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(err_say(EIO, "%s", text), -EIO);
    assert_int_equal(strlen(thirl_why()), 639);
    assert_string_equal(thirl_why() + 630, "aaaaaa...");
    assert_int_equal(err_add(-EIO, "%s", text), -EIO);
    assert_int_equal(strlen(thirl_why()), 639);
    assert_int_equal(err_system(EIO, "%s", text), -EIO);
    assert_string_equal(thirl_why() + 630, "aaaaaa...");
}

struct seen {
    char before[32], after[32];
};

static void *say_elsewhere(void *argument) {
    struct seen *seen = argument;
    snprintf(seen->before, sizeof seen->before, "%s", thirl_why());
    (void)err_say(EPERM, "elsewhere");
    snprintf(seen->after, sizeof seen->after, "%s", thirl_why());
    return NULL;
}

static void keeps_threads_apart(void **state) {
    pthread_t thread;
    struct seen seen;
    (void)state;
    (void)err_say(EIO, "here");
    assert_int_equal(pthread_create(&thread, NULL, say_elsewhere, &seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(seen.before, "");
    assert_string_equal(seen.after, "elsewhere");
    assert_string_equal(thirl_why(), "here");
}

static void names(void **state) {
    (void)state;
    assert_string_equal(thirl_error_name(EAGAIN), "EAGAIN");
    assert_string_equal(thirl_error_name(-EAGAIN), "EAGAIN");
    assert_string_equal(thirl_error_name(-THIRL_EPEERDIED), "THIRL_EPEERDIED");
    assert_string_equal(thirl_error_name(THIRL_EFORKED), "THIRL_EFORKED");
    assert_string_equal(thirl_error_name(-123456), "unknown");
    assert_string_equal(thirl_error_name(INT32_MIN), "unknown");
    assert_string_equal(thirl_error_name(INT32_MAX), "unknown");
    assert_string_equal(thirl_error_name(0), "0");
#define CHECK_NAME(name, code, text) assert_string_equal(thirl_error_name(-(code)), "THIRL_" #name);
    THIRL_ERRORS(CHECK_NAME)
}

static void counts_deadlines(void **state) {
    (void)state;
    int64_t now = clock_now();
    int64_t then = thirl_in_ms(1000).ns;
    assert_true(then >= now + CLOCK_S && then <= clock_now() + CLOCK_S);
    then = thirl_in_ns(-1).ns;
    assert_true(then >= now - 1 && then < clock_now());
    assert_true(thirl_in_ns(INT64_MAX).ns == THIRL_NEVER.ns);
    assert_true(thirl_in_ms(INT64_MAX).ns == THIRL_NEVER.ns);
    assert_true(thirl_in_ms(INT64_MAX / CLOCK_MS).ns == THIRL_NEVER.ns);
    /* Never THIRL_SOON, which is another thing than a point in the past. */
    assert_true(thirl_in_ns(INT64_MIN).ns == THIRL_NOW.ns);
    assert_true(thirl_in_ms(INT64_MIN).ns == THIRL_NOW.ns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_before_the_first), cmocka_unit_test(says),
        cmocka_unit_test(says_with_the_system),   cmocka_unit_test(adds),
        cmocka_unit_test(quotes_itself),          cmocka_unit_test(cuts_what_is_too_long),
        cmocka_unit_test(keeps_threads_apart),    cmocka_unit_test(names),
        cmocka_unit_test(counts_deadlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
