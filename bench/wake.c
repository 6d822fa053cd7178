/* SPDX-License-Identifier: MIT
 *
 * Wake-ups by the clock: every millisecond one process lets the other go on, which sleeps meanwhile and looks at the time when it runs.
 * Memory is locked, both are first in line, each on its processor.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <thirl/lock.h>
#include <thirl/realtime.h>

#include "bench/end.h"
#include "bench/wake.h"

#define PERIOD 1000000 /* ns */
#define NAP 20000      /* ns: between looks that are not measured */
#define WAKES 300      /* in a round; a tenth of that before */
#define PRIORITY 80
#define BUCKETS 24 /* of powers of two of a microsecond */

struct shared { /* in the control area */
    uint32_t word;
    int64_t at __attribute__((aligned(STAGE_PAIR))); /* when it was let go */
    uint64_t phase, done;
    thirl_mutex mutex __attribute__((aligned(STAGE_PAIR)));
};

static void sleep_until(int64_t ns) {
    const struct timespec then = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR) continue;
}

static void await(const uint64_t *word, uint64_t value) {
    while (stage_load(word) != value) sleep_until(stage_now() + NAP);
}

static int be_on_time(struct thirl_realtime_report *report) {
    const struct thirl_realtime_options wish = {
        .size = sizeof wish, .memory = 1, .stack = 65536, .policy = SCHED_FIFO, .priority = PRIORITY};
    return thirl_realtime(&wish, report);
}

/* What could not be had is told once, by the parent. Who is first sleeps: to spin first in line would keep the other from getting there. */
static int begin(struct run *run, enum stage_side side) {
    if (be_on_time(NULL) < 0) {
        return end_fail(run, side, "thirl_realtime");
    }
    stage_store(&run->stage->ready[side], 1);
    while (!stage_load(&run->stage->ready[!side])) { /* pairs with the store above, in the other process */
        sleep_until(stage_now() + NAP);
    }
    return 0;
}

/* Those of the warm-up are written over. */
static void keep(struct run *run, uint64_t wake, int64_t since) {
    int64_t took = stage_now() - since;
    uint64_t index = wake < run->warm ? 0 : wake - run->warm;
    run->stage->sample[index] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    run->stage->samples = index + 1;
}

/* ---- a bare futex ---- */

static int ping_bare(struct run *run) {
    struct shared *shared = (struct shared *)(void *)run->control;
    if (begin(run, STAGE_PING)) {
        return -1;
    }
    int64_t next = stage_now();
    for (uint64_t i = 1; i <= run->warm + run->count; i++) {
        sleep_until(next += PERIOD);
        shared->at = stage_now();
        stage_store(&shared->word, (uint32_t)i); /* pairs with the load below */
        syscall(SYS_futex, &shared->word, FUTEX_WAKE, 1, NULL, NULL, 0);
        await(&shared->done, i);
    }
    return 0;
}

static int pong_bare(struct run *run) {
    struct shared *shared = (struct shared *)(void *)run->control;
    if (begin(run, STAGE_PONG)) {
        return -1;
    }
    for (uint64_t i = 1; i <= run->warm + run->count; i++) {
        while (stage_load(&shared->word) != (uint32_t)i) {
            syscall(SYS_futex, &shared->word, FUTEX_WAIT, (uint32_t)(i - 1), NULL, NULL, 0);
        }
        keep(run, i - 1, shared->at);
        stage_store(&shared->done, i);
    }
    return 0;
}

static const struct work bare = {.ping = ping_bare, .pong = pong_bare, .area = true};

/* ---- a message ---- */

