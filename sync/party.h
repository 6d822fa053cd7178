/* SPDX-License-Identifier: MIT
 *
 * Who takes part in locks: the calling thread and its process. The wing of locks does not see the registry; what it needs to know of it
 * stands in struct party_host, which a floor above fills in (mech/lodge.c).
 */
#ifndef SYNC_PARTY_H
#define SYNC_PARTY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/proc.h"
#include "base/slip.h"

/* The bits of a process's id: those below are free in every id, so that a lock keeps its state in one word with its holder. */
#define PARTY_ID (~UINT64_C(0xffff))

/* A thread of some process, while it holds or waits. */
struct party_seen {
    uint64_t id;        /* of its process */
    int64_t pid;        /* as that sees itself */
    uint64_t pid_space; /* its PID namespace */
    const char *exe;
    bool alive;
    const struct slip *slip; /* a copy; NULL: of a process whose threads cannot be seen */
};

struct party_host {
    uint64_t id;
    bool (*alive)(uint64_t id); /* is that process alive? about a microsecond; other processes of dead ids stay dead */
    struct slip *(*take)(void); /* a slip of it for a thread, or NULL; pairs with give */
    void (*give)(struct slip *);
    struct slip_pairs *(*pairs)(void);                                                 /* its table of pairs, or NULL */
    int (*each)(int (*seen)(void *context, const struct party_seen *), void *context); /* until nonzero, returns that */
    /* Likewise of each process, with copies of what it has left, and with `all` what it knows of its memory and orders; NULL: not to be had. */
    int (*list)(bool all, int (*seen)(void *context, const struct slip_process *), void *context);
};

/* What a floor above provides: joins the registry for this process, unless it has. 0, or an error. Threads may call it at the same time. */
int party_lodge(struct party_host *);

/* The calling thread. */
struct party {
    uint64_t id;     /* of its process */
    uint32_t epoch;  /* proc_epoch when it joined */
    uint32_t number; /* of the thread: never used twice in this process, hardly ever by two; never 0 */
    bool fences;     /* what others' fence_heavy does holds for this process */
    struct slip *slip;
};

extern _Thread_local struct party party_own __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Joins; an error when this process cannot. */
int party_join(void);

/* The calling thread once it has joined, else NULL: then party_join. A child of fork has not. */
static inline struct party *party_me(void) {
    uint32_t epoch = proc_epoch();
    return likely(epoch != 0 && party_own.epoch == epoch) ? &party_own : NULL;
}

/* Of this process once it has joined: what the floor above said. */
const struct party_host *party_host(void);

/* Its table of pairs, made when it is first asked for; NULL: there is no room. */
struct slip_pairs *party_pairs(void);

/* Is the process with that id alive? */
bool party_alive(uint64_t id);

/* A random number that names an object of that kind in all processes. Never 0. */
uint64_t party_tag(enum slip_kind);

#endif
