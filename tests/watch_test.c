/* SPDX-License-Identifier: MIT
 *
 * sig:// in a program of one thread: what is no address, who is at the other end, forged signals, and those that are lost where no more may wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "mech/catch.h"
#include "tests/member.h"
#include "tests/room.h"

#define LONG thirl_in_ms(20000)
#define NUMBER 52

static const char *address(const char *options) {
    static char text[64];
    (void)snprintf(text, sizeof text, "sig://%d?signal=%d%s", (int)getpid(), NUMBER, options);
    return text;
}

static thirl *have(enum thirl_role role, const char *at) {
    thirl *end = NULL;
    return thirl_open(&end, role, at, NULL) == 0 ? end : NULL;
}

static int do_addresses_name_processes_and_signals(void *unused) {
    static const char *const wrong[] = {"sig://0", "sig://99999999999", "sig://2147483648", "sig://+1", "sig:// 1"};
    static const uint32_t signals[] = {10, 32, 33, 65, 70};
    char handed[64], wanted[64];
    thirl *end = NULL;
    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(thirl_open(&end, THIRL_NOTIFY, wrong[i], NULL) == -THIRL_EADDRESS);
    }
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct thirl_options options = THIRL_OPTIONS;
        options.signal = signals[i];
        CHECK(thirl_open(&end, THIRL_WATCH, "sig://self", &options) < 0 && strstr(thirl_why(), "34 to 64") != NULL);
    }
    CHECK((end = have(THIRL_WATCH, "sig://?raw")) != NULL && thirl_close(&end, LONG) == 0); /* nobody is oneself, too */
    static const char *const options[] = {"", "?raw", "?signal=53", "?signal=53&raw"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        (void)snprintf(handed, sizeof handed, "sig://self%s", options[i]);
        (void)snprintf(wanted, sizeof wanted, "sig://%d%s", (int)getpid(), options[i]);
        CHECK((end = have(THIRL_WATCH, handed)) != NULL);
        CHECK(thirl_hand(end, handed, strlen(wanted)) == -EMSGSIZE);
        CHECK(thirl_hand(end, handed, strlen(wanted) + 1) == 0 && strcmp(handed, wanted) == 0);
        CHECK(thirl_close(&end, LONG) == 0);
    }
    return 0;
}
IN_A_CHILD(addresses_name_processes_and_signals)

static int do_who_is_there_is_known_once_it_was_heard(void *unused) {
    static const char *const forms[] = {"", "&raw"};
    (void)unused;
    for (int i = 0; i < 2; i++) {
        thirl *out = have(THIRL_NOTIFY, address(forms[i])), *in;
        struct thirl_peer peer = {.size = sizeof peer};
        uint32_t word = 5;
        CHECK(out != NULL && thirl_peer(out, &peer) == -ENOTCONN && thirl_peer_pidfd(out) == -ENOTCONN);
        CHECK((in = have(THIRL_WATCH, address(forms[i]))) != NULL && thirl_peer(in, &peer) == -ENOTCONN);
        CHECK(thirl_peer_pidfd(in) == -EOPNOTSUPP);
        int fd = thirl_fd(out);
        CHECK(fd >= 0 && thirl_fd(out) == fd);
        CHECK(thirl_send(out, &word, 4, LONG) == 0 && thirl_recv(in, &word, 4, NULL, LONG) == 0 && word == 5);
        CHECK(thirl_peer(out, &peer) == 0 && peer.pid == getpid() && peer.uid == (i == 0 ? getuid() : UINT32_MAX));
        CHECK(thirl_peer(in, &peer) == 0 && peer.pid == getpid() && peer.uid == getuid() && peer.gid == UINT32_MAX);
        CHECK((fd = thirl_peer_pidfd(out)) >= 0 && close(fd) == 0);
        CHECK(thirl_close(&in, LONG) == 0);
        CHECK(thirl_close(&out, LONG) == 0);
    }
    return 0;
}
IN_A_CHILD(who_is_there_is_known_once_it_was_heard)

