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
    struct knot *knot = context;
    if (seen->slip == NULL) {
        return 0;
    }
    bool known = knot->processes != 0 && knot->process[knot->processes - 1].id == seen->id;
    const struct slip_process process = {
        .id = seen->id, .pid = seen->pid, .pid_space = seen->pid_space, .exe = seen->exe, .alive = seen->alive};
    int rc = known ? 0 : knot_add(knot, &process);
    return rc == 0 ? knot_add_thread(knot, seen->slip) : rc;
}

static int keep_all(void *context, const struct slip_process *seen) {
    return knot_add(context, seen);
}

int order_look(struct knot *knot) {
    int rc = party_join();
    const struct party_host *host = party_host();
    knot->idle = host->list != NULL;
    if (rc == 0) {
        rc = host->list != NULL ? host->list(knot->all, keep_all, knot) : host->each(keep, knot);
    }
    return rc == 0 ? knot_tie(knot) : rc;
}

static uint64_t id_of(const struct knot *knot, const struct knot_thread *thread) {
    return knot->process[thread->process].id;
}

/* Of two in a circle, which is told? The one that came last. */
static bool is_later(const struct knot *knot, const struct knot_thread *a, const struct knot_thread *b) {
    uint64_t one = id_of(knot, a), other = id_of(knot, b);
    if (a->slip.wait.since != b->slip.wait.since) return a->slip.wait.since > b->slip.wait.since;
    return one != other ? one > other : a->slip.number > b->slip.number;
}

/* How a thread waits for the next of a circle. */
static int say_one(const struct knot *knot, const struct knot_thread *thread, bool first, char *text, size_t room) {
    const struct knot_process *process = &knot->process[thread->process];
    uint32_t kind = thread->slip.wait.kind;
    static const char *const loose[] = {[SLIP_ANSWER] = "an answer from",
                                        [SLIP_MESSAGE] = "a message from",
                                        [SLIP_ROOM] = "room in a queue that is read by",
                                        [SLIP_SEM] = "a permit of a semaphore from"};
    char what[64];
    bool known = kind < sizeof loose / sizeof *loose && loose[kind] != NULL;
    (void)snprintf(what, sizeof what, known ? "%s" : "a %s that is held by", known ? loose[kind] : order_kind(kind));
    return snprintf(text, room, "%s thread %d of pid %lld (%s) waits for %s", first ? " this" : "",
                    (int)thread->slip.thread, (long long)process->pid, proc_name(process->exe), what);
}

static int say(const struct knot *knot, const unsigned *circle, unsigned length) {
    char text[480];
    size_t used = 0;
    for (unsigned i = 0; i < length; i++) {
        int more = say_one(knot, &knot->thread[circle[i]], i == 0, text + used, sizeof text - used);
        if (more < 0 || (size_t)more >= sizeof text - used) break;
        used += (size_t)more;
        if (i + 1 == length) {
            const struct knot_process *process = &knot->process[knot->thread[circle[0]].process];
            (void)snprintf(text + used, sizeof text - used, " pid %lld (%s)", (long long)process->pid,
                           proc_name(process->exe));
        }
    }
    return err_say(EDEADLK, "waiting in a circle:%s", text);
}

/* A circle through channels or semaphores counts when it stood still for several slices: whoever sends or posts wakes before it waits itself, but whom it has woken
 * may be late to run. */
#define STANDS 3
static _Thread_local struct {
    uint64_t circle;
    unsigned times;
} stood;

static bool stands(const struct knot *knot, const unsigned *circle, unsigned length, unsigned me) {
    uint64_t hash = length;
    for (unsigned i = 0; i < length; i++) {
        const struct knot_thread *thread = &knot->thread[circle[i]];
        const uint64_t parts[] = {id_of(knot, thread), thread->slip.number, thread->slip.round, thread->slip.wait.tag};
        for (unsigned j = 0; j < 4; j++) hash = (hash ^ parts[j]) * UINT64_C(0x9e3779b97f4a7c15), hash ^= hash >> 29;
    }
    bool sleeps = knot_sleeps(knot, circle, length, me);
    stood.times = sleeps && hash == stood.circle ? stood.times + 1 : sleeps;
    stood.circle = hash;
    return stood.times >= STANDS;
}

static int give_up(const struct party *me, const struct knot *knot) {
    unsigned circle[CIRCLE_MAX];
    const struct knot_thread *own = knot_find(knot, me->id, me->number);
    unsigned at = own == NULL ? 0 : (unsigned)(own - knot->thread);
    unsigned length = own == NULL ? 0 : knot_circle(knot, at, circle, CIRCLE_MAX);
    if (length == 0 || length > CIRCLE_MAX ||
        (knot_is_loose(knot, circle, length) && !stands(knot, circle, length, at))) {
        return 0;
    }
    for (unsigned i = 0; i < length; i++) {
        const struct knot_thread *other = &knot->thread[circle[i]];
        if (other->slip.wait.gives_up && is_later(knot, other, own)) {
            return 0; /* that one is told */
        }
    }
    struct knot later = {.all = false};
    int rc = order_look(&later);
    rc = rc == 0 && knot_same(knot, &later, circle, length) ? say(knot, circle, length) : 0;
    knot_free(&later);
    return rc;
}

int order_circle(const struct party *me) {
    struct knot knot = {.all = false};
    int rc = order_look(&knot);
    rc = rc == 0 ? give_up(me, &knot) : 0;
    knot_free(&knot);
    return rc;
}
