/* SPDX-License-Identifier: MIT
 *
 * Rendezvous on a socket address of this host. Binding, and replacing what a killed process left, happen under a lock
 * of the directory that holds the socket file (flock: it needs no file of its own, and dies with its holder), so a
 * listener that is refused under the lock is gone for good. Abstract names need none: the kernel binds them to one
 * socket at a time.
 */
#define _GNU_SOURCE
#include "mech/meet.h"

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"

#define ACCEPTS 16 /* callers taken in by one step */

void meet_attend(struct meet *m, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    (void)epoll_ctl(m->watch, EPOLL_CTL_ADD, fd, &event);
    if (m->also >= 0 && events == EPOLLIN) {
        (void)epoll_ctl(m->also, EPOLL_CTL_ADD, fd, &event);
    }
}

/* Closing alone would not do it: a forked child may hold the same open file. */
void meet_forget(struct meet *m, int fd) {
    (void)epoll_ctl(m->watch, EPOLL_CTL_DEL, fd, NULL);
    if (m->also >= 0) {
        (void)epoll_ctl(m->also, EPOLL_CTL_DEL, fd, NULL);
    }
}

void meet_share(struct meet *m, int epoll) {
    const int open[] = {m->listener, m->joining, m->host.pidfd};
    m->also = epoll;
    for (unsigned i = 0; i < 3 + m->guests; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        int fd = i < 3 ? open[i] : m->guest[i - 3];
        if (fd >= 0) {
            (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
    }
}

static void hang_up(struct meet *m, int *fd) {
    if (*fd >= 0) {
        meet_forget(m, *fd);
        fd_close(fd);
    }
}

static bool abstract(const struct meet *m) {
    return m->at.sun_path[0] == '\0';
}

int meet_init(struct meet *m, const char *address, const char *rest, bool packets, uint32_t mode, uint64_t queue,
              const struct frame_hello *own) {
    size_t length = strlen(rest);
    bool is_abstract = rest[0] == '@';
    *m = (struct meet){.packets = packets, .mode = mode, .queue = queue, .own = *own};
    m->listener = m->joining = m->host.pidfd = m->also = m->watch = -1;
    (void)snprintf(m->address, sizeof(m->address), "%s", address);
    if (length == 0 || (is_abstract && length == 1)) {
        return err_say(THIRL_EADDRESS, "%s: there is no socket name; write unix:///path or unix://@name", address);
    }
    if (length > sizeof(m->at.sun_path) - !is_abstract) {
        return err_say(THIRL_EADDRESS, "%s: the socket name has %zu bytes; the kernel takes at most %zu", address,
                       length, sizeof(m->at.sun_path) - !is_abstract);
    }
    if (!is_abstract && rest[0] != '/') {
        return err_say(THIRL_EADDRESS, "%s: a socket path begins with / (or with @ when it is abstract)", address);
    }
    m->at.sun_family = AF_UNIX;
    memcpy(m->at.sun_path, rest, length);
    if (is_abstract) {
        m->at.sun_path[0] = '\0';
    }
    m->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !is_abstract);
    m->watch = epoll_create1(EPOLL_CLOEXEC);
    return m->watch < 0 ? err_system(errno, "%s: no epoll descriptor", address) : 0;
}

/* A stranger's uid may join when the mode lets groups or others in; the file's own permissions then decide who they
 * are. */
static bool welcome(const struct meet *m, uint32_t uid) {
    return uid == geteuid() || uid == 0 || (m->mode & 0077) != 0;
}

static int new_socket(const struct meet *m) {
    int fd = socket(AF_UNIX, (m->packets ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? err_system(errno, "%s: no socket", m->address) : fd;
}

static void say(int fd, const struct meet *m, enum frame_hello_kind kind, int code, int64_t pid) {
    unsigned char text[FRAME_HELLO];
    struct frame_hello hello = m->own;
    hello.kind = (uint8_t)kind;
    hello.code = (uint32_t)code;
    hello.pid[0] = getpid();
    hello.pid[1] = pid;
    frame_write_hello(text, &hello);
    (void)send(fd, text, sizeof(text), MSG_NOSIGNAL | MSG_DONTWAIT); /* who cannot be told is noticed when it is read */
}

static void end_call(struct meet *m, int64_t pause) {
    hang_up(m, &m->joining);
    hang_up(m, &m->host.pidfd);
    m->again = pause ? clock_now() + pause : 0;
}

/* Calls whoever listens. 0: m->joining waits for the answer; -ENOENT, -ECONNREFUSED: nobody does; -EAGAIN; or an
 * error. */
static int dial(struct meet *m) {
    int fd = new_socket(m);
    if (fd < 0) {
        return fd;
    }
    (void)link_set_queue(fd, m->queue, m->packets);
    weave("meet.connect.before");
    if (connect(fd, (const struct sockaddr *)&m->at, m->length) != 0) {
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
    link_identify(fd, &m->host);
    bool refused = !welcome(m, m->host.uid);
    if (m->host.dead || refused) {
        fd_close(&fd);
        fd_close(&m->host.pidfd);
        return refused
                   ? err_say(EACCES, "%s: who listens there, pid %lld (%s), has uid %u; widen with ?mode=", m->address,
                             (long long)m->host.pid, m->host.name, m->host.uid)
                   : -ECONNREFUSED; /* a child of the dead listener holds its socket */
    }
    weave("meet.hello.before");
    say(fd, m, FRAME_HELLO_CALL, 0, 0);
    weave("meet.hello.after");
    m->joining = fd;
    meet_attend(m, fd, EPOLLIN);
    if (m->host.pidfd >= 0) {
        meet_attend(m, m->host.pidfd, EPOLLIN);
    }
    return 0;
}

/* Becomes the listener. 0, -EAGAIN when somebody else just did, or an error. */
static int place(struct meet *m) {
    int fd = new_socket(m);
    if (fd < 0) {
        return fd;
    }
    (void)fchmod(fd, m->mode); /* what bind gives the file, less the umask: never too much */
    weave("meet.bind.before");
    int rc = bind(fd, (const struct sockaddr *)&m->at, m->length) == 0 ? 0 : -errno;
    weave("meet.bind.after");
    if (rc != 0) {
        fd_close(&fd);
        return rc == -EADDRINUSE ? -EAGAIN : err_system(-rc, "%s: cannot bind the socket", m->address);
    }
    struct stat file = {0};
    if (!abstract(m)) {
        (void)chmod(m->at.sun_path, m->mode);
        (void)stat(m->at.sun_path, &file);
    }
    if (listen(fd, 64) != 0) {
        rc = err_system(errno, "%s: cannot listen", m->address);
        fd_close(&fd);
        return rc;
    }
    weave("meet.listen.after");
    m->device = file.st_dev;
    m->inode = file.st_ino;
    m->listener = fd;
    meet_attend(m, fd, EPOLLIN);
    return 0;
}

static int lock_directory(const struct meet *m, int *lock) {
    char directory[sizeof(m->at.sun_path) + 1];
    memcpy(directory, m->at.sun_path, sizeof(m->at.sun_path));
    directory[sizeof(m->at.sun_path)] = '\0';
    char *slash = strrchr(directory, '/');
    slash[slash == directory] = '\0';
    *lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0) {
        return err_system(errno, "%s: cannot open the directory %s", m->address, directory);
    }
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0) {
        int code = errno;
        fd_close(lock);
        return code == EWOULDBLOCK || code == EINTR
                   ? -EAGAIN
                   : err_system(code, "%s: cannot lock the directory %s", m->address, directory);
    }
    return 0;
}

/* Under the lock: nobody listens at the path, so what lies there is of a process that is gone. */
static int clear(const struct meet *m) {
    struct stat file;
    if (lstat(m->at.sun_path, &file) != 0) {
        return errno == ENOENT ? 0 : err_system(errno, "%s: cannot look at the path", m->address);
    }
    if (!S_ISSOCK(file.st_mode)) {
        return err_say(ENOTSOCK, "%s: what is at that path is not a socket: remove it, or choose another path",
                       m->address);
    }
    weave("meet.unlink.before");
    if (unlink(m->at.sun_path) != 0 && errno != ENOENT) {
        return err_system(errno, "%s: cannot remove the socket that a dead process left", m->address);
    }
    weave("meet.unlink.after");
    return 0;
}

static int seek(struct meet *m) {
    if (clock_now() < m->again) {
        return -EAGAIN;
    }
    int rc = dial(m);
    if (rc == -ENOENT || rc == -ECONNREFUSED) {
        int lock = -1;
        rc = abstract(m) ? place(m) : lock_directory(m, &lock);
        if (lock >= 0) {
            rc = dial(m);
            if (rc == -ENOENT || rc == -ECONNREFUSED) {
                rc = clear(m);
                rc = rc != 0 ? rc : place(m);
            }
            (void)flock(lock, LOCK_UN); /* a child that is being forked may hold it too */
            fd_close(&lock);
        }
    }
    if (rc == -EAGAIN) {
        m->pause = m->pause == 0 ? MEET_PAUSE_NS / 16 : m->pause < MEET_PAUSE_NS ? m->pause * 2 : m->pause;
        m->again = clock_now() + m->pause;
    } else {
        m->pause = 0;
    }
    return rc;
}

/* What the listener said to our call. */
static int hear(struct meet *m, struct meet_match *match) {
    unsigned char text[FRAME_HELLO];
    struct pollfd host = {.fd = m->host.pidfd, .events = POLLIN};
    bool dead = m->host.pidfd >= 0 && poll(&host, 1, 0) == 1;
    ssize_t got = recv(m->joining, text, sizeof(text), MSG_DONTWAIT);
    if (got < 0 && errno == ECONNRESET) {
        got = recv(m->joining, text, sizeof(text), MSG_DONTWAIT); /* it did not read all; what it said is still there */
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR) && !dead) {
        return -EAGAIN;
    }
    if (got <= 0) {
        end_call(m, dead ? 0 : MEET_PAUSE_NS);
        return -EAGAIN;
    }
    int rc = got == FRAME_HELLO
                 ? frame_read_hello(text, &match->hello)
                 : err_say(THIRL_EFORMAT, "the peer does not speak thirl (its greeting has %zd bytes)", got);
    const struct frame_hello *hello = &match->hello;
    if (rc == 0 && hello->kind == FRAME_HELLO_BUSY) {
        rc = err_say(EBUSY, "both ends are taken, by pid %lld (%s) and pid %lld", (long long)m->host.pid, m->host.name,
                     (long long)hello->pid[1]);
    } else if (rc == 0 && hello->kind == FRAME_HELLO_REFUSE) {
        rc = frame_match_roles(m->own.role, hello->role);
        rc = rc != 0 ? rc : err_say((int)hello->code ? (int)hello->code : EACCES, "the listener refused us");
    } else if (rc == 0) {
        rc = hello->kind != FRAME_HELLO_JOIN ? err_say(THIRL_EFORMAT, "the peer answered a call with a call")
                                             : frame_match_roles(m->own.role, hello->role);
    }
    if (rc != 0) {
        rc = err_add(rc, "%s is held by pid %lld (%s)", m->address, (long long)m->host.pid, m->host.name);
        end_call(m, MEET_PAUSE_NS);
        return rc;
    }
    meet_forget(m, m->joining);
    meet_forget(m, m->host.pidfd);
    match->fd = m->joining;
    match->who = m->host;
    m->joining = m->host.pidfd = -1;
    return 1;
}

static void dismiss(struct meet *m, unsigned which) {
    hang_up(m, &m->guest[which]);
    m->guests--;
    memmove(m->guest + which, m->guest + which + 1, (m->guests - which) * sizeof(*m->guest));
}

static void admit(struct meet *m) {
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        weave("meet.accept.after");
        struct ucred cred = {0};
        socklen_t size = sizeof(cred);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0 || !welcome(m, cred.uid)) {
            say(fd, m, FRAME_HELLO_REFUSE, EACCES, 0);
            fd_close(&fd);
            continue;
        }
        if (m->guests == MEET_GUESTS) {
            dismiss(m, 0);
        }
        m->guest[m->guests++] = fd;
        meet_attend(m, fd, EPOLLIN);
    }
}

