/* SPDX-License-Identifier: MIT
 *
 * A subscriber that is outrun in the midst of what it does: while it joins, while it takes a message, and by one that waits for nobody; and one that
 * comes in the midst of what a publisher does.
 * What the publisher does then is done here by the same thread, at named points of the subscriber (base/weave.h), so that it happens each time.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/weave.h"
#include "tests/large.h"
#include "tests/member.h"

#define ADDRESS "shm://outrun"
#define SOON LARGE_SOON
#define SIZE 12000 /* of what lies in the pool */

static const char *point; /* where the publisher is faster, */
static unsigned times;    /* so often */
static thirl *pub;
static uint64_t sent;

static int send_many(unsigned count, size_t size) {
    static uint64_t words[SIZE / sizeof(uint64_t)];
    for (unsigned i = 0; i < count; i++, sent++) {
        words[0] = words[size / sizeof *words - 1] = sent;
        CHECK(thirl_send(pub, words, size, THIRL_NOW) == 0);
    }
    return 0;
}

static int (*then)(void); /* that is done there */
static int went;

void weave_pass(struct weave_point *passed) {
    if (times > 0 && strcmp(passed->name, point) == 0) {
        unsigned left = times - 1;
        times = 0; /* what is done passes points, too */
        went |= then();
        times = left;
    }
}

struct weave_point *weave_points(size_t *count) {
    *count = 0;
    return NULL;
}

static int send_small(void) {
    return send_many(400, sizeof sent);
}

static int send_large(void) {
    return send_many(10, SIZE);
}

static void at(const char *where, unsigned often, int (*what)(void)) {
    point = where;
    times = often;
    then = what;
}

/* The next message is that one, and so many are lost before it. */
static int hear(thirl *sub, uint64_t number, uint64_t lost) {
    thirl_msg *msg = NULL;
    CHECK(thirl_take(sub, &msg, THIRL_NOW) == 0);
    const uint64_t *words = thirl_msg_data(msg);
    CHECK(words[0] == number && words[thirl_msg_size(msg) / sizeof *words - 1] == number);
    CHECK(thirl_msg_number(msg) == number && thirl_msg_lost(msg) == lost);
    thirl_free(&msg);
    return 0;
}

static int hear_nothing(thirl *sub) {
    thirl_msg *msg = NULL;
    CHECK(thirl_take(sub, &msg, THIRL_NOW) == -EAGAIN && msg == NULL);
    return 0;
}

/* ---- joining ---- */

/* All that it would have begun with was overwritten before it was through the door: it begins behind that, or with as many before as are asked
 * for, and nothing of that is a loss. */
static int do_who_is_outrun_in_the_door_begins_then(void *nothing) {
    static const struct {
        const char *pub, *sub;
        unsigned history;
    } each[] = {{"", "", 0}, {"", "?history=3", 3}, {"&history=2", "", 2}, {"&history=2", "?history=4", 4}};
    char options[64];
    (void)nothing;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        (void)snprintf(options, sizeof options, "?queue=4K%s", each[i].pub);
        sent = 0;
        CHECK((pub = large_open(ADDRESS, THIRL_PUB, options)) != NULL && send_many(10, sizeof sent) == 0);
        at("sub.join.before", 1, send_small);
        thirl *sub = large_open(ADDRESS, THIRL_SUB, each[i].sub);
        CHECK(sub != NULL && times == 0 && went == 0 && sent == 410);
        for (unsigned k = each[i].history; k > 0; k--) CHECK(hear(sub, sent - k, 0) == 0);
        CHECK(hear_nothing(sub) == 0 && send_many(1, sizeof sent) == 0 && hear(sub, sent - 1, 0) == 0);
        CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&pub, SOON) == 0);
    }
    return 0;
}

/* ---- taking ---- */

/* Overtaken each time, it does not try for ever: it says that there is nothing, and the next time it takes what is whole. */
static int do_who_is_outrun_again_and_again_comes_back(void *nothing) {
    (void)nothing;
    for (unsigned often = 1; often <= 100; often = often == 1 ? 100 : 101) {
        sent = 0;
        CHECK((pub = large_open(ADDRESS, THIRL_PUB, "?queue=4K&pool=64K")) != NULL);
        thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
        CHECK(sub != NULL && send_many(1, SIZE) == 0);
        at("cast.accept.before", often, send_large);
        thirl_msg *msg = NULL;
        int rc = thirl_take(sub, &msg, THIRL_NOW);
        CHECK(went == 0 && rc == (often == 1 ? 0 : -EAGAIN) && times == (often == 1 ? 0 : often - 16));
        times = 0;
        CHECK(rc == 0 || thirl_take(sub, &msg, THIRL_NOW) == 0);
        const uint64_t *words = thirl_msg_data(msg);
        uint64_t next = words[0];
        CHECK(thirl_msg_size(msg) == SIZE && words[SIZE / sizeof *words - 1] == next && next > 0);
        CHECK(thirl_msg_number(msg) == next && thirl_msg_lost(msg) == next);
        thirl_free(&msg);
        while (++next < sent) CHECK(hear(sub, next, 0) == 0);
        CHECK(hear_nothing(sub) == 0);
        CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&pub, SOON) == 0);
    }
    return 0;
}

