/* SPDX-License-Identifier: MIT
 *
 * One connection of this host, a socket or two pipes, and what flows over it: frames out, frames in, and how it ended. For
 * mechanisms that carry messages over connections. Sending and receiving may run at the same time, each by one thread at once;
 * link_look and link_decide may run beside both. Functions return codes; the sentence about a peer's end is the
 * caller's, who knows the address.
 */
#ifndef MECH_LINK_H
#define MECH_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/atomic.h"
#include "base/copy.h"
#include "base/gate.h"
#include "base/tube.h"
#include "mech/haste.h"
#include "mech/rights.h"
#include "mech/tray.h"
#include "wire/frame.h"

#define LINK_CALL_MAX                                                                                                  \
    ((size_t)256 << 10) /* bytes handed to one system call, which may wait a slice for each part of them */
#define LINK_SMALL_MAX ((size_t)8192)     /* frames up to this are put together and sent by one plain send */
#define LINK_BATCH_MAX ((size_t)32 << 10) /* and many of them up to that */
#define LINK_HEAD_ROOM 48 /* of the send buffer, besides a packet's payload: the kernel's part and our mark */
#define LINK_PACKET_MAX ((size_t)1 << 20) /* larger packets need kernel memory that is seldom free in one piece */

/* The process behind a connected socket, from the kernel. */
struct link_who {
    int64_t pid; /* 0 when it is in a PID namespace that this one cannot see into, or on another host */
    uint32_t uid, gid;
    int pidfd;   /* -1 when there is none to be had */
    bool remote; /* no process of this host that the kernel vouches for: name is an address, the ids are -1 */
    bool dead;   /* the process that made the other end is no more, whoever holds the socket now */
    char name[48];
    char text[64]; /* for sentences: pid and name */
};

/* Of a Unix socket: fills it in; name is "?" when it may not be known. The caller closes pidfd. */
void link_identify(int fd, struct link_who *);

/* The rest of that, when the ids are known otherwise: of a pidfd, which becomes its own, or -errno. */
void link_know(struct link_who *, int pidfd);

/* Sets the send buffer of a socket; what the kernel granted, in bytes of its own accounting. Leaves room for a
 * goodbye. */
size_t link_set_queue(int fd, uint64_t queue, bool packets);

/* Room for a goodbye in a full send buffer, where the system allows more. */
void link_make_room(int fd);

/* Lets calls block, for a slice each: 0 or -errno. */
int link_set_slices(int fd);

enum link_fate {
    LINK_LIVE,
    LINK_CLOSED, /* the peer said goodbye */
    LINK_DIED,   /* it went without */
    LINK_CUT,    /* it told us that we are too slow, and went */
    LINK_BROKEN, /* it sent what is not thirl's */
};

struct link_terms {
    bool packets; /* the socket keeps boundaries and order: messages need no head */
    bool pipes;   /* not a socket: a pipe for each direction, non-blocking, on descriptions of one's own */
    bool bytes;   /* payloads are pieces of a stream */
    bool raw;     /* see mech/bare.h; then what follows counts */
    bool sends, receives;
    bool quiet;            /* sleeps at once where it waits */
    unsigned gives, takes; /* descriptors with one message, each way; none with bytes */
    uint32_t hears;        /* a bit for each frame_type that the peer may tell us, besides messages and BYE */
    size_t send_max;       /* largest payload each way */
    size_t recv_max;
};

struct link {
    struct link *next; /* the caller's list, and its place in it */
    uint64_t serial;
    unsigned holders;
    int fd, out;   /* in and out; one for a socket */
    uint32_t fate; /* enum link_fate; leaves LIVE once */
    uint32_t cut;  /* of pipes: what cannot be read now never comes */
    struct link_who who;
    struct link_terms terms;
    int pidfd;    /* the peer's; who.pidfd as well, unless the end of a process ends nothing: in the raw form */
    bool unusual; /* receives are pull_unusual's */
    bool plain;   /* messages are frames or packets: most leave by the straight way of link_send */

