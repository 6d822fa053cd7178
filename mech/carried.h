/* SPDX-License-Identifier: MIT
 *
 * A mechanism over a carrier, in two macros: CARRIED_OPEN makes its open and claims slots from carrier_NAME, and CARRIED_SLOTS are the
 * fields of its struct mech that do not depend on the carrier.
 */
#ifndef MECH_CARRIED_H
#define MECH_CARRIED_H

#include "mech/queue.h"

#define CARRIED_OPEN(name)                                                                                             \
    static int open_end(void *self, const struct mech_open *open) {                                                    \
        return queue_open(self, &carrier_##name, open);                                                                \
    }                                                                                                                  \
    static void claims(struct thirl_limits *limits) {                                                                  \
        queue_claims(&carrier_##name, limits);                                                                         \
    }

#define CARRIED_SLOTS(name)                                                                                            \
    .state_size = sizeof(struct queue), .roles = 1u << THIRL_PUSH | 1u << THIRL_PULL, .raw = true, .registry = true,   \
    .carrier = &carrier_##name, .open = open_end, .close = queue_close, .deinit = queue_deinit, .flush = queue_flush,  \
    .send = queue_send, .settle = queue_settle, .recv = queue_recv, .send_noted = queue_send_noted,                    \
    .recv_noted = queue_recv_noted, .look = queue_look, .arm = queue_arm, .disarm = queue_disarm, .fd = queue_fd,      \
    .limits = queue_limits, .claims = claims, .peer = queue_peer

#endif
