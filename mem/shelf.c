/* SPDX-License-Identifier: MIT
 *
 * The layout, keys, finding without a lock, and looking whether all is in order.
 */
#include "mem/shelf.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/weave.h"
#include "include/thirl/thirl.h"

/* ---- the whole ---- */

static uint64_t up(uint64_t bytes) {
    return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static uint64_t seats_at(void) {
    return up(sizeof(struct shelf_head));
}
static uint64_t buckets_at(uint32_t seats) {
    return seats_at() + seats * sizeof(struct pin_seat);
}
static uint64_t ghosts_at(uint64_t buckets, uint32_t seats) {
    return buckets_at(seats) + buckets * sizeof(struct shelf_bucket);
}
static uint64_t blocks_at(uint64_t buckets, uint32_t seats) {
    return up(ghosts_at(buckets, seats) + buckets * sizeof(uint64_t));
}

uint64_t shelf_least(uint64_t buckets, uint32_t seats) {
    return blocks_at(buckets, seats) + 4096;
}

void shelf_begin(void *map, uint64_t bytes, uint64_t buckets, uint32_t seats, uint64_t seed) {
    struct shelf_head *head = map;
    lot_begin(&head->lot, SHELF_MAGIC, SHELF_VERSION, sizeof *head);
    head->bytes = bytes;
    head->buckets = buckets;
    head->seats = seats;
    head->seed = seed;
    arena_begin(map, offsetof(struct shelf_head, arena), blocks_at(buckets, seats), bytes);
}

int shelf_check(struct shelf *shelf, void *map, uint64_t size, uint64_t self, const char *what) {
    struct shelf_head *head = map;
    int rc = lot_check(&head->lot, size, SHELF_MAGIC, SHELF_VERSION, sizeof *head, what);
    if (rc != 0) {
        return rc;
    }
    uint64_t bytes = atomic_peek(&head->bytes), buckets = atomic_peek(&head->buckets);
    uint32_t seats = atomic_peek(&head->seats);
    bool whole = bytes <= size && bytes <= ARENA_MOST && buckets >= SIEVE_GHOST_WAYS && buckets <= bytes &&
                 (buckets & (buckets - 1)) == 0 && seats != 0 && seats <= bytes / sizeof(struct pin_seat) &&
                 shelf_least(buckets, seats) <= bytes && head->arena.first == blocks_at(buckets, seats);
    if (!whole) {
        return err_say(THIRL_EFORMAT, "%s has sizes that do not fit together: remove it", what);
    }
    unsigned char *base = map;
    *shelf = (struct shelf){.head = head,
                            .base = base,
                            .bucket = (struct shelf_bucket *)(void *)(base + buckets_at(seats)),
                            .mask = buckets - 1,
                            .seed = head->seed,
                            .first = blocks_at(buckets, seats),
                            .end = bytes,
                            .pins = {.seat = (struct pin_seat *)(void *)(base + seats_at()),
                                     .seats = seats,
                                     .high = &head->sat,
                                     .self = self},
                            .arena = {.arena = &head->arena,
                                      .base = base,
                                      .at = offsetof(struct shelf_head, arena),
                                      .limit = bytes,
                                      .self = self},
                            .sieve = {.sieve = &head->sieve,
                                      .base = base,
                                      .at = offsetof(struct shelf_head, sieve),
                                      .ghost = (uint64_t *)(void *)(base + ghosts_at(buckets, seats)),
                                      .mask = buckets - 1}};
    return 0;
}

uint64_t shelf_most(const struct shelf *shelf) {
    return (shelf->end - shelf->first) / 2 - ARENA_HEAD;
}

/* ---- keys ---- */

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
    return hash ^ hash >> 29;
}

/* Two lanes, because one multiplication waits for the one before. */
struct shelf_key shelf_key(const struct shelf *shelf, const void *key, uint16_t size) {
    const unsigned char *bytes = key;
    uint64_t a = shelf->seed, b = ~shelf->seed, word[2];
    unsigned left = size;
    for (; left >= sizeof word; left -= sizeof word, bytes += sizeof word) {
        memcpy(word, bytes, sizeof word);
        a = mix(a, word[0]);
        b = mix(b, word[1]);
    }
    if (left >= sizeof *word) {
        memcpy(word, bytes, sizeof *word);
        a = mix(a, word[0]);
        left -= (unsigned)sizeof *word;
        bytes += sizeof *word;
    }
    word[0] = 0;
    memcpy(word, bytes, left);
    b = mix(b, word[0]);
    a = mix(mix(a, b), size);
    a *= UINT64_C(0xd6e8feb86659fd93);
    return (struct shelf_key){.bytes = key, .hash = a ^ a >> 32, .size = size};
}

/* ---- finding ---- */

#define AGAIN (-EINTR) /* the bucket has changed */

static inline bool is_same(const struct shelf_bucket *bucket, uint64_t version) {
    atomic_fence_loads();
    return likely(atomic_peek(&bucket->version) == version); /* (4) */
}

