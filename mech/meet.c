/* SPDX-License-Identifier: MIT
 *
 * Rendezvous: what is the same on every kind of address. A guest is heard out as its bytes come; it may neither say
 * more than a greeting before it is answered, nor take its time.
 */
#define _GNU_SOURCE
#include "mech/meet.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mech/greet.h"
#include "mech/local.h"

#define ACCEPTS 16 /* callers taken in by one step */

void meet_attend(struct meet *m, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    (void)epoll_ctl(m->watch, EPOLL_CTL_ADD, fd, &event);
    if (m->also >= 0) {
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
    const int open[] = {m->listener, m->greeted ? m->joining.in : -1, m->host.pidfd};
    struct epoll_event event = {.events = EPOLLIN};
    m->also = epoll;
    for (unsigned i = 0; i < 3 + m->guests; i++) {
        int fd = i < 3 ? open[i] : m->guest[i - 3].in;
        if (fd >= 0) {
            (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
    }
    if (meet_joins(m) && !m->greeted && m->kind->reach) {
        event.events = EPOLLOUT;
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, m->joining.out, &event);
    }
}

int meet_lock_beside(const struct meet *m, const char *path, int *lock) {
    return local_lock(lock, path, m->address);
}

void meet_unlock(int *lock) {
    local_unlock(lock);
}

static void hang_up(struct meet *m, int *fd) {
    if (*fd >= 0) {
        meet_forget(m, *fd);
        fd_close(fd);
    }
}

static void drop(struct meet *m, struct meet_line *line) {
    bool one = line->in == line->out;
    hang_up(m, &line->in);
    line->out = one ? -1 : line->out;
    hang_up(m, &line->out);
}

int meet_init(struct meet *m, const struct meet_kind *kind, void *place, const char *address, bool packets,
              uint64_t queue, const struct frame_hello *own) {
    *m = (struct meet){.kind = kind, .place = place, .packets = packets, .queue = queue, .own = *own};
    m->listener = m->joining.in = m->joining.out = m->host.pidfd = m->also = m->spare = -1;
    (void)snprintf(m->address, sizeof(m->address), "%s", address);
    m->watch = epoll_create1(EPOLL_CLOEXEC);
    return m->watch < 0 ? err_system(errno, "%s: no epoll descriptor", address) : 0;
}

static void save_spare(struct meet *m) {
    m->spare = m->part == MEET_HOST ? fcntl(m->watch, F_DUPFD_CLOEXEC, 0) : -1;
}

void meet_play(struct meet *m, enum meet_part part) {
    m->part = part;
    save_spare(m);
}

void meet_turn_away(const struct meet *m, const struct meet_line *line, int code) {
    (void)greet_say(m, line, FRAME_HELLO_REFUSE, code, 0);
}

/* No new call before a while, which grows. */
static void rest(struct meet *m) {
    m->pause = m->pause == 0 ? MEET_PAUSE_NS / 16 : m->pause < MEET_PAUSE_NS ? m->pause * 2 : m->pause;
    m->again = clock_now() + m->pause;
}

static void end_call(struct meet *m) {
    drop(m, &m->joining);
    hang_up(m, &m->host.pidfd);
    m->again = 0;
}

/* One that could not be said is not answered: where others can be called, it calls again after a while; where there is but this line,
 * it is said again. */
static void greet_host(struct meet *m) {
    weave("meet.hello.before");
    int rc = greet_say(m, &m->joining, FRAME_HELLO_CALL, 0, 0);
    if (rc != 0 && m->kind->admit != NULL) {
        end_call(m);
        rest(m);
        return;
    }
    m->greeted = rc != -EAGAIN;
    if (!m->greeted) {
        rest(m);
        return;
    }
    weave("meet.hello.after");
    meet_attend(m, m->joining.in, EPOLLIN);
}

void meet_call(struct meet *m, int in, int out, const struct link_who *host, bool through) {
    m->joining = (struct meet_line){.in = in, .out = out};
    fd_own(in);
    fd_own(out);
    m->host = *host;
    m->greeted = false;
    if (m->host.pidfd >= 0) {
        meet_attend(m, m->host.pidfd, EPOLLIN);
    }
    if (through) {
        greet_host(m);
    } else {
        meet_attend(m, out, EPOLLOUT);
    }
}

void meet_listen(struct meet *m, int fd) {
    fd_own(fd);
    m->listener = fd;
    m->deaf = false;
    m->pause = 0;
    meet_attend(m, fd, EPOLLIN);
}

static int seek(struct meet *m) {
    if (clock_now() < m->again) {
        return -EAGAIN;
    }
    int rc = m->kind->seek(m);
    if (rc == -EAGAIN) {
        rest(m);
    }
    return rc;
}

/* Has our call come through? Then greets. */
static int reach(struct meet *m) {
    int rc = m->kind->reach ? m->kind->reach(m) : clock_now() < m->again ? -EAGAIN : 0;
    if (rc == 0) {
        meet_forget(m, m->joining.out);
        greet_host(m);
        return meet_joins(m) && m->greeted ? 0 : -EAGAIN;
    }
    if (rc != -EAGAIN) {
        end_call(m);
        rest(m);
    }
    return rc == -ECONNREFUSED ? -EAGAIN : rc;
}

/* What the host's greeting comes to. 0: we may join. */
static int understand(const struct meet *m, const struct frame_hello *hello) {
    const char *host = m->host.text;
    if (hello->kind == FRAME_HELLO_BUSY && m->part == MEET_HOST) {
        return err_say(EBUSY, "there can be one %s here, and %s is that",
                       m->own.role == THIRL_SERVE ? "server" : "sender of this pattern", host);
    }
    if (hello->kind == FRAME_HELLO_BUSY && hello->pid[1] != 0) {
        return err_say(EBUSY, "both ends are taken, by %s and pid %lld", host, (long long)hello->pid[1]);
    }
    if (hello->kind == FRAME_HELLO_BUSY) {
        return err_say(EBUSY, "both ends are taken, by %s and another", host);
    }
    int rc = frame_match_roles(m->own.role, hello->role);
    rc = rc != 0 ? rc : frame_match_features(m->own.features, hello->features);
    rc = rc != 0 ? rc : type_match(&m->own.type, &hello->type, "the other end");
    if (rc != 0 || hello->kind != FRAME_HELLO_REFUSE) {
        return rc;
    }
    if (hello->code == EMFILE) {
        return err_say(EMFILE, "the listener has no descriptor left for us: raise RLIMIT_NOFILE there");
    }
    /* What an end of thirl refuses with; any other code would be a claim about calls of ours. */
    static const uint32_t codes[] = {EACCES, THIRL_EFORMAT, THIRL_EVERSION, THIRL_EROLE, THIRL_ETYPE};
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        if (hello->code == codes[i]) {
            return err_say((int)hello->code, "the listener refused us");
        }
    }
    return err_say(EACCES, "the listener refused us with the code %u", hello->code);
}

/* What the listener said to our call. */
static int hear(struct meet *m, struct meet_match *match) {
    struct pollfd host = {.fd = m->host.pidfd, .events = POLLIN};
    bool dead = m->host.pidfd >= 0 && poll(&host, 1, 0) == 1;
    int rc = greet_hear(m, &m->joining, FRAME_HELLO_JOIN, &match->hello);
    if (rc == -EAGAIN && !dead) {
        return -EAGAIN;
    }
    if (rc == 0 || rc == -EAGAIN) {
        end_call(m);
        if (!dead) {
            rest(m);
        }
        return -EAGAIN;
    }
    if (rc == 1 && m->kind->crosses) {
        rc = m->kind->identify(m, &m->joining, &m->host) ? 1 : -ECONNREFUSED;
    }
    if (rc == -ECONNREFUSED) {
        end_call(m); /* it died after it had said that */
        return -EAGAIN;
    }
    rc = rc == 1 ? understand(m, &match->hello) : rc;
    if (rc != 0) {
        rc = err_add(rc, "%s is held by %s", m->address, m->host.text);
        end_call(m);
        rest(m);
        return rc;
    }
    meet_forget(m, m->joining.in);
    meet_forget(m, m->host.pidfd);
    if (m->kind->know) {
        m->kind->know(m, m->joining.in, &match->hello, &m->host);
    }
    match->in = m->joining.in;
    match->out = m->joining.out;
    match->who = m->host;
    m->joining.in = m->joining.out = m->host.pidfd = -1;
    m->pause = 0;
    return 1;
}

static void dismiss(struct meet *m, unsigned which) {
    drop(m, &m->guest[which]);
    m->guests--;
    memmove(m->guest + which, m->guest + which + 1, (m->guests - which) * sizeof(*m->guest));
}

int meet_accept(const struct meet *m) {
    int fd = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        fd_own(fd);
        return fd;
    }
    bool scarce = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    return scarce ? -EMFILE : -EAGAIN;
}

