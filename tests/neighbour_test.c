/* SPDX-License-Identifier: MIT
 *
 * Semaphores, read-write locks, barriers and events beside processes that this test makes up: who cannot join, who holds nothing, what is in
 * one that somebody has scribbled on, and what happens where two meet at one instruction.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/lock.h"
#include "sync/barrier.h"
#include "sync/beacon.h"
#include "sync/rwlock.h"
#include "sync/sem.h"
#include "sync/token.h"
#include "tests/lone.h"
#include "tests/member.h"

static thirl_sem sem;
static thirl_rwlock lock;
static thirl_barrier barrier;
static thirl_event event;
static thirl_mutex mutex;
static struct sem *const s = (struct sem *)(void *)&sem;
static struct rwlock *const l = (struct rwlock *)(void *)&lock;
static struct barrier *const b = (struct barrier *)(void *)&barrier;

static bool make(uint32_t permits) {
    return thirl_sem_init(&sem, permits, 0) == 0 && thirl_rwlock_init(&lock, 0) == 0 &&
           thirl_barrier_init(&barrier, 2) == 0 && thirl_event_init(&event, 0) == 0 && thirl_mutex_init(&mutex, 0) == 0;
}

static bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

#define REFUSED(call) ((call) == -ENOENT && says("no registry here"))

static int do_who_cannot_join_is_told(void *nothing) {
    (void)nothing;
    lone.refusal = ENOENT;
    CHECK(make(1));
    CHECK(REFUSED(thirl_sem_wait(&sem, THIRL_NEVER)) && REFUSED(thirl_sem_post(&sem)) &&
          REFUSED(thirl_sem_deinit(&sem)));
    CHECK(REFUSED(thirl_rwlock_read(&lock, THIRL_NEVER)) && REFUSED(thirl_rwlock_write(&lock, THIRL_NEVER)));
    CHECK(REFUSED(thirl_rwlock_deinit(&lock)) && REFUSED(thirl_barrier_deinit(&barrier)));
    CHECK(REFUSED(thirl_barrier_join(&barrier)) && REFUSED(thirl_event_wait(&event, thirl_in_ms(1))));
    CHECK(s->holder[0] == 0 && l->word == 0 && l->shares == 0 && b->place[0].holder == 0);
    lone.refusal = 0;
    CHECK(thirl_sem_wait(&sem, THIRL_NEVER) == 0 && thirl_sem_post(&sem) == 0 && thirl_sem_deinit(&sem) == 0);
    CHECK(thirl_rwlock_read(&lock, THIRL_NEVER) == 0 && thirl_rwlock_unlock(&lock) == 0);
    CHECK(thirl_barrier_deinit(&barrier) == 0 && thirl_event_wait(&event, thirl_in_ms(1)) == -ETIMEDOUT);
    return 0;
}
IN_A_CHILD(who_cannot_join_is_told)

static int nobody_lets_go(void) {
    static thirl_rwlock none;
    CHECK(thirl_rwlock_unlock(&lock) == -EPERM && thirl_rwlock_mend(&lock) == -EPERM);
    CHECK(thirl_rwlock_condemn(&lock) == -EPERM && says("for writing"));
    CHECK(thirl_rwlock_unlock(&none) == -EINVAL && thirl_rwlock_mend(&none) == -EINVAL);
    CHECK(thirl_rwlock_condemn(&none) == -EINVAL && thirl_rwlock_condemn(NULL) == -EINVAL);
    CHECK(thirl_barrier_wait(&barrier, NULL, THIRL_NEVER) == -EPERM && thirl_barrier_leave(&barrier) == -EPERM);
    CHECK(says("no place at the barrier"));
    return 0;
}

static int do_who_holds_nothing_lets_go_of_nothing(void *nothing) {
    (void)nothing;
    CHECK(make(1) && nobody_lets_go() == 0 && party_me() == NULL);
    CHECK(party_join() == 0 && nobody_lets_go() == 0 && thirl_sem_post(&sem) == -EPERM && party_me()->slip->held == 0);
    return 0;
}
IN_A_CHILD(who_holds_nothing_lets_go_of_nothing)

static int do_what_a_dead_one_holds_is_nobodys(void *nothing) {
    (void)nothing;
    CHECK(make(2));
    s->holder[1] = l->word = b->place[1].holder = LONE_OTHER;
    CHECK(thirl_sem_deinit(&sem) == -EBUSY && thirl_rwlock_deinit(&lock) == -EBUSY);
    CHECK(thirl_barrier_deinit(&barrier) == -EBUSY && says("alive"));
    s->holder[1] = l->word = b->place[1].holder = LONE_DEAD;
    CHECK(thirl_sem_deinit(&sem) == 0 && thirl_rwlock_deinit(&lock) == 0 && thirl_barrier_deinit(&barrier) == 0);
    CHECK(s->tag == 0 && l->tag == 0 && b->tag == 0);
    return 0;
}
IN_A_CHILD(what_a_dead_one_holds_is_nobodys)

/* ---- permits ---- */

