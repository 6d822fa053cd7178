/* SPDX-License-Identifier: MIT
 *
 * A process that is led through an operation one instruction at a time, so that it can be left, or killed, at any of them.
 */
#ifndef TESTS_STEP_H
#define TESTS_STEP_H

#include <stdbool.h>
#include <sys/types.h>

/* Forks a child that runs body(argument) up to its first step_mark. */
pid_t step_begin(int (*body)(void *), void *argument);

/* In the child: the operation begins, and, the second time, is over. */
void step_mark(void);

/* Lets it go on by so many instructions. false: the operation is over. */
bool step_on(pid_t, unsigned instructions);

/* Lets it run on until the operation is over, and it ends. Its exit status as room_reap has it. */
int step_let(pid_t);

void step_kill(pid_t);

#endif
