/* SPDX-License-Identifier: MIT
 *
 * Making a channel: with its modes whatever the umask, all at once, whoever dies or comes meanwhile.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mem/found.h"
#include "mem/sweep.h"
#include "tests/member.h"
#include "tests/point.h"
#include "tests/refuse.h"

#define NOBODY 65534
#define ENTRIES 4 /* of a channel with one end: card, roll, tx, rx */

static int join_as(struct roll *roll, unsigned mode) {
    member_mode = mode;
    return member_join(roll, "x");
}

static unsigned mode_of(const char *below) {
    struct stat status;
    return fstatat(room_dir, below, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_mode & 07777 : 0;
}

/* ---- modes ---- */

static int do_the_umask_is_nothing(void *nothing) {
    static const struct { unsigned mode, directory; } each[] = {{0600, 0700}, {0660, 0770}, {0666, 0777}, {0606, 0707}};
    struct roll roll;
    (void)nothing;
    umask(077);
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        CHECK(join_as(&roll, each[i].mode) == 0);
        CHECK(mode_of("chan/x") == each[i].directory && mode_of("chan/x/roll") == each[i].mode);
        member_leave(&roll);
        CHECK(room_entries("chan") == 0);
    }
    return 0;
}
IN_A_CHILD(the_umask_is_nothing)

/* ---- a maker who dies ---- */

static int make_and_die(void *point) {
    char order[96];
    struct roll roll;
    (void)snprintf(order, sizeof order, "%s:1:kill", (const char *)point);
    CHECK(setenv("THIRL_WEAVE_AT", order, 1) == 0);
    (void)join_as(&roll, 0666);
    return 0; /* it was not passed */
}

/* Somebody else, of another user where that can be. */
static int come_after(void *nothing) {
    struct roll roll;
    (void)nothing;
    if (geteuid() == 0) CHECK(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
    CHECK(join_as(&roll, 0666) == 0);
    CHECK(member_entries("x") == ENTRIES);
    member_leave(&roll);
    return 0;
}

static int do_a_dead_maker_is_in_nobodys_way(void *nothing) {
    size_t at = 0, points = 0;
    (void)nothing;
    CHECK(member_open_to_all() == 0);
    for (const char *name; (name = point_next(&at, "found.")) != NULL; points++) {
        CHECK(room_reap(room_fork(make_and_die, (void *)(uintptr_t)name)) == 128 + SIGKILL);
        CHECK(room_run(come_after, NULL) == 0);
        sweep_dead();
        CHECK(room_entries("chan") == 0);
    }
    CHECK(points >= 3);
    return 0;
}
IN_A_CHILD(a_dead_maker_is_in_nobodys_way)

/* ---- a maker who is not the first ---- */

static int make_and_stand(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(setenv("THIRL_WEAVE_AT", "found.make.furnished:1:stop", 1) == 0);
    CHECK(join_as(&roll, 0600) == 0);
    CHECK(member_entries("x") == 2 * ENTRIES - 2); /* with whoever was faster */
    member_leave(&roll);
    return 0;
}

static int do_who_was_faster_has_made_it(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(member_join(&roll, "y") == 0); /* so that this process has its node, and the registry all it needs */
    pid_t maker = room_fork(make_and_stand, NULL);
    for (int64_t until = clock_now() + 10 * CLOCK_S; room_entries("chan") != 2;) {
        CHECK(clock_now() < until);
        room_sleep(20 * CLOCK_US);
    }
    room_sleep(5 * CLOCK_MS);
    member_leave(&roll);
    CHECK(member_join(&roll, "x") == 0);
    CHECK(member_entries("x") == ENTRIES);
    CHECK(room_watch(maker) == -1);
    CHECK(member_entries("x") == ENTRIES);
    member_leave(&roll);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(who_was_faster_has_made_it)

/* ---- what is left over ---- */

static int do_a_directory_without_a_roll_gets_one(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(member_join(&roll, "y") == 0);
    CHECK(mkdirat(room_dir, "chan/x", 0700) == 0); /* empty */
    CHECK(member_join(&roll, "x") == 0 && member_entries("x") == ENTRIES);
    member_leave(&roll);
    CHECK(mkdirat(room_dir, "chan/x", 0700) == 0 && mkdirat(room_dir, "chan/x/foreign", 0700) == 0);
    CHECK(member_join(&roll, "x") == 0 && member_entries("x") == ENTRIES + 1);
    member_leave(&roll);
    CHECK(member_entries("x") == 1);
    CHECK(unlinkat(room_dir, "chan/x/foreign", AT_REMOVEDIR) == 0);
    return 0;
}
IN_A_CHILD(a_directory_without_a_roll_gets_one)

/* ---- a kernel that says no ---- */

#define IN_A_CHILD_THAT_IS_REFUSED(name)                                                                               \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        int rc = room_run(do_##name, NULL);                                                                            \
        if (rc == REFUSE_SKIP) skip();                                                                                 \
        assert_int_equal(rc, 0);                                                                                       \
    }

/* Its directory is there when it is to get its name, and then it is not: that is to be tried again, and leaves nothing. */
static int do_who_comes_and_goes_is_no_error(void *nothing) {
    (void)nothing;
    CHECK(node_join() == 0);
    int rc = refuse(SYS_renameat, EEXIST);
    if (rc != 0) return rc;
    CHECK(found_channel("chan/x", 0600, "shm://x") == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(who_comes_and_goes_is_no_error)

/* Somebody took what was not finished for a dead one's: likewise. */
static int do_what_was_swept_is_made_again(void *nothing) {
    (void)nothing;
    CHECK(node_join() == 0);
    int rc = refuse(SYS_renameat, ENOENT);
    if (rc != 0) return rc;
    CHECK(found_channel("chan/x", 0600, "shm://x") == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_was_swept_is_made_again)

static int do_what_gets_no_name_is_told(void *nothing) {
    (void)nothing;
    CHECK(node_join() == 0);
    int rc = refuse(SYS_renameat, EROFS);
    if (rc != 0) return rc;
    CHECK(found_channel("chan/x", 0600, "shm://x") == -EROFS);
    CHECK(strstr(thirl_why(), "the channel shm://x cannot be made") != NULL);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_gets_no_name_is_told)

/* A roll is not lent to those who may not enter. */
static int do_what_gets_no_mode_is_not_lent(void *nothing) {
    (void)nothing;
    CHECK(node_join() == 0 && mkdirat(room_dir, "chan/x", 0700) == 0 && mkdirat(room_dir, "chan/x/foreign", 0700) == 0);
    int rc = refuse(SYS_fchmodat, EPERM);
    if (rc != 0) return rc;
    CHECK(found_channel("chan/x", 0600, "shm://x") == 0);
    CHECK(room_entries("chan") == 1 && room_entries("chan/x") == 1);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_gets_no_mode_is_not_lent)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_umask_is_nothing, member_clear),
        cmocka_unit_test_setup(a_dead_maker_is_in_nobodys_way, member_clear),
        cmocka_unit_test_setup(who_was_faster_has_made_it, member_clear),
        cmocka_unit_test_setup(a_directory_without_a_roll_gets_one, member_clear),
        cmocka_unit_test_setup(who_comes_and_goes_is_no_error, member_clear),
        cmocka_unit_test_setup(what_was_swept_is_made_again, member_clear),
        cmocka_unit_test_setup(what_gets_no_name_is_told, member_clear),
        cmocka_unit_test_setup(what_gets_no_mode_is_not_lent, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
