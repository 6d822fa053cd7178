/* SPDX-License-Identifier: MIT
 *
 * Opening queues that the kernel keeps, where something is not as it should be: what cannot be noted, what a note does not say, packets without
 * room for a label, a kernel that refuses to tell, and one that has no descriptor to give.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "chan/end.h"
#include "mech/carried.h"
#include "tests/member.h"
#include "tests/quota.h"
#include "tests/refuse.h"

#define SOON thirl_in_ms(20000)
#define ORDER "THIRL_WEAVE_AT"

static key_t key; /* of this program's System V queue */
static char byte;
static size_t size;

static int open_sysv(thirl **end, enum thirl_role role) {
    char address[40];
    (void)snprintf(address, sizeof address, "sysv://0x%08x", (unsigned)key);
    return thirl_open(end, role, address, NULL);
}

static int open_end(thirl **end, enum thirl_role role, const char *scheme) {
    char address[60];
    (void)snprintf(address, sizeof address, "%s://queue-test-%d?queue=16K", scheme, (int)getpid());
    return thirl_open(end, role, address, NULL);
}

/* ---- notes ---- */

static int open_at(void *role) {
    thirl *end = NULL;
    int rc = open_sysv(&end, *(const enum thirl_role *)role);
    return rc == -ENOENT && strstr(thirl_why(), "cannot be noted") != NULL ? 42 : 1;
}

/* Which queue a note means: the kernel's number of it. */
static int number_in(const char *path) {
    char note[2000];
    int fd = open(path, O_RDONLY | O_CLOEXEC), id = -1;
    ssize_t got = fd_read_at(fd, note, sizeof note, 0);
    for (ssize_t i = 0; i + 11 < got; i++) {
        id = memcmp(note + i, "0x", 2) == 0 && note[i + 10] == '.' ? atoi(note + i + 11) : id;
    }
    fd_close(&fd);
    return id;
}

