/* SPDX-License-Identifier: MIT
 *
 * The sending half of a duct: see duct.h.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"
#include "mech/duct.h"

static uint64_t taken_of(const struct duct *d) {
    const struct spout *out = &d->out;
    const struct duct_page *page = out->peer.page;
    bool ours = atomic_load(&page->from.node) == d->roll.self.node && /* pairs with bind in basin.c */
                atomic_peek(&page->from.number) == d->roll.self.number;
    uint64_t taken = ours ? atomic_load(&page->from.taken) : 0;
    return taken < out->sent ? taken : out->sent;
}

static void unlink_peer(struct duct *d) {
    struct spout *out = &d->out;
    out->lost = out->sent - taken_of(d) + (out->q.out.rest.size != out->q.out.rest.done);
    if (out->linked) {
        out->q.carrier->close(out->q.carried);
    }
    out->q.out.rest.size = out->q.out.rest.done = 0;
    out->q.out.busy = false;
    out->linked = false;
    out->sent = 0;
    out->change = 0;
    duct_part(&out->peer);
    duct_note(d, NULL);
}

/* The peer has left or died: says so, once for a death, and is ready for the next one. */
static __attribute__((noinline)) int tell(struct duct *d, int fate) {
    struct spout *out = &d->out;
    char who[NODE_PEER_MAX];
    uint64_t sent = out->sent;
    memcpy(who, out->peer.who, sizeof who);
    unlink_peer(d);
    if (fate == -THIRL_ECLOSED) {
        atomic_store(&out->final, fate); /* pairs with the load in basin.c */
    } else {
        atomic_store(&d->page->to.node, 0); /* free for another one, as it is not after a goodbye */
        roll_tell(&d->roll);
    }
    return err_say(-fate, "%s: the peer, %s, %s; %llu of %llu messages sent to it were not received", d->address, who,
                   fate == -THIRL_ECLOSED ? "closed its end" : "died", (unsigned long long)out->lost,
                   (unsigned long long)sent);
}

void spout_greet(struct duct *d) {
    struct queue *q = &d->out.q;
    unsigned char wire[FRAG_TAIL];
    struct frag_label label = q->out.label;
    label.type = FRAG_NOTE;
    label.total = label.offset = 0;
    label.piece = 1;
    const struct iovec part = {wire, frag_tail(wire, &label, 0, q->facts.packet)};
    if (q->carrier->send(q->carried, &part, 1, NULL, false) == 0) {
        q->out.label.packet++;
    }
    queue_ring(q); /* even if there is no room: what it says is elsewhere */
}

/* The peer is mapped. */
static int link_to(struct duct *d, const struct roll_end *found) {
    struct spout *out = &d->out;
    char place[CARRIER_PLACE_MAX], source[CARRIER_PLACE_MAX] = "";
    memcpy(place, out->peer.page->place, sizeof place);
    place[sizeof place - 1] = '\0';
    const struct carrier_open wanted = {
        .kind = CARRIER_PLACE, .way = MECH_OUT, .address = d->address, .place = place, .options = &d->options};
    bool free = duct_fate(&out->peer, true) == 0 && !duct_taken(d, &out->peer);
    int rc = !free ? -EAGAIN : duct_half(d, &out->q, &wanted, source);
    weave("spout.link.opened");
    if (rc == 0) {
        rc = post_put(&d->roll, found);
        if (rc != 0) {
            out->q.carrier->close(out->q.carried);
        }
    }
    if (rc != 0) {
        duct_part(&out->peer);
        return rc == -ENOENT ? -EAGAIN : rc;
    }
    memcpy(d->page->source, source, sizeof source);
    atomic_poke(&d->page->to.number, found->number);
    atomic_store(&d->page->to.node, found->node); /* pairs with duct_taken and confine */
    d->seen->queue = out->q.facts.bytes;
    out->linked = true;
    out->sent = out->lost = 0;
    push_begin(&out->q, d->roll.self.node, d->roll.self.number);
    if (!d->stream && out->q.max > out->peer.page->max) {
        out->q.max = out->peer.page->max;
    }
    duct_note(d, &out->peer);
    duct_introduce(d, &d->linked, found);
    spout_greet(d);
    weave("spout.link.after");
    return 0;
}

static int find_any(struct duct *d) {
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    if (duct_met(d, &d->met, &d->out.peer)) {
        if (duct_fate(&d->out.peer, true) == -THIRL_ECLOSED) {
            return tell(d, -THIRL_ECLOSED);
        }
        found = d->out.peer.end;
        int rc = link_to(d, &found);
        if (rc != -EAGAIN) {
            return rc;
        }
    }
    if (roll_find(&d->roll, "rx", &found) != 0) {
        return -EAGAIN;
    }
    roll_file(file, found, "rx");
    int rc = duct_meet(d, &d->out.peer, &found, file);
    return rc == 0 ? link_to(d, &found) : rc;
}

