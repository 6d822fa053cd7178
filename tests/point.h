/* SPDX-License-Identifier: MIT
 *
 * The named points of a program (base/weave.h), for tests that kill at each of some rooms.
 */
#ifndef TESTS_POINT_H
#define TESTS_POINT_H

#include <stddef.h>

/* The next point from *at on whose name begins with one of these ("cell. lot.make"), or NULL. *at begins with 0. */
const char *point_next(size_t *at, const char *beginnings);

#endif
