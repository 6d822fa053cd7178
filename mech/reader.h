/* SPDX-License-Identifier: MIT
 *
 * The way in of a connection that is two pipes. Reading from one knows no limit in time, and takes the lock that its writer needs:
 * so sleeping is a call of its own, and a writer whom nobody answers is let get ahead. By the thread that receives, one at a time.
 */
#ifndef MECH_READER_H
#define MECH_READER_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "mech/link.h"

/* Reads what is there into the parts, waiting as is best for about a slice. Bytes; 0: that was all, and l->over; -EAGAIN; or an error. */
ssize_t reader_pull(struct link *, const struct iovec *parts, size_t count, bool wait);

#endif
