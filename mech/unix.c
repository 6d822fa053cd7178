/* SPDX-License-Identifier: MIT
 *
 * unix://: a Unix socket between two processes, stream or seqpacket, by path or abstract name. Meeting is meet.c's work,
 * what flows is link.c's and pull.c's; here both become an end. Its connections stand in a list, and each way walks along
 * it by itself: what a dead peer had sent is received, and its death told, even when the other way has long found the next
 * peer.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/weave.h"
#include "mech/mech.h"
#include "mech/meet.h"
#include "mech/pull.h"
#include "mem/node.h"

#define LINKS_MAX 8           /* connections in the list: dead peers whose messages nobody received, and the living one */
#define CALLS_PER_LOOK 1024   /* sends or receives between two looks at who else wants to join */
#define ANSWER_NS (300 * CLOCK_MS) /* how long open gives a listener that is awake to answer */
#define PIECE_MAX ((size_t)128 << 10) /* of a stream: what one frame carries of it */

struct way {
    struct link *at;
    uint64_t next; /* serial of the connection after that */
    unsigned calls;
};

struct unix_end {
    LINE_ALIGNED struct way way[2];
    LINE_ALIGNED pthread_mutex_t lock; /* for what follows; never held while something blocks */
    struct unix_end *neighbour;        /* the next end of this process */
    struct meet meet;
    struct link *first, *last;
    uint64_t links; /* ever made */
    uint64_t noted; /* links, when the newest one's end was noted */
    uint64_t queue; /* bytes of send buffer granted */
    uint64_t max;   /* of the options */
    size_t send_max, recv_max;
    bool sends, receives, packets, bytes;
    bool final; /* the peer said goodbye */
    struct node_end *seen;
    int user, ready; /* thirl_fd's, and an eventfd in it that is readable while our buffer has something */
    enum mech_way user_way;
    bool lit; /* ready is readable */
};

/* All ends of this process: one that calls another of the same process finds nobody awake there but itself. */
static pthread_mutex_t ends_lock = PTHREAD_MUTEX_INITIALIZER;
static struct unix_end *ends;

static void lock_ends(void) {
    (void)pthread_mutex_lock(&ends_lock);
}

static void unlock_ends(void) {
    (void)pthread_mutex_unlock(&ends_lock);
}

static void forget_ends(void) {
    ends = NULL; /* in a forked child: they are the parent's */
    (void)pthread_mutex_unlock(&ends_lock);
}

static void prepare_fork(void) {
    (void)pthread_atfork(lock_ends, unlock_ends, forget_ends);
}

/* Makes the user's descriptor readable by itself, or leaves that to the sockets in it. */
static void light(struct unix_end *e, bool on) {
    if (on != e->lit) {
        uint64_t count = 1;
        e->lit = on;
        (void)!(on ? write(e->ready, &count, sizeof(count)) : read(e->ready, &count, sizeof(count)));
    }
}

/* ---- the list of connections ------------------------------------------------------------------------------------- */

static int adopt(struct unix_end *e, const struct meet_match *match) {
    struct link_terms terms = {.packets = e->packets, .bytes = e->bytes, .recv_max = e->recv_max};
    terms.send_max = match->hello.max < e->send_max ? (size_t)match->hello.max : e->send_max;
    if (e->bytes && terms.send_max == 0) {
        terms.send_max = 1;
    }
    struct link *l;
    int rc = link_make(&l, match->fd, &match->who, &terms);
    if (rc != 0) {
        return rc;
    }
    l->serial = e->links++;
    l->holders = e->sends + e->receives;
    if (e->last) {
        e->last->next = l;
    } else {
        e->first = l;
    }
    e->last = l;
    meet_attend(&e->meet, l->fd, EPOLLOUT); /* wakes who still waits for a peer, on the other way */
    node_end_peer(e->seen, l->who.pid, l->who.name);
    if (e->user >= 0 && !e->way[e->user_way].at) {
        light(e, true);
    }
    weave("unix.link.after");
    return 0;
}

