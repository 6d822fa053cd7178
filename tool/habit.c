/* SPDX-License-Identifier: MIT
 *
 * What a channel really does, as a wish of advise: from the counters of its ends over a moment, or from a trace that ?spy= wrote.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool/tool.h"

#define ENDS 256 /* ends of one channel that a trace tells apart */
#define LINE_LONGEST 4096

/* Is that the same channel, whatever the options? */
static bool is_same(const char *a, const char *b) {
    size_t length = strcspn(a, "?");
    return length == strcspn(b, "?") && memcmp(a, b, length) == 0;
}

static bool sends(uint32_t role) {
    return role == THIRL_PAIR || role == THIRL_WRITE || role == THIRL_PUSH || role == THIRL_NOTIFY ||
           role == THIRL_PUB || role == THIRL_CALL;
}

static bool receives(uint32_t role) {
    return role == THIRL_PAIR || !sends(role);
}

static uint32_t role_of(const char *name) {
#define ROLE(name, number, text) {text, number},
    static const struct {
        const char *name;
        uint32_t number;
    } roles[] = {THIRL_ROLES(ROLE)};
#undef ROLE
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i].name, name) == 0) {
            return roles[i].number;
        }
    }
    return 0;
}

/* By what it is carried, as advise calls that: the scheme, or the kind of its socket. */
static void note_mechanism(struct tool_habit *h, const char *address) {
    const char *type = strstr(address, "type=");
    size_t length = strcspn(address, ":");
    snprintf(h->mechanism, sizeof h->mechanism, "%.*s", (int)(length < 15 ? length : 15), address);
    if (type && strncmp(address, "unix", 4) == 0 && strncmp(type + 5, "stream", 6) != 0) {
        snprintf(h->mechanism, sizeof h->mechanism, "%.*s", (int)strcspn(type + 5, "&"), type + 5);
    }
    const char *wait = strstr(address, "wait=");
    h->wait = !wait                                ? THIRL_WAIT_ADAPTIVE
              : strncmp(wait + 5, "spin", 4) == 0  ? THIRL_WAIT_SPIN
              : strncmp(wait + 5, "sleep", 5) == 0 ? THIRL_WAIT_SLEEP
                                                   : THIRL_WAIT_ADAPTIVE;
}

static void count_end(struct tool_habit *h, uint32_t role) {
    h->role = h->role == 0 || sends(role) ? role : h->role;
    h->pairs += role == THIRL_PAIR;
    h->senders += sends(role) && role != THIRL_PAIR;
    h->receivers += receives(role) && role != THIRL_PAIR;
}

/* ---- counters ---- */

struct look {
    const char *address;
    struct tool_habit *habit;
    uint64_t messages, bytes;
};

static int see(void *context, const struct thirl_seen *seen) {
    struct look *look = context;
    bool there = is_same(look->address, seen->address) || (seen->over[0] && is_same(look->address, seen->over));
    uint32_t role = role_of(seen->role);
    if (!there || role == 0 || strcmp(seen->state, "dead") == 0) {
        return 0;
    }
    if (look->habit) {
        count_end(look->habit, role);
        note_mechanism(look->habit, seen->over[0] ? seen->over : seen->address);
    }
    if (sends(role)) {
        look->messages += seen->sent;
        look->bytes += seen->sent_bytes;
    }
    return 0;
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Looks twice; ends that come in between count from then on. */
enum tool_exit habit_watch(struct tool_habit *h, const struct tool_args *args) {
    struct look before = {.address = args->channel}, after = {.address = args->channel, .habit = h};
    int64_t during = args->interval > 0 ? args->interval : 1000000000, began = now();
    int code = thirl_list(see, &before);
    stop_init();
    while (code == 0 && !stop_exit() && now() - began < during) {
        int64_t left = during - (now() - began);
        struct timespec rest = {left / 1000000000, left % 1000000000};
        nanosleep(&rest, NULL);
    }
    double seconds = (double)(now() - began) / 1e9;
    code = code == 0 ? thirl_list(see, &after) : code;
    if (code < 0) {
        tool_say(args, "%s", thirl_why());
        return tool_exit_of(code);
    }
    if (h->role == 0) {
        tool_say(args, "nobody has %s open; thirl list shows what is", args->channel);
        return TOOL_OTHER;
    }
    h->seconds = seconds;
    h->messages = after.messages > before.messages ? after.messages - before.messages : 0;
    h->rate = (uint64_t)((double)h->messages / seconds);
    uint64_t bytes = h->messages ? after.bytes - before.bytes : after.bytes;
    uint64_t messages = h->messages ? h->messages : after.messages;
    h->bytes = messages ? (bytes + messages - 1) / messages : 0;
    return (enum tool_exit)stop_exit();
}

/* ---- a trace ---- */

struct trace {
    const struct tool_args *args;
    struct tool_habit *habit;
    char address[512];
    bool several; /* channels, and none was asked for */
    struct {
        long pid;
        unsigned number;
    } end[ENDS];
    size_t ends;
    uint64_t *size; /* of each message; of those that were sent, or else of those that came */
    size_t count, room;
    bool out;
    double first, last;
    bool full;
};

static void add_size(struct trace *t, bool out, uint64_t size, double at) {
    if (out && !t->out) {
        t->out = true; /* what was sent counts, where the trace has that */
        t->count = 0;
    }
    if (out != t->out) {
        return;
    }
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 1024;
        uint64_t *more = realloc(t->size, room * sizeof *more);
        if (!more) {
            t->full = true;
            return;
        }
        t->size = more;
        t->room = room;
    }
    t->first = t->count == 0 ? at : t->first;
    t->last = at;
    t->size[t->count++] = size;
}

