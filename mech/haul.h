/* SPDX-License-Identifier: MIT
 *
 * The slots of struct mech that are the same for all mechanisms whose ends live on connections. Such a mechanism is a
 * struct whose first member is a struct chain, a struct meet_kind, and its own open, limits and claims.
 */
#ifndef MECH_HAUL_H
#define MECH_HAUL_H

#include "mech/chain.h"

#define HAUL_QUEUE 212992 /* what Linux gives a socket; megabytes only push the messages out of the caches */

/* For open: begins to meet a peer at the place. The caller has set packets, carries and queue of the chain, which is zero
 * otherwise. 0 or an error; after an error the place is the caller's to give back. Blocks for a moment while somebody who listens
 * answers. */
int haul_open(struct chain *, const struct mech_open *, const struct meet_kind *, void *place);

/* For limits: all but identity and cross_host. For claims: likewise, message_max and queue included. */
void haul_limits(void *self, struct thirl_limits *);
void haul_claims(struct thirl_limits *);
void haul_claims_pipes(struct thirl_limits *); /* all of them */

/* As in mech.h. */
void haul_close(void *self);
void haul_deinit(void *self);
int haul_flush(void *self, uint64_t *left);
int haul_send(void *self, const void *data, size_t size, size_t *done, bool wait);
int haul_settle(void *self, const void *data, size_t size, size_t done);
int haul_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait);
int haul_look(void *self, enum mech_way);
bool haul_ready(void *self, enum mech_way);
int haul_arm(void *self, enum mech_way, struct mech_watch *);
int64_t haul_disarm(void *self, enum mech_way);
int haul_fd(void *self, enum mech_way, int *fd);
int haul_peer(void *self, struct thirl_peer *);
int haul_pidfd(void *self, int *fd);

int haul_send_many(void *self, const struct iovec *, size_t *count, size_t *bytes);
int haul_recv_many(void *self, void *buffer, size_t capacity, struct iovec *, size_t *count, size_t *bytes);

/* For mechanisms whose chain carries descriptors. */
int haul_send_noted(void *self, const void *data, size_t size, size_t *done, const struct mech_note *, bool wait);
int haul_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);

#define HAUL_FLOW                                                                                                      \
    .roles = 1u << THIRL_PAIR | 1u << THIRL_WRITE | 1u << THIRL_READ, .blocks = true, .crc = true,                     \
    .deinit = haul_deinit, .flush = haul_flush, .send = haul_send, .settle = haul_settle, .recv = haul_recv,           \
    .ready = haul_ready, .look = haul_look, .arm = haul_arm, .disarm = haul_disarm, .fd = haul_fd, .peer = haul_peer,  \
    .pidfd = haul_pidfd, .send_many = haul_send_many, .recv_many = haul_recv_many
#define HAUL_SLOTS HAUL_FLOW, .queue = HAUL_QUEUE, .close = haul_close
#define HAUL_PIPES .limits = haul_limits, .claims = haul_claims_pipes

#endif
