/* SPDX-License-Identifier: MIT
 *
 * The costs file, see costs.h.
 */
#define _GNU_SOURCE
#include "mech/costs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"

#define VERSION 1
#define FILE_MAX ((size_t)4 << 20)
#define LINE_LONGEST 255
#define FAR 16 /* times the largest size that was measured: more is another matter */
#define WORDS 13
#define KEPT 80 /* of what the machine says of itself */

const char *const costs_names[COSTS_MECH_COUNT] = {
#define NAME(name, text) text,
    COSTS_MECHS(NAME)
#undef NAME
};
static const char *const patterns[] = {"rtt", "oneway", "fanout", "fanin", "call"};
static const char *const waits[] = {"adaptive", "spin", "sleep"}; /* as enum thirl_wait_mode */
static const char *const ways[] = {"copy", "place"};
#define COUNT(list) (sizeof(list) / sizeof *(list))

static int find(const char *const *names, size_t count, const char *word) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], word) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* The whole word as a number from 0 up; -1: it is none, or means "not counted". */
static int64_t number(const char *word) {
    char *end;
    if (*word < '0' || *word > '9') {
        return -1;
    }
    errno = 0;
    long long value = strtoll(word, &end, 10);
    return *end == '\0' && errno == 0 ? value : -1;
}

/* Cuts a line into words; how many there are, the last one with all that is left. */
static size_t split(char *line, char *words[WORDS], size_t most) {
    size_t count = 0;
    for (char *at = line; count < most;) {
        at += strspn(at, " \t");
        if (*at == '\0') {
            break;
        }
        words[count++] = at;
        at += count == most ? strlen(at) : strcspn(at, " \t");
        if (*at != '\0') {
            *at++ = '\0';
        }
    }
    return count;
}

static bool read_cost(char *text, struct costs_line *line) {
    char *word[WORDS];
    if (split(text, word, WORDS) != WORDS) {
        return false;
    }
    int mech = find(costs_names, COSTS_MECH_COUNT, word[1]), pattern = find(patterns, COUNT(patterns), word[2]);
    int wait = find(waits, COUNT(waits), word[4]), way = find(ways, COUNT(ways), word[5]);
    int64_t size = number(word[3]), p50 = number(word[6]), p99 = number(word[7]), rate = number(word[9]);
    int64_t cpu = number(word[10]);
    if (mech < 0 || pattern < 0 || wait < 0 || way < 0 || size <= 0 || p50 < 0 || p99 < 0 || rate < 0) {
        return false;
    }
    *line = (struct costs_line){(uint8_t)mech, (uint8_t)pattern, (uint8_t)wait, (uint8_t)way, (uint64_t)size, p50, p99,
                                rate,          cpu < 0 ? 0 : cpu};
    return true;
}

static int add(struct costs *costs, const struct costs_line *line, size_t *room) {
    if (costs->count == *room) {
        size_t more = *room == 0 ? 256 : 2 * *room;
        struct costs_line *grown = realloc(costs->line, more * sizeof *grown);
        if (grown == NULL) {
            return err_say(ENOMEM, "no memory for the costs of mechanisms");
        }
        costs->line = grown;
        *room = more;
    }
    costs->line[costs->count++] = *line;
    return 0;
}

