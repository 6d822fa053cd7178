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

static inline __attribute__((always_inline)) int quick_send(struct queue *q, carrier_send *send, const void *data,
                                                            size_t size, size_t *done, bool wait) {
    struct push *out = &q->out;
    size_t piece = q->facts.packet - FRAG_LABEL;
    bool clear = !q->raw && !out->busy && out->rest.size == out->rest.done && *done == 0;
    if (unlikely(!clear || size > piece || size > q->max)) {
        return queue_send_noted(q, data, size, done, NULL, wait);
    }
    unsigned char wire[FRAG_TAIL];
    out->label.total = (uint32_t)size;
    out->label.offset = 0;
    out->label.piece = (uint32_t)piece;
    const struct iovec part[] = {{(void *)(uintptr_t)data, size},
                                 {wire, frag_tail(wire, &out->label, size, q->facts.packet)}};
    int rc = send(q->carried, part, 2, NULL, wait);
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
    int rc = recv(q->carried, part, room == packet ? 1 : 2, &got, &in->note, wait);
    const size_t bytes = got - FRAG_LABEL; /* the label behind them lies in one piece, or what came is not usual */
    bool here = rc == 0 && got >= FRAG_LABEL && (got <= room || bytes >= room) &&
                frag_read_whole(got <= room ? (unsigned char *)buffer + bytes : in->block + (bytes - room), bytes,
                                in->kind, &label) &&
                label.total <= room && label.total <= q->max &&
                (in->only == NULL || (in->only->node == label.node && in->only->number == label.end));
    if (unlikely(!here)) {
        return draw_on(q, buffer, capacity, size, rc, got, wait);
    }
    queue_ring(q);
    if (in->frag.lossy && !draw_counts(q, &label)) {
        return queue_recv_noted(q, buffer, capacity, size, NULL, wait);
    }
    *size = label.total;
    q->pause = 0;
    if (unlikely(q->lit >= 0)) {
        queue_light(q, draw_holds(q) || q->tick >= 0);
    }
    return 0;
}

#endif
