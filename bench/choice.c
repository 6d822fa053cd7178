/* SPDX-License-Identifier: MIT
 *
 * The table, the options and the cells.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/choice.h"
#include "bench/floor.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define UDP_WINDOW 32
#define FLOORS(name)                                                                                                   \
    { &floor_##name##_round, &floor_##name##_way, &floor_##name##_out, &floor_##name##_in }
#define FLOORS_OF_TWO(name)                                                                                            \
    { &floor_##name##_round, &floor_##name##_way, NULL, NULL }

const struct choice_mech choice_mechs[] = {
    {.name = "shm",
     .scheme = "shm://",
     .options = "",
     .ring = MIB(4),
     .ours = true,
     .floor = {NULL, NULL, &floor_out, &floor_in}},
    {.name = "unix",
     .scheme = "unix://@",
     .options = "type=stream&queue=256K",
     .ring = KIB(256),
     .floor = FLOORS(stream)},
    {.name = "seqpacket",
     .scheme = "unix://@",
     .options = "type=seqpacket",
     .ring = KIB(256),
     .wide = true,
     .floor = FLOORS(seqpacket)},
    {.name = "datagram",
     .scheme = "unix://@",
     .options = "type=datagram",
     .ring = KIB(256),
     .wide = true,
     .floor = FLOORS(datagram)},
    {.name = "tcp", .scheme = "tcp://127.0.0.1:", .options = "queue=256K", .ring = KIB(256), .floor = FLOORS(tcp)},
    {.name = "udp",
     .scheme = "udp://127.0.0.1:",
     .group = "udp://239.77.83.1:",
     .options = "queue=256K&timeout=3s",
     .ring = KIB(256),
     .window = UDP_WINDOW,
     .floor = FLOORS_OF_TWO(udp)},
    {.name = "mq", .scheme = "mq://", .options = "", .ring = KIB(80), .floor = FLOORS(mq)},
    {.name = "sysv", .scheme = "sysv://", .options = "", .ring = KIB(16), .floor = FLOORS(sysv)},
    {.name = "pipe", .scheme = "pipe://", .options = "queue=256K", .ring = KIB(256), .floor = FLOORS_OF_TWO(pipe)},
    {.name = "fifo", .scheme = "fifo:///tmp/", .options = "queue=256K", .ring = KIB(256), .floor = FLOORS_OF_TWO(fifo)},
    {.name = "sig", .scheme = "sig://", .options = "", .ring = KIB(4), .floor = {&floor_word, NULL, NULL, NULL}},
    {0}};

static const char *const patterns[] = {
#define NAME(name, word, text) word,
    CHOICE_PATTERNS(NAME)
#undef NAME
};
static const char *const waits[] = {"adaptive", "spin", "sleep"};

const char *choice_pattern_name(enum choice_pattern pattern) {
    return patterns[pattern];
}

const char *choice_wait_name(enum choice_wait wait) {
    return waits[wait];
}

void choice_init(struct choice *choice) {
    *choice = (struct choice){.pin = {-2, -2}};
}

/* ---- options ---- */

static const char *mech_at(unsigned i) {
    return choice_mechs[i].name;
}

static const char *pattern_at(unsigned i) {
    return i < CHOICE_PATTERN_COUNT ? patterns[i] : NULL;
}

static const char *wait_at(unsigned i) {
    return i < CHOICE_WAIT_COUNT ? waits[i] : NULL;
}

static int complain(const char *option, const char *value, const char *what) {
    (void)fprintf(stderr, "thirl-bench: %s takes %s, not \"%s\"\n", option, what, value);
    return -1;
}

/* Words with commas between them, or "all", as bits. */
static int read_names(const char *option, const char *value, const char *name_at(unsigned), unsigned *bits) {
    char known[200] = "all";
    unsigned count = 0;
    for (; name_at(count); count++) {
        (void)snprintf(known + strlen(known), sizeof known - strlen(known), ", %s", name_at(count));
    }
    for (const char *at = value;; at++) {
        size_t length = strcspn(at, ",");
        unsigned found = 0;
        for (unsigned i = 0; i < count; i++) {
            if (strlen(name_at(i)) == length && strncmp(name_at(i), at, length) == 0) {
                found = 1U << i;
            }
        }
        if (length == 3 && strncmp(at, "all", 3) == 0) {
            found = (1U << count) - 1;
        }
        if (!found) {
            return complain(option, value, known);
        }
        *bits |= found;
        at += length;
        if (!*at) {
            return 1;
        }
    }
}

