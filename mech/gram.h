/* SPDX-License-Identifier: MIT
 *
 * One datagram from parts, and into parts. To tell the kernel of several costs more than to copy a small packet: those come in one
 * block, as they go (quick.h). For the carriers over datagram sockets; nothing here allocates.
 */
#ifndef MECH_GRAM_H
#define MECH_GRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/atomic.h"
#include "mech/carrier.h"

/* sendmsg of the parts; flags are its own. Bytes, or -1 with errno. */
static inline __attribute__((always_inline)) ssize_t gram_send(int fd, const struct iovec *part, unsigned parts,
                                                               int flags) {
    if (likely(parts == 1)) {
        return send(fd, part->iov_base, part->iov_len, flags);
    }
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)part, .msg_iovlen = parts};
    return sendmsg(fd, &message, flags);
}

/* recvmsg into the parts, filling one after the other; the last one alone holds any packet that is not too large, and `at` is as of a
 * carrier's recv. The size of the packet, of which nothing is to be believed if the last part does not hold so much, or -1 with errno. *small, false at first, is
 * where it keeps what the last packet was like: those of one sender tend to be alike. */
static inline __attribute__((always_inline)) ssize_t gram_recv(int fd, const struct iovec *part, unsigned parts,
                                                               int flags, const void **at, bool *small) {
    const struct iovec *last = &part[parts - 1];
    ssize_t got;
    if (likely(*small)) {
        got = recv(fd, last->iov_base, last->iov_len, flags | MSG_TRUNC);
        if (likely(got > 0 && (size_t)got <= last->iov_len)) {
            parts_give(part, parts, last->iov_base, (size_t)got, at);
        }
    } else {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)part, .msg_iovlen = parts};
        got = recvmsg(fd, &message, flags | MSG_TRUNC);
    }
    *small = got >= 0 ? got <= CARRIER_SMALL : *small;
    return got;
}

#endif
