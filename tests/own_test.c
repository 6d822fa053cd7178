/* SPDX-License-Identifier: MIT
 *
 * Taking turns: two who count together lose nothing, whoever is killed at whichever point; the next one is told of it at once.
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/weave.h"
#include "mem/node.h"
#include "mem/own.h"
#include "tests/room.h"

static struct board {
    struct own own;
    uint64_t count, copy; /* always the same, but within a turn */
    uint64_t turns[2];
    uint32_t died, stop, ready;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static int clear(void **state) {
    (void)state;
    memset(board, 0, sizeof *board);
    return 0;
}

static uint64_t join(void) {
    struct node_end *line;
    return node_end_take(&line, "own", 0, true) == 0 ? node_id() : 0;
}

static int turn(uint64_t self, unsigned who, bool nap) {
    int rc = own_take(&board->own, self, clock_now() + 20 * CLOCK_S);
    if (rc < 0) {
        return rc;
    }
    if (rc == OWN_DIED) {
        board->died++;
        board->copy = board->count;
    } else if (board->copy != board->count) {
        return -EIO;
    }
    board->count++;
    weave("test.own.half");
    if (nap) {
        room_sleep(CLOCK_MS);
    }
    board->copy++;
    board->turns[who]++;
    own_give(&board->own);
    return 0;
}

static int take_turns(void *order) {
    if (order != NULL && setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    uint64_t self = join();
    unsigned who = order != NULL;
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->ready) < 2) {
        room_sleep(CLOCK_MS / 10);
    }
    for (int i = 0; i < 60 && atomic_load(&board->stop) == 0; i++) {
        if (turn(self, who, i % 2 == 0) != 0) {
            return 1;
        }
    }
    return self == 0;
}

/* Did the one who takes orders meet his fate? Whether he comes by, and so often, is up to who meets whom. */
static bool meet(const char *name, unsigned pass, bool killed) {
    char order[96];
    (void)clear(NULL);
    (void)snprintf(order, sizeof order, "%s:%u:%s", name, pass, killed ? "kill" : "stop");
    pid_t other = room_fork(take_turns, NULL);
    int status = room_watch(room_fork(take_turns, order));
    assert_true(room_fated(status, killed));
    assert_int_equal(room_reap(other), 0);
    assert_int_equal(board->turns[0], 60);
    assert_true(board->count - board->turns[0] - board->turns[1] <= (killed ? 1 : 0));
    assert_true(killed ||
                (board->turns[1] == 60 && board->died == 0)); /* nobody takes over from one who is only stopped */
    return status != 0;
}

static void at_each_point(bool killed) {
    size_t count;
    struct weave_point *point = weave_points(&count);
    for (size_t i = 0; i < count; i++) {
        if ((strncmp(point[i].name, "own.", 4) == 0 && strcmp(point[i].name, "own.take.dead") != 0) ||
            strcmp(point[i].name, "test.own.half") == 0) {
            bool met = false;
            for (unsigned tries = 0; tries < 20 && !met; tries++) {
                met = meet(point[i].name, 1, killed);
            }
            assert_true(met);
            (void)(killed && meet(point[i].name, 3, true));
        }
    }
}

static void killed_at_each_point(void **state) {
    (void)state;
    at_each_point(true);
}

static void stopped_at_each_point(void **state) {
    (void)state;
    at_each_point(false);
}

static int die_inside(void *nothing) {
    (void)nothing;
    uint64_t self = join();
    return own_take(&board->own, self, 0) == 0 ? raise(SIGKILL) : 1;
}

static int take_over(void *order) {
    (void)setenv("THIRL_WEAVE_AT", order, 1);
    uint64_t self = join();
    int64_t began = clock_now();
    int rc = own_take(&board->own, self, clock_now() + 20 * CLOCK_S);
    bool late = clock_now() - began > 40 * CLOCK_MS && strstr(order, "stop") == NULL;
    if (rc != OWN_DIED || late) {
        return 1;
    }
    own_give(&board->own);
    return own_take(&board->own, self, 0) != 0;
}

/* Whoever takes over may be killed as well, before he has and when he has; or stop, and find that somebody else was told. */
static void is_taken_over(void **state) {
    (void)state;
    char dies[] = "own.take.dead:1:kill", stops[] = "own.take.dead:1:stop", none[] = "";
    int status = 0;
    assert_int_equal(room_run(die_inside, NULL), 128 + SIGKILL);
    pid_t stands = room_fork(take_over, stops);
    assert_int_equal(waitpid(stands, &status, WUNTRACED), stands);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(room_run(take_over, none), 0);
    assert_int_equal(kill(stands, SIGCONT), 0);
    assert_int_equal(room_reap(stands), 0); /* whom it found in the meantime has died, too */
    (void)clear(NULL);
    assert_int_equal(room_run(die_inside, NULL), 128 + SIGKILL);
    assert_int_equal(room_run(take_over, dies), 128 + SIGKILL);
    assert_int_equal(room_run(take_over, none), 0);
    assert_int_equal(room_run(take_over, none), 0); /* who ended with it */
}

static int stand_inside(void *nothing) {
    (void)nothing;
    uint64_t self = join();
    if (own_take(&board->own, self, 0) != 0) {
        return 1;
    }
    atomic_store(&board->ready, 1u);
    while (atomic_load(&board->stop) == 0) {
        room_sleep(CLOCK_MS);
    }
    own_give(&board->own);
    return 0;
}

static int wait_in_vain(void *nothing) {
    (void)nothing;
    uint64_t self = join();
    int64_t began = clock_now();
    bool right = own_take(&board->own, self, 0) == -EAGAIN &&
                 own_take(&board->own, self, began + 120 * CLOCK_MS) == -ETIMEDOUT &&
                 clock_now() - began >= 120 * CLOCK_MS;
    atomic_store(&board->stop, 1u);
    return !(right && own_take(&board->own, self, clock_now() + 20 * CLOCK_S) == 0);
}

static void the_living_keep_their_turn(void **state) {
    (void)state;
    pid_t other = room_fork(stand_inside, NULL);
    while (atomic_load(&board->ready) == 0) {
        room_sleep(CLOCK_MS);
    }
    assert_int_equal(room_run(wait_in_vain, NULL), 0);
    assert_int_equal(room_reap(other), 0);
}

/* The quick way found it taken, and it is free by the next look. */
static int do_what_has_become_free_is_had_at_once(void *nothing) {
    (void)nothing;
    uint64_t self = join();
    if (self == 0 || own_wait(&board->own, self, 0) != 0 || board->own.holder != self) {
        return 1;
    }
    if (own_wait(&board->own, self, 0) != -EAGAIN) {
        return 2;
    }
    own_give(&board->own);
    return board->own.holder != 0;
}

static void what_has_become_free_is_had_at_once(void **state) {
    (void)state;
    assert_int_equal(room_run(do_what_has_become_free_is_had_at_once, NULL), 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {T(killed_at_each_point), T(stopped_at_each_point), T(is_taken_over),
                                       T(the_living_keep_their_turn), T(what_has_become_free_is_had_at_once)};
    return cmocka_run_group_tests(tests, begin, room_end);
}
