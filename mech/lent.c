/* SPDX-License-Identifier: MIT
 *
 * Plain ends of pipes that go from hand to hand. pipe://?raw makes one pipe for each way that its role has, and keeps the
 * other sides for a child, which may be any program: thirl_hand tells their numbers. From the first call after that
 * they are the child's alone, so that its end is the pipe's. pipe://IN,OUT?raw and fd://N?raw take over ends that this
 * process was given.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mech/hose.h"
#include "mem/node.h"

struct lent {
    struct hose hose;
    bool handed;
    char query[320]; /* "?raw", for the other side too */
};

/* ---- who makes the pipes ---- */

/* From now on the child has its side alone. */
static int let_go(struct hose *h, enum mech_way way) {
    const struct lent *e = (struct lent *)h;
    if (!e->handed) {
        return err_say(ENOTCONN,
                       "%s: no child has the other end: hand it over with thirl_hand, start the child, then go on",
                       h->address);
    }
    weave("hose.lend.before");
    fd_close(&h->way[way].theirs);
    return 0;
}

static const struct hose_kind making = {.reach = let_go};

static int make(struct hose *h, enum mech_way way, uint64_t queue) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_system(errno, "%s: no pipe", h->address);
    }
    int ours = way == MECH_IN ? 0 : 1;
    (void)fcntl(ends[ours], F_SETFL, O_NONBLOCK); /* of our side: the child's own program expects its to block */
    h->seen->queue = queue > tube_size(ends[1]) ? tube_resize(ends[1], queue) : tube_size(ends[1]);
    h->way[way].fd = ends[ours];
    fd_own(ends[ours]);
    h->way[way].theirs = ends[!ours];
    return 0;
}

static int make_all(struct hose *h, uint64_t queue) {
    int rc = h->receives ? make(h, MECH_IN, queue) : 0;
    rc = rc == 0 && h->sends ? make(h, MECH_OUT, queue) : rc;
    weave("hose.lend.after");
    return rc;
}

/* Has the child closed its side? */
static bool is_over(const struct hose_way *w) {
    struct pollfd polled = {.fd = w->fd}; /* asked for nothing, it tells of an end only */
    return w->fd >= 0 && w->theirs < 0 && poll(&polled, 1, 0) == 1;
}

static void number(char text[16], int fd) {
    (void)snprintf(text, 16, fd < 0 ? "-" : "%d", fd);
}

static int hand_slot(void *self, char *address, size_t capacity) {
    struct lent *e = self;
    struct hose *h = &e->hose;
    struct hose_way *in = &h->way[MECH_IN], *out = &h->way[MECH_OUT];
    if (h->kind != &making) {
        return err_say(EINVAL, "%s: this end was handed over itself, and is the only one of its side", h->address);
    }
    if (in->met || out->met) {
        return is_over(in) || is_over(out)
                   ? err_say(THIRL_ECLOSED, "%s: the program at the other end has closed it; open another pipe",
                             h->address)
                   : err_say(EBUSY, "%s: the other end is taken, by the program that it was handed to", h->address);
    }
    char reads[16], writes[16];
    number(reads, out->theirs);
    number(writes, in->theirs);
    int length = snprintf(address, capacity, "pipe://%s,%s%s", reads, writes, e->query);
    if ((size_t)length >= capacity) {
        return -EMSGSIZE;
    }
    if ((in->theirs >= 0 && fcntl(in->theirs, F_SETFD, 0) != 0) ||
        (out->theirs >= 0 && fcntl(out->theirs, F_SETFD, 0) != 0)) {
        return err_system(errno, "%s: its descriptors cannot be made inheritable", h->address);
    }
    e->handed = true;
    hose_relight(h, h->user_way); /* the next call has something to do */
    return 0;
}

/* ---- who was given one ---- */

static int taken(struct hose *h, enum mech_way way) {
    (void)h;
    (void)way;
    return 0;
}

static const struct hose_kind taking = {.reach = taken};

static bool hangs_up(int fd) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 1 && (polled.revents & POLLHUP) != 0;
}

static int check(const char *address, int fd, int access) {
    struct stat status;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &status) != 0) {
        return err_say(EBADF, "%s: descriptor %d is not open here; was it inherited, or taken over already?", address,
                       fd);
    }
    if (!S_ISFIFO(status.st_mode) || ((flags & O_ACCMODE) != access && (flags & O_ACCMODE) != O_RDWR)) {
        return err_say(EBADF, "%s: descriptor %d is not the %s end of a pipe", address, fd,
                       access == O_RDONLY ? "reading" : "writing");
    }
    return 0;
}

/* On an open file of its own this process may do what it likes. That one does not know of writers who have left before,
 * and would wait for them. */
