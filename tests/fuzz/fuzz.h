/* SPDX-License-Identifier: MIT
 *
 * What the targets share. A target is one file with LLVMFuzzerTestOneInput: it feeds its input to one parser, as a hostile peer
 * would, and demands what must hold whatever the input is. `make fuzz` links it with libFuzzer, the tests with replay.c.
 * Inputs that speak of several things begin with small numbers, which `struct food` hands out one by one.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "include/thirl/thirl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A demand that is not met ends the program, so that the input is kept. */
#define must(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, thirl_why());                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* What is left of an input; behind its end there are zeros. */
struct food {
    const uint8_t *at;
    size_t left;
};

static inline uint64_t food_number(struct food *food, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && food->left != 0; i++, food->left--) {
        value |= (uint64_t)*food->at++ << 8 * i;
    }
    return value;
}

static inline const uint8_t *food_bytes(struct food *food, size_t wanted, size_t *size) {
    const uint8_t *at = food->at;
    *size = wanted < food->left ? wanted : food->left;
    food->at += *size;
    food->left -= *size;
    return at;
}

/* The lowest number that is free for a descriptor: the same before and after, or some were left open. */
static inline int fuzz_lowest(void) {
    int fd = dup(STDERR_FILENO);
    must(fd >= 0 && close(fd) == 0);
    return fd;
}

/* Before the first use of that: what a process opens once stays open. */
static inline void fuzz_warm(void) {
    static bool warm;
    thirl *end = NULL;
    if (!warm) {
        must(thirl_open(&end, THIRL_PAIR, "unix://@thirl-fuzz-warm", NULL) == 0 || thirl_why()[0] != '\0');
        must(thirl_close(&end, THIRL_NOW) >= 0);
        warm = true;
    }
}

/* A code that the contract allows: done, or an error with a sentence. */
static inline int fuzz_answer(int rc) {
    must(rc <= 0);
    must(rc == 0 || thirl_why()[0] != '\0');
    return rc;
}

#endif
