/* SPDX-License-Identifier: MIT
 *
 * How the ends of one channel wake each other where what they wait for is in the kernel, and the kernel gives nothing to sleep
 * on. The words are in the channel's roll. They are a hint and no more: whoever sleeps on them looks again after a while, so that
 * an end that was killed, or a program that does not know them, makes a sleep longer and never endless.
 */
#ifndef MEM_HAIL_H
#define MEM_HAIL_H

#include <stdbool.h>

#include "base/atomic.h"
#include "base/layout.h"
#include "mem/roll.h"

struct hail_word {
    LINE_ALIGNED uint32_t given; /* changes when whoever waits is to look again: sleep on it */
    uint32_t wanted;             /* somebody waits */
    uint32_t weak;               /* somebody here lacks the heavy fence: ringers that had relied on it pay themselves */
};

struct hail {                      /* shared: changed by atomic operations only */
    struct hail_word came, room;   /* for those who wait for something to receive, and for room to send */
    struct hail_word polled;       /* a receiver's descriptor wants a byte */
    LINE_ALIGNED uint32_t senders; /* count who comes and goes, where that is of interest: look again */
    uint32_t receivers;
};
LAYOUT(hail, 256, receivers, 196);

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

/* The same where the sleeper pays for the order: with futex_fence_heavy, or, where it has none, by a word that makes all ringers
 * pay; hail_weaken is for an end without it, before it first waits. heavy: this process has it. */
uint32_t hail_hope(struct hail_word *, bool heavy);
void hail_weaken(struct hail *);

/* For a ringer with futex_fence_heavy, to whom it costs two loads while nobody waits: does anybody, or lack the heavy fence? In front of
 * it atomic_order will do. Then hail_answer wakes those who have wanted it. */
static inline bool hail_called(const struct hail_word *word) {
    return (atomic_peek(&word->wanted) | atomic_peek(&word->weak)) != 0;
}

void hail_answer(struct hail_word *);

/* Somebody came or went. */
void hail_count(uint32_t *word);

#endif
