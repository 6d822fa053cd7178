/* SPDX-License-Identifier: MIT
 *
 * Who waits for whom, and in which order locks were taken, of processes that this test makes up: their files may say anything. And each
 * allocation on the way fails once.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/proc.h"
#include "include/thirl/lock.h"
#include "sync/order.h"
#include "sync/rank.h"
#include "tests/lone.h"
#include "tests/member.h"

#define MANY 20

/* The tag of a made-up lock. */
static uint64_t tag(uint64_t number) {
    return UINT64_C(1) << 63 | number << 4 | SLIP_MUTEX;
}

static bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

/* ---- a picture ---- */

static struct knot knot = {.idle = true, .all = true};
static struct slip slips[MANY];

/* A thread that holds the lock of its number, and waits for the next one's. */
static struct slip link_of(unsigned i, unsigned count) {
    return (struct slip){.thread = (int32_t)i + 1,
                         .number = i + 1,
                         .held = 1,
                         .hold = {{.tag = tag(i + 1)}},
                         .wait = {.kind = SLIP_MUTEX, .tag = tag((i + 1) % count + 1)}};
}

static int look(const struct slip_process *process, unsigned count) {
    knot_free(&knot);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < count; i++) rc = knot_add(&knot, &process[i]);
    return rc == 0 ? knot_tie(&knot) : rc;
}

static unsigned stuck(void) {
    unsigned stays = 0;
    for (unsigned i = 0; i < knot.count; i++) stays += knot.web.stays[i];
    return stays;
}

static const struct slip_module module = {.path = "/bin/true"};
static struct slip_pairs pairs[2];
static struct slip_tasks tasks[2];

/* Each allocation fails once: a sentence, nothing is left, and the next look is a good one. */
static void who_has_no_memory_for_a_picture_is_told(void **state) {
    (void)state;
    knot = (struct knot){.idle = true, .all = true};
    for (unsigned i = 0; i < MANY; i++) slips[i] = link_of(i, MANY);
    pairs[0].pair[0] = (struct slip_pair){.before = tag(1), .after = tag(2), .state = 2};
    pairs[0].pair[1] = (struct slip_pair){.before = tag(2), .after = tag(1), .state = 2};
    struct slip_process process[40];
    for (unsigned i = 0; i < 40; i++) {
        process[i] = (struct slip_process){.id = (uint64_t)(i + 1) << 16, .exe = "x", .alive = true};
    }
    process[0] = (struct slip_process){.id = LONE_OTHER,
                                       .exe = "x",
                                       .alive = true,
                                       .slip = slips,
                                       .slips = MANY,
                                       .module = &module,
                                       .modules = 1,
                                       .pairs = pairs,
                                       .tasks = tasks,
                                       .ends = 2};
    unsigned failed = 0;
    for (bool done = false; !done; failed++) {
        struct rank rank = {.circles = 0};
        lone.fails = failed + 1;
        int rc = look(process, 40), ranked = rc == 0 ? rank_look(&rank, &knot) : 0;
        done = lone.fails != 0;
        lone.fails = 0;
        if (rc == 0 && ranked == 0) { /* that with which a longer circle is looked for, may fail without a word */
            assert_true(stuck() == MANY && rank.circles == 1 && rank.length[0] == 2);
        } else {
            assert_false(done);
            assert_true(rc == -ENOMEM ? says("who waits for whom") : rc == 0 && says("order in which locks"));
        }
        rank_free(&rank);
        knot_free(&knot);
    }
    assert_in_range(failed, 20, 60);
}

static void who_has_no_memory_for_a_circle_sees_none(void **state) {
    (void)state;
    unsigned circle[MANY];
    for (unsigned i = 0; i < MANY; i++) slips[i] = link_of(i, MANY);
    const struct slip_process process = {.id = LONE_OTHER, .exe = "x", .alive = true, .slip = slips, .slips = MANY};
    assert_int_equal(look(&process, 1), 0);
    lone.fails = 1;
    assert_int_equal(knot_circle(&knot, 0, circle, MANY), 0);
    memset(circle, 0xff, sizeof circle);
    assert_int_equal(knot_circle(&knot, 0, circle, 4), MANY); /* its length, and its beginning */
    for (unsigned i = 0; i < MANY; i++) assert_int_equal(circle[i], i < 4 ? i : UINT32_MAX);
}

