/* SPDX-License-Identifier: MIT
 *
 * The raw form of a connection: no greeting, no frames, no goodbye. What is sent are the bytes alone, or one packet for each
 * message; the end of what is received is the end that the kernel tells. link.c and pull.c hand over to here; contracts
 * are theirs. A peer may end one way and go on with the other.
 */
#ifndef MECH_BARE_H
#define MECH_BARE_H

#include "mech/link.h"

/* A note brings descriptors. */
int bare_send(struct link *, const void *data, size_t size, size_t *done, const struct mech_note *, bool wait);

/* Under the lock of who reads. At the end, again and again: -THIRL_ECLOSED, or -THIRL_EPEERDIED after a reset. */
int bare_recv(struct link *, void *buffer, size_t capacity, size_t *size, bool wait);

/* Ends the way out. What was sent is with the kernel already. */
void bare_end(struct link *);

/* One look: is nothing to be sent to or had from this peer any more? Then the fate is known. */
bool bare_look(struct link *, bool *readable);

#endif
