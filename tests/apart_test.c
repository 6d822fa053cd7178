/* SPDX-License-Identifier: MIT
 *
 * Locks of each kind, a state and a cache between processes that are each the first of a PID namespace of its own, so that their numbers are all
 * the same: who they are is told apart all the same, and whose death it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/cache.h"
#include "include/thirl/lock.h"
#include "include/thirl/state.h"
#include "tests/member.h"
#include "tests/room.h"

#define ROUNDS 500
#define CANNOT 77

static struct board {
    thirl_mutex mutex;
    thirl_cond cond;
    thirl_rwlock lock;
    thirl_sem sem;
    thirl_event event;
    thirl_once once;
    thirl_barrier barrier;
    uint64_t first, second; /* equal while nobody writes */
    uint32_t at, in, go;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(void) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, 0), 0);
    assert_int_equal(thirl_cond_init(&board->cond, 0), 0);
    assert_int_equal(thirl_rwlock_init(&board->lock, 0), 0);
    assert_int_equal(thirl_sem_init(&board->sem, 2, 0), 0);
    assert_int_equal(thirl_event_init(&board->event, THIRL_LOCK_AUTOMATIC), 0);
    assert_int_equal(thirl_barrier_init(&board->barrier, 3), 0);
}

struct guest {
    int (*body)(uint32_t who);
    uint32_t who;
};

/* Runs it as process 1 of a new PID namespace with its own /proc; dies with whoever waits for it here. */
static int live_apart(void *argument) {
    const struct guest *guest = argument;
    if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return CANNOT;
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(mount("proc", "/proc", "proc", 0, NULL) != 0 ? CANNOT : getpid() != 1 ? 1 : guest->body(guest->who));
    }
    return pid < 0 ? CANNOT : room_reap(pid);
}

static pid_t invite(struct guest *guest) {
    return room_fork(live_apart, guest);
}

static int do_nothing(uint32_t who) {
    (void)who;
    return 0;
}

/* false, with a line: it cannot be done here. */
static bool can(void) {
    struct guest nobody = {do_nothing, 0};
    if (geteuid() == 0 && room_reap(invite(&nobody)) == 0) {
        return true;
    }
    print_message("PID namespaces with a /proc of their own cannot be made here\n");
    return false;
}

/* Three pass a ball, each to the next. */
static int pass(uint32_t who) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
        while (board->at % 3 != who) CHECK(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000)) == 0);
        board->at++;
        CHECK(thirl_cond_broadcast(&board->cond) == 0);
        CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    }
    return 0;
}

static void a_ball_is_passed(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest one = {pass, 1}, two = {pass, 2};
    anew();
    pid_t first = invite(&one), second = invite(&two);
    assert_int_equal(pass(0), 0);
    assert_int_equal(room_reap(first), 0);
    assert_int_equal(room_reap(second), 0);
    assert_int_equal(board->at, 3 * ROUNDS);
}

static int read_and_write(uint32_t who) {
    for (uint32_t i = 0; i < ROUNDS; i++) {
        bool to_write = i % 3 == who;
        CHECK((to_write ? thirl_rwlock_write : thirl_rwlock_read)(&board->lock, thirl_in_ms(20000)) == 0);
        CHECK(board->first == board->second);
        if (to_write) {
            atomic_poke(&board->first, board->first + 1);
            atomic_poke(&board->second, board->second + 1);
        }
        CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    }
    return 0;
}

static void readers_and_writers_are_told_apart(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest one = {read_and_write, 1}, two = {read_and_write, 2};
    anew();
    pid_t first = invite(&one), second = invite(&two);
    assert_int_equal(read_and_write(0), 0);
    assert_int_equal(room_reap(first), 0);
    assert_int_equal(room_reap(second), 0);
}

static int stay_as_reader(uint32_t who) {
    CHECK(thirl_rwlock_read(&board->lock, thirl_in_ms(20000)) == 0);
    (void)atomic_add(&board->in, 1u);
    CHECK(who != 0 || member_wait(&board->go, 1));
    if (who != 0) (void)pause();
    CHECK(thirl_rwlock_unlock(&board->lock) == 0);
    return 0;
}

static int end_with_the_mutex(uint32_t who) {
    CHECK(thirl_mutex_lock(&board->mutex, thirl_in_ms(20000)) == 0);
    (void)atomic_add(&board->in, who);
    return 0;
}

