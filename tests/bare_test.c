/* SPDX-License-Identifier: MIT
 *
 * The raw form of connected sockets, against plain C over the same system calls: bytes and packets arrive as they are, an end
 * is an end, and a reset is a death. Against other programs: socat_test.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
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
        assert_int_equal(thirl_recv(end, buffer, 0, &size, LONG), 0); /* no room for any */
        assert_int_equal(size, 0);
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
        struct thirl_want want = {.end = end, .fd = -1, .wanted = THIRL_WANT_ROOM};
        assert_int_equal(thirl_send(end, "lost", 4, LONG), 0);
        (void)usleep(50000);
        assert_true(thirl_wait(&want, 1, LONG) >= 0); /* it looks at what the socket has to say first */
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

/* An empty packet is no end while others are behind it, not even when the peer has left. */
static void empty_packets_are_no_end(void **state) {
    bare_use(state);
    static const enum thirl_role roles[] = {THIRL_READ, THIRL_PAIR};
    size_t size;
    for (int i = 0; i < 4; i++) {
        thirl *end = peer_open(roles[i % 2]);
        int fd = bare_call();
        assert_true(send(fd, "", 0, 0) == 0 && send(fd, "abc", 3, 0) == 3);
        if (i < 2) {
            (void)close(fd);
        }
        if (i % 2 != 0) {
            assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), 0);
            assert_int_equal(size, 0);
        } else { /* to who reads bytes it is nothing */
            assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
            assert_true(size == 1 && buffer[0] == 'a');
        }
        assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), 0);
        assert_int_equal(size, i % 2 != 0 ? 3 : 2);
        assert_int_equal(thirl_recv(end, buffer, 9, &size, THIRL_NOW), i >= 2       ? -EAGAIN
                                                                       : i % 2 != 0 ? -THIRL_ECLOSED
                                                                                    : THIRL_END);
        if (i >= 2) {
            (void)close(fd);
        }
        assert_true(thirl_close(&end, LONG) >= 0);
    }
}

/* What does not fit stays whole; what is larger than any may be is said. */
static void packets_of_all_sizes(void **state) {
    bare_use(state);
    size_t size;
    bare_fill();
    thirl *end = peer_open(THIRL_PAIR);
    int fd = bare_call();
    for (int i = 0; i < 3; i++) {
        assert_true(send(fd, bulk + i, 5000, 0) == 5000);
        assert_int_equal(thirl_recv(end, buffer,
                                    i == 0   ? BULK
                                    : i == 1 ? 100
                                             : 0,
                                    &size, LONG),
                         i == 0 ? 0 : -EMSGSIZE);
        assert_int_equal(size, 5000);
        assert_int_equal(i == 0 ? 0 : thirl_recv(end, buffer, BULK, &size, LONG), 0);
        assert_int_equal(size, 5000);
        assert_memory_equal(buffer, bulk + i, 5000);
    }
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 0);
    (void)strncat(peer_address, "&max=1000", sizeof(peer_address) - strlen(peer_address) - 1);
    end = peer_open(THIRL_PAIR);
    fd = bare_call();
    assert_true(send(fd, bulk, 5000, 0) == 5000);
    assert_int_equal(thirl_recv(end, buffer, BULK, &size, LONG), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "see ?max="));
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static thirl *given_one(int pair[2], enum thirl_role role, const char *query) {
    char address[80];
    thirl *end = NULL;
    assert_int_equal(socketpair(AF_UNIX, bare_kind->type | SOCK_CLOEXEC, 0, pair), 0);
    (void)snprintf(address, sizeof(address), "fd://%d?raw%s", pair[0], query);
    assert_int_equal(thirl_open(&end, role, address, NULL), 0);
    return end;
}

