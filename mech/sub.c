/* SPDX-License-Identifier: MIT
 *
 * A subscriber in shared memory: reads every publisher's cast in turn.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/parts.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mech/fan.h"

#define STREAK 16                            /* messages of one publisher before the next one's turn */
#define IDLE 1024                            /* tries in vain before a look at who is there */
#define LIFE_SLICE (1000 * INT64_C(1000000)) /* sleep that long where a death wakes: only against a lost wake-up */
#define DOUBT_SLICE INT64_C(1000000)         /* and so long while a publisher seems to be ending */

int sub_init(struct sub *sub, struct fan *end, const struct thirl_options *options) {
    sub->end = end;
    sub->history = options->history;
    lamp_init(&sub->lamp);
    int rc = feed_seats(sub);
    rc = rc != 0 ? rc : feed_refresh(sub);
    if (rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION) {
        sub->senders = 0; /* one that is no publisher of thirl's is told of by the first receive */
        rc = 0;
    }
    return rc;
}

void sub_joined(struct sub *sub) {
    sub->joined = true;
    weave("sub.join.before");
    hail_count(&sub->end->hail->receivers); /* pairs with the load in pub's make_room */
    weave("sub.join.counted");
    if (sub->end->heavy) {
        (void)futex_fence_heavy();
    }
    atomic_fence();
    for (size_t i = 0; i < sub->feeds; i++) {
        struct feed *feed = sub->feed[i];
        if (!feed->posted && atomic_load(&feed->theirs->cast.floor) > feed->in.lane.at) {
            /* It went on while this end joined: what counts begins now. */
            uint64_t history = sub->history != 0 ? sub->history : feed->theirs->history;
            (void)cast_join(&feed->in, history);
            atomic_poke(&feed->seat->taken, feed->in.number);
            atomic_store(&feed->seat->cursor, feed->in.lane.at);
        }
    }
    hail_ring(&sub->end->hail->room);
}

/* ---- receiving ---- */

