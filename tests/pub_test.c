/* SPDX-License-Identifier: MIT
 *
 * Publishers and subscribers over shared memory in one process, where little is usual: what does not fit, what is lent while nothing does, many at
 * once beside a descriptor, and who is at the other end of a pattern.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "chan/end.h"
#include "mech/fan.h"
#include "tests/famine.h"
#include "tests/refuse.h"
#include "tests/room.h"

#define SOON thirl_in_ms(5000)

static char topic[48];

static thirl *open_end(enum thirl_role role, const char *options) {
    thirl *end = NULL;
    char address[128];
    (void)snprintf(address, sizeof address, "shm://%s%s", topic, options);
    if (thirl_open(&end, role, address, NULL) != 0) {
        fail_msg("%s", thirl_why());
    }
    return end;
}

static int next_topic(void **state) {
    static int count;
    (void)state;
    (void)snprintf(topic, sizeof topic, "pub%d/one", ++count);
    return 0;
}

static void close_end(thirl *end) {
    assert_in_range(thirl_close(&end, SOON), 0, 1000);
}

static void say(thirl *end, uint64_t word) {
    assert_int_equal(thirl_send(end, &word, sizeof word, SOON), 0);
}

static void expect(thirl *end, uint64_t word) {
    uint64_t got = 0;
    size_t size = 0;
    assert_int_equal(thirl_recv(end, &got, sizeof got, &size, SOON), 0);
    assert_int_equal(size, sizeof got);
    assert_int_equal(got, word);
}

static void what_does_not_fit_is_refused_with_what_would(void **state) {
    thirl *end = NULL;
    (void)state;
    assert_int_equal(thirl_open(&end, THIRL_PUB, "shm://pub?queue=2G", NULL), -EINVAL);
    assert_non_null(strstr(thirl_why(), "1 GiB"));
    for (int pool = 0; pool < 2; pool++) {
        thirl *pub = open_end(THIRL_PUB, pool ? "?queue=4K&pool=64K" : "?queue=4K&pool=1");
        thirl *sub = open_end(THIRL_SUB, "");
        struct thirl_limits limits = {.size = sizeof limits};
        assert_int_equal(thirl_limits(pub, &limits), 0);
        char *large = calloc(1, (size_t)limits.message_max + 1);
        assert_non_null(large);
        assert_int_equal(thirl_send(pub, large, (size_t)limits.message_max + 1, SOON), -EMSGSIZE);
        assert_non_null(strstr(thirl_why(), pool ? "?pool=" : "?queue="));
        /* What was sent before it counts, and what comes behind it is heard. */
        const struct iovec messages[] = {{large, 8}, {large, (size_t)limits.message_max + 1}, {large, 8}};
        size_t count = 3, size = 0;
        assert_int_equal(thirl_send_many(pub, messages, &count, SOON), -EMSGSIZE);
        assert_int_equal(count, 1);
        assert_int_equal(thirl_send(pub, large, (size_t)limits.message_max, SOON), 0);
        assert_int_equal(thirl_recv(sub, large, 8, &size, SOON), 0);
        assert_int_equal(thirl_recv(sub, large, (size_t)limits.message_max, &size, SOON), 0);
        assert_int_equal(size, limits.message_max);
        free(large);
        close_end(pub);
        close_end(sub);
    }
}

/* Nor is more lent than may be sent. */
static void what_may_not_be_sent_is_not_lent(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?pool=256K&max=20000");
    thirl_msg *msg = NULL;
    (void)state;
    assert_int_equal(thirl_loan(pub, &msg, 30000, SOON), -EMSGSIZE);
    assert_null(msg);
    assert_int_equal(thirl_loan(pub, &msg, 20000, SOON), 0);
    assert_int_equal(thirl_put(pub, &msg, SOON), 0);
    close_end(pub);
}

