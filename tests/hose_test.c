/* SPDX-License-Identifier: MIT
 *
 * Plain pipes against the programs that everybody has: cat, echo, dd, sh. Named ones, those of a child, and standard input
 * and output.
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
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/peer.h"

#define BULK ((size_t)3 << 20)
#define WRITERS 8
#define LINES 300

static unsigned char bulk[BULK], buffer[BULK];
static char fifo[96], raw[128], file[96];

/* A place where nothing is. */
static int begin(void **state) {
    (void)state;
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", peer_directory);
    (void)snprintf(file, sizeof file, "%s/file", peer_directory);
    (void)snprintf(raw, sizeof raw, "fifo://%s?raw", fifo);
    (void)unlink(fifo);
    (void)unlink(file);
    for (size_t i = 0; i < BULK; i++) {
        bulk[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    return 0;
}

static thirl *open_as(enum thirl_role role, const char *address) {
    thirl *end = NULL;
    int rc = thirl_open(&end, role, address, NULL);
    if (rc != 0) {
        print_error("%s\n", thirl_why());
    }
    assert_int_equal(rc, 0);
    return end;
}

/* A shell command in which %s stands for the FIFO, and then for the file. */
static pid_t run(const char *command) {
    char text[512];
    (void)snprintf(text, sizeof text, command, fifo, file); // cppcheck-suppress wrongPrintfScanfArgNum ; some need no file
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execl("/bin/sh", "sh", "-c", text, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void write_file(const void *data, size_t size) {
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)close(fd);
}

static void must_be_in_file(const void *data, size_t size) {
    int fd = open(file, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, buffer, sizeof buffer), size);
    assert_memory_equal(buffer, data, size);
    (void)close(fd);
    (void)unlink(file);
}

static size_t read_all(thirl *end) {
    size_t have = 0, size;
    int rc;
    while ((rc = thirl_recv(end, buffer + have, sizeof buffer - have, &size, LONG)) == 0) {
        have += size;
        if (have == sizeof buffer) {
            break;
        }
    }
    if (have < sizeof buffer) {
        assert_int_equal(rc, THIRL_END);
    }
    return have;
}

static bool is_there(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0;
}

static void make_fifo(void) {
    assert_int_equal(mkfifo(fifo, 0600), 0);
}

/* ---- named ---- */

static void reads_what_programs_write(void **state) {
    (void)state;
    static const char *const commands[] = {"cat <%2$s >%1$s", "cat <%2$s >%1$s",
                                           "dd if=%2$s of=%1$s bs=70001 status=none"};
    size_t size;
    for (int i = 0; i < 3; i++) {
        write_file(bulk, BULK - 1);
        if (i == 1) {
            make_fifo();
        }
        pid_t early = i == 1 ? run(commands[i]) : 0;
        thirl *end = open_as(THIRL_READ, raw);
        if (i != 1) { /* before the first writer it is not the end */
            assert_int_equal(thirl_recv(end, buffer, 9, &size, THIRL_NOW), -EAGAIN);
            assert_int_equal(thirl_recv(end, buffer, 9, &size, thirl_in_ms(120)), -ETIMEDOUT);
        }
        pid_t pid = i == 1 ? early : run(commands[i]);
        assert_int_equal(read_all(end), BULK - 1);
        assert_memory_equal(buffer, bulk, BULK - 1);
        assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), THIRL_END);
        peer_reap(pid);
        assert_int_equal(thirl_close(&end, LONG), 0);
        assert_int_equal(is_there(fifo), i == 1); /* what somebody else made stays */
        (void)unlink(fifo);
    }
    /* A writer that says nothing is an end too. */
    thirl *end = open_as(THIRL_READ, raw);
    pid_t pid = run(": >%s");
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), THIRL_END);
    peer_reap(pid);
    assert_int_equal(thirl_close(&end, LONG), 0);
    for (int i = 0; i < 2; i++) { /* and so is one of ours, whether it comes first or not */
        thirl *writer = i ? open_as(THIRL_WRITE, raw) : NULL;
        (void)(i == 0 && mkfifo(fifo, 0600));
        struct pollfd polled = {.fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC), .events = POLLIN};
        assert_true(polled.fd >= 0);
        writer = writer != NULL ? writer : open_as(THIRL_WRITE, raw);
        assert_int_equal(poll(&polled, 1, 0), 0);
        assert_int_equal(thirl_close(&writer, LONG), 0);
        assert_int_equal(poll(&polled, 1, 8000), 1);
        assert_int_equal(polled.revents, POLLHUP);
        (void)close(polled.fd);
        (void)unlink(fifo);
    }
}

