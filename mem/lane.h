/* SPDX-License-Identifier: MIT
 *
 * A lane: one writer, one reader, bytes in place. Records stand packed in a ring that is mapped twice in a row: an 8-byte
 * header, then the payload, rounded up to 8. The header's span is the commit flag: the writer clears the header behind a
 * record before it releases the record's own span, so the reader polls the very line that will hold its data.
 *
 *     writer                                   reader
 *     (room: cursor + ring >= end of record)   span = acquire header[at].span      pairs with (1)
 *     header[at + span].span = 0               0: nothing there yet
 *     payload, header[at].size                 reads size, payload
 *     release header[at].span = span   (1)     release cursor = at + span  (2)
 *     acquire cursor, pairs with (2), only when the room that it knows of is used up
 *
 * Positions are 64-bit and never wrap. A writer that dies leaves a lane that ends before its first unfinished record.
 * Nothing here blocks, allocates or makes a system call.
 */
#ifndef MEM_LANE_H
#define MEM_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/atomic.h"

struct lane_head {
    uint32_t span; /* bytes to the next header, this one included; 0: not committed */
    uint32_t size; /* payload bytes, and LANE_SKIP */
};

#define LANE_SKIP UINT32_C(0x80000000) /* an abandoned record: go on behind it */
#define LANE_SIZE_MAX UINT32_C(0x7fffffff)

/* One side's view of the ring. */
struct lane {
    unsigned char *ring;
    uint64_t mask;  /* ring bytes - 1 */
    uint64_t at;    /* writer: where the next record goes; reader: where it is expected */
    uint64_t limit; /* writer: records must end here, as far as it knows */
};

static inline uint32_t lane_span(size_t size) {
    return (uint32_t)((sizeof(struct lane_head) + size + 7) & ~(size_t)7);
}

/* Writer: bytes from the next record to the one behind it. A record that fits into a cache line does not straddle two: each
 * line costs a transfer. What keeps the next one of the same size whole is added to this one. */
static inline uint32_t lane_step(const struct lane *lane, size_t size) {
    uint32_t span = lane_span(size);
    uint32_t used = (uint32_t)(lane->at + span) % CACHE_LINE;
    return span > CACHE_LINE || used + span <= CACHE_LINE ? span : span + (CACHE_LINE - used);
}

static inline struct lane_head *lane_at(const struct lane *lane, uint64_t at) {
    return (struct lane_head *)(void *)(lane->ring + (at & lane->mask));
}

/* Writer: makes position `at` the empty beginning of a lane. The ring's other bytes may be anything. */
static inline void lane_begin(struct lane *lane, uint64_t at) {
    lane->at = at;
    atomic_poke(&lane_at(lane, at)->span, 0);
}

/* Writer: is there room for a record of that span, and for the cleared header behind it? */
static inline bool lane_fits(const struct lane *lane, uint32_t span) {
    return lane->at + span + sizeof(struct lane_head) <= lane->limit;
}

/* Writer: the next record, reserved; lane_fits said yes. Its payload stands behind the header, in one piece. Reserved records
 * may be committed in any order; the reader stops before the first that is not. */
static inline struct lane_head *lane_reserve(struct lane *lane, uint32_t span) {
    struct lane_head *head = lane_at(lane, lane->at);
    lane->at += span;
    atomic_poke(&lane_at(lane, lane->at)->span, 0);
    return head;
}

static inline void lane_commit(struct lane_head *head, uint32_t span, uint32_t size) {
    atomic_poke(&head->size, size);
    atomic_store(&head->span, span); /* (1) */
}

/* Reader: what stands at its position. 1: *span and *size are copied out and checked against the ring; 0: nothing
 * yet; -1: the writer lies. */
static inline int lane_look(const struct lane *lane, uint32_t *span, uint32_t *size) {
    const struct lane_head *head = lane_at(lane, lane->at);
    *span = atomic_load(&head->span); /* pairs with (1) */
    if (*span == 0) {
        return 0;
    }
    *size = atomic_peek(&head->size);
    uint64_t payload = *size & LANE_SIZE_MAX;
    return likely(*span <= lane->mask && (*span & 7) == 0 && payload + sizeof *head <= *span) ? 1 : -1;
}

/* Reader, in the middle of a stream: has the lines that it will want in a moment come over while it works on these. */
static inline void lane_fetch(const struct lane *lane) {
    const unsigned char *ahead = (const unsigned char *)lane_at(lane, lane->at + 16 * CACHE_LINE);
    __builtin_prefetch(ahead);
    __builtin_prefetch(ahead + CACHE_LINE); /* records that are longer than a line step over one now and then */
}

static inline void *lane_payload(const struct lane_head *head) {
    return (void *)((uintptr_t)head + sizeof *head);
}

typedef uint64_t lane_words __attribute__((vector_size(16), aligned(1), may_alias));

/* memcpy that does not leave the function for small sizes: from both ends, overlapping in the middle. */
static inline void lane_copy(void *to, const void *from, size_t size) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (size == 8) {
        memcpy(t, f, 8);
    } else if (size > 64 || size < 4) {
        if (size != 0) { /* then either may be NULL */
            memcpy(t, f, size);
        }
    } else if (size >= 16) {
        size_t second = size > 32 ? 16 : 0; /* the two in the middle are the outer ones again when there are no more */
        lane_words a = *(const lane_words *)f, b = *(const lane_words *)(f + second);
        lane_words c = *(const lane_words *)(f + size - 16 - second), d = *(const lane_words *)(f + size - 16);
        *(lane_words *)t = a;
        *(lane_words *)(t + second) = b;
        *(lane_words *)(t + size - 16 - second) = c;
        *(lane_words *)(t + size - 16) = d;
    } else if (size > 8) {
        uint64_t head, tail;
        memcpy(&head, f, 8);
        memcpy(&tail, f + size - 8, 8);
        memcpy(t, &head, 8);
        memcpy(t + size - 8, &tail, 8);
    } else {
        uint32_t head, tail;
        memcpy(&head, f, 4);
        memcpy(&tail, f + size - 4, 4);
        memcpy(t, &head, 4);
        memcpy(t + size - 4, &tail, 4);
    }
}

#endif
