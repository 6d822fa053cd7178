/* SPDX-License-Identifier: MIT
 *
 * The raw form of connected sockets, against plain C over the same system calls: bytes and packets arrive as they are, an end
 * is an end, and a reset is a death. Against other programs: socat_test.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/bare.h"

static void boundaries(void **state) {
    bare_use(state);
    bool packets = bare_kind->type == SOCK_SEQPACKET;
    thirl *end = peer_open(THIRL_PAIR);
    int fd = bare_call();
    struct thirl_limits limits = {.size = sizeof(limits)};
    size_t size;
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.boundaries, packets);
    assert_int_equal(limits.raw, 1);
    bare_fill();
    assert_true(send(fd, bulk, 5, 0) == 5 && send(fd, bulk + 5, 70000, 0) == 70000);
    if (!packets) {
        for (size_t have = 0; have < 70005; have += size) {
            assert_int_equal(thirl_recv(end, buffer + have, have < 3 ? 3 : BULK - have, &size, LONG), 0);
        }
        assert_memory_equal(buffer, bulk, 70005);
    } else {
        thirl_msg *msg = NULL;
        assert_int_equal(thirl_recv(end, buffer, 4, &size, LONG), -EMSGSIZE);
        assert_int_equal(size, 5);
        assert_int_equal(thirl_recv(end, buffer, 5, &size, THIRL_NOW), 0);
        assert_memory_equal(buffer, bulk, 5);
        assert_int_equal(thirl_take(end, &msg, LONG), 0);
        assert_int_equal(thirl_msg_size(msg), 70000);
        assert_memory_equal(thirl_msg_data(msg), bulk + 5, 70000);
        thirl_free(&msg);
        assert_true(send(fd, "", 0, 0) == 0 && send(fd, "ab", 2, 0) == 2);
        assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), 0);
        assert_int_equal(size, 0);
        assert_int_equal(thirl_recv(end, buffer, 0, &size, LONG), -EMSGSIZE);
        assert_int_equal(thirl_recv(end, buffer, 2, &size, LONG), 0);
        assert_int_equal(thirl_send(end, "", 0, LONG), -EINVAL);
        assert_non_null(strstr(thirl_why(), "empty"));
        assert_int_equal(thirl_send(end, bulk, limits.message_max + 1, LONG), -EMSGSIZE);
    }
    assert_int_equal(thirl_send(end, bulk, 100, LONG), 0);
    assert_true(recv(fd, buffer, 1000, 0) == 100);
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* The peer is done with sending, and goes on receiving. */
static void half_closed(void **state) {
    bare_use(state);
    thirl *end = peer_open(THIRL_PAIR);
    int fd = bare_call(), rc = bare_kind->type == SOCK_STREAM ? THIRL_END : -THIRL_ECLOSED;
    size_t size;
    assert_true(send(fd, "last", 4, 0) == 4);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_int_equal(thirl_recv(end, buffer, 4, &size, LONG), 0);
    assert_int_equal(thirl_recv(end, buffer, 4, &size, LONG), rc);
    assert_int_equal(thirl_send(end, "answer", 6, LONG), 0);
    assert_int_equal(recv(fd, buffer, 100, 0), 6);
    (void)close(fd);
    if (bare_kind->family == AF_INET) { /* the other host has to say so first */
        assert_int_equal(thirl_send(end, "lost", 4, LONG), 0);
        (void)usleep(50000);
    }
    assert_int_equal(thirl_send(end, "more", 4, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_recv(end, buffer, 4, &size, LONG), rc);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* A peer that did not take what was sent is dead, once each way; the next one takes its place. */
static void resets(void **state) {
    bare_use(state);
    thirl *end = peer_open(THIRL_PAIR);
    size_t size;
    for (int round = 0; round < 3; round++) {
        int fd = bare_call();
        assert_true(send(fd, "here", 4, 0) == 4);
        assert_int_equal(thirl_send(end, "unread", 6, LONG), 0);
        (void)close(fd);
        if (round != 1) {
            assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0); /* what it had sent comes first */
            assert_int_equal(size, 4);
        } else {
            assert_int_equal(thirl_send(end, "x", 1, LONG), -THIRL_EPEERDIED);
            assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
        }
        assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), -THIRL_EPEERDIED);
        assert_int_equal(round == 1 ? -THIRL_EPEERDIED : thirl_send(end, "x", 1, LONG), -THIRL_EPEERDIED);
        assert_int_equal(thirl_recv(end, buffer, 10, &size, thirl_in_ms(10)), -ETIMEDOUT);
    }
    int fd = bare_call();
    assert_true(send(fd, "here", 4, 0) == 4);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* The process behind the connection ends, and another goes on with it. */
