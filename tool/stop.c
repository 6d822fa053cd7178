/* SPDX-License-Identifier: MIT
 *
 * Signals that end the tool: noted, so that the end is closed and the peer is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "tool/tool.h"

static volatile sig_atomic_t came, at_once;
static int bell[2] = {-1, -1};

static void note(int number) {
    int error = errno;
    if (came || at_once) {
        _exit(128 + number);
    }
    came = number;
    if (bell[1] >= 0 && write(bell[1], "", 1) < 0) {
        /* the pipe is full: it is readable anyway */
    }
    errno = error;
}

void stop_init(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    if (pipe2(bell, O_CLOEXEC | O_NONBLOCK) < 0) {
        bell[0] = bell[1] = -1;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old, action = {.sa_handler = note};
        /* nohup and shells in the background say "ignore", and mean it */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN) {
            continue;
        }
        sigemptyset(&action.sa_mask);
        sigaction(numbers[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

void stop_at_once(bool on) {
    at_once = on;
    if (on && came) {
        _exit(128 + came);
    }
}

int stop_exit(void) {
    return came ? 128 + came : 0;
}

enum stop_news stop_wait(int fd, short events, int other) {
    struct pollfd all[] = {
        {.fd = fd, .events = events}, {.fd = other, .events = POLLIN}, {.fd = bell[0], .events = POLLIN}};
    while (!came) {
        int ready = poll(all, sizeof all / sizeof *all, -1);
        if (ready < 0 && errno != EINTR) {
            return STOP_READY; /* the read or write that follows says what is wrong */
        }
        if (ready > 0 && !came && (all[0].revents || all[1].revents)) {
            return all[0].revents ? STOP_READY : STOP_OTHER;
        }
    }
    return STOP_SIGNAL;
}
