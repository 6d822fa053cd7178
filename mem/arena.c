/* SPDX-License-Identifier: MIT
 *
 * Lists of free blocks by size; splitting and joining; hands and words.
 */
#include "mem/arena.h"

#include <errno.h>
#include <string.h>

#include "base/weave.h"
#include "include/thirl/thirl.h"
#include "mem/node.h"

#define SEAL UINT64_C(0x7468697262c0c4a5)
#define SCAN 16 /* blocks of a list that are looked at, before a larger list is taken */

/* Places of what a change writes. */
#define IN_ARENA(view, field) ((view)->at + offsetof(struct arena, field))
#define IN_BLOCK(block, field) ((block) + offsetof(struct arena_block, field))

static uint64_t round_up(uint64_t bytes) {
    uint64_t size = (bytes + ARENA_HEAD + 15) / 16 * 16;
    return size < ARENA_LEAST ? ARENA_LEAST : size;
}

static uint64_t seal_of(uint64_t block) {
    return SEAL ^ block * UINT64_C(0x9e3779b97f4a7c15);
}

/* Four lists to each power of two; a block hangs in the one whose sizes are at most its own. */
static unsigned list_of(uint64_t size) {
    unsigned log = 63 - (unsigned)__builtin_clzll(size);
    return (log - 6) * 4 + (unsigned)(size >> (log - 2) & 3);
}

void arena_begin(void *base, uint64_t at, uint64_t first, uint64_t end) {
    struct arena *arena = (struct arena *)(void *)((unsigned char *)base + at);
    arena->first = arena->top = first;
    arena->end = end;
}

void arena_gather(const struct arena_view *view, struct redo *redo) {
    uint64_t end = atomic_peek(&view->arena->end);
    redo_begin(redo, view->base, end < view->limit ? end : view->limit, &view->arena->log);
}

int arena_lock(const struct arena_view *view, int64_t until) {
    struct own *turn = &view->arena->turn;
    int rc = own_take(turn, view->self, until);
    if (rc == OWN_DIED) {
        uint64_t end = atomic_peek(&view->arena->end);
        int bad = redo_recover(view->base, end < view->limit ? end : view->limit, &view->arena->log);
        if (bad != 0) {
            own_give(turn);
            return bad;
        }
    }
    return rc;
}

void arena_unlock(const struct arena_view *view) {
    own_give(&view->arena->turn);
}

/* ---- blocks ---- */

struct block {
    uint64_t at, size;
    bool used;
};

/* A block that begins there, if one does. */
static bool look(struct redo *redo, const struct arena_view *view, uint64_t at, struct block *block) {
    uint64_t first = view->arena->first, top = redo_get(redo, IN_ARENA(view, top));
    if (at < first || at >= top || at % 16 != 0 || top - at < ARENA_LEAST || top > redo->bytes) {
        return false;
    }
    uint64_t size = redo_get(redo, IN_BLOCK(at, size));
    *block = (struct block){at, size & ~ARENA_USED, (size & ARENA_USED) != 0};
    return redo_get(redo, IN_BLOCK(at, seal)) == seal_of(at) && block->size >= ARENA_LEAST && block->size % 16 == 0 &&
           block->size <= top - at && !redo->wrong;
}

static void flip(struct redo *redo, const struct arena_view *view, unsigned list, bool full) {
    uint64_t place = IN_ARENA(view, bits) + list / 64 * 8, bit = UINT64_C(1) << list % 64, bits = redo_get(redo, place);
    if (((bits & bit) != 0) != full) {
        redo_put(redo, place, bits ^ bit);
    }
}

static void hang(struct redo *redo, const struct arena_view *view, uint64_t at, uint64_t size) {
    unsigned list = list_of(size);
    uint64_t place = IN_ARENA(view, list) + list * 8, head = redo_get(redo, place);
    redo_put(redo, IN_BLOCK(at, next), head);
    redo_put(redo, IN_BLOCK(at, last), 0);
    if (head != 0) {
        redo_put(redo, IN_BLOCK(head, last), at);
    }
    redo_put(redo, place, at);
    flip(redo, view, list, true);
}

static void unhang(struct redo *redo, const struct arena_view *view, uint64_t at, uint64_t size) {
    unsigned list = list_of(size);
    uint64_t place = IN_ARENA(view, list) + list * 8;
    uint64_t next = redo_get(redo, IN_BLOCK(at, next)), last = redo_get(redo, IN_BLOCK(at, last));
    if (last == 0 ? redo_get(redo, place) != at : redo_get(redo, IN_BLOCK(last, next)) != at) {
        redo->wrong = true;
        return;
    }
    redo_put(redo, last == 0 ? place : IN_BLOCK(last, next), next);
    if (next != 0) {
        redo_put(redo, IN_BLOCK(next, last), last);
    } else if (last == 0) {
        flip(redo, view, list, false);
    }
}

