/* SPDX-License-Identifier: MIT
 *
 * Histories: what several processes have asked of one object and what they were answered, each with when it began and ended. A history is
 * linearizable when its operations can be put into an order that the object could have performed one by one, in which nobody comes behind one
 * that began after he had ended. Searched depth first as Wing and Gong have it, in Lowe's form: an operation is lifted out of the list, and put
 * back where that leads nowhere; what was once reached in the same state with the same operations is not tried again.
 */
#ifndef TESTS_HISTORY_H
#define TESTS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_PENDING INT64_MAX /* it never ended: whoever asked was killed, and it may have been done or not */

struct history_op {
    int64_t began, ended;
    uint32_t kind; /* the model's */
    uint32_t who;
    uint64_t given, answer;
};

/* What the object would do: true, with the state behind it, if it could give this answer in that state. */
typedef bool history_model(uint64_t *state, const struct history_op *);

/* Is there such an order, from the state 0? 1 or 0; -1: it was given up after so many steps, or there is no memory. *stuck, which may be NULL, is
 * then the operation that none of the orders came past. */
int history_check(const struct history_op *, size_t count, history_model *, size_t *stuck);

/* ---- models ---- */

/* One value: GET answers what was SET last, 0 at first. SWAP(given: the one before << 32 | the new one) answers 1 if it was that, and else 0.
 * REMOVE answers whether there was one. */
enum { HISTORY_GET, HISTORY_SET, HISTORY_SWAP, HISTORY_REMOVE };
history_model history_value;

/* Holders by their number (`who`, below 16). LOCK and SHARE answer 1, or 2: who held it alone is dead, and it was taken; LOCK answers 0 if somebody
 * is in the way. UNLOCK answers 1. Who takes it after a death mends it. DIE is the end of `who`, told by whoever killed him. */
enum { HISTORY_LOCK, HISTORY_SHARE, HISTORY_UNLOCK, HISTORY_DIE };
history_model history_lock;

/* A count: POST adds one, TAKE answers 1 if there was one, and else 0. */
enum { HISTORY_POST, HISTORY_TAKE };
history_model history_count;

/* A light: LIGHT and DARKEN; LOOK answers which it was. */
enum { HISTORY_LIGHT, HISTORY_DARKEN, HISTORY_LOOK };
history_model history_light;

/* A queue of one sender, who PUTs 1, 2, 3 …: NEXT answers the oldest that is there. */
enum { HISTORY_PUT, HISTORY_NEXT };
history_model history_queue;

#endif
