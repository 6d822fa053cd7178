/* SPDX-License-Identifier: MIT
 *
 * SERVE over connections: a hub that hears its callers. Each connection is a conversation. The server listens at its address, and a
 * second one is refused there.
 *
 * All that looks after connections is done by the way IN, and only that lets go of one, because it may sleep in the kernel on the
 * connection of the only caller, without the hub's lock. Who calls meanwhile is let in after MECH_SLICE_NS. The way OUT only sends.
 *
 *     look (epoll): they have something ─► the line ─► take from the first; what it has left stays in line
 */
#ifndef MECH_CLERK_H
#define MECH_CLERK_H

#include "mech/hub.h"
#include "mech/letter.h"

struct clerk {
    struct hub hub; /* first */
    struct letter letter;
    struct spoke *first, **last; /* the line: they may have something */
    uint64_t serial;
    uint64_t blocked; /* the conversation that had no room last; 0: none */
};

/* For open, as hub_open. */
int clerk_open(struct clerk *, const struct mech_open *, const struct meet_kind *, void *place);

int clerk_send(void *self, const void *data, size_t size, size_t *done, const struct mech_note *, bool wait);
int clerk_settle(void *self, const void *data, size_t size, size_t done);
int clerk_recv(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);
int clerk_flush(void *self, uint64_t *left);
bool clerk_ready(void *self, enum mech_way);
int clerk_look(void *self, enum mech_way);
int clerk_arm(void *self, enum mech_way, struct mech_watch *);
int clerk_fd(void *self, enum mech_way, int *fd);
void clerk_close(void *self);
void clerk_limits(void *self, struct thirl_limits *);
void clerk_claims(struct thirl_limits *);

#define CLERK_SLOTS                                                                                                    \
    HUB_SLOTS, .roles = 1u << THIRL_SERVE, .blocks = true, .close = clerk_close, .flush = clerk_flush,                 \
               .settle = clerk_settle, .send_noted = clerk_send, .recv_noted = clerk_recv, .ready = clerk_ready,       \
               .look = clerk_look, .arm = clerk_arm, .fd = clerk_fd

#endif
