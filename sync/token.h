/* SPDX-License-Identifier: MIT
 *
 * A word that counts, from which one is taken by one swap: whoever is killed before it has taken nothing, and whoever is killed behind
 * it has. Counting semaphores and automatic events are made of it.
 *
 * The lower half is the count, doubled, and WAITERS; that is what waiters sleep on. The upper half counts the posts.
 *
 *     waiter                                          whoever posts
 *     count there? count - 1 (cas)                    count + 1, posts + 1 (cas)
 *     0 → WAITERS (cas)                               WAITERS there? FUTEX_WAKE(1)
 *     FUTEX_WAIT(WAITERS), 50 ms at most; once more   nobody was woken: WAITERS away, if nothing else has changed (cas)
 *
 * Nobody sleeps while there is a count, so nobody can have begun to between those last two. A waiter that is killed after it was
 * woken leaves the count where it is: the others find it after 50 ms.
 */
#ifndef SYNC_TOKEN_H
#define SYNC_TOKEN_H

#include "sync/rest.h"

#define TOKEN_WAITERS UINT64_C(1)
#define TOKEN_ONE UINT64_C(2)
#define TOKEN_POSTS (UINT64_C(1) << 32)
#define TOKEN_MAX (UINT32_C(1) << 30)

#ifndef TOKEN_SPINS
#define TOKEN_SPINS 40 /* what is posted at once is not slept for */
#endif

static inline uint32_t token_count(uint64_t word) {
    return (uint32_t)word >> 1;
}

/* 0, or -EAGAIN (until 0), -ETIMEDOUT, both without a sentence. until: CLOCK_MONOTONIC, INT64_MAX never. */
int token_take(uint64_t *word, int64_t until);

/* The first tries of it. */
int token_spin(uint64_t *word);

/* One more, and wakes one who waits. -EOVERFLOW, without a sentence: there are `most` already; one who waits is woken all the same. */
int token_post(uint64_t *word, uint32_t most);

/* All that is there is gone. */
void token_clear(uint64_t *word);

#endif
