/* SPDX-License-Identifier: MIT
 *
 * Locks by name: each kind between processes that share nothing but a name; made whole by the first of many; told apart; there for whoever
 * comes when all who held them have died, also at each named point of making, taking, giving back and removing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/weave.h"
#include "include/thirl/lock.h"
#include "include/thirl/state.h"
#include "tests/member.h"
#include "tests/ordeal.h"
#include "tests/room.h"

#define MAKERS 6
#define TURNS 6
#define PLAYERS (ORDEAL_OTHERS + 1)

static struct board {
    uint32_t ended; /* the victim has; of tests/ordeal.h */
    uint32_t ready, made, inside, told;
    uint64_t first, second; /* equal, but while somebody has the lock */
    uint32_t passed[PLAYERS];
} * board;

static const struct thirl_lock_options two = {.size = sizeof two, .count = 2};
static const struct thirl_lock_options three = {.size = sizeof three, .count = 3};
static const struct thirl_lock_options automatic = {.size = sizeof automatic, .flags = THIRL_LOCK_AUTOMATIC};

/* NULL: it could not be opened, and why is printed. */
static thirl_lock *have(const char *name, enum thirl_lock_kind kind, const struct thirl_lock_options *options) {
    thirl_lock *lock;
    int rc = thirl_lock_open(&lock, name, kind, options);
    if (rc != 0) (void)fprintf(stderr, "%s: %d, %s\n", name, rc, thirl_why());
    return lock;
}

/* ---- what they are, and are not ---- */

static int do_says_what_is_wrong(void *nothing) {
    (void)nothing;
    thirl_lock *lock = NULL, *other = (thirl_lock *)(void *)board;
    const struct thirl_lock_options unsized = {.count = 1}, readable = {.size = sizeof readable, .mode = 0644},
                                    flagged = {.size = sizeof flagged, .flags = THIRL_LOCK_RECURSIVE};
    CHECK(thirl_lock_open(NULL, "a", THIRL_LOCK_MUTEX, NULL) == -EINVAL);
    CHECK(thirl_lock_open(&other, "a", THIRL_LOCK_ANY, NULL) == -ENOENT && other == NULL);
    CHECK(strstr(thirl_why(), "there is no lock shm://a") != NULL);
    CHECK(thirl_lock_open(&lock, "a", (enum thirl_lock_kind)9, NULL) == -EINVAL);
    CHECK(thirl_lock_open(&lock, "a", THIRL_LOCK_MUTEX, &unsized) == -EINVAL);
    CHECK(thirl_lock_open(&lock, "a", THIRL_LOCK_MUTEX, &readable) == -EINVAL);
    CHECK(thirl_lock_open(&lock, "a", THIRL_LOCK_MUTEX, &two) == -EINVAL);
    CHECK(thirl_lock_open(&lock, "a", THIRL_LOCK_SEM, &flagged) == -EINVAL);
    CHECK(thirl_lock_open(&lock, "a", THIRL_LOCK_ONCE, &flagged) == -EINVAL);
    CHECK(thirl_lock_open(&lock, "tcp://a", THIRL_LOCK_MUTEX, NULL) == -THIRL_EADDRESS);
    CHECK(thirl_lock_open(&lock, "a", THIRL_LOCK_ANY, NULL) == -ENOENT); /* none of these has made one */
    CHECK(thirl_lock_open(&lock, "a", THIRL_LOCK_SEM, &three) == 0 && lock->sem != NULL && lock->mutex == NULL);
    CHECK(thirl_lock_open(&other, "a", THIRL_LOCK_MUTEX, NULL) == -EEXIST);
    CHECK(strstr(thirl_why(), "semaphore with count 3") != NULL && strstr(thirl_why(), "mutex") != NULL);
    CHECK(thirl_lock_open(&other, "a", THIRL_LOCK_SEM, &two) == -EEXIST);
    CHECK(thirl_lock_open(&other, "shm://a", THIRL_LOCK_SEM, NULL) == 0 && other->count == 3);
    thirl_lock_close(&other);
    CHECK(thirl_lock_open(&other, "a", THIRL_LOCK_ANY, NULL) == 0 && other->kind == THIRL_LOCK_SEM);
    CHECK(thirl_mutex_lock(other->mutex, THIRL_NOW) == -EINVAL); /* it has none */
    thirl_lock_close(&other);
    thirl_lock_close(&other);
    CHECK(thirl_lock_remove("a") == 0 && thirl_lock_remove("a") == -ENOENT);
    CHECK(thirl_sem_wait(lock->sem, THIRL_NOW) == 0 && thirl_sem_post(lock->sem) == 0); /* whoever has it keeps it */
    thirl_lock_close(&lock);
    return room_entries("area");
}
IN_A_CHILD(says_what_is_wrong)

