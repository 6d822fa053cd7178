/* SPDX-License-Identifier: MIT
 *
 * Many messages at once over a connection, and numbers between them: which go together, and what becomes of one that is half on its way.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "mech/batch.h"
#include "mech/pull.h"
#include "mech/tell.h"
#include "tests/famine.h"

#define EACH 8000

static struct link *mine;
static int other; /* the other end of the socket */
static char data[200000], buffer[200000];
static size_t done;

/* A connection whose send buffer has room for about so many bytes. */
static void connect_with(int room) {
    int ends[2];
    const struct link_who who = {.pid = 1, .pidfd = -1, .text = "nobody"};
    const struct link_terms terms = {.sends = true, .receives = true, .send_max = EACH, .recv_max = sizeof data};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    assert_int_equal(link_make(&mine, ends[0], -1, &who, &terms), 0);
    other = ends[1];
    done = 0;
}

static void disconnect(void) {
    link_free(mine);
    assert_int_equal(close(other), 0);
}

static void many(struct iovec *messages, size_t count, size_t size) {
    for (size_t i = 0; i < count; i++) {
        messages[i] = (struct iovec){data, size};
    }
}

/* All that is there. */
static size_t drain(void) {
    ssize_t got = recv(other, buffer, sizeof buffer, MSG_DONTWAIT);
    return got > 0 ? (size_t)got : 0;
}

/* What goes together is bounded, and ends before one that may not be sent at all: that is told by the call for it alone. */
static void goes_as_far_as_it_fits(void **state) {
    struct iovec messages[8];
    size_t count = 8;
    (void)state;
    connect_with(1 << 20);
    many(messages, 8, EACH);
    assert_int_equal(batch_send(mine, messages, &count), 0);
    assert_int_equal(count, LINK_BATCH_MAX / (EACH + FRAME_HEAD));
    assert_int_equal(drain(), count * (EACH + FRAME_HEAD));
    messages[2].iov_len = EACH + 1;
    count = 8;
    assert_int_equal(batch_send(mine, messages, &count), 0);
    assert_int_equal(count, 2);
    messages[1].iov_len = LINK_SMALL_MAX + 1;
    count = 8;
    assert_int_equal(batch_send(mine, messages, &count), 1);
    assert_int_equal(count, 0);
    count = 1;
    assert_int_equal(batch_send(mine, messages, &count), 1);
    disconnect();
}

static void only_framed_messages_go_together(void **state) {
    struct iovec messages[2];
    (void)state;
    connect_with(1 << 20);
    many(messages, 2, 10);
    for (int kind = 0; kind < 3; kind++) {
        size_t count = 2;
        mine->terms.raw = kind == 0;
        mine->terms.packets = kind == 1;
        mine->terms.bytes = kind == 2;
        assert_int_equal(batch_send(mine, messages, &count), 1);
        assert_int_equal(count, 0);
    }
    assert_int_equal(drain(), 0);
    mine->terms.bytes = false;
    disconnect();
}

