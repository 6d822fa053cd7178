/* SPDX-License-Identifier: MIT
 *
 * When the next message is to leave. Closed loop: when the one before is done. Open loop: at a time that was fixed beforehand; one that
 * leaves late, because the one before took long, is measured from the time that it was meant for: else the waiting would be coordinated
 * away.
 */
#ifndef BENCH_PACE_H
#define BENCH_PACE_H

#include <sched.h>
#include <time.h>

#include "bench/stage.h"

#define PACE_NEAR 120000 /* ns: a sleep ends about so much too late, so the rest is spun */

/* Waits for message i of a run that began at tick `first`; the tick that its time runs from. last: now, in a closed loop. */
stage_inline uint64_t pace_wait(const struct run *run, uint64_t first, uint64_t i, uint64_t last) {
    if (run->period <= 0) {
        return last;
    }
    const uint64_t due = first + (uint64_t)((double)i * run->period);
    for (uint64_t now = stage_tick(); now < due; now = stage_tick()) {
        int64_t left = (int64_t)stage_ns((double)(due - now)) - PACE_NEAR;
        if (left > 0) {
            const struct timespec nap = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
            (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
        } else if (run->cpu[0] == run->cpu[1]) {
            (void)sched_yield();
        }
    }
    return due;
}

#endif
