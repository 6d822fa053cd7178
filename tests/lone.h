/* SPDX-License-Identifier: MIT
 *
 * The wing of locks without a registry, for tests that include this once: who else is there, what they hold and when they die, a test says,
 * in place of mech/lodge.c. What others do while a thread stands at a named point (base/weave.h) is done there by this one, so that it
 * happens each time. What is asked of libc fails when it is told to; the program is linked with a --wrap for each of these calls.
 */
#ifndef TESTS_LONE_H
#define TESTS_LONE_H

#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/err.h"
#include "base/weave.h"
#include "sync/party.h"

#define LONE_ID (UINT64_C(0x1111) << 16) /* of this process */
#define LONE_OTHER (UINT64_C(0x2222) << 16)
#define LONE_DEAD (UINT64_C(0x3333) << 16)
#define LONE_SLIPS 24

static struct {
    uint64_t id;
    int refusal;                        /* of who would join */
    bool no_slips, no_pairs, only_each; /* what there is not */
    bool no_page, no_fence, no_random;  /* what the kernel has not */
    bool no_many;                       /* nor waits for several words */
    int lends;                          /* the next wait in the kernel for a mutex that lends priority fails so */
    unsigned fails;                     /* the allocation that does, counted from 1; 0: none */
    const char *point;                  /* when a thread next comes there, it does that */
    void (*act)(void);
    void (*asked)(void);  /* whenever somebody is about to hear whether a process lives, */
    void (*looked)(void); /* or what all of them hold: that first; */
    int answer;           /* and then he hears this */
    struct slip slip[LONE_SLIPS];
    struct slip_pairs pairs;
    unsigned given, tables;             /* slips that came back; how often the table of pairs was asked for */
    const struct slip_process *process; /* that are there */
    unsigned processes;
} lone = {.id = LONE_ID};

static bool lone_alive(uint64_t id) {
    if (lone.asked != NULL) lone.asked();
    return id != LONE_DEAD && id != 0;
}

static struct slip *lone_take(void) {
    for (unsigned i = 0; i < LONE_SLIPS && !lone.no_slips; i++) {
        if (lone.slip[i].thread == 0) return &lone.slip[i];
    }
    return NULL;
}

static void lone_give(struct slip *slip) {
    lone.given++;
    slip->thread = 0;
}

static struct slip_pairs *lone_pairs(void) {
    lone.tables++;
    if (lone.looked != NULL) lone.looked();
    return lone.no_pairs ? NULL : &lone.pairs;
}

static int lone_list(bool all, int (*seen)(void *, const struct slip_process *), void *context) {
    (void)all;
    if (lone.looked != NULL) lone.looked();
    int rc = lone.answer;
    for (unsigned i = 0; rc == 0 && i < lone.processes; i++) rc = seen(context, &lone.process[i]);
    return rc;
}

static int lone_each(int (*seen)(void *, const struct party_seen *), void *context) {
    if (lone.looked != NULL) lone.looked();
    int rc = lone.answer;
    for (unsigned i = 0; i < lone.processes; i++) {
        const struct slip_process *process = &lone.process[i];
        struct party_seen one = {.id = process->id, .pid = process->pid, .exe = process->exe, .alive = process->alive};
        if (process->slip == NULL && rc == 0) rc = seen(context, &one);
        for (unsigned j = 0; rc == 0 && j < process->slips; j++) {
            one.slip = &process->slip[j];
            rc = one.slip->thread == 0 ? 0 : seen(context, &one);
        }
    }
    return rc;
}

int party_lodge(struct party_host *host) {
    if (lone.refusal != 0) return err_say(lone.refusal, "there is no registry here");
    *host = (struct party_host){.id = lone.id,
                                .alive = lone_alive,
                                .take = lone_take,
                                .give = lone_give,
                                .pairs = lone_pairs,
                                .each = lone_each,
                                .list = lone.only_each ? NULL : lone_list};
    return 0;
}

/* ---- named points ---- */

void weave_pass(struct weave_point *point) {
    if (lone.act != NULL && strcmp(point->name, lone.point) == 0) {
        void (*act)(void) = lone.act;
        lone.act = NULL;
        act();
    }
}

struct weave_point *weave_points(size_t *count) {
    *count = 0;
    return NULL;
}

static inline void lone_at(const char *point, void (*act)(void)) {
    lone.point = point;
    lone.act = act;
}

/* ---- libc ---- */

static bool lone_spares(void) {
    return lone.fails == 0 || --lone.fails != 0;
}

#define LONE_CALL(type, name, ...)                                                                                     \
    extern type __real_##name(__VA_ARGS__);                                                                            \
    extern type __wrap_##name(__VA_ARGS__);
LONE_CALL(void *, malloc, size_t)
LONE_CALL(void *, calloc, size_t, size_t)
LONE_CALL(void *, realloc, void *, size_t)
LONE_CALL(void *, mmap, void *, size_t, int, int, int, off_t)
LONE_CALL(ssize_t, getrandom, void *, size_t, unsigned)
LONE_CALL(long, syscall, long, ...)

void *__wrap_malloc(size_t size) {
    return lone_spares() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t each) {
    return lone_spares() ? __real_calloc(count, each) : NULL;
}

void *__wrap_realloc(void *old, size_t size) {
    return lone_spares() ? __real_realloc(old, size) : NULL;
}

static long lone_refuse(int error) {
    errno = error;
    return -1;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t from) {
    return lone.no_page ? (void *)lone_refuse(ENOMEM) : __real_mmap(at, size, protection, flags, fd, from);
}

ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags) {
    return lone.no_random ? lone_refuse(EAGAIN) : __real_getrandom(bytes, size, flags);
}

long __wrap_syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_membarrier && lone.no_fence) return lone_refuse(EPERM);
    if (number == 449 /* futex_waitv */ && lone.no_many) return lone_refuse(ENOSYS);
    if (number == SYS_futex && (int)a[1] == 13 /* FUTEX_LOCK_PI2 */ && lone.lends != 0) {
        int error = lone.lends;
        lone.lends = 0;
        return lone_refuse(error);
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#endif
