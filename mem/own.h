/* SPDX-License-Identifier: MIT
 *
 * Whose turn it is to change a passive thing that several processes share. One word has the node of the holder, or 0; it is changed
 * by compare-and-swap, and a node is never used twice. Whoever waits asks the kernel whether the holder lives: what a
 * dead one leaves is taken over, and the new holder is told, because the work of the dead may be half done.
 *
 *     holder                               waiter
 *     cas: holder 0 -> self                holder lives? (record lock)   dead: cas holder -> self, OWN_DIED
 *     works                                seen = given ── wants = 1 ── fence ── holder the same? FUTEX_WAIT(given, seen)
 *     swap: holder -> 0 (a full fence)
 *     wants? wants = 0, given += 1, FUTEX_WAKE all
 *
 * A holder that is killed between its swap and the wake leaves sleepers to their slice. Threads of one process share a node and
 * exclude each other like strangers. Not recursive.
 */
#ifndef MEM_OWN_H
#define MEM_OWN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"

struct own { /* shared: changed by atomic operations only; all zero is free */
    uint64_t holder;
    uint32_t given, wants;
};
LAYOUT(own, 16, wants, 12);

#define OWN_DIED 1                     /* own_take: the last holder died at work */
#define OWN_SLICE_NS INT64_C(50000000) /* longest sleep before a look at the holder's life */

/* Everything but the quick way. */
int own_wait(struct own *, uint64_t self, int64_t until);
void own_wake(struct own *);

/* Takes it for the node `self`, at most until then (CLOCK_MONOTONIC, ns; 0: without waiting). 0; OWN_DIED; -EAGAIN (until 0)
 * or -ETIMEDOUT: somebody alive has it. Released by own_give. */
static inline int own_take(struct own *own, uint64_t self, int64_t until) {
    uint64_t nobody = 0;
    return likely(atomic_cas(&own->holder, &nobody, self)) ? 0 : own_wait(own, self, until);
}

static inline void own_give(struct own *own) {
    (void)atomic_swap(&own->holder, 0); /* pairs with the cas of the next, and with the fence in own_wait */
    if (unlikely(atomic_peek(&own->wants) != 0)) {
        own_wake(own);
    }
}

#endif
