/* SPDX-License-Identifier: MIT
 *
 * Foreign peers that mean no good, over real mechanisms: this process holds an end while they babble, fall silent, boast, or come
 * in thousands. It must keep its deadlines, its memory and its descriptors, say what is the matter, and serve the proper peer.
 * `hostile_test million` sends a million of them; a second argument is a pattern for names, such as "*tcp".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/peer.h"
#include "tests/room.h"
#include "wire/frame.h"

#define KIB 1024
#define SOON (5 * CLOCK_S) /* far more than anything here takes on an idle machine */

static char buffer[70000];
static long visitors = 6000;
static const char *kind;

/* Where they meet: stream, seqpacket, tcp; a socket that was given to this process; two FIFOs. */
static const char *const kinds[] = {"stream", "seqpacket", "tcp", "fd", "fifo"};
enum { LISTENERS = 3, KINDS = 5 };

static bool is(const char *name) {
    return strcmp(kind, name) == 0;
}

static bool sanitized(void) {
#if defined(__SANITIZE_ADDRESS__)
    return true;
#else
    return false;
#endif
}

/* ---- what it costs ---- */

static long resident(void) {
    char line[128];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtol(line + 6, NULL, 10);
        }
    }
    (void)fclose(file);
    return kib;
}

static struct {
    long kib;
    unsigned descriptors;
} before;

static void measure(void) {
    before.kib = resident();
    before.descriptors = room_descriptors();
}

static void expect_bounded(long kib, unsigned descriptors) {
    if (!sanitized()) { /* whose quarantine keeps what was freed */
        assert_in_range((uintmax_t)(resident() < before.kib ? 0 : resident() - before.kib), 0, (uintmax_t)kib);
    }
    assert_in_range(room_descriptors(), 0, before.descriptors + descriptors);
}

/* ---- both sides of the wall ---- */

static struct sockaddr_storage at;
static socklen_t length;

static void choose_port(void) {
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    length = sizeof *in;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    (void)close(fd);
    (void)snprintf(peer_address, sizeof peer_address, "tcp://127.0.0.1:%d", ntohs(in->sin_port));
}

/* Makes up an address that nobody has; for those that listen, at and length too. */
static void settle(void **state) {
    static int count;
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&at;
    kind = *state;
    memset(&at, 0, sizeof at);
    if (is("tcp")) {
        choose_port();
        return;
    }
    un->sun_family = AF_UNIX;
    (void)snprintf(un->sun_path, sizeof un->sun_path, "%s/h%d", peer_directory, ++count);
    length = sizeof *un;
    (void)snprintf(peer_address, sizeof peer_address, "%s://%s%s", is("fifo") ? "fifo" : "unix", un->sun_path,
                   is("seqpacket") ? "?type=seqpacket" : "");
}

