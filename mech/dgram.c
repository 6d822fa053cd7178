/* SPDX-License-Identifier: MIT
 *
 * unix://…?type=datagram: datagram sockets of one host as a carrier, and the mechanism that the engines make of it. A named
 * receiver binds the path or the abstract name, as mech/unix does, and any number of senders aim at it; an inbox has an abstract
 * name of its own. A full receiver makes its senders wait; nothing is lost while it lives, and all that it had not taken when it
 * goes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/carried.h"
#include "mech/gram.h"
#include "mech/knell.h"
#include "mech/local.h"
#include "mech/rights.h"
#include "mech/tray.h"

#define QUEUE 212992u         /* net.core.wmem_default, where nobody has changed it */
#define PACKET_FRAMED 131072u /* of a message that is cut: some of them fit into any buffer */
#define OVERHEAD 32u          /* what the kernel keeps of a buffer for itself */
#define COUNT_USUAL 10        /* net.unix.max_dgram_qlen */
#define STRANGERS 64          /* packets of other users that one call throws away */
#define LOCK_TRIES 1000       /* at a millisecond each: others hold it for a few file operations */

struct dgram {
    struct gram gram;
    bool aimed, fixed;    /* fixed: at an inbox, which goes with its owner */
    bool private, checks; /* the name is for this user alone, and nothing but this asks who sends */
    uint64_t suspects;    /* of a confined inbox: packets that may have come before it was */
    uid_t own;            /* whom this process was when it opened the end */
    bool whole;           /* messages are not cut: nobody knows when a sender of a name is gone */
    struct local spot;
    size_t packet;
    uint64_t bytes, packets;
    uint64_t device, inode; /* of the file that it bound; 0: none */
    char address[NODE_ADDRESS_MAX];
};

static uint64_t count_most(void) {
    char text[32] = "";
    int fd = open("/proc/sys/net/unix/max_dgram_qlen", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : fd_read_at(fd, text, sizeof text - 1, 0);
    fd_close(&fd);
    long value = got > 0 ? strtol(text, NULL, 10) : 0;
    return value > 0 ? (uint64_t)value : COUNT_USUAL;
}

static int new_socket(void) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        fd_own(fd);
        rights_allow(fd, false);
    }
    return fd;
}

/* ---- sending: whom to ---- */

/* 0; -ENOENT: nobody is there; or an error. */
static int aim(struct dgram *g) {
    if (connect(g->gram.fd, (const struct sockaddr *)&g->spot.at, g->spot.length) == 0) {
        g->aimed = true;
        return 0;
    }
    switch (errno) {
    case ENOENT:
    case ECONNREFUSED:
        return -ENOENT;
    case EPERM:
        if (g->fixed) {
            return -ENOENT; /* the inbox is confined to another one still */
        }
        return err_say(EPERM, "%s: who receives there takes datagrams of one sender only", g->address);
    case EPROTOTYPE:
        return err_say(EPROTOTYPE, "%s: who is there opened it with another ?type= than datagram", g->address);
    default:
        return err_system(errno, "%s: cannot send there", g->address);
    }
}

/* Gets a name from the kernel, which is what an inbox can be confined to. */
static void take_source(const struct dgram *g, char place[CARRIER_PLACE_MAX]) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t length = sizeof at;
    if (bind(g->gram.fd, (const struct sockaddr *)&at, sizeof at.sun_family) == 0 &&
        getsockname(g->gram.fd, (struct sockaddr *)&at, &length) == 0) {
        int name = (int)(length - offsetof(struct sockaddr_un, sun_path)) - 1;
        (void)snprintf(place, CARRIER_PLACE_MAX, "@%.*s", name, at.sun_path + 1);
    }
}

/* ---- receiving: the name ---- */

static int say_taken(const char *address, bool type) {
    return err_say(EBUSY,
                   type ? "%s: another process has a socket of another type there"
                        : "%s: another process receives there already: datagrams have one receiver",
                   address);
}

static int bind_to(const struct dgram *g) {
    return bind(g->gram.fd, (const struct sockaddr *)&g->spot.at, g->spot.length) == 0 ? 0 : -errno;
}

