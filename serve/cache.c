/* SPDX-License-Identifier: MIT
 *
 * Shared caches by name: a shelf in a file of the registry, and a seat on it for each handle.
 */
#include "include/thirl/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/proc.h"
#include "mem/lot.h"
#include "mem/node.h"
#include "mem/store.h"

#define USUAL_BYTES (UINT64_C(64) << 20)
#define USUAL_ITEM 512
#define PAGE 4096
#define LIMIT_NS (30 * CLOCK_S)
#define TIDY_MS 50
#define AHEAD 16 /* keys whose memory is fetched at once: about as many lines as a processor can wait for */

_Static_assert(THIRL_CACHE_PINS_MAX == PIN_MINE * PIN_SLOTS, "what is promised");
_Static_assert(THIRL_CACHE_KEY_MAX == ITEM_KEY_MAX, "what is promised");

struct thirl_cache {
    struct shelf shelf;
    uint32_t epoch, writes; /* writes: 0, if it may only read */
    struct lot lot;
    struct node_end *line;
    char shown[LOT_SHOWN_MAX];
};

__attribute__((cold, noinline)) static int refuse(const thirl_cache *cache) {
    return cache == NULL ? err_say(EINVAL, "there is no cache (NULL)")
           : cache->epoch != proc_epoch()
               ? err_say(THIRL_EFORKED, "%s was opened before fork, by the parent process", cache->shown)
               : err_say(EACCES,
                         "%s was opened for reading only, and who pins or changes something writes: copy from it",
                         cache->shown);
}

/* For pins and changes. */
static inline bool is_mine(const thirl_cache *cache) {
    return likely(cache != NULL && cache->writes == proc_epoch());
}

static inline bool is_readable(const thirl_cache *cache) {
    return likely(cache != NULL && cache->epoch == proc_epoch());
}

/* ---- open and close ---- */

struct plan {
    uint64_t bytes, buckets, seed;
    uint32_t seats, mode, group;
    bool make, writable;
};

static int make_plan(struct plan *plan, const struct thirl_cache_options *given) {
    struct thirl_cache_options o = {.size = sizeof o};
    int rc = lot_options(&o, sizeof o, given, "thirl_cache_open");
    if (rc != 0) {
        return rc;
    }
    o.bytes = o.bytes != 0 ? o.bytes : USUAL_BYTES;
    o.items = o.items != 0 ? o.items : o.bytes / USUAL_ITEM;
    if (o.bytes > ARENA_MOST || o.items > ARENA_MOST / sizeof(struct shelf_bucket)) {
        return err_say(EFBIG, "thirl_cache_open: a cache has up to %llu bytes", (unsigned long long)ARENA_MOST);
    }
    uint64_t seats = o.bytes >> 16 < 16 ? 16 : o.bytes >> 16 > 256 ? 256 : o.bytes >> 16;
    *plan = (struct plan){.bytes = (o.bytes + PAGE - 1) / PAGE * PAGE,
                          .buckets = SIEVE_GHOST_WAYS,
                          .seats = o.seats != 0 ? o.seats : (uint32_t)seats,
                          .mode = o.mode != 0 ? o.mode : 0600,
                          .group = o.group,
                          .make = o.there == 0 && o.access == THIRL_ACCESS_WRITE,
                          .writable = o.access == THIRL_ACCESS_WRITE};
    while (plan->buckets < o.items) {
        plan->buckets *= 2;
    }
    if (getrandom(&plan->seed, sizeof plan->seed, GRND_NONBLOCK) != (ssize_t)sizeof plan->seed) {
        plan->seed = (uint64_t)clock_now();
    }
    uint64_t least = shelf_least(plan->buckets, plan->seats);
    if (least > plan->bytes) {
        return err_say(EINVAL, "a cache for %llu items and %u seats needs %llu bytes and more, not %llu",
                       (unsigned long long)o.items, plan->seats, (unsigned long long)least,
                       (unsigned long long)plan->bytes);
    }
    return (plan->mode & ~0777u) != 0 || o.access > THIRL_ACCESS_READ
               ? err_say(EINVAL, "thirl_cache_open: the mode 0%o or access %u is none", plan->mode, o.access)
               : 0;
}

