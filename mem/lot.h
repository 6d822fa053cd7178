/* SPDX-License-Identifier: MIT
 *
 * Passive shared things of the registry: files area/<name> that belong to no process and stay until their name is removed. A file is
 * filled in before it has a name, and named by link(2): whoever finds it finds it whole, and of two makers the first wins. Until then it
 * has no name at all, so a maker that is killed leaves nothing.
 */
#ifndef MEM_LOT_H
#define MEM_LOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/layout.h"

struct lot {
    int fd;
    bool writable, made; /* made: by this very call */
    size_t size;         /* bytes that the file has */
    void *map;           /* NULL: not mapped */
    size_t mapped;
};

#define LOT_NAME_MAX 256
#define LOT_SHOWN_MAX 320

/* The file of "name" or "shm://name"; shown gets "state shm://name", for sentences: kind is its first word. */
int lot_name(char file[LOT_NAME_MAX], char shown[LOT_SHOWN_MAX], const char *kind, const char *name);

/* What each of them begins with. */
struct lot_head { /* shared, and never changed */
    char magic[8];
    uint32_t version, size; /* of the whole head */
};
LAYOUT(lot_head, 16, size, 12);

void lot_begin(struct lot_head *, const char *magic, uint32_t version, size_t size);

/* Is that one of them, in this library's layout? bytes: of the file. 0, -THIRL_EFORMAT, -THIRL_EVERSION; what names it in sentences. */
int lot_check(const struct lot_head *, uint64_t bytes, const char *magic, uint32_t version, size_t size,
              const char *what);

/* Which registry this is: nodes of another one say nothing here. Was it made in that one? 0 or -EXDEV. */
void lot_registry(uint64_t registry[2]);
int lot_belongs(const uint64_t registry[2], const char *what);

/* Copies the options that a call was given, which begin with their size. 0 (own stays as it was: there are none), -EINVAL. */
int lot_options(void *own, size_t size, const void *given, const char *call);

struct lot_plan {
    const char *file, *what;
    bool writable, make; /* make: if it is not there */
    uint64_t bytes;      /* of a new one; taken from the file system before anything touches it */
    uint64_t map;        /* bytes to map, at least; 0: what the file has */
    unsigned mode;
    uint32_t group;                          /* of a new one, + 1; 0: this process's */
    void (*begin)(void *map, void *context); /* fills in a new one */
    void *context;
};

/* Opens and maps it. The process has joined the registry. -ENOENT (no sentence): it is not there and was not to be made. lot_close
 * unmaps. */
int lot_open(struct lot *, const struct lot_plan *);
void lot_close(struct lot *);

/* Takes the name away; who has it open keeps it. */
int lot_remove(const char *file, const char *what);

/* One of them, without opening it as what it is. Strings are valid during the callback only. */
struct lot_line {
    const char *file;         /* in area/ */
    char name[LOT_SHOWN_MAX]; /* "shm://name" */
    char magic[8];            /* its first bytes; zeros where they cannot be read */
    uint64_t bytes;
    uint32_t uid, mode;
};
/* Calls see for each, in no order, until it returns nonzero, and returns that. What stands beside another one (a + is in its name) is none. */
int lot_list(int (*see)(void *context, const struct lot_line *), void *context);

/* Removes what stood beside one that is gone, and what is half made since so long that nobody can be at it. Any number may do it at once. */
void lot_sweep(void);

/* Makes sure that the file has that many bytes of its own. */
int lot_reserve(int fd, uint64_t from, uint64_t to, const char *what);

#endif
