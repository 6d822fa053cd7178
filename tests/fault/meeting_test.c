/* SPDX-License-Identifier: MIT
 *
 * Two meet while the kernel refuses what they need for it: a listener has nothing for who calls, a greeting cannot be said, a call does not come
 * through. They meet when it is over, and until then nobody spins.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/byhand.h"
#include "tests/fault/fault.h"

static thirl *end;
static char bytes[16], address[320];
static size_t got;

static void refusing(const char *call, bool lasting, int error) {
    const struct fault fault = {fault_find(call), 1, error, lasting};
    fault_set(&fault);
    fault_armed = true;
}

static int undisturbed(int rc) {
    fault_armed = false;
    return rc;
}

static bool is_readable(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* ---- who calls ---- */

/* Whoever said nothing makes room for him; he is let in when there is some. */
static void a_caller_is_let_in_when_there_is_room_again(void **state) {
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    peer_use(*state);
    for (int i = 0; i < 4 * 2; i++) {
        const bool another = i >= 4; /* another one has come before, and says nothing */
        end = peer_open(THIRL_PAIR);
        int silent = another ? hand_call() : -1;
        assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
        int caller = hand_call();
        hand_say(caller, FRAME_HELLO_CALL, 0);
        refusing("accept4", true, errors[i % 4]);
        assert_int_equal(thirl_recv(end, bytes, 1, &got, thirl_in_ms(30)), -ETIMEDOUT);
        assert_true(fault_site != 0 && fault_passes[fault_find("accept4")] < 40);
        fault_armed = false;
        if (another) {
            assert_int_equal(hand_hear(silent).kind, 0);
            (void)close(silent);
        }
        for (int64_t until = clock_now() + 8 * CLOCK_S; !is_readable(caller, 0) && clock_now() < until;) {
            assert_int_equal(thirl_recv(end, bytes, 1, &got, thirl_in_ms(1)), -ETIMEDOUT);
        }
        assert_int_equal(hand_hear(caller).kind, FRAME_HELLO_JOIN);
        hand_send(caller, 0, 'c');
        assert_int_equal(thirl_recv(end, bytes, 1, &got, LONG), 0);
        assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
        (void)close(caller);
    }
}

/* ---- greetings ---- */

/* By turns, as one thread has both. */
static void meet(thirl *other) {
    int64_t until = clock_now() + 8 * CLOCK_S;
    int rc = -EAGAIN;
    for (bool sent = false; rc == -EAGAIN && clock_now() < until;) {
        sent = sent || thirl_send(other, "x", 1, THIRL_NOW) == 0;
        rc = thirl_recv(end, bytes, 1, &got, THIRL_NOW);
    }
    assert_int_equal(rc, 0);
}

/* It is tried again and again, not all the time; who waits on the end's descriptor is woken for it. */
static void try_for_a_while(const char *call) {
    int fd = thirl_fd(end);
    assert_true(fd >= 0);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, thirl_in_ms(50)), -ETIMEDOUT);
    assert_true(is_readable(fd, 2000));
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    fault_armed = false;
    unsigned passes = fault_passes[fault_find(call)];
    assert_true(passes >= 3 && passes < 60);
}

static void a_greeting_through_a_pipe_is_said_later(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) { /* the parent's, and the child's */
        thirl *other = NULL;
        if (i == 0) refusing("pwritev2", true, ENOMEM);
        assert_int_equal(thirl_open(&end, THIRL_PAIR, "pipe://", NULL), 0);
        assert_int_equal(thirl_hand(end, address, sizeof address), 0);
        if (i == 0) {
            try_for_a_while("pwritev2");
            assert_int_equal(thirl_open(&other, THIRL_PAIR, address, NULL), 0);
        } else {
            refusing("pwritev2", false, EAGAIN);
            assert_int_equal(undisturbed(thirl_open(&other, THIRL_PAIR, address, NULL)), 0);
            assert_true(fault_site != 0);
        }
        meet(other);
        assert_int_equal(thirl_close(&other, LONG), 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
    }
}

