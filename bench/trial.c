/* SPDX-License-Identifier: MIT
 *
 * Runs, rounds and ratios of one cell.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/census.h"
#include "bench/end.h"
#include "bench/floor.h"
#include "bench/trial.h"
#include "bench/where.h"

#define FEW_TRIPS 60      /* of the run that tells how many the measured ones take */
#define SMALL 4096        /* bytes of a message */
#define TRIP_QUEUE 262144 /* of shared memory, for round trips of small ones */
#define TOUCHED                                                                                                        \
    512 /* round trips that a whole turn of the queue may take before anything is measured; else half as many as are measured */
#define COUNTED 2000 /* messages whose system calls are counted */

const double trial_part[TRIAL_PARTS] = {0.5, 0.9, 0.99, 0.999, 1};
const char *const trial_part_name[TRIAL_PARTS] = {"p50", "p90", "p99", "p99.9", "max"};

/* One of the two that are compared: thirl or the bare loop. */
struct player {
    const struct work *work;
    const char *scheme; /* NULL: a bare loop */
    char options[120];
    uint64_t ring, warm, count;
    struct trial_figures figures; /* of all rounds together */
    double value[TRIAL_ROUNDS], rate[TRIAL_ROUNDS];
};

static bool is_trip(enum choice_pattern pattern) {
    return pattern == CHOICE_RTT || pattern == CHOICE_CALL;
}

static bool is_spread(enum choice_pattern pattern) {
    return pattern == CHOICE_FANOUT || pattern == CHOICE_FANIN;
}

static uint64_t power_of_two(uint64_t least) {
    uint64_t n = 4096;
    while (n < least) {
        n *= 2;
    }
    return n;
}

/* ---- who plays ---- */

static void choose_ours(struct trial *trial, struct player *player) {
    static const struct work *const works[2][CHOICE_PATTERN_COUNT] = {
        {&trip_copy, &flow_way_copy, &flow_out_copy, &flow_in_copy, &trip_call},
        {&trip_place, &flow_way_place, &flow_out_place, &flow_in_place, NULL}};
    const struct choice_cell *cell = &trial->cell;
    const struct choice_mech *mech = cell->mech;
    const bool signals = strcmp(mech->name, "sig") == 0;
    char queue[40] = "";
    player->work = works[cell->place][cell->pattern];
    player->scheme = cell->pattern == CHOICE_FANOUT && mech->group ? mech->group : mech->scheme;
    player->ring = mech->ring;
    if (mech->wide) {
        player->ring = cell->size * 2 > mech->ring ? power_of_two(cell->size * 2) : mech->ring;
        (void)snprintf(queue, sizeof queue, "queue=%llu&", (unsigned long long)player->ring);
    } else if (mech->ours && is_trip(cell->pattern) && cell->size <= SMALL) {
        /* One message is on its way: of a larger queue it would be the first touch of each page that is measured. */
        player->ring = TRIP_QUEUE;
        (void)snprintf(queue, sizeof queue, "queue=%d&", TRIP_QUEUE);
    }
    (void)snprintf(player->options, sizeof player->options, "%s%s%swait=%s", mech->options, mech->options[0] ? "&" : "",
                   queue, choice_wait_name(cell->wait));
    if (cell->pattern == CHOICE_CALL && cell->place) {
        (void)snprintf(
            trial->why, sizeof trial->why,
            "thirl_call copies its request, and what is received is read in place always: measure call with --copy");
    } else if (cell->wait == CHOICE_SPIN && mech->ours && trial->cpu[0] == trial->cpu[1] && trial->cpu[0] >= 0) {
        (void)snprintf(trial->why, sizeof trial->why, "two processes cannot spin on one processor");
    } else if (signals && cell->size == 4 && cell->pattern == CHOICE_RTT && !cell->place) {
        player->work = &thirl_word;
        player->options[0] = 0;
    } else if (cell->size % 8) {
        (void)snprintf(trial->why, sizeof trial->why,
                       "payload is written and summed by words of 8 bytes; only signals carry 4");
    }
}

