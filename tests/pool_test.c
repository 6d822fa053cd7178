/* SPDX-License-Identifier: MIT
 *
 * Large messages that are held: in any order, by those who die, by those who hold too many, and in a file system that is full.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mem/pool.h"
#include "tests/member.h"

#define SOON thirl_in_ms(20000)
#define MIB ((size_t)1 << 20)
#define ADDRESS "shm://pool?pool=16M"

static void fill(unsigned char *data, size_t size, uint64_t seed) {
    for (size_t i = 0; i + 8 <= size; i += 4088) {
        memcpy(data + i, &(uint64_t){seed * 1000003 + i}, 8);
    }
}

static bool intact(const unsigned char *data, size_t size, uint64_t seed) {
    for (size_t i = 0; i + 8 <= size; i += 4088) {
        if (memcmp(data + i, &(uint64_t){seed * 1000003 + i}, 8) != 0) return false;
    }
    return true;
}

static int put(thirl *end, size_t size, uint64_t seed, thirl_time until) {
    thirl_msg *msg;
    int rc = thirl_loan(end, &msg, size, until);
    if (rc != 0) return rc;
    fill(thirl_msg_data(msg), size, seed);
    return thirl_put(end, &msg, until);
}

static bool take(thirl *end, thirl_msg **msg, size_t size, uint64_t seed) {
    return thirl_take(end, msg, SOON) == 0 && thirl_msg_size(*msg) == size && intact(thirl_msg_data(*msg), size, seed);
}

/* ---- a receiver ---- */

static int echo(void *argument) {
    (void)argument;
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    thirl_msg *old, *msg;
    CHECK(take(end, &old, MIB, 0)); /* held to the end */
    for (uint64_t i = 1; i <= 300; i += 3) {
        thirl_msg *three[3];
        for (unsigned k = 0; k < 3; k++) CHECK(take(end, &three[k], MIB, i + k));
        for (unsigned k = 0; k < 3; k++) {
            unsigned which = (k + (unsigned)i) % 3;
            CHECK(intact(thirl_msg_data(three[which]), MIB, i + which));
            thirl_free(&three[which]);
        }
    }
    CHECK(take(end, &msg, 4 * MIB, 7));
    thirl_free(&msg);
    CHECK(intact(thirl_msg_data(old), MIB, 0));
    thirl_free(&old);
    static unsigned char copy[4 << 20];
    size_t size;
    CHECK(thirl_recv(end, copy, sizeof copy, &size, SOON) == 0 && size == 4 * MIB && intact(copy, size, 8));
    CHECK(thirl_send(end, "", 0, SOON) == 0);
    return thirl_close(&end, SOON);
}

static int hands_over(void *argument) {
    (void)argument;
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    pid_t other = room_fork(echo, NULL);
    for (uint64_t i = 0; i <= 300; i++) CHECK(put(end, MIB, i, SOON) == 0);
    CHECK(put(end, 4 * MIB, 7, SOON) == 0);
    unsigned char *data = malloc(4 * MIB);
    CHECK(data != NULL);
    fill(data, 4 * MIB, 8);
    CHECK(thirl_send(end, data, 4 * MIB, SOON) == 0);
    free(data);
    size_t size;
    CHECK(thirl_recv(end, NULL, 0, &size, SOON) == 0);
    thirl_msg *msg;
    CHECK(thirl_loan(end, &msg, 4 * MIB + 1, THIRL_NOW) == -EMSGSIZE);
    (void)thirl_close(&end, SOON);
    return room_reap(other);
}

static void held_out_of_order(void **state) {
    (void)state;
    assert_int_equal(room_run(hands_over, NULL), 0);
}

/* ---- too many ---- */

