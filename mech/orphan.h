/* SPDX-License-Identifier: MIT
 *
 * What pushers have left in shared memory for workers who come later: listed, and removed on demand. It lies in the registry's
 * directory, beside the ends of its channel, and goes by itself when it is done.
 */
#ifndef MECH_ORPHAN_H
#define MECH_ORPHAN_H

#include "mech/kept.h"

/* Each work queue in which something waits, or is being worked on, as kept_list has it. */
int orphan_list(int (*seen)(void *context, const struct kept_line *), void *context);

/* Removes all that the queue of that address holds, when nobody has it open. *thrown: how many messages. 0; -ENOENT: there is
 * nothing; -EBUSY; or an error. Waits until then for who joins or leaves. */
int orphan_clean(const char *address, int64_t until, uint64_t *thrown);

#endif
