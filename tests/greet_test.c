/* SPDX-License-Identifier: MIT
 *
 * How two meet over unix://, one of them by hand: who comes and says nothing, says what is not his to say, dies meanwhile and leaves his socket
 * to a child, or comes in a crowd; and a listener that refuses, is dead, or closes as others wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/byhand.h"

#define CROWD 40
#define STRANGERS 20
#define NOBODY 65534

static char bytes[16];
static size_t got;

static bool is_readable(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* ---- guests ---- */

static void a_guest_who_was_there_before_is_heard(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    int guest = hand_call();
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN); /* it is in, and says nothing */
    int fd = thirl_fd(end);
    assert_true(fd >= 0 && !is_readable(fd, 0));
    hand_say(guest, FRAME_HELLO_CALL, 0);
    assert_true(is_readable(fd, 8000));
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    assert_int_equal(hand_hear(guest).kind, FRAME_HELLO_JOIN);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(guest);
}

static void a_guest_who_answers_has_not_been_asked(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    int guest = hand_call();
    hand_say(guest, FRAME_HELLO_JOIN, 0);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    struct frame_hello hello = hand_hear(guest);
    assert_int_equal(hello.kind, FRAME_HELLO_REFUSE);
    assert_int_equal(hello.code, THIRL_EFORMAT);
    assert_int_equal(hand_hear(guest).kind, 0);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(guest);
}

static int leash[2]; /* of those whose parents are gone: they go with this program */

/* More than are let in at once, none of whom says what is a greeting: each is sent away, and they keep nobody else out. */
static void a_crowd_that_babbles_is_sent_away(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    int crowd[STRANGERS];
    for (int i = 0; i < STRANGERS; i++) {
        crowd[i] = hand_call();
        must(send(crowd[i], "GET / HTTP/1.1", 14, MSG_NOSIGNAL) == 14);
    }
    int peer = hand_call();
    hand_say(peer, FRAME_HELLO_CALL, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    }
    assert_int_equal(hand_hear(peer).kind, FRAME_HELLO_JOIN);
    for (int i = 0; i < STRANGERS; i++) {
        assert_int_equal(hand_hear(crowd[i]).kind, FRAME_HELLO_REFUSE);
        (void)close(crowd[i]);
    }
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(peer);
}

/* It keeps what this process has open. */
static void leave_a_child(void) {
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) ==
        0) { /* not fork, whose handlers would close sockets of the library */
        (void)close(leash[1]);
        (void)!read(leash[0], bytes, 1);
        _exit(0);
    }
}

static void call_and_die(void) {
    hand_say(hand_call(), FRAME_HELLO_CALL, 0);
    leave_a_child();
}

static void a_guest_who_died_is_not_the_peer(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    peer_reap(peer_start(call_and_die));
    struct thirl_peer peer = {.size = sizeof peer};
    assert_int_equal(thirl_recv(end, bytes, 1, &got, thirl_in_ms(10)), -ETIMEDOUT);
    assert_int_equal(thirl_peer(end, &peer), -ENOTCONN);
    pid_t pid = peer_start(peer_wait_for_end);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

static void call_plainly_and_die(void) {
    must(send(hand_call(), "r", 1, MSG_NOSIGNAL) == 1);
    leave_a_child();
}

static thirl *open_raw(void) {
    char address[sizeof peer_address + 8];
    thirl *end = NULL;
    (void)snprintf(address, sizeof address, "%s?raw", peer_address);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
    return end;
}

/* In the raw form whoever holds the connection is the peer. */
static void a_plain_guest_lives_on_in_his_child(void **state) {
    peer_use(*state);
    thirl *end = open_raw();
    peer_reap(peer_start(call_plainly_and_die));
    assert_int_equal(thirl_recv(end, bytes, 1, &got, LONG), 0);
    assert_int_equal(bytes[0], 'r');
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
}

/* More than can be let in at once, while there is a peer: each of them is told. */
static void a_crowd_is_told_that_both_ends_are_taken(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    int peer = hand_call(), crowd[CROWD];
    hand_say(peer, FRAME_HELLO_CALL, 0);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = hand_call();
        hand_say(crowd[i], FRAME_HELLO_CALL, 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    }
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(hand_hear(crowd[i]).kind, FRAME_HELLO_BUSY);
        (void)close(crowd[i]);
    }
    hand_send(peer, 0, 'p');
    assert_int_equal(thirl_recv(end, bytes, 1, &got, LONG), 0);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(peer);
}