static void writes_to_programs_that_read(void **state) {
    (void)state;
    static const char *const commands[] = {"cat <%s >%s", "cat <%s >%s", "dd if=%s of=%s bs=4k status=none"};
    for (int i = 0; i < 3; i++) {
        if (i == 1) {
            make_fifo();
        }
        pid_t early = i == 1 ? run(commands[i]) : 0;
        thirl *end = open_as(THIRL_WRITE, raw);
        if (i != 1) {
            assert_int_equal(thirl_send(end, bulk, 1, THIRL_NOW), -EAGAIN);
            assert_int_equal(thirl_send(end, bulk, 1, thirl_in_ms(60)), -ETIMEDOUT);
            assert_non_null(strstr(thirl_why(), "nobody opened the other end"));
        }
        pid_t pid = i == 1 ? early : run(commands[i]);
        assert_int_equal(thirl_send(end, bulk, 1, LONG), 0);
        assert_int_equal(thirl_send(end, bulk + 1, BULK - 2, LONG), 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
        must_be_in_file(bulk, BULK - 1);
        assert_int_equal(is_there(fifo), i == 1);
        (void)unlink(fifo);
    }
}

/* Nobody is killed by a signal, nobody waits longer than he wanted, and what nobody read is not called delivered. */
static void outlives_its_reader(void **state) {
    (void)state;
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    thirl *end = open_as(THIRL_WRITE, raw);
    pid_t pid = run("read line <%s; test \"$line\" = one");
    assert_int_equal(thirl_send(end, "one\n", 4, LONG), 0);
    peer_reap(pid);
    assert_int_equal(thirl_send(end, "two\n", 4, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_send(end, "two\n", 4, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* A queue waits for the next reader, who finds what the one before him has left. */
    end = open_as(THIRL_PUSH, raw);
    int fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(thirl_send(end, "three\n", 6, LONG), 0);
    (void)close(fd);
    assert_int_equal(thirl_send(end, "four\n", 5, THIRL_NOW), -EAGAIN);
    int64_t began = clock_now();
    assert_int_equal(thirl_send(end, "four\n", 5, thirl_in_ms(60)), -ETIMEDOUT);
    assert_true(clock_now() - began < 5 * CLOCK_S);
    pid = run("cat <%s >%s");
    assert_int_equal(thirl_send(end, "four\n", 5, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    must_be_in_file("three\nfour\n", 11);
    (void)unlink(fifo);
    end = open_as(THIRL_PUSH, raw);
    fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(thirl_send(end, "lost\n", 5, LONG), 0);
    (void)close(fd);
    assert_int_equal(thirl_close(&end, LONG), 1);
    assert_false(is_there(fifo));
}

static void push_lines(unsigned char who, enum thirl_role role, size_t size) {
    thirl *end = NULL;
    unsigned char line[PIPE_BUF];
    ok(thirl_open(&end, role, raw, NULL));
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
    make_fifo();
    pid_t pid[WRITERS];
    unsigned next[WRITERS] = {0};
    size_t total = 0, have = 0, want = 0, size;
    thirl *end = open_as(THIRL_READ, raw);
    int hold = open(fifo, O_WRONLY | O_CLOEXEC); /* so that it ends when all have begun and ended */
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
    assert_int_equal(thirl_open(&end, THIRL_PAIR, raw, NULL), -THIRL_EROLE);
    assert_non_null(strstr(thirl_why(), "write, read, push"));
    assert_int_equal(thirl_open(&end, THIRL_PULL, raw, NULL), -THIRL_EROLE);
    assert_false(is_there(fifo));
    write_file("x", 1);
    char address[160];
    (void)snprintf(address, sizeof address, "fifo://%s?raw", file);
    assert_int_equal(thirl_open(&end, THIRL_READ, address, NULL), -EEXIST);
    assert_non_null(strstr(thirl_why(), "is not a FIFO"));
    assert_int_equal(thirl_open(&end, THIRL_WRITE, address, NULL), -EEXIST);
    assert_non_null(strstr(thirl_why(), "is not a FIFO"));
    assert_int_equal(thirl_open(&end, THIRL_READ, "fifo://relative?raw", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_open(&end, THIRL_WRITE, "fifo:///no/such/directory/x?raw", NULL), -ENOENT);
    (void)snprintf(address, sizeof address, "%s&mode=0640", raw);
    end = open_as(THIRL_PUSH, address);
    struct stat status;
    assert_true(stat(fifo, &status) == 0 && (status.st_mode & 07777) == 0640);
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
    assert_false(is_there(fifo));
}

/* Whoever removes the path: both ends still meet there. */
static void meets_again_at_the_path(void **state) {
    (void)state;
    size_t size;
    thirl *reader = open_as(THIRL_READ, raw), *writer = open_as(THIRL_PUSH, raw);
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, thirl_in_ms(150)), -ETIMEDOUT);
    assert_true(is_there(fifo));
    assert_int_equal(thirl_send(writer, "here", 4, LONG), 0);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, LONG), 0);
    assert_int_equal(size, 4);
    assert_int_equal(thirl_close(&reader, LONG), 0);
    assert_false(is_there(fifo));
    reader = open_as(THIRL_READ, raw);
    assert_int_equal(thirl_send(writer, "there", 5, LONG), 0);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, LONG), 0);
    assert_int_equal(size, 5);
    assert_int_equal(thirl_close(&writer, LONG), 0);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, LONG), THIRL_END);
    assert_int_equal(thirl_close(&reader, LONG), 0);
}

