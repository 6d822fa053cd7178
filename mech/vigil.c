/* SPDX-License-Identifier: MIT
 *
 * Watching for silence, see vigil.h. Who sleeps is woken by the slice of its watch; an event loop by a timer beside the
 * mechanism's descriptor, which is set anew only when it has run out, for messages put the moment off and cost no system call.
 */
#include "mech/vigil.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "mech/wrap.h"
#include "mem/node.h"

struct vigil {
    struct wrap wrap;
    struct node_end *seen;
    int64_t deadline; /* ns */
    int64_t due;      /* IN: then it was silent for too long */
    int64_t said;     /* OUT: when something was sent last */
    int64_t rings;    /* when the timer runs out */
    int timer, epoll; /* -1: not made */
    char address[NODE_ADDRESS_MAX];
};

#define CALL(self, slot, ...) ((self)->wrap.inner->slot((self)->wrap.inside, ##__VA_ARGS__))

/* ---- listening ---- */

static void set_timer(struct vigil *v) {
    const struct itimerspec at = {.it_value = clock_spec(v->due)};
    v->rings = v->due;
    (void)timerfd_settime(v->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static int tell(struct vigil *v, int64_t now) {
    struct node_count *in = &v->seen->in;
    char who[NODE_PEER_MAX];
    node_end_who(v->seen, who);
    who[sizeof who - 1] = '\0';
    const int64_t silent = now - v->due + v->deadline;
    v->due = clock_after(now, v->deadline);
    if (v->timer >= 0) {
        set_timer(v);
    }
    atomic_poke(&in->silences, in->silences + 1);
    return err_say(THIRL_ESILENT, "%s: %s sent nothing for %lld.%03lld ms: its deadline is %lld.%03lld ms", v->address,
                   who[0] != '\0' ? who : "nobody", (long long)(silent / CLOCK_MS),
                   (long long)(silent % CLOCK_MS / CLOCK_US), (long long)(v->deadline / CLOCK_MS),
                   (long long)(v->deadline % CLOCK_MS / CLOCK_US));
}

/* What a receive comes to. */
static inline int heard(struct vigil *v, int rc) {
    if (unlikely(rc != 0 && rc != -EAGAIN && rc != -EBADMSG && rc != -THIRL_EEXPIRED)) {
        return rc;
    }
    int64_t now = clock_now();
    if (likely(rc != -EAGAIN)) {
        v->due = clock_after(now, v->deadline);
        return rc;
    }
    if (now >= v->due) {
        return tell(v, now);
    }
    if (unlikely(v->timer >= 0 && v->rings <= now)) {
        set_timer(v);
    }
    return rc;
}

/* A receive may sleep inside the mechanism only as long as there is time. */
static inline bool may_wait(const struct vigil *v, bool wait) {
    return wait && v->due - clock_now() > MECH_SLICE_NS;
}

static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct vigil *v = self;
    return heard(v, CALL(v, recv, buffer, capacity, size, may_wait(v, wait)));
}

static int recv_noted_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct vigil *v = self;
    return heard(v, CALL(v, recv_noted, buffer, capacity, size, note, may_wait(v, wait)));
}

static int recv_many_slot(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                          size_t *bytes) {
    struct vigil *v = self;
    return heard(v, CALL(v, recv_many, buffer, capacity, messages, count, bytes));
}

static int take_slot(void *self, struct mech_piece *piece) {
    struct vigil *v = self;
    return heard(v, CALL(v, take, piece));
}

/* ---- waiting ---- */

static bool is_due(const struct vigil *v, enum mech_way way) {
    return way == MECH_IN && clock_now() >= v->due;
}

static bool ready_slot(void *self, enum mech_way way) {
    struct vigil *v = self;
    return CALL(v, ready, way) || is_due(v, way);
}

