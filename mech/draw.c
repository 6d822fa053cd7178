/* SPDX-License-Identifier: MIT
 *
 * The receiving half of a queue: see queue.h.
 */
#define _GNU_SOURCE
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"
#include "mech/quick.h"

#define UNFINISHED                                                                                                     \
    4 /* messages as large as ?max that are held unfinished where the oldest of them may go for another one; else FRAG_PARTS are */
#define QUIET_LOOKS                                                                                                    \
    20 /* slices without a packet after which an unfinished message is given up where packets are lost: a second */
#define PIECES_LONG 256 /* packets that one call takes without having a message */

struct drawing { /* what a call of recv was given */
    void *buffer;
    size_t capacity, *size;
    struct mech_note *note;
};

int draw_init(struct queue *q) {
    struct draw *in = &q->in;
    in->block = malloc(q->facts.packet);
    if (in->block == NULL) {
        return err_say(ENOMEM, "%s: no memory for a packet of %zu bytes", q->address, q->facts.packet);
    }
    in->kind = frag_kind(frag_data(q->sealed), !q->counted);
    const size_t max = (size_t)q->max, each = max + max / 8 + 1; /* with a bit for each piece */
    const size_t most = q->counted ? UNFINISHED : FRAG_PARTS;
    frag_init(&in->frag, max, each < SIZE_MAX / most ? most * each : SIZE_MAX, q->counted);
    in->turn = q->joined && !q->raw ? turn_of(&q->roll) : NULL;
    return 0;
}

void draw_deinit(struct queue *q) {
    frag_deinit(&q->in.frag);
    free(q->in.block);
    q->in.block = NULL;
}

/* A message is in block, or in frag: gives it, or keeps it for a larger buffer. */
static int give_held(struct queue *q, const struct drawing *to) {
    struct draw *in = &q->in;
    *to->size = in->size;
    in->held = in->size > to->capacity;
    if (in->held) {
        return -EMSGSIZE;
    }
    if (in->size != 0) {
        memcpy(to->buffer, in->data, in->size);
    }
    if (to->note != NULL) {
        *to->note = in->note;
    }
    if (in->data != in->block) {
        frag_free(&in->frag);
    }
    return 0;
}

/* The bytes of a packet went into the caller's buffer and, what did not fit, into block: all of it into block. */
static void join_in_block(struct queue *q, const struct drawing *to, size_t size) {
    struct draw *in = &q->in;
    if (size > to->capacity) {
        memmove(in->block + to->capacity, in->block, size - to->capacity);
    }
    if (to->capacity != 0) {
        memcpy(in->block, to->buffer, size < to->capacity ? size : to->capacity);
    }
}

static int keep(struct queue *q, const struct drawing *to, size_t size, bool joined) {
    struct draw *in = &q->in;
    if (!joined) {
        join_in_block(q, to, size);
    }
    in->data = in->block;
    in->size = size;
    return give_held(q, to);
}

static int refuse(struct queue *q, int rc) {
    atomic_poke(&q->seen->in.refused, q->seen->in.refused + 1);
    return err_add(rc, "it was thrown away (%s)", q->address);
}

/* What is not thirl's. Where anybody on a network can send some, it must not keep a receiver from its work: it is only counted, and
 * told of to those who wait in vain. */
static int ignore(struct queue *q, int rc) {
    rc = refuse(q, rc);
    return q->facts.cross_host ? 1 : rc;
}

/* What the numbers of packets have told, for the list. */
HOT static void tell_counts(struct queue *q) {
    const struct frag *frag = &q->in.frag;
    struct node_count *count = &q->seen->in;
    if (unlikely(!q->raw && (frag->lost != count->lost || frag->late != count->late || frag->twice != count->twice))) {
        atomic_poke(&count->lost, frag->lost);
        atomic_poke(&count->late, frag->late);
        atomic_poke(&count->twice, frag->twice);
    }
}

static bool is_gone(const struct queue *q, const struct frag_part *part) {
    return !roll_has(&q->roll, (struct roll_end){part->node, part->end}, "tx");
}

/* Gives up what senders that are gone have left unfinished. true: there is more room now. */
static bool drop_dead(struct queue *q, bool doomed_only) {
    bool dropped = false;
    for (size_t i = 0; i < FRAG_PARTS; i++) {
        struct frag_part *part = &q->in.frag.part[i];
        if (part->node != 0 && part != q->in.frag.whole && (doomed_only ? part->doomed : is_gone(q, part))) {
            frag_drop(&q->in.frag, part);
            dropped = true;
        }
    }
    return dropped;
}

static int put_piece(struct queue *q, const struct frag_label *label, const struct iovec *part) {
    int rc = frag_put(&q->in.frag, label, part, 2);
    if (rc == -ENOBUFS && q->joined && drop_dead(q, false)) {
        rc = frag_put(&q->in.frag, label, part, 2);
    }
    weave("draw.piece.taken");
    return rc < 0 ? refuse(q, rc) : rc;
}

