/* SPDX-License-Identifier: MIT
 *
 * What goes, measured: the hit rates of a shelf beside those of LRU with as many items, on shapes that traces have: popularity by
 * Zipf's law, with scans in between, loops longer than the cache, and popularity that changes. build/tests/sieve_test N: N requests of
 * each; prints a table.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mem/node.h"
#include "mem/store.h"
#include "tests/room.h"

#define THINGS 20000 /* that there are, but for those of a scan */
#define BLOCK 128    /* what an item costs here */
#define BUCKETS 4096

static unsigned long requests = 150000;

/* ---- shapes ---- */

static double share[THINGS]; /* of all requests, of the more popular ones and this one */

/* 1 / number to the power of so many tenths, without a library for it: Newton's way to the tenth root. */
static double weight(double number, int tenths) {
    double root = 1 + number / 10, product = 1;
    for (int i = 0; i < 200; i++) {
        double nine = root * root * root;
        nine *= nine * nine;
        root = (9 * root + number / nine) / 10;
    }
    for (int i = 0; i < tenths; i++) {
        product /= root;
    }
    return product;
}

static void make_zipf(int tenths) {
    double sum = 0;
    for (int i = 0; i < THINGS; i++) {
        sum += weight(i + 1, tenths);
        share[i] = sum;
    }
    for (int i = 0; i < THINGS; i++) {
        share[i] /= sum;
    }
}

