/* SPDX-License-Identifier: MIT
 *
 * Those of Boost.Interprocess. Nobody is told of a death by them, and their owner's death is none to them.
 */
#include <new>

#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>

#include "tests/peer/rivals.h"

namespace {

namespace ipc = boost::interprocess;

struct pair {
    ipc::interprocess_mutex mutex;
    ipc::interprocess_condition cond;
};

using held = ipc::scoped_lock<ipc::interprocess_mutex>;

pair *of(void *memory) {
    return static_cast<pair *>(memory);
}

int mutex_make(void *memory) {
    new (memory) pair;
    return 0;
}

int mutex_take(void *memory) {
    of(memory)->mutex.lock();
    return 0;
}

int mutex_attempt(void *memory) {
    return of(memory)->mutex.try_lock() ? 0 : -1;
}

int mutex_give(void *memory) {
    of(memory)->mutex.unlock();
    return 0;
}

int cond_wait(void *memory) {
    held lock(of(memory)->mutex, ipc::accept_ownership);
    of(memory)->cond.wait(lock);
    lock.release();
    return 0;
}

int cond_wake(void *memory, bool all) {
    all ? of(memory)->cond.notify_all() : of(memory)->cond.notify_one();
    return 0;
}

ipc::interprocess_semaphore *count(void *memory) {
    return static_cast<ipc::interprocess_semaphore *>(memory);
}

int sem_make(void *memory) {
    new (memory) ipc::interprocess_semaphore(FRAY_PERMITS);
    return 0;
}

int sem_take(void *memory) {
    count(memory)->wait();
    return 0;
}

int sem_attempt(void *memory) {
    return count(memory)->try_wait() ? 0 : -1;
}

int sem_give(void *memory) {
    count(memory)->post();
    return 0;
}

} // namespace

extern "C" const rival rivals_boost[] = {
    {"Boost.Interprocess mutex", FRAY_LOCK, sizeof(pair), mutex_make, nullptr, mutex_take, mutex_attempt, nullptr,
     mutex_give, nullptr, nullptr},
    {"Boost.Interprocess condition", FRAY_CONDITION, sizeof(pair), mutex_make, nullptr, mutex_take, mutex_attempt,
     nullptr, mutex_give, cond_wait, cond_wake},
    {"Boost.Interprocess semaphore", FRAY_COUNT, sizeof(ipc::interprocess_semaphore), sem_make, nullptr, sem_take,
     sem_attempt, nullptr, sem_give, nullptr, nullptr},
    {nullptr, FRAY_LOCK, 0, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr},
};
