/* SPDX-License-Identifier: MIT
 *
 * Locks in shared memory that survive the death of any holder and any waiter, in any process.
 *
 * Each is a struct that lives in memory which all its users share, in a struct of their own; or it has a name, and needs no memory of
 * theirs (thirl_lock_open). It holds no pointer, may be mapped anywhere, and works between PID namespaces that share one registry
 * directory ($THIRL_DIR).
 * Processes of one host, 32-bit and 64-bit ones alike. Memory of zeros is no lock yet (-EINVAL), but a thirl_once.
 *
 * Every function may be called from any thread. Deadlines are absolute: THIRL_NOW tries, THIRL_NEVER waits as long as it takes,
 * THIRL_SOON is 30 seconds. A death is noticed within 50 milliseconds of the kernel's knowing; a process that is only stopped is not dead.
 *
 * Common errors: -EAGAIN (THIRL_NOW) and -ETIMEDOUT without it; -EINVAL no lock of that kind; -ENOTRECOVERABLE given up by
 * thirl_*_condemn; whatever joining the registry gives (the first call of each thread may do that).
 */
#ifndef THIRL_LOCK_H
#define THIRL_LOCK_H

#include <thirl/thirl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A positive answer of whatever takes a lock: it is taken, but its last holder died with it, so what it guards may be half done. Look at
 * that, repair it and say so (mend); or let go without a word, and the next one is told; or give it up for all (condemn). */
#define THIRL_OWNER_DIED 16

/* What a lock is made of lies alike in 32-bit and 64-bit programs, also inside structs of theirs. */
#define THIRL_EIGHT __attribute__((aligned(8)))

/* For init, or-ed. */
enum thirl_lock_flags {
    THIRL_LOCK_RECURSIVE = 1, /* its holder may take it again, and lets go as often */
    THIRL_LOCK_INHERIT =
        2, /* whoever holds it runs with the priority of the most urgent that waits; one PID namespace */
    THIRL_LOCK_DEADLOCK =
        4, /* one of those who wait for each other in a circle gets -EDEADLK, with the circle as a sentence */
    THIRL_LOCK_COUNTING = 16,  /* a semaphore that only counts: nobody holds a permit */
    THIRL_LOCK_AUTOMATIC = 32, /* an event that lets one pass, and is reset by that */
};

/* ---- mutex ------------------------------------------------------------------------------------------------------- */

typedef struct thirl_mutex {
    uint64_t thirl_own[8] THIRL_EIGHT;
} thirl_mutex;

/* Makes a mutex of memory that nobody uses yet. Flags: RECURSIVE, INHERIT, DEADLOCK. */
THIRL_API THIRL_CHECK int thirl_mutex_init(thirl_mutex *mutex, uint32_t flags);

/* Ends it. -EBUSY: a living process holds it. */
THIRL_API int thirl_mutex_deinit(thirl_mutex *mutex);

/* Takes it; pairs with thirl_mutex_unlock by the same thread. 0, THIRL_OWNER_DIED (taken), or an error without it: -EDEADLK this thread
 * has it already, or waits in a circle (THIRL_LOCK_DEADLOCK). -EXDEV: THIRL_LOCK_INHERIT from another PID namespace. */
THIRL_API THIRL_CHECK int thirl_mutex_lock(thirl_mutex *mutex, thirl_time until);

/* Lets go. -EPERM: this thread does not hold it. */
THIRL_API int thirl_mutex_unlock(thirl_mutex *mutex);

/* Its holder says that all is well again, after THIRL_OWNER_DIED. -EPERM: not the holder. */
THIRL_API int thirl_mutex_mend(thirl_mutex *mutex);

/* Its holder gives it up, and lets go: from now on everybody gets -ENOTRECOVERABLE, until it is made anew. */
THIRL_API int thirl_mutex_condemn(thirl_mutex *mutex);

/* ---- read-write lock --------------------------------------------------------------------------------------------- */

/* Any number read at once, or one writes. Once one is about to write, those who come later wait until it has written. */
typedef struct thirl_rwlock {
    uint64_t thirl_own[8] THIRL_EIGHT;
} thirl_rwlock;