static int do_a_word_without_a_process_is_no_ones_permit(void *nothing) {
    (void)nothing;
    CHECK(make(2));
    s->holder[0] = s->holder[1] = 5;
    CHECK(thirl_sem_wait(&sem, THIRL_NOW) == -EAGAIN && s->holder[0] == 5 && s->holder[1] == 5);
    return 0;
}
IN_A_CHILD(a_word_without_a_process_is_no_ones_permit)

static void take_the_first(void) {
    s->holder[0] = LONE_OTHER;
}

static void say_that_it_waits(void) {
    s->word |= UINT64_C(1) << 40;
}

static int do_two_inherit_one_permit(void *nothing) {
    (void)nothing;
    CHECK(make(2));
    s->holder[0] = s->holder[1] = LONE_DEAD;
    lone_at("sem.inherit.before", take_the_first);
    CHECK(thirl_sem_wait(&sem, THIRL_NOW) == THIRL_OWNER_DIED);
    CHECK(s->holder[0] == LONE_OTHER && (s->holder[1] & PARTY_ID) == LONE_ID);
    s->holder[1] = LONE_DEAD; /* whose time is up looks at who died, too */
    lone_at("sem.wait.before", say_that_it_waits);
    CHECK(thirl_sem_wait(&sem, (thirl_time){1}) == THIRL_OWNER_DIED);
    CHECK(s->word == ((UINT64_C(1) << 40) | SEM_WAITERS));
    return 0;
}
IN_A_CHILD(two_inherit_one_permit)

/* ---- readers and writers ---- */

static int do_a_thread_of_another_process_has_the_same_number(void *nothing) {
    (void)nothing;
    CHECK(make(1) && party_join() == 0);
    l->word = LONE_OTHER;
    l->thread = party_me()->number;
    CHECK(thirl_rwlock_write(&lock, THIRL_NOW) == -EAGAIN && thirl_rwlock_read(&lock, THIRL_NOW) == -EAGAIN);
    CHECK(nobody_lets_go() == 0 && l->word == LONE_OTHER);
    return 0;
}
IN_A_CHILD(a_thread_of_another_process_has_the_same_number)

/* A number that a thread will have is foreseen in the lock: its list does not lose what it never had. */
static int do_a_foreseen_number_costs_no_place_in_the_list(void *writes) {
    CHECK(make(1));
    l->thread = (uint32_t)(LONE_ID >> 16) * UINT32_C(0x9e3779b1) + 1;
    l->word = LONE_ID;
    CHECK((writes != NULL ? thirl_rwlock_write : thirl_rwlock_read)(&lock, THIRL_NEVER) == -EDEADLK);
    CHECK(party_me()->number == l->thread && party_me()->slip->held == 0);
    return 0;
}

static void a_foreseen_number_costs_no_place_in_the_list(void **state) {
    (void)state;
    assert_int_equal(room_run(do_a_foreseen_number_costs_no_place_in_the_list, NULL), 0);
    assert_int_equal(room_run(do_a_foreseen_number_costs_no_place_in_the_list, &lock), 0);
}

