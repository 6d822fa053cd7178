/* SPDX-License-Identifier: MIT
 *
 * The verb advise: all mechanisms, ranked for what a channel is to do; and for the first one what to write and to type.
 */
#include <stdio.h>
#include <string.h>

#include "tool/tool.h"

#define LINES 2 /* to type: for who waits, and for who begins */
#define LINE_MAX_BYTES 640

enum { PLACE, MECHANISM, P50, P99, RATE, CPU, COPIES, WHY, COLUMNS };

struct advice {
    struct text out;
    struct text_table table;
    bool json;
    size_t objects;
    uint32_t role; /* of who begins */
    char address[512], costs[512];
    bool found, in_place;
    const struct tool_habit *habit; /* NULL: nobody asked for that of a channel */
    uint32_t now;                   /* the place of what carries it */
};

/* ---- what to type ---- */

/* Of each pattern both roles, and what the tool has for them, with %s for the address. */
static const struct pattern {
    uint32_t roles[2];
    const char *names[2], *lines[LINES];
} patterns[] = {
    {{THIRL_PAIR, THIRL_PAIR},
     {"THIRL_PAIR", "THIRL_PAIR"},
     {"thirl recv %s --count 1", "thirl send %s --message hello"}},
    {{THIRL_WRITE, THIRL_READ},
     {"THIRL_WRITE", "THIRL_READ"},
     {"thirl recv --stream %s", "echo hello | thirl send --stream %s"}},
    {{THIRL_PUSH, THIRL_PULL},
     {"THIRL_PUSH", "THIRL_PULL"},
     {"thirl pull %s --count 1", "thirl push %s --message hello"}},
    {{THIRL_PUB, THIRL_SUB}, {"THIRL_PUB", "THIRL_SUB"}, {"thirl sub %s --count 1", "thirl pub %s --message hello"}},
    {{THIRL_CALL, THIRL_SERVE},
     {"THIRL_CALL", "THIRL_SERVE"},
     {"thirl serve %s --echo --count 1", "thirl call %s --message hello"}},
    {{THIRL_NOTIFY, THIRL_WATCH},
     {"THIRL_NOTIFY", "THIRL_WATCH"},
     {"thirl recv --role watch %s --count 1", "thirl send --role notify %s --message hey!"}},
};

static const struct pattern *pattern_of(uint32_t role) {
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        if (patterns[i].roles[0] == role || patterns[i].roles[1] == role) {
            return &patterns[i];
        }
    }
    return patterns;
}

/* The n-th line for a shell. Where the child inherits its end, one line starts both. */
static bool line_of(const struct advice *a, size_t n, char line[LINE_MAX_BYTES]) {
    const struct pattern *pattern = pattern_of(a->role);
    const char *form = pattern->lines[n], *at = strstr(form, "%s");
    const char *quote = strpbrk(a->address, "?&") ? "'" : "";
    if (strncmp(a->address, "pipe:", 5) == 0) {
        const char *child = pattern->roles[0] == THIRL_WRITE ? "thirl recv --stream {}" : "thirl recv {} --count 1";
        const char *role = pattern->roles[0] == THIRL_NOTIFY ? "--role watch " : "";
        snprintf(line, LINE_MAX_BYTES, "echo hello | thirl run --over %s%s%s -- %.10s %s%s", quote, a->address, quote,
                 child, role, child + 11);
        return n == 0;
    }
    snprintf(line, LINE_MAX_BYTES, "%.*s%s%s%s%s", (int)(at - form), form, quote, a->address, quote, at + 2);
    return true;
}

static void c_line(const struct advice *a, char line[LINE_MAX_BYTES]) {
    snprintf(line, LINE_MAX_BYTES,
             "thirl *end; if (thirl_open(&end, %s, \"%s\", NULL)) fprintf(stderr, \"%%s\\n\", thirl_why());",
             pattern_of(a->role)->names[0], a->address);
}

/* ---- one mechanism ---- */