static void a_greeting_over_a_socket_that_was_given_is_said_later(void **state) {
    (void)state;
    int ends[2];
    thirl *other = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    (void)snprintf(address, sizeof address, "fd://%d", ends[0]);
    refusing("send", true, ENOBUFS);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
    try_for_a_while("send");
    (void)snprintf(address, sizeof address, "fd://%d", ends[1]);
    assert_int_equal(thirl_open(&other, THIRL_PAIR, address, NULL), 0);
    meet(other);
    assert_int_equal(thirl_close(&other, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* One that will never be said is no reason to wait: the other end is gone. */
static void a_greeting_that_nobody_reads_is_not_said_again(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    (void)snprintf(address, sizeof address, "fd://%d", ends[0]);
    (void)close(ends[1]);
    int rc = thirl_open(&end, THIRL_PAIR, address, NULL);
    rc = rc == 0 ? thirl_recv(end, bytes, 1, &got, LONG) : rc;
    assert_int_equal(rc, -ENOTCONN);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
}

/* ---- a call on its way ---- */

/* The listener's queue is full, so a call over TCP waits for it; then it comes through, the greeting is refused, and it calls again. */
static void a_call_on_its_way_is_shown_when_it_comes_through(void **state) {
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), full[2];
    assert_int_equal(bind(listener, (struct sockaddr *)&at, length), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
    for (int i = 0; i < 2; i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(full[i], (struct sockaddr *)&at, length);
    }
    struct thirl_options options = THIRL_OPTIONS;
    options.timeout = CLOCK_MS;
    (void)snprintf(address, sizeof address, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, &options), 0);
    int fd = thirl_fd(end);
    assert_true(fd >= 0 && !is_readable(fd, 0));
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    (void)close(full[0]);
    (void)close(full[1]);
    (void)close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    assert_true(is_readable(fd, 8000)); /* it is asked for again after a second */
    refusing("send", false, ENOBUFS);
    assert_int_equal(undisturbed(thirl_recv(end, bytes, 1, &got, THIRL_NOW)), -EAGAIN);
    assert_true(fault_site != 0);
    int peer = -1;
    for (int64_t until = clock_now() + 8 * CLOCK_S; peer < 0 && clock_now() < until;) {
        assert_int_equal(thirl_recv(end, bytes, 1, &got, thirl_in_ms(2)), -ETIMEDOUT);
        int next = is_readable(listener, 0) ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (next >= 0 && hand_hear(next).kind == FRAME_HELLO_CALL) peer = next;
    }
    assert_true(peer >= 0);
    hand_say(peer, FRAME_HELLO_JOIN, 0);
    hand_send(peer, 0, 'p');
    assert_int_equal(thirl_recv(end, bytes, 1, &got, LONG), 0);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(peer);
    (void)close(listener);
}

/* Whoever finds the port taken as it is about to listen calls there; and nobody being there, listens. */
static void who_cannot_listen_at_once_does_so_later(void **state) {
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    (void)close(fd);
    (void)snprintf(address, sizeof address, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    refusing("listen", false, EADDRINUSE);
    assert_int_equal(undisturbed(thirl_open(&end, THIRL_PAIR, address, NULL)), 0);
    assert_true(fault_site != 0);
    thirl *other = NULL;
    assert_int_equal(thirl_open(&other, THIRL_PAIR, address, NULL), 0);
    meet(other);
    assert_int_equal(thirl_close(&other, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* Whether he has asked cannot be found out: it is asked again. */
static void a_client_is_accepted_when_that_can_be_asked(void **state) {
    (void)state;
    thirl *client = NULL;
    thirl_msg *request = NULL;
    uint64_t call = 0;
    assert_int_equal(thirl_open(&end, THIRL_SERVE, "shm://meeting", NULL), 0);
    assert_int_equal(thirl_open(&client, THIRL_CALL, "shm://meeting", NULL), 0);
    assert_int_equal(thirl_ask(client, "x", 1, &call, THIRL_NOW), -EAGAIN);
    refusing("faccessat", true, EACCES);
    assert_int_equal(undisturbed(thirl_take(end, &request, thirl_in_ms(5))), -ETIMEDOUT);
    assert_true(fault_site != 0);
    int rc = -ETIMEDOUT;
    call = 0;
    for (int64_t until = clock_now() + 20 * CLOCK_S; rc != 0 && clock_now() < until;) {
        rc = thirl_take(end, &request, thirl_in_ms(50));
        if (rc != 0 && call == 0 && thirl_ask(client, "x", 1, &call, THIRL_NOW) != 0) call = 0;
    }
    assert_int_equal(rc, 0);
    thirl_free(&request);
    assert_true(thirl_close(&client, THIRL_NOW) >= 0 && thirl_close(&end, THIRL_NOW) >= 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        {"a_caller_is_let_in_when_there_is_room_again", a_caller_is_let_in_when_there_is_room_again, NULL, NULL,
         (void *)(uintptr_t)peer_kinds[0]},
        cmocka_unit_test(a_greeting_through_a_pipe_is_said_later),
        cmocka_unit_test(a_greeting_over_a_socket_that_was_given_is_said_later),
        cmocka_unit_test(a_greeting_that_nobody_reads_is_not_said_again),
        cmocka_unit_test(who_cannot_listen_at_once_does_so_later),
        cmocka_unit_test(a_client_is_accepted_when_that_can_be_asked),
        cmocka_unit_test(a_call_on_its_way_is_shown_when_it_comes_through),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
