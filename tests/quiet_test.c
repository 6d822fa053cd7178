/* SPDX-License-Identifier: MIT
 *
 * On time: what lanes, pools, states, locks and caches do in the steady state is bounded. A filter of the kernel kills whoever makes a system call
 * that is not for sleeping or waking; faults and allocations are counted; and where nothing can be done, trying is over after so many
 * instructions, whoever has stopped in the midst of what.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
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
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/cache.h"
#include "include/thirl/lock.h"
#include "include/thirl/realtime.h"
#include "include/thirl/state.h"
#include "tests/member.h"
#include "tests/room.h"
#include "tests/step.h"

#define TURNS 20000
#define TRIPS 3000
#define LARGE (256 * 1024)

uint64_t count_allocations(void); /* bench/count.c, which is linked with this program */

/* ---- one process that has both ends: nobody waits ---- */

static struct {
    thirl *out, *in;
    thirl_state *writer, *reader;
    thirl_lock *lock;
    thirl_cache *cache;
} own;
static unsigned char data[LARGE];

static int open_pair(const char *address, enum thirl_role out, enum thirl_role in) {
    CHECK(thirl_open(&own.in, in, address, NULL) == 0 && thirl_open(&own.out, out, address, NULL) == 0);
    return 0;
}

static int open_lane(void) {
    return open_pair("shm://quiet?queue=1M&pool=4M", THIRL_PAIR, THIRL_PAIR);
}

static int pass(size_t size) {
    size_t got = 0;
    return thirl_send(own.out, data, size, THIRL_NOW) != 0 ||
           thirl_recv(own.in, data, sizeof data, &got, THIRL_NOW) != 0 || got != size;
}

static int pass_small(void) {
    return pass(48);
}

static int pass_middling(void) {
    return pass(4096);
}

static int pass_many(void) {
    struct iovec out[8], in[8];
    size_t sent = 8, all = 0;
    for (size_t i = 0; i < 8; i++) out[i] = (struct iovec){data + 64 * i, 64};
    int bad = thirl_send_many(own.out, out, &sent, THIRL_NOW) != 0 || sent != 8;
    while (!bad && all < 8) {
        size_t got = 8;
        bad = thirl_recv_many(own.in, data, sizeof data, in, &got, THIRL_NOW) != 0;
        all += got;
    }
    return bad || all != 8;
}

static int open_cast(void) {
    return open_pair("shm://quiet-cast?queue=1M&pool=4M", THIRL_PUB, THIRL_SUB);
}

/* In place: written where it is read. */
static int lend_large(void) {
    thirl_msg *msg;
    if (thirl_loan(own.out, &msg, LARGE, THIRL_NOW) != 0) return 1;
    memset(thirl_msg_data(msg), 1, 4096);
    if (thirl_put(own.out, &msg, THIRL_NOW) != 0 || thirl_take(own.in, &msg, THIRL_NOW) != 0) return 1;
    memcpy(data, thirl_msg_data(msg), LARGE);
    thirl_free(&msg);
    return 0;
}

static int open_states(void) {
    const struct thirl_state_options writes = {.size = sizeof writes, .max = 4096},
                                     reads = {.size = sizeof reads, .access = THIRL_ACCESS_READ};
    CHECK(thirl_state_open(&own.writer, "quiet", &writes) == 0 && thirl_state_open(&own.reader, "quiet", &reads) == 0);
    return 0;
}

static int set_and_get(void) {
    size_t got = 0;
    return thirl_state_set(own.writer, data, 64, THIRL_NOW) != 0 ||
           thirl_state_get(own.reader, data, 64, &got, NULL) != 0 ||
           thirl_state_set(own.writer, data, 4096, THIRL_NOW) != 0 ||
           thirl_state_get(own.reader, data, 4096, &got, NULL) != 0 || got != 4096;
}

static struct locks {
    thirl_mutex mutex, inner;
    thirl_rwlock rwlock;
    thirl_cond cond;
    thirl_sem sem, count;
    thirl_event event;
    thirl_once once;
    thirl_barrier barrier;
} * locks;

