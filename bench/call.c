/* SPDX-License-Identifier: MIT
 *
 * The bare loops over system calls: what every mechanism is measured against, the same for all of them.
 */
#include "bench/floor.h"
#include "bench/medium.h"
#include "bench/payload.h"

/* For what is received: some calls want room for the largest packet, whatever comes. */
static int init_target(struct run *run, struct payload *target) {
    return payload_init(target, run->medium->head + run->size + run->packet, false);
}

static int get_round(struct run *run, enum stage_side side, unsigned char *at) {
    const struct medium *medium = run->medium;
    int rc = medium->await ? medium->await(run, side) : 0;
    return rc ? rc : medium->get(run, side, at);
}

static int ping_round(struct run *run) {
    const struct medium *medium = run->medium;
    struct stage *stage = run->stage;
    struct payload payload, target;
    uint64_t sum = 0, last = 0;
    if (payload_init(&payload, run->size, false) || init_target(run, &target)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    stage_from(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (medium->put(run, STAGE_PING, payload_at(&payload, run->size, i)) ||
            get_round(run, STAGE_PING, target.bytes)) {
            return -1;
        }
        sum += payload_sum(target.bytes + medium->head, run->size);
        uint64_t tick = stage_tick();
        if (i >= run->warm) {
            stage_keep(stage, i - run->warm, tick - last);
        }
        last = tick;
    }
    stage_to(run, STAGE_PING, run->warm + run->count);
    stage->samples = run->count < STAGE_SAMPLES ? run->count : STAGE_SAMPLES;
    stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return sum == stage->sum[0] ? 0 : stage_fail(run, STAGE_PING, "the payload came back changed");
}

static int pong_round(struct run *run) {
    const struct medium *medium = run->medium;
    struct payload target;
    uint64_t sum = 0;
    if (init_target(run, &target)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (get_round(run, STAGE_PONG, target.bytes)) {
            return -1;
        }
        sum += payload_sum(target.bytes + medium->head, run->size);
        if (medium->put(run, STAGE_PONG, target.bytes + medium->head)) {
            return -1;
        }
    }
    stage_to(run, STAGE_PONG, run->warm + run->count);
    run->stage->sum[1] = sum;
    return 0;
}

static int ping_way(struct run *run) {
    const struct medium *medium = run->medium;
    struct payload payload;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    stage_from(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (run->window) {
            stage_wait(run, i);
        }
        if (medium->put(run, STAGE_PING, payload_at(&payload, run->size, i))) {
            return -1;
        }
    }
    stage_to(run, STAGE_PING, run->warm + run->count);
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

static int pong_way(struct run *run) {
    const struct medium *medium = run->medium;
    struct payload target;
    uint64_t sum = 0;
    if (init_target(run, &target)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (medium->get(run, STAGE_PONG, target.bytes)) {
            return -1;
        }
        sum += payload_sum(target.bytes + medium->head, run->size);
        stage_received(run, i + 1);
        if (i + 1 == run->warm) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    stage_to(run, STAGE_PONG, run->warm + run->count);
    run->stage->sum[1] = sum;
    return 0;
}

#define FLOOR_WORKS(name)                                                                                              \
    const struct work floor_##name##_round = {.ping = ping_round, .pong = pong_round, .medium = &medium_##name};       \
    const struct work floor_##name##_way = {.ping = ping_way, .pong = pong_way, .medium = &medium_##name};
FLOOR_MEDIA(FLOOR_WORKS)
