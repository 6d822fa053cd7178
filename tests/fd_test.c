/* SPDX-License-Identifier: MIT
 *
 * Descriptors and whole files.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"

static char directory[64];

static int make_directory(void **state) {
    (void)state;
    strcpy(directory, "/tmp/thirl-fd-test.XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

static char *in(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void closes_once(void **state) {
    (void)state;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int copy = fd;
    assert_true(fd >= 0);
    errno = EDOM;
    fd_close(&fd);
    assert_int_equal(fd, -1);
    assert_int_equal(errno, EDOM);
    assert_int_equal(fcntl(copy, F_GETFD), -1);
    errno = EDOM;
    fd_close(&fd);
    assert_int_equal(fd, -1);
    fd = copy; /* already closed: errno still is the caller's */
    fd_close(&fd);
    assert_int_equal(errno, EDOM);
}

static void reads_to_the_end(void **state) {
    char buffer[32] = {0};
    (void)state;
    int fd = open(in("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(fd_write(fd, "0123456789", 10), 0);
    assert_int_equal(fd_read_at(fd, buffer, 4, 3), 4);
    assert_memory_equal(buffer, "3456", 5);
    assert_int_equal(fd_read_at(fd, buffer, sizeof buffer, 5), 5);
    assert_memory_equal(buffer, "56789", 5);
    assert_int_equal(fd_read_at(fd, buffer, sizeof buffer, 10), 0);
    assert_int_equal(fd_read_at(fd, buffer, 0, 0), 0);
    fd_close(&fd);
    assert_int_equal(fd_read_at(-1, buffer, 1, 0), -EBADF);
}

static void fails_to_write(void **state) {
    (void)state;
    assert_int_equal(fd_write(-1, "x", 1), -EBADF);
    assert_int_equal(fd_write(-1, "", 0), 0);
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, "x", 1), -ENOSPC);
    fd_close(&fd);
}

#define MANY (1 << 20)

struct drain {
    int fd;
    pthread_t writer;
    size_t got;
    int wrong;
};

static void note(int signal) {
    (void)signal;
}

/* Reads slowly and hits the writer twice before each piece: in a write that has done a part, and in one that has not. */
static void *drain_slowly(void *argument) {
    struct drain *drain = argument;
    unsigned char piece[16384];
    for (;;) {
        for (int i = 0; i < 2; i++) {
            pthread_kill(drain->writer, SIGUSR1);
            usleep(500);
        }
        ssize_t n = read(drain->fd, piece, sizeof piece);
        if (n <= 0) return NULL;
        for (ssize_t i = 0; i < n; i++) drain->wrong += piece[i] != (unsigned char)((drain->got + (size_t)i) * 7);
        drain->got += (size_t)n;
    }
}

static void writes_all_whatever_signals_come(void **state) {
    int ends[2];
    pthread_t reader;
    struct sigaction action = {.sa_handler = note}, before; /* no SA_RESTART */
    (void)state;
    unsigned char *data = malloc(MANY);
    assert_non_null(data);
    for (size_t i = 0; i < MANY; i++) data[i] = (unsigned char)(i * 7);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    sigaction(SIGUSR1, &action, &before);
    struct drain drain = {.fd = ends[0], .writer = pthread_self()};
    assert_int_equal(pthread_create(&reader, NULL, drain_slowly, &drain), 0);
    int r = fd_write(ends[1], data, MANY);
    fd_close(&ends[1]);
    pthread_join(reader, NULL);
    fd_close(&ends[0]);
    sigaction(SIGUSR1, &before, NULL);
    free(data);
    assert_int_equal(r, 0);
    assert_int_equal(drain.got, MANY);
    assert_int_equal(drain.wrong, 0);
}

static unsigned mode_of(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 ? found.st_mode & 07777 : 0;
}

