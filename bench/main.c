/* SPDX-License-Identifier: MIT
 *
 * thirl-bench: thirl beside the bare floors on this machine: named cases, or a survey of what was chosen; without either, of every mechanism.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/costs.h"
#include "bench/end.h"
#include "bench/page.h"
#include "bench/path.h"
#include "bench/plan.h"
#include "bench/print.h"
#include "bench/rivals.h"
#include "bench/show.h"
#include "bench/wake.h"

#define BLOCK (256 * 1024) /* of the verb rate */

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_BOUND = 3 };

static const char usage[] =
    "usage: thirl bench [CHOICE…] [OUTPUT…]      a survey of what was chosen; without a choice, of every mechanism\n"
    "       thirl bench [OPTION…] CASE…          named cases, each with its bound\n"
    "\n"
    "Choice: --mech shm,unix,seqpacket,datagram,tcp,udp,mq,sysv,pipe,fifo,sig    --pattern "
    "rtt,oneway,fanout,fanin,call\n"
    "        --size 8,64,4K,...,16M    --wait adaptive,spin,sleep    --copy    --zero-copy\n"
    "        --peers N (of fanout and fanin)    --pin CPU,CPU    --no-pin    --rate N (a second, by intended start)\n"
    "        --quick (some 20 s)    --seconds S (all of it)    --rounds N\n"
    "Output: a table; --json [FILE], --csv [FILE], --md [FILE] instead; --html FILE, a page of its own; --save, for "
    "thirl advise\n"
    "\n"
    "       thirl bench list                the cases; all: every one\n"
    "       thirl bench [--rounds N] [--quick] [--cpus N] [--size BYTES] [--json FILE] [--gate] [--guard] [--markdown] "
    "CASE…\n"
    "       thirl bench --realtime [--rounds N] [--quick]    how long wake-ups take, as a histogram\n"
    "       thirl bench --peers [--rounds N] [--quick] [--md]    thirl beside other libraries, in one table\n"
    "       thirl bench table --markdown    the headline cases in one table\n"
    "       thirl bench rtt ADDRESS         round trip of 64 B: one line\n"
    "       thirl bench rate ADDRESS        one way in place, blocks of 256 KiB or the largest message: one line\n"
    "       thirl bench floor-copy | floor-rtt-spin    shared memory's floor alone: one line\n"
    "       thirl bench floor-X | floor-rtt-X          likewise, X one of: stream seqpacket datagram tcp tcp6 udp "
    "pipe\n"
    "                                                  fifo mq sysv; floor-rtt-sig\n"
    "       thirl bench count-spin N | count-call N | count-sleep N    N round trips, for counting system calls\n"
    "       thirl bench count-path [NAME N]    hot paths; one of them so often in this process, for counting "
    "instructions\n"
    "Exit status: 0 measured; 1 a variant failed; 2 wrong usage; 3 a bound is missed, with --gate; and by more than "
    "the noise, with --guard.\n";

