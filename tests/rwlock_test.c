/* SPDX-License-Identifier: MIT
 *
 * The read-write lock of include/thirl/lock.h: what each call answers, between threads and between processes, and what becomes of the
 * shares and the turn of the dead.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/lock.h"
#include "sync/order.h"
#include "tests/member.h"
#include "tests/room.h"

static struct board {
    thirl_rwlock lock;
    thirl_mutex mutex;
    uint64_t first, second; /* equal while nobody writes */
    uint32_t ready, go, over;
    uint64_t reads[4], writes[4];
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(uint32_t flags) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_rwlock_init(&board->lock, flags), 0);
    assert_int_equal(thirl_mutex_init(&board->mutex, flags), 0);
}

static void answers_of_one_thread(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= THIRL_LOCK_DEADLOCK; flags += THIRL_LOCK_DEADLOCK) {
        anew(flags);
        thirl_rwlock *l = &board->lock;
        assert_int_equal(thirl_rwlock_unlock(l), -EPERM);
        assert_int_equal(thirl_rwlock_read(l, THIRL_NOW), 0);
        assert_int_equal(thirl_rwlock_deinit(l), -EBUSY);
        assert_int_equal(thirl_rwlock_read(l, THIRL_NEVER), 0); /* again */
        assert_int_equal(thirl_rwlock_write(l, THIRL_NEVER), -EDEADLK);
        assert_int_equal(thirl_rwlock_mend(l), -EPERM);
        assert_int_equal(thirl_rwlock_condemn(l), -EPERM);
        assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
        assert_int_equal(thirl_rwlock_unlock(l), 0); /* not the last that it took */
        assert_int_equal(thirl_rwlock_unlock(l), 0);
        assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
        assert_int_equal(thirl_rwlock_unlock(l), -EPERM);
        assert_int_equal(thirl_rwlock_write(l, THIRL_NOW), 0);
        assert_int_equal(thirl_rwlock_deinit(l), -EBUSY);
        assert_int_equal(thirl_rwlock_write(l, THIRL_NOW), -EDEADLK);
        assert_int_equal(thirl_rwlock_read(l, THIRL_NOW), -EDEADLK);
        assert_int_equal(thirl_rwlock_mend(l), 0);
        assert_int_equal(thirl_rwlock_unlock(l), 0);
        assert_int_equal(party_me()->slip->held, 0);
        assert_int_equal(thirl_rwlock_write(l, thirl_in_ms(5)), 0);
        assert_int_equal(thirl_rwlock_condemn(l), 0);
        assert_int_equal(thirl_rwlock_read(l, THIRL_NOW), -ENOTRECOVERABLE);
        assert_int_equal(thirl_rwlock_read(l, THIRL_NEVER), -ENOTRECOVERABLE);
        assert_int_equal(thirl_rwlock_write(l, THIRL_NEVER), -ENOTRECOVERABLE);
        assert_int_equal(thirl_rwlock_deinit(l), 0);
        assert_int_equal(thirl_rwlock_read(l, THIRL_NOW), -EINVAL);
        assert_int_equal(thirl_rwlock_write(l, THIRL_NOW), -EINVAL);
        assert_int_equal(thirl_rwlock_unlock(l), -EINVAL);
        assert_int_equal(thirl_rwlock_deinit(l), -EINVAL);
        assert_int_equal(party_me()->slip->held, 0);
        assert_int_equal(party_me()->slip->wait.kind, 0);
    }
    assert_int_equal(thirl_rwlock_init(&board->lock, THIRL_LOCK_RECURSIVE), -EINVAL);
    assert_int_equal(thirl_rwlock_init(NULL, 0), -EINVAL);
    assert_int_equal(thirl_rwlock_read(NULL, THIRL_NOW), -EINVAL);
    assert_int_equal(thirl_rwlock_write(NULL, THIRL_NOW), -EINVAL);
}

/* What is not listed could not come back: it is refused, and any other order of taking them is fine. */
static void a_read_lock_is_listed_or_refused(void **state) {
    static thirl_mutex many[SLIP_HOLDS];
    (void)state;
    anew(0);
    for (int i = 0; i < SLIP_HOLDS; i++) {
        assert_int_equal(thirl_mutex_init(&many[i], 0), 0);
        assert_int_equal(thirl_mutex_lock(&many[i], THIRL_NOW), 0);
    }
    assert_int_equal(thirl_rwlock_read(&board->lock, THIRL_NEVER), -ENOLCK);
    assert_non_null(strstr(thirl_why(), "16 locks"));
    assert_int_equal(thirl_rwlock_write(&board->lock, THIRL_NOW), 0);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    assert_int_equal(thirl_mutex_unlock(&many[3]), 0);
    assert_int_equal(thirl_rwlock_read(&board->lock, THIRL_NOW), 0);
    assert_int_equal(thirl_mutex_lock(&many[3], THIRL_NOW), 0);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    for (int i = 0; i < SLIP_HOLDS; i++) assert_int_equal(thirl_mutex_unlock(&many[i]), 0);
    assert_int_equal(party_me()->slip->held, 0);
}

