/* SPDX-License-Identifier: MIT
 *
 * The verb list: the ends in the registry as a table for people or as JSON. Reads only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/tool.h"

enum { COLUMNS = 9, CELL = 400 };

struct table {
    struct text out;
    bool json, full;
    size_t rows;
    char (*cells)[COLUMNS][CELL];
};

static const char *const titles[COLUMNS] = {"ADDRESS", "ROLE",     "STATE", "PID",  "PEER",
                                            "SENT",    "RECEIVED", "WAITS", "QUEUE"};

static void set(char *cell, const char *text) {
    snprintf(cell, CELL, "%s", text && *text ? text : "-");
    text_clean(cell);
}

static void set_traffic(char *cell, uint64_t messages, uint64_t bytes) {
    char size[TEXT_SIZE_MAX];
    snprintf(cell, CELL, "%llu (%s)", (unsigned long long)messages, text_size(size, (double)bytes));
}

static int add_row(struct table *t, const struct thirl_seen *s) {
    char(*larger)[COLUMNS][CELL] = realloc(t->cells, (t->rows + 1) * sizeof *t->cells);
    if (!larger) {
        t->full = true;
        return 1;
    }
    t->cells = larger;
    char(*row)[CELL] = t->cells[t->rows++];
    set(row[0], s->address);
    set(row[1], s->role);
    set(row[2], s->state);
    snprintf(row[3], CELL, "%lld", (long long)s->pid);
    set(row[4], s->peer);
    set_traffic(row[5], s->sent, s->sent_bytes);
    set_traffic(row[6], s->received, s->received_bytes);
    snprintf(row[7], CELL, "%llu", (unsigned long long)s->waits);
    if (s->queue) {
        text_size(row[8], (double)s->queue);
    } else {
        set(row[8], NULL);
    }
    return 0;
}

static void add_text(struct text *out, const char *name, const char *value) {
    text_print(out, "\"%s\":", name);
    text_json(out, value ? value : "", value ? strlen(value) : 0);
    text_bytes(out, ",", 1);
}

static void add_object(struct table *t, const struct thirl_seen *s) {
    text_print(&t->out, "%s{", t->rows++ ? ",\n " : "");
    add_text(&t->out, "address", s->address);
    add_text(&t->out, "role", s->role);
    add_text(&t->out, "state", s->state);
    text_print(&t->out, "\"pid\":%lld,", (long long)s->pid);
    add_text(&t->out, "exe", s->exe);
    add_text(&t->out, "peer", s->peer);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"sent", s->sent},         {"sent_bytes", s->sent_bytes},
                   {"received", s->received}, {"received_bytes", s->received_bytes},
                   {"waits", s->waits},       {"wakes", s->wakes},
                   {"queue", s->queue}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        text_print(&t->out, "%s\"%s\":%llu", i ? "," : "", numbers[i].name, (unsigned long long)numbers[i].value);
    }
    text_bytes(&t->out, "}", 1);
}

static int see(void *context, const struct thirl_seen *seen) {
    struct table *t = context;
    if (!t->json) {
        return add_row(t, seen);
    }
    add_object(t, seen);
    return 0;
}

static void print_row(struct table *t, const int *width, const char *const *cells) {
    for (size_t i = 0; i < COLUMNS - 1; i++) {
        text_print(&t->out, "%-*s  ", width[i], cells[i]);
    }
    text_print(&t->out, "%s\n", cells[COLUMNS - 1]);
}

static void print_table(struct table *t) {
    int width[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++) {
        width[i] = (int)strlen(titles[i]);
        for (size_t row = 0; row < t->rows; row++) {
            if ((int)strlen(t->cells[row][i]) > width[i]) {
                width[i] = (int)strlen(t->cells[row][i]);
            }
        }
    }
    print_row(t, width, titles);
    for (size_t row = 0; row < t->rows; row++) {
        const char *cells[COLUMNS];
        for (size_t i = 0; i < COLUMNS; i++) {
            cells[i] = t->cells[row][i];
        }
        print_row(t, width, cells);
    }
}

int tool_list(const struct tool_args *args) {
    static struct table t;
    text_init(&t.out, 1);
    t.json = args->json;
    if (t.json) {
        text_bytes(&t.out, "[", 1);
    }
    int code = thirl_list(see, &t);
    if (t.full) {
        tool_say(args, "no memory for the list");
        return TOOL_OTHER;
    }
    if (code < 0) {
        tool_say(args, "%s", thirl_why());
        return tool_exit_of(code);
    }
    if (t.json) {
        text_bytes(&t.out, "]\n", 2);
    } else if (t.rows) {
        print_table(&t);
    } else {
        tool_say(args, "no channels");
    }
    free(t.cells);
    return text_finish(&t.out, args);
}
