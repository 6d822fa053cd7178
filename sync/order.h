/* SPDX-License-Identifier: MIT
 *
 * Who waits for whom, on this whole machine, from the slips that threads leave. Nothing is locked: a circle counts when two looks, one
 * after the other, find the same waits in it, for whoever waits can neither let go of anything nor go on.
 */
#ifndef SYNC_ORDER_H
#define SYNC_ORDER_H

#include "sync/knot.h"
#include "sync/party.h"

/* Looks at all. *knot is zero but for `all`. Pairs with knot_free, also after an error: -ENOMEM, or what the registry answers. */
int order_look(struct knot *knot);

/* Does the calling thread wait in a circle, and is it the one of it that gives up? 0, or -EDEADLK with the circle as a sentence. A thread
 * that would not be told is never the one. Allocates. */
int order_circle(const struct party *);

/* "mutex", … */
const char *order_kind(uint32_t kind);

#endif
