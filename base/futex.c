/* SPDX-License-Identifier: MIT
 *
 * The futex and membarrier system calls as they are. Never the PRIVATE kind: words lie in files that other processes map.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
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

struct wait_until {
    int64_t seconds, ns;
};

int futex_wait(const uint32_t *word, uint32_t value, int64_t until) {
    struct timespec deadline = clock_spec(until < 0 ? 0 : until);
    long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, until == INT64_MAX ? NULL : &deadline, NULL,
                     FUTEX_BITSET_MATCH_ANY);
    return r < 0 ? -errno : 0;
}

int futex_nap(const uint32_t *word, uint32_t value, int64_t ns) {
    struct timespec span = clock_spec(ns);
    return syscall(SYS_futex, word, FUTEX_WAIT, value, &span, NULL, 0) < 0 ? -errno : 0;
}

int futex_wait_many(const struct futex_word *words, unsigned count, int64_t until) {
    struct wait_entry entry[FUTEX_MANY];
    for (unsigned i = 0; i < count; i++) {
        entry[i] =
            (struct wait_entry){.value = words[i].value, .address = (uintptr_t)words[i].word, .flags = WAIT_ENTRY_U32};
    }
    int64_t point = until < 0 ? 0 : until;
    struct wait_until deadline = {.seconds = point / CLOCK_S, .ns = point % CLOCK_S};
    long r = syscall(SYS_futex_waitv, entry, count, 0u, until == INT64_MAX ? NULL : &deadline, CLOCK_MONOTONIC);
    return r < 0 ? -errno : 0;
}

int futex_wait_two(const uint32_t *a, uint32_t value_a, const uint32_t *b, uint32_t value_b, int64_t until) {
    const struct futex_word words[] = {{a, value_a}, {b, value_b}};
    return futex_wait_many(words, 2, until);
}

bool futex_differs(const uint32_t *word, uint32_t value) {
    return futex_wait(word, value, 0) != -ETIMEDOUT;
}

int futex_wake(const uint32_t *word, int count) {
    long r = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
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