/* A child takes it, and lets go when told; or is killed. */
static int hold(bool to_write) {
    CHECK((to_write ? thirl_rwlock_write : thirl_rwlock_read)(&board->lock, THIRL_NEVER) >= 0);
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->go, 1));
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    return 0;
}

static int hold_to_read(void *nothing) {
    (void)nothing;
    return hold(false);
}

static int hold_to_write(void *nothing) {
    (void)nothing;
    return hold(true);
}

static void answers_between_processes(void **state) {
    (void)state;
    for (int to_write = 0; to_write < 2; to_write++) {
        anew(0);
        pid_t child = room_fork(to_write ? hold_to_write : hold_to_read, NULL);
        assert_true(member_wait(&board->ready, 1));
        assert_int_equal(thirl_rwlock_unlock(&board->lock), -EPERM);
        assert_int_equal(thirl_rwlock_deinit(&board->lock), -EBUSY);
        assert_int_equal(thirl_rwlock_write(&board->lock, THIRL_NOW), -EAGAIN);
        assert_int_equal(thirl_rwlock_read(&board->lock, THIRL_NOW), to_write ? -EAGAIN : 0);
        int64_t began = clock_now();
        if (to_write) {
            assert_int_equal(thirl_rwlock_read(&board->lock, thirl_in_ms(120)), -ETIMEDOUT);
        } else {
            assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
            assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(120)), -ETIMEDOUT);
        }
        assert_true(clock_now() - began >= 120 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
        assert_int_equal(party_me()->slip->held, 0);
        atomic_store(&board->go, 1);
        assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(9000)), 0);
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
        assert_int_equal(thirl_rwlock_read(&board->lock, thirl_in_ms(9000)), 0);
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
        assert_int_equal(room_reap(child), 0);
    }
}

/* Of many readers some are killed: a writer gets in when those who live are out, and not before. */
static void shares_of_dead_readers_come_back(void **state) {
    (void)state;
    for (int tries = 0; tries < 3; tries++) {
        pid_t child[4];
        anew(0);
        for (int i = 0; i < 4; i++) child[i] = room_fork(hold_to_read, NULL);
        assert_true(member_wait(&board->ready, 4));
        for (int i = 0; i < 3; i++) {
            kill(child[i], SIGKILL);
            assert_int_equal(room_reap(child[i]), 128 + SIGKILL);
        }
        assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(200)), -ETIMEDOUT);
        assert_int_equal(thirl_rwlock_write(&board->lock, THIRL_NOW), -EAGAIN);
        assert_int_equal(thirl_rwlock_read(&board->lock, THIRL_NOW), 0);
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
        kill(child[3], SIGSTOP); /* not dead */
        assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(120)), -ETIMEDOUT);
        kill(child[3], tries == 0 ? SIGCONT : SIGKILL);
        atomic_store(&board->go, 1);
        assert_int_equal(room_reap(child[3]), tries == 0 ? 0 : 128 + SIGKILL);
        if (tries == 2) { /* a try finds the dead, too, but does not look each time */
            int64_t until = clock_now() + 2 * CLOCK_S;
            int rc = -EAGAIN;
            while (rc == -EAGAIN && clock_now() < until) rc = thirl_rwlock_write(&board->lock, THIRL_NOW);
            assert_int_equal(rc, 0);
        } else {
            int64_t began = clock_now();
            assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(9000)), 0);
            assert_true(clock_now() - began < CLOCK_S);
        }
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
        assert_int_equal(thirl_rwlock_deinit(&board->lock), 0);
    }
}

/* Who wrote dies: each reader is told, and each writer, until one of these mends it. */
static void who_comes_after_a_dead_writer_is_told(void **state) {
    (void)state;
    for (int reads = 0; reads < 3; reads++) {
        anew(0);
        pid_t child = room_fork(hold_to_write, NULL);
        assert_true(member_wait(&board->ready, 1));
        kill(child, SIGKILL);
        assert_int_equal(room_reap(child), 128 + SIGKILL);
        int64_t began = clock_now();
        for (int i = 0; i < reads; i++) {
            assert_int_equal(thirl_rwlock_read(&board->lock, i == 0 ? THIRL_NOW : THIRL_NEVER), THIRL_OWNER_DIED);
            assert_int_equal(thirl_rwlock_read(&board->lock, THIRL_NOW), THIRL_OWNER_DIED);
            assert_int_equal(thirl_rwlock_mend(&board->lock), -EPERM);
            assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
            assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
        }
        assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(9000)), THIRL_OWNER_DIED);
        assert_true(clock_now() - began < CLOCK_S);
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0); /* without a word */
        assert_int_equal(thirl_rwlock_write(&board->lock, THIRL_NOW), THIRL_OWNER_DIED);
        assert_int_equal(thirl_rwlock_mend(&board->lock), 0);
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
        assert_int_equal(thirl_rwlock_read(&board->lock, THIRL_NOW), 0);
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
        assert_int_equal(thirl_rwlock_write(&board->lock, THIRL_NOW), 0);
        assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
        assert_int_equal(party_me()->slip->held, 0);
    }
}

