/* SPDX-License-Identifier: MIT
 *
 * Plain named pipes against the programs that everybody has: cat, echo, dd, sh.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/plain.h"

#define WRITERS 8
#define LINES 300

static void reads_what_programs_write(void **state) {
    (void)state;
    static const char *const commands[] = {"cat <%2$s >%1$s", "cat <%2$s >%1$s",
                                           "dd if=%2$s of=%1$s bs=70001 status=none"};
    size_t size;
    for (int i = 0; i < 3; i++) {
        plain_fill(bulk, BULK - 1);
        if (i == 1) {
            plain_make();
        }
        pid_t early = i == 1 ? plain_run(commands[i]) : 0;
        thirl *end = plain_open(THIRL_READ, plain_raw);
        if (i != 1) { /* before the first writer it is not the end */
            assert_int_equal(thirl_recv(end, buffer, 9, &size, THIRL_NOW), -EAGAIN);
            assert_int_equal(thirl_recv(end, buffer, 9, &size, thirl_in_ms(120)), -ETIMEDOUT);
        }
        pid_t pid = i == 1 ? early : plain_run(commands[i]);
        assert_int_equal(plain_read(end), BULK - 1);
        assert_memory_equal(buffer, bulk, BULK - 1);
        assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), THIRL_END);
        peer_reap(pid);
        assert_int_equal(thirl_close(&end, LONG), 0);
        assert_int_equal(plain_exists(plain_fifo), i == 1); /* what somebody else made stays */
        (void)unlink(plain_fifo);
    }
    /* A writer that says nothing is an end too. */
    thirl *end = plain_open(THIRL_READ, plain_raw);
    pid_t pid = plain_run(": >%s");
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), THIRL_END);
    peer_reap(pid);
    assert_int_equal(thirl_close(&end, LONG), 0);
    for (int i = 0; i < 2; i++) { /* and so is one of ours, whether it comes first or not */
        thirl *writer = i ? plain_open(THIRL_WRITE, plain_raw) : NULL;
        (void)(i == 0 && mkfifo(plain_fifo, 0600));
        struct pollfd polled = {.fd = open(plain_fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC), .events = POLLIN};
        assert_true(polled.fd >= 0);
        writer = writer != NULL ? writer : plain_open(THIRL_WRITE, plain_raw);
        assert_int_equal(poll(&polled, 1, 0), 0);
        assert_int_equal(thirl_close(&writer, LONG), 0);
        assert_int_equal(poll(&polled, 1, 8000), 1);
        assert_int_equal(polled.revents, POLLHUP);
        (void)close(polled.fd);
        (void)unlink(plain_fifo);
    }
}

