/* SPDX-License-Identifier: MIT
 *
 * The mutex. Its way without contention: list it, one compare-and-swap, and back with plain stores; nothing else is called.
 */
#include "sync/mutex.h"

#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "sync/order.h"
#include "sync/rank.h"

#define FLAGS (THIRL_LOCK_RECURSIVE | THIRL_LOCK_INHERIT | THIRL_LOCK_DEADLOCK)
#define DEPTH_MAX UINT32_MAX

_Static_assert(sizeof(struct mutex) <= sizeof(thirl_mutex), "the public struct has room for it");

static struct mutex *inside(thirl_mutex *mutex) {
    return (struct mutex *)(void *)mutex;
}

static int refuse(void) {
    return err_say(EINVAL, "that is no mutex: thirl_mutex_init makes one");
}

bool mutex_mine(const struct mutex *m, const struct party *me) {
    bool inherits = (atomic_peek(&m->flags) & THIRL_LOCK_INHERIT) != 0;
    return atomic_peek(&m->thread) == me->number &&
           (inherits ? (atomic_peek(&m->holder) & PARTY_ID) == me->id : owner_is(&m->word, me));
}

bool mutex_orphaned(const struct mutex *m) {
    bool inherits = (atomic_peek(&m->flags) & THIRL_LOCK_INHERIT) != 0;
    uint64_t owner = atomic_load(inherits ? &m->holder : &m->word) & PARTY_ID;
    if (inherits && owner == 0) {
        return atomic_peek(&m->futex) !=
               0; /* it was killed before it said which process it is, or is about to say it */
    }
    return owner != 0 && !party_alive(owner);
}

int thirl_mutex_init(thirl_mutex *mutex, uint32_t flags) {
    if (mutex == NULL || (flags & ~(uint32_t)FLAGS) != 0) {
        return err_say(EINVAL, "a mutex has the flags RECURSIVE, INHERIT and DEADLOCK, not %#x", flags);
    }
    struct mutex *m = inside(mutex);
    *m = (struct mutex){.flags = flags};
    if ((flags & THIRL_LOCK_INHERIT) != 0) {
        struct proc self;
        proc_self(&self);
        m->pid_space = self.pid_space;
        m->word = OWNER_OTHERWISE;
    }
    atomic_store(&m->tag, party_tag(SLIP_MUTEX));
    return 0;
}

int thirl_mutex_deinit(thirl_mutex *mutex) {
    struct mutex *m = inside(mutex);
    if (m == NULL || atomic_peek(&m->tag) == 0) {
        return refuse();
    }
    int rc = party_join();
    if (rc != 0) {
        return rc;
    }
    bool inherits = (m->flags & THIRL_LOCK_INHERIT) != 0;
    uint64_t owner = atomic_load(inherits ? &m->holder : &m->word) & PARTY_ID;
    if (owner != 0 && party_alive(owner)) {
        return err_say(EBUSY, "a process that is alive holds the mutex");
    }
    *m = (struct mutex){.tag = 0};
    return 0;
}

/* Sleeps until it has it. What it waits for is left for others to see, and once in a slice it looks whether it waits for itself. */
static int wait_for(struct mutex *m, const struct party *me, int64_t until, const void *site) {
    struct slip_wait wait = {.tag = m->tag,
                             .object = (uint64_t)(uintptr_t)m,
                             .site = (uint64_t)(uintptr_t)site,
                             .whom = atomic_peek(&m->word) & PARTY_ID,
                             .since = clock_now(),
                             .kind = SLIP_MUTEX,
                             .gives_up = (m->flags & THIRL_LOCK_DEADLOCK) != 0};
    int64_t now = wait.since;
    slip_await(me->slip, &wait);
    weave("mutex.wait.listed");
    int rc;
    do {
        int64_t slice = owner_slice(now, until);
        rc = (m->flags & THIRL_LOCK_INHERIT) != 0 ? urgent_take(m, me, slice)
                                                  : owner_take(&m->word, &m->crowd, me, slice);
        if (rc == -ETIMEDOUT && wait.gives_up) {
            rc = order_circle(me);
            rc = rc == 0 ? -ETIMEDOUT : rc;
        }
        now = rc == -ETIMEDOUT ? clock_now() : now;
    } while (rc == -ETIMEDOUT && now < until);
    slip_waited(me->slip);
    return rc;
}

/* The calling thread has it already. */
static int again(struct mutex *m) {
    if ((m->flags & THIRL_LOCK_RECURSIVE) == 0) {
        return err_say(EDEADLK, "this thread holds the mutex already, and it is not a recursive one");
    }
    if (m->depth == DEPTH_MAX) {
        return err_say(EAGAIN, "the mutex was taken %u times without letting go", DEPTH_MAX);
    }
    m->depth++;
    return 0;
}

static int say(int rc) {
    switch (rc) {
    case -EAGAIN:
        return err_say(EAGAIN, "the mutex is held by somebody else");
    case -ETIMEDOUT:
        return err_say(ETIMEDOUT, "whoever holds the mutex did not let go before the deadline");
    case -ENOTRECOVERABLE:
        return err_say(ENOTRECOVERABLE,
                       "the mutex was given up: its owner died, and what it guards could not be repaired");
    default:
        return rc;
    }
}

