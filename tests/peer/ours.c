/* SPDX-License-Identifier: MIT
 *
 * thirl's own.
 */
#include <errno.h>

#include "include/thirl/lock.h"
#include "tests/peer/rivals.h"

struct pair {
    thirl_mutex mutex;
    thirl_cond cond;
};

static int answer(int rc) {
    return rc == THIRL_OWNER_DIED ? FRAY_TOLD : rc;
}

static int mutex_make(void *pair) {
    struct pair *p = pair;
    int rc = thirl_mutex_init(&p->mutex, 0);
    return rc != 0 ? rc : thirl_cond_init(&p->cond, 0);
}

static int mutex_take(void *pair) {
    return answer(thirl_mutex_lock(&((struct pair *)pair)->mutex, THIRL_NEVER));
}

static int mutex_attempt(void *pair) {
    return answer(thirl_mutex_lock(&((struct pair *)pair)->mutex, THIRL_NOW));
}

static int mutex_mend(void *pair) {
    return thirl_mutex_mend(&((struct pair *)pair)->mutex);
}

static int mutex_give(void *pair) {
    return thirl_mutex_unlock(&((struct pair *)pair)->mutex);
}

static int cond_wait(void *pair) {
    struct pair *p = pair;
    return answer(thirl_cond_wait(&p->cond, &p->mutex, THIRL_NEVER));
}

static int cond_wake(void *pair, bool all) {
    struct pair *p = pair;
    return all ? thirl_cond_broadcast(&p->cond) : thirl_cond_signal(&p->cond);
}

static int sem_make(void *sem) {
    return thirl_sem_init(sem, FRAY_PERMITS, 0);
}

static int sem_take(void *sem) {
    return answer(thirl_sem_wait(sem, THIRL_NEVER));
}

static int sem_attempt(void *sem) {
    return answer(thirl_sem_wait(sem, THIRL_NOW));
}

static int sem_give(void *sem) {
    return thirl_sem_post(sem);
}

const struct rival rivals_ours[] = {
    {"thirl_mutex", FRAY_LOCK, sizeof(struct pair), mutex_make, NULL, mutex_take, mutex_attempt, mutex_mend, mutex_give,
     NULL, NULL},
    {"thirl_cond", FRAY_CONDITION, sizeof(struct pair), mutex_make, NULL, mutex_take, mutex_attempt, mutex_mend,
     mutex_give, cond_wait, cond_wake},
    {"thirl_sem", FRAY_COUNT, sizeof(thirl_sem), sem_make, NULL, sem_take, sem_attempt, NULL, sem_give, NULL, NULL},
    {.name = NULL},
};