static void writes_to_programs_that_read(void **state) {
    (void)state;
    static const char *const commands[] = {"cat <%s >%s", "cat <%s >%s", "dd if=%s of=%s bs=4k status=none"};
    for (int i = 0; i < 3; i++) {
        if (i == 1) {
            plain_make();
        }
        pid_t early = i == 1 ? plain_run(commands[i]) : 0;
        thirl *end = plain_open(THIRL_WRITE, plain_raw);
        if (i != 1) {
            assert_int_equal(thirl_send(end, bulk, 1, THIRL_NOW), -EAGAIN);
            assert_int_equal(thirl_send(end, bulk, 1, thirl_in_ms(60)), -ETIMEDOUT);
            assert_non_null(strstr(thirl_why(), "nobody opened the other end"));
        }
        pid_t pid = i == 1 ? early : plain_run(commands[i]);
        assert_int_equal(thirl_send(end, bulk, 1, LONG), 0);
        assert_int_equal(thirl_send(end, bulk + 1, BULK - 2, LONG), 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
        plain_check(bulk, BULK - 1);
        assert_int_equal(plain_exists(plain_fifo), i == 1);
        (void)unlink(plain_fifo);
    }
}

/* Nobody is killed by a signal, nobody waits longer than he wanted, and what nobody read is not called delivered. */
static void outlives_its_reader(void **state) {
    (void)state;
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    thirl *end = plain_open(THIRL_WRITE, plain_raw);
    pid_t pid = plain_run("read line <%s; test \"$line\" = one");
    assert_int_equal(thirl_send(end, "one\n", 4, LONG), 0);
    peer_reap(pid);
    assert_int_equal(thirl_send(end, "two\n", 4, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_send(end, "two\n", 4, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* A queue waits for the next reader, who finds what the one before him has left. */
    end = plain_open(THIRL_PUSH, plain_raw);
    int fd = open(plain_fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(thirl_send(end, "three\n", 6, LONG), 0);
    (void)close(fd);
    assert_int_equal(thirl_send(end, "four\n", 5, THIRL_NOW), -EAGAIN);
    int64_t began = clock_now();
    assert_int_equal(thirl_send(end, "four\n", 5, thirl_in_ms(60)), -ETIMEDOUT);
    assert_true(clock_now() - began < 5 * CLOCK_S);
    pid = plain_run("cat <%s >%s");
    assert_int_equal(thirl_send(end, "four\n", 5, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    plain_check("three\nfour\n", 11);
    (void)unlink(plain_fifo);
    end = plain_open(THIRL_PUSH, plain_raw);
    fd = open(plain_fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(thirl_send(end, "lost\n", 5, LONG), 0);
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 1);
    assert_false(plain_exists(plain_fifo));
}

static void push_lines(unsigned char who, enum thirl_role role, size_t size) {
    thirl *end = NULL;
    unsigned char line[PIPE_BUF];
    ok(thirl_open(&end, role, plain_raw, NULL));
    for (unsigned i = 0; i < LINES; i++) {
        memset(line, 'a' + who, size);
        line[0] = (unsigned char)(i & 255);
        line[1] = (unsigned char)(i >> 8);
        ok(thirl_send(end, line, size, LONG));
    }
    must(thirl_close(&end, LONG) == 0);
}

/* Eight writers, messages of every size up to PIPE_BUF: each arrives whole, and each writer's in their order. */
static void never_mixes_many_writers(void **state) {
    (void)state;
    static const size_t sizes[WRITERS] = {PIPE_BUF, 37, PIPE_BUF - 1, 512, 4000, 2049, 3, PIPE_BUF};
    plain_make();
    pid_t pid[WRITERS];
    unsigned next[WRITERS] = {0};
    size_t total = 0, have = 0, want = 0, size;
    thirl *end = plain_open(THIRL_READ, plain_raw);
    int hold = open(plain_fifo, O_WRONLY | O_CLOEXEC); /* so that it ends when all have begun and ended */
    for (unsigned i = 0; i < WRITERS; i++) {
        want += sizes[i] * LINES;
        pid[i] = fork();
        if (pid[i] == 0) {
            (void)close(hold);
            push_lines((unsigned char)i, i % 2 ? THIRL_WRITE : THIRL_PUSH, sizes[i]);
            _exit(0);
        }
    }
    while (total < want) {
        assert_int_equal(thirl_recv(end, buffer + have, sizeof buffer - have, &size, LONG), 0);
        have += size;
        total += size;
        size_t at = 0;
        while (have - at >= 3) {
            unsigned who = buffer[at + 2] - 'a';
            assert_true(who < WRITERS);
            if (have - at < sizes[who]) {
                break;
            }
            assert_int_equal(buffer[at] | buffer[at + 1] << 8, next[who]++);
            for (size_t i = 3; i < sizes[who]; i++) {
                assert_int_equal(buffer[at + i], 'a' + who);
            }
            at += sizes[who];
        }
        memmove(buffer, buffer + at, have - at);
        have -= at;
    }
    assert_int_equal(have, 0);
    (void)close(hold);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), THIRL_END);
    for (unsigned i = 0; i < WRITERS; i++) {
        peer_reap(pid[i]);
        assert_int_equal(next[i], LINES);
    }
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void says_what_it_cannot(void **state) {
    (void)state;
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PAIR, plain_raw, NULL), -THIRL_EROLE);
    assert_non_null(strstr(thirl_why(), "write, read, push"));
    assert_int_equal(thirl_open(&end, THIRL_PULL, plain_raw, NULL), -THIRL_EROLE);
    assert_false(plain_exists(plain_fifo));
    plain_fill("x", 1);
    char address[160];
    (void)snprintf(address, sizeof address, "fifo://%s?raw", plain_file);
    assert_int_equal(thirl_open(&end, THIRL_READ, address, NULL), -EEXIST);
    assert_non_null(strstr(thirl_why(), "is not a FIFO"));
    assert_int_equal(thirl_open(&end, THIRL_WRITE, address, NULL), -EEXIST);
    assert_non_null(strstr(thirl_why(), "is not a FIFO"));
    assert_int_equal(thirl_open(&end, THIRL_READ, "fifo://relative?raw", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_open(&end, THIRL_WRITE, "fifo:///no/such/directory/x?raw", NULL), -ENOENT);
    (void)snprintf(address, sizeof address, "%s&mode=0640", plain_raw);
    end = plain_open(THIRL_PUSH, address);
    struct stat status;
    assert_true(stat(plain_fifo, &status) == 0 && (status.st_mode & 07777) == 0640);
    assert_int_equal(thirl_send(end, bulk, PIPE_BUF + 1, LONG), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "PIPE_BUF"));
    assert_int_equal(thirl_send(end, bulk, 0, LONG), -EINVAL);
    struct thirl_limits limits = {.size = sizeof limits};
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_true(limits.raw && !limits.boundaries && limits.sends && !limits.receives && limits.senders == 0);
    assert_int_equal(limits.message_max, PIPE_BUF);
    assert_int_equal(limits.atomic_max, PIPE_BUF);
    struct thirl_peer peer = {.size = sizeof peer};
    assert_int_equal(thirl_peer(end, &peer), -ENOTCONN);
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_false(plain_exists(plain_fifo));
}

/* What is at the path by then is another's: it is left there, and named where it is no FIFO. */
static void leaves_what_others_have_put_there(void **state) {
    (void)state;
    char other[128], address[400];
    size_t size;
    for (int i = 0; i < 4; i++) {
        thirl *end = plain_open(i == 3 ? THIRL_WRITE : THIRL_READ, plain_raw);
        /* There, or on another device. */
        (void)snprintf(other, sizeof other, "%s/thirl-path-test-%d", i == 1 ? "/dev/shm" : peer_directory,
                       (int)getpid());
        if (i < 2) {
            assert_int_equal(mkfifo(other, 0600), 0);
            assert_int_equal(i == 0 ? rename(other, plain_fifo) : unlink(plain_fifo), 0);
            assert_int_equal(i == 0 ? 0 : symlink(other, plain_fifo), 0);
        } else {
            assert_int_equal(unlink(plain_fifo), 0);
            (void)close(open(plain_fifo, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
            assert_int_equal(i == 2 ? thirl_recv(end, buffer, 9, &size, LONG) : thirl_send(end, "x", 1, LONG), -EEXIST);
            assert_non_null(strstr(thirl_why(), i == 2 ? "is not a FIFO" : "is no FIFO any more"));
        }
        assert_int_equal(thirl_close(&end, LONG), 0);
        assert_true(plain_exists(plain_fifo));
        (void)unlink(plain_fifo);
        (void)unlink(other);
    }
    thirl *end = NULL;
    memset(bulk, 'n', 330);
    (void)snprintf(address, sizeof address, "fifo:///%.330s?raw", (char *)bulk);
    assert_int_equal(thirl_open(&end, THIRL_READ, address, NULL), -THIRL_EADDRESS);
    (void)snprintf(address, sizeof address, "fifo://%s/?raw", peer_directory);
    assert_int_equal(thirl_open(&end, THIRL_READ, address, NULL), -THIRL_EADDRESS);
    assert_non_null(strstr(thirl_why(), "ends with a name"));
}

static void asks_for_no_more_than_a_pipe_holds(void **state) {
    (void)state;
    const char *const addresses[] = {plain_raw, "pipe://?raw", "pipe://"};
    char address[200];
    thirl *end = NULL;
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(address, sizeof address, "%s%cqueue=1G", addresses[i], i < 2 ? '&' : '?');
        if (geteuid() == 0) { /* who may have more is not refused, and gets what there is */
            assert_int_equal(thirl_open(&end, THIRL_WRITE, address, NULL), 0);
            assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
        }
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            must(geteuid() != 0 || seteuid(65534) == 0);
            must(thirl_open(&end, THIRL_WRITE, address, NULL) == -EINVAL);
            must(strstr(thirl_why(), "fs.pipe-max-size") != NULL);
            (void)!seteuid(getuid());
            _exit(0);
        }
        peer_reap(pid);
    }
}

/* Whoever removes the path: both ends still meet there. */
static void meets_again_at_the_path(void **state) {
    (void)state;
    size_t size;
    thirl *reader = plain_open(THIRL_READ, plain_raw), *writer = plain_open(THIRL_PUSH, plain_raw);
    assert_int_equal(unlink(plain_fifo), 0);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, thirl_in_ms(150)), -ETIMEDOUT);
    assert_true(plain_exists(plain_fifo));
    assert_int_equal(thirl_send(writer, "here", 4, LONG), 0);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, LONG), 0);
    assert_int_equal(size, 4);
    assert_int_equal(thirl_close(&reader, LONG), 0);
    assert_false(plain_exists(plain_fifo));
    reader = plain_open(THIRL_READ, plain_raw);
    assert_int_equal(thirl_send(writer, "there", 5, LONG), 0);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, LONG), 0);
    assert_int_equal(size, 5);
    assert_int_equal(thirl_close(&writer, LONG), 0);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, LONG), THIRL_END);
    assert_int_equal(thirl_close(&reader, LONG), 0);
}

