/* SPDX-License-Identifier: MIT
 *
 * A cast: one writer, any number of readers, none of whom the writer has to know. It is a lane (mem/lane.h) whose records carry
 * a number behind their header, whose writer may overwrite what has not been read, and whose readers find that out. Before
 * the writer overwrites anything it publishes a floor: positions before it are not whole any more.
 *
 *     writer                                      reader
 *     (the record ends behind floor + ring)
 *     release floor = a later record  (1)         head = acquire header[at]        pairs with (4)
 *     full fence                      (2)         copies number and payload
 *     header[at + span] = 0, number, payload (3)  load fence                       pairs with (2)
 *     release header[at] = span, size (4)         floor > at: what was copied may be anything: go on at floor
 *
 * Who has read one byte of (3) that belongs to a later round sees, behind the load fence, the floor of (1). So a torn record is
 * never believed; until then it may be anything, and is bounded before it is used. The floor moves over a part of the ring at a
 * time, to a record that a mark remembers, so that the line all readers look at changes rarely.
 *
 * The payload is written and copied by plain moves, which is a data race by the letter: what they yield is thrown away unless
 * the floor says that there was none. ThreadSanitizer gets words.
 *
 * Positions and numbers are 64-bit and never wrap. Nothing here blocks, allocates or makes a system call.
 */
#ifndef MEM_CAST_H
#define MEM_CAST_H

#include "base/copy.h"
#include "base/layout.h"
#include "mem/lane.h"

#define CAST_MARKS 64 /* one for each part of the ring */
#define CAST_OVERHEAD (2 * sizeof(uint64_t))

struct cast_mark {
    uint64_t at, number; /* the first record of that part */
};

struct cast_head {                /* shared; written by the writer only */
    LINE_ALIGNED uint64_t floor;  /* the oldest record that is whole */
    LINE_ALIGNED uint64_t newest; /* where the last one stands, if the writer says that */
    LINE_ALIGNED uint64_t
        marked; /* counts the parts that have been begun: mark[marked - 1] is the last one's, modulo */
    struct cast_mark mark[CAST_MARKS];
};
LAYOUT(cast_head, 1216, mark, 136);

/* ---- the writer ---- */

struct cast_out {
    struct lane lane; /* limit: records must end here; the writer's owner sets it */
    struct cast_head *head;
    uint64_t number; /* of the next message */
    uint64_t next;   /* where the next part begins */
    unsigned shift;  /* log2 of a part's bytes */
};

struct cast_record { /* in front of the payload */
    struct lane_head head;
    uint64_t number;
};

/* Begins an empty cast at that position, a multiple of 8. ring: bytes, a power of two of at least 4096; mapped twice in a row. */
void cast_begin(struct cast_out *, struct cast_head *, void *ring, size_t bytes, uint64_t at);

/* The largest message: two of them fit, so that a reader has the time of one to take the other. */
static inline uint64_t cast_most(uint64_t ring) {
    return ring / 2 - 2 * CAST_OVERHEAD;
}

/* Bytes that a message of that size takes. */
static inline uint32_t cast_span(const struct cast_out *out, size_t size) {
    return lane_step(&out->lane, size + sizeof(uint64_t));
}

/* The first record at or behind that position, and the last one at or before it, as far as marks tell: never wrong, but
 * perhaps farther off than need be. Not behind the end, nor before the floor. */
uint64_t cast_up(const struct cast_out *, uint64_t position);
uint64_t cast_down(const struct cast_out *, uint64_t position);

/* Publishes the floor, a record's position. A full fence: what is asked of readers behind it has happened after it. */
void cast_raise(struct cast_out *, uint64_t floor);

/* Before the floor goes to a record's position that no mark knows, or to the end: lets the last mark know it, for those who join. */
void cast_remark(struct cast_out *, uint64_t position);

/* Notes where a part begins. */
void cast_part(struct cast_out *);

#if defined(__SANITIZE_THREAD__)
static inline void cast_move(void *to, const void *from, size_t size, bool out) {
    for (size_t i = 0; i < size; i += 8) {
        size_t some = size - i < 8 ? size - i : 8;
        uint64_t word = 0;
        if (out) {
            memcpy(&word, (const char *)from + i, some);
            atomic_poke((uint64_t *)(void *)((char *)to + i), word);
        } else {
            word = atomic_peek((const uint64_t *)(const void *)((const char *)from + i));
            memcpy((char *)to + i, &word, some);
        }
    }
}
#else
static inline void cast_move(void *to, const void *from, size_t size, bool out) {
    (void)out;
    copy_any(to, from, size);
}
#endif

/* Writes a message that fits (lane_fits), not yet visible; cast_commit does that. */
static inline struct cast_record *cast_write(struct cast_out *out, const void *data, size_t size, uint32_t span) {
    if (unlikely(out->lane.at >= out->next)) {
        cast_part(out);
    }
    struct cast_record *record = (struct cast_record *)(void *)lane_reserve(&out->lane, span);
    atomic_poke(&record->number, out->number++);
    cast_move(record + 1, data, size, true);
    return record;
}

static inline void cast_commit(struct cast_record *record, uint32_t span, size_t size) {
    lane_commit(&record->head, span, (uint32_t)size); /* (4) */
}

/* ---- a reader ---- */

struct cast_in {
    struct lane lane;
    const struct cast_head *head;
    uint64_t number; /* of the next message, if none is lost */
    uint64_t laps;   /* how often the writer was too fast */
    bool latest;     /* the writer says where the newest one is, and only that is wanted */
    bool fresh;      /* begins with whatever number comes */
    unsigned run;    /* messages since there was none */
};

struct cast_got {
    size_t size;
    uint64_t number, lost; /* lost: messages just before it */
    uint32_t span;
    uint64_t where[3]; /* of a message that lies elsewhere: what stands here */
};

/* Begins to read where the writer began. */
void cast_follow(struct cast_in *, const struct cast_head *, const void *ring, size_t bytes, uint64_t at);

/* Begins to read at the end, or that many messages before it, if they are still whole. -1: the writer lies. */
int cast_join(struct cast_in *, uint64_t history);

/* Takes the next message into the buffer: 1; 0: there is none; -1: the writer lies; -2: it does not fit (got->size is what it
 * needs) and stays; 2: it lies elsewhere (LANE_AWAY), got->where says where, and it stays until cast_accept: 1, it is taken; 0: the writer
 * was faster, and what is there may be another one's; -1: it lies. A full fence: whoever has written what keeps the message whole, and then is
 * told 1, is seen by a writer who raises the floor before it looks. */
int cast_accept(struct cast_in *, struct cast_got *);
int cast_read(struct cast_in *, void *buffer, size_t capacity, struct cast_got *);

/* Might cast_read say anything but 0? */
static inline bool cast_stirs(const struct cast_in *in) {
    return atomic_load(&lane_at(&in->lane, in->lane.at)->word) != 0 || atomic_load(&in->head->floor) > in->lane.at;
}

#endif
