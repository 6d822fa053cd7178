/* SPDX-License-Identifier: MIT
 *
 * Single steps by ptrace.
 */
#define _GNU_SOURCE
#include "tests/step.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/room.h"

/* A run of bytes that became others. */
struct step_change {
    size_t from, count, bytes; /* where its bytes begin among all */
};

void step_mark(void) {
    (void)raise(SIGSTOP);
}

static bool stopped_at_mark(pid_t child) {
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
}

pid_t step_begin(int (*body)(void *), void *argument) {
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(100);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(77);
        }
        _exit(body(argument));
    }
    return child > 0 && stopped_at_mark(child) ? child : -1;
}

bool step_on(pid_t child, unsigned instructions) {
    for (unsigned i = 0; i < instructions; i++) {
        int status = 0;
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0 || waitpid(child, &status, 0) != child ||
            !WIFSTOPPED(status) || WSTOPSIG(status) == SIGSTOP) {
            return false;
        }
    }
    return true;
}

bool step_to_mark(pid_t child) {
    return ptrace(PTRACE_CONT, child, NULL, NULL) == 0 && stopped_at_mark(child);
}

int step_let(pid_t child) {
    for (;;) {
        int status = 0;
        (void)ptrace(PTRACE_CONT, child, NULL, NULL); /* its marks stop it no more */
        if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}

void step_kill(pid_t child) {
    (void)kill(child, SIGKILL);
    (void)room_reap(child);
}

void step_on_one_processor(void) {
    cpu_set_t one;
    int cpu = sched_getcpu();
    CPU_ZERO(&one);
    CPU_SET((size_t)(cpu < 0 ? 0 : cpu), &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

/* ---- the whole way ---- */

/* Room for so many elements. */
static void *reach(void *array, size_t count, size_t *room, size_t each) {
    if (count <= *room) {
        return array;
    }
    *room = 2 * count;
    void *larger = realloc(array, *room * each);
    if (larger == NULL) {
        abort();
    }
    return larger;
}

static void add_change(struct step_trace *trace, size_t from, size_t count) {
    trace->change = reach(trace->change, trace->states + 1, &trace->change_room, sizeof *trace->change);
    trace->bytes = reach(trace->bytes, trace->byte_count + count, &trace->byte_room, 1);
    trace->change[trace->states++] = (struct step_change){from, count, trace->byte_count};
    for (size_t i = 0; i < count; i++) { /* of the first state there are none */
        trace->bytes[trace->byte_count++] = trace->now[from + i] = trace->memory[from + i];
    }
}

/* What has changed since the state before. */
static void look(struct step_trace *trace) {
    size_t from = 0, end = trace->size;
    if (memcmp(trace->memory, trace->now, trace->size) == 0) {
        return;
    }
    while (trace->memory[from] == trace->now[from]) from++;
    while (trace->memory[end - 1] == trace->now[end - 1]) end--;
    add_change(trace, from, end - from);
}

static uintptr_t place_of(pid_t child) {
#if defined(__x86_64__)
    struct user_regs_struct registers;
    return ptrace(PTRACE_GETREGS, child, NULL, &registers) == 0 ? (uintptr_t)registers.rip : 0;
#else
    (void)child;
    return 0;
#endif
}

bool step_through(struct step_trace *trace, pid_t child, void *memory, size_t size) {
    *trace = (struct step_trace){.memory = memory, .size = size};
    if (child < 0) {
        return false;
    }
    trace->first = malloc(size);
    trace->now = malloc(size);
    if (trace->first == NULL || trace->now == NULL) {
        abort();
    }
    memcpy(trace->first, memory, size);
    memcpy(trace->now, memory, size);
    add_change(trace, 0, 0);
    do {
        trace->where = reach(trace->where, trace->instructions + 1, &trace->where_room, sizeof *trace->where);
        trace->where[trace->instructions] = place_of(child);
        look(trace);
    } while (step_on(child, 1) && ++trace->instructions != 0);
    step_kill(child);
    memcpy(memory, trace->first, size);
    memcpy(trace->now, trace->first, size);
    return true;
}

bool step_next(struct step_trace *trace) {
    if (trace->at + 1 >= trace->states) {
        return false;
    }
    const struct step_change *change = &trace->change[++trace->at];
    memcpy(trace->now + change->from, trace->bytes + change->bytes, change->count);
    memcpy(trace->memory, trace->now, trace->size);
    return true;
}

void step_forget(struct step_trace *trace) {
    free(trace->first);
    free(trace->now);
    free(trace->where);
    free(trace->change);
    free(trace->bytes);
    *trace = (struct step_trace){.states = 0};
}

/* ---- a part of the way, quickly ---- */

#if defined(__x86_64__)
#define TRAP 0xcc /* int3 */

static bool set_place(pid_t child, uintptr_t place) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, child, NULL, &registers) != 0) {
        return false;
    }
    registers.rip = place;
    return ptrace(PTRACE_SETREGS, child, NULL, &registers) == 0;
}

