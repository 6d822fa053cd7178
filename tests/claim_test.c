/* SPDX-License-Identifier: MIT
 *
 * The words by which workers take records: every transition and no other, laps that come round, workers who slept for one, what the
 * dead leave, and files that are not what they should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "mem/claim.h"
#include "tests/room.h"

#define dir room_dir

static uint64_t *make(struct claim *c) {
    (void)unlinkat(dir, "tx", 0);
    (void)unlinkat(dir, "cl", 0);
    assert_int_equal(claim_make(c, dir, "tx", "cl", 4096, 0, 0600, 7, 3, "test"), 0);
    assert_int_equal(c->mask, 4096 / CLAIM_SHARE - 1);
    return ((struct claim_tx *)(void *)c->tx.base)->entry;
}

static void goes_round(void **state) {
    (void)state;
    struct claim c;
    uint64_t *entry = make(&c);
    for (uint64_t n = 0; n < 5 * (c.mask + 1); n++) {
        uint32_t place;
        assert_false(claim_sent(&c, n, &place));
        claim_send(&c, entry, n, (uint32_t)(n % 512));
        assert_true(claim_sent(&c, n, &place));
        assert_int_equal(place, n % 512);
        assert_false(claim_sent(&c, n + c.mask + 1, &place));
        uint64_t word = claim_load(&c, n);
        assert_true(claim_is_open(&c, n, word));
        assert_false(claim_is_open(&c, n + c.mask + 1, word));
        assert_int_equal(claim_holder(&c, n, word), 0);
        assert_true(claim_take(&c, n, word, 5));
        assert_false(claim_take(&c, n, word, 6)); /* too late */
        assert_int_equal(claim_holder(&c, n, claim_load(&c, n)), 5);
        assert_false(claim_is_done(&c, n));
        assert_false(claim_finish(&c, n, 6)); /* not his */
        assert_false(claim_return(&c, n, 6));
        if (n % 3 == 0) {
            uint32_t returned = c.shared->room.returned;
            assert_true(claim_return(&c, n, 5));
            assert_int_equal(c.shared->room.returned, returned + 1);
            assert_false(claim_return(&c, n, 5));
            assert_false(claim_finish(&c, n, 5));
            word = claim_load(&c, n);
            assert_true(claim_is_open(&c, n, word));
            assert_true(claim_take(&c, n, word, 6));
            assert_true(claim_again(claim_load(&c, n)));
            assert_true(claim_finish(&c, n, 6));
        } else {
            assert_false(claim_again(claim_load(&c, n)));
            assert_true(claim_finish(&c, n, 5));
        }
        assert_true(claim_is_done(&c, n));
        assert_false(claim_is_open(&c, n, claim_load(&c, n)));
        assert_false(claim_finish(&c, n, 5));
        claim_skip(&c, n); /* changes nothing that is done */
        assert_true(claim_is_done(&c, n));
    }
    claim_unmap(&c);
}

/* A worker looks at a word, sleeps while its slot is used once more, and swaps then: nothing happens. */
static void sleepers_are_too_late(void **state) {
    (void)state;
    struct claim c;
    uint64_t *entry = make(&c);
    claim_send(&c, entry, 0, 1);
    uint64_t seen = claim_load(&c, 0);
    for (uint64_t lap = 0; lap < 3; lap++) {
        uint64_t n = lap * (c.mask + 1);
        claim_send(&c, entry, n, 1);
        assert_true(claim_take(&c, n, claim_load(&c, n), CLAIM_WORKER_MAX));
        assert_int_equal(claim_holder(&c, n, claim_load(&c, n)), CLAIM_WORKER_MAX);
        assert_false(claim_take(&c, 0, seen, 2));
        assert_true(claim_finish(&c, n, CLAIM_WORKER_MAX));
        assert_false(claim_take(&c, 0, seen, 2));
        assert_false(claim_finish(&c, 0, 2));
    }
    claim_unmap(&c);
}

