/* SPDX-License-Identifier: MIT
 *
 * A notifier over shared memory that sits in an event loop: when its descriptor is lit, and what it is told of a watcher who comes, does not read,
 * closes or dies.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/member.h"

#define LONG thirl_in_ms(20000)
#define AT "shm://n?queue=4K"

static thirl *out;

static thirl *have(enum thirl_role role) {
    thirl *end = NULL;
    return thirl_open(&end, role, AT, NULL) == 0 ? end : NULL;
}

static bool shines(int ms) {
    struct pollfd polled = {.fd = thirl_fd(out), .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* Now and then a clock sends it to look. */
static bool is_dark(void) {
    bool dark = false;
    for (int i = 0; i < 10 && !dark; i++) {
        dark = !shines(0);
    }
    return dark;
}

static int tell(uint32_t event) {
    return thirl_send(out, &event, sizeof event, THIRL_NOW);
}

/* As an event loop does: whenever it shines. */
static int tell_when_it_shines(uint32_t event) {
    int rc = -EAGAIN;
    for (int i = 0; i < 400 && rc == -EAGAIN; i++) {
        rc = shines(5000) ? tell(event) : -ETIMEDOUT;
    }
    return rc;
}

static bool has_room(void) {
    struct thirl_want want = {.end = out, .wanted = THIRL_WANT_ROOM};
    return thirl_wait(&want, 1, THIRL_NOW) == 1;
}

/* So many different events until there is no place for one more. */
static uint32_t fill(void) {
    uint32_t event = 1000;
    while (event < 100000 && tell(event) == 0) event++;
    return event;
}

static int do_it_shines_when_a_send_is_answered(void *nothing) {
    uint32_t word;
    (void)nothing;
    CHECK((out = have(THIRL_NOTIFY)) != NULL);
    CHECK(is_dark() && tell(1) == -EAGAIN && !has_room()); /* nobody watches */
    thirl *in = have(THIRL_WATCH);
    CHECK(in != NULL && tell_when_it_shines(1) == 0 && shines(0) && has_room());
    uint32_t last = fill();
    CHECK(last < 100000 && is_dark() && !has_room());
    CHECK(tell(1) == 0); /* which waits already */
    CHECK(thirl_recv(in, &word, sizeof word, NULL, THIRL_NOW) == 0);
    CHECK(tell_when_it_shines(last) == 0);
    (void)fill();
    CHECK(is_dark());
    CHECK(thirl_close(&in, THIRL_NOW) >= 0);
    for (int i = 0; i < 2; i++) { /* and so it stays */
        CHECK(tell_when_it_shines(2) == -THIRL_ECLOSED && shines(0) && has_room());
    }
    CHECK(thirl_close(&out, THIRL_NOW) >= 0);
    return 0;
}
IN_A_CHILD(it_shines_when_a_send_is_answered)

static int watch_on(void *nothing) {
    (void)nothing;
    thirl *in = have(THIRL_WATCH);
    CHECK(in != NULL);
    atomic_store(&member_board->ready, 1);
    for (;;) (void)pause();
    return 0;
}

static void *open_there(void *end) {
    return (*(thirl **)end = have(THIRL_WATCH)) == NULL ? NULL : end;
}

/* The thread that has opened it is gone: no word of its changes when the process ends. */
static int watch_by_another_thread(void *nothing) {
    thirl *in = NULL;
    pthread_t thread;
    void *opened = NULL;
    CHECK(pthread_create(&thread, NULL, open_there, &in) == 0 && pthread_join(thread, &opened) == 0 && opened != NULL);
    atomic_store(&member_board->ready, 1);
    for (;;) (void)pause();
    return nothing != NULL;
}

/* Who keeps a list of robust locks of its own: the kernel changes no word of ours when it ends. */
static int watch_unmarked(void *nothing) {
    static struct robust_list_head own;
    own.list.next = &own.list;
    thirl *in = have(THIRL_WATCH);
    CHECK(in != NULL && syscall(SYS_set_robust_list, &own, sizeof own) == 0);
    atomic_store(&member_board->ready, 1);
    for (;;) (void)pause();
    return nothing != NULL;
}

