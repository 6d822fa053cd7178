/* SPDX-License-Identifier: MIT
 *
 * How long a wake-up takes, as a histogram: thirl's sleeping receive and the hand-over of its mutex, beside a bare futex.
 */
#ifndef BENCH_WAKE_H
#define BENCH_WAKE_H

#include <stdbool.h>

/* Measures them in turns, so many rounds, with all that thirl_realtime can have here, and prints what that was and the histogram. 0, or -1
 * with a sentence on stderr. */
int wake_show(int rounds, bool quick);

#endif
