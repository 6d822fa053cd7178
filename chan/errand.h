/* SPDX-License-Identifier: MIT
 *
 * What a thread that is about to sleep over a channel leaves for others to see (base/slip.h): for what, from where in the program, and
 * for which process, where that is known. And whether it sleeps in a circle of processes that wait for each other.
 */
#ifndef CHAN_ERRAND_H
#define CHAN_ERRAND_H

#include "chan/end.h"

/* What the calling thread is about. */
struct errand {
    const void *site; /* the call of the program's */
    uint64_t call;    /* it waits for the answer to that call; 0: to none, or to any */
    uint64_t whom;    /* the conversation that has it */
};
extern _Thread_local struct errand errand_own __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* At the beginning of whatever may go on to wait: a store. */
#define ERRAND_FROM_HERE() ((void)(errand_own.site = __builtin_return_address(0)))

/* Before the first sleep of a wait, under the gate of its way: true: it is seen, and errand_end is due. The first time in a thread it may
 * go to the registry; a process that has no end there is not seen. */
bool errand_begin(thirl *end, enum mech_way way);
void errand_end(void);

/* After a slice: 0, or -EDEADLK with the circle as a sentence, if this end asked for that. Allocates, where it asked. */
int errand_look(const thirl *end);

#endif
