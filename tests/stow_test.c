/* SPDX-License-Identifier: MIT
 *
 * Large messages that are held: in any order, by those who die, by those who hold too many, and in a file system that is full.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mem/pool.h"
#include "tests/large.h"
#include "tests/member.h"

#define SOON LARGE_SOON
#define MIB ((size_t)1 << 20)
#define ADDRESS "shm://pool?pool=16M"

/* ---- a receiver ---- */

static int echo(void *argument) {
    (void)argument;
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    thirl_msg *old, *msg;
    CHECK(large_take(end, &old, MIB, 0)); /* held to the end */
    for (uint64_t i = 1; i <= 300; i += 3) {
        thirl_msg *three[3];
        for (unsigned k = 0; k < 3; k++) CHECK(large_take(end, &three[k], MIB, i + k));
        for (unsigned k = 0; k < 3; k++) {
            unsigned which = (k + (unsigned)i) % 3;
            CHECK(large_intact(thirl_msg_data(three[which]), MIB, i + which));
            thirl_free(&three[which]);
        }
    }
    CHECK(large_take(end, &msg, 4 * MIB, 7));
    thirl_free(&msg);
    CHECK(large_intact(thirl_msg_data(old), MIB, 0));
    thirl_free(&old);
    static unsigned char copy[4 << 20];
    size_t size;
    CHECK(thirl_recv(end, copy, sizeof copy, &size, SOON) == 0 && size == 4 * MIB && large_intact(copy, size, 8));
    CHECK(thirl_send(end, "", 0, SOON) == 0);
    return thirl_close(&end, SOON);
}

static int hands_over(void *argument) {
    (void)argument;
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    pid_t other = room_fork(echo, NULL);
    for (uint64_t i = 0; i <= 300; i++) CHECK(large_put(end, MIB, i, SOON) == 0);
    CHECK(large_put(end, 4 * MIB, 7, SOON) == 0);
    unsigned char *data = malloc(4 * MIB);
    CHECK(data != NULL);
    large_fill(data, 4 * MIB, 8);
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
    for (unsigned i = 0; i < 12; i++) CHECK(large_take(end, &held[i], MIB, i));
    CHECK(thirl_take(end, &more, SOON) == -EBUSY);
    CHECK(strstr(thirl_why(), "holds 12 messages") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(thirl_send(end, "", 0, SOON) == 0);
    size_t size;
    usleep(300000);
    thirl_free(&held[5]);
    for (unsigned i = 12; i < 17; i++) {
        CHECK(large_take(end, &more, MIB, i));
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
    for (unsigned i = 0; i < 16; i++) CHECK(large_put(end, MIB, i, SOON) == 0);
    size_t size;
    CHECK(thirl_recv(end, NULL, 0, &size, SOON) == 0);
    CHECK(large_put(end, MIB, 16, thirl_in_ms(50)) == -ETIMEDOUT);
    CHECK(strstr(thirl_why(), "holds 12 messages, 12582912 bytes") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(large_put(end, MIB, 16, SOON) == 0); /* woken by what is freed */
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
        CHECK(large_take(end, &msg, MIB, i));
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
        while ((rc = large_put(end, MIB, sent, SOON)) == 0) sent++;
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
        large_fill(data, 2 * MIB, i + 1);
        if (large_put(end, MIB, i, SOON) != 0 || thirl_send(end, data, 2 * MIB, SOON) != 0) return 2;
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
            CHECK(large_intact(thirl_msg_data(msg), thirl_msg_size(msg), i));
            if (held == NULL) {
                held = msg;
            } else {
                thirl_free(&msg);
            }
        }
        CHECK(rc == -THIRL_EPEERDIED);
        CHECK(room_reap(other) == 128 + SIGKILL);
        CHECK(held == NULL || large_intact(thirl_msg_data(held), MIB, 0)); /* it outlives its sender */
        thirl_free(&held);
    }
    return thirl_close(&end, SOON);
}

static void what_the_dead_sent_is_whole(void **state) {
    (void)state;
    static char at[][32] = {"stow.commit.before:4:kill", "stow.commit.after:4:kill", "outlet.away.written:3:kill",
                            "pool.make.reserved:2:kill"};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) assert_int_equal(room_run(mourns, at[i]), 0);
}

/* ---- a full file system ---- */

