/* SPDX-License-Identifier: MIT
 *
 * What POSIX message queues may hold is one sum for all processes of a user (RLIMIT_MSGQUEUE), and test programs run side by
 * side: those that may use it up take it for themselves, the others share it.
 */
#ifndef TESTS_QUOTA_H
#define TESTS_QUOTA_H

#include <stdbool.h>

/* Does anything at that address, or its scheme, count towards the sum? */
bool quota_counts(const char *address);

/* Waits for it, at most a minute. The descriptor is to be closed; whoever is forked meanwhile keeps it, too. -1: there is no such lock. */
int quota_take(bool alone);

#endif
