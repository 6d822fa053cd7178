/* SPDX-License-Identifier: MIT
 *
 * Who looks for leaks, see leaks.h. Linked into every test by its name, for nothing but the sanitizer asks for it.
 */
#include "tests/leaks.h"

#include <pthread.h>
#include <stdbool.h>

#define FIRST 1

static unsigned children;
static bool passes;

/* The name that the sanitizer, a library of its own, looks for. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
    return passes;
}

void leaks_look(void) {
    passes = false;
}

static void count(void) {
    children++;
}

static void decide(void) {
    passes = passes || children >= FIRST;
    children = 0;
}

__attribute__((constructor)) static void begin(void) {
    (void)pthread_atfork(NULL, count, decide);
}
