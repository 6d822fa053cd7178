/* SPDX-License-Identifier: MIT
 *
 * Large messages of publishers, which several subscribers hold: in any order, over its end, over the publisher's, by those who die, by
 * those who hold too many, and where nobody is waited for.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "tests/large.h"
#include "tests/member.h"

#define SOON LARGE_SOON
#define MIB ((size_t)1 << 20)
#define ADDRESS "shm://grasp"
#define POOL "pool=16M"

static int see(void *context, const struct thirl_seen *seen) {
    struct thirl_seen *sum = context;
    sum->pool_bytes += seen->pool_bytes;
    sum->held += seen->held;
    return 0;
}

/* ---- several hold one ---- */

static int share(void *argument) {
    (void)argument;
    enum { SUBS = 3, HOLD = 5 };
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?full=block&" POOL), *sub[SUBS];
    CHECK(pub != NULL);
    for (int i = 0; i < SUBS; i++) CHECK((sub[i] = large_open(ADDRESS, THIRL_SUB, "")) != NULL);
    thirl_msg *held[SUBS][HOLD] = {{NULL}}, *small;
    uint64_t seed[HOLD] = {0};
    for (uint64_t n = 0; n < 200; n++) {
        unsigned slot = (unsigned)room_dice(HOLD);
        for (int i = 0; i < SUBS; i++) {
            CHECK(held[i][slot] == NULL || large_intact(thirl_msg_data(held[i][slot]), MIB, seed[slot]));
            thirl_free(&held[i][slot]);
        }
        CHECK(large_put(pub, MIB, n, SOON) == 0);
        CHECK(large_put(pub, 100, n, SOON) == 0);
        for (int i = 0; i < SUBS; i++) {
            CHECK(large_take(sub[i], &held[i][slot], MIB, n));
            CHECK(thirl_msg_number(held[i][slot]) == 2 * n);
            CHECK(large_take(sub[i], &small, 100, n));
            thirl_free(&small);
        }
        seed[slot] = n;
    }
    struct thirl_seen sum = {0};
    CHECK(thirl_list(see, &sum) == 0 && sum.pool_bytes <= 16 * MIB && sum.held != 0);
    for (unsigned k = 0; k < HOLD; k++) {
        for (int i = 0; i < SUBS; i++) {
            CHECK(held[i][k] == NULL || large_intact(thirl_msg_data(held[i][k]), MIB, seed[k]));
            thirl_free(&held[i][k]);
        }
    }
    unsigned char *copy = malloc(4 * MIB);
    size_t size;
    CHECK(copy != NULL && large_put(pub, 4 * MIB, 7, SOON) == 0);
    for (int i = 0; i < SUBS; i++) {
        CHECK(thirl_recv(sub[i], copy, 10, &size, SOON) == -EMSGSIZE && size == 4 * MIB);
        CHECK(thirl_recv(sub[i], copy, 4 * MIB, &size, SOON) == 0 && large_intact((uint64_t *)(void *)copy, size, 7));
    }
    large_fill((uint64_t *)(void *)copy, 3 * MIB, 8); /* too large for the ring: by copy */
    CHECK(thirl_send(pub, copy, 3 * MIB, SOON) == 0);
    for (int i = 0; i < SUBS; i++) {
        thirl_msg *msg;
        CHECK(large_take(sub[i], &msg, 3 * MIB, 8));
        thirl_free(&msg);
        CHECK(thirl_close(&sub[i], SOON) == 0);
    }
    free(copy);
    return thirl_close(&pub, SOON);
}

static void several_hold_one(void **state) {
    (void)state;
    assert_int_equal(room_run(share, NULL), 0);
}

/* ---- nobody is waited for ---- */

