/* SPDX-License-Identifier: MIT
 *
 * Trials by death: some play with one lock, and one of them, the victim, is killed or stopped at a named point. Each scenario has a process
 * and a registry of its own, for its trials; they run side by side.
 */
#ifndef TESTS_ORDEAL_H
#define TESTS_ORDEAL_H

#include <stdbool.h>
#include <stddef.h>

#define ORDEAL_OTHERS 2
#define ORDEAL_VICTIM ORDEAL_OTHERS /* its number */
#define ORDEAL_PASSES 3             /* it dies at the first pass of a point, and at this one */

struct ordeal {
    const char *name, *points; /* where the victim dies: beginnings, as point_next takes them */
    void (*anew)(void);        /* the board is empty */
    int (*body)(unsigned who); /* of each player, in a process of its own: 0, or something is wrong */
    bool (*whole)(bool died);  /* afterwards: is everything as it should be? */
    void (*meanwhile)(void);   /* while they play, or NULL */
};

struct ordeals {
    const struct ordeal *ordeal;
    size_t count;
    const char *points; /* somebody must have met his fate at each of them */
    void **board;       /* set, in each process, to the memory that the players of its scenario share */
    size_t size;        /* of it; its first word, of 32 bits, becomes 1 when the victim has ended */
};

/* false: something was wrong, or a point was not met; it is printed. */
bool ordeal_all(const struct ordeals *, bool killed);

/* The main of a program that has nothing else: all points, once for a victim that is killed, and once for one that is stopped. */
int ordeal_main(const struct ordeals *);

#endif
