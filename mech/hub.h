/* SPDX-License-Identifier: MIT
 *
 * One end that has many connections at once: it listens, any number of ends call, and it sends to them by a pattern of its
 * own. Who is there, who comes and who goes is here; what is sent to whom is crier.c's and deal.c's. It has one way, OUT, and a lock,
 * the chain's, which is held by all of its slots and never while something blocks.
 *
 * A look at the listener and at what callers say costs a system call, so sending looks every HUB_LOOK_NS only, and before it
 * sleeps. All descriptors are in one epoll set, the meet's watch.
 */
#ifndef MECH_HUB_H
#define MECH_HUB_H

#include "mech/chain.h"
#include "mech/haul.h"
#include "mech/toll.h"

#define HUB_LOOK_NS (200 * CLOCK_US)

struct job;

/* One caller. */
struct spoke {
    struct link *link;
    unsigned place; /* in hub.all */
    bool wanted;    /* the watch says when it has room */
    uint64_t next;  /* crier: the first message that it was not sent */
    uint64_t lost;  /* crier: messages that it does not know of yet */
    /* deal: */
    struct job *jobs, **last; /* in its hands, in the order in which they were given */
    unsigned given;           /* how many */
    uint64_t count;           /* given ever: the number of the next one */
    bool marked;              /* it was told that the next one is given again */
    struct toll toll;         /* herald: events that had no room */
    /* clerk: */
    uint64_t whom;
    bool stands; /* in the line of those that may have something, */
    struct spoke *behind;
};

struct hub {
    struct chain chain; /* first: its slots are the haul's where nothing else is said */
    const struct hub_kind *kind;
    struct spoke **all;
    unsigned count, room;
    struct spoke **owner; /* by descriptor: whose it is, NULL: nobody's */
    unsigned owners;
    int64_t looked, stepped; /* at what callers say, and at the listener; 0: look at once */
    bool lit;                /* the user's descriptor is readable by itself */
    bool leaves;             /* it is being closed: who goes now is sent away */
    bool blames;             /* the list and sentences name the one that is waited for */
};

/* Of a pattern; called under the lock. */
struct hub_kind {
    /* It is there from now on. */
    void (*joined)(struct hub *, struct spoke *);
    /* It is gone; its link goes with it. */
    void (*left)(struct hub *, struct spoke *);
    /* It has told a number, of a kind that the pattern hears. false: a lie. NULL: it hears none. */
    bool (*told)(struct hub *, struct spoke *, enum frame_type, uint64_t value);
    /* It has sent something, has gone, or is lost: the pattern receives it, pushes, and lets go of it. NULL: the hub hears numbers, and lets
     * go of who sends anything else. One of both is NULL. */
    void (*stirs)(struct hub *, struct spoke *);
    uint32_t hears;
    bool lives; /* the death of a process matters even while another holds its socket; costs a descriptor each */
};

/* For open, of a mechanism that has prepared the chain as haul_open wants it. */
int hub_open(struct hub *, const struct mech_open *, const struct meet_kind *, void *place, const struct hub_kind *);

/* Slots that need nothing of the pattern. */
void hub_close(void *self);
int hub_peer(void *self, struct thirl_peer *); /* who joined last */
int hub_pidfd(void *self, int *fd);            /* likewise */
int64_t hub_disarm(void *self, enum mech_way);
void hub_limits(void *self, struct thirl_limits *);

/* ---- for patterns ---- */

void hub_lock(struct hub *);
void hub_unlock(struct hub *);

/* Looks, if that is due: lets callers in, hears them, buries the dead. 0; -EAGAIN: this end does not listen yet; or an error for
 * the user. */
int hub_look(struct hub *);

/* That one is gone, or goes: with a goodbye while it lives. */
void hub_drop(struct hub *, struct spoke *);

/* A message to that one: 0; -EAGAIN: it has no room, and nothing has left; anything else: it cannot have this one (-EMSGSIZE,
 * -ENOMEM), or is gone (hub_is_gone). A rest that finds no room is kept and leaves before anything else. */
int hub_give(struct spoke *, const void *data, size_t size);
bool hub_is_gone(const struct spoke *);

/* Pushes what was kept. Is there nothing kept any more? */
bool hub_push(struct spoke *);

/* Should the watch say when it has room? */
void hub_want(struct hub *, struct spoke *, bool wanted);

/* That one lets all wait: names it, until there is none (NULL). */
void hub_blame(struct hub *, const struct spoke *);

/* About to sleep: fills in the watch. */
int hub_arm(struct hub *, struct mech_watch *);

/* thirl_fd; and what it says of itself from now on: would a send be answered? */
int hub_fd(struct hub *, int *fd);
void hub_light(struct hub *, bool lit);

/* In close: pushes what was kept to all, and goodbye. How many have something kept. */
unsigned hub_flush(struct hub *);

#define HUB_PLAIN_SLOTS                                                                                                \
    .queue = HAUL_QUEUE, .deinit = haul_deinit, .disarm = hub_disarm, .peer = hub_peer, .pidfd = hub_pidfd
#define HUB_SLOTS HUB_PLAIN_SLOTS, .crc = true

#endif
