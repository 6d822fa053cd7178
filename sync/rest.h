/* SPDX-License-Identifier: MIT
 *
 * How a thread rests on a word of 64 bits whose lower half is what it sleeps on: what it leaves for others to see meanwhile, and how long
 * it sleeps until it looks by itself. Every lock here but the mutex, which has its own.
 */
#ifndef SYNC_REST_H
#define SYNC_REST_H

#include "base/clock.h"
#include "base/futex.h"
#include "sync/owner.h"

static inline const uint32_t *rest_half(const uint64_t *word) {
    return owner_half(word);
}

/* What the calling thread waits for from now on; pairs with slip_waited. The tag says what kind of thing it is. */
static inline void rest_begin(const struct party *me, uint64_t tag, const void *object, const void *site) {
    struct slip_wait wait = {.tag = tag,
                             .object = (uint64_t)(uintptr_t)object,
                             .site = (uint64_t)(uintptr_t)site,
                             .since = clock_now(),
                             .kind = (uint32_t)(tag & SLIP_KIND_BITS)};
    slip_await(me->slip, &wait);
}

/* Sleeps while the lower half is as in `seen`, a slice at most. -ETIMEDOUT: that is over, and nobody has rung. */
static inline int rest_slice(const uint64_t *word, uint64_t seen, int64_t now, int64_t until) {
    return futex_wait(rest_half(word), (uint32_t)seen, owner_slice(now, until));
}

/* Is it a thing of that kind, made by its init? */
static inline bool rest_is(const uint64_t *tag, enum slip_kind kind) {
    return (atomic_peek(tag) & SLIP_KIND_BITS) == (uint64_t)kind;
}

#endif
