/* SPDX-License-Identifier: MIT
 *
 * One way through thirl, as fast as it goes: with copies, and in place. The receiver's clock counts.
 */
#include "bench/end.h"
#include "bench/payload.h"

static int ping_copy(struct run *run) {
    thirl *end;
    const size_t size = run->size;
    struct payload payload;
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (end_open(run, STAGE_PING, &end)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (thirl_send(end, payload_at(&payload, size, i), size, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_send");
        }
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return end_close(run, STAGE_PING, &end);
}

stage_inline int receive_copy(struct run *run, size_t size) {
    thirl *end;
    size_t got = 0;
    struct payload target;
    uint64_t sum = 0;
    if (payload_init(&target, size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (end_open(run, STAGE_PONG, &end)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (thirl_recv(end, target.bytes, size, &got, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_recv");
        }
        sum += payload_sum(target.bytes, size) + (size - got);
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return end_close(run, STAGE_PONG, &end);
}

stage_inline int send_place(struct run *run, size_t size) {
    thirl *end;
    thirl_msg *msg;
    struct payload payload;
    if (payload_init(&payload, size, true)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (end_open(run, STAGE_PING, &end)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (thirl_loan(end, &msg, size, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_loan");
        }
        memcpy(thirl_msg_data(msg), payload_at(&payload, size, i), size);
        if (thirl_put(end, &msg, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_put");
        }
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return end_close(run, STAGE_PING, &end);
}

stage_inline int receive_place(struct run *run, size_t size) {
    thirl *end;
    thirl_msg *msg;
    uint64_t sum = 0;
    if (end_open(run, STAGE_PONG, &end)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (thirl_take(end, &msg, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_take");
        }
        sum += payload_sum_place(thirl_msg_data(msg), size) + (size - thirl_msg_size(msg));
        thirl_free(&msg);
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return end_close(run, STAGE_PONG, &end);
}

/* A constant size, as in the floors: summing must cost the same on both sides of a ratio. */
#define BY_SIZE(name, body)                                                                                            \
    static int name(struct run *run) {                                                                                 \
        return run->size == 8 ? body(run, 8) : run->size == 64 ? body(run, 64) : body(run, run->size);                 \
    }
BY_SIZE(pong_copy, receive_copy)
BY_SIZE(ping_place, send_place)
BY_SIZE(pong_place, receive_place)

const struct work thirl_way = {.ping = ping_copy, .pong = pong_copy};
const struct work thirl_place = {.ping = ping_place, .pong = pong_place};
