/* SPDX-License-Identifier: MIT
 *
 * One end, and what befalls it in the midst of a call: another thread closes it, what carries it refuses something, the kernel has no more, or
 * a message comes at the last moment. The mechanism is a real one, of which this test replaces what it asks for.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/clock.h"
#include "chan/errand.h"
#include "tests/befall.h"

/* ---- waiting for several ---- */

static int do_many_elements_need_memory(void *nothing) {
    (void)nothing;
    struct thirl_want wants[20];
    CHECK(open_pair("shm://x") == 0);
    for (int i = 0; i < 20; i++) wants[i] = for_message(a);
    for (unsigned fails = 1; fails <= 2; fails++) {
        lone.fails = fails;
        CHECK(thirl_wait(wants, 20, THIRL_NOW) == -ENOMEM && says("20 elements") && lone.fails == 0);
    }
    wants[3].wanted = 8;
    wants[4].ready = 7;
    CHECK(thirl_wait(wants, 20, THIRL_NOW) == -EINVAL && says("element 3") && wants[4].ready == 0);
    return close_both();
}
IN_A_CHILD(many_elements_need_memory)

static int armed_and_closed(void *self, enum mech_way way, struct mech_watch *watch) {
    int rc = real->arm(self, way, watch);
    begin_close(a, true);
    return rc;
}

/* Another thread has begun to close it: before this one looks, or while it gets ready to sleep. */
static int do_who_closes_meanwhile_is_seen(void *nothing) {
    (void)nothing;
    CHECK(open_pair("shm://x") == 0 && pipe(tube) == 0);
    struct thirl_want wants[2] = {for_message(a), for_tube()};
    for (size_t count = 1; count <= 2; count++) {
        begin_close(a, true);
        CHECK(thirl_wait(wants, count, thirl_in_ms(5000)) == 1 && wants[0].ready == THIRL_WANT_GONE);
        begin_close(a, false);
        CHECK(thirl_wait(wants, count, THIRL_NOW) == -EAGAIN);
    }
    fake.arm = armed_and_closed;
    CHECK(thirl_wait(wants, 2, thirl_in_ms(5000)) == 1 && wants[0].ready == THIRL_WANT_GONE && wants[1].ready == 0);
    begin_close(a, false);
    return close_both();
}
IN_A_CHILD(who_closes_meanwhile_is_seen)

static int has_no_fd(void *self, enum mech_way way, int *fd) {
    (void)self;
    (void)way;
    (void)fd;
    return -EMFILE;
}

/* Shared memory that cannot ring a descriptor is looked at every few ms, beside one that is a descriptor and one that rings its own. */
static int do_what_cannot_ring_is_looked_at(void *nothing) {
    (void)nothing;
    thirl *ringing = NULL, *socket = NULL;
    CHECK(open_pair("shm://x") == 0 && thirl_open(&ringing, THIRL_PAIR, "shm://y", NULL) == 0);
    CHECK(thirl_open(&socket, THIRL_PAIR, socket_address(), NULL) == 0);
    fake.fd = has_no_fd;
    struct thirl_want wants[3] = {for_message(ringing), for_message(socket), for_message(a)};
    CHECK(thirl_wait(wants, 3, thirl_in_ms(20)) == -ETIMEDOUT);
    lone_at("choose.sleep.before", send_to_a);
    CHECK(thirl_wait(wants, 3, THIRL_NEVER) == 1 && wants[2].ready == THIRL_WANT_MESSAGE && take_from_a() == 0);
    CHECK(thirl_close(&ringing, THIRL_NOW) == 0 && thirl_close(&socket, THIRL_NOW) == 0);
    return close_both();
}
IN_A_CHILD(what_cannot_ring_is_looked_at)

static void begin_to_close(void) {
    begin_close(a, true);
}

