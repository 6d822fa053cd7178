/* SPDX-License-Identifier: MIT
 *
 * Children that are handed an end, see child.h.
 */
#define _GNU_SOURCE
#include "tests/child.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/peer.h"

const char *const child_program = "/proc/self/exe";
unsigned char child_sent[3 << 20], child_got[3 << 20];

void child_fill(size_t size, unsigned seed) {
    for (size_t i = 0; i < size; i++) {
        child_sent[i] = (unsigned char)(seed * 31 + i * 7 + (i >> 8));
    }
}

thirl *child_open(enum thirl_role role, const char *address) {
    thirl *end = NULL;
    ok(thirl_open(&end, role, address, NULL));
    return end;
}

static int echo(const char *address) {
    thirl *end = child_open(THIRL_PAIR, address);
    struct thirl_peer who = {.size = sizeof who};
    size_t size;
    int rc;
    must(thirl_peer(end, &who) == 0 && who.pid == getppid());
    while ((rc = thirl_recv(end, child_sent, sizeof child_sent, &size, LONG)) == 0) {
        ok(thirl_send(end, child_sent, size, LONG));
    }
    must(rc == -THIRL_ECLOSED);
    must(thirl_close(&end, LONG) == 0);
    return 0;
}

static int say_three(const char *address) {
    thirl *end = child_open(THIRL_PAIR, address);
    for (unsigned char i = 0; i < 3; i++) {
        ok(thirl_send(end, &i, 1, LONG));
    }
    return 0;
}

static int say_three_and_close(const char *address) {
    thirl *end = child_open(THIRL_PAIR, address);
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
    (void)child_open(THIRL_PAIR, address);
    return 0;
}

/* Events: more than the pipe holds, so that some are counted. */
static int notify_many(const char *address) {
    thirl *end = child_open(THIRL_NOTIFY, address);
    for (uint32_t i = 0; i < CHILD_TELLS; i++) {
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
    thirl *end = child_open(THIRL_READ, address);
    size_t size, all = 0;
    int rc;
    while ((rc = thirl_recv(end, child_sent, 70001, &size, LONG)) == 0) {
        for (size_t i = 0; i < size; i++) {
            must(child_sent[i] == (unsigned char)((all + i) * 13 + ((all + i) >> 8)));
        }
        all += size;
    }
    must(rc == THIRL_END && all == 40u * 50000);
    must(thirl_close(&end, LONG) == 0);
    return 0;
}

static int write_and_die(const char *address) {
    thirl *end = child_open(THIRL_WRITE, address);
    ok(thirl_send(end, "torn", 4, LONG));
    return 0;
}

static int lose_the_parent(const char *address) {
    thirl *end = child_open(THIRL_PAIR, address);
    size_t size;
    ok(thirl_recv(end, child_sent, 10, &size, LONG));
    ok(thirl_send(end, "x", 1, LONG));
    must(thirl_recv(end, child_sent, 10, &size, LONG) == -THIRL_EPEERDIED);
    must(thirl_send(end, child_sent, 10, LONG) == -THIRL_EPEERDIED);
    must(thirl_recv(end, child_sent, 10, &size, LONG) == -THIRL_ECLOSED);
    (void)!thirl_close(&end, THIRL_NOW);
    return 0;
}

/* Its parent dies before both know each other: that is an end too, and soon. */
static int lose_the_parent_early(const char *address) {
    thirl *end = NULL;
    size_t size;
    int rc = thirl_open(&end, THIRL_PAIR, address, NULL);
    rc = rc == 0 ? thirl_recv(end, child_sent, 10, &size, LONG) : rc;
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

int child_run(const char *what, const char *address) {
    for (size_t i = 0; i < sizeof children / sizeof *children; i++) {
        if (strcmp(children[i].name, what) == 0) {
            return children[i].run(address);
        }
    }
    return 99;
}

pid_t child_start(thirl *end, const char *what, bool exec) {
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
            (void)execl(child_program, child_program, what, address, (char *)NULL);
            _exit(127);
        }
        _exit(child_run(what, address));
    }
    assert_true(pid > 0);
    return pid;
}

void child_hear_three(thirl *end) {
    for (unsigned char i = 0; i < 3; i++) {
        size_t size;
        assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), 0);
        assert_int_equal(size, 1);
        assert_int_equal(child_got[0], i);
    }
}
