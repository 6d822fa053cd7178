/* SPDX-License-Identifier: MIT
 *
 * The way in over a connection. Of a stream, small frames are read many at a time into the link's box and served
 * from there; large payloads go straight into the user's buffer, together with the head that comes next. A message that
 * cannot be had whole before the call must return is collected in the box: nothing is ever lost by a deadline. Packets
 * go straight into the user's buffer when it is as large as the peer said that they may be, else into the box.
 */
#define _GNU_SOURCE
#include "mech/pull.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/parts.h"
#include "base/tube.h"
#include "mech/bare.h"
#include "mech/mech.h"
#include "mech/reader.h"

#define LEAD_DOUBT 16u
#define REST_MAX                                                                                                       \
    ((size_t)16 << 20) /* a peer that takes nothing any more is let say so much more, besides what a pipe holds */
#define COPY_MAX ((size_t)6144) /* of packets, up to this size: copying costs less than a call with two buffers */

/* A message of a stream was in the box. Others behind it are a flow; and now and then one is taken for part of one: on one processor the
 * sender of each may have been interrupted for it. */
static inline void note_flow(struct link *l) {
    bool flows = frame_box_held(&l->box) != 0 || l->number_in % LEAD_DOUBT == 0;
    l->flows = l->flows || (flows && !l->terms.packets && !l->terms.pipes);
}

/* Before a read that may wait, in the middle of a flow. A sender whom a full socket holds up needs no lead. */
static void let_lead(struct link *l, bool wait) {
    l->flows = false;
    if (wait && link_is_led(l) && !l->brims) {
        haste_lead(&l->haste, (uint16_t)(l->number_in - l->number_led), l->number_in % LEAD_DOUBT != 0);
        l->number_led = l->number_in;
    }
}

static int lied(struct link *l, const char *what) {
    int rc = err_say(THIRL_EFORMAT, "the peer sent %s", what);
    link_decide(l, LINK_BROKEN);
    return rc;
}

/* recvmsg; the descriptors that came wait in line for their message. An honest peer's can be of the message that has come
 * in part, and of the one behind it. */
static ssize_t pull_rights(struct link *l, struct msghdr *message, int flags, int *rc) {
    struct rights came;
    ssize_t got = rights_recv(l->fd, message, l->terms.takes, flags, &came);
    l->brought = got > 0 && (came.count != 0 || came.lost);
    if (l->brought) {
        *rc = came.many ? lied(l, "more descriptors with a message than this end takes; see ?descriptors=")
              : l->line.count > 1 && !l->draining ? lied(l, "descriptors without a message of theirs")
                                                  : rights_queue(&l->line, &came);
        if (*rc != 0) {
            rights_close(&came);
            link_decide(l, LINK_BROKEN);
        }
    }
    return got;
}

/* One system call on a socket. Bytes, 0 at the end, -EAGAIN, or an error. Of a packet that was too large it says the whole size. */
HOT static ssize_t pull_once(struct link *l, struct iovec *parts, size_t count, int flags, bool several) {
    int rc = 0;
    for (int again = 0;; again++) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t got = unlikely(l->terms.takes != 0) ? pull_rights(l, &message, flags, &rc)
                      : unlikely(several)  ? tray_recv(l->tray, l->fd, parts, (unsigned)count, flags, NULL, NULL)
                      : likely(count == 1) ? recv(l->fd, parts->iov_base, parts->iov_len, flags)
                                           : recvmsg(l->fd, &message, flags);
        if (likely(got >= 0)) {
            return likely(rc == 0) ? got : rc;
        }
        if (errno == EAGAIN || errno == EINTR) {
            return -EAGAIN;
        }
        /* A peer that left without reading everything makes a packet socket tell of that first, once. */
        if (errno != ECONNRESET || again > 0) {
            return 0;
        }
    }
}

/* The same, waiting as is best. */
HOT static ssize_t pull(struct link *l, struct iovec *parts, size_t count, bool wait) {
    const int flags = l->terms.packets ? MSG_TRUNC : 0;
    if (unlikely(l->terms.pipes)) {
        return reader_pull(l, parts, count, wait);
    }
    if (unlikely(l->over)) {
        return 0;
    }
    if (unlikely(l->flows)) {
        let_lead(l, wait);
    }
    bool several = l->terms.takes == 0 && tray_is_due(l->tray);
    if (unlikely(several && wait)) {
        tray_lead(l->tray);
    }
    struct haste_wait w = haste_begin(&l->haste, wait);
    ssize_t got;
    do {
        got = pull_once(l, parts, count, w.sleeps ? flags : flags | MSG_DONTWAIT, several);
    } while (haste_again(&l->haste, &w, got == -EAGAIN));
    l->over = got == 0;
    l->brims = got > 0 && (size_t)got == parts_size(parts, (unsigned)count);
    return got;
}

