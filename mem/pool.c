/* SPDX-License-Identifier: MIT
 *
 * The sender's side of a pool: which chunks there are, where they lie in the file, and whose turn it is.
 */
#define _GNU_SOURCE
#include "mem/pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"

#ifndef MADV_POPULATE_WRITE /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
#define CIRCLE 8 /* chunks of one size, where half of the bound is enough for them: one look for many messages */
#define VAIN 64  /* tries with a full file system of which one asks the kernel */

void pool_init(struct pool *pool, const struct seg *seg, uint64_t bound) {
    *pool = (struct pool){.seg = seg, .fd = -1, .gone = POOL_NONE, .first = POOL_NONE};
    pool->bound = bound < seg->pool ? bound : seg->pool;
    pool->page = seg_round(1);
    pool->most = pool_most(pool->bound);
}

void pool_deinit(struct pool *pool) {
    if (pool->seg != NULL) { /* else it has not been made, and 0 is the user's descriptor */
        fd_close(&pool->fd);
    }
    free(pool->chunk);
    free(pool->size);
    pool->chunk = NULL;
    pool->size = NULL;
}

/* ---- sizes ---- */

/* Which size that many pages are rounded up to, and to how many pages: 1 to 8, then four between two powers of two. */
static unsigned round_pages(uint64_t pages, uint64_t *rounded) {
    pages = pages == 0 ? 1 : pages;
    if (pages <= 8) {
        *rounded = pages;
        return (unsigned)pages - 1;
    }
    unsigned log = 63 - (unsigned)__builtin_clzll(pages - 1);
    uint64_t step = UINT64_C(1) << (log - 2);
    uint64_t steps = (pages + step - 1) / step; /* 5 to 8 */
    *rounded = steps * step;
    return 8 + 4 * (log - 3) + (unsigned)steps - 5;
}

static unsigned size_of(const struct pool *pool, size_t size, uint64_t *pages) {
    return round_pages(size / pool->page + (size % pool->page != 0), pages);
}

uint64_t pool_most(uint64_t bound) {
    const size_t page = seg_round(1);
    uint64_t pages = bound / 4 / page;
    if (pages > 8) { /* down to one of the sizes */
        pages &= ~((UINT64_C(1) << (61 - __builtin_clzll(pages))) - 1);
    }
    return pages * page;
}

static uint64_t bytes(const struct pool *pool, uint32_t chunk) {
    return (uint64_t)pool->chunk[chunk].pages * pool->page;
}

/* ---- queues ---- */

static void append(struct pool *pool, struct pool_queue *queue, uint32_t chunk) {
    pool->chunk[chunk].next = POOL_NONE;
    if (queue->first == POOL_NONE) {
        queue->first = chunk;
    } else {
        pool->chunk[queue->last].next = chunk;
    }
    queue->last = chunk;
}

static uint32_t shift(struct pool *pool, struct pool_queue *queue) {
    uint32_t chunk = queue->first;
    queue->first = pool->chunk[chunk].next;
    return chunk;
}

static void set_free(struct pool *pool, uint32_t chunk) {
    pool->chunk[chunk].state = POOL_FREE;
    append(pool, &pool->size[pool->chunk[chunk].size].free, chunk);
}

/* ---- whose turn it is ---- */

static uint32_t lend(struct pool *pool, uint32_t chunk) {
    pool->chunk[chunk].state = POOL_LENT;
    pool->chunk[chunk].generation++;
    pool->size[pool->chunk[chunk].size].lent++;
    pool->lent++;
    return chunk;
}

bool pool_has(const struct pool *pool, size_t size) {
    uint64_t pages;
    unsigned which = size_of(pool, size, &pages);
    if (unlikely(pool->size == NULL || pool->size[which].free.first == POOL_NONE)) {
        return false;
    }
    atomic_claim(pool_data(pool, pool->size[which].free.first)); /* its reader's cache has that line */
    return true;
}

uint32_t pool_take(struct pool *pool, size_t size) {
    uint64_t pages;
    unsigned which = size_of(pool, size, &pages);
    if (unlikely(pool->size == NULL || pool->size[which].free.first == POOL_NONE)) {
        return POOL_NONE;
    }
    return lend(pool, shift(pool, &pool->size[which].free));
}

void pool_look(struct pool *pool) {
    pool->look++;
}

