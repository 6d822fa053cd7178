/* SPDX-License-Identifier: MIT
 *
 * Putting, removing, making room: each change one commit, and memory only free when nobody can have it pinned.
 */
#include "mem/store.h"

#include <errno.h>

#include "base/copy.h"
#include "base/weave.h"
#include "include/thirl/thirl.h"
#include "mem/lane.h"

#define SWEEP 4  /* looked at in LIMBO by each who puts or removes */
#define ROUNDS 5 /* how often an item can come round before it goes, and once more */

/* The last word of a change that readers of that bucket have to notice. */
static void say(const struct shelf *shelf, struct redo *redo, uint64_t hash) {
    struct shelf_bucket *bucket = shelf_bucket(shelf, hash);
    uint64_t place = (uint64_t)((unsigned char *)&bucket->version - shelf->base);
    redo_put(redo, place, redo_get(redo, place) + 1);
}

/* Frees an item in LIMBO, unless it is pinned. Its bucket's version was raised before. */
static int bury(struct shelf *shelf, uint64_t at) {
    struct redo redo;
    if (pin_is(&shelf->pins, at)) {
        return -EBUSY;
    }
    weave("store.bury.before");
    arena_gather(&shelf->arena, &redo);
    sieve_leave(&shelf->sieve, &redo, at, shelf_block(shelf, at));
    int rc = arena_gather_free(&shelf->arena, &redo, at);
    rc = rc != 0 ? rc : redo_commit(&redo);
    weave("store.bury.after");
    return rc;
}

/* Part of a change: from its queue into LIMBO. */
static void retire(const struct shelf *shelf, struct redo *redo, uint64_t at) {
    uint64_t bytes = shelf_block(shelf, at);
    sieve_leave(&shelf->sieve, redo, at, bytes);
    sieve_enter(&shelf->sieve, redo, at, SIEVE_LIMBO, bytes);
}

/* Takes an item away from where it is found, and frees it as soon as nobody has it pinned. */
static int drop(struct shelf *shelf, uint64_t at, uint64_t word) {
    struct redo redo;
    arena_gather(&shelf->arena, &redo);
    retire(shelf, &redo, at);
    redo_put(&redo, word, redo_get(&redo, ITEM_PLACE(at, next)));
    say(shelf, &redo, shelf_item(shelf, at)->hash);
    weave("store.drop.before");
    int rc = redo_commit(&redo);
    weave("store.drop.after");
    rc = rc != 0 ? rc : bury(shelf, at);
    return rc == -EBUSY ? 0 : rc;
}

void store_sweep(struct shelf *shelf, uint64_t most) {
    const struct sieve_queue *limbo = &shelf->head->sieve.queue[SIEVE_LIMBO];
    for (uint64_t i = atomic_peek(&limbo->items); i != 0 && most != 0; i--, most--) {
        uint64_t at = atomic_peek(&limbo->oldest);
        if (!shelf_is_place(shelf, at) || bury(shelf, at) != -EBUSY) {
            continue;
        }
        struct redo redo; /* behind the others, which may be free */
        arena_gather(&shelf->arena, &redo);
        retire(shelf, &redo, at);
        weave("store.sweep.before");
        (void)redo_commit(&redo);
    }
}

/* An item that stays for the time being: to the new end of the main queue. */
static int keep(struct shelf *shelf, uint64_t at, uint8_t uses) {
    struct redo redo;
    uint64_t bytes = shelf_block(shelf, at);
    arena_gather(&shelf->arena, &redo);
    sieve_leave(&shelf->sieve, &redo, at, bytes);
    sieve_enter(&shelf->sieve, &redo, at, SIEVE_MAIN, bytes);
    atomic_poke(&shelf_item(shelf, at)->uses, uses);
    weave("store.keep.before");
    return redo_commit(&redo);
}

static void count(uint64_t *number) {
    atomic_poke(number, atomic_peek(number) + 1);
}

/* Lets the next one go that has to: 0, whether one went or only moved. -ENOENT: there is none. */
static int evict(struct shelf *shelf) {
    uint64_t at = sieve_oldest(&shelf->sieve, shelf->end - shelf->first), word;
    if (at == 0 || !shelf_is_place(shelf, at)) {
        return at == 0 ? -ENOENT : -THIRL_EFORMAT;
    }
    struct item *item = shelf_item(shelf, at);
    uint64_t list = atomic_peek(&item->list), hash = item->hash;
    uint8_t uses = 0;
    bool late = shelf_is_late(item->expiry);
    if (!late && !sieve_goes(item, &uses)) {
        return keep(shelf, at, uses);
    }
    if (pin_seems(&shelf->pins, at)) { /* its memory would not be free: it is worth nothing to let it go */
        return keep(shelf, at, 0);
    }
    int rc = shelf_locate_item(shelf, at, &word);
    rc = rc != 0 ? rc : drop(shelf, at, word);
    if (rc == 0) {
        count(late ? &shelf->head->expired : &shelf->head->evicted);
    }
    if (rc == 0 && !late) {
        sieve_remember(&shelf->sieve, list, hash);
    }
    return rc;
}

