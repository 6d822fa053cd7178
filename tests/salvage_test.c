/* SPDX-License-Identifier: MIT
 *
 * Large jobs over the end of those who sent or held them: they stay, or are given back, whichever point a process is killed at; and no lie about
 * where one lies is believed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mem/claim.h"
#include "tests/large.h"
#include "tests/member.h"

#define SOON LARGE_SOON
#define MIB ((size_t)1 << 20)
#define ADDRESS "shm://cargo"
#define POOL "?pool=16M&queue=64K"

/* ---- whoever is gone ---- */

static int leaves(void *argument) {
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL);
    CHECK(push != NULL);
    for (uint64_t i = 0; i < 6; i++) CHECK(large_put(push, i % 2 == 0 ? 2 * MIB : 100, i, SOON) == 0);
    thirl_msg *never;
    CHECK(thirl_loan(push, &never, 3 * MIB, SOON) == 0);
    CHECK(large_put(push, MIB, 6, SOON) == 0); /* behind one that is never put */
    if (argument != NULL) (void)raise(SIGKILL);
    return thirl_close(&push, SOON);
}

/* Bytes of the file system that the files of the channel take. */
static uint64_t taken(void) {
    char command[200];
    unsigned long long bytes = 0;
    (void)snprintf(command, sizeof command, "du -s -B1 %s/chan", room_path);
    FILE *du = popen(command, "r");
    return du != NULL && fscanf(du, "%llu", &bytes) == 1 && pclose(du) == 0 ? bytes : UINT64_MAX;
}

static int inherits(void *argument) {
    CHECK(room_run(leaves, argument) == (argument != NULL ? 128 + SIGKILL : 0));
    CHECK(large_left().messages == 7 && large_left().bytes == 7 * MIB + 300);
    thirl *pull = large_open(ADDRESS, THIRL_PULL, "");
    thirl_msg *held[7];
    CHECK(pull != NULL);
    for (uint64_t i = 0; i < 7; i++) CHECK(large_take(pull, &held[i], i == 6 ? MIB : i % 2 == 0 ? 2 * MIB : 100, i));
    CHECK(thirl_recv(pull, NULL, 0, NULL, thirl_in_ms(60)) == -ETIMEDOUT);
    CHECK(large_left().messages == 7 && taken() > 7 * MIB);
    for (uint64_t i = 7; i-- > 0;) {
        CHECK(large_intact(thirl_msg_data(held[i]), thirl_msg_size(held[i]), i));
        CHECK(thirl_done(&held[i]) == 0);
    }
    CHECK(thirl_recv(pull, NULL, 0, NULL, thirl_in_ms(60)) == -ETIMEDOUT);
    CHECK(large_left().messages == 0 && taken() < MIB); /* with the last of them */
    return thirl_close(&pull, SOON);
}

static void jobs_outlive_their_pusher(void **state) {
    (void)state;
    assert_int_equal(room_run(inherits, NULL), 0);
    assert_int_equal(room_run(inherits, (void *)"killed"), 0);
}