static const struct work *choose_shm_floor(const struct trial *trial, const char **name) {
    const struct choice_cell *cell = &trial->cell;
    const bool one = trial->cpu[0] == trial->cpu[1] && trial->cpu[0] >= 0;
    int cpu[2];
    if (is_trip(cell->pattern)) {
        bool sleeps = cell->wait == CHOICE_SLEEP || one || stage_cpus(cpu) < 2;
        *name = sleeps ? "bare futex" : "bare line";
        return cell->place ? sleeps ? &floor_hand_sleep : &floor_hand_spin
               : sleeps    ? &floor_pass_sleep
                           : &floor_pass_spin;
    }
    if (one || stage_cpus(cpu) < 2) {
        *name = NULL; /* they spin */
        return NULL;
    }
    *name = cell->place || cell->size <= 1024 ? "bare packed ring" : "bare memcpy twice";
    return cell->place || cell->size <= 1024 ? &floor_packed : &floor_copy;
}

static void choose_bare(struct trial *trial, struct player *player) {
    static char text[CHOICE_PATTERN_COUNT][40];
    const struct choice_cell *cell = &trial->cell;
    const struct choice_mech *mech = cell->mech;
    player->ring = mech->ring;
    player->work = mech->floor[cell->pattern == CHOICE_CALL ? CHOICE_RTT : cell->pattern];
    trial->floor = NULL;
    if (player->work) {
        (void)snprintf(text[cell->pattern], sizeof *text, "bare %s",
                       mech->ours                        ? "rings"
                       : strcmp(mech->name, "unix") == 0 ? "unix stream"
                       : strcmp(mech->name, "sig") == 0  ? "sigqueue"
                                                         : mech->name);
        trial->floor = text[cell->pattern];
    } else if (mech->ours) {
        player->work = choose_shm_floor(trial, &trial->floor);
    }
    if (mech->ours || mech->wide) {
        const bool trip = mech->ours && is_trip(cell->pattern);
        uint64_t least = cell->size * (cell->pattern == CHOICE_FANIN ? 4 * trial->peers : 4) + 4096;
        player->ring = least > mech->ring || trip ? power_of_two(least) : mech->ring;
    }
    if (trial->floor == NULL) {
        (void)snprintf(trial->floor_why, sizeof trial->floor_why, "there is no bare loop for this");
    }
}

/* ---- one run ---- */

static int play(struct trial *trial, const struct player *player, const struct trial_options *options, bool census,
                const struct stage **stage, const char **why) {
    char address[WHERE_MAX];
    const struct choice_cell *cell = &trial->cell;
    struct run run = {.size = cell->size == 4 ? 8 : cell->size,
                      .ring = player->scheme ? 4096 : player->ring,
                      .warm = player->warm,
                      .count = player->count,
                      .cpu = {trial->cpu[0], trial->cpu[1]},
                      .peers = is_spread(cell->pattern) ? trial->peers : 0,
                      .census = census};
    if (cell->mech->window && !is_trip(cell->pattern)) {
        uint64_t fit = UINT64_C(131072) / cell->size;
        run.window = fit < 1 ? 1 : fit < cell->mech->window ? fit : cell->mech->window;
    }
    if (player->scheme) {
        where_fresh(address, player->scheme, player->options);
        run.address = address;
        if (options->rate > 0) {
            double each = cell->pattern == CHOICE_FANIN ? options->rate / trial->peers : options->rate;
            run.period = 1e9 / each / stage_ns(1);
        }
    }
    return stage_run(player->work, &run, stage, why);
}

/* What the run had, added to what is known. */
static void read_run(const struct trial *trial, struct player *player, const struct stage *stage, double *value,
                     double *rate) {
    static struct hist hist;
    const uint64_t total = player->warm + player->count;
    const bool spread = is_spread(trial->cell.pattern);
    const double deliveries = trial->cell.pattern == CHOICE_FANOUT ? trial->peers : 1;
    double user = 0, system = 0;
    memset(&hist, 0, sizeof hist);
    for (unsigned i = 0; i <= (spread ? trial->peers : 1); i++) {
        hist_merge(&hist, &stage->share[i].hist);
        user += (double)stage->share[i].user;
        system += (double)stage->share[i].system;
    }
    for (uint64_t i = 0; i < stage->samples; i++) {
        hist_add(&hist, stage->sample[i]);
    }
    *rate =
        stage->end > stage->begin ? (double)player->count * deliveries * 1e9 / (double)(stage->end - stage->begin) : 0;
    *value = hist.count ? stage_ns(hist_at(&hist, 0.5)) : *rate > 0 ? 1e9 / *rate : 0;
    hist_merge(&player->figures.hist, &hist);
    player->figures.user += user / ((double)total * deliveries);
    player->figures.system += system / ((double)total * deliveries);
}

