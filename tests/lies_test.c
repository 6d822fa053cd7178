/* SPDX-License-Identifier: MIT
 *
 * A pair in shared memory one of whose ends writes what cannot be: records, references to its pool, positions. The other one reads nothing that
 * is not there, says who it was, says it again, and is closed in time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/shm.h"
#include "tests/member.h"

#define ADDRESS "shm://lies?queue=4096"
#define SOON thirl_in_ms(20000)
#define LARGE ((size_t)64 << 10)

static thirl *liar, *reader;

static struct shm *inside(thirl *end) {
    return end->state;
}

static bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

/* Each has heard the other. */
static int open_pair(void) {
    char byte;
    CHECK(thirl_open(&liar, THIRL_PAIR, ADDRESS, NULL) == 0 && thirl_open(&reader, THIRL_PAIR, ADDRESS, NULL) == 0);
    CHECK(thirl_send(liar, "x", 1, SOON) == 0 && thirl_recv(reader, &byte, 1, NULL, SOON) == 0);
    CHECK(thirl_send(reader, "y", 1, SOON) == 0 && thirl_recv(liar, &byte, 1, NULL, SOON) == 0);
    return 0;
}

static int open_stream(void) {
    char byte;
    CHECK(thirl_open(&liar, THIRL_WRITE, ADDRESS, NULL) == 0 && thirl_open(&reader, THIRL_READ, ADDRESS, NULL) == 0);
    CHECK(thirl_send(liar, "x", 1, SOON) == 0 && thirl_recv(reader, &byte, 1, NULL, SOON) == 0);
    return 0;
}

static int close_both(void) {
    CHECK(thirl_close(&reader, THIRL_NOW) >= 0);
    (void)!thirl_close(&liar, THIRL_NOW);
    return 0;
}

/* Where the next record of that end begins. */
static struct lane_head *next_record(thirl *end) {
    const struct lane *lane = &inside(end)->out.lane;
    return lane_at(lane, lane->at);
}

/* ---- what stands in the lane ---- */

enum { COPY, PLACE, MANY, WAYS };

static int receive(int how) {
    static char buffer[2 * LARGE];
    struct iovec messages[4];
    thirl_msg *msg = NULL;
    size_t size, count = 4;
    int rc = how == COPY    ? thirl_recv(reader, buffer, sizeof buffer, &size, THIRL_NOW)
             : how == PLACE ? thirl_take(reader, &msg, THIRL_NOW)
                            : thirl_recv_many(reader, buffer, sizeof buffer, messages, &count, THIRL_NOW);
    thirl_free(&msg);
    return rc;
}

/* It is said at once, and whenever somebody asks again, whatever he has heard of others meanwhile. */
static int expect_found_out(int how) {
    CHECK(receive(how) == -THIRL_EFORMAT);
    CHECK(says("shm://lies") && says("left a damaged record") && says("not listened to any more"));
    CHECK(thirl_open(NULL, THIRL_PAIR, "shm://other", NULL) == -EINVAL);
    CHECK(receive(how) == -THIRL_EFORMAT && says("shm://lies") && says("not listened to any more"));
    struct thirl_want want = {.end = reader, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
    CHECK(thirl_wait(&want, 1, THIRL_NOW) == 1 && want.ready == THIRL_WANT_MESSAGE);
    return 0;
}

static int do_records_that_cannot_be_are_found_out(void *nothing) {
    static const struct {
        uint32_t span, size;
        bool stream;
    } lies[] = {
        {4096, 8, false},                                 /* longer than the ring */
        {12, 4, false},                                   /* no next one could begin there */
        {16, 9, false},                                   /* longer than itself */
        {32, LANE_AWAY | 16, false},                      /* half a reference */
        {32, LANE_AWAY | 24, true},                       /* a stream has no pool */
        {32, LANE_RUN | 2u << 8 | 8, false},              /* a run that is longer than its messages, */
        {8 + 2048 * 8, LANE_RUN | 2048u << 8 | 8, false}, /* or than the ring, */
        {8, LANE_RUN | 5u << 8, false},                   /* of nothing, */
        {8, LANE_RUN | 8, false},                         /* and of none */
    };
    (void)nothing;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        for (int how = 0; how < WAYS; how++) {
            CHECK((lies[i].stream ? open_stream() : open_pair()) == 0);
            struct lane_head *head = next_record(liar);
            CHECK(thirl_send(liar, "12345678", 8, SOON) == 0);
            atomic_store(&head->word, lane_word(lies[i].span, lies[i].size));
            CHECK(expect_found_out(how) == 0);
            CHECK(close_both() == 0);
        }
    }
    return 0;
}
IN_A_CHILD(records_that_cannot_be_are_found_out)

static int do_references_that_lead_elsewhere_are_found_out(void *nothing) {
    (void)nothing;
    for (int lie = 0; lie < 4; lie++) {
        for (int how = 0; how < WAYS; how++) {
            thirl_msg *msg;
            CHECK(open_pair() == 0);
            struct pool_ref *ref = lane_payload(next_record(liar));
            CHECK(thirl_loan(liar, &msg, LARGE, SOON) == 0 && thirl_put(liar, &msg, SOON) == 0);
            CHECK(ref->size == LARGE && ref->units >= LARGE / POOL_UNIT);
            ref->at = lie == 0 ? UINT32_MAX : ref->at;
            ref->size += lie == 1 ? (uint64_t)ref->units * POOL_UNIT - LARGE + 1 : 0;
            ref->units = lie == 2 ? UINT32_MAX : ref->units;
            ref->size = lie == 3 ? UINT64_MAX : ref->size;
            CHECK(expect_found_out(how) == 0);
            CHECK(close_both() == 0);
        }
    }
    return 0;
}
IN_A_CHILD(references_that_lead_elsewhere_are_found_out)