/* Guests who have been waited for are told, too, when the peer is found and others come: nobody is hung up on without a word. */
static void guests_from_before_are_told(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    int silent[8], later[3];
    for (int i = 0; i < 8; i++) silent[i] = hand_call();
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    (void)usleep(12000); /* their grace */
    int peer = hand_call();
    hand_say(peer, FRAME_HELLO_CALL, 0);
    for (int i = 0; i < 3; i++) {
        later[i] = hand_call();
        hand_say(later[i], FRAME_HELLO_CALL, 0);
    }
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    assert_int_equal(hand_hear(peer).kind, FRAME_HELLO_JOIN);
    assert_int_equal(hand_hear(silent[0]).kind, 0); /* the oldest made room for the peer */
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    for (int i = 1; i < 8 + 3; i++) {
        int fd = i < 8 ? silent[i] : later[i - 8];
        assert_int_equal(hand_hear(fd).kind, FRAME_HELLO_BUSY);
        (void)close(fd);
    }
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(silent[0]);
    (void)close(peer);
}

static void come_as_strangers(void) {
    int crowd[STRANGERS];
    must(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    for (int i = 0; i < STRANGERS; i++) crowd[i] = hand_call();
    (void)raise(SIGSTOP);
    for (int i = 0; i < STRANGERS; i++) {
        struct frame_hello hello = hand_hear(crowd[i]);
        must(hello.kind == FRAME_HELLO_REFUSE && hello.code == EACCES);
    }
}

/* Another user's, at a name that has no permissions: more than one step takes. */
static void a_crowd_of_strangers_is_turned_away(void **state) {
    if (geteuid() != 0) skip();
    peer_use(*state);
    int status;
    thirl *end = peer_open(THIRL_PAIR);
    int peer = hand_call();
    hand_say(peer, FRAME_HELLO_CALL, 0);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    pid_t pid = peer_start(come_as_strangers);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    }
    assert_int_equal(kill(pid, SIGCONT), 0);
    peer_reap(pid);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(peer);
}

/* For five seconds; in a process of its own, while the other tests go on. */
static void have_a_silent_guest(void) {
    peer_directory[0] = '~'; /* elsewhere */
    peer_use(peer_kinds[1]);
    thirl *end = peer_open(THIRL_PAIR);
    int64_t begun = clock_now();
    int guest = hand_call(), rc = -ETIMEDOUT;
    while (rc == -ETIMEDOUT && !is_readable(guest, 0) && clock_now() < begun + 20 * CLOCK_S) {
        rc = thirl_recv(end, bytes, 1, &got, thirl_in_ms(100));
    }
    must(rc == -ETIMEDOUT && hand_hear(guest).kind == 0 && clock_now() - begun >= 5 * CLOCK_S);
    ok(thirl_close(&end, THIRL_NOW));
}

static pid_t host_of_the_silent;

static void the_silent_are_waited_for(void **state) {
    (void)state;
    host_of_the_silent = peer_start(have_a_silent_guest);
}

static void the_silent_are_sent_away(void **state) {
    (void)state;
    peer_reap(host_of_the_silent);
}

/* ---- listeners ---- */

static int listen_here(void) {
    struct sockaddr_un at;
    socklen_t length = hand_name(&at);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(fd, (struct sockaddr *)&at, length) == 0 && listen(fd, 8) == 0);
    return fd;
}

/* What an end of thirl refuses with is told as it is; what it does not is not believed. */
static void a_refusal_says_why(void **state) {
    static const struct {
        uint32_t code;
        int answer;
        const char *why;
    } refusals[] = {
        {EMFILE, -EMFILE, "RLIMIT_NOFILE there"},
        {THIRL_ETYPE, -THIRL_ETYPE, "refused us"},
        {77777, -EACCES, "the code 77777"},
        {EPERM, -EACCES, "the code 1"},
    };
    peer_use(*state);
    int listener = listen_here();
    thirl *end = peer_open(THIRL_PAIR);
    int shown = thirl_fd(end);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        for (int rc = 0; !is_readable(listener, 0);) {
            rc = thirl_recv(end, bytes, 1, &got, thirl_in_ms(1));
            assert_int_equal(rc, -ETIMEDOUT);
        }
        int fd = accept(listener, NULL, NULL);
        assert_int_equal(hand_hear(fd).kind, FRAME_HELLO_CALL);
        hand_say(fd, FRAME_HELLO_REFUSE, refusals[i].code);
        assert_true(is_readable(shown, 8000));
        assert_int_equal(thirl_recv(end, bytes, 1, &got, LONG), refusals[i].answer);
        assert_non_null(strstr(thirl_why(), refusals[i].why));
        (void)close(fd);
    }
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(listener);
    (void)unlink(peer_path);
}

static void listen_and_leave_it(void) {
    (void)listen_here();
    (void)raise(SIGSTOP);
    leave_a_child();
}

static void listen_as_a_stranger(void) {
    must(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    (void)listen_here();
    (void)raise(SIGSTOP);
}

/* At a name that has no permissions: another user's listener is none of those whom the mode lets in. */
static void a_stranger_who_listens_is_not_called(void **state) {
    if (geteuid() != 0) skip();
    peer_use(*state);
    int status;
    pid_t pid = peer_start(listen_as_a_stranger);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PAIR, peer_address, NULL), -EACCES);
    assert_non_null(strstr(thirl_why(), "has uid 65534; widen with ?mode="));
    peer_slay(pid);
}

