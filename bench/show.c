/* SPDX-License-Identifier: MIT
 *
 * Tables and lines.
 */
#include <string.h>

#include "bench/census.h"
#include "bench/print.h"
#include "bench/show.h"

#define GIB (1024.0 * 1024.0 * 1024.0)
#define STEP 1.06 /* from one interval of a histogram to the next */

static const char *copy_word(const struct trial *trial) {
    return trial->cell.place ? "place" : "copy";
}

static double cpu_of(const struct trial_figures *figures) {
    return figures->user + figures->system;
}

static double floor_ns(const struct trial *trial) {
    return trial->timed ? trial->bare.part[0] : trial->bare.rate > 0 ? 1e9 / trial->bare.rate : 0;
}

/* ---- for people ---- */

static void time_text(char text[24], double ns) {
    text[0] = '-';
    text[1] = 0;
    if (ns > 0) {
        print_time(text, ns);
    }
}

static void rate_text(char text[24], double rate) {
    if (rate <= 0) {
        (void)snprintf(text, 24, "-");
    } else {
        (void)snprintf(text, 24, rate >= 1e6 ? "%.2f M/s" : "%.1f k/s", rate / (rate >= 1e6 ? 1e6 : 1e3));
    }
}

static void bytes_text(char text[24], const struct trial *trial) {
    double rate = trial->ours.rate * (double)trial->cell.size;
    if (rate <= 0) {
        (void)snprintf(text, 24, "-");
    } else {
        (void)snprintf(text, 24, rate >= GIB / 10 ? "%.2f GiB/s" : "%.1f MiB/s",
                       rate / (rate >= GIB / 10 ? GIB : GIB / 1024));
    }
}

static void calls_text(char text[24], double calls) {
    (void)snprintf(text, 24, calls < 0 ? "-" : calls < 10 ? "%.2f" : "%.1f", calls);
}

static void say_scene(FILE *file, const struct survey *survey, const char *before, const char *after) {
    const struct scene *scene = &survey->scene;
    (void)fprintf(file, "%s%s, %d processor%s, %s, Linux %s, governor %s, load %.1f%s\n", before, scene->cpu,
                  scene->processors, scene->processors == 1 ? "" : "s", scene->shared, scene->kernel, scene->governor,
                  scene->load, after);
    (void)fprintf(
        file,
        "%sa line of cache there and back: %.0f to %.0f ns; stolen by the host: %.1f %%; %s, %.0f s, %d rounds%s\n",
        before, scene->line[0], scene->line[1], scene->steal * 100, scene->when, scene->seconds, survey->rounds, after);
}

static void say_warnings(FILE *file, const struct survey *survey) {
    if (survey->moved) {
        (void)fprintf(
            file,
            "~ the floor itself moved by more than %.0f %% during %u of these: trust the ratio, and neither figure\n",
            (TRIAL_DRIFT - 1) * 100, survey->moved);
    }
    if (survey->scene.steal > 0.02) {
        (void)fprintf(file, "! the host gave %.1f %% of the processors' time to others meanwhile\n",
                      survey->scene.steal * 100);
    }
    for (unsigned i = 0; i < survey->count; i++) {
        const struct trial *trial = &survey->trial[i];
        if (!trial->why[0] && trial->calls_why[0] && strcmp(trial->calls_why, "not asked for") != 0) {
            (void)fprintf(file, "  system calls: %s\n", trial->calls_why);
            break;
        }
    }
}

