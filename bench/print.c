/* SPDX-License-Identifier: MIT
 *
 * Tables and lines on stdout; JSON where the caller wants it.
 */
#include <string.h>

#include "bench/print.h"

#define GIB (1024.0 * 1024.0 * 1024.0)

void print_time(char out[static 24], double ns) {
    if (ns < 1000) {
        snprintf(out, 24, "%.0f ns", ns);
    } else if (ns < 1e6) {
        snprintf(out, 24, ns < 1e5 ? "%.2f us" : "%.0f us", ns / 1e3);
    } else {
        snprintf(out, 24, "%.2f ms", ns / 1e6);
    }
}

void print_size(char out[static 24], uint64_t size) {
    if (size >= 1 << 20 && size % (1 << 20) == 0) {
        snprintf(out, 24, "%llu MiB", (unsigned long long)(size >> 20));
    } else if (size >= 1024 && size % 1024 == 0) {
        snprintf(out, 24, "%llu KiB", (unsigned long long)(size >> 10));
    } else {
        snprintf(out, 24, "%llu B", (unsigned long long)size);
    }
}

static void write_rate(char out[static 24], enum measure_kind kind, double rate, size_t size) {
    if (kind == MEASURE_BYTES) {
        snprintf(out, 24, "%.2f GiB/s", rate * (double)size / GIB);
    } else {
        snprintf(out, 24, rate >= 1e6 ? "%.1f M/s" : "%.3f M/s", rate / 1e6);
    }
}

static void write_figure(char out[static 24], enum measure_kind kind, const struct sample *sample, size_t size) {
    if (kind == MEASURE_ROUND) {
        print_time(out, sample->p50);
    } else {
        write_rate(out, kind, sample->rate, size);
    }
}

static const char *sign_of(enum measure_kind kind) {
    return kind == MEASURE_ROUND ? "<=" : ">=";
}

static const struct result *result_of(const struct report *report, const struct entry *entry) {
    return &report->result[entry - report->plan->entries];
}

static void print_ratio(const struct report *report, const struct entry *entry) {
    const struct result *result = result_of(report, entry);
    const char *mark = entry->floor ? "floor" : "";
    char figure[24];
    if (!result->floor) {
        printf("  %s\n", mark);
        return;
    }
    write_figure(figure, report->plan->kind, &result_of(report, result->floor)->median, result->floor->size);
    printf("  %-14s %5.2f [%.2f..%.2f]", figure, result->ratio, result->lowest, result->highest);
    if (entry->bound > 0) {
        printf("  %s %.2f  %s", sign_of(report->plan->kind), entry->bound, result->missed ? "OVER" : "ok");
        if (result->missed && result->confidence > 0) {
            printf(result->proven ? ", proven: " : ", within the noise: ");
            printf("%.2f..%.2f with %.0f %%", result->low, result->high, result->confidence * 100);
        }
    }
    printf("\n");
}

static void print_row(const struct report *report, const struct entry *entry) {
    const struct result *result = result_of(report, entry);
    enum measure_kind kind = report->plan->kind;
    char size[24], ring[24], a[24], b[24], c[24];
    print_size(size, entry->size);
    print_size(ring, entry->ring);
    printf("  %-26s %8s %8s %4d", entry->variant, size, kind == MEASURE_ROUND ? "" : ring, entry->cpus);
    if (result->why[0]) {
        printf("  failed: %s\n", result->why);
        return;
    }
    if (kind == MEASURE_ROUND) {
        print_time(a, result->median.p50);
        print_time(b, result->median.p99);
        print_time(c, result->median.p999);
        printf(" %10s %10s %10s", a, b, c);
    } else {
        write_rate(a, MEASURE_MESSAGES, result->median.rate, entry->size);
        write_rate(b, MEASURE_BYTES, result->median.rate, entry->size);
        printf(" %10s %21s", a, b);
    }
    print_ratio(report, entry);
}

