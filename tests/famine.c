/* SPDX-License-Identifier: MIT
 *
 * Taking all memory that there is, see famine.h.
 */
#include "tests/famine.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>

static struct rlimit before;
static void **taken;

static void take_all(size_t each) {
    for (void **more; (more = malloc(each)) != NULL; taken = more) {
        *more = taken;
    }
}

bool famine_begin(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#endif
    volatile char deep[1 << 16]; /* the stack is not to grow meanwhile */
    struct rlimit none;
    for (size_t i = 0; i < sizeof deep; i += 1024) {
        deep[i] = 0;
    }
    taken = NULL;
    if (getrlimit(RLIMIT_AS, &before) != 0) {
        return false;
    }
    none = before;
    none.rlim_cur = 0;
    if (setrlimit(RLIMIT_AS, &none) != 0) {
        return false;
    }
    for (size_t each = 1 << 20; each > 1040; each /= 2) {
        take_all(each);
    }
    for (size_t each = 1040; each != 0; each -= 16) { /* what was given back lies aside, each size for itself */
        take_all(each);
    }
    return true;
}

void famine_end(void) {
    while (taken != NULL) {
        void **next = *taken;
        free(taken);
        taken = next;
    }
    (void)setrlimit(RLIMIT_AS, &before);
}