/* A pid is one of its PID namespace, and of who lives there. */
static void who_is_known_by_a_pid_is_looked_for_in_its_namespace(void **state) {
    (void)state;
    const struct slip waiter = {
        .thread = 1, .number = 1, .wait = {.kind = SLIP_MESSAGE, .tag = SLIP_MESSAGE, .whom = 70 << 16 | 1}};
    const struct slip other = {
        .thread = 70, .number = 2, .wait = {.kind = SLIP_MESSAGE, .tag = SLIP_MESSAGE, .whom = 80 << 16 | 1}};
    struct slip_process process[2];
    const struct {
        uint64_t space;
        int64_t pid;
        bool alive;
        unsigned stuck;
    } tries[] = {{7, 70, true, 2}, {8, 70, true, 0}, {7, 71, true, 0}, {7, 70, false, 0}};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        knot_free(&knot);
        process[0] = (struct slip_process){
            .id = LONE_ID, .exe = "x", .alive = true, .pid = 80, .pid_space = 7, .slip = &waiter, .slips = 1};
        process[1] = (struct slip_process){.id = LONE_OTHER,
                                           .exe = "x",
                                           .alive = tries[i].alive,
                                           .pid = tries[i].pid,
                                           .pid_space = tries[i].space,
                                           .slip = &other,
                                           .slips = 1};
        assert_int_equal(knot_add(&knot, &process[0]) | knot_add(&knot, &process[1]), 0);
        for (unsigned j = 0; j < 2; j++) knot.process[j].threads = 1; /* as its slips, so all are known */
        assert_int_equal(knot_tie(&knot), 0);
        assert_int_equal(stuck(), tries[i].stuck);
    }
}

/* Anybody of a process might end the wait: where not all of them are known, or they are too many to look at, nobody is stuck. */
static void who_is_not_known_may_come_to_help(void **state) {
    (void)state;
    static struct slip many[KNOT_BLOCKERS + 1];
    struct slip waiter = {
        .thread = 1, .number = 1, .wait = {.kind = SLIP_MESSAGE, .tag = SLIP_MESSAGE, .whom = LONE_OTHER}};
    for (unsigned i = 0; i < KNOT_BLOCKERS + 1; i++) {
        many[i] = waiter;
        many[i].wait.whom = LONE_ID;
    }
    for (unsigned count = KNOT_BLOCKERS; count <= KNOT_BLOCKERS + 1; count++) {
        for (int unknown = 0; unknown < 2; unknown++) {
            const struct slip_process one = {.id = LONE_ID, .exe = "x", .alive = true, .slip = &waiter, .slips = 1};
            const struct slip_process other = {
                .id = LONE_OTHER, .exe = "x", .alive = true, .slip = many, .slips = count};
            knot_free(&knot);
            assert_int_equal(knot_add(&knot, &one) | knot_add(&knot, &other), 0);
            knot.process[0].threads = 1;
            knot.process[1].threads = (int)count + unknown;
            assert_int_equal(knot_tie(&knot), 0);
            assert_int_equal(stuck(), unknown == 0 && count == KNOT_BLOCKERS ? count + 1 : 0);
        }
    }
    knot.idle = false; /* in a picture without those that neither hold nor wait nobody knows that he sees all */
    web_free(&knot.web);
    assert_int_equal(knot_tie(&knot), 0);
    assert_int_equal(stuck(), 0);
    knot.idle = true;
}

