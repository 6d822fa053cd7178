/* SPDX-License-Identifier: MIT
 *
 * Large jobs: shared by several workers and held in any order, copied, and given back by those who hold too many; and when there is no room for
 * them, in their pool or on the file system.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
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
#include "tests/large.h"
#include "tests/member.h"

#define SOON LARGE_SOON
#define MIB ((size_t)1 << 20)
#define ADDRESS "shm://cargo"
#define POOL "?pool=16M&queue=64K"

/* All of the pool can be lent: nothing of it has leaked. */
static bool is_all_there(thirl *push) {
    thirl_msg *all[16];
    bool there = true;
    for (unsigned i = 0; i < 16; i++) there = thirl_loan(push, &all[i], MIB, SOON) == 0 && there;
    thirl_msg *more = NULL;
    there = thirl_loan(push, &more, MIB, THIRL_NOW) == -EAGAIN && there;
    for (unsigned i = 0; i < 16; i++) thirl_free(&all[i]);
    return there;
}

/* ---- held in any order ---- */

static int share(void *argument) {
    (void)argument;
    enum { WORKERS = 2, HOLD = 5 };
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL),
          *pull[WORKERS] = {large_open(ADDRESS, THIRL_PULL, ""), large_open(ADDRESS, THIRL_PULL, "")};
    CHECK(push != NULL && pull[0] != NULL && pull[1] != NULL);
    thirl_msg *held[WORKERS][HOLD] = {{NULL}}, *small;
    uint64_t seed[WORKERS][HOLD] = {{0}};
    for (uint64_t n = 0; n < 400; n++) {
        unsigned who = (unsigned)room_dice(WORKERS), slot = (unsigned)room_dice(HOLD);
        thirl_msg **at = &held[who][slot];
        CHECK(*at == NULL || large_intact(thirl_msg_data(*at), thirl_msg_size(*at), seed[who][slot]));
        thirl_free(at);
        CHECK(large_put(push, MIB, n, SOON) == 0);
        CHECK(large_put(push, 100, n, SOON) == 0);
        CHECK(large_take(pull[who], at, MIB, n));
        CHECK(thirl_msg_number(*at) == 2 * n && thirl_msg_again(*at) == 0);
        CHECK(large_take(pull[1 - who], &small, 100, n));
        CHECK(thirl_done(&small) == 0);
        seed[who][slot] = n;
        if (n % 5 == 4) { /* the other one gets it, as it was */
            CHECK(thirl_requeue(at) == 0);
            CHECK(large_take(pull[1 - who], &small, MIB, n) && thirl_msg_again(small) == 1);
            CHECK(thirl_done(&small) == 0);
        }
    }
    for (unsigned i = 0; i < WORKERS * HOLD; i++) thirl_free(&held[i / HOLD][i % HOLD]);
    CHECK(large_left().messages == 0 && is_all_there(push));
    CHECK(thirl_close(&push, SOON) == 0 && thirl_close(&pull[0], SOON) == 0 && thirl_close(&pull[1], SOON) == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}

static void held_in_any_order(void **state) {
    (void)state;
    assert_int_equal(room_run(share, NULL), 0);
}

/* ---- by copy ---- */

