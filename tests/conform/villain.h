/* SPDX-License-Identifier: MIT
 *
 * A process that means harm, with all that another user's process may do: it opens an end as everybody does, and then writes what it
 * likes into every byte that it may write: its own segments and pages, and what all ends of a channel share. What it sends through the
 * kernel is damaged on the way. It comes and goes, floods, stops in the middle, is killed.
 */
#ifndef TESTS_CONFORM_VILLAIN_H
#define TESTS_CONFORM_VILLAIN_H

#include "tests/conform/conform.h"

/* In memory that all processes of a test share. */
struct villain {
    uint32_t mad;  /* 0: it behaves, and is as busy */
    uint32_t over; /* it ends */
    uint64_t lives, writes, lies;
};

/* Lives one life after the other, of a few ms each, with an end of that role in channel 0, until it is over. */
void villain_run(struct villain *, const struct conform *, enum thirl_role);

/* The next number of a generator that each process seeds for itself. */
uint64_t villain_dice(uint64_t below);
void villain_seed(uint64_t);

#endif
