/* SPDX-License-Identifier: MIT
 *
 * Hot paths alone: both ends in this one process, which never waits, so that a simulator can count the instructions of each.
 */
#ifndef BENCH_PATH_H
#define BENCH_PATH_H

#include <stdint.h>

/* Goes a path of that name so often, inside path_counted. 0; -1 with a sentence on stderr; -2: there is no such path. */
int path_go(const char *name, uint64_t count);

/* Names, each in a line on stdout. */
void path_list(void);

#endif
