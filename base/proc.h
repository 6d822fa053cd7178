/* SPDX-License-Identifier: MIT
 *
 * Which process is this: its identity, and a word that a forked child finds wiped. Two copies of the library in one program
 * give the same identity.
 */
#ifndef BASE_PROC_H
#define BASE_PROC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"

struct proc {
    int64_t pid;
    uint64_t started;   /* in clock ticks since boot; 0 without /proc */
    uint64_t pid_space; /* inode of its PID namespace; 0 without /proc */
    char boot[40];      /* boot id, "" without /proc */
    char exe[256];      /* path of the program, "" without /proc */
};
LAYOUT(proc, 320, exe, 64);

/* Starts the epoch of this process, unless it has one. An end is of this process while proc_epoch() is what this returned
 * when it was opened. 0 when the kernel refuses the page that makes it work, with a sentence. */
uint32_t proc_begin(void);

/* 0 in a process that has not begun, a forked child among them; otherwise its epoch. */
extern const uint32_t *proc_page __attribute__((visibility("hidden")));
static inline uint32_t proc_epoch(void) {
    return atomic_peek(atomic_peek(&proc_page));
}

/* Fills in who this process is. */
void proc_self(struct proc *);

/* A number that tells processes of one machine apart, well enough to ask "is it me?"; never 0. */
uint32_t proc_number(const struct proc *);

/* The short name of a program: the last part of a path, "?" for "". Points into path. */
const char *proc_name(const char *path);

/* The processor that the calling thread runs on, or UINT32_MAX. */
uint32_t proc_cpu(void);

/* Shows it to others, who look often: as long as it stays the same, they need not fetch the line again. Answers it. */
uint32_t proc_show_cpu(uint32_t *place);

/* Is there no thread of that number in this PID namespace that still runs? */
bool proc_ended(int64_t thread);

/* How the kernel says a thread of a process is (thread 0: the process): 'T' stopped, 'Z' ended, … ; '\0': there is none, or no /proc. */
char proc_state(int64_t pid, int64_t thread);

/* How many threads a process has; -1: not known. */
int proc_threads(int64_t pid);

/* A descriptor that becomes readable when the process ends, or -errno. */
int proc_pidfd(int64_t pid);

#endif
