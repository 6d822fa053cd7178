/* SPDX-License-Identifier: MIT
 *
 * tcp://host:port: a TCP connection between two processes, on one host or two. Who can bind the address listens there;
 * who cannot, because it is another host's or somebody listens there already, calls. The kernel lets one of two
 * listen, so nothing is ever half placed. The name is resolved once, by open.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/far.h"
#include "mech/haul.h"
#include "mech/host.h"
#include "mech/kin.h"

#define SYN_TRIES 2 /* of one call, 7 s in all: a host that comes up later is found by the next one */

struct place {
    struct host host;
    unsigned turn; /* whose turn it is to be called */
    bool barred;   /* the address is ours, but we may not listen there */
};

struct tcp_end {
    struct chain chain;
    struct place place;
};

static int new_socket(const struct meet *m, const struct host_spot *s) {
    int fd = socket(s->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        fd_own(fd);
        int yes = 1; /* also where we call: our own port must not keep a listener from one of the same number */
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        (void)far_prepare(fd, m->queue);
    }
    return fd;
}

/* 0: we listen. -EADDRINUSE: somebody does; -EADDRNOTAVAIL: that is not for us; or an error. */
static int take(struct meet *m, const struct host_spot *s) {
    int fd = new_socket(m, s);
    if (fd < 0) {
        return errno == EAFNOSUPPORT ? -EADDRNOTAVAIL : err_system(errno, "%s: no socket", m->address);
    }
    weave("tcp.bind.before");
    int rc =
        bind(fd, host_at(s), s->length) == 0 && listen(fd, m->part == MEET_HOST ? MEET_CALLERS : 64) == 0 ? 0 : -errno;
    weave("tcp.bind.after");
    if (rc == 0) {
        meet_listen(m, fd);
        return 0;
    }
    fd_close(&fd);
    if (rc == -EADDRINUSE || rc == -EADDRNOTAVAIL || rc == -EACCES) {
        return rc;
    }
    return err_system(-rc, "%s: cannot listen", m->address);
}

static bool may_come_later(int code) {
    static const int codes[] = {ECONNREFUSED, ECONNRESET, ECONNABORTED, ETIMEDOUT,     EHOSTUNREACH, EHOSTDOWN,
                                ENETUNREACH,  ENETDOWN,   EAGAIN,       EADDRNOTAVAIL, EINTR};
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        if (code == codes[i]) {
            return true;
        }
    }
    return false;
}

static int dial(struct meet *m, const struct host_spot *s) {
    int fd = new_socket(m, s), tries = SYN_TRIES;
    if (fd < 0) {
        return errno == EAFNOSUPPORT ? -EAGAIN : err_system(errno, "%s: no socket", m->address);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &tries, sizeof(tries));
    weave("tcp.connect.before");
    if (connect(fd, host_at(s), s->length) != 0 && errno != EINPROGRESS) {
        int code = errno;
        fd_close(&fd);
        return may_come_later(code) ? -EAGAIN : err_system(code, "%s: cannot connect", m->address);
    }
    struct link_who host;
    far_identify(&host, host_at(s));
    meet_call(m, fd, fd, &host, false);
    return 0;
}

static int seek(struct meet *m) {
    struct place *p = m->place;
    const struct host_spot *called = NULL;
    p->barred = false;
    for (unsigned i = 0; i < p->host.spots && !called && m->part != MEET_CALLER; i++) {
        int rc = take(m, &p->host.spot[i]);
        if (rc == -EADDRINUSE || rc == -EACCES) {
            called = &p->host.spot[i];
            p->barred = rc == -EACCES;
        } else if (rc != -EADDRNOTAVAIL) {
            return rc;
        }
    }
    if (!called && m->part == MEET_HOST) {
        return err_say(EADDRNOTAVAIL, "%s: who publishes or pushes listens, and that is no address of this host",
                       m->address);
    }
    if (!called) {
        called = &p->host.spot[p->turn];
        p->turn = p->turn + 1 < p->host.spots ? p->turn + 1 : 0;
    }
    return dial(m, called);
}

