/* SPDX-License-Identifier: MIT
 *
 * Work queues: one sender and two workers, and several senders to one worker, who run where the system puts them. The floor is the
 * least that hands each message to one of two: slots, an index that workers add to, and a word in each slot that says whose it is.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/end.h"
#include "bench/floor.h"
#include "bench/payload.h"

#define SENDERS 8
#define LOOK 64      /* jobs between two looks at what the other worker has done */
#define PATIENCE 256 /* looks between two calls for another process to run */

struct control {
    uint64_t next __attribute__((aligned(STAGE_PAIR))); /* of the floor: the next message that nobody has */
    struct {
        uint64_t done __attribute__((aligned(STAGE_PAIR)));
        uint64_t sum, failed;
        int64_t end;
    } worker[2];
    uint32_t ready __attribute__((aligned(STAGE_PAIR))), go; /* of the processes besides the two */
    int64_t begin __attribute__((aligned(STAGE_PAIR)));
};

static struct control *control_of(const struct run *run) {
    return (struct control *)run->control;
}

/* Three run on two processors: the system may move them. */
static void unpin(const struct run *run) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(run->cpu[0], &set);
    CPU_SET(run->cpu[1], &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

stage_inline void be_patient(unsigned turn) {
    if (turn % PATIENCE == PATIENCE - 1) {
        sched_yield();
    }
}

static void await_others(const struct run *run, uint32_t others) {
    while (stage_load(&control_of(run)->ready) != others) {
        usleep(50);
    }
}

/* In a process besides the two: the others know that it is there, and it begins when they have met. */
static void be_ready(const struct run *run) {
    (void)__atomic_fetch_add(&control_of(run)->ready, 1, __ATOMIC_ACQ_REL);
    while (!stage_load(&control_of(run)->go)) {
        usleep(50);
    }
}

static int reap(struct run *run, enum stage_side side, pid_t pid) {
    int status = -1;
    (void)waitpid(pid, &status, 0);
    return status == 0
               ? 0
               : stage_fail(run, side, "%.200s", run->stage->why[side][0] ? run->stage->why[side] : "it failed");
}

/* ---- two workers ---- */

/* Time runs from when both together have done the warm part, as whoever sees it first says. */
stage_inline void count_job(struct run *run, int me, uint64_t done) {
    struct control *control = control_of(run);
    __atomic_store_n(&control->worker[me].done, done, __ATOMIC_RELAXED);
    if (__builtin_expect(done % LOOK == 0, 0) && __atomic_load_n(&control->begin, __ATOMIC_RELAXED) == 0 &&
        done + __atomic_load_n(&control->worker[!me].done, __ATOMIC_RELAXED) >= run->warm) {
        int64_t none = 0;
        (void)__atomic_compare_exchange_n(&control->begin, &none, stage_now(), false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED);
    }
}

static int leave(struct run *run, int me, uint64_t sum) {
    control_of(run)->worker[me].sum = sum;
    control_of(run)->worker[me].end = stage_now();
    return 0;
}

typedef int worker(struct run *, int me);

static int run_two(struct run *run, worker *work) {
    struct control *control = control_of(run);
    unpin(run);
    pid_t pid = fork();
    if (pid < 0) {
        return stage_fail(run, STAGE_PONG, "no second worker");
    }
    if (pid == 0) {
        _exit(work(run, 1) != 0);
    }
    if (work(run, 0) || reap(run, STAGE_PONG, pid)) {
        return -1;
    }
    int64_t a = control->worker[0].end, b = control->worker[1].end;
    run->stage->end = a > b ? a : b;
    run->stage->sum[1] = control->worker[0].sum + control->worker[1].sum;
    run->stage->begin = control->begin;
    return 0;
}

static int work_thirl(struct run *run, int me) {
    thirl *end = NULL;
    const size_t size = run->size;
    struct payload target;
    size_t got = 1;
    uint64_t sum = 0, done = 0;
    if (payload_init(&target, size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (thirl_open(&end, THIRL_PULL, run->address, NULL)) {
        return end_fail(run, STAGE_PONG, "thirl_open");
    }
    if (me == 1) {
        be_ready(run);
    } else {
        await_others(run, 1);
        stage_store(&control_of(run)->go, 1);
        stage_meet(run, STAGE_PONG);
    }
    for (;;) {
        if (thirl_recv(end, target.bytes, size, &got, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_recv");
        }
        if (got == 0) { /* the end mark, one for each */
            break;
        }
        sum += payload_sum(target.bytes, size) + (size - got);
        count_job(run, me, ++done);
    }
    (void)leave(run, me, sum);
    return thirl_close(&end, THIRL_NOW) < 0 ? end_fail(run, STAGE_PONG, "thirl_close") : 0;
}

static int pong_two(struct run *run) {
    return run_two(run, work_thirl);
}

static int send_to(struct run *run, uint64_t count, unsigned marks, bool first) {
    thirl *end = NULL;
    struct payload payload;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (thirl_open(&end, THIRL_PUSH, run->address, NULL)) {
        return end_fail(run, STAGE_PING, "thirl_open");
    }
    if (first) {
        stage_meet(run, STAGE_PING);
    } else {
        be_ready(run);
    }
    for (uint64_t i = 0; i < count; i++) {
        if (thirl_send(end, payload_at(&payload, run->size, i), run->size, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_send");
        }
    }
    for (unsigned i = 0; i < marks; i++) {
        if (thirl_send(end, "", 0, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_send");
        }
    }
    if (first) {
        run->stage->sum[0] += payload_total(&payload, count);
    }
    return thirl_close(&end, THIRL_NEVER) < 0 ? end_fail(run, STAGE_PING, "thirl_close") : 0;
}

static int ping_two(struct run *run) {
    unpin(run);
    run->stage->sum[0] = 0;
    return send_to(run, run->warm + run->count, 2, true);
}

const struct work thirl_jobs = {.ping = ping_two, .pong = pong_two, .area = true};

/* ---- many senders ---- */

static int send_from(struct run *run, unsigned senders) {
    const uint64_t total = run->warm + run->count, each = total / senders;
    pid_t pid[SENDERS];
    int failed = 0;
    struct payload payload;
    unpin(run);
    for (unsigned i = 1; i < senders; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            _exit(send_to(run, each, 0, false) != 0);
        }
    }
    await_others(run, senders - 1);
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    run->stage->sum[0] = payload_total(&payload, each) * (senders - 1);
    failed = send_to(run, total - each * (senders - 1), 0, true);
    for (unsigned i = 1; i < senders; i++) {
        failed = reap(run, STAGE_PING, pid[i]) || failed;
    }
    return failed ? -1 : 0;
}

static int ping_one(struct run *run) {
    return send_from(run, 1);
}

static int ping_eight(struct run *run) {
    return send_from(run, SENDERS);
}

static int pong_one(struct run *run) {
    thirl *end = NULL;
    size_t got = 0;
    struct payload target;
    uint64_t sum = 0;
    unpin(run);
    if (payload_init(&target, run->size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (thirl_open(&end, THIRL_PULL, run->address, NULL)) {
        return end_fail(run, STAGE_PONG, "thirl_open");
    }
    stage_meet(run, STAGE_PONG);
    stage_store(&control_of(run)->go, 1);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (thirl_recv(end, target.bytes, run->size, &got, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_recv");
        }
        sum += payload_sum(target.bytes, run->size) + (run->size - got);
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return thirl_close(&end, THIRL_NOW) < 0 ? end_fail(run, STAGE_PONG, "thirl_close") : 0;
}

const struct work thirl_jobs_one = {.ping = ping_one, .pong = pong_one, .area = true};
const struct work thirl_jobs_eight = {.ping = ping_eight, .pong = pong_one, .area = true};

/* ---- the floor ---- */

struct slot {
    uint64_t turn; /* n: free for message n; n + 1: it is here */
    unsigned char bytes[];
};

static uint64_t room_of(size_t size) {
    uint64_t room = 16;
    while (room < size + sizeof(struct slot)) {
        room *= 2;
    }
    return room;
}

stage_inline struct slot *slot_at(const struct run *run, uint64_t room, uint64_t n) {
    return (struct slot *)(void *)(run->area + (n * room & (run->ring - 1)));
}

static int ping_floor(struct run *run) {
    const uint64_t room = room_of(run->size), total = run->warm + run->count;
    struct payload payload;
    unpin(run);
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    for (uint64_t n = 0; n < run->ring / room; n++) {
        slot_at(run, room, n)->turn = n;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t n = 0; n < total; n++) {
        struct slot *slot = slot_at(run, room, n);
        for (unsigned i = 0; stage_load(&slot->turn) != n; i++) { /* pairs with the worker's store */
            be_patient(i);
        }
        payload_copy(slot->bytes, payload_at(&payload, run->size, n), run->size);
        stage_store(&slot->turn, n + 1);
    }
    run->stage->sum[0] = payload_total(&payload, total);
    return 0;
}

static int work_floor(struct run *run, int me) {
    const uint64_t room = room_of(run->size), total = run->warm + run->count, slots = run->ring / room;
    uint64_t sum = 0, done = 0, n;
    if (me == 1) {
        be_ready(run);
    } else {
        await_others(run, 1);
        stage_meet(run, STAGE_PONG);
        stage_store(&control_of(run)->go, 1);
    }
    while ((n = __atomic_fetch_add(&control_of(run)->next, 1, __ATOMIC_ACQ_REL)) < total) {
        struct slot *slot = slot_at(run, room, n);
        for (unsigned i = 0; stage_load(&slot->turn) != n + 1; i++) { /* pairs with the sender's store */
            be_patient(i);
        }
        sum += payload_sum(slot->bytes, run->size);
        stage_store(&slot->turn, n + slots);
        count_job(run, me, ++done);
    }
    return leave(run, me, sum);
}

static int pong_floor(struct run *run) {
    return run_two(run, work_floor);
}

const struct work floor_jobs = {.ping = ping_floor, .pong = pong_floor, .area = true};
