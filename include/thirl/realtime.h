/* SPDX-License-Identifier: MIT
 *
 * Real time: memory that is there, processors that are one's own, a priority; each asked of the kernel, and looked at afterwards.
 *
 * What an open end, a state, a cache or a lock needs is mapped by opening it. So a program opens what it uses, and then calls this, from
 * each thread that is to be on time. From then on sending, receiving, loaning, reading a state and locking allocate nothing, touch no page
 * for the first time, and make a system call only to sleep and to wake.
 */
#ifndef THIRL_REALTIME_H
#define THIRL_REALTIME_H

#include <thirl/thirl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What can be asked for. */
enum thirl_realtime_part {
    THIRL_REALTIME_MEMORY = 1,     /* of this process */
    THIRL_REALTIME_STACK = 2,      /* of the calling thread, as the following */
    THIRL_REALTIME_PROCESSORS = 4, /* where it runs */
    THIRL_REALTIME_SCHEDULING = 8  /* its policy and priority */
};
#define THIRL_REALTIME_PARTS 4
#define THIRL_PROCESSORS_MAX 1024

/* A positive answer: not all was had. */
#define THIRL_PARTLY 18

struct thirl_realtime_options {
    size_t size;     /* sizeof (struct thirl_realtime_options): set it first */
    uint32_t memory; /* 1: all memory is locked, also what comes later, and is there now, pools of open ends included */
    uint32_t policy; /* SCHED_FIFO or SCHED_RR, of <sched.h>; 0: as it is */
    uint32_t priority; /* 1 to 99, with a policy */
    uint32_t zero;
    uint64_t stack;                                 /* bytes of stack that are there now; 0: as it is */
    uint64_t processors[THIRL_PROCESSORS_MAX / 64]; /* it runs on: bit n % 64 of word n / 64; none: as it is */
};

struct thirl_realtime_report {
    size_t size;         /* likewise */
    uint32_t asked, had; /* enum thirl_realtime_part, or-ed: had is part of asked */
    /* As the kernel says it afterwards, whatever was asked: */
    uint32_t policy, priority;
    uint64_t processors[THIRL_PROCESSORS_MAX / 64];
    uint64_t locked; /* bytes of this process's memory that are locked */
    uint64_t absent; /* bytes of its memory that could be touched, and are not locked or not there; only with memory */
    uint64_t stack;  /* bytes of stack that are there; only with stack */
    /* What could not be had: which limit it is, and what to do. In the order of enum thirl_realtime_part; else "". */
    char why[THIRL_REALTIME_PARTS][256];
};

/* Asks for all that the options say, and goes on where something cannot be had. 0: it was had; THIRL_PARTLY: see the report, of which
 * thirl_why has the first sentence. report may be NULL. May be called again, for a further thread or when more was opened. -EINVAL: the
 * options are none. May allocate, read /proc, and take as long as it takes to fill the memory. */
THIRL_API THIRL_CHECK int thirl_realtime(const struct thirl_realtime_options *options,
                                         struct thirl_realtime_report *report);

#ifdef __cplusplus
}
#endif
#endif
