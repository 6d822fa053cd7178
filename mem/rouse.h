/* SPDX-License-Identifier: MIT
 *
 * Waking one of many: ends that wait for the same thing sleep on one word in their channel's roll, and whoever brings something wakes
 * as many as he brings things. While nobody sleeps he pays one load. The words are a hint: who sleeps on them looks again after
 * MECH_SLICE_NS, so that an end that is killed between being woken and looking makes a sleep longer, and never endless.
 *
 *     sleeper                                   whoever brings something
 *     seen = acquire given                      shows it
 *     attention += 1                            order: the compiler's, or a full fence while attention says FENCED
 *     fence_heavy                               attention == 0? done
 *     looks once more                           given += 1
 *     FUTEX_WAIT(given, seen)                   attention -= 1
 *     up: attention -= 1, if given is still     FUTEX_WAKE(given, 1)
 *     seen
 *
 * attention counts those who sleep and have not been rung for, so that what is brought while one gets up does not ring again. It may be
 * too high for a while, when somebody else's ring or a kill came in between, which costs a ring in vain; it is never too low: who
 * finds given changed leaves it as it is.
 */
#ifndef MEM_ROUSE_H
#define MEM_ROUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

#define ROUSE_SLEEPERS UINT32_C(0x00ffffff)
#define ROUSE_POLLED UINT32_C(0x40000000) /* descriptors want a byte */
#define ROUSE_FENCED UINT32_C(0x80000000) /* some end cannot make others' fences: whoever rings fences himself */

struct rouse { /* shared: changed by atomic operations only */
    LINE_ALIGNED uint32_t attention;
    uint32_t given;
};

/* A sleeper's own side. Under the gate of its way, as several threads of one end may sleep. */
struct rouse_sleep {
    uint32_t seen;
    uint32_t threads; /* asleep */
    bool mixed;       /* more than one has been since the first: nobody knows who was rung for */
};

/* An end that cannot make others' fences says so, before it sleeps for the first time. */
void rouse_join(struct rouse *, bool heavy);

/* Is about to sleep: look once more after this, then sleep while given is the answer. Each is ended by rouse_disarm. */
uint32_t rouse_arm(struct rouse *, struct rouse_sleep *, bool heavy);
void rouse_disarm(struct rouse *, struct rouse_sleep *);

/* A descriptor wants a byte when something is brought. Look once more after this. */
void rouse_poll(struct rouse *, bool heavy);

/* The slow half of rouse_ring. true: descriptors want a byte, and the caller sees to it. */
bool rouse_wake(struct rouse *, uint32_t count);

/* After `count` things were shown. heavy: of this process. true as above. */
static inline bool rouse_ring(struct rouse *rouse, uint32_t count, bool heavy) {
    if (unlikely(!heavy)) {
        atomic_fence();
    } else {
        atomic_order(); /* with fence_heavy in rouse_arm */
    }
    return unlikely(atomic_peek(&rouse->attention) != 0) ? rouse_wake(rouse, count) : false;
}

#endif
