/* SPDX-License-Identifier: MIT
 *
 * sig:// inside a program that has threads and signals of its own, and beside programs that know nothing of thirl: nothing
 * that is sent may end a process, and no signal that the program uses is taken from it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/fd.h"
#include "tests/room.h"

#define LONG thirl_in_ms(20000)
#define MOMENT thirl_in_ms(60)
#define NUMBER 52

static const char *address(pid_t pid, const char *options) {
    static char text[64];
    (void)snprintf(text, sizeof text, "sig://%d?signal=%d%s", (int)pid, NUMBER, options);
    return text;
}

/* Each test runs in a process of its own: signals are the process's. What is not so ends it, with the line. */
#define must(condition) ((condition) ? (void)0 : die(__LINE__, #condition))

static void die(int line, const char *text) {
    fprintf(stderr, "%s:%d: not so: %s (thirl_why: \"%s\")\n", __FILE__, line, text, thirl_why());
    _exit(1);
}

static int play(void *body) {
    (*(void (**)(void))body)();
    return 0;
}

static void alone(void **state) {
    void (*body)(void) = *state;
    int rc = room_run(play, &body);
    if (rc == 77) {
        skip();
    }
    assert_int_equal(rc, 0);
}

static thirl *watcher(const char *options) {
    thirl *end = NULL;
    must(thirl_open(&end, THIRL_WATCH, address(getpid(), options), NULL) == 0);
    return end;
}

static uint32_t take(thirl *end) {
    uint32_t word = UINT32_MAX;
    size_t size = 0;
    must(thirl_recv(end, &word, sizeof word, &size, LONG) == 0 && size == sizeof word);
    return word;
}

static void nothing_more(thirl *end) {
    uint32_t word;
    must(thirl_recv(end, &word, sizeof word, NULL, MOMENT) == -ETIMEDOUT);
}

static void throw(pid_t pid, uint32_t word) {
    must(sigqueue(pid, NUMBER, (union sigval){.sival_int = (int)word}) == 0);
}

static void finish(thirl *end) {
    must(thirl_close(&end, LONG) == 0);
}

/* ---- foreign programs ---- */

static int throw_some(void *pid) { /* <signal.h> and nothing else */
    for (uint32_t i = 0; i < 5; i++) {
        if (sigqueue(*(pid_t *)pid, NUMBER, (union sigval){.sival_int = (int)i}) != 0) {
            return 1;
        }
    }
    return 0;
}

static void hears_foreign_programs(void) {
    static const char *const forms[] = {"", "&raw"};
    for (int i = 0; i < 2; i++) {
        thirl *end = watcher(forms[i]);
        pid_t pid = getpid();
        must(room_run(throw_some, &pid) == 0);
        for (uint32_t j = 0; j < 5; j++) {
            must(take(end) == j);
        }
        must(kill(pid, NUMBER) == 0); /* a signal without a word is the word 0 */
        must(take(end) == 0);
        char command[64];
        (void)snprintf(command, sizeof command, "kill -%d %d", NUMBER, (int)pid);
        must(system(command) == 0);
        must(take(end) == 0);
        struct thirl_peer peer = {.size = sizeof peer};
        must(thirl_peer(end, &peer) == 0 && peer.pid > 1 && peer.uid == getuid());
        nothing_more(end);
        finish(end);
    }
}

static void hears_kill_with_a_word(void) {
    if (access("/usr/bin/kill", X_OK) != 0 || system("/usr/bin/kill -q 1 -s 0 $$ 2>/dev/null") != 0) {
        printf("skipped: this machine has no kill that queues (procps)\n");
        fflush(stdout);
        _exit(77);
    }
    thirl *end = watcher("");
    char command[96];
    (void)snprintf(command, sizeof command, "/usr/bin/kill -q 4711 -s %d %d", NUMBER, (int)getpid());
    must(system(command) == 0);
    must(take(end) == 4711);
    finish(end);
}

static void a_word_of_32_bits_needs_raw(void) {
    uint32_t word;
    thirl *end = watcher("");
    throw(getpid(), 0x80000001);
    throw(getpid(), 7);
    must(thirl_recv(end, &word, sizeof word, NULL, LONG) == -THIRL_EFORMAT);
    must(strstr(thirl_why(), "?raw") != NULL);
    must(take(end) == 7);
    finish(end);
    end = watcher("&raw");
    throw(getpid(), 0x80000001);
    must(take(end) == 0x80000001);
    finish(end);
}