/* A conversation that begins where no record can; who only looks whether there is anything learns of it, too. */
static int do_a_lane_begins_where_records_do(void *nothing) {
    (void)nothing;
    for (int looks = 0; looks < 2; looks++) {
        CHECK(thirl_open(&liar, THIRL_PAIR, ADDRESS, NULL) == 0 && thirl_open(&reader, THIRL_PAIR, ADDRESS, NULL) == 0);
        CHECK(thirl_send(liar, "x", 1, SOON) == 0);
        inside(liar)->out.own->to.start = 4;
        struct thirl_want want = {.end = reader, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
        CHECK(looks == 0 || (thirl_wait(&want, 1, THIRL_NOW) == 1 && want.ready == THIRL_WANT_MESSAGE));
        CHECK(expect_found_out(COPY) == 0);
        CHECK(close_both() == 0);
    }
    return 0;
}
IN_A_CHILD(a_lane_begins_where_records_do)

/* ---- how far the peer says that it is ---- */

static int send_until(thirl *end, int expected) {
    static const char data[1000];
    int rc = 0;
    for (int i = 0; rc == 0 && i < 10; i++) {
        rc = thirl_send(end, data, sizeof data, THIRL_NOW);
    }
    CHECK(rc == expected);
    return 0;
}

/* Sending, this end finds it out where it asks for room. */
static int expect_disbelieved(thirl *sender) {
    char shown[40];
    thirl_msg *msg = NULL;
    (void)snprintf(shown, sizeof shown, "impossible position %llu", (unsigned long long)inside(liar)->in.own->cursor);
    CHECK(send_until(sender, -THIRL_EFORMAT) == 0);
    CHECK(says("shm://lies") && says(shown) && says("not listened to any more"));
    CHECK(thirl_open(NULL, THIRL_PAIR, "shm://other", NULL) == -EINVAL);
    CHECK(thirl_send(sender, "x", 1, SOON) == -THIRL_EFORMAT && says("shm://lies") && says("not listened to any more"));
    CHECK(thirl_loan(sender, &msg, 1, SOON) == -THIRL_EFORMAT && msg == NULL);
    return 0;
}

static int do_positions_that_cannot_be_are_found_out(void *nothing) {
    (void)nothing;
    CHECK(open_pair() == 0);
    struct shm *sender = inside(reader);
    atomic_store(&inside(liar)->in.own->cursor, sender->out.lane.at + UINT32_MAX); /* of what has not been sent */
    CHECK(expect_disbelieved(reader) == 0);
    CHECK(close_both() == 0);
    return 0;
}
IN_A_CHILD(positions_that_cannot_be_are_found_out)

/* Likewise where it asks for a place in its pool, or looks for the next one ahead. */
static int do_who_asks_for_a_place_finds_it_out(void *nothing) {
    thirl_msg *msg = NULL;
    (void)nothing;
    for (int ahead = 0; ahead < 2; ahead++) {
        CHECK(open_pair() == 0);
        uint64_t *cursor = &inside(liar)->in.own->cursor;
        CHECK(ahead == 0 || thirl_loan(reader, &msg, LARGE, SOON) == 0);
        atomic_store(cursor, UINT64_MAX);
        CHECK(ahead == 0 || thirl_put(reader, &msg, SOON) == 0);
        CHECK(thirl_loan(reader, &msg, LARGE, SOON) == -THIRL_EFORMAT && msg == NULL && says("impossible position"));
        CHECK(thirl_send(reader, "x", 1, SOON) == -THIRL_EFORMAT && says("impossible position"));
        CHECK(close_both() == 0);
    }
    return 0;
}
IN_A_CHILD(who_asks_for_a_place_finds_it_out)

static int takes_one_and_dies(void *nothing) {
    thirl *end;
    char byte;
    (void)nothing;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    CHECK(thirl_recv(end, &byte, 1, NULL, SOON) == 0);
    (void)raise(SIGKILL);
    return 1;
}

/* What was before this conversation was somebody else's to take. */
static int do_positions_of_another_are_found_out(void *nothing) {
    thirl *end;
    char byte;
    (void)nothing;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    pid_t first = room_fork(takes_one_and_dies, NULL);
    CHECK(thirl_send(end, "x", 1, SOON) == 0);
    CHECK(room_reap(first) == 128 + SIGKILL);
    CHECK(thirl_recv(end, &byte, 1, NULL, SOON) == -THIRL_EPEERDIED);
    int rc;
    while ((rc = thirl_send(end, "x", 1, THIRL_NOW)) == 0) {}
    CHECK(rc == -THIRL_EPEERDIED || rc == -EAGAIN);
    CHECK(thirl_open(&liar, THIRL_PAIR, ADDRESS, NULL) == 0);
    while ((rc = thirl_send(end, "x", 1, SOON)) == -THIRL_EPEERDIED) {}
    CHECK(rc == 0 && thirl_recv(liar, &byte, 1, NULL, SOON) == 0);
    uint64_t start = inside(end)->out.own->to.start;
    CHECK(start != 0);
    atomic_store(&inside(liar)->in.own->cursor, start - 8);
    CHECK(expect_disbelieved(end) == 0);
    reader = end;
    return close_both();
}
IN_A_CHILD(positions_of_another_are_found_out)

int main(void) {
#define T(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        T(records_that_cannot_be_are_found_out), T(references_that_lead_elsewhere_are_found_out),
        T(a_lane_begins_where_records_do),       T(positions_that_cannot_be_are_found_out),
        T(who_asks_for_a_place_finds_it_out),    T(positions_of_another_are_found_out),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
