/* SPDX-License-Identifier: MIT
 *
 * unix:// between processes: who may join, who is refused, and what a death looks like; over stream and seqpacket, by
 * path and by abstract name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/weave.h"
#include "tests/peer.h"
#include "wire/frame.h"

static unsigned char buffer[1 << 20];

static void fork_then_wait(void) {
    thirl *end = peer_open(THIRL_PAIR);
    ok(thirl_send(end, "x", 1, LONG));
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) { /* not fork, whose handlers would close the library's sockets */
        (void)alarm(1);
    }
    (void)pause();
}

static void expect_three(thirl *end) {
    unsigned char byte;
    size_t size;
    for (unsigned char i = 0; i < 3; i++) {
        assert_int_equal(thirl_recv(end, &byte, 1, &size, LONG), 0);
        assert_int_equal(byte, i);
    }
}

/* Kills one peer after the other, each of which has sent; told once each way, and the next takes its place. */
static void deaths(void **state) {
    peer_use(*state);
    pid_t pid = peer_start(peer_three_then_stop); /* the first may be the listener */
    (void)usleep(20000);
    thirl *end = peer_open(THIRL_PAIR);
    size_t size;
    char why[40];
    for (int round = 0; round < 5; round++) {
        if (round % 2) {
            expect_three(end);
        } else {
            assert_int_equal(thirl_recv(end, buffer, 0, &size, LONG), -EMSGSIZE);
        }
        assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid); /* all is sent; stopped is not dead */
        assert_int_equal(thirl_send(end, buffer, 1, LONG), 0);
        peer_slay(pid);
        if (round % 2 == 0) {
            expect_three(end); /* what the dead sent comes first */
        }
        int64_t began = clock_now();
        assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), -THIRL_EPEERDIED);
        (void)snprintf(why, sizeof(why), "pid %d (", (int)pid);
        assert_non_null(strstr(thirl_why(), why));
        assert_true(clock_now() - began < CLOCK_S);
        if (round < 4) {
            assert_int_equal(thirl_send(end, buffer, 10, LONG), -THIRL_EPEERDIED);
            assert_int_equal(thirl_send(end, buffer, 10, thirl_in_ms(10)), -ETIMEDOUT);
        }
        assert_int_equal(thirl_recv(end, buffer, 10, &size, THIRL_NOW), -EAGAIN);
        pid = peer_start(peer_three_then_stop);
    }
    expect_three(end);
    assert_int_equal(thirl_send(end, buffer, 10, LONG), -THIRL_EPEERDIED); /* of the last round */
    assert_int_equal(thirl_send(end, buffer, 10, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_slay(pid);
}

/* A child of the dead peer keeps its sockets open; the death is known all the same, and the address is not lost. */
static void death_with_heirs(void **state) {
    peer_use(*state);
    size_t size;
    for (int listens = 0; listens < 2; listens++) {
        thirl *end = listens ? NULL : peer_open(THIRL_PAIR);
        pid_t pid = peer_start(fork_then_wait);
        (void)usleep(50000);
        end = end ? end : peer_open(THIRL_PAIR);
        assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
        (void)usleep(20000);
        peer_slay(pid);
        int64_t began = clock_now();
        assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), -THIRL_EPEERDIED);
        assert_true(clock_now() - began < CLOCK_S);
        assert_int_equal(thirl_send(end, buffer, 1, LONG), -THIRL_EPEERDIED);
        if (listens && peer_address[7] == '@') {
            assert_int_equal(thirl_close(&end, LONG), 0); /* the heir holds the name until it goes */
            break;
        }
        assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(30)), -ETIMEDOUT);
        pid = peer_start(peer_three_then_stop);
        expect_three(end);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_slay(pid);
    }
}

static void third_is_refused(void **state) {
    peer_use(*state);
    size_t size;
    thirl *end = peer_open(THIRL_PAIR), *third = NULL;
    pid_t pid = peer_start(peer_wait_for_end);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    /* This process is the listener: it answers even though nobody calls it. */
    assert_int_equal(thirl_open(&third, THIRL_PAIR, peer_address, NULL), -EBUSY);
    assert_null(third);
    char why[40];
    (void)snprintf(why, sizeof(why), "pid %d", (int)pid);
    assert_non_null(strstr(thirl_why(), why));
    (void)snprintf(why, sizeof(why), "pid %d", (int)getpid());
    assert_non_null(strstr(thirl_why(), why));
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PAIR, peer_address, NULL), 0); /* free again */
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void listen_then_serve(void) {
    thirl *end = peer_open(THIRL_PAIR), *peer = peer_open(THIRL_PAIR);
    size_t size;
    (void)kill(getpid(), SIGSTOP);
    must(thirl_recv(end, buffer, 1, &size, thirl_in_ms(500)) == -ETIMEDOUT);
    (void)peer;
}

/* A listener that is stopped cannot answer: open does not wait for it, and the refusal comes with the next call. */
static void stopped_listener(void **state) {
    peer_use(*state);
    size_t size;
    pid_t pid = peer_start(listen_then_serve);
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
    int64_t began = clock_now();
    thirl *end = peer_open(THIRL_PAIR);
    assert_true(clock_now() - began < CLOCK_S);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), -EBUSY);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