static int wait_for_signals(void *pipe) { /* it does not watch at once */
    sigset_t one;
    siginfo_t info;
    room_sleep(100 * CLOCK_MS);
    (void)sigemptyset(&one);
    (void)sigaddset(&one, NUMBER);
    (void)sigprocmask(SIG_BLOCK, &one, NULL);
    for (int i = 0; i < 3; i++) {
        if (sigwaitinfo(&one, &info) != NUMBER || info.si_value.sival_int != -1 + i || info.si_code != SI_QUEUE ||
            info.si_pid != getppid()) {
            return 1;
        }
    }
    char byte;
    return read(((int *)pipe)[0], &byte, 1) != 1;
}

static void tells_a_foreign_program(void) {
    int gate[2];
    must(pipe(gate) == 0);
    pid_t pid = room_fork(wait_for_signals, gate);
    thirl *end = NULL;
    must(thirl_open(&end, THIRL_NOTIFY, address(pid, "&raw"), NULL) == 0);
    for (uint32_t i = 0; i < 3; i++) {
        must(thirl_send(end, &(uint32_t){i - 1}, 4, LONG) ==
             0); /* the first waits until it would not end the process */
    }
    must(write(gate[1], "", 1) == 1);
    must(room_reap(pid) == 0);
    must(thirl_send(end, &(uint32_t){1}, 4, LONG) == -THIRL_EPEERDIED);
    finish(end);
    must(thirl_open(&end, THIRL_NOTIFY, address(pid, "&raw"), NULL) == -ESRCH);
}

static int sleep_on(void *unused) {
    (void)unused;
    room_sleep(20 * CLOCK_S);
    return 0;
}

static void ends_no_process_that_does_not_watch(void) {
    static const char *const forms[] = {"", "&raw"};
    pid_t pid = room_fork(sleep_on, NULL);
    for (int i = 0; i < 2; i++) {
        thirl *end = NULL;
        must(thirl_open(&end, THIRL_NOTIFY, address(pid, forms[i]), NULL) == 0);
        must(thirl_send(end, &(uint32_t){1}, 4, MOMENT) == -ETIMEDOUT);
        must(thirl_send(end, &(uint32_t){1}, 4, THIRL_NOW) == -EAGAIN);
        finish(end);
    }
    must(kill(pid, 0) == 0 && kill(pid, SIGKILL) == 0 && room_reap(pid) == 128 + SIGKILL);
}

static void who_ends_before_he_watches_is_told_of(void) {
    pid_t pid = room_fork(sleep_on, NULL);
    thirl *end = NULL;
    must(thirl_open(&end, THIRL_NOTIFY, address(pid, "&raw"), NULL) == 0);
    must(thirl_send(end, &(uint32_t){1}, 4, THIRL_NOW) == -EAGAIN);
    must(kill(pid, SIGKILL) == 0 && room_reap(pid) == 128 + SIGKILL);
    for (int i = 0; i < 2; i++) { /* for good */
        must(thirl_send(end, &(uint32_t){1}, 4, LONG) == -THIRL_EPEERDIED);
        must(strstr(thirl_why(), "has ended") != NULL);
    }
    finish(end);
}

static int ignore_it(void *unused) {
    must(signal(NUMBER, SIG_IGN) != SIG_ERR);
    return sleep_on(unused);
}

static void a_program_may_ignore_it(void) {
    pid_t pid = room_fork(ignore_it, NULL);
    thirl *end = NULL;
    must(thirl_open(&end, THIRL_NOTIFY, address(pid, "&raw"), NULL) == 0);
    must(thirl_send(end, &(uint32_t){1}, 4, LONG) == 0); /* waits until it does */
    must(kill(pid, SIGKILL) == 0 && room_reap(pid) == 128 + SIGKILL);
    finish(end);
}

/* ---- threads ---- */

static uint32_t over;

static bool lets_through(void) {
    sigset_t now;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &now);
    return sigismember(&now, NUMBER) == 0;
}

static void *sleeping(void *unused) {
    (void)unused;
    while (atomic_load(&over) == 0) {
        room_sleep(20 * CLOCK_MS);
    }
    return NULL;
}