/* Under the lock: is the newest connection's peer there, or was its goodbye final? Notes its end, once. */
static bool peered(struct unix_end *e) {
    struct link *l = e->last;
    if (!l || e->noted == e->links) {
        return e->final;
    }
    if (!link_look(l, NULL)) {
        return true;
    }
    e->noted = e->links;
    meet_forget(&e->meet, l->fd);
    e->final = link_code(l) == -THIRL_ECLOSED;
    if (e->final) {
        weave("unix.final.before");
        meet_retire(&e->meet);
        atomic_store(&e->seen->state, NODE_END_CLOSED);
    } else {
        node_end_peer(e->seen, 0, "");
    }
    return e->final;
}

static void help_neighbour(struct unix_end *e);

/* Under the lock: goes on looking for a peer. 0: there is a new one; -EAGAIN; or an error. */
static int advance(struct unix_end *e) {
    struct meet_match match;
    if (peered(e)) {
        return -EAGAIN;
    }
    unsigned waiting = 0;
    for (struct link *l = e->first; l; l = l->next) {
        waiting++;
    }
    if (waiting == LINKS_MAX) {
        return err_say(EBUSY, "%s: %d peers died here and nobody received what they had sent: receive it first",
                       e->meet.address, LINKS_MAX);
    }
    int rc = meet_step(&e->meet, &match);
    if (rc == -EAGAIN && e->meet.joining >= 0 && e->meet.host.pid == getpid()) {
        help_neighbour(e);
        rc = meet_step(&e->meet, &match);
    }
    return rc == 1 ? adopt(e, &match) : rc;
}

/* Who listens is an end of this process, and our thread may be the only one: lets it answer. */
static void help_neighbour(struct unix_end *e) {
    lock_ends();
    for (struct unix_end *other = ends; other; other = other->neighbour) {
        const struct sockaddr_un *at = &other->meet.at;
        if (other == e || other->meet.length != e->meet.length || memcmp(at, &e->meet.at, e->meet.length) != 0 ||
            pthread_mutex_trylock(&other->lock) != 0) {
            continue;
        }
        if (other->meet.listener >= 0) {
            if (peered(other)) {
                meet_refuse(&other->meet, other->last->who.pid);
            } else {
                (void)advance(other);
            }
        }
        (void)pthread_mutex_unlock(&other->lock);
    }
    unlock_ends();
}

/* Puts the connection that a way is at into the user's descriptor, or takes it out. */
static void show(struct unix_end *e, enum mech_way way, struct link *l, int operation) {
    if (e->user >= 0 && way == e->user_way) {
        struct epoll_event event = {.events = way == MECH_IN ? EPOLLIN : EPOLLOUT, .data.fd = l->fd};
        (void)epoll_ctl(e->user, operation, l->fd, &event);
        if (l->who.pidfd >= 0) {
            event.events = EPOLLIN;
            (void)epoll_ctl(e->user, operation, l->who.pidfd, &event);
        }
    }
}

/* The connection that this way has to do with now. 0, -EAGAIN, or an error. */
static int find(struct unix_end *e, enum mech_way way, struct link **found) {
    struct way *w = &e->way[way];
    if (likely((*found = w->at) != NULL)) {
        return 0;
    }
    (void)pthread_mutex_lock(&e->lock);
    int rc = w->next == e->links ? advance(e) : 0;
    for (struct link *l = e->first; rc == 0 && l; l = l->next) {
        if (l->serial == w->next) {
            *found = w->at = l;
            w->next++;
            show(e, way, l, EPOLL_CTL_ADD);
            break;
        }
    }
    (void)pthread_mutex_unlock(&e->lock);
    return rc == 0 && !*found ? -EAGAIN : rc;
}

/* This way is done with a dead peer; the last of the ways frees what is left of it. */
static void pass(struct unix_end *e, enum mech_way way) {
    (void)pthread_mutex_lock(&e->lock);
    struct link *l = e->way[way].at;
    (void)peered(e);
    show(e, way, l, EPOLL_CTL_DEL);
    e->way[way].at = NULL;
    if (--l->holders == 0) {
        struct link **at = &e->first, *before = NULL;
        while (*at != l) {
            before = *at;
            at = &(*at)->next;
        }
        *at = l->next;
        e->last = e->last == l ? before : e->last;
        link_free(l);
    }
    (void)pthread_mutex_unlock(&e->lock);
}

