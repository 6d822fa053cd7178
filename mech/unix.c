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
#include "mech/haul.h"
#include "mech/kin.h"
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
    fd_own(fd);
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

static void know(struct thirl_limits *limits, bool claimed) {
    (void)claimed;
    limits->identity = 1; /* the kernel says who is there */
}

static void limits_slot(void *self, struct thirl_limits *limits) {
    haul_limits(self, limits);
    know(limits, false);
}

static void claims_slot(struct thirl_limits *limits) {
    haul_claims(limits);
    know(limits, true);
    limits->descriptors = 1;
}

KIN("unix", "Unix socket")

const struct mech mech_unix = {
    .scheme = "unix",
    .datagram = &mech_dgram,
    .kin = &kin_push,
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