static void *idle(void *id) {
    __atomic_store_n((pid_t *)id, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    for (;;) (void)pause();
    return NULL;
}

static bool may_open(unsigned more, struct rlimit *before) {
    int next = dup(0);
    struct rlimit limit = *before;
    limit.rlim_cur = (rlim_t)next + more;
    return next >= 0 && close(next) == 0 && setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static int leave_at_once(void *unused) {
    return unused != NULL;
}

static int do_who_is_no_process_is_told(void *unused) {
    thirl *out = NULL;
    pthread_t thread;
    pid_t id = 0, child = room_fork(leave_at_once, NULL);
    struct rlimit usual;
    char text[64];
    (void)unused;
    CHECK(room_reap(child) == 0 && getrlimit(RLIMIT_NOFILE, &usual) == 0);
    (void)snprintf(text, sizeof text, "sig://%d?raw", (int)child);
    CHECK(thirl_open(&out, THIRL_NOTIFY, text, NULL) == -ESRCH && strstr(thirl_why(), "there is no process") != NULL);
    CHECK(pthread_create(&thread, NULL, idle, &id) == 0);
    while (__atomic_load_n(&id, __ATOMIC_ACQUIRE) == 0) room_sleep(100000);
    (void)snprintf(text, sizeof text, "sig://%d?raw", (int)id); /* but a thread */
    CHECK(thirl_open(&out, THIRL_NOTIFY, text, NULL) == -ESRCH && strstr(thirl_why(), "there is no process") != NULL);
    CHECK(may_open(0, &usual) && thirl_open(&out, THIRL_NOTIFY, address("&raw"), NULL) == -EMFILE);
    CHECK(strstr(thirl_why(), "cannot be held") != NULL && setrlimit(RLIMIT_NOFILE, &usual) == 0);
    CHECK((out = have(THIRL_NOTIFY, address("&raw"))) != NULL);
    return thirl_close(&out, LONG);
}
IN_A_CHILD(who_is_no_process_is_told)

static int stay(void *write_end) {
    thirl *in = have(THIRL_WATCH, address(""));
    CHECK(in != NULL && write(*(int *)write_end, "x", 1) == 1);
    for (;;) (void)pause();
    return 0;
}

/* Neither his file can be opened, nor he himself be held, and not once alone: whoever mends it is heard. */
static int do_why_nobody_can_be_met_is_told_until_it_is_mended(void *unused) {
    int ready[2];
    char text[64], byte;
    struct rlimit usual;
    const uint32_t word = 5;
    (void)unused;
    CHECK(pipe(ready) == 0 && getrlimit(RLIMIT_NOFILE, &usual) == 0);
    pid_t child = room_fork(stay, &ready[1]);
    CHECK(read(ready[0], &byte, 1) == 1);
    (void)snprintf(text, sizeof text, "sig://%d?signal=%d", (int)child, NUMBER);
    thirl *out = have(THIRL_NOTIFY, text);
    CHECK(out != NULL);
    for (unsigned more = 0; more < 2; more++) {
        CHECK(may_open(more, &usual));
        for (int i = 0; i < 3; i++) {
            CHECK(thirl_send(out, &word, 4, THIRL_NOW) == -EMFILE);
            CHECK(strstr(thirl_why(), more == 0 ? "registry" : "cannot be held") != NULL);
        }
        CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    }
    CHECK(thirl_send(out, &word, 4, THIRL_NOW) == 0);
    CHECK(kill(child, SIGKILL) == 0 && room_reap(child) == 128 + SIGKILL);
    return thirl_close(&out, LONG);
}
IN_A_CHILD(why_nobody_can_be_met_is_told_until_it_is_mended)

static int forge(int code, int word) {
    siginfo_t info = {.si_signo = NUMBER, .si_code = code};
    info.si_pid = getpid();
    info.si_value.sival_int = word;
    return (int)syscall(SYS_rt_sigqueueinfo, getpid(), NUMBER, &info);
}

/* What looks like this library's own word to a thread is no event; and many of them keep nobody for ever. */
static int do_forged_signals_are_passed_over(void *unused) {
    thirl *in = have(THIRL_WATCH, address(""));
    uint32_t word = 0;
    (void)unused;
    CHECK(in != NULL);
    for (int i = 0; i < 70; i++) {
        CHECK(forge(CATCH_MARK, i) == 0);
    }
    CHECK(forge(SI_QUEUE, 9) == 0);
    CHECK(thirl_recv(in, &word, 4, NULL, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_recv(in, &word, 4, NULL, THIRL_NOW) == 0 && word == 9);
    CHECK(raise(NUMBER) == 0 && thirl_recv(in, &word, 4, NULL, THIRL_NOW) == 0 && word == 0);
    CHECK(forge(SI_ASYNCIO, 9) == 0 && thirl_recv(in, &word, 4, NULL, THIRL_NOW) == -THIRL_EFORMAT);
    CHECK(thirl_recv(in, &word, 4, NULL, THIRL_NOW) == -EAGAIN);
    return thirl_close(&in, LONG);
}
IN_A_CHILD(forged_signals_are_passed_over)

static int lost_of(void *lost, const struct thirl_seen *seen) {
    *(uint64_t *)lost += seen->lost;
    return 0;
}

/* A thread that lets the signal through, and no room to put it back: it is lost, and counted with the next one that comes. */
static int do_what_cannot_be_put_back_is_counted(void *unused) {
    thirl *in = have(THIRL_WATCH, address(""));
    struct rlimit usual, none;
    sigset_t one;
    uint32_t word = 0;
    uint64_t lost = 0;
    (void)unused;
    CHECK(in != NULL && getrlimit(RLIMIT_SIGPENDING, &usual) == 0);
    none = (struct rlimit){0, usual.rlim_max};
    CHECK(forge(SI_QUEUE, 8) == 0);
    CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0 && sigemptyset(&one) == 0 && sigaddset(&one, NUMBER) == 0);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &one, NULL) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, &one, NULL) == 0);
    CHECK(setrlimit(RLIMIT_SIGPENDING, &usual) == 0);
    CHECK(forge(SI_QUEUE, 9) == 0 && thirl_recv(in, &word, 4, NULL, LONG) == 0 && word == 9);
    CHECK(thirl_list(lost_of, &lost) == 0 && lost == 1);
    return thirl_close(&in, LONG);
}
IN_A_CHILD(what_cannot_be_put_back_is_counted)

static int do_no_limit_is_none(void *unused) {
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    struct thirl_limits limits = {.size = sizeof limits};
    (void)unused;
    if (setrlimit(RLIMIT_SIGPENDING, &all) != 0) {
        return 0; /* only the privileged may have that many */
    }
    thirl *in = have(THIRL_WATCH, address(""));
    CHECK(in != NULL && thirl_limits(in, &limits) == 0 && limits.queue_messages == 0 && limits.queue == 0);
    return thirl_close(&in, LONG);
}
IN_A_CHILD(no_limit_is_none)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_name_processes_and_signals),
        cmocka_unit_test(who_is_there_is_known_once_it_was_heard),
        cmocka_unit_test(who_is_no_process_is_told),
        cmocka_unit_test(why_nobody_can_be_met_is_told_until_it_is_mended),
        cmocka_unit_test(forged_signals_are_passed_over),
        cmocka_unit_test(what_cannot_be_put_back_is_counted),
        cmocka_unit_test(no_limit_is_none),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
