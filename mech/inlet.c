/* SPDX-License-Identifier: MIT
 *
 * The way in through shared memory: the peer's lane, read in place, and this end's cursor in it.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/copy.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mech/attend.h"
#include "mech/straight.h"
#include "mem/pace.h"

int inlet_init(struct inlet *in, struct shm *end, unsigned mode) {
    in->end = end;
    lamp_init(&in->lamp);
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    mate_file(file, &end->roll.self, "rx", &end->mate);
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    int rc = seg_make(&in->seg, end->roll.dir, unfinished, sizeof(struct shm_rx), 0, mode, end->address);
    if (rc != 0) {
        return rc;
    }
    in->own = (struct shm_rx *)(void *)in->seg.base;
    in->own->mark = (struct shm_mark){SHM_RX_MAGIC,          SHM_VERSION,           end->heavy ? SHM_HEAVY : 0,
                                      sizeof(struct shm_rx), end->roll.self.number, end->roll.self.node};
    in->own->cpu = proc_cpu();
    return 0;
}

/* ---- receiving ---- */

/* The sender may wait for room, or its descriptor. */
static __attribute__((noinline)) int tell(struct inlet *in) {
    if (bell_look(&in->bell) == 0) {
        return 0;
    }
    if (bell_ring(&in->bell, in->lane.at)) {
        mate_open_fifo(in->end, &in->bell, &in->peer, SHM_ROOM_FIFO);
    }
    (void)proc_show_cpu(&in->own->cpu);
    return 0;
}

/* Shows the sender how far this end is, and wakes it if it waits for that. */
static inline int show(struct inlet *in, uint64_t at, uint64_t number) {
    struct shm_rx *own = in->own;
    weave("inlet.recv.before");
    atomic_poke(&own->taken, number);
    atomic_store(&own->cursor, at); /* pairs with the load in reach_cursor */
    weave("inlet.recv.published");
    return bell_is_quiet(&in->bell) ? 0 : tell(in);
}

static inline int publish(struct inlet *in) {
    return show(in, in->lane.at, in->number);
}

/* Unless something is out: the oldest of that holds this back, too. */
static inline void publish_all(struct inlet *in) {
    if (likely(hold_empty(&in->held))) {
        (void)publish(in);
    }
}

/* The message at the lane's position is taken: on to what stands behind it. */
static inline void step(struct inlet *in, uint32_t span) {
    in->lane.at += span;
    in->number++;
    if (unlikely(in->run.left != 0 && --in->run.left == 0)) {
        attend_straighten(in);
    }
}

/* The same where it was copied. */
static void pass(struct inlet *in, uint32_t span) {
    step(in, span);
    publish_all(in);
}

/* The reference in that record, copied. */
static struct pool_ref ref_at(const struct inlet *in) {
    struct pool_ref ref;
    memcpy(&ref, lane_payload(lane_at(&in->lane, in->lane.at)), sizeof ref);
    return ref;
}

/* A record says that its message lies in the pool: may it be so? What it refers to is checked again by whoever uses it. */
static bool is_away(const struct inlet *in, uint32_t size) {
    return !in->end->stream && (size & ~LANE_AWAY) == sizeof(struct pool_ref);
}

/* The next record that is a message: 0, or what recv answers. Who has something already asks nothing of an empty lane (further): that its writer died is said once, and
 * what is said now would be lost. */
static inline int next(struct inlet *in, uint32_t *span, uint32_t *size, bool further) {
    if (unlikely(!in->bound)) {
        int rc = attend_ready(in);
        if (rc != 0) {
            return rc == -EINTR ? -EAGAIN : rc;
        }
    }
    for (;;) {
        if (unlikely(in->run.left != 0)) {
            *span = run_span(&in->run);
            *size = in->run.size;
            return 0;
        }
        int found = lane_look_away(&in->lane, span, size);
        if (likely(found == 1 && (*size & LANE_SKIP) == 0)) {
            if (unlikely((*size & LANE_AWAY) != 0 && !is_away(in, *size))) {
                return attend_lied(in);
            }
            if (in->number - in->caught_up >= PACE_RUN) {
                lane_fetch(lane_at(&in->lane, in->lane.at), *span);
            }
            return 0;
        }
        if (found == 0) {
            int rc = further ? -EAGAIN : attend_empty(in);
            if (rc != -EINTR) {
                return rc;
            }
        } else if (found < 0) {
            return attend_lied(in);
        } else if (lane_is_run(*size)) {
            run_enter(&in->run, *size);
            in->straight = false;
        } else {
            in->lane.at += *span;
            publish_all(in);
        }
    }
}

