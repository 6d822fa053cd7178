/* SPDX-License-Identifier: MIT
 *
 * A watcher whose notifier says what none says: it is told, and the next notifier is heard.
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

#include "tests/peer.h"
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

/* The watcher calls, and is greeted. */
static int greet(thirl *watch) {
    unsigned char wire[FRAME_HELLO];
    uint32_t word;
    int fd = -1;
    bool heard = false;
    for (int i = 0; i < 1000 && !heard; i++) {
        assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, thirl_in_ms(2)), -ETIMEDOUT);
        fd = fd < 0 ? accept4(host, NULL, NULL, SOCK_CLOEXEC) : fd;
        heard = fd >= 0 && recv(fd, wire, sizeof wire, MSG_DONTWAIT) == (ssize_t)sizeof wire;
    }
    assert_true(heard);
    const struct frame_hello hello = {
        .kind = FRAME_HELLO_JOIN, .role = THIRL_NOTIFY, .max = FRAME_TELL, .pid = {getpid(), getpid()}};
    frame_write_hello(wire, &hello);
    assert_int_equal(send(fd, wire, sizeof wire, MSG_NOSIGNAL), (ssize_t)sizeof wire);
    if (packets) {
        say(fd, FRAME_ROOM, FRAME_MARK + FRAME_TELL, 0);
    }
    return fd;
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

int main(void) {
    static char yes;
    const struct CMUnitTest tests[] = {
        {"what_is_no_event_is_refused stream", what_is_no_event_is_refused, NULL, NULL, NULL},
        {"what_is_no_event_is_refused seqpacket", what_is_no_event_is_refused, NULL, NULL, &yes},
        {"events_that_wait_are_ready stream", events_that_wait_are_ready, NULL, NULL, NULL},
        {"events_that_wait_are_ready seqpacket", events_that_wait_are_ready, NULL, NULL, &yes},
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
