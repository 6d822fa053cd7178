/* SPDX-License-Identifier: MIT
 *
 * Memory in a file that others can map: a head, and behind it a ring that is mapped twice in a row, so that what runs over
 * its end goes on at its beginning; and behind that, a region of which the file holds only the parts that the owner has taken
 * space for (mem/pool.h). The owner maps it for writing, everybody else read-only, but for what
 * several processes may change. Space is taken from the file system before it is touched: a full one is -ENOSPC here, never SIGBUS
 * later. Not inherited by forked children.
 */
#ifndef MEM_SEG_H
#define MEM_SEG_H

#include <stddef.h>
#include <stdint.h>

struct seg {
    unsigned char *base; /* NULL: none */
    size_t head, ring;   /* bytes; ring is 0 or a power of two, both whole pages */
    size_t pool;         /* bytes of the region: 0, or a multiple of 2 * ring, so that the file's size tells both */
};

/* Makes the file name in the open directory dir, which must not be there yet. head and ring are rounded up to what they have
 * to be. mode: permission bits, whatever the umask. Errors name the file's purpose (what), the limit and the remedy. */
int seg_make(struct seg *, int dir, const char *name, size_t head, uint64_t ring, unsigned mode, const char *what);

/* The same with a region behind the ring, rounded up, or down to what the limit of file sizes leaves of it: perhaps 0. No space is taken
 * for it. ring is not 0. */
int seg_make_pooled(struct seg *, int dir, const char *name, size_t head, uint64_t ring, uint64_t pool, unsigned mode,
                    const char *what);

/* Maps such a file read-only. Its size must be head + ring for the head that the caller expects and a ring that is a power
 * of two or nothing: else -THIRL_EFORMAT. */
int seg_map(struct seg *, int dir, const char *name, size_t head, const char *what);

/* The same of a file that may have a region behind its ring. */
int seg_map_pooled(struct seg *, int dir, const char *name, size_t head, const char *what);

/* The same for writing: of what several processes may change. */
int seg_share(struct seg *, int dir, const char *name, size_t head, const char *what);

void seg_unmap(struct seg *);

/* Where the region begins. */
static inline unsigned char *seg_pool(const struct seg *seg) {
    return seg->base + seg->head + 2 * seg->ring;
}

/* What a head will be rounded up to. */
size_t seg_round(size_t head);

#endif
