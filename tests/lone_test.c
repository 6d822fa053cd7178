/* SPDX-License-Identifier: MIT
 *
 * Mutexes, what is done once, and condition variables beside processes that this test makes up: who cannot join, who holds nothing, what is
 * in a lock that somebody has scribbled on, and what happens where two meet at one instruction.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/proc.h"
#include "include/thirl/lock.h"
#include "sync/cond.h"
#include "sync/mutex.h"
#include "sync/once.h"
#include "sync/order.h"
#include "sync/rank.h"
#include "tests/lone.h"
#include "tests/member.h"

static thirl_mutex mutex, other;
static thirl_cond cond;
static thirl_once once;
static struct mutex *const m = (struct mutex *)(void *)&mutex;
static struct cond *const c = (struct cond *)(void *)&cond;
static struct once *const o = (struct once *)(void *)&once;

static const uint32_t with_each_flag[] = {0, THIRL_LOCK_RECURSIVE, THIRL_LOCK_INHERIT};
#define FLAGS (sizeof with_each_flag / sizeof *with_each_flag)

static bool make(uint32_t flags) {
    return thirl_mutex_init(&mutex, flags) == 0 && thirl_mutex_init(&other, flags) == 0 &&
           thirl_cond_init(&cond, 0) == 0;
}

static bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

/* ---- who joins ---- */

static int do_who_cannot_join_is_told(void *nothing) {
    (void)nothing;
    lone.refusal = ENOENT;
    CHECK(make(0));
    CHECK(thirl_mutex_lock(&mutex, THIRL_NEVER) == -ENOENT && says("no registry here"));
    CHECK(thirl_mutex_deinit(&mutex) == -ENOENT && says("no registry here"));
    CHECK(thirl_once_begin(&once, THIRL_NEVER) == -ENOENT && says("no registry here"));
    CHECK(thirl_cond_deinit(&cond) == -ENOENT && says("no registry here"));
    CHECK(o->tag == 0 && m->word == 0 && m->tag != 0 && c->tag != 0);
    lone.refusal = 0;
    CHECK(thirl_mutex_lock(&mutex, THIRL_NEVER) == 0 && thirl_mutex_unlock(&mutex) == 0);
    CHECK(thirl_once_begin(&once, THIRL_NEVER) == THIRL_ONCE_YOURS && thirl_once_end(&once, 1) == 0);
    CHECK(thirl_cond_deinit(&cond) == 0 && thirl_mutex_deinit(&mutex) == 0);
    return 0;
}
IN_A_CHILD(who_cannot_join_is_told)

static int do_who_has_no_page_for_fork_is_told(void *nothing) {
    (void)nothing;
    lone.no_page = true;
    CHECK(make(0) && thirl_mutex_lock(&mutex, THIRL_NOW) == -ENOMEM && says("forked child"));
    lone.no_page = false;
    CHECK(thirl_mutex_lock(&mutex, THIRL_NOW) == 0 && thirl_mutex_unlock(&mutex) == 0);
    return 0;
}
IN_A_CHILD(who_has_no_page_for_fork_is_told)

static int do_no_thread_has_the_number_zero(void *nothing) {
    (void)nothing;
    uint32_t inverse = 1;
    for (int i = 0; i < 5; i++) inverse *= 2 - UINT32_C(0x9e3779b1) * inverse;
    lone.id = (uint64_t)(uint32_t)(0 - inverse) << 16; /* the number before the first is the largest there is */
    CHECK(party_join() == 0 && party_me()->number == 1);
    return 0;
}
IN_A_CHILD(no_thread_has_the_number_zero)

static int do_without_dice_things_have_names_still(void *nothing) {
    (void)nothing;
    lone.no_random = true;
    uint64_t one = party_tag(SLIP_MUTEX), two = party_tag(SLIP_MUTEX);
    CHECK(one != two && (one & SLIP_KIND_BITS) == SLIP_MUTEX && (two & SLIP_KIND_BITS) == SLIP_MUTEX);
    return 0;
}
IN_A_CHILD(without_dice_things_have_names_still)