/* It is pinned, and was in its bucket then: it stays what it is. */
static int take(struct shelf *shelf, struct item *item, const struct shelf_key *key, struct shelf_hit *hit,
                bool *late) {
    struct pin_slot *slot = pin_slot(&shelf->pins, hit->pin);
    hit->value = (const unsigned char *)item + item_value(key->size);
    hit->version = item->version;
    hit->expiry = item->expiry;
    if (shelf_is_late(hit->expiry)) {
        pin_free(&shelf->pins, hit->pin);
        *late = true;
        return -ENOENT;
    }
    uint8_t uses = atomic_peek(&item->uses);
    if (uses < ITEM_USES_MAX) {
        atomic_poke(&item->uses, (uint8_t)(uses + 1));
    }
    atomic_poke(&slot->count, atomic_peek(&slot->count) + 1);
    return 0;
}

/* The item there has the hash that is looked for, unless it is none any more. *found: it has the key as well. */
static inline int grasp(struct shelf *shelf, const struct shelf_bucket *bucket, uint64_t version, uint64_t at,
                        const struct shelf_key *key, struct shelf_hit *hit, bool *found) {
    weave("shelf.find.seen");
    hit->pin = pin_set(&shelf->pins, at); /* (2) */
    if (unlikely(hit->pin == 0)) {
        return -EBUSY;
    }
    weave("shelf.find.pinned");
    if (unlikely(atomic_load(&bucket->version) != version)) { /* (4) */
        pin_free(&shelf->pins, hit->pin);
        return AGAIN;
    }
    hit->at = at;
    *found = shelf_is_key(shelf, shelf_item(shelf, at), key, &hit->bytes);
    if (unlikely(!*found)) {
        pin_free(&shelf->pins, hit->pin);
    }
    return 0;
}

struct walk { /* along a bucket */
    const struct shelf_bucket *bucket;
    uint64_t version, at, steps;
};

static inline struct walk set_out(const struct shelf *shelf, const struct shelf_key *key) {
    const struct shelf_bucket *bucket = shelf_bucket(shelf, key->hash);
    uint64_t version = atomic_load(&bucket->version); /* (1) */
    return (struct walk){bucket, version, .steps = shelf->end / ARENA_LEAST,
                         .at = atomic_load(&bucket->first)}; /* pairs with the stores in redo_commit, as all links */
}

static inline void go_on(const struct shelf *shelf, struct walk *walk) {
    walk->at = atomic_load(&shelf_item(shelf, walk->at)->next);
    walk->steps--;
}

/* To the next item with that hash, this one included: 0; -ENOENT: there is none. */
static inline int seek(const struct shelf *shelf, struct walk *walk, uint64_t hash) {
    for (; walk->at != 0; go_on(shelf, walk)) {
        if (unlikely(!shelf_is_place(shelf, walk->at) || walk->steps == 0)) {
            return is_same(walk->bucket, walk->version) ? -THIRL_EFORMAT : AGAIN;
        }
        if (atomic_peek(&shelf_item(shelf, walk->at)->hash) == hash) {
            return 0;
        }
    }
    return is_same(walk->bucket, walk->version) ? -ENOENT : AGAIN;
}

static inline int look(struct shelf *shelf, const struct shelf_key *key, struct shelf_hit *hit, bool *late) {
    for (struct walk walk = set_out(shelf, key);; go_on(shelf, &walk)) {
        bool found = false;
        int rc = seek(shelf, &walk, key->hash);
        rc = rc != 0 ? rc : grasp(shelf, walk.bucket, walk.version, walk.at, key, hit, &found);
        if (rc != 0 || found) {
            return rc != 0 ? rc : take(shelf, shelf_item(shelf, walk.at), key, hit, late);
        }
    }
}

HOT int shelf_find(struct shelf *shelf, const struct shelf_key *key, struct shelf_hit *hit, bool *late) {
    *late = false;
    for (int tries = 0; tries < SHELF_TRIES; tries++) {
        int rc = look(shelf, key, hit, late);
        if (likely(rc != AGAIN)) {
            if (rc == -ENOENT) {
                (void)atomic_add(&shelf->pins.seat[shelf->pins.mine[0] - 1].misses, 1);
            }
            return rc;
        }
        weave("shelf.find.again");
        atomic_pause();
    }
    return -EAGAIN;
}

static int look_and_copy(const struct shelf *shelf, const struct shelf_key *key, void *buffer, size_t capacity,
                         struct shelf_hit *hit) {
    struct walk walk = set_out(shelf, key);
    for (;; go_on(shelf, &walk)) {
        int rc = seek(shelf, &walk, key->hash);
        if (rc != 0) {
            return rc;
        }
        if (shelf_is_key(shelf, shelf_item(shelf, walk.at), key, &hit->bytes)) {
            break;
        }
    }
    const struct item *item = shelf_item(shelf, walk.at);
    hit->at = walk.at;
    hit->version = atomic_peek(&item->version);
    hit->expiry = atomic_peek(&item->expiry);
    if (hit->bytes <= capacity && hit->bytes != 0) {
        memcpy(buffer, (const unsigned char *)item + item_value(key->size), hit->bytes);
    }
    weave("shelf.copy.done");
    return !is_same(walk.bucket, walk.version) ? AGAIN
           : shelf_is_late(hit->expiry)        ? -ENOENT
           : hit->bytes > capacity             ? -EMSGSIZE
                                               : 0;
}

