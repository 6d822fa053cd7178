/* SPDX-License-Identifier: MIT
 *
 * The mutex behind thirl_mutex: an owner word, and which thread of the owner it is. The public functions are in include/thirl/lock.h.
 */
#ifndef SYNC_MUTEX_H
#define SYNC_MUTEX_H

#include "base/layout.h"
#include "include/thirl/lock.h"
#include "sync/owner.h"

struct mutex {
    uint64_t word;
    uint64_t tag;       /* names it in all processes; 0: this is no mutex */
    uint32_t thread;    /* of the owner, while it owns: 0 before and after */
    uint32_t depth;     /* how often it was taken again */
    uint32_t flags;     /* enum thirl_lock_flags */
    uint32_t futex;     /* THIRL_LOCK_INHERIT: the word of the kernel's kind, with a thread's number in it */
    uint64_t holder;    /* THIRL_LOCK_INHERIT: the process of that thread, and 16 bits of its number; 0 unknown */
    uint64_t pid_space; /* THIRL_LOCK_INHERIT: where those numbers mean something */
    uint32_t deaths;    /* how often somebody was told of one */
    uint32_t crowd;     /* of those who wait for the word, see sync/owner.h */
};
LAYOUT(mutex, 56, crowd, 52);

/* Takes it for a call at that site; as thirl_mutex_lock. */
int mutex_lock(struct mutex *, int64_t until, const void *site);

/* Its holder lets go, however often it has taken it. */
void mutex_give(struct mutex *, const struct party *);

/* Does the calling thread hold it? */
bool mutex_mine(const struct mutex *, const struct party *);

/* May its owner be dead? Whoever takes it finds out for sure. */
bool mutex_orphaned(const struct mutex *);

/* THIRL_LOCK_INHERIT, sync/urgent.c: as owner_take and owner_give. */
int urgent_take(struct mutex *, const struct party *, int64_t until);
void urgent_give(struct mutex *, const struct party *);

#endif
