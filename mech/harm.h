/* SPDX-License-Identifier: MIT
 *
 * What ?hurt= says, and the dice that decide with it: which call is hurt, and how. A call is what thirl_send and its like make: the
 * tries of one that waits count once. The same seed hurts the same calls. Touches nothing but its arguments.
 */
#ifndef MECH_HARM_H
#define MECH_HARM_H

#include <errno.h>
#include <stdbool.h>

#include "include/thirl/thirl.h"

/* kind, name, one call in so many unless said, what it does */
#define HARM_KINDS(X)                                                                                                  \
    X(AGAIN, "again", 8, "the first try answers EAGAIN")                                                               \
    X(FAIL, "fail", 64, "it answers an error, and nothing was done")                                                   \
    X(SHORT, "short", 4, "a stream moves fewer bytes at once, a call for many fewer messages")                         \
    X(DELAY, "delay", 32, "it takes longer")                                                                           \
    X(LOSE, "lose", 16, "the message is not sent")                                                                     \
    X(DOUBLE, "double", 16, "the message is sent twice")                                                               \
    X(SWAP, "swap", 8, "a received message lets the next one pass")                                                    \
    X(FLIP, "flip", 16, "a bit of what is received is turned over")

enum harm_kind {
#define HARM_KIND(kind, name, often, text) HARM_##kind,
    HARM_KINDS(HARM_KIND)
#undef HARM_KIND
        HARM_COUNT
};

struct harm {
    uint64_t seed;
    struct harm_rule {
        bool on;
        uint64_t often; /* one call in so many, 1: each; where at is 0 */
        uint64_t at;    /* that call only, from 1 */
        int64_t value;  /* FAIL: the code, negative; DELAY: the longest, in ns */
    } rule[HARM_COUNT];
};

/* Reads SEED or SEED:KIND[=VALUE][/OFTEN|@CALL],… SEED alone: whatever a mechanism of those claims is allowed to do: again, short
 * and delay; lose and double where it is not reliable, swap where it does not keep order, and these three not on a stream. Asked
 * for by name on a stream they are refused. 0, or -EINVAL with a sentence that shows the piece. */
int harm_read(struct harm *, const char *address, const char *text, const struct thirl_limits *claims, bool stream);

/* Does any of these three come in question? Then messages are copied, and the limits say what is no longer true. */
static inline bool harm_breaks(const struct harm *harm) {
    return harm->rule[HARM_LOSE].on || harm->rule[HARM_DOUBLE].on || harm->rule[HARM_SWAP].on;
}

/* And with flip there is nothing in place either, because what a peer wrote is not to be written to. */
static inline bool harm_copies(const struct harm *harm) {
    return harm_breaks(harm) || harm->rule[HARM_FLIP].on;
}

/* The dice of one way; used by one thread at a time. */
struct dice {
    uint64_t state, call;
    bool open;    /* a call goes on */
    uint32_t due; /* a bit for each kind that it still has before it */
};

void dice_init(struct dice *, uint64_t seed, unsigned way);

/* Before a try: throws them when it is the first of a call. And after it, with what it answered. */
void dice_begin(struct dice *, const struct harm *);
static inline int dice_end(struct dice *dice, int rc) {
    dice->open = rc == -EAGAIN;
    return rc;
}

static inline bool dice_due(const struct dice *dice, enum harm_kind kind) {
    return (dice->due & 1u << kind) != 0;
}

/* The same, once in a call. */
static inline bool dice_once(struct dice *dice, enum harm_kind kind) {
    bool due = dice_due(dice, kind);
    dice->due &= ~(1u << kind);
    return due;
}

uint64_t dice_below(struct dice *, uint64_t bound); /* 0 to bound - 1; bound is not 0 */

#endif
