/* SPDX-License-Identifier: MIT
 *
 * For tests of large messages: such as say all along which message they are, so that a torn one shows.
 */
#ifndef TESTS_LARGE_H
#define TESTS_LARGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/thirl/thirl.h"

#define LARGE_SOON thirl_in_ms(20000)

/* A word in every 512 bytes is the number of the message, and where it stands. Fewer than eight bytes say nothing. */
void large_fill(void *data, size_t size, uint64_t number);
bool large_intact(const void *data, size_t size, uint64_t number);
uint64_t large_number(const void *data);

/* Sends one in place: what thirl says. Takes one, until LARGE_SOON: is it that one? */
int large_put(thirl *, size_t size, uint64_t number, thirl_time until);
bool large_take(thirl *, thirl_msg **, size_t size, uint64_t number);

/* Opens the address with these options; NULL, and it is printed why. */
thirl *large_open(const char *address, enum thirl_role, const char *options);

/* What is left of all channels together, as thirl_left says: messages, and their bytes. */
struct thirl_left large_left(void);

#endif
