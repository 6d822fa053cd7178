/* SPDX-License-Identifier: MIT
 *
 * Jobs under fire, small ones and such as lie in the pool: pushers and workers of one queue in shared memory are killed at random and
 * replaced at once, with several jobs in their hands. Every job whose send has returned is done; none comes twice but marked; in the
 * end nothing waits, and the registry is empty. And where nobody is killed, each is done once. jobs_test [COUNT], of 100,000 jobs;
 * without it a part of them.
 */
#define _GNU_SOURCE
#include <errno.h>
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "tests/room.h"

#define MS INT64_C(1000000)
#define PUSHERS 3
#define WORKERS 4
#define CROWD (PUSHERS + WORKERS)
#define HOLD 6 /* jobs in one worker's hands */
#define LARGEST 140000
#define MOST 10000000u /* jobs */
#define ADDRESS "shm://fire"
#if defined(__SANITIZE_ADDRESS__)
#define USUAL 5000
#else
#define USUAL 20000
#endif

/* What all of them note, and what survives each. */
struct board {
    uint32_t next; /* job; some are never sent, because their pusher is killed first */
    uint32_t committed, doubled, wrong, stop;
    uint8_t sent[MOST], done[MOST];
};

static struct board *board;
static uint32_t wanted;

static int64_t now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static size_t size_of(uint32_t job) {
    return sizeof job + (job % 100 == 7 ? 3000 : job % 40 == 11 ? 10000 + job % 7 * 20000 : job % 60);
}

static size_t make(unsigned char *data, uint32_t job) {
    size_t size = size_of(job);
    memcpy(data, &job, sizeof job);
    for (size_t i = sizeof job; i < size; i++) {
        data[i] = (unsigned char)(job * 31 + i);
    }
    return size;
}

static bool is_whole(const unsigned char *data, size_t size, uint32_t *job) {
    if (size < sizeof *job) {
        return false;
    }
    memcpy(job, data, sizeof *job);
    bool whole = *job < MOST && size == size_of(*job);
    for (size_t i = sizeof *job; whole && i < size; i++) {
        whole = data[i] == (unsigned char)(*job * 31 + i);
    }
    return whole;
}

#define get(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

static void complain(const char *call) {
    fprintf(stderr, "pid %d: %s: %s\n", (int)getpid(), call, thirl_why());
    set(&board->wrong, 1);
}

static void push(unsigned turn) {
    thirl *end;
    static unsigned char data[LARGEST];
    const char *address = turn % 2 ? ADDRESS "?queue=8K&pool=1M" : ADDRESS "?queue=64K&pool=4M&wait=sleep";
    if (thirl_open(&end, THIRL_PUSH, address, NULL) != 0) {
        complain("open");
        return;
    }
    while (!get(&board->stop) && get(&board->committed) < wanted) {
        uint32_t job = __atomic_fetch_add(&board->next, 1, __ATOMIC_ACQ_REL);
        size_t size = make(data, job);
        thirl_msg *msg = NULL;
        int rc;
        if (job >= MOST) {
            return;
        }
        if (job % 5 == 0) {
            rc = thirl_loan(end, &msg, size, THIRL_NEVER);
            if (rc == 0) {
                memcpy(thirl_msg_data(msg), data, size);
                rc = thirl_put(end, &msg, THIRL_NEVER);
            }
        } else {
            rc = thirl_send(end, data, size, THIRL_NEVER);
        }
        if (rc != 0) {
            complain("send");
            return;
        }
        set(&board->sent[job], 1);
        if (job % 100 < 3) {
            room_sleep(20 * MS); /* bursts fill the queue; in between it runs dry */
        }
        (void)__atomic_fetch_add(&board->committed, 1, __ATOMIC_ACQ_REL);
    }
    (void)thirl_close(&end, THIRL_NEVER);
}

/* It is done, or now and then somebody else's. */
static int finish(thirl_msg **msg, uint32_t turn) {
    uint32_t job = 0;
    if (!is_whole(thirl_msg_data(*msg), thirl_msg_size(*msg), &job)) {
        complain("a job has changed");
        return -1;
    }
    if (turn % 50 == 49) {
        return thirl_requeue(msg);
    }
    uint8_t before = __atomic_fetch_add(&board->done[job], 1, __ATOMIC_ACQ_REL);
    if (before != 0) {
        (void)__atomic_fetch_add(&board->doubled, 1, __ATOMIC_ACQ_REL);
    }
    if (before != 0 && !thirl_msg_again(*msg)) {
        complain("a job came twice, unmarked");
    }
    return thirl_done(msg);
}

