/* SPDX-License-Identifier: MIT
 *
 * The verb ping: round trips to another ping that serves, in another process or in a child of this one.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tool/tool.h"

#define TRIPS_USUAL 1000
#define TRIPS_MOST 100000000
#define SIZE_USUAL 64
#define LOST_NS INT64_C(1000000000) /* after that a message is lost, where they can be */
#define CLOSE_MS 1000

struct ping {
    struct flow flow;
    pid_t child; /* it serves; 0: there is none, or it is gone */
    int child_exit;
    char *buffer;
    size_t size;
    uint64_t wanted, lost;
    int64_t *times;
    size_t trips;
};

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- serving ---- */

static int serve_one(struct flow *f, bool *over) {
    thirl_msg *msg = NULL;
    int64_t deadline = flow_deadline(f);
    int code;
    do {
        code = thirl_take(f->end, &msg, flow_stretch(deadline));
    } while (flow_again(f, code, deadline));
    *over = code == -THIRL_ECLOSED;
    if (code != 0) {
        return *over ? 0 : code;
    }
    do {
        code = thirl_send(f->end, thirl_msg_data(msg), thirl_msg_size(msg), flow_stretch(deadline));
    } while (flow_again(f, code, deadline));
    thirl_free(&msg);
    *over = code == -THIRL_ECLOSED;
    return *over ? 0 : code;
}

/* Until the other end is closed. One that died makes room for the next, unless there is none to come. */
static int serve(struct flow *f, bool once) {
    bool over = false, died = false;
    int code = 0;
    while (!over && !stop_exit() && (code == 0 || (code == -THIRL_EPEERDIED && !once))) {
        died = code != 0;
        code = serve_one(f, &over);
    }
    int answer = code == 0 || over ? TOOL_DONE : (int)flow_fail(f, code);
    answer =
        died && code == -ENOTCONN && answer == TOOL_OTHER ? TOOL_DIED : answer; /* a given socket had that one only */
    (void)!thirl_close(&f->end, thirl_in_ms(CLOSE_MS));
    return flow_finish(f, answer);
}

static int serve_here(const struct tool_args *args, bool once) {
    static struct flow f;
    int code = flow_open(&f, args, THIRL_PAIR, O_RDONLY);
    return code == TOOL_DONE ? serve(&f, once) : flow_finish(&f, code);
}

/* A child that serves; closed is a descriptor that it has to close, or -1. */
static enum tool_exit start_child(struct ping *p, const struct tool_args *args, const char *address, int closed) {
    p->child = fork();
    if (p->child < 0) {
        tool_say(args, "no process for the other end");
        return TOOL_OTHER;
    }
    if (p->child == 0) {
        struct tool_args its = *args;
        its.operand = address;
        if (closed >= 0) {
            given_shut(closed);
        }
        _exit(serve_here(&its, true));
    }
    return TOOL_DONE;
}

/* It opens what this end hands over. */
static enum tool_exit hand(struct ping *p) {
    static char address[512];
    int code = thirl_hand(p->flow.end, address, sizeof address);
    return code < 0 ? flow_fail(&p->flow, code) : start_child(p, p->flow.args, address, -1);
}

/* Of a socket that was given connected, only who has its other end can serve there: so this process must have both. */
static enum tool_exit share(struct ping *p, const struct tool_args *args, struct given *given) {
    static char address[512];
    if (!given_both(given)) {
        tool_say(args,
                 "%s is connected to another process, and a child cannot take its place: let that one serve, with "
                 "thirl ping "
                 "--serve, and leave --both out",
                 args->operand);
        return TOOL_USAGE;
    }
    given_address(address, sizeof address, given->other, args->operand);
    enum tool_exit code = start_child(p, args, address, given->fd);
    given_shut(given->other);
    return code;
}

/* Has the child ended? Then nobody will answer. */
static bool child_gone(struct ping *p) {
    int status = 0;
    if (p->child > 0 && waitpid(p->child, &status, WNOHANG) == p->child) {
        p->child = 0;
        p->child_exit = WIFEXITED(status) ? WEXITSTATUS(status) : TOOL_DIED;
        return true;
    }
    return false;
}

/* ---- asking ---- */

static bool again(struct ping *p, int code, int64_t deadline) {
    return flow_again(&p->flow, code, deadline) && !child_gone(p);
}

static int64_t patience(const struct ping *p) {
    int64_t deadline = flow_deadline(&p->flow), here = now();
    return p->flow.limits.reliable || deadline - here < LOST_NS ? deadline : here + LOST_NS;
}

/* Sends number `seq` and waits for it. 0, an error, or 1: it is lost. */
static int trip(struct ping *p, uint64_t seq) {
    int64_t deadline = patience(p);
    uint64_t got = seq + 1;
    size_t size;
    int code;
    memcpy(p->buffer, &seq, sizeof seq);
    do {
        code = thirl_send(p->flow.end, p->buffer, p->size, flow_stretch(deadline));
    } while (again(p, code, deadline));
    while (code == 0 && got != seq) {
        do {
            code = thirl_recv(p->flow.end, p->buffer, p->size, &size, flow_stretch(deadline));
        } while (again(p, code, deadline));
        if (code == 0 && size >= sizeof got) {
            memcpy(&got, p->buffer, sizeof got); /* an older one comes late */
        }
    }
    return code == -ETIMEDOUT && !p->flow.limits.reliable && !stop_exit() && p->child_exit == 0 ? 1 : code;
}

