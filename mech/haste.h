/* SPDX-License-Identifier: MIT
 *
 * Whether trying again is worth more than sleeping, where a try is a system call. Between two tries the processor is given up:
 * a peer that needs this very one runs then, and one on another has time to answer. How often that is done follows from how
 * often it was enough, and never takes longer than two wake-ups. Where a third program wants the processor, giving it up costs a
 * slice of its time; where the answer is there in time, but late, a sleep would cost less: both are noticed, and left alone for a while.
 */
#ifndef MECH_HASTE_H
#define MECH_HASTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

#define HASTE_LEAST 3u
#define HASTE_STREAK 4u /* waits as foreseen that were over after one yield: the peer is on this very processor */
#define HASTE_MOST 512u /* together about what a wake-up on another processor costs */

struct haste { /* zeroed, or quiet: never tries again */
    bool quiet;
    bool leads; /* of a queue that holds many: in a flow the other side gets ahead before the next try */
    unsigned
        streak; /* how sure it is of the next line: waits as foreseen that were over when the processor had been given up once */
    unsigned usual; /* tries between two waits that need not wait, */
    unsigned run;   /* and those since the last one */
    unsigned limit; /* of how often in one wait; 0: HASTE_LEAST */
    unsigned waits;
    unsigned good;          /* brief yields since the last long one */
    unsigned shun, penalty; /* waits without it that are still to come, and after the next long one */
    unsigned dear;          /* waits in a row that were over, but late */
    int64_t led;            /* ns that the last haste_lead took, until the next one knows what it was good for */
};

/* One wait for what a system call brings, by haste_begin. */
struct haste_wait {
    bool patient; /* it may sleep in the end */
    bool sleeps;  /* the next try is the one that may */
    bool before;  /* the processor was given up before the first */
    bool brief;
    unsigned tries, most;
    int64_t began;
};

/* Is about to try, and may wait: gives up the processor first, and says so, where a try would most likely fail. */
bool haste_foresees(struct haste *);
static inline bool haste_before(struct haste *h) {
    return unlikely(h->run == h->usual) && h->streak >= HASTE_STREAK && haste_foresees(h);
}

/* The first try has succeeded without that. */
static inline void haste_direct(struct haste *h) {
    h->run++;
}

/* Nothing is to be hoped for in this wait, which is counted: sleep without a try. */
static inline bool haste_is_off(struct haste *h) {
    if (likely(h->shun == 0)) {
        return unlikely(h->quiet);
    }
    return --h->shun != 0; /* who is quiet has nothing to shun */
}

/* The first try has failed: how often may it be done in this wait? */
unsigned haste_allowance(struct haste *);

/* Gives up the processor. false: that took so long that it is enough for this wait. */
bool haste_yield(struct haste *);

/* Gives up the processor, and then lets a peer who runs on another one get ahead by a few messages, if more are `coming` from him:
 * each look holds him up, or each wake-up. Where he has just run on this very processor, he is ahead. As haste_yield. */
bool haste_give_way(struct haste *, bool coming);

/* The same before a wait that need not be one, of whom answers nothing. A sender on this very processor may fill the queue meanwhile, and
 * wakes nobody for each message; that this took long is no harm if so many `messages` came since the last time. */
void haste_lead(struct haste *, unsigned messages, bool coming);

/* How the wait went: the try behind that yield, from 1, succeeded; 0: none did. */
void haste_learn(struct haste *, unsigned which);

/* The whole of a wait:
 *
 *     struct haste_wait w = haste_begin(h, wait);
 *     do {
 *         the call, which sleeps if w.sleeps
 *     } while (haste_again(h, &w, it found nothing));
 */
static inline struct haste_wait haste_begin(struct haste *h, bool wait) {
    bool off = likely(wait) && haste_is_off(h);
    return (struct haste_wait){.patient = wait, .sleeps = off, .before = likely(wait) && !off && haste_before(h)};
}

/* Behind a call that found something, if it was not the first, and behind one that found nothing: likewise. */
void haste_found(struct haste *, const struct haste_wait *);
bool haste_go_on(struct haste *, struct haste_wait *);

static inline bool haste_again(struct haste *h, struct haste_wait *w, bool nothing) {
    if (likely(!nothing)) {
        if (unlikely(w->tries != 0)) {
            haste_found(h, w);
        } else if (likely(!w->sleeps && !w->before)) {
            haste_direct(h);
        }
        return false;
    }
    return w->patient && !w->sleeps && haste_go_on(h, w);
}

#endif