/* Others may have the program's own values under the numbers of keys. */
static int do_a_key_that_is_not_to_be_had_is_not_written(void *nothing) {
    (void)nothing;
    pthread_key_t key;
    const void *first = pthread_getspecific(0);
    while (pthread_key_create(&key, NULL) == 0) {}
    CHECK(make(0) && thirl_mutex_lock(&mutex, THIRL_NEVER) == 0 && thirl_mutex_unlock(&mutex) == 0);
    CHECK(pthread_getspecific(0) == first);
    return 0;
}
IN_A_CHILD(a_key_that_is_not_to_be_had_is_not_written)

static void *lock_and_leave(void *keeps) {
    intptr_t rc = thirl_mutex_lock(&mutex, THIRL_NEVER);
    if (rc == 0 && keeps == NULL) rc = thirl_mutex_unlock(&mutex);
    return (void *)rc;
}

static int in_a_thread(void *(*body)(void *), void *argument) {
    pthread_t thread;
    void *answer = &thread;
    CHECK(pthread_create(&thread, NULL, body, argument) == 0 && pthread_join(thread, &answer) == 0);
    return (int)(intptr_t)answer;
}

static void *fork_and_end(void *nothing) {
    (void)nothing;
    if (party_join() != 0) return (void *)1;
    pid_t child = fork();
    if (child == 0) {
        lone.given = 0;
        pthread_exit(NULL); /* the last thread: the process ends well */
    }
    return (void *)(intptr_t)room_reap(child);
}

static int do_slips_come_back_from_threads_that_hold_nothing(void *nothing) {
    (void)nothing;
    CHECK(make(0) && party_join() == 0);
    CHECK(in_a_thread(lock_and_leave, NULL) == 0 && lone.given == 1);
    CHECK(in_a_thread(fork_and_end, NULL) == 0 && lone.given == 2);
    lone.no_slips = true;
    CHECK(in_a_thread(lock_and_leave, NULL) == 0 && lone.given == 2); /* it had none */
    lone.no_slips = false;
    CHECK(in_a_thread(lock_and_leave, &mutex) == 0 && lone.given == 2); /* what it held stays to be seen */
    return 0;
}
IN_A_CHILD(slips_come_back_from_threads_that_hold_nothing)

static int do_who_has_no_slip_locks_all_the_same(void *nothing) {
    (void)nothing;
    lone.no_slips = true;
    CHECK(make(0) && thirl_mutex_lock(&mutex, THIRL_NOW) == 0 && thirl_mutex_lock(&other, THIRL_NEVER) == 0);
    CHECK(thirl_mutex_unlock(&other) == 0 && thirl_mutex_unlock(&mutex) == 0);
    CHECK(party_me()->slip->held == SLIP_HOLDS && lone.tables == 0);
    return 0;
}
IN_A_CHILD(who_has_no_slip_locks_all_the_same)

static void *lock_first_of_all(void *nothing) {
    (void)nothing;
    return (void *)(intptr_t)(thirl_mutex_lock(&mutex, THIRL_NEVER) | thirl_mutex_unlock(&mutex));
}

static int do_who_has_no_slip_waits_for_his_first_lock(void *nothing) {
    (void)nothing;
    lone.no_slips = true;
    CHECK(make(0) && in_a_thread(lock_first_of_all, NULL) == 0 && in_a_thread(lock_and_leave, NULL) == 0);
    return 0;
}
IN_A_CHILD(who_has_no_slip_waits_for_his_first_lock)

/* ---- orders ---- */

static int do_a_table_that_is_refused_is_asked_for_once(void *nothing) {
    (void)nothing;
    lone.no_pairs = true;
    CHECK(make(0));
    for (int i = 0; i < 3; i++) {
        CHECK(thirl_mutex_lock(&mutex, THIRL_NOW) == 0 && thirl_mutex_lock(&other, THIRL_NEVER) == 0);
        CHECK(thirl_mutex_unlock(&other) == 0 && thirl_mutex_unlock(&mutex) == 0);
    }
    CHECK(lone.tables == 1);
    return 0;
}
IN_A_CHILD(a_table_that_is_refused_is_asked_for_once)

static int32_t late; /* the number of a thread that asks while another does */

