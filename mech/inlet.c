/* SPDX-License-Identifier: MIT
 *
 * The way in through shared memory: the peer's lane, read in place, and this end's cursor in it.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mech/shm.h"

int inlet_init(struct inlet *in, struct shm *end, unsigned mode) {
    in->end = end;
    in->post = (struct shm_post){-1, -1, -1, 0, false};
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    roll_file(file, end->roll.self, "rx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    int rc = seg_make(&in->seg, end->roll.dir, unfinished, sizeof(struct shm_rx), 0, mode, end->address);
    if (rc != 0) {
        return rc;
    }
    in->own = (struct shm_rx *)(void *)in->seg.base;
    in->own->mark = (struct shm_mark){SHM_RX_MAGIC, SHM_VERSION, end->heavy ? SHM_HEAVY : 0, sizeof(struct shm_rx),
                                      end->roll.self.number, end->roll.self.node};
    in->own->cpu = proc_cpu();
    return 0;
}

/* ---- the peer ---- */

static void drop_feed(struct inlet *in) {
    struct feed *feed = in->feed;
    bell_end(&in->bell);
    node_peer_close(&in->peer.node);
    in->feed = NULL;
    in->dead = false;
    in->change = 0;
    if (in->bound) {
        in->bound = false;
        atomic_store(&in->own->from.node, 0);
        shm_note(in->end, NULL);
    }
    if (feed->held == 0) {
        seg_unmap(&feed->map);
        free(feed);
    }
}

static int died(struct inlet *in) {
    int rc = err_say(THIRL_EPEERDIED, "%s: the peer, %s, died; all %llu messages that it had sent were received",
                     in->end->address, in->peer.who, (unsigned long long)in->number);
    drop_feed(in);
    return rc;
}

static int gone(struct inlet *in) {
    if (in->feed != NULL) {
        drop_feed(in);
    }
    in->final = in->end->stream ? THIRL_END : -THIRL_ECLOSED;
    return in->final == THIRL_END ? THIRL_END
                                  : err_say(THIRL_ECLOSED, "%s: the peer, %s, closed its end", in->end->address, in->peer.who);
}

static int lied(struct inlet *in) {
    in->final = err_say(THIRL_EFORMAT, "%s: the peer, %s, left a damaged record at %llu; it is not listened to any more",
                        in->end->address, in->peer.who, (unsigned long long)in->lane.at);
    int rc = in->final;
    drop_feed(in);
    return rc;
}

static int find_feed(struct inlet *in) {
    uint32_t change = atomic_load(in->end->roll.change) + 1;
    if (change == in->change) {
        return -EAGAIN;
    }
    in->change = change;
    struct feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL) {
        return err_say(ENOMEM, "%s: no memory for a peer", in->end->address);
    }
    int rc = shm_find(in->end, "tx", SHM_TX_MAGIC, sizeof(struct shm_tx), &feed->map, &in->peer);
    if (rc == 0 && feed->map.ring == 0) {
        rc = err_say(THIRL_EFORMAT, "%s: the segment of %s has no ring", in->end->address, in->peer.who);
        seg_unmap(&feed->map);
        node_peer_close(&in->peer.node);
    }
    if (rc != 0) {
        free(feed);
        return rc;
    }
    feed->theirs = (const struct shm_tx *)(const void *)feed->map.base;
    in->feed = feed;
    return 0;
}

/* Binds to the peer's lane once the peer talks to this end. */
static int bind(struct inlet *in) {
    const struct shm_link *to = &in->feed->theirs->to;
    const struct roll_end *self = &in->end->roll.self;
    if (atomic_load(&to->node) != self->node || atomic_peek(&to->number) != self->number) { /* pairs with talk_to */
        return -EAGAIN;
    }
    uint64_t start = atomic_peek(&to->start);
    in->lane = (struct lane){.ring = in->feed->map.base + in->feed->map.head, .mask = in->feed->map.ring - 1, .at = start};
    in->number = 0;
    in->offset = 0;
    in->held = (struct hold){.first = 0};
    atomic_poke(&in->own->cursor, start);
    atomic_poke(&in->own->taken, 0);
    atomic_poke(&in->own->from.number, in->peer.end.number);
    weave("inlet.bind.before");
    atomic_store(&in->own->from.node, in->peer.end.node); /* pairs with the load in outlet's read_cursor */
    weave("inlet.bind.after");
    bell_begin(&in->bell, &in->own->room, &in->feed->theirs->room, in->peer.heavy, &in->end->seen->in.wakes);
    in->bound = true;
    shm_note(in->end, &in->peer);
    return 0;
}

