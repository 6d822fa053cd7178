/* SPDX-License-Identifier: MIT
 *
 * POSIX message queues, bare: one for each direction. A message that is larger than what the queue takes is sent in pieces of
 * that size, which is the fastest that moves so many bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/limit.h"
#include "bench/medium.h"

#define PACKETS 10 /* the most that an unprivileged user may ask for */

static int make_mq(struct run *run) {
    run->packet = limit_of("/proc/sys/fs/mqueue/msgsize_max", 8192);
    for (int i = 0; i < 2; i++) {
        struct mq_attr attr = {.mq_maxmsg = PACKETS, .mq_msgsize = (long)run->packet};
        char name[64];
        snprintf(name, sizeof name, "/thirl-bench-floor-%d-%d", (int)getpid(), i);
        run->fd[i][1] = mq_open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
        int code = errno;
        run->fd[!i][0] = run->fd[i][1] < 0 ? -1 : mq_open(name, O_RDONLY | O_CLOEXEC);
        mq_unlink(name);
        if (run->fd[!i][0] < 0) {
            return stage_fail(run, STAGE_PING, "mq_open: %s", strerror(code));
        }
    }
    return 0;
}

/* Of a message in pieces the number and the bytes of each stand before it, as a program that cuts and joins needs them: eight
 * bytes, like the length on a stream. It lands on what stands before, which is put back. */
#define HEAD 8

static struct timespec soon(void) { /* of the clock that these calls go by */
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += MEDIUM_SLICE_NS;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static int put_mq(struct run *run, enum stage_side side, const unsigned char *data) {
    static char *block;
    size_t most = run->size > run->packet ? run->packet - HEAD : run->packet;
    if (!block && !(block = malloc(run->packet))) {
        return stage_fail(run, side, "no memory for a packet");
    }
    for (size_t at = 0; at < run->size; at += most) {
        size_t size = run->size - at < most ? run->size - at : most;
        bool whole = size == run->size;
        uint64_t head = (uint64_t)at << 32 | size;
        if (!whole) {
            memcpy(block, &head, HEAD);
            memcpy(block + HEAD, data + at, size);
        }
        struct timespec limit = soon();
        while (
            mq_timedsend(run->fd[side][1], whole ? (const char *)data : block, whole ? size : HEAD + size, 0, &limit)) {
            if (errno != EINTR && errno != ETIMEDOUT) {
                return stage_fail(run, side, "mq_timedsend: %s", strerror(errno));
            }
            limit = soon();
        }
    }
    return 0;
}

static int get_mq(struct run *run, enum stage_side side, unsigned char *at) {
    size_t head = run->size > run->packet ? HEAD : 0;
    for (size_t have = 0; have < run->size;) {
        char before[HEAD], *to = (char *)at + HEAD + have - head;
        memcpy(before, to, HEAD);
        const struct timespec limit = soon();
        ssize_t got = mq_timedreceive(run->fd[side][0], to, run->packet, NULL, &limit);
        if (got < 0 && errno != EINTR && errno != ETIMEDOUT) {
            return stage_fail(run, side, "mq_timedreceive: %s", strerror(errno));
        }
        memcpy(to, before, head);
        have += got > 0 ? (size_t)got - head : 0;
    }
    return 0;
}

const struct medium medium_mq = {.make = make_mq, .put = put_mq, .get = get_mq, .head = HEAD, .shared = true};
