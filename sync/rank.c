/* SPDX-License-Identifier: MIT
 *
 * Which lock was waited for while which was held.
 */
#include "sync/rank.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/weave.h"

#define PROBES 8
#define PAIRS_MOST 65536u /* of all processes together are looked at */
#define LENGTH_MOST 16u

/* ---- noting ---- */

static size_t home(uint64_t before, uint64_t after) {
    uint64_t hash = (before ^ (after << 32 | after >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32) % SLIP_PAIRS;
}

static void note(struct slip_pairs *pairs, const struct slip_pair *pair) {
    size_t at = home(pair->before, pair->after);
    for (int i = 0; i < PROBES; i++) {
        struct slip_pair *place = &pairs->pair[(at + (size_t)i) % SLIP_PAIRS];
        uint32_t state = atomic_load(&place->state); /* pairs with the release below */
        if (state == 2 && place->before == pair->before && place->after == pair->after) {
            return;
        }
        if (state != 0 || !atomic_cas(&place->state, &state, 1u)) {
            continue;
        }
        weave("rank.note.claimed");
        place->before = pair->before;
        place->after = pair->after;
        place->before_object = pair->before_object;
        place->after_object = pair->after_object;
        place->before_site = pair->before_site;
        place->after_site = pair->after_site;
        place->thread = pair->thread;
        weave("rank.note.written");
        atomic_store(&place->state, 2u);
        weave("rank.note.after");
        return;
    }
    (void)atomic_add(&pairs->missed, 1u);
}

/* A read lock and a write lock are one thing here: who waits to write keeps out who would read. */
static uint64_t whole(uint64_t tag) {
    return (tag & SLIP_KIND_BITS) == SLIP_SHARE ? tag ^ SLIP_SHARE ^ SLIP_RWLOCK : tag;
}

__attribute__((noinline)) void rank_note(const struct party *me) {
    const struct slip *slip = me->slip;
    uint32_t listed = slip->held;
    if (listed < 2 || listed > SLIP_HOLDS) {
        return; /* it is not listed itself */
    }
    const struct slip_hold *last = &slip->hold[listed - 1];
    for (uint32_t i = 0; i + 1 < listed; i++) {
        if (whole(slip->hold[i].tag) == whole(last->tag)) return;
    }
    struct slip_pairs *pairs = party_pairs();
    for (uint32_t i = 0; pairs != NULL && i + 1 < listed; i++) {
        const struct slip_hold *hold = &slip->hold[i];
        if (hold->tag != 0) {
            note(pairs, &(struct slip_pair){.before = whole(hold->tag),
                                            .after = whole(last->tag),
                                            .before_object = hold->object,
                                            .after_object = last->object,
                                            .before_site = hold->site,
                                            .after_site = last->site,
                                            .thread = slip->thread});
        }
    }
}

/* ---- looking ---- */

static int by_pair(const void *a, const void *b) {
    const struct slip_pair *left = &((const struct rank_pair *)a)->pair, *right = &((const struct rank_pair *)b)->pair;
    if (left->before != right->before) return left->before < right->before ? -1 : 1;
    return (left->after > right->after) - (left->after < right->after);
}

/* All pairs, each once, by what was held. NULL: no memory. */
static struct rank_pair *gather(const struct knot *knot, unsigned *count, uint64_t *missed) {
    size_t room = 1;
    for (unsigned i = 0; i < knot->processes; i++) {
        room += knot->process[i].pairs != NULL ? SLIP_PAIRS : 0;
    }
    room = room < PAIRS_MOST ? room : PAIRS_MOST;
    struct rank_pair *all = malloc(room * sizeof *all);
    unsigned found = 0;
    for (unsigned i = 0; all != NULL && i < knot->processes; i++) {
        const struct slip_pairs *pairs = knot->process[i].pairs;
        *missed += pairs != NULL ? pairs->missed : 0;
        for (unsigned j = 0; pairs != NULL && j < SLIP_PAIRS; j++) {
            const struct slip_pair *pair = &pairs->pair[j];
            bool whole = pair->state == 2 && pair->before != 0 && pair->after != 0 && pair->before != pair->after;
            if (whole && found == room) {
                ++*missed;
            } else if (whole) {
                all[found++] = (struct rank_pair){i, *pair};
            }
        }
    }
    *count = 0;
    if (all != NULL && found != 0) {
        qsort(all, found, sizeof *all, by_pair);
        for (unsigned i = 0; i < found; i++) {
            if (*count == 0 || by_pair(&all[*count - 1], &all[i]) != 0) all[(*count)++] = all[i];
        }
    }
    return all;
}

/* The first pair whose `before` is not less than that. */
static unsigned first_of(const struct rank_pair *all, unsigned count, uint64_t before) {
    unsigned low = 0, high = count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (all[middle].pair.before < before) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* A node for each lock, named by its first pair; edges are pairs, in their order. Locks that are held by nobody who waits have no node,
 * and no part in a circle. */
static bool weave_web(struct web *web, const struct rank_pair *all, unsigned count, unsigned *node) {
    unsigned nodes = 0;
    for (unsigned i = 0; i < count; i++) {
        nodes += i == 0 || all[i].pair.before != all[i - 1].pair.before;
        node[i] = nodes - 1;
    }
    if (!web_make(web, nodes, count)) {
        return false;
    }
    unsigned at = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned target = first_of(all, count, all[i].pair.after);
        web->stays[node[i]] = true;
        if (target < count && all[target].pair.before == all[i].pair.after) {
            web->to[at++] = node[target];
        }
        web->start[node[i] + 1] = at;
    }
    return web_prune(web);
}

/* The pair that leads from one lock to the next. */
static const struct rank_pair *pair_of(const struct rank_pair *all, unsigned count, uint64_t before, uint64_t after) {
    for (unsigned i = first_of(all, count, before); i < count && all[i].pair.before == before; i++) {
        if (all[i].pair.after == after) return &all[i];
    }
    return NULL;
}

/* Pairs that are there both ways: circles of two, each of them one. */
static unsigned find_twos(struct rank *rank, const struct rank_pair *all, unsigned count) {
    unsigned used = 0;
    for (unsigned i = 0; i < count && rank->circles < RANK_CIRCLES; i++) {
        const struct slip_pair *pair = &all[i].pair;
        const struct rank_pair *back =
            pair->before < pair->after ? pair_of(all, count, pair->after, pair->before) : NULL;
        if (back != NULL) {
            rank->pair[used++] = all[i];
            rank->pair[used++] = *back;
            rank->length[rank->circles++] = 2;
        }
    }
    return used;
}

/* Adds a larger circle that goes through these nodes, unless two of them are a circle already. */
static unsigned add(struct rank *rank, unsigned used, const struct rank_pair *all, unsigned count, const uint64_t *lock,
                    const unsigned *circle, unsigned length) {
    for (unsigned i = 0; i < length; i++) {
        for (unsigned j = 0; j < i; j++) {
            uint64_t one = lock[circle[i]], other = lock[circle[j]];
            if (pair_of(all, count, one, other) != NULL && pair_of(all, count, other, one) != NULL) return used;
        }
    }
    for (unsigned i = 0; i < length; i++) {
        rank->pair[used++] = *pair_of(all, count, lock[circle[i]], lock[circle[(i + 1) % length]]);
    }
    rank->length[rank->circles++] = length;
    return used;
}

/* And one through each lock that is in any, unless one was found already that it is in. */
static bool find_circles(struct rank *rank, const struct web *web, const struct rank_pair *all, unsigned count,
                         const unsigned *node) {
    uint64_t *lock = calloc((size_t)web->count + 1, sizeof *lock);
    bool *told = calloc((size_t)web->count + 1, sizeof *told);
    bool fits = lock != NULL && told != NULL;
    for (unsigned i = 0; fits && i < count; i++) lock[node[i]] = all[i].pair.before;
    unsigned circle[LENGTH_MOST], used = fits ? find_twos(rank, all, count) : 0;
    for (unsigned i = 0, looks = 0; fits && i < web->count && looks < RANK_CIRCLES; i++) {
        if (!web->stays[i] || told[i]) {
            continue;
        }
        looks++;
        unsigned length = web_circle(web, i, circle, LENGTH_MOST);
        if (length > 2 && length <= LENGTH_MOST && rank->circles < RANK_CIRCLES) {
            used = add(rank, used, all, count, lock, circle, length);
            for (unsigned j = 0; j < length; j++) told[circle[j]] = true;
        }
    }
    free(lock);
    free(told);
    return fits;
}

int rank_look(struct rank *rank, const struct knot *knot) {
    struct web web = {.count = 0};
    unsigned count = 0;
    *rank = (struct rank){.pair = calloc((size_t)RANK_CIRCLES * LENGTH_MOST, sizeof *rank->pair),
                          .length = calloc(RANK_CIRCLES, sizeof *rank->length)};
    struct rank_pair *all = gather(knot, &count, &rank->missed);
    unsigned *node = calloc((size_t)count + 1, sizeof *node);
    bool fits = rank->pair != NULL && rank->length != NULL && all != NULL && node != NULL &&
                weave_web(&web, all, count, node) && find_circles(rank, &web, all, count, node);
    web_free(&web);
    free(all);
    free(node);
    return fits ? 0 : err_say(ENOMEM, "no memory to look at the order in which locks were taken");
}

void rank_free(struct rank *rank) {
    free(rank->pair);
    free(rank->length);
    *rank = (struct rank){.circles = 0};
}
