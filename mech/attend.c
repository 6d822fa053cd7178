/* SPDX-License-Identifier: MIT
 *
 * Whom the way in through shared memory listens to: finding the one peer, binding to its lane, and what is said when it is gone, see attend.h.
 */
#include "mech/attend.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/futex.h"
#include "base/weave.h"

void attend_drop(struct inlet *in) {
    struct feed *feed = in->feed;
    bell_end(&in->bell);
    if ((atomic_peek(&in->own->data.attention) & BELL_SLEEPERS) != 0) {
        (void)futex_wake(&feed->theirs->data.count, INT_MAX); /* other threads: nobody will ring there any more */
    }
    node_peer_close(&in->peer.node);
    in->feed = NULL;
    in->dead = false;
    in->change = 0;
    if (in->bound) {
        in->bound = false;
        attend_straighten(in);
        mate_note(in->end, NULL);
    } else if (in->end->mate.node == 0) {
        post_drop(&in->end->roll, &in->peer.end);
    }
    if (feed->held == 0) {
        seg_unmap(&feed->map);
        free(feed);
    }
}

static int died(struct inlet *in) {
    int rc = err_say(THIRL_EPEERDIED, "%s: the peer, %s, died; all %llu messages that it had sent were received",
                     in->end->address, in->peer.who, (unsigned long long)in->number);
    atomic_store(&in->own->from.node, 0); /* free for another one, as it is not after a goodbye */
    mate_meet(in->end, &in->peer.end);
    if (in->end->sends) {
        atomic_store(&in->end->out.own->heard.node, 0);
    }
    attend_drop(in);
    return rc;
}

static int gone(struct inlet *in) {
    if (in->feed != NULL) {
        attend_drop(in);
    }
    /* Pairs with the load in reach_other_left. */
    atomic_store(&in->final, in->end->stream ? THIRL_END : -THIRL_ECLOSED);
    return in->final == THIRL_END
               ? THIRL_END
               : err_say(THIRL_ECLOSED, "%s: the peer, %s, closed its end", in->end->address, in->peer.who);
}

static int say_damaged(const struct inlet *in) {
    return err_say(THIRL_EFORMAT, "%s: the peer, %s, left a damaged record at %llu; it is not listened to any more",
                   in->end->address, in->peer.who, (unsigned long long)in->lane.at);
}

int attend_lied(struct inlet *in) {
    in->final = say_damaged(in);
    attend_drop(in);
    return -THIRL_EFORMAT;
}

/* How it ended, to whoever asks again. */
static int say_again(struct inlet *in) {
    return in->final == -THIRL_ECLOSED ? gone(in) : in->final == -THIRL_EFORMAT ? say_damaged(in) : in->final;
}

int attend_find(struct inlet *in) {
    uint32_t change = atomic_load(in->end->roll.change) + 1;
    if (change == in->change) {
        return -EAGAIN;
    }
    in->change = change;
    struct feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL) {
        in->change = 0; /* looked for again */
        return err_say(ENOMEM, "%s: no memory for a peer", in->end->address);
    }
    int rc = mate_find_post(in->end, &feed->map, &in->peer, &in->dead);
    if (rc == -EAGAIN) {
        rc = mate_find(in->end, "tx", SHM_TX_MAGIC, sizeof(struct shm_tx), &feed->map, &in->peer, &in->dead);
    }
    if (rc == 0 && feed->map.ring == 0) {
        rc = err_say(THIRL_EFORMAT, "%s: the segment of %s has no ring", in->end->address, in->peer.who);
        seg_unmap(&feed->map);
        node_peer_close(&in->peer.node);
    }
    if (rc != 0) {
        in->change = rc == -EAGAIN ? change : 0; /* an error is said again */
        free(feed);
        return rc;
    }
    in->number = 0;
    feed->theirs = (const struct shm_tx *)(const void *)feed->map.base;
    in->feed = feed;
    return 0;
}

static bool talks_to_us(const struct inlet *in) {
    const struct shm_link *to = &in->feed->theirs->to;
    const struct roll_end *self = &in->end->roll.self;
    return atomic_load(&to->node) == self->node && atomic_peek(&to->number) == self->number; /* pairs with talk_to */
}

static bool is_link(const struct shm_link *link, const struct roll_end *end) {
    return atomic_load(&link->node) == end->node && atomic_load(&link->number) == end->number;
}

static bool is_another(const struct inlet *in) {
    const struct shm_tx *theirs = in->feed->theirs;
    const struct roll_end *self = &in->end->roll.self;
    return (atomic_load(&theirs->to.node) != 0 && !is_link(&theirs->to, self)) ||
           (atomic_load(&theirs->heard.node) != 0 && !is_link(&theirs->heard, self));
}

