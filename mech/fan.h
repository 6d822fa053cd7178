/* SPDX-License-Identifier: MIT
 *
 * PUB and SUB in shared memory: the layout of their files, and what both share. Each publisher writes a cast (mem/cast.h) in its
 * .tx, which all subscribers map and read; each subscriber has an .rx with a seat for each publisher that it reads: how far it is,
 * and what it missed. Nobody waits for anybody, unless the publisher's ?full= says so: then it reads the seats, and may
 * overwrite only what the slowest living subscriber has passed.
 *
 * Who was there first is settled under the roll's lock: a subscriber begins at the end of every publisher that it finds while it
 * joins, and at the beginning of every later one, who has posted its .tx to it: what came and went, or died, before it looked is
 * there. Its seats are written before its .rx gets its name, so a publisher that finds an .rx without a seat for itself was there
 * later, and waits from its own beginning on.
 *
 *     subscriber, joining                          publisher that waits for its subscribers
 *     seat = where it begins; .rx gets its name    floor = what the slowest passed
 *     hail.receivers += 1                          full fence
 *     heavy fence                                  hail.receivers changed? reads seats again, and overwrites
 *     floor behind it? begins at the end again       nothing that a seat still needs
 *
 * One of the two sees the other. A subscriber by pattern (topics) joins channels when publishers come; until it has, its posts say that
 * it was there before. Only the rooms of this mechanism include this: fan, pub, crowd, sub, feed, topics.
 */
#ifndef MECH_FAN_H
#define MECH_FAN_H

#include "base/layout.h"
#include "mech/lamp.h"
#include "mech/mech.h"
#include "mem/cast.h"
#include "mem/hail.h"
#include "mem/pool.h"
#include "mem/post.h"
#include "mem/roll.h"
#include "mem/seg.h"
#include "mem/wish.h"

#define FAN_VERSION 2
#define FAN_TX_MAGIC "thirl.pb"
#define FAN_RX_MAGIC "thirl.sb"
#define FAN_NO_WANT UINT64_MAX

struct fan_mark {
    char magic[8];
    uint32_t version, size; /* of the struct that it begins */
    uint64_t node;
    uint32_t number, pad;
};
LAYOUT(fan_mark, 32, pad, 28);

struct fan_tx { /* written by the publisher only; the ring stands behind it */
    struct fan_mark mark;
    char who[NODE_PEER_MAX]; /* "pid 123 (name)": its node may be gone before this is read */
    uint32_t full;           /* enum thirl_full */
    uint32_t pad;
    uint64_t history;           /* for those who come late and do not say it themselves */
    uint64_t pool;              /* the bound of the region behind the ring; 0: none */
    LINE_ALIGNED uint32_t gone; /* it has left: what is there is all */
    uint32_t cpu;               /* where it ran last */
    LINE_ALIGNED uint64_t want; /* it waits until a subscriber has passed this position */
    uint32_t polled;            /* counts: its descriptor wants a byte then; 0: it does not */
    struct cast_head cast;
};
LAYOUT(fan_tx, 1536, cast, 320);

struct fan_seat {               /* one subscriber at one publisher */
    LINE_ALIGNED uint64_t node; /* 0: free; released last */
    uint32_t number, pad;
    uint64_t cursor;      /* everything before it has been taken, or given up */
    uint64_t taken, lost; /* messages; taken counts the lost ones, too */
};

struct fan_rx { /* written by the subscriber only; seats stand behind it, as many as fit */
    struct fan_mark mark;
    LINE_ALIGNED uint32_t moved; /* there is a new file of that name, with more seats */
    uint32_t cpu;
    uint32_t left; /* it has closed, and counts only for what it still holds */
    LINE_ALIGNED struct pool_notes held;
    struct fan_whose { /* whose chunk each note is about */
        uint64_t node;
        uint32_t number, pad;
    } whose[POOL_HELD];
};
LAYOUT(fan_rx, 1728, whose, 648);

struct fan;

/* ---- a publisher ---- */

struct reader { /* a subscriber, as a publisher sees it that waits for them */
    struct roll_end end;
    struct seg map;
    const struct fan_seat *seat; /* NULL: it has none for this publisher yet */
    uint64_t cursor;
    unsigned holds; /* notes about this publisher's chunks, at the last look */
    bool there, liar;
};

struct bells { /* the FIFOs of subscribers with a descriptor */
    struct bells_one {
        struct roll_end end;
        int fifo;
    } * one;
    size_t count, room;
    uint32_t receivers; /* when they were looked for, plus one */
};