static void makes_directories(void **state) {
    char deep[PATH_MAX + 8];
    (void)state;
    mode_t mask = umask(077);
    int r = fd_make_dirs(in("a/b//c/"), 0770);
    umask(mask);
    assert_int_equal(r, 0);
    assert_int_equal(mode_of(in("a")), 0770);
    assert_int_equal(mode_of(in("a/b")), 0770);
    assert_int_equal(mode_of(in("a/b/c")), 0770);
    assert_int_equal(fd_make_dirs(in("a/b"), 0700), 0);
    assert_int_equal(mode_of(in("a/b")), 0770); /* what was there keeps its mode */
    assert_int_equal(fd_make_dirs("/", 0700), 0);
    assert_int_equal(fd_make_dirs("", 0700), -ENOENT);
    int fd = open(in("plain"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    fd_close(&fd);
    assert_int_equal(fd_make_dirs(in("plain"), 0700), -ENOTDIR);
    assert_int_equal(fd_make_dirs(in("plain/x"), 0700), -ENOTDIR);
    assert_int_equal(fd_make_dirs("/proc/thirl", 0700), -ENOENT);
    memset(deep, 'x', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    assert_int_equal(fd_make_dirs(deep, 0700), -ENAMETOOLONG);
}

static void knows_the_limit(void **state) {
    struct rlimit before, limit;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    bool within = fd_may_grow(4096), beyond = fd_may_grow(4097);
    char block[4097] = {0};
    int fd = memfd_create("limit", MFD_CLOEXEC);
    int took = fd_take_space(fd, 4096), more = fd_take_space(fd, 4097), wrote = fd_write(fd, block, 4097);
    ssize_t last = fd_write_at(fd, block, 1, 4095), behind = fd_write_at(fd, block, 1, 4096); /* no signal */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(within);
    assert_false(beyond);
    assert_int_equal(took, 0);
    assert_int_equal(more, -EFBIG);
    assert_int_equal(wrote, -EFBIG);
    assert_int_equal(last, 1);
    assert_int_equal(behind, -EFBIG);
    assert_int_equal(close(fd), 0);
}

/* At the limit: whole or not at all, no signal, and one that was pending before stays. */
static void adds_within_the_limit(void **state) {
    (void)state;
    struct rlimit before, limit;
    sigset_t beyond, old, pending;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
    (void)sigemptyset(&beyond);
    (void)sigaddset(&beyond, SIGXFSZ);
    for (int i = 0; i < 2; i++) {
        int fd = open(in("added"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | (i ? O_APPEND : 0), 0600);
        assert_true(fd >= 0);
        assert_int_equal(fd_add(fd, "123456", 6), 0);
        limit = before;
        limit.rlim_cur = 10;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        int within = fd_add(fd, "7890", 4), beyond_it = fd_add(fd, "x", 1);
        limit.rlim_cur = 5;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        int far = fd_add(fd, "x", 1);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(within, 0);
        assert_int_equal(beyond_it, -EFBIG);
        assert_int_equal(far, -EFBIG);
        assert_int_equal(lseek(fd, 0, SEEK_END), 10);
        fd_close(&fd);
    }
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &beyond, &old), 0);
    assert_int_equal(raise(SIGXFSZ), 0);
    int fd = open(in("added"), O_WRONLY | O_APPEND | O_CLOEXEC);
    limit.rlim_cur = 5;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int far = fd_add(fd, "x", 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(far, -EFBIG);
    assert_int_equal(sigpending(&pending), 0);
    assert_true(sigismember(&pending, SIGXFSZ));
    int signal_number;
    assert_int_equal(sigwait(&beyond, &signal_number), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
    fd_close(&fd);
}

/* At once is at once: the kernel alone is some microseconds late, a few times in ten thousand. */
static void ticks_at_once(void **state) {
    (void)state;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct pollfd polled = {.fd = timer, .events = POLLIN};
    assert_true(timer >= 0);
    for (int i = 0; i < 20000; i++) {
        fd_tick(timer, 0);
        assert_int_equal(poll(&polled, 1, 0), 1);
        fd_tick(timer, i % 2 ? -1 : INT64_C(3600000000000));
        assert_int_equal(poll(&polled, 1, 0), 0);
    }
    fd_tick(timer, 2000000);
    assert_int_equal(poll(&polled, 1, 8000), 1);
    fd_close(&timer);
}

/* What of them is open in a forked child: a bit each. */
static int open_in_child(const int *fd, int count) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        int found = 0;
        for (int i = 0; i < count; i++) found |= (fcntl(fd[i], F_GETFD) >= 0) << i;
        _exit(found);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void keeps_its_own_from_children(void **state) {
    enum { FAR = 700 };
    int fd[3], number;
    (void)state;
    for (int i = 0; i < 3; i++) fd[i] = eventfd(0, EFD_CLOEXEC);
    int far = fcntl(fd[0], F_DUPFD_CLOEXEC, FAR);
    assert_true(far >= FAR);
    fd_own(-1);
    fd_own(fd[0]);
    fd_own(fd[2]);
    fd_own(far);
    assert_int_equal(open_in_child(fd, 3), 2);
    assert_int_equal(open_in_child(&far, 1), 0);
    number = fd[2];
    fd_close(&fd[2]); /* the next one of that number is another */
    fd[2] = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(fd[2], number);
    assert_int_equal(open_in_child(fd, 3), 6);
    number = fd[0];
    fd_release(fd[0]);
    fd[0] = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(fd[0], number);
    assert_int_equal(open_in_child(fd, 3), 7);
    for (int i = 0; i < 3; i++) fd_close(&fd[i]);
    fd_close(&far);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closes_once),
        cmocka_unit_test(reads_to_the_end),
        cmocka_unit_test(fails_to_write),
        cmocka_unit_test(writes_all_whatever_signals_come),
        cmocka_unit_test(makes_directories),
        cmocka_unit_test(knows_the_limit),
        cmocka_unit_test(adds_within_the_limit),
        cmocka_unit_test(ticks_at_once),
        cmocka_unit_test(keeps_its_own_from_children),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
