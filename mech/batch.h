/* SPDX-License-Identifier: MIT
 *
 * Many small messages with one system call, over a connection that keeps no boundaries: their frames are put together. Only
 * the caller knows that he has several; nothing is ever held back for one that may come. Contracts of struct mech's
 * send_many and recv_many, but 1: the first message is as well off alone, by link_send or pull_recv.
 */
#ifndef MECH_BATCH_H
#define MECH_BATCH_H

#include <sys/uio.h>

#include "mech/link.h"

int batch_send(struct link *, const struct iovec *messages, size_t *count);

/* After a message of *at bytes was received into the buffer: adds those that have come with it, from messages[1] on. */
void batch_recv(struct link *, void *buffer, size_t capacity, struct iovec *messages, size_t *count);

#endif