static void work(unsigned turn) {
    thirl *end;
    thirl_msg *held[HOLD] = {NULL};
    if (thirl_open(&end, THIRL_PULL, turn % 2 ? ADDRESS : ADDRESS "?wait=sleep", NULL) != 0) {
        complain("open");
        return;
    }
    for (uint32_t i = 0; !get(&board->stop); i++) {
        thirl_msg **at = &held[room_dice(HOLD)]; /* out of order */
        uint32_t job = 0;
        if (*at != NULL && finish(at, i) != 0) {
            complain("done");
            return;
        }
        int rc = thirl_take(end, at, thirl_in_ms(20));
        if (rc == -ETIMEDOUT || rc == -EBUSY) { /* dry, or it holds too much */
            continue;
        }
        if (rc != 0 || !is_whole(thirl_msg_data(*at), thirl_msg_size(*at), &job)) {
            complain("take");
            return;
        }
        if (job % 16 == 0) {
            room_sleep(MS / 2); /* who dies now has something in his hands */
        }
    }
    for (unsigned i = 0; i < HOLD; i++) {
        if (held[i] != NULL && finish(&held[i], 0) != 0) {
            complain("done");
        }
    }
    (void)thirl_close(&end, THIRL_NEVER);
}

static pid_t start(unsigned who, unsigned turn) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (who < PUSHERS) {
            push(turn);
        } else {
            work(turn);
        }
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

static uint32_t undone(void) {
    uint32_t count = 0, end = get(&board->next) < MOST ? get(&board->next) : MOST;
    for (uint32_t i = 0; i < end; i++) {
        count += get(&board->sent[i]) && !get(&board->done[i]);
    }
    return count;
}

static int see_left(void *context, const struct thirl_left *left) {
    *(uint64_t *)context += left->messages;
    return 0;
}

/* In a process of its own: opens and closes once, so that what the last of the dead have left is swept. */
static int sweep(void *argument) {
    (void)argument;
    thirl *end;
    uint64_t left = 0;
    if (thirl_open(&end, THIRL_PULL, ADDRESS, NULL) != 0 || thirl_left(see_left, &left) != 0) {
        return 1;
    }
    thirl_msg *msg = NULL;
    while (thirl_take(end, &msg, thirl_in_ms(100)) == 0) {
        uint32_t job;
        if (!is_whole(thirl_msg_data(msg), thirl_msg_size(msg), &job)) {
            return 2;
        }
        board->done[job]++;
        thirl_free(&msg);
    }
    left = 0;
    return thirl_left(see_left, &left) != 0 || left != 0 || thirl_close(&end, THIRL_NEVER) != 0 ? 3 : 0;
}

static void run(uint32_t jobs, bool kills_some) {
    pid_t crowd[CROWD];
    unsigned kills = 0, turn = 0;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(board != MAP_FAILED);
    wanted = jobs;
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = start(i, turn++);
    }
    int64_t last = now();
    uint32_t before = 0;
    while (get(&board->committed) < wanted) {
        room_sleep((int64_t)room_dice(4000) * 1000);
        unsigned who = (unsigned)room_dice(CROWD);
        if (kills_some) {
            assert_int_equal(kill(crowd[who], SIGKILL), 0);
            assert_int_equal(waitpid(crowd[who], NULL, 0), crowd[who]);
            crowd[who] = start(who, turn++);
            kills++;
        }
        if (get(&board->committed) != before) {
            before = get(&board->committed);
            last = now();
        }
        assert_int_equal(board->wrong, 0);
        assert_true(now() - last < 20000 * MS); /* nothing is stuck */
    }
    int64_t until = now() + 20000 * MS;
    while (undone() != 0 && now() < until) {
        room_sleep(5 * MS);
    }
    assert_int_equal(undone(), 0);
    board->stop = 1;
    for (unsigned i = 0; i < CROWD; i++) {
        int status = -1;
        assert_int_equal(waitpid(crowd[i], &status, 0), crowd[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(board->wrong, 0);
    assert_int_equal(room_run(sweep, NULL), 0);
    assert_int_equal(room_entries("chan"), 0);
    printf("jobs: %u committed and done, %u kills, %u came again after they were marked as done\n", board->committed,
           kills, board->doubled);
    for (uint32_t i = 0; i < board->next && !kills_some; i++) {
        assert_int_equal(board->done[i], board->sent[i]);
    }
    (void)munmap(board, sizeof *board);
}

static void all_jobs_are_done(void **state) {
    run(*(uint32_t *)*state, true);
}

static void each_is_done_once(void **state) {
    run(*(uint32_t *)*state / 4, false);
}

int main(int argc, char **argv) {
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : USUAL / (room_is_brief() ? 2 : 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(all_jobs_are_done, &count),
                                       cmocka_unit_test_prestate(each_is_done_once, &count)};
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
