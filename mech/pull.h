/* SPDX-License-Identifier: MIT
 *
 * The way in over a connection: see link.h. One thread receives at once; the other functions may run beside it.
 */
#ifndef MECH_PULL_H
#define MECH_PULL_H

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "mech/link.h"

#define PULL_BOX ((size_t)128 << 10)   /* bytes that one system call may bring */
#define PULL_DIRECT ((size_t)16 << 10) /* of a stream, from this size on: straight into the user's buffer */
#define PULL_DIRECT_PIPE                                                                                               \
    ((size_t)2048) /* and of a pipe, whose writer waits while much is read, and gets the pages back */

#define PULL_TOLD 2 /* the peer has told a number, link->told; only where the terms hear of it */

/* struct mech's recv. When the peer is gone and everything was delivered: -THIRL_ECLOSED, -THIRL_EPEERDIED or
 * -THIRL_EFORMAT or -ECONNRESET, again and again. */
static inline int pull_recv(struct link *, void *buffer, size_t capacity, size_t *size, bool wait);

/* The same for connections that are raw or bring descriptors, which are closed when there is no note to put them into. */
int pull_unusual(struct link *, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);

/* The rest of that: goes on with what the first call brought (0: nothing, or there was none; -1: errno): a packet into the buffer if that
 * takes whatever the peer may send, else all into the box. */
int pull_on(struct link *, void *buffer, size_t capacity, size_t *size, bool wait, ssize_t got);

/* Something is to be had without a system call, if only the news that the peer is gone. */
bool pull_ready(struct link *);

/* The connection has ended, and somebody has to know how: collects what is left of it, for pull_recv, until the fate is
 * known. May allocate what the peer's send buffer holds. Returns the code, 0 when it has not ended. */
int pull_rest(struct link *);

/* The usual case, inlined: after a sleep in the kernel the processor predicts each return wrong, 20 ns each. */
static inline __attribute__((always_inline)) int pull_recv(struct link *l, void *buffer, size_t capacity, size_t *size,
                                                           bool wait) {
    bool packets = l->terms.packets;
    size_t room = packets ? l->room_in : l->expect;
    if (unlikely(l->unusual)) {
        return pull_unusual(l, buffer, capacity, size, NULL, wait);
    }
    (void)gate_enter(&l->reading, INT64_MAX);
    bool idle = frame_box_held(&l->box) == 0 && l->rest == 0 && !l->over && (capacity || !l->terms.bytes);
    bool whole = packets && capacity >= room, copied = packets && !whole && l->copies;
    bool straight = whole || copied || (!packets && !l->terms.pipes && (room < PULL_DIRECT || capacity < PULL_DIRECT));
    if (likely(idle && straight && !l->flows && !tray_is_due(l->tray))) {
        void *at = whole ? buffer : copied ? l->box.data + FRAME_HEAD : l->box.data;
        struct haste_wait w = haste_begin(&l->haste, wait);
        ssize_t came;
        do {
            int flags = (w.sleeps ? 0 : MSG_DONTWAIT) | (packets ? MSG_TRUNC : 0);
            came = recv(l->fd, at, packets ? room : l->box.capacity, flags);
        } while (haste_again(&l->haste, &w, came < 0 && errno == EAGAIN));
        l->brims = !packets && came == (ssize_t)l->box.capacity;
        size_t fits = capacity < room ? capacity : room;
        if (likely(packets && came > 0 && (size_t)came <= fits && !frame_is_marked(at, (size_t)came))) {
            *size = (size_t)came;
            if (copied) {
                memcpy(buffer, at, (size_t)came);
            }
            gate_leave(&l->reading);
            return 0;
        }
        return pull_on(l, buffer, capacity, size, wait, came);
    }
    return pull_on(l, buffer, capacity, size, wait, 0);
}

#endif
