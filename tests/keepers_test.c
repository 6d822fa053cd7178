/* SPDX-License-Identifier: MIT
 *
 * Those who keep a cache together: many threads and processes at once, some of which are killed all the time; and a process killed, or stopped
 * for a while, at each named point, in each part that it can have. CACHE_SECONDS=N: how long the processes are killed.
 */
#include <errno.h>
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
#include <sys/wait.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/cache.h"
#include "tests/pantry.h"
#include "tests/point.h"
#include "tests/room.h"

#if defined(__SANITIZE_THREAD__) /* which sees nothing between processes */
#define ONE_PROCESS 1
#else
#define ONE_PROCESS 0
#endif

#define SOON thirl_in_ms(20000)

static struct board {
    uint32_t ready, stop, wrong;
    uint64_t gets, hits, puts;
} * board;

static int clear(void **state) {
    memset(board, 0, sizeof *board);
    return pantry_clear(state);
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
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
        uint32_t key = (uint32_t)room_dice(room_dice(2) == 0 ? PANTRY_KEYS / 20 : PANTRY_KEYS), number;
        unsigned hand = i % 3;
        if (held[hand].pin.pin != 0) {
            bool same = pantry_whole(&held[hand].pin, held[hand].key, &number) && number == held[hand].number;
            (void)atomic_add(&board->wrong, same ? 0u : 1u);
            thirl_cache_unpin(c, &held[hand].pin);
        }
        int rc = room_dice(30) == 0 ? thirl_cache_remove(c, &key, sizeof key, SOON) : THIRL_CACHE_MISS;
        rc = rc < 0              ? rc
             : room_dice(3) == 0 ? pantry_put(c, key, i)
                                 : thirl_cache_get(c, &key, sizeof key, &held[hand].pin);
        if (rc < 0 || (rc == 0 && held[hand].pin.pin != 0 && !pantry_whole(&held[hand].pin, key, &held[hand].number))) {
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
    thirl_cache *c = pantry_open(PANTRY_BYTES);
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
    thirl_cache *c = pantry_open(PANTRY_BYTES);
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
                  (unsigned long long)pantry_info(c).evicted);
    assert_true(board->gets > 1000);
    pantry_all_there(c);
    thirl_cache_close(&c);
}

static void threads_share_a_handle(void **state) {
    (void)state;
    thirl_cache *c = pantry_open(PANTRY_BYTES);
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
    pantry_all_there(c);
    thirl_cache_close(&c);
}

/* ---- death at each point ---- */

static int live_on_order(void *order) {
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    for (int round = 0; round < 2; round++) {
        thirl_cache *c = pantry_open(PANTRY_BYTES / 2);
        struct thirl_cache_pin pin[40] = {0};
        if (c == NULL) {
            return 1;
        }
        for (uint32_t i = 0; i < 700; i++) {
            uint32_t key = i * 7 % PANTRY_KEYS;
            int rc = pantry_put(c, key, i + 1);
            rc = rc != 0 ? rc : thirl_cache_get(c, &key, sizeof key, &pin[i % 40]);
            rc = rc == 0 && i % 3 == 0 ? thirl_cache_remove(c, &key, sizeof key, SOON) : rc;
            if (rc < 0) {
                return 2;
            }
            (void)pantry_get(c, i % 5); /* found often enough to stay */
            unsigned char value[PANTRY_LARGEST];
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
            thirl_cache *c = pantry_open(PANTRY_BYTES / 2);
            assert_non_null(c);
            assert_int_equal(pantry_info(c).pins, 0);
            assert_int_equal(pantry_put(c, 1, 5), 0);
            assert_int_equal(pantry_get(c, 1), 5);
            pantry_all_there(c);
            thirl_cache_close(&c);
            assert_int_equal(thirl_cache_remove_name(PANTRY), 0);
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
    thirl_cache *c = pantry_open(PANTRY_BYTES / 2);
    return c == NULL || pantry_put(c, 3, 3) != 0;
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
    assert_true(room_fated(status, strcmp(blow, "kill") == 0));
    thirl_cache *c = pantry_open(PANTRY_BYTES / 2);
    assert_non_null(c);
    pantry_all_there(c);
    thirl_cache_close(&c);
    assert_int_equal(thirl_cache_remove_name(PANTRY), 0);
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
        thirl_cache *c = pantry_open(PANTRY_BYTES / 2);
        assert_int_equal(pantry_put(c, 399, 9), 0);
        pid_t child = room_fork(live_on_order, order);
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        if (WIFSTOPPED(status)) {
            stopped++;
            assert_true(pantry_get(c, 399) == 9 || pantry_get(c, 399) == 0 || pantry_get(c, 399) > 9);
            uint32_t key = 5;
            int rc = thirl_cache_put(c, &key, sizeof key, "abcdefghi", 9, THIRL_NEVER, thirl_in_ms(5));
            assert_true(rc == 0 || rc == -ETIMEDOUT);
            assert_int_equal(thirl_cache_remove(c, &key, sizeof key, THIRL_NOW) < 0, rc != 0);
            (void)kill(child, SIGCONT);
            assert_int_equal(room_reap(child), 0);
        }
        pantry_all_there(c);
        thirl_cache_close(&c);
        assert_int_equal(thirl_cache_remove_name(PANTRY), 0);
    }
    print_message("stopped at named points: %u times\n", stopped);
    assert_true(stopped > 12);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {
        T(threads_share_a_handle), T(survives_random_kills),      T(survives_a_kill_at_each_point),
        T(survives_who_cleans_up), T(bears_a_stop_at_each_point),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