static int do_refuses_what_is_no_lock(void *nothing) {
    (void)nothing;
    thirl_state *state;
    thirl_lock *lock;
    char path[200];
    uint64_t lie = UINT64_MAX;
    CHECK(thirl_state_open(&state, "s", NULL) == 0);
    CHECK(thirl_lock_open(&lock, "s", THIRL_LOCK_MUTEX, NULL) == -THIRL_EFORMAT);
    thirl_state_close(&state);
    CHECK(thirl_state_remove("s") == 0 && (lock = have("l", THIRL_LOCK_MUTEX, NULL)) != NULL);
    thirl_lock_close(&lock);
    (void)snprintf(path, sizeof path, "%s/area/l", room_path);
    FILE *file = fopen(path, "r+b");
    CHECK(file != NULL && fseek(file, 8, SEEK_SET) == 0 && fwrite(&lie, sizeof lie, 1, file) == 1 && fclose(file) == 0);
    CHECK(thirl_lock_open(&lock, "l", THIRL_LOCK_MUTEX, NULL) == -THIRL_EVERSION);
    CHECK(truncate(path, 40) == 0 && thirl_lock_open(&lock, "l", THIRL_LOCK_MUTEX, NULL) == -THIRL_EFORMAT);
    CHECK(truncate(path, 0) == 0 && thirl_lock_open(&lock, "l", THIRL_LOCK_MUTEX, NULL) == -THIRL_EFORMAT);
    return thirl_lock_remove("l");
}
IN_A_CHILD(refuses_what_is_no_lock)

static int find(void *role, const struct thirl_seen *seen) {
    return strcmp(seen->address, "shm://here") == 0 && strcmp(seen->role, role) == 0;
}

/* Lists show it as what it is, and a debugger, or thirl doctor, finds its name where it is mapped: also that of its maker. */
static int do_can_be_seen(void *nothing) {
    (void)nothing;
    char line[512];
    bool mapped = false;
    unsigned before = room_descriptors();
    thirl_lock *lock = have("here", THIRL_LOCK_BARRIER, &two);
    CHECK(lock != NULL && thirl_list(find, (void *)(uintptr_t) "lock") == 1);
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) mapped = mapped || strstr(line, "/area/here\n") != NULL;
    CHECK(fclose(maps) == 0 && mapped);
    CHECK(room_descriptors() <= before + 3); /* of the registry, and in reserve; the lock needs none */
    thirl_lock_close(&lock);
    CHECK(thirl_list(find, (void *)(uintptr_t) "lock") == 0);
    return thirl_lock_remove("here");
}
IN_A_CHILD(can_be_seen)

/* ---- between processes ---- */

static int do_make_it(void *nothing) {
    (void)nothing;
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->ready) < MAKERS) continue;
    thirl_lock *lock = have("one", THIRL_LOCK_MUTEX, NULL);
    CHECK(lock != NULL);
    for (int i = 0; i < 20; i++) {
        CHECK(thirl_mutex_lock(lock->mutex, thirl_in_ms(20000)) == 0);
        atomic_poke(&board->first, board->first + 1); /* no atomic addition: only the lock keeps them apart */
        CHECK(thirl_mutex_unlock(lock->mutex) == 0);
    }
    thirl_lock_close(&lock);
    return 0;
}

static void of_many_makers_one_makes_it(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        pid_t maker[MAKERS];
        memset(board, 0, sizeof *board);
        for (int i = 0; i < MAKERS; i++) maker[i] = room_fork(do_make_it, NULL);
        for (int i = 0; i < MAKERS; i++) assert_int_equal(room_reap(maker[i]), 0);
        assert_int_equal(board->first, MAKERS * 20);
        assert_int_equal(thirl_lock_remove("one"), 0);
    }
}