/* A packet of `size` bytes lies in the box, FRAME_HEAD behind what is held: makes a frame of it. 0 or an error. */
static int admit(struct link *l, size_t size) {
    unsigned char *at = l->box.data + l->box.to;
    const uint8_t type = l->brought ? FRAME_NOTED : FRAME_DATA;
    struct frame_head head = {.size = (uint32_t)size, .type = type};
    int rc = 0;
    if (size > l->room_in) {
        rc = err_say(THIRL_EFORMAT, "the peer sent a packet of %zu bytes; it had announced %zu at most", size,
                     l->room_in);
    } else if (!frame_is_marked(at + FRAME_HEAD, size)) {
        frame_write_head(at, &head);
        l->box.to += FRAME_HEAD + size;
    } else if ((rc = frame_read_mark(at + FRAME_HEAD, size, &head)) != 0) {
        rc = -THIRL_EFORMAT;
    } else if (l->brought && head.type != FRAME_DATA) {
        rc = lied(l, "descriptors without a message of theirs");
    } else if (head.type != FRAME_ROOM) {
        size -= FRAME_MARK - FRAME_HEAD;
        memmove(at, at + FRAME_MARK, size);
        at[6] = head.type == FRAME_DATA ? type : head.type;
        l->box.to += size;
    } else if (head.size < FRAME_MARK ||
               head.size > (l->terms.recv_max < FRAME_TELL ? FRAME_TELL : l->terms.recv_max) + FRAME_MARK) {
        rc = err_say(THIRL_EFORMAT, "the peer announced packets of %u bytes; %zu were agreed upon", head.size,
                     l->terms.recv_max);
    } else {
        l->room_in = head.size;
    }
    if (rc != 0) {
        link_decide(l, LINK_BROKEN);
    }
    return rc;
}

/* Receives into the box, behind what is there. 0 or an error. */
static int fill(struct link *l, size_t need, bool wait) {
    size_t skip = l->terms.packets ? FRAME_HEAD : 0;
    need = skip ? skip + l->room_in : need;
    int rc = frame_box_room(&l->box, need);
    if (rc != 0) {
        return rc;
    }
    size_t room = l->box.capacity - l->box.to - skip;
    struct iovec part = {l->box.data + l->box.to + skip, skip ? l->room_in : room};
    ssize_t got = pull(l, &part, 1, wait);
    if (got > 0 && skip) {
        return admit(l, (size_t)got);
    }
    l->box.to += got > 0 ? (size_t)got : 0;
    return got < 0 ? (int)got : 0;
}

/* Asked each time that something has come and it was no message yet: who gives a little at a time, or says what the user does not
 * hear of, keeps nobody for longer than a slice. *until: 0 at first. */
static bool is_late(int64_t *until) {
    int64_t now = clock_now();
    *until = *until != 0 ? *until : now + MECH_SLICE_NS;
    return now >= *until;
}

/* What is left to say when there is no whole frame and nothing more comes. */
static int ended(struct link *l) {
    link_decide(l, LINK_DIED);
    return link_code(l);
}

/* Bytes before a payload of that size in the box. */
static inline size_t ahead(const struct link *l, size_t size) {
    return l->terms.packets ? FRAME_HEAD : frame_ahead(size);
}

