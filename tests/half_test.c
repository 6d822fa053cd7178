/* SPDX-License-Identifier: MIT
 *
 * Sending and serving, and what befalls it in the midst (tests/befall.h): what is half sent at a deadline, what a mechanism cannot keep, slots and
 * memory that are used up, and a server that looks ahead, owes, and hears what no caller sends.
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
#include "chan/due.h"
#include "tests/befall.h"

#define LARGE ((size_t)3 << 20)

/* ---- sending ---- */

static char large[LARGE];

static void *receive(void *count) {
    static char buffer[LARGE];
    for (size_t i = *(size_t *)count, size; i > 0; i--) {
        if (thirl_recv(b, buffer, LARGE, &size, thirl_in_ms(9000)) != 0 || size != LARGE) return b;
        if (memcmp(buffer, large, LARGE) != 0) return b;
    }
    return NULL;
}

/* The deadline passes while one is partly on its way: it counts as sent, and comes whole. */
static int do_what_has_begun_to_leave_is_sent(void *nothing) {
    (void)nothing;
    for (size_t i = 0; i < LARGE; i++) large[i] = (char)(i * 7);
    for (int many = 0; many < 2; many++) {
        pthread_t thread;
        void *wrong;
        CHECK(open_pair(socket_address()) == 0);
        const struct iovec parts[3] = {{large, LARGE}, {large, LARGE}, {large, LARGE}};
        size_t count = many ? 3 : 1;
        int rc = many ? thirl_send_many(a, parts, &count, thirl_in_ms(5)) : thirl_send(a, large, LARGE, thirl_in_ms(5));
        CHECK(rc == (many ? -ETIMEDOUT : 0) && count == 1);
        CHECK(pthread_create(&thread, NULL, receive, &count) == 0);
        CHECK(thirl_close(&a, thirl_in_ms(9000)) == 0);
        CHECK(pthread_join(thread, &wrong) == 0 && wrong == NULL && thirl_close(&b, THIRL_NOW) == 0);
        CHECK(open_pair(socket_address()) == 0);
        count = 1; /* the only one */
        CHECK(!many || thirl_send_many(a, parts, &count, thirl_in_ms(5)) == 0);
        CHECK(!many || count == 1);
        CHECK(close_both() == 0);
    }
    CHECK(open_both(socket_address(), THIRL_WRITE, THIRL_READ) == 0);
    const struct iovec bytes[2] = {{large, 10}, {large, LARGE}};
    size_t count = 2;
    CHECK(thirl_send_many(a, bytes, &count, thirl_in_ms(5)) == -ETIMEDOUT && count == 1);
    return close_both();
}
IN_A_CHILD(what_has_begun_to_leave_is_sent)

static bool closes, breaks; /* while it is half sent */

static int send_half(void *self, const void *data, size_t size, size_t *done, bool wait) {
    (void)self;
    (void)data;
    (void)wait;
    *done = size / 2;
    if (closes) begin_close(a, true);
    return breaks ? err_say(EPIPE, "it broke") : -EAGAIN;
}

static int keep_nothing(void *self, const void *data, size_t size, size_t done) {
    (void)self;
    (void)data;
    (void)size;
    (void)done;
    return err_say(ENOBUFS, "there is nowhere to keep it");
}

