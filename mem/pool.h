/* SPDX-License-Identifier: MIT
 *
 * A pool: messages too large for a lane, or held longer than it can wait, lie in chunks behind the ring of their sender's own file. The
 * lane's record is only a reference. Which chunk is what is in the sender's private memory, so there is nothing to repair: a
 * sender that dies leaves chunks that nobody else would ever have taken.
 *
 *     sender                                        receiver
 *     chunk of the circle: passed and not held?     record at its cursor: copies the reference, checks it
 *     generation + 1, payload                       note[slot] = chunk, generation; mask |= slot   (2)
 *     commits the record: the reference  (1)        release cursor, behind the record              (3)
 *                                                   … as long as it likes, in any order …
 *     acquire cursor, pairs with (3)                mask &= ~slot                                   (4)
 *     acquire mask and notes, pair with (2), (4)
 *     what ends before the cursor and stands in
 *     no note of a living receiver is free
 *
 * The cursor's release orders the note before it, so whoever sees the record passed sees the note; tests/race/floor_test walks it. Notes of the dead are not looked at. A
 * chunk that is used again has another generation, so a note is about one message and no other.
 *
 * In a work queue nobody notes anything: the word of a record (mem/claim.h) says whether its message is done, and so whether its chunk
 * is free. There the record's number stands for its position.
 *
 * Chunks of one size are taken in a circle, and a few more than need be, so that notes are looked at once for many messages. Space
 * is taken from the file system for each chunk before it is touched, never more than the bound, and given back when
 * there has been too much of it for a while. One thread at a time; nothing blocks; only what makes chunks and gives
 * them up again allocates and makes system calls.
 */
#ifndef MEM_POOL_H
#define MEM_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"
#include "mem/seg.h"

#define POOL_HELD 64 /* notes of one receiver about one sender */
#define POOL_NONE UINT32_MAX
#define POOL_FOREVER UINT64_MAX /* a position that nobody passes */
#define POOL_SIZES 128          /* of chunks: whole pages, four sizes from each power of two to the next */

#define POOL_UNIT 4096u        /* divides all pages */
#define POOL_LEAST 16384       /* a smaller one is none */
#define POOL_LENDS (16u << 10) /* loans of that size or more lie in it: writing them takes longer than its line */

/* What the lane's record holds. */
struct pool_ref {
    uint64_t size;
    uint32_t at, units; /* of the chunk, which may be larger than its message, in units from the region's beginning */
    uint32_t chunk, generation;
};
LAYOUT(pool_ref, 24, generation, 20);

/* ---- the receiver ---- */

struct pool_notes { /* in its page */
    uint64_t mask;  /* a bit for each that counts */
    uint64_t note[POOL_HELD];
};
LAYOUT(pool_notes, 520, note, 8);

static inline uint64_t pool_note_of(uint32_t chunk, uint32_t generation) {
    return (uint64_t)generation << 32 | chunk;
}

/* Does it lie within the sender's region? ref is a copy. */
static inline bool pool_sound(const struct seg *seg, const struct pool_ref *ref) {
    uint64_t end = ((uint64_t)ref->at + ref->units) * POOL_UNIT;
    return end <= seg->pool && ref->size <= (uint64_t)ref->units * POOL_UNIT;
}

/* Of a sound one: the message, and the bytes of its chunk. */
static inline void *pool_message(const struct seg *seg, const struct pool_ref *ref) {
    return seg_pool(seg) + (uint64_t)ref->at * POOL_UNIT;
}

static inline uint64_t pool_cost(const struct pool_ref *ref) {
    return (uint64_t)ref->units * POOL_UNIT;
}

/* Notes that it is held, before the cursor moves; the slot is what pool_drop gets. Not when all are used. */
static inline unsigned pool_hold(struct pool_notes *notes, const struct pool_ref *ref) {
    uint64_t mask = notes->mask;
    unsigned slot = (unsigned)__builtin_ctzll(~mask);
    atomic_poke(&notes->note[slot], pool_note_of(ref->chunk, ref->generation)); /* (2), before (3) */
    atomic_poke(&notes->mask, mask | UINT64_C(1) << slot);
    return slot;
}

static inline void pool_drop(struct pool_notes *notes, unsigned slot) {
    atomic_store(&notes->mask, notes->mask & ~(UINT64_C(1) << slot)); /* (4) */
}

/* ---- the sender ---- */

enum pool_state { POOL_GONE, POOL_FREE, POOL_LENT, POOL_SENT };

struct pool_chunk {
    uint64_t offset, end; /* end: the position behind its record */
    uint32_t pages, generation;
    uint32_t left, right; /* in the order of the file */
    uint32_t next;        /* in its queue */
    uint32_t marked;      /* the look at notes that found it there last */
    uint8_t state, size;
};

struct pool_queue {
    uint32_t first, last;
};

