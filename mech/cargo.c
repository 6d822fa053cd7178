/* SPDX-License-Identifier: MIT
 *
 * A pusher's messages that lie in its pool: where there is a place, and when there is one again. Contracts in mech/work.h.
 */
#include <errno.h>
#include <string.h>

#include "base/weave.h"
#include "mech/work.h"

uint64_t cargo_region(const struct thirl_options *options) {
    return 2 * pool_asked(options->pool); /* what is held long must not part it */
}

void cargo_init(struct work *w, const struct thirl_options *options) {
    struct offer *out = &w->out;
    pool_init(&out->pool, &out->claim.tx, pool_asked(options->pool));
    uint64_t bound = out->pool.bound, most = pool_most(bound) > out->within ? pool_most(bound) : out->within;
    w->max = w->max < most ? w->max : most;
    out->lends = pool_lends(bound);
    out->own->pool = bound;
    w->seen->pool = bound;
}

void cargo_want(struct work *w, size_t size) {
    if (size != 0) {
        w->out.needed = 0;
        w->out.refused = w->out.lane.at;
    }
    if (w->out.wanted != size) {
        w->out.wanted = size;
        atomic_poke(&w->seen->wanted, size);
    }
}

/* What is done is free. size 0: of all sizes. */
static void sweep(struct offer *out, size_t size) {
    struct pool *pool = &out->pool;
    pool_look(pool);
    for (uint32_t i = POOL_NONE; (i = pool_next(pool, size, i)) != POOL_NONE;) {
        uint64_t number = pool->chunk[i].end;
        if (number >= out->floor && !claim_is_done(&out->claim, number)) {
            pool_mark_chunk(pool, i);
        }
    }
    pool_sweep(pool, size, POOL_FOREVER);
}

/* For the list, and for sentences: what workers have in their hands. */
static void show(struct work *w) {
    const struct offer *out = &w->out;
    uint64_t held = 0, holds = 0;
    for (uint32_t i = POOL_NONE; (i = pool_next(&out->pool, 0, i)) != POOL_NONE;) {
        const struct pool_chunk *chunk = &out->pool.chunk[i];
        if (claim_holder(&out->claim, chunk->end, claim_load(&out->claim, chunk->end)) != 0) {
            held += chunk->pages * out->pool.page;
            holds++;
        }
    }
    atomic_poke(&w->seen->reserved, out->pool.reserved);
    atomic_poke(&w->seen->out.held, held);
    atomic_poke(&w->seen->out.holds, holds);
}

static int make(struct work *w, size_t size, uint32_t *chunk) {
    char file[ROLL_FILE_MAX];
    struct pool *pool = &w->out.pool;
    sweep(&w->out, 0); /* those of other sizes may have to make room */
    roll_file(file, w->roll.self, "tx");
    int rc = pool_make(pool, size, w->roll.dir, file, w->address, chunk);
    if (rc != 0 && pool_has(pool, size)) { /* another one was wanted, but not needed */
        *chunk = pool_take(pool, size);
        rc = 0;
    }
    return rc;
}

/* None is free, as far as is known. */
static __attribute__((noinline)) int find(struct work *w, size_t size, uint32_t *chunk) {
    struct pool *pool = &w->out.pool;
    uint64_t reserved = pool->reserved;
    bool trims = pool_trims(pool);
    sweep(&w->out, trims ? 0 : size);
    if (trims) {
        pool_trim(pool);
    }
    *chunk = pool_wants(pool, size) ? POOL_NONE : pool_take(pool, size);
    int rc = *chunk != POOL_NONE ? 0 : make(w, size, chunk);
    if (pool->reserved != reserved || rc != 0) {
        show(w);
    }
    cargo_want(w, rc == -EAGAIN ? size : 0);
    return rc;
}

int cargo_place(struct work *w, size_t size, uint32_t *chunk) {
    *chunk = likely(w->out.wanted == 0) ? pool_take(&w->out.pool, size) : POOL_NONE;
    return likely(*chunk != POOL_NONE) ? 0 : find(w, size, chunk);
}

uint32_t cargo_stow(struct work *w, void *payload, uint32_t chunk, size_t size, uint64_t number) {
    struct pool_ref ref;
    pool_refer(&w->out.pool, chunk, size, &ref);
    weave("cargo.stow.before");
    memcpy(payload, &ref, sizeof ref);
    pool_sent(&w->out.pool, chunk, number);
    weave("cargo.stow.after");
    return (uint32_t)sizeof ref | LANE_AWAY;
}

void cargo_ahead(struct work *w, size_t size) {
    if (!pool_has(&w->out.pool, size)) {
        sweep(&w->out, size);
        (void)pool_has(&w->out.pool, size);
    }
}

bool cargo_ready(struct work *w) {
    uint32_t chunk;
    if (w->out.wanted != 0 && w->out.refused != w->out.lane.at) {
        cargo_want(w, 0); /* something else was sent since */
    }
    if (w->out.wanted == 0) {
        return true;
    }
    int rc = cargo_place(w, w->out.wanted, &chunk);
    if (rc == 0) {
        pool_back(&w->out.pool, chunk); /* it stays free for the next try */
    }
    return rc != -EAGAIN;
}

void cargo_close(struct work *w) {
    sweep(&w->out, 0);
    weave("cargo.close.before");
    pool_give_up(&w->out.pool);
}

void cargo_deinit(struct work *w) {
    pool_deinit(&w->out.pool);
}
