/* SPDX-License-Identifier: MIT
 *
 * One way through thirl, as fast as it goes: with copies, and in place. The receiver's clock counts.
 */
#include "bench/end.h"
#include "bench/payload.h"

static int ping_copy(struct run *run) {
    struct ends ends;
    const size_t size = run->size;
    struct payload payload;
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (end_open(run, STAGE_PING, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (run->window) {
            stage_wait(run, i);
        }
        if (thirl_send(ends.out, payload_at(&payload, size, i), size, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_send");
        }
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return end_close(run, STAGE_PING, &ends);
}

stage_inline int receive_copy(struct run *run, size_t size) {
    struct ends ends;
    size_t got = 0;
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
        if (thirl_recv(ends.in, target.bytes, size, &got, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_recv");
        }
        sum += payload_sum(target.bytes, size) + (size - got);
        stage_received(run, i + 1);
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return end_close(run, STAGE_PONG, &ends);
}

#define BATCH 32

/* Each batch is another piece of the prepared payload. */
static int ping_many(struct run *run) {
    struct ends ends;
    struct iovec messages[BATCH];
    struct payload payload;
    const uint64_t total = run->warm + run->count;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (end_open(run, STAGE_PING, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < total;) {
        size_t count = total - i < BATCH ? total - i : BATCH;
        for (size_t k = 0; k < count; k++) {
            messages[k].iov_base = (void *)(uintptr_t)payload_at(&payload, run->size, i + k);
            messages[k].iov_len = run->size;
        }
        if (thirl_send_many(ends.out, messages, &count, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_send_many");
        }
        i += count;
    }
    run->stage->sum[0] = payload_total(&payload, total);
    return end_close(run, STAGE_PING, &ends);
}

stage_inline int receive_many(struct run *run, size_t size) {
    struct ends ends;
    struct iovec messages[BATCH];
    struct payload target;
    uint64_t sum = 0;
    if (payload_init(&target, size * BATCH, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    if (end_open(run, STAGE_PONG, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count;) {
        size_t count = BATCH;
        if (thirl_recv_many(ends.in, target.bytes, size * BATCH, messages, &count, THIRL_NEVER)) {
            return end_fail(run, STAGE_PONG, "thirl_recv_many");
        }
        for (size_t k = 0; k < count; k++) {
            sum += payload_sum(messages[k].iov_base, size) + (size - messages[k].iov_len);
        }
        if (__builtin_expect(i < run->warm && i + count >= run->warm, 0)) {
            run->stage->begin = stage_now(); /* less than a batch late, among millions */
        }
        i += count;
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return end_close(run, STAGE_PONG, &ends);
}

stage_inline int send_place(struct run *run, size_t size) {
    struct ends ends;
    thirl_msg *msg;
    struct payload payload;
    if (payload_init(&payload, size, true)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (end_open(run, STAGE_PING, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (thirl_loan(ends.out, &msg, size, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_loan");
        }
        memcpy(thirl_msg_data(msg), payload_at(&payload, size, i), size);
        if (thirl_put(ends.out, &msg, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_put");
        }
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return end_close(run, STAGE_PING, &ends);
}

stage_inline int receive_place(struct run *run, size_t size) {
    struct ends ends;
    thirl_msg *msg;
    uint64_t sum = 0;
    if (end_open(run, STAGE_PONG, &ends)) {
        return -1;
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (thirl_take(ends.in, &msg, THIRL_NEVER)) {
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
    return end_close(run, STAGE_PONG, &ends);
}

/* A size that is known when the message is sent, as in the floors: summing must cost the same on both sides of a ratio. */
#define BY_RUN(name, body)                                                                                             \
    static int name(struct run *run) {                                                                                 \
        return body(run, run->size);                                                                                   \
    }
BY_RUN(pong_copy, receive_copy)
BY_RUN(pong_many, receive_many)
BY_RUN(ping_place, send_place)
BY_RUN(pong_place, receive_place)

const struct work thirl_way = {.ping = ping_copy, .pong = pong_copy};
const struct work thirl_many = {.ping = ping_many, .pong = pong_many};
const struct work thirl_place = {.ping = ping_place, .pong = pong_place};