static int run_ahead(void *argument) {
    (void)argument;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?" POOL), *sub = large_open(ADDRESS, THIRL_SUB, ""), *late;
    CHECK(pub != NULL && sub != NULL);
    thirl_msg *old, *msg;
    CHECK(large_put(pub, MIB, 0, SOON) == 0);
    CHECK(large_take(sub, &old, MIB, 0));
    for (uint64_t n = 1; n <= 100; n++) CHECK(large_put(pub, MIB, n, THIRL_NOW) == 0);
    CHECK(large_intact(thirl_msg_data(old), MIB, 0));
    CHECK(thirl_take(sub, &msg, SOON) == 0);
    uint64_t number = thirl_msg_number(msg);
    CHECK(number > 80 && thirl_msg_lost(msg) == number - 1 && large_intact(thirl_msg_data(msg), MIB, number));
    thirl_free(&msg);
    while (thirl_take(sub, &msg, THIRL_NOW) == 0) {
        number++;
        CHECK(thirl_msg_lost(msg) == 0 && large_intact(thirl_msg_data(msg), MIB, number));
        thirl_free(&msg);
    }
    CHECK(number == 100 && large_intact(thirl_msg_data(old), MIB, 0));
    CHECK((late = large_open(ADDRESS, THIRL_SUB, "?history=3")) != NULL);
    for (uint64_t n = 98; n <= 100; n++) {
        CHECK(large_take(late, &msg, MIB, n));
        thirl_free(&msg);
    }
    CHECK(thirl_close(&sub, SOON) == 0); /* what it held stays */
    for (uint64_t n = 101; n <= 200; n++) CHECK(large_put(pub, MIB, n, THIRL_NOW) == 0);
    CHECK(large_intact(thirl_msg_data(old), MIB, 0));
    CHECK(thirl_close(&pub, SOON) == 0);
    CHECK(large_intact(thirl_msg_data(old), MIB, 0));
    thirl_free(&old);
    CHECK(thirl_close(&late, SOON) == 0);
    return 0;
}

static void nobody_is_waited_for(void **state) {
    (void)state;
    assert_int_equal(room_run(run_ahead, NULL), 0);
}

static int listens(void *argument) {
    bool copies = argument != NULL;
    thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(sub != NULL);
    static uint64_t copy[MIB / sizeof(uint64_t)];
    uint64_t got = 0, last = 0;
    for (;;) {
        thirl_msg *msg = NULL;
        size_t size = 0;
        int rc =
            copies ? thirl_recv(sub, copy, MIB, &size, thirl_in_ms(1000)) : thirl_take(sub, &msg, thirl_in_ms(1000));
        if (rc == -ETIMEDOUT || rc == -THIRL_EPEERDIED) break;
        CHECK(rc == 0);
        const uint64_t *data = copies ? copy : thirl_msg_data(msg);
        size = copies ? size : thirl_msg_size(msg);
        uint64_t seed = large_number(data);
        CHECK(seed > last && large_intact(data, size, seed)); /* not torn, and in order */
        last = seed;
        got++;
        thirl_free(&msg);
    }
    CHECK(got > 20);
    return thirl_close(&sub, SOON);
}

static int outruns(void *argument) {
    (void)argument;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?pool=256K&queue=64K");
    CHECK(pub != NULL);
    pid_t one = room_fork(listens, NULL), two = room_fork(listens, (void *)"copies");
    for (uint64_t n = 1, begin = (uint64_t)time(NULL); n < 1000 || (uint64_t)time(NULL) < begin + 2; n++) {
        int rc = large_put(pub, 20000 + (size_t)room_dice(40000), n, THIRL_NOW);
        CHECK(rc == 0 || (rc == -EBUSY && strstr(thirl_why(), "?pool=") != NULL));
        if (n % 64 == 0) usleep(100);
    }
    CHECK(room_reap(one) == 0);
    CHECK(room_reap(two) == 0);
    return thirl_close(&pub, SOON);
}

static void nothing_torn_is_believed(void **state) {
    (void)state;
    assert_int_equal(room_run(outruns, NULL), 0);
}

enum { LATE_SIZE = 100000, LATE_LAST = 90 };

struct overtaken {
    const char *at;
    int ready[2];
};

