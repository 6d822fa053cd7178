/* SPDX-License-Identifier: MIT
 *
 * Message queues, bare: one for each direction. A message that is larger than what the queue takes is sent in pieces of that
 * size, which is the fastest that moves so many bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>
#include <unistd.h>

#include "bench/medium.h"

#define PACKETS 10 /* the most that an unprivileged user may ask for */

static size_t number_of(const char *path, size_t usual) {
    char text[32] = "";
    FILE *file = fopen(path, "re");
    size_t number = file && fgets(text, sizeof text, file) ? strtoul(text, NULL, 10) : 0;
    if (file) {
        fclose(file);
    }
    return number ? number / 8 * 8 : usual;
}

static int make_mq(struct run *run) {
    run->packet = number_of("/proc/sys/fs/mqueue/msgsize_max", 8192);
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

/* ---- System V: fd is the queue's number. Its calls have no limit in time, and nothing to poll. ---- */

static int make_sysv(struct run *run) {
    run->packet = number_of("/proc/sys/kernel/msgmax", 8192);
    for (int i = 0; i < 2; i++) {
        int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
        if (queue < 0) {
            return stage_fail(run, STAGE_PING, "msgget: %s", strerror(errno));
        }
        run->queue[i] = queue;
    }
    return 0;
}

static void free_sysv(struct run *run) {
    for (int i = 0; i < 2; i++) {
        if (run->queue[i] >= 0) {
            msgctl(run->queue[i], IPC_RMID, NULL);
        }
    }
}

struct typed { /* what the calls want: the type stands before the bytes */
    long type;
    unsigned char bytes[];
};

static int put_sysv(struct run *run, enum stage_side side, const unsigned char *data) {
    static struct typed *message;
    if (!message && !(message = malloc(sizeof *message + run->packet))) {
        return stage_fail(run, side, "no memory for a packet");
    }
    for (size_t at = 0; at < run->size; at += run->packet) {
        size_t size = run->size - at < run->packet ? run->size - at : run->packet;
        message->type = 1;
        memcpy(message->bytes, data + at, size);
        while (msgsnd(run->queue[side], message, size, 0)) {
            if (errno != EINTR) {
                return stage_fail(run, side, "msgsnd: %s", strerror(errno));
            }
        }
    }
    return 0;
}

/* Straight to where the bytes belong; the type lands on what stands before them, which is put back. */
static int get_sysv(struct run *run, enum stage_side side, unsigned char *at) {
    for (size_t have = 0; have < run->size;) {
        long before;
        struct typed *message = (struct typed *)(void *)(at + have);
        memcpy(&before, message, sizeof before);
        ssize_t got = msgrcv(run->queue[!side], message, run->size - have, 0, 0);
        if (got < 0 && errno != EINTR) {
            return stage_fail(run, side, "msgrcv: %s", strerror(errno));
        }
        memcpy(message, &before, sizeof before);
        have += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

const struct medium medium_sysv = {.make = make_sysv,
                                   .put = put_sysv,
                                   .get = get_sysv,
                                   .head = sizeof(struct typed),
                                   .free = free_sysv,
                                   .shared = true};
