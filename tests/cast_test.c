/* SPDX-License-Identifier: MIT
 *
 * The cast: readers that keep up get all, those that do not see the exact gap and never a torn record, from far positions on;
 * who comes late begins where it should; and a writer that writes garbage hurts nobody.
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

#include "mem/cast.h"
#include "tests/room.h"

#define RING ((size_t)4096)
#if defined(__SANITIZE_THREAD__)
#define RECORDS 8000
#else
#define RECORDS 1000000
#endif

static unsigned char *ring;
static struct cast_head head;

static int make_ring(void **state) {
    (void)state;
    ring = room_ring(RING);
    return ring != NULL ? 0 : -1;
}

static const uint64_t starts[] = {0, RING - 8, (UINT64_C(1) << 32) - 1024, (UINT64_C(1) << 63) - 1024};
#define STARTS (sizeof starts / sizeof *starts)

/* The payload of a number: words that all say it. */
static size_t size_of(uint64_t number) {
#if defined(__SANITIZE_THREAD__)
    (void)number;
    return 48; /* a whole cache line with what stands before it: the edge is never crossed */
#else
    return number * 13 % 200;
#endif
}

static void fill(unsigned char *data, uint64_t number) {
    for (size_t i = 0; i < size_of(number); i++) {
        data[i] = (unsigned char)(number * 31 + i);
    }
}

static bool intact(const unsigned char *data, size_t size, uint64_t number) {
    bool same = size == size_of(number);
    for (size_t i = 0; i < size && same; i++) {
        same = data[i] == (unsigned char)(number * 31 + i);
    }
    return same;
}

static void publish(struct cast_out *out) {
    unsigned char data[256] = {0};
    uint64_t number = out->number;
    size_t size = size_of(number);
    fill(data, number);
    uint32_t span = cast_span(out, size);
    if (!lane_fits(&out->lane, span)) {
        cast_raise(out, cast_up(out, out->lane.at + span + sizeof(struct lane_head) - RING));
        out->lane.limit = head.floor + RING;
        assert_true(lane_fits(&out->lane, span));
    }
    cast_commit(cast_write(out, data, size, span), span, size);
}

static void begin(struct cast_out *out, uint64_t start) {
    memset(ring, 0xee, RING); /* what was there before means nothing */
    memset(&head, 0, sizeof head);
    cast_begin(out, &head, ring, RING, start);
}

static void keeps_up(void **state) {
    (void)state;
    for (size_t s = 0; s < STARTS; s++) {
        struct cast_out out;
        struct cast_in in;
        struct cast_got got;
        unsigned char data[256];
        begin(&out, starts[s]);
        cast_follow(&in, &head, ring, RING, starts[s]);
        for (uint64_t i = 0; i < 5000; i++) {
            assert_int_equal(cast_read(&in, data, sizeof data, &got), 0);
            assert_false(cast_stirs(&in));
            publish(&out);
            assert_true(cast_stirs(&in));
            assert_int_equal(cast_read(&in, data, sizeof data, &got), 1);
            assert_int_equal(got.number, i);
            assert_int_equal(got.lost, 0);
            assert_true(intact(data, got.size, i));
        }
        assert_int_equal(in.laps, 0);
    }
}

static void falls_behind(void **state) {
    (void)state;
    for (size_t s = 0; s < STARTS; s++) {
        struct cast_out out;
        struct cast_in in;
        struct cast_got got;
        unsigned char data[256];
        uint64_t next = 0, lost = 0;
        begin(&out, starts[s]);
        cast_follow(&in, &head, ring, RING, starts[s]);
        for (int round = 0; round < 300; round++) {
            for (uint64_t i = room_dice(300); i > 0; i--) {
                publish(&out);
            }
            for (uint64_t i = room_dice(80); i > 0 && cast_read(&in, data, sizeof data, &got) == 1; i--) {
                assert_int_equal(got.number, next + got.lost);
                assert_true(intact(data, got.size, got.number));
                next = got.number + 1;
                lost += got.lost;
            }
        }
        while (cast_read(&in, data, sizeof data, &got) == 1) {
            assert_int_equal(got.number, next + got.lost);
            assert_true(intact(data, got.size, got.number));
            next = got.number + 1;
        }
        assert_int_equal(next, out.number);
        assert_true(lost > 0 && in.laps > 0);
        assert_true(out.lane.at - head.floor > RING / 2); /* what goes is a part, not everything */
    }
}

