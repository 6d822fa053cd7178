/* SPDX-License-Identifier: MIT
 *
 * fifo:// between an end and what this test does by hand at its pipes; and while the kernel refuses something: two that meet there do so at last.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/fault/fault.h"
#include "tests/peer.h"
#include "wire/frame.h"

#define NOBODY 65534
#define MOST 60

static char fifo[96], beside[100], bytes[16], why[64];
static size_t got;
static thirl *a, *b;
static int leash[2]; /* of those whose parents are gone: they go with this program */

static int begin(void **state) {
    (void)state;
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", peer_directory);
    (void)snprintf(beside, sizeof beside, "%s~", fifo);
    (void)snprintf(peer_address, sizeof peer_address, "fifo://%s", fifo);
    (void)unlink(fifo);
    (void)unlink(beside);
    return 0;
}

/* Whatever has happened, they get to each other by turns. */
static void meet(void) {
    int64_t until = clock_now() + 8 * CLOCK_S;
    int rc = -EAGAIN;
    for (bool sent = false; rc != 0 && clock_now() < until;) {
        sent = sent || thirl_send(a, "x", 1, THIRL_NOW) == 0;
        rc = thirl_recv(b, bytes, 1, &got, THIRL_NOW);
    }
    if (rc != 0) print_error("%s\n", thirl_why());
    assert_int_equal(rc, 0);
}

static void part(void) {
    assert_true(thirl_close(&a, THIRL_NOW) >= 0 && thirl_close(&b, THIRL_NOW) >= 0);
}

/* ---- by hand ---- */

static int read_by_hand(const char *path) {
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    must(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    return fd;
}

static void make_both(void) {
    must(mkfifo(fifo, 0666) == 0 && mkfifo(beside, 0666) == 0 && chmod(fifo, 0666) == 0 && chmod(beside, 0666) == 0);
}

static void wait_and_leave_it(void) {
    make_both();
    (void)read_by_hand(fifo);
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
        (void)close(leash[1]);
        (void)!read(leash[0], bytes, 1);
        _exit(0);
    }
}

/* His child holds the pipe open, and the lock. */
static void who_waited_and_died_is_followed(void **state) {
    (void)state;
    peer_reap(peer_start(wait_and_leave_it));
    struct stat before, after;
    assert_int_equal(stat(fifo, &before), 0);
    a = peer_open(THIRL_PAIR);
    assert_true(stat(fifo, &after) == 0 && before.st_ino != after.st_ino);
    b = peer_open(THIRL_PAIR);
    meet();
    part();
}

static void wait_as_a_stranger(void) {
    must(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    (void)read_by_hand(fifo);
    (void)raise(SIGSTOP);
}

/* The pipes are root's, and another user waits at them. */
static void a_stranger_who_waits_is_not_called(void **state) {
    (void)state;
    if (geteuid() != 0) skip();
    int status;
    assert_int_equal(chmod(peer_directory, 0755), 0);
    make_both();
    pid_t pid = peer_start(wait_as_a_stranger);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(thirl_open(&a, THIRL_PAIR, peer_address, NULL), -EACCES);
    assert_non_null(strstr(thirl_why(), "has uid 65534, and the FIFO uid 0"));
    peer_slay(pid);
    assert_int_equal(chmod(peer_directory, 0700), 0);
}

/* Another caller has taken the way back just now. */
static void who_comes_as_two_meet_is_told(void **state) {
    (void)state;
    a = peer_open(THIRL_PAIR);
    int back = read_by_hand(beside);
    int rc = thirl_open(&b, THIRL_PAIR, peer_address, NULL);
    rc = rc == 0 ? thirl_recv(b, bytes, 1, &got, LONG) : rc;
    assert_int_equal(rc, -EBUSY);
    (void)snprintf(why, sizeof why, "both ends are taken, by pid %d", (int)getpid());
    assert_non_null(strstr(thirl_why(), why));
    (void)close(back);
    assert_int_equal(thirl_close(&b, THIRL_NOW), 0);
    b = peer_open(THIRL_PAIR);
    meet();
    part();
}

/* Who calls says another number than his who reads the answers: he may have died, and that one come after him. */
static void who_calls_as_another_is_not_answered(void **state) {
    (void)state;
    unsigned char wire[FRAME_HELLO];
    const struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 1000, .pid = {getpid() + 1}};
    a = peer_open(THIRL_PAIR);
    int back = read_by_hand(beside), out = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    frame_write_hello(wire, &hello);
    assert_int_equal(write(out, wire, sizeof wire), sizeof wire);
    assert_int_equal(thirl_recv(a, bytes, 1, &got, thirl_in_ms(5)), -ETIMEDOUT);
    assert_int_equal(read(back, wire, sizeof wire), 0);
    (void)close(back);
    (void)close(out);
    b = peer_open(THIRL_PAIR);
    meet();
    part();
}

static void what_is_removed_is_made_again(void **state) {
    (void)state;
    a = peer_open(THIRL_PAIR);
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(thirl_recv(a, bytes, 1, &got, thirl_in_ms(200)), -ETIMEDOUT);
    assert_int_equal(access(fifo, F_OK), 0);
    b = peer_open(THIRL_PAIR);
    meet();
    part();
}

/* ---- refused ---- */

static void turn(void) {
    if (b != NULL) (void)!thirl_send(b, "y", 1, THIRL_NOW);
    if (a != NULL) (void)!thirl_recv(a, bytes, 1, &got, THIRL_NOW);
}

static void whatever_is_refused_two_meet_at_last(void **state) {
    (void)state;
    static const char *const calls[] = {"lstat", "fstat", "chmod", "fchmod", "mkfifo", "open",
                                        "fcntl", "flock", "poll",  "dup3",   "unlink"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const size_t call = fault_find(calls[i]);
        bool reached = true;
        for (unsigned pass = 1; reached && pass < MOST; pass++) {
            const struct fault fault = {call, pass, fault_calls[call].errors[0], false};
            (void)begin(NULL);
            fault_set(&fault);
            fault_armed = true;
            int first = thirl_open(&a, THIRL_PAIR, peer_address, NULL);
            int second = thirl_open(&b, THIRL_PAIR, peer_address, NULL);
            for (int k = 0; k < 3; k++) turn();
            fault_armed = false;
            reached = fault_site != 0;
            a = first == 0 ? a : peer_open(THIRL_PAIR);
            b = second == 0 ? b : peer_open(THIRL_PAIR);
            meet();
            part();
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    if (pipe(leash) != 0) {
        return 1;
    }
#define TEST(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        TEST(who_waited_and_died_is_followed), TEST(a_stranger_who_waits_is_not_called),
        TEST(who_comes_as_two_meet_is_told),   TEST(who_calls_as_another_is_not_answered),
        TEST(what_is_removed_is_made_again),   TEST(whatever_is_refused_two_meet_at_last),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
