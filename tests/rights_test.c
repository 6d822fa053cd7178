/* SPDX-License-Identifier: MIT
 *
 * Descriptors that travel with messages over unix://: they arrive with theirs, in order, and none is left open; who takes
 * none is not given any; and what a hostile or dying peer does with them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mech/rights.h"
#include "tests/peer.h"
#include "wire/frame.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define COUNT 240u
#define TAKES 4u

static const char *const taking[2] = {"unix://%s/s?descriptors=4", "unix://%s/s?type=seqpacket&descriptors=4"};
static const char *const refusing[2] = {"unix://%s/s", "unix://%s/s?type=seqpacket"};
static unsigned kind;
static unsigned char buffer[1 << 20], again[1 << 20];

#define BOTH(test)                                                                                                     \
    {#test " stream", test, NULL, NULL, (void *)(uintptr_t)0}, {                                                       \
#test " seqpacket", test, NULL, NULL, (void *)(uintptr_t)1                                                     \
    }

static void use(const char *const kinds[2], void **state) {
    kind = *state == NULL ? 0 : 1;
    peer_use(kinds[kind]);
}

static unsigned open_now(void) {
    unsigned count = 0;
    DIR *list = opendir("/proc/self/fd");
    assert_non_null(list);
    while (readdir(list) != NULL) {
        count++;
    }
    (void)closedir(list);
    return count;
}

static size_t size_of(unsigned i) {
    static const size_t sizes[] = {1, 0, 64, 3000, 20000, 90000, 8, 8184, 8192, 17, 300000, 5};
    size_t size = sizes[i % 12];
    return kind == 1 && size > 90000 ? 90000 : size;
}

/* Message i carries so many, each a memfd with the number of both in it. */
static unsigned count_of(unsigned i) {
    return i % 3 == 1 ? 0 : 1 + i % TAKES;
}

static int numbered(unsigned i, unsigned which) {
    uint32_t numbers[2] = {i, which};
    int fd = memfd_create("thirl-test", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, numbers, sizeof(numbers)) == sizeof(numbers));
    return fd;
}

static int put_numbered(thirl *end, unsigned i, unsigned count, size_t size, thirl_time until) {
    thirl_msg *msg = NULL;
    ok(thirl_loan(end, &msg, size, LONG));
    memset(thirl_msg_data(msg), (int)i, size);
    for (unsigned k = 0; k < count; k++) {
        int fd = numbered(i, k);
        ok(thirl_msg_attach(msg, fd));
        (void)close(fd);
    }
    must(thirl_msg_descriptors(msg) == count);
    return thirl_put(end, &msg, until);
}

static void send_numbered(void) {
    thirl *end = peer_open(THIRL_PAIR);
    for (unsigned i = 0; i < COUNT; i++) {
        int rc = put_numbered(end, i, count_of(i), size_of(i), i % 5 == 3 ? thirl_in_ns(300000) : LONG);
        must(rc == 0 || rc == -ETIMEDOUT || rc == -EAGAIN); /* a deadline in the midst must not part them */
        i -= rc != 0;
    }
    must(thirl_close(&end, LONG) == 0);
}