/* Likewise where the message itself is overwritten while it is copied. */
static int do_who_is_outrun_while_he_copies_comes_back(void *nothing) {
    uint64_t word = 0;
    (void)nothing;
    sent = 0;
    CHECK((pub = large_open(ADDRESS, THIRL_PUB, "?queue=4K")) != NULL);
    thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(sub != NULL && send_many(1, sizeof sent) == 0);
    at("cast.read.copied", 1000, send_small);
    CHECK(thirl_recv(sub, &word, sizeof word, NULL, THIRL_NOW) == -EAGAIN && went == 0 && times > 0 && times < 1000);
    times = 0;
    thirl_msg *msg = NULL;
    CHECK(thirl_take(sub, &msg, THIRL_NOW) == 0);
    word = *(uint64_t *)thirl_msg_data(msg);
    CHECK(thirl_msg_number(msg) == word && thirl_msg_lost(msg) == word && word < sent);
    thirl_free(&msg);
    while (++word < sent) CHECK(hear(sub, word, 0) == 0);
    CHECK(hear_nothing(sub) == 0 && thirl_close(&sub, SOON) == 0);
    return thirl_close(&pub, SOON) < 0;
}

/* ---- who subscribes in the midst of a publisher's work ---- */

static thirl *late;

static int subscribe(void) {
    late = large_open(ADDRESS, THIRL_SUB, "");
    return late == NULL;
}

/* While the publisher says what is not whole any more, and while it looks who has passed what: he begins with the next one, and loses nothing of what
 * comes. */
static int do_who_comes_in_the_midst_loses_nothing(void *nothing) {
    static const char *const points[] = {"cast.remark.between", "bulk.raise.said", "cast.raise.said"};
    static const char *const options[] = {"?queue=4K&pool=64K", "?queue=4K&pool=64K&full=fail"};
    (void)nothing;
    for (unsigned i = 0; i < 6; i++) {
        sent = 0;
        late = NULL;
        CHECK((pub = large_open(ADDRESS, THIRL_PUB, options[i / 3])) != NULL);
        thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
        CHECK(sub != NULL);
        at(points[i % 3], 1, subscribe);
        while (late == NULL && sent < 100) CHECK(send_many(1, SIZE) == 0 && hear(sub, sent - 1, 0) == 0);
        CHECK(times == 0 && went == 0);
        thirl_msg *msg = NULL;
        int rc = thirl_take(late, &msg, THIRL_NOW);
        CHECK(rc == -EAGAIN ||
              (rc == 0 && *(uint64_t *)thirl_msg_data(msg) == sent - 1)); /* that one may have come behind him */
        thirl_free(&msg);
        for (int k = 0; k < 20; k++) {
            CHECK(send_many(1, SIZE) == 0 && hear(sub, sent - 1, 0) == 0 && hear(late, sent - 1, 0) == 0);
        }
        CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&late, SOON) == 0 && thirl_close(&pub, SOON) == 0);
    }
    return 0;
}

static int take_three(void) {
    for (uint64_t i = 0; i < 3; i++) CHECK(hear(late, i, 0) == 0);
    return 0;
}

/* Just when the publisher would have slept until the last one is taken, it is: then it does not. */
static int do_who_takes_the_last_one_lets_close(void *nothing) {
    (void)nothing;
    sent = 0;
    CHECK((pub = large_open(ADDRESS, THIRL_PUB, "?full=block&wait=sleep")) != NULL && subscribe() == 0);
    CHECK(send_many(3, sizeof sent) == 0);
    at("pub.arm.before", 1, take_three);
    CHECK(thirl_close(&pub, SOON) == 0 && times == 0 && went == 0);
    return thirl_close(&late, SOON) < 0;
}

/* By one that cuts off whoever is too slow it is told so, once; and it hears the others. */
static int do_who_is_outrun_by_one_that_cuts_is_told(void *nothing) {
    (void)nothing;
    sent = 0;
    CHECK((pub = large_open(ADDRESS, THIRL_PUB, "?queue=4K&pool=64K&full=disconnect")) != NULL);
    thirl *sub = large_open(ADDRESS, THIRL_SUB, ""), *other = large_open(ADDRESS, THIRL_PUB, "");
    CHECK(sub != NULL && other != NULL && send_many(1, SIZE) == 0);
    at("cast.accept.before", 1, send_large);
    thirl_msg *msg = NULL;
    CHECK(thirl_take(sub, &msg, THIRL_NOW) == -ECONNRESET && strstr(thirl_why(), "too slow") != NULL);
    CHECK(went == 0 && hear_nothing(sub) == 0);
    CHECK(send_many(3, SIZE) == 0 && thirl_send(other, "o", 1, SOON) == 0);
    char byte = 0;
    CHECK(thirl_recv(sub, &byte, 1, NULL, THIRL_NOW) == 0 && byte == 'o' && hear_nothing(sub) == 0);
    CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&other, SOON) == 0);
    return thirl_close(&pub, SOON) < 0;
}

IN_A_CHILD(who_is_outrun_in_the_door_begins_then)
IN_A_CHILD(who_is_outrun_again_and_again_comes_back)
IN_A_CHILD(who_is_outrun_while_he_copies_comes_back)
IN_A_CHILD(who_comes_in_the_midst_loses_nothing)
IN_A_CHILD(who_takes_the_last_one_lets_close)
IN_A_CHILD(who_is_outrun_by_one_that_cuts_is_told)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_is_outrun_in_the_door_begins_then, member_clear),
        cmocka_unit_test_setup(who_is_outrun_again_and_again_comes_back, member_clear),
        cmocka_unit_test_setup(who_is_outrun_while_he_copies_comes_back, member_clear),
        cmocka_unit_test_setup(who_comes_in_the_midst_loses_nothing, member_clear),
        cmocka_unit_test_setup(who_takes_the_last_one_lets_close, member_clear),
        cmocka_unit_test_setup(who_is_outrun_by_one_that_cuts_is_told, member_clear),
    };
    return cmocka_run_group_tests_name("outrun", tests, member_begin, room_end);
}
