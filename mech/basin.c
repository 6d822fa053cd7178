/* SPDX-License-Identifier: MIT
 *
 * The receiving half of a duct: see duct.h.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"
#include "mech/duct.h"

#define STRANGERS_MAX 64 /* packets of nobody that one call throws away */

static bool is(const struct roll_end *a, const struct roll_end *b) {
    return a->node == b->node && a->number == b->number;
}

/* Once the peer has begun to send, the inbox is his alone. */
static void confine(struct duct *d) {
    struct basin *in = &d->in;
    const struct duct_link *to = &in->peer.page->to;
    char source[CARRIER_PLACE_MAX];
    if (d->carrier->confine == NULL || in->confined ||
        atomic_load(&to->node) != d->roll.self.node || /* pairs with link_to in spout.c */
        atomic_peek(&to->number) != d->roll.self.number) {
        return;
    }
    memcpy(source, in->peer.page->source, sizeof source);
    source[sizeof source - 1] = '\0';
    weave("basin.confine.before");
    in->confined = source[0] != '\0' && d->carrier->confine(in->q.carried, source) == 0;
    weave("basin.confine.after");
}

static void bind(struct duct *d) {
    struct basin *in = &d->in;
    struct duct_page *page = d->page;
    in->bound = true;
    in->offset = 0;
    in->change = 0;
    post_drop(&d->roll, &in->peer.end);
    atomic_poke(&page->from.node, 0);
    atomic_poke(&page->from.number, in->peer.end.number);
    atomic_store(&page->from.taken, 0);
    atomic_store(&page->from.node, in->peer.end.node); /* pairs with taken_of in spout.c */
    weave("basin.bind.after");
    duct_note(d, &in->peer);
    if (!in->peer.dead) {
        duct_introduce(d, &d->met, &in->peer.end);
        confine(d);
    }
}

static void unbind(struct duct *d) {
    struct basin *in = &d->in;
    if (in->confined) {
        (void)d->carrier->confine(in->q.carried, NULL);
        in->confined = false;
    }
    for (size_t i = 0; i < FRAG_PARTS; i++) {
        if (in->q.in.frag.part[i].node != 0) {
            frag_drop(&in->q.in.frag, &in->q.in.frag.part[i]);
        }
    }
    in->bound = false;
    (void)pthread_mutex_lock(&d->noting);
    if (is(&d->linked.end, &in->peer.end)) {
        duct_part(&d->linked); /* this half has nothing more to learn of him */
    }
    (void)pthread_mutex_unlock(&d->noting);
    post_drop(&d->roll, &in->peer.end); /* he may have posted it when this half knew him already */
    duct_part(&in->peer);
    duct_note(d, NULL);
}

/* The oldest who has posted his page here, dead or not; `wanted`, if not NULL, is meant. 0 or -EAGAIN or an error. */
static int find_post(struct duct *d, const struct roll_end *wanted) {
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    for (int i = 0; i < POST_MAX && post_find(&d->roll, file, &found) == 0; i++) {
        if (wanted == NULL || is(wanted, &found)) {
            int rc = duct_meet(d, &d->in.peer, &found, file);
            if (rc == 0) {
                return 0;
            }
        }
        post_drop(&d->roll, &found); /* whoever came before him, and never sent a thing */
    }
    return -EAGAIN;
}

static int find_peer(struct duct *d, const struct roll_end *wanted) {
    struct basin *in = &d->in;
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    uint32_t change = atomic_load(d->roll.change) + 1; /* pairs with roll_tell */
    bool look = wanted != NULL || in->change != change;
    int rc = look ? find_post(d, wanted) : -EAGAIN;
    if (rc == -EAGAIN && look &&
        (wanted != NULL ? roll_has(&d->roll, *wanted, "tx") : roll_find(&d->roll, "tx", &found) == 0)) {
        found = wanted != NULL ? *wanted : found;
        roll_file(file, found, "tx");
        rc = duct_meet(d, &in->peer, &found, file);
        if (rc == 0 && wanted == NULL && duct_taken(d, &in->peer)) {
            duct_part(&in->peer);
            rc = -EAGAIN;
        }
    }
    if (rc == -EAGAIN && wanted == NULL && duct_met(d, &d->linked, &in->peer)) {
        rc = 0; /* messages are on their way to him: that he dies without an answer is to be known here, too */
    }
    in->change = rc == -EAGAIN && wanted == NULL ? change : 0;
    if (rc == 0) {
        bind(d);
    }
    return rc;
}

static int say_final(struct duct *d, size_t *size) {
    *size = 0;
    return d->stream ? THIRL_END
                     : err_say(THIRL_ECLOSED, "%s: the peer, %s, closed its end", d->address, d->in.peer.who);
}

/* The conversation is over, and everything that was sent in it has been received. */
static int tell(struct duct *d, int fate, size_t *size) {
    struct basin *in = &d->in;
    char who[NODE_PEER_MAX];
    uint64_t taken = d->page->from.taken;
    memcpy(who, in->peer.who, sizeof who);
    unbind(d);
    if (fate == -THIRL_ECLOSED) {
        in->final = fate;
        return say_final(d, size);
    }
    atomic_store(&d->page->from.node, 0); /* free for another one, as it is not after a goodbye */
    roll_tell(&d->roll);
    return err_say(THIRL_EPEERDIED, "%s: the peer, %s, died; all %llu messages that it had sent were received",
                   d->address, who, (unsigned long long)taken);
}

