/* SPDX-License-Identifier: MIT
 *
 * The verb doctor: who waits for whom, as a tree for people or as JSON, and what to do about it. Reads only.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/tool.h"

#define DEPTH_MOST 24

struct doctor {
    struct text out;
    const struct thirl_doctor *seen;
    int64_t now;
    bool *told; /* for each thread: its line has been printed */
    bool ill;
};

static const struct thirl_thread *at(const struct doctor *d, size_t number) {
    return d->seen->thread[number];
}

/* A line, indented; names in it come from other processes. */
static void say(struct doctor *d, unsigned depth, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(struct doctor *d, unsigned depth, const char *format, ...) {
    char line[1600];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    text_print(&d->out, "%*s%s\n", (int)(2 * depth), "", text_clean(line));
}

static const char *short_exe(const struct thirl_thread *t) {
    const char *slash = strrchr(t->exe, '/');
    return slash ? slash + 1 : *t->exe ? t->exe : "?";
}

#define WHO_MAX 320
static const char *who(char out[WHO_MAX], const struct thirl_thread *t) {
    char here[48] = "";
    if (t->here != 0 && t->here != t->pid) {
        snprintf(here, sizeof here, ", here %lld,", (long long)t->here);
    }
    snprintf(out, WHO_MAX, "pid %lld%s (%s), thread %d", (long long)t->pid, here, short_exe(t), (int)t->thread);
    return out;
}

/* The pid to say in a command: as this process sees it. */
static long long number(const struct thirl_thread *t) {
    return (long long)(t->here != 0 ? t->here : t->pid);
}

#define OBJECT_MAX (PLACE_MAX + 64)
static const char *object(char out[OBJECT_MAX], int64_t here, const char *exe, const struct thirl_object *o) {
    struct place place;
    if (*o->address) {
        bool answer = strcmp(o->kind, "answer") == 0, message = strcmp(o->kind, "message") == 0;
        snprintf(out, OBJECT_MAX, "%s %s",
                 answer    ? "an answer over"
                 : message ? "a message over"
                           : "room in",
                 o->address);
        return out;
    }
    place_name(&place, here, exe, &o->at, false);
    snprintf(out, OBJECT_MAX, "%s %04llx at %s", o->kind, (unsigned long long)(o->name >> 4 & 0xffff), place.text);
    return out;
}

static const char *from(struct place *place, int64_t here, const char *exe, const struct thirl_object *o) {
    place_name(place, here, exe, &o->from, true);
    return place->text;
}

static double waited(const struct doctor *d, const struct thirl_thread *t) {
    return d->now > t->since ? (double)(d->now - t->since) / 1e9 : 0;
}

static bool same(const struct thirl_object *a, const struct thirl_object *b) {
    return a->name >> 4 == b->name >> 4;
}

/* What of it that other thread waits for; NULL: nothing that it lists. */
static const struct thirl_object *held_for(const struct thirl_thread *t, const struct thirl_thread *waiter) {
    for (size_t i = 0; i < t->holds; i++) {
        if (waiter->wait && same(&t->hold[i], waiter->wait)) {
            return &t->hold[i];
        }
    }
    return NULL;
}

static void say_wait(struct doctor *d, unsigned depth, size_t number_of) {
    const struct thirl_thread *t = at(d, number_of);
    char name[WHO_MAX], what[OBJECT_MAX];
    struct place place;
    say(d, depth, "%s, has waited %.1f s for %s, in %s", who(name, t), waited(d, t),
        object(what, t->here, t->exe, t->wait), from(&place, t->here, t->exe, t->wait));
    d->told[number_of] = true;
}

static const char *const healths[] = {[THIRL_HEALTH_UNKNOWN] = "unknown",
                                      [THIRL_HEALTH_WELL] = "well",
                                      [THIRL_HEALTH_STOPPED] = "stopped",
                                      [THIRL_HEALTH_ENDED] = "ended",
                                      [THIRL_HEALTH_DEAD] = "dead"};

/* What is the matter with one who holds what others wait for, and what to do. */
static void advise(struct doctor *d, unsigned depth, const struct thirl_thread *t) {
    switch (t->health) {
    case THIRL_HEALTH_STOPPED:
        d->ill = true;
        say(d, depth, "=> it is stopped: kill -CONT %lld lets it go on", number(t));
        break;
    case THIRL_HEALTH_ENDED:
        d->ill = true;
        say(d, depth,
            "=> this thread has ended and let go of nothing: kill %lld ends its process, and the next one gets it",
            number(t));
        break;
    case THIRL_HEALTH_DEAD:
        say(d, depth, "=> its process is dead: the next one gets it within 50 ms, and is told that its owner died");
        break;
    default:
        if (!t->wait) {
            say(d, depth, "=> it waits for nothing that is known here: gdb -p %lld shows what it does", number(t));
        }
    }
}

/* ---- circles ---- */

static void show_waiters(struct doctor *d, unsigned depth, size_t holder);

static void show_circle(struct doctor *d, size_t number_of) {
    const struct thirl_circle *circle = d->seen->circle[number_of];
    bool told = false;
    d->ill = true;
    say(d, 0, "DEADLOCK: %zu thread%s for each other in a circle", circle->count,
        circle->count == 1 ? " waits" : "s wait");
    for (size_t i = 0; i < circle->count; i++) {
        size_t next = circle->thread[(i + 1) % circle->count];
        const struct thirl_thread *t = at(d, circle->thread[i]), *holder = at(d, next);
        const struct thirl_object *held = held_for(holder, t);
        char name[WHO_MAX];
        struct place place;
        say_wait(d, 1, circle->thread[i]);
        if (!held) {
            say(d, 2, "which %s would have to give", who(name, holder));
        } else {
            say(d, 2, "which %s holds, since it took it in %s", who(name, holder),
                from(&place, holder->here, holder->exe, held));
        }
        told = told || t->gives_up;
    }
    for (size_t i = 0; i < circle->count; i++) {
        show_waiters(d, 1, circle->thread[i]);
    }
    if (told) {
        say(d, 1, "=> one of them is told (-EDEADLK) and the others go on");
    } else {
        say(d, 1, "=> none of them will ever go on by itself: end one, as with kill %lld",
            number(at(d, *circle->thread)));
        say(d, 1,
            "=> so that it does not happen again: take locks in one order, or let one be told (THIRL_LOCK_DEADLOCK, "
            "?deadlock=fail)");
    }
}

/* ---- trees ---- */

/* Below a thread, those who wait for it, and those who wait for them. */
static void show_waiters(struct doctor *d, unsigned depth, size_t holder) {
    for (size_t i = 0; i < d->seen->threads && depth < DEPTH_MOST; i++) {
        const struct thirl_thread *t = at(d, i);
        bool waits = false;
        for (size_t j = 0; j < t->blockers; j++) {
            waits = waits || t->blocker[j] == holder;
        }
        if (!waits || d->told[i] || t->circle) {
            continue;
        }
        const struct thirl_object *held = held_for(at(d, holder), t);
        struct place place;
        say_wait(d, depth, i);
        if (held) {
            say(d, depth + 1, "taken in %s", from(&place, at(d, holder)->here, at(d, holder)->exe, held));
        }
        show_waiters(d, depth + 1, i);
    }
}

static bool blocks_somebody(const struct doctor *d, size_t holder) {
    for (size_t i = 0; i < d->seen->threads; i++) {
        const struct thirl_thread *t = at(d, i);
        for (size_t j = 0; j < t->blockers; j++) {
            if (t->blocker[j] == holder) {
                return true;
            }
        }
    }
    return false;
}

/* Those who keep others waiting, and wait for nobody that is known. */
static void show_trees(struct doctor *d) {
    for (size_t i = 0; i < d->seen->threads; i++) {
        const struct thirl_thread *t = at(d, i);
        char name[WHO_MAX];
        if (t->blockers || t->circle || !blocks_somebody(d, i)) {
            continue;
        }
        if (t->wait) {
            say_wait(d, 0, i);
        } else {
            say(d, 0, "%s%s%s, keeps others waiting", who(name, t), t->health == THIRL_HEALTH_WELL ? "" : ", ",
                t->health == THIRL_HEALTH_WELL ? "" : healths[t->health]);
        }
        d->told[i] = true;
        show_waiters(d, 1, i);
        advise(d, 1, t);
    }
}

/* And what is left: waits for what nobody is known to hold, and holders for whom nobody waits but who will not let go. */
static void show_others(struct doctor *d) {
    for (size_t i = 0; i < d->seen->threads; i++) {
        const struct thirl_thread *t = at(d, i);
        char name[WHO_MAX], what[OBJECT_MAX];
        struct place place;
        bool idle = t->health == THIRL_HEALTH_WELL || t->health == THIRL_HEALTH_UNKNOWN;
        if (d->told[i]) {
            continue;
        }
        if (t->wait) {
            say_wait(d, 0, i);
        }
        for (size_t j = 0; j < t->holds && !idle; j++) {
            say(d, 0, "%s, %s, holds %s, taken in %s", who(name, t), healths[t->health],
                object(what, t->here, t->exe, &t->hold[j]), from(&place, t->here, t->exe, &t->hold[j]));
        }
        if (t->holds && !idle) {
            bool was = d->ill;
            advise(d, 1, t);
            d->ill = was; /* nobody waits */
        }
    }
}

/* ---- JSON ---- */

static void add_text(struct text *out, const char *name, const char *value) {
    text_print(out, ",\"%s\":", name);
    text_json(out, value, strlen(value));
}

static void add_place(struct doctor *d, int64_t here, const char *exe, const struct thirl_site *site, bool call) {
    struct place place;
    place_name(&place, here, exe, site, call);
    text_print(&d->out, "{\"address\":\"0x%llx\"", (unsigned long long)site->address);
    add_text(&d->out, "file", place.path);
    text_print(&d->out, ",\"offset\":%llu", (unsigned long long)place.offset);
    add_text(&d->out, "symbol", place.symbol);
    add_text(&d->out, "line", place.line);
    text_bytes(&d->out, "}", 1);
}

static void add_object(struct doctor *d, int64_t here, const char *exe, const struct thirl_object *o) {
    text_print(&d->out, "{\"kind\":\"%s\",\"name\":\"%016llx\"", o->kind, (unsigned long long)o->name);
    add_text(&d->out, "address", o->address);
    text_print(&d->out, ",\"at\":");
    add_place(d, here, exe, &o->at, false);
    text_print(&d->out, ",\"from\":");
    add_place(d, here, exe, &o->from, true);
    text_bytes(&d->out, "}", 1);
}

static void add_thread(struct doctor *d, size_t number_of) {
    const struct thirl_thread *t = at(d, number_of);
    struct text *out = &d->out;
    text_print(out, "%s{\"process\":\"%016llx\",\"pid\":%lld,\"here\":%lld,\"thread\":%d", number_of ? ",\n " : "",
               (unsigned long long)t->process, (long long)t->pid, (long long)t->here, (int)t->thread);
    add_text(out, "exe", t->exe);
    text_print(out, ",\"health\":\"%s\",\"stuck\":%s,\"gives_up\":%s,\"circle\":%zu,\"held\":%llu,\"holds\":[",
               healths[t->health], t->stuck ? "true" : "false", t->gives_up ? "true" : "false", t->circle,
               (unsigned long long)t->held);
    for (size_t i = 0; i < t->holds; i++) {
        text_print(out, "%s", i ? "," : "");
        add_object(d, t->here, t->exe, &t->hold[i]);
    }
    text_print(out, "],\"waits\":");
    if (t->wait) {
        add_object(d, t->here, t->exe, t->wait);
        text_print(out, ",\"waited\":%.3f", waited(d, t));
    } else {
        text_print(out, "null");
    }
    text_print(out, ",\"blockers\":[");
    for (size_t i = 0; i < t->blockers; i++) {
        bool bad =
            at(d, t->blocker[i])->health == THIRL_HEALTH_STOPPED || at(d, t->blocker[i])->health == THIRL_HEALTH_ENDED;
        d->ill = d->ill || bad;
        text_print(out, "%s%zu", i ? "," : "", t->blocker[i]);
    }
    text_print(out, "]}");
}

static void add_order(struct doctor *d, const struct thirl_order *order) {
    text_bytes(&d->out, "[", 1);
    for (size_t i = 0; i < order->count; i++) {
        const struct thirl_step *s = &order->step[i];
        text_print(&d->out, "%s{\"process\":\"%016llx\",\"pid\":%lld,\"here\":%lld,\"thread\":%d", i ? "," : "",
                   (unsigned long long)s->process, (long long)s->pid, (long long)s->here, (int)s->thread);
        add_text(&d->out, "exe", s->exe);
        text_print(&d->out, ",\"held\":");
        add_object(d, s->here, s->exe, &s->held);
        text_print(&d->out, ",\"taken\":");
        add_object(d, s->here, s->exe, &s->taken);
        text_bytes(&d->out, "}", 1);
    }
    text_bytes(&d->out, "]", 1);
}

static void print_json(struct doctor *d) {
    d->ill = d->seen->circles != 0;
    text_print(&d->out, "{\"threads\":[");
    for (size_t i = 0; i < d->seen->threads; i++) {
        add_thread(d, i);
    }
    text_print(&d->out, "],\n\"circles\":[");
    for (size_t i = 0; i < d->seen->circles; i++) {
        const struct thirl_circle *circle = d->seen->circle[i];
        text_print(&d->out, "%s[", i ? "," : "");
        for (size_t j = 0; j < circle->count; j++) {
            text_print(&d->out, "%s%zu", j ? "," : "", circle->thread[j]);
        }
        text_bytes(&d->out, "]", 1);
    }
    text_print(&d->out, "],\n\"orders\":[");
    for (size_t i = 0; i < d->seen->orders; i++) {
        text_print(&d->out, "%s", i ? ",\n " : "");
        add_order(d, d->seen->order[i]);
    }
    text_print(&d->out, "],\"missed\":%llu}\n", (unsigned long long)d->seen->missed);
}

/* ---- all ---- */

/* ---- orders ---- */

static void show_order(struct doctor *d, const struct thirl_order *order) {
    say(d, 0, "RISK: %zu locks are taken in orders that make a circle", order->count);
    for (size_t i = 0; i < order->count; i++) {
        const struct thirl_step *s = &order->step[i];
        const struct thirl_thread t = {.pid = s->pid, .here = s->here, .thread = s->thread, .exe = s->exe};
        char name[WHO_MAX], held[OBJECT_MAX], taken[OBJECT_MAX];
        struct place place;
        say(d, 1, "%s, has held %s, taken in %s,", who(name, &t), object(held, s->here, s->exe, &s->held),
            from(&place, s->here, s->exe, &s->held));
        say(d, 2, "while it took %s, in %s", object(taken, s->here, s->exe, &s->taken),
            from(&place, s->here, s->exe, &s->taken));
    }
    say(d, 1, "=> when these meet they wait for each other for ever: take the locks in one order everywhere");
}

static void print(struct doctor *d, const struct tool_args *args) {
    for (size_t i = 0; i < d->seen->circles; i++) {
        show_circle(d, i);
    }
    show_trees(d);
    show_others(d);
    for (size_t i = 0; i < d->seen->orders; i++) {
        show_order(d, d->seen->order[i]);
    }
    if (d->seen->missed) {
        tool_say(args, "%llu orders of locks found no room and are not known", (unsigned long long)d->seen->missed);
    }
    bool any = false;
    for (size_t i = 0; i < d->seen->threads; i++) {
        any = any || d->told[i];
    }
    if (!any && d->out.used == 0) {
        tool_say(args, "nobody waits, and no locks are taken both ways");
    }
}

static int look_at_one(const struct tool_args *args) {
    static struct doctor d;
    struct thirl_doctor *seen;
    int rc = thirl_doctor_look(&seen);
    if (rc) {
        tool_say(args, "%s", thirl_why());
        return tool_exit_of(rc);
    }
    text_init(&d.out, 1);
    d.seen = seen;
    d.now = thirl_in_ns(0).ns;
    d.told = calloc(seen->threads + 1, sizeof *d.told);
    if (d.told && args->json) {
        print_json(&d);
    } else if (d.told) {
        print(&d, args);
    }
    int code = d.told ? (int)text_finish(&d.out, args) : TOOL_OTHER;
    if (!d.told) {
        tool_say(args, "no memory for what is seen");
    }
    free(d.told);
    code = code != TOOL_DONE ? code : d.ill ? TOOL_ILL : seen->orders ? TOOL_RISK : TOOL_DONE;
    thirl_doctor_free(&seen);
    return code;
}

int tool_doctor(const struct tool_args *args) {
    return args->all ? tool_each_registry(args, look_at_one) : look_at_one(args);
}
