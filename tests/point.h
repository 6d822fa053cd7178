/* SPDX-License-Identifier: MIT
 *
 * The named points of a program (base/weave.h), for tests that kill at each of some rooms.
 */
#ifndef TESTS_POINT_H
#define TESTS_POINT_H

#include <stdbool.h>
#include <stddef.h>

/* The next point from *at on whose name begins with one of these ("cell. lot.make"), or NULL. *at begins with 0. */
const char *point_next(size_t *at, const char *beginnings);

/* Is each of those points met, when so many rounds are played? meet plays one, and says how often somebody met his fate there: some points
 * are passed by chance only. One that never was is printed. */
bool point_all(const char *beginnings, int rounds, unsigned (*meet)(const char *name, bool killed), bool killed);

#endif