static short readable(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1 ? polled.revents : 0;
}

/* thirl_fd: level-triggered, and it tells of the first reader, of data, and of the end. */
static void wakes_event_loops(void **state) {
    (void)state;
    size_t size;
    thirl *reader = open_as(THIRL_READ, raw);
    int in = thirl_fd(reader);
    assert_true(in >= 0);
    assert_int_equal(readable(in, 30), 0);
    pid_t pid = run("echo x >%s");
    assert_int_equal(readable(in, 8000), POLLIN);
    assert_int_equal(readable(in, 0), POLLIN);
    peer_reap(pid);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, THIRL_NOW), 0);
    assert_int_equal(readable(in, 8000), POLLIN);
    assert_int_equal(thirl_recv(reader, buffer, 9, &size, THIRL_NOW), THIRL_END);
    assert_int_equal(readable(in, 0), POLLIN);
    assert_int_equal(thirl_close(&reader, LONG), 0);
    for (int i = 0; i < 2; i++) {
        thirl *writer = open_as(i ? THIRL_PUSH : THIRL_WRITE, raw);
        int out = thirl_fd(writer), rc;
        pid = run("sleep 0.1; cat <%s >%s");
        for (rc = -EAGAIN; rc == -EAGAIN;) {
            assert_int_equal(readable(out, 8000), POLLIN);
            rc = thirl_send(writer, "x", 1, THIRL_NOW);
        }
        assert_int_equal(rc, 0);
        assert_int_equal(readable(out, 8000), POLLIN);
        assert_int_equal(thirl_close(&writer, LONG), 0);
        peer_reap(pid);
        must_be_in_file("x", 1);
    }
}

static void *close_soon(void *end) {
    (void)usleep(60000);
    return (void *)(intptr_t)thirl_close(end, THIRL_NOW);
}

static void lets_close_wake_it(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        thirl *end = open_as(i ? THIRL_READ : THIRL_WRITE, raw), *mine = end;
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
            make_fifo();
        }
        pid_t other = i < 2 ? 0 : reads ? run("sleep 0.1; echo x >%s") : run("cat <%s >/dev/null");
        if (strstr(points[i], "unlink") != NULL) {
            (void)unlink(fifo); /* that is what who made it comes to */
            peer_slay(other);
            other = 0;
        }
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            thirl *end = NULL;
            size_t size;
            (void)setenv("THIRL_WEAVE_AT", points[i], 1);
            (void)!thirl_open(&end, reads ? THIRL_READ : THIRL_WRITE, raw, NULL);
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
        thirl *a = open_as(THIRL_READ, raw), *b = open_as(THIRL_WRITE, raw);
        assert_int_equal(thirl_send(b, "again", 5, LONG), 0);
        assert_int_equal(thirl_recv(a, buffer, 9, &size, LONG), 0);
        assert_int_equal(thirl_close(&b, LONG), 0);
        assert_int_equal(thirl_close(&a, LONG), 0);
        (void)unlink(fifo);
    }
}

/* ---- a child's ---- */

