/* SPDX-License-Identifier: MIT
 *
 * The way out through shared memory: this end's lane, and the one peer that reads it.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/copy.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/parts.h"
#include "base/weave.h"
#include "mech/reach.h"

#define STREAM_PIECE ((size_t)128 << 10) /* a stream's bytes are committed in pieces, so that the reader starts early */

int outlet_init(struct outlet *out, struct shm *end, const struct thirl_options *options) {
    out->end = end;
    lamp_init(&out->lamp);
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    mate_file(file, &end->roll.self, "tx", &end->mate);
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    uint64_t pool = stow_bound(end, options);
    int rc = seg_make_pooled(&out->seg, end->roll.dir, unfinished, sizeof(struct shm_tx), options->queue, 2 * pool,
                             options->mode, end->address);
    if (rc != 0) {
        return rc;
    }
    out->own = (struct shm_tx *)(void *)out->seg.base;
    out->own->mark = (struct shm_mark){SHM_TX_MAGIC,          SHM_VERSION,           end->heavy ? SHM_HEAVY : 0,
                                       sizeof(struct shm_tx), end->roll.self.number, end->roll.self.node};
    out->own->cpu = proc_cpu();
    struct proc self;
    proc_self(&self);
    (void)snprintf(out->own->who, sizeof out->own->who, "pid %lld (%.60s)", (long long)self.pid, proc_name(self.exe));
    out->lane = (struct lane){.ring = out->seg.base + out->seg.head, .mask = out->seg.ring - 1};
    lane_begin(&out->lane, 0);
    stow_init(out, pool);
    out->straight = end->stream ? 0 : (end->max < COPY_FEW ? end->max : COPY_FEW) + 1;
    out->wide = wide_here();
    reach_rely(out, false);
    return 0;
}

static int make_room(struct outlet *out, uint32_t span) {
    uint64_t cursor;
    int rc = reach_cursor(out, &cursor);
    if (rc != 0) {
        return rc;
    }
    /* A loan of an earlier conversation may still be written to. */
    if (!hold_empty(&out->loans) && hold_oldest(&out->loans) < cursor) {
        cursor = hold_oldest(&out->loans);
    }
    out->lane.limit = cursor + out->seg.ring;
    if (lane_fits(&out->lane, span)) {
        return 0;
    }
    out->needed = span;
    out->refused = out->lane.at;
    stow_want(out, 0);
    return -EAGAIN;
}

/* What the last message lacked: whatever was sent since, none of it does. */
static uint32_t needed(const struct outlet *out) {
    return out->refused == out->lane.at ? out->needed : 0;
}

/* ---- sending ---- */

/* The peer has left, and shows for ever what it had taken. How many of the last `some` messages did it? The others are refused here,
 * and count as never sent. */
static size_t taken_of(struct outlet *out, size_t some) {
    uint64_t left = reach_untaken(out);
    size_t refused = left < some ? (size_t)left : some;
    out->sent -= refused;
    return some - refused;
}

static void ring(struct outlet *out) {
    if (bell_ring(&out->bell, UINT64_MAX)) {
        mate_open_fifo(out->end, &out->bell, &out->peer, SHM_DATA_FIFO);
    }
    (void)proc_show_cpu(&out->own->cpu);
}

int outlet_tell(struct outlet *out) {
    uint32_t attention = bell_look(&out->bell);
    if ((attention & BELL_GONE) != 0) {
        return taken_of(out, 1) == 1 ? 0 : reach_over(out); /* the next one will be told */
    }
    if (attention != 0) {
        ring(out);
    }
    return 0;
}

/* The same of the last *sent messages; sets it to how many were. */
static __attribute__((noinline)) int tell_of_run(struct outlet *out, size_t *sent) {
    uint32_t attention = bell_look(&out->bell);
    if ((attention & BELL_GONE) != 0) {
        *sent = taken_of(out, *sent);
        return reach_over(out);
    }
    if (attention != 0) {
        ring(out);
    }
    return 0;
}

