/* SPDX-License-Identifier: MIT
 *
 * What stays in the kernel when processes end, noted in the registry so that it can be listed and removed: beside the ends of a
 * channel, chan/<name>/kept for the queue that the channel is named after, and chan/<name>/kept.<node>.<number> for the inbox
 * of one end. Written before the kernel makes the thing; removed after it. Anybody may remove what belongs to nobody, at any
 * time, and be killed while doing it.
 */
#ifndef MECH_KEPT_H
#define MECH_KEPT_H

#include "mech/carrier.h"
#include "mem/roll.h"

struct kept {
    char magic[8];
    uint32_t version;
    uint32_t stays; /* never removed unasked, even when it is empty: programs without thirl may know it by its name */
    char address[NODE_ADDRESS_MAX]; /* without options, but ?raw */
    char place[CARRIER_PLACE_MAX];
};

/* Notes that place, under the lock of the channel's roll; end is NULL for the channel's own queue. 0 or an error. */
int kept_put(const struct roll *, const struct roll_end *end, const char *address, const char *place, bool stays);
void kept_drop(const struct roll *, const struct roll_end *end);

/* What is noted of the channel's own queue; "" when nothing is. */
void kept_place(const struct roll *, char place[CARRIER_PLACE_MAX]);

/* In the channel of that directory: removes the inboxes of the dead, and its queue when nobody is there and it is empty, or
 * when `all`. *thrown, if not NULL, gets the packets that were in it. 0; -ENOENT: there is nothing; -EBUSY: with all, somebody
 * is there; or an error. Waits until then for the lock. */
int kept_tidy(const char *name, bool all, int64_t until, uint64_t *thrown);

/* The same in all channels, as far as nobody holds it up; what fails is left to the next. In the one that is about to be joined, a name
 * of that scheme, waits until then for the lock: whoever joins does so anyway. */
void kept_sweep(const char *scheme, const char *name, int64_t until);

/* Removes all that the channel of that address has left: kept_tidy with all. */
int kept_clean(const char *address, int64_t until, uint64_t *thrown);

/* Each thing that is noted, with what waits in it and how many living ends its channel has; until seen returns nonzero, and returns
 * that. */
struct kept_line {
    const char *address;
    struct carrier_left left;
    unsigned ends;
};
int kept_list(int (*seen)(void *context, const struct kept_line *), void *context);

#endif
