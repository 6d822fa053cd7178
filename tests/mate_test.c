/* SPDX-License-Identifier: MIT
 *
 * Whom an end in shared memory talks to: peers that come and go while only one of its ways has met them, that die without a word, or whose files
 * are not what their names say; and what can be asked of an end at each of these times.
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
#include <unistd.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/shm.h"
#include "tests/large.h"
#include "tests/member.h"

#define ADDRESS "shm://mate"
#define SOON LARGE_SOON

static struct shm *inside(thirl *end) {
    return end->state;
}

static bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

static int open_end(thirl **end, enum thirl_role role) {
    CHECK(thirl_open(end, role, ADDRESS, NULL) == 0);
    return 0;
}

static int send_byte(thirl *end, char byte) {
    return thirl_send(end, &byte, 1, SOON);
}

/* What comes next is that byte. */
static bool comes(thirl *end, char byte) {
    char got = 0;
    return thirl_recv(end, &got, 1, NULL, SOON) == 0 && got == byte;
}

static int recv_now(thirl *end) {
    char byte;
    return thirl_recv(end, &byte, 1, NULL, THIRL_NOW);
}

static bool is_ready_until(thirl *end, uint32_t wanted, thirl_time until) {
    struct thirl_want want = {.end = end, .fd = -1, .wanted = wanted};
    return thirl_wait(&want, 1, until) == 1 && want.ready == wanted;
}

static bool is_ready(thirl *end, uint32_t wanted) {
    return is_ready_until(end, wanted, THIRL_NOW);
}

/* ---- goodbyes ---- */

/* One way hears it, and the other, which had never met that peer, says the same. */
static int do_a_goodbye_is_for_both_ways(void *nothing) {
    thirl *end, *peer;
    (void)nothing;
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&peer, THIRL_PAIR) == 0);
    CHECK(send_byte(end, 'x') == 0);
    CHECK(thirl_close(&peer, THIRL_NOW) == 0);
    CHECK(send_byte(end, 'x') == -THIRL_ECLOSED && says("1 of 1 messages"));
    CHECK(is_ready(end, THIRL_WANT_MESSAGE));
    for (int i = 0; i < 2; i++) CHECK(recv_now(end) == -THIRL_ECLOSED && says("mate_test") && says("closed its end"));
    CHECK(end->mech->look(end->state, MECH_IN) == 0); /* for good */
    CHECK(thirl_close(&end, THIRL_NOW) >= 0);

    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&peer, THIRL_PAIR) == 0);
    CHECK(send_byte(peer, 'y') == 0 && comes(end, 'y'));
    CHECK(thirl_close(&peer, THIRL_NOW) == 0);
    CHECK(recv_now(end) == -THIRL_ECLOSED);
    CHECK(is_ready(end, THIRL_WANT_ROOM));
    for (int i = 0; i < 2; i++) CHECK(send_byte(end, 'x') == -THIRL_ECLOSED && says("mate_test"));
    return thirl_close(&end, THIRL_NOW);
}
IN_A_CHILD(a_goodbye_is_for_both_ways)

static int do_the_end_of_a_stream_stays_the_end(void *nothing) {
    thirl *reader, *writer;
    (void)nothing;
    CHECK(open_end(&reader, THIRL_READ) == 0 && recv_now(reader) == -EAGAIN);
    CHECK(open_end(&writer, THIRL_WRITE) == 0 && send_byte(writer, 'x') == 0 && thirl_close(&writer, THIRL_NOW) >= 0);
    CHECK(comes(reader, 'x'));
    for (int i = 0; i < 3; i++) CHECK(recv_now(reader) == THIRL_END && is_ready(reader, THIRL_WANT_MESSAGE));
    return thirl_close(&reader, THIRL_NOW);
}
IN_A_CHILD(the_end_of_a_stream_stays_the_end)

/* Whoever was written to has left without a word, and another one of his process speaks. */
static int do_another_one_comes_instead(void *nothing) {
    thirl *end, *first, *second;
    (void)nothing;
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&first, THIRL_PAIR) == 0);
    CHECK(send_byte(end, 'x') == 0 && thirl_close(&first, THIRL_NOW) == 0);
    CHECK(open_end(&second, THIRL_PAIR) == 0 && send_byte(second, 'y') == 0);
    CHECK(comes(end, 'y'));
    CHECK(send_byte(end, 'x') == -THIRL_ECLOSED);
    CHECK(thirl_close(&second, THIRL_NOW) >= 0);
    return thirl_close(&end, THIRL_NOW) < 0;
}
IN_A_CHILD(another_one_comes_instead)