struct pub {
    struct fan *end;
    struct seg seg;
    struct fan_tx *own;
    struct cast_out cast;
    enum thirl_full full;
    bool waits; /* it looks at seats: may not overwrite what is not taken */
    bool plain; /* nothing but a record and a call for each message */
    uint64_t max;
    struct reader *reader;
    size_t readers, room;
    size_t next;        /* of them, most likely the one that is looked for next */
    bool met;           /* those to whom it was posted are among them */
    uint32_t receivers; /* of the hail, when they were listed, plus one */
    size_t slowest;     /* index of a reader, when the queue was full */
    uint32_t needed;    /* span that did not fit, */
    uint64_t refused;   /* where it would have stood: no more than that is waited for */
    unsigned asleep;
    bool flushing;
    int64_t buried;        /* when the dead were looked for */
    struct roll_end named; /* who stands in the list as the slowest */
    int64_t counted;       /* when subscribers were counted for the list */
    uint32_t shown;        /* as receivers, at that time */
    struct bells bells;
    struct lamp lamp;
    struct pool pool;
    uint64_t within, lends;   /* larger messages do not fit into the ring; loans of that size or more lie in the pool */
    size_t wanted;            /* likewise the message for which there was no place there; 0: none */
    uint32_t lent[POOL_HELD]; /* chunks that are lent */
    unsigned lents;
};

/* ---- a subscriber ---- */

struct feed { /* a publisher, as a subscriber sees it */
    struct roll_end end;
    struct seg map;
    const struct fan_tx *theirs; /* NULL: not listened to any more */
    struct cast_in in;
    struct fan_seat *seat;
    struct node_peer node;
    uint64_t laps;
    uint64_t skipped; /* of its messages, since the last one that was handed out; */
    uint64_t told;    /* and what that one told as lost */
    bool waits, cuts; /* its ?full= */
    bool dead;
    bool posted;       /* it began after this end */
    uint32_t answered; /* of theirs->polled */
    int fifo;
    char who[NODE_PEER_MAX];
    bool over;                /* let go, but for what is still held */
    unsigned out;             /* messages in its pool that are held, */
    uint64_t kept, kept_most; /* their bytes, and how many they may be */
};

struct sub {
    struct fan *end;
    struct seg seg;
    struct fan_rx *own;
    struct feed **feed;
    size_t feeds, room;
    size_t at; /* whose turn it is */
    unsigned streak, idle;
    bool doubt;     /* somebody seems to have left or died */
    bool joined;    /* the .rx has its name */
    bool lacks;     /* this process lacked something when it met a publisher, such as a descriptor: to be tried again */
    uint32_t posts; /* of the roll, when what was posted to it was looked for last */
    uint32_t senders; /* of the hail, when they were looked for, plus one */
    uint64_t history;
    struct feed *last; /* whose message was taken last; it is listened to, or this is NULL */
    uint64_t number, caught_up;
    struct lamp lamp;
    struct kept { /* of each note */
        struct feed *feed;
        uint64_t cost;
    } kept[POOL_HELD];
    unsigned holds;
};

struct fan {
    struct roll roll;
    struct node_end *seen;
    struct hail *hail;
    char address[NODE_ADDRESS_MAX];
    char name[NODE_ADDRESS_MAX]; /* of the channel */
    bool sends, heavy;
    bool closed;
    bool left; /* the roll: the last who knows of it is a message that is held */
    bool part; /* of a subscription to many channels (topics.c), which has the line in the list and the FIFO */
    unsigned mode;
    struct pub pub;
    struct sub sub;
};

/* ---- fan.c ---- */

/* Joins that channel as a part of a subscription to many, whose end has that number and makes its FIFO in `dir`; seen, address and mode
 * are set. 0 or an error; fan_leave and fan_deinit follow, or after fan_retire only fan_deinit. */
int fan_join_part(struct fan *, const char *name, uint32_t number, int dir, const struct thirl_options *,
                  int64_t until);

/* Leaves where nobody publishes any more, as roll_retire. */
int fan_retire(struct fan *);
void fan_leave(void *fan); /* slots as they are */
void fan_deinit(void *fan);
bool fan_spin(void *fan, enum mech_way);
int fan_peer(void *fan, struct thirl_peer *);

/* Does that file begin with the mark of that end? 0 or an error with a sentence. */
int fan_check(const struct fan *, const struct seg *, const char *magic, size_t size, const struct roll_end *);

