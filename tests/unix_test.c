/* SPDX-License-Identifier: MIT
 *
 * unix:// between processes: what is sent arrives, whole and in order; over stream and seqpacket, by path and by
 * abstract name.
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
#include "tests/peer.h"
#include "wire/frame.h"

#define COUNT 600u
static unsigned char buffer[4 << 20], again[4 << 20];

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
    const size_t sizes[] = {0,     1,   64,     1000,   4096, 4097,     16384, 65536,
                            65528, 100, 131072, 200000, 3,    1u << 20, 40000, 8};
    size_t size = sizes[number % 16] + number % 7;
    return size < max ? size : max;
}

static size_t message_max(thirl *end) {
    struct thirl_limits limits = {.size = sizeof(limits)};
    ok(thirl_limits(end, &limits));
    must(limits.boundaries && limits.ordered && limits.reliable && limits.identity && limits.pollable);
    return limits.message_max < (2u << 20) ? (size_t)limits.message_max : 2u << 20;
}

/* Sends everything back, and reads now and then with no room, so that messages must be kept. */
static void echo(void) {
    thirl *end = peer_open(THIRL_PAIR);
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
    peer_use(*state);
    pid_t pid = peer_start(echo);
    thirl *end = peer_open(THIRL_PAIR);
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
    peer_reap(pid);
}

static const size_t worded[] = {8, 0, 16, 9, 15, 17, 24, 3000, 8, 7, 70000, 0, 1};

static void echo_words(void) {
    thirl *end = peer_open(THIRL_PAIR);
    size_t size;
    for (size_t i = 0; i < 2 * sizeof(worded) / sizeof(*worded); i++) {
        ok(thirl_recv(end, buffer, i % 2 ? sizeof(buffer) : worded[i / 2], &size, LONG));
        ok(thirl_send(end, buffer, size, LONG));
    }
    must(thirl_recv(end, buffer, 20, &size, LONG) == -THIRL_ECLOSED);
    must(thirl_close(&end, LONG) == 0);
}