/* It talks to one who leaves: who comes then waits until it has heard of that. */
static int do_who_talks_to_another_is_not_listened_to(void *nothing) {
    thirl *end, *first, *second;
    (void)nothing;
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&first, THIRL_PAIR) == 0);
    CHECK(!is_ready(first, THIRL_WANT_MESSAGE)); /* it is there, and has said nothing */
    CHECK(send_byte(end, 'x') == 0 && comes(first, 'x'));
    CHECK(!is_ready(end, THIRL_WANT_MESSAGE)); /* it has only listened */
    CHECK(thirl_close(&first, THIRL_NOW) == 0);
    CHECK(open_end(&second, THIRL_PAIR) == 0);
    CHECK(!is_ready(second, THIRL_WANT_MESSAGE) && recv_now(second) == -EAGAIN);
    CHECK(thirl_close(&end, THIRL_NOW) >= 0);
    CHECK(recv_now(second) == -EAGAIN); /* that goodbye was for the other one */
    CHECK(open_end(&end, THIRL_PAIR) == 0 && send_byte(end, 'z') == 0 && comes(second, 'z'));
    CHECK(thirl_close(&second, THIRL_NOW) == 0 && thirl_close(&end, THIRL_NOW) == 0);
    return 0;
}
IN_A_CHILD(who_talks_to_another_is_not_listened_to)

/* ---- deaths ---- */

enum last { NOTHING, A_WORD, ANOTHER_END };

/* Joins, is written to, and says, or does not, what it has to say; ready then, and dead soon. */
static int is_written_to(void *argument) {
    const enum last last = *(const enum last *)argument;
    thirl *end;
    CHECK(open_end(&end, THIRL_PAIR) == 0);
    atomic_store(&member_board->ready, 1);
    CHECK(member_wait(&member_board->go, 1));
    if (last == ANOTHER_END) {
        CHECK(thirl_close(&end, THIRL_NOW) >= 0 && open_end(&end, THIRL_PAIR) == 0);
    }
    CHECK(last == NOTHING || send_byte(end, 'y') == 0);
    atomic_store(&member_board->ready, 2);
    for (;;) (void)pause();
}

/* One to whom the end has written, from whom it has not received, and who is dead, is looked at. */
static int look_at_the_dead(thirl **end, enum last last) {
    memset(member_board, 0, sizeof *member_board);
    CHECK(open_end(end, THIRL_PAIR) == 0);
    pid_t peer = room_fork(is_written_to, &last);
    CHECK(member_wait(&member_board->ready, 1) && send_byte(*end, 'x') == 0);
    atomic_store(&member_board->go, 1);
    CHECK(member_wait(&member_board->ready, 2) && kill(peer, SIGKILL) == 0 && room_reap(peer) == 128 + SIGKILL);
    CHECK((*end)->mech->look((*end)->state, MECH_IN) == 0);
    return 0;
}

static int do_the_last_word_of_the_dead_is_heard(void *nothing) {
    thirl *end;
    (void)nothing;
    CHECK(look_at_the_dead(&end, A_WORD) == 0);
    CHECK(comes(end, 'y'));
    CHECK(recv_now(end) == -THIRL_EPEERDIED && says("all 1 messages"));
    CHECK(recv_now(end) == -EAGAIN);
    return thirl_close(&end, THIRL_NOW) != 1; /* what it was sent, it has not received */
}
IN_A_CHILD(the_last_word_of_the_dead_is_heard)

static int do_who_comes_after_the_dead_is_heard(void *nothing) {
    thirl *end, *other;
    (void)nothing;
    CHECK(look_at_the_dead(&end, NOTHING) == 0);
    CHECK(open_end(&other, THIRL_PAIR) == 0 && send_byte(other, 'z') == 0);
    CHECK(recv_now(end) == -THIRL_EPEERDIED && says("had sent nothing"));
    CHECK(comes(end, 'z'));
    CHECK(thirl_close(&other, THIRL_NOW) == 0);
    return thirl_close(&end, THIRL_NOW) != 1;
}
IN_A_CHILD(who_comes_after_the_dead_is_heard)

