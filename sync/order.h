/* SPDX-License-Identifier: MIT
 *
 * Who waits for whom, on this whole machine, from the slips that threads leave. Nothing is locked: a circle counts when two looks, one
 * after the other, find the same waits in it, for whoever waits can neither let go of anything nor go on.
 */
#ifndef SYNC_ORDER_H
#define SYNC_ORDER_H

#include "sync/party.h"

#define ORDER_EXE 256

/* A thread that holds or waits. */
struct order_thread {
    uint64_t id;
    int64_t pid;
    uint64_t pid_space;
    bool alive;
    char exe[ORDER_EXE];
    struct slip slip;
};

struct order_graph {
    struct order_thread *thread;
    unsigned count, room;
    int failed;
};

/* Looks at all; pairs with order_free, also after an error: -ENOMEM, or what the registry answers. */
int order_look(struct order_graph *);
void order_free(struct order_graph *);

/* Does this thread wait for that one? */
bool order_waits_for(const struct order_graph *, unsigned thread, unsigned holder);

/* The shortest circle that goes through a thread: its length, and their numbers in the order in which they wait; 0: none. At most
 * `most` are filled in. */
unsigned order_circle_through(const struct order_graph *, unsigned thread, unsigned *circle, unsigned most);

/* Is that circle there in both graphs, with the same waits? circle: numbers in the first. */
bool order_same(const struct order_graph *, const struct order_graph *later, const unsigned *circle, unsigned length);

/* Does the calling thread wait in a circle, and is it the one of it that gives up? 0, or -EDEADLK with the circle as a sentence. A thread
 * that would not be told is never the one. Allocates. */
int order_circle(const struct party *);

/* "mutex", … */
const char *order_kind(uint32_t kind);

#endif