static int raw(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    bool abstract = peer_address[7] == '@';
    int length = snprintf(at.sun_path, sizeof(at.sun_path), "%s%s/s", abstract ? "@" : "", peer_directory);
    at.sun_path[0] = abstract ? '\0' : at.sun_path[0];
    int fd = socket(AF_UNIX, strstr(peer_address, "seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at,
                             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + !abstract)),
                     0);
    return fd;
}

/* Silent, babbling and outdated strangers before the right peer. */
static void strangers(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    int silent[20];
    size_t size;
    for (int i = 0; i < 20; i++) {
        silent[i] = raw();
        if (i % 2) {
            assert_true(send(silent[i], "GET / HTTP/1.1\r\n\r\n", 18, 0) == 18);
        }
    }
    unsigned char wire[FRAME_HELLO];
    struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 1000};
    int old = raw();
    frame_write_hello(wire, &hello);
    wire[8] = 77;
    assert_true(send(old, wire, sizeof(wire), 0) == sizeof(wire));
    for (int i = 0; i < 6; i++) { /* a step lets in only so many, and the silent are given a moment */
        assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
        (void)usleep(12000);
    }
    assert_true(recv(old, wire, sizeof(wire), 0) == sizeof(wire));
    assert_int_equal(frame_read_hello(wire, &hello), 0);
    assert_int_equal(hello.kind, FRAME_HELLO_REFUSE);
    assert_int_equal(hello.code, THIRL_EVERSION);
    pid_t pid = peer_start(peer_wait_for_end);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    for (int i = 0; i < 20; i++) {
        (void)close(silent[i]);
    }
    (void)close(old);
}

static int join_raw(thirl *end) {
    unsigned char wire[FRAME_HELLO];
    size_t size;
    const struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 1000};
    int fd = raw();
    frame_write_hello(wire, &hello);
    assert_true(send(fd, wire, sizeof(wire), 0) == sizeof(wire));
    assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
    assert_true(recv(fd, wire, sizeof(wire), 0) == sizeof(wire));
    return fd;
}

/* A frame with three bytes behind it; as a marked packet where packets need no head. */
static void lie(int fd, const struct frame_head *head) {
    unsigned char wire[FRAME_MARK + 3] = {0};
    size_t skip = strstr(peer_address, "seqpacket") ? 0 : FRAME_MARK - FRAME_HEAD;
    frame_write_mark(wire, head);
    assert_true(send(fd, wire + skip, sizeof(wire) - skip, 0) == (ssize_t)(sizeof(wire) - skip));
}

/* A peer that greets well and then lies: an error once each way, and the next one is welcome. */
static void liars(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    size_t size;
    const struct frame_head lies[] = {
        {.size = 0x7fffffff, .type = FRAME_DATA},
        {.size = strstr(peer_address, "seqpacket") ? 4 : 3, .number = 7, .type = FRAME_DATA},
        {.size = 16, .type = FRAME_ROOM},
        {.size = 3, .type = 9},
        {.size = 3, .type = FRAME_BYE},
        {.size = 64, .type = 200},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        int fd = join_raw(end);
        lie(fd, &lies[i]);
        assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, LONG), -THIRL_EFORMAT);
        assert_int_equal(thirl_send(end, buffer, 1, LONG), -THIRL_EFORMAT);
        (void)close(fd);
    }
    if (strstr(peer_address, "seqpacket")) { /* larger than announced; an announcement larger than agreed upon */
        int fd = join_raw(end);
        assert_true(send(fd, buffer, 17, 0) == 17);
        assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, LONG), -THIRL_EFORMAT);
        assert_int_equal(thirl_send(end, buffer, 1, LONG), -THIRL_EFORMAT);
        (void)close(fd);
        fd = join_raw(end);
        unsigned char mark[FRAME_MARK];
        frame_write_mark(mark, &(struct frame_head){.size = 0x40000000, .type = FRAME_ROOM});
        assert_true(send(fd, mark, sizeof(mark), 0) == sizeof(mark));
        assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, LONG), -THIRL_EFORMAT);
        assert_int_equal(thirl_send(end, buffer, 1, LONG), -THIRL_EFORMAT);
        (void)close(fd);
    }
    int fd = join_raw(end); /* and half a message, then the end */
    const struct frame_head half = {.size = 30, .type = FRAME_DATA};
    lie(fd, &half);
    (void)close(fd);
    int rc = thirl_recv(end, buffer, sizeof(buffer), &size, LONG);
    assert_int_equal(rc, strstr(peer_address, "seqpacket") ? -THIRL_EFORMAT : -THIRL_EPEERDIED);
    pid_t pid = peer_start(peer_wait_for_end);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

/* Two come at the same moment, again and again: they always find each other. */
static void together(void **state) {
    peer_use(*state);
    for (int round = 0; round < 30; round++) {
        pid_t pid = peer_start(peer_wait_for_end);
        thirl *end = peer_open(THIRL_PAIR);
        size_t size;
        assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
    }
    struct stat file;
    assert_int_equal(stat(peer_path, &file), -1);
}

