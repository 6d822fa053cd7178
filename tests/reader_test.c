/* SPDX-License-Identifier: MIT
 *
 * A publisher's subscribers, as far as it has to know them, when something is not as it should be: a file that is away, one who has not even
 * looked, another's messages that are held, lies about what was taken, FIFOs that cannot be opened now.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "chan/end.h"
#include "mech/fan.h"
#include "tests/large.h"
#include "tests/member.h"
#include "tests/refuse.h"

#define ADDRESS "shm://reader/one"
#define SOON LARGE_SOON
#define PUBS 65 /* one more than there are seats at first */

static struct fan *fan_of(thirl *end) {
    return end->state;
}

static char byte;
static size_t size;

static unsigned fill(thirl *pub) {
    unsigned sent = 0;
    while (thirl_send(pub, "x", 1, THIRL_NOW) == 0) sent++;
    return sent;
}

static int drain(thirl *sub, unsigned messages) {
    for (unsigned i = 0; i < messages; i++) CHECK(thirl_recv(sub, &byte, 1, &size, SOON) == 0 && byte == 'x');
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    return 0;
}

/* ---- files ---- */

/* Its seats are in a larger file now, and that is away: what the publisher had read stands, and nothing is overwritten. */
static int do_whose_new_file_is_away_is_where_he_was(void *nothing) {
    static thirl *pub[PUBS];
    char file[ROLL_FILE_MAX];
    (void)nothing;
    thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(sub != NULL && (pub[0] = large_open(ADDRESS, THIRL_PUB, "?queue=4K&full=fail")) != NULL);
    unsigned sent = fill(pub[0]);
    CHECK(sent > 10 && drain(sub, sent) == 0 && fill(pub[0]) == sent);
    for (unsigned i = 1; i < PUBS; i++) {
        CHECK((pub[i] = large_open(ADDRESS, THIRL_PUB, "?queue=4K")) != NULL);
    }
    roll_file(file, fan_of(sub)->roll.self, "rx");
    int dir = fan_of(sub)->roll.dir;
    CHECK(drain(sub, sent) == 0); /* and has looked who is there */
    CHECK(renameat(dir, file, dir, "kept") == 0);
    CHECK(fill(pub[0]) == 0); /* though all was taken */
    CHECK(renameat(dir, "kept", dir, file) == 0);
    CHECK(fill(pub[0]) == sent && drain(sub, sent) == 0);
    for (unsigned i = 0; i < PUBS; i++) CHECK(thirl_close(&pub[i], THIRL_NOW) >= 0);
    return thirl_close(&sub, SOON) < 0;
}

/* ---- what is held ---- */

static int fill_pool(thirl *pub, unsigned *sent) {
    int rc = 0;
    for (*sent = 0; rc == 0; *sent += rc == 0) {
        rc = large_put(pub, 20000, *sent, THIRL_NOW);
    }
    CHECK(rc == -EAGAIN && *sent > 1);
    return 0;
}

static int take_all(thirl *sub, unsigned sent) {
    thirl_msg *msg;
    for (unsigned i = 0; i < sent; i++) {
        CHECK(large_take(sub, &msg, 20000, i));
        thirl_free(&msg);
    }
    return 0;
}

/* A subscriber by pattern has a post, and no file yet: it holds nothing, and all is kept for it. */
static int do_who_has_not_looked_holds_nothing(void *nothing) {
    (void)nothing;
    unsigned sent;
    thirl *sub = large_open("shm://reader/*", THIRL_SUB, "");
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?pool=128K&full=fail");
    CHECK(sub != NULL && pub != NULL && fill_pool(pub, &sent) == 0);
    CHECK(take_all(sub, sent) == 0);
    CHECK(fill_pool(pub, &sent) == 0 && take_all(sub, sent) == 0);
    CHECK(thirl_close(&pub, SOON) == 0);
    return thirl_close(&sub, SOON) < 0;
}

