/* SPDX-License-Identifier: MIT
 *
 * WATCH over connections: an end that calls a notifier (mech/herald), as ear.h has them. What has come and was not received is
 * counted by event: so much of it as one read brings, up to a bound.
 */
#ifndef MECH_HEED_H
#define MECH_HEED_H

#include "mech/ear.h"
#include "mech/toll.h"

struct heed {
    struct chain chain; /* first */
    struct toll toll;
};

/* For open, as haul_open. */
int heed_open(struct heed *, const struct mech_open *, const struct meet_kind *, void *place);

int heed_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait);
int heed_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);
bool heed_ready(void *self, enum mech_way);
int heed_look(void *self, enum mech_way);
int heed_arm(void *self, enum mech_way, struct mech_watch *);
void heed_close(void *self);
void heed_limits(void *self, struct thirl_limits *);

#define HEED_SLOTS                                                                                                     \
    .roles = 1u << THIRL_WATCH, .full = 1u << THIRL_FULL_BLOCK, .blocks = true, .queue = HAUL_QUEUE, .max = TOLL_WORD, \
    .close = heed_close, .deinit = haul_deinit, .flush = haul_flush, .recv = heed_recv, .recv_noted = heed_recv_noted, \
    .ready = heed_ready, .look = heed_look, .arm = heed_arm, .disarm = haul_disarm, .fd = haul_fd, .peer = haul_peer,  \
    .pidfd = haul_pidfd

#endif
