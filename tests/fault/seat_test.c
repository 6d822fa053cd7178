/* SPDX-License-Identifier: MIT
 *
 * Who reads a pipe, as far as the kernel tells it: its list of locks cannot be read, a lock slips through it while others come and go, or its
 * holder leaves between two looks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "mech/seat.h"
#include "tests/fault/fault.h"

static int ends[2];

static int begin(void **state) {
    (void)state;
    return pipe2(ends, O_CLOEXEC) != 0 || seat_take(ends[0]) != 0;
}

static int end(void **state) {
    (void)state;
    fault_armed = false;
    fault_meanwhile = NULL;
    return close(ends[0]) != 0 || close(ends[1]) != 0;
}

/* From now on that happens before the pass of that call; NULL: it is refused. */
static void before(const char *call, unsigned pass, bool lasting, void (*act)(void)) {
    const struct fault fault = {fault_find(call), pass, EMFILE, lasting};
    fault_set(&fault);
    fault_meanwhile = act;
    fault_armed = true;
}

/* The answer; who it is has no number where he cannot be seen. */
static bool ask(pid_t *pid) {
    struct link_who who;
    bool there = seat_holder(ends[1], &who);
    fault_armed = false;
    assert_true(who.pid != 0 || (who.pidfd < 0 && strstr(who.text, "cannot be seen") != NULL));
    fd_close(&who.pidfd);
    *pid = (pid_t)who.pid;
    return there;
}

static void a_list_that_cannot_be_read_hides_nobodys_life(void **state) {
    (void)state;
    static const char *const calls[] = {"fopen", "fstat", "readlink"};
    pid_t pid;
    assert_true(ask(&pid) && pid == getpid());
    for (int i = 0; i < 3 * 2; i++) {
        before(calls[i / 2], 1 + (unsigned)i % 2, true, NULL); /* the second look is for the same one */
        assert_true(ask(&pid) && pid == 0 && fault_site != 0);
    }
    assert_int_equal(flock(ends[0], LOCK_UN), 0);
    before("fopen", 1, true, NULL);
    assert_false(ask(&pid));
}

static void leave(void) {
    (void)flock(ends[0], LOCK_UN);
}

static void come_back(void);
static unsigned slips;

static void slip_away(void) {
    leave();
    before("flock", 1, false, come_back);
}

static void come_back(void) {
    (void)flock(ends[0], LOCK_EX);
    if (--slips != 0) before("fopen", 1, false, slip_away);
}

static void a_lock_that_slips_through_the_list_is_held(void **state) {
    (void)state;
    pid_t pid;
    for (slips = 1; slips <= 2; slips++) {
        unsigned wanted = slips;
        before("fopen", 1, false, slip_away);
        assert_true(ask(&pid) && pid == getpid() && slips == 0);
        slips = wanted;
    }
    slips = 3; /* each time that it is looked for */
    before("fopen", 1, false, slip_away);
    assert_true(ask(&pid) && pid == 0 && slips == 0);
}

static void who_leaves_between_two_looks_is_gone(void **state) {
    (void)state;
    pid_t pid;
    before("fopen", 2, false, leave);
    assert_false(ask(&pid));
    assert_true(fault_site != 0);
    assert_false(ask(&pid));
}

static void a_seat_that_is_taken_is_not_to_be_had(void **state) {
    (void)state;
    char path[40];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    int other = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(seat_take(other), -EBUSY);
    leave();
    before("flock", 1, false, NULL);
    assert_int_equal(seat_take(other), -EMFILE);
    fault_armed = false;
    const struct fault interrupted = {fault_find("flock"), 1, EINTR, false};
    fault_set(&interrupted);
    fault_armed = true;
    assert_int_equal(seat_take(other), 0);
    assert_int_equal(seat_take(ends[0]), -EBUSY);
    (void)close(other);
}

static void a_process_knows_itself_by_its_own_number(void **state) {
    (void)state;
    struct link_who who = seat_nobody;
    assert_true(seat_is_of(&who, 7)); /* nobody can tell */
    who.pid = getpid();
    assert_true(seat_is_of(&who, getpid()));
    assert_false(seat_is_of(&who, getpid() + 1));
    assert_false(seat_is_of(&who, 0)); /* nor by none at all */
    before("fopen", 1, false, NULL);
    assert_true(seat_is_of(&who, getpid() + 1));
}

/* Whoever took it has died, and somebody else keeps it open. */
static void what_the_dead_left_is_nobodys(void **state) {
    (void)state;
    pid_t pid, taker;
    leave();
    (void)fflush(NULL);
    taker = fork();
    if (taker == 0) _exit(seat_take(ends[0]) != 0);
    int status = 1;
    assert_int_equal(waitpid(taker, &status, 0), taker);
    assert_int_equal(status, 0);
    assert_false(ask(&pid));
    assert_int_equal(pid, taker);
}

/* Numbers in a /proc that is another PID namespace's are others' numbers. */
static void where_proc_is_anothers_it_is_not_believed(void **state) {
    (void)state;
    (void)fflush(NULL);
    pid_t maker = fork();
    if (maker == 0) {
        if (unshare(CLONE_NEWPID) != 0) _exit(77);
        pid_t inside = fork(), pid;
        if (inside == 0) _exit(ask(&pid) && pid == 0 ? 0 : 1);
        int status = 1;
        (void)waitpid(inside, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(maker, &status, 0), maker);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_list_that_cannot_be_read_hides_nobodys_life), TEST(a_lock_that_slips_through_the_list_is_held),
        TEST(who_leaves_between_two_looks_is_gone),          TEST(a_seat_that_is_taken_is_not_to_be_had),
        TEST(a_process_knows_itself_by_its_own_number),      TEST(what_the_dead_left_is_nobodys),
        TEST(where_proc_is_anothers_it_is_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
