/* SPDX-License-Identifier: MIT
 *
 * What a thread needs to be on time, asked of the kernel part by part, and looked at afterwards: a call that succeeds may have done less
 * than it was asked for.
 */
#define _GNU_SOURCE
#include "include/thirl/realtime.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

#define KIB UINT64_C(1024)
#define WORDS (THIRL_PROCESSORS_MAX / 64)
#define CAP_NICE 23 /* CAP_SYS_NICE, as a bit of CapEff */
#define LIST_MAX 64

enum part { MEMORY, STACK, PROCESSORS, SCHEDULING };

static void had(struct thirl_realtime_report *r, enum part part) {
    r->had |= 1u << part;
}

__attribute__((format(printf, 3, 4))) static void lack(struct thirl_realtime_report *r, enum part part,
                                                       const char *format, ...) {
    va_list list;
    va_start(list, format);
    (void)vsnprintf(r->why[part], sizeof r->why[part], format, list);
    va_end(list);
}

/* A number from /proc/self/status, or 0. */
static uint64_t status_of(const char *name, int base) {
    char line[256];
    uint64_t value = 0;
    size_t length = strlen(name);
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            value = strtoull(line + length + 1, NULL, base);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return value;
}

/* ---- memory ---- */

/* One mapping, as /proc/self/smaps tells it. */
struct region {
    uint64_t size, there;
    bool readable, locked, special; /* special: the kernel's own, or of a device: never locked */
};

/* Behind the end of a file there is nothing to touch. */
static uint64_t within_file(const char *path, uint64_t offset, uint64_t size) {
    struct stat status;
    if (*path != '/' || stat(path, &status) != 0 || !S_ISREG(status.st_mode)) {
        return size;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = ((uint64_t)status.st_size + page - 1) / page * page;
    return end <= offset ? 0 : end - offset < size ? end - offset : size;
}

/* A line that begins one. */
static bool begin(struct region *region, const char *line) {
    unsigned long long first, last, offset;
    char rights[8], path[400] = "";
    if (sscanf(line, "%llx-%llx %7s %llx %*s %*s %399s", &first, &last, rights, &offset, path) < 4) {
        return false;
    }
    *region = (struct region){.size = within_file(path, offset, last - first), .readable = *rights == 'r'};
    return true;
}

static void read_flags(struct region *region, const char *flags) {
    static const char *const special[] = {"io", "pf", "de", "mm", "ht"};
    region->locked = strstr(flags, " lo") != NULL;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        char flag[8];
        (void)snprintf(flag, sizeof flag, " %s", special[i]);
        region->special = region->special || strstr(flags, flag) != NULL;
    }
}

/* Bytes that could be touched, and are not locked, or not there. */
static uint64_t count_absent(void) {
    struct region region = {.special = true};
    char line[600];
    uint64_t absent = 0;
    FILE *file = fopen("/proc/self/smaps", "re");
    if (file == NULL) {
        return UINT64_MAX;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (begin(&region, line)) {
            continue;
        }
        if (strncmp(line, "Rss:", 4) == 0) {
            region.there = strtoull(line + 4, NULL, 10) * KIB;
        } else if (strncmp(line, "VmFlags:", 8) == 0) {
            read_flags(&region, line + 8);
            uint64_t there = region.locked ? region.there : 0;
            absent += region.special || !region.readable || there >= region.size ? 0 : region.size - there;
        }
    }
    (void)fclose(file);
    return absent;
}

static void take_memory(struct thirl_realtime_report *r) {
    struct rlimit limit = {0, 0};
    int error = mlockall(MCL_CURRENT | MCL_FUTURE) == 0 ? 0 : errno;
    r->absent = count_absent();
    if (error == 0 && r->absent == 0) {
        had(r, MEMORY);
    } else if (error == 0) {
        lack(r, MEMORY,
             "%llu KiB of the memory of this process are not there although it is locked: is the file system of the "
             "registry full? Make room there, or open with smaller pools (?pool=)",
             (unsigned long long)(r->absent / KIB));
    } else {
        (void)getrlimit(RLIMIT_MEMLOCK, &limit);
        lack(r, MEMORY,
             "memory cannot be locked (%s): %llu KiB are mapped, and RLIMIT_MEMLOCK is %llu KiB: raise it (ulimit -l, "
             "LimitMEMLOCK=, memlock in limits.conf), or give CAP_IPC_LOCK",
             strerror(error), (unsigned long long)status_of("VmSize", 10),
             (unsigned long long)(limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur) / KIB);
    }
}

/* ---- stack ---- */

#define STEP 4096 /* no page is smaller */

