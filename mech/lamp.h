/* SPDX-License-Identifier: MIT
 *
 * The descriptor that an event loop watches, of one half of a shared-memory end: an epoll instance with a FIFO in it, into
 * which the peer writes one byte when it is asked to, and a pidfd of the peer. Whoever owns it keeps it level-triggered: lit
 * while there is something to answer, dark otherwise. Used under the gate of its way; nothing here blocks.
 */
#ifndef MECH_LAMP_H
#define MECH_LAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/node.h"

struct lamp {
    int epoll, fifo;  /* -1: nobody has asked */
    int guard;        /* a pidfd of the peer, or a timer where that cannot be had; -1 */
    uint64_t guarded; /* the node that guard is of; 0: a timer, or nothing */
    bool lit;         /* this end has put a byte into the FIFO */
};

void lamp_init(struct lamp *);
void lamp_deinit(struct lamp *);

/* Makes the FIFO of that name in the open directory, and the epoll instance. 0 or an error. */
int lamp_make(struct lamp *, int dir, const char *file, unsigned mode, const char *address);

/* Makes the descriptor readable when that peer ends; where the kernel gives no pidfd of it (another PID namespace), or while
 * there is none (NULL) whose coming would ring, every 50 ms instead. */
void lamp_guard(struct lamp *, const struct node_peer *);

void lamp_light(struct lamp *);
void lamp_dark(struct lamp *); /* reads everything out of it */

#endif
