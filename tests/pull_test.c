/* SPDX-License-Identifier: MIT
 *
 * The way in over a connection whose other side stops in the midst of something, or says what it may not: what came whole is
 * given, what is missing is told, and nobody is kept waiting by a peer who gives a little at a time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mech/mech.h"
#include "mech/pull.h"
#include "tests/famine.h"
#include "tests/room.h"

#define LARGE ((size_t)60000)
#define HUGE ((size_t)200000) /* more than a box holds */

static struct link *end;
static int peer; /* the other side of its socket: what is written there is not always a frame */
static unsigned char data[HUGE], buffer[HUGE];

static void meet(struct link_terms terms) {
    const struct link_who who = {.pid = 7, .pidfd = -1, .name = "peer", .text = "pid 7 (peer)"};
    int pair[2];
    terms.sends = terms.receives = true;
    terms.send_max = terms.recv_max = HUGE;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 31 + i / 251);
    }
    memset(buffer, 0, sizeof buffer);
    assert_int_equal(socketpair(AF_UNIX, (terms.packets ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(link_make(&end, pair[0], -1, &who, &terms), 0);
    peer = pair[1];
    const int room = 1 << 20;
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
}

static void part(void) {
    link_free(end);
    if (peer >= 0) {
        assert_int_equal(close(peer), 0);
    }
}

static void leave(void) {
    assert_int_equal(close(peer), 0);
    peer = -1;
}

static void put(const void *from, size_t size) {
    assert_int_equal(send(peer, from, size, MSG_NOSIGNAL), size);
}

/* A head that announces so much, as a stream has it. */
static void put_head(uint8_t type, size_t size, uint16_t number) {
    unsigned char front[FRAME_WIDE] = {0};
    frame_write_head(front, &(struct frame_head){.size = (uint32_t)size, .number = number, .type = type});
    put(front, type == FRAME_DATA ? frame_ahead(size) : FRAME_HEAD);
}

static void put_message(size_t size, uint16_t number) {
    put_head(FRAME_DATA, size, number);
    put(data, size);
}

static int take(size_t capacity, size_t *size) {
    return pull_recv(end, buffer, capacity, size, false);
}

static void expect(size_t capacity, const void *wanted, size_t size) {
    size_t came = 0;
    assert_int_equal(take(capacity, &came), 0);
    assert_int_equal(came, size);
    assert_memory_equal(buffer, wanted, size);
}

static void expect_code(int code) {
    size_t came;
    for (int i = 0; i < 2; i++) { /* and again */
        assert_int_equal(take(sizeof buffer, &came), code);
    }
}

/* ---- a peer that goes in the midst of something ---- */

static void what_came_of_a_torn_stream_is_given_before_its_end(void **state) {
    (void)state;
    meet((struct link_terms){.bytes = true});
    put_head(FRAME_DATA, 100, 0);
    put(data, 40);
    leave();
    assert_int_equal(pull_rest(end), -THIRL_EPEERDIED);
    assert_true(pull_ready(end));
    expect(30, data, 30);
    expect(30, data + 30, 10);
    expect_code(-THIRL_EPEERDIED);
    part();
}

static void half_a_number_is_none(void **state) {
    (void)state;
    meet((struct link_terms){.hears = 1u << FRAME_LOST});
    put_message(20, 0);
    put_head(FRAME_LOST, FRAME_TELL, 1);
    put("\7\0\0", 3);
    assert_int_equal(pull_rest(end), 0); /* it is there still */
    leave();
    assert_int_equal(pull_rest(end), -THIRL_EPEERDIED);
    expect(sizeof buffer, data, 20);
    expect_code(-THIRL_EPEERDIED);
    assert_int_equal(end->lost, 0);
    part();
}

static void the_last_number_of_who_goes_is_heard(void **state) {
    unsigned char seven[FRAME_TELL];
    (void)state;
    meet((struct link_terms){.hears = 1u << FRAME_LOST});
    frame_write_tell(seven, 7);
    put_head(FRAME_LOST, FRAME_TELL, 0);
    put(seven, sizeof seven);
    put_message(20, 0);
    expect(sizeof buffer, data, 20);
    assert_int_equal(end->lost, 7);
    put_head(FRAME_LOST, FRAME_TELL, 1);
    put(seven, sizeof seven);
    leave();
    assert_int_equal(pull_rest(end), -THIRL_EPEERDIED);
    expect_code(-THIRL_EPEERDIED);
    assert_int_equal(end->lost, 14);
    part();
}

static void half_a_message_is_none(void **state) {
    size_t came;
    (void)state;
    meet((struct link_terms){.bytes = false});
    put_head(FRAME_DATA, 20, 0);
    put(data, 5);
    assert_int_equal(take(sizeof buffer, &came), -EAGAIN);
    leave();
    expect_code(-THIRL_EPEERDIED);
    part();
}

/* Whoever collects what is left learns how it ended, as the receiver does after that. */
static void the_last_frame_says_how_it_ended(void **state) {
    static const struct {
        uint8_t last;
        uint32_t hears;
        int code;
    } ends[] = {{FRAME_BYE, 0, -THIRL_ECLOSED},
                {FRAME_CUT, 1u << FRAME_CUT, -ECONNRESET},
                {FRAME_CUT, 0, -THIRL_EPEERDIED}}; /* who never hears of that is not cut off: it is a lie */
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        meet((struct link_terms){.hears = ends[i].hears});
        put_message(20, 0);
        put_head(ends[i].last, 0, 0);
        leave();
        assert_int_equal(pull_rest(end), ends[i].code);
        expect(sizeof buffer, data, 20);
        size_t came;
        int rc = take(sizeof buffer, &came);
        assert_true(rc == ends[i].code || (i == 2 && rc == -THIRL_EFORMAT));
        part();
    }
}

/* It says so much without end that it is cut off, though what it has said by then is all there. */
static void what_is_left_has_an_end(void **state) {
    const int room = 40 << 20, count = 90;
    (void)state;
    meet((struct link_terms){.bytes = false});
    if (setsockopt(peer, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0) {
        part();
        skip(); /* only the privileged may have so much lie in a socket */
    }
    for (int i = 0; i < count; i++) {
        put_message(HUGE, (uint16_t)i);
    }
    assert_int_equal(pull_rest(end), -THIRL_EPEERDIED);
    assert_int_equal(send(peer, data, 1, MSG_NOSIGNAL), -1);
    for (int i = 0; i < count; i++) {
        expect(sizeof buffer, data, HUGE);
    }
    expect_code(-THIRL_EPEERDIED);
    part();
}

/* ---- a peer that lies ---- */

static void a_packet_larger_than_announced_breaks_it_off(void **state) {
    static const struct link_terms terms[] = {
        {.packets = true}, {.packets = true, .bytes = true}, {.packets = true, .takes = 1}};
    unsigned char room[FRAME_MARK];
    size_t came;
    (void)state;
    frame_write_mark(room, &(struct frame_head){.size = 20000, .type = FRAME_ROOM});
    for (size_t i = 0; i < 2 * sizeof terms / sizeof *terms; i++) {
        meet(terms[i / 2]);
        if (i % 2 == 0) { /* and all that there is fits the user's buffer, or not */
            put(data, FRAME_MARK + 1);
        } else {
            put(room, sizeof room);
            put(data, 20001);
        }
        assert_int_equal(take(i % 2 == 0 ? sizeof buffer : 1000, &came), -THIRL_EFORMAT);
        assert_int_equal(link_code(end), -THIRL_EFORMAT);
        part();
    }
    meet(terms[0]);
    put(data, 10);
    put(data, FRAME_MARK + 1);
    leave();
    assert_int_equal(pull_rest(end), -THIRL_EFORMAT); /* by who collects the rest, too */
    expect(sizeof buffer, data, 10);
    expect_code(-THIRL_EFORMAT);
    part();
}

/* ---- a peer that takes its time ---- */

static uint32_t enough;

/* A byte now and then, until it is told to go on. */
static void *dribble(void *from) {
    size_t sent = 0;
    put_head(FRAME_DATA, LARGE, 0);
    for (; sent < LARGE / 2 && atomic_load(&enough) == 0; sent++) {
        (void)!send(peer, (unsigned char *)from + sent, 1, MSG_NOSIGNAL);
        room_sleep(CLOCK_MS);
    }
    for (ssize_t went = 0; sent < LARGE && went >= 0; sent += went > 0 ? (size_t)went : 0) {
        went = send(peer, (unsigned char *)from + sent, LARGE - sent, MSG_NOSIGNAL);
    }
    return NULL;
}

static void who_dribbles_holds_nobody_up_for_longer_than_a_slice(void **state) {
    (void)state;
    pthread_t thread;
    size_t came = 0;
    meet((struct link_terms){.packets = false});
    atomic_store(&enough, 0);
    assert_int_equal(pthread_create(&thread, NULL, dribble, data), 0);
    int rc = -EAGAIN;
    for (int i = 0; i < 3 && rc == -EAGAIN; i++) { /* the head may come first */
        int64_t began = clock_now();
        rc = pull_recv(end, buffer, sizeof buffer, &came, true);
        assert_true(clock_now() - began < 40 * MECH_SLICE_NS);
    }
    assert_int_equal(rc, -EAGAIN);
    atomic_store(&enough, 1);
    for (int i = 0; i < 1000 && rc == -EAGAIN; i++) {
        rc = pull_recv(end, buffer, sizeof buffer, &came, true);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(rc, 0);
    assert_int_equal(came, LARGE);
    assert_memory_equal(buffer, data, LARGE);
    part();
}

struct flood {
    unsigned char bytes[FRAME_MARK];
    size_t size;
};

/* The same again and again, until the connection is shut, or a user would have given up. */
static void *flood(void *with) {
    const struct flood *f = with;
    for (int64_t until = clock_now() + 5 * CLOCK_S; clock_now() < until;) {
        if (send(peer, f->bytes, f->size, MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    return NULL;
}

static void hold_out(struct link_terms terms, struct flood *with) {
    pthread_t thread;
    size_t came = 0;
    meet(terms);
    assert_int_equal(pthread_create(&thread, NULL, flood, with), 0);
    int64_t began = clock_now();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pull_recv(end, buffer, sizeof buffer, &came, i == 1), -EAGAIN);
    }
    assert_true(clock_now() - began < 4 * CLOCK_S);
    assert_int_equal(shutdown(peer, SHUT_RDWR), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    part();
}

/* Also where no byte of it is the user's, nor ever will be. */
static void who_says_nothing_without_end_holds_nobody_up(void **state) {
    (void)state;
    struct flood number = {.size = FRAME_HEAD + FRAME_TELL}, room = {.size = FRAME_MARK};
    frame_write_head(number.bytes, &(struct frame_head){.size = FRAME_TELL, .type = FRAME_AGAIN});
    hold_out((struct link_terms){.hears = 1u << FRAME_AGAIN}, &number);
    frame_write_mark(room.bytes, &(struct frame_head){.size = LARGE, .type = FRAME_ROOM});
    hold_out((struct link_terms){.packets = true}, &room);
    frame_write_mark(room.bytes, &(struct frame_head){.type = FRAME_DATA});
    hold_out((struct link_terms){.packets = true, .bytes = true}, &room);
}

static void *send_the_rest(void *from) {
    room_sleep(5 * CLOCK_MS);
    put(from, LARGE - 100);
    return NULL;
}

/* What is as large as the last one was is read at once; of what has not come yet the rest is waited for. */
static void the_rest_of_a_large_message_is_waited_for(void **state) {
    (void)state;
    pthread_t thread;
    size_t came = 0;
    meet((struct link_terms){.packets = false});
    put_message(LARGE, 0);
    expect(sizeof buffer, data, LARGE);
    memset(buffer, 0, sizeof buffer);
    put_head(FRAME_DATA, LARGE, 1);
    put(data, 100);
    assert_int_equal(pthread_create(&thread, NULL, send_the_rest, data + 100), 0);
    int rc = -EAGAIN;
    for (int i = 0; i < 1000 && rc == -EAGAIN; i++) {
        rc = pull_recv(end, buffer, sizeof buffer, &came, true);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(rc, 0);
    assert_int_equal(came, LARGE);
    assert_memory_equal(buffer, data, LARGE);
    put_head(FRAME_DATA, LARGE, 2);
    put(data, 100);
    assert_int_equal(take(sizeof buffer, &came), -EAGAIN); /* or not, by who does not wait */
    put(data + 100, LARGE - 100);
    expect(sizeof buffer, data, LARGE);
    part();
}

/* ---- what there is without a system call ---- */

static void an_event_loop_is_not_sent_for_what_has_not_come(void **state) {
    size_t came;
    (void)state;
    meet((struct link_terms){.hears = 1u << FRAME_EVENT});
    put_head(FRAME_DATA, 20, 0);
    put(data, 5);
    assert_int_equal(take(sizeof buffer, &came), -EAGAIN);
    assert_false(pull_ready(end));
    put(data + 5, 15);
    put_head(FRAME_EVENT, FRAME_TELL, 1);
    put(data, 3);
    expect(sizeof buffer, data, 20);
    assert_false(pull_ready(end)); /* half of a number */
    put(data + 3, FRAME_TELL - 3);
    put_head(FRAME_EVENT, FRAME_TELL, 1);
    put(data, FRAME_TELL);
    assert_int_equal(take(sizeof buffer, &came), PULL_TOLD);
    assert_true(pull_ready(end)); /* the other one */
    assert_int_equal(take(sizeof buffer, &came), PULL_TOLD);
    assert_false(pull_ready(end));
    unsigned char front[FRAME_WIDE] = {0};
    frame_write_head(front, &(struct frame_head){.size = LARGE, .number = 1, .type = FRAME_DATA});
    put(front, 20);
    assert_int_equal(take(sizeof buffer, &came), -EAGAIN);
    assert_false(pull_ready(end)); /* a head, and not all that is before the payload */
    put(front + 20, sizeof front - 20);
    put(data, LARGE);
    expect(sizeof buffer, data, LARGE);
    put_head(FRAME_BYE, 0, 2);
    leave();
    assert_int_equal(pull_rest(end), -THIRL_ECLOSED);
    assert_true(pull_ready(end));
    part();
}

static void nor_for_a_piece_that_is_announced(void **state) {
    size_t came;
    (void)state;
    meet((struct link_terms){.bytes = true});
    put_message(4, 0);
    put_message(5, 1);
    put_head(FRAME_DATA, 20, 2);
    expect(4, data, 4);
    assert_true(pull_ready(end)); /* the next one is in the box, */
    expect(2, data, 2);
    assert_true(pull_ready(end)); /* or the rest of it, */
    expect(3, data + 2, 3);
    assert_false(pull_ready(end)); /* or a head, and nothing behind it */
    put(data, 10);
    expect(sizeof buffer, data, 10);
    assert_false(pull_ready(end)); /* ten more are to come */
    put(data + 10, 10);
    expect(0, data, 0);
    expect(sizeof buffer, data + 10, 10);
    assert_int_equal(take(sizeof buffer, &came), -EAGAIN);
    expect(0, data, 0); /* of nothing there is always enough */
    part();
}

static void it_is_for_what_was_kept_for_a_larger_buffer(void **state) {
    size_t came = 0;
    (void)state;
    meet((struct link_terms){.packets = true, .raw = true});
    put(data, 100);
    put(data, 50);
    assert_int_equal(take(60, &came), -EMSGSIZE);
    assert_int_equal(came, 100);
    assert_true(pull_ready(end));
    expect(sizeof buffer, data, 100);
    assert_false(pull_ready(end)); /* the socket says it itself */
    expect(sizeof buffer, data, 50);
    part();
}

/* What came of it cannot be kept until the rest has come: the connection is worth nothing any more, and that is said. */
static void without_memory_for_a_part_the_rest_is_lost(void **state) {
    (void)state;
    size_t came;
    meet((struct link_terms){.bytes = false});
    put_message(10, 0);
    put_head(FRAME_DATA, HUGE, 1);
    put(data, HUGE - 1000);
    expect(sizeof buffer, data, 10);
    if (!famine_begin()) {
        part();
        skip();
    }
    int rc = take(sizeof buffer, &came);
    famine_end();
    assert_int_equal(rc, -ENOMEM);
    assert_int_equal(send(peer, data, 1000, MSG_NOSIGNAL), -1); /* the other side sees it, too */
    expect_code(-THIRL_EFORMAT);
    part();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_of_a_torn_stream_is_given_before_its_end),
        cmocka_unit_test(half_a_number_is_none),
        cmocka_unit_test(the_last_number_of_who_goes_is_heard),
        cmocka_unit_test(half_a_message_is_none),
        cmocka_unit_test(the_last_frame_says_how_it_ended),
        cmocka_unit_test(what_is_left_has_an_end),
        cmocka_unit_test(a_packet_larger_than_announced_breaks_it_off),
        cmocka_unit_test(who_dribbles_holds_nobody_up_for_longer_than_a_slice),
        cmocka_unit_test(who_says_nothing_without_end_holds_nobody_up),
        cmocka_unit_test(the_rest_of_a_large_message_is_waited_for),
        cmocka_unit_test(an_event_loop_is_not_sent_for_what_has_not_come),
        cmocka_unit_test(nor_for_a_piece_that_is_announced),
        cmocka_unit_test(it_is_for_what_was_kept_for_a_larger_buffer),
        cmocka_unit_test(without_memory_for_a_part_the_rest_is_lost),
    };
    return cmocka_run_group_tests_name("pull", tests, NULL, NULL);
}