/* Somebody else who has the socket, too, changes what it can; and its other side may take no descriptors. */
static void sockets_that_take_less(void **state) {
    bare_use(state);
    bool packets = bare_kind->type == SOCK_SEQPACKET;
    int pair[2], small = 1, none = 0;
    thirl_msg *msg = NULL;
    size_t size;
    thirl *end = given_one(pair, THIRL_PAIR, "&descriptors=1");
    assert_int_equal(thirl_loan(end, &msg, 0, LONG), 0);
    assert_int_equal(thirl_msg_attach(msg, pair[1]), 0);
    assert_int_equal(thirl_put(end, &msg, LONG), -EINVAL);
    assert_non_null(strstr(thirl_why(), packets ? "empty packet" : "a byte at least"));
    if (setsockopt(pair[1], SOL_SOCKET, 83, &none, sizeof(none)) == 0) { /* SO_PASSRIGHTS, since Linux 6.16 */
        assert_int_equal(thirl_loan(end, &msg, 1, LONG), 0);
        assert_int_equal(thirl_msg_attach(msg, pair[1]), 0);
        assert_int_equal(thirl_put(end, &msg, LONG), -EOPNOTSUPP);
        assert_non_null(strstr(thirl_why(), "SO_PASSRIGHTS"));
    }
    (void)close(pair[1]);
    assert_true(thirl_recv(end, buffer, 9, &size, LONG) != 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    if (packets) {
        char address[40];
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        int other = dup(pair[0]);
        (void)snprintf(address, sizeof(address), "fd://%d?raw", pair[0]);
        assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
        assert_int_equal(setsockopt(other, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
        assert_int_equal(thirl_send(end, bulk, 20000, LONG), -EMSGSIZE);
        assert_non_null(strstr(thirl_why(), "raise ?queue="));
        (void)close(other);
        (void)close(pair[1]);
        assert_int_equal(thirl_close(&end, LONG), 0);
    }
}

static void send_descriptors(int fd, const char *text, size_t size, int count) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * 2)];
    } room = {
        .head = {.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {(void *)(uintptr_t)text, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = room.bytes,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count)};
    const int all[2] = {fd, fd};
    memcpy(CMSG_DATA(&room.head), all, sizeof(int) * (size_t)count);
    assert_int_equal(sendmsg(fd, &message, 0), size);
}

/* This process may have no more open: what came with them is lost with a sentence, the next message comes. */
static void no_room_for_descriptors(void **state) {
    bare_use(state);
    int pair[2];
    size_t size;
    struct rlimit usual, tight;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    thirl *end = given_one(pair, THIRL_PAIR, "&descriptors=2");
    int next = dup(0);
    (void)close(next);
    tight = (struct rlimit){(rlim_t)next, usual.rlim_max};
    send_descriptors(pair[1], "lost", 4, 2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int rc = thirl_recv(end, buffer, 9, &size, LONG);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(rc, -EMFILE);
    assert_non_null(strstr(thirl_why(), "RLIMIT_NOFILE"));
    assert_true(send(pair[1], "on", 2, 0) == 2);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), 0);
    assert_int_equal(size, 2);
    (void)close(pair[1]);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* A given socket may say of each message who sent it: that is not asked for, and takes no room from what is. */
