/* SPDX-License-Identifier: MIT
 *
 * One campaign of kills for any lock: four players use it, one of them is killed at random (while it holds, waits or wakes), and those
 * who are left must get on. The same dice for each lock; locks of others are judged by it as ours are. Knows no lock itself.
 */
#ifndef TESTS_PEER_FRAY_H
#define TESTS_PEER_FRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FRAY_PERMITS 2
#define FRAY_TOLD 1 /* it is taken, and whoever had it before died with it */

enum fray_game {
    FRAY_LOCK,      /* all change two numbers that are equal but within a turn */
    FRAY_CONDITION, /* the same, and two wait for what the other two make */
    FRAY_COUNT,     /* two of four may be inside */
};

struct rival {
    const char *name;
    enum fray_game game;
    size_t size;               /* of what all players share */
    int (*make)(void *);       /* in zeroed memory; 0 */
    void (*end)(void *);       /* what of it lies outside goes; NULL: nothing does */
    int (*take)(void *);       /* as long as it takes. 0, FRAY_TOLD; else it was not to be had */
    int (*attempt)(void *);    /* without waiting */
    int (*mend)(void *);       /* after FRAY_TOLD all is well again; NULL: nothing to say */
    int (*give)(void *);       /* 0 */
    int (*wait)(void *);       /* of CONDITION: as take; it is held before and behind */
    int (*wake)(void *, bool); /* one who waits, or all */
};

enum fray_phase { FRAY_OUTSIDE, FRAY_WAITING, FRAY_HOLDING, FRAY_WAKING, FRAY_PHASES };

struct fray {
    unsigned kills, of[FRAY_PHASES]; /* what the dead were doing, as they last said */
    unsigned stuck;  /* survivors who did not get on until the watchdog came, and everything began anew */
    unsigned lost;   /* locks and permits that nobody had, and nobody could get */
    unsigned told;   /* of a death */
    unsigned broken; /* found half done without being told, or one too many inside */
};

struct fray_plan {
    unsigned kills, patience_ms; /* how long the watchdog waits: much longer than a busy machine keeps anybody */
    bool until_harm;             /* and no more after the first harm */
};

/* 0; -1: it could not be made, or no process. */
int fray_run(const struct rival *, const struct fray_plan *, struct fray *);

#ifdef __cplusplus
}
#endif
#endif