void show_table(FILE *file, const struct survey *survey) {
    char t[TRIAL_PARTS][24], rate[24], bytes[24], cpu[24], calls[24], floor[24], size[24];
    say_scene(file, survey, "", "");
    (void)fprintf(file, "%-9s %-7s %8s %-8s %-5s", "mech", "pattern", "size", "wait", "");
    for (int i = 0; i < TRIAL_PARTS; i++) {
        (void)fprintf(file, " %9s", trial_part_name[i]);
    }
    (void)fprintf(file, " %10s %12s %9s %6s %9s  %s\n", "messages", "bytes", "cpu/msg", "calls", "floor",
                  "ratio [range]");
    for (unsigned i = 0; i < survey->count; i++) {
        const struct trial *trial = &survey->trial[i];
        print_size(size, trial->cell.size);
        (void)fprintf(file, "%-9s %-7s %8s %-8s %-5s", trial->cell.mech->name, choice_pattern_name(trial->cell.pattern),
                      size, choice_wait_name(trial->cell.wait), copy_word(trial));
        if (trial->why[0]) {
            (void)fprintf(file, "  not measured: %s\n", trial->why);
            continue;
        }
        for (int k = 0; k < TRIAL_PARTS; k++) {
            time_text(t[k], trial->ours.part[k]);
            (void)fprintf(file, " %9s", t[k]);
        }
        rate_text(rate, trial->ours.rate);
        bytes_text(bytes, trial);
        time_text(cpu, cpu_of(&trial->ours));
        calls_text(calls, trial->ours.calls);
        time_text(floor, floor_ns(trial));
        (void)fprintf(file, " %10s %12s %9s %6s %9s", rate, bytes, cpu, calls, floor);
        if (trial->ratio > 0) {
            (void)fprintf(file, "  %.2f [%.2f..%.2f]", trial->ratio, trial->lowest, trial->highest);
        }
        (void)fprintf(file, "%s%s\n", trial->moved ? " ~" : "", trial->slow ? " did not keep up with the rate" : "");
    }
    (void)fprintf(
        file,
        "ratio: of times in round trips and calls (less is better), else of messages a second (more is better)\n");
    say_warnings(file, survey);
}

void show_markdown(FILE *file, const struct survey *survey) {
    char a[24], b[24], c[24], d[24], e[24], f[24], size[24];
    (void)fprintf(file, "| Mechanism | Pattern | Size | Waiting | p50 | p99 | p99.9 | Messages | Bytes | CPU | Calls | "
                        "Bare loop | Ratio "
                        "[range] |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (unsigned i = 0; i < survey->count; i++) {
        const struct trial *trial = &survey->trial[i];
        print_size(size, trial->cell.size);
        (void)fprintf(file, "| %s%s | %s | %s | %s |", trial->cell.mech->name, trial->cell.place ? ", in place" : "",
                      choice_pattern_name(trial->cell.pattern), size, choice_wait_name(trial->cell.wait));
        if (trial->why[0]) {
            (void)fprintf(file, " %s | | | | | | | | |\n", trial->why);
            continue;
        }
        time_text(a, trial->ours.part[0]);
        time_text(b, trial->ours.part[2]);
        time_text(c, trial->ours.part[3]);
        rate_text(d, trial->ours.rate);
        bytes_text(e, trial);
        time_text(f, cpu_of(&trial->ours));
        (void)fprintf(file, " %s | %s | %s | %s | %s | %s |", a, b, c, d, e, f);
        calls_text(a, trial->ours.calls);
        time_text(b, floor_ns(trial));
        (void)fprintf(file, " %s | %s |", a, b);
        if (trial->ratio > 0) {
            (void)fprintf(file, " %.2f [%.2f..%.2f]%s", trial->ratio, trial->lowest, trial->highest,
                          trial->moved ? " ~" : "");
        }
        (void)fprintf(file, " |\n");
    }
    (void)fputc('\n', file);
    say_scene(file, survey, "", "  ");
}

/* ---- for programs ---- */

static void csv_number(FILE *file, double value, const char *format) {
    (void)fputc(',', file);
    if (value > 0) {
        (void)fprintf(file, format, value); // NOLINT(clang-diagnostic-format-nonliteral)
    }
}