/* Once a writer waits, who comes later waits behind it; but one who reads already may read again. */
static int read_later(void *nothing) {
    (void)nothing;
    CHECK(thirl_rwlock_read(&board->lock, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_rwlock_read(&board->lock, thirl_in_ms(70)) == -ETIMEDOUT);
    return 0;
}

static int write_and_say(void *nothing) {
    (void)nothing;
    atomic_store(&board->ready, 1);
    CHECK(thirl_rwlock_write(&board->lock, thirl_in_ms(20000)) == 0);
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    return 0;
}

static void a_writer_that_waits_is_next(void **state) {
    (void)state;
    anew(0);
    assert_int_equal(thirl_rwlock_read(&board->lock, THIRL_NOW), 0);
    pid_t writer = room_fork(write_and_say, NULL);
    assert_true(member_wait(&board->ready, 1));
    room_sleep(30 * CLOCK_MS);
    assert_int_equal(room_run(read_later, NULL), 0);
    assert_int_equal(thirl_rwlock_read(&board->lock, thirl_in_ms(9000)), 0);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    assert_int_equal(room_reap(writer), 0);
}

/* ---- many at once ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 1000
#else
#define ROUNDS 5000
#endif

static uint64_t plain[2]; /* only the lock keeps the threads apart: for ThreadSanitizer */

static void *use_in_thread(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        bool to_write = i % 4 == 0;
        if ((to_write ? thirl_rwlock_write : thirl_rwlock_read)(&board->lock, THIRL_NEVER) != 0) return argument;
        if (plain[0] != plain[1]) return argument;
        if (to_write) { /* and else no store at all, not even of the same */
            plain[0]++;
            plain[1]++;
        }
        if (thirl_rwlock_unlock(&board->lock) != 0) return argument;
    }
    return NULL;
}

static void *read_in_thread(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        if (thirl_rwlock_read(&board->lock, thirl_in_ms(20000)) != 0) return argument;
        if (plain[0] != plain[1]) return argument;
        if (i % 3 == 0 && (thirl_rwlock_read(&board->lock, THIRL_NEVER) != 0 || thirl_rwlock_unlock(&board->lock) != 0))
            return argument;
        if (thirl_rwlock_unlock(&board->lock) != 0) return argument;
    }
    return NULL;
}

static void threads_are_kept_apart(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= THIRL_LOCK_DEADLOCK; flags += THIRL_LOCK_DEADLOCK) {
        pthread_t thread[4];
        void *rc;
        anew(flags);
        plain[0] = plain[1] = 0;
        for (int t = 0; t < 4; t++)
            assert_int_equal(pthread_create(&thread[t], NULL, t < 2 ? use_in_thread : read_in_thread, board), 0);
        for (int t = 0; t < 4; t++) assert_true(pthread_join(thread[t], &rc) == 0 && rc == NULL);
        assert_int_equal(plain[0], 2 * ((ROUNDS + 3) / 4));
    }
}

/* One turn of a process: it writes now and then, and reads. */
static int turn(int i) {
    bool to_write = i % 4 == 0;
    int rc = (to_write ? thirl_rwlock_write : thirl_rwlock_read)(&board->lock, thirl_in_ms(20000));
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    if (rc == THIRL_OWNER_DIED && to_write) {
        atomic_poke(&board->second, board->first);
        CHECK(thirl_rwlock_mend(&board->lock) == 0);
        rc = 0;
    }
    CHECK(rc != 0 || atomic_peek(&board->first) == atomic_peek(&board->second));
    if (to_write) {
        atomic_poke(&board->first, board->first + 1);
        atomic_poke(&board->second, board->second + 1);
    }
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    return 0;
}

static int take_turns(void *nothing) {
    (void)nothing;
    for (int i = 0; i < ROUNDS; i++) CHECK(turn(i) == 0);
    return 0;
}

static int take_turns_until_over(void *nothing) {
    (void)nothing;
    for (int i = 0; atomic_load(&board->over) == 0; i++) CHECK(turn(i) == 0);
    return 0;
}

