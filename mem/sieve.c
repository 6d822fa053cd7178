/* SPDX-License-Identifier: MIT
 *
 * Queues, and the ghosts of what has gone.
 */
#include "mem/sieve.h"

static uint64_t in_queue(const struct sieve_view *view, uint64_t list, size_t field) {
    return view->at + offsetof(struct sieve, queue) + list * sizeof(struct sieve_queue) + field;
}
#define IN_QUEUE(view, list, field) in_queue(view, list, offsetof(struct sieve_queue, field))

static void add(struct redo *redo, uint64_t place, uint64_t number) {
    redo_put(redo, place, redo_get(redo, place) + number);
}

void sieve_enter(const struct sieve_view *view, struct redo *redo, uint64_t item, enum sieve_list list,
                 uint64_t bytes) {
    uint64_t newest = redo_get(redo, IN_QUEUE(view, list, newest));
    redo_put(redo, ITEM_PLACE(item, newer), 0);
    redo_put(redo, ITEM_PLACE(item, older), newest);
    redo_put(redo, ITEM_PLACE(item, list), list);
    redo_put(redo, newest != 0 ? ITEM_PLACE(newest, newer) : IN_QUEUE(view, list, oldest), item);
    redo_put(redo, IN_QUEUE(view, list, newest), item);
    add(redo, IN_QUEUE(view, list, bytes), bytes);
    add(redo, IN_QUEUE(view, list, items), 1);
}

void sieve_leave(const struct sieve_view *view, struct redo *redo, uint64_t item, uint64_t bytes) {
    uint64_t list = redo_get(redo, ITEM_PLACE(item, list));
    if (list >= SIEVE_LISTS) {
        redo->wrong = true;
        return;
    }
    uint64_t newer = redo_get(redo, ITEM_PLACE(item, newer)), older = redo_get(redo, ITEM_PLACE(item, older));
    redo_put(redo, newer != 0 ? ITEM_PLACE(newer, older) : IN_QUEUE(view, list, newest), older);
    redo_put(redo, older != 0 ? ITEM_PLACE(older, newer) : IN_QUEUE(view, list, oldest), newer);
    add(redo, IN_QUEUE(view, list, bytes), -bytes);
    add(redo, IN_QUEUE(view, list, items), UINT64_MAX);
}

/* ---- ghosts ---- */

static uint64_t *ways(const struct sieve_view *view, uint64_t hash) {
    return &view->ghost[hash >> 20 & view->mask & ~(uint64_t)(SIEVE_GHOST_WAYS - 1)];
}

static uint64_t age(const struct sieve_view *view, uint64_t ghost) {
    return (uint32_t)((uint32_t)atomic_peek(&view->sieve->ghosts) - (uint32_t)ghost);
}

/* As many are remembered as there are items. */
enum sieve_list sieve_home(const struct sieve_view *view, uint64_t hash) {
    const struct sieve_queue *queue = view->sieve->queue;
    uint64_t most = atomic_peek(&queue[SIEVE_MAIN].items) + atomic_peek(&queue[SIEVE_SMALL].items);
    const uint64_t *ghost = ways(view, hash);
    for (unsigned i = 0; i < SIEVE_GHOST_WAYS; i++) {
        uint64_t one = atomic_peek(&ghost[i]);
        if (one != 0 && one >> 32 == hash >> 32) {
            return age(view, one) <= most ? SIEVE_MAIN : SIEVE_SMALL;
        }
    }
    return SIEVE_SMALL;
}

void sieve_remember(const struct sieve_view *view, uint64_t list, uint64_t hash) {
    if (list != SIEVE_SMALL) {
        return;
    }
    uint64_t now = atomic_peek(&view->sieve->ghosts) + 1, *ghost = ways(view, hash);
    unsigned which = 0;
    for (unsigned i = 0; i < SIEVE_GHOST_WAYS; i++) {
        uint64_t one = atomic_peek(&ghost[i]);
        if (one == 0 || one >> 32 == hash >> 32) {
            which = i;
            break;
        }
        which = age(view, one) > age(view, atomic_peek(&ghost[which])) ? i : which;
    }
    atomic_poke(&view->sieve->ghosts, now);
    atomic_poke(&ghost[which], hash >> 32 << 32 | (uint32_t)now);
}

/* ---- who goes ---- */

uint64_t sieve_oldest(const struct sieve_view *view, uint64_t bytes) {
    const struct sieve_queue *small = &view->sieve->queue[SIEVE_SMALL], *main = &view->sieve->queue[SIEVE_MAIN];
    uint64_t of_small = atomic_peek(&small->oldest), of_main = atomic_peek(&main->oldest);
    bool first = of_main == 0 || (of_small != 0 && atomic_peek(&small->bytes) > bytes / SIEVE_SMALL_PART);
    return first ? of_small : of_main;
}

bool sieve_goes(const struct item *item, uint8_t *uses) {
    uint8_t found = atomic_peek(&item->uses);
    if (atomic_peek(&item->list) == SIEVE_SMALL) {
        *uses = 0;
        return found < 2;
    }
    *uses = found > ITEM_USES_MAX ? ITEM_USES_MAX : (uint8_t)(found - 1);
    return found == 0;
}
