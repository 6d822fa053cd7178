/* SPDX-License-Identifier: MIT
 *
 * What a channel carries, in its directory: written by the first who joins, under the channel's lock, and compared by everybody else.
 */
#ifndef MEM_CARD_H
#define MEM_CARD_H

#include "base/type.h"
#include "mem/roll.h"

/* Of the channel that roll has open and locked: does it carry that pattern (enum roll_pattern, and ROLL_SEALS)? alone: nobody else is in it,
 * so another card is of those who are gone, and replaced. 0; -THIRL_EROLE; -THIRL_EVERSION; -THIRL_EFORMAT; or what the kernel says. */
int card_check(const struct roll *, unsigned pattern, bool alone, unsigned mode);

/* Of the channel that roll has open and locked, as roll_type; alone: what those who are gone said is forgotten. */
int card_type(const struct roll *, const struct type *, bool alone, unsigned mode);

/* What the card of a channel says, by the name of its directory: 0 or an error, without a sentence. For who has not joined. */
int card_peek(const char *channel, uint32_t *pattern);

#endif