static int comes_late(void *argument) {
    struct overtaken *moment = argument;
    thirl_msg *msg;
    setenv("THIRL_WEAVE_AT", moment->at, 1);
    thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(sub != NULL && write(moment->ready[1], "", 1) == 1 && large_take(sub, &msg, LATE_SIZE, 0));
    thirl_free(&msg);
    CHECK(thirl_take(sub, &msg, SOON) == 0); /* stands still before it has the next one */
    uint64_t number = thirl_msg_number(msg);
    CHECK(number > 1 && thirl_msg_lost(msg) == number - 1);
    for (; number < LATE_LAST; number++) {
        CHECK(large_intact(thirl_msg_data(msg), LATE_SIZE, number));
        thirl_free(&msg);
        CHECK(thirl_take(sub, &msg, SOON) == 0 && thirl_msg_number(msg) == number + 1);
    }
    thirl_free(&msg);
    return thirl_close(&sub, SOON);
}

static int overtakes(void *argument) {
    struct overtaken moment = {.at = argument};
    int status;
    char byte;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?pool=4M&queue=64K");
    CHECK(pub != NULL && pipe(moment.ready) == 0);
    pid_t other = room_fork(comes_late, &moment);
    CHECK(read(moment.ready[0], &byte, 1) == 1);
    for (uint64_t n = 0; n < 2; n++) CHECK(large_put(pub, LATE_SIZE, n, THIRL_NOW) == 0);
    CHECK(waitpid(other, &status, WUNTRACED) == other && WIFSTOPPED(status));
    for (uint64_t n = 2; n <= LATE_LAST; n++) CHECK(large_put(pub, LATE_SIZE, n, THIRL_NOW) == 0);
    CHECK(kill(other, SIGCONT) == 0 && room_reap(other) == 0);
    return thirl_close(&pub, THIRL_NOW) < 0;
}

/* Between the look at a message and the hold on it, that is overwritten: whoever was to have it has another one, whole, and knows. */
static void who_is_overtaken_has_another_one(void **state) {
    (void)state;
    static char at[][32] = {"grasp.note.before:2:stop", "grasp.note.after:2:stop", "cast.accept.before:2:stop"};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) assert_int_equal(room_run(overtakes, at[i]), 0);
}

/* ---- too many ---- */

