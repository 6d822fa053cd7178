/* SPDX-License-Identifier: MIT
 *
 * Copying with the widest registers there are. What is copied between two looks at one word costs no more stores than it has lines: nothing is
 * put aside for a call, and none is made. Any room may use it; it never blocks.
 */
#ifndef BASE_WIDE_H
#define BASE_WIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Whoever copies so is a function of that attribute, and is called where wide_here says so. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target("avx512f")))
#else
#define WIDE
#endif

#define WIDE_LINE 64
#define WIDE_MOST (UINT64_C(32) << 10) /* beyond that memcpy knows better */

typedef uint64_t wide_words __attribute__((vector_size(WIDE_LINE), aligned(1), may_alias));

/* Does this processor have them, and do they not slow the others down? Those that have the later of these sets. */
static inline bool wide_here(void) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vbmi2");
#else
    return false;
#endif
}

/* Copies a line, in any function, where wide_here says so. Nobody else uses that register, and it slows down nobody. */
static inline void wide_line(void *to, const void *from) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    typedef unsigned char line[WIDE_LINE];
    __asm__("vmovdqu64 %1, %%zmm16\n\tvmovdqu64 %%zmm16, %0" : "=m"(*(line *)to) : "m"(*(const line *)from));
#else
    memcpy(to, from, WIDE_LINE);
#endif
}

/* Copies WIDE_LINE to WIDE_MOST bytes that do not overlap: the last line first, and then from the beginning as far as whole ones go. */
WIDE static inline __attribute__((always_inline)) void wide_copy(void *to, const void *from, size_t size) {
    unsigned char *t = to;
    const unsigned char *f = from, *end = f + size - WIDE_LINE;
    *(wide_words *)(t + size - WIDE_LINE) = *(const wide_words *)end;
    for (; end - f >= 4 * WIDE_LINE; f += 4 * (ptrdiff_t)WIDE_LINE, t += 4 * (ptrdiff_t)WIDE_LINE) {
        wide_words a = *(const wide_words *)f, b = *(const wide_words *)(f + WIDE_LINE);
        wide_words c = *(const wide_words *)(f + 2 * (ptrdiff_t)WIDE_LINE);
        wide_words d = *(const wide_words *)(f + 3 * (ptrdiff_t)WIDE_LINE);
        *(wide_words *)t = a;
        *(wide_words *)(t + WIDE_LINE) = b;
        *(wide_words *)(t + 2 * (ptrdiff_t)WIDE_LINE) = c;
        *(wide_words *)(t + 3 * (ptrdiff_t)WIDE_LINE) = d;
    }
    for (; f < end; f += WIDE_LINE, t += WIDE_LINE) *(wide_words *)t = *(const wide_words *)f;
}

#endif
