/* SPDX-License-Identifier: MIT
 *
 * Operations of locks that are killed at each of their instructions. A process that is killed leaves memory as it is at that instruction: so each
 * operation is led through once, and all that memory was meanwhile is looked behind.
 */
#ifndef TESTS_STRIDE_H
#define TESTS_STRIDE_H

#include <stddef.h>

/* What is killed in the midst: what has to be so before, what it does, and what the next one makes of it. */
struct stride {
    const char *name;
    int (*earlier)(void); /* of others */
    int (*before)(void);
    int (*itself)(void);
    int (*behind)(void);
};

int stride_nothing(void);

/* Another one, who takes what is waited for, and gives it when the operation sleeps. */
struct stride_partner {
    int (*take)(void), (*give)(void);
};

int stride_meet(const struct stride_partner *);

int stride_begin(void **state); /* of a group, with room_end */

/* All of them, in that memory, which anew makes as new. */
void stride_through(const struct stride *, size_t count, void (*anew)(void), void *memory, size_t size);

#endif