/* Starts it as a shell would: %1$d and %2$d are the numbers that the address names. */
static pid_t start(thirl *end, const char *command, char address[320]) {
    char text[320];
    int in = -1, out = -1, rc = thirl_hand(end, address, 320);
    assert_int_equal(rc, 0);
    in = strncmp(address, "pipe://-", 8) == 0 ? -1 : atoi(address + 7);
    out = atoi(strchr(address, ',') + 1);
    (void)snprintf(text, sizeof text, command, in, out);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execl("/bin/sh", "sh", "-c", text, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void gives_a_child_plain_ends(void **state) {
    (void)state;
    char address[320];
    size_t size;
    /* Both ways: cat gives back what it gets. */
    thirl *end = open_as(THIRL_PAIR, "pipe://?raw");
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
    end = open_as(THIRL_WRITE, "pipe://?raw&queue=1M");
    pid = start(end, "exec cat <&%1$d >/dev/null", address);
    assert_non_null(strstr(address, ",-?raw&queue=1M"));
    assert_int_equal(thirl_send(end, bulk, BULK, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    end = open_as(THIRL_READ, "pipe://?raw");
    pid = start(end, "printf 0123456789 >&%2$d", address);
    assert_int_equal(read_all(end), 10);
    peer_reap(pid);
    assert_int_equal(thirl_hand(end, address, sizeof address), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* A child that fails at once. */
    end = open_as(THIRL_PAIR, "pipe://?raw");
    pid = start(end, "exit 0", address);
    peer_reap(pid);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), THIRL_END);
    assert_int_equal(thirl_send(end, "x", 1, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* thirl_fd: after the child was started the next call has something to do. */
    end = open_as(THIRL_READ, "pipe://?raw");
    int fd = thirl_fd(end), rc;
    pid = start(end, "sleep 0.1; exit 0", address);
    for (rc = -EAGAIN; rc == -EAGAIN;) {
        assert_int_equal(readable(fd, 8000), POLLIN);
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
    thirl *to = open_as(THIRL_WRITE, "pipe://?raw"), *from = open_as(THIRL_READ, "pipe://?raw");
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
    assert_int_equal(read_all(from), 4);
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
        thirl *a = open_as(roles[i / 2][0], "pipe://?raw"), *b = NULL;
        assert_int_equal(thirl_hand(a, address, sizeof address), 0);
        assert_int_equal(thirl_open(&b, i < 2 ? THIRL_READ : THIRL_PAIR, address, NULL), -THIRL_EROLE);
        (void)fflush(NULL);
        pid_t pid = forks ? fork() : 0;
        if (pid == 0) {
            b = open_as(roles[i / 2][1], address);
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
        thirl *in = open_as(THIRL_READ, address), *out = NULL;
        assert_int_equal(fcntl(ends[0], F_GETFD), -1); /* taken over */
        if (i < 3) {
            (void)snprintf(address, sizeof address, "fd://%d?raw", ends[1]);
            assert_int_equal(thirl_open(&out, THIRL_PAIR, address, NULL), -THIRL_EROLE);
            assert_int_equal(thirl_open(&out, THIRL_READ, address, NULL), -EBADF);
            out = open_as(i == 1 ? THIRL_PUSH : THIRL_WRITE, address);
            assert_int_equal(thirl_recv(in, buffer, 9, &size, THIRL_NOW), -EAGAIN);
            assert_int_equal(thirl_send(out, "early", 5, LONG), 0);
        }
        int fd = i > 1 ? thirl_fd(in) : -1;
        assert_true(i <= 1 || readable(fd, 8000) == POLLIN);
        assert_int_equal(thirl_recv(in, buffer, 9, &size, LONG), 0);
        assert_int_equal(size, 5);
        assert_int_equal(thirl_close(&out, LONG), 0);
        assert_true(i <= 1 || readable(fd, 8000) == POLLIN);
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
        write_file(bulk, BULK - 1);
        (void)snprintf(command, sizeof command, "cat %s | %s %s | cat >%s.2 && mv %s.2 %s", file, program,
                       i ? "nobody" : "pass", file, file, file);
        assert_int_equal(system(command), 0);
        must_be_in_file(bulk, BULK - 1);
    }
}

static unsigned descriptors(void) {
    unsigned count = 0;
    for (int fd = 0; fd < 200; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* In a forked child nothing of the parent's stays open, or its pipes would not end with it. */
static void leaves_no_descriptor(void **state) {
    (void)state;
    char address[320];
    size_t size;
    unsigned before = descriptors();
    for (int i = 0; i < 3; i++) {
        thirl *reader = open_as(THIRL_READ, raw), *writer = open_as(THIRL_WRITE, raw),
              *pair = open_as(THIRL_PAIR, "pipe://?raw");
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
        before = i == 0 ? descriptors() : before; /* what the process opens once */
    }
    assert_int_equal(descriptors(), before);
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
#define TEST(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        TEST(reads_what_programs_write), TEST(writes_to_programs_that_read), TEST(outlives_its_reader),
        TEST(never_mixes_many_writers),  TEST(says_what_it_cannot),          TEST(meets_again_at_the_path),
        TEST(wakes_event_loops),         TEST(lets_close_wake_it),           TEST(dies_like_any_program),
        TEST(gives_a_child_plain_ends),  TEST(gives_a_child_two_ends),       TEST(gives_a_child_of_thirl_plain_ends),
        TEST(stands_in_a_pipeline),      TEST(passes_standard_streams_on),   TEST(leaves_no_descriptor),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
