/* SPDX-License-Identifier: MIT
 *
 * Calls and events, as victim and survivor use them.
 */
#include "tests/crash/deeds.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/crash/tread.h"

#define CHECK TREAD_CHECK

/* ---- calls ---- */

#define CALLS 3 /* of one trial */
#define ANY UINT64_MAX

static uint64_t calls[CALLS];

/* What the operation is to say is written before it begins. */
static uint64_t ready[TALK_ROOM / 8];
static size_t ready_size;

static int ask(thirl *caller, uint32_t who, uint64_t number) {
    uint64_t message[TALK_ROOM / 8];
    size_t size = talk_write(message, who, number);
    return thirl_ask(caller, message, size, &calls[number], thirl_in_ms(2000));
}

/* It comes, is that one, and is answered; -THIRL_EPEERDIED: its caller is dead. Or what take says. */
static int serve(thirl *server, uint32_t who, uint64_t number, thirl_time until) {
    thirl_msg *request = NULL;
    struct talk talk;
    uint64_t message[TALK_ROOM / 8];
    int rc = thirl_take(server, &request, until);
    if (rc != 0) {
        return rc;
    }
    CHECK(talk_read(thirl_msg_data(request), thirl_msg_size(request), &talk) == 0);
    CHECK(talk.conversation == who && (number == ANY || talk.number == number));
    size_t size = talk_write(message, who, talk.number);
    return thirl_reply(server, &request, message, size, thirl_in_ms(2000));
}

static int let_in(thirl *server) {
    thirl_msg *request = NULL;
    CHECK(thirl_take(server, &request, THIRL_NOW) == -EAGAIN);
    return 0;
}

static int serve_one(void) {
    return serve(tread_mine, TREAD_VICTIM, 0, thirl_in_ms(2000));
}

/* 0, or 1: that call has failed with its server, whom the sentence names. */
static int is_answered(uint64_t number, bool *failed) {
    thirl_msg *answer = NULL;
    struct talk talk;
    int rc = thirl_answer(tread_mine, &calls[number], &answer, thirl_in_ms(2000));
    *failed = rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED;
    if (*failed) {
        return tread_told();
    }
    CHECK(rc == 0 && talk_read(thirl_msg_data(answer), thirl_msg_size(answer), &talk) == 0 && talk.number == number);
    thirl_free(&answer);
    return 0;
}

static int call_for_it(void) {
    bool failed;
    for (uint64_t i = 0; i < CALLS; i++) CHECK(ask(tread_mine, TREAD_SURVIVOR, i) == 0);
    return is_answered(0, &failed) != 0 || failed;
}

/* Caller and server come together when the one asks and the other takes: so the survivor does its part in a thread, while the victim does what is before the operation. */
static pthread_t helper;

static void *do_meanwhile(void *part) {
    return ((int (*)(void))(uintptr_t)part)() == 0 ? NULL : part;
}

int deed_serve_meanwhile(void) {
    return pthread_create(&helper, NULL, do_meanwhile, (void *)(uintptr_t)serve_one);
}

int deed_call_meanwhile(void) {
    return pthread_create(&helper, NULL, do_meanwhile, (void *)(uintptr_t)call_for_it);
}

int deed_both_have(void) {
    void *answer;
    return pthread_join(helper, &answer) != 0 || answer != NULL;
}

int deed_ask_two(void) {
    ready_size = talk_write(ready, TREAD_VICTIM, 2);
    return ask(tread_end, TREAD_VICTIM, 0) != 0 || ask(tread_end, TREAD_VICTIM, 1) != 0;
}

int deed_serve_two(void) {
    return deed_both_have() != 0 || serve(tread_mine, TREAD_VICTIM, 1, thirl_in_ms(2000)) != 0;
}

int deed_ask_it(void) {
    return thirl_ask(tread_end, ready, ready_size, &calls[2], THIRL_NOW);
}

int deed_answer_it(void) {
    return thirl_answer(tread_end, &calls[0], &deed_taken, THIRL_NOW);
}

int deed_cancel_it(void) {
    return thirl_cancel(tread_end, calls[1]);
}

/* What is left of its calls is in order, and nobody waits for their answers. */
int deed_serve_the_dead(void) {
    int rc = 0;
    for (uint64_t number = 1;
         number < CALLS && (rc == 0 || rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED || rc == -ECANCELED); number++) {
        rc = serve(tread_mine, TREAD_VICTIM, number, THIRL_NOW);
    }
    rc = rc == -EAGAIN ? rc : serve(tread_mine, TREAD_VICTIM, CALLS, THIRL_NOW);
    CHECK(rc == -EAGAIN);
    return 0;
}