static int do_without_descriptors_waits_are_bounded(void *nothing) {
    (void)nothing;
    struct rlimit old, few;
    CHECK(open_pair("shm://x") == 0 && thirl_fd(a) >= 0 && pipe(tube) == 0);
    int last = dup(0);
    CHECK(last >= 0 && close(last) == 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
    few = old;
    few.rlim_cur = (rlim_t)last;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    struct thirl_want wants[2] = {for_message(a), for_tube()};
    CHECK(thirl_wait(wants, 2, thirl_in_ms(5)) == -ETIMEDOUT && a->kick < 0);
    lone_at("choose.sleep.before", send_to_a);
    CHECK(thirl_wait(wants, 2, THIRL_NEVER) == 1 && wants[0].ready == THIRL_WANT_MESSAGE && take_from_a() == 0);
    lone_at("choose.sleep.before", begin_to_close); /* which has nothing to wake it by */
    CHECK(thirl_wait(wants, 2, THIRL_NEVER) == 1 && wants[0].ready == THIRL_WANT_GONE);
    begin_close(a, false);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    return close_both();
}
IN_A_CHILD(without_descriptors_waits_are_bounded)

static int do_an_old_kernel_waits_for_one_word_or_in_poll(void *nothing) {
    (void)nothing;
    lone.no_many = true;
    int64_t began = clock_now();
    CHECK(thirl_wait(NULL, 0, thirl_in_ms(10)) == -ETIMEDOUT && clock_now() - began >= 10 * CLOCK_MS);
    CHECK(open_pair("shm://x") == 0);
    struct thirl_want want = for_message(a);
    CHECK(thirl_wait(&want, 1, thirl_in_ms(10)) == -ETIMEDOUT);
    lone_at("choose.sleep.before", send_to_a);
    CHECK(thirl_wait(&want, 1, THIRL_NEVER) == 1 && take_from_a() == 0);
    return close_both();
}
IN_A_CHILD(an_old_kernel_waits_for_one_word_or_in_poll)

static uint32_t inside; /* 1: another thread is in the gate; 2: it may go */

static void *stay_inside(void *gate) {
    if (gate_enter(gate, INT64_MAX) != 0) abort();
    atomic_store(&inside, 1);
    while (atomic_load(&inside) != 2) room_sleep(CLOCK_MS / 5);
    gate_leave(gate);
    return NULL;
}

/* Somebody is inside a system call of that end. */
static int do_an_end_that_is_in_use_is_looked_at_again(void *nothing) {
    (void)nothing;
    pthread_t thread;
    thirl_msg *msg;
    CHECK(open_pair(socket_address()) == 0 && real->blocks);
    struct thirl_want want = for_message(a);
    CHECK(pthread_create(&thread, NULL, stay_inside, &a->way[MECH_IN].gate) == 0 && member_wait(&inside, 1));
    CHECK(thirl_wait(&want, 1, thirl_in_ms(6)) == -ETIMEDOUT);
    char byte;
    CHECK(thirl_recv(a, &byte, 1, NULL, thirl_in_ms(60)) == -ETIMEDOUT);
    atomic_store(&inside, 2);
    CHECK(pthread_join(thread, NULL) == 0);
    send_to_a();
    CHECK(thirl_wait(&want, 1, thirl_in_ms(5000)) == 1 && take_from_a() == 0);
    send_to_a();
    a->way[MECH_IN].choosers = 1; /* while somebody chooses nobody blocks */
    CHECK(thirl_take(a, &msg, THIRL_NEVER) == 0 && thirl_msg_size(msg) == 1);
    a->way[MECH_IN].choosers = 0;
    thirl_free(&msg);
    return close_both();
}
IN_A_CHILD(an_end_that_is_in_use_is_looked_at_again)

static int do_more_words_than_the_kernel_takes_are_polled(void *nothing) {
    (void)nothing;
    struct thirl_want wants[141];
    CHECK(open_pair("shm://x") == 0);
    for (int i = 0; i < 140; i++) wants[i] = for_message(a);
    wants[140] = (struct thirl_want){.fd = -1, .wanted = 1}; /* an element that is none */
    CHECK(thirl_wait(wants, 141, thirl_in_ms(2)) == -ETIMEDOUT);
    lone_at("choose.sleep.before", send_to_a);
    CHECK(thirl_wait(wants, 141, thirl_in_ms(9000)) == 140 && wants[140].ready == 0 && take_from_a() == 0);
    return close_both();
}
IN_A_CHILD(more_words_than_the_kernel_takes_are_polled)

static void nap(void) {
    room_sleep(4 * CLOCK_MS);
}

static void send_to_a_and_nap_behind_it(void) {
    send_to_a();
    lone_at("choose.sleep.after", nap);
}

static int do_what_comes_at_the_last_moment_is_found(void *nothing) {
    (void)nothing;
    CHECK(open_pair("shm://x") == 0);
    struct thirl_want want = for_message(a);
    lone_at("choose.sleep.after", send_to_a);
    CHECK(thirl_wait(&want, 1, thirl_in_ms(2)) == 1 && lone.act == NULL && take_from_a() == 0);
    CHECK(pipe(tube) == 0);
    struct thirl_want wants[2] = {want, for_tube()};
    lone_at("choose.sleep.before", send_to_a_and_nap_behind_it);
    CHECK(thirl_wait(wants, 2, thirl_in_ms(2)) == 1 && lone.act == NULL && take_from_a() == 0);
    return close_both();
}
IN_A_CHILD(what_comes_at_the_last_moment_is_found)

static int do_calls_are_waited_for(void *nothing) {
    (void)nothing;
    thirl_msg *request;
    CHECK(open_both("shm://ask", THIRL_SERVE, THIRL_CALL) == 0);
    struct thirl_want wants[2] = {for_message(a), for_message(b)};
    CHECK(thirl_wait(wants, 2, THIRL_NOW) == -EAGAIN && ask() != 0 && thirl_wait(wants, 2, thirl_in_ms(5000)) == 1);
    CHECK(wants[0].ready == THIRL_WANT_MESSAGE && thirl_take(a, &request, THIRL_NOW) == 0);
    thirl_free(&request);
    return close_both();
}
IN_A_CHILD(calls_are_waited_for)

static uint32_t life;

static int arm_with_a_life(void *self, enum mech_way way, struct mech_watch *watch) {
    int rc = real->arm(self, way, watch);
    watch->life = &life;
    watch->life_value = 0;
    return rc;
}

static void die(void) {
    atomic_store(&life, 1);
}

/* Where only a try can tell, whoever waits is woken for it. */
static int do_a_death_beside_the_word_is_seen(void *nothing) {
    (void)nothing;
    CHECK(open_pair("shm://x") == 0);
    struct thirl_want want = for_message(a);
    fake.ready = NULL;
    fake.arm = arm_with_a_life;
    CHECK(thirl_wait(&want, 1, thirl_in_ms(3)) == -ETIMEDOUT && want.ready == 0);
    lone_at("choose.sleep.before", die);
    CHECK(thirl_wait(&want, 1, THIRL_NEVER) == 1 && want.ready == THIRL_WANT_MESSAGE);
    return close_both();
}
IN_A_CHILD(a_death_beside_the_word_is_seen)

static unsigned found; /* looks that have */

static int arm_for_a_moment(void *self, enum mech_way way, struct mech_watch *watch) {
    int rc = real->arm(self, way, watch);
    watch->slice = CLOCK_MS;
    return rc;
}

static int find(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    found++;
    return -EAGAIN;
}

static bool has_found(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return found != 0;
}

/* Of what rings no bell: a look lets it in, or a try is due. */
static int do_what_no_bell_tells_is_looked_for(void *nothing) {
    (void)nothing;
    CHECK(open_pair("shm://x") == 0);
    struct thirl_want want = for_message(a);
    fake.arm = arm_for_a_moment;
    fake.look = find;
    fake.ready = has_found;
    CHECK(thirl_wait(&want, 1, THIRL_NEVER) == 1 && want.ready == THIRL_WANT_MESSAGE && found == 1);
    fake.look = real->look;
    fake.ready = NULL;
    CHECK(thirl_wait(&want, 1, THIRL_NEVER) == 1 && want.ready == THIRL_WANT_MESSAGE);
    return close_both();
}
IN_A_CHILD(what_no_bell_tells_is_looked_for)

/* ---- one wait ---- */

static bool waited;

static int note_whether_it_waits(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note,
                                 bool wait) {
    waited = waited || wait;
    return real->recv_noted(self, buffer, capacity, size, note, wait);
}

/* A mechanism that blocks does so at the first try, unless the user wants it to spin, or another thread chooses on this end. */
static int do_the_first_try_waits_where_it_may(void *nothing) {
    (void)nothing;
    for (int i = 0; i < 3; i++) {
        thirl_msg *msg = NULL;
        CHECK(open_pair(socket_address()) == 0 && a->patient);
        a->wait = i == 1 ? THIRL_WAIT_SPIN : a->wait;
        a->way[MECH_IN].choosers = i == 2;
        waited = false;
        fake.recv_noted = note_whether_it_waits;
        send_to_a();
        CHECK(thirl_take(a, &msg, THIRL_NEVER) == 0 && thirl_msg_size(msg) == 1 && waited == (i == 0));
        thirl_free(&msg);
        a->way[MECH_IN].choosers = 0;
        CHECK(close_both() == 0);
    }
    return 0;
}
IN_A_CHILD(the_first_try_waits_where_it_may)

static int close_and_find_nothing(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    (void)self;
    (void)buffer;
    (void)capacity;
    (void)size;
    (void)wait;
    begin_close(a, true);
    return -EAGAIN;
}

static int do_a_close_ends_a_wait_wherever_it_is(void *nothing) {
    (void)nothing;
    char byte;
    CHECK(open_pair("shm://x") == 0);
    fake.recv = a->recv = close_and_find_nothing;
    CHECK(thirl_recv(a, &byte, 1, NULL, thirl_in_ms(1000)) == -THIRL_ECLOSED && says("being closed"));
    begin_close(a, false);
    a->wait = THIRL_WAIT_SLEEP;
    CHECK(thirl_recv(a, &byte, 1, NULL, (thirl_time){1}) == -THIRL_ECLOSED);
    begin_close(a, false);
    return close_both();
}
IN_A_CHILD(a_close_ends_a_wait_wherever_it_is)

static int arm_without_bound(void *self, enum mech_way way, struct mech_watch *watch) {
    int rc = real->arm(self, way, watch);
    watch->slice = INT64_MAX;
    return rc;
}

static int do_a_wait_on_a_descriptor_may_last_for_ever(void *nothing) {
    (void)nothing;
    struct rlimit old, none;
    CHECK(open_pair(socket_address()) == 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
    fake.blocks = a->patient = false;
    fake.arm = arm_without_bound;
    a->way[MECH_IN].straight = END_NEVER;
    char byte = 0;
    int last = dup(0);
    CHECK(last >= 0 && close(last) == 0);
    none = old;
    none.rlim_cur = (rlim_t)last; /* there is nothing by which a close could wake it */
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK(thirl_recv(a, &byte, 1, NULL, thirl_in_ms(3)) == -ETIMEDOUT && a->kick < 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    lone_at("wait.sleep.before", send_to_a);
    CHECK(thirl_recv(a, &byte, 1, NULL, THIRL_NEVER) == 0 && byte == 'y' && lone.act == NULL && a->kick >= 0);
    return close_both();
}
IN_A_CHILD(a_wait_on_a_descriptor_may_last_for_ever)

static int64_t ring_in_the_future(void *self, enum mech_way way) {
    (void)real->disarm(self, way);
    return INT64_MAX;
}

/* When a peer rang, the peer says. */
static int do_a_ring_that_is_yet_to_come_teaches_nothing(void *nothing) {
    (void)nothing;
    char byte;
    CHECK(open_pair("shm://x") == 0);
    fake.disarm = ring_in_the_future;
    int64_t wake = a->way[MECH_IN].wake;
    CHECK(thirl_recv(a, &byte, 1, NULL, thirl_in_ms(3)) == -ETIMEDOUT && a->way[MECH_IN].wake == wake);
    CHECK(a->way[MECH_IN].gap >= 0 && a->way[MECH_IN].gap <= CLOCK_MS);
    return close_both();
}
IN_A_CHILD(a_ring_that_is_yet_to_come_teaches_nothing)

static uint64_t object; /* that this thread is seen to wait for */

static void see(void) {
    object = party_me() == NULL ? 77 : party_me()->slip->wait.object;
}

static int wait_for_nothing(void) {
    char byte;
    for (object = 99; object == 99;) {
        lone_at("wait.sleep.before", see);
        CHECK(thirl_recv(a, &byte, 1, NULL, thirl_in_ms(2)) == -ETIMEDOUT);
    }
    return 0;
}

/* Whoever cannot be seen waits all the same. */
static int do_waits_are_seen_where_that_can_be(void *nothing) {
    (void)nothing;
    static struct node_end below;
    struct node_end above;
    lone.refusal = ENOENT;
    CHECK(open_pair("shm://x") == 0 && wait_for_nothing() == 0 && object == 77);
    lone.refusal = 0;
    CHECK(wait_for_nothing() == 0 && object != 0 && object < 77);
    struct node_end *line = a->seen;
    above = below = *line;
    a->seen = &below;
    CHECK(wait_for_nothing() == 0 && object == 0);
    a->seen = &above;
    CHECK(wait_for_nothing() == 0 && object == 0);
    a->seen = line;
    party_me()->slip->wait.kind = SLIP_MUTEX; /* what it waits for already is what is seen */
    CHECK(wait_for_nothing() == 0 && party_me()->slip->wait.kind == SLIP_MUTEX);
    party_me()->slip->wait.kind = SLIP_NOTHING;
    return close_both();
}
IN_A_CHILD(waits_are_seen_where_that_can_be)

static int do_a_server_that_is_not_seen_serves(void *nothing) {
    (void)nothing;
    lone.refusal = ENOENT;
    thirl_msg *request;
    CHECK(open_both("shm://ask", THIRL_SERVE, THIRL_CALL) == 0);
    uint64_t call = ask();
    CHECK(call != 0 && thirl_take(a, &request, thirl_in_ms(5000)) == 0 && party_me() == NULL);
    CHECK(thirl_reply(a, &request, "yes", 3, thirl_in_ms(5000)) == 0);
    CHECK(thirl_answer(b, &call, &request, thirl_in_ms(5000)) == 0 && thirl_msg_size(request) == 3);
    thirl_free(&request);
    return close_both();
}
IN_A_CHILD(a_server_that_is_not_seen_serves)

#define TEST(name) cmocka_unit_test_setup(name, member_clear)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(many_elements_need_memory),
        TEST(who_closes_meanwhile_is_seen),
        TEST(what_cannot_ring_is_looked_at),
        TEST(without_descriptors_waits_are_bounded),
        TEST(an_old_kernel_waits_for_one_word_or_in_poll),
        TEST(an_end_that_is_in_use_is_looked_at_again),
        TEST(what_comes_at_the_last_moment_is_found),
        TEST(calls_are_waited_for),
        TEST(a_death_beside_the_word_is_seen),
        TEST(what_no_bell_tells_is_looked_for),
        TEST(the_first_try_waits_where_it_may),
        TEST(a_close_ends_a_wait_wherever_it_is),
        TEST(a_wait_on_a_descriptor_may_last_for_ever),
        TEST(waits_are_seen_where_that_can_be),
        TEST(a_server_that_is_not_seen_serves),
        TEST(a_ring_that_is_yet_to_come_teaches_nothing),
        TEST(more_words_than_the_kernel_takes_are_polled),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