static void *ask_late(void *nothing) {
    (void)nothing;
    if (party_join() != 0) abort();
    atomic_store(&late, (int32_t)syscall(SYS_gettid));
    while (atomic_load(&late) != 0) room_sleep(CLOCK_US * 50);
    atomic_store(&late, (int32_t)syscall(SYS_gettid));
    return party_pairs();
}

static void until_it_sleeps(void) {
    int32_t thread = atomic_load(&late);
    atomic_store(&late, 0);
    for (int64_t until = clock_now() + 5 * CLOCK_S; clock_now() < until; room_sleep(CLOCK_MS / 2)) {
        if (atomic_load(&late) != 0 && proc_state(getpid(), thread) == 'S') return;
    }
    abort();
}

static int two_ask(struct slip_pairs *wanted) {
    pthread_t thread;
    void *theirs;
    CHECK(party_join() == 0 && pthread_create(&thread, NULL, ask_late, NULL) == 0);
    while (atomic_load(&late) == 0) room_sleep(CLOCK_US * 50);
    lone.looked = until_it_sleeps;
    CHECK(party_pairs() == wanted && pthread_join(thread, &theirs) == 0 && theirs == wanted && lone.tables == 1);
    return 0;
}

static int do_two_threads_ask_for_one_table(void *nothing) {
    (void)nothing;
    return two_ask(&lone.pairs);
}
IN_A_CHILD(two_threads_ask_for_one_table)

static int do_two_threads_are_refused_one_table(void *nothing) {
    (void)nothing;
    lone.no_pairs = true;
    return two_ask(NULL);
}
IN_A_CHILD(two_threads_are_refused_one_table)

static int do_a_try_notes_no_order(void *nothing) {
    (void)nothing;
    CHECK(make(0));
    CHECK(thirl_mutex_lock(&mutex, THIRL_NOW) == 0 && thirl_mutex_lock(&other, THIRL_NOW) == 0);
    CHECK(thirl_mutex_unlock(&other) == 0 && thirl_mutex_unlock(&mutex) == 0 && lone.tables == 0);
    return 0;
}
IN_A_CHILD(a_try_notes_no_order)

/* Of more locks than are listed one is let go of, and another: the place that this leaves is no lock. */
static int do_a_place_that_is_empty_has_no_order(void *nothing) {
    (void)nothing;
    static thirl_mutex many[SLIP_HOLDS + 2];
    for (unsigned i = 0; i < SLIP_HOLDS + 2; i++) CHECK(thirl_mutex_init(&many[i], 0) == 0);
    for (unsigned i = 0; i < SLIP_HOLDS + 1; i++) CHECK(thirl_mutex_lock(&many[i], THIRL_NOW) == 0);
    CHECK(thirl_mutex_unlock(&many[0]) == 0 && thirl_mutex_unlock(&many[1]) == 0);
    struct slip *slip = party_me()->slip;
    CHECK(slip->held == SLIP_HOLDS - 1 && slip->hold[SLIP_HOLDS - 2].tag == 0);
    CHECK(thirl_mutex_lock(&many[SLIP_HOLDS + 1], THIRL_NEVER) == 0);
    unsigned noted = 0;
    for (unsigned i = 0; i < SLIP_PAIRS; i++) {
        noted += lone.pairs.pair[i].state == 2;
        CHECK(lone.pairs.pair[i].state == 0 || lone.pairs.pair[i].before != 0);
    }
    CHECK(noted == SLIP_HOLDS - 2);
    slip->held = 1; /* its process is not to be led astray by what stands there */
    rank_note(party_me());
    CHECK(lone.pairs.missed == 0);
    return 0;
}
IN_A_CHILD(a_place_that_is_empty_has_no_order)

/* ---- who holds nothing ---- */

