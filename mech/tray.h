/* SPDX-License-Identifier: MIT
 *
 * A tray: several packets received with one call and handed out one by one. Where a receiver is behind, the call is most of what
 * a small packet costs; where it keeps up there is never a second packet, and one by one is cheaper. So a tray asks for
 * several now and then, and for more while it gets them. For sockets that keep boundaries; all that is received there
 * goes through one tray, by one thread at a time. Only tray_make allocates.
 */
#ifndef MECH_TRAY_H
#define MECH_TRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "mech/haste.h"

#define TRAY_DEPTH 8 /* packets at once: of what the calls cost, 7/8 are saved */

struct tray {
    unsigned left;  /* packets that lie in it, */
    unsigned next;  /* and the first of them */
    unsigned depth; /* packets that the next call asks for */
    unsigned plain; /* receives one by one until then, */
    unsigned pause; /* and as many after the next look in vain */
    bool flows;     /* the last call brought several, and left none: more are coming, likely */
    unsigned came;  /* packets since the sender was let get ahead */
    struct haste haste;
    size_t stride; /* from one packet's place to the next */
    size_t packet; /* bytes of a place */
    unsigned char *data;
    struct mmsghdr head[TRAY_DEPTH];
    struct iovec part[TRAY_DEPTH];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control[TRAY_DEPTH]; /* what the kernel says of a packet: as much as whoever receives here asks for */
};

/* For packets of so many bytes at most; quiet: it sleeps at once where it waits. A page of memory is used when a packet first lies in it. NULL without memory: then packets
 * are received one by one. */
struct tray *tray_make(size_t packet, bool quiet);
void tray_free(struct tray **);

/* Is the next packet the tray's? Asked before each receive. NULL: never. */
static inline bool tray_is_due(struct tray *t) {
    return t != NULL && (t->left != 0 || t->plain == 0 || --t->plain == 0);
}

/* The next packet is the tray's, and may be waited for: sleeping would make a sender that is busy pay for each wake-up, so he gets ahead
 * by a few packets first. */
static inline void tray_lead(struct tray *t) {
    if (t->left == 0 && (t->flows || t->depth == 2)) {
        haste_lead(&t->haste, t->came, t->flows);
        t->came = 0;
    }
}

/* Is there a packet to be had without a system call? */
static inline bool tray_holds(const struct tray *t) {
    return t != NULL && t->left != 0;
}

/* The next packet, into the parts, filling one after the other, or at `at`, as of a carrier's recv; flags as for recvmsg, of which
 * MSG_DONTWAIT counts. The size of the packet, which may be more than there was room for; 0 at the end of the connection; or -1 with errno. *told, if not NULL: what
 * the kernel says of it, until the next call; NULL wherever the socket was not asked to say anything. */
ssize_t tray_recv(struct tray *, int fd, const struct iovec *part, unsigned parts, int flags, struct msghdr **told,
                  const void **at);

/* Forgets what lies in it. */
void tray_drop(struct tray *);

#endif