static int do_who_has_a_full_list_does_not_wait_for_himself(void *nothing) {
    (void)nothing;
    static thirl_mutex many[SLIP_HOLDS];
    CHECK(make(1) && thirl_rwlock_write(&lock, THIRL_NOW) == 0);
    for (unsigned i = 1; i < SLIP_HOLDS; i++) {
        CHECK(thirl_mutex_init(&many[i], 0) == 0 && thirl_mutex_lock(&many[i], THIRL_NOW) == 0);
    }
    CHECK(thirl_rwlock_read(&lock, THIRL_NEVER) == -EDEADLK && party_me()->slip->held == SLIP_HOLDS);
    CHECK(thirl_rwlock_unlock(&lock) == 0 && party_me()->slip->held == SLIP_HOLDS - 1);
    CHECK(thirl_rwlock_read(&lock, THIRL_NOW) == 0 && thirl_rwlock_unlock(&lock) == 0);
    return 0;
}
IN_A_CHILD(who_has_a_full_list_does_not_wait_for_himself)

static int do_whose_list_cannot_be_read_may_read(void *nothing) {
    (void)nothing;
    const struct slip slip = {.thread = 1, .number = 1};
    struct slip_process process = {.id = LONE_OTHER, .exe = "", .alive = true};
    lone.process = &process;
    lone.processes = 1;
    CHECK(make(1));
    l->shares = 1;
    CHECK(thirl_rwlock_deinit(&lock) == -EBUSY && says(": 1") && l->shares == 1);
    process.slip = &slip;
    process.slips = 1;
    CHECK(thirl_rwlock_deinit(&lock) == 0 && l->tag == 0);
    return 0;
}
IN_A_CHILD(whose_list_cannot_be_read_may_read)

/* Who waits for less than a slice finds the dead, too, if nobody has of late. */
static int do_a_short_wait_finds_dead_readers(void *nothing) {
    (void)nothing;
    CHECK(make(1));
    const struct slip reader = {
        .thread = 1, .number = 1, .held = 1, .hold = {{.tag = l->tag ^ SLIP_RWLOCK ^ SLIP_SHARE}}};
    struct slip_process process = {.id = LONE_OTHER, .exe = "", .alive = true, .slip = &reader, .slips = 1};
    lone.process = &process;
    lone.processes = 1;
    l->shares = 2;
    CHECK(thirl_rwlock_write(&lock, (thirl_time){1}) == -ETIMEDOUT && (uint32_t)l->shares == 1 && l->word == 0);
    l->counted = 0;
    process.alive = false;
    CHECK(thirl_rwlock_write(&lock, (thirl_time){1}) == 0 && (uint32_t)l->shares == 0);
    CHECK(thirl_rwlock_unlock(&lock) == 0);
    return 0;
}
IN_A_CHILD(a_short_wait_finds_dead_readers)

static void begin_to_write(void) {
    l->word = LONE_OTHER;
}

static void give_it_up(void) {
    l->word = OWNER_CONDEMNED;
}

static int do_what_was_free_is_not_any_more_when_a_reader_is_in(void *nothing) {
    (void)nothing;
    CHECK(make(1));
    l->word = OWNER_DIED; /* so that it takes the long way */
    lone_at("rwlock.enter.between", begin_to_write);
    CHECK(thirl_rwlock_read(&lock, THIRL_NOW) == -EAGAIN && (uint32_t)l->shares == 0 && l->word == LONE_OTHER);
    l->word = OWNER_DIED;
    lone_at("rwlock.enter.between", give_it_up);
    CHECK(thirl_rwlock_read(&lock, THIRL_NOW) == -ENOTRECOVERABLE && (uint32_t)l->shares == 0);
    CHECK(party_me()->slip->held == 0);
    return 0;
}
IN_A_CHILD(what_was_free_is_not_any_more_when_a_reader_is_in)

static unsigned looks;

static void let_the_reader_out(void) {
    if (++looks == 2) l->shares -= 1; /* while the circle is looked at once more */
}

/* The reader waits for a mutex that this thread has, and this thread for him: a circle, and then he is out. */
static int do_a_circle_that_opens_meanwhile_is_none(void *nothing) {
    (void)nothing;
    CHECK(make(1) && thirl_rwlock_init(&lock, THIRL_LOCK_DEADLOCK) == 0 && thirl_mutex_lock(&mutex, THIRL_NOW) == 0);
    uint64_t tag = party_me()->slip->hold[0].tag, share = l->tag ^ SLIP_RWLOCK ^ SLIP_SHARE;
    const struct slip reader = {
        .thread = 1, .number = 1, .held = 1, .wait = {.kind = SLIP_MUTEX, .tag = tag}, .hold = {{.tag = share}}};
    const struct slip_process processes[] = {
        {.id = LONE_OTHER, .exe = "", .alive = true, .slip = &reader, .slips = 1},
        {.id = LONE_ID, .exe = "", .alive = true, .slip = lone.slip, .slips = LONE_SLIPS},
    };
    lone.process = processes;
    lone.processes = 2;
    l->shares = 1;
    CHECK(thirl_rwlock_write(&lock, thirl_in_ms(300)) == -EDEADLK && says("circle") && l->word == 0);
    lone.looked = let_the_reader_out;
    CHECK(thirl_rwlock_write(&lock, thirl_in_ms(2000)) == 0 && looks >= 2);
    return 0;
}
IN_A_CHILD(a_circle_that_opens_meanwhile_is_none)