/* A message, or packet of a stream, has been handed over. */
static void count(struct duct *d) {
    atomic_store(&d->page->from.taken, d->page->from.taken + 1); /* pairs with taken_of in spout.c */
}

/* A stream takes of a packet what fits, and the rest later. */
static int give_bytes(struct duct *d, void *buffer, size_t capacity, size_t *size) {
    struct basin *in = &d->in;
    size_t left = in->q.in.size - in->offset;
    *size = left < capacity ? left : capacity;
    if (*size != 0) {
        memcpy(buffer, (const char *)in->q.in.data + in->offset, *size);
    }
    in->offset += *size;
    if (*size == left) {
        in->offset = 0;
        in->q.in.held = false;
        if (in->q.in.frag.whole != NULL) {
            frag_free(&in->q.in.frag);
        }
        count(d);
    }
    return 0;
}

/* One try at the inbox, or what it has shown already. */
static int draw(struct duct *d, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct basin *in = &d->in;
    if (in->q.in.aside.node != 0 && !in->bound) {
        return DRAW_STRANGER;
    }
    int rc = d->stream && in->q.in.held ? -EMSGSIZE : queue_recv(&in->q, buffer, capacity, size, wait);
    if (d->stream && rc == -EMSGSIZE) {
        return give_bytes(d, buffer, capacity, size);
    }
    if (rc == 0) {
        count(d);
    }
    return rc;
}

/* A packet of somebody who is not the peer: the next one's, or nobody's. 0: draw again. */
static int meet_stranger(struct duct *d, size_t *size) {
    struct basin *in = &d->in;
    const struct roll_end stranger = {in->q.in.aside.node, in->q.in.aside.end};
    int fate = in->bound ? duct_fate(&in->peer, true) : 0;
    if (fate != 0) {
        return tell(d, fate, size);
    }
    if (in->bound || find_peer(d, &stranger) != 0) {
        in->q.in.aside.node = 0; /* neither the peer nor anybody who has joined */
        atomic_poke(&d->seen->in.refused, d->seen->in.refused + 1);
    }
    return 0;
}

/* A try has said rc: is that all, or must it look on? */
int duct_receive_on(struct duct *d, void *buffer, size_t capacity, size_t *size, int rc, bool wait) {
    struct basin *in = &d->in;
    int fate = 0;
    for (int i = 0; i < STRANGERS_MAX; i++) {
        if (rc == DRAW_STRANGER) {
            rc = meet_stranger(d, size);
            if (rc != 0) {
                return rc;
            }
        } else if (rc != -EAGAIN && rc != DRAW_NOTE) {
            return rc;
        } else if (in->bound) {
            if (rc == DRAW_NOTE) {
                confine(d);
            }
            if (fate != 0 && rc == -EAGAIN) {
                return tell(d, fate, size); /* it was over before the inbox was seen empty */
            }
            fate = duct_fate(&in->peer, (wait && d->carrier->blocks) || duct_hides(&in->peer));
        } else {
            int found = find_peer(d, NULL);
            if (found == -EAGAIN && d->sends && atomic_load(&d->out.final) != 0) { /* pairs with the store in spout.c */
                memcpy(in->peer.who, d->out.peer.who, sizeof in->peer.who);
                in->final = -THIRL_ECLOSED; /* it said goodbye to the other half, and never spoke to this one */
                return say_final(d, size);
            }
            if (found != 0 && found != -EAGAIN) {
                return found;
            }
        }
        if (rc == -EAGAIN && fate == 0) {
            return -EAGAIN;
        }
        rc = draw(d, buffer, capacity, size, wait && fate == 0);
    }
    return -EAGAIN;
}

int duct_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct duct *d = self;
    struct basin *in = &d->in;
    int rc = in->final != 0 ? say_final(d, size)
                            : duct_receive_on(d, buffer, capacity, size, draw(d, buffer, capacity, size, wait), wait);
    if (d->epoll >= 0) {
        bool more = draw_holds(&in->q) || in->q.in.aside.node != 0 || in->final != 0;
        more = more || (in->bound && duct_fate(&in->peer, false) != 0) || (d->carrier->silent && rc != -EAGAIN);
        duct_relight(d, more, in->bound ? &in->peer : NULL);
    }
    return rc;
}

int basin_arm(struct duct *d, struct mech_watch *watch) {
    struct basin *in = &d->in;
    if (draw_holds(&in->q) || in->q.in.aside.node != 0 || in->final != 0) {
        return 1;
    }
    if (in->bound && duct_fate(&in->peer, duct_hides(&in->peer)) != 0) {
        return 1;
    }
    if (queue_watch(&in->q, watch) != 0) {
        return 1;
    }
    duct_guard(in->bound ? &in->peer : NULL, watch);
    return 0;
}
