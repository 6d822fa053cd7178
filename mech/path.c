/* SPDX-License-Identifier: MIT
 *
 * fifo:///path?raw: one named pipe, one way, as `cat` and `echo` use it. Any number of programs may write there; what
 * they write in one piece of up to PIPE_BUF bytes stays in one piece. Nobody waits in open(2): a reader opens at once, and
 * knows the time before the first writer from the time after the last one; a writer looks for a reader again and again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mech/hose.h"
#include "mem/node.h"

#define PATH_ROOM 320
#define MAKES 3 /* tries, while others remove what we find */

struct path {
    struct hose hose;
    char at[PATH_ROOM];
    uint32_t mode;
    uint64_t queue;
    bool made; /* by this end: then this is it */
    dev_t device;
    ino_t inode;
};

/* Makes the FIFO, unless something is there. 0 or an error. */
static int make(struct path *p) {
    struct stat file;
    for (int tries = 0; tries < MAKES; tries++) {
        if (stat(p->at, &file) == 0) {
            return S_ISFIFO(file.st_mode)
                       ? 0
                       : err_say(EEXIST, "%s: what is at %s is not a FIFO: remove it, or choose another path",
                                 p->hose.address, p->at);
        }
        if (errno != ENOENT) {
            return err_system(errno, "%s: cannot look at %s", p->hose.address, p->at);
        }
        weave("hose.make.before");
        if (mkfifo(p->at, 0600) == 0) {
            p->made = chmod(p->at, p->mode) == 0 && stat(p->at, &file) == 0;
            p->device = file.st_dev;
            p->inode = file.st_ino;
            weave("hose.make.after");
            continue;
        }
        if (errno != EEXIST) {
            return err_system(errno, "%s: cannot make the FIFO %s", p->hose.address, p->at);
        }
    }
    return -EAGAIN;
}

/* Who has not opened it does not keep the number from another file. */
static bool is_at(const struct path *p, dev_t device, ino_t inode) {
    struct stat file;
    return stat(p->at, &file) == 0 && S_ISFIFO(file.st_mode) && file.st_dev == device && file.st_ino == inode;
}

static void unmake(const struct path *p) {
    if (p->made && is_at(p, p->device, p->inode)) {
        (void)unlink(p->at);
    }
}

static bool is_placed(const struct path *p, int fd) {
    struct stat file;
    return fstat(fd, &file) == 0 && is_at(p, file.st_dev, file.st_ino);
}

/* The descriptor; -ENXIO: nobody reads there; or an error with its sentence. */
static int open_it(struct path *p, int access) {
    struct stat file;
    if (stat(p->at, &file) == 0 && !S_ISFIFO(file.st_mode)) { /* opening a device may do something */
        return err_say(EEXIST, "%s: what is at %s is no FIFO any more", p->hose.address, p->at);
    }
    int fd = open(p->at, access | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return errno == ENXIO || errno == ENOENT ? -errno
                                                 : err_system(errno, "%s: cannot open the FIFO", p->hose.address);
    }
    fd_own(fd);
    if (fstat(fd, &file) != 0 || !S_ISFIFO(file.st_mode)) {
        fd_close(&fd);
        return err_say(EEXIST, "%s: what is at %s is no FIFO any more", p->hose.address, p->at);
    }
    if (p->queue > tube_size(fd)) {
        (void)tube_resize(fd, p->queue);
    }
    p->hose.seen->queue = tube_size(fd);
    return fd;
}

/* A queue's reader has left: is there another one? The pipe is kept open, for what is in it, while it is at the path. */
static int is_back(struct path *p, int fd) {
    if (!hose_is_unread(fd)) {
        p->hose.seen->queue = tube_size(fd);
        return 0;
    }
    if (!is_placed(p, fd)) {
        hose_set(&p->hose, MECH_OUT, -1);
    }
    return -EAGAIN;
}