/* One of two readers dies, both with the number 1: the other one's share stays. */
static void one_of_two_dies(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest stays = {stay_as_reader, 0}, dies = {stay_as_reader, 1};
    anew();
    pid_t first = invite(&stays), second = invite(&dies);
    assert_true(member_wait(&board->in, 2));
    kill(second, SIGKILL);
    assert_int_equal(room_reap(second), 128 + SIGKILL);
    assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(200)), -ETIMEDOUT);
    atomic_store(&board->go, 1);
    assert_int_equal(thirl_rwlock_write(&board->lock, thirl_in_ms(9000)), 0);
    assert_int_equal(thirl_rwlock_unlock(&board->lock), 0);
    assert_int_equal(room_reap(first), 0);
}

/* Who waits takes over from an owner in another namespace. */
static void who_waits_takes_over(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest dies = {end_with_the_mutex, 1};
    anew();
    assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
    pid_t pid = invite(&dies);
    assert_int_equal(thirl_cond_wait(&board->cond, &board->mutex, thirl_in_ms(20000)), THIRL_OWNER_DIED);
    assert_int_equal(board->in, 1);
    assert_int_equal(thirl_mutex_mend(&board->mutex), 0);
    assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
    assert_int_equal(room_reap(pid), 0);
}

/* Two are there, both with the number 1, until the second is killed, and the first is told to go. */
struct stay {
    struct guest first, second;
    pid_t pid[2];
};

static bool both_come(struct stay *stay, int (*body)(uint32_t)) {
    anew();
    stay->first = (struct guest){body, 0};
    stay->second = (struct guest){body, 1};
    stay->pid[0] = invite(&stay->first);
    stay->pid[1] = invite(&stay->second);
    return member_wait(&board->in, 2);
}

static void second_dies(const struct stay *stay) {
    kill(stay->pid[1], SIGKILL);
    assert_int_equal(room_reap(stay->pid[1]), 128 + SIGKILL);
}

static void first_goes(const struct stay *stay) {
    atomic_store(&board->go, 1);
    assert_int_equal(room_reap(stay->pid[0]), 0);
}

/* Says that it is there, and waits for its fate. */
static int stay_there(uint32_t who) {
    (void)atomic_add(&board->in, 1u);
    if (who != 0) (void)pause();
    CHECK(member_wait(&board->go, 1));
    return 0;
}

static int stay_with_a_permit(uint32_t who) {
    CHECK(thirl_sem_wait(&board->sem, thirl_in_ms(20000)) == 0);
    CHECK(stay_there(who) == 0);
    return thirl_sem_post(&board->sem);
}

/* A dead one's permit comes back, and the living one's does not. */
static void permits_are_told_apart(void **state) {
    (void)state;
    if (!can()) skip();
    struct stay two;
    assert_true(both_come(&two, stay_with_a_permit));
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(100)), -ETIMEDOUT);
    second_dies(&two);
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(9000)), THIRL_OWNER_DIED);
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(100)), -ETIMEDOUT);
    first_goes(&two);
    assert_int_equal(thirl_sem_wait(&board->sem, thirl_in_ms(9000)), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(thirl_sem_post(&board->sem), 0);
}

static int meet(uint32_t who) {
    CHECK(thirl_barrier_join(&board->barrier) == 0);
    (void)atomic_add(&board->in, 1u);
    CHECK(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(20000)) == 0); /* all three */
    if (who != 0) (void)pause();
    int rc = thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(20000));
    CHECK(rc == THIRL_OWNER_DIED); /* only two are left */
    return thirl_barrier_leave(&board->barrier);
}

static void members_are_told_apart(void **state) {
    (void)state;
    if (!can()) skip();
    struct stay two;
    assert_true(both_come(&two, meet));
    assert_int_equal(thirl_barrier_join(&board->barrier), 0);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(20000)), 0);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(100)), -ETIMEDOUT); /* the second lives */
    second_dies(&two);
    assert_int_equal(thirl_barrier_wait(&board->barrier, NULL, thirl_in_ms(9000)), THIRL_OWNER_DIED);
    assert_int_equal(room_reap(two.pid[0]), 0);
    assert_int_equal(thirl_barrier_leave(&board->barrier), 0);
}

static int begin_it(uint32_t who) {
    int rc = thirl_once_begin(&board->once, who == 0 ? THIRL_NOW : thirl_in_ms(20000));
    CHECK(who == 0 ? rc == THIRL_ONCE_YOURS : rc == THIRL_OWNER_DIED);
    (void)atomic_add(&board->in, 1u);
    (void)pause();
    return 1;
}

