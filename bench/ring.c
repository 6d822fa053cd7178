/* SPDX-License-Identifier: MIT
 *
 * One-way floors over a shared ring. Packed: a record is an 8-byte header and the payload; the producer clears the next
 * header before it release-stores this one, so that the consumer polls exactly the line that will hold its data:
 *
 *   producer: [len|payload][ 0 ]      payload, next = 0, then len (release)
 *   consumer:  ^ polls             len != 0 (acquire): reads, moves on
 *
 * The consumer publishes its cursor; the producer looks at it only when its cached view says full.
 *
 * Cached: slots of one size, each with the message's length in front, as a message has one; both indices published with
 * each message, and read only when the cached view of the other's says full or empty.
 */
#include "bench/floor.h"
#include "bench/payload.h"

#define PUBLISH 16 /* the consumer publishes its cursor that often in one turn of the ring, and whenever it is idle */

struct control {
    uint64_t read __attribute__((aligned(256))); /* consumer's cursor, or its index */
    uint64_t tail __attribute__((aligned(256))); /* producer's index */
};

stage_inline int send_packed(struct run *run, size_t size) {
    struct control *control = (struct control *)run->control;
    unsigned char *ring = run->area;
    const uint64_t mask = run->ring - 1, record = 8 + ((size + 7) & ~(size_t)7);
    uint64_t at = 0, seen = 0;
    struct payload payload;
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (__builtin_expect(at + record + 8 - seen > run->ring, 0)) {
            seen = stage_load(&control->read); /* pairs with the consumer's store */
        }
        unsigned char *here = ring + (at & mask);
        memcpy(here + 8, payload_at(&payload, size, i), size);
        __atomic_store_n((uint64_t *)(ring + ((at + record) & mask)), 0, __ATOMIC_RELAXED);
        stage_store((uint64_t *)here, size);
        at += record;
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

stage_inline int receive_packed(struct run *run, size_t size) {
    struct control *control = (struct control *)run->control;
    const unsigned char *ring = run->area;
    const uint64_t mask = run->ring - 1, step = run->ring / PUBLISH;
    uint64_t at = 0, told = 0, sum = 0;
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        const unsigned char *here = ring + (at & mask);
        uint64_t length = stage_load((const uint64_t *)here); /* pairs with the producer's store */
        if (__builtin_expect(length == 0, 0)) {
            if (told != at) {
                stage_store(&control->read, told = at);
            }
            do {
                length = stage_load((const uint64_t *)here);
            } while (length == 0);
        }
        sum += payload_sum(here + 8, size);
        at += 8 + ((length + 7) & ~(uint64_t)7);
        if (at - told >= step) {
            stage_store(&control->read, told = at);
        }
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return 0;
}

/* As many slots as fit, a power of two. */
static uint64_t slots_of(const struct run *run, uint64_t slot) {
    uint64_t slots = 1;
    while (2 * slots * slot <= run->ring) {
        slots *= 2;
    }
    return slots;
}

stage_inline int send_cached(struct run *run, size_t size) {
    struct control *control = (struct control *)run->control;
    const uint64_t slot = 8 + size, slots = slots_of(run, slot), mask = slots - 1;
    uint64_t tail = 0, seen = 0;
    struct payload payload;
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (__builtin_expect(tail - seen == slots, 0)) {
            seen = stage_load(&control->read); /* pairs with the consumer's store */
        }
        unsigned char *here = run->area + (tail & mask) * slot;
        memcpy(here, &size, 8);
        memcpy(here + 8, payload_at(&payload, size, i), size);
        stage_store(&control->tail, ++tail);
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

stage_inline int receive_cached(struct run *run, size_t size) {
    struct control *control = (struct control *)run->control;
    const uint64_t slot = 8 + size, mask = slots_of(run, slot) - 1;
    uint64_t head = 0, seen = 0, sum = 0;
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (__builtin_expect(head == seen, 0)) {
            seen = stage_load(&control->tail); /* pairs with the producer's store */
        }
        const unsigned char *here = run->area + (head & mask) * slot;
        uint64_t length;
        memcpy(&length, here, 8);
        sum += payload_sum(here + 8, size) + (size - length);
        stage_store(&control->read, ++head);
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return 0;
}

/* The flags lie in the control area, each on a pair of lines of its own. */
#define SLOTS_MOST (STAGE_CONTROL / STAGE_PAIR)
#define FLAG(run, slot) ((uint64_t *)((run)->control + (slot)*STAGE_PAIR))

static uint64_t count_slots(const struct run *run) {
    uint64_t slots = run->ring / run->size;
    return slots < SLOTS_MOST ? slots : SLOTS_MOST;
}

static int send_copy(struct run *run) {
    const uint64_t slots = count_slots(run);
    uint64_t slot = 0;
    struct payload payload;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (stage_load(FLAG(run, slot))) { /* pairs with the receiver's store of 0 */
        }
        memcpy(run->area + slot * run->size, payload_at(&payload, run->size, i), run->size);
        stage_store(FLAG(run, slot), 1);
        slot = slot + 1 == slots ? 0 : slot + 1;
    }
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

static int receive_copy(struct run *run) {
    const uint64_t slots = count_slots(run);
    uint64_t slot = 0, sum = 0;
    struct payload target;
    if (payload_init(&target, run->size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    stage_meet(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (!stage_load(FLAG(run, slot))) { /* pairs with the sender's store of 1 */
        }
        memcpy(target.bytes, run->area + slot * run->size, run->size);
        stage_store(FLAG(run, slot), 0);
        sum += payload_sum(target.bytes, run->size);
        slot = slot + 1 == slots ? 0 : slot + 1;
        if (i + 1 == run->warm) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    return 0;
}

/* A constant size lets the compiler copy and add without a loop: that is what a bare ring would do. */
#define BY_SIZE(name, body)                                                                                            \
    static int name(struct run *run) {                                                                                 \
        return run->size == 8 ? body(run, 8) : run->size == 64 ? body(run, 64) : body(run, run->size);                 \
    }
BY_SIZE(ping_packed, send_packed)
BY_SIZE(pong_packed, receive_packed)
BY_SIZE(ping_cached, send_cached)
BY_SIZE(pong_cached, receive_cached)

const struct work floor_packed = {.ping = ping_packed, .pong = pong_packed, .area = true};
const struct work floor_cached = {.ping = ping_cached, .pong = pong_cached, .area = true};
const struct work floor_copy = {.ping = send_copy, .pong = receive_copy, .area = true};