static int do_what_cannot_be_kept_is_an_error(void *nothing) {
    (void)nothing;
    CHECK(open_pair(socket_address()) == 0);
    const struct iovec part = {large, 10};
    size_t count = 1;
    a->send = fake.send = send_half;
    fake.send_many = NULL;
    fake.settle = keep_nothing;
    CHECK(thirl_send(a, large, 10, THIRL_NOW) == -ENOBUFS && says("nowhere to keep it"));
    CHECK(thirl_send_many(a, &part, &count, THIRL_NOW) == -ENOBUFS && count == 0 && says("nowhere to keep it"));
    a->stream = true;
    CHECK(thirl_send(a, large, 10, THIRL_NOW) == -ENOBUFS);
    a->stream = false;
    fake.settle = NULL;
    count = 1;
    CHECK(thirl_send(a, large, 10, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_send_many(a, &part, &count, THIRL_NOW) == -EAGAIN && count == 0);
    fake.settle = keep_nothing;
    breaks = true;
    count = 1;
    CHECK(thirl_send_many(a, &part, &count, THIRL_NOW) == -EPIPE && count == 0 && says("it broke"));
    breaks = false;
    closes = true;
    CHECK(thirl_send(a, large, 10, THIRL_NOW) == -THIRL_ECLOSED);
    begin_close(a, false);
    count = 1;
    CHECK(thirl_send_many(a, &part, &count, THIRL_NOW) == -THIRL_ECLOSED && count == 0);
    begin_close(a, false);
    return close_both();
}
IN_A_CHILD(what_cannot_be_kept_is_an_error)

static int lend_nothing(void *self, struct mech_piece *piece, size_t size) {
    (void)self;
    (void)piece;
    (void)size;
    return 1;
}

static void claim_everything(void *self, struct thirl_limits *limits) {
    real->limits(self, limits);
    limits->priorities = 8;
    limits->descriptors = 1;
}

static int do_a_loan_of_private_memory_is_sent(void *nothing) {
    (void)nothing;
    thirl_msg *loan;
    CHECK(open_pair("shm://x") == 0);
    fake.loan = lend_nothing;
    fake.limits = claim_everything;
    fake.send_noted = NULL;
    CHECK(thirl_loan(a, &loan, 3, THIRL_NOW) == 0 && !loan->lent);
    CHECK(thirl_msg_set_priority(loan, 3) == -EOPNOTSUPP && thirl_msg_attach(loan, 0) == -EOPNOTSUPP);
    memcpy(thirl_msg_data(loan), "abc", 3);
    CHECK(thirl_put(a, &loan, THIRL_NOW) == 0 && loan == NULL);
    char bytes[4] = "";
    size_t size = 0;
    CHECK(thirl_recv(b, bytes, 4, &size, thirl_in_ms(5000)) == 0 && size == 3 && memcmp(bytes, "abc", 3) == 0);
    return close_both();
}
IN_A_CHILD(a_loan_of_private_memory_is_sent)

static int fail_to_see(void *self, struct thirl_peer *peer) {
    (void)self;
    (void)peer;
    return err_say(EIO, "nobody can tell");
}

static int do_a_peer_that_cannot_be_told_is_an_error(void *nothing) {
    (void)nothing;
    struct thirl_peer peer = {.size = sizeof peer, .pid = 5};
    CHECK(open_pair("shm://x") == 0);
    fake.peer = fail_to_see;
    CHECK(thirl_peer(a, &peer) == -EIO && says("nobody can tell") && peer.pid == 5);
    return close_both();
}
IN_A_CHILD(a_peer_that_cannot_be_told_is_an_error)

static int do_an_end_needs_memory_once(void *nothing) {
    (void)nothing;
    static const enum thirl_role roles[] = {THIRL_SERVE, THIRL_PAIR};
    for (int i = 0; i < 2; i++) {
        int rc = -ENOMEM;
        unsigned fails = 1;
        for (; fails < 100 && rc != 0; fails++) {
            lone.fails = fails;
            rc = thirl_open(&a, roles[i], "shm://x", NULL);
            lone.fails = 0;
            CHECK(rc == 0 || (rc == -ENOMEM && a == NULL && says("memory")));
        }
        CHECK(rc == 0 && fails > 2 && thirl_close(&a, THIRL_NOW) == 0);
    }
    return 0;
}
IN_A_CHILD(an_end_needs_memory_once)

/* A server without memory for one more client lets him in when it has some. */
static int do_a_client_is_let_in_when_there_is_memory(void *nothing) {
    (void)nothing;
    thirl_msg *request;
    CHECK(open_both("shm://ask", THIRL_SERVE, THIRL_CALL) == 0);
    struct thirl_want want = for_message(a);
    uint64_t call = 0;
    CHECK(thirl_ask(b, "what", 4, &call, THIRL_NOW) == -EAGAIN); /* he has asked to be let in */
    for (unsigned fails = 1; fails < 20; fails++) {
        lone.fails = fails;
        (void)!thirl_wait(&want, 1, THIRL_NOW);
        lone.fails = 0;
    }
    int rc = -EAGAIN; /* it looks for him now and then */
    for (int64_t until = clock_now() + 20 * CLOCK_S; rc != 0 && clock_now() < until;) {
        rc = thirl_take(a, &request, thirl_in_ms(50));
        if (rc != 0 && call == 0 && thirl_ask(b, "what", 4, &call, THIRL_NOW) != 0) call = 0;
    }
    CHECK(rc == 0 && thirl_reply(a, &request, "yes", 3, thirl_in_ms(5000)) == 0);
    return close_both();
}
IN_A_CHILD(a_client_is_let_in_when_there_is_memory)

static int see_one(void *state, const struct thirl_seen *seen) {
    *(const char **)state = seen->state;
    return 0;
}

static int open_and_die(void *nothing) {
    (void)nothing;
    CHECK(thirl_open(&b, THIRL_PAIR, "shm://x", NULL) == 0);
    (void)kill(getpid(), SIGKILL);
    return 1;
}

static int do_an_end_of_the_dead_is_shown(void *nothing) {
    (void)nothing;
    const char *state = NULL;
    CHECK(room_run(open_and_die, NULL) == 128 + SIGKILL);
    CHECK(thirl_list(see_one, &state) == 0 && state != NULL && strcmp(state, "dead") == 0);
    return 0;
}
IN_A_CHILD(an_end_of_the_dead_is_shown)

/* What others write of their ends is shown as far as it has a name. */
static int do_a_state_without_a_name_is_shown(void *nothing) {
    (void)nothing;
    const char *state = NULL;
    CHECK(thirl_open(&a, THIRL_PAIR, "shm://x", NULL) == 0);
    CHECK(thirl_list(see_one, &state) == 0 && state != NULL && strcmp(state, "waiting") == 0);
    atomic_store(&a->seen->state, 77);
    CHECK(thirl_list(see_one, &state) == 0 && strcmp(state, "?") == 0);
    return thirl_close(&a, THIRL_NOW);
}
IN_A_CHILD(a_state_without_a_name_is_shown)

/* What is put into a slot by this side: an answer that nobody has sent. */
static int do_slots_are_filled_as_far_as_there_are_some(void *nothing) {
    (void)nothing;
    struct thirl_msg *msg = NULL;
    CHECK(open_pair("shm://x") == 0);
    struct end_way *way = &a->way[MECH_IN];
    CHECK(end_enter(a, MECH_IN, INT64_MAX) == 0);
    way->slots = UINT64_MAX;
    CHECK(end_fill(a, &msg, "abc", 3) == -EBUSY && msg == NULL);
    way->slots = 0;
    lone.fails = 1;
    CHECK(end_fill(a, &msg, "abc", 3) == -ENOMEM && msg == NULL && way->slots == 0);
    CHECK(end_fill(a, &msg, NULL, 0) == 0 && msg->piece.size == 0 && way->slots == 1);
    fake.free = NULL; /* it is no piece of the mechanism's */
    end_give_back(msg);
    CHECK(way->slots == 0);
    end_leave(a, MECH_IN);
    return close_both();
}
IN_A_CHILD(slots_are_filled_as_far_as_there_are_some)

static int do_a_topic_needs_memory_once(void *nothing) {
    (void)nothing;
    thirl_msg *msg;
    CHECK(open_both("shm://t/one", THIRL_PUB, THIRL_SUB) == 0);
    thirl *all = NULL;
    CHECK(thirl_open(&all, THIRL_SUB, "shm://t/*", NULL) == 0);
    int rc = -EAGAIN;
    for (unsigned fails = 1; fails < 20 && rc != 0; fails++) {
        CHECK(thirl_send(a, "x", 1, THIRL_NOW) == 0);
        lone.fails = fails;
        rc = thirl_take(all, &msg, thirl_in_ms(50));
        lone.fails = 0;
        CHECK(rc == 0 || rc == -ENOMEM || rc == -ETIMEDOUT);
    }
    CHECK(rc == 0 && strcmp(thirl_msg_topic(msg), "t/one") == 0);
    thirl_free(&msg);
    CHECK(thirl_close(&all, THIRL_NOW) == 0);
    return close_both();
}
IN_A_CHILD(a_topic_needs_memory_once)

/* ---- serving ---- */

static enum mech_kind strange_kind;
static int strange_failure;

static int take_what_is_strange(void *self, struct mech_piece *piece, struct mech_note *note, bool wait) {
    int rc = real->take_noted(self, piece, note, wait);
    if (rc == 0) {
        note->kind = strange_kind;
        note->failure = strange_failure;
    }
    return rc;
}

/* What no caller sends is passed over, and so is a word that was damaged. */
static int do_a_server_hears_what_it_knows(void *nothing) {
    (void)nothing;
    thirl_msg *request;
    CHECK(open_both("shm://ask", THIRL_SERVE, THIRL_CALL) == 0);
    fake.take_noted = take_what_is_strange;
    static const enum mech_kind kinds[] = {MECH_PART, MECH_CANCEL};
    for (int i = 0; i < 2; i++) {
        strange_kind = kinds[i];
        strange_failure = i == 1 ? -THIRL_EFORMAT : 0;
        CHECK(ask() != 0 && thirl_take(a, &request, THIRL_NOW) == -EAGAIN && a->way[MECH_IN].slots == 0);
    }
    fake.take_noted = real->take_noted;
    CHECK(ask() != 0 && thirl_take(a, &request, THIRL_NOW) == 0);
    thirl_free(&request);
    return close_both();
}
IN_A_CHILD(a_server_hears_what_it_knows)

/* As many as a server can hold lie ahead; those that are cancelled nobody sees, and those of another caller stay. */
static int do_a_server_looks_as_far_ahead_as_it_has_room(void *nothing) {
    (void)nothing;
    enum { MORE = THIRL_HELD_MAX + 6 };
    thirl_msg *first, *next;
    uint64_t call[MORE];
    CHECK(open_both("shm://ask", THIRL_SERVE, THIRL_CALL) == 0 && ask() != 0);
    CHECK(thirl_take(a, &first, thirl_in_ms(5000)) == 0 && thirl_msg_cancelled(first) == 0);
    thirl *other = NULL;
    CHECK(thirl_open(&other, THIRL_CALL, "shm://ask", NULL) == 0);
    uint64_t its = ask_of(other);
    CHECK(its != 0 && thirl_take(a, &next, THIRL_NOW) == 0 && thirl_cancel(other, its) == 0);
    CHECK(thirl_msg_cancelled(next) == 1 && thirl_msg_cancelled(first) == 0);
    thirl_free(&next);
    CHECK(thirl_close(&other, THIRL_NOW) == 0);
    for (int i = 0; i < MORE; i++) CHECK((call[i] = ask()) != 0);
    CHECK(thirl_msg_cancelled(first) == 0 && a->way[MECH_IN].slots == UINT64_MAX);
    for (int i = 0; i < MORE; i++) CHECK(thirl_cancel(b, call[i]) == 0);
    for (int i = 0; i < THIRL_HELD_MAX - 1; i++) { /* whoever was let in before the word came is seen */
        CHECK(thirl_take(a, &next, THIRL_NOW) == 0);
        thirl_free(&next);
    }
    CHECK(thirl_msg_cancelled(first) == 0 && thirl_take(a, &next, THIRL_NOW) == -EAGAIN && next == NULL);
    thirl_free(&first);
    CHECK(a->way[MECH_IN].slots == 0);
    return close_both();
}
IN_A_CHILD(a_server_looks_as_far_ahead_as_it_has_room)

static int has_no_room(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                       bool wait) {
    (void)self;
    (void)data;
    (void)size;
    (void)done;
    (void)note;
    (void)wait;
    return -EAGAIN;
}

/* Callers who have no room to hear that there will be no answer hear it later, as many as a server keeps; and none when it closes. */
static int do_a_server_keeps_so_many_words_that_it_owes(void *nothing) {
    (void)nothing;
    thirl_msg *request;
    uint64_t last = 0;
    CHECK(open_both("shm://ask", THIRL_SERVE, THIRL_CALL) == 0);
    fake.send_noted = has_no_room;
    for (int i = 0; i < DUE_OWED + 1; i++) {
        CHECK((last = ask()) != 0 && thirl_take(a, &request, THIRL_NOW) == 0);
        thirl_free(&request);
    }
    CHECK(a->due->owed_count == DUE_OWED);
    CHECK(ask() != 0 && thirl_take(a, &request, THIRL_NOW) == 0);
    begin_close(a, true);
    thirl_msg *none;
    CHECK(thirl_take(a, &none, THIRL_NOW) == -THIRL_ECLOSED);
    thirl_free(&request);
    CHECK(a->due->owed_count == DUE_OWED);
    begin_close(a, false);
    fake.send_noted = real->send_noted;
    CHECK(thirl_take(a, &none, THIRL_NOW) == -EAGAIN && a->due->owed_count == 0);
    uint64_t any = 0;
    CHECK(thirl_answer(b, &any, &none, thirl_in_ms(5000)) == -ECANCELED && any != 0 && any != last);
    return close_both();
}
IN_A_CHILD(a_server_keeps_so_many_words_that_it_owes)

#define TEST(name) cmocka_unit_test_setup(name, member_clear)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_has_begun_to_leave_is_sent),
        TEST(what_cannot_be_kept_is_an_error),
        TEST(a_loan_of_private_memory_is_sent),
        TEST(a_peer_that_cannot_be_told_is_an_error),
        TEST(an_end_needs_memory_once),
        TEST(a_client_is_let_in_when_there_is_memory),
        TEST(an_end_of_the_dead_is_shown),
        TEST(a_state_without_a_name_is_shown),
        TEST(slots_are_filled_as_far_as_there_are_some),
        TEST(a_topic_needs_memory_once),
        TEST(a_server_hears_what_it_knows),
        TEST(a_server_looks_as_far_ahead_as_it_has_room),
        TEST(a_server_keeps_so_many_words_that_it_owes),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
