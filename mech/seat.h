/* SPDX-License-Identifier: MIT
 *
 * Who is at the other end of a pipe. The kernel does not say, so whoever reads one holds a lock on it (flock), and of locks
 * the kernel does: /proc/locks names the process that took each. The lock needs no file, goes with its holder, and keeps
 * a second reader out.
 */
#ifndef MECH_SEAT_H
#define MECH_SEAT_H

#include <stdbool.h>

#include "mech/link.h"

/* Takes the seat of a pipe's reader, with any descriptor of that pipe; closing it gives the seat back. 0, -EBUSY or -errno. */
int seat_take(int fd);

/* Who holds the seat of the pipe that this is a descriptor of. False: nobody does, or it has died and left the lock to a
 * child. pid is 0 when it cannot be seen from here. The caller closes pidfd, whatever this returns. */
bool seat_holder(int fd, struct link_who *);

/* Does that process know itself by this number? Where it cannot be found out: yes. */
bool seat_is_of(const struct link_who *, int64_t pid);

/* What is known before anybody has been heard. */
extern const struct link_who seat_nobody;

#endif
