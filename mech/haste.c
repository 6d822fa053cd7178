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
#define PENALTY_LEAST 64u
#define PENALTY_MOST 4096u
#define TRIAL 32u      /* one wait in so many goes on to HASTE_MOST: a peer that wakes up meanwhile may do the same */
#define STREAK 4u      /* as many waits in a row that were over after one yield: the peer is on this very processor */
#define FORGIVEN 8192u /* waits without a long yield that halve the penalty */
#define DOUBT 16u      /* one wait in so many tries first all the same */

bool haste_before(struct haste *h) {
    return h->streak >= STREAK && h->shun == 0 && ++h->waits % DOUBT != 0 && haste_yield(h);
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
    if (clock_now() - began < LONG_NS) {
        return true;
    }
    h->penalty = h->penalty == 0 ? PENALTY_LEAST : h->penalty < PENALTY_MOST ? 2 * h->penalty : h->penalty;
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

void haste_learn(struct haste *h, unsigned which) {
    h->streak = which == 1 ? h->streak + 1 : 0;
    h->limit = which == 0 ? h->limit / 2 : which < HASTE_MOST / 2 ? 2 * which : HASTE_MOST;
    if (h->penalty != 0 && ++h->good % FORGIVEN == 0) {
        h->penalty = h->penalty == PENALTY_LEAST ? 0 : h->penalty / 2;
    }
}