/* The call came through before the listener died, and nobody answers it: his child only keeps the socket. */
static void a_listener_who_died_is_followed(void **state) {
    peer_use(*state);
    int status;
    pid_t host = peer_start(listen_and_leave_it);
    assert_int_equal(waitpid(host, &status, WUNTRACED), host);
    struct thirl_options options = THIRL_OPTIONS;
    options.timeout = CLOCK_MS;
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PAIR, peer_address, &options), 0);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, thirl_in_ms(1)), -ETIMEDOUT);
    assert_int_equal(kill(host, SIGCONT), 0);
    peer_reap(host);
    pid_t pid = peer_start(peer_wait_for_end);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

static void a_plain_listener_lives_on_in_his_child(void **state) {
    peer_use(*state);
    int status;
    pid_t host = peer_start(listen_and_leave_it);
    assert_int_equal(waitpid(host, &status, WUNTRACED), host);
    assert_int_equal(kill(host, SIGCONT), 0);
    peer_reap(host);
    thirl *end = open_raw();
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)unlink(peer_path);
}

static void take_until_the_end(void) {
    (void)setenv("THIRL_WEAVE_AT", "chain.attend.peered:1:stop", 1);
    thirl *end = peer_open(THIRL_PAIR);
    int rc = 0;
    while (rc == 0) rc = thirl_recv(end, bytes, 1, &got, LONG);
    must(rc == -THIRL_ECLOSED);
    ok(thirl_close(&end, THIRL_NOW));
}

/* The peer has said goodbye by the time that the others are let in: they are not told of him, but find out that nobody listens any more. */
static void who_waits_as_the_peer_closes_is_hung_up_on(void **state) {
    peer_use(*state);
    int status;
    pid_t host = peer_start(take_until_the_end);
    struct stat file;
    for (int i = 0; i < 8000 && stat(peer_path, &file) != 0; i++) (void)usleep(1000);
    thirl *end = peer_open(THIRL_PAIR);
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    assert_int_equal(waitpid(host, &status, WUNTRACED), host);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    int other = hand_call();
    hand_say(other, FRAME_HELLO_CALL, 0);
    assert_int_equal(kill(host, SIGCONT), 0);
    peer_reap(host);
    assert_int_equal(hand_hear(other).kind, 0);
    (void)close(other);
}

/* ---- two connections ---- */

/* What the dead one has sent is still to be received, and there is a new peer for what is sent: the descriptor shows the first. */
static void the_descriptor_shows_what_the_dead_left(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    int first = hand_call(), fd = thirl_fd(end);
    hand_say(first, FRAME_HELLO_CALL, 0);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    assert_int_equal(hand_hear(first).kind, FRAME_HELLO_JOIN);
    hand_send(first, 0, 'a');
    assert_int_equal(thirl_recv(end, bytes, 1, &got, LONG), 0);
    hand_send(first, 1, 'b');
    (void)close(first);
    assert_int_equal(thirl_send(end, "x", 1, LONG), -THIRL_EPEERDIED);
    int second = hand_call();
    hand_say(second, FRAME_HELLO_CALL, 0);
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    assert_int_equal(hand_hear(second).kind, FRAME_HELLO_JOIN);
    assert_true(is_readable(fd, 0));
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), 0);
    assert_int_equal(bytes[0], 'b');
    assert_true(is_readable(fd, 0));
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -THIRL_EPEERDIED);
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), -EAGAIN);
    assert_false(is_readable(fd, 0));
    hand_send(second, 0, 'c');
    assert_true(is_readable(fd, 8000));
    assert_int_equal(thirl_recv(end, bytes, 1, &got, THIRL_NOW), 0);
    assert_int_equal(bytes[0], 'c');
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    (void)close(second);
}

int main(int argc, char **argv) {
#define OVER(test, kind)                                                                                               \
    { #test, test, NULL, NULL, (void *)(uintptr_t)peer_kinds[kind] }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_silent_are_waited_for),       OVER(a_guest_who_was_there_before_is_heard, 0),
        OVER(a_guest_who_answers_has_not_been_asked, 0),   OVER(a_crowd_that_babbles_is_sent_away, 0),
        OVER(a_guest_who_died_is_not_the_peer, 0),         OVER(a_plain_guest_lives_on_in_his_child, 0),
        OVER(a_crowd_is_told_that_both_ends_are_taken, 0), OVER(guests_from_before_are_told, 0),
        OVER(a_crowd_of_strangers_is_turned_away, 1),      OVER(a_refusal_says_why, 0),
        OVER(a_stranger_who_listens_is_not_called, 1),     OVER(a_listener_who_died_is_followed, 0),
        OVER(a_plain_listener_lives_on_in_his_child, 0),   OVER(who_waits_as_the_peer_closes_is_hung_up_on, 0),
        OVER(the_descriptor_shows_what_the_dead_left, 0),  cmocka_unit_test(the_silent_are_sent_away),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    if (pipe(leash) != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
