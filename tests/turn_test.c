/* SPDX-License-Identifier: MIT
 *
 * Whose turn it is: of two ends in one process and in two, of those who die with it, and of one that cannot be asked for.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mem/turn.h"
#include "tests/member.h"

static int join(struct roll *roll) {
    CHECK(member_join_within(roll, "x", ROLL_QUEUE, true, true, 10 * CLOCK_S) == 0);
    return 0;
}

static int do_one_has_it_and_the_other_waits(void *nothing) {
    struct roll one, other;
    uint32_t value, given;
    char who[NODE_PEER_MAX], pid[32];
    (void)nothing;
    CHECK(join(&one) == 0 && join(&other) == 0);
    struct turn *turn = turn_of(&one), *same = turn_of(&other);
    (void)snprintf(pid, sizeof pid, "pid %d (turn_test)", getpid());
    turn_who(turn, &one, who);
    CHECK(*who == '\0' && !turn_want(turn, &one, &value)); /* it is to be had */
    CHECK(turn_take(turn, &one) && turn_take(turn, &one) && !turn_take(same, &other));
    turn_who(turn, &one, who);
    CHECK(*who == '\0');
    turn_who(same, &other, who);
    CHECK(strcmp(who, pid) == 0);
    CHECK(!turn_want(turn, &one, &value) && turn_want(same, &other, &given));
    turn_check(same, &other); /* it is there, and keeps it */
    turn_give(same, &other);  /* it has none to give */
    CHECK(!turn_take(same, &other));
    turn_give(turn, &one);
    CHECK(atomic_load(&turn->given) != given && turn_take(same, &other));
    given = atomic_load(&turn->given);
    turn_give(same, &other); /* nobody sleeps: nobody is woken */
    turn_check(turn, &one);
    CHECK(atomic_load(&turn->given) == given);
    member_leave(&one);
    member_leave(&other);
    return 0;
}
IN_A_CHILD(one_has_it_and_the_other_waits)

static int take_and_stay(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(join(&roll) == 0 && turn_take(turn_of(&roll), &roll));
    (void)atomic_add(&member_board->ready, 1);
    for (;;) (void)pause();
}

static int do_what_the_dead_have_is_anybodys(void *nothing) {
    struct roll roll;
    char who[NODE_PEER_MAX], pid[32];
    uint32_t value;
    (void)nothing;
    CHECK(join(&roll) == 0);
    struct turn *turn = turn_of(&roll);
    pid_t child = room_fork(take_and_stay, NULL);
    CHECK(member_wait(&member_board->ready, 1));
    (void)snprintf(pid, sizeof pid, "pid %d (turn_test)", child);
    turn_who(turn, &roll, who);
    CHECK(strcmp(who, pid) == 0 && turn_want(turn, &roll, &value));
    turn_check(turn, &roll);
    CHECK(!turn_take(turn, &roll));
    CHECK(kill(child, SIGKILL) == 0 && room_reap(child) == 128 + SIGKILL);
    turn_who(turn, &roll, who);
    CHECK(*who == '\0');
    turn_check(turn, &roll); /* its file is there still */
    CHECK(atomic_load(&turn->given) != value && turn_take(turn, &roll));
    turn_give(turn, &roll);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(what_the_dead_have_is_anybodys)

/* Where the members cannot be listed, nobody is taken for gone. */
static int do_who_cannot_look_takes_it_from_nobody(void *nothing) {
    struct roll roll;
    char who[NODE_PEER_MAX];
    (void)nothing;
    CHECK(join(&roll) == 0);
    struct turn *turn = turn_of(&roll);
    struct roll blind = roll;
    blind.dir = -1;
    atomic_store(&turn->holder, UINT64_C(7)); /* of nobody who is there */
    turn_check(turn, &blind);
    CHECK(atomic_load(&turn->holder) == 7);
    turn_who(turn, &blind, who);
    CHECK(*who == '\0');
    turn_who(turn, &roll, who);
    CHECK(*who == '\0');
    turn_check(turn, &roll);
    CHECK(atomic_load(&turn->holder) == 0);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(who_cannot_look_takes_it_from_nobody)

/* The one end of all whose name, as it is mixed, would be nobody's. */
static void each_end_has_a_name(void **state) {
    struct roll roll = {.self = {UINT64_C(0x9e3779b97f4a7c15), 1}};
    struct turn turn = {0, 0, 0};
    (void)state;
    assert_true(turn_take(&turn, &roll));
    assert_int_not_equal(turn.holder, 0);
    roll.self.number = 2;
    assert_false(turn_take(&turn, &roll));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_has_it_and_the_other_waits, member_clear),
        cmocka_unit_test_setup(what_the_dead_have_is_anybodys, member_clear),
        cmocka_unit_test_setup(who_cannot_look_takes_it_from_nobody, member_clear),
        cmocka_unit_test_setup(each_end_has_a_name, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
