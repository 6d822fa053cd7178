/* SPDX-License-Identifier: MIT
 *
 * The pusher's half of a work queue in shared memory: writes records into its lane and shows them. Contracts in mech/work.h.
 * What does not fit there, cargo.c has a place for.
 */
#include <stdio.h>
#include <string.h>

#include "base/copy.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/parts.h"
#include "base/weave.h"
#include "mech/work.h"

#define OVERHEAD                                                                                                       \
    (2 * sizeof(struct lane_head) + sizeof(uint64_t)) /* of the largest record: with what says what was dropped */

int offer_init(struct work *w, const struct thirl_options *options) {
    struct offer *out = &w->out;
    char tx[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1], claims[ROLL_FILE_MAX];
    roll_file(tx, w->roll.self, "tx");
    roll_file(claims, w->roll.self, "claim");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", tx);
    int rc = claim_make(&out->claim, w->roll.dir, unfinished, claims, options->queue, cargo_region(options), w->mode,
                        w->roll.self.node, w->roll.self.number, w->address);
    if (rc != 0) {
        return rc;
    }
    claim_warm(&out->claim, true);
    out->own = (struct claim_tx *)(void *)out->claim.tx.base;
    out->own->cpu = proc_cpu();
    atomic_poke(&out->claim.shared->room.fenced, !w->heavy);
    out->lane = claim_lane(&out->claim);
    out->lane.limit = out->claim.tx.ring;
    out->last = out->claim.mask + 1;
    out->within = out->claim.tx.ring - OVERHEAD;
    cargo_init(w, options);
    out->straight = (w->max < COPY_FEW ? w->max : COPY_FEW) + 1;
    return 0;
}

/* ---- room ---- */

/* Where record `number` begins, as a position like lane.at. */
static uint64_t position(const struct offer *out, uint64_t number) {
    uint32_t place;
    if (number == out->number) {
        return out->lane.at;
    }
    if (!claim_sent(&out->claim, number, &place)) {
        return hold_oldest(&out->loans); /* those that are lent and older than it were done */
    }
    uint64_t at = (uint64_t)(place & ~CLAIM_LOST) * sizeof(struct lane_head);
    return out->lane.at - ((out->lane.at - at) & out->lane.mask);
}

static bool has_room(const struct offer *out, uint32_t span) {
    return out->number < out->last && lane_fits(&out->lane, span);
}

/* Moves the floor over what has been done. */
static bool make_room(struct offer *out, uint32_t span) {
    uint64_t floor = out->floor;
    while (floor < out->number && claim_is_done(&out->claim, floor)) {
        floor++;
    }
    if (floor != out->floor) {
        out->floor = floor;
        out->last = floor + out->claim.mask + 1;
        out->lane.limit = position(out, floor) + out->claim.tx.ring;
        weave("offer.floor.before");
        atomic_store(&out->own->floor, floor); /* before any entry of the next lap: pairs with claim_sent */
    }
    return has_room(out, span);
}

/* ---- sending ---- */

static int too_large(const struct work *w, size_t size) {
    uint64_t most = pool_most(w->out.pool.bound);
    bool away = most > w->out.within;
    const char *option = w->max < (away ? most : w->out.within) ? "max" : away ? "pool" : "queue";
    size_t more = *option == 'm' ? size : away ? 4 * size : size + OVERHEAD;
    return err_say(EMSGSIZE,
                   "%s: a message of %zu bytes is larger than the %llu that fit; open it with ?%s=%llu or more",
                   w->address, size, (unsigned long long)w->max, option, (unsigned long long)more);
}

/* Reserves a record; its payload begins at what this answers. There is room. *place as in an entry. */
static void *reserve(struct offer *out, uint32_t span, uint32_t size, uint32_t *place) {
    struct lane_head *head = lane_at(&out->lane, out->lane.at);
    lane_claim(head, span);
    *place = (uint32_t)((out->lane.at & out->lane.mask) / sizeof *head);
    atomic_poke(&head->word, lane_word(span, size));
    out->lane.at += span;
    char *payload = lane_payload(head);
    if (unlikely(out->dropped != 0)) {
        memcpy(payload, &out->dropped, sizeof out->dropped);
        out->dropped = 0;
        *place |= CLAIM_LOST;
        payload += sizeof out->dropped;
    }
    return payload;
}

