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
#include "chan/due.h"
#include "chan/errand.h"
#include "tests/lone.h"
#include "tests/member.h"

#define LARGE ((size_t)3 << 20)

static bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

static thirl *a, *b;     /* both ends of a channel */
static struct mech fake; /* of a: the real one at first */
static const struct mech *real;

static int open_both(const char *address, enum thirl_role one, enum thirl_role other) {
    CHECK(thirl_open(&a, one, address, NULL) == 0 && thirl_open(&b, other, address, NULL) == 0);
    real = a->mech;
    fake = *real;
    a->mech = &fake;
    return 0;
}

static int open_pair(const char *address) {
    char byte;
    CHECK(open_both(address, THIRL_PAIR, THIRL_PAIR) == 0);
    for (int i = 0; i < 2; i++) { /* they know each other */
        thirl *from = i == 0 ? a : b, *to = i == 0 ? b : a;
        int rc = -EAGAIN;
        for (int tries = 0; rc == -EAGAIN && tries < 5000; tries++) {
            rc = thirl_send(from, "x", 1, THIRL_NOW);
            (void)!thirl_recv(to, NULL, 0, NULL, THIRL_NOW);
        }
        CHECK(rc == 0 && thirl_recv(to, &byte, 1, NULL, thirl_in_ms(5000)) == 0);
    }
    return 0;
}

static int close_both(void) {
    a->mech = real;
    a->send = real->send;
    a->recv = real->recv;
    CHECK(thirl_close(&a, THIRL_NOW) >= 0 && thirl_close(&b, THIRL_NOW) >= 0);
    return 0;
}

static const char *socket_address(void) {
    static char address[100];
    (void)snprintf(address, sizeof address, "unix://%s/socket", room_path);
    return address;
}

static struct thirl_want for_message(thirl *end) {
    return (struct thirl_want){.end = end, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
}

static int tube[2];

static struct thirl_want for_tube(void) {
    return (struct thirl_want){.fd = tube[0], .wanted = 1};
}

static void send_to_a(void) {
    if (thirl_send(b, "y", 1, THIRL_NOW) != 0) abort();
}

static int take_from_a(void) {
    char byte = 0;
    CHECK(thirl_recv(a, &byte, 1, NULL, THIRL_NOW) == 0 && byte == 'y');
    return 0;
}

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
    atomic_store(&a->closing, 1);
    return rc;
}

/* Another thread has begun to close it: before this one looks, or while it gets ready to sleep. */
static int do_who_closes_meanwhile_is_seen(void *nothing) {
    (void)nothing;
    CHECK(open_pair("shm://x") == 0 && pipe(tube) == 0);
    struct thirl_want wants[2] = {for_message(a), for_tube()};
    for (size_t count = 1; count <= 2; count++) {
        a->closing = 1;
        CHECK(thirl_wait(wants, count, thirl_in_ms(5000)) == 1 && wants[0].ready == THIRL_WANT_GONE);
        a->closing = 0;
        CHECK(thirl_wait(wants, count, THIRL_NOW) == -EAGAIN);
    }
    fake.arm = armed_and_closed;
    CHECK(thirl_wait(wants, 2, thirl_in_ms(5000)) == 1 && wants[0].ready == THIRL_WANT_GONE && wants[1].ready == 0);
    a->closing = 0;
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
    atomic_store(&a->closing, 1);
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
    a->closing = 0;
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

/* The number of a call of that end; 0: a does not hear it. */
static uint64_t ask_of(thirl *caller) {
    uint64_t call = 0;
    for (int tries = 0; thirl_ask(caller, "what", 4, &call, THIRL_NOW) == -EAGAIN && tries < 5000; tries++) {
        struct thirl_want want = for_message(a); /* who comes is let in */
        (void)!thirl_wait(&want, 1, THIRL_NOW);
    }
    return call;
}

static uint64_t ask(void) {
    return ask_of(b);
}

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
    if (closes) atomic_store(&a->closing, 1);
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
    a->closing = 0;
    count = 1;
    CHECK(thirl_send_many(a, &part, &count, THIRL_NOW) == -THIRL_ECLOSED && count == 0);
    a->closing = 0;
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

/* ---- one wait ---- */

static int close_and_find_nothing(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    (void)self;
    (void)buffer;
    (void)capacity;
    (void)size;
    (void)wait;
    atomic_store(&a->closing, 1);
    return -EAGAIN;
}

static int do_a_close_ends_a_wait_wherever_it_is(void *nothing) {
    (void)nothing;
    char byte;
    CHECK(open_pair("shm://x") == 0);
    fake.recv = a->recv = close_and_find_nothing;
    CHECK(thirl_recv(a, &byte, 1, NULL, thirl_in_ms(1000)) == -THIRL_ECLOSED && says("being closed"));
    a->closing = 0;
    a->wait = THIRL_WAIT_SLEEP;
    CHECK(thirl_recv(a, &byte, 1, NULL, (thirl_time){1}) == -THIRL_ECLOSED);
    a->closing = 0;
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
    a->closing = 1;
    thirl_msg *none;
    CHECK(thirl_take(a, &none, THIRL_NOW) == -THIRL_ECLOSED);
    thirl_free(&request);
    CHECK(a->due->owed_count == DUE_OWED);
    a->closing = 0;
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
        TEST(many_elements_need_memory),
        TEST(who_closes_meanwhile_is_seen),
        TEST(what_cannot_ring_is_looked_at),
        TEST(without_descriptors_waits_are_bounded),
        TEST(an_old_kernel_waits_for_one_word_or_in_poll),
        TEST(an_end_that_is_in_use_is_looked_at_again),
        TEST(what_comes_at_the_last_moment_is_found),
        TEST(calls_are_waited_for),
        TEST(what_has_begun_to_leave_is_sent),
        TEST(what_cannot_be_kept_is_an_error),
        TEST(a_loan_of_private_memory_is_sent),
        TEST(a_peer_that_cannot_be_told_is_an_error),
        TEST(slots_are_filled_as_far_as_there_are_some),
        TEST(a_topic_needs_memory_once),
        TEST(a_close_ends_a_wait_wherever_it_is),
        TEST(a_wait_on_a_descriptor_may_last_for_ever),
        TEST(waits_are_seen_where_that_can_be),
        TEST(a_server_that_is_not_seen_serves),
        TEST(a_ring_that_is_yet_to_come_teaches_nothing),
        TEST(more_words_than_the_kernel_takes_are_polled),
        TEST(a_server_hears_what_it_knows),
        TEST(a_server_looks_as_far_ahead_as_it_has_room),
        TEST(a_server_keeps_so_many_words_that_it_owes),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