static int too_large(const struct outlet *out, size_t size) {
    const char *option = "max";
    size_t more = size;
    if (out->end->max == out->most) {
        option = out->most > out->within ? "pool" : "queue";
        more = out->most > out->within ? 4 * size : size + 2 * sizeof(struct lane_head);
    }
    return err_say(EMSGSIZE,
                   "%s: a message of %zu bytes is larger than the %llu that fit; open it with ?%s=%llu or more",
                   out->end->address, size, (unsigned long long)out->end->max, option, (unsigned long long)more);
}

/* A message that the lane could not hold. */
static __attribute__((noinline)) int send_away(struct outlet *out, const void *data, size_t size) {
    uint32_t span = lane_step(&out->lane, sizeof(struct pool_ref)), chunk;
    int rc = lane_fits(&out->lane, span) ? 0 : make_room(out, span);
    rc = rc != 0 ? rc : stow_place(out, size, &chunk);
    if (rc != 0) {
        return rc;
    }
    memcpy(pool_data(&out->pool, chunk), data, size);
    weave("outlet.away.written");
    struct lane_head *head = lane_reserve(&out->lane, span);
    stow_commit(out, head, span, chunk, size, out->lane.at);
    out->sent++;
    int told = bell_is_quiet(&out->bell) ? 0 : outlet_tell(out);
    stow_ahead(out, size);
    return told;
}

static int send_one(struct outlet *out, const void *data, size_t size) {
    uint32_t span = lane_step(&out->lane, size);
    if (unlikely(!lane_fits(&out->lane, span))) {
        int rc = make_room(out, span);
        if (rc != 0) {
            return rc;
        }
    }
    weave("outlet.send.before");
    struct lane_head *head = lane_reserve(&out->lane, span);
    copy_any(lane_payload(head), data, size);
    weave("outlet.send.written");
    lane_commit(head, span, (uint32_t)size);
    weave("outlet.send.committed");
    out->sent++;
    return bell_is_quiet(&out->bell) ? 0 : outlet_tell(out);
}

static int send_stream(struct outlet *out, const void *data, size_t size, size_t *done) {
    size_t quarter = out->seg.ring / 4;
    size_t most = STREAM_PIECE < quarter ? STREAM_PIECE : quarter;
    while (*done < size) {
        size_t piece = size - *done < most ? size - *done : most;
        int rc = send_one(out, (const char *)data + *done, piece);
        if (rc != 0) {
            return rc;
        }
        *done += piece;
    }
    return 0;
}

/* What a message may need beyond the straight way. */
static __attribute__((noinline)) int send_with_care(struct shm *end, const void *data, size_t size, size_t *done) {
    struct outlet *out = &end->out;
    int rc = reach_is_ready(out) ? 0 : reach_ready(out);
    if (rc == 0 && out->end->stream) {
        rc = send_stream(out, data, size, done);
    } else if (rc == 0) {
        rc = size > out->end->max ? too_large(out, size)
             : size > out->within ? send_away(out, data, size)
                                  : send_one(out, data, size);
    }
    if (out->lamp.fifo >= 0) {
        outlet_settle(out);
    }
    return rc;
}

/* send_one for a short message while there is room and nobody sleeps, without a call that would need registers saved. */
int outlet_send(void *shm, const void *data, size_t size, size_t *done, bool wait) {
    struct outlet *out = &((struct shm *)shm)->out;
    (void)wait;
    if (unlikely(!reach_is_ready(out) || size >= out->straight)) {
        return send_with_care(shm, data, size, done);
    }
    uint32_t span = lane_step(&out->lane, size);
    if (unlikely(!lane_fits(&out->lane, span))) {
        return send_with_care(shm, data, size, done);
    }
    weave("outlet.send.before");
    struct lane_head *head = lane_reserve(&out->lane, span);
    copy_few(lane_payload(head), data, size);
    weave("outlet.send.written");
    lane_commit(head, span, (uint32_t)size);
    weave("outlet.send.committed");
    out->sent++;
    return bell_is_quiet(&out->bell) ? 0 : outlet_tell(out);
}

