/* SPDX-License-Identifier: MIT
 *
 * Channels and what is left of the dead: killed, stopped or forked at every point of joining and leaving, and swept.
 */
#define _GNU_SOURCE
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/weave.h"
#include "mem/sweep.h"
#include "tests/member.h"

/* ---- killed and stopped ---- */

static int join_and_leave(void *order) {
    struct roll roll;
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) return 1;
    sweep_dead();
    if (member_join(&roll, "x") != 0) return 2;
    member_leave(&roll);
    sweep_dead();
    return 0;
}

static int do_survives_a_death_anywhere(void *nothing) {
    size_t count, killed = 0;
    struct weave_point *point = weave_points(&count);
    (void)nothing;
    for (size_t i = 0; i < count; i++) {
        bool here = strncmp(point[i].name, "roll.", 5) == 0 || strncmp(point[i].name, "node.", 5) == 0;
        for (int pass = 1; here && pass <= 3; pass++) {
            char order[128];
            struct roll roll;
            /* One that died before leaves something to clean and to sweep. */
            pid_t guest = member_invite();
            CHECK(kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
            (void)snprintf(order, sizeof order, "%s:%d:kill", point[i].name, pass);
            int rc = room_run(join_and_leave, order);
            CHECK(rc == 0 || rc == 128 + SIGKILL);
            killed += rc == 128 + SIGKILL;
            CHECK(member_join_within(&roll, "x", ROLL_PAIR, true, true, CLOCK_S) == 0);
            CHECK(member_entries("x") == 4);
            member_leave(&roll);
            sweep_dead();
            CHECK(room_entries("chan") == 0);
            CHECK(room_entries("node") == 1);
        }
    }
    CHECK(killed > 20);
    return 0;
}
IN_A_CHILD(survives_a_death_anywhere)

static int do_waits_no_longer_than_it_may(void *nothing) {
    struct roll roll;
    char pid[32];
    int status;
    (void)nothing;
    pid_t guest = room_fork(join_and_leave, (void *)(uintptr_t) "roll.begin.locked:1:stop");
    CHECK(waitpid(guest, &status, WUNTRACED) == guest && WIFSTOPPED(status));
    unsigned descriptors = 0;
    for (int i = 0; i < 2; i++) {
        int64_t began = clock_now();
        CHECK(member_join_within(&roll, "x", ROLL_PAIR, true, true, 50 * CLOCK_MS) == -ETIMEDOUT);
        CHECK(clock_now() - began >= 50 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
        (void)snprintf(pid, sizeof pid, "pid %d", guest);
        CHECK(strstr(thirl_why(), pid) != NULL);
        CHECK(i == 0 || room_descriptors() == descriptors);
        descriptors = room_descriptors();
    }
    CHECK(member_join_within(&roll, "y", ROLL_PAIR, true, true, 50 * CLOCK_MS) ==
          0); /* another channel is not concerned */
    sweep_dead();
    member_leave(&roll);
    CHECK(kill(guest, SIGKILL) == 0);
    CHECK(room_reap(guest) == 128 + SIGKILL);
    CHECK(member_join_within(&roll, "x", ROLL_PAIR, true, true, CLOCK_S) == 0);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(waits_no_longer_than_it_may)

/* While a stopped process holds one channel, the nodes of the dead stay: the next sweep must find what they left. */
static int do_sweeps_when_it_can(void *nothing) {
    struct roll roll;
    int status;
    (void)nothing;
    CHECK(member_join(&roll, "mine") == 0);
    pid_t dead = member_invite();
    CHECK(kill(dead, SIGKILL) == 0 && room_reap(dead) == 128 + SIGKILL);
    pid_t stopped = room_fork(join_and_leave, (void *)(uintptr_t) "roll.begin.locked:1:stop");
    CHECK(waitpid(stopped, &status, WUNTRACED) == stopped && WIFSTOPPED(status));
    /* It has swept on its way; another one dies, whose channel cannot be cleaned now. */
    member_name = "y";
    dead = member_invite();
    member_name = "x";
    CHECK(kill(dead, SIGKILL) == 0 && room_reap(dead) == 128 + SIGKILL);
    sweep_dead();
    CHECK(member_entries("y") == -1);
    CHECK(room_entries("node") == 3);
    CHECK(kill(stopped, SIGCONT) == 0 && room_reap(stopped) == 0);
    sweep_dead();
    CHECK(room_entries("chan") == 1 && room_entries("node") == 1);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(sweeps_when_it_can)

/* One sweep asks a part of them, and the next goes on: of a hundred and fifty dead, three leave none. */
static int do_sees_to_many_dead(void *nothing) {
    enum { DEAD = 150, SWEEPS = 4 };
    char name[16];
    struct roll roll;
    (void)nothing;
    for (int i = 0; i < DEAD; i++) {
        (void)snprintf(name, sizeof name, "d%d", i);
        member_name = name;
        pid_t guest = member_invite();
        CHECK(kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
    }
    member_name = "x";
    CHECK(room_entries("node") == DEAD && room_entries("chan") == DEAD);
    /* A channel of theirs can be joined before any sweep. */
    CHECK(member_join_within(&roll, "d7", ROLL_PAIR, true, true, CLOCK_S) == 0);
    int sweeps = 0;
    for (; room_entries("node") > 1 && sweeps < SWEEPS; sweeps++) {
        sweep_dead();
    }
    CHECK(sweeps > 1);
    CHECK(room_entries("node") == 1 && room_entries("chan") == 1);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(sees_to_many_dead)

/* ---- fork ---- */

static void *join_on(void *nothing) {
    struct roll roll;
    while (atomic_load(&member_board->go) == 0) {
        if (member_join(&roll, "x") != 0) return member_board;
        member_leave(&roll);
    }
    return nothing;
}

static int join_after_fork(void *nothing) {
    struct roll roll;
    (void)nothing;
    (void)alarm(10);
    if (member_join(&roll, "y") != 0) return 1;
    member_leave(&roll);
    sweep_dead();
    return 0;
}

static int do_forks_while_a_thread_joins(void *nothing) {
    pthread_t thread;
    void *failed;
    (void)nothing;
    CHECK(node_end_take(&member_line, "shm://x", THIRL_PAIR, true) == 0);
    CHECK(pthread_create(&thread, NULL, join_on, NULL) == 0);
    for (int i = 0; i < 60; i++) CHECK(room_run(join_after_fork, NULL) == 0);
    atomic_store(&member_board->go, 1);
    CHECK(pthread_join(thread, &failed) == 0 && failed == NULL);
    return 0;
}

static void forks_while_a_thread_joins(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    print_message("skip: a child forked from threads may find the allocator of AddressSanitizer locked\n");
    skip();
#endif
    assert_int_equal(room_run(do_forks_while_a_thread_joins, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(survives_a_death_anywhere, member_clear),
        cmocka_unit_test_setup(waits_no_longer_than_it_may, member_clear),
        cmocka_unit_test_setup(sweeps_when_it_can, member_clear),
        cmocka_unit_test_setup(sees_to_many_dead, member_clear),
        cmocka_unit_test_setup(forks_while_a_thread_joins, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