void pool_mark_chunk(struct pool *pool, uint32_t chunk) {
    pool->chunk[chunk].marked = pool->look;
}

void pool_mark_one(struct pool *pool, uint64_t note) {
    uint32_t chunk = (uint32_t)note;
    if (chunk < pool->chunks && pool->chunk[chunk].generation == (uint32_t)(note >> 32)) {
        pool_mark_chunk(pool, chunk);
    }
}

void pool_mark(struct pool *pool, const struct pool_notes *notes) {
    uint64_t mask = atomic_load(&notes->mask); /* pairs with (2) and (4) */
    for (; mask != 0; mask &= mask - 1) {
        pool_mark_one(pool, atomic_load(&notes->note[__builtin_ctzll(mask)]));
    }
}

static void sweep(struct pool *pool, struct pool_size *size, uint64_t passed) {
    struct pool_queue stay = {POOL_NONE, POOL_NONE};
    while (size->sent.first != POOL_NONE) {
        uint32_t chunk = shift(pool, &size->sent);
        if (pool->chunk[chunk].end <= passed && pool->chunk[chunk].marked != pool->look) {
            set_free(pool, chunk);
        } else {
            append(pool, &stay, chunk);
        }
    }
    size->sent = stay;
}

void pool_sweep(struct pool *pool, size_t size, uint64_t passed) {
    uint64_t pages;
    if (pool->size == NULL) {
        return;
    }
    if (size != 0) {
        sweep(pool, &pool->size[size_of(pool, size, &pages)], passed);
        return;
    }
    for (unsigned i = 0; i < POOL_SIZES; i++) {
        sweep(pool, &pool->size[i], passed);
    }
}

/* How many chunks of that size there are to be, whether they are needed or not. */
static uint32_t circle(const struct pool *pool, uint64_t pages) {
    uint64_t most = pool->bound / 2 / (pages * pool->page);
    return most > CIRCLE ? CIRCLE : (uint32_t)most; /* two at least, of the largest */
}

bool pool_wants(const struct pool *pool, size_t size) {
    uint64_t pages;
    unsigned which = size_of(pool, size, &pages);
    return pool->size == NULL || pool->size[which].count == 0 ||
           (!pool->tight && pool->size[which].count < circle(pool, pages) &&
            pool->reserved + pages * pool->page <= pool->bound / 2);
}

void pool_refer(const struct pool *pool, uint32_t chunk, size_t size, struct pool_ref *ref) {
    *ref = (struct pool_ref){.size = size,
                             .at = (uint32_t)(pool->chunk[chunk].offset / POOL_UNIT),
                             .units = (uint32_t)(bytes(pool, chunk) / POOL_UNIT),
                             .chunk = chunk,
                             .generation = pool->chunk[chunk].generation};
}

void pool_sent(struct pool *pool, uint32_t chunk, uint64_t end) {
    pool->chunk[chunk].state = POOL_SENT;
    pool->chunk[chunk].end = end;
    append(pool, &pool->size[pool->chunk[chunk].size].sent, chunk);
}

void pool_back(struct pool *pool, uint32_t chunk) {
    set_free(pool, chunk);
}

uint32_t pool_next(const struct pool *pool, size_t size, uint32_t chunk) {
    uint64_t pages;
    unsigned which = size_of(pool, size, &pages);
    for (chunk++; chunk < pool->chunks; chunk++) { /* POOL_NONE + 1 is 0 */
        if (pool->chunk[chunk].state == POOL_SENT && (size == 0 || pool->chunk[chunk].size == which)) {
            return chunk;
        }
    }
    return POOL_NONE;
}

uint64_t pool_oldest(const struct pool *pool, size_t size) {
    uint64_t least = POOL_FOREVER;
    for (uint32_t i = POOL_NONE; (i = pool_next(pool, size, i)) != POOL_NONE;) {
        const struct pool_chunk *chunk = &pool->chunk[i];
        if (chunk->marked != pool->look && chunk->end < least) {
            least = chunk->end;
        }
    }
    return least;
}

uint64_t pool_last(const struct pool *pool, uint64_t position) {
    uint64_t last = 0;
    for (uint32_t i = POOL_NONE; (i = pool_next(pool, 0, i)) != POOL_NONE;) {
        const struct pool_chunk *chunk = &pool->chunk[i];
        if (chunk->end <= position && chunk->end > last) {
            last = chunk->end;
        }
    }
    return last;
}

