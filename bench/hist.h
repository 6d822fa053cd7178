/* SPDX-License-Identifier: MIT
 *
 * A histogram of times whose buckets are as wide as a 128th of what is in them: a value is known to 0.8 %, however large, in 19 KiB that do
 * not grow. Zeroed memory is an empty one; it may be shared, with one writer. Values are in any unit.
 *
 *   bucket   0 … 255   256 … 383       384 … 511       …
 *   values   each one  256 … 511 by 2  512 … 1023 by 4
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_FINE 7    /* bits of a value that are kept below its first one */
#define HIST_WIDEST 42 /* bits of the largest value that has a bucket of its own */
#define HIST_COARSE 32 /* steps of the coarsest clock whose values are taken for spread evenly between its ticks */
#define HIST_BUCKETS ((HIST_WIDEST - HIST_FINE + 1) << HIST_FINE)

struct hist {
    uint64_t count, most, least; /* least is one more than the smallest value, so that 0 says none */
    uint32_t bucket[HIST_BUCKETS];
};

static inline unsigned hist_bucket(uint64_t value) {
    if (value < (UINT64_C(2) << HIST_FINE)) {
        return (unsigned)value;
    }
    int shift = 63 - __builtin_clzll(value) - HIST_FINE;
    unsigned bucket = ((unsigned)shift << HIST_FINE) + (unsigned)(value >> shift);
    return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
}

static inline void hist_add(struct hist *hist, uint64_t value) {
    hist->count++;
    hist->bucket[hist_bucket(value)]++;
    hist->most = value > hist->most ? value : hist->most;
    hist->least = hist->least == 0 || value < hist->least - 1 ? value + 1 : hist->least;
}

/* The values of a bucket: from first to before first + width. */
uint64_t hist_first(unsigned bucket);
uint64_t hist_width(unsigned bucket);

void hist_merge(struct hist *to, const struct hist *from);

/* The value below which that part of all lies, part 0 to 1, as if the values of a bucket lay evenly in it, and those of a clock whose ticks
 * are a few steps apart between its ticks. 0 of an empty one; never more than the largest value. */
double hist_at(const struct hist *, double part);

#endif