/* Tells the block behind, or the arena, how large the one before it is. */
static void tell_next(struct redo *redo, const struct arena_view *view, uint64_t at, uint64_t size) {
    bool is_last = at + size == redo_get(redo, IN_ARENA(view, top));
    redo_put(redo, is_last ? IN_ARENA(view, last) : IN_BLOCK(at + size, before), size);
}

static void count(struct redo *redo, const struct arena_view *view, uint64_t bytes, uint64_t blocks) {
    redo_put(redo, IN_ARENA(view, used), redo_get(redo, IN_ARENA(view, used)) + bytes);
    redo_put(redo, IN_ARENA(view, blocks), redo_get(redo, IN_ARENA(view, blocks)) + blocks);
}

/* ---- alloc ---- */

/* The first that is large enough in a list from that block on, among so many; at most as many as there can be. *at: where to go on. */
static bool walk(struct redo *redo, const struct arena_view *view, uint64_t *at, uint64_t size, uint64_t most,
                 struct block *block) {
    for (; *at != 0 && most != 0; most--, *at = redo_get(redo, IN_BLOCK(*at, next))) {
        if (!look(redo, view, *at, block) || block->used) {
            redo->wrong = true;
            return false;
        }
        if (block->size >= size) {
            return true;
        }
    }
    return false;
}

/* The smallest list behind that one in which there is something; its first block, or 0. */
static uint64_t larger(struct redo *redo, const struct arena_view *view, unsigned list) {
    for (unsigned word = (list + 1) / 64, from = (list + 1) % 64; word < ARENA_LISTS / 64; word++, from = 0) {
        uint64_t bits = redo_get(redo, IN_ARENA(view, bits) + word * 8) >> from << from;
        if (bits != 0) {
            list = word * 64 + (unsigned)__builtin_ctzll(bits);
            return redo_get(redo, IN_ARENA(view, list) + list * 8);
        }
    }
    return 0;
}

/* A free block of at least that size: one of a few of its own list; of the next larger one; any of its own, if that is worth it. */
static bool find(struct redo *redo, const struct arena_view *view, uint64_t size, bool any, struct block *block) {
    unsigned list = list_of(size);
    uint64_t at = redo_get(redo, IN_ARENA(view, list) + list * 8), next = larger(redo, view, list);
    return walk(redo, view, &at, size, SCAN, block) || walk(redo, view, &next, size, 1, block) ||
           (any && walk(redo, view, &at, size, redo->bytes / ARENA_LEAST, block));
}

static void seal(struct redo *redo, uint64_t at, uint64_t size, uint64_t before, uint64_t owner) {
    redo_put(redo, IN_BLOCK(at, size), size);
    redo_put(redo, IN_BLOCK(at, before), before);
    redo_put(redo, IN_BLOCK(at, owner), owner);
    redo_put(redo, IN_BLOCK(at, seal), seal_of(at));
}

/* Out of a free block, whose rest stays free when it is large enough to be a block. */
static uint64_t cut(struct redo *redo, const struct arena_view *view, const struct block *block, uint64_t size,
                    uint64_t owner) {
    unhang(redo, view, block->at, block->size);
    uint64_t rest = block->size - size < ARENA_LEAST ? 0 : block->size - size;
    size = block->size - rest;
    redo_put(redo, IN_BLOCK(block->at, size), size | ARENA_USED);
    redo_put(redo, IN_BLOCK(block->at, owner), owner);
    if (rest != 0) {
        seal(redo, block->at + size, rest, size, 0);
        hang(redo, view, block->at + size, rest);
        tell_next(redo, view, block->at + size, rest);
    }
    return size;
}

static int gather_alloc(const struct arena_view *view, struct redo *redo, uint64_t bytes, uint64_t owner, uint64_t *at,
                        uint64_t *more) {
    struct block block;
    uint64_t size = round_up(bytes), top = redo_get(redo, IN_ARENA(view, top));
    if (find(redo, view, size, owner != 0, &block)) {
        size = cut(redo, view, &block, size, owner);
    } else if (redo->wrong || top > redo->bytes) {
        return -THIRL_EFORMAT;
    } else if (redo->bytes - top < size) {
        *more = size - (redo->bytes - top);
        return -ENOSPC;
    } else {
        block.at = top;
        seal(redo, top, size | ARENA_USED, redo_get(redo, IN_ARENA(view, last)), owner);
        redo_put(redo, IN_ARENA(view, top), top + size);
        redo_put(redo, IN_ARENA(view, last), size);
    }
    count(redo, view, size, 1);
    *at = block.at + ARENA_HEAD;
    return 0;
}

