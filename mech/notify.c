/* SPDX-License-Identifier: MIT
 *
 * The sending half of sig://: whom it sends to, and that he is there. See sig.h.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/sig.h"
#include "mech/toll.h"

int notify_aim(struct sig *s) {
    s->pidfd = proc_pidfd(s->pid);
    if (s->pidfd < 0) {
        int code = -s->pidfd;
        s->pidfd = -1;
        bool thread = code == ENOENT || code == EINVAL; /* the number of one, as newer and older kernels say it */
        return code == ESRCH || thread ? err_say(ESRCH, "%s: there is no process %lld", s->address, (long long)s->pid)
                                       : err_system(code, "%s: the process cannot be held (Linux 5.3)", s->address);
    }
    return 0;
}

void notify_part(struct sig *s) {
    if (s->met && !s->raw) {
        node_peer_close(&s->node);
    }
    fd_close(&s->pidfd);
    s->met = false;
    node_end_peer(s->seen, 0, "");
}

/* ---- whom a sender has met ---- */

static int hold(struct sig *s) {
    struct proc own;
    proc_self(&own);
    if (s->node.pid != s->pid || s->node.pid_space != own.pid_space) {
        return err_say(EOPNOTSUPP,
                       "%s: whoever watches is in another PID namespace, where processes have other numbers",
                       s->address);
    }
    int rc = notify_aim(s);
    if (rc != 0) {
        return rc == -ESRCH ? -EAGAIN : rc;
    }
    if (!node_peer_alive(&s->node)) {
        fd_close(&s->pidfd); /* that pid may be somebody else's by now */
        return -EAGAIN;
    }
    return 0;
}

static int meet(struct sig *s, const struct roll_end *end) {
    int rc = node_peer_open(&s->node, end->node, end->number);
    if (rc != 0) {
        return rc == -ESRCH ? -EAGAIN : rc;
    }
    rc = hold(s);
    if (rc != 0) {
        node_peer_close(&s->node);
        return rc;
    }
    s->watcher = *end;
    s->met = true;
    node_end_peer(s->seen, s->node.pid, proc_name(s->node.exe));
    return 0;
}

static void slurp(const struct sig *s, const char *file, char *text, size_t size) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%lld/%s", (long long)s->pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : fd_read_at(fd, text, size - 1, 0);
    fd_close(&fd);
    text[got > 0 ? got : 0] = '\0';
}

/* Would the signal end that process? It may not be ready yet. */
static bool is_deadly(const struct sig *s) {
    static const char *const masks[] = {"\nSigBlk:\t", "\nSigIgn:\t", "\nSigCgt:\t"};
    char text[2048];
    slurp(s, "wchan", text, sizeof text);
    if (strstr(text, "sigtimedwait") != NULL) {
        return false; /* while it waits, what it waits for is not shown as blocked */
    }
    slurp(s, "status", text, sizeof text);
    for (size_t i = 0; i < 3; i++) {
        const char *mask = strstr(text, masks[i]);
        if (mask != NULL && (strtoull(mask + 9, NULL, 16) >> (s->number - 1) & 1) != 0) {
            return false;
        }
    }
    return true;
}

static bool has_ended(const struct sig *s) {
    struct pollfd gone = {.fd = s->pidfd, .events = POLLIN};
    return poll(&gone, 1, 0) == 1;
}

static int say_final(const struct sig *s) {
    return s->raw ? err_say(THIRL_EPEERDIED, "%s: process %lld has ended", s->address, (long long)s->pid)
                  : err_say(THIRL_ECLOSED, "%s: the watcher closed its end", s->address);
}

static int find(struct sig *s) {
    struct roll_end end;
    if (s->raw) {
        if (has_ended(s)) {
            s->final = true;
            return say_final(s);
        }
        if (is_deadly(s)) {
            return -EAGAIN;
        }
        s->met = true;
        node_end_peer(s->seen, s->pid, "no name known");
        return 0;
    }
    uint32_t change = atomic_load(s->roll.change); /* pairs with roll_tell */
    if (change == s->change) {
        return -EAGAIN;
    }
    int rc = roll_find(&s->roll, "rx", &end) == 0 ? meet(s, &end) : -EAGAIN;
    s->change = rc == 0 || rc == -EAGAIN ? change : change - 1; /* an error is said again */
    return rc;
}

static int say_dead(struct sig *s) {
    int rc = err_say(THIRL_EPEERDIED, "%s: the watcher, %.*s, died", s->address, NODE_PEER_MAX - 1, s->seen->peer);
    s->final = s->raw;
    notify_part(s);
    if (!s->raw) {
        s->change = atomic_load(s->roll.change) - 1; /* look at once for the next one */
    }
    return rc;
}

int notify_check(struct sig *s, bool sure) {
    if (s->raw) {
        return has_ended(s) ? say_dead(s) : 0;
    }
    uint32_t change = atomic_load(s->roll.change); /* pairs with roll_tell */
    if (likely(!sure && change == s->change && s->node.life != NULL && !node_peer_changed(&s->node))) {
        return 0;
    }
    if (has_ended(s) || !node_peer_alive(&s->node)) {
        return say_dead(s);
    }
    s->change = change;
    s->final = !roll_has(&s->roll, s->watcher, "rx");
    if (s->final) {
        notify_part(s);
        return say_final(s);
    }
    return 0;
}

/* ---- send ---- */

static int emit(struct sig *s, uint32_t word) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = s->number;
    info.si_code = SI_QUEUE;
    info.si_pid = s->own_pid;
    info.si_uid = s->own_uid;
    info.si_value.sival_int = (int)word;
    weave("sig.throw.before");
    if (likely(syscall(SYS_pidfd_send_signal, s->pidfd, s->number, &info, 0) == 0)) {
        return 0;
    }
    switch (errno) {
    case EAGAIN:
        return -EAGAIN;
    case ESRCH:
        return say_dead(s);
    default:
        return err_system(errno, "%s: the process cannot be sent signal %d", s->address, s->number);
    }
}

int notify_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct sig *s = self;
    uint32_t word = 0;
    (void)wait;
    if (unlikely(s->tick >= 0)) {
        uint64_t ticks;
        (void)!read(s->tick, &ticks, sizeof ticks);
    }
    if (likely(size == SIG_WORD)) {
        memcpy(&word, data, SIG_WORD);
    }
    if (unlikely(size != SIG_WORD || (word >> 31 != 0 && !s->raw))) {
        return toll_read(s->address, data, size, &word);
    }
    if (unlikely(s->final)) {
        return say_final(s);
    }
    int rc = likely(s->met) ? notify_check(s, false) : find(s);
    rc = rc == 0 ? emit(s, word) : rc;
    if (rc == 0) {
        *done = size;
        s->pause = 0;
    }
    return rc;
}
