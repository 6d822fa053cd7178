/* SPDX-License-Identifier: MIT
 *
 * thirl_realtime: what it says was had is had, as the kernel says by other ways; and what cannot be had is said with its limit. And a mutex that
 * lends priority lends it, between processes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/lock.h"
#include "include/thirl/realtime.h"
#include "tests/member.h"
#include "tests/room.h"

#define NOBODY 65534

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOCKS 0 /* a sanitizer makes nothing of mlockall */
#else
#define LOCKS 1
#endif

static struct thirl_realtime_report report;
static struct thirl_realtime_options wish;

static int ask(void) {
    wish.size = sizeof wish;
    report.size = sizeof report;
    return thirl_realtime(&wish, &report);
}

/* Without the capabilities that would let it have everything. */
static bool be_nobody(void) {
    return geteuid() != 0 || (setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
}

/* Down to that, or what it may be here. */
static uint32_t limit(int resource, rlim_t most) {
    struct rlimit is;
    if (getrlimit((__rlimit_resource_t)resource, &is) != 0) abort();
    is.rlim_cur = is.rlim_max = most < is.rlim_max ? most : is.rlim_max;
    if (setrlimit((__rlimit_resource_t)resource, &is) != 0) abort();
    return (uint32_t)is.rlim_cur;
}

static int do_says_what_is_wrong(void *nothing) {
    (void)nothing;
    const struct thirl_realtime_options good = {.size = sizeof good};
    struct thirl_realtime_options bad = {.size = 0};
    CHECK(thirl_realtime(NULL, NULL) == -EINVAL && thirl_realtime(&bad, NULL) == -EINVAL);
    struct thirl_realtime_report unsized = {.size = 0};
    CHECK(thirl_realtime(&good, &unsized) == -EINVAL);
    bad = (struct thirl_realtime_options){.size = sizeof bad, .policy = SCHED_FIFO};
    CHECK(thirl_realtime(&bad, NULL) == -EINVAL);
    bad.priority = 100;
    CHECK(thirl_realtime(&bad, NULL) == -EINVAL);
    bad = (struct thirl_realtime_options){.size = sizeof bad, .policy = SCHED_BATCH, .priority = 1};
    CHECK(thirl_realtime(&bad, NULL) == -EINVAL);
    CHECK(thirl_realtime(&good, NULL) == 0); /* nothing is asked for */
    CHECK(ask() == 0 && report.asked == 0 && report.had == 0 && report.policy == SCHED_OTHER);
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0 && memcmp(&set, report.processors, sizeof set) == 0);
    return 0;
}
IN_A_CHILD(says_what_is_wrong)

/* On one processor, as the first in line; or it is said which limit keeps it from that. */
static int do_pins_and_ranks(void *nothing) {
    (void)nothing;
    cpu_set_t set, now;
    struct sched_param param;
    int cpu = 0;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    while (!CPU_ISSET(cpu, &set)) cpu++;
    wish.processors[cpu / 64] = UINT64_C(1) << cpu % 64;
    wish.policy = SCHED_RR;
    wish.priority = 7;
    int rc = ask();
    CHECK(report.asked == (THIRL_REALTIME_PROCESSORS | THIRL_REALTIME_SCHEDULING));
    CHECK((report.had & THIRL_REALTIME_PROCESSORS) != 0 && sched_getaffinity(0, sizeof now, &now) == 0);
    CHECK(CPU_COUNT(&now) == 1 && CPU_ISSET(cpu, &now) && memcmp(&now, report.processors, sizeof now) == 0);
    bool ranks = (report.had & THIRL_REALTIME_SCHEDULING) != 0;
    CHECK(rc == (ranks ? 0 : THIRL_PARTLY) && ranks == (*report.why[3] == '\0') && *report.why[2] == '\0');
    CHECK((sched_getscheduler(0) == SCHED_RR) == ranks && sched_getparam(0, &param) == 0);
    CHECK(param.sched_priority == (ranks ? 7 : 0) && report.priority == (uint32_t)param.sched_priority);
    return 0;
}
IN_A_CHILD(pins_and_ranks)

/* Some of the processors are not there: the kernel takes the others, and the call says so. */
static int do_tells_of_processors_that_are_not_there(void *nothing) {
    (void)nothing;
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    memcpy(wish.processors, &set, sizeof set);
    wish.processors[THIRL_PROCESSORS_MAX / 64 - 1] |= UINT64_C(3) << 62;
    CHECK(ask() == THIRL_PARTLY && report.had == 0 && strstr(report.why[2], "1022-1023") != NULL);
    CHECK(strstr(thirl_why(), "cpuset") != NULL && memcmp(&set, report.processors, sizeof set) == 0);
    memset(wish.processors, 0, sizeof wish.processors);
    wish.processors[THIRL_PROCESSORS_MAX / 64 - 1] = UINT64_C(1) << 63;
    CHECK(ask() == THIRL_PARTLY && report.had == 0 && memcmp(&set, report.processors, sizeof set) == 0);
    return 0;
}
IN_A_CHILD(tells_of_processors_that_are_not_there)

