/* SPDX-License-Identifier: MIT
 *
 * The shelf of a cache: at random against a plain list of what was put, with pins on what is replaced, removed and pushed out; and
 * a process that is killed at each instruction of each operation: everything is consistent behind it, is as before or as after, and
 * nothing is lost. A reader is held while others write, and a writer while others read: at some instructions, or with the argument "all" at
 * each; "all OPERATION INSTRUCTION" begins with that writer there.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/weave.h"
#include "include/thirl/thirl.h"
#include "mem/node.h"
#include "mem/store.h"
#include "tests/room.h"
#include "tests/step.h"

#define BYTES (UINT64_C(1) << 17)
#define BUCKETS 16 /* few: chains are long */
#define SEATS 8
#define LARGEST 3000

static unsigned char *base;

static int begin(void **state) {
    base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return base == MAP_FAILED ? -1 : room_begin(state);
}

static int clear(void **state) {
    (void)state;
    memset(base, 0, BYTES);
    shelf_begin(base, BYTES, BUCKETS, SEATS, 77);
    return 0;
}

/* With a seat. */
static struct shelf *join(void) {
    static struct node_end *line;
    static struct shelf shelf;
    if (node_id() == 0 && node_end_take(&line, "shelf", 0, true) != 0) {
        abort();
    }
    if (shelf_check(&shelf, base, BYTES, node_id(), "the shelf") != 0 || pin_join(&shelf.pins) != 0) {
        abort();
    }
    return &shelf;
}

static void audit(const struct shelf *shelf) {
    uint64_t where;
    int rc = shelf_audit(shelf, &where);
    if (rc != 0) {
        print_message("inconsistent at %llu\n", (unsigned long long)where);
    }
    assert_int_equal(rc, 0);
}

/* A value that follows from its key and the number of its putting. */
static uint32_t fill(unsigned char *value, uint32_t key, uint32_t number) {
    uint32_t size = 8 + (key * 7919u + number * 104729u) % (number % 8 == 0 ? LARGEST - 8 : 200);
    memset(value, (int)(key + number), size);
    memcpy(value, &key, sizeof key);
    memcpy(value + 4, &number, sizeof number);
    return size;
}

/* Which number of that key it is; 0: it is none. */
static uint32_t number_of(const unsigned char *value, uint32_t bytes, uint32_t key) {
    unsigned char same[LARGEST];
    uint32_t number, in;
    if (value == NULL || bytes < 8) {
        return 0;
    }
    memcpy(&in, value, sizeof in);
    memcpy(&number, value + 4, sizeof number);
    return in == key && fill(same, key, number) == bytes && memcmp(value, same, bytes) == 0 ? number : 0;
}

/* Of several lengths, some of them the beginning of others. */
static struct shelf_key key_of(const struct shelf *shelf, uint32_t key) {
    static char text[64];
    int n = snprintf(text, sizeof text, "key/%.*s%u", (int)(key % 30), "..............................", key);
    return shelf_key(shelf, text, (uint16_t)n);
}

static int put(struct shelf *shelf, uint32_t key, uint32_t number, uint64_t *version) {
    unsigned char value[LARGEST];
    struct shelf_key k = key_of(shelf, key);
    struct store_new what = {.value = value, .bytes = fill(value, key, number), .expiry = INT64_MAX};
    what.compare = version != NULL;
    what.version = version != NULL ? *version : 0;
    int rc = store_put(shelf, &k, &what);
    if (version != NULL) {
        *version = what.version;
    }
    return rc;
}

static int find(struct shelf *shelf, uint32_t key, struct shelf_hit *hit) {
    bool late;
    struct shelf_key k = key_of(shelf, key);
    return shelf_find(shelf, &k, hit, &late);
}

static int lock(struct shelf *shelf) {
    int rc = arena_lock(&shelf->arena, INT64_MAX);
    return rc == OWN_DIED ? 0 : rc;
}