static void begin(void *map, void *context) {
    const struct plan *plan = context;
    shelf_begin(map, plan->bytes, plan->buckets, plan->seats, plan->seed);
    lot_registry(((struct shelf_head *)map)->registry);
}

static int open_file(thirl_cache *cache, const char *file, struct plan *plan) {
    const struct lot_plan lot = {.file = file,
                                 .what = cache->shown,
                                 .writable = plan->writable,
                                 .make = plan->make,
                                 .bytes = plan->bytes,
                                 .mode = plan->mode,
                                 .group = plan->group,
                                 .begin = begin,
                                 .context = plan};
    int rc = lot_open(&cache->lot, &lot);
    if (rc == -ENOENT) {
        return err_say(ENOENT, "there is no %s", cache->shown);
    }
    rc = rc != 0 ? rc : shelf_check(&cache->shelf, cache->lot.map, cache->lot.size, node_id(), cache->shown);
    return rc != 0 ? rc : lot_belongs(cache->shelf.head->registry, cache->shown);
}

static int64_t deadline(thirl_time until) {
    return until.ns < 0 ? clock_after(clock_now(), LIMIT_NS) : until.ns;
}

/* Begins what changes something: 0 with the lock held, which leave gives back; or an error. */
static int enter(thirl_cache *cache, thirl_time until) {
    int rc = arena_lock(&cache->shelf.arena, until.ns >= 0 ? until.ns : deadline(until));
    if (unlikely(rc == OWN_DIED)) { /* what it had begun is finished; what it had pinned as well is looked for here */
        (void)pin_bury(&cache->shelf.pins);
        return 0;
    }
    return likely(rc == 0)        ? 0
           : rc == -THIRL_EFORMAT ? err_say(THIRL_EFORMAT, "%s is damaged: remove it", cache->shown)
                                  : err_say(-rc, "%s: another process has been at work in it for long", cache->shown);
}

static void leave(thirl_cache *cache) {
    arena_unlock(&cache->shelf.arena);
}

/* Seats of the dead are free again, and so is what only they had pinned. */
static int tidy(thirl_cache *cache, thirl_time until) {
    int rc = enter(cache, until);
    if (rc == 0) {
        (void)pin_bury(&cache->shelf.pins);
        store_sweep(&cache->shelf, UINT64_MAX);
        leave(cache);
    }
    return rc;
}

static int take_seat(thirl_cache *cache) {
    int rc = tidy(cache, thirl_in_ms(TIDY_MS)); /* who is stopped in the midst of a change does not keep others out */
    if (rc != 0 && rc != -ETIMEDOUT) {
        return rc;
    }
    rc = pin_join(&cache->shelf.pins);
    return rc == 0 ? 0
                   : err_say(-rc,
                             "%s has %u seats, and all are taken: close one of its handles, or remove it and make it "
                             "with more",
                             cache->shown, cache->shelf.pins.seats);
}

int thirl_cache_open(thirl_cache **cache, const char *name, const struct thirl_cache_options *options) {
    struct plan plan = {0};
    char file[LOT_NAME_MAX];
    if (cache == NULL) {
        return err_say(EINVAL, "thirl_cache_open: there is no room for the handle (NULL)");
    }
    *cache = NULL;
    thirl_cache *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return err_say(ENOMEM, "no memory to open a cache");
    }
    made->lot.fd = -1;
    int rc = lot_name(file, made->shown, "cache", name);
    rc = rc != 0 ? rc : make_plan(&plan, options);
    rc = rc != 0 ? rc : node_end_take(&made->line, strchr(made->shown, ' ') + 1, NODE_ROLE_CACHE, true);
    made->epoch = rc == 0 ? proc_epoch() : 0;
    rc = rc != 0 ? rc : open_file(made, file, &plan);
    rc = rc != 0 || !plan.writable ? rc : take_seat(made);
    made->writes = plan.writable ? made->epoch : 0;
    if (rc != 0) {
        thirl_cache_close(&made);
        return rc;
    }
    *cache = made;
    return 0;
}