int shelf_copy(const struct shelf *shelf, const struct shelf_key *key, void *buffer, size_t capacity,
               struct shelf_hit *hit) {
    for (int tries = 0; tries < SHELF_TRIES; tries++) {
        int rc = look_and_copy(shelf, key, buffer, capacity, hit);
        if (likely(rc != AGAIN)) {
            return rc;
        }
        atomic_pause();
    }
    return -EAGAIN;
}

/* ---- under the lock ---- */

int shelf_locate(const struct shelf *shelf, const struct shelf_key *key, uint64_t *word, uint64_t *at) {
    struct shelf_bucket *bucket = shelf_bucket(shelf, key->hash);
    uint64_t head = (uint64_t)((unsigned char *)&bucket->first - shelf->base), steps = shelf->end / ARENA_LEAST;
    uint32_t bytes;
    *word = head;
    for (*at = atomic_peek(&bucket->first); *at != 0; steps--) {
        if (!shelf_is_place(shelf, *at) || steps == 0) {
            return -THIRL_EFORMAT;
        }
        const struct item *item = shelf_item(shelf, *at);
        if (atomic_peek(&item->hash) == key->hash && shelf_is_key(shelf, item, key, &bytes)) {
            return 0;
        }
        *word = ITEM_PLACE(*at, next);
        *at = atomic_peek(&item->next);
    }
    *word = head;
    return 0;
}

int shelf_locate_item(const struct shelf *shelf, uint64_t item, uint64_t *word) {
    const struct shelf_bucket *bucket = shelf_bucket(shelf, shelf_item(shelf, item)->hash);
    uint64_t steps = shelf->end / ARENA_LEAST, at = atomic_peek(&bucket->first);
    *word = (uint64_t)((const unsigned char *)&bucket->first - shelf->base);
    for (; at != item; steps--) {
        if (!shelf_is_place(shelf, at) || steps == 0) {
            return -THIRL_EFORMAT;
        }
        *word = ITEM_PLACE(at, next);
        at = atomic_peek(&shelf_item(shelf, at)->next);
    }
    return 0;
}

uint64_t shelf_block(const struct shelf *shelf, uint64_t at) {
    return arena_size(&shelf->arena, at) + ARENA_HEAD;
}

/* ---- is it in order? ---- */

static int audit_queue(const struct shelf *shelf, uint64_t list, uint64_t *bytes, uint64_t *items, uint64_t *where) {
    const struct sieve_queue *queue = &shelf->head->sieve.queue[list];
    uint64_t newer = 0, size = 0, count_of = 0, word;
    for (*where = queue->newest; *where != 0; *where = shelf_item(shelf, *where)->older) {
        const struct item *item = shelf_is_place(shelf, *where) ? shelf_item(shelf, *where) : NULL;
        if (item == NULL || item->newer != newer || item->list != list || arena_size(&shelf->arena, *where) == 0 ||
            item_bytes(item->key_bytes, item->value_bytes) > arena_size(&shelf->arena, *where)) {
            return -THIRL_EFORMAT;
        }
        if (list != SIEVE_LIMBO && shelf_locate_item(shelf, *where, &word) != 0) {
            return -THIRL_EFORMAT;
        }
        newer = *where;
        size += shelf_block(shelf, *where);
        count_of++;
    }
    *bytes += size;
    *items += count_of;
    return queue->oldest == newer && queue->bytes == size && queue->items == count_of ? 0 : -THIRL_EFORMAT;
}

int shelf_audit(const struct shelf *shelf, uint64_t *where) {
    uint64_t bytes = 0, items = 0, kept = 0, linked = 0;
    int rc = arena_check(&shelf->arena, where);
    for (uint64_t list = 0; rc == 0 && list < SIEVE_LISTS; list++) {
        kept = items;
        rc = audit_queue(shelf, list, &bytes, &items, where);
    }
    for (uint64_t i = 0; rc == 0 && i <= shelf->mask; i++) {
        for (*where = shelf->bucket[i].first; *where != 0; *where = shelf_item(shelf, *where)->next) {
            const struct item *item = shelf_is_place(shelf, *where) ? shelf_item(shelf, *where) : NULL;
            if (item == NULL || (item->hash & shelf->mask) != i || item->list >= SIEVE_LIMBO || ++linked > kept) {
                return -THIRL_EFORMAT;
            }
        }
    }
    if (rc == 0 && (linked != kept || shelf->head->arena.used != bytes || shelf->head->arena.blocks != items)) {
        *where = 0;
        rc = -THIRL_EFORMAT;
    }
    return rc;
}
