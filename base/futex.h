/* SPDX-License-Identifier: MIT
 *
 * Sleeping on a word of shared memory, and the fence whose price only the sleeper pays. Nothing here takes a lock or
 * allocates.
 */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include <stdbool.h>
#include <stdint.h>

/* Sleeps while *word is value, until woken or until the point in time (CLOCK_MONOTONIC, ns; INT64_MAX: never). The word may
 * be in a read-only mapping. 0 woken, -EAGAIN the word has another value, -ETIMEDOUT, -EINTR. */
int futex_wait(const uint32_t *word, uint32_t value, int64_t until);

/* The same for at most ns nanoseconds from now on. */
int futex_nap(const uint32_t *word, uint32_t value, int64_t ns);

/* Sleeps while both words have their values. -ENOSYS where the kernel cannot (before 5.16, or forbidden). */
int futex_wait_two(const uint32_t *a, uint32_t value_a, const uint32_t *b, uint32_t value_b, int64_t until);

/* The same on many words: 0 as soon as one of them is woken, -EAGAIN when one has another value. Up to FUTEX_MANY. */
#define FUTEX_MANY 128
struct futex_word {
    const uint32_t *word;
    uint32_t value;
};
int futex_wait_many(const struct futex_word *, unsigned count, int64_t until);

/* Has the word another value, or was somebody just woken there? As a load, but of memory that another thread may have unmapped:
 * then it has. */
bool futex_differs(const uint32_t *word, uint32_t value);

/* FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI or FUTEX_UNLOCK_PI on a word that lends priority, until that point. 0 or -errno. */
int futex_lend(uint32_t *word, int operation, int64_t until);

/* Wakes up to count sleepers; how many were woken, or -errno. */
int futex_wake(const uint32_t *word, int count);

/* Registers this process for fence_heavy() of others, once. false where the kernel cannot: then use full fences. */
bool futex_fence_join(void);

/* A full fence on every processor that runs a registered process; pairs with atomic_order() there. About 0.6 µs. false when
 * the kernel refused. */
bool futex_fence_heavy(void);

#endif