/* What is left of one who closed takes no more space than its messages. */
static int closes(void *argument) {
    (void)argument;
    thirl *push = large_open(ADDRESS, THIRL_PUSH, POOL), *pull = large_open(ADDRESS, THIRL_PULL, "");
    thirl_msg *held[12];
    CHECK(push != NULL && pull != NULL);
    for (unsigned i = 0; i < 12; i++) CHECK(large_put(push, MIB, i, SOON) == 0 && large_take(pull, &held[i], MIB, i));
    for (unsigned i = 0; i < 12; i++) {
        if (i != 5) CHECK(thirl_done(&held[i]) == 0);
    }
    CHECK(taken() > 12 * MIB);
    CHECK(thirl_close(&push, SOON) == 0);
    CHECK(taken() > MIB && taken() < 2 * MIB);
    CHECK(thirl_close(&pull, SOON) == 0); /* it stays this worker's */
    CHECK(large_intact(thirl_msg_data(held[5]), MIB, 5));
    CHECK(thirl_done(&held[5]) == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}

static void the_closed_keep_what_is_not_done(void **state) {
    (void)state;
    assert_int_equal(room_run(closes, NULL), 0);
}

/* ---- death ---- */

#define TRIAL 60 /* jobs, each of which says its number */

struct board {
    uint32_t sent[TRIAL], done[TRIAL], stop;
};

static struct board *board;

#define get(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)

struct death {
    const char *at;
    bool pushes; /* who dies */
};

static size_t size_of(uint64_t job) {
    return job % 4 == 3 ? 200 : 20000 + job * 3000;
}

/* Takes, holds up to five, gives some back, and is done with the rest in any order. */
static int works(void *argument) {
    if (argument != NULL) setenv("THIRL_WEAVE_AT", argument, 1);
    thirl *pull = large_open(ADDRESS, THIRL_PULL, "");
    thirl_msg *held[5] = {NULL};
    static unsigned char data[1 << 18];
    CHECK(pull != NULL);
    for (unsigned turn = 0; !get(&board->stop); turn++) {
        unsigned slot = (unsigned)room_dice(5);
        if (held[slot] != NULL) {
            uint64_t job = large_number(thirl_msg_data(held[slot]));
            CHECK(job < TRIAL && large_intact(thirl_msg_data(held[slot]), size_of(job), job));
            (void)__atomic_fetch_add(&board->done[job], 1, __ATOMIC_ACQ_REL);
            CHECK(thirl_done(&held[slot]) == 0);
        }
        size_t size = 0;
        int rc = turn % 5 == 4 ? thirl_recv(pull, data, sizeof data, &size, thirl_in_ms(5))
                               : thirl_take(pull, &held[slot], thirl_in_ms(5));
        CHECK(rc == 0 || rc == -ETIMEDOUT || rc == -EBUSY);
        if (rc == 0 && turn % 5 == 4) {
            uint64_t job = large_number(data);
            CHECK(job < TRIAL && size == size_of(job) && large_intact(data, size, job));
            (void)__atomic_fetch_add(&board->done[job], 1, __ATOMIC_ACQ_REL);
        } else if (rc == 0) {
            CHECK(large_number(thirl_msg_data(held[slot])) < TRIAL &&
                  thirl_msg_size(held[slot]) == size_of(large_number(thirl_msg_data(held[slot]))));
            if (turn % 7 == 6 && !thirl_msg_again(held[slot])) CHECK(thirl_requeue(&held[slot]) == 0);
        }
    }
    for (unsigned i = 0; i < 5; i++) {
        if (held[i] == NULL) continue;
        (void)__atomic_fetch_add(&board->done[large_number(thirl_msg_data(held[i]))], 1, __ATOMIC_ACQ_REL);
        thirl_free(&held[i]);
    }
    return thirl_close(&pull, SOON);
}

static int pushes(void *argument) {
    if (argument != NULL) setenv("THIRL_WEAVE_AT", argument, 1);
    thirl *push = large_open(ADDRESS, THIRL_PUSH, "?pool=1M&queue=4K");
    static unsigned char data[1 << 18];
    thirl_msg *unused;
    CHECK(push != NULL);
    for (uint64_t job = 0; job < TRIAL; job++) {
        large_fill(data, size_of(job), job);
        if (job % 9 == 5) {
            CHECK(thirl_loan(push, &unused, 30000, SOON) == 0);
            thirl_free(&unused);
        }
        CHECK((job % 2 == 0 ? thirl_send(push, data, size_of(job), SOON) : large_put(push, size_of(job), job, SOON)) ==
              0);
        __atomic_store_n(&board->sent[job], 1, __ATOMIC_RELEASE);
    }
    if (argument == NULL) { /* it lives on: all that it lent and sent comes back */
        for (unsigned tries = 0; tries < 2000 && large_left().messages != 0; tries++) room_sleep(5000000);
        thirl_msg *all[4], *more;
        for (unsigned i = 0; i < 4; i++) CHECK(thirl_loan(push, &all[i], MIB / 4, SOON) == 0);
        CHECK(thirl_loan(push, &more, MIB / 4, THIRL_NOW) == -EAGAIN);
        for (unsigned i = 0; i < 4; i++) thirl_free(&all[i]);
    }
    return thirl_close(&push, SOON);
}

static bool all_done(void) {
    for (unsigned i = 0; i < TRIAL; i++) {
        if (get(&board->sent[i]) && !get(&board->done[i])) return false;
    }
    return true;
}

/* One dies there, one lives; in the end nothing is left, of either. 1: something is wrong; 2: nobody died. */
static int one_dies(void *argument) {
    const struct death *death = argument;
    memset(board, 0, sizeof *board);
    pid_t worker = room_fork(works, NULL);
    pid_t other = room_fork(works, death->pushes ? NULL : (void *)(uintptr_t)death->at);
    pid_t pusher = room_fork(pushes, death->pushes ? (void *)(uintptr_t)death->at : NULL);
    int pushed = room_reap(pusher);
    for (unsigned tries = 0; tries < 2000 && !all_done(); tries++) room_sleep(5000000);
    __atomic_store_n(&board->stop, 1, __ATOMIC_RELEASE);
    int worked = room_reap(other);
    CHECK(room_reap(worker) == 0);
    CHECK(pushed == 0 || (death->pushes && pushed == 128 + SIGKILL));
    CHECK(worked == 0 || (!death->pushes && worked == 128 + SIGKILL));
    thirl *pull = large_open(ADDRESS, THIRL_PULL, ""); /* what was in the hands of the last */
    thirl_msg *msg;
    CHECK(pull != NULL);
    for (int rc; (rc = thirl_take(pull, &msg, thirl_in_ms(60))) != -ETIMEDOUT;) {
        CHECK(rc == 0 && large_intact(thirl_msg_data(msg), thirl_msg_size(msg), large_number(thirl_msg_data(msg))));
        board->done[large_number(thirl_msg_data(msg))]++;
        thirl_free(&msg);
    }
    CHECK(thirl_close(&pull, SOON) == 0);
    CHECK(all_done() && large_left().messages == 0 && room_entries("chan") == 0);
    for (unsigned i = 0; i < TRIAL; i++) CHECK(pushed != 0 || worked != 0 || board->done[i] == 1);
    return pushed == 0 && worked == 0 ? 2 : 0;
}

static void any_point_may_kill(void **state) {
    (void)state;
    static const struct death deaths[] = {
        {"none", false}, /* each is done once */
        {"cargo.stow.before:%u:kill", true},
        {"cargo.stow.after:%u:kill", true},
        {"cargo.close.before:1:kill", true},
        {"offer.away.written:%u:kill", true},
        {"offer.show.before:%u:kill", true},
        {"offer.show.after:%u:kill", true},
        {"offer.loan.after:%u:kill", true},
        {"pool.make.reserved:%u:kill", true},
        {"toil.take.before:%u:kill", false},
        {"toil.take.after:%u:kill", false},
        {"toil.keep.after:%u:kill", false},
        {"toil.drop.before:%u:kill", false},
        {"claim.finish.before:%u:kill", false},
        {"claim.finish.after:%u:kill", false},
        {"claim.return.before:%u:kill", false},
        {"claim.return.between:%u:kill", false},
    };
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(board != MAP_FAILED);
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        bool died = false;
        for (unsigned pass = 1; pass < 30 && !died; pass++) {
            char at[64];
            (void)snprintf(at, sizeof at, deaths[i].at, pass % 3 == 1 ? 4u : 1u);
            struct death death = {i == 0 ? NULL : at, deaths[i].pushes};
            int rc = room_run(one_dies, &death);
            assert_true(rc == 0 || rc == 2);
            died = died || rc == 0;
            if (i == 0) break;
        }
        if (!died && i != 0) print_message("never passed: %s\n", deaths[i].at);
        assert_true(died || i == 0);
    }
}