struct pool_size { /* all chunks of one size */
    struct pool_queue free, sent;
    uint32_t count, lent; /* lent: since the last trim */
};

struct pool {
    const struct seg *seg;
    uint64_t bound, reserved; /* bytes */
    uint64_t most;            /* the largest message */
    size_t page;
    int fd; /* of the file, from the first chunk on; -1 before */
    struct pool_chunk *chunk;
    uint32_t chunks, room; /* slots that were ever used, and that there are */
    uint32_t gone;         /* a list of slots without a chunk */
    uint32_t first;        /* in the order of the file */
    uint32_t look;         /* counts looks at notes */
    uint32_t lent;         /* chunks taken since the last trim */
    bool tight;            /* the file system was full since then, */
    uint32_t vain;         /* so often */
    struct pool_size *size;
};

/* A pool of at most `bound` bytes in that segment's region; nothing is taken for it yet. The segment outlives it. deinit closes what
 * was opened; the file's space goes with the file. */
void pool_init(struct pool *, const struct seg *, uint64_t bound);
void pool_deinit(struct pool *);

/* The largest message: four of them fit. */
uint64_t pool_most(uint64_t bound);

/* The bound that an option of so many bytes asks for: 0, no pool, where that is too little. */
static inline uint64_t pool_asked(uint64_t option) {
    return option < POOL_LEAST ? 0 : option;
}

/* The smallest loan that lies in it; UINT64_MAX: none does. */
static inline uint64_t pool_lends(uint64_t bound) {
    return bound < UINT64_C(4) * POOL_LENDS ? UINT64_MAX : POOL_LENDS;
}

/* How much of it a receiver may hold: there is one more message left that is as large as can be, for what is still to come. */
static inline uint64_t pool_may_hold(uint64_t bound) {
    return bound - bound / 4;
}

/* Takes a free chunk of that size, POOL_NONE when none is known to be free. It is given back by pool_sent or pool_back. */
uint32_t pool_take(struct pool *, size_t size);

/* Is one known to be free? Then the next pool_take will find its beginning in this processor's cache. */
bool pool_has(const struct pool *, size_t size);

/* Looking for free ones: pool_look, pool_mark for each living receiver behind a load of its cursor, then pool_sweep, with the position
 * that all have passed. size 0: chunks of all sizes. Whoever has no receiver marks nothing. */
void pool_look(struct pool *);
void pool_mark(struct pool *, const struct pool_notes *);
void pool_mark_one(struct pool *, uint64_t note);
void pool_mark_chunk(struct pool *, uint32_t chunk);
void pool_sweep(struct pool *, size_t size, uint64_t passed);

/* After a sweep: are there so few chunks of that size, and so few at all, that another one would save looks? */
bool pool_wants(const struct pool *, size_t size);

/* Makes a chunk and takes it. name in the directory dir is the segment's file. Free chunks of other sizes are given up for it.
 * -EAGAIN: the bound is reached, or the file system is full, and there are messages that will come back. -ENOSPC: it is full, and there are
 * none; -EFBIG, …: all with a sentence that begins with what. */
int pool_make(struct pool *, size_t size, int dir, const char *name, const char *what, uint32_t *chunk);

/* Now and then: is a trim due? It wants a look at everything before, and gives up half of what is too much. */
#define POOL_TRIM 1024
static inline bool pool_trims(const struct pool *pool) {
    return pool->lent >= POOL_TRIM;
}
void pool_trim(struct pool *);

static inline void *pool_data(const struct pool *pool, uint32_t chunk) {
    return seg_pool(pool->seg) + pool->chunk[chunk].offset;
}

/* Fills in the reference for the record of a message of that size, no larger than what was taken. */
void pool_refer(const struct pool *, uint32_t chunk, size_t size, struct pool_ref *);

/* The record is committed, and ends there. Positions of one pool never go down. */
void pool_sent(struct pool *, uint32_t chunk, uint64_t end);

/* It was not sent after all. */
void pool_back(struct pool *, uint32_t chunk);

/* The chunks of that size (0: of any) that were sent and are not known to be free, one after the other: the first behind that one, or of
 * all behind POOL_NONE; POOL_NONE: there is none. */
uint32_t pool_next(const struct pool *, size_t size, uint32_t chunk);

/* Gives all that are free back to the file system: for who sends nothing more. */
void pool_give_up(struct pool *);

/* For those who say up to where they overwrite. The oldest chunk of that size (0: of any) that was sent and not seen held: its record's end;
 * POOL_FOREVER: there is none. And the last of all such ends up to a position; 0: there is none. */
uint64_t pool_oldest(const struct pool *, size_t size);
uint64_t pool_last(const struct pool *, uint64_t position);

/* Bytes of chunks that are lent or sent, as far as the last sweep knows; of those that it saw held, *held gets how many bytes. */
uint64_t pool_busy(const struct pool *, uint64_t *held, uint32_t *count);

#endif