/* Sends as many of the messages as fit in one go. Their number, and adds their bytes. */
static inline size_t send_run(struct outlet *out, const struct iovec *messages, size_t count, size_t *bytes) {
    struct lane lane = out->lane;
    uint64_t first = 0;
    uint64_t most = out->end->max < out->within ? out->end->max : out->within;
    size_t n = run_write(&lane, messages, count, most, bytes, &first, out->wide);
    if (n > 0) {
        weave("outlet.many.written");
        uint64_t begin = out->lane.at;
        out->lane.at = lane.at;
        out->sent += n;
        run_commit(&lane, begin, first);
        weave("outlet.many.committed");
    }
    return n;
}

int outlet_send_many(void *shm, const struct iovec *messages, size_t *count, size_t *bytes) {
    struct outlet *out = &((struct shm *)shm)->out;
    size_t wanted = *count, n = 0, sum = 0;
    int rc = 0;
    while (n < wanted && rc == 0 && parts_there(messages + n)) {
        size_t some =
            likely(reach_is_ready(out) && out->straight != 0) ? send_run(out, messages + n, wanted - n, &sum) : 0;
        if (likely(some > 0)) {
            rc = bell_is_quiet(&out->bell) ? 0 : tell_of_run(out, &some);
            n += some;
        } else {
            size_t done = 0;
            rc = send_with_care(shm, messages[n].iov_base, messages[n].iov_len, &done);
            n += rc == 0;
            sum += rc == 0 ? messages[n - 1].iov_len : 0;
        }
    }
    *count = n;
    *bytes = unlikely(rc != 0) ? parts_size(messages, n) : sum; /* of those that were taken back nothing counts */
    return n > 0 && rc == -EAGAIN ? 0 : rc;
}

/* Reserves the record of a loan: the message itself, or where it lies. */
static void lend(struct outlet *out, struct mech_piece *piece, uint32_t span, uint32_t chunk) {
    weave("outlet.loan.before");
    uint64_t at = out->lane.at;
    struct lane_head *head = lane_reserve(&out->lane, span);
    *piece = (struct mech_piece){.data = lane_payload(head), .capacity = span - sizeof *head};
    piece->cookie = hold_out(&out->loans, at);
    piece->number = out->conversation;
    piece->owner = (char *)head + span;
    piece->via = (void *)(uintptr_t)chunk;
    weave("outlet.loan.after");
}

/* The file system has no place for it, but the lane has. */
static int loan_within(struct outlet *out, struct mech_piece *piece, size_t size) {
    uint32_t span = lane_step(&out->lane, size);
    int rc = lane_fits(&out->lane, span) ? 0 : make_room(out, span);
    if (rc == 0) {
        lend(out, piece, span, POOL_NONE);
    }
    return rc;
}

/* Nothing was lent: from now on the descriptor tells of what was lacking. */
static __attribute__((noinline)) int in_vain(struct outlet *out, int rc) {
    outlet_settle(out);
    return rc;
}

int outlet_loan(struct outlet *out, struct mech_piece *piece, size_t size) {
    int rc = reach_is_ready(out) ? 0 : reach_ready(out);
    if (rc != 0) {
        return in_vain(out, rc);
    }
    if (size > out->end->max) {
        return too_large(out, size);
    }
    bool away = (size >= out->lends && size <= out->pool.most) || size > out->within;
    uint32_t span = lane_step(&out->lane, away ? sizeof(struct pool_ref) : size), chunk = POOL_NONE;
    if (hold_full(&out->loans)) {
        return -EBUSY;
    }
    if (!lane_fits(&out->lane, span) && (rc = make_room(out, span)) != 0) {
        return in_vain(out, rc);
    }
    if (away && (rc = stow_place(out, size, &chunk)) != 0) {
        rc = rc == -ENOSPC && size <= out->within ? loan_within(out, piece, size) : rc;
        return rc == 0 ? 0 : in_vain(out, rc);
    }
    lend(out, piece, span, chunk);
    if (away) {
        piece->data = pool_data(&out->pool, chunk);
        piece->capacity = size;
    }
    return 0;
}