static struct {
    struct measure_options measure;
    struct choice choice;
    const char *json, *csv, *md, *html; /* files, "-" for standard output */
    bool gate, guard, markdown, peers, realtime, save;
    int rounds;         /* that were asked for; 0: none */
    int cpus;           /* only what runs on so many processors; 0: all */
    size_t size;        /* of named cases only messages of that size; 0: all */
    char directory[64]; /* the registry of this run; "" when the user has set one */
} self = {.measure = {.rounds = 7}};

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *walk) {
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_registry(void) {
    if (self.directory[0]) {
        nftw(self.directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
}

/* A registry of its own: what is measured is not what else runs here. */
static int make_registry(void) {
    const char *set = getenv("THIRL_DIR");
    if (set && set[0]) {
        return 0;
    }
    char path[] = "/dev/shm/thirl-bench-XXXXXX";
    if (!mkdtemp(path)) {
        fprintf(stderr, "thirl-bench: %s: %s\n", path, strerror(errno));
        return -1;
    }
    snprintf(self.directory, sizeof self.directory, "%s", path);
    return setenv("THIRL_DIR", path, 1);
}

static int list(void) {
    for (size_t i = 0; i < plan_count; i++) {
        printf("%-14s %s\n", plan_table[i].name, plan_table[i].summary);
    }
    return 0;
}

/* The part of a plan that is wanted. */
static const struct plan *narrow(const struct plan *plan) {
    static struct entry entries[MEASURE_ENTRIES];
    static struct plan part;
    part = *plan;
    part.entries = entries;
    part.count = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const struct entry *entry = &plan->entries[i];
        if ((!self.cpus || entry->cpus == self.cpus) && (!self.size || entry->size == self.size)) {
            entries[part.count++] = *entry;
        }
    }
    return &part;
}

/* --json writes each case as soon as it is known. */
static int run_plans(const struct plan *const *plans, size_t count) {
    static struct report report;
    int result = 0, cpu[2];
    bool first = true;
    FILE *json = !self.json ? NULL : strcmp(self.json, "-") == 0 ? stdout : fopen(self.json, "we");
    if (self.json && !json) {
        fprintf(stderr, "thirl-bench: %s: %s\n", self.json, strerror(errno));
        return EXIT_FAILED;
    }
    if (stage_cpus(cpu) < 2) {
        fprintf(stderr, "thirl-bench: only one processor: figures for two say nothing here\n");
    }
    if (json) {
        fputc('[', json);
    }
    if (self.markdown && json != stdout) {
        print_markdown_head();
    }
    for (size_t i = 0; i < count; i++) {
        const struct plan *plan = narrow(plans[i]);
        if (plan->count && measure_plan(plan, &self.measure, &report)) {
            result = EXIT_FAILED;
        }
        for (size_t k = 0; k < plan->count; k++) {
            if (self.markdown && report.result[k].why[0]) {
                fprintf(stderr, "thirl-bench: %s: %s\n", plan->name, report.result[k].why);
            }
            if (result == 0 && (self.gate ? report.result[k].missed : self.guard && report.result[k].proven)) {
                result = EXIT_BOUND;
            }
        }
        if (plan->count && json != stdout) {
            (self.markdown ? print_markdown : print_table)(&report);
        }
        if (json && plan->count) {
            print_json(json, &report, first);
            first = false;
        }
    }
    if (json) {
        fputs("\n]\n", json);
        if (json == stdout ? fflush(json) : fclose(json)) {
            fprintf(stderr, "thirl-bench: %s: %s\n", self.json, strerror(errno));
            result = EXIT_FAILED;
        }
    }
    return result;
}

static int measure_one(const char *name, const struct entry *entry, enum measure_kind kind) {
    struct sample sample;
    const char *why;
    if (measure_entry(entry, kind, true, &sample, &why)) {
        fprintf(stderr, "thirl-bench: %s: %s\n", name, why);
        return EXIT_FAILED;
    }
    print_line(name, kind, &sample, entry->size);
    return 0;
}

static int measure_address(const char *verb, const char *address) {
    struct entry entry = {.scheme = address, .cpus = 2, .ring = 4 << 20};
    enum measure_kind kind = strcmp(verb, "rtt") == 0 ? MEASURE_ROUND : MEASURE_BYTES;
    entry.work = kind == MEASURE_BYTES ? &thirl_place : strncmp(address, "sig:", 4) == 0 ? &thirl_word : &thirl_round;
    entry.size = kind == MEASURE_ROUND ? 64 : BLOCK;
    if (kind == MEASURE_BYTES) {
        struct run run = {.address = address};
        const struct stage *stage;
        const char *why;
        stage_cpus(run.cpu);
        if (stage_run(&end_limits, &run, &stage, &why)) {
            fprintf(stderr, "thirl-bench: %s: %s\n", verb, why);
            return EXIT_FAILED;
        }
        if (stage->samples < entry.size) {
            entry.size = stage->samples / 8 * 8;
        }
    }
    return measure_one(verb, &entry, kind);
}

/* Nothing but round trips, so that a tracer sees what they cost: the warm-up is the same for every N. */
static int count_calls(const char *name, const char *text) {
    struct run run = {.size = 48, .ring = 4096, .warm = 2000, .count = strtoull(text, NULL, 10)};
    const struct stage *stage;
    const char *why;
    char address[80];
    bool calls = strcmp(name, "count-call") == 0, spin = calls || strcmp(name, "count-spin") == 0;
    snprintf(address, sizeof address, "shm://thirl-bench-%d?wait=%s", (int)getpid(), spin ? "spin" : "sleep");
    run.address = address;
    if (stage_cpus(run.cpu) < 2 && spin) {
        fprintf(stderr, "thirl-bench: %s: two processes cannot spin on one processor\n", name);
        return EXIT_FAILED;
    }
    if (stage_run(calls ? &thirl_asking : &thirl_round, &run, &stage, &why)) {
        fprintf(stderr, "thirl-bench: %s: %s\n", name, why);
        return EXIT_FAILED;
    }
    printf("%s round-trips %llu allocations %llu %llu threads %llu %llu\n", name, (unsigned long long)run.count,
           (unsigned long long)stage->allocations[0], (unsigned long long)stage->allocations[1],
           (unsigned long long)stage->threads[0], (unsigned long long)stage->threads[1]);
    return 0;
}

/* To a file, or to standard output where it is "-". */
static int write_out(const char *path, void show(FILE *, const struct survey *), const struct survey *survey) {
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    if (!file) {
        fprintf(stderr, "thirl-bench: %s: %s\n", path, strerror(errno));
        return EXIT_FAILED;
    }
    show(file, survey);
    bool bad = ferror(file) != 0;
    if ((file == stdout ? fflush(file) : fclose(file)) || bad) {
        fprintf(stderr, "thirl-bench: %s: %s\n", path, strerror(errno));
        return EXIT_FAILED;
    }
    return 0;
}

static int run_survey(void) {
    struct choice *choice = &self.choice;
    struct survey survey;
    struct survey_options options = {
        .rounds = self.rounds, .quick = self.measure.quick, .seconds = choice->seconds, .census = true};
    int result = 0, cpu[2];
    if (self.save && !choice->free && !choice->sizes) {
        double seconds = choice->seconds;
        choice_cells_saved(choice, options.quick);
        options.seconds = seconds > 0 ? seconds : options.quick ? 20 : 60;
    } else {
        choice_cells(choice, options.quick);
    }
    if (stage_cpus(cpu) < 2) {
        fprintf(stderr, "thirl-bench: only one processor: figures for two say nothing here\n");
    }
    if (survey_run(&survey, choice, &options)) {
        return EXIT_FAILED;
    }
    bool other = (self.json && strcmp(self.json, "-") == 0) || (self.csv && strcmp(self.csv, "-") == 0) ||
                 (self.md && strcmp(self.md, "-") == 0) || (self.html && strcmp(self.html, "-") == 0);
    if (!other) {
        show_table(stdout, &survey);
    }
    result = self.json && write_out(self.json, show_json, &survey) ? EXIT_FAILED : result;
    result = self.csv && write_out(self.csv, show_csv, &survey) ? EXIT_FAILED : result;
    result = self.md && write_out(self.md, show_markdown, &survey) ? EXIT_FAILED : result;
    result = self.html && write_out(self.html, page_write, &survey) ? EXIT_FAILED : result;
    result = self.save && costs_save(&survey) ? EXIT_FAILED : result;
    result = survey.refused == survey.count ? EXIT_FAILED : result;
    survey_deinit(&survey);
    return result;
}

static int run_cases(char **names, int count) {
    const struct plan *plans[64];
    size_t chosen = 0;
    bool table = count == 1 && strcmp(names[0], "table") == 0;
    if (count == 1 && strcmp(names[0], "all") == 0) {
        count = 0;
    }
    for (size_t i = 0; i < plan_count && (count == 0 || table); i++) {
        if (!table || plan_table[i].headline) {
            plans[chosen++] = &plan_table[i];
        }
    }
    for (int i = 0; i < count && !table && chosen < 64; i++) {
        plans[chosen] = plan_find(names[i]);
        if (!plans[chosen++]) {
            fprintf(stderr, "thirl-bench: there is no case \"%s\"; see thirl-bench list\n", names[i]);
            return EXIT_USAGE;
        }
    }
    return run_plans(plans, chosen);
}

static int dispatch(char **names, int count) {
    enum measure_kind kind;
    if (self.peers) {
        return rivals_run(self.rounds          ? self.rounds
                          : self.measure.quick ? 3
                                               : 7,
                          self.measure.quick ? 0.1 : 0.3, self.markdown || self.md)
                   ? EXIT_FAILED
                   : 0;
    }
    if (count == 0 && !self.gate && !self.guard && !self.markdown && !self.cpus) {
        return run_survey();
    }
    if (self.choice.free || self.csv || self.md || self.html || self.save) {
        fprintf(stderr, "thirl-bench: a named case and a free choice exclude each other\n");
        return EXIT_USAGE;
    }
    self.size = self.choice.sizes ? self.choice.size[0] : 0;
    const struct entry *single = count == 1 ? plan_single(names[0], &kind) : NULL;
    if (single) {
        return measure_one(names[0], single, kind);
    }
    if (count == 1 && strcmp(names[0], "list") == 0) {
        return list();
    }
    if (count == 2 && (strcmp(names[0], "rtt") == 0 || strcmp(names[0], "rate") == 0)) {
        return measure_address(names[0], names[1]);
    }
    if (count == 1 && strcmp(names[0], "count-path") == 0) {
        path_list();
        return 0;
    }
    if (count == 3 && strcmp(names[0], "count-path") == 0) {
        int rc = path_go(names[1], strtoull(names[2], NULL, 10));
        return rc == -2 ? EXIT_USAGE : rc ? EXIT_FAILED : 0;
    }
    if (count == 2 && (strcmp(names[0], "count-spin") == 0 || strcmp(names[0], "count-call") == 0 ||
                       strcmp(names[0], "count-sleep") == 0)) {
        return count_calls(names[0], names[1]);
    }
    return run_cases(names, count);
}

/* The file behind an option that may have one: the next word, unless it is an option or a case. */
static const char *read_file(int argc, char **argv, int *i) {
    enum measure_kind kind;
    const char *next = *i + 1 < argc ? argv[*i + 1] : "--";
    if ((next[0] == '-' && next[1]) || plan_find(next) || plan_single(next, &kind) || strcmp(next, "all") == 0) {
        return "-";
    }
    ++*i;
    return next;
}

/* Takes the options out of the arguments. How many are left, or -1; -2: a sentence was said. */
static int read_options(int argc, char **argv) {
    int left = 0;
    choice_init(&self.choice);
    for (int i = 1; i < argc; i++) {
        bool alone = strcmp(argv[i], "--peers") == 0 && (i + 1 == argc || argv[i + 1][0] == '-');
        int chosen = alone ? 0 : choice_option(&self.choice, argc, argv, &i);
        if (chosen) {
            if (chosen < 0) {
                return -2;
            }
        } else if (strcmp(argv[i], "--quick") == 0) {
            self.measure.quick = true;
        } else if (strcmp(argv[i], "--gate") == 0) {
            self.gate = true;
        } else if (strcmp(argv[i], "--guard") == 0) {
            self.guard = true;
        } else if (alone) {
            self.peers = true;
        } else if (strcmp(argv[i], "--realtime") == 0) {
            self.realtime = true;
        } else if (strcmp(argv[i], "--markdown") == 0) {
            self.markdown = true;
        } else if (strcmp(argv[i], "--save") == 0) {
            self.save = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            self.json = read_file(argc, argv, &i);
        } else if (strcmp(argv[i], "--csv") == 0) {
            self.csv = read_file(argc, argv, &i);
        } else if (strcmp(argv[i], "--md") == 0) {
            self.md = read_file(argc, argv, &i);
        } else if (strcmp(argv[i], "--html") == 0 && i + 1 < argc) {
            self.html = argv[++i];
        } else if (strcmp(argv[i], "--cpus") == 0 && i + 1 < argc) {
            self.cpus = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
            self.measure.rounds = self.rounds = atoi(argv[++i]);
            if (self.measure.rounds < 1 || self.measure.rounds > MEASURE_ROUNDS) {
                return -1;
            }
        } else if (argv[i][0] == '-') {
            return -1;
        } else {
            argv[left++] = argv[i];
        }
    }
    return left;
}

int main(int argc, char **argv) {
    bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    int count = help ? 0 : read_options(argc, argv);
    if (count == -2) {
        return EXIT_USAGE;
    }
    if (count < 0 || help || (self.realtime && count != 0)) {
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : EXIT_USAGE;
    }
    if (stage_init() || make_registry()) {
        return EXIT_FAILED;
    }
    int result = !self.realtime                                            ? dispatch(argv, count)
                 : wake_show(self.measure.rounds, self.measure.quick) != 0 ? EXIT_FAILED
                                                                           : 0;
    remove_registry();
    return result;
}
