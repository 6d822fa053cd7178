/* SPDX-License-Identifier: MIT
 *
 * The ends of a channel, each at a place in a page that all of them share, so that nobody has to list a directory to know who is there: with a
 * thousand ends that would be a thousand names for each that comes, and a million for all.
 *
 * A place is taken under the channel's lock before its end has a file, and given back behind the last one. Whoever is killed keeps it until he
 * is cleaned up. Whoever reads needs no lock: what he finds is a hint, like a name in a directory, and the files say the rest.
 */
#ifndef MEM_PLACE_H
#define MEM_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#define PLACE_AT 64u       /* where they begin in the page, */
#define PLACE_NEAR 48u     /* so many of them; */
#define PLACE_FAR 4096u    /* where they go on behind it, as far as the file has grown, */
#define PLACE_MOST 131072u /* and how many there may be */
#define PLACE_MAP (PLACE_FAR + (PLACE_MOST - PLACE_NEAR) * sizeof(struct place)) /* what is mapped for that */

enum { PLACE_SENDS = 1, PLACE_RECEIVES = 2, PLACE_BOTH = 3, PLACE_ASK = 4 };

struct place {
    uint64_t node; /* 0: nobody's; written last */
    uint32_t number;
    uint32_t state; /* PLACE_SENDS, PLACE_RECEIVES, and PLACE_ASK times how often it has asked: place_ask */
};

/* Everybody who may write the page may say that there are more than the file has room for, and who touches those is killed. So readers say how
 * many bytes the file has, as far as they have looked: places behind are none. Does the page say that there are? Then it is worth looking again. */
bool place_beyond(const void *page, uint64_t bytes);

/* Under the lock, whose file is `file`: takes one. 0, with *at; -ENOSPC or -EMFILE with a sentence. */
int place_take(void *page, int file, uint64_t node, uint32_t number, uint32_t state, const char *shown, uint32_t *at);
void place_leave(void *page, uint32_t at);

/* The next one that sends, or receives, as `state` says, from *at on, which goes behind it; 0 at first. false: no more. */
bool place_next(const void *page, uint64_t bytes, uint32_t state, uint32_t *at, struct place *);

/* Under the lock: gives back those of the dead, by the file alone. */
void place_clean(int file);

/* Under the lock: is the file as long as it says? If not, what it has not got is no place. */
void place_check(int file, uint64_t size);

/* Shows that the end at that place wants to be looked at: its state changes. */
void place_ask(void *page, uint32_t at);

/* How often something was put into the directory in the name of somebody else: counted before it is. */
uint32_t place_posts(const void *page);
void place_post(void *page);

#endif