/* Makes one of memory that nobody uses yet. Flags: DEADLOCK. */
THIRL_API THIRL_CHECK int thirl_rwlock_init(thirl_rwlock *lock, uint32_t flags);

/* Ends it. -EBUSY: a living process holds it. */
THIRL_API int thirl_rwlock_deinit(thirl_rwlock *lock);

/* Takes it for reading; pairs with thirl_rwlock_unlock by the same thread, which may take it for reading again meanwhile. 0;
 * THIRL_OWNER_DIED: taken, but one who wrote died with it, and nobody has mended that yet: each reader is told. -EDEADLK: this thread
 * writes, or waits in a circle (THIRL_LOCK_DEADLOCK). -ENOLCK: this thread holds too many locks (16) for this one to be listed, from where
 * a dead reader's share comes back. */
THIRL_API THIRL_CHECK int thirl_rwlock_read(thirl_rwlock *lock, thirl_time until);

/* Takes it for writing; pairs with thirl_rwlock_unlock by the same thread. 0, THIRL_OWNER_DIED (taken), or an error without it:
 * -EDEADLK this thread has it already, for writing or for reading, or waits in a circle. Readers that died are found after 50 milliseconds;
 * looking for them allocates. */
THIRL_API THIRL_CHECK int thirl_rwlock_write(thirl_rwlock *lock, thirl_time until);

/* Lets go. -EPERM: this thread does not hold it. */
THIRL_API int thirl_rwlock_unlock(thirl_rwlock *lock);

/* As thirl_mutex_mend and thirl_mutex_condemn, by who writes. -EPERM: this thread does not. */
THIRL_API int thirl_rwlock_mend(thirl_rwlock *lock);
THIRL_API int thirl_rwlock_condemn(thirl_rwlock *lock);

/* ---- condition variable ------------------------------------------------------------------------------------------ */

/* Whoever has a mutex waits here until what the mutex guards may have become what he waits for. */
typedef struct thirl_cond {
    uint64_t thirl_own[8] THIRL_EIGHT;
} thirl_cond;

/* Makes one of memory that nobody uses yet. No flags so far: 0. */
THIRL_API THIRL_CHECK int thirl_cond_init(thirl_cond *cond, uint32_t flags);

/* Ends it. -EBUSY: a thread that lives waits. */
THIRL_API int thirl_cond_deinit(thirl_cond *cond);

/* Lets go of the mutex, waits, and takes it again, without a limit on that. The calling thread holds the mutex, and all who wait at
 * once name the same one. With the mutex held again: 0, look whether it is so by now, and wait again if not; THIRL_OWNER_DIED, likewise,
 * and as thirl_mutex_lock has it: the mutex's last holder died, whoever signalled; -EAGAIN (THIRL_NOW) and -ETIMEDOUT. Without the mutex:
 * -ENOTRECOVERABLE, or -EDEADLK (a circle, THIRL_LOCK_DEADLOCK) from taking it. Nothing was done: -EPERM this thread does not hold the
 * mutex; -EBUSY it has taken it more than once. -EINVAL: no condition variable, or it was ended meanwhile; the mutex is held. */
THIRL_API THIRL_CHECK int thirl_cond_wait(thirl_cond *cond, thirl_mutex *mutex, thirl_time until);

/* Wakes one who waits, or all; with the mutex held or without. Costs a load when nobody waits. A wake-up goes to somebody who lives:
 * if whoever had it dies before it has the mutex, another one gets it within 100 milliseconds; if it dies with the mutex, all wake. */
THIRL_API int thirl_cond_signal(thirl_cond *cond);
THIRL_API int thirl_cond_broadcast(thirl_cond *cond);

/* ---- semaphore --------------------------------------------------------------------------------------------------- */

typedef struct thirl_sem {
    uint64_t thirl_own[64] THIRL_EIGHT;
} thirl_sem;

#define THIRL_SEM_PERMITS_MAX 56        /* permits that come back */
#define THIRL_SEM_COUNT_MAX 0x40000000u /* with COUNTING */

/* Makes a semaphore of memory that nobody uses yet, with so many permits. Flags: 0, DEADLOCK, or COUNTING.
 *
 * 0, DEADLOCK: there are as many permits for ever, one at least. A process that takes one holds it until any of its threads gives it back; when it
 * dies, its permits come back by themselves.
 * COUNTING: nobody holds anything. Whoever waits takes one away, anybody posts one. A process that dies gives back nothing, and loses
 * nothing that it had not taken yet. */