static int lend_one(void *pipes) {
    const int *wire = pipes;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?pool=128K&full=fail");
    CHECK(pub != NULL && large_put(pub, 20000, 7, SOON) == 0);
    CHECK(write(wire[1], "x", 1) == 1 && read(wire[2], &byte, 1) == 1);
    return thirl_close(&pub, THIRL_NOW) < 0;
}

/* Held is what another process's publisher has sent: that keeps nothing in this one's pool, nor this one from using it again. */
static int do_what_is_held_of_another_is_not_ours(void *nothing) {
    int wire[4];
    unsigned sent;
    thirl_msg *held;
    (void)nothing;
    thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(sub != NULL && pipe(wire) == 0 && pipe(wire + 2) == 0);
    pid_t child = room_fork(lend_one, (int[]){wire[0], wire[1], wire[2]});
    CHECK(read(wire[0], &byte, 1) == 1 && large_take(sub, &held, 20000, 7));
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?pool=128K&full=fail");
    CHECK(pub != NULL);
    for (unsigned i = 0; i < 5; i++) CHECK(fill_pool(pub, &sent) == 0 && take_all(sub, sent) == 0);
    CHECK(fan_of(pub)->pub.readers == 1 && fan_of(pub)->pub.reader[0].holds == 0);
    CHECK(large_intact(thirl_msg_data(held), 20000, 7));
    thirl_free(&held);
    CHECK(write(wire[3], "x", 1) == 1 && room_reap(child) == 0);
    for (int i = 0; i < 4; i++) CHECK(close(wire[i]) == 0);
    CHECK(thirl_close(&pub, SOON) == 0);
    return thirl_close(&sub, SOON) < 0;
}

/* ---- lies ---- */

static int see_refused(void *refused, const struct thirl_seen *seen) {
    *(uint64_t *)refused += strcmp(seen->role, "pub") == 0 ? seen->refused : 0;
    return 0;
}

/* Nobody takes back what he has taken: such a one is not waited for any more, and the list says that there was a lie. */
static int do_who_goes_backwards_is_not_waited_for(void *nothing) {
    uint64_t refused = 0;
    (void)nothing;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?queue=4K&full=fail"), *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(pub != NULL && sub != NULL);
    unsigned sent = fill(pub);
    CHECK(sent > 10 && drain(sub, sent) == 0 && fill(pub) == sent);
    fan_of(sub)->sub.feed[0]->seat->cursor = 0;
    for (int i = 0; i < 1000; i++) CHECK(thirl_send(pub, "y", 1, THIRL_NOW) == 0);
    CHECK(thirl_list(see_refused, &refused) == 0 && refused == 1);
    CHECK(thirl_close(&pub, SOON) == 0);
    return thirl_close(&sub, SOON) < 0;
}

/* Whoever has taken more than was ever sent, and is behind all the same, has not taken one at least. */
static int do_who_says_too_much_leaves_one(void *nothing) {
    (void)nothing;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?full=block"), *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(pub != NULL && sub != NULL && thirl_send(pub, "x", 1, SOON) == 0 && thirl_send(pub, "x", 1, SOON) == 0);
    fan_of(sub)->sub.feed[0]->seat->taken = 1000;
    CHECK(thirl_close(&pub, thirl_in_ms(1)) == 1);
    return thirl_close(&sub, SOON) < 0;
}

/* ---- FIFOs ---- */

static bool is_readable(int fd) {
    struct pollfd polled = {fd, POLLIN, 0};
    return poll(&polled, 1, 0) == 1;
}

/* It may be readable once too often, as it is now and then for a look at who lives, but not for ever. */
static bool gets_dark(int fd, thirl *sub) {
    bool lit = is_readable(fd);
    for (int tries = 0; tries < 1000 && lit; tries++) {
        lit = thirl_recv(sub, &byte, 1, &size, THIRL_NOW) != -EAGAIN || is_readable(fd);
    }
    return !lit;
}

