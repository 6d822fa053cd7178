/* SPDX-License-Identifier: MIT
 *
 * Shared state by name: a cell in a file of the registry, and beside it a file in which those who wait for a change say so. That one is
 * writable for everybody who may read the state, and nothing depends on it but how soon a sleeper wakes.
 */
#include "include/thirl/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/copy.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/proc.h"
#include "base/weave.h"
#include "base/wide.h"
#include "mem/cell.h"
#include "mem/lot.h"
#include "mem/node.h"
#include "mem/tally.h"

#define USUAL_MAX 4096
#define LIMIT_NS (30 * CLOCK_S)
#define BLIND_NS (5 * CLOCK_MS) /* longest sleep of who cannot say that he sleeps */

struct thirl_state {
    struct cell cell;
    uint32_t epoch;
    uint64_t wide; /* values up to that size are copied out by the widest registers; 0: there are none here */
    uint64_t self;
    struct lot lot, wish_lot;
    struct tally_wish *wish; /* NULL: this process may not write there */
    struct node_end *line;
    char shown[LOT_SHOWN_MAX];
};

__attribute__((cold, noinline)) static int refuse(const thirl_state *state) {
    return state == NULL ? err_say(EINVAL, "there is no state (NULL)")
                         : err_say(THIRL_EFORKED, "%s was opened before fork, by the parent process", state->shown);
}

static inline bool is_mine(const thirl_state *state) {
    return likely(state != NULL && state->epoch == proc_epoch());
}

static void begin_cell(void *map, void *context) {
    struct cell_head *head = map;
    cell_begin(head, *(const uint64_t *)context);
    lot_registry(head->registry);
}

static void begin_wish(void *map, void *context) {
    (void)map;
    (void)context;
}

/* Whoever may read the state may say that he waits for it. */
static unsigned wish_mode(unsigned mode) {
    return mode | (mode & 0444) >> 1;
}

static int open_files(thirl_state *state, const char *file, const struct thirl_state_options *o) {
    char wish[LOT_NAME_MAX + 8];
    uint64_t max = o->max != 0 ? o->max : USUAL_MAX;
    bool writes = o->access == THIRL_ACCESS_WRITE;
    unsigned mode = o->mode != 0 ? o->mode : 0600;
    (void)snprintf(wish, sizeof wish, "%s+wish", file);
    const struct lot_plan beside = {.file = wish,
                                    .what = state->shown,
                                    .writable = true,
                                    .make = writes,
                                    .bytes = sizeof(struct tally_wish),
                                    .mode = wish_mode(mode),
                                    .group = o->group,
                                    .begin = begin_wish};
    const struct lot_plan plan = {.file = file,
                                  .what = state->shown,
                                  .writable = writes,
                                  .make = writes,
                                  .bytes = cell_bytes(max),
                                  .mode = mode,
                                  .group = o->group,
                                  .begin = begin_cell,
                                  .context = &max};
    int rc = lot_open(&state->wish_lot, &beside);
    if (rc == 0 && state->wish_lot.size >= sizeof(struct tally_wish)) {
        state->wish = state->wish_lot.map;
    } else if (rc != 0 && writes) {
        return rc;
    }
    rc = lot_open(&state->lot, &plan);
    if (rc == -ENOENT) {
        return err_say(ENOENT, "there is no %s yet: a writer makes it", state->shown);
    }
    rc = rc != 0 ? rc : cell_check(&state->cell, state->lot.map, state->lot.size, state->shown);
    rc = rc != 0 ? rc : lot_belongs(state->cell.head->registry, state->shown);
    if (rc != 0) {
        return rc;
    }
    if (o->max > state->cell.max) {
        return err_say(EMSGSIZE, "%s holds values up to %llu bytes, not %llu: remove it, or ask for less", state->shown,
                       (unsigned long long)state->cell.max, (unsigned long long)o->max);
    }
    return 0;
}

static int check_options(struct thirl_state_options *o, const struct thirl_state_options *given) {
    int rc = lot_options(o, sizeof *o, given, "thirl_state_open");
    if (rc != 0) {
        return rc;
    }
    if (o->max > CELL_MOST) {
        return err_say(EMSGSIZE, "thirl_state_open: values of %llu bytes are more than the %llu that a state can hold",
                       (unsigned long long)o->max, (unsigned long long)CELL_MOST);
    }
    return o->access > THIRL_ACCESS_READ || (o->mode & ~0777u) != 0
               ? err_say(EINVAL, "thirl_state_open: access %u or mode 0%o is none", o->access, o->mode)
               : 0;
}

