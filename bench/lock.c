/* SPDX-License-Identifier: MIT
 *
 * Mutexes and read-write locks: thirl's, which any process may die with, beside glibc's plain one of one process and its robust shared one. A round trip is
 * a lock and an unlock with an addition between them: without anybody else (timed by many), and with a second process that does the same.
 */
#include <pthread.h>
#include <unistd.h>

#include <thirl/lock.h>

#include "bench/end.h"
#include "bench/floor.h"

#define PAIRS 64 /* that one sample without anybody else is made of */

struct guarded { /* in the control area */
    pthread_mutex_t theirs;
    thirl_mutex ours __attribute__((aligned(STAGE_PAIR)));
    pthread_rwlock_t their_shared __attribute__((aligned(STAGE_PAIR)));
    thirl_rwlock our_shared __attribute__((aligned(STAGE_PAIR)));
    volatile uint64_t turns __attribute__((aligned(STAGE_PAIR)));
};

enum lock { PLAIN, ROBUST, OURS, THEIR_READ, THEIR_WRITE, OUR_READ, OUR_WRITE };

/* While a process has one thread, glibc leaves out what is atomic: nobody locks there. */
static void *idle(void *nothing) {
    (void)pause();
    return nothing;
}

/* glibc's is between processes too, but outlives nobody. */
static int make_shared(struct run *run, struct guarded *guarded) {
    pthread_rwlockattr_t kind;
    if (thirl_rwlock_init(&guarded->our_shared, 0)) {
        return end_fail(run, STAGE_PING, "thirl_rwlock_init");
    }
    (void)pthread_rwlockattr_init(&kind);
    (void)pthread_rwlockattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    return pthread_rwlock_init(&guarded->their_shared, &kind) ? stage_fail(run, STAGE_PING, "pthread_rwlock_init") : 0;
}

static int make(struct run *run, struct guarded *guarded, enum lock lock) {
    pthread_mutexattr_t kind;
    pthread_t second;
    if (pthread_create(&second, NULL, idle, NULL)) {
        return stage_fail(run, STAGE_PING, "pthread_create");
    }
    if (lock > OURS) {
        return make_shared(run, guarded);
    }
    if (lock == OURS) {
        return thirl_mutex_init(&guarded->ours, 0) ? end_fail(run, STAGE_PING, "thirl_mutex_init") : 0;
    }
    (void)pthread_mutexattr_init(&kind);
    if (lock == ROBUST) {
        (void)pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
        (void)pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    }
    return pthread_mutex_init(&guarded->theirs, &kind) ? stage_fail(run, STAGE_PING, "pthread_mutex_init") : 0;
}

stage_inline int take(struct guarded *guarded, enum lock lock) {
    switch (lock) {
    case OURS:
        return thirl_mutex_lock(&guarded->ours, THIRL_NEVER);
    case THEIR_READ:
        return pthread_rwlock_rdlock(&guarded->their_shared);
    case THEIR_WRITE:
        return pthread_rwlock_wrlock(&guarded->their_shared);
    case OUR_READ:
        return thirl_rwlock_read(&guarded->our_shared, THIRL_NEVER);
    case OUR_WRITE:
        return thirl_rwlock_write(&guarded->our_shared, THIRL_NEVER);
    default:
        return pthread_mutex_lock(&guarded->theirs);
    }
}

stage_inline int give(struct guarded *guarded, enum lock lock) {
    switch (lock) {
    case OURS:
        return thirl_mutex_unlock(&guarded->ours);
    case THEIR_READ:
    case THEIR_WRITE:
        return pthread_rwlock_unlock(&guarded->their_shared);
    case OUR_READ:
    case OUR_WRITE:
        return thirl_rwlock_unlock(&guarded->our_shared);
    default:
        return pthread_mutex_unlock(&guarded->theirs);
    }
}

/* A lock, an addition, an unlock. */
stage_inline int turn(struct guarded *guarded, enum lock lock) {
    int rc = take(guarded, lock);
    guarded->turns = guarded->turns + 1;
    return rc | give(guarded, lock);
}

stage_inline int ping(struct run *run, enum lock lock, unsigned pairs) {
    struct guarded *guarded = (struct guarded *)(void *)run->control;
    if (make(run, guarded, lock)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        uint64_t began = stage_tick();
        int rc = 0;
        for (unsigned p = 0; p < pairs; p++) {
            rc |= turn(guarded, lock);
        }
        uint64_t took = stage_tick() - began;
        if (rc) {
            return stage_fail(run, STAGE_PING, "a lock failed");
        }
        if (i >= run->warm) {
            stage_keep(run->stage, i - run->warm, took / pairs);
        }
    }
    run->stage->samples = run->count < STAGE_SAMPLES ? run->count : STAGE_SAMPLES;
    return 0;
}

/* The last of the two finds all turns. */
stage_inline int pong(struct run *run, enum lock lock, unsigned pairs, bool takes_part) {
    struct guarded *guarded = (struct guarded *)(void *)run->control;
    const uint64_t rounds = run->warm + run->count;
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; takes_part && i < rounds; i++) {
        if (turn(guarded, lock)) {
            return stage_fail(run, STAGE_PONG, "a lock failed");
        }
    }
    while (stage_load(&guarded->turns) < rounds * pairs + (takes_part ? rounds : 0)) {
        (void)usleep(1000);
    }
    return stage_load(&guarded->turns) == rounds * pairs + (takes_part ? rounds : 0)
               ? 0
               : stage_fail(run, STAGE_PONG, "two had the mutex at once");
}

#define ALONE(name, lock)                                                                                              \
    static int name##_ping(struct run *run) {                                                                          \
        return ping(run, lock, PAIRS);                                                                                 \
    }                                                                                                                  \
    static int name##_pong(struct run *run) {                                                                          \
        return pong(run, lock, PAIRS, false);                                                                          \
    }                                                                                                                  \
    const struct work name = {.ping = name##_ping, .pong = name##_pong, .area = true};
ALONE(floor_mutex_plain, PLAIN)
ALONE(floor_mutex_robust, ROBUST)
ALONE(thirl_mutex_alone, OURS)
ALONE(floor_rwlock_read, THEIR_READ)
ALONE(floor_rwlock_write, THEIR_WRITE)
ALONE(thirl_rwlock_read_alone, OUR_READ)
ALONE(thirl_rwlock_write_alone, OUR_WRITE)

#define CONTENDED(name, lock)                                                                                          \
    static int name##_ping(struct run *run) {                                                                          \
        return ping(run, lock, 1);                                                                                     \
    }                                                                                                                  \
    static int name##_pong(struct run *run) {                                                                          \
        return pong(run, lock, 1, true);                                                                               \
    }                                                                                                                  \
    const struct work name = {.ping = name##_ping, .pong = name##_pong, .area = true};
CONTENDED(floor_mutex_contended, ROBUST)
CONTENDED(thirl_mutex_contended, OURS)
CONTENDED(floor_rwlock_contended, THEIR_WRITE)
CONTENDED(thirl_rwlock_contended, OUR_WRITE)