/* Who comes then cannot be listened to: that is said first, and the death is not forgotten over it. */
static int do_who_lies_hides_no_death(void *nothing) {
    thirl *end, *liar;
    (void)nothing;
    CHECK(look_at_the_dead(&end, NOTHING) == 0);
    CHECK(open_end(&liar, THIRL_PAIR) == 0);
    inside(liar)->out.own->mark.version = SHM_VERSION + 1;
    for (int i = 0; i < 2; i++) CHECK(recv_now(end) == -THIRL_EVERSION && says("layout"));
    CHECK(thirl_close(&liar, THIRL_NOW) == 0);
    CHECK(recv_now(end) == -THIRL_EPEERDIED && says("had sent nothing"));
    CHECK(recv_now(end) == -EAGAIN);
    return thirl_close(&end, THIRL_NOW) != 1;
}
IN_A_CHILD(who_lies_hides_no_death)

/* The end that was written to left; another one of the same process spoke, and was killed with it. */
static int do_each_end_of_the_dead_is_one(void *nothing) {
    thirl *end;
    (void)nothing;
    CHECK(look_at_the_dead(&end, ANOTHER_END) == 0);
    CHECK(recv_now(end) == -THIRL_EPEERDIED && says("had sent nothing"));
    CHECK(comes(end, 'y'));
    CHECK(recv_now(end) == -THIRL_EPEERDIED && says("all 1 messages"));
    (void)!thirl_close(&end, THIRL_NOW);
    return 0;
}
IN_A_CHILD(each_end_of_the_dead_is_one)

/* Whoever waits learns of a death, as often as he asks, until a send, or a receive, has said it. */
static int do_a_death_is_told_by_who_sends(void *nothing) {
    thirl *end;
    enum last last = NOTHING;
    (void)nothing;
    CHECK(open_end(&end, THIRL_PAIR) == 0);
    pid_t peer = room_fork(is_written_to, &last);
    CHECK(member_wait(&member_board->ready, 1) && send_byte(end, 'x') == 0);
    CHECK(!is_ready(end, THIRL_WANT_MESSAGE));
    CHECK(kill(peer, SIGKILL) == 0 && room_reap(peer) == 128 + SIGKILL);
    CHECK(is_ready_until(end, THIRL_WANT_MESSAGE, SOON) && is_ready_until(end, THIRL_WANT_ROOM, SOON));
    for (int i = 0; i < 2; i++) {
        CHECK(end->mech->look(end->state, MECH_OUT) == 0 && is_ready(end, THIRL_WANT_ROOM));
        CHECK(end->mech->look(end->state, MECH_IN) == 0 && is_ready(end, THIRL_WANT_MESSAGE));
    }
    CHECK(send_byte(end, 'x') == -THIRL_EPEERDIED && says("1 of 1 messages"));
    CHECK(end->mech->look(end->state, MECH_OUT) == -EAGAIN && !is_ready(end, THIRL_WANT_ROOM));
    CHECK(thirl_close(&end, THIRL_NOW) == 1);
    thirl *other;
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&other, THIRL_PAIR) == 0);
    CHECK(send_byte(end, 'x') == 0 && thirl_close(&other, THIRL_NOW) == 0);
    CHECK(send_byte(end, 'x') == -THIRL_ECLOSED && end->mech->look(end->state, MECH_OUT) == 0); /* for good */
    return thirl_close(&end, THIRL_NOW) < 0;
}
IN_A_CHILD(a_death_is_told_by_who_sends)

/* ---- files that are not what they are called ---- */