static void counts_what_is_not_done(void **state) {
    (void)state;
    struct claim c, other;
    uint64_t *entry = make(&c), bytes;
    bool closed;
    assert_int_equal(claim_rest(dir, "tx", "cl", &bytes, &closed), 0);
    struct lane lane = claim_lane(&c);
    for (uint32_t n = 0; n < 10; n++) {
        atomic_poke(&lane_at(&lane, n * 64)->word, lane_word(64, n));
        if (n != 4 && n != 5) { /* loans that were never put */
            claim_send(&c, entry, n, n * 8);
        }
    }
    assert_int_equal(claim_rest(dir, "tx", "cl", &bytes, &closed), 8);
    assert_int_equal(bytes, 45 - 9);
    assert_false(closed);
    assert_int_equal(claim_map(&other, dir, "tx", "cl", 7, 3, "test"), 0);
    assert_true(claim_take(&other, 0, claim_load(&other, 0), 1));
    assert_true(claim_take(&other, 9, claim_load(&other, 9), 1));
    assert_true(claim_finish(&other, 9, 1));
    ((struct claim_tx *)(void *)c.tx.base)->closed = 1;
    assert_int_equal(claim_rest(dir, "tx", "cl", &bytes, &closed), 7); /* held is not done */
    assert_int_equal(bytes, 45 - 18);
    assert_true(closed);
    uint64_t at = 4;
    assert_true(claim_beyond(&other, &at));
    assert_int_equal(at, 6);
    at = 10;
    assert_false(claim_beyond(&other, &at));
    claim_unmap(&other);
    claim_unmap(&c);
}

/* ---- what lies in the pool ---- */

static void reads_references(void **state) {
    (void)state;
    struct claim c, other;
    (void)unlinkat(dir, "tx", 0);
    (void)unlinkat(dir, "cl", 0);
    assert_int_equal(claim_make(&c, dir, "tx", "cl", 4096, 65536, 0600, 7, 3, "test"), 0);
    assert_int_equal(c.tx.pool, 65536);
    uint64_t *entry = ((struct claim_tx *)(void *)c.tx.base)->entry, bytes, lost = 5;
    bool closed;
    struct lane lane = claim_lane(&c);
    struct claim_record record;
    const struct pool_ref good = {.size = 20000, .at = 2, .units = 5, .chunk = 9, .generation = 1};
    struct pool_ref ref[] = {good, good, good, good, good, good};
    ref[1].at = 12; /* beyond the region, */
    ref[2].at = UINT32_MAX;
    ref[3].units = UINT32_MAX;
    ref[4].size = 5 * POOL_UNIT + 1; /* beyond its chunk */
    ref[5].size = UINT64_MAX;
    for (uint32_t i = 0; i < 6; i++) {
        struct lane_head *head = lane_at(&lane, i * 64);
        memcpy(lane_payload(head), &ref[i], sizeof ref[i]);
        atomic_poke(&head->word, lane_word(64, sizeof ref[i] | LANE_AWAY));
        claim_send(&c, entry, i, i * 8);
    }
    assert_int_equal(claim_map(&other, dir, "tx", "cl", 7, 3, "test"), 0);
    assert_int_equal(other.tx.pool, 65536);
    for (uint32_t i = 0; i < 6; i++) {
        lane = claim_lane(&other);
        assert_int_equal(claim_read(&other, &lane, i * 8, &record), i == 0);
    }
    assert_true(claim_read(&other, &lane, 0, &record));
    assert_ptr_equal(record.data, seg_pool(&other.tx) + 2 * POOL_UNIT);
    assert_true(record.size == 20000 && record.units == 5 && record.lost == 0);
    assert_int_equal(claim_rest(dir, "tx", "cl", &bytes, &closed), 6);
    assert_int_equal(bytes, 20000);
    lane = claim_lane(&c); /* behind what says how many were dropped, */
    struct lane_head *head = lane_at(&lane, 0);
    memcpy(lane_payload(head), &lost, sizeof lost);
    memcpy((char *)lane_payload(head) + sizeof lost, &good, sizeof good);
    assert_true(claim_read(&c, &lane, CLAIM_LOST, &record));
    assert_true(record.size == 20000 && record.units == 5 && record.lost == 5);
    atomic_poke(&head->word, lane_word(32, sizeof good | LANE_AWAY)); /* for which there is no room, */
    assert_false(claim_read(&c, &lane, CLAIM_LOST, &record));
    for (uint32_t size = 0; size < 56; size++) { /* and of another size */
        atomic_poke(&head->word, lane_word(64, size | LANE_AWAY));
        assert_int_equal(claim_read(&c, &lane, 0, &record) && size != sizeof good, 0);
    }
    claim_unmap(&other);
    claim_unmap(&c);
}

