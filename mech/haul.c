/* SPDX-License-Identifier: MIT
 *
 * What every mechanism does that carries messages over connections: see haul.h. Where peers meet is meet.c's work, what
 * flows is link.c's and pull.c's, and chain.c knows which connection is meant; here they become slots of struct mech.
 */
#define _GNU_SOURCE
#include "mech/haul.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/parts.h"
#include "base/weave.h"
#include "mech/batch.h"
#include "mech/far.h"
#include "mech/pull.h"
#include "mech/seal.h"

#define CALLS_PER_LOOK 1024        /* sends or receives between two looks at who else wants to join */
#define ANSWER_NS (300 * CLOCK_MS) /* how long open gives a listener that is awake to answer */
/* And a hub. It looks who has called before it sends, unless it has looked less than HUB_LOOK_NS ago: so whoever has waited longer misses
 * nothing that is sent from now on. What is more is for a refusal to come at once, where the hub is awake. */
#define HUB_ANSWER_NS (5 * CLOCK_MS)

/* note: NULL when there is none, and known to be so where it is inlined. */
static inline __attribute__((always_inline)) int send_with(struct chain *e, const void *data, size_t size, size_t *done,
                                                           const struct mech_note *note, bool wait) {
    struct link *l;
    int rc = 1;
    for (int tries = 0; rc == 1 && tries < 2; tries++) {
        rc = chain_find(e, MECH_OUT, &l);
        if (likely(rc == 0)) {
            rc = note == NULL ? link_send(l, data, size, done, wait) : link_send_noted(l, data, size, done, note, wait);
            rc = likely(rc == 0) ? 0 : chain_outcome(e, MECH_OUT, l, rc);
        }
    }
    if (unlikely(++e->way[MECH_OUT].calls % CALLS_PER_LOOK == 0)) {
        chain_attend(e);
    }
    chain_relight(e, MECH_OUT);
    return rc == 1 ? -EAGAIN : rc;
}

HOT int haul_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    return send_with(self, data, size, done, NULL, wait);
}

int haul_send_noted(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note, bool wait) {
    return send_with(self, data, size, done, note, wait);
}

int haul_settle(void *self, const void *data, size_t size, size_t done) {
    struct chain *e = self;
    (void)done;
    return e->bytes || !e->way[MECH_OUT].at ? 0 : link_settle(e->way[MECH_OUT].at, data, size);
}

/* Goodbye is said, and did not leave this host yet: a reset could still undo what has not. */
static bool drains(const struct link *l) {
    return l->who.remote && l->said && far_unsent(l->fd) > 0;
}

int haul_flush(void *self, uint64_t *left) {
    struct chain *e = self;
    struct link *l = e->way[MECH_OUT].at;
    *left = 0;
    int rc = l ? link_flush(l, left) : 0;
    if (rc == 0 && l && drains(l)) {
        *left = 1; /* or more: the kernel counts bytes */
        rc = -EAGAIN;
    }
    if (rc == -EAGAIN) {
        chain_attend(e);
    }
    return rc;
}

static inline __attribute__((always_inline)) int recv_with(struct chain *e, void *buffer, size_t capacity, size_t *size,
                                                           struct mech_note *note, bool wait) {
    struct link *l;
    int rc = 1;
    for (int tries = 0; rc == 1 && tries < 2; tries++) {
        rc = chain_find(e, MECH_IN, &l);
        if (likely(rc == 0)) {
            rc = note == NULL || e->descriptors == 0 ? pull_recv(l, buffer, capacity, size, wait)
                                                     : pull_unusual(l, buffer, capacity, size, note, wait);
            rc = likely(rc == 0) || rc == -EMSGSIZE ? rc : chain_outcome(e, MECH_IN, l, rc);
        }
    }
    if (unlikely(++e->way[MECH_IN].calls % CALLS_PER_LOOK == 0)) {
        chain_attend(e);
    }
    chain_relight(e, MECH_IN);
    if (rc == -THIRL_ECLOSED && e->bytes) {
        *size = 0;
        return THIRL_END;
    }
    return rc == 1 ? -EAGAIN : rc;
}