static int look_slot(void *self, enum mech_way way) {
    struct vigil *v = self;
    int rc = CALL(v, look, way);
    return rc == -EAGAIN && is_due(v, way) ? 0 : rc;
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    struct vigil *v = self;
    int rc = CALL(v, arm, way, watch);
    if (rc != 0 || way == MECH_OUT) {
        return rc;
    }
    int64_t left = v->due - clock_now();
    if (left <= 0) {
        (void)CALL(v, disarm, way);
        return 1;
    }
    watch->slice = left < watch->slice ? left : watch->slice;
    return 0;
}

static int make_timer(struct vigil *v, int inner) {
    struct epoll_event event = {.events = EPOLLIN};
    v->epoll = epoll_create1(EPOLL_CLOEXEC);
    v->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (v->epoll >= 0 && v->timer >= 0 && epoll_ctl(v->epoll, EPOLL_CTL_ADD, inner, &event) == 0 &&
        epoll_ctl(v->epoll, EPOLL_CTL_ADD, v->timer, &event) == 0) {
        return 0;
    }
    int rc = err_system(errno, "%s: no descriptor for an event loop", v->address);
    fd_close(&v->epoll);
    fd_close(&v->timer);
    return rc;
}

static int fd_slot(void *self, enum mech_way way, int *fd) {
    struct vigil *v = self;
    int rc = CALL(v, fd, way, fd);
    if (rc != 0 || way == MECH_OUT) {
        return rc;
    }
    rc = v->epoll >= 0 ? 0 : make_timer(v, *fd);
    if (rc == 0) {
        set_timer(v);
        *fd = v->epoll;
    }
    return rc;
}

/* ---- speaking ---- */

static inline int said(struct vigil *v, int rc) {
    if (likely(rc == 0)) {
        struct node_count *out = &v->seen->out;
        int64_t now = clock_now(), silent = now - v->said;
        if (unlikely(silent > v->deadline)) {
            atomic_poke(&out->silences, out->silences + (uint64_t)(silent / v->deadline));
        }
        v->said = now;
    }
    return rc;
}

static int send_slot(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct vigil *v = self;
    return said(v, CALL(v, send, data, size, done, wait));
}

static int send_noted_slot(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                           bool wait) {
    struct vigil *v = self;
    return said(v, CALL(v, send_noted, data, size, done, note, wait));
}

static int send_many_slot(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    struct vigil *v = self;
    return said(v, CALL(v, send_many, messages, count, bytes));
}

static int put_slot(void *self, struct mech_piece *piece) {
    struct vigil *v = self;
    return said(v, CALL(v, put, piece));
}

/* ---- the end ---- */

static int open_slot(void *self, const struct mech_open *open) {
    struct vigil *v = self;
    struct mech_open copy;
    wrap_begin(self, sizeof *v, open, &copy);
    v->seen = open->seen;
    v->deadline = open->options.deadline;
    v->timer = v->epoll = -1;
    (void)strncpy(v->address, open->address, sizeof v->address - 1);
    int rc = CALL(v, open, &copy);
    v->said = clock_now();
    v->due = clock_after(v->said, v->deadline);
    return rc;
}

static void close_slot(void *self) {
    struct vigil *v = self;
    fd_close(&v->epoll);
    fd_close(&v->timer);
    CALL(v, close);
}

int vigil_wrap(const struct mech **mech, const char *address) {
    if (((*mech)->roles & (1u << THIRL_CALL | 1u << THIRL_SERVE)) != 0) {
        return err_say(EOPNOTSUPP, "%s: ?deadline is not for calls, each of which has a deadline of its own", address);
    }
    struct mech *outer = wrap_make(*mech, sizeof(struct vigil));
    if (outer == NULL) {
        return -ENOMEM;
    }
#define WATCHED(slot) outer->slot = outer->slot == NULL ? NULL : slot##_slot
    WATCHED(send);
    WATCHED(send_noted);
    WATCHED(send_many);
    WATCHED(put);
    WATCHED(recv);
    WATCHED(recv_noted);
    WATCHED(recv_many);
    WATCHED(take);
    WATCHED(ready);
#undef WATCHED
    outer->open = open_slot;
    outer->close = close_slot;
    outer->look = look_slot;
    outer->arm = arm_slot;
    outer->fd = fd_slot;
    *mech = outer;
    return 0;
}
