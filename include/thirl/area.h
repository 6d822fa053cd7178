/* SPDX-License-Identifier: MIT
 *
 * Shared memory as memory: by name, or as a descriptor that is passed on; growable, and with an arena inside whose blocks are known by
 * offsets, because each process maps it elsewhere. Its space is taken before it is touched: a full file system is an error, and no
 * signal. A process may be killed anywhere: the arena stays consistent, and what only the dead one knew comes back.
 */
#ifndef THIRL_AREA_H
#define THIRL_AREA_H

#include <thirl/thirl.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct thirl_area thirl_area;
typedef uint64_t thirl_at; /* a place in an area, in bytes from its beginning; 0: none */

struct thirl_area_options {
    size_t size;     /* sizeof (struct thirl_area_options): set it first */
    uint64_t bytes;  /* of a new one; 1 MiB */
    uint64_t limit;  /* to which it may grow: so much address space is reserved; 64 times bytes */
    uint32_t mode;   /* permission bits of a new one; 0600 */
    uint32_t access; /* enum thirl_access */
    uint32_t raw;    /* plain memory that other programs know: no head, no arena */
    uint32_t huge;   /* huge pages, where the machine has them, as far as it fills whole ones */
    uint32_t numa;   /* memory of NUMA node numa - 1, where the machine has it; 0: anywhere */
    uint32_t group;  /* of a new one in the registry: it belongs to group - 1; 0: as files of this process do */
};

/* Opens the area called NAME or shm://NAME in the registry, and makes it if it is not there and may be written; NULL makes one without a name, for
 * thirl_area_fd; fd://N is one that was passed on. With raw: shm://NAME is what shm_open calls /NAME, sysv://0xKEY a System V
 * segment. What could not be had of huge and numa is no error: thirl_area_info says it.
 * -ENOENT: there is none to read. -ENOSPC: the file system is full. -EPERM: this process is not in that group. -THIRL_EFORMAT,
 * -THIRL_EVERSION, -EXDEV, -EACCES, … */
THIRL_API THIRL_CHECK int thirl_area_open(thirl_area **area, const char *address,
                                          const struct thirl_area_options *options);

/* Unmaps it and sets *area to NULL; NULL is allowed. Blocks in this process's hand stay there until it ends. */
THIRL_API void thirl_area_close(thirl_area **area);

/* A new descriptor of it, close-on-exec, for a child or a Unix socket; with THIRL_ACCESS_READ it can only be read. The caller closes it. */
THIRL_API THIRL_CHECK int thirl_area_fd(thirl_area *area, enum thirl_access access);

/* Takes the name away; who has it open keeps it. raw as in the options. -ENOENT, -EACCES. */
THIRL_API THIRL_CHECK int thirl_area_remove(const char *address, uint32_t raw);

/* ---- the memory ---- */

/* Where it begins in this process: the same until it is closed, also when it grows. */
THIRL_API void *thirl_area_base(const thirl_area *area);

/* How many bytes from there may be touched now; other processes' growth counts at once. */
THIRL_API uint64_t thirl_area_bytes(const thirl_area *area);

/* Grows it to at least so many bytes, for everybody. Nothing happens when it is as large. -ENOSPC: the file system is full, or the
 * limit is reached. -EACCES. -EOPNOTSUPP: a System V segment. */
THIRL_API THIRL_CHECK int thirl_area_grow(thirl_area *area, uint64_t bytes, thirl_time until);

/* The place as an address here, if it and size bytes behind it are inside; else NULL. And back; 0: not inside. */
THIRL_API void *thirl_area_pointer(const thirl_area *area, thirl_at at, size_t size);
THIRL_API thirl_at thirl_area_at(const thirl_area *area, const void *pointer);

/* ---- the arena ---- */

/* A block belongs to the process that allocated it (it is in hand), until thirl_area_swap puts it into a word of the area: from then
 * on it belongs to whoever finds it there. What is in hand of a process that dies is freed. So no block is ever lost: put it into a
 * word before you forget it. Each call waits its turn, at most until then: -EAGAIN (THIRL_NOW), -ETIMEDOUT. */

/* A block of at least so many bytes, at a multiple of 16, of any content. Grows the area up to its limit. -ENOSPC. */
THIRL_API THIRL_CHECK int thirl_area_alloc(thirl_area *area, size_t bytes, thirl_at *at, thirl_time until);

/* Frees a block that this process has in hand. -EINVAL: it has not. */
THIRL_API THIRL_CHECK int thirl_area_free(thirl_area *area, thirl_at at, thirl_time until);

/* Exchanges as one change: the word, 8 bytes inside the area, gets *at (a block in hand, or 0), and what it referred to (a block, or 0)
 * is in hand and in *at. -EINVAL: *at is not in hand, or the word is no word or refers to no block. */
THIRL_API THIRL_CHECK int thirl_area_swap(thirl_area *area, thirl_at word, thirl_at *at, thirl_time until);

/* The place of a word that has a name, of up to 31 bytes: where others begin to look. Up to 64 of them, made when first asked for by who
 * may write: 0 is in it then. -ENOENT: a reader asked for one that is not there. -ENOSPC: there are 64. */
THIRL_API THIRL_CHECK int thirl_area_root(thirl_area *area, const char *name, thirl_at *word, thirl_time until);

/* Frees what the dead had in hand, now; else thirl_area_open does it, and whoever finds the lock in a dead one's hand, or no room.
 * How many blocks that were, at most INT_MAX. */
THIRL_API THIRL_CHECK int thirl_area_recover(thirl_area *area, thirl_time until);

/* Set size first. */
struct thirl_area_info {
    size_t size;
    uint64_t bytes, limit; /* that may be touched; to which it may grow */
    uint64_t used, blocks; /* in blocks, what they cost included; how many */
    uint32_t huge;         /* it was asked for, and had */
    uint32_t numa;         /* likewise: the node, + 1 */
    char note[256];        /* what could not be had, and why; "" */
};
THIRL_API THIRL_CHECK int thirl_area_info(thirl_area *area, struct thirl_area_info *info);

#ifdef __cplusplus
}
#endif
#endif