static int make_locks(void) {
    locks = mmap(NULL, sizeof *locks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(locks != MAP_FAILED && thirl_mutex_init(&locks->mutex, 0) == 0 && thirl_mutex_init(&locks->inner, 0) == 0);
    CHECK(thirl_rwlock_init(&locks->rwlock, 0) == 0 && thirl_cond_init(&locks->cond, 0) == 0);
    CHECK(thirl_sem_init(&locks->sem, 2, 0) == 0 && thirl_sem_init(&locks->count, 0, THIRL_LOCK_COUNTING) == 0);
    CHECK(thirl_event_init(&locks->event, THIRL_LOCK_AUTOMATIC) == 0 && thirl_barrier_init(&locks->barrier, 1) == 0);
    CHECK(thirl_barrier_join(&locks->barrier) == 0);
    return thirl_lock_open(&own.lock, "quiet-lock", THIRL_LOCK_MUTEX, NULL);
}

static int lock_all(void) {
    int rc = thirl_mutex_lock(&locks->mutex, THIRL_NEVER) | thirl_mutex_lock(&locks->inner, THIRL_NEVER);
    rc |= thirl_cond_signal(&locks->cond) | thirl_mutex_unlock(&locks->inner) | thirl_mutex_unlock(&locks->mutex);
    rc |= thirl_mutex_lock(own.lock->mutex, THIRL_NEVER) | thirl_mutex_unlock(own.lock->mutex);
    rc |= thirl_rwlock_read(&locks->rwlock, THIRL_NEVER) | thirl_rwlock_unlock(&locks->rwlock);
    rc |= thirl_rwlock_write(&locks->rwlock, THIRL_NEVER) | thirl_rwlock_unlock(&locks->rwlock);
    rc |= thirl_sem_wait(&locks->sem, THIRL_NEVER) | thirl_sem_post(&locks->sem);
    rc |= thirl_sem_post(&locks->count) | thirl_sem_wait(&locks->count, THIRL_NEVER);
    rc |= thirl_event_set(&locks->event) | thirl_event_wait(&locks->event, THIRL_NEVER);
    return rc | thirl_barrier_wait(&locks->barrier, NULL, THIRL_NEVER);
}

#define KEYS 8
#define SIZE_OF(key) (64 + (size_t)(key)*500)

static int put_some(void) {
    char key[2] = "k";
    int rc = 0;
    for (int i = 0; i < KEYS; i++) {
        key[1] = (char)('0' + i);
        rc |= thirl_cache_put(own.cache, key, sizeof key, data, SIZE_OF(i), THIRL_NEVER, THIRL_NEVER);
    }
    return rc;
}

static int open_cache(void) {
    const struct thirl_cache_options wish = {.size = sizeof wish, .bytes = 1 << 20, .items = 64};
    CHECK(thirl_cache_open(&own.cache, "quiet-cache", &wish) == 0);
    return put_some();
}

/* What is there, what is not, many at once, and a copy. */
static int get_some(void) {
    struct thirl_cache_pin pin[KEYS];
    struct iovec key[KEYS];
    char name[KEYS][2];
    size_t got = 0;
    for (int i = 0; i < KEYS; i++) {
        name[i][0] = 'k', name[i][1] = (char)('0' + i);
        key[i] = (struct iovec){name[i], 2};
    }
    int bad = thirl_cache_get(own.cache, "k3", 2, pin) != 0 || pin->size != SIZE_OF(3);
    thirl_cache_unpin(own.cache, pin);
    bad |= thirl_cache_get(own.cache, "none", 4, pin) != THIRL_CACHE_MISS;
    bad |= thirl_cache_get_many(own.cache, key, KEYS, pin) != KEYS;
    for (int i = 0; i < KEYS; i++) thirl_cache_unpin(own.cache, &pin[i]);
    return bad || thirl_cache_copy(own.cache, "k5", 2, data, sizeof data, &got, NULL) != 0 || got != SIZE_OF(5);
}

static int put_one(void) {
    return thirl_cache_put(own.cache, "k7", 2, data, SIZE_OF(7), THIRL_NEVER, THIRL_NEVER);
}

static int use_cache(void) {
    return get_some() | put_some();
}

static const struct job {
    const char *name;
    int (*begin)(void), (*turn)(void);
} jobs[] = {
    {"small messages", open_lane, pass_small},
    {"middling messages", open_lane, pass_middling},
    {"many messages", open_lane, pass_many},
    {"large messages in place", open_lane, lend_large},
    {"published messages", open_cast, pass_small},
    {"large published messages", open_cast, lend_large},
    {"a state", open_states, set_and_get},
    {"locks", make_locks, lock_all},
    {"a cache", open_cache, use_cache},
};
#define JOBS (sizeof jobs / sizeof *jobs)

/* ---- what is forbidden, and what is counted ---- */

/* Kills the process at any other system call. */
static int allow(const int *allowed, size_t count) {
    struct sock_filter program[24] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    size_t at = 1;
    for (size_t i = 0; i < count; i++) {
        program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1);
        program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    const struct sock_fprog all = {.len = (unsigned short)at, .filter = program};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all, 0, 0) == 0 ? 0 : 77;
}