void thirl_cache_close(thirl_cache **cache) {
    thirl_cache *old = cache != NULL ? *cache : NULL;
    if (old == NULL) {
        return;
    }
    *cache = NULL;
    bool child = old->epoch != 0 && old->epoch != proc_epoch(); /* mapping, seats and line are the parent's */
    if (child) {
        old->lot.map = NULL;
    } else {
        pin_leave(&old->shelf.pins);
    }
    lot_close(&old->lot);
    if (old->line != NULL && !child) {
        node_end_free(old->line);
    }
    free(old);
}

int thirl_cache_remove_name(const char *name) {
    char file[LOT_NAME_MAX], shown[LOT_SHOWN_MAX];
    int rc = lot_name(file, shown, "cache", name);
    return rc != 0 ? rc : lot_remove(file, shown);
}

/* ---- items ---- */

__attribute__((cold, noinline)) static int wrong_key(const thirl_cache *cache, const void *key, size_t size) {
    return key == NULL
               ? err_say(EINVAL, "%s: there is no key (NULL)", cache->shown)
               : err_say(EINVAL, "%s: a key has 1 to %d bytes, not %zu", cache->shown, THIRL_CACHE_KEY_MAX, size);
}

static inline bool is_key(const void *key, size_t size) {
    return likely(key != NULL && size - 1 < THIRL_CACHE_KEY_MAX);
}

__attribute__((cold, noinline)) static int missed(thirl_cache *cache, const struct shelf_key *key, int rc, bool late) {
    switch (rc) {
    case -ENOENT:
        if (late && arena_lock(&cache->shelf.arena, 0) >= 0) { /* its room is worth more than a look for it */
            (void)store_remove(&cache->shelf, key, true);
            leave(cache);
        }
        return THIRL_CACHE_MISS;
    case -EBUSY:
        return err_say(EBUSY, "%s: this handle has as many items pinned as it can (%d, or fewer seats): unpin some",
                       cache->shown, THIRL_CACHE_PINS_MAX);
    case -EAGAIN:
        return err_say(EAGAIN, "%s is changed faster than it can be read: try again", cache->shown);
    default:
        return err_say(THIRL_EFORMAT, "%s is damaged: remove it", cache->shown);
    }
}

static inline int find(thirl_cache *cache, const struct shelf_key *key, struct thirl_cache_pin *pin) {
    struct shelf_hit hit;
    bool late;
    int rc = shelf_find(&cache->shelf, key, &hit, &late);
    if (unlikely(rc != 0)) {
        *pin = (struct thirl_cache_pin){0};
        return missed(cache, key, rc, late);
    }
    *pin = (struct thirl_cache_pin){.value = hit.value,
                                    .size = hit.bytes,
                                    .version = hit.version,
                                    .expires = {hit.expiry},
                                    .at = hit.at,
                                    .pin = hit.pin};
    return 0;
}

HOT int thirl_cache_get(thirl_cache *cache, const void *key, size_t key_size, struct thirl_cache_pin *pin) {
    if (!is_mine(cache)) {
        return refuse(cache);
    }
    if (!is_key(key, key_size) || pin == NULL) {
        return pin == NULL ? err_say(EINVAL, "%s: there is no room for the answer (NULL)", cache->shown)
                           : wrong_key(cache, key, key_size);
    }
    struct shelf_key what = shelf_key(&cache->shelf, key, (uint16_t)key_size);
    return find(cache, &what, pin);
}

/* As much of it as its reader will soon want, into no nearer cache than all of a batch finds room in. */
static inline void expect_value(const unsigned char *value, size_t size) {
    for (size_t at = 0; at < size && at < PAGE; at += CACHE_LINE) {
        __builtin_prefetch(value + at, 0, 2);
    }
}

/* What lies in memory of one key is fetched while the others' is: as far as these are known. How many were found, or an error. */
static int find_some(thirl_cache *cache, const struct iovec *keys, size_t count, struct thirl_cache_pin *pins) {
    struct shelf_key what[AHEAD];
    int found = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_key(keys[i].iov_base, keys[i].iov_len)) {
            return wrong_key(cache, keys[i].iov_base, keys[i].iov_len);
        }
        what[i] = shelf_key(&cache->shelf, keys[i].iov_base, (uint16_t)keys[i].iov_len);
        shelf_expect(&cache->shelf, &what[i]);
    }
    for (size_t i = 0; i < count; i++) {
        shelf_expect_item(&cache->shelf, &what[i]);
    }
    for (size_t i = 0; i < count; i++) {
        int rc = find(cache, &what[i], &pins[i]);
        if (unlikely(rc < 0)) {
            return rc;
        }
        found += rc == 0;
        if (pins[i].size > CACHE_LINE) { /* a smaller one lies beside its key */
            expect_value(pins[i].value, pins[i].size);
        }
        pin_more();
    }
    return found;
}

