/* SPDX-License-Identifier: MIT
 *
 * An area as the two rooms see it that make it and that use it: area.c opens, grows and closes, place.c finds memory for it.
 */
#ifndef SERVE_AREA_H
#define SERVE_AREA_H

#include "base/layout.h"
#include "include/thirl/area.h"
#include "mem/arena.h"
#include "mem/lot.h"
#include "mem/node.h"

#define AREA_MAGIC "thirl.ar"
#define AREA_VERSION 1

struct area_head { /* shared; changes no more once it has a name, but for the arena */
    struct lot_head lot;
    uint64_t registry[2];
    uint64_t limit;
    LINE_ALIGNED struct arena arena;
};
LAYOUT(area_head, 5632, arena, 64);

struct thirl_area {
    struct arena_view view; /* view.arena NULL: raw */
    uint32_t epoch;
    bool writable, sysv;
    int fd; /* -1: a System V segment */
    unsigned char *base;
    uint64_t mapped; /* bytes of address space */
    uint64_t unit;   /* the file's size is a multiple of it */
    struct node_end *line;
    bool wants_huge;
    uint32_t huge, numa;    /* as it was had */
    uint64_t gathered;      /* bytes from the beginning that were made huge pages */
    const char *small_note; /* why they are not huge */
    char note[128];         /* why they are elsewhere */
    char shown[LOT_SHOWN_MAX];
};

/* Maps the file of area->fd with so much address space, and asks for the NUMA node. 0 or an error. */
int place_map(struct thirl_area *, uint64_t limit, const struct thirl_area_options *);

/* Makes huge pages of so many bytes, whose space is taken, if they were asked for: as far as they fill whole ones, and are none yet. Behind
 * opening and growing; any thread may. */
void place_gather(struct thirl_area *, uint64_t bytes);

/* A file without a name; of huge pages where they were asked for and are there. Sets area->fd and area->unit. */
int place_anonymous(struct thirl_area *, const struct thirl_area_options *);

/* What other programs know: by shm_open, or System V. Maps it, too. */
int place_raw(struct thirl_area *, const char *address, const struct thirl_area_options *);
int place_raw_remove(const char *address);

#endif