/* Under the lock: does nobody receive at the path? Then what lies there is of a process that is gone, and is removed. */
static int clear(const struct dgram *g, const char *address) {
    struct stat file;
    int fd = new_socket();
    int code = connect(fd, (const struct sockaddr *)&g->spot.at, g->spot.length) == 0 ? 0 : errno;
    fd_close(&fd);
    if (code != ECONNREFUSED && code != ENOENT) {
        return code == 0 || code == EPROTOTYPE || code == EPERM
                   ? say_taken(address, code == EPROTOTYPE)
                   : err_system(code, "%s: cannot look who receives there", address);
    }
    if (lstat(g->spot.at.sun_path, &file) == 0 && !S_ISSOCK(file.st_mode)) {
        return err_say(ENOTSOCK, "%s: what is at that path is not a socket: remove it, or choose another path",
                       address);
    }
    weave("dgram.unlink.before");
    if (unlink(g->spot.at.sun_path) != 0 && errno != ENOENT) {
        return err_system(errno, "%s: cannot remove the socket that a dead process left", address);
    }
    weave("dgram.unlink.after");
    return 0;
}

static int lock_beside(const struct dgram *g, const char *address, int *lock) {
    char path[sizeof g->spot.at.sun_path + 1] = "";
    memcpy(path, g->spot.at.sun_path, sizeof g->spot.at.sun_path);
    int rc = local_lock(lock, path, address);
    for (int i = 0; rc == -EAGAIN && i < LOCK_TRIES; i++) {
        const struct timespec moment = {.tv_nsec = CLOCK_MS};
        (void)nanosleep(&moment, NULL);
        rc = local_lock(lock, path, address);
    }
    return rc == -EAGAIN ? err_say(EAGAIN, "%s: somebody holds the lock of its directory", address) : rc;
}

static int take_path(struct dgram *g, const struct carrier_open *open) {
    struct stat file = {0};
    int lock = -1, rc = lock_beside(g, open->address, &lock);
    if (rc != 0) {
        return rc;
    }
    (void)fchmod(g->gram.fd, open->options->mode); /* what bind gives the file, less the umask: never too much */
    rc = bind_to(g);
    if (rc == -EADDRINUSE) {
        rc = clear(g, open->address);
        rc = rc == 0 ? bind_to(g) : rc;
        rc = rc == -EADDRINUSE ? say_taken(open->address, false) : rc;
    } else if (rc != 0) {
        rc = err_system(-rc, "%s: cannot bind the socket", open->address);
    }
    weave("dgram.bind.after");
    if (rc == 0) {
        (void)chmod(g->spot.at.sun_path, open->options->mode);
        (void)stat(g->spot.at.sun_path, &file);
        g->device = file.st_dev;
        g->inode = file.st_ino;
    }
    local_unlock(&lock);
    return rc;
}