/* A loan that cannot leave yet stays one, and leaves later. */
static void what_is_lent_waits_for_room(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?queue=4K&pool=256K&full=block"), *sub = open_end(THIRL_SUB, "");
    thirl_msg *msg = NULL;
    static const uint64_t below = 5; /* where the program is, as the stack is above the pool */
    uint64_t sent = 0, word;
    size_t size;
    (void)state;
    say(pub, 0);
    expect(sub, 0);
    assert_int_equal(thirl_loan(pub, &msg, 20000, SOON), 0);
    memset(thirl_msg_data(msg), 7, 20000);
    assert_int_equal(thirl_send(pub, &below, sizeof below, THIRL_NOW), 0);
    expect(sub, below);
    while (thirl_send(pub, &sent, sizeof sent, THIRL_NOW) == 0) sent++;
    assert_true(sent > 10);
    assert_int_equal(thirl_put(pub, &msg, THIRL_NOW), -EAGAIN);
    assert_null(msg);
    for (uint64_t i = 0; i < sent; i++) expect(sub, i);
    assert_int_equal(thirl_recv(sub, &word, sizeof word, &size, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_loan(pub, &msg, 20000, SOON), 0); /* its place is free again */
    memset(thirl_msg_data(msg), 9, 20000);
    assert_int_equal(thirl_put(pub, &msg, SOON), 0);
    assert_int_equal(thirl_take(sub, &msg, SOON), 0);
    assert_int_equal(thirl_msg_size(msg), 20000);
    assert_int_equal(((unsigned char *)thirl_msg_data(msg))[19999], 9);
    thirl_free(&msg);
    close_end(pub);
    close_end(sub);
}

static void the_newest_is_dropped_in_place_too(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?queue=4K&pool=64K&full=drop-newest"), *sub = open_end(THIRL_SUB, "");
    static char large[12000];
    size_t size, got = 0;
    (void)state;
    say(pub, 1);
    expect(sub, 1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(thirl_send(pub, large, sizeof large, THIRL_NOW), 0); /* dropped, or not */
    }
    while (thirl_recv(sub, large, sizeof large, &size, THIRL_NOW) == 0) got++;
    assert_in_range(got, 1, 99);
    say(pub, 2);
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_take(sub, &msg, SOON), 0);
    assert_int_equal(thirl_msg_lost(msg), 100 - got);
    thirl_free(&msg);
    close_end(pub);
    close_end(sub);
}

static bool is_readable(int fd) {
    struct pollfd polled = {fd, POLLIN, 0};
    return poll(&polled, 1, 0) == 1;
}