/* How it looks does not matter: by its descriptor, by waiting for room, or by waiting to send. */
static int do_the_death_of_who_does_not_read_is_told(void *nothing) {
    static int (*const watchers[])(void *) = {watch_on, watch_by_another_thread, watch_unmarked};
    (void)nothing;
    for (int how = 0; how < 9; how++) {
        atomic_store(&member_board->ready, 0);
        CHECK((out = have(THIRL_NOTIFY)) != NULL);
        pid_t child = room_fork(watchers[how / 3], NULL);
        const uint32_t event = 1;
        CHECK(member_wait(&member_board->ready, 1) && thirl_send(out, &event, sizeof event, LONG) == 0);
        (void)fill();
        CHECK(how % 3 != 0 || is_dark());
        CHECK(!has_room() && kill(child, SIGKILL) == 0 && room_reap(child) == 128 + SIGKILL);
        struct thirl_want want = {.end = out, .wanted = THIRL_WANT_ROOM};
        CHECK(how % 3 != 1 || (thirl_wait(&want, 1, LONG) == 1 && has_room()));
        int rc = how % 3 == 0   ? tell_when_it_shines(1)
                 : how % 3 == 1 ? tell(2)
                                : thirl_send(out, &(uint32_t){3}, sizeof event, LONG);
        CHECK(rc == -THIRL_EPEERDIED && strstr(thirl_why(), "died") != NULL);
        CHECK(tell(1) == -EAGAIN); /* once; and the next one is waited for */
        CHECK(thirl_close(&out, THIRL_NOW) >= 0);
    }
    return 0;
}
IN_A_CHILD(the_death_of_who_does_not_read_is_told)

static bool may_open(unsigned more, struct rlimit *before) {
    int next = dup(0);
    struct rlimit limit = *before;
    limit.rlim_cur = (rlim_t)next + more;
    return next >= 0 && close(next) == 0 && setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* Not once alone: whoever mends it is heard. */
static int do_why_nobody_can_be_met_is_told_until_it_is_mended(void *nothing) {
    struct rlimit usual;
    (void)nothing;
    atomic_store(&member_board->ready, 0);
    CHECK((out = have(THIRL_NOTIFY)) != NULL && getrlimit(RLIMIT_NOFILE, &usual) == 0);
    pid_t child = room_fork(watch_on, NULL);
    CHECK(member_wait(&member_board->ready, 1) && may_open(0, &usual));
    for (int i = 0; i < 3; i++) {
        CHECK(tell(1) == -EMFILE && strstr(thirl_why(), "registry") != NULL && has_room());
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0 && tell(1) == 0);
    CHECK(kill(child, SIGKILL) == 0 && room_reap(child) == 128 + SIGKILL);
    CHECK(thirl_close(&out, THIRL_NOW) >= 0);
    return 0;
}
IN_A_CHILD(why_nobody_can_be_met_is_told_until_it_is_mended)

static int64_t used(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * CLOCK_S + now.tv_nsec;
}

/* Both ends are this process's, which needs no word to know that it lives: a full table is waited for asleep. */
static int do_who_waits_for_itself_sleeps(void *nothing) {
    (void)nothing;
    CHECK((out = have(THIRL_NOTIFY)) != NULL);
    thirl *in = have(THIRL_WATCH);
    const uint32_t event = fill();
    CHECK(in != NULL && event < 100000 && !has_room() && is_dark());
    struct thirl_want want = {.end = out, .wanted = THIRL_WANT_ROOM};
    int64_t before = used();
    CHECK(thirl_send(out, &event, sizeof event, thirl_in_ms(400)) == -ETIMEDOUT);
    CHECK(thirl_wait(&want, 1, thirl_in_ms(400)) == -ETIMEDOUT);
    CHECK(used() - before < 50 * CLOCK_MS);
    CHECK(thirl_close(&in, THIRL_NOW) >= 0);
    CHECK(thirl_wait(&want, 1, LONG) == 1 && tell(event) == -THIRL_ECLOSED);
    CHECK(thirl_close(&out, THIRL_NOW) >= 0);
    return 0;
}
IN_A_CHILD(who_waits_for_itself_sleeps)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(it_shines_when_a_send_is_answered, member_clear),
        cmocka_unit_test_setup(why_nobody_can_be_met_is_told_until_it_is_mended, member_clear),
        cmocka_unit_test_setup(who_waits_for_itself_sleeps, member_clear),
        cmocka_unit_test_setup(the_death_of_who_does_not_read_is_told, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