/* ---- crowd.c: a publisher's subscribers ---- */

/* Maps the subscribers that came and lets those go that left, if any did. */
int crowd_refresh(struct pub *);

/* The position of the slowest that counts; the end, if none does. *slowest gets its index. */
uint64_t crowd_least(struct pub *, size_t *slowest);

/* Lets the dead go. true: there were some. */
bool crowd_bury(struct pub *);

/* Messages that the slowest has not taken. */
uint64_t crowd_left(struct pub *);

/* Puts a byte into the FIFO of everyone who has one. */
void crowd_ring(struct pub *);

/* Marks the chunks that they hold, for a sweep. The floor was said before. */
void crowd_mark(struct pub *);

/* Notes in the list how many there are, if that has changed. */
void crowd_show(struct pub *);

void crowd_deinit(struct pub *);

/* ---- bulk.c: a publisher's large messages ---- */

void bulk_init(struct pub *, const struct thirl_options *);

/* A place for a message of that size: 0; -EAGAIN: none now, for one who waits; -EBUSY: subscribers hold all, with a sentence; or another error. */
int bulk_place(struct pub *, size_t, uint32_t *chunk);

/* The chunk in which that is, if it was lent; POOL_NONE: it is no loan. It is not lent any more. */
uint32_t bulk_claim(struct pub *, const void *data);

int bulk_loan(struct pub *, struct mech_piece *, size_t);
void bulk_free(struct pub *, struct mech_piece *);
void bulk_want(struct pub *, size_t); /* what the last try has lacked; 0: something else */
bool bulk_ready(struct pub *);        /* would a place now be found that was not? */
void bulk_deinit(struct pub *);

/* ---- grasp.c: a subscriber's hold on them ---- */

/* The record that cast_read has found (2): into the buffer, or held where it lies. 1: taken; 0: the publisher was faster; or an error. */
int grasp_take(struct sub *, struct feed *, struct cast_got *, void *buffer, size_t capacity, struct mech_note *);

/* One of them comes back. */
void grasp_free(struct sub *, struct mech_piece *);

/* ---- pub.c, sub.c ---- */

int pub_init(struct pub *, struct fan *, const struct thirl_options *);
void pub_joined(struct pub *);
int pub_send(void *fan, const void *, size_t, size_t *done, bool wait); /* slots as they are */
int pub_send_many(void *fan, const struct iovec *, size_t *count, size_t *bytes);
int pub_flush(struct pub *, uint64_t *left);
bool pub_ready(struct pub *);
int pub_look(struct pub *);
int pub_arm(struct pub *, struct mech_watch *);
void pub_disarm(struct pub *);
void pub_settle(struct pub *);
void pub_close(struct pub *);
void pub_deinit(struct pub *);

int sub_init(struct sub *, struct fan *, const struct thirl_options *);
void sub_joined(struct sub *);
int sub_recv(void *fan, void *, size_t, size_t *, bool wait);
int sub_recv_noted(void *fan, void *, size_t, size_t *, struct mech_note *, bool wait);
int sub_recv_many(void *fan, void *, size_t, struct iovec *, size_t *count, size_t *bytes);
void sub_answer(struct sub *, struct feed *); /* a publisher that waits may go on */
void sub_skip(struct sub *);
int sub_look(struct sub *);
int sub_arm(struct sub *, struct mech_watch *);
void sub_settle(struct sub *);
void sub_close(struct sub *);
void sub_deinit(struct sub *);

/* ---- feed.c: a subscriber's publishers ---- */

/* Maps the publishers that came. 0, or an error, told once. */
int feed_refresh(struct sub *);

/* Lets those go that left and have nothing more. -THIRL_EPEERDIED for one that died, once for each; 0: nobody did. */
int feed_tidy(struct sub *);

/* Asks the kernel whether they live. true: one does not, and has not been told of. */
bool feed_look(struct sub *);

/* Is there one that has something to say, or about whom there is? */
bool feed_ready(struct sub *);

/* Unmaps one that is over, when the last of its messages has come back. */
void feed_forget(struct feed *);

/* Not listened to any more: it lied, or was too fast for one that it will not wait for. */
void feed_cut(struct sub *, struct feed *);

/* Makes the .rx, not yet with its name, with seats for all who are there, and more. */
int feed_seats(struct sub *);

void feed_deinit(struct sub *);

#endif
