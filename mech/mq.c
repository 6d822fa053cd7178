/* SPDX-License-Identifier: MIT
 *
 * mq://: POSIX message queues as a carrier, and the mechanism that the engines make of it. The calls need no file system
 * mounted anywhere: what would have to be listed there, the registry knows.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "mech/carried.h"
#include "mech/haste.h"
#include "mech/knell.h"

#define PACKET_USUAL 8192 /* the kernel's defaults */
#define PACKETS_USUAL 10
#define PACKET_MOST 65536 /* larger ones cost the user's share of queue memory and gain nothing */
#define PRIORITIES 32768  /* MQ_PRIO_MAX of Linux */
#define NAME_LONGEST 250  /* of a queue, without its slash and what stands before it */

struct mq {
    mqd_t queue;
    bool receives, made;
    size_t packet;
    long packets;
    char *block; /* for one packet: the system calls want it in one piece */
    struct haste haste;
};

static long sysctl_of(const char *name, long usual) {
    char path[64], text[32] = "";
    (void)snprintf(path, sizeof path, "/proc/sys/fs/mqueue/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : fd_read_at(fd, text, sizeof text - 1, 0);
    fd_close(&fd);
    long value = got > 0 ? strtol(text, NULL, 10) : 0;
    return value > 0 ? value : usual;
}

/* "/thirl.NAME", where NAME may hold what a queue's name may not; the raw form is called what the user calls it. */
static int plan(const struct carrier_open *open, char place[CARRIER_PLACE_MAX]) {
    const char *rest = open->rest;
    if (open->kind != CARRIER_NAMED) {
        (void)snprintf(place, CARRIER_PLACE_MAX, open->kind == CARRIER_INBOX ? "/thirl-%s" : "%s",
                       open->kind == CARRIER_INBOX ? open->key : open->place);
        return 0;
    }
    if (open->options->raw != 0) {
        rest += *rest == '/';
        if (*rest == '\0' || strchr(rest, '/') != NULL || *rest == '.') { /* longer ones the registry has refused */
            return err_say(THIRL_EADDRESS,
                           "%s: a message queue is called mq://NAME, without a slash and without a dot in front",
                           open->address);
        }
        (void)snprintf(place, CARRIER_PLACE_MAX, "/%s", rest);
        return 0;
    }
    size_t used = (size_t)snprintf(place, CARRIER_PLACE_MAX, "/thirl.");
    for (; *rest != '\0'; rest++) {
        bool plain = *rest != '/' && *rest != '%';
        if (used > NAME_LONGEST) {
            return err_say(ENAMETOOLONG, "%s: the name of a message queue has at most %d bytes", open->address,
                           NAME_LONGEST);
        }
        used += (size_t)snprintf(place + used, CARRIER_PLACE_MAX - used, plain ? "%c" : "%%%02X", (unsigned char)*rest);
    }
    return 0;
}

/* Why the kernel made no queue: which limit, and how to raise it. */
static int say_refused(const struct carrier_open *open, const char *place, const struct mq_attr *attr) {
    struct rlimit limit = {0};
    switch (errno) {
    case EMFILE:
        (void)getrlimit(RLIMIT_MSGQUEUE, &limit);
        return err_say(
            EMFILE,
            "%s: a message queue of %ld times %ld bytes does not fit into what this user may have, %llu bytes in all: "
            "raise RLIMIT_MSGQUEUE (ulimit -q), remove queues (thirl clean), or ask for less (?queue=)",
            open->address, attr->mq_maxmsg, attr->mq_msgsize, (unsigned long long)limit.rlim_cur);
    case ENOSPC:
        return err_say(ENOSPC, "%s: there are as many message queues as there may be, %ld: raise fs.mqueue.queues_max",
                       open->address, sysctl_of("queues_max", 256));
    case EINVAL:
        return err_say(EINVAL,
                       "%s: the kernel makes no message queue %s of %ld times %ld bytes: see fs.mqueue.msg_max and "
                       "fs.mqueue.msgsize_max",
                       open->address, place, attr->mq_maxmsg, attr->mq_msgsize);
    default:
        return err_system(errno, "%s: the message queue %s cannot be %s", open->address, place,
                          open->kind == CARRIER_PLACE ? "opened" : "made or opened");
    }
}

static struct mq_attr shape(uint64_t bytes) {
    long packet = sysctl_of("msgsize_max", PACKET_USUAL), most = sysctl_of("msg_max", PACKETS_USUAL);
    packet = packet < PACKET_MOST ? packet : PACKET_MOST;
    long packets = bytes / (uint64_t)packet > (uint64_t)most ? most : (long)(bytes / (uint64_t)packet);
    return (struct mq_attr){.mq_msgsize = packet, .mq_maxmsg = packets < 1 ? 1 : packets};
}

static int open_queue(struct mq *q, const struct carrier_open *open, const char *place) {
    struct mq_attr attr = shape(open->options->queue);
    int access = (q->receives ? O_RDONLY : O_WRONLY) | O_CLOEXEC;
    for (int tries = 0; q->queue < 0 && tries < 8; tries++) {
        if (open->kind != CARRIER_PLACE) {
            q->queue = mq_open(place, access | O_CREAT | O_EXCL, 0600, &attr);
            q->made = q->queue >= 0;
        }
        if (open->kind == CARRIER_PLACE || (q->queue < 0 && errno == EEXIST && open->kind == CARRIER_NAMED)) {
            q->queue = mq_open(place, access);
        }
        if (q->queue < 0 && (errno != ENOENT || open->kind == CARRIER_PLACE)) {
            return open->kind == CARRIER_PLACE && errno == ENOENT ? -ENOENT : say_refused(open, place, &attr);
        }
    }
    if (q->queue < 0) {
        return err_say(EAGAIN, "%s: the message queue %s is removed as often as it is made", open->address, place);
    }
    fd_own(q->queue); /* whoever holds it open keeps its room from this user's others, though it be removed */
    if (q->made && open->options->mode != 0600) {
        (void)fchmod(q->queue, open->options->mode); /* past the umask */
    }
    return mq_getattr(q->queue, &attr) == 0
               ? (q->packet = (size_t)attr.mq_msgsize, q->packets = attr.mq_maxmsg, 0)
               : err_system(errno, "%s: the message queue %s cannot be asked for its size", open->address, place);
}

static int mq_open_slot(void *self, const struct carrier_open *open, char place[CARRIER_PLACE_MAX]) {
    struct mq *q = self;
    char planned[CARRIER_PLACE_MAX];
    *q = (struct mq){.queue = -1, .receives = open->way == MECH_IN, .packet = PACKET_USUAL};
    q->haste.quiet = open->options->wait == THIRL_WAIT_SLEEP;
    int rc = plan(open, planned);
    rc = rc != 0 ? rc : open_queue(q, open, planned);
    if (rc == 0 && (q->block = malloc(q->packet)) == NULL) {
        rc = err_say(ENOMEM, "%s: no memory for a packet of %zu bytes", open->address, q->packet);
    }
    if (rc != 0 && q->made) {
        (void)mq_unlink(planned);
    }
    if (rc != 0) {
        fd_close(&q->queue);
    } else {
        memcpy(place, planned, CARRIER_PLACE_MAX);
    }
    return rc;
}

static void close_slot(void *self) {
    struct mq *q = self;
    fd_close(&q->queue);
    free(q->block);
    q->block = NULL;
}

/* The end of a slice; without waiting a point in the past, of which the kernel says the same as of a queue that does not block. */
static struct timespec slice_end(bool wait) {
    struct timespec until = {0};
    if (wait) {
        (void)clock_gettime(CLOCK_REALTIME_COARSE, &until);
        until = clock_spec(until.tv_sec * CLOCK_S + until.tv_nsec + MECH_SLICE_NS);
    }
    return until;
}

SLOT int send_slot(void *self, const struct iovec *part, unsigned parts, const struct mech_note *note, bool wait) {
    struct mq *q = self;
    (void)parts; /* one: there is a block */
    if (part->iov_len > q->packet) {
        return -EMSGSIZE;
    }
    struct haste_wait w = haste_begin(&q->haste, wait);
    int rc;
    do {
        struct timespec until = slice_end(w.sleeps);
        rc = mq_timedsend(q->queue, part->iov_base, part->iov_len, note == NULL ? 0 : note->priority, &until);
    } while (haste_again(&q->haste, &w, rc != 0 && (errno == ETIMEDOUT || errno == EAGAIN)));
    return rc == 0 ? 0
           : errno == ETIMEDOUT || errno == EINTR || errno == EAGAIN || errno == ENOMEM
               ? -EAGAIN
               : err_system(errno, "the message queue cannot be sent to");
}

SLOT void *block_slot(void *self) {
    return ((struct mq *)self)->block;
}

SLOT int recv_slot(void *self, const struct iovec *part, unsigned parts, size_t *size, const void **at,
                   struct mech_note *note, bool wait) {
    struct mq *q = self;
    bool straight = part->iov_len >= q->packet;
    unsigned priority = 0;
    struct haste_wait w = haste_begin(&q->haste, wait);
    ssize_t got;
    do {
        struct timespec until = slice_end(w.sleeps);
        got = mq_timedreceive(q->queue, straight ? part->iov_base : q->block, q->packet, &priority, &until);
    } while (haste_again(&q->haste, &w, got < 0 && (errno == ETIMEDOUT || errno == EAGAIN)));
    if (unlikely(got < 0)) {
        return errno == ETIMEDOUT || errno == EINTR || errno == EAGAIN
                   ? -EAGAIN
                   : err_system(errno, "the message queue cannot be received from");
    }
    if (!straight) {
        parts_give(part, parts, q->block, (size_t)got, at);
    }
    note->priority = priority;
    note->count = 0;
    *size = (size_t)got;
    return 0;
}

static int watch_slot(void *self, struct mech_watch *watch) {
    const struct mq *q = self;
    watch->kind = MECH_WATCH_FD;
    watch->fd = q->queue;
    watch->events = q->receives ? POLLIN : POLLOUT;
    return 0;
}

static void describe(struct carrier_facts *facts, size_t packet, long packets) {
    *facts = (struct carrier_facts){.packet = packet,
                                    .bytes = packet * (uint64_t)packets,
                                    .packets = (uint64_t)packets,
                                    .priorities = PRIORITIES,
                                    .reliable = true,
                                    .ordered = true,
                                    .kept = true};
}

static void facts_slot(void *self, struct carrier_facts *facts) {
    const struct mq *q = self;
    describe(facts, q->packet, q->packets);
    facts->made = q->made;
}

static void claims_slot(struct carrier_facts *facts) {
    struct mq_attr attr = shape((uint64_t)PACKETS_USUAL * PACKET_USUAL);
    describe(facts, (size_t)attr.mq_msgsize, attr.mq_maxmsg);
}

static int left_slot(const char *place, struct carrier_left *left) {
    *left = (struct carrier_left){0};
    mqd_t queue = mq_open(place, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (queue < 0) {
        return errno == ENOENT ? -ENOENT : err_system(errno, "the message queue %s cannot be looked at", place);
    }
    struct mq_attr attr = {0};
    struct stat status = {0};
    char text[128] = "";
    (void)mq_getattr(queue, &attr);
    (void)fstat(queue, &status);
    left->packets = (uint64_t)attr.mq_curmsgs;
    left->uid = status.st_uid;
    if (read(queue, text, sizeof text - 1) > 0 && strncmp(text, "QSIZE:", 6) == 0) {
        left->bytes = strtoull(text + 6, NULL, 10);
    }
    fd_close(&queue);
    return 0;
}

static int remove_slot(const char *place) {
    return mq_unlink(place) == 0 ? 0
           : errno == ENOENT     ? -ENOENT
                                 : err_system(errno, "the message queue %s cannot be removed", place);
}

static const struct carrier carrier_mq = {
    .scheme = "mq",
    .state_size = sizeof(struct mq),
    .blocks = true,
    .lasting = true,
    .remedy = "raise fs.mqueue.msgsize_max",
    .plan = plan,
    .open = mq_open_slot,
    .close = close_slot,
    .send = send_slot,
    .recv = recv_slot,
    .block = block_slot,
    .watch = watch_slot,
    .facts = facts_slot,
    .claims = claims_slot,
    .left = left_slot,
    .remove = remove_slot,
};

CARRIED_OPEN(mq, block_slot)

KNELL(mq, struct carried)

static const struct mech knell_mq = {
    .scheme = "mq",
    .summary = "POSIX message queue: events with 31 bits, from one notifier to one watcher",
    .queue = (uint64_t)PACKETS_USUAL * PACKET_USUAL,
    .registry = true,
    KNELL_SLOTS(mq),
};

const struct mech mech_mq = {
    .scheme = "mq",
    .summary = "POSIX message queue: the kernel keeps messages, with priorities, for receivers that come later",
    .queue = (uint64_t)PACKETS_USUAL * PACKET_USUAL,
    .blocks = true,
    CARRIED_SLOTS(mq),
    .kin = &knell_mq,
};
