/* SPDX-License-Identifier: MIT
 *
 * A cache for tests, see pantry.h.
 */
#include "tests/pantry.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem/node.h"
#include "mem/store.h"
#include "tests/room.h"

#define FILE_NAME "plant%2Fcache"
#define SOON thirl_in_ms(20000)

int pantry_clear(void **state) {
    (void)state;
    (void)!thirl_cache_remove_name(PANTRY);
    return 0;
}

thirl_cache *pantry_open(uint64_t bytes) {
    struct thirl_cache_options o = {.size = sizeof o, .bytes = bytes};
    thirl_cache *c = NULL;
    if (thirl_cache_open(&c, PANTRY, &o) != 0) {
        (void)fprintf(stderr, "%s\n", thirl_why());
    }
    return c;
}

struct thirl_cache_info pantry_info(thirl_cache *c) {
    struct thirl_cache_info i = {.size = sizeof i};
    assert_int_equal(thirl_cache_info(c, &i), 0);
    return i;
}

static size_t fill(unsigned char *value, uint32_t key, uint32_t number) {
    size_t size = 8 + (key * 7919u + number * 104729u) % (number % 4 == 0 ? PANTRY_LARGEST - 8 : 300);
    memset(value, (int)(key + number * 3), size);
    memcpy(value, &key, sizeof key);
    memcpy(value + 4, &number, sizeof number);
    return size;
}

bool pantry_whole(const struct thirl_cache_pin *pin, uint32_t key, uint32_t *number) {
    unsigned char same[PANTRY_LARGEST];
    uint32_t in;
    if (pin->size < 8) {
        return false;
    }
    memcpy(&in, pin->value, sizeof in);
    memcpy(number, (const char *)pin->value + 4, sizeof *number);
    return in == key && fill(same, key, *number) == pin->size && memcmp(pin->value, same, pin->size) == 0;
}

int pantry_put(thirl_cache *c, uint32_t key, uint32_t number) {
    unsigned char value[PANTRY_LARGEST];
    return thirl_cache_put(c, &key, sizeof key, value, fill(value, key, number), THIRL_NEVER, SOON);
}

uint32_t pantry_get(thirl_cache *c, uint32_t key) {
    struct thirl_cache_pin pin = {0};
    uint32_t number = 0;
    int rc = thirl_cache_get(c, &key, sizeof key, &pin);
    assert_true(rc == 0 || rc == THIRL_CACHE_MISS);
    assert_true(rc != 0 || pantry_whole(&pin, key, &number));
    thirl_cache_unpin(c, &pin);
    return number;
}

void pantry_audit(void) {
    struct shelf shelf = {0};
    uint64_t where = 0;
    struct stat status = {0};
    int dir = openat(room_dir, "area", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(dir, FILE_NAME, O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &status), 0);
    void *map = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(shelf_check(&shelf, map, (uint64_t)status.st_size, node_id(), "the cache"), 0);
    int rc = shelf_audit(&shelf, &where);
    if (rc != 0) {
        print_message("inconsistent at %llu\n", (unsigned long long)where);
    }
    assert_int_equal(rc, 0);
    (void)munmap(map, (size_t)status.st_size);
    (void)close(fd);
    (void)close(dir);
}

void pantry_all_there(thirl_cache *c) {
    (void)pantry_info(c); /* tidies up */
    pantry_audit();
    for (uint32_t key = 0; key < PANTRY_KEYS; key++) {
        assert_true(thirl_cache_remove(c, &key, sizeof key, SOON) >= 0);
    }
    struct thirl_cache_info i = pantry_info(c);
    assert_int_equal(i.items, 0);
    assert_int_equal(i.waiting, 0);
    assert_int_equal(i.pins, 0);
    assert_int_equal(i.used, 0);
}
