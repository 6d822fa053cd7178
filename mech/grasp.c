/* SPDX-License-Identifier: MIT
 *
 * A subscriber's hold on large messages, which lie in their publisher's pool: noted before it is known that they are whole (mech/bulk.c
 * has the order), and struck out when they come back, whatever has become of the publisher.
 */
#include <string.h>

#include "base/err.h"
#include "base/weave.h"
#include "mech/fan.h"

#define AWAY (UINT64_C(1) << 63) /* a cookie: of a note */

static void show(const struct sub *sub) {
    struct node_end *seen = sub->end->seen;
    uint64_t kept = 0;
    for (uint64_t mask = sub->own->held.mask; mask != 0; mask &= mask - 1) {
        kept += sub->kept[__builtin_ctzll(mask)].cost;
    }
    if (seen != NULL) {
        atomic_poke(&seen->in.held, kept);
        atomic_poke(&seen->in.holds, sub->holds);
    }
}

static int too_many(const struct sub *sub, const struct feed *feed, const struct pool_ref *ref) {
    return err_say(
        EBUSY,
        "%s: this end holds %u messages, and %llu bytes of the %llu that it may hold in the pool of %s; the next "
        "takes %llu: free some first, or have the publisher opened with a larger ?pool=",
        sub->end->address, sub->holds, (unsigned long long)feed->kept, (unsigned long long)feed->kept_most, feed->who,
        (unsigned long long)pool_cost(ref));
}

static unsigned note_down(struct sub *sub, const struct feed *feed, const struct pool_ref *ref) {
    struct fan_rx *own = sub->own;
    struct fan_whose *whose = &own->whose[__builtin_ctzll(~own->held.mask)];
    atomic_poke(&whose->node, feed->end.node);
    atomic_poke(&whose->number, feed->end.number);
    weave("grasp.note.before");
    unsigned slot = pool_hold(&own->held, ref);
    weave("grasp.note.after");
    return slot;
}

int grasp_take(struct sub *sub, struct feed *feed, struct cast_got *got, void *buffer, size_t capacity,
               struct mech_note *note) {
    struct pool_ref ref;
    bool lies = note != NULL && note->lies;
    _Static_assert(sizeof ref == sizeof got->where, "a record holds a reference");
    memcpy(&ref, got->where, sizeof ref);
    got->size = ref.size;
    if (!pool_sound(&feed->map, &ref)) {
        return -THIRL_EFORMAT;
    }
    if (!lies && ref.size > capacity) {
        return -EMSGSIZE;
    }
    if (sub->own->held.mask == UINT64_MAX || (lies && pool_cost(&ref) > feed->kept_most - feed->kept)) {
        /* One by itself may always be held: who says otherwise says so for ever. */
        return lies && pool_cost(&ref) > feed->kept_most ? -THIRL_EFORMAT : too_many(sub, feed, &ref);
    }
    unsigned slot = note_down(sub, feed, &ref);
    int rc = cast_accept(&feed->in, got);
    if (rc != 1) {
        pool_drop(&sub->own->held, slot);
        return rc == 0 ? 0 : -THIRL_EFORMAT;
    }
    if (!lies) {
        memcpy(buffer, pool_message(&feed->map, &ref), ref.size);
        weave("grasp.copy.after");
        pool_drop(&sub->own->held, slot);
        return 1;
    }
    sub->kept[slot] = (struct kept){feed, pool_cost(&ref)};
    sub->holds++;
    feed->kept += pool_cost(&ref);
    feed->out++;
    note->place = pool_message(&feed->map, &ref);
    note->cookie = AWAY | slot;
    show(sub);
    return 1;
}

void grasp_free(struct sub *sub, struct mech_piece *piece) {
    if ((piece->cookie & AWAY) == 0) {
        return;
    }
    unsigned slot = (unsigned)(piece->cookie & ~AWAY);
    struct feed *feed = sub->kept[slot].feed;
    weave("grasp.drop.before");
    pool_drop(&sub->own->held, slot);
    weave("grasp.drop.after");
    feed->kept -= sub->kept[slot].cost;
    feed->out--;
    sub->holds--;
    show(sub);
    if (feed->over) {
        feed_forget(feed);
    } else {
        sub_answer(sub, feed);
    }
}
