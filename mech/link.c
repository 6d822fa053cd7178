/* SPDX-License-Identifier: MIT
 *
 * One connection: who is there, how it ends, and the way out. Its descriptors are not closed before link_free, so that
 * a thread inside a system call keeps them.
 */
#define _GNU_SOURCE
#include "mech/link.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mech/bare.h"
#include "mech/mech.h"
#include "mech/pull.h"

#define PIPE_SLACK 8192 /* what pages that are not full may cost */

int link_make(struct link **made, int fd, int out, const struct link_who *who, const struct link_terms *terms) {
    struct link *l = aligned_alloc(CACHE_LINE, sizeof(*l));
    size_t packet = terms->recv_max < FRAME_TELL ? FRAME_TELL : terms->recv_max; /* a number may come, too */
    size_t room = terms->packets ? FRAME_HEAD + packet + FRAME_MARK : PULL_BOX;
    unsigned char *small = malloc(LINK_BATCH_MAX);
    unsigned char *box = malloc(room);
    if (!l || !small || !box) {
        free(l);
        free(small);
        free(box);
        struct link_who lost = *who;
        fd_close(&fd);
        fd_close(&out);
        fd_close(&lost.pidfd);
        return err_say(ENOMEM, "no memory for the %zu bytes of buffers of a connection", room);
    }
    memset(l, 0, sizeof(*l));
    l->fd = fd;
    l->out = terms->pipes ? out : fd;
    fd_own(l->fd);
    fd_own(l->out);
    l->who = *who;
    l->terms = *terms;
    l->pidfd = who->pidfd;
    l->who.pidfd = terms->raw ? -1 : who->pidfd;
    l->unusual = terms->raw || terms->takes != 0;
    l->plain = !terms->raw && !terms->bytes;
    l->small = small;
    l->box.data = box;
    l->box.capacity = room;
    l->tray = terms->packets && terms->receives && !l->unusual ? tray_make(packet + FRAME_MARK, terms->quiet) : NULL;
    l->room_in = l->room_out = FRAME_MARK;
    l->direct = terms->pipes ? PULL_DIRECT_PIPE : PULL_DIRECT;
    l->haste.quiet = l->shove.quiet = terms->quiet;
    gate_init(&l->reading);
    int rc = terms->pipes ? 0 : link_set_slices(fd);
    if (rc != 0) {
        link_free(l);
        return err_system(-rc, "cannot set up the connection to %s", who->text);
    }
    *made = l;
    return 0;
}

void link_free(struct link *l) {
    if (l->out != l->fd) {
        fd_close(&l->out);
    }
    fd_close(&l->fd);
    fd_close(&l->pidfd);
    frame_box_free(&l->box);
    tray_free(&l->tray);
    frame_box_free(&l->tail);
    rights_free(&l->line);
    rights_close(&l->at_hand);
    free(l->small);
    free(l);
}

int link_verdict(const struct link *l) {
    switch (atomic_load(&l->fate)) { /* pairs with the store in link_decide */
    case LINK_CLOSED:
        return -THIRL_ECLOSED;
    case LINK_DIED:
        return -THIRL_EPEERDIED;
    case LINK_CUT:
        return -ECONNRESET;
    default:
        return -THIRL_EFORMAT;
    }
}

void link_cut(struct link *l) {
    if (!l->terms.pipes) {
        (void)shutdown(l->fd, SHUT_RDWR);
    }
    atomic_store(&l->cut, 1); /* pairs with the load in pull */
}

/* The peer is to see the end although threads of this process still use the numbers. */
static void hang_up(struct link *l) {
    int nothing = l->terms.pipes ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    link_cut(l);
    if (nothing >= 0) {
        (void)dup3(nothing, l->fd, O_CLOEXEC);
        (void)dup3(nothing, l->out, O_CLOEXEC);
        fd_close(&nothing);
    }
}

void link_decide(struct link *l, enum link_fate fate) {
    uint32_t live = LINK_LIVE;
    (void)atomic_cas(&l->fate, &live, fate);
    if (fate == LINK_BROKEN) {
        hang_up(l);
    }
}

/* The peer takes nothing any more. */
static int cut_off(struct link *l) {
    if (pull_rest(l) == 0) {
        link_cut(l);
        (void)pull_rest(l);
    }
    link_decide(l, LINK_DIED);
    return link_code(l);
}

