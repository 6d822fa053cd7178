/* SPDX-License-Identifier: MIT
 *
 * Which item of a cache goes when there is no room: three queues (S3-FIFO). What is new enters the small one; what was not found
 * again until it reaches the end of that goes, and only its hash is remembered for a while; everything else goes to the main one, where it
 * comes round as often as it was found since. So one look at very many things does not wash out what is needed.
 *
 *     new ──► SMALL (a tenth) ──not found twice──► gone, its hash to the ghosts      a ghost that is put again ──► MAIN
 *                └──────found twice──────► MAIN ──not found──► gone
 *                                           ▲ └─found─┘ as often as it was found, three times at most
 *     taken away, and pinned still ──► LIMBO
 *
 * A hit only adds to the uses in the item: readers move nothing. Links change under the cache's lock and by redo.h; ghosts and uses are
 * hints. Everything read here may have been written by anybody: places are checked by redo.h.
 */
#ifndef MEM_SIEVE_H
#define MEM_SIEVE_H

#include "base/layout.h"
#include "mem/item.h"
#include "mem/redo.h"

enum sieve_list { SIEVE_SMALL, SIEVE_MAIN, SIEVE_LIMBO, SIEVE_LISTS };

#define SIEVE_SMALL_PART 10 /* the small one has 1 / 10 of the bytes */
#define SIEVE_GHOST_WAYS 4  /* places in which a hash may be remembered */

struct sieve_queue { /* shared */
    uint64_t newest, oldest, bytes, items;
};

struct sieve { /* shared, zeroed at first */
    struct sieve_queue queue[SIEVE_LISTS];
    uint64_t ghosts; /* how many were remembered so far: their clock */
};
LAYOUT(sieve, 104, ghosts, 96);

struct sieve_view { /* what a process knows of it */
    struct sieve *sieve;
    unsigned char *base;
    uint64_t at;     /* offset of *sieve */
    uint64_t *ghost; /* hash (upper half) and when (lower half) */
    uint64_t mask;   /* of the ghosts' number, at least SIEVE_GHOST_WAYS - 1 */
};

/* Parts of a change: the item enters a queue, or leaves the one it is in. bytes: what its block costs. */
void sieve_enter(const struct sieve_view *, struct redo *, uint64_t item, enum sieve_list, uint64_t bytes);
void sieve_leave(const struct sieve_view *, struct redo *, uint64_t item, uint64_t bytes);

/* The queue that a new item with that hash belongs to. */
enum sieve_list sieve_home(const struct sieve_view *, uint64_t hash);

/* The next one to look at, in a cache of so many bytes; 0: there is none. */
uint64_t sieve_oldest(const struct sieve_view *, uint64_t bytes);

/* What shall become of it: does it go, or does it stay, in the main queue, with so many uses left? */
bool sieve_goes(const struct item *, uint8_t *uses);

/* It has gone: if it was in the small one, its hash is remembered. */
void sieve_remember(const struct sieve_view *, uint64_t list, uint64_t hash);

#endif