static int nobody_lets_go(void) {
    static thirl_mutex none;
    CHECK(thirl_mutex_unlock(&mutex) == -EPERM && thirl_mutex_mend(&mutex) == -EPERM);
    CHECK(thirl_mutex_condemn(&mutex) == -EPERM && says("does not hold"));
    CHECK(thirl_mutex_unlock(NULL) == -EINVAL && thirl_mutex_unlock(&none) == -EINVAL);
    CHECK(thirl_mutex_mend(NULL) == -EINVAL && thirl_mutex_mend(&none) == -EINVAL);
    CHECK(thirl_mutex_condemn(NULL) == -EINVAL && thirl_mutex_condemn(&none) == -EINVAL);
    CHECK(thirl_mutex_deinit(NULL) == -EINVAL && says("no mutex"));
    CHECK(thirl_once_end(&once, 1) == -EPERM && thirl_once_end(NULL, 1) == -EPERM);
    CHECK(thirl_cond_wait(&cond, &mutex, THIRL_NOW) == -EPERM && thirl_cond_wait(&cond, NULL, THIRL_NOW) == -EPERM);
    CHECK(thirl_cond_wait(&cond, &none, THIRL_NOW) == -EPERM && says("does not hold"));
    return 0;
}

static int do_who_holds_nothing_lets_go_of_nothing(void *nothing) {
    static thirl_mutex none;
    (void)nothing;
    for (size_t i = 0; i < FLAGS; i++) {
        CHECK(make(with_each_flag[i]) && nobody_lets_go() == 0);
        CHECK(thirl_mutex_lock(&none, THIRL_NEVER) == -EINVAL && thirl_mutex_lock(NULL, THIRL_NEVER) == -EINVAL);
        CHECK(i != 0 || party_me() == NULL);
        CHECK(party_join() == 0 && nobody_lets_go() == 0 && party_me()->slip->held == 0);
    }
    return 0;
}
IN_A_CHILD(who_holds_nothing_lets_go_of_nothing)

/* Numbers of threads are those of their process. */
static int do_a_thread_of_another_process_has_the_same_number(void *nothing) {
    (void)nothing;
    CHECK(party_join() == 0);
    for (size_t i = 0; i < FLAGS; i++) {
        CHECK(make(with_each_flag[i]));
        m->thread = party_me()->number;
        m->word = LONE_OTHER;
        if ((with_each_flag[i] & THIRL_LOCK_INHERIT) != 0) {
            m->word = OWNER_OTHERWISE;
            m->futex = (uint32_t)getppid();
            m->holder = LONE_OTHER | (m->futex & 0xffff);
        }
        CHECK(nobody_lets_go() == 0 && thirl_mutex_lock(&mutex, THIRL_NOW) == -EAGAIN);
        CHECK(thirl_mutex_deinit(&mutex) == -EBUSY);
    }
    o->tag = party_tag(SLIP_ONCE);
    o->word = LONE_OTHER;
    o->thread = party_me()->number;
    CHECK(thirl_once_begin(&once, THIRL_NOW) == -EAGAIN && thirl_once_end(&once, 1) == -EPERM && o->word == LONE_OTHER);
    return 0;
}
IN_A_CHILD(a_thread_of_another_process_has_the_same_number)

/* It is foreseen in a mutex what number a thread will have: its list does not lose what it never had. */
static int do_a_foreseen_number_costs_no_place_in_the_list(void *nothing) {
    (void)nothing;
    CHECK(make(0));
    m->thread = (uint32_t)(LONE_ID >> 16) * UINT32_C(0x9e3779b1) + 1;
    m->word = LONE_ID;
    CHECK(thirl_mutex_lock(&mutex, THIRL_NEVER) == -EDEADLK && party_me()->number == m->thread);
    CHECK(party_me()->slip->held == 0);
    return 0;
}
IN_A_CHILD(a_foreseen_number_costs_no_place_in_the_list)

static int do_a_mutex_is_taken_so_many_times(void *nothing) {
    (void)nothing;
    CHECK(make(THIRL_LOCK_RECURSIVE) && thirl_mutex_lock(&mutex, THIRL_NOW) == 0);
    m->depth = UINT32_MAX;
    CHECK(thirl_mutex_lock(&mutex, THIRL_NEVER) == -EAGAIN && says("4294967295 times") && m->depth == UINT32_MAX);
    m->depth = 1;
    CHECK(thirl_mutex_unlock(&mutex) == 0 && thirl_mutex_unlock(&mutex) == 0 && m->word == 0);
    return 0;
}
IN_A_CHILD(a_mutex_is_taken_so_many_times)

