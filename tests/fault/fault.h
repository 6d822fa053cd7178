/* SPDX-License-Identifier: MIT
 *
 * Calls of libc that fail on purpose: a program that is linked with a --wrap for each line of calls.h has them between itself and libc.
 * One call fails, or from then on all of its name; only while `fault_armed`, so that what a test calls for itself goes well. Or
 * none fails, and just before it somebody else does something.
 */
#ifndef TESTS_FAULT_FAULT_H
#define TESTS_FAULT_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAULT_ERRORS 8

struct fault_call {
    const char *name;
    int errors[FAULT_ERRORS]; /* up to the first 0 */
};
extern const struct fault_call fault_calls[];
extern const size_t fault_count;

/* The passes of a call are counted from 1, each name for itself. */
struct fault {
    size_t call;
    unsigned pass; /* 0: none fails */
    int error;
    bool lasting; /* and all that come after it */
};

extern bool fault_armed;
extern unsigned fault_passes[]; /* while armed, of each call */
extern uintptr_t fault_site; /* where the last one was called that failed, as an offset into the program; 0: none did */
extern long fault_blocks;    /* of memory that are allocated and not freed */

void fault_set(const struct fault *);

/* What happens just before each of those calls, which is done then as if nothing were; NULL: they fail. */
extern void (*fault_meanwhile)(void);

/* Which call has that name; it must be one of calls.h. */
size_t fault_find(const char *name);

/* May all calls fail like this for a while, as when something is used up? Others come once. */
bool fault_lasts(int error);

#endif
