/* SPDX-License-Identifier: MIT
 *
 * Bytes and packets as they are, see bare.h. Unix sockets call it a reset when the peer closed with bytes unread, or was
 * killed then; TCP when it did not take what was sent. Everything else is an end in order: without a goodbye nobody can tell
 * a peer that died from one that had finished.
 */
#define _GNU_SOURCE
#include "mech/bare.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"
#include "mech/mech.h"

#define CALL_MAX ((size_t)256 << 10) /* bytes handed to one system call, which may wait a slice for each part of them */
#define COPY_MAX ((size_t)2048)      /* of packets: copying costs less than a call with two buffers */
#define SCRAP_MAX ((size_t)1 << 20)  /* of what nobody reads, thrown away at the end */

/* The peer takes nothing any more. */
static int gone(struct link *l, int code) {
    int reset = code == EPIPE ? 0 : code;
    socklen_t size = sizeof(reset);
    if (code == EPIPE) {
        (void)getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &reset, &size);
    }
    link_decide(l, (reset != 0 && reset != EPIPE) || l->reset ? LINK_DIED : LINK_CLOSED);
    return link_code(l);
}

static int refused(struct link *l, size_t size) {
    switch (errno) {
    case EAGAIN:
    case EINTR:
        return -EAGAIN;
    case EMSGSIZE:
        return err_say(EMSGSIZE, "a packet of %zu bytes does not fit the socket's send buffer; raise ?queue=", size);
    case EPERM:
        return err_say(EOPNOTSUPP,
                       "the peer takes no descriptors: its socket has SO_PASSRIGHTS off; an end of thirl has to "
                       "be opened with ?descriptors=");
    case ENOBUFS:
    case ENOMEM:
    case ETOOMANYREFS:
        return err_system(errno, "the kernel does not take %zu bytes", size);
    default:
        return gone(l, errno);
    }
}

