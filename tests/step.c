/* SPDX-License-Identifier: MIT
 *
 * Single steps by ptrace.
 */
#define _GNU_SOURCE
#include "tests/step.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/room.h"

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