static int do_what_a_dead_one_holds_is_nobodys(void *nothing) {
    (void)nothing;
    CHECK(make(0));
    m->word = LONE_DEAD;
    CHECK(thirl_mutex_deinit(&mutex) == 0 && thirl_mutex_lock(&mutex, THIRL_NOW) == -EINVAL && make(0));
    m->word = LONE_DEAD;
    CHECK(thirl_mutex_lock(&mutex, THIRL_SOON) == THIRL_OWNER_DIED && thirl_mutex_unlock(&mutex) == 0);
    return 0;
}
IN_A_CHILD(what_a_dead_one_holds_is_nobodys)

/* ---- two at one instruction ---- */

static uint64_t word;
static uint32_t crowd;

static void leave_it_torn(void) {
    word = OWNER_DIED;
}

static void say_that_it_waits(void) {
    word |= OWNER_WAITERS;
}

static int do_a_word_changes_while_it_is_taken(void *nothing) {
    (void)nothing;
    CHECK(party_join() == 0);
    lone_at("owner.take.before", leave_it_torn);
    CHECK(owner_take(&word, NULL, party_me(), 0) == THIRL_OWNER_DIED && word == (LONE_ID | OWNER_DIED));
    lone_at("owner.give.before", say_that_it_waits);
    owner_give(&word, party_me());
    CHECK(word == OWNER_DIED);
    word = LONE_OTHER; /* somebody else has it: it is not this one's to give */
    owner_give(&word, party_me());
    CHECK(word == LONE_OTHER);
    return 0;
}
IN_A_CHILD(a_word_changes_while_it_is_taken)

static void another_has_come(void) {
    crowd = CROWD_NEXT + CROWD_THERE;
}

static int do_two_come_to_a_crowd(void *nothing) {
    (void)nothing;
    static const char *const points[] = {"owner.come.before", "owner.come.between"};
    CHECK(party_join() == 0);
    for (int i = 0; i < 2; i++) {
        word = LONE_OTHER;
        crowd = CROWD_NEXT;
        lone_at(points[i], another_has_come);
        CHECK(owner_take(&word, &crowd, party_me(), clock_now() + CLOCK_MS) == -ETIMEDOUT);
        CHECK(crowd == CROWD_NEXT + CROWD_THERE && word == (LONE_OTHER | OWNER_WAITERS));
    }
    lone.no_fence = true;
    crowd = 0;
    CHECK(owner_take(&word, &crowd, party_me(), clock_now() + CLOCK_MS) == -ETIMEDOUT && crowd == CROWD_THERE);
    return 0;
}
IN_A_CHILD(two_come_to_a_crowd)

static int do_without_fences_nobody_leaves_by_a_store(void *nothing) {
    (void)nothing;
    lone.no_fence = true;
    uint32_t quiet;
    CHECK(make(0) && thirl_mutex_lock(&mutex, THIRL_NOW) == 0 && !party_me()->fences);
    CHECK(!owner_alone(&m->word, &m->crowd, party_me(), &quiet));
    CHECK(thirl_mutex_unlock(&mutex) == 0 && m->word == 0 && thirl_mutex_lock(&mutex, THIRL_NOW) == 0);
    m->word |= OWNER_DIED; /* a store would wipe this */
    CHECK(thirl_mutex_unlock(&mutex) == 0 && m->word == OWNER_DIED);
    return 0;
}
IN_A_CHILD(without_fences_nobody_leaves_by_a_store)

/* ---- condition variables ---- */

static int wait_for_a_moment(void) {
    CHECK(thirl_mutex_lock(&mutex, THIRL_NOW) == 0);
    int rc = thirl_cond_wait(&cond, &mutex, thirl_in_ms(2));
    CHECK(rc == -EINVAL ? true : thirl_mutex_unlock(&mutex) == 0);
    CHECK(party_me()->slip->wait.kind == SLIP_NOTHING);
    return rc;
}

/* Until somebody has come to that point. */
static int wait_past(const char *point, void (*act)(void)) {
    int rc = -ETIMEDOUT;
    for (bool met = false; rc == -ETIMEDOUT && !met; met = lone.act != act) {
        lone_at(point, act);
        rc = wait_for_a_moment();
    }
    return rc;
}