static int do_names_the_limits(void *nothing) {
    (void)nothing;
    char highest[32];
    uint32_t rank = limit(RLIMIT_RTPRIO, 5), locked = limit(RLIMIT_MEMLOCK, 65536);
    (void)snprintf(highest, sizeof highest, "that is %u", rank);
    CHECK(be_nobody());
    wish.policy = SCHED_FIFO;
    wish.priority = rank + 1;
    wish.memory = 1;
    wish.stack = 64 * 1024;
    CHECK(ask() == THIRL_PARTLY && report.had == THIRL_REALTIME_STACK && report.stack >= wish.stack);
    CHECK(locked <= 65536 && (!LOCKS || strstr(report.why[0], "RLIMIT_MEMLOCK is") != NULL));
    CHECK(!LOCKS || strstr(report.why[0], "ulimit -l") != NULL);
    CHECK(strstr(report.why[3], "RLIMIT_RTPRIO") != NULL && strstr(report.why[3], highest) != NULL);
    CHECK(report.locked == 0 && report.absent != 0 && report.policy == SCHED_OTHER);
    wish.memory = 0;
    wish.policy = rank != 0 ? SCHED_FIFO : 0;
    wish.priority = rank;
    int rc =
        ask(); /* as much as the limit says; where groups have real-time time of their own, it is the group that refuses */
    CHECK(rc == 0 ? report.priority == rank : strstr(report.why[3], "cgroup") != NULL);
    wish.stack = UINT64_C(1) << 40;
    CHECK(ask() == THIRL_PARTLY && strstr(report.why[1], "ulimit -s") != NULL);
    return 0;
}
IN_A_CHILD(names_the_limits)

/* What can be told otherwise: which pages are there. */
static bool all_there(const void *at, size_t size) {
    unsigned char is[64] = {0};
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = size / page;
    if (count > sizeof is || mincore((void *)((uintptr_t)at / page * page), size, is) != 0) return false;
    for (size_t i = 0; i < count; i++) {
        if ((is[i] & 1) == 0) return false;
    }
    return true;
}

static long faults(void) {
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_minflt + usage.ru_majflt : -1;
}

__attribute__((noinline)) static void go_deep(void) {
    unsigned char deep[100 * 1024];
    memset(deep, 1, sizeof deep);
    __asm__ __volatile__("" : : "r"(deep) : "memory");
}

/* Everything that is mapped, an open end with its pool too, is there; and so is what is mapped later, and the stack. */
static int do_locks_what_is_there(void *nothing) {
    (void)nothing;
    thirl *end;
    const size_t size = 64 * 4096;
    CHECK(thirl_open(&end, THIRL_PAIR, "shm://quiet?queue=64K&pool=1M", NULL) == 0);
    char *before = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(before != MAP_FAILED && !all_there(before, size));
    wish.memory = 1;
    wish.stack = 128 * 1024;
    int rc = ask();
    if ((report.had & THIRL_REALTIME_MEMORY) == 0) {
        CHECK(rc == THIRL_PARTLY && *report.why[0] != '\0');
        print_message("skip: %s\n", report.why[0]);
        return 77;
    }
    CHECK(rc == 0 && report.absent == 0 && report.locked >= size && report.had == report.asked);
    CHECK(all_there(before, size));
    char *later = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(later != MAP_FAILED && all_there(later, size));
    long had = faults();
    go_deep();
    memset(before, 1, size);
    CHECK(faults() == had);
    return thirl_close(&end, THIRL_NOW) < 0;
}

static void locks_what_is_there(void **state) {
    (void)state;
    int status = room_run(do_locks_what_is_there, NULL);
    if (status == 77) skip();
    assert_int_equal(status, 0);
}

/* A thread has a stack of its own, which may be too small. */
static void *ask_in_a_thread(void *stack) {
    wish.stack = (uint64_t)(uintptr_t)stack;
    return (void *)(intptr_t)ask();
}

static void a_thread_asks_for_itself(void **state) {
    (void)state;
    pthread_attr_t attr;
    pthread_t thread;
    void *rc;
    memset(&wish, 0, sizeof wish);
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, 256 * 1024), 0);
    for (int i = 0; i < 2; i++) {
        uintptr_t stack = i == 0 ? 128 * 1024 : 512 * 1024;
        assert_int_equal(pthread_create(&thread, &attr, ask_in_a_thread, (void *)stack), 0);
        assert_int_equal(pthread_join(thread, &rc), 0);
        assert_int_equal((intptr_t)rc, i == 0 ? 0 : THIRL_PARTLY);
        assert_true(i == 0 ? report.stack >= stack : strstr(report.why[1], "pthread_attr_setstacksize") != NULL);
    }
    (void)pthread_attr_destroy(&attr);
}

/* ---- who is urgent, and waits ---- */

/* On one processor: one of little urgency holds the mutex, one of the middle computes for long, and the most urgent wants the mutex. */
#define COMPUTES (400 * CLOCK_MS)

static struct board {
    thirl_mutex mutex;
    uint32_t ready, wanted;
    int64_t waited;
} * board;

