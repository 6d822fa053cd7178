/* SPDX-License-Identifier: MIT
 *
 * PAIR, WRITE and READ over a carrier: each end that receives has an inbox of its own, which nobody had before it, so that no
 * message for a dead end ever reaches another. Who is there, who has died and who has left is known through the registry, as
 * for shm://: an end shows a page (its tx and rx file are one file), and posts it to the end that it begins to talk to. Packets
 * are cut and joined by the halves of a queue. spout.c sends, basin.c receives, duct.c is the rest.
 *
 * The two halves share nothing but the roll, the page (which only the basin writes while the end is open) and the line in the list.
 */
#ifndef MECH_DUCT_H
#define MECH_DUCT_H

#include <pthread.h>

#include "mech/queue.h"
#include "mem/post.h"
#include "mem/seg.h"

#define DUCT_MAGIC "thirldct"
#define DUCT_VERSION 3 /* of the page, and of how messages become packets (wire/frag) */

struct duct_page { /* written by its own end only */
    char magic[8];
    uint32_t version, size;
    uint64_t node;
    uint32_t number;
    uint32_t left;                  /* it has closed; released after its last packet */
    uint64_t max;                   /* bytes of the largest message that it accepts */
    char who[NODE_PEER_MAX];        /* "pid 123 (name)": its node may be gone before this is read */
    char place[CARRIER_PLACE_MAX];  /* of its inbox */
    char source[CARRIER_PLACE_MAX]; /* that it sends from, to whom `to` says; "": from nowhere in particular */
    /* Whom it listens to and whom it talks to: each written by its half, and given up when he dies, not when he leaves. */
    LINE_ALIGNED struct duct_link {
        uint64_t node; /* 0: nobody; released last */
        uint32_t number, pad;
        uint64_t taken; /* from: messages of his that it has received */
    } from;
    LINE_ALIGNED struct duct_link to;
};

struct duct_peer {
    const struct duct_page *page;
    bool dead;           /* already when it was found */
    int guard;           /* a pidfd, or -1 */
    struct roll_end end; /* node 0: nobody */
    struct node_peer node;
    struct seg map;
    char who[NODE_PEER_MAX];
};

struct spout {
    bool linked, flushing;
    int final;       /* -THIRL_ECLOSED once the peer has left */
    uint32_t change; /* of the roll, when a peer was last looked for, plus one */
    uint64_t sent;   /* messages of this conversation */
    uint64_t lost;   /* of the last one that ended */
    struct duct_peer peer;
    struct queue q; /* its instance is open while linked */
};

struct basin {
    bool bound, confined; /* to whom it is bound */
    int final;
    uint32_t change;
    size_t offset; /* bytes of the held packet that a stream has taken */
    struct duct_peer peer;
    struct queue q;
};

struct duct { /* in the order of a queue: what each message needs stands first */
    const struct carrier *carrier;
    struct duct_page *page;
    struct node_end *seen;
    bool sends, receives, stream;
    uint64_t max;
    int epoll, lit, tick; /* thirl_fd; -1 */
    struct spout out;
    struct basin in;
    /* Of a pair, under noting: whom the basin has met last, for the spout; and the other way round. */
    struct duct_peer met, linked;
    pthread_mutex_t noting; /* of the peer in `seen`, too, which both halves write */
    struct seg seg;
    struct roll roll;
    struct thirl_options options;
    char address[NODE_ADDRESS_MAX];
};

int duct_open(struct duct *, const struct carrier *, const struct mech_open *);

/* The slots of mech.h; self is a struct duct. */
void duct_close(void *self);
void duct_deinit(void *self);
int duct_flush(void *self, uint64_t *left);
int duct_send(void *self, const void *data, size_t size, size_t *done, bool wait);
int duct_settle(void *self, const void *data, size_t size, size_t done);
int duct_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait);

/* What carries that way now; NULL: nothing. */
struct queue *duct_queue(struct duct *, enum mech_way);

