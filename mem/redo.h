/* SPDX-License-Identifier: MIT
 *
 * Several words of shared memory changed as one, whoever is killed. The new values are gathered aside, in a log that the memory itself
 * has; one store says that the log counts; then the words are changed, and the log counts no more. Who finds a log that counts changes the
 * words once more, which is the same. For one changer at a time: it holds the lock that belongs to the log (own.h).
 *
 *     changer                                  whoever takes over from a dead one: redo_recover
 *     log.entry[0 … n - 1] = place, value
 *     release log.count = n             (1)    count == 0: killed before (1): nothing has happened
 *     *place = value, each              (2)    count != 0: (2) for all of them
 *     release log.count = 0             (3)    count = 0
 *
 * Places are offsets from the base, multiples of 8. Offset 0 stands for none, and is never changed.
 */
#ifndef MEM_REDO_H
#define MEM_REDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

#define REDO_MOST 48

struct redo_log { /* shared */
    uint64_t count;
    struct {
        uint64_t place, value;
    } entry[REDO_MOST];
};

struct redo { /* a change that is being gathered: private */
    unsigned char *base;
    uint64_t bytes; /* places are below it */
    struct redo_log *log;
    unsigned count;
    uint64_t seen[4]; /* a bit for each place that was put, by its hash: most are only read */
    bool wrong;       /* a place was none, or there were too many: the memory is damaged, and nothing will be changed */
};

static inline void redo_begin(struct redo *redo, void *base, uint64_t bytes, struct redo_log *log) {
    *redo = (struct redo){.base = base, .bytes = bytes, .log = log};
}

/* What the word will be; 0 where there is none. */
uint64_t redo_get(struct redo *, uint64_t place);
void redo_put(struct redo *, uint64_t place, uint64_t value);

/* Changes all of them. 0, or -THIRL_EFORMAT without a sentence: nothing was changed. */
int redo_commit(struct redo *);

/* Finishes what a dead changer began. -THIRL_EFORMAT: the log is none. */
int redo_recover(void *base, uint64_t bytes, struct redo_log *);

#endif