/* ---- lies ---- */

/* The pusher's record says that its message lies where no chunk can be. */
static int believes(void *argument) {
    struct pool_ref ref = {.size = MIB, .at = 0, .units = MIB / POOL_UNIT};
    unsigned which = *(unsigned *)argument;
    thirl *liar = large_open(ADDRESS, THIRL_PUSH, POOL), *pull = large_open(ADDRESS, THIRL_PULL, ""), *push;
    CHECK(liar != NULL && pull != NULL && large_put(liar, MIB, 0, SOON) == 0);
    char file[ROLL_FILE_MAX], path[200];
    roll_file(file, (struct roll_end){node_id(), 1}, "tx");
    (void)snprintf(path, sizeof path, "%s/chan/cargo/%s", room_path, file);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct claim_tx head;
    CHECK(fd >= 0 && pread(fd, &head, sizeof head, 0) == sizeof head);
    off_t at = (off_t)(seg_round(sizeof head + head.slots * sizeof(uint64_t)) + sizeof(struct lane_head));
    ref.at = which == 1 ? UINT32_MAX : 0;
    ref.units = which == 2 ? UINT32_MAX : ref.units;
    ref.size = which == 3 ? MIB + 1 : ref.size;
    CHECK(pwrite(fd, &ref, sizeof ref, at) == sizeof ref);
    close(fd);
    thirl_msg *msg;
    int rc = thirl_take(pull, &msg, SOON);
    CHECK(which == 0 ? rc == 0 && thirl_msg_size(msg) == MIB : rc == -THIRL_EFORMAT);
    CHECK(which == 0 || strstr(thirl_why(), "impossible record") != NULL);
    thirl_free(&msg);
    CHECK((push = large_open(ADDRESS, THIRL_PUSH, POOL)) != NULL &&
          large_put(push, MIB, 1, SOON) == 0); /* others are heard */
    CHECK(large_take(pull, &msg, MIB, 1));
    thirl_free(&msg);
    return 0;
}

static void a_liar_is_not_heard(void **state) {
    (void)state;
    for (unsigned which = 0; which < 4; which++) {
        assert_int_equal(room_run(believes, &which), 0);
        assert_int_equal(member_clear(NULL), 0);
    }
}

#define EMPTY(test) cmocka_unit_test_setup(test, member_clear) /* jobs outlive their test */

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        EMPTY(jobs_outlive_their_pusher),
        EMPTY(the_closed_keep_what_is_not_done),
        EMPTY(any_point_may_kill),
        EMPTY(a_liar_is_not_heard),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