static void die_at(void) {
    size_t size;
    thirl *end = peer_open(THIRL_PAIR);
    int sent = thirl_send(end, "x", 1, thirl_in_ms(20));
    int got = thirl_recv(end, buffer, 1, &size, thirl_in_ms(10));
    must(sent <= 0 && got <= 0);
    (void)thirl_close(&end, THIRL_SOON);
    _exit(0);
}

/* ---- who comes as the peer dies ---- */

static void take_until_y(void) {
    size_t size;
    (void)setenv("THIRL_WEAVE_AT", "chain.attend.peered:1:stop", 1);
    thirl *end = peer_open(THIRL_PAIR);
    unsigned char byte = 0;
    while (byte != 'y') {
        int rc = thirl_recv(end, &byte, 1, &size, LONG);
        must(rc == 0 || rc == -THIRL_EPEERDIED);
    }
    ok(thirl_close(&end, THIRL_NOW));
    _exit(0);
}

static void send_x_and_stay(void) {
    thirl *end = peer_open(THIRL_PAIR);
    ok(thirl_send(end, "x", 1, LONG));
    (void)pause();
}

static void send_y(void) {
    thirl *end = peer_open(THIRL_PAIR);
    ok(thirl_send(end, "y", 1, LONG));
    must(thirl_close(&end, LONG) >= 0);
    _exit(0);
}

/* The one who listens has just looked at his peer, who lives. Before he answers those who wait to be let in the peer is dead, and another one
 * there: he is not to hear of the dead one, but takes his place. */
static void who_comes_as_the_peer_dies_is_let_in(void **state) {
    int status;
    peer_use(*state);
    pid_t host = peer_start(take_until_y);
    pid_t first = peer_start(send_x_and_stay);
    assert_int_equal(waitpid(host, &status, WUNTRACED), host);
    assert_true(WIFSTOPPED(status));
    peer_slay(first);
    pid_t second = peer_start(send_y);
    struct timespec moment = clock_spec(100 * CLOCK_MS);
    (void)nanosleep(&moment, NULL);
    assert_int_equal(kill(host, SIGCONT), 0);
    peer_reap(second);
    peer_reap(host);
}

/* Killed at each named point, as the first to come and as the second: the survivor or the next one gets through. */
static void killed_anywhere(void **state) {
    peer_use(*state);
    size_t count, size, tried = 0;
    struct weave_point *points = weave_points(&count);
    for (size_t i = 0; i < count * 2; i++) {
        const char *name = points[i / 2].name;
        if (strncmp(name, "meet.", 5) != 0 && strncmp(name, "unix.", 5) != 0 && strncmp(name, "chain.", 6) != 0 &&
            strncmp(name, "link.", 5) != 0 && strncmp(name, "haul.", 5) != 0) {
            continue;
        }
        char order[100];
        (void)snprintf(order, sizeof(order), "%s:1:kill", name);
        thirl *end = i % 2 ? peer_open(THIRL_PAIR) : NULL;
        (void)setenv("THIRL_WEAVE_AT", order, 1);
        pid_t pid = peer_start(die_at);
        (void)unsetenv("THIRL_WEAVE_AT");
        int rc = end ? thirl_recv(end, buffer, 1, &size, thirl_in_ms(40)) : 0;
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        while (end && (rc == 0 || rc == -ETIMEDOUT)) {
            int before = rc;
            rc = thirl_recv(end, buffer, 1, &size, thirl_in_ms(10));
            if (rc == -ETIMEDOUT && before == rc) {
                break;
            }
        }
        if (rc == -THIRL_ECLOSED) {
            assert_int_equal(thirl_close(&end, LONG), 0);
        } else if (end) {
            assert_true(rc == -ETIMEDOUT || rc == -THIRL_EPEERDIED);
        }
        pid = peer_start(peer_three_then_stop);
        end = end ? end : peer_open(THIRL_PAIR);
        rc = thirl_recv(end, buffer, 0, &size, LONG);
        if (rc == -THIRL_EPEERDIED) {
            rc = thirl_recv(end, buffer, 0, &size, LONG);
        }
        assert_int_equal(rc, -EMSGSIZE);
        expect_three(end);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_slay(pid);
        tried++;
    }
    assert_true(tried >= 20);
    /* Whatever the last one to be killed left, the next one takes over, and takes away. */
    thirl *last = peer_open(THIRL_PAIR);
    assert_int_equal(thirl_recv(last, buffer, 1, &size, thirl_in_ms(10)), -ETIMEDOUT);
    assert_int_equal(thirl_close(&last, LONG), 0);
    struct stat file;
    assert_int_equal(stat(peer_path, &file), -1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        OVER_ALL(deaths),
        OVER_ALL(strangers),
        OVER_ALL(liars),
        OVER_ALL(third_is_refused),
        OVER_ALL(stopped_listener),
        OVER_ALL(together),
        OVER_ALL(who_comes_as_the_peer_dies_is_let_in),
        OVER_ALL(killed_anywhere),
        OVER_ALL(death_with_heirs),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
