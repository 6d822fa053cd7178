/* SPDX-License-Identifier: MIT
 *
 * An end on a socket that this process was given: a connected one, stream or seqpacket, Unix or TCP, or one that
 * listens. Who gave it knows what it is; here it is only looked at. For mechanisms whose address says which descriptor
 * is meant.
 */
#ifndef MECH_HEIR_H
#define MECH_HEIR_H

#include "mech/haul.h"

struct heir {
    struct chain chain;
    struct {
        int fd; /* -1 when it was used up */
        bool remote, listens;
    } place;
};

/* open of struct mech, on descriptor number fd. A connected socket is taken over: its number is free when this succeeds (0, 1
 * and 2 become /dev/null), and still the caller's when it does not. One that listens stays open, close-on-exec, for the next
 * end. */
int heir_open(struct heir *, const struct mech_open *, int fd);

/* hand of struct mech: where it listens is the address of whoever shall call there. A connected one's other end is not its to give. */
int heir_hand(void *self, char *address, size_t capacity);

void heir_limits(void *self, struct thirl_limits *);
void heir_claims(struct thirl_limits *);

#endif
