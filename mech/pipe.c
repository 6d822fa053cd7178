/* SPDX-License-Identifier: MIT
 *
 * pipe://: two anonymous pipes between a process and its child. The parent's end makes them and calls through them at
 * once; the child inherits the other sides, opens them by number, and calls too. Until the child has been heard the
 * parent keeps what the child has, so that another child can take the place of one that died early; then it lets go, and
 * the end of a pipe is the child's death.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mech/haul.h"
#include "mech/hose.h"
#include "mech/knell.h"
#include "mech/seat.h"

#define QUERY_MAX 320

struct place {
    int in, out; /* the child's; in the child until it calls, in the parent until the child was heard */
    bool child;  /* this end was handed over */
    uint64_t queue;
    char query[QUERY_MAX]; /* "?max=1M", for the other side too */
};

struct pipe_end {
    struct chain chain;
    struct place place;
};

static void let_go(struct place *p) {
    fd_close(&p->in);
    fd_close(&p->out);
}

/* Two pipes. By the second one the child knows that the parent is there, and whether it is the same process: that one holds its seat
 * and has its name on the side that is handed over. */
static int make_both(int down[2], int up[2]) {
    if (pipe2(down, O_CLOEXEC | O_NONBLOCK) != 0 || pipe2(up, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -errno;
    }
    fd_own(down[1]);
    fd_own(up[0]);
    int rc = seat_take(up[0]);
    return rc != 0 || fcntl(up[1], F_SETOWN, getpid()) == 0 ? rc : -errno;
}

/* The parent calls through its sides of them. */
static int make(struct meet *m) {
    struct place *p = m->place;
    int down[2] = {-1, -1}, up[2] = {-1, -1};
    let_go(p);
    int rc = make_both(down, up);
    if (rc != 0) {
        for (int i = 0; i < 2; i++) {
            fd_close(&down[i]);
            fd_close(&up[i]);
        }
        return err_system(-rc, "%s: no pipe", m->address);
    }
    p->queue = tube_resize(down[1], m->queue);
    (void)tube_resize(up[1], m->queue);
    p->in = down[0];
    p->out = up[1];
    weave("pipe.make.after");
    meet_call(m, up[0], down[1], &seat_nobody, true);
    return 0;
}

/* The child has one call: what it inherited. */
static int call_parent(struct meet *m) {
    struct place *p = m->place;
    if (p->in < 0) {
        return err_say(THIRL_ECLOSED, "%s: the process that handed this end over is gone, and no other can have it",
                       m->address);
    }
    int in = p->in, out = p->out;
    p->in = p->out = -1;
    meet_call(m, in, out, &seat_nobody, true);
    return 0;
}

static int seek(struct meet *m) {
    const struct place *p = m->place;
    return p->child ? call_parent(m) : make(m);
}

/* A child may have said all that it had to say, and be gone. */
static bool identify(struct meet *m, const struct meet_line *line, struct link_who *who) {
    struct place *p = m->place;
    int waiting = 0;
    if (!seat_holder(line->out, who) && (ioctl(line->in, FIONREAD, &waiting) != 0 || waiting == 0)) {
        return false;
    }
    weave("pipe.met.before");
    if (!p->child) {
        let_go(p);
    }
    return true;
}

static const struct meet_kind kind = {.seek = seek, .crosses = true, .identify = identify};

/* One of the numbers in the address: a pipe's end that can do that. Takes it over. */
static int take_over(const char *address, int fd, int access, int *own) {
    struct stat status;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &status) != 0) {
        return err_say(EBADF,
                       "%s: descriptor %d is not open here; it is inherited from the process that called thirl_hand",
                       address, fd);
    }
    if (!S_ISFIFO(status.st_mode) || (flags & O_ACCMODE) != access) {
        return err_say(EBADF, "%s: descriptor %d is not the %s end of a pipe", address, fd,
                       access == O_RDONLY ? "reading" : "writing");
    }
    *own = fd;
    return 0;
}

/* Where both ends are of one process, the numbers stay those of the end that handed them over. */
static int keep_apart(struct place *p) {
    int parent = fcntl(p->out, F_GETOWN);
    if (parent == -1) {
        return -errno;
    }
    if (parent == getpid()) {
        p->in = fcntl(p->in, F_DUPFD_CLOEXEC, 3);
        p->out = fcntl(p->out, F_DUPFD_CLOEXEC, 3);
    }
    return p->in < 0 || p->out < 0 ? -errno : 0;
}

/* rest is "" or two numbers. */
static int read_address(struct place *p, const char *address, const char *rest) {
    char *comma, *end;
    p->in = p->out = -1;
    p->child = *rest != '\0';
    if (!p->child) {
        return 0;
    }
    long in = strtol(rest, &comma, 10), out = *comma == ',' ? strtol(comma + 1, &end, 10) : -1;
    if (comma == rest || out < 0 || *end != '\0' || end == comma + 1 || in < 0 || in > INT32_MAX || out > INT32_MAX) {
        return err_say(THIRL_EADDRESS,
                       "%s: write pipe:// and hand over the other end, or pipe://IN,OUT as thirl_hand says", address);
    }
    int rc = take_over(address, (int)in, O_RDONLY, &p->in);
    rc = rc != 0 ? rc : take_over(address, (int)out, O_WRONLY, &p->out);
    if (rc != 0) {
        p->in = p->out = -1; /* not ours to close */
    }
    return rc;
}

