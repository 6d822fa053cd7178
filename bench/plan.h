/* SPDX-License-Identifier: MIT
 *
 * The named cases: what is measured against what, and which ratio is to hold.
 */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include "bench/measure.h"

extern const struct plan plan_table[];
extern const size_t plan_count;

const struct plan *plan_find(const char *name); /* NULL when there is none of that name */

/* The single measurements behind "floor-copy", "floor-unix", "floor-rtt-spin", "floor-rtt-unix". NULL: no such name. */
const struct entry *plan_single(const char *name, enum measure_kind *);

#endif
