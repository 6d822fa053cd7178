/* SPDX-License-Identifier: MIT
 *
 * Telling of what lies aside, see aside.h.
 */
#include "chan/aside.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/fd.h"

void aside_close(struct end_aside *a) {
    fd_close(&a->epoll);
    fd_close(&a->event);
    fd_close(&a->timer);
}

static bool add(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

int aside_fd(thirl *end, int inner, int *fd) {
    if (!aside_told(end)) {
        struct end_aside a = {epoll_create1(EPOLL_CLOEXEC), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                              timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), false, INT64_MAX};
        if (a.epoll < 0 || !add(a.epoll, inner) || !add(a.epoll, a.event) || !add(a.epoll, a.timer)) {
            int rc = err_system(errno, "%s: no descriptor for event loops", end->address);
            aside_close(&a);
            return rc;
        }
        int epoll = a.epoll;
        a.epoll = -1;
        end->aside = a;
        atomic_store(&end->aside.epoll, epoll); /* pairs with the load in aside_told */
    }
    if (end->when != NULL) {
        (void)end->when(end);
    }
    *fd = end->aside.epoll;
    return 0;
}

void aside_show(thirl *end, int64_t when) {
    struct end_aside *a = &end->aside;
    bool lit = when == 0;
    if (lit != a->lit) {
        eventfd_t count;
        (void)(lit ? eventfd_write(a->event, 1) : eventfd_read(a->event, &count));
        a->lit = lit;
    }
    if (!lit && when != a->due) {
        const struct itimerspec once = {.it_value = clock_spec(when == INT64_MAX ? 0 : when)};
        (void)timerfd_settime(a->timer, TFD_TIMER_ABSTIME, &once, NULL);
        a->due = when;
    }
}

bool aside_any(thirl *end, int64_t *due) {
    int64_t when = end->when == NULL ? INT64_MAX : end->when(end);
    *due = when;
    return when == 0 || (when != INT64_MAX && when <= clock_now());
}
