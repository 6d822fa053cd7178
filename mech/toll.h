/* SPDX-License-Identifier: MIT
 *
 * Events that wait for one reader, in the memory of one process: each event once, with how often it was told, in the order in which they
 * were told first. Bounded: who finds it full has to wait. Memory comes with the first event; the caller keeps calls apart.
 */
#ifndef MECH_TOLL_H
#define MECH_TOLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOLL_WORD 4u    /* bytes of an event */
#define TOLL_SHARE 256u /* bytes of ?queue= for each event that may wait */
#define TOLL_MIN 64u    /* events */
#define TOLL_MAX 65536u

struct toll_place;

struct toll {        /* zeroed but for places */
    uint32_t places; /* a power of two */
    uint32_t first, next;
    struct toll_place *place;
    uint32_t *head; /* by hash: the place of the newest one there, plus 1 */
};

/* How many events may wait where ?queue= says so many bytes. */
uint32_t toll_places(uint64_t queue);

/* Has that event a place, or may it have one? May allocate; false: it is full, or there is no memory. */
bool toll_takes(struct toll *, uint32_t event);

/* Counts an event that toll_takes, or that is there already: `times` more. */
void toll_add(struct toll *, uint32_t event, uint64_t times);

static inline bool toll_any(const struct toll *t) {
    return t->first != t->next;
}
static inline bool toll_is_full(const struct toll *t) {
    return t->next - t->first == t->places;
}

/* The oldest one of those that are there, and how often it was told; it stays. */
uint32_t toll_see(const struct toll *, uint64_t *times);

/* So many of the oldest one are done with. */
void toll_take(struct toll *, uint64_t times);

/* All that is there, in tellings. */
uint64_t toll_sum(const struct toll *);
void toll_free(struct toll *);

/* Reads an event from a message: 0, or an error with its sentence. */
int toll_read(const char *address, const void *data, size_t size, uint32_t *event);

#endif
