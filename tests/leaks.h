/* SPDX-License-Identifier: MIT
 *
 * Who looks for leaks when it ends, where the address sanitizer is there: looking stops a process for longer than most children of a test
 * live. A process does, and so does the first that it forks; of the others only those that say so.
 */
#ifndef TESTS_LEAKS_H
#define TESTS_LEAKS_H

void leaks_look(void);

#endif
