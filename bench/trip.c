/* SPDX-License-Identifier: MIT
 *
 * Round trips and calls through thirl, of any mechanism: all of the payload is written, and read, on both sides; in a closed loop, or at a
 * given rate.
 */
#include "bench/end.h"
#include "bench/pace.h"
#include "bench/payload.h"

#define MANY (run->warm + run->count)

stage_inline int put(struct run *run, enum stage_side side, thirl *out, const void *data, bool place) {
    thirl_msg *msg;
    if (!place) {
        return thirl_send(out, data, run->size, THIRL_NEVER) ? end_fail(run, side, "thirl_send") : 0;
    }
    if (thirl_loan(out, &msg, run->size, THIRL_NEVER)) {
        return end_fail(run, side, "thirl_loan");
    }
    memcpy(thirl_msg_data(msg), data, run->size);
    return thirl_put(out, &msg, THIRL_NEVER) ? end_fail(run, side, "thirl_put") : 0;
}

/* In place the message is held until what it says was passed on. */
stage_inline int get(struct run *run, enum stage_side side, thirl *in, unsigned char *target, thirl_msg **msg,
                     uint64_t *sum, bool place) {
    size_t got = 0;
    if (!place) {
        if (thirl_recv(in, target, run->size, &got, THIRL_NEVER)) {
            return end_fail(run, side, "thirl_recv");
        }
        *sum += payload_sum(target, run->size) + (run->size - got);
        return 0;
    }
    if (thirl_take(in, msg, THIRL_NEVER)) {
        return end_fail(run, side, "thirl_take");
    }
    if (thirl_msg_size(*msg) != run->size) {
        return stage_fail(run, side, "a message of %zu bytes came as %zu", run->size, thirl_msg_size(*msg));
    }
    *sum += payload_sum_place(thirl_msg_data(*msg), run->size);
    return 0;
}

static int end_trips(struct run *run, uint64_t sum, const struct payload *payload) {
    run->stage->end = stage_now();
    stage_to(run, STAGE_PING, MANY);
    run->stage->sum[0] = payload_total(payload, MANY);
    return sum == run->stage->sum[0] ? 0 : stage_fail(run, STAGE_PING, "the payload came back changed");
}

stage_inline int ping(struct run *run, bool place) {
    struct ends ends;
    struct payload payload, target;
    thirl_msg *msg = NULL;
    uint64_t sum = 0;
    if (payload_init(&payload, run->size, place) || payload_init(&target, run->size, place)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (end_open(run, STAGE_PING, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    stage_from(run, STAGE_PING);
    const uint64_t first = stage_tick();
    uint64_t last = first;
    for (uint64_t i = 0; i < MANY; i++) {
        if (i == run->warm) {
            run->stage->begin = stage_now();
        }
        uint64_t start = pace_wait(run, first, i, last);
        if (put(run, STAGE_PING, ends.out, payload_at(&payload, run->size, i), place) ||
            get(run, STAGE_PING, ends.in, target.bytes, &msg, &sum, place)) {
            return -1;
        }
        if (place) {
            thirl_free(&msg);
        }
        last = stage_tick();
        if (i >= run->warm) {
            hist_add(&run->stage->share[STAGE_PING].hist, last - start);
        }
    }
    return end_trips(run, sum, &payload) ? -1 : end_close(run, STAGE_PING, &ends);
}

stage_inline int pong(struct run *run, bool place) {
    struct ends ends;
    struct payload target;
    thirl_msg *msg = NULL;
    uint64_t sum = 0;
    if (payload_init(&target, run->size, place)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (end_open(run, STAGE_PONG, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    for (uint64_t i = 0; i < MANY; i++) {
        if (get(run, STAGE_PONG, ends.in, target.bytes, &msg, &sum, place) ||
            put(run, STAGE_PONG, ends.out, place ? thirl_msg_data(msg) : target.bytes, place)) {
            return -1;
        }
        if (place) {
            thirl_free(&msg);
        }
    }
    stage_to(run, STAGE_PONG, MANY);
    run->stage->sum[1] = sum;
    return end_close(run, STAGE_PONG, &ends);
}

static int ping_copy(struct run *run) {
    return ping(run, false);
}

static int pong_copy(struct run *run) {
    return pong(run, false);
}

static int ping_place(struct run *run) {
    return ping(run, true);
}

static int pong_place(struct run *run) {
    return pong(run, true);
}

const struct work trip_copy = {.ping = ping_copy, .pong = pong_copy};
const struct work trip_place = {.ping = ping_place, .pong = pong_place};

/* ---- calls: a request is copied, and what is received is read in place ---- */

static int open_call(struct run *run, enum stage_side side, thirl **end) {
    enum thirl_role role = side == STAGE_PING ? THIRL_CALL : THIRL_SERVE;
    return thirl_open(end, role, run->address, NULL) ? end_fail(run, side, "thirl_open") : 0;
}

static int ping_call(struct run *run) {
    thirl *end;
    struct payload payload;
    uint64_t sum = 0;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (open_call(run, STAGE_PING, &end)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    stage_from(run, STAGE_PING);
    const uint64_t first = stage_tick();
    uint64_t last = first;
    for (uint64_t i = 0; i < MANY; i++) {
        thirl_msg *reply;
        if (i == run->warm) {
            run->stage->begin = stage_now();
        }
        uint64_t start = pace_wait(run, first, i, last);
        if (thirl_call(end, payload_at(&payload, run->size, i), run->size, &reply, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_call");
        }
        sum += payload_sum(thirl_msg_data(reply), thirl_msg_size(reply));
        thirl_free(&reply);
        last = stage_tick();
        if (i >= run->warm) {
            hist_add(&run->stage->share[STAGE_PING].hist, last - start);
        }
    }
    return end_trips(run, sum, &payload)          ? -1
           : thirl_close(&end, thirl_in_ms(5000)) ? end_fail(run, STAGE_PING, "thirl_close")
                                                  : 0;
}

static int pong_call(struct run *run) {
    thirl *end;
    uint64_t sum = 0;
    if (open_call(run, STAGE_PONG, &end)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    for (uint64_t i = 0; i < MANY; i++) {
        if (end_echo(run, end, &sum)) {
            return -1;
        }
    }
    stage_to(run, STAGE_PONG, MANY);
    run->stage->sum[1] = sum;
    return thirl_close(&end, thirl_in_ms(5000)) ? end_fail(run, STAGE_PONG, "thirl_close") : 0;
}

const struct work trip_call = {.ping = ping_call, .pong = pong_call};
