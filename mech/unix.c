/* SPDX-License-Identifier: MIT
 *
 * unix://: a Unix socket between two processes, stream or seqpacket, by path or abstract name. Binding, and replacing
 * what a killed process left, happen under a lock of the directory that holds the socket file (flock: it needs no file
 * of its own, and dies with its holder), so a listener that is refused under the lock is gone for good. Abstract names
 * need none: the kernel binds them to one socket at a time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/caller.h"
#include "mech/clerk.h"
#include "mech/deal.h"
#include "mech/ear.h"
#include "mech/crier.h"
#include "mech/haul.h"
#include "mech/local.h"

struct place {
    struct sockaddr_un at;
    socklen_t length;
    uint32_t mode;          /* of the socket file; without bits for group and others only this uid and root may join */
    uint64_t device, inode; /* of the file that this end bound */
};

struct unix_end {
    struct chain chain;
    struct place place;
};

struct unix_crier {
    struct crier crier;
    struct place place;
};

struct unix_clerk {
    struct clerk clerk;
    struct place place;
};

struct unix_caller {
    struct caller caller;
    struct place place;
};

struct unix_deal {
    struct deal deal;
    struct place place;
};

static bool abstract(const struct place *p) {
    return p->at.sun_path[0] == '\0';
}

/* A stranger's uid may join when the mode lets groups or others in; the file's own permissions then decide who they
 * are. */
static bool welcome(const struct place *p, uint32_t uid) {
    return uid == geteuid() || uid == 0 || (p->mode & 0077) != 0;
}

static int new_socket(const char *address, bool packets, bool descriptors) {
    int fd = socket(AF_UNIX, (packets ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_system(errno, "%s: no socket", address);
    }
    rights_allow(fd, descriptors);
    return fd;
}

/* Calls whoever listens. 0: it is called; -ENOENT, -ECONNREFUSED: nobody does; -EAGAIN; or an error. */
static int dial(struct meet *m) {
    const struct place *p = m->place;
    int fd = new_socket(m->address, m->packets, m->own.descriptors != 0);
    if (fd < 0) {
        return fd;
    }
    (void)link_set_queue(fd, m->queue, m->packets);
    weave("unix.connect.before");
    if (connect(fd, (const struct sockaddr *)&p->at, p->length) != 0) {
        int code = errno;
        fd_close(&fd);
        if (code == EPROTOTYPE) {
            return err_say(EPROTOTYPE, "%s: who listens there opened it with another ?type= than %s", m->address,
                           m->packets ? "seqpacket" : "stream");
        }
        if (code == ENOENT || code == ECONNREFUSED || code == EAGAIN || code == EINTR) {
            return code == EINTR ? -EAGAIN : -code;
        }
        return err_system(code, "%s: cannot connect", m->address);
    }
    struct link_who host;
    link_identify(fd, &host);
    bool refused = !welcome(p, host.uid);
    if ((host.dead && !m->raw) || refused) {
        fd_close(&fd);
        fd_close(&host.pidfd);
        return refused ? err_say(EACCES, "%s: who listens there, %s, has uid %u; widen with ?mode=", m->address,
                                 host.text, host.uid)
                       : -ECONNREFUSED; /* a child of the dead listener holds its socket */
    }
    meet_call(m, fd, fd, &host, true);
    return 0;
}

/* Becomes the listener. 0, -EAGAIN when somebody else just did, or an error. */
static int take(struct meet *m) {
    struct place *p = m->place;
    int fd = new_socket(m->address, m->packets, m->own.descriptors != 0);
    if (fd < 0) {
        return fd;
    }
    (void)fchmod(fd, p->mode); /* what bind gives the file, less the umask: never too much */
    weave("unix.bind.before");
    int rc = bind(fd, (const struct sockaddr *)&p->at, p->length) == 0 ? 0 : -errno;
    weave("unix.bind.after");
    if (rc != 0) {
        fd_close(&fd);
        return rc == -EADDRINUSE ? -EAGAIN : err_system(-rc, "%s: cannot bind the socket", m->address);
    }
    struct stat file = {0};
    if (!abstract(p)) {
        (void)chmod(p->at.sun_path, p->mode);
        (void)stat(p->at.sun_path, &file);
    }
    if (listen(fd, m->part == MEET_HOST ? MEET_CALLERS : 64) != 0) {
        rc = err_system(errno, "%s: cannot listen", m->address);
        fd_close(&fd);
        return rc;
    }
    weave("unix.listen.after");
    p->device = file.st_dev;
    p->inode = file.st_ino;
    meet_listen(m, fd);
    return 0;
}

/* Under the lock: nobody listens at the path, so what lies there is of a process that is gone. */
static int clear(const struct meet *m) {
    const struct place *p = m->place;
    struct stat file;
    if (lstat(p->at.sun_path, &file) != 0) {
        return errno == ENOENT ? 0 : err_system(errno, "%s: cannot look at the path", m->address);
    }
    if (!S_ISSOCK(file.st_mode)) {
        return err_say(ENOTSOCK, "%s: what is at that path is not a socket: remove it, or choose another path",
                       m->address);
    }
    weave("unix.unlink.before");
    if (unlink(p->at.sun_path) != 0 && errno != ENOENT) {
        return err_system(errno, "%s: cannot remove the socket that a dead process left", m->address);
    }
    weave("unix.unlink.after");
    return 0;
}

static int seek(struct meet *m) {
    const struct place *p = m->place;
    int rc = dial(m);
    if (m->part == MEET_CALLER && (rc == -ENOENT || rc == -ECONNREFUSED)) {
        return -EAGAIN;
    }
    if (rc == -ENOENT || rc == -ECONNREFUSED) {
        char path[sizeof(p->at.sun_path) + 1] = "";
        int lock = -1;
        memcpy(path, p->at.sun_path, sizeof(p->at.sun_path));
        rc = abstract(m->place) ? take(m) : meet_lock_beside(m, path, &lock);
        if (lock >= 0) {
            rc = dial(m);
            if (rc == -ENOENT || rc == -ECONNREFUSED) {
                rc = clear(m);
                rc = rc != 0 ? rc : take(m);
            }
            meet_unlock(&lock);
        }
    }
    return rc;
}

static int admit(struct meet *m, int *in, int *out) {
    int fd = meet_accept(m);
    if (fd < 0) {
        return fd;
    }
    struct ucred cred = {0};
    socklen_t size = sizeof(cred);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0 || !welcome(m->place, cred.uid)) {
        const struct meet_line line = {.in = fd, .out = fd};
        meet_turn_away(m, &line, EACCES);
        fd_close(&fd);
        return -ECONNREFUSED;
    }
    *in = *out = fd;
    return 0;
}