static void make_it_anew(void) {
    c->tag = party_tag(SLIP_COND);
}

static void somebody_dies(void) {
    m->deaths++;
}

static int do_who_waits_looks_when_something_has_happened(void *nothing) {
    (void)nothing;
    CHECK(make(0) && wait_for_a_moment() == -ETIMEDOUT);
    CHECK(wait_past("cond.wait.awake", somebody_dies) == 0);
    CHECK(wait_past("cond.wait.awake", make_it_anew) == -EINVAL && says("no condition variable") &&
          thirl_mutex_unlock(&mutex) == 0);
    return 0;
}
IN_A_CHILD(who_waits_looks_when_something_has_happened)

static void name_it(void) {
    m->futex = 0;
}

/* The kernel's word names a thread, and it has yet to say of which process. */
static void take_it_without_a_name(void) {
    m->futex = (uint32_t)getppid();
    m->holder = 0;
    lone_at("cond.wait.back", name_it);
}

static int do_who_was_about_to_say_his_name_is_not_dead(void *nothing) {
    (void)nothing;
    CHECK(make(THIRL_LOCK_INHERIT));
    CHECK(wait_past("cond.wait.awake", take_it_without_a_name) == -ETIMEDOUT && lone.act == NULL);
    return 0;
}
IN_A_CHILD(who_was_about_to_say_his_name_is_not_dead)

#define WAITED (UINT64_C(1) << 32)
#define DUE (UINT64_C(0xffff) << 48)

static void arrive_meanwhile(void) {
    c->word += UINT64_C(1) << 33;
}

static int do_signals_are_counted_as_far_as_they_go(void *nothing) {
    (void)nothing;
    CHECK(make(0) && thirl_cond_deinit(NULL) == -EINVAL);
    c->word = DUE | WAITED | 7;
    lone_at("cond.signal.nobody", arrive_meanwhile); /* so that it is not cleared */
    CHECK(thirl_cond_signal(&cond) == 0 && c->word == (DUE | WAITED | (UINT64_C(1) << 33) | 8));
    c->word = WAITED | 7;
    lone_at("cond.broadcast.before", arrive_meanwhile);
    CHECK(thirl_cond_broadcast(&cond) == 0 && c->word == ((UINT64_C(1) << 33) | 8));
    return 0;
}
IN_A_CHILD(signals_are_counted_as_far_as_they_go)

static int do_who_waits_for_another_keeps_nothing_busy(void *nothing) {
    (void)nothing;
    CHECK(make(0));
    const struct slip slips[] = {
        {.thread = 1, .number = 1, .wait = {.kind = SLIP_COND, .tag = c->tag ^ 16}},
        {.thread = 2, .number = 2, .wait = {.kind = SLIP_BARRIER, .tag = c->tag}},
        {.thread = 3, .number = 3, .wait = {.kind = SLIP_COND, .tag = c->tag}},
    };
    struct slip_process process = {.id = LONE_DEAD, .exe = "", .slip = slips, .slips = 3};
    lone.process = &process;
    lone.processes = 1;
    lone.answer = -ENOMEM;
    CHECK(thirl_cond_deinit(&cond) == -ENOMEM && c->tag != 0);
    lone.answer = 0;
    process.alive = true;
    CHECK(thirl_cond_deinit(&cond) == -EBUSY && says(": 1"));
    process.slips = 2;
    CHECK(thirl_cond_deinit(&cond) == 0 && thirl_cond_signal(&cond) == -EINVAL && make(0));
    process.slips = 3;
    process.alive = false;
    CHECK(thirl_cond_deinit(&cond) == 0);
    return 0;
}
IN_A_CHILD(who_waits_for_another_keeps_nothing_busy)

/* ---- priority that is lent ---- */

static void let_go_meanwhile(void) {
    m->holder = 0;
}