/* A value with one of three units, each a thousand of the last; "" where there is none. */
static const char *scaled(char text[24], double value, const char *const unit[3]) {
    int step = value < 1e3 ? 0 : value < 1e6 ? 1 : 2;
    static const double one[] = {1, 1e3, 1e6};
    text[0] = '\0';
    if (value > 0) {
        snprintf(text, 24, "%.3g%s", value / one[step], unit[step]);
    }
    return text;
}

static const char *time_text(char text[24], int64_t ns) {
    return scaled(text, (double)ns, (const char *const[]){" ns", " us", " ms"});
}

static const char *rate_text(char text[24], uint64_t rate) {
    return scaled(text, (double)rate, (const char *const[]){"", "k", "M"});
}

static void add_row(struct advice *a, const struct thirl_choice *c) {
    char place[12], p50[24], p99[24], rate[24], cpu[24], copies[12];
    snprintf(place, sizeof place, "%u", c->place);
    snprintf(copies, sizeof copies, "%u", c->copies);
    const char *cells[COLUMNS] = {c->place ? place : "",
                                  c->mechanism,
                                  time_text(p50, c->p50_ns),
                                  time_text(p99, c->p99_ns),
                                  rate_text(rate, c->per_second),
                                  time_text(cpu, c->cpu_ns),
                                  c->place || c->p50_ns ? copies : "",
                                  c->reason};
    text_row(&a->table, cells);
}

static void add_text(struct text *out, const char *name, const char *value) {
    text_print(out, "\"%s\":", name);
    text_json(out, value, strlen(value));
}

static void add_object(struct advice *a, const struct thirl_choice *c) {
    text_print(&a->out, "%s{\"place\":%u,", a->objects++ ? ",\n  " : "", c->place);
    add_text(&a->out, "mechanism", c->mechanism);
    text_bytes(&a->out, ",", 1);
    add_text(&a->out, "address", c->address);
    text_print(&a->out,
               ",\"p50_ns\":%lld,\"p99_ns\":%lld,\"per_second\":%llu,\"cpu_ns\":%lld,\"copies\":%u,\"in_place\":%s,"
               "\"here\":%s,",
               (long long)c->p50_ns, (long long)c->p99_ns, (unsigned long long)c->per_second, (long long)c->cpu_ns,
               c->copies, c->in_place ? "true" : "false", c->here ? "true" : "false");
    add_text(&a->out, "reason", c->reason);
    text_bytes(&a->out, "}", 1);
}

static int see(void *context, const struct thirl_choice *c) {
    struct advice *a = context;
    if (c->place == 1) {
        snprintf(a->address, sizeof a->address, "%s", c->address);
        a->found = true;
        a->in_place = c->in_place != 0;
    }
    if (a->habit && strcmp(a->habit->mechanism, c->mechanism) == 0) {
        a->now = c->place;
    }
    snprintf(a->costs, sizeof a->costs, "%s", c->costs);
    if (a->json) {
        add_object(a, c);
    } else {
        add_row(a, c);
    }
    return 0;
}

/* ---- the whole ---- */

static void print_habit(struct advice *a, const struct thirl_wish *wish) {
    char size[TEXT_SIZE_MAX];
    const struct tool_habit *h = a->habit;
    text_print(&a->out, "\nSeen: %s, %u to %u, %llu messages in %.3g s", pattern_of(wish->role)->names[0] + 6,
               wish->senders, wish->receivers, (unsigned long long)h->messages, h->seconds);
    if (h->bytes) {
        text_print(&a->out, ", of %s", text_size(size, (double)h->bytes));
    }
    if (h->largest > h->bytes) {
        text_print(&a->out, " and up to %s", text_size(size, (double)h->largest));
    }
    text_print(&a->out, a->now ? ". Now it is %s, with place %u.\n" : ". Now it is %s.\n", h->mechanism, a->now);
}

