/* SPDX-License-Identifier: MIT
 *
 * The slips of this process's threads (base/slip.h), in its node file, and those of all others.
 */
#ifndef MEM_SLATE_H
#define MEM_SLATE_H

#include "base/slip.h"
#include "mem/node.h"

/* Joins the registry, unless this process has. 0, or an error. */
int slate_open(void);

/* Once this process has joined: a slip for a thread, or NULL when they are used up; pairs with slate_give. */
struct slip *slate_take(void);
void slate_give(struct slip *);

/* Likewise: its table of pairs, or NULL. */
struct slip_pairs *slate_pairs(void);

/* One thread of some process; slip is a copy, NULL: of a process whose slips cannot be read. */
struct slate_seen {
    uint64_t id, pid_space;
    int64_t pid;
    const char *exe;
    bool alive;
    const struct slip *slip;
};

/* Every thread that has a slip, of all processes, the dead whose files are still there among them; until seen returns nonzero, and
 * returns that. Allocates. */
int slate_each(int (*seen)(void *context, const struct slate_seen *), void *context);

/* Every process, with copies of all that it has left; those that are dead, and whose files are still there, among them; until seen returns
 * nonzero, and returns that. This process need not have joined, and a file that is cut meanwhile does no harm. What a slip lists may have
 * moved while it was copied: whoever reads looks twice. Allocates. */
int slate_list(int (*seen)(void *context, const struct slip_process *), void *context);

#endif