/* Each step has a page of its own, which the compiler may not leave out. */
__attribute__((noinline)) static void touch(uint64_t bytes) {
    unsigned char page[STEP];
    memset(page, 0, sizeof page);
    __asm__ __volatile__("" : : "r"(page) : "memory");
    if (bytes > STEP) {
        touch(bytes - STEP);
    }
    __asm__ __volatile__("" : : "r"(page) : "memory"); /* not a loop in one place */
}

/* How many bytes below the caller the stack may take. */
static uint64_t stack_left(const void *here) {
    pthread_attr_t attr;
    void *first;
    size_t size, guard = 0;
    uint64_t left = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        if (pthread_attr_getstack(&attr, &first, &size) == 0 && pthread_attr_getguardsize(&attr, &guard) == 0) {
            uintptr_t lowest = (uintptr_t)first + guard;
            left = (uintptr_t)here > lowest ? (uintptr_t)here - lowest : 0;
        }
        (void)pthread_attr_destroy(&attr);
    }
    return left;
}

/* How many bytes below here are in memory without a gap, of that many. */
static uint64_t stack_there(const void *here, uint64_t bytes) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), there = 0;
    uintptr_t at = (uintptr_t)here / page * page;
    unsigned char is = 1;
    while (there < bytes && at > page && mincore((void *)at, page, &is) == 0 && (is & 1) != 0) {
        there += page;
        at -= page;
    }
    return there < bytes ? there : bytes;
}

#define SPARE (16 * KIB) /* for the calls that touch it, and for a signal */

__attribute__((noinline)) static void take_stack(struct thirl_realtime_report *r, uint64_t bytes) {
    unsigned char here = 0;
    uint64_t left = stack_left(&here);
    if (bytes + SPARE > left) {
        lack(r, STACK,
             "the stack of this thread has %llu KiB left, %llu are wanted and %llu spare: raise ulimit -s before the "
             "program starts, or of a thread pthread_attr_setstacksize",
             (unsigned long long)(left / KIB), (unsigned long long)(bytes / KIB), (unsigned long long)(SPARE / KIB));
        return;
    }
    touch(bytes);
    r->stack = stack_there(&here, bytes);
    if (r->stack >= bytes) {
        had(r, STACK);
    } else {
        lack(r, STACK, "of the stack %llu KiB are there, and %llu are wanted: the machine is short of memory",
             (unsigned long long)(r->stack / KIB), (unsigned long long)(bytes / KIB));
    }
}

/* ---- processors ---- */

static bool any(const uint64_t *set) {
    uint64_t all = 0;
    for (size_t i = 0; i < WORDS; i++) all |= set[i];
    return all != 0;
}

/* false: there is no more room. */
static bool add_range(char text[LIST_MAX], unsigned first, unsigned last) {
    size_t used = strlen(text);
    const char *comma = used != 0 ? "," : "";
    if (used + 16 >= LIST_MAX) {
        (void)snprintf(text + used, LIST_MAX - used, "…");
        return false;
    }
    if (first == last) {
        (void)snprintf(text + used, LIST_MAX - used, "%s%u", comma, first);
    } else {
        (void)snprintf(text + used, LIST_MAX - used, "%s%u-%u", comma, first, last);
    }
    return true;
}

/* "0-3,8" */
static const char *list(char text[LIST_MAX], const uint64_t *set) {
    *text = '\0';
    for (unsigned i = 0, begins = 0; i <= THIRL_PROCESSORS_MAX; i++) {
        bool in = i < THIRL_PROCESSORS_MAX && (set[i / 64] >> i % 64 & 1) != 0;
        bool before = i > 0 && (set[(i - 1) / 64] >> (i - 1) % 64 & 1) != 0;
        begins = in && !before ? i : begins;
        if (before && !in && !add_range(text, begins, i - 1)) {
            break;
        }
    }
    return text;
}

/* The kernel takes those of the set that this process may use, and refuses only when there is none. */
static void take_processors(struct thirl_realtime_report *r, const uint64_t *wanted) {
    char some[LIST_MAX], all[LIST_MAX];
    int error = sched_setaffinity(0, WORDS * sizeof *wanted, (const cpu_set_t *)(const void *)wanted) == 0 ? 0 : errno;
    (void)sched_getaffinity(0, sizeof r->processors, (cpu_set_t *)(void *)r->processors);
    if (error == 0 && memcmp(r->processors, wanted, sizeof r->processors) == 0) {
        had(r, PROCESSORS);
    } else {
        lack(r, PROCESSORS,
             "processors %s cannot all be had (%s), this thread runs on %s: are they there, and in the cpuset of its "
             "cgroup (cpuset.cpus, AllowedCPUs=)?",
             list(some, wanted), error != 0 ? strerror(error) : "fewer were given", list(all, r->processors));
    }
}

/* ---- scheduling ---- */

static const char *policy_name(uint32_t policy) {
    return policy == SCHED_FIFO ? "SCHED_FIFO" : policy == SCHED_RR ? "SCHED_RR" : "the usual policy";
}

