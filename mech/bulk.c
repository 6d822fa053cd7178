/* SPDX-License-Identifier: MIT
 *
 * A publisher's large messages: they lie in its pool, and are used again when the floor is behind them and nobody holds them. Where
 * nobody is waited for, what is oldest and not held goes first.
 *
 *     publisher                              subscriber that takes
 *     floor = behind the chunk's record      note = chunk, generation
 *     full fence                             full fence
 *     looks at all notes: held? another      floor behind the record? takes the note back, and has lost it
 *
 * One of the two sees the other; tests/race/floor_test walks it. So it is also with those who copy.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"
#include "mech/fan.h"

#define BURY_EVERY (20 * CLOCK_MS)

void bulk_init(struct pub *pub, const struct thirl_options *options) {
    pool_init(&pub->pool, &pub->seg, pool_asked(options->pool));
    pub->within = cast_most(pub->seg.ring);
    uint64_t away = pool_most(pub->pool.bound), most = away > pub->within ? away : pub->within;
    pub->max = most < options->max ? most : options->max;
    pub->lends = pool_lends(pub->pool.bound);
    pub->own->pool = pub->pool.bound;
    pub->end->seen->pool = pub->pool.bound;
}

/* Says that what ends there is not whole any more, but for those who hold it. */
static void raise_to(struct pub *pub, uint64_t position) {
    struct cast_out *cast = &pub->cast;
    if (position > cast->head->floor) {
        cast_remark(cast, position);
        cast_raise(cast, position);
        weave("bulk.raise.said");
        if (!pub->waits) {
            cast->lane.limit = position + pub->seg.ring;
        }
    }
}

/* What all have passed need not be kept; but for those who come late, where nobody is waited for. As in pub's make_room. */
static int raise_to_least(struct pub *pub) {
    uint32_t receivers;
    size_t slowest;
    do {
        int rc = crowd_refresh(pub);
        if (rc != 0) {
            return rc;
        }
        receivers = pub->receivers;
        uint64_t least = crowd_least(pub, &slowest);
        if (pub->waits) {
            pub->slowest = slowest;
        }
        if (pub->waits || pub->own->history == 0) {
            raise_to(pub, pool_last(&pub->pool, least));
        }
    } while (atomic_load(&pub->end->hail->receivers) + 1 != receivers); /* pairs with the count in sub_joined */
    return 0;
}

static void sweep(struct pub *pub, size_t size) {
    pool_look(&pub->pool);
    crowd_mark(pub);
    pool_sweep(&pub->pool, size, pub->cast.head->floor);
}

static int make(struct pub *pub, size_t size, uint32_t *chunk) {
    char file[ROLL_FILE_MAX];
    roll_file(file, pub->end->roll.self, "tx");
    int rc = pool_make(&pub->pool, size, pub->end->roll.dir, file, pub->end->address, chunk);
    if (rc != 0 && pool_has(&pub->pool, size)) {
        *chunk = pool_take(&pub->pool, size);
        rc = 0;
    }
    return rc;
}

/* Nobody is waited for: the oldest that is not held, first of that size. */
static int overwrite(struct pub *pub, size_t size, uint32_t *chunk) {
    size_t like = size;
    int rc = -EAGAIN;
    while (rc == -EAGAIN) {
        uint64_t oldest = pool_oldest(&pub->pool, like);
        if (oldest == POOL_FOREVER && like == 0) {
            break;
        }
        if (oldest == POOL_FOREVER) {
            like = 0;
            continue;
        }
        raise_to(pub, oldest);
        sweep(pub, 0);
        rc = make(pub, size, chunk);
    }
    return rc;
}

static void show(struct pub *pub) {
    struct node_end *seen = pub->end->seen;
    uint64_t held = 0;
    uint32_t holds = 0;
    (void)pool_busy(&pub->pool, &held, &holds);
    atomic_poke(&seen->reserved, pub->pool.reserved);
    atomic_poke(&seen->out.held, held);
    atomic_poke(&seen->out.holds, holds);
}

void bulk_want(struct pub *pub, size_t size) {
    if (size != 0) {
        pub->needed = 0;
        pub->refused = pub->cast.lane.at;
    }
    if (pub->wanted != size) {
        pub->wanted = size;
        atomic_poke(&pub->end->seen->wanted, size);
    }
}

