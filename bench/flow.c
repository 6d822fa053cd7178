/* SPDX-License-Identifier: MIT
 *
 * One way through thirl, of any mechanism: one to one, one to many, many to one. All of the payload is written and read. In a closed loop
 * as fast as it goes, and nothing is timed but the whole; at a given rate each message says when it was meant to leave.
 *
 *   one to many:  publisher: empty messages until all have one | messages 0 … n - 1       receivers pass over empty ones
 *   many to one:  senders wait for `go`, then each sends its part
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/end.h"
#include "bench/pace.h"
#include "bench/payload.h"
#include "bench/peers.h"

#define HELLO 200 /* us from one empty message to the next */
#define MANY (run->warm + run->count)

/* ---- sending ---- */

struct source {
    thirl *end;
    struct payload payload;
    unsigned char *stamped; /* at a rate: a message that begins with its time */
    uint64_t first, sum;
};

static int init_source(struct run *run, struct source *source, bool place) {
    *source = (struct source){0};
    source->stamped = aligned_alloc(64, (run->size + 63) / 64 * 64);
    return payload_init(&source->payload, run->size, place) || !source->stamped
               ? stage_fail(run, STAGE_PING, "no memory for the payload")
               : 0;
}

/* The message of its turn, at its time. */
stage_inline const void *next(const struct run *run, struct source *source, uint64_t i, bool place) {
    if (run->period <= 0) {
        return payload_at(&source->payload, run->size, i);
    }
    uint64_t due = pace_wait(run, source->first, i, 0);
    memcpy(source->stamped, payload_at(&source->payload, run->size, i), run->size);
    memcpy(source->stamped, &due, sizeof due);
    source->sum += (place ? payload_sum_place : payload_sum)(source->stamped, run->size);
    return source->stamped;
}

/* Where nobody waits for what is lost: the slowest receiver of all; with several senders each has its part of the window. */
static void wait_window(const struct run *run, uint64_t i, bool in) {
    for (unsigned turn = 1; run->window; turn++) {
        uint64_t least = UINT64_MAX, sent = in ? i * run->peers : i;
        for (unsigned k = 0; k < (in || run->peers == 0 ? 1 : run->peers); k++) {
            uint64_t received = stage_load(&run->stage->share[peers_share(STAGE_PONG, k)].received);
            least = received < least ? received : least;
        }
        if (sent - least < run->window || sent < least) {
            return;
        }
        if (turn % 64 == 0) {
            (void)sched_yield();
        }
    }
}