/* Whoever else wants to join is told that it cannot; the peer's life is looked at. */
static void attend(struct unix_end *e) {
    (void)pthread_mutex_lock(&e->lock);
    if (peered(e) && !e->final) {
        meet_refuse(&e->meet, e->last->who.pid);
    }
    (void)pthread_mutex_unlock(&e->lock);
}

/* What a send or receive that did not succeed comes to. 1: try again. */
static int outcome(struct unix_end *e, enum mech_way way, struct link *l, int rc) {
    const char *address = e->meet.address, *name = l->who.name;
    long long pid = l->who.pid;
    switch (rc) {
    case -EAGAIN:
        attend(e);
        return link_code(l) != 0 ? 1 : -EAGAIN;
    case -THIRL_ECLOSED:
        attend(e);
        return err_say(THIRL_ECLOSED, "%s: the peer, pid %lld (%s), closed its end", address, pid, name);
    case -THIRL_EPEERDIED:
        (void)err_say(THIRL_EPEERDIED, "%s: the peer, pid %lld (%s), died", address, pid, name);
        break;
    case -THIRL_EFORMAT:
        (void)(way == MECH_IN ? err_add(rc, " (%s, pid %lld (%s); the connection is cut)", address, pid, name)
                              : err_say(THIRL_EFORMAT, "%s: pid %lld (%s) sent what is not thirl's; the connection is cut",
                                        address, pid, name));
        break;
    default:
        return rc;
    }
    pass(e, way);
    return rc;
}

/* What the user's descriptor must say of itself after a call of that way. */
static void relight(struct unix_end *e, enum mech_way way) {
    const struct way *w = &e->way[way];
    if (e->user < 0 || way != e->user_way) {
        return;
    }
    (void)pthread_mutex_lock(&e->lock);
    light(e, w->at ? way == MECH_IN && pull_ready(w->at)
                   : w->next < e->links || (e->meet.listener < 0 && e->meet.joining < 0));
    (void)pthread_mutex_unlock(&e->lock);
}

/* ---- the slots --------------------------------------------------------------------------------------------------- */

static int send_slot(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct unix_end *e = self;
    struct link *l;
    int rc = 1;
    for (int tries = 0; rc == 1 && tries < 2; tries++) {
        rc = find(e, MECH_OUT, &l);
        if (likely(rc == 0)) {
            rc = link_send(l, data, size, done, wait);
            rc = likely(rc == 0) ? 0 : outcome(e, MECH_OUT, l, rc);
        }
    }
    if (unlikely(++e->way[MECH_OUT].calls % CALLS_PER_LOOK == 0)) {
        attend(e);
    }
    relight(e, MECH_OUT);
    return rc == 1 ? -EAGAIN : rc;
}

static int settle_slot(void *self, const void *data, size_t size, size_t done) {
    struct unix_end *e = self;
    (void)done;
    return e->bytes || !e->way[MECH_OUT].at ? 0 : link_settle(e->way[MECH_OUT].at, data, size);
}

static int flush_slot(void *self, uint64_t *left) {
    struct unix_end *e = self;
    struct link *l = e->way[MECH_OUT].at;
    *left = 0;
    int rc = l ? link_flush(l, left) : 0;
    if (rc == -EAGAIN) {
        attend(e);
    }
    return rc;
}

static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct unix_end *e = self;
    struct link *l;
    int rc = 1;
    for (int tries = 0; rc == 1 && tries < 2; tries++) {
        rc = find(e, MECH_IN, &l);
        if (likely(rc == 0)) {
            rc = pull_recv(l, buffer, capacity, size, wait);
            rc = likely(rc == 0) || rc == -EMSGSIZE ? rc : outcome(e, MECH_IN, l, rc);
        }
    }
    if (unlikely(++e->way[MECH_IN].calls % CALLS_PER_LOOK == 0)) {
        attend(e);
    }
    relight(e, MECH_IN);
    if (rc == -THIRL_ECLOSED && e->bytes) {
        *size = 0;
        return THIRL_END;
    }
    return rc == 1 ? -EAGAIN : rc;
}

