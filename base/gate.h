/* SPDX-License-Identifier: MIT
 *
 * A lock that costs its first user next to nothing: threads of one process, no recursion. The first thread that enters
 * owns it and pays two plain stores; when a second thread comes, the ownership is revoked once and for all (by a fence
 * that only the second thread pays for), and the gate is an ordinary futex lock from then on.
 *
 *     owner                          second thread
 *     busy = 1                       phase = ASKED
 *     (compiler order)               fence_heavy: the owner's stores are visible, its loads see ASKED
 *     phase == OWNED? inside         phase = FENCED
 *     otherwise busy = 0, queue up   busy == 0?  phase = SHARED, take the lock
 */
#ifndef BASE_GATE_H
#define BASE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

enum gate_phase { GATE_OWNED, GATE_ASKED, GATE_FENCED, GATE_SHARED };

struct gate {
    const void *owner; /* the thread that entered first, by gate_self() */
    uint32_t busy;     /* the owner is inside, in the OWNED phase */
    uint32_t phase;    /* enum gate_phase, only ever grows */
    uint32_t lock;     /* SHARED: 0 free, 1 taken, 2 taken and others may sleep */
};

/* Makes a gate. Once per process, gates find out whether the kernel has the fence; without it they start SHARED. */
void gate_init(struct gate *);

/* Counts who is at something between two times inside. The owner keeps a count of its own, which costs two plain stores, too. */
struct gate_count {
    uint32_t owner, others; /* what counts is the sum: who has come as another may leave as the owner */
};

/* Identity of the calling thread. */
extern _Thread_local char gate_thread __attribute__((tls_model("initial-exec"), visibility("hidden")));
#define gate_self() ((const void *)&gate_thread)

/* Everything that is not the owner's fast path. */
int gate_enter_slow(struct gate *, int64_t until);
void gate_unlock(struct gate *); /* leaves a SHARED gate */
void gate_vacate(struct gate *); /* tells others that the owner is out */

/* The owner's fast path alone, for the most frequent calls: false when that is not open, and nothing was entered. */
static inline bool gate_enter_owned(struct gate *gate) {
    if (unlikely(atomic_peek(&gate->owner) != gate_self())) {
        return false;
    }
    atomic_poke(&gate->busy, 1);
    atomic_order(); /* with the fence of gate_enter_slow */
    if (unlikely(atomic_load(&gate->phase) != GATE_OWNED)) {
        atomic_store(&gate->busy, 0);
        return false;
    }
    return true;
}

/* Enters; waits until then for the threads inside (CLOCK_MONOTONIC, ns; 0: not at all, INT64_MAX: as long as it takes).
 * 0, or -EAGAIN (until 0) and -ETIMEDOUT without the gate. */
static inline int gate_enter(struct gate *gate, int64_t until) {
    return likely(gate_enter_owned(gate)) ? 0 : gate_enter_slow(gate, until);
}

/* The owner is out. false: gate_vacate is due. */
static inline bool gate_left_owned(struct gate *gate) {
    atomic_store(&gate->busy, 0); /* pairs with the load of busy in hasten */
    atomic_order();
    return likely(atomic_peek(&gate->phase) == GATE_OWNED);
}

static inline void gate_leave_owned(struct gate *gate) {
    if (!gate_left_owned(gate)) {
        gate_vacate(gate);
    }
}

static inline void gate_leave(struct gate *gate) {
    /* Only the owner writes busy, so only to the owner does it say how it came in. */
    if (likely(atomic_peek(&gate->owner) == gate_self() && atomic_peek(&gate->busy))) {
        gate_leave_owned(gate);
        return;
    }
    gate_unlock(gate);
}

/* Whoever has gone through the gate since, and made a full fence, sees it; or this thread sees in what follows what came before that. */
static inline void gate_count_up(const struct gate *gate, struct gate_count *count) {
    if (likely(atomic_peek(&gate->owner) == gate_self())) {
        atomic_poke(&count->owner, count->owner + 1);
        atomic_order(); /* with the fence of gate_enter_slow */
        if (unlikely(atomic_peek(&gate->phase) != GATE_OWNED)) {
            atomic_fence();
        }
    } else {
        (void)atomic_add(&count->others, 1);
    }
}

/* The last that this thread does there: the gate may be gone when it is done. */
static inline void gate_count_down(const struct gate *gate, struct gate_count *count) {
    if (likely(atomic_peek(&gate->owner) == gate_self())) {
        atomic_store(&count->owner, count->owner - 1); /* pairs with the load in gate_counted */
    } else {
        (void)atomic_sub(&count->others, 1);
    }
}

static inline uint32_t gate_counted(const struct gate_count *count) {
    return atomic_load(&count->others) + atomic_load(&count->owner);
}

#endif