/* Nothing is left of it: everything that was ever put has gone, and all of the room is free. */
static void empty(struct shelf *shelf, uint32_t keys) {
    for (uint32_t key = 0; key < keys; key++) {
        struct shelf_key k = key_of(shelf, key);
        int rc = store_remove(shelf, &k, false);
        assert_true(rc == 0 || rc == -ENOENT);
    }
    store_sweep(shelf, UINT64_MAX);
    audit(shelf);
    assert_int_equal(shelf->head->arena.used, 0);
    assert_int_equal(shelf->head->arena.top, shelf->first);
}

/* ---- at random ---- */

#define KEYS 300
#define HELD 12

static uint32_t last[KEYS];     /* number that was put last; 0: removed */
static uint64_t versions[KEYS]; /* of it */
static struct {
    uint32_t key, number;
    struct shelf_hit hit;
} held[HELD];

static void look_for(struct shelf *shelf, uint32_t key, unsigned hand) {
    struct shelf_hit hit;
    int rc = find(shelf, key, &hit);
    assert_true(rc == 0 || rc == -ENOENT);
    if (rc == 0) {
        uint32_t number = number_of(hit.value, hit.bytes, key);
        assert_int_not_equal(number, 0);
        assert_int_equal(number, last[key]);
        assert_int_equal(hit.version, versions[key]);
        if (held[hand].hit.pin == 0) {
            held[hand].key = key;
            held[hand].number = number;
            held[hand].hit = hit;
        } else {
            pin_free(&shelf->pins, hit.pin);
        }
    }
}

static void let_go(struct shelf *shelf, unsigned hand) {
    if (held[hand].hit.pin != 0) { /* whatever happened to its key */
        assert_int_equal(number_of(held[hand].hit.value, held[hand].hit.bytes, held[hand].key), held[hand].number);
        assert_true(pin_mine(&shelf->pins, held[hand].hit.pin, held[hand].hit.at));
        pin_free(&shelf->pins, held[hand].hit.pin);
        held[hand].hit.pin = 0;
    }
}

static void change(struct shelf *shelf, uint32_t key, uint32_t number) {
    struct shelf_key k = key_of(shelf, key);
    assert_int_equal(lock(shelf), 0);
    if (room_dice(8) == 0) {
        int rc = store_remove(shelf, &k, false);
        assert_true(rc == 0 || rc == -ENOENT);
        last[key] = 0;
    } else {
        uint64_t version = versions[key];
        int rc = put(shelf, key, number, room_dice(3) == 0 ? &version : NULL);
        if (rc == STORE_OTHER) { /* it was pushed out, or removed */
            assert_int_equal(version, 0);
        } else {
            assert_int_equal(rc, 0);
            versions[key] = shelf->head->number;
            last[key] = number;
        }
    }
    arena_unlock(&shelf->arena);
}

static void keeps_what_was_put(void **state) {
    (void)state;
    struct shelf *shelf = join();
    memset(last, 0, sizeof last);
    memset(held, 0, sizeof held);
    for (uint32_t i = 1; i <= 40000; i++) {
        uint32_t key = (uint32_t)room_dice(room_dice(2) == 0 ? KEYS / 10 : KEYS);
        unsigned hand = (unsigned)room_dice(HELD);
        switch (room_dice(4)) {
        case 0:
            change(shelf, key, i);
            break;
        case 1:
            let_go(shelf, hand);
            break;
        default:
            look_for(shelf, key, hand);
        }
        if (i % 16 == 0) {
            audit(shelf);
        }
    }
    struct pin_sums sums;
    pin_sum(&shelf->pins, &sums);
    print_message("%llu hits, %llu misses, %llu evicted, %llu pinned still\n", (unsigned long long)sums.hits,
                  (unsigned long long)sums.misses, (unsigned long long)shelf->head->evicted,
                  (unsigned long long)sums.pins);
    assert_true(sums.hits > 3000 && sums.misses > 1000 && shelf->head->evicted > 100);
    for (unsigned hand = 0; hand < HELD; hand++) {
        let_go(shelf, hand);
    }
    assert_int_equal(lock(shelf), 0);
    empty(shelf, KEYS);
    arena_unlock(&shelf->arena);
    pin_leave(&shelf->pins);
}