/* A publisher that waits for room wants to know how far this end is. */
static __attribute__((noinline)) void answer(struct sub *sub, struct feed *feed) {
    if (feed->in.lane.at < atomic_load(&feed->theirs->want)) { /* pairs with the store in pub_arm */
        return;
    }
    weave("sub.answer.before");
    hail_answer(&sub->end->hail->room);
    uint32_t polled = atomic_load(&feed->theirs->polled);
    if (polled != feed->answered) {
        feed->answered = polled;
        char file[ROLL_FILE_MAX];
        roll_file(file, feed->end, "bell");
        if (feed->fifo < 0) {
            feed->fifo = openat(sub->end->roll.dir, file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        }
        const char byte = 1;
        ssize_t ignored = feed->fifo >= 0 ? write(feed->fifo, &byte, 1) : tube_ring(sub->end->roll.dir, file);
        (void)ignored;
    }
    (void)proc_show_cpu(&sub->own->cpu);
}

HOT inline void sub_answer(struct sub *sub, struct feed *feed) {
    if (feed->waits) {
        if (unlikely(!sub->end->heavy)) {
            atomic_fence();
        } else {
            atomic_order(); /* pairs with the heavy fence in hail_hope */
        }
        if (unlikely(hail_called(&sub->end->hail->room) || atomic_peek(&feed->theirs->polled) != feed->answered)) {
            answer(sub, feed);
        }
    }
}

/* Shows how far this end is. */
static inline void publish(struct sub *sub, struct feed *feed) {
    weave("sub.recv.before");
    atomic_poke(&feed->seat->taken, feed->in.number);
    atomic_store(&feed->seat->cursor, feed->in.lane.at); /* pairs with the load in crowd's cursor_of */
    weave("sub.recv.published");
    sub_answer(sub, feed);
}
static int lied(struct sub *sub, struct feed *feed) {
    int rc =
        err_say(THIRL_EFORMAT, "%s: the publisher, %s, left a damaged record at %llu; it is not listened to any more",
                sub->end->address, feed->who, (unsigned long long)feed->in.lane.at);
    feed_cut(sub, feed);
    return rc;
}

static int slow(struct sub *sub, struct feed *feed) {
    int rc = err_say(ECONNRESET,
                     "%s: this subscriber was too slow for %s, which waits for nobody: it is not listened to any more; "
                     "subscribe again",
                     sub->end->address, feed->who);
    feed_cut(sub, feed);
    return rc;
}

static inline void took(struct sub *sub, struct feed *feed, struct cast_got *got, size_t *size) {
    if (unlikely((got->lost | feed->skipped) != 0)) {
        struct node_count *in = &sub->end->seen->in;
        atomic_poke(&in->lost, in->lost + got->lost);
        atomic_poke(&feed->seat->lost, feed->seat->lost + got->lost);
        got->lost += feed->skipped;
        feed->skipped = 0;
    }
    feed->told = got->lost;
    *size = got->size;
    sub->last = feed;
    sub->number++;
    publish(sub, feed);
}

static inline void turn(struct sub *sub) {
    sub->streak = 0;
    sub->at = sub->at + 1 < sub->feeds ? sub->at + 1 : 0;
}

/* Nothing was there: is everybody still? */
static __attribute__((noinline)) int none(struct sub *sub) {
    sub->idle++;
    if (likely(!sub->doubt && sub->idle % IDLE != 0)) {
        return -EAGAIN;
    }
    sub->doubt = false;
    int rc = feed_tidy(sub);
    sub->doubt = rc != 0; /* there may be another */
    return rc != 0 ? rc : -EAGAIN;
}

/* What lies in the publisher's pool: as cast_read has it, or -EBUSY. Who finds the publisher faster looks on from the floor. */
static __attribute__((noinline)) int grasp(struct sub *sub, struct feed *feed, struct cast_got *got, void *buffer,
                                           size_t capacity, struct mech_note *note) {
    int rc = 2;
    for (int tries = 0; tries < STREAK && rc == 2; tries++) {
        if (feed->cuts && feed->laps != feed->in.laps) {
            return 0; /* it gets no more of this publisher */
        }
        rc = grasp_take(sub, feed, got, buffer, capacity, note);
        if (rc == 0) {
            rc = cast_read(&feed->in, buffer, capacity, got);
        }
    }
    return rc == 2 ? 0 : rc == -EMSGSIZE ? -2 : rc;
}

static inline int next(struct sub *sub, void *buffer, size_t capacity, size_t *size, struct cast_got *got,
                       struct mech_note *note) {
    if (unlikely(atomic_peek(&sub->end->hail->senders) + 1 != sub->senders)) {
        int rc = feed_refresh(sub);
        if (rc != 0) {
            return rc;
        }
    }
    for (size_t i = 0, feeds = sub->feeds; i < feeds; i++) {
        struct feed *feed = sub->feed[sub->at];
        int rc = likely(feed->theirs != NULL) ? cast_read(&feed->in, buffer, capacity, got) : 0;
        if (unlikely(rc == 2)) {
            rc = grasp(sub, feed, got, buffer, capacity, note);
        }
        if (unlikely(feed->laps != feed->in.laps)) {
            feed->laps = feed->in.laps;
            if (feed->cuts) {
                return slow(sub, feed);
            }
        }
        if (likely(rc == 1)) {
            took(sub, feed, got, size);
            if (++sub->streak == STREAK) {
                turn(sub);
            }
            return 0;
        }
        if (unlikely(rc != 0)) {
            *size = rc == -2 ? got->size : 0;
            return rc == -2 ? -EMSGSIZE : rc == -EBUSY ? rc : lied(sub, feed);
        }
        turn(sub);
    }
    if (unlikely(sub->lacks)) { /* what the others have sent goes first; the next call looks for him again */
        sub->lacks = false;
        sub->senders = 0;
    }
    return none(sub);
}

HOT int sub_recv(void *fan, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct sub *sub = &((struct fan *)fan)->sub;
    struct cast_got got;
    (void)wait;
    int rc = next(sub, buffer, capacity, size, &got, NULL);
    if (unlikely(sub->lamp.fifo >= 0)) {
        sub_settle(sub);
    }
    return rc;
}

int sub_recv_noted(void *fan, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct sub *sub = &((struct fan *)fan)->sub;
    struct cast_got got = {0};
    (void)wait;
    note->cookie = 0;
    int rc = next(sub, buffer, capacity, size, &got, note);
    if (rc == 0) {
        note->number = got.number;
        note->lost = got.lost;
    }
    if (unlikely(sub->lamp.fifo >= 0)) {
        sub_settle(sub);
    }
    return rc;
}

void sub_skip(struct sub *sub) {
    sub->last->skipped += sub->last->told + 1; /* there is one: it has just been received */
}

/* Another one of the publisher whose turn it is; what is more than a message has to wait for a call of its own. */
static inline bool one_more(struct sub *sub, void *buffer, size_t capacity, size_t *size) {
    struct cast_got got;
    struct feed *feed = sub->feed[sub->at];
    if (feed->theirs == NULL || feed->cuts || cast_read(&feed->in, buffer, capacity, &got) != 1) {
        return false;
    }
    took(sub, feed, &got, size);
    return true;
}

int sub_recv_many(void *fan, void *buffer, size_t capacity, struct iovec *messages, size_t *count, size_t *bytes) {
    struct sub *sub = &((struct fan *)fan)->sub;
    struct cast_got got;
    size_t n = 0, used = 0;
    int rc = next(sub, buffer, capacity, &messages[0].iov_len, &got, NULL);
    while (rc == 0) {
        messages[n].iov_base = (char *)buffer + used;
        used += (messages[n].iov_len + 7) & ~(size_t)7;
        n++;
        if (n == *count || used > capacity ||
            !one_more(sub, (char *)buffer + used, capacity - used, &messages[n].iov_len)) {
            break;
        }
    }
    if (unlikely(sub->lamp.fifo >= 0)) {
        sub_settle(sub);
    }
    *count = n;
    *bytes = parts_size(messages, n);
    return rc;
}

/* ---- waiting ---- */

int sub_look(struct sub *sub) {
    sub->doubt = true;
    return feed_look(sub) ? 0 : -EAGAIN;
}

/* What wakes whoever sleeps when a publisher dies, and how long one may sleep without. */
static void watch_lives(const struct sub *sub, struct mech_watch *watch) {
    const struct feed *only = NULL;
    watch->slice = LIFE_SLICE;
    for (size_t i = 0; i < sub->feeds; i++) {
        const struct feed *feed = sub->feed[i];
        if (feed->theirs != NULL && feed->node.doubt != 0) {
            watch->slice = DOUBT_SLICE;
            return;
        }
        if (feed->theirs != NULL) {
            bool first = only == NULL && watch->slice == LIFE_SLICE;
            only = first ? feed : NULL;
            watch->slice = first && feed->node.life != NULL ? LIFE_SLICE : MECH_SLICE_NS;
        }
    }
    if (only != NULL && only->node.life != NULL) {
        watch->life = only->node.life;
        watch->life_value = only->node.life_value;
    }
}

int sub_arm(struct sub *sub, struct mech_watch *watch) {
    watch->kind = MECH_WATCH_WORD;
    sub->end->seen->in.waits++;
    weave("sub.arm.before");
    watch->word = &sub->end->hail->came.given;
    watch->value = hail_hope(&sub->end->hail->came, sub->end->heavy);
    watch_lives(sub, watch);
    return feed_ready(sub) ? 1 : 0;
}

void sub_settle(struct sub *sub) {
    if (feed_ready(sub)) {
        lamp_light(&sub->lamp);
        return;
    }
    lamp_guard(&sub->lamp, sub->feeds == 1 && sub->feed[0]->theirs != NULL ? &sub->feed[0]->node : NULL);
    lamp_dark(&sub->lamp);
    (void)hail_hope(&sub->end->hail->polled, sub->end->heavy);
    if (feed_ready(sub)) {
        lamp_light(&sub->lamp);
    }
}

/* ---- leaving ---- */

void sub_close(struct sub *sub) {
    weave("sub.close.before");
    atomic_store(&sub->own->left, 1); /* nobody waits for what it has not taken */
    for (size_t i = 0; i < sub->feeds; i++) {
        post_done(&sub->end->roll, &sub->feed[i]->end);
    }
}

void sub_deinit(struct sub *sub) {
    feed_deinit(sub);
    lamp_deinit(&sub->lamp);
    seg_unmap(&sub->seg);
}
