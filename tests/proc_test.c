/* SPDX-License-Identifier: MIT
 *
 * Epochs over fork, and who a process is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/proc.h"
#include "tests/room.h"

static uint32_t *note; /* a page that all processes of a test share */

static int share(void **state) {
    (void)state;
    note = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return note == MAP_FAILED ? -1 : 0;
}

/* ---- the epoch; the first test of the program, because it sees a process that has not begun ---- */

static int begin_after(void *depth) {
    uint32_t *level = depth;
    if (proc_epoch() != 0) return 1;
    if (*level > 0) {
        uint32_t below = *level - 1;
        if (*level % 2 == 0 && proc_begin() == 0) return 2;
        int rc = room_run(begin_after, &below);
        if (rc != 0) return rc;
    }
    uint32_t epoch = proc_begin();
    note[*level] = epoch;
    return epoch != 0 && epoch == proc_epoch() && epoch == proc_begin() ? 0 : 3;
}

static void every_process_has_its_epoch(void **state) {
    (void)state;
    assert_int_equal(proc_epoch(), 0);
    uint32_t depth = 5;
    assert_int_equal(room_run(begin_after, &depth), 0);
    assert_int_equal(proc_epoch(), 0);
    uint32_t mine = proc_begin();
    assert_int_not_equal(mine, 0);
    assert_int_equal(proc_begin(), mine);
    assert_int_equal(proc_epoch(), mine);
    assert_int_equal(room_run(begin_after, &depth), 0);
    /* What descends from a process that had begun differs from it; those of even levels had. */
    for (uint32_t a = 0; a <= depth; a++) {
        assert_int_not_equal(note[a], mine);
        for (uint32_t b = 0; b < a && a % 2 == 0; b++) assert_int_not_equal(note[a], note[b]);
    }
    assert_int_equal(proc_epoch(), mine);
}

static void *begin(void *epoch) {
    *(uint32_t *)epoch = proc_begin();
    return NULL;
}

static int begin_together(void *nothing) {
    uint32_t epoch[6] = {0};
    pthread_t thread[6];
    (void)nothing;
    for (int i = 0; i < 6; i++) {
        if (pthread_create(&thread[i], NULL, begin, &epoch[i]) != 0) return 1;
    }
    for (int i = 0; i < 6; i++) (void)pthread_join(thread[i], NULL);
    for (int i = 0; i < 6; i++) {
        if (epoch[i] == 0 || epoch[i] != proc_epoch()) return 2;
    }
    return 0;
}

static void threads_begin_one_epoch(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) assert_int_equal(room_run(begin_together, NULL), 0);
}

static int begin_once(void *nothing) {
    (void)nothing;
    (void)alarm(10);
    return proc_epoch() == 0 && proc_begin() != 0 ? 0 : 1;
}

/* Forks while another thread may be inside proc_begin. */
static int fork_while_beginning(void *nothing) {
    uint32_t epoch;
    pthread_t thread;
    (void)nothing;
    if (pthread_create(&thread, NULL, begin, &epoch) != 0) return 1;
    for (uint64_t i = room_dice(3000); i > 0; i--) atomic_pause();
    int rc = room_run(begin_once, NULL);
    (void)pthread_join(thread, NULL);
    return rc;
}

static void forks_while_beginning(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) assert_int_equal(room_run(fork_while_beginning, NULL), 0);
}

/* ---- who it is ---- */

static void knows_itself(void **state) {
    struct proc self;
    struct stat space;
    char boot[64] = "";
    (void)state;
    proc_self(&self);
    assert_int_equal(self.pid, getpid());
    assert_int_equal(stat("/proc/self/ns/pid", &space), 0);
    assert_int_equal(self.pid_space, space.st_ino);
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    assert_non_null(file);
    assert_non_null(fgets(boot, sizeof boot, file));
    fclose(file);
    boot[strcspn(boot, "\n")] = '\0';
    assert_string_equal(self.boot, boot);
    assert_string_equal(proc_name(self.exe), "proc_test");
}

