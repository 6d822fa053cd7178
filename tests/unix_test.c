/* SPDX-License-Identifier: MIT
 *
 * unix:// between processes: what arrives, who may join, and what a death looks like; each over stream and seqpacket, by
 * path and by abstract name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/weave.h"
#include "include/thirl/thirl.h"
#include "wire/frame.h"

#define LONG thirl_in_ms(8000) /* more than anything here takes, on a busy machine too */

static char directory[64], path[96], address[160];
static const char *const kinds[] = {"unix://%s/s", "unix://@%s/s", "unix://%s/s?type=seqpacket", "unix://@%s/s?type=seqpacket"};

/* In children: says what failed and ends with a status that reap() refuses. */
#define must(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, thirl_why());                          \
            _exit(99);                                                                                                 \
        }                                                                                                              \
    } while (0)

#define ok(call) must((call) == 0)

static void use(const char *kind) {
    (void)snprintf(address, sizeof(address), kind, directory);
}

static pid_t child(void (*run)(void)) {
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        run();
        _exit(0);
    }
    return pid;
}

static void reap(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void slay(pid_t pid) {
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static thirl *open_end(enum thirl_role role) {
    thirl *end = NULL;
    ok(thirl_open(&end, role, address, NULL));
    return end;
}

static void fill(unsigned char *data, size_t size, unsigned number) {
    for (size_t i = 0; i < size; i++) {
        data[i] = (unsigned char)(number * 31 + i * 7 + (i >> 8));
    }
}

static bool is_filled(const unsigned char *data, size_t size, unsigned number) {
    for (size_t i = 0; i < size; i++) {
        if (data[i] != (unsigned char)(number * 31 + i * 7 + (i >> 8))) {
            return false;
        }
    }
    return true;
}

static size_t size_of(unsigned number, size_t max) {
    const size_t sizes[] = {0, 1, 64, 1000, 4096, 4097, 16384, 65536, 65528, 100, 131072, 200000, 3, 1u << 20, 40000, 8};
    size_t size = sizes[number % 16] + number % 7;
    return size < max ? size : max;
}

#define COUNT 600u
static unsigned char buffer[4 << 20], again[4 << 20];

static size_t message_max(thirl *end) {
    struct thirl_limits limits = {.size = sizeof(limits)};
    ok(thirl_limits(end, &limits));
    must(limits.boundaries && limits.ordered && limits.reliable && limits.identity && limits.pollable);
    return limits.message_max < (2u << 20) ? (size_t)limits.message_max : 2u << 20;
}

/* Sends everything back, and reads now and then with no room, so that messages must be kept. */
static void echo(void) {
    thirl *end = open_end(THIRL_PAIR);
    size_t size;
    for (unsigned i = 0; i < COUNT; i++) {
        if (i % 5 == 0) {
            int rc = thirl_recv(end, buffer, 0, &size, LONG);
            must(rc == (size == 0 ? 0 : -EMSGSIZE));
            if (rc == 0) {
                ok(thirl_send(end, buffer, 0, LONG));
                continue;
            }
            must(thirl_recv(end, buffer, size - 1, &size, THIRL_NOW) == -EMSGSIZE);
        }
        ok(thirl_recv(end, buffer, sizeof(buffer), &size, LONG));
        must(is_filled(buffer, size, i));
        ok(thirl_send(end, buffer, size, LONG));
    }
    must(thirl_recv(end, buffer, sizeof(buffer), &size, LONG) == -THIRL_ECLOSED);
    must(thirl_recv(end, buffer, sizeof(buffer), &size, LONG) == -THIRL_ECLOSED);
    must(thirl_send(end, buffer, 1, LONG) == -THIRL_ECLOSED);
    must(thirl_close(&end, LONG) == 0);
}

static void both_ways(void **state) {
    use(*state);
    pid_t pid = child(echo);
    thirl *end = open_end(THIRL_PAIR);
    size_t size;
    for (unsigned i = 0; i < COUNT; i++) {
        fill(buffer, 2u << 20, i);
        size_t sent = size_of(i, message_max(end));
        assert_int_equal(thirl_send(end, buffer, sent, LONG), 0);
        assert_int_equal(thirl_recv(end, again, sizeof(again), &size, LONG), 0);
        assert_int_equal(size, sent);
        assert_memory_equal(buffer, again, size);
    }
    struct thirl_peer peer = {.size = sizeof(peer)};
    assert_int_equal(thirl_peer(end, &peer), 0);
    assert_int_equal(peer.pid, pid);
    assert_int_equal(peer.uid, getuid());
    assert_int_equal(thirl_send(end, buffer, message_max(end) + (8u << 20) * 16, LONG), -EMSGSIZE);
    assert_int_equal(thirl_close(&end, LONG), 0);
    reap(pid);
}

static void listener_sends_many(void) {
    thirl *end = open_end(THIRL_PAIR);
    size_t max = 0;
    for (unsigned i = 0; i < COUNT * 4; i++) {
        max = max ? max : message_max(end);
        size_t size = i % 50 == 0 ? size_of(i / 50, 200000) : i % 200;
        fill(buffer, size, i);
        /* Deadlines that pass in the midst of a message must not hurt the next one. */
        int rc = thirl_send(end, buffer, size, thirl_in_ns(i % 3 ? 200000 : 8 * CLOCK_S));
        must(rc == 0 || rc == -ETIMEDOUT);
        i -= rc != 0;
    }
    must(thirl_close(&end, LONG) == 0);
}

static void one_way(void **state) {
    use(*state);
    thirl *end = open_end(THIRL_PAIR);
    pid_t pid = child(listener_sends_many);
    size_t size;
    for (unsigned i = 0; i < COUNT * 4;) {
        int rc = thirl_recv(end, buffer, sizeof(buffer), &size, thirl_in_ns(i % 2 ? 100000 : 8 * CLOCK_S));
        if (rc == -ETIMEDOUT || rc == -EAGAIN) {
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(size, i % 50 == 0 ? size_of(i / 50, 200000) : i % 200);
        assert_true(is_filled(buffer, size, i));
        if (i % 700 == 0) {
            (void)usleep(20000);
        }
        i++;
    }
    assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    reap(pid);
}

#define STREAMED ((size_t)24 << 20)

static void writer(void) {
    thirl *end = open_end(THIRL_WRITE);
    size_t at = 0;
    for (unsigned i = 0; at < STREAMED; i++) {
        size_t size = size_of(i, STREAMED - at);
        for (size_t k = 0; k < size; k++) {
            buffer[k] = (unsigned char)((at + k) * 2654435761u >> 11);
        }
        ok(thirl_send(end, buffer, size, LONG));
        at += size;
    }
    must(thirl_close(&end, LONG) == 0);
}

static void stream(void **state) {
    use(*state);
    pid_t pid = child(writer);
    thirl *end = open_end(THIRL_READ);
    size_t at = 0, size;
    int rc;
    for (unsigned i = 0; (rc = thirl_recv(end, again, 1 + size_of(i, 300000), &size, LONG)) == 0; i++) {
        assert_true(size > 0);
        for (size_t k = 0; k < size; k++) {
            if (again[k] != (unsigned char)((at + k) * 2654435761u >> 11)) {
                fail_msg("byte %zu is wrong", at + k);
            }
        }
        at += size;
    }
    assert_int_equal(rc, THIRL_END);
    assert_int_equal(size, 0);
    assert_int_equal(at, STREAMED);
    assert_int_equal(thirl_recv(end, again, 10, &size, LONG), THIRL_END);
    assert_int_equal(thirl_close(&end, LONG), 0);
    reap(pid);
}

static void three_then_stop(void) {
    thirl *end = open_end(THIRL_PAIR);
    for (unsigned char i = 0; i < 3; i++) {
        ok(thirl_send(end, &i, 1, LONG));
    }
    (void)raise(SIGSTOP);
}

static void expect_three(thirl *end) {
    unsigned char byte;
    size_t size;
    for (unsigned char i = 0; i < 3; i++) {
        assert_int_equal(thirl_recv(end, &byte, 1, &size, LONG), 0);
        assert_int_equal(byte, i);
    }
}

/* Kills one peer after the other, each of which has sent; told once each way, and the next takes its place. */
static void deaths(void **state) {
    use(*state);
    pid_t pid = child(three_then_stop); /* the first may be the listener */
    (void)usleep(20000);
    thirl *end = open_end(THIRL_PAIR);
    size_t size;
    char why[40];
    for (int round = 0; round < 5; round++) {
        if (round % 2) {
            expect_three(end);
        } else {
            assert_int_equal(thirl_recv(end, buffer, 0, &size, LONG), -EMSGSIZE);
        }
        assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid); /* all is sent; stopped is not dead */
        assert_int_equal(thirl_send(end, buffer, 1, LONG), 0);
        slay(pid);
        if (round % 2 == 0) {
            expect_three(end); /* what the dead sent comes first */
        }
        int64_t began = clock_now();
        assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), -THIRL_EPEERDIED);
        (void)snprintf(why, sizeof(why), "pid %d (", (int)pid);
        assert_non_null(strstr(thirl_why(), why));
        assert_true(clock_now() - began < CLOCK_S);
        if (round < 4) {
            assert_int_equal(thirl_send(end, buffer, 10, LONG), -THIRL_EPEERDIED);
            assert_int_equal(thirl_send(end, buffer, 10, thirl_in_ms(10)), -ETIMEDOUT);
        }
        assert_int_equal(thirl_recv(end, buffer, 10, &size, THIRL_NOW), -EAGAIN);
        pid = child(three_then_stop);
    }
    expect_three(end);
    assert_int_equal(thirl_send(end, buffer, 10, LONG), -THIRL_EPEERDIED); /* of the last round */
    assert_int_equal(thirl_send(end, buffer, 10, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    slay(pid);
}

static void fork_then_wait(void) {
    thirl *end = open_end(THIRL_PAIR);
    ok(thirl_send(end, "x", 1, LONG));
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) { /* not fork, whose handlers would close the library's sockets */
        (void)alarm(1);
    }
    (void)pause();
}

/* A child of the dead peer keeps its sockets open; the death is known all the same, and the address is not lost. */
static void death_with_heirs(void **state) {
    use(*state);
    size_t size;
    for (int listens = 0; listens < 2; listens++) {
        thirl *end = listens ? NULL : open_end(THIRL_PAIR);
        pid_t pid = child(fork_then_wait);
        (void)usleep(50000);
        end = end ? end : open_end(THIRL_PAIR);
        assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
        (void)usleep(20000);
        slay(pid);
        int64_t began = clock_now();
        assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), -THIRL_EPEERDIED);
        assert_true(clock_now() - began < CLOCK_S);
        assert_int_equal(thirl_send(end, buffer, 1, LONG), -THIRL_EPEERDIED);
        if (listens && address[7] == '@') {
            assert_int_equal(thirl_close(&end, LONG), 0); /* the heir holds the name: nobody can have it until it goes */
            break;
        }
        assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(30)), -ETIMEDOUT);
        pid = child(three_then_stop);
        expect_three(end);
        assert_int_equal(thirl_close(&end, LONG), 0);
        slay(pid);
    }
}