/* Two threads of one process have all permits, and wait for a lock of who wants one: he is stuck, unless anybody there might give one back. */
static void a_permit_comes_from_any_thread_of_who_has_one(void **state) {
    (void)state;
    enum { ALL_WAIT, ONE_MORE, DEAD, NOT_IDLE, ONE_GETS_ON, CASES };
    uint64_t permit = UINT64_C(1) << 63 | 5 << 4 | SLIP_SEM;
    const struct slip waiter = {.thread = 1,
                                .number = 1,
                                .held = 1,
                                .hold = {{.tag = tag(1)}},
                                .wait = {.kind = SLIP_SEM, .tag = permit, .whom = 2}};
    for (int now = 0; now < CASES; now++) {
        struct slip holder[2];
        for (unsigned i = 0; i < 2; i++) {
            holder[i] = (struct slip){.thread = 2 + (int32_t)i,
                                      .number = 2 + i,
                                      .held = 1,
                                      .hold = {{.tag = permit}},
                                      .wait = {.kind = SLIP_MUTEX, .tag = tag(1)}};
        }
        if (now == ONE_GETS_ON) holder[1].wait.tag = tag(7); /* nobody has that */
        const struct slip_process one = {.id = LONE_ID, .exe = "x", .alive = true, .slip = &waiter, .slips = 1};
        const struct slip_process other = {
            .id = LONE_OTHER, .exe = "x", .alive = now != DEAD, .slip = holder, .slips = 2};
        knot_free(&knot);
        assert_int_equal(knot_add(&knot, &one) | knot_add(&knot, &other), 0);
        knot.process[1].threads = now == ONE_MORE ? 3 : 2;
        knot.idle = now != NOT_IDLE;
        assert_int_equal(knot_tie(&knot), 0);
        knot.idle = true;
        assert_int_equal(stuck(), now == ALL_WAIT ? 3 : 0);
    }
}

static void a_task_of_a_thread_that_is_not_there_is_nobodys(void **state) {
    (void)state;
    static struct slip_tasks busy = {.used = 1, .task = {{.call = 9, .thread = 2}, {.call = 10, .thread = 77}}};
    const struct slip two[] = {
        {.thread = 1, .number = 1, .wait = {.kind = SLIP_MESSAGE}},
        {.thread = 2, .number = 2, .wait = {.kind = SLIP_ANSWER, .tag = SLIP_CALL(10) | SLIP_ANSWER}}};
    const struct slip caller = {
        .thread = 3, .number = 3, .wait = {.kind = SLIP_ANSWER, .tag = SLIP_CALL(9) | SLIP_ANSWER}};
    const struct slip_process process[] = {
        {.id = LONE_OTHER, .exe = "x", .alive = true, .slip = two, .slips = 2, .tasks = &busy, .ends = 1},
        {.id = LONE_ID, .exe = "x", .alive = true, .slip = &caller, .slips = 1},
    };
    assert_int_equal(look(process, 2), 0);
    assert_int_equal(knot.web.start[3] - knot.web.start[2], 1);
    assert_int_equal(knot.web.to[knot.web.start[2]], 1); /* the thread that has it */
    assert_int_equal(knot.web.start[2], 0);              /* and whoever has the other is not there */
    const struct slip_process turned[] = {process[1], process[0]};
    assert_int_equal(look(turned, 2), 0);
    assert_true(knot.web.start[1] == 1 && knot.web.to[0] == 2 && knot.web.start[3] == 1);
}

/* ---- circles ---- */