/* Takes one of each kind, and dies with all. */
static int hold_all(void *nothing) {
    (void)nothing;
    thirl_lock *mutex = have("m", THIRL_LOCK_MUTEX, NULL), *rwlock = have("r", THIRL_LOCK_RWLOCK, NULL),
               *sem = have("s", THIRL_LOCK_SEM, &two), *event = have("e", THIRL_LOCK_EVENT, NULL),
               *once = have("o", THIRL_LOCK_ONCE, NULL), *barrier = have("b", THIRL_LOCK_BARRIER, &two),
               *cond = have("c", THIRL_LOCK_COND, NULL), *guard = have("g", THIRL_LOCK_MUTEX, NULL);
    CHECK(mutex != NULL && rwlock != NULL && sem != NULL && event != NULL && once != NULL && barrier != NULL);
    CHECK(cond != NULL && guard != NULL && thirl_mutex_lock(guard->mutex, THIRL_NOW) == 0);
    CHECK(thirl_cond_wait(cond->cond, guard->mutex, thirl_in_ms(5)) == -ETIMEDOUT);
    CHECK(thirl_mutex_lock(mutex->mutex, THIRL_NOW) == 0 && thirl_rwlock_write(rwlock->rwlock, THIRL_NOW) == 0);
    CHECK(thirl_sem_wait(sem->sem, THIRL_NOW) == 0 && thirl_sem_wait(sem->sem, THIRL_NOW) == 0);
    CHECK(thirl_event_set(event->event) == 0 && thirl_once_begin(once->once, THIRL_NOW) == THIRL_ONCE_YOURS);
    CHECK(thirl_barrier_join(barrier->barrier) == 0);
    return raise(SIGKILL);
}

/* Nobody is left who had one open. */
static int find_all(void *nothing) {
    (void)nothing;
    thirl_lock *mutex = have("m", THIRL_LOCK_MUTEX, NULL), *rwlock = have("r", THIRL_LOCK_RWLOCK, NULL),
               *sem = have("s", THIRL_LOCK_SEM, &two), *event = have("e", THIRL_LOCK_EVENT, NULL),
               *once = have("o", THIRL_LOCK_ONCE, NULL), *barrier = have("b", THIRL_LOCK_BARRIER, &two),
               *cond = have("c", THIRL_LOCK_COND, NULL), *guard = have("g", THIRL_LOCK_MUTEX, NULL);
    CHECK(mutex != NULL && rwlock != NULL && sem != NULL && event != NULL && once != NULL && barrier != NULL);
    CHECK(thirl_mutex_lock(mutex->mutex, thirl_in_ms(5000)) == THIRL_OWNER_DIED);
    CHECK(thirl_mutex_mend(mutex->mutex) == 0 && thirl_mutex_unlock(mutex->mutex) == 0);
    CHECK(thirl_rwlock_read(rwlock->rwlock, thirl_in_ms(5000)) == THIRL_OWNER_DIED);
    CHECK(thirl_rwlock_unlock(rwlock->rwlock) == 0);
    for (int i = 0; i < 2; i++) CHECK(thirl_sem_wait(sem->sem, thirl_in_ms(5000)) == THIRL_OWNER_DIED);
    CHECK(thirl_event_wait(event->event, THIRL_NOW) == 0); /* it was set */
    CHECK(thirl_once_begin(once->once, thirl_in_ms(5000)) == THIRL_OWNER_DIED && thirl_once_end(once->once, 1) == 0);
    CHECK(thirl_barrier_join(barrier->barrier) == 0 && thirl_barrier_leave(barrier->barrier) == 0);
    CHECK(cond != NULL && guard != NULL && thirl_mutex_lock(guard->mutex, thirl_in_ms(5000)) == THIRL_OWNER_DIED);
    CHECK(thirl_mutex_mend(guard->mutex) == 0);
    CHECK(thirl_cond_wait(cond->cond, guard->mutex, thirl_in_ms(5)) == -ETIMEDOUT);
    const char *const name[] = {"m", "r", "s", "e", "o", "b", "c", "g"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) CHECK(thirl_lock_remove(name[i]) == 0);
    return room_entries("area");
}

static void outlive_all_who_hold_them(void **state) {
    (void)state;
    assert_int_equal(room_run(hold_all, NULL), 128 + SIGKILL);
    assert_int_equal(room_run(find_all, NULL), 0);
}

static int use_the_parents(void *handle) {
    thirl_lock *lock = handle;
    CHECK(thirl_mutex_unlock(lock->mutex) == -EPERM && thirl_mutex_lock(lock->mutex, THIRL_NOW) == -EAGAIN);
    atomic_store(&board->ready, 1u);
    CHECK(thirl_mutex_lock(lock->mutex, thirl_in_ms(20000)) == 0 && thirl_mutex_unlock(lock->mutex) == 0);
    thirl_lock_close(&lock);
    return 0;
}