static void check_numbered(thirl_msg *msg, unsigned i) {
    assert_int_equal(thirl_msg_size(msg), size_of(i));
    assert_int_equal(thirl_msg_number(msg), i);
    memset(buffer, (int)i, size_of(i));
    assert_memory_equal(thirl_msg_data(msg), buffer, size_of(i));
    assert_int_equal(thirl_msg_descriptors(msg), count_of(i));
    for (unsigned k = 0; k < count_of(i); k++) {
        uint32_t numbers[2] = {0};
        if (i % 7 == 0) {
            continue; /* thirl_free closes them */
        }
        int fd = thirl_msg_detach(msg, k);
        assert_true(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        assert_int_equal(pread(fd, numbers, sizeof(numbers), 0), sizeof(numbers));
        assert_int_equal(numbers[0], i);
        assert_int_equal(numbers[1], k);
        (void)close(fd);
        assert_int_equal(thirl_msg_detach(msg, k), -ENOENT);
    }
    assert_int_equal(thirl_msg_detach(msg, count_of(i)), -ENOENT);
}

/* Small and large messages, with descriptors and without, taken and received: each gets its own, and none stays open. */
static void in_order(void **state) {
    use(taking, state);
    unsigned before = open_now();
    thirl *end = peer_open(THIRL_PAIR);
    pid_t pid = peer_start(send_numbered);
    for (unsigned i = 0; i < COUNT; i++) {
        thirl_msg *msg = NULL;
        size_t size;
        if (i % 11 == 5) {
            assert_int_equal(thirl_recv(end, again, 0, &size, LONG), size_of(i) == 0 ? 0 : -EMSGSIZE);
        }
        if (i % 11 == 5 && size_of(i) == 0) {
            continue;
        }
        if (i % 11 == 8) {
            assert_int_equal(thirl_recv(end, again, sizeof(again), &size, LONG), 0);
            assert_int_equal(size, size_of(i));
            continue;
        }
        if (i % 50 == 0) {
            (void)usleep(10000);
        }
        assert_int_equal(thirl_take(end, &msg, LONG), 0);
        check_numbered(msg, i);
        thirl_free(&msg);
    }
    size_t size;
    assert_int_equal(thirl_recv(end, again, 1, &size, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    assert_int_equal(open_now(), before);
}

static void hand_three(void) {
    thirl *end = peer_open(THIRL_PAIR);
    thirl_msg *msg = NULL;
    int memory = numbered(7, 7), event = eventfd(5, EFD_CLOEXEC), self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    ok(thirl_loan(end, &msg, 0, LONG));
    ok(thirl_msg_attach(msg, memory));
    ok(thirl_msg_attach(msg, event));
    ok(thirl_msg_attach(msg, self));
    must(thirl_msg_attach(msg, -1) == -EBADF);
    ok(thirl_put(end, &msg, LONG));
    char byte;
    size_t size;
    must(thirl_recv(end, &byte, 1, &size, LONG) == -THIRL_ECLOSED);
    eventfd_t value;
    must(eventfd_read(event, &value) == 0 && value == 11); /* the other process wrote there too */
    must(thirl_close(&end, LONG) == 0);
}

/* Memory, an event and a process: what arrives is the very thing. */
static void kinds_of_things(void **state) {
    use(taking, state);
    thirl *end = peer_open(THIRL_PAIR);
    pid_t pid = peer_start(hand_three);
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_take(end, &msg, LONG), 0);
    assert_int_equal(thirl_msg_descriptors(msg), 3);
    uint32_t numbers[2];
    assert_int_equal(pread(thirl_msg_detach(msg, 0), numbers, sizeof(numbers), 0), sizeof(numbers));
    int event = thirl_msg_detach(msg, 1), process = thirl_msg_detach(msg, 2), peer = thirl_peer_pidfd(end);
    thirl_free(&msg);
    assert_int_equal(eventfd_write(event, 6), 0);
    assert_true(peer >= 0 && (fcntl(peer, F_GETFD) & FD_CLOEXEC) != 0);
    struct pollfd lives[2] = {{.fd = process, .events = POLLIN}, {.fd = peer, .events = POLLIN}};
    assert_int_equal(poll(lives, 2, 0), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_int_equal(poll(lives, 1, 8000), 1);
    assert_int_equal(poll(lives + 1, 1, 8000), 1);
    peer_reap(pid);
    (void)close(event);
    (void)close(process);
    (void)close(peer);
}

static void offer_in_vain(void) {
    thirl *end = peer_open(THIRL_PAIR);
    struct thirl_limits limits = {.size = sizeof(limits)};
    thirl_msg *msg = NULL;
    char byte;
    size_t size;
    ok(thirl_recv(end, &byte, 1, &size, LONG));
    ok(thirl_limits(end, &limits));
    must(limits.descriptors == (byte == 'f' ? 1 : 0));
    if (limits.descriptors != 0) {
        must(put_numbered(end, 1, TAKES + 1, 10, LONG) == -EOPNOTSUPP);
        must(strstr(thirl_why(), "?descriptors=5") != NULL);
    }
    ok(thirl_loan(end, &msg, 1, LONG));
    must(thirl_msg_attach(msg, 0) == (limits.descriptors ? 0 : -EOPNOTSUPP));
    thirl_free(&msg);
    ok(thirl_send(end, "z", 1, LONG));
    must(thirl_close(&end, LONG) == 0);
}

static thirl_msg *attached_early(thirl *end) {
    thirl_msg *msg = NULL;
    int fd = numbered(1, 1);
    assert_int_equal(thirl_loan(end, &msg, 1, thirl_in_ms(10)), 0);
    assert_int_equal(thirl_msg_attach(msg, fd), 0); /* nobody knows yet who will come */
    (void)close(fd);
    return msg;
}

/* More than the receiver takes, or any for one who takes none: the sender is told, and what follows passes. */
static void refused(void **state) {
    for (int some = 0; some < 2; some++) {
        use(some ? taking : refusing, state);
        thirl *end = peer_open(THIRL_PAIR);
        unsigned before = open_now();
        thirl_msg *early = attached_early(end);
        peer_use(refusing[kind]);
        pid_t pid = peer_start(offer_in_vain);
        size_t size;
        char byte = some ? 'f' : 'n';
        assert_int_equal(thirl_put(end, &early, LONG), -EOPNOTSUPP);
        assert_non_null(strstr(thirl_why(), "?descriptors=1"));
        assert_int_equal(thirl_send(end, &byte, 1, LONG), 0);
        assert_int_equal(thirl_recv(end, &byte, 1, &size, LONG), 0);
        assert_int_equal(byte, 'z');
        assert_true(open_now() < before + 4); /* the connection's own */
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
    }
}

static void unsupported(void **state) {
    thirl *end = NULL;
    use(taking, state);
    assert_int_equal(thirl_open(&end, THIRL_READ, peer_address, NULL), -EOPNOTSUPP);
    assert_non_null(strstr(thirl_why(), "byte stream"));
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "shm://rights?descriptors=1", NULL), -EOPNOTSUPP);
    assert_non_null(strstr(thirl_why(), "unix://"));
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "shm://rights", NULL), 0);
    assert_int_equal(thirl_peer_pidfd(end), -EOPNOTSUPP);
    assert_int_equal(thirl_close(&end, LONG), 0);
    use(refusing, state);
    end = peer_open(THIRL_WRITE);
    struct thirl_limits limits = {.size = sizeof(limits)};
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.descriptors, 0);
    assert_int_equal(thirl_peer_pidfd(end), -ENOTCONN);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* ---- peers that do not keep to it ---- */

