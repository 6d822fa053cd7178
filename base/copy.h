/* SPDX-License-Identifier: MIT
 *
 * Copying a few bytes on the spot: behind a system call, or in a call that has no other, a call of memcpy costs more than what it does. Any room may
 * use it; it never blocks.
 */
#ifndef BASE_COPY_H
#define BASE_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/atomic.h"

typedef uint64_t copy_words __attribute__((vector_size(16), aligned(1), may_alias));

#define COPY_FEW 64 /* bytes: what is no larger is copied without a call */

/* memmove of up to COPY_FEW bytes: from both ends, overlapping in the middle; all is read before anything is written. */
static inline void copy_few(void *to, const void *from, size_t size) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (size == 8) {
        uint64_t all;
        memcpy(&all, f, 8);
        memcpy(t, &all, 8);
    } else if (size > 32) {
        copy_words a = *(const copy_words *)f, b = *(const copy_words *)(f + 16);
        copy_words c = *(const copy_words *)(f + size - 32), d = *(const copy_words *)(f + size - 16);
        *(copy_words *)t = a;
        *(copy_words *)(t + 16) = b;
        *(copy_words *)(t + size - 32) = c;
        *(copy_words *)(t + size - 16) = d;
    } else if (size >= 16) {
        copy_words a = *(const copy_words *)f, b = *(const copy_words *)(f + size - 16);
        *(copy_words *)t = a;
        *(copy_words *)(t + size - 16) = b;
    } else if (size > 8) {
        uint64_t head, tail;
        memcpy(&head, f, 8);
        memcpy(&tail, f + size - 8, 8);
        memcpy(t, &head, 8);
        memcpy(t + size - 8, &tail, 8);
    } else if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, f, 4);
        memcpy(&tail, f + size - 4, 4);
        memcpy(t, &head, 4);
        memcpy(t + size - 4, &tail, 4);
    } else if (size != 0) {
        unsigned char middle = f[size / 2], last = f[size - 1];
        t[0] = f[0];
        t[size / 2] = middle;
        t[size - 1] = last;
    }
}

/* memcpy, and memmove, of any size; of none, either may be NULL. */
static inline void copy_any(void *to, const void *from, size_t size) {
    if (unlikely(size > COPY_FEW)) {
        memcpy(to, from, size);
    } else {
        copy_few(to, from, size);
    }
}

static inline void copy_over(void *to, const void *from, size_t size) {
    if (unlikely(size > COPY_FEW)) {
        memmove(to, from, size);
    } else {
        copy_few(to, from, size);
    }
}

#endif