void show_csv(FILE *file, const struct survey *survey) {
    (void)fprintf(
        file, "mech,pattern,size,wait,copy,p50_ns,p90_ns,p99_ns,p99.9_ns,max_ns,messages_per_s,bytes_per_s,cpu_user_ns,"
              "cpu_system_ns,calls,floor_ns,floor_cpu_ns,ratio,ratio_low,ratio_high,moved,why\n");
    for (unsigned i = 0; i < survey->count; i++) {
        const struct trial *trial = &survey->trial[i];
        (void)fprintf(file, "%s,%s,%zu,%s,%s", trial->cell.mech->name, choice_pattern_name(trial->cell.pattern),
                      trial->cell.size, choice_wait_name(trial->cell.wait), copy_word(trial));
        for (int k = 0; k < TRIAL_PARTS; k++) {
            csv_number(file, trial->ours.part[k], "%.1f");
        }
        csv_number(file, trial->ours.rate, "%.0f");
        csv_number(file, trial->ours.rate * (double)trial->cell.size, "%.0f");
        csv_number(file, trial->ours.user, "%.1f");
        csv_number(file, trial->ours.system, "%.1f");
        if (trial->ours.calls < 0 || trial->why[0]) {
            (void)fputc(',', file);
        } else {
            (void)fprintf(file, ",%.4f", trial->ours.calls);
        }
        csv_number(file, floor_ns(trial), "%.1f");
        csv_number(file, cpu_of(&trial->bare), "%.1f");
        csv_number(file, trial->ratio, "%.4f");
        csv_number(file, trial->lowest, "%.4f");
        csv_number(file, trial->highest, "%.4f");
        (void)fprintf(file, ",%d,\"", trial->moved);
        for (const char *c = trial->why; *c; c++) {
            (void)fprintf(file, *c == '"' ? "\"\"" : "%c", *c);
        }
        (void)fprintf(file, "\"\n");
    }
}

static void json_number(FILE *file, const char *name, double value, const char *before) {
    (void)fprintf(file, value > 0 ? "%s\"%s\":%.6g" : "%s\"%s\":null", before, name, value);
}

static void json_why(FILE *file, const char *name, const char *why) {
    if (why[0]) {
        (void)fprintf(file, ",\"%s\":", name);
        print_text(file, why);
    }
}

static void json_figure(FILE *file, const char *name, double value, double floor, double ratio, bool first) {
    (void)fprintf(file, "%s\"%s\":{", first ? "" : ",", name);
    json_number(file, "value", value, "");
    json_number(file, "floor", floor, ",");
    json_number(file, "ratio", ratio > 0 ? ratio : value > 0 && floor > 0 ? value / floor : 0, ",");
    (void)fputc('}', file);
}

/* Intervals of equal width on a logarithmic scale, from the first that occurs to the last. */
static void json_hist(FILE *file, const struct trial *trial) {
    const struct hist *hist = &trial->ours.hist;
    if (hist->count == 0) {
        (void)fprintf(file, ",\"histogram\":[]");
        return;
    }
    (void)fprintf(file, ",\"histogram\":[");
    double from = stage_ns((double)hist->least);
    uint64_t sum = 0;
    bool any = false;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        sum += hist->bucket[i];
        double to = stage_ns((double)(hist_first(i) + hist_width(i)));
        if (sum && (to > from * STEP || i + 1 == HIST_BUCKETS)) {
            (void)fprintf(file, "%s[%.5g,%llu]", any ? "," : "", to, (unsigned long long)sum);
            any = true;
            sum = 0;
        }
        if (to > from * STEP) {
            from = to;
        }
    }
    (void)fputc(']', file);
}