static int look_slot(void *self, enum mech_way way) {
    struct unix_end *e = self;
    struct link *l;
    bool readable = false;
    int rc = find(e, way, &l);
    if (rc != 0) {
        return rc;
    }
    attend(e);
    return link_look(l, &readable) || (way == MECH_IN && (readable || pull_ready(l))) ? 0 : -EAGAIN;
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    struct unix_end *e = self;
    struct link *l;
    int rc = find(e, way, &l);
    watch->kind = MECH_WATCH_FD;
    if (rc == 0) {
        if (link_code(l) != 0 || (way == MECH_IN && pull_ready(l))) {
            return 1;
        }
        attend(e);
        watch->fd = l->fd;
        watch->guard = l->who.pidfd;
        watch->events = way == MECH_IN ? POLLIN : POLLOUT;
        watch->slice = MECH_SLICE_NS;
        return link_code(l) != 0;
    }
    (void)pthread_mutex_lock(&e->lock);
    bool busy = e->meet.listener >= 0 || e->meet.joining >= 0;
    watch->fd = e->meet.watch;
    watch->guard = -1;
    watch->events = POLLIN;
    watch->slice = busy ? MECH_SLICE_NS : MEET_PAUSE_NS;
    (void)pthread_mutex_unlock(&e->lock);
    return rc == -EAGAIN ? 0 : rc;
}