int spout_find(struct duct *d) {
    struct spout *out = &d->out;
    uint32_t change = atomic_load(d->roll.change) + 1; /* pairs with roll_tell */
    if (out->change == change) {
        return -EAGAIN;
    }
    int rc = find_any(d);
    out->change = rc == -EAGAIN ? change : 0;
    return rc;
}

static int ready(struct duct *d) {
    struct spout *out = &d->out;
    if (out->final != 0) {
        return err_say(THIRL_ECLOSED, "%s: the peer, %s, closed its end", d->address, out->peer.who);
    }
    if (!out->linked) {
        return spout_find(d);
    }
    int fate = duct_fate(&out->peer, false);
    return fate == 0 ? 0 : tell(d, fate);
}

/* Bytes leave in packets of their own: a reader takes what there is. */
static int send_bytes(struct duct *d, const char *data, size_t size, size_t *done, bool wait) {
    struct spout *out = &d->out;
    size_t most = out->q.facts.packet - FRAG_LABEL;
    int rc = 0;
    for (int64_t until = 0; rc == 0 && *done < size;) {
        size_t some = size - *done < most ? size - *done : most, sub = 0;
        rc = queue_send(&out->q, data + *done, some, &sub, wait);
        *done += rc == 0 ? some : 0;
        out->sent += rc == 0;
        if (wait && *done < size) {
            int64_t now = clock_now();
            until = until == 0 ? now + MECH_SLICE_NS : until;
            wait = now < until;
        }
    }
    return rc;
}

/* A try has not sent it: is there still anybody? */
int duct_refused(struct duct *d, int rc, bool wait) {
    struct duct_peer *peer = &d->out.peer;
    if (rc == -EAGAIN || rc == -EPIPE) {
        int fate = duct_fate(peer, (wait && d->carrier->blocks) || rc == -EPIPE || duct_hides(peer));
        return fate != 0 ? tell(d, fate) : -EAGAIN;
    }
    return rc;
}

int duct_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct duct *d = self;
    struct spout *out = &d->out;
    if (size > d->max && !d->stream) {
        return err_say(EMSGSIZE, "%s: a message of %zu bytes is larger than the %llu that this end carries (?max)",
                       d->address, size, (unsigned long long)d->max);
    }
    int rc = ready(d);
    if (rc == 0) {
        rc = d->stream ? send_bytes(d, data, size, done, wait) : queue_send(&out->q, data, size, done, wait);
        out->sent += rc == 0 && !d->stream;
        rc = rc == 0 ? 0 : duct_refused(d, rc, wait);
    }
    if (d->epoll >= 0 && !d->receives) {
        duct_relight(d, out->final != 0 || (rc == 0 && d->carrier->silent), out->linked ? &out->peer : NULL);
    }
    return rc;
}

int duct_settle(void *self, const void *data, size_t size, size_t done) {
    struct duct *d = self;
    if (d->stream) {
        return 0;
    }
    if (!d->out.q.out.busy) { /* another thread was told first */
        return err_say(d->out.final != 0 ? THIRL_ECLOSED : THIRL_EPEERDIED,
                       "%s: the peer to whom a part of this message was sent is gone", d->address);
    }
    d->out.sent++;
    return queue_settle(&d->out.q, data, size, done);
}

int duct_flush(void *self, uint64_t *left) {
    struct duct *d = self;
    struct spout *out = &d->out;
    if (!out->linked) {
        *left = out->lost;
        return out->lost == 0 ? 0 : -THIRL_EPEERDIED;
    }
    int rc = push_rest(&out->q, false);
    *left = out->sent - taken_of(d);
    if (*left == 0 && rc == 0) {
        return 0;
    }
    int fate = duct_fate(&out->peer, true);
    out->flushing = true;
    /* What it had taken when it left counts, not what it had a moment before. */
    *left = out->sent - taken_of(d);
    return *left == 0 ? 0 : fate != 0 ? fate : -EAGAIN;
}

int spout_arm(struct duct *d, struct mech_watch *watch) {
    struct spout *out = &d->out;
    if (!out->linked) {
        const uint32_t looked = out->change; /* 0: what was there could not be linked to */
        watch->kind = MECH_WATCH_WORD;
        watch->word = d->roll.change;
        watch->value = looked == 0 ? atomic_load(watch->word) : looked - 1;
        watch->slice = looked == 0 ? CLOCK_MS : MECH_SLICE_NS;
        out->change = 0; /* then it looks even if nothing seems to have changed */
        return out->final != 0;
    }
    if (duct_fate(&out->peer, duct_hides(&out->peer)) != 0) {
        return 1;
    }
    if (out->flushing && out->q.out.rest.size == out->q.out.rest.done) {
        queue_pause(&out->q, watch);
    } else if (queue_watch(&out->q, watch) != 0) {
        return 1;
    }
    duct_guard(&out->peer, watch);
    return 0;
}
