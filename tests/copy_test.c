/* SPDX-License-Identifier: MIT
 *
 * Caches without a pin, and with many: who may only read copies whole values while they are replaced and their memory is used again, and
 * writes nothing; many keys at once are found as each by itself.
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
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/cache.h"
#include "tests/member.h"
#include "tests/room.h"

#define NAME "copies"
#define KEYS 200u
#define LARGEST 2000
#define SOON thirl_in_ms(20000)

static struct board {
    uint32_t stop;
    uint64_t copies;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static int clear(void **state) {
    (void)state;
    (void)!thirl_cache_remove_name(NAME);
    memset(board, 0, sizeof *board);
    return 0;
}

static thirl_cache *open_cache(uint32_t access) {
    const struct thirl_cache_options o = {.size = sizeof o, .bytes = 256 << 10, .access = access};
    thirl_cache *c = NULL;
    return thirl_cache_open(&c, NAME, &o) == 0 ? c : NULL;
}

static size_t fill(unsigned char *value, uint32_t key, uint32_t number) {
    size_t size = 8 + (key * 7919u + number * 104729u) % (LARGEST - 8);
    memset(value, (int)(key + number * 3), size);
    memcpy(value, &key, sizeof key);
    memcpy(value + 4, &number, sizeof number);
    return size;
}

/* Its number; 0: it is no value of that key, or not all of it is. */
static uint32_t number_of(const unsigned char *value, size_t size, uint32_t key) {
    unsigned char same[LARGEST];
    uint32_t number;
    if (size < 8) return 0;
    memcpy(&number, value + 4, sizeof number);
    return fill(same, key, number) == size && memcmp(value, same, size) == 0 ? number : 0;
}

static int put(thirl_cache *c, uint32_t key, uint32_t number) {
    unsigned char value[LARGEST];
    return thirl_cache_put(c, &key, sizeof key, value, fill(value, key, number), THIRL_NEVER, SOON);
}