static void joins_late(void **state) {
    (void)state;
    for (size_t s = 0; s < STARTS; s++) {
        struct cast_out out;
        begin(&out, starts[s]);
        for (uint64_t sent = 0; sent < 400; sent++) {
            for (uint64_t history = 0; history < 12; history += 1 + history * 2) {
                struct cast_in in;
                struct cast_got got;
                unsigned char data[256];
                cast_follow(&in, &head, ring, RING, 0);
                assert_int_equal(cast_join(&in, history), 0);
                assert_int_equal(in.number, sent > history ? sent - history : 0);
                for (uint64_t i = in.number; i < sent; i++) {
                    assert_int_equal(cast_read(&in, data, sizeof data, &got), 1);
                    assert_int_equal(got.number, i);
                    assert_true(intact(data, got.size, i));
                }
                assert_int_equal(cast_read(&in, data, sizeof data, &got), 0);
                assert_int_equal(in.lane.at, out.lane.at);
            }
            publish(&out);
        }
        struct cast_in all;
        struct cast_got got;
        unsigned char data[256];
        cast_follow(&all, &head, ring, RING, 0);
        assert_int_equal(cast_join(&all, 1000000), 0); /* more than there is: from the floor on */
        assert_int_equal(all.lane.at, head.floor);
        assert_int_equal(cast_read(&all, data, sizeof data, &got), 1);
        assert_int_equal(got.lost, 0);
        assert_true(got.number > 0);
    }
}

static void knows_records(void **state) {
    (void)state;
    for (size_t s = 0; s < STARTS; s++) {
        struct cast_out out;
        uint64_t at[5000];
        begin(&out, starts[s]);
        for (uint64_t i = 0; i < 3000; i++) {
            at[i] = out.lane.at;
            publish(&out);
            uint64_t place = head.floor + room_dice(out.lane.at - head.floor + 1);
            uint64_t up = cast_up(&out, place), down = cast_down(&out, place);
            assert_true(up >= place && down <= place && down >= head.floor);
            bool is_up = up == out.lane.at, is_down = down == out.lane.at;
            for (uint64_t j = 0; j <= i; j++) {
                is_up = is_up || at[j] == up;
                is_down = is_down || at[j] == down;
            }
            assert_true(is_up && is_down);
        }
        assert_int_equal(cast_down(&out, out.lane.at), out.lane.at);
    }
}

static void does_not_fit(void **state) {
    (void)state;
    struct cast_out out;
    struct cast_in in;
    struct cast_got got;
    unsigned char data[256];
    begin(&out, 0);
    out.number = 7; /* 91 bytes, or 48 */
    cast_follow(&in, &head, ring, RING, 0);
    in.number = 7;
    publish(&out);
    assert_int_equal(cast_read(&in, data, 8, &got), -2);
    assert_int_equal(got.size, size_of(7));
    assert_int_equal(cast_read(&in, data, sizeof data, &got), 1);
    assert_true(intact(data, got.size, 7));
}

/* What marks and headers say that are none: nobody walks on for ever, and who joins begins at the floor. */
static void bears_lies(void **state) {
    (void)state;
    struct cast_out out;
    struct cast_in in;
    struct cast_got got;
    unsigned char data[256];
    begin(&out, 0);
    for (int i = 0; i < 5; i++) publish(&out);
    struct cast_mark *mark = &head.mark[(head.marked - 1) % CAST_MARKS];
    const struct cast_mark was = *mark;
    mark->at = 1; /* as it is while the writer changes it */
    cast_follow(&in, &head, ring, RING, 0);
    assert_int_equal(cast_join(&in, 0), 0);
    assert_true(in.lane.at == out.lane.at && in.number == 5);
    *mark = was;
    head.floor = cast_down(&out, 64); /* behind all marks: they are overtaken each time */
    for (unsigned i = 0; i < CAST_MARKS; i++) head.mark[i].at = 0;
    cast_follow(&in, &head, ring, RING, 0);
    head.floor = out.lane.at;
    assert_int_equal(cast_join(&in, 0), 0);
    assert_true(in.lane.at == head.floor && in.fresh);
    publish(&out);
    assert_int_equal(cast_read(&in, data, sizeof data, &got), 1);
    assert_true(got.number == 5 && got.lost == 0);
    /* A ring without an end. */
    begin(&out, 0);
    for (uint64_t at = 0; at < RING; at += CAST_OVERHEAD) lane_commit(lane_at(&out.lane, at), CAST_OVERHEAD, 0);
    cast_follow(&in, &head, ring, RING, 0);
    assert_int_equal(cast_join(&in, 0), 0);
    assert_true(in.lane.at <= RING);
    /* One that says where it lies, and has no place for that. */
    const uint32_t sizes[] = {0, 8, 23, 25, 32};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        begin(&out, 0);
        lane_commit(lane_at(&out.lane, 0), 64, LANE_AWAY | sizes[i]);
        cast_follow(&in, &head, ring, RING, 0);
        assert_int_equal(cast_read(&in, data, sizeof data, &got), -1);
    }
    /* Marks from far ahead, and a floor from long ago: the writer itself looks at no more of them than there are. */
    begin(&out, 1 << 20);
    publish(&out);
    head.floor = 0;
    for (unsigned i = 0; i < CAST_MARKS; i++) head.mark[i].at = UINT64_MAX - 7;
    assert_int_equal(cast_down(&out, 1 << 20), 0);
}

