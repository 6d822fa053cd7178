/* SPDX-License-Identifier: MIT
 *
 * See sparing.h: these functions stand before those of libc.
 */
#define _GNU_SOURCE
#include "tests/sparing.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROBES 200

struct sparing sparing;

void sparing_be(unsigned some, size_t most, unsigned errs, int error) {
    sparing = (struct sparing){.some = some, .most = most, .errs = errs, .error = error};
}

/* How much of that goes; SIZE_MAX: none, and errno says why. */
static size_t take(size_t size) {
    if (sparing.nap != 0) {
        (void)usleep((useconds_t)(sparing.nap / 1000));
    }
    if (sparing.none != 0) {
        sparing.none--;
        errno = EAGAIN;
        return SIZE_MAX;
    }
    if (sparing.some != 0) {
        sparing.some--;
        return size < sparing.most ? size : sparing.most;
    }
    if (sparing.errs == 0) {
        return size;
    }
    sparing.errs--;
    errno = sparing.error;
    return SIZE_MAX;
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    size = take(size);
    return size == SIZE_MAX ? -1 : sendto(fd, data, size, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    struct msghdr part = *message;
    struct iovec parts[2] = {message->msg_iov[0], {NULL, 0}};
    if (message->msg_iovlen > 2) {
        return syscall(SYS_sendmsg, fd, message, flags);
    }
    if (message->msg_iovlen == 2) {
        parts[1] = message->msg_iov[1];
    }
    size_t size = take(parts[0].iov_len + parts[1].iov_len);
    if (size == SIZE_MAX) {
        return -1;
    }
    parts[0].iov_len = size < parts[0].iov_len ? size : parts[0].iov_len;
    parts[1].iov_len = size - parts[0].iov_len;
    part.msg_iov = parts;
    part.msg_iovlen = parts[1].iov_len != 0 ? 2 : 1;
    return syscall(SYS_sendmsg, fd, &part, flags);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    if (sparing.slow != 0 && level == SOL_SOCKET && name == SO_RCVTIMEO && --sparing.slow == 0) {
        errno = ENOBUFS;
        return -1;
    }
    return (int)syscall(SYS_setsockopt, fd, level, name, value, length);
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict length) {
    long rc = syscall(SYS_getsockopt, fd, level, name, value, length);
    if (rc == 0 && sparing.silent && level == IPPROTO_TCP && name == TCP_INFO) {
        ((struct tcp_info *)value)->tcpi_probes = PROBES;
    }
    return (int)rc;
}
