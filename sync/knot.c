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

static int add_threads(struct knot *knot, const struct slip_process *seen) {
    for (uint32_t i = 0; i < seen->slips; i++) {
        const struct slip *slip = &seen->slip[i];
        if (slip->thread == 0 || (slip->held == 0 && slip->wait.kind == SLIP_NOTHING && !knot->all)) {
            continue;
        }
        struct knot_thread *more = grow(knot->thread, knot->count, &knot->room, sizeof *more);
        if (more == NULL) {
            return say_full();
        }
        knot->thread = more;
        more[knot->count++] = (struct knot_thread){.process = knot->processes - 1, .slip = *slip};
    }
    return 0;
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
    if (knot->all && seen->modules != 0) {
        process->module = malloc(seen->modules * sizeof *process->module);
        if (process->module == NULL) {
            return say_full();
        }
        memcpy(process->module, seen->module, seen->modules * sizeof *process->module);
        process->modules = seen->modules;
    }
    return add_threads(knot, seen);
}

uint32_t knot_held(const struct slip *slip) {
    uint32_t held = slip->held < SLIP_HOLDS ? slip->held : SLIP_HOLDS;
    bool waits = slip->wait.kind != SLIP_NOTHING && held > 0 && slip->hold[held - 1].tag == slip->wait.tag;
    return held - waits;
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
            if (slip->hold[j].tag != 0) {
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

static int find_edges(struct knot *knot) {
    size_t count, edges = 0, room = 0;
    struct held *held = sort_held(knot, &count);
    unsigned *more = held == NULL ? NULL : knot->edge;
    for (unsigned i = 0; held != NULL && i < knot->count; i++) {
        if (room - edges < KNOT_BLOCKERS) {
            room = 2 * room + (size_t)16 * KNOT_BLOCKERS;
            more = realloc(knot->edge, room * sizeof *more);
            if (more == NULL) break;
            knot->edge = more;
        }
        struct knot_thread *thread = &knot->thread[i];
        bool alive = knot->process[thread->process].alive; /* the dead wait for nothing */
        thread->blockers = alive ? find_holders(&thread->slip, held, count, knot->edge + edges) : 0;
        edges += thread->blockers;
    }
    free(held);
    edges = 0;
    for (unsigned i = 0; i < knot->count; i++) { /* not before: it has moved */
        knot->thread[i].blocker = knot->edge + edges;
        edges += knot->thread[i].blockers;
    }
    return knot->count != 0 && more == NULL ? say_full() : 0;
}

/* Edges the other way round: who waits for a thread stands in by[start[thread]] and behind it. NULL: no memory. */
static unsigned *turn_round(const struct knot *knot, unsigned *start) {
    size_t edges = 0;
    for (unsigned i = 0; i < knot->count; i++) {
        edges += knot->thread[i].blockers;
        for (unsigned j = 0; j < knot->thread[i].blockers; j++) start[knot->thread[i].blocker[j] + 1]++;
    }
    for (unsigned i = 0; i < knot->count; i++) start[i + 1] += start[i];
    unsigned *by = malloc((edges + 1) * sizeof *by), *next = malloc((knot->count + 1) * sizeof *next);
    if (by != NULL && next != NULL) {
        memcpy(next, start, (knot->count + 1) * sizeof *next);
        for (unsigned i = 0; i < knot->count; i++) {
            for (unsigned j = 0; j < knot->thread[i].blockers; j++) by[next[knot->thread[i].blocker[j]]++] = i;
        }
    }
    bool full = next == NULL;
    free(next);
    if (full) {
        free(by);
        by = NULL;
    }
    return by;
}

/* A permit may be given back by any thread of its process, so whoever waits for one is never known to be stuck. */
static bool may_be_stuck(const struct knot_thread *thread) {
    return thread->blockers != 0 && thread->slip.wait.kind != SLIP_SEM;
}

/* Whoever waits for none that is stuck is not stuck: until nobody is left of whom that is true. */
static int find_stuck(struct knot *knot) {
    unsigned *start = calloc((size_t)knot->count + 1, sizeof *start), *left = calloc(knot->count + 1, sizeof *left);
    unsigned *free_now = calloc((size_t)knot->count + 1, sizeof *free_now), tail = 0;
    unsigned *by = start == NULL ? NULL : turn_round(knot, start);
    bool full = by == NULL || left == NULL || free_now == NULL;
    for (unsigned i = 0; !full && i < knot->count; i++) {
        struct knot_thread *thread = &knot->thread[i];
        left[i] = thread->blockers;
        thread->stuck = may_be_stuck(thread);
        if (!thread->stuck) free_now[tail++] = i;
    }
    for (unsigned head = 0; !full && head < tail; head++) {
        for (unsigned j = start[free_now[head]]; j < start[free_now[head] + 1]; j++) {
            struct knot_thread *waiter = &knot->thread[by[j]];
            if (waiter->stuck && --left[by[j]] == 0) {
                waiter->stuck = false;
                free_now[tail++] = by[j];
            }
        }
    }
    free(start);
    free(left);
    free(free_now);
    free(by);
    return full ? say_full() : 0;
}

int knot_tie(struct knot *knot) {
    int rc = find_edges(knot);
    return rc == 0 ? find_stuck(knot) : rc;
}

void knot_free(struct knot *knot) {
    for (unsigned i = 0; i < knot->processes; i++) {
        free(knot->process[i].module);
    }
    free(knot->process);
    free(knot->thread);
    free(knot->edge);
    *knot = (struct knot){.all = knot->all};
}

/* Breadth first from a thread back to it; came[x] is where x was reached from, plus one. The last of the circle, or the thread itself
 * plus count: there is none. */
static unsigned search(const struct knot *knot, unsigned thread, unsigned *came, unsigned *queue) {
    unsigned head = 0, tail = 0;
    for (queue[tail++] = thread; head < tail; head++) {
        const struct knot_thread *at = &knot->thread[queue[head]];
        for (unsigned i = 0; i < at->blockers; i++) {
            unsigned next = at->blocker[i];
            if (next == thread) {
                return queue[head];
            }
            if (knot->thread[next].stuck && came[next] == 0) {
                came[next] = queue[head] + 1;
                queue[tail++] = next;
            }
        }
    }
    return knot->count;
}

unsigned knot_circle(const struct knot *knot, unsigned thread, unsigned *circle, unsigned most) {
    unsigned *came = knot->thread[thread].stuck ? calloc(knot->count, 2 * sizeof *came) : NULL, length = 0;
    if (came == NULL) {
        return 0;
    }
    unsigned last = search(knot, thread, came, came + knot->count);
    if (last != knot->count) {
        length = 1;
        for (unsigned at = last; at != thread; at = came[at] - 1) length++;
        for (unsigned at = last, i = length; i > 0; at = at == thread ? at : came[at] - 1) {
            i--;
            if (i < most) circle[i] = at;
        }
    }
    free(came);
    return length;
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
        if (after == NULL || !after->stuck || after->slip.round != before->slip.round ||
            after->slip.wait.kind != before->slip.wait.kind || after->slip.wait.tag != before->slip.wait.tag ||
            after->slip.held != before->slip.held) {
            return false;
        }
    }
    return true;
}
