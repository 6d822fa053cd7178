/* SPDX-License-Identifier: MIT
 *
 * Condition variables: a turn that two processes pass there and back, each waiting for the other: thirl's, which any process may die
 * with, beside glibc's shared one with its robust mutex, which hangs some day when a waiter is killed.
 */
#include <pthread.h>

#include <thirl/lock.h>

#include "bench/end.h"
#include "bench/floor.h"

struct turns { /* in the control area */
    pthread_mutex_t their_mutex;
    pthread_cond_t their_cond;
    thirl_mutex mutex __attribute__((aligned(STAGE_PAIR)));
    thirl_cond cond;
    volatile uint64_t at __attribute__((aligned(STAGE_PAIR))); /* even: ping's turn */
};

static int make(struct run *run, struct turns *turns) {
    pthread_mutexattr_t mutex;
    pthread_condattr_t cond;
    (void)pthread_mutexattr_init(&mutex);
    (void)pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    (void)pthread_condattr_init(&cond);
    (void)pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
    if (pthread_mutex_init(&turns->their_mutex, &mutex) || pthread_cond_init(&turns->their_cond, &cond)) {
        return stage_fail(run, STAGE_PING, "pthread_cond_init");
    }
    return thirl_mutex_init(&turns->mutex, 0) || thirl_cond_init(&turns->cond, 0)
               ? end_fail(run, STAGE_PING, "thirl_cond_init")
               : 0;
}

/* Waits for its turn, and passes it on. */
stage_inline int pass(struct turns *turns, bool ours, uint64_t side) {
    int rc = ours ? thirl_mutex_lock(&turns->mutex, THIRL_NEVER) : pthread_mutex_lock(&turns->their_mutex);
    while (!rc && turns->at % 2 != side) {
        rc = ours ? thirl_cond_wait(&turns->cond, &turns->mutex, THIRL_NEVER)
                  : pthread_cond_wait(&turns->their_cond, &turns->their_mutex);
    }
    turns->at = turns->at + 1;
    rc |= ours ? thirl_mutex_unlock(&turns->mutex) : pthread_mutex_unlock(&turns->their_mutex);
    return rc | (ours ? thirl_cond_signal(&turns->cond) : pthread_cond_signal(&turns->their_cond));
}

stage_inline int ping(struct run *run, bool ours) {
    struct turns *turns = (struct turns *)(void *)run->control;
    if (make(run, turns)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    uint64_t began = stage_tick();
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (pass(turns, ours, 0)) {
            return stage_fail(run, STAGE_PING, "a turn failed");
        }
        uint64_t now = stage_tick();
        if (i >= run->warm) {
            stage_keep(run->stage, i - run->warm, now - began);
        }
        began = now;
    }
    run->stage->samples = run->count < STAGE_SAMPLES ? run->count : STAGE_SAMPLES;
    return 0;
}

stage_inline int pong(struct run *run, bool ours) {
    struct turns *turns = (struct turns *)(void *)run->control;
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (pass(turns, ours, 1)) {
            return stage_fail(run, STAGE_PONG, "a turn failed");
        }
    }
    return 0;
}

#define ROUND(name, ours)                                                                                              \
    static int name##_ping(struct run *run) {                                                                          \
        return ping(run, ours);                                                                                        \
    }                                                                                                                  \
    static int name##_pong(struct run *run) {                                                                          \
        return pong(run, ours);                                                                                        \
    }                                                                                                                  \
    const struct work name = {.ping = name##_ping, .pong = name##_pong, .area = true};
ROUND(floor_cond_round, false)
ROUND(thirl_cond_round, true)
