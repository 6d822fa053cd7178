/* SPDX-License-Identifier: MIT
 *
 * Semaphores, events, what is done once, and death: who takes, waits, gives back, posts, sets or takes over is killed, and stopped, at each
 * named point. The others get on in time, what a dead one held comes back, and what it had not taken is not lost.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/weave.h"
#include "include/thirl/lock.h"
#include "sync/beacon.h"
#include "sync/token.h"
#include "tests/member.h"
#include "tests/ordeal.h"
#include "tests/room.h"

#define TURNS 12
#define PASSES ORDEAL_PASSES
#define OTHERS ORDEAL_OTHERS
#define VICTIM ORDEAL_VICTIM

static struct board {
    uint32_t ended; /* the victim has; of tests/ordeal.h */
    uint32_t ready, over;
    thirl_sem sem;
    thirl_event event;
    thirl_once once;
    uint32_t inside[OTHERS + 1];
    uint32_t taken[OTHERS + 1], posted[OTHERS + 1], told[OTHERS + 1];
} * board; /* of this scenario: they run side by side */

/* Nobody begins before all are there. */
static void gather(void) {
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->ready) < OTHERS + 1) room_sleep(CLOCK_MS / 10);
}

static uint32_t sum(const uint32_t count[OTHERS + 1]) {
    uint32_t all = 0;
    for (int i = 0; i <= OTHERS; i++) all += atomic_load(&count[i]);
    return all;
}

/* ---- permits that come back ---- */

static void two_permits(void) {
    if (thirl_sem_init(&board->sem, 2, 0) != 0) abort();
}

static int take_a_permit(unsigned who, bool nap) {
    int rc = thirl_sem_wait(&board->sem, thirl_in_ms(20000));
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    board->told[who] += rc == THIRL_OWNER_DIED;
    atomic_store(&board->inside[who], 1);
    weave("test.sem.inside");
    /* whoever is told knows that the victim is not inside any more */
    CHECK(sum(board->inside) <= 2 + (sum(board->told) != 0 ? 1u : 0u));
    if (nap) room_sleep(CLOCK_MS);
    atomic_store(&board->inside[who], 0);
    CHECK(thirl_sem_post(&board->sem) == 0);
    board->taken[who]++;
    return 0;
}

static int take_turns(unsigned who) {
    gather();
    for (int i = 0; i < TURNS; i++) {
        if (take_a_permit(who, who != VICTIM || i % 2 == 0) != 0) return 1;
    }
    return 0;
}

static bool both_are_back(bool died) {
    int told = 0;
    for (int i = 0; i < 2; i++) {
        int rc = thirl_sem_wait(&board->sem, thirl_in_ms(5000));
        if (rc < 0) return false;
        told += rc == THIRL_OWNER_DIED;
    }
    return thirl_sem_wait(&board->sem, THIRL_NOW) == -EAGAIN && sum(board->told) + (uint32_t)told <= (died ? 1u : 0u) &&
           board->taken[0] == TURNS && board->taken[1] == TURNS && (died || board->taken[VICTIM] == TURNS) &&
           thirl_sem_post(&board->sem) == 0 && thirl_sem_post(&board->sem) == 0;
}

/* Both permits are a dead process's, and the victim takes them over first. */
static int die_with_both(void *nothing) {
    (void)nothing;
    CHECK(thirl_sem_wait(&board->sem, THIRL_NOW) == 0 && thirl_sem_wait(&board->sem, THIRL_NOW) == 0);
    return raise(SIGKILL);
}

static void two_left_behind(void) {
    two_permits();
    if (room_run(die_with_both, NULL) != 128 + SIGKILL) abort();
}