static void print_rest(struct advice *a, const struct thirl_wish *wish) {
    char line[LINE_MAX_BYTES];
    if (a->habit) {
        print_habit(a, wish);
    }
    if (a->found) {
        c_line(a, line);
        text_print(&a->out, "\nIn C: %s\n", line);
        if (a->in_place) {
            text_print(&a->out, "      thirl_loan, thirl_put and thirl_take instead of thirl_send and thirl_recv\n");
        }
        text_print(&a->out, "To try it:\n");
        for (size_t i = 0; i < LINES && line_of(a, i, line); i++) {
            text_print(&a->out, "  %s\n", line);
        }
        if (wish->across == THIRL_ACROSS_HOSTS) {
            text_print(&a->out, "From another host, put the name of this one in place of 127.0.0.1, at both ends.\n");
        } else if (wish->across != THIRL_ACROSS_USER && strncmp(a->address, "shm:", 4) == 0) {
            text_print(&a->out, "Both sides name one directory in THIRL_DIR that both may write.\n");
        }
    }
    text_print(&a->out, "The costs are %s.\n", a->costs);
}

static void print_json_rest(struct advice *a, const struct thirl_wish *wish) {
    char line[LINE_MAX_BYTES];
    text_print(&a->out, "],\n ");
    add_text(&a->out, "costs", a->costs);
    if (a->habit) {
        text_print(&a->out,
                   ",\n \"seen\":{\"mechanism\":\"%s\",\"messages\":%llu,\"seconds\":%.6f,\"bytes\":%llu,"
                   "\"largest\":%llu,\"per_second\":%llu,\"senders\":%u,\"receivers\":%u}",
                   a->habit->mechanism, (unsigned long long)a->habit->messages, a->habit->seconds,
                   (unsigned long long)wish->bytes, (unsigned long long)a->habit->largest,
                   (unsigned long long)a->habit->rate, wish->senders, wish->receivers);
    }
    if (a->found) {
        c_line(a, line);
        text_bytes(&a->out, ",\n ", 3);
        add_text(&a->out, "c", line);
        text_print(&a->out, ",\n \"commands\":[");
        for (size_t i = 0; i < LINES && line_of(a, i, line); i++) {
            text_bytes(&a->out, ",", i != 0);
            text_json(&a->out, line, strlen(line));
        }
        text_bytes(&a->out, "]", 1);
    }
    text_print(&a->out, "}\n");
}

int tool_advise(const struct tool_args *args) {
    static const char *const titles[COLUMNS] = {" ",          "MECHANISM", "P50",    "P99",
                                                "MESSAGES/S", "CPU",       "COPIES", "REASON"};
    static struct advice a;
    struct tool_habit habit = {.role = 0};
    struct tool_wish said = args->advise;
    if (args->trace || args->channel) {
        enum tool_exit watched = args->trace ? habit_read(&habit, args) : habit_watch(&habit, args);
        if (watched != TOOL_DONE) {
            return watched;
        }
        habit_wish(&habit, &said);
        a.habit = &habit;
    }
    struct thirl_wish wish = said.wish;
    wish.name = wish.name ? wish.name : "advised";
    text_init(&a.out, 1);
    a.json = args->json;
    a.role = wish.role;
    a.table.columns = COLUMNS;
    text_row(&a.table, titles);
    text_print(&a.out, "%s", a.json ? "{\"choices\":[" : "");
    int code = thirl_advise(&wish, see, &a);
    if (code < 0 || a.table.full) {
        tool_say(args, "%s", a.table.full ? "no memory for the table" : thirl_why());
        return a.table.full ? TOOL_OTHER : tool_exit_of(code);
    }
    if (a.json) {
        print_json_rest(&a, &wish);
    } else {
        text_table(&a.out, &a.table);
        print_rest(&a, &wish);
    }
    if (!a.found) {
        tool_say(args, "no mechanism can do all of that");
    }
    int exit_code = text_finish(&a.out, args);
    return exit_code == TOOL_DONE && !a.found ? TOOL_OTHER : exit_code;
}
