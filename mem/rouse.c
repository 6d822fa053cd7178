/* SPDX-License-Identifier: MIT
 *
 * The slow halves of waking one of many.
 */
#include "mem/rouse.h"

#include "base/futex.h"
#include "base/weave.h"

#define ONE (UINT64_C(1) << 32) /* sleeper */

static void set(struct rouse *rouse, uint32_t flag) {
    uint64_t old = atomic_load(&rouse->word);
    while (!atomic_cas(&rouse->word, &old, old | (uint64_t)flag << 32)) {}
}

void rouse_join(struct rouse *rouse, bool heavy) {
    if (!heavy) {
        set(rouse, ROUSE_FENCED);
    }
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
    rouse_late(rouse, sleep); /* the last one may have ended by something else, and nobody has said so */
    sleep->mixed = sleep->threads != 0;
    sleep->threads++;
    sleep->seen = (uint32_t)atomic_add(&rouse->word, ONE);
    weave("rouse.arm.shown");
    order(heavy);
    return sleep->seen;
}

void rouse_disarm(struct rouse_sleep *sleep) {
    sleep->threads--;
    sleep->up = !sleep->mixed;
    sleep->mixed = sleep->mixed && sleep->threads != 0;
}

void rouse_late(struct rouse *rouse, struct rouse_sleep *sleep) {
    uint64_t old = atomic_load(&rouse->word);
    while (sleep->up && (uint32_t)old == sleep->seen && (old >> 32 & ROUSE_SLEEPERS) != 0 &&
           !atomic_cas(&rouse->word, &old, old - ONE)) {}
    sleep->up = false;
}

void rouse_poll(struct rouse *rouse, bool heavy) {
    set(rouse, ROUSE_POLLED);
    weave("rouse.poll.shown");
    order(heavy);
}

bool rouse_wake(struct rouse *rouse, uint32_t count) {
    uint64_t old = atomic_load(&rouse->word), next;
    uint32_t sleepers, most;
    if ((old >> 32 & ROUSE_FENCED) != 0) {
        atomic_fence();
        old = atomic_load(&rouse->word);
    }
    weave("rouse.wake.before");
    do {
        sleepers = old >> 32 & ROUSE_SLEEPERS;
        most = count < sleepers ? count : sleepers;
        next = (old & ~((uint64_t)ROUSE_POLLED << 32)) - most * ONE;
        next = most == 0 ? next : (next & ~(uint64_t)UINT32_MAX) | (uint32_t)(next + 1);
    } while (next != old && !atomic_cas(&rouse->word, &old, next));
    if (most != 0) {
        weave("rouse.wake.given");
        (void)futex_wake(rouse_given(rouse), (int)most);
        weave("rouse.wake.after");
    }
    return (old >> 32 & ROUSE_POLLED) != 0;
}
