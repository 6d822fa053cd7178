/* SPDX-License-Identifier: MIT
 *
 * Which engine an end runs on follows from its role. See carried.h.
 */
#include "mech/carried.h"

#include <errno.h>

int carried_open(struct carried *c, const struct carrier *carrier, const struct mech_open *open) {
    c->is_queue = open->role == THIRL_PUSH || open->role == THIRL_PULL;
    return c->is_queue ? queue_open(&c->as.queue, carrier, open) : duct_open(&c->as.duct, carrier, open);
}

void carried_close(void *self) {
    struct carried *c = self;
    (c->is_queue ? queue_close : duct_close)(&c->as);
}

void carried_deinit(void *self) {
    struct carried *c = self;
    (c->is_queue ? queue_deinit : duct_deinit)(&c->as);
}

int carried_flush(void *self, uint64_t *left) {
    struct carried *c = self;
    return (c->is_queue ? queue_flush : duct_flush)(&c->as, left);
}

int carried_settle(void *self, const void *data, size_t size, size_t done) {
    struct carried *c = self;
    return (c->is_queue ? queue_settle : duct_settle)(&c->as, data, size, done);
}

/* A duct keeps all messages in one order: its limits say that there are no priorities, and chan refuses them. */
int carried_send_noted(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                       bool wait) {
    struct carried *c = self;
    return c->is_queue ? queue_send_noted(&c->as, data, size, done, note, wait)
                       : duct_send(&c->as, data, size, done, wait);
}

int carried_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct carried *c = self;
    if (c->is_queue) {
        return queue_recv_noted(&c->as, buffer, capacity, size, note, wait);
    }
    note->priority = 0;
    note->count = 0;
    return duct_recv(&c->as, buffer, capacity, size, wait);
}

/* A duct sees in a try whatever a look could tell, but for what is in the kernel. */
int carried_look(void *self, enum mech_way way) {
    struct carried *c = self;
    int rc = c->is_queue ? queue_look(&c->as, way) : -EAGAIN;
    struct queue *q = c->is_queue ? &c->as.queue : duct_queue(&c->as.duct, way);
    bool stands = q != NULL && q->carrier->stands != NULL && q->carrier->stands(q->carried);
    return stands ? 0 : rc;
}

int carried_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct carried *c = self;
    return (c->is_queue ? queue_arm : duct_arm)(&c->as, way, watch);
}

int64_t carried_disarm(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

int carried_fd(void *self, enum mech_way way, int *fd) {
    struct carried *c = self;
    return (c->is_queue ? queue_fd : duct_fd)(&c->as, way, fd);
}

void carried_limits(void *self, struct thirl_limits *limits) {
    struct carried *c = self;
    (c->is_queue ? queue_limits : duct_limits)(&c->as, limits);
}

int carried_peer(void *self, struct thirl_peer *peer) {
    struct carried *c = self;
    return (c->is_queue ? queue_peer : duct_peer)(&c->as, peer);
}