/* It may be readable once too often, as it is now and then for a look at who lives, but not for ever. */
static bool gets_dark(int fd, thirl *sub) {
    bool lit = is_readable(fd);
    for (int tries = 0; tries < 1000 && lit; tries++) {
        assert_int_equal(thirl_recv(sub, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
        lit = is_readable(fd);
    }
    return !lit;
}

/* On both sides somebody looks at the descriptor, and nobody needs it. */
static void many_at_once_beside_a_descriptor(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?queue=4K&full=block"), *sub = open_end(THIRL_SUB, "");
    uint64_t words[8], got[32], sent = 0, heard = 0;
    struct iovec messages[8], room[8];
    (void)state;
    say(pub, 0);
    expect(sub, 0);
    int out = thirl_fd(pub), in = thirl_fd(sub);
    assert_true(out >= 0 && in >= 0);
    assert_true(is_readable(out));
    assert_true(gets_dark(in, sub));
    for (int round = 0; round < 298; round++) {
        size_t count = 8;
        for (size_t i = 0; i < 8; i++) {
            words[i] = sent + i;
            messages[i] = (struct iovec){&words[i], sizeof words[i]};
        }
        int rc = thirl_send_many(pub, messages, &count, THIRL_NOW);
        assert_true(rc == 0 || rc == -EAGAIN);
        sent += rc == 0 || count > 0 ? count : 0;
        if (round % 3 != 0) continue;
        assert_true(is_readable(in));
        do {
            count = 8;
            rc = thirl_recv_many(sub, got, sizeof got, room, &count, THIRL_NOW);
            assert_true(rc == 0 || rc == -EAGAIN);
            for (size_t i = 0; rc == 0 && i < count; i++, heard++) {
                assert_int_equal(*(uint64_t *)room[i].iov_base, heard);
            }
        } while (rc == 0);
        assert_int_equal(heard, sent);
        assert_true(gets_dark(in, sub));
        assert_true(is_readable(out));
    }
    assert_true(heard > 790);
    close_end(pub);
    close_end(sub);
}

/* Of several that are sent at once, too, the newest are dropped and counted; and what is no message stops them there. */
static void of_many_the_newest_are_dropped(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?queue=4K&full=drop-newest"), *sub = open_end(THIRL_SUB, "");
    uint64_t words[8];
    struct iovec messages[8];
    size_t count, got = 0;
    (void)state;
    for (uint64_t n = 0; n < 400; n += 8) {
        for (size_t i = 0; i < 8; i++) {
            words[i] = n + i;
            messages[i] = (struct iovec){&words[i], sizeof words[i]};
        }
        count = 8;
        assert_int_equal(thirl_send_many(pub, messages, &count, THIRL_NOW), 0);
        assert_int_equal(count, 8);
    }
    while (thirl_recv(sub, words, sizeof *words, NULL, THIRL_NOW) == 0) {
        assert_int_equal(*words, got);
        got++;
    }
    assert_in_range(got, 100, 399);
    messages[1].iov_base = NULL;
    count = 3;
    words[0] = 7;
    assert_int_equal(thirl_send_many(pub, messages, &count, THIRL_NOW), -EINVAL);
    assert_int_equal(count, 1);
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_take(sub, &msg, SOON), 0);
    assert_int_equal(*(uint64_t *)thirl_msg_data(msg), 7);
    assert_int_equal(thirl_msg_number(msg), 400);
    assert_int_equal(thirl_msg_lost(msg), 400 - got);
    thirl_free(&msg);
    assert_int_equal(thirl_recv(sub, words, sizeof *words, NULL, THIRL_NOW), -EAGAIN);
    close_end(pub);
    close_end(sub);
}

/* Of those that are sent at once as many as there is room for are sent. */
static void of_many_those_that_fit_are_sent(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?queue=4K&full=fail"), *sub = open_end(THIRL_SUB, "");
    uint64_t words[7], sent = 0;
    struct iovec messages[7];
    size_t count = 7;
    int rc = 0;
    (void)state;
    while (rc == 0) {
        for (size_t i = 0; i < 7; i++) {
            words[i] = sent + i;
            messages[i] = (struct iovec){&words[i], sizeof words[i]};
        }
        rc = thirl_send_many(pub, messages, &count, THIRL_NOW);
        assert_int_equal(rc, count == 7 ? 0 : -EAGAIN);
        sent += count;
    }
    assert_true(sent > 100 && sent % 7 != 0);
    for (uint64_t i = 0; i < sent; i++) expect(sub, i);
    assert_int_equal(thirl_recv(sub, words, sizeof *words, NULL, THIRL_NOW), -EAGAIN);
    close_end(pub);
    close_end(sub);
}

static int see_peer(void *peer, const struct thirl_seen *seen) {
    if (strcmp(seen->role, "pub") == 0 && strcmp(seen->state, "closed") != 0) {
        (void)snprintf(peer, 64, "%s", seen->peer);
    }
    return 0;
}

/* Who waits for nobody counts those who hear him only now and then. */
static void the_list_says_how_many_hear(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?queue=4K"), *sub = open_end(THIRL_SUB, "");
    char peer[64] = "";
    (void)state;
    for (int round = 0; round < 200 && strcmp(peer, "1 subscriber") != 0; round++) {
        for (uint64_t i = 0; i < 400; i++) say(pub, i); /* several times what its queue holds */
        assert_int_equal(thirl_list(see_peer, peer), 0);
        room_sleep(5000000);
    }
    assert_string_equal(peer, "1 subscriber");
    close_end(pub);
    close_end(sub);
}

/* ---- who waits for room ---- */

static struct fan *fan_of(thirl *end) {
    return end->state;
}

/* One end twice in a wait: it is asleep until both have got up. */
static void an_end_may_be_waited_for_twice(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?queue=4K&full=fail"), *sub = open_end(THIRL_SUB, "");
    struct thirl_want both[] = {{.end = pub, .fd = -1, .wanted = THIRL_WANT_ROOM},
                                {.end = pub, .fd = -1, .wanted = THIRL_WANT_ROOM}};
    uint64_t sent = 0;
    (void)state;
    while (thirl_send(pub, &sent, sizeof sent, THIRL_NOW) == 0) sent++;
    assert_int_equal(thirl_wait(both, 2, thirl_in_ms(5)), -ETIMEDOUT);
    assert_true(fan_of(pub)->pub.own->want == FAN_NO_WANT); /* so that nobody rings in vain */
    for (uint64_t i = 0; i < sent; i++) expect(sub, i);
    assert_int_equal(thirl_wait(both, 2, SOON), 2);
    close_end(pub);
    close_end(sub);
}

static int wait_for_room(void *pub) {
    struct thirl_want want = {.end = pub, .fd = -1, .wanted = THIRL_WANT_ROOM};
    return thirl_wait(&want, 1, SOON);
}

static void *in_a_thread(void *pub) {
    return (void *)(intptr_t)wait_for_room(pub);
}

/* One thread sleeps until there is room, another sends something that fits: that it has sent changes nothing of the first one's being rung. */
static void who_sends_leaves_another_his_wish(void **state) {
    thirl *pub = open_end(THIRL_PUB, "?queue=4K&full=block"), *sub = open_end(THIRL_SUB, "");
    static char large[1500];
    pthread_t thread;
    void *answer = NULL;
    unsigned sent = 0;
    (void)state;
    int fd = thirl_fd(pub);
    while (thirl_send(pub, large, sizeof large, THIRL_NOW) == 0) sent++;
    for (int i = 0; i < 1000 && is_readable(fd); i++) { /* as it may be now and then */
        assert_int_equal(thirl_send(pub, large, sizeof large, THIRL_NOW), -EAGAIN);
    }
    assert_int_equal(pthread_create(&thread, NULL, in_a_thread, pub), 0);
    struct pub *own = &fan_of(pub)->pub;
    for (int i = 0; i < 5000 && atomic_peek(&own->asleep) == 0; i++) room_sleep(1000000);
    assert_int_equal(atomic_peek(&own->asleep), 1);
    say(pub, 1);
    assert_true(is_readable(fd));
    assert_true(atomic_peek(&own->own->want) != FAN_NO_WANT || atomic_peek(&own->asleep) == 0);
    for (unsigned i = 0; i < sent; i++) {
        assert_int_equal(thirl_recv(sub, large, sizeof large, NULL, SOON), 0);
    }
    expect(sub, 1);
    assert_int_equal(pthread_join(thread, &answer), 0);
    assert_int_equal((intptr_t)answer, 1);
    close_end(pub);
    close_end(sub);
}

/* Nobody yet; then whoever has spoken last. */
static void both_kinds_of_subscriber_know_who_spoke(void **state) {
    (void)state;
    for (int pattern = 0; pattern < 2; pattern++) {
        char one[sizeof topic];
        (void)snprintf(one, sizeof one, "%s", topic);
        thirl *pub = open_end(THIRL_PUB, "");
        if (pattern) (void)snprintf(strrchr(topic, '/'), 8, "/*");
        thirl *sub = open_end(THIRL_SUB, "");
        struct thirl_peer peer = {.size = sizeof peer};
        uint64_t got[8];
        assert_int_equal(thirl_peer(pub, &peer), -ENOTCONN); /* it has many, or none */
        assert_int_equal(thirl_peer(sub, &peer), -ENOTCONN);
        assert_int_equal(thirl_recv(sub, got, sizeof got, NULL, THIRL_NOW), -EAGAIN);
        for (uint64_t i = 0; i < 4; i++) say(pub, i);
        struct iovec messages[8];
        size_t count = 8, all = 0;
        while (all < 4) {
            assert_int_equal(thirl_recv_many(sub, got, sizeof got, messages, &count, SOON), 0);
            for (size_t i = 0; i < count; i++) assert_int_equal(*(uint64_t *)messages[i].iov_base, all + i);
            all += count;
            count = 8;
        }
        assert_int_equal(thirl_peer(sub, &peer), 0);
        assert_int_equal(peer.pid, getpid());
        thirl_msg *msg = NULL;
        say(pub, 4);
        assert_int_equal(thirl_take(sub, &msg, SOON), 0);
        assert_string_equal(thirl_msg_topic(msg), one);
        thirl_free(&msg);
        assert_int_equal(thirl_recv(sub, got, sizeof got, NULL, thirl_in_ms(30)), -ETIMEDOUT);
        close_end(pub);
        close_end(sub);
    }
}

/* Lets this process have so many descriptors more. */
static struct rlimit leave(unsigned left) {
    struct rlimit before;
    int next = dup(0);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next + left, before.rlim_max}), 0);
    return before;
}

