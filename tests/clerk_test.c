/* SPDX-License-Identifier: MIT
 *
 * Servers over connections, and their callers: who stands in the line, who leaves it, what either may not say, and what is kept of what is large.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/clerk.h"
#include "tests/crew.h"
#include "tests/sparing.h"

#define LARGE ((size_t)50000)

static unsigned char data[LARGE];

static int begin(void **state) {
    (void)state;
    for (size_t i = 0; i < LARGE; i++) {
        data[i] = (unsigned char)(i * 13 + i / 240);
    }
    crew_at("unix://%s/s", NULL);
    sparing_be(0, 0, 0, 0);
    return 0;
}

static void close_end(thirl *end) {
    assert_true(thirl_close(&end, THIRL_NOW) >= 0);
}

static uint64_t ask(thirl *end, const char *text) {
    uint64_t call = 0;
    assert_int_equal(thirl_ask(end, text, strlen(text), &call, LONG), 0);
    return call;
}

static void look(thirl *serve) {
    ((struct hub *)serve->state)->looked = 0; /* it is time for one */
    (void)serve->mech->look(serve->state, MECH_IN);
}

static void must_take(thirl *serve, const char *text) {
    thirl_msg *request = NULL;
    assert_int_equal(thirl_take(serve, &request, LONG), 0);
    assert_int_equal(thirl_msg_size(request), strlen(text));
    assert_memory_equal(thirl_msg_data(request), text, strlen(text));
    assert_int_equal(thirl_reply(serve, &request, text, strlen(text), LONG), 0);
}

/* ---- the line ---- */

/* Somebody listens there who does not answer. */
static void who_cannot_listen_yet_has_nothing(void **state) {
    (void)state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", strstr(crew_address, "://") + 3);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 8) == 0);
    (void)stpcpy(crew_address + strlen(crew_address), "?timeout=1ms");
    thirl *serve = crew_open(THIRL_SERVE);
    assert_false(serve->mech->ready(serve->state, MECH_IN));
    assert_int_equal(serve->mech->look(serve->state, MECH_IN), -EAGAIN);
    close_end(serve);
    (void)close(fd);
    (void)unlink(at.sun_path);
}

/* It goes while several stand in line, whichever of them has asked first: each of them is told. */
static void who_stands_in_line_is_told_that_nobody_serves(void **state) {
    (void)state;
    for (int last = 0; last < 2; last++) {
        thirl *serve = crew_open(THIRL_SERVE), *end[3];
        uint64_t call[3];
        for (int i = 0; i < 3; i++) {
            end[i] = crew_open(THIRL_CALL);
            call[i] = ask(end[i], "x");
            must_take(serve, "x");
            thirl_msg *answer = NULL;
            assert_int_equal(thirl_answer(end[i], &call[i], &answer, LONG), 0);
            thirl_free(&answer);
        }
        for (int i = 0; i < 3; i++) {
            call[last ? 2 - i : i] = ask(end[last ? 2 - i : i], "y");
            look(serve);
        }
        assert_int_equal(serve->mech->look(serve->state, MECH_IN), 0);
        assert_true(serve->mech->ready(serve->state, MECH_IN));
        close_end(serve);
        for (int i = 0; i < 3; i++) {
            thirl_msg *answer = NULL;
            assert_int_equal(thirl_answer(end[i], &call[i], &answer, LONG), -THIRL_ECLOSED);
            close_end(end[i]);
        }
    }
}

static void packets_are_whole(void **state) {
    (void)state;
    crew_at("unix://%s/s?type=seqpacket", NULL);
    struct thirl_limits limits = {.size = sizeof limits};
    thirl *serve = crew_open(THIRL_SERVE);
    assert_int_equal(thirl_limits(serve, &limits), 0);
    assert_true(limits.atomic_max != 0 && limits.atomic_max == limits.message_max);
    close_end(serve);
}

/* ---- letters ---- */

static void what_is_too_large_to_add_to_is_refused(void **state) {
    (void)state;
    thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL);
    struct mech_note note = {.kind = MECH_REQUEST, .deadline = INT64_MAX};
    size_t done = 0;
    (void)ask(end, "x");
    must_take(serve, "x");
    assert_int_equal(end->mech->choose(end->state, &note.whom), 0);
    assert_int_equal(end->mech->send_noted(end->state, data, SIZE_MAX - 8, &done, &note, false), -EMSGSIZE);
    assert_int_equal(done, 0);
    close_end(end);
    close_end(serve);
}

/* It counts as sent, and goes on with the next try. */
static void half_of_a_request_is_pushed_on(void **state) {
    (void)state;
    thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL);
    thirl_msg *request = NULL;
    (void)ask(end, "x");
    must_take(serve, "x");
    struct mech_note note = {.kind = MECH_REQUEST, .deadline = INT64_MAX, .call = 7};
    size_t done = 0;
    assert_int_equal(end->mech->choose(end->state, &note.whom), 0);
    sparing_be(1, 100, 1000, EAGAIN);
    assert_int_equal(end->mech->send_noted(end->state, data, LARGE, &done, &note, false), -EAGAIN);
    assert_int_equal(done, LARGE);
    assert_int_equal(end->mech->send_noted(end->state, data, LARGE, &done, &note, false), -EAGAIN);
    sparing_be(0, 0, 0, 0);
    assert_int_equal(end->mech->send_noted(end->state, data, LARGE, &done, &note, false), 0);
    assert_int_equal(thirl_take(serve, &request, LONG), 0);
    assert_int_equal(thirl_msg_size(request), LARGE);
    assert_memory_equal(thirl_msg_data(request), data, LARGE);
    thirl_free(&request);
    close_end(end);
    close_end(serve);
}

/* A caller that answers, and a server that asks, are not listened to any more. */
static void who_says_what_is_the_others_is_let_go(void **state) {
    (void)state;
    struct mech_note note = {.deadline = INT64_MAX};
    thirl_msg *msg = NULL;
    for (int asks = 0; asks < 2; asks++) {
        thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL), *liar = asks ? serve : end;
        size_t done = 0;
        uint64_t call = ask(end, "x");
        assert_int_equal(thirl_take(serve, &msg, LONG), 0);
        note.kind = asks ? MECH_REQUEST : MECH_REPLY;
        note.call = call;
        if (asks) {
            note.whom = ((struct hub *)serve->state)->all[0]->whom;
        } else {
            assert_int_equal(end->mech->choose(end->state, &note.whom), 0);
        }
        assert_int_equal(liar->mech->send_noted(liar->state, "lie", 3, &done, &note, false), 0);
        thirl *told = asks ? end : serve;
        if (asks) {
            thirl_msg *answer = NULL;
            assert_int_equal(thirl_answer(end, &call, &answer, LONG), -THIRL_EFORMAT);
        } else {
            thirl_msg *none = NULL;
            look(serve);
            assert_int_equal(thirl_take(serve, &none, THIRL_NOW), -EAGAIN);
            assert_int_equal(thirl_msg_cancelled(msg), 1);
        }
        assert_int_equal(told->seen->in.refused, 1);
        thirl_free(&msg);
        close_end(end);
        close_end(serve);
    }
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup(test, begin)
    const struct CMUnitTest tests[] = {
        WITH(who_cannot_listen_yet_has_nothing),
        WITH(who_stands_in_line_is_told_that_nobody_serves),
        WITH(packets_are_whole),
        WITH(what_is_too_large_to_add_to_is_refused),
        WITH(half_of_a_request_is_pushed_on),
        WITH(who_says_what_is_the_others_is_let_go),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
