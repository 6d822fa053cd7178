/* SPDX-License-Identifier: MIT
 *
 * What has been let go of stays mapped until then, so nothing new can lie in between.
 */
#include "mem/shed.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST 64u

struct piece {
    uintptr_t from, to;
};

static _Thread_local struct {
    unsigned depth, count;
    struct piece piece[MOST];
} heap;

void shed(void *base, size_t size) {
    if (heap.depth == 0 || heap.count == MOST) {
        (void)munmap(base, size);
        return;
    }
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)base;
    heap.piece[heap.count++] = (struct piece){from, (from + size + page - 1) / page * page};
}

void shed_begin(void) {
    heap.depth++;
}

static int compare(const void *a, const void *b) {
    const struct piece *first = a, *second = b;
    return first->from < second->from ? -1 : first->from > second->from;
}

void shed_end(void) {
    if (--heap.depth != 0) {
        return;
    }
    qsort(heap.piece, heap.count, sizeof *heap.piece, compare);
    for (unsigned i = 0; i < heap.count;) {
        struct piece all = heap.piece[i++];
        while (i < heap.count && heap.piece[i].from == all.to) {
            all.to = heap.piece[i++].to;
        }
        (void)munmap((void *)all.from, all.to - all.from);
    }
    heap.count = 0;
}