/* However few are left when a publisher has come: he is heard as soon as there are enough. */
static void who_lacks_a_descriptor_looks_again(void **state) {
    (void)state;
    char one[sizeof topic];
    (void)snprintf(one, sizeof one, "%s", topic);
    for (unsigned left = 0, told = 0; left < 4; left++) {
        (void)snprintf(strrchr(topic, '/'), 8, "/*");
        thirl *sub = open_end(THIRL_SUB, "");
        (void)snprintf(topic, sizeof topic, "%s", one);
        thirl *pub = open_end(THIRL_PUB, "");
        uint64_t got = 0;
        struct rlimit before = leave(left);
        int rc = thirl_recv(sub, &got, sizeof got, NULL, THIRL_NOW);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        told += rc == -EMFILE && strstr(thirl_why(), "Too many open files") != NULL;
        assert_true(rc == -EAGAIN || rc == -EMFILE);
        assert_true(told > 0 || left < 3);
        say(pub, left);
        expect(sub, left);
        close_end(pub);
        close_end(sub);
    }
}

/* A subscriber whom a publisher cannot look at is waited for all the same: it is said why, and nothing that he needs is overwritten. */
static void who_cannot_be_looked_at_is_waited_for(void **state) {
    (void)state;
    for (int famine = 0; famine < 2; famine++) {
        thirl *pub = open_end(THIRL_PUB, "?queue=4K&full=fail"), *sub = open_end(THIRL_SUB, "");
        struct rlimit before = {0};
        uint64_t sent = 0;
        int rc = 0;
        if (famine && !famine_begin()) {
            close_end(pub);
            close_end(sub);
            continue;
        }
        if (!famine) before = leave(0);
        while ((rc = thirl_send(pub, &sent, sizeof sent, THIRL_NOW)) == 0) sent++;
        if (famine) famine_end();
        if (!famine) assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(rc, famine ? -ENOMEM : -EMFILE);
        assert_non_null(strstr(thirl_why(), famine ? "no memory for another subscriber" : "Too many open files"));
        assert_int_equal(thirl_send(pub, &sent, sizeof sent, THIRL_NOW), -EAGAIN);
        for (uint64_t i = 0; i < sent; i++) expect(sub, i);
        say(pub, sent);
        expect(sub, sent);
        close_end(pub);
        close_end(sub);
    }
}

