/* SPDX-License-Identifier: MIT
 *
 * The calling thread and its process.
 */
#define _GNU_SOURCE
#include "sync/party.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"

_Thread_local struct party party_own;

/* For threads beyond those that have a slip in the file of their process: nobody sees it, and so nothing can be listed in it. */
static _Thread_local struct slip unseen;

static struct {
    pthread_mutex_t lock;
    struct party_host host;
    uint32_t epoch; /* of the process that host is of */
    uint32_t numbers;
    bool refused;             /* there is no room for pairs */
    struct slip_pairs *pairs; /* released when they are there */
    pthread_key_t key;
    bool watched;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void before_fork(void) {
    (void)pthread_mutex_lock(&all.lock);
}

static void after_fork(void) {
    (void)pthread_mutex_unlock(&all.lock);
}

/* A thread ends. What it still holds stays listed: it is held by nobody who could let go, and that is worth seeing. */
static void thread_ends(void *own) {
    struct party *me = own;
    if (me->epoch == proc_epoch() && me->slip != &unseen && atomic_peek(&me->slip->held) == 0) {
        all.host.give(me->slip);
    }
    me->epoch = 0;
}

static int join_process(uint32_t epoch) {
    if (all.epoch == epoch) {
        return 0;
    }
    int rc = party_lodge(&all.host);
    /* Not before: what is registered last is locked first when somebody forks, and joining takes the registry's lock second. */
    if (rc == 0 && !all.watched) {
        all.watched =
            pthread_key_create(&all.key, thread_ends) == 0 && pthread_atfork(before_fork, after_fork, after_fork) == 0;
    }
    if (rc == 0) {
        all.refused = false;
        atomic_store(&all.pairs, NULL);
        all.epoch = epoch;
        all.numbers = (uint32_t)(all.host.id >> 16) * UINT32_C(0x9e3779b1);
    }
    return rc;
}

int party_join(void) {
    if (party_me() != NULL) {
        return 0;
    }
    uint32_t epoch = proc_begin();
    if (epoch == 0) {
        return -ENOMEM;
    }
    (void)pthread_mutex_lock(&all.lock);
    int rc = join_process(epoch);
    if (rc == 0) {
        struct slip *slip = all.host.take();
        if (slip == NULL) {
            memset(&unseen, 0, sizeof unseen);
            unseen.held = SLIP_HOLDS;
            slip = &unseen;
        }
        all.numbers += all.numbers + 1 == 0 ? 2 : 1;
        atomic_poke(&slip->number, all.numbers);
        atomic_store(&slip->thread, (int32_t)syscall(SYS_gettid));
        party_own = (struct party){
            .id = all.host.id, .number = all.numbers, .slip = slip, .epoch = epoch, .fences = futex_fence_join()};
        if (all.watched) { /* else the key may be somebody else's */
            (void)pthread_setspecific(all.key, &party_own);
        }
    }
    (void)pthread_mutex_unlock(&all.lock);
    return rc;
}

const struct party_host *party_host(void) {
    return &all.host;
}

struct slip_pairs *party_pairs(void) {
    struct slip_pairs *pairs = atomic_load(&all.pairs); /* pairs with the release below */
    if (likely(pairs != NULL) || atomic_peek(&all.refused)) {
        return pairs;
    }
    (void)pthread_mutex_lock(&all.lock);
    if (all.pairs == NULL && !all.refused) {
        atomic_store(&all.pairs, all.host.pairs());
        atomic_poke(&all.refused, all.pairs == NULL);
    }
    pairs = all.pairs;
    (void)pthread_mutex_unlock(&all.lock);
    return pairs;
}

bool party_alive(uint64_t id) {
    return id == all.host.id || all.host.alive(id);
}

uint64_t party_tag(enum slip_kind kind) {
    uint64_t tag = 0;
    if (getrandom(&tag, sizeof tag, GRND_NONBLOCK) != sizeof tag) {
        tag = ((uint64_t)clock_now() * UINT64_C(0x9e3779b97f4a7c15)) ^ ((uint64_t)getpid() << 32);
    }
    return (tag << 4 | (uint64_t)kind) | UINT64_C(1) << 63;
}
