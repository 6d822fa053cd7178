/* SPDX-License-Identifier: MIT
 *
 * What stands in an address as host:port, and the socket addresses that it means. Blocks in the resolver, so only open asks.
 */
#ifndef MECH_HOST_H
#define MECH_HOST_H

#include <sys/socket.h>

#define HOST_SPOTS 8 /* addresses that one name may stand for; more are not tried */

struct host_spot {
    struct sockaddr_storage at;
    socklen_t length;
};

struct host {
    struct host_spot spot[HOST_SPOTS];
    unsigned spots;
    unsigned port;
};

/* Of "host:port" or "[IPv6]:port", in the order in which they are to be tried; address and scheme are for sentences. socktype is
 * SOCK_STREAM or SOCK_DGRAM. 0; -THIRL_EADDRESS: it is not written so, or there is no such host; -EHOSTUNREACH: the resolver cannot say now. */
int host_read(struct host *, const char *address, const char *scheme, const char *rest, int socktype);

static inline const struct sockaddr *host_at(const struct host_spot *spot) {
    return (const struct sockaddr *)(const void *)&spot->at;
}

#endif
