/* SPDX-License-Identifier: MIT
 *
 * The states that the search through a model has been in, each once. A state is a struct without padding, compared byte by byte.
 */
#ifndef TESTS_RACE_STATES_H
#define TESTS_RACE_STATES_H

#include <stdbool.h>
#include <stddef.h>

/* A search begins, through states of that size, half as many as `room` at most: more is a failed test. One search at a time. */
void states_begin(size_t size, size_t room);

/* Has the search not been there? From now on it has. */
bool states_new(const void *state);

/* How many it has been in. */
unsigned states_count(void);

#endif
