/* SPDX-License-Identifier: MIT
 *
 * Plain pipes, see hose.h. The kernel does not say who is at the other side, nor wake anybody when a reader comes: a way
 * out that nobody reads is tried again after a pause that grows.
 */
#define _GNU_SOURCE
#include "mech/hose.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mem/node.h"

#define CALL_MAX ((size_t)256 << 10)
#define PAUSE_MIN (1250 * CLOCK_US)
#define PAUSE_MAX (20 * CLOCK_MS)

/* All of this process. */
static pthread_mutex_t hoses_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hose *hoses;

static void lock_hoses(void) {
    (void)pthread_mutex_lock(&hoses_lock);
}

static void unlock_hoses(void) {
    (void)pthread_mutex_unlock(&hoses_lock);
}

/* In a forked child. What was kept for it stays. */
static void forget_hoses(void) {
    hoses = NULL;
    unlock_hoses();
}

static void prepare_fork(void) {
    (void)pthread_atfork(lock_hoses, unlock_hoses, forget_hoses);
}

void hose_join(struct hose *h) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, prepare_fork);
    lock_hoses();
    h->neighbour = hoses;
    hoses = h;
    unlock_hoses();
}

static void leave_hoses(struct hose *h) {
    lock_hoses();
    struct hose **at = &hoses;
    while (*at != NULL && *at != h) {
        at = &(*at)->neighbour;
    }
    if (*at != NULL) {
        *at = h->neighbour;
    }
    unlock_hoses();
}

bool hose_keeps(int fd) {
    bool found = false;
    lock_hoses();
    for (const struct hose *h = hoses; h != NULL; h = h->neighbour) {
        found = found || h->way[0].theirs == fd || h->way[1].theirs == fd;
    }
    unlock_hoses();
    return found;
}

void hose_init(struct hose *h, const struct hose_kind *kind, const struct mech_open *open) {
    *h = (struct hose){.kind = kind, .max = open->options.max, .seen = open->seen, .user = -1, .ready = -1};
    (void)snprintf(h->text, sizeof h->text, "%s", open->address);
    h->address = h->text;
    h->sends = open->sends;
    h->receives = open->receives;
    h->messages = open->role == THIRL_PUSH;
    *open->bytes = true;
    for (int way = 0; way < 2; way++) {
        h->way[way].fd = h->way[way].theirs = -1;
    }
}

/* ---- the user's descriptor ---- */

/* Where descriptors change there is one way only. */
static void show(struct hose *h, enum mech_way way, int operation) {
    struct epoll_event event = {.events = way == MECH_IN ? EPOLLIN : EPOLLOUT};
    if (h->user >= 0 && h->way[way].fd >= 0) {
        (void)epoll_ctl(h->user, operation, h->way[way].fd, &event);
    }
}

void hose_relight(struct hose *h, enum mech_way way) {
    const struct hose_way *w = &h->way[way];
    if (h->user < 0 || way != h->user_way) {
        return;
    }
    show(h, way, w->met ? EPOLL_CTL_ADD : EPOLL_CTL_DEL);
    fd_tick(h->ready, w->over ? 0 : w->met ? -1 : w->pause);
}

void hose_set(struct hose *h, enum mech_way way, int fd) {
    show(h, way, EPOLL_CTL_DEL);
    fd_close(&h->way[way].fd);
    h->way[way].fd = fd;
    fd_own(fd);
}

int hose_fd(void *self, enum mech_way way, int *fd) {
    struct hose *h = self;
    if (h->user < 0) {
        struct epoll_event event = {.events = EPOLLIN};
        h->ready = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        h->user = epoll_create1(EPOLL_CLOEXEC);
        if (h->ready < 0 || h->user < 0 || epoll_ctl(h->user, EPOLL_CTL_ADD, h->ready, &event) != 0) {
            int rc = err_system(errno, "%s: no descriptor to wait on", h->address);
            fd_close(&h->ready);
            fd_close(&h->user);
            return rc;
        }
        h->user_way = way;
    }
    (void)hose_look(h, way);
    *fd = h->user;
    return 0;
}

/* ---- both ways ---- */