/* A call from a port to itself comes through, when nobody listens there. */
static bool is_own(int fd) {
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t of_here = sizeof(here), of_there = sizeof(there);
    return getsockname(fd, (struct sockaddr *)&here, &of_here) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &of_there) == 0 && of_here == of_there &&
           memcmp(&here, &there, of_here) == 0;
}

static int reach(struct meet *m) {
    const struct place *p = m->place;
    struct pollfd call = {.fd = m->joining.out, .events = POLLOUT};
    int code = 0;
    socklen_t length = sizeof(code);
    if (poll(&call, 1, 0) == 0) {
        return -EAGAIN;
    }
    if (getsockopt(call.fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0) {
        code = errno;
    }
    if (code == 0) {
        return is_own(call.fd) ? -ECONNREFUSED : 0;
    }
    if (code == ECONNREFUSED && p->barred) {
        return err_say(EACCES,
                       "%s: nobody listens there, and this process may not: ports below "
                       "net.ipv4.ip_unprivileged_port_start take CAP_NET_BIND_SERVICE",
                       m->address);
    }
    return may_come_later(code) ? -ECONNREFUSED : err_system(code, "%s: cannot connect", m->address);
}

static int admit(struct meet *m, int *in, int *out) {
    int fd = meet_accept(m);
    *in = *out = fd < 0 ? -1 : fd;
    return fd < 0 ? fd : 0;
}

static bool identify(struct meet *m, const struct meet_line *line, struct link_who *who) {
    struct sockaddr_storage from = {0};
    socklen_t length = sizeof(from);
    bool there = getpeername(line->in, (struct sockaddr *)&from, &length) == 0;
    far_identify(who, (struct sockaddr *)&from);
    (void)far_prepare(line->in, m->queue);
    return there;
}

static bool same(const struct meet *a, const struct meet *b) {
    const struct place *p = a->place, *q = b->place;
    return p->host.port == q->host.port; /* one may have said it with another name */
}

static const struct meet_kind kind = {
    .seek = seek,
    .reach = reach,
    .admit = admit,
    .identify = identify,
    .same = same,
};

/* What is the same for all: reads the address, and fills in the chain. */
static int prepare(struct chain *chain, struct place *place, const struct mech_open *open) {
    if (open->options.type > THIRL_STREAM) {
        return err_say(THIRL_EADDRESS, "%s: tcp:// has no ?type=: it is a stream", open->address);
    }
    int rc = host_read(&place->host, open->address, "tcp", open->rest, SOCK_STREAM);
    if (rc != 0) {
        return rc;
    }
    int fd = -1;
    for (unsigned i = 0; i < place->host.spots && fd < 0; i++) { /* the first may be of a kind that this host has not */
        fd = socket(place->host.spot[i].at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    if (fd < 0) {
        return err_system(errno, "%s: no socket", open->address);
    }
    chain->queue = far_prepare(fd, open->options.queue); /* how much a socket of this kind holds */
    fd_close(&fd);
    return 0;
}

static int open_slot(void *self, const struct mech_open *open) {
    struct tcp_end *t = self;
    int rc = prepare(&t->chain, &t->place, open);
    return rc != 0 ? rc : haul_open(&t->chain, open, &kind, &t->place);
}

static void know(struct thirl_limits *limits, bool claimed) {
    limits->queue *= claimed ? 2 : 1; /* a host at either end keeps some */
    limits->cross_host = 1;
}

static void limits_slot(void *self, struct thirl_limits *limits) {
    haul_limits(self, limits);
    know(limits, false);
}

static void claims_slot(struct thirl_limits *limits) {
    haul_claims(limits);
    know(limits, true);
}

KIN("tcp", "TCP connection")

const struct mech mech_tcp = {
    .scheme = "tcp",
    .kin = &kin_push,
    .summary = "TCP connection, on this host or to another one",
    .state_size = sizeof(struct tcp_end),
    HAUL_SLOTS,
    .raw = true,
    .open = open_slot,
    .limits = limits_slot,
    .claims = claims_slot,
};
