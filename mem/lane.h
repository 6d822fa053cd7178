/* SPDX-License-Identifier: MIT
 *
 * A lane: one writer, one reader, bytes in place. Records stand packed in a ring that is mapped twice in a row: an 8-byte
 * header, then the payload, rounded up to 8. The header is one word, and the commit flag: the writer clears the header behind
 * a record before it releases the record's own, so the reader polls the very line that will hold its data.
 *
 *     writer                                   reader
 *     (room: cursor + ring >= end of record)   head = acquire header[at]           pairs with (1)
 *     header[at + span] = 0                    0: nothing there yet
 *     payload                                  reads the payload
 *     release header[at] = span, size  (1)     release cursor = at + span  (2)
 *     acquire cursor, pairs with (2), only when the room that it knows of is used up
 *
 * Many records are committed together by the first one's header: those behind it are complete by then.
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
#include "base/layout.h"

struct lane_head {
    uint64_t
        word; /* low half, the span: bytes to the next header, this one included; high half, the size: payload bytes, and
                    * what else there is to say. 0: not committed. */
};
LAYOUT(lane_head, 8, word, 0);

#define LANE_SKIP UINT32_C(0x80000000) /* an abandoned record: go on behind it */
#define LANE_SIZE_MAX UINT32_C(0x7fffffff)
#define LANE_AWAY UINT32_C(0x40000000) /* the message lies elsewhere: here is only where. For those who know of it */
#define LANE_RUN                                                                                                       \
    (LANE_SKIP | LANE_AWAY) /* many messages of one size: the high half says how many, and of which (mem/run.h) */
#define LANE_RUN_SIZE UINT32_C(255)  /* bytes of each at most */
#define LANE_RUN_SHIFT 8             /* the number stands above the size */
#define LANE_AHEAD (48 * CACHE_LINE) /* fetched so far ahead of the reader, */
#define LANE_CLAIM (32 * CACHE_LINE) /* and of the writer */

/* One side's view of the ring. */
struct lane {
    unsigned char *ring;
    uint64_t mask;  /* ring bytes - 1 */
    uint64_t at;    /* writer: where the next record goes; reader: where it is expected */
    uint64_t limit; /* writer: records must end here, as far as it knows */
};

/* Bytes that a payload takes up. */
static inline size_t lane_round(size_t size) {
    return (size + 7) & ~(size_t)7;
}

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
    atomic_poke(&lane_at(lane, at)->word, 0);
}

/* Writer: is there room for a record of that span, and for the cleared header behind it? */
static inline bool lane_fits(const struct lane *lane, uint32_t span) {
    return lane->at + span + sizeof(struct lane_head) <= lane->limit;
}

/* Writer: has the lines that it will write to in a moment come over while it writes these. What was read there last lies in the
 * reader's cache, and stores wait in a short queue, in order: without this few lines would be on their way at a time. */
static inline void lane_claim(const struct lane_head *head, uint32_t span) {
    const unsigned char *ahead = (const unsigned char *)head + LANE_CLAIM;
    atomic_claim(ahead);
    if (span > CACHE_LINE) {
        atomic_claim(ahead + CACHE_LINE); /* or it would step over one now and then */
    }
}

/* Writer: the next record, reserved; lane_fits said yes. Its payload stands behind the header, in one piece. Reserved records
 * may be committed in any order; the reader stops before the first that is not. */
static inline struct lane_head *lane_reserve(struct lane *lane, uint32_t span) {
    struct lane_head *head = lane_at(lane, lane->at);
    lane_claim(head, span);
    lane->at += span;
    atomic_poke(&lane_at(lane, lane->at)->word, 0);
    return head;
}

static inline uint64_t lane_word(uint32_t span, uint32_t size) {
    return (uint64_t)size << 32 | span;
}

static inline uint32_t lane_run(uint32_t count, uint32_t size) {
    return LANE_RUN | count << LANE_RUN_SHIFT | size;
}

static inline bool lane_is_run(uint32_t size) {
    return (size & LANE_RUN) == LANE_RUN;
}

static inline uint32_t lane_run_count(uint32_t size) {
    return (size & ~LANE_RUN) >> LANE_RUN_SHIFT;
}

static inline uint32_t lane_run_size(uint32_t size) {
    return size & LANE_RUN_SIZE;
}

static inline void lane_commit(struct lane_head *head, uint32_t span, uint32_t size) {
    atomic_store(&head->word, lane_word(span, size)); /* (1) */
}

/* Reader: does that header, of a message or a gap, fit the ring? size without LANE_SKIP. */
static inline bool lane_sound(const struct lane *lane, uint32_t span, uint32_t size) {
    return span <= lane->mask && (span & 7) == 0 && (uint64_t)size + sizeof(struct lane_head) <= span;
}

/* The same of a run, which is no longer and no shorter than its messages. */
static inline bool lane_run_sound(const struct lane *lane, uint32_t span, uint32_t size) {
    const uint64_t step = lane_round(lane_run_size(size));
    return span <= lane->mask && step * lane_run_count(size) + sizeof(struct lane_head) == span && step != 0 &&
           lane_run_count(size) != 0;
}

/* Reader: what stands at its position. 1: *span and *size are copied out and checked against the ring; 0: nothing
 * yet; -1: the writer lies. */
static inline int lane_look(const struct lane *lane, uint32_t *span, uint32_t *size) {
    uint64_t word = atomic_load(&lane_at(lane, lane->at)->word); /* pairs with (1) */
    *span = (uint32_t)word;
    *size = (uint32_t)(word >> 32);
    if (*span == 0) {
        return 0;
    }
    return likely(lane_sound(lane, *span, *size & LANE_SIZE_MAX)) ? 1 : -1;
}

/* The same of a lane whose messages may lie elsewhere, or be many: what stands here is bounded, *size keeps both flags. */
static inline int lane_look_away(const struct lane *lane, uint32_t *span, uint32_t *size) {
    uint64_t word = atomic_load(&lane_at(lane, lane->at)->word); /* pairs with (1) */
    *span = (uint32_t)word;
    *size = (uint32_t)(word >> 32);
    if (*span == 0) {
        return 0;
    }
    bool sound =
        unlikely(lane_is_run(*size)) ? lane_run_sound(lane, *span, *size) : lane_sound(lane, *span, *size & ~LANE_RUN);
    return likely(sound) ? 1 : -1;
}

/* Reader, in the middle of a stream: has the lines that it will want in a moment come over while it works on these. Behind the
 * ring's end its first half stands again. */
static inline void lane_fetch(const struct lane_head *head, uint32_t span) {
    const unsigned char *ahead = (const unsigned char *)head + LANE_AHEAD;
    __builtin_prefetch(ahead);
    if (span > CACHE_LINE) {
        __builtin_prefetch(ahead + CACHE_LINE); /* or it would step over one now and then */
    }
}

static inline void *lane_payload(const struct lane_head *head) {
    return (void *)((uintptr_t)head + sizeof *head);
}

#endif
