/* SPDX-License-Identifier: MIT
 *
 * The search, and the models.
 */
#include "tests/history.h"

#include <stdlib.h>
#include <string.h>

#define STEPS UINT64_C(20000000)

/* ---- the search ---- */

/* Begins and ends in the order of time; a begin knows its end. */
struct event {
    struct event *before, *after, *end; /* end: of a begin; NULL: this is an end, or it never came */
    size_t op;
    bool begins;
};

struct lifted { /* in the order that is tried */
    struct event *begin;
    uint64_t state; /* before it */
};

struct seen { /* open addressing; 0: free */
    uint64_t *words;
    size_t size, used;
};

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static size_t place_of(const struct seen *seen, uint64_t word) {
    size_t at = word & (seen->size - 1);
    while (seen->words[at] != 0 && seen->words[at] != word) {
        at = (at + 1) & (seen->size - 1);
    }
    return at;
}

/* 1: it is new; 0: it was there; -1: no memory. */
static int note(struct seen *seen, uint64_t word) {
    word += word == 0;
    if (2 * (seen->used + 1) > seen->size) {
        struct seen larger = {.size = seen->size == 0 ? 1024 : 2 * seen->size};
        larger.words = calloc(larger.size, sizeof *larger.words);
        if (larger.words == NULL) {
            return -1;
        }
        for (size_t i = 0; i < seen->size; i++) {
            if (seen->words[i] != 0) {
                larger.words[place_of(&larger, seen->words[i])] = seen->words[i];
                larger.used++;
            }
        }
        free(seen->words);
        *seen = larger;
    }
    size_t at = place_of(seen, word);
    if (seen->words[at] == word) {
        return 0;
    }
    seen->words[at] = word;
    seen->used++;
    return 1;
}

static const struct history_op *sorted; /* by qsort */

static int compare(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    int64_t at = x->begins ? sorted[x->op].began : sorted[x->op].ended;
    int64_t than = y->begins ? sorted[y->op].began : sorted[y->op].ended;
    if (at != than) {
        return at < than ? -1 : 1;
    }
    return y->begins - x->begins; /* at the same time: they overlap */
}

/* The list, behind a head. count_ends gets how many have ended. */
static struct event *line_up(const struct history_op *ops, size_t count, size_t *events) {
    struct event *all = calloc(2 * count + 1, sizeof *all);
    struct event **begin = calloc(count + 1, sizeof(struct event *)); // NOLINT(bugprone-sizeof-expression)
    size_t n = 1;
    for (size_t i = 0; all != NULL && begin != NULL && i < count; i++) {
        all[n++] = (struct event){.op = i, .begins = true};
        if (ops[i].ended != HISTORY_PENDING) {
            all[n++] = (struct event){.op = i};
        }
    }
    if (all != NULL && begin != NULL) {
        sorted = ops;
        qsort(all + 1, n - 1, sizeof *all, compare);
        for (size_t i = 1; i < n; i++) {
            all[i].before = &all[i - 1];
            all[i - 1].after = &all[i];
            if (all[i].begins) {
                begin[all[i].op] = &all[i];
            } else {
                begin[all[i].op]->end = &all[i];
            }
        }
        *events = n;
    } else {
        free(all);
        all = NULL;
    }
    free(begin);
    return all;
}

static void unlink_event(struct event *e) {
    e->before->after = e->after;
    if (e->after != NULL) {
        e->after->before = e->before;
    }
}

static void relink_event(struct event *e) {
    e->before->after = e;
    if (e->after != NULL) {
        e->after->before = e;
    }
}

static void lift(struct event *begin) {
    unlink_event(begin);
    if (begin->end != NULL) {
        unlink_event(begin->end);
    }
}

static void put_back(struct event *begin) {
    if (begin->end != NULL) {
        relink_event(begin->end);
    }
    relink_event(begin);
}

/* Does an operation that has ended still stand in the list? */
static bool is_open(const struct event *head) {
    for (const struct event *e = head->after; e != NULL; e = e->after) {
        if (e->end != NULL) {
            return true;
        }
    }
    return false;
}

