/* SPDX-License-Identifier: MIT
 *
 * Making, checking and writing cells.
 */
#include "mem/cell.h"

#include <string.h>

#include "base/copy.h"
#include "base/err.h"
#include "base/weave.h"

void cell_begin(struct cell_head *head, uint64_t max) {
    lot_begin(&head->lot, CELL_MAGIC, CELL_VERSION, sizeof *head);
    head->max = max;
}

int cell_check(struct cell *cell, void *map, size_t size, const char *what) {
    struct cell_head *head = map;
    *cell = (struct cell){.head = head};
    int rc = lot_check(&head->lot, size, CELL_MAGIC, CELL_VERSION, sizeof *head, what);
    if (rc != 0) {
        return rc;
    }
    cell->max = atomic_peek(&head->max);
    if (cell->max == 0 || cell->max > CELL_MOST || cell_bytes(cell->max) > size) {
        return err_say(THIRL_EFORMAT, "%s says that it holds %llu bytes, and its file has %zu", what,
                       (unsigned long long)cell->max, size);
    }
    for (unsigned i = 0; i < CELL_SLOTS; i++) {
        cell->slot[i] = (const unsigned char *)map + sizeof *head + i * cell_stride(cell->max);
    }
    return 0;
}

static void fill(void *to, const void *from, size_t size) {
#if defined(__SANITIZE_THREAD__)
    for (size_t i = 0; i < size; i++) {
        atomic_poke((char *)to + i, ((const char *)from)[i]);
    }
#else
    copy_any(to, from, size);
#endif
}

uint64_t cell_write(struct cell *cell, const void *data, size_t size) {
    uint64_t number = atomic_peek(&cell->head->now) + 1;
    weave("cell.write.before");
    atomic_fence_stores(); /* pairs with the load fence in cell_read */
    atomic_poke(&cell->head->bytes[number % CELL_SLOTS], (uint64_t)size);
    weave("cell.write.size");
    fill(cell_slot(cell, number), data, size);
    weave("cell.write.filled");
    atomic_store(&cell->head->now, number); /* pairs with the load in cell_read */
    weave("cell.write.said");
    return number;
}
