/* SPDX-License-Identifier: MIT
 *
 * The pushers of a worker: found when the roll has changed, followed, let go. Their records are toil.c's, who alone calls this.
 */
#ifndef MECH_GIVER_H
#define MECH_GIVER_H

#include "mech/work.h"

#define GIVER_NOWHERE UINT64_MAX    /* no record */
#define GIVER_FAR (UINT64_MAX >> 1) /* more than this no pusher sends in a lifetime of machines */

/* Looks for pushers if something has changed. 0, or why one of them cannot be heard; the others are. May allocate. */
int giver_find(struct work *);

/* Lets the i-th one go, which nothing is held of. */
void giver_drop(struct work *, size_t i);

/* Notes how far all that it sent is done. */
void giver_advance(struct feed *);

/* Removes the files of pushers that are gone, when all that they sent is done. */
void giver_clear(struct work *);

#endif