static void *working(void *unused) {
    (void)unused;
    while (atomic_load(&over) == 0) {
        (void)sched_yield();
    }
    return NULL;
}

static void *unblocking(void *unused) { /* what a careless program does */
    sigset_t none;
    (void)unused;
    (void)sigemptyset(&none);
    while (atomic_load(&over) == 0) {
        (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
        room_sleep(20 * CLOCK_US);
    }
    return NULL;
}

static void *begetting(void *unused) {
    (void)unused;
    while (atomic_load(&over) == 0) {
        pthread_t thread;
        uint32_t *none = NULL;
        if (pthread_create(&thread, NULL, sleeping, none) == 0) {
            (void)pthread_detach(thread);
        }
        room_sleep(5 * CLOCK_MS);
    }
    return NULL;
}

static int storm(void *pid) {
    thirl *end = NULL;
    if (thirl_open(&end, THIRL_NOTIFY, address(*(pid_t *)pid, ""), NULL) != 0) {
        return 1;
    }
    for (uint32_t i = 0; i < 3000; i++) {
        if (thirl_send(end, &i, 4, LONG) != 0) {
            return 2;
        }
    }
    return thirl_close(&end, LONG) != 0;
}

/* Does every thread of this process block it? */
static bool all_block(void) {
    char line[256];
    bool all = true;
    DIR *list = opendir("/proc/self/task");
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        (void)snprintf(line, sizeof line, "/proc/self/task/%.20s/status", entry->d_name);
        FILE *status = entry->d_name[0] == '.' ? NULL : fopen(line, "r");
        while (status != NULL && fgets(line, sizeof line, status) != NULL) {
            bool masks = strncmp(line, "SigBlk:", 7) == 0;
            all = all && (!masks || (strtoull(line + 7, NULL, 16) >> (NUMBER - 1) & 1) != 0);
        }
        if (status != NULL) {
            (void)fclose(status);
        }
    }
    return list != NULL && closedir(list) == 0 && all;
}

static void with_threads(void *(*const *bodies)(void *), size_t count, bool in_order) {
    pthread_t threads[8];
    static unsigned char came[3000];
    for (size_t i = 0; i < count; i++) {
        must(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0);
    }
    room_sleep(20 * CLOCK_MS);
    thirl *end = watcher("");
    must(!in_order || all_block()); /* before anything is sent */
    pid_t pid = getpid(), child = room_fork(storm, &pid);
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t word = take(end);
        must(word < 3000 && came[word]++ == 0 && (!in_order || word == i));
    }
    must(room_reap(child) == 0);
    nothing_more(end);
    atomic_store(&over, 1);
    for (size_t i = 0; i < count; i++) {
        must(pthread_join(threads[i], NULL) == 0);
    }
    finish(end);
}

static void threads_live_and_lose_nothing(void) {
    static void *(*const bodies[])(void *) = {sleeping, working, sleeping, begetting};
    with_threads(bodies, 4, true);
}

static void a_thread_that_unblocks_lives(void) {
    static void *(*const bodies[])(void *) = {unblocking, sleeping, unblocking};
    with_threads(bodies, 3, false);
}

static void *receiving(void *end) {
    for (uint32_t i = 0; i < 100; i++) {
        must(take(end) == i);
    }
    return NULL;
}

static void another_thread_may_receive(void) {
    thirl *end = watcher("");
    pthread_t thread;
    must(pthread_create(&thread, NULL, receiving, end) == 0);
    for (uint32_t i = 0; i < 100; i++) {
        throw(getpid(), i);
    }
    must(pthread_join(thread, NULL) == 0);
    finish(end);
}

/* ---- the program's own signals ---- */

