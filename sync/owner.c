/* SPDX-License-Identifier: MIT
 *
 * A word that one process at a time owns, and that outlives its owners.
 */
#include "sync/owner.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "include/thirl/lock.h"

int64_t owner_until(int64_t ns) {
    return ns >= 0 ? ns : clock_after(clock_now(), 30 * CLOCK_S);
}

int64_t owner_slice(int64_t now, int64_t until) {
    int64_t slice = clock_after(now, OWNER_SLICE_NS);
    return slice < until ? slice : until;
}

/* One attempt with the word as it was seen; -EAGAIN: somebody else owns it, or the word has changed. */
static int attempt(uint64_t *word, const struct party *me, uint64_t *seen, uint64_t flags) {
    if ((*seen & OWNER_CONDEMNED) != 0) {
        return -ENOTRECOVERABLE;
    }
    if ((*seen & PARTY_ID) != 0) {
        return -EAGAIN;
    }
    uint64_t died = *seen & OWNER_DIED;
    weave("owner.take.before");
    if (!atomic_cas(word, seen, me->id | (*seen & OWNER_WAITERS) | died | flags)) { /* pairs with owner_give */
        return -EAGAIN;
    }
    weave("owner.take.after");
    return died != 0 ? THIRL_OWNER_DIED : 0;
}

/* Somebody owns it as it was seen. He may be dead: then it is this process's. */
static int inherit(uint64_t *word, const struct party *me, uint64_t seen, uint64_t flags) {
    uint64_t died = (seen & OWNER_PASSING) != 0 ? seen & OWNER_DIED : OWNER_DIED;
    if (party_alive(seen & PARTY_ID)) {
        return -EAGAIN;
    }
    weave("owner.inherit.before");
    if (!atomic_cas(word, &seen,
                    me->id | OWNER_WAITERS | died | (flags & OWNER_PASSING))) { /* somebody else was told */
        return -EAGAIN;
    }
    weave("owner.inherit.after");
    return died != 0 ? THIRL_OWNER_DIED : 0;
}

int owner_spin(uint64_t *word, const struct party *me) {
    for (int i = 0; i < OWNER_SPINS; i++) {
        uint64_t seen = atomic_load(word);
        int rc = attempt(word, me, &seen, 0);
        if (rc != -EAGAIN || (seen & OWNER_WAITERS) != 0) {
            return rc;
        }
        atomic_pause();
    }
    return -EAGAIN;
}

/* From now on owners look for those who wait. */
static void come(uint32_t *crowd) {
    uint32_t seen = atomic_load(crowd);
    while ((seen & CROWD_STATE) != CROWD_THERE) {
        weave("owner.come.before");
        if ((seen & CROWD_STATE) == CROWD_QUIET) {
            if (!atomic_cas(crowd, &seen, seen + CROWD_COMING)) {
                continue;
            }
            seen += CROWD_COMING;
        }
        weave("owner.come.between");
        if (!futex_fence_heavy()) { /* no store is held back for so long */
            const struct timespec moment = {.tv_nsec = CLOCK_MS};
            (void)nanosleep(&moment, NULL);
        }
        if (atomic_cas(crowd, &seen, seen + CROWD_THERE - CROWD_COMING)) {
            break;
        }
    }
    weave("owner.come.after");
}

static bool is_there(uint32_t *crowd) {
    return crowd == NULL || (atomic_load(crowd) & CROWD_STATE) == CROWD_THERE;
}

static int take(uint64_t *word, uint32_t *crowd, const struct party *me, int64_t until, uint64_t flags) {
    int rc = -EAGAIN;
    uint64_t seen = atomic_load(word);
    while (rc == -EAGAIN) {
        rc = attempt(word, me, &seen, flags);
        if (rc != -EAGAIN || (seen & PARTY_ID) == 0) {
            continue;
        }
        if (until == 0) {
            return inherit(word, me, seen, flags);
        }
        if (!is_there(crowd)) {
            come(crowd);
        }
        if ((seen & OWNER_WAITERS) == 0) {
            weave("owner.wait.before");
            if (!atomic_cas(word, &seen, seen | OWNER_WAITERS)) {
                continue;
            }
            seen |= OWNER_WAITERS;
        }
        if (!is_there(crowd)) {
            seen = atomic_load(word);
            continue;
        }
        int64_t now = clock_now();
        if (now >= until) {
            rc = inherit(word, me, seen, flags);
            return rc == -EAGAIN ? -ETIMEDOUT : rc;
        }
        weave("owner.wait.asleep");
        int slept = futex_wait(owner_half(word), (uint32_t)seen, owner_slice(now, until));
        weave("owner.wait.awake");
        flags |= OWNER_WAITERS;
        if (slept == -ETIMEDOUT) {
            rc = inherit(word, me, seen, flags);
        }
        seen = atomic_load(word);
    }
    return rc;
}

int owner_take(uint64_t *word, uint32_t *crowd, const struct party *me, int64_t until) {
    return take(word, crowd, me, until, 0);
}

int owner_pass(uint64_t *word, const struct party *me, int64_t until) {
    return take(word, NULL, me, until, OWNER_PASSING);
}

void owner_give_slowly(uint64_t *word, const struct party *me) {
    uint64_t seen = atomic_load(word);
    if ((seen & PARTY_ID) != me->id) {
        return;
    }
    weave("owner.give.before");
    while (!atomic_cas(word, &seen, seen & OWNER_DIED)) continue;
    weave("owner.give.between");
    if ((seen & OWNER_WAITERS) != 0) {
        (void)futex_wake(owner_half(word), 1);
    }
    weave("owner.give.after");
}

/* Nobody waits: counts it, and after some of them the crowd is gone. */
static void disperse(uint32_t *crowd) {
    uint32_t seen = atomic_peek(crowd), often = seen % CROWD_NEXT / CROWD_ONCE + 1;
    bool over = often >= CROWD_LASTS;
    atomic_store(crowd, over ? seen - seen % CROWD_NEXT + CROWD_NEXT : seen + CROWD_ONCE);
}

void owner_ring(const uint64_t *word) {
    (void)futex_wake(owner_half(word), 1);
}

void owner_release_slowly(uint64_t *word, uint32_t *crowd, const struct party *me) {
    if (is_there(crowd) && (atomic_peek(word) & OWNER_WAITERS) == 0) {
        weave("owner.release.quiet");
        disperse(crowd);
    }
    owner_give(word, me); /* whoever waits and comes behind its swap sees that store */
}

void owner_mend(uint64_t *word) {
    weave("owner.mend.before");
    (void)atomic_and(word, ~OWNER_DIED);
    weave("owner.mend.after");
}

void owner_condemn(uint64_t *word) {
    weave("owner.condemn.before");
    atomic_store(word, OWNER_CONDEMNED); /* waiters that come in between read it anew before they sleep */
    weave("owner.condemn.after");
    (void)futex_wake(owner_half(word), INT32_MAX);
}
