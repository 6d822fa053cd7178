/* SPDX-License-Identifier: MIT
 *
 * Real-time signals of this process that a signalfd is to read: taken only if the program does not use them, and blocked in
 * every thread. Their default action would end the process, so that also a thread that unblocks one again, and an event that
 * comes when the end is closed already, must do no harm: a handler stays, puts the signal back where the signalfd finds it, and blocks
 * it in the thread that it came to.
 */
#ifndef MECH_CATCH_H
#define MECH_CATCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CATCH_MARK (-77) /* si_code of what this room sends to threads: a reader of the signalfd forgets it */

/* What the end that has taken a signal must keep. */
struct catch {
    int number;  /* 0: none */
    pid_t taker; /* the thread that took it, */
    bool opened; /* and whether it let the signal through before */
};

/* Takes the signal for the calling process and blocks it in all of its threads. Waits for threads that do not run, until then
 * (CLOCK_MONOTONIC, ns). Other threads' system calls may see EINTR once. 0; -EBUSY: the program uses that signal, or watches it
 * already; -ETIMEDOUT: a thread cannot be made to block it; all with a sentence. */
int catch_take(struct catch *, int number, const char *address, int64_t until);

/* Gives it back: after the signalfd is closed. The handler stays and does nothing; the calling thread's mask is again what it
 * was if it is the thread that took the signal. */
void catch_give(struct catch *);

/* Signals that came to a thread and could not be put back: since the process began. */
uint64_t catch_lost(int number);

#endif