static void wait_for_end(void) {
    size_t size;
    thirl *end = open_end(THIRL_PAIR);
    ok(thirl_send(end, "x", 1, LONG));
    must(thirl_recv(end, buffer, 1, &size, LONG) == -THIRL_ECLOSED);
    must(thirl_close(&end, LONG) == 0);
}

static void third_is_refused(void **state) {
    use(*state);
    size_t size;
    thirl *end = open_end(THIRL_PAIR), *third = NULL;
    pid_t pid = child(wait_for_end);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    /* This process is the listener: it answers even though nobody calls it. */
    assert_int_equal(thirl_open(&third, THIRL_PAIR, address, NULL), -EBUSY);
    assert_null(third);
    char why[40];
    (void)snprintf(why, sizeof(why), "pid %d", (int)pid);
    assert_non_null(strstr(thirl_why(), why));
    (void)snprintf(why, sizeof(why), "pid %d", (int)getpid());
    assert_non_null(strstr(thirl_why(), why));
    assert_int_equal(thirl_close(&end, LONG), 0);
    reap(pid);
    end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0); /* free again */
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void listen_then_serve(void) {
    thirl *end = open_end(THIRL_PAIR), *peer = open_end(THIRL_PAIR);
    size_t size;
    (void)kill(getpid(), SIGSTOP);
    must(thirl_recv(end, buffer, 1, &size, thirl_in_ms(500)) == -ETIMEDOUT);
    (void)peer;
}