/* What is pinned is not free, and is not worth being pushed out; when all of it is pinned there is no room. */
static void pinned_is_not_free(void **state) {
    (void)state;
    struct shelf *shelf = join();
    struct shelf_hit hit[PIN_SLOTS * SEATS + 1];
    unsigned pinned = 0;
    uint32_t key = 0;
    memset(hit, 0, sizeof hit);
    int rc = 0;
    assert_int_equal(lock(shelf), 0);
    for (; rc == 0 && key < 10000; key++) {
        rc = put(shelf, key, 8, NULL);
        if (rc == 0) {
            assert_int_equal(find(shelf, key, &hit[pinned]), 0);
            pinned++;
        }
    }
    assert_int_equal(rc, -ENOSPC);
    audit(shelf);
    assert_int_equal(shelf->head->sieve.queue[SIEVE_LIMBO].items, 0);
    for (unsigned i = 0; i < pinned; i++) {
        assert_int_equal(number_of(hit[i].value, hit[i].bytes, i), 8);
    }
    struct shelf_key k = key_of(shelf, 0);
    assert_int_equal(store_remove(shelf, &k, false), 0);
    assert_int_equal(shelf->head->sieve.queue[SIEVE_LIMBO].items, 1);
    assert_int_equal(number_of(hit[0].value, hit[0].bytes, 0), 8);
    assert_int_equal(find(shelf, 0, &hit[pinned]), -ENOENT);
    for (unsigned i = 0; i < pinned; i++) {
        pin_free(&shelf->pins, hit[i].pin);
    }
    assert_int_equal(put(shelf, key, 8, NULL), 0);
    assert_int_equal(shelf->head->sieve.queue[SIEVE_LIMBO].items, 0);
    empty(shelf, key + 1);
    arena_unlock(&shelf->arena);
    pin_leave(&shelf->pins);
}

static void pins_have_an_end(void **state) {
    (void)state;
    struct shelf *shelf = join();
    struct shelf_hit hit[PIN_SLOTS * SEATS + 1];
    assert_int_equal(lock(shelf), 0);
    assert_int_equal(put(shelf, 1, 1, NULL), 0);
    arena_unlock(&shelf->arena);
    for (unsigned i = 0; i < PIN_SLOTS * SEATS; i++) {
        assert_int_equal(find(shelf, 1, &hit[i]), 0);
    }
    assert_int_equal(find(shelf, 1, &hit[PIN_SLOTS * SEATS]), -EBUSY);
    struct shelf other = *shelf;
    assert_int_equal(pin_join(&other.pins), -EUSERS);
    pin_free(&shelf->pins, hit[100].pin);
    assert_false(pin_mine(&shelf->pins, hit[100].pin, hit[100].at));
    assert_int_equal(find(shelf, 1, &hit[100]), 0);
    pin_leave(&shelf->pins);
    assert_int_equal(lock(shelf), 0);
    empty(shelf, 2);
    arena_unlock(&shelf->arena);
}

static void damage_is_told(void **state) {
    (void)state;
    struct shelf *shelf = join();
    struct shelf_hit hit;
    struct shelf_key k = key_of(shelf, 1);
    const uint64_t wrong[] = {8, shelf->first, shelf->end, shelf->end + 4096, UINT64_MAX - 15, shelf->first + 40};
    assert_int_equal(lock(shelf), 0);
    assert_int_equal(put(shelf, 1, 1, NULL), 0);
    uint64_t *word = &shelf_bucket(shelf, k.hash)->first, right = *word;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        *word = wrong[i];
        assert_int_equal(find(shelf, 1, &hit), -THIRL_EFORMAT);
        assert_int_equal(put(shelf, 1, 2, NULL), -THIRL_EFORMAT);
        assert_int_equal(store_remove(shelf, &k, false), -THIRL_EFORMAT);
    }
    *word = right;
    shelf_item(shelf, right)->next = right; /* a circle */
    assert_int_equal(find(shelf, 1, &hit), 0);
    struct shelf_key none = k;
    none.hash ^= UINT64_C(1) << 40;
    bool late;
    assert_int_equal(shelf_find(shelf, &none, &hit, &late), -THIRL_EFORMAT);
    shelf_item(shelf, right)->next = 0;
    shelf_item(shelf, right)->value_bytes = UINT32_MAX; /* larger than all there is: not found, and not read */
    assert_int_equal(find(shelf, 1, &hit), -ENOENT);
    arena_unlock(&shelf->arena);
    struct shelf copy;
    shelf->head->buckets = UINT64_C(1) << 62;
    assert_int_equal(shelf_check(&copy, base, BYTES, 1, "x"), -THIRL_EFORMAT);
    pin_leave(&shelf->pins);
}

