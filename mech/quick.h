/* SPDX-License-Identifier: MIT
 *
 * The usual message of a queue, inlined: whole in one packet, nothing before it that was given up, nothing held. All that a message costs besides
 * its system call is done with a cold processor, and each return is predicted wrong behind a call that slept; so the way there and
 * back is short: the carrier's own function is inlined, too, where it is known. What is not usual goes to push.c and draw.c, also with what came. As
 * the slots send and recv.
 */
#ifndef MECH_QUICK_H
#define MECH_QUICK_H

#include <stdint.h>
#include <string.h>

#include "base/weave.h"
#include "mech/queue.h"

/* Sends one piece of a message and its label behind it, in one part unless it is large and the carrier wants no block. As the slot. */
static inline __attribute__((always_inline)) int quick_piece(struct queue *q, carrier_send *send, carrier_block *block,
                                                             const struct frag_label *label, const void *data,
                                                             size_t size, const struct mech_note *note, bool wait) {
    const size_t packet = q->facts.packet;
    LINE_ALIGNED unsigned char small[CARRIER_SMALL];
    if (likely(block != NULL || size <= sizeof small - FRAG_TAIL)) {
        unsigned char *at = block != NULL ? block(q->carried) : small;
        copy_any(at, data, size);
        const struct iovec whole = {at, size + frag_tail(at + size, label, size, packet)};
        return send(q->carried, &whole, 1, note, wait);
    }
    const struct iovec part[] = {{(void *)(uintptr_t)data, size}, {small, frag_tail(small, label, size, packet)}};
    return send(q->carried, part, 2, note, wait);
}

static inline __attribute__((always_inline)) int quick_send(struct queue *q, carrier_send *send, carrier_block *block,
                                                            const void *data, size_t size, size_t *done, bool wait) {
    struct push *out = &q->out;
    size_t piece = q->facts.packet - FRAG_LABEL;
    bool clear = !q->raw && !out->busy && out->rest.size == out->rest.done && *done == 0;
    if (unlikely(!clear || size > piece || size > q->max)) {
        return queue_send_noted(q, data, size, done, NULL, wait);
    }
    const struct frag_label label = {.type = out->label.type,
                                     .node = out->label.node,
                                     .end = out->label.end,
                                     .packet = out->label.packet,
                                     .message = out->label.message,
                                     .total = (uint32_t)size,
                                     .piece = (uint32_t)piece,
                                     .brief = out->label.brief};
    int rc = quick_piece(q, send, block, &label, data, size, NULL, wait);
    if (unlikely(rc != 0)) {
        return push_refused(q, size, rc);
    }
    queue_ring(q);
    weave("push.piece.sent");
    out->label.packet++;
    out->label.message++;
    *done = size;
    q->pause = 0;
    queue_relight(q, true);
    return 0;
}

static inline __attribute__((always_inline)) int quick_recv(struct queue *q, carrier_recv *recv, void *buffer,
                                                            size_t capacity, size_t *size, bool wait) {
    struct draw *in = &q->in;
    if (unlikely(in->held || q->raw || in->turn != NULL || in->aside.node != 0)) {
        return queue_recv_noted(q, buffer, capacity, size, NULL, wait);
    }
    const size_t packet = q->facts.packet, room = capacity < packet ? capacity : packet;
    const struct iovec part[] = {{buffer, room}, {in->block, packet}};
    struct frag_label label;
    size_t got = 0;
    const void *at = NULL;
    int rc = recv(q->carried, part, room == packet ? 1 : 2, &got, &at, &in->note, wait);
    const bool split = at == NULL && got > room; /* the label lies in one piece, or what came is not usual */
    const unsigned char *first = at != NULL ? at : split ? in->block : buffer;
    const size_t some = split ? got - room : got;
    bool here = rc == 0 && frag_read_whole(first + some, some, got, in->kind, &label) && label.total <= room &&
                label.total <= q->max &&
                (in->only == NULL || (in->only->node == label.node && in->only->number == label.end));
    if (unlikely(!here)) {
        if (at != NULL && rc == 0) {
            parts_scatter(part, room == packet ? 1 : 2, at, got);
        }
        return draw_on(q, buffer, capacity, size, rc, got, wait);
    }
    if (at != NULL) {
        copy_over(buffer, at, label.total); /* it may lie there */
    }
    queue_ring(q);
    if (unlikely(q->counted)) {
        const struct frag_label counted = label; /* whose address is taken, so that label needs none */
        if (!draw_counts(q, &counted)) {
            return queue_recv_noted(q, buffer, capacity, size, NULL, wait);
        }
    }
    *size = label.total;
    q->pause = 0;
    if (unlikely(q->lit >= 0)) {
        queue_light(q, draw_holds(q)); /* who comes here has a descriptor to wait on, and needs no timer */
    }
    return 0;
}

#endif