/* First the rank: on a processor that somebody more urgent has for himself it could not be had. */
static int rank(int priority) {
    const struct sched_param param = {.sched_priority = priority};
    cpu_set_t set;
    int cpu = 0;
    CHECK(sched_setscheduler(0, priority != 0 ? SCHED_FIFO : SCHED_OTHER, &param) == 0 &&
          sched_getaffinity(0, sizeof set, &set) == 0);
    while (!CPU_ISSET(cpu, &set)) cpu++;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
    return 0;
}

static int hold_it(void *nothing) {
    (void)nothing;
    CHECK(rank(10) == 0);
    CHECK(thirl_mutex_lock(&board->mutex, THIRL_NOW) == 0);
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->wanted) == 0) room_sleep(CLOCK_MS / 2);
    return thirl_mutex_unlock(&board->mutex);
}

static int compute(void *nothing) {
    (void)nothing;
    CHECK(rank(20) == 0);
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->wanted) == 0) continue;
    for (int64_t until = clock_now() + COMPUTES; clock_now() < until;) continue;
    return 0;
}

static int want_it(void *nothing) {
    (void)nothing;
    CHECK(rank(30) == 0);
    int64_t began = clock_now();
    atomic_store(&board->wanted, 1u);
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    board->waited = clock_now() - began;
    return thirl_mutex_unlock(&board->mutex);
}

/* How long the most urgent waited. */
static int64_t inversion(uint32_t flags) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, flags), 0);
    pid_t low = room_fork(hold_it, NULL);
    assert_true(member_wait(&board->ready, 1));
    pid_t middle = room_fork(compute, NULL);
    assert_true(member_wait(&board->ready, 2));
    assert_int_equal(room_run(want_it, NULL), 0);
    assert_int_equal(room_reap(middle), 0);
    assert_int_equal(room_reap(low), 0);
    return board->waited;
}

static void need_ranks(void) {
    const struct sched_param param = {.sched_priority = 30}, usual = {.sched_priority = 0};
    if (sched_setscheduler(0, SCHED_FIFO, &param) != 0 || sched_setscheduler(0, SCHED_OTHER, &usual) != 0) {
        print_message("skip: no real-time priorities here\n");
        skip();
    }
}

static void the_urgent_do_not_wait_for_others(void **state) {
    (void)state;
    need_ranks();
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(board != MAP_FAILED);
    int64_t without = inversion(0), lent = inversion(THIRL_LOCK_INHERIT);
    print_message("waited %lld us, and %lld us where priority is lent\n", (long long)(without / CLOCK_US),
                  (long long)(lent / CLOCK_US));
    assert_true(without > COMPUTES / 2); /* or this says nothing */
    assert_true(lent < COMPUTES / 4);
    (void)munmap(board, sizeof *board);
}

/* ---- who never sleeps, and waits for somebody on the same processor ---- */

#define TURNS 50
#define BUSY "shm://busy?wait=spin"

static int open_busy(thirl **end, int priority) {
    CHECK(rank(priority) == 0);
    return thirl_open(end, THIRL_PAIR, BUSY, NULL);
}

static int call_out(void *nothing) {
    thirl *end;
    char byte;
    (void)nothing;
    CHECK(open_busy(&end, 10) == 0);
    for (int i = 0; i < TURNS; i++) {
        CHECK(thirl_send(end, "x", 1, thirl_in_ms(25000)) == 0);
        CHECK(thirl_recv(end, &byte, 1, NULL, thirl_in_ms(25000)) == 0);
    }
    return thirl_close(&end, thirl_in_ms(25000));
}

static int answer_all(void *priority) {
    thirl *end;
    char byte;
    CHECK(open_busy(&end, *(int *)priority) == 0);
    for (int i = 0; i < TURNS; i++) {
        CHECK(thirl_recv(end, &byte, 1, NULL, thirl_in_ms(25000)) == 0);
        CHECK(thirl_send(end, &byte, 1, thirl_in_ms(25000)) == 0);
    }
    CHECK(thirl_recv(end, &byte, 1, NULL, thirl_in_ms(25000)) == -THIRL_ECLOSED);
    return thirl_close(&end, thirl_in_ms(25000));
}

/* At a real-time priority nobody else gets the processor for as long as one spins: not who is as urgent, and not who is less. */
static void spinners_let_each_other_run(void **state) {
    int priorities[] = {10, 0};
    (void)state;
    need_ranks();
    for (size_t i = 0; i < sizeof priorities / sizeof *priorities; i++) {
        pid_t other = room_fork(answer_all, &priorities[i]);
        assert_int_equal(room_run(call_out, NULL), 0);
        assert_int_equal(room_reap(other), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(pins_and_ranks),
        cmocka_unit_test(tells_of_processors_that_are_not_there),
        cmocka_unit_test(names_the_limits),
        cmocka_unit_test(locks_what_is_there),
        cmocka_unit_test(a_thread_asks_for_itself),
        cmocka_unit_test(the_urgent_do_not_wait_for_others),
        cmocka_unit_test(spinners_let_each_other_run),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