static void damage(const char *file, size_t at, const void *with, size_t size) {
    int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, with, size, (off_t)at), (ssize_t)size);
    fd_close(&fd);
}

static void refuses_what_is_no_pusher(void **state) {
    (void)state;
    struct claim c, other;
    uint64_t bytes;
    bool closed;
    static const struct {
        const char *file;
        size_t at;
        uint32_t value;
        int code;
    } cases[] = {
        {"tx", 0, 1, -THIRL_EFORMAT},
        {"tx", offsetof(struct claim_tx, version), CLAIM_VERSION + 1, -THIRL_EVERSION},
        {"tx", offsetof(struct claim_tx, size), 8, -THIRL_EVERSION},
        {"tx", offsetof(struct claim_tx, node), 8, -THIRL_EFORMAT},
        {"tx", offsetof(struct claim_tx, number), 4, -THIRL_EFORMAT},
        {"tx", offsetof(struct claim_tx, slots), 0, -THIRL_EFORMAT},
        {"tx", offsetof(struct claim_tx, slots), 63, -THIRL_EFORMAT},
        {"tx", offsetof(struct claim_tx, slots), 8, -THIRL_EFORMAT},
        {"tx", offsetof(struct claim_tx, slots), 1u << 16, -THIRL_EFORMAT},
        {"tx", offsetof(struct claim_tx, slots), 1u << 31, -THIRL_EFORMAT},
        {"cl", 0, 1, -THIRL_EFORMAT},
        {"cl", offsetof(struct claim_words, version), CLAIM_VERSION + 1, -THIRL_EFORMAT},
        {"cl", offsetof(struct claim_words, slots), 32, -THIRL_EFORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t *entry = make(&c);
        claim_send(&c, entry, 0, 0);
        claim_unmap(&c);
        damage(cases[i].file, cases[i].at, &cases[i].value, sizeof cases[i].value);
        assert_int_equal(claim_map(&other, dir, "tx", "cl", 7, 3, "test"), cases[i].code);
        (void)claim_rest(dir, "tx", "cl", &bytes, &closed);
    }
    (void)make(&c);
    assert_int_equal(unlinkat(dir, "cl", 0), 0);
    assert_int_equal(claim_map(&other, dir, "tx", "cl", 7, 3, "test"), -ENOENT);
    assert_int_equal(claim_rest(dir, "tx", "cl", &bytes, &closed), 0);
    claim_unmap(&c);
}

/* Words that lie in front of a ring are none; and of records without an end no more are counted than there are slots. */
static void counts_no_more_than_there_are(void **state) {
    (void)state;
    struct claim c, other;
    struct seg seg;
    uint64_t bytes;
    bool closed;
    uint64_t *entry = make(&c);
    for (uint64_t n = 0; n <= c.mask; n++) claim_send(&c, entry, n, 0);
    assert_int_equal(claim_rest(dir, "tx", "cl", &bytes, &closed), c.mask + 1);
    uint64_t slots = c.mask + 1;
    assert_int_equal(unlinkat(dir, "cl", 0), 0);
    size_t size = sizeof(struct claim_words) + (size_t)slots * sizeof(uint64_t);
    assert_int_equal(seg_make(&seg, dir, "cl", size, 4096, 0600, "test"), 0);
    memcpy(seg.base, c.shared, sizeof *c.shared);
    assert_int_equal(claim_map(&other, dir, "tx", "cl", 7, 3, "test"), -THIRL_EFORMAT);
    seg_unmap(&seg);
    claim_unmap(&c);
}

static int return_late(void *nothing) {
    struct claim c;
    (void)nothing;
    if (setenv("THIRL_WEAVE_AT", "claim.return.before:1:stop", 1) != 0) return 1;
    if (claim_map(&c, dir, "tx", "cl", 7, 3, "test") != 0) return 2;
    return claim_return(&c, 0, 5) ? 3 : 0;
}

/* Two see that a worker is dead: what it had is given back once. */
static void one_of_two_gives_back(void **state) {
    (void)state;
    struct claim c;
    int status;
    uint64_t *entry = make(&c);
    claim_send(&c, entry, 0, 0);
    assert_true(claim_take(&c, 0, claim_load(&c, 0), 5));
    pid_t late = room_fork(return_late, NULL);
    assert_int_equal(waitpid(late, &status, WUNTRACED), late);
    assert_true(WIFSTOPPED(status));
    assert_true(claim_return(&c, 0, 5));
    assert_true(claim_take(&c, 0, claim_load(&c, 0), 6));
    assert_int_equal(kill(late, SIGCONT), 0);
    assert_int_equal(room_reap(late), 0);
    assert_int_equal(claim_holder(&c, 0, claim_load(&c, 0)), 6);
    claim_unmap(&c);
}

/* ---- workers as threads, on one mapping: every record is done once by whoever holds it last ---- */

#define RECORDS 40000
#define WORKERS 3

static struct claim shared;
static uint32_t got[RECORDS], stop;

static void *run_worker(void *argument) {
    uint32_t worker = (uint32_t)(uintptr_t)argument, place;
    for (uint64_t n = 0; n < RECORDS;) {
        if (!claim_sent(&shared, n, &place)) {
            if (claim_lap(&shared, n) < (uint32_t)(atomic_load(&shared.entry[n & shared.mask]) >> 32)) {
                n++;
            }
            if (atomic_load(&stop) && !claim_sent(&shared, n, &place)) {
                break;
            }
            continue;
        }
        uint64_t word = claim_load(&shared, n);
        if (!claim_is_open(&shared, n, word) || !claim_take(&shared, n, word, worker)) {
            n += claim_is_open(&shared, n, claim_load(&shared, n)) ? 0 : 1;
            continue;
        }
        assert_int_equal(place, (uint32_t)n);
        if (n % 7 == worker && claim_state(word) != CLAIM_FREE) {
            assert_true(claim_return(&shared, n, worker));
            continue;
        }
        got[n]++; /* by its holder only */
        assert_true(claim_finish(&shared, n, worker));
    }
    return NULL;
}

static void many_workers(void **state) {
    (void)state;
    uint64_t *entry = make(&shared);
    pthread_t thread[WORKERS];
    for (uintptr_t i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, run_worker, (void *)(i + 1)), 0);
    }
    for (uint64_t n = 0; n < RECORDS; n++) {
        while (n > shared.mask && !claim_is_done(&shared, n - shared.mask - 1)) {
            atomic_pause();
        }
        claim_send(&shared, entry, n, (uint32_t)n);
    }
    atomic_store(&stop, 1);
    for (size_t i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    for (size_t n = 0; n < RECORDS; n++) {
        assert_int_equal(got[n], 1);
    }
    claim_unmap(&shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_round),
        cmocka_unit_test(sleepers_are_too_late),
        cmocka_unit_test(counts_what_is_not_done),
        cmocka_unit_test(reads_references),
        cmocka_unit_test(refuses_what_is_no_pusher),
        cmocka_unit_test(counts_no_more_than_there_are),
        cmocka_unit_test(one_of_two_gives_back),
        cmocka_unit_test(many_workers),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
