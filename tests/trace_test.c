/* SPDX-License-Identifier: MIT
 *
 * The trace of an end, around a mechanism that answers what it is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "mech/spy.h"
#include "tests/puppet.h"
#include "tests/room.h"

static char buffer[5000];
static size_t size;

static int is_new(void **state) {
    (void)state;
    puppet_new();
    size = 0;
    return 0;
}

static const struct mech *spy_mech;
static struct mech within; /* the puppet, with what it has not */

static int choose(void *self, uint64_t *whom) {
    *whom = 77;
    return puppet_mech.look(self, MECH_OUT);
}

static int take_noted(void *self, struct mech_piece *piece, struct mech_note *note, bool wait) {
    *note = (struct mech_note){.kind = 2, .call = 33, .whom = 44};
    return puppet_mech.take_noted(self, piece, note, wait);
}

static char trace[200];

static void *spied(const char *address, const char *to, int code) {
    struct thirl_options options = THIRL_OPTIONS;
    int rc;
    options.spy = to;
    options.mode = 0600;
    within = puppet_mech;
    within.choose = choose;
    within.take_noted = take_noted;
    spy_mech = &within;
    assert_int_equal(spy_wrap(&spy_mech), 0);
    void *self = puppet_open(spy_mech, THIRL_PAIR, address, &options, &rc);
    assert_int_equal(rc, code);
    return self;
}

/* Closes it; what was written, to be freed, and the file is gone. */
static char *told(void *self) {
    static char all[65536];
    puppet_close(spy_mech, self);
    mech_unwrap(spy_mech);
    FILE *file = fopen(trace, "re");
    assert_non_null(file);
    size_t got = fread(all, 1, sizeof all - 1, file);
    all[got] = '\0';
    assert_int_equal(fclose(file), 0);
    assert_int_equal(unlink(trace), 0);
    return all;
}

static unsigned count(const char *all, const char *piece) {
    unsigned found = 0;
    for (; (all = strstr(all, piece)) != NULL; all++) {
        found++;
    }
    return found;
}

static void answers_stand_in_the_trace(void **state) {
    struct thirl_peer peer = {.size = sizeof peer};
    struct mech_watch watch;
    int fd = -1;
    void *self = spied("puppet://x", trace, 0);
    (void)state;
    puppet.fd = 77;
    for (int i = 0; i < 2; i++) {
        const int rc = i == 0 ? 0 : -EPIPE;
        PUPPET_SAYS(rc, rc, rc, rc, rc, rc);
        assert_int_equal(spy_mech->fd(self, MECH_IN, &fd), rc);
        assert_int_equal(spy_mech->pidfd(self, &fd), rc);
        assert_int_equal(spy_mech->peer(self, &peer), rc);
        assert_int_equal(spy_mech->arm(self, MECH_IN, &watch), rc);
        assert_int_equal(spy_mech->hand(self, buffer, sizeof buffer), rc);
        assert_int_equal(spy_mech->look(self, MECH_OUT), rc);
    }
    const char *all = told(self);
    assert_int_equal(count(all, "-> EPIPE"), 6);
    assert_int_equal(count(all, " fd way=in -> 0 fd=77 "), 1);
    assert_int_equal(count(all, " fd way=in -> EPIPE fd=-1 "), 1);
    assert_int_equal(count(all, " pidfd -> 0 fd=77 "), 1);
    assert_int_equal(count(all, " pidfd -> EPIPE fd=-1 "), 1);
    assert_int_equal(count(all, " arm way=in -> EPIPE on=nothing "), 1);
}

/* What came stands where it did, and nothing of what did not. */
static void what_came_stands_in_the_trace(void **state) {
    struct mech_piece piece;
    struct mech_note note;
    struct iovec messages[4];
    void *self = spied("puppet://x", trace, 0);
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int rc = i == 0 ? 0 : -EPIPE;
        uint64_t whom = 0;
        size_t several = 4;
        PUPPET_SAYS(rc, rc, rc);
        assert_int_equal(spy_mech->recv_many(self, buffer, 64, messages, &several, &size), rc);
        assert_int_equal(spy_mech->take_noted(self, &piece, &note, false), rc);
        assert_int_equal(spy_mech->choose(self, &whom), rc);
        assert_int_equal(whom, 77);
    }
    const char *all = told(self);
    assert_int_equal(count(all, " recv_many capacity=64 count=4 -> 0 count=1 "), 1);
    assert_int_equal(count(all, " recv_many capacity=64 count=4 -> EPIPE count=0 "), 1);
    assert_int_equal(count(all, " take_noted -> 0 size=5 kind=2 call=33 whom=44 "), 1);
    assert_int_equal(count(all, " take_noted -> EPIPE size=0 kind=0 call=0 whom=0 "), 1);
    assert_int_equal(count(all, " choose -> 0 whom=77 "), 1);
    assert_int_equal(count(all, " choose -> EPIPE whom=0 "), 1);
}

/* A line stays one line, and has its columns, whatever the address is. */
static void an_address_is_written_in_plain_characters(void **state) {
    char address[1500];
    (void)state;
    const char *all = told(spied("puppet://a b\n\x7f\xc3\xa9", trace, 0));
    assert_int_equal(count(all, "puppet://a\\x20b\\x0a\\x7f\\xc3\\xa9 open "), 1);
    memset(address, '\n', sizeof address);
    address[sizeof address - 1] = '\0';
    all = told(spied(address, trace, 0)); /* longer than any that can be opened */
    assert_int_equal(count(all, "\\x0a open queue=0 max=0 -> 0 ns="), 1);
    assert_int_equal(count(all, "\n"), 3); /* open, close, deinit */
}

static void repetitions_are_told_each_second(void **state) {
    void *self = spied("puppet://x", trace, 0);
    (void)state;
    PUPPET_SAYS(-EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(spy_mech->recv(self, buffer, sizeof buffer, &size, false), -EAGAIN);
        room_sleep(i == 2 ? CLOCK_S + CLOCK_MS : 0);
    }
    assert_int_equal(spy_mech->recv(self, buffer, sizeof buffer, &size, false), -EAGAIN);
    const char *all = told(self);
    assert_int_equal(count(all, " recv capacity"), 1);
    assert_int_equal(count(all, " recv times=3 -> EAGAIN"), 1); /* when the second had passed */
    assert_int_equal(count(all, " recv times=1 -> EAGAIN"), 1); /* and at the end */
}

static void a_descriptor_has_to_be_open_for_writing(void **state) {
    char number[24];
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;
    (void)snprintf(number, sizeof number, "%d", fd);
    assert_null(spied("puppet://x", number, -EBADF));
    assert_non_null(strstr(thirl_why(), "not open for writing"));
    mech_unwrap(spy_mech);
    fd_close(&fd);
    assert_null(spied("puppet://x", "99999999999", -EBADF));
    assert_non_null(strstr(thirl_why(), "descriptor 99999999999"));
    mech_unwrap(spy_mech);
}

static int set_up(void **state) {
    int rc = room_begin(state);
    (void)snprintf(trace, sizeof trace, "%s/trace", room_path);
    return rc;
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, is_new)
    const struct CMUnitTest tests[] = {
        TEST(answers_stand_in_the_trace),
        TEST(what_came_stands_in_the_trace),
        TEST(an_address_is_written_in_plain_characters),
        TEST(repetitions_are_told_each_second),
        TEST(a_descriptor_has_to_be_open_for_writing),
    };
    return cmocka_run_group_tests(tests, set_up, room_end);
}