static int set_checks(struct dgram *g) {
    const int yes = 1;
    if (g->private && !g->checks) {
        g->checks = setsockopt(g->gram.fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0;
        return g->checks ? 0 : -errno;
    }
    return 0;
}

static int take_name(struct dgram *g, const struct carrier_open *open) {
    g->private = (open->options->mode & 0077) == 0;
    int rc = set_checks(g);
    if (rc != 0) {
        return err_system(-rc, "%s: the kernel does not tell who sends, and to an abstract name everybody may",
                          open->address);
    }
    rc = bind_to(g);
    return rc == 0             ? 0
           : rc == -EADDRINUSE ? say_taken(open->address, false)
                               : err_system(-rc, "%s: cannot bind the socket", open->address);
}

/* ---- open ---- */

/* A slice at most inside a call that may block. */
static void prepare(struct dgram *g, const struct carrier_open *open) {
    const struct timeval slice = {.tv_usec = MECH_SLICE_NS / CLOCK_US};
    uint64_t queue = open->options->queue > INT32_MAX / 4 ? INT32_MAX / 4 : open->options->queue;
    int room = (int)queue;
    socklen_t length = sizeof room;
    (void)setsockopt(g->gram.fd, SOL_SOCKET, g->gram.receives ? SO_RCVTIMEO : SO_SNDTIMEO, &slice, sizeof slice);
    (void)setsockopt(g->gram.fd, SOL_SOCKET, SO_SNDBUF, &room,
                     sizeof room); /* what its datagrams take, wherever they wait */
    (void)getsockopt(g->gram.fd, SOL_SOCKET, SO_SNDBUF, &room, &length);
    g->bytes = (uint64_t)room / 2; /* the other half is for what the kernel adds */
    g->packets = count_most();
    /* A receiver takes what senders with ordinary buffers send, whatever its own is. */
    if (open->kind == CARRIER_NAMED) {
        g->packet = g->gram.receives && g->bytes < QUEUE ? QUEUE : (size_t)g->bytes;
    } else {
        g->packet = g->gram.receives || g->bytes / 2 > PACKET_FRAMED ? PACKET_FRAMED : (size_t)g->bytes / 2;
    }
    g->packet -= OVERHEAD;
}

static int open_slot(void *self, const struct carrier_open *open, char place[CARRIER_PLACE_MAX]) {
    struct dgram *g = self;
    char name[CARRIER_PLACE_MAX] = "";
    *g = (struct dgram){
        .gram = {.fd = -1, .receives = open->way == MECH_IN}, .fixed = open->kind == CARRIER_PLACE, .own = geteuid()};
    g->whole = open->kind == CARRIER_NAMED;
    (void)snprintf(g->address, sizeof g->address, "%s", open->address);
    if (open->kind == CARRIER_INBOX) {
        (void)snprintf(name, sizeof name, "@thirl-%s", open->key);
    }
    int rc = local_read(&g->spot, open->address,
                        open->kind == CARRIER_NAMED   ? open->rest
                        : open->kind == CARRIER_INBOX ? name
                                                      : open->place);
    if (rc != 0) {
        return rc;
    }
    g->gram.fd = new_socket();
    if (g->gram.fd < 0) {
        return err_system(errno, "%s: no socket", open->address);
    }
    prepare(g, open);
    if (g->gram.receives) {
        rc = local_abstract(&g->spot) ? take_name(g, open) : take_path(g, open);
    } else {
        if (g->fixed && place != NULL) {
            take_source(g, name);
        }
        rc = aim(g);
        rc = rc == -ENOENT && !g->fixed ? 0 : rc; /* nobody yet */
    }
    if (rc != 0) {
        fd_close(&g->gram.fd);
        return rc;
    }
    g->gram.haste.quiet = open->options->wait == THIRL_WAIT_SLEEP;
    if (g->gram.receives) {
        gram_listen(&g->gram, g->packet);
    }
    if (place != NULL) {
        memcpy(place, name, sizeof name);
    }
    return 0;
}

static void close_slot(void *self) {
    struct dgram *g = self;
    struct stat file;
    if (g->inode != 0 && lstat(g->spot.at.sun_path, &file) == 0 && file.st_dev == g->device &&
        file.st_ino == g->inode) {
        (void)unlink(g->spot.at.sun_path);
    }
    gram_close(&g->gram);
}

/* ---- packets ---- */

/* Whoever received there is gone. Is there another one? */
static int aim_again(struct dgram *g) {
    g->aimed = false;
    int rc = aim(g);
    return rc != -ENOENT ? rc : g->fixed ? -EPIPE : -EAGAIN;
}

SLOT int send_slot(void *self, const struct iovec *part, unsigned parts, const struct mech_note *note, bool wait) {
    struct dgram *g = self;
    int rc = likely(g->aimed) ? 0 : aim_again(g);
    (void)note;
    for (int i = 0; rc == 0; i++) {
        struct haste_wait w = haste_begin(&g->gram.haste, wait);
        ssize_t went;
        do {
            went = gram_send(&g->gram, part, parts, w.sleeps);
        } while (haste_again(&g->gram.haste, &w, went < 0 && errno == EAGAIN));
        if (likely(went >= 0)) {
            return 0;
        }
        switch (errno) {
        case EMSGSIZE:
            return -EMSGSIZE;
        case EAGAIN:
        case EINTR:
        case ENOBUFS:
        case ENOMEM:
            return -EAGAIN;
        case ECONNREFUSED:
        case ENOTCONN:
        case ECONNRESET:
        case EPERM:
        case EPIPE:
            rc = i == 0 ? aim_again(g) : -EAGAIN;
            break;
        default:
            return err_system(errno, "the datagram cannot be sent");
        }
    }
    return rc;
}

/* The kernel knows two sockets that are each other's peer: it keeps others away, and does not count what waits. */
static int confine_slot(void *self, const char *source) {
    struct dgram *g = self;
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct local peer;
    if (source == NULL) {
        g->suspects = 0;
        tray_drop(g->gram.tray);
        int rc = set_checks(g);
        return rc != 0 ? rc : connect(g->gram.fd, &nobody, sizeof nobody) == 0 ? 0 : -errno;
    }
    if (local_read(&peer, g->address, source) != 0 || !local_abstract(&peer)) {
        return -THIRL_EFORMAT;
    }
    if (connect(g->gram.fd, (const struct sockaddr *)&peer.at, peer.length) != 0) {
        return -errno;
    }
    g->suspects = g->checks ? 2 * count_most() + STRANGERS : 0;
    return 0;
}

/* The last packet that may have come before the inbox was confined. */
static __attribute__((noinline)) void trust(struct dgram *g) {
    const int no = 0;
    g->checks = setsockopt(g->gram.fd, SOL_SOCKET, SO_PASSCRED, &no, sizeof no) != 0;
}

/* Where a name has no permission bits, the kernel's word on who sends stands for them. */
static bool is_welcome(const struct dgram *g, struct msghdr *message) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred cred;
            memcpy(&cred, CMSG_DATA(c), sizeof cred);
            return cred.uid == g->own || cred.uid == 0;
        }
    }
    return false;
}

