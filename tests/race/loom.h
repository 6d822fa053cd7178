/* SPDX-License-Identifier: MIT
 *
 * Every interleaving of a few threads over the real code of a room, one atomic operation at a time, and one of them dead at any of them.
 * A test includes this, and then the .c files of its rooms: their atomic operations, their sleeps and their clock are the loom's.
 *
 * Threads are coroutines of one thread, so that memory is as all processors see it: each operation is seen by all before the next one.
 * Where `buffers` says so a thread's last store may be seen later, behind its next loads, as processors have it; its next operation of
 * another kind is behind that, and so is what follows another thread's heavy fence. A sleep ends when it is woken; nobody's slice ends before nobody can go on without that.
 */
#ifndef TESTS_RACE_LOOM_H
#define TESTS_RACE_LOOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/weave.h"

#define LOOM_THREADS 4

struct loom {
    const char *name;
    unsigned threads;
    unsigned mortal;   /* bit n: thread n may die, one of them, at any operation */
    unsigned slices;   /* how often time may have to end everybody's sleep before all are done */
    unsigned switches; /* how often a thread that could go on is left at most */
    bool buffers;      /* for stores to memory[0] */
    void (*begin)(void);
    void (*play)(unsigned who); /* what a thread does */
    void (*end)(void);          /* looks at what became of it all */
    struct {
        void *at;
        size_t size;
    } memory[2]; /* all that is kept elsewhere than on their stacks, for a state to be known again */
};

/* Walks all of it; false, with a line on what happened, when something was wrong. Prints how much it was. */
bool loom_walk(const struct loom *);

/* For play and end: something is wrong, and this is what. */
void loom_wrong(const char *what);

unsigned loom_self(void);
bool loom_dead(unsigned who);

/* What the rooms get instead. */
void loom_step(void);
void loom_settle(void);                                 /* a step of a kind that the thread's store is seen before */
void loom_store(void *at, uint64_t value, size_t size); /* a step */
uint64_t loom_seen(const void *at, size_t size);        /* the calling thread's own store, else memory */
bool loom_fence_heavy(void);
void loom_pause(void);
int loom_futex_wait(const uint32_t *word, uint32_t value, int64_t until);
int loom_futex_wake(const uint32_t *word, int count);
int64_t loom_now(void);

#ifndef __cppcheck__ /* these are beyond its parser: it reads the rooms with the usual ones */
#undef atomic_load
#undef atomic_store
#undef atomic_peek
#undef atomic_poke
#undef atomic_add
#undef atomic_sub
#undef atomic_or
#undef atomic_and
#undef atomic_swap
#undef atomic_cas
#undef atomic_total_load
#undef atomic_total_add
#undef atomic_total_cas
#define atomic_load(p) (loom_step(), (__typeof__(*(p)))loom_seen((p), sizeof *(p)))
#define atomic_store(p, v) loom_store((p), (uint64_t)(v), sizeof *(p))
#define atomic_peek(p) ((__typeof__(*(p)))loom_seen((p), sizeof *(p)))
#define atomic_poke(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_add(p, v) (loom_settle(), __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define atomic_sub(p, v) (loom_settle(), __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST))
#define atomic_or(p, v) (loom_settle(), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define atomic_and(p, v) (loom_settle(), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))
#define atomic_swap(p, v) (loom_settle(), __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#define atomic_cas(p, expected, v)                                                                                     \
    (loom_settle(), __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define atomic_total_load atomic_load
#define atomic_total_add atomic_add
#define atomic_total_cas atomic_cas
#define atomic_pause loom_pause
#define futex_fence_heavy loom_fence_heavy
#define futex_wait loom_futex_wait
#define futex_wake loom_futex_wake
#define clock_now loom_now
#undef weave
#define weave(text) ((void)0)
#endif

#endif
