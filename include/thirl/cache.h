/* SPDX-License-Identifier: MIT
 *
 * A shared cache: values by key in shared memory, for any number of processes. Who finds one reads it in place, and takes no lock; what
 * is pinned stays as it is until it is released. It has a size that never changes: what was not found for long makes room for what
 * is new. A process may be killed anywhere: the cache stays consistent, and what only the dead one had pinned is free again.
 */
#ifndef THIRL_CACHE_H
#define THIRL_CACHE_H

#include <thirl/thirl.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct thirl_cache thirl_cache;

#define THIRL_CACHE_MISS 1  /* thirl_cache_get, thirl_cache_remove: it is not there */
#define THIRL_CACHE_OTHER 2 /* thirl_cache_swap: it has another version */

#define THIRL_CACHE_KEY_MAX 65535
#define THIRL_CACHE_PINS_MAX 960 /* of one handle, at once */

/* Of a cache that is made; one that is there stays as it is. */
struct thirl_cache_options {
    size_t size;    /* sizeof (struct thirl_cache_options): set it first */
    uint64_t bytes; /* of all of it, what it needs for itself included; 64 MiB */
    uint64_t items; /* about how many items it will have; bytes / 512 */
    uint32_t seats; /* how many handles may be open at once; one for each 64 KiB, 16 at least and 256 at most */
    uint32_t mode;  /* permission bits; 0600. Who pins what it finds writes to it */
    uint32_t there; /* open one only if it is there: -ENOENT */
    uint32_t
        access; /* enum thirl_access. READ: only thirl_cache_copy and thirl_cache_info, of one that is there; it takes no seat */
    uint32_t group; /* it belongs to group - 1; 0: as files of this process do */
    uint32_t zero;
};

/* Opens the cache called NAME or shm://NAME in the registry, and makes it if it is not there. options may be NULL.
 * -EINVAL: too few bytes for so many items and seats. -EUSERS: all seats are taken by living processes. -EACCES: it may only be read, say so (access). -THIRL_EFORMAT: something else
 * has that name. -EXDEV: it was made in another registry. -EPERM: this process is not in that group. -ENOSPC, -EACCES, … */
THIRL_API THIRL_CHECK int thirl_cache_open(thirl_cache **cache, const char *name,
                                           const struct thirl_cache_options *options);

/* Releases what this handle has pinned, and sets *cache to NULL; NULL is allowed. The items stay. No other thread may be in a call. */
THIRL_API void thirl_cache_close(thirl_cache **cache);

/* Takes the name away: the next one who opens it gets a new cache. Who has it open keeps the old one. -ENOENT, -EACCES. */
THIRL_API THIRL_CHECK int thirl_cache_remove_name(const char *name);

/* ---- items ---- */

/* A value that was found: it stays where it is and what it is until it is released, whoever puts another one or removes it. */
struct thirl_cache_pin {
    const void *value; /* at a multiple of 16 */
    size_t size;
    uint64_t version;   /* of this value: no two that were ever put have the same */
    thirl_time expires; /* THIRL_NEVER */
    uint64_t at;        /* the library's */
    uint32_t pin, zero; /* likewise */
};

/* Finds the value of a key of 1 to THIRL_CACHE_KEY_MAX bytes and pins it: thirl_cache_unpin. Takes no lock, and never waits.
 * THIRL_CACHE_MISS, without a sentence: there is none, or it has expired. -EBUSY: THIRL_CACHE_PINS_MAX are pinned, or there is no seat
 * left for more than 30. -EAGAIN: a thousand times in a row its bucket was changed meanwhile. */
THIRL_API THIRL_CHECK int thirl_cache_get(thirl_cache *cache, const void *key, size_t key_size,
                                          struct thirl_cache_pin *pin);

/* The same for up to THIRL_CACHE_PINS_MAX keys, for which what has to be fetched from memory is asked for at once, the first 4 KiB of each value included. How many were found: pins[i]
 * is what keys[i] has, to be released; its value is NULL where there is none. An error: none is pinned. */
THIRL_API THIRL_CHECK int thirl_cache_get_many(thirl_cache *cache, const struct iovec *keys, size_t count,
                                               struct thirl_cache_pin *pins);

/* Copies the value of a key: nothing is pinned, and nothing is written to the cache, so that it also serves those who may only read it. But
 * it is no reason for the value to stay, and not counted. *version (may be NULL) as in thirl_cache_pin. THIRL_CACHE_MISS as above.
 * -EMSGSIZE: the buffer is too small for *size bytes. -EAGAIN: a thousand times in a row the bucket was changed meanwhile. */
THIRL_API THIRL_CHECK int thirl_cache_copy(thirl_cache *cache, const void *key, size_t key_size, void *buffer,
                                           size_t capacity, size_t *size, uint64_t *version);

/* Releases it: its value must not be read any more. Any thread may. What is no pin of this handle, or none any more, is left alone. */
THIRL_API void thirl_cache_unpin(thirl_cache *cache, struct thirl_cache_pin *pin);

/* Puts a value, whether there was one or not. It is found until `expires` (THIRL_NEVER), unless room is needed. Waits for others who
 * are changing something, at most until then; each needs no longer than a copy takes, and a dead one is left out.
 * -EAGAIN (THIRL_NOW), -ETIMEDOUT: one has been stopped in the midst: nothing was put. -EMSGSIZE: it is larger than half of the cache.
 * -ENOSPC: too much is pinned. */
THIRL_API THIRL_CHECK int thirl_cache_put(thirl_cache *cache, const void *key, size_t key_size, const void *value,
                                          size_t size, thirl_time expires, thirl_time until);

/* The same if the value that is there has the version *version; 0: if there is none. 0: *version is that of the new one.
 * THIRL_CACHE_OTHER, without a sentence: nothing was put, and *version is that of what is there, or 0. */
THIRL_API THIRL_CHECK int thirl_cache_swap(thirl_cache *cache, const void *key, size_t key_size, const void *value,
                                           size_t size, thirl_time expires, uint64_t *version, thirl_time until);

/* Takes a value away. THIRL_CACHE_MISS, without a sentence: there was none. -EAGAIN, -ETIMEDOUT as above. */
THIRL_API THIRL_CHECK int thirl_cache_remove(thirl_cache *cache, const void *key, size_t key_size, thirl_time until);

/* ---- statistics ---- */

/* Set size first. Counters are of all processes since it was made. */
struct thirl_cache_info {
    size_t size;
    uint64_t bytes, room;   /* of all of it; for items, what they cost included */
    uint64_t used, items;   /* of the room; how many */
    uint64_t pins, waiting; /* pinned now; items that are gone, but pinned still */
    uint64_t hits, misses;
    uint64_t puts, removed; /* removed: by thirl_cache_remove */
    uint64_t evicted;       /* had to make room */
    uint64_t expired;       /* and were taken away because of that; until then they are in items */
    uint64_t largest;       /* key and value together, about */
    uint32_t seats, seats_taken;
};
THIRL_API THIRL_CHECK int thirl_cache_info(thirl_cache *cache, struct thirl_cache_info *info);

#ifdef __cplusplus
}
#endif
#endif