static int hoards(void *argument) {
    (void)argument;
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    thirl_msg *held[16], *more;
    for (unsigned i = 0; i < 12; i++) CHECK(take(end, &held[i], MIB, i));
    CHECK(thirl_take(end, &more, SOON) == -EBUSY);
    CHECK(strstr(thirl_why(), "holds 12 messages") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(thirl_send(end, "", 0, SOON) == 0);
    size_t size;
    usleep(300000);
    thirl_free(&held[5]);
    for (unsigned i = 12; i < 17; i++) {
        CHECK(take(end, &more, MIB, i));
        thirl_free(&more);
    }
    for (unsigned i = 0; i < 12; i++) thirl_free(&held[i]);
    CHECK(thirl_recv(end, NULL, 0, &size, SOON) == 0);
    return thirl_close(&end, SOON);
}

static int is_told(void *argument) {
    (void)argument;
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    pid_t other = room_fork(hoards, NULL);
    for (unsigned i = 0; i < 16; i++) CHECK(put(end, MIB, i, SOON) == 0);
    size_t size;
    CHECK(thirl_recv(end, NULL, 0, &size, SOON) == 0);
    CHECK(put(end, MIB, 16, thirl_in_ms(50)) == -ETIMEDOUT);
    CHECK(strstr(thirl_why(), "holds 12 messages, 12582912 bytes") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(put(end, MIB, 16, SOON) == 0); /* woken by what is freed */
    CHECK(thirl_send(end, "", 0, SOON) == 0);
    CHECK(thirl_close(&end, SOON) == 0);
    return room_reap(other);
}

static void both_are_told_who_holds_too_many(void **state) {
    (void)state;
    assert_int_equal(room_run(is_told, NULL), 0);
}

/* ---- death ---- */

static int dies(void *argument) {
    if (argument != NULL) setenv("THIRL_WEAVE_AT", argument, 1);
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    for (unsigned i = 0; i < 12; i++) {
        thirl_msg *msg;
        CHECK(take(end, &msg, MIB, i));
        if (i % 3 == 2) thirl_free(&msg);
    }
    (void)raise(SIGKILL);
    return 1;
}

static int outlives(void *argument) {
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    for (int round = 0; round < 5; round++) {
        pid_t other = room_fork(dies, argument);
        int rc = 0;
        uint64_t sent = 0;
        while ((rc = put(end, MIB, sent, SOON)) == 0) sent++;
        CHECK(rc == -THIRL_EPEERDIED);
        CHECK(room_reap(other) == 128 + SIGKILL);
        thirl_msg *none;
        CHECK(thirl_take(end, &none, SOON) == -THIRL_EPEERDIED);
    }
    thirl_msg *all[16]; /* nothing is lost of it */
    pid_t other = room_fork(dies, NULL);
    for (unsigned i = 0; i < 16; i++) CHECK(thirl_loan(end, &all[i], MIB, SOON) == 0);
    CHECK(thirl_loan(end, &(thirl_msg *){NULL}, MIB, THIRL_NOW) == -EAGAIN);
    for (unsigned i = 0; i < 16; i++) thirl_free(&all[i]);
    (void)kill(other, SIGKILL);
    (void)room_reap(other);
    return 0;
}

static void the_dead_hold_nothing(void **state) {
    (void)state;
    static char at[][32] = {"inlet.keep.before:5:kill", "inlet.keep.noted:5:kill", "inlet.keep.after:5:kill",
                            "inlet.drop.before:2:kill", "inlet.drop.after:2:kill"};
    assert_int_equal(room_run(outlives, NULL), 0);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) assert_int_equal(room_run(outlives, at[i]), 0);
}

static int feeds(void *argument) {
    setenv("THIRL_WEAVE_AT", argument, 1);
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    unsigned char *data = calloc(1, 2 * MIB);
    CHECK(data != NULL);
    for (uint64_t i = 0;; i += 2) {
        fill(data, 2 * MIB, i + 1);
        if (put(end, MIB, i, SOON) != 0 || thirl_send(end, data, 2 * MIB, SOON) != 0) return 2;
    }
}

static int mourns(void *argument) {
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    for (int round = 0; round < 3; round++) {
        pid_t other = room_fork(feeds, argument);
        thirl_msg *held = NULL, *msg;
        int rc;
        for (uint64_t i = 0; (rc = thirl_take(end, &msg, SOON)) == 0; i++) {
            CHECK(intact(thirl_msg_data(msg), thirl_msg_size(msg), i));
            if (held == NULL) {
                held = msg;
            } else {
                thirl_free(&msg);
            }
        }
        CHECK(rc == -THIRL_EPEERDIED);
        CHECK(room_reap(other) == 128 + SIGKILL);
        CHECK(held == NULL || intact(thirl_msg_data(held), MIB, 0)); /* it outlives its sender */
        thirl_free(&held);
    }
    return thirl_close(&end, SOON);
}

static void what_the_dead_sent_is_whole(void **state) {
    (void)state;
    static char at[][32] = {"outlet.refer.before:4:kill", "outlet.refer.committed:4:kill", "outlet.away.written:3:kill",
                            "pool.make.reserved:2:kill"};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) assert_int_equal(room_run(mourns, at[i]), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_out_of_order),
        cmocka_unit_test(both_are_told_who_holds_too_many),
        cmocka_unit_test(the_dead_hold_nothing),
        cmocka_unit_test(what_the_dead_sent_is_whole),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