/* Why nothing went. */
static int refused(struct link *l, size_t size) {
    switch (errno) {
    case EAGAIN:
    case EINTR:
        return -EAGAIN;
    case EMSGSIZE:
        return err_say(EMSGSIZE, "a message of %zu bytes does not fit the socket's send buffer; raise ?queue=", size);
    case ENOBUFS:
    case ENOMEM:
        return err_system(errno, "the kernel has no memory for a message of %zu bytes", size);
    case EPERM:
        return err_say(EOPNOTSUPP, "the peer, %s, takes no descriptors: open it with ?descriptors=", l->who.text);
    case ETOOMANYREFS:
        return err_say(ETOOMANYREFS, "this user has too many descriptors under way: see RLIMIT_NOFILE");
    default:
        return cut_off(l);
    }
}

/* A pipe's wait is a call of its own. A reader on this very processor empties it while that is given up, and needs not wake anybody
 * then; one on another gets ahead by some pages, or each that he frees would be a wake-up. */
static ssize_t await_room(struct link *l, const struct iovec *parts, int count) {
    unsigned most = haste_allowance(&l->shove), i = 0;
    ssize_t went = -EAGAIN;
    for (bool brief = true; went == -EAGAIN && brief && i < most; i++) {
        brief = i == 0 ? haste_give_way(&l->shove, true) : haste_yield(&l->shove);
        went = tube_write(l->out, parts, count, false);
    }
    if (most != 0) {
        haste_learn(&l->shove, went == -EAGAIN ? 0 : i);
    }
    if (went == -EAGAIN) {
        tube_wait(l->out, POLLOUT, l->who.pidfd, MECH_SLICE_NS);
        went = tube_write(l->out, parts, count, false);
    }
    return went;
}

/* What did not take everything a moment ago is full. */
static ssize_t write_pipe(struct link *l, const struct iovec *parts, int count, bool wait) {
    ssize_t went = wait && l->filled ? -EAGAIN : tube_write(l->out, parts, count, false);
    if (went == -EAGAIN && wait) {
        went = await_room(l, parts, count);
    }
    l->filled = went > 0 && (size_t)went < parts[0].iov_len + (count > 1 ? parts[1].iov_len : 0);
    errno = went < 0 ? (int)-went : errno;
    return went < 0 ? -1 : went;
}

