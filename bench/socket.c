/* SPDX-License-Identifier: MIT
 *
 * The bare loops over Unix sockets: one blocking system call for each message and side, no framing, no readiness calls.
 */
#include <errno.h>
#include <sys/socket.h>

#include "bench/floor.h"
#include "bench/payload.h"

static int put(struct run *run, enum stage_side side, const void *data) {
    const unsigned char *at = data;
    size_t left = run->size;
    while (left > 0) {
        ssize_t sent = send(run->socket[side], at, left, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return stage_fail(run, side, "send: %s", strerror(errno));
        }
        left -= sent > 0 ? (size_t)sent : 0;
        at += sent > 0 ? sent : 0;
    }
    return 0;
}

static int get(struct run *run, enum stage_side side, void *data) {
    unsigned char *at = data;
    size_t left = run->size;
    while (left > 0) {
        ssize_t got = recv(run->socket[side], at, left, MSG_WAITALL);
        if (got == 0) {
            return stage_fail(run, side, "recv: the peer is gone");
        }
        if (got < 0 && errno != EINTR) {
            return stage_fail(run, side, "recv: %s", strerror(errno));
        }
        left -= got > 0 ? (size_t)got : 0;
        at += got > 0 ? got : 0;
    }
    return 0;
}

static int ping_round(struct run *run) {
    struct stage *stage = run->stage;
    struct payload payload, target;
    uint64_t sum = 0, last = 0;
    if (payload_init(&payload, run->size, false) || payload_init(&target, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (put(run, STAGE_PING, payload_at(&payload, run->size, i)) || get(run, STAGE_PING, target.bytes)) {
            return -1;
        }
        sum += payload_sum(target.bytes, run->size);
        uint64_t tick = stage_tick();
        if (i >= run->warm) {
            stage_keep(stage, i - run->warm, tick - last);
        }
        last = tick;
    }
    stage->samples = run->count < STAGE_SAMPLES ? run->count : STAGE_SAMPLES;
    stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return sum == stage->sum[0] ? 0 : stage_fail(run, STAGE_PING, "the payload came back changed");
}

static int pong_round(struct run *run) {
    struct payload target;
    uint64_t sum = 0;
    if (payload_init(&target, run->size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (get(run, STAGE_PONG, target.bytes)) {
            return -1;
        }
        sum += payload_sum(target.bytes, run->size);
        if (put(run, STAGE_PONG, target.bytes)) {
            return -1;
        }
    }
    run->stage->sum[1] = sum;
    return 0;
}

static int ping_way(struct run *run) {
    struct payload payload;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (put(run, STAGE_PING, payload_at(&payload, run->size, i))) {
            return -1;
        }
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

static int pong_way(struct run *run) {
    struct payload target;
    uint64_t sum = 0;
    if (payload_init(&target, run->size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (get(run, STAGE_PONG, target.bytes)) {
            return -1;
        }
        sum += payload_sum(target.bytes, run->size);
        if (i + 1 == run->warm) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return 0;
}

const struct work floor_stream_round = {.ping = ping_round, .pong = pong_round, .socket = SOCK_STREAM};
const struct work floor_stream_way = {.ping = ping_way, .pong = pong_way, .socket = SOCK_STREAM};
const struct work floor_seqpacket_round = {.ping = ping_round, .pong = pong_round, .socket = SOCK_SEQPACKET};
const struct work floor_seqpacket_way = {.ping = ping_way, .pong = pong_way, .socket = SOCK_SEQPACKET};
