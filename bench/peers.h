/* SPDX-License-Identifier: MIT
 *
 * Runs of more than two processes: ping or pong brings as many more as are asked for, each a process of its own, with a share of its
 * own: number 2 and up.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "bench/stage.h"

/* At the beginning of the control area, for who wants it. */
struct peers {
    uint32_t joined, ready, go;
};

stage_inline struct peers *peers_of(const struct run *run) {
    return (struct peers *)(void *)run->control;
}

/* The share of peer k: the first one is ping or pong itself. */
stage_inline unsigned peers_share(enum stage_side side, unsigned k) {
    return k == 0 ? (unsigned)side : k + 1;
}

/* Starts peers 1 to run->peers - 1 beside the caller, who is number 0; each does `play`. */
int peers_start(struct run *, enum stage_side, int (*play)(struct run *, unsigned k));

/* Waits until they have ended. 0, or -1 when one failed; its reason is in the stage. */
int peers_gather(struct run *, enum stage_side);

void peers_count(uint32_t *word);                     /* one more is there */
void peers_await(const uint32_t *word, uint32_t all); /* sleeping */

#endif
