/* SPDX-License-Identifier: MIT
 *
 * NOTIFY and WATCH over what carries a pair: one notifier, one watcher, who know each other, and how the other one ended. An event is a
 * message of the pair, with how often it was told. What the pair has no room for is counted in a table of the notifier's, each event
 * once however often it is told, and leaves with this end's next calls: nothing of it is ever dropped.
 *
 *     notifier                                    watcher
 *     event 7  -------- 7, once ---------------->  7, once            (the pair has room)
 *     event 7, 7, 8  -> table: 7 twice, 8 once                        (it has none)
 *     any call of this end, or close: pushes
 *              -------- 7, twice; 8, once ------>  7, twice; 8, once
 *
 *     | event, 4 bytes | times, 8 bytes |          little-endian
 *
 * It is one mechanism around another, in the table: KNELL(name, type) makes knell_name of mech_name, whose state is a `type`.
 */
#ifndef MECH_KNELL_H
#define MECH_KNELL_H

#include "mech/mech.h"
#include "mech/toll.h"

struct knell {
    const struct mech *inner;
    void *inside; /* its state */
    struct node_end *seen;
    const char *address; /* as seen has it */
    bool sends;
    struct toll toll; /* OUT: what waits for room */
};

#define KNELL_ROOM ((sizeof(struct knell) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE)

int knell_open(void *self, const struct mech_open *, const struct mech *inner);
void knell_bound(struct thirl_limits *, uint64_t places); /* of the inner one's, what is true here */

/* The slots of mech.h. */
void knell_close(void *self);
void knell_deinit(void *self);
int knell_flush(void *self, uint64_t *left);
int knell_send(void *self, const void *data, size_t size, size_t *done, bool wait);
int knell_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait);
int knell_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);
bool knell_ready(void *self, enum mech_way);
int knell_look(void *self, enum mech_way);
int knell_arm(void *self, enum mech_way, struct mech_watch *);
int64_t knell_disarm(void *self, enum mech_way);
int knell_fd(void *self, enum mech_way, int *fd);
void knell_limits(void *self, struct thirl_limits *);
int knell_peer(void *self, struct thirl_peer *);
int knell_pidfd(void *self, int *fd);
int knell_hand(void *self, char *address, size_t capacity);

#define KNELL(name, type)                                                                                              \
    static int knell_open_##name(void *self, const struct mech_open *open) {                                           \
        return knell_open(self, open, &mech_##name);                                                                   \
    }                                                                                                                  \
    static void knell_claims_##name(struct thirl_limits *limits) {                                                     \
        mech_##name.claims(limits);                                                                                    \
        knell_bound(limits, toll_places(limits->queue));                                                               \
    }                                                                                                                  \
    enum { KNELL_SIZE_##name = KNELL_ROOM + sizeof(type) };

/* Its fields, but for scheme, summary, queue and registry; and those of one whose inner one has them. */
#define KNELL_SLOTS(name)                                                                                              \
    .state_size = KNELL_SIZE_##name, .roles = 1u << THIRL_NOTIFY | 1u << THIRL_WATCH, .blocks = true,                  \
    .max = TOLL_WORD,                                                                                                  \
    .more = "as many different events may wait as one for each 256 bytes of ?queue=", .open = knell_open_##name,       \
    .close = knell_close, .deinit = knell_deinit, .flush = knell_flush, .send = knell_send, .recv = knell_recv,        \
    .recv_noted = knell_recv_noted, .look = knell_look, .arm = knell_arm, .disarm = knell_disarm, .fd = knell_fd,      \
    .limits = knell_limits, .claims = knell_claims_##name, .peer = knell_peer
#define KNELL_HAUL .ready = knell_ready, .pidfd = knell_pidfd

#endif
