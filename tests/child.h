/* SPDX-License-Identifier: MIT
 *
 * For tests of pipe://: children that are handed the other end, and do as the name says that they are given.
 */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "include/thirl/thirl.h"

#define CHILD_TELLS 100000u /* events, 0 to 4 in turn */

extern const char *const child_program; /* this one */
extern unsigned char child_sent[3 << 20], child_got[3 << 20];

thirl *child_open(enum thirl_role, const char *address);

/* Hands the end to a child that was made by exec, or only by fork. */
pid_t child_start(thirl *end, const char *what, bool exec);

/* Does that here: for main, whose arguments they are after an exec. 99: nobody is called so. */
int child_run(const char *what, const char *address);

/* Bytes that follow from the seed, in child_sent. The three that a child says who is called three, stay or clone. */
void child_fill(size_t size, unsigned seed);
void child_hear_three(thirl *end);

#endif