THIRL_API THIRL_CHECK int thirl_sem_init(thirl_sem *sem, uint32_t permits, uint32_t flags);

/* Ends it. -EBUSY: a living process holds a permit. */
THIRL_API int thirl_sem_deinit(thirl_sem *sem);

/* Takes a permit; pairs with thirl_sem_post. 0; THIRL_OWNER_DIED: taken, and the process that held it before died with it, so what it did
 * with it may be half done: nobody else is told. -EDEADLK: all threads of all processes that hold a permit wait in a circle with this one
 * (DEADLOCK). */
THIRL_API THIRL_CHECK int thirl_sem_wait(thirl_sem *sem, thirl_time until);

/* Gives one back; COUNTING: adds one. -EPERM: this process holds none. -EOVERFLOW: there are THIRL_SEM_COUNT_MAX already. */
THIRL_API int thirl_sem_post(thirl_sem *sem);

/* ---- event ------------------------------------------------------------------------------------------------------- */

typedef struct thirl_event {
    uint64_t thirl_own[8] THIRL_EIGHT;
} thirl_event;

/* Makes an event of memory that nobody uses yet; it is not set. Flags: 0, or AUTOMATIC.
 *
 * 0: once set it stays so until it is reset, and lets everybody pass. Whoever waits when it is set passes, even if it is reset at once.
 * AUTOMATIC: it lets one pass, and is reset by that. Set again before anybody has passed, it lets one pass. A process that dies
 * before it has passed leaves it set. */
THIRL_API THIRL_CHECK int thirl_event_init(thirl_event *event, uint32_t flags);

/* Ends it. */
THIRL_API int thirl_event_deinit(thirl_event *event);

/* Sets it, and resets it. Never wait; nobody has to be the one who may. */
THIRL_API int thirl_event_set(thirl_event *event);
THIRL_API int thirl_event_reset(thirl_event *event);

/* Waits until it is set. 0: passed. */
THIRL_API THIRL_CHECK int thirl_event_wait(thirl_event *event, thirl_time until);

/* ---- once -------------------------------------------------------------------------------------------------------- */

/* What is to be done once by all processes together. It needs no init: memory of zeros, such as a new file, is one that is not done yet,
 * so it can stand guard over the init of everything else. */
typedef struct thirl_once {
    uint64_t thirl_own[4] THIRL_EIGHT;
} thirl_once;

/* Positive answers of thirl_once_begin: it is the caller's to do, and until it has called thirl_once_end all others wait. With
 * THIRL_OWNER_DIED somebody who had begun has died, and what was to be done may be half done. */
#define THIRL_ONCE_YOURS 17

/* 0: it is done, and everything that was stored before is visible. THIRL_ONCE_YOURS, THIRL_OWNER_DIED: see above; pairs with
 * thirl_once_end. -EDEADLK: this thread is doing it. */
THIRL_API THIRL_CHECK int thirl_once_begin(thirl_once *once, thirl_time until);

/* By the thread that does it: it is done, for ever. Or, with done 0, it could not be done, and the next one tries. -EPERM: it is not this
 * thread's. */
THIRL_API int thirl_once_end(thirl_once *once, int done);

/* ---- barrier ----------------------------------------------------------------------------------------------------- */

typedef struct thirl_barrier {
    uint64_t thirl_own[128] THIRL_EIGHT;
} thirl_barrier;

#define THIRL_BARRIER_PLACES_MAX 60

/* Makes a barrier of memory that nobody uses yet, with so many places, for one thread each.
 *
 * The first time, it opens when all places are taken and all have come. From then on it opens when all have come that have a place:
 * whoever leaves or dies is not waited for, and his place is free; whoever takes it is waited for at once. When nobody has a place any
 * more it begins anew. */
THIRL_API THIRL_CHECK int thirl_barrier_init(thirl_barrier *barrier, uint32_t places);

/* Ends it. -EBUSY: a living process has a place. */
THIRL_API int thirl_barrier_deinit(thirl_barrier *barrier);