int deed_serve_nobody(void) {
    return let_in(tread_mine);
}

int deed_answer_one(void) {
    return serve(tread_end, TREAD_SURVIVOR, 0, thirl_in_ms(2000));
}

int deed_answer_one_and_take(void) {
    ready_size = talk_write(ready, TREAD_SURVIVOR, 1);
    return deed_answer_one() != 0 || thirl_take(tread_end, &deed_taken, thirl_in_ms(2000)) != 0;
}

int deed_reply(void) {
    return thirl_reply(tread_end, &deed_taken, ready, ready_size, THIRL_NOW);
}

/* Its very first answer: the caller has not looked what there is of this server. */
int deed_take_first(void) {
    ready_size = talk_write(ready, TREAD_SURVIVOR, 0);
    return thirl_take(tread_end, &deed_taken, thirl_in_ms(2000));
}

static int ask_one(void) {
    return ask(tread_mine, TREAD_SURVIVOR, 0);
}

int deed_ask_one_meanwhile(void) {
    return pthread_create(&helper, NULL, do_meanwhile, (void *)(uintptr_t)ask_one);
}

int deed_first_is_answered(void) {
    bool failed;
    CHECK(is_answered(0, &failed) == 0);
    return failed && tread_scene->returned;
}

/* The first has been answered long before. */
int deed_two_have_failed(void) {
    bool failed[2];
    CHECK(is_answered(1, &failed[0]) == 0 && is_answered(2, &failed[1]) == 0);
    return !failed[0] || !failed[1];
}

int deed_one_has_failed(void) {
    bool failed[2];
    CHECK(is_answered(1, &failed[0]) == 0 && is_answered(2, &failed[1]) == 0);
    return !failed[1] || (failed[0] && tread_scene->returned);
}

static uint32_t answered;

static int both_are_answered(void) {
    bool failed[2] = {true, true};
    int rc = is_answered(1, &failed[0]) != 0 || is_answered(2, &failed[1]) != 0;
    __atomic_store_n(&answered, 1, __ATOMIC_RELEASE);
    return rc != 0 || failed[0] || failed[1];
}

/* Whoever comes next serves what is not answered. */
int deed_all_are_answered(void) {
    CHECK(tread_renew() == 0);
    answered = 0;
    CHECK(pthread_create(&helper, NULL, do_meanwhile, (void *)(uintptr_t)both_are_answered) == 0);
    while (!__atomic_load_n(&answered, __ATOMIC_ACQUIRE)) {
        int rc = serve(tread_fresh, TREAD_SURVIVOR, ANY, thirl_in_ms(5));
        CHECK(rc == 0 || rc == -ETIMEDOUT);
    }
    return deed_both_have();
}

/* ---- events ---- */

static int tell(thirl *end, uint32_t event) {
    return thirl_send(end, &event, sizeof event, thirl_in_ms(2000));
}

int deed_tell_three(void) {
    for (uint32_t event = 0; event < 3; event++) CHECK(tell(tread_end, event) == 0);
    return 0;
}

/* Those that are there, a bit for each. */
static uint64_t events_of(thirl *end) {
    uint64_t events = 0;
    uint32_t event;
    size_t size;
    while (thirl_recv(end, &event, sizeof event, &size, THIRL_NOW) == 0) {
        events |= UINT64_C(1) << (event < 64 ? event : 63);
    }
    return events;
}

int deed_three_are_told(void) {
    return events_of(tread_mine) != 7;
}

int deed_tell_it(void) {
    return tell(tread_end, 9);
}

int deed_it_is_told(void) {
    uint64_t events = events_of(tread_mine);
    CHECK(events == UINT64_C(1) << 9 || (events == 0 && tread_scene->returned == 0));
    return 0;
}

int deed_tell_it_three(void) {
    for (uint32_t event = 0; event < 3; event++) CHECK(tell(tread_mine, event) == 0);
    return 0;
}

int deed_watch_it(void) {
    uint32_t event;
    size_t size;
    return thirl_recv(tread_end, &event, sizeof event, &size, THIRL_NOW);
}

/* What the dead one had not deed_taken is there for the next; and what was said to find out that it is dead. */
int deed_others_are_there(void) {
    CHECK(tread_renew() == 0);
    int there = __builtin_popcountll(events_of(tread_fresh) & 7);
    CHECK(there == 2 || (there == 3 && tread_scene->returned == 0));
    return 0;
}

int deed_three_are_there(void) {
    CHECK(tread_renew() == 0);
    return (events_of(tread_fresh) & 7) != 7;
}