static void credentials_take_no_room(void **state) {
    bare_use(state);
    int pair[2], yes = 1;
    thirl_msg *msg = NULL;
    size_t size;
    thirl *end = NULL;
    char address[40];
    assert_int_equal(socketpair(AF_UNIX, bare_kind->type | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)), 0);
    (void)snprintf(address, sizeof(address), "fd://%d?raw&descriptors=1", pair[0]);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
    assert_true(send(pair[1], "none", 4, 0) == 4);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), 0);
    assert_int_equal(size, 4);
    send_descriptors(pair[1], "one", 3, 1);
    assert_int_equal(thirl_take(end, &msg, LONG), 0);
    assert_int_equal(thirl_msg_descriptors(msg), 1);
    thirl_free(&msg);
    send_descriptors(pair[1], "many", 4, 2);
    assert_int_equal(thirl_take(end, &msg, LONG), -EMFILE);
    assert_non_null(strstr(thirl_why(), "?descriptors="));
    (void)close(pair[1]);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* Nor are they taken for descriptors, when somebody else who has the socket asks for them again. */
    assert_int_equal(socketpair(AF_UNIX, bare_kind->type | SOCK_CLOEXEC, 0, pair), 0);
    int other = dup(pair[0]);
    (void)snprintf(address, sizeof(address), "fd://%d?raw&descriptors=4", pair[0]);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
    assert_int_equal(setsockopt(other, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)), 0);
    assert_true(send(pair[1], "none", 4, 0) == 4);
    assert_int_equal(thirl_take(end, &msg, LONG), 0);
    assert_int_equal(thirl_msg_descriptors(msg), 0);
    thirl_free(&msg);
    (void)close(other);
    (void)close(pair[1]);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* Who only writes does not leave with bytes unread, which would undo what he has sent; but he does not read for ever. */
static void who_writes_hears_nothing(void **state) {
    bare_use(state);
    for (int i = 0; i < 2; i++) {
        int pair[2], large = 4 << 20;
        size_t spoken = 0;
        thirl *end = given_one(pair, THIRL_WRITE, "");
        (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));
        assert_int_equal(thirl_send(end, "all", 3, LONG), 0);
        for (ssize_t went = 1; went > 0 && spoken<(i == 0 ? 3000 : 3 << 20); spoken += went> 0 ? (size_t)went : 0) {
            went = send(pair[1], bulk, 3000, MSG_DONTWAIT);
        }
        assert_int_equal(thirl_close(&end, LONG), 0);
        assert_int_equal(recv(pair[1], buffer, 9, 0), 3);
        if (i == 0) {
            assert_int_equal(recv(pair[1], buffer, 9, 0), 0);
        } else if (spoken > 2 << 20) {
            assert_int_equal(recv(pair[1], buffer, 9, 0), -1);
            assert_int_equal(errno, ECONNRESET);
        }
        (void)close(pair[1]);
    }
}

static void *close_at_leisure(void *end) {
    return (void *)(intptr_t)thirl_close(end, LONG);
}

/* While what was sent is on its way out, nothing follows it. */
static void sends_nothing_behind_the_end(void **state) {
    bare_use(state);
    thirl *end = peer_open(THIRL_WRITE), *mine = end;
    int fd = bare_call(), rc;
    pthread_t thread;
    void *result = NULL;
    ssize_t got;
    (void)!thirl_send(end, bulk, BULK, thirl_in_ms(50));
    while ((rc = thirl_send(end, bulk, 70000, THIRL_NOW)) == 0) {}
    assert_int_equal(rc, -EAGAIN);
    assert_int_equal(pthread_create(&thread, NULL, close_at_leisure, &mine), 0);
    while ((rc = thirl_send(end, "x", 1, THIRL_NOW)) == -EAGAIN) {
        (void)usleep(500);
    }
    assert_int_equal(rc, -THIRL_ECLOSED);
    do {
        got = recv(fd, buffer, BULK, 0);
    } while (got > 0);
    assert_int_equal(got, 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    (void)close(fd);
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
        ALL(boundaries),
        ALL(half_closed),
        ALL(resets),
        ALL(handed_on),
        ALL(third),
        ALL(both_raw),
        UNIX(descriptors),
        UNIX(given),
        ALL(killed_anywhere),
        ON(empty_packets_are_no_end, "seqpacket", 1),
        ON(packets_of_all_sizes, "seqpacket", 1),
        UNIX(sockets_that_take_less),
        UNIX(no_room_for_descriptors),
        UNIX(credentials_take_no_room),
        ON(who_writes_hears_nothing, "stream", 0),
        ON(sends_nothing_behind_the_end, "tcp", 2),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
