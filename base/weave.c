/* SPDX-License-Identifier: MIT
 *
 * What happens at a named point, see weave.h. A pass may come from a signal handler or from between fork and exec, so it
 * only counts, compares and makes raw system calls. An order that cannot be understood or names no point of this program
 * ends the process: a crash test that hits nothing must not pass.
 */
#include "base/weave.h"

#ifdef THIRL_WEAVE

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"

#define WRONG_ORDER 97 /* exit status */

extern struct weave_point __start_thirl_weave[] __attribute__((weak, visibility("hidden")));
extern struct weave_point __stop_thirl_weave[] __attribute__((weak, visibility("hidden")));

enum act { ACT_NONE, ACT_KILL, ACT_STOP, ACT_FORK, ACT_FORK_KILL, ACT_DELAY, ACT_JOLT };
enum { UNREAD, READING, READ };

static struct {
    uint32_t state;
    enum act act;
    char name[96];    /* "*": any point */
    unsigned long at; /* which pass; with a delay anywhere: one in how many */
    unsigned long us; /* the delay; of a jolt: ns */
    uint64_t passes;  /* over all points of that name */
    uint64_t dice;
} order;

__attribute__((noreturn)) static void refuse(const char *text, const char *reason) {
    const char *parts[] = {"THIRL_WEAVE_AT=", text, ": ", reason, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (write(2, parts[i], strlen(parts[i])) < 0) break;
    }
    _exit(WRONG_ORDER);
}

static bool named(const char *name) {
    size_t count;
    struct weave_point *point = weave_points(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(point[i].name, name) == 0) return true;
    }
    return strcmp(name, "*") == 0;
}

static enum act parse_act(const char *text, unsigned long *us) {
    char *end;
    if (strcmp(text, "kill") == 0) return ACT_KILL;
    if (strcmp(text, "stop") == 0) return ACT_STOP;
    if (strcmp(text, "fork") == 0) return ACT_FORK;
    if (strcmp(text, "fork-kill") == 0) return ACT_FORK_KILL;
    const char *number = strchr(text, '=');
    if (!number || number[1] < '0' || number[1] > '9') return ACT_NONE;
    *us = strtoul(number + 1, &end, 10);
    if (*end != 0) return ACT_NONE;
    return strncmp(text, "delay=", 6) == 0 ? ACT_DELAY : strncmp(text, "jolt=", 5) == 0 ? ACT_JOLT : ACT_NONE;
}

static void parse(void) {
    const char *text = getenv("THIRL_WEAVE_AT");
    order.act = ACT_NONE;
    order.passes = 0;
    if (!text || !*text) return;
    const char *colon = strchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof order.name) refuse(text, "not name:k:action");
    memcpy(order.name, text, (size_t)(colon - text));
    order.name[colon - text] = 0;
    char *end;
    order.at = strtoul(colon + 1, &end, 10);
    if (*end != ':' || order.at == 0 || colon[1] < '0' || colon[1] > '9') refuse(text, "k is not a number from 1 on");
    order.act = parse_act(end + 1, &order.us);
    if (order.act == ACT_NONE)
        refuse(text, "action is not kill, stop, fork, fork-kill, delay=MICROSECONDS or jolt=NANOSECONDS");
    if (!named(order.name)) refuse(text, "this program has no such point");
    order.dice = (uint64_t)clock_now() ^ (uint64_t)getpid() << 40;
}

/* Once in each process; whoever comes meanwhile waits, because the first pass may be the one that counts. Not for ever: it
 * may be a signal handler on top of the very thread that reads. */
static void learn(void) {
    uint32_t unread = UNREAD;
    if (atomic_cas(&order.state, &unread, READING)) {
        parse();
        atomic_store(&order.state, READ);
        return;
    }
    for (int i = 0; i < 1000000 && atomic_load(&order.state) != READ; i++)
        atomic_pause(); /* pairs with the store above */
}

/* A child of fork reads its own environment and counts its own passes. */
static void forget(void) {
    atomic_poke(&order.state, UNREAD);
}

__attribute__((constructor)) static void watch_fork(void) {
    (void)pthread_atfork(NULL, NULL, forget);
}

static void rest(unsigned long us) {
    struct timespec left = clock_spec((int64_t)us * CLOCK_US);
    while (nanosleep(&left, &left) != 0) continue;
}

/* splitmix64 over a shared counter: no state of a thread's own, so that a signal handler may throw too. */
static uint64_t throw_dice(void) {
    uint64_t x = atomic_add(&order.dice, UINT64_C(0x9e3779b97f4a7c15));
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Whoever else runs on this processor goes first, or this one turns on the spot for a moment: neither sleeps. */
static void jolt(uint64_t thrown, unsigned long most) {
    if ((thrown & 1) != 0) {
        (void)sched_yield();
        return;
    }
    int64_t until = clock_now() + (int64_t)((thrown >> 1) % (most + 1));
    while (clock_now() < until) atomic_pause();
}

__attribute__((noreturn)) static void die(void) {
    (void)kill(getpid(), SIGKILL);
    for (;;) (void)pause(); /* nothing behind the point may run, on this thread either */
}

/* A child that has all that this process has, as another thread would fork it: not while this one holds what fork waits for. */
static void *fork_idle(void *done) {
    if (fork() == 0) {
        rest(60 * 1000000UL);
        _exit(0);
    }
    atomic_store((uint32_t *)done, 1u);
    return NULL;
}

static void split(void) {
    static uint32_t done;
    pthread_t thread;
    if (pthread_create(&thread, NULL, fork_idle, &done) == 0) {
        (void)pthread_detach(thread);
        int64_t until = clock_after(clock_now(), 20 * CLOCK_MS);
        while (atomic_load(&done) == 0 && clock_now() < until) rest(100);
    }
}

static void act(void) {
    switch (order.act) {
    case ACT_KILL:
        die();
    case ACT_STOP:
        (void)kill(getpid(), SIGSTOP);
        break;
    case ACT_FORK:
        split();
        break;
    case ACT_FORK_KILL:
        split();
        die();
    case ACT_DELAY:
        rest(order.us);
        break;
    case ACT_JOLT:
        jolt(throw_dice(), order.us);
        break;
    case ACT_NONE:
        break;
    }
}

void weave_pass(struct weave_point *point) {
    (void)atomic_add(&point->passes, 1u);
    if (atomic_load(&order.state) != READ) learn(); /* pairs with the store in learn */
    if (order.act == ACT_NONE) return;
    int saved = errno;
    bool any = order.name[0] == '*';
    if (any && (order.act == ACT_DELAY || order.act == ACT_JOLT)) {
        if (throw_dice() % order.at == 0) {
            uint64_t thrown = throw_dice();
            order.act == ACT_JOLT ? jolt(thrown, order.us) : rest(thrown % (order.us + 1));
        }
    } else if (any || strcmp(order.name, point->name) == 0) {
        if (atomic_add(&order.passes, UINT64_C(1)) + 1 == order.at) act();
    }
    errno = saved;
}

struct weave_point *weave_points(size_t *count) {
    /* As numbers, because the two symbols are one array only to the linker. */
    *count = ((uintptr_t)__stop_thirl_weave - (uintptr_t)__start_thirl_weave) / sizeof(struct weave_point);
    return __start_thirl_weave;
}

#endif
