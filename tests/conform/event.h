/* SPDX-License-Identifier: MIT
 *
 * What tests of events share: events that are numbers, told and taken, and a watcher that is there until it is killed.
 */
#ifndef TESTS_CONFORM_EVENT_H
#define TESTS_CONFORM_EVENT_H

#include "tests/conform/conform.h"

int event_notify(thirl *, uint32_t number, thirl_time until);

/* The next one; it must come. */
uint32_t event_watch(thirl *);

/* Takes one, and how often it was told; UINT32_MAX and 0 times: none came. */
uint32_t event_take(thirl *, uint64_t *times, thirl_time until);

/* A peer: says that it is there, and when it has got event 1; then it waits to be killed. */
void event_watch_until_death(const struct conform *, struct peer *stage);

#endif
