/* SPDX-License-Identifier: MIT
 *
 * All cells that were chosen, measured one after the other, with a bar on a terminal's standard error that says how far it is.
 */
#ifndef BENCH_SURVEY_H
#define BENCH_SURVEY_H

#include "bench/scene.h"
#include "bench/trial.h"

struct survey {
    struct scene scene;
    struct trial *trial;
    unsigned count;
    int rounds;
    double rate; /* messages a second that were asked for; 0: as fast as they go */
    unsigned moved, refused;
};

struct survey_options {
    int rounds;     /* 0: as many as fit */
    bool quick;     /* some 20 s for all of it */
    double seconds; /* for all of it; 0: not said */
    bool census;
};

/* 0; -1: no memory. Until survey_deinit. */
int survey_run(struct survey *, const struct choice *, const struct survey_options *);
void survey_deinit(struct survey *);

#endif