static int do_marks_that_do_not_fit_are_told(void *nothing) {
    static const struct {
        size_t at;
        uint32_t value;
        int told;
    } lies[] = {
        {offsetof(struct shm_mark, magic), 0, -THIRL_EFORMAT},
        {offsetof(struct shm_mark, node), 77, -THIRL_EFORMAT},
        {offsetof(struct shm_mark, number), 77, -THIRL_EFORMAT},
        {offsetof(struct shm_mark, version), SHM_VERSION + 1, -THIRL_EVERSION},
        {offsetof(struct shm_mark, size), 8, -THIRL_EVERSION},
    };
    (void)nothing;
    for (size_t i = 0; i < 3 * sizeof lies / sizeof *lies; i++) {
        const bool sends = i % 3 == 0, posted = i % 3 == 1;
        thirl *end, *liar;
        CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&liar, THIRL_PAIR) == 0);
        CHECK(!posted || send_byte(liar, 'y') == 0);
        void *mark = sends ? (void *)inside(liar)->in.own : (void *)inside(liar)->out.own;
        memcpy((char *)mark + lies[i / 3].at, &lies[i / 3].value, sizeof lies->value);
        for (int again = 0; again < 2; again++) {
            CHECK(is_ready(end, sends ? THIRL_WANT_ROOM : THIRL_WANT_MESSAGE));
            CHECK((sends ? send_byte(end, 'x') : recv_now(end)) == lies[i / 3].told);
            CHECK(lies[i / 3].told == -THIRL_EFORMAT ? says("not what its name says") : says("layout"));
        }
        CHECK(thirl_close(&liar, THIRL_NOW) >= 0);
        CHECK(open_end(&liar, THIRL_PAIR) == 0 && send_byte(end, 'x') == 0 && comes(liar, 'x')); /* a proper one */
        CHECK(send_byte(liar, 'y') == 0 && comes(end, 'y'));
        CHECK(thirl_close(&liar, THIRL_NOW) == 0 && thirl_close(&end, THIRL_NOW) >= 0);
    }
    return 0;
}
IN_A_CHILD(marks_that_do_not_fit_are_told)

/* What it took of another one's lane it has not taken of this one's. */
static int do_who_listens_to_another_has_taken_nothing(void *nothing) {
    thirl *end, *liar;
    (void)nothing;
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&liar, THIRL_PAIR) == 0);
    CHECK(send_byte(end, 'x') == 0);
    struct shm_rx *rx = inside(liar)->in.own;
    rx->from = (struct shm_link){.node = inside(end)->roll.self.node, .number = inside(end)->roll.self.number + 77};
    rx->taken = 5;
    rx->cursor = 64;
    CHECK(thirl_close(&end, THIRL_NOW) == 1);
    (void)!thirl_close(&liar, THIRL_NOW);

    /* And who says beforehand that it listens to this one is believed. */
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&liar, THIRL_PAIR) == 0);
    inside(liar)->in.own->from =
        (struct shm_link){.node = inside(end)->roll.self.node, .number = inside(end)->roll.self.number};
    CHECK(send_byte(end, 'x') == 0 && comes(liar, 'x'));
    return thirl_close(&end, THIRL_NOW) != 0 || thirl_close(&liar, THIRL_NOW) < 0;
}
IN_A_CHILD(who_listens_to_another_has_taken_nothing)

/* ---- what can be asked ---- */

static int peer_of(thirl *end) {
    struct thirl_peer peer = {.size = sizeof peer};
    int rc = thirl_peer(end, &peer);
    return rc == 0 && peer.pid != getpid() ? -EBADMSG : rc;
}

static int do_who_is_there_can_be_asked_of_either_way(void *nothing) {
    thirl *end, *peer;
    (void)nothing;
    CHECK(open_end(&end, THIRL_WRITE) == 0 && peer_of(end) == -ENOTCONN);
    CHECK(open_end(&peer, THIRL_READ) == 0 && peer_of(peer) == -ENOTCONN);
    CHECK(send_byte(end, 'x') == 0 && peer_of(end) == 0);
    CHECK(peer_of(peer) == -ENOTCONN && comes(peer, 'x') && peer_of(peer) == 0);
    CHECK(thirl_close(&end, THIRL_NOW) == 0 && recv_now(peer) == THIRL_END && peer_of(peer) == -ENOTCONN);
    CHECK(thirl_close(&peer, THIRL_NOW) == 0);
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&peer, THIRL_PAIR) == 0);
    CHECK(send_byte(end, 'x') == 0 && peer_of(end) == 0); /* of whom it has heard nothing */
    CHECK(comes(peer, 'x') && send_byte(peer, 'y') == 0 && comes(end, 'y') && peer_of(end) == 0);
    CHECK(thirl_close(&peer, THIRL_NOW) == 0 && recv_now(end) == -THIRL_ECLOSED && peer_of(end) == -ENOTCONN);
    return thirl_close(&end, THIRL_NOW) < 0;
}
IN_A_CHILD(who_is_there_can_be_asked_of_either_way)

