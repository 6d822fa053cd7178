/* SPDX-License-Identifier: MIT
 *
 * The latest value: one writer at a time, any number of readers, who write nothing. Four slots: the writer fills the one that was
 * valid longest ago, then says its number. A reader copies the newest one and looks whether the writer may have come round.
 *
 *     writer (its turn: own.h)                     reader
 *     n = now + 1                                  v = acquire now                       pairs with (3)
 *     store fence                          (1)     copies slot[v % 4]
 *     bytes[n % 4], slot[n % 4]            (2)     load fence                            pairs with (1)
 *     release now = n                      (3)     now - v > 2: (2) may have been v + 4: again with the new v
 *
 * Who has seen a byte of number v + 4 sees now >= v + 3 behind the fence. A writer that is killed at any instruction leaves `now` at
 * the last whole value; the next one fills the same slot again. A reader has the time of two whole writings to copy one
 * value, and is never held up: neither waits for the other.
 */
#ifndef MEM_CELL_H
#define MEM_CELL_H

#include <errno.h>
#include <stddef.h>

#include "base/copy.h"
#include "base/layout.h"
#include "include/thirl/thirl.h"
#include "mem/lane.h"
#include "mem/lot.h"
#include "mem/own.h"

#define CELL_MAGIC "thirl.st"
#define CELL_VERSION 1
#define CELL_SLOTS 4
#define CELL_MOST (UINT64_C(1) << 32) /* largest value that a cell can be made for */
#define CELL_TRIES 1000               /* a reader that is overtaken so often in a row comes back later */

struct cell_head { /* shared; written by who has its turn */
    struct lot_head lot;
    uint64_t max;         /* largest value, in bytes */
    uint64_t registry[2]; /* whose nodes `turn` names */
    LINE_ALIGNED struct own turn;
    /* One line tells a reader all that he has to know, and values begin at lines of their own. */
    LINE_ALIGNED uint64_t now;  /* number of the newest value; 0: there is none yet */
    uint64_t bytes[CELL_SLOTS]; /* how large the value is, of each slot */
};
LAYOUT(cell_head, 192, bytes, 136);

struct cell { /* what a process knows of it, checked once */
    struct cell_head *head;
    const unsigned char *slot[CELL_SLOTS];
    uint64_t max;
};

/* Bytes of a cell for values up to max. */
static inline uint64_t cell_stride(uint64_t max) {
    return (max + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}
static inline uint64_t cell_bytes(uint64_t max) {
    return sizeof(struct cell_head) + CELL_SLOTS * cell_stride(max);
}

/* Fills in the head of zeroed memory. */
void cell_begin(struct cell_head *, uint64_t max);

/* Looks at a mapping of that many bytes. 0, -THIRL_EFORMAT, -THIRL_EVERSION; what names it in sentences. */
int cell_check(struct cell *, void *map, size_t size, const char *what);

static inline unsigned char *cell_slot(const struct cell *cell, uint64_t number) {
    return (unsigned char *)(uintptr_t)cell->slot[number % CELL_SLOTS];
}

/* Writes a value of at most max bytes; it is this thread's turn. Returns its number. */
uint64_t cell_write(struct cell *, const void *data, size_t size);

/* A data race by the letter: what it yields is thrown away unless `now` says that there was none. small: of COPY_FEW at most. */
static inline void cell_copy(void *to, const void *from, size_t size, bool small) {
#if defined(__SANITIZE_THREAD__)
    (void)small;
    for (size_t i = 0; i < size; i++) {
        ((char *)to)[i] = atomic_peek((const char *)from + i);
    }
#else
    if (small) {
        copy_few(to, from, size);
    } else {
        memcpy(to, from, size);
    }
#endif
}

/* Copies the newest value. 0; -ENODATA: there is none yet; -EMSGSIZE: *size is what it needs; -EAGAIN: overtaken too often;
 * -THIRL_EFORMAT: its size is none. No sentences. */
static inline int cell_read(const struct cell *cell, void *buffer, size_t capacity, size_t *size, uint64_t *number) {
    for (int tries = 0; tries < CELL_TRIES; tries++) {
        uint64_t v = atomic_load(&cell->head->now); /* pairs with the store in cell_write */
        if (unlikely(v == 0)) {
            return -ENODATA;
        }
        uint64_t bytes = atomic_peek(&cell->head->bytes[v % CELL_SLOTS]);
        if (likely(bytes <= capacity && bytes <= cell->max)) {
            cell_copy(buffer, cell_slot(cell, v), (size_t)bytes, bytes <= COPY_FEW);
        }
        atomic_fence_loads(); /* pairs with the fence in cell_write */
        if (likely(atomic_peek(&cell->head->now) - v <= CELL_SLOTS - 2)) {
            *size = (size_t)bytes;
            *number = v;
            return likely(bytes <= capacity && bytes <= cell->max) ? 0
                   : bytes <= cell->max                            ? -EMSGSIZE
                                                                   : -THIRL_EFORMAT;
        }
    }
    return -EAGAIN;
}

/* One try of the same, in two halves, for whoever copies in between: is there a value of at most `most` bytes? *slot is where, *number which one. If
 * not, or if it has none, cell_read tells more: as long as there is no value, its size is 0. */
static inline bool cell_look(const struct cell *cell, uint64_t most, const unsigned char **slot, uint64_t *number,
                             uint64_t *bytes) {
    const struct cell_head *head = cell->head;
    *number = atomic_load(&head->now); /* pairs with the store in cell_write */
    *bytes = atomic_peek(&head->bytes[*number % CELL_SLOTS]);
    *slot = cell_slot(cell, *number);
    return likely(*bytes <= most);
}

/* Is what was copied since then that value? The head: read from the cell behind the copy, its address would wait for what was written. */
static inline bool cell_stands(const struct cell_head *head, uint64_t number) {
    atomic_fence_loads(); /* pairs with the fence in cell_write */
    return likely(atomic_peek(&head->now) - number <= CELL_SLOTS - 2);
}

#endif