static void processes_are_kept_apart(void **state) {
    (void)state;
    pid_t child[3];
    anew(0);
    for (int c = 0; c < 3; c++) child[c] = room_fork(take_turns, NULL);
    for (int c = 0; c < 3; c++) assert_int_equal(room_reap(child[c]), 0);
    assert_int_equal(board->first, 3 * ((ROUNDS + 3) / 4));
    assert_int_equal(board->second, board->first);
}

static unsigned kills = 60;

/* Processes are killed at random: whoever is told repairs, nobody finds the state torn without being told, and nobody waits for ever. */
static void random_kills(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= THIRL_LOCK_DEADLOCK; flags += THIRL_LOCK_DEADLOCK) {
        pid_t child[3];
        anew(flags);
        for (int c = 0; c < 3; c++) child[c] = room_fork(take_turns_until_over, NULL);
        for (unsigned k = 0; k < kills; k++) {
            int c = (int)room_dice(3);
            room_sleep((int64_t)room_dice(3000) * CLOCK_US);
            kill(child[c], SIGKILL);
            assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
            child[c] = room_fork(take_turns_until_over, NULL);
        }
        assert_int_equal(turn(0), 0);
        atomic_store(&board->over, 1);
        for (int c = 0; c < 3; c++) assert_int_equal(room_reap(child[c]), 0);
        assert_int_equal(turn(0), 0);
        assert_int_equal(thirl_rwlock_deinit(&board->lock), 0);
    }
}

/* A forked child is another one: it neither holds what its parent holds, nor lets go of it. */
static int forked(void *argument) {
    CHECK(thirl_rwlock_unlock(&board->lock) == -EPERM);
    CHECK(thirl_rwlock_read(&board->lock, THIRL_NOW) == (argument == NULL ? 0 : -EAGAIN));
    CHECK(argument != NULL || thirl_rwlock_unlock(&board->lock) == 0);
    CHECK(thirl_rwlock_write(&board->lock, THIRL_NOW) == -EAGAIN);
    return 0;
}

static void a_forked_child_holds_nothing(void **state) {
    (void)state;
    anew(0);
    assert_int_equal(thirl_rwlock_read(&board->lock, THIRL_NOW), 0);
    assert_int_equal(room_run(forked, NULL), 0);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    assert_int_equal(thirl_rwlock_write(&board->lock, THIRL_NOW), 0);
    assert_int_equal(room_run(forked, board), 0);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
}

/* ---- circles ---- */

static int cross(void *to_write) {
    CHECK(thirl_mutex_lock(&board->mutex, THIRL_NEVER) == 0);
    atomic_store(&board->ready, 1);
    CHECK(member_wait(&board->go, 1));
    int rc = (to_write != NULL ? thirl_rwlock_write : thirl_rwlock_read)(&board->lock, thirl_in_ms(9000));
    CHECK(rc == 0 || (rc == -EDEADLK && strstr(thirl_why(), "circle") != NULL));
    if (rc == 0) CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    return -rc;
}

/* One has the lock and wants the mutex, another the mutex and wants the lock: exactly one is told. */
static int meet(bool to_write, bool other_writes) {
    pid_t child = room_fork(cross, other_writes ? board : NULL);
    CHECK(member_wait(&board->ready, 1));
    CHECK((to_write ? thirl_rwlock_write : thirl_rwlock_read)(&board->lock, THIRL_NEVER) == 0);
    atomic_store(&board->go, 1);
    int rc = thirl_mutex_lock(&board->mutex, thirl_in_ms(9000));
    CHECK(rc == 0 || (rc == -EDEADLK && strstr(thirl_why(), "read") != NULL));
    if (rc == 0) CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    int other = -room_reap(child);
    CHECK((rc == -EDEADLK) + (other == -EDEADLK) == 1 && (rc == 0 || other == 0));
    return 0;
}

static void a_circle_is_told_to_one(void **state) {
    (void)state;
    for (int i = 1; i < 4; i++) {
        anew(THIRL_LOCK_DEADLOCK);
        assert_int_equal(meet((i & 1) != 0, (i & 2) != 0), 0);
    }
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_one_thread),
        cmocka_unit_test(a_read_lock_is_listed_or_refused),
        cmocka_unit_test(answers_between_processes),
        cmocka_unit_test(shares_of_dead_readers_come_back),
        cmocka_unit_test(who_comes_after_a_dead_writer_is_told),
        cmocka_unit_test(a_writer_that_waits_is_next),
        cmocka_unit_test(threads_are_kept_apart),
        cmocka_unit_test(processes_are_kept_apart),
        cmocka_unit_test(random_kills),
        cmocka_unit_test(a_forked_child_holds_nothing),
        cmocka_unit_test(a_circle_is_told_to_one),
    };
    kills = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : kills;
    return cmocka_run_group_tests(tests, begin, room_end);
}