/* To count, to end, and to say what was wrong; and a clock that some machines have to ask the kernel for. */
#define HARMLESS SYS_getrusage, SYS_exit_group, SYS_write, SYS_clock_gettime

static uint64_t faults(void) {
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)(usage.ru_minflt + usage.ru_majflt) : 0;
}

struct counts {
    uint64_t faults, allocations;
};

static struct counts count_now(void) {
    return (struct counts){faults(), count_allocations()};
}

static int nothing_since(const struct counts *before) {
    struct counts now = count_now();
    CHECK(now.faults == before->faults);
    CHECK(now.allocations == before->allocations);
    return 0;
}

/* As a program does that is to be on time. How often is each thing to be done before all that it needs has been touched? Memory that cannot
 * be locked is there when queues have been gone through. */
static int settle(void) {
    const struct thirl_realtime_options wish = {.size = sizeof wish, .memory = 1, .stack = 64 * 1024};
    return thirl_realtime(&wish, NULL) == 0 ? 100 : 5 * TURNS;
}

static int do_alone(void *number) {
    static const int allowed[] = {HARMLESS};
    const struct job *job = &jobs[(size_t)(uintptr_t)number];
    memset(data, 1, sizeof data);
    CHECK(job->begin() == 0 && job->turn() == 0);
    for (int i = 0, warm = settle(); i < warm; i++) CHECK(job->turn() == 0);
    int rc = allow(allowed, sizeof allowed / sizeof *allowed), bad = 0;
    if (rc != 0) return rc;
    struct counts before = count_now();
    for (int i = 0; i < TURNS; i++) bad |= job->turn();
    return bad | nothing_since(&before);
}

static void run_each(int (*body)(void *), size_t count) {
    for (size_t i = 0; i < count; i++) {
        int status = room_run(body, (void *)(uintptr_t)i);
        if (status == 77) {
            print_message("skip: the kernel takes no filter of system calls here\n");
            skip();
        }
        if (status != 0)
            print_error("%s: %d%s\n", jobs[i].name, status, status == 128 + SIGSYS ? ", a system call" : "");
        assert_int_equal(status, 0);
    }
}

static void who_need_not_wait_calls_nothing(void **state) {
    (void)state;
    run_each(do_alone, JOBS);
}

/* A filter that lets everything pass would find nothing. */
static int do_call(void *nothing) {
    static const int allowed[] = {HARMLESS};
    (void)nothing;
    int rc = allow(allowed, sizeof allowed / sizeof *allowed);
    return rc != 0 ? rc : getppid() == 0;
}

static int do_allocate(void *nothing) {
    (void)nothing;
    struct counts before = count_now();
    void *volatile block = malloc(1 << 20);
    memset(block, 1, 1 << 20);
    struct counts now = count_now();
    free(block);
    return now.allocations == before.allocations || now.faults == before.faults;
}

static void what_is_forbidden_is_seen(void **state) {
    (void)state;
    int status = room_run(do_call, NULL);
    assert_true(status == 128 + SIGSYS || status == 77);
    assert_int_equal(room_run(do_allocate, NULL), 0);
}

/* ---- two that wait for each other ---- */

static struct board {
    thirl_mutex mutex;
    thirl_cond cond;
    thirl_sem sem[2];
    uint64_t turn;
} * board;

static int trip_lane(unsigned who) {
    size_t got = 0;
    if (who == 0 && thirl_send(own.out, data, 64, THIRL_SOON) != 0) return 1;
    if (thirl_recv(own.out, data, sizeof data, &got, THIRL_SOON) != 0 || got != 64) return 1;
    return who == 0 ? 0 : thirl_send(own.out, data, 64, THIRL_SOON);
}

static int trip_sem(unsigned who) {
    if (who == 0 && thirl_sem_post(&board->sem[1]) != 0) return 1;
    if (thirl_sem_wait(&board->sem[who], THIRL_SOON) != 0) return 1;
    return who == 0 ? 0 : thirl_sem_post(&board->sem[0]);
}

