/* SPDX-License-Identifier: MIT
 *
 * How the ends of one channel wake each other where what they wait for is in the kernel, and the kernel gives nothing to sleep
 * on. The words are in the channel's roll. They are a hint and no more: whoever sleeps on them looks again after a while, so that
 * an end that was killed, or a program that does not know them, makes a sleep longer and never endless.
 */
#ifndef MEM_HAIL_H
#define MEM_HAIL_H

#include "base/atomic.h"
#include "mem/roll.h"

struct hail_word {
    LINE_ALIGNED uint32_t given; /* changes when whoever waits is to look again: sleep on it */
    uint32_t wanted;             /* somebody waits */
};

struct hail {                    /* shared: changed by atomic operations only */
    struct hail_word came, room; /* for those who wait for something to receive, and for room to send */
};

/* The words of that channel, which this end has joined. */
struct hail *hail_of(const struct roll *);

/* Is about to sleep: look once more after this, then sleep while given is the answer. */
uint32_t hail_want(struct hail_word *);

/* Wakes those who have wanted it; the slow half of hail_ring. */
void hail_wake(struct hail_word *);

/* After whatever they may wait for. Costs a fence and a load while nobody waits. */
static inline void hail_ring(struct hail_word *word) {
    atomic_fence(); /* pairs with the one in hail_want */
    if (unlikely(atomic_peek(&word->wanted) != 0)) {
        hail_wake(word);
    }
}

#endif
