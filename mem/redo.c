/* SPDX-License-Identifier: MIT
 *
 * Gathering changes, making them, and finishing those of the dead.
 */
#include "mem/redo.h"

#include <string.h>

#include "base/weave.h"
#include "include/thirl/thirl.h"

static bool is_place(uint64_t bytes, uint64_t place) {
    return place != 0 && place % sizeof(uint64_t) == 0 && place < bytes && bytes - place >= sizeof(uint64_t);
}

static uint64_t *at(const struct redo *redo, uint64_t place) {
    return (uint64_t *)(void *)(redo->base + place);
}

static unsigned bit_of(uint64_t place) {
    return (unsigned)(place * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

uint64_t redo_get(struct redo *redo, uint64_t place) {
    if (!is_place(redo->bytes, place)) {
        redo->wrong = true;
        return 0;
    }
    unsigned bit = bit_of(place);
    for (unsigned i = redo->seen[bit / 64] >> bit % 64 & 1 ? redo->count : 0; i-- > 0;) {
        if (redo->log->entry[i].place == place) {
            return redo->log->entry[i].value;
        }
    }
    return atomic_peek(at(redo, place));
}

void redo_put(struct redo *redo, uint64_t place, uint64_t value) {
    if (!is_place(redo->bytes, place) || redo->count == REDO_MOST) {
        redo->wrong = true;
        return;
    }
    unsigned bit = bit_of(place);
    redo->seen[bit / 64] |= UINT64_C(1) << bit % 64;
    redo->log->entry[redo->count].place = place;
    redo->log->entry[redo->count].value = value;
    redo->count++;
}

int redo_commit(struct redo *redo) {
    if (redo->wrong) {
        return -THIRL_EFORMAT;
    }
    weave("redo.commit.before");
    atomic_store(&redo->log->count, (uint64_t)redo->count); /* (1) */
    weave("redo.commit.said");
    for (unsigned i = 0; i < redo->count; i++) {
        atomic_store(at(redo, redo->log->entry[i].place), redo->log->entry[i].value);
        weave("redo.commit.one");
    }
    atomic_store(&redo->log->count, 0); /* (3) */
    weave("redo.commit.after");
    redo->count = 0;
    memset(redo->seen, 0, sizeof redo->seen);
    return 0;
}

int redo_recover(void *base, uint64_t bytes, struct redo_log *log) {
    uint64_t count = atomic_load(&log->count); /* pairs with (1) */
    struct redo redo = {.base = base, .bytes = bytes};
    for (uint64_t i = 0; i < count; i++) {
        if (count > REDO_MOST || !is_place(bytes, log->entry[i].place)) {
            return -THIRL_EFORMAT;
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        weave("redo.recover.one");
        atomic_store(at(&redo, log->entry[i].place), log->entry[i].value);
    }
    weave("redo.recover.before");
    atomic_store(&log->count, 0);
    return 0;
}
