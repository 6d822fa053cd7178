/* SPDX-License-Identifier: MIT
 *
 * Leaving a channel: what stays, what others have put there meanwhile, who stands in the way, and a registry that somebody has changed
 * by hand.
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mem/place.h"
#include "mem/sweep.h"
#include "tests/member.h"
#include "tests/refuse.h"

static int touch(const struct roll *roll, struct roll_end end, const char *kind) {
    char file[ROLL_FILE_MAX];
    roll_file(file, end, kind);
    int fd = openat(roll->dir, file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    return fd < 0 ? -1 : close(fd);
}

static int post(const struct roll *roll, struct roll_end to, struct roll_end from) {
    char file[128];
    (void)snprintf(file, sizeof file, "%016llx.%u.cast.%016llx.%u", (unsigned long long)to.node, to.number,
                   (unsigned long long)from.node, from.number);
    int fd = openat(roll->dir, file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    return fd < 0 ? -1 : close(fd);
}

static const struct roll_end dead = {0xfe, 3};

static int join(struct roll *roll, bool writes, bool reads) {
    return member_join_within(roll, "x", ROLL_CAST, writes, reads, 10 * CLOCK_S);
}

/* A pusher's messages and their claims outlive it; whatever else has its name does not. */
static int do_what_was_sent_stays(void *nothing) {
    struct roll roll, other;
    char file[ROLL_FILE_MAX];
    (void)nothing;
    CHECK(join(&other, false, true) == 0 && join(&roll, true, true) == 0);
    int before = member_entries("x");
    CHECK(touch(&roll, roll.self, "claim") == 0 && touch(&roll, roll.self, "any") == 0);
    CHECK(post(&roll, roll.self, dead) == 0 && touch(&roll, other.self, "any") == 0);
    roll.keeps = roll.lists = true;
    roll_leave(&roll);
    CHECK(member_entries("x") == before + 1 /* claim */ + 1 /* of the other one */ - 1 /* rx */);
    roll_file(file, roll.self, "claim");
    CHECK(faccessat(other.dir, file, F_OK, 0) == 0);
    roll_file(file, roll.self, "tx");
    CHECK(faccessat(other.dir, file, F_OK, 0) == 0);
    roll_deinit(&roll);
    member_leave(&other);
    return 0;
}
IN_A_CHILD(what_was_sent_stays)

/* Nobody retires from a channel in which somebody sends, or that has something for it. */
static int do_retires_where_nothing_comes(void *nothing) {
    struct roll roll, sender;
    (void)nothing;
    CHECK(join(&roll, false, true) == 0 && touch(&roll, dead, "tx") == 0);
    CHECK(post(&roll, dead, roll.self) == 0); /* for somebody else */
    CHECK(join(&sender, true, false) == 0);
    CHECK(roll_retire(&roll) == -EBUSY);
    member_leave(&sender);
    CHECK(post(&roll, roll.self, dead) == 0 && roll_retire(&roll) == -EBUSY);
    CHECK(roll_has(&roll, roll.self, "rx") && roll.lock == -1);
    char file[ROLL_FILE_MAX];
    (void)snprintf(file, sizeof file, "%016llx.%u.cast.%016llx.%u", (unsigned long long)roll.self.node,
                   roll.self.number, (unsigned long long)dead.node, dead.number);
    CHECK(unlinkat(roll.dir, file, 0) == 0 && roll_retire(&roll) == 0);
    CHECK(room_entries("chan") == 0);
    roll_deinit(&roll);
    CHECK(join(&roll, false, true) == 0 && unlinkat(roll.dir, "roll", 0) == 0);
    CHECK(roll_retire(&roll) == 0 && roll.lock == -1); /* of what was removed below it */
    member_leave(&roll);
    roll_renounce("nowhere", roll.self);
    CHECK(room_entries("chan/nowhere") == -1);
    return 0;
}
IN_A_CHILD(retires_where_nothing_comes)

/* Who cannot look whether somebody sends does not know that nobody does. */
static int do_who_cannot_look_does_not_retire(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(join(&roll, false, true) == 0);
    if (refuse_where(SYS_openat, EMFILE, 2, O_DIRECTORY, O_DIRECTORY) != 0) return REFUSE_SKIP;
    CHECK(roll_retire(&roll) == -EBUSY && roll.lock == -1);
    CHECK(roll_has(&roll, roll.self, "rx"));
    return 0;
}

static void who_cannot_look_does_not_retire(void **state) {
    (void)state;
    int rc = room_run(do_who_cannot_look_does_not_retire, NULL);
    if (rc == REFUSE_SKIP) skip();
    assert_int_equal(rc, 0);
}

static int stop_in_the_door(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(setenv("THIRL_WEAVE_AT", "roll.begin.locked:1:stop", 1) == 0);
    CHECK(join(&roll, false, true) == 0);
    member_leave(&roll);
    return 0;
}

