/* SPDX-License-Identifier: MIT
 *
 * Shared caches as programs see them: what is found is whole and stays while it is pinned; versions; expiry; the bound in bytes; many
 * processes at once, some of which are killed all the time; a process killed, or stopped for a while, at each named point, in each part that
 * it can have. CACHE_SECONDS=N: how long the processes are killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/weave.h"
#include "include/thirl/cache.h"
#include "mem/node.h"
#include "mem/store.h"
#include "tests/point.h"
#include "tests/room.h"

#if defined(__SANITIZE_THREAD__) /* which sees nothing between processes */
#define ONE_PROCESS 1
#else
#define ONE_PROCESS 0
#endif

#define NAME "plant/cache"
#define FILE_NAME "plant%2Fcache"
#define BYTES (256 << 10)
#define KEYS 400
#define LARGEST 4096
#define SOON thirl_in_ms(20000)

static struct board {
    uint32_t ready, stop, wrong;
    uint64_t gets, hits, puts;
} * board;

static int clear(void **state) {
    (void)state;
    (void)!thirl_cache_remove_name(NAME);
    memset(board, 0, sizeof *board);
    return 0;
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static thirl_cache *open_cache(uint64_t bytes) {
    struct thirl_cache_options o = {.size = sizeof o, .bytes = bytes};
    thirl_cache *c = NULL;
    if (thirl_cache_open(&c, NAME, &o) != 0) {
        (void)fprintf(stderr, "%s\n", thirl_why());
    }
    return c;
}

static struct thirl_cache_info info(thirl_cache *c) {
    struct thirl_cache_info i = {.size = sizeof i};
    assert_int_equal(thirl_cache_info(c, &i), 0);
    return i;
}

/* A value that follows from its key and a number. */
static size_t fill(unsigned char *value, uint32_t key, uint32_t number) {
    size_t size = 8 + (key * 7919u + number * 104729u) % (number % 4 == 0 ? LARGEST - 8 : 300);
    memset(value, (int)(key + number * 3), size);
    memcpy(value, &key, sizeof key);
    memcpy(value + 4, &number, sizeof number);
    return size;
}

/* Is it a value of that key, with nothing of another one in it? */
static bool is_whole(const struct thirl_cache_pin *pin, uint32_t key, uint32_t *number) {
    unsigned char same[LARGEST];
    uint32_t in;
    if (pin->size < 8) {
        return false;
    }
    memcpy(&in, pin->value, sizeof in);
    memcpy(number, (const char *)pin->value + 4, sizeof *number);
    return in == key && fill(same, key, *number) == pin->size && memcmp(pin->value, same, pin->size) == 0;
}

static int put(thirl_cache *c, uint32_t key, uint32_t number) {
    unsigned char value[LARGEST];
    return thirl_cache_put(c, &key, sizeof key, value, fill(value, key, number), THIRL_NEVER, SOON);
}

/* The number of what is there; 0: nothing. */
static uint32_t get(thirl_cache *c, uint32_t key) {
    struct thirl_cache_pin pin = {0};
    uint32_t number = 0;
    int rc = thirl_cache_get(c, &key, sizeof key, &pin);
    assert_true(rc == 0 || rc == THIRL_CACHE_MISS);
    assert_true(rc != 0 || is_whole(&pin, key, &number));
    thirl_cache_unpin(c, &pin);
    return number;
}

/* Looks at the memory itself. Nobody is at work in it. */
static void audit(void) {
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

/* Nothing was lost: without items and pins all of the room is free. */
static void is_all_there(thirl_cache *c) {
    (void)info(c); /* tidies up */
    audit();
    for (uint32_t key = 0; key < KEYS; key++) {
        assert_true(thirl_cache_remove(c, &key, sizeof key, SOON) >= 0);
    }
    struct thirl_cache_info i = info(c);
    assert_int_equal(i.items, 0);
    assert_int_equal(i.waiting, 0);
    assert_int_equal(i.pins, 0);
    assert_int_equal(i.used, 0);
}

static void says_what_is_wrong(void **state) {
    (void)state;
    thirl_cache *c = NULL;
    struct thirl_cache_options o = {.size = sizeof o, .bytes = 8192, .items = 10000};
    struct thirl_cache_pin pin = {0};
    char value[8] = {0};
    uint64_t version = 0;
    assert_int_equal(thirl_cache_open(&c, "", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_cache_open(&c, "tcp://x:1", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_cache_open(NULL, NAME, NULL), -EINVAL);
    assert_int_equal(thirl_cache_open(&c, NAME, &o), -EINVAL);
    assert_non_null(strstr(thirl_why(), "needs"));
    assert_int_equal(thirl_cache_remove_name(NAME), -ENOENT);
    o = (struct thirl_cache_options){.size = sizeof o, .bytes = BYTES, .mode = 07777};
    assert_int_equal(thirl_cache_open(&c, NAME, &o), -EINVAL);
    o = (struct thirl_cache_options){.size = sizeof o, .there = 1};
    assert_int_equal(thirl_cache_open(&c, NAME, &o), -ENOENT);
    c = open_cache(BYTES);
    assert_non_null(c);
    assert_int_equal(thirl_cache_get(c, "", 0, &pin), -EINVAL);
    assert_int_equal(thirl_cache_get(c, NULL, 1, &pin), -EINVAL);
    assert_int_equal(thirl_cache_get(c, "k", 1, NULL), -EINVAL);
    assert_int_equal(thirl_cache_put(c, "k", 1, NULL, 8, THIRL_NEVER, SOON), -EINVAL);
    assert_int_equal(thirl_cache_put(c, "k", 1, value, 8, THIRL_NOW, SOON), -EINVAL);
    assert_int_equal(thirl_cache_swap(c, "k", 1, value, 8, THIRL_NEVER, NULL, SOON), -EINVAL);
    assert_int_equal(thirl_cache_remove(c, "k", 70000, SOON), -EINVAL);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), THIRL_CACHE_MISS);
    assert_int_equal(thirl_cache_remove(c, "k", 1, SOON), THIRL_CACHE_MISS);
    char *large = calloc(1, BYTES);
    assert_int_equal(thirl_cache_put(c, "k", 1, large, BYTES / 2, THIRL_NEVER, SOON), -EMSGSIZE);
    assert_int_equal(thirl_cache_put(c, "k", 1, large, info(c).largest - 64, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_put(c, "k", 1, large, info(c).largest - 64, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_put(c, "empty", 5, NULL, 0, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_get(c, "empty", 5, &pin), 0);
    assert_int_equal(pin.size, 0);
    assert_int_equal((uintptr_t)pin.value % 16, 0);
    struct thirl_cache_pin copy = pin;
    thirl_cache_unpin(c, &pin);
    thirl_cache_unpin(c, &pin); /* is none any more */
    thirl_cache_unpin(c, &copy);
    thirl_cache_unpin(c, NULL);
    free(large);
    thirl_cache_close(&c);
    thirl_cache_close(&c);
    assert_int_equal(thirl_cache_swap(c, "k", 1, value, 8, THIRL_NEVER, &version, SOON), -EINVAL);
    c = open_cache(0); /* it stays, as large as it was made */
    assert_int_equal(info(c).bytes, BYTES);
    assert_int_equal(info(c).items, 2);
    thirl_cache_close(&c);
}

static void compares_versions(void **state) {
    (void)state;
    thirl_cache *c = open_cache(BYTES);
    struct thirl_cache_pin pin = {0};
    uint64_t version = 7, first;
    assert_int_equal(thirl_cache_swap(c, "k", 1, "a", 1, THIRL_NEVER, &version, SOON), THIRL_CACHE_OTHER);
    assert_int_equal(version, 0);
    assert_int_equal(thirl_cache_swap(c, "k", 1, "a", 1, THIRL_NEVER, &version, SOON), 0);
    assert_int_not_equal(version, 0);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(pin.version, version);
    first = version;
    version = 0;
    assert_int_equal(thirl_cache_swap(c, "k", 1, "b", 1, THIRL_NEVER, &version, SOON), THIRL_CACHE_OTHER);
    assert_int_equal(version, first);
    assert_int_equal(thirl_cache_swap(c, "k", 1, "b", 1, THIRL_NEVER, &version, SOON), 0);
    assert_true(version > first);
    assert_int_equal(*(const char *)pin.value, 'a'); /* what was pinned stays */
    assert_int_equal(info(c).waiting, 1);
    thirl_cache_unpin(c, &pin);
    assert_int_equal(info(c).waiting, 0);
    assert_int_equal(thirl_cache_remove(c, "k", 1, SOON), 0);
    assert_int_equal(thirl_cache_swap(c, "k", 1, "c", 1, THIRL_NEVER, &version, SOON), THIRL_CACHE_OTHER);
    assert_int_equal(version, 0);
    assert_int_equal(thirl_cache_swap(c, "k", 1, "c", 1, THIRL_NEVER, &version, SOON), 0);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(*(const char *)pin.value, 'c');
    thirl_cache_unpin(c, &pin);
    thirl_cache_close(&c);
}

static int add_up(void *times) {
    thirl_cache *c = open_cache(BYTES);
    for (int i = 0; i < *(int *)times; i++) {
        struct thirl_cache_pin pin = {0};
        uint64_t version, sum;
        int rc;
        do {
            rc = thirl_cache_get(c, "sum", 3, &pin);
            version = rc == 0 ? pin.version : 0;
            sum = rc == 0 ? *(const uint64_t *)pin.value + 1 : 1;
            thirl_cache_unpin(c, &pin);
            rc = rc < 0 ? rc : thirl_cache_swap(c, "sum", 3, &sum, sizeof sum, THIRL_NEVER, &version, SOON);
        } while (rc == THIRL_CACHE_OTHER);
        if (rc != 0) {
            return 1;
        }
    }
    thirl_cache_close(&c);
    return 0;
}

static void nobody_swaps_unseen(void **state) {
    (void)state;
    int times = 5000;
    pid_t child[3];
    for (int i = 0; i < 3; i++) {
        child[i] = room_fork(add_up, &times);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(room_reap(child[i]), 0);
    }
    thirl_cache *c = open_cache(BYTES);
    struct thirl_cache_pin pin = {0};
    assert_int_equal(thirl_cache_get(c, "sum", 3, &pin), 0);
    assert_int_equal(*(const uint64_t *)pin.value, 15000);
    thirl_cache_close(&c); /* unpins */
    c = open_cache(BYTES);
    assert_int_equal(info(c).pins, 0);
    assert_int_equal(info(c).seats_taken, 1);
    thirl_cache_close(&c);
}

static void expires(void **state) {
    (void)state;
    thirl_cache *c = open_cache(BYTES);
    struct thirl_cache_pin pin = {0};
    thirl_time end = thirl_in_ms(300);
    for (uint32_t key = 0; key < 20; key++) {
        assert_int_equal(thirl_cache_put(c, &key, sizeof key, "x", 1, end, SOON), 0);
    }
    uint32_t key = 0;
    assert_int_equal(thirl_cache_get(c, &key, sizeof key, &pin), 0);
    assert_int_equal(pin.expires.ns, end.ns);
    while (clock_now() < end.ns) {
        room_sleep(CLOCK_MS);
    }
    assert_int_equal(*(const char *)pin.value, 'x'); /* found before: it stays */
    assert_int_equal(info(c).items, 20);
    uint64_t version = 0;
    assert_int_equal(thirl_cache_get(c, &key, sizeof key, &pin), THIRL_CACHE_MISS);
    key = 1;
    assert_int_equal(thirl_cache_get(c, &key, sizeof key, &pin), THIRL_CACHE_MISS);
    assert_int_equal(info(c).items, 18); /* who misses it takes it away */
    key = 2;
    assert_int_equal(thirl_cache_swap(c, &key, sizeof key, "y", 1, THIRL_NEVER, &version, SOON), 0);
    key = 3;
    assert_int_equal(thirl_cache_remove(c, &key, sizeof key, SOON), THIRL_CACHE_MISS);
    assert_int_equal(info(c).expired, 4);
    assert_int_equal(info(c).items, 17);
    for (key = KEYS; info(c).evicted == 0; key++) { /* others fall to those who need room */
        assert_int_equal(put(c, key, 16), 0);
    }
    assert_int_equal(info(c).expired, 20);
    thirl_cache_close(&c);
}

static void is_bounded(void **state) {
    (void)state;
    thirl_cache *c = open_cache(BYTES);
    for (uint32_t i = 1; i < 20000; i++) {
        uint32_t key = (uint32_t)room_dice(KEYS * 4);
        assert_int_equal(put(c, key, i), 0);
        assert_int_equal(get(c, key), i); /* what was put is there */
    }
    struct thirl_cache_info i = info(c);
    assert_true(i.evicted > 1000 && i.items > 100);
    print_message("%llu of %llu bytes are in use, with values of 8 to %d bytes\n", (unsigned long long)i.used,
                  (unsigned long long)i.room, LARGEST);
    assert_true(i.used <= i.room && i.used > i.room / 2);
    assert_int_equal(i.hits, 19999);
    assert_int_equal(i.puts, 19999);
    assert_int_equal(room_entries("area"), 1);
    audit();
    thirl_cache_close(&c);
}

/* One look at very many things does not wash out what is needed. */
static void a_scan_leaves_what_is_needed(void **state) {
    (void)state;
    thirl_cache *c = open_cache(1 << 20);
    for (int round = 0; round < 6; round++) {
        for (uint32_t key = 0; key < 100; key++) {
            if (get(c, key) == 0) {
                assert_int_equal(put(c, key, 16 * (key + 1)), 0);
            }
        }
    }
    for (uint32_t key = 1000; key < 21000; key++) {
        assert_int_equal(put(c, key, 1), 0);
    }
    unsigned there = 0;
    for (uint32_t key = 0; key < 100; key++) {
        there += get(c, key) != 0;
    }
    assert_true(info(c).evicted > 10000);
    assert_true(there >= 95);
    thirl_cache_close(&c);
}

static int in_a_child(void *c) {
    struct thirl_cache_pin pin = {0};
    bool told = thirl_cache_get(c, "k", 1, &pin) == -THIRL_EFORKED &&
                thirl_cache_put(c, "k", 1, "b", 1, THIRL_NEVER, SOON) == -THIRL_EFORKED;
    thirl_cache *inherited = c;
    thirl_cache_close(&inherited);
    thirl_cache *own = open_cache(BYTES);
    return !(told && own != NULL && thirl_cache_put(own, "k", 1, "b", 1, THIRL_NEVER, SOON) == 0);
}

static void is_told_of_a_fork(void **state) {
    (void)state;
    thirl_cache *c = open_cache(BYTES);
    struct thirl_cache_pin pin = {0};
    assert_int_equal(thirl_cache_put(c, "k", 1, "a", 1, THIRL_NEVER, SOON), 0);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(room_run(in_a_child, c), 0);
    assert_int_equal(*(const char *)pin.value, 'a');
    assert_int_equal(info(c).pins, 1);
    thirl_cache_unpin(c, &pin);
    assert_int_equal(thirl_cache_get(c, "k", 1, &pin), 0);
    assert_int_equal(*(const char *)pin.value, 'b');
    thirl_cache_close(&c);
}

/* ---- many at once ---- */

/* One that gets and puts at random, with up to three pins, until it is told to stop. */
static void *work(void *cache) {
    thirl_cache *c = cache;
    struct {
        struct thirl_cache_pin pin;
        uint32_t key, number;
    } held[3] = {0};
    for (uint32_t i = 1; atomic_load(&board->stop) == 0; i++) {
        uint32_t key = (uint32_t)room_dice(room_dice(2) == 0 ? KEYS / 20 : KEYS), number;
        unsigned hand = i % 3;
        if (held[hand].pin.pin != 0) {
            bool same = is_whole(&held[hand].pin, held[hand].key, &number) && number == held[hand].number;
            (void)atomic_add(&board->wrong, same ? 0u : 1u);
            thirl_cache_unpin(c, &held[hand].pin);
        }
        int rc = room_dice(30) == 0 ? thirl_cache_remove(c, &key, sizeof key, SOON) : THIRL_CACHE_MISS;
        rc = rc < 0 ? rc : room_dice(3) == 0 ? put(c, key, i) : thirl_cache_get(c, &key, sizeof key, &held[hand].pin);
        if (rc < 0 || (rc == 0 && held[hand].pin.pin != 0 && !is_whole(&held[hand].pin, key, &held[hand].number))) {
            (void)atomic_add(&board->wrong, 1u);
        }
        held[hand].key = key;
        (void)atomic_add(&board->gets, UINT64_C(1));
    }
    for (unsigned hand = 0; hand < 3; hand++) {
        thirl_cache_unpin(c, &held[hand].pin);
    }
    return NULL;
}

static int worker(void *nothing) {
    (void)nothing;
    thirl_cache *c = open_cache(BYTES);
    (void)atomic_add(&board->ready, 1u);
    if (c == NULL) {
        return 1;
    }
    (void)work(c);
    thirl_cache_close(&c);
    return 0;
}

static int64_t duration(void) {
    const char *seconds = getenv("CACHE_SECONDS");
    return seconds != NULL ? atoi(seconds) * CLOCK_S : 3 * CLOCK_S / 2;
}

#define WORKERS 4

/* Workers are killed all the time, and others take their places. */
static void survives_random_kills(void **state) {
    (void)state;
    if (ONE_PROCESS) {
        return;
    }
    pid_t child[WORKERS];
    unsigned kills = 0;
    thirl_cache *c = open_cache(BYTES);
    for (int i = 0; i < WORKERS; i++) {
        child[i] = room_fork(worker, NULL);
    }
    for (int64_t end = clock_now() + duration(); clock_now() < end || kills < 20; kills++) {
        unsigned one = (unsigned)room_dice(WORKERS);
        room_sleep((int64_t)room_dice(8 * CLOCK_MS));
        (void)kill(child[one], SIGKILL);
        assert_int_equal(room_reap(child[one]), 128 + SIGKILL);
        child[one] = room_fork(worker, NULL);
    }
    atomic_store(&board->stop, 1);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(room_reap(child[i]), 0);
    }
    assert_int_equal(board->wrong, 0);
    print_message("%u kills, %llu operations, %llu evicted\n", kills, (unsigned long long)board->gets,
                  (unsigned long long)info(c).evicted);
    assert_true(board->gets > 1000);
    is_all_there(c);
    thirl_cache_close(&c);
}

static void threads_share_a_handle(void **state) {
    (void)state;
    thirl_cache *c = open_cache(BYTES);
    pthread_t thread[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, work, c), 0);
    }
    for (int i = 0; i == 0 || (i < 50 && atomic_load(&board->gets) <= 1000);
         i++) { /* longer where others want the processors */
        room_sleep(400 * CLOCK_MS);
    }
    atomic_store(&board->stop, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    assert_int_equal(board->wrong, 0);
    assert_true(board->gets > 1000);
    is_all_there(c);
    thirl_cache_close(&c);
}

/* ---- death at each point ---- */

static int live_on_order(void *order) {
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    for (int round = 0; round < 2; round++) {
        thirl_cache *c = open_cache(BYTES / 2);
        struct thirl_cache_pin pin[40] = {0};
        if (c == NULL) {
            return 1;
        }
        for (uint32_t i = 0; i < 700; i++) {
            uint32_t key = i * 7 % KEYS;
            int rc = put(c, key, i + 1);
            rc = rc != 0 ? rc : thirl_cache_get(c, &key, sizeof key, &pin[i % 40]);
            rc = rc == 0 && i % 3 == 0 ? thirl_cache_remove(c, &key, sizeof key, SOON) : rc;
            if (rc < 0) {
                return 2;
            }
            (void)get(c, i % 5); /* found often enough to stay */
            unsigned char value[LARGEST];
            size_t size;
            rc = thirl_cache_copy(c, &key, sizeof key, value, sizeof value, &size, NULL);
            if (rc != 0 && rc != THIRL_CACHE_MISS) {
                return 3;
            }
            thirl_cache_unpin(c, &pin[(i + 1) % 40]);
        }
        thirl_cache_close(&c);
    }
    return 0;
}

#define POINTS "pin. shelf. store. redo.commit lot.make"

static void survives_a_kill_at_each_point(void **state) {
    (void)state;
    if (ONE_PROCESS) {
        return;
    }
    size_t at = 0;
    unsigned killed = 0;
    for (const char *name; (name = point_next(&at, POINTS)) != NULL;) {
        if (strcmp(name, "shelf.find.again") == 0 || strcmp(name, "pin.seat.dead") == 0) {
            continue; /* passed beside others only: see below */
        }
        unsigned before = killed;
        for (int pass = 1; pass <= 200; pass = pass * 6 + 1) {
            char order[96];
            (void)snprintf(order, sizeof order, "%s:%d:kill", name, pass);
            int status = room_run(live_on_order, order);
            assert_true(status == 0 || status == 128 + SIGKILL);
            killed += status != 0;
            thirl_cache *c = open_cache(BYTES / 2);
            assert_non_null(c);
            assert_int_equal(info(c).pins, 0);
            assert_int_equal(put(c, 1, 5), 0);
            assert_int_equal(get(c, 1), 5);
            is_all_there(c);
            thirl_cache_close(&c);
            assert_int_equal(thirl_cache_remove_name(NAME), 0);
            if (status == 0) {
                break;
            }
        }
        if (killed == before) {
            print_message("never killed at %s\n", name);
        }
        assert_true(killed > before);
    }
    print_message("killed at named points: %u times\n", killed);
}

/* Whoever cleans up after a dead one. */
static int clean_on_order(void *order) {
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    thirl_cache *c = open_cache(BYTES / 2);
    return c == NULL || put(c, 3, 3) != 0;
}

static const char *const died_at[] = {"redo.commit.said:300", "redo.commit.one:1001", "store.drop.after:20",
                                      "shelf.find.pinned:200", "store.put.before:200"};
static const char *const cleans_at[] = {"redo.recover.one:1",  "redo.recover.one:5", "redo.recover.before:1",
                                        "own.take.dead:1",     "pin.seat.dead:1",    "pin.seat.cleared:1",
                                        "store.bury.before:1", "store.bury.after:1"};
#define DEATHS (sizeof died_at / sizeof *died_at)
#define CLEANERS (sizeof cleans_at / sizeof *cleans_at)

/* Is killed as well, or stops: did it come by? */
static bool clean_and(size_t death, size_t cleaner, const char *blow) {
    char order[2][64];
    (void)snprintf(order[0], sizeof order[0], "%s:kill", died_at[death]);
    (void)snprintf(order[1], sizeof order[1], "%s:%s", cleans_at[cleaner], blow);
    assert_int_equal(room_run(live_on_order, order[0]), 128 + SIGKILL);
    int status = room_watch(room_fork(clean_on_order, order[1]));
    assert_true(status == 0 || status == (strcmp(blow, "kill") == 0 ? 128 + SIGKILL : -1));
    thirl_cache *c = open_cache(BYTES / 2);
    assert_non_null(c);
    is_all_there(c);
    thirl_cache_close(&c);
    assert_int_equal(thirl_cache_remove_name(NAME), 0);
    return status != 0;
}

static void survives_who_cleans_up(void **state) {
    (void)state;
    if (ONE_PROCESS) {
        return;
    }
    for (size_t cleaner = 0; cleaner < CLEANERS; cleaner++) {
        unsigned killed = 0, stopped = 0;
        for (size_t death = 0; death < DEATHS; death++) {
            killed += clean_and(death, cleaner, "kill");
            stopped += stopped == 0 && clean_and(death, cleaner, "stop");
        }
        if (killed == 0 || stopped == 0) {
            print_message("never killed and stopped at %s\n", cleans_at[cleaner]);
        }
        assert_true(killed > 0 && stopped > 0);
    }
}

/* Who is stopped, is not dead: readers go on beside it, writers say in time who keeps them, and it goes on where it was. */
static void bears_a_stop_at_each_point(void **state) {
    (void)state;
    if (ONE_PROCESS) {
        return;
    }
    size_t at = 0;
    unsigned stopped = 0;
    for (const char *name; (name = point_next(&at, POINTS)) != NULL;) {
        char order[96];
        int status = 0;
        (void)snprintf(order, sizeof order, "%s:2:stop", name);
        thirl_cache *c = open_cache(BYTES / 2);
        assert_int_equal(put(c, 399, 9), 0);
        pid_t child = room_fork(live_on_order, order);
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        if (WIFSTOPPED(status)) {
            stopped++;
            assert_true(get(c, 399) == 9 || get(c, 399) == 0 || get(c, 399) > 9);
            uint32_t key = 5;
            int rc = thirl_cache_put(c, &key, sizeof key, "abcdefghi", 9, THIRL_NEVER, thirl_in_ms(5));
            assert_true(rc == 0 || rc == -ETIMEDOUT);
            assert_int_equal(thirl_cache_remove(c, &key, sizeof key, THIRL_NOW) < 0, rc != 0);
            (void)kill(child, SIGCONT);
            assert_int_equal(room_reap(child), 0);
        }
        is_all_there(c);
        thirl_cache_close(&c);
        assert_int_equal(thirl_cache_remove_name(NAME), 0);
    }
    print_message("stopped at named points: %u times\n", stopped);
    assert_true(stopped > 12);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {
        T(says_what_is_wrong),
        T(compares_versions),
        T(nobody_swaps_unseen),
        T(expires),
        T(is_bounded),
        T(a_scan_leaves_what_is_needed),
        T(is_told_of_a_fork),
        T(threads_share_a_handle),
        T(survives_random_kills),
        T(survives_a_kill_at_each_point),
        T(survives_who_cleans_up),
        T(bears_a_stop_at_each_point),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
