/* SPDX-License-Identifier: MIT
 *
 * What ?crc and ?lifespan make of calls: who calls, and who serves, is told what was damaged or is late, and which call it was.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/sham.h"

/* Sends that, and receives it after the test has laid hands on it: what it is told. */
static int carry(enum mech_kind kind, void (*change)(void)) {
    struct mech_note note;
    char text[64];
    size_t done = 0, size = 0;
    sham.out = sham.in = 0;
    mech_note_call(&note, kind, 7, 1);
    note.deadline = INT64_MAX;
    assert_int_equal(sham.mech->send_noted(sham.end, "text", 4, &done, &note, false), 0);
    change();
    note.failure = 0;
    assert_int_equal(sham.mech->recv_noted(sham.end, text, sizeof text, &size, &note, false), 0);
    assert_true(note.failure != 0 ? size == 0 : size == 4 && memcmp(text, "text", 4) == 0);
    return note.failure;
}

static void leave(void) {
}

static void cut(void) {
    sham.sizes[0] = 3;
}

static void damage(void) {
    sham.sent[0][0] ^= 1;
}

static void change_call(void) {
    sham.noted.call++;
}

static void change_kind(void) {
    sham.noted.kind = sham.noted.kind == MECH_REQUEST ? MECH_REPLY : MECH_REQUEST;
}

static void change_again(void) {
    sham.noted.again = !sham.noted.again;
}

static void change_time(void) {
    sham.sent[0][4 + 7] ^= 0x40;
}

static void change_clock(void) {
    sham.sent[0][4 + 16] ^= 1;
}

static void calls_are_judged(void **state) {
    static const struct {
        bool crc, ages;
        enum mech_kind kind;
        void (*change)(void);
        int told;
        const char *part;
    } all[] = {
        {true, false, MECH_REQUEST, leave, 0, NULL},
        {true, false, MECH_REQUEST, cut, -THIRL_EFORMAT, "cut short"},
        {true, false, MECH_CANCEL, damage, -THIRL_EFORMAT, "a cancellation, of call 7, was not delivered"},
        {true, false, MECH_REPLY, damage, -THIRL_EFORMAT, "an answer, of call 7"},
        {true, false, MECH_REQUEST, change_call, -THIRL_EFORMAT, "what came beside it"},
        {true, false, MECH_REQUEST, change_kind, -THIRL_EFORMAT, "what came beside it"},
        {true, false, MECH_REQUEST, change_again, -THIRL_EFORMAT, "what came beside it"},
        {false, true, MECH_REQUEST, leave, 0, NULL},
        {false, true, MECH_REQUEST, cut, -THIRL_EFORMAT, "cut short"},
        {false, true, MECH_REQUEST, change_time, -THIRL_EFORMAT, "its time is no time"},
        {false, true, MECH_REPLY, change_clock, -THIRL_EFORMAT, "by another clock"},
        {false, true, MECH_CANCEL, change_time, 0, NULL}, /* that may be learnt late */
        {false, true, MECH_FAILED, change_clock, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        sham_begin(&sham_calls, THIRL_CALL, all[i].crc, all[i].ages ? 60 * CLOCK_S : 0);
        assert_int_equal(carry(all[i].kind, all[i].change), all[i].told);
        if (all[i].part != NULL) {
            sham_said(all[i].part);
        }
        assert_int_equal(sham.seen->in.refused, all[i].told != 0);
        sham_finish();
    }
}

static void calls_without_memory_are_told(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skip: a sanitizer ends the program instead\n");
    skip();
#endif
    struct mech_note note;
    size_t done = 0;
    sham_begin(&sham_calls, THIRL_CALL, true, 0);
    mech_note_call(&note, MECH_REQUEST, 7, 1);
    note.deadline = INT64_MAX;
    assert_int_equal(sham.mech->send_noted(sham.end, "x", SIZE_MAX / 4, &done, &note, false), -ENOMEM);
    assert_int_equal(sham.mech->send_noted(sham.end, "x", SIZE_MAX - 8, &done, &note, false), -EMSGSIZE);
    assert_int_equal(carry(MECH_REQUEST, leave), 0);
    sham_finish();
}

/* What has begun to leave is not put together again. */
static void a_call_under_way_goes_on(void **state) {
    (void)state;
    struct mech_note note;
    size_t done = 0;
    sham_begin(&sham_calls, THIRL_CALL, true, 0);
    mech_note_call(&note, MECH_REQUEST, 7, 1);
    note.deadline = INT64_MAX;
    sham.partly = 2;
    assert_int_equal(sham.mech->send_noted(sham.end, "text", 4, &done, &note, false), -EAGAIN);
    assert_int_equal(done, 2);
    sham.partly = 0;
    assert_int_equal(sham.mech->send_noted(sham.end, "????", 4, &done, &note, false), 0);
    assert_memory_equal(sham.sent[0], "text", 4);
    sham_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_judged),
        cmocka_unit_test(calls_without_memory_are_told),
        cmocka_unit_test(a_call_under_way_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