/* Once a queue is made its number is noted; when that fails it is removed, unless somebody else has made it. */
static int lose_note(enum thirl_role role, bool made) {
    char path[ROOM_FILE];
    struct msqid_ds about;
    int status;
    CHECK(setenv(ORDER, "kept.put.written:2:stop", 1) == 0);
    pid_t pid = room_fork(open_at, &role);
    CHECK(unsetenv(ORDER) == 0 && waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(room_only("kept*~", path) == 0);
    int id = number_in(path);
    CHECK(id >= 0 && msgctl(id, IPC_STAT, &about) == 0);
    CHECK(unlink(path) == 0 && kill(pid, SIGCONT) == 0 && room_reap(pid) == 42);
    CHECK(made == (msgctl(id, IPC_STAT, &about) != 0));
    return 0;
}

static int die(void *nothing) {
    (void)nothing;
    thirl *end = NULL;
    return open_sysv(&end, THIRL_PULL);
}

static int do_what_cannot_be_noted_is_not_kept(void *nothing) {
    (void)nothing;
    CHECK(lose_note(THIRL_PULL, true) == 0 && lose_note(THIRL_PAIR, true) == 0 && msgget(key, 0) < 0);
    thirl *in, *out;
    CHECK(open_sysv(&in, THIRL_PULL) == 0); /* who is there keeps others from clearing up */
    CHECK(msgctl(msgget(key, 0), IPC_RMID, NULL) == 0 && setenv(ORDER, "sysv.make.after:1:kill", 1) == 0);
    CHECK(room_run(die, NULL) == 128 + SIGKILL && msgget(key, 0) >= 0);
    CHECK(lose_note(THIRL_PULL, false) == 0 && thirl_close(&in, SOON) == 0);
    CHECK(open_sysv(&in, THIRL_PULL) == 0 && open_sysv(&out, THIRL_PUSH) == 0);
    CHECK(thirl_send(out, "x", 1, SOON) == 0 && thirl_recv(in, &byte, 1, &size, SOON) == 0);
    CHECK(thirl_close(&out, SOON) == 0 && thirl_close(&in, SOON) == 0 && msgget(key, 0) < 0);
    return 0;
}
IN_A_CHILD(what_cannot_be_noted_is_not_kept)

static int count_left(void *context, const struct thirl_left *left) {
    (void)left;
    ++*(int *)context;
    return 0;
}

/* Of a queue whose note says nothing more nobody knows that it is thirl's. */
static int do_a_note_that_says_nothing_names_no_queue(void *nothing) {
    (void)nothing;
    thirl *end;
    char path[ROOM_FILE], note[2000];
    int left = 0;
    CHECK(open_sysv(&end, THIRL_PUSH) == 0 && thirl_send(end, "x", 1, SOON) == 0 && thirl_close(&end, SOON) == 0);
    CHECK(thirl_left(count_left, &left) == 0 && left == 1);
    CHECK(room_only("kept", path) == 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t got = fd_read_at(fd, note, sizeof note, 0);
    for (ssize_t i = 0; i + 11 < got; i++) {
        if (memcmp(note + i, "0x", 2) == 0 && note[i + 10] == '.') note[i] = 'y';
    }
    CHECK(pwrite(fd, note, (size_t)got, 0) == got && close(fd) == 0);
    CHECK(thirl_left(count_left, &left) == 0 && left == 1);
    CHECK(open_sysv(&end, THIRL_PULL) == -EEXIST && strstr(thirl_why(), "is not thirl's") != NULL);
    int id = msgget(key, 0);
    CHECK(id >= 0 && msgctl(id, IPC_RMID, NULL) == 0);
    return 0;
}
IN_A_CHILD(a_note_that_says_nothing_names_no_queue)

/* Nothing is taken for gone that the kernel only does not show. */
static int ask_in_vain(void *nothing) {
    (void)nothing;
    thirl *end = NULL;
    char address[40];
    int left = 0;
    (void)snprintf(address, sizeof address, "sysv://0x%08x", (unsigned)key);
    if (refuse(SYS_msgctl, EACCES) != 0 || refuse(SYS_msgget, EACCES) != 0) return REFUSE_SKIP;
    CHECK(open_sysv(&end, THIRL_PULL) == -EACCES && strstr(thirl_why(), "does not say") != NULL);
    CHECK(thirl_clean(address) == -EACCES && strstr(thirl_why(), "does not say") != NULL);
    (void)!thirl_left(count_left, &left);
    return 0;
}

static int do_what_is_not_shown_is_not_gone(void *nothing) {
    (void)nothing;
    thirl *end;
    char address[40];
    (void)snprintf(address, sizeof address, "sysv://0x%08x", (unsigned)key);
    CHECK(open_sysv(&end, THIRL_PUSH) == 0 && thirl_send(end, "x", 1, SOON) == 0 && thirl_close(&end, SOON) == 0);
    int rc = room_run(ask_in_vain, NULL);
    CHECK(thirl_clean(address) == 1);
    return rc;
}

static void what_is_not_shown_is_not_gone(void **state) {
    (void)state;
    int rc = room_run(do_what_is_not_shown_is_not_gone, NULL);
    if (rc == REFUSE_SKIP) skip();
    assert_int_equal(rc, 0);
}

/* ---- packets ---- */

static int do_packets_without_room_for_a_label_are_refused(void *nothing) {
    (void)nothing;
    char name[60];
    thirl *end = NULL;
    struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 40};
    (void)snprintf(name, sizeof name, "/thirl.queue-test-%d", (int)getpid());
    static const enum thirl_role roles[] = {THIRL_PULL, THIRL_PUSH};
    for (int i = 0; i < 2; i++) { /* an empty one is removed by whoever leaves it */
        mqd_t mq = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
        if (mq < 0) return REFUSE_SKIP;
        CHECK(open_end(&end, roles[i], "mq") == -EMSGSIZE && end == NULL);
        CHECK(strstr(thirl_why(), "packets of 40 bytes are too small") != NULL);
        CHECK(mq_close(mq) == 0);
    }
    CHECK(open_end(&end, THIRL_PULL, "mq") == 0 && thirl_close(&end, SOON) == 0);
    return 0;
}

static void packets_without_room_for_a_label_are_refused(void **state) {
    (void)state;
    int rc = room_run(do_packets_without_room_for_a_label_are_refused, NULL);
    if (rc == REFUSE_SKIP) skip();
    assert_int_equal(rc, 0);
}

/* ---- descriptors ---- */

/* The number that a descriptor gets which is opened after so many others. */
static uint32_t after(unsigned others) {
    int fd[4];
    for (unsigned i = 0; i <= others; i++) fd[i] = dup(STDERR_FILENO);
    for (unsigned i = 0; i <= others; i++) (void)close(fd[i]);
    return (uint32_t)fd[others];
}

static const struct want {
    const char *scheme;
    enum thirl_role from, to;
    long call; /* is refused, */
    int that;  /* or of several the one whose descriptor is opened after so many others */
} wants[] = {
    {"mq", THIRL_PULL, THIRL_PUSH, SYS_epoll_create1, -1},  {"mq", THIRL_PULL, THIRL_PUSH, SYS_eventfd2, -1},
    {"mq", THIRL_PULL, THIRL_PUSH, SYS_epoll_ctl, 1},       {"sysv", THIRL_PULL, THIRL_PUSH, SYS_timerfd_create, -1},
    {"sysv", THIRL_PULL, THIRL_PUSH, SYS_epoll_ctl, 2},     {"mq", THIRL_PAIR, THIRL_PAIR, SYS_epoll_create1, -1},
    {"mq", THIRL_PAIR, THIRL_PAIR, SYS_timerfd_create, -1}, {"mq", THIRL_PAIR, THIRL_PAIR, SYS_epoll_ctl, 1},
    {"mq", THIRL_PAIR, THIRL_PAIR, SYS_epoll_ctl, 2},
};

/* An end that gets no descriptor for event loops says so, keeps nothing of it, and carries on. */
static int refuse_one(void *given) {
    const struct want *want = given;
    thirl *in, *out;
    if (open_end(&in, want->from, want->scheme) != 0) return REFUSE_SKIP;
    CHECK(open_end(&out, want->to, want->scheme) == 0);
    CHECK(thirl_send(out, "x", 1, SOON) == 0 && thirl_recv(in, &byte, 1, &size, SOON) == 0);
    unsigned before = room_descriptors();
    int rc = want->that < 0 ? refuse(want->call, ENOMEM)
                            : refuse_where(want->call, ENOMEM, 2, UINT32_MAX, after((unsigned)want->that));
    if (rc != 0) return rc;
    for (int i = 0; i < 2; i++) {
        CHECK(thirl_fd(in) == -ENOMEM && strstr(thirl_why(), "no descriptor for event loops") != NULL);
        CHECK(room_descriptors() == before);
        CHECK(thirl_send(out, "y", 1, SOON) == 0 && thirl_recv(in, &byte, 1, &size, SOON) == 0 && byte == 'y');
    }
    CHECK(thirl_close(&out, SOON) >= 0 && thirl_close(&in, SOON) >= 0);
    return 0;
}

static void no_descriptor_is_told(void **state) {
    for (unsigned i = 0; i < sizeof wants / sizeof *wants; i++) {
        assert_int_equal(member_clear(state), 0);
        int rc = room_run(refuse_one, (void *)(uintptr_t)&wants[i]);
        if (rc == REFUSE_SKIP) {
            print_message("skip: %s, or refusals, are not to be had here\n", wants[i].scheme);
        } else if (rc != 0) {
            fail_msg("%u", i);
        }
    }
}

/* ---- memory ---- */

/* Without memory for the carrier's state there is no end, and nothing of it in the registry. */
static int open_without_memory(void *nothing) {
    (void)nothing;
    thirl *end;
    if (open_end(&end, THIRL_PAIR, "mq") != 0) return REFUSE_SKIP;
    struct carrier huge = *end->mech->carrier;
    huge.state_size = SIZE_MAX / 2;
    struct mech_open open = {.mech = end->mech,
                             .role = THIRL_PULL,
                             .address = "mq://queue-test-memory",
                             .rest = "queue-test-memory",
                             .receives = true,
                             .options = THIRL_OPTIONS,
                             .seen = end->seen};
    open.options.queue = 16384;
    open.options.max = 1000;
    open.options.mode = 0600;
    open.options.timeout = CLOCK_S;
    for (int pair = 0; pair < 2; pair++) {
        struct carried *c = calloc(1, sizeof *c);
        CHECK(c != NULL);
        open.role = pair ? THIRL_PAIR : THIRL_PULL;
        open.sends = pair;
        CHECK(carried_open(c, &huge, &open) == -ENOMEM);
        CHECK(strstr(thirl_why(), "mq://queue-test-memory: no memory for an end") != NULL);
        CHECK(room_entries("chan") == 1); /* the other one's */
        free(c);
    }
    CHECK(thirl_close(&end, SOON) >= 0);
    return 0;
}

static void no_memory_is_no_end(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* its allocator ends the process */
#endif
    int rc = room_run(open_without_memory, NULL);
    if (rc == REFUSE_SKIP) skip();
    assert_int_equal(rc, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_cannot_be_noted_is_not_kept, member_clear),
        cmocka_unit_test_setup(a_note_that_says_nothing_names_no_queue, member_clear),
        cmocka_unit_test_setup(what_is_not_shown_is_not_gone, member_clear),
        cmocka_unit_test_setup(packets_without_room_for_a_label_are_refused, member_clear),
        cmocka_unit_test(no_descriptor_is_told),
        cmocka_unit_test_setup(no_memory_is_no_end, member_clear),
    };
    (void)quota_take(false);
    key = 0x74000000 | (getpid() & 0xffffff);
    return cmocka_run_group_tests_name("queue", tests, member_begin, room_end);
}
