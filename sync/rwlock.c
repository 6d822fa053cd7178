/* SPDX-License-Identifier: MIT
 *
 * The read-write lock. A reader's way without a writer is an addition to get in and one to get out; a writer's is that of the mutex and
 * a look at the shares.
 */
#include "sync/rwlock.h"

#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "include/thirl/lock.h"
#include "sync/order.h"
#include "sync/rank.h"

#define CHANGE (UINT64_C(1) << 32)
#define SHARE_IN (CHANGE + 1)
#define SHARE_OUT (CHANGE - 1)

_Static_assert(sizeof(struct rwlock) <= sizeof(thirl_rwlock), "the public struct has room for it");

static struct rwlock *inside(thirl_rwlock *lock) {
    return (struct rwlock *)(void *)lock;
}

static int refuse(void) {
    return err_say(EINVAL, "that is no read-write lock: thirl_rwlock_init makes one");
}

static bool is_none(const struct rwlock *l) {
    return l == NULL || atomic_peek(&l->tag) == 0;
}

/* What a share is listed as: the lock's name, but another kind. */
static uint64_t share_of(uint64_t tag) {
    return tag ^ SLIP_RWLOCK ^ SLIP_SHARE;
}

static bool writes(uint64_t word) {
    return (word & PARTY_ID) != 0 && (word & OWNER_PASSING) == 0;
}

static bool is_mine(const struct rwlock *l, const struct party *me) {
    return atomic_peek(&l->thread) == me->number && owner_is(&l->word, me);
}

/* Before it is taken; and what it is taken after, when a wait is meant. */
static inline void list(const struct party *me, const struct rwlock *l, uint64_t tag, int64_t until, const void *site) {
    if (unlikely(slip_hold(me->slip, tag, l, site) != 0 && until != 0)) {
        rank_note(me);
    }
}

int thirl_rwlock_init(thirl_rwlock *lock, uint32_t flags) {
    if (lock == NULL || (flags & ~(uint32_t)THIRL_LOCK_DEADLOCK) != 0) {
        return err_say(EINVAL, "a read-write lock has the flag DEADLOCK, not %#x", flags);
    }
    struct rwlock *l = inside(lock);
    *l = (struct rwlock){.flags = flags};
    atomic_store(&l->tag, party_tag(SLIP_RWLOCK));
    return 0;
}

/* ---- the dead -------------------------------------------------------------------------------------------------------- */

struct count {
    uint64_t share;
    uint32_t listed;
};

static int count_listed(void *context, const struct party_seen *seen) {
    struct count *count = context;
    if (!seen->alive) {
        return 0;
    }
    if (seen->slip == NULL) {
        return 1; /* it may read */
    }
    count->listed += slip_listed(seen->slip, count->share);
    return 0;
}

/* Takes back the shares of the dead. By who has the word. */
static void count_anew(struct rwlock *l) {
    struct count count = {.share = share_of(l->tag)};
    uint64_t shares = atomic_load(&l->shares); /* pairs with the changes of readers: what they listed before is seen */
    weave("rwlock.count.before");
    if (party_host()->each(count_listed, &count) == 0 && count.listed < (uint32_t)shares) {
        weave("rwlock.count.between");
        (void)atomic_cas(&l->shares, &shares, (((shares >> 32) + 1) << 32) | count.listed);
    }
    atomic_poke(&l->counted, clock_now());
    weave("rwlock.count.after");
}

