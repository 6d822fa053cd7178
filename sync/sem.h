/* SPDX-License-Identifier: MIT
 *
 * The semaphore behind thirl_sem. Its permits are words that name their holder, so that taking one, giving it back and finding it with
 * a dead process are each one swap, and there is no count that could be wrong. A COUNTING one is a token word (sync/token.h) instead.
 *
 *     waiter                                     holder
 *     a word 0 → id (cas)?                       word id → 0 (cas)
 *     WAITERS (cas)                              fence
 *     fence                                      WAITERS there? FUTEX_WAKE(1); if that woke nobody:
 *     once more: a word 0 → id (cas)?              WAITERS away (cas), FUTEX_WAKE(all)
 *     FUTEX_WAIT(WAITERS), 50 ms at most         (dies)
 *     time is up: a dead one's word → id (cas)
 *
 * That last wake is for those who saw WAITERS still there and began to sleep just before it went: they say it again.
 */
#ifndef SYNC_SEM_H
#define SYNC_SEM_H

#include "base/layout.h"
#include "include/thirl/lock.h"
#include "sync/rest.h"

#define SEM_WAITERS UINT64_C(1)

struct sem {
    uint64_t word; /* COUNTING: of sync/token.h; else WAITERS, which they sleep on */
    uint64_t tag;  /* names it in all processes; 0: this is no semaphore */
    uint32_t flags, permits;
    uint64_t zero[5];
    uint64_t holder[THIRL_SEM_PERMITS_MAX]; /* a process, and the last 16 bits of the number of its thread; 0: free */
};
LAYOUT(sem, 512, holder, 64);

/* Takes a permit for a call at that site; as thirl_sem_wait. */
int sem_take(struct sem *, int64_t until, const void *site);

#endif
