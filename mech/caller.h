/* SPDX-License-Identifier: MIT
 *
 * CALL over connections: an end that calls the one server of its address, and the next one there when that one died or closed. A
 * conversation is a connection.
 */
#ifndef MECH_CALLER_H
#define MECH_CALLER_H

#include "mech/haul.h"
#include "mech/letter.h"

struct caller {
    struct chain chain; /* first: its slots are the haul's where nothing else is said */
    struct letter letter;
};

/* For open, as haul_open. */
int caller_open(struct caller *, const struct mech_open *, const struct meet_kind *, void *place);

int caller_choose(void *self, uint64_t *whom);
int caller_send(void *self, const void *data, size_t size, size_t *done, const struct mech_note *, bool wait);
int caller_settle(void *self, const void *data, size_t size, size_t done);
int caller_recv(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);
int caller_flush(void *self, uint64_t *left);
void caller_close(void *self);

/* As haul_limits and haul_claims. */
void caller_limits(void *self, struct thirl_limits *);
void caller_claims(struct thirl_limits *);

#define CALLER_SLOTS                                                                                                   \
    .roles = 1u << THIRL_CALL, .blocks = true, .crc = true, .queue = HAUL_QUEUE, .close = caller_close,                \
    .deinit = haul_deinit, .flush = caller_flush, .settle = caller_settle, .send_noted = caller_send,                  \
    .recv_noted = caller_recv, .choose = caller_choose, .ready = haul_ready, .look = haul_look, .arm = haul_arm,       \
    .disarm = haul_disarm, .fd = haul_fd, .peer = haul_peer, .pidfd = haul_pidfd

#endif
