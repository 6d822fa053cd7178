/* SPDX-License-Identifier: MIT
 *
 * Locks of all kinds at the instruction between two looks: somebody else takes a place, sets, wakes or lets go just there. Everybody looks
 * again then, and nobody sleeps on what he saw before.
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
#include "sync/cond.h"
#include "sync/mutex.h"
#include "sync/owner.h"
#include "tests/lone.h"
#include "tests/member.h"

static thirl_barrier barrier;
static thirl_event event;
static thirl_cond cond;
static thirl_mutex mutex;
static struct barrier *const b = (struct barrier *)(void *)&barrier;
static struct cond *const c = (struct cond *)(void *)&cond;
static struct mutex *const m = (struct mutex *)(void *)&mutex;

static void take_the_first_place(void) {
    b->place[0].holder = LONE_OTHER;
}

static int do_a_place_that_was_free_is_somebodys(void *nothing) {
    (void)nothing;
    CHECK(thirl_barrier_init(&barrier, 2) == 0);
    lone_at("barrier.join.before", take_the_first_place);
    CHECK(thirl_barrier_join(&barrier) == 0 && lone.act == NULL);
    CHECK(b->place[0].holder == LONE_OTHER && (b->place[1].holder & PARTY_ID) == LONE_ID);
    CHECK(thirl_barrier_leave(&barrier) == 0 && b->place[1].holder == 0);
    return 0;
}
IN_A_CHILD(a_place_that_was_free_is_somebodys)

static void set_it(void) {
    (void)thirl_event_set(&event);
}

static int do_who_is_about_to_wait_sees_it_set(void *nothing) {
    (void)nothing;
    CHECK(thirl_event_init(&event, 0) == 0);
    lone_at("beacon.wait.before", set_it);
    CHECK(thirl_event_wait(&event, thirl_in_ms(9000)) == 0 && lone.act == NULL);
    return 0;
}
IN_A_CHILD(who_is_about_to_wait_sees_it_set)

static uint64_t before;

static void all_have_left(void) {
    c->word = before = 8; /* somebody has woken them all */
}

static int do_a_signal_for_those_who_were_woken_is_nobodys(void *nothing) {
    (void)nothing;
    CHECK(thirl_cond_init(&cond, 0) == 0);
    c->word = (UINT64_C(1) << 32) | 7;
    lone_at("cond.signal.before", all_have_left);
    CHECK(thirl_cond_signal(&cond) == 0 && lone.act == NULL && c->word == before);
    return 0;
}
IN_A_CHILD(a_signal_for_those_who_were_woken_is_nobodys)

static uint64_t word;
static uint32_t crowd;

static void say_that_nobody_waits(void) {
    crowd += CROWD_NEXT - CROWD_THERE;
}

/* An owner has just found nobody waiting, and would let go without a look at them. */
static int do_who_waits_is_there_when_he_sleeps(void *nothing) {
    (void)nothing;
    CHECK(party_join() == 0);
    word = LONE_OTHER;
    lone_at("owner.wait.before", say_that_nobody_waits);
    CHECK(owner_take(&word, &crowd, party_me(), clock_now() + CLOCK_MS) == -ETIMEDOUT && lone.act == NULL);
    CHECK((crowd & CROWD_STATE) == CROWD_THERE && crowd / CROWD_NEXT == 1 && word == (LONE_OTHER | OWNER_WAITERS));
    return 0;
}
IN_A_CHILD(who_waits_is_there_when_he_sleeps)

static void take_the_number_away(void) {
    m->futex = FUTEX_OWNER_DIED;
}

/* Somebody has found the holder dead, and left it to the kernel who has the mutex next: that is who waits, and he is told. */
static int do_a_word_without_a_number_is_left_to_the_kernel(void *nothing) {
    (void)nothing;
    CHECK(thirl_mutex_init(&mutex, THIRL_LOCK_INHERIT) == 0 && party_join() == 0);
    m->futex = (uint32_t)getppid();
    m->holder = LONE_OTHER | (m->futex & 0xffff);
    lone_at("urgent.wait.after", take_the_number_away);
    lone.lends = EINTR;
    CHECK(thirl_mutex_lock(&mutex, thirl_in_ms(9000)) == THIRL_OWNER_DIED && lone.act == NULL && lone.lends == 0);
    CHECK((m->holder & PARTY_ID) == LONE_ID && thirl_mutex_unlock(&mutex) == 0);
    return 0;
}
IN_A_CHILD(a_word_without_a_number_is_left_to_the_kernel)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_that_was_free_is_somebodys),
        cmocka_unit_test(who_is_about_to_wait_sees_it_set),
        cmocka_unit_test(a_signal_for_those_who_were_woken_is_nobodys),
        cmocka_unit_test(who_waits_is_there_when_he_sleeps),
        cmocka_unit_test(a_word_without_a_number_is_left_to_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