int thirl_state_open(thirl_state **state, const char *name, const struct thirl_state_options *options) {
    struct thirl_state_options o = {.size = sizeof o};
    char file[LOT_NAME_MAX];
    if (state == NULL) {
        return err_say(EINVAL, "thirl_state_open: there is no room for the handle (NULL)");
    }
    *state = NULL;
    thirl_state *made = aligned_alloc(CACHE_LINE, (sizeof *made + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (made == NULL) {
        return err_say(ENOMEM, "no memory to open a state");
    }
    memset(made, 0, sizeof *made);
    made->lot.fd = made->wish_lot.fd = -1;
    int rc = lot_name(file, made->shown, "state", name);
    rc = rc != 0 ? rc : check_options(&o, options);
    rc = rc != 0 ? rc : node_end_take(&made->line, strchr(made->shown, ' ') + 1, NODE_ROLE_STATE, true);
    rc = rc != 0 ? rc : open_files(made, file, &o);
    if (rc != 0) {
        thirl_state_close(&made);
        return rc;
    }
    made->epoch = proc_epoch();
    made->wide = !wide_here() ? 0 : made->cell.max < WIDE_MOST ? made->cell.max : WIDE_MOST;
    made->self = node_id();
    *state = made;
    return 0;
}

void thirl_state_close(thirl_state **state) {
    thirl_state *old = state != NULL ? *state : NULL;
    if (old == NULL) {
        return;
    }
    *state = NULL;
    bool child = old->epoch != 0 && old->epoch != proc_epoch(); /* the mappings and the line are the parent's */
    if (child) {
        old->lot.map = old->wish_lot.map = NULL;
    }
    lot_close(&old->lot);
    lot_close(&old->wish_lot);
    if (old->line != NULL && !child) {
        node_end_free(old->line);
    }
    free(old);
}

static int64_t deadline(thirl_time until) {
    return until.ns < 0 ? clock_after(clock_now(), LIMIT_NS) : until.ns;
}

HOT int thirl_state_set(thirl_state *state, const void *data, size_t size, thirl_time until) {
    if (!is_mine(state)) {
        return refuse(state);
    }
    if (size > state->cell.max || (data == NULL && size != 0)) {
        return data == NULL ? err_say(EINVAL, "%s: there is no value (NULL)", state->shown)
                            : err_say(EMSGSIZE, "%s holds values up to %llu bytes, this one has %zu", state->shown,
                                      (unsigned long long)state->cell.max, size);
    }
    if (!state->lot.writable) {
        return err_say(EACCES, "%s was opened for reading only", state->shown);
    }
    struct own *turn = &state->cell.head->turn;
    int rc = own_take(turn, state->self, until.ns >= 0 ? until.ns : deadline(until));
    if (rc < 0) {
        return err_say(-rc, "%s: another writer has been in the midst of a value for long", state->shown);
    }
    (void)cell_write(&state->cell, data, size); /* what a dead writer left undone is filled in again */
    own_give(turn);
    if (state->wish != NULL) {
        (void)tally_ring(state->wish);
    }
    return 0;
}

__attribute__((cold, noinline)) static int explain(const thirl_state *state, int rc, size_t capacity, size_t size) {
    switch (rc) {
    case -ENODATA:
        return err_say(ENODATA, "%s has no value yet", state->shown);
    case -EMSGSIZE:
        return err_say(EMSGSIZE, "%s: the value has %zu bytes, the buffer %zu", state->shown, size, capacity);
    case -EAGAIN:
        return err_say(EAGAIN, "%s is overwritten faster than it can be read: try again", state->shown);
    default:
        return err_say(THIRL_EFORMAT, "%s: its writer says a size that no value has", state->shown);
    }
}

/* Everything but the first try. */
__attribute__((noinline)) static int get(const thirl_state *state, void *buffer, size_t capacity, size_t *size,
                                         uint64_t *version) {
    size_t bytes = 0;
    uint64_t number = 0;
    int rc = cell_read(&state->cell, buffer, buffer != NULL ? capacity : 0, &bytes, &number);
    if (size != NULL) {
        *size = bytes;
    }
    if (version != NULL) {
        *version = number;
    }
    return likely(rc == 0) ? 0 : explain(state, rc, capacity, bytes);
}

static inline void tell(size_t *size, uint64_t bytes, uint64_t *version, uint64_t number) {
    *size = (size_t)bytes;
    if (version != NULL) {
        *version = number;
    }
}

static inline uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* One try, of up to `most` bytes; brief: at most COPY_FEW. */
static inline __attribute__((always_inline)) int get_once(const thirl_state *state, void *buffer, size_t capacity,
                                                          uint64_t most, bool brief, size_t *size, uint64_t *version) {
    const struct cell_head *head = state->cell.head;
    const unsigned char *slot;
    uint64_t number, bytes;
    if (unlikely(!cell_look(&state->cell, smaller(capacity, most), &slot, &number, &bytes) || bytes == 0)) {
        return get(state, buffer, capacity, size, version);
    }
    cell_copy(buffer, slot, (size_t)bytes, brief);
    if (unlikely(!cell_stands(head, number))) {
        return get(state, buffer, capacity, size, version);
    }
    tell(size, bytes, version, number);
    return 0;
}

/* Functions of their own, so that small values pay for no registers that these need. */
__attribute__((noinline)) static int get_large(const thirl_state *state, void *buffer, size_t capacity, size_t *size,
                                               uint64_t *version) {
    return get_once(state, buffer, capacity, state->cell.max, false, size, version);
}

/* Of any size up to COPY_FEW. */
__attribute__((noinline)) static int get_short(const thirl_state *state, void *buffer, size_t capacity, size_t *size,
                                               uint64_t *version) {
    return get_once(state, buffer, capacity, COPY_FEW, true, size, version);
}

/* The same without a call, whose stores would stand in line with those of the value; so do the answers, unless they are there before. */
WIDE __attribute__((noinline)) static int get_wide(const thirl_state *state, void *buffer, size_t capacity,
                                                   size_t *size, uint64_t *version) {
    const struct cell_head *head = state->cell.head;
    const unsigned char *slot;
    uint64_t number, bytes;
    if (unlikely(!cell_look(&state->cell, smaller(capacity, state->wide), &slot, &number, &bytes) ||
                 bytes < WIDE_LINE)) {
        return get_large(state, buffer, capacity, size, version);
    }
    tell(size, bytes, version, number);
    wide_copy(buffer, slot, (size_t)bytes);
    return likely(cell_stands(head, number)) ? 0 : get(state, buffer, capacity, size, version);
}

HOT int thirl_state_get(thirl_state *state, void *buffer, size_t capacity, size_t *size, uint64_t *version) {
    if (!is_mine(state)) {
        return refuse(state);
    }
    if (unlikely(buffer == NULL || size == NULL)) {
        return get(state, buffer, capacity, size, version);
    }
    /* The buffer, for its size costs no look at anything: who reads small values seldom has a large one. */
    if (capacity > COPY_FEW) {
        return state->wide != 0 ? get_wide(state, buffer, capacity, size, version)
                                : get_large(state, buffer, capacity, size, version);
    }
    const struct cell_head *head = state->cell.head;
    const unsigned char *slot;
    uint64_t number, bytes;
    if (unlikely(!cell_look(&state->cell, capacity, &slot, &number, &bytes))) {
        return get(state, buffer, capacity, size, version);
    }
    if (bytes == 8) {
        cell_copy(buffer, slot, 8, true);
    } else if (bytes > COPY_FEW / 2) {
        cell_copy(buffer, slot, (size_t)bytes, true);
    } else { /* takes more registers, and for each of them a store and a load */
        return get_short(state, buffer, capacity, size, version);
    }
    if (unlikely(!cell_stands(head, number))) {
        return get(state, buffer, capacity, size, version);
    }
    tell(size, bytes, version, number);
    return 0;
}

/* One sleep: until it changes, or the slice is over. */
static void doze(const thirl_state *state, uint64_t version, int64_t slice, int64_t until) {
    uint32_t seen = 0;
    const uint32_t *word = (const uint32_t *)(const void *)&state->cell.head->now;
    word += __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
    if (state->wish != NULL) {
        seen = tally_wish(state->wish, TALLY_SLEEPS);
        word = &state->wish->given;
    }
    if (atomic_load(&state->cell.head->now) == version) { /* pairs with the store in cell_write */
        (void)futex_wait(word, state->wish != NULL ? seen : (uint32_t)version, slice < until ? slice : until);
    }
}

int thirl_state_wait(thirl_state *state, uint64_t *version, thirl_time until) {
    if (!is_mine(state)) {
        return refuse(state);
    }
    if (version == NULL) {
        return err_say(EINVAL, "thirl_state_wait: there is no version to differ from (NULL)");
    }
    int64_t end = deadline(until);
    for (;;) {
        uint64_t now = atomic_load(&state->cell.head->now); /* pairs with the store in cell_write */
        if (now != *version) {
            *version = now;
            return 0;
        }
        int64_t clock = end == 0 ? 0 : clock_now();
        if (clock >= end) {
            return err_say(end == 0 ? EAGAIN : ETIMEDOUT, "%s: nobody has written since version %llu", state->shown,
                           (unsigned long long)*version);
        }
        doze(state, *version, clock_after(clock, state->wish != NULL ? OWN_SLICE_NS : BLIND_NS), end);
    }
}

uint64_t thirl_state_max(const thirl_state *state) {
    return state != NULL ? state->cell.max : 0;
}

int thirl_state_remove(const char *name) {
    char file[LOT_NAME_MAX], shown[LOT_SHOWN_MAX], wish[LOT_NAME_MAX + 8];
    int rc = lot_name(file, shown, "state", name);
    rc = rc != 0 ? rc : lot_remove(file, shown);
    if (rc == 0) {
        (void)snprintf(wish, sizeof wish, "%s+wish", file);
        (void)lot_remove(wish, shown);
    }
    return rc;
}
