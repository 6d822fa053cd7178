/* SPDX-License-Identifier: MIT
 *
 * The slow halves of waking one of many.
 */
#include "mem/rouse.h"

#include "base/futex.h"
#include "base/weave.h"

void rouse_join(struct rouse *rouse, bool heavy) {
    uint32_t old = atomic_load(&rouse->attention);
    while (!heavy && (old & ROUSE_FENCED) == 0 && !atomic_cas(&rouse->attention, &old, old | ROUSE_FENCED)) {}
}

/* The order between showing attention and looking once more. */
static void order(bool heavy) {
    if (heavy) {
        (void)futex_fence_heavy();
    } else {
        atomic_fence();
    }
}

uint32_t rouse_arm(struct rouse *rouse, struct rouse_sleep *sleep, bool heavy) {
    uint32_t seen = atomic_load(&rouse->given); /* pairs with the add in rouse_wake */
    sleep->mixed = sleep->threads != 0;
    sleep->threads++;
    sleep->seen = seen;
    (void)atomic_add(&rouse->attention, 1);
    weave("rouse.arm.shown");
    order(heavy);
    return seen;
}

/* Takes up to that many sleepers off, as far as there are some. */
static uint32_t take_off(struct rouse *rouse, uint32_t count, uint32_t flags) {
    uint32_t old = atomic_load(&rouse->attention), most;
    do {
        uint32_t sleepers = old & ROUSE_SLEEPERS;
        most = count < sleepers ? count : sleepers;
    } while (!atomic_cas(&rouse->attention, &old, (old & ~flags) - most));
    return most | (old & flags);
}

void rouse_disarm(struct rouse *rouse, struct rouse_sleep *sleep) {
    sleep->threads--;
    if (!sleep->mixed && atomic_load(&rouse->given) == sleep->seen) {
        (void)take_off(rouse, 1, 0);
    }
    sleep->mixed = sleep->mixed && sleep->threads != 0;
}

void rouse_poll(struct rouse *rouse, bool heavy) {
    uint32_t old = atomic_load(&rouse->attention);
    while (!atomic_cas(&rouse->attention, &old, old | ROUSE_POLLED)) {}
    weave("rouse.poll.shown");
    order(heavy);
}

bool rouse_wake(struct rouse *rouse, uint32_t count) {
    uint32_t attention = atomic_load(&rouse->attention);
    if ((attention & ROUSE_FENCED) != 0) {
        atomic_fence();
        attention = atomic_load(&rouse->attention);
    }
    if ((attention & ROUSE_SLEEPERS) != 0) {
        weave("rouse.wake.before");
        (void)atomic_add(&rouse->given, 1); /* first: who gives up by himself now is not taken off twice */
        weave("rouse.wake.given");
    }
    uint32_t off = (attention & (ROUSE_SLEEPERS | ROUSE_POLLED)) != 0 ? take_off(rouse, count, ROUSE_POLLED) : 0;
    if ((attention & ROUSE_SLEEPERS) != 0) {
        (void)futex_wake(&rouse->given, (int)(count < ROUSE_SLEEPERS ? count : ROUSE_SLEEPERS));
        weave("rouse.wake.after");
    }
    return (off & ROUSE_POLLED) != 0;
}