static bool identify(struct meet *m, const struct meet_line *line, struct link_who *who) {
    link_identify(line->in, who);
    if (who->dead && !m->raw) {
        return false;
    }
    (void)link_set_queue(line->out, m->queue, m->packets);
    return true;
}

static bool placed(const struct meet *m) {
    const struct place *p = m->place;
    struct stat file;
    return abstract(p) || (lstat(p->at.sun_path, &file) == 0 && (uint64_t)file.st_dev == p->device &&
                           (uint64_t)file.st_ino == p->inode);
}

static void leave(struct meet *m) {
    const struct place *p = m->place;
    if (!abstract(p) && placed(m)) {
        (void)unlink(p->at.sun_path);
    }
}

static bool same(const struct meet *a, const struct meet *b) {
    const struct place *p = a->place, *q = b->place;
    return p->length == q->length && memcmp(&p->at, &q->at, p->length) == 0;
}

static const struct meet_kind kind = {
    .seek = seek,
    .admit = admit,
    .identify = identify,
    .placed = placed,
    .leave = leave,
    .same = same,
};

/* What is the same for all: reads the address, and fills in the chain. */
static int prepare(struct chain *chain, struct place *place, const struct mech_open *open) {
    bool packets = open->options.type == THIRL_SEQPACKET;
    struct local local;
    int rc = local_read(&local, open->address, open->rest);
    if (rc != 0) {
        return rc;
    }
    place->at = local.at;
    place->length = local.length;
    int fd = new_socket(open->address, packets, false);
    if (fd < 0) {
        return fd;
    }
    place->mode = open->options.mode;
    chain->packets = packets;
    chain->queue = link_set_queue(fd, open->options.queue, packets); /* how much a socket of this kind holds */
    fd_close(&fd);
    return 0;
}

static int open_slot(void *self, const struct mech_open *open) {
    struct unix_end *u = self;
    u->chain.carries = true;
    int rc = prepare(&u->chain, &u->place, open);
    return rc != 0 ? rc : haul_open(&u->chain, open, &kind, &u->place);
}

static int open_ear(void *self, const struct mech_open *open) {
    struct unix_end *u = self;
    int rc = prepare(&u->chain, &u->place, open);
    return rc != 0 ? rc : ear_open(&u->chain, open, &kind, &u->place);
}

static int open_crier(void *self, const struct mech_open *open) {
    struct unix_crier *u = self;
    int rc = prepare(&u->crier.hub.chain, &u->place, open);
    return rc != 0 ? rc : crier_open(&u->crier, open, &kind, &u->place);
}

