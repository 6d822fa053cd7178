/* SPDX-License-Identifier: MIT
 *
 * Counting the system calls of the calling process. The kernel counts, by its trace point at the entry of all of them, and makes every call a
 * little slower meanwhile: so times are never taken in a run that counts.
 */
#ifndef BENCH_CENSUS_H
#define BENCH_CENSUS_H

#include <stddef.h>
#include <stdint.h>

#define CENSUS_HOW "the kernel's trace point raw_syscalls:sys_enter by perf_event_open, in a run of its own"

/* From here on; the sentence why it cannot be counted goes to why, else "". */
void census_begin(char *why, size_t capacity);

/* How many calls there were since then; 0 if they could not be counted. */
uint64_t census_end(void);

#endif
