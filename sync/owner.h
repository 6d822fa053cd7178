/* SPDX-License-Identifier: MIT
 *
 * A word that one process at a time owns, and that outlives its owners. All other locks are made of it. What it guards must be in order
 * after every single store of the owner's, or be repaired by whoever is told OWNER_DIED.
 *
 * The word is the owner's id (48 bits) and flags. Its lower half is what waiters sleep on.
 *
 *     owner                                        waiter
 *     word 0 → id (cas)                            seen = word: owned
 *     …                                            word seen → seen | WAITERS (cas)
 *     word id → 0 (cas); fails: there are waiters  FUTEX_WAIT(lower half), 50 ms at most
 *     word → 0, FUTEX_WAKE(1)                      word 0 → id | WAITERS: there may be more
 *     (dies)                                       the owner is dead: word seen → id | WAITERS | DIED (cas): owner, and told
 *
 * A waiter that is killed after it was woken takes the wake-up along: the others look again after 50 ms. DIED stays in the word, owned
 * or not, until an owner mends it.
 *
 * A locked instruction is half of what an owner pays. Where a second word says whether anybody has waited lately, it lets go without:
 *
 *     owner                                        waiter
 *     crowd QUIET?                                 crowd QUIET → COMING (cas)
 *     word id → 0 (store): WAITERS may get lost    fence_heavy: each store before a look at QUIET is seen, each later look sees COMING
 *     crowd the same as before? out                crowd COMING → THERE (cas)
 *     FUTEX_WAKE(1)                                word seen → seen | WAITERS (cas); crowd still THERE? FUTEX_WAIT, as above
 *     (CROWD_LASTS times nobody waited)
 *     crowd THERE → QUIET; word id → 0 (cas)       (the cas was before: it is woken; behind: it sees QUIET and begins anew)
 */
#ifndef SYNC_OWNER_H
#define SYNC_OWNER_H

#include <stdint.h>

#include "base/weave.h"
#include "sync/party.h"

#define OWNER_WAITERS UINT64_C(1)
#define OWNER_DIED UINT64_C(2)
#define OWNER_CONDEMNED UINT64_C(4)
#define OWNER_PASSING UINT64_C(16)  /* its owner changes nothing: nobody is told when it dies */
#define OWNER_OTHERWISE UINT64_C(8) /* never free: this word is not the way to take it */

#define OWNER_SLICE_NS (50 * INT64_C(1000000))

#ifndef OWNER_SPINS
#define OWNER_SPINS                                                                                                    \
    3 /* an owner that lets go at once is not slept for; who looks for longer hands over each time, which costs a line each */
#endif

/* A crowd: how many times nobody waited since somebody did, and a number that says which crowd it is, above its state. */
enum crowd_state { CROWD_QUIET, CROWD_COMING, CROWD_THERE, CROWD_STATE };
#define CROWD_ONCE UINT32_C(4)
#define CROWD_NEXT UINT32_C(1024)
#ifndef CROWD_LASTS
#define CROWD_LASTS 64
#endif

/* What is slept on: the lower half of a word. */
static inline const uint32_t *owner_half(const uint64_t *word) {
    return (const uint32_t *)(const void *)word + (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 1);
}

/* 0, THIRL_OWNER_DIED, or without it -EAGAIN (until 0), -ETIMEDOUT, -ENOTRECOVERABLE. until: CLOCK_MONOTONIC, INT64_MAX never. Pairs with
 * owner_give, or, with a crowd, with owner_leave and owner_release_slowly. Owned by the same process it waits too: threads are told apart above. */
int owner_take(uint64_t *word, uint32_t *crowd, const struct party *, int64_t until);

/* The same for one who changes nothing of what is guarded: the word is marked OWNER_PASSING while it has it. */
int owner_pass(uint64_t *word, const struct party *, int64_t until);

/* Tries for a moment, as long as nobody sleeps for it: what owner_take says, or -EAGAIN. */
int owner_spin(uint64_t *word, const struct party *);

/* The first try of it. */
static inline bool owner_try(uint64_t *word, const struct party *me) {
    uint64_t nobody = 0;
    return likely(atomic_cas(word, &nobody, me->id)); /* pairs with the release in owner_give */
}

void owner_give_slowly(uint64_t *word, const struct party *);

/* Lets go, and wakes one who waits. */
static inline void owner_give(uint64_t *word, const struct party *me) {
    uint64_t own = me->id;
    if (unlikely(!atomic_cas(word, &own, UINT64_C(0)))) {
        owner_give_slowly(word, me);
    }
}

void owner_release_slowly(uint64_t *word, uint32_t *crowd, const struct party *);
void owner_ring(const uint64_t *word); /* wakes one who waits; the word may be anybody's by now */

/* The same for a word with a crowd: where nobody has waited of late, by a plain store. *quiet is what owner_leave looks for again. */
static inline bool owner_alone(const uint64_t *word, const uint32_t *crowd, const struct party *me, uint32_t *quiet) {
    *quiet = atomic_load(crowd);
    return likely((*quiet & CROWD_STATE) == CROWD_QUIET && atomic_peek(word) == me->id && me->fences);
}

static inline void owner_leave(uint64_t *word, const uint32_t *crowd, uint32_t quiet) {
    atomic_store(word, UINT64_C(0)); /* pairs with the loads and swaps that take it */
    weave("owner.release.stored");
    atomic_order();                              /* with the fence of a waiter who comes */
    if (unlikely(atomic_load(crowd) != quiet)) { /* one has come, and may be over by now */
        owner_ring(word);
    }
}

/* By its owner: all is well, and nobody owns it ever again. */
void owner_mend(uint64_t *word);
void owner_condemn(uint64_t *word);

/* Does this process own it? */
static inline bool owner_is(const uint64_t *word, const struct party *me) {
    return (atomic_peek(word) & PARTY_ID) == me->id;
}

/* Where a deadline lies, and where the next look at things is due. */
int64_t owner_until(int64_t ns);                 /* of thirl_time: THIRL_SOON is 30 s from now */
int64_t owner_slice(int64_t now, int64_t until); /* the nearer of until and a slice from now */

#endif