static void wakes_event_loops(void **state) {
    (void)state;
    size_t size;
    thirl *reader = plain_open(THIRL_READ, plain_raw);
    int in = thirl_fd(reader);
    assert_true(in >= 0);
    assert_int_equal(plain_poll(in, 30), 0);
    pid_t pid = plain_run("echo x >%s");
    assert_int_equal(plain_poll(in, 8000), POLLIN);
    assert_int_equal(plain_poll(in, 0), POLLIN);
    peer_reap(pid);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, THIRL_NOW), 0);
    assert_int_equal(plain_poll(in, 8000), POLLIN);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, THIRL_NOW), THIRL_END);
    assert_int_equal(plain_poll(in, 0), POLLIN);
    assert_int_equal(thirl_close(&reader, LONG), 0);
    for (int i = 0; i < 2; i++) {
        thirl *writer = plain_open(i ? THIRL_PUSH : THIRL_WRITE, plain_raw);
        int out = thirl_fd(writer), rc;
        pid = plain_run("sleep 0.1; cat <%s >%s");
        for (rc = -EAGAIN; rc == -EAGAIN;) {
            assert_int_equal(plain_poll(out, 8000), POLLIN);
            rc = thirl_send(writer, "x", 1, THIRL_NOW);
        }
        assert_int_equal(rc, 0);
        assert_int_equal(plain_poll(out, 8000), POLLIN);
        assert_int_equal(thirl_close(&writer, LONG), 0);
        peer_reap(pid);
        plain_check("x", 1);
    }
}

