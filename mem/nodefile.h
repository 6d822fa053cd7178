/* SPDX-License-Identifier: MIT
 *
 * The layout of a node file, shared by the process that writes its own (node.c) and those that read it (peer.c). A change
 * here changes NODE_VERSION.
 */
#ifndef MEM_NODEFILE_H
#define MEM_NODEFILE_H

#include <pthread.h>

#include "base/slip.h"
#include "mem/node.h"

#define NODE_MAGIC "thirlnod"
#define NODE_VERSION 3
#define NODE_LIVES 64
#define NODE_ENDS 16384
#define NODE_SLIPS 512

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
    uint32_t slips; /* that have their space */
    struct proc who;
    struct node_life life[NODE_LIVES];
    LINE_ALIGNED struct node_end end[]; /* NODE_ENDS of them; space is taken as they are used */
};

/* Behind them, on a page of its own, what its threads hold and wait for. */
#define NODE_SLIPS_AT ((sizeof(struct node_file) + NODE_ENDS * sizeof(struct node_end) + 4095) / 4096 * 4096)
#define NODE_FILE_SIZE (NODE_SLIPS_AT + NODE_SLIPS * sizeof(struct slip))

/* This process's own, or NULL before it joined. */
const struct node_file *node_file(void);

/* Its slips, with space for so many, or NULL: it has not joined, or there is no room. */
struct slip *node_slips(uint32_t slips);

/* The file of another node: a descriptor or -1 with errno, and all of it mapped; pairs with munmap. */
int node_open_file(uint64_t id);
int node_map_file(int fd, uint64_t id, struct node_file **, size_t *size);

#endif
