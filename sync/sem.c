/* SPDX-License-Identifier: MIT
 *
 * The semaphore. Everything that is read from it is read once and bounded: whoever shares the memory may have written anything there.
 */
#include "sync/sem.h"

#include <errno.h>

#include "base/err.h"
#include "sync/order.h"
#include "sync/rank.h"
#include "sync/token.h"

_Static_assert(sizeof(struct sem) == sizeof(thirl_sem), "the public struct is it");
_Static_assert(THIRL_SEM_COUNT_MAX == TOKEN_MAX, "as far as the word counts");

static struct sem *inside(thirl_sem *sem) {
    return (struct sem *)(void *)sem;
}

static int refuse(void) {
    return err_say(EINVAL, "that is no semaphore: thirl_sem_init makes one");
}

static bool counts(const struct sem *s) {
    return (atomic_peek(&s->flags) & THIRL_LOCK_COUNTING) != 0;
}

static uint32_t permits_of(const struct sem *s) {
    uint32_t permits = atomic_peek(&s->permits);
    return permits < THIRL_SEM_PERMITS_MAX ? permits : THIRL_SEM_PERMITS_MAX;
}

/* What stands in the word of a permit that the calling thread has taken. */
static uint64_t mark(const struct party *me) {
    return me->id | (me->number & ~PARTY_ID);
}

int thirl_sem_init(thirl_sem *sem, uint32_t permits, uint32_t flags) {
    if (sem == NULL || (flags != THIRL_LOCK_COUNTING && (flags & ~(uint32_t)THIRL_LOCK_DEADLOCK) != 0)) {
        return err_say(EINVAL, "a semaphore has the flag COUNTING or DEADLOCK, not %#x", flags);
    }
    bool counting = flags == THIRL_LOCK_COUNTING;
    if (counting ? permits > TOKEN_MAX : permits == 0 || permits > THIRL_SEM_PERMITS_MAX) {
        return counting ? err_say(EINVAL, "a semaphore counts to %u at most, not to %u", TOKEN_MAX, permits)
                        : err_say(EINVAL,
                                  "a semaphore has 1 to %d permits that come back from the dead, not %u; with "
                                  "THIRL_LOCK_COUNTING it counts as far as %u",
                                  THIRL_SEM_PERMITS_MAX, permits, TOKEN_MAX);
    }
    struct sem *s = inside(sem);
    *s = (struct sem){.word = counting ? permits * TOKEN_ONE : 0, .flags = flags, .permits = permits};
    atomic_store(&s->tag, party_tag(SLIP_SEM));
    return 0;
}

int thirl_sem_deinit(thirl_sem *sem) {
    struct sem *s = inside(sem);
    if (s == NULL || !rest_is(&s->tag, SLIP_SEM)) {
        return refuse();
    }
    int rc = party_join();
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; !counts(s) && i < permits_of(s); i++) {
        uint64_t holder = atomic_load(&s->holder[i]) & PARTY_ID;
        if (holder != 0 && party_alive(holder)) {
            return err_say(EBUSY, "a process that is alive holds a permit of the semaphore");
        }
    }
    *s = (struct sem){.tag = 0};
    return 0;
}

/* ---- permits that come back -------------------------------------------------------------------------------------- */

/* Takes one that nobody holds. Threads begin at different words, so that they do not all try the same. */
static int grab(struct sem *s, const struct party *me, uint32_t permits) {
    for (uint32_t i = 0; i < permits; i++) {
        uint64_t *holder = &s->holder[(me->number + i) % permits], nobody = 0;
        if (atomic_load(holder) != 0) { /* pairs with give */
            continue;
        }
        weave("sem.take.before");
        if (atomic_cas(holder, &nobody, mark(me))) { /* pairs with give */
            weave("sem.take.after");
            return 0;
        }
    }
    return -EAGAIN;
}