    /* In: whoever reads holds the lock. */
    LINE_ALIGNED struct gate reading;
    struct frame_box box;
    struct tray *tray; /* of packets: what follows the box, before the socket; or NULL */
    size_t rest;       /* bytes of the current piece that are still to come, or in the box */
    size_t direct;     /* of a stream, payloads from this size on go straight into the user's buffer */
    size_t expect;     /* size of the last message: where the next one is likely to end */
    size_t room_in;    /* no packet of the peer is larger, by its word */
    uint16_t number_in;
    bool partial;       /* the first message in the box is being collected there */
    bool over;          /* the socket gave its last byte */
    bool noted;         /* the message that was looked at last comes with descriptors */
    bool brought;       /* the last read did bring some */
    bool draining;      /* what came is being collected, however much it is */
    bool reset;         /* raw: the peer did not take everything */
    struct haste haste; /* where sleeping is a call of its own, or dear for the peer */
    bool flows;         /* of a stream on a socket: more messages are coming, likely, */
    bool copies; /* the last packet was small: the next one is copied, which costs less than a call with two buffers */
    bool brims;  /* or are there: the last read filled all that it was given, */
    uint16_t number_led; /* and number_in when their sender was let get ahead last */
    bool slept;          /* of pipes: the last wait came to that */
    bool dry;            /* likewise: the message goes on, and the pipe had no more of it */
    unsigned sleeps;
    unsigned abreast;   /* likewise: so many reads brought a message or a few, and none had to wait */
    uint16_t answered;  /* number_out at the last wait */
    uint64_t lost;      /* messages that the peer dropped before the next one, by its word */
    bool again;         /* another worker had the next one before, likewise */
    bool owes;          /* the message that was delivered last is finished by the next receive */
    uint64_t delivered; /* messages, and those that were lost before them */
    uint8_t told_type;  /* what PULL_TOLD was answered for, */
    uint64_t told;      /* and its number */
    struct rights_line line;
    struct rights at_hand; /* of the message that was delivered last; the receiving thread's alone */

    /* Out. */
    LINE_ALIGNED size_t
        sent; /* bytes of the current frame that are on their way, those before its payload included; 0 between frames */
    size_t room_out; /* what the peer was told */
    uint16_t number_out;
    size_t
        usual; /* bytes that the pipe out held before it was made to hold the rest of a given up frame; 0: it was not */
    bool filled;                     /* the last write left a pipe full */
    struct haste shove;              /* where its reader has to make room */
    bool said;                       /* goodbye is on its way: nothing may follow */
    bool cuts;                       /* and that will say: too slow */
    size_t ahead;                    /* bytes of the current frame before its payload, */
    unsigned char front[FRAME_WIDE]; /* and they */
    unsigned char *small;            /* where short frames are put together */
    struct frame_box tail;           /* rest of a frame that its sender gave up, or of a piece */
};

/* Nothing was sent since the last message came: the peer does not wait for us. By the thread that receives. */
static inline bool link_is_led(struct link *l) {
    bool led = l->number_out == l->answered;
    l->answered = l->number_out;
    return led;
}

/* Takes over fd, out (of pipes; otherwise -1) and who.pidfd, also when it fails. 0, -ENOMEM, or what the kernel said. */
int link_make(struct link **, int fd, int out, const struct link_who *, const struct link_terms *);
void link_free(struct link *);

/* As the slots of struct mech. When the peer is gone: -THIRL_ECLOSED, -THIRL_EPEERDIED or -THIRL_EFORMAT, again and
 * again. */
static inline int link_send(struct link *, const void *data, size_t size, size_t *done, bool wait);
int link_settle(struct link *, const void *data, size_t size);
int link_send_noted(struct link *, const void *data, size_t size, size_t *done, const struct mech_note *, bool wait);

/* For rooms beside: may a message begin, now that what was kept back has left? 0, -EAGAIN, or an error. And one system call
 * that does not wait: bytes, -EAGAIN, or an error. */