/* Nothing is in the lane: is there still somebody who could put something there? */
static int empty(struct inlet *in) {
    bool left = (atomic_load(&in->feed->theirs->room.attention) & BELL_GONE) != 0;
    if (!left && !in->dead) {
        if (likely(!node_peer_changed(&in->peer.node))) {
            return -EAGAIN;
        }
        in->dead = !node_peer_alive(&in->peer.node);
    }
    if (!left && !in->dead) {
        return -EAGAIN;
    }
    /* What it committed before it left is visible now, if it was not before. */
    uint32_t span, size;
    if (in->bound && lane_look(&in->lane, &span, &size) != 0) {
        return -EINTR;
    }
    if (!in->bound) {
        drop_feed(in); /* it left before it ever spoke to this end */
        return -EAGAIN;
    }
    return left ? gone(in) : died(in);
}

/* 0: bound to a peer. */
static int ready(struct inlet *in) {
    if (in->final != 0) {
        return in->final == -THIRL_ECLOSED ? gone(in) : in->final;
    }
    if (in->feed == NULL) {
        int rc = find_feed(in);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = in->bound ? 0 : bind(in);
    return rc == -EAGAIN ? empty(in) : rc;
}

/* ---- receiving ---- */

/* Shows the sender how far this end is, and wakes it if it waits for that. */
static inline void publish(struct inlet *in) {
    if (unlikely(!hold_empty(&in->held))) {
        /* The newest piece that is out holds back what was copied behind it, too. */
        in->held.at[(in->held.next - 1) % HOLD_MAX] = in->lane.at;
        return;
    }
    weave("inlet.recv.before");
    atomic_poke(&in->own->taken, in->number);
    atomic_store(&in->own->cursor, in->lane.at); /* pairs with the load in outlet's read_cursor */
    weave("inlet.recv.published");
    if (unlikely(bell_tell(&in->bell) != 0)) {
        if (bell_ring(&in->bell, in->lane.at)) {
            shm_open_fifo(in->end, &in->bell, &in->peer);
        }
        atomic_poke(&in->own->cpu, proc_cpu());
    }
}

/* The next record that is a message: 1, or what recv answers. */
static inline int next(struct inlet *in, uint32_t *span, uint32_t *size) {
    if (unlikely(!in->bound)) {
        int rc = ready(in);
        if (rc != 0) {
            return rc == -EINTR ? -EAGAIN : rc;
        }
    }
    for (;;) {
        int found = lane_look(&in->lane, span, size);
        if (likely(found == 1 && (*size & LANE_SKIP) == 0)) {
            return 0;
        }
        if (found == 0) {
            int rc = empty(in);
            if (rc != -EINTR) {
                return rc;
            }
        } else if (found < 0) {
            return lied(in);
        } else {
            in->lane.at += *span;
            publish(in);
        }
    }
}

/* As many bytes as there are: whole records, and of the last one a part. */
static int recv_stream(struct inlet *in, void *buffer, size_t capacity, size_t *size) {
    size_t got = 0;
    uint32_t span = 0, left = 0;
    int rc = 0;
    while (got < capacity && (rc = next(in, &span, &left)) == 0) {
        const char *payload = (const char *)lane_payload(lane_at(&in->lane, in->lane.at)) + in->offset;
        size_t piece = left - in->offset < capacity - got ? left - in->offset : capacity - got;
        lane_copy((char *)buffer + got, payload, piece);
        got += piece;
        in->offset += piece;
        if (in->offset == left) {
            in->offset = 0;
            in->lane.at += span;
            in->number++;
            publish(in);
        }
    }
    *size = got;
    return got > 0 ? 0 : rc;
}

int inlet_recv(struct inlet *in, void *buffer, size_t capacity, size_t *size) {
    if (unlikely(in->end->stream)) {
        return recv_stream(in, buffer, capacity, size);
    }
    uint32_t span = 0, bytes = 0;
    int rc = next(in, &span, &bytes);
    if (unlikely(rc != 0)) {
        return rc;
    }
    *size = bytes;
    if (unlikely(bytes > capacity)) {
        return err_say(EMSGSIZE, "%s: the message has %u bytes, the buffer %zu: receive it again with more", in->end->address,
                       bytes, capacity);
    }
    lane_copy(buffer, lane_payload(lane_at(&in->lane, in->lane.at)), bytes);
    in->lane.at += span;
    in->number++;
    publish(in);
    return 0;
}

int inlet_take(struct inlet *in, struct mech_piece *piece) {
    uint32_t span = 0, bytes = 0;
    int rc = next(in, &span, &bytes);
    if (unlikely(rc != 0)) {
        return rc;
    }
    if (unlikely(hold_full(&in->held))) {
        return err_say(EBUSY, "%s: the oldest of %d messages is still held: free it first", in->end->address, HOLD_MAX);
    }
    char *payload = lane_payload(lane_at(&in->lane, in->lane.at));
    *piece = (struct mech_piece){.data = payload + in->offset, .size = bytes - in->offset, .number = in->number};
    in->offset = 0;
    in->lane.at += span;
    in->number++;
    piece->cookie = hold_out(&in->held, in->lane.at);
    piece->owner = in->feed;
    in->feed->held++;
    weave("inlet.take.after");
    return 0;
}

void inlet_free(struct inlet *in, struct mech_piece *piece) {
    struct feed *feed = piece->owner;
    feed->held--;
    if (feed != in->feed) {
        if (feed->held == 0) {
            seg_unmap(&feed->map);
            free(feed);
        }
        return;
    }
    bool oldest = piece->cookie == in->held.first;
    hold_back(&in->held, piece->cookie);
    weave("inlet.free.before");
    if (hold_empty(&in->held)) {
        publish(in);
    } else if (oldest) {
        /* Everything before the oldest that is still out is free: that is where the one before it ended. */
        uint64_t last = in->held.at[(in->held.first - 1) % HOLD_MAX];
        atomic_store(&in->own->cursor, last);
        if (bell_tell(&in->bell) != 0) {
            (void)bell_ring(&in->bell, last);
        }
    }
}

/* ---- waiting ---- */

int inlet_look(struct inlet *in) {
    if (in->feed != NULL && !in->dead && !node_peer_alive(&in->peer.node)) {
        in->dead = true;
    }
    return in->dead || in->final != 0 ? 0 : -EAGAIN;
}

static bool stirs(struct inlet *in) {
    if (in->final != 0) {
        return true;
    }
    if (!in->bound) {
        int rc = ready(in);
        if (rc != 0) {
            return rc != -EAGAIN;
        }
    }
    uint32_t span, size;
    return lane_look(&in->lane, &span, &size) != 0 || in->dead || node_peer_changed(&in->peer.node) ||
           (atomic_load(&in->feed->theirs->room.attention) & BELL_GONE) != 0;
}

/* A sender that waits for more room than there is gets none from a receiver that sleeps: it is rung before. */
static void ring_sender(struct inlet *in) {
    if (in->bound && (bell_tell(&in->bell) & BELL_SLEEPERS) != 0) {
        (void)bell_ring(&in->bell, UINT64_MAX);
    }
}

int inlet_arm(struct inlet *in, struct mech_watch *watch) {
    struct bell_sleeper *sleeper = &in->own->data;
    watch->kind = MECH_WATCH_WORD;
    in->end->seen->in.waits++;
    ring_sender(in);
    if (in->feed == NULL) {
        (void)atomic_add(&sleeper->attention, 1);
        watch->word = in->end->roll.change;
        watch->value = atomic_load(watch->word);
        in->change = 0;
    } else {
        watch->value = bell_arm(sleeper, &in->feed->theirs->data, 0, in->peer.heavy);
        watch->word = &in->feed->theirs->data.count;
        watch->life = in->peer.node.life;
        watch->life_value = in->peer.node.life_value;
    }
    watch->slice = watch->life != NULL && in->bound ? SHM_LIFE_SLICE : MECH_SLICE_NS;
    bool waiting = in->feed != NULL;
    if (stirs(in) || waiting != (in->feed != NULL)) {
        bell_disarm(sleeper);
        return 1;
    }
    return 0;
}

int64_t inlet_disarm(struct inlet *in) {
    bell_disarm(&in->own->data);
    return in->feed != NULL ? atomic_peek(&in->feed->theirs->data.at) : 0;
}

void inlet_settle(struct inlet *in) {
    if (in->post.fifo < 0) {
        return;
    }
    if (stirs(in)) {
        shm_post_light(&in->post);
        return;
    }
    shm_post_guard(&in->post, in->feed != NULL ? &in->peer : NULL);
    shm_post_dark(&in->post);
    struct bell_rope none = {.fenced = 1};
    bell_poll(&in->own->data, in->feed != NULL ? &in->feed->theirs->data : &none, in->peer.heavy);
    if (stirs(in)) {
        shm_post_light(&in->post);
    }
}

/* ---- leaving ---- */

void inlet_close(struct inlet *in) {
    weave("inlet.close.before");
    bell_gone(&in->own->data);
    weave("inlet.close.shown");
    if (in->bound) {
        atomic_store(&in->own->room.count, in->own->room.count + 1);
        (void)futex_wake(&in->own->room.count, INT_MAX);
        if (in->bell.fifo < 0 && (atomic_peek(&in->feed->theirs->room.attention) & BELL_POLLED) != 0) {
            shm_open_fifo(in->end, &in->bell, &in->peer);
        } else if (in->bell.fifo >= 0) {
            bell_write(&in->bell);
        }
    }
    weave("inlet.close.after");
}

void inlet_deinit(struct inlet *in) {
    if (in->feed != NULL) {
        drop_feed(in);
    }
    shm_post_deinit(&in->post);
    seg_unmap(&in->seg);
}
