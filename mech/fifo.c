/* SPDX-License-Identifier: MIT
 *
 * fifo://: two named pipes between unrelated processes. Whoever comes first makes both and reads the one at the path;
 * whoever comes next writes there and reads the one beside it. Who reads a pipe holds a lock on it (seat.h): so the
 * kernel knows who is there, and a third one hears it. A conversation has its pipes for itself: the one at the path is
 * marked when it has begun (by the sticky bit), and the next peer gets new ones. Making and replacing them happens under a
 * lock of the directory.
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
#include "mech/haul.h"
#include "mech/hose.h"
#include "mech/knell.h"
#include "mech/seat.h"

#define PATH_ROOM 320
#define BUSY_MARK S_ISVTX
#define DOUBTS 8 /* tries before a process that cannot be seen, or is no reader of thirl's, is believed to live */

struct file {
    char path[PATH_ROOM];
    dev_t device; /* of the file that this end made */
    ino_t inode;
};

struct place {
    struct file there, back; /* at the path, and beside it: to who makes them, and from him */
    uint32_t mode;
    unsigned doubts;
    bool spent; /* somebody has used the pipe at the path */
};

struct fifo_end {
    struct chain chain;
    struct place place;
};

static int open_pipe(const char *path, int access) {
    int fd = open(path, access | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    int rc = fd < 0 ? -errno : fd;
    fd_own(fd);
    return rc;
}

/* A FIFO at the path? 0, -ENOENT or an error. */
static int look(const struct meet *m, const char *path, struct stat *status) {
    if (lstat(path, status) != 0) {
        return errno == ENOENT ? -ENOENT : err_system(errno, "%s: cannot look at %s", m->address, path);
    }
    return S_ISFIFO(status->st_mode)
               ? 0
               : err_say(EEXIST, "%s: what is at %s is not a FIFO: remove it, or choose another path", m->address,
                         path);
}

static bool is_same(const char *path, int fd) {
    struct stat named, open;
    return lstat(path, &named) == 0 && fstat(fd, &open) == 0 && named.st_dev == open.st_dev &&
           named.st_ino == open.st_ino;
}

static bool is_ours(const struct file *file) {
    struct stat status;
    return lstat(file->path, &status) == 0 && status.st_dev == file->device && status.st_ino == file->inode;
}

/* A stranger's uid may join when the mode lets groups or others in; the files' own permissions then decide who they are. */
static bool is_welcome(const struct place *p, uint32_t uid) {
    return uid == geteuid() || uid == 0 || (p->mode & 0077) != 0;
}

/* Others have met there, or just do: -EBUSY; -EAGAIN: one is gone, and who waits will make new pipes; -ECONNREFUSED: who
 * waits is gone. */
static int say_busy(const struct meet *m) {
    struct place *p = m->place;
    struct link_who who[2];
    bool alive[2];
    for (int i = 0; i < 2; i++) {
        int fd = open_pipe(i == 0 ? p->there.path : p->back.path, O_RDONLY);
        alive[i] = fd >= 0 && seat_holder(fd, &who[i]);
        if (fd >= 0) {
            fd_close(&who[i].pidfd);
            fd_close(&fd);
        }
    }
    if (!alive[0] || !alive[1]) {
        return alive[0] ? -EAGAIN : -ECONNREFUSED;
    }
    /* A lock may outlive its process by moments; where that cannot be seen, its death cannot either. */
    if ((who[0].pid == 0 || who[1].pid == 0) && p->doubts++ < DOUBTS) {
        return -EAGAIN;
    }
    return err_say(EBUSY, "%s: both ends are taken, by %s and %s", m->address, who[0].text, who[1].text);
}

/* Both pipes are open and nobody else has called: may we? */
static int check(const struct meet *m, int out, int in, struct link_who *host) {
    const struct place *p = m->place;
    struct stat status;
    if (!seat_holder(out, host)) {
        fd_close(&host->pidfd);
        return -ECONNREFUSED; /* a child of the dead may hold it open */
    }
    if (fstat(out, &status) != 0 || !is_welcome(p, status.st_uid) || (host->pid != 0 && !is_welcome(p, host->uid))) {
        return err_say(EACCES,
                       "%s: who waits there, %s, has uid %u, and the FIFO uid %u; widen with ?mode=", m->address,
                       host->text, host->uid, status.st_uid);
    }
    if (seat_take(in) != 0) {
        return say_busy(m);
    }
    /* They may have become another conversation's since they were opened. */
    return (status.st_mode & BUSY_MARK) == 0 && is_same(p->there.path, out) && is_same(p->back.path, in) ? 0 : -EAGAIN;
}

/* Calls whoever waits there. 0: it is called; -ENOENT, -ECONNREFUSED: nobody waits; -EAGAIN; or an error. */
static int dial(struct meet *m) {
    struct place *p = m->place;
    struct link_who host = seat_nobody;
    struct stat status;
    int rc = look(m, p->there.path, &status);
    if (rc != 0) {
        return rc;
    }
    if (status.st_mode & BUSY_MARK) {
        return say_busy(m);
    }
    weave("fifo.open.before");
    int out = open_pipe(p->there.path, O_WRONLY), in = out < 0 ? -1 : open_pipe(p->back.path, O_RDONLY);
    if (out < 0 || in < 0) {
        rc = out < 0 ? out : in;
        fd_close(&out);
        return rc == -ENXIO || rc == -ENOENT ? -ECONNREFUSED : err_system(-rc, "%s: cannot open the FIFO", m->address);
    }
    rc = check(m, out, in, &host);
    if (rc != 0) {
        fd_close(&host.pidfd);
        fd_close(&out);
        fd_close(&in);
        return rc;
    }
    (void)tube_resize(out, m->queue);
    weave("fifo.call.before");
    p->doubts = 0;
    meet_call(m, in, out, &host, true);
    return 0;
}

/* Under the lock: nobody of thirl waits at the path, so what lies there is of a process that is gone. */
static int clear(const struct meet *m, const struct file *file) {
    struct stat status;
    int rc = look(m, file->path, &status);
    if (rc != 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    weave("fifo.unlink.before");
    if (unlink(file->path) != 0 && errno != ENOENT) {
        return err_system(errno, "%s: cannot remove %s, which a dead process left", m->address, file->path);
    }
    return 0;
}

static int make(const struct meet *m, struct file *file) {
    const struct place *p = m->place;
    struct stat status;
    weave("fifo.make.before");
    if (mkfifo(file->path, 0600) != 0 || chmod(file->path, p->mode) != 0 || lstat(file->path, &status) != 0) {
        return errno == EEXIST ? -EAGAIN : err_system(errno, "%s: cannot make the FIFO %s", m->address, file->path);
    }
    file->device = status.st_dev;
    file->inode = status.st_ino;
    return 0;
}

/* Becomes the one who waits. */
static int take(struct meet *m) {
    struct place *p = m->place;
    int rc = clear(m, &p->there);
    rc = rc != 0 ? rc : clear(m, &p->back);
    rc = rc != 0 ? rc : make(m, &p->back);
    rc = rc != 0 ? rc : make(m, &p->there);
    if (rc != 0) {
        return rc;
    }
    weave("fifo.read.before");
    int in = open_pipe(p->there.path, O_RDONLY);
    if (in < 0) {
        return err_system(-in, "%s: cannot open the FIFO", m->address);
    }
    if (seat_take(in) != 0) { /* somebody asks just now who holds it */
        fd_close(&in);
        return -EAGAIN;
    }
    weave("fifo.seat.after");
    p->spent = false;
    meet_listen(m, in);
    return 0;
}

/* A program that does not know thirl may read there. So does, for a moment, who asks whether both ends are taken, and a
 * process that ends: its seat is free before its pipe is closed. */
static int check_stranger(const struct meet *m) {
    struct place *p = m->place;
    struct link_who who = seat_nobody;
    int out = open_pipe(p->there.path, O_WRONLY);
    if (out < 0) {
        return 0;
    }
    bool stranger = !seat_holder(out, &who) && !who.dead;
    fd_close(&who.pidfd);
    fd_close(&out);
    if (stranger && p->doubts++ < DOUBTS) {
        return -EAGAIN;
    }
    return stranger
               ? err_say(EBUSY, "%s: a program that does not speak thirl reads there: choose another path", m->address)
               : 0;
}

static int seek(struct meet *m) {
    const struct place *p = m->place;
    int lock = -1, rc = dial(m);
    if (rc != -ENOENT && rc != -ECONNREFUSED) {
        return rc;
    }
    rc = meet_lock_beside(m, p->there.path, &lock);
    if (rc != 0) {
        return rc;
    }
    rc = dial(m);
    if (rc == -ENOENT || rc == -ECONNREFUSED) {
        rc = check_stranger(m);
        rc = rc != 0 ? rc : take(m);
    }
    meet_unlock(&lock);
    return rc;
}

/* The first who writes is the only one: the listener becomes its way in. What listens from then on only keeps the seat, so
 * that nobody takes this end for gone while it is about to make new pipes. */
static int admit(struct meet *m, int *in, int *out) {
    struct place *p = m->place;
    struct pollfd polled = {.fd = m->listener, .events = POLLIN};
    if (p->spent || poll(&polled, 1, 0) <= 0) {
        return -EAGAIN;
    }
    p->spent = true;
    (void)fchmod(m->listener, p->mode | BUSY_MARK);
    weave("fifo.mark.after");
    int seat = fcntl(m->listener, F_DUPFD_CLOEXEC, 3), caller = open_pipe(p->back.path, O_WRONLY);
    meet_forget(m, m->listener);
    bool deaf = caller == -ENXIO; /* who writes there does not read: what it says is heard before it is sent away */
    if ((polled.revents & POLLIN) == 0 || seat < 0 || (caller < 0 && !deaf) || !is_ours(&p->back)) {
        fd_close(&seat);
        fd_close(&caller);
        return -EAGAIN;
    }
    if (!deaf) {
        (void)tube_resize(caller, m->queue);
    }
    *in = m->listener;
    *out = deaf ? -1 : caller;
    m->listener = seat;
    return 0;
}

/* Who holds the seat may have come after who called died. The way in keeps our own seat now, alone: its end is to be seen. */
static bool identify(struct meet *m, const struct meet_line *line, struct link_who *who) {
    struct frame_hello hello;
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    *who = seat_nobody;
    bool met = nothing >= 0 && line->out >= 0 && seat_holder(line->out, who) &&
               frame_read_hello(line->said, &hello) == 0 && seat_is_of(who, hello.pid[0]);
    if (met) {
        (void)dup3(nothing, m->listener, O_CLOEXEC);
    }
    fd_close(&nothing);
    return met;
}

static bool placed(const struct meet *m) {
    const struct place *p = m->place;
    return m->guests > 0 || (!p->spent && is_ours(&p->there));
}

static void leave(struct meet *m) {
    const struct place *p = m->place;
    const struct file *files[] = {&p->there, &p->back};
    for (int i = 0; i < 2; i++) {
        if (is_ours(files[i])) {
            (void)unlink(files[i]->path);
        }
    }
}

static bool same(const struct meet *a, const struct meet *b) {
    const struct place *p = a->place, *q = b->place;
    return strcmp(p->there.path, q->there.path) == 0;
}

static const struct meet_kind kind = {
    .seek = seek,
    .open_to_all = true,
    .admit = admit,
    .identify = identify,
    .placed = placed,
    .leave = leave,
    .same = same,
};

/* What a pipe holds that was asked for so much. */
static size_t room_of(uint64_t queue) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return (size_t)queue;
    }
    size_t room = tube_resize(ends[1], queue);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return room;
}

