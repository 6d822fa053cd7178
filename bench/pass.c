/* SPDX-License-Identifier: MIT
 *
 * Round trips of any size over shared memory, bare: a word that says whose turn it is, and behind it the payload. Each side writes one
 * half of the area:
 *
 *   ping: payload, turn[0] = i     spins or sleeps until turn[1] = i, reads
 *   pong:           spins or sleeps until turn[0] = i, reads, payload, turn[1] = i
 *
 * By copy the payload is copied in and out; in place it is written there and read there.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/floor.h"
#include "bench/payload.h"

struct half {
    union {
        uint64_t turn;
        uint32_t word; /* of the futex */
    };
    unsigned char data[];
};

static struct half *half_of(const struct run *run, enum stage_side side) {
    return (struct half *)(void *)(run->area + (side == STAGE_PING ? 0 : run->ring / 2));
}

stage_inline void await(struct half *half, uint64_t turn, bool sleeps) {
    if (!sleeps) {
        unsigned looks = 0;
        while (stage_load(&half->turn) != turn) { /* pairs with the store in pass */
            stage_patience(&looks);
        }
        return;
    }
    while (stage_load(&half->word) != (uint32_t)turn) {
        syscall(SYS_futex, &half->word, FUTEX_WAIT, (uint32_t)(turn - 1), NULL, NULL, 0);
    }
}

stage_inline void pass(struct half *half, uint64_t turn, bool sleeps) {
    stage_store(&half->turn, turn);
    if (sleeps) {
        syscall(SYS_futex, &half->word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

stage_inline uint64_t get(struct run *run, const struct half *from, unsigned char *target, bool place) {
    if (place) {
        return payload_sum_place(from->data, run->size);
    }
    memcpy(target, from->data, run->size);
    return payload_sum(target, run->size);
}

static int begin(struct run *run, enum stage_side side, struct payload *payload, bool place) {
    if (run->size + sizeof(struct half) > run->ring / 2) {
        (void)stage_fail(run, side, "%zu bytes do not fit into half a ring", run->size);
        return -1;
    }
    if (payload_init(payload, run->size, place)) {
        return stage_fail(run, side, "no memory for the payload");
    }
    stage_meet(run, side);
    stage_from(run, side);
    return 0;
}

stage_inline int ping(struct run *run, bool sleeps, bool place) {
    struct half *mine = half_of(run, STAGE_PING), *other = half_of(run, STAGE_PONG);
    struct payload payload, target;
    const uint64_t total = run->warm + run->count;
    uint64_t sum = 0, last = 0;
    if (payload_init(&target, run->size, place) || begin(run, STAGE_PING, &payload, place)) {
        return -1;
    }
    for (uint64_t i = 0; i < total; i++) {
        memcpy(mine->data, payload_at(&payload, run->size, i), run->size);
        pass(mine, i + 1, sleeps);
        await(other, i + 1, sleeps);
        sum += get(run, other, target.bytes, place);
        uint64_t tick = stage_tick();
        if (i >= run->warm) {
            hist_add(&run->stage->share[STAGE_PING].hist, tick - last);
        }
        last = tick;
    }
    stage_to(run, STAGE_PING, total);
    run->stage->sum[0] = payload_total(&payload, total);
    return sum == run->stage->sum[0] ? 0 : stage_fail(run, STAGE_PING, "the payload came back changed");
}

stage_inline int pong(struct run *run, bool sleeps, bool place) {
    struct half *mine = half_of(run, STAGE_PONG), *other = half_of(run, STAGE_PING);
    struct payload target;
    const uint64_t total = run->warm + run->count;
    uint64_t sum = 0;
    if (begin(run, STAGE_PONG, &target, place)) {
        return -1;
    }
    for (uint64_t i = 0; i < total; i++) {
        await(other, i + 1, sleeps);
        sum += get(run, other, target.bytes, place);
        memcpy(mine->data, place ? other->data : target.bytes, run->size);
        pass(mine, i + 1, sleeps);
    }
    stage_to(run, STAGE_PONG, total);
    run->stage->sum[1] = sum;
    return 0;
}

#define VARIANT(name, sleeps, place)                                                                                   \
    static int ping_##name(struct run *run) {                                                                          \
        return ping(run, sleeps, place);                                                                               \
    }                                                                                                                  \
    static int pong_##name(struct run *run) {                                                                          \
        return pong(run, sleeps, place);                                                                               \
    }                                                                                                                  \
    const struct work floor_##name = {.ping = ping_##name, .pong = pong_##name, .area = true};
VARIANT(pass_spin, false, false)
VARIANT(pass_sleep, true, false)
VARIANT(hand_spin, false, true)
VARIANT(hand_sleep, true, true)
