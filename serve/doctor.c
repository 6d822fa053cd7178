/* SPDX-License-Identifier: MIT
 *
 * Who waits for whom, as programs see it: sync/order's picture, with names, places in files, and how threads are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "include/thirl/doctor.h"
#include "mem/slate.h"
#include "sync/order.h"
#include "sync/rank.h"

#define STANDS_NS 150000000

/* A look, with all that its pointers lead to. */
struct look {
    struct thirl_doctor seen;
    struct knot knot;
    struct thirl_thread *thread;
    const struct thirl_thread **threads;
    struct thirl_object *object; /* SLIP_HOLDS + 1 for each thread */
    size_t *blocker;
    char (*address)[NODE_ADDRESS_MAX]; /* of what each thread waits for */
    struct thirl_circle *circle;
    const struct thirl_circle **circles;
    size_t *member;
    size_t members, member_room;
    struct rank rank;
    struct thirl_step *step;
    struct thirl_order *order;
    const struct thirl_order **orders;
};

static int say_full(void) {
    return err_say(ENOMEM, "no memory to look at who waits for whom");
}

static struct thirl_site locate(const struct knot_process *process, uint64_t address) {
    struct thirl_site site = {.address = address, .path = ""};
    for (unsigned i = 0; address != 0 && i < process->modules; i++) {
        struct slip_module *module = &process->module[i];
        if (address >= module->start && address < module->end) {
            module->path[sizeof module->path - 1] = '\0';
            site.path = module->path;
            site.offset = address - module->bias;
        }
    }
    return site;
}

static struct thirl_object describe(const struct knot_process *process, uint32_t kind, uint64_t tag, uint64_t object,
                                    uint64_t from) {
    return (struct thirl_object){.kind = order_kind(kind),
                                 .address = "",
                                 .name = tag,
                                 .at = locate(process, object),
                                 .from = locate(process, from)};
}

static enum thirl_health examine(const struct knot_process *process, const struct slip *slip) {
    if (!process->alive) {
        return THIRL_HEALTH_DEAD;
    }
    bool known = process->here == process->pid; /* then its threads have the same numbers here */
    char state = process->here == 0 ? '\0' : proc_state(process->here, known ? slip->thread : 0);
    switch (state) {
    case 'T':
    case 't':
        return THIRL_HEALTH_STOPPED;
    case 'Z':
    case 'X':
        return THIRL_HEALTH_ENDED;
    case '\0':
        return known && proc_state(process->here, 0) != '\0' ? THIRL_HEALTH_ENDED : THIRL_HEALTH_UNKNOWN;
    default:
        return THIRL_HEALTH_WELL;
    }
}

static void show_thread(struct look *look, unsigned i, size_t *blockers) {
    const struct knot_thread *from = &look->knot.thread[i];
    const struct knot_process *process = &look->knot.process[from->process];
    const struct slip *slip = &from->slip;
    const struct web *web = &look->knot.web;
    struct thirl_object *object = look->object + (size_t)i * (SLIP_HOLDS + 1);
    struct thirl_thread *thread = &look->thread[i];
    *thread = (struct thirl_thread){.process = process->id,
                                    .pid = process->pid,
                                    .here = process->here,
                                    .thread = slip->thread,
                                    .exe = process->exe,
                                    .health = examine(process, slip),
                                    .hold = object + 1,
                                    .held = slip->held,
                                    .blocker = look->blocker + *blockers,
                                    .blockers = web->start[i + 1] - web->start[i],
                                    .stuck = web->stays[i]};
    for (uint32_t j = 0, listed = knot_held(slip); j < listed; j++) {
        const struct slip_hold *hold = &slip->hold[j];
        if (hold->tag != 0) {
            object[1 + thread->holds++] =
                describe(process, (uint32_t)(hold->tag & SLIP_KIND_BITS), hold->tag, hold->object, hold->site);
        }
    }
    for (unsigned j = web->start[i]; j < web->start[i + 1]; j++) {
        look->blocker[(*blockers)++] = web->to[j];
    }
    if (slip->wait.kind != SLIP_NOTHING && process->alive) {
        bool channel = SLIP_IS_CHANNEL(slip->wait.kind);
        *object = describe(process, slip->wait.kind, slip->wait.tag, channel ? 0 : slip->wait.object, slip->wait.site);
        if (channel) {
            slate_address(process->id, slip->wait.object, look->address[i]);
            object->address = look->address[i];
        }
        thread->wait = object;
        thread->since = slip->wait.since;
        thread->whom = slip->wait.kind == SLIP_SEM ? 0 : slip->wait.whom;
        thread->gives_up = slip->wait.gives_up != 0;
    }
}

static bool show_threads(struct look *look) {
    size_t count = look->knot.count, shown = 0;
    look->thread = calloc(count + 1, sizeof *look->thread);
    look->threads = calloc(count + 1, sizeof(const struct thirl_thread *)); // NOLINT(bugprone-sizeof-expression)
    look->object = calloc((count + 1) * (SLIP_HOLDS + 1), sizeof *look->object);
    look->blocker = calloc((size_t)look->knot.web.start[count] + 1, sizeof *look->blocker);
    look->address = calloc(count + 1, sizeof *look->address);
    look->circle = calloc(count + 1, sizeof *look->circle);
    look->circles = calloc(count + 1, sizeof(const struct thirl_circle *)); // NOLINT(bugprone-sizeof-expression)
    if (look->thread == NULL || look->threads == NULL || look->object == NULL || look->blocker == NULL ||
        look->address == NULL || look->circle == NULL || look->circles == NULL) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        show_thread(look, i, &shown);
        look->threads[i] = &look->thread[i];
    }
    look->seen.thread = look->threads;
    look->seen.threads = count;
    return true;
}