static int do_limits_are_of_what_an_end_does(void *nothing) {
    struct thirl_limits limits = {.size = sizeof limits};
    thirl *end;
    (void)nothing;
    CHECK(open_end(&end, THIRL_WRITE) == 0 && thirl_limits(end, &limits) == 0);
    CHECK(limits.message_max == UINT64_MAX && limits.queue != 0 && limits.pool == 0 && limits.lends == 0);
    CHECK(thirl_close(&end, THIRL_NOW) == 0);
    CHECK(open_end(&end, THIRL_READ) == 0 && thirl_limits(end, &limits) == 0);
    CHECK(limits.message_max == UINT64_MAX && limits.queue == 0 && limits.pool == 0 && limits.lends == 0);
    CHECK(thirl_close(&end, THIRL_NOW) == 0);
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "?pool=1&queue=64K", NULL) == 0 && thirl_limits(end, &limits) == 0);
    CHECK(limits.message_max > 65000 && limits.message_max < 65536 && limits.pool == 0 && limits.lends == 0);
    CHECK(thirl_close(&end, THIRL_NOW) == 0);
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "?queue=2G", NULL) == -EINVAL && says("at most 1 GiB"));
    CHECK(thirl_open(&end, THIRL_READ, ADDRESS "?queue=2G", NULL) == 0); /* it is the writer's */
    return thirl_close(&end, THIRL_NOW);
}
IN_A_CHILD(limits_are_of_what_an_end_does)

/* ---- what is held, and who comes in a row ---- */

static int do_what_is_held_outlives_its_end(void *nothing) {
    enum { SIZE = 100000 };
    thirl *end, *peer;
    thirl_msg *held[2];
    (void)nothing;
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&peer, THIRL_PAIR) == 0);
    for (unsigned i = 0; i < 2; i++) CHECK(large_put(peer, SIZE, i, SOON) == 0 && large_take(end, &held[i], SIZE, i));
    CHECK(thirl_close(&end, THIRL_NOW) == 0);
    CHECK(large_intact(thirl_msg_data(held[0]), SIZE, 0));
    thirl_free(&held[0]);
    CHECK(thirl_close(&peer, THIRL_NOW) >= 0);
    CHECK(large_intact(thirl_msg_data(held[1]), SIZE, 1));
    thirl_free(&held[1]);
    return 0;
}
IN_A_CHILD(what_is_held_outlives_its_end)

/* Behind many in a row nobody looks out for the next one for long; it comes all the same. */
static int do_behind_many_comes_one_more(void *nothing) {
    thirl *end, *peer;
    char byte;
    size_t size;
    (void)nothing;
    CHECK(open_end(&end, THIRL_PAIR) == 0 && open_end(&peer, THIRL_PAIR) == 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 10; i++) CHECK(send_byte(peer, (char)i) == 0);
        for (int i = 0; i < 10; i++) CHECK(comes(end, (char)i));
        CHECK(end->mech->recv(end->state, &byte, 1, &size, true) == -EAGAIN);
        CHECK(thirl_recv(end, &byte, 1, NULL, thirl_in_ms(1)) == -ETIMEDOUT);
    }
    CHECK(thirl_close(&peer, THIRL_NOW) == 0 && recv_now(end) == -THIRL_ECLOSED);
    return thirl_close(&end, THIRL_NOW);
}
IN_A_CHILD(behind_many_comes_one_more)

int main(void) {
#define T(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        T(a_goodbye_is_for_both_ways),
        T(the_end_of_a_stream_stays_the_end),
        T(another_one_comes_instead),
        T(who_talks_to_another_is_not_listened_to),
        T(the_last_word_of_the_dead_is_heard),
        T(who_comes_after_the_dead_is_heard),
        T(who_lies_hides_no_death),
        T(each_end_of_the_dead_is_one),
        T(a_death_is_told_by_who_sends),
        T(marks_that_do_not_fit_are_told),
        T(who_listens_to_another_has_taken_nothing),
        T(who_is_there_can_be_asked_of_either_way),
        T(limits_are_of_what_an_end_does),
        T(what_is_held_outlives_its_end),
        T(behind_many_comes_one_more),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