/* Nor does it say that all was taken, when it cannot know; and as soon as it can, it does. */
static void who_cannot_be_looked_at_may_have_taken_nothing(void **state) {
    (void)state;
    for (int empty = 0; empty < 2; empty++) {
        thirl *pub = open_end(THIRL_PUB, "?full=block"), *sub = open_end(THIRL_SUB, "");
        for (uint64_t i = 0; i < 3 && !empty; i++) say(pub, i);
        struct rlimit before = leave(0);
        int left = thirl_close(&pub, thirl_in_ms(5));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(left != 0, !empty);
        for (uint64_t i = 0; i < 3 && !empty; i++) expect(sub, i);
        close_end(sub);
    }
    thirl *pub = open_end(THIRL_PUB, "?queue=4K&full=fail"), *sub = open_end(THIRL_SUB, "");
    uint64_t sent = 0;
    while (thirl_send(pub, &sent, sizeof sent, THIRL_NOW) == 0) sent++;
    thirl *other = open_end(THIRL_SUB, "");
    struct rlimit before = leave(0);
    int left = thirl_close(&pub, thirl_in_ms(5));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(left, sent); /* of him who is known */
    for (uint64_t i = 0; i < sent; i++) expect(sub, i);
    close_end(other);
    close_end(sub);
}

static int close_without(void *argument) {
    (void)argument;
    (void)snprintf(strrchr(topic, '/'), 8, "/*");
    thirl *sub = open_end(THIRL_SUB, "");
    struct rlimit before = leave(0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, before.rlim_max}), 0);
    int rc = thirl_close(&sub, THIRL_NOW);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    exit(rc);
}

static void what_cannot_be_removed_is_swept_when_its_process_has_ended(void **state) {
    (void)state;
    close_end(open_end(THIRL_SUB, "")); /* so that this process is there */
    assert_int_equal(room_run(close_without, NULL), 0);
    assert_int_equal(room_entries("wish"), 1);
    close_end(open_end(THIRL_SUB, ""));
    assert_int_equal(room_entries("wish"), 0);
}

/* ---- without the heavy fence ---- */

#define ROUNDS 60
#define MORE 600 /* than the queue holds */

static int refuse_the_fence(void *nothing) {
    (void)nothing;
    return refuse(SYS_membarrier, ENOSYS);
}

