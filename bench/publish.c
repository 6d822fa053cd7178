/* SPDX-License-Identifier: MIT
 *
 * What a message costs its publisher, whoever reads it: ping publishes without waiting for anybody, pong is so many subscribers,
 * each of which takes what there is in its turn. The sender's clock counts. Floor: the same records stored into a ring that
 * nobody reads.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench/end.h"
#include "bench/floor.h"
#include "bench/payload.h"

#define BATCH 32

static int ping_bare(struct run *run) {
    const size_t size = run->size;
    const uint64_t mask = run->ring - 1, record = 16 + ((size + 7) & ~(size_t)7);
    unsigned char *ring = run->area;
    struct payload payload;
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0, at = 0; i < run->warm + run->count; i++, at += record) {
        unsigned char *here = ring + (at & mask);
        *(uint64_t *)(here + 8) = i;
        payload_copy(here + 16, payload_at(&payload, size, i), size);
        __atomic_store_n((uint64_t *)(ring + ((at + record) & mask)), 0, __ATOMIC_RELAXED);
        stage_store((uint64_t *)here, size);
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    return 0;
}

static int pong_bare(struct run *run) {
    stage_meet(run, STAGE_PONG);
    return 0;
}

const struct work floor_publish = {.ping = ping_bare, .pong = pong_bare, .area = true};

static int ping(struct run *run) {
    thirl *end;
    struct payload payload;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    if (thirl_open(&end, THIRL_PUB, run->address, NULL)) {
        return end_fail(run, STAGE_PING, "thirl_open");
    }
    stage_meet(run, STAGE_PING);
    for (uint64_t i = 0; i < run->warm + run->count; i++) {
        if (thirl_send(end, payload_at(&payload, run->size, i), run->size, THIRL_NEVER)) {
            return end_fail(run, STAGE_PING, "thirl_send");
        }
        if (__builtin_expect(i + 1 == run->warm, 0)) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    stage_store(&run->stage->received, 1); /* pairs with pong's load: it is over */
    return thirl_close(&end, THIRL_NOW) < 0 ? end_fail(run, STAGE_PING, "thirl_close") : 0;
}

/* Everybody takes what there is, until the publisher is done. Who is alone waits for more, as a subscriber does: who asks again and again takes
 * the line from the publisher each time, and who waits lets it run ahead. */
static int take_all(struct run *run, thirl **end, unsigned subscribers, char *buffer) {
    struct iovec messages[BATCH];
    while (!stage_load(&run->stage->received)) {
        for (unsigned i = 0; i < subscribers; i++) {
            size_t count = BATCH;
            thirl_time until = subscribers == 1 ? thirl_in_ms(1) : THIRL_NOW;
            int rc = thirl_recv_many(end[i], buffer, run->size * BATCH, messages, &count, until);
            if (rc && rc != -EAGAIN && rc != -ETIMEDOUT) {
                return end_fail(run, STAGE_PONG, "thirl_recv_many");
            }
        }
    }
    return 0;
}

static int pong(struct run *run, unsigned subscribers) {
    thirl **end = calloc(subscribers + 1, sizeof(void *));
    char *buffer = malloc(run->size * BATCH);
    int rc = end && buffer ? 0 : stage_fail(run, STAGE_PONG, "no memory for %u subscribers", subscribers);
    for (unsigned i = 0; !rc && i < subscribers; i++) {
        rc = thirl_open(&end[i], THIRL_SUB, run->address, NULL) ? end_fail(run, STAGE_PONG, "thirl_open") : 0;
    }
    if (!rc) {
        stage_meet(run, STAGE_PONG);
        rc = take_all(run, end, subscribers, buffer);
    }
    for (unsigned i = 0; end && i < subscribers; i++) {
        (void)!thirl_close(&end[i], THIRL_NOW);
    }
    free(end);
    free(buffer);
    return rc;
}

#define SUBSCRIBERS(n)                                                                                                 \
    static int pong_##n(struct run *run) {                                                                             \
        return pong(run, n);                                                                                           \
    }                                                                                                                  \
    const struct work thirl_publish_##n = {.ping = ping, .pong = pong_##n};
SUBSCRIBERS(0)
SUBSCRIBERS(1)
SUBSCRIBERS(8)
SUBSCRIBERS(64)