/* The second field of /proc/self/stat is the name, which may look like more fields. */
static void is_not_fooled_by_its_name(void **state) {
    struct proc before, after;
    char name[16];
    (void)state;
    proc_self(&before);
    assert_true(before.started > 0);
    assert_int_equal(prctl(PR_GET_NAME, name), 0);
    assert_int_equal(prctl(PR_SET_NAME, "a) R 1 (b) 2 "), 0);
    proc_self(&after);
    assert_int_equal(prctl(PR_SET_NAME, name), 0);
    assert_int_equal(after.started, before.started);
    assert_int_equal(proc_number(&after), proc_number(&before));
    double up = 0;
    FILE *file = fopen("/proc/uptime", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lf", &up), 1);
    fclose(file);
    double age = up - (double)before.started / (double)sysconf(_SC_CLK_TCK);
    assert_true(age > -1 && age < 120);
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void assert_mostly_distinct(uint32_t *number, size_t count, unsigned allowed) {
    unsigned same = 0;
    qsort(number, count, sizeof *number, by_value);
    for (size_t i = 1; i < count; i++) same += number[i] == number[i - 1];
    assert_true(same <= allowed);
    assert_int_not_equal(number[0], 0);
}

static int give_number(void *slot) {
    struct proc self;
    proc_self(&self);
    *(uint32_t *)slot = proc_number(&self);
    return 0;
}

static void numbers_are_distinct(void **state) {
    static uint32_t number[20000];
    (void)state;
    for (size_t i = 0; i < 20000; i++) {
        struct proc some = {
            .pid = 1 + (int64_t)i % 5000, .started = 4000 + i / 100, .pid_space = 4026531836 + i / 5000};
        number[i] = proc_number(&some);
    }
    assert_mostly_distinct(number, 20000, 2); /* chance alone gives one in twenty runs of this */
    for (int i = 0; i < 100; i++) assert_int_equal(room_run(give_number, &note[100 + i]), 0);
    assert_int_equal(give_number(&note[200]), 0);
    assert_mostly_distinct(&note[100], 101, 0);
}

static void names_are_short(void **state) {
    (void)state;
    assert_string_equal(proc_name("/usr/bin/thirl"), "thirl");
    assert_string_equal(proc_name("thirl"), "thirl");
    assert_string_equal(proc_name("/a/b (deleted)"), "b (deleted)");
    assert_string_equal(proc_name("/"), "?");
    assert_string_equal(proc_name("/bin/"), "?");
    assert_string_equal(proc_name(""), "?");
}

static void knows_its_processor(void **state) {
    cpu_set_t all, one;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
        assert_int_equal(proc_cpu(), cpu);
    }
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

static int linger(void *nothing) {
    (void)nothing;
    while (pause() < 0) continue;
    return 0;
}

static void sees_the_end_of_another(void **state) {
    (void)state;
    pid_t child = room_fork(linger, NULL);
    int fd = proc_pidfd(child);
    if (fd == -ENOSYS || fd == -EPERM) {
        kill(child, SIGKILL);
        (void)room_reap(child);
        print_message("skip: this kernel has no pidfd_open\n");
        skip();
    }
    assert_true(fd >= 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 0), 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(poll(&polled, 1, 10000), 1); /* a zombie by now, which nobody has waited for */
    assert_int_equal(room_reap(child), 128 + SIGKILL);
    close(fd);
    assert_int_equal(proc_pidfd(child), -ESRCH);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_process_has_its_epoch),
        cmocka_unit_test(threads_begin_one_epoch),
        cmocka_unit_test(forks_while_beginning),
        cmocka_unit_test(knows_itself),
        cmocka_unit_test(is_not_fooled_by_its_name),
        cmocka_unit_test(numbers_are_distinct),
        cmocka_unit_test(names_are_short),
        cmocka_unit_test(knows_its_processor),
        cmocka_unit_test(sees_the_end_of_another),
    };
    return cmocka_run_group_tests(tests, share, NULL);
}