/* A child of fork holds nothing, and goes on with the same handle. */
static int do_works_in_a_child(void *nothing) {
    (void)nothing;
    thirl_lock *lock = have("here", THIRL_LOCK_MUTEX, NULL);
    CHECK(lock != NULL && thirl_mutex_lock(lock->mutex, THIRL_NOW) == 0);
    atomic_store(&board->ready, 0u);
    pid_t child = room_fork(use_the_parents, lock);
    CHECK(member_wait(&board->ready, 1));
    CHECK(thirl_mutex_unlock(lock->mutex) == 0 && room_reap(child) == 0);
    CHECK(thirl_list(find, (void *)(uintptr_t) "lock") == 1); /* the child's closing took nothing from its parent */
    thirl_lock_close(&lock);
    return thirl_lock_remove("here");
}
IN_A_CHILD(works_in_a_child)

/* ---- death, at each named point ---- */

static void empty(void) {
    const char *const name[] = {"lock", "guard"};
    for (int i = 0; i < 2; i++) {
        int rc = thirl_lock_remove(name[i]);
        if (rc != 0 && rc != -ENOENT) abort();
    }
}

/* The state that the lock guards; it is torn in the midst. */
static void change(void) {
    atomic_poke(&board->first, board->first + 1);
    weave("test.named.half");
    room_sleep(CLOCK_MS / 5);
    atomic_poke(&board->second, board->second + 1);
}

static int mend(int rc) {
    if (rc == THIRL_OWNER_DIED) {
        atomic_poke(&board->told, board->told + 1);
        atomic_poke(&board->second, board->first);
    }
    return board->first == board->second ? 0 : 1;
}

static int take_turns(unsigned who) {
    for (int i = 0; i < TURNS; i++) {
        thirl_lock *lock = have("lock", THIRL_LOCK_MUTEX, NULL);
        CHECK(lock != NULL);
        int rc = thirl_mutex_lock(lock->mutex, thirl_in_ms(20000));
        CHECK((rc == 0 || rc == THIRL_OWNER_DIED) && mend(rc) == 0);
        CHECK(rc == 0 || thirl_mutex_mend(lock->mutex) == 0);
        change();
        board->passed[who]++;
        CHECK(thirl_mutex_unlock(lock->mutex) == 0);
        thirl_lock_close(&lock);
    }
    return 0;
}

static bool turns_are_whole(bool died) {
    thirl_lock *lock = have("lock", THIRL_LOCK_MUTEX, NULL);
    int rc = lock != NULL ? thirl_mutex_lock(lock->mutex, thirl_in_ms(5000)) : -1;
    bool good = rc >= 0 && mend(rc) == 0 && thirl_mutex_mend(lock->mutex) == 0 && thirl_mutex_unlock(lock->mutex) == 0;
    thirl_lock_close(&lock);
    return good && board->told <= (died ? 1u : 0u) && board->passed[0] == TURNS && board->passed[1] == TURNS &&
           thirl_lock_remove("lock") == 0;
}

static int read_and_write(unsigned who) {
    for (int i = 0; i < TURNS; i++) {
        thirl_lock *lock = have("lock", THIRL_LOCK_RWLOCK, NULL);
        CHECK(lock != NULL);
        int rc = thirl_rwlock_read(lock->rwlock, thirl_in_ms(20000));
        CHECK((rc == 0 && atomic_peek(&board->first) == atomic_peek(&board->second)) || rc == THIRL_OWNER_DIED);
        CHECK(thirl_rwlock_unlock(lock->rwlock) == 0);
        rc = thirl_rwlock_write(lock->rwlock, thirl_in_ms(20000));
        CHECK((rc == 0 || rc == THIRL_OWNER_DIED) && mend(rc) == 0);
        CHECK(rc == 0 || thirl_rwlock_mend(lock->rwlock) == 0);
        change();
        board->passed[who]++;
        CHECK(thirl_rwlock_unlock(lock->rwlock) == 0);
        thirl_lock_close(&lock);
    }
    return 0;
}