/* Looks at the first head in the box: 1 it is a message's, PULL_TOLD a number's, 0 it is not there yet, or an error. */
static int look_at_head(struct link *l, struct frame_head *head) {
    if (frame_box_held(&l->box) < FRAME_HEAD) {
        return 0;
    }
    int rc = frame_read_head(l->box.data + l->box.from, head);
    if (unlikely(rc == 0 && head->type >= FRAME_CUT && (l->terms.hears & 1u << head->type) == 0)) {
        rc = err_say(THIRL_EFORMAT, "the peer sent a frame of the type %u, which does not fit its role", head->type);
    } else if (likely(rc == 0 && head->type != FRAME_BYE && head->type != FRAME_CUT)) {
        l->noted = head->type == FRAME_NOTED;
        if (unlikely(head->size > l->terms.recv_max && !frame_is_tell(head->type))) {
            rc = err_say(THIRL_EFORMAT, "the peer announced %u bytes; %zu were agreed upon", head->size,
                         l->terms.recv_max);
        } else if (unlikely(head->number != l->number_in && !l->terms.packets)) {
            rc = err_say(THIRL_EFORMAT, "the peer sent message number %u (modulo 65536) where %u was due", head->number,
                         l->number_in);
        } else if (unlikely(l->noted && l->terms.takes == 0)) {
            rc = err_say(THIRL_EFORMAT, "the peer sent descriptors, and this end takes none");
        } else {
            return frame_is_tell(head->type) ? PULL_TOLD : frame_box_held(&l->box) >= ahead(l, head->size);
        }
    }
    if (rc != 0) {
        link_decide(l, LINK_BROKEN);
        return rc;
    }
    link_decide(l, head->type == FRAME_CUT ? LINK_CUT : LINK_CLOSED);
    return link_code(l);
}

/* Puts what was read elsewhere back into the box, at `at`, before the box's other bytes, which begin at `from`. */
static int put_back(struct link *l, size_t at, const void *data, size_t size, size_t from) {
    size_t extra = l->box.to - from;
    size_t need = at + size;
    int rc = need + extra > l->box.capacity ? frame_box_room(&l->box, need + extra) : 0;
    if (rc != 0) {
        link_decide(l, LINK_BROKEN);
        return rc;
    }
    memmove(l->box.data + need, l->box.data + from, extra);
    if (size) {
        memcpy(l->box.data + at, data, size);
    }
    l->box.from = 0;
    l->box.to = need + extra;
    return 0;
}

/* The head is out of the box, `have` bytes of the payload are in the buffer, the box is empty: reads the rest. What
 * cannot be had now is collected in the box from then on. */
static int finish(struct link *l, const struct frame_head *head, unsigned char *buffer, size_t have, bool wait) {
    const size_t front = frame_ahead(head->size); /* and as long as the next one's, likely */
    int64_t late = 0;
    while (have < head->size) {
        struct iovec parts[2] = {{buffer + have, head->size - have}, {l->box.data, front}};
        ssize_t got = pull(l, parts, 2, wait);
        if (got > 0) {
            size_t part = (size_t)got < head->size - have ? (size_t)got : head->size - have;
            have += part;
            l->box.to = (size_t)got - part;
            l->dry = l->terms.pipes && have < head->size;
            if (have == head->size || !wait || !is_late(&late)) {
                continue;
            }
        }
        l->box.from = l->box.to = 0;
        int rc = put_back(l, front, buffer, have, 0);
        frame_write_head(l->box.data, head);
        l->partial = true;
        return rc != 0 ? rc : got == 0 ? ended(l) : got < 0 ? (int)got : -EAGAIN;
    }
    l->number_in++;
    return 0;
}

static void note_size(struct link *l, size_t size) {
    l->expect = size < PULL_BOX - 2 * FRAME_WIDE ? size : PULL_BOX - 2 * FRAME_WIDE;
}

/* The box is empty: receives a packet, straight into the buffer when that holds all that the peer may send. 1: it is in
 * the buffer, *size says how much of it; 0: look into the box; or an error. */
HOT static int take_packet(struct link *l, unsigned char *buffer, size_t capacity, size_t *size, bool wait) {
    unsigned char *kept = l->box.data + FRAME_HEAD;
    bool straight = capacity >= l->room_in, copied = !straight && (l->copies || l->room_in <= COPY_MAX);
    size_t here = straight ? l->room_in : copied ? 0 : capacity;
    struct iovec parts[2] = {{buffer, here}, {kept + here, l->room_in - here}};
    l->box.from = l->box.to = 0;
    ssize_t got = copied ? pull(l, parts + 1, 1, wait) : pull(l, parts, straight ? 1 : 2, wait);
    if (unlikely(got <= 0)) {
        return got < 0 ? (int)got : ended(l);
    }
    size_t packet = (size_t)got, have = packet < here ? packet : here;
    l->copies = packet <= COPY_MAX;
    if (likely(packet <= capacity && packet <= l->room_in && !frame_is_marked(copied ? kept : buffer, packet))) {
        if (copied) {
            memcpy(buffer, kept, packet);
        }
        *size = packet;
        l->noted = l->brought;
        return 1;
    }
    if (l->terms.bytes && have >= FRAME_MARK && packet <= l->room_in && !frame_is_marked(buffer, have)) {
        l->rest = packet - have;
        l->box.from = FRAME_HEAD + have;
        l->box.to = FRAME_HEAD + packet;
        *size = have;
        return 1;
    }
    if (have) {
        memcpy(kept, buffer, have);
    }
    return admit(l, packet);
}

