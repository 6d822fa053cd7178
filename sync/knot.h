/* SPDX-License-Identifier: MIT
 *
 * Threads, whom each waits for, and who of them can never go on. A picture of one moment: nothing of it is shared.
 */
#ifndef SYNC_KNOT_H
#define SYNC_KNOT_H

#include "base/slip.h"
#include "sync/web.h"

#define KNOT_EXE 256
#define KNOT_BLOCKERS 64 /* of one thread are looked at */

struct knot_process {
    uint64_t id, pid_space;
    int64_t pid, here; /* as in struct slip_process */
    bool alive;
    char exe[KNOT_EXE];
    struct slip_module *module; /* when all was asked for */
    struct slip_pairs *pairs;   /* likewise */
    unsigned modules;
    int known, threads;       /* that have a slip; that it has, -1 unknown */
    struct slip_tasks *tasks; /* requests that it has taken, of so many ends */
    unsigned ends;
};

/* A thread that holds or waits. */
struct knot_thread {
    unsigned process;
    struct slip slip;
};

struct knot {
    struct knot_process *process;
    struct knot_thread *thread;
    unsigned processes, count, process_room, room;
    struct web
        web; /* an edge: that thread waits for this one; stays: stuck, nobody but threads that are stuck could end its wait */
    bool idle; /* before processes are added: with threads that neither hold nor wait */
    bool all;  /* likewise: with their modules and pairs */
};

/* Adds what a process has left: a copy. 0 or -ENOMEM. */
int knot_add(struct knot *, const struct slip_process *);

/* Adds a further thread of the process that was added last: likewise. */
int knot_add_thread(struct knot *, const struct slip *);

/* When all have been added: who waits for whom, who is stuck. Likewise. */
int knot_tie(struct knot *);
void knot_free(struct knot *);

/* How much of what is listed is held: what is listed last and waited for is not, yet. */
uint32_t knot_held(const struct slip *);

/* The shortest circle that goes through a thread: its length, and their numbers in the order in which they wait; 0: none, or there is no
 * memory. At most `most` are filled in. */
unsigned knot_circle(const struct knot *, unsigned thread, unsigned *circle, unsigned most);

/* A thread of that process, by its number there; NULL: none. */
const struct knot_thread *knot_find(const struct knot *, uint64_t id, uint32_t number);

/* Is every thread of that circle whose wait is loose (base/slip.h) asleep, as the kernel says? One that somebody has woken is not, even if it has
 * not run yet. False where that cannot be known; but the thread `me` (or count) is not asked. */
bool knot_sleeps(const struct knot *, const unsigned *circle, unsigned length, unsigned me);

/* Is any wait of that circle loose? Whoever ends it may wait itself before the one that it has woken has run. */
bool knot_is_loose(const struct knot *, const unsigned *circle, unsigned length);

/* Is that circle there in both, with the same waits? circle: numbers in the first. */
bool knot_same(const struct knot *, const struct knot *later, const unsigned *circle, unsigned length);

#endif
