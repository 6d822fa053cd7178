/* SPDX-License-Identifier: MIT
 *
 * Ends of pipes: no signal whoever is gone, no wait, and no flag on a description that others hold.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/tube.h"

static char bytes[1 << 17];

static void owns_its_description(void **state) {
    (void)state;
    int ends[2], old;
    assert_int_equal(pipe2(ends, 0), 0);
    old = dup(ends[0]);
    assert_int_equal(tube_own(&ends[0], O_RDONLY), 0);
    assert_int_equal(tube_own(&ends[1], O_WRONLY), 0);
    assert_int_equal(fcntl(old, F_GETFL) & O_NONBLOCK, 0);
    assert_true((fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(ends[0], F_GETFD) & FD_CLOEXEC) != 0);
    struct iovec part = {bytes, 4};
    assert_int_equal(tube_read(ends[0], &part, 1, false), -EAGAIN);
    char text[] = "abc";
    assert_int_equal(tube_write(ends[1], &(struct iovec){text, 4}, 1, false), 4);
    assert_int_equal(tube_read(ends[0], &part, 1, false), 4);
    assert_string_equal(bytes, "abc");
    fd_close(&ends[1]);
    assert_int_equal(tube_read(ends[0], &part, 1, false), 0);
    fd_close(&ends[0]);
    fd_close(&old);
    int closed = 999;
    assert_int_equal(tube_own(&closed, O_RDONLY), -EBADF);
}

/* What it cannot own it shares: blocking descriptors, and yet nothing waits. */
static void shares_without_waiting(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct iovec part = {bytes, sizeof bytes};
    assert_int_equal(tube_read(ends[0], &part, 1, true), -EAGAIN);
    assert_int_equal(tube_write(ends[1], &part, 1, true), 65536);
    assert_int_equal(tube_write(ends[1], &part, 1, true), -EAGAIN);
    assert_int_equal(tube_read(ends[0], &part, 1, true), 65536);
    /* After a splice the pipe no longer knows of a call without a wait. */
    int other[2];
    assert_int_equal(pipe2(other, O_CLOEXEC), 0);
    assert_int_equal(write(other[1], "x", 1), 1);
    assert_int_equal(splice(other[0], NULL, ends[1], NULL, 1, 0), 1);
    assert_int_equal(tube_read(ends[0], &part, 1, true), 1);
    assert_int_equal(tube_read(ends[0], &part, 1, true), -EAGAIN);
    ssize_t all = 0, went;
    while ((went = tube_write(ends[1], &part, 1, true)) > 0) {
        all += went;
    }
    assert_int_equal(went, -EAGAIN);
    assert_int_equal(all, 65536);
    for (int i = 0; i < 2; i++) {
        fd_close(&ends[i]);
        fd_close(&other[i]);
    }
}

static void raises_no_signal(void **state) {
    (void)state;
    sigset_t set, old, pending;
    struct iovec part = {bytes, 100};
    (void)signal(SIGPIPE, SIG_DFL); /* it would end this program */
    for (int blocked = 0; blocked < 2; blocked++) {
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        fd_close(&ends[0]);
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGPIPE);
        (void)pthread_sigmask(SIG_BLOCK, &set, &old);
        if (blocked) {
            assert_int_equal(raise(SIGPIPE), 0); /* the program's own: it stays */
        } else {
            (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        }
        assert_int_equal(tube_write(ends[1], &part, 1, false), -EPIPE);
        assert_int_equal(tube_write(ends[1], &part, 1, true), -EPIPE);
        (void)sigpending(&pending);
        assert_int_equal(sigismember(&pending, SIGPIPE), blocked);
        if (blocked) {
            assert_int_equal(sigtimedwait(&set, NULL, &(struct timespec){0}), SIGPIPE);
        }
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        fd_close(&ends[1]);
    }
}

/* A kernel that does not know how to leave the signal out. */
static void raises_none_on_older_kernels(void **state) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev2, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x100, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        skip();
    }
    raises_no_signal(state);
    shares_without_waiting(state);
}

static void waits_no_longer_than_told(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    int64_t began = clock_now();
    tube_wait(ends[0], POLLIN, -1, 20 * CLOCK_MS);
    assert_true(clock_now() - began >= 20 * CLOCK_MS);
    assert_int_equal(write(ends[1], "x", 1), 1);
    began = clock_now();
    tube_wait(ends[0], POLLIN, -1, 10 * CLOCK_S);
    assert_true(clock_now() - began < 5 * CLOCK_S);
    assert_int_equal(tube_size(ends[1]), 65536);
    assert_int_equal(tube_resize(ends[1], 8192), 8192);
    assert_int_equal(tube_resize(ends[1], 100000), 131072);
    assert_true(tube_size_max() >= 4096);
    fd_close(&ends[0]);
    fd_close(&ends[1]);
}

/* Whoever polls is told, also by one who has no descriptor left, and more than once. */
static void rings_without_a_descriptor(void **state) {
    (void)state;
    char directory[] = "/dev/shm/tube.XXXXXX", byte;
    struct rlimit usual, none;
    assert_non_null(mkdtemp(directory));
    int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    assert_int_equal(tube_ring(dir, "bell"), 0); /* there is none: nobody polls */
    assert_int_equal(mkfifoat(dir, "bell", 0600), 0);
    int bell = openat(dir, "bell", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(bell >= 0);
    int next = dup(bell);
    fd_close(&next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    none = usual;
    none.rlim_cur = (rlim_t)bell + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(tube_ring(dir, "bell"), -EMFILE);
    none.rlim_cur++;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(tube_reserve(), 0);
    assert_int_equal(open("/", O_PATH | O_CLOEXEC), -1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tube_ring(dir, "bell"), 0);
        assert_int_equal(read(bell, &byte, 1), 1);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(unlinkat(dir, "bell", 0), 0);
    assert_int_equal(rmdir(directory), 0);
    fd_close(&bell);
    fd_close(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owns_its_description),
        cmocka_unit_test(shares_without_waiting),
        cmocka_unit_test(raises_no_signal),
        cmocka_unit_test(waits_no_longer_than_told),
        cmocka_unit_test(rings_without_a_descriptor),
        cmocka_unit_test(raises_none_on_older_kernels), /* the last: there is no way back */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
