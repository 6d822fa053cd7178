/* SPDX-License-Identifier: MIT
 *
 * What mechanisms cost on this machine, as `thirl bench --save` has measured it: a text file, read and asked. Where there is none, what another
 * machine has shown (mech/usual) stands for it, and says so. Knows names only, and nothing of the mechanisms themselves.
 *
 *     thirl-costs 1
 *     machine KEY VALUE...
 *     cost MECH PATTERN SIZE WAIT COPY P50_NS P99_NS P999_NS MSGS_PER_S CPU_NS CALLS FLOOR_NS
 *
 * A figure of 0 was not measured. Lines have at most 255 bytes; lines and names that are not known are passed over.
 */
#ifndef MECH_COSTS_H
#define MECH_COSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COSTS_MECHS(X)                                                                                                 \
    X(SHM, "shm")                                                                                                      \
    X(UNIX, "unix")                                                                                                    \
    X(SEQPACKET, "seqpacket")                                                                                          \
    X(DATAGRAM, "datagram")                                                                                            \
    X(PIPE, "pipe")                                                                                                    \
    X(FIFO, "fifo")                                                                                                    \
    X(TCP, "tcp")                                                                                                      \
    X(UDP, "udp")                                                                                                      \
    X(MQ, "mq")                                                                                                        \
    X(SYSV, "sysv")                                                                                                    \
    X(SIG, "sig")

enum costs_mech {
#define COSTS_MECH(name, text) COSTS_##name,
    COSTS_MECHS(COSTS_MECH)
#undef COSTS_MECH
        COSTS_MECH_COUNT
};
extern const char *const costs_names[COSTS_MECH_COUNT];

enum costs_pattern { COSTS_RTT, COSTS_ONEWAY, COSTS_FANOUT, COSTS_FANIN, COSTS_CALL, COSTS_PATTERN_COUNT };

struct costs_line {
    uint8_t mech, pattern, wait, place; /* wait: enum thirl_wait_mode */
    uint64_t size;
    int64_t p50, p99, per_second, cpu;
};

struct costs {
    struct costs_line *line; /* by mechanism, pattern, wait, place and size */
    size_t count;
    bool here;       /* measured on this machine */
    char about[512]; /* where they come from, as a sentence */
};

/* Reads a text; pairs with costs_free. 0; -THIRL_EVERSION or -THIRL_EFORMAT: it is none, thirl_why says what; -ENOMEM. */
int costs_read(struct costs *, const char *text, size_t size, const char *shown);

/* The file of this user, or, where there is none or it cannot be read, the usual ones. 0 or -ENOMEM. Pairs with costs_free. */
int costs_open(struct costs *);
void costs_free(struct costs *);

/* What stands in place of it: a text as above. */
extern const char costs_usual[];

struct costs_figure {
    double p50, p99, per_second, cpu; /* 0: not known */
    bool known;
};

/* Of messages of that size: between the two sizes beside it that were measured, and some way beyond them. Of that very wait. */
void costs_find(const struct costs *, enum costs_mech, enum costs_pattern, unsigned wait, bool place, uint64_t size,
                struct costs_figure *);

#endif
