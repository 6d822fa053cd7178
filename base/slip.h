/* SPDX-License-Identifier: MIT
 *
 * The slip that a thread leaves for others to see: what it holds, what it waits for, since when and from where in the program.
 * It lies in the file of its own process, which others read: plain stores of the thread that it belongs to, nothing else.
 *
 *     thread                                     whoever reads (a waiter, thirl doctor)
 *     lists what it is about to take             copies the slip
 *     takes it
 *     before it sleeps: what it waits for        an object that is both listed and waited for is not held yet
 *     afterwards: round + 1, nothing             a wait is the same one while its round is
 */
#ifndef BASE_SLIP_H
#define BASE_SLIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

/* What can be held or waited for; the lowest four bits of its tag. */
#define SLIP_KINDS(X)                                                                                                  \
    X(MUTEX, "mutex")                                                                                                  \
    X(SEM, "semaphore")                                                                                                \
    X(EVENT, "event")                                                                                                  \
    X(ONCE, "once")                                                                                                    \
    X(COND, "condition variable")                                                                                      \
    X(RWLOCK, "read-write lock")                                                                                       \
    X(SHARE, "read lock")

enum slip_kind {
    SLIP_NOTHING,
#define SLIP_KIND(name, text) SLIP_##name,
    SLIP_KINDS(SLIP_KIND)
#undef SLIP_KIND
};

#define SLIP_HOLDS 16

struct slip_hold {
    uint64_t tag;    /* names the object in all processes; 0: none */
    uint64_t object; /* where this process has it mapped */
    uint64_t site;   /* the call that took it */
};

struct slip {
    int32_t thread;  /* its number in the kernel as its own process sees it; 0: this slip is free */
    uint32_t number; /* its number in its process, never used twice there */
    uint32_t held;   /* how much it holds; only SLIP_HOLDS of that are listed */
    uint32_t round;
    struct slip_wait {
        uint64_t tag, object, site;
        uint64_t whom;     /* the process that is known to be able to end it, or 0 */
        int64_t since;     /* CLOCK_MONOTONIC */
        uint32_t kind;     /* enum slip_kind, 0: it does not wait */
        uint32_t gives_up; /* it would be told of a circle */
    } wait;
    struct slip_hold hold[SLIP_HOLDS];
};

/* Lists an object; pairs with slip_drop. Before it is taken. */
static inline void slip_hold(struct slip *slip, uint64_t tag, const void *object, const void *site) {
    uint32_t held = atomic_peek(&slip->held);
    if (likely(held < SLIP_HOLDS)) {
        struct slip_hold *hold = &slip->hold[held];
        atomic_poke(&hold->tag, tag);
        atomic_poke(&hold->object, (uint64_t)(uintptr_t)object);
        atomic_poke(&hold->site, (uint64_t)(uintptr_t)site);
    }
    atomic_store(&slip->held, held + 1); /* pairs with the reader's load of held */
}

/* Likewise one that is not the last: the others move up, and what was not listed stays so. Each is written to its new place before its old
 * one: who reads `held` and then the list from its end misses none that is there all the time. */
static inline void slip_drop_middle(struct slip *slip, uint64_t tag) {
    uint32_t held = atomic_peek(&slip->held), listed = held < SLIP_HOLDS ? held : SLIP_HOLDS, at = listed;
    while (at > 0 && slip->hold[at - 1].tag != tag) {
        at--;
    }
    for (; at > 0 && at < listed; at++) {
        atomic_store(&slip->hold[at - 1].tag, slip->hold[at].tag); /* pairs with the loads of who reads */
        atomic_poke(&slip->hold[at - 1].object, slip->hold[at].object);
        atomic_poke(&slip->hold[at - 1].site, slip->hold[at].site);
    }
    if (at == SLIP_HOLDS && held > SLIP_HOLDS) {
        atomic_store(&slip->hold[SLIP_HOLDS - 1].tag, UINT64_C(0));
    }
    atomic_store(&slip->held, held > 0 ? held - 1 : 0);
}

static inline void slip_drop(struct slip *slip, uint64_t tag) {
    uint32_t held = atomic_peek(&slip->held) - 1;
    if (likely(held < SLIP_HOLDS && slip->hold[held].tag == tag)) {
        atomic_store(&slip->held, held);
        return;
    }
    slip_drop_middle(slip, tag);
}

/* How often an object is listed. */
static inline unsigned slip_listed(const struct slip *slip, uint64_t tag) {
    uint32_t held = atomic_peek(&slip->held), times = 0;
    for (uint32_t i = 0; i < held && i < SLIP_HOLDS; i++) times += slip->hold[i].tag == tag;
    return times;
}

/* Says what it is about to wait for; pairs with slip_waited. */
static inline void slip_await(struct slip *slip, const struct slip_wait *wait) {
    atomic_poke(&slip->wait.tag, wait->tag);
    atomic_poke(&slip->wait.object, wait->object);
    atomic_poke(&slip->wait.site, wait->site);
    atomic_poke(&slip->wait.whom, wait->whom);
    atomic_poke(&slip->wait.since, wait->since);
    atomic_poke(&slip->wait.gives_up, wait->gives_up);
    atomic_store(&slip->wait.kind, wait->kind); /* pairs with the reader's load of kind */
}

static inline void slip_waited(struct slip *slip) {
    atomic_poke(&slip->wait.kind, 0u);
    atomic_store(&slip->round, slip->round + 1);
}

#endif
