/* SPDX-License-Identifier: MIT
 *
 * A watcher whose notifier says what none says, or goes before it is listened to: it is told, and the next notifier is heard.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/famine.h"
#include "tests/peer.h"
#include "tests/room.h"
#include "wire/frame.h"

static int host = -1;
static bool packets;

/* Where a stranger listens. */
static void listen_there(void **state) {
    static int count;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    packets = *state != NULL;
    int length = snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "thirl.heed.%d.%d", (int)getpid(), ++count);
    (void)snprintf(peer_address, sizeof peer_address, "unix://@%s%s", at.sun_path + 1,
                   packets ? "?type=seqpacket" : "");
    host = socket(AF_UNIX, (packets ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    assert_int_equal(bind(host, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(host, 4), 0);
}

static void say(int fd, uint8_t type, uint32_t size, uint64_t number) {
    unsigned char wire[FRAME_MARK + FRAME_TELL];
    const struct frame_head head = {.size = size, .type = type};
    size_t skip = packets ? 0 : FRAME_MARK - FRAME_HEAD;
    size_t bytes = FRAME_MARK - skip + (type == FRAME_ROOM ? 0 : size);
    frame_write_mark(wire, &head);
    if (!packets) {
        frame_write_head(wire + skip, &head);
    }
    frame_write_tell(wire + FRAME_MARK, number);
    assert_int_equal(send(fd, wire + skip, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
}

static void wait_for_it(thirl *watch) {
    uint32_t word;
    assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, thirl_in_ms(2)), -ETIMEDOUT);
}

/* Whoever asks who is there looks for a peer as well, and receives nothing. */
static void ask_for_it(thirl *end) {
    struct thirl_peer peer = {.size = sizeof peer};
    assert_int_equal(thirl_peer(end, &peer), -ENOTCONN);
    room_sleep(CLOCK_MS);
}

/* The end calls, and is greeted. */
static int greet_as(enum thirl_role role, thirl *end, void (*meanwhile)(thirl *)) {
    unsigned char wire[FRAME_HELLO];
    int fd = -1;
    bool heard = false;
    for (int i = 0; i < 1000 && !heard; i++) {
        meanwhile(end);
        fd = fd < 0 ? accept4(host, NULL, NULL, SOCK_CLOEXEC) : fd;
        heard = fd >= 0 && recv(fd, wire, sizeof wire, MSG_DONTWAIT) == (ssize_t)sizeof wire;
    }
    assert_true(heard);
    const struct frame_hello hello = {
        .kind = FRAME_HELLO_JOIN, .role = (uint8_t)role, .max = FRAME_TELL, .pid = {getpid(), getpid()}};
    frame_write_hello(wire, &hello);
    assert_int_equal(send(fd, wire, sizeof wire, MSG_NOSIGNAL), (ssize_t)sizeof wire);
    if (packets) {
        say(fd, FRAME_ROOM, FRAME_MARK + FRAME_TELL, 0);
    }
    return fd;
}

static int greet(thirl *watch) {
    return greet_as(THIRL_NOTIFY, watch, wait_for_it);
}

static void told(thirl *watch, int code, const char *part) {
    uint32_t word = 0;
    assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, LONG), -code);
    assert_non_null(strstr(thirl_why(), part));
}

#define EVENT(event, times) ((uint64_t)(event) << 32 | (times))

static void what_is_no_event_is_refused(void **state) {
    listen_there(state);
    thirl *watch = peer_open(THIRL_WATCH);
    uint32_t word = 0;
    static const struct {
        uint8_t type;
        uint32_t size;
        uint64_t number;
        const char *part;
    } wrong[] = {
        {FRAME_EVENT, FRAME_TELL, EVENT(0x80000001, 1), "an event that is none"},
        {FRAME_EVENT, FRAME_TELL, EVENT(5, 0), "an event that is none"},
        {FRAME_DATA, 4, 5, "nobody sends any"},
        {FRAME_DATA, 0, 0, "nobody sends any"},
        {FRAME_DONE, FRAME_TELL, 5, "does not fit its role"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int fd = greet(watch);
        say(fd, FRAME_EVENT, FRAME_TELL, EVENT(7, 1));
        say(fd, wrong[i].type, wrong[i].size, wrong[i].number);
        assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, LONG), 0); /* what was said before is true */
        assert_int_equal(word, 7);
        told(watch, THIRL_EFORMAT, wrong[i].part);
        (void)close(fd);
    }
    int fd = greet(watch);
    if (packets) { /* no packet is as small as that */
        say(fd, FRAME_ROOM, FRAME_MARK - 1, 0);
        told(watch, THIRL_EFORMAT, "announced packets of 15 bytes");
        (void)close(fd);
        fd = greet(watch);
    }
    say(fd, FRAME_EVENT, FRAME_TELL, EVENT(0x7fffffff, 2));
    assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, LONG), 0);
    assert_int_equal(word, 0x7fffffff);
    (void)close(fd);
    assert_int_equal(thirl_close(&watch, LONG), 0);
    (void)close(host);
}