uint64_t pool_busy(const struct pool *pool, uint64_t *held, uint32_t *count) {
    uint64_t busy = 0;
    *held = 0;
    *count = 0;
    for (uint32_t i = 0; i < pool->chunks; i++) {
        const struct pool_chunk *chunk = &pool->chunk[i];
        if (chunk->state == POOL_LENT || chunk->state == POOL_SENT) {
            busy += bytes(pool, i);
        }
        if (chunk->state == POOL_SENT && chunk->marked == pool->look) {
            *held += bytes(pool, i);
            ++*count;
        }
    }
    return busy;
}

/* ---- making and giving up ---- */

static void give_up(struct pool *pool, uint32_t at) {
    struct pool_chunk *chunk = &pool->chunk[at];
    /* Whoever reads the hole afterwards had no business there. */
    (void)fallocate(pool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    (off_t)(pool->seg->head + pool->seg->ring + chunk->offset), (off_t)bytes(pool, at));
    if (chunk->left != POOL_NONE) {
        pool->chunk[chunk->left].right = chunk->right;
    } else {
        pool->first = chunk->right;
    }
    if (chunk->right != POOL_NONE) {
        pool->chunk[chunk->right].left = chunk->left;
    }
    pool->reserved -= bytes(pool, at);
    pool->size[chunk->size].count--;
    chunk->state = POOL_GONE;
    chunk->next = pool->gone;
    pool->gone = at;
}

/* Gives up free chunks of all sizes but that one, until so many bytes of the bound are left. */
static void make_space(struct pool *pool, unsigned but, uint64_t wanted) {
    for (unsigned i = POOL_SIZES; i-- > 0;) {
        while (i != but && pool->bound - pool->reserved < wanted && pool->size[i].free.first != POOL_NONE) {
            give_up(pool, shift(pool, &pool->size[i].free));
        }
    }
}

void pool_give_up(struct pool *pool) {
    if (pool->size != NULL) {
        make_space(pool, POOL_SIZES, pool->bound);
    }
}

/* The first place where so many bytes are free: behind the chunk that it answers (POOL_NONE: in front of all) and at *offset. Always the
 * first, so that what is held long does not come to lie everywhere. */
static bool find_gap(const struct pool *pool, uint64_t wanted, uint32_t *behind, uint64_t *offset) {
    uint32_t left = POOL_NONE, right = pool->first;
    uint64_t from = 0;
    while (right != POOL_NONE && pool->chunk[right].offset - from < wanted) {
        from = pool->chunk[right].offset + bytes(pool, right);
        left = right;
        right = pool->chunk[right].right;
    }
    *behind = left;
    *offset = from;
    return right != POOL_NONE || pool->seg->pool - from >= wanted;
}

static int more_slots(struct pool *pool, const char *what) {
    if (pool->size == NULL) {
        pool->size = malloc(POOL_SIZES * sizeof *pool->size);
        for (unsigned i = 0; pool->size != NULL && i < POOL_SIZES; i++) {
            pool->size[i] = (struct pool_size){{POOL_NONE, POOL_NONE}, {POOL_NONE, POOL_NONE}, 0, 0};
        }
    }
    if (pool->size != NULL && (pool->gone != POOL_NONE || pool->chunks < pool->room)) {
        return 0;
    }
    uint32_t room = pool->room == 0 ? 64 : 2 * pool->room;
    struct pool_chunk *larger = pool->size == NULL ? NULL : realloc(pool->chunk, room * sizeof *larger);
    if (larger == NULL) {
        return err_say(ENOMEM, "%s: no memory to know another chunk", what);
    }
    pool->chunk = larger;
    pool->room = room;
    return 0;
}