/* Reads a head, what is likely to be its payload straight into the buffer, and a little more, with one system call.
 * 1: the message is in the buffer, *size says how much of it; 0: everything is in the box. */
HOT static int guess(struct link *l, unsigned char *buffer, size_t capacity, size_t *size, bool wait) {
    size_t room = capacity < l->expect ? capacity : l->expect;
    size_t front = frame_ahead(l->expect), more = room == l->expect ? front : 0;
    struct frame_head head;
    l->box.from = l->box.to = 0;
    struct iovec parts[3] = {{l->box.data, front}, {buffer, room}, {l->box.data + front, more}};
    ssize_t got = pull(l, parts, more ? 3 : 2, wait);
    if (got <= 0) {
        return got < 0 ? (int)got : ended(l);
    }
    l->box.to = (size_t)got < front ? (size_t)got : front;
    int rc = look_at_head(l, &head);
    if (rc < 0 || (size_t)got <= front) {
        return rc < 0 ? rc : 0;
    }
    size_t have = (size_t)got - front < room ? (size_t)got - front : room;
    size_t extra = (size_t)got - front - have;
    l->box.to = front + extra;
    if (rc != 1 || frame_ahead(head.size) != front || head.size < have ||
        (!l->terms.bytes && (head.size > capacity || (extra && head.size != have)))) {
        return put_back(l, front, buffer, have, front);
    }
    frame_box_drop(&l->box, front);
    *size = have;
    note_size(l, head.size);
    if (l->terms.bytes || head.size == have) {
        l->rest = head.size - have;
        l->number_in++;
        return 1;
    }
    *size = head.size;
    rc = finish(l, &head, buffer, have, wait);
    return rc == 0 ? 1 : rc;
}

/* No whole head is in the box: gets one. 1: the message is in the buffer; 0: look into the box again; or an error. */
static int get_head(struct link *l, unsigned char *buffer, size_t capacity, size_t *size, bool wait) {
    size_t target = l->expect < capacity ? l->expect : capacity;
    if (unlikely(l->over)) {
        return ended(l);
    }
    if (l->terms.packets) {
        int64_t late = 0;
        int rc = take_packet(l, buffer, capacity, size, wait);
        while (unlikely(rc == 0 && frame_box_held(&l->box) == 0)) { /* it has announced larger ones */
            rc = is_late(&late) ? -EAGAIN : take_packet(l, buffer, capacity, size, wait);
        }
        return rc;
    }
    if (frame_box_held(&l->box) == 0 && target >= l->direct) {
        return guess(l, buffer, capacity, size, wait);
    }
    return fill(l, PULL_BOX / 2, wait);
}

/* A number is next in the box. 0: go on; 1: it is not there yet; PULL_TOLD: the caller is to know; or an error. */
static int hear_number(struct link *l, const struct frame_head *head) {
    if (frame_box_held(&l->box) < FRAME_HEAD + FRAME_TELL) {
        return l->over ? ended(l) : 1;
    }
    l->told = frame_read_tell(l->box.data + l->box.from + FRAME_HEAD);
    l->told_type = head->type;
    frame_box_drop(&l->box, FRAME_HEAD + FRAME_TELL);
    if (head->type == FRAME_LOST) {
        l->lost += l->told;
    } else if (head->type == FRAME_FIRST) {
        l->delivered = l->told;
    } else if (head->type == FRAME_AGAIN) {
        l->again = l->told != 0;
    } else {
        return PULL_TOLD;
    }
    return 0;
}

/* Numbers, until something else comes: 0 look at that; PULL_TOLD: the caller is to know one; or an error. */
static int hear_numbers(struct link *l, bool wait) {
    struct frame_head head;
    int64_t late = 0;
    for (;;) {
        int rc = look_at_head(l, &head);
        if (rc == PULL_TOLD) {
            rc = hear_number(l, &head);
            if (rc == 0) {
                continue;
            }
        } else if (rc != 0 || l->over) {
            return rc < 0 ? rc : 0;
        } else {
            rc = 1;
        }
        rc = rc != 1 ? rc : fill(l, PULL_BOX / 2, wait);
        if (rc != 0 || is_late(&late)) {
            return rc != 0 ? rc : -EAGAIN;
        }
    }
}