static int holds_all(void *argument) {
    (void)argument;
    thirl *end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    thirl_msg *held[16];
    unsigned count = 0;
    size_t size;
    while (thirl_take(end, &held[count], SOON) == 0 && thirl_msg_size(held[count]) != 0) {
        CHECK(count < 15 && large_intact(thirl_msg_data(held[count]), thirl_msg_size(held[count]), count));
        count++;
    }
    thirl_free(&held[count]);
    CHECK(thirl_send(end, "", 0, SOON) == 0);
    CHECK(thirl_recv(end, NULL, 0, &size, SOON) == 0);
    usleep(100000);
    for (unsigned i = 0; i < count; i++) {
        CHECK(large_intact(thirl_msg_data(held[i]), thirl_msg_size(held[i]), i));
        thirl_free(&held[i]);
    }
    CHECK(large_take(end, &held[0], MIB, 77));
    thirl_free(&held[0]);
    return thirl_close(&end, SOON);
}

static int goes_on(void *argument) {
    (void)argument;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", room_path, "tmpfs", 0, "size=6m") != 0) {
        return 77;
    }
    thirl *end, *other_end;
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    pid_t other = room_fork(holds_all, NULL);
    unsigned sent = 0;
    size_t size;
    int rc;
    while ((rc = large_put(end, MIB, sent, sent == 0 ? SOON : THIRL_NOW)) == 0) sent++;
    CHECK(rc == -EAGAIN && sent >= 3 && sent <= 5);
    CHECK(thirl_send(end, "", 0, SOON) == 0);
    CHECK(thirl_recv(end, NULL, 0, &size, SOON) == 0);
    CHECK(large_put(end, MIB, 77, thirl_in_ms(20)) == -ETIMEDOUT);
    CHECK(strstr(thirl_why(), "file system") != NULL && strstr(thirl_why(), "holds ") != NULL);
    CHECK(thirl_send(end, "", 0, SOON) == 0);
    CHECK(large_put(end, MIB, 77, SOON) == 0); /* what it frees is used again */
    CHECK(thirl_close(&end, SOON) == 0);
    CHECK(room_reap(other) == 0);

    char path[128];
    (void)snprintf(path, sizeof path, "%s/ballast", room_path);
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    CHECK(thirl_open(&other_end, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    FILE *ballast = fopen(path, "w");
    CHECK(ballast != NULL);
    while (fputc('x', ballast) != EOF && fflush(ballast) == 0) {
        static char block[65536];
        if (fwrite(block, 1, sizeof block, ballast) == 0) break;
    }
    (void)fclose(ballast);
    CHECK(large_put(end, MIB, 0, SOON) == -ENOSPC && strstr(thirl_why(), "THIRL_DIR") != NULL);
    CHECK(large_put(end, 20000, 1, SOON) == 0); /* in the lane */
    thirl_msg *msg;
    CHECK(large_take(other_end, &msg, 20000, 1));
    thirl_free(&msg);
    CHECK(unlink(path) == 0);
    CHECK(large_put(end, MIB, 2, SOON) == 0);
    CHECK(large_take(other_end, &msg, MIB, 2));
    thirl_free(&msg);
    return 0;
}

static void a_full_file_system_is_a_sentence(void **state) {
    (void)state;
    int rc = room_run(goes_on, NULL);
    if (rc == 77) {
        print_message("skip: may not mount here\n");
        return;
    }
    assert_int_equal(rc, 0);
}

/* ---- what is lent, and what waits ---- */

static int counts_chunks(void *argument) {
    (void)argument;
    thirl *end, *other;
    thirl_msg *msg, *held[4];
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    CHECK(thirl_open(&other, THIRL_PAIR, ADDRESS "&queue=64K", NULL) == 0);
    for (unsigned i = 0; i < 3; i++) { /* large loans, small messages: what is held is the chunk */
        CHECK(thirl_loan(end, &msg, 4 * MIB, SOON) == 0);
        CHECK(thirl_msg_trim(msg, 100) == 0);
        CHECK(thirl_put(end, &msg, SOON) == 0);
        CHECK(thirl_take(other, &held[i], SOON) == 0 && thirl_msg_size(held[i]) == 100);
    }
    CHECK(large_put(end, MIB, 9, SOON) == 0);
    CHECK(thirl_take(other, &held[3], SOON) == -EBUSY);
    CHECK(strstr(thirl_why(), "holds 3 messages, 12582912 bytes") != NULL);
    CHECK(large_put(end, 4 * MIB, 0, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_send(end, "small", 5, THIRL_NOW) == 0); /* has room all the same */
    static char block[1000];
    int rc;
    while ((rc = thirl_send(end, block, sizeof block, THIRL_NOW)) == 0) {}
    CHECK(rc == -EAGAIN && strstr(thirl_why(), "queue") != NULL); /* and now it is this that is wanting */
    thirl_free(&held[1]);
    CHECK(large_take(other, &msg, MIB, 9));
    thirl_free(&msg);
    size_t size;
    CHECK(thirl_recv(other, block, sizeof block, &size, SOON) == 0 && size == 5);
    while (thirl_recv(other, block, sizeof block, &size, THIRL_NOW) == 0) {}
    CHECK(thirl_send(end, "", 0, THIRL_NOW) == 0);
    for (unsigned i = 0; i < 4; i++) thirl_free(&held[i]);
    return 0;
}

static void what_is_lent_counts_whole(void **state) {
    (void)state;
    assert_int_equal(room_run(counts_chunks, NULL), 0);
}

static int see(void *context, const struct thirl_seen *seen) {
    struct thirl_seen *sum = context;
    sum->pool = seen->pool > sum->pool ? seen->pool : sum->pool;
    sum->pool_bytes += seen->pool_bytes;
    sum->held += seen->held;
    sum->held_bytes += seen->held_bytes;
    return 0;
}

static int is_listed(void *argument) {
    (void)argument;
    thirl *end, *other;
    thirl_msg *held[2];
    CHECK(thirl_open(&end, THIRL_PAIR, ADDRESS, NULL) == 0);
    CHECK(thirl_open(&other, THIRL_PAIR, ADDRESS, NULL) == 0);
    CHECK(large_put(end, MIB, 0, SOON) == 0 && large_put(end, 2 * MIB, 1, SOON) == 0);
    CHECK(large_take(other, &held[0], MIB, 0) && large_take(other, &held[1], 2 * MIB, 1));
    struct thirl_seen sum = {0};
    CHECK(thirl_list(see, &sum) == 0);
    CHECK(sum.pool == 16 * MIB && sum.pool_bytes == 3 * MIB && sum.held == 2 && sum.held_bytes == 3 * MIB);
    struct thirl_limits limits = {.size = sizeof limits};
    CHECK(thirl_limits(end, &limits) == 0);
    CHECK(limits.pool == 16 * MIB && limits.message_max == 4 * MIB && limits.lends != 0 && limits.holds == 64);
    thirl_free(&held[0]);
    thirl_free(&held[1]);
    sum = (struct thirl_seen){0};
    CHECK(thirl_list(see, &sum) == 0 && sum.held == 0 && sum.held_bytes == 0);
    return 0;
}

static void is_seen_by_all(void **state) {
    (void)state;
    assert_int_equal(room_run(is_listed, NULL), 0);
}

static bool free_after(bool taken, thirl_msg **msg) {
    thirl_free(msg);
    return taken;
}

static int is_small(void *argument) {
    (void)argument;
    thirl *end, *other;
    thirl_msg *msg;
    for (int i = 0; i < 2; i++) { /* a small pool beside a large queue, and none */
        const char *address = i == 0 ? "shm://small?pool=64K" : "shm://none?pool=1";
        CHECK(thirl_open(&end, THIRL_PAIR, address, NULL) == 0 && thirl_open(&other, THIRL_PAIR, address, NULL) == 0);
        for (size_t size = 64; size <= MIB; size *= 4)
            CHECK(large_put(end, size, i, SOON) == 0 && free_after(large_take(other, &msg, size, i), &msg));
        CHECK(thirl_close(&end, SOON) == 0 && thirl_close(&other, SOON) == 0);
    }
    return 0;
}

static void a_small_pool_is_no_bound(void **state) {
    (void)state;
    assert_int_equal(room_run(is_small, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_out_of_order),         cmocka_unit_test(both_are_told_who_holds_too_many),
        cmocka_unit_test(the_dead_hold_nothing),     cmocka_unit_test(what_the_dead_sent_is_whole),
        cmocka_unit_test(a_small_pool_is_no_bound),  cmocka_unit_test(a_full_file_system_is_a_sentence),
        cmocka_unit_test(what_is_lent_counts_whole), cmocka_unit_test(is_seen_by_all),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