void hose_meet(struct hose *h, enum mech_way way) {
    h->way[way].met = true;
    h->way[way].pause = 0;
    node_end_peer(h->seen, 0, "the other program");
    weave("hose.meet.after");
}

static inline int find(struct hose *h, enum mech_way way) {
    struct hose_way *w = &h->way[way];
    if (likely(w->met)) {
        return 0;
    }
    int rc = h->kind->reach(h, way);
    if (rc == 0) {
        hose_meet(h, way);
    } else {
        w->pause = w->pause == 0 ? PAUSE_MIN : w->pause < PAUSE_MAX ? w->pause * 2 : w->pause;
    }
    hose_relight(h, way);
    return rc;
}

static short events_of(int fd, short wanted) {
    struct pollfd polled = {.fd = fd, .events = wanted};
    return poll(&polled, 1, 0) == 1 ? polled.revents : 0;
}

bool hose_is_unread(int fd) {
    return (events_of(fd, 0) & POLLERR) != 0;
}

bool hose_ready(void *self, enum mech_way way) {
    struct hose *h = self;
    int rc = find(h, way);
    return rc == 0 ? h->way[way].over : rc != -EAGAIN;
}

int hose_look(void *self, enum mech_way way) {
    struct hose *h = self;
    struct hose_way *w = &h->way[way];
    int rc = way == MECH_IN && !w->came && !w->over && h->kind->attend != NULL ? h->kind->attend(h) : 0;
    rc = rc != 0 ? rc : find(h, way);
    if (rc != 0) {
        return rc;
    }
    hose_relight(h, way);
    return w->over || events_of(w->fd, way == MECH_IN ? POLLIN : POLLOUT) != 0 ? 0 : -EAGAIN;
}

int hose_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct hose *h = self;
    const struct hose_way *w = &h->way[way];
    if (w->over) {
        return 1;
    }
    watch->kind = MECH_WATCH_FD;
    watch->fd = w->met ? w->fd : -1;
    watch->guard = -1;
    watch->events = way == MECH_IN ? POLLIN : POLLOUT;
    watch->slice = w->met || w->pause == 0 ? MECH_SLICE_NS : w->pause;
    return 0;
}

int64_t hose_disarm(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

/* ---- the way out ---- */

static int unread(struct hose *h) {
    return err_say(THIRL_ECLOSED, "%s: nobody reads it any more", h->address);
}

/* Nothing went. A queue waits for the next reader, and what nobody has read waits for him in the pipe. */
static int refused(struct hose *h, int code) {
    struct hose_way *w = &h->way[MECH_OUT];
    if (code == -EAGAIN || code == -EINTR) {
        return -EAGAIN;
    }
    if (code != -EPIPE) {
        return err_system(-code, "%s: cannot write", h->address);
    }
    if (h->messages && h->kind->many) {
        w->met = false;
        h->seen->queue = 0;
        node_end_peer(h->seen, 0, "");
        hose_relight(h, MECH_OUT);
        return -EAGAIN;
    }
    w->over = true;
    hose_relight(h, MECH_OUT);
    return unread(h);
}

static int check_size(const struct hose *h, size_t size) {
    if (size == 0) {
        return err_say(EINVAL, "%s: an empty message leaves no trace in a pipe; ?raw sends none", h->address);
    }
    return err_say(EMSGSIZE,
                   "%s: a message of %zu bytes is larger than the %d (PIPE_BUF) that a pipe takes in one piece; WRITE "
                   "sends more, and other writers may come between",
                   h->address, size, PIPE_BUF);
}

int hose_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct hose *h = self;
    struct hose_way *w = &h->way[MECH_OUT];
    int64_t late = 0;
    if (unlikely(h->messages && (size == 0 || size > PIPE_BUF))) {
        return check_size(h, size);
    }
    int rc = find(h, MECH_OUT);
    if (unlikely(rc != 0 || w->over)) {
        return rc != 0 ? rc : unread(h);
    }
    while (*done < size) {
        size_t part = size - *done < CALL_MAX ? size - *done : CALL_MAX;
        struct iovec piece = {(char *)(uintptr_t)data + *done, part};
        ssize_t went = tube_write(w->fd, &piece, 1, w->shared);
        if (went == -EAGAIN && wait) {
            tube_wait(w->fd, POLLOUT, -1, MECH_SLICE_NS);
            went = tube_write(w->fd, &piece, 1, w->shared);
        }
        if (unlikely(went < 0)) {
            return refused(h, (int)went);
        }
        weave("hose.send.after");
        *done += (size_t)went;
        if (*done < size && wait) {
            int64_t now = clock_now();
            late = late ? late : now + MECH_SLICE_NS;
            wait = now < late;
        }
    }
    return 0;
}