static bool add_circle(struct look *look, const unsigned *member, unsigned length) {
    if (look->member_room - look->members < length) {
        size_t room = 2 * look->member_room + length;
        size_t *more = realloc(look->member, room * sizeof *more);
        if (more == NULL) {
            return false;
        }
        look->member = more;
        look->member_room = room;
    }
    look->circle[look->seen.circles].count = length;
    look->seen.circles++;
    for (unsigned i = 0; i < length; i++) {
        look->member[look->members++] = member[i];
        size_t *circle = &look->thread[member[i]].circle;
        *circle = *circle == 0 ? look->seen.circles : *circle;
    }
    return true;
}

/* Each circle that stood still since the look before: at least one through each thread that is in any. */
static bool show_circles(struct look *look, const struct knot *before) {
    unsigned *member = malloc((look->knot.count + 1) * sizeof *member);
    bool fits = member != NULL;
    for (unsigned i = 0; fits && i < look->knot.count; i++) {
        unsigned length = look->thread[i].circle != 0 ? 0 : knot_circle(&look->knot, i, member, look->knot.count);
        bool stands =
            length != 0 && knot_same(&look->knot, before, member, length) &&
            (!knot_is_loose(&look->knot, member, length) || knot_sleeps(&look->knot, member, length, look->knot.count));
        if (stands) {
            fits = add_circle(look, member, length);
        }
    }
    free(member);
    size_t at = 0;
    for (size_t i = 0; i < look->seen.circles; i++) {
        look->circle[i].thread = look->member + at;
        look->circles[i] = &look->circle[i];
        at += look->circle[i].count;
    }
    look->seen.circle = look->circles;
    return fits;
}

static void show_step(const struct look *look, struct thirl_step *step, const struct rank_pair *from) {
    const struct knot_process *process = &look->knot.process[from->process];
    const struct slip_pair *pair = &from->pair;
    *step = (struct thirl_step){.process = process->id,
                                .pid = process->pid,
                                .here = process->here,
                                .thread = pair->thread,
                                .exe = process->exe,
                                .held = describe(process, (uint32_t)(pair->before & SLIP_KIND_BITS), pair->before,
                                                 pair->before_object, pair->before_site),
                                .taken = describe(process, (uint32_t)(pair->after & SLIP_KIND_BITS), pair->after,
                                                  pair->after_object, pair->after_site)};
}

static int show_orders(struct look *look) {
    int rc = rank_look(&look->rank, &look->knot);
    size_t count = look->rank.circles, steps = 0, at = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        steps += look->rank.length[i];
    }
    look->step = calloc(steps + 1, sizeof *look->step);
    look->order = calloc(count + 1, sizeof *look->order);
    look->orders = calloc(count + 1, sizeof(const struct thirl_order *)); // NOLINT(bugprone-sizeof-expression)
    if (rc != 0 || look->step == NULL || look->order == NULL || look->orders == NULL) {
        return rc != 0 ? rc : say_full();
    }
    for (size_t i = 0; i < count; i++) {
        look->order[i] = (struct thirl_order){look->step + at, look->rank.length[i]};
        look->orders[i] = &look->order[i];
        for (unsigned j = 0; j < look->rank.length[i]; j++, at++) {
            show_step(look, &look->step[at], &look->rank.pair[at]);
        }
    }
    look->seen.order = look->orders;
    look->seen.orders = count;
    look->seen.missed = look->rank.missed;
    return 0;
}

static void discard(struct look *look) {
    rank_free(&look->rank);
    free(look->step);
    free(look->order);
    free(look->orders);
    knot_free(&look->knot);
    free(look->thread);
    free(look->threads);
    free(look->object);
    free(look->blocker);
    free(look->address);
    free(look->circle);
    free(look->circles);
    free(look->member);
    free(look);
}

static int add(void *context, const struct slip_process *seen) {
    return knot_add(context, seen);
}

static int survey(struct knot *knot) {
    int rc = slate_list(knot->all, add, knot);
    return rc == 0 ? knot_tie(knot) : rc;
}

/* Is anybody stuck whose wait is loose? Whoever was woken may be late to run; and who looks by himself does so in slices of 50 ms. */
static bool may_move(const struct knot *knot) {
    bool any = false;
    for (unsigned i = 0; i < knot->count; i++) {
        any = any || (knot->web.stays[i] && SLIP_IS_LOOSE(knot->thread[i].slip.wait.kind));
    }
    return any;
}

int thirl_doctor_look(struct thirl_doctor **seen) {
    struct look *look = calloc(1, sizeof *look);
    struct knot before = {.all = false};
    if (seen == NULL || look == NULL) {
        free(look);
        return seen == NULL ? err_say(EINVAL, "thirl_doctor_look: there is no place for what is seen (NULL)")
                            : say_full();
    }
    look->knot.all = look->knot.idle = before.idle = true;
    int rc = survey(&before);
    if (rc == 0 && may_move(&before)) {
        const struct timespec while_it_runs = {.tv_nsec = STANDS_NS};
        (void)nanosleep(&while_it_runs, NULL);
    }
    rc = rc == 0 ? survey(&look->knot) : rc;
    if (rc == 0 && !(show_threads(look) && show_circles(look, &before))) {
        rc = say_full();
    }
    rc = rc == 0 ? show_orders(look) : rc;
    knot_free(&before);
    *seen = rc == 0 ? &look->seen : NULL;
    if (rc != 0) {
        discard(look);
    }
    return rc;
}

void thirl_doctor_free(struct thirl_doctor **seen) {
    if (seen != NULL && *seen != NULL) {
        discard((struct look *)(void *)*seen);
        *seen = NULL;
    }
}