/* A listener that would be readable all the time without need. */
static void turn_deaf(struct meet *m) {
    meet_forget(m, m->listener);
    m->deaf = true;
}

static void listen_again(struct meet *m) {
    if (m->deaf) {
        m->deaf = false;
        meet_attend(m, m->listener, EPOLLIN);
    }
}

/* May one more be let in? The oldest makes room, after its grace: each has been heard once by then. Where all are about to be answered, none
 * does. */
static bool has_room(struct meet *m, bool answers) {
    if (m->guests == MEET_GUESTS && (answers || clock_now() - m->guest[0].since < MEET_GRACE_NS)) {
        turn_deaf(m);
        return false;
    }
    if (m->guests == MEET_GUESTS) {
        dismiss(m, 0);
    }
    return true;
}

/* There is no descriptor for the next caller: tells him so over one that was saved for that. */
static int turn_away_one(struct meet *m) {
    unsigned char text[FRAME_HELLO];
    struct meet_line line = {.in = -1, .out = -1};
    fd_close(&m->spare);
    int rc = m->kind->admit(m, &line.in, &line.out);
    if (rc == 0) {
        (void)!read(line.in, text, sizeof(text)); /* unread, it would be an error there */
        meet_turn_away(m, &line, EMFILE);
        drop(m, &line);
    }
    save_spare(m);
    return rc == 0 ? -ECONNREFUSED : rc;
}

