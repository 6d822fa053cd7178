/* SPDX-License-Identifier: MIT
 *
 * What lies aside in an end of calls: answers and requests that came while something else was looked for, calls whose time is over or whose
 * server is gone. The mechanism does not know of it, so whoever waits for such an end, in a loop of his own or in thirl_wait, is told here.
 *
 * end->when says from when on (CLOCK_MONOTONIC) a receive has something to answer that the mechanism does not know of: 0, now; INT64_MAX, it
 * is not known. It is called under the gate of the way IN, and has the descriptor show the same.
 */
#ifndef CHAN_ASIDE_H
#define CHAN_ASIDE_H

#include "chan/end.h"

/* The descriptor of that end, around the mechanism's. Under both gates. 0 or an error. */
int aside_fd(thirl *, int inner, int *fd);
void aside_close(struct end_aside *);

/* Has anybody asked for it? Then each change of `when` is shown, by one thread at a time. */
static inline bool aside_told(const thirl *end) {
    return atomic_load(&end->aside.epoll) >= 0; /* pairs with the release in aside_fd */
}
void aside_show(thirl *, int64_t when);

/* Does something lie there? *due gets when there will be something. */
bool aside_any(thirl *, int64_t *due);

#endif