static void *awaiting(void *which) {
    sigset_t set;
    siginfo_t info;
    (void)sigfillset(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (which == NULL) {
        (void)sigdelset(&set, NUMBER);
    }
    while (atomic_load(&over) == 0) {
        const struct timespec moment = {.tv_nsec = 200000000};
        (void)sigtimedwait(&set, &info, &moment);
    }
    return NULL;
}

static void on_signal(int number) {
    (void)number;
}

static void must_be_refused(const char *part) {
    thirl *end = NULL;
    must(thirl_open(&end, THIRL_WATCH, address(getpid(), ""), NULL) == -EBUSY);
    must(end == NULL && strstr(thirl_why(), part) != NULL && strstr(thirl_why(), "?signal=") != NULL);
}

static void *blocking(void *which) {
    sigset_t set;
    (void)sigemptyset(&set);
    if (which != NULL) {
        (void)sigfillset(&set);
    } else {
        (void)sigaddset(&set, NUMBER);
    }
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    return sleeping(NULL);
}

static void takes_no_signal_that_is_used(void) {
    struct sigaction now;
    pthread_t thread, waiter;
    (void)signal(NUMBER, on_signal);
    must_be_refused("handler");
    must(sigaction(NUMBER, NULL, &now) == 0 && now.sa_handler == on_signal); /* and left as it was */
    (void)signal(NUMBER, SIG_IGN);
    must_be_refused("ignores");
    (void)signal(NUMBER, SIG_DFL);
    must(pthread_create(&thread, NULL, blocking, NULL) == 0);
    room_sleep(50 * CLOCK_MS);
    must_be_refused("blocks");
    must(lets_through());
    must(sigaction(NUMBER, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    atomic_store(&over, 1);
    must(pthread_join(thread, NULL) == 0);
    atomic_store(&over, 0);
    must(pthread_create(&thread, NULL, awaiting, &over) == 0);
    room_sleep(50 * CLOCK_MS);
    must_be_refused("awaits");
    atomic_store(&over, 1);
    must(pthread_join(thread, NULL) == 0);
    atomic_store(&over, 0);
    /* A thread that wants no signal at all does not want this one. */
    must(pthread_create(&thread, NULL, blocking, &over) == 0 && pthread_create(&waiter, NULL, awaiting, NULL) == 0);
    room_sleep(50 * CLOCK_MS);
    thirl *end = watcher("");
    throw(getpid(), 8);
    must(take(end) == 8);
    atomic_store(&over, 1);
    must(pthread_join(thread, NULL) == 0 && pthread_join(waiter, NULL) == 0);
    finish(end);
    must(thirl_open(&end, THIRL_WATCH, "sig://self", NULL) == 0); /* the usual one */
    must(kill(getpid(), 44) == 0 && take(end) == 0);
    finish(end);
}

static void a_timer_is_no_event(void) {
    thirl *end = watcher("");
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = NUMBER};
    const struct itimerspec once = {.it_value = {.tv_nsec = 1000000}};
    timer_t timer;
    uint32_t word;
    must(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &once, NULL) == 0);
    must(thirl_recv(end, &word, sizeof word, NULL, LONG) == -THIRL_EFORMAT);
    must(strstr(thirl_why(), "timer") != NULL);
    throw(getpid(), 9);
    must(take(end) == 9);
    finish(end);
}

static void late_events_do_no_harm(void) {
    must(lets_through());
    for (int i = 0; i < 3; i++) {
        thirl *end = watcher("");
        must(!lets_through());
        throw(getpid(), 1);
        throw(getpid(), 2);
        must(take(end) == 1);
        finish(end); /* the other one is thrown away */
        must(lets_through());
        throw(getpid(), 3); /* its default action would end this process */
        must(kill(getpid(), NUMBER) == 0);
    }
    thirl *end = watcher("");
    nothing_more(end);
    finish(end);
}

static int in_child(void *end) {
    uint32_t word;
    must(thirl_recv(end, &word, sizeof word, NULL, THIRL_NOW) == -THIRL_EFORKED);
    must(kill(getpid(), NUMBER) == 0); /* blocked since before fork */
    thirl *own = watcher("");
    must(take(own) == 0);
    throw(getpid(), 5);
    must(take(own) == 5);
    finish(own);
    return 0;
}

static void a_child_watches_for_itself(void) {
    thirl *end = watcher("");
    must(room_run(in_child, end) == 0);
    throw(getpid(), 6);
    must(take(end) == 6);
    nothing_more(end);
    finish(end);
}

/* ---- limits ---- */

/* Signals and timers that wait for all processes of this user. */
static rlim_t waiting_now(void) {
    char line[256];
    unsigned long long count = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        (void)sscanf(line, "SigQ: %llu", &count);
    }
    must(status != NULL && fclose(status) == 0);
    return (rlim_t)count;
}

