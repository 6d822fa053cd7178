/* SPDX-License-Identifier: MIT
 *
 * One end of a channel, as the rooms of this floor share it: the mechanism that carries it, and for each way a gate, the
 * pieces that are out, and what its waits have taught. Nobody outside chan looks inside.
 */
#ifndef CHAN_END_H
#define CHAN_END_H

#include "base/err.h"
#include "base/gate.h"
#include "base/proc.h"
#include "mech/auto.h"
#include "mech/haste.h"
#include "mech/mech.h"
#include "mem/node.h"

struct thirl_msg {
    thirl *end;
    struct mech_piece piece;
    struct mech_note note;
    void *buffer; /* private, kept for the next use of this slot; NULL until the mechanism needs one */
    size_t room;  /* bytes of it */
    char *topic;  /* of the mechanism that tells it, kept likewise */
    uint8_t way;  /* enum mech_way */
    uint8_t slot;
    bool lent;      /* a loan of the mechanism's, and not in the private buffer */
    bool owed;      /* a request that is to be answered */
    bool cancelled; /* a request whose caller wants no answer any more */
};

#define END_NEVER UINT32_MAX /* no epoch; 0 is that of a forked child */

struct end_way {
    struct gate gate;
    bool allowed;              /* by role */
    uint32_t open;             /* the epoch in which this way may be used, or END_NEVER: by role, or when a close has begun */
    uint32_t straight;         /* likewise, in which the first try of send and recv may be made on the spot */
    struct gate_count waiters; /* threads between two tries of one call */
    uint32_t choosers;    /* those of them that are in thirl_wait: while there are some, nobody blocks under the gate */
    const uint32_t *word; /* what the last of them went to sleep on; NULL when that was a descriptor */
    uint64_t slots;       /* a bit for each msg that is out */
    struct haste haste;   /* towards a peer on this very processor */
    uint32_t keen; /* a peer that spins has answered at once of late: so many tries on the spot before a wait begins */
    int64_t gap;   /* how long the peer lets this way wait: a moving average, ns */
    int64_t wake;  /* how long a wake-up takes: likewise */
    uint64_t next; /* number of the next message that arrives in a private buffer */
    uint32_t handed; /* counts what one thread's try has left for another's: end_hand */
    uint32_t dozing; /* of calls: threads that sleep on descriptors, and on */
    int nudge;       /* this eventfd besides, which is readable until all of them have come up; -1 until there is one */
    uint32_t queued; /* threads that have found the gate taken: a close lets them through before the end is gone */
    struct thirl_msg *msg; /* THIRL_HELD_MAX of them */
};

/* Of an end of calls: what its descriptor shows besides what the mechanism has, see aside.h. */
struct end_aside {
    int epoll; /* thirl_fd's: the mechanism's descriptor, and these two; -1: nobody has asked */
    int event; /* something lies aside: then this eventfd is readable, and `lit` true */
    int timer; /* readable from `due` on */
    bool lit;
    int64_t due;
};

struct thirl {
    const struct mech *mech;
    void *state; /* the mechanism's */
    /* What each message needs of elsewhere: after a system call every page that is not touched is a miss less. */
    const uint32_t *now; /* the epoch of this process: proc_page */
    int (*send)(void *self, const void *data, size_t size, size_t *done, bool wait);
    int (*recv)(void *self, void *buffer, size_t capacity, size_t *size, bool wait);
    bool patient; /* the mechanism blocks: the first try is made on the spot without a deadline only, and waits */
    uint32_t epoch;
    uint32_t closing; /* thirl_close has begun */
    uint32_t pieces;  /* that are still out of a closed end, and keep its memory */
    int kick;         /* an eventfd that wakes the waiters on descriptors, -1 until there is one */
    bool stream;
    bool fails;             /* ?full=fail: a sender never waits for room */
    bool retry;             /* ?retry */
    bool tells;             /* ?deadlock=fail */
    bool asks;              /* CALL or SERVE: a message there belongs to a call, and has no place in send and recv */
    struct due *due;        /* SERVE: due.h; else NULL */
    struct auto_seat *seat; /* of auto://: its place among those who agreed; else NULL */
    struct end_aside aside;
    int64_t (*when)(thirl *); /* of calls: from when on something lies aside; see aside.h. NULL: nothing ever does */
    void *pattern;            /* what a room above keeps with this end, */
    void (*forget)(void *);   /* and how that is given back, when nothing of the end is out any more */
    enum thirl_wait_mode wait;
    int64_t timeout;
    struct node_end *seen;
    char address[NODE_ADDRESS_MAX];
    char topic[THIRL_TOPIC_MAX];        /* the address without scheme and options */
    LINE_ALIGNED struct end_way way[2]; /* by enum mech_way */
};

