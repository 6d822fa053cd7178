/* SPDX-License-Identifier: MIT
 *
 * The slip that a thread leaves for others to see: what it holds, what it waits for, since when and from where in the program.
 * It lies in the file of its own process, which others read: plain stores of the thread that it belongs to, nothing else. Beside the
 * slips lies what a reader needs to make names of addresses.
 *
 *     thread                                     whoever reads (a waiter, thirl doctor)
 *     lists what it is about to take             copies the slip
 *     takes it
 *     before it sleeps: what it waits for        an object that is both listed and waited for is not held yet
 *     afterwards: round + 1, nothing             a wait is the same one while its round is
 */
#ifndef BASE_SLIP_H
#define BASE_SLIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"

/* What can be held or waited for; the lowest four bits of its tag. */
#define SLIP_KINDS(X)                                                                                                  \
    X(MUTEX, "mutex")                                                                                                  \
    X(SEM, "semaphore")                                                                                                \
    X(EVENT, "event")                                                                                                  \
    X(ONCE, "once")                                                                                                    \
    X(COND, "condition variable")                                                                                      \
    X(RWLOCK, "read-write lock")                                                                                       \
    X(SHARE, "read lock")                                                                                              \
    X(BARRIER, "barrier")                                                                                              \
    X(ANSWER, "answer")                                                                                                \
    X(MESSAGE, "message")                                                                                              \
    X(ROOM, "room")

enum slip_kind {
    SLIP_NOTHING,
#define SLIP_KIND(name, text) SLIP_##name,
    SLIP_KINDS(SLIP_KIND)
#undef SLIP_KIND
};

#define SLIP_KIND_BITS 15

/* Waits over channels: their object is a line of the process's file (from 1). The tag of a wait for an answer, but for its kind, is that of
 * the call, which no lock has. */
#define SLIP_IS_CHANNEL(kind) ((kind) == SLIP_ANSWER || (kind) == SLIP_MESSAGE || (kind) == SLIP_ROOM)
/* Waits that any thread of some process may end, and not only one that is listed as a holder: for a channel's peer, or for a permit. */
#define SLIP_IS_LOOSE(kind) (SLIP_IS_CHANNEL(kind) || (kind) == SLIP_SEM)
#define SLIP_CALL(call) ((call) << 4 & ~(UINT64_C(1) << 63))
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
        uint64_t
            whom; /* the process that is known to be able to end it: its id, or its pid * 65536 + 1; or 0. Of a semaphore: how many
                            * permits there are */
        int64_t since;     /* CLOCK_MONOTONIC */
        uint32_t kind;     /* enum slip_kind, 0: it does not wait */
        uint32_t gives_up; /* it would be told of a circle */
    } wait;
    struct slip_hold hold[SLIP_HOLDS];
};
LAYOUT(slip, 448, hold, 64);

/* A program or library, as a process has it in its memory. */
struct slip_module {
    uint64_t start, end;
    uint64_t bias;  /* an address less this is what the file calls it */
    char path[232]; /* NUL-terminated by its process; whoever reads sees to that himself */
};
LAYOUT(slip_module, 256, path, 24);

/* That some thread of a process took one object while it held another. */
struct slip_pair {
    uint64_t before, after; /* their tags */
    uint64_t before_object, after_object, before_site, after_site;
    int32_t thread;
    uint32_t state; /* 0 free, 1 being written, 2 written for good */
};
LAYOUT(slip_pair, 56, state, 52);

/* All of these: each pair once, those for which there is no place near where they belong counted. */
#define SLIP_PAIRS 1024
struct slip_pairs {
    uint32_t missed;
    __attribute__((aligned(64))) struct slip_pair pair[SLIP_PAIRS];
};
LAYOUT(slip_pairs, 57408, pair, 64);

/* Requests that an end of some process has taken and not answered, and the thread (its number) that took each. */
#define SLIP_TASKS 64
struct slip_tasks {
    uint32_t used; /* the end is there */
    uint32_t pad;
    struct slip_task {
        uint64_t call; /* 0: none */
        uint64_t thread;
    } task[SLIP_TASKS];
};
LAYOUT(slip_tasks, 1032, task, 8);

/* What a process has left: copies, valid during a callback only. They were made while its threads went on, so a slip may mix moments; whoever
 * reads looks twice. */
struct slip_process {
    uint64_t id;
    int64_t pid;        /* as it sees itself */
    int64_t here;       /* as the reader sees it; 0: it is dead, or in no PID namespace of the reader's */
    uint64_t pid_space; /* its PID namespace */
    const char *exe;
    bool alive;
    const struct slip *slip;
    const struct slip_module *module;
    const struct slip_pairs *pairs; /* NULL: none */
    const struct slip_tasks *tasks;
    uint32_t slips, modules, ends; /* ends: of tasks */
};

/* Lists an object; pairs with slip_drop. Before it is taken. How many it held before. */
static inline uint32_t slip_hold(struct slip *slip, uint64_t tag, const void *object, const void *site) {
    uint32_t held = atomic_peek(&slip->held);
    if (likely(held < SLIP_HOLDS)) {
        struct slip_hold *hold = &slip->hold[held];
        atomic_poke(&hold->tag, tag);
        atomic_poke(&hold->object, (uint64_t)(uintptr_t)object);
        atomic_poke(&hold->site, (uint64_t)(uintptr_t)site);
    }
    atomic_store(&slip->held, held + 1); /* pairs with the reader's load of held */
    return held;
}

/* The same of the first, which is most often the only one. false: there are others. */
static inline bool slip_hold_first(struct slip *slip, uint64_t tag, const void *object, const void *site) {
    if (unlikely(atomic_peek(&slip->held) != 0)) {
        return false;
    }
    atomic_poke(&slip->hold[0].tag, tag);
    atomic_poke(&slip->hold[0].object, (uint64_t)(uintptr_t)object);
    atomic_poke(&slip->hold[0].site, (uint64_t)(uintptr_t)site);
    atomic_store(&slip->held, 1u); /* pairs with the reader's load of held */
    return true;
}

/* Takes one off the list that is not the last: the others move up, and what was not listed stays so. Each is written to its new place before its old
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