/* A listener that is stopped cannot answer: open does not wait for it, and the refusal comes with the next call. */
static void stopped_listener(void **state) {
    use(*state);
    size_t size;
    pid_t pid = child(listen_then_serve);
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
    int64_t began = clock_now();
    thirl *end = open_end(THIRL_PAIR);
    assert_true(clock_now() - began < CLOCK_S);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), -EBUSY);
    assert_int_equal(thirl_close(&end, LONG), 0);
    reap(pid);
}

static int raw(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    bool abstract = address[7] == '@';
    int length = snprintf(at.sun_path, sizeof(at.sun_path), "%s%s/s", abstract ? "@" : "", directory);
    at.sun_path[0] = abstract ? '\0' : at.sun_path[0];
    int fd = socket(AF_UNIX, strstr(address, "seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at,
                             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + !abstract)), 0);
    return fd;
}

/* Silent, babbling and outdated strangers before the right peer. */
static void strangers(void **state) {
    use(*state);
    thirl *end = open_end(THIRL_PAIR);
    int silent[20];
    size_t size;
    for (int i = 0; i < 20; i++) {
        silent[i] = raw();
        if (i % 2) {
            assert_true(send(silent[i], "GET / HTTP/1.1\r\n\r\n", 18, 0) == 18);
        }
    }
    unsigned char wire[FRAME_HELLO];
    struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 1000};
    int old = raw();
    frame_write_hello(wire, &hello);
    wire[8] = 77;
    assert_true(send(old, wire, sizeof(wire), 0) == sizeof(wire));
    for (int i = 0; i < 4; i++) { /* a step lets in only so many */
        assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
    }
    assert_true(recv(old, wire, sizeof(wire), 0) == sizeof(wire));
    assert_int_equal(frame_read_hello(wire, &hello), 0);
    assert_int_equal(hello.kind, FRAME_HELLO_REFUSE);
    assert_int_equal(hello.code, THIRL_EVERSION);
    pid_t pid = child(wait_for_end);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    reap(pid);
    for (int i = 0; i < 20; i++) {
        (void)close(silent[i]);
    }
    (void)close(old);
}

