/* SPDX-License-Identifier: MIT
 *
 * Changing what is on a shelf (shelf.h): putting, removing, making room. For whoever holds the lock, arena_lock(&shelf->arena, …); what
 * a dead holder had begun is finished by that. Readers go on meanwhile, and nothing is ever half there: who is killed in the midst
 * has changed all or nothing, and what only the dead had pinned is free again for the next one who looks.
 *
 *     put     room? ──► fill in free memory ──► one commit: block, links, queue; the old one to LIMBO
 *     evict   one commit: out of its bucket and queue, into LIMBO ──► pinned? stays ──► one commit: free
 */
#ifndef MEM_STORE_H
#define MEM_STORE_H

#include "mem/shelf.h"

#define STORE_OTHER 1
struct store_new {
    const void *value;
    uint32_t bytes;
    int64_t expiry;
    bool compare; /* only if the item has that version; 0: there is none */
    uint64_t version;
};
/* Puts a new item: 0, and version is its own; STORE_OTHER, and version is that of what is there, or 0. -ENOSPC: no room, though all that could
 * went: the rest is pinned. The size was checked (shelf_most). */
int store_put(struct shelf *, const struct shelf_key *, struct store_new *);

/* Takes it away. 0, -ENOENT. late: only if it has expired. */
int store_remove(struct shelf *, const struct shelf_key *, bool late);

/* Frees what is in LIMBO and not pinned any more: looks at so many of them, the oldest first. */
void store_sweep(struct shelf *, uint64_t most);

#endif
