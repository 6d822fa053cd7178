/* SPDX-License-Identifier: MIT
 *
 * Adding up, and reading percentiles.
 */
#include "bench/hist.h"

static int shift_of(unsigned bucket) {
    return bucket < (2U << HIST_FINE) ? 0 : (int)(bucket >> HIST_FINE) - 1;
}

uint64_t hist_first(unsigned bucket) {
    int shift = shift_of(bucket);
    return ((uint64_t)bucket - ((uint64_t)shift << HIST_FINE)) << shift;
}

uint64_t hist_width(unsigned bucket) {
    return UINT64_C(1) << shift_of(bucket);
}

void hist_merge(struct hist *to, const struct hist *from) {
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        to->bucket[i] += from->bucket[i];
    }
    to->count += from->count;
    to->most = from->most > to->most ? from->most : to->most;
    to->least = to->least == 0 || (from->least && from->least < to->least) ? from->least : to->least;
}

/* Where the values of a bucket end on that side: at the edge of the bucket, or half way to the next one that a coarse clock lets occur. */
static double edge(const struct hist *hist, unsigned bucket, int step) {
    double half = (double)hist_width(bucket) / 2, middle = (double)hist_first(bucket) + half - 0.5;
    for (unsigned i = bucket + (unsigned)step; i < HIST_BUCKETS; i += (unsigned)step) {
        double next = (double)hist_first(i) + (double)(hist_width(i) - 1) / 2;
        if ((next - middle) * step > HIST_COARSE) {
            break;
        }
        if (hist->bucket[i]) {
            return (middle + next) / 2;
        }
    }
    return middle + half * step;
}

double hist_at(const struct hist *hist, double part) {
    double rank = part * (double)hist->count, before = 0;
    unsigned last = 0;
    if (hist->count == 0) {
        return 0;
    }
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        if (hist->bucket[i] == 0) {
            continue;
        }
        last = i;
        if (before + hist->bucket[i] > rank) {
            break;
        }
        before += hist->bucket[i];
    }
    double inside = (rank - before) / hist->bucket[last];
    double low = edge(hist, last, -1), high = edge(hist, last, 1);
    double value = low + (high - low) * (inside < 1 ? inside : 1);
    return value > (double)hist->most ? (double)hist->most : value;
}
