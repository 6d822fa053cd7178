/* SPDX-License-Identifier: MIT
 *
 * The states of a search, see states.h: a hash table that is never more than half full.
 */
#include "tests/race/states.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    unsigned char *state;
    bool *taken;
    size_t size, room;
    unsigned count;
} seen;

void states_begin(size_t size, size_t room) {
    free(seen.state);
    free(seen.taken);
    seen.state = malloc(room * size);
    seen.taken = calloc(room, sizeof *seen.taken);
    seen.size = size;
    seen.room = room;
    seen.count = 0;
    assert_true(seen.state != NULL && seen.taken != NULL);
}

bool states_new(const void *state) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < seen.size; i++) {
        hash = (hash ^ ((const unsigned char *)state)[i]) * 16777619u;
    }
    for (size_t i = hash % seen.room;; i = (i + 1) % seen.room) {
        unsigned char *place = seen.state + i * seen.size;
        if (!seen.taken[i]) {
            assert_true(seen.count < seen.room / 2);
            seen.taken[i] = true;
            memcpy(place, state, seen.size);
            seen.count++;
            return true;
        }
        if (memcmp(place, state, seen.size) == 0) {
            return false;
        }
    }
}

unsigned states_count(void) {
    return seen.count;
}
