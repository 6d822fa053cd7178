/* SPDX-License-Identifier: MIT
 *
 * One at a time through the gate: for its owner alone, when that is revoked, and shared; and its deadlines.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/gate.h"
#include "tests/room.h"

#define GUESTS 3

#if defined(__SANITIZE_THREAD__)
#define IS_TSAN 1
#define FRESH 20
#define GUEST_ENTRIES 300
#else
#define IS_TSAN 0
#define FRESH 250
#define GUEST_ENTRIES 1500
#endif

/* inside and entries are plain memory: only the gate keeps the threads apart. */
static struct {
    struct gate gate;
    LINE_ALIGNED const void *inside;
    uint64_t entries, crowded;
    LINE_ALIGNED uint32_t guests; /* that have not finished */
    uint32_t owned;               /* the owner has been inside */
} place;

static void pass(void) {
    place.crowded += place.inside != NULL;
    place.inside = gate_self();
    place.entries++;
    atomic_order();
    place.crowded += place.inside != gate_self();
    place.inside = NULL;
}

static void *visit(void *argument) {
    (void)argument;
    while (atomic_load(&place.owned) == 0) atomic_pause();
    for (uint64_t i = room_dice(20000); i > 0; i--) atomic_pause();
    for (int i = 0; i < GUEST_ENTRIES; i++) {
        if (gate_enter(&place.gate, INT64_MAX) != 0) {
            abort();
        }
        pass();
        gate_leave(&place.gate);
    }
    (void)atomic_sub(&place.guests, 1);
    return NULL;
}

static uint64_t crowd(void) {
    pthread_t thread[GUESTS];
    uint64_t entries = 0;
    gate_init(&place.gate);
    place.entries = 0;
    place.crowded = 0;
    place.inside = NULL;
    atomic_store(&place.owned, 0);
    atomic_store(&place.guests, GUESTS);
    for (int i = 0; i < GUESTS; i++) assert_int_equal(pthread_create(&thread[i], NULL, visit, NULL), 0);
    for (; atomic_load(&place.guests) != 0; entries++) {
        assert_int_equal(gate_enter(&place.gate, INT64_MAX), 0);
        pass();
        gate_leave(&place.gate);
        atomic_store(&place.owned, 1);
    }
    for (int i = 0; i < GUESTS; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(place.entries, entries + (uint64_t)GUESTS * GUEST_ENTRIES);
    assert_int_equal(place.crowded, 0);
    assert_int_equal(place.gate.phase, GATE_SHARED);
    return place.entries;
}

static void lets_in_one_at_a_time(void **state) {
    (void)state;
    uint64_t entries = 0;
    for (int i = 0; i < FRESH; i++) entries += crowd();
    assert_true(entries >= (uint64_t)FRESH * GUESTS * GUEST_ENTRIES);
}

static void stays_with_a_lone_owner(void **state) {
    (void)state;
    struct gate gate;
    gate_init(&gate);
    for (int i = 0; i < 1000000; i++) {
        assert_int_equal(gate_enter(&gate, i % 2 ? 0 : INT64_MAX), 0);
        gate_leave(&gate);
    }
    assert_int_equal(gate.phase, IS_TSAN ? GATE_SHARED : GATE_OWNED);
    assert_int_equal(gate.busy, 0);
    assert_int_equal(gate.lock, 0);
}

/* Another thread's try, with how long it took. */
struct attempt {
    struct gate *gate;
    int64_t until, took;
    int rc;
};

static void *attempt(void *argument) {
    struct attempt *try = argument;
    int64_t began = clock_now();
    try->rc = gate_enter(try->gate, try->until);
    try->took = clock_now() - began;
    if (try->rc == 0) {
        gate_leave(try->gate);
    }
    return NULL;
}

static struct attempt try_elsewhere(struct gate *gate, int64_t until) {
    struct attempt try = {.gate = gate, .until = until};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, attempt, &try), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return try;
}

/* First with the owner inside whose ownership is about to be revoked, then with the lock that follows. */
static void keeps_deadlines(void **state) {
    (void)state;
    struct gate gate;
    gate_init(&gate);
    for (int shared = 0; shared < 2; shared++) {
        assert_int_equal(gate_enter(&gate, 0), 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(try_elsewhere(&gate, 0).rc, -EAGAIN);
            assert_int_equal(try_elsewhere(&gate, 1).rc, -ETIMEDOUT);
            int64_t before = clock_now();
            struct attempt late = try_elsewhere(&gate, before + 20 * CLOCK_MS);
            assert_int_equal(late.rc, -ETIMEDOUT);
            assert_true(clock_now() - before >= 20 * CLOCK_MS);
            assert_true(late.took < 2 * CLOCK_S);
        }
        assert_int_equal(gate.phase == GATE_SHARED, IS_TSAN || shared);
        gate_leave(&gate);
        /* Nobody is inside: a try that may not wait, and one whose time has passed, come in. */
        assert_int_equal(try_elsewhere(&gate, 0).rc, 0);
        assert_int_equal(try_elsewhere(&gate, 1).rc, 0);
        assert_int_equal(gate.phase, GATE_SHARED);
    }
    assert_int_equal(gate_enter(&gate, 0), 0);
    gate_leave(&gate);
}