static int join(thirl *end) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    unsigned char wire[FRAME_HELLO];
    const struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 100000};
    size_t size;
    int fd = socket(AF_UNIX, kind == 1 ? SOCK_SEQPACKET : SOCK_STREAM, 0);
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", peer_path);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    frame_write_hello(wire, &hello);
    assert_true(send(fd, wire, sizeof(wire), 0) == sizeof(wire));
    assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
    assert_true(recv(fd, wire, sizeof(wire), 0) == sizeof(wire));
    return fd;
}

static ssize_t send_rights(int fd, const void *data, size_t size, unsigned count) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * 64)];
    } room = {0};
    struct iovec part = {(void *)(uintptr_t)data, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = room.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        room.head.cmsg_level = SOL_SOCKET;
        room.head.cmsg_type = SCM_RIGHTS;
        room.head.cmsg_len = CMSG_LEN(sizeof(int) * count);
        memset(CMSG_DATA(&room.head), 0, sizeof(int) * count); /* standard input, so many times */
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* A frame of `size` bytes that says it is of that type, on a stream; as a packet, marked unless it is plain data. */
static ssize_t send_frame(int fd, uint8_t type, uint32_t size, uint16_t number, unsigned count) {
    unsigned char wire[FRAME_MARK + 64] = {0};
    const struct frame_head head = {.size = size, .number = number, .type = type};
    frame_write_mark(wire, &head);
    return kind == 1 ? send_rights(fd, wire, FRAME_MARK + size, count)
                     : send_rights(fd, wire + FRAME_HEAD, FRAME_HEAD + size, count);
}

/* Packets larger than a mark have to be announced. */
static void announce(int fd) {
    unsigned char wire[FRAME_MARK];
    const struct frame_head room = {.size = 100, .type = FRAME_ROOM};
    frame_write_mark(wire, &room);
    assert_true(kind == 0 || send(fd, wire, FRAME_MARK, 0) == FRAME_MARK);
}

static void must_break(thirl *end, int fd, const char *why) {
    size_t size;
    int rc = 0;
    for (int i = 0; rc == 0 && i < 8; i++) {
        rc = thirl_recv(end, buffer, sizeof(buffer), &size, LONG);
    }
    assert_int_equal(rc, -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), why));
    assert_int_equal(thirl_send(end, buffer, 1, LONG), -THIRL_EFORMAT);
    (void)close(fd);
}

