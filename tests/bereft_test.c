/* SPDX-License-Identifier: MIT
 *
 * pipe:// when a parent or a child is gone: what was said is heard, a death is known in time, and another child can have the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/child.h"
#include "tests/peer.h"

/* Whatever became of the child before its parent looks, what it has said is heard. */
static void receives_from_the_gone(void **state) {
    (void)state;
    size_t size;
    for (int closes = 0; closes < 2; closes++) {
        thirl *end = child_open(THIRL_PAIR, "pipe://");
        peer_reap(child_start(end, closes ? "three-close" : "three", closes));
        child_hear_three(end);
        int code = closes ? -THIRL_ECLOSED : -THIRL_EPEERDIED;
        char address[320];
        assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), code);
        assert_int_equal(thirl_send(end, "x", 1, LONG), code);
        if (closes) {
            assert_int_equal(thirl_hand(end, address, sizeof address), -THIRL_ECLOSED);
        } else {
            pid_t pid = child_start(end, "echo", true);
            assert_int_equal(thirl_send(end, "again", 5, LONG), 0);
            assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), 0);
            assert_int_equal(size, 5);
            assert_int_equal(thirl_close(&end, LONG), 0);
            peer_reap(pid);
        }
        assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    }
}

/* A child that dies before it was heard does not use the end up: not one that never ran, and not one that opened it. */
static void starts_another_child(void **state) {
    (void)state;
    thirl *end = child_open(THIRL_PAIR, "pipe://");
    for (int i = 0; i < 4; i++) {
        pid_t pid = child_start(end, i % 2 == 0 ? "no such child" : "open", i < 2);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        if (i > 1) {
            size_t size;
            assert_int_equal(thirl_recv(end, child_got, 9, &size, thirl_in_ms(60)), -ETIMEDOUT);
        }
    }
    pid_t pid = child_start(end, "stay", true);
    child_hear_three(end);
    peer_slay(pid);
    size_t size;
    assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), -THIRL_EPEERDIED);
    assert_non_null(strstr(thirl_why(), "pid "));
    assert_int_equal(thirl_send(end, "x", 1, LONG), -THIRL_EPEERDIED);
    assert_int_equal(thirl_send(end, "x", 1, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void *slay_soon(void *argument) {
    (void)usleep(100000);
    (void)kill(*(pid_t *)argument, SIGKILL);
    return NULL;
}

static void knows_of_a_death_in_time(void **state) {
    (void)state;
    static const char *const kinds[] = {"stay", "clone"};
    for (int i = 0; i < 4; i++) {
        thirl *end = child_open(THIRL_PAIR, "pipe://");
        pid_t pid = child_start(end, kinds[i % 2], i < 2);
        pthread_t thread;
        size_t size;
        child_hear_three(end);
        int64_t began = clock_now();
        assert_int_equal(pthread_create(&thread, NULL, slay_soon, &pid), 0);
        int rc = 0;
        if (i < 2) {
            rc = thirl_recv(end, child_got, 9, &size, LONG);
        }
        while (rc == 0) {
            rc = thirl_send(end, child_sent, 9000, LONG); /* nobody reads it: sleeps when the pipe is full */
        }
        assert_int_equal(rc, -THIRL_EPEERDIED);
        assert_true(clock_now() - began < 900 * CLOCK_MS);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        (void)!thirl_close(&end, THIRL_NOW);
    }
}

static void ends_with_its_parent(void **state) {
    (void)state;
    pid_t parent = fork();
    if (parent == 0) {
        thirl *end = child_open(THIRL_PAIR, "pipe://");
        char address[320];
        size_t size;
        ok(thirl_hand(end, address, sizeof address));
        pid_t child = fork();
        if (child == 0) {
            exit(child_run("lose", address) == 0 ? 0 : 1);
        }
        ok(thirl_send(end, "x", 1, LONG));
        ok(thirl_recv(end, child_sent, 10, &size, LONG));
        _exit(0);
    }
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    peer_reap(parent);
    int status = -1;
    assert_true(wait(&status) > 0); /* the grandchild */
    assert_int_equal(status, 0);
}

/* ---- while they meet ---- */

static bool is_signalled(pid_t pid, int number) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    return (WIFSIGNALED(status) && WTERMSIG(status) == number) || (WIFSTOPPED(status) && WSTOPSIG(status) == number);
}

/* A child that is killed, or stopped first, just when both have met: the parent is told, if it had met it, and another child can
 * have the end. */
static void outlives_a_child_that_dies_while_meeting(void **state) {
    (void)state;
    for (int stops = 0; stops < 2; stops++) {
        thirl *end = child_open(THIRL_PAIR, "pipe://");
        (void)setenv("THIRL_WEAVE_AT", stops ? "pipe.met.before:1:stop" : "pipe.met.before:1:kill", 1);
        pid_t pid = child_start(end, "stay", true);
        (void)unsetenv("THIRL_WEAVE_AT");
        size_t size;
        int rc = thirl_recv(end, child_got, 9, &size, thirl_in_ms(20));
        assert_true(is_signalled(pid, stops ? SIGSTOP : SIGKILL));
        if (stops) {
            rc = thirl_recv(end, child_got, 9, &size, thirl_in_ms(200));
            assert_int_equal(rc, -ETIMEDOUT); /* stopped is not dead */
            int64_t began = clock_now();
            peer_slay(pid);
            assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), -THIRL_EPEERDIED);
            assert_true(clock_now() - began < 2 * CLOCK_S);
        } else if (rc == -ETIMEDOUT) {
            rc = thirl_recv(end, child_got, 9, &size, thirl_in_ms(200));
            assert_true(rc == -THIRL_EPEERDIED || rc == -ETIMEDOUT);
        }
        pid = child_start(end, "echo", true);
        rc = thirl_send(end, "again", 5, LONG);
        rc = rc == -THIRL_EPEERDIED ? thirl_send(end, "again", 5, LONG) : rc; /* told once in each direction */
        assert_int_equal(rc, 0);
        assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), 0);
        assert_int_equal(size, 5);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
    }
}

