/* SPDX-License-Identifier: MIT
 *
 * One message taken in place, and one sent with a few words before it, as a call does both: inlined, for in a round trip through shared memory each
 * call that would need registers saved shows. Here is what is there, whole, by itself; the rest is the halves' (inlet.c, outlet.c).
 */
#ifndef MECH_STRAIGHT_H
#define MECH_STRAIGHT_H

#include <string.h>

#include "base/copy.h"
#include "base/weave.h"
#include "mech/reach.h"
#include "mem/pace.h"

/* Gives away the message at the lane's position, as it lies there. */
static inline void straight_lend(struct inlet *in, struct mech_piece *piece, uint32_t bytes) {
    const uint64_t at = in->lane.at;
    char *payload = (char *)lane_payload(lane_at(&in->lane, at)) + in->offset;
    uint64_t ticket = likely(hold_empty(&in->held)) ? hold_first(&in->held, at) : hold_out(&in->held, at);
    *piece = (struct mech_piece){.data = payload,
                                 .size = bytes - in->offset,
                                 .number = in->number,
                                 .cookie = ticket,
                                 .owner = in->feed};
    in->feed->held++;
    in->plain = in->straight = false;
}

/* The slot take. */
static inline __attribute__((always_inline)) int straight_take(struct inlet *in, struct mech_piece *piece) {
    if (unlikely(!in->straight) && (!in->bound || in->run.left != 0 || in->offset != 0 || hold_full(&in->held))) {
        return inlet_take_with_care(in, piece);
    }
    const struct lane_head *head = lane_at(&in->lane, in->lane.at);
    uint64_t word = atomic_load(&head->word); /* pairs with lane_commit */
    uint32_t span = (uint32_t)word, bytes = (uint32_t)(word >> 32);
    if (unlikely(!lane_sound(&in->lane, span, bytes))) { /* nothing, too, and what has a flag */
        return inlet_take_with_care(in, piece);
    }
    if (in->number - in->caught_up >= PACE_RUN) {
        lane_fetch(head, span);
    }
    straight_lend(in, piece, bytes);
    in->lane.at += span;
    in->number++;
    weave("inlet.take.after");
    return 0;
}

/* Sends one or two words, and the message behind them, as one. As the slot send. */
static inline __attribute__((always_inline)) int straight_send(struct outlet *out, const uint64_t *head, size_t words,
                                                               const void *data, size_t size) {
    const size_t first = words * sizeof *head, whole = first + size;
    uint32_t span = lane_step(&out->lane, whole);
    if (unlikely(!reach_is_ready(out) || !lane_fits(&out->lane, span) || whole >= out->lends || whole > out->within)) {
        return outlet_send_lent(out, head, words, data, size);
    }
    weave("outlet.headed.before");
    struct lane_head *record = lane_reserve(&out->lane, span);
    char *payload = lane_payload(record);
    memcpy(payload, head, sizeof *head);
    if (words > 1) {
        memcpy(payload + sizeof *head, head + 1, sizeof *head);
    }
    copy_any(payload + first, data, size);
    weave("outlet.headed.written");
    lane_commit(record, span, (uint32_t)whole);
    weave("outlet.headed.committed");
    out->sent++;
    return bell_is_quiet(&out->bell) ? 0 : outlet_tell(out);
}

#endif