static int copy(void *argument) {
    (void)argument;
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL), *pull = large_open(ADDRESS, THIRL_PULL, "");
    CHECK(push != NULL && pull != NULL);
    unsigned char *data = malloc(5 * MIB);
    struct iovec many[8];
    size_t size, count = 8;
    CHECK(data != NULL);
    large_fill(data, 4 * MIB, 1);
    CHECK(thirl_send(push, data, 4 * MIB, SOON) == 0);
    CHECK(thirl_send(push, data, 4 * MIB + 1, SOON) == -EMSGSIZE && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(thirl_recv(pull, data, 10, &size, SOON) == -EMSGSIZE && size == 4 * MIB);
    memset(data, 0, 4 * MIB);
    CHECK(thirl_recv(pull, data, 4 * MIB, &size, SOON) == 0 && size == 4 * MIB && large_intact(data, size, 1));
    CHECK(large_left().messages == 1 && large_left().bytes == 4 * MIB); /* done with the next call */
    CHECK(thirl_recv(pull, NULL, 0, NULL, THIRL_NOW) == -EAGAIN && large_left().messages == 0);
    for (uint64_t i = 0; i < 4; i++) { /* more of one size than its chunks are one after the other */
        large_fill(data, MIB, i);
        CHECK(thirl_send(push, data, MIB + 8 * i, SOON) == 0);
    }
    CHECK(thirl_recv_many(pull, data, 5 * MIB, many, &count, SOON) == 0 && count == 4);
    for (uint64_t i = 0; i < 4; i++) CHECK(many[i].iov_len == MIB + 8 * i && large_intact(many[i].iov_base, MIB, i));
    free(data);
    CHECK(thirl_close(&pull, SOON) == 0 && large_left().messages == 0 && is_all_there(push));
    return thirl_close(&push, SOON);
}

static void large_ones_are_copied(void **state) {
    (void)state;
    assert_int_equal(room_run(copy, NULL), 0);
}

/* ---- full ---- */

static int drop(void *argument) {
    (void)argument;
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL "&full=drop-newest"),
          *pull = large_open(ADDRESS, THIRL_PULL, "");
    thirl_msg *msg;
    static unsigned char data[1 << 20];
    CHECK(push != NULL && pull != NULL);
    for (uint64_t i = 0; i < 20; i++) {
        large_fill(data, sizeof data, i);
        CHECK(thirl_send(push, data, sizeof data, SOON) == 0);
    }
    for (uint64_t i = 0; i < 16; i++) {
        CHECK(large_take(pull, &msg, MIB, i) && thirl_msg_lost(msg) == 0);
        thirl_free(&msg);
    }
    CHECK(thirl_take(pull, &msg, THIRL_NOW) == -EAGAIN);
    for (unsigned way = 0; way < 3; way++) { /* what tells of the gap is sent, lent, or small */
        int rc = way == 0 ? thirl_send(push, data, sizeof data, SOON) : large_put(push, way == 1 ? MIB : 100, 19, SOON);
        CHECK(rc == 0 && large_take(pull, &msg, way == 2 ? 100 : MIB, 19));
        CHECK(thirl_msg_lost(msg) == (way == 0 ? 4 : 1) && large_left().bytes == thirl_msg_size(msg));
        thirl_free(&msg);
        thirl_msg *all[16];
        for (unsigned i = 0; i < 16; i++) CHECK(thirl_loan(push, &all[i], MIB, SOON) == 0);
        CHECK(thirl_send(push, data, sizeof data, SOON) == 0); /* goes */
        for (unsigned i = 0; i < 16; i++) thirl_free(&all[i]);
    }
    CHECK(thirl_close(&push, SOON) == 0);
    CHECK((push = large_open(ADDRESS, THIRL_PUSH, POOL "&full=fail")) != NULL);
    for (uint64_t i = 0; i < 16; i++) CHECK(large_put(push, MIB, i, SOON) == 0);
    CHECK(large_put(push, MIB, 16, SOON) == -EAGAIN &&
          strstr(thirl_why(), "no place for a message of 1048576 bytes") != NULL);
    CHECK(large_put(push, 100, 16, SOON) == 0);
    return 0;
}

static void full_is_a_matter_of_choice(void **state) {
    (void)state;
    assert_int_equal(room_run(drop, NULL), 0);
}