static int open_deal(void *self, const struct mech_open *open) {
    struct unix_deal *u = self;
    int rc = prepare(&u->deal.hub.chain, &u->place, open);
    return rc != 0 ? rc : deal_open(&u->deal, open, &kind, &u->place);
}

static int open_clerk(void *self, const struct mech_open *open) {
    struct unix_clerk *u = self;
    int rc = prepare(&u->clerk.hub.chain, &u->place, open);
    return rc != 0 ? rc : clerk_open(&u->clerk, open, &kind, &u->place);
}

static int open_caller(void *self, const struct mech_open *open) {
    struct unix_caller *u = self;
    int rc = prepare(&u->caller.chain, &u->place, open);
    return rc != 0 ? rc : caller_open(&u->caller, open, &kind, &u->place);
}

static void limits_slot(void *self, struct thirl_limits *limits) {
    haul_limits(self, limits);
    limits->identity = 1;
}

static void claims_slot(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->identity = limits->descriptors = 1;
}

/* The limits and claims of a pattern, and that the kernel says who is there. */
#define KNOWN(name, limits, claims)                                                                                    \
    static void limits_##name(void *self, struct thirl_limits *known) {                                                \
        limits(self, known);                                                                                           \
        known->identity = 1;                                                                                           \
    }                                                                                                                  \
    static void claims_##name(struct thirl_limits *known) {                                                            \
        claims(known);                                                                                                 \
        known->identity = 1;                                                                                           \
    }
KNOWN(sub, ear_limits, ear_claims_sub)
KNOWN(pull, ear_limits, ear_claims_pull)
KNOWN(crier, crier_limits, crier_claims)
KNOWN(deal, deal_limits, deal_claims)
KNOWN(clerk, clerk_limits, clerk_claims)
KNOWN(caller, caller_limits, caller_claims)

static const struct mech unix_caller = {
    .scheme = "unix",
    .summary = "Unix socket: a client of who serves there",
    .state_size = sizeof(struct unix_caller),
    CALLER_SLOTS,
    .open = open_caller,
    .limits = limits_caller,
    .claims = claims_caller,
};

static const struct mech unix_clerk = {
    .scheme = "unix",
    .kin = &unix_caller,
    .summary = "Unix sockets, from all who call to one server",
    .state_size = sizeof(struct unix_clerk),
    CLERK_SLOTS,
    .open = open_clerk,
    .limits = limits_clerk,
    .claims = claims_clerk,
};

static const struct mech unix_sub = {
    .scheme = "unix",
    .kin = &unix_clerk,
    .summary = "Unix socket: a subscriber of who publishes there",
    .state_size = sizeof(struct unix_end),
    EAR_SLOTS,
    .roles = 1u << THIRL_SUB,
    .blocks = true,
    .numbers = true,
    .full = CRIER_FULL, /* one address for both: it is the publisher who goes by it */
    .history = true,
    .open = open_ear,
    .limits = limits_sub,
    .claims = claims_sub,
};

static const struct mech unix_pull = {
    .scheme = "unix",
    .kin = &unix_sub,
    .summary = "Unix socket: a worker of who pushes there",
    .state_size = sizeof(struct unix_end),
    EAR_SLOTS,
    .roles = 1u << THIRL_PULL,
    .free = ear_free,
    .requeue = ear_requeue,
    .open = open_ear,
    .limits = limits_pull,
    .claims = claims_pull,
};

static const struct mech unix_crier = {
    .scheme = "unix",
    .kin = &unix_pull,
    .summary = "Unix sockets, from one to all who call",
    .state_size = sizeof(struct unix_crier),
    CRIER_SLOTS,
    .open = open_crier,
    .limits = limits_crier,
    .claims = claims_crier,
};

static const struct mech unix_deal = {
    .scheme = "unix",
    .kin = &unix_crier,
    .summary = "Unix sockets, each message to one of those who call",
    .state_size = sizeof(struct unix_deal),
    DEAL_SLOTS,
    .open = open_deal,
    .limits = limits_deal,
    .claims = claims_deal,
};

const struct mech mech_unix = {
    .scheme = "unix",
    .datagram = &mech_dgram,
    .kin = &unix_deal,
    .summary = "Unix socket, stream or seqpacket, by path or abstract name",
    .state_size = sizeof(struct unix_end),
    HAUL_SLOTS,
    .raw = true,
    .open = open_slot,
    .limits = limits_slot,
    .claims = claims_slot,
    .send_noted = haul_send_noted,
    .recv_noted = haul_recv_noted,
};