static void handed_on(void **state) {
    bare_use(state);
    thirl *end = peer_open(THIRL_PAIR);
    size_t size;
    pid_t pid = fork();
    if (pid == 0) {
        int fd = bare_call();
        if (fork() != 0) {
            _exit(0);
        }
        (void)usleep(150000);
        must(send(fd, "heir", 4, 0) == 4);
        _exit(0);
    }
    peer_reap(pid);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
    assert_int_equal(size, 4);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* There is one peer at a time; whoever else calls finds the door shut. */
static void third(void **state) {
    bare_use(state);
    thirl *end = peer_open(THIRL_PAIR);
    size_t size;
    int fd = bare_call();
    assert_true(send(fd, "one", 3, 0) == 3);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
    int other = bare_call();
    assert_int_equal(thirl_recv(end, buffer, 10, &size, THIRL_NOW), -EAGAIN);
    assert_int_equal(recv(other, buffer, 10, 0), 0);
    assert_true(send(fd, "two", 3, 0) == 3);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
    (void)close(other);
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* Both ends may be thirl's. A deadline in the midst of bytes says how many went. */
static void both_raw(void **state) {
    bare_use(state);
    thirl *in = peer_open(THIRL_READ), *out = peer_open(THIRL_WRITE);
    size_t size, have = 0;
    bare_fill();
    assert_int_equal(thirl_send(out, bulk, BULK, thirl_in_ms(30)), -ETIMEDOUT);
    const char *said = strstr(thirl_why(), "; ");
    assert_non_null(said);
    size_t went = strtoul(said + 2, NULL, 10);
    assert_true(went > 0 && went < BULK);
    assert_true(thirl_close(&out, THIRL_NOW) >= 0); /* TCP counts what is still in this host as not taken */
    int rc;
    while ((rc = thirl_recv(in, buffer + have, BULK - have, &size, LONG)) == 0) {
        have += size;
    }
    assert_int_equal(rc, THIRL_END);
    assert_int_equal(have, went);
    assert_memory_equal(buffer, bulk, went);
    assert_int_equal(thirl_close(&in, LONG), 0);
}

/* Descriptors to and from a program that uses SCM_RIGHTS by hand; and none where none are wanted. */
static void descriptors(void **state) {
    bare_use(state);
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * 2)];
    } room = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    char letter = 'f';
    struct iovec part = {&letter, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room.bytes, .msg_controllen = CMSG_SPACE(sizeof(int))};
    int memory = memfd_create("thirl-test", MFD_CLOEXEC), value = 0;
    memcpy(CMSG_DATA(&room.head), &memory, sizeof(int));
    thirl *end = peer_open(THIRL_PAIR);
    int fd = bare_call();
    size_t size;
    if (getsockopt(fd, SOL_SOCKET, 83, &value, &(socklen_t){sizeof(value)}) == 0) {
        assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
        assert_int_equal(sendmsg(fd, &message, 0), -1);
        assert_int_equal(errno, EPERM);
    }
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 0);

    (void)strncat(peer_address, "&descriptors=1", sizeof(peer_address) - strlen(peer_address) - 1);
    end = peer_open(THIRL_PAIR);
    fd = bare_call();
    thirl_msg *msg = NULL;
    struct stat one, two;
    assert_int_equal(sendmsg(fd, &message, 0), 1);
    assert_int_equal(thirl_take(end, &msg, LONG), 0);
    assert_int_equal(thirl_msg_descriptors(msg), 1);
    int got = thirl_msg_detach(msg, 0);
    thirl_free(&msg);
    assert_true(fstat(memory, &one) == 0 && fstat(got, &two) == 0 && one.st_ino == two.st_ino);
    assert_int_equal(thirl_loan(end, &msg, 1, LONG), 0);
    assert_int_equal(thirl_msg_attach(msg, got), 0);
    assert_int_equal(thirl_put(end, &msg, LONG), 0);
    (void)close(got);
    assert_int_equal(recvmsg(fd, &message, MSG_CMSG_CLOEXEC), 1);
    memcpy(&got, CMSG_DATA(&room.head), sizeof(int));
    assert_true(fstat(got, &two) == 0 && one.st_ino == two.st_ino);
    int pair[2] = {got, memory}; /* more than it takes: with a sentence, and the next message comes */
    room.head.cmsg_len = CMSG_LEN(sizeof(pair));
    message.msg_controllen = CMSG_SPACE(sizeof(pair));
    memcpy(CMSG_DATA(&room.head), pair, sizeof(pair));
    assert_true(sendmsg(fd, &message, 0) == 1);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), -EMFILE);
    assert_non_null(strstr(thirl_why(), "?descriptors="));
    assert_true(send(fd, "on", 2, 0) == 2);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
    assert_int_equal(size, 2);
    (void)close(got);
    (void)close(memory);
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* A socket that the process was given; nobody has to be met. */
static void given(void **state) {
    bare_use(state);
    int pair[2];
    size_t size;
    thirl *end = NULL;
    assert_int_equal(socketpair(AF_UNIX, bare_kind->type | SOCK_CLOEXEC, 0, pair), 0);
    (void)snprintf(peer_address, sizeof(peer_address), "fd://%d?raw", pair[0]);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, peer_address, NULL), 0);
    assert_true(send(pair[1], "abc", 3, 0) == 3);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
    assert_int_equal(size, 3);
    assert_int_equal(thirl_send(end, "defg", 4, LONG), 0);
    assert_int_equal(recv(pair[1], buffer, 10, 0), 4);
    (void)close(pair[1]);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG),
                     bare_kind->type == SOCK_STREAM ? THIRL_END : -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void write_until_killed(void) {
    thirl *end = peer_open(THIRL_WRITE);
    must(thirl_send(end, bulk, BULK, LONG) == 0);
    must(thirl_close(&end, LONG) == 0);
}

