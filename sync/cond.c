/* SPDX-License-Identifier: MIT
 *
 * The condition variable. A signal without anybody who waits is one load; everything else sleeps or makes a system call anyway.
 */
#include "sync/cond.h"

#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "sync/order.h"

#define WAITED (UINT64_C(1) << 32)
#define ARRIVAL (UINT64_C(1) << 33)
#define ARRIVALS (UINT64_C(0x7fff) << 33)
#define DUE_AT 48
#define DUE (UINT64_C(0xffff) << DUE_AT)

_Static_assert(sizeof(struct cond) <= sizeof(thirl_cond), "the public struct has room for it");

/* What a thread remembers while it waits. */
struct seen {
    uint64_t tag;
    uint32_t turn, all, deaths;
};

static struct cond *inside(thirl_cond *cond) {
    return (struct cond *)(void *)cond;
}

static int refuse(void) {
    return err_say(EINVAL, "that is no condition variable: thirl_cond_init makes one");
}

static bool is_none(const struct cond *c) {
    return c == NULL || atomic_peek(&c->tag) == 0;
}

int thirl_cond_init(thirl_cond *cond, uint32_t flags) {
    if (cond == NULL || flags != 0) {
        return err_say(EINVAL, "a condition variable has no flags, so 0 and not %#x", flags);
    }
    struct cond *c = inside(cond);
    *c = (struct cond){.word = 0};
    atomic_store(&c->tag, party_tag(SLIP_COND));
    return 0;
}

/* The live threads that wait, by their slips; negative: they could not be looked at. */
static int count_waiters(const struct cond *c) {
    struct knot graph = {.all = false};
    int rc = order_look(&graph), waiters = 0;
    for (unsigned i = 0; i < graph.count; i++) {
        const struct slip *slip = &graph.thread[i].slip;
        waiters +=
            graph.process[graph.thread[i].process].alive && slip->wait.kind == SLIP_COND && slip->wait.tag == c->tag;
    }
    knot_free(&graph);
    return rc < 0 ? rc : waiters;
}

int thirl_cond_deinit(thirl_cond *cond) {
    struct cond *c = inside(cond);
    if (is_none(c)) {
        return refuse();
    }
    int waiters = count_waiters(c);
    if (waiters != 0) {
        return waiters < 0 ? waiters
                           : err_say(EBUSY, "threads that are alive wait for the condition variable: %d", waiters);
    }
    *c = (struct cond){.tag = 0};
    return 0;
}

static uint64_t next_turn(uint64_t word) {
    return (word & ~UINT64_C(0xffffffff)) | (uint32_t)(word + 1);
}

/* Says that somebody waits; the turn then. The arrival is counted so that who is about to clear WAITED finds another word. */
static uint32_t arrive(struct cond *c) {
    uint64_t word = atomic_load(&c->word), next;
    do {
        next = (word & ~ARRIVALS) | ((word + ARRIVAL) & ARRIVALS) | WAITED;
    } while (!atomic_cas(&c->word, &word, next)); /* pairs with the load in thirl_cond_signal */
    return (uint32_t)next;
}

/* Ought it to look at what it waits for, though nobody has woken it? If not, it has seen all turns so far: whoever they were due to looks. */
static bool ought(const struct cond *c, const struct mutex *m, struct seen *seen) {
    uint64_t word = atomic_load(&c->word); /* pairs with the cas of whoever signals */
    bool passed_over = (uint32_t)word != seen->turn && (word & DUE) != 0;
    if (passed_over || (word & WAITED) == 0 || atomic_load(&c->all) != seen->all ||
        atomic_load(&m->deaths) != seen->deaths || atomic_load(&c->tag) != seen->tag) {
        return true;
    }
    seen->turn = (uint32_t)word;
    return false;
}

/* Without the mutex: 0 it was woken, or a turn was over before it slept; -EAGAIN it ought to look; -ETIMEDOUT. */
static int rest(const struct cond *c, const struct mutex *m, struct seen *seen, int64_t until) {
    for (;;) {
        int64_t now = clock_now();
        if (now >= until) {
            return -ETIMEDOUT;
        }
        weave("cond.wait.asleep");
        int rc = futex_wait(owner_half(&c->word), seen->turn, owner_slice(now, until));
        weave("cond.wait.awake");
        if (rc == 0 || rc == -EAGAIN) {
            return 0;
        }
        if (ought(c, m, seen) || mutex_orphaned(m)) {
            return -EAGAIN;
        }
    }
}

/* With the mutex again: uses up a wake-up that was due since it came. */
static void use(struct cond *c, const struct seen *seen) {
    uint64_t word = atomic_load(&c->word);
    while ((uint32_t)word != seen->turn && (word & DUE) != 0 &&
           !atomic_cas(&c->word, &word, word - (UINT64_C(1) << DUE_AT))) {}
}

