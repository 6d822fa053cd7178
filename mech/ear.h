/* SPDX-License-Identifier: MIT
 *
 * SUB and PULL over connections: an end that calls a hub and has that one connection, as the ends of haul.h have theirs, and calls the
 * next hub when that one died, which is told once, or closed, which is no news. It never listens.
 */
#ifndef MECH_EAR_H
#define MECH_EAR_H

#include "mech/haul.h"

/* For open, as haul_open. */
int ear_open(struct chain *, const struct mech_open *, const struct meet_kind *, void *place);

int ear_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait);
int ear_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);
int ear_recv_many(void *self, void *buffer, size_t capacity, struct iovec *, size_t *count, size_t *bytes);
void ear_free(void *self, struct mech_piece *, enum mech_way);
int ear_requeue(void *self, struct mech_piece *);
void ear_close(void *self);

/* As haul_limits and haul_claims. A subscriber does not know what its publisher does when it is full. */
void ear_limits(void *self, struct thirl_limits *);
void ear_claims_sub(struct thirl_limits *);
void ear_claims_pull(struct thirl_limits *);

#define EAR_SLOTS                                                                                                      \
    .crc = true, .queue = HAUL_QUEUE, .close = ear_close, .deinit = haul_deinit, .flush = haul_flush,                  \
    .recv = ear_recv, .recv_noted = ear_recv_noted, .recv_many = ear_recv_many, .ready = haul_ready,                   \
    .look = haul_look, .arm = haul_arm, .disarm = haul_disarm, .fd = haul_fd, .peer = haul_peer, .pidfd = haul_pidfd

#endif