static int join_raw(thirl *end) {
    unsigned char wire[FRAME_HELLO];
    size_t size;
    const struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 1000};
    int fd = raw();
    frame_write_hello(wire, &hello);
    assert_true(send(fd, wire, sizeof(wire), 0) == sizeof(wire));
    assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
    assert_true(recv(fd, wire, sizeof(wire), 0) == sizeof(wire));
    return fd;
}

/* A peer that greets well and then lies: an error once each way, and the next one is welcome. */
static void liars(void **state) {
    use(*state);
    thirl *end = open_end(THIRL_PAIR);
    size_t size;
    unsigned char wire[64] = {0};
    const struct frame_head lies[] = {
        {.size = 0x7fffffff, .type = FRAME_DATA}, {.size = 3, .number = 7, .type = FRAME_DATA},
        {.size = 3, .type = 9},                   {.size = 3, .type = FRAME_BYE},
        {.size = 64, .type = 200},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        int fd = join_raw(end);
        frame_write_head(wire, &lies[i]);
        assert_true(send(fd, wire, FRAME_HEAD + 3, 0) == FRAME_HEAD + 3);
        assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, LONG), -THIRL_EFORMAT);
        assert_int_equal(thirl_send(end, buffer, 1, LONG), -THIRL_EFORMAT);
        (void)close(fd);
    }
    int fd = join_raw(end); /* and half a message, then the end */
    const struct frame_head half = {.size = 30, .type = FRAME_DATA};
    frame_write_head(wire, &half);
    assert_true(send(fd, wire, FRAME_HEAD + 3, 0) == FRAME_HEAD + 3);
    (void)close(fd);
    int rc = thirl_recv(end, buffer, sizeof(buffer), &size, LONG);
    assert_int_equal(rc, strstr(address, "seqpacket") ? -THIRL_EFORMAT : -THIRL_EPEERDIED);
    pid_t pid = child(wait_for_end);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    reap(pid);
}