/* Each is told of the death of the one before, and only then. */
static void what_is_done_once_is_inherited(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest one = {begin_it, 0}, two = {begin_it, 1};
    anew();
    pid_t first = invite(&one);
    assert_true(member_wait(&board->in, 1));
    assert_int_equal(thirl_once_begin(&board->once, thirl_in_ms(100)), -ETIMEDOUT);
    pid_t second = invite(&two);
    kill(first, SIGKILL);
    assert_int_equal(room_reap(first), 128 + SIGKILL);
    assert_true(member_wait(&board->in, 2));
    assert_int_equal(thirl_once_begin(&board->once, thirl_in_ms(100)), -ETIMEDOUT);
    kill(second, SIGKILL);
    assert_int_equal(room_reap(second), 128 + SIGKILL);
    assert_int_equal(thirl_once_begin(&board->once, thirl_in_ms(9000)), THIRL_OWNER_DIED);
    assert_int_equal(thirl_once_end(&board->once, 1), 0);
}

static int take_events(uint32_t who) {
    for (uint32_t i = 0; i < ROUNDS; i++) {
        CHECK(thirl_event_wait(&board->event, thirl_in_ms(20000)) == 0);
        (void)atomic_add(&board->at, 1u);
    }
    return who > 1;
}

/* An automatic one lets one of two pass each time, and one that is killed as it sleeps takes none along. */
static void events_wake_one(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest one = {take_events, 0}, two = {take_events, 1};
    anew();
    pid_t first = invite(&one), second = invite(&two);
    for (uint32_t i = 0; i < ROUNDS / 2; i++) {
        assert_int_equal(thirl_event_set(&board->event), 0);
        assert_true(member_wait(&board->at, i + 1));
        assert_int_equal(atomic_load(&board->at), i + 1);
    }
    kill(second, SIGKILL);
    assert_int_equal(room_reap(second), 128 + SIGKILL);
    uint32_t at = atomic_load(&board->at);
    for (uint32_t i = 0; i < ROUNDS / 4; i++) {
        assert_int_equal(thirl_event_set(&board->event), 0);
        assert_true(member_wait(&board->at, at + i + 1));
    }
    kill(first, SIGKILL);
    assert_int_equal(room_reap(first), 128 + SIGKILL);
}

static int end_with_a_named_one(uint32_t who) {
    thirl_lock *lock;
    (void)who;
    CHECK(thirl_lock_open(&lock, "apart", THIRL_LOCK_MUTEX, NULL) == 0);
    CHECK(thirl_mutex_lock(lock->mutex, thirl_in_ms(20000)) >= 0);
    (void)atomic_add(&board->in, 1u);
    (void)pause();
    return 1;
}

static void a_lock_by_name_is_inherited(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest guest = {end_with_a_named_one, 0};
    thirl_lock *lock;
    anew();
    pid_t pid = invite(&guest);
    assert_true(member_wait(&board->in, 1));
    assert_int_equal(thirl_lock_open(&lock, "apart", THIRL_LOCK_MUTEX, NULL), 0);
    assert_int_equal(thirl_mutex_lock(lock->mutex, thirl_in_ms(100)), -ETIMEDOUT);
    kill(pid, SIGKILL);
    assert_int_equal(room_reap(pid), 128 + SIGKILL);
    assert_int_equal(thirl_mutex_lock(lock->mutex, thirl_in_ms(9000)), THIRL_OWNER_DIED);
    assert_int_equal(thirl_mutex_unlock(lock->mutex), 0);
    thirl_lock_close(&lock);
    assert_int_equal(thirl_lock_remove("apart"), 0);
}

static int lends_priority_here_only(uint32_t who) {
    (void)who;
    CHECK(thirl_mutex_lock(&board->mutex, THIRL_NOW) == -EXDEV && strstr(thirl_why(), "namespace") != NULL);
    return 0;
}

/* The kernel knows threads by numbers, which mean nothing there: so it is refused, and not mistaken. */
static void lent_priority_is_refused_elsewhere(void **state) {
    (void)state;
    if (!can()) skip();
    struct guest guest = {lends_priority_here_only, 0};
    anew();
    assert_int_equal(thirl_mutex_init(&board->mutex, THIRL_LOCK_INHERIT), 0);
    assert_int_equal(room_reap(invite(&guest)), 0);
    assert_int_equal(thirl_mutex_lock(&board->mutex, THIRL_NOW), 0);
    assert_int_equal(thirl_mutex_unlock(&board->mutex), 0);
}

/* ---- state and cache ---- */

static int write_in_turn(uint32_t who) {
    thirl_state *s;
    uint64_t value[40];
    CHECK(thirl_state_open(&s, "apart", NULL) == 0);
    (void)atomic_add(&board->in, 1u);
    for (uint64_t i = 0; who != 0 || atomic_load(&board->go) == 0; i++) {
        for (size_t k = 0; k < 40; k++) value[k] = i + k;
        CHECK(thirl_state_set(s, value, sizeof value, thirl_in_ms(20000)) == 0);
    }
    return 0;
}