static bool all_have_written(bool died) {
    thirl_lock *lock = have("lock", THIRL_LOCK_RWLOCK, NULL);
    int rc = lock != NULL ? thirl_rwlock_write(lock->rwlock, thirl_in_ms(5000)) : -1;
    bool good = rc >= 0 && mend(rc) == 0 && thirl_rwlock_unlock(lock->rwlock) == 0;
    thirl_lock_close(&lock);
    return good && board->told <= (died ? 1u : 0u) && board->passed[0] == TURNS && board->passed[1] == TURNS;
}

static int take_permits(unsigned who) {
    for (int i = 0; i < TURNS; i++) {
        thirl_lock *lock = have("lock", THIRL_LOCK_SEM, NULL);
        CHECK(lock != NULL);
        int rc = thirl_sem_wait(lock->sem, thirl_in_ms(20000));
        CHECK((rc == 0 || rc == THIRL_OWNER_DIED) && mend(rc) == 0);
        change();
        board->passed[who]++;
        CHECK(thirl_sem_post(lock->sem) == 0);
        thirl_lock_close(&lock);
    }
    return 0;
}

static bool the_permit_is_back(bool died) {
    thirl_lock *lock = have("lock", THIRL_LOCK_SEM, NULL);
    int rc = lock != NULL ? thirl_sem_wait(lock->sem, thirl_in_ms(5000)) : -1;
    bool good = rc >= 0 && mend(rc) == 0 && thirl_sem_post(lock->sem) == 0;
    thirl_lock_close(&lock);
    return good && board->told <= (died ? 1u : 0u) && board->passed[0] == TURNS && board->passed[1] == TURNS;
}

/* Each waits until all have said that they are there, or the victim has ended. */
static int await_all(unsigned who) {
    thirl_lock *guard = have("guard", THIRL_LOCK_MUTEX, NULL), *lock = have("lock", THIRL_LOCK_COND, NULL);
    CHECK(guard != NULL && lock != NULL);
    int rc = thirl_mutex_lock(guard->mutex, thirl_in_ms(20000));
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    board->ready++;
    CHECK(thirl_cond_broadcast(lock->cond) == 0);
    while (board->ready < PLAYERS && atomic_load(&board->ended) == 0) {
        rc = thirl_cond_wait(lock->cond, guard->mutex, thirl_in_ms(60));
        CHECK(rc == 0 || rc == THIRL_OWNER_DIED || rc == -ETIMEDOUT);
    }
    board->passed[who]++;
    CHECK(thirl_mutex_unlock(guard->mutex) == 0);
    thirl_lock_close(&lock);
    thirl_lock_close(&guard);
    return 0;
}

static bool both_have_passed(bool died) {
    return board->passed[0] == 1 && board->passed[1] == 1 && (died || board->passed[ORDEAL_VICTIM] == 1);
}

/* An automatic event that is set once more than it is taken. */
static int set_and_take(unsigned who) {
    for (int i = 0; i < TURNS; i++) {
        thirl_lock *lock = have("lock", THIRL_LOCK_EVENT, &automatic);
        CHECK(lock != NULL && thirl_event_set(lock->event) == 0);
        int rc = thirl_event_wait(lock->event, thirl_in_ms(2));
        CHECK(rc == 0 || rc == -ETIMEDOUT);
        board->passed[who]++;
        thirl_lock_close(&lock);
    }
    return 0;
}

static bool it_lets_one_pass(bool died) {
    (void)died;
    thirl_lock *lock = have("lock", THIRL_LOCK_EVENT, &automatic);
    bool good = lock != NULL && thirl_event_set(lock->event) == 0 && thirl_event_wait(lock->event, THIRL_NOW) == 0 &&
                thirl_event_wait(lock->event, THIRL_NOW) == -EAGAIN;
    thirl_lock_close(&lock);
    return good && board->passed[0] == TURNS && board->passed[1] == TURNS;
}

static int do_it_once(unsigned who) {
    thirl_lock *lock = have("lock", THIRL_LOCK_ONCE, NULL);
    CHECK(lock != NULL);
    int rc = thirl_once_begin(lock->once, thirl_in_ms(20000));
    CHECK(rc == 0 || rc == THIRL_ONCE_YOURS || rc == THIRL_OWNER_DIED);
    if (rc != 0) {
        room_sleep(2 * CLOCK_MS);
        atomic_poke(&board->made, 1u);
        CHECK(thirl_once_end(lock->once, 1) == 0);
    }
    CHECK(atomic_peek(&board->made) == 1);
    board->passed[who]++;
    thirl_lock_close(&lock);
    return 0;
}

