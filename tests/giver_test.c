/* SPDX-License-Identifier: MIT
 *
 * Workers that find files of pushers which they cannot read: they say so once, and work for the others.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mem/claim.h"
#include "tests/large.h"
#include "tests/member.h"

/* Writes there into the files of all pushers; how many. */
static unsigned spoil(size_t at, uint32_t value) {
    char path[400];
    unsigned count = 0;
    (void)snprintf(path, sizeof path, "%s/chan/give", room_path);
    DIR *list = opendir(path);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot == NULL || strcmp(dot, ".tx") != 0) continue;
        int fd = openat(dirfd(list), entry->d_name, O_WRONLY | O_CLOEXEC);
        count += pwrite(fd, &value, sizeof value, (off_t)at) == sizeof value && close(fd) == 0;
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return count;
}

static int try_file_that_says(size_t at, uint32_t value, int code, const char *why) {
    char text[8];
    thirl *bad[2], *pull;
    for (int i = 0; i < 2; i++) {
        bad[i] = large_open("shm://give", THIRL_PUSH, "");
        CHECK(bad[i] != NULL);
    }
    CHECK(spoil(at, value) == 2);
    pull = large_open("shm://give", THIRL_PULL, "");
    CHECK(pull != NULL && thirl_recv(pull, text, sizeof text, NULL, THIRL_NOW) == code &&
          strstr(thirl_why(), why) != NULL);
    CHECK(thirl_recv(pull, text, sizeof text, NULL, THIRL_NOW) == -EAGAIN);
    thirl *good = large_open("shm://give", THIRL_PUSH, "");
    CHECK(good != NULL && thirl_send(good, "good", 4, LARGE_SOON) == 0);
    int rc = thirl_recv(pull, text, sizeof text, NULL, LARGE_SOON);
    rc = rc == code ? thirl_recv(pull, text, sizeof text, NULL, LARGE_SOON)
                    : rc; /* there are more of them: it is said again */
    CHECK(rc == 0 && memcmp(text, "good", 4) == 0);
    (void)!thirl_close(&good, THIRL_NOW);
    (void)!thirl_close(&pull, THIRL_NOW);
    for (int i = 0; i < 2; i++) (void)!thirl_close(&bad[i], THIRL_NOW);
    return 0;
}

static int do_pushers_of_another_version_are_told_of_once(void *nothing) {
    (void)nothing;
    return try_file_that_says(offsetof(struct claim_tx, version), 99, -THIRL_EVERSION, "layout 99");
}
IN_A_CHILD(pushers_of_another_version_are_told_of_once)

static int do_what_is_no_pushers_file_is_told_of_once(void *nothing) {
    (void)nothing;
    return try_file_that_says(offsetof(struct claim_tx, magic), 7, -THIRL_EFORMAT, "no pusher's");
}
IN_A_CHILD(what_is_no_pushers_file_is_told_of_once)

/* It has gone between two looks. */
static int do_a_pusher_who_goes_meanwhile_is_not_spoken_of(void *nothing) {
    (void)nothing;
    char text[8], path[400];
    thirl *gone = large_open("shm://give", THIRL_PUSH, "");
    (void)snprintf(path, sizeof path, "%s/chan/give", room_path);
    DIR *list = opendir(path);
    unsigned removed = 0;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        removed += dot != NULL && strcmp(dot, ".claim") == 0 && unlinkat(dirfd(list), entry->d_name, 0) == 0;
    }
    CHECK(gone != NULL && list != NULL && closedir(list) == 0 && removed == 1);
    thirl *pull = large_open("shm://give", THIRL_PULL, ""), *good = large_open("shm://give", THIRL_PUSH, "");
    CHECK(pull != NULL && good != NULL && thirl_recv(pull, text, sizeof text, NULL, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_send(good, "good", 4, LARGE_SOON) == 0);
    CHECK(thirl_recv(pull, text, sizeof text, NULL, LARGE_SOON) == 0 && memcmp(text, "good", 4) == 0);
    (void)!thirl_close(&gone, THIRL_NOW);
    (void)!thirl_close(&good, THIRL_NOW);
    (void)!thirl_close(&pull, THIRL_NOW);
    return 0;
}
IN_A_CHILD(a_pusher_who_goes_meanwhile_is_not_spoken_of)

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        TEST(pushers_of_another_version_are_told_of_once),
        TEST(a_pusher_who_goes_meanwhile_is_not_spoken_of),
        TEST(what_is_no_pushers_file_is_told_of_once),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
