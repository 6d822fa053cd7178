/* SPDX-License-Identifier: MIT
 *
 * Calls through thirl: ping calls, pong serves. The payload is written, and read in place on both sides.
 */
#include "bench/end.h"
#include "bench/payload.h"

static int open_end(struct run *run, enum stage_side side, thirl **end) {
    enum thirl_role role = side == STAGE_PING ? THIRL_CALL : THIRL_SERVE;
    return thirl_open(end, role, run->address, NULL) ? end_fail(run, side, "thirl_open") : 0;
}

static int close_end(struct run *run, enum stage_side side, thirl **end) {
    return thirl_close(end, thirl_in_ms(5000)) ? end_fail(run, side, "thirl_close") : 0;
}

static int ping(struct run *run) {
    thirl *end;
    struct payload payload;
    uint64_t sum = 0, last = 0;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (open_end(run, STAGE_PING, &end)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (i == run->warm) {
            run->stage->allocations[STAGE_PING] = count_allocations();
        }
        thirl_msg *reply;
        if (thirl_call(end, payload_at(&payload, run->size, i), run->size, &reply, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_call");
        }
        sum += payload_sum(thirl_msg_data(reply), thirl_msg_size(reply));
        thirl_free(&reply);
        uint64_t tick = stage_tick();
        if (i >= run->warm) {
            stage_keep(run->stage, i - run->warm, tick - last);
        }
        last = tick;
    }
    run->stage->allocations[STAGE_PING] = run->count ? count_allocations() - run->stage->allocations[STAGE_PING] : 0;
    run->stage->threads[STAGE_PING] = stage_threads();
    uint64_t sent = payload_total(&payload, run->warm + run->count);
    run->stage->samples = run->count < STAGE_SAMPLES ? run->count : STAGE_SAMPLES;
    run->stage->sum[0] = sent;
    if (sum != sent) {
        return stage_fail(run, STAGE_PING, "the payload came back changed");
    }
    return close_end(run, STAGE_PING, &end);
}

static int pong(struct run *run) {
    thirl *end;
    uint64_t sum = 0;
    if (open_end(run, STAGE_PONG, &end)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (i == run->warm) {
            run->stage->allocations[STAGE_PONG] = count_allocations();
        }
        if (end_echo(run, end, &sum)) {
            return -1;
        }
    }
    run->stage->allocations[STAGE_PONG] = run->count ? count_allocations() - run->stage->allocations[STAGE_PONG] : 0;
    run->stage->threads[STAGE_PONG] = stage_threads();
    run->stage->sum[1] = sum;
    return close_end(run, STAGE_PONG, &end);
}

const struct work thirl_asking = {.ping = ping, .pong = pong};
