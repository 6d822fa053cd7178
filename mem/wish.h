/* SPDX-License-Identifier: MIT
 *
 * Who wishes to hear of channels by a pattern of their names, also of those that are not there yet: a directory wish/<node>.<n> for each
 * such end, with its pattern, a FIFO that wakes it, and in new/ an empty file for each channel that it is to look at. Written by that
 * end, but for new/ and a word that says "look there", which senders write to while they join.
 *
 *     sender, under the lock of its channel         who wishes
 *     sees the wish (want)                          want is there
 *     new/<channel> is made                         takes a channel from new/, joins it under its lock, finds what
 *     its tx is posted, also to those who have        was posted, removes new/<channel>
 *       not joined                                  (later) leaves the channel under its lock, if nobody sends there
 *     want still there? else takes both back        (closing) removes want, then what was posted to it
 *     joined: the word changes, the FIFO rings
 *
 * Who wished before a sender came gets all that it sends, however early that dies: the post says so. Who is killed between any two
 * steps leaves a look in vain, or one that comes when the sleeper looks by itself.
 */
#ifndef MEM_WISH_H
#define MEM_WISH_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/roll.h"

#define WISH_BELL "bell"

struct wish {
    int dir;        /* wish/<node>.<n>, -1: none */
    uint64_t *news; /* the word, mapped */
    struct roll_end self;
};

/* Makes the directory, which nobody sees before wish_show; in between its owner makes WISH_BELL in it. flags: ROLL_SEALS, if only such channels
 * are wished for. 0, or an error: of the first, nothing is there then; after the other wish_drop follows. */
int wish_make(struct wish *, const char *pattern, uint32_t flags, struct roll_end self, unsigned mode,
              const char *address);
int wish_show(struct wish *, const char *address);

/* Withdraws the wish: who sees it no longer posts nothing. wish_drop removes the directory, later or at once; if it
 * cannot, the sweep does it when this process has ended. */
void wish_withdraw(struct wish *);
void wish_drop(struct wish *);

/* Looks at that channel, as a sender's coming would say. 0 or an error. */
int wish_note(const struct wish *, const char *channel);

/* Calls seen for each channel to look at, by the name of its directory; 0 from it: it is done. The first other answer is the answer, and all
 * are called. An errno: they cannot be read, and none was called. */
int wish_each(const struct wish *, int (*seen)(void *context, const char *channel), void *context);

/* A sender that joins, under the lock and before roll_finish: posts the file, of this end, to all whose pattern fits the name. 0 or
 * an error. And when it has joined: wakes them. */
typedef bool wish_fits(const char *pattern, const char *name);
int wish_grant(const struct roll *, const char *file, const char *name, uint32_t flags, wish_fits *);
void wish_ring(const char *name, wish_fits *);

/* Removes the wishes of the dead. */
void wish_clean(void);

#endif
