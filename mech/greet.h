/* SPDX-License-Identifier: MIT
 *
 * What two say to each other before they have met: greetings over a line that may be anybody's. For meet.c, which decides what they come
 * to. Nothing here waits.
 */
#ifndef MECH_GREET_H
#define MECH_GREET_H

#include "mech/meet.h"

/* Writes all of it, once. 0; -EAGAIN: nothing of it, for now; -EPIPE: it never will be. Who cannot be told is noticed when it is read. */
int greet_utter(const struct meet_line *, const void *data, size_t size);

/* This end's greeting, of that kind; pid: the second one that it names. Nothing in the raw form.
 * What came of it is said as greet_utter says it. */
int greet_say(const struct meet *, const struct meet_line *, enum frame_hello_kind, int code, int64_t pid);

/* Hears on. 1: a whole greeting; 0: the line is dead; -EAGAIN; or an error: that is none. In the raw form a stranger is taken for one who
 * greets as we would like it: `due`. */
int greet_hear(const struct meet *, struct meet_line *, enum frame_hello_kind due, struct frame_hello *);

#endif
