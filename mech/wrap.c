/* SPDX-License-Identifier: MIT
 *
 * Passing on, slot by slot, see wrap.h.
 */
#include "mech/wrap.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/fd.h"

#define INNER(self) (((const struct wrap *)(self))->inner)
#define INSIDE(self) (((const struct wrap *)(self))->inside)

void wrap_close(void *self) {
    INNER(self)->close(INSIDE(self));
}

void wrap_deinit(void *self) {
    INNER(self)->deinit(INSIDE(self));
}

int wrap_flush(void *self, uint64_t *left) {
    return INNER(self)->flush(INSIDE(self), left);
}

void wrap_limits(void *self, struct thirl_limits *limits) {
    INNER(self)->limits(INSIDE(self), limits);
}

static int send_slot(void *self, const void *data, size_t size, size_t *done, bool wait) {
    return INNER(self)->send(INSIDE(self), data, size, done, wait);
}

static int settle_slot(void *self, const void *data, size_t size, size_t done) {
    return INNER(self)->settle(INSIDE(self), data, size, done);
}

static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    return INNER(self)->recv(INSIDE(self), buffer, capacity, size, wait);
}

static int send_many_slot(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    return INNER(self)->send_many(INSIDE(self), messages, count, bytes);
}

static int recv_many_slot(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                          size_t *bytes) {
    return INNER(self)->recv_many(INSIDE(self), buffer, capacity, messages, count, bytes);
}

static int send_noted_slot(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                           bool wait) {
    return INNER(self)->send_noted(INSIDE(self), data, size, done, note, wait);
}

static int recv_noted_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    return INNER(self)->recv_noted(INSIDE(self), buffer, capacity, size, note, wait);
}

static int loan_slot(void *self, struct mech_piece *piece, size_t size) {
    return INNER(self)->loan(INSIDE(self), piece, size);
}

static int put_slot(void *self, struct mech_piece *piece) {
    return INNER(self)->put(INSIDE(self), piece);
}

static int take_slot(void *self, struct mech_piece *piece) {
    return INNER(self)->take(INSIDE(self), piece);
}

static void free_slot(void *self, struct mech_piece *piece, enum mech_way way) {
    INNER(self)->free(INSIDE(self), piece, way);
}

static int take_noted_slot(void *self, struct mech_piece *piece, struct mech_note *note, bool wait) {
    return INNER(self)->take_noted(INSIDE(self), piece, note, wait);
}

static int choose_slot(void *self, uint64_t *whom) {
    return INNER(self)->choose(INSIDE(self), whom);
}

static void wake_slot(void *self, enum mech_way way) {
    INNER(self)->wake(INSIDE(self), way);
}

static uint64_t server_slot(void *self, enum mech_way way, uint64_t whom) {
    return INNER(self)->server(INSIDE(self), way, whom);
}

static bool ready_slot(void *self, enum mech_way way) {
    return INNER(self)->ready(INSIDE(self), way);
}

static int requeue_slot(void *self, struct mech_piece *piece) {
    return INNER(self)->requeue(INSIDE(self), piece);
}

static void skip_slot(void *self) {
    INNER(self)->skip(INSIDE(self));
}

static int look_slot(void *self, enum mech_way way) {
    return INNER(self)->look(INSIDE(self), way);
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    return INNER(self)->arm(INSIDE(self), way, watch);
}

static int64_t disarm_slot(void *self, enum mech_way way) {
    return INNER(self)->disarm(INSIDE(self), way);
}

static bool spin_slot(void *self, enum mech_way way) {
    return INNER(self)->spin(INSIDE(self), way);
}

static int fd_slot(void *self, enum mech_way way, int *fd) {
    return INNER(self)->fd(INSIDE(self), way, fd);
}

static int peer_slot(void *self, struct thirl_peer *peer) {
    return INNER(self)->peer(INSIDE(self), peer);
}

static int pidfd_slot(void *self, int *fd) {
    return INNER(self)->pidfd(INSIDE(self), fd);
}

static int hand_slot(void *self, char *address, size_t capacity) {
    return INNER(self)->hand(INSIDE(self), address, capacity);
}

static size_t round_up(size_t size) {
    return (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

struct mech *wrap_make(const struct mech *inner, size_t own) {
    struct mech *outer = malloc(sizeof *outer);
    if (outer == NULL) {
        (void)err_say(ENOMEM, "no memory for what is to be put around %s", inner->scheme);
        return NULL;
    }
    *outer = *inner;
    outer->inner = inner;
    outer->state_size = round_up(own) + inner->state_size;
    outer->open = NULL;
    outer->close = wrap_close;
    outer->deinit = wrap_deinit;
    outer->limits = wrap_limits;
    outer->look = look_slot;
    outer->arm = arm_slot;
    outer->disarm = disarm_slot;
    outer->fd = fd_slot;
    outer->peer = peer_slot;
#define PASS(slot, on) outer->slot = inner->slot == NULL ? NULL : (on)
    PASS(flush, wrap_flush);
    PASS(send, send_slot);
    PASS(settle, settle_slot);
    PASS(recv, recv_slot);
    PASS(send_many, send_many_slot);
    PASS(recv_many, recv_many_slot);
    PASS(send_noted, send_noted_slot);
    PASS(recv_noted, recv_noted_slot);
    PASS(loan, loan_slot);
    PASS(put, put_slot);
    PASS(take, take_slot);
    PASS(free, free_slot);
    PASS(take_noted, take_noted_slot);
    PASS(choose, choose_slot);
    PASS(wake, wake_slot);
    PASS(server, server_slot);
    PASS(ready, ready_slot);
    PASS(requeue, requeue_slot);
    PASS(skip, skip_slot);
    PASS(spin, spin_slot);
    PASS(pidfd, pidfd_slot);
    PASS(hand, hand_slot);
#undef PASS
    return outer;
}

void wrap_begin(void *self, size_t own, const struct mech_open *open, struct mech_open *copy) {
    struct wrap *wrap = self;
    wrap->inner = open->mech->inner;
    wrap->inside = (char *)self + round_up(own);
    *copy = *open;
    copy->mech = wrap->inner;
}

void wrap_bell_init(struct wrap_bell *bell) {
    bell->epoll = bell->bell = -1;
}

int wrap_bell_make(struct wrap_bell *bell, int inner, const char *address) {
    struct epoll_event event = {.events = EPOLLIN};
    bell->epoll = epoll_create1(EPOLL_CLOEXEC);
    bell->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell->epoll >= 0 && bell->bell >= 0 && epoll_ctl(bell->epoll, EPOLL_CTL_ADD, inner, &event) == 0 &&
        epoll_ctl(bell->epoll, EPOLL_CTL_ADD, bell->bell, &event) == 0) {
        return 0;
    }
    int rc = err_system(errno, "%s: no descriptor for an event loop", address);
    wrap_bell_close(bell);
    return rc;
}

void wrap_bell_ring(struct wrap_bell *bell, bool on) {
    eventfd_t value;
    if (bell->bell >= 0) {
        (void)(on ? eventfd_write(bell->bell, 1) : eventfd_read(bell->bell, &value));
    }
}

void wrap_bell_close(struct wrap_bell *bell) {
    fd_close(&bell->epoll);
    fd_close(&bell->bell);
}
