/* SPDX-License-Identifier: MIT
 *
 * Pipes, see tube.h. SIGPIPE belongs to the program: where the kernel cannot be told to leave it out, it is held off in
 * this thread, and the one that was ours is taken away again.
 */
#define _GNU_SOURCE
#include "base/tube.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/fd.h"

#define SIZE_MAX_USUAL (UINT64_C(1) << 20)

int tube_own(int *fd, int access) {
    char path[40];
    if (fcntl(*fd, F_GETFL) < 0) {
        return -errno;
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
    int own = open(path, access | O_NONBLOCK | O_CLOEXEC);
    if (own < 0) {
        return -errno;
    }
    fd_close(fd);
    *fd = own;
    return 0;
}

static bool is_ready(int fd, short events) {
    struct pollfd polled = {.fd = fd, .events = events};
    return poll(&polled, 1, 0) == 1;
}

ssize_t tube_read(int fd, const struct iovec *parts, int count, bool shared) {
    ssize_t got = -1;
    if (unlikely(shared)) {
        got = preadv2(fd, parts, count, -1, RWF_NOWAIT);
        if (got >= 0 || errno != EOPNOTSUPP) {
            return got < 0 ? -errno : got;
        }
        if (!is_ready(fd, POLLIN)) {
            return -EAGAIN;
        }
    }
    got = likely(count == 1) ? read(fd, parts->iov_base, parts->iov_len) : readv(fd, parts, count);
    return likely(got >= 0) ? got : -errno;
}

/* Writes with SIGPIPE held off. What was pending before is not ours, and stays. */
static ssize_t write_quietly(int fd, const struct iovec *parts, int count, int flags) {
    sigset_t pipe, old, pending;
    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    (void)sigpending(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, &old);
    ssize_t went = flags == 0 ? writev(fd, parts, count) : pwritev2(fd, parts, count, -1, flags);
    int code = errno;
    if (went < 0 && code == EPIPE && !sigismember(&pending, SIGPIPE)) {
        const struct timespec now = {0};
        while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR) {}
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return went < 0 ? -code : went;
}

/* Which flags this kernel knows is learnt from its refusals; a pipe that somebody spliced into no longer knows NOWAIT. */
uint32_t tube_nosignal = 1;

static ssize_t write_flagged(int fd, const struct iovec *parts, int count, int flags) {
    if (likely(atomic_peek(&tube_nosignal))) {
        ssize_t went = pwritev2(fd, parts, count, -1, flags | RWF_NOSIGNAL);
        if (likely(went >= 0)) {
            return went;
        }
        if (errno != EOPNOTSUPP && errno != EINVAL) {
            return -errno;
        }
        went = write_quietly(fd, parts, count, flags);
        if (went >= 0 || went == -EAGAIN || went == -EPIPE) {
            atomic_poke(&tube_nosignal, 0); /* it was that flag */
        }
        return went;
    }
    return write_quietly(fd, parts, count, flags);
}

ssize_t tube_write(int fd, const struct iovec *parts, int count, bool shared) {
    if (!shared) {
        return write_flagged(fd, parts, count, 0);
    }
    ssize_t went = write_flagged(fd, parts, count, RWF_NOWAIT);
    if (went != -EOPNOTSUPP && went != -EINVAL) {
        return went;
    }
    if (!is_ready(fd, POLLOUT)) {
        return -EAGAIN;
    }
    /* Room for one page is what POLLOUT says. */
    struct iovec part = {parts->iov_base, parts->iov_len < PIPE_BUF ? parts->iov_len : PIPE_BUF};
    for (int i = 1; part.iov_len == 0 && i < count; i++) {
        part = (struct iovec){parts[i].iov_base, parts[i].iov_len < PIPE_BUF ? parts[i].iov_len : PIPE_BUF};
    }
    return write_flagged(fd, &part, 1, 0);
}

void tube_wait(int fd, short events, int pidfd, int64_t ns) {
    struct pollfd polled[2] = {{.fd = fd, .events = events}, {.fd = pidfd, .events = POLLIN}};
    const struct timespec rest = clock_spec(ns);
    (void)ppoll(polled, pidfd >= 0 ? 2 : 1, &rest, NULL);
}

size_t tube_size(int fd) {
    int size = fcntl(fd, F_GETPIPE_SZ);
    return size > 0 ? (size_t)size : 0;
}

size_t tube_resize(int fd, uint64_t size) {
    if (size != tube_size(fd)) {
        (void)fcntl(fd, F_SETPIPE_SZ, size < INT32_MAX ? (int)size : INT32_MAX);
    }
    return tube_size(fd);
}

uint64_t tube_size_max(void) {
    char text[24] = "";
    int fd = open("/proc/sys/fs/pipe-max-size", O_RDONLY | O_CLOEXEC);
    uint64_t size = fd >= 0 && fd_read_at(fd, text, sizeof text - 1, 0) > 0 ? strtoull(text, NULL, 10) : 0;
    fd_close(&fd);
    return size != 0 ? size : SIZE_MAX_USUAL;
}

/* ---- for those who poll ---- */

#define RING_TRIES 1000 /* another thread has the reserve for three system calls */

static int reserve = -1;

int tube_reserve(void) {
    int fd = open("/", O_PATH | O_CLOEXEC), rc = fd < 0 ? -errno : 0;
    int before = fd < 0 ? -1 : atomic_swap(&reserve, fd);
    fd_close(&before);
    return rc;
}

/* For reading too: a FIFO that its owner has closed would be SIGPIPE. */
static int open_fifo(int dir, const char *fifo) {
    return openat(dir, fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
}

int tube_ring(int dir, const char *fifo) {
    const char byte = 1;
    bool lent = false;
    int fd = open_fifo(dir, fifo);
    for (int tries = 0; fd < 0 && (errno == EMFILE || errno == ENFILE) && tries < RING_TRIES; tries++) {
        int kept = atomic_swap(&reserve, -1);
        lent = lent || kept >= 0;
        if (kept < 0) (void)sched_yield();
        fd_close(&kept);
        fd = open_fifo(dir, fifo);
    }
    int rc = fd >= 0 || errno == ENOENT ? 0 : -errno;
    if (fd >= 0) {
        ssize_t ignored = write(fd, &byte, 1); /* a full one is readable already */
        (void)ignored;
    }
    fd_close(&fd);
    if (lent) (void)tube_reserve();
    return rc;
}
