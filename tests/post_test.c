/* SPDX-License-Identifier: MIT
 *
 * What senders leave in a receiver's name: the oldest comes first, there is an end to it, and names that are none are passed over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mem/post.h"
#include "tests/member.h"

static int touch(const struct roll *roll, const char *file) {
    int fd = openat(roll->dir, file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    return fd < 0 ? -1 : close(fd);
}

static int by_hand(const struct roll *roll, unsigned long long time, unsigned sender, const char *more) {
    char file[300];
    (void)snprintf(file, sizeof file, "%016llx.%u.post.%016llx.%016x.%u%s", (unsigned long long)roll->self.node,
                   roll->self.number, time, sender, sender, more);
    return touch(roll, file);
}

static int do_the_oldest_comes_first(void *nothing) {
    struct roll roll;
    struct roll_end from = {0, 0};
    char file[ROLL_FILE_MAX], more[ROLL_FILE_MAX];
    (void)nothing;
    CHECK(member_join(&roll, "x") == 0);
    CHECK(post_find(&roll, file, &from) == -ESRCH);
    const unsigned times[] = {7, 3, 9, 5, 8, 4, 6};
    for (unsigned i = 0; i < 7; i++) CHECK(by_hand(&roll, times[i], times[i], "") == 0);
    memset(more, 'x', sizeof more);
    more[sizeof more - 1] = '\0';
    CHECK(by_hand(&roll, 1, 1, more) == 0); /* longer than any that is one */
    CHECK(touch(&roll, "00000000000000fe.1.post.0000000000000001.0000000000000001.1") == 0); /* another one's */
    for (unsigned i = 3; i <= 9; i++) {
        CHECK(post_find(&roll, file, &from) == 0 && from.node == i && from.number == i);
        uint32_t change = atomic_load(roll.change);
        post_drop(&roll, &from);
        CHECK((atomic_load(roll.change) != change) == (i == 3)); /* there were as many as there may be */
    }
    CHECK(post_find(&roll, file, &from) == -ESRCH);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(the_oldest_comes_first)

static int do_there_is_an_end_to_posts(void *nothing) {
    struct roll roll, other;
    char own[ROLL_FILE_MAX];
    (void)nothing;
    CHECK(member_join(&roll, "x") == 0 && member_join(&other, "x") == 0);
    for (unsigned i = 1; i < POST_MAX; i++) CHECK(by_hand(&other, i, i, "") == 0);
    CHECK(post_put(&roll, &other.self) == 0);
    CHECK(post_put(&roll, &other.self) == -EAGAIN);
    struct roll_end from = {1, 1};
    post_drop(&other, &from);
    roll_file(own, roll.self, "tx");
    CHECK(unlinkat(roll.dir, own, 0) == 0 && mkdirat(roll.dir, own, 0700) == 0); /* which has no second name */
    CHECK(post_put(&roll, &other.self) == -EPERM && strstr(thirl_why(), "cannot be written") != NULL);
    CHECK(unlinkat(roll.dir, own, AT_REMOVEDIR) == 0);
    CHECK(post_put(&roll, &other.self) == 0); /* somebody has removed it: who has mapped it needs no names */
    member_leave(&other);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(there_is_an_end_to_posts)

#define CROWD 150u

static unsigned posted(const struct roll *roll, const struct roll_end *to) {
    unsigned count = 0;
    DIR *list = roll_list(roll->dir);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        count += post_of_ours(roll, entry->d_name, &end) && end.node == to->node && end.number == to->number;
    }
    (void)closedir(list);
    return count;
}

/* Each of many receivers gets one, but for who has so many already. */
static int do_all_are_told(void *nothing) {
    struct roll roll;
    char file[ROLL_FILE_MAX];
    (void)nothing;
    CHECK(member_join_within(&roll, "x", ROLL_CAST, true, false, 10 * CLOCK_S) == 0);
    roll_file(file, roll.self, "tx");
    CHECK(post_all(&roll, file) == 0); /* nobody is there */
    for (unsigned i = 0; i < CROWD; i++) {
        char name[ROLL_FILE_MAX];
        roll_file(name, (struct roll_end){0xfe + i % 3, i}, "rx");
        CHECK(touch(&roll, name) == 0);
    }
    for (unsigned i = 0; i < POST_CROWD_MAX; i++) {
        char name[ROLL_FILE_MAX];
        (void)snprintf(name, sizeof name, "00000000000000fe.0.cast.00000000000000ee.%u", i);
        CHECK(touch(&roll, name) == 0);
    }
    CHECK(post_all(&roll, file) == 0);
    for (unsigned i = 0; i < CROWD; i++) {
        const struct roll_end to = {0xfe + i % 3, i};
        CHECK(posted(&roll, &to) == (i != 0));
    }
    const struct roll_end full = {0xfe, 0}, had = {0xff, 1}, nobody = {0xaa, 1};
    CHECK(post_one(&roll, file, &full) == 0 && posted(&roll, &full) == 0);
    CHECK(post_one(&roll, file, &had) == 0 && posted(&roll, &had) == 1); /* it is there already */
    CHECK(post_one(&roll, file, &nobody) == 0 && posted(&roll, &nobody) == 1);
    post_back(&roll, &had);
    CHECK(posted(&roll, &had) == 0);
    CHECK(post_one(&roll, "nothing", &had) == -ENOENT && strstr(thirl_why(), "cannot be written") != NULL);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(all_are_told)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_oldest_comes_first, member_clear),
        cmocka_unit_test_setup(there_is_an_end_to_posts, member_clear),
        cmocka_unit_test_setup(all_are_told, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