/* How many messages a run of the wanted length has, by a short one. */
static int calibrate(struct trial *trial, struct player *player, const struct trial_options *options,
                     const char **why) {
    const struct stage *stage;
    const bool trip = is_trip(trial->cell.pattern);
    const uint64_t turns = player->ring / (trial->cell.size + 8);
    const bool touched = player->scheme && trial->cell.mech->ours; /* pages that nobody has touched yet */
    const uint64_t once = touched && turns <= TOUCHED ? turns : 0;
    player->warm = trip ? 20 + once : touched ? turns + 10 : turns / 4 + 10;
    player->count = trip ? FEW_TRIPS : turns / 2 + 40;
    if (options->rate > 0) {
        double each = options->rate * options->seconds;
        player->count = each < 10 ? 10 : (uint64_t)each;
        player->warm = player->count / 10 + 1;
        if (player->scheme) {
            return 0;
        }
        player->count = FEW_TRIPS;
    }
    if (play(trial, player, options, false, &stage, why)) {
        return -1;
    }
    double value, rate;
    read_run(trial, player, stage, &value, &rate);
    memset(&player->figures, 0, sizeof player->figures);
    if (trial->cell.pattern == CHOICE_FANOUT) {
        rate /= trial->peers; /* deliveries */
    }
    double wanted = options->seconds * (trip ? 1e9 / value : rate);
    player->count = wanted < 30 ? 30 : (uint64_t)wanted;
    if (trip && player->count > STAGE_SAMPLES && !player->scheme) {
        player->count = STAGE_SAMPLES;
    }
    if (trip) {
        uint64_t fit = player->count / 2 < turns ? player->count / 2 : turns;
        player->warm = player->count / 10 + 20 + (once || !touched ? once : fit);
    } else {
        player->warm = touched ? turns + 10 : turns * 2 < player->count ? turns * 2 + 10 : player->count;
    }
    return 0;
}