static int ping_message(struct run *run) {
    struct ends ends;
    if (end_open(run, STAGE_PING, &ends) || begin(run, STAGE_PING)) {
        return -1;
    }
    int64_t next = stage_now();
    for (uint64_t i = 1; i <= run->warm + run->count; i++) {
        sleep_until(next += PERIOD);
        int64_t now = stage_now();
        if (thirl_send(ends.out, &now, sizeof now, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_send");
        }
    }
    return end_close(run, STAGE_PING, &ends);
}

static int pong_message(struct run *run) {
    struct ends ends;
    if (end_open(run, STAGE_PONG, &ends) || begin(run, STAGE_PONG)) {
        return -1;
    }
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        int64_t since = 0;
        size_t got;
        if (thirl_recv(ends.in, &since, sizeof since, &got, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_recv");
        }
        keep(run, i, since);
    }
    return end_close(run, STAGE_PONG, &ends);
}

static const struct work message = {.ping = ping_message, .pong = pong_message};

/* ---- a mutex ---- */

/* Has it while the other one comes and sleeps. */
static int ping_mutex(struct run *run) {
    struct shared *shared = (struct shared *)(void *)run->control;
    if (thirl_mutex_init(&shared->mutex, 0)) {
        return end_fail(run, STAGE_PING, "thirl_mutex_init");
    }
    if (begin(run, STAGE_PING)) {
        return -1;
    }
    int64_t next = stage_now();
    for (uint64_t i = 1; i <= run->warm + run->count; i++) {
        if (thirl_mutex_lock(&shared->mutex, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_mutex_lock");
        }
        stage_store(&shared->phase, i); /* pairs with the load in await */
        sleep_until(next += PERIOD);
        shared->at = stage_now();
        if (thirl_mutex_unlock(&shared->mutex)) {
            return end_fail(run, STAGE_PING, "thirl_mutex_unlock");
        }
        await(&shared->done, i);
    }
    return 0;
}

static int pong_mutex(struct run *run) {
    struct shared *shared = (struct shared *)(void *)run->control;
    if (begin(run, STAGE_PONG)) {
        return -1;
    }
    for (uint64_t i = 1; i <= run->warm + run->count; i++) {
        await(&shared->phase, i);
        if (thirl_mutex_lock(&shared->mutex, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_mutex_lock");
        }
        keep(run, i - 1, shared->at);
        if (thirl_mutex_unlock(&shared->mutex)) {
            return end_fail(run, STAGE_PONG, "thirl_mutex_unlock");
        }
        stage_store(&shared->done, i);
    }
    return 0;
}

static const struct work mutex = {.ping = ping_mutex, .pong = pong_mutex, .area = true};

/* ---- what is shown ---- */

static struct variant {
    const char *name, *column;
    const struct work *work;
    uint32_t *took; /* ns */
    size_t count, bucket[BUCKETS];
} variants[] = {{.name = "bare futex", .column = "bare futex", .work = &bare},
                {.name = "thirl receive", .column = "receive", .work = &message},
                {.name = "thirl mutex", .column = "mutex", .work = &mutex}};
#define VARIANTS (sizeof variants / sizeof *variants)

static int compare(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

/* In a child, so that the bench itself stays as it is. */
static void tell_what_is_had(void) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct thirl_realtime_report report = {.size = sizeof report};
        int rc = be_on_time(&report);
        printf("memory %s, priority %d of SCHED_FIFO %s\n",
               report.had & THIRL_REALTIME_MEMORY ? "locked" : "not locked", PRIORITY,
               report.had & THIRL_REALTIME_SCHEDULING ? "had" : "not had");
        for (size_t i = 0; rc != 0 && i < THIRL_REALTIME_PARTS; i++) {
            printf("%s%s", report.why[i], *report.why[i] ? "\n" : "");
        }
        fflush(stdout);
        _exit(0);
    }
    if (child > 0) {
        (void)waitpid(child, NULL, 0);
    }
}

static unsigned bucket_of(uint32_t ns) {
    unsigned bucket = 0;
    for (uint32_t us = ns / 1000; us != 0 && bucket < BUCKETS - 1; us /= 2) bucket++;
    return bucket;
}

static void print_percentiles(void) {
    static const double parts[] = {0.5, 0.9, 0.99, 0.999, 1};
    printf("%-14s %9s %9s %9s %9s %9s %9s\n", "us", "p50", "p90", "p99", "p99.9", "max", "wakes");
    for (size_t v = 0; v < VARIANTS; v++) {
        struct variant *variant = &variants[v];
        qsort(variant->took, variant->count, sizeof *variant->took, compare);
        printf("%-14s", variant->name);
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            size_t at = (size_t)(parts[i] * (double)variant->count);
            printf(" %9.1f", variant->took[at < variant->count ? at : variant->count - 1] / 1e3);
        }
        printf(" %9zu\n", variant->count);
    }
}

static void print_buckets(void) {
    size_t all[BUCKETS] = {0};
    unsigned first = 0, last = BUCKETS - 1;
    for (size_t v = 0; v < VARIANTS; v++) {
        for (size_t i = 0; i < variants[v].count; i++) {
            variants[v].bucket[bucket_of(variants[v].took[i])]++;
            all[bucket_of(variants[v].took[i])]++;
        }
    }
    while (first < last && all[first] == 0) first++;
    while (last > first && all[last] == 0) last--;
    printf("\n%-14s", "us, from");
    for (size_t v = 0; v < VARIANTS; v++) printf(" %12s", variants[v].column);
    for (unsigned b = first; b <= last; b++) {
        printf("\n%-14lu", b == 0 ? 0 : 1ul << (b - 1));
        for (size_t v = 0; v < VARIANTS; v++) printf(" %12zu", variants[v].bucket[b]);
    }
    printf("\n");
}

static int measure(struct variant *variant, int round, uint64_t count) {
    struct run run = {.size = 8, .ring = 4096, .warm = count / 10, .count = count};
    const struct stage *stage;
    const char *why;
    char address[96];
    snprintf(address, sizeof address, "shm://thirl-bench-%d-%d?wait=sleep&queue=64K&pool=1M", (int)getpid(), round);
    run.address = address;
    (void)stage_cpus(run.cpu);
    if (stage_run(variant->work, &run, &stage, &why)) {
        fprintf(stderr, "thirl-bench: %s: %s\n", variant->name, why);
        return -1;
    }
    memcpy(variant->took + variant->count, stage->sample, stage->samples * sizeof *variant->took);
    variant->count += stage->samples;
    return 0;
}

int wake_show(int rounds, bool quick) {
    const uint64_t wakes = quick ? WAKES / 3 : WAKES;
    int result = 0;
    for (size_t v = 0; v < VARIANTS && result == 0; v++) {
        variants[v].took = malloc((size_t)rounds * wakes * sizeof *variants[v].took);
        result = variants[v].took ? 0 : -1;
    }
    if (result) {
        fprintf(stderr, "thirl-bench: no memory for the samples\n");
    } else {
        printf("wake-ups of a process that sleeps, one in a millisecond, %d rounds in turns\n", rounds);
        tell_what_is_had();
    }
    for (int round = 0; round < rounds && result == 0; round++) {
        for (size_t v = 0; v < VARIANTS && result == 0; v++) {
            result = measure(&variants[v], round, wakes);
        }
    }
    if (result == 0) {
        print_percentiles();
        print_buckets();
    }
    for (size_t v = 0; v < VARIANTS; v++) free(variants[v].took);
    return result;
}