static int hoard(void *argument) {
    (void)argument;
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL), *pull = large_open(ADDRESS, THIRL_PULL, ""),
          *other = large_open(ADDRESS, THIRL_PULL, "");
    thirl_msg *held[12], *rest[4], *msg;
    CHECK(push != NULL && pull != NULL && other != NULL);
    for (unsigned i = 0; i < 12; i++) CHECK(large_put(push, MIB, i, SOON) == 0 && large_take(pull, &held[i], MIB, i));
    for (unsigned i = 12; i < 16; i++) CHECK(large_put(push, MIB, i, SOON) == 0);
    CHECK(thirl_take(pull, &msg, SOON) == -EBUSY);
    CHECK(strstr(thirl_why(), "holds 12 messages, 12582912 bytes") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(large_put(push, MIB, 16, thirl_in_ms(30)) == -ETIMEDOUT);
    CHECK(strstr(thirl_why(), "holds 12 messages, 12582912 bytes") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(large_put(push, 100, 99, SOON) == 0); /* small ones have room */
    for (unsigned i = 0; i < 4; i++)
        CHECK(large_take(other, &rest[i], MIB, 12 + i)); /* for others it is none too many */
    CHECK(large_take(pull, &msg, 100, 99));
    thirl_free(&msg);
    struct thirl_limits limits = {.size = sizeof limits};
    CHECK(thirl_limits(push, &limits) == 0 && limits.pool == 16 * MIB && limits.message_max == 4 * MIB);
    thirl_free(&rest[2]);
    CHECK(large_put(push, MIB, 16, SOON) == 0);
    CHECK(thirl_take(pull, &msg, SOON) == -EBUSY);
    CHECK(thirl_requeue(&held[3]) == 0);
    CHECK(large_take(pull, &held[3], MIB, 3)); /* the older one again */
    thirl_free(&held[7]);
    CHECK(large_take(pull, &msg, MIB, 16));
    thirl_free(&msg);
    for (unsigned i = 0; i < 12; i++) thirl_free(&held[i]);
    for (unsigned i = 0; i < 4; i++) thirl_free(&rest[i]);
    CHECK(is_all_there(push));
    return 0;
}

static void all_are_told_who_holds_too_many(void **state) {
    (void)state;
    assert_int_equal(room_run(hoard, NULL), 0);
}

static int works_slowly(void *argument) {
    (void)argument;
    thirl *pull = large_open(ADDRESS, THIRL_PULL, "?wait=sleep");
    thirl_msg *held[12];
    CHECK(pull != NULL);
    for (unsigned i = 0; i < 12; i++) CHECK(large_take(pull, &held[i], MIB, i));
    room_sleep(200000000);
    for (unsigned i = 12; i-- > 0;) {
        thirl_free(&held[i]); /* the newest first */
        room_sleep(5000000);
    }
    for (unsigned i = 12; i < 60; i++) CHECK(large_take(pull, &held[0], MIB, i) && thirl_done(&held[0]) == 0);
    return thirl_close(&pull, SOON);
}

static int is_woken(void *argument) {
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL "&wait=sleep");
    CHECK(push != NULL);
    pid_t other = room_fork(works_slowly, NULL);
    for (unsigned i = 0; i < 60; i++) {
        struct thirl_want want = {.end = push, .wanted = THIRL_WANT_ROOM, .fd = -1};
        int rc = large_put(push, MIB, i, argument != NULL ? THIRL_NOW : SOON);
        if (rc == -EAGAIN && argument != NULL) { /* an event loop */
            CHECK(thirl_wait(&want, 1, SOON) >= 0);
            i--;
            continue;
        }
        CHECK(rc == 0);
    }
    CHECK(thirl_close(&push, SOON) == 0);
    return room_reap(other);
}

static void what_is_done_wakes(void **state) {
    (void)state;
    assert_int_equal(room_run(is_woken, NULL), 0);
    assert_int_equal(room_run(is_woken, (void *)"loop"), 0);
}

/* ---- a full file system ---- */

