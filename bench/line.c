/* SPDX-License-Identifier: MIT
 *
 * Ping-pong over two cache lines, one written by each side:
 *
 *   ping: payload, flag[0] = i     spin or sleep until flag[1] = i, read
 *   pong:           spin or sleep until flag[0] = i, read, payload, flag[1] = i
 */
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/floor.h"
#include "bench/payload.h"

struct line {
    union {
        uint64_t flag;
        uint32_t word; /* of the futex */
    };
    unsigned char data[48];
} __attribute__((aligned(256)));

stage_inline void wait_spin(struct line *line, uint64_t turn) {
    unsigned looks = 0;
    while (stage_load(&line->flag) != turn) { /* pairs with the store in pass_spin */
        stage_patience(&looks);
    }
}

stage_inline void pass_spin(struct line *line, uint64_t turn) {
    stage_store(&line->flag, turn);
}

static void wait_sleep(struct line *line, uint64_t turn) {
    while (stage_load(&line->word) != (uint32_t)turn) { /* pairs with the store in pass_sleep */
        syscall(SYS_futex, &line->word, FUTEX_WAIT, (uint32_t)(turn - 1), NULL, NULL, 0);
    }
}

static void pass_sleep(struct line *line, uint64_t turn) {
    stage_store(&line->word, (uint32_t)turn);
    syscall(SYS_futex, &line->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

stage_inline int ping(struct run *run, size_t size, bool sleeps) {
    struct line *line = (struct line *)run->control;
    struct stage *stage = run->stage;
    struct payload payload;
    uint64_t sum = 0, last = 0;
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        memcpy(line[0].data, payload_at(&payload, size, i), size);
        (sleeps ? pass_sleep : pass_spin)(&line[0], i + 1);
        (sleeps ? wait_sleep : wait_spin)(&line[1], i + 1);
        sum += payload_sum(line[1].data, size);
        uint64_t tick = stage_tick();
        if (i >= run->warm) {
            stage_keep(stage, i - run->warm, tick - last);
        }
        last = tick;
    }
    stage->samples = run->count < STAGE_SAMPLES ? run->count : STAGE_SAMPLES;
    stage->sum[0] = payload_total(&payload, run->warm + run->count);
    if (sum != stage->sum[0]) {
        return stage_fail(run, STAGE_PING, "the payload came back changed");
    }
    return 0;
}

stage_inline int pong(struct run *run, size_t size, bool sleeps) {
    struct line *line = (struct line *)run->control;
    uint64_t sum = 0;
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        (sleeps ? wait_sleep : wait_spin)(&line[0], i + 1);
        sum += payload_sum(line[0].data, size);
        memcpy(line[1].data, line[0].data, size);
        (sleeps ? pass_sleep : pass_spin)(&line[1], i + 1);
    }
    run->stage->sum[1] = sum;
    return 0;
}

static int too_large(struct run *run, enum stage_side side) {
    return stage_fail(run, side, "%zu bytes do not fit beside the flag", run->size);
}

static int ping_spin(struct run *run) {
    return run->size == 8 ? ping(run, 8, false) : run->size == 48 ? ping(run, 48, false) : too_large(run, STAGE_PING);
}

static int pong_spin(struct run *run) {
    return run->size == 8 ? pong(run, 8, false) : run->size == 48 ? pong(run, 48, false) : too_large(run, STAGE_PONG);
}

static int ping_sleep(struct run *run) {
    return run->size <= 48 ? ping(run, run->size, true) : too_large(run, STAGE_PING);
}

static int pong_sleep(struct run *run) {
    return run->size <= 48 ? pong(run, run->size, true) : too_large(run, STAGE_PONG);
}

const struct work floor_line = {.ping = ping_spin, .pong = pong_spin, .area = true};
const struct work floor_futex = {.ping = ping_sleep, .pong = pong_sleep, .area = true};
