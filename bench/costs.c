/* SPDX-License-Identifier: MIT
 *
 * Written aside and renamed: a reader never sees half of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thirl/thirl.h>

#include "bench/costs.h"

static int complain(const char *path) {
    (void)fprintf(stderr, "thirl-bench: %s: %s\n", path, strerror(errno));
    return -1;
}

/* The directory, which is made; its parent too, if only that is missing. */
static int make_directory(char *path, size_t capacity) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') {
        (void)snprintf(path, capacity, "%s", cache);
    } else if (home && home[0] == '/') {
        (void)snprintf(path, capacity, "%s/.cache", home);
    } else {
        (void)fprintf(stderr, "thirl-bench: --save: neither XDG_CACHE_HOME nor HOME says where to\n");
        return -1;
    }
    if (mkdir(path, 0700) && errno != EEXIST) {
        return complain(path);
    }
    (void)snprintf(path + strlen(path), capacity - strlen(path), "/thirl");
    return mkdir(path, 0700) && errno != EEXIST ? complain(path) : 0;
}

static void write_costs(FILE *file, const struct survey *survey) {
    const struct scene *scene = &survey->scene;
    (void)fprintf(
        file,
        "thirl-costs 1\nmachine cpu %s\nmachine kernel %s\nmachine line_ns %.0f\nmachine when %s\nmachine by %s\n",
        scene->cpu, scene->kernel, scene->line[0], scene->when, THIRL_VERSION);
    for (unsigned i = 0; i < survey->count; i++) {
        const struct trial *trial = &survey->trial[i];
        const struct trial_figures *ours = &trial->ours;
        if (trial->why[0]) {
            continue;
        }
        double floor = trial->timed ? trial->bare.part[0] : trial->bare.rate > 0 ? 1e9 / trial->bare.rate : 0;
        (void)fprintf(file, "cost %s %s %zu %s %s %.0f %.0f %.0f %.0f %.0f %.0f %.0f\n", trial->cell.mech->name,
                      choice_pattern_name(trial->cell.pattern), trial->cell.size, choice_wait_name(trial->cell.wait),
                      trial->cell.place ? "place" : "copy", ours->part[0], ours->part[2], ours->part[3],
                      trial->timed ? 0 : ours->rate, ours->user + ours->system,
                      ours->calls < 0 ? -1 : ours->calls * 1000, floor);
    }
}

int costs_save(const struct survey *survey) {
    char path[512], aside[600];
    const char *given = getenv("THIRL_COSTS");
    if (given && given[0]) {
        (void)snprintf(path, sizeof path, "%s", given);
    } else if (make_directory(path, sizeof path - 8) == 0) {
        (void)snprintf(path + strlen(path), sizeof path - strlen(path), "/costs");
    } else {
        return -1;
    }
    (void)snprintf(aside, sizeof aside, "%s.%d", path, (int)getpid());
    FILE *file = fopen(aside, "we");
    if (!file) {
        return complain(aside);
    }
    write_costs(file, survey);
    bool bad = ferror(file) != 0;
    if (fclose(file) || bad || rename(aside, path)) {
        int code = errno;
        (void)unlink(aside);
        errno = code;
        return complain(path);
    }
    (void)fprintf(stderr, "thirl-bench: wrote %s\n", path);
    return 0;
}
