/* SPDX-License-Identifier: MIT
 *
 * The only spelling of loads, stores and fences on memory that another thread or process may touch at the same time.
 * Every acquire names, where it stands, the release that it pairs with. Any room may use it; it never blocks.
 */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#include <stdint.h>

#define atomic_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define atomic_peek(p) __atomic_load_n((p), __ATOMIC_RELAXED)          /* a value, no order */
#define atomic_poke(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED) /* likewise */
#define atomic_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define atomic_sub(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
#define atomic_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define atomic_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)
#define atomic_swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define atomic_cas(p, expected, v)                                                                                     \
    __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* In one order with all others of these: who changes one word and then loads another is seen by whoever does it the other way round. */
#define atomic_total_load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define atomic_total_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define atomic_total_cas(p, expected, v)                                                                               \
    __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* Orders the compiler only: the other side makes the processor's order with fence_heavy(). */
#define atomic_order() __asm__ __volatile__("" ::: "memory")

/* A full fence, also between a store and a later load. */
static inline void atomic_fence(void) {
#if defined(__SANITIZE_THREAD__)
    static uint32_t fence; /* ThreadSanitizer does not know fences, but it knows this */
    (void)__atomic_fetch_add(&fence, 0, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* A full fence right behind a cas or swap: where those are one already, it costs nothing. */
static inline void atomic_fence_behind(void) {
#if defined(__x86_64__) || defined(__i386__)
    atomic_order();
#else
    atomic_fence();
#endif
}

/* Earlier loads before later ones: whoever copied what may have changed looks behind this whether it had. */
static inline void atomic_fence_loads(void) {
#if defined(__SANITIZE_THREAD__)
    atomic_fence();
#else
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

/* Earlier stores before later ones, whoever looks: what was said stands before what is changed because of it. */
static inline void atomic_fence_stores(void) {
#if defined(__SANITIZE_THREAD__)
    atomic_fence();
#else
    __atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

/* Asks for the cache line at an address, to write to it soon: takes it away from whoever has it. The address may be anything. */
static inline void atomic_claim(const void *address) {
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0"
                         :
                         : "m"(*(const char *)address)); /* no operation where the processor has none */
#else
    __builtin_prefetch(address, 1);
#endif
}

static inline void atomic_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#else
    atomic_order();
#endif
}

/* Between two looks at a word that somebody is about to write: the second is not begun before the first is done, and some 20 ns later. What a
 * processor reads ahead of its turn, and then finds changed, it throws away with all that came behind it; and who looks all the time takes
 * the line away from the writer in the midst of what he writes there. */
static inline void atomic_look_again(void) {
#if defined(__SSE2__)
    for (int i = 0; i < 6; i++) __builtin_ia32_lfence();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#else
    atomic_order();
#endif
}

/* On the way of each message: such functions lie side by side, because a system call leaves few pages of code at hand. */
#define HOT __attribute__((hot))

/* What only a slow way needs later, behind a call, is to lie in memory: each register that it would take instead has to be saved first, and restored. */
#define ASIDE(object) __asm__ __volatile__("" : "+m"(object))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define CACHE_LINE 64
#define LINE_ALIGNED __attribute__((aligned(CACHE_LINE)))

#endif
