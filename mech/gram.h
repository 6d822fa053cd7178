/* SPDX-License-Identifier: MIT
 *
 * A datagram socket, which sends or receives, for the carriers over such: one packet from parts, and into parts, and the wait for it.
 * To tell the kernel of several parts costs more than to copy a small packet: those come in one block, as they go (quick.h). Only
 * gram_listen allocates.
 */
#ifndef MECH_GRAM_H
#define MECH_GRAM_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/atomic.h"
#include "mech/carrier.h"
#include "mech/haste.h"
#include "mech/tray.h"

struct gram {
    int fd;
    bool receives;
    bool small; /* the last packet that came was */
    struct tray *tray;
    struct haste haste; /* where the peer runs on this very processor he makes room, or sends, when it is given up */
};

/* What the kernel says of a packet, where the socket was asked to say something. */
struct gram_told {
    struct msghdr *said; /* until the next packet is received */
    struct msghdr message;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;
};

/* It is about to receive packets of so many bytes at most; its haste is as it will be. Without memory for a tray it does without. */
void gram_listen(struct gram *, size_t packet);
void gram_close(struct gram *);

/* As the carriers' slot. */
void gram_watch(const struct gram *, struct mech_watch *);

/* Sends the parts as one packet. Bytes, or -1 with errno. */
static inline __attribute__((always_inline)) ssize_t gram_send(const struct gram *g, const struct iovec *part,
                                                               unsigned parts, bool wait) {
    const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
    if (likely(parts == 1)) {
        return send(g->fd, part->iov_base, part->iov_len, flags);
    }
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)part, .msg_iovlen = parts};
    return sendmsg(g->fd, &message, flags);
}

/* recvmsg into the parts; the last one alone holds any packet that is not too large. What the last packet was like is kept: those of one
 * sender tend to be alike. */
static inline __attribute__((always_inline)) ssize_t gram_recv(struct gram *g, const struct iovec *part, unsigned parts,
                                                               int flags, const void **at) {
    const struct iovec *last = &part[parts - 1];
    ssize_t got;
    if (likely(g->small)) {
        got = recv(g->fd, last->iov_base, last->iov_len, flags | MSG_TRUNC);
        if (likely(got > 0 && (size_t)got <= last->iov_len)) {
            parts_give(part, parts, last->iov_base, (size_t)got, at);
        }
    } else {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)part, .msg_iovlen = parts};
        got = recvmsg(g->fd, &message, flags | MSG_TRUNC);
    }
    g->small = got >= 0 ? got <= CARRIER_SMALL : g->small;
    return got;
}

/* The same of one that the kernel says something of; and of one that may have come with others. */
ssize_t gram_recv_told(struct gram *, const struct iovec *part, unsigned parts, int flags, struct gram_told *);
ssize_t gram_recv_several(struct gram *, const struct iovec *part, unsigned parts, int flags, const void **at,
                          struct gram_told *);

/* One packet into the parts, filling one after the other, waiting as is best; `at` is as of a carrier's recv. told: NULL where nothing is said. The size
 * of the packet, of which nothing is to be believed if the last part does not hold so much, or -1 with errno. */
static inline __attribute__((always_inline)) ssize_t gram_receive(struct gram *g, const struct iovec *part,
                                                                  unsigned parts, const void **at, bool wait,
                                                                  struct gram_told *told) {
    bool several = tray_is_due(g->tray);
    if (at != NULL) {
        *at = NULL; /* whatever came before, and was not wanted */
    }
    if (unlikely(several && wait)) {
        tray_lead(g->tray);
    }
    struct haste_wait w = haste_begin(&g->haste, wait);
    ssize_t got;
    do {
        int flags = w.sleeps ? 0 : MSG_DONTWAIT;
        got = unlikely(several)      ? gram_recv_several(g, part, parts, flags, at, told)
              : likely(told == NULL) ? gram_recv(g, part, parts, flags, at)
                                     : gram_recv_told(g, part, parts, flags, told);
    } while (haste_again(&g->haste, &w, got < 0 && errno == EAGAIN));
    return got;
}

#endif