/* Puts a packet that is not the peer's aside, into block: it is for the next conversation. */
static int set_aside(struct queue *q, const struct drawing *to, const struct frag_label *label, size_t size) {
    join_in_block(q, to, size);
    q->in.aside = *label;
    return DRAW_STRANGER;
}

/* A packet of a message, whose bytes are in the parts. 1: it was a piece, and there is no message yet. */
static int accept_packet(struct queue *q, const struct drawing *to, const struct frag_label *label,
                         const struct iovec *part) {
    struct draw *in = &q->in;
    if (unlikely(label->type == FRAG_NOTE)) {
        return in->only != NULL ? DRAW_NOTE : 1;
    }
    if (unlikely(frag_came_before(&in->frag, label))) {
        return 1;
    }
    size_t size = frag_size(label);
    if (unlikely(!frag_is_whole(label))) {
        int rc = put_piece(q, label, part);
        if (rc == 1) {
            in->data = frag_whole(&in->frag, &in->size);
            return give_held(q, to);
        }
        return rc == 0 ? 1 : rc;
    }
    if (unlikely(size > q->max)) {
        return refuse(q, err_say(THIRL_EFORMAT, "a message of %zu bytes came; this end accepts %llu (?max)", size,
                                 (unsigned long long)q->max));
    }
    return keep(q, to, size, part[0].iov_base == in->block); /* it is in block, or too large for the buffer */
}

/* A message whose pieces go straight to where the caller wants them, one after the other. What makes that stop is put together
 * elsewhere, as frag.h has it. */
struct joining {
    struct frag_label first;
    size_t have; /* bytes of it; 0: there is none */
};

static bool may_join(const struct queue *q, const struct drawing *to, const struct frag_label *label) {
    const struct frag *frag = &q->in.frag;
    return label->type == FRAG_DATA && label->offset == 0 && !frag_is_whole(label) && frag->parts == 0 &&
           !frag->lossy && label->total <= to->capacity && label->total <= frag->max &&
           label->total / label->piece < PIECES_LONG / 2;
}

/* Another packet came in between, or none in time. */
static __attribute__((noinline)) void stop_joining(struct queue *q, const struct drawing *to, struct joining *join) {
    struct frag_label label = join->first;
    for (label.offset = 0; label.offset < join->have; label.offset += label.piece) {
        const struct iovec part = {(char *)to->buffer + label.offset, label.piece};
        if (frag_put(&q->in.frag, &label, &part, 1) < 0) {
            q->in.frag.lost++; /* no memory: its other pieces are forgotten */
            break;
        }
    }
    join->have = 0;
}

/* The next piece, or the first. 1: more must come. */
static int join_piece(const struct queue *q, const struct drawing *to, struct joining *join,
                      const struct frag_label *label) {
    join->have += frag_size(label);
    weave("draw.piece.taken");
    if (join->have < label->total) {
        return 1;
    }
    join->have = 0;
    *to->size = label->total;
    if (to->note != NULL) {
        *to->note = q->in.note;
    }
    return 0;
}

/* A note has no offset. */
static bool continues(const struct joining *join, const struct frag_label *label) {
    const struct frag_label *first = &join->first;
    return label->offset == join->have && label->message == first->message && label->node == first->node &&
           label->end == first->end && label->total == first->total && label->piece == first->piece;
}

static int accept_aside(struct queue *q, const struct drawing *to) {
    struct draw *in = &q->in;
    const struct iovec there[] = {{in->block, frag_size(&in->aside)}, {NULL, 0}};
    const struct frag_label label = in->aside;
    in->aside.node = 0;
    return accept_packet(q, to, &label, there);
}

/* A packet that does not continue the message being joined: at says where its bytes are. */
static __attribute__((noinline)) int interrupt(struct queue *q, const struct drawing *to, struct joining *join,
                                               const struct drawing *at, const struct frag_label *label) {
    const struct iovec there[] = {{q->in.block, frag_size(label)}, {NULL, 0}};
    join_in_block(q, at, frag_size(label));
    stop_joining(q, to, join);
    return accept_packet(q, to, label, there);
}

/* The end of a packet, before which its label lies in one piece, wherever the payload went. */
static inline const unsigned char *end_of(const struct iovec part[2], size_t size, unsigned char wire[FRAG_LABEL]) {
    const size_t room = part[0].iov_len, at = size < FRAG_LABEL ? 0 : size - FRAG_LABEL;
    const unsigned char *first = part[0].iov_base, *second = part[1].iov_base;
    if (at >= room) {
        return second + (size - room);
    }
    if (likely(size <= room)) {
        return first + size;
    }
    memcpy(wire, first + at, room - at);
    memcpy(wire + (room - at), second, size - room);
    return wire + (size - at);
}

