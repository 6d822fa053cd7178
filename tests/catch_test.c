/* SPDX-License-Identifier: MIT
 *
 * Taking a signal from a program: whom it belongs to, and which threads can be made to block it, whatever they do meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/proc.h"
#include "mech/catch.h"
#include "tests/member.h"

#define NUMBER 50
#define GROUPS 300

static struct catch mine;
static uint32_t ready, over;

static int take(int number, int64_t patience) {
    return catch_take(&mine, number, "sig://me", clock_after(clock_now(), patience));
}

static int take_now(void) {
    (void)proc_begin(); /* as an end has by then */
    return take(NUMBER, 10 * CLOCK_S);
}

/* The calling thread blocks it, or does not. */
static void block(int how) {
    sigset_t one;
    (void)sigemptyset(&one);
    (void)sigaddset(&one, NUMBER);
    (void)pthread_sigmask(how, &one, NULL);
}

static bool blocks(void) {
    sigset_t now;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &now);
    return sigismember(&now, NUMBER) == 1;
}

static pthread_t start(void *(*body)(void *)) {
    pthread_t thread;
    atomic_store(&ready, 0);
    atomic_store(&over, 0);
    int rc = pthread_create(&thread, NULL, body, NULL);
    for (int i = 0; rc == 0 && i < 20000 && atomic_load(&ready) == 0; i++) {
        room_sleep(CLOCK_MS / 2);
    }
    return thread;
}

static int end(pthread_t thread) {
    atomic_store(&over, 1);
    return pthread_join(thread, NULL);
}

/* ---- whose it is ---- */

static void informed(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
}

static void plain(int number) {
    (void)number;
}

static int do_a_signal_that_the_program_uses_is_refused(void *nothing) {
    struct sigaction action = {.sa_flags = SA_SIGINFO, .sa_sigaction = informed};
    (void)nothing;
    CHECK(sigaction(NUMBER, &action, NULL) == 0);
    CHECK(take_now() == -EBUSY && strstr(thirl_why(), "has a handler for signal 50") != NULL);
    action = (struct sigaction){.sa_handler = plain};
    CHECK(sigaction(NUMBER, &action, NULL) == 0);
    CHECK(take_now() == -EBUSY && strstr(thirl_why(), "has a handler for signal 50") != NULL);
    action.sa_handler = SIG_IGN;
    CHECK(sigaction(NUMBER, &action, NULL) == 0);
    CHECK(take_now() == -EBUSY && strstr(thirl_why(), "ignores signal 50") != NULL);
    CHECK(take(SIGRTMIN - 1, CLOCK_S) == -EINVAL &&
          strstr(thirl_why(), "cannot be used") != NULL); /* the C library's */
    CHECK(mine.number == 0 && !blocks());
    return 0;
}
IN_A_CHILD(a_signal_that_the_program_uses_is_refused)

/* Whoever had it once, and lost its handler to a careless program, takes it again. */
static int do_it_can_be_taken_again(void *nothing) {
    (void)nothing;
    CHECK(take_now() == 0 && blocks());
    CHECK(take_now() == -EBUSY && strstr(thirl_why(), "watches signal 50 already") != NULL);
    mine = (struct catch){.number = NUMBER, .taker = (pid_t)syscall(SYS_gettid), .opened = true};
    catch_give(&mine);
    CHECK(!blocks());
    CHECK(signal(NUMBER, SIG_DFL) != SIG_ERR);
    CHECK(take_now() == 0);
    catch_give(&mine);
    catch_give(&mine); /* there is nothing to give any more */
    return 0;
}
IN_A_CHILD(it_can_be_taken_again)

static void *giving(void *nothing) {
    (void)nothing;
    block(SIG_BLOCK);
    catch_give(&mine);
    return blocks() ? &mine : NULL; /* its own mask is its own business */
}

static int do_another_thread_may_give_it_back(void *nothing) {
    pthread_t thread;
    void *blocked = NULL;
    (void)nothing;
    CHECK(take_now() == 0);
    CHECK(pthread_create(&thread, NULL, giving, NULL) == 0 && pthread_join(thread, &blocked) == 0);
    CHECK(blocked != NULL && blocks() && mine.number == 0);
    CHECK(take_now() == 0); /* it was blocked before, this time: and stays so */
    catch_give(&mine);
    CHECK(blocks());
    return 0;
}
IN_A_CHILD(another_thread_may_give_it_back)

static void *blocking(void *nothing) {
    (void)nothing;
    block(SIG_BLOCK);
    atomic_store(&ready, 1);
    while (atomic_load(&over) == 0) {
        room_sleep(CLOCK_MS);
    }
    return NULL;
}