int thirl_rwlock_deinit(thirl_rwlock *lock) {
    struct rwlock *l = inside(lock);
    if (is_none(l)) {
        return refuse();
    }
    int rc = party_join();
    if (rc != 0) {
        return rc;
    }
    uint64_t owner = atomic_load(&l->word) & PARTY_ID;
    if (owner != 0 && party_alive(owner)) {
        return err_say(EBUSY, "a process that is alive has the read-write lock for writing");
    }
    if ((uint32_t)atomic_load(&l->shares) != 0) {
        count_anew(l);
    }
    uint32_t shares = (uint32_t)atomic_load(&l->shares);
    if (shares != 0) {
        return err_say(EBUSY, "threads that are alive have the read-write lock for reading: %u", shares);
    }
    *l = (struct rwlock){.tag = 0};
    return 0;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------- */

static int say(int rc) {
    switch (rc) {
    case -EAGAIN:
        return err_say(EAGAIN, "the read-write lock is held by somebody else");
    case -ETIMEDOUT:
        return err_say(ETIMEDOUT, "whoever holds the read-write lock did not let go before the deadline");
    case -ENOTRECOVERABLE:
        return err_say(ENOTRECOVERABLE,
                       "the read-write lock was given up: who wrote died, and what it guards could not be repaired");
    default:
        return rc;
    }
}

static void await(const struct rwlock *l, const struct party *me, enum slip_kind kind, const void *site) {
    struct slip_wait wait = {.tag = kind == SLIP_SHARE ? share_of(l->tag) : l->tag,
                             .object = (uint64_t)(uintptr_t)l,
                             .site = (uint64_t)(uintptr_t)site,
                             .whom = atomic_peek(&l->word) & PARTY_ID,
                             .since = clock_now(),
                             .kind = kind,
                             .gives_up = (l->flags & THIRL_LOCK_DEADLOCK) != 0};
    slip_await(me->slip, &wait);
}

/* A slice is over: -ETIMEDOUT, or -EDEADLK with the circle as a sentence. */
static int look_around(const struct rwlock *l, const struct party *me) {
    int rc = (l->flags & THIRL_LOCK_DEADLOCK) != 0 ? order_circle(me) : 0;
    return rc == 0 ? -ETIMEDOUT : rc;
}

/* Lines up for the word, slice by slice. */
static int line_up(struct rwlock *l, const struct party *me, int64_t until, enum slip_kind kind, const void *site) {
    int64_t now = clock_now();
    int rc;
    await(l, me, kind, site);
    weave("rwlock.wait.listed");
    do {
        int64_t slice = owner_slice(now, until);
        rc = kind == SLIP_SHARE ? owner_pass(&l->word, me, slice) : owner_take(&l->word, NULL, me, slice);
        rc = rc == -ETIMEDOUT ? look_around(l, me) : rc;
        now = rc == -ETIMEDOUT ? clock_now() : now;
    } while (rc == -ETIMEDOUT && now < until);
    slip_waited(me->slip);
    return rc;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

static void leave(struct rwlock *l) {
    uint64_t before = atomic_total_add(&l->shares, SHARE_OUT); /* pairs with the load of the writer that waits for it */
    weave("rwlock.leave.between");
    if ((uint32_t)before == 1 && unlikely(writes(atomic_total_load(&l->word)))) {
        (void)futex_wake(owner_half(&l->shares), 1);
    }
}

/* Gets in unless there is a writer: 0, THIRL_OWNER_DIED, -ENOTRECOVERABLE, or -EAGAIN. */
static int enter(struct rwlock *l) {
    uint64_t word = atomic_load(&l->word); /* pairs with the release of who wrote */
    while (!writes(word)) {
        if ((word & OWNER_CONDEMNED) != 0) {
            return -ENOTRECOVERABLE;
        }
        (void)atomic_total_add(&l->shares, SHARE_IN);
        weave("rwlock.enter.between");
        word = atomic_total_load(&l->word);
        if (!writes(word) && (word & OWNER_CONDEMNED) == 0) {
            return (word & OWNER_DIED) != 0 ? THIRL_OWNER_DIED : 0;
        }
        leave(l);
        word = atomic_load(&l->word);
    }
    return -EAGAIN;
}

/* In its turn among those who want the word: whoever has it keeps writers out, but other readers get in. */
static int pass(struct rwlock *l, const struct party *me, int rc, const void *site) {
    weave("rwlock.pass.before");
    slip_hold(me->slip, share_of(l->tag), l, site);
    (void)atomic_total_add(&l->shares, SHARE_IN);
    weave("rwlock.pass.between");
    owner_give(&l->word, me);
    weave("rwlock.pass.after");
    return rc;
}

static int no_place(void) {
    return err_say(ENOLCK,
                   "this thread holds %d locks already, or has no list of what it holds (too many threads in this "
                   "process): a read lock has to be listed, for it to come back when this process dies",
                   SLIP_HOLDS);
}

/* Everything but the first try. It is listed already when listed says so. */
__attribute__((noinline)) static int read_slowly(struct rwlock *l, int64_t until, const void *site, bool listed) {
    if (is_none(l)) {
        return refuse();
    }
    int rc = party_join();
    if (rc != 0) {
        return rc;
    }
    const struct party *me = party_me();
    uint64_t share = share_of(l->tag);
    if (is_mine(l, me)) {
        if (listed) slip_drop(me->slip, share);
        return err_say(EDEADLK, "this thread has the read-write lock for writing");
    }
    if (!listed) {
        if (atomic_peek(&me->slip->held) >= SLIP_HOLDS) return no_place();
        list(me, l, share, until, site);
    }
    if (slip_listed(me->slip, share) > 1) { /* no writer is in, and one that waits would wait for this thread */
        (void)atomic_total_add(&l->shares, SHARE_IN);
        return (atomic_load(&l->word) & OWNER_DIED) != 0 ? THIRL_OWNER_DIED : 0;
    }
    until = owner_until(until);
    rc = enter(l);
    for (int i = 0; i < OWNER_SPINS && until != 0 && rc == -EAGAIN; i++) {
        atomic_pause();
        rc = enter(l);
    }
    if (rc != -EAGAIN) {
        if (rc < 0) slip_drop(me->slip, share);
        return say(rc);
    }
    slip_drop(me->slip, share); /* while it waits it holds nothing, and is not to be counted */
    rc = until == 0 ? owner_pass(&l->word, me, 0) : line_up(l, me, until, SLIP_SHARE, site);
    return rc < 0 ? say(rc) : pass(l, me, rc, site);
}

int rwlock_read(struct rwlock *l, int64_t until, const void *site) {
    const struct party *me = party_me();
    if (unlikely(me == NULL || is_none(l) || atomic_peek(&me->slip->held) >= SLIP_HOLDS)) {
        return read_slowly(l, until, site, false);
    }
    list(me, l, share_of(l->tag), until, site);
    weave("rwlock.read.listed");
    if (likely(atomic_peek(&l->word) == 0)) {
        (void)atomic_total_add(&l->shares, SHARE_IN); /* pairs with the look of a writer that has the word */
        weave("rwlock.read.shared");
        if (likely(atomic_total_load(&l->word) == 0)) { /* pairs with the release of who wrote */
            return 0;
        }
        leave(l);
    }
    return read_slowly(l, until, site, true);
}

int thirl_rwlock_read(thirl_rwlock *lock, thirl_time until) {
    return rwlock_read(inside(lock), until.ns, __builtin_return_address(0));
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

static bool is_free(struct rwlock *l) {
    return (uint32_t)atomic_total_load(&l->shares) == 0; /* pairs with the changes of readers */
}

/* With the word: tries for a moment, and looks for the dead now and then. */
static bool drained_soon(struct rwlock *l, bool tries) {
    (void)atomic_total_add(&l->shares, CHANGE); /* whoever comes later sees the word, however it was taken */
    for (int i = 0; i < OWNER_SPINS && !is_free(l); i++) {
        atomic_pause();
    }
    if (tries && !is_free(l) && clock_now() - atomic_peek(&l->counted) >= OWNER_SLICE_NS) {
        count_anew(l);
    }
    return is_free(l);
}

/* With the word: waits until the last reader is out. */
static int drain(struct rwlock *l, const struct party *me, int64_t until, const void *site) {
    int rc = -EAGAIN;
    await(l, me, SLIP_RWLOCK, site);
    weave("rwlock.drain.listed");
    while (rc == -EAGAIN) {
        uint64_t shares = atomic_total_load(&l->shares);
        int64_t now = clock_now();
        if ((uint32_t)shares == 0) {
            rc = 0;
        } else if (now >= until) {
            rc = -ETIMEDOUT;
        } else {
            weave("rwlock.drain.asleep");
            int slept = futex_wait(owner_half(&l->shares), (uint32_t)shares, owner_slice(now, until));
            weave("rwlock.drain.awake");
            if (slept == -ETIMEDOUT) {
                count_anew(l);
                rc = look_around(l, me) == -EDEADLK && !is_free(l) ? -EDEADLK : -EAGAIN;
            }
        }
    }
    slip_waited(me->slip);
    if (rc == -ETIMEDOUT && clock_now() - atomic_peek(&l->counted) >= OWNER_SLICE_NS) {
        count_anew(l); /* many who wait for less than a slice find the dead, too */
        rc = is_free(l) ? 0 : rc;
    }
    return rc;
}

/* Everything but the first try. It is listed already, and the word is its own already, when these say so. */
__attribute__((noinline)) static int write_slowly(struct rwlock *l, int64_t until, const void *site, bool listed,
                                                  bool owns) {
    if (is_none(l)) {
        return refuse();
    }
    int rc = party_join();
    if (rc != 0) {
        return rc;
    }
    const struct party *me = party_me();
    bool again = !owns && is_mine(l, me), reads = slip_listed(me->slip, share_of(l->tag)) != 0;
    if (!again && !reads) {
        until = owner_until(until);
        if (!listed) list(me, l, l->tag, until, site);
        rc = owns ? 0 : until == 0 ? owner_take(&l->word, NULL, me, 0) : owner_spin(&l->word, me);
        rc = rc == -EAGAIN && until != 0 ? line_up(l, me, until, SLIP_RWLOCK, site) : rc;
        int late = rc < 0 || drained_soon(l, until == 0) ? 0 : until == 0 ? -EAGAIN : drain(l, me, until, site);
        if (rc >= 0 && late == 0) {
            atomic_poke(&l->thread, me->number);
            weave("rwlock.write.slowly");
            return rc;
        }
        owns = rc >= 0;
        rc = rc >= 0 ? late : rc;
        listed = true;
    }
    if (owns) owner_give(&l->word, me);
    weave("rwlock.write.gave");
    if (listed) slip_drop(me->slip, l->tag);
    return again   ? err_say(EDEADLK, "this thread has the read-write lock for writing already")
           : reads ? err_say(EDEADLK, "this thread has the read-write lock for reading, and would wait for itself")
                   : say(rc);
}

int rwlock_write(struct rwlock *l, int64_t until, const void *site) {
    const struct party *me = party_me();
    if (unlikely(me == NULL || is_none(l))) {
        return write_slowly(l, until, site, false, false);
    }
    list(me, l, l->tag, until, site);
    weave("rwlock.write.listed");
    uint64_t nobody = 0;
    if (unlikely(!atomic_total_cas(&l->word, &nobody, me->id))) { /* pairs with the release in owner_give */
        return write_slowly(l, until, site, true, false);
    }
    weave("rwlock.write.taken");
    if (unlikely(!is_free(l))) {
        return write_slowly(l, until, site, true, true);
    }
    atomic_poke(&l->thread, me->number);
    weave("rwlock.write.named");
    return 0;
}

int thirl_rwlock_write(thirl_rwlock *lock, thirl_time until) {
    return rwlock_write(inside(lock), until.ns, __builtin_return_address(0));
}

/* ---- letting go ------------------------------------------------------------------------------------------------------- */

static int not_mine(const struct rwlock *l, const char *how) {
    return is_none(l) ? refuse() : err_say(EPERM, "this thread does not hold the read-write lock%s", how);
}

int thirl_rwlock_unlock(thirl_rwlock *lock) {
    struct rwlock *l = inside(lock);
    const struct party *me = party_me();
    if (unlikely(me == NULL || is_none(l))) {
        return not_mine(l, "");
    }
    if (is_mine(l, me)) {
        atomic_poke(&l->thread, 0u);
        weave("rwlock.unlock.before");
        owner_give(&l->word, me);
        weave("rwlock.unlock.after");
        slip_drop(me->slip, l->tag);
        return 0;
    }
    uint64_t share = share_of(l->tag);
    if (unlikely(slip_listed(me->slip, share) == 0)) {
        return not_mine(l, "");
    }
    leave(l);
    weave("rwlock.unlock.left");
    slip_drop(me->slip, share);
    return 0;
}

int thirl_rwlock_mend(thirl_rwlock *lock) {
    struct rwlock *l = inside(lock);
    const struct party *me = party_me();
    if (me == NULL || is_none(l) || !is_mine(l, me)) {
        return not_mine(l, " for writing");
    }
    owner_mend(&l->word);
    return 0;
}

int thirl_rwlock_condemn(thirl_rwlock *lock) {
    struct rwlock *l = inside(lock);
    const struct party *me = party_me();
    if (me == NULL || is_none(l) || !is_mine(l, me)) {
        return not_mine(l, " for writing");
    }
    atomic_poke(&l->thread, 0u);
    owner_condemn(&l->word);
    slip_drop(me->slip, l->tag);
    return 0;
}
