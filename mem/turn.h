/* SPDX-License-Identifier: MIT
 *
 * Whose turn it is to receive, where several receivers draw packets from one queue and a message may be several packets:
 * whoever has the turn keeps it until no message is half in its hands. The words are in the channel's roll; they name an end, so that
 * a turn whose holder has died or left is anybody's. An end that receives alone pays two atomic operations.
 */
#ifndef MEM_TURN_H
#define MEM_TURN_H

#include "base/atomic.h"
#include "mem/roll.h"

struct turn {                     /* shared: changed by compare-and-swap, or by the holder */
    LINE_ALIGNED uint64_t holder; /* turn_name of an end; 0: nobody */
    uint32_t given;               /* changes when somebody who waited is to look again: sleep on it */
    uint32_t wanted;              /* somebody sleeps */
};

/* The words of that channel, which this end has joined. */
struct turn *turn_of(const struct roll *);

/* Takes the turn, or still has it: true. Any thread of the end, one at a time. */
bool turn_take(struct turn *, const struct roll *);

/* Gives it back and wakes those who want it. Not having it is no error. */
void turn_give(struct turn *, const struct roll *);

/* Is about to sleep until it is given: sleep while turn->given is *value, at most for a slice. false: try again at once. */
bool turn_want(struct turn *, const struct roll *, uint32_t *value);

/* Takes it from a holder that is not there any more. Asks the file system: for every slice, not for every message. */
void turn_check(struct turn *, const struct roll *);

/* Who else holds it, as "pid 123 (name)"; "" when nobody does. */
void turn_who(const struct turn *, const struct roll *, char who[NODE_PEER_MAX]);

#endif