/* The second picture differs: then it was no circle that stood still. */
static void a_circle_is_one_only_while_nothing_moves(void **state) {
    (void)state;
    unsigned circle[MANY];
    struct knot later = {.idle = true};
    for (unsigned i = 0; i < 3; i++) slips[i] = link_of(i, 3);
    struct slip_process process = {.id = LONE_OTHER, .exe = "x", .alive = true, .slip = slips, .slips = 3};
    assert_int_equal(look(&process, 1), 0);
    assert_int_equal(knot_circle(&knot, 0, circle, MANY), 3);
    assert_null(knot_find(&knot, LONE_ID, 1));
    assert_null(knot_find(&knot, LONE_OTHER, 4));
    for (int change = 0; change < 8; change++) {
        for (unsigned i = 0; i < 3; i++) slips[i] = link_of(i, 3);
        uint64_t third = slips[2].hold[0].tag;
        if (change == 1) slips[1].round++;
        if (change == 2) slips[1].wait.kind = SLIP_RWLOCK;
        if (change == 3) slips[1].wait.tag ^= UINT64_C(1) << 62, slips[2].hold[0].tag ^= UINT64_C(1) << 62;
        if (change == 4) slips[1].hold[1].tag = tag(9), slips[1].held = 2;
        if (change == 5) slips[1].number = 77;
        if (change == 6) slips[2].hold[0].tag = tag(9);
        process.id = change == 7 ? LONE_ID : LONE_OTHER;
        assert_true(third != 0);
        knot_free(&later);
        assert_int_equal(knot_add(&later, &process) | knot_tie(&later), 0);
        assert_int_equal(knot_same(&knot, &later, circle, 3), change == 0);
    }
    knot_free(&later);
}

/* Only threads that sleep, as the kernel says, stand still; and of another PID namespace it says nothing. */
static void who_runs_is_in_no_loose_circle(void **state) {
    (void)state;
    unsigned circle[] = {0, 1};
    for (unsigned i = 0; i < 2; i++) slips[i] = link_of(i, 2);
    slips[0].wait.kind = SLIP_MESSAGE;
    slips[0].thread = (int32_t)getpid(); /* it runs this */
    struct slip_process process = {.id = LONE_OTHER, .exe = "x", .alive = true, .slip = slips, .slips = 2};
    process.pid = process.here = getpid();
    assert_int_equal(look(&process, 1), 0);
    assert_true(knot_is_loose(&knot, circle, 2));
    assert_false(knot_sleeps(&knot, circle, 2, 2));
    assert_true(knot_sleeps(&knot, circle, 2, 0));
    process.pid++;
    assert_int_equal(look(&process, 1), 0);
    assert_false(knot_sleeps(&knot, circle, 2, 2));
}

static struct slip_process others[MANY];

/* This thread, which waits for the lock of the first of them, and holds what the last one waits for. */
static int own_slip(uint64_t wanted, uint64_t held) {
    CHECK(party_join() == 0);
    struct slip *slip = party_me()->slip;
    slip->held = 1;
    slip->hold[0].tag = held;
    slip->wait = (struct slip_wait){.kind = SLIP_MUTEX, .tag = wanted, .since = 2, .gives_up = 1};
    return 0;
}

/* A circle of this thread and so many others, each of a process of its own; the first of those waits in that way. */
static int circle_of(unsigned count, uint32_t kind, const char *exe) {
    for (unsigned i = 0; i + 1 < count; i++) {
        slips[i] = link_of(i, count);
        others[i] = (struct slip_process){
            .id = LONE_OTHER + ((uint64_t)i << 16), .exe = exe, .alive = true, .slip = &slips[i], .slips = 1};
    }
    slips[0].wait.kind = kind;
    CHECK(own_slip(tag(1), tag(count)) == 0);
    others[count - 1] =
        (struct slip_process){.id = LONE_ID, .exe = exe, .alive = true, .slip = lone.slip, .slips = LONE_SLIPS};
    lone.process = others;
    lone.processes = count;
    return order_circle(party_me());
}

static unsigned looks;

static void refuse_the_second_look(void) {
    lone.answer = ++looks == 2 ? -ENOMEM : 0;
}

static void move_before_the_second_look(void) {
    if (++looks == 2) slips[0].round++;
}

