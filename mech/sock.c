/* SPDX-License-Identifier: MIT
 *
 * What a connection asks of its socket: who is at the other end, how much it holds, how long a call may block. Contracts in
 * link.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "mech/link.h"
#include "mech/mech.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define SNDBUF_USUAL 212992 /* net.core.wmem_default, unless somebody changed it */
#define GOODBYE_ROOM 65536  /* of the send buffer, which one payload too many may overdraw */

void link_know(struct link_who *who, int pidfd) {
    who->dead = pidfd == -ESRCH;
    if (pidfd >= 0) {
        who->pidfd = pidfd;
        (void)fcntl(pidfd, F_SETFD, FD_CLOEXEC);
        struct pollfd life = {.fd = pidfd, .events = POLLIN};
        who->dead = poll(&life, 1, 0) == 1;
    }
    if (who->pid > 0) {
        char path[40];
        (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)who->pid);
        int comm = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = comm < 0 ? 0 : fd_read_at(comm, who->name, sizeof(who->name) - 1, 0);
        if (length > 0) {
            who->name[length] = '\0';
            who->name[strcspn(who->name, "\n")] = '\0';
        }
        fd_close(&comm);
    }
    (void)snprintf(who->text, sizeof(who->text), "pid %lld (%.15s)", (long long)who->pid, who->name);
}

void link_identify(int fd, struct link_who *who) {
    struct ucred cred = {0};
    socklen_t size = sizeof(cred);
    *who = (struct link_who){.pidfd = -1, .name = "?"};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) == 0) {
        who->pid = cred.pid;
        who->uid = cred.uid;
        who->gid = cred.gid;
    }
    int pidfd = -1;
    size = sizeof(pidfd);
    int got = getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0 ? pidfd : -errno;
    if (got < 0 && got != -ESRCH && who->pid > 0) {
        got = proc_pidfd(who->pid);
    }
    link_know(who, got);
}

static void ask_queue(int fd, uint64_t bytes) {
    int size = bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)bytes;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
}

/* Where the kernel does not say it, what a socket has that never asked. */
static size_t granted(int fd) {
    int size = 0;
    socklen_t length = sizeof(size);
    (void)getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length);
    return size > 0 ? (size_t)size : SNDBUF_USUAL;
}

size_t link_set_queue(int fd, uint64_t queue, bool packets) {
    ask_queue(fd, queue);
    size_t got = granted(fd);
    /* The kernel doubles what it grants. Less means that the system's limit was met, and it could not grow for a
     * goodbye. */
    if (got < queue * 2 && got > 4 * GOODBYE_ROOM) {
        ask_queue(fd, packets ? got / 4 : (got - GOODBYE_ROOM) / 2);
        got = granted(fd);
    }
    return got;
}

void link_make_room(int fd) {
    ask_queue(fd, granted(fd) + GOODBYE_ROOM);
}

void link_hurry(struct link *l) {
    size_t was = granted(l->fd), held = frame_box_held(&l->tail);
    ask_queue(l->fd, was + held);
    ssize_t went = send(l->fd, l->tail.data + l->tail.from, held, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_EOR);
    if (went > 0) {
        frame_box_drop(&l->tail, (size_t)went);
    }
    ask_queue(l->fd, was / 2);
}

int link_set_slices(int fd) {
    struct timeval slice = {.tv_usec = MECH_SLICE_NS / CLOCK_US};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof(slice)) != 0) {
        return -errno;
    }
    return 0;
}
