/* SPDX-License-Identifier: MIT
 *
 * NOTIFY over connections: every event to all who watch. It leaves at once, with one system call for each watcher. What a watcher's socket
 * does not take is counted in a table of that watcher's, each event once however often it is told, and leaves with this end's next
 * calls: nothing of it is ever dropped. A table that is full lets the notifier wait.
 *
 *     notifier                                  watcher
 *     event 7  ------------------------------>  7, once           (its socket has room)
 *     event 7, 7, 8  -> table: 7 twice, 8 once                    (it has none)
 *     any call of this end, or close: pushes
 *     7 twice, 8 once  ---------------------->  7, twice; 8, once
 *
 * Counted and told leave no gap: an event is struck out of the table when all of its frame is the kernel's, or kept behind it.
 */
#ifndef MECH_HERALD_H
#define MECH_HERALD_H

#include "mech/hub.h"
#include "mech/toll.h"

struct herald {
    struct hub hub; /* first */
    bool waits;     /* ?full=block: an event is sent when all sockets have it */
    uint32_t places;
    unsigned behind; /* watchers with something in their table */
    unsigned deaths; /* of watchers, that the user was not told of */
    char dead[64];   /* the last one of those */
};

/* For open, as hub_open. */
int herald_open(struct herald *, const struct mech_open *, const struct meet_kind *, void *place);

int herald_send(void *self, const void *data, size_t size, size_t *done, bool wait);
int herald_settle(void *self, const void *data, size_t size, size_t done);
int herald_flush(void *self, uint64_t *left);
bool herald_ready(void *self, enum mech_way);
int herald_look(void *self, enum mech_way);
int herald_arm(void *self, enum mech_way, struct mech_watch *);
int herald_fd(void *self, enum mech_way, int *fd);
void herald_limits(void *self, struct thirl_limits *);
void herald_claims(struct thirl_limits *);

#define HERALD_SLOTS                                                                                                   \
    HUB_PLAIN_SLOTS, .roles = 1u << THIRL_NOTIFY, .full = 1u << THIRL_FULL_BLOCK, .max = TOLL_WORD,                    \
                     .more = "as many different events may wait for a watcher as one for each 256 bytes of ?queue=",   \
                     .close = hub_close, .flush = herald_flush, .send = herald_send, .settle = herald_settle,          \
                     .ready = herald_ready, .look = herald_look, .arm = herald_arm, .fd = herald_fd

#endif
