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

int order_look(struct knot *knot) {
    int rc = party_join();
    rc = rc == 0 ? party_host()->each(keep, knot) : rc;
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

static int say(const struct knot *knot, const unsigned *circle, unsigned length) {
    char text[480];
    size_t used = 0;
    for (unsigned i = 0; i < length; i++) {
        const struct knot_thread *thread = &knot->thread[circle[i]], *next = &knot->thread[circle[(i + 1) % length]];
        const struct knot_process *process = &knot->process[thread->process], *other = &knot->process[next->process];
        int more = snprintf(text + used, sizeof text - used, "%s%s thread %d of pid %lld (%s) waits for a %s that",
                            i == 0 ? "" : ",", i == 0 ? " this" : "", (int)thread->slip.thread, (long long)process->pid,
                            proc_name(process->exe), order_kind(thread->slip.wait.kind));
        if (more < 0 || (size_t)more >= sizeof text - used) break;
        used += (size_t)more;
        if (i + 1 == length) {
            (void)snprintf(text + used, sizeof text - used, " pid %lld (%s) holds", (long long)other->pid,
                           proc_name(other->exe));
        } else {
            (void)snprintf(text + used, sizeof text - used, " is held by");
        }
        used = strlen(text);
    }
    return err_say(EDEADLK, "waiting in a circle:%s", text);
}

static int give_up(const struct party *me, const struct knot *knot) {
    unsigned circle[CIRCLE_MAX];
    const struct knot_thread *own = knot_find(knot, me->id, me->number);
    unsigned length = own == NULL ? 0 : knot_circle(knot, (unsigned)(own - knot->thread), circle, CIRCLE_MAX);
    if (length == 0 || length > CIRCLE_MAX) {
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