static int search(struct event *head, const struct history_op *ops, history_model *model, struct lifted *order,
                  struct seen *seen, size_t *stuck) {
    uint64_t state = 0, set = 0, steps = 0;
    size_t depth = 0, deepest = 0;
    struct event *e = head->after;
    while (e != NULL || depth != 0) {
        if (++steps > STEPS) {
            return -1;
        }
        if (e != NULL && e->begins) {
            uint64_t next = state;
            bool can = model(&next, &ops[e->op]);
            uint64_t with = set ^ mix(e->op + 1);
            int fresh = can ? note(seen, mix(mix(with) + next)) : 0;
            if (fresh < 0) {
                return -1;
            }
            if (fresh == 1) {
                order[depth++] = (struct lifted){e, state};
                state = next;
                set = with;
                lift(e);
                e = head->after;
            } else {
                e = e->after;
            }
            continue;
        }
        if (!is_open(head)) {
            return 1;
        }
        if (depth == 0) { /* nothing that could come first has led on */
            return 0;
        }
        if (depth >= deepest && e != NULL) {
            deepest = depth;
            *stuck = e->op;
        }
        depth--;
        state = order[depth].state;
        set ^= mix(order[depth].begin->op + 1);
        put_back(order[depth].begin);
        e = order[depth].begin->after;
    }
    return 1;
}

int history_check(const struct history_op *ops, size_t count, history_model *model, size_t *stuck) {
    size_t events = 0, none = 0;
    stuck = stuck != NULL ? stuck : &none;
    *stuck = 0;
    struct event *head = line_up(ops, count, &events);
    struct lifted *order = calloc(count + 1, sizeof *order);
    struct seen seen = {0};
    int rc = head == NULL || order == NULL ? -1 : search(head, ops, model, order, &seen, stuck);
    free(seen.words);
    free(order);
    free(head);
    return rc;
}

/* ---- models ---- */

bool history_value(uint64_t *state, const struct history_op *op) {
    uint64_t was = *state;
    switch (op->kind) {
    case HISTORY_GET:
        return op->ended == HISTORY_PENDING || op->answer == was;
    case HISTORY_SET:
        *state = op->given;
        return true;
    case HISTORY_SWAP:
        *state = op->given >> 32 == was ? (uint32_t)op->given : was;
        return op->ended == HISTORY_PENDING || op->answer == (op->given >> 32 == was);
    default:
        *state = 0;
        return op->ended == HISTORY_PENDING || op->answer == (was != 0);
    }
}

bool history_lock(uint64_t *state, const struct history_op *op) {
    uint64_t me = UINT64_C(1) << op->who, alone = *state & 0xffff, sharing = *state >> 16 & 0xffff, dead = *state >> 32;
    bool pending = op->ended == HISTORY_PENDING, told = (alone & dead) != 0;
    if ((dead & me) != 0) { /* what he had begun was done before he died, or never */
        return false;
    }
    switch (op->kind) {
    case HISTORY_DIE:
        dead |= me;
        break;
    case HISTORY_UNLOCK:
        if (((alone | sharing) & me) == 0) {
            return false;
        }
        alone &= ~me;
        sharing &= ~me;
        break;
    case HISTORY_LOCK:
        if (!pending && op->answer == 0) {
            return (alone | sharing) != 0;
        }
        if (((alone | sharing) & ~dead) != 0 || (!pending && op->answer != (told ? 2 : 1))) {
            return false;
        }
        alone = me;
        sharing = 0; /* what the dead had shared is free without a word */
        break;
    default:
        if ((alone & ~dead) != 0 || (!pending && op->answer != (told ? 2 : 1))) {
            return false;
        }
        sharing |= me;
    }
    *state = alone | sharing << 16 | dead << 32;
    return true;
}

bool history_count(uint64_t *state, const struct history_op *op) {
    if (op->kind == HISTORY_POST) {
        (*state)++;
        return true;
    }
    bool there = *state != 0;
    *state -= there && (op->answer != 0 || op->ended == HISTORY_PENDING);
    return op->ended == HISTORY_PENDING || op->answer == there;
}

bool history_light(uint64_t *state, const struct history_op *op) {
    if (op->kind == HISTORY_LOOK) {
        return op->ended == HISTORY_PENDING || op->answer == *state;
    }
    *state = op->kind == HISTORY_LIGHT;
    return true;
}

/* Upper half, how many were put; lower half, how many came out. */
bool history_queue(uint64_t *state, const struct history_op *op) {
    uint64_t put = *state >> 32, out = (uint32_t)*state;
    if (op->kind == HISTORY_PUT) {
        *state += UINT64_C(1) << 32;
        return op->given == put + 1;
    }
    if (op->ended == HISTORY_PENDING) {
        *state += out < put;
        return out < put;
    }
    *state += op->answer != 0;
    return op->answer == 0 ? out == put : op->answer == out + 1 && out < put;
}
