/* SPDX-License-Identifier: MIT
 *
 * Preparing and adding up the messages.
 */
#include <stdlib.h>

#include "bench/payload.h"

int payload_init(struct payload *p, size_t size, bool place) {
    uint64_t count = 1, state = UINT64_C(0x9e3779b97f4a7c15);
    while (count < PAYLOAD_MOST && count * 2 * size <= 16384) {
        count *= 2;
    }
    p->mask = count - 1;
    p->bytes = aligned_alloc(4096, (count * size + 4095) / 4096 * 4096);
    if (!p->bytes) {
        return -1;
    }
    for (uint64_t i = 0; i < count * size; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(p->bytes + i, &state, 8);
    }
    if (count == 1) {
        memset(p->bytes, 0, 8);
    }
    for (uint64_t i = 0; i < count; i++) {
        p->sum[i] = (place ? payload_sum_place : payload_sum)(p->bytes + i * size, size);
    }
    return 0;
}

uint64_t payload_total(const struct payload *p, uint64_t count) {
    uint64_t total = 0;
    for (uint64_t i = 0; i < count; i++) {
        total += payload_expect(p, i);
    }
    return total;
}
