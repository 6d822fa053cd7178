/* SPDX-License-Identifier: MIT
 *
 * Named points: they enumerate themselves, and the k-th pass does what THIRL_WEAVE_AT says.
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
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/weave.h"

static unsigned *reached; /* shared: how many rounds a child has behind it */

static void pass_one(void) {
    weave("test.one.before");
}

static void pass_two(void) {
    weave("test.two.middle");
}

static void pass_two_elsewhere(void) {
    weave("test.two.middle");
}

/* Each round passes one once and two twice. */
static void walk(unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++) {
        pass_one();
        pass_two();
        pass_two_elsewhere();
        (*reached)++;
    }
}

static int map(void **state) {
    (void)state;
    reached = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return reached == MAP_FAILED;
}

static pid_t start(const char *order, unsigned rounds) {
    *reached = 0;
    pid_t child = fork();
    if (child != 0) return child;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("THIRL_WEAVE_AT", order, 1);
    walk(rounds);
    _exit(0);
}

static int end(pid_t child) {
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void enumerates(void **state) {
    size_t count, one = 0, two = 0;
    (void)state;
    struct weave_point *points = weave_points(&count);
    assert_non_null(points);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(strchr(points[i].name, '.'));
        one += strcmp(points[i].name, "test.one.before") == 0;
        two += strcmp(points[i].name, "test.two.middle") == 0;
    }
    assert_int_equal(one, 1);
    assert_int_equal(two, 2);
}

static void counts(void **state) {
    size_t count;
    (void)state;
    struct weave_point *points = weave_points(&count);
    unsigned before = 0, after = 0;
    for (size_t i = 0; i < count; i++) before += points[i].passes;
    walk(10);
    for (size_t i = 0; i < count; i++) after += points[i].passes;
    assert_int_equal(after - before, 30);
}

static void kills(void **state) {
    (void)state;
    int status = end(start("test.one.before:3:kill", 10));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(*reached, 2);
    /* The fifth pass of two is in the third round, over both places. */
    status = end(start("test.two.middle:5:kill", 10));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(*reached, 2);
    status = end(start("*:1:kill", 10));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(*reached, 0);
}

static void lets_pass_what_is_not_reached(void **state) {
    (void)state;
    assert_int_equal(end(start("test.one.before:11:kill", 10)), 0);
    assert_int_equal(*reached, 10);
    assert_int_equal(end(start("", 10)), 0);
    assert_int_equal(*reached, 10);
}

static void stops(void **state) {
    int status;
    (void)state;
    pid_t child = start("test.one.before:2:stop", 10);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    assert_int_equal(*reached, 1);
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(end(child), 0);
    assert_int_equal(*reached, 10);
}

static void delays(void **state) {
    (void)state;
    int64_t begin = clock_now();
    assert_int_equal(end(start("test.one.before:2:delay=100000", 10)), 0);
    assert_true(clock_now() - begin >= 100 * CLOCK_MS);
    assert_int_equal(*reached, 10);
}

static void delays_by_chance(void **state) {
    (void)state;
    /* 300 passes, each up to 2 ms: 300 ms on average; less than 100 ms does not happen. */
    int64_t begin = clock_now();
    assert_int_equal(end(start("*:1:delay=2000", 100)), 0);
    assert_true(clock_now() - begin >= 100 * CLOCK_MS);
    assert_int_equal(*reached, 100);
}

static void jolts_by_chance(void **state) {
    (void)state;
    /* 9000 passes, half of them for up to 200 us: 450 ms on average; less than 100 ms does not happen. */
    int64_t begin = clock_now();
    assert_int_equal(end(start("*:1:jolt=200000", 3000)), 0);
    assert_true(clock_now() - begin >= 100 * CLOCK_MS);
    assert_int_equal(*reached, 3000);
}

/* The forked process keeps a pipe open: that is how it shows, and how it is found by nobody else. */
static void forks(void **state) {
    int ends[2];
    char byte;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t child = start("test.one.before:2:fork", 10);
    close(ends[1]);
    assert_int_equal(end(child), 0);
    assert_int_equal(*reached, 10); /* the child of the child did not walk on */
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    assert_int_equal(read(ends[0], &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    /* It is this process's child now, and its only one. */
    char command[64], text[32] = {0};
    snprintf(command, sizeof command, "/proc/self/task/%d/children", (int)getpid());
    int fd = open(command, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    pid_t orphan = (pid_t)atoi(text);
    assert_true(orphan > 1);
    assert_int_equal(kill(orphan, SIGKILL), 0);
    (void)end(orphan);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void refuses_wrong_orders(void **state) {
    static const char *const wrong[] = {
        "test.one.before", "test.one.before:0:kill",  "test.one.before:x:kill",   "test.one.before:1",
        "nobody:1:kill",   "test.one.before:1:dance", "test.one.before:1:delay=", "test.one.before:1:delay=5x",
        ":1:kill",         "test.one.before:-1:kill", "test.one.before:1:jolt",   "test.one.before:1:bolt=5",
    };
    (void)state;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), saved = dup(2);
    dup2(null, 2);
    int wrong_count = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int status = end(start(wrong[i], 1));
        wrong_count += !(WIFEXITED(status) && WEXITSTATUS(status) == 97 && *reached == 0);
    }
    dup2(saved, 2);
    close(saved);
    close(null);
    assert_int_equal(wrong_count, 0);
}

static void *walk_in_thread(void *nothing) {
    for (int i = 0; i < 1000; i++) pass_one();
    return nothing;
}

/* Passes of several threads are all counted: the last of 4000 is hit, the one after it is not. */
static void counts_over_threads(void **state) {
    static const char *const order[] = {"test.one.before:4000:kill", "test.one.before:4001:kill"};
    (void)state;
    for (int which = 0; which < 2; which++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread[4];
            setenv("THIRL_WEAVE_AT", order[which], 1);
            for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, walk_in_thread, NULL);
            for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
            _exit(0);
        }
        int status = end(child);
        if (which == 0) {
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        } else {
            assert_int_equal(status, 0);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enumerates),
        cmocka_unit_test(counts),
        cmocka_unit_test(kills),
        cmocka_unit_test(lets_pass_what_is_not_reached),
        cmocka_unit_test(stops),
        cmocka_unit_test(delays),
        cmocka_unit_test(forks),
        cmocka_unit_test(refuses_wrong_orders),
        cmocka_unit_test(delays_by_chance),
        cmocka_unit_test(jolts_by_chance),
        cmocka_unit_test(counts_over_threads),
    };
    return cmocka_run_group_tests(tests, map, NULL);
}