static int trip_cond(unsigned who) {
    int rc = thirl_mutex_lock(&board->mutex, THIRL_SOON);
    while (rc == 0 && board->turn % 2 != who) rc = thirl_cond_wait(&board->cond, &board->mutex, THIRL_SOON);
    board->turn++;
    return rc | thirl_cond_signal(&board->cond) | thirl_mutex_unlock(&board->mutex);
}

static int open_lane_each(void) {
    CHECK(thirl_open(&own.out, THIRL_PAIR, "shm://quiet?wait=sleep&queue=64K&pool=1M", NULL) == 0);
    return 0;
}

static int open_nothing(void) {
    return 0;
}

static const struct trip {
    const char *name;
    int (*begin)(void), (*trip)(unsigned who);
} trips[] = {{"messages", open_lane_each, trip_lane},
             {"semaphores", open_nothing, trip_sem},
             {"a condition variable", open_nothing, trip_cond}};

/* Sleeping, waking, the fence before a sleep, giving the processor up, and asking whether the other one lives: by the clock. */
#define TO_SLEEP SYS_futex, SYS_futex_waitv, SYS_membarrier, SYS_sched_yield, SYS_fcntl
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static int do_both(void *code) {
    static const int allowed[] = {HARMLESS, TO_SLEEP};
    const struct trip *trip = &trips[(uintptr_t)code / 2];
    unsigned who = (uintptr_t)code % 2;
    memset(data, 1, sizeof data);
    CHECK(trip->begin() == 0);
    CHECK(trip->trip(who) == 0);
    (void)settle();
    for (int i = 0; i < TRIPS / 2; i++) CHECK(trip->trip(who) == 0);
    int rc = allow(allowed, sizeof allowed / sizeof *allowed), bad = 0;
    if (rc != 0) return rc;
    struct counts before = count_now();
    for (int i = 0; i < TRIPS; i++) bad |= trip->trip(who);
    return bad | nothing_since(&before);
}

static void who_waits_only_sleeps_and_wakes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof trips / sizeof *trips; i++) {
        memset(board, 0, sizeof *board);
        assert_int_equal(thirl_mutex_init(&board->mutex, 0), 0);
        assert_int_equal(thirl_cond_init(&board->cond, 0), 0);
        for (int k = 0; k < 2; k++) assert_int_equal(thirl_sem_init(&board->sem[k], 0, THIRL_LOCK_COUNTING), 0);
        pid_t child[2];
        for (size_t k = 0; k < 2; k++) child[k] = room_fork(do_both, (void *)(uintptr_t)(2 * i + k));
        int status[2] = {room_reap(child[0]), room_reap(child[1])};
        if (status[0] == 77 || status[1] == 77) skip();
        if (status[0] != 0 || status[1] != 0) print_error("%s: %d %d\n", trips[i].name, status[0], status[1]);
        assert_int_equal(status[0], 0);
        assert_int_equal(status[1], 0);
    }
}

/* ---- how many instructions ---- */

#define MOST 50000 /* a few microseconds; the most of those below takes about a third of that, for its sentence */

/* Beside what can be done, each is tried while it cannot be done: there is nothing, no room, somebody else has it. */
static int try_empty(void) {
    size_t got;
    return thirl_recv(own.in, data, 64, &got, THIRL_NOW) != -EAGAIN;
}

static int begin_full(void) {
    int rc = open_pair("shm://quiet-full?queue=4096", THIRL_PAIR, THIRL_PAIR);
    while (rc == 0) rc = thirl_send(own.out, data, 64, THIRL_NOW);
    return rc != -EAGAIN;
}

static int try_full(void) {
    return thirl_send(own.out, data, 64, THIRL_NOW) != -EAGAIN;
}

static int begin_lent(void) {
    thirl_msg *msg;
    int rc = open_pair("shm://quiet-lent?pool=1M", THIRL_PAIR, THIRL_PAIR);
    while (rc == 0) rc = thirl_loan(own.out, &msg, LARGE, THIRL_NOW);
    return rc != -EAGAIN;
}

static int try_lent(void) {
    thirl_msg *msg;
    return thirl_loan(own.out, &msg, LARGE, THIRL_NOW) != -EAGAIN;
}

