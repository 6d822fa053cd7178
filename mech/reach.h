/* SPDX-License-Identifier: MIT
 *
 * Whom the way out through shared memory talks to: the one peer whose .rx it has mapped, found in the channel or given, alive as far as its
 * life word tells. It says in .tx whom its lane is for, and where that begins for him; the peer binds to it, and shows how far it is.
 * Under the gate of that way.
 */
#ifndef MECH_REACH_H
#define MECH_REACH_H

#include "mech/shm.h"

/* Does the next message need no further question about the peer? */
static inline bool reach_is_ready(const struct outlet *out) {
    return likely(atomic_peek(out->live) == out->live_value);
}

/* If it does: 0, there is a peer who lives; -EAGAIN, nobody yet; or how it ended, with a sentence. */
int reach_ready(struct outlet *);

/* Both in one: 0, a message may go. */
int reach_open(struct outlet *);

/* What reach_is_ready relies on from now on: the peer's life word, or nothing. */
void reach_rely(struct outlet *, bool peer);

/* Looks for a peer, if something has changed since the last look. 0; -EAGAIN; or an error, which is said again. */
int reach_find(struct outlet *);

/* Has this end's other way heard the goodbye of a peer that this one never met? */
bool reach_other_left(const struct outlet *);

/* The peer's cursor, once it has bound; until then where the conversation begins. 0, or it lied. */
int reach_cursor(struct outlet *, uint64_t *cursor);

/* Messages of this conversation that the peer has not taken. */
uint64_t reach_untaken(struct outlet *);

/* The peer is no more: it died or left, and this end forgets it; and, it has left. What send answers then, with a sentence. */
int reach_over(struct outlet *);
int reach_gone(struct outlet *);

#endif