/* The epoch of the process that asks: 0 in a forked child. */
static inline uint32_t end_now(const thirl *end) {
    return atomic_peek(end->now);
}

/* Enters the gate of that way, if this end may be used so: 0, or an error; all have their sentence but -EAGAIN and
 * -ETIMEDOUT, which are gate_enter's, as is until. */
int end_refuse(const thirl *, enum mech_way);
int end_enter_slow(thirl *, enum mech_way, int64_t until);
static inline int end_enter(thirl *end, enum mech_way way, int64_t until) {
    if (unlikely(end == NULL || !gate_enter_owned(&end->way[way].gate))) {
        return end_enter_slow(end, way, until);
    }
    if (unlikely(atomic_peek(&end->way[way].open) != end_now(end))) {
        gate_leave_owned(&end->way[way].gate);
        return end_refuse(end, way);
    }
    return 0;
}

void end_vacate(thirl *, enum mech_way); /* gate_vacate */
static inline void end_leave_straight(thirl *end, enum mech_way way) {
    if (unlikely(!gate_left_owned(&end->way[way].gate))) {
        end_vacate(end, way);
    }
}

/* The same for the first try of a call, when nothing is out of the ordinary; epoch: the one of the way that allows it. Whoever gets false asks
 * end_do, others leave by end_leave_straight. The gate comes first, so that one look at the epoch also tells of fork and of close. */
static inline bool end_enter_in(thirl *end, enum mech_way at, const uint32_t *epoch) {
    struct gate *gate = &end->way[at].gate;
    if (unlikely(!gate_enter_owned(gate))) {
        return false;
    }
    if (unlikely(atomic_peek(epoch) != end_now(end))) {
        end_leave_straight(end, at);
        return false;
    }
    return true;
}
static inline bool end_enter_straight(thirl *end, enum mech_way at) {
    return end_enter_in(end, at, &end->way[at].straight);
}

/* Is the deadline one for the straight way? Without one, a mechanism that blocks may do so at once. */
static inline bool end_is_direct(const thirl *end, thirl_time until) {
    return !end->patient || until.ns == INT64_MAX;
}

static inline void end_leave(thirl *end, enum mech_way way) {
    gate_leave(&end->way[way].gate);
}

/* Counts a message for the list; under the gate of its way. */
static inline void end_count(struct node_count *count, size_t size) {
    atomic_poke(&count->messages, count->messages + 1);
    atomic_poke(&count->bytes, count->bytes + size);
}

/* What the user is told of a damaged message. */
static inline int end_answer(int rc) {
    return unlikely(rc == -EBADMSG) ? -THIRL_EFORMAT : rc;
}

/* The number of what the peer sent, or 0 again when that was the last of this peer: for pieces in private buffers. */
static inline uint64_t end_number(thirl *end, int rc) {
    uint64_t *next = &end->way[MECH_IN].next;
    if (rc == -THIRL_EPEERDIED || rc == -THIRL_EFORMAT) {
        *next = 0;
    }
    return rc == 0 || rc == -EBADMSG ? (*next)++ : 0;
}

/* One try at something, under the gate: 0, a documented answer, -EAGAIN, or an error. */
typedef int end_try(thirl *, void *arguments, bool wait);

/* The way through every wait: tries until it is something else than -EAGAIN or the deadline has passed, which is said in a
 * sentence: -EAGAIN for THIRL_NOW, else -ETIMEDOUT. */
int end_do(thirl *, enum mech_way, end_try *, void *arguments, thirl_time until);

/* The same after a straight try that said -EAGAIN, with until not THIRL_NOW, and end_wait_begins before the gate opened. */
int end_go_on(thirl *, enum mech_way, end_try *, void *arguments, thirl_time until);
static inline void end_wait_begins(thirl *end, enum mech_way way) {
    gate_count_up(&end->way[way].gate, &end->way[way].waiters);
}
static inline void end_wait_ends(thirl *end, enum mech_way way) {
    gate_count_down(&end->way[way].gate, &end->way[way].waiters);
}