/* Takes one that a dead process holds. */
static int inherit(struct sem *s, const struct party *me, uint32_t permits) {
    for (uint32_t i = 0; i < permits; i++) {
        uint64_t seen = atomic_load(&s->holder[i]);
        if ((seen & PARTY_ID) == 0 || party_alive(seen & PARTY_ID)) {
            continue;
        }
        weave("sem.inherit.before");
        if (atomic_cas(&s->holder[i], &seen, mark(me))) {
            weave("sem.inherit.after");
            return THIRL_OWNER_DIED;
        }
    }
    return -EAGAIN;
}

static int attempt(struct sem *s, const struct party *me, uint32_t permits) {
    int rc = grab(s, me, permits);
    return rc == -EAGAIN ? inherit(s, me, permits) : rc;
}

/* Says that somebody waits; what the word is then. */
static uint64_t arm(struct sem *s) {
    uint64_t seen = atomic_load(&s->word);
    weave("sem.wait.before");
    while ((seen & SEM_WAITERS) == 0 && !atomic_cas(&s->word, &seen, seen | SEM_WAITERS)) continue;
    atomic_fence(); /* pairs with the one in give: it sees WAITERS, or we see its permit */
    return seen | SEM_WAITERS;
}

static void await(const struct sem *s, const struct party *me, uint32_t permits, const void *site) {
    const struct slip_wait wait = {.tag = s->tag,
                                   .object = (uint64_t)(uintptr_t)s,
                                   .site = (uint64_t)(uintptr_t)site,
                                   .whom = permits,
                                   .since = clock_now(),
                                   .kind = SLIP_SEM,
                                   .gives_up = (s->flags & THIRL_LOCK_DEADLOCK) != 0};
    slip_await(me->slip, &wait);
}

/* A slice is over: whose permit is there to inherit? -EDEADLK: none, and this thread waits in a circle. */
static int look_around(struct sem *s, const struct party *me, uint32_t permits) {
    int rc = inherit(s, me, permits);
    int circle = rc == -EAGAIN && (s->flags & THIRL_LOCK_DEADLOCK) != 0 ? order_circle(me) : 0;
    return circle != 0 ? circle : rc;
}

static int wait_for(struct sem *s, const struct party *me, uint32_t permits, int64_t until) {
    for (;;) {
        uint64_t seen = arm(s);
        int rc = grab(s, me, permits);
        if (rc != -EAGAIN) {
            return rc;
        }
        int64_t now = clock_now();
        if (now >= until) {
            rc = inherit(s, me, permits);
            return rc == -EAGAIN ? -ETIMEDOUT : rc;
        }
        weave("sem.wait.asleep");
        int slept = rest_slice(&s->word, seen, now, until);
        weave("sem.wait.awake");
        rc = slept == -ETIMEDOUT ? look_around(s, me, permits) : -EAGAIN;
        if (rc != -EAGAIN) {
            return rc;
        }
    }
}

/* Permits that other threads of this process have given back are still listed as this one's. */
static void tidy(const struct sem *s, const struct party *me, uint32_t permits) {
    uint32_t listed = me->slip->held <= SLIP_HOLDS ? slip_listed(me->slip, s->tag) : 0, own = 0;
    for (uint32_t i = 0; listed != 0 && i < permits; i++) {
        own += atomic_peek(&s->holder[i]) == mark(me);
    }
    for (; listed > own; listed--) {
        slip_drop(me->slip, s->tag);
    }
}

static int take_permit(struct sem *s, const struct party *me, int64_t until, const void *site) {
    uint32_t permits = permits_of(s);
    tidy(s, me, permits);
    if (slip_hold(me->slip, s->tag, s, site) != 0 && until != 0 && permits == 1) {
        rank_note(me); /* with more of them nobody waits for one holder */
    }
    weave("sem.take.listed");
    int rc = until == 0 ? attempt(s, me, permits) : grab(s, me, permits);
    if (rc == -EAGAIN && until != 0) {
        await(s, me, permits, site);
        rc = wait_for(s, me, permits, until);
        slip_waited(me->slip);
    }
    if (rc < 0) {
        slip_drop(me->slip, s->tag);
    }
    return rc;
}

