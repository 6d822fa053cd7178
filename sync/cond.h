/* SPDX-License-Identifier: MIT
 *
 * The condition variable behind thirl_cond: a word that tells turns, so that nobody misses one, and how many wake-ups are due, so that
 * the dead take none along. The public functions are in include/thirl/lock.h.
 *
 *     waiter, with the mutex                            whoever signals
 *     all' = all, deaths' = the mutex's deaths          nobody may wait (WAITED clear): done
 *     WAITED, arrivals + 1; turn' = turn (cas)          turn + 1, due + 1 (cas)
 *     lets go of the mutex                              FUTEX_WAKE(1): woke one, done
 *     FUTEX_WAIT(turn, turn'), 50 ms at most            nobody slept: all + 1
 *     woken, or turn is not turn': takes the mutex      WAITED clear, due = 0 (cas); fails: somebody came, and is kept
 *     with the mutex: due - 1 (cas), if any is
 *                                                       whoever broadcasts
 *     after 50 ms: takes the mutex, too, when           all + 1
 *       all is not all'; turn is not turn' and          turn + 1, WAITED clear, due = 0 (cas)
 *       due > 0; WAITED is clear; deaths is             FUTEX_WAKE(all)
 *       not deaths'; or the mutex's owner is dead
 *
 * A wake-up is used up by whoever has the mutex again, and looks; so for each signal one who waited looks after it. Killed before that,
 * it leaves `due` to those who sleep; killed with the mutex, it is found there. One who timed out or died leaves WAITED, and the next
 * signal clears it. More wake up than were signalled only after such a thing, or when they had not slept yet.
 */
#ifndef SYNC_COND_H
#define SYNC_COND_H

#include "base/layout.h"
#include "sync/mutex.h"

struct cond {
    uint64_t word; /* from below: the turn, 32 bits; WAITED; arrivals, 15; due, 16 */
    uint64_t tag;  /* names it in all processes; 0: this is no condition variable */
    uint32_t all;  /* counts what lets everybody look */
    uint32_t zero[11];
};
LAYOUT(cond, 64, zero, 20);

/* For a call at that site; as thirl_cond_wait. */
int cond_wait(struct cond *, struct mutex *, int64_t until, const void *site);

#endif