/* A whole message that is where it belongs. */
static inline bool is_plain(const struct queue *q, const struct frag_label *label, size_t room) {
    return label->type == FRAG_DATA && frag_is_whole(label) && label->total <= room && label->total <= q->max;
}

/* Messages are alike to this room, whatever stands behind them; but never to be mistaken for each other. */
static inline int same_kind(const struct queue *q, struct frag_label *label) {
    if (unlikely(label->type != FRAG_NOTE && label->type != frag_data(q->sealed))) {
        const char *what = ((frag_sealed(label->type) ^ q->sealed) & SEAL_CRC) != 0 ? "CRC" : "time";
        const char *option = what[0] == 'C' ? "?crc" : "?lifespan";
        bool ours = (q->sealed & (what[0] == 'C' ? SEAL_CRC : SEAL_TIME)) != 0;
        return ours ? err_say(THIRL_EROLE, "a packet of a message without a %s came, and this end wants one (%s)", what,
                              option)
                    : err_say(THIRL_EROLE,
                              "a packet of a message with a %s came, and this end has none: open it with %s", what,
                              option);
    }
    label->type = label->type == FRAG_NOTE ? FRAG_NOTE : FRAG_DATA;
    return 0;
}

struct arrival { /* of a packet */
    int rc;
    size_t size;
};

/* What a packet is that was received behind what the message being joined has, as accept_packet; or what the conversation's owner wants
 * to know, see queue.h. rc: what receiving it has said. */
static int judge(struct queue *q, const struct drawing *to, struct joining *join, int rc, size_t size) {
    struct draw *in = &q->in;
    unsigned char wire[FRAG_LABEL];
    const struct drawing at = {(char *)to->buffer + join->have, to->capacity - join->have, to->size, to->note};
    size_t room = at.capacity < q->facts.packet ? at.capacity : q->facts.packet;
    const struct iovec part[] = {{at.buffer, room}, {in->block, q->facts.packet}};
    struct frag_label label;
    if (likely(rc != -EAGAIN)) {
        queue_ring(q);
    }
    if (rc != 0) {
        return rc == -EMSGSIZE ? ignore(q, err_say(THIRL_EFORMAT, "a packet of %zu bytes is not thirl's", size)) : rc;
    }
    rc = frag_read(end_of(part, size, wire), size, &label);
    rc = rc == 0 ? same_kind(q, &label) : rc;
    if (unlikely(rc == 0 && label.brief && q->counted)) {
        rc = err_say(THIRL_EFORMAT, "a packet of %zu bytes has no number, and here they are counted", size);
    }
    if (unlikely(rc != 0)) {
        return ignore(q, rc);
    }
    if (in->only != NULL && label.type == FRAG_DATA &&
        (label.node != in->only->node || label.end != in->only->number)) {
        return set_aside(q, &at, &label, frag_size(&label));
    }
    if (unlikely(join->have != 0)) {
        return continues(join, &label) ? join_piece(q, to, join, &label) : interrupt(q, to, join, &at, &label);
    }
    if (likely(is_plain(q, &label, room))) {
        if (unlikely(frag_came_before(&in->frag, &label))) {
            return 1;
        }
        *to->size = label.total;
        if (to->note != NULL) {
            *to->note = in->note;
        }
        return 0;
    }
    if (may_join(q, to, &label)) {
        join->first = label;
        return join_piece(q, to, join, &label);
    }
    return accept_packet(q, to, &label, part);
}

/* One packet, and what it is. */
static int draw_packet(struct queue *q, const struct drawing *to, struct joining *join, bool wait) {
    struct draw *in = &q->in;
    size_t left = to->capacity - join->have, room = left < q->facts.packet ? left : q->facts.packet, size = 0;
    const struct iovec part[] = {{(char *)to->buffer + join->have, room}, {in->block, q->facts.packet}};
    if (unlikely(in->aside.node != 0 && in->only->node == in->aside.node)) {
        return accept_aside(q, to);
    }
    int rc = q->carrier->recv(q->carried, part, room == q->facts.packet ? 1 : 2, &size, NULL, &in->note, wait);
    return judge(q, to, join, rc, size);
}

/* Packets until there is a message; the first may be there already, or what was said in its place. Blocks for about a slice in all. */
static int draw_message(struct queue *q, const struct drawing *to, const struct arrival *came, bool wait) {
    struct joining join = {.have = 0};
    int64_t until = 0;
    int rc = came != NULL ? judge(q, to, &join, came->rc, came->size) : draw_packet(q, to, &join, wait);
    for (unsigned i = 1; rc == 1 && i < PIECES_LONG; i++) {
        if (wait) {
            int64_t now = clock_now();
            until = until == 0 ? now + MECH_SLICE_NS : until;
            wait = now < until;
        }
        rc = draw_packet(q, to, &join, wait);
    }
    if (unlikely(join.have != 0)) {
        stop_joining(q, to, &join);
    }
    return rc == 1 ? -EAGAIN : rc;
}