/* The next caller. 0; -ECONNREFUSED: it may not join; -EAGAIN: there is none, or none can be let in now. */
static int admit(struct meet *m, struct meet_line *line) {
    *line = (struct meet_line){.in = -1, .out = -1};
    int rc = m->kind->admit(m, &line->in, &line->out);
    if (rc == -EMFILE && m->guests != 0) {
        dismiss(m, 0); /* there is a descriptor now */
        rc = m->kind->admit(m, &line->in, &line->out);
    }
    if (rc == -EMFILE && m->spare >= 0) {
        rc = turn_away_one(m);
    }
    if (rc == -EMFILE) {
        turn_deaf(m);
        return -EAGAIN;
    }
    if (rc == 0) {
        weave("meet.accept.after");
        line->since = clock_now();
    }
    return rc;
}

/* Hears a guest out: 1 it is the peer, 0 it is sent away, -EAGAIN it has not said all yet; or an error for the user. */
static int greet(struct meet *m, struct meet_line *line, struct meet_match *match) {
    int rc = greet_hear(m, line, FRAME_HELLO_CALL, &match->hello);
    if (rc == -EAGAIN) {
        return clock_now() - line->since > MEET_GUEST_NS ? 0 : -EAGAIN;
    }
    if (rc == 0) {
        return 0;
    }
    rc = rc == 1 && match->hello.kind != FRAME_HELLO_CALL ? -THIRL_EFORMAT : rc;
    if (rc == 1 && m->part == MEET_HOST && match->hello.role == m->own.role) {
        (void)greet_say(m, line, FRAME_HELLO_BUSY, EBUSY, 0);
        return 0;
    }
    rc = rc == 1 ? frame_match_roles(m->own.role, match->hello.role) : rc;
    rc = rc == 0 ? frame_match_features(m->own.features, match->hello.features) : rc;
    rc = rc == 0 ? type_match(&m->own.type, &match->hello.type, "the other end") : rc;
    if (rc != 0) {
        meet_turn_away(m, line, -rc);
        return rc == -THIRL_EFORMAT && m->kind->open_to_all ? err_add(rc, "%s: somebody else writes there", m->address)
                                                            : 0;
    }
    /* Nothing may follow the call before our answer, but the end of one who left meanwhile. */
    struct pollfd more = {.fd = line->in, .events = POLLIN};
    if (!m->raw && poll(&more, 1, 0) != 0) {
        return 0;
    }
    if (!m->kind->identify(m, line, &match->who)) {
        fd_close(&match->who.pidfd);
        return 0;
    }
    weave("meet.join.before");
    bool said = greet_say(m, line, FRAME_HELLO_JOIN, 0, 0) == 0;
    weave("meet.join.after");
    if (!said) { /* it calls again when it sees the end */
        fd_close(&match->who.pidfd);
    }
    return said;
}

