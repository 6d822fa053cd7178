/* SPDX-License-Identifier: MIT
 *
 * The slow halves of ringing and sleeping.
 */
#include "mem/bell.h"

#include <limits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/futex.h"
#include "base/weave.h"

#define CALM_ENOUGH 64 /* commits without a sleeper before the price of order goes back to the sleeper */

static const uint32_t shut = BELL_SLEEPERS;

static void set_fenced(struct bell *bell, bool fenced) {
    bell->fenced = fenced;
    bell->eye = fenced ? &shut : &bell->sleeper->attention;
}

void bell_begin(struct bell *bell, struct bell_rope *rope, const struct bell_sleeper *sleeper, bool heavy,
                uint64_t *wakes) {
    bell->rope = rope;
    bell->sleeper = sleeper;
    bell->always = !heavy;
    set_fenced(bell, true);
    bell->calm = 0;
    bell->answered = atomic_load(&sleeper->arms) - BELL_SLEEPERS; /* whoever sleeps now may have begun long ago */
    bell->fifo = -1;
    bell->door = NULL;
    bell->wakes = wakes;
    atomic_store(&rope->round, 0); /* which no sleeper asks for */
    atomic_store(&rope->fenced, 1);
    atomic_fence();
}

void bell_end(struct bell *bell) {
    if (bell->sleeper != NULL) {
        fd_close(&bell->fifo);
        bell->sleeper = NULL;
    }
}

void bell_through(struct bell *bell, struct door *door, uint32_t seat) {
    bell->door = door;
    bell->seat = seat;
}

/* Nobody sleeps: not this time, either. */
static void grow_calm(struct bell *bell) {
    if (bell->always || ++bell->calm < CALM_ENOUGH) {
        return;
    }
    bell->calm = 0;
    atomic_store(&bell->rope->fenced, 0);
    weave("bell.calm.between");
    /* A sleeper that still saw the flag has shown its attention before this fence; a later one pays itself. */
    if (futex_fence_heavy()) {
        set_fenced(bell, false);
    } else {
        bell->always = true;
        atomic_store(&bell->rope->fenced, 1);
        atomic_fence();
    }
}

uint32_t bell_look(struct bell *bell) {
    if (bell->fenced) {
        atomic_fence();
    }
    uint32_t attention = atomic_peek(&bell->sleeper->attention) & (BELL_ROUND - 1);
    if (attention == 0 && bell->fenced) {
        grow_calm(bell);
    }
    return attention;
}

void bell_write(struct bell *bell) {
    const char byte = 1;
    /* A full FIFO is readable already; a reader that is gone needs nothing. */
    ssize_t ignored = write(bell->fifo, &byte, 1);
    (void)ignored;
}

/* Does anybody sleep who has not been rung for? A sleeper takes tens of microseconds to get up, and all that is committed
 * meanwhile would ring for it again, one system call each. */
static bool is_due(struct bell *bell, uint32_t arms, uint32_t sleepers) {
    if (arms - bell->answered > sleepers) {
        bell->answered = arms - sleepers; /* the others gave up by themselves */
    }
    return arms != bell->answered;
}

bool bell_ring(struct bell *bell, uint64_t position) {
    /* In this order: whoever is counted in arms shows in attention too, unless it is up again. Pairs with bell_show. */
    uint32_t arms = atomic_load(&bell->sleeper->arms);
    uint32_t attention = atomic_load(&bell->sleeper->attention);
    if (is_due(bell, arms, attention & BELL_SLEEPERS) && position >= atomic_peek(&bell->sleeper->want)) {
        bell->answered++;
        bell->calm = 0;
        if (!bell->fenced) {
            set_fenced(bell, true);
            atomic_store(&bell->rope->fenced, 1);
        }
        if (arms % BELL_TIMED == 0) {
            atomic_poke(&bell->rope->at, clock_now());
        }
        weave("bell.ring.before");
        atomic_store(&bell->rope->count, bell->rope->count + 1); /* pairs with the load in bell_arm */
        weave("bell.ring.counted");
        bool woke = true;
        if (bell->door != NULL) {
            woke = door_knock(bell->door, bell->seat);
        } else {
            (void)futex_wake(&bell->rope->count, 1);
        }
        atomic_poke(bell->wakes, *bell->wakes + woke);
        weave("bell.ring.after");
        if (bell->door != NULL && door_asks(bell->door)) {
            if (bell->fifo < 0) {
                return true;
            }
            bell_write(bell);
        }
    }
    if ((attention & BELL_POLLED) != 0) {
        uint32_t round = attention / BELL_ROUND;
        if (bell->rope->round != round) {
            if (bell->fifo < 0) {
                return true;
            }
            atomic_store(&bell->rope->round, round); /* before the byte: pairs with the load in bell_poll */
            bell_write(bell);
        }
    }
    return false;
}

/* The order between showing attention and looking for data once more. */
static void order(const struct bell_rope *rope, bool heavy) {
    atomic_fence();
    if (atomic_load(&rope->fenced) == 0 && heavy) {
        (void)futex_fence_heavy();
    }
}

void bell_show(struct bell_sleeper *sleeper) {
    atomic_store(&sleeper->attention, atomic_peek(&sleeper->attention) + 1);
    atomic_store(&sleeper->arms, atomic_peek(&sleeper->arms) + 1);
}

uint32_t bell_arm(struct bell_sleeper *sleeper, const struct bell_rope *rope, uint64_t want, bool heavy) {
    uint32_t seen = atomic_load(&rope->count); /* pairs with the release in bell_ring */
    atomic_poke(&sleeper->want, want);
    weave("bell.arm.before");
    bell_show(sleeper);
    weave("bell.arm.shown");
    order(rope, heavy);
    return seen;
}

void bell_disarm(struct bell_sleeper *sleeper) {
    atomic_store(&sleeper->attention, atomic_peek(&sleeper->attention) - 1);
    weave("bell.disarm.after");
}

void bell_poll(struct bell_sleeper *sleeper, const struct bell_rope *rope, bool heavy) {
    uint32_t attention = atomic_peek(&sleeper->attention), next = attention | BELL_POLLED;
    /* An unanswered round goes on: a count that came round would look answered. */
    if ((attention & BELL_POLLED) == 0 || atomic_load(&rope->round) == attention / BELL_ROUND) {
        next += next / BELL_ROUND == UINT32_MAX / BELL_ROUND ? 2 * BELL_ROUND : BELL_ROUND; /* never 0 */
    }
    atomic_store(&sleeper->attention, next);
    order(rope, heavy);
}

void bell_gone(struct bell_sleeper *sleeper) {
    atomic_store(&sleeper->attention, atomic_peek(&sleeper->attention) | BELL_GONE);
}
