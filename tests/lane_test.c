/* SPDX-License-Identifier: MIT
 *
 * The lane against a plain queue: all sizes, over the wrap, at far positions, committed in any order, and damaged.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mem/lane.h"
#include "tests/room.h"

#define RING 4096
#define BIG (1u << 20)

static unsigned char *small, *big; /* mirrored rings */

static int make_rings(void **state) {
    (void)state;
    small = room_ring(RING);
    big = room_ring(BIG);
    return small != NULL && big != NULL ? 0 : -1;
}

static const uint64_t starts[] = {0,
                                  8,
                                  RING - 8,
                                  (UINT64_C(1) << 31) - 1024,
                                  (UINT64_C(1) << 32) - 1024,
                                  (UINT64_C(1) << 32) - 8,
                                  (UINT64_C(1) << 63) - 1024,
                                  (UINT64_C(1) << 63) - 8};
#define STARTS (sizeof starts / sizeof *starts)

/* A lane with both its sides, and what should be in it. */
struct model {
    struct lane writer, reader;
    struct record {
        struct lane_head *head;
        uint32_t span, size;
        unsigned char seed;
        bool committed, skip;
    } record[RING / 8];
    size_t count; /* reserved and not yet read, oldest first */
};

static void begin(struct model *model, unsigned char *ring, size_t size, uint64_t start) {
    memset(ring, 0xee, size); /* what was there before means nothing */
    model->count = 0;
    model->writer = (struct lane){.ring = ring, .mask = size - 1, .limit = start + size};
    lane_begin(&model->writer, start);
    model->reader = (struct lane){.ring = ring, .mask = size - 1, .at = start};
}

static unsigned char shade(unsigned char seed, size_t i) {
    return (unsigned char)(seed + i * 131 + (i >> 8));
}

static bool reserve(struct model *model, uint32_t size) {
    uint32_t span = lane_span(size);
    assert_true(span % 8 == 0 && span >= size + 8 && span < size + 16);
    bool room = model->writer.at + span + 8 - model->reader.at <= model->writer.mask + 1;
    model->writer.limit = model->reader.at + model->writer.mask + 1;
    assert_int_equal(lane_fits(&model->writer, span), room);
    if (!room) return false;
    struct record *record = &model->record[model->count++];
    *record = (struct record){.span = span, .size = size, .seed = (unsigned char)room_dice(256)};
    record->head = lane_reserve(&model->writer, span);
    assert_true((uintptr_t)record->head % 8 == 0);
    unsigned char *payload = lane_payload(record->head);
    for (uint32_t i = 0; i < size; i++) payload[i] = shade(record->seed, i);
    return true;
}

static void commit(struct record *record, bool skip) {
    lane_commit(record->head, record->span, skip ? LANE_SKIP : record->size);
    record->committed = true;
    record->skip = skip;
}

/* One look by the reader; it goes on behind what it found. */
static bool read_one(struct model *model) {
    uint32_t span = 0, size = 0;
    bool due = model->count > 0 && model->record[0].committed;
    assert_int_equal(lane_look(&model->reader, &span, &size), due);
    if (!due) return false;
    struct record *record = &model->record[0];
    assert_int_equal(span, record->span);
    assert_int_equal(size, record->skip ? LANE_SKIP : record->size);
    const unsigned char *payload = lane_payload(lane_at(&model->reader, model->reader.at));
    for (uint32_t i = 0; i < record->size && !record->skip; i++) {
        if (payload[i] != shade(record->seed, i)) assert_int_equal(payload[i], shade(record->seed, i));
    }
    model->reader.at += span;
    memmove(record, record + 1, --model->count * sizeof *record);
    return true;
}

static void carries_all_sizes(void **state) {
    static struct model model;
    (void)state;
    for (size_t s = 0; s < STARTS; s++) {
        begin(&model, small, RING, starts[s]);
        assert_false(read_one(&model));
        for (uint32_t size = 0; size <= 300; size++) {
            assert_true(reserve(&model, size));
            assert_false(read_one(&model));
            commit(&model.record[0], false);
            assert_true(read_one(&model));
            assert_false(read_one(&model));
        }
    }
}

static void carries_large_ones(void **state) {
    static struct model model;
    (void)state;
    const uint32_t sizes[] = {BIG - 16, BIG - 17, BIG - 24, BIG / 2, BIG / 2 + 1, 65536, 100000, BIG - 16};
    begin(&model, big, BIG, (UINT64_C(1) << 32) - 4096);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_true(reserve(&model, sizes[i]));
        commit(&model.record[0], false);
        assert_true(read_one(&model));
    }
    assert_false(reserve(&model, BIG - 15)); /* one more byte than there ever can be */
}

/* Reserves, commits in any order, abandons, reads. */
static void behaves_like_a_queue(void **state) {
    static struct model model;
    (void)state;
    for (int round = 0; round < 60; round++) {
        begin(&model, small, RING, starts[round % STARTS] + 8 * room_dice(100));
        uint32_t most = room_dice(4) == 0 ? RING - 16 : 300;
        for (int step = 0; step < 2000; step++) {
            uint64_t what = room_dice(100);
            size_t open = 0;
            for (size_t i = 0; i < model.count; i++) open += !model.record[i].committed;
            if (what < 40) {
                (void)reserve(&model, (uint32_t)room_dice(most + 1));
            } else if (what < 75 && open > 0) {
                uint64_t nth = room_dice(open);
                size_t i = 0;
                while (model.record[i].committed || nth-- > 0) i++;
                commit(&model.record[i], room_dice(8) == 0);
            } else {
                (void)read_one(&model);
            }
        }
        for (size_t i = 0; i < model.count; i++) {
            if (!model.record[i].committed) commit(&model.record[i], false);
        }
        while (read_one(&model)) continue;
        assert_int_equal(model.count, 0);
        assert_int_equal(model.reader.at, model.writer.at);
    }
}