/* What has come already is there at a look, whatever the kernel has. */
static void events_that_wait_are_ready(void **state) {
    listen_there(state);
    thirl *watch = peer_open(THIRL_WATCH);
    int fd = greet(watch);
    uint32_t word = 0;
    say(fd, FRAME_EVENT, FRAME_TELL, EVENT(1, 1));
    say(fd, FRAME_EVENT, FRAME_TELL, EVENT(2, 1));
    assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, LONG), 0);
    struct thirl_want want = {.end = watch, .wanted = THIRL_WANT_MESSAGE};
    assert_int_equal(thirl_wait(&want, 1, LONG), 1);
    assert_int_equal(want.ready, THIRL_WANT_MESSAGE);
    assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, THIRL_NOW), 0);
    assert_int_equal(word, 2);
    assert_int_equal(thirl_wait(&want, 1, THIRL_NOW), -EAGAIN);
    (void)close(fd);
    assert_int_equal(thirl_close(&watch, LONG), 0);
    (void)close(host);
}

/* One after the other was there, and closed, and nobody received meanwhile: that is nothing to receive, and no end. */
static void those_who_came_and_went_are_passed_over(void **state) {
    static const struct { enum thirl_role own, other; } pairs[] = {{THIRL_WATCH, THIRL_NOTIFY}, {THIRL_SUB, THIRL_PUB}};
    struct thirl_peer peer = {.size = sizeof peer};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        listen_there(state);
        thirl *end = peer_open(pairs[i].own);
        uint32_t word = 0;
        for (int gone = 0; gone < 2; gone++) {
            int fd = greet_as(pairs[i].other, end, ask_for_it);
            int rc = -ENOTCONN;
            for (int j = 0; j < 5000 && (rc = thirl_peer(end, &peer)) == -ENOTCONN; j++) room_sleep(CLOCK_MS);
            assert_int_equal(rc, 0);
            say(fd, FRAME_BYE, 0, 0);
            (void)close(fd);
            assert_int_equal(thirl_peer(end, &peer), -ENOTCONN);
        }
        assert_int_equal(thirl_recv(end, &word, sizeof word, NULL, THIRL_NOW), -EAGAIN);
        int fd = greet_as(pairs[i].other, end, ask_for_it);
        if (i == 0) {
            say(fd, FRAME_EVENT, FRAME_TELL, EVENT(7, 1));
        } else {
            say(fd, FRAME_DATA, sizeof word, 7); /* of the number the first four bytes, and no more */
        }
        assert_int_equal(thirl_recv(end, &word, sizeof word, NULL, LONG), 0);
        assert_int_equal(word, 7);
        (void)close(fd);
        assert_int_equal(thirl_close(&end, LONG), 0);
        (void)close(host);
    }
}

/* The notifier said something and closed, as the watcher knows by then; and there is no memory to count it in, for a while. */
static void what_was_said_before_the_end_is_heard(void **state) {
    struct thirl_peer peer = {.size = sizeof peer};
    uint32_t word = 0;
    listen_there(state);
    thirl *watch = peer_open(THIRL_WATCH);
    int fd = greet_as(THIRL_NOTIFY, watch, ask_for_it);
    int rc = -ENOTCONN;
    for (int i = 0; i < 5000 && (rc = thirl_peer(watch, &peer)) == -ENOTCONN; i++) room_sleep(CLOCK_MS);
    assert_int_equal(rc, 0);
    say(fd, FRAME_EVENT, FRAME_TELL, EVENT(1, 1));
    say(fd, FRAME_EVENT, FRAME_TELL, EVENT(2, 1));
    say(fd, FRAME_BYE, 0, 0);
    (void)close(fd);
    assert_int_equal(thirl_peer(watch, &peer), -ENOTCONN);
    if (famine_begin()) {
        rc = thirl_recv(watch, &word, sizeof word, NULL, THIRL_NOW);
        famine_end();
        assert_int_equal(rc, -ENOMEM);
        assert_non_null(strstr(thirl_why(), "no memory to count events in"));
    }
    for (uint32_t event = 1; event <= 2; event++) {
        assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, THIRL_NOW), 0);
        assert_int_equal(word, event);
    }
    assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_close(&watch, LONG), 0);
    (void)close(host);
}

int main(void) {
    static char yes;
    const struct CMUnitTest tests[] = {
        {"what_is_no_event_is_refused stream", what_is_no_event_is_refused, NULL, NULL, NULL},
        {"what_is_no_event_is_refused seqpacket", what_is_no_event_is_refused, NULL, NULL, &yes},
        {"events_that_wait_are_ready stream", events_that_wait_are_ready, NULL, NULL, NULL},
        {"events_that_wait_are_ready seqpacket", events_that_wait_are_ready, NULL, NULL, &yes},
        {"those_who_came_and_went_are_passed_over stream", those_who_came_and_went_are_passed_over, NULL, NULL, NULL},
        {"what_was_said_before_the_end_is_heard stream", what_was_said_before_the_end_is_heard, NULL, NULL, NULL},
        {"what_was_said_before_the_end_is_heard seqpacket", what_was_said_before_the_end_is_heard, NULL, NULL, &yes},
        {"those_who_came_and_went_are_passed_over seqpacket", those_who_came_and_went_are_passed_over, NULL, NULL,
         &yes},
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
