/* SPDX-License-Identifier: MIT
 *
 * Seats: taken, given back, taken from the dead; looking for a pin in all of them.
 */
#include "mem/pin.h"

#include <errno.h>

#include "mem/node.h"

_Thread_local uint32_t pin_hint;

static void raise_to(uint32_t *high, uint32_t to) {
    uint32_t seen = atomic_load(high);
    while (seen < to && !atomic_cas(high, &seen, to)) {
        atomic_pause();
    }
}

/* Takes a free seat: its number + 1, or 0. */
static uint32_t sit(struct pins *pins) {
    for (uint32_t i = 0; i < pins->seats; i++) {
        uint64_t nobody = 0;
        if (atomic_peek(&pins->seat[i].owner) == 0) {
            raise_to(pins->high, i + 1);
            weave("pin.sit.before");
            if (atomic_cas(&pins->seat[i].owner, &nobody, pins->self)) { /* pairs with the store in get_up */
                weave("pin.sit.after");
                return i + 1;
            }
        }
    }
    return 0;
}

/* Its slots first: whoever sits there next finds them free. */
static void get_up(struct pin_seat *seat) {
    for (uint32_t i = 0; i < PIN_SLOTS; i++) {
        atomic_store(&seat->slot[i].place, 0);
    }
    weave("pin.seat.cleared");
    atomic_store(&seat->owner, 0); /* pairs with the cas in sit */
}

int pin_join(struct pins *pins) {
    pins->mine[0] = sit(pins);
    return pins->mine[0] != 0 ? 0 : -EUSERS;
}

void pin_leave(struct pins *pins) {
    for (unsigned i = 0; i < PIN_MINE && pins->mine[i] != 0; i++) {
        get_up(&pins->seat[pins->mine[i] - 1]);
        pins->mine[i] = 0;
    }
}

static uint32_t search(struct pins *pins, uint32_t number, uint64_t place) {
    struct pin_seat *seat = &pins->seat[number];
    for (uint32_t n = 0, i = pin_hint; n < PIN_SLOTS; n++, i = (i + 1) % PIN_SLOTS) { /* who pins many goes along */
        if (atomic_peek(&seat->slot[i].place) != 0) {
            continue;
        }
        raise_to(&seat->high, i + 1); /* before the pin, as who looks for it reads it before the slots */
        if (pin_try(seat, i, place)) {
            pin_hint = i;
            return number * PIN_SLOTS + i + 1;
        }
    }
    return 0;
}

uint32_t pin_search(struct pins *pins, uint64_t place) {
    for (unsigned i = 0; i < PIN_MINE; i++) {
        uint32_t number = atomic_load(&pins->mine[i]); /* pairs with the cas below */
        if (number == 0) {
            uint32_t none = 0;
            number = sit(pins);
            if (number == 0) {
                return 0;
            }
            if (!atomic_cas(&pins->mine[i], &none, number)) {
                get_up(&pins->seat[number - 1]); /* another thread was faster */
                number = none;
            }
        }
        uint32_t pin = search(pins, number - 1, place);
        if (pin != 0) {
            return pin;
        }
    }
    return 0;
}

bool pin_mine(struct pins *pins, uint32_t pin, uint64_t place) {
    for (unsigned i = 0; pin != 0 && i < PIN_MINE; i++) {
        uint32_t number = atomic_load(&pins->mine[i]);
        if (number == 0) {
            return false;
        }
        if (number - 1 == (pin - 1) / PIN_SLOTS) {
            return atomic_peek(&pin_slot(pins, pin)->place) == place && place != 0;
        }
    }
    return false;
}

static uint32_t seats_used(const struct pins *pins) {
    uint32_t high = atomic_load(pins->high);
    return high < pins->seats ? high : pins->seats;
}

static bool has(const struct pin_seat *seat, uint64_t place) {
    uint32_t high = atomic_load(&seat->high);
    for (uint32_t i = 0; i < PIN_SLOTS && i < high; i++) {
        if (atomic_load(&seat->slot[i].place) == place) { /* not: pairs with the store in pin_free */
            return true;
        }
    }
    return false;
}

static bool bury(struct pin_seat *seat, uint64_t owner, uint64_t self) {
    if (owner == self || node_alive(owner)) {
        return false;
    }
    weave("pin.seat.dead");
    get_up(seat);
    return true;
}

bool pin_seems(struct pins *pins, uint64_t place) {
    for (uint32_t i = 0, seats = seats_used(pins); i < seats; i++) {
        uint64_t owner = atomic_load(&pins->seat[i].owner);
        if (owner != 0 && has(&pins->seat[i], place) && !bury(&pins->seat[i], owner, pins->self)) {
            return true;
        }
    }
    return false;
}

bool pin_is(struct pins *pins, uint64_t place) {
    atomic_fence(); /* pairs with (1) */
    return pin_seems(pins, place);
}

unsigned pin_bury(struct pins *pins) {
    unsigned buried = 0;
    for (uint32_t i = 0, seats = seats_used(pins); i < seats; i++) {
        uint64_t owner = atomic_load(&pins->seat[i].owner);
        buried += owner != 0 && bury(&pins->seat[i], owner, pins->self);
    }
    return buried;
}

void pin_sum(const struct pins *pins, struct pin_sums *sums) {
    *sums = (struct pin_sums){0};
    for (uint32_t i = 0, seats = seats_used(pins); i < seats; i++) {
        const struct pin_seat *seat = &pins->seat[i];
        bool taken = atomic_peek(&seat->owner) != 0;
        sums->seats += taken;
        sums->misses += atomic_peek(&seat->misses);
        for (uint32_t k = 0; k < PIN_SLOTS; k++) {
            sums->hits += atomic_peek(&seat->slot[k].count);
            sums->pins += taken && atomic_peek(&seat->slot[k].place) != 0;
        }
    }
}
