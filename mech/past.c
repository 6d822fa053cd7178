/* SPDX-License-Identifier: MIT
 *
 * A ring of whole messages, see past.h. None is cut in two at the end of the ring, so each can be sent from where it lies.
 */
#include "mech/past.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define PIECES 64

static struct past_piece *piece_of(const struct past *p, uint64_t number) {
    return &p->piece[number & (p->pieces - 1)];
}

void past_trim(struct past *p, uint64_t first) {
    if (first >= p->next) {
        p->first = p->next;
        p->from = p->to = 0;
    } else if (first > p->first) {
        p->first = first;
        p->from = piece_of(p, first)->at;
    }
}

static int fail(struct past *p, size_t size) {
    past_trim(p, p->next);
    return err_say(ENOMEM, "no memory to keep a message of %zu bytes for those who are slow or late", size);
}

/* Room to note one more. */
static bool grow_pieces(struct past *p) {
    if (p->next - p->first < p->pieces) {
        return true;
    }
    uint64_t pieces = p->pieces == 0 ? PIECES : 2 * p->pieces;
    struct past_piece *piece = malloc(pieces * sizeof(*piece));
    if (piece == NULL) {
        return false;
    }
    for (uint64_t n = p->first; n < p->next; n++) {
        piece[n & (pieces - 1)] = *piece_of(p, n);
    }
    free(p->piece);
    p->piece = piece;
    p->pieces = pieces;
    return true;
}

/* Where that many bytes can lie in one piece; the oldest go until there is such a place. */
static size_t place(struct past *p, size_t span) {
    while (p->first < p->next) {
        bool wrapped = p->to <= p->from;
        size_t end = wrapped ? p->from : p->room;
        if (span <= end - p->to) {
            return p->to;
        }
        if (!wrapped && span <= p->from) {
            return 0;
        }
        past_trim(p, p->first + 1);
    }
    return 0;
}

int past_put(struct past *p, uint64_t number, const void *data, size_t size) {
    size_t span = size < 8 ? 8 : (size + 7) & ~(size_t)7; /* never nothing: from and to differ while there is one */
    if (number != p->next) {
        past_trim(p, p->next);
        p->first = p->next = number;
    }
    if (p->bytes == NULL || span > p->room) {
        past_trim(p, p->next);
        free(p->bytes);
        p->room = span > p->room ? span : p->room;
        p->bytes = malloc(p->room);
    }
    if (p->bytes == NULL || !grow_pieces(p)) {
        return fail(p, size);
    }
    size_t at = place(p, span);
    if (size != 0) {
        memcpy(p->bytes + at, data, size);
    }
    *piece_of(p, number) = (struct past_piece){at, size};
    p->from = p->first == p->next ? at : p->from;
    p->to = at + span;
    p->next = number + 1;
    return 0;
}

const void *past_get(const struct past *p, uint64_t number, size_t *size) {
    const struct past_piece *piece = piece_of(p, number);
    *size = piece->size;
    return p->bytes + piece->at;
}

void past_free(struct past *p) {
    free(p->bytes);
    free(p->piece);
    p->bytes = NULL;
    p->piece = NULL;
}
