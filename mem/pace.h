/* SPDX-License-Identifier: MIT
 *
 * How far a reader of a lane lets a busy writer get ahead. One that has caught up and asks for every next record the moment it
 * is there takes the cache line away from the writer each time: both get slower by a multiple. So after a run of records it
 * waits, the longer the longer the run was: a writer that is slower than PACE_EACH is not waited for again and again.
 */
#ifndef MEM_PACE_H
#define MEM_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "mem/lane.h"

#define PACE_RUN 4                /* records without waiting that make a stream of them */
#define PACE_LEAST (2 * CLOCK_US) /* a writer gets ahead by so much time, */
#define PACE_MOST (8 * CLOCK_US)  /* and up to this after a long run, */
#define PACE_EACH 80              /* by so many ns for each record of it */
#define PACE_LOOKS 64             /* of some 20 ns each, before anything else is looked at */

/* Nothing is there, but will be in a moment: between the looks is nothing else, for whoever comes back by a longer way answers later. */
static inline void pace_linger(const struct lane *lane) {
    const struct lane_head *head = lane_at(lane, lane->at);
    for (unsigned left = PACE_LOOKS; left != 0 && atomic_load(&head->word) == 0; left--) {
        atomic_look_again();
    }
}

/* Nothing is there to read, after `number` records in all; *caught_up is how many those were when that was so last. elsewhere: the
 * writer runs on another processor, and only then is there something to gain. */
static inline void pace_let_run(uint64_t *caught_up, uint64_t number, bool elsewhere) {
    uint64_t run = number - *caught_up;
    *caught_up = number;
    if (!elsewhere || run < PACE_RUN) {
        return;
    }
    int64_t head = run < PACE_MOST / PACE_EACH ? (int64_t)run * PACE_EACH : PACE_MOST;
    int64_t until = clock_now() + (head < PACE_LEAST ? PACE_LEAST : head);
    do {
        for (int i = 0; i < 8; i++) {
            atomic_pause();
        }
    } while (clock_now() < until);
}

#endif
