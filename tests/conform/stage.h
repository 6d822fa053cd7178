/* SPDX-License-Identifier: MIT
 *
 * Where the tests of the conformance suite run: a process for each, with a registry and a directory of its own. Most of them wait
 * most of the time, so the next ones are begun while one is waited for.
 */
#ifndef TESTS_CONFORM_STAGE_H
#define TESTS_CONFORM_STAGE_H

#include "tests/conform/conform.h"

#define STAGE_MS stage_ms() /* what takes longer hangs: 50 s, or $CONFORM_SECONDS, for campaigns */
int stage_ms(void);
#define STAGE_SKIPPED 77 /* its exit code */

extern const struct conform_line conform_lines[];
extern const size_t conform_count;

/* Waits until the process ends: its status; -1, and dead, when it takes longer. */
int stage_await(pid_t, int limit_ms);

#endif
