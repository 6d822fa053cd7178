/* SPDX-License-Identifier: MIT
 *
 * Descriptors and whole files: opened close-on-exec, closed once, read and written to the end whatever signals come.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Closes *fd unless it is -1, and makes it -1. Keeps errno. */
void fd_close(int *fd);

/* Marks it as this process's alone: a child that this one forks closes it, whichever thread forks, until fd_close or fd_release. Held open
 * there a socket or a pipe would outlive its end here. */
void fd_own(int fd);

/* Closes it too; but 0, 1 and 2 become /dev/null: what a program opens next must not become its standard output. */
void fd_release(int fd);

/* Reads up to size bytes at offset, until they are there or the file ends; their number or -errno. May block. */
ssize_t fd_read_at(int fd, void *buffer, size_t size, off_t offset);

/* Writes all of size bytes; 0 or -errno. May block. */
int fd_write(int fd, const void *data, size_t size);

/* Writes it with one write(2), and nothing of it where it would pass RLIMIT_FSIZE: 0 or -errno, and never a SIGXFSZ. -ENOSPC where
 * only a part found room. For plain files. */
int fd_add(int fd, const void *data, size_t size);

/* Sets a timerfd: readable in so many ns, -1: never. 0: it is so when this returns, even to a poll that does not wait. */
void fd_tick(int timer, int64_t ns);

/* Makes a directory and those above it, each with mode; 0 when it is there in the end, else -errno. */
int fd_make_dirs(const char *path, unsigned mode);

/* Why mmap was refused: errno, but ENOMEM where the kernel says EAGAIN, which is that this process may lock no more memory: waiting does not help. */
int fd_map_error(void);

/* May this process make files of that size? Beyond RLIMIT_FSIZE the kernel answers with SIGXFSZ, so it is asked before. */
bool fd_may_grow(uint64_t size);

/* Gives the whole of a file its space, up to that size; it never gets shorter. 0, or -errno: -EFBIG beyond the limit, without a signal. */
int fd_take_space(int fd, uint64_t size);

/* pwrite, which is -EFBIG beyond the limit, also where the file is that long already. Bytes written or -errno. */
ssize_t fd_write_at(int fd, const void *data, size_t size, off_t offset);

#endif
