/* SPDX-License-Identifier: MIT
 *
 * What says how old a message is: twenty bytes behind it, written where it is sent and judged where it is received. All of it
 * little-endian:
 *
 *     | when it was sent, 8 | its lifespan, 8 | which clock, 4 |
 *
 * Times are CLOCK_MONOTONIC, in ns; which clock is a hash of the boot and the time namespace: nobody can tell the age of a message
 * by another one.
 */
#ifndef MECH_STAMP_H
#define MECH_STAMP_H

#include <stdint.h>

#define STAMP 20u

struct stamp { /* one end's */
    int64_t lifespan;
    uint32_t clock; /* which one this process reads */
};

enum stamp_verdict { STAMP_GOOD, STAMP_STALE, STAMP_DAMAGED, STAMP_FOREIGN };

void stamp_init(struct stamp *, int64_t lifespan);
void stamp_write(const struct stamp *, unsigned char *at);

/* *age and *allowed, of the shorter lifespan of both ends, are set where the age can be told: GOOD and STALE. */
enum stamp_verdict stamp_judge(const struct stamp *, const unsigned char *at, int64_t *age, int64_t *allowed);

#endif