/* As send: bytes, or -1 with errno. */
static inline ssize_t send_part(struct link *l, const void *data, size_t size, bool wait) {
    if (unlikely(l->terms.pipes)) {
        return write_pipe(l, &(struct iovec){(void *)(uintptr_t)data, size}, 1, wait);
    }
    return send(l->fd, data, size, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
}

/* One system call for what is left of a frame. Bytes, -EAGAIN, or an error. */
static ssize_t push(struct link *l, const void *data, size_t size, bool wait) {
    size_t total = l->ahead + size;
    ssize_t went;
    if (l->sent >= l->ahead) {
        size_t left = total - l->sent;
        went =
            send_part(l, (const char *)data + (l->sent - l->ahead), left < LINK_CALL_MAX ? left : LINK_CALL_MAX, wait);
    } else if (size <= LINK_SMALL_MAX) {
        memcpy(l->small, l->front, FRAME_HEAD);
        if (size) {
            memcpy(l->small + FRAME_HEAD, data, size);
        }
        went = send_part(l, l->small + l->sent, total - l->sent, wait);
    } else {
        size_t part = size < LINK_CALL_MAX ? size : LINK_CALL_MAX;
        struct iovec parts[2] = {{l->front + l->sent, l->ahead - l->sent}, {(void *)(uintptr_t)data, part}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        went = l->terms.pipes ? write_pipe(l, parts, 2, wait)
                              : sendmsg(l->fd, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    }
    return likely(went >= 0) ? went : refused(l, size);
}

/* Lets the peer know how large packets may be, before one is: whoever has a buffer of that size receives straight into
 * it. Growing by doubling, this is rare. */
static int announce(struct link *l, size_t packet, int flags) {
    unsigned char mark[FRAME_MARK];
    size_t twice = l->room_out == FRAME_MARK ? 0 : 2 * l->room_out;
    size_t most = l->terms.send_max + FRAME_MARK;
    size_t room = packet > twice ? packet : twice < most ? twice : most;
    const struct frame_head head = {.size = (uint32_t)room, .type = FRAME_ROOM};
    frame_write_mark(mark, &head);
    if (send(l->fd, mark, sizeof(mark), flags) < 0) {
        return refused(l, packet);
    }
    l->room_out = room;
    return 0;
}

/* A message as a packet: one plain send, unless something goes with it. */
HOT static int push_packet(struct link *l, const void *data, size_t size, const struct mech_note *note, bool wait) {
    int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
    bool marked = size == 0 || frame_is_marked(data, size);
    size_t packet = size + (marked ? FRAME_MARK : 0);
    ssize_t went;
    if (unlikely(packet > l->room_out)) {
        int rc = announce(l, packet, flags);
        if (rc != 0) {
            return rc;
        }
    }
    if (likely(!marked && note == NULL)) {
        went = send(l->fd, data, size, flags);
    } else {
        unsigned char mark[FRAME_MARK];
        const struct frame_head head = {.size = (uint32_t)size, .type = FRAME_DATA};
        struct iovec parts[2] = {{mark, FRAME_MARK}, {(void *)(uintptr_t)data, size}};
        struct msghdr message = {.msg_iov = parts + !marked, .msg_iovlen = size && marked ? 2 : 1};
        frame_write_mark(mark, &head);
        went = note == NULL ? sendmsg(l->fd, &message, flags) : rights_send(l->fd, &message, note, flags);
    }
    return likely(went >= 0) ? 0 : refused(l, size);
}

/* Sends one frame, or goes on with it. 0, -EAGAIN (l->sent says how far), or an error. */
HOT static int push_frame(struct link *l, const void *data, size_t size, bool wait) {
    int64_t late = 0;
    if (l->terms.packets) {
        return push_packet(l, data, size, NULL, wait);
    }
    if (l->sent == 0) {
        link_front(l, size, FRAME_DATA);
    }
    for (;;) {
        ssize_t went = push(l, data, size, wait);
        if (unlikely(went < 0)) {
            return (int)went;
        }
        l->sent += (size_t)went;
        if (likely(l->sent == l->ahead + size)) {
            l->sent = 0;
            l->number_out++;
            return 0;
        }
        if (wait) {
            int64_t now = clock_now();
            late = late ? late : now + MECH_SLICE_NS;
            if (now >= late) {
                return -EAGAIN;
            }
        }
    }
}

/* Keeps the rest of the frame, which leaves before anything else does. */
static int keep(struct link *l, const void *data, size_t size) {
    size_t total = l->ahead + size;
    int rc = frame_box_room(&l->tail, total - l->sent);
    if (rc != 0) {
        return rc;
    }
    size_t of_front = l->sent < l->ahead ? l->ahead - l->sent : 0;
    size_t of_data = total - l->sent - of_front;
    memcpy(l->tail.data + l->tail.to, l->front + l->ahead - of_front, of_front);
    if (of_data) {
        memcpy(l->tail.data + l->tail.to + of_front, (const char *)data + (size - of_data), of_data);
    }
    l->tail.to += of_front + of_data;
    l->sent = 0;
    l->number_out++;
    return 0;
}

static int push_tail(struct link *l, bool wait) {
    while (frame_box_held(&l->tail)) {
        size_t held = frame_box_held(&l->tail);
        ssize_t went = send_part(l, l->tail.data + l->tail.from, held < LINK_CALL_MAX ? held : LINK_CALL_MAX, wait);
        if (went < 0) {
            return errno == EAGAIN || errno == EINTR ? -EAGAIN : cut_off(l);
        }
        frame_box_drop(&l->tail, (size_t)went);
    }
    return 0;
}

/* Makes room for the tail in a pipe. Until half of what it used to hold is gone, it counts as full. */
static void widen_pipe(struct link *l) {
    size_t size = tube_size(l->out);
    if (tube_resize(l->out, size + frame_box_held(&l->tail) + PIPE_SLACK) > size) {
        l->usual = size; /* nothing was begun since it was that of another */
        (void)push_tail(l, false);
    }
}

/* The rest of a frame that its sender gave up is not to wait for the next call, which may not come soon. */
static void spill(struct link *l) {
    if (frame_box_held(&l->tail) && push_tail(l, false) == -EAGAIN) {
        (l->terms.pipes ? widen_pipe : link_hurry)(l);
    }
}

bool link_overfull(struct link *l) {
    int waiting = 0;
    if (likely(l->usual == 0)) {
        return false;
    }
    if (ioctl(l->out, FIONREAD, &waiting) == 0 && (size_t)waiting > l->usual / 2) {
        return true;
    }
    (void)tube_resize(l->out, l->usual);
    l->usual = 0;
    return false;
}

/* Pieces of a stream. A piece that left in part counts as sent: its rest is kept. */
static int send_bytes(struct link *l, const char *data, size_t size, size_t *done, bool wait) {
    int64_t late = 0;
    while (*done < size) {
        size_t part = size - *done < l->terms.send_max ? size - *done : l->terms.send_max;
        int rc = push_frame(l, data + *done, part, wait);
        if (rc == -EAGAIN && l->sent) {
            rc = keep(l, data + *done, part);
            spill(l);
            *done += rc == 0 ? part : 0;
            return rc != 0 ? rc : -EAGAIN;
        }
        if (rc != 0) {
            return rc;
        }
        *done += part;
        if (*done < size && wait) {
            int64_t now = clock_now();
            late = late ? late : now + MECH_SLICE_NS;
            wait = now < late;
        }
    }
    return 0;
}

HOT int link_begin(struct link *l, bool wait) {
    int rc = link_code(l);
    if (unlikely(rc != 0 || l->said)) {
        return rc != 0 ? rc : err_say(THIRL_ECLOSED, "this end is being closed");
    }
    if (unlikely(frame_box_held(&l->tail))) {
        rc = push_tail(l, wait);
        if (rc != 0) {
            return rc;
        }
    }
    if (unlikely(l->usual) && link_overfull(l)) {
        if (wait) {
            tube_wait(l->out, 0, l->who.pidfd, LINK_NAP_NS);
        }
        return -EAGAIN;
    }
    return 0;
}

int link_announce(struct link *l, size_t packet, bool wait) {
    return l->terms.packets && packet > l->room_out ? announce(l, packet, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) : 0;
}

ssize_t link_write(struct link *l, const void *data, size_t size) {
    ssize_t went = send_part(l, data, size, false);
    return went >= 0 ? went : refused(l, size);
}

static __attribute__((noinline)) int too_large(const struct link *l, size_t size) {
    return err_say(EMSGSIZE, "a message of %zu bytes is larger than the %zu that this connection carries", size,
                   l->terms.send_max);
}

/* A message, or what is left of it. */
static inline int send_message(struct link *l, const void *data, size_t size, size_t *done, bool wait) {
    int rc = push_frame(l, data, size, wait);
    if (rc == 0 || rc != -EAGAIN || l->sent == 0) {
        *done = rc == 0 ? size : *done;
        return rc;
    }
    if (l->sent <= l->ahead) {
        *done = size;
        rc = keep(l, data, size);
        spill(l);
        return rc; /* no number between 0 and size says that only the head has left */
    }
    *done = l->sent - l->ahead;
    return -EAGAIN;
}

int link_send_slowly(struct link *l, const void *data, size_t size, size_t *done, bool wait) {
    if (unlikely(l->terms.raw)) {
        return bare_send(l, data, size, done, NULL, wait);
    }
    int rc = link_begin(l, wait);
    if (unlikely(rc != 0)) {
        return rc;
    }
    if (l->terms.bytes) {
        return send_bytes(l, data, size, done, wait);
    }
    if (unlikely(size > l->terms.send_max)) {
        return too_large(l, size);
    }
    if (unlikely(l->sent && *done == 0)) {
        return -EAGAIN; /* another thread's message is on its way */
    }
    return send_message(l, data, size, done, wait);
}

int link_send_on(struct link *l, const void *data, size_t size, size_t *done, bool wait, ssize_t went) {
    if (l->terms.pipes) {
        l->filled = went >= 0 || went == -EAGAIN;
        errno = went < 0 ? (int)-went : errno;
        if (went == -EAGAIN && wait) {
            return link_send_slowly(l, data, size, done, true);
        }
    }
    if (went < 0) {
        return refused(l, size);
    }
    l->sent = (size_t)went;
    return send_message(l, data, size, done, wait);
}

/* The first part of a noted frame; the rest of it is bytes like any other. */
static int push_noted(struct link *l, const void *data, size_t size, const struct mech_note *note, bool wait) {
    if (l->terms.packets) {
        return push_packet(l, data, size, note, wait);
    }
    link_front(l, size, FRAME_NOTED);
    struct iovec parts[2] = {{l->front, l->ahead},
                             {(void *)(uintptr_t)data, size < LINK_CALL_MAX ? size : LINK_CALL_MAX}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t went = rights_send(l->fd, &message, note, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (went < 0) {
        return refused(l, size);
    }
    l->sent = (size_t)went;
    weave("link.noted.after");
    if (l->sent < l->ahead + size) {
        return 1;
    }
    l->sent = 0;
    l->number_out++;
    return 0;
}

int link_send_noted(struct link *l, const void *data, size_t size, size_t *done, const struct mech_note *note,
                    bool wait) {
    if (l->terms.raw) {
        return bare_send(l, data, size, done, note, wait);
    }
    if (note->count == 0 || *done != 0) {
        return link_send(l, data, size, done, wait);
    }
    int rc = link_begin(l, wait);
    if (rc != 0) {
        return rc;
    }
    if (note->count > l->terms.gives) {
        return err_say(EOPNOTSUPP,
                       "the peer, %s, takes %u descriptors with a message, not %u: open it with ?descriptors=%u",
                       l->who.text, l->terms.gives, note->count, note->count);
    }
    if (size > l->terms.send_max) {
        return too_large(l, size);
    }
    rc = l->sent ? -EAGAIN : push_noted(l, data, size, note, wait);
    if (rc == 1) {
        return send_message(l, data, size, done, wait);
    }
    *done = rc == 0 ? size : 0;
    return rc;
}

int link_settle(struct link *l, const void *data, size_t size) {
    int rc = l->sent ? keep(l, data, size) : 0;
    spill(l);
    return rc;
}

int link_flush(struct link *l, uint64_t *left) {
    *left = frame_box_held(&l->tail) ? 1 : 0;
    int rc = link_code(l);
    rc = rc != 0 ? rc : push_tail(l, false);
    if (rc != 0) {
        return rc;
    }
    *left = 0;
    if (l->terms.raw) {
        bare_end(l);
    }
    if (l->said || l->sent) {
        return 0;
    }
    unsigned char mark[FRAME_MARK], *bye = mark + FRAME_MARK - FRAME_HEAD;
    const struct frame_head head = {.number = l->number_out, .type = l->cuts ? FRAME_CUT : FRAME_BYE};
    frame_write_mark(mark, &head);
    weave("link.bye.before");
    ssize_t went = l->terms.packets ? send_part(l, mark, FRAME_MARK, false) : send_part(l, bye, FRAME_HEAD, false);
    if (went < 0) {
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : cut_off(l);
    }
    l->said = true;
    weave("link.bye.after");
    if (went < FRAME_HEAD && frame_box_room(&l->tail, FRAME_HEAD) == 0) {
        memcpy(l->tail.data, bye + went, FRAME_HEAD - (size_t)went);
        l->tail.to = FRAME_HEAD - (size_t)went;
        return -EAGAIN;
    }
    return 0;
}

void link_bye(struct link *l) {
    uint64_t left;
    if (link_flush(l, &left) == -EAGAIN) {
        if (l->terms.pipes) {
            (void)tube_resize(l->out, 2 * tube_size(l->out));
        } else {
            link_make_room(l->fd);
        }
        (void)link_flush(l, &left);
    }
    if (l->sent || frame_box_held(&l->tail)) {
        weave("link.bye.half");
    }
}

bool link_look(struct link *l, bool *readable) {
    struct pollfd polled[3] = {
        {.fd = l->fd, .events = POLLIN | POLLRDHUP}, {.fd = l->who.pidfd, .events = POLLIN}, {.fd = l->out}};
    if (l->terms.raw) {
        return bare_look(l, readable);
    }
    if (readable) {
        *readable = false;
    }
    if (link_code(l) != 0) {
        return true;
    }
    if (poll(polled, l->terms.pipes ? 3 : 2, 0) <= 0) {
        return false;
    }
    if (readable) {
        *readable = polled[0].revents != 0;
    }
    if (polled[1].revents) {
        link_cut(l); /* a forked child may hold it still */
    }
    if (polled[1].revents || ((polled[0].revents | polled[2].revents) & (POLLHUP | POLLERR | POLLRDHUP))) {
        (void)pull_rest(l);
    }
    return link_code(l) != 0;
}
