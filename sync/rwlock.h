/* SPDX-License-Identifier: MIT
 *
 * The read-write lock behind thirl_rwlock: an owner word for who writes, and a number of shares for who reads. The public functions are
 * in include/thirl/lock.h.
 *
 *     reader                                         writer
 *     lists a share in its slip                      lists the lock in its slip
 *     word has no writer?                            word 0 → id (as a mutex)
 *     shares + 1                                     shares 0? it writes
 *     word has no writer: it reads                   else FUTEX_WAIT(shares), 50 ms at most
 *     else shares - 1, FUTEX_WAKE(shares) at 0;        after 50 ms: counts the shares anew
 *       lines up for the word (owner_pass); has it:  word → 0
 *       shares + 1, word → 0
 *     …
 *     shares - 1; 0, and word has a writer:
 *       FUTEX_WAKE(shares)
 *
 * Who died as a reader has left its share in the number and in no slip of a living thread. Each change of the number counts in its
 * upper half as well. A writer that waits reads it, counts the listings of living threads, and puts their number there, if it is lower
 * and nothing has changed meanwhile: every share of a living thread was listed all that time, so it is never too low. It may be too high,
 * when a thread has listed what it has yet to take or has given back; the next count is lower.
 */
#ifndef SYNC_RWLOCK_H
#define SYNC_RWLOCK_H

#include "base/layout.h"
#include "sync/owner.h"

struct rwlock {
    uint64_t word;   /* sync/owner.h: who writes, or a reader that passes */
    uint64_t shares; /* how many read; upper half: changes */
    uint64_t tag;    /* names it in all processes; 0: this is no lock */
    uint32_t thread; /* of who writes, while it does: 0 before and after */
    uint32_t flags;  /* enum thirl_lock_flags */
    int64_t counted; /* when shares were last counted anew */
    uint64_t zero[3];
};
LAYOUT(rwlock, 64, zero, 40);

/* For a call at that site; as thirl_rwlock_read and thirl_rwlock_write. */
int rwlock_read(struct rwlock *, int64_t until, const void *site);
int rwlock_write(struct rwlock *, int64_t until, const void *site);

#endif
