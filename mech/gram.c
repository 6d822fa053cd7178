/* SPDX-License-Identifier: MIT
 *
 * Small packets in one block, see gram.h.
 */
#include "mech/gram.h"

#include <stdint.h>
#include <sys/socket.h>

#include "base/atomic.h"
#include "mech/carrier.h"

#define SMALL 2048

HOT ssize_t gram_send(int fd, const struct iovec *part, unsigned parts, int flags) {
    size_t size = carrier_size(part, parts);
    if (likely(size <= SMALL)) {
        char block[SMALL];
        carrier_gather(block, part, parts);
        return send(fd, block, size, flags);
    }
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)part, .msg_iovlen = parts};
    return sendmsg(fd, &message, flags);
}

/* The packets of one sender tend to be alike. */
HOT ssize_t gram_recv(int fd, const struct iovec *part, unsigned parts, int flags, bool *small) {
    const struct iovec *last = &part[parts - 1];
    ssize_t got;
    if (likely(*small)) {
        got = recv(fd, last->iov_base, last->iov_len, flags | MSG_TRUNC);
        if (likely(got > 0 && (size_t)got <= last->iov_len)) {
            carrier_scatter(part, parts, last->iov_base, (size_t)got);
        }
    } else {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)part, .msg_iovlen = parts};
        got = recvmsg(fd, &message, flags | MSG_TRUNC);
    }
    *small = got >= 0 ? got <= SMALL : *small;
    return got;
}