/* Commits a loan: as a message, or as a gap that the reader passes over. */
static void commit(struct outlet *out, struct mech_piece *piece, bool message) {
    uint64_t at = out->loans.at[piece->cookie];
    struct lane_head *head = lane_at(&out->lane, at);
    uint32_t span = (uint32_t)((char *)piece->owner - (char *)head);
    uint32_t chunk = (uint32_t)(uintptr_t)piece->via;
    (void)hold_back(&out->loans, piece->cookie);
    weave("outlet.put.before");
    if (chunk != POOL_NONE && message) {
        stow_commit(out, head, span, chunk, piece->size, at + span);
    } else {
        lane_commit(head, span, message ? (uint32_t)piece->size : LANE_SKIP);
    }
    if (chunk != POOL_NONE && !message) {
        pool_back(&out->pool, chunk);
    }
    weave("outlet.put.committed");
}

int outlet_put(struct outlet *out, struct mech_piece *piece) {
    bool stale = piece->number != out->conversation;
    commit(out, piece, !stale);
    if (stale) {
        return out->final == -THIRL_ECLOSED
                   ? reach_gone(out)
                   : err_say(THIRL_EPEERDIED, "%s: the peer that this message was for has died", out->end->address);
    }
    out->sent++;
    int rc = bell_is_quiet(&out->bell) ? 0 : outlet_tell(out);
    if ((uint32_t)(uintptr_t)piece->via != POOL_NONE) {
        stow_ahead(out, piece->capacity);
    }
    return rc;
}

void outlet_free(struct outlet *out, struct mech_piece *piece) {
    commit(out, piece, false);
    /* What was sent behind the loan can be read now. */
    if (out->linked && bell_tell(&out->bell) != 0) {
        (void)bell_ring(&out->bell, UINT64_MAX);
    }
    if (out->end->seen != NULL) { /* the end is not closed, and the loan's place in the pool may be what was lacking */
        outlet_settle(out);
    }
}

int outlet_send_lent(struct outlet *out, const uint64_t *head, size_t words, const void *data, size_t size) {
    struct mech_piece piece;
    const size_t first = words * sizeof *head;
    int rc = outlet_loan(out, &piece, first + size);
    if (rc != 0) {
        return rc;
    }
    memcpy(piece.data, head, first);
    copy_any((char *)piece.data + first, data, size);
    piece.size = first + size;
    return outlet_put(out, &piece);
}

/* ---- waiting ---- */

int outlet_flush(struct outlet *out, uint64_t *left) {
    *left = out->lost;
    if (!out->linked) {
        return out->lost == 0 ? 0 : -THIRL_EPEERDIED;
    }
    uint64_t cursor;
    int rc = reach_is_ready(out) ? 0 : reach_ready(out);
    rc = rc != 0 ? rc : reach_cursor(out, &cursor);
    if (rc != 0) {
        *left = out->lost;
        return rc;
    }
    *left = reach_untaken(out);
    weave("outlet.flush.counted");
    out->flushing = *left != 0;
    if (*left != 0 && (atomic_peek(&out->theirs->data.attention) & BELL_GONE) != 0) {
        rc = reach_over(out);
        *left = out->lost; /* what it had taken when it left counts, not what it had a moment before */
        return rc;
    }
    return *left == 0 ? 0 : -EAGAIN;
}

int outlet_look(struct outlet *out) {
    if (out->linked && out->told == 0 && !node_peer_alive(&out->peer.node)) {
        out->told = 1;
        reach_rely(out, false);
    }
    return out->told != 0 || out->final != 0 ? 0 : -EAGAIN;
}

/* Is there anything that the next try would answer? */
bool outlet_ready(struct outlet *out) {
    if (out->final != 0 || out->told != 0) {
        return true;
    }
    if (!out->linked) {
        return reach_other_left(out) || reach_find(out) != -EAGAIN;
    }
    if (node_peer_changed(&out->peer.node) || (atomic_load(&out->theirs->data.attention) & BELL_GONE) != 0) {
        return true;
    }
    if (out->flushing) {
        return reach_untaken(out) == 0;
    }
    uint32_t span = needed(out);
    return make_room(out, span == 0 ? lane_span(1) : span) != -EAGAIN && stow_ready(out);
}