static void wait_until(int64_t when) {
    int64_t rest = when - now();
    struct timespec t = {rest / 1000000000, rest % 1000000000};
    if (rest > 0) {
        (void)nanosleep(&t, NULL); /* a signal ends it, as it should */
    }
}

/* The first trip meets the other end, and is not counted. */
static int ask(struct ping *p) {
    int code = trip(p, 0);
    int64_t next = now();
    for (uint64_t seq = 1; code >= 0 && seq <= p->wanted && !stop_exit(); seq++) {
        wait_until(next);
        next += p->flow.args->interval;
        int64_t began = now();
        code = trip(p, seq);
        if (code == 0) {
            p->times[p->trips++] = now() - began;
        }
        p->lost += code == 1;
    }
    if (p->child_exit != 0) {
        return p->child_exit;
    }
    return code < 0 ? (int)flow_fail(&p->flow, code) : TOOL_DONE;
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double us(const struct ping *p, unsigned percent) {
    size_t at = (p->trips - 1) * percent / 100;
    return (double)p->times[at] / 1000;
}

static void report(struct ping *p, struct text *out) {
    const struct tool_args *args = p->flow.args;
    qsort(p->times, p->trips, sizeof *p->times, compare);
    bool any = p->trips != 0;
    if (args->json) {
        text_print(out, "{\"address\":");
        text_json(out, args->operand, strlen(args->operand));
        text_print(out, ",\"size\":%zu,\"trips\":%zu,\"lost\":%llu", p->size, p->trips, (unsigned long long)p->lost);
        if (any) {
            text_print(out, ",\"min_us\":%.3f,\"p50_us\":%.3f,\"p99_us\":%.3f,\"max_us\":%.3f", us(p, 0), us(p, 50),
                       us(p, 99), us(p, 100));
        }
        text_print(out, "}\n");
        return;
    }
    text_print(out, "%s: %zu round trips of %zu bytes, %llu lost", args->operand, p->trips, p->size,
               (unsigned long long)p->lost);
    if (any) {
        text_print(out, ": min %.2f us, p50 %.2f us, p99 %.2f us, max %.2f us", us(p, 0), us(p, 50), us(p, 99),
                   us(p, 100));
    }
    text_print(out, "\n");
}

static int prepare(struct ping *p, const struct tool_args *args) {
    p->wanted = args->count ? args->count : TRIPS_USUAL;
    p->size = args->size ? (size_t)args->size : SIZE_USUAL;
    if (p->wanted > TRIPS_MOST) {
        tool_say(args, "--count takes at most %d here", TRIPS_MOST);
        return TOOL_USAGE;
    }
    p->times = calloc((size_t)p->wanted, sizeof *p->times);
    p->buffer = calloc(1, p->size);
    if (!p->times || !p->buffer) {
        tool_say(args, "no memory for %llu times and %zu bytes", (unsigned long long)p->wanted, p->size);
        return TOOL_OTHER;
    }
    return TOOL_DONE;
}

static int ping(const struct tool_args *args) {
    static struct ping p;
    static struct text out;
    struct given given = {.fd = -1};
    p.flow.args = args;
    text_init(&out, 1);
    int code = prepare(&p, args);
    code = code != TOOL_DONE ? code : (int)given_look(&given, args, args->operand);
    code = code == TOOL_DONE && args->both && given.connected ? (int)share(&p, args, &given) : code;
    code = code != TOOL_DONE ? code : (int)flow_open(&p.flow, args, THIRL_PAIR, O_RDONLY);
    code = code == TOOL_DONE && args->both && !given.connected ? (int)hand(&p) : code;
    bool begun = code == TOOL_DONE;
    if (!begun && p.child > 0) {
        (void)kill(p.child, SIGTERM); /* it waits for an end that was not opened */
    }
    code = begun ? ask(&p) : code;
    (void)!thirl_close(&p.flow.end, thirl_in_ms(CLOSE_MS));
    if (p.child > 0) {
        (void)waitpid(p.child, NULL, 0); /* it was told that this end is closed */
    }
    if (begun && (p.trips != 0 || p.lost != 0)) {
        report(&p, &out);
    }
    free(p.times);
    free(p.buffer);
    int finished = text_finish(&out, args);
    return flow_finish(&p.flow, code != TOOL_DONE ? code : finished);
}

int tool_ping(const struct tool_args *args) {
    if (flow_role(args, true) != THIRL_PAIR) {
        tool_say(args, "%s has no role that both sends and receives, and a round trip needs that", args->operand);
        return TOOL_USAGE;
    }
    return args->serve ? serve_here(args, false) : ping(args);
}