int arena_alloc(const struct arena_view *view, uint64_t bytes, uint64_t *at, uint64_t *more) {
    if (bytes > ARENA_MOST) {
        return -EINVAL;
    }
    struct redo redo;
    uint64_t place, lack = 0;
    arena_gather(view, &redo);
    int rc = gather_alloc(view, &redo, bytes, view->self, &place, &lack);
    if (rc != 0) {
        if (more != NULL) {
            *more = lack;
        }
        return rc;
    }
    weave("arena.alloc.before");
    rc = redo_commit(&redo);
    weave("arena.alloc.after");
    *at = rc == 0 ? place : 0;
    return rc;
}

int arena_gather_alloc(const struct arena_view *view, struct redo *redo, uint64_t bytes, uint64_t *at) {
    uint64_t more;
    return bytes > ARENA_MOST ? -EINVAL : gather_alloc(view, redo, bytes, 0, at, &more);
}

/* ---- free ---- */

/* Joins it with free neighbours; the last block becomes unused memory again. What begins no block any more loses its seal. */
static int gather_free(const struct arena_view *view, struct redo *redo, struct block block) {
    struct block other;
    uint64_t before = redo_get(redo, IN_BLOCK(block.at, before)), top = redo_get(redo, IN_ARENA(view, top));
    count(redo, view, -block.size, UINT64_MAX);
    if (block.at + block.size != top) {
        if (!look(redo, view, block.at + block.size, &other)) {
            return -THIRL_EFORMAT;
        }
        if (!other.used) {
            unhang(redo, view, other.at, other.size);
            redo_put(redo, IN_BLOCK(other.at, seal), 0);
            block.size += other.size;
        }
    }
    if (before != 0) {
        if (before > block.at || !look(redo, view, block.at - before, &other) || other.size != before) {
            return -THIRL_EFORMAT;
        }
        if (!other.used) {
            unhang(redo, view, other.at, other.size);
            redo_put(redo, IN_BLOCK(block.at, seal), 0);
            block.at = other.at;
            block.size += other.size;
            before = redo_get(redo, IN_BLOCK(other.at, before));
        }
    }
    if (block.at + block.size == top) {
        redo_put(redo, IN_BLOCK(block.at, seal), 0);
        redo_put(redo, IN_ARENA(view, top), block.at);
        redo_put(redo, IN_ARENA(view, last), before);
    } else {
        redo_put(redo, IN_BLOCK(block.at, size), block.size);
        redo_put(redo, IN_BLOCK(block.at, owner), 0);
        hang(redo, view, block.at, block.size);
        tell_next(redo, view, block.at, block.size);
    }
    return 0;
}

static int release(const struct arena_view *view, struct redo *redo, struct block block) {
    int rc = gather_free(view, redo, block);
    weave("arena.free.before");
    rc = rc != 0 ? rc : redo_commit(redo);
    weave("arena.free.after");
    return rc;
}

static bool in_hand(struct redo *redo, const struct arena_view *view, uint64_t at, uint64_t owner,
                    struct block *block) {
    return at >= ARENA_HEAD && look(redo, view, at - ARENA_HEAD, block) && block->used &&
           redo_get(redo, IN_BLOCK(block->at, owner)) == owner;
}

int arena_free(const struct arena_view *view, uint64_t at) {
    struct redo redo;
    struct block block;
    arena_gather(view, &redo);
    return in_hand(&redo, view, at, view->self, &block) ? release(view, &redo, block) : -EINVAL;
}

int arena_gather_free(const struct arena_view *view, struct redo *redo, uint64_t at) {
    struct block block;
    return in_hand(redo, view, at, 0, &block) ? gather_free(view, redo, block) : -EINVAL;
}

int64_t arena_reclaim(const struct arena_view *view) {
    int64_t freed = 0;
    uint64_t known = 0; /* the last owner that was asked for, and lives */
    for (uint64_t at = view->arena->first; at < atomic_peek(&view->arena->top);) {
        struct redo redo;
        struct block block;
        arena_gather(view, &redo);
        if (!look(&redo, view, at, &block)) {
            return -THIRL_EFORMAT;
        }
        uint64_t owner = redo_get(&redo, IN_BLOCK(at, owner)), before = redo_get(&redo, IN_BLOCK(at, before));
        if (block.used && owner != 0 && owner != view->self && owner != known) {
            if (node_alive(owner)) {
                known = owner;
            } else {
                int rc = release(view, &redo, block);
                if (rc != 0) {
                    return rc;
                }
                freed++;
                /* It may be one with the block before now: the walk goes on at what begins here or before. */
                struct block now;
                arena_gather(view, &redo);
                at = before != 0 && !look(&redo, view, at, &now) ? at - before : at;
                continue;
            }
        }
        at += block.size;
    }
    return freed;
}

