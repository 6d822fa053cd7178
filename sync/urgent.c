/* SPDX-License-Identifier: MIT
 *
 * The form of a mutex that lends priority. The kernel does it, and wants a thread's number in a word of its own: so it works within one
 * PID namespace, and the owner word only keeps what became of the mutex.
 *
 * The kernel hands it on when its holder dies while somebody waits, and says so in the word; when nobody waits it answers ESRCH to the
 * next one, unless the number is in use again: then the holder's process, which stands beside, says that it is dead. Whoever finds out
 * takes the number away, and lets the kernel give the mutex to one of all that ask.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "sync/mutex.h"

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif
#define THREAD UINT32_C(0x3fffffff)
#define DIED UINT32_C(0x40000000)

static int belongs_here(const struct mutex *m) {
    static uint64_t here;
    if (atomic_peek(&here) == 0) {
        struct proc self;
        proc_self(&self);
        atomic_poke(&here, self.pid_space);
    }
    return m->pid_space == atomic_peek(&here)
               ? 0
               : err_say(EXDEV,
                         "a mutex that lends priority works in one PID namespace, and this process is in another "
                         "one than its maker");
}

/* The calling thread has it: what the kernel told of the one before goes to where it stays. */
static int settle(struct mutex *m, const struct party *me) {
    if ((atomic_load(&m->futex) & DIED) != 0) {
        (void)atomic_or(&m->word, OWNER_DIED);
        weave("urgent.take.told");
        (void)atomic_and(&m->futex, ~DIED);
    }
    /* pairs with the release in urgent_give, whoever handed it on: the kernel or a cas */
    (void)atomic_swap(&m->holder, me->id | ((uint32_t)me->slip->thread & ~PARTY_ID));
    weave("urgent.take.named");
    uint64_t word = atomic_load(&m->word);
    if ((word & OWNER_CONDEMNED) != 0) {
        urgent_give(m, me);
        return -ENOTRECOVERABLE;
    }
    return (word & OWNER_DIED) != 0 ? THIRL_OWNER_DIED : 0;
}

/* Whoever the word names is dead: it names nobody from here on. Who gets it is left to the kernel, which may be handing it on already: it
 * does not want anybody else to write his own number there. */
static void vacate(struct mutex *m, uint32_t seen) {
    weave("urgent.inherit.before");
    (void)atomic_cas(&m->futex, &seen, DIED);
    weave("urgent.inherit.after");
}

/* The holder's number may be in use again. Its process, which stands beside, counts only with the same number: the kernel hands the mutex
 * to one who has yet to write that down. */
static bool is_left(const struct mutex *m, uint32_t seen) {
    uint64_t holder = atomic_load(&m->holder);
    bool named = holder != 0 && (((uint32_t)holder ^ (seen & THREAD)) & ~PARTY_ID) == 0;
    return (seen & THREAD) != 0 && named && !party_alive(holder & PARTY_ID) && atomic_load(&m->holder) == holder;
}

static int wait_in_kernel(struct mutex *m, int64_t until) {
    if (until != 0) {
        return futex_lend(&m->futex, FUTEX_LOCK_PI2, until);
    }
    int rc = futex_lend(&m->futex, FUTEX_TRYLOCK_PI, INT64_MAX);
    return rc == -EDEADLK ? -EAGAIN : rc;
}

int urgent_take(struct mutex *m, const struct party *me, int64_t until) {
    int rc = belongs_here(m);
    if (rc != 0) {
        return rc;
    }
    uint32_t nobody = 0, own = (uint32_t)me->slip->thread;
    weave("urgent.take.before");
    if (atomic_cas(&m->futex, &nobody, own)) { /* pairs with urgent_give */
        weave("urgent.take.after");
        return settle(m, me);
    }
    for (;;) {
        uint32_t seen = atomic_load(&m->futex);
        rc = wait_in_kernel(m, until);
        weave("urgent.wait.after");
        bool left = false;
        switch (rc) {
        case 0:
            return settle(m, me);
        case -ESRCH: /* of the number that the kernel saw; ours may be another */
            left = proc_ended(seen & THREAD);
            break;
        case -ETIMEDOUT:
        case -EAGAIN:
        case -EINTR:
        case -EINVAL: /* it is being handed on, or was left */
            left = is_left(m, seen);
            break;
        case -EDEADLK: /* it follows the chain of those who wait before it lets one join */
            return err_say(EDEADLK, "waiting in a circle: whoever holds the mutex waits for what this thread holds");
        default:
            return err_system(-rc, "the kernel does not lend priority (FUTEX_LOCK_PI2, Linux 5.14)");
        }
        if (left) {
            vacate(m, seen);
        } else if (rc == -EAGAIN && until == 0) {
            return rc;
        } else if (until != 0 && (rc == -ETIMEDOUT || clock_now() >= until)) {
            return -ETIMEDOUT;
        }
    }
}

void urgent_give(struct mutex *m, const struct party *me) {
    uint32_t own = (uint32_t)me->slip->thread;
    atomic_store(&m->holder, UINT64_C(0));
    weave("urgent.give.before");
    if (!atomic_cas(&m->futex, &own, 0u)) {
        (void)futex_lend(&m->futex, FUTEX_UNLOCK_PI, INT64_MAX);
    }
    weave("urgent.give.after");
}