int thirl_cache_get_many(thirl_cache *cache, const struct iovec *keys, size_t count, struct thirl_cache_pin *pins) {
    int found = 0;
    if (!is_mine(cache)) {
        return refuse(cache);
    }
    if (count > THIRL_CACHE_PINS_MAX || (count != 0 && (keys == NULL || pins == NULL))) {
        return err_say(EINVAL, "%s: up to %d keys and room for as many answers, not %zu", cache->shown,
                       THIRL_CACHE_PINS_MAX, count);
    }
    for (size_t at = 0, some; at < count; at += some) {
        some = count - at < AHEAD ? count - at : AHEAD;
        memset(pins + at, 0, some * sizeof *pins);
        int rc = find_some(cache, keys + at, some, pins + at);
        if (rc < 0) {
            for (size_t i = 0; i < at + some; i++) {
                thirl_cache_unpin(cache, &pins[i]);
            }
            return rc;
        }
        found += rc;
    }
    return found;
}

int thirl_cache_copy(thirl_cache *cache, const void *key, size_t key_size, void *buffer, size_t capacity, size_t *size,
                     uint64_t *version) {
    struct shelf_hit hit = {0};
    if (!is_readable(cache)) {
        return refuse(cache);
    }
    if (!is_key(key, key_size) || size == NULL || (buffer == NULL && capacity != 0)) {
        return size == NULL || is_key(key, key_size)
                   ? err_say(EINVAL, "%s: there is no room for the answer (NULL)", cache->shown)
                   : wrong_key(cache, key, key_size);
    }
    struct shelf_key what = shelf_key(&cache->shelf, key, (uint16_t)key_size);
    int rc = shelf_copy(&cache->shelf, &what, buffer, capacity, &hit);
    bool there = rc == 0 || rc == -EMSGSIZE;
    *size = there ? hit.bytes : 0;
    if (version != NULL) {
        *version = there ? hit.version : 0;
    }
    return likely(rc == 0) ? 0
           : rc == -EMSGSIZE
               ? err_say(EMSGSIZE, "%s: the value has %u bytes, the buffer %zu", cache->shown, hit.bytes, capacity)
               : missed(cache, &what, rc, false);
}

HOT void thirl_cache_unpin(thirl_cache *cache, struct thirl_cache_pin *pin) {
    if (pin == NULL || !is_mine(cache)) {
        return;
    }
    if (pin_mine(&cache->shelf.pins, pin->pin, pin->at)) {
        pin_free(&cache->shelf.pins, pin->pin);
    }
    *pin = (struct thirl_cache_pin){0};
}

static int check(const thirl_cache *cache, const void *key, size_t key_size, const void *value, size_t size,
                 thirl_time expires) {
    if (!is_key(key, key_size)) {
        return wrong_key(cache, key, key_size);
    }
    if ((value == NULL && size != 0) || expires.ns <= 0) {
        return value == NULL && size != 0
                   ? err_say(EINVAL, "%s: there is no value (NULL)", cache->shown)
                   : err_say(EINVAL, "%s: a value expires at a point in time, or THIRL_NEVER", cache->shown);
    }
    uint64_t most = shelf_most(&cache->shelf);
    if (size > ITEM_VALUE_MAX || item_bytes(key_size, size) > most) {
        return err_say(EMSGSIZE, "%s takes items up to %llu bytes, this one has %zu: make it with more bytes",
                       cache->shown, (unsigned long long)(most < ITEM_VALUE_MAX ? most : ITEM_VALUE_MAX), size);
    }
    return 0;
}

static int put(thirl_cache *cache, const void *key, size_t key_size, struct store_new *what, thirl_time until) {
    struct shelf_key where = shelf_key(&cache->shelf, key, (uint16_t)key_size);
    int rc = enter(cache, until);
    if (rc != 0) {
        return rc;
    }
    rc = store_put(&cache->shelf, &where, what);
    leave(cache);
    return rc >= 0         ? rc
           : rc == -ENOSPC ? err_say(ENOSPC, "%s has no room for %u bytes, because of what is pinned: unpin it",
                                     cache->shown, what->bytes)
                           : err_say(THIRL_EFORMAT, "%s is damaged: remove it", cache->shown);
}

