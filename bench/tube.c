/* SPDX-License-Identifier: MIT
 *
 * Pipes, bare, anonymous and named: a pipe for each direction, blocking; one writev gathers an 8-byte length and the payload,
 * reads take what is there until all of it is. A read has no limit in time: a round trip that is to have one polls first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/medium.h"

#define LENGTH 8

static int put(struct run *run, enum stage_side side, const unsigned char *data) {
    uint64_t length = run->size;
    size_t sent = 0;
    while (sent < LENGTH + run->size) {
        size_t skip = sent < LENGTH ? sent : LENGTH, over = sent - skip;
        struct iovec parts[2] = {{(char *)&length + skip, LENGTH - skip},
                                 {(char *)(uintptr_t)data + over, run->size - over}};
        ssize_t went = writev(run->fd[side][1], parts, 2);
        if (went < 0 && errno != EINTR) {
            return stage_fail(run, side, "writev: %s", strerror(errno));
        }
        sent += went > 0 ? (size_t)went : 0;
    }
    return 0;
}

static int get(struct run *run, enum stage_side side, unsigned char *at) {
    for (size_t left = LENGTH + run->size; left > 0;) {
        ssize_t got = read(run->fd[side][0], at, left);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return stage_fail(run, side, "read: %s", got == 0 ? "the peer is gone" : strerror(errno));
        }
        left -= got > 0 ? (size_t)got : 0;
        at += got > 0 ? got : 0;
    }
    return 0;
}

static int await(struct run *run, enum stage_side side) {
    struct pollfd polled = {.fd = run->fd[side][0], .events = POLLIN};
    const struct timespec slice = {.tv_nsec = MEDIUM_SLICE_NS};
    int ready = 0;
    while (ready == 0) {
        ready = ppoll(&polled, 1, &slice, NULL);
        if (ready < 0 && errno != EINTR) {
            return stage_fail(run, side, "ppoll: %s", strerror(errno));
        }
    }
    return 0;
}

static int resize(struct run *run) {
    for (int i = 0; i < 2 && run->ring; i++) {
        if (fcntl(run->fd[i][1], F_SETPIPE_SZ, (int)run->ring) < 0) {
            return stage_fail(run, STAGE_PING, "F_SETPIPE_SZ: %s", strerror(errno));
        }
    }
    return 0;
}

static int make_pipe(struct run *run) {
    for (int i = 0; i < 2; i++) {
        int pair[2];
        if (pipe2(pair, O_CLOEXEC)) {
            return stage_fail(run, STAGE_PING, "pipe: %s", strerror(errno));
        }
        run->fd[i][1] = pair[1];
        run->fd[!i][0] = pair[0];
    }
    return resize(run);
}

/* Opening for both lets neither open wait for the other. */
static int make_fifo(struct run *run) {
    for (int i = 0; i < 2; i++) {
        char path[80];
        snprintf(path, sizeof path, "/tmp/thirl-bench-floor-%d-%d", (int)getpid(), i);
        int both = mkfifo(path, 0600) ? -1 : open(path, O_RDWR | O_CLOEXEC);
        if (both >= 0) {
            run->fd[i][1] = open(path, O_WRONLY | O_CLOEXEC);
            run->fd[!i][0] = open(path, O_RDONLY | O_CLOEXEC);
            close(both);
        }
        int code = errno;
        unlink(path);
        if (run->fd[i][1] < 0 || run->fd[!i][0] < 0) {
            return stage_fail(run, STAGE_PING, "a FIFO in /tmp: %s", strerror(code));
        }
    }
    return resize(run);
}

#define TUBE(open, wait)                                                                                               \
    { .make = (open), .put = put, .get = get, .head = LENGTH, .await = (wait) }
const struct medium medium_pipe = TUBE(make_pipe, await), medium_pipe_endless = TUBE(make_pipe, NULL);
const struct medium medium_fifo = TUBE(make_fifo, await), medium_fifo_endless = TUBE(make_fifo, NULL);
