/* SPDX-License-Identifier: MIT
 *
 * Descriptors and whole files, see fd.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/fd.h"

/* ---- what is not for children ---- */

#define OWN_MOST                                                                                                       \
    (1 << 20) /* as many descriptors as the kernel lets a process have, unless somebody raised fs.nr_open */
#define OWN_BITS 64

static uint64_t own[OWN_MOST / OWN_BITS];
static uint32_t own_words; /* behind them there is none */

/* In a forked child. */
static void close_own(void) {
    for (uint32_t i = 0; i < own_words; i++) {
        for (; own[i] != 0; own[i] &= own[i] - 1) {
            (void)close((int)(i * OWN_BITS) + __builtin_ctzll(own[i]));
        }
    }
    own_words = 0;
}

/* Before anybody forks: a fork that has begun would not know of it any more. */
__attribute__((constructor)) static void prepare_fork(void) {
    (void)pthread_atfork(NULL, NULL, close_own);
}

void fd_own(int fd) {
    if (fd >= 0 && fd < OWN_MOST) {
        uint32_t word = (uint32_t)fd / OWN_BITS, words = atomic_load(&own_words);
        while (words <= word && !atomic_cas(&own_words, &words, word + 1)) {}
        (void)atomic_or(&own[word], UINT64_C(1) << fd % OWN_BITS);
    }
}

/* Before it is closed: its number may be another's at once. */
static void disown(int fd) {
    if (fd >= 0 && fd < OWN_MOST && (atomic_load(&own[fd / OWN_BITS]) >> fd % OWN_BITS & 1) != 0) {
        (void)atomic_and(&own[fd / OWN_BITS], ~(UINT64_C(1) << fd % OWN_BITS));
    }
}

/* ---- opening and closing ---- */

void fd_close(int *fd) {
    if (*fd < 0) return;
    int saved = errno;
    disown(*fd);
    (void)close(*fd); /* closed even when it answers EINTR */
    *fd = -1;
    errno = saved;
}

int fd_map_error(void) {
    return errno == EAGAIN ? ENOMEM : errno;
}

void fd_release(int fd) {
    disown(fd);
    int nothing = fd <= STDERR_FILENO ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    if (nothing < 0 || dup2(nothing, fd) < 0) {
        (void)close(fd);
    }
    fd_close(&nothing);
}

ssize_t fd_read_at(int fd, void *buffer, size_t size, off_t offset) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, (char *)buffer + done, size - done, offset + (off_t)done);
        if (n == 0) break;
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return (ssize_t)done;
}

int fd_write(int fd, const void *data, size_t size) {
    size_t done = 0;
    if (!fd_may_grow(size)) {
        return -EFBIG;
    }
    while (done < size) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0) {
            return -EIO;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* How far it has grown for this descriptor: where the next write begins. */
static off_t end_of(int fd) {
    struct stat status;
    if ((fcntl(fd, F_GETFL) & O_APPEND) == 0) return lseek(fd, 0, SEEK_CUR);
    return fstat(fd, &status) == 0 ? status.st_size : -1;
}

/* Others may have written since it was asked where the file ends: so the signal is held off, and the one that was ours taken away. */
static ssize_t write_within(int fd, const void *data, size_t size, rlim_t limit) {
    sigset_t beyond, old, pending;
    off_t at = end_of(fd);
    if (at >= 0 && ((rlim_t)at > limit || size > limit - (rlim_t)at)) {
        errno = EFBIG;
        return -1;
    }
    (void)sigemptyset(&beyond);
    (void)sigaddset(&beyond, SIGXFSZ);
    (void)sigpending(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &beyond, &old);
    ssize_t went = write(fd, data, size);
    int code = errno;
    if (went < 0 && code == EFBIG && !sigismember(&pending, SIGXFSZ)) {
        const struct timespec now = {0};
        while (sigtimedwait(&beyond, NULL, &now) < 0 && errno == EINTR) {}
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = code;
    return went;
}

int fd_add(int fd, const void *data, size_t size) {
    struct rlimit limit;
    bool unbound = getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY;
    ssize_t went = unbound ? write(fd, data, size) : write_within(fd, data, size, limit.rlim_cur);
    if (went < 0) return -errno;
    return (size_t)went == size ? 0 : -ENOSPC;
}

void fd_tick(int timer, int64_t ns) {
    const struct itimerspec spec = {.it_value = clock_spec(ns + 1)};
    (void)timerfd_settime(timer, 0, &spec, NULL);
    /* A timer that is due fires by an interrupt, which now and then comes some microseconds later. */
    struct pollfd polled = {.fd = timer, .events = POLLIN};
    while (ns == 0 && poll(&polled, 1, 1) < 0 && errno == EINTR) {}
}

/* 0 when path is a directory in the end, made here with exactly mode (the umask does not count) or there before. */
static int make(const char *path, unsigned mode) {
    struct stat found;
    if (mkdir(path, mode) == 0) return chmod(path, mode) == 0 ? 0 : -errno;
    int failed = errno; /* EEXIST, but also EACCES or EROFS for a directory that is there */
    if (stat(path, &found) != 0) return -failed;
    return S_ISDIR(found.st_mode) ? 0 : -ENOTDIR;
}

int fd_make_dirs(const char *path, unsigned mode) {
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0) return -ENOENT;
    if (length >= sizeof part) return -ENAMETOOLONG;
    memcpy(part, path, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (part[i] != '/') continue;
        part[i] = 0;
        int r = make(part, mode);
        if (r < 0) return r;
        part[i] = '/';
    }
    return make(part, mode);
}

bool fd_may_grow(uint64_t size) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur;
}

int fd_take_space(int fd, uint64_t size) {
    int rc = fd_may_grow(size) ? 0 : -EFBIG;
    while (rc == 0 && fallocate(fd, 0, 0, (off_t)size) != 0) {
        rc = errno == EINTR ? 0 : -errno;
    }
    return rc;
}

ssize_t fd_write_at(int fd, const void *data, size_t size, off_t offset) {
    if (!fd_may_grow((uint64_t)offset + size)) {
        return -EFBIG;
    }
    ssize_t went = pwrite(fd, data, size, offset);
    return went < 0 ? -errno : went;
}
