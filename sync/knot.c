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
#include "base/proc.h"

/* Who holds what; by object. */
struct held {
    uint64_t object;
    unsigned thread;
};

struct ties {
    const unsigned *first; /* thread of each process */
    const struct held *held;
    size_t count;
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
    if (slip->thread == 0 || (slip->held == 0 && slip->wait.kind == SLIP_NOTHING && !knot->idle)) {
        return 0;
    }
    knot->process[knot->processes - 1].known++;
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
    process->threads = seen->here != 0 ? proc_threads(seen->here) : -1;
    if (!keep(&process->tasks, seen->tasks, seen->ends * sizeof *process->tasks)) {
        return say_full();
    }
    process->ends = seen->ends;
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

/* The thread of a process that has this number, or count. Threads of a process stand together. */
static unsigned thread_of(const struct knot *knot, unsigned process, unsigned from, uint64_t number) {
    while (from < knot->count && knot->thread[from].process == process && knot->thread[from].slip.number != number)
        from++;
    return from < knot->count && knot->thread[from].process == process ? from : knot->count;
}

/* The first thread of each process; count: it has none. */
static void find_firsts(const struct knot *knot, unsigned *first) {
    for (unsigned i = 0; i < knot->processes; i++) first[i] = knot->count;
    for (unsigned i = knot->count; i-- > 0;) first[knot->thread[i].process] = i;
}

/* All that is held, by object: locks, and requests that were taken. *count of them. NULL: there is no memory. */
static struct held *sort_held(const struct knot *knot, const unsigned *first, size_t *count) {
    size_t room = (size_t)knot->count * SLIP_HOLDS + 1;
    for (unsigned i = 0; i < knot->processes; i++) room += (size_t)knot->process[i].ends * SLIP_TASKS;
    struct held *held = malloc(room * sizeof *held);
    *count = 0;
    for (unsigned i = 0; held != NULL && i < knot->count; i++) {
        const struct slip *slip = &knot->thread[i].slip;
        for (uint32_t j = 0, listed = knot_held(slip); j < listed; j++) {
            if (slip->hold[j].tag != 0 && !has_come(slip, slip->hold[j].tag)) {
                held[(*count)++] = (struct held){slip->hold[j].tag >> 4, i};
            }
        }
    }
    for (unsigned i = 0; held != NULL && i < knot->processes; i++) {
        const struct knot_process *process = &knot->process[i];
        for (unsigned j = 0; process->alive && j < process->ends * SLIP_TASKS; j++) {
            const struct slip_task *task = &process->tasks[j / SLIP_TASKS].task[j % SLIP_TASKS];
            unsigned thread = task->call != 0 ? thread_of(knot, i, first[i], task->thread) : knot->count;
            if (thread != knot->count) held[(*count)++] = (struct held){SLIP_CALL(task->call) >> 4, thread};
        }
    }
    if (held != NULL) {
        qsort(held, *count, sizeof *held, by_object);
    }
    return held;
}

/* Who holds what a thread waits for: how many. *times: how often it is held. */
static unsigned find_holders(const struct slip *slip, const struct ties *ties, unsigned *out, unsigned *times) {
    uint64_t wanted = slip->wait.tag >> 4;
    const struct held *held = ties->held;
    size_t low = 0, high = ties->count;
    unsigned found = 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (held[middle].object < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *times = 0;
    for (; wanted != 0 && low < ties->count && held[low].object == wanted && found < KNOT_BLOCKERS; low++, ++*times) {
        if (found == 0 || out[found - 1] != held[low].thread) {
            out[found++] = held[low].thread;
        }
    }
    return found;
}

/* The process that a thread waits for, or processes: it is not there. */
static unsigned find_whom(const struct knot *knot, const struct knot_thread *thread) {
    uint64_t whom = thread->slip.wait.whom, space = knot->process[thread->process].pid_space;
    unsigned i = 0;
    while (i < knot->processes) {
        const struct knot_process *process = &knot->process[i];
        bool same = (whom & 0xffff) != 1
                        ? process->id == whom
                        : process->alive && process->pid_space == space && process->pid == (int64_t)(whom >> 16);
        if (same) break;
        i++;
    }
    return i;
}

/* Adds all threads of a process but that one. false: they are not all known, or too many. */
static bool find_threads(const struct knot *knot, const unsigned *first, unsigned process,
                         const struct knot_thread *but, unsigned *out, unsigned *found) {
    const struct knot_process *whom = &knot->process[process];
    if (!knot->idle || !whom->alive || whom->threads != whom->known || whom->known > KNOT_BLOCKERS - (int)*found) {
        return false;
    }
    for (unsigned i = first[process]; i < knot->count && knot->thread[i].process == process; i++) {
        if (&knot->thread[i] != but) out[(*found)++] = i;
    }
    return true;
}

/* Whom a thread waits for over a channel, where nobody holds it: any thread of a process. */
static unsigned find_any(const struct knot *knot, const unsigned *first, const struct knot_thread *thread,
                         unsigned *out) {
    unsigned process = thread->slip.wait.whom != 0 && knot->idle ? find_whom(knot, thread) : knot->processes, found = 0;
    return process < knot->processes && find_threads(knot, first, process, thread, out, &found) ? found : 0;
}

/* Whom a thread waits for that wants a permit. out has the `found` that are listed with one; if all threads of their processes are known, and
 * wait, it is any of those instead, for each may give a permit back. Itself only where there is nobody else. */
static unsigned find_givers(const struct knot *knot, const unsigned *first, const struct knot_thread *thread,
                            unsigned *out, unsigned found, bool *any) {
    unsigned giver[KNOT_BLOCKERS], givers = 0, last = knot->processes;
    for (unsigned i = 0; i < found; i++) {
        unsigned process = knot->thread[out[i]].process;
        if (process != last && !find_threads(knot, first, process, thread, giver, &givers)) {
            return found;
        }
        last = process;
    }
    for (unsigned i = 0; i < givers; i++) {
        if (knot->thread[giver[i]].slip.wait.kind == SLIP_NOTHING) return found;
    }
    *any = found != 0;
    if (givers == 0) {
        return found;
    }
    memcpy(out, giver, givers * sizeof *out);
    return givers;
}

/* What a thread waits for, if its process lives: how many. *any: one of them is enough. */
static unsigned find_blockers(const struct knot *knot, unsigned i, const struct ties *ties, unsigned *out, bool *any) {
    const struct knot_thread *thread = &knot->thread[i];
    const struct slip_wait *wait = &thread->slip.wait;
    unsigned times;
    *any = false;
    if (wait->kind == SLIP_NOTHING || !knot->process[thread->process].alive) {
        return 0;
    }
    unsigned found = find_holders(&thread->slip, ties, out, &times);
    if (wait->kind == SLIP_SEM) { /* a permit that is not listed, somebody may give back */
        return times < wait->whom ? found : find_givers(knot, ties->first, thread, out, found, any);
    }
    *any = found == 0 && SLIP_IS_CHANNEL(wait->kind);
    return *any ? find_any(knot, ties->first, thread, out) : found;
}

static bool find_edges(struct knot *knot, const struct ties *ties) {
    size_t edges = 0;
    unsigned blocker[KNOT_BLOCKERS];
    bool any;
    for (unsigned i = 0; i < knot->count; i++) {
        edges += find_blockers(knot, i, ties, blocker, &any);
    }
    if (edges > UINT32_MAX || !web_make(&knot->web, knot->count, edges)) {
        return false;
    }
    for (unsigned i = 0, at = 0; i < knot->count; i++) {
        at += find_blockers(knot, i, ties, knot->web.to + at, &knot->web.any[i]);
        knot->web.start[i + 1] = at;
        knot->web.stays[i] = knot->thread[i].slip.wait.kind != SLIP_SEM || knot->web.any[i];
    }
    return true;
}

int knot_tie(struct knot *knot) {
    size_t count = 0;
    unsigned *first = calloc((size_t)knot->processes + 1, sizeof *first);
    if (first != NULL) {
        find_firsts(knot, first);
    }
    struct held *held = first != NULL ? sort_held(knot, first, &count) : NULL;
    const struct ties ties = {first, held, count};
    bool fits = held != NULL && find_edges(knot, &ties) && web_prune(&knot->web);
    free(held);
    free(first);
    return fits ? 0 : say_full();
}

bool knot_is_loose(const struct knot *knot, const unsigned *circle, unsigned length) {
    bool any = false;
    for (unsigned i = 0; i < length; i++) any = any || SLIP_IS_LOOSE(knot->thread[circle[i]].slip.wait.kind);
    return any;
}

bool knot_sleeps(const struct knot *knot, const unsigned *circle, unsigned length, unsigned me) {
    for (unsigned i = 0; i < length; i++) {
        const struct knot_thread *thread = &knot->thread[circle[i]];
        const struct knot_process *process = &knot->process[thread->process];
        if (circle[i] != me && SLIP_IS_LOOSE(thread->slip.wait.kind) &&
            (process->here != process->pid || proc_state(process->pid, thread->slip.thread) != 'S')) {
            return false;
        }
    }
    return true;
}

void knot_free(struct knot *knot) {
    for (unsigned i = 0; i < knot->processes; i++) {
        free(knot->process[i].module);
        free(knot->process[i].pairs);
        free(knot->process[i].tasks);
    }
    free(knot->process);
    free(knot->thread);
    web_free(&knot->web);
    *knot = (struct knot){.idle = knot->idle, .all = knot->all};
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
