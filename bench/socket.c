/* SPDX-License-Identifier: MIT
 *
 * The bare loops over Unix sockets: one blocking system call for each message and side, no readiness calls. A stream
 * has no boundaries, so a program that sends messages over it sends their lengths too: one sendmsg gathers an 8-byte
 * length and the payload, one recv takes both into one buffer. On packets, where the kernel keeps the boundaries, plain
 * send and recv.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "bench/floor.h"
#include "bench/payload.h"

#define LENGTH 8

static int put_stream(struct run *run, enum stage_side side, const void *data) {
    uint64_t length = run->size;
    size_t sent = 0;
    while (sent < LENGTH + run->size) {
        size_t skip = sent < LENGTH ? sent : LENGTH, over = sent - skip;
        struct iovec parts[2] = {{(char *)&length + skip, LENGTH - skip},
                                 {(char *)(uintptr_t)data + over, run->size - over}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t went = sendmsg(run->socket[side], &message, MSG_NOSIGNAL);
        if (went < 0 && errno != EINTR) {
            return stage_fail(run, side, "sendmsg: %s", strerror(errno));
        }
        sent += went > 0 ? (size_t)went : 0;
    }
    return 0;
}

static int put_packet(struct run *run, enum stage_side side, const void *data) {
    while (send(run->socket[side], data, run->size, MSG_NOSIGNAL) < 0) {
        if (errno != EINTR) {
            return stage_fail(run, side, "send: %s", strerror(errno));
        }
    }
    return 0;
}

/* `size` bytes: on packets the first call brings them all. */
static int get(struct run *run, enum stage_side side, unsigned char *at, size_t left) {
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

stage_inline int put(struct run *run, enum stage_side side, const void *data, size_t head) {
    return head ? put_stream(run, side, data) : put_packet(run, side, data);
}

stage_inline int ping_round(struct run *run, size_t head) {
    struct stage *stage = run->stage;
    struct payload payload, target;
    uint64_t sum = 0, last = 0;
    if (payload_init(&payload, run->size, false) || payload_init(&target, head + run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (put(run, STAGE_PING, payload_at(&payload, run->size, i), head) ||
            get(run, STAGE_PING, target.bytes, head + run->size)) {
            return -1;
        }
        sum += payload_sum(target.bytes + head, run->size);
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

stage_inline int pong_round(struct run *run, size_t head) {
    struct payload target;
    uint64_t sum = 0;
    if (payload_init(&target, head + run->size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (get(run, STAGE_PONG, target.bytes, head + run->size)) {
            return -1;
        }
        sum += payload_sum(target.bytes + head, run->size);
        if (put(run, STAGE_PONG, target.bytes + head, head)) {
            return -1;
        }
    }
    run->stage->sum[1] = sum;
    return 0;
}

stage_inline int ping_way(struct run *run, size_t head) {
    struct payload payload;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (put(run, STAGE_PING, payload_at(&payload, run->size, i), head)) {
            return -1;
        }
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

stage_inline int pong_way(struct run *run, size_t head) {
    struct payload target;
    uint64_t sum = 0;
    if (payload_init(&target, head + run->size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (get(run, STAGE_PONG, target.bytes, head + run->size)) {
            return -1;
        }
        sum += payload_sum(target.bytes + head, run->size);
        if (i + 1 == run->warm) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return 0;
}

#define OVER(kind, name, head)                                                                                         \
    static int kind##_##name(struct run *run) {                                                                        \
        return name(run, head);                                                                                        \
    }
OVER(stream, ping_round, LENGTH)
OVER(stream, pong_round, LENGTH)
OVER(stream, ping_way, LENGTH)
OVER(stream, pong_way, LENGTH)
OVER(packet, ping_round, 0)
OVER(packet, pong_round, 0)
OVER(packet, ping_way, 0)
OVER(packet, pong_way, 0)

const struct work floor_stream_round = {.ping = stream_ping_round, .pong = stream_pong_round, .socket = SOCK_STREAM};
const struct work floor_stream_way = {.ping = stream_ping_way, .pong = stream_pong_way, .socket = SOCK_STREAM};
const struct work floor_seqpacket_round = {
    .ping = packet_ping_round, .pong = packet_pong_round, .socket = SOCK_SEQPACKET};
const struct work floor_seqpacket_way = {.ping = packet_ping_way, .pong = packet_pong_way, .socket = SOCK_SEQPACKET};