static void liars(void **state) {
    use(taking, state);
    thirl *end = peer_open(THIRL_PAIR);
    unsigned before = open_now();
    size_t size;
    int fd = join(end); /* more than this end said it takes */
    assert_true(send_frame(fd, kind == 1 ? FRAME_DATA : FRAME_NOTED, 0, 0, TAKES + 1) > 0);
    must_break(end, fd, "?descriptors=");
    fd = join(end); /* announced, and none came */
    assert_true(send_frame(fd, FRAME_NOTED, 0, 0, 0) > 0);
    must_break(end, fd, "descriptors");
    fd = join(end); /* with a goodbye */
    assert_true(send_frame(fd, FRAME_BYE, 0, 0, 2) > 0);
    if (kind == 1) {
        must_break(end, fd, "without a message");
    } else {
        assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), -THIRL_ECLOSED);
        (void)close(fd);
        assert_int_equal(thirl_close(&end, LONG), 0);
        end = peer_open(THIRL_PAIR);
        assert_true(send_frame(fd = join(end), FRAME_DATA, 3, 0, 1) > 0); /* with a message that is none of theirs */
        must_break(end, fd, "without a message");
        fd = join(end); /* with each byte of a large message */
        const struct frame_head head = {.size = 64, .type = FRAME_NOTED};
        unsigned char wire[FRAME_HEAD];
        frame_write_head(wire, &head);
        for (int i = 0; i < 5; i++) {
            (void)send_rights(fd, wire + i, 1, TAKES); /* it is cut off at some point */
            (void)!thirl_recv(end, buffer, 1, &size, THIRL_NOW);
        }
        assert_int_equal(thirl_send(end, buffer, 1, LONG), -THIRL_EFORMAT);
        (void)close(fd);
        (void)!thirl_recv(end, buffer, 1, &size, THIRL_NOW);
    }
    assert_int_equal(open_now(), before);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* The sockets of this end, whatever the library has made of them: as kernels before SO_PASSRIGHTS have them. */
static void let_pass(void) {
    const int yes = 1;
    for (int fd = 3; fd < 64; fd++) {
        (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &yes, sizeof(yes));
    }
}

