/* SPDX-License-Identifier: MIT
 *
 * Threads, whom each waits for, and who of them can never go on.
 */
#include "sync/knot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* Who holds what; by object. */
struct held {
    uint64_t object;
    unsigned thread;
};

static int say_full(void) {
    return err_say(ENOMEM, "no memory to look at who waits for whom");
}

/* Room for one more element, or NULL. */
static void *grow(void *array, unsigned count, unsigned *room, size_t each) {
    if (count < *room) {
        return array;
    }
    unsigned more = *room == 0 ? 32 : 2 * *room;
    void *larger = realloc(array, more * each);
    *room = larger == NULL ? *room : more;
    return larger;
}

int knot_add_thread(struct knot *knot, const struct slip *slip) {
    if (slip->thread == 0 || (slip->held == 0 && slip->wait.kind == SLIP_NOTHING && !knot->all)) {
        return 0;
    }
    struct knot_thread *more = grow(knot->thread, knot->count, &knot->room, sizeof *more);
    if (more == NULL) {
        return say_full();
    }
    knot->thread = more;
    more[knot->count++] = (struct knot_thread){.process = knot->processes - 1, .slip = *slip};
    return 0;
}

/* A copy, NULL of nothing. */
static bool keep(void *copy, const void *from, size_t size) {
    void *made = size == 0 ? NULL : malloc(size);
    if (made != NULL) {
        memcpy(made, from, size);
    }
    memcpy(copy, &made, sizeof made);
    return size == 0 || made != NULL;
}

int knot_add(struct knot *knot, const struct slip_process *seen) {
    struct knot_process *more = grow(knot->process, knot->processes, &knot->process_room, sizeof *more);
    if (more == NULL) {
        return say_full();
    }
    knot->process = more;
    struct knot_process *process = &more[knot->processes++];
    *process = (struct knot_process){
        .id = seen->id, .pid = seen->pid, .here = seen->here, .pid_space = seen->pid_space, .alive = seen->alive};
    (void)snprintf(process->exe, sizeof process->exe, "%s", seen->exe);
    if (knot->all && !(keep(&process->module, seen->module, seen->modules * sizeof *process->module) &&
                       keep(&process->pairs, seen->pairs, seen->pairs != NULL ? sizeof *process->pairs : 0))) {
        return say_full();
    }
    process->modules = process->module != NULL ? seen->modules : 0;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < seen->slips; i++) {
        rc = knot_add_thread(knot, &seen->slip[i]);
    }
    return rc;
}

uint32_t knot_held(const struct slip *slip) {
    uint32_t held = slip->held < SLIP_HOLDS ? slip->held : SLIP_HOLDS;
    bool waits = slip->wait.kind != SLIP_NOTHING && held > 0 && slip->hold[held - 1].tag == slip->wait.tag;
    return held - waits;
}

/* Who has come to a barrier keeps nobody waiting there. */
static bool has_come(const struct slip *slip, uint64_t tag) {
    return slip->wait.kind == SLIP_BARRIER && slip->wait.tag == tag;
}

static int by_object(const void *a, const void *b) {
    const struct held *left = a, *right = b;
    if (left->object != right->object) return left->object < right->object ? -1 : 1;
    return (left->thread > right->thread) - (left->thread < right->thread);
}

/* All that is held, by object; *count of them. NULL: there is no memory. */
static struct held *sort_held(const struct knot *knot, size_t *count) {
    struct held *held = malloc(((size_t)knot->count * SLIP_HOLDS + 1) * sizeof *held);
    *count = 0;
    for (unsigned i = 0; held != NULL && i < knot->count; i++) {
        const struct slip *slip = &knot->thread[i].slip;
        for (uint32_t j = 0, listed = knot_held(slip); j < listed; j++) {
            if (slip->hold[j].tag != 0 && !has_come(slip, slip->hold[j].tag)) {
                held[(*count)++] = (struct held){slip->hold[j].tag >> 4, i};
            }
        }
    }
    if (held != NULL) {
        qsort(held, *count, sizeof *held, by_object);
    }
    return held;
}

/* Who holds what a thread waits for: how many. */
static unsigned find_holders(const struct slip *slip, const struct held *held, size_t count, unsigned *out) {
    uint64_t wanted = slip->wait.tag >> 4;
    size_t low = 0, high = count;
    unsigned found = 0;
    if (slip->wait.kind == SLIP_NOTHING || wanted == 0) {
        return 0;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (held[middle].object < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < count && held[low].object == wanted && found < KNOT_BLOCKERS; low++) {
        if (found == 0 || out[found - 1] != held[low].thread) {
            out[found++] = held[low].thread;
        }
    }
    return found;
}

/* A permit may be given back by any thread of its process, so whoever waits for one is never known to be stuck; the dead wait for nothing. */
static bool may_be_stuck(const struct knot *knot, const struct knot_thread *thread) {
    return knot->process[thread->process].alive && thread->slip.wait.kind != SLIP_SEM;
}

static bool find_edges(struct knot *knot, const struct held *held, size_t count) {
    size_t edges = 0;
    unsigned holder[KNOT_BLOCKERS];
    for (unsigned i = 0; i < knot->count; i++) {
        edges += find_holders(&knot->thread[i].slip, held, count, holder);
    }
    if (edges > UINT32_MAX || !web_make(&knot->web, knot->count, edges)) {
        return false;
    }
    for (unsigned i = 0, at = 0; i < knot->count; i++) {
        const struct knot_thread *thread = &knot->thread[i];
        bool alive = knot->process[thread->process].alive;
        at += alive ? find_holders(&thread->slip, held, count, knot->web.to + at) : 0;
        knot->web.start[i + 1] = at;
        knot->web.stays[i] = may_be_stuck(knot, thread);
    }
    return true;
}

int knot_tie(struct knot *knot) {
    size_t count;
    struct held *held = sort_held(knot, &count);
    bool fits = held != NULL && find_edges(knot, held, count) && web_prune(&knot->web);
    free(held);
    return fits ? 0 : say_full();
}

void knot_free(struct knot *knot) {
    for (unsigned i = 0; i < knot->processes; i++) {
        free(knot->process[i].module);
        free(knot->process[i].pairs);
    }
    free(knot->process);
    free(knot->thread);
    web_free(&knot->web);
    *knot = (struct knot){.all = knot->all};
}

unsigned knot_circle(const struct knot *knot, unsigned thread, unsigned *circle, unsigned most) {
    return web_circle(&knot->web, thread, circle, most);
}

const struct knot_thread *knot_find(const struct knot *knot, uint64_t id, uint32_t number) {
    for (unsigned i = 0; i < knot->count; i++) {
        const struct knot_thread *thread = &knot->thread[i];
        if (thread->slip.number == number && knot->process[thread->process].id == id) {
            return thread;
        }
    }
    return NULL;
}

bool knot_same(const struct knot *knot, const struct knot *later, const unsigned *circle, unsigned length) {
    for (unsigned i = 0; i < length; i++) {
        const struct knot_thread *before = &knot->thread[circle[i]];
        const struct knot_thread *after = knot_find(later, knot->process[before->process].id, before->slip.number);
        if (after == NULL || !later->web.stays[after - later->thread] || after->slip.round != before->slip.round ||
            after->slip.wait.kind != before->slip.wait.kind || after->slip.wait.tag != before->slip.wait.tag ||
            after->slip.held != before->slip.held) {
            return false;
        }
    }
    return true;
}
