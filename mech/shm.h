/* SPDX-License-Identifier: MIT
 *
 * Shared memory: the layout of an end's two files, and what its two halves share. The outlet (outlet.c) sends through this
 * end's .tx file and reads the peer's .rx; the inlet (inlet.c) receives from the peer's .tx and writes this end's .rx. Each
 * half finds, follows and loses its peer by itself. Only the mechanism's own rooms include this.
 *
 * Messages too large for the lane, and loans large enough, lie in the pool behind it (mem/pool.h): their records say where.
 *
 * A conversation: the outlet writes into its .tx whom it talks to and from which position on; that peer's inlet binds by
 * writing into its .rx whom it listens to, and its cursor counts from then on.
 */
#ifndef MECH_SHM_H
#define MECH_SHM_H

#include <pthread.h>

#include "base/layout.h"
#include "mech/lamp.h"
#include "mech/mech.h"
#include "mem/bell.h"
#include "mem/hold.h"
#include "mem/lane.h"
#include "mem/pool.h"
#include "mem/post.h"
#include "mem/roll.h"
#include "mem/run.h"
#include "mem/seg.h"

#define SHM_VERSION 3
#define SHM_HEAVY 1u                             /* feature: its process has the heavy fence */
#define SHM_LIFE_SLICE (1000 * INT64_C(1000000)) /* sleep that long where a death wakes: only against a lost wake-up */
#define SHM_DOUBT_SLICE INT64_C(1000000)         /* and so long while a peer seems to be ending */

struct shm_mark {
    char magic[8];
    uint32_t version, features;
    uint32_t size; /* of the struct that it begins */
    uint32_t number;
    uint64_t node;
};
LAYOUT(shm_mark, 32, node, 24);

struct shm_link {
    uint64_t node; /* 0: nobody; released last */
    uint32_t number;
    uint32_t pad;
    uint64_t start; /* tx: where the conversation begins */
};
LAYOUT(shm_link, 24, start, 16);

struct shm_tx { /* written by the sender only; the lane stands behind it */
    struct shm_mark mark;
    LINE_ALIGNED struct shm_link to;
    struct shm_link heard;                 /* whom this end last listened to */
    LINE_ALIGNED struct bell_sleeper room; /* the sender sleeps until there is room */
    LINE_ALIGNED struct bell_rope data;    /* the sender rings: there is data */
    LINE_ALIGNED uint32_t cpu;             /* where it ran last */
    char who[NODE_PEER_MAX];               /* "pid 123 (name)": its node may be gone before this is read */
    uint32_t pad;
    uint64_t pool; /* the bound of the region behind the lane; 0: none */
};
LAYOUT(shm_tx, 384, pool, 360);

struct shm_rx { /* written by the receiver only */
    struct shm_mark mark;
    LINE_ALIGNED struct shm_link from;
    LINE_ALIGNED uint64_t cursor;          /* everything before it has been taken */
    uint64_t taken;                        /* messages of this conversation that have */
    struct pool_notes held;                /* in the same line as far as it goes */
    LINE_ALIGNED struct bell_sleeper data; /* the receiver sleeps until there is data */
    LINE_ALIGNED struct bell_rope room;    /* the receiver rings: there is room */
    LINE_ALIGNED uint32_t cpu;
    uint32_t seat; /* of a conversation: at this end's door */
};
LAYOUT(shm_rx, 896, seat, 836);

#define SHM_TX_MAGIC "thirl.tx"
#define SHM_RX_MAGIC "thirl.rx"

/* The FIFOs of an end's two lamps, as kinds of roll_file. */
#define SHM_DATA_FIFO "bell"
#define SHM_ROOM_FIFO "room"

/* The peer of one half. */
struct shm_peer {
    struct roll_end end;
    struct node_peer node;
    bool heavy;              /* both sides have the heavy fence */
    char who[NODE_PEER_MAX]; /* "pid 123 (name)" */
};