static int take_over(unsigned who) {
    if (who != VICTIM) return 0;
    for (int i = 0; i < 2; i++) {
        int rc = thirl_sem_wait(&board->sem, i == 0 ? THIRL_NOW : thirl_in_ms(5000));
        CHECK(rc == THIRL_OWNER_DIED);
        board->told[who]++;
    }
    CHECK(thirl_sem_wait(&board->sem, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_sem_post(&board->sem) == 0 && thirl_sem_post(&board->sem) == 0);
    return 0;
}

static bool each_is_told_of_once(bool died) {
    for (int i = 0; i < 2; i++) {
        int rc = thirl_sem_wait(&board->sem, thirl_in_ms(5000));
        if (rc < 0 || (!died && rc != 0)) return false;
    }
    return thirl_sem_wait(&board->sem, THIRL_NOW) == -EAGAIN && (died || board->told[VICTIM] == 2) &&
           thirl_sem_post(&board->sem) == 0 && thirl_sem_post(&board->sem) == 0;
}

/* Whoever gave up has left word that he waits, and nobody does. */
static int give_up_first(unsigned who) {
    if (who != VICTIM) return 0;
    for (int i = 0; i < PASSES; i++) {
        for (int n = 0; n < 2; n++) CHECK(thirl_sem_wait(&board->sem, THIRL_NOW) == 0);
        CHECK(thirl_sem_wait(&board->sem, thirl_in_ms(1)) == -ETIMEDOUT);
        for (int n = 0; n < 2; n++) CHECK(thirl_sem_post(&board->sem) == 0);
    }
    board->told[who] = 2;
    return 0;
}

/* ---- a count ---- */

static void a_count(void) {
    if (thirl_sem_init(&board->sem, 0, THIRL_LOCK_COUNTING) != 0) abort();
}

/* One posts, so that those who take have to sleep, and often one behind the other. */
static int post_some(unsigned who) {
    gather();
    for (int i = 0; i < TURNS; i++) {
        if (i % 4 == 0) room_sleep(2 * CLOCK_MS);
        CHECK(thirl_sem_post(&board->sem) == 0);
        (void)atomic_add(&board->posted[who], 1u);
    }
    return 0;
}

/* Until the parent has seen that all is taken. */
static int take_until_over(unsigned who) {
    gather();
    while (atomic_load(&board->over) == 0) {
        int rc = thirl_sem_wait(&board->sem, thirl_in_ms(5));
        CHECK(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0) (void)atomic_add(&board->taken[who], 1u);
    }
    return 0;
}

static int post_or_be_killed(unsigned who) {
    return who == VICTIM ? post_some(who) : take_until_over(who);
}

static int take_or_be_killed(unsigned who) {
    return who == 0 ? post_some(who) : take_until_over(who);
}

static int give_to_the_victim(unsigned who) {
    if (who == 0) return post_some(who);
    gather();
    return who == VICTIM ? take_until_over(who) : 0;
}

static int miss_first(unsigned who) {
    if (who != VICTIM) return 0;
    for (int i = 0; i < PASSES; i++) {
        CHECK(thirl_sem_wait(&board->sem, thirl_in_ms(1)) == -ETIMEDOUT);
        CHECK(thirl_sem_post(&board->sem) == 0);
        (void)atomic_add(&board->posted[who], 1u);
        CHECK(thirl_sem_wait(&board->sem, i == 0 ? THIRL_NOW : thirl_in_ms(1)) == 0);
        (void)atomic_add(&board->taken[who], 1u);
    }
    return 0;
}

/* Until all is posted and taken, or, where somebody has died, nothing more comes. */
static void all_posted_is_taken(void) {
    uint32_t before = 0;
    for (int64_t until = clock_now() + 150 * CLOCK_MS; clock_now() < until; room_sleep(CLOCK_MS)) {
        uint32_t posted = sum(board->posted), taken = sum(board->taken);
        if (posted >= TURNS && taken >= posted) {
            break;
        }
        until = posted + taken != before ? clock_now() + 150 * CLOCK_MS : until;
        before = posted + taken;
    }
    atomic_store(&board->over, 1);
}

/* One may have been posted and not noted down yet when its poster died, or been taken likewise. */
static bool the_count_is_right(bool died) {
    uint32_t left = 0, slack = died ? 1 : 0;
    while (thirl_sem_wait(&board->sem, THIRL_NOW) == 0) left++;
    uint32_t taken = sum(board->taken) + left, posted = sum(board->posted);
    return taken <= posted + slack && taken + slack >= posted;
}

/* ---- events ---- */

static void an_event(void) {
    if (thirl_event_init(&board->event, 0) != 0) abort();
}

static void an_automatic_event(void) {
    if (thirl_event_init(&board->event, THIRL_LOCK_AUTOMATIC) != 0) abort();
}

/* One sets it again when it was passed, by whomever. */
static int set_or_pass(unsigned who) {
    const struct beacon *e = (const struct beacon *)(const void *)&board->event;
    gather();
    for (int i = 0; who == 0 && i < TURNS; i++) {
        if (i % 2 == 0) room_sleep(CLOCK_MS);
        CHECK(thirl_event_set(&board->event) == 0);
        int64_t until = clock_now() + 20 * CLOCK_S;
        while (token_count(atomic_load(&e->word)) != 0) {
            CHECK(clock_now() < until);
            room_sleep(CLOCK_MS / 10);
        }
        board->posted[0]++;
    }
    if (who == 0) atomic_store(&board->over, 1);
    while (who != 0 && atomic_load(&board->over) == 0) {
        int rc = thirl_event_wait(&board->event, thirl_in_ms(5));
        CHECK(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0) (void)atomic_add(&board->taken[who], 1u);
    }
    return 0;
}

static bool each_was_passed(bool died) {
    uint32_t taken = sum(board->taken);
    return board->posted[0] == TURNS && taken <= TURNS && taken + (died ? 1 : 0) >= TURNS;
}

static int reset_and_pass(unsigned who) {
    if (who != VICTIM) return 0;
    for (int i = 0; i < PASSES; i++) {
        CHECK(thirl_event_set(&board->event) == 0);
        CHECK(thirl_event_reset(&board->event) == 0);
        CHECK(thirl_event_wait(&board->event, thirl_in_ms(1)) == -ETIMEDOUT);
    }
    return 0;
}

/* One sets it a little later, when it may be set already, and again until the waiter has passed. */
static int set_again_or_pass(unsigned who) {
    gather();
    while (who == 0 && atomic_load(&board->taken[1]) == 0) {
        room_sleep(5 * CLOCK_MS);
        CHECK(thirl_event_set(&board->event) == 0);
    }
    if (who == VICTIM) {
        room_sleep(2 * CLOCK_MS);
        for (int i = 0; i < PASSES; i++) {
            CHECK(thirl_event_reset(&board->event) == 0);
            CHECK(thirl_event_set(&board->event) == 0);
        }
    }
    if (who == 1) {
        CHECK(thirl_event_wait(&board->event, thirl_in_ms(20000)) == 0);
        atomic_store(&board->taken[1], 1);
    }
    return 0;
}

static int pass_or_be_killed(unsigned who) {
    gather();
    if (who == 0) {
        room_sleep(5 * CLOCK_MS);
        return thirl_event_set(&board->event);
    }
    return thirl_event_wait(&board->event, thirl_in_ms(who == VICTIM ? 1000 : 20000));
}

static bool it_still_works(bool died) {
    (void)died;
    return thirl_event_set(&board->event) == 0 && thirl_event_wait(&board->event, THIRL_NOW) == 0 &&
           thirl_event_reset(&board->event) == 0 && thirl_event_wait(&board->event, THIRL_NOW) == -EAGAIN;
}

/* ---- once ---- */

static void not_done(void) {
}

static int die_half_way(void *nothing) {
    (void)nothing;
    CHECK(thirl_once_begin(&board->once, THIRL_NOW) == THIRL_ONCE_YOURS);
    return raise(SIGKILL);
}

static void half_done(void) {
    if (room_run(die_half_way, NULL) != 128 + SIGKILL) abort();
}

/* The victim cannot, the first time. */
static int do_it_once(unsigned who) {
    int rc = 1;
    for (int i = 0; rc != 0; i++) {
        rc = thirl_once_begin(&board->once, thirl_in_ms(20000));
        CHECK(rc == 0 || rc == THIRL_ONCE_YOURS || rc == THIRL_OWNER_DIED);
        if (rc == 0) break;
        bool cannot = who == VICTIM && i == 0;
        board->told[who] += rc == THIRL_OWNER_DIED;
        CHECK(sum(board->taken) == 0 || rc == THIRL_OWNER_DIED);
        room_sleep(CLOCK_MS / 2);
        weave("test.once.half");
        board->taken[who] = !cannot;
        CHECK(thirl_once_end(&board->once, !cannot) == 0);
    }
    return 0;
}

static int do_it_once_together(unsigned who) {
    gather();
    return do_it_once(who);
}

static bool it_is_done_or_anybodys(bool died) {
    int rc = thirl_once_begin(&board->once, thirl_in_ms(5000));
    return rc == 0 || (died && rc > 0);
}

static int do_it_alone(unsigned who) {
    return who == VICTIM ? do_it_once(who) : 0;
}

static bool it_is_done(bool died) {
    int rc = thirl_once_begin(&board->once, thirl_in_ms(5000));
    return rc == 0 && sum(board->taken) >= 1 && (died || sum(board->taken) == 1) && (died || sum(board->told) == 0);
}

static bool it_is_done_or_mine(bool died) {
    int rc = thirl_once_begin(&board->once, thirl_in_ms(5000));
    return (rc == 0 && (died || board->told[VICTIM] != 0)) || (died && rc == THIRL_OWNER_DIED);
}

/* All of these must be met by somebody. */
#define POINTS "sem. token. beacon. once. test.sem. test.once."
#define HELD "sem.take. sem.wait. sem.post. test.sem."
#define ONCE "once. owner.take. owner.condemn. owner.wait. test.once."
#define TOKEN "token.spin. token.take. token.wait."

static const struct ordeal ordeals[] = {
    {"permits", HELD, two_permits, take_turns, both_are_back, NULL},
    {"permits of the dead", "sem.take.listed sem.inherit.", two_left_behind, take_over, each_is_told_of_once, NULL},
    {"permits that nobody waits for", HELD, two_permits, give_up_first, each_is_told_of_once, NULL},
    {"takers of a count", TOKEN, a_count, take_or_be_killed, the_count_is_right, all_posted_is_taken},
    {"the only taker of a count", TOKEN, a_count, give_to_the_victim, the_count_is_right, all_posted_is_taken},
    {"a count that nobody waits for", TOKEN " token.post.", a_count, miss_first, the_count_is_right, NULL},
    {"posters to a count", "token.post.", a_count, post_or_be_killed, the_count_is_right, all_posted_is_taken},
    {"an automatic event", TOKEN, an_automatic_event, set_or_pass, each_was_passed, NULL},
    {"an automatic event of one", TOKEN " token.post. token.clear.", an_automatic_event, reset_and_pass, it_still_works,
     NULL},
    {"setters of an event", "beacon.set. beacon.reset.", an_event, set_again_or_pass, it_still_works, NULL},
    {"waiters for an event", "beacon.wait.", an_event, pass_or_be_killed, it_still_works, NULL},
    {"an event of one", "beacon.", an_event, reset_and_pass, it_still_works, NULL},
    {"once", ONCE, not_done, do_it_once_together, it_is_done, NULL},
    {"once for the dead", ONCE " owner.inherit.", half_done, do_it_alone, it_is_done_or_mine, NULL},
    {"once by one", "once.", not_done, do_it_alone, it_is_done_or_anybodys, NULL},
};

int main(void) {
    const struct ordeals all = {.ordeal = ordeals,
                                .count = sizeof ordeals / sizeof *ordeals,
                                .points = POINTS,
                                .board = (void **)(void *)&board,
                                .size = (sizeof *board + 63) / 64 * 64};
    return ordeal_main(&all);
}