/* Also of a user who is in so many groups that what the kernel says of a thread is long. */
static int do_a_thread_that_blocks_it_wants_it(void *nothing) {
    static gid_t groups[GROUPS];
    (void)nothing;
    pthread_t thread = start(blocking);
    for (size_t many = 0; many <= GROUPS;
         many += many == 0 ? 100 : 2) { /* wherever it is cut when it is read in pieces */
        for (size_t i = 0; i < many; i++) {
            groups[i] = (gid_t)(1000000000 + i);
        }
        if (many != 0 && setgroups(many, groups) != 0) {
            CHECK(many == 100); /* not ours to say */
            break;
        }
        CHECK(take_now() == -EBUSY && strstr(thirl_why(), "blocks or awaits signal 50") != NULL);
    }
    CHECK(end(thread) == 0);
    CHECK(take_now() == 0);
    catch_give(&mine);
    return 0;
}
IN_A_CHILD(a_thread_that_blocks_it_wants_it)

/* ---- threads ---- */

static sigset_t *awaited;

static void *awaiting(void *nothing) {
    const struct timespec rest = {.tv_sec = 20};
    (void)nothing;
    atomic_store(&ready, 1);
    (void)syscall(SYS_rt_sigtimedwait, awaited, NULL, &rest, sizeof(uint64_t));
    return NULL;
}

/* What it awaits stood in memory that is gone: then nobody can tell, and it is left alone. */
static int do_a_set_that_is_gone_is_no_wish(void *nothing) {
    (void)nothing;
    awaited = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(awaited != MAP_FAILED);
    (void)sigemptyset(awaited);
    (void)sigaddset(awaited, NUMBER + 1);
    pthread_t thread = start(awaiting);
    room_sleep(50 * CLOCK_MS); /* it waits by now */
    int rc = take(NUMBER + 1, CLOCK_S);
    CHECK(rc == -EBUSY && strstr(thirl_why(), "blocks or awaits") != NULL);
    CHECK(mprotect(awaited, 4096, PROT_NONE) == 0);
    CHECK(take_now() == 0);
    catch_give(&mine);
    (void)pthread_kill(thread, NUMBER + 1);
    CHECK(pthread_join(thread, NULL) == 0);
    return 0;
}
IN_A_CHILD(a_set_that_is_gone_is_no_wish)

static void *surviving(void *main_thread) {
    (void)pthread_join(*(pthread_t *)main_thread, NULL);
    room_sleep(20 * CLOCK_MS);
    int rc = take_now();
    catch_give(&mine);
    exit(rc == 0 ? 0 : 3);
}

/* It is listed as long as others run, and never runs itself. */
static int do_a_main_thread_that_has_ended_is_not_waited_for(void *nothing) {
    static pthread_t self;
    pthread_t thread;
    (void)nothing;
    self = pthread_self();
    CHECK(pthread_create(&thread, NULL, surviving, &self) == 0);
    pthread_exit(NULL);
}
IN_A_CHILD(a_main_thread_that_has_ended_is_not_waited_for)

static uint32_t leave;

static int rest(void *nothing) {
    const struct timespec moment = {.tv_nsec = CLOCK_MS};
    (void)nothing;
    for (int i = 0; i < 10000 && __atomic_load_n(&leave, __ATOMIC_RELAXED) == 0; i++) {
        (void)syscall(SYS_nanosleep, &moment, NULL);
    }
    (void)syscall(SYS_exit, 0);
    return 0;
}

/* As in vfork: until the child has gone, the kernel lets nothing through to it. */
static void *stuck(void *nothing) {
    static char stack[65536] __attribute__((aligned(16)));
    (void)nothing;
    atomic_store(&ready, 1);
    (void)clone(rest, stack + sizeof stack, CLONE_VM | CLONE_VFORK, NULL);
    return NULL;
}

static int do_a_thread_that_does_not_run_is_named(void *nothing) {
    (void)nothing;
    pthread_t thread = start(stuck);
    room_sleep(20 * CLOCK_MS);
    CHECK(take(NUMBER, 50 * CLOCK_MS) == -ETIMEDOUT && strstr(thirl_why(), "does not run") != NULL);
    CHECK(mine.number == 0 && !blocks());
    __atomic_store_n(&leave, 1, __ATOMIC_RELAXED);
    CHECK(end(thread) == 0);
    CHECK(take_now() == 0);
    catch_give(&mine);
    return 0;
}
IN_A_CHILD(a_thread_that_does_not_run_is_named)

static void *opening(void *nothing) {
    (void)nothing;
    atomic_store(&ready, 1);
    while (atomic_load(&over) == 0) {
        block(SIG_UNBLOCK);
    }
    return NULL;
}