static int compare(const void *a, const void *b) {
    const struct costs_line *x = a, *y = b;
    int order = x->mech != y->mech         ? x->mech - y->mech
                : x->pattern != y->pattern ? x->pattern - y->pattern
                : x->wait != y->wait       ? x->wait - y->wait
                                           : x->place - y->place;
    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

static void note(const char *text, const char *key, char kept[KEPT]) {
    size_t length = strlen(key);
    if (strncmp(text, "machine ", 8) == 0 && strncmp(text + 8, key, length) == 0 && text[8 + length] == ' ') {
        (void)snprintf(kept, KEPT, "%s", text + 9 + length);
        for (char *c = kept; *c != '\0'; c++) {
            *c = (char)((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c);
        }
    }
}

/* The first line; false: there are none of ours. */
static int check_head(const char *line, const char *shown) {
    static const char head[] = "thirl-costs ";
    if (strncmp(line, head, sizeof head - 1) != 0) {
        return err_say(THIRL_EFORMAT, "%s is no file of costs: it does not begin with thirl-costs", shown);
    }
    if (number(line + sizeof head - 1) != VERSION) {
        return err_say(THIRL_EVERSION, "%s has costs of format %.20s, this library reads format %d", shown,
                       line + sizeof head - 1, VERSION);
    }
    return 0;
}

int costs_read(struct costs *costs, const char *text, size_t size, const char *shown) {
    char line[LINE_LONGEST + 1] = "", cpu[KEPT] = "", when[KEPT] = "";
    size_t room = 0;
    *costs = (struct costs){.count = 0};
    for (size_t at = 0, lines = 0; at < size; lines++) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t length = end == NULL ? size - at : (size_t)(end - (text + at));
        bool fits = length <= LINE_LONGEST;
        memcpy(line, text + at, fits ? length : 0);
        line[fits ? length : 0] = '\0';
        at += length + 1;
        struct costs_line one;
        int rc = lines == 0 ? check_head(line, shown) : 0;
        note(line, "cpu", cpu);
        note(line, "when", when);
        if (rc == 0 && strncmp(line, "cost ", 5) == 0 && read_cost(line, &one)) {
            rc = add(costs, &one, &room);
        }
        if (rc != 0) {
            costs_free(costs);
            return rc;
        }
    }
    if (costs->count == 0) {
        return err_say(THIRL_EFORMAT, "%s has no line that says a cost", shown);
    }
    qsort(costs->line, costs->count, sizeof *costs->line, compare);
    (void)snprintf(costs->about, sizeof costs->about, "measured%s%s%s%s", when[0] != '\0' ? " " : "", when,
                   cpu[0] != '\0' ? " on " : "", cpu);
    return 0;
}

void costs_free(struct costs *costs) {
    free(costs->line);
    costs->line = NULL;
    costs->count = 0;
}

/* ---- which file ---- */

static bool name_file(char path[4096]) {
    const char *given = getenv("THIRL_COSTS"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = -1;
    if (given != NULL && *given != '\0') {
        length = snprintf(path, 4096, "%s", given);
    } else if (cache != NULL && *cache == '/') {
        length = snprintf(path, 4096, "%s/thirl/costs", cache);
    } else if (home != NULL && *home == '/') {
        length = snprintf(path, 4096, "%s/.cache/thirl/costs", home);
    }
    return length > 0 && length < 4096;
}

/* 0, -ENOENT: there is none; or an error with its sentence. */
static int read_file(struct costs *costs, const char *path) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? -ENOENT : err_system(errno, "%s cannot be opened", path);
    }
    int rc = fstat(fd, &status) != 0    ? err_system(errno, "%s cannot be read", path)
             : !S_ISREG(status.st_mode) ? err_say(THIRL_EFORMAT, "%s is no file of costs: it is no plain file", path)
             : status.st_size > (off_t)FILE_MAX
                 ? err_say(EFBIG, "%s is larger than 4 MiB: it is no file of costs", path)
                 : 0;
    size_t size = rc == 0 ? (size_t)status.st_size : 0;
    char *text = rc == 0 ? malloc(size + 1) : NULL;
    if (rc == 0) {
        ssize_t got = text == NULL ? -ENOMEM : fd_read_at(fd, text, size, 0);
        rc = got < 0 ? err_system((int)-got, "%s cannot be read", path) : costs_read(costs, text, (size_t)got, path);
    }
    free(text);
    fd_close(&fd);
    return rc;
}

int costs_open(struct costs *costs) {
    char path[4096];
    int rc = name_file(path) ? read_file(costs, path) : -ENOENT;
    if (rc == 0) {
        size_t used = strlen(costs->about);
        (void)snprintf(costs->about + used, sizeof costs->about - used, ", as %.200s says", path);
        costs->here = true;
        return 0;
    }
    if (rc == -ENOMEM) {
        return rc;
    }
    char why[200] = "";
    if (rc != -ENOENT) {
        (void)snprintf(why, sizeof why, " (%.190s)", thirl_why());
    }
    rc = costs_read(costs, costs_usual, strlen(costs_usual), "what thirl was shipped with");
    if (rc == 0) {
        char about[sizeof costs->about];
        memcpy(about, costs->about, sizeof about);
        (void)snprintf(costs->about, sizeof costs->about,
                       "not measured here%s, but %.200s; thirl bench --save measures", why, about);
    }
    return rc;
}

/* ---- asking ---- */

/* Between two figures, of which none may be missing. part is beyond 1 behind the larger one. */
static double between(double low, double high, double part) {
    double value = low <= 0 || high <= 0 ? 0 : low + (high - low) * part;
    return value > 0 ? value : low < high ? low : high;
}

static double time_of(int64_t per_second) {
    return per_second > 0 ? 1e9 / (double)per_second : 0;
}

/* The two measured sizes beside it; beyond the largest the two largest, and false where that is too far away. */
static bool beside(const struct costs *costs, const struct costs_line *wanted, const struct costs_line **low,
                   const struct costs_line **high) {
    *low = *high = NULL;
    for (size_t i = 0; i < costs->count; i++) {
        const struct costs_line *line = &costs->line[i];
        if (line->mech != wanted->mech || line->pattern != wanted->pattern || line->wait != wanted->wait ||
            line->place != wanted->place || (*high != NULL && (*high)->size >= wanted->size)) {
            continue;
        }
        *low = *high != NULL ? *high : line; /* they are in the order of sizes */
        *high = line;
    }
    return *high != NULL && wanted->size / FAR <= (*high)->size;
}

void costs_find(const struct costs *costs, enum costs_mech mech, enum costs_pattern pattern, unsigned wait, bool place,
                uint64_t size, struct costs_figure *figure) {
    const struct costs_line wanted = {
        .mech = (uint8_t)mech, .pattern = (uint8_t)pattern, .wait = (uint8_t)wait, .place = place, .size = size};
    const struct costs_line *low, *high;
    *figure = (struct costs_figure){.known = false};
    if (!beside(costs, &wanted, &low, &high)) {
        return;
    }
    double part = high->size == low->size ? 0 : (double)(size - low->size) / (double)(high->size - low->size);
    figure->p50 = between((double)low->p50, (double)high->p50, part);
    figure->p99 = between((double)low->p99, (double)high->p99, part);
    figure->cpu = between((double)low->cpu, (double)high->cpu, part);
    double each = between(time_of(low->per_second), time_of(high->per_second), part);
    figure->per_second = each > 0 ? 1e9 / each : 0;
    figure->known = figure->p50 > 0 || figure->per_second > 0;
}
