/* SPDX-License-Identifier: MIT
 *
 * The code of a room as it is, run by a few participants in all orders: every access to a shared word is a step, between two steps any
 * other may go on, and at any step one of them may be killed. Each run is made anew from a list of choices, and the next run makes the
 * last choice differently, until there is none left. Memory is as all see it at once: what a processor may hold back is for models.
 *
 * A test includes what the room includes, then tests/race/braided.h, then the room's .c. It calls functions of the room; those are
 * participants' own. Loads that say nothing about order (atomic_peek) are no steps.
 */
#ifndef TESTS_RACE_BRAID_H
#define TESTS_RACE_BRAID_H

#include <stdbool.h>
#include <stdint.h>

#include "sync/party.h"

#define BRAID_MOST 4

struct braid {
    const char *name;
    unsigned participants;
    void (*begin)(void);        /* before each run */
    void (*body)(unsigned who); /* of each */
    void (*end)(void);          /* behind each run, of nobody */
    unsigned changes;           /* how often one that could go on is held up */
    unsigned slices;            /* how often a sleep ends by itself although somebody could still wake it */
    bool kills;                 /* participant 0 may die, once, at any step */
};

/* All of it. false, and a list of the steps on stderr: a check failed, or somebody sleeps for ever, or, if nobody died, slept until its
 * slice was over although there was nothing left that could have woken it. */
bool braid_walk(const struct braid *);

/* In a body, or at the end: ends the run as failed. */
#define braid_check(condition) ((condition) ? (void)0 : braid_fail(#condition, __LINE__))
void braid_fail(const char *text, int line);

/* At the end: who died, or -1. */
int braid_dead(void);

/* In a body: does that one sleep? */
bool braid_asleep(unsigned who);

/* Deadlines below it are some participant's own: they pass when nobody can go on. */
#define BRAID_LATE 1000

/* What the rooms get instead of their own, see braided.h. */
void braid_step(int line);
int braid_wait(const uint32_t *word, uint32_t value, int64_t until);
int braid_wake(const uint32_t *word, int count);
int64_t braid_now(void);
bool braid_alive(uint64_t id);
struct party *braid_me(void);

#endif
