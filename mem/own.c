/* SPDX-License-Identifier: MIT
 *
 * Waiting for one's turn, and taking over from the dead.
 */
#include "mem/own.h"

#include <errno.h>
#include <limits.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mem/node.h"

#define TRIES 100 /* about what it takes to change a few words */

static int try(struct own *own, uint64_t self) {
    uint64_t holder = 0;
    if (atomic_cas(&own->holder, &holder, self)) {
        return 0;
    }
    if (node_alive(holder)) {
        return -EAGAIN;
    }
    weave("own.take.dead");
    return atomic_cas(&own->holder, &holder, self) ? OWN_DIED : -EAGAIN;
}

/* A holder on another processor is soon done; one that was stopped or has lost its processor is not. */
static bool linger(struct own *own, uint64_t self) {
    for (int i = 0; i < TRIES; i++) {
        uint64_t nobody = 0;
        if (atomic_peek(&own->holder) == 0 && atomic_cas(&own->holder, &nobody, self)) {
            return true;
        }
        atomic_pause();
    }
    return false;
}

int own_wait(struct own *own, uint64_t self, int64_t until) {
    for (;;) {
        if (until != 0 && linger(own, self)) {
            return 0;
        }
        int rc = try(own, self);
        if (rc >= 0) {
            return rc;
        }
        int64_t now = clock_now();
        if (now >= until) {
            return until == 0 ? -EAGAIN : -ETIMEDOUT;
        }
        uint64_t holder = atomic_load(&own->holder);
        uint32_t seen = atomic_load(&own->given);
        atomic_store(&own->wants, 1);
        weave("own.wait.shown");
        atomic_fence(); /* pairs with the swap in own_give */
        if (holder != 0 && atomic_load(&own->holder) == holder) {
            int64_t slice = clock_after(now, OWN_SLICE_NS);
            (void)futex_wait(&own->given, seen, slice < until ? slice : until);
        }
    }
}

void own_wake(struct own *own) {
    weave("own.give.given");
    atomic_store(&own->wants, 0);
    (void)atomic_add(&own->given, 1);
    weave("own.give.before");
    (void)futex_wake(&own->given, INT_MAX);
}