static int hoard(void *argument) {
    (void)argument;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?full=block&" POOL), *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(pub != NULL && sub != NULL);
    thirl_msg *held[12], *msg;
    for (unsigned i = 0; i < 12; i++) CHECK(large_put(pub, MIB, i, SOON) == 0 && large_take(sub, &held[i], MIB, i));
    for (unsigned i = 12; i < 16; i++) CHECK(large_put(pub, MIB, i, SOON) == 0);
    CHECK(thirl_take(sub, &msg, SOON) == -EBUSY);
    CHECK(strstr(thirl_why(), "holds 12 messages") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(large_put(pub, MIB, 16, thirl_in_ms(30)) == -ETIMEDOUT);
    CHECK(strstr(thirl_why(), "12 messages") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    CHECK(large_put(pub, 100, 99, SOON) == 0); /* small ones have room */
    thirl_free(&held[3]);
    CHECK(large_put(pub, MIB, 16, SOON) == 0);
    for (unsigned i = 0; i < 12; i++) thirl_free(&held[i]);
    CHECK(thirl_close(&pub, THIRL_NOW) >= 0);
    CHECK(thirl_close(&sub, SOON) == 0);

    thirl *subs[2];
    CHECK((pub = large_open(ADDRESS, THIRL_PUB, "?" POOL)) != NULL);
    CHECK((subs[0] = large_open(ADDRESS, THIRL_SUB, "")) != NULL &&
          (subs[1] = large_open(ADDRESS, THIRL_SUB, "")) != NULL);
    thirl_msg *all[16];
    for (unsigned i = 0; i < 16; i++) {
        CHECK(large_put(pub, MIB, i, THIRL_NOW) == 0);
        CHECK(large_take(subs[i / 8], &all[i], MIB, i));
        CHECK(large_take(subs[1 - i / 8], &msg, MIB, i));
        thirl_free(&msg);
    }
    CHECK(large_put(pub, MIB, 16, THIRL_NOW) == -EBUSY);
    CHECK(strstr(thirl_why(), "hold 16 messages, 16777216 bytes") != NULL && strstr(thirl_why(), "?pool=") != NULL);
    thirl_free(&all[4]);
    CHECK(large_put(pub, MIB, 16, THIRL_NOW) == 0);
    for (unsigned i = 0; i < 16; i++) thirl_free(&all[i]);
    return 0;
}

static void all_are_told_who_holds_too_many(void **state) {
    (void)state;
    assert_int_equal(room_run(hoard, NULL), 0);
}

static int frees_late(void *argument) {
    int *ready = argument;
    thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(sub != NULL && write(ready[1], "", 1) == 1);
    thirl_msg *held[12];
    for (unsigned i = 0; i < 12; i++) CHECK(large_take(sub, &held[i], MIB, i));
    usleep(200000);
    for (unsigned i = 0; i < 12; i++) thirl_free(&held[i]);
    for (unsigned i = 12; i < 30; i++) {
        CHECK(large_take(sub, &held[0], MIB, i));
        thirl_free(&held[0]);
    }
    return thirl_close(&sub, SOON);
}

static int is_woken(void *argument) {
    (void)argument;
    int ready[2];
    char byte;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?full=block&" POOL);
    CHECK(pub != NULL && pipe(ready) == 0);
    pid_t other = room_fork(frees_late, ready);
    CHECK(read(ready[0], &byte, 1) == 1);
    for (unsigned i = 0; i < 30; i++) CHECK(large_put(pub, MIB, i, SOON) == 0);
    CHECK(thirl_close(&pub, SOON) == 0);
    return room_reap(other);
}

static void what_is_freed_wakes(void **state) {
    (void)state;
    assert_int_equal(room_run(is_woken, NULL), 0);
}

/* ---- death ---- */

struct death {
    const char *at;
    int ready[2];
};

static int dies(void *argument) {
    struct death *death = argument;
    setenv("THIRL_WEAVE_AT", death->at, 1);
    thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(sub != NULL && write(death->ready[1], "", 1) == 1);
    thirl_msg *held[12];
    static unsigned char copy[1 << 20];
    for (unsigned i = 0; i < 12; i++) {
        size_t size;
        if (i % 4 == 3) {
            CHECK(thirl_recv(sub, copy, sizeof copy, &size, SOON) == 0);
            continue;
        }
        CHECK(thirl_take(sub, &held[i], SOON) == 0);
        if (i % 4 == 2) thirl_free(&held[i]);
    }
    (void)raise(SIGKILL);
    return 1;
}

static int outlives(void *argument) {
    struct death death = {.at = argument};
    char byte;
    for (int waits = 0; waits < 2; waits++) {
        thirl *pub = large_open(ADDRESS, THIRL_PUB, waits ? "?full=block&" POOL : "?" POOL);
        CHECK(pub != NULL && pipe(death.ready) == 0);
        for (int round = 0; round < 2; round++) {
            pid_t other = room_fork(dies, &death);
            CHECK(read(death.ready[0], &byte, 1) == 1);
            for (uint64_t i = 0; i < 60; i++) {
                CHECK(large_put(pub, MIB, i, SOON) == 0);
                if (!waits) usleep(2000);
            }
            CHECK(room_reap(other) == 128 + SIGKILL);
        }
        thirl_msg *all[16]; /* nothing is lost of it */
        for (unsigned i = 0; i < 16; i++) CHECK(thirl_loan(pub, &all[i], MIB, SOON) == 0);
        thirl_msg *more = NULL;
        CHECK(thirl_loan(pub, &more, 3 * MIB, THIRL_NOW) < 0);
        for (unsigned i = 0; i < 16; i++) thirl_free(&all[i]);
        CHECK(thirl_close(&pub, THIRL_NOW) >= 0);
        (void)close(death.ready[0]);
        (void)close(death.ready[1]);
    }
    return 0;
}

static void the_dead_hold_nothing(void **state) {
    (void)state;
    static char at[][32] = {"grasp.note.before:3:kill", "grasp.note.after:3:kill",  "cast.accept.before:4:kill",
                            "grasp.copy.after:1:kill",  "grasp.drop.before:2:kill", "grasp.drop.after:1:kill"};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) assert_int_equal(room_run(outlives, at[i]), 0);
}

static int feeds(void *argument) {
    struct death *death = argument;
    setenv("THIRL_WEAVE_AT", death->at, 1);
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?" POOL);
    CHECK(pub != NULL);
    for (uint64_t i = 0;; i++) {
        if (large_put(pub, MIB, i, SOON) != 0) return 2;
        usleep(1000);
    }
}

static int mourns(void *argument) {
    struct death death = {.at = argument};
    for (int round = 0; round < 2; round++) {
        thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
        CHECK(sub != NULL);
        pid_t other = room_fork(feeds, &death);
        thirl_msg *held = NULL, *msg;
        uint64_t number = 0;
        int rc;
        while ((rc = thirl_take(sub, &msg, SOON)) == 0) {
            CHECK(large_intact(thirl_msg_data(msg), MIB, thirl_msg_number(msg)));
            if (held == NULL) {
                held = msg;
                number = thirl_msg_number(msg);
            } else {
                thirl_free(&msg);
            }
        }
        CHECK(rc == -THIRL_EPEERDIED);
        CHECK(room_reap(other) == 128 + SIGKILL);
        CHECK(held != NULL && large_intact(thirl_msg_data(held), MIB, number)); /* it outlives its publisher */
        thirl_free(&held);
        CHECK(thirl_close(&sub, SOON) == 0);
    }
    return 0;
}

static void what_the_dead_sent_is_whole(void **state) {
    (void)state;
    static char at[][32] = {"bulk.raise.said:2:kill",  "cast.remark.between:2:kill", "cast.raise.before:2:kill",
                            "pub.send.written:9:kill", "pub.send.committed:9:kill",  "pool.make.reserved:3:kill"};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) assert_int_equal(room_run(mourns, at[i]), 0);
}

