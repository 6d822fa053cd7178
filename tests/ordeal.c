/* SPDX-License-Identifier: MIT
 *
 * Trials by death, see ordeal.h.
 */
#include "tests/ordeal.h"

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

#include "base/atomic.h"
#include "base/clock.h"
#include "base/weave.h"
#include "tests/point.h"
#include "tests/room.h"

/* A point that was not passed, by chance, is tried again. */
#define TRIES 3

/* The later one of the passes that are tried. A sanitizer looks at the code that is passed, not at the moment. */
#if defined(__SANITIZE_ADDRESS__)
#define LATER 1
#else
#define LATER ORDEAL_PASSES
#endif

static struct {
    const struct ordeal *ordeal;
    char order[96];
    bool killed;
    void *board;
    size_t size;
    unsigned *hits; /* of each point of this program */
} trial;

static int live(void *who) {
    unsigned number = (unsigned)(uintptr_t)who;
    if (number == ORDEAL_VICTIM && setenv("THIRL_WEAVE_AT", trial.order, 1) != 0) {
        return 1;
    }
    return trial.ordeal->body(number);
}

/* Did the victim meet its fate? -1: something is wrong. */
static int met(void) {
    pid_t other[ORDEAL_OTHERS], victim;
    memset(trial.board, 0, trial.size);
    trial.ordeal->anew();
    for (unsigned i = 0; i < ORDEAL_OTHERS; i++) other[i] = room_fork(live, (void *)(uintptr_t)i);
    victim = room_fork(live, (void *)(uintptr_t)ORDEAL_VICTIM);
    if (trial.ordeal->meanwhile != NULL) {
        trial.ordeal->meanwhile();
    }
    int status = room_watch(victim);
    atomic_store((uint32_t *)trial.board, 1);
    bool good = room_fated(status, trial.killed);
    for (unsigned i = 0; i < ORDEAL_OTHERS; i++) good = room_reap(other[i]) == 0 && good;
    good = trial.ordeal->whole(status == 128 + SIGKILL) && good;
    if (!good) {
        (void)fprintf(stderr, "%s, %s: the victim ended with %d\n", trial.ordeal->name, trial.order, status);
    }
    return good ? status != 0 : -1;
}

/* In a process of its own: all points of one scenario. */
static int play(void) {
    char registry[96];
    size_t at = 0;
    (void)snprintf(registry, sizeof registry, "%s/%d", room_path, (int)getpid());
    if (mkdir(registry, 0700) != 0 || setenv("THIRL_DIR", registry, 1) != 0) {
        return 1;
    }
    for (const char *name; (name = point_next(&at, trial.ordeal->points)) != NULL;) {
        for (int pass = 1; pass <= (trial.killed ? LATER : 1); pass += ORDEAL_PASSES - 1) {
            (void)snprintf(trial.order, sizeof trial.order, "%s:%d:%s", name, pass, trial.killed ? "kill" : "stop");
            int hit = 0;
            for (int tries = 0; hit == 0 && tries < (pass == 1 ? TRIES : 1); tries++) hit = met();
            if (hit < 0) return 1;
            trial.hits[at - 1] += (unsigned)hit;
        }
    }
    return 0;
}

static bool all_met(const struct ordeals *all, const unsigned *hits, size_t points) {
    bool good = true;
    size_t at = 0;
    for (const char *name; (name = point_next(&at, all->points)) != NULL;) {
        unsigned count = 0;
        for (size_t s = 0; s < all->count; s++) count += hits[s * points + at - 1];
        if (count == 0) (void)fprintf(stderr, "%s was never passed\n", name);
        good = good && count != 0;
    }
    return good;
}

bool ordeal_all(const struct ordeals *all, bool killed) {
    pid_t player[32];
    size_t points;
    bool good = all->count <= sizeof player / sizeof *player;
    (void)weave_points(&points);
    size_t boards = all->size * all->count, size = boards + all->count * points * sizeof(unsigned);
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!good || map == MAP_FAILED) {
        return false;
    }
    unsigned *hits = (unsigned *)(void *)(map + boards);
    for (size_t s = 0; s < all->count; s++) {
        trial.killed = killed;
        trial.ordeal = &all->ordeal[s];
        trial.size = all->size;
        trial.hits = hits + s * points;
        *all->board = trial.board = map + s * all->size;
        player[s] = fork();
        if (player[s] == 0) {
            _exit(play());
        }
    }
    for (size_t s = 0; s < all->count; s++) good = room_reap(player[s]) == 0 && good;
    good = good && all_met(all, hits, points);
    (void)munmap(map, size);
    return good;
}

static const struct ordeals *played;

static void killed_at_each_point(void **state) {
    (void)state;
    assert_true(ordeal_all(played, true));
}

static void stopped_at_each_point(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* the same code is passed by those who are killed */
#endif
    assert_true(ordeal_all(played, false));
}

int ordeal_main(const struct ordeals *all) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_each_point),
        cmocka_unit_test(stopped_at_each_point),
    };
    played = all;
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