stage_inline int send_all(struct run *run, unsigned who, struct source *source, uint64_t count, bool in, bool place) {
    thirl_msg *msg;
    stage_from(run, who);
    source->first = stage_tick();
    for (uint64_t i = 0; i < count; i++) {
        if (run->window) {
            wait_window(run, i, in);
        }
        const void *data = next(run, source, i, place);
        if (!place) {
            if (thirl_send(source->end, data, run->size, THIRL_NEVER)) {
                return end_fail(run, STAGE_PING, "thirl_send");
            }
            continue;
        }
        if (thirl_loan(source->end, &msg, run->size, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_loan");
        }
        memcpy(thirl_msg_data(msg), data, run->size);
        if (thirl_put(source->end, &msg, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_put");
        }
    }
    stage_to(run, who, count);
    run->stage->share[who].sum = run->period > 0 ? source->sum : payload_total(&source->payload, count);
    return 0;
}

/* ---- receiving ---- */

struct sink {
    thirl *end;
    struct payload target;
    uint64_t sum, done;
};

stage_inline void note(struct run *run, unsigned who, struct sink *sink, const void *data, size_t size, bool place) {
    struct stage_share *share = &run->stage->share[who];
    sink->sum += (place ? payload_sum_place : payload_sum)(data, run->size) + (run->size - size);
    sink->done++;
    if (run->window) {
        stage_store(&share->received, sink->done); /* pairs with wait_window */
    }
    if (run->period > 0) {
        uint64_t due;
        memcpy(&due, data, sizeof due);
        if (sink->done > run->warm) {
            hist_add(&share->hist, stage_tick() - due);
        }
    }
    if (__builtin_expect(sink->done == run->warm, 0)) {
        share->begin = stage_now();
    }
}

/* One message; empty ones count for nothing. */
stage_inline int receive(struct run *run, unsigned who, struct sink *sink, thirl_time until, bool place) {
    if (!place) {
        size_t got = 0;
        if (thirl_recv(sink->end, sink->target.bytes, run->size, &got, until)) {
            return end_fail(run, STAGE_PONG, "thirl_recv");
        }
        if (got) {
            note(run, who, sink, sink->target.bytes, got, false);
        }
        return 0;
    }
    thirl_msg *msg;
    if (thirl_take(sink->end, &msg, until)) {
        return end_fail(run, STAGE_PONG, "thirl_take");
    }
    size_t size = thirl_msg_size(msg);
    if (size && size != run->size) {
        return stage_fail(run, STAGE_PONG, "a message of %zu bytes came as %zu", run->size, size);
    }
    if (size) {
        note(run, who, sink, thirl_msg_data(msg), size, true);
    }
    thirl_free(&msg);
    return 0;
}

stage_inline int receive_all(struct run *run, unsigned who, struct sink *sink, bool place) {
    const thirl_time until = run->window ? THIRL_SOON : THIRL_NEVER;
    stage_from(run, who);
    while (sink->done < MANY) {
        if (receive(run, who, sink, until, place)) {
            return -1;
        }
    }
    run->stage->share[who].end = stage_now();
    stage_to(run, who, MANY);
    run->stage->share[who].sum = sink->sum;
    return 0;
}

/* What all processes of a side have left, as the stage wants it. */
static void add_up(struct run *run, enum stage_side side) {
    struct stage *stage = run->stage;
    stage->sum[side] = 0;
    for (unsigned k = 0; k < (run->peers ? run->peers : 1); k++) {
        const struct stage_share *share = &stage->share[peers_share(side, k)];
        stage->sum[side] += share->sum;
        if (side == STAGE_PONG) {
            stage->begin = stage->begin == 0 || share->begin < stage->begin ? share->begin : stage->begin;
            stage->end = share->end > stage->end ? share->end : stage->end;
        }
    }
}

/* ---- one to one ---- */

stage_inline int ping_way(struct run *run, bool place) {
    struct source source;
    struct ends ends;
    if (init_source(run, &source, place) || end_open(run, STAGE_PING, &ends)) {
        return -1;
    }
    source.end = ends.out;
    stage_meet(run, STAGE_PING);
    if (send_all(run, STAGE_PING, &source, MANY, false, place)) {
        return -1;
    }
    run->stage->sum[0] = run->stage->share[STAGE_PING].sum;
    return end_close(run, STAGE_PING, &ends);
}

stage_inline int pong_way(struct run *run, bool place) {
    struct sink sink = {0};
    struct ends ends;
    if (payload_init(&sink.target, run->size, place)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (end_open(run, STAGE_PONG, &ends)) {
        return -1;
    }
    sink.end = ends.in;
    stage_meet(run, STAGE_PONG);
    if (receive_all(run, STAGE_PONG, &sink, place)) {
        return -1;
    }
    add_up(run, STAGE_PONG);
    return end_close(run, STAGE_PONG, &ends);
}

/* ---- one to many ---- */

stage_inline int ping_out(struct run *run, bool place) {
    struct source source;
    if (init_source(run, &source, place)) {
        return -1;
    }
    /* A publisher that does not wait would be measured by what it loses. */
    struct thirl_options options = THIRL_OPTIONS;
    options.full = run->window ? THIRL_FULL_USUAL : THIRL_FULL_BLOCK;
    if (thirl_open(&source.end, THIRL_PUB, run->address, &options)) {
        return end_fail(run, STAGE_PING, "thirl_open");
    }
    while (stage_load(&peers_of(run)->joined) < run->peers) {
        int rc = thirl_send(source.end, "", 0, thirl_in_ms(100));
        if (rc && rc != -EAGAIN && rc != -ETIMEDOUT) {
            return end_fail(run, STAGE_PING, "thirl_send");
        }
        (void)usleep(HELLO);
    }
    stage_meet(run, STAGE_PING);
    if (send_all(run, STAGE_PING, &source, MANY, false, place)) {
        return -1;
    }
    run->stage->sum[0] = run->stage->share[STAGE_PING].sum * run->peers;
    return thirl_close(&source.end, thirl_in_ms(5000)) < 0 ? end_fail(run, STAGE_PING, "thirl_close") : 0;
}

stage_inline int subscribe(struct run *run, unsigned k, bool place) {
    struct sink sink = {0};
    if (payload_init(&sink.target, run->size, place)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (thirl_open(&sink.end, THIRL_SUB, run->address, NULL)) {
        return end_fail(run, STAGE_PONG, "thirl_open");
    }
    if (receive(run, peers_share(STAGE_PONG, k), &sink, THIRL_SOON, place)) {
        return -1;
    }
    peers_count(&peers_of(run)->joined);
    if (k == 0) {
        stage_meet(run, STAGE_PONG);
    }
    if (receive_all(run, peers_share(STAGE_PONG, k), &sink, place)) {
        return -1;
    }
    return thirl_close(&sink.end, THIRL_NOW) < 0 ? end_fail(run, STAGE_PONG, "thirl_close") : 0;
}

static int finish(struct run *run, enum stage_side side, int result) {
    result = peers_gather(run, side) || result ? -1 : 0;
    add_up(run, side);
    return result;
}

/* ---- many to one ---- */

stage_inline int push(struct run *run, unsigned k, bool place) {
    struct source source;
    if (init_source(run, &source, place)) {
        return -1;
    }
    if (thirl_open(&source.end, THIRL_PUSH, run->address, NULL)) {
        return end_fail(run, STAGE_PING, "thirl_open");
    }
    if (k == 0) {
        peers_await(&peers_of(run)->ready, run->peers - 1);
        stage_meet(run, STAGE_PING);
        stage_store(&peers_of(run)->go, 1);
    } else {
        peers_count(&peers_of(run)->ready);
        peers_await(&peers_of(run)->go, 1);
    }
    uint64_t part = MANY / run->peers + (k < MANY % run->peers);
    if (send_all(run, peers_share(STAGE_PING, k), &source, part, true, place)) {
        return -1;
    }
    int left = thirl_close(&source.end, thirl_in_ms(5000));
    return left < 0    ? end_fail(run, STAGE_PING, "thirl_close")
           : left == 0 ? 0
                       : stage_fail(run, STAGE_PING, "thirl_close: %d messages were not taken", left);
}

stage_inline int pull(struct run *run, bool place) {
    struct sink sink = {0};
    if (payload_init(&sink.target, run->size, place)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (thirl_open(&sink.end, THIRL_PULL, run->address, NULL)) {
        return end_fail(run, STAGE_PONG, "thirl_open");
    }
    stage_meet(run, STAGE_PONG);
    if (receive_all(run, STAGE_PONG, &sink, place)) {
        return -1;
    }
    run->stage->sum[1] = run->stage->share[STAGE_PONG].sum;
    run->stage->begin = run->stage->share[STAGE_PONG].begin;
    run->stage->end = run->stage->share[STAGE_PONG].end;
    return thirl_close(&sink.end, THIRL_NOW) < 0 ? end_fail(run, STAGE_PONG, "thirl_close") : 0;
}

#define VARIANT(suffix, place)                                                                                         \
    static int ping_way_##suffix(struct run *run) {                                                                    \
        return ping_way(run, place);                                                                                   \
    }                                                                                                                  \
    static int pong_way_##suffix(struct run *run) {                                                                    \
        return pong_way(run, place);                                                                                   \
    }                                                                                                                  \
    static int ping_out_##suffix(struct run *run) {                                                                    \
        return ping_out(run, place);                                                                                   \
    }                                                                                                                  \
    static int subscribe_##suffix(struct run *run, unsigned k) {                                                       \
        return subscribe(run, k, place);                                                                               \
    }                                                                                                                  \
    static int pong_out_##suffix(struct run *run) {                                                                    \
        return peers_start(run, STAGE_PONG, subscribe_##suffix) ? -1                                                   \
                                                                : finish(run, STAGE_PONG, subscribe_##suffix(run, 0)); \
    }                                                                                                                  \
    static int push_##suffix(struct run *run, unsigned k) {                                                            \
        return push(run, k, place);                                                                                    \
    }                                                                                                                  \
    static int ping_in_##suffix(struct run *run) {                                                                     \
        return peers_start(run, STAGE_PING, push_##suffix) ? -1 : finish(run, STAGE_PING, push_##suffix(run, 0));      \
    }                                                                                                                  \
    static int pong_in_##suffix(struct run *run) {                                                                     \
        return pull(run, place);                                                                                       \
    }                                                                                                                  \
    const struct work flow_way_##suffix = {.ping = ping_way_##suffix, .pong = pong_way_##suffix};                      \
    const struct work flow_out_##suffix = {.ping = ping_out_##suffix, .pong = pong_out_##suffix, .area = true};        \
    const struct work flow_in_##suffix = {.ping = ping_in_##suffix, .pong = pong_in_##suffix, .area = true};
VARIANT(copy, false)
VARIANT(place, true)
