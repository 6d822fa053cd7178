/* SPDX-License-Identifier: MIT
 *
 * A mechanism that answers what a test tells it, for the tests of what is put around one.
 */
#ifndef TESTS_PUPPET_H
#define TESTS_PUPPET_H

#include "mech/mech.h"
#include "mem/node.h"

#define PUPPET_ANSWERS 8

struct puppet {
    int answer[PUPPET_ANSWERS]; /* of the tries to come, then 0 */
    unsigned answers, tries;    /* how many there are, and were asked for */
    size_t went;                /* how much of a message is on its way at -EAGAIN */
    size_t size;                /* of the message that comes */
    unsigned char byte;         /* of which it is made */
    int carries;                /* a descriptor that comes with it; -1: none */
    int fd;                     /* what fd gives, where it answers 0 */
    bool bytes, ready;          /* messages have no boundaries, as open says; what ready says */
    bool promises;              /* reliable and in order */
    uint64_t most;              /* the largest message */
    char said[256];             /* the sentence of its errors */
    /* What it was asked for: */
    size_t sent, settled, asked; /* messages, or pieces; bytes that settle got; the room of the last receive */
    bool waited;                 /* the last send or receive might wait */
    unsigned closed, deinited, disarmed, freed;
};

extern struct puppet puppet;
extern struct node_end puppet_line;
extern const struct mech puppet_mech;

/* Like new: it promises everything, and answers 0. */
void puppet_new(void);

/* What the next tries answer, in turn; 0 from then on. */
void puppet_answers(unsigned count, const int *answers);
#define PUPPET_SAYS(...) puppet_answers(sizeof((const int[]){__VA_ARGS__}) / sizeof(int), (const int[]){__VA_ARGS__})

/* Opens an end of such a mechanism, with what is put around it. Its state, or NULL and *rc is why; puppet_close gives it back. */
void *puppet_open(const struct mech *, enum thirl_role, const char *address, const struct thirl_options *, int *rc);
void puppet_close(const struct mech *, void *self);

#endif