static ssize_t push(struct link *l, const void *data, size_t size, const struct mech_note *note, bool wait) {
    int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
    if (likely(note == NULL)) {
        return send(l->fd, data, size, flags);
    }
    struct iovec part = {(void *)(uintptr_t)data, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return rights_send(l->fd, &message, note, flags);
}

static int send_packet(struct link *l, const void *data, size_t size, size_t *done, const struct mech_note *note,
                       bool wait) {
    if (size == 0) {
        return err_say(EINVAL, "an empty packet would look like the end to the other side; ?raw sends none");
    }
    if (size > l->terms.send_max) {
        return err_say(EMSGSIZE, "a packet of %zu bytes is larger than the %zu that this connection carries", size,
                       l->terms.send_max);
    }
    if (push(l, data, size, note, wait) < 0) {
        return refused(l, size);
    }
    *done = size;
    return 0;
}

int bare_send(struct link *l, const void *data, size_t size, size_t *done, const struct mech_note *note, bool wait) {
    int64_t late = 0;
    int rc = link_code(l);
    if (rc != 0 || l->said) {
        return rc != 0 ? rc : err_say(THIRL_ECLOSED, "this end is being closed");
    }
    if (l->terms.packets && !l->terms.bytes) {
        return send_packet(l, data, size, done, note, wait);
    }
    size_t most = l->terms.packets ? l->terms.send_max : CALL_MAX;
    if (note != NULL && size == 0) {
        return err_say(EINVAL, "descriptors travel with a byte at least; there is none here");
    }
    while (*done < size) {
        size_t part = size - *done < most ? size - *done : most;
        ssize_t went = push(l, (const char *)data + *done, part, *done == 0 ? note : NULL, wait);
        if (went < 0) {
            return refused(l, size);
        }
        weave("bare.send.after");
        *done += (size_t)went;
        if (*done < size && wait) {
            int64_t now = clock_now();
            late = late ? late : now + MECH_SLICE_NS;
            wait = now < late;
        }
    }
    return 0;
}

HOT static ssize_t pull(struct link *l, struct msghdr *message, bool wait) {
    int flags = (wait ? 0 : MSG_DONTWAIT) | (l->terms.packets ? MSG_TRUNC : 0);
    struct rights came = {.count = 0};
    for (int again = 0;; again++) {
        ssize_t got = l->terms.takes != 0 ? rights_recv(l->fd, message, l->terms.takes, flags, &came)
                      : message->msg_iovlen == 1
                          ? recv(l->fd, message->msg_iov->iov_base, message->msg_iov->iov_len, flags)
                          : recvmsg(l->fd, message, flags);
        if (got < 0 && errno == ECONNRESET && l->terms.packets && again == 0) {
            l->reset = true; /* a packet socket tells of it first; what was sent is still there */
            continue;
        }
        l->brought = got >= 0 && (came.count != 0 || came.lost);
        if (l->brought && rights_queue(&l->line, &came) != 0) {
            link_decide(l, LINK_DIED);
            return -ENOMEM;
        }
        return got >= 0 ? got : errno == EAGAIN || errno == EINTR ? -EAGAIN : gone(l, errno);
    }
}

/* Nothing came: an empty packet, or the end? Behind an empty one there may be others that are not. */
static bool is_end(const struct link *l) {
    struct pollfd polled = {.fd = l->fd, .events = POLLRDHUP};
    int waiting = 0;
    return !l->terms.packets || (poll(&polled, 1, 0) == 1 && (ioctl(l->fd, FIONREAD, &waiting) != 0 || waiting == 0));
}

static int ended(struct link *l) {
    struct pollfd polled = {.fd = l->fd};
    l->over = true;
    bool whole = !l->terms.sends || (poll(&polled, 1, 0) == 1 && (polled.revents & POLLHUP) != 0);
    if (l->reset || whole) {
        link_decide(l, l->reset ? LINK_DIED : LINK_CLOSED);
    }
    int rc = link_code(l);
    return rc != 0 ? rc : -THIRL_ECLOSED;
}

/* Nothing came, or not now. */
static int came_nothing(struct link *l, ssize_t got) {
    return got < 0 ? (int)got : is_end(l) ? ended(l) : l->terms.bytes ? -EAGAIN : 0;
}

static int take_kept(struct link *l, void *buffer, size_t capacity, size_t *size) {
    *size = frame_box_held(&l->box);
    if (*size > capacity && !l->terms.bytes) {
        return -EMSGSIZE;
    }
    *size = *size < capacity ? *size : capacity;
    memcpy(buffer, l->box.data + l->box.from, *size);
    frame_box_drop(&l->box, *size);
    return 0;
}

/* Straight into the buffer, and what does not fit there behind it in the box; while packets are small, all into the box. */
static int take_packet(struct link *l, void *buffer, size_t capacity, size_t *size, bool wait) {
    size_t most = l->terms.recv_max, here = capacity < most ? capacity : most;
    if (here < most && l->expect <= COPY_MAX) {
        here = 0;
    }
    struct iovec parts[2] = {{buffer, here}, {l->box.data + here, most - here}};
    struct msghdr message = {.msg_iov = parts + (here == 0), .msg_iovlen = here == 0 || here == most ? 1 : 2};
    ssize_t got = pull(l, &message, wait);
    *size = got > 0 ? (size_t)got : 0;
    if (got <= 0) {
        return came_nothing(l, got);
    }
    l->expect = *size;
    if (*size <= here) {
        return 0;
    }
    if (*size > most) {
        link_decide(l, LINK_BROKEN);
        return err_say(THIRL_EFORMAT, "the peer sent a packet of %zu bytes; this end takes %zu, see ?max=", *size,
                       most);
    }
    if (here != 0) {
        memcpy(l->box.data, buffer, here);
    }
    l->box.from = 0;
    l->box.to = *size;
    return take_kept(l, buffer, capacity, size);
}

static int receive(struct link *l, void *buffer, size_t capacity, size_t *size, bool wait) {
    if (l->over && frame_box_held(&l->box) == 0) {
        return ended(l);
    }
    if (l->terms.packets) {
        return frame_box_held(&l->box) != 0 ? take_kept(l, buffer, capacity, size)
                                            : take_packet(l, buffer, capacity, size, wait);
    }
    struct iovec part = {buffer, capacity};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t got = pull(l, &message, wait);
    *size = got > 0 ? (size_t)got : 0;
    return got > 0 ? 0 : came_nothing(l, got);
}

int bare_recv(struct link *l, void *buffer, size_t capacity, size_t *size, bool wait) {
    if (capacity == 0 && l->terms.bytes) {
        *size = 0;
        return 0;
    }
    int rc = receive(l, buffer, capacity, size, wait);
    if (rc == 0 && rights_next(&l->line, &l->at_hand) && l->at_hand.lost) {
        return err_say(
            EMFILE, "descriptors came with %zu bytes and could not be taken, which were dropped with them: %s", *size,
            l->at_hand.many ? "they are more than ?descriptors= allows"
                            : "this process may have only so many open, see RLIMIT_NOFILE");
    }
    return rc;
}

void bare_end(struct link *l) {
    char scrap[4096];
    if (l->said) {
        return;
    }
    weave("bare.end.before");
    l->said = true;
    (void)shutdown(l->fd, SHUT_WR);
    weave("bare.end.after");
    /* Closed with bytes unread, the connection would be reset, and what was sent may be lost on the way. */
    for (size_t dropped = 0; !l->terms.receives && dropped < SCRAP_MAX;) {
        ssize_t got = recv(l->fd, scrap, sizeof(scrap), MSG_DONTWAIT);
        if (got <= 0) {
            break;
        }
        dropped += (size_t)got;
    }
}

bool bare_look(struct link *l, bool *readable) {
    struct pollfd polled = {.fd = l->fd, .events = POLLIN};
    bool news = link_code(l) == 0 && poll(&polled, 1, 0) == 1;
    if (readable != NULL) {
        *readable = news;
    }
    if (news && (polled.revents & (POLLHUP | POLLERR)) != 0) {
        (void)gone(l, EPIPE);
    }
    return link_code(l) != 0;
}
