/* SPDX-License-Identifier: MIT
 *
 * Calls of libc that fail on purpose. See fault.h. Arguments are handed on as registers: no call here has more than six, nor one that is
 * no word.
 */
#define _GNU_SOURCE
#include "tests/fault/fault.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/fault/calls.h"

#define CALL(name, result, done, ...) CALL_##name,
#define KERNEL(name, number, ...) KERNEL_##name,
enum { FAULT_CALLS(CALL) FAULT_KERNEL(KERNEL) COUNT };
#undef CALL
#undef KERNEL

#define CALL(name, result, done, ...) [CALL_##name] = {#name, {__VA_ARGS__}},
#define KERNEL(name, number, ...) [KERNEL_##name] = {#name, {__VA_ARGS__}},
const struct fault_call fault_calls[] = {FAULT_CALLS(CALL) FAULT_KERNEL(KERNEL)};
const size_t fault_count = COUNT;
#undef CALL
#undef KERNEL

bool fault_armed;
void (*fault_meanwhile)(void);
unsigned fault_passes[COUNT];
uintptr_t fault_site;
long fault_blocks;

static struct fault set;
static unsigned given_back; /* descriptors, since all that are wanted are refused */
extern const char __executable_start[];

void fault_set(const struct fault *fault) {
    set = *fault;
    fault_site = 0;
    given_back = 0;
    for (size_t i = 0; i < COUNT; i++) {
        fault_passes[i] = 0;
    }
}

size_t fault_find(const char *name) {
    size_t call = 0;
    while (strcmp(fault_calls[call].name, name) != 0) {
        call++;
    }
    return call;
}

bool fault_lasts(int error) {
    static const int lasting[] = {EMFILE, ENFILE, ENOMEM, ENOSPC,      ENOSYS,     ENOBUFS,   ENOLCK,    EACCES,
                                  EPERM,  EROFS,  EIO,    ENOPROTOOPT, EOPNOTSUPP, EAI_AGAIN, EAI_MEMORY};
    for (size_t i = 0; i < sizeof lasting / sizeof *lasting; i++) {
        if (error == lasting[i]) {
            return true;
        }
    }
    return false;
}

static bool fails(size_t call, const void *from) {
    if (!fault_armed) {
        return false;
    }
    unsigned pass = ++fault_passes[call];
    given_back += call == CALL_close && fault_site != 0;
    bool hit = set.pass != 0 && call == set.call && (set.lasting ? pass >= set.pass : pass == set.pass);
    if (hit && (set.error == EMFILE || set.error == ENFILE) && given_back > 0) {
        given_back--; /* what was closed can be opened again */
        hit = false;
    }
    if (hit) {
        fault_site = (uintptr_t)from - (uintptr_t)__executable_start;
        if (getenv("FAULT_SAY") != NULL) {
            (void)dprintf(2, "%s fails at %#lx\n", fault_calls[call].name, (unsigned long)fault_site - 1);
        }
    }
    if (hit && fault_meanwhile != NULL) {
        fault_armed = false;
        fault_meanwhile();
        fault_armed = true;
        hit = false;
    }
    return hit;
}

static long refuse(int result) {
    if (result == FAULT_CODE) {
        return set.error;
    }
    errno = set.error;
    return result == FAULT_NULL ? 0 : -1;
}

#define WORDS long a, long b, long c, long d, long e, long f
long __real_fstat(WORDS);
#define CALL(name, result, done, ...)                                                                                  \
    long __real_##name(WORDS);                                                                                         \
    long __wrap_##name(WORDS);                                                                                         \
    long __wrap_##name(WORDS) {                                                                                        \
        if (!(CALL_##name == CALL_write && is_fifo((int)a)) && fails(CALL_##name, __builtin_return_address(0))) {      \
            if (done) (void)__real_##name(a, b, c, d, e, f);                                                           \
            return refuse(result);                                                                                     \
        }                                                                                                              \
        long answer = __real_##name(a, b, c, d, e, f);                                                                 \
        count_block(CALL_##name, a, answer);                                                                           \
        return answer;                                                                                                 \
    }

/* A byte to a FIFO is always taken, unless that is full. */
static bool is_fifo(int fd) {
    struct stat status;
    return __real_fstat(fd, (long)(uintptr_t)&status, 0, 0, 0, 0) == 0 && S_ISFIFO(status.st_mode);
}

static void count_block(size_t call, long argument, long answer) {
    bool gives = call == CALL_malloc || call == CALL_calloc || call == CALL_aligned_alloc ||
                 (call == CALL_realloc && argument == 0);
    if (gives && answer != 0) {
        fault_blocks++;
    }
}

FAULT_CALLS(CALL)

void __real_free(void *);
void __wrap_free(void *);
void __wrap_free(void *block) {
    fault_blocks -= block != NULL;
    __real_free(block);
}

long __real_syscall(long number, WORDS);
long __wrap_syscall(long number, WORDS);
long __wrap_syscall(long number, WORDS) {
#define KERNEL(name, is, ...)                                                                                          \
    if (number == (is) && fails(KERNEL_##name, __builtin_return_address(0))) {                                         \
        return refuse(FAULT_MINUS);                                                                                    \
    }
    FAULT_KERNEL(KERNEL)
    return __real_syscall(number, a, b, c, d, e, f);
}
