/* SPDX-License-Identifier: MIT
 *
 * Ducts as their mechanism, over both kinds of message queues: who is there, what a damaged page of the other end is answered with, and
 * descriptors.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "chan/end.h"
#include "mech/carried.h"
#include "tests/kinds.h"
#include "tests/member.h"

#define SOON thirl_in_ms(20000)

static const char *const schemes[] = {"mq", "sysv"};
static const char *scheme;
static char byte;
static size_t size;
static int number; /* of the channel */

static int open_end(thirl **end, enum thirl_role role, const char *options) {
    char address[80];
    (void)snprintf(address, sizeof address, "%s://duct-%d%s", scheme, number, options);
    return thirl_open(end, role, address, NULL);
}

static struct duct *duct_of(thirl *end) {
    return &((struct carried *)end->state)->as.duct;
}

static int do_who_is_there_is_named(void) {
    struct thirl_peer peer = {.size = sizeof peer};
    thirl *to, *from;
    CHECK(open_end(&to, THIRL_WRITE, "") == 0 && thirl_peer(to, &peer) == -ENOTCONN);
    CHECK(open_end(&from, THIRL_READ, "") == 0 && thirl_peer(from, &peer) == -ENOTCONN);
    CHECK(thirl_send(to, "x", 1, SOON) == 0 && thirl_recv(from, &byte, 1, &size, SOON) == 0);
    CHECK(thirl_peer(to, &peer) == 0 && peer.pid == getpid());
    CHECK(thirl_peer(from, &peer) == 0 && peer.pid == getpid());
    CHECK(thirl_close(&from, SOON) >= 0);
    CHECK(thirl_send(to, "x", 1, SOON) == -THIRL_ECLOSED && thirl_send(to, "x", 1, SOON) == -THIRL_ECLOSED);
    CHECK(thirl_close(&to, THIRL_NOW) >= 0);
    CHECK(open_end(&to, THIRL_PAIR, "") == 0 && open_end(&from, THIRL_PAIR, "") == 0);
    CHECK(thirl_send(to, "x", 1, SOON) == 0 && thirl_recv(from, &byte, 1, &size, SOON) == 0);
    CHECK(thirl_peer(to, &peer) == 0 && peer.pid == getpid());
    CHECK(thirl_close(&from, SOON) >= 0);
    CHECK(thirl_send(to, "x", 1, SOON) == -THIRL_ECLOSED && thirl_send(to, "x", 1, SOON) == -THIRL_ECLOSED);
    CHECK(thirl_recv(to, &byte, 1, &size, SOON) == -THIRL_ECLOSED);
    CHECK(thirl_close(&to, THIRL_NOW) >= 0);
    return 0;
}

static int do_of_a_queue_nobody_is_named(void) {
    struct thirl_peer peer = {.size = sizeof peer};
    thirl *push, *pull, *pair = NULL;
    CHECK(open_end(&push, THIRL_PUSH, "") == 0 && open_end(&pull, THIRL_PULL, "") == 0);
    CHECK(thirl_send(push, "x", 1, SOON) == 0 && thirl_recv(pull, &byte, 1, &size, SOON) == 0);
    CHECK(thirl_peer(push, &peer) == -ENOTCONN && thirl_peer(pull, &peer) == -ENOTCONN);
    CHECK(thirl_close(&push, SOON) >= 0 && thirl_close(&pull, SOON) >= 0);
    CHECK(open_end(&pair, THIRL_PAIR, "?raw") == -EOPNOTSUPP && strstr(thirl_why(), "push and pull") != NULL);
    return 0;
}

/* A note of a pair has nothing that it carries. */
static int do_a_noted_message_is_one_like_any_other(void) {
    struct mech_note note = {.priority = 0};
    size_t done = 0;
    thirl *a, *b;
    CHECK(open_end(&a, THIRL_PAIR, "") == 0 && open_end(&b, THIRL_PAIR, "") == 0);
    CHECK(thirl_send(a, "x", 1, SOON) == 0 && thirl_recv(b, &byte, 1, &size, SOON) == 0);
    CHECK(a->mech->send_noted(a->state, "n", 1, &done, &note, false) == 0);
    CHECK(b->mech->recv_noted(b->state, &byte, 1, &size, &note, false) == 0 && size == 1 && byte == 'n');
    CHECK(thirl_close(&a, SOON) >= 0 && thirl_close(&b, SOON) >= 0);
    return 0;
}

enum lie { MAGIC, NODE, NUMBER, VERSION, SIZE, LIES };

