/* SPDX-License-Identifier: MIT
 *
 * pipe:// between a parent and its children, with the demands of the conformance suite: that one opens both ends by one
 * address from unrelated processes, and an anonymous pipe cannot be met so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/peer.h"
#include "tests/room.h"

static const char *program;
static unsigned char buffer[3 << 20], again[3 << 20];

static void fill(size_t size, unsigned seed) {
    for (size_t i = 0; i < size; i++) {
        buffer[i] = (unsigned char)(seed * 31 + i * 7 + (i >> 8));
    }
}

static thirl *open_as(enum thirl_role role, const char *address) {
    thirl *end = NULL;
    ok(thirl_open(&end, role, address, NULL));
    return end;
}

/* A child that was handed the other end, by exec or only by fork. */
static pid_t start(thirl *end, const char *what, bool exec) {
    char address[320];
    int rc = thirl_hand(end, address, sizeof address);
    if (rc != 0) {
        print_error("thirl_hand: %s\n", thirl_why());
    }
    assert_int_equal(rc, 0);
    assert_true(strncmp(address, "pipe://", 7) == 0 && address[7] != '\0');
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (exec) {
            (void)execl(program, program, what, address, (char *)NULL);
            _exit(127);
        }
        extern int pipe_child(const char *, const char *);
        _exit(pipe_child(what, address));
    }
    assert_true(pid > 0);
    return pid;
}

/* ---- children ---- */

static int echo(const char *address) {
    thirl *end = open_as(THIRL_PAIR, address);
    struct thirl_peer who = {.size = sizeof who};
    size_t size;
    int rc;
    must(thirl_peer(end, &who) == 0 && who.pid == getppid());
    while ((rc = thirl_recv(end, buffer, sizeof buffer, &size, LONG)) == 0) {
        ok(thirl_send(end, buffer, size, LONG));
    }
    must(rc == -THIRL_ECLOSED);
    must(thirl_close(&end, LONG) == 0);
    return 0;
}

static int say_three(const char *address) {
    thirl *end = open_as(THIRL_PAIR, address);
    for (unsigned char i = 0; i < 3; i++) {
        ok(thirl_send(end, &i, 1, LONG));
    }
    return 0;
}

static int say_three_and_close(const char *address) {
    thirl *end = open_as(THIRL_PAIR, address);
    for (unsigned char i = 0; i < 3; i++) {
        ok(thirl_send(end, &i, 1, LONG));
    }
    must(thirl_close(&end, LONG) == 0);
    return 0;
}

static int say_three_and_stay(const char *address) {
    (void)say_three(address);
    (void)pause();
    return 0;
}

/* Leaves somebody behind who holds all its descriptors. */
static int say_three_and_clone(const char *address) {
    (void)say_three(address);
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
        (void)prctl(PR_SET_PDEATHSIG, 0);
        (void)sleep(5);
        _exit(0);
    }
    (void)pause();
    return 0;
}

static int only_open(const char *address) {
    (void)open_as(THIRL_PAIR, address);
    return 0;
}

/* Events: more than the pipe holds, so that some are counted. */
#define TELLS 100000u
static int notify_many(const char *address) {
    thirl *end = open_as(THIRL_NOTIFY, address);
    for (uint32_t i = 0; i < TELLS; i++) {
        ok(thirl_send(end, &(uint32_t){i % 5}, 4, LONG));
    }
    must(thirl_close(&end, LONG) == 0);
    return 0;
}

static int talk_nonsense(const char *address) {
    int out = atoi(strchr(address, ',') + 1);
    must(write(out, "GET / HTTP/1.0\r\n\r\n", 18) == 18);
    (void)pause();
    return 0;
}

static int read_all(const char *address) {
    thirl *end = open_as(THIRL_READ, address);
    size_t size, all = 0;
    int rc;
    while ((rc = thirl_recv(end, buffer, 70001, &size, LONG)) == 0) {
        for (size_t i = 0; i < size; i++) {
            must(buffer[i] == (unsigned char)((all + i) * 13 + ((all + i) >> 8)));
        }
        all += size;
    }
    must(rc == THIRL_END && all == 40u * 50000);
    must(thirl_close(&end, LONG) == 0);
    return 0;
}

