/* SPDX-License-Identifier: MIT
 *
 * Sleeping on words, between processes and through a mapping that may only be read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"

struct words {
    LINE_ALIGNED uint32_t a;
    LINE_ALIGNED uint32_t b;
    LINE_ALIGNED uint32_t asleep;
    LINE_ALIGNED uint32_t turns;
};

static struct words *words;          /* writable */
static const struct words *readable; /* another mapping of the same file, read-only */
static int two_words;                /* the kernel has futex_waitv */

static int map(void **state) {
    (void)state;
    int fd = memfd_create("futex_test", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 4096) != 0) return -1;
    words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    readable = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (words == MAP_FAILED || readable == MAP_FAILED) return -1;
    uint32_t zero = 0;
    two_words = futex_wait_two(&zero, 1, &zero, 1, 0) == -EAGAIN;
    return 0;
}

static int clear(void **state) {
    (void)state;
    *words = (struct words){0};
    return 0;
}

/* Waits until the process is asleep inside the futex call: woken ones are counted, so waking nobody is tried again. */
static int wake_for_certain(const uint32_t *word) {
    for (int64_t until = clock_now() + 20 * CLOCK_S; clock_now() < until;) {
        int woken = futex_wake(word, 1);
        if (woken != 0) return woken;
        usleep(200);
    }
    return -ETIMEDOUT;
}

static int reap(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void answers_at_once(void **state) {
    (void)state;
    assert_int_equal(futex_wait(&readable->a, 1, INT64_MAX), -EAGAIN);
    assert_int_equal(futex_wait(&readable->a, 0, 0), -ETIMEDOUT);
    assert_int_equal(futex_wait(&readable->a, 0, -5), -ETIMEDOUT);
    assert_int_equal(futex_wake(&readable->a, 1), 0);
    assert_int_equal(futex_wake((const uint32_t *)((uintptr_t)&words->a + 1), 1), -EINVAL);
}

static void wakes_through_a_read_only_mapping(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) _exit(futex_wait(&readable->a, 0, clock_now() + 30 * CLOCK_S) == 0 ? 0 : 1);
    assert_true(child > 0);
    assert_int_equal(wake_for_certain(&readable->a), 1);
    assert_int_equal(reap(child), 0);
}

static int bounce(const uint32_t *mine, uint32_t *theirs, uint32_t turns) {
    for (uint32_t turn = 0; turn < turns; turn++) {
        for (;;) {
            uint32_t seen = atomic_load(mine); /* pairs with the store below, in the other process */
            if (seen > turn) break;
            int r = futex_wait(mine, seen, clock_now() + 10 * CLOCK_S);
            if (r < 0 && r != -EAGAIN) return 1;
        }
        atomic_store(theirs, turn + 1);
        if (futex_wake(theirs, 1) < 0) return 2;
    }
    return 0;
}

static void hands_over_between_processes(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) _exit(bounce(&readable->a, &words->b, 2000));
    assert_true(child > 0);
    atomic_store(&words->a, 1);
    assert_int_equal(futex_wake(&words->a, 1) < 0, 0);
    for (uint32_t turn = 1; turn <= 2000; turn++) {
        for (uint32_t seen; (seen = atomic_load(&readable->b)) < turn;) { /* pairs with the store in bounce */
            int r = futex_wait(&readable->b, seen, clock_now() + 10 * CLOCK_S);
            assert_true(r == 0 || r == -EAGAIN);
        }
        atomic_store(&words->a, turn + 1);
        assert_true(futex_wake(&words->a, 1) >= 0);
    }
    assert_int_equal(reap(child), 0);
}

/* Never early; late only as far as a busy machine may be. */
static void keeps_deadlines(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        int64_t until = clock_now() + 20 * CLOCK_MS;
        assert_int_equal(futex_wait(&readable->a, 0, until), -ETIMEDOUT);
        int64_t late = clock_now() - until;
        assert_true(late >= 0);
        assert_true(late < 2 * CLOCK_S);
        if (!two_words) continue;
        until = clock_now() + 20 * CLOCK_MS;
        assert_int_equal(futex_wait_two(&readable->a, 0, &readable->b, 0, until), -ETIMEDOUT);
        late = clock_now() - until;
        assert_true(late >= 0);
        assert_true(late < 2 * CLOCK_S);
    }
}