/* ---- barriers ---- */

static void open_it(void) {
    b->word += BARRIER_GENERATION;
}

static int do_who_gives_up_as_it_opens_has_come(void *nothing) {
    (void)nothing;
    uint32_t generation = 0;
    CHECK(make(1) && thirl_barrier_join(&barrier) == 0 && thirl_barrier_wait(&barrier, NULL, THIRL_NOW) == -EAGAIN);
    lone_at("barrier.back.between", open_it);
    CHECK(thirl_barrier_wait(&barrier, &generation, THIRL_NOW) == 0 && generation == 1);
    return 0;
}
IN_A_CHILD(who_gives_up_as_it_opens_has_come)

static void change_it(void) {
    b->word += BARRIER_CHANGE;
}

/* A place says who has it before it says as which pid. */
static int do_who_has_not_said_his_pid_is_somebody(void *nothing) {
    (void)nothing;
    CHECK(make(1) && thirl_barrier_join(&barrier) == 0);
    b->place[1].holder = LONE_OTHER;
    b->word |= BARRIER_BEGUN;
    CHECK(thirl_barrier_wait(&barrier, NULL, THIRL_NOW) == -EAGAIN && says("2 of those") && !says("pid"));
    b->place[1].pid = 77;
    CHECK(thirl_barrier_wait(&barrier, NULL, THIRL_NOW) == -EAGAIN && says("pid 77 among them"));
    b->place[1].pid = 0;
    b->place[1].holder = LONE_DEAD;
    lone_at("barrier.bury.before", change_it);
    CHECK(thirl_barrier_wait(&barrier, NULL, THIRL_NOW) == THIRL_OWNER_DIED && says("a process, which had a place"));
    CHECK(b->place[1].holder == 0);
    return 0;
}
IN_A_CHILD(who_has_not_said_his_pid_is_somebody)

/* ---- what counts ---- */

static uint64_t word;

static void post_one(void) {
    word += TOKEN_ONE | TOKEN_WAITERS;
}

static int do_what_is_posted_while_it_is_cleared_is_cleared_too(void *nothing) {
    (void)nothing;
    word = TOKEN_POSTS + TOKEN_ONE;
    lone_at("token.clear.before", post_one);
    token_clear(&word);
    CHECK(word == TOKEN_POSTS + TOKEN_WAITERS);
    return 0;
}
IN_A_CHILD(what_is_posted_while_it_is_cleared_is_cleared_too)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_cannot_join_is_told),
        cmocka_unit_test(who_holds_nothing_lets_go_of_nothing),
        cmocka_unit_test(what_a_dead_one_holds_is_nobodys),
        cmocka_unit_test(a_word_without_a_process_is_no_ones_permit),
        cmocka_unit_test(two_inherit_one_permit),
        cmocka_unit_test(a_thread_of_another_process_has_the_same_number),
        cmocka_unit_test(a_foreseen_number_costs_no_place_in_the_list),
        cmocka_unit_test(who_has_a_full_list_does_not_wait_for_himself),
        cmocka_unit_test(whose_list_cannot_be_read_may_read),
        cmocka_unit_test(a_short_wait_finds_dead_readers),
        cmocka_unit_test(what_was_free_is_not_any_more_when_a_reader_is_in),
        cmocka_unit_test(a_circle_that_opens_meanwhile_is_none),
        cmocka_unit_test(who_gives_up_as_it_opens_has_come),
        cmocka_unit_test(who_has_not_said_his_pid_is_somebody),
        cmocka_unit_test(what_is_posted_while_it_is_cleared_is_cleared_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
