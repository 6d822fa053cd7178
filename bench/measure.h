/* SPDX-License-Identifier: MIT
 *
 * Measuring a plan: its variants interleaved in rounds, thirl beside its floors, a cache-line probe before and behind.
 * Figures are medians over rounds; ratios are made within a round, then the median of those is taken.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "bench/stage.h"

#define MEASURE_ENTRIES 48 /* most variants in a plan */
#define MEASURE_ROUNDS 100 /* most rounds that can be asked for */

#define MEASURE_SURE 6 /* rounds from which on their range says something */
#define MEASURE_CONFIDENCE 0.95

enum measure_kind {
    MEASURE_ROUND,    /* round-trip times; a ratio is time over the floor's time, and a bound its upper limit */
    MEASURE_MESSAGES, /* messages a second; a ratio is rate over the floor's rate, and a bound its lower limit */
    MEASURE_BYTES,    /* bytes a second; likewise */
};

/* One variant at one size. Those of one group are measured side by side: thirl's against the best of the floors. */
struct entry {
    unsigned group;
    const char *variant;
    const struct work *work;
    /* Of thirl's address: "shm://", "wait=spin", with a fresh name between them (behind a colon a port, in pipe:// nothing);
     * without options (NULL) the scheme is the whole address; without a scheme there is none: a bare floor. */
    const char *scheme, *options;
    size_t size;
    uint64_t ring;   /* bytes of the ring or socket buffer, also where options says so for thirl */
    uint64_t window; /* see stage.h */
    int cpus;        /* the two processes share one processor, or have one each */
    bool floor;      /* others of the group are compared with it */
    double bound;    /* 0: none */
};

struct plan {
    const char *name, *summary;
    enum measure_kind kind;
    bool headline; /* one of those in the README's table */
    const struct entry *entries;
    size_t count;
};

struct sample {
    double p50, p99, p999; /* of round trips, ns */
    double rate;           /* messages a second; of round trips: round trips a second */
};

struct result {
    struct sample median;
    const struct entry *floor; /* NULL: compared with none */
    double ratio, lowest, highest;
    bool missed; /* the bound does not hold */
    /* Where the median of the ratios lies with that confidence, by how many rounds were on each side, whatever their distribution; 0 with
     * fewer than MEASURE_SURE rounds. proven: not even the better end of it holds the bound. */
    double low, high, confidence;
    bool proven;
    char why[300]; /* why there is no figure, "" when there is one */
};

struct report {
    const struct plan *plan;
    int rounds, dropped; /* kept in each group; dropped in all of them together */
    bool unsteady;       /* fewer quiet rounds than asked for; below three, figures come from all of them */
    double probe[2];     /* lowest and highest p50 of the probe, ns: the machine's regime; 0 with one processor */
    struct result result[MEASURE_ENTRIES];
};

struct measure_options {
    int rounds;
    bool quick;
};

/* -1 when a variant failed; the others have their figures. */
int measure_plan(const struct plan *, const struct measure_options *, struct report *);

/* One entry alone, once and without rounds. 0, or -1 with the reason. */
int measure_entry(const struct entry *, enum measure_kind, bool quick, struct sample *, const char **why);

#endif