static bool free_after(bool taken, thirl_msg **msg) {
    thirl_free(msg);
    return taken;
}

static int is_small(void *argument) {
    (void)argument;
    thirl *pub, *sub;
    thirl_msg *msg;
    for (int i = 0; i < 2; i++) { /* a small pool beside a large queue, and none */
        CHECK((pub = large_open(ADDRESS, THIRL_PUB, i == 0 ? "?full=block&pool=64K" : "?full=block&pool=1")) != NULL);
        CHECK((sub = large_open(ADDRESS, THIRL_SUB, "")) != NULL);
        for (size_t size = 64; size <= MIB; size *= 4)
            CHECK(large_put(pub, size, 3, SOON) == 0 && free_after(large_take(sub, &msg, size, 3), &msg));
        CHECK(thirl_close(&pub, SOON) == 0 && thirl_close(&sub, SOON) == 0);
    }
    return 0;
}

static void a_small_pool_is_no_bound(void **state) {
    (void)state;
    assert_int_equal(room_run(is_small, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_hold_one),
        cmocka_unit_test(nobody_is_waited_for),
        cmocka_unit_test(nothing_torn_is_believed),
        cmocka_unit_test(who_is_overtaken_has_another_one),
        cmocka_unit_test(all_are_told_who_holds_too_many),
        cmocka_unit_test(what_is_freed_wakes),
        cmocka_unit_test(the_dead_hold_nothing),
        cmocka_unit_test(what_the_dead_sent_is_whole),
        cmocka_unit_test(a_small_pool_is_no_bound),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
