/* SPDX-License-Identifier: MIT
 *
 * How long each run may take, and the bar.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/survey.h"

#define ROUNDS 5
#define ROUNDS_QUICK 3
#define QUICK 20.0 /* s */
#define USUAL 3.0  /* s for each cell, if nothing is said */
#define PEERS 4    /* of fanout and fanin, if nothing is said */
#define LEAST_RUN 0.005
#define MOST_RUN 2.0
#define START 0.012 /* s: what a run takes beside what is measured: processes, opening, probing */
#define BAR 30

static void show_bar(unsigned done, unsigned count, const struct choice_cell *cell, double passed) {
    char bar[BAR + 1] = {0};
    unsigned full = done * BAR / count;
    for (unsigned i = 0; i < BAR; i++) {
        bar[i] = i < full ? '#' : '.';
    }
    (void)fprintf(stderr, "\r[%s] %3u %%  %4.0f s left  %-9s %-6s %9zu B   ", bar, done * 100 / count,
                  done ? passed / done * (count - done) : 0, cell->mech->name, choice_pattern_name(cell->pattern),
                  cell->size);
    (void)fflush(stderr);
}

static void hide_bar(void) {
    (void)fprintf(stderr, "\r%*s\r", BAR + 60, "");
}

/* A cell is a short run and `rounds` long ones of each of two, as many probes, and one run that counts; what cells took more than they
 * should have, those that follow have less. */
static void fit(struct trial_options *options, int rounds, double left, unsigned cells) {
    double each = left / cells;
    options->rounds = rounds;
    while (options->rounds > 2 && each < (3 * options->rounds + 3) * START + (2 * options->rounds + 1) * LEAST_RUN) {
        options->rounds--;
    }
    double length = (each - (3 * options->rounds + 3) * START) / (2 * options->rounds + 1);
    options->seconds = length < LEAST_RUN ? LEAST_RUN : length > MOST_RUN ? MOST_RUN : length;
}

int survey_run(struct survey *survey, const struct choice *choice, const struct survey_options *wanted) {
    const bool bar = isatty(STDERR_FILENO);
    const double all = wanted->seconds > 0 ? wanted->seconds : wanted->quick ? QUICK : USUAL * choice->cells;
    struct trial_options options = {.rate = choice->rate,
                                    .peers = choice->peers ? choice->peers : PEERS,
                                    .pin = {choice->pin[0], choice->pin[1]},
                                    .census = wanted->census};
    int rounds = wanted->rounds ? wanted->rounds : wanted->quick ? ROUNDS_QUICK : ROUNDS;
    rounds = rounds > TRIAL_ROUNDS ? TRIAL_ROUNDS : rounds;
    options.both = !wanted->quick;
    *survey = (struct survey){.rounds = rounds, .rate = choice->rate};
    survey->trial = calloc(choice->cells ? choice->cells : 1, sizeof *survey->trial);
    if (!survey->trial) {
        (void)fprintf(stderr, "thirl-bench: no memory for %u cells\n", choice->cells);
        return -1;
    }
    scene_begin(&survey->scene);
    for (unsigned i = 0; i < choice->cells; i++) {
        struct trial *trial = &survey->trial[survey->count++];
        double passed = (double)(stage_now() - survey->scene.begun) / 1e9;
        fit(&options, rounds, all - passed, choice->cells - i);
        options.rounds = wanted->rounds ? rounds : options.rounds;
        if (bar) {
            show_bar(i, choice->cells, &choice->cell[i], passed);
        }
        trial_run(&choice->cell[i], &options, trial);
        survey->moved += trial->moved;
        survey->refused += trial->why[0] != 0;
        for (int k = 0; k < 2 && trial->probe[k] > 0; k++) {
            double *line = &survey->scene.line[k];
            if (*line <= 0 || (k ? trial->probe[k] > *line : trial->probe[k] < *line)) {
                *line = trial->probe[k];
            }
        }
    }
    if (bar) {
        hide_bar();
    }
    scene_end(&survey->scene);
    return 0;
}

void survey_deinit(struct survey *survey) {
    free(survey->trial);
    survey->trial = NULL;
}