/* Hears a guest out: 1 it is the peer, 0 it is sent away, -EAGAIN it has said nothing yet. */
static int greet(struct meet *m, int fd, struct meet_match *match) {
    unsigned char text[FRAME_HELLO];
    ssize_t got = recv(fd, text, sizeof(text), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return -EAGAIN;
    }
    if (got <= 0) {
        return 0;
    }
    int rc = got == FRAME_HELLO ? frame_read_hello(text, &match->hello) : -THIRL_EFORMAT;
    if (rc == 0 && match->hello.kind != FRAME_HELLO_CALL) {
        rc = -THIRL_EFORMAT;
    }
    rc = rc != 0 ? rc : frame_match_roles(m->own.role, match->hello.role);
    if (rc != 0) {
        say(fd, m, FRAME_HELLO_REFUSE, -rc, 0);
        return 0;
    }
    /* Nothing may follow the call before our answer, but the end of one who left meanwhile. */
    if (recv(fd, text, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) {
        return 0;
    }
    link_identify(fd, &match->who);
    if (match->who.dead) {
        fd_close(&match->who.pidfd);
        return 0;
    }
    (void)link_set_queue(fd, m->queue, m->packets);
    weave("meet.join.before");
    say(fd, m, FRAME_HELLO_JOIN, 0, 0);
    weave("meet.join.after");
    return 1;
}

static bool still_ours(const struct meet *m) {
    struct stat file;
    return abstract(m) || (lstat(m->at.sun_path, &file) == 0 && (uint64_t)file.st_dev == m->device &&
                           (uint64_t)file.st_ino == m->inode);
}

int meet_step(struct meet *m, struct meet_match *match) {
    if (m->listener < 0 && m->joining < 0) {
        int rc = seek(m);
        if (rc != 0) {
            return rc;
        }
    }
    if (m->joining >= 0) {
        return hear(m, match);
    }
    admit(m);
    for (unsigned i = 0; i < m->guests;) {
        int rc = greet(m, m->guest[i], match);
        if (rc == 1) {
            match->fd = m->guest[i];
            meet_forget(m, match->fd);
            m->guest[i] = -1;
            dismiss(m, i);
            return 1;
        }
        if (rc == 0) {
            dismiss(m, i);
        } else {
            i++;
        }
    }
    if (!still_ours(m)) {
        meet_retire(m); /* somebody removed the file: nobody can find us any more; the next step begins anew */
    }
    return -EAGAIN;
}

void meet_refuse(struct meet *m, int64_t pid) {
    unsigned char text[FRAME_HELLO];
    if (m->listener < 0) {
        return;
    }
    admit(m);
    while (m->guests) {
        (void)recv(m->guest[0], text, sizeof(text), MSG_DONTWAIT); /* unread, it would be an error there */
        say(m->guest[0], m, FRAME_HELLO_BUSY, EBUSY, pid);
        dismiss(m, 0);
    }
}

void meet_retire(struct meet *m) {
    if (m->listener >= 0) {
        /* First the name, then the socket: nobody takes the name for a dead process's while it is there. */
        weave("meet.retire.before");
        if (!abstract(m) && still_ours(m)) {
            (void)unlink(m->at.sun_path);
        }
        weave("meet.retire.after");
        hang_up(m, &m->listener);
    }
    while (m->guests) {
        dismiss(m, 0);
    }
    if (m->joining >= 0) {
        unsigned char bye[FRAME_MARK];
        const struct frame_head head = {.type = FRAME_BYE};
        frame_write_mark(bye, &head);
        size_t skip = m->packets ? 0 : FRAME_MARK - FRAME_HEAD;
        (void)send(m->joining, bye + skip, sizeof(bye) - skip, MSG_NOSIGNAL | MSG_DONTWAIT);
        end_call(m, 0);
    }
}

void meet_deinit(struct meet *m) {
    meet_retire(m);
    fd_close(&m->watch);
}