static bool stays_full(int fd, thirl *pub) {
    bool lit = is_readable(fd);
    for (int tries = 0; tries < 1000 && lit; tries++) lit = fill(pub) != 0 || is_readable(fd);
    return !lit;
}

/* A publisher that cannot open the FIFO of one who polls tries again with the next message. */
static int do_who_cannot_be_rung_now_is_rung_later(void *nothing) {
    struct rlimit before;
    unsigned rung = 0;
    (void)nothing;
    for (unsigned left = 0; left < 4; left++) {
        thirl *pub = large_open(ADDRESS, THIRL_PUB, ""), *sub = large_open(ADDRESS, THIRL_SUB, "");
        CHECK(pub != NULL && sub != NULL);
        int fd = thirl_fd(sub), next = dup(0);
        CHECK(fd >= 0 && next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
        CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN && gets_dark(fd, sub));
        CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next + left, before.rlim_max}) == 0);
        int rc = thirl_send(pub, "x", 1, THIRL_NOW);
        CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0 && rc == 0);
        rung += is_readable(fd);
        CHECK(thirl_send(pub, "x", 1, THIRL_NOW) == 0 && is_readable(fd));
        CHECK(drain(sub, 2) == 0 && gets_dark(fd, sub));
        CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&pub, SOON) == 0);
    }
    CHECK(rung >= 1);
    return 0;
}

/* A publisher that polls for room is rung each time that there is some, by one that has no descriptor left for it, too. */
static int do_who_polls_for_room_is_rung_each_time(void *nothing) {
    struct rlimit before;
    (void)nothing;
    for (int without = 0; without < 2; without++) {
        thirl *sub = large_open(ADDRESS, THIRL_SUB, ""), *pub = large_open(ADDRESS, THIRL_PUB, "?queue=4K&full=fail");
        CHECK(sub != NULL && pub != NULL);
        int fd = thirl_fd(pub);
        CHECK(fd >= 0 && is_readable(fd));
        CHECK(thirl_send(pub, "x", 1, THIRL_NOW) == 0 && drain(sub, 1) == 0); /* they know each other */
        for (int round = 0; round < 3; round++) {
            unsigned filled = fill(pub);
            CHECK(filled > 10 && stays_full(fd, pub));
            int next = dup(0);
            CHECK(next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
            if (without) CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, before.rlim_max}) == 0);
            int rc = drain(sub, filled);
            CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0 && rc == 0 && is_readable(fd));
        }
        CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&pub, SOON) == 0);
    }
    return 0;
}

/* Of two that poll for room each is rung by the same subscriber, though the word by which they ask for it is one. */
static int do_two_who_poll_for_room_are_rung(void *nothing) {
    (void)nothing;
    thirl *pub[2], *sub = large_open(ADDRESS, THIRL_SUB, "");
    unsigned filled = 0;
    int fd[2];
    CHECK(sub != NULL);
    for (int i = 0; i < 2; i++) {
        CHECK((pub[i] = large_open(ADDRESS, THIRL_PUB, "?queue=4K&full=fail")) != NULL &&
              (fd[i] = thirl_fd(pub[i])) >= 0);
        CHECK(thirl_send(pub[i], "x", 1, THIRL_NOW) == 0 && drain(sub, 1) == 0);
    }
    for (int i = 0; i < 2; i++) filled += fill(pub[i]);
    CHECK(stays_full(fd[0], pub[0]) && stays_full(fd[1], pub[1]));
    CHECK(drain(sub, filled) == 0 && is_readable(fd[0]) && is_readable(fd[1]));
    CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&pub[0], SOON) == 0);
    return thirl_close(&pub[1], SOON) < 0;
}