/* Runs until it comes by there, and stops before that instruction. */
static bool run_to(pid_t child, uintptr_t place) {
    int status = 0;
    long code = ptrace(PTRACE_PEEKTEXT, child, place, NULL);
    return ptrace(PTRACE_POKETEXT, child, place, (code & ~0xffL) | TRAP) == 0 &&
           ptrace(PTRACE_CONT, child, NULL, NULL) == 0 && waitpid(child, &status, 0) == child && WIFSTOPPED(status) &&
           WSTOPSIG(status) == SIGTRAP && place_of(child) == place + 1 && set_place(child, place) &&
           ptrace(PTRACE_POKETEXT, child, place, code) == 0;
}

/* The bytes of an instruction that repeats itself, such as rep movsb; 0: it is another one. */
static unsigned repeats(pid_t child) {
    uint64_t code = (uint64_t)ptrace(PTRACE_PEEKTEXT, child, place_of(child), NULL);
    bool wide = (code >> 8 & 0xff) == 0x48;
    unsigned what = code >> (wide ? 16 : 8) & 0xff;
    return (code & 0xff) == 0xf3 && (what == 0xa4 || what == 0xa5 || what == 0xaa || what == 0xab) ? 2 + wide : 0;
}

bool step_over(pid_t child) {
    unsigned bytes = repeats(child);
    return bytes != 0 ? run_to(child, place_of(child) + bytes) : step_on(child, 1);
}

bool step_to(pid_t child, const struct step_trace *trace, unsigned instruction) {
    uintptr_t place = trace->where[instruction];
    unsigned passes = 0;
    for (unsigned i = 1; i <= instruction; i++) passes += trace->where[i] == place;
    if (trace->where[0] == place) {
        return step_on(child, instruction);
    }
    for (unsigned i = 0; i < passes; i++) {
        if ((i != 0 && !step_on(child, 1)) || !run_to(child, place)) {
            return false;
        }
    }
    return true;
}
#else
bool step_over(pid_t child) {
    return step_on(child, 1);
}

bool step_to(pid_t child, const struct step_trace *trace, unsigned instruction) {
    (void)trace;
    return step_on(child, instruction);
}
#endif

/* ---- what others can see of it ---- */

#if defined(__x86_64__)
extern const char step_gate[];
__asm__(".pushsection .text\nstep_gate: syscall\nint3\n.popsection");

static bool wait_for_trap(pid_t child) {
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

/* The child makes that system call. */
static bool make_it_protect(pid_t child, const struct iovec *part, int rights) {
    struct user_regs_struct own, call;
    if (ptrace(PTRACE_GETREGS, child, NULL, &own) != 0) {
        return false;
    }
    call = own;
    call.rip = (uintptr_t)step_gate;
    call.orig_rax = UINT64_MAX;
    call.rax = SYS_mprotect;
    call.rdi = (uintptr_t)part->iov_base;
    call.rsi = part->iov_len;
    call.rdx = (unsigned)rights;
    return ptrace(PTRACE_SETREGS, child, NULL, &call) == 0 && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0 &&
           wait_for_trap(child) && ptrace(PTRACE_SETREGS, child, NULL, &own) == 0;
}

static void protect_parts(const struct step_watch *watch, int rights) {
    for (size_t i = 0; i < watch->count; i++) {
        (void)make_it_protect(watch->child, &watch->part[i], rights);
    }
}

static bool protect_new(struct step_watch *watch, FILE *maps) {
    char line[600], rights[5], path[400];
    unsigned long long from, end;
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%llx-%llx %4s %*s %*s %*s %399s", &from, &end, rights, path) == 4 &&
            strcmp(rights, "rw-s") == 0 && strncmp(path, watch->below, strlen(watch->below)) == 0) {
            struct iovec part = {(void *)(uintptr_t)from, (size_t)(end - from)};
            watch->part = reach(watch->part, watch->count + 1, &watch->room, sizeof *watch->part);
            watch->part[watch->count++] = part;
            if (!make_it_protect(watch->child, &part, PROT_READ)) {
                return false;
            }
        }
    }
    return true;
}

