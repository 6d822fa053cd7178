/* SPDX-License-Identifier: MIT
 *
 * One writer, many readers: floors, marks, and reading what may be overwritten meanwhile.
 */
#include "mem/cast.h"

#include "base/weave.h"

#define RUN 4     /* in a row, and the next ones are worth fetching: sooner it would take the writer's lines away */
#define NOWHERE 1 /* no record's position */
#define TRIES 64  /* a reader that is overtaken so often in a row comes back later */

/* ---- the writer ---- */

void cast_begin(struct cast_out *out, struct cast_head *head, void *ring, size_t bytes, uint64_t at) {
    *out = (struct cast_out){.lane = {.ring = ring, .mask = bytes - 1, .limit = at + bytes}, .head = head};
    out->shift = (unsigned)__builtin_ctzll(bytes / CAST_MARKS);
    lane_begin(&out->lane, at);
    atomic_poke(&head->floor, at);
    atomic_poke(&head->newest, at);
    atomic_poke(&head->marked, at >> out->shift);
    cast_part(out);
}

void cast_part(struct cast_out *out) {
    uint64_t part = out->lane.at >> out->shift, marked = out->head->marked;
    for (; marked <= part; marked++) {
        struct cast_mark *mark = &out->head->mark[marked % CAST_MARKS];
        atomic_poke(&mark->at, out->lane.at);
        atomic_poke(&mark->number, out->number);
    }
    atomic_store(&out->head->marked, marked); /* pairs with the load in newest_mark */
    out->next = (part + 1) << out->shift;
}

void cast_remark(struct cast_out *out, uint64_t position) {
    struct cast_mark *mark = &out->head->mark[(out->head->marked - 1) % CAST_MARKS];
    if (mark->at >= position) {
        return;
    }
    const struct cast_record *record = (const struct cast_record *)(const void *)lane_at(&out->lane, position);
    uint64_t number = position == out->lane.at ? out->number : atomic_peek(&record->number);
    atomic_poke(&mark->at, NOWHERE); /* both pair with newest_mark, which looks twice */
    weave("cast.remark.between");
    atomic_store(&mark->number, number);
    atomic_store(&mark->at, position);
}

/* Of a part that has begun and is not yet forgotten. */
static uint64_t place(const struct cast_out *out, uint64_t part) {
    return out->head->mark[part % CAST_MARKS].at;
}

uint64_t cast_up(const struct cast_out *out, uint64_t position) {
    uint64_t part = (position + (UINT64_C(1) << out->shift) - 1) >> out->shift;
    return part < out->head->marked ? place(out, part) : out->lane.at;
}

uint64_t cast_down(const struct cast_out *out, uint64_t position) {
    uint64_t floor = out->head->floor, part = position >> out->shift;
    if (position >= out->lane.at) {
        return out->lane.at;
    }
    part = part < out->head->marked ? part : out->head->marked - 1;
    for (unsigned i = 0; i < CAST_MARKS && part > floor >> out->shift; i++, part--) {
        if (place(out, part) <= position) {
            return place(out, part);
        }
    }
    return floor;
}

void cast_raise(struct cast_out *out, uint64_t floor) {
    weave("cast.raise.before");
    atomic_store(&out->head->floor, floor); /* (1) */
    weave("cast.raise.said");
    atomic_fence(); /* (2) */
}

/* ---- a reader ---- */

void cast_follow(struct cast_in *in, const struct cast_head *head, const void *ring, size_t bytes, uint64_t at) {
    *in =
        (struct cast_in){.head = head, .lane = {.ring = (unsigned char *)(uintptr_t)ring, .mask = bytes - 1, .at = at}};
}

/* A header at that position, copied out: 1 sound, 0 nothing there, -1 no header. */
static int look(const struct cast_in *in, uint64_t at, uint32_t *span, uint32_t *size) {
    uint64_t word = atomic_load(&lane_at(&in->lane, at)->word); /* pairs with (4) */
    *span = (uint32_t)word;
    *size = (uint32_t)(word >> 32);
    if (word == 0) {
        return 0;
    }
    return *span <= in->lane.mask && (*span & 7) == 0 && (uint64_t)(*size & ~LANE_AWAY) + CAST_OVERHEAD <= *span ? 1
                                                                                                                 : -1;
}

static inline const struct cast_record *record_at(const struct cast_in *in, uint64_t at) {
    return (const struct cast_record *)(const void *)lane_at(&in->lane, at);
}

/* Was everything from that position on whole until now? */
static inline bool is_whole(const struct cast_in *in, uint64_t at, uint64_t *floor) {
    atomic_fence_loads(); /* pairs with (2) */
    *floor = atomic_peek(&in->head->floor);
    return likely(*floor <= at);
}

/* The position of a record: within what a ring can hold behind another position. */
static bool is_place(const struct cast_in *in, uint64_t place) {
    return place % sizeof(struct lane_head) == 0 && place - in->lane.at <= UINT64_MAX / 2;
}

struct place {
    uint64_t at, number;
    bool known; /* the number */
};

