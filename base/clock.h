/* SPDX-License-Identifier: MIT
 *
 * Time: nanoseconds on CLOCK_MONOTONIC, and deadlines on it. Never blocks, never fails.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <time.h>

#include "include/thirl/thirl.h"

#define CLOCK_US INT64_C(1000)
#define CLOCK_MS INT64_C(1000000)
#define CLOCK_S INT64_C(1000000000)

/* The same, some milliseconds behind, at a fifth of the price. */
static inline int64_t clock_coarse(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * CLOCK_S + now.tv_nsec;
}

static inline int64_t clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * CLOCK_S + t.tv_nsec;
}

static inline struct timespec clock_spec(int64_t ns) {
    return (struct timespec){.tv_sec = ns / CLOCK_S, .tv_nsec = ns % CLOCK_S};
}

/* now + ns, without overflow. */
static inline int64_t clock_after(int64_t now, int64_t ns) {
    return ns > INT64_MAX - now ? INT64_MAX : now + ns;
}

#endif