/* A stranger's connection to that address; -1: it is not to be had now. */
static int call(void) {
    int fd = socket(at.ss_family, (is("seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, length) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* One end of ours, and what a stranger writes into it with. */
static thirl *open_with_stranger(int *stranger) {
    thirl *end = NULL;
    int pair[2];
    *stranger = -1;
    if (is("fd")) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        (void)snprintf(peer_address, sizeof peer_address, "fd://%d", pair[0]);
        *stranger = pair[1];
    }
    assert_int_equal(thirl_open(&end, THIRL_PAIR, peer_address, NULL), 0);
    if (is("fifo")) {
        *stranger = open(((struct sockaddr_un *)(void *)&at)->sun_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    } else if (!is("fd")) {
        *stranger = call();
    }
    assert_true(*stranger >= 0);
    return end;
}

static void say(int fd, const void *data, size_t size) {
    assert_int_equal(write(fd, data, size), (ssize_t)size);
}

static void write_hello(unsigned char wire[FRAME_HELLO]) {
    frame_write_hello(
        wire, &(struct frame_hello){.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 70000, .pid = {getpid()}});
}

/* The stranger greets as it should: from now on it is the peer. */
static void join(thirl *end, int fd) {
    unsigned char wire[FRAME_HELLO];
    size_t size;
    write_hello(wire);
    say(fd, wire, sizeof wire);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(5)), -ETIMEDOUT);
        if (recv(fd, wire, sizeof wire, MSG_DONTWAIT) == (ssize_t)sizeof wire) {
            return;
        }
    }
    fail_msg("nobody answered the greeting: %s", thirl_why());
}

/* Sends a byte and stays, for as long as the others come. */
static void proper_peer(void) {
    size_t size;
    char byte;
    thirl *end = peer_open(THIRL_PAIR);
    ok(thirl_send(end, "x", 1, LONG));
    must(thirl_recv(end, &byte, 1, &size, THIRL_NEVER) == -THIRL_ECLOSED);
    must(thirl_close(&end, LONG) == 0);
}

/* A proper peer comes, and is served soon. */
static void expect_service(thirl *end) {
    size_t size;
    int64_t began = clock_now();
    pid_t pid = peer_start(proper_peer);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    assert_true(clock_now() - began < SOON);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

/* ---- before the greeting ---- */

/* Garbage, a greeting that was cut off, one that says that it is longer: all refused, by name where the user can do something. */
static void bad_greetings(void **state) {
    for (int which = 0; which < 4; which++) {
        settle(state);
        unsigned char wire[FRAME_HELLO];
        size_t size;
        int stranger;
        thirl *end = open_with_stranger(&stranger);
        measure();
        write_hello(wire);
        wire[10] = which == 1 ? 0xff : wire[10]; /* its length: */
        wire[11] = which == 1 ? 0xff : wire[11];
        memset(buffer, 'G', 4096);
        say(stranger, which == 0 ? (void *)buffer : wire,
            which == 0   ? 4096
            : which == 2 ? 20
            : which == 3 ? 1
                         : sizeof wire);
        if (which >= 2) {
            (void)shutdown(stranger, SHUT_WR);
            (void)(is("fifo") ? close(stranger) : 0);
        }
        int rc = thirl_recv(end, buffer, 1, &size, thirl_in_ms(60));
        bool told = (is("fd") || is("fifo")) && which < 2;
        assert_int_equal(rc, told ? -THIRL_EFORMAT : is("fd") ? -ENOTCONN : -ETIMEDOUT);
        assert_true(strlen(thirl_why()) > 20);
        expect_bounded(4 * KIB, 6);
        (void)(is("fifo") && which >= 2 ? 0 : close(stranger));
        if (is("fd")) {
            assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
        } else {
            expect_service(end);
        }
    }
}

/* Half a greeting, then nothing: the deadline holds, and the proper peer is served meanwhile where others can come. */
static void half_a_greeting(void **state) {
    settle(state);
    unsigned char wire[FRAME_HELLO];
    size_t size;
    int stranger;
    thirl *end = open_with_stranger(&stranger);
    write_hello(wire);
    say(stranger, wire, is("seqpacket") ? 0 : 30);
    int64_t began = clock_now();
    assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(50)), -ETIMEDOUT);
    assert_true(clock_now() - began < SOON);
    if (is("fd") || is("fifo")) {
        say(stranger, wire + 30, sizeof wire - 30); /* it was only slow */
        assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(60)), -ETIMEDOUT);
        assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    } else {
        expect_service(end);
    }
    (void)close(stranger);
}

/* ---- after the greeting ---- */

/* Half a head, and half a message, then nothing: the deadline holds; then the rest, and nothing is lost. */
static void half_a_head(void **state) {
    settle(state);
    unsigned char wire[FRAME_HEAD + 5];
    size_t size;
    int stranger;
    thirl *end = open_with_stranger(&stranger);
    join(end, stranger);
    for (size_t part = 1; part < sizeof wire; part += 3) {
        static uint16_t number;
        number = part == 1 ? 0 : number;
        frame_write_head(wire, &(struct frame_head){.size = 5, .number = number, .type = FRAME_DATA});
        number++;
        memcpy(wire + FRAME_HEAD, "whole", 5);
        say(stranger, wire, part);
        int64_t began = clock_now();
        assert_int_equal(thirl_recv(end, buffer, sizeof buffer, &size, thirl_in_ms(20)), -ETIMEDOUT);
        assert_true(clock_now() - began < SOON);
        assert_int_equal(thirl_send(end, "x", 1, THIRL_NOW), 0); /* the other way is nobody's hostage */
        say(stranger, wire + part, sizeof wire - part);
        assert_int_equal(thirl_recv(end, buffer, sizeof buffer, &size, LONG), 0);
        assert_int_equal(size, 5);
        assert_memory_equal(buffer, "whole", 5);
    }
    (void)close(stranger);
    assert_true(thirl_close(&end, THIRL_NOW) >= 0);
}