/* Whatever stands there: an answer, and nothing outside the buffer is touched (the sanitizers look). */
#if defined(__SANITIZE_THREAD__) /* there is one thread */
#define GARBAGE 20000
#else
#define GARBAGE 200000
#endif

static void bears_garbage(void **state) {
    (void)state;
    unsigned char *data = malloc(64);
    uint64_t *words = (uint64_t *)(void *)ring, answers[4] = {0};
    for (int i = 0; i < GARBAGE; i++) {
        struct cast_out out;
        struct cast_in in;
        struct cast_got got;
        if (i % 100 == 0) {
            begin(&out, starts[room_dice(STARTS)]);
            for (uint64_t n = room_dice(200); n > 0; n--) {
                publish(&out);
            }
        }
        cast_follow(&in, &head, ring, RING, head.floor & ~UINT64_C(7));
        in.latest = room_dice(4) == 0;
        uint64_t value = room_dice(3) == 0 ? room_dice(300) << 32 | room_dice(600) : room_dice(UINT64_MAX);
        switch (room_dice(5)) {
        case 0:
            head.floor = room_dice(2) == 0 ? value : in.lane.at + room_dice(2 * RING);
            break;
        case 1:
            head.newest = room_dice(2) == 0 ? value : in.lane.at + room_dice(2 * RING);
            break;
        case 2:
            head.marked = room_dice(2) == 0 ? value : room_dice(100);
            head.mark[room_dice(CAST_MARKS)].at = value;
            break;
        default:
            words[room_dice(RING / 8)] = value;
            break;
        }
        if (room_dice(2) == 0) {
            (void)cast_join(&in, room_dice(100));
        }
        for (int j = 0; j < 5; j++) {
            size_t capacity = room_dice(4) == 0 ? 8 : 64;
            int rc = cast_read(&in, data, capacity, &got);
            assert_true(rc >= -2 && rc <= 1);
            answers[rc + 2]++;
            assert_true(rc != 1 || got.size <= capacity);
        }
    }
    assert_true(answers[0] && answers[1] && answers[2] && answers[3]);
    free(data);
}

/* ---- one that writes, and some that read, at the same time ---- */

static uint32_t over, torn, wrong;

static void *read_all(void *argument) {
    struct cast_in *in = argument;
    struct cast_got got;
    unsigned char data[256];
    uint64_t next = 0, read = 0;
    for (bool last = false; !last;) {
        last = atomic_load(&over) != 0; /* pairs with the store behind the last record */
        for (int rc; (rc = cast_read(in, data, sizeof data, &got)) != 0; read++) {
            if (rc != 1 || got.number != next + got.lost) {
                (void)atomic_add(&wrong, 1u);
                return NULL;
            }
            if (!intact(data, got.size, got.number)) {
                (void)atomic_add(&torn, 1u);
            }
            next = got.number + 1;
        }
    }
    if (next != RECORDS || read == 0) {
        (void)atomic_add(&wrong, 1u);
    }
    return NULL;
}

static void never_tears(void **state) {
    (void)state;
    struct cast_out out;
    struct cast_in in[3];
    pthread_t thread[3];
    begin(&out, starts[2]);
    over = torn = wrong = 0;
    for (int i = 0; i < 3; i++) {
        cast_follow(&in[i], &head, ring, RING, starts[2]);
        assert_int_equal(pthread_create(&thread[i], NULL, read_all, &in[i]), 0);
    }
    for (uint32_t i = 0; i < RECORDS; i++) {
        publish(&out);
    }
    atomic_store(&over, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    assert_int_equal(torn, 0);
    assert_int_equal(wrong, 0);
    assert_true(in[0].laps + in[1].laps + in[2].laps > 0); /* or it has not shown anything */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_up),      cmocka_unit_test(falls_behind), cmocka_unit_test(joins_late),
        cmocka_unit_test(knows_records), cmocka_unit_test(does_not_fit), cmocka_unit_test(bears_garbage),
        cmocka_unit_test(never_tears),   cmocka_unit_test(bears_lies),
    };
    return cmocka_run_group_tests(tests, make_ring, NULL);
}
