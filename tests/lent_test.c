/* SPDX-License-Identifier: MIT
 *
 * Plain pipes that are handed on: to a child, and standard input and output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <cmocka.h>

#include "tests/plain.h"
#include "tests/room.h"

/* ---- a child's ---- */

/* Starts it as a shell would: %1$d and %2$d are the numbers that the address names. */
static pid_t start(thirl *end, const char *command, char address[320]) {
    char text[320];
    int in = -1, out = -1, rc = thirl_hand(end, address, 320);
    assert_int_equal(rc, 0);
    in = strncmp(address, "pipe://-", 8) == 0 ? -1 : atoi(address + 7);
    out = atoi(strchr(address, ',') + 1);
    (void)snprintf(text, sizeof text, command, in, out);
    return plain_shell(text);
}

static void gives_a_child_plain_ends(void **state) {
    (void)state;
    char address[320];
    size_t size;
    /* Both ways: cat gives back what it gets. */
    thirl *end = plain_open(THIRL_PAIR, "pipe://?raw");
    assert_int_equal(thirl_send(end, "x", 1, LONG), -ENOTCONN);
    assert_non_null(strstr(thirl_why(), "thirl_hand"));
    pid_t pid = start(end, "exec cat <&%1$d >&%2$d %1$d<&- %2$d>&-", address);
    for (unsigned i = 0; i < 40; i++) {
        size_t sent = 1 + i * 1000, have = 0;
        assert_int_equal(thirl_send(end, bulk + i, sent, LONG), 0);
        for (; have < sent; have += size) {
            assert_int_equal(thirl_recv(end, buffer + have, sizeof buffer - have, &size, LONG), 0);
        }
        assert_memory_equal(buffer, bulk + i, sent);
    }
    assert_int_equal(thirl_hand(end, address, sizeof address), -EBUSY);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid); /* it has seen the end */
    /* One way each. */
    end = plain_open(THIRL_WRITE, "pipe://?raw&queue=1M");
    pid = start(end, "exec cat <&%1$d >/dev/null", address);
    assert_non_null(strstr(address, ",-?raw&queue=1M"));
    assert_int_equal(thirl_send(end, bulk, BULK, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    end = plain_open(THIRL_READ, "pipe://?raw");
    pid = start(end, "printf 0123456789 >&%2$d", address);
    assert_int_equal(plain_read(end), 10);
    peer_reap(pid);
    assert_int_equal(thirl_hand(end, address, sizeof address), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* A child that fails at once. */
    end = plain_open(THIRL_PAIR, "pipe://?raw");
    pid = start(end, "exit 0", address);
    peer_reap(pid);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), THIRL_END);
    assert_int_equal(thirl_send(end, "x", 1, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* thirl_fd: after the child was started the next call has something to do. */
    end = plain_open(THIRL_READ, "pipe://?raw");
    int fd = thirl_fd(end), rc;
    pid = start(end, "sleep 0.1; exit 0", address);
    for (rc = -EAGAIN; rc == -EAGAIN;) {
        assert_int_equal(plain_poll(fd, 8000), POLLIN);
        rc = thirl_recv(end, buffer, 9, &size, THIRL_NOW);
    }
    assert_int_equal(rc, THIRL_END);
    peer_reap(pid);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* One that answers when its input has ended: an end for each way. */
static void gives_a_child_two_ends(void **state) {
    (void)state;
    char in[320], out[320];
    int reads = -1, writes = -1;
    thirl *to = plain_open(THIRL_WRITE, "pipe://?raw"), *from = plain_open(THIRL_READ, "pipe://?raw");
    assert_int_equal(thirl_hand(to, in, sizeof in), 0);
    assert_int_equal(thirl_hand(from, out, sizeof out), 0);
    assert_int_equal(sscanf(in, "pipe://%d,-", &reads), 1);
    assert_int_equal(sscanf(out, "pipe://-,%d", &writes), 1);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        must(dup2(reads, 0) == 0 && dup2(writes, 1) == 1);
        (void)close(reads);
        (void)close(writes);
        (void)execlp("sort", "sort", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(thirl_send(to, "b\na\n", 4, LONG), 0);
    assert_int_equal(thirl_close(&to, LONG), 0);
    assert_int_equal(plain_read(from), 4);
    assert_memory_equal(buffer, "a\nb\n", 4);
    peer_reap(pid);
    assert_int_equal(thirl_close(&from, LONG), 0);
}

static void gives_a_child_of_thirl_plain_ends(void **state) {
    (void)state;
    char address[320];
    size_t size;
    static const enum thirl_role roles[][2] = {
        {THIRL_PAIR, THIRL_PAIR}, {THIRL_WRITE, THIRL_READ}, {THIRL_READ, THIRL_WRITE}};
    for (int i = 0; i < 6; i++) {
        bool forks = i % 2;
        thirl *a = plain_open(roles[i / 2][0], "pipe://?raw"), *b = NULL;
        assert_int_equal(thirl_hand(a, address, sizeof address), 0);
        assert_int_equal(thirl_open(&b, i < 2 ? THIRL_READ : THIRL_PAIR, address, NULL), -THIRL_EROLE);
        (void)fflush(NULL);
        pid_t pid = forks ? fork() : 0;
        if (pid == 0) {
            b = plain_open(roles[i / 2][1], address);
            if (forks && i / 2 != 1) {
                ok(thirl_send(b, "up", 2, LONG));
            }
            if (forks && i / 2 != 2) {
                ok(thirl_recv(b, buffer, 9, &size, LONG));
                must(size == 4);
            }
            if (forks) {
                must(thirl_close(&b, LONG) == 0);
                _exit(0);
            }
        }
        if (i / 2 != 1) {
            assert_int_equal(forks ? 0 : thirl_send(b, "up", 2, LONG), 0);
            assert_int_equal(thirl_recv(a, buffer, 9, &size, LONG), 0);
            assert_int_equal(size, 2);
        }
        if (i / 2 != 2) {
            assert_int_equal(thirl_send(a, "down", 4, LONG), 0);
            assert_int_equal(forks ? 0 : thirl_recv(b, buffer, 9, &size, LONG), 0);
        }
        if (forks) {
            peer_reap(pid);
        } else {
            assert_int_equal(thirl_close(&b, LONG), 0);
        }
        if (i / 2 != 1) {
            assert_int_equal(thirl_recv(a, buffer, 9, &size, LONG), THIRL_END);
        }
        assert_int_equal(thirl_close(&a, LONG), 0);
    }
    thirl *end = NULL;
    static const char *const wrong[] = {"pipe://-,-?raw", "pipe://3?raw", "pipe://3,4,5?raw", "pipe://,?raw",
                                        "pipe://x?raw"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(thirl_open(&end, THIRL_PAIR, wrong[i], NULL), -THIRL_EADDRESS);
    }
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "pipe://998,999?raw", NULL), -EBADF);
}

/* Once it is met, its other end is somebody's, until he closes it. */
static void says_who_has_the_other_end(void **state) {
    (void)state;
    static const enum thirl_role roles[][2] = {
        {THIRL_WRITE, THIRL_READ}, {THIRL_READ, THIRL_WRITE}, {THIRL_PAIR, THIRL_PAIR}};
    char address[320], again[320];
    size_t size;
    for (int i = 0; i < 3; i++) {
        const struct thirl_options options = {.size = sizeof options, .raw = 1};
        thirl *a = NULL, *b;
        assert_int_equal(thirl_open(&a, roles[i][0], i == 2 ? "pipe://" : "pipe://?raw", i == 2 ? &options : NULL), 0);
        assert_int_equal(thirl_hand(a, address, 9), -EMSGSIZE);
        assert_int_equal(thirl_hand(a, address, sizeof address), 0);
        assert_string_equal(address + strlen(address) - 4, "?raw");
        b = plain_open(roles[i][1], address);
        assert_int_equal(i == 1 ? thirl_recv(a, buffer, 9, &size, THIRL_NOW) : thirl_send(a, "x", 1, LONG),
                         i == 1 ? -EAGAIN : 0);
        assert_int_equal(thirl_hand(a, again, sizeof again), -EBUSY);
        assert_int_equal(thirl_close(&b, LONG), 0);
        assert_int_equal(thirl_hand(a, again, sizeof again), -THIRL_ECLOSED);
        (void)!thirl_close(&a, THIRL_NOW);
    }
}

/* What is no end of a pipe, or not that one, is left as it is; one that is both is either. */
static void takes_only_ends_of_pipes(void **state) {
    (void)state;
    int ends[2], file = open("/dev/null", O_RDWR | O_CLOEXEC);
    char address[128];
    size_t size;
    thirl *end = NULL;
    static const char *const wrong[] = {"pipe://99999999999,4?raw", "pipe://3,99999999999?raw", "pipe://3,?raw",
                                        "pipe://3,x?raw",           "pipe://3,4x?raw",          "pipe://3;4?raw"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(thirl_open(&end, THIRL_PAIR, wrong[i], NULL), -THIRL_EADDRESS);
    }
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    const struct {
        int in, out;
        const char *part;
    } strange[] = {{file, ends[1], "reading"},
                   {ends[0], file, "writing"},
                   {ends[1], ends[1], "reading"},
                   {ends[0], ends[0], "writing"}};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        (void)snprintf(address, sizeof address, "pipe://%d,%d?raw", strange[i].in, strange[i].out);
        assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), -EBADF);
        assert_non_null(strstr(thirl_why(), strange[i].part));
        (void)snprintf(address, sizeof address, "pipe://%d,%d", strange[i].in, strange[i].out);
        assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), -EBADF);
        assert_non_null(strstr(thirl_why(), strange[i].part));
    }
    assert_true(fcntl(ends[0], F_GETFD) >= 0 && fcntl(ends[1], F_GETFD) >= 0 && fcntl(file, F_GETFD) >= 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(file);
    plain_make();
    for (int i = 0; i < 2; i++) {
        int both = open(plain_fifo, O_RDWR | O_CLOEXEC), other = open(plain_fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        (void)snprintf(address, sizeof address, "fd://%d?raw", both);
        end = plain_open(i == 0 ? THIRL_READ : THIRL_WRITE, address);
        assert_int_equal(i == 0 ? (int)write(other, "x", 1) : thirl_send(end, "x", 1, LONG), i == 0);
        assert_int_equal(i == 0 ? thirl_recv(end, buffer, 9, &size, LONG) : (int)read(other, buffer, 9), i);
        assert_int_equal(thirl_close(&end, LONG), 0);
        (void)close(other);
    }
    assert_int_equal(thirl_open(&end, THIRL_READ, "fd://x?raw", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_open(&end, THIRL_READ, "fd://999?raw", NULL), -EBADF);
}

/* ---- one's own standard input and output ---- */

static void stands_in_a_pipeline(void **state) {
    (void)state;
    size_t size;
    for (int i = 0; i < 4; i++) {
        int ends[2];
        char address[64];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        if (i == 3) { /* everybody has left before it is opened */
            assert_int_equal(write(ends[1], "early", 5), 5);
            (void)close(ends[1]);
        }
        (void)snprintf(address, sizeof address, "fd://%d?raw", ends[0]);
        thirl *in = plain_open(THIRL_READ, address), *out = NULL;
        assert_int_equal(fcntl(ends[0], F_GETFD), -1); /* taken over */
        if (i < 3) {
            (void)snprintf(address, sizeof address, "fd://%d?raw", ends[1]);
            assert_int_equal(thirl_open(&out, THIRL_PAIR, address, NULL), -THIRL_EROLE);
            assert_int_equal(thirl_open(&out, THIRL_READ, address, NULL), -EBADF);
            out = plain_open(i == 1 ? THIRL_PUSH : THIRL_WRITE, address);
            assert_int_equal(thirl_recv(in, buffer, 9, &size, THIRL_NOW), -EAGAIN);
            assert_int_equal(thirl_send(out, "early", 5, LONG), 0);
        }
        int fd = i > 1 ? thirl_fd(in) : -1;
        assert_true(i <= 1 || plain_poll(fd, 8000) == POLLIN);
        assert_int_equal(thirl_recv(in, buffer, 9, &size, LONG), 0);
        assert_int_equal(size, 5);
        assert_int_equal(thirl_close(&out, LONG), 0);
        assert_true(i <= 1 || plain_poll(fd, 8000) == POLLIN);
        assert_int_equal(thirl_recv(in, buffer, 9, &size, LONG), THIRL_END);
        assert_int_equal(thirl_close(&in, LONG), 0);
    }
    /* Framed, the end of a pipe is refused, and stays the caller's. */
    int ends[2];
    char address[64];
    thirl *end = NULL;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)snprintf(address, sizeof address, "fd://%d", ends[0]);
    assert_int_equal(thirl_open(&end, THIRL_READ, address, NULL), -ENOTSOCK);
    assert_non_null(strstr(thirl_why(), "?raw"));
    assert_int_equal(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* Standard input becomes /dev/null, not what is opened next; and what the shell shares keeps its flags. */
static int pass_on(void) {
    thirl *in = NULL, *out = NULL;
    size_t size;
    int rc;
    ok(thirl_open(&in, THIRL_READ, "fd://0?raw", NULL));
    ok(thirl_open(&out, THIRL_WRITE, "fd://1?raw", NULL));
    must(fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0);
    while ((rc = thirl_recv(in, buffer, sizeof buffer, &size, LONG)) == 0) {
        ok(thirl_send(out, buffer, size, LONG));
    }
    must(rc == THIRL_END);
    must(thirl_close(&out, LONG) == 0 && thirl_close(&in, LONG) == 0);
    return 0;
}

/* The same by somebody who may not open them anew: on open files that he shares with others. */
static int pass_on_as_nobody(void) {
    if (setgid(65534) != 0 || setuid(65534) != 0) {
        return 1;
    }
    must(open("/proc/self/fd/0", O_RDONLY | O_CLOEXEC) < 0 && open("/proc/self/fd/1", O_WRONLY | O_CLOEXEC) < 0);
    return pass_on();
}

static void passes_standard_streams_on(void **state) {
    (void)state;
    char program[256] = "", command[700];
    assert_true(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
    for (int i = 0; i < (geteuid() == 0 ? 2 : 1); i++) {
        plain_fill(bulk, BULK - 1);
        (void)snprintf(command, sizeof command, "cat %s | %s %s | cat >%s.2 && mv %s.2 %s", plain_file, program,
                       i ? "nobody" : "pass", plain_file, plain_file, plain_file);
        assert_int_equal(system(command), 0);
        plain_check(bulk, BULK - 1);
    }
}

/* In a forked child nothing of the parent's stays open, or its pipes would not end with it. */
static void leaves_no_descriptor(void **state) {
    (void)state;
    char address[320];
    size_t size;
    unsigned before = room_descriptors();
    for (int i = 0; i < 3; i++) {
        thirl *reader = plain_open(THIRL_READ, plain_raw), *writer = plain_open(THIRL_WRITE, plain_raw),
              *pair = plain_open(THIRL_PAIR, "pipe://?raw");
        assert_int_equal(thirl_hand(pair, address, sizeof address), 0);
        assert_true(thirl_fd(reader) >= 0 && thirl_fd(pair) >= 0);
        assert_int_equal(thirl_send(writer, "x", 1, LONG), 0);
        pid_t pid = fork();
        if (pid == 0) {
            (void)pause();
        }
        assert_int_equal(thirl_close(&writer, LONG), 0);
        assert_int_equal(thirl_recv(reader, buffer, 9, &size, LONG), 0);
        assert_int_equal(thirl_recv(reader, buffer, 9, &size, LONG), THIRL_END);
        assert_int_equal(thirl_close(&reader, LONG), 0);
        assert_int_equal(thirl_close(&pair, LONG), 0);
        peer_slay(pid);
        before = i == 0 ? room_descriptors() : before; /* what the process opens once */
    }
    assert_int_equal(room_descriptors(), before);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "pass") == 0) {
        return pass_on();
    }
    if (argc > 1 && strcmp(argv[1], "nobody") == 0) {
        return pass_on_as_nobody();
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup(name, plain_begin)
    const struct CMUnitTest tests[] = {
        TEST(gives_a_child_plain_ends),   TEST(gives_a_child_two_ends),     TEST(gives_a_child_of_thirl_plain_ends),
        TEST(stands_in_a_pipeline),       TEST(passes_standard_streams_on), TEST(leaves_no_descriptor),
        TEST(says_who_has_the_other_end), TEST(takes_only_ends_of_pipes),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
