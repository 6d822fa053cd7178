/* SPDX-License-Identifier: MIT
 *
 * Many messages at once against a plain queue: sizes alike and not, runs that are taken out in pieces and in every way, over the wrap and at far
 * positions, damaged, and read while they are written.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mem/run.h"
#include "tests/room.h"

#define RING 8192
#define MOST 700  /* messages in one call */
#define EACH 1000 /* bytes of one */

static unsigned char *ring;

static int make_ring(void **state) {
    (void)state;
    ring = room_ring(RING);
    return ring != NULL ? 0 : -1;
}

static unsigned char shade(uint64_t number, size_t i) {
    return (unsigned char)(number * 37 + i * 131);
}

/* Both sides, and the sizes of what is between them. */
static struct model {
    struct lane writer, reader;
    struct run run;
    bool wide;
    uint64_t sent, got;
    size_t size[RING]; /* by number */
} model;

static void begin(uint64_t start, bool wide) {
    memset(ring, 0xee, RING);
    model = (struct model){.writer = {.ring = ring, .mask = RING - 1, .limit = start + RING},
                           .reader = {.ring = ring, .mask = RING - 1, .at = start},
                           .wide = wide};
    lane_begin(&model.writer, start);
}

/* Writes messages of those sizes, and shows what fitted: how many. */
static size_t put(const size_t *sizes, size_t count) {
    static unsigned char data[MOST][EACH];
    struct iovec messages[MOST];
    uint64_t first = 0, begun = model.writer.at;
    size_t bytes = 0, sum = 0;
    for (size_t i = 0; i < count; i++) {
        messages[i] = (struct iovec){data[i], sizes[i]};
        for (size_t k = 0; k < sizes[i]; k++) data[i][k] = shade(model.sent + i, k);
    }
    model.writer.limit = model.reader.at + RING;
    size_t n = run_write(&model.writer, messages, count, EACH, &bytes, &first, model.wide);
    for (size_t i = 0; i < n; i++) {
        model.size[(model.sent + i) % RING] = sizes[i];
        sum += sizes[i];
    }
    assert_true(n <= count && bytes == sum && model.writer.at <= model.writer.limit - sizeof(struct lane_head));
    uint32_t span, size;
    if (model.sent == model.got && model.run.left == 0) { /* nothing of it can be seen before it is shown */
        assert_int_equal(lane_look_away(&model.reader, &span, &size), 0);
    }
    if (n > 0) {
        run_commit(&model.writer, begun, first);
    }
    model.sent += n;
    return n;
}

static void check(const struct iovec *message) {
    const unsigned char *bytes = message->iov_base;
    assert_int_equal(message->iov_len, model.size[model.got % RING]);
    for (size_t k = 0; k < message->iov_len; k++) {
        if (bytes[k] != shade(model.got, k)) assert_int_equal(bytes[k], shade(model.got, k));
    }
    model.got++;
}

/* Copies out at most so many, into so much. */
static size_t get(size_t count, size_t capacity) {
    static _Alignas(8) char buffer[MOST * EACH + 64];
    struct iovec messages[MOST];
    size_t bytes = 0, sum = 0, end = 0;
    assert_true(capacity <= sizeof buffer - 64);
    memset(buffer + capacity, 0x5a, 64);
    size_t n = run_read(&model.reader, &model.run, buffer, capacity, messages, count, &bytes);
    assert_true(n <= count);
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)((char *)messages[i].iov_base - buffer);
        assert_true(at % 8 == 0 && at >= end && at + messages[i].iov_len <= capacity);
        end = at + messages[i].iov_len;
        sum += messages[i].iov_len;
        check(&messages[i]);
    }
    assert_int_equal(bytes, sum);
    for (size_t i = 0; i < 64; i++) assert_int_equal((unsigned char)buffer[capacity + i], 0x5a);
    return n;
}

/* Reads one where it stands, as whoever does not copy does. */
static bool look(void) {
    uint32_t span = 0, size = 0;
    if (model.run.left == 0) {
        if (lane_look_away(&model.reader, &span, &size) != 1) return false;
        if (lane_is_run(size)) run_enter(&model.run, size);
    }
    if (model.run.left != 0) {
        span = run_span(&model.run);
        size = model.run.size;
        model.run.left--;
    }
    const struct iovec message = {lane_payload(lane_at(&model.reader, model.reader.at)), size};
    check(&message);
    model.reader.at += span;
    return true;
}

static void empties(void) {
    while (get(MOST, (size_t)MOST * EACH) != 0) continue;
    assert_int_equal(model.got, model.sent);
    assert_int_equal(model.reader.at, model.writer.at);
}

