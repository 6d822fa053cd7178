/* SPDX-License-Identifier: MIT
 *
 * Whom the way out through shared memory talks to: finding the one peer, and what is said when it is gone, see reach.h.
 */
#include "mech/reach.h"

#include <string.h>

#include "base/err.h"
#include "base/weave.h"

static const uint32_t steady; /* a life word for peers that have none */

void reach_rely(struct outlet *out, bool peer) {
    const uint32_t *life = peer ? out->peer.node.life : NULL;
    out->live = life != NULL ? life : &steady;
    out->live_value = life != NULL ? out->peer.node.life_value : !peer;
}

static void forget(struct outlet *out) {
    bell_end(&out->bell);
    seg_unmap(&out->map);
    node_peer_close(&out->peer.node);
    out->linked = false;
    reach_rely(out, false);
    out->bound = false;
    out->theirs = NULL;
    out->change = 0;
    out->conversation++;
    stow_forget(out); /* what the dead held is held no more */
    mate_note(out->end, NULL);
}

/* Has the peer bound to this lane? It never takes that back, so that one who has left still shows what it took. */
static bool is_bound(struct outlet *out) {
    const struct shm_link *from = &out->theirs->from;
    if (!out->bound) {
        out->bound = atomic_load(&from->node) == out->end->roll.self.node && /* both pair with inlet's bind */
                     atomic_load(&from->number) == out->end->roll.self.number;
    }
    return out->bound;
}

uint64_t reach_untaken(struct outlet *out) {
    uint64_t taken = is_bound(out) ? atomic_load(&out->theirs->taken) : 0;
    return taken < out->sent ? out->sent - taken : 0;
}

int reach_gone(struct outlet *out) {
    if (out->linked) {
        out->lost = reach_untaken(out);
        forget(out);
    }
    atomic_store(&out->final, -THIRL_ECLOSED); /* pairs with the load in attend_other_left */
    return err_say(THIRL_ECLOSED,
                   "%s: the peer, %s, closed its end; %llu of %llu messages sent to it were not received",
                   out->end->address, out->peer.who, (unsigned long long)out->lost, (unsigned long long)out->sent);
}

static int died(struct outlet *out) {
    out->lost = reach_untaken(out);
    int rc = err_say(THIRL_EPEERDIED, "%s: the peer, %s, died; %llu of %llu messages sent to it were not received",
                     out->end->address, out->peer.who, (unsigned long long)out->lost, (unsigned long long)out->sent);
    atomic_store(&out->own->to.node, 0); /* free for another one, as it is not after a goodbye */
    forget(out);
    return rc;
}

int reach_over(struct outlet *out) {
    bool left = (atomic_load(&out->theirs->data.attention) & BELL_GONE) != 0;
    return mate_judge(out->end, &out->peer.end, left) ? reach_gone(out) : died(out);
}

static int lied(struct outlet *out, uint64_t cursor) {
    out->final =
        err_say(THIRL_EFORMAT, "%s: the peer, %s, shows the impossible position %llu; it is not listened to any more",
                out->end->address, out->peer.who, (unsigned long long)cursor);
    forget(out);
    return -THIRL_EFORMAT;
}

/* The same to whoever asks again. */
static int has_lied(const struct outlet *out) {
    return err_say(THIRL_EFORMAT, "%s: the peer, %s, showed an impossible position; it is not listened to any more",
                   out->end->address, out->peer.who);
}

/* Says in .tx whom the lane is for, and where it begins for him. */
static void talk_to(struct outlet *out) {
    struct shm_link *to = &out->own->to;
    atomic_store(&to->node, 0);
    weave("outlet.link.before");
    atomic_poke(&to->number, out->peer.end.number);
    atomic_poke(&to->start, out->lane.at);
    atomic_store(&to->node, out->peer.end.node); /* pairs with the load in inlet's bind */
    weave("outlet.link.after");
}

/* Does it listen to another end, which has closed? Then it is on its way out, too, and this end waits for the next one. The
 * end of a process that died it will give up. */
static bool is_taken(const struct outlet *out) {
    const struct shm_link *from = &((const struct shm_rx *)(const void *)out->map.base)->from;
    const struct roll_end *self = &out->end->roll.self;
    uint64_t node = atomic_load(&from->node);
    return node != 0 && (node != self->node || atomic_load(&from->number) != self->number) &&
           (node == self->node || node_alive(node));
}

int reach_find(struct outlet *out) {
    uint32_t change = atomic_load(out->end->roll.change) + 1;
    if (change == out->change) {
        return -EAGAIN;
    }
    out->change = change;
    int rc = mate_find(out->end, "rx", SHM_RX_MAGIC, sizeof(struct shm_rx), &out->map, &out->peer, NULL);
    if (rc != 0) {
        out->change = rc == -EAGAIN ? change : 0; /* an error is said again */
        return rc;
    }
    rc = is_taken(out) ? -EAGAIN : mate_post(out->end, &out->peer.end);
    if (rc != 0) {
        out->change = rc == -EAGAIN ? change : 0;
        seg_unmap(&out->map);
        node_peer_close(&out->peer.node);
        return rc;
    }
    out->theirs = (const struct shm_rx *)(const void *)out->map.base;
    out->sent = 0;
    out->lost = 0;
    lane_begin(&out->lane, out->lane.at);
    out->lane.limit = out->lane.at; /* the first send computes it */
    bell_begin(&out->bell, &out->own->data, &out->theirs->data, out->peer.heavy, &out->end->seen->out.wakes);
    if (out->end->door != NULL) {
        bell_through(&out->bell, out->end->door, atomic_peek(&out->theirs->seat));
    }
    out->linked = true;
    talk_to(out);
    if (out->end->receives) {
        mate_link(out->end, &out->peer);
    }
    mate_note(out->end, &out->peer);
    return 0;
}

bool reach_other_left(const struct outlet *out) {
    return !out->linked && out->end->receives &&
           atomic_load(&out->end->in.final) == -THIRL_ECLOSED; /* pairs with attend's gone */
}

int reach_ready(struct outlet *out) {
    if (out->final != 0) {
        return out->final == -THIRL_ECLOSED ? reach_gone(out) : has_lied(out);
    }
    if (out->told != 0) {
        out->told = 0;
        return reach_over(out);
    }
    if (reach_other_left(out)) {
        memcpy(out->peer.who, out->end->in.peer.who, sizeof out->peer.who);
        return reach_gone(out);
    }
    if (!out->linked) {
        return reach_find(out);
    }
    if (node_peer_doubtful(&out->peer.node) && !node_peer_alive(&out->peer.node)) {
        return reach_over(out);
    }
    reach_rely(out, out->peer.node.doubt == 0);
    return 0;
}

int reach_open(struct outlet *out) {
    return reach_is_ready(out) ? 0 : reach_ready(out);
}

int reach_cursor(struct outlet *out, uint64_t *cursor) {
    uint64_t start = out->own->to.start;
    *cursor = is_bound(out) ? atomic_load(&out->theirs->cursor) : start; /* pairs with inlet's publish */
    return *cursor >= start && *cursor <= out->lane.at ? 0 : lied(out, *cursor);
}
