/* SPDX-License-Identifier: MIT
 *
 * A process that is led through an operation one instruction at a time, so that it can be left, or killed, at any of them.
 */
#ifndef TESTS_STEP_H
#define TESTS_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Forks a child that runs body(argument) up to its first step_mark. */
pid_t step_begin(int (*body)(void *), void *argument);

/* In the child: the operation begins, and, the second time, is over. */
void step_mark(void);

/* Lets it go on by so many instructions. false: the operation is over. */
bool step_on(pid_t, unsigned instructions);

/* Likewise by one, where an instruction that repeats itself, such as rep movsb, is one. */
bool step_over(pid_t);

/* Lets it run on to its next step_mark. false: it is gone. */
bool step_to_mark(pid_t);

/* Lets it run on until the operation is over, and it ends. Its exit status as room_reap has it. */
int step_let(pid_t);

void step_kill(pid_t);

/* An operation from its beginning to its end, and what memory was like meanwhile. */
struct step_trace {
    unsigned instructions;
    unsigned states; /* that memory was in, one after the other; the first is that before the first instruction */
    unsigned at;     /* the state that it is in */
    unsigned char *memory, *first, *now;
    size_t size;
    uintptr_t *where; /* of each instruction; likewise each change, and what it made of memory */
    struct step_change *change;
    unsigned char *bytes;
    size_t where_room, change_room, byte_count, byte_room;
};

/* Leads the child through all of it, notes what memory was like behind each instruction that changed something there, and kills it at the end:
 * whatever instruction it had been killed at, it would have left one of these states. false: nobody can be traced here. Pairs with
 * step_forget, also then. Memory is in the first state again. */
bool step_through(struct step_trace *, pid_t, void *memory, size_t size);

/* Makes memory what it was in the next state. false: that was the last. */
bool step_next(struct step_trace *);
void step_forget(struct step_trace *);

/* Lets another child, at the beginning of the same operation, go on until so many of its instructions are done; it stops only where it comes by
 * the last of them. false: it took another way. */
bool step_to(pid_t, const struct step_trace *, unsigned instruction);

/* ---- what others can see of it ---- */

/* All that other processes can see of what one does, one thing after the other: what it stores to memory that it shares with them, and its system
 * calls. Between two of them nothing changes for anybody else; so a process that is killed there is as if killed behind the first. */
enum step_event {
    STEP_OVER,   /* the operation is over, or the child is gone */
    STEP_STORE,  /* it stands behind an instruction that stored something to memory that is shared */
    STEP_CALL,   /* before a system call: killed there, it does not come to pass */
    STEP_CALLED, /* behind it */
};

/* A child, and the files below a directory that it has mapped and may write to. They are made read-only for it, so that each store is a fault; then it runs
 * as fast as it can. */
struct step_watch {
    pid_t child;
    const char *below;
    struct iovec *part;
    size_t count, room; /* of parts */
    bool within;        /* a system call */
};

/* false: nobody can be watched here. Pairs with step_unwatch, also then. */
bool step_watch(struct step_watch *, pid_t, const char *below);

/* Lets it go on to the next event. */
enum step_event step_event(struct step_watch *);

/* It may write there again: so does the kernel, on its behalf, when it dies. Whoever stands before a system call does not make it. Kill it then. */
void step_unwatch(struct step_watch *);

/* A step is two changes of process: there is no need to wake another processor for each. For the calling thread and its children. */
void step_on_one_processor(void);

#endif