/* The word of a permit that is this process's: one that this thread has taken, if there is any. */
static uint64_t *find(struct sem *s, const struct party *me, uint32_t permits, uint64_t *seen) {
    uint64_t *any = NULL;
    for (uint32_t i = 0; i < permits; i++) {
        uint64_t *holder = &s->holder[(me->number + i) % permits], value = atomic_peek(holder);
        if (value == mark(me) || (any == NULL && (value & PARTY_ID) == me->id)) {
            any = holder;
            *seen = value;
        }
        if (value == mark(me)) {
            break;
        }
    }
    return any;
}

static void ring(struct sem *s) {
    uint64_t seen = atomic_load(&s->word); /* pairs with arm */
    if ((seen & SEM_WAITERS) == 0) {
        return;
    }
    weave("sem.post.between");
    if (futex_wake(rest_half(&s->word), 1) == 0) {
        weave("sem.post.nobody");
        if (atomic_cas(&s->word, &seen, seen & ~SEM_WAITERS)) {
            (void)futex_wake(rest_half(&s->word), INT32_MAX);
        }
    }
}

static int give(struct sem *s, const struct party *me) {
    uint64_t seen = 0, *holder;
    weave("sem.post.before");
    do {
        holder = find(s, me, permits_of(s), &seen);
        if (holder == NULL) {
            return err_say(EPERM, "this process holds no permit of the semaphore");
        }
    } while (!atomic_cas(holder, &seen, UINT64_C(0))); /* pairs with grab; another thread may have been faster */
    weave("sem.post.freed");
    atomic_fence(); /* pairs with the one in arm */
    ring(s);
    if (seen == mark(me)) {
        slip_drop(me->slip, s->tag);
    }
    weave("sem.post.after");
    return 0;
}

/* ---- both kinds -------------------------------------------------------------------------------------------------- */

static int take_token(struct sem *s, const struct party *me, int64_t until, const void *site) {
    int rc = until == 0 ? token_take(&s->word, 0) : token_spin(&s->word);
    if (rc == -EAGAIN && until != 0) {
        rest_begin(me, s->tag, s, site);
        rc = token_take(&s->word, until);
        slip_waited(me->slip);
    }
    return rc;
}

static int say(const struct sem *s, int rc) {
    switch (rc) {
    case -EAGAIN:
        return counts(s) ? err_say(EAGAIN, "nobody has posted to the semaphore")
                         : err_say(EAGAIN, "all %u permits of the semaphore are held", permits_of(s));
    case -ETIMEDOUT:
        return counts(s)
                   ? err_say(ETIMEDOUT, "nobody posted to the semaphore before the deadline")
                   : err_say(ETIMEDOUT, "all %u permits of the semaphore were held until the deadline", permits_of(s));
    default:
        return rc;
    }
}

int sem_take(struct sem *s, int64_t until, const void *site) {
    if (s == NULL || !rest_is(&s->tag, SLIP_SEM)) {
        return refuse();
    }
    int rc = party_join();
    if (rc != 0) {
        return rc;
    }
    until = owner_until(until);
    rc = counts(s) ? take_token(s, party_me(), until, site) : take_permit(s, party_me(), until, site);
    return say(s, rc);
}

int thirl_sem_wait(thirl_sem *sem, thirl_time until) {
    return sem_take(inside(sem), until.ns, __builtin_return_address(0));
}

int thirl_sem_post(thirl_sem *sem) {
    struct sem *s = inside(sem);
    if (s == NULL || !rest_is(&s->tag, SLIP_SEM)) {
        return refuse();
    }
    if (counts(s)) {
        return token_post(&s->word, TOKEN_MAX) == 0
                   ? 0
                   : err_say(EOVERFLOW, "the semaphore counts to %u, and is there", TOKEN_MAX);
    }
    int rc = party_join();
    return rc != 0 ? rc : give(s, party_me());
}
