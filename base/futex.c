/* SPDX-License-Identifier: MIT
 *
 * The futex and membarrier system calls as they are. Never the PRIVATE kind: words lie in files that other processes map.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* As <linux/futex.h> has them from 5.16 on; older headers do not. */
struct wait_entry {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t zero;
};
#define WAIT_ENTRY_U32 2

/* What the kernel takes for a time, whatever the C library makes of struct timespec. */
struct wait_until {
    int64_t seconds, ns;
};
#ifdef SYS_futex_time64
#define SYS_FUTEX SYS_futex_time64
#else
#define SYS_FUTEX SYS_futex
#endif

static struct wait_until moment(int64_t ns) {
    return (struct wait_until){.seconds = ns / CLOCK_S, .ns = ns % CLOCK_S};
}

int futex_wait(const uint32_t *word, uint32_t value, int64_t until) {
    struct wait_until deadline = moment(until < 0 ? 0 : until);
    long r = syscall(SYS_FUTEX, word, FUTEX_WAIT_BITSET, value, until == INT64_MAX ? NULL : &deadline, NULL,
                     FUTEX_BITSET_MATCH_ANY);
    return r < 0 ? -errno : 0;
}

int futex_nap(const uint32_t *word, uint32_t value, int64_t ns) {
    struct wait_until span = moment(ns);
    return syscall(SYS_FUTEX, word, FUTEX_WAIT, value, &span, NULL, 0) < 0 ? -errno : 0;
}

int futex_wait_many(const struct futex_word *words, unsigned count, int64_t until) {
    struct wait_entry entry[FUTEX_MANY];
    for (unsigned i = 0; i < count; i++) {
        entry[i] =
            (struct wait_entry){.value = words[i].value, .address = (uintptr_t)words[i].word, .flags = WAIT_ENTRY_U32};
    }
    struct wait_until deadline = moment(until < 0 ? 0 : until);
    long r = syscall(SYS_futex_waitv, entry, count, 0u, until == INT64_MAX ? NULL : &deadline, CLOCK_MONOTONIC);
    return r < 0 ? -errno : 0;
}

int futex_wait_two(const uint32_t *a, uint32_t value_a, const uint32_t *b, uint32_t value_b, int64_t until) {
    const struct futex_word words[] = {{a, value_a}, {b, value_b}};
    return futex_wait_many(words, 2, until);
}

int futex_lend(uint32_t *word, int operation, int64_t until) {
    struct wait_until deadline = moment(until < 0 ? 0 : until);
    long r = syscall(SYS_FUTEX, word, operation, 0, until == INT64_MAX ? NULL : &deadline, NULL, 0);
    return r < 0 ? -errno : 0;
}

bool futex_differs(const uint32_t *word, uint32_t value) {
    return futex_wait(word, value, 0) != -ETIMEDOUT;
}

int futex_wake(const uint32_t *word, int count) {
    long r = syscall(SYS_FUTEX, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return r < 0 ? -errno : (int)r;
}

enum { FENCE_UNKNOWN, FENCE_THERE, FENCE_REFUSED };
static uint32_t fence;

bool futex_fence_join(void) {
    /* Two threads may both register: the kernel takes it twice. A child of fork inherits the registration with the memory. */
    if (atomic_peek(&fence) == FENCE_UNKNOWN) {
        long r = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
        atomic_store(&fence, r == 0 ? FENCE_THERE : FENCE_REFUSED);
    }
    return atomic_load(&fence) == FENCE_THERE; /* pairs with the store above, of whichever thread */
}

bool futex_fence_heavy(void) {
    return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}
