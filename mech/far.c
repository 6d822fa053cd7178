/* SPDX-License-Identifier: MIT
 *
 * A connected TCP socket, see far.h. TCP_USER_TIMEOUT would be the short way to find a silent host, but it also cuts
 * off one whose process only does not read: a full queue is no death.
 */
#define _GNU_SOURCE
#include "mech/far.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define DRAIN ((size_t)16 << 10)
#define DRAINS 4096
#define PROBES_LOST 8 /* looks into a closed window that nobody answered: at doubling intervals, about as long */

void far_text(char text[FAR_TEXT], const struct sockaddr *at) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (at->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)at;
        (void)inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof(host));
        (void)snprintf(text, FAR_TEXT, "[%s]:%u", host, ntohs(six->sin6_port));
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)at;
        (void)inet_ntop(AF_INET, &four->sin_addr, host, sizeof(host));
        (void)snprintf(text, FAR_TEXT, "%s:%u", host, ntohs(four->sin_port));
    }
}

void far_identify(struct link_who *who, const struct sockaddr *at) {
    *who = (struct link_who){.pidfd = -1, .uid = UINT32_MAX, .gid = UINT32_MAX, .remote = true};
    far_text(who->text, at);
    memcpy(who->name, who->text, sizeof(who->name));
    who->name[sizeof(who->name) - 1] = '\0';
}

static void set(int fd, int level, int name, int value) {
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

size_t far_prepare(int fd, uint64_t queue) {
    int room = 0;
    socklen_t length = sizeof(room);
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, FAR_IDLE_S);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, FAR_INTERVAL_S);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, FAR_PROBES);
    set(fd, SOL_SOCKET, SO_RCVBUF, queue > INT32_MAX / 2 ? INT32_MAX / 2 : (int)queue);
    (void)getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, &length);
    return link_set_queue(fd, queue, false) + (room > 0 ? (size_t)room : 0);
}

bool far_lost(int fd) {
    struct tcp_info info;
    socklen_t length = sizeof(info);
    memset(&info, 0, sizeof(info));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
        return false;
    }
    /* Into a closed window nothing is sent but probes, farther and farther apart: their silence is counted, not timed. */
    bool silent = info.tcpi_last_ack_recv > FAR_SILENCE_S * 1000;
    return (info.tcpi_unacked > 0 && silent) || info.tcpi_probes >= PROBES_LOST;
}

size_t far_unsent(int fd) {
    int bytes = 0;
    return ioctl(fd, SIOCOUTQNSD, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

void far_part(int fd) {
    (void)shutdown(fd, SHUT_WR);
    char drain[DRAIN];
    for (int i = 0; i < DRAINS && recv(fd, drain, sizeof(drain), MSG_DONTWAIT) > 0; i++) {}
}
