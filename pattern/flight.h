/* SPDX-License-Identifier: MIT
 *
 * The calls of one CALL end that are in flight: who has each, what has come for it that nobody has asked for yet, and how it
 * failed. A call is named by a number that is never used again: its place in the table and a count.
 *
 * Everything here is called under `gate`, which is held for a few instructions only, inside the gates of the end's ways.
 * Places, stashed answers and copies of requests are kept and used again: nothing is allocated once there are enough.
 */
#ifndef PATTERN_FLIGHT_H
#define PATTERN_FLIGHT_H

#include "chan/aside.h"

#define FLIGHT_MOST 65536u                   /* calls of one end at once */
#define FLIGHT_STASH_MOST ((size_t)16 << 20) /* bytes of answers that wait for their turn */
#define FLIGHT_WHY 200
#define FLIGHT_HOMELESS_NS                                                                                             \
    INT64_C(10000000) /* between two tries to find another server, while answers may come for others */

enum call_state {
    CALL_FREE,
    CALL_LEAVING,  /* the request is about to go to `whom`, or to whom it will be decided */
    CALL_OUT,      /* the server has it */
    CALL_HOMELESS, /* its server is gone, and it is to go to another */
    CALL_OVER      /* nothing more comes: what is stashed, or the code, is the end of it */
};

struct answer { /* one that came while another was waited for */
    struct answer *next;
    size_t size, room;
    bool last;
    char data[];
};

struct call {
    uint64_t id;
    uint64_t whom;
    int64_t deadline;
    enum call_state state;
    unsigned wanted;   /* threads that wait for this one by its number */
    bool again, begun; /* begun: a part has been given to the user, so that it cannot be repeated */
    bool ready;        /* in the list of those that have something for whoever takes any */
    bool lost;         /* LEAVING: its server is gone, but may have got it */
    int code;          /* OVER: how it failed, negative; 0: it did not */
    char why[FLIGHT_WHY];
    struct answer *first, *last;
    void *request; /* ?retry: a copy */
    size_t size, room;
    struct call *before, *after; /* in a list */
};

struct flight {
    struct gate gate;
    struct call **place; /* FLIGHT_MOST of them, made as they are needed */
    unsigned places, count;
    uint64_t serial;
    struct call *free; /* by `after` */
    struct call *ready_first, *ready_last;
    struct answer *spare;
    size_t stashed;
    unsigned homeless;
    int64_t next_try; /* of those: another server is looked for again */
    int64_t earliest; /* no deadline is before this */
};

struct flight *flight_make(void); /* NULL: no memory */
void flight_free(void *);

static inline void flight_lock(struct flight *f) {
    (void)gate_enter(&f->gate, INT64_MAX);
}

/* Before the gate opens, whoever watches the end's descriptor is told of what has changed. */
void flight_tell(thirl *, struct flight *);
static inline void flight_unlock(thirl *end, struct flight *f) {
    if (unlikely(aside_told(end))) {
        flight_tell(end, f);
    }
    gate_leave(&f->gate);
}

/* The end's `when`: see chan/aside.h. */
int64_t flight_when(thirl *);

/* A deadline, where the caller may have left it to the end's ?timeout. */
int64_t flight_deadline(const thirl *, thirl_time until);

static inline unsigned flight_place(uint64_t id) {
    return (unsigned)(id & (FLIGHT_MOST - 1));
}

/* A call that nobody has yet, or NULL with a sentence: too many, or no memory. */
struct call *flight_add(struct flight *, const char *address); /* one place more */
static inline struct call *flight_begin(struct flight *f, const char *address, int64_t deadline) {
    struct call *call = f->free;
    if (likely(call != NULL)) {
        f->free = call->after;
    } else if ((call = flight_add(f, address)) == NULL) {
        return NULL;
    }
    f->count++;
    call->id = ++f->serial * FLIGHT_MOST | flight_place(call->id);
    call->whom = 0;
    call->deadline = deadline;
    call->state = CALL_LEAVING;
    call->wanted = 0;
    call->again = call->begun = call->ready = call->lost = false;
    call->code = 0;
    call->before = call->after = NULL;
    return call;
}

/* NULL: there is none, or none any more. */
static inline struct call *flight_find(const struct flight *f, uint64_t id) {
    struct call *call = flight_place(id) < f->places ? f->place[flight_place(id)] : NULL;
    return call != NULL && call->id == id && call->state != CALL_FREE ? call : NULL;
}

/* It is over, and its place free. */
void flight_clear(struct flight *, struct call *); /* of what is stashed, shown or waited for */
static inline void flight_end(struct flight *f, struct call *call) {
    if (unlikely(call->ready || call->first != NULL || call->state == CALL_HOMELESS)) {
        flight_clear(f, call);
    }
    if (--f->count == 0) {
        atomic_poke(&f->earliest, INT64_MAX);
    }
    call->state = CALL_FREE;
    call->after = f->free;
    f->free = call;
}

/* Keeps an answer for later. -ENOMEM with a sentence. */
int flight_stash(struct flight *, struct call *, const void *data, size_t size, bool last);

/* Takes the oldest answer that was kept away from its call; it goes back by flight_used. NULL: there is none. */
struct answer *flight_stashed(struct flight *, struct call *);
void flight_used(struct flight *, struct answer *);

/* It is over without an answer. */
void flight_fail(struct flight *, struct call *, int code, const char *why);

/* Its server is gone: it fails, or waits for another one where that may be. */
void flight_lose(struct flight *, struct call *, bool retry, int code, const char *why);

/* It has something now: whoever takes any finds it, unless a thread waits for it. */
void flight_show(struct flight *, struct call *);

#endif
