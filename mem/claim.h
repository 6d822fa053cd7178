/* SPDX-License-Identifier: MIT
 *
 * Who works on what: the two files of one pusher of a work queue. The first, written by the pusher only, has an entry for each slot
 * (which record, and where in the ring it stands), the ring, and the region of a pool (mem/pool.h); the second has a word for each slot that all workers change by
 * compare-and-swap. Record number n uses slot n % slots; how often the slot was used, counted from 1, is the record's lap.
 *
 *     pusher                                    worker W
 *     (slot's word: done, lap - 1)              acquire entry[slot]; not of this lap: nothing there yet   pairs with (1)
 *     record into the ring                      word == done, lap - 1  or  free, lap, again?
 *     release entry[slot] = lap, place  (1)     swap it for  held, lap, W        held is started: whoever loses looks on
 *                                               works on the record, in place
 *     acquire word, pairs with (2), only when   swap held, lap, W  for  done, lap  (2)
 *     the room that it knows of is used up      … or for  free, lap, again: given back
 *
 *             .---------------------------- next lap ----------------------------.
 *             v                                                                  |
 *     done, lap - 1 ---take---> held, lap, W ---finish---> done, lap ------------'
 *                                 |       ^
 *                  return, or     |       | take
 *                  W is dead      v       |
 *                               free, lap, again
 *
 * The pusher writes no word of a record that it has sent, so a dead one leaves nothing half done: what has an entry is committed. A
 * dead worker leaves a held word with its number in it, which anybody who knows that it is dead returns. A word is 64 bits and has
 * its lap in it, so that a swap by somebody who slept for a lap fails. Nothing here blocks; inline parts make no system call.
 */
#ifndef MEM_CLAIM_H
#define MEM_CLAIM_H

#include "base/layout.h"
#include "mem/lane.h"
#include "mem/pool.h"

#define CLAIM_WORKER_MAX ((UINT32_C(1) << 29) - 1)
#define CLAIM_LINE 8   /* slots of one cache line */
#define CLAIM_SHARE 64 /* bytes of the ring for each slot: shorter records count as so many */
#define CLAIM_RING_MAX (UINT64_C(1) << 30)
#define CLAIM_LOST                                                                                                     \
    UINT32_C(0x80000000) /* in an entry: the payload begins with how many were dropped before it, 64 bits */

enum claim_state { CLAIM_DONE, CLAIM_HELD, CLAIM_FREE };

struct claim_tx { /* written by the pusher only */
    char magic[8];
    uint32_t version, size; /* of this struct */
    uint64_t node;
    uint32_t number, slots;
    uint64_t pool;                /* the bound of the region behind the ring; 0: none */
    LINE_ALIGNED uint64_t floor;  /* everything before it is done: for those who come late */
    LINE_ALIGNED uint32_t closed; /* nothing more will come */
    uint32_t cpu;                 /* where it ran last */
    LINE_ALIGNED uint64_t entry[];
};
LAYOUT(claim_tx, 192, entry, 192);

struct claim_room {    /* how workers wake the pusher; shared */
    uint64_t want;     /* it sleeps until everything before this one is done; 0: it does not sleep */
    uint32_t given;    /* sleep on it */
    uint32_t polled;   /* its descriptor wants a byte */
    uint32_t fenced;   /* it cannot make others' fences: whoever rings fences himself */
    uint32_t returned; /* counts the words that became free again: look behind */
    uint32_t cpu;      /* where the last worker ran that asked */
    uint32_t turned;   /* the last worker that was here has turned to other pushers */
};

struct claim_words { /* written by everybody */
    char magic[8];
    uint32_t version, slots;
    LINE_ALIGNED struct claim_room room;
    LINE_ALIGNED uint64_t word[];
};
LAYOUT(claim_words, 128, word, 128);

#define CLAIM_TX_MAGIC "thirl.wq"
#define CLAIM_WORDS_MAGIC "thirl.cl"
#define CLAIM_VERSION 2

/* The two files, mapped. */
struct claim {
    struct seg tx, words;
    const struct claim_tx *from;
    struct claim_words *shared;
    const uint64_t *entry; /* the pusher writes them through a pointer of its own */
    uint64_t *word;
    uint64_t mask; /* slots - 1 */
    unsigned shift;
};

/* ---- words and entries ---- */

static inline uint64_t claim_make_word(uint32_t lap, uint32_t worker, bool again, enum claim_state state) {
    return (uint64_t)lap << 32 | (uint64_t)worker << 3 | (uint64_t)again << 2 | (uint64_t)state;
}

static inline uint32_t claim_worker(uint64_t word) {
    return (uint32_t)word >> 3;
}

static inline bool claim_again(uint64_t word) {
    return (word & 4) != 0;
}

static inline enum claim_state claim_state(uint64_t word) {
    return (enum claim_state)(word & 3);
}

static inline uint32_t claim_lap(const struct claim *c, uint64_t number) {
    return (uint32_t)(number >> c->shift) + 1;
}

static inline uint64_t claim_load(const struct claim *c, uint64_t number) {
    return atomic_load(&c->word[number & c->mask]); /* pairs with the swaps below */
}

