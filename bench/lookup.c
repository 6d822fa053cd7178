/* SPDX-License-Identifier: MIT
 *
 * What it costs to find a value by its key and to copy it out: of a cache, by a pin, by a copy, and by 32 pins at once, in one of two
 * processes that have it open. Floor: a bare hash table in private memory that never changes, with open addresses.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <thirl/cache.h>

#include "bench/end.h"
#include "bench/floor.h"

#define KEYS 1024u
#define PLACES (2 * KEYS)
#define BATCH 32

/* Which key is next: without an order that a processor could learn. */
static uint64_t key_after(uint64_t *dice) {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    return (*dice >> 32) % KEYS + 1;
}

static unsigned char *make_room(struct run *run, size_t size) {
    unsigned char *room = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!room) {
        (void)stage_fail(run, STAGE_PING, "no memory for values");
        return NULL;
    }
    memset(room, 7, size);
    return room;
}

/* ---- floor ---- */

struct place {
    uint64_t key, version;
    unsigned char *value;
    size_t size;
};

static struct place *find(struct place *table, uint64_t key) {
    uint64_t hash = key * UINT64_C(0x9fb21c651e98df25), at = (hash ^ hash >> 32) % PLACES;
    while (table[at].key != 0 && table[at].key != key) {
        at = (at + 1) % PLACES;
    }
    return &table[at];
}

/* A call, as any library's is. */
__attribute__((noinline)) static size_t get_bare(struct place *table, uint64_t key, void *buffer, size_t capacity) {
    const struct place *place = find(table, key);
    if (place->key != key || place->size > capacity) {
        return 0;
    }
    memcpy(buffer, place->value, place->size);
    stage_use(buffer);
    return place->size;
}

static int ping_bare(struct run *run) {
    static struct place table[PLACES];
    unsigned char *values = make_room(run, KEYS * run->size), *buffer = make_room(run, run->size);
    uint64_t dice = 88172645463325252;
    size_t wrong = 0;
    if (!values || !buffer) {
        return -1;
    }
    for (uint64_t key = 1; key <= KEYS; key++) {
        *find(table, key) = (struct place){key, 1, values + (key - 1) * run->size, run->size};
    }
    stage_meet(run, STAGE_PING);
    STAGE_REPEAT(run, wrong |= get_bare(table, key_after(&dice), buffer, run->size) ^ run->size);
    free(values);
    free(buffer);
    return wrong ? stage_fail(run, STAGE_PING, "a key was not found") : 0;
}

static int pong_bare(struct run *run) {
    stage_meet(run, STAGE_PONG);
    return 0;
}

const struct work floor_lookup = {.ping = ping_bare, .pong = pong_bare};

/* ---- thirl ---- */

static thirl_cache *open_cache(struct run *run, enum stage_side side) {
    struct thirl_cache_options options = {
        .size = sizeof options, .bytes = (run->size + 256) * KEYS * 2 + (UINT64_C(1) << 20), .items = KEYS};
    thirl_cache *cache = NULL;
    if (thirl_cache_open(&cache, run->address, &options)) {
        (void)end_fail(run, side, "thirl_cache_open");
    }
    return cache;
}

/* One that is there and pinned: copied out, and released. */
stage_inline size_t take(thirl_cache *cache, struct thirl_cache_pin *pin, void *buffer, size_t capacity) {
    size_t size = pin->size;
    if (size > capacity) {
        return 0;
    }
    memcpy(buffer, pin->value, size);
    stage_use(buffer);
    thirl_cache_unpin(cache, pin);
    return size;
}

stage_inline size_t get_pinned(thirl_cache *cache, uint64_t key, void *buffer, size_t capacity) {
    struct thirl_cache_pin pin;
    return thirl_cache_get(cache, &key, sizeof key, &pin) ? 0 : take(cache, &pin, buffer, capacity);
}

stage_inline size_t get_copied(thirl_cache *cache, uint64_t key, void *buffer, size_t capacity) {
    size_t size = 0;
    return thirl_cache_copy(cache, &key, sizeof key, buffer, capacity, &size, NULL) ? 0 : size;
}

/* A batch of pins; each call but the first of it only copies. */
struct batch {
    struct thirl_cache_pin pin[BATCH];
    unsigned left;
};

stage_inline size_t get_batched(thirl_cache *cache, struct batch *batch, uint64_t *dice, void *buffer,
                                size_t capacity) {
    uint64_t key[BATCH];
    struct iovec keys[BATCH];
    if (batch->left == 0) {
        for (int i = 0; i < BATCH; i++) {
            key[i] = key_after(dice);
            keys[i] = (struct iovec){&key[i], sizeof key[i]};
        }
        if (thirl_cache_get_many(cache, keys, BATCH, batch->pin) != BATCH) {
            return 0;
        }
        batch->left = BATCH;
    }
    return take(cache, &batch->pin[--batch->left], buffer, capacity);
}

enum way { PIN, COPY, MANY };

stage_inline int ping(struct run *run, enum way way) {
    thirl_cache *cache = open_cache(run, STAGE_PING);
    unsigned char *buffer = make_room(run, run->size);
    struct batch batch = {.left = 0};
    uint64_t dice = 88172645463325252;
    size_t wrong = 0, size = run->size;
    if (!cache || !buffer) {
        return -1;
    }
    stage_meet(run, STAGE_PING); /* all is there; and its pages are this process's as well behind one look at each */
    for (uint64_t key = 1; key <= KEYS; key++) {
        wrong |= get_copied(cache, key, buffer, size) ^ size;
    }
    switch (way) {
    case PIN:
        STAGE_REPEAT(run, wrong |= get_pinned(cache, key_after(&dice), buffer, size) ^ size);
        break;
    case COPY:
        STAGE_REPEAT(run, wrong |= get_copied(cache, key_after(&dice), buffer, size) ^ size);
        break;
    case MANY:
        STAGE_REPEAT(run, wrong |= get_batched(cache, &batch, &dice, buffer, size) ^ size);
    }
    thirl_cache_close(&cache);
    free(buffer);
    return wrong ? end_fail(run, STAGE_PING, "thirl_cache_get") : 0;
}

static int ping_pin(struct run *run) {
    return ping(run, PIN);
}
static int ping_copy(struct run *run) {
    return ping(run, COPY);
}
static int ping_many(struct run *run) {
    return ping(run, MANY);
}

static int pong(struct run *run) {
    thirl_cache *cache = open_cache(run, STAGE_PONG);
    unsigned char *value = make_room(run, run->size);
    int bad = 0;
    if (!cache || !value) {
        return -1;
    }
    for (uint64_t key = 1; key <= KEYS && !bad; key++) {
        bad = thirl_cache_put(cache, &key, sizeof key, value, run->size, THIRL_NEVER, THIRL_SOON);
    }
    stage_meet(run, STAGE_PONG);
    thirl_cache_close(&cache);
    free(value);
    return bad ? end_fail(run, STAGE_PONG, "thirl_cache_put") : 0;
}

const struct work thirl_lookup = {.ping = ping_pin, .pong = pong};
const struct work thirl_lookup_copy = {.ping = ping_copy, .pong = pong};
const struct work thirl_lookup_many = {.ping = ping_many, .pong = pong};