static int hold_all(void) {
    int rc = thirl_mutex_lock(&locks->mutex, THIRL_NOW) | thirl_rwlock_write(&locks->rwlock, THIRL_NOW);
    rc |= thirl_sem_wait(&locks->sem, THIRL_NOW) | thirl_sem_wait(&locks->sem, THIRL_NOW);
    rc |= thirl_once_begin(&locks->once, THIRL_NOW) != THIRL_ONCE_YOURS;
    atomic_store(&board->turn, rc == 0 ? 1u : 2u);
    return raise(SIGSTOP);
}

/* Somebody else has all of them, and has stopped. */
static int begin_held(void) {
    atomic_store(&board->turn, 0u);
    CHECK(make_locks() == 0 && thirl_barrier_leave(&locks->barrier) == 0);
    CHECK(thirl_barrier_init(&locks->barrier, 2) == 0 && thirl_barrier_join(&locks->barrier) == 0);
    const struct sigaction quietly = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP}; /* whoever steps sees signals */
    CHECK(sigaction(SIGCHLD, &quietly, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(hold_all());
    }
    while (atomic_load(&board->turn) == 0) room_sleep(CLOCK_MS / 10);
    return child < 0 || atomic_load(&board->turn) != 1;
}

static int try_mutex(void) {
    return thirl_mutex_lock(&locks->mutex, THIRL_NOW) != -EAGAIN;
}

static int try_read(void) {
    return thirl_rwlock_read(&locks->rwlock, THIRL_NOW) != -EAGAIN;
}

static int try_write(void) {
    return thirl_rwlock_write(&locks->rwlock, THIRL_NOW) != -EAGAIN;
}

static int try_sem(void) {
    return thirl_sem_wait(&locks->sem, THIRL_NOW) != -EAGAIN;
}

static int try_event(void) {
    return thirl_event_wait(&locks->event, THIRL_NOW) != -EAGAIN;
}

static int try_once(void) {
    return thirl_once_begin(&locks->once, THIRL_NOW) != -EAGAIN;
}

static int try_barrier(void) {
    return thirl_barrier_wait(&locks->barrier, NULL, THIRL_NOW) != -EAGAIN;
}

static const struct job tries[] = {
    {"a message", open_lane, pass_small},
    {"all locks", make_locks, lock_all},
    {"gets from a cache", open_cache, get_some},
    {"a put to a cache", open_cache, put_one},
    {"nothing to receive", open_lane, try_empty},
    {"no room", begin_full, try_full},
    {"all is lent", begin_lent, try_lent},
    {"a mutex", begin_held, try_mutex},
    {"to read", begin_held, try_read},
    {"to write", begin_held, try_write},
    {"a semaphore", begin_held, try_sem},
    {"an event", begin_held, try_event},
    {"once", begin_held, try_once},
    {"a barrier", begin_held, try_barrier},
};

/* Once before, and then step by step. */
static int do_step(void *job) {
    CHECK(((const struct job *)job)->begin() == 0);
    int bad = 0;
    for (int i = 0; i < 4; i++) bad |= ((const struct job *)job)->turn();
    step_mark();
    bad |= ((const struct job *)job)->turn();
    step_mark();
    return bad;
}

/* The instructions of a turn; 0: no process can be traced here. */
static unsigned steps_of(const struct job *job) {
    unsigned steps = 0;
    pid_t child = step_begin(do_step, (void *)(uintptr_t)job);
    if (child < 0) return 0;
    while (steps < 100 * MOST && step_on(child, 1)) steps++;
    int status = step_let(child);
    if (status != 0) print_error("%s: %d\n", job->name, status);
    assert_int_equal(status, 0);
    return steps;
}

static void trying_is_over_soon(void **state) {
    (void)state;
    unsigned most = 0;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        unsigned steps = steps_of(&tries[i]);
        if (steps == 0) {
            print_message("skip: no process can be traced here\n");
            skip();
        }
        if (getenv("QUIET_STEPS") != NULL) print_message("%5u %s\n", steps, tries[i].name);
        most = steps > most ? steps : most;
    }
    assert_true(most < MOST);
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

int main(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)printf("skip - a sanitizer allocates, faults and steps for itself\n");
    return 77;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_forbidden_is_seen),
        cmocka_unit_test(who_need_not_wait_calls_nothing),
        cmocka_unit_test(who_waits_only_sleeps_and_wakes),
        cmocka_unit_test(trying_is_over_soon),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
