/* SPDX-License-Identifier: MIT
 *
 * Measuring one cell of what was chosen: thirl and the bare loop beside it in turns, between two looks at how far the processors are from
 * each other; and once more with system calls counted.
 */
#ifndef BENCH_TRIAL_H
#define BENCH_TRIAL_H

#include "bench/choice.h"

#define TRIAL_ROUNDS 25 /* most rounds */

/* The percentiles that are shown; the last one is the longest of all. */
#define TRIAL_PARTS 5
extern const double trial_part[TRIAL_PARTS];
extern const char *const trial_part_name[TRIAL_PARTS]; /* "p50", …, "max" */

struct trial_figures {
    double part[TRIAL_PARTS]; /* ns; 0: there is none, or too few round trips for it */
    double rate;              /* messages a second; of round trips and calls: of those */
    double user, system;      /* processor time of all processes for each message, ns */
    double calls;             /* system calls likewise; -1: calls_why says why not */
    struct hist hist;         /* ticks */
};

struct trial {
    struct choice_cell cell;
    char why[400]; /* why there are no figures, "" when there are */
    struct trial_figures ours, bare;
    const char *floor;   /* what the bare loop is; NULL: there is none */
    char floor_why[400]; /* why it has no figures */
    char calls_why[200];
    double ratio, lowest, highest; /* of times where there are times, else of rates; median and range of the rounds */
    double rate_ratio;             /* of rates, where the bare loop has one */
    bool timed;                    /* round trips or a rate: there are times */
    unsigned peers;
    int cpu[2];
    int rounds;
    double seconds;       /* of one run */
    double floor_span[2]; /* least and most that the bare loop took in a round, ns */
    double probe[2];      /* a line there and back, ns; 0 on one processor */
    bool moved; /* the floor did, by more than TRIAL_DRIFT: the figures of one moment do not say much of another */
    bool slow;  /* it did not keep up with the rate that was asked for */
};
#define TRIAL_DRIFT 1.25

/* What it takes, beside the cell: for all of them the same. */
struct trial_options {
    int rounds;
    double seconds; /* of one run */
    double rate;
    unsigned peers;    /* of fanout and fanin */
    int pin[2];        /* -2: usual */
    bool census, both; /* counts system calls; of the bare loop too */
};

/* Always fills in the trial. */
void trial_run(const struct choice_cell *, const struct trial_options *, struct trial *);

/* A line there and back, now; 0 on one processor. */
double trial_probe(void);

#endif
