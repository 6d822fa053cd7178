/* SPDX-License-Identifier: MIT
 *
 * Chunks of all sizes that are held and given back in any order: none is anybody else's meanwhile, and none is lost.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem/pool.h"
#include "tests/room.h"

#define HEAD 4096
#define RING 65536
#define BOUND ((uint64_t)8 << 20)
#define OUT 400 /* messages between their commit and their return */

struct out {
    struct pool_ref ref;
    uint64_t end;
    unsigned slot;
};

/* A sender, and the receivers as it sees them. */
struct world {
    struct seg seg;
    struct pool pool;
    struct pool_notes notes;
    uint64_t at, cursor;
    struct out waiting[OUT], held[POOL_HELD];
    unsigned waits, holds;
};

static void begin(struct world *w, uint64_t bound) {
    memset(w, 0, sizeof *w);
    assert_int_equal(seg_make_pooled(&w->seg, room_dir, "pool", HEAD, RING, 2 * bound, 0600, "test"), 0);
    pool_init(&w->pool, &w->seg, bound);
    assert_int_equal(w->pool.bound, bound);
}

static void end(struct world *w) {
    pool_deinit(&w->pool);
    seg_unmap(&w->seg);
    assert_int_equal(unlinkat(room_dir, "pool", 0), 0);
}

/* Bytes of the file system that the file takes. */
static uint64_t taken(void) {
    struct stat status;
    assert_int_equal(fstatat(room_dir, "pool", &status, 0), 0);
    return (uint64_t)status.st_blocks * 512 - HEAD - RING;
}

static uint64_t word_of(const struct pool_ref *ref, uint64_t at) {
    return ((uint64_t)ref->generation << 40) + ((uint64_t)ref->chunk << 20) + at;
}

static void fill(struct world *w, const struct pool_ref *ref) {
    unsigned char *data = pool_message(&w->seg, ref);
    for (uint64_t at = 0; at + 8 <= pool_cost(ref); at += 512) {
        memcpy(data + at, &(uint64_t){word_of(ref, at)}, 8);
    }
}

static bool intact(const struct world *w, const struct pool_ref *ref) {
    const unsigned char *data = pool_message(&w->seg, ref);
    for (uint64_t at = 0; at + 8 <= pool_cost(ref); at += 512) {
        if (memcmp(data + at, &(uint64_t){word_of(ref, at)}, 8) != 0) return false;
    }
    return true;
}

static void look(struct world *w, size_t size) {
    pool_look(&w->pool);
    pool_mark(&w->pool, &w->notes);
    pool_sweep(&w->pool, size, w->cursor);
}

/* As a sender does it. */
static int place(struct world *w, size_t size, uint32_t *chunk) {
    if ((*chunk = pool_take(&w->pool, size)) != POOL_NONE) return 0;
    bool trims = pool_trims(&w->pool);
    look(w, trims ? 0 : size);
    if (trims) pool_trim(&w->pool);
    if (!pool_wants(&w->pool, size) && (*chunk = pool_take(&w->pool, size)) != POOL_NONE) return 0;
    look(w, 0);
    int rc = pool_make(&w->pool, size, room_dir, "pool", "test", chunk);
    if (rc != 0 && (*chunk = pool_take(&w->pool, size)) != POOL_NONE) rc = 0;
    assert_true(w->pool.reserved <= w->pool.bound);
    assert_int_equal(taken(), w->pool.reserved);
    return rc;
}

static bool put(struct world *w, size_t size) {
    uint32_t chunk;
    int rc = place(w, size, &chunk);
    if (rc != 0) {
        assert_int_equal(rc, -EAGAIN);
        return false;
    }
    if (room_dice(10) == 0) {
        pool_back(&w->pool, chunk);
        return true;
    }
    struct out *out = &w->waiting[w->waits++];
    w->at += 48;
    pool_refer(&w->pool, chunk, size, &out->ref);
    assert_true(pool_sound(&w->seg, &out->ref) && out->ref.size == size && pool_cost(&out->ref) >= size);
    out->end = w->at;
    fill(w, &out->ref);
    pool_sent(&w->pool, chunk, w->at);
    return true;
}