int outlet_arm(struct outlet *out, struct mech_watch *watch) {
    struct bell_sleeper *sleeper = &out->own->room;
    watch->kind = MECH_WATCH_WORD;
    out->end->seen->out.waits++;
    if (!out->linked) {
        bell_show(sleeper);
        watch->word = out->end->roll.change;
        watch->value = atomic_load(watch->word);
        out->change = 0; /* look even if nothing seems to have changed */
    } else {
        /* Not before a quarter is free: a sleeper that is woken for each message is slower than one that is not. */
        uint64_t ring = out->seg.ring, at = out->lane.at;
        uint64_t fits = at + needed(out) + sizeof(struct lane_head);
        uint64_t want = at > ring - ring / 4 ? at - (ring - ring / 4) : 0;
        want = fits > ring && fits - ring > want ? fits - ring : want;
        want = out->flushing ? at : out->wanted != 0 ? 0 : want; /* what is freed moves no cursor */
        watch->value = bell_arm(sleeper, &out->theirs->room, want, out->peer.heavy);
        watch->word = &out->theirs->room.count;
        watch->life = out->peer.node.life;
        watch->life_value = out->peer.node.life_value;
        watch->timed = bell_timed(sleeper);
    }
    watch->slice = mate_slice(out->linked ? &out->peer : NULL, true);
    if (outlet_ready(out)) {
        bell_disarm(sleeper);
        return 1;
    }
    return 0;
}

int64_t outlet_disarm(struct outlet *out) {
    bell_disarm(&out->own->room);
    return out->linked ? atomic_peek(&out->theirs->room.at) : 0;
}

void outlet_poll(struct outlet *out) {
    if (out->linked) {
        atomic_poke(&out->own->room.want, 0);
        bell_poll(&out->own->room, &out->theirs->room, out->peer.heavy);
    }
}

void outlet_settle(struct outlet *out) {
    if (out->lamp.fifo < 0) {
        return;
    }
    out->straight = 0;
    lamp_guard(&out->lamp, out->linked ? &out->peer.node : NULL);
    if (outlet_ready(out)) {
        lamp_light(&out->lamp);
        return;
    }
    lamp_dark(&out->lamp);
    outlet_poll(out);
    if (outlet_ready(out)) {
        lamp_light(&out->lamp);
    }
}

/* ---- leaving ---- */

void outlet_close(struct outlet *out) {
    weave("outlet.close.before");
    bell_gone(&out->own->room);
    weave("outlet.close.shown");
    /* Who has not been spoken to may sleep on it all the same. */
    atomic_store(&out->own->data.count, out->own->data.count + 1);
    (void)futex_wake(&out->own->data.count, INT_MAX);
    if (out->end->door != NULL) {
        (void)door_knock(out->end->door, out->linked ? out->bell.seat : 0); /* at seat 0 it looks at everybody */
        if (door_asks(out->end->door)) {
            (void)mate_ring_fifo(&out->end->roll, &out->end->mate, SHM_DATA_FIFO);
        }
    } else if (out->linked) {
        if (out->bell.fifo < 0 && (atomic_peek(&out->theirs->data.attention) & BELL_POLLED) != 0) {
            mate_open_fifo(out->end, &out->bell, &out->peer, SHM_DATA_FIFO);
        } else if (out->bell.fifo >= 0) {
            bell_write(&out->bell);
        }
    }
    weave("outlet.close.after");
}

void outlet_deinit(struct outlet *out) {
    if (out->linked) {
        bell_end(&out->bell);
        seg_unmap(&out->map);
        node_peer_close(&out->peer.node);
    }
    lamp_deinit(&out->lamp);
    pool_deinit(&out->pool);
    seg_unmap(&out->seg);
}
