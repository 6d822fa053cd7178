/* SPDX-License-Identifier: MIT
 *
 * The descriptor that an event loop watches: lit as long as somebody said so, looked after by a clock where the end of a process cannot be seen
 * there, and a reason where there is none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/proc.h"
#include "mech/lamp.h"
#include "tests/member.h"
#include "tests/refuse.h"

static struct lamp lamp;

static int make(unsigned mode) {
    lamp_init(&lamp);
    return lamp_make(&lamp, room_dir, "bell", mode, "shm://x");
}

static bool shines(int ms) {
    struct pollfd polled = {.fd = lamp.epoll, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

static mode_t mode_of_it(void) {
    struct stat status;
    return fstatat(room_dir, "bell", &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISFIFO(status.st_mode)
               ? status.st_mode & 0777
               : 0;
}

/* ---- making ---- */

/* Whatever the umask is; and who asks again after a failure finds what he has made. */
static int do_the_fifo_is_for_whom_the_channel_is_for(void *nothing) {
    (void)nothing;
    (void)umask(077);
    CHECK(make(0600) == 0 && mode_of_it() == 0600);
    lamp_deinit(&lamp);
    CHECK(make(0660) == 0 && mode_of_it() == 0660);
    CHECK(!shines(0));
    lamp_deinit(&lamp);
    CHECK(lamp.epoll == -1 && lamp.fifo == -1 && lamp.guard == -1);
    return 0;
}
IN_A_CHILD(the_fifo_is_for_whom_the_channel_is_for)

static int be_refused(void *which) {
    static const struct {
        long call;
        int error;
        unsigned mode;
        const char *part;
    } ways[] = {{SYS_mknodat, EROFS, 0600, "cannot be made in the registry"},
                {SYS_fchmodat, EPERM, 0660, "cannot be made in the registry"},
                {SYS_epoll_create1, EMFILE, 0600, "no descriptor for event loops"},
                {SYS_epoll_ctl, ENOSPC, 0600, "no descriptor for event loops"}};
    size_t i = *(size_t *)which;
    if (i == sizeof ways / sizeof *ways) {
        return 100;
    }
    unsigned before = room_descriptors();
    int rc = refuse(ways[i].call, ways[i].error);
    if (rc != 0) {
        return rc;
    }
    CHECK(make(ways[i].mode) == -ways[i].error && strstr(thirl_why(), ways[i].part) != NULL);
    CHECK(lamp.epoll == -1 && lamp.fifo == -1 && room_descriptors() == before);
    return 0;
}

static void what_the_kernel_refuses_is_told(void **state) {
    int rc = 0;
    (void)state;
    for (size_t i = 0; rc == 0; i++) {
        (void)member_clear(NULL);
        rc = room_run(be_refused, &i);
    }
    if (rc == REFUSE_SKIP) {
        skip();
    }
    assert_int_equal(rc, 100);
}

/* ---- light ---- */

static int do_it_is_dark_whatever_was_written(void *nothing) {
    static const char many[4096];
    (void)nothing;
    CHECK(make(0600) == 0);
    lamp_light(&lamp);
    lamp_light(&lamp);
    CHECK(lamp.lit && shines(0) && shines(0));
    lamp_dark(&lamp);
    CHECK(!lamp.lit && !shines(0));
    while (write(lamp.fifo, many, sizeof many) > 0) {} /* whoever may write there fills it */
    while (write(lamp.fifo, many, 1) > 0) {}
    lamp_light(&lamp);
    CHECK(lamp.lit && shines(0)); /* as bright as it gets */
    lamp_dark(&lamp);
    CHECK(!lamp.lit && !shines(0));
    lamp_deinit(&lamp);
    return 0;
}
IN_A_CHILD(it_is_dark_whatever_was_written)

static int be_unable_to_light(void *nothing) {
    (void)nothing;
    CHECK(make(0600) == 0);
    int rc = refuse_where(SYS_write, EIO, 0, UINT32_MAX, (uint32_t)lamp.fifo);
    if (rc != 0) {
        return rc;
    }
    lamp_light(&lamp);
    CHECK(!lamp.lit && !shines(0)); /* so that it is tried again */
    return 0;                       /* what has that number next would not be written either */
}

static void what_did_not_light_is_not_lit(void **state) {
    (void)state;
    int rc = room_run(be_unable_to_light, NULL);
    if (rc == REFUSE_SKIP) {
        skip();
    }
    assert_int_equal(rc, 0);
}

/* ---- the guard ---- */

static struct node_peer peer_of(uint64_t id, pid_t pid) {
    struct proc self;
    proc_self(&self);
    return (struct node_peer){.id = id, .pid = pid, .pid_space = self.pid_space, .fd = -1};
}

/* A clock looks after it: it shines now and then, and is dark in between. */
static bool ticks(void) {
    for (int i = 0; i < 2; i++) {
        if (!shines(5000)) {
            return false;
        }
        lamp_dark(&lamp);
    }
    return true;
}

static int do_the_end_of_the_peer_is_seen(void *nothing) {
    (void)nothing;
    CHECK(node_join() == 0 && make(0600) == 0);
    pid_t guest = member_invite();
    CHECK(guest > 0);
    struct node_peer peer = peer_of(member_board->id, guest);
    lamp_guard(&lamp, &peer);
    int guard = lamp.guard;
    lamp_guard(&lamp, &peer);
    CHECK(guard >= 0 && lamp.guard == guard && lamp.guarded == peer.id);
    CHECK(!shines(120)); /* it lives, and no clock ticks */
    (void)kill(guest, SIGKILL);
    CHECK(shines(5000));
    lamp_dark(&lamp);
    CHECK(shines(0)); /* it stays dead */
    CHECK(room_reap(guest) == 128 + SIGKILL);
    lamp_guard(&lamp, NULL);
    CHECK(ticks());
    lamp_deinit(&lamp);
    return 0;
}
IN_A_CHILD(the_end_of_the_peer_is_seen)

/* His number is another process's by now, or says nothing here: then not that one is waited for. */
static int do_nobody_else_is_taken_for_the_peer(void *nothing) {
    (void)nothing;
    CHECK(node_join() == 0);
    pid_t guest = member_invite();
    CHECK(guest > 0);
    struct node_peer dead = peer_of(member_board->id + 77, getppid()), far = peer_of(member_board->id, guest),
                     self = peer_of(node_id(), getpid());
    far.pid_space++;
    struct node_peer *const peers[] = {&dead, &far, &self};
    for (size_t i = 0; i < 3; i++) {
        CHECK(make(0600) == 0);
        lamp_guard(&lamp, peers[i]);
        CHECK(lamp.guarded == peers[i]->id && ticks());
        lamp_deinit(&lamp);
    }
    atomic_store(&member_board->go, 1);
    CHECK(room_reap(guest) == 0);
    return 0;
}
IN_A_CHILD(nobody_else_is_taken_for_the_peer)

int main(void) {
#define T(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        T(the_fifo_is_for_whom_the_channel_is_for),
        T(what_the_kernel_refuses_is_told),
        T(it_is_dark_whatever_was_written),
        T(what_did_not_light_is_not_lit),
        T(the_end_of_the_peer_is_seen),
        T(nobody_else_is_taken_for_the_peer),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