/* One whose FIFO is something else keeps nobody from waking the others, whichever comes first. */
static int do_whose_bell_is_none_keeps_no_other_asleep(void *nothing) {
    char file[ROLL_FILE_MAX];
    (void)nothing;
    for (int first = 0; first < 2; first++) {
        thirl *pub = large_open(ADDRESS, THIRL_PUB, ""), *sub[2];
        int fd[2];
        CHECK(pub != NULL);
        for (int i = 0; i < 2; i++) {
            CHECK((sub[i] = large_open(ADDRESS, THIRL_SUB, "")) != NULL && (fd[i] = thirl_fd(sub[i])) >= 0);
            CHECK(thirl_recv(sub[i], &byte, 1, &size, THIRL_NOW) == -EAGAIN);
        }
        int dir = fan_of(sub[first])->roll.dir;
        roll_file(file, fan_of(sub[first])->roll.self, "bell");
        CHECK(unlinkat(dir, file, 0) == 0 && symlinkat("nowhere", dir, file) == 0);
        CHECK(thirl_send(pub, "x", 1, THIRL_NOW) == 0);
        CHECK(is_readable(fd[!first]));
        for (int i = 0; i < 2; i++) CHECK(drain(sub[i], 1) == 0 && thirl_close(&sub[i], SOON) == 0);
        CHECK(thirl_close(&pub, SOON) == 0);
    }
    return 0;
}

/* Nor is he looked for again and again whom this user may not wake. */
static int do_who_may_not_be_woken_is_left_alone(void *nothing) {
    (void)nothing;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, ""), *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(pub != NULL && sub != NULL);
    CHECK(thirl_fd(sub) >= 0 && thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    int refused =
        refuse_where(SYS_openat, EACCES, 2, O_ACCMODE | O_NONBLOCK | O_NOFOLLOW, O_RDWR | O_NONBLOCK | O_NOFOLLOW);
    if (refused != 0) return refused;
    CHECK(thirl_send(pub, "x", 1, THIRL_NOW) == 0);
    CHECK(fan_of(pub)->pub.bells.count == 0 && fan_of(pub)->pub.bells.receivers != 0);
    CHECK(atomic_peek(&fan_of(pub)->hail->polled.wanted) == 0);
    CHECK(drain(sub, 1) == 0 && thirl_close(&sub, SOON) == 0);
    return thirl_close(&pub, SOON) < 0;
}

IN_A_CHILD(whose_new_file_is_away_is_where_he_was)
IN_A_CHILD(who_has_not_looked_holds_nothing)
IN_A_CHILD(what_is_held_of_another_is_not_ours)
IN_A_CHILD(who_goes_backwards_is_not_waited_for)
IN_A_CHILD(who_says_too_much_leaves_one)
IN_A_CHILD(who_cannot_be_rung_now_is_rung_later)
IN_A_CHILD(who_polls_for_room_is_rung_each_time)
IN_A_CHILD(two_who_poll_for_room_are_rung)
IN_A_CHILD(whose_bell_is_none_keeps_no_other_asleep)

static void who_may_not_be_woken_is_left_alone(void **state) {
    (void)state;
    int rc = room_run(do_who_may_not_be_woken_is_left_alone, NULL);
    if (rc == REFUSE_SKIP) skip();
    assert_int_equal(rc, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(whose_new_file_is_away_is_where_he_was, member_clear),
        cmocka_unit_test_setup(who_has_not_looked_holds_nothing, member_clear),
        cmocka_unit_test_setup(what_is_held_of_another_is_not_ours, member_clear),
        cmocka_unit_test_setup(who_goes_backwards_is_not_waited_for, member_clear),
        cmocka_unit_test_setup(who_says_too_much_leaves_one, member_clear),
        cmocka_unit_test_setup(who_cannot_be_rung_now_is_rung_later, member_clear),
        cmocka_unit_test_setup(who_polls_for_room_is_rung_each_time, member_clear),
        cmocka_unit_test_setup(two_who_poll_for_room_are_rung, member_clear),
        cmocka_unit_test_setup(whose_bell_is_none_keeps_no_other_asleep, member_clear),
        cmocka_unit_test_setup(who_may_not_be_woken_is_left_alone, member_clear),
    };
    return cmocka_run_group_tests_name("reader", tests, member_begin, room_end);
}
