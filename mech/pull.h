/* SPDX-License-Identifier: MIT
 *
 * The way in over a connected socket: see link.h. One thread receives at once; the other functions may run beside it.
 */
#ifndef MECH_PULL_H
#define MECH_PULL_H

#include "mech/link.h"

#define PULL_BOX ((size_t)128 << 10) /* bytes that one system call may bring */

/* struct mech's recv. When the peer is gone and everything was delivered: -THIRL_ECLOSED, -THIRL_EPEERDIED or
 * -THIRL_EFORMAT, again and again. */
int pull_recv(struct link *, void *buffer, size_t capacity, size_t *size, bool wait);

/* Something is to be had without a system call, if only the news that the peer is gone. */
bool pull_ready(struct link *);

/* The socket has ended, and somebody has to know how: collects what is left of it, for pull_recv, until the fate is
 * known. May allocate what the peer's send buffer holds. Returns the code, 0 when the socket has not ended. */
int pull_rest(struct link *);

#endif