/* Whoever goes on to wait comes back by a long way, which stands in every round trip then. So while the peer has answered at once of late
 * the next tries are made where the first one was, under the gate: those of end_linger. */
static inline bool end_is_keen(const thirl *end, enum mech_way way, thirl_time until) {
    return atomic_peek(&end->way[way].keen) != 0 && until.ns != 0;
}
int end_linger(thirl *, enum mech_way, end_try *, void *arguments);

/* What `wait` is at a first try on the spot: a mechanism that blocks may do so, see end_is_direct; one that spins may look on for a moment. */
static inline bool end_may_wait(const thirl *end, enum mech_way way, thirl_time until) {
    return (int)end->patient | ((int)(atomic_peek(&end->way[way].keen) != 0) & (int)(until.ns != 0));
}

/* As end_do, the first try on the spot: most calls need no other, and behind a sleep in the kernel each return costs 20 ns. Who goes on is
 * counted before the gate opens, so that a close waits for it. */
static inline __attribute__((always_inline)) int end_do_straight(thirl *end, enum mech_way way, end_try *try,
                                                                 void *arguments, thirl_time until) {
    if (unlikely(end == NULL || !end_is_direct(end, until) || !end_enter_in(end, way, &end->way[way].open))) {
        return end_do(end, way, try, arguments, until);
    }
    bool waits = end->patient && end->wait != THIRL_WAIT_SPIN && atomic_peek(&end->way[way].choosers) == 0;
    int rc = try(end, arguments, waits);
    if (rc == -EAGAIN && end_is_keen(end, way, until)) {
        rc = end_linger(end, way, try, arguments);
    }
    if (likely(rc != -EAGAIN)) {
        end_leave_straight(end, way);
        return rc;
    }
    end_wait_begins(end, way);
    end_leave_straight(end, way);
    if (until.ns != 0) {
        return end_go_on(end, way, try, arguments, until);
    }
    rc = end_do(end, way, try, arguments, until);
    end_wait_ends(end, way);
    return rc;
}

/* What a sender's deadline comes to. end is not NULL. */
static inline thirl_time end_patience(const thirl *end, thirl_time until) {
    return unlikely(end->fails) ? THIRL_NOW : until;
}

/* Under the gate of that way: the try of another thread may find something now. All that wait there try again. */
void end_hand(thirl *, enum mech_way);

/* Of calls, under the gate of that way: this thread goes to sleep on descriptors, and *nudge, if it is not -1, wakes it when another
 * one hands it something; and it is up again. */
void end_doze(struct end_way *, int *nudge);
void end_stir(struct end_way *);

/* A message of any kind with its note, in a slot of its own; under the gate of the way IN, as a try. What was not handed to the user
 * goes back by end_give_back, under the same gate. */
int end_take(thirl *, struct thirl_msg **, bool wait);
void end_give_back(struct thirl_msg *);

/* Copies the bytes into a slot's own buffer; under the same gate. -EBUSY: all are out; -ENOMEM. */
int end_fill(thirl *, struct thirl_msg **, const void *data, size_t size);

/* Refuses what has no place on an end of calls: 0, or -THIRL_EROLE with what to call instead. */
int end_refuse_plain(const thirl *, const char *call);

/* thirl_send with a note. */
int end_send_noted(thirl *, const void *data, size_t size, const struct mech_note *, thirl_time until);

/* Of a WRITE end, the way out; of all others the way in. Who enters both gates enters this way's first. */
static inline enum mech_way end_main_way(const thirl *end) {
    return end->way[MECH_IN].allowed ? MECH_IN : MECH_OUT;
}

/* The eventfd that gets waiters out of poll at close; made when the first of them needs it. -1: there is none to be had. */
int end_kick(thirl *);

/* Changes when an end of this process is closed on which somebody waits: for those who sleep on several. */
extern uint32_t end_closings;

/* Wakes the threads that wait, whatever they wait on, until none is left. closing is set. */
void end_wake_all(thirl *);

/* Gives back all memory of a closed end when no piece of it is out any more. */
void end_destroy(thirl *);

#endif