int attend_bind(struct inlet *in) {
    if (!talks_to_us(in)) {
        return -EAGAIN;
    }
    uint64_t start = atomic_peek(&in->feed->theirs->to.start);
    in->lane =
        (struct lane){.ring = in->feed->map.base + in->feed->map.head, .mask = in->feed->map.ring - 1, .at = start};
    if (start % sizeof(struct lane_head) != 0) {
        return -THIRL_EFORMAT;
    }
    in->run = (struct run){0};
    in->number = 0;
    in->offset = 0;
    in->held = (struct hold){.out = 0};
    atomic_poke(&in->own->held.mask, 0);
    in->kept = 0;
    in->kept_most = pool_may_hold(in->feed->theirs->pool);
    atomic_poke(&in->own->cursor, start);
    atomic_poke(&in->own->taken, 0);
    /* Both pair with outlet's is_bound: the node may be the one that it was before. */
    atomic_store(&in->own->from.number, in->peer.end.number);
    weave("inlet.bind.before");
    atomic_store(&in->own->from.node, in->peer.end.node);
    if (in->end->sends) {
        struct shm_link *heard = &in->end->out.own->heard;
        atomic_store(&heard->number, in->peer.end.number);
        atomic_store(&heard->node, in->peer.end.node);
    }
    weave("inlet.bind.after");
    if (in->end->mate.node == 0) {
        post_drop(&in->end->roll, &in->peer.end);
    }
    mate_meet(in->end, &in->peer.end);
    if (in->end->sends) {
        (void)mate_post(in->end, &in->peer.end); /* so that it hears of this end's death or goodbye, too */
    }
    bell_begin(&in->bell, &in->own->room, &in->feed->theirs->room, in->peer.heavy, &in->end->seen->in.wakes);
    in->bound = true;
    attend_straighten(in);
    mate_note(in->end, &in->peer);
    return 0;
}

/* left: with a goodbye; else it died. */
static inline bool has_gone(struct inlet *in, bool *left) {
    *left = (atomic_load(&in->feed->theirs->room.attention) & BELL_GONE) != 0;
    if (!*left && !in->dead) {
        if (likely(!node_peer_doubtful(&in->peer.node))) {
            return false;
        }
        in->dead = !node_peer_alive(&in->peer.node);
    }
    *left = *left ||
            (atomic_load(&in->feed->theirs->room.attention) & BELL_GONE) != 0; /* it may have left, and ended then */
    return *left || in->dead;
}

bool attend_is_another(struct inlet *in) {
    bool left;
    if (!is_another(in)) {
        return false;
    }
    if (has_gone(in, &left) && !talks_to_us(in)) {
        attend_drop(in);
    }
    return true;
}

int attend_empty(struct inlet *in) {
    bool left;
    if (!has_gone(in, &left)) {
        return -EAGAIN;
    }
    /* What it committed before it left is visible now, if it was not before. */
    uint32_t span, size;
    if (in->bound ? lane_look(&in->lane, &span, &size) != 0 : talks_to_us(in)) {
        return -EINTR;
    }
    if (!in->bound && is_another(in)) {
        attend_drop(in);
        return -EAGAIN;
    }
    return mate_judge(in->end, &in->peer.end, left) ? gone(in) : died(in);
}

bool attend_other_left(const struct inlet *in) {
    return in->end->sends && atomic_load(&in->end->out.final) == -THIRL_ECLOSED; /* pairs with reach_gone */
}

int attend_ready(struct inlet *in) {
    if (in->final != 0) {
        return say_again(in);
    }
    if (in->feed == NULL) {
        int rc = attend_find(in);
        if (rc == -EAGAIN && attend_other_left(in)) {
            memcpy(in->peer.who, in->end->out.peer.who, sizeof in->peer.who);
            return gone(in);
        }
        if (in->mute.end.node != 0 && (rc == 0 || rc == -EAGAIN)) {
            bool spoke =
                rc == 0 && in->peer.end.node == in->mute.end.node && in->peer.end.number == in->mute.end.number;
            in->mute.end.node = 0;
            if (!spoke) {
                return err_say(THIRL_EPEERDIED, "%s: the peer, %s, died; it had sent nothing", in->end->address,
                               in->mute.who);
            }
        }
        if (rc != 0) {
            return rc;
        }
    }
    int rc = attend_bind(in);
    return rc == -EAGAIN ? attend_empty(in) : rc == -THIRL_EFORMAT ? attend_lied(in) : rc;
}