/* As many bytes as there are: whole records, and of the last one a part. */
static int recv_stream(struct inlet *in, void *buffer, size_t capacity, size_t *size) {
    size_t got = 0;
    uint32_t span = 0, left = 0;
    int rc = 0;
    while (got < capacity && (rc = next(in, &span, &left, got != 0)) == 0) {
        if (unlikely(in->offset > left)) { /* it was longer when its first part was taken */
            rc = attend_lied(in);
            break;
        }
        const char *payload = (const char *)lane_payload(lane_at(&in->lane, in->lane.at)) + in->offset;
        size_t piece = left - in->offset < capacity - got ? left - in->offset : capacity - got;
        copy_any((char *)buffer + got, payload, piece);
        got += piece;
        in->offset += piece;
        if (in->offset == left) {
            in->offset = 0;
            pass(in, span);
        }
    }
    *size = got;
    return got > 0 ? 0 : rc;
}

static int recv_message(struct inlet *in, void *buffer, size_t capacity, size_t *size) {
    uint32_t span = 0, bytes = 0;
    int rc = next(in, &span, &bytes, false);
    if (unlikely(rc != 0)) {
        return rc;
    }
    const void *payload = lane_payload(lane_at(&in->lane, in->lane.at));
    *size = bytes;
    if (unlikely((bytes & LANE_AWAY) != 0)) {
        const struct pool_ref ref = ref_at(in);
        if (!pool_sound(&in->feed->map, &ref)) {
            return attend_lied(in);
        }
        *size = ref.size;
        payload = pool_message(&in->feed->map, &ref);
    }
    if (unlikely(*size > capacity)) {
        return -EMSGSIZE;
    }
    copy_any(buffer, payload, *size);
    pass(in, span);
    return 0;
}

/* recv_message in the midst of a run, where nothing else is to be asked. */
static inline int recv_of_run(struct inlet *in, void *buffer, size_t capacity, size_t *size) {
    *size = in->run.size;
    if (unlikely(in->run.size > capacity)) {
        return -EMSGSIZE;
    }
    copy_any(buffer, lane_payload(lane_at(&in->lane, in->lane.at)), in->run.size);
    step(in, run_span(&in->run));
    return publish(in);
}

/* What a record may need beyond the straight way. */
static __attribute__((noinline)) int recv_with_care(struct shm *end, void *buffer, size_t capacity, size_t *size) {
    struct inlet *in = &end->in;
    if (likely(in->plain && in->run.left != 0)) {
        return recv_of_run(in, buffer, capacity, size);
    }
    int rc = in->end->stream ? recv_stream(in, buffer, capacity, size) : recv_message(in, buffer, capacity, size);
    inlet_settle(in);
    return rc;
}

/* Nothing is there, but will be in a moment: between the looks is nothing else, for whoever comes back by a longer way answers later. While
 * many come in a row this would take the line from their sender again and again (mem/pace.h). */
static __attribute__((noinline)) int linger(struct shm *end, void *buffer, size_t capacity, size_t *size) {
    struct inlet *in = &end->in;
    if (in->number - in->caught_up < PACE_RUN) {
        in->caught_up = in->number;
        pace_linger(&in->lane);
    }
    return inlet_recv(end, buffer, capacity, size, false);
}