static bool read_field(const char *text, const char *name, uint64_t *value) {
    const char *at = strstr(text, name);
    return at && sscanf(at + strlen(name), "%" SCNu64, value) == 1;
}

static void note_end(struct trace *t, long pid, unsigned number, uint32_t role) {
    for (size_t i = 0; i < t->ends; i++) {
        if (t->end[i].pid == pid && t->end[i].number == number) {
            return;
        }
    }
    if (t->ends < ENDS) {
        t->end[t->ends].pid = pid;
        t->end[t->ends++].number = number;
        count_end(t->habit, role);
    }
}

/* "SECONDS PID TID END ROLE ADDRESS OPERATION ARGUMENTS -> ANSWER …", see thirl-spy(7). */
static void read_line(struct trace *t, const char *line) {
    double at;
    long pid, tid;
    unsigned number;
    char role[16], address[512], operation[24];
    int used = 0;
    if (sscanf(line, "%lf %ld %ld %u %15s %511s %23s %n", &at, &pid, &tid, &number, role, address, operation, &used) <
        7) {
        return;
    }
    uint32_t is = role_of(role);
    bool asked = t->args->channel != NULL;
    if (is == 0 || (asked && !is_same(address, t->args->channel))) {
        return;
    }
    if (!t->address[0]) {
        snprintf(t->address, sizeof t->address, "%s", address);
        note_mechanism(t->habit, address);
    }
    if (!is_same(address, t->address)) {
        t->several = true;
        return;
    }
    note_end(t, pid, number, is);
    const char *arrow = strstr(line + used, "-> 0");
    uint64_t size;
    bool out = strncmp(operation, "send", 4) == 0 || strcmp(operation, "put") == 0;
    bool in = strncmp(operation, "recv", 4) == 0 || strncmp(operation, "take", 4) == 0;
    bool answer = (is == THIRL_SERVE && out) || (is == THIRL_CALL && in);
    if (!arrow || answer || (is == THIRL_SERVE && strstr(arrow, "kind=") && !strstr(arrow, "kind=1 "))) {
        return;
    }
    if ((out && read_field(line + used, "size=", &size)) || (in && read_field(arrow, "size=", &size))) {
        add_size(t, out, size, at);
    }
}

static int compare(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static enum tool_exit conclude(struct trace *t) {
    struct tool_habit *h = t->habit;
    if (t->full) {
        tool_say(t->args, "no memory for the trace");
        return TOOL_OTHER;
    }
    if (t->several) {
        tool_say(t->args, "%s is of several channels; say which one with --channel ADDRESS", t->args->trace);
        return TOOL_USAGE;
    }
    if (h->role == 0) {
        tool_say(t->args, "%s has no line of %s; thirl-spy(7) says how one is made", t->args->trace,
                 t->args->channel ? t->args->channel : "an end");
        return TOOL_OTHER;
    }
    h->messages = t->count;
    if (t->count) {
        qsort(t->size, t->count, sizeof *t->size, compare);
        h->bytes = t->size[t->count / 2];
        h->largest = t->size[t->count - 1];
        h->seconds = t->last - t->first;
        h->rate = h->seconds > 0 ? (uint64_t)((double)(t->count - 1) / h->seconds) : 0;
    }
    return TOOL_DONE;
}

enum tool_exit habit_read(struct tool_habit *h, const struct tool_args *args) {
    static struct trace t;
    char line[LINE_LONGEST];
    t.args = args;
    t.habit = h;
    FILE *file = strcmp(args->trace, "-") == 0 ? stdin : fopen(args->trace, "re");
    if (!file) {
        tool_say(args, "%s cannot be read: %s", args->trace, strerror(errno));
        return tool_exit_of(errno) == TOOL_DENIED ? TOOL_DENIED : TOOL_OTHER;
    }
    while (fgets(line, sizeof line, file)) {
        read_line(&t, line);
    }
    bool bad = ferror(file) != 0;
    if (file != stdin) {
        fclose(file);
    }
    if (bad) {
        tool_say(args, "%s cannot be read: %s", args->trace, strerror(errno));
        return TOOL_OTHER;
    }
    enum tool_exit code = conclude(&t);
    free(t.size);
    return code;
}

/* ---- as a wish ---- */

static uint32_t many(unsigned count, unsigned pairs) {
    return count ? count : pairs ? 1 : 0;
}

void habit_wish(const struct tool_habit *h, struct tool_wish *w) {
    struct thirl_wish *wish = &w->wish;
    wish->role = w->named ? wish->role : h->role;
    wish->wait = wish->wait ? wish->wait : h->wait;
    wish->bytes = wish->bytes ? wish->bytes : h->bytes;
    wish->largest = wish->largest ? wish->largest : h->largest;
    wish->rate = wish->rate ? wish->rate : h->rate;
    wish->senders = wish->senders ? wish->senders : many(h->senders, h->pairs);
    wish->receivers = wish->receivers ? wish->receivers : many(h->receivers, h->pairs);
}