/* Who leaves does not wait for long for one that is stopped while it joins: that one cleans up when it leaves itself. */
static int do_leaves_past_who_is_stopped(void *nothing) {
    struct roll roll, other;
    int status;
    (void)nothing;
    CHECK(join(&roll, false, true) == 0 && join(&other, false, true) == 0);
    pid_t guest = room_fork(stop_in_the_door, NULL);
    CHECK(waitpid(guest, &status, WUNTRACED) == guest && WIFSTOPPED(status));
    CHECK(roll_retire(&other) == -EAGAIN);
    int64_t began = clock_now();
    member_leave(&roll);
    CHECK(clock_now() - began > 50 * CLOCK_MS && clock_now() - began < 10 * CLOCK_S);
    member_leave(&other);
    CHECK(member_entries("x") == 2); /* card and roll */
    CHECK(kill(guest, SIGCONT) == 0 && room_reap(guest) == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(leaves_past_who_is_stopped)

static int come_twice(void *nothing) {
    struct roll roll[2];
    (void)nothing;
    CHECK(join(&roll[0], false, true) == 0 && join(&roll[1], false, true) == 0);
    return 0;
}

/* Of one that had many ends all are gone when it is. */
static int do_the_dead_are_asked_once(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(room_run(come_twice, NULL) == 0);
    CHECK(member_entries("x") == 4);
    CHECK(join(&roll, false, true) == 0 && roll.alone);
    CHECK(member_entries("x") == 3);
    member_leave(&roll);
    sweep_dead();
    return 0;
}
IN_A_CHILD(the_dead_are_asked_once)

/* A lock that no process is known to have: one of another PID namespace, say. */
static int do_says_that_somebody_has_the_lock(void *nothing) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct roll roll, other;
    (void)nothing;
    CHECK(join(&roll, false, true) == 0);
    int fd = openat(roll.dir, "roll", O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && fcntl(fd, F_OFD_SETLK, &whole) == 0);
    CHECK(member_join_within(&other, "x", ROLL_CAST, false, true, CLOCK_MS) == -ETIMEDOUT);
    CHECK(strstr(thirl_why(), "(pid 0)") != NULL);
    close(fd);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(says_that_somebody_has_the_lock)

/* A roll that was removed, and another one that bears its name now, are not taken for the one that grew. */
static int do_another_roll_is_none_of_ours(void *nothing) {
    struct roll roll;
    struct roll_end end;
    const uint32_t top = 70000;
    unsigned count = 0;
    (void)nothing;
    CHECK(join(&roll, false, true) == 0);
    int fd = openat(roll.dir, "roll", O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, &top, sizeof top, PLACE_AT) == sizeof top);
    for (int there = 0; there < 2; there++) {
        int made = there ? openat(roll.dir, "roll", O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
        CHECK(there ? made >= 0 && ftruncate(made, 1 << 20) == 0 : unlinkat(roll.dir, "roll", 0) == 0);
        uint64_t bytes = roll.bytes;
        for (uint32_t at = 0; roll_next(&roll, PLACE_BOTH, &at, &end);) count++;
        CHECK(count == 1u + (unsigned)there && roll.bytes == bytes);
        if (made >= 0) close(made);
    }
    close(fd);
    roll_leave(&roll);
    roll_deinit(&roll);
    return 0;
}
IN_A_CHILD(another_roll_is_none_of_ours)

/* What stands among channels and is none hinders no sweep; while there is no place for channels, the dead are kept in mind. */
static int do_sweeps_as_far_as_it_can(void *nothing) {
    (void)nothing;
    pid_t guest = member_invite();
    CHECK(guest > 0 && kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
    int fd = openat(room_dir, "chan/note", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK(renameat(room_dir, "chan", room_dir, "away") == 0);
    CHECK(room_entries("node") == 1);
    sweep_dead();
    CHECK(room_entries("node") == 1 && room_entries("away") == 2);
    CHECK(renameat(room_dir, "away", room_dir, "chan") == 0);
    sweep_dead();
    CHECK(room_entries("node") == 0 && room_entries("chan") == 1);
    return unlinkat(room_dir, "chan/note", 0);
}
IN_A_CHILD(sweeps_as_far_as_it_can)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_sent_stays, member_clear),
        cmocka_unit_test_setup(retires_where_nothing_comes, member_clear),
        cmocka_unit_test_setup(who_cannot_look_does_not_retire, member_clear),
        cmocka_unit_test_setup(leaves_past_who_is_stopped, member_clear),
        cmocka_unit_test_setup(the_dead_are_asked_once, member_clear),
        cmocka_unit_test_setup(says_that_somebody_has_the_lock, member_clear),
        cmocka_unit_test_setup(another_roll_is_none_of_ours, member_clear),
        cmocka_unit_test_setup(sweeps_as_far_as_it_can, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