/* Takes a place for this thread; pairs with thirl_barrier_leave by the same thread. Does not wait. -EBUSY: the living have all of them;
 * -EALREADY: this thread has one. */
THIRL_API THIRL_CHECK int thirl_barrier_join(thirl_barrier *barrier);

/* Gives it up. -EPERM: this thread has none. */
THIRL_API int thirl_barrier_leave(thirl_barrier *barrier);

/* Waits until all have come. 0: it has opened. THIRL_OWNER_DIED: it has opened, and somebody who had a place has died since it did so
 * before; all who pass now are told alike, and thirl_why says who. *generation, unless NULL, is how often it has opened, modulo 2^32. With
 * -ETIMEDOUT and -EAGAIN this thread has not come. -EPERM: it has no place. */
THIRL_API THIRL_CHECK int thirl_barrier_wait(thirl_barrier *barrier, uint32_t *generation, thirl_time until);

/* ---- by name ----------------------------------------------------------------------------------------------------- */

#define THIRL_LOCK_KINDS(X)                                                                                            \
    X(MUTEX, 1, mutex, "mutex")                                                                                        \
    X(RWLOCK, 2, rwlock, "read-write lock")                                                                            \
    X(COND, 3, cond, "condition variable")                                                                             \
    X(SEM, 4, sem, "semaphore")                                                                                        \
    X(EVENT, 5, event, "event")                                                                                        \
    X(ONCE, 6, once, "once")                                                                                           \
    X(BARRIER, 7, barrier, "barrier")

enum thirl_lock_kind {
    THIRL_LOCK_ANY = 0, /* what is there */
#define THIRL_LOCK_KIND(name, number, member, text) THIRL_LOCK_##name = number,
    THIRL_LOCK_KINDS(THIRL_LOCK_KIND)
#undef THIRL_LOCK_KIND
};

/* A lock that has a name. Of the pointers the one of its kind is set, for the functions above; the others are NULL. */
typedef struct thirl_lock {
    enum thirl_lock_kind kind;
    uint32_t flags, count; /* it was made with */
#define THIRL_LOCK_MEMBER(name, number, member, text) thirl_##member *member;
    THIRL_LOCK_KINDS(THIRL_LOCK_MEMBER)
#undef THIRL_LOCK_MEMBER
} thirl_lock;

struct thirl_lock_options {
    size_t size;    /* sizeof (struct thirl_lock_options): set it first */
    uint32_t flags; /* enum thirl_lock_flags, as for its init */
    uint32_t count; /* permits of a semaphore, places of a barrier; else 0 */
    uint32_t mode;  /* permission bits of a new one; 0600. Whoever uses it reads and writes it */
    uint32_t group; /* of a new one: it belongs to group - 1; 0: as files of this process do */
};

/* Opens the lock called NAME or shm://NAME in the registry; the first makes it, whole. Its handle is this process's: other threads use it
 * too, and a child of fork has it with its memory, holding nothing. options NULL: of a new one no flags, and one permit or place; of one
 * that is there, whatever it has. Never waits.
 * It stays when all have closed it or died, with who held it: the next one who opens and takes it is told of a death.
 * -ENOENT: THIRL_LOCK_ANY found none. -EEXIST: what has that name is of another kind, or was made with other flags or another count.
 * -EINVAL: no such kind, flags, count or mode. -THIRL_EFORMAT: something else has that name. -THIRL_EVERSION, -EXDEV: it was made
 * in another registry. -EPERM: this process is not in that group. -ENOSPC, -EACCES, … */
THIRL_API THIRL_CHECK int thirl_lock_open(thirl_lock **lock, const char *name, enum thirl_lock_kind kind,
                                          const struct thirl_lock_options *options);

/* Sets *lock to NULL; NULL is allowed. Not while a thread of this process holds it, waits for it, or has a place there: what it holds stays
 * held. */
THIRL_API void thirl_lock_close(thirl_lock **lock);

/* Takes the name away: the next one who opens it makes a new lock. Who has the old one open keeps that, and is not kept out by the new
 * one. -ENOENT, -EACCES. */
THIRL_API THIRL_CHECK int thirl_lock_remove(const char *name);

#ifdef __cplusplus
}
#endif
#endif