/* "8", "4K", "16M"; 0: it is none. */
static size_t read_size(const char *at, char **rest) {
    unsigned long long number = isdigit((unsigned char)*at) ? strtoull(at, rest, 10) : 0;
    unsigned shift = **rest == 'K' ? 10 : **rest == 'M' ? 20 : **rest == 'G' ? 30 : 0;
    *rest += shift != 0;
    return number > (UINT64_C(1) << 32 >> shift) ? 0 : (size_t)number << shift;
}

static int add_size(struct choice *choice, size_t size) {
    if (choice->sizes == CHOICE_SIZES) {
        (void)fprintf(stderr, "thirl-bench: --size takes at most %d sizes\n", CHOICE_SIZES);
        return -1;
    }
    choice->size[choice->sizes++] = size;
    return 0;
}

/* "8,64,4K,...,16M": the dots go on by the factor between the two before them, 4 if there is one. Size 4 is for sig alone: payload is
 * summed by words of eight bytes. */
static int read_sizes(struct choice *choice, const char *value) {
    static const char what[] = "sizes in bytes, multiples of 8 (or the 4 of sig), such as 64,4K,1M or 64,...,1M";
    bool dots = false;
    for (const char *at = value; *at;) {
        char *rest = (char *)(uintptr_t)at;
        if (strncmp(at, "...", 3) == 0 || strncmp(at, "…", strlen("…")) == 0) {
            dots = true;
            at += *at == '.' ? 3 : strlen("…");
            at += *at == ',';
            continue;
        }
        size_t size = read_size(at, &rest);
        if ((size % 8 && size != 4) || size == 0 || (*rest && *rest != ',')) {
            return complain("--size", value, what);
        }
        unsigned n = choice->sizes;
        size_t last = n ? choice->size[n - 1] : 0;
        size_t factor = n > 1 && choice->size[n - 2] && last / choice->size[n - 2] > 1 ? last / choice->size[n - 2] : 4;
        for (size_t more = last * factor; dots && last && more < size; more *= factor) {
            if (add_size(choice, more / 8 * 8)) {
                return -1;
            }
        }
        dots = false;
        if (add_size(choice, size)) {
            return -1;
        }
        at = *rest ? rest + 1 : rest;
    }
    return dots || choice->sizes == 0 ? complain("--size", value, what) : 1;
}

static int read_pin(struct choice *choice, const char *value) {
    char *rest;
    choice->pin[0] = (int)strtol(value, &rest, 10);
    choice->pin[1] = *rest == ',' ? (int)strtol(rest + 1, &rest, 10) : choice->pin[0];
    return rest == value || *rest || choice->pin[0] < 0 || choice->pin[1] < 0
               ? complain("--pin", value, "one or two numbers of processors, such as 0,1")
               : 1;
}

static int read_number(const char *option, const char *value, double least, double most, double *number) {
    char *rest;
    *number = strtod(value, &rest);
    if (rest != value && (*rest == 'k' || *rest == 'M')) {
        *number *= *rest == 'k' ? 1e3 : 1e6;
        rest++;
    }
    rest += strcmp(rest, "/s") == 0 ? 2 : 0;
    if (rest == value || *rest || !(*number >= least && *number <= most)) {
        char what[80];
        (void)snprintf(what, sizeof what, "a number from %g to %g, such as 50k", least, most);
        return complain(option, value, what);
    }
    return 1;
}

static int read_value(struct choice *choice, const char *option, const char *value) {
    double number = 0;
    int rc = 1;
    switch (option[2]) {
    case 'm':
        return read_names(option, value, mech_at, &choice->mechs);
    case 'p':
        if (strcmp(option, "--pattern") == 0) {
            return read_names(option, value, pattern_at, &choice->patterns);
        }
        if (strcmp(option, "--pin") == 0) {
            return read_pin(choice, value);
        }
        rc = read_number(option, value, 1, STAGE_PEERS, &number);
        choice->peers = (unsigned)number;
        return rc;
    case 'w':
        return read_names(option, value, wait_at, &choice->waits);
    case 'r':
        return read_number(option, value, 1, 1e8, &choice->rate);
    default:
        return read_number(option, value, 0.1, 3600, &choice->seconds);
    }
}

