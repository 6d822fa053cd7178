/* SPDX-License-Identifier: MIT
 *
 * Seats and pins: two who come at once sit apart, what a handle has is its own, and there is an end to seats and to pins. All orders of
 * what pins and what looks for them are in tests/race/pin_test.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mem/pin.h"
#include "tests/room.h"

#define SEATS 40

static struct hall { /* all processes share it */
    struct pin_seat seat[SEATS];
    uint32_t high;
} * hall;

static struct pins enter(uint64_t self, uint32_t seats) {
    return (struct pins){.seat = hall->seat, .seats = seats, .high = &hall->high, .self = self};
}

static int build(void **state) {
    hall = mmap(NULL, sizeof *hall, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return hall == MAP_FAILED ? -1 : room_begin(state);
}

static int clear(void **state) {
    (void)state;
    memset(hall, 0, sizeof *hall);
    pin_hint = 0;
    return 0;
}

static int sit_late(void *nothing) {
    struct pins pins = enter(2, SEATS);
    (void)nothing;
    if (setenv("THIRL_WEAVE_AT", "pin.sit.before:1:stop", 1) != 0) return 1;
    return pin_join(&pins) == 0 && pins.mine[0] == 2 ? 0 : 2;
}

/* One who has seen a free seat finds it taken, and takes the next. */
static void who_is_late_sits_beside(void **state) {
    struct pins pins = enter(1, SEATS);
    int status;
    (void)state;
    pid_t late = room_fork(sit_late, NULL);
    assert_int_equal(waitpid(late, &status, WUNTRACED), late);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(pin_join(&pins), 0);
    assert_int_equal(pins.mine[0], 1);
    assert_int_equal(kill(late, SIGCONT), 0);
    assert_int_equal(room_reap(late), 0);
    assert_true(hall->seat[0].owner == 1 && hall->seat[1].owner == 2 && hall->high == 2);
    pin_leave(&pins);
    assert_true(hall->seat[0].owner == 0 && pins.mine[0] == 0);
}

static void *pin_in_a_thread(void *pins) {
    return (void *)(uintptr_t)pin_search(pins, 16);
}

/* Two threads of a handle want its next seat: one of the two is given back. */
static int take_a_seat_twice(void *nothing) {
    struct pins pins = enter(1, SEATS);
    pthread_t thread;
    void *first;
    (void)nothing;
    if (setenv("THIRL_WEAVE_AT", "pin.sit.after:1:delay=200000", 1) != 0) return 1;
    if (pthread_create(&thread, NULL, pin_in_a_thread, &pins) != 0) return 2;
    for (int64_t until = clock_now() + 20 * CLOCK_S; atomic_load(&hall->seat[0].owner) == 0;) {
        if (clock_now() > until) return 3;
        atomic_pause();
    }
    uint32_t second = pin_search(&pins, 32);
    if (pthread_join(thread, &first) != 0) return 4;
    if (pins.mine[0] != 2) return 77; /* this one did not come in time */
    if (hall->seat[0].owner != 0 || hall->seat[1].owner != 1 || pins.mine[1] != 0) return 5;
    uint32_t pin = (uint32_t)(uintptr_t)first;
    return pin > PIN_SLOTS && second > PIN_SLOTS && pin_mine(&pins, pin, 16) && pin_mine(&pins, second, 32) ? 0 : 6;
}

static void threads_share_the_next_seat(void **state) {
    (void)state;
    int rc = 77;
    for (int i = 0; i < 5 && rc == 77; i++) {
        (void)clear(NULL);
        rc = room_run(take_a_seat_twice, NULL);
    }
    assert_int_equal(rc, 0);
}

static void there_is_an_end_to_pins(void **state) {
    struct pins pins = enter(1, PIN_MINE + 1), other = enter(2, PIN_MINE + 1), third = enter(3, PIN_MINE + 1);
    static uint32_t pin[PIN_MINE * PIN_SLOTS];
    (void)state;
    assert_int_equal(pin_join(&pins), 0);
    assert_int_equal(pin_join(&other), 0);
    assert_int_equal(pin_join(&third), 0);
    uint32_t foreign = pin_set(&other, 8);
    assert_true(foreign != 0 && pin_mine(&other, foreign, 8) && !pin_mine(&pins, foreign, 8));
    unsigned had = 0;
    while ((pin[had] = pin_search(&pins, 16 + had)) != 0) had++;
    assert_int_equal(had, (PIN_MINE - 1) * PIN_SLOTS); /* the seats of two are not its own */
    pin_leave(&third);
    while (had < PIN_MINE * PIN_SLOTS) assert_int_not_equal(pin[had] = pin_search(&pins, 16 + had), 0), had++;
    assert_int_equal(pin_search(&pins, 8), 0); /* a handle has so many */
    for (unsigned i = 0; i < had; i++) assert_true(pin_mine(&pins, pin[i], 16 + i));
    assert_false(pin_mine(&pins, pin[7], 8));  /* on another place, */
    assert_false(pin_mine(&pins, foreign, 8)); /* of another handle, */
    assert_false(pin_mine(&pins, 0, 8));       /* and none at all */
    pin_free(&pins, pin[7]);
    assert_false(pin_mine(&pins, pin[7], 0));
    assert_false(pin_mine(&pins, UINT32_MAX, 8));
    pin_leave(&pins);
    pin_leave(&other);
}

/* A pin of one who is dead is none, and his seat is free for the next; one of the living on the same place still is. */
static void the_dead_pin_nothing(void **state) {
    const uint64_t own = room_dice(UINT32_MAX) + 1, dead = UINT64_C(0x1234567800010000); /* a node that nobody has */
    struct pins gone = enter(dead, SEATS), pins = enter(own, SEATS);
    (void)state;
    assert_int_equal(pin_join(&gone), 0);
    assert_int_equal(pin_join(&pins), 0);
    assert_int_not_equal(pin_set(&gone, 8), 0);
    assert_int_not_equal(pin_set(&gone, 16), 0);
    uint32_t pin = pin_set(&pins, 16);
    assert_true(pin_is(&pins, 16));
    assert_true(hall->seat[0].owner == 0); /* nobody lay in the way, but the dead one */
    assert_false(pin_is(&pins, 8));
    pin_free(&pins, pin);
    assert_false(pin_is(&pins, 16));

    gone = enter(dead, SEATS); /* and where there are only the dead */
    assert_int_equal(pin_join(&gone), 0);
    assert_true(gone.mine[0] == 1 && pin_set(&gone, 8) != 0);
    assert_false(pin_is(&pins, 8));
    assert_true(hall->seat[0].owner == 0 && hall->seat[1].owner == own);
    pin_leave(&pins);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_is_late_sits_beside, clear),
        cmocka_unit_test_setup(threads_share_the_next_seat, clear),
        cmocka_unit_test_setup(there_is_an_end_to_pins, clear),
        cmocka_unit_test_setup(the_dead_pin_nothing, clear),
    };
    return cmocka_run_group_tests(tests, build, room_end);
}