static void misfits(void **state) {
    (void)state;
    use(kinds[0]);
    thirl *end = open_end(THIRL_WRITE), *other = NULL;
    assert_int_equal(thirl_open(&other, THIRL_PAIR, address, NULL), -THIRL_EROLE);
    assert_int_equal(thirl_open(&other, THIRL_WRITE, address, NULL), -THIRL_EROLE);
    assert_non_null(strstr(thirl_why(), "write"));
    use(kinds[2]);
    assert_int_equal(thirl_open(&other, THIRL_READ, address, NULL), -EPROTOTYPE);
    use(kinds[0]);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    assert_int_equal(thirl_open(&other, THIRL_READ, address, NULL), 0);
    assert_int_equal(thirl_close(&other, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_int_equal(stat(path, &file), -1);

    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), -ENOTSOCK);
    assert_non_null(strstr(thirl_why(), "not a socket"));
    assert_int_equal(stat(path, &file), 0);
    (void)close(fd);
    assert_int_equal(unlink(path), 0);

    char text[200] = "unix:///tmp/";
    memset(text + strlen(text), 'x', 120);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, text, NULL), -THIRL_EADDRESS);
    assert_non_null(strstr(thirl_why(), "107"));
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "unix:///nowhere/at/all", NULL), -ENOENT);
}

/* Two come at the same moment, again and again: they always find each other. */
static void together(void **state) {
    use(*state);
    for (int round = 0; round < 30; round++) {
        pid_t pid = child(wait_for_end);
        thirl *end = open_end(THIRL_PAIR);
        size_t size;
        assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
        reap(pid);
    }
    struct stat file;
    assert_int_equal(stat(path, &file), -1);
}

static void answer_fd(void) {
    thirl *end = open_end(THIRL_PAIR);
    for (unsigned i = 0; i < 300; i++) {
        fill(buffer, 300000, i);
        ok(thirl_send(end, buffer, size_of(i, i % 100 ? 5000 : 200000), LONG));
        if (i % 60 == 0) {
            (void)usleep(10000);
        }
    }
    must(thirl_close(&end, LONG) == 0);
}