/* Bytes in front of the payload. */
static size_t prefix(const struct offer *out) {
    return out->dropped != 0 ? sizeof out->dropped : 0;
}

static void show(struct offer *out, uint64_t number, uint32_t place) {
    weave("offer.show.before");
    claim_send(&out->claim, out->own->entry, number, place);
    weave("offer.show.after");
}

/* It has no place now. */
static int refuse(struct work *w) {
    if (w->full != THIRL_FULL_DROP_NEWEST) {
        return -EAGAIN;
    }
    w->out.needed = 0;
    cargo_want(w, 0);
    w->out.dropped++;
    atomic_poke(&w->seen->out.lost, w->seen->out.lost + 1);
    return 0;
}

/* Room for a record of that span; else it is noted what is wanting. */
static bool find_room(struct work *w, uint32_t span) {
    struct offer *out = &w->out;
    if (likely(has_room(out, span)) || make_room(out, span)) {
        return true;
    }
    out->needed = span;
    out->refused = out->lane.at;
    cargo_want(w, 0);
    return false;
}

/* A message that the ring could not hold. */
static __attribute__((noinline)) int send_away(struct work *w, const void *data, size_t size) {
    struct offer *out = &w->out;
    uint32_t span = lane_step(&out->lane, sizeof(struct pool_ref) + prefix(out)), place, chunk;
    int rc = find_room(w, span) ? cargo_place(w, size, &chunk) : -EAGAIN;
    if (rc != 0) {
        return rc == -EAGAIN ? refuse(w) : rc;
    }
    memcpy(pool_data(&out->pool, chunk), data, size);
    weave("offer.away.written");
    struct lane_head *head = lane_at(&out->lane, out->lane.at);
    void *payload = reserve(out, span, 0, &place);
    atomic_poke(&head->word, lane_word(span, cargo_stow(w, payload, chunk, size, out->number)));
    show(out, out->number++, place);
    return 0;
}

/* One message, without ringing. */
static int send_one(struct work *w, const void *data, size_t size) {
    struct offer *out = &w->out;
    if (unlikely(size > w->max)) {
        return too_large(w, size);
    }
    if (unlikely(size > out->within)) {
        return send_away(w, data, size);
    }
    uint32_t span = lane_step(&out->lane, size + prefix(out)), place;
    if (unlikely(!find_room(w, span))) {
        return refuse(w);
    }
    copy_any(reserve(out, span, (uint32_t)size, &place), data, size);
    show(out, out->number++, place);
    return 0;
}

static __attribute__((noinline)) int send_with_care(struct work *w, const void *data, size_t size) {
    int rc = send_one(w, data, size);
    if (rc == 0) {
        crew_call(w, 1);
    }
    if (rc == 0 && size > w->out.within) {
        cargo_ahead(w, size);
    }
    if (w->lamp.fifo >= 0) {
        offer_settle(w);
    }
    return rc;
}

/* send_one for a short message while there is room, without a call that would need registers saved. */
HOT int offer_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct work *w = self;
    struct offer *out = &w->out;
    (void)wait;
    (void)done;
    struct lane lane = out->lane;
    uint32_t span = lane_step(&lane, size);
    if (unlikely(size >= out->straight || out->number >= out->last || !lane_fits(&lane, span) || out->dropped != 0)) {
        return send_with_care(w, data, size);
    }
    struct lane_head *head = lane_at(&lane, lane.at);
    lane_claim(head, span);
    atomic_poke(&head->word, lane_word(span, (uint32_t)size));
    copy_few(lane_payload(head), data, size);
    out->lane.at = lane.at + span;
    weave("offer.send.before");
    claim_send(&out->claim, out->own->entry, out->number, (uint32_t)((lane.at & lane.mask) / sizeof *head));
    weave("offer.send.after");
    out->number++;
    crew_call(w, 1);
    return 0;
}