static int draw_raw(struct queue *q, const struct drawing *to, bool wait) {
    struct draw *in = &q->in;
    bool roomy = to->capacity >= q->facts.packet;
    const struct iovec part[] = {{to->buffer, roomy ? q->facts.packet : to->capacity}, {in->block, q->facts.packet}};
    size_t size = 0;
    int rc = q->carrier->recv(q->carried, part, roomy ? 1 : 2, &size, NULL, &in->note, wait);
    if (likely(rc != -EAGAIN)) {
        queue_ring(q);
    }
    if (rc == -EMSGSIZE) {
        return refuse(q, err_say(THIRL_EFORMAT, "a packet of %zu bytes is larger than the %zu that this end takes: %s",
                                 size, q->facts.packet, q->carrier->remedy));
    }
    if (rc != 0 || size > to->capacity) {
        return rc != 0 ? rc : keep(q, to, size, false);
    }
    *to->size = size;
    if (to->note != NULL) {
        *to->note = in->note;
    }
    return 0;
}

/* A receive is over. */
static int finish(struct queue *q, struct mech_note *note, int rc) {
    if (q->in.frag.in_order && rc == 0 && note != NULL) {
        note->number = q->in.frag.number;
        note->lost = q->in.frag.gap;
    }
    tell_counts(q);
    q->pause = rc == 0 ? 0 : q->pause;
    queue_relight(q, draw_holds(q) || (q->tick >= 0 && rc != -EAGAIN));
    return rc;
}

HOT int queue_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct queue *q = self;
    struct draw *in = &q->in;
    const struct drawing to = {buffer, capacity, size, note};
    int rc;
    if (unlikely(in->held)) {
        rc = give_held(q, &to);
    } else if (q->raw) {
        rc = draw_raw(q, &to, wait);
    } else if (in->turn != NULL && unlikely(!turn_take(in->turn, &q->roll))) {
        return -EAGAIN;
    } else {
        rc = draw_message(q, &to, NULL, wait);
        if (in->turn != NULL && likely(in->frag.parts == (in->frag.whole != NULL))) {
            turn_give(in->turn, &q->roll);
        }
    }
    return finish(q, note, rc);
}

HOT int queue_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct queue *q = self;
    return quick_recv(q, q->carrier->recv, buffer, capacity, size, wait);
}

int draw_on(struct queue *q, void *buffer, size_t capacity, size_t *size, int rc, size_t got, bool wait) {
    const struct drawing to = {buffer, capacity, size, NULL};
    const struct arrival came = {rc, got};
    return finish(q, NULL, draw_message(q, &to, &came, wait));
}

bool draw_counts(struct queue *q, const struct frag_label *label) {
    bool before = frag_came_before(&q->in.frag, label);
    tell_counts(q);
    return !before;
}

/* Where nobody knows whether a sender lives: what was begun is lost once nothing has come for a while. */
static void drop_quiet(struct queue *q) {
    struct draw *in = &q->in;
    in->quiet = in->seen == in->frag.turn ? in->quiet + 1 : 0;
    in->seen = in->frag.turn;
    for (size_t i = 0; in->quiet >= QUIET_LOOKS && in->frag.parts != 0 && i < FRAG_PARTS; i++) {
        struct frag_part *part = &in->frag.part[i];
        if (part->node != 0 && part != in->frag.whole) {
            frag_drop(&in->frag, part);
        }
    }
    tell_counts(q);
}

/* A sender that is gone may have left the rest of a message in the queue: only when that was empty after it went is its message
 * given up. Between two calls of this a receive has found nothing. */
int draw_look(struct queue *q) {
    struct draw *in = &q->in;
    if (in->turn != NULL) {
        turn_check(in->turn, &q->roll);
        char who[NODE_PEER_MAX] = "";
        turn_who(in->turn, &q->roll, who);
        node_end_name(q->seen, who);
    }
    if (!q->joined) {
        drop_quiet(q);
        return -EAGAIN;
    }
    if (in->frag.parts == 0) {
        return -EAGAIN;
    }
    (void)drop_dead(q, true);
    tell_counts(q);
    for (size_t i = 0; i < FRAG_PARTS; i++) {
        struct frag_part *part = &in->frag.part[i];
        part->doomed = part->node != 0 && part != in->frag.whole && is_gone(q, part);
    }
    if (in->frag.parts == 0) {
        turn_give(in->turn, &q->roll); /* there is one: a raw queue has no parts */
    }
    return -EAGAIN;
}