HOT int haul_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    return recv_with(self, buffer, capacity, size, NULL, wait);
}

int haul_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    return recv_with(self, buffer, capacity, size, note, wait);
}

int haul_send_many(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    struct chain *e = self;
    struct link *l;
    int rc = chain_find(e, MECH_OUT, &l);
    if (rc == 0) {
        rc = batch_send(l, messages, count);
        rc = rc == 0 || rc == 1 ? rc : chain_outcome(e, MECH_OUT, l, rc);
    } else {
        *count = 0;
    }
    *bytes = parts_size(messages, *count);
    chain_relight(e, MECH_OUT);
    return rc;
}

int haul_recv_many(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count, size_t *bytes) {
    struct chain *e = self;
    messages->iov_base = buffer;
    int rc = haul_recv(self, buffer, capacity, &messages->iov_len, false);
    if (rc == 0) {
        batch_recv(e->way[MECH_IN].at, buffer, capacity, messages, count);
        *bytes = parts_size(messages, *count);
        chain_relight(e, MECH_IN);
    }
    return rc;
}

bool haul_ready(void *self, enum mech_way way) {
    struct chain *e = self;
    struct link *l;
    int rc = chain_find(e, way, &l);
    return rc == 0 ? link_code(l) != 0 || (way == MECH_IN && pull_ready(l)) : rc != -EAGAIN;
}

int haul_look(void *self, enum mech_way way) {
    struct chain *e = self;
    struct link *l;
    bool readable = false;
    int rc = chain_find(e, way, &l);
    if (rc != 0) {
        return rc;
    }
    chain_attend(e);
    return link_look(l, &readable) || (way == MECH_IN && (readable || pull_ready(l))) ? 0 : -EAGAIN;
}

int haul_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct chain *e = self;
    struct link *l;
    int rc = chain_find(e, way, &l);
    watch->kind = MECH_WATCH_FD;
    if (rc == 0) {
        if (link_code(l) != 0 || (way == MECH_IN && pull_ready(l))) {
            return 1;
        }
        chain_attend(e);
        watch->fd = way == MECH_IN ? l->fd : l->out;
        watch->guard = l->who.pidfd;
        bool full = way == MECH_OUT && link_overfull(l), draining = way == MECH_OUT && drains(l);
        watch->events = way == MECH_IN ? POLLIN : full || draining ? 0 : POLLOUT; /* for those two there is no event */
        watch->slice = full ? LINK_NAP_NS : draining ? CLOCK_MS : MECH_SLICE_NS;
        return link_code(l) != 0;
    }
    (void)pthread_mutex_lock(&e->lock);
    bool busy = !meet_pauses(&e->meet);
    watch->fd = e->meet.watch;
    watch->guard = -1;
    watch->events = POLLIN;
    watch->slice = e->meet.deaf ? MEET_GRACE_NS : busy || e->meet.pause == 0 ? MECH_SLICE_NS : e->meet.pause;
    (void)pthread_mutex_unlock(&e->lock);
    return rc == -EAGAIN ? 0 : rc;
}

