/* SPDX-License-Identifier: MIT
 *
 * What a hub and its callers tell each other besides messages: one number at a time, in the order of the messages. The way in is
 * pull.c's, which answers PULL_TOLD or keeps what is said of the next message.
 */
#ifndef MECH_TELL_H
#define MECH_TELL_H

#include "mech/link.h"

/* Tells the peer a number: 0; -EAGAIN: nothing of it has left; or an error. Does not wait, and belongs to the way out. */
int tell_send(struct link *, enum frame_type, uint64_t value);

/* What was said of the message that was just received, once. */
void tell_take(struct link *, uint64_t *lost, bool *again);

#endif
