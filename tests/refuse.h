/* SPDX-License-Identifier: MIT
 *
 * A kernel that says no: for children, which see to it that one of their system calls fails from now on, and cannot take that back.
 */
#ifndef TESTS_REFUSE_H
#define TESTS_REFUSE_H

#include <stdint.h>

#define REFUSE_SKIP 77 /* nobody may be refused anything here */

/* Each call of that number (SYS_…) fails with that error. 0, or REFUSE_SKIP. */
int refuse(long call, int error);

/* Only those whose argument of that place (from 0) has that value under the mask. */
int refuse_where(long call, int error, unsigned argument, uint32_t mask, uint32_t value);

/* Whoever asks what an open file is (fstat), or what is behind a name (fstatat). */
int refuse_fstat(int error);
int refuse_fstatat(int error);

#endif