int thirl_cache_put(thirl_cache *cache, const void *key, size_t key_size, const void *value, size_t size,
                    thirl_time expires, thirl_time until) {
    if (!is_mine(cache)) {
        return refuse(cache);
    }
    int rc = check(cache, key, key_size, value, size, expires);
    struct store_new what = {.value = size != 0 ? value : "", .bytes = (uint32_t)size, .expiry = expires.ns};
    return rc != 0 ? rc : put(cache, key, key_size, &what, until);
}

int thirl_cache_swap(thirl_cache *cache, const void *key, size_t key_size, const void *value, size_t size,
                     thirl_time expires, uint64_t *version, thirl_time until) {
    if (!is_mine(cache)) {
        return refuse(cache);
    }
    int rc = version != NULL ? check(cache, key, key_size, value, size, expires)
                             : err_say(EINVAL, "%s: there is no version to compare with (NULL)", cache->shown);
    if (rc != 0) {
        return rc;
    }
    struct store_new what = {.value = size != 0 ? value : "",
                             .bytes = (uint32_t)size,
                             .expiry = expires.ns,
                             .compare = true,
                             .version = *version};
    rc = put(cache, key, key_size, &what, until);
    *version = rc >= 0 ? what.version : *version;
    return rc == STORE_OTHER ? THIRL_CACHE_OTHER : rc;
}

int thirl_cache_remove(thirl_cache *cache, const void *key, size_t key_size, thirl_time until) {
    if (!is_mine(cache)) {
        return refuse(cache);
    }
    if (!is_key(key, key_size)) {
        return wrong_key(cache, key, key_size);
    }
    struct shelf_key where = shelf_key(&cache->shelf, key, (uint16_t)key_size);
    int rc = enter(cache, until);
    if (rc != 0) {
        return rc;
    }
    rc = store_remove(&cache->shelf, &where, false);
    leave(cache);
    return rc == 0         ? 0
           : rc == -ENOENT ? THIRL_CACHE_MISS
                           : err_say(THIRL_EFORMAT, "%s is damaged: remove it", cache->shown);
}

/* ---- statistics ---- */

int thirl_cache_info(thirl_cache *cache, struct thirl_cache_info *info) {
    if (!is_readable(cache)) {
        return refuse(cache);
    }
    if (info == NULL || info->size < sizeof info->size || info->size > 65536) {
        return err_say(EINVAL, "thirl_cache_info: set the size field of the struct to its sizeof first");
    }
    int rc = is_mine(cache) ? tidy(cache, thirl_in_ms(TIDY_MS)) : 0;
    if (rc != 0 && rc != -ETIMEDOUT) {
        return rc;
    }
    const struct shelf *shelf = &cache->shelf;
    const struct shelf_head *head = shelf->head;
    const struct sieve_queue *queue = head->sieve.queue;
    struct pin_sums sums;
    pin_sum(&shelf->pins, &sums);
    struct thirl_cache_info answer = {
        .size = sizeof answer,
        .bytes = shelf->end,
        .room = shelf->end - shelf->first,
        .used = atomic_peek(&head->arena.used),
        .items = atomic_peek(&queue[SIEVE_SMALL].items) + atomic_peek(&queue[SIEVE_MAIN].items),
        .pins = sums.pins,
        .waiting = atomic_peek(&queue[SIEVE_LIMBO].items),
        .hits = sums.hits,
        .misses = sums.misses,
        .puts = atomic_peek(&head->puts),
        .removed = atomic_peek(&head->removed),
        .evicted = atomic_peek(&head->evicted),
        .expired = atomic_peek(&head->expired),
        .largest = shelf_most(shelf) - ITEM_HEAD,
        .seats = shelf->pins.seats,
        .seats_taken = sums.seats,
    };
    size_t size = info->size, shared = size < sizeof answer ? size : sizeof answer;
    memset(info, 0, size);
    memcpy(info, &answer, shared);
    info->size = size;
    return 0;
}