static int64_t disarm_slot(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

static int fd_slot(void *self, enum mech_way way, int *fd) {
    struct unix_end *e = self;
    (void)pthread_mutex_lock(&e->lock);
    if (e->user < 0) {
        struct epoll_event event = {.events = EPOLLIN};
        e->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        e->user = epoll_create1(EPOLL_CLOEXEC);
        if (e->ready < 0 || e->user < 0 || epoll_ctl(e->user, EPOLL_CTL_ADD, e->ready, &event) != 0) {
            int code = errno;
            fd_close(&e->ready);
            fd_close(&e->user);
            (void)pthread_mutex_unlock(&e->lock);
            return err_system(code, "%s: no descriptor to wait on", e->meet.address);
        }
        e->user_way = way;
        meet_share(&e->meet, e->user);
        if (e->way[way].at) {
            show(e, way, e->way[way].at, EPOLL_CTL_ADD);
        }
    }
    (void)pthread_mutex_unlock(&e->lock);
    relight(e, way);
    *fd = e->user;
    return 0;
}

static void limits_slot(void *self, struct thirl_limits *limits) {
    struct unix_end *e = self;
    (void)pthread_mutex_lock(&e->lock);
    limits->message_max = e->bytes ? e->max : e->last && e->noted != e->links ? e->last->terms.send_max : e->send_max;
    limits->queue = e->queue;
    (void)pthread_mutex_unlock(&e->lock);
    limits->boundaries = !e->bytes;
    limits->ordered = limits->reliable = limits->identity = limits->pollable = 1;
    limits->senders = limits->receivers = 1;
}

static int peer_slot(void *self, struct thirl_peer *peer) {
    struct unix_end *e = self;
    int rc = -ENOTCONN;
    (void)pthread_mutex_lock(&e->lock);
    (void)(e->noted == e->links && !e->final ? advance(e) : 0);
    if (e->last && peered(e) && !e->final) {
        const struct link_who *who = &e->last->who;
        char path[40];
        peer->pid = who->pid;
        peer->uid = who->uid;
        peer->gid = who->gid;
        (void)snprintf(path, sizeof(path), "/proc/%lld/exe", (long long)who->pid);
        ssize_t length = who->pid > 0 ? readlink(path, peer->exe, sizeof(peer->exe) - 1) : 0;
        peer->exe[length > 0 ? length : 0] = '\0';
        rc = 0;
    }
    (void)pthread_mutex_unlock(&e->lock);
    return rc;
}

static void close_slot(void *self) {
    struct unix_end *e = self;
    lock_ends();
    struct unix_end **at = &ends;
    while (*at && *at != e) {
        at = &(*at)->neighbour;
    }
    *at = *at ? e->neighbour : NULL;
    unlock_ends();
    (void)pthread_mutex_lock(&e->lock);
    weave("unix.close.before");
    if (e->last && !e->final) {
        link_bye(e->last);
    }
    meet_deinit(&e->meet);
    for (struct link *l = e->first, *next; l; l = next) {
        next = l->next;
        link_free(l);
    }
    e->first = e->last = NULL;
    fd_close(&e->user);
    fd_close(&e->ready);
    weave("unix.close.after");
    (void)pthread_mutex_unlock(&e->lock);
}

static void deinit_slot(void *self) {
    struct unix_end *e = self;
    (void)pthread_mutex_destroy(&e->lock);
}

/* Goes as far as this end can alone: until it listens, or has heard whether it may join. */
static int begin(struct unix_end *e, int64_t timeout) {
    int64_t until = clock_now() + (timeout < ANSWER_NS ? timeout : ANSWER_NS);
    for (;;) {
        int rc = advance(e);
        int64_t left = until - clock_now();
        if (rc != -EAGAIN) {
            return rc;
        }
        if (e->meet.listener >= 0 || (e->meet.joining >= 0 && e->meet.host.pid == getpid()) || left <= 0) {
            return 0;
        }
        struct timespec rest = clock_spec(left < MEET_PAUSE_NS ? left : MEET_PAUSE_NS);
        struct pollfd polled = {.fd = e->meet.watch, .events = POLLIN};
        (void)ppoll(&polled, 1, &rest, NULL);
    }
}

/* How much a socket of this kind holds, and so how large a packet may be. */
static int measure(struct unix_end *e, const struct mech_open *open) {
    int fd = socket(AF_UNIX, (e->packets ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_system(errno, "%s: no socket", open->address);
    }
    e->queue = link_set_queue(fd, open->options.queue, e->packets);
    fd_close(&fd);
    e->max = open->options.max < FRAME_SIZE_MAX ? open->options.max : FRAME_SIZE_MAX;
    size_t carried = e->bytes ? PIECE_MAX : (size_t)e->max;
    e->send_max = e->recv_max = carried;
    if (e->packets) {
        size_t packet = e->queue > LINK_HEAD_ROOM ? e->queue - LINK_HEAD_ROOM : 1;
        packet = packet < LINK_PACKET_MAX ? packet : LINK_PACKET_MAX;
        e->send_max = carried < packet ? carried : packet;
        e->recv_max = carried < LINK_PACKET_MAX ? carried : LINK_PACKET_MAX;
    }
    e->seen->queue = e->queue;
    return 0;
}

static int open_slot(void *self, const struct mech_open *open) {
    struct unix_end *e = self;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, prepare_fork);
    (void)pthread_mutex_init(&e->lock, NULL);
    e->sends = open->sends;
    e->receives = open->receives;
    e->bytes = open->stream;
    e->packets = open->options.type == THIRL_SEQPACKET;
    e->seen = open->seen;
    e->user = e->ready = -1;
    int rc = measure(e, open);
    if (rc == 0) {
        const struct frame_hello own = {.role = (uint8_t)open->role, .stream = e->bytes, .max = e->recv_max};
        rc = meet_init(&e->meet, open->address, open->rest, e->packets, open->options.mode, open->options.queue, &own);
        rc = rc != 0 ? rc : begin(e, open->options.timeout);
        if (rc != 0) {
            meet_deinit(&e->meet);
        }
    }
    if (rc != 0) {
        (void)pthread_mutex_destroy(&e->lock);
        return rc;
    }
    lock_ends();
    e->neighbour = ends;
    ends = e;
    unlock_ends();
    return 0;
}

const struct mech mech_unix = {
    .scheme = "unix",
    .summary = "Unix socket, stream or seqpacket, by path or abstract name",
    .state_size = sizeof(struct unix_end),
    .blocks = true,
    .open = open_slot,
    .close = close_slot,
    .deinit = deinit_slot,
    .flush = flush_slot,
    .send = send_slot,
    .settle = settle_slot,
    .recv = recv_slot,
    .look = look_slot,
    .arm = arm_slot,
    .disarm = disarm_slot,
    .fd = fd_slot,
    .limits = limits_slot,
    .peer = peer_slot,
};
