/* SPDX-License-Identifier: MIT
 *
 * A cache in shared memory: items by key (item.h), in a table of buckets. Who looks for a key takes no lock: it pins what it found (pin.h)
 * and looks whether it was still there. Who changes something holds the lock of the arena, and makes each change as one (redo.h): a
 * new item is allocated, linked and counted, and its forerunner taken away, by one commit, so a process may be killed anywhere.
 *
 *     reader                                      writer (arena_lock)
 *     v = acquire version                  (1)    takes it out of its bucket, puts it into LIMBO;
 *     walks to an item of that hash               the last word of that commit: release version + 1    pairs with (1), (4)
 *     pins it, full fence                  (2)    full fence                                           pairs with (2)
 *     version still v?                     (4)    pinned by somebody who lives? stays in LIMBO
 *     compares the key, reads                     else the block is free again, and may be anything
 *     nothing found, or copied without a pin: load fence, (4)
 *
 * An item that a reader walks over may be freed meanwhile and be anything: each place is checked before it is read, and nothing is
 * believed until (4). What is in LIMBO is looked at by each writer who comes by.
 */
#ifndef MEM_SHELF_H
#define MEM_SHELF_H

#include <string.h>

#include "base/clock.h"
#include "base/layout.h"
#include "mem/arena.h"
#include "mem/item.h"
#include "mem/lot.h"
#include "mem/pin.h"
#include "mem/sieve.h"

#define SHELF_MAGIC "thirl.ca"
#define SHELF_VERSION 1
#define SHELF_TRIES 1000 /* a reader whose bucket is changed so often in a row comes back later */

struct shelf_bucket { /* shared */
    uint64_t version, first;
};
LAYOUT(shelf_bucket, 16, first, 8);

struct shelf_head { /* shared */
    struct lot_head lot;
    uint64_t bytes, buckets; /* of all of it; a power of two. Never changed, like seats and seed */
    uint64_t seed, registry[2];
    uint32_t seats;
    LINE_ALIGNED uint64_t number; /* version of the newest item */
    uint64_t puts, removed, evicted, expired;
    uint32_t sat; /* see pins.high */
    uint32_t pad;
    struct sieve sieve;
    struct arena arena;
};
LAYOUT(shelf_head, 5824, sieve, 112);

struct shelf { /* what a process knows of it, checked once */
    struct shelf_head *head;
    unsigned char *base;
    struct shelf_bucket *bucket;
    uint64_t mask, seed;
    uint64_t first, end; /* of the blocks */
    struct pins pins;
    struct arena_view arena;
    struct sieve_view sieve;
};

/* Smallest file for so many buckets and seats. */
uint64_t shelf_least(uint64_t buckets, uint32_t seats);

/* Fills in zeroed memory of so many bytes. */
void shelf_begin(void *map, uint64_t bytes, uint64_t buckets, uint32_t seats, uint64_t seed);

/* Looks at a mapping for the node `self`. 0, -THIRL_EFORMAT, -THIRL_EVERSION; what names it in sentences. */
int shelf_check(struct shelf *, void *map, uint64_t size, uint64_t self, const char *what);

/* The largest item, head and key included: two fit, because a new one is there before the old one goes. */
uint64_t shelf_most(const struct shelf *);

struct shelf_key {
    const void *bytes;
    uint64_t hash;
    uint16_t size;
};
struct shelf_key shelf_key(const struct shelf *, const void *key, uint16_t size);

struct shelf_hit {
    uint64_t at; /* of the item, which is what is pinned */
    const unsigned char *value;
    uint64_t version;
    int64_t expiry;
    uint32_t bytes, pin;
};
/* Finds and pins: 0, released by pin_free. -ENOENT: it is not there, or (*late) has expired; -EBUSY: too many pins; -EAGAIN:
 * SHELF_TRIES; -THIRL_EFORMAT. Takes no lock. */