static int open_slot(void *self, const struct mech_open *open) {
    struct fifo_end *e = self;
    struct place *p = &e->place;
    uint64_t most = tube_size_max();
    if (open->rest[0] != '/' || open->rest[strlen(open->rest) - 1] == '/') {
        return err_say(THIRL_EADDRESS, "%s: the path of a FIFO begins with / and ends with a name: fifo:///run/x",
                       open->address);
    }
    if (open->options.queue > most && geteuid() != 0) {
        return err_say(EINVAL, "%s: a pipe holds at most %llu bytes here; raise fs.pipe-max-size, or lower ?queue=",
                       open->address, (unsigned long long)most);
    }
    (void)snprintf(p->there.path, sizeof p->there.path, "%s", open->rest);
    (void)snprintf(p->back.path, sizeof p->back.path, "%.*s~", (int)sizeof p->back.path - 2, open->rest);
    p->mode = open->options.mode;
    e->chain.queue = room_of(open->options.queue);
    return haul_open(&e->chain, open, &kind, p);
}

static const struct mech *form(const char *rest, const struct thirl_options *options) {
    (void)rest;
    return options->raw != 0 ? &path_raw : &mech_fifo;
}

KNELL(fifo, struct fifo_end)

static const struct mech knell_fifo = {
    .scheme = "fifo",
    .summary = "named pipes: events with 31 bits, from one notifier to one watcher",
    .queue = HAUL_QUEUE,
    KNELL_HAUL,
    KNELL_SLOTS(fifo),
};

const struct mech mech_fifo = {
    .scheme = "fifo",
    .summary = "named pipes between unrelated processes, by path",
    .state_size = sizeof(struct fifo_end),
    HAUL_SLOTS,
    .raw = true,
    .form = form,
    .open = open_slot,
    HAUL_PIPES,
    .kin = &knell_fifo,
};
