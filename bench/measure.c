/* SPDX-License-Identifier: MIT
 *
 * Rounds, percentiles and ratios.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/floor.h"
#include "bench/measure.h"
#include "bench/where.h"

#define ATTEMPTS (MEASURE_ROUNDS * 3)
#define PROBE_DRIFT 1.25 /* a round whose probes differ by more was measured in two regimes */

struct course {
    const struct plan *plan;
    const struct measure_options *options;
    struct report *report;
    uint64_t count[MEASURE_ENTRIES];
    struct sample sample[MEASURE_ENTRIES][ATTEMPTS];
    bool quiet[MEASURE_ENTRIES][ATTEMPTS];                /* by group */
    int attempts[MEASURE_ENTRIES], kept[MEASURE_ENTRIES]; /* by group */
};

static int compare_ticks(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Ticks may be 10 ns apart: equal values stand for an interval, and the rank says where in it. */
static double percentile(const uint32_t *sorted, uint64_t count, double part) {
    double rank = part * (double)count;
    uint64_t at = rank < (double)count ? (uint64_t)rank : count - 1, first = at, past = at;
    while (first > 0 && sorted[first - 1] == sorted[at]) {
        first--;
    }
    while (past < count && sorted[past] == sorted[at]) {
        past++;
    }
    double value = sorted[at];
    double low = first > 0 ? (value + sorted[first - 1]) / 2 : value;
    double high = past < count ? (value + sorted[past]) / 2 : value;
    double inside = (rank - (double)first) / (double)(past - first);
    return stage_ns(low + (high - low) * (inside < 1 ? inside : 1));
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void read_sample(const struct stage *stage, enum measure_kind kind, uint64_t count, struct sample *sample) {
    static uint32_t sorted[STAGE_SAMPLES];
    memset(sample, 0, sizeof *sample);
    if (kind != MEASURE_ROUND) {
        sample->rate = (double)count * 1e9 / (double)(stage->end - stage->begin);
        return;
    }
    double sum = 0;
    for (uint64_t i = 0; i < stage->samples; i++) {
        sum += sorted[i] = stage->sample[i];
    }
    qsort(sorted, stage->samples, sizeof *sorted, compare_ticks);
    sample->p50 = percentile(sorted, stage->samples, 0.5);
    sample->p99 = percentile(sorted, stage->samples, 0.99);
    sample->p999 = percentile(sorted, stage->samples, 0.999);
    sample->rate = (double)stage->samples * 1e9 / stage_ns(sum);
}

static int run_entry(const struct entry *entry, enum measure_kind kind, uint64_t count, struct sample *sample,
                     const char **why) {
    char address[WHERE_MAX];
    struct run run = {.size = entry->size, .ring = entry->ring, .window = entry->window, .count = count};
    stage_cpus(run.cpu);
    if (entry->cpus == 1) {
        run.cpu[0] = run.cpu[1];
    }
    run.warm =
        kind == MEASURE_ROUND ? count / 10 + (count < 1000 ? 50 : 200) : entry->ring * 2 / (entry->size + 8) + 100;
    if (entry->scheme) {
        where_fresh(address, entry->scheme, entry->options);
        run.address = address;
    }
    const struct stage *stage;
    if (stage_run(entry->work, &run, &stage, why)) {
        return -1;
    }
    read_sample(stage, kind, count, sample);
    return 0;
}

/* A short run that tells how many messages the measured one takes. */
static int calibrate(const struct entry *entry, enum measure_kind kind, bool quick, uint64_t *count, const char **why) {
    struct sample sample;
    uint64_t few =
        kind == MEASURE_ROUND ? (quick ? 200 : 500) : entry->ring * 2 / (entry->size + 8) + (quick ? 40 : 200);
    if (run_entry(entry, kind, few, &sample, why)) {
        return -1;
    }
    double wanted = sample.rate * (quick ? 0.03 : kind == MEASURE_ROUND ? 0.15 : 0.08);
    uint64_t least = kind != MEASURE_ROUND ? few * 2 : quick ? 500 : 4000;
    *count = wanted < (double)least ? least : (uint64_t)wanted;
    if (kind == MEASURE_ROUND && *count > STAGE_SAMPLES) {
        *count = STAGE_SAMPLES;
    }
    return 0;
}

static double probe(struct report *report) {
    static const struct entry line = {.work = &floor_line, .size = 8, .ring = 4096, .cpus = 2};
    int cpu[2];
    struct sample sample;
    const char *why;
    if (stage_cpus(cpu) < 2 || run_entry(&line, MEASURE_ROUND, 5000, &sample, &why)) {
        return 0;
    }
    if (report->probe[0] <= 0 || sample.p50 < report->probe[0]) {
        report->probe[0] = sample.p50;
    }
    if (sample.p50 > report->probe[1]) {
        report->probe[1] = sample.p50;
    }
    return sample.p50;
}

static void fail(struct course *course, size_t index, const char *why) {
    snprintf(course->report->result[index].why, sizeof course->report->result[index].why, "%s", why);
}

/* One round of one group; each round begins with another variant, so that none always follows the same. */
static void play_round(struct course *course, unsigned group) {
    const struct plan *plan = course->plan;
    int attempt = course->attempts[group]++;
    double before = probe(course->report);
    for (size_t i = 0; i < plan->count; i++) {
        size_t index = (i + (size_t)attempt) % plan->count;
        const char *why;
        if (plan->entries[index].group == group && !course->report->result[index].why[0] &&
            run_entry(&plan->entries[index], plan->kind, course->count[index], &course->sample[index][attempt], &why)) {
            fail(course, index, why);
        }
    }
    double after = probe(course->report);
    bool quiet = before <= after * PROBE_DRIFT && after <= before * PROBE_DRIFT;
    course->quiet[group][attempt] = quiet;
    course->kept[group] += quiet;
    course->report->dropped += !quiet;
}

static double value_of(const struct sample *sample, enum measure_kind kind) {
    return kind == MEASURE_ROUND ? sample->p50 : sample->rate;
}

/* Fewer than three quiet rounds prove nothing: then all of them count, and the report says so. */
static int collect(const struct course *course, size_t index, const double *(*pick)(const struct sample *),
                   double *out) {
    unsigned group = course->plan->entries[index].group;
    int count = 0;
    for (int i = 0; i < course->attempts[group]; i++) {
        if (course->quiet[group][i] || course->kept[group] < 3) {
            out[count++] = *pick(&course->sample[index][i]);
        }
    }
    return count;
}

static const double *pick_p50(const struct sample *s) {
    return &s->p50;
}

static const double *pick_p99(const struct sample *s) {
    return &s->p99;
}

static const double *pick_p999(const struct sample *s) {
    return &s->p999;
}

static const double *pick_rate(const struct sample *s) {
    return &s->rate;
}

static void take_medians(struct course *course, size_t index) {
    double values[ATTEMPTS] = {0};
    struct sample *to = &course->report->result[index].median;
    to->p50 = median(values, collect(course, index, pick_p50, values));
    to->p99 = median(values, collect(course, index, pick_p99, values));
    to->p999 = median(values, collect(course, index, pick_p999, values));
    to->rate = median(values, collect(course, index, pick_rate, values));
}

/* A ratio of a round is as likely on one side of the median as on the other: so the k-th from below and from above have it between them, but for the chance
 * that fewer than k of n coins show heads, twice. The largest k that is sure enough. */
static void bound_median(struct result *result, const double *sorted, int count) {
    double part = 1, below = 0; /* of 2 to the power of -count: chances of k heads, and of fewer */
    for (int i = 0; i < count; i++) {
        part /= 2;
    }
    for (int k = 1; k <= count / 2 && count >= MEASURE_SURE; k++) {
        below += part;
        part = part * (count - k + 1) / k;
        if (1 - 2 * below < MEASURE_CONFIDENCE) {
            break;
        }
        result->low = sorted[k - 1];
        result->high = sorted[count - k];
        result->confidence = 1 - 2 * below;
    }
}

static void compare(struct course *course, size_t index) {
    const struct plan *plan = course->plan;
    const struct entry *entry = &plan->entries[index];
    struct result *result = &course->report->result[index];
    bool time = plan->kind == MEASURE_ROUND;
    size_t best = plan->count;
    for (size_t i = 0; i < plan->count && !entry->floor; i++) {
        const struct result *other = &course->report->result[i];
        if (!plan->entries[i].floor || plan->entries[i].group != entry->group || other->why[0]) {
            continue;
        }
        double mine = value_of(&other->median, plan->kind);
        if (best == plan->count || (mine < value_of(&course->report->result[best].median, plan->kind)) == time) {
            best = i;
        }
    }
    if (best == plan->count) {
        return;
    }
    double own[ATTEMPTS] = {0}, floor[ATTEMPTS] = {0}, ratio[ATTEMPTS] = {0};
    int count = collect(course, index, time ? pick_p50 : pick_rate, own);
    collect(course, best, time ? pick_p50 : pick_rate, floor);
    for (int i = 0; i < count; i++) {
        ratio[i] = own[i] / floor[i];
    }
    result->floor = &plan->entries[best];
    result->ratio = median(ratio, count); /* sorts */
    result->lowest = ratio[0];
    result->highest = ratio[count - 1];
    bound_median(result, ratio, count);
    result->proven =
        entry->bound > 0 && result->confidence > 0 && (time ? result->low > entry->bound : result->high < entry->bound);
    result->missed = entry->bound > 0 && (time ? result->ratio > entry->bound : result->ratio < entry->bound);
}

int measure_plan(const struct plan *plan, const struct measure_options *options, struct report *report) {
    struct course *course = calloc(1, sizeof *course);
    const char *why;
    int result = 0;
    unsigned groups = 0;
    bool there[MEASURE_ENTRIES] = {false};
    memset(report, 0, sizeof *report);
    report->plan = plan;
    report->rounds = options->rounds;
    if (!course) {
        return -1;
    }
    course->plan = plan;
    course->options = options;
    course->report = report;
    for (size_t i = 0; i < plan->count; i++) {
        there[plan->entries[i].group] = true;
        groups = plan->entries[i].group >= groups ? plan->entries[i].group + 1 : groups;
        if (calibrate(&plan->entries[i], plan->kind, options->quick, &course->count[i], &why)) {
            fail(course, i, why);
        }
    }
    for (int i = 0; i < options->rounds * 3; i++) {
        for (unsigned group = 0; group < groups; group++) {
            if (there[group] && course->kept[group] < options->rounds) {
                play_round(course, group);
            }
        }
    }
    for (unsigned group = 0; group < groups; group++) {
        report->unsteady = report->unsteady || (there[group] && course->kept[group] < options->rounds);
    }
    for (size_t i = 0; i < plan->count; i++) {
        if (report->result[i].why[0]) {
            result = -1;
        } else {
            take_medians(course, i);
        }
    }
    for (size_t i = 0; i < plan->count; i++) {
        if (!report->result[i].why[0]) {
            compare(course, i);
        }
    }
    free(course);
    return result;
}

int measure_entry(const struct entry *entry, enum measure_kind kind, bool quick, struct sample *sample,
                  const char **why) {
    uint64_t count = 0;
    return calibrate(entry, kind, quick, &count, why) || run_entry(entry, kind, count, sample, why) ? -1 : 0;
}
