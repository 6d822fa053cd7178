/* SPDX-License-Identifier: MIT
 *
 * A kernel that takes from sockets what a test says, in a program that asks for it: a few bytes, nothing, or none of it for a reason. Of
 * one thread.
 */
#ifndef TESTS_SPARING_H
#define TESTS_SPARING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern struct sparing {
    unsigned none; /* so many calls find no room, */
    unsigned some; /* so many take */
    size_t most;   /* so many bytes, */
    unsigned errs; /* and so many after those */
    int error;     /* fail with this; then all is as ever */
    int64_t nap;   /* ns that each call takes besides */
    bool silent;   /* no host answers, as TCP sockets say it */
    unsigned slow; /* the so-manieth socket gets no time limit for its waits; 0: all do */
} sparing;

void sparing_be(unsigned some, size_t most, unsigned errs, int error);

#endif
