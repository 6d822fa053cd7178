/* SPDX-License-Identifier: MIT
 *
 * Sockets, bare. A stream has no boundaries, so a program that sends messages over it sends their lengths too: one sendmsg
 * gathers an 8-byte length and the payload, one recv takes both into one buffer. On packets, where the kernel keeps the
 * boundaries, plain send and recv. A message that is larger than a datagram leaves in as few as can be.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/medium.h"

#define LENGTH 8
#define DATAGRAM 65504 /* of UDP over IPv4, a multiple of 8 */

/* Each call that blocks ends after a slice, and is begun again. */
static int set_slice(struct run *run, int fd) {
    const struct timeval slice = {.tv_usec = MEDIUM_SLICE_NS / 1000};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof slice) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof slice)) {
        return stage_fail(run, STAGE_PING, "SO_RCVTIMEO: %s", strerror(errno));
    }
    return 0;
}

static bool again(void) {
    return errno == EINTR || errno == EAGAIN;
}

static int put_stream(struct run *run, enum stage_side side, const unsigned char *data) {
    uint64_t length = run->size;
    size_t sent = 0;
    while (sent < LENGTH + run->size) {
        size_t skip = sent < LENGTH ? sent : LENGTH, over = sent - skip;
        struct iovec parts[2] = {{(char *)&length + skip, LENGTH - skip},
                                 {(char *)(uintptr_t)data + over, run->size - over}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t went = sendmsg(run->fd[side][1], &message, MSG_NOSIGNAL);
        if (went < 0 && !again()) {
            return stage_fail(run, side, "sendmsg: %s", strerror(errno));
        }
        sent += went > 0 ? (size_t)went : 0;
    }
    return 0;
}

static int get_stream(struct run *run, enum stage_side side, unsigned char *at) {
    for (size_t left = LENGTH + run->size; left > 0;) {
        ssize_t got = recv(run->fd[side][0], at, left, MSG_WAITALL);
        if (got == 0 || (got < 0 && !again())) {
            return stage_fail(run, side, "recv: %s", got == 0 ? "the peer is gone" : strerror(errno));
        }
        left -= got > 0 ? (size_t)got : 0;
        at += got > 0 ? got : 0;
    }
    return 0;
}

static int put_packet(struct run *run, enum stage_side side, const unsigned char *data) {
    size_t most = run->packet ? run->packet : run->size;
    for (size_t at = 0; at < run->size; at += most) {
        size_t size = run->size - at < most ? run->size - at : most;
        while (send(run->fd[side][1], data + at, size, MSG_NOSIGNAL) < 0) {
            if (!again()) {
                return stage_fail(run, side, "send: %s", strerror(errno));
            }
        }
    }
    return 0;
}

static int get_packet(struct run *run, enum stage_side side, unsigned char *at) {
    for (size_t left = run->size; left > 0;) {
        ssize_t got = recv(run->fd[side][0], at, left, 0);
        if (got == 0 || (got < 0 && !again())) {
            return stage_fail(run, side, "recv: %s", got == 0 ? "the peer is gone" : strerror(errno));
        }
        left -= got > 0 ? (size_t)got : 0;
        at += got > 0 ? got : 0;
    }
    return 0;
}

static int set_room(struct run *run, int fd, int name, int forced) {
    int bytes = (int)run->ring;
    if (bytes != 0 && setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) &&
        setsockopt(fd, SOL_SOCKET, name, &bytes, sizeof bytes)) {
        return stage_fail(run, STAGE_PING, "SO_SNDBUF: %s", strerror(errno));
    }
    return 0;
}

static int make_pair(struct run *run, int type) {
    int pair[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair)) {
        return stage_fail(run, STAGE_PING, "socketpair: %s", strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        run->fd[i][0] = run->fd[i][1] = pair[i];
    }
    bool bad = false;
    for (int i = 0; i < 2; i++) {
        bad = bad || set_room(run, pair[i], SO_SNDBUF, SO_SNDBUFFORCE) || set_slice(run, pair[i]);
    }
    return bad ? -1 : 0;
}

static int make_stream(struct run *run) {
    return make_pair(run, SOCK_STREAM);
}

static int make_seqpacket(struct run *run) {
    return make_pair(run, SOCK_SEQPACKET);
}

static int make_datagram(struct run *run) {
    return make_pair(run, SOCK_DGRAM);
}

static int loopback(struct run *run, int family, int type, struct sockaddr_storage *at, socklen_t *length) {
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    *length = family == AF_INET ? sizeof four : sizeof six;
    if (fd < 0 || set_room(run, fd, SO_SNDBUF, SO_SNDBUFFORCE) || set_room(run, fd, SO_RCVBUF, SO_RCVBUFFORCE) ||
        bind(fd, family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six, *length) ||
        getsockname(fd, (struct sockaddr *)at, length)) {
        stage_fail(run, STAGE_PING, "a socket on the loopback: %s", strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

static int make_tcp_of(struct run *run, int family) {
    struct sockaddr_storage at, unused;
    socklen_t length, of_unused;
    int result = -1, yes = 1;
    int listener = loopback(run, family, SOCK_STREAM, &at, &length);
    int caller = listener < 0 ? -1 : loopback(run, family, SOCK_STREAM, &unused, &of_unused);
    if (caller >= 0 && listen(listener, 1) == 0 && connect(caller, (struct sockaddr *)&at, length) == 0) {
        run->fd[0][0] = run->fd[0][1] = caller;
        run->fd[1][0] = run->fd[1][1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        result = 0;
        for (int i = 0; i < 2; i++) {
            result = result || setsockopt(run->fd[i][0], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) ||
                     set_slice(run, run->fd[i][0]);
        }
    }
    if (listener >= 0) {
        close(listener);
    }
    return result == 0 || run->stage->why[0][0] ? result : stage_fail(run, STAGE_PING, "TCP: %s", strerror(errno));
}

static int make_tcp(struct run *run) {
    return make_tcp_of(run, AF_INET);
}

static int make_tcp6(struct run *run) {
    return make_tcp_of(run, AF_INET6);
}

static int make_udp(struct run *run) {
    struct sockaddr_storage at[2];
    socklen_t length[2];
    run->packet = DATAGRAM;
    for (int i = 0; i < 2; i++) {
        run->fd[i][0] = run->fd[i][1] = loopback(run, AF_INET, SOCK_DGRAM, &at[i], &length[i]);
        if (run->fd[i][0] < 0 || set_slice(run, run->fd[i][0])) {
            return -1;
        }
    }
    for (int i = 0; i < 2; i++) {
        if (connect(run->fd[i][0], (struct sockaddr *)&at[!i], length[!i])) {
            return stage_fail(run, STAGE_PING, "connect: %s", strerror(errno));
        }
    }
    return 0;
}

#define STREAM(open)                                                                                                   \
    { .make = (open), .put = put_stream, .get = get_stream, .head = LENGTH }
#define PACKET(open)                                                                                                   \
    { .make = (open), .put = put_packet, .get = get_packet }
const struct medium medium_stream = STREAM(make_stream), medium_tcp = STREAM(make_tcp), medium_tcp6 = STREAM(make_tcp6);
const struct medium medium_seqpacket = PACKET(make_seqpacket), medium_datagram = PACKET(make_datagram);
const struct medium medium_udp = PACKET(make_udp);