int duct_arm(void *self, enum mech_way, struct mech_watch *);
int duct_fd(void *self, enum mech_way, int *fd);
void duct_limits(void *self, struct thirl_limits *);
int duct_peer(void *self, struct thirl_peer *);

/* ---- duct.c, for the halves ---- */

/* Maps the page in that file of the channel's directory and knows whose it is. 0; -EAGAIN: gone already; or an error. */
int duct_meet(struct duct *, struct duct_peer *, const struct roll_end *, const char *file);
void duct_part(struct duct_peer *);

/* A half has met that peer: *place, which is met or linked, is for the other half, which is to know of him too, even if he is
 * gone by the time that it looks. duct_met takes him from there: true, and *peer is mapped. */
void duct_introduce(struct duct *, struct duct_peer *place, const struct roll_end *);
bool duct_met(struct duct *, struct duct_peer *place, struct duct_peer *peer);

/* Has that peer left (-THIRL_ECLOSED) or died (-THIRL_EPEERDIED)? 0: neither. sure: ask the kernel even if nothing has changed. */
int duct_fate(struct duct_peer *, bool sure);

/* Has nothing changed? Then duct_fate would say 0, unless it is to be sure. */
static inline bool duct_stands(const struct duct_peer *peer) {
    return atomic_load(&peer->page->left) == 0 && /* pairs with the store in duct_close */
           !peer->dead && !node_peer_doubtful(&peer->node);
}

/* Can a message go straight, by quick.h through the queue of the half? Then duct_sent says what its slot says of it, and likewise where one is to be
 * received. */
static inline bool duct_sends(const struct duct *d, size_t size) {
    return d->out.linked && d->out.final == 0 && duct_stands(&d->out.peer) && size <= d->max && !d->stream &&
           d->epoll < 0;
}
int duct_refused(struct duct *, int rc, bool wait);
static inline int duct_sent(struct duct *d, int rc, bool wait) {
    d->out.sent += rc == 0;
    return likely(rc == 0) ? 0 : duct_refused(d, rc, wait);
}

static inline bool duct_receives(const struct duct *d) {
    return d->in.final == 0 && !d->stream && d->epoll < 0 && d->in.q.in.aside.node == 0;
}
int duct_receive_on(struct duct *, void *buffer, size_t capacity, size_t *size, int rc, bool wait);
static inline int duct_received(struct duct *d, void *buffer, size_t capacity, size_t *size, int rc, bool wait) {
    if (likely(rc == 0)) {
        atomic_store(&d->page->from.taken, d->page->from.taken + 1); /* pairs with taken_of in spout.c */
        return 0;
    }
    return duct_receive_on(d, buffer, capacity, size, rc, wait);
}

/* Does its death not show by itself, in a word that costs nothing to look at? */
static inline bool duct_hides(const struct duct_peer *peer) {
    return peer->node.life == NULL;
}

/* Does that peer speak with another end, which has closed? Then it is on its way out, and this end waits for the next one. The
 * end of a process that died it will give up. */
bool duct_taken(const struct duct *, const struct duct_peer *);

/* Notes in the list who is there (NULL: nobody). */
void duct_note(struct duct *, const struct duct_peer *);

/* Adds to a watch what tells of that peer's death (NULL: nobody is there), and how long to sleep at most. */
void duct_guard(const struct duct_peer *, struct mech_watch *);

/* Puts a half's queue on an instance that carrier_open describes. */
int duct_half(struct duct *, struct queue *, const struct carrier_open *, char place[CARRIER_PLACE_MAX]);

/* After each call of the way that thirl_fd is for: lit while there is something to answer without a packet; the timer goes
 * while nothing would wake. */
void duct_relight(struct duct *, bool lit, const struct duct_peer *);

/* ---- spout.c, basin.c ---- */

int spout_find(struct duct *);   /* links to a peer that is there; 0, -EAGAIN or an error */
void spout_greet(struct duct *); /* a note to the peer: look around */
int spout_arm(struct duct *, struct mech_watch *);
int basin_arm(struct duct *, struct mech_watch *);

#endif