static int write_and_die(const char *address) {
    thirl *end = open_as(THIRL_WRITE, address);
    ok(thirl_send(end, "torn", 4, LONG));
    return 0;
}

static int lose_the_parent(const char *address) {
    thirl *end = open_as(THIRL_PAIR, address);
    size_t size;
    ok(thirl_recv(end, buffer, 10, &size, LONG));
    ok(thirl_send(end, "x", 1, LONG));
    must(thirl_recv(end, buffer, 10, &size, LONG) == -THIRL_EPEERDIED);
    must(thirl_send(end, buffer, 10, LONG) == -THIRL_EPEERDIED);
    must(thirl_recv(end, buffer, 10, &size, LONG) == -THIRL_ECLOSED);
    (void)!thirl_close(&end, THIRL_NOW);
    return 0;
}

/* Its parent dies before both know each other: that is an end too, and soon. */
static int lose_the_parent_early(const char *address) {
    thirl *end = NULL;
    size_t size;
    int rc = thirl_open(&end, THIRL_PAIR, address, NULL);
    rc = rc == 0 ? thirl_recv(end, buffer, 10, &size, LONG) : rc;
    must(rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED);
    (void)!thirl_close(&end, THIRL_NOW);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(const char *address);
} children[] = {
    {"echo", echo},
    {"three", say_three},
    {"three-close", say_three_and_close},
    {"stay", say_three_and_stay},
    {"clone", say_three_and_clone},
    {"open", only_open},
    {"nonsense", talk_nonsense},
    {"read", read_all},
    {"write", write_and_die},
    {"lose", lose_the_parent},
    {"early", lose_the_parent_early},
    {"notify", notify_many},
};

int pipe_child(const char *what, const char *address);
int pipe_child(const char *what, const char *address) {
    for (size_t i = 0; i < sizeof children / sizeof *children; i++) {
        if (strcmp(children[i].name, what) == 0) {
            return children[i].run(address);
        }
    }
    return 99;
}

/* ---- parents ---- */

static void carries_every_size(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 64, 4096, 16383, 16384, 65528, 65536, 300000, 1 << 20, 3 << 20};
    for (int exec = 0; exec < 2; exec++) {
        thirl *end = open_as(THIRL_PAIR, "pipe://");
        pid_t pid = start(end, "echo", exec);
        struct thirl_peer who = {.size = sizeof who};
        for (unsigned i = 0; i < 60; i++) {
            size_t size = sizes[i % 11], got = 1;
            fill(size, i);
            assert_int_equal(thirl_send(end, buffer, size, LONG), 0);
            if (i % 4 == 0 && size > 0) {
                assert_int_equal(thirl_recv(end, again, size - 1, &got, LONG), -EMSGSIZE);
            }
            assert_int_equal(thirl_recv(end, again, sizeof again, &got, LONG), 0);
            assert_int_equal(got, size);
            assert_memory_equal(again, buffer, size);
        }
        assert_int_equal(thirl_peer(end, &who), 0);
        assert_int_equal(who.pid, pid);
        assert_int_equal(who.uid, geteuid());
        char address[320];
        assert_int_equal(thirl_hand(end, address, sizeof address), -EBUSY);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
    }
}

static void receive_three(thirl *end) {
    for (unsigned char i = 0; i < 3; i++) {
        size_t size;
        assert_int_equal(thirl_recv(end, again, 9, &size, LONG), 0);
        assert_int_equal(size, 1);
        assert_int_equal(again[0], i);
    }
}