static void finish(struct player *player, int rounds) {
    struct trial_figures *figures = &player->figures;
    for (int i = 0; i < TRIAL_PARTS && figures->hist.count; i++) {
        double beyond = (1 - trial_part[i]) * (double)figures->hist.count;
        figures->part[i] = trial_part[i] >= 1 ? stage_ns((double)figures->hist.most)
                           : beyond >= 1      ? stage_ns(hist_at(&figures->hist, trial_part[i]))
                                              : 0;
    }
    figures->user /= rounds;
    figures->system /= rounds;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(const double *values, int count) {
    double sorted[TRIAL_ROUNDS];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

double trial_probe(void) {
    struct run run = {.size = 8, .ring = 4096, .warm = 500, .count = 4000};
    const struct stage *stage;
    const char *why;
    static struct hist hist;
    if (stage_cpus(run.cpu) < 2 || stage_run(&floor_pass_spin, &run, &stage, &why)) {
        return 0;
    }
    memset(&hist, 0, sizeof hist);
    hist_merge(&hist, &stage->share[STAGE_PING].hist);
    return stage_ns(hist_at(&hist, 0.5));
}

static void widen(double span[2], double value) {
    if (value > 0) {
        span[0] = span[0] <= 0 || value < span[0] ? value : span[0];
        span[1] = value > span[1] ? value : span[1];
    }
}

/* A run apart, since counting makes every call slower. */
static void count_calls(struct trial *trial, struct player *player, const struct trial_options *options,
                        char why_not[200]) {
    const struct stage *stage;
    const char *why;
    const uint64_t count = player->count, warm = player->warm;
    const double deliveries = trial->cell.pattern == CHOICE_FANOUT ? trial->peers : 1;
    uint64_t calls = 0;
    player->figures.calls = -1;
    if (!options->census) {
        (void)snprintf(why_not, 200, "not asked for");
        return;
    }
    player->count = count < COUNTED ? count : COUNTED;
    player->warm = warm < player->count ? warm : player->count;
    int result = play(trial, player, options, true, &stage, &why);
    if (result) {
        (void)snprintf(why_not, 200, "%s", why);
    } else {
        why_not[0] = 0;
        for (unsigned i = 0; i <= STAGE_PEERS; i++) {
            calls += stage->share[i].calls;
            if (stage->share[i].messages && stage->share[i].why[0]) {
                (void)snprintf(why_not, 200, "%s", stage->share[i].why);
            }
        }
        if (!why_not[0]) {
            player->figures.calls = (double)calls / ((double)(player->count + player->warm) * deliveries);
        }
    }
    player->count = count;
    player->warm = warm;
}

static void compare(struct trial *trial, const struct player *ours, const struct player *bare) {
    double ratio[TRIAL_ROUNDS] = {0}, rates[TRIAL_ROUNDS] = {0};
    for (int i = 0; i < trial->rounds; i++) {
        const double *mine = trial->timed ? ours->value : ours->rate, *other = trial->timed ? bare->value : bare->rate;
        ratio[i] = other[i] > 0 ? mine[i] / other[i] : 0;
        rates[i] = bare->rate[i] > 0 ? ours->rate[i] / bare->rate[i] : 0;
    }
    trial->ratio = median_of(ratio, trial->rounds);
    trial->rate_ratio = median_of(rates, trial->rounds);
    qsort(ratio, (size_t)trial->rounds, sizeof *ratio, compare_doubles);
    trial->lowest = ratio[0];
    trial->highest = ratio[trial->rounds - 1];
    trial->bare.rate = median_of(bare->rate, trial->rounds);
    trial->moved = trial->floor_span[1] > trial->floor_span[0] * TRIAL_DRIFT;
}

/* Thirl and the bare loop, in turns of which each is the first as often. -1: thirl has no figures. */
static int play_rounds(struct trial *trial, struct player *player, const struct trial_options *options) {
    const char *why;
    const struct stage *stage;
    for (int round = 0; round < options->rounds; round++) {
        widen(trial->probe, trial_probe());
        for (int turn = 0; turn < 2; turn++) {
            int who = (round + turn) % 2;
            if (who == 1 && (!trial->floor || trial->floor_why[0])) {
                continue;
            }
            if (play(trial, &player[who], options, false, &stage, &why)) {
                (void)snprintf(who ? trial->floor_why : trial->why, sizeof trial->why, "%s", why);
                if (who == 0) {
                    return -1;
                }
                continue;
            }
            read_run(trial, &player[who], stage, &player[who].value[round], &player[who].rate[round]);
            if (who == 1) {
                widen(trial->floor_span, player[1].value[round]);
            }
        }
    }
    return 0;
}

void trial_run(const struct choice_cell *cell, const struct trial_options *options, struct trial *trial) {
    static struct player player[2];
    const char *why;
    char unused[200];
    memset(trial, 0, sizeof *trial);
    memset(player, 0, sizeof player);
    trial->cell = *cell;
    trial->peers = is_spread(cell->pattern) ? options->peers : 0;
    trial->rounds = options->rounds;
    trial->seconds = options->seconds;
    trial->ours.calls = trial->bare.calls = -1;
    stage_cpus(trial->cpu);
    for (int i = 0; i < 2; i++) {
        trial->cpu[i] = options->pin[i] == -2 ? (is_spread(cell->pattern) ? -1 : trial->cpu[i]) : options->pin[i];
    }
    choose_ours(trial, &player[0]);
    if (trial->why[0]) {
        return;
    }
    choose_bare(trial, &player[1]);
    if (calibrate(trial, &player[0], options, &why)) {
        (void)snprintf(trial->why, sizeof trial->why, "%s", why);
        return;
    }
    if (trial->floor && calibrate(trial, &player[1], options, &why)) {
        (void)snprintf(trial->floor_why, sizeof trial->floor_why, "%s", why);
    }
    if (play_rounds(trial, player, options)) {
        return;
    }
    count_calls(trial, &player[0], options, trial->calls_why);
    finish(&player[0], trial->rounds);
    player[0].figures.rate = median_of(player[0].rate, trial->rounds);
    trial->timed = player[0].figures.hist.count > 0 && is_trip(cell->pattern);
    trial->slow = options->rate > 0 && player[0].figures.rate > 0 &&
                  player[0].figures.rate < options->rate * 0.98 * (cell->pattern == CHOICE_FANOUT ? trial->peers : 1);
    if (trial->floor && !trial->floor_why[0]) {
        if (options->both) {
            count_calls(trial, &player[1], options, unused);
        } else {
            player[1].figures.calls = -1;
        }
        finish(&player[1], trial->rounds);
        trial->bare = player[1].figures;
        compare(trial, &player[0], &player[1]);
    }
    trial->ours = player[0].figures;
}
