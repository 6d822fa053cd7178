/* SPDX-License-Identifier: MIT
 *
 * PUB over connections where it cannot publish yet, and where it is not done when all is said: the last message is still on its way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/crew.h"
#include "tests/member.h"
#include "tests/refuse.h"

#define LARGE ((size_t)1 << 20)

static int wait_for_room(thirl *pub, thirl_time until) {
    struct thirl_want want = {.end = pub, .fd = -1, .wanted = THIRL_WANT_ROOM};
    return thirl_wait(&want, 1, until);
}

/* Somebody else listens there, and says nothing: once he is gone there is room. */
static void there_is_no_room_where_it_does_not_listen(void **state) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    crew_at(*state, NULL);
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%.100s", crew_address + strlen("unix://"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 5), 0);
    thirl *pub = crew_open(THIRL_PUB);
    assert_int_equal(wait_for_room(pub, THIRL_NOW), -EAGAIN);
    assert_int_equal(crew_send(pub, 0, 100, THIRL_NOW), -EAGAIN);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(at.sun_path), 0);
    assert_int_equal(wait_for_room(pub, LONG), 1);
    thirl *sub = crew_open(THIRL_SUB);
    assert_int_equal(crew_send(pub, 1, 100, THIRL_NOW), 0);
    assert_int_equal(crew_next(sub).number, 1);
    assert_int_equal(thirl_close(&pub, LONG), 0);
    assert_int_equal(thirl_close(&sub, LONG), 0);
}

static char said[LARGE], heard[LARGE];

static void *take_last(void *sub) {
    size_t size = 0;
    (void)usleep(20000); /* the other one has begun to wait, likely; nothing hangs on it */
    return thirl_recv(sub, heard, LARGE, &size, LONG) == 0 && size == LARGE && memcmp(said, heard, LARGE) == 0 ? NULL
                                                                                                               : sub;
}

/* Whose socket does not get more room for the rest of a message. */
static int close_at_once(void *nothing) {
    (void)nothing;
    pthread_t thread;
    void *wrong = NULL;
    thirl *pub, *sub;
    memset(said, 's', LARGE);
    if (refuse_where(SYS_setsockopt, EPERM, 2, UINT32_MAX, SO_SNDBUFFORCE) != 0 ||
        refuse_where(SYS_setsockopt, EPERM, 2, UINT32_MAX, SO_SNDBUF) != 0) {
        return REFUSE_SKIP;
    }
    CHECK(thirl_open(&pub, THIRL_PUB, crew_address, NULL) == 0);
    CHECK(thirl_open(&sub, THIRL_SUB, crew_address, NULL) == 0);
    CHECK(thirl_send(pub, said, LARGE, THIRL_NOW) == 0);
    CHECK(pthread_create(&thread, NULL, take_last, sub) == 0);
    CHECK(thirl_close(&pub, LONG) == 0);
    CHECK(pthread_join(thread, &wrong) == 0 && wrong == NULL);
    CHECK(thirl_close(&sub, LONG) == 0);
    return 0;
}

/* A message that a socket has not taken whole is no longer counted as missing, but a close waits for its rest. */
static void a_close_waits_for_the_rest_of_a_message(void **state) {
    crew_at(*state, NULL);
    int rc = room_run(close_at_once, NULL);
    if (rc == REFUSE_SKIP) skip();
    assert_int_equal(rc, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"there_is_no_room_where_it_does_not_listen", there_is_no_room_where_it_does_not_listen, NULL, NULL,
         (void *)(uintptr_t) "unix://%s/s"},
        {"a_close_waits_for_the_rest_of_a_message", a_close_waits_for_the_rest_of_a_message, NULL, NULL,
         (void *)(uintptr_t) "unix://%s/s"},
    };
    return cmocka_run_group_tests_name("behind", tests, peer_setup, peer_teardown);
}
