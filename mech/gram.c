/* SPDX-License-Identifier: MIT
 *
 * Of a datagram socket what each packet does not need: see gram.h.
 */
#define _GNU_SOURCE
#include "mech/gram.h"

#include "base/fd.h"

void gram_listen(struct gram *g, size_t packet) {
    g->tray = tray_make(packet, g->haste.quiet);
}

void gram_close(struct gram *g) {
    tray_free(&g->tray);
    fd_close(&g->fd);
}

void gram_watch(const struct gram *g, struct mech_watch *watch) {
    watch->kind = MECH_WATCH_FD;
    watch->fd = g->fd;
    watch->events = g->receives ? POLLIN : POLLOUT;
}

ssize_t gram_recv_told(struct gram *g, const struct iovec *part, unsigned parts, int flags, struct gram_told *told) {
    told->message = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)part,
                                    .msg_iovlen = parts,
                                    .msg_control = &told->control,
                                    .msg_controllen = sizeof told->control};
    told->said = &told->message;
    return recvmsg(g->fd, &told->message, flags | MSG_TRUNC | MSG_CMSG_CLOEXEC);
}

ssize_t gram_recv_several(struct gram *g, const struct iovec *part, unsigned parts, int flags, const void **at,
                          struct gram_told *told) {
    return tray_recv(g->tray, g->fd, part, parts, flags, told != NULL ? &told->said : NULL, at);
}