int offer_send_many(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    struct work *w = self;
    size_t n = 0;
    int rc = 0;
    while (n < *count && parts_there(messages + n) &&
           (rc = send_one(w, messages[n].iov_base, messages[n].iov_len)) == 0) {
        n++;
    }
    *count = n;
    *bytes = parts_size(messages, n);
    if (n > 0) {
        crew_call(w, (uint32_t)(n < ROUSE_SLEEPERS ? n : ROUSE_SLEEPERS));
    }
    if (w->lamp.fifo >= 0) {
        offer_settle(w);
    }
    return n > 0 && rc == -EAGAIN ? 0 : rc;
}

/* Reserves the record of a loan: the message itself, or where it lies. It has its number, and so its turn, from the beginning. */
static int lend(struct work *w, struct mech_piece *piece, size_t size, bool away) {
    struct offer *out = &w->out;
    size_t bytes = away ? sizeof(struct pool_ref) : size;
    uint32_t span = lane_step(&out->lane, bytes + prefix(out)), place, chunk = POOL_NONE;
    int rc = !find_room(w, span) ? -EAGAIN : away ? cargo_place(w, size, &chunk) : 0;
    if (rc != 0) {
        return rc;
    }
    uint64_t at = out->lane.at;
    weave("offer.loan.before");
    void *payload = reserve(out, span, (uint32_t)bytes, &place);
    *piece = (struct mech_piece){.data = away ? pool_data(&out->pool, chunk) : payload,
                                 .capacity = size,
                                 .number = out->number++,
                                 .owner = payload,
                                 .via = (void *)(uintptr_t)chunk};
    piece->cookie = hold_out(&out->loans, at) << 32 | place;
    weave("offer.loan.after");
    return 0;
}

int offer_loan(void *self, struct mech_piece *piece, size_t size) {
    struct work *w = self;
    struct offer *out = &w->out;
    if (size > w->max) {
        return too_large(w, size);
    }
    if (hold_full(&out->loans)) {
        return -EBUSY;
    }
    bool away = (size >= out->lends && size <= out->pool.most) || size > out->within;
    int rc = lend(w, piece, size, away);
    rc = rc == -ENOSPC && size <= out->within ? lend(w, piece, size, false) : rc;
    if (unlikely(rc == -EAGAIN) && w->lamp.fifo >= 0) {
        offer_settle(w);
    }
    return rc;
}

static struct lane_head *head_of(const struct offer *out, uint32_t place) {
    return lane_at(&out->lane, (uint64_t)(place & ~CLAIM_LOST) * sizeof(struct lane_head));
}

static uint32_t chunk_of(const struct mech_piece *piece) {
    return (uint32_t)(uintptr_t)piece->via;
}

static void give_back(struct offer *out, uint64_t cookie) {
    (void)hold_back(&out->loans, cookie >> 32);
}

int offer_put(void *self, struct mech_piece *piece) {
    struct work *w = self;
    struct offer *out = &w->out;
    uint32_t place = (uint32_t)piece->cookie;
    struct lane_head *head = head_of(out, place);
    uint32_t chunk = chunk_of(piece), size = (uint32_t)piece->size;
    if (chunk != POOL_NONE) {
        size = cargo_stow(w, piece->owner, chunk, piece->size, piece->number);
    }
    atomic_poke(&head->word, lane_word((uint32_t)atomic_peek(&head->word), size));
    show(out, piece->number, place);
    give_back(out, piece->cookie);
    crew_call(w, 1);
    if (chunk != POOL_NONE) {
        cargo_ahead(w, piece->capacity);
    }
    if (unlikely(w->lamp.fifo >= 0)) {
        offer_settle(w);
    }
    return 0;
}

/* A record that will not come: done before it is shown. What it said of those that were dropped, the next one says. */
static void skip(struct offer *out, uint64_t number, uint32_t place) {
    claim_skip(&out->claim, number);
    show(out, number, place);
}