static void take(struct world *w) {
    if (w->waits == 0 || w->holds == POOL_HELD) return;
    struct out out = w->waiting[0];
    memmove(w->waiting, w->waiting + 1, --w->waits * sizeof out);
    assert_true(intact(w, &out.ref));
    if (room_dice(2) == 0) {
        out.slot = pool_hold(&w->notes, &out.ref);
        w->held[w->holds++] = out;
    }
    w->cursor = out.end;
}

static void drop(struct world *w) {
    if (w->holds == 0) return;
    unsigned which = (unsigned)room_dice(w->holds);
    assert_true(intact(w, &w->held[which].ref));
    pool_drop(&w->notes, w->held[which].slot);
    w->held[which] = w->held[--w->holds];
}

static void walk(struct world *w, unsigned steps) {
    size_t most = (size_t)pool_most(w->pool.bound);
    for (unsigned i = 0; i < steps; i++) {
        uint64_t what = room_dice(i / 200 % 2 == 0 ? 8 : 12); /* fills, and drains */
        if (what < 4 && w->waits < OUT) {
            size_t size = room_dice(4) == 0 ? most - room_dice(most) : 1 + room_dice(40000);
            (void)put(w, size);
        } else if (what < 7) {
            take(w);
        } else {
            drop(w);
        }
    }
}

static void nothing_is_lost(void **state) {
    (void)state;
    struct world *w = test_malloc(sizeof *w);
    for (int round = 0; round < 3; round++) {
        begin(w, BOUND);
        walk(w, 4000);
        while (w->waits > 0 || w->holds > 0) {
            take(w);
            drop(w);
        }
        uint32_t chunk[4]; /* whatever was held, and wherever it lay */
        for (int i = 0; i < 4; i++) assert_int_equal(place(w, (size_t)pool_most(BOUND), &chunk[i]), 0);
        uint32_t more;
        assert_int_equal(place(w, 1, &more), -EAGAIN);
        for (int i = 0; i < 4; i++) pool_back(&w->pool, chunk[i]);
        assert_int_equal(place(w, 1, &more), 0);
        end(w);
    }
    test_free(w);
}

/* What a receiver may hold leaves room for one more of the largest, wherever it lies and however large each is. */
static void there_is_room_for_one_more(void **state) {
    (void)state;
    struct world *w = test_malloc(sizeof *w);
    for (int round = 0; round < 8; round++) {
        begin(w, BOUND);
        uint64_t cost = 0;
        uint32_t chunk;
        for (int i = 0; i < POOL_HELD; i++) {
            size_t size = 1 + room_dice(room_dice(3) == 0 ? pool_most(BOUND) : 300000);
            struct pool_ref ref;
            assert_int_equal(place(w, size, &chunk), 0);
            pool_refer(&w->pool, chunk, size, &ref);
            if (room_dice(2) == 0 || pool_cost(&ref) > pool_may_hold(BOUND) - cost) {
                pool_back(&w->pool, chunk);
            } else {
                cost += pool_cost(&ref);
            }
        }
        assert_int_equal(place(w, (size_t)pool_most(BOUND), &chunk), 0);
        end(w);
    }
    test_free(w);
}

static void four_of_the_largest_fit(void **state) {
    (void)state;
    for (uint64_t bound = 16384; bound < UINT64_C(1) << 36; bound += bound / 7 + 4096) {
        struct seg seg = {.pool = 2 * bound, .ring = 4096};
        struct pool pool;
        pool_init(&pool, &seg, bound);
        uint64_t most = pool_most(bound);
        assert_true(most > 0 && 4 * most <= bound && 5 * most + 4 * 4096 >= bound);
    }
}