/* The page of the other end says something else than its name, or is of another version. */
static int tell(enum lie lie) {
    thirl *to, *from;
    CHECK(open_end(&from, THIRL_READ, "") == 0);
    struct duct_page *page = duct_of(from)->page;
    const struct duct_page was = *page;
    page->magic[0] ^= lie == MAGIC;
    page->node += lie == NODE;
    page->number += lie == NUMBER;
    page->version += lie == VERSION;
    page->size += lie == SIZE;
    CHECK(open_end(&to, THIRL_WRITE, "") == 0);
    CHECK(thirl_send(to, "x", 1, THIRL_NOW) == (lie < VERSION ? -THIRL_EFORMAT : -THIRL_EVERSION));
    CHECK(strstr(thirl_why(), lie < VERSION ? "damaged" : "layout") != NULL);
    *page = was;
    CHECK(thirl_close(&to, THIRL_NOW) >= 0 && thirl_close(&from, THIRL_NOW) >= 0);
    return 0;
}

static int do_a_page_that_lies_is_told_of(void) {
    for (enum lie lie = 0; lie < LIES; lie++) CHECK(tell(lie) == 0);
    return 0;
}

static bool is_lit(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

static int do_descriptors_tell_of_either_way(void) {
    thirl *to, *from;
    CHECK(open_end(&to, THIRL_WRITE, "") == 0 && open_end(&from, THIRL_READ, "") == 0);
    int out = thirl_fd(to), in = thirl_fd(from);
    CHECK(out >= 0 && in >= 0);
    CHECK(thirl_send(to, "x", 1, SOON) == 0 && is_lit(in, 1000) && is_lit(out, 1000));
    CHECK(thirl_recv(from, &byte, 1, &size, SOON) == 0);
    CHECK(thirl_recv(from, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_fd(to) == out && thirl_fd(from) == in);
    CHECK(thirl_send(to, "y", 1, SOON) == 0 && is_lit(in, 1000));
    CHECK(thirl_close(&to, THIRL_NOW) >= 0 && thirl_close(&from, THIRL_NOW) >= 0);
    return 0;
}

/* Where there is nothing to sleep on, a look tells of what is there without taking it. */
static int do_a_look_takes_nothing(void) {
    const bool silent = strcmp(scheme, "sysv") == 0;
    static const enum thirl_role roles[][2] = {{THIRL_WRITE, THIRL_READ}, {THIRL_PUSH, THIRL_PULL}};
    for (unsigned i = 0; i < 2; i++) {
        thirl *to, *from;
        CHECK(open_end(&to, roles[i][0], "") == 0);
        CHECK(i != 0 || to->mech->look(to->state, MECH_OUT) == -EAGAIN); /* nobody is there */
        CHECK(open_end(&from, roles[i][1], "") == 0);
        CHECK(thirl_send(to, "x", 1, SOON) == 0 && thirl_recv(from, &byte, 1, &size, SOON) == 0);
        CHECK(thirl_recv(from, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
        CHECK(from->mech->look(from->state, MECH_IN) == -EAGAIN);
        CHECK(thirl_send(to, "x", 1, SOON) == 0);
        CHECK(from->mech->look(from->state, MECH_IN) == (silent ? 0 : -EAGAIN));
        CHECK(to->mech->look(to->state, MECH_OUT) == (silent ? 0 : -EAGAIN));
        CHECK(thirl_recv(from, &byte, 1, &size, SOON) == 0);
        CHECK(thirl_close(&to, THIRL_NOW) >= 0 && thirl_close(&from, THIRL_NOW) >= 0);
    }
    return 0;
}

static int hear_and_wait(void *nothing) {
    (void)nothing;
    thirl *end;
    CHECK(open_end(&end, THIRL_PAIR, "?queue=8K") == 0 && thirl_recv(end, &byte, 1, &size, SOON) == 0);
    CHECK(thirl_send(end, "x", 1, SOON) == 0);
    for (;;) (void)pause();
}

#define LARGE 100000
static char came[LARGE];

/* Sends what is left of a message while it is received. */
static int pass(thirl *to, thirl *from, const char *data, size_t bytes, size_t done) {
    int sent = -EAGAIN, rc = -EAGAIN;
    for (int i = 0; (sent == -EAGAIN || rc == -EAGAIN) && i < 10000; i++) {
        sent = sent == -EAGAIN ? to->mech->send(to->state, data, bytes, &done, false) : sent;
        rc = rc == -EAGAIN ? thirl_recv(from, came, LARGE, &size, THIRL_NOW) : rc;
    }
    return sent == 0 ? rc : sent;
}

/* While one thread's message is half sent the peer dies, which another thread is told: for whoever comes next it begins anew; and whoever
 * does not wait for that is told, too. */
static int do_what_is_half_sent_to_the_dead_begins_anew(void) {
    static char data[LARGE];
    memset(data, 'm', LARGE);
    for (int waits = 0; waits < 2; waits++) {
        thirl *to, *from;
        size_t done = 0, other = 0;
        CHECK(open_end(&to, THIRL_PAIR, "?queue=8K") == 0);
        pid_t pid = room_fork(hear_and_wait, NULL);
        CHECK(thirl_send(to, "x", 1, SOON) == 0 && thirl_recv(to, &byte, 1, &size, SOON) == 0);
        CHECK(to->mech->send(to->state, data, LARGE, &done, false) == -EAGAIN && done != 0 && done < LARGE);
        CHECK(kill(pid, SIGKILL) == 0 && room_reap(pid) == 128 + SIGKILL);
        CHECK(to->mech->send(to->state, "y", 1, &other, false) == -THIRL_EPEERDIED);
        if (!waits) {
            CHECK(to->mech->settle(to->state, data, LARGE, done) == -THIRL_EPEERDIED);
            CHECK(strstr(thirl_why(), "a part of this message") != NULL);
        }
        CHECK(open_end(&from, THIRL_PAIR, "?queue=8K") == 0);
        if (waits) {
            CHECK(pass(to, from, data, LARGE, done) == 0 && size == LARGE && memcmp(data, came, LARGE) == 0);
        }
        CHECK(pass(to, from, "z", 1, 0) == 0 && size == 1 && came[0] == 'z');
        CHECK(thirl_close(&from, SOON) >= 0 && thirl_close(&to, SOON) >= 0);
    }
    return 0;
}

/* What is half sent at the deadline goes on, and is told of where the peer closes before it is whole: to whoever asks first, and to its sender. */
static int do_what_is_half_sent_is_kept_or_told_of(void) {
    static char data[LARGE];
    memset(data, 'm', LARGE);
    for (int closes = 0; closes < 2; closes++) {
        thirl *to, *from;
        size_t done = 0, other = 0;
        uint64_t left;
        CHECK(open_end(&to, THIRL_PAIR, "?queue=8K") == 0 && open_end(&from, THIRL_PAIR, "?queue=8K") == 0);
        CHECK(pass(from, to, "x", 1, 0) == 0 && pass(to, from, "x", 1, 0) == 0);
        if (closes) {
            CHECK(to->mech->send(to->state, data, LARGE, &done, false) == -EAGAIN && done != 0 && done < LARGE);
            CHECK(thirl_close(&from, THIRL_NOW) >= 0);
            CHECK(to->mech->send(to->state, "y", 1, &other, false) == -THIRL_ECLOSED);
            CHECK(to->mech->settle(to->state, data, LARGE, done) == -THIRL_ECLOSED);
        } else {
            CHECK(thirl_send(to, data, LARGE, THIRL_NOW) == 0);
            int rc = -EAGAIN;
            for (int i = 0; rc == -EAGAIN && i < 10000; i++) {
                (void)!to->mech->flush(to->state, &left);
                rc = thirl_recv(from, came, LARGE, &size, THIRL_NOW);
            }
            CHECK(rc == 0 && size == LARGE && memcmp(data, came, LARGE) == 0);
            CHECK(thirl_close(&from, THIRL_NOW) >= 0);
        }
        CHECK(thirl_close(&to, THIRL_NOW) >= 0);
    }
    return 0;
}

static int run(void *body) {
    thirl *end;
    number = (int)getpid();
    if (open_end(&end, THIRL_PAIR, "") != 0 || thirl_close(&end, THIRL_NOW) < 0) {
        return 77;
    }
    return (*(int (*const *)(void))body)();
}

OVER_EACH_KIND(who_is_there_is_named)
OVER_EACH_KIND(of_a_queue_nobody_is_named)
OVER_EACH_KIND(a_noted_message_is_one_like_any_other)
OVER_EACH_KIND(a_page_that_lies_is_told_of)
OVER_EACH_KIND(descriptors_tell_of_either_way)
OVER_EACH_KIND(a_look_takes_nothing)
OVER_EACH_KIND(what_is_half_sent_to_the_dead_begins_anew)
OVER_EACH_KIND(what_is_half_sent_is_kept_or_told_of)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_there_is_named),
        cmocka_unit_test(of_a_queue_nobody_is_named),
        cmocka_unit_test(a_noted_message_is_one_like_any_other),
        cmocka_unit_test(a_page_that_lies_is_told_of),
        cmocka_unit_test(descriptors_tell_of_either_way),
        cmocka_unit_test(a_look_takes_nothing),
        cmocka_unit_test(what_is_half_sent_to_the_dead_begins_anew),
        cmocka_unit_test(what_is_half_sent_is_kept_or_told_of),
    };
    return cmocka_run_group_tests_name("duct", tests, member_begin, room_end);
}