static bool it_is_done(bool died) {
    thirl_lock *lock = have("lock", THIRL_LOCK_ONCE, NULL);
    bool good = lock != NULL && thirl_once_begin(lock->once, THIRL_NOW) == 0 && both_have_passed(died);
    thirl_lock_close(&lock);
    return good;
}

static int meet(unsigned who) {
    thirl_lock *lock = have("lock", THIRL_LOCK_BARRIER, &three);
    CHECK(lock != NULL && thirl_barrier_join(lock->barrier) == 0);
    for (int i = 0; i < 2;) {
        bool ended = atomic_load(&board->ended) != 0;
        int rc = thirl_barrier_wait(lock->barrier, NULL, thirl_in_ms(who == ORDEAL_VICTIM ? 20000 : 200));
        CHECK(rc == 0 || rc == THIRL_OWNER_DIED || rc == -ETIMEDOUT);
        if (rc == -ETIMEDOUT && ended && board->passed[who] == 0) break; /* it died before it was there */
        board->passed[who] += rc >= 0;
        i += rc >= 0;
    }
    CHECK(thirl_barrier_leave(lock->barrier) == 0);
    thirl_lock_close(&lock);
    return 0;
}

static bool all_met(bool died) {
    return board->passed[0] == board->passed[1] && (died || board->passed[0] == 2);
}

/* Some make it while others remove it: whoever opens one has a whole one. */
static int make_and_remove(unsigned who) {
    for (int i = 0; i < 4 * TURNS; i++) {
        thirl_lock *lock;
        int rc = thirl_lock_open(&lock, "lock", THIRL_LOCK_MUTEX, NULL);
        CHECK(rc == 0 || rc == -EAGAIN);
        if (rc == 0) {
            rc = thirl_mutex_lock(lock->mutex, thirl_in_ms(20000));
            CHECK((rc == 0 || rc == THIRL_OWNER_DIED) && thirl_mutex_unlock(lock->mutex) == 0);
            thirl_lock_close(&lock);
        }
        rc = thirl_lock_remove("lock");
        CHECK(rc == 0 || rc == -ENOENT);
    }
    board->passed[who]++;
    return 0;
}

static bool
    everywhere; /* by the first argument: also at the points of the locks themselves, as in memory that is no file */

static const struct ordeal ordeals[] = {
    {"mutex", "lot.make test.named. mutex. owner.", empty, take_turns, turns_are_whole, NULL},
    {"read-write lock", "lot.make test.named. rwlock.", empty, read_and_write, all_have_written, NULL},
    {"semaphore", "lot.make test.named. sem. token.", empty, take_permits, the_permit_is_back, NULL},
    {"condition variable", "lot.make cond.", empty, await_all, both_have_passed, NULL},
    {"event", "lot.make beacon.", empty, set_and_take, it_lets_one_pass, NULL},
    {"once", "lot.make once.", empty, do_it_once, it_is_done, NULL},
    {"barrier", "lot.make barrier.", empty, meet, all_met, NULL},
    {"who removes it", "lot.make lot.remove", empty, make_and_remove, both_have_passed, NULL},
};

#define SCENARIOS (sizeof ordeals / sizeof *ordeals)

static void at_each_point(bool killed) {
    struct ordeal chosen[SCENARIOS];
    const struct ordeals all = {.ordeal = chosen,
                                .count = SCENARIOS,
                                .points = "lot.make lot.remove test.named.",
                                .board = (void **)(void *)&board,
                                .size = (sizeof *board + 63) / 64 * 64};
    struct board *own = board;
    for (size_t i = 0; i < SCENARIOS; i++) {
        chosen[i] = ordeals[i];
        chosen[i].points = everywhere || i == SCENARIOS - 1 ? ordeals[i].points : "lot.make test.named.";
    }
    assert_true(ordeal_all(&all, killed));
    board = own;
}

static void killed_at_each_point(void **state) {
    (void)state;
    at_each_point(true);
}

static void stopped_at_each_point(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* the same code is passed by those who are killed */
#endif
    at_each_point(false);
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

int main(int count, char **arguments) {
    (void)arguments;
    everywhere = count > 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(refuses_what_is_no_lock),
        cmocka_unit_test(can_be_seen),
        cmocka_unit_test(of_many_makers_one_makes_it),
        cmocka_unit_test(outlive_all_who_hold_them),
        cmocka_unit_test(works_in_a_child),
        cmocka_unit_test(killed_at_each_point),
        cmocka_unit_test(stopped_at_each_point),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