/* A stream forgets, and a message is never half on its way. */
int hose_settle(void *self, const void *data, size_t size, size_t done) {
    (void)self;
    (void)data;
    (void)size;
    (void)done;
    return 0;
}

/* What the kernel has taken is the reader's, while there is one. */
int hose_flush(void *self, uint64_t *left) {
    const struct hose *h = self;
    const struct hose_way *w = &h->way[MECH_OUT];
    int waiting = 0;
    bool lost =
        w->fd >= 0 && w->theirs < 0 && hose_is_unread(w->fd) && ioctl(w->fd, FIONREAD, &waiting) == 0 && waiting > 0;
    *left = lost; /* or more: the kernel counts bytes */
    return lost ? -THIRL_ECLOSED : 0;
}

/* ---- the way in ---- */

/* The pipe is empty and nobody has it open for writing: was anybody ever there? */
static int came_nothing(struct hose *h) {
    struct hose_way *w = &h->way[MECH_IN];
    if (!w->over && h->kind->awaits != NULL && h->kind->awaits(h)) {
        return -EAGAIN;
    }
    w->over = true;
    hose_relight(h, MECH_IN);
    return THIRL_END;
}

int hose_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct hose *h = self;
    struct hose_way *w = &h->way[MECH_IN];
    int rc = find(h, MECH_IN);
    *size = 0;
    if (unlikely(rc != 0 || capacity == 0)) {
        return rc;
    }
    struct iovec part = {buffer, capacity};
    ssize_t got = w->over ? 0 : tube_read(w->fd, &part, 1, w->shared);
    if (got == -EAGAIN && wait) {
        tube_wait(w->fd, POLLIN, -1, MECH_SLICE_NS);
        got = tube_read(w->fd, &part, 1, w->shared);
    }
    if (likely(got > 0)) {
        weave("hose.recv.after");
        if (unlikely(!w->came)) {
            w->came = true;
            node_end_peer(h->seen, 0, "the other program");
        }
        *size = (size_t)got;
        return 0;
    }
    return got == 0                          ? came_nothing(h)
           : got == -EAGAIN || got == -EINTR ? -EAGAIN
                                             : err_system((int)-got, "%s: cannot read", h->address);
}

/* ---- the end as a whole ---- */

void hose_close(void *self) {
    struct hose *h = self;
    leave_hoses(h);
    if (h->kind->leave != NULL) {
        h->kind->leave(h);
    }
    weave("hose.close.before");
    for (int way = 0; way < 2; way++) {
        fd_close(&h->way[way].fd);
        fd_close(&h->way[way].theirs);
    }
    fd_close(&h->user);
    fd_close(&h->ready);
}

void hose_deinit(void *self) {
    (void)self;
}

static void describe(struct thirl_limits *limits) {
    limits->ordered = limits->reliable = limits->pollable = 1;
    limits->atomic_max = PIPE_BUF;
    limits->senders = limits->receivers = limits->priorities = 1;
}

void hose_limits(void *self, struct thirl_limits *limits) {
    const struct hose *h = self;
    describe(limits);
    limits->message_max = h->messages ? PIPE_BUF : h->max;
    limits->queue = h->seen->queue != 0 ? h->seen->queue : HOSE_QUEUE;
    limits->senders = h->kind->many ? 0 : 1;
}

void hose_claims(struct thirl_limits *limits) {
    describe(limits);
    limits->message_max = MECH_MAX;
    limits->queue = HOSE_QUEUE;
}

int hose_peer(void *self, struct thirl_peer *peer) {
    (void)self;
    (void)peer;
    return -ENOTCONN; /* the kernel does not tell */
}