struct outlet {
    struct shm *end;
    struct seg seg; /* .tx */
    struct shm_tx *own;
    struct lane lane;
    bool linked, bound;
    const uint32_t *live; /* while it has live_value, the next message needs no further question */
    uint32_t live_value;
    int final; /* -THIRL_ECLOSED, once the peer has left */
    int told;  /* an error that a look has found, for the next try */
    struct shm_peer peer;
    struct seg map; /* its .rx */
    const struct shm_rx *theirs;
    struct bell bell;
    uint64_t straight; /* shorter messages need no further question: 0 for streams and with a descriptor */
    bool wide;         /* a cache line is copied with one register */
    uint64_t sent;     /* messages of this conversation */
    uint64_t lost;     /* messages that a lost peer had not taken */
    uint32_t needed;   /* span that did not fit */
    bool flushing;
    uint32_t change; /* of the roll, when a peer was last looked for, plus one */
    uint64_t conversation;
    struct hold loans;
    struct lamp lamp;
    struct pool pool;
    uint64_t shown;   /* in the list: its size */
    uint64_t within;  /* larger messages do not fit into the lane, */
    uint64_t most;    /* and larger ones not anywhere */
    uint64_t lends;   /* loans of that size or more lie in the pool; UINT64_MAX: none does */
    size_t wanted;    /* the message for which there was no place in the pool; 0: none */
    uint64_t refused; /* where what did not fit, or had no place, would have stood: no more than that is waited for */
};

struct feed { /* a peer's .tx; outlives the conversation while pieces of it are held */
    struct seg map;
    const struct shm_tx *theirs;
    unsigned held;
};

struct inlet {
    struct shm *end;
    struct seg seg; /* .rx */
    struct shm_rx *own;
    struct feed *feed;
    bool plain;    /* messages in the lane need no further question, see straighten, */
    bool straight; /* and neither does one by itself: the reader is not in the midst of a run */
    bool bound, dead;
    int final;
    struct shm_mute { /* whom the outlet talked to and who died without a word, for the next try; node 0: nobody */
        struct roll_end end;
        char who[NODE_PEER_MAX];
    } mute;
    struct shm_peer peer;
    struct lane lane;
    struct run run;     /* at the lane's position */
    size_t offset;      /* bytes of the record at the lane's position that a stream has taken */
    uint64_t number;    /* messages of this conversation */
    uint64_t caught_up; /* the number when there was nothing more to read */
    struct bell bell;
    uint32_t change;
    struct hold held;
    uint64_t kept, kept_most;      /* bytes of the sender's pool that are held, and may be */
    uint64_t kept_size[POOL_HELD]; /* of each note */
    struct lamp lamp;
};

struct shm {
    struct roll roll;
    struct node_end *seen;
    uint64_t posted;        /* to whom the tx was posted last */
    uint64_t verdict;       /* the last of mate_judge: whom it was about, and in its lowest bit what */
    pthread_mutex_t noting; /* of the peer in `seen`, which both halves write, and of: */
    struct shm_mute linked; /* whom the outlet talks to and the inlet has not met */
    char address[NODE_ADDRESS_MAX];
    bool sends, receives, stream, heavy;
    unsigned mode;
    uint64_t max;
    /* Of one conversation among several of this end (desk.c): the only peer that it may have, whose files bear the names of both;
     * node 0: whoever comes to the channel. And the peer's door. */
    struct roll_end mate;
    struct door *door;
    struct outlet out;
    struct inlet in;
};

/* Is that error the other end's, and stays? Any other is this process's, such as too many open files: the next try may do it. */
static inline bool shm_final(int rc) {
    return rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED || rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION;
}

/* ---- mate.c ---- */

/* The name of a file of that end: of kind "tx" or "rx", for its mate if it is given (node not 0). */
void mate_file(char file[ROLL_FILE_MAX], const struct roll_end *of, const char *kind, const struct roll_end *mate);

int mate_check(const struct shm *, const struct seg *, const char *magic, size_t size, const struct roll_end *of,
               bool *heavy);

/* Another end that has a file of that kind: maps it, checks its mark, opens its node. 0; -EAGAIN: there is none (yet). Of one that was chosen
 * dead may be asked, for its tx file: what it has said before it died is there to be heard. */
int mate_find(struct shm *, const char *kind, const char *magic, size_t size, struct seg *, struct shm_peer *,
              bool *dead);

/* The oldest tx file that was posted to this end, and who did; *dead: it is no more. 0 or -EAGAIN as above. */
int mate_find_post(struct shm *, struct seg *, struct shm_peer *, bool *dead);

/* Posts the tx to that peer, once; see post_put. */
int mate_post(struct shm *, const struct roll_end *);