/* ---- death ---- */

#define KEYS_BEFORE 700 /* more than there is room for */

enum { PUT, REPLACE, PUSH_OUT, REMOVE, GET, SWEEP, SWAP, OPS };

/* What is there before the operation: some neighbours, and key 1. */
static int prepare(struct shelf *shelf, int op) {
    int rc = lock(shelf);
    for (uint32_t key = 2; rc == 0 && key < (op == PUSH_OUT ? KEYS_BEFORE : 6); key++) {
        rc = put(shelf, key, 2, NULL);
    }
    if (rc == 0 && op != PUT) {
        rc = put(shelf, 1, 1, NULL);
    }
    struct shelf_hit hit;
    if (rc == 0 && op == SWEEP) {
        struct shelf_key k = key_of(shelf, 3);
        rc = find(shelf, 3, &hit);
        rc = rc != 0 ? rc : store_remove(shelf, &k, false);
        pin_free(&shelf->pins, hit.pin);
    }
    arena_unlock(&shelf->arena);
    return rc;
}

static int operate(int op, void (*mark)(void)) {
    struct shelf *shelf = join();
    struct shelf_key k = key_of(shelf, 1);
    struct shelf_hit hit;
    uint64_t version = shelf->head->number;
    int rc = prepare(shelf, op);
    version += op == SWAP ? 5 : 0;
    if (rc != 0) {
        return 1;
    }
    mark();
    if (op == GET) {
        rc = find(shelf, 1, &hit);
        if (rc == 0 && number_of(hit.value, hit.bytes, 1) != 1) {
            rc = 1;
        }
    } else {
        rc = lock(shelf);
        rc = rc != 0        ? rc
             : op == REMOVE ? store_remove(shelf, &k, false)
             : op == SWEEP  ? (store_sweep(shelf, UINT64_MAX), 0)
                            : put(shelf, op == PUSH_OUT ? KEYS_BEFORE : 1, 17, op == SWAP ? &version : NULL);
        arena_unlock(&shelf->arena);
    }
    mark();
    return rc;
}

static int do_op(void *op) {
    return operate(*(int *)op, step_mark);
}

static void look_behind(int op) {
    struct shelf *shelf = join();
    struct shelf_hit hit;
    int rc = find(shelf, 1, &hit); /* readers go on at once, whatever the dead one left */
    assert_true(rc == 0 || rc == -ENOENT);
    if (rc == 0) {
        uint32_t number = number_of(hit.value, hit.bytes, 1);
        assert_true(number == 1 || number == 17);
        pin_free(&shelf->pins, hit.pin);
    }
    assert_true(rc == 0 || op == PUT || op == REMOVE || op == PUSH_OUT);
    assert_int_equal(lock(shelf), 0);
    audit(shelf);
    (void)pin_bury(&shelf->pins);
    assert_int_equal(put(shelf, 1, 24, NULL), 0);
    assert_int_equal(find(shelf, 1, &hit), 0);
    assert_int_equal(number_of(hit.value, hit.bytes, 1), 24);
    pin_free(&shelf->pins, hit.pin);
    empty(shelf, op == PUSH_OUT ? KEYS_BEFORE + 1 : 6);
    arena_unlock(&shelf->arena);
    pin_leave(&shelf->pins);
    struct pin_sums sums;
    pin_sum(&shelf->pins, &sums);
    assert_int_equal(sums.seats, 0);
    assert_int_equal(sums.pins, 0);
}

static struct step_trace trace;
static int first_op = REPLACE; /* "all" begins there */
static unsigned first_at, stride = 401;