static uint32_t zipf(void) {
    double at = (double)room_dice(UINT32_MAX) / UINT32_MAX;
    int low = 0, high = THINGS - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (share[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (uint32_t)low;
}

enum shape { ZIPF_07, ZIPF_10, SCANS, LOOP, MIXED, MOVES, SHAPES };
static const char *const names[] = {
    "Zipf 0.7",           "Zipf 1.0", "Zipf 0.9 with scans", "loop of twice the cache", "half Zipf 0.9, half loop",
    "Zipf 0.9 that moves"};

static void begin_shape(enum shape shape) {
    make_zipf(shape == ZIPF_07 ? 7 : shape == ZIPF_10 ? 10 : 9);
}

/* Request number i of the shape, for a cache of that many items. */
static uint32_t request(enum shape shape, unsigned long i, uint32_t items) {
    switch (shape) {
    case SCANS: /* each 20,000 requests 10,000 things that are wanted once */
        return i % 30000 < 10000 && i >= 30000 ? (uint32_t)(THINGS + i) : zipf();
    case LOOP:
        return (uint32_t)(i % (2 * items));
    case MIXED:
        return i % 2 == 0 ? zipf() : THINGS + (uint32_t)(i / 2 % (2 * items));
    case MOVES: /* the most popular one is another one after a while */
        return (zipf() + (uint32_t)(i / 500) * 10) % THINGS;
    default:
        return zipf();
    }
}

/* ---- LRU ---- */

#define NONE UINT32_MAX
#define LRU_KEYS (1 << 22)
static uint32_t older[LRU_KEYS], newer[LRU_KEYS], lru_first, lru_last, lru_items;
static bool there[LRU_KEYS];

static void lru_out(uint32_t key) {
    *(newer[key] != NONE ? &older[newer[key]] : &lru_first) = older[key];
    *(older[key] != NONE ? &newer[older[key]] : &lru_last) = newer[key];
    there[key] = false;
    lru_items--;
}

static bool lru(uint32_t key, uint32_t items) {
    key %= LRU_KEYS;
    bool hit = there[key];
    if (hit) {
        lru_out(key);
    } else if (lru_items == items) {
        lru_out(lru_last);
    }
    newer[key] = NONE;
    older[key] = lru_first;
    *(lru_first != NONE ? &newer[lru_first] : &lru_last) = key;
    lru_first = key;
    there[key] = true;
    lru_items++;
    return hit;
}

static void lru_begin(void) {
    memset(there, 0, sizeof there);
    lru_first = lru_last = NONE;
    lru_items = 0;
}

/* ---- the shelf ---- */

static bool look(struct shelf *shelf, uint32_t key) {
    struct shelf_hit hit;
    bool late;
    struct shelf_key k = shelf_key(shelf, &key, sizeof key);
    int rc = shelf_find(shelf, &k, &hit, &late);
    if (rc == 0) {
        pin_free(&shelf->pins, hit.pin);
        return true;
    }
    struct store_new what = {.value = &key, .bytes = sizeof key, .expiry = INT64_MAX};
    assert_int_equal(rc, -ENOENT);
    assert_true(arena_lock(&shelf->arena, INT64_MAX) >= 0);
    assert_int_equal(store_put(shelf, &k, &what), 0);
    arena_unlock(&shelf->arena);
    return false;
}

static struct shelf *begin_shelf(unsigned char *base, uint64_t bytes) {
    static struct shelf shelf;
    memset(base, 0, bytes);
    shelf_begin(base, bytes, BUCKETS, 1, 5);
    assert_int_equal(shelf_check(&shelf, base, bytes, node_id(), "the shelf"), 0);
    assert_int_equal(pin_join(&shelf.pins), 0);
    return &shelf;
}

static double rate[SHAPES][2];

static void measure(uint32_t items) {
    uint64_t bytes = shelf_least(BUCKETS, 1) - 4096 + (uint64_t)items * BLOCK;
    unsigned char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    print_message("%-26s %9s %9s   (%u items, %lu requests)\n", "", "thirl", "LRU", items, requests);
    for (enum shape shape = 0; shape < SHAPES; shape++) {
        struct shelf *shelf = begin_shelf(base, bytes);
        unsigned long hits[2] = {0};
        lru_begin();
        begin_shape(shape);
        for (unsigned long i = 0; i < requests; i++) {
            uint32_t key = request(shape, i, items);
            hits[0] += look(shelf, key);
            hits[1] += lru(key, items);
        }
        for (int i = 0; i < 2; i++) {
            rate[shape][i] = (double)hits[i] / (double)requests;
        }
        const struct sieve_queue *queue = shelf->head->sieve.queue;
        assert_int_equal(queue[SIEVE_SMALL].items + queue[SIEVE_MAIN].items, items);
        print_message("%-26s %8.1f%% %8.1f%%\n", names[shape], rate[shape][0] * 100, rate[shape][1] * 100);
    }
    (void)munmap(base, bytes);
}

static void finds_more_than_lru(void **state) {
    (void)state;
    struct node_end *line;
    assert_int_equal(node_end_take(&line, "sieve", 0, true), 0);
    for (uint32_t items = 400; items <= 4000; items *= 10) {
        measure(items);
        for (enum shape shape = 0; shape < SHAPES; shape++) {
            double gain = rate[shape][0] - rate[shape][1];
            assert_true(gain > (shape == LOOP ? -0.001 : 0.005) /* a loop is lost for all queues */);
        }
    }
    node_end_free(line);
}

/* What stands in an item is a hint, or is not believed. */
static void items_may_lie(void **state) {
    (void)state;
    static struct {
        struct sieve sieve;
        struct redo_log log;
        LINE_ALIGNED struct item item[2];
    } memory;
    struct sieve_view view = {.sieve = &memory.sieve, .base = (unsigned char *)&memory};
    const uint64_t lists[] = {SIEVE_LISTS, UINT64_MAX};
    for (int i = 0; i < 2; i++) {
        struct redo redo;
        redo_begin(&redo, &memory, sizeof memory, &memory.log);
        memory.item[0].list = lists[i];
        sieve_leave(&view, &redo, (uint64_t)((char *)memory.item - (char *)&memory), 128);
        assert_true(redo.wrong);
        assert_int_equal(redo_commit(&redo), -THIRL_EFORMAT);
    }
    memory.item[0].list = SIEVE_MAIN;
    uint8_t uses;
    for (unsigned found = 0; found < 256; found++) {
        memory.item[0].uses = (uint8_t)found;
        assert_int_equal(sieve_goes(&memory.item[0], &uses), found == 0);
        assert_true(found == 0 || uses <= ITEM_USES_MAX);
    }
    /* Who goes: of the small queue, as long as it has more than its part or the other one has nothing. */
    memory.sieve.queue[SIEVE_SMALL].oldest = 8;
    assert_int_equal(sieve_oldest(&view, 1000), 8);
    memory.sieve.queue[SIEVE_MAIN].oldest = 16;
    assert_int_equal(sieve_oldest(&view, 1000), 16);
    memory.sieve.queue[SIEVE_SMALL].bytes = 1000;
    assert_int_equal(sieve_oldest(&view, 1000), 8);
    memory.sieve.queue[SIEVE_SMALL].oldest = 0;
    assert_int_equal(sieve_oldest(&view, 1000), 16);
}

int main(int count, char **words) {
    requests = count > 1 ? strtoul(words[1], NULL, 10) : requests;
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_more_than_lru), cmocka_unit_test(items_may_lie)};
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
