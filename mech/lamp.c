/* SPDX-License-Identifier: MIT
 *
 * The descriptor that an event loop watches.
 */
#define _GNU_SOURCE
#include "mech/lamp.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"

#define LAMP_TICK_NS (50 * CLOCK_MS)

void lamp_init(struct lamp *lamp) {
    *lamp = (struct lamp){.epoll = -1, .fifo = -1, .guard = -1};
}

int lamp_make(struct lamp *lamp, int dir, const char *file, unsigned mode, const char *address) {
    if ((mkfifoat(dir, file, 0600) != 0 && errno != EEXIST) || (mode != 0600 && fchmodat(dir, file, mode, 0) != 0)) {
        return err_system(errno, "%s: the FIFO for event loops cannot be made in the registry", address);
    }
    lamp->fifo = openat(dir, file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    lamp->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (lamp->fifo < 0 || lamp->epoll < 0 || epoll_ctl(lamp->epoll, EPOLL_CTL_ADD, lamp->fifo, &event) != 0) {
        int rc = err_system(errno, "%s: no descriptor for event loops", address);
        lamp_deinit(lamp);
        return rc;
    }
    return 0;
}

void lamp_guard(struct lamp *lamp, const struct node_peer *peer) {
    uint64_t node = peer == NULL ? 0 : peer->id;
    if (lamp->guard >= 0 && lamp->guarded == node) {
        return;
    }
    fd_close(&lamp->guard);
    struct proc self;
    proc_self(&self);
    if (peer != NULL && peer->pid_space == self.pid_space && peer->pid != self.pid) {
        lamp->guard = proc_pidfd(peer->pid);
        if (lamp->guard >= 0 && !node_alive(node)) {
            fd_close(&lamp->guard); /* that pid may be somebody else's by now */
        }
    }
    if (lamp->guard < 0) {
        const struct itimerspec every = {clock_spec(LAMP_TICK_NS), clock_spec(LAMP_TICK_NS)};
        lamp->guard = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        (void)timerfd_settime(lamp->guard, 0, &every, NULL);
    }
    lamp->guarded = node;
    struct epoll_event event = {.events = EPOLLIN};
    (void)epoll_ctl(lamp->epoll, EPOLL_CTL_ADD, lamp->guard, &event);
}

void lamp_light(struct lamp *lamp) {
    if (!lamp->lit) {
        const char byte = 1;
        lamp->lit = write(lamp->fifo, &byte, 1) == 1 || errno == EAGAIN;
    }
}

void lamp_dark(struct lamp *lamp) {
    char bytes[64];
    while (read(lamp->fifo, bytes, sizeof bytes) == (ssize_t)sizeof bytes) {}
    uint64_t ticks;
    ssize_t ignored = lamp->guard >= 0 ? read(lamp->guard, &ticks, sizeof ticks) : 0; /* of a timer */
    (void)ignored;
    lamp->lit = false;
}

void lamp_deinit(struct lamp *lamp) {
    fd_close(&lamp->guard);
    fd_close(&lamp->fifo);
    fd_close(&lamp->epoll);
}
