/* SPDX-License-Identifier: MIT
 *
 * Peers beside thirl: the programs in peer/ beside this one, each built where its library was.
 */
#ifndef BENCH_RIVALS_H
#define BENCH_RIVALS_H

#include <stdbool.h>

/* Prints one table, Markdown if asked for: the bare futex, thirl, each peer, and thirl again; medians of the rounds, in which all take turns. 0; -1: thirl
 * itself has no figures. */
int rivals_run(int rounds, double seconds, bool markdown);

#endif