int choice_option(struct choice *choice, int argc, char **argv, int *i) {
    static const char *const valued[] = {"--mech", "--pattern", "--wait", "--pin", "--peers", "--rate", "--seconds"};
    const char *option = argv[*i];
    bool copies = strcmp(option, "--copy") == 0, places = strcmp(option, "--zero-copy") == 0;
    if (copies || places || strcmp(option, "--no-pin") == 0) {
        choice->copies = choice->copies || copies;
        choice->places = choice->places || places;
        if (!copies && !places) {
            choice->pin[0] = choice->pin[1] = -1;
        }
        choice->free = true;
        return 1;
    }
    for (size_t k = 0; k < sizeof valued / sizeof *valued; k++) {
        if (strcmp(option, valued[k]) == 0 && *i + 1 < argc) {
            choice->free = choice->free || strcmp(option, "--seconds") != 0;
            return read_value(choice, option, argv[++*i]);
        }
    }
    if (strcmp(option, "--size") == 0 && *i + 1 < argc) {
        return read_sizes(choice, argv[++*i]);
    }
    return 0;
}

/* ---- cells ---- */

static void add_cell(struct choice *choice, struct choice_cell cell) {
    if (choice->cells < CHOICE_CELLS) {
        choice->cell[choice->cells++] = cell;
    }
}

/* How it waits makes a difference where somebody waits for an answer: the kernel's mechanisms try again for a while, or sleep, and a look
 * at everything shows both. A signal is a word, whatever else is measured, and is slept for. */
static void add_cells(struct choice *choice, const struct choice_mech *mech, enum choice_pattern pattern, size_t size) {
    const bool signals = strcmp(mech->name, "sig") == 0;
    for (unsigned wait = 0; wait < CHOICE_WAIT_COUNT; wait++) {
        bool usual = mech->ours || wait == CHOICE_ADAPTIVE || (wait == CHOICE_SLEEP && choice->usual && !signals);
        if (choice->waits ? !(choice->waits & 1U << wait) : !usual) {
            continue;
        }
        if (!choice->waits && pattern >= CHOICE_ONEWAY && pattern <= CHOICE_FANIN && wait != CHOICE_ADAPTIVE) {
            continue;
        }
        for (int place = 0; place < 2; place++) {
            bool wanted = choice->copies || choice->places ? (place ? choice->places : choice->copies)
                                                           : !place || (mech->ours && pattern != CHOICE_CALL);
            if (wanted) {
                add_cell(choice, (struct choice_cell){mech, pattern, signals && choice->usual ? 4 : size,
                                                      (enum choice_wait)wait, place != 0});
            }
        }
    }
}

void choice_cells(struct choice *choice, bool quick) {
    static const size_t usual[] = {64, 4096};
    const bool all = choice->patterns == 0;
    if (choice->sizes == 0) {
        choice->usual = true;
        memcpy(choice->size, usual, sizeof usual);
        choice->sizes = quick ? 1 : sizeof usual / sizeof *usual;
    }
    for (unsigned pattern = 0; pattern < CHOICE_PATTERN_COUNT; pattern++) {
        for (unsigned m = 0; choice_mechs[m].name && (all || choice->patterns & 1U << pattern); m++) {
            bool signals = strcmp(choice_mechs[m].name, "sig") == 0;
            if (choice->mechs && !(choice->mechs & 1U << m)) {
                continue;
            }
            for (unsigned s = 0; s < choice->sizes; s++) {
                if (signals && ((choice->usual && s) || (!choice->mechs && pattern != CHOICE_RTT))) {
                    continue; /* not asked for: it has one size and one pattern */
                }
                add_cells(choice, &choice_mechs[m], (enum choice_pattern)pattern, choice->size[s]);
            }
        }
    }
}

void choice_cells_saved(struct choice *choice, bool quick) {
    static const size_t sizes[] = {64, 4096, 65536, 1048576};
    choice_init(choice);
    choice->usual = true;
    memcpy(choice->size, sizes, sizeof sizes);
    choice->sizes = quick ? 1 : sizeof sizes / sizeof *sizes;
    choice_cells(choice, quick);
}