static int goes_on(void *argument) {
    (void)argument;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", room_path, "tmpfs", 0, "size=6m") != 0) {
        return 77;
    }
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL), *pull = large_open(ADDRESS, THIRL_PULL, "");
    thirl_msg *held[6], *msg;
    unsigned sent = 0;
    int rc;
    CHECK(push != NULL && pull != NULL);
    while ((rc = large_put(push, MIB, sent, THIRL_NOW)) == 0) {
        CHECK(large_take(pull, &held[sent], MIB, sent));
        sent++;
    }
    CHECK(rc == -EAGAIN && sent >= 3 && sent <= 5);
    CHECK(strstr(thirl_why(), "file system") != NULL && strstr(thirl_why(), "holds ") != NULL);
    CHECK(thirl_done(&held[1]) == 0);
    CHECK(large_put(push, MIB, 77, SOON) == 0); /* what is done is used again */
    CHECK(large_take(pull, &held[1], MIB, 77));
    for (unsigned i = 0; i < sent; i++) CHECK(thirl_done(&held[i]) == 0);
    CHECK(thirl_close(&push, SOON) == 0 && (push = large_open(ADDRESS, THIRL_PUSH, POOL)) != NULL);
    CHECK(thirl_recv(pull, NULL, 0, NULL, THIRL_NOW) == -EAGAIN); /* lets the other one's file go */
    char path[128];
    static char block[65536];
    (void)snprintf(path, sizeof path, "%s/ballast", room_path);
    int ballast = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(ballast >= 0);
    while (write(ballast, block, sizeof block) > 0) {}
    close(ballast);
    CHECK(large_put(push, MIB, 0, SOON) == -ENOSPC && strstr(thirl_why(), "THIRL_DIR") != NULL);
    CHECK(large_put(push, 20000, 1, SOON) == 0); /* in the queue */
    CHECK(large_take(pull, &msg, 20000, 1));
    thirl_free(&msg);
    CHECK(unlink(path) == 0);
    CHECK(large_put(push, MIB, 2, SOON) == 0 && large_take(pull, &msg, MIB, 2));
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

/* ---- what is to be seen ---- */

static int see(void *context, const struct thirl_seen *seen) {
    struct thirl_seen *sum = context;
    sum->pool += seen->pool;
    sum->pool_bytes += seen->pool_bytes;
    sum->held += seen->held;
    sum->held_bytes += seen->held_bytes;
    return 0;
}

static int is_listed(void *argument) {
    (void)argument;
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL), *pull = large_open(ADDRESS, THIRL_PULL, "");
    thirl_msg *held[2], *msg;
    CHECK(push != NULL && pull != NULL);
    CHECK(large_put(push, MIB, 0, SOON) == 0 && large_put(push, 2 * MIB, 1, SOON) == 0);
    CHECK(large_take(pull, &held[0], MIB, 0) && large_take(pull, &held[1], 2 * MIB, 1));
    struct thirl_seen sum = {0};
    CHECK(thirl_list(see, &sum) == 0);
    CHECK(sum.pool == 16 * MIB && sum.pool_bytes == 3 * MIB && sum.held == 2 && sum.held_bytes == 3 * MIB);
    thirl_free(&held[0]);
    thirl_free(&held[1]);
    sum = (struct thirl_seen){0};
    CHECK(thirl_list(see, &sum) == 0 && sum.held == 0 && sum.held_bytes == 0);
    CHECK(thirl_close(&push, SOON) == 0);
    for (int i = 0; i < 2; i++) { /* a small pool beside a large queue, and none */
        CHECK((push = large_open(ADDRESS, THIRL_PUSH, i == 0 ? "?pool=64K" : "?pool=1")) != NULL);
        for (size_t size = 64; size <= MIB; size *= 4) {
            CHECK(large_put(push, size, 3, SOON) == 0 && large_take(pull, &msg, size, 3));
            thirl_free(&msg);
        }
        CHECK(thirl_close(&push, SOON) == 0);
    }
    return 0;
}

static void is_seen_by_all(void **state) {
    (void)state;
    assert_int_equal(room_run(is_listed, NULL), 0);
}

#define EMPTY(test) cmocka_unit_test_setup(test, member_clear) /* jobs outlive their test */

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        EMPTY(held_in_any_order),
        EMPTY(large_ones_are_copied),
        EMPTY(full_is_a_matter_of_choice),
        EMPTY(all_are_told_who_holds_too_many),
        EMPTY(what_is_done_wakes),
        EMPTY(a_full_file_system_is_a_sentence),
        EMPTY(is_seen_by_all),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