static void look_scheduling(struct thirl_realtime_report *r) {
    struct sched_param param = {0};
    int policy = sched_getscheduler(0);
    (void)sched_getparam(0, &param);
    r->policy = policy < 0 ? 0 : (uint32_t)policy & ~(uint32_t)SCHED_RESET_ON_FORK;
    r->priority = (uint32_t)param.sched_priority;
}

static void take_scheduling(struct thirl_realtime_report *r, uint32_t policy, uint32_t priority) {
    const struct sched_param param = {.sched_priority = (int)priority};
    struct rlimit limit = {0, 0};
    int error = sched_setscheduler(0, (int)policy, &param) == 0 ? 0 : errno;
    look_scheduling(r);
    if (error == 0 && r->policy == policy && r->priority == priority) {
        had(r, SCHEDULING);
        return;
    }
    (void)getrlimit(RLIMIT_RTPRIO, &limit);
    if (error == EPERM && limit.rlim_cur < priority && (status_of("CapEff", 16) >> CAP_NICE & 1) == 0) {
        lack(r, SCHEDULING,
             "%s with priority %u needs CAP_SYS_NICE, or an RLIMIT_RTPRIO of as much, and that is %llu: raise it "
             "(ulimit "
             "-r, LimitRTPRIO=, rtprio in limits.conf)",
             policy_name(policy), priority, (unsigned long long)limit.rlim_cur);
    } else if (error == EPERM) {
        lack(
            r, SCHEDULING,
            "%s with priority %u is allowed to this process, and its cgroup refuses it: give the cgroup real-time time "
            "(cpu.rt_runtime_us), or move the process to one that has some",
            policy_name(policy), priority);
    } else {
        lack(r, SCHEDULING, "%s with priority %u cannot be had (%s), this thread has %s with %u", policy_name(policy),
             priority, error != 0 ? strerror(error) : "the kernel gave less", policy_name(r->policy), r->priority);
    }
}

/* ---- all of it ---- */

static int check(struct thirl_realtime_options *o, const struct thirl_realtime_options *given,
                 const struct thirl_realtime_report *report) {
    if (given == NULL || given->size < sizeof given->size || given->size > sizeof *o ||
        (report != NULL && (report->size < sizeof report->size || report->size > 65536))) {
        return err_say(EINVAL, "thirl_realtime: set the size fields of options and report to their sizeof first");
    }
    memcpy(o, given, given->size);
    if (o->policy != 0 && o->policy != SCHED_FIFO && o->policy != SCHED_RR) {
        return err_say(EINVAL, "thirl_realtime: the policy %u is neither SCHED_FIFO nor SCHED_RR", o->policy);
    }
    if ((o->policy == 0) != (o->priority == 0) || o->priority > 99 || o->memory > 1) {
        return err_say(EINVAL,
                       "thirl_realtime: a policy has a priority of 1 to 99, not %u, and memory is 0 or 1, not %u",
                       o->priority, o->memory);
    }
    return 0;
}

/* The priority comes last: what takes its time is done before. */
static void take(struct thirl_realtime_report *r, const struct thirl_realtime_options *o) {
    if (o->stack != 0) {
        r->asked |= THIRL_REALTIME_STACK;
        take_stack(r, o->stack);
    }
    if (o->memory != 0) {
        r->asked |= THIRL_REALTIME_MEMORY;
        take_memory(r);
    }
    if (any(o->processors)) {
        r->asked |= THIRL_REALTIME_PROCESSORS;
        take_processors(r, o->processors);
    } else {
        (void)sched_getaffinity(0, sizeof r->processors, (cpu_set_t *)(void *)r->processors);
    }
    look_scheduling(r);
    if (o->policy != 0) {
        r->asked |= THIRL_REALTIME_SCHEDULING;
        take_scheduling(r, o->policy, o->priority);
    }
    r->locked = status_of("VmLck", 10) * KIB;
}

int thirl_realtime(const struct thirl_realtime_options *options, struct thirl_realtime_report *report) {
    struct thirl_realtime_options o = {.size = sizeof o};
    struct thirl_realtime_report r = {.size = sizeof r};
    int rc = check(&o, options, report);
    if (rc != 0) {
        return rc;
    }
    take(&r, &o);
    if (report != NULL) {
        size_t size = report->size, shared = size < sizeof r ? size : sizeof r;
        memset(report, 0, size);
        memcpy(report, &r, shared);
        report->size = size;
    }
    for (size_t i = 0; i < THIRL_REALTIME_PARTS; i++) {
        if (*r.why[i] != '\0') {
            (void)err_say(EPERM, "%s", r.why[i]);
            return THIRL_PARTLY;
        }
    }
    return 0;
}
