/* SPDX-License-Identifier: MIT
 *
 * sig:// in a program of one thread: what is no address, who is at the other end, forged signals, and those that are lost where no more may wait.
 */
#define _GNU_SOURCE
#include <errno.h>
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
        cmocka_unit_test(forged_signals_are_passed_over),
        cmocka_unit_test(what_cannot_be_put_back_is_counted),
        cmocka_unit_test(no_limit_is_none),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