/* On descriptions of its own this process may do what it likes; where it can have none, the parent does not use them. */
static int own(const char *address, struct place *p) {
    int *ends[2] = {&p->in, &p->out};
    int rc = keep_apart(p);
    for (int i = 0; rc == 0 && i < 2; i++) {
        int fd = *ends[i];
        if (tube_own(ends[i], i == 0 ? O_RDONLY : O_WRONLY) != 0 &&
            (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)) {
            rc = -errno;
        }
    }
    if (rc != 0) {
        return err_system(-rc, "%s: its descriptors cannot be made this end's own", address);
    }
    return seat_take(p->in) == 0 ? 0 : err_say(EBUSY, "%s: that end has been opened already", address);
}

static int check_queue(const struct mech_open *open) {
    uint64_t most = tube_size_max();
    if (open->options.queue > most && geteuid() != 0) {
        return err_say(EINVAL, "%s: a pipe holds at most %llu bytes here; raise fs.pipe-max-size, or lower ?queue=",
                       open->address, (unsigned long long)most);
    }
    return 0;
}

static int open_slot(void *self, const struct mech_open *open) {
    struct pipe_end *e = self;
    struct place *p = &e->place;
    const char *query = strchr(open->address, '?');
    int rc = read_address(p, open->address, open->rest);
    rc = rc != 0 ? rc : check_queue(open);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(p->query, sizeof p->query, "%s", query != NULL ? query : "");
    rc = p->child ? own(open->address, p) : 0;
    p->queue = rc == 0 && p->child ? tube_resize(p->out, open->options.queue) : open->options.queue;
    e->chain.queue = p->queue;
    rc = rc != 0 ? rc : haul_open(&e->chain, open, &kind, p);
    if (rc != 0) {
        let_go(p);
        return rc;
    }
    e->chain.queue = open->seen->queue = p->queue;
    return 0;
}

static void close_slot(void *self) {
    struct pipe_end *e = self;
    haul_close(&e->chain);
    let_go(&e->place);
}

/* Under the lock: the other end is free, and its pipes are there. */
static int prepare(struct chain *e) {
    int rc = -EAGAIN;
    if (e->final) {
        return err_say(THIRL_ECLOSED, "%s: the process at the other end has closed it", e->meet.address);
    }
    for (int tries = 0; rc == -EAGAIN && tries < 3; tries++) {
        if (chain_peered(e)) {
            break;
        }
        e->meet.again = 0;
        rc = chain_advance(e);
        if (rc == -EAGAIN && meet_joins(&e->meet)) {
            return 0;
        }
    }
    if (rc == 0 || rc == -EAGAIN) {
        return err_say(EBUSY, "%s: the other end is taken, by %s", e->meet.address, e->last ? e->last->who.text : "?");
    }
    return rc;
}

static int hand_slot(void *self, char *address, size_t capacity) {
    struct pipe_end *e = self;
    const struct place *p = &e->place;
    if (p->child) {
        return err_say(EINVAL, "%s: this end was handed over itself, and is the only one of its side",
                       e->chain.meet.address);
    }
    (void)pthread_mutex_lock(&e->chain.lock);
    int rc = prepare(&e->chain);
    if (rc == 0) {
        int length = snprintf(address, capacity, "pipe://%d,%d%s", p->in, p->out, p->query);
        rc = (size_t)length >= capacity ? -EMSGSIZE : 0;
    }
    if (rc == 0 && (fcntl(p->in, F_SETFD, 0) != 0 || fcntl(p->out, F_SETFD, 0) != 0)) {
        rc = err_system(errno, "%s: its descriptors cannot be made inheritable", e->chain.meet.address);
    }
    (void)pthread_mutex_unlock(&e->chain.lock);
    return rc;
}

static const struct mech *form(const char *rest, const struct thirl_options *options) {
    (void)rest;
    return options->raw != 0 ? &lent_child : &mech_pipe;
}

KNELL(pipe, struct pipe_end)

static const struct mech knell_pipe = {
    .scheme = "pipe",
    .summary = "anonymous pipes: events with 31 bits, between a process and its child",
    .queue = HAUL_QUEUE,
    KNELL_HAUL,
    .hand = knell_hand,
    KNELL_SLOTS(pipe),
};

const struct mech mech_pipe = {
    .scheme = "pipe",
    .summary = "anonymous pipes between a process and its child, which inherits its end",
    .state_size = sizeof(struct pipe_end),
    HAUL_FLOW,
    .raw = true,
    .form = form,
    .queue = HAUL_QUEUE,
    .close = close_slot,
    .open = open_slot,
    .hand = hand_slot,
    HAUL_PIPES,
    .kin = &knell_pipe,
};