/* One wait: leaves the mutex, and comes back with it. -EAGAIN: for nothing. */
static int wait_once(struct cond *c, struct mutex *m, const struct party *me, struct seen *seen,
                     const struct slip_wait *wait, int64_t until, int *told) {
    slip_await(me->slip, wait);
    weave("cond.wait.listed");
    mutex_give(m, me);
    weave("cond.wait.gone");
    int rc = rest(c, m, seen, until);
    slip_waited(me->slip);
    weave("cond.wait.back");
    *told = mutex_lock(m, INT64_MAX, (const void *)(uintptr_t)wait->site);
    if (*told < 0) {
        return *told;
    }
    weave("cond.wait.held");
    if (rc != 0) {
        rc = ought(c, m, seen) ? 0 : rc; /* of a death that it was told of, too: it has counted that itself */
    }
    return rc;
}

static int check(const struct cond *c, const struct mutex *m, const struct party *me) {
    if (is_none(c)) {
        return refuse();
    }
    if (me == NULL || m == NULL || atomic_peek(&m->tag) == 0 || !mutex_mine(m, me)) {
        return err_say(EPERM, "this thread does not hold the mutex that it would let go of while it waits");
    }
    if (m->depth != 0) {
        return err_say(EBUSY,
                       "this thread has taken the mutex %u times, and would keep it while it waits: let go first",
                       m->depth + 1);
    }
    return 0;
}

int cond_wait(struct cond *c, struct mutex *m, int64_t until, const void *site) {
    const struct party *me = party_me();
    int rc = check(c, m, me), told = 0;
    if (rc != 0) {
        return rc;
    }
    bool tries = until == 0;
    until = owner_until(until);
    struct seen seen = {.tag = c->tag, .all = atomic_load(&c->all), .deaths = atomic_load(&m->deaths)};
    struct slip_wait wait = {.tag = seen.tag,
                             .object = (uint64_t)(uintptr_t)c,
                             .site = (uint64_t)(uintptr_t)site,
                             .since = clock_now(),
                             .kind = SLIP_COND};
    seen.turn = arrive(c);
    weave("cond.wait.counted");
    while ((rc = wait_once(c, m, me, &seen, &wait, until, &told)) == -EAGAIN) {
        (void)arrive(c); /* its turn stays the one that it saw: a signal may have come since */
    }
    if (told < 0) {
        return told;
    }
    if (atomic_load(&c->tag) != seen.tag) {
        return refuse();
    }
    use(c, &seen);
    weave("cond.wait.used");
    if (told == THIRL_OWNER_DIED || rc == 0) {
        return told;
    }
    return tries ? err_say(EAGAIN, "nobody has signalled") : err_say(ETIMEDOUT, "nobody signalled before the deadline");
}

int thirl_cond_wait(thirl_cond *cond, thirl_mutex *mutex, thirl_time until) {
    return cond_wait(inside(cond), (struct mutex *)(void *)mutex, until.ns, __builtin_return_address(0));
}

/* Nobody slept when it was signalled: whoever is awake looks anyway, so nothing is due, and the next signal is for those who come now. */
static void clear(struct cond *c, uint64_t word) {
    weave("cond.signal.nobody");
    (void)atomic_add(&c->all, 1u); /* first: one who was about to sleep again, and would, is told by this */
    weave("cond.signal.all");
    (void)atomic_cas(&c->word, &word, word & ~(WAITED | DUE)); /* fails: somebody has come, or used it */
    weave("cond.signal.cleared");
}

__attribute__((noinline)) static int signal_one(struct cond *c, uint64_t word) {
    uint64_t next;
    weave("cond.signal.before");
    do {
        if ((word & WAITED) == 0) {
            return 0;
        }
        next = next_turn(word) + ((word & DUE) == DUE ? 0 : UINT64_C(1) << DUE_AT);
    } while (!atomic_cas(&c->word, &word, next)); /* pairs with the loads of those who wait */
    weave("cond.signal.between");
    if (futex_wake(owner_half(&c->word), 1) <= 0) {
        clear(c, next);
    }
    weave("cond.signal.after");
    return 0;
}

int thirl_cond_signal(thirl_cond *cond) {
    struct cond *c = inside(cond);
    if (unlikely(is_none(c))) {
        return refuse();
    }
    uint64_t word = atomic_load(&c->word); /* pairs with the cas in arrive, by way of the mutex */
    return likely((word & WAITED) == 0) ? 0 : signal_one(c, word);
}

int thirl_cond_broadcast(thirl_cond *cond) {
    struct cond *c = inside(cond);
    if (is_none(c)) {
        return refuse();
    }
    uint64_t word = atomic_load(&c->word); /* likewise */
    if ((word & WAITED) == 0) {
        return 0;
    }
    weave("cond.broadcast.before");
    (void)atomic_add(&c->all, 1u); /* first: if this process dies behind it, those who sleep find it */
    weave("cond.broadcast.all");
    while (!atomic_cas(&c->word, &word, next_turn(word) & ~(WAITED | DUE))) continue;
    weave("cond.broadcast.between");
    (void)futex_wake(owner_half(&c->word), INT32_MAX);
    weave("cond.broadcast.after");
    return 0;
}
