/* SPDX-License-Identifier: MIT
 *
 * Pieces of a lane that are out, in the order in which they were given, come back in any order, and each makes room for another one: this
 * knows the oldest that is still out. One user at a time; nothing blocks.
 */
#ifndef MEM_HOLD_H
#define MEM_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#define HOLD_MAX 64

struct hold {                  /* zeroed: none is out */
    uint64_t out;              /* bits: the tickets that are, less one */
    uint64_t at[HOLD_MAX + 1]; /* where the piece of a ticket begins: all before the oldest is free */
    uint8_t after[HOLD_MAX + 1],
        before[HOLD_MAX + 1]; /* a ring of tickets, from the oldest on; its ends meet in ticket 0 */
};

static inline bool hold_empty(const struct hold *hold) {
    return hold->out == 0;
}

static inline bool hold_full(const struct hold *hold) {
    return hold->out == UINT64_MAX;
}

/* Gives the piece that begins there, behind all that are out, its ticket, from 1 to HOLD_MAX. Not when full. */
static inline uint64_t hold_out(struct hold *hold, uint64_t at) {
    uint8_t ticket = (uint8_t)(__builtin_ctzll(~hold->out) + 1), last = hold->before[0];
    hold->out |= UINT64_C(1) << (ticket - 1);
    hold->at[ticket] = at;
    hold->before[ticket] = last;
    hold->after[ticket] = 0;
    hold->after[last] = ticket;
    hold->before[0] = ticket;
    return ticket;
}

/* The same while none is out. */
static inline uint64_t hold_first(struct hold *hold, uint64_t at) {
    hold->out = 1;
    hold->at[1] = at;
    hold->before[1] = hold->after[1] = 0;
    hold->before[0] = hold->after[0] = 1;
    return 1;
}

/* Takes a piece back. true: it was the oldest. */
static inline bool hold_back(struct hold *hold, uint64_t ticket) {
    uint8_t before = hold->before[ticket], after = hold->after[ticket];
    hold->out &= ~(UINT64_C(1) << (ticket - 1));
    hold->after[before] = after;
    hold->before[after] = before;
    return before == 0;
}

/* Where the oldest piece that is out begins. Not when empty. */
static inline uint64_t hold_oldest(const struct hold *hold) {
    return hold->at[hold->after[0]];
}

#endif
