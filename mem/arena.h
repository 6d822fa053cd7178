/* SPDX-License-Identifier: MIT
 *
 * Memory given out in pieces, inside memory that several processes share: offsets instead of pointers, and every change made as one
 * (redo.h), so a process may be killed at any instruction. A block belongs to the process that has it in hand (its node), or to
 * the words that refer to it; arena_swap moves a block between a hand and a word as one change. What was in the hands of a dead
 * process is given back by arena_reclaim: nothing leaks that nobody could reach.
 *
 *     alloc:  free list ──► hand of this node          swap:  hand ◄──► word
 *     free:   hand ──► free list                       a dead node's hand ──► free list (reclaim)
 *
 * Blocks lie side by side from `first` to `top`; each says its own size and that of the one before it, so neighbours that are free
 * are joined. Free blocks hang in lists by size, four to each power of two, with a bit for each list that is not empty. Behind
 * top there is what was never used.
 *
 * One changer at a time: arena_lock. Everything read here was written by other processes: checked, never trusted; damage is
 * -THIRL_EFORMAT, and nothing is changed then.
 */
#ifndef MEM_ARENA_H
#define MEM_ARENA_H

#include "base/layout.h"
#include "mem/own.h"
#include "mem/redo.h"

#define ARENA_LISTS 256
#define ARENA_ROOTS 64
#define ARENA_NAME 32  /* bytes of a root's name, with its NUL */
#define ARENA_HEAD 32  /* bytes in front of a block's payload */
#define ARENA_LEAST 64 /* smallest block, head included */
#define ARENA_MOST (UINT64_C(1) << 46)

struct arena_block {     /* in front of the payload; sizes with the head, multiples of 16 */
    uint64_t size;       /* and ARENA_USED */
    uint64_t before;     /* size of the block before; 0: it is the first */
    uint64_t owner;      /* of a used one: the node whose hand it is in; 0: words refer to it */
    uint64_t seal;       /* its own offset, mixed: tells a block from what is none */
    uint64_t next, last; /* of a free one: its neighbours in the list, or 0 */
};

#define ARENA_USED UINT64_C(1)

struct arena_root {
    uint64_t at;
    char name[ARENA_NAME];
};

struct arena { /* shared; at a fixed place in the memory it manages */
    struct own turn;
    uint64_t first, top;   /* offsets: the first block, and the end of the last */
    uint64_t end;          /* memory behind it may not be touched */
    uint64_t last;         /* size of the last block: what the next one notes as before */
    uint64_t used, blocks; /* bytes and number of used blocks, heads included */
    uint64_t bits[ARENA_LISTS / 64];
    uint64_t list[ARENA_LISTS];
    struct arena_root root[ARENA_ROOTS];
    LINE_ALIGNED struct redo_log log;
};
LAYOUT(arena, 5568, log, 4736);

/* The arena of memory that begins at base: at that offset, a multiple of 64, for blocks from first to end. The memory is zeroed. */
void arena_begin(void *base, uint64_t at, uint64_t first, uint64_t end);

struct arena_view { /* what a process knows of it */
    struct arena *arena;
    unsigned char *base;
    uint64_t at;    /* its own offset */
    uint64_t limit; /* bytes of address space at base: no `end` may pass it */
    uint64_t self;  /* node */
};

/* Takes the lock, and finishes what a dead holder began: 0, OWN_DIED (arena_reclaim is worth its price), -EAGAIN, -ETIMEDOUT,
 * -THIRL_EFORMAT (then it is not held). Released by arena_unlock. The others want it held. */
int arena_lock(const struct arena_view *, int64_t until);
void arena_unlock(const struct arena_view *);

/* A block for so many bytes, in this process's hand; *at gets the offset of its payload, a multiple of 16. -ENOSPC: no room up to
 * `end`; *more, unless NULL, gets how much larger that had to be. */
int arena_alloc(const struct arena_view *, uint64_t bytes, uint64_t *at, uint64_t *more);

/* Gives a block back that is in this process's hand. -EINVAL: it is none, or not in this hand. */
int arena_free(const struct arena_view *, uint64_t at);

/* Both as parts of a change that the caller gathers, between arena_gather and redo_commit: nothing has happened until that. The block is in
 * nobody's hand: the same change makes a word refer to it, or no more. What was gathered before an error is not to be committed.
 * Alloc looks at few blocks, so -ENOSPC may come where there are some that would do; all of the payload but its first 16 bytes may be
 * filled in before the commit. Free: -EINVAL: it is none, or in a hand. */
void arena_gather(const struct arena_view *, struct redo *);
int arena_gather_alloc(const struct arena_view *, struct redo *, uint64_t bytes, uint64_t *at);
int arena_gather_free(const struct arena_view *, struct redo *, uint64_t at);

/* Puts the block `at` (0: none) into a word at that place, and takes what it referred to in hand: *at gets it. Both or neither.
 * -EINVAL: `at` is not in this hand, or the word refers to what is no block, or is in a hand. */
int arena_swap(const struct arena_view *, uint64_t word, uint64_t *at);

/* A root of that name: the place of its word. -ENOENT; with make one is made: -ENOSPC when all are used. A name is never given back. */
int arena_root(const struct arena_view *, const char *name, bool make, uint64_t *word);

/* Frees what is in the hands of the dead; how many blocks, or an error. Reads every block. */
int64_t arena_reclaim(const struct arena_view *);

/* Is everything consistent? 0, or -THIRL_EFORMAT with the offset where it is not. For tests and doctors: reads every block. */
int arena_check(const struct arena_view *, uint64_t *where);

/* Memory up to that offset may be used from now on. */
int arena_extend(const struct arena_view *, uint64_t end);

/* The bytes of a used block's payload; 0: it is none. */
uint64_t arena_size(const struct arena_view *, uint64_t at);

#endif