int link_begin(struct link *, bool wait);
ssize_t link_write(struct link *, const void *data, size_t size);

/* Where the socket keeps packets: lets the peer know that one of that size may come. 0, -EAGAIN, or an error. */
int link_announce(struct link *, size_t packet, bool wait);

/* This end may not be called again soon: makes room for the tail, where the system allows. Nothing else shall get in: to the end
 * of a record nothing is appended, and the room is gone again before the next one. */
void link_hurry(struct link *);

/* May there be less room than the descriptor says? Then nothing but time tells when there is enough: look again after
 * LINK_NAP_NS. */
bool link_overfull(struct link *);
#define LINK_NAP_NS INT64_C(1000000)

/* Sends what was kept back, then goodbye, without waiting. *left: messages that are not wholly in the kernel. */
int link_flush(struct link *, uint64_t *left);

/* The last word before the socket is closed: link_flush, with room made for it where the system allows. */
void link_bye(struct link *);

/* One look at the socket and the peer's life. True when the fate is known; *readable (may be NULL): there is
 * something to receive. A peer that is dead while others hold its socket is cut off. */
bool link_look(struct link *, bool *readable);

/* The code for the fate; 0 while it is live, which the first one has not to be asked then. */
int link_verdict(const struct link *);
static inline int link_code(const struct link *l) {
    return likely(atomic_load(&l->fate) == LINK_LIVE) ? 0 : link_verdict(l); /* pairs with the store in link_decide */
}

/* What was sent can be read; nothing is to follow it. */
void link_cut(struct link *);

/* Settles the fate, once. A broken link is cut off. */
void link_decide(struct link *, enum link_fate);

/* What the straight way does not know; and the rest of it, when its one call took less than all: bytes, or -1 with errno, of
 * pipes -errno. */
int link_send_slowly(struct link *, const void *data, size_t size, size_t *done, bool wait);
int link_send_on(struct link *, const void *data, size_t size, size_t *done, bool wait, ssize_t went);

/* Begins a frame. */
static inline void link_front(struct link *l, size_t size, uint8_t type) {
    frame_write_head(l->front, &(struct frame_head){.size = (uint32_t)size, .number = l->number_out, .type = type});
    l->ahead = frame_ahead(size);
}

/* One plain send, inlined: after a sleep in the kernel the processor predicts each return wrong, 20 ns each. */
static inline __attribute__((always_inline)) int link_send(struct link *l, const void *data, size_t size, size_t *done,
                                                           bool wait) {
    const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
    bool clear = l->plain && link_code(l) == 0 && (l->sent | l->tail.to) == 0 && !l->said;
    if (unlikely(!clear || size > l->terms.send_max || l->filled || l->usual != 0)) {
        return link_send_slowly(l, data, size, done, wait);
    }
    if (l->terms.packets) {
        if (unlikely(size == 0 || size > l->room_out || frame_is_marked(data, size))) {
            return link_send_slowly(l, data, size, done, wait);
        }
        ssize_t went = send(l->fd, data, size, flags);
        return likely(went >= 0) ? 0 : link_send_on(l, data, size, done, wait, went);
    }
    ssize_t went;
    link_front(l, size, FRAME_DATA);
    size_t total = l->ahead + size;
    if (size <= LINK_SMALL_MAX) {
        memcpy(l->small, l->front, FRAME_HEAD);
        copy_any(l->small + FRAME_HEAD, data, size);
        went = l->terms.pipes ? tube_send(l->out, &(struct iovec){l->small, total}, 1)
                              : send(l->fd, l->small, total, flags);
    } else {
        struct iovec parts[2] = {{l->front, l->ahead},
                                 {(void *)(uintptr_t)data, size < LINK_CALL_MAX ? size : LINK_CALL_MAX}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        went = l->terms.pipes ? tube_send(l->out, parts, 2) : sendmsg(l->fd, &message, flags);
    }
    if (unlikely(went != (ssize_t)total)) {
        return link_send_on(l, data, size, done, wait, went);
    }
    l->number_out++;
    return 0;
}

#endif