/* Has that record been sent? *place: where, in units of 8 bytes, and CLAIM_LOST. */
static inline bool claim_sent(const struct claim *c, uint64_t number, uint32_t *place) {
    uint64_t entry = atomic_load(&c->entry[number & c->mask]); /* pairs with claim_send */
    *place = (uint32_t)entry;
    return (uint32_t)(entry >> 32) == claim_lap(c, number);
}

/* Pusher: shows a record. entries: its own mapping. */
static inline void claim_send(const struct claim *c, uint64_t *entries, uint64_t number, uint32_t place) {
    atomic_store(&entries[number & c->mask], (uint64_t)claim_lap(c, number) << 32 | place); /* (1) */
}

static inline bool claim_is_done(const struct claim *c, uint64_t number) {
    return claim_load(c, number) == claim_make_word(claim_lap(c, number), 0, false, CLAIM_DONE);
}

/* May a record that has been sent be taken, where its word is that? */
static inline bool claim_is_open(const struct claim *c, uint64_t number, uint64_t word) {
    uint32_t lap = claim_lap(c, number);
    return word == claim_make_word(lap - 1, 0, false, CLAIM_DONE) || word == claim_make_word(lap, 0, true, CLAIM_FREE);
}

/* Worker: takes it. false: somebody else was faster. */
static inline bool claim_take(const struct claim *c, uint64_t number, uint64_t word, uint32_t worker) {
    bool again = claim_state(word) == CLAIM_FREE;
    return atomic_cas(&c->word[number & c->mask], &word,
                      claim_make_word(claim_lap(c, number), worker, again, CLAIM_HELD));
}

/* Is it held, and by whom? 0: it is not. */
static inline uint32_t claim_holder(const struct claim *c, uint64_t number, uint64_t word) {
    return claim_state(word) == CLAIM_HELD && (uint32_t)(word >> 32) == claim_lap(c, number) ? claim_worker(word) : 0;
}

/* The word of what that worker holds, is done or free again. false: it did not hold it (any more). claim_return is also for whoever
 * knows that the holder is dead; tells those who look for work. */
bool claim_finish(const struct claim *, uint64_t number, uint32_t worker);
bool claim_return(const struct claim *, uint64_t number, uint32_t worker);

/* A record that will never be sent counts as done: for the pusher, before it shows the entry, and for whoever clears up after
 * it. */
void claim_skip(const struct claim *, uint64_t number);

/* ---- records ---- */

/* What a record is, copied out and checked; data stands in its pusher's file. */
struct claim_record {
    char *data;
    uint64_t size;
    uint64_t lost;  /* messages that were dropped before it */
    uint32_t units; /* of the chunk that it lies in, see pool_ref; 0: in the ring */
};

/* A reference, which stands where the payload would. */
bool claim_read_away(const struct claim *, uint32_t size, struct claim_record *);

/* Reads what stands at that place of the ring, a lane as claim_lane makes it. false: it fits neither ring nor region. What was
 * read is what its pusher wrote if the record's word is afterwards what it was before. */
static inline bool claim_read(const struct claim *c, const struct lane *lane, uint32_t place,
                              struct claim_record *record) {
    struct lane_head *head = lane_at(lane, (uint64_t)(place & ~CLAIM_LOST) * sizeof *head);
    uint64_t word = atomic_peek(&head->word);
    uint32_t span = (uint32_t)word, size = (uint32_t)(word >> 32);
    uint32_t before = (place & CLAIM_LOST) != 0 ? sizeof record->lost : 0, bytes = size & ~LANE_AWAY;
    *record = (struct claim_record){.data = (char *)lane_payload(head) + before, .size = bytes};
    if (!likely(bytes <= LANE_SIZE_MAX && lane_sound(lane, span, bytes) && lane_sound(lane, span, bytes + before))) {
        return false;
    }
    if (unlikely(before != 0)) {
        memcpy(&record->lost, lane_payload(head), sizeof record->lost);
    }
    return likely(bytes == size) || claim_read_away(c, bytes, record);
}

/* ---- files ---- */

/* Makes both files in the open directory, for a ring of about that many bytes and a region of as many as can be had of `pool`. 0 or
 * an error. */
int claim_make(struct claim *, int dir, const char *tx, const char *words, uint64_t ring, uint64_t pool, unsigned mode,
               uint64_t node, uint32_t number, const char *what);

/* Maps those of another end. 0; -ENOENT; -THIRL_EFORMAT, -THIRL_EVERSION; or an error. */
int claim_map(struct claim *, int dir, const char *tx, const char *words, uint64_t node, uint32_t number,
              const char *what);
void claim_unmap(struct claim *);

/* Has the pages at hand before they are needed: the first lap would fault for each, on both sides. A hint. */
void claim_warm(const struct claim *, bool own);

/* Where the first record is, from `number` on, that was sent although those before it were not; at most 64 loans can have been
 * out. false: nothing more was sent. Of a pusher that is gone. */
bool claim_beyond(const struct claim *, uint64_t *number);

/* How many records of those files are not done; 0 when there are none, or they are not what they should be. */
uint64_t claim_rest(int dir, const char *tx, const char *words, uint64_t *bytes, bool *closed);

/* Of the ring of that claim, as a lane at position 0. */
static inline struct lane claim_lane(const struct claim *c) {
    return (struct lane){.ring = c->tx.base + c->tx.head, .mask = c->tx.ring - 1};
}

#endif