static int do_a_circle_is_told_as_far_as_there_is_room(void *nothing) {
    (void)nothing;
    static char name[240] = "/";
    for (size_t i = 1; i < 230; i++) name[i] = 'n';
    CHECK(circle_of(3, SLIP_MUTEX, "/bin/x") == -EDEADLK && says("(x) waits for a mutex that is held by"));
    CHECK(circle_of(3, 14, "/bin/x") == -EDEADLK && says("waits for a ? that is held by"));
    CHECK(circle_of(6, SLIP_MUTEX, name) == -EDEADLK && says("waiting in a circle: this thread") && says("nnnn"));
    CHECK(circle_of(16, SLIP_MUTEX, "/bin/x") == -EDEADLK);
    CHECK(circle_of(17, SLIP_MUTEX, "/bin/x") == 0);
    return 0;
}
IN_A_CHILD(a_circle_is_told_as_far_as_there_is_room)

static int do_a_circle_that_cannot_be_looked_at_twice_is_none(void *nothing) {
    (void)nothing;
    lone.looked = refuse_the_second_look;
    CHECK(circle_of(3, SLIP_MUTEX, "x") == 0 && looks == 2);
    lone.looked = move_before_the_second_look;
    lone.answer = 0;
    looks = 0;
    CHECK(circle_of(3, SLIP_MUTEX, "x") == 0 && looks == 2);
    lone.looked = NULL;
    lone.answer = -ENOMEM;
    CHECK(circle_of(3, SLIP_MUTEX, "x") == 0);
    lone.answer = 0;
    CHECK(circle_of(3, SLIP_MUTEX, "x") == -EDEADLK);
    lone.processes = 2; /* this thread has no slip that anybody sees */
    CHECK(order_circle(party_me()) == 0);
    return 0;
}
IN_A_CHILD(a_circle_that_cannot_be_looked_at_twice_is_none)

/* Where processes cannot be listed, threads can: those that hold or wait, and some cannot be seen. */
static int do_threads_are_enough_for_a_circle(void *nothing) {
    (void)nothing;
    lone.only_each = true;
    CHECK(circle_of(3, SLIP_MUTEX, "x") == -EDEADLK);
    others[2].slips = 1;
    struct slip three[3] = {
        slips[1], {.thread = 10, .number = 10}, {.thread = 9, .number = 9, .held = 1, .hold = {{.tag = tag(9)}}}};
    others[1].slip = three;
    others[1].slips = 3;
    others[3] = (struct slip_process){.id = LONE_DEAD, .exe = ""};
    lone.processes = 4;
    knot_free(&knot);
    CHECK(order_look(&knot) == 0 && knot.processes == 3 && knot.count == 4);
    knot_free(&knot);
    for (unsigned fails = 1; fails <= 2; fails++) { /* a process, and a thread */
        lone.fails = fails;
        CHECK(order_look(&knot) == -ENOMEM && lone.fails == 0);
        knot_free(&knot);
    }
    return 0;
}
IN_A_CHILD(threads_are_enough_for_a_circle)

/* ---- orders ---- */

static struct slip_pairs *table;
static struct slip_process *tables;

static int rank_of(struct rank *rank, unsigned count) {
    rank_free(rank);
    for (unsigned i = 0; i < count; i++) {
        tables[i] = (struct slip_process){.id = (uint64_t)(i + 1) << 16, .exe = "x", .alive = true, .pairs = &table[i]};
    }
    CHECK(look(tables, count) == 0);
    return rank_look(rank, &knot);
}

static void pair(unsigned at, uint64_t before, uint64_t after) {
    table[at / SLIP_PAIRS].pair[at % SLIP_PAIRS] = (struct slip_pair){.before = before, .after = after, .state = 2};
}

static int begin_tables(void **state) {
    (void)state;
    table = calloc(65, sizeof *table);
    tables = calloc(65, sizeof *tables);
    return table == NULL || tables == NULL ? -1 : 0;
}

static int end_tables(void **state) {
    (void)state;
    free(table);
    free(tables);
    knot_free(&knot);
    return 0;
}