/* Four GiB, and what would just be allowed, are announced: no memory is taken for what has not come. */
static void boasts(void **state) {
    for (int allowed = 0; allowed < 2; allowed++) {
        settle(state);
        unsigned char wire[FRAME_WIDE] = {0};
        size_t size;
        thirl_msg *msg = NULL;
        int stranger;
        thirl *end = open_with_stranger(&stranger);
        join(end, stranger);
        measure();
        frame_write_head(wire, &(struct frame_head){.size = allowed ? 64 << 20 : UINT32_MAX, .type = FRAME_DATA});
        say(stranger, wire, sizeof wire);
        int rc = thirl_recv(end, buffer, sizeof buffer, &size, thirl_in_ms(30));
        assert_int_equal(rc, allowed ? -EMSGSIZE : -THIRL_EFORMAT);
        assert_true(allowed ? size == 64 << 20 : strstr(thirl_why(), "4294967295") != NULL);
        rc = thirl_take(end, &msg, thirl_in_ms(30));
        assert_int_equal(rc, allowed ? -ETIMEDOUT : is("fd") ? -ENOTCONN : -ETIMEDOUT);
        if (allowed) {
            say(stranger, "a", 1);
        }
        expect_bounded(2 * KIB, 2);
        (void)close(stranger);
        assert_true(thirl_close(&end, THIRL_NOW) >= 0);
    }
}

static int deaf;

static void flood(void) {
    static char frames[64 * (FRAME_HEAD + 1000)];
    struct timeval patience = {.tv_sec = 5};
    (void)setsockopt(deaf, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    uint16_t number = 0;
    (void)shutdown(deaf, SHUT_RD);
    for (int64_t late = clock_now() + 3 * CLOCK_S; clock_now() < late;) {
        for (int i = 0; i < 64; i++) {
            frame_write_head((unsigned char *)frames + i * (FRAME_HEAD + 1000),
                             &(struct frame_head){.size = 1000, .number = number, .type = FRAME_DATA});
            number++;
        }
        if (send(deaf, frames, sizeof frames, MSG_NOSIGNAL) < 0) {
            break;
        }
    }
}

/* A peer that takes nothing, and says ever more: collecting what it had said comes to an end. */
static void says_more_and_more(void **state) {
    settle(state);
    size_t size;
    thirl *end = open_with_stranger(&deaf);
    join(end, deaf);
    measure();
    pid_t pids[] = {peer_start(flood), peer_start(flood)};
    int rc = 0;
    for (int64_t began = clock_now(); rc == 0 || rc == -EAGAIN;) {
        rc = thirl_send(end, buffer, 100, THIRL_NOW);
        assert_true(clock_now() - began < 20 * CLOCK_S);
        if (is("tcp") && clock_now() - began > CLOCK_S) {
            break; /* TCP does not say that nobody listens */
        }
    }
    expect_bounded(64 * KIB, 2);
    do {
        rc = thirl_recv(end, buffer, sizeof buffer, &size, THIRL_NOW);
    } while (rc == 0 && !is("tcp"));
    (void)close(deaf);
    assert_true(thirl_close(&end, THIRL_NOW) >= 0);
    peer_reap(pids[0]);
    peer_reap(pids[1]);
}

/* ---- thousands ---- */

static struct {
    long called;
    uint32_t over;
} * board;

/* Comes and goes, again and again; every eighth time it stays a while without a word, or with half of one. */
static void visit(void) {
    int held[200];
    size_t holds = 0;
    const struct linger reset = {.l_onoff = 1}; /* or TIME_WAIT would use up the ports */
    while (__atomic_load_n(&board->over, __ATOMIC_RELAXED) == 0 &&
           __atomic_fetch_add(&board->called, 1, __ATOMIC_RELAXED) < visitors) {
        struct timeval patience = {.tv_usec = 100000};
        int fd = socket(at.ss_family, (is("seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0);
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* for connect */
        if (connect(fd, (struct sockaddr *)&at, length) != 0 || room_dice(8) != 0) {
            (void)close(fd);
            continue;
        }
        (void)!send(fd, "thirl\r", room_dice(7), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (holds == sizeof held / sizeof *held) {
            (void)close(held[--holds]);
        }
        held[holds++] = fd;
    }
}

static void server_is_poor(rlim_t descriptors) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = descriptors;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void thousands(void **state) {
    settle(state);
    size_t size;
    struct rlimit limit;
    board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(board != MAP_FAILED);
    thirl *end = peer_open(THIRL_PAIR);
    pid_t pids[] = {peer_start(visit), peer_start(visit)};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    measure();
    server_is_poor(before.descriptors + 20);
    long half = visitors / 2;
    while (__atomic_load_n(&board->called, __ATOMIC_RELAXED) < half) {
        assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(20)), -ETIMEDOUT);
        expect_bounded(2 * KIB, 10);
    }
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    int64_t began = clock_now(); /* the proper one, in the midst of them */
    pid_t proper = peer_start(proper_peer);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    int64_t took = clock_now() - began;
    assert_true(took < SOON);
    while (visitors > 100000 && __atomic_load_n(&board->called, __ATOMIC_RELAXED) < visitors) {
        assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(20)),
                         -ETIMEDOUT); /* these hear that it is taken */
    }
    expect_bounded(2 * KIB, 12);
    print_message("%s: %ld came, the proper one was served after %lld ms, %ld KiB more\n", kind, board->called,
                  (long long)took / 1000000, resident() - before.kib);
    __atomic_store_n(&board->over, 1, __ATOMIC_RELAXED);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(proper);
    peer_reap(pids[0]);
    peer_reap(pids[1]);
    (void)munmap(board, 4096);
}

/* ---- no descriptor left ---- */

static double processor(void) {
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) / 1e6;
}

