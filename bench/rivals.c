/* SPDX-License-Identifier: MIT
 *
 * Running the programs in turns, and their table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/floor.h"
#include "bench/print.h"
#include "bench/rivals.h"

#define SIZE 64
#define ROUNDS 25

static const struct {
    const char *program, *package;
} known[] = {
    {"thirl", NULL},
    {"awake", NULL},
    {"call", NULL},
    {"prompt", NULL},
    {"socket", NULL},
    {"zmq", "libzmq3-dev"},
    {"nng", "libnng-dev"},
    {"sdbus", "libsystemd-dev"},
    {"boost", "libboost-dev"},
    {"iceoryx", "libiceoryx-posh-dev, and run with iceoryx"},
    {"cyclone", "cyclonedds-dev"},
    {"nats", "libnats-dev, and run with nats-server"},
    {"mq", NULL},
    {"thirl", NULL},
};
#define KNOWN (sizeof known / sizeof *known)

struct rival {
    char name[80], path[1100];
    double p50[ROUNDS], p99[ROUNDS], rate[ROUNDS];
    bool there, lost; /* lost: it has failed */
};

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* What a program prints in one line; NULL when it fails. */
static char *ask(const struct rival *rival, const char *words, char *line, int capacity) {
    char command[1300];
    (void)snprintf(command, sizeof command, "timeout 60 '%s' %s", rival->path, words);
    FILE *pipe = popen(command, "re"); // NOLINT(cert-env33-c): a path of this program's own
    char *got = pipe ? fgets(line, capacity, pipe) : NULL;
    int status = pipe ? pclose(pipe) : -1;
    if (got) {
        line[strcspn(line, "\n")] = 0;
    }
    return status == 0 ? got : NULL;
}

static void find(struct rival *rival, size_t index) {
    char self[1000], *slash;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    slash = strrchr(self, '/');
    if (slash) {
        *slash = 0;
    }
    (void)snprintf(rival->path, sizeof rival->path, "%s/peer/%s", self, known[index].program);
    rival->there = access(rival->path, X_OK) == 0 && ask(rival, "name", rival->name, sizeof rival->name);
}

static void play(struct rival *rival, int round, double seconds) {
    char words[60], line[100], *rest;
    (void)snprintf(words, sizeof words, "rtt %d %g", SIZE, seconds);
    if (!ask(rival, words, line, sizeof line)) {
        rival->lost = true;
        return;
    }
    rival->p50[round] = strtod(line, &rest);
    rival->p99[round] = strtod(rest, NULL);
    (void)snprintf(words, sizeof words, "oneway %d %g", SIZE, seconds);
    rival->rate[round] = ask(rival, words, line, sizeof line) ? strtod(line, NULL) : 0;
}

static double floor_now(const struct work *work, double *p99) {
    static struct hist hist;
    struct run run = {.size = SIZE, .ring = 4096, .warm = 200, .count = 2000};
    const struct stage *stage;
    const char *why;
    stage_cpus(run.cpu);
    if (stage_run(work, &run, &stage, &why)) {
        return 0;
    }
    memset(&hist, 0, sizeof hist);
    hist_merge(&hist, &stage->share[STAGE_PING].hist);
    *p99 = stage_ns(hist_at(&hist, 0.99));
    return stage_ns(hist_at(&hist, 0.5));
}

static void print_row(const char *name, double p50, double p99, double rate, double floor, bool markdown) {
    char a[24], b[24], c[24] = "-", d[24];
    print_time(a, p50);
    print_time(b, p99);
    if (rate > 0) {
        (void)snprintf(c, sizeof c, rate >= 1e6 ? "%.2f M/s" : "%.1f k/s", rate / (rate >= 1e6 ? 1e6 : 1e3));
    }
    double ratio = floor > 0 ? p50 / floor : 0;
    (void)snprintf(d, sizeof d, ratio < 0.1 ? "%.1g" : "%.2f", ratio);
    (void)printf(markdown ? "| %s | %s | %s | %s | %s |\n" : "%-34s %12s %12s %8s %14s\n", name, a, b, d, c);
}

int rivals_run(int rounds, double seconds, bool markdown) {
    static struct rival rival[KNOWN];
    double floor[ROUNDS], tail[ROUNDS] = {0}, line[ROUNDS], far[ROUNDS] = {0};
    rounds = rounds > ROUNDS ? ROUNDS : rounds;
    for (size_t i = 0; i < KNOWN; i++) {
        find(&rival[i], i);
        if (!rival[i].there) {
            (void)fprintf(stderr, "thirl-bench: peer/%s is not here%s%s\n", known[i].program,
                          known[i].package ? ": it is built with the Debian package " : "",
                          known[i].package ? known[i].package : "");
        }
    }
    for (int round = 0; round < rounds; round++) {
        floor[round] = floor_now(&floor_pass_sleep, &tail[round]);
        line[round] = floor_now(&floor_pass_spin, &far[round]);
        for (size_t i = 0; i < KNOWN; i++) {
            if (rival[i].there && !rival[i].lost) {
                play(&rival[i], round, seconds);
            }
        }
    }
    double bare = middle(floor, rounds);
    (void)printf(markdown ? "| %s | %s | %s | %s | %s |\n|---|---|---|---|---|\n" : "%-34s %12s %12s %8s %14s\n",
                 "64 B, two processes", "there and back", "p99", "x floor", "one way");
    print_row("bare futex (the floor), sleeping", bare, middle(tail, rounds), 0, bare, markdown);
    print_row("bare cache line, spinning", middle(line, rounds), middle(far, rounds), 0, bare, markdown);
    for (size_t i = 0; i < KNOWN; i++) {
        struct rival *r = &rival[i];
        if (r->there && !r->lost) {
            char name[100];
            (void)snprintf(name, sizeof name, "%.79s%s", r->name, i + 1 == KNOWN ? ", again" : "");
            print_row(name, middle(r->p50, rounds), middle(r->p99, rounds), middle(r->rate, rounds), bare, markdown);
        }
    }
    return rival[0].there && !rival[0].lost ? 0 : -1;
}
