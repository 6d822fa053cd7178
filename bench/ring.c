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
 * Cached: the same records without the clearing; both cursors are published with each message, and read only when the
 * cached view of the other's says full or empty.
 *
 * Slots: the same with slots of one size, which the length in front is not needed for to find the next one: not what carries
 * messages of any size, but what the hardware can do.
 */
#include <stdbool.h>

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
    unsigned looks = 0;
    struct payload payload;
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    stage_from(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (__builtin_expect(at + record + 8 - seen > run->ring, 0)) {
            seen = stage_load(&control->read); /* pairs with the consumer's store */
            stage_patience(&looks);
        }
        unsigned char *here = ring + (at & mask);
        payload_copy(here + 8, payload_at(&payload, size, i), size);
        __atomic_store_n((uint64_t *)(ring + ((at + record) & mask)), 0, __ATOMIC_RELAXED);
        stage_store((uint64_t *)here, size);
        at += record;
    }
    stage_to(run, STAGE_PING, run->warm + run->count);
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

stage_inline int receive_packed(struct run *run, size_t size) {
    struct control *control = (struct control *)run->control;
    const unsigned char *ring = run->area;
    const uint64_t mask = run->ring - 1, step = run->ring / PUBLISH;
    uint64_t at = 0, told = 0, sum = 0;
    unsigned looks = 0;
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        const unsigned char *here = ring + (at & mask);
        uint64_t length = stage_load((const uint64_t *)here); /* pairs with the producer's store */
        if (__builtin_expect(length == 0, 0)) {
            if (told != at) {
                stage_store(&control->read, told = at);
            }
            do {
                length = stage_load((const uint64_t *)here);
                stage_patience(&looks);
            } while (length == 0);
        }
        sum += payload_sum(here + 8, length) + (size - length);
        at += 8 + ((length + 7) & ~(uint64_t)7);
        if (at - told >= step) {
            stage_store(&control->read, told = at);
        }
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    stage_to(run, STAGE_PONG, run->warm + run->count);
    run->stage->sum[1] = sum;
    return 0;
}

/* What a record takes up: of messages their length says it, of slots it is known. */
stage_inline uint64_t room_of(uint64_t size) {
    return 8 + ((size + 7) & ~(uint64_t)7);
}

stage_inline int send_cached(struct run *run, size_t size, bool slots) {
    struct control *control = (struct control *)run->control;
    const uint64_t mask = run->ring - 1, room = room_of(size);
    uint64_t tail = 0, seen = 0;
    unsigned looks = 0;
    struct payload payload;
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    stage_from(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        uint64_t length = size;
        if (!slots) {
            __asm__ __volatile__("" : "+r"(length)); /* the compiler does not know that it is always the same */
        }
        while (__builtin_expect(tail + (slots ? room : room_of(length)) - seen > run->ring, 0)) {
            seen = stage_load(&control->read); /* pairs with the consumer's store */
            stage_patience(&looks);
        }
        unsigned char *here = run->area + (tail & mask);
        memcpy(here, &length, 8);
        payload_copy(here + 8, payload_at(&payload, size, i), slots ? size : length);
        tail += slots ? room : room_of(length);
        stage_store(&control->tail, tail);
    }
    stage_to(run, STAGE_PING, run->warm + run->count);
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

stage_inline int receive_cached(struct run *run, size_t size, bool slots) {
    struct control *control = (struct control *)run->control;
    const uint64_t mask = run->ring - 1, room = room_of(size);
    uint64_t head = 0, seen = 0, sum = 0;
    unsigned looks = 0;
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (__builtin_expect(head == seen, 0)) {
            seen = stage_load(&control->tail); /* pairs with the producer's store */
            stage_patience(&looks);
        }
        const unsigned char *here = run->area + (head & mask);
        uint64_t length;
        memcpy(&length, here, 8);
        sum += payload_sum(here + 8, slots ? size : length) + (size - length);
        head += slots ? room : room_of(length);
        stage_store(&control->read, head);
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    stage_to(run, STAGE_PONG, run->warm + run->count);
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
    unsigned looks = 0;
    struct payload payload;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    stage_from(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (stage_load(FLAG(run, slot))) { /* pairs with the receiver's store of 0 */
            stage_patience(&looks);
        }
        memcpy(run->area + slot * run->size, payload_at(&payload, run->size, i), run->size);
        stage_store(FLAG(run, slot), 1);
        slot = slot + 1 == slots ? 0 : slot + 1;
    }
    stage_to(run, STAGE_PING, run->warm + run->count);
    run->stage->sum[0] = payload_total(&payload, run->warm + run->count);
    return 0;
}

static int receive_copy(struct run *run) {
    const uint64_t slots = count_slots(run);
    uint64_t slot = 0, sum = 0;
    unsigned looks = 0;
    struct payload target;
    if (payload_init(&target, run->size, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        while (!stage_load(FLAG(run, slot))) { /* pairs with the sender's store of 1 */
            stage_patience(&looks);
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
    stage_to(run, STAGE_PONG, run->warm + run->count);
    run->stage->sum[1] = sum;
    return 0;
}

/* A message's size is known when it is sent, not when the program is compiled. */
static int ping_packed(struct run *run) {
    return send_packed(run, run->size);
}

static int pong_packed(struct run *run) {
    return receive_packed(run, run->size);
}

static int ping_cached(struct run *run) {
    return send_cached(run, run->size, false);
}

static int pong_cached(struct run *run) {
    return receive_cached(run, run->size, false);
}

/* With a size that the compiler knows it copies and adds without a loop. */
static int ping_slots(struct run *run) {
    return run->size == 8    ? send_cached(run, 8, true)
           : run->size == 64 ? send_cached(run, 64, true)
                             : send_cached(run, run->size, true);
}

static int pong_slots(struct run *run) {
    return run->size == 8    ? receive_cached(run, 8, true)
           : run->size == 64 ? receive_cached(run, 64, true)
                             : receive_cached(run, run->size, true);
}

const struct work floor_packed = {.ping = ping_packed, .pong = pong_packed, .area = true};
const struct work floor_cached = {.ping = ping_cached, .pong = pong_cached, .area = true};
const struct work floor_slots = {.ping = ping_slots, .pong = pong_slots, .area = true};
const struct work floor_copy = {.ping = send_copy, .pong = receive_copy, .area = true};