/* The first message in the box has come in part: collects it there. 0: it is whole, or the end has come; or an error. */
static int collect(struct link *l, size_t whole, bool wait) {
    int64_t late = 0;
    int rc = 0;
    for (size_t held; rc == 0 && !l->over && (held = frame_box_held(&l->box)) < whole;) {
        /* Room grows with what has come, not with what was announced. */
        size_t need = whole - held < held + PULL_BOX / 2 ? whole - held : held + PULL_BOX / 2;
        rc = fill(l, need < PULL_BOX / 2 ? PULL_BOX / 2 : need, wait);
        rc = rc == 0 && wait && frame_box_held(&l->box) < whole && is_late(&late) ? -EAGAIN : rc;
    }
    return rc;
}

static int take_message(struct link *l, unsigned char *buffer, size_t capacity, size_t *size, bool wait) {
    for (;;) {
        struct frame_head head;
        int rc = look_at_head(l, &head);
        if (rc == 0) {
            rc = get_head(l, buffer, capacity, size, wait);
            if (rc != 0) {
                return rc < 0 ? rc : 0;
            }
            continue;
        }
        if (unlikely(rc == PULL_TOLD)) {
            rc = hear_numbers(l, wait);
            if (rc != 0) {
                return rc;
            }
            continue;
        }
        if (unlikely(rc < 0)) {
            return rc;
        }
        const size_t front = ahead(l, head.size), have = frame_box_held(&l->box) - front;
        if (unlikely(l->over && have < head.size)) {
            return ended(l);
        }
        *size = head.size;
        if (unlikely(head.size > capacity)) {
            return -EMSGSIZE;
        }
        const unsigned char *payload = l->box.data + l->box.from + front;
        note_size(l, head.size);
        if (likely(have >= head.size)) {
            copy_any(buffer, payload, head.size);
            frame_box_drop(&l->box, front + head.size);
            l->partial = false;
            l->number_in++;
            note_flow(l);
            return 0;
        }
        if (head.size >= l->direct && !l->partial) {
            memcpy(buffer, payload, have);
            l->box.from = l->box.to = 0;
            return finish(l, &head, buffer, have, wait);
        }
        rc = collect(l, front + head.size, wait);
        if (rc != 0) {
            return rc;
        }
    }
}

/* The box is empty and l->rest bytes of a piece are to come: reads them into the buffer. */
static ssize_t take_rest(struct link *l, unsigned char *buffer, size_t capacity, bool wait) {
    size_t want = l->rest < capacity ? l->rest : capacity;
    struct iovec parts[2] = {{buffer, want}, {l->box.data, frame_ahead(l->expect)}};
    ssize_t got = pull(l, parts, want == l->rest ? 2 : 1, wait);
    if (got > 0) {
        size_t part = (size_t)got < want ? (size_t)got : want;
        l->box.from = 0;
        l->box.to = (size_t)got - part;
        l->rest -= part;
        return (ssize_t)part;
    }
    return got;
}

static int take_bytes(struct link *l, unsigned char *buffer, size_t capacity, size_t *size, bool wait) {
    size_t got = 0;
    int64_t late = 0;
    int rc = 0;
    while (got < capacity && rc == 0) {
        struct frame_head head;
        size_t held = frame_box_held(&l->box);
        if (l->rest && held) {
            size_t part = l->rest < held ? l->rest : held;
            part = part < capacity - got ? part : capacity - got;
            memcpy(buffer + got, l->box.data + l->box.from, part);
            frame_box_drop(&l->box, part);
            l->rest -= part;
            got += part;
            continue;
        }
        if (l->rest) {
            ssize_t more = got >= l->direct ? -EAGAIN : take_rest(l, buffer + got, capacity - got, wait && got == 0);
            got += more > 0 ? (size_t)more : 0;
            rc = more > 0 ? 1 : more < 0 ? (int)more : ended(l);
            continue;
        }
        rc = look_at_head(l, &head);
        if (rc == 1) {
            frame_box_drop(&l->box, ahead(l, head.size));
            l->rest = head.size;
            l->number_in++;
            note_size(l, head.size);
            rc = unlikely(head.size == 0) && is_late(&late); /* else it goes on */
        } else if (rc == 0) {
            rc = got ? 1 : get_head(l, buffer, capacity, &got, wait);
        }
    }
    *size = got;
    return got || capacity == 0 ? 0 : rc > 0 ? -EAGAIN : rc;
}