/* To an end that takes none: the kernel lets the sender fail; where it cannot, they are closed before anybody sees them. */
static void uninvited(void **state) {
    use(refusing, state);
    thirl *end = peer_open(THIRL_PAIR);
    size_t size;
    int fd = join(end), value = 0;
    bool guarded = getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &value, &(socklen_t){sizeof(value)}) == 0;
    unsigned before = open_now();
    announce(fd);
    if (guarded) {
        assert_int_equal(send_frame(fd, FRAME_DATA, 3, 0, 2), -1);
        assert_int_equal(errno, EPERM);
    }
    let_pass();
    for (uint16_t i = 0; i < 20; i++) {
        assert_true(send_frame(fd, FRAME_DATA, 3, i, 2) > 0);
        assert_int_equal(thirl_recv(end, buffer, i % 2 ? 3 : sizeof(buffer), &size, LONG), 0);
        assert_int_equal(size, 3);
    }
    assert_int_equal(open_now(), before);
    assert_true(send_frame(fd, FRAME_NOTED, 3, 20, 2) > 0);
    must_break(end, fd, "takes none");
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* This process may have no more open: the message is lost with a sentence, the next one comes. */
static void no_room(void **state) {
    use(taking, state);
    struct rlimit usual, tight;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    thirl *end = peer_open(THIRL_PAIR);
    int fd = join(end), next = dup(0);
    size_t size;
    unsigned before = open_now();
    (void)close(next);
    tight = (struct rlimit){(rlim_t)next + 1, usual.rlim_max};
    announce(fd);
    assert_true(send_frame(fd, kind == 1 ? FRAME_DATA : FRAME_NOTED, 3, 0, 3) > 0);
    assert_true(send_frame(fd, kind == 1 ? FRAME_DATA : FRAME_NOTED, 5, 1, 1) > 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int rc = thirl_recv(end, buffer, sizeof(buffer), &size, LONG);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(rc, -EMFILE);
    assert_non_null(strstr(thirl_why(), "RLIMIT_NOFILE"));
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_take(end, &msg, LONG), 0);
    assert_int_equal(thirl_msg_size(msg), 5);
    assert_int_equal(thirl_msg_descriptors(msg), 1);
    thirl_free(&msg);
    assert_int_equal(open_now(), before - 1);
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void send_some_and_stop(void) {
    thirl *end = peer_open(THIRL_PAIR);
    for (unsigned i = 0; i < 20; i++) {
        must(put_numbered(end, i, count_of(i), size_of(i) % 3000, LONG) == 0);
    }
    (void)raise(SIGSTOP);
}

static void die_half_way(void) {
    thirl *end = peer_open(THIRL_PAIR);
    (void)put_numbered(end, 0, 2, 1u << 20, LONG);
    _exit(1);
}

/* What a dead peer had sent comes with its descriptors, or is closed with the end; half a message is nothing. */
static void deaths(void **state) {
    use(taking, state);
    for (int reads = 0; reads < 2; reads++) {
        unsigned before = open_now();
        thirl *end = peer_open(THIRL_PAIR);
        size_t size;
        pid_t pid = peer_start(send_some_and_stop);
        assert_int_equal(thirl_recv(end, again, sizeof(again), &size, LONG), 0);
        assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
        peer_slay(pid);
        assert_int_equal(thirl_send(end, again, 1, LONG), -THIRL_EPEERDIED);
        for (unsigned i = 1; reads && i < 20; i++) {
            thirl_msg *msg = NULL;
            uint32_t numbers[2] = {0};
            assert_int_equal(thirl_take(end, &msg, LONG), 0);
            assert_int_equal(thirl_msg_descriptors(msg), count_of(i));
            if (count_of(i) > 0) {
                int fd = thirl_msg_detach(msg, 0);
                assert_int_equal(pread(fd, numbers, sizeof(numbers), 0), sizeof(numbers));
                assert_int_equal(numbers[0], i);
                (void)close(fd);
            }
            thirl_free(&msg);
        }
        if (reads) {
            assert_int_equal(thirl_recv(end, again, 1, &size, LONG), -THIRL_EPEERDIED);
        }
        assert_int_equal(thirl_close(&end, LONG), 0);
        assert_int_equal(open_now(), before);
    }
    if (kind == 0) {
        unsigned before = open_now();
        thirl *end = peer_open(THIRL_PAIR);
        size_t size;
        (void)setenv("THIRL_WEAVE_AT", "link.noted.after:1:kill", 1);
        pid_t pid = peer_start(die_half_way);
        (void)unsetenv("THIRL_WEAVE_AT");
        assert_int_equal(thirl_recv(end, again, sizeof(again), &size, LONG), -THIRL_EPEERDIED);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(thirl_close(&end, LONG), 0);
        assert_int_equal(open_now(), before);
    }
}

/* Over a pair of sockets that the process was given, and from both of its ends. */
static void over_a_pair(void **state) {
    kind = *state == NULL ? 0 : 1;
    int pair[2], event = eventfd(0, EFD_CLOEXEC);
    thirl *end[2] = {NULL, NULL};
    assert_int_equal(socketpair(AF_UNIX, (kind == 1 ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, pair), 0);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(peer_address, sizeof(peer_address), "fd://%d?descriptors=%d", pair[i], i + 1);
        assert_int_equal(thirl_open(&end[i], THIRL_PAIR, peer_address, NULL), 0);
    }
    size_t size;
    (void)!thirl_recv(end[0], buffer, 1, &size, THIRL_NOW); /* both have to be heard */
    for (int i = 0; i < 2; i++) {
        thirl_msg *msg = NULL;
        assert_int_equal(thirl_loan(end[i], &msg, 7, LONG), 0);
        assert_int_equal(thirl_msg_attach(msg, event), 0);
        assert_int_equal(thirl_put(end[i], &msg, LONG), 0);
        assert_int_equal(thirl_take(end[1 - i], &msg, LONG), 0);
        assert_int_equal(thirl_msg_descriptors(msg), 1);
        int fd = thirl_msg_detach(msg, 0);
        assert_int_equal(eventfd_write(fd, 1), 0);
        (void)close(fd);
        thirl_free(&msg);
    }
    eventfd_t value = 0;
    assert_true(eventfd_read(event, &value) == 0 && value == 2);
    assert_int_equal(thirl_close(&end[0], LONG), 0);
    assert_int_equal(thirl_close(&end[1], LONG), 0);
    (void)close(event);
}

/* What has come waits in line, however some are taken while others come. */
static void they_stand_in_line(void **state) {
    struct rights_line line = {0};
    struct rights came = {.count = 1}, next;
    int in = 0, out = 0;
    (void)state;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 1 + round % 5; i++) {
            came.descriptor[0] = 1000 + in++;
            assert_int_equal(rights_queue(&line, &came), 0);
        }
        for (int i = 0; i < 1 + round % 3 && rights_next(&line, &next); i++) {
            assert_int_equal(next.descriptor[0], 1000 + out++);
        }
    }
    while (rights_next(&line, &next)) {
        assert_int_equal(next.descriptor[0], 1000 + out++);
    }
    assert_int_equal(in, out);
    rights_free(&line);
}

/* What a process opens once, it opens before anything is counted. */
static int set_up(void **state) {
    thirl *end = NULL;
    int rc = peer_setup(state);
    rc = rc != 0 ? rc : thirl_open(&end, THIRL_PAIR, "unix://@thirl-rights-test", NULL);
    return rc != 0 ? rc : thirl_close(&end, THIRL_NOW);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        BOTH(in_order),  BOTH(kinds_of_things), BOTH(refused), BOTH(unsupported), BOTH(liars),
        BOTH(uninvited), BOTH(no_room),         BOTH(deaths),  BOTH(over_a_pair), cmocka_unit_test(they_stand_in_line),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, set_up, peer_teardown);
}