int64_t haul_disarm(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

int haul_fd(void *self, enum mech_way way, int *fd) {
    struct chain *e = self;
    int rc = chain_user(e, way);
    *fd = e->user;
    return rc;
}

void haul_limits(void *self, struct thirl_limits *limits) {
    struct chain *e = self;
    (void)pthread_mutex_lock(&e->lock);
    bool peered = e->last && e->noted != e->links;
    limits->message_max = e->bytes ? e->max : peered ? e->last->terms.send_max : e->send_max;
    limits->queue = e->queue;
    limits->descriptors = e->carries && (!peered || e->last->terms.gives != 0);
    (void)pthread_mutex_unlock(&e->lock);
    limits->ordered = limits->reliable = limits->pollable = 1;
    limits->senders = limits->receivers = 1;
    limits->atomic_max = e->packets ? limits->message_max : 0;
    limits->priorities = 1;
}

void haul_claims(struct thirl_limits *limits) {
    limits->message_max = MECH_MAX;
    limits->queue = (uint64_t)2 * HAUL_QUEUE;
    limits->ordered = limits->reliable = limits->pollable = 1;
    limits->senders = limits->receivers = limits->priorities = 1;
}

void haul_claims_pipes(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->queue = 262144; /* the default, as the kernel rounds it */
}

int haul_peer(void *self, struct thirl_peer *peer) {
    struct chain *e = self;
    int rc = -ENOTCONN;
    (void)pthread_mutex_lock(&e->lock);
    (void)(e->noted == e->links && !e->final ? chain_advance(e) : 0);
    if (e->last && chain_peered(e) && !e->final) {
        const struct link_who *who = &e->last->who;
        char path[40];
        peer->pid = who->pid;
        peer->uid = who->uid;
        peer->gid = who->gid;
        (void)snprintf(path, sizeof(path), "/proc/%lld/exe", (long long)who->pid);
        ssize_t length = who->pid > 0 ? readlink(path, peer->exe, sizeof(peer->exe) - 1) : 0;
        peer->exe[length > 0 ? length : 0] = '\0';
        if (who->remote) {
            (void)snprintf(peer->exe, sizeof(peer->exe), "%s", who->name);
        }
        rc = 0;
    }
    (void)pthread_mutex_unlock(&e->lock);
    return rc;
}

int haul_pidfd(void *self, int *fd) {
    struct chain *e = self;
    int rc = -ENOTCONN;
    (void)pthread_mutex_lock(&e->lock);
    (void)(e->noted == e->links && !e->final ? chain_advance(e) : 0);
    if (e->last && chain_peered(e) && !e->final) {
        int pidfd = e->last->pidfd;
        *fd = pidfd < 0 ? -1 : fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
        rc = *fd >= 0    ? 0
             : pidfd < 0 ? err_say(EOPNOTSUPP, "%s: the kernel has no pidfd of the peer", e->meet.address)
                         : err_system(errno, "%s: the pidfd of the peer cannot be duplicated", e->meet.address);
    }
    (void)pthread_mutex_unlock(&e->lock);
    return rc;
}

void haul_close(void *self) {
    struct chain *e = self;
    chain_leave(e);
    (void)pthread_mutex_lock(&e->lock);
    weave("haul.close.before");
    if (e->last && !e->final) {
        link_bye(e->last);
        if (e->last->who.remote) {
            far_part(e->last->fd);
        }
    }
    meet_deinit(&e->meet);
    for (struct link *l = e->first, *next; l; l = next) {
        next = l->next;
        link_free(l);
    }
    e->first = e->last = NULL;
    fd_close(&e->came);
    fd_close(&e->user);
    fd_close(&e->ready);
    weave("haul.close.after");
    (void)pthread_mutex_unlock(&e->lock);
}

void haul_deinit(void *self) {
    struct chain *e = self;
    (void)pthread_mutex_destroy(&e->lock);
}

/* Goes as far as this end can alone: until it listens, or has heard whether it may join. Where nobody ever listens the other end
 * may well be ours to open. */
static int begin(struct chain *e, int64_t timeout) {
    int64_t now = clock_now(), until = now + (timeout < ANSWER_NS ? timeout : ANSWER_NS);
    bool called = false;
    for (;;) {
        int rc = chain_advance(e);
        now = clock_now();
        if (e->part == MEET_CALLER && meet_joins(&e->meet) && e->meet.greeted && !called) {
            called = true;
            until = until < now + HUB_ANSWER_NS ? until : now + HUB_ANSWER_NS;
        }
        int64_t left = until - now;
        if (rc != -EAGAIN) {
            return rc;
        }
        const struct meet_kind *kind = e->meet.kind;
        if (e->meet.listener >= 0 || !kind->admit || kind->crosses ||
            (e->part == MEET_CALLER && !meet_joins(&e->meet)) ||
            (meet_joins(&e->meet) && (e->near || e->meet.host.pid == getpid())) || left <= 0) {
            return 0;
        }
        int64_t pause = meet_joins(&e->meet) ? MEET_PAUSE_NS : MEET_PAUSE_NS / 16;
        struct timespec rest = clock_spec(left < pause ? left : pause);
        struct pollfd polled = {.fd = e->meet.watch, .events = POLLIN};
        (void)ppoll(&polled, 1, &rest, NULL);
    }
}

/* What a message and a piece of a stream may have. */
static void bound(struct chain *e, uint64_t max) {
    e->max = max < FRAME_SIZE_MAX - e->extra ? max : FRAME_SIZE_MAX - e->extra;
    size_t carried = e->bytes ? CHAIN_PIECE_MAX : (size_t)e->max + e->extra;
    e->send_max = e->recv_max = carried;
    if (e->packets) {
        size_t packet = e->queue > LINK_HEAD_ROOM ? e->queue - LINK_HEAD_ROOM : 1;
        packet = packet < LINK_PACKET_MAX ? packet : LINK_PACKET_MAX;
        e->send_max = carried < packet ? carried : packet;
        carried = e->raw ? (size_t)e->max : carried; /* packets of strangers */
        e->recv_max = carried < LINK_PACKET_MAX ? carried : LINK_PACKET_MAX;
    }
}

/* 0 or an error; either way haul_open has to give back what there is then. */
static int set_up(struct chain *e, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    struct frame_hello own = {.role = (uint8_t)open->role,
                              .stream = e->bytes,
                              .descriptors = (uint8_t)e->descriptors,
                              .features = seal_kind(&open->options) * FRAME_CRC,
                              .max = e->recv_max};
    int rc = type_take(&own.type, open->options.of);
    rc = rc != 0 ? rc : meet_init(&e->meet, kind, place, open->address, e->packets, open->options.queue, &own);
    if (rc != 0) {
        return rc;
    }
    e->meet.raw = e->raw;
    meet_play(&e->meet, e->part);
    e->came = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->came < 0) {
        return err_system(errno, "%s: no eventfd", open->address);
    }
    meet_attend(&e->meet, e->came, EPOLLIN);
    return begin(e, open->options.timeout);
}

