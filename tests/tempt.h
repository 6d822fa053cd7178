/* SPDX-License-Identifier: MIT
 *
 * What another user's process may write of the memory that we read, and what it would write there: for tests of those who read it.
 */
#ifndef TESTS_TEMPT_H
#define TESTS_TEMPT_H

#include <stddef.h>
#include <stdint.h>

#define TEMPT_PATH 256

struct tempt_range {
    uint64_t *base;
    size_t words;
    char path[TEMPT_PATH];
};

/* All that this process may write in files of the registry, at most so many pieces: how many there are. A ring that is mapped twice is there
 * twice. */
size_t tempt_ranges(struct tempt_range *, size_t most, const char *registry);

/* A number below `below`. */
uint64_t tempt_toss(uint64_t *dice, uint64_t below);

/* What breaks those who believe it: nothing, everything, sizes and positions at their limits, or nearly what stood there, or what stands elsewhere. */
uint64_t tempt_value(uint64_t *dice, uint64_t was, uint64_t other);

#endif
