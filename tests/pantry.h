/* SPDX-License-Identifier: MIT
 *
 * For tests of shared caches: one whose values say which they are, so that a torn one shows, and a look at its memory.
 */
#ifndef TESTS_PANTRY_H
#define TESTS_PANTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/thirl/cache.h"

#define PANTRY "plant/cache"
#define PANTRY_BYTES (256 << 10)
#define PANTRY_KEYS 400
#define PANTRY_LARGEST 4096 /* value */

/* For the setup of a test: it is not there. */
int pantry_clear(void **state);

/* NULL, and it is printed why. */
thirl_cache *pantry_open(uint64_t bytes);
struct thirl_cache_info pantry_info(thirl_cache *);

/* Is it a value of that key, with nothing of another one in it? Says its number. */
bool pantry_whole(const struct thirl_cache_pin *, uint32_t key, uint32_t *number);

/* A value that follows from its key and a number. The number of what is there; 0: nothing. */
int pantry_put(thirl_cache *, uint32_t key, uint32_t number);
uint32_t pantry_get(thirl_cache *, uint32_t key);

/* Looks at the memory itself. Nobody is at work in it. */
void pantry_audit(void);

/* Nothing was lost: without items and pins all of the room is free. */
void pantry_all_there(thirl_cache *);

#endif