int haul_open(struct chain *e, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    if (open->options.descriptors != 0 && (open->stream || !e->carries)) {
        return err_say(EOPNOTSUPP, "%s: %s", open->address,
                       e->carries ? "descriptors travel with messages, and a byte stream has none"
                                  : "descriptors travel over Unix sockets only");
    }
    (void)pthread_mutex_init(&e->lock, NULL);
    e->sends = open->sends;
    e->receives = open->receives;
    e->raw = open->options.raw != 0;
    e->quiet = open->options.wait == THIRL_WAIT_SLEEP;
    e->bytes = open->stream || (e->raw && !e->packets);
    *open->bytes = e->bytes;
    e->descriptors = open->options.descriptors;
    e->carries = e->carries && !open->stream;
    e->seen = open->seen;
    e->seen->queue = e->queue;
    e->user = e->ready = e->came = -1;
    bound(e, open->options.max);
    e->recv_max = e->serve && !e->receives ? FRAME_TELL : e->recv_max; /* to most hubs nobody sends messages */
    int rc = set_up(e, open, kind, place);
    if (rc != 0) {
        fd_close(&e->came);
        meet_deinit(&e->meet);
        (void)pthread_mutex_destroy(&e->lock);
        return rc;
    }
    chain_join(e);
    return 0;
}