static const uint64_t starts[] = {
    0, 8, RING - 8, (UINT64_C(1) << 32) - 1024, (UINT64_C(1) << 32) - 8, (UINT64_C(1) << 63) - 8};
#define STARTS (sizeof starts / sizeof *starts)

static void every_size_comes_as_it_went(void **state) {
    (void)state;
    size_t sizes[40];
    for (size_t s = 0; s < STARTS; s++) {
        begin(starts[s], wide_here() && s % 2 == 0);
        for (size_t size = 0; size <= 150; size++) {
            for (size_t i = 0; i < 40; i++) sizes[i] = size;
            size_t count = 1 + size % 40, there = put(sizes, count);
            assert_true(there == count || size > 100);
            assert_int_equal(get(MOST, (size_t)MOST * EACH), there);
            empties();
        }
    }
}

/* A short one costs no header of its own where others of its size stand beside it. */
static void a_run_has_one_header(void **state) {
    (void)state;
    size_t sizes[32];
    begin(0, wide_here());
    for (size_t i = 0; i < 32; i++) sizes[i] = 8;
    assert_int_equal(put(sizes, 32), 32);
    assert_int_equal(model.writer.at, 8 + 32 * 8);
    empties();
    sizes[1] = 9; /* 1, 1, and 30 */
    assert_int_equal(put(sizes, 32), 32);
    assert_int_equal(get(2, EACH), 2);
    assert_int_equal(model.run.left, 0);
    assert_int_equal(get(1, EACH), 1);
    assert_int_equal(model.run.left, 29);
    empties();
}

/* As many as there is room for, and no more than are committed together, or a little more. */
static void as_many_as_fit(void **state) {
    (void)state;
    static size_t sizes[MOST];
    for (size_t size = 1; size <= 64; size++) {
        begin(starts[size % STARTS], wide_here());
        for (size_t i = 0; i < MOST; i++) sizes[i] = size;
        size_t there = 0, some;
        while ((some = put(sizes, MOST)) != 0) {
            assert_true(some * lane_round(size) <= RUN_BYTES + CACHE_LINE);
            there += some;
        }
        assert_true(model.writer.limit - model.writer.at < 2 * sizeof(struct lane_head) + lane_span(size) + CACHE_LINE);
        assert_true(there >= (RING - 64) / (lane_round(size) + 8));
        while (model.got != model.sent) assert_true(look());
        assert_false(look());
        empties();
    }
}

static void stops_where_data_is_missing(void **state) {
    (void)state;
    char data[8] = "1234567";
    for (size_t missing = 0; missing < 12; missing++) {
        struct iovec messages[12];
        uint64_t first = 0;
        size_t bytes = 0;
        begin(0, false);
        for (size_t i = 0; i < 12; i++) messages[i] = (struct iovec){i == missing ? NULL : data, 8};
        assert_int_equal(run_write(&model.writer, messages, 12, EACH, &bytes, &first, false), missing);
        assert_int_equal(bytes, 8 * missing);
        messages[missing].iov_len = 0; /* of nothing nothing is missing */
        begin(0, false);
        assert_int_equal(run_write(&model.writer, messages, 12, EACH, &bytes, &first, false), 12);
    }
}

static void anything_in_any_way(void **state) {
    (void)state;
    static size_t sizes[MOST];
    unsigned turns = room_is_brief() ? 20000 : 200000;
    begin(starts[room_dice(STARTS)], wide_here());
    for (unsigned turn = 0; turn < turns; turn++) {
        size_t count = 1 + room_dice(room_dice(4) == 0 ? MOST : 40), alike = 0, size = 0;
        for (size_t i = 0; i < count; i++, alike--) {
            if (alike == 0) {
                alike = 1 + room_dice(room_dice(2) == 0 ? 3 : 60);
                size = room_dice(4) == 0 ? room_dice(EACH + 1) : room_dice(3) == 0 ? 8 : room_dice(70);
            }
            sizes[i] = size;
        }
        (void)put(sizes, count);
        for (uint64_t left = room_dice(8); left != 0; left--) {
            if (room_dice(2) == 0) {
                (void)look();
            } else {
                (void)get(1 + room_dice(room_dice(2) == 0 ? 5 : MOST), room_dice(room_dice(2) == 0 ? 200 : 5000));
            }
        }
    }
    empties();
}

/* ---- damage ---- */

