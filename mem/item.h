/* SPDX-License-Identifier: MIT
 *
 * What a cache keeps: a block of its arena (arena.h) with a head, a key and a value. It is filled in before anything leads to it, and
 * but for its links and its uses never changes: a new value is a new item.
 *
 *     0           64         64 + key, rounded up to 16
 *     │ links … │ key │ value …
 */
#ifndef MEM_ITEM_H
#define MEM_ITEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/layout.h"

#define ITEM_HEAD 64
#define ITEM_KEY_MAX UINT16_MAX
#define ITEM_VALUE_MAX UINT32_MAX
#define ITEM_USES_MAX 3

struct item {              /* shared; its links change under the lock and by redo.h */
    uint64_t next;         /* in its bucket. The first 16 bytes of a block are not filled in ahead of the change */
    uint64_t newer, older; /* in its list */
    uint64_t list;         /* enum sieve_list */
    uint64_t hash, version;
    int64_t expiry; /* CLOCK_MONOTONIC, ns; INT64_MAX: never */
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint8_t spare;
    uint8_t uses; /* how often it was found lately: a hint that readers write */
};
LAYOUT(item, 64, uses, 63);

_Static_assert(sizeof(struct item) == ITEM_HEAD, "the key follows");

#define ITEM_PLACE(at, field) ((at) + offsetof(struct item, field))

/* Where the value begins; how many bytes all of it has. */
static inline uint64_t item_value(uint64_t key_bytes) {
    return ITEM_HEAD + (key_bytes + 15) / 16 * 16;
}
static inline uint64_t item_bytes(uint64_t key_bytes, uint64_t value_bytes) {
    return item_value(key_bytes) + value_bytes;
}

#endif