/* recv_message for a short one that is there, without a call that would need registers saved. */
int inlet_recv(void *shm, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct inlet *in = &((struct shm *)shm)->in;
    if (unlikely(!in->straight)) {
        return recv_with_care(shm, buffer, capacity, size);
    }
    const struct lane_head *head = lane_at(&in->lane, in->lane.at);
    uint64_t word = atomic_load(&head->word); /* pairs with lane_commit */
    if (unlikely(word == 0 && wait)) {
        return linger(shm, buffer, capacity, size);
    }
    uint32_t span = (uint32_t)word, bytes = (uint32_t)(word >> 32);
    if (unlikely(bytes > COPY_FEW || bytes > capacity || !lane_sound(&in->lane, span, bytes))) { /* 0, too */
        return recv_with_care(shm, buffer, capacity, size);
    }
    if (likely(in->number - in->caught_up >= PACE_RUN)) {
        lane_fetch(head, span);
    }
    *size = bytes;
    copy_few(buffer, lane_payload(head), bytes);
    uint64_t at = in->lane.at + span, number = in->number + 1; /* read again, for a register is dearer */
    in->lane.at = at;
    in->number = number;
    return show(in, at, number);
}

static inline size_t recv_run(struct inlet *in, char *buffer, size_t capacity, struct iovec *messages, size_t count,
                              size_t *bytes) {
    struct lane lane = in->lane;
    size_t n = run_read(&lane, &in->run, buffer, capacity, messages, count, bytes);
    in->lane.at = lane.at;
    in->straight = in->run.left == 0;
    in->number += n;
    return n;
}

int inlet_recv_many(void *shm, void *buffer, size_t capacity, struct iovec *messages, size_t *count, size_t *bytes) {
    struct inlet *in = &((struct shm *)shm)->in;
    size_t n = likely(in->plain) ? recv_run(in, buffer, capacity, messages, *count, bytes) : 0;
    if (likely(n > 0)) {
        *count = n;
        return publish(in);
    }
    int rc = recv_with_care(shm, buffer, capacity, &messages[0].iov_len);
    messages[0].iov_base = buffer;
    *count = rc == 0;
    *bytes = messages[0].iov_len;
    return rc;
}

/* For the list. */
static void show_kept(struct inlet *in) {
    struct node_end *seen = in->end->seen;
    if (likely(seen != NULL)) {
        atomic_poke(&seen->in.held, in->kept);
        atomic_poke(&seen->in.holds, (uint64_t)__builtin_popcountll(in->own->held.mask));
    }
}

#define AWAY (UINT64_C(1) << 63) /* a cookie: of a note */

static int too_many(const struct inlet *in, const struct pool_ref *ref) {
    return err_say(
        EBUSY,
        "%s: this end holds %d messages, %llu bytes, of the %llu that it may hold in the pool of %s; the next "
        "takes %llu: free some first, or have the sender opened with a larger ?pool=",
        in->end->address, __builtin_popcountll(in->own->held.mask), (unsigned long long)in->kept,
        (unsigned long long)in->kept_most, in->peer.who, (unsigned long long)pool_cost(ref));
}

/* Takes what lies in the pool: noted first, then the cursor may move. */
static int take_away(struct inlet *in, struct mech_piece *piece, uint32_t span) {
    const struct pool_ref ref = ref_at(in);
    if (unlikely(!pool_sound(&in->feed->map, &ref))) {
        return attend_lied(in);
    }
    __builtin_prefetch(pool_message(&in->feed->map, &ref));
    struct pool_notes *notes = &in->own->held;
    if (unlikely(pool_cost(&ref) > in->kept_most - in->kept || notes->mask == UINT64_MAX)) {
        /* One by itself may always be held: who says otherwise says so for ever. */
        return pool_cost(&ref) > in->kept_most ? attend_lied(in) : too_many(in, &ref);
    }
    weave("inlet.keep.before");
    unsigned slot = pool_hold(notes, &ref);
    weave("inlet.keep.noted");
    in->kept_size[slot] = pool_cost(&ref);
    in->kept += in->kept_size[slot];
    *piece = (struct mech_piece){.data = pool_message(&in->feed->map, &ref),
                                 .size = ref.size,
                                 .number = in->number,
                                 .cookie = AWAY | slot,
                                 .owner = in->feed};
    in->feed->held++;
    pass(in, span);
    show_kept(in);
    weave("inlet.keep.after");
    return 0;
}

