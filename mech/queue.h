/* SPDX-License-Identifier: MIT
 *
 * PUSH and PULL over a carrier: any number of senders and receivers that need not know each other. Framed, a message larger
 * than a packet is cut and put together again (wire/frag); where several receivers draw from one queue they take turns while one of
 * them has half a message (mem/turn). Raw, a packet is a message and nothing is added. push.c sends, draw.c receives, queue.c is
 * the rest of the mechanism. carried.c chooses between this and a duct.
 */
#ifndef MECH_QUEUE_H
#define MECH_QUEUE_H

#include "mech/carrier.h"
#include "mech/seal.h"
#include "mem/hail.h"
#include "mem/roll.h"
#include "mem/turn.h"
#include "wire/frag.h"

struct push {
    struct frag_label label; /* of the packet that leaves next */
    uint32_t priority;
    bool busy; /* a message is on its way */
    struct {   /* what the caller gave up and this end still sends */
        unsigned char *data;
        size_t room, size, done; /* nothing left: size == done */
    } rest;
};

struct draw {
    struct turn *turn;    /* NULL: this end is the only receiver, by the carrier's nature */
    uint32_t kind;        /* how the labels of its messages end: frag_kind */
    unsigned char *block; /* for one packet */
    bool held;            /* a message that did not fit into the caller's buffer waits: */
    const void *data;     /* in block, or in frag */
    size_t size;
    struct mech_note note;
    /* Of a conversation (duct): whose packets are wanted, NULL: everybody's; and the first of somebody else's, in block. */
    const struct roll_end *only;
    struct frag_label aside; /* node 0: none */
    uint64_t seen;           /* where nobody knows of dead senders: frag.turn when a look last saw it move, */
    unsigned quiet;          /* and how many looks ago that was */
    struct frag frag;        /* the largest, and the least used, of it at the end */
};

/* What queue_recv_noted says besides, when `only` is set: */
#define DRAW_NOTE 2     /* a note came: look around */
#define DRAW_STRANGER 3 /* somebody else's packet came, and is set aside until `only` says him */

/* What each packet needs stands first and together: after a system call every page that is not touched is a miss less. */
struct queue {
    const struct carrier *carrier;
    void *carried; /* the carrier's state */
    struct carrier_facts facts;
    bool joined; /* to the roll: its processes know of each other */
    bool raw, sends, hails;
    bool counted; /* its packets are: they may be lost */
    unsigned
        sealed; /* what stands behind its messages, see seal.h: for those above; it sees only that both sides say so */
    uint64_t max;
    struct node_end *seen;
    int64_t pause;        /* where there is nothing to wait on */
    struct hail *hail;    /* where the carrier is silent, else NULL */
    uint32_t heard;       /* of the word that this half waits for, while `hails` */
    uint32_t never;       /* a word that does not change */
    int epoll, lit, tick; /* thirl_fd; -1 */
    struct push out;
    struct draw in;
    struct roll roll;
    char address[NODE_ADDRESS_MAX];
};

/* Opens the end, whose state is zeroed, on an instance of the carrier. 0 or an error. */
int queue_open(struct queue *, const struct carrier *, const struct mech_open *);

/* The slots of mech.h; self is a struct queue. */
void queue_close(void *self);
void queue_deinit(void *self);
int queue_flush(void *self, uint64_t *left);
int queue_send(void *self, const void *data, size_t size, size_t *done, bool wait);
int queue_settle(void *self, const void *data, size_t size, size_t done);
int queue_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait);
int queue_send_noted(void *self, const void *data, size_t size, size_t *done, const struct mech_note *, bool wait);
int queue_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);
int queue_look(void *self, enum mech_way);
int queue_arm(void *self, enum mech_way, struct mech_watch *);
int queue_fd(void *self, enum mech_way, int *fd);
void queue_limits(void *self, struct thirl_limits *);
int queue_peer(void *self, struct thirl_peer *);

/* What a mechanism over that carrier claims of PUSH and PULL. */
void queue_claims(const struct carrier *, struct thirl_limits *);

/* ---- for queue.c and the ducts ---- */

/* Fills the watch: with what the carrier has to wait on, or the word by which others of the channel wake this half. 0; or 1: look
 * once more first. */
int queue_watch(struct queue *, struct mech_watch *);

/* Fills the watch with nothing to wait on: a pause that grows. */
void queue_pause(struct queue *, struct mech_watch *);

/* After each call of its way: lit while a message is held, or, where there is only a timer to send an event loop here, while the
 * last call has succeeded. */
void queue_light(struct queue *, bool lit);
static inline void queue_relight(struct queue *q, bool lit) {
    if (unlikely(q->lit >= 0)) {
        queue_light(q, lit);
    }
}

/* Has something come that a receive gives without asking the carrier's kernel? */
static inline bool draw_holds(const struct queue *q) {
    return q->in.held || (q->carrier->holds != NULL && q->carrier->holds(q->carried));
}

/* After a packet came or went: wakes the other side, where the carrier does not. */
static inline void queue_ring(struct queue *q) {
    if (q->hail != NULL) {
        hail_ring(q->sends ? &q->hail->came : &q->hail->room);
    }
}

/* For quick.h, which begins what these two go on with: nothing left of a message that is one packet; and what a receive of one packet has
 * said, and brought, is made what queue_recv says. draw_counts counts a packet where they may be lost; false: it came before. */
int push_refused(struct queue *, size_t size, int rc);
int draw_on(struct queue *, void *buffer, size_t capacity, size_t *size, int rc, size_t got, bool wait);
bool draw_counts(struct queue *, const struct frag_label *);

void push_init(struct queue *);
void push_begin(struct queue *, uint64_t node, uint32_t end); /* a conversation; whose messages these are */
int push_rest(struct queue *, bool wait);                     /* sends what was given up; 0 or -EAGAIN or an error */
int draw_init(struct queue *);
int draw_look(struct queue *); /* after a slice in which nothing came */
void draw_deinit(struct queue *);

#endif
