/* SPDX-License-Identifier: MIT
 *
 * Making a channel: its directory, and the file `roll` in it. Nobody finds one that is not finished: other users could not enter it, and if
 * its maker died then, never. So it is made under the name of the process that makes it, which no channel has, and then gets its own.
 */
#ifndef MEM_FOUND_H
#define MEM_FOUND_H

#include "mem/place.h"

#define FOUND_SIZE PLACE_FAR /* of the roll, and more with many ends */

/* Makes the channel of that path below the registry, with the modes that come of `mode`, if it is not there. By one thread of a process at
 * a time. 0, also when it is there already, or could not be finished and is to be tried again; or an error with a sentence. */
int found_channel(const char *path, unsigned mode, const char *shown);

/* Gives a roll its space: 0 or an error with a sentence. */
int found_space(int roll);

/* Removes what a dead process began, by its name among the channels. */
void found_clean(const char *name);

#endif