static void wakes_who_waits(void **state) {
    (void)state;
    struct gate gate;
    gate_init(&gate);
    for (int round = 0; round < 10; round++) {
        struct attempt try[GUESTS];
        pthread_t thread[GUESTS];
        assert_int_equal(gate_enter(&gate, INT64_MAX), 0);
        for (int i = 0; i < GUESTS; i++) {
            try[i] = (struct attempt){.gate = &gate, .until = i == 0 ? INT64_MAX : clock_now() + 20 * CLOCK_S};
            assert_int_equal(pthread_create(&thread[i], NULL, attempt, &try[i]), 0);
        }
        room_sleep(5 * CLOCK_MS);
        int64_t left = clock_now();
        gate_leave(&gate);
        for (int i = 0; i < GUESTS; i++) {
            assert_int_equal(pthread_join(thread[i], NULL), 0);
            assert_int_equal(try[i].rc, 0);
        }
        assert_true(clock_now() - left < 2 * CLOCK_S);
    }
}

/* Who is counted and finds the place open may use it: whoever closes it waits for them. */
static struct house {
    struct gate gate;
    struct gate_count count;
    LINE_ALIGNED uint32_t closing, gone; /* gone: the closer is through */
    LINE_ALIGNED uint32_t late, calls;
    bool owns;   /* the first thread that comes has been inside before */
    bool shared; /* and the closer has been, before he closes */
} house;

static void *call_at(void *argument) {
    struct house *h = argument;
    if (h->owns) {
        (void)gate_enter(&h->gate, INT64_MAX);
        gate_leave(&h->gate);
    }
    for (bool open = true; open; (void)atomic_add(&h->calls, 1)) {
        gate_count_up(&h->gate, &h->count);
        open = atomic_load(&h->closing) == 0;
        for (uint64_t i = open ? room_dice(50) : 0; i > 0; i--) atomic_pause();
        (void)atomic_add(&h->late, open && atomic_load(&h->gone) != 0);
        gate_count_down(&h->gate, &h->count);
    }
    return NULL;
}

static void counts_who_is_there(void **state) {
    (void)state;
    uint64_t calls = 0;
    for (int round = 0; round < 8 * FRESH; round++) {
        pthread_t caller[2];
        const int callers = 1 + round % 2;
        house = (struct house){.owns = round % 4 < 2, .shared = round % 8 < 4};
        gate_init(&house.gate);
        for (int i = 0; i < callers; i++) assert_int_equal(pthread_create(&caller[i], NULL, call_at, &house), 0);
        while (atomic_load(&house.calls) == 0) atomic_pause();
        if (house.shared) {
            assert_int_equal(gate_enter(&house.gate, INT64_MAX), 0);
            gate_leave(&house.gate);
        }
        for (uint64_t i = room_dice(2000); i > 0; i--) atomic_pause();
        atomic_store(&house.closing, 1);
        if (!house.shared) {
            assert_int_equal(gate_enter(&house.gate, INT64_MAX), 0);
            gate_leave(&house.gate);
        }
        atomic_fence();
        while (gate_counted(&house.count) != 0) atomic_pause();
        atomic_store(&house.gone, 1);
        for (int i = 0; i < callers; i++) assert_int_equal(pthread_join(caller[i], NULL), 0);
        assert_int_equal(gate_counted(&house.count), 0);
        assert_int_equal(house.late, 0);
        calls += house.calls;
    }
    assert_true(calls >= 8 * FRESH);
}

static void *own_once(void *argument) {
    struct gate *gate = argument;
    return gate_enter(gate, 0) == 0 ? (gate_leave(gate), NULL) : gate;
}

/* The next thread may stand at the same address, and so be taken for it. */
static void outlives_its_owner(void **state) {
    (void)state;
    for (int round = 0; round < 50; round++) {
        struct gate gate;
        gate_init(&gate);
        for (int i = 0; i < 3; i++) {
            pthread_t thread;
            void *failed;
            assert_int_equal(pthread_create(&thread, NULL, own_once, &gate), 0);
            assert_int_equal(pthread_join(thread, &failed), 0);
            assert_null(failed);
        }
        assert_int_equal(gate_enter(&gate, 0), 0);
        gate_leave(&gate);
        assert_int_equal(gate.phase, GATE_SHARED);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stays_with_a_lone_owner), cmocka_unit_test(keeps_deadlines),
        cmocka_unit_test(wakes_who_waits),
        cmocka_unit_test(counts_who_is_there),
        cmocka_unit_test(outlives_its_owner),
        cmocka_unit_test(lets_in_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
