/* SPDX-License-Identifier: MIT
 *
 * One end that lives on connections, one after the other: its list of them, in which each way walks by itself. What a
 * dead peer had sent is received, and its death told, even when the other way has long found the next peer. Also the
 * descriptor that a user waits on.
 */
#ifndef MECH_CHAIN_H
#define MECH_CHAIN_H

#include <pthread.h>

#include "mech/link.h"
#include "mech/mech.h"
#include "mech/meet.h"
#include "mem/node.h"

#define CHAIN_LINKS_MAX 8                   /* dead peers whose messages nobody received yet, and the living one */
#define CHAIN_PIECE_MAX ((size_t)128 << 10) /* of a stream: what one frame carries of it */

struct chain_way {
    struct link *at;
    uint64_t next; /* serial of the connection after that */
    unsigned calls;
};

struct chain {
    LINE_ALIGNED struct chain_way way[2];
    LINE_ALIGNED pthread_mutex_t lock; /* for what follows; never held while something blocks */
    struct chain *neighbour;           /* the next end of this process */
    int (*serve)(struct chain *);      /* of a hub, instead of chain_advance: lets in whoever calls; NULL elsewhere */
    enum meet_part part;
    uint32_t hears; /* what peers may tell us, for the terms of links */
    struct meet meet;
    struct link *first, *last;
    uint64_t links;       /* ever made */
    uint64_t noted;       /* links, when the newest one's end was noted */
    uint64_t queue;       /* bytes that may wait in one direction, as granted */
    int64_t asked;        /* when a silent host was looked for last, CLOCK_MONOTONIC ns */
    uint64_t max;         /* of the options */
    unsigned descriptors; /* likewise */
    size_t send_max, recv_max;
    bool sends, receives, packets, bytes, raw;
    size_t extra; /* bytes of each message that are not the user's */
    bool carries; /* descriptors can go over its connections */
    bool quiet;   /* ?wait=sleep */
    bool final;   /* the peer said goodbye; to a caller of a hub that is none: the next one may come */
    bool holds;   /* of a WATCH: it has something for its user besides what is in its connection */
    bool near;    /* while joining: who listens is an end of this process */
    struct node_end *seen;
    int came;        /* an eventfd in the watch: readable while there is a peer, for who waits on the other way */
    int user, ready; /* thirl_fd's, and a timer in it: readable while our buffer has something */
    enum mech_way user_way;
    bool dim;    /* in the user's descriptor the way out says only that the peer is gone */
    int64_t lit; /* what the timer was set to, in ns; -1: it is off */
};

/* Makes the end known to others of this process, and unknown. Without its lock. */
void chain_join(struct chain *);
void chain_leave(struct chain *);

/* Under the lock: goes on looking for a peer. 0: there is a new one; -EAGAIN: nothing new; or an error. */
int chain_advance(struct chain *);

/* Under the lock: is the newest connection's peer there, or was its goodbye final? */
bool chain_peered(struct chain *);

/* The connection that this way has to do with now. 0, -EAGAIN, or an error. The calls from here on are one way's, under
 * its gate. */
int chain_seek(struct chain *, enum mech_way, struct link **);
static inline int chain_find(struct chain *e, enum mech_way way, struct link **found) {
    return likely((*found = e->way[way].at) != NULL) ? 0 : chain_seek(e, way, found);
}

/* What a send or receive that did not succeed comes to, with its sentence. 1: try again. */
int chain_outcome(struct chain *, enum mech_way, struct link *, int rc);

/* Tells whoever else wants to join that it cannot; looks at the peer's life. */
void chain_attend(struct chain *);

/* What the user's descriptor must say of itself after a call of that way; it is made by chain_user. */
void chain_light(struct chain *, enum mech_way);
static inline void chain_relight(struct chain *e, enum mech_way way) {
    if (unlikely(e->user >= 0)) {
        chain_light(e, way);
    }
}
int chain_user(struct chain *, enum mech_way);

#endif