/* One of two writers is killed again and again: the other goes on, and the value is whole. */
static void a_state_has_writers_apart(void **state) {
    (void)state;
    if (!can()) skip();
    struct stay two;
    thirl_state *s;
    uint64_t value[40], version = 0;
    size_t size;
    assert_true(both_come(&two, write_in_turn));
    assert_int_equal(thirl_state_open(&s, "apart", NULL), 0);
    for (int round = 0; round < 5; round++) {
        second_dies(&two);
        two.pid[1] = invite(&two.second);
        assert_true(member_wait(&board->in, (uint32_t)round + 3));
        for (int i = 0; i < 200; i++) {
            assert_int_equal(thirl_state_wait(s, &version, thirl_in_ms(9000)), 0);
            assert_int_equal(thirl_state_get(s, value, sizeof value, &size, NULL), 0);
            assert_int_equal(size, sizeof value);
            for (size_t k = 0; k < 40; k++) assert_int_equal(value[k], value[0] + k);
        }
    }
    second_dies(&two);
    first_goes(&two);
    thirl_state_close(&s);
    assert_int_equal(thirl_state_remove("apart"), 0);
}

static int stay_with_a_pin(uint32_t who) {
    thirl_cache *c;
    struct thirl_cache_pin pin;
    CHECK(thirl_cache_open(&c, "apart", NULL) == 0);
    CHECK(thirl_cache_get(c, who == 0 ? "stays" : "dies", who == 0 ? 5 : 4, &pin) == 0 &&
          *(const char *)pin.value == 'v');
    CHECK(stay_there(who) == 0 && *(const char *)pin.value == 'v');
    thirl_cache_unpin(c, &pin);
    thirl_cache_close(&c);
    return 0;
}

/* So many items wait for so many pins, and there are no more handles: at once, or when the kernel has ended somebody. */
static bool becomes(thirl_cache *c, uint64_t pins, uint32_t seats) {
    struct thirl_cache_info info = {.size = sizeof info};
    for (int64_t until = clock_now() + 9 * CLOCK_S; clock_now() < until; room_sleep(CLOCK_MS)) {
        assert_int_equal(thirl_cache_info(c, &info), 0);
        assert_true(info.waiting >= pins && info.pins >= pins && info.seats_taken >= seats);
        if (info.waiting == pins && info.pins == pins && info.seats_taken == seats) return true;
    }
    return false;
}

/* What a dead one had pinned is free again, and what a living one reads stays. */
static void pins_are_told_apart(void **state) {
    (void)state;
    if (!can()) skip();
    const struct thirl_cache_options wish = {.size = sizeof wish, .bytes = 1 << 20};
    struct stay two;
    thirl_cache *c;
    assert_int_equal(thirl_cache_open(&c, "apart", &wish), 0);
    assert_int_equal(thirl_cache_put(c, "stays", 5, "v", 1, THIRL_NEVER, THIRL_SOON), 0);
    assert_int_equal(thirl_cache_put(c, "dies", 4, "v", 1, THIRL_NEVER, THIRL_SOON), 0);
    assert_true(both_come(&two, stay_with_a_pin));
    for (int i = 0; i < 2; i++)
        assert_int_equal(thirl_cache_remove(c, i == 0 ? "stays" : "dies", i == 0 ? 5 : 4, THIRL_SOON), 0);
    assert_true(becomes(c, 2, 3));
    second_dies(&two);
    assert_true(becomes(c, 1, 2));
    room_sleep(60 * CLOCK_MS);
    assert_true(becomes(c, 1, 2));
    first_goes(&two);
    assert_true(becomes(c, 0, 1));
    thirl_cache_close(&c);
    assert_int_equal(thirl_cache_remove_name("apart"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ball_is_passed),
        cmocka_unit_test(readers_and_writers_are_told_apart),
        cmocka_unit_test(one_of_two_dies),
        cmocka_unit_test(who_waits_takes_over),
        cmocka_unit_test(permits_are_told_apart),
        cmocka_unit_test(members_are_told_apart),
        cmocka_unit_test(what_is_done_once_is_inherited),
        cmocka_unit_test(events_wake_one),
        cmocka_unit_test(a_lock_by_name_is_inherited),
        cmocka_unit_test(lent_priority_is_refused_elsewhere),
        cmocka_unit_test(a_state_has_writers_apart),
        cmocka_unit_test(pins_are_told_apart),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
