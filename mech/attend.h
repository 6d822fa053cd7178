/* SPDX-License-Identifier: MIT
 *
 * Whom the way in through shared memory listens to: the one peer whose .tx it has mapped, because it put a link there or is in the channel. It
 * binds to the peer's lane once the peer has said that it is for this end, and says so in .rx; what a dead one sent is read to its end.
 * Under the gate of that way.
 */
#ifndef MECH_ATTEND_H
#define MECH_ATTEND_H

#include "mech/shm.h"

/* While no lane is bound to: goes as far towards a peer as it can: 0, bound to one; -EAGAIN, nobody yet; -EINTR, look once more; or how it ended, with a sentence. */
int attend_ready(struct inlet *);

/* The two steps of it: a peer's lane is mapped, and it is this end's. -EAGAIN: not yet. -THIRL_EFORMAT without a sentence: no lane begins
 * where the peer says. */
int attend_find(struct inlet *);
int attend_bind(struct inlet *);

/* Nothing is in the lane: is there still somebody who could put something there? As attend_ready, but for 0. */
int attend_empty(struct inlet *);

/* While nobody is found: has this end's other way heard the goodbye of a peer that never spoke to this one? */
bool attend_other_left(const struct inlet *);

/* Does the peer speak with another end, or did it? Then it says goodbye to that one; and once it has gone there is no peer any more. */
bool attend_is_another(struct inlet *);

/* The peer is not listened to any more: it left a damaged record, which is the answer; and, whyever. */
int attend_lied(struct inlet *);
void attend_drop(struct inlet *);

/* After each change of what they depend on. */
static inline void attend_straighten(struct inlet *in) {
    in->plain = in->bound && !in->end->stream && in->lamp.fifo < 0 && hold_empty(&in->held);
    in->straight = in->plain && in->run.left == 0;
}

#endif