/* What it has mapped since the last time. */
static bool look_at_maps(struct step_watch *watch) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)watch->child);
    FILE *maps = fopen(path, "re");
    bool well = maps != NULL && protect_new(watch, maps);
    if (maps != NULL) {
        (void)fclose(maps);
    }
    return well;
}

bool step_watch(struct step_watch *watch, pid_t child, const char *below) {
    *watch = (struct step_watch){.child = child, .below = below};
    return child > 0 && ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD) == 0 && look_at_maps(watch);
}

static const struct iovec *part_of_fault(const struct step_watch *watch) {
    siginfo_t info;
    if (ptrace(PTRACE_GETSIGINFO, watch->child, NULL, &info) == 0) {
        for (size_t i = watch->count; i-- > 0;) {
            uintptr_t from = (uintptr_t)watch->part[i].iov_base, at = (uintptr_t)info.si_addr;
            if (from <= at && at - from < watch->part[i].iov_len) {
                return &watch->part[i];
            }
        }
    }
    return NULL;
}

/* It stands before a store that faults: makes it, and what else the same instruction stores. */
static enum step_event let_it_store(const struct step_watch *watch) {
    const struct iovec *part = part_of_fault(watch);
    if (part == NULL) {
        return STEP_OVER;
    }
    unsigned long bytes = repeats(watch->child);
    if (bytes != 0) {
        protect_parts(watch, PROT_READ | PROT_WRITE);
        bool well = run_to(watch->child, place_of(watch->child) + bytes);
        protect_parts(watch, PROT_READ);
        return well ? STEP_STORE : STEP_OVER;
    }
    int status = 0;
    if (!make_it_protect(watch->child, part, PROT_READ | PROT_WRITE) ||
        ptrace(PTRACE_SINGLESTEP, watch->child, NULL, NULL) != 0 || waitpid(watch->child, &status, 0) != watch->child ||
        !WIFSTOPPED(status)) {
        return STEP_OVER;
    }
    enum step_event event = WSTOPSIG(status) == SIGTRAP   ? STEP_STORE
                            : WSTOPSIG(status) == SIGSEGV ? let_it_store(watch)
                                                          : STEP_OVER;
    return make_it_protect(watch->child, part, PROT_READ) ? event : STEP_OVER;
}

enum step_event step_event(struct step_watch *watch) {
    int status = 0;
    if (ptrace(PTRACE_SYSCALL, watch->child, NULL, NULL) != 0 || waitpid(watch->child, &status, 0) != watch->child ||
        !WIFSTOPPED(status)) {
        return STEP_OVER;
    }
    if (WSTOPSIG(status) == SIGSEGV) {
        return let_it_store(watch);
    }
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
        return STEP_OVER;
    }
    watch->within = !watch->within;
    return watch->within ? STEP_CALL : look_at_maps(watch) ? STEP_CALLED : STEP_OVER;
}

/* From before a system call to behind it, without it. */
static void pass_call_by(pid_t child) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, child, NULL, &registers) == 0) {
        registers.orig_rax = UINT64_MAX;
        (void)ptrace(PTRACE_SETREGS, child, NULL, &registers);
        (void)ptrace(PTRACE_SYSCALL, child, NULL, NULL);
        (void)waitpid(child, NULL, 0);
    }
}

static void let_it_write(const struct step_watch *watch) {
    if (watch->within) {
        pass_call_by(watch->child);
    }
    protect_parts(watch, PROT_READ | PROT_WRITE);
}
#else
static void let_it_write(const struct step_watch *watch) {
    (void)watch;
}

bool step_watch(struct step_watch *watch, pid_t child, const char *below) {
    *watch = (struct step_watch){.child = child, .below = below};
    return false;
}

enum step_event step_event(struct step_watch *watch) {
    (void)watch;
    return STEP_OVER;
}
#endif

void step_unwatch(struct step_watch *watch) {
    let_it_write(watch);
    free(watch->part);
    *watch = (struct step_watch){.child = 0};
}