/* A message was delivered: what came with it is at hand from now on. */
static int hand_over(struct link *l) {
    rights_close(&l->at_hand);
    if (l->noted && !rights_next(&l->line, &l->at_hand)) {
        return lied(l, "a message that should have brought descriptors, and did not");
    }
    if (l->line.count != 0 && frame_box_held(&l->box) == 0) {
        return lied(l, "descriptors without a message of theirs");
    }
    if (l->noted && l->at_hand.lost) {
        return err_say(EMFILE,
                       "the descriptors of a message could not be taken, and it was dropped: this process may have "
                       "only so many open, see RLIMIT_NOFILE");
    }
    return 0;
}

int pull_unusual(struct link *l, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    (void)gate_enter(&l->reading, INT64_MAX);
    int rc;
    if (l->terms.raw) {
        rc = bare_recv(l, buffer, capacity, size, wait);
        gate_leave(&l->reading);
    } else {
        rc = pull_on(l, buffer, capacity, size, wait, 0);
    }
    if (rc == 0 && note != NULL) {
        note->count = l->at_hand.count;
        memcpy(note->descriptor, l->at_hand.descriptor, note->count * sizeof(int));
        l->at_hand.count = 0;
    }
    rights_close(&l->at_hand);
    return rc;
}

int pull_on(struct link *l, void *buffer, size_t capacity, size_t *size, bool wait, ssize_t got) {
    int rc = 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        rc = -EAGAIN;
    } else if (got > 0 && !l->terms.packets) {
        l->box.from = 0;
        l->box.to = (size_t)got;
    } else if (got > 0) {
        size_t have = (size_t)got < l->room_in ? (size_t)got : l->room_in;
        l->box.from = l->box.to = 0;
        if (capacity >= l->room_in) {
            memcpy(l->box.data + FRAME_HEAD, buffer, have);
        }
        rc = admit(l, (size_t)got);
    }
    if (rc == 0) {
        rc = l->terms.bytes ? take_bytes(l, buffer, capacity, size, wait)
                            : take_message(l, buffer, capacity, size, wait);
    }
    if (unlikely(l->terms.takes != 0) && rc == 0) {
        rc = hand_over(l);
    }
    gate_leave(&l->reading);
    return rc;
}

int pull_rest(struct link *l) {
    (void)gate_enter(&l->reading, INT64_MAX);
    int rc = 0;
    size_t bound = frame_box_held(&l->box) + REST_MAX + (l->terms.pipes ? tube_size(l->fd) : 0);
    l->draining = true;
    while (!l->over && rc == 0) {
        rc = fill(l, PULL_BOX / 2, false);
        if (unlikely(frame_box_held(&l->box) > bound)) {
            link_cut(l); /* of a socket: what the kernel has still comes */
            bound = SIZE_MAX;
            l->over = l->terms.pipes;
        }
    }
    if (l->over || rc != -EAGAIN) {
        uint8_t last = frame_box_ends(&l->box, l->rest, l->terms.packets);
        bool cut = last == FRAME_CUT && (l->terms.hears & 1u << FRAME_CUT) != 0;
        link_decide(l, cut ? LINK_CUT : last == FRAME_BYE ? LINK_CLOSED : LINK_DIED);
    }
    gate_leave(&l->reading);
    return link_code(l);
}

bool pull_ready(struct link *l) {
    struct frame_head head;
    (void)gate_enter(&l->reading, INT64_MAX);
    size_t held = frame_box_held(&l->box);
    bool ready = l->over || tray_holds(l->tray) || (l->terms.raw ? held != 0 : l->rest && held);
    if (!ready && !l->terms.raw && !l->rest && held >= FRAME_HEAD) {
        int rc = look_at_head(l, &head);
        size_t front = rc == 1 ? ahead(l, head.size) : FRAME_HEAD;
        ready = rc < 0 || (rc > 0 && (l->terms.bytes ? held > front : held - front >= head.size));
    }
    gate_leave(&l->reading);
    return ready;
}