/* How long a half may sleep before it looks at that peer's life (NULL: at who has come). */
int64_t mate_slice(const struct shm_peer *, bool linked);

/* A peer may die in the middle of leaving: which of the two it was, the half says that asks first, and the other half the
 * same. true: it has left. */
bool mate_judge(struct shm *, const struct roll_end *, bool left);

/* A pair's outlet talks to that peer from now on. Its inlet has met it, or was told of its death. The inlet asks: did it die
 * without a word? true once, and who it was. */
void mate_link(struct shm *, const struct shm_peer *);
void mate_meet(struct shm *, const struct roll_end *);
bool mate_lost(struct shm *, struct shm_mute *);

/* Notes in the list who is there (NULL: nobody). */
void mate_note(struct shm *, const struct shm_peer *);

/* Rings the peer by its FIFO, and opens that for the bell, if it can. */
void mate_open_fifo(struct shm *, struct bell *, const struct shm_peer *, const char *kind);

/* Puts a byte into that FIFO of an end, which need not be a peer. 0, also where there is none; or why it cannot be opened. */
int mate_ring_fifo(const struct roll *, const struct roll_end *, const char *kind);

/* ---- stow.c ---- */

/* The bound of that end's pool: 0 where there is none. init: behind a segment that was made with it. */
uint64_t stow_bound(const struct shm *, const struct thirl_options *);
void stow_init(struct outlet *, uint64_t bound);

/* Nobody listens any more: nothing is held. */
void stow_forget(struct outlet *);

/* What the last try has lacked: a place of that size in the pool, or, 0, something else. */
void stow_want(struct outlet *, size_t);

/* While there is a peer: a place for a message of that size. 0; -EAGAIN: none now; or an error. It ends with stow_commit or
 * pool_back. */
int stow_place(struct outlet *, size_t, uint32_t *chunk);

/* Commits the record, which ends at that position, as a reference to the message. */
void stow_commit(struct outlet *, struct lane_head *, uint32_t span, uint32_t chunk, size_t size, uint64_t end);

/* After a commit, while the message is on its way: looks for the place that the next one of that size will have. */
void stow_ahead(struct outlet *, size_t);

/* Would a place now be found that was not? */
bool stow_ready(struct outlet *);

/* ---- outlet.c, inlet.c: the slots of the contract, one way each ---- */

int outlet_init(struct outlet *, struct shm *, const struct thirl_options *);
int outlet_send(void *shm, const void *, size_t, size_t *done, bool wait); /* slots as they are, */
int outlet_send_many(void *shm, const struct iovec *, size_t *count, size_t *bytes);
int outlet_send_lent(struct outlet *, const uint64_t *head, size_t words, const void *, size_t); /* see straight.h */
int outlet_tell(struct outlet *); /* the peer may sleep, poll, or have left */
int outlet_loan(struct outlet *, struct mech_piece *, size_t);
int outlet_put(struct outlet *, struct mech_piece *);
void outlet_free(struct outlet *, struct mech_piece *);
int outlet_flush(struct outlet *, uint64_t *left);
bool outlet_ready(struct outlet *);
int outlet_look(struct outlet *);
int outlet_arm(struct outlet *, struct mech_watch *);
int64_t outlet_disarm(struct outlet *);
void outlet_settle(struct outlet *); /* keeps the descriptor level-triggered */
void outlet_poll(
    struct outlet *); /* from now on the peer puts a byte into this end's FIFO when there is room: look once more */
void outlet_close(struct outlet *);
void outlet_deinit(struct outlet *);

int inlet_init(struct inlet *, struct shm *, unsigned mode);
int inlet_recv(void *shm, void *, size_t, size_t *, bool wait); /* because a call less shows */
int inlet_recv_many(void *shm, void *, size_t, struct iovec *, size_t *count, size_t *bytes);
int inlet_take_with_care(struct inlet *, struct mech_piece *); /* see straight.h */
void inlet_free(struct inlet *, struct mech_piece *);
bool inlet_ready(struct inlet *);
int inlet_look(struct inlet *);
int inlet_arm(struct inlet *, struct mech_watch *);
int64_t inlet_disarm(struct inlet *);
void inlet_settle(struct inlet *);
void inlet_close(struct inlet *);
void inlet_deinit(struct inlet *);

/* ---- shm.c ---- */

bool shm_spin(void *shm, enum mech_way); /* the slot */

#endif
