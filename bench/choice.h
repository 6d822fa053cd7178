/* SPDX-License-Identifier: MIT
 *
 * What can be measured freely: mechanism × pattern × size × waiting × copy or in place. The table of mechanisms, with the bare loop beside
 * each; the options that choose among all that; the cells that come of them.
 */
#ifndef BENCH_CHOICE_H
#define BENCH_CHOICE_H

#include "bench/stage.h"

#define CHOICE_CELLS 1024
#define CHOICE_SIZES 24

#define CHOICE_PATTERNS(X)                                                                                             \
    X(RTT, "rtt", "round trip of two")                                                                                 \
    X(ONEWAY, "oneway", "one way, one to one")                                                                         \
    X(FANOUT, "fanout", "one publishes to many")                                                                       \
    X(FANIN, "fanin", "many push to one")                                                                              \
    X(CALL, "call", "request and answer")
enum choice_pattern {
#define CHOICE_PATTERN(name, word, text) CHOICE_##name,
    CHOICE_PATTERNS(CHOICE_PATTERN)
#undef CHOICE_PATTERN
        CHOICE_PATTERN_COUNT
};

enum choice_wait { CHOICE_ADAPTIVE, CHOICE_SPIN, CHOICE_SLEEP, CHOICE_WAIT_COUNT };

struct choice_mech {
    const char *name;            /* "seqpacket" */
    const char *scheme, *group;  /* as in where_fresh; of fanout, where that is another one, else NULL */
    const char *options;         /* of its address */
    uint64_t ring;               /* bytes of the bare loop's buffer */
    uint64_t window;             /* messages that may be on their way, where what nobody waits for is lost; 0: all */
    bool ours;                   /* waits by itself, as ?wait= says; else the kernel does, whatever it says */
    bool wide;                   /* a message has to fit into the queue: that is made large enough */
    const struct work *floor[4]; /* rtt, oneway, fanout, fanin; NULL: chosen by hand, or none */
};

struct choice_cell {
    const struct choice_mech *mech;
    enum choice_pattern pattern;
    size_t size;
    enum choice_wait wait;
    bool place;
};

struct choice {
    bool free;                       /* something was chosen that the named cases do not have */
    unsigned mechs, patterns, waits; /* bits; 0: what is usual */
    bool copies, places;
    size_t size[CHOICE_SIZES];
    unsigned sizes;
    bool usual; /* the sizes were not said */
    int pin[2]; /* processors, -1 anywhere; -2: not said */
    unsigned peers;
    double rate;    /* messages a second; 0: as fast as they go */
    double seconds; /* for all of it; 0: not said */
    struct choice_cell cell[CHOICE_CELLS];
    unsigned cells;
};

extern const struct choice_mech choice_mechs[]; /* ends with a NULL name */
const char *choice_pattern_name(enum choice_pattern);
const char *choice_wait_name(enum choice_wait);

void choice_init(struct choice *);

/* Takes one option at argv[*i], and its value. 1: it was one of these, 0: it was none; -1: a value cannot be, with a sentence on stderr. */
int choice_option(struct choice *, int argc, char **argv, int *i);

/* Makes the cells of what was chosen, and of what was not chosen the usual: for a look at everything, or for `thirl advise` to know by. */
void choice_cells(struct choice *, bool quick);
void choice_cells_saved(struct choice *, bool quick);

#endif