/* Somebody calls, and this process may open no more: it neither fails nor spins, and lets him in when it may again. */
static void no_descriptor(void **state) {
    settle(state);
    struct rlimit limit;
    size_t size;
    thirl *end = peer_open(THIRL_PAIR);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(1)), -ETIMEDOUT);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    pid_t pid = peer_start(proper_peer);
    server_is_poor(3);
    double used = processor();
    assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(1000)), -ETIMEDOUT);
    assert_true(processor() - used < 0.15);
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    int64_t began = clock_now();
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    assert_true(clock_now() - began < SOON);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

/* The same of a program that waits on the end's descriptor. */
static void no_descriptor_in_a_loop(void **state) {
    settle(state);
    struct rlimit limit;
    size_t size;
    thirl *end = peer_open(THIRL_PAIR);
    struct pollfd polled = {.fd = thirl_fd(end), .events = POLLIN};
    assert_true(polled.fd >= 0);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, THIRL_NOW), -EAGAIN);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    pid_t pid = peer_start(proper_peer);
    server_is_poor(3);
    double used = processor();
    int64_t began = clock_now();
    int rc = -EAGAIN;
    for (bool poor = true; rc == -EAGAIN; poor = poor && clock_now() - began < CLOCK_S / 2) {
        if (!poor) {
            (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
        (void)poll(&polled, 1, 1000);
        rc = thirl_recv(end, buffer, 1, &size, THIRL_NOW);
        assert_true(clock_now() - began < 2 * SOON);
    }
    assert_int_equal(rc, 0);
    assert_true(clock_now() - began >= CLOCK_S / 2);
    assert_true(processor() - used < 0.15);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

static struct CMUnitTest tests[64];
static size_t count;

static void add(const char *name, CMUnitTestFunction test, size_t from, size_t to) {
    static char names[64][48];
    for (size_t i = from; i < to; i++, count++) {
        (void)snprintf(names[count], sizeof names[count], "%s %s", name, kinds[i]);
        tests[count] = (struct CMUnitTest){names[count], test, NULL, NULL, (void *)(uintptr_t)kinds[i]};
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "million") == 0) {
        visitors = 1000000;
        add("thousands", thousands, 0, LISTENERS);
    } else {
        add("bad_greetings", bad_greetings, 0, KINDS);
        add("half_a_greeting", half_a_greeting, 0, 1);
        add("half_a_greeting", half_a_greeting, 2, KINDS);
        add("half_a_head", half_a_head, 0, 1); /* a packet is whole, or it is not there */
        add("half_a_head", half_a_head, 2, 4);
        add("boasts", boasts, 0, 1);
        add("boasts", boasts, 2, 4);
        add("says_more_and_more", says_more_and_more, 0, 1);
        add("says_more_and_more", says_more_and_more, 2, 4);
        add("thousands", thousands, 0, LISTENERS);
        add("no_descriptor", no_descriptor, 0, LISTENERS);
        add("no_descriptor_in_a_loop", no_descriptor_in_a_loop, 0, LISTENERS);
    }
    if (argc > 1 + (visitors == 1000000)) {
        cmocka_set_test_filter(argv[argc - 1]);
    }
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