/* What stands in a table is whatever its process has written there. */
static void a_pair_that_is_none_makes_no_circle(void **state) {
    struct rank rank = {.circles = 0};
    (void)state;
    pair(0, tag(1), tag(2));
    pair(1, tag(2), tag(1));
    pair(2, 0, tag(1));
    pair(3, tag(1), 0);
    pair(4, tag(3), tag(3));
    pair(5, tag(4), tag(5));
    pair(6, tag(5), tag(4));
    table->pair[6].state = 1; /* somebody is writing it, or was */
    assert_int_equal(rank_of(&rank, 1), 0);
    assert_int_equal(rank.circles, 1);
    assert_true(rank.length[0] == 2 && rank.pair[0].pair.before == tag(1) && rank.pair[1].pair.before == tag(2));
    rank_free(&rank);
}

/* More pairs than are looked at are counted. */
static void pairs_beyond_what_is_looked_at_are_missed(void **state) {
    struct rank rank = {.circles = 0};
    (void)state;
    for (unsigned i = 0; i < 65 * SLIP_PAIRS; i++) pair(i, tag(1 + i % 2), tag(2 - i % 2));
    table[3].missed = 5;
    assert_int_equal(rank_of(&rank, 65), 0);
    assert_int_equal(rank.missed, SLIP_PAIRS + 5);
    assert_int_equal(rank.circles, 1);
    rank_free(&rank);
}

/* A circle of so many locks from that one on. */
static unsigned circle_from(unsigned at, uint64_t first, unsigned length) {
    for (unsigned i = 0; i < length; i++) pair(at + i, tag(first + i), tag(first + (i + 1) % length));
    return at + length;
}

static void circles_are_looked_for_up_to_a_bound(void **state) {
    struct rank rank = {.circles = 0};
    (void)state;
    unsigned at = circle_from(0, 1, 17); /* longer than any that is told */
    (void)circle_from(at, 100, 16);
    assert_int_equal(rank_of(&rank, 1), 0);
    assert_int_equal(rank.circles, 1);
    assert_int_equal(rank.length[0], 16);
    memset(table, 0, sizeof *table);
    at = circle_from(0, 1, 3);
    for (unsigned i = 0; i < RANK_CIRCLES + 1; i++) at = circle_from(at, 1000 + 2 * i, 2);
    assert_int_equal(rank_of(&rank, 1), 0);
    assert_int_equal(rank.circles, RANK_CIRCLES); /* the shortest first */
    for (unsigned i = 0; i < RANK_CIRCLES; i++) assert_int_equal(rank.length[i], 2);
    memset(table, 0, sizeof *table);
    for (unsigned i = 0, n = 0; i < RANK_CIRCLES + 2; i++) n = circle_from(n, 1 + 3 * i, 3);
    assert_int_equal(rank_of(&rank, 1), 0);
    assert_int_equal(rank.circles, RANK_CIRCLES);
    rank_free(&rank);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_no_memory_for_a_picture_is_told),
        cmocka_unit_test(who_has_no_memory_for_a_circle_sees_none),
        cmocka_unit_test(who_is_known_by_a_pid_is_looked_for_in_its_namespace),
        cmocka_unit_test(who_is_not_known_may_come_to_help),
        cmocka_unit_test(a_permit_comes_from_any_thread_of_who_has_one),
        cmocka_unit_test(a_task_of_a_thread_that_is_not_there_is_nobodys),
        cmocka_unit_test(a_circle_is_one_only_while_nothing_moves),
        cmocka_unit_test(who_runs_is_in_no_loose_circle),
        cmocka_unit_test(a_circle_is_told_as_far_as_there_is_room),
        cmocka_unit_test(a_circle_that_cannot_be_looked_at_twice_is_none),
        cmocka_unit_test(threads_are_enough_for_a_circle),
        cmocka_unit_test_setup_teardown(a_pair_that_is_none_makes_no_circle, begin_tables, end_tables),
        cmocka_unit_test_setup_teardown(pairs_beyond_what_is_looked_at_are_missed, begin_tables, end_tables),
        cmocka_unit_test_setup_teardown(circles_are_looked_for_up_to_a_bound, begin_tables, end_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
