/* SPDX-License-Identifier: MIT
 *
 * Somebody who changes a word of shared memory just before it is looked at. All memory that he may write is closed to this process: each look at
 * it faults, and is let through alone, behind the lie that is due there. What is written there at any instruction is seen only by the
 * next look at that word: so a lie at each look is a lie at each instruction between.
 *
 * This process maps through __wrap_mmap and the like; one thread of it does so.
 */
#ifndef TESTS_LIAR_H
#define TESTS_LIAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIAR_LOOKS 4096
#define LIAR_FILES 32

/* A look, and at what. */
struct liar_look {
    unsigned file;
    uint64_t offset;
    uintptr_t place; /* the instruction; 0: the kernel looked */
};

struct liar_lie {
    unsigned at; /* at which look */
    unsigned
        behind;  /* bytes behind the first word that was looked at: it may be half of that, and a look may be wide */
    bool narrow; /* four bytes of it, else eight */
    bool once;   /* for that look only, and the truth again behind it */
};

struct liar_plan {
    uint64_t dice; /* of which the values are made */
    unsigned count;
    struct liar_lie lie[2]; /* in order */
};

/* What it leaves in memory that outlives this process: a crash that is none of its doing, and the lies that were told before. */
struct liar_note {
    uintptr_t place, address;
    unsigned count;
    struct {
        unsigned file;
        bool once;
        uint64_t offset, was, is;
    } lie[2];
};

/* For the rest of this process. false: here it cannot be done. */
bool liar_begin(struct liar_note *);

/* What he may write from now on: so many files. liar_forget ends it. */
void liar_know(const char *const *paths, size_t count);

/* From here to liar_rest he lies as planned; NULL: not at all. */
void liar_lead(const struct liar_plan *);

/* How many looks there were: all of them, when nothing was planned. */
unsigned liar_rest(void);

/* What the test itself looks at meanwhile is no look. */
void liar_pause(bool);

const struct liar_look *liar_looks(void);

/* How many lies he told; what still stands of them is what it was before. */
unsigned liar_forget(void);

/* Pieces of files that are mapped. */
unsigned liar_pieces(void);

/* All of it lies in one file, if it begins in one. */
bool liar_holds(const void *data, size_t size);

#endif