static int reach(struct hose *h, enum mech_way way) {
    struct path *p = (struct path *)h;
    if (h->way[way].fd >= 0) {
        return is_back(p, h->way[way].fd);
    }
    weave("hose.open.before");
    int fd = open_it(p, way == MECH_IN ? O_RDONLY : O_WRONLY);
    if (fd == -ENOENT) {
        int rc = make(p); /* somebody has removed it */
        return rc != 0 ? rc : -EAGAIN;
    }
    if (fd < 0) {
        return fd == -ENXIO ? -EAGAIN : fd;
    }
    hose_set(h, way, fd);
    return 0;
}

/* Only a writer that came and left makes the pipe hang up. */
static bool awaits(struct hose *h) {
    struct pollfd polled = {.fd = h->way[MECH_IN].fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 0 || (polled.revents & POLLHUP) == 0 || (polled.revents & POLLIN) != 0;
}

/* A reader whose FIFO is no longer at the path would wait for ever. */
static int attend(struct hose *h) {
    struct path *p = (struct path *)h;
    if (h->way[MECH_IN].fd >= 0 && is_placed(p, h->way[MECH_IN].fd)) {
        return 0;
    }
    int rc = make(p), fd = rc != 0 ? rc : open_it(p, O_RDONLY);
    if (fd < 0) {
        return fd == -ENOENT ? -EAGAIN : fd;
    }
    hose_set(h, MECH_IN, fd);
    hose_relight(h, MECH_IN);
    return 0;
}

/* A reader that waits for a writer has had one, even if that had nothing to say. Who made the FIFO removes it; but one of many
 * writers only where nobody reads. */
static void leave(struct hose *h) {
    struct path *p = (struct path *)h;
    struct hose_way *out = &h->way[MECH_OUT];
    if (h->sends && out->fd < 0) {
        out->fd = open_it(p, O_WRONLY);
    }
    bool stays = h->messages && out->fd >= 0 && !hose_is_unread(out->fd);
    weave("hose.unlink.before");
    if (!stays) {
        unmake(p);
    }
}

static const struct hose_kind kind = {.many = true, .reach = reach, .awaits = awaits, .attend = attend, .leave = leave};

/* A reader is there from now on; a writer joins one that is there already. */
static int begin(struct path *p) {
    struct hose *h = &p->hose;
    int rc = make(p), fd = -1;
    if (rc == 0 && h->receives) {
        fd = open_it(p, O_RDONLY);
        rc = fd >= 0 || fd == -ENOENT || fd == -ENXIO ? 0 : fd; /* the next look finds it */
    }
    if (fd >= 0) {
        hose_set(h, MECH_IN, fd);
        h->way[MECH_IN].met = true;
    }
    if (rc == 0 && h->sends && (rc = reach(h, MECH_OUT)) == 0) {
        hose_meet(h, MECH_OUT);
    }
    return rc == -EAGAIN ? 0 : rc;
}

static int open_slot(void *self, const struct mech_open *open) {
    struct path *p = self;
    uint64_t most = tube_size_max();
    size_t length = strlen(open->rest);
    if (open->rest[0] != '/' || open->rest[length - 1] == '/' || length >= sizeof p->at) {
        return err_say(THIRL_EADDRESS, "%s: the path of a FIFO begins with / and ends with a name: fifo:///run/x",
                       open->address);
    }
    if (open->options.queue > most && geteuid() != 0) {
        return err_say(EINVAL, "%s: a pipe holds at most %llu bytes here; raise fs.pipe-max-size, or lower ?queue=",
                       open->address, (unsigned long long)most);
    }
    hose_init(&p->hose, &kind, open);
    memcpy(p->at, open->rest, length + 1);
    p->mode = open->options.mode;
    p->queue = open->options.queue;
    int rc = begin(p);
    if (rc != 0) {
        unmake(p);
        hose_set(&p->hose, MECH_IN, -1);
        hose_set(&p->hose, MECH_OUT, -1);
        return rc;
    }
    hose_join(&p->hose);
    return 0;
}

const struct mech path_raw = {
    .scheme = "fifo",
    .summary = "a named pipe that any program may write or read",
    .state_size = sizeof(struct path),
    .roles = 1u << THIRL_WRITE | 1u << THIRL_READ | 1u << THIRL_PUSH,
    HOSE_SLOTS,
    .open = open_slot,
};
