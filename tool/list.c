/* SPDX-License-Identifier: MIT
 *
 * The verb list: the ends in the registry, what the dead have left, and what is shared, as a table for people or as JSON. Reads only.
 */
#include <stdio.h>
#include <string.h>

#include "tool/tool.h"

enum { COLUMNS = 9, CHOSEN = 3 };

struct list {
    struct text out;
    struct text_table table;
    struct text_table chosen; /* of auto://: what each runs over, and why */
    char last[512];           /* whose line stands there last */
    bool json;
    size_t objects;
};

static const char *const titles[COLUMNS] = {"ADDRESS", "ROLE",     "STATE", "PID",  "PEER",
                                            "SENT",    "RECEIVED", "WAITS", "QUEUE"};

#define TRAFFIC_MAX (2 * TEXT_SIZE_MAX + 64)
#define QUEUE_MAX (2 * TEXT_SIZE_MAX + 4)

static const char *traffic(char cell[TRAFFIC_MAX], uint64_t messages, uint64_t bytes) {
    char size[TEXT_SIZE_MAX];
    snprintf(cell, TRAFFIC_MAX, "%llu (%s)", (unsigned long long)messages, text_size(size, (double)bytes));
    return cell;
}

/* Large messages: what they take beside the queue, and how many are held. */
static void add_pool(const struct thirl_seen *s, char queue[QUEUE_MAX], char received[TRAFFIC_MAX]) {
    char size[TEXT_SIZE_MAX];
    if (s->pool_bytes != 0) {
        size_t used = strlen(queue);
        snprintf(queue + used, QUEUE_MAX - used, " + %s", text_size(size, (double)s->pool_bytes));
    }
    if (s->held != 0) {
        size_t used = strlen(received);
        snprintf(received + used, TRAFFIC_MAX - used, ", holds %llu (%s)", (unsigned long long)s->held,
                 text_size(size, (double)s->held_bytes));
    }
}

/* A line for a channel, which may have many ends. */
static void add_chosen(struct list *l, const struct thirl_seen *s) {
    char name[sizeof l->last];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(s->address, "?"), s->address);
    if (strcmp(name, l->last) != 0) {
        const char *cells[CHOSEN] = {name, s->over, s->reason};
        text_row(&l->chosen, cells);
        memcpy(l->last, name, sizeof name);
    }
}

static void add_row(struct list *l, const struct thirl_seen *s) {
    char pid[24], sent[TRAFFIC_MAX], received[TRAFFIC_MAX], waits[24], queue[QUEUE_MAX] = "";
    snprintf(pid, sizeof pid, "%lld", (long long)s->pid);
    snprintf(waits, sizeof waits, "%llu", (unsigned long long)s->waits);
    (void)traffic(received, s->received, s->received_bytes);
    if (s->queue) {
        (void)text_size(queue, (double)s->queue);
    }
    add_pool(s, queue, received);
    const char *cells[COLUMNS] = {s->address, s->role, s->state,
                                  pid,        s->peer, traffic(sent, s->sent, s->sent_bytes),
                                  received,   waits,   s->queue ? queue : NULL};
    text_row(&l->table, cells);
    if (s->over[0]) {
        add_chosen(l, s);
    }
}

static void add_text(struct text *out, const char *name, const char *value) {
    text_print(out, "\"%s\":", name);
    text_json(out, value ? value : "", value ? strlen(value) : 0);
    text_bytes(out, ",", 1);
}

