/* SPDX-License-Identifier: MIT
 *
 * The layout of a node file, shared by the process that writes its own (node.c) and those that read it (peer.c). A change
 * here changes NODE_VERSION.
 */
#ifndef MEM_NODEFILE_H
#define MEM_NODEFILE_H

#include <pthread.h>

#include "base/layout.h"
#include "base/slip.h"
#include "mem/node.h"

#define NODE_MAGIC "thirlnod"
#define NODE_VERSION 6
#define NODE_LIVES 64
#define NODE_ENDS 16384

/* What lies behind the lines, each part on a page of its own, most of them holes: name, what it is made of, how many at most, how many get
 * their space at a time. */
#define NODE_PARTS(X)                                                                                                  \
    X(SLIPS, struct slip, 512, 16)                                                                                     \
    X(MODULES, struct slip_module, 64, 8)                                                                              \
    X(PAIRS, struct slip_pairs, 1, 1)                                                                                  \
    X(TASKS, struct slip_tasks, 64, 1)

enum node_part {
#define NODE_PART(name, type, most, step) NODE_##name,
    NODE_PARTS(NODE_PART)
#undef NODE_PART
        NODE_PART_COUNT
};

extern const struct node_part_place {
    size_t at, each;
    uint32_t most, step;
} node_part_places[NODE_PART_COUNT];

#define ROBUST_WAITERS UINT32_C(0x80000000) /* FUTEX_WAITERS: the kernel wakes whoever sleeps on the word at death */
#define ROBUST_DIED UINT32_C(0x40000000)
#define ROBUST_OWNER UINT32_C(0x3fffffff)

struct node_life {
    LINE_ALIGNED pthread_mutex_t held; /* robust */
    uint32_t made;
};

struct node_file {
    char magic[8];
    uint32_t version;
    uint32_t size;     /* of this struct: tells 32-bit from 64-bit layouts */
    uint32_t end_size; /* of one line */
    uint32_t ends;     /* lines that were ever used */
    uint64_t id;
    uint32_t uid, gid;
    uint32_t has[NODE_PART_COUNT]; /* of each part: those that have their space */
    struct proc who;
    uint32_t life_at,
        zero; /* in each life, the word that the kernel changes: where the C library of its maker keeps it */
    struct node_life life[NODE_LIVES];
    LINE_ALIGNED struct node_end end[]; /* NODE_ENDS of them; space is taken as they are used */
};
LAYOUT(node_file, 4480, end, 4480);

/* Where a part lies: a struct in which each is as long as it is. */
#define NODE_PAGE 4096
struct node_parts {
#define NODE_PART(name, type, most, step) __attribute__((aligned(NODE_PAGE))) type part_##name[most];
    NODE_PARTS(NODE_PART)
#undef NODE_PART
};
#define NODE_PARTS_AT                                                                                                  \
    ((sizeof(struct node_file) + NODE_ENDS * sizeof(struct node_end) + NODE_PAGE - 1) / NODE_PAGE * NODE_PAGE)
#define NODE_FILE_SIZE (NODE_PARTS_AT + sizeof(struct node_parts))

/* This process's own, or NULL before it joined. */
const struct node_file *node_file(void);

/* A part of it, with space for so many, or NULL: it has not joined, or there is no room. */
void *node_part(enum node_part, uint32_t count);

/* The file of another node: a descriptor or -1 with errno, and as much of it as `most`, mapped; pairs with munmap. */
int node_open_file(uint64_t id);
int node_map_file(int fd, uint64_t id, size_t most, struct node_file **, size_t *size);

/* This process's own open file, or -1: never to be closed. Who holds the lock of a file, as this process sees it; 0: nobody, or nobody
 * that it can see. */
int node_own_file(void);
int64_t node_file_holder(int fd);

/* Copies of what stands in such a file, which may change or shrink meanwhile: all before the lines, checked, and a part, in memory of its
 * own (free), with how many there are; none is no error. */
int node_read_file(int fd, uint64_t id, struct node_file *);
int node_read_part(int fd, const struct node_file *, enum node_part, void **part, uint32_t *count);

#endif
