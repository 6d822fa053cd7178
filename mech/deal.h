/* SPDX-License-Identifier: MIT
 *
 * PUSH over connections: every message to one worker, the one that has least in its hands and at most DEAL_AHEAD. It is kept until that
 * worker says that it is finished; what a worker leaves unfinished when it goes, or gives back, is given to the next one, marked.
 *
 *     pusher                        worker
 *     keep a copy
 *     message 7  ---------------->  delivered, in its hands
 *                                   freed; or the next receive, or close
 *     forget it  <----------------  DONE 7
 *
 * A copy goes before it is sent and is forgotten after DONE came: killed anywhere in between, a worker leaves it to the others.
 */
#ifndef MECH_DEAL_H
#define MECH_DEAL_H

#include "mech/hub.h"

#define DEAL_AHEAD                                                                                                     \
    4u /* messages in the hands of one worker: one that it works on, and a few so that it need not wait */

struct deal {
    struct hub hub;                /* first */
    struct job *idle;              /* copies without a message, to be used again */
    struct job *waiting, **behind; /* came back, and wait for a worker: the oldest first */
    uint64_t unfinished;           /* of those, and in hands */
    unsigned turn;                 /* where the search for a worker begins */
};

/* For open, as hub_open. */
int deal_open(struct deal *, const struct mech_open *, const struct meet_kind *, void *place);

int deal_send(void *self, const void *data, size_t size, size_t *done, bool wait);
int deal_settle(void *self, const void *data, size_t size, size_t done);
int deal_flush(void *self, uint64_t *left);
bool deal_ready(void *self, enum mech_way);
int deal_look(void *self, enum mech_way);
int deal_arm(void *self, enum mech_way, struct mech_watch *);
int deal_fd(void *self, enum mech_way, int *fd);
void deal_close(void *self);
void deal_limits(void *self, struct thirl_limits *);
void deal_claims(struct thirl_limits *);

#define DEAL_SLOTS                                                                                                     \
    HUB_SLOTS, .roles = 1u << THIRL_PUSH, .close = deal_close, .flush = deal_flush, .send = deal_send,                 \
               .settle = deal_settle, .ready = deal_ready, .look = deal_look, .arm = deal_arm, .fd = deal_fd

#endif
