/* SPDX-License-Identifier: MIT
 *
 * Workers beside pushers and files that lie, buffers that are just too small, and jobs that are given back late; and publishers whose pool
 * is used up.
 */
#define _GNU_SOURCE
#include <dirent.h>
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
#include "mem/claim.h"
#include "mem/roll.h"
#include "mem/rouse.h"
#include "tests/famine.h"
#include "tests/large.h"
#include "tests/member.h"

#define SOON LARGE_SOON
#define MIB ((size_t)1 << 20)

/* The file of that kind, of the only one who has such a file there. */
static int open_kind(const char *kind) {
    char path[400];
    int fd = -1;
    (void)snprintf(path, sizeof path, "%s/chan/toil", room_path);
    DIR *list = opendir(path);
    for (struct dirent *entry; list != NULL && fd < 0 && (entry = readdir(list)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot != NULL && strcmp(dot + 1, kind) == 0) {
            (void)snprintf(path, sizeof path, "%s/chan/toil/%.100s", room_path, entry->d_name);
            fd = open(path, O_RDWR | O_CLOEXEC);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return fd;
}

static int have(thirl **push, thirl **pull) {
    *push = large_open("shm://toil", THIRL_PUSH, "");
    *pull = large_open("shm://toil", THIRL_PULL, "");
    CHECK(*push != NULL && *pull != NULL);
    return 0;
}

/* Who says that all is done up to where nobody comes is not followed there, and heard no more; another one is. */
static int do_nobody_is_followed_beyond_all_numbers(void *nothing) {
    thirl *push, *pull;
    const uint64_t far = UINT64_MAX - 5;
    char text[8];
    (void)nothing;
    CHECK(have(&push, &pull) == 0);
    CHECK(thirl_send(push, "one", 3, SOON) == 0 && thirl_recv(pull, text, sizeof text, NULL, SOON) == 0);
    int fd = open_kind("tx");
    CHECK(fd >= 0 && pwrite(fd, &far, sizeof far, offsetof(struct claim_tx, floor)) == sizeof far && close(fd) == 0);
    CHECK(thirl_recv(pull, text, sizeof text, NULL, THIRL_NOW) == -EAGAIN);
    (void)!thirl_send(push, "two", 3, THIRL_NOW);
    CHECK(thirl_recv(pull, text, sizeof text, NULL, thirl_in_ms(20)) == -ETIMEDOUT);
    thirl *honest = large_open("shm://toil", THIRL_PUSH, "");
    CHECK(honest != NULL && thirl_send(honest, "three", 5, SOON) == 0);
    CHECK(thirl_recv(pull, text, sizeof text, NULL, SOON) == 0 && memcmp(text, "three", 5) == 0);
    (void)!thirl_close(&honest, THIRL_NOW);
    (void)!thirl_close(&push, THIRL_NOW);
    (void)!thirl_close(&pull, THIRL_NOW);
    return 0;
}
IN_A_CHILD(nobody_is_followed_beyond_all_numbers)

/* What does not fit behind the first ones, rounded up, waits for the next call. */
static int do_many_come_as_far_as_they_fit(void *nothing) {
    static const struct { size_t room, come; } cases[] = {{5, 1}, {8, 1}, {12, 1}, {13, 2}, {24, 3}};
    struct iovec many[4];
    char buffer[64];
    thirl *push, *pull;
    (void)nothing;
    CHECK(have(&push, &pull) == 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int k = 0; k < 3; k++) {
            CHECK(thirl_send(push, "12345", 5, SOON) == 0);
        }
        size_t count = 4;
        CHECK(thirl_recv_many(pull, buffer, cases[i].room, many, &count, SOON) == 0 && count == cases[i].come);
        for (; count < 3; count++) {
            CHECK(thirl_recv(pull, buffer, sizeof buffer, NULL, SOON) == 0);
        }
        CHECK(thirl_recv(pull, buffer, sizeof buffer, NULL, THIRL_NOW) == -EAGAIN);
    }
    (void)!thirl_close(&push, THIRL_NOW);
    (void)!thirl_close(&pull, THIRL_NOW);
    return 0;
}
IN_A_CHILD(many_come_as_far_as_they_fit)

/* Also where an event loop watches, and when the end is closed already. */
static int do_a_job_is_given_back_late(void *nothing) {
    thirl_msg *first, *second;
    thirl *push, *pull;
    char text[8];
    (void)nothing;
    CHECK(have(&push, &pull) == 0 && thirl_fd(pull) >= 0);
    CHECK(thirl_send(push, "one", 3, SOON) == 0 && thirl_send(push, "two", 3, SOON) == 0);
    CHECK(thirl_take(pull, &first, SOON) == 0 && thirl_take(pull, &second, SOON) == 0);
    CHECK(thirl_requeue(&first) == 0);
    (void)!thirl_close(&pull, THIRL_NOW);
    CHECK(thirl_requeue(&second) == 0);
    pull = large_open("shm://toil", THIRL_PULL, "");
    CHECK(pull != NULL);
    CHECK(thirl_recv(pull, text, sizeof text, NULL, SOON) == 0 && memcmp(text, "one", 3) == 0);
    CHECK(thirl_recv(pull, text, sizeof text, NULL, SOON) == 0 && memcmp(text, "two", 3) == 0);
    (void)!thirl_close(&push, THIRL_NOW);
    (void)!thirl_close(&pull, THIRL_NOW);
    return 0;
}
IN_A_CHILD(a_job_is_given_back_late)

/* Each gets a number of its own, for as long as the channel lives; and there are only so many. */
static int do_workers_are_numbered_but_so_far(void *nothing) {
    static const uint32_t last[] = {CLAIM_WORKER_MAX, UINT32_MAX, UINT32_MAX - 1};
    char path[200];
    thirl *push, *pull, *none = NULL;
    (void)nothing;
    CHECK(have(&push, &pull) == 0);
    (void)snprintf(path, sizeof path, "%s/chan/toil/roll", room_path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        CHECK(pwrite(fd, &last[i], sizeof last[i], ROLL_ROUSE + sizeof(struct rouse)) == sizeof last[i]);
        CHECK(thirl_open(&none, THIRL_PULL, "shm://toil", NULL) == -ENOSPC);
        CHECK(strstr(thirl_why(), "all that it can number") != NULL);
    }
    CHECK(close(fd) == 0);
    CHECK(thirl_send(push, "one", 3, SOON) == 0 && thirl_recv(pull, path, sizeof path, NULL, SOON) == 0);
    (void)!thirl_close(&push, THIRL_NOW);
    (void)!thirl_close(&pull, THIRL_NOW);
    return 0;
}
IN_A_CHILD(workers_are_numbered_but_so_far)

/* Over a connection: who pushed it has gone meanwhile, and cannot have it back. */
static int do_a_job_of_who_is_gone_stays_where_it_is(void *nothing) {
    char address[120], text[8];
    (void)nothing;
    (void)snprintf(address, sizeof address, "unix://@toil-%d", (int)getpid());
    for (int seen = 0; seen < 2; seen++) {
        thirl *push = large_open(address, THIRL_PUSH, ""), *pull = large_open(address, THIRL_PULL, "");
        thirl_msg *msg = NULL, *other = NULL;
        CHECK(push != NULL && pull != NULL);
        int rc = -EAGAIN;
        for (int i = 0; rc != 0 && i < 2000; i++) { /* both have to look before they have met */
            (void)!thirl_recv(pull, NULL, 0, NULL, THIRL_NOW);
            rc = thirl_send(push, "one", 3, thirl_in_ms(1));
        }
        CHECK(rc == 0 && thirl_send(push, "two", 3, SOON) == 0);
        CHECK(thirl_take(pull, &msg, SOON) == 0 && thirl_take(pull, &other, SOON) == 0);
        thirl_free(&other);
        (void)!thirl_close(&push, THIRL_NOW);
        thirl *next = seen == 0 ? NULL : large_open(address, THIRL_PUSH, "");
        if (next != NULL) { /* this end has met another one already */
            rc = -EAGAIN;
            for (int i = 0; rc != 0 && i < 2000; i++) {
                (void)!thirl_recv(pull, NULL, 0, NULL, THIRL_NOW);
                rc = thirl_send(next, "new", 3, thirl_in_ms(1));
            }
            CHECK(rc == 0 && thirl_recv(pull, text, sizeof text, NULL, SOON) == 0 && memcmp(text, "new", 3) == 0);
        }
        rc = thirl_requeue(&msg);
        CHECK(rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED);
        CHECK(strstr(thirl_why(), "who pushed that message") != NULL);
        thirl_free(&msg);
        (void)!thirl_close(&next, THIRL_NOW);
        (void)!thirl_close(&pull, THIRL_NOW);
    }
    return 0;
}
IN_A_CHILD(a_job_of_who_is_gone_stays_where_it_is)

/* ---- publishers ---- */

/* All of the pool is held, or lent. A loan then is private memory where what is sent goes nowhere anyway; elsewhere it is refused. */
static int loans_beyond_the_pool(const char *options, bool private) {
    thirl *pub = large_open("shm://toil", THIRL_PUB, options), *sub = large_open("shm://toil", THIRL_SUB, "");
    thirl_msg *held[20], *lent[6] = {NULL};
    unsigned count = 0;
    CHECK(pub != NULL && sub != NULL);
    while (count < 20 && large_put(pub, MIB, count, thirl_in_ms(20)) == 0 &&
           thirl_take(sub, &held[count], thirl_in_ms(50)) == 0) {
        count++;
    }
    CHECK(count >= 2 && count < 20);
    int rc = 0;
    for (unsigned i = 0; i < 5; i++) {
        rc = rc == 0 ? thirl_loan(pub, &lent[i], MIB, THIRL_NOW) : rc;
    }
    CHECK(private ? rc == 0 : rc < 0);
    CHECK(thirl_loan(pub, &lent[5], 64 * MIB, THIRL_NOW) < 0);
    for (unsigned i = 0; i < 6; i++) {
        thirl_free(&lent[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        CHECK(large_intact(thirl_msg_data(held[i]), thirl_msg_size(held[i]), i));
        thirl_free(&held[i]);
    }
    CHECK(large_put(pub, MIB, 99, SOON) == 0);
    (void)!thirl_close(&pub, THIRL_NOW);
    (void)!thirl_close(&sub, THIRL_NOW);
    return 0;
}

/* A publisher that waits is told when there is a place, and does not take it by asking; one for whom a new subscriber comes that
 * it has no memory for says so. */
static int do_a_place_that_was_waited_for_is_found(void *nothing) {
    thirl *pub = large_open("shm://toil", THIRL_PUB, "?full=block&pool=2M"),
          *sub = large_open("shm://toil", THIRL_SUB, "");
    thirl_msg *held[4], *lent[4] = {NULL};
    unsigned count = 0, loans = 0;
    (void)nothing;
    CHECK(pub != NULL && sub != NULL);
    while (count < 4 && large_put(pub, MIB / 2, count, THIRL_NOW) == 0 &&
           thirl_take(sub, &held[count], thirl_in_ms(50)) == 0) {
        count++;
    }
    while (loans < 4 && thirl_loan(pub, &lent[loans], MIB / 2, THIRL_NOW) == 0) {
        loans++;
    }
    CHECK(count != 0 && count < 4 && loans < 4);
    struct thirl_want want = {.end = pub, .wanted = THIRL_WANT_ROOM};
    CHECK(thirl_wait(&want, 1, THIRL_NOW) == -EAGAIN);
    thirl_free(&held[0]);
    for (int i = 0; i < 3; i++) {
        CHECK(thirl_wait(&want, 1, SOON) == 1);
    }
    CHECK(thirl_loan(pub, &lent[3], MIB / 2, THIRL_NOW) == 0);
    thirl *late = large_open("shm://toil", THIRL_SUB, "");
    thirl_msg *none = NULL;
    CHECK(late != NULL);
    if (famine_begin()) {
        int rc = thirl_loan(pub, &none, MIB / 2, THIRL_NOW);
        famine_end();
        CHECK(rc == -ENOMEM);
    }
    for (unsigned i = 0; i < 4; i++) {
        thirl_free(&lent[i]);
    }
    for (unsigned i = 1; i < count; i++) {
        thirl_free(&held[i]);
    }
    CHECK(large_put(pub, MIB / 2, 7, SOON) == 0);
    (void)!thirl_close(&late, THIRL_NOW);
    (void)!thirl_close(&pub, THIRL_NOW);
    (void)!thirl_close(&sub, THIRL_NOW);
    return 0;
}
IN_A_CHILD(a_place_that_was_waited_for_is_found)

/* Where the file system is full a loan is private memory, if what is lent fits into the ring. */
static int do_a_full_file_system_lends_what_the_ring_has(void *nothing) {
    static char block[65536];
    thirl_msg *small = NULL, *large = NULL;
    char path[128];
    (void)nothing;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", room_path, "tmpfs", 0, "size=6m") != 0) {
        return 77;
    }
    thirl *pub = large_open("shm://toil", THIRL_PUB, "?queue=1M&pool=16M");
    (void)snprintf(path, sizeof path, "%s/ballast", room_path);
    int ballast = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(pub != NULL && ballast >= 0);
    while (write(ballast, block, sizeof block) > 0) {}
    CHECK(close(ballast) == 0);
    CHECK(thirl_loan(pub, &small, MIB / 8, THIRL_NOW) == 0);
    CHECK(thirl_loan(pub, &large, 4 * MIB, THIRL_NOW) == -ENOSPC && strstr(thirl_why(), "THIRL_DIR") != NULL);
    thirl_free(&small);
    CHECK(unlink(path) == 0);
    CHECK(thirl_loan(pub, &large, 4 * MIB, THIRL_NOW) == 0);
    thirl_free(&large);
    (void)!thirl_close(&pub, THIRL_NOW);
    return 0;
}

static void a_full_file_system_lends_what_the_ring_has(void **state) {
    (void)state;
    int rc = room_run(do_a_full_file_system_lends_what_the_ring_has, NULL);
    if (rc == 77) {
        print_message("file systems are root's business\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

static int do_a_pool_that_is_used_up_refuses_loans(void *nothing) {
    (void)nothing;
    CHECK(loans_beyond_the_pool("?full=drop-newest&pool=4M", true) == 0);
    CHECK(loans_beyond_the_pool("?full=drop-oldest&pool=4M", false) == 0);
    CHECK(loans_beyond_the_pool("?full=drop-oldest&pool=4M&history=2", false) == 0);
    CHECK(loans_beyond_the_pool("?full=block&pool=4M", false) == 0);
    return 0;
}
IN_A_CHILD(a_pool_that_is_used_up_refuses_loans)

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        TEST(nobody_is_followed_beyond_all_numbers),
        TEST(many_come_as_far_as_they_fit),
        TEST(a_job_is_given_back_late),
        TEST(a_job_of_who_is_gone_stays_where_it_is),
        TEST(a_place_that_was_waited_for_is_found),
        TEST(a_full_file_system_lends_what_the_ring_has),
        TEST(a_pool_that_is_used_up_refuses_loans),
        TEST(workers_are_numbered_but_so_far),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
