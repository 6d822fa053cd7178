/* SPDX-License-Identifier: MIT
 *
 * Those of the C library and of the kernel, as well as they can be used: mutexes that are robust, semaphores that are undone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include "tests/peer/rivals.h"

struct pair {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static int answer(int error) {
    return error == EOWNERDEAD ? FRAY_TOLD : -error;
}

static int mutex_make(void *pair) {
    struct pair *p = pair;
    pthread_mutexattr_t mutex;
    pthread_condattr_t cond;
    if (pthread_mutexattr_init(&mutex) != 0 || pthread_condattr_init(&cond) != 0) {
        return -1;
    }
    (void)pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    (void)pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
    int error = pthread_mutex_init(&p->mutex, &mutex);
    return error != 0 ? error : pthread_cond_init(&p->cond, &cond);
}

static int mutex_take(void *pair) {
    return answer(pthread_mutex_lock(&((struct pair *)pair)->mutex));
}

static int mutex_attempt(void *pair) {
    return answer(pthread_mutex_trylock(&((struct pair *)pair)->mutex));
}

static int mutex_mend(void *pair) {
    return pthread_mutex_consistent(&((struct pair *)pair)->mutex);
}

static int mutex_give(void *pair) {
    return pthread_mutex_unlock(&((struct pair *)pair)->mutex);
}

static int cond_wait(void *pair) {
    struct pair *p = pair;
    return answer(pthread_cond_wait(&p->cond, &p->mutex));
}

static int cond_wake(void *pair, bool all) {
    struct pair *p = pair;
    return all ? pthread_cond_broadcast(&p->cond) : pthread_cond_signal(&p->cond);
}

static int posix_make(void *sem) {
    return sem_init(sem, 1, FRAY_PERMITS);
}

static int posix_take(void *sem) {
    return sem_wait(sem);
}

static int posix_attempt(void *sem) {
    return sem_trywait(sem);
}

static int posix_give(void *sem) {
    return sem_post(sem);
}

static int sysv_change(const int *id, short by, short flags) {
    struct sembuf change = {0, by, (short)(SEM_UNDO | flags)};
    return semop(*id, &change, 1);
}

static int sysv_make(void *id) {
    int *set = id;
    *set = semget(IPC_PRIVATE, 1, 0600);
    return *set < 0 ? -1 : semctl(*set, 0, SETVAL, FRAY_PERMITS);
}

static void sysv_end(void *id) {
    (void)semctl(*(int *)id, 0, IPC_RMID);
}

static int sysv_take(void *id) {
    return sysv_change(id, -1, 0);
}

static int sysv_attempt(void *id) {
    return sysv_change(id, -1, IPC_NOWAIT);
}

static int sysv_give(void *id) {
    return sysv_change(id, 1, 0);
}

const struct rival rivals_libc[] = {
    {"glibc robust mutex", FRAY_LOCK, sizeof(struct pair), mutex_make, NULL, mutex_take, mutex_attempt, mutex_mend,
     mutex_give, NULL, NULL},
    {"glibc condition variable, its mutex robust", FRAY_CONDITION, sizeof(struct pair), mutex_make, NULL, mutex_take,
     mutex_attempt, mutex_mend, mutex_give, cond_wait, cond_wake},
    {"POSIX semaphore", FRAY_COUNT, sizeof(sem_t), posix_make, NULL, posix_take, posix_attempt, NULL, posix_give, NULL,
     NULL},
    {"System V semaphore, SEM_UNDO", FRAY_COUNT, sizeof(int), sysv_make, sysv_end, sysv_take, sysv_attempt, NULL,
     sysv_give, NULL, NULL},
    {.name = NULL},
};