static void open_way(thirl **end, enum thirl_role role, const char *way, const char *options) {
    char address[128];
    (void)snprintf(address, sizeof address, "shm://%s/%s?wait=sleep%s", topic, way, options);
    assert_int_equal(thirl_open(end, role, address, NULL), 0);
}

static int answer_without(void *go) {
    thirl *in, *out;
    char byte;
    if (refuse_the_fence(NULL) != 0 || read(*(int *)go, &byte, 1) != 1) return 1;
    open_way(&in, THIRL_SUB, "there", "");
    open_way(&out, THIRL_PUB, "back", "&queue=4K&full=block");
    for (uint64_t i = 0; i < ROUNDS; i++) {
        say(out, i);
        expect(in, i);
    }
    for (uint64_t i = 0; i < MORE; i++) say(out, i);
    for (uint64_t i = 0; i < MORE; i++) expect(in, i);
    close_end(out);
    close_end(in);
    return 0;
}

/* Whoever has none pays for the order himself, and makes those pay who have: both hear each other, asleep as they are. */
static void who_lacks_the_heavy_fence_is_heard_and_hears(void **state) {
    thirl *in, *out;
    (void)state;
    int go[2];
    if (room_run(refuse_the_fence, NULL) == REFUSE_SKIP) skip();
    assert_int_equal(pipe(go), 0);
    pid_t child = room_fork(answer_without, &go[0]);
    open_way(&in, THIRL_SUB, "back", "");
    open_way(&out, THIRL_PUB, "there", "&queue=4K&full=block");
    assert_int_equal(write(go[1], "x", 1), 1);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        expect(in, i);
        say(out, i);
    }
    for (uint64_t i = 0; i < MORE; i++) expect(in, i);
    for (uint64_t i = 0; i < MORE; i++) say(out, i);
    close_end(out);
    close_end(in);
    assert_int_equal(room_reap(child), 0);
    (void)(close(go[0]) + close(go[1]));
}

/* Ends of every kind of a channel that is another's: told of which it is, and nothing is left. */
static void other_roles_are_told_whose_channel_it_is(void **state) {
    thirl *pub = open_end(THIRL_PUB, ""), *end = NULL;
    char address[128];
    static const enum thirl_role roles[] = {THIRL_PAIR, THIRL_PUSH, THIRL_CALL, THIRL_NOTIFY, THIRL_WRITE};
    (void)state;
    (void)snprintf(address, sizeof address, "shm://%s", topic);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        assert_int_equal(thirl_open(&end, roles[i], address, NULL), -THIRL_EROLE);
        assert_non_null(strstr(thirl_why(), "pub, sub"));
        assert_null(end);
    }
    close_end(pub);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_lacks_the_heavy_fence_is_heard_and_hears,
                               next_topic), /* before this process has asked for one */
        cmocka_unit_test_setup(what_does_not_fit_is_refused_with_what_would, next_topic),
        cmocka_unit_test_setup(what_may_not_be_sent_is_not_lent, next_topic),
        cmocka_unit_test_setup(what_is_lent_waits_for_room, next_topic),
        cmocka_unit_test_setup(the_newest_is_dropped_in_place_too, next_topic),
        cmocka_unit_test_setup(many_at_once_beside_a_descriptor, next_topic),
        cmocka_unit_test_setup(of_many_the_newest_are_dropped, next_topic),
        cmocka_unit_test_setup(of_many_those_that_fit_are_sent, next_topic),
        cmocka_unit_test_setup(the_list_says_how_many_hear, next_topic),
        cmocka_unit_test_setup(an_end_may_be_waited_for_twice, next_topic),
        cmocka_unit_test_setup(who_sends_leaves_another_his_wish, next_topic),
        cmocka_unit_test_setup(who_cannot_be_looked_at_is_waited_for, next_topic),
        cmocka_unit_test_setup(who_cannot_be_looked_at_may_have_taken_nothing, next_topic),
        cmocka_unit_test_setup(both_kinds_of_subscriber_know_who_spoke, next_topic),
        cmocka_unit_test_setup(who_lacks_a_descriptor_looks_again, next_topic),
        cmocka_unit_test_setup(what_cannot_be_removed_is_swept_when_its_process_has_ended, next_topic),
        cmocka_unit_test_setup(other_roles_are_told_whose_channel_it_is, next_topic),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