/* Messages that look like what the two ends say among themselves, into buffers of their size and larger ones. */
static void words(void **state) {
    peer_use(*state);
    pid_t pid = peer_start(echo_words);
    thirl *end = peer_open(THIRL_PAIR);
    size_t size;
    for (size_t i = 0; i < 2 * sizeof(worded) / sizeof(*worded); i++) {
        const struct frame_head head = {.size = (uint32_t)i, .type = (uint8_t)(1 + i % 4)};
        size_t sent = worded[i / 2];
        frame_write_mark(buffer, &head);
        assert_int_equal(thirl_send(end, buffer, sent, LONG), 0);
        memset(again, 0, sent);
        assert_int_equal(thirl_recv(end, again, i % 3 ? sizeof(again) : sent, &size, LONG), 0);
        assert_int_equal(size, sent);
        assert_memory_equal(buffer, again, sent);
    }
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

static void listener_sends_many(void) {
    thirl *end = peer_open(THIRL_PAIR);
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
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    pid_t pid = peer_start(listener_sends_many);
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
    peer_reap(pid);
}

#define STREAMED ((size_t)24 << 20)

static void writer(void) {
    thirl *end = peer_open(THIRL_WRITE);
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
    peer_use(*state);
    pid_t pid = peer_start(writer);
    thirl *end = peer_open(THIRL_READ);
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
    peer_reap(pid);
}

static void answer_fd(void) {
    thirl *end = peer_open(THIRL_PAIR);
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
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    int fd = thirl_fd(end);
    assert_true(fd >= 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    pid_t pid = peer_start(answer_fd);
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
    peer_reap(pid);
}

static void *receive(void *context) {
    thirl *end = context;
    size_t size;
    char byte;
    return (void *)(intptr_t)thirl_recv(end, &byte, 1, &size, LONG);
}

/* Both ways wait for a peer in two threads; each is woken by it. */
static void two_threads(void **state) {
    peer_use(*state);
    thirl *end = peer_open(THIRL_PAIR);
    pthread_t thread;
    void *rc;
    assert_int_equal(pthread_create(&thread, NULL, receive, end), 0);
    (void)usleep(20000);
    pid_t pid = peer_start(peer_three_then_stop);
    assert_int_equal(thirl_send(end, "y", 1, LONG), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((intptr_t)rc, 0);
    peer_slay(pid);
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
}

static void misfits(void **state) {
    (void)state;
    peer_use(peer_kinds[0]);
    thirl *end = peer_open(THIRL_WRITE), *other = NULL;
    assert_int_equal(thirl_open(&other, THIRL_PAIR, peer_address, NULL), -THIRL_EROLE);
    assert_int_equal(thirl_open(&other, THIRL_WRITE, peer_address, NULL), -THIRL_EROLE);
    assert_non_null(strstr(thirl_why(), "write"));
    peer_use(peer_kinds[2]);
    assert_int_equal(thirl_open(&other, THIRL_READ, peer_address, NULL), -EPROTOTYPE);
    assert_non_null(strstr(thirl_why(), "?type= than seqpacket"));
    peer_use(peer_kinds[0]);
    struct stat file;
    assert_int_equal(stat(peer_path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    assert_int_equal(thirl_open(&other, THIRL_READ, peer_address, NULL), 0);
    assert_int_equal(thirl_close(&other, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_int_equal(stat(peer_path, &file), -1);
    peer_use(peer_kinds[2]);
    end = peer_open(THIRL_WRITE);
    peer_use(peer_kinds[0]);
    assert_int_equal(thirl_open(&other, THIRL_READ, peer_address, NULL), -EPROTOTYPE);
    assert_non_null(strstr(thirl_why(), "?type= than stream"));
    assert_int_equal(thirl_close(&end, LONG), 0);

    int fd = open(peer_path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, peer_address, NULL), -ENOTSOCK);
    assert_non_null(strstr(thirl_why(), "not a socket"));
    assert_int_equal(stat(peer_path, &file), 0);
    (void)close(fd);
    assert_int_equal(unlink(peer_path), 0);

    char text[200] = "unix:///tmp/";
    memset(text + strlen(text), 'x', 120);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, text, NULL), -THIRL_EADDRESS);
    assert_non_null(strstr(thirl_why(), "107"));
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "unix:///nowhere/at/all", NULL), -ENOENT);
}

/* ---- who may be there ---- */

static int as_nobody(int (*body)(void)) {
    (void)fflush(NULL);
    pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int rc = setegid(65534) != 0 || seteuid(65534) != 0 ? 77 : body();
        (void)!seteuid(0);
        _exit(rc);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char stranger[160];

static int join_as_nobody(void) {
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PAIR, stranger, NULL);
    rc = rc != 0 ? rc : thirl_send(end, "x", 1, thirl_in_ms(2000));
    (void)!thirl_close(&end, THIRL_NOW);
    return rc == 0 ? 0 : rc == -EACCES || rc == -ETIMEDOUT ? 1 : 2;
}

/* An abstract name has no permission bits: who is let in the mode says, and the kernel who it is. */
static void strangers_come_when_they_may(void **state) {
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: only root can become somebody else\n");
        skip();
    }
    static const char *const modes[] = {"", "?mode=0660", "?mode=0666", "?type=seqpacket&mode=0606"};
    for (int i = 0; i < 4; i++) {
        thirl *end = NULL;
        size_t size;
        (void)snprintf(peer_address, sizeof(peer_address), "unix://@%s/stranger%s", peer_directory, modes[i]);
        (void)snprintf(stranger, sizeof(stranger), "unix://@%s/stranger%s", peer_directory,
                       i == 0   ? "?mode=0666"
                       : i == 3 ? modes[i]
                                : "");
        end = peer_open(THIRL_PAIR);
        pthread_t thread;
        void *rc = NULL;
        assert_int_equal(pthread_create(&thread, NULL, receive, end), 0);
        int did = as_nobody(join_as_nobody);
        assert_int_equal(did == 0, i != 0);
        if (i == 0) {
            thirl *friend = peer_open(THIRL_PAIR);
            assert_int_equal(thirl_send(friend, "y", 1, LONG), 0);
            assert_int_equal(pthread_join(thread, &rc), 0);
            assert_int_equal(thirl_close(&friend, LONG), 0);
        } else {
            assert_int_equal(pthread_join(thread, &rc), 0);
        }
        (void)!thirl_recv(end, buffer, 1, &size, THIRL_NOW);
        assert_true(thirl_close(&end, THIRL_NOW) >= 0);
    }
}

static int given_less(void) {
    static const char *const kinds[] = {"", "?type=seqpacket&queue=64M", "?queue=64M", "?queue=3G"};
    uint64_t queue[4];
    for (int i = 0; i < 4; i++) {
        struct thirl_limits limits = {.size = sizeof(limits)};
        thirl *a = NULL, *b = NULL;
        size_t size;
        int rc;
        (void)snprintf(stranger, sizeof(stranger), "unix://@%s/less%s", peer_directory, kinds[i]);
        ok(thirl_open(&a, THIRL_WRITE, stranger, NULL));
        ok(thirl_limits(a, &limits));
        queue[i] = limits.queue;
        ok(thirl_open(&b, THIRL_READ, stranger, NULL));
        ok(thirl_send(a, buffer, 1, LONG));
        while ((rc = thirl_send(a, buffer, 3000, THIRL_NOW)) == 0) {}
        must(rc == -EAGAIN);
        must(thirl_close(&a, thirl_in_ms(20)) >= 0); /* there is room for the goodbye, full as it is */
        while ((rc = thirl_recv(b, again, sizeof(again), &size, LONG)) == 0) {}
        must(rc == THIRL_END);
        must(thirl_close(&b, LONG) == 0);
    }
    must(queue[1] >= queue[0] / 2 && queue[1] < 64 << 20 && queue[2] < 64 << 20 && queue[3] == queue[2]);
    return 0;
}

/* The system's limit is less than what was asked for: that is what there is, and less by the room for a goodbye. */
static void a_queue_is_as_large_as_the_system_lets_it(void **state) {
    (void)state;
    int rc = geteuid() == 0 ? as_nobody(given_less) : given_less();
    if (rc == 77) {
        print_message("skipped: this user cannot become one without privileges\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        OVER_ALL(words),
        OVER_ALL(both_ways),
        OVER_ALL(one_way),
        OVER_ALL(stream),
        OVER_ALL(descriptor),
        OVER_ALL(two_threads),
        cmocka_unit_test(misfits),
        cmocka_unit_test(strangers_come_when_they_may),
        cmocka_unit_test(a_queue_is_as_large_as_the_system_lets_it),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