/* Gathers the allocation of a block, and makes room for it where there is none. *moved: items went meanwhile. */
static int find_room(struct shelf *shelf, struct redo *redo, uint64_t bytes, uint64_t *at, bool *moved) {
    const struct sieve_queue *queue = shelf->head->sieve.queue;
    uint64_t steps = (atomic_peek(&queue[SIEVE_SMALL].items) + atomic_peek(&queue[SIEVE_MAIN].items)) * ROUNDS + 1;
    bool swept = false;
    for (;;) {
        arena_gather(&shelf->arena, redo);
        int rc = arena_gather_alloc(&shelf->arena, redo, bytes, at);
        if (rc != -ENOSPC) {
            return rc == 0 && redo->wrong ? -THIRL_EFORMAT : rc;
        }
        *moved = true;
        if (!swept) {
            swept = true;
            store_sweep(shelf, UINT64_MAX);
        } else if (steps-- == 0) {
            return -ENOSPC;
        } else {
            rc = evict(shelf);
            if (rc != 0) {
                return rc == -ENOENT ? -ENOSPC : rc;
            }
        }
    }
}

/* Into free memory: a reader that walks over what was there before may still look at it, see shelf.h. */
static void write_out(unsigned char *to, const void *from, size_t size) {
#if defined(__SANITIZE_THREAD__)
    for (size_t i = 0; i < size; i++) {
        atomic_poke(to + i, ((const unsigned char *)from)[i]);
    }
#else
    copy_any(to, from, size);
#endif
}

static void fill(struct shelf *shelf, uint64_t at, const struct shelf_key *key, const struct store_new *what,
                 uint64_t number, uint8_t uses) {
    struct item *item = shelf_item(shelf, at);
    atomic_poke(&item->hash, key->hash);
    atomic_poke(&item->version, number);
    atomic_poke(&item->expiry, what->expiry);
    atomic_poke(&item->value_bytes, what->bytes);
    atomic_poke(&item->key_bytes, key->size);
    atomic_poke(&item->uses, uses);
    write_out((unsigned char *)item + ITEM_HEAD, key->bytes, key->size);
    write_out((unsigned char *)item + item_value(key->size), what->value, what->bytes);
}

/* Instead of `old`, or as the first of its bucket. */
static int put(struct shelf *shelf, struct redo *redo, const struct shelf_key *key, uint64_t at, uint64_t old,
               uint64_t word) {
    enum sieve_list list = sieve_home(&shelf->sieve, key->hash);
    uint64_t next = old != 0 ? redo_get(redo, ITEM_PLACE(old, next)) : redo_get(redo, word);
    if (old != 0) {
        list = atomic_peek(&shelf_item(shelf, old)->list) == SIEVE_MAIN ? SIEVE_MAIN : SIEVE_SMALL;
        retire(shelf, redo, old);
    }
    /* Its block is no block yet: its size is in the change. */
    uint64_t bytes = redo_get(redo, at - ARENA_HEAD + offsetof(struct arena_block, size)) & ~ARENA_USED;
    sieve_enter(&shelf->sieve, redo, at, list, bytes);
    redo_put(redo, ITEM_PLACE(at, next), next);
    redo_put(redo, word, at);
    say(shelf, redo, key->hash);
    weave("store.put.before");
    int rc = redo_commit(redo);
    weave("store.put.after");
    if (rc == 0 && old != 0) {
        rc = bury(shelf, old);
    }
    return rc == -EBUSY ? 0 : rc;
}

int store_put(struct shelf *shelf, const struct shelf_key *key, struct store_new *what) {
    struct redo redo;
    uint64_t old = 0, word = 0, at = 0;
    bool moved = false;
    store_sweep(shelf, SWEEP);
    int rc = shelf_locate(shelf, key, &word, &old);
    for (int looks = 0; rc == 0; looks++) {
        uint64_t version =
            old == 0 || shelf_is_late(shelf_item(shelf, old)->expiry) ? 0 : shelf_item(shelf, old)->version;
        if (what->compare && what->version != version) {
            what->version = version;
            return STORE_OTHER;
        }
        if (looks != 0) {
            break;
        }
        rc = find_room(shelf, &redo, item_bytes(key->size, what->bytes), &at, &moved);
        if (!moved) {
            break;
        }
        rc = rc != 0 ? rc : shelf_locate(shelf, key, &word, &old); /* the old one may have gone, or its neighbour */
    }
    if (rc != 0) {
        return rc;
    }
    const struct item *before = old != 0 ? shelf_item(shelf, old) : NULL;
    uint8_t uses = before != NULL ? atomic_peek(&before->uses) : 0;
    uses = before != NULL && uses < ITEM_USES_MAX ? (uint8_t)(uses + 1) : uses;
    if (before != NULL && shelf_is_late(before->expiry)) {
        count(&shelf->head->expired);
    }
    what->version = atomic_peek(&shelf->head->number) + 1;
    atomic_store(&shelf->head->number, what->version); /* never given twice, also when this one is killed */
    fill(shelf, at, key, what, what->version, uses);
    weave("store.put.filled");
    rc = put(shelf, &redo, key, at, old, word);
    if (rc == 0) {
        count(&shelf->head->puts);
    }
    return rc;
}

int store_remove(struct shelf *shelf, const struct shelf_key *key, bool late) {
    uint64_t at, word;
    store_sweep(shelf, SWEEP);
    int rc = shelf_locate(shelf, key, &word, &at);
    if (rc != 0 || at == 0) {
        return rc != 0 ? rc : -ENOENT;
    }
    bool expired = shelf_is_late(shelf_item(shelf, at)->expiry);
    if (late && !expired) {
        return -ENOENT; /* somebody has put it again */
    }
    rc = drop(shelf, at, word);
    if (rc == 0) {
        count(expired ? &shelf->head->expired : &shelf->head->removed);
    }
    return rc == 0 && expired ? -ENOENT : rc;
}