static void gives_back_what_is_too_much(void **state) {
    (void)state;
    struct world *w = test_malloc(sizeof *w);
    begin(w, BOUND);
    uint32_t chunk[64];
    for (int i = 0; i < 64; i++) assert_int_equal(place(w, 65536, &chunk[i]), 0);
    assert_int_equal(w->pool.reserved, 64 * 65536);
    for (int i = 0; i < 64; i++) pool_back(&w->pool, chunk[i]);
    for (int i = 0; i < 20 * POOL_TRIM; i++) {
        struct pool_ref ref;
        assert_int_equal(place(w, 65536, &chunk[0]), 0);
        pool_refer(&w->pool, chunk[0], 65536, &ref);
        w->cursor += 48;
        pool_sent(&w->pool, chunk[0], w->cursor);
    }
    assert_true(w->pool.reserved <= 16 * 65536);
    assert_int_equal(taken(), w->pool.reserved);
    end(w);
    test_free(w);
}

/* There is enough, but in pieces: so much is given up that it hangs together, unless what lies between is out. */
static void pieces_are_given_up(void **state) {
    (void)state;
    struct world *w = test_malloc(sizeof *w);
    for (uint32_t held = 0; held < 2; held++) {
        memset(w, 0, sizeof *w);
        assert_int_equal(seg_make_pooled(&w->seg, room_dir, "pool", HEAD, RING, BOUND, 0600, "test"), 0);
        pool_init(&w->pool, &w->seg, BOUND); /* in a region that is no larger than the bound */
        uint32_t chunk[32], large;
        const size_t each = BOUND / 32;
        for (int i = 0; i < 32; i++) assert_int_equal(place(w, each, &chunk[i]), 0);
        for (int i = 0; i < 32; i += 2) pool_back(&w->pool, chunk[i]);
        for (int i = 1; i < 32 && !held; i += 2) pool_back(&w->pool, chunk[i]);
        assert_int_equal(place(w, (size_t)pool_most(BOUND), &large), held ? -EAGAIN : 0);
        for (int i = 1; i < 32 && held; i += 2) pool_back(&w->pool, chunk[i]);
        assert_int_equal(held ? place(w, (size_t)pool_most(BOUND), &large) : 0, 0);
        end(w);
    }
    test_free(w);
}

static void refuses_lies(void **state) {
    (void)state;
    const struct seg seg = {.pool = 1 << 20};
    const struct pool_ref good = {.size = 4096, .at = 255, .units = 1};
    const struct pool_ref bad[] = {{.size = 4097, .at = 255, .units = 1},
                                   {.size = 4096, .at = 256, .units = 1},
                                   {.size = 1, .at = 255, .units = 2},
                                   {.size = 1, .at = UINT32_MAX, .units = UINT32_MAX},
                                   {.size = UINT64_MAX, .at = 0, .units = 1}};
    assert_true(pool_sound(&seg, &good));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(pool_sound(&seg, &bad[i]));
    struct world *w = test_malloc(sizeof *w);
    begin(w, BOUND);
    uint32_t chunk;
    assert_int_equal(place(w, 4096, &chunk), 0);
    pool_sent(&w->pool, chunk, 48);
    w->cursor = 48;
    w->notes.mask = UINT64_MAX; /* of chunks that are not, and of another generation */
    for (unsigned i = 0; i < POOL_HELD; i++) w->notes.note[i] = i == 0 ? pool_note_of(chunk, 99) : room_dice(1u << 30);
    look(w, 0);
    assert_true(pool_has(&w->pool, 4096));
    end(w);
    test_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(there_is_room_for_one_more),
        cmocka_unit_test(four_of_the_largest_fit),
        cmocka_unit_test(gives_back_what_is_too_much),
        cmocka_unit_test(pieces_are_given_up),
        cmocka_unit_test(refuses_lies),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