int shelf_find(struct shelf *, const struct shelf_key *, struct shelf_hit *, bool *late);

/* Copies the value out: for who may only read, or wants no pin. Writes nothing, needs no seat, and so does nothing for the item to stay. 0;
 * -EMSGSIZE: it is larger than the capacity; both set hit->bytes, version and expiry. -ENOENT, also of what has expired; -EAGAIN and
 * -THIRL_EFORMAT as above. */
int shelf_copy(const struct shelf *, const struct shelf_key *, void *buffer, size_t capacity, struct shelf_hit *hit);

/* The others want the lock, arena_lock(&shelf->arena, …), or nobody else there. */

/* The item of that key, or 0; *word: the place of the word that leads to it, or that is to lead to a new one. 0, -THIRL_EFORMAT. */
int shelf_locate(const struct shelf *, const struct shelf_key *, uint64_t *word, uint64_t *at);
/* The word that leads to an item which is in its bucket. */
int shelf_locate_item(const struct shelf *, uint64_t item, uint64_t *word);
/* What its block costs. */
uint64_t shelf_block(const struct shelf *, uint64_t at);

/* Is everything consistent? 0, or -THIRL_EFORMAT with the offset where it is not. For tests and doctors: reads everything. */
int shelf_audit(const struct shelf *, uint64_t *where);

/* ---- for this room and those above it ---- */

static inline struct item *shelf_item(const struct shelf *shelf, uint64_t at) {
    return (struct item *)(void *)(shelf->base + at);
}

/* May something be read there that is as large as an item's head? */
static inline bool shelf_is_place(const struct shelf *shelf, uint64_t at) {
    return at % 16 == 0 && at >= shelf->first + ARENA_HEAD && at <= shelf->end - ITEM_HEAD;
}

static inline struct shelf_bucket *shelf_bucket(const struct shelf *shelf, uint64_t hash) {
    return &shelf->bucket[hash & shelf->mask];
}

/* Most keys are short: without a call. */
static inline bool shelf_same(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    uint64_t head[2], tail[2];
    if (size < sizeof *head || size > 2 * sizeof *head) {
        return memcmp(x, y, size) == 0;
    }
    memcpy(&head[0], x, sizeof *head);
    memcpy(&head[1], y, sizeof *head);
    memcpy(&tail[0], x + size - sizeof *tail, sizeof *tail);
    memcpy(&tail[1], y + size - sizeof *tail, sizeof *tail);
    return ((head[0] ^ head[1]) | (tail[0] ^ tail[1])) == 0;
}

/* Of an item that does not go away meanwhile: has it that key, and does it lie inside? *bytes: of its value. */
static inline bool shelf_is_key(const struct shelf *shelf, const struct item *item, const struct shelf_key *key,
                                uint32_t *bytes) {
    uint64_t at = (uint64_t)((const unsigned char *)item - shelf->base);
    *bytes = atomic_peek(&item->value_bytes);
    return item->key_bytes == key->size && item_bytes(key->size, *bytes) <= shelf->end - at &&
           shelf_same(item + 1, key->bytes, key->size);
}

/* Fetches what shelf_find will look at: of many keys first this for all, then that. */
static inline void shelf_expect(const struct shelf *shelf, const struct shelf_key *key) {
    __builtin_prefetch(shelf_bucket(shelf, key->hash));
}
static inline void shelf_expect_item(const struct shelf *shelf, const struct shelf_key *key) {
    uintptr_t at = (uintptr_t)shelf->base + atomic_peek(&shelf_bucket(shelf, key->hash)->first); /* anywhere */
    __builtin_prefetch((const void *)at); /* not to write to it: an item that is found often has all its uses */
    __builtin_prefetch((const void *)(at + CACHE_LINE));
}

static inline bool shelf_is_late(int64_t expiry) {
    return unlikely(expiry != INT64_MAX) && expiry <= clock_now();
}

#endif
