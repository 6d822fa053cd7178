/* SPDX-License-Identifier: MIT
 *
 * What the messages say: prepared before the clock runs, copied in by the sender, read by the receiver, and compared as
 * sums afterwards. Every word is summed; only of messages over PAYLOAD_WHOLE bytes that are copied out anyway one word
 * in each 512 bytes, since copy in and copy out is what is measured there and a third pass would hide it.
 */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <string.h>

#include "bench/stage.h"

#define PAYLOAD_WHOLE 4096
#define PAYLOAD_STRIDE 512
#define PAYLOAD_MOST 64 /* different messages, used in turn */

struct payload {
    unsigned char *bytes;
    uint64_t mask; /* number of messages - 1 */
    uint64_t sum[PAYLOAD_MOST];
};

int payload_init(struct payload *, size_t size, bool place); /* 0 or -1: no memory. Kept until the process ends. */

stage_inline uint64_t payload_add(const void *data, size_t size, size_t step) {
    const unsigned char *at = data;
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i += step) {
        uint64_t word;
        memcpy(&word, at + i, 8);
        sum += word;
    }
    return sum;
}

/* The sum of a message's words; inlined, so that a constant size costs no loop control. */
stage_inline uint64_t payload_sum(const void *data, size_t size) {
    return size <= PAYLOAD_WHOLE ? payload_add(data, size, 8) : payload_add(data, size, PAYLOAD_STRIDE);
}

/* The same of a message that is read in place. */
stage_inline uint64_t payload_sum_place(const void *data, size_t size) {
    return payload_add(data, size, 8);
}

/* memcpy of a small message, a multiple of 8, without a call; of a constant size without a loop. */
stage_inline void payload_copy(void *to, const void *from, size_t size) {
    if (__builtin_constant_p(size)) {
        memcpy(to, from, size);
        return;
    }
    for (size_t i = 0; i < size; i += 8) {
        memcpy((char *)to + i, (const char *)from + i, 8);
    }
}

/* Message number i. A single large message gets the number as its first word: a stale copy must not pass for new. */
stage_inline const void *payload_at(const struct payload *p, size_t size, uint64_t i) {
    unsigned char *at = p->bytes + (i & p->mask) * size;
    if (p->mask == 0) {
        memcpy(at, &i, 8);
    }
    return at;
}

stage_inline uint64_t payload_expect(const struct payload *p, uint64_t i) {
    return p->mask ? p->sum[i & p->mask] : p->sum[0] + i;
}

/* What messages 0 to count - 1 sum up to. */
uint64_t payload_total(const struct payload *, uint64_t count);

#endif