static void full_is_said_with_its_limit(void) {
    thirl *in = watcher(""), *out = NULL;
    struct rlimit before, few;
    must(getrlimit(RLIMIT_SIGPENDING, &before) == 0);
    few = (struct rlimit){waiting_now() + 8, before.rlim_max};
    must(setrlimit(RLIMIT_SIGPENDING, &few) == 0);
    must(thirl_open(&out, THIRL_NOTIFY, address(getpid(), ""), NULL) == 0);
    struct thirl_limits limits = {.size = sizeof limits};
    must(thirl_limits(in, &limits) == 0 && limits.queue_messages == few.rlim_cur && limits.message_max == 4 &&
         limits.atomic_max == 4);
    must(limits.identity == 0 && limits.zero_copy == 0 && limits.cross_host == 0);
    uint32_t count = 0;
    int rc;
    while ((rc = thirl_send(out, &count, 4, THIRL_NOW)) == 0) {
        must(++count <= few.rlim_cur + 1);
    }
    must(rc == -EAGAIN && strstr(thirl_why(), "RLIMIT_SIGPENDING") != NULL && strstr(thirl_why(), "full") != NULL);
    /* What others of this user have waiting counts, and goes. */
    while ((rc = thirl_send(out, &count, 4, MOMENT)) == 0) {
        must(++count <= few.rlim_cur + 1);
    }
    must(rc == -ETIMEDOUT);
    for (uint32_t i = 0; i < count; i++) {
        must(take(in) == i);
    }
    must(setrlimit(RLIMIT_SIGPENDING, &before) == 0);
    must(thirl_send(out, &(uint32_t){77}, 4, LONG) == 0);
    must(take(in) == 77);
    finish(out);
    finish(in);
}

static void what_is_no_address_is_named(void) {
    static const struct {
        const char *address, *part;
    } wrong[] = {{"sig://here", "sig://PID"},
                 {"sig://-1", "sig://PID"},
                 {"sig://1x", "sig://PID"},
                 {"sig://1", "sig://self"},
                 {"sig://self?signal=12", "34"}};
    thirl *end = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        must(thirl_open(&end, THIRL_WATCH, wrong[i].address, NULL) == -THIRL_EADDRESS);
        must(strstr(thirl_why(), wrong[i].part) != NULL);
    }
    char handed[64];
    must(thirl_open(&end, THIRL_WATCH, "sig://self?signal=53&raw", NULL) == 0);
    must(thirl_hand(end, handed, sizeof handed) == 0);
    (void)snprintf(handed + 32, 32, "sig://%d?signal=53&raw", (int)getpid());
    must(strcmp(handed, handed + 32) == 0);
    finish(end);
}

static void keeps_no_descriptor(void) {
    finish(watcher("")); /* joins the registry, whose descriptors stay */
    unsigned before = room_descriptors();
    for (int i = 0; i < 5; i++) {
        thirl *in = watcher(""), *out = NULL, *other = NULL;
        must(thirl_open(&out, THIRL_NOTIFY, address(getpid(), ""), NULL) == 0);
        must(thirl_fd(in) >= 0 && thirl_fd(out) >= 0);
        must(thirl_send(out, &(uint32_t){1}, 4, LONG) == 0 && take(in) == 1);
        int fd = thirl_peer_pidfd(out);
        must(fd >= 0);
        (void)close(fd);
        must(thirl_open(&other, THIRL_WATCH, address(getpid(), ""), NULL) == -EBUSY);
        finish(out);
        finish(in);
    }
    must(room_descriptors() == before);
}

int main(void) {
#define ALONE(body)                                                                                                    \
    { #body, alone, NULL, NULL, body }
    const struct CMUnitTest tests[] = {
        ALONE(hears_foreign_programs),
        ALONE(hears_kill_with_a_word),
        ALONE(a_word_of_32_bits_needs_raw),
        ALONE(tells_a_foreign_program),
        ALONE(ends_no_process_that_does_not_watch),
        ALONE(who_ends_before_he_watches_is_told_of),
        ALONE(a_program_may_ignore_it),
        ALONE(threads_live_and_lose_nothing),
        ALONE(a_thread_that_unblocks_lives),
        ALONE(another_thread_may_receive),
        ALONE(takes_no_signal_that_is_used),
        ALONE(a_timer_is_no_event),
        ALONE(late_events_do_no_harm),
        ALONE(a_child_watches_for_itself),
        ALONE(full_is_said_with_its_limit),
        ALONE(what_is_no_address_is_named),
        ALONE(keeps_no_descriptor),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
