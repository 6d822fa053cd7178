/* SPDX-License-Identifier: MIT
 *
 * Giving up the processor instead of sleeping.
 */
#include "mech/haste.h"

#include <sched.h>

#include "base/atomic.h"
#include "base/clock.h"

#define LONG_NS (100 * CLOCK_US) /* no peer that answers at once takes so long */
#define ALONE_NS (4 * CLOCK_US)  /* giving the processor up took less: nobody else wanted it */
#define LEAD_NS (20 * CLOCK_US)
#define PRICE_NS (25 * CLOCK_US) /* of what a long one took, one wait does without: a machine is held up now and then */
#define PENALTY_FIRST 64u        /* but no more at first; */
#define PENALTY_MOST 4096u
#define SOON 8u        /* if one of the next so many is long, too, twice as many waits do without */
#define TRIAL 32u      /* one wait in so many goes on to HASTE_MOST: a peer that wakes up meanwhile may do the same */
#define STREAK 4u      /* waits as foreseen that were over after one yield: the peer is on this very processor, */
#define STREAK_MOST 8u /* and one that was not takes half of what is known away */
#define DOUBT 16u      /* one wait in so many tries first all the same */

bool haste_before(struct haste *h) {
    if (h->streak < STREAK || h->run != h->usual || h->shun != 0 || ++h->waits % DOUBT == 0) {
        return false;
    }
    h->run = 0;
    return haste_yield(h);
}

unsigned haste_allowance(struct haste *h) {
    if (h->quiet || h->shun != 0) {
        h->shun -= h->shun != 0;
        return 0;
    }
    return ++h->waits % TRIAL == 0 ? HASTE_MOST : h->limit > HASTE_LEAST ? h->limit : HASTE_LEAST;
}

bool haste_yield(struct haste *h) {
    int64_t began = clock_now();
    (void)sched_yield();
    int64_t took = clock_now() - began;
    if (took < LONG_NS) {
        h->good++;
        return true;
    }
    unsigned first = took < PENALTY_FIRST * PRICE_NS ? (unsigned)(took / PRICE_NS) : PENALTY_FIRST;
    unsigned again = h->good >= SOON ? 0 : h->penalty < PENALTY_MOST / 2 ? 2 * h->penalty : PENALTY_MOST;
    h->penalty = again > first ? again : first;
    h->good = 0;
    h->shun = h->penalty;
    h->streak = 0;
    return false;
}

bool haste_give_way(struct haste *h, bool coming) {
    int64_t began = clock_now();
    bool brief = haste_yield(h);
    int64_t until = began + (clock_now() - began < ALONE_NS ? LEAD_NS : 0);
    while (coming && clock_now() < until) {
        atomic_pause();
    }
    return brief;
}

/* A full queue holds as many messages each time, and so does an empty one. */
void haste_learn(struct haste *h, unsigned which) {
    if (which != 1) {
        h->streak = 0;
    } else if (h->run == h->usual) {
        h->streak += h->streak < STREAK_MOST;
    } else {
        h->usual = h->streak == 0 ? h->run : h->usual;
        h->streak /= 2;
    }
    h->run = 0;
    h->limit = which == 0 ? h->limit / 2 : which < HASTE_MOST / 2 ? 2 * which : HASTE_MOST;
}