static void json_cell(FILE *file, const struct survey *survey, const struct trial *trial) {
    (void)fprintf(file, "{\"mech\":\"%s\",\"pattern\":\"%s\",\"size\":%zu,\"wait\":\"%s\",\"copy\":\"%s\",\"peers\":%u",
                  trial->cell.mech->name, choice_pattern_name(trial->cell.pattern), trial->cell.size,
                  choice_wait_name(trial->cell.wait), copy_word(trial), trial->peers ? trial->peers : 1);
    if (trial->why[0]) {
        json_why(file, "why", trial->why);
        (void)fputc('}', file);
        return;
    }
    if (trial->cpu[0] >= 0) {
        (void)fprintf(file, ",\"pinned\":[%d,%d]", trial->cpu[0], trial->cpu[1]);
    } else {
        (void)fprintf(file, ",\"pinned\":null");
    }
    json_number(file, "rate_asked", survey->rate, ",");
    (void)fprintf(file, ",\"samples\":%llu,\"rounds\":%d", (unsigned long long)trial->ours.hist.count, trial->rounds);
    (void)fprintf(file, ",\"latency_ns\":{");
    for (int i = 0; i < TRIAL_PARTS; i++) {
        json_figure(file, trial_part_name[i], trial->ours.part[i], trial->bare.part[i],
                    i == 0 && trial->timed ? trial->ratio : 0, i == 0);
    }
    (void)fprintf(file, "},\"throughput\":{");
    json_figure(file, "messages_per_s", trial->ours.rate, trial->bare.rate, trial->rate_ratio, true);
    json_figure(file, "bytes_per_s", trial->ours.rate * (double)trial->cell.size,
                trial->bare.rate * (double)trial->cell.size, trial->rate_ratio, false);
    (void)fprintf(file, "},\"cpu_ns\":{");
    json_figure(file, "user", trial->ours.user, trial->bare.user, 0, true);
    json_figure(file, "system", trial->ours.system, trial->bare.system, 0, false);
    json_figure(file, "both", cpu_of(&trial->ours), cpu_of(&trial->bare), 0, false);
    (void)fprintf(file, "},\"system_calls\":{");
    if (trial->ours.calls < 0) {
        (void)fprintf(file, "\"value\":null,\"floor\":null,\"ratio\":null");
        json_why(file, "why", trial->calls_why);
    } else {
        (void)fprintf(file, "\"value\":%.4f,", trial->ours.calls);
        if (trial->bare.calls >= 0 && trial->bare.rate + trial->bare.part[0] > 0) {
            (void)fprintf(file, "\"floor\":%.4f,", trial->bare.calls);
        } else {
            (void)fprintf(file, "\"floor\":null,");
        }
        json_number(file, "ratio", trial->bare.calls > 0 ? trial->ours.calls / trial->bare.calls : 0, "");
        (void)fprintf(file, ",\"how\":\"%s\"", CENSUS_HOW);
    }
    (void)fprintf(file, "},\"floor\":");
    if (trial->floor && trial->ratio > 0) {
        (void)fprintf(file, "{\"name\":\"%s\",\"ns\":%.6g,\"least\":%.6g,\"most\":%.6g}", trial->floor, floor_ns(trial),
                      trial->floor_span[0], trial->floor_span[1]);
    } else {
        (void)fprintf(file, "null");
        json_why(file, "floor_why", trial->floor_why);
    }
    json_number(file, "ratio", trial->ratio, ",");
    if (trial->ratio > 0) {
        (void)fprintf(file, ",\"ratio_range\":[%.4f,%.4f]", trial->lowest, trial->highest);
    }
    (void)fprintf(file, ",\"floor_moved\":%s,\"line_ns\":[%.1f,%.1f],\"kept_up\":%s", trial->moved ? "true" : "false",
                  trial->probe[0], trial->probe[1], trial->slow ? "false" : "true");
    json_hist(file, trial);
    (void)fputc('}', file);
}

void show_json(FILE *file, const struct survey *survey) {
    const struct scene *scene = &survey->scene;
    (void)fprintf(file, "{\"format\":\"thirl-bench 1\",\"environment\":{\"cpu\":");
    print_text(file, scene->cpu);
    (void)fprintf(file, ",\"kernel\":");
    print_text(file, scene->kernel);
    (void)fprintf(file, ",\"governor\":");
    print_text(file, scene->governor);
    (void)fprintf(file,
                  ",\"processors\":%d,\"shared_cache\":\"%s\",\"load\":%.2f,\"steal\":%.5f,\"line_ns\":[%.1f,%.1f]",
                  scene->processors, scene->shared, scene->load, scene->steal, scene->line[0], scene->line[1]);
    (void)fprintf(file, ",\"when\":\"%s\",\"seconds\":%.1f,\"rounds\":%d},\"results\":[", scene->when, scene->seconds,
                  survey->rounds);
    for (unsigned i = 0; i < survey->count; i++) {
        (void)fprintf(file, i ? ",\n" : "\n");
        json_cell(file, survey, &survey->trial[i]);
    }
    (void)fprintf(file, "\n]}\n");
}