static void nothing_comes_between_the_halves_of_a_message(void **state) {
    struct iovec messages[2];
    size_t count = 2, whole = 0;
    (void)state;
    connect_with(1);
    mine->terms.send_max = sizeof data;
    many(messages, 2, 10);
    assert_int_equal(link_send(mine, data, sizeof data, &done, false), -EAGAIN);
    assert_true(done > 0 && done < sizeof data);
    assert_int_equal(batch_send(mine, messages, &count), -EAGAIN);
    assert_int_equal(count, 0);
    assert_int_equal(tell_send(mine, FRAME_DONE, 7), -EAGAIN);
    while (done < sizeof data) {
        whole += drain();
        int rc = link_send(mine, data, sizeof data, &done, false);
        assert_true(rc == 0 || rc == -EAGAIN);
        done = rc == 0 ? sizeof data : done;
    }
    count = 2;
    whole += drain();
    assert_int_equal(whole, FRAME_WIDE + sizeof data);
    assert_int_equal(batch_send(mine, messages, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(tell_send(mine, FRAME_DONE, 7), 0);
    assert_int_equal(drain(), 2 * (FRAME_HEAD + 10) + FRAME_HEAD + FRAME_TELL);
    disconnect();
}

/* The rest of the message that the socket took a part of is kept; without memory it is not sent, and those before it are. */
static void the_rest_of_one_is_kept_where_there_is_memory(void **state) {
    struct iovec messages[4];
    unsigned none = 0, some = 0;
    (void)state;
    for (int room = 1; room < 30000; room += 3000) {
        for (int starves = 0; starves < 2; starves++) {
            size_t count = 4, left = 0;
            connect_with(room);
            many(messages, 4, EACH);
            bool starved = starves && famine_begin();
            int rc = batch_send(mine, messages, &count);
            if (starved) {
                famine_end();
            }
            none += starved && rc == -ENOMEM && count == 0;
            some += starved && rc == 0 && count < 4;
            assert_true(rc == (count != 0 ? 0 : -ENOMEM) && (starved || count != 0));
            size_t whole = drain(), more = 1;
            for (; !starved && more != 0; whole += more) {
                (void)link_flush(mine, &left);
                more = drain();
            }
            assert_int_equal(left, 0);
            assert_true(starved || whole == count * (EACH + FRAME_HEAD) + FRAME_HEAD); /* and a goodbye */
            disconnect();
        }
    }
    if (famine_begin()) {
        famine_end();
        assert_true(none != 0 && some != 0);
    }
}

/* ---- received ---- */

static size_t frame(char *at, uint16_t number, size_t size, enum frame_type type) {
    frame_write_head((unsigned char *)at,
                     &(struct frame_head){.size = (uint32_t)size, .number = number, .type = (uint8_t)type});
    memset(at + FRAME_HEAD, 'f', size);
    return FRAME_HEAD + size;
}

/* How many come with the first one, of what was written. */
static size_t come(size_t written, size_t capacity) {
    struct iovec messages[8];
    size_t count = 8;
    assert_int_equal(send(other, data, written, 0), (ssize_t)written);
    messages[0] = (struct iovec){buffer, 0};
    assert_int_equal(pull_recv(mine, buffer, capacity, &messages[0].iov_len, false), 0);
    batch_recv(mine, buffer, capacity, messages, &count);
    return count;
}

static void as_many_come_as_are_whole_and_fit(void **state) {
    static const struct {
        size_t second, third, cut, capacity, come; /* sizes; bytes that are missing yet */
    } cases[] = {{5, 5, 0, 1000, 3}, {5, 5, 1, 1000, 2}, {5, 5, 9, 1000, 2}, {5, 5, 14, 1000, 1},
                 {5, 5, 0, 5, 1},    {5, 5, 0, 12, 1},   {5, 5, 0, 13, 2},   {0, 40000, 0, 90000, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        connect_with(1 << 20);
        size_t at = frame(data, 0, 5, FRAME_DATA);
        at += frame(data + at, 1, cases[i].second, FRAME_DATA);
        at += frame(data + at, 2, cases[i].third, FRAME_DATA);
        assert_int_equal(come(at - cases[i].cut, cases[i].capacity), cases[i].come);
        disconnect();
    }
}

static void what_lies_ends_it(void **state) {
    size_t size = 0;
    (void)state;
    for (int lie = 0; lie < 3; lie++) {
        connect_with(1 << 20);
        size_t first = frame(data, 0, 5, FRAME_DATA);
        size_t at = first + frame(data + first, lie == 0 ? 7 : 1, 5, lie == 1 ? FRAME_BYE : FRAME_DATA);
        if (lie == 2) {
            memset(data + first, 0xee, FRAME_HEAD); /* no head */
        }
        assert_int_equal(come(at, 1000), 1);
        int rc = pull_recv(mine, buffer, 1000, &size, false); /* which says so itself */
        assert_true(rc != 0 && rc != -EAGAIN);
        disconnect();
    }
}

/* Where descriptors may come with each, each is received by itself. */
static void one_comes_where_descriptors_may(void **state) {
    char address[60];
    thirl *one = NULL, *two = NULL;
    struct iovec messages[4];
    (void)state;
    (void)snprintf(address, sizeof address, "unix://@thirl-batch-%d?descriptors=1", (int)getpid());
    assert_int_equal(thirl_open(&one, THIRL_PAIR, address, NULL), 0);
    assert_int_equal(thirl_open(&two, THIRL_PAIR, address, NULL), 0);
    int rc = -EAGAIN;
    for (int i = 0; rc == -EAGAIN && i < 5000; i++) { /* they have to meet */
        rc = thirl_send(one, "0", 1, THIRL_NOW);
        (void)!thirl_recv(two, NULL, 0, NULL, THIRL_NOW);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(thirl_send(one, "1", 1, thirl_in_ms(5000)), 0);
    assert_int_equal(thirl_send(one, "2", 1, thirl_in_ms(5000)), 0);
    for (int wanted = '0'; wanted <= '2'; wanted++) {
        size_t count = 4;
        assert_int_equal(thirl_recv_many(two, buffer, sizeof buffer, messages, &count, thirl_in_ms(5000)), 0);
        assert_true(count == 1 && messages[0].iov_len == 1 && *(const char *)messages[0].iov_base == wanted);
    }
    assert_int_equal(thirl_close(&one, THIRL_NOW), 0);
    assert_int_equal(thirl_close(&two, THIRL_NOW), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_as_far_as_it_fits),
        cmocka_unit_test(only_framed_messages_go_together),
        cmocka_unit_test(nothing_comes_between_the_halves_of_a_message),
        cmocka_unit_test(the_rest_of_one_is_kept_where_there_is_memory),
        cmocka_unit_test(as_many_come_as_are_whole_and_fit),
        cmocka_unit_test(what_lies_ends_it),
        cmocka_unit_test(one_comes_where_descriptors_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