void print_table(const struct report *report) {
    const struct plan *plan = report->plan;
    printf("%s: %s\n", plan->name, plan->summary);
    printf("  %-26s %8s %8s %4s", "variant", "size", plan->kind == MEASURE_ROUND ? "" : "ring", "cpus");
    if (plan->kind == MEASURE_ROUND) {
        printf(" %10s %10s %10s", "p50", "p99", "p99.9");
    } else {
        printf(" %10s %21s", "messages", "bytes");
    }
    printf("  %-14s ratio [range]        bound\n", "floor");
    for (size_t i = 0; i < plan->count; i++) {
        print_row(report, &plan->entries[i]);
    }
    printf("  median of %d rounds; %d dropped because the machine changed under them", report->rounds, report->dropped);
    printf("%s; cache-line probe %.0f to %.0f ns\n\n", report->unsteady ? "; UNSTEADY: too few quiet rounds" : "",
           report->probe[0], report->probe[1]);
    fflush(stdout);
}

void print_markdown_head(void) {
    printf("| What | Size | thirl | p99 | Bare floor | Ratio [range] | Bound |\n");
    printf("|---|---|---|---|---|---|---|\n");
}

void print_markdown(const struct report *report) {
    const struct plan *plan = report->plan;
    for (size_t i = 0; i < plan->count; i++) {
        const struct entry *entry = &plan->entries[i];
        const struct result *result = &report->result[i];
        char size[24], own[24], floor[24], tail[24] = "", ring[24];
        if (!result->floor) {
            continue;
        }
        print_size(size, entry->size);
        print_size(ring, entry->ring);
        write_figure(own, plan->kind, &result->median, entry->size);
        write_figure(floor, plan->kind, &result_of(report, result->floor)->median, result->floor->size);
        if (plan->kind == MEASURE_ROUND) {
            print_time(tail, result->median.p99);
        }
        printf("| `%s`: %s%s%s%s | %s | %s | %s | %s (%s) | %.2f [%.2f..%.2f] |", plan->name, entry->variant,
               entry->cpus == 1 ? ", one processor" : "", plan->kind == MEASURE_MESSAGES ? ", ring " : "",
               plan->kind == MEASURE_MESSAGES ? ring : "", size, own, tail, floor, result->floor->variant,
               result->ratio, result->lowest, result->highest);
        if (entry->bound > 0) {
            printf(" %s %.2f%s", sign_of(plan->kind), entry->bound, result->missed ? " **over**" : "");
        }
        printf(" |\n");
    }
    fflush(stdout);
}

void print_text(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', file);
        }
        if ((unsigned char)*text >= ' ') {
            fputc(*text, file);
        }
    }
    fputc('"', file);
}

void print_json(FILE *file, const struct report *report, bool first) {
    const struct plan *plan = report->plan;
    for (size_t i = 0; i < plan->count; i++) {
        const struct entry *entry = &plan->entries[i];
        const struct result *result = &report->result[i];
        fprintf(file, "%s\n{\"case\":\"%s\",\"variant\":\"%s\",\"size\":%zu,\"ring\":%llu,\"cpus\":%d",
                first && i == 0 ? "" : ",", plan->name, entry->variant, entry->size, (unsigned long long)entry->ring,
                entry->cpus);
        if (result->why[0]) {
            fprintf(file, ",\"failed\":");
            print_text(file, result->why);
        } else if (plan->kind == MEASURE_ROUND) {
            fprintf(file, ",\"p50_ns\":%.1f,\"p99_ns\":%.1f,\"p999_ns\":%.1f", result->median.p50, result->median.p99,
                    result->median.p999);
        } else {
            fprintf(file, ",\"messages_per_s\":%.0f,\"bytes_per_s\":%.0f", result->median.rate,
                    result->median.rate * (double)entry->size);
        }
        if (result->floor) {
            fprintf(file, ",\"floor\":\"%s\",\"ratio\":%.4f,\"lowest\":%.4f,\"highest\":%.4f", result->floor->variant,
                    result->ratio, result->lowest, result->highest);
        }
        if (result->floor && entry->bound > 0) {
            fprintf(file, ",\"bound\":%.3f,\"holds\":%s", entry->bound, result->missed ? "false" : "true");
        }
        fprintf(file, ",\"rounds\":%d,\"dropped\":%d,\"unsteady\":%s,\"probe_ns\":[%.1f,%.1f]}", report->rounds,
                report->dropped, report->unsteady ? "true" : "false", report->probe[0], report->probe[1]);
    }
}

void print_line(const char *name, enum measure_kind kind, const struct sample *sample, size_t size) {
    if (kind == MEASURE_ROUND) {
        printf("%s p50 %.1f ns p99 %.1f ns\n", name, sample->p50, sample->p99);
    } else {
        printf("%s rate %.3f GiB/s\n", name, sample->rate * (double)size / GIB);
    }
}