static void note(int signal) {
    (void)signal;
}

static void is_interrupted(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = note}, before;
    struct itimerval soon = {.it_value.tv_usec = 20000, .it_interval.tv_usec = 20000}, never = {0};
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &soon, NULL);
    int one = futex_wait(&readable->a, 0, INT64_MAX);
    int two = two_words ? futex_wait_two(&readable->a, 0, &readable->b, 0, INT64_MAX) : -EINTR;
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(one, -EINTR);
    assert_int_equal(two, -EINTR);
}

static void waits_for_two(void **state) {
    (void)state;
    if (!two_words) {
        print_message("skip: this kernel has no futex_waitv\n");
        skip();
    }
    assert_int_equal(futex_wait_two(&readable->a, 1, &readable->b, 0, INT64_MAX), -EAGAIN);
    assert_int_equal(futex_wait_two(&readable->a, 0, &readable->b, 1, INT64_MAX), -EAGAIN);
    assert_int_equal(futex_wait_two(&readable->a, 0, &readable->b, 0, -5), -ETIMEDOUT);
    for (int which = 0; which < 2; which++) {
        pid_t child = fork();
        if (child == 0) {
            int r = futex_wait_two(&readable->a, 0, &readable->b, 0, clock_now() + 30 * CLOCK_S);
            _exit(r == 0 ? 0 : 1);
        }
        assert_true(child > 0);
        assert_int_equal(wake_for_certain(which ? &readable->b : &readable->a), 1);
        assert_int_equal(reap(child), 0);
    }
}

#define ROUNDS 20000
#define NO_MORE UINT32_MAX

/* Dekker with one light side: the heavy fence makes up for the missing one in the other thread. */
static struct {
    LINE_ALIGNED uint32_t x;
    LINE_ALIGNED uint32_t y;
    LINE_ALIGNED uint32_t round;
    LINE_ALIGNED uint32_t answer;
    uint32_t light;
} race;

static void *go_light(void *nothing) {
    (void)nothing;
    for (uint32_t i = 1;; i++) {
        uint32_t round;
        while ((round = atomic_load(&race.round)) < i) atomic_pause(); /* pairs with the stores in fences_heavily */
        if (round == NO_MORE) break;
        atomic_poke(&race.x, 1);
        atomic_order();
        race.light = atomic_peek(&race.y);
        atomic_store(&race.answer, i);
    }
    return NULL;
}

static void fences_heavily(void **state) {
    pthread_t thread;
    int missed = 0;
    (void)state;
    if (!futex_fence_join()) {
        print_message("skip: this kernel refuses membarrier\n");
        skip();
    }
    assert_true(futex_fence_join());
    assert_int_equal(pthread_create(&thread, NULL, go_light, NULL), 0);
    int64_t until = clock_now() + CLOCK_S;
    for (uint32_t i = 1; i <= ROUNDS && clock_now() < until; i++) {
        atomic_poke(&race.x, 0);
        atomic_poke(&race.y, 0);
        atomic_store(&race.round, i);
        atomic_poke(&race.y, 1);
        if (!futex_fence_heavy()) missed += ROUNDS;
        uint32_t seen = atomic_peek(&race.x);
        while (atomic_load(&race.answer) != i) atomic_pause(); /* pairs with the store in go_light */
        missed += !seen && !race.light;
    }
    atomic_store(&race.round, NO_MORE);
    pthread_join(thread, NULL);
    assert_int_equal(missed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(answers_at_once, clear),
        cmocka_unit_test_setup(wakes_through_a_read_only_mapping, clear),
        cmocka_unit_test_setup(hands_over_between_processes, clear),
        cmocka_unit_test_setup(keeps_deadlines, clear),
        cmocka_unit_test_setup(is_interrupted, clear),
        cmocka_unit_test_setup(waits_for_two, clear),
        cmocka_unit_test(fences_heavily),
    };
    return cmocka_run_group_tests(tests, map, NULL);
}