static int reserve(struct pool *pool, uint64_t offset, uint64_t size, const char *what) {
    off_t at = (off_t)(pool->seg->head + pool->seg->ring + offset);
    int rc;
    do {
        rc = fallocate(pool->fd, FALLOC_FL_KEEP_SIZE, at, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno == ENOSPC) {
        return -ENOSPC;
    }
    if (rc != 0) {
        return err_system(errno, "%s cannot take %llu bytes for a message", what, (unsigned long long)size);
    }
    /* Here, and not one page after another while the message is written. */
    (void)madvise(seg_pool(pool->seg) + offset, size, MADV_POPULATE_WRITE);
    return 0;
}

static uint32_t add(struct pool *pool, uint64_t offset, uint32_t pages, unsigned which, uint32_t behind) {
    uint32_t at = pool->gone;
    if (at != POOL_NONE) {
        pool->gone = pool->chunk[at].next;
    } else {
        at = pool->chunks++;
        pool->chunk[at].generation = 0;
    }
    struct pool_chunk *chunk = &pool->chunk[at];
    uint32_t right = behind == POOL_NONE ? pool->first : pool->chunk[behind].right;
    *chunk = (struct pool_chunk){.offset = offset,
                                 .pages = pages,
                                 .generation = chunk->generation,
                                 .left = behind,
                                 .right = right,
                                 .next = POOL_NONE,
                                 .marked = pool->look - 1,
                                 .size = (uint8_t)which};
    if (behind == POOL_NONE) {
        pool->first = at;
    } else {
        pool->chunk[behind].right = at;
    }
    if (right != POOL_NONE) {
        pool->chunk[right].left = at;
    }
    pool->reserved += bytes(pool, at);
    pool->size[which].count++;
    return at;
}

static int say_full(const struct pool *pool, uint64_t wanted, const char *what) {
    return err_say(ENOSPC,
                   "%s needs %llu bytes for a message, and the file system of the registry is full; its pool has %llu "
                   "bytes of it: make room there, point THIRL_DIR elsewhere, or send smaller messages",
                   what, (unsigned long long)wanted, (unsigned long long)pool->reserved);
}

static bool is_busy(const struct pool *pool) {
    uint64_t held;
    uint32_t count;
    return pool_busy(pool, &held, &count) != 0;
}

/* Finds a gap, gives up what would have to be in it, and takes its space. */
static int claim(struct pool *pool, unsigned which, uint64_t wanted, uint32_t *behind, uint64_t *offset,
                 const char *what) {
    make_space(pool, which, wanted);
    if (pool->bound - pool->reserved < wanted) {
        return -EAGAIN;
    }
    if (!find_gap(pool, wanted, behind, offset)) {
        make_space(pool, which, pool->bound); /* there is enough, but in pieces */
        if (!find_gap(pool, wanted, behind, offset)) {
            return -EAGAIN;
        }
    }
    if (pool->tight && is_busy(pool) && pool->vain++ % VAIN != 0) {
        return -EAGAIN; /* whoever tries again and again need not ask the kernel each time */
    }
    int rc = reserve(pool, *offset, wanted, what);
    if (rc == -ENOSPC) {
        pool->tight = true;
        make_space(pool, which, pool->bound);
        (void)find_gap(pool, wanted, behind, offset); /* there was one before */
        rc = reserve(pool, *offset, wanted, what);
    }
    return rc != -ENOSPC ? rc : is_busy(pool) ? -EAGAIN : say_full(pool, wanted, what);
}

int pool_make(struct pool *pool, size_t size, int dir, const char *name, const char *what, uint32_t *chunk) {
    uint64_t pages, offset = 0;
    unsigned which = size_of(pool, size, &pages);
    uint32_t behind = POOL_NONE;
    int rc = more_slots(pool, what);
    if (rc != 0) {
        return rc;
    }
    if (pool->fd < 0 && (pool->fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW)) < 0) {
        return err_system(errno, "%s: its file cannot be opened again", what);
    }
    rc = claim(pool, which, pages * pool->page, &behind, &offset, what);
    if (rc != 0) {
        return rc;
    }
    weave("pool.make.reserved");
    *chunk = lend(pool, add(pool, offset, (uint32_t)pages, which, behind));
    return 0;
}

void pool_trim(struct pool *pool) {
    pool->lent = 0;
    pool->tight = false;
    for (unsigned i = 0; i < POOL_SIZES; i++) {
        struct pool_size *size = &pool->size[i];
        uint32_t spare = 0, keep = 0;
        for (uint32_t at = size->free.first; at != POOL_NONE; at = pool->chunk[at].next) {
            spare++;
        }
        if (size->lent != 0 && spare != 0) {
            keep = circle(pool, pool->chunk[size->free.first].pages);
        }
        size->lent = 0;
        for (uint32_t n = spare > keep ? (spare - keep + 1) / 2 : 0; n > 0; n--) {
            give_up(pool, shift(pool, &size->free));
        }
    }
}