/* Everything but the first try. It is listed already when listed says so. */
__attribute__((noinline)) static int lock_slowly(struct mutex *m, int64_t until, const void *site, bool listed) {
    if (m == NULL || atomic_peek(&m->tag) == 0) {
        return refuse();
    }
    int rc = party_join();
    if (rc != 0) {
        return rc;
    }
    const struct party *me = party_me();
    if (mutex_mine(m, me)) {
        if (listed) slip_drop(me->slip, m->tag);
        return again(m);
    }
    if (!listed) {
        if (slip_hold(me->slip, m->tag, m, site) != 0 && until != 0) {
            rank_note(me);
        }
    }
    until = owner_until(until);
    bool inherits = (m->flags & THIRL_LOCK_INHERIT) != 0;
    rc = inherits     ? urgent_take(m, me, 0)
         : until == 0 ? owner_take(&m->word, &m->crowd, me, 0)
                      : owner_spin(&m->word, me);
    if (rc == -EAGAIN && until != 0) {
        rc = wait_for(m, me, until, site);
    }
    if (rc < 0) {
        slip_drop(me->slip, m->tag);
        return say(rc);
    }
    if (rc == THIRL_OWNER_DIED) {
        (void)atomic_add(&m->deaths,
                         1u); /* those who wait for what it guards look again: pairs with the load in cond.c */
    }
    m->depth = 0;
    atomic_poke(&m->thread, me->number);
    weave("mutex.lock.slowly");
    return rc;
}

/* It is listed: the first try. */
static inline int lock_listed(struct mutex *m, const struct party *me, int64_t until, const void *site) {
    weave("mutex.lock.listed");
    if (unlikely(!owner_try(&m->word, me))) {
        return lock_slowly(m, until, site, true);
    }
    weave("mutex.lock.taken");
    atomic_poke(&m->thread, me->number);
    weave("mutex.lock.named");
    return 0;
}

/* The thread holds something else. */
__attribute__((noinline)) static int lock_another(struct mutex *m, int64_t until, const void *site) {
    const struct party *me = party_me();
    slip_hold(me->slip, m->tag, m, site);
    if (until != 0) {
        rank_note(me);
    }
    return lock_listed(m, me, until, site);
}

int mutex_lock(struct mutex *m, int64_t until, const void *site) {
    const struct party *me = party_me();
    if (unlikely(me == NULL || m == NULL)) {
        return lock_slowly(m, until, site, false);
    }
    uint64_t tag = m->tag;
    if (unlikely(tag == 0)) {
        return refuse();
    }
    return likely(slip_hold_first(me->slip, tag, m, site)) ? lock_listed(m, me, until, site)
                                                           : lock_another(m, until, site);
}

int thirl_mutex_lock(thirl_mutex *mutex, thirl_time until) {
    return mutex_lock(inside(mutex), until.ns, __builtin_return_address(0));
}

static int not_mine(const struct mutex *m) {
    return m == NULL || atomic_peek(&m->tag) == 0 ? refuse() : err_say(EPERM, "this thread does not hold the mutex");
}

static inline void let_go(struct mutex *m, const struct party *me, bool alone, uint32_t quiet) {
    atomic_poke(&m->thread, 0u);
    weave("mutex.unlock.before");
    if (likely(alone)) {
        owner_leave(&m->word, &m->crowd, quiet);
    } else if ((m->flags & THIRL_LOCK_INHERIT) != 0) {
        urgent_give(m, me);
    } else {
        owner_release_slowly(&m->word, &m->crowd, me);
    }
    weave("mutex.unlock.after");
    slip_drop(me->slip, m->tag);
}

void mutex_give(struct mutex *m, const struct party *me) {
    uint32_t quiet;
    bool alone = owner_alone(&m->word, &m->crowd, me, &quiet); /* one that inherits never is: its word is another */
    let_go(m, me, alone, quiet);
}

static __attribute__((noinline)) int unlock_slowly(struct mutex *m) {
    const struct party *me = party_me();
    if (me == NULL || m == NULL || !mutex_mine(m, me)) {
        return not_mine(m);
    }
    if (m->depth != 0) {
        m->depth--;
        return 0;
    }
    mutex_give(m, me);
    return 0;
}

int thirl_mutex_unlock(thirl_mutex *mutex) {
    struct mutex *m = inside(mutex);
    const struct party *me = party_me();
    uint32_t quiet;
    if (unlikely(me == NULL || m == NULL || atomic_peek(&m->thread) != me->number || m->depth != 0 ||
                 !owner_alone(&m->word, &m->crowd, me, &quiet))) {
        return unlock_slowly(m);
    }
    let_go(m, me, true, quiet);
    return 0;
}

int thirl_mutex_mend(thirl_mutex *mutex) {
    struct mutex *m = inside(mutex);
    const struct party *me = party_me();
    if (me == NULL || m == NULL || !mutex_mine(m, me)) {
        return not_mine(m);
    }
    owner_mend(&m->word);
    return 0;
}

int thirl_mutex_condemn(thirl_mutex *mutex) {
    struct mutex *m = inside(mutex);
    const struct party *me = party_me();
    if (me == NULL || m == NULL || !mutex_mine(m, me)) {
        return not_mine(m);
    }
    if ((m->flags & THIRL_LOCK_INHERIT) != 0) {
        (void)atomic_or(&m->word, OWNER_CONDEMNED);
        mutex_give(m, me);
        return 0;
    }
    atomic_poke(&m->thread, 0u);
    owner_condemn(&m->word);
    slip_drop(me->slip, m->tag);
    return 0;
}