/* Hears one guest, who leaves the list when that comes to an end: 1, 0, -EAGAIN or an error, as greet. */
static int hear_guest(struct meet *m, unsigned which, struct meet_match *match) {
    struct meet_line *line = &m->guest[which];
    int rc = greet(m, line, match);
    if (rc == 1) {
        match->in = line->in;
        match->out = line->out;
        meet_forget(m, line->in);
        line->in = line->out = -1;
    }
    if (rc != -EAGAIN) {
        dismiss(m, which);
    }
    return rc;
}

/* Lets the next caller in. 0, -ECONNREFUSED or -EAGAIN, as admit. */
static int let_in(struct meet *m) {
    struct meet_line line;
    int rc = admit(m, &line);
    if (rc == 0) {
        m->guest[m->guests++] = line;
        meet_attend(m, line.in, EPOLLIN);
    }
    return rc;
}

static int receive_guests(struct meet *m, struct meet_match *match) {
    listen_again(m);
    for (unsigned i = 0; i < m->guests;) {
        int rc = hear_guest(m, i, match);
        i += rc == -EAGAIN;
        if (rc != 0 && rc != -EAGAIN) {
            return rc;
        }
    }
    for (int i = 0; i < ACCEPTS && has_room(m, false); i++) {
        int rc = let_in(m);
        if (rc == -EAGAIN) {
            break;
        }
        if (rc == 0) {
            rc = hear_guest(m, m->guests - 1, match);
            if (rc != 0 && rc != -EAGAIN) {
                return rc;
            }
        }
    }
    return -EAGAIN;
}

int meet_step(struct meet *m, struct meet_match *match) {
    if (m->listener < 0 && !meet_joins(m)) {
        int rc = seek(m);
        if (rc == 0 && m->listener < 0 && !meet_joins(m)) {
            rc = -EAGAIN; /* its greeting could not be said */
        }
        if (rc != 0) {
            return rc;
        }
    }
    if (meet_joins(m)) {
        int rc = m->greeted ? 0 : reach(m);
        return rc != 0 ? rc : hear(m, match);
    }
    int rc = receive_guests(m, match);
    if (rc != 1 && m->kind->placed && !m->kind->placed(m)) {
        meet_retire(m); /* nobody can find us any more; the next step begins anew */
    }
    return rc;
}

static void refuse(struct meet *m, struct meet_line *line, int64_t pid) {
    unsigned char text[FRAME_HELLO];
    (void)!read(line->in, text, sizeof(text)); /* unread, it would be an error there */
    (void)greet_say(m, line, FRAME_HELLO_BUSY, EBUSY, pid);
}

bool meet_called(struct meet *m) {
    if (m->listener < 0) {
        return false;
    }
    listen_again(m);
    for (int i = 0; i < ACCEPTS && has_room(m, true) && let_in(m) != -EAGAIN; i++) {}
    return m->guests != 0;
}

void meet_refuse(struct meet *m, int64_t pid) {
    while (m->guests) {
        refuse(m, &m->guest[0], pid);
        dismiss(m, 0);
    }
}

void meet_retire(struct meet *m) {
    if (m->listener >= 0) {
        /* First the name, then the listener: nobody takes the name for a dead process's while it is there. */
        weave("meet.retire.before");
        if (m->kind->leave) {
            m->kind->leave(m);
        }
        weave("meet.retire.after");
        hang_up(m, &m->listener);
        m->deaf = false;
    }
    while (m->guests) {
        dismiss(m, 0);
    }
    if (meet_joins(m)) {
        unsigned char bye[FRAME_MARK];
        const struct frame_head head = {.type = FRAME_BYE};
        frame_write_mark(bye, &head);
        size_t skip = m->packets ? 0 : FRAME_MARK - FRAME_HEAD;
        if (m->greeted && !m->raw) {
            (void)greet_utter(&m->joining, bye + skip, sizeof(bye) - skip);
        }
        end_call(m);
    }
}

void meet_deinit(struct meet *m) {
    meet_retire(m);
    fd_close(&m->watch);
    fd_close(&m->spare);
}
