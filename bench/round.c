/* SPDX-License-Identifier: MIT
 *
 * Round trips through thirl: with copies (send, recv) and handed over in place (loan, put, take, free).
 */
#include "bench/end.h"
#include "bench/payload.h"

/* What is counted in the steady part, beside time. */
static void count_from(struct run *run, enum stage_side side) {
    run->stage->allocations[side] = count_allocations();
}

static void count_to(struct run *run, enum stage_side side) {
    run->stage->allocations[side] = run->count ? count_allocations() - run->stage->allocations[side] : 0;
    run->stage->threads[side] = stage_threads();
}

stage_inline void keep(struct run *run, uint64_t i, uint64_t *last) {
    uint64_t tick = stage_tick();
    if (i >= run->warm) {
        stage_keep(run->stage, i - run->warm, tick - *last);
    }
    *last = tick;
}

static void sum_up(struct run *run, uint64_t sent) {
    run->stage->samples = run->count < STAGE_SAMPLES ? run->count : STAGE_SAMPLES;
    run->stage->sum[0] = sent;
}

static int ping_copy(struct run *run) {
    struct ends ends;
    size_t size = run->size, got = 0;
    struct payload payload, target;
    uint64_t sum = 0, last = 0, sent;
    if (payload_init(&payload, size, false) || payload_init(&target, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (end_open(run, STAGE_PING, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (i == run->warm) {
            count_from(run, STAGE_PING);
        }
        if (thirl_send(ends.out, payload_at(&payload, size, i), size, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_send");
        }
        if (thirl_recv(ends.in, target.bytes, size, &got, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_recv");
        }
        sum += payload_sum(target.bytes, size) + (size - got);
        keep(run, i, &last);
    }
    count_to(run, STAGE_PING);
    sent = payload_total(&payload, run->warm + run->count);
    sum_up(run, sent);
    if (sum != sent) {
        return stage_fail(run, STAGE_PING, "the payload came back changed");
    }
    return end_close(run, STAGE_PING, &ends);
}

static int pong_copy(struct run *run) {
    struct ends ends;
    size_t size = run->size, got = 0;
    struct payload target;
    uint64_t sum = 0;
    if (payload_init(&target, size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (end_open(run, STAGE_PONG, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (i == run->warm) {
            count_from(run, STAGE_PONG);
        }
        if (thirl_recv(ends.in, target.bytes, size, &got, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_recv");
        }
        sum += payload_sum(target.bytes, size);
        if (thirl_send(ends.out, target.bytes, got, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_send");
        }
    }
    count_to(run, STAGE_PONG);
    run->stage->sum[1] = sum;
    return end_close(run, STAGE_PONG, &ends);
}

static int pass(struct run *run, enum stage_side side, const struct ends *ends, uint64_t word) {
    thirl_msg *msg;
    if (thirl_loan(ends->out, &msg, run->size, THIRL_NEVER)) {
        return end_fail(run, side, "thirl_loan");
    }
    memcpy(thirl_msg_data(msg), &word, sizeof word);
    return thirl_put(ends->out, &msg, THIRL_NEVER) ? end_fail(run, side, "thirl_put") : 0;
}

static int get(struct run *run, enum stage_side side, const struct ends *ends, uint64_t *word) {
    thirl_msg *msg;
    if (thirl_take(ends->in, &msg, THIRL_NEVER)) {
        return end_fail(run, side, "thirl_take");
    }
    if (thirl_msg_size(msg) != run->size) {
        return stage_fail(run, side, "a message of %zu bytes came as %zu", run->size, thirl_msg_size(msg));
    }
    memcpy(word, thirl_msg_data(msg), sizeof *word);
    thirl_free(&msg);
    return 0;
}

typedef int opener(struct run *, enum stage_side, struct ends *);

static int ping_through(struct run *run, opener *open) {
    struct ends ends;
    uint64_t word = 0, last = 0, sent = 0;
    if (open(run, STAGE_PING, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (i == run->warm) {
            count_from(run, STAGE_PING);
        }
        if (pass(run, STAGE_PING, &ends, i) || get(run, STAGE_PING, &ends, &word)) {
            return -1;
        }
        if (word != ~i) {
            return stage_fail(run, STAGE_PING, "the payload came back changed");
        }
        sent += i;
        keep(run, i, &last);
    }
    count_to(run, STAGE_PING);
    sum_up(run, sent);
    return end_close(run, STAGE_PING, &ends);
}

static int pong_through(struct run *run, opener *open) {
    struct ends ends;
    uint64_t word = 0, sum = 0;
    if (open(run, STAGE_PONG, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (i == run->warm) {
            count_from(run, STAGE_PONG);
        }
        if (get(run, STAGE_PONG, &ends, &word) || pass(run, STAGE_PONG, &ends, ~word)) {
            return -1;
        }
        sum += word;
    }
    count_to(run, STAGE_PONG);
    run->stage->sum[1] = sum;
    return end_close(run, STAGE_PONG, &ends);
}

static int ping_place(struct run *run) {
    return ping_through(run, end_open);
}

static int pong_place(struct run *run) {
    return pong_through(run, end_open);
}

static int ping_jobs(struct run *run) {
    return ping_through(run, end_open_queues);
}

static int pong_jobs(struct run *run) {
    return pong_through(run, end_open_queues);
}

const struct work thirl_round = {.ping = ping_copy, .pong = pong_copy};
const struct work thirl_handover = {.ping = ping_place, .pong = pong_place};
const struct work thirl_job_handover = {.ping = ping_jobs, .pong = pong_jobs};
