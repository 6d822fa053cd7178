/* SPDX-License-Identifier: MIT
 *
 * Messages of an outlet that lie in its pool: where there is a place, and when there is one again.
 */
#include <string.h>

#include "base/err.h"
#include "base/weave.h"
#include "mech/reach.h"

uint64_t stow_bound(const struct shm *end, const struct thirl_options *options) {
    return end->stream ? 0 : pool_asked(options->pool);
}

void stow_init(struct outlet *out, uint64_t bound) {
    struct shm *end = out->end;
    pool_init(&out->pool, &out->seg, bound);
    out->within = out->seg.ring - 2 * sizeof(struct lane_head);
    out->most = pool_most(out->pool.bound) > out->within ? pool_most(out->pool.bound) : out->within;
    end->max = end->max < out->most ? end->max : out->most;
    out->lends = pool_lends(out->pool.bound);
    out->own->pool = out->pool.bound;
}

void stow_forget(struct outlet *out) {
    pool_look(&out->pool);
    pool_sweep(&out->pool, 0, POOL_FOREVER);
    stow_want(out, 0);
}

void stow_want(struct outlet *out, size_t size) {
    if (size != 0) {
        out->needed = 0;
        out->refused = out->lane.at;
    }
    if (out->wanted != size) {
        out->wanted = size;
        if (out->end->seen != NULL) {
            atomic_poke(&out->end->seen->wanted, size);
        }
    }
}

/* What the peer, whom there is, has passed and does not hold is free. size 0: of all sizes. */
static int sweep(struct outlet *out, size_t size) {
    uint64_t cursor;
    int rc = reach_cursor(out, &cursor);
    if (rc == 0) {
        pool_look(&out->pool);
        if (out->bound) {
            pool_mark(&out->pool, &out->theirs->held);
        }
        pool_sweep(&out->pool, size, cursor);
    }
    return rc;
}

/* For the list, and for sentences. */
static void show(struct outlet *out) {
    struct node_end *seen = out->end->seen;
    out->shown = out->pool.reserved;
    uint64_t held = 0;
    uint32_t holds = 0;
    (void)pool_busy(&out->pool, &held, &holds);
    if (seen != NULL) {
        atomic_poke(&seen->reserved, out->pool.reserved);
        atomic_poke(&seen->out.held, held);
        atomic_poke(&seen->out.holds, holds);
    }
}

static int make(struct outlet *out, size_t size, uint32_t *chunk) {
    char file[ROLL_FILE_MAX];
    int rc = sweep(out, 0); /* those of other sizes may have to make room */
    if (rc != 0) {
        return rc;
    }
    mate_file(file, &out->end->roll.self, "tx", &out->end->mate);
    rc = pool_make(&out->pool, size, out->end->roll.dir, file, out->end->address, chunk);
    if (rc != 0 && pool_has(&out->pool, size)) { /* another one was wanted, but not needed */
        *chunk = pool_take(&out->pool, size);
        rc = 0;
    }
    return rc;
}

/* None is free, as far as is known. */
static __attribute__((noinline)) int find(struct outlet *out, size_t size, uint32_t *chunk) {
    struct pool *pool = &out->pool;
    bool trims = pool_trims(pool);
    int rc = sweep(out, trims ? 0 : size);
    if (rc != 0) {
        return rc;
    }
    if (trims) {
        pool_trim(pool);
    }
    *chunk = pool_wants(pool, size) ? POOL_NONE : pool_take(pool, size);
    if (*chunk == POOL_NONE) {
        rc = make(out, size, chunk);
    }
    if (pool->reserved != out->shown || rc != 0) {
        show(out);
    }
    stow_want(out, rc == -EAGAIN ? size : 0);
    return rc;
}

int stow_place(struct outlet *out, size_t size, uint32_t *chunk) {
    *chunk = likely(out->wanted == 0) ? pool_take(&out->pool, size) : POOL_NONE;
    return likely(*chunk != POOL_NONE) ? 0 : find(out, size, chunk);
}

void stow_commit(struct outlet *out, struct lane_head *head, uint32_t span, uint32_t chunk, size_t size, uint64_t end) {
    struct pool_ref ref;
    pool_refer(&out->pool, chunk, size, &ref);
    memcpy(lane_payload(head), &ref, sizeof ref);
    pool_sent(&out->pool, chunk, end);
    weave("stow.commit.before");
    lane_commit(head, span, (uint32_t)sizeof ref | LANE_AWAY);
    weave("stow.commit.after");
}

void stow_ahead(struct outlet *out, size_t size) {
    if (!pool_has(&out->pool, size) && out->linked && sweep(out, size) == 0) {
        (void)pool_has(&out->pool, size);
    }
}

bool stow_ready(struct outlet *out) {
    uint32_t chunk;
    if (out->wanted != 0 && out->refused != out->lane.at) {
        stow_want(out, 0); /* something else was sent since */
    }
    if (out->wanted == 0) {
        return true;
    }
    int rc = stow_place(out, out->wanted, &chunk);
    if (rc == 0) {
        pool_back(&out->pool, chunk); /* it stays free for the next try */
    }
    return rc != -EAGAIN;
}
