/* SPDX-License-Identifier: MIT
 *
 * PUB over connections: every message to everybody who is there, with one system call each. What a subscriber's socket does not
 * take waits in one ring of the hub's, from which those who are behind catch up with the publisher's next call, whatever it asks
 * (a send, thirl_wait, thirl_fd) and when it closes; or is dropped: ?full=
 * says which. Whoever lost messages is told how many before the next one.
 */
#ifndef MECH_CRIER_H
#define MECH_CRIER_H

#include "mech/hub.h"
#include "mech/past.h"

struct crier {
    struct hub hub; /* first */
    enum thirl_full full;
    uint64_t history; /* so many are kept for those who come late */
    uint64_t next;    /* number of the next message */
    unsigned behind;  /* subscribers who were not sent all before it */
    struct past past;
};

/* For open, as hub_open. */
int crier_open(struct crier *, const struct mech_open *, const struct meet_kind *, void *place);

int crier_send(void *self, const void *data, size_t size, size_t *done, bool wait);
int crier_settle(void *self, const void *data, size_t size, size_t done);
int crier_flush(void *self, uint64_t *left);
bool crier_ready(void *self, enum mech_way);
int crier_look(void *self, enum mech_way);
int crier_arm(void *self, enum mech_way, struct mech_watch *);
int crier_fd(void *self, enum mech_way, int *fd);
void crier_close(void *self);
void crier_limits(void *self, struct thirl_limits *);
void crier_claims(struct thirl_limits *);

#define CRIER_FULL                                                                                                     \
    (1u << THIRL_FULL_BLOCK | 1u << THIRL_FULL_DROP_OLDEST | 1u << THIRL_FULL_DROP_NEWEST | 1u << THIRL_FULL_LATEST |  \
     1u << THIRL_FULL_FAIL | 1u << THIRL_FULL_DISCONNECT)

#define CRIER_SLOTS                                                                                                    \
    HUB_SLOTS, .roles = 1u << THIRL_PUB, .full = CRIER_FULL, .history = true, .close = crier_close,                    \
               .flush = crier_flush, .send = crier_send, .settle = crier_settle, .ready = crier_ready,                 \
               .look = crier_look, .arm = crier_arm, .fd = crier_fd

#endif