/* Walks from a record to that number, or to the end. 1: *place is there; 0: the writer was faster; -1: it lies. */
static int walk(const struct cast_in *in, struct place *place, uint64_t stop) {
    uint64_t begin = place->at, floor;
    uint32_t span, size;
    int found = 1;
    for (uint64_t steps = 0; steps <= in->lane.mask / CAST_OVERHEAD; steps++) {
        if (place->known && place->number >= stop) {
            break;
        }
        found = look(in, place->at, &span, &size);
        if (found != 1) {
            break;
        }
        uint64_t number = atomic_peek(&record_at(in, place->at)->number);
        if (!place->known && number >= stop) {
            place->number = number;
            place->known = true;
            break;
        }
        place->at += span;
        place->number = number + 1;
        place->known = true;
    }
    if (!is_whole(in, begin, &floor)) {
        return 0;
    }
    return found < 0 ? -1 : 1;
}

static struct place newest_mark(const struct cast_in *in, uint64_t back) {
    uint64_t marked = atomic_load(&in->head->marked); /* pairs with cast_part */
    const struct cast_mark *mark = &in->head->mark[(marked - 1 - back) % CAST_MARKS];
    struct place place = {atomic_load(&mark->at), atomic_load(&mark->number), true}; /* pairs with cast_remark */
    bool settled = place.at != NOWHERE && atomic_peek(&mark->at) == place.at;
    return settled ? place : (struct place){.at = atomic_load(&in->head->floor)}; /* pairs with (1) */
}

/* The record from which the one of that number is not far: a mark, or the floor. */
static struct place before(const struct cast_in *in, uint64_t number) {
    uint64_t floor = atomic_load(&in->head->floor); /* pairs with (1) */
    for (uint64_t back = 0; back < CAST_MARKS; back++) {
        struct place place = newest_mark(in, back);
        if (place.at < floor || place.at % sizeof(struct lane_head) != 0) {
            break;
        }
        if (place.number <= number) {
            return place;
        }
    }
    return (struct place){.at = floor};
}

int cast_join(struct cast_in *in, uint64_t history) {
    for (int tries = 0; tries < TRIES; tries++) {
        struct place end = newest_mark(in, 0);
        int rc = end.at % sizeof(struct lane_head) != 0 ? -1 : walk(in, &end, UINT64_MAX);
        struct place begin = end;
        if (rc == 1 && history != 0) {
            begin = before(in, end.number > history ? end.number - history : 0);
            rc = begin.at % sizeof(struct lane_head) != 0
                     ? -1
                     : walk(in, &begin, end.number > history ? end.number - history : 0);
        }
        if (rc == 1) {
            in->lane.at = begin.at;
            in->number = begin.number;
            in->fresh = !begin.known;
            return 0;
        }
        if (rc < 0 && tries == TRIES - 1) {
            return -1; /* a mark may have been half another one: not the first time */
        }
    }
    uint64_t floor = atomic_load(&in->head->floor); /* pairs with (1) */
    if (floor % sizeof(struct lane_head) != 0) {
        return -1;
    }
    in->lane.at = floor;
    in->fresh = true;
    return 0;
}

/* Whoever wants only the newest goes there. */
static inline void skip_to_newest(struct cast_in *in) {
    uint64_t newest = atomic_load(&in->head->newest); /* pairs with the store behind cast_commit */
    if (newest > in->lane.at && is_place(in, newest)) {
        in->lane.at = newest;
    }
}

/* A whole record: its number fits in with those before. */
static inline int accept(struct cast_in *in, uint32_t span, uint64_t number, struct cast_got *got) {
    uint64_t lost = in->fresh ? 0 : number - in->number;
    if (unlikely(lost > UINT64_MAX / 2)) {
        return -1;
    }
    got->number = number;
    got->lost = lost;
    in->fresh = false;
    in->run++;
    in->number = number + 1;
    in->lane.at += span;
    return 1;
}

/* A record whose message lies elsewhere: 2, or -1. */
static __attribute__((noinline)) int look_away(const struct cast_record *record, uint32_t size, uint32_t span,
                                               uint64_t number, struct cast_got *got) {
    if ((size & ~LANE_AWAY) != sizeof got->where) {
        return -1;
    }
    cast_move(got->where, record + 1, sizeof got->where, false);
    got->span = span;
    got->number = number;
    return 2;
}

int cast_accept(struct cast_in *in, struct cast_got *got) {
    uint64_t floor;
    weave("cast.accept.before");
    atomic_fence();
    return is_whole(in, in->lane.at, &floor) ? accept(in, got->span, got->number, got) : 0;
}

int cast_read(struct cast_in *in, void *buffer, size_t capacity, struct cast_got *got) {
    for (int tries = 0; tries < TRIES; tries++) {
        uint32_t span, size;
        uint64_t floor, number = 0;
        if (unlikely(in->latest)) {
            skip_to_newest(in);
        }
        int found = look(in, in->lane.at, &span, &size);
        if (likely(found == 1)) {
            const struct cast_record *record = record_at(in, in->lane.at);
            if (in->run >= RUN) {
                lane_fetch(&record->head, span);
            }
            number = atomic_peek(&record->number);
            got->size = size;
            if (unlikely((size & LANE_AWAY) != 0)) {
                found = look_away(record, size, span, number, got);
            } else if (likely(size <= capacity)) {
                cast_move(buffer, record + 1, size, false);
                weave("cast.read.copied");
            }
        }
        if (is_whole(in, in->lane.at, &floor)) {
            in->run = found == 0 ? 0 : in->run;
            return likely(found == 1) ? likely(size <= capacity) ? accept(in, span, number, got) : -2 : found;
        }
        if (!is_place(in, floor)) {
            return -1;
        }
        in->lane.at = floor;
        in->laps++;
    }
    return 0;
}
