/* SPDX-License-Identifier: MIT
 *
 * Named points where a test stops, kills or delays this process: weave("lane.commit.before"). Empty unless the build says
 * THIRL_WEAVE. A point's name is room.verb.moment; every point enumerates itself through the linker.
 *
 * THIRL_WEAVE_AT="name:k:action" acts on the k-th pass (from 1) of the point with that name: kill (SIGKILL), stop (SIGSTOP), fork
 * (another thread forks a child that pauses for a minute), fork-kill (and this process is killed), delay=MICROSECONDS,
 * jolt=NANOSECONDS. "*:P:delay=N" delays for up to N µs at a pass of any point, one in P, by chance; "*:P:jolt=N" lets others on the
 * processor go first there, or turns on the spot for up to N ns: so that a million of them take seconds.
 */
#ifndef BASE_WEAVE_H
#define BASE_WEAVE_H

#include <stddef.h>

#include "include/thirl/thirl.h"

#ifdef THIRL_WEAVE

struct weave_point {
    const char *name;
    unsigned passes;
};

void weave_pass(struct weave_point *);

/* The points of this program, each once per place in the code; *count gets their number. */
THIRL_API struct weave_point *weave_points(size_t *count);

#define weave(text)                                                                                                    \
    do {                                                                                                               \
        static struct weave_point weave_here __attribute__((section("thirl_weave"), used)) = {text, 0};                \
        weave_pass(&weave_here);                                                                                       \
    } while (0)

#else
#define weave(text) ((void)0)
#endif

#endif
