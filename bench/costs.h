/* SPDX-License-Identifier: MIT
 *
 * What this machine's mechanisms cost, written down for `thirl advise` and auto:// to choose by: a line for each cell of a survey.
 *
 *     thirl-costs 1
 *     machine KEY VALUE…
 *     cost MECH PATTERN SIZE WAIT COPY P50_NS P99_NS P999_NS MSGS_PER_S CPU_NS CALLS FLOOR_NS
 *
 * Decimal integers; CALLS is in thousandths, -1 where it could not be counted; other unknown figures are 0.
 */
#ifndef BENCH_COSTS_H
#define BENCH_COSTS_H

#include "bench/survey.h"

/* Writes $XDG_CACHE_HOME/thirl/costs ($HOME/.cache without that), all of it or nothing. 0, or -1 with a sentence on stderr. */
int costs_save(const struct survey *);

#endif
