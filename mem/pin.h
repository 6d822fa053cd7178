/* SPDX-License-Identifier: MIT
 *
 * Who reads what, in place: places of shared memory that nobody may use again meanwhile. Each reader has a seat, and writes only there; so
 * what a dead one had pinned is not pinned any more, and two readers of one place do not meet.
 *
 *     reader                                     who wants to use the memory again (one at a time)
 *     finds the place                            takes it away from where it is found, says so (a version)
 *     slot 0 → place (cas: a full fence)  (1)    full fence
 *     found there still? (the version)           is it in any slot of a seat whose owner lives?   pairs with (1), (2)
 *     no: (2), and looks again                   yes: later
 *     reads
 *     release slot → 0                    (2)
 *
 * Either the reader sees that it is gone, or the other one sees the pin. A slot belongs to the thread that set it, until it is 0.
 * Seats of the dead are given back by pin_is and pin_bury.
 */
#ifndef MEM_PIN_H
#define MEM_PIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"
#include "base/weave.h"

#define PIN_SLOTS 30
#define PIN_MINE 32 /* seats that one handle may have, one after the other */

struct pin_slot {
    uint64_t place; /* 0: free */
    uint64_t count; /* how often it was set to good purpose: of who has it set */
};

struct pin_seat {                /* shared; all zero is free */
    LINE_ALIGNED uint64_t owner; /* node */
    uint64_t misses;
    uint32_t high; /* slots from there on were never used */
    uint32_t spare[3];
    struct pin_slot slot[PIN_SLOTS];
};
LAYOUT(pin_seat, 512, slot, 32);

struct pins { /* what a handle knows of all seats, and which are its own */
    struct pin_seat *seat;
    uint32_t seats;
    uint32_t *high; /* shared: seats from there on were never taken */
    uint64_t self;
    uint32_t mine[PIN_MINE]; /* number + 1; 0: none, and none behind it. Changed by cas */
};

/* Takes the first seat. -EUSERS: none is free; pin_bury may help. pin_leave gives all of them back, and with them every pin. */
int pin_join(struct pins *);
void pin_leave(struct pins *);

/* Which slot this thread found free last. */
extern _Thread_local uint32_t pin_hint __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Everything but the quick way. */
uint32_t pin_search(struct pins *, uint64_t place);

static inline bool pin_try(struct pin_seat *seat, uint32_t slot, uint64_t place) {
    uint64_t nothing = 0;
    if (atomic_peek(&seat->slot[slot].place) != 0 || !atomic_cas(&seat->slot[slot].place, &nothing, place)) {
        return false;
    }
    atomic_fence_behind(); /* (1): pairs with the fence in pin_is */
    return true;
}

/* Pins a place, and behind it is a full fence. A number that is not 0; 0: this handle has PIN_MINE * PIN_SLOTS pins, or there is
 * no free seat for more. Released by pin_free. */
static inline uint32_t pin_set(struct pins *pins, uint64_t place) {
    uint32_t seat = atomic_peek(&pins->mine[0]) - 1, slot = pin_hint;
    if (likely(slot < atomic_peek(&pins->seat[seat].high) && pin_try(&pins->seat[seat], slot, place))) {
        return seat * PIN_SLOTS + slot + 1;
    }
    return pin_search(pins, place);
}

/* Behind a pin, for who pins more before it frees any: the next slot is the one to try. */
static inline void pin_more(void) {
    pin_hint = pin_hint + 1 < PIN_SLOTS ? pin_hint + 1 : 0;
}

static inline struct pin_slot *pin_slot(const struct pins *pins, uint32_t pin) {
    return &pins->seat[(pin - 1) / PIN_SLOTS].slot[(pin - 1) % PIN_SLOTS];
}

static inline void pin_free(const struct pins *pins, uint32_t pin) {
    weave("pin.free.before");
    atomic_store(&pin_slot(pins, pin)->place, 0); /* (2) */
}

/* Is that a pin of this handle on that place? */
bool pin_mine(struct pins *, uint32_t pin, uint64_t place);

/* For whoever has the lock of all of it: is the place pinned by anybody who lives? Behind a full fence of its own. Whom it asked about
 * and found dead loses the seat. */
bool pin_is(struct pins *, uint64_t place);

/* The same without the fence, for guessing. */
bool pin_seems(struct pins *, uint64_t place);

/* Takes the seats away from all who are dead, under the same lock. How many. */
unsigned pin_bury(struct pins *);

struct pin_sums {
    uint64_t pins, hits, misses;
    uint32_t seats;
};
void pin_sum(const struct pins *, struct pin_sums *);

#endif
