/* SPDX-License-Identifier: MIT
 *
 * One of two processes that may be of different builds: party KIND ROUNDS. Both use the lock called after its kind and the area beside it,
 * whoever comes first makes them. 0 when every round was as it has to be; else a sentence on standard error.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thirl/area.h>
#include <thirl/lock.h>

/* Words of the area. */
static uint64_t *came, *ready, *total, *done, *turn;
static uint64_t me, rounds;
static thirl_lock *lock, *other;

static int say(const char *what, int rc) {
    (void)fprintf(stderr, "party: %s: %s (%s)\n", what, thirl_error_name(rc), thirl_why());
    return 1;
}

static thirl_time soon(void) {
    return thirl_in_ms(20000);
}

static thirl_lock *named(const char *kind, const char *suffix, enum thirl_lock_kind is, uint32_t flags,
                         uint32_t count) {
    char name[64];
    struct thirl_lock_options options = {.size = sizeof options, .flags = flags, .count = count};
    thirl_lock *made = NULL;
    (void)snprintf(name, sizeof name, "strange/%s%s", kind, suffix);
    int rc = thirl_lock_open(&made, name, is, &options);
    return rc == 0 ? made : (say(name, rc), NULL);
}

/* Until both have come so far. */
static bool meet(uint64_t *word, uint64_t count) {
    __atomic_fetch_add(word, 1, __ATOMIC_ACQ_REL);
    for (thirl_time until = soon(); __atomic_load_n(word, __ATOMIC_ACQUIRE) < count;) {
        if (thirl_in_ms(0).ns > until.ns) return false;
    }
    return true;
}

/* Not atomic: only a lock keeps them from losing some. */
static void count(void) {
    volatile uint64_t *word = total;
    *word = *word + 1;
}

static int enter(void) {
    return lock->mutex != NULL    ? thirl_mutex_lock(lock->mutex, soon())
           : lock->rwlock != NULL ? thirl_rwlock_write(lock->rwlock, soon())
                                  : thirl_sem_wait(lock->sem, soon());
}

static int leave(void) {
    return lock->mutex != NULL    ? thirl_mutex_unlock(lock->mutex)
           : lock->rwlock != NULL ? thirl_rwlock_unlock(lock->rwlock)
                                  : thirl_sem_post(lock->sem);
}

static int exclude(void) {
    int rc = 0;
    for (uint64_t i = 0; i < rounds && rc == 0; i++) {
        rc = enter();
        if (rc == 0) count();
        rc = rc == 0 ? leave() : rc;
    }
    return rc != 0 ? say("the lock", rc) : 0;
}

static int take_turns(void) {
    for (uint64_t i = 0; i < rounds; i++) {
        int rc = thirl_mutex_lock(other->mutex, soon());
        while (rc == 0 && *turn % 2 != me) rc = thirl_cond_wait(lock->cond, other->mutex, soon());
        if (rc != 0) return say("the condition variable", rc);
        count();
        ++*turn;
        (void)thirl_cond_broadcast(lock->cond);
        (void)thirl_mutex_unlock(other->mutex);
    }
    return 0;
}

static int toss(void) {
    thirl_event *mine = me == 0 ? lock->event : other->event, *theirs = me == 0 ? other->event : lock->event;
    for (uint64_t i = 0; i < rounds; i++) {
        int rc = me == 0 ? 0 : thirl_event_wait(mine, soon());
        if (rc == 0) count();
        rc = rc == 0 ? thirl_event_set(theirs) : rc;
        rc = rc == 0 && me == 0 ? thirl_event_wait(mine, soon()) : rc;
        if (rc != 0) return say("the event", rc);
    }
    return 0;
}

static int gather(void) {
    int rc = thirl_barrier_join(lock->barrier);
    for (uint64_t i = 0; i < rounds && rc == 0; i++) {
        uint32_t generation = 0;
        __atomic_fetch_add(total, 1, __ATOMIC_ACQ_REL);
        rc = thirl_barrier_wait(lock->barrier, &generation, soon());
        if (rc == 0 && (generation != i + 1 || __atomic_load_n(total, __ATOMIC_ACQUIRE) < 2 * (i + 1))) {
            (void)fprintf(stderr, "party: round %u opened too early\n", generation);
            return 1;
        }
    }
    return rc != 0 ? say("the barrier", rc) : meet(turn, 2) ? thirl_barrier_leave(lock->barrier) : 1;
}

static int do_once(void) {
    int rc = thirl_once_begin(lock->once, soon());
    if (rc == THIRL_ONCE_YOURS) {
        *total = 2 * rounds;
        rc = thirl_once_end(lock->once, 1);
    }
    return rc != 0 ? say("once", rc) : 0;
}

static const struct play {
    const char *kind;
    enum thirl_lock_kind is;
    uint32_t flags, count;
    enum thirl_lock_kind beside;
    int (*body)(void);
} plays[] = {{"mutex", THIRL_LOCK_MUTEX, 0, 0, 0, exclude},
             {"inherit", THIRL_LOCK_MUTEX, THIRL_LOCK_INHERIT, 0, 0, exclude},
             {"rwlock", THIRL_LOCK_RWLOCK, 0, 0, 0, exclude},
             {"sem", THIRL_LOCK_SEM, 0, 1, 0, exclude},
             {"cond", THIRL_LOCK_COND, 0, 0, THIRL_LOCK_MUTEX, take_turns},
             {"event", THIRL_LOCK_EVENT, THIRL_LOCK_AUTOMATIC, 0, THIRL_LOCK_EVENT, toss},
             {"barrier", THIRL_LOCK_BARRIER, 0, 2, 0, gather},
             {"once", THIRL_LOCK_ONCE, 0, 0, 0, do_once}};

static uint64_t *word_of(thirl_area *area, const char *name) {
    thirl_at at = 0;
    int rc = thirl_area_root(area, name, &at, soon());
    return rc == 0 ? thirl_area_pointer(area, at, sizeof(uint64_t)) : (say(name, rc), NULL);
}

static int perform(const struct play *play) {
    char name[64];
    thirl_area *area = NULL;
    (void)snprintf(name, sizeof name, "strange/board-%s", play->kind);
    int rc = thirl_area_open(&area, name, NULL);
    if (rc != 0) return say(name, rc);
    came = word_of(area, "came");
    ready = word_of(area, "ready");
    total = word_of(area, "total");
    done = word_of(area, "done");
    turn = word_of(area, "turn");
    if (came == NULL || ready == NULL || total == NULL || done == NULL || turn == NULL) return 1;
    me = __atomic_fetch_add(came, 1, __ATOMIC_ACQ_REL);
    lock = named(play->kind, "", play->is, play->flags, play->count);
    other = play->beside != 0 ? named(play->kind, ".beside", play->beside, play->flags, 0) : NULL;
    if (lock == NULL || (play->beside != 0 && other == NULL)) return 1;
    if (me > 1 || !meet(ready, 2)) return say("the other one did not come", 0);
    rc = play->body();
    if (rc == 0 && !meet(done, 2)) return say("the other one did not end", 0);
    (void)printf("%llu of %llu", (unsigned long long)*total, (unsigned long long)(2 * rounds));
    return rc != 0 || *total != 2 * rounds;
}

int main(int argc, char **argv) {
    rounds = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    for (size_t i = 0; argc == 3 && i < sizeof plays / sizeof *plays; i++) {
        if (strcmp(plays[i].kind, argv[1]) == 0) return perform(&plays[i]);
    }
    (void)fprintf(stderr, "usage: party KIND ROUNDS\n");
    return 2;
}
