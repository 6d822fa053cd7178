/* SPDX-License-Identifier: MIT
 *
 * Which lock was waited for while which was held: two that are taken both ways are a deadlock that has not happened yet. Each process notes
 * its pairs in a table of its own, which only grows.
 *
 *     thread                                          other threads of it, and whoever reads
 *     state 0 → 1 (cas): this place is taken          a place with 1 is somebody's, and no pair yet
 *     the pair
 *     state → 2 (release)                             state 2: the pair stands there for good
 *
 * A thread that is killed in between leaves a place that nobody ever uses; two that note one pair at once may note it twice.
 */
#ifndef SYNC_RANK_H
#define SYNC_RANK_H

#include "sync/knot.h"
#include "sync/party.h"

/* The calling thread holds something, and is about to wait for what it has listed last: notes those pairs that are new. A lock that it
 * holds already makes none. To be called where slip_hold says that it held something, and a wait is meant. */
void rank_note(const struct party *);

/* A pair of some process. */
struct rank_pair {
    unsigned process; /* in the knot */
    struct slip_pair pair;
};

/* Circles of pairs: each one's `after` is the next one's `before`. */
struct rank {
    struct rank_pair *pair; /* of one circle after the other */
    unsigned *length;       /* of each circle */
    unsigned circles;
    uint64_t missed; /* pairs that found no place */
};

#define RANK_CIRCLES 256 /* are looked for at most */

/* From all tables of a knot that was asked for all. 0 or -ENOMEM; pairs with rank_free, also then. */
int rank_look(struct rank *, const struct knot *);
void rank_free(struct rank *);

#endif