/* Whoever trusts the descriptor alone misses nothing. */
static void descriptor(void **state) {
    use(*state);
    thirl *end = open_end(THIRL_PAIR);
    int fd = thirl_fd(end);
    assert_true(fd >= 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    pid_t pid = child(answer_fd);
    size_t size;
    unsigned got = 0, vain = 0;
    for (;;) {
        assert_int_equal(poll(&polled, 1, 8000), 1);
        int rc = thirl_recv(end, buffer, sizeof(buffer), &size, THIRL_NOW);
        if (rc == -EAGAIN) {
            vain++;
            continue;
        }
        if (rc == -THIRL_ECLOSED) {
            break;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(size, size_of(got, got % 100 ? 5000 : 200000));
        assert_true(is_filled(buffer, size, got));
        got++;
    }
    assert_int_equal(got, 300);
    assert_true(vain < 3000);
    assert_int_equal(thirl_close(&end, LONG), 0);
    reap(pid);
}

static void *receive(void *context) {
    thirl *end = context;
    size_t size;
    char byte;
    return (void *)(intptr_t)thirl_recv(end, &byte, 1, &size, LONG);
}

/* Both ways wait for a peer in two threads; each is woken by it. */
static void two_threads(void **state) {
    use(*state);
    thirl *end = open_end(THIRL_PAIR);
    pthread_t thread;
    void *rc;
    assert_int_equal(pthread_create(&thread, NULL, receive, end), 0);
    (void)usleep(20000);
    pid_t pid = child(three_then_stop);
    assert_int_equal(thirl_send(end, "y", 1, LONG), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((intptr_t)rc, 0);
    slay(pid);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
}

static void die_at(void) {
    size_t size;
    thirl *end = open_end(THIRL_PAIR);
    int sent = thirl_send(end, "x", 1, thirl_in_ms(60));
    int got = thirl_recv(end, buffer, 1, &size, thirl_in_ms(20));
    must(sent <= 0 && got <= 0);
    (void)thirl_close(&end, THIRL_SOON);
    _exit(0);
}

/* Killed at each named point, as the first to come and as the second: the survivor or the next one gets through. */
static void killed_anywhere(void **state) {
    use(*state);
    size_t count, size, tried = 0;
    struct weave_point *points = weave_points(&count);
    for (size_t i = 0; i < count * 2; i++) {
        const char *name = points[i / 2].name;
        if (strncmp(name, "meet.", 5) != 0 && strncmp(name, "unix.", 5) != 0 && strncmp(name, "chain.", 6) != 0 && strncmp(name, "link.", 5) != 0) {
            continue;
        }
        char order[100];
        (void)snprintf(order, sizeof(order), "%s:1:kill", name);
        thirl *end = i % 2 ? open_end(THIRL_PAIR) : NULL;
        (void)setenv("THIRL_WEAVE_AT", order, 1);
        pid_t pid = child(die_at);
        (void)unsetenv("THIRL_WEAVE_AT");
        int rc = end ? thirl_recv(end, buffer, 1, &size, thirl_in_ms(90)) : 0;
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        while (end && (rc == 0 || rc == -ETIMEDOUT)) {
            int before = rc;
            rc = thirl_recv(end, buffer, 1, &size, thirl_in_ms(30));
            if (rc == -ETIMEDOUT && before == rc) {
                break;
            }
        }
        if (rc == -THIRL_ECLOSED) {
            assert_int_equal(thirl_close(&end, LONG), 0);
        } else if (end) {
            assert_true(rc == -ETIMEDOUT || rc == -THIRL_EPEERDIED);
        }
        pid = child(three_then_stop);
        end = end ? end : open_end(THIRL_PAIR);
        rc = thirl_recv(end, buffer, 0, &size, LONG);
        if (rc == -THIRL_EPEERDIED) {
            rc = thirl_recv(end, buffer, 0, &size, LONG);
        }
        assert_int_equal(rc, -EMSGSIZE);
        expect_three(end);
        assert_int_equal(thirl_close(&end, LONG), 0);
        slay(pid);
        tried++;
    }
    assert_true(tried >= 20);
    struct stat file;
    assert_int_equal(stat(path, &file), -1);
}

static int make_directory(void **state) {
    (void)state;
    (void)strcpy(directory, "/tmp/thirl-unix-test.XXXXXX");
    if (!mkdtemp(directory)) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "%s/s", directory);
    char registry[96];
    (void)snprintf(registry, sizeof(registry), "%s/registry", directory);
    return setenv("THIRL_DIR", registry, 1);
}

static int remove_directory(void **state) {
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

#define OVER_ALL(test)                                                                                                 \
    {#test " stream path", test, NULL, NULL, (void *)(uintptr_t)kinds[0]},                                             \
        {#test " stream abstract", test, NULL, NULL, (void *)(uintptr_t)kinds[1]},                                     \
        {#test " seqpacket path", test, NULL, NULL, (void *)(uintptr_t)kinds[2]},                                      \
        {#test " seqpacket abstract", test, NULL, NULL, (void *)(uintptr_t)kinds[3]}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        OVER_ALL(both_ways),  OVER_ALL(one_way),          OVER_ALL(stream),           OVER_ALL(deaths),
        OVER_ALL(strangers),  OVER_ALL(liars),            OVER_ALL(third_is_refused), OVER_ALL(stopped_listener),
        OVER_ALL(together),   OVER_ALL(descriptor),       OVER_ALL(two_threads),      OVER_ALL(killed_anywhere),
        cmocka_unit_test(misfits), OVER_ALL(death_with_heirs),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