static void *close_soon(void *end) {
    (void)usleep(60000);
    return (void *)(intptr_t)thirl_close(end, THIRL_NOW);
}

static void lets_close_wake_it(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        thirl *end = plain_open(i ? THIRL_READ : THIRL_WRITE, plain_raw), *mine = end;
        pthread_t thread;
        size_t size;
        assert_int_equal(pthread_create(&thread, NULL, close_soon, &mine), 0);
        int rc = i ? thirl_recv(end, buffer, 9, &size, LONG) : thirl_send(end, "x", 1, LONG);
        assert_int_equal(rc, -THIRL_ECLOSED);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

/* A killed end of thirl leaves the FIFO, which serves whoever comes; the program at the other end sees an end. */
static void dies_like_any_program(void **state) {
    (void)state;
    static const char *const points[] = {
        "hose.make.before:1:kill", "hose.make.after:1:kill",    "hose.open.before:1:kill",  "hose.meet.after:1:kill",
        "hose.send.after:2:kill",  "hose.unlink.before:1:kill", "hose.close.before:1:kill", "hose.recv.after:1:kill"};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        bool reads = strstr(points[i], "recv") != NULL;
        if (i > 1) {
            plain_make();
        }
        pid_t other = i < 2 ? 0 : reads ? plain_run("sleep 0.1; echo x >%s") : plain_run("cat <%s >/dev/null");
        if (strstr(points[i], "unlink") != NULL) {
            (void)unlink(plain_fifo); /* that is what who made it comes to */
            peer_slay(other);
            other = 0;
        }
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            thirl *end = NULL;
            size_t size;
            (void)setenv("THIRL_WEAVE_AT", points[i], 1);
            (void)!thirl_open(&end, reads ? THIRL_READ : THIRL_WRITE, plain_raw, NULL);
            for (int k = 0; k < 3; k++) {
                (void)!(reads ? thirl_recv(end, buffer, 9, &size, LONG)
                              : thirl_send(end, "x", 1, thirl_in_ms(other ? 8000 : 20)));
            }
            (void)thirl_close(&end, THIRL_NOW);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        if (other != 0 && !reads && i != 2) {
            peer_reap(other); /* it has seen the end */
        } else if (other != 0) {
            peer_slay(other);
        }
        size_t size;
        thirl *a = plain_open(THIRL_READ, plain_raw), *b = plain_open(THIRL_WRITE, plain_raw);
        assert_int_equal(thirl_send(b, "again", 5, LONG), 0);
        assert_int_equal(thirl_recv(a, buffer, 9, &size, LONG), 0);
        assert_int_equal(thirl_close(&b, LONG), 0);
        assert_int_equal(thirl_close(&a, LONG), 0);
        (void)unlink(plain_fifo);
    }
}

int main(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup(name, plain_begin)
    const struct CMUnitTest tests[] = {
        TEST(reads_what_programs_write),
        TEST(writes_to_programs_that_read),
        TEST(outlives_its_reader),
        TEST(never_mixes_many_writers),
        TEST(says_what_it_cannot),
        TEST(meets_again_at_the_path),
        TEST(wakes_event_loops),
        TEST(lets_close_wake_it),
        TEST(dies_like_any_program),
        TEST(leaves_what_others_have_put_there),
        TEST(asks_for_no_more_than_a_pipe_holds),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