static bool go_through(int op) {
    (void)clear(NULL);
    if (!step_through(&trace, step_begin(do_op, &op), base, BYTES)) {
        print_message("skip: no process can be traced here\n");
        return false;
    }
    assert_true(trace.instructions > 100 && trace.states > 1);
    return true;
}

static void survives_a_kill_at_each_instruction(void **state) {
    (void)state;
    unsigned instructions = 0, states = 0;
    step_on_one_processor();
    for (int op = 0; op < OPS; op++, step_forget(&trace)) {
        if (!go_through(op)) {
            return;
        }
        instructions += trace.instructions;
        states += trace.states;
        do look_behind(op);
        while (step_next(&trace));
    }
    print_message("%d operations were killed at each of %u instructions: %u states\n", OPS, instructions, states);
}

/* A reader that is held at each instruction of a get, while what it looks for is pushed out and its memory used again. */
static void a_reader_may_be_overtaken(void **state) {
    (void)state;
    int op = GET;
    unsigned trials = 0;
    step_on_one_processor();
    if (!go_through(op)) {
        return;
    }
    for (unsigned at = 0; at <= trace.instructions; at += (stride + 7) / 8, trials++) {
        (void)clear(NULL);
        pid_t child = step_begin(do_op, &op);
        assert_true(step_to(child, &trace, at));
        struct shelf *shelf = join();
        struct shelf_key k = key_of(shelf, 1);
        assert_int_equal(lock(shelf), 0);
        assert_int_equal(store_remove(shelf, &k, false), 0);
        for (uint32_t key = 10; key < 1500; key++) {
            assert_int_equal(put(shelf, key, 3, NULL), 0);
        }
        audit(shelf);
        arena_unlock(&shelf->arena);
        int status = step_let(child);
        /* It has found the whole old value, or nothing. */
        assert_true(status == 0 || status == 256 - ENOENT);
        pin_leave(&shelf->pins);
    }
    print_message("a reader was overtaken at %u of its %u instructions\n", trials, trace.instructions);
    step_forget(&trace);
}

/* The other way round: a writer that is held, while a reader finds the old value or the new one, and keeps it. */
static void watch(int op, unsigned at) {
    (void)clear(NULL);
    pid_t child = step_begin(do_op, &op);
    assert_true(step_to(child, &trace, at));
    struct shelf *shelf = join();
    struct shelf_hit hit = {0};
    int rc = find(shelf, 1, &hit);
    uint32_t number = rc == 0 ? number_of(hit.value, hit.bytes, 1) : 0;
    assert_true(rc == 0 ? number == 1 || number == 17 : rc == -ENOENT && op != REPLACE);
    assert_int_equal(step_let(child), 0);
    assert_int_equal(lock(shelf), 0);
    for (uint32_t key = 4000; key < 5000; key++) {
        assert_int_equal(put(shelf, key, 3, NULL), 0);
    }
    assert_int_equal(rc == 0 ? number_of(hit.value, hit.bytes, 1) : 0, number);
    audit(shelf);
    arena_unlock(&shelf->arena);
    pin_leave(&shelf->pins);
}

static void a_writer_may_be_watched(void **state) {
    (void)state;
    unsigned trials = 0;
    step_on_one_processor();
    for (int op = first_op; op <= REMOVE; op++, step_forget(&trace), first_at = 0) {
        if (!go_through(op)) {
            return;
        }
        for (unsigned at = first_at; at <= trace.instructions; at += stride, trials++) {
            if (stride == 1 && at % 1000 == 0) print_message("all %d %u of %u\n", op, at, trace.instructions);
            watch(op, at);
        }
    }
    print_message("a writer was watched at %u of its instructions\n", trials);
}

int main(int count, char **words) {
    stride = count > 1 && strcmp(words[1], "all") == 0 ? 1 : stride;
    first_op = count > 2 ? (int)strtol(words[2], NULL, 10) : first_op;
    first_at = count > 3 ? (unsigned)strtoul(words[3], NULL, 10) : 0;
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {
        T(keeps_what_was_put),
        T(pinned_is_not_free),
        T(pins_have_an_end),
        T(damage_is_told),
        T(survives_a_kill_at_each_instruction),
        T(a_reader_may_be_overtaken),
        T(a_writer_may_be_watched),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
