/* SPDX-License-Identifier: MIT
 *
 * PUSH and PULL in shared memory: what the two halves share. Each pusher has a lane of its own and the words by which workers take
 * records of it (mem/claim.h); each worker looks at all of them. Nobody knows who is on the other side, and nobody needs to: what
 * was sent is there until it is done, whoever comes or goes. Only the mechanism's own rooms include this.
 *
 * Messages too large for the ring, and loans large enough, lie in the pool behind it: their records say where. Nobody notes what he
 * holds: a chunk is free when the word of its record says that it is done, whoever did it.
 *
 * Files of a channel: <id>.<n>.tx and .claim of a pusher, which stay when it is gone until all is done; <id>.<n>.rx of a worker,
 * which says the number that it writes into the words: while that file is there and its process lives, the worker does.
 */
#ifndef MECH_WORK_H
#define MECH_WORK_H

#include "base/layout.h"
#include "mech/lamp.h"
#include "mech/mech.h"
#include "mem/claim.h"
#include "mem/hold.h"
#include "mem/roll.h"
#include "mem/rouse.h"

#define WORK_MANY 64 /* messages that one recv_many takes: all of them are held by this worker */

struct work_rx { /* a worker's file */
    char magic[8];
    uint32_t version;
    uint32_t worker; /* its number */
    uint64_t node;
    uint32_t number, zero;
};
LAYOUT(work_rx, 32, zero, 28);

#define WORK_RX_MAGIC "thirl.wr"
#define WORK_VERSION 1

/* The workers that this end has asked about. */
struct crew_hand {
    uint32_t worker;
    bool there; /* while the list is made anew */
    struct node_peer node;
};

struct crew {
    struct crew_hand *hand;
    size_t count, room;
};

struct offer { /* the pusher's half */
    struct claim claim;
    struct claim_tx *own; /* the same tx, to write */
    struct lane lane;
    uint64_t number;   /* of the next record */
    uint64_t floor;    /* everything before it is done */
    uint64_t last;     /* records below it have a slot */
    uint64_t straight; /* shorter messages need no further question; 0: all do */
    uint64_t dropped;  /* since the last that was sent */
    uint32_t needed;   /* span that did not fit */
    struct hold loans;
    struct pool pool;
    uint64_t within;  /* larger messages do not fit into the ring */
    uint64_t lends;   /* loans of that size or more lie in the pool; UINT64_MAX: none does */
    size_t wanted;    /* the message for which there was no place in the pool; 0: none */
    uint64_t refused; /* where what did not fit, or had no place, would have stood: no more than that is waited for */
};

struct feed { /* a pusher's files, as a worker sees them */
    struct claim claim;
    struct lane lane;
    struct roll_end end;
    struct node_peer node;
    uint64_t at;              /* the next record to try */
    uint64_t low;             /* everything before it is done */
    uint32_t returned;        /* of claim_room, when this end looked behind last */
    bool dead, over;          /* its process is; nothing more will be sent */
    bool bad;                 /* it lied: not looked at any more */
    unsigned held;            /* records of it that this end has */
    unsigned keeps;           /* of those, taken out of its pool */
    uint64_t kept, kept_most; /* bytes of that, and how many there may be */
};

struct toil_held { /* what was received by copy: done with the next call */
    struct feed *feed;
    uint64_t number;
};

struct toil { /* the worker's half */
    uint32_t worker;
    uint32_t change; /* of the roll, when the feeds were last looked for, plus one */
    struct feed **feed;
    size_t count, room, current;
    unsigned tries, turn;    /* to find something; of those, of the current one in a row */
    int64_t looked, cleared; /* around, and for those who are gone: when */
    struct toil_held held[WORK_MANY];
    unsigned holding;
    unsigned pieces;          /* taken and not given back */
    unsigned keeps;           /* of those, out of pools, */
    uint64_t kept;            /* and their bytes there */
    uint64_t jobs, caught_up; /* taken, and when there was nothing more */
};

struct work {
    struct roll roll;
    struct node_end *seen;
    char address[NODE_ADDRESS_MAX];
    bool sends, heavy, closed, left; /* left: the roll, which who still has messages puts off */
    unsigned mode;
    uint64_t max;
    uint32_t full; /* enum thirl_full */
    struct rouse *rouse;
    struct rouse_sleep sleep;
    struct crew crew;
    struct lamp lamp;
    struct offer out;
    struct toil in;
};

/* ---- crew.c: who works here ---- */

/* Is that worker dead? Never true of one that is stopped. About a microsecond. */
bool crew_gone(struct work *, uint32_t worker);

/* Returns what dead workers hold of the records from `number` to `end`; how many. If `watch` is not NULL, the first living holder's
 * life goes into it. */
unsigned crew_relieve(struct work *, const struct claim *, uint64_t number, uint64_t end, struct mech_watch *watch);
void crew_deinit(struct work *);

/* Rings `count` workers for what was shown to them. */
void crew_call_polled(struct work *);
static inline void crew_call(struct work *w, uint32_t count) {
    if (unlikely(rouse_ring(w->rouse, count, w->heavy))) {
        crew_call_polled(w);
    }
}

/* Writes a byte into the FIFO of that end. */
void crew_ring_fifo(const struct work *, struct roll_end);

/* ---- cargo.c: messages of a pusher that lie in its pool ---- */

/* The region that its file is to have; and, when that is made, the pool there. */
uint64_t cargo_region(const struct thirl_options *);
void cargo_init(struct work *, const struct thirl_options *);

/* What the last try has lacked: a place of that size in the pool, or, 0, something else. */
void cargo_want(struct work *, size_t);

/* A place for a message of that size: 0; -EAGAIN: none now; or an error. It ends with cargo_stow or pool_back. */
int cargo_place(struct work *, size_t, uint32_t *chunk);

/* Writes the reference to a message of that size into its record, which is shown afterwards. What to say in the record's head. */
uint32_t cargo_stow(struct work *, void *payload, uint32_t chunk, size_t size, uint64_t number);

/* After a message was shown: looks for the place that the next one of that size will have. */
void cargo_ahead(struct work *, size_t);

/* Would a place now be found that was not? */
bool cargo_ready(struct work *);

/* Nothing more is sent: only what is not done keeps its space. */
void cargo_close(struct work *);
void cargo_deinit(struct work *);

/* ---- offer.c, toil.c: the slots of the contract, one way each ---- */

int offer_init(struct work *, const struct thirl_options *);
int offer_send(void *work, const void *, size_t, size_t *done, bool wait);
int offer_send_many(void *work, const struct iovec *, size_t *count, size_t *bytes);
int offer_loan(void *work, struct mech_piece *, size_t);
int offer_put(void *work, struct mech_piece *);
void offer_free(struct work *, struct mech_piece *);
bool offer_ready(struct work *);
void offer_look(struct work *);
int offer_arm(struct work *, struct mech_watch *);
void offer_settle(struct work *); /* keeps the descriptor level-triggered */
void offer_close(struct work *);
void offer_deinit(struct work *);

int toil_init(struct work *);
int toil_recv(void *work, void *, size_t, size_t *, bool wait);
int toil_recv_many(void *work, void *, size_t, struct iovec *, size_t *count, size_t *bytes);
int toil_take(void *work, struct mech_piece *);
int toil_requeue(void *work, struct mech_piece *);
void toil_free(struct work *, struct mech_piece *);
bool toil_ready(struct work *);
void toil_look(struct work *);
int toil_arm(struct work *, struct mech_watch *);
void toil_settle(struct work *);
bool toil_spin(struct work *);
void toil_close(struct work *);
void toil_deinit(struct work *);

#endif
