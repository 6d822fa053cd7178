/* SPDX-License-Identifier: MIT
 *
 * Waking one of many: ends that wait for the same thing sleep on one word in their channel's roll, and whoever brings something wakes
 * as many as he brings things. While nobody sleeps he pays one load. The words are a hint: who sleeps on them looks again after
 * MECH_SLICE_NS, so that an end that is killed between being woken and looking makes a sleep longer, and never endless.
 *
 *     sleeper                                   whoever brings something
 *     attention += 1, seen = given (one swap)   shows it
 *     fence_heavy                               order: the compiler's, or a full fence while attention says FENCED
 *     looks once more; there: attention -= 1    attention == 0? done
 *     FUTEX_WAIT(given, seen)                   attention -= 1, given += 1 (one swap)
 *     time is up: attention -= 1                FUTEX_WAKE(given, 1)
 *     … both only while given == seen (one swap)
 *
 * attention counts those who sleep and have not been rung for, so that what is brought while one gets up does not ring again. It may be
 * too high for a while, which costs a ring in vain: who finds given changed, or was woken, leaves it as it is. It is never too low,
 * whomever the kernel wakes; tests/race/rouse_test.c walks all interleavings.
 */
#ifndef MEM_ROUSE_H
#define MEM_ROUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

#define ROUSE_SLEEPERS UINT32_C(0x00ffffff)
#define ROUSE_POLLED UINT32_C(0x40000000) /* descriptors want a byte */
#define ROUSE_FENCED UINT32_C(0x80000000) /* some end cannot make others' fences: whoever rings fences himself */

struct rouse {                  /* shared: changed by atomic operations only */
    LINE_ALIGNED uint64_t word; /* upper half, attention; lower half, given */
};

/* A sleeper's own side. Under the gate of its way, as several threads of one end may sleep. */
struct rouse_sleep {
    uint32_t seen;
    uint32_t threads; /* asleep */
    bool mixed;       /* more than one has been since the first: nobody knows whose count it is */
    bool up;          /* one is, and nobody has said why */
};

/* What to sleep on. */
static inline const uint32_t *rouse_given(const struct rouse *rouse) {
    return (const uint32_t *)(const void *)&rouse->word + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* An end that cannot make others' fences says so, before it sleeps for the first time. */
void rouse_join(struct rouse *, bool heavy);

/* Is about to sleep: look once more after this, then sleep while given is the answer. Each is ended by rouse_disarm; then rouse_late
 * follows if nobody woke it. */
uint32_t rouse_arm(struct rouse *, struct rouse_sleep *, bool heavy);
void rouse_disarm(struct rouse_sleep *);
void rouse_late(struct rouse *, struct rouse_sleep *);

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
    return unlikely(atomic_peek(&rouse->word) >> 32 != 0) ? rouse_wake(rouse, count) : false;
}

#endif