static int do_a_number_in_use_again_is_not_the_holder(void *nothing) {
    (void)nothing;
    uint32_t parent = (uint32_t)getppid(), low = parent & 0xffff;
    CHECK(make(THIRL_LOCK_INHERIT) && party_join() == 0);
    const struct {
        uint64_t holder;
        uint32_t thread;
        void (*asked)(void);
        int wanted;
    } tries[] = {
        {0, parent, NULL, -EAGAIN}, /* it has yet to say who it is */
        {LONE_OTHER | low, parent, NULL, -EAGAIN},
        {LONE_DEAD | (low ^ 1), parent, NULL, -EAGAIN}, /* of the one before */
        {LONE_DEAD | low, parent, let_go_meanwhile, -EAGAIN},
        {LONE_OTHER | ((uint32_t)party_me()->slip->thread & 0xffff), (uint32_t)party_me()->slip->thread, NULL, -EAGAIN},
        {LONE_DEAD | low, parent, NULL, THIRL_OWNER_DIED},
    };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        m->futex = tries[i].thread | FUTEX_WAITERS;
        m->holder = tries[i].holder;
        lone.asked = tries[i].asked;
        CHECK(thirl_mutex_lock(&mutex, THIRL_NOW) == tries[i].wanted);
    }
    CHECK(thirl_mutex_unlock(&mutex) == 0);
    return 0;
}
IN_A_CHILD(a_number_in_use_again_is_not_the_holder)

static int do_a_kernel_that_does_not_lend_is_told_of(void *nothing) {
    (void)nothing;
    CHECK(make(THIRL_LOCK_INHERIT) && party_join() == 0);
    static const int errors[] = {ENOSYS, EAGAIN, EINTR};
    for (int i = 0; i < 3; i++) {
        m->futex = (uint32_t)getppid();
        m->holder = 0;
        lone.lends = errors[i];
        int rc = thirl_mutex_lock(&mutex, thirl_in_ms(3));
        CHECK(i == 0 ? rc == -ENOSYS && says("does not lend") : rc == -ETIMEDOUT && says("deadline"));
        CHECK(lone.lends == 0 && party_me()->slip->held == 0);
    }
    lone.lends = EAGAIN;
    CHECK(thirl_mutex_lock(&mutex, (thirl_time){1}) == -ETIMEDOUT && lone.lends == 0);
    return 0;
}
IN_A_CHILD(a_kernel_that_does_not_lend_is_told_of)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_cannot_join_is_told),
        cmocka_unit_test(who_has_no_page_for_fork_is_told),
        cmocka_unit_test(no_thread_has_the_number_zero),
        cmocka_unit_test(without_dice_things_have_names_still),
        cmocka_unit_test(a_key_that_is_not_to_be_had_is_not_written),
        cmocka_unit_test(slips_come_back_from_threads_that_hold_nothing),
        cmocka_unit_test(who_has_no_slip_locks_all_the_same),
        cmocka_unit_test(who_has_no_slip_waits_for_his_first_lock),
        cmocka_unit_test(a_table_that_is_refused_is_asked_for_once),
        cmocka_unit_test(two_threads_ask_for_one_table),
        cmocka_unit_test(two_threads_are_refused_one_table),
        cmocka_unit_test(a_try_notes_no_order),
        cmocka_unit_test(a_place_that_is_empty_has_no_order),
        cmocka_unit_test(who_holds_nothing_lets_go_of_nothing),
        cmocka_unit_test(a_thread_of_another_process_has_the_same_number),
        cmocka_unit_test(a_foreseen_number_costs_no_place_in_the_list),
        cmocka_unit_test(a_mutex_is_taken_so_many_times),
        cmocka_unit_test(what_a_dead_one_holds_is_nobodys),
        cmocka_unit_test(a_word_changes_while_it_is_taken),
        cmocka_unit_test(two_come_to_a_crowd),
        cmocka_unit_test(without_fences_nobody_leaves_by_a_store),
        cmocka_unit_test(who_waits_looks_when_something_has_happened),
        cmocka_unit_test(who_was_about_to_say_his_name_is_not_dead),
        cmocka_unit_test(signals_are_counted_as_far_as_they_go),
        cmocka_unit_test(who_waits_for_another_keeps_nothing_busy),
        cmocka_unit_test(a_number_in_use_again_is_not_the_holder),
        cmocka_unit_test(a_kernel_that_does_not_lend_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
