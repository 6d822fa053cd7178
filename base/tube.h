/* SPDX-License-Identifier: MIT
 *
 * The ends of pipes, named or not: read and written without a signal, and without a wait that nobody asked for.
 */
#ifndef BASE_TUBE_H
#define BASE_TUBE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/atomic.h"

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100 /* Linux 6.18 */
#endif

#ifndef __GLIBC__ /* other C libraries may lack these */
#include <sys/syscall.h>
#include <unistd.h>
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif
#define preadv2(fd, parts, count, at, flags)                                                                           \
    syscall(SYS_preadv2, fd, parts, (long)(count), (long)(at), -1L, (long)(flags))
#define pwritev2(fd, parts, count, at, flags)                                                                          \
    syscall(SYS_pwritev2, fd, parts, (long)(count), (long)(at), -1L, (long)(flags))
#endif

/* Makes *fd, an end of a pipe, non-blocking and close-on-exec, on an open file description of this process's own: other
 * processes may hold the one it was, and O_NONBLOCK would be theirs too. access: O_RDONLY or O_WRONLY. 0, or -errno and *fd is what it was. */
int tube_own(int *fd, int access);

/* readv: bytes, 0 when nobody holds the other side, or -errno; -EAGAIN when it would have to wait. A descriptor that
 * tube_own refused is `shared`, and may block all the same when somebody else takes what is there meanwhile. */
ssize_t tube_read(int fd, const struct iovec *parts, int count, bool shared);

/* writev likewise; -EPIPE when nobody holds the other side, and never SIGPIPE. */
ssize_t tube_write(int fd, const struct iovec *parts, int count, bool shared);

/* The same of what is not shared, inlined: behind a system call each return is predicted wrong. */
extern uint32_t tube_nosignal; /* the kernel knows that flag, as far as is known */
static inline ssize_t tube_send(int fd, const struct iovec *parts, int count) {
    if (likely(atomic_peek(&tube_nosignal))) {
        ssize_t went = pwritev2(fd, parts, count, -1, RWF_NOSIGNAL);
        if (likely(went >= 0 || (errno != EOPNOTSUPP && errno != EINVAL))) {
            return likely(went >= 0) ? went : -errno;
        }
    }
    return tube_write(fd, parts, count, false);
}

/* Waits for one of the events, for the end of the other descriptor's process (a pidfd, or -1), at most so long. */
void tube_wait(int fd, short events, int pidfd, int64_t ns);

/* Puts a byte into the FIFO of one who polls it: 0, also where there is none or it is full; or why it cannot be opened. Whoever has something for
 * another process must be able to tell it, also when all descriptors are in use: so one is kept in reserve for that. */
int tube_ring(int dir, const char *fifo);

/* Keeps it; in a forked child anew. 0 or -errno. */
int tube_reserve(void);

/* How many bytes there is room for; and that after asking for more, or less. */
size_t tube_size(int fd);
size_t tube_resize(int fd, uint64_t size);

/* The largest that an ordinary user may ask for. */
uint64_t tube_size_max(void);

#endif
