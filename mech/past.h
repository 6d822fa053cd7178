/* SPDX-License-Identifier: MIT
 *
 * The last messages of a publisher, numbered without a hole and bounded in bytes: what has no room takes the oldest with it.
 * Allocates when the first comes, and where one is larger than everything before; the caller keeps calls apart.
 */
#ifndef MECH_PAST_H
#define MECH_PAST_H

#include <stddef.h>
#include <stdint.h>

struct past_piece {
    size_t at, size;
};

struct past {        /* zeroed but for room */
    size_t room;     /* bytes */
    size_t from, to; /* where the oldest begins and the newest ends */
    unsigned char *bytes;
    struct past_piece *piece;
    uint64_t pieces;      /* a power of 2: that many can be noted */
    uint64_t first, next; /* numbers of the oldest, and of the one that comes next */
};

/* Adds the message with that number; one that does not follow the newest makes the others go first. 0 or -ENOMEM: then all are
 * gone, this one too. */
int past_put(struct past *, uint64_t number, const void *data, size_t size);

/* That one, which is there: first <= number < next. */
const void *past_get(const struct past *, uint64_t number, size_t *size);

/* Those before `first` go. */
void past_trim(struct past *, uint64_t first);
void past_free(struct past *);

#endif