/* ---- words ---- */

int arena_swap(const struct arena_view *view, uint64_t word, uint64_t *at) {
    struct redo redo;
    struct block block;
    arena_gather(view, &redo);
    uint64_t old = redo_get(&redo, word);
    if (redo.wrong || (*at != 0 && !in_hand(&redo, view, *at, view->self, &block))) {
        return -EINVAL;
    }
    if (*at != 0) {
        redo_put(&redo, IN_BLOCK(*at - ARENA_HEAD, owner), 0);
    }
    if (old != 0) {
        if (!in_hand(&redo, view, old, 0, &block)) {
            return -EINVAL;
        }
        redo_put(&redo, IN_BLOCK(block.at, owner), view->self);
    }
    redo_put(&redo, word, *at);
    weave("arena.swap.before");
    int rc = redo_commit(&redo);
    weave("arena.swap.after");
    *at = rc == 0 ? old : *at;
    return rc;
}

int arena_root(const struct arena_view *view, const char *name, bool make, uint64_t *word) {
    struct arena_root *root = view->arena->root;
    size_t length = strnlen(name, ARENA_NAME);
    if (length == 0 || length == ARENA_NAME) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < ARENA_ROOTS; i++) {
        *word = IN_ARENA(view, root) + i * sizeof *root + offsetof(struct arena_root, at);
        if (root[i].name[0] == '\0') {
            if (make) {
                /* Whole by its first byte: who is killed before leaves it unused. */
                memset(root[i].name, 0, ARENA_NAME);
                memcpy(root[i].name + 1, name + 1, length - 1);
                weave("arena.root.before");
                atomic_store(&root[i].name[0], name[0]);
                return 0;
            }
            return -ENOENT;
        }
        if (strncmp(root[i].name, name, ARENA_NAME) == 0) {
            return 0;
        }
    }
    return make ? -ENOSPC : -ENOENT;
}

/* ---- the whole ---- */

int arena_extend(const struct arena_view *view, uint64_t end) {
    if (end < atomic_peek(&view->arena->end) || end > view->limit) {
        return -EINVAL;
    }
    atomic_store(&view->arena->end, end); /* pairs with the loads of those who look how large it is */
    return 0;
}

uint64_t arena_size(const struct arena_view *view, uint64_t at) {
    struct redo redo;
    struct block block;
    arena_gather(view, &redo);
    return at >= ARENA_HEAD && look(&redo, view, at - ARENA_HEAD, &block) && block.used ? block.size - ARENA_HEAD : 0;
}

int arena_check(const struct arena_view *view, uint64_t *where) {
    struct redo redo;
    uint64_t before = 0, used = 0, blocks = 0, idle = 0, hung = 0;
    bool last_free = false;
    struct block block;
    arena_gather(view, &redo);
    for (*where = view->arena->first; *where < view->arena->top; *where += block.size) {
        if (!look(&redo, view, *where, &block) || redo_get(&redo, IN_BLOCK(*where, before)) != before ||
            (last_free && !block.used)) {
            return -THIRL_EFORMAT;
        }
        last_free = !block.used;
        used += block.used ? block.size : 0;
        blocks += block.used;
        idle += !block.used;
        before = block.size;
    }
    if (view->arena->last != before || view->arena->used != used || view->arena->blocks != blocks || last_free) {
        return -THIRL_EFORMAT;
    }
    for (unsigned i = 0; i < ARENA_LISTS; i++) {
        uint64_t last = 0;
        bool bit = view->arena->bits[i / 64] >> i % 64 & 1;
        for (*where = view->arena->list[i]; *where != 0; *where = redo_get(&redo, IN_BLOCK(*where, next))) {
            if (!look(&redo, view, *where, &block) || block.used || list_of(block.size) != i || ++hung > idle ||
                redo_get(&redo, IN_BLOCK(*where, last)) != last) {
                return -THIRL_EFORMAT;
            }
            last = *where;
        }
        if (bit != (view->arena->list[i] != 0)) {
            return -THIRL_EFORMAT;
        }
    }
    return hung == idle ? 0 : -THIRL_EFORMAT;
}