static int say_held(const struct pub *pub, size_t size) {
    const struct node_end *seen = pub->end->seen;
    return err_say(
        EBUSY,
        "%s: no place for a message of %zu bytes in the pool of %llu: subscribers hold %llu messages, %llu bytes, "
        "the rest is lent; they have to free some, or open this end with a larger ?pool=",
        pub->end->address, size, (unsigned long long)pub->pool.bound, (unsigned long long)seen->out.holds,
        (unsigned long long)seen->out.held);
}

/* None is free, as far as is known. */
static __attribute__((noinline)) int find(struct pub *pub, size_t size, uint32_t *chunk) {
    struct pool *pool = &pub->pool;
    int rc = raise_to_least(pub);
    if (rc != 0) {
        return rc;
    }
    sweep(pub, 0);
    if (pool_trims(pool)) {
        pool_trim(pool);
    }
    *chunk = pool_wants(pool, size) ? POOL_NONE : pool_take(pool, size);
    rc = *chunk != POOL_NONE ? 0 : make(pub, size, chunk);
    if (rc == -EAGAIN && clock_now() - pub->buried > BURY_EVERY) {
        pub->buried = clock_now();
        if (crowd_bury(pub)) {
            rc = raise_to_least(pub);
            sweep(pub, 0);
            rc = rc != 0 ? rc : make(pub, size, chunk);
        }
    }
    if (rc == -EAGAIN && !pub->waits) {
        rc = overwrite(pub, size, chunk);
    }
    show(pub);
    if (rc == -EAGAIN && (pub->slowest < pub->readers || pub->shown != pub->receivers)) {
        crowd_show(pub); /* for the sentence */
    }
    bulk_want(pub, rc == -EAGAIN ? size : 0);
    return rc == -EAGAIN && !pub->waits ? say_held(pub, size) : rc;
}

int bulk_place(struct pub *pub, size_t size, uint32_t *chunk) {
    *chunk = likely(pub->wanted == 0) ? pool_take(&pub->pool, size) : POOL_NONE;
    return likely(*chunk != POOL_NONE) ? 0 : find(pub, size, chunk);
}

bool bulk_ready(struct pub *pub) {
    uint32_t chunk;
    if (pub->wanted != 0 && pub->refused != pub->cast.lane.at) {
        bulk_want(pub, 0); /* something else was sent since */
    }
    if (pub->wanted == 0) {
        return true;
    }
    int rc = bulk_place(pub, pub->wanted, &chunk);
    if (rc == 0) {
        pool_back(&pub->pool, chunk);
    }
    return rc != -EAGAIN;
}

/* ---- loans ---- */

int bulk_loan(struct pub *pub, struct mech_piece *piece, size_t size) {
    uint32_t chunk;
    _Static_assert(POOL_HELD >= THIRL_HELD_MAX, "each loan that is out has a place");
    if (size < pub->lends || size > pub->pool.most || size > pub->max) {
        return 1;
    }
    int rc = bulk_place(pub, size, &chunk);
    if (rc != 0) {
        /* Where it goes nowhere, or fits into the ring, that is settled when it is sent. */
        bool later = rc == -ENOSPC ? size <= pub->within : rc == -EAGAIN && pub->full == THIRL_FULL_DROP_NEWEST;
        return later ? 1 : rc;
    }
    pub->lent[pub->lents++] = chunk;
    *piece = (struct mech_piece){.data = pool_data(&pub->pool, chunk), .capacity = size};
    return 0;
}

uint32_t bulk_claim(struct pub *pub, const void *data) {
    for (unsigned i = 0; i < pub->lents; i++) {
        uint32_t chunk = pub->lent[i];
        if (pool_data(&pub->pool, chunk) == data) {
            pub->lent[i] = pub->lent[--pub->lents];
            return chunk;
        }
    }
    return POOL_NONE;
}

void bulk_free(struct pub *pub, struct mech_piece *piece) {
    uint32_t chunk = bulk_claim(pub, piece->data);
    if (chunk != POOL_NONE) {
        pool_back(&pub->pool, chunk);
        pub_settle(pub);
    }
}

void bulk_deinit(struct pub *pub) {
    pool_deinit(&pub->pool);
}
