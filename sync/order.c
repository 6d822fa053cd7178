/* SPDX-License-Identifier: MIT
 *
 * Who waits for whom.
 */
#include "sync/order.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define CIRCLE_MAX 16

const char *order_kind(uint32_t kind) {
    static const char *const name[] = {"nothing",
#define NAME(name, text) text,
                                       SLIP_KINDS(NAME)
#undef NAME
    };
    return kind < sizeof name / sizeof *name ? name[kind] : "?";
}

static int keep(void *context, const struct party_seen *seen) {
    struct order_graph *graph = context;
    if (seen->slip == NULL) {
        return 0;
    }
    if (graph->count == graph->room) {
        unsigned room = graph->room == 0 ? 32 : 2 * graph->room;
        struct order_thread *more = realloc(graph->thread, room * sizeof *more);
        if (more == NULL) {
            return err_say(ENOMEM, "no memory to look at who waits for whom");
        }
        graph->thread = more;
        graph->room = room;
    }
    struct order_thread *thread = &graph->thread[graph->count];
    *thread = (struct order_thread){
        .id = seen->id, .pid = seen->pid, .pid_space = seen->pid_space, .alive = seen->alive, .slip = *seen->slip};
    (void)snprintf(thread->exe, sizeof thread->exe, "%s", seen->exe);
    graph->count++;
    return 0;
}

int order_look(struct order_graph *graph) {
    *graph = (struct order_graph){.thread = NULL};
    int rc = party_join();
    return rc != 0 ? rc : party_host()->each(keep, graph);
}

void order_free(struct order_graph *graph) {
    free(graph->thread);
    *graph = (struct order_graph){.thread = NULL};
}

/* What is listed last and waited for is not held yet. */
static bool holds(const struct slip *slip, uint64_t tag) {
    uint32_t held = slip->held < SLIP_HOLDS ? slip->held : SLIP_HOLDS;
    if (held > 0 && slip->wait.kind != SLIP_NOTHING && slip->hold[held - 1].tag == slip->wait.tag) {
        held--;
    }
    for (uint32_t i = 0; i < held; i++) {
        if (slip->hold[i].tag >> 4 == tag >> 4) return true;
    }
    return false;
}

/* Whoever waits for a semaphore waits for any one of its holders, and is in no circle while one of them is not. */
bool order_waits_for(const struct order_graph *graph, unsigned thread, unsigned holder) {
    const struct slip *slip = &graph->thread[thread].slip;
    return slip->wait.kind != SLIP_SEM && slip->wait.kind != SLIP_NOTHING && slip->wait.tag != 0 &&
           holds(&graph->thread[holder].slip, slip->wait.tag);
}

unsigned order_circle_through(const struct order_graph *graph, unsigned thread, unsigned *circle, unsigned most) {
    unsigned *came = calloc(graph->count, 2 * sizeof *came), *queue = came == NULL ? NULL : came + graph->count;
    unsigned head = 0, tail = 0, length = 0, last = 0;
    if (came == NULL) {
        return 0;
    }
    for (queue[tail++] = thread; head < tail && length == 0; head++) {
        for (unsigned next = 0; next < graph->count && length == 0; next++) {
            if (!order_waits_for(graph, queue[head], next)) {
                continue;
            }
            if (next == thread) {
                last = queue[head];
                length = 1;
            } else if (came[next] == 0) {
                came[next] = queue[head] + 1;
                queue[tail++] = next;
            }
        }
    }
    if (length != 0) {
        for (unsigned at = last; at != thread; at = came[at] - 1) length++;
        unsigned i = length;
        for (unsigned at = last; i > 0; at = at == thread ? at : came[at] - 1) {
            i--;
            if (i < most) circle[i] = at;
        }
    }
    free(came);
    return length;
}

static const struct order_thread *find(const struct order_graph *graph, const struct order_thread *wanted) {
    for (unsigned i = 0; i < graph->count; i++) {
        if (graph->thread[i].id == wanted->id && graph->thread[i].slip.number == wanted->slip.number) {
            return &graph->thread[i];
        }
    }
    return NULL;
}

bool order_same(const struct order_graph *graph, const struct order_graph *later, const unsigned *circle,
                unsigned length) {
    for (unsigned i = 0; i < length; i++) {
        const struct order_thread *before = &graph->thread[circle[i]], *after = find(later, before);
        if (after == NULL || !after->alive || after->slip.round != before->slip.round ||
            after->slip.wait.kind != before->slip.wait.kind || after->slip.wait.tag != before->slip.wait.tag ||
            after->slip.held != before->slip.held) {
            return false;
        }
    }
    return true;
}

static bool is_later(const struct order_thread *a, const struct order_thread *b) {
    if (a->slip.wait.since != b->slip.wait.since) return a->slip.wait.since > b->slip.wait.since;
    return a->id != b->id ? a->id > b->id : a->slip.number > b->slip.number;
}

static int say(const struct order_graph *graph, const unsigned *circle, unsigned length) {
    char text[480];
    size_t used = 0;
    for (unsigned i = 0; i < length; i++) {
        const struct order_thread *thread = &graph->thread[circle[i]], *next = &graph->thread[circle[(i + 1) % length]];
        int more = snprintf(text + used, sizeof text - used, "%s%s thread %d of pid %lld (%s) waits for a %s that",
                            i == 0 ? "" : ",", i == 0 ? " this" : "", (int)thread->slip.thread, (long long)thread->pid,
                            proc_name(thread->exe), order_kind(thread->slip.wait.kind));
        if (more < 0 || (size_t)more >= sizeof text - used) break;
        used += (size_t)more;
        if (i + 1 == length) {
            (void)snprintf(text + used, sizeof text - used, " pid %lld (%s) holds", (long long)next->pid,
                           proc_name(next->exe));
        } else {
            (void)snprintf(text + used, sizeof text - used, " is held by");
        }
        used = strlen(text);
    }
    return err_say(EDEADLK, "waiting in a circle:%s", text);
}

static int give_up(const struct party *me, const struct order_graph *graph) {
    unsigned circle[CIRCLE_MAX], own = 0;
    while (own < graph->count && (graph->thread[own].id != me->id || graph->thread[own].slip.number != me->number)) {
        own++;
    }
    unsigned length = own == graph->count ? 0 : order_circle_through(graph, own, circle, CIRCLE_MAX);
    if (length == 0 || length > CIRCLE_MAX) {
        return 0;
    }
    for (unsigned i = 0; i < length; i++) {
        const struct order_thread *other = &graph->thread[circle[i]];
        if (other->slip.wait.gives_up && is_later(other, &graph->thread[own])) {
            return 0; /* that one is told */
        }
    }
    struct order_graph later;
    int rc = order_look(&later);
    rc = rc == 0 && order_same(graph, &later, circle, length) ? say(graph, circle, length) : 0;
    order_free(&later);
    return rc;
}

int order_circle(const struct party *me) {
    struct order_graph graph;
    int rc = order_look(&graph);
    rc = rc == 0 ? give_up(me, &graph) : 0;
    order_free(&graph);
    return rc;
}