/* Whatever became of the child before its parent looks, what it has said is heard. */
static void receives_from_the_gone(void **state) {
    (void)state;
    size_t size;
    for (int closes = 0; closes < 2; closes++) {
        thirl *end = open_as(THIRL_PAIR, "pipe://");
        peer_reap(start(end, closes ? "three-close" : "three", closes));
        receive_three(end);
        int code = closes ? -THIRL_ECLOSED : -THIRL_EPEERDIED;
        char address[320];
        assert_int_equal(thirl_recv(end, again, 9, &size, LONG), code);
        assert_int_equal(thirl_send(end, "x", 1, LONG), code);
        if (closes) {
            assert_int_equal(thirl_hand(end, address, sizeof address), -THIRL_ECLOSED);
        } else {
            pid_t pid = start(end, "echo", true);
            assert_int_equal(thirl_send(end, "again", 5, LONG), 0);
            assert_int_equal(thirl_recv(end, again, 9, &size, LONG), 0);
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
    thirl *end = open_as(THIRL_PAIR, "pipe://");
    for (int i = 0; i < 4; i++) {
        pid_t pid = start(end, i % 2 == 0 ? "no such child" : "open", i < 2);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        if (i > 1) {
            size_t size;
            assert_int_equal(thirl_recv(end, again, 9, &size, thirl_in_ms(60)), -ETIMEDOUT);
        }
    }
    pid_t pid = start(end, "stay", true);
    receive_three(end);
    peer_slay(pid);
    size_t size;
    assert_int_equal(thirl_recv(end, again, 9, &size, LONG), -THIRL_EPEERDIED);
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
        thirl *end = open_as(THIRL_PAIR, "pipe://");
        pid_t pid = start(end, kinds[i % 2], i < 2);
        pthread_t thread;
        size_t size;
        receive_three(end);
        int64_t began = clock_now();
        assert_int_equal(pthread_create(&thread, NULL, slay_soon, &pid), 0);
        int rc = 0;
        if (i < 2) {
            rc = thirl_recv(end, again, 9, &size, LONG);
        }
        while (rc == 0) {
            rc = thirl_send(end, buffer, 9000, LONG); /* nobody reads it: sleeps when the pipe is full */
        }
        assert_int_equal(rc, -THIRL_EPEERDIED);
        assert_true(clock_now() - began < 900 * CLOCK_MS);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        (void)!thirl_close(&end, THIRL_NOW);
    }
}

static void carries_streams(void **state) {
    (void)state;
    thirl *end = open_as(THIRL_WRITE, "pipe://");
    pid_t pid = start(end, "read", true);
    for (size_t at = 0; at < 40u * 50000; at += 50000) {
        for (size_t i = 0; i < 50000; i++) {
            buffer[i] = (unsigned char)((at + i) * 13 + ((at + i) >> 8));
        }
        assert_int_equal(thirl_send(end, buffer, 50000, LONG), 0);
    }
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    end = open_as(THIRL_READ, "pipe://");
    peer_reap(start(end, "write", false));
    size_t size, all = 0;
    int rc;
    while ((rc = thirl_recv(end, again + all, 3, &size, LONG)) == 0) {
        all += size;
    }
    assert_int_equal(rc, -THIRL_EPEERDIED); /* not the end */
    assert_int_equal(all, 4);
    assert_memory_equal(again, "torn", 4);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    size_t size;
    thirl *end = open_as(THIRL_PAIR, "pipe://"), *other = NULL;
    pid_t pid = start(end, "nonsense", true);
    assert_int_equal(thirl_recv(end, again, 9, &size, LONG), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "47 45 54"));
    peer_slay(pid);
    pid = start(end, "echo", true);
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    assert_int_equal(thirl_recv(end, again, 9, &size, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    /* Of another role. */
    char address[320];
    end = open_as(THIRL_PAIR, "pipe://?max=4K");
    assert_int_equal(thirl_hand(end, address, sizeof address), 0);
    assert_non_null(strstr(address, "?max=4K"));
    assert_int_equal(thirl_hand(end, address, 9), -EMSGSIZE);
    assert_int_equal(thirl_hand(end, address, sizeof address), 0);
    assert_int_equal(thirl_open(&other, THIRL_READ, address, NULL), -THIRL_EROLE);
    assert_null(other);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* Numbers that are no pipe's, or none. */
    static const char *const wrong[] = {
        "pipe://1",  "pipe://a,b",  "pipe://1,2,3", "pipe://,",   "pipe://-1,4",          "pipe:///x",
        "pipe://3,", "pipe://3,-4", "pipe://3,4x",  "pipe://3,x", "pipe://99999999999,4", "pipe://3,99999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(thirl_open(&other, THIRL_PAIR, wrong[i], NULL), -THIRL_EADDRESS);
    }
    int file = open("/dev/null", O_RDWR | O_CLOEXEC), ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)snprintf(address, sizeof address, "pipe://%d,%d", file, ends[1]);
    assert_int_equal(thirl_open(&other, THIRL_PAIR, address, NULL), -EBADF);
    (void)snprintf(address, sizeof address, "pipe://%d,%d", ends[1], ends[0]);
    assert_int_equal(thirl_open(&other, THIRL_PAIR, address, NULL), -EBADF);
    assert_int_equal(thirl_open(&other, THIRL_PAIR, "pipe://998,999", NULL), -EBADF);
    assert_true(fcntl(file, F_GETFD) >= 0 && fcntl(ends[0], F_GETFD) >= 0); /* still the caller's */
    (void)close(file);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void lets_nobody_wait_too_long(void **state) {
    (void)state;
    size_t size;
    int64_t began = clock_now();
    thirl *end = open_as(THIRL_PAIR, "pipe://");
    assert_true(clock_now() - began < 200 * CLOCK_MS);
    assert_int_equal(thirl_recv(end, again, 9, &size, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_recv(end, again, 9, &size, thirl_in_ms(50)), -ETIMEDOUT);
    assert_int_equal(thirl_send(end, again, 9, thirl_in_ms(50)), -ETIMEDOUT);
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_true(clock_now() - began < 5 * CLOCK_S);
}

static void ends_with_its_parent(void **state) {
    (void)state;
    pid_t parent = fork();
    if (parent == 0) {
        thirl *end = open_as(THIRL_PAIR, "pipe://");
        char address[320];
        size_t size;
        ok(thirl_hand(end, address, sizeof address));
        pid_t child = fork();
        if (child == 0) {
            exit(lose_the_parent(address) == 0 ? 0 : 1);
        }
        ok(thirl_send(end, "x", 1, LONG));
        ok(thirl_recv(end, buffer, 10, &size, LONG));
        _exit(0);
    }
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    peer_reap(parent);
    int status = -1;
    assert_true(wait(&status) > 0); /* the grandchild */
    assert_int_equal(status, 0);
}

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
        thirl *end = open_as(THIRL_PAIR, "pipe://");
        (void)setenv("THIRL_WEAVE_AT", stops ? "pipe.met.before:1:stop" : "pipe.met.before:1:kill", 1);
        pid_t pid = start(end, "stay", true);
        (void)unsetenv("THIRL_WEAVE_AT");
        size_t size;
        int rc = thirl_recv(end, again, 9, &size, thirl_in_ms(20));
        assert_true(is_signalled(pid, stops ? SIGSTOP : SIGKILL));
        if (stops) {
            rc = thirl_recv(end, again, 9, &size, thirl_in_ms(200));
            assert_int_equal(rc, -ETIMEDOUT); /* stopped is not dead */
            int64_t began = clock_now();
            peer_slay(pid);
            assert_int_equal(thirl_recv(end, again, 9, &size, LONG), -THIRL_EPEERDIED);
            assert_true(clock_now() - began < 2 * CLOCK_S);
        } else if (rc == -ETIMEDOUT) {
            rc = thirl_recv(end, again, 9, &size, thirl_in_ms(200));
            assert_true(rc == -THIRL_EPEERDIED || rc == -ETIMEDOUT);
        }
        pid = start(end, "echo", true);
        rc = thirl_send(end, "again", 5, LONG);
        rc = rc == -THIRL_EPEERDIED ? thirl_send(end, "again", 5, LONG) : rc; /* told once in each direction */
        assert_int_equal(rc, 0);
        assert_int_equal(thirl_recv(end, again, 9, &size, LONG), 0);
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
            thirl *end = open_as(THIRL_PAIR, "pipe://");
            if (i == 1) {
                pid_t child = start(end, "stay", false);
                receive_three(end);
                peer_slay(child);
                (void)!thirl_recv(end, again, 9, &size, LONG);
            }
            ok(thirl_hand(end, address, sizeof address));
            if (fork() == 0) {
                (void)unsetenv("THIRL_WEAVE_AT");
                (void)execl(program, program, "early", address, (char *)NULL);
                _exit(127);
            }
            for (int tries = 0; tries < 3; tries++) {
                (void)!thirl_recv(end, again, 9, &size, LONG);
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

static void serves_one_process_too(void **state) {
    (void)state;
    char address[320];
    size_t size;
    thirl *a = open_as(THIRL_PAIR, "pipe://");
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            a = open_as(THIRL_PAIR, "pipe://");
        }
        assert_int_equal(thirl_hand(a, address, sizeof address), 0);
        thirl *b = open_as(THIRL_PAIR, address);
        assert_int_equal(thirl_send(b, "to a", 4, LONG), 0);
        assert_int_equal(thirl_recv(a, again, 9, &size, LONG), 0);
        assert_int_equal(thirl_send(a, "to b", 4, LONG), 0);
        assert_int_equal(thirl_recv(b, again, 9, &size, LONG), 0);
        assert_int_equal(thirl_hand(b, address, sizeof address), -EINVAL);
        assert_int_equal(thirl_close(i % 2 ? &a : &b, LONG), 0);
        assert_int_equal(thirl_close(i % 2 ? &b : &a, LONG), 0);
    }
    /* Elsewhere every process can open the end's own address. */
    a = open_as(THIRL_PAIR, "shm://hand?queue=64K");
    assert_int_equal(thirl_hand(a, address, sizeof address), 0);
    assert_string_equal(address, "shm://hand?queue=64K");
    assert_int_equal(thirl_hand(a, address, 5), -EMSGSIZE);
    assert_int_equal(thirl_hand(a, NULL, 5), -EINVAL);
    assert_int_equal(thirl_close(&a, LONG), 0);
}

static void leaves_no_descriptor(void **state) {
    (void)state;
    unsigned before = 0;
    for (int i = 0; i < 20; i++) {
        thirl *end = open_as(THIRL_PAIR, "pipe://?queue=64K");
        if (i % 3 == 0) {
            assert_true(thirl_fd(end) >= 0);
        }
        pid_t pid = i % 4 == 0 ? 0 : start(end, i % 4 == 1 ? "echo" : "stay", i % 2 == 0);
        if (pid > 0) {
            size_t size;
            assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
            assert_int_equal(thirl_recv(end, again, 9, &size, LONG), 0);
        }
        assert_int_equal(thirl_close(&end, LONG), 0);
        if (pid > 0 && i % 4 == 1) {
            peer_reap(pid);
        } else if (pid > 0) {
            peer_slay(pid);
        }
        before = i == 3 ? room_descriptors() : before;
    }
    assert_int_equal(room_descriptors(), before);
}

static void counts_events(void **state) {
    (void)state;
    for (int exec = 0; exec < 2; exec++) {
        uint32_t told[5] = {0};
        thirl *end = open_as(THIRL_WATCH, "pipe://");
        pid_t pid = start(end, "notify", exec);
        thirl_msg *msg;
        int rc;
        while ((rc = thirl_take(end, &msg, LONG)) == 0) {
            uint32_t event;
            assert_int_equal(thirl_msg_size(msg), sizeof event);
            memcpy(&event, thirl_msg_data(msg), sizeof event);
            assert_true(event < 5);
            told[event] += (uint32_t)thirl_msg_times(msg);
            thirl_free(&msg);
        }
        assert_int_equal(rc, -THIRL_ECLOSED);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(told[i], TELLS / 5);
        }
        int status = 1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
    }
}

int main(int argc, char **argv) {
    program = "/proc/self/exe";
    if (argc == 3) {
        return pipe_child(argv[1], argv[2]);
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_every_size),
        cmocka_unit_test(receives_from_the_gone),
        cmocka_unit_test(starts_another_child),
        cmocka_unit_test(counts_events),
        cmocka_unit_test(knows_of_a_death_in_time),
        cmocka_unit_test(carries_streams),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(lets_nobody_wait_too_long),
        cmocka_unit_test(ends_with_its_parent),
        cmocka_unit_test(outlives_a_child_that_dies_while_meeting),
        cmocka_unit_test(ends_with_a_parent_that_dies_while_meeting),
        cmocka_unit_test(serves_one_process_too),
        cmocka_unit_test(leaves_no_descriptor),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
