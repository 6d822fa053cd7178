/* SPDX-License-Identifier: MIT
 *
 * A mechanism over a carrier: PUSH and PULL are a queue, the other roles a duct. CARRIED_OPEN(name, block) makes the slots that need
 * carrier_name and its send_slot, recv_slot and block slot, or NULL; CARRIED_SLOTS(name) are the fields of its struct mech, but for scheme, summary, queue and blocks.
 */
#ifndef MECH_CARRIED_H
#define MECH_CARRIED_H

#include "mech/duct.h"
#include "mech/quick.h"

struct carried {
    bool is_queue;
    union {
        struct queue queue;
        struct duct duct;
    } as;
};

int carried_open(struct carried *, const struct carrier *, const struct mech_open *);

/* The slots of mech.h; self is a struct carried. */
void carried_close(void *self);
void carried_deinit(void *self);
int carried_flush(void *self, uint64_t *left);
int carried_settle(void *self, const void *data, size_t size, size_t done);
int carried_send_noted(void *self, const void *data, size_t size, size_t *done, const struct mech_note *, bool wait);
int carried_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);
int carried_look(void *self, enum mech_way);
int carried_arm(void *self, enum mech_way, struct mech_watch *);
int64_t carried_disarm(void *self, enum mech_way);
int carried_fd(void *self, enum mech_way, int *fd);
void carried_limits(void *self, struct thirl_limits *);
int carried_peer(void *self, struct thirl_peer *);

/* The slots send and recv, with those of the carrier inlined. */
static inline __attribute__((always_inline)) int carried_send(struct carried *c, carrier_send *send,
                                                              carrier_block *block, const void *data, size_t size,
                                                              size_t *done, bool wait) {
    struct duct *d = &c->as.duct;
    if (likely(!c->is_queue) && unlikely(!duct_sends(d, size))) {
        return duct_send(d, data, size, done, wait);
    }
    int rc = quick_send(unlikely(c->is_queue) ? &c->as.queue : &d->out.q, send, block, data, size, done, wait);
    return unlikely(c->is_queue) ? rc : duct_sent(d, rc, wait);
}

static inline __attribute__((always_inline)) int carried_recv(struct carried *c, carrier_recv *recv, void *buffer,
                                                              size_t capacity, size_t *size, bool wait) {
    struct duct *d = &c->as.duct;
    if (likely(!c->is_queue) && unlikely(!duct_receives(d))) {
        return duct_recv(d, buffer, capacity, size, wait);
    }
    int rc = quick_recv(unlikely(c->is_queue) ? &c->as.queue : &d->in.q, recv, buffer, capacity, size, wait);
    return unlikely(c->is_queue) ? rc : duct_received(d, buffer, capacity, size, rc, wait);
}

#define CARRIED_OPEN(name, block)                                                                                      \
    static int open_end(void *self, const struct mech_open *open) {                                                    \
        return carried_open(self, &carrier_##name, open);                                                              \
    }                                                                                                                  \
    static void claims(struct thirl_limits *limits) {                                                                  \
        queue_claims(&carrier_##name, limits);                                                                         \
    }                                                                                                                  \
    HOT static int send_end(void *self, const void *data, size_t size, size_t *done, bool wait) {                      \
        return carried_send(self, send_slot, block, data, size, done, wait);                                           \
    }                                                                                                                  \
    HOT static int recv_end(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {                      \
        return carried_recv(self, recv_slot, buffer, capacity, size, wait);                                            \
    }

#define CARRIED_SLOTS(name)                                                                                            \
    .state_size = sizeof(struct carried),                                                                              \
    .roles = 1u << THIRL_PAIR | 1u << THIRL_WRITE | 1u << THIRL_READ | 1u << THIRL_PUSH | 1u << THIRL_PULL,            \
    .raw = true, .registry = true, .crc = true, .carrier = &carrier_##name, .open = open_end, .close = carried_close,  \
    .deinit = carried_deinit, .flush = carried_flush, .send = send_end, .settle = carried_settle, .recv = recv_end,    \
    .send_noted = carried_send_noted, .recv_noted = carried_recv_noted, .look = carried_look, .arm = carried_arm,      \
    .disarm = carried_disarm, .fd = carried_fd, .limits = carried_limits, .claims = claims, .peer = carried_peer

#endif