static void stops_before_the_unfinished(void **state) {
    static struct model model;
    (void)state;
    begin(&model, small, RING, RING - 64);
    for (int i = 0; i < 5; i++) assert_true(reserve(&model, 40));
    for (size_t i = 4; i > 0; i--) {
        commit(&model.record[i], i == 2);
        assert_false(read_one(&model));
    }
    commit(&model.record[0], false);
    for (int i = 0; i < 5; i++) assert_true(read_one(&model));
    assert_false(read_one(&model));
}

/* ---- damage ---- */

static int look_at(uint32_t span, uint32_t size) {
    struct lane lane = {.ring = small, .mask = RING - 1, .at = RING - 8};
    struct lane_head *head = lane_at(&lane, lane.at);
    head->word = (uint64_t)size << 32 | span;
    uint32_t seen_span, seen_size;
    int rc = lane_look(&lane, &seen_span, &seen_size);
    if (rc == 1 && (seen_span != span || seen_size != size)) return -2;
    return rc;
}

static void finds_damage(void **state) {
    (void)state;
    const uint32_t spans[] = {1, 4, 7, 12, 9, RING, RING + 8, RING - 4, 0x80000000, 0xfffffff8, UINT32_MAX};
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        assert_int_equal(look_at(spans[i], 0), -1);
        assert_int_equal(look_at(spans[i], LANE_SKIP), -1);
    }
    assert_int_equal(look_at(0, 12345), 0);
    assert_int_equal(look_at(8, 0), 1);
    assert_int_equal(look_at(8, 1), -1);
    assert_int_equal(look_at(64, 56), 1);
    assert_int_equal(look_at(64, 57), -1);
    assert_int_equal(look_at(64, LANE_SKIP | 56), 1);
    assert_int_equal(look_at(64, LANE_SKIP | 57), -1);
    assert_int_equal(look_at(64, LANE_SIZE_MAX), -1);
    assert_int_equal(look_at(64, UINT32_MAX), -1);
    assert_int_equal(look_at(RING - 8, RING - 16), 1);
    for (int i = 0; i < 200000; i++) {
        uint32_t span = (uint32_t)room_dice(UINT64_C(1) << (1 + room_dice(32)));
        uint32_t size = (uint32_t)room_dice(UINT64_C(1) << (1 + room_dice(32)));
        bool sound = span % 8 == 0 && span < RING && (uint64_t)(size & LANE_SIZE_MAX) + 8 <= span;
        int wanted = span == 0 ? 0 : sound ? 1 : -1;
        if (look_at(span, size) != wanted) assert_int_equal(look_at(span, size), wanted);
    }
}

/* ---- two threads ---- */

#if defined(__SANITIZE_THREAD__)
#define CARRIED 30000
#else
#define CARRIED 400000
#endif

static LINE_ALIGNED uint64_t cursor;

static uint32_t size_of(uint32_t i) {
    uint32_t hash = i * UINT32_C(2654435761);
    return hash >> 28 == 0 ? 8 + (hash >> 10) % 3000 : 8 + (hash >> 20) % 200;
}

static void *write_all(void *argument) {
    struct lane *lane = argument;
    for (uint32_t i = 0; i < CARRIED; i++) {
        uint32_t size = size_of(i), span = lane_span(size);
        while (!lane_fits(lane, span)) {
            lane->limit = atomic_load(&cursor) + RING; /* pairs with the store in carries_between_threads */
            atomic_pause();
        }
        struct lane_head *head = lane_reserve(lane, span);
        unsigned char *payload = lane_payload(head);
        memset(payload, (int)(i & 0xff), size);
        memcpy(payload, &i, sizeof i);
        lane_commit(head, span, i % 50 == 7 ? LANE_SKIP : size);
    }
    return NULL;
}

static void carries_between_threads(void **state) {
    const uint64_t start = (UINT64_C(1) << 32) - 80000;
    struct lane writer = {.ring = small, .mask = RING - 1, .limit = start + RING};
    struct lane reader = {.ring = small, .mask = RING - 1, .at = start};
    pthread_t thread;
    (void)state;
    lane_begin(&writer, start);
    atomic_poke(&cursor, start);
    assert_int_equal(pthread_create(&thread, NULL, write_all, &writer), 0);
    for (uint32_t i = 0; i < CARRIED; i++) {
        uint32_t span, size, number;
        int rc;
        while ((rc = lane_look(&reader, &span, &size)) == 0) atomic_pause();
        assert_int_equal(rc, 1);
        const unsigned char *payload = lane_payload(lane_at(&reader, reader.at));
        if ((i % 50 == 7) != ((size & LANE_SKIP) != 0)) fail();
        if ((size & LANE_SKIP) == 0) {
            memcpy(&number, payload, sizeof number);
            if (number != i || size != size_of(i)) assert_int_equal(number, i);
            for (uint32_t at = 4; at < size; at++) {
                if (payload[at] != (i & 0xff)) assert_int_equal(payload[at], i & 0xff);
            }
        }
        reader.at += span;
        atomic_store(&cursor, reader.at); /* pairs with the load in write_all */
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_all_sizes),    cmocka_unit_test(carries_large_ones),
        cmocka_unit_test(behaves_like_a_queue), cmocka_unit_test(stops_before_the_unfinished),
        cmocka_unit_test(finds_damage),         cmocka_unit_test(carries_between_threads),
    };
    return cmocka_run_group_tests(tests, make_rings, NULL);
}