/* What a reader may and may not; its mapping takes no store at all. */
static void readers_only_read(void **state) {
    (void)state;
    assert_null(open_cache(THIRL_ACCESS_READ)); /* it makes none */
    thirl_cache *c = open_cache(THIRL_ACCESS_WRITE), *reader = open_cache(THIRL_ACCESS_READ);
    struct thirl_cache_info i = {.size = sizeof i};
    struct thirl_cache_pin pin;
    unsigned char value[LARGEST];
    const struct iovec key = {(void *)(uintptr_t) "k", 1};
    size_t size = 99;
    uint64_t version = 99;
    assert_true(c != NULL && reader != NULL);
    assert_int_equal(thirl_cache_copy(reader, "k", 1, value, sizeof value, &size, &version), THIRL_CACHE_MISS);
    assert_true(size == 0 && version == 0);
    assert_int_equal(thirl_cache_put(c, "k", 1, "value", 5, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(thirl_cache_copy(reader, "k", 1, value, sizeof value, &size, &version), 0);
    assert_true(size == 5 && memcmp(value, "value", 5) == 0 && version == pin.version);
    thirl_cache_unpin(c, &pin);
    assert_int_equal(thirl_cache_copy(reader, "k", 1, value, 4, &size, NULL), -EMSGSIZE);
    assert_int_equal(size, 5);
    assert_int_equal(thirl_cache_copy(c, "k", 1, value, sizeof value, &size, NULL), 0); /* writers may as well */
    assert_int_equal(thirl_cache_copy(reader, "k", 1, NULL, 4, &size, NULL), -EINVAL);
    assert_int_equal(thirl_cache_copy(reader, "k", 1, value, 4, NULL, NULL), -EINVAL);
    assert_int_equal(thirl_cache_copy(reader, "", 0, value, 4, &size, NULL), -EINVAL);
    assert_int_equal(thirl_cache_get(reader, "k", 1, &pin), -EACCES);
    assert_non_null(strstr(thirl_why(), "copy from it"));
    assert_int_equal(thirl_cache_get_many(reader, &key, 1, &pin), -EACCES);
    assert_int_equal(thirl_cache_put(reader, "k", 1, "x", 1, THIRL_NEVER, SOON), -EACCES);
    assert_int_equal(thirl_cache_swap(reader, "k", 1, "x", 1, THIRL_NEVER, &version, SOON), -EACCES);
    assert_int_equal(thirl_cache_remove(reader, "k", 1, SOON), -EACCES);
    assert_int_equal(thirl_cache_put(c, "k", 1, "", 0, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_copy(reader, "k", 1, NULL, 0, &size, NULL), 0);
    assert_int_equal(thirl_cache_put(c, "k", 1, "x", 1, thirl_in_ms(1), SOON), 0);
    room_sleep(3 * CLOCK_MS);
    assert_int_equal(thirl_cache_copy(reader, "k", 1, value, sizeof value, &size, &version), THIRL_CACHE_MISS);
    assert_int_equal(thirl_cache_info(reader, &i), 0);
    assert_int_equal(i.seats_taken, 1);
    thirl_cache_close(&reader);
    thirl_cache_close(&c);
}

static int copy_for_ever(void *nothing) {
    (void)nothing;
    thirl_cache *c = open_cache(THIRL_ACCESS_READ);
    unsigned char value[LARGEST];
    CHECK(c != NULL);
    for (uint32_t key = 0; atomic_load(&board->stop) == 0; key = (key + 1) % KEYS) {
        size_t size = 0;
        int rc = thirl_cache_copy(c, &key, sizeof key, value, sizeof value, &size, NULL);
        CHECK(rc == 0 || rc == THIRL_CACHE_MISS);
        CHECK(rc != 0 || number_of(value, size, key) != 0);
        (void)atomic_add(&board->copies, UINT64_C(1));
    }
    return 0;
}

/* More is put than there is room for, so memory is used again all the time. */
static void copies_are_whole(void **state) {
    (void)state;
    thirl_cache *c = open_cache(THIRL_ACCESS_WRITE);
    pid_t reader[2] = {room_fork(copy_for_ever, NULL), room_fork(copy_for_ever, NULL)};
    for (uint32_t i = 1; i <= 30000 || atomic_load(&board->copies) < 10000; i++) {
        assert_int_equal(put(c, (uint32_t)room_dice(KEYS), i), 0);
    }
    atomic_store(&board->stop, 1);
    for (int r = 0; r < 2; r++) assert_int_equal(room_reap(reader[r]), 0);
    thirl_cache_close(&c);
}

static int copy_one(void *order) {
    uint32_t key = 3;
    size_t size = 0;
    unsigned char value[LARGEST];
    CHECK(setenv("THIRL_WEAVE_AT", order, 1) == 0);
    thirl_cache *c = open_cache(THIRL_ACCESS_READ);
    CHECK(c != NULL);
    int rc = thirl_cache_copy(c, &key, sizeof key, value, sizeof value, &size, NULL);
    CHECK(rc == 0 || rc == THIRL_CACHE_MISS);
    return rc == 0 ? (int)number_of(value, size, key) + 40 : 40;
}

/* Stopped behind the copy, before the look whether it was one: what has been overwritten meanwhile is not believed. */
static void overtaken_copies_are_not_believed(void **state) {
    (void)state;
    char order[] = "shelf.copy.done:1:stop";
    for (int gone = 0; gone < 2; gone++) {
        int status = 0;
        thirl_cache *c = open_cache(THIRL_ACCESS_WRITE);
        assert_int_equal(put(c, 3, 1), 0);
        pid_t reader = room_fork(copy_one, order);
        assert_int_equal(waitpid(reader, &status, WUNTRACED), reader);
        assert_true(WIFSTOPPED(status));
        uint32_t key = 3;
        assert_int_equal(gone ? thirl_cache_remove(c, &key, sizeof key, SOON) : put(c, 3, 2), 0);
        assert_int_equal(kill(reader, SIGCONT), 0);
        assert_int_equal(room_reap(reader), 40 + (gone ? 0 : 2));
        thirl_cache_close(&c);
    }
}

#define MANY 300u

static void many_are_found(void **state) {
    (void)state;
    static struct thirl_cache_pin pin[THIRL_CACHE_PINS_MAX + 1];
    static struct iovec key[THIRL_CACHE_PINS_MAX + 1];
    uint32_t number[MANY];
    struct thirl_cache_info i = {.size = sizeof i};
    const struct thirl_cache_options o = {.size = sizeof o, .bytes = 4 << 20, .seats = 40};
    thirl_cache *c = NULL;
    assert_int_equal(thirl_cache_open(&c, NAME, &o), 0);
    for (uint32_t k = 0; k < MANY; k++) {
        number[k] = k;
        key[k] = (struct iovec){&number[k], sizeof number[k]};
        if (k % 3 != 0) assert_int_equal(put(c, k, k + 1), 0);
    }
    assert_int_equal(thirl_cache_get_many(c, key, 0, pin), 0);
    for (uint32_t count = 1; count <= MANY; count = count * 2 + 1) {
        int found = thirl_cache_get_many(c, key, count, pin), want = 0;
        for (uint32_t k = 0; k < count; k++) {
            assert_int_equal(pin[k].value != NULL, k % 3 != 0);
            if (k % 3 != 0) assert_int_equal(number_of(pin[k].value, pin[k].size, k), k + 1);
            want += k % 3 != 0;
        }
        assert_int_equal(found, want);
        assert_int_equal(thirl_cache_info(c, &i), 0);
        assert_int_equal(i.pins, found);
        for (uint32_t k = 0; k < count; k++) thirl_cache_unpin(c, &pin[k]);
    }
    key[MANY - 1].iov_len = 0; /* found out at the end: all are released */
    assert_int_equal(thirl_cache_get_many(c, key, MANY, pin), -EINVAL);
    assert_int_equal(thirl_cache_get_many(c, key, THIRL_CACHE_PINS_MAX + 1, pin), -EINVAL);
    assert_int_equal(thirl_cache_get_many(c, NULL, 1, pin), -EINVAL);
    for (uint32_t k = 0; k <= THIRL_CACHE_PINS_MAX; k++) key[k] = key[1];
    assert_int_equal(thirl_cache_get_many(c, key, THIRL_CACHE_PINS_MAX, pin), THIRL_CACHE_PINS_MAX);
    struct thirl_cache_pin more[2];
    assert_int_equal(thirl_cache_get_many(c, key, 2, more), -EBUSY);
    for (uint32_t k = 0; k < THIRL_CACHE_PINS_MAX; k++) thirl_cache_unpin(c, &pin[k]);
    assert_int_equal(thirl_cache_info(c, &i), 0);
    assert_int_equal(i.pins, 0);
    thirl_cache_close(&c);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {
        T(readers_only_read),
        T(copies_are_whole),
        T(overtaken_copies_are_not_believed),
        T(many_are_found),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