static void add_object(struct list *l, const struct thirl_seen *s) {
    text_print(&l->out, "%s{", l->objects++ ? ",\n " : "");
    add_text(&l->out, "address", s->address);
    add_text(&l->out, "role", s->role);
    add_text(&l->out, "state", s->state);
    text_print(&l->out, "\"pid\":%lld,", (long long)s->pid);
    add_text(&l->out, "exe", s->exe);
    add_text(&l->out, "peer", s->peer);
    if (s->over[0]) {
        add_text(&l->out, "over", s->over);
        add_text(&l->out, "reason", s->reason);
    }
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"sent", s->sent},
                   {"sent_bytes", s->sent_bytes},
                   {"received", s->received},
                   {"received_bytes", s->received_bytes},
                   {"waits", s->waits},
                   {"wakes", s->wakes},
                   {"queue", s->queue},
                   {"lost", s->lost},
                   {"refused", s->refused},
                   {"late", s->late},
                   {"twice", s->twice},
                   {"expired", s->expired},
                   {"silences", s->silences},
                   {"pool", s->pool},
                   {"pool_bytes", s->pool_bytes},
                   {"held", s->held},
                   {"held_bytes", s->held_bytes}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        text_print(&l->out, "%s\"%s\":%llu", i ? "," : "", numbers[i].name, (unsigned long long)numbers[i].value);
    }
    text_bytes(&l->out, "}", 1);
}

static int see(void *context, const struct thirl_seen *seen) {
    struct list *l = context;
    if (l->json) {
        add_object(l, seen);
    } else {
        add_row(l, seen);
    }
    return 0;
}

static int see_left(void *context, const struct thirl_left *left) {
    struct list *l = context;
    if (left->ends) {
        return 0; /* whose they are is in the lines above */
    }
    if (l->json) {
        text_print(&l->out, "%s{", l->objects++ ? ",\n " : "");
        add_text(&l->out, "address", left->address);
        add_text(&l->out, "state", "left");
        text_print(&l->out, "\"messages\":%llu,\"bytes\":%llu,\"uid\":%u}", (unsigned long long)left->messages,
                   (unsigned long long)left->bytes, left->uid);
        return 0;
    }
    char waiting[TRAFFIC_MAX];
    const char *cells[COLUMNS] = {
        left->address, NULL, "left", NULL, NULL, NULL, traffic(waiting, left->messages, left->bytes), NULL, NULL};
    text_row(&l->table, cells);
    return 0;
}

/* What is shared, with its size; the handles that processes have of it are lines of their own. */
static int see_thing(void *context, const struct thirl_thing *thing) {
    struct list *l = context;
    const char *state = thing->users ? "used" : "kept";
    if (l->json) {
        text_print(&l->out, "%s{", l->objects++ ? ",\n " : "");
        add_text(&l->out, "address", thing->address);
        add_text(&l->out, "role", thing->kind);
        add_text(&l->out, "state", state);
        text_print(&l->out, "\"bytes\":%llu,\"users\":%u,\"uid\":%u,\"mode\":\"%04o\"}",
                   (unsigned long long)thing->bytes, thing->users, thing->uid, thing->mode);
        return 0;
    }
    char size[TEXT_SIZE_MAX];
    const char *cells[COLUMNS] = {
        thing->address, thing->kind, state, NULL, NULL, NULL, NULL, NULL, text_size(size, (double)thing->bytes)};
    text_row(&l->table, cells);
    return 0;
}

int tool_list(const struct tool_args *args) {
    static struct list l;
    text_init(&l.out, 1);
    l.json = args->json;
    l.table.columns = COLUMNS;
    l.chosen.columns = CHOSEN;
    text_row(&l.table, titles);
    text_row(&l.chosen, (const char *[CHOSEN]){"ADDRESS", "RUNS OVER", "BECAUSE"});
    if (l.json) {
        text_bytes(&l.out, "[", 1);
    }
    int code = thirl_list(see, &l);
    code = code < 0 ? code : thirl_left(see_left, &l);
    code = code < 0 ? code : thirl_things(see_thing, &l);
    if (l.table.full || l.chosen.full) {
        tool_say(args, "no memory for the list");
        return TOOL_OTHER;
    }
    if (code < 0) {
        tool_say(args, "%s", thirl_why());
        return tool_exit_of(code);
    }
    if (l.json) {
        text_bytes(&l.out, "]\n", 2);
    } else if (l.table.rows > 1) {
        text_table(&l.out, &l.table);
        if (l.chosen.rows > 1) {
            text_print(&l.out, "\n");
            text_table(&l.out, &l.chosen);
        }
    } else {
        tool_say(args, "no channels");
    }
    return text_finish(&l.out, args);
}