void offer_free(struct work *w, struct mech_piece *piece) {
    struct offer *out = &w->out;
    uint32_t place = (uint32_t)piece->cookie;
    if (w->closed) {
        return; /* skipped then */
    }
    if ((place & CLAIM_LOST) != 0) {
        uint64_t dropped;
        memcpy(&dropped, lane_payload(head_of(out, place)), sizeof dropped);
        out->dropped += dropped;
    }
    if (chunk_of(piece) != POOL_NONE) {
        pool_back(&out->pool, chunk_of(piece));
    }
    skip(out, piece->number, place);
    give_back(out, piece->cookie);
    crew_call(w, 1); /* it held back what follows */
    if (unlikely(w->lamp.fifo >= 0)) {
        offer_settle(w);
    }
}

/* ---- waiting ---- */

void offer_look(struct work *w) {
    struct offer *out = &w->out;
    if (crew_relieve(w, &out->claim, out->floor, out->number, NULL) != 0) {
        crew_call(w, ROUSE_SLEEPERS);
    }
}

/* What the last message lacked: whatever was sent since, none of it does. */
static uint32_t needed(const struct offer *out) {
    return out->refused == out->lane.at ? out->needed : 0;
}

/* Would the message that did not fit have a place now, or any? */
static bool has_place(struct work *w) {
    struct offer *out = &w->out;
    uint32_t span = needed(out);
    return make_room(out, span != 0 ? span : lane_span(1)) && cargo_ready(w);
}

/* The record up to which all must be done before it is worth getting up: half of them, if that is enough. A chunk may come back with any
 * of them. */
static uint64_t wanted(const struct offer *out) {
    if (out->wanted != 0) {
        return 0;
    }
    uint64_t half = out->floor + (out->number - out->floor + 1) / 2;
    uint64_t end = out->lane.at + needed(out) + sizeof(struct lane_head);
    return half < out->number && position(out, half) + out->claim.tx.ring >= end ? half : out->number;
}

static void order(const struct work *w) {
    if (w->heavy) {
        (void)futex_fence_heavy();
    } else {
        atomic_fence();
    }
}

int offer_arm(struct work *w, struct mech_watch *watch) {
    struct offer *out = &w->out;
    struct claim_room *room = &out->claim.shared->room;
    w->seen->out.waits++;
    watch->kind = MECH_WATCH_WORD;
    watch->word = &room->given;
    watch->value = atomic_load(&room->given); /* pairs with toil's wake */
    watch->slice = MECH_SLICE_NS;
    atomic_store(&room->want, wanted(out) + 1);
    weave("offer.arm.shown");
    order(w);
    return has_place(w); /* it wants until it is rung, even so: another thread may sleep, too */
}

bool offer_ready(struct work *w) {
    return w->full == THIRL_FULL_DROP_NEWEST || has_place(w);
}

void offer_settle(struct work *w) {
    struct offer *out = &w->out;
    struct claim_room *room = &out->claim.shared->room;
    out->straight = 0;
    if (has_place(w)) {
        lamp_light(&w->lamp);
        return;
    }
    lamp_guard(&w->lamp, NULL);
    lamp_dark(&w->lamp);
    atomic_store(&room->want, wanted(out) + 1);
    atomic_store(&room->polled, 1);
    order(w);
    if (has_place(w)) {
        lamp_light(&w->lamp);
    }
}

/* ---- leaving ---- */

void offer_close(struct work *w) {
    struct offer *out = &w->out;
    uint32_t place;
    for (uint64_t n = out->floor; n < out->number && !hold_empty(&out->loans); n++) {
        if (!claim_sent(&out->claim, n, &place)) {
            skip(out, n, 0);
        }
    }
    weave("offer.close.before");
    atomic_store(&out->own->closed, 1);
    weave("offer.close.shown");
    atomic_fence(); /* with the one in toil's clear_up: one of the two sees the other */
    while (out->floor < out->number && claim_is_done(&out->claim, out->floor)) {
        out->floor++;
    }
    w->roll.keeps = out->floor != out->number;
    if (w->roll.keeps) {
        cargo_close(w);
    }
}

void offer_deinit(struct work *w) {
    cargo_deinit(w);
    claim_unmap(&w->out.claim);
}