/* A parent that is killed when it has met its child, or has made the pipes for another one after that died. */
static void ends_with_a_parent_that_dies_while_meeting(void **state) {
    (void)state;
    static const char *const points[] = {"pipe.make.after:1:kill", "pipe.make.after:2:kill", "pipe.met.before:1:kill"};
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = 0; i < 3; i++) {
        (void)fflush(NULL);
        pid_t parent = fork();
        if (parent == 0) {
            char address[320];
            size_t size;
            (void)setenv("THIRL_WEAVE_AT", points[i], 1);
            thirl *end = child_open(THIRL_PAIR, "pipe://");
            if (i == 1) {
                pid_t child = child_start(end, "stay", false);
                child_hear_three(end);
                peer_slay(child);
                (void)!thirl_recv(end, child_got, 9, &size, LONG);
            }
            ok(thirl_hand(end, address, sizeof address));
            if (fork() == 0) {
                (void)unsetenv("THIRL_WEAVE_AT");
                (void)execl(child_program, child_program, "early", address, (char *)NULL);
                _exit(127);
            }
            for (int tries = 0; tries < 3; tries++) {
                (void)!thirl_recv(end, child_got, 9, &size, LONG);
            }
            _exit(0);
        }
        assert_true(is_signalled(parent, SIGKILL));
        int status = 0;
        while (wait(&status) > 0) { /* what it had started */
            assert_true(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 3) {
        return child_run(argv[1], argv[2]);
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(receives_from_the_gone),
        cmocka_unit_test(starts_another_child),
        cmocka_unit_test(knows_of_a_death_in_time),
        cmocka_unit_test(ends_with_its_parent),
        cmocka_unit_test(outlives_a_child_that_dies_while_meeting),
        cmocka_unit_test(ends_with_a_parent_that_dies_while_meeting),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