static void finds_damage(void **state) {
    (void)state;
    char buffer[256];
    struct iovec messages[4];
    for (int i = 0; i < 300000; i++) {
        size_t bytes;
        begin(0, false);
        uint32_t span = (uint32_t)room_dice(UINT64_C(1) << (1 + room_dice(32)));
        uint32_t each = (uint32_t)room_dice(256), count = (uint32_t)room_dice(UINT64_C(1) << room_dice(23));
        span = room_dice(2) == 0 ? (uint32_t)(8 + count * lane_round(each)) : span;
        uint32_t size = lane_run(count, each);
        bool sound = span < RING && each != 0 && count != 0 && 8 + (uint64_t)count * lane_round(each) == span;
        atomic_poke(&lane_at(&model.reader, 0)->word, lane_word(span, size));
        uint32_t seen_span, seen_size;
        assert_int_equal(lane_look_away(&model.reader, &seen_span, &seen_size), span == 0 ? 0 : sound ? 1 : -1);
        assert_int_equal(lane_look(&model.reader, &seen_span, &seen_size) == 1, false); /* where there can be none */
        size_t n = run_read(&model.reader, &model.run, buffer, sizeof buffer, messages, 4, &bytes);
        assert_true(n == 0 || sound);
        assert_int_equal(model.run.left, sound ? count - n : 0);
        assert_int_equal(model.reader.at, n == 0 ? 0 : n * lane_round(each) + (n == count ? 8 : 0));
    }
    for (uint32_t flag = LANE_SKIP; flag != 0;
         flag ^= LANE_SKIP ^ LANE_AWAY) { /* gaps, and what lies elsewhere, are for others */
        size_t bytes;
        begin(0, false);
        atomic_poke(&lane_at(&model.reader, 0)->word, lane_word(32, flag | 24));
        assert_int_equal(run_read(&model.reader, &model.run, buffer, sizeof buffer, messages, 4, &bytes), 0);
        assert_int_equal(model.reader.at, 0);
        if (flag == LANE_AWAY) break;
    }
}

/* ---- two threads ---- */

#define FLOOD (1u << 20) /* a ring that is written once: TSan knows no memory that is mapped twice */
#define BATCH 24

static size_t size_of(uint64_t batch) {
    return batch % 3 == 0 ? 8 : batch % 3 == 1 ? 1 + batch % 64 : 64;
}

static void *write_all(void *argument) {
    struct lane *lane = argument;
    char data[64];
    struct iovec messages[BATCH];
    for (uint64_t batch = 0; lane->limit - lane->at > 4 * BATCH * 72; batch++) {
        uint64_t first = 0, begun = lane->at;
        size_t bytes = 0;
        memset(data, (int)(batch & 0xff), sizeof data);
        for (size_t i = 0; i < BATCH; i++) messages[i] = (struct iovec){data, i == BATCH / 2 ? 5 : size_of(batch)};
        if (run_write(lane, messages, BATCH, EACH, &bytes, &first, wide_here()) != BATCH) abort();
        run_commit(lane, begun, first);
    }
    return NULL;
}

static void is_read_while_it_is_written(void **state) {
    (void)state;
    unsigned char *flood = room_ring(FLOOD);
    assert_non_null(flood);
    struct lane writer = {.ring = flood, .mask = FLOOD - 1, .limit = FLOOD}, reader = writer;
    struct run run = {0};
    static _Alignas(8) char buffer[BATCH * 64];
    struct iovec messages[BATCH];
    pthread_t thread;
    lane_begin(&writer, 0);
    assert_int_equal(pthread_create(&thread, NULL, write_all, &writer), 0);
    uint64_t got = 0, batches = 0;
    bool over = false;
    for (size_t bytes, n = 0; !over || n != 0; got += n) {
        over = over || pthread_tryjoin_np(thread, NULL) == 0;
        n = run_read(&reader, &run, buffer, sizeof buffer, messages, 1 + got % BATCH, &bytes);
        for (size_t i = 0; i < n; i++) {
            batches = (got + i) / BATCH;
            size_t wanted = (got + i) % BATCH == BATCH / 2 ? 5 : size_of(batches);
            const unsigned char *data = messages[i].iov_base;
            assert_true(messages[i].iov_len == wanted && data[0] == (batches & 0xff) &&
                        data[wanted - 1] == (batches & 0xff));
        }
    }
    assert_true(batches > 100 && got % BATCH == 0);
    assert_int_equal(reader.at, writer.at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#if !defined(__SANITIZE_THREAD__) /* which has no ring that is mapped twice */
        cmocka_unit_test(every_size_comes_as_it_went),
        cmocka_unit_test(a_run_has_one_header),
        cmocka_unit_test(as_many_as_fit),
        cmocka_unit_test(stops_where_data_is_missing),
        cmocka_unit_test(anything_in_any_way),
        cmocka_unit_test(finds_damage),
#endif
        cmocka_unit_test(is_read_while_it_is_written),
    };
    return cmocka_run_group_tests(tests, make_ring, NULL);
}
