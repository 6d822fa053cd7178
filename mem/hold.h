/* SPDX-License-Identifier: MIT
 *
 * Pieces of a lane that are out, in the order in which they were given, come back in any order: this knows the oldest that
 * is still out. One user at a time; nothing blocks.
 */
#ifndef MEM_HOLD_H
#define MEM_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#define HOLD_MAX 64

struct hold {
    uint64_t at[HOLD_MAX]; /* what each piece holds back: a position */
    uint64_t back;         /* bits: came back, but something older is out */
    uint64_t first, next;  /* count pieces; those from first to next - 1 are not all back */
};

static inline bool hold_empty(const struct hold *hold) {
    return hold->first == hold->next;
}

static inline bool hold_full(const struct hold *hold) {
    return hold->next - hold->first == HOLD_MAX;
}

/* Gives a piece its ticket. Not when full. */
static inline uint64_t hold_out(struct hold *hold, uint64_t at) {
    hold->at[hold->next % HOLD_MAX] = at;
    return hold->next++;
}

/* Takes a piece back; then skips all that are back at the old end. */
static inline void hold_back(struct hold *hold, uint64_t ticket) {
    hold->back |= UINT64_C(1) << ticket % HOLD_MAX;
    while (!hold_empty(hold) && (hold->back >> hold->first % HOLD_MAX & 1) != 0) {
        hold->back &= ~(UINT64_C(1) << hold->first % HOLD_MAX);
        hold->first++;
    }
}

/* Position of the oldest piece that is out. Not when empty. */
static inline uint64_t hold_oldest(const struct hold *hold) {
    return hold->at[hold->first % HOLD_MAX];
}

#endif