SLOT int recv_slot(void *self, const struct iovec *part, unsigned parts, size_t *size, const void **at,
                   struct mech_note *note, bool wait) {
    struct dgram *g = self;
    for (int i = 0; i < STRANGERS; i++) {
        struct gram_told told;
        const bool checks = g->checks;
        ssize_t got = gram_receive(&g->gram, part, parts, at, wait && i == 0, unlikely(checks) ? &told : NULL);
        if (unlikely(got < 0)) {
            return errno == EAGAIN || errno == EINTR || errno == ENOMEM
                       ? -EAGAIN
                       : err_system(errno, "datagrams cannot be received");
        }
        if (likely(!checks || is_welcome(g, told.said))) {
            if (unlikely(g->suspects != 0) && --g->suspects == 0) {
                trust(g);
            }
            if (note != NULL) {
                note->priority = 0;
                note->count = 0;
            }
            *size = (size_t)got;
            return *size > part[parts - 1].iov_len ? -EMSGSIZE : 0;
        }
    }
    return -EAGAIN;
}

static bool holds_slot(void *self) {
    return tray_holds(((struct dgram *)self)->gram.tray);
}

/* Nobody to send to: the kernel would say that there is room. */
static int watch_slot(void *self, struct mech_watch *watch) {
    const struct dgram *g = self;
    gram_watch(&g->gram, watch);
    return !g->gram.receives && !g->aimed;
}

/* ---- what is true ---- */

static void describe(struct carrier_facts *facts, size_t packet, uint64_t bytes, uint64_t packets, bool whole) {
    *facts = (struct carrier_facts){.packet = packet,
                                    .bytes = bytes,
                                    .packets = packets,
                                    .priorities = 1,
                                    .receivers = 1,
                                    .reliable = true,
                                    .ordered = true,
                                    .whole = whole};
}

static void facts_slot(void *self, struct carrier_facts *facts) {
    const struct dgram *g = self;
    describe(facts, g->packet, g->bytes, g->packets, g->whole);
}

static void claims_slot(struct carrier_facts *facts) {
    describe(facts, QUEUE - OVERHEAD, QUEUE, count_most(), true);
}

static const struct carrier carrier_dgram = {
    .scheme = "unix",
    .state_size = sizeof(struct dgram),
    .blocks = true,
    .remedy = "ask for more with ?queue=, up to net.core.wmem_max",
    .open = open_slot,
    .close = close_slot,
    .send = send_slot,
    .recv = recv_slot,
    .holds = holds_slot,
    .confine = confine_slot,
    .watch = watch_slot,
    .facts = facts_slot,
    .claims = claims_slot,
};

CARRIED_OPEN(dgram, NULL)

KNELL(dgram, struct carried)

static const struct mech knell_dgram = {
    .scheme = "unix",
    .summary = "Unix datagram socket (?type=datagram): events with 31 bits, from one notifier to one watcher",
    .queue = QUEUE,
    .registry = true,
    KNELL_SLOTS(dgram),
};

const struct mech mech_dgram = {
    .scheme = "unix",
    .summary = "Unix datagram socket, by path or abstract name (?type=datagram): many senders, one receiver",
    .queue = QUEUE,
    .blocks = true,
    CARRIED_SLOTS(dgram),
    .kin = &knell_dgram,
};