static void *changing(void *nothing) {
    (void)nothing;
    atomic_store(&ready, 1);
    while (atomic_load(&over) == 0) {
        block(SIG_BLOCK);
        block(SIG_UNBLOCK);
    }
    return NULL;
}

static void *nothing_at_all(void *nothing) {
    return nothing;
}

static void *begetting(void *nothing) {
    (void)nothing;
    atomic_store(&ready, 1);
    while (atomic_load(&over) == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing_at_all, NULL) == 0) {
            (void)pthread_join(thread, NULL);
        }
    }
    return NULL;
}

/* Who opens it time and again, who cannot make up his mind, and threads that are hardly there: taking it comes to an end. */
static int do_restless_threads_do_not_hold_it_up(void *nothing) {
    static void *(*const bodies[])(void *) = {opening, changing, begetting};
    (void)nothing;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        pthread_t thread = start(bodies[i]);
        for (int round = 0; round < 12; round++) {
            int rc = take_now();
            CHECK(rc == 0 || (rc == -EBUSY && i == 1 && round == 0)); /* it may look as if it wanted it */
            catch_give(&mine);
        }
        CHECK(end(thread) == 0);
    }
    return 0;
}
IN_A_CHILD(restless_threads_do_not_hold_it_up)

static int limit(int resource, rlim_t value) {
    struct rlimit now;
    return getrlimit(resource, &now) != 0 || (now.rlim_cur = value, setrlimit(resource, &now) != 0) ? -1 : 0;
}

/* Nobody can be asked where no directory can be opened. */
static int do_without_a_list_of_threads_it_is_refused(void *nothing) {
    (void)nothing;
    int next = dup(0);
    CHECK(next >= 0 && close(next) == 0);
    struct rlimit before;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0 && limit(RLIMIT_NOFILE, (rlim_t)next) == 0);
    CHECK(take_now() == -EMFILE && strstr(thirl_why(), "cannot be listed") != NULL && !blocks());
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0 && take_now() == 0);
    catch_give(&mine);
    CHECK(limit(RLIMIT_NOFILE, (rlim_t)next) == 0); /* whose it is is known by now, but not who lets it through */
    CHECK(take_now() == -EMFILE && strstr(thirl_why(), "cannot be listed") != NULL && mine.number == 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    return 0;
}
IN_A_CHILD(without_a_list_of_threads_it_is_refused)

/* ---- the handler ---- */

static int do_what_cannot_be_put_back_is_counted(void *nothing) {
    (void)nothing;
    CHECK(take_now() == 0);
    uint64_t before = catch_lost(NUMBER);
    CHECK(sigqueue(getpid(), NUMBER, (union sigval){.sival_int = 1}) == 0);
    CHECK(limit(RLIMIT_SIGPENDING, 0) == 0);
    block(SIG_UNBLOCK);
    CHECK(catch_lost(NUMBER) == before + 1 && blocks());
    catch_give(&mine);
    return 0;
}
IN_A_CHILD(what_cannot_be_put_back_is_counted)

static int strayed(void *nothing) {
    (void)nothing;
    block(SIG_UNBLOCK);
    CHECK(raise(NUMBER) == 0); /* its default would end the process */
    CHECK(!blocks() && catch_lost(NUMBER) == 0);
    return 0;
}

/* A forked child has the handler, and watches nothing. */
static int do_a_child_is_not_hurt_by_it(void *nothing) {
    (void)nothing;
    CHECK(take_now() == 0);
    CHECK(room_run(strayed, NULL) == 0);
    catch_give(&mine);
    block(SIG_UNBLOCK);
    CHECK(raise(NUMBER) == 0 && !blocks()); /* nor is who has given it back */
    return 0;
}
IN_A_CHILD(a_child_is_not_hurt_by_it)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_that_the_program_uses_is_refused),
        cmocka_unit_test(it_can_be_taken_again),
        cmocka_unit_test(another_thread_may_give_it_back),
        cmocka_unit_test(a_thread_that_blocks_it_wants_it),
        cmocka_unit_test(a_set_that_is_gone_is_no_wish),
        cmocka_unit_test(a_main_thread_that_has_ended_is_not_waited_for),
        cmocka_unit_test(a_thread_that_does_not_run_is_named),
        cmocka_unit_test(restless_threads_do_not_hold_it_up),
        cmocka_unit_test(without_a_list_of_threads_it_is_refused),
        cmocka_unit_test(what_cannot_be_put_back_is_counted),
        cmocka_unit_test(a_child_is_not_hurt_by_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