static int take(struct hose *h, enum mech_way way, int fd) {
    struct hose_way *w = &h->way[way];
    int access = way == MECH_IN ? O_RDONLY : O_WRONLY, rc = check(h->address, fd, access);
    w->fd = rc != 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (w->fd < 0) {
        return rc != 0 ? rc : err_system(errno, "%s: no descriptor to take descriptor %d over", h->address, fd);
    }
    w->shared = tube_own(&w->fd, access) != 0;
    if (way == MECH_IN && !w->shared && hangs_up(fd) && !hangs_up(w->fd)) {
        fd_close(&w->fd);
        w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        w->shared = true;
    }
    fd_own(w->fd);
    h->seen->queue = tube_size(w->fd);
    return w->fd < 0 ? err_system(errno, "%s: no descriptor to take descriptor %d over", h->address, fd) : 0;
}

/* The numbers are free from now on, unless they are an end's of this process. */
static int take_both(struct hose *h, int in, int out) {
    int rc = h->receives ? take(h, MECH_IN, in) : 0;
    rc = rc == 0 && h->sends ? take(h, MECH_OUT, out) : rc;
    if (rc != 0) {
        hose_set(h, MECH_IN, -1);
        hose_set(h, MECH_OUT, -1);
        return rc;
    }
    if (h->receives && !hose_keeps(in)) {
        fd_release(in);
    }
    if (h->sends && !hose_keeps(out)) {
        fd_release(out);
    }
    return 0;
}

/* A number, or - for none: false when it is neither. */
static bool read_number(const char **at, int *fd) {
    char *end;
    *fd = -1;
    if (**at == '-') {
        (*at)++;
        return true;
    }
    long value = strtol(*at, &end, 10);
    if (**at < '0' || **at > '9' || value > INT_MAX) {
        return false;
    }
    *fd = (int)value;
    *at = end;
    return true;
}

static int take_handed(struct hose *h, const char *rest) {
    int in = -1, out = -1;
    bool good = read_number(&rest, &in) && *rest++ == ',' && read_number(&rest, &out) && *rest == '\0';
    if (!good || (in < 0 && out < 0)) {
        return err_say(THIRL_EADDRESS,
                       "%s: write pipe://?raw and hand over the other end, or pipe://IN,OUT?raw as thirl_hand "
                       "says, with - for none",
                       h->address);
    }
    if ((in >= 0) != h->receives || (out >= 0) != h->sends) {
        return err_say(THIRL_EROLE, "%s: this end is to be opened %s", h->address,
                       in < 0    ? "to write"
                       : out < 0 ? "to read"
                                 : "as a pair");
    }
    return take_both(h, in, out);
}

/* ---- the mechanisms ---- */

static int open_child(void *self, const struct mech_open *open) {
    struct lent *e = self;
    struct hose *h = &e->hose;
    const char *query = strchr(open->address, '?');
    uint64_t most = tube_size_max();
    if (open->options.queue > most && geteuid() != 0) {
        return err_say(EINVAL, "%s: a pipe holds at most %llu bytes here; raise fs.pipe-max-size, or lower ?queue=",
                       open->address, (unsigned long long)most);
    }
    bool makes = open->rest[0] == '\0';
    hose_init(h, makes ? &making : &taking, open);
    (void)snprintf(e->query, sizeof e->query, "%s", query != NULL ? query : "?raw");
    int rc = makes ? make_all(h, open->options.queue) : take_handed(h, open->rest);
    if (rc != 0) {
        hose_close(h);
        return rc;
    }
    hose_join(h);
    return 0;
}

static int open_given(void *self, const struct mech_open *open) {
    struct lent *e = self;
    hose_init(&e->hose, &taking, open);
    int fd = (int)strtol(open->rest, NULL, 10), rc = take_both(&e->hose, fd, fd);
    if (rc == 0) {
        hose_join(&e->hose);
    }
    return rc;
}

const struct mech lent_child = {
    .scheme = "pipe",
    .summary = "plain pipes between a process and a child, which may be any program",
    .state_size = sizeof(struct lent),
    .roles = 1u << THIRL_PAIR | 1u << THIRL_WRITE | 1u << THIRL_READ,
    HOSE_SLOTS,
    .open = open_child,
    .hand = hand_slot,
};

const struct mech lent_given = {
    .scheme = "fd",
    .summary = "an end of a plain pipe that the process inherited",
    .state_size = sizeof(struct lent),
    .roles = 1u << THIRL_WRITE | 1u << THIRL_READ | 1u << THIRL_PUSH,
    HOSE_SLOTS,
    .open = open_given,
    .hand = hand_slot,
};
