/* SPDX-License-Identifier: MIT
 *
 * The slow half of the gate: who enters first, how ownership is revoked, and the shared lock.
 */
#include "base/gate.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/futex.h"

_Thread_local char gate_thread;

/* The owner may be inside one system call for tens of milliseconds; a fixed slice is as good as a wake-up there and keeps the
 * owner's path free of one. */
#define RECHECK_NS (CLOCK_MS / 2)

/* Once in a process: a forked child inherits it with the memory. Two threads may both do it. */
static bool may_fence(void) {
    static uint32_t registered;
    if (atomic_peek(&registered) == 0) {
        long rc = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
        atomic_poke(&registered, (uint32_t)(rc == 0));
    }
    return atomic_peek(&registered) != 0;
}

static bool fence(void) {
    return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void gate_init(struct gate *gate) {
    *gate = (struct gate){.phase = GATE_OWNED};
#if defined(__SANITIZE_THREAD__)
    gate->phase = GATE_SHARED; /* ThreadSanitizer cannot see the fence of another thread */
#else
    if (!may_fence()) {
        gate->phase = GATE_SHARED;
    }
#endif
}

/* One step towards SHARED; true when it is reached. */
static bool hasten(struct gate *gate) {
    uint32_t phase = atomic_load(&gate->phase);
    uint32_t owned = GATE_OWNED, asked = GATE_ASKED, fenced = GATE_FENCED;
    switch (phase) {
    case GATE_OWNED:
        (void)atomic_cas(&gate->phase, &owned, GATE_ASKED);
        return false;
    case GATE_ASKED:
        if (fence()) {
            (void)atomic_cas(&gate->phase, &asked, GATE_FENCED);
        }
        return false;
    case GATE_FENCED:
        if (atomic_load(&gate->busy) == 0) { /* pairs with the owner's release of busy */
            (void)atomic_cas(&gate->phase, &fenced, GATE_SHARED);
        }
        return false;
    default:
        return true;
    }
}

static int lock(struct gate *gate, int64_t until) {
    uint32_t seen = 0;
    if (atomic_cas(&gate->lock, &seen, 1)) {
        return 0;
    }
    if (until == 0) {
        return -EAGAIN;
    }
    while (atomic_swap(&gate->lock, 2) != 0) {
        if (futex_wait(&gate->lock, 2, until) == -ETIMEDOUT) {
            return -ETIMEDOUT;
        }
    }
    return 0;
}

int gate_enter_slow(struct gate *gate, int64_t until) {
    const void *nobody = NULL;
    if (atomic_peek(&gate->phase) == GATE_OWNED && atomic_cas(&gate->owner, &nobody, gate_self())) {
        return gate_enter(gate, until);
    }
    while (!hasten(gate)) {
        if (atomic_load(&gate->phase) == GATE_FENCED && atomic_load(&gate->busy)) {
            int64_t now = clock_now();
            if (until <= now) {
                return until == 0 ? -EAGAIN : -ETIMEDOUT;
            }
            int64_t slice = clock_after(now, RECHECK_NS);
            (void)futex_wait(&gate->busy, 1, slice < until ? slice : until);
        }
    }
    return lock(gate, until);
}

void gate_vacate(struct gate *gate) {
    (void)futex_wake(&gate->busy, INT32_MAX);
}

void gate_unlock(struct gate *gate) {
    if (atomic_swap(&gate->lock, 0) == 2) {
        (void)futex_wake(&gate->lock, 1);
    }
}