/* It came back: the sender may wait for just that. */
static void let_go(struct inlet *in, unsigned slot) {
    in->kept -= in->kept_size[slot];
    weave("inlet.drop.before");
    pool_drop(&in->own->held, slot);
    weave("inlet.drop.after");
    show_kept(in);
    if (!bell_is_quiet(&in->bell)) {
        (void)tell(in);
    }
}

int inlet_take_with_care(struct inlet *in, struct mech_piece *piece) {
    uint32_t span = 0, bytes = 0;
    int rc = next(in, &span, &bytes, false);
    if (unlikely(rc != 0)) {
        return rc;
    }
    if (unlikely((bytes & LANE_AWAY) != 0)) {
        return take_away(in, piece, span);
    }
    if (unlikely(in->offset > bytes)) { /* of a stream: it was longer when its first part was taken */
        return attend_lied(in);
    }
    if (unlikely(hold_full(&in->held))) {
        return err_say(EBUSY, "%s: %d messages are held already: free one of them first", in->end->address, HOLD_MAX);
    }
    straight_lend(in, piece, bytes);
    in->offset = 0;
    step(in, span);
    in->plain = in->straight = false;
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
    if ((piece->cookie & AWAY) != 0) {
        let_go(in, (unsigned)(piece->cookie & ~AWAY));
        return;
    }
    bool oldest = hold_back(&in->held, piece->cookie);
    weave("inlet.free.before");
    if (hold_empty(&in->held)) {
        attend_straighten(in);
        (void)publish(in);
    } else if (oldest) {
        uint64_t last = hold_oldest(&in->held); /* all before it is free */
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
    bool mute = in->feed == NULL && in->final == 0 && in->end->sends && in->end->mate.node == 0 &&
                mate_lost(in->end, &in->mute);
    return in->dead || mute || in->final != 0 ? 0 : -EAGAIN;
}

bool inlet_ready(struct inlet *in) {
    if (in->final != 0) {
        return true;
    }
    int rc = in->feed == NULL ? attend_find(in) : 0;
    if (rc != 0) {
        return rc != -EAGAIN || attend_other_left(in);
    }
    rc = in->bound ? 0 : attend_bind(in);
    if (rc != 0 && (rc == -THIRL_EFORMAT || attend_is_another(in))) {
        return rc == -THIRL_EFORMAT;
    }
    uint32_t span, size;
    return in->dead || node_peer_changed(&in->peer.node) ||
           (in->bound && (in->run.left != 0 || lane_look(&in->lane, &span, &size) != 0)) ||
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
        bell_show(sleeper);
        watch->word = in->end->roll.change;
        watch->value = atomic_load(watch->word);
        in->change = 0;
    } else {
        watch->value = bell_arm(sleeper, &in->feed->theirs->data, 0, in->peer.heavy);
        watch->word = &in->feed->theirs->data.count;
        watch->life = in->peer.node.life;
        watch->life_value = in->peer.node.life_value;
        watch->timed = bell_timed(sleeper);
    }
    watch->slice = mate_slice(in->feed != NULL ? &in->peer : NULL, in->bound);
    bool waiting = in->feed != NULL;
    if (inlet_ready(in) || waiting != (in->feed != NULL)) {
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
    if (in->lamp.fifo < 0) {
        return;
    }
    in->plain = in->straight = false;
    if (inlet_ready(in)) {
        lamp_light(&in->lamp);
        return;
    }
    lamp_guard(&in->lamp, in->feed != NULL ? &in->peer.node : NULL);
    lamp_dark(&in->lamp);
    struct bell_rope none = {.fenced = 1};
    bell_poll(&in->own->data, in->feed != NULL ? &in->feed->theirs->data : &none, in->peer.heavy);
    if (inlet_ready(in)) {
        lamp_light(&in->lamp);
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
            mate_open_fifo(in->end, &in->bell, &in->peer, SHM_ROOM_FIFO);
        } else if (in->bell.fifo >= 0) {
            bell_write(&in->bell);
        }
    }
    weave("inlet.close.after");
}

void inlet_deinit(struct inlet *in) {
    if (in->feed != NULL) {
        attend_drop(in);
    }
    lamp_deinit(&in->lamp);
    seg_unmap(&in->seg);
}