/* Killed on its way: what had gone arrives, and nothing else; without a goodbye that is an end like any other. */
static void killed_anywhere(void **state) {
    static const char *const points[] = {"bare.send.after:1:kill", "bare.send.after:2:kill", "bare.end.before:1:kill",
                                         "bare.end.after:1:kill"};
    bare_use(state);
    bare_fill();
    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
        thirl *end = peer_open(THIRL_READ);
        size_t size, have = 0;
        (void)setenv("THIRL_WEAVE_AT", points[i], 1);
        pid_t pid = peer_start(write_until_killed);
        (void)unsetenv("THIRL_WEAVE_AT");
        int rc, status = 0;
        while ((rc = thirl_recv(end, buffer + have, BULK - have, &size, LONG)) == 0 && have + size < BULK) {
            have += size;
        }
        have += rc == 0 ? size : 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(have == BULK, i >= 2);
        assert_true(have > 0);
        assert_int_equal(i >= 2 ? thirl_recv(end, buffer, 1, &size, LONG) : rc, THIRL_END);
        assert_int_equal(thirl_close(&end, LONG), 0);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        ALL(boundaries), ALL(half_closed),  ALL(resets), ALL(handed_on),       ALL(third),
        ALL(both_raw),   UNIX(descriptors), UNIX(given), ALL(killed_anywhere),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
