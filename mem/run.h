/* SPDX-License-Identifier: MIT
 *
 * Many records of a lane at once: written behind a first one that holds them all back, and copied out. Messages in a row tend to be
 * of one size, and then little is to be asked of each. The same rules as in mem/lane.h; inline, because here instructions count. `wide`
 * is wide_here's: one register then holds a cache line.
 */
#ifndef MEM_RUN_H
#define MEM_RUN_H

#include <sys/uio.h>

#include "base/copy.h"
#include "base/parts.h"
#include "base/weave.h"
#include "base/wide.h"
#include "mem/lane.h"

#define RUN_BYTES 4096 /* are committed together, or a little more: the reader can begin */

/* ---- writing ---- */

/* Do records of that span fill the lines without a gap, from here on? Then each step is as long as the span. What divides a line is a power of two. */
static inline bool run_is_even(const struct lane *lane, uint32_t span) {
    return span > CACHE_LINE || ((span & (span - 1)) == 0 && (lane->at & (span - 1)) == 0);
}

/* Writes short messages of one size, end to end, the first of which fits, as far as they reach and begin before stop. Their number. Behind
 * the ring's end it stands again, so one follows the other in memory. */
static inline __attribute__((always_inline)) size_t
run_write_same(struct lane *lane, const struct iovec *messages, size_t count, size_t size, uint64_t stop, bool wide) {
    const uint32_t span = lane_span(size), most = ((uint32_t)(stop - lane->at) + span - 1) / span;
    const struct iovec *next = messages, *const end = messages + (most < count ? most : count);
    unsigned char *at = (unsigned char *)lane_at(lane, lane->at);
    do {
        struct lane_head *head = (struct lane_head *)(void *)at;
        lane_claim(head, span);
        atomic_poke(&head->word, lane_word(span, (uint32_t)size));
        if (wide) {
            wide_line(lane_payload(head), next->iov_base);
        } else {
            copy_few(lane_payload(head), next->iov_base, size);
        }
        at += span;
        next++;
    } while (next != end && next->iov_len == size && parts_there(next));
    const size_t n = (size_t)(next - messages);
    lane->at += n * span;
    return n;
}

/* The same where some steps are longer, until that is over. */
static inline size_t run_write_uneven(struct lane *lane, const struct iovec *messages, size_t count, size_t size,
                                      uint64_t stop) {
    const uint32_t span = lane_span(size);
    size_t n = 0;
    do {
        const uint32_t step = lane_step(lane, size);
        struct lane_head *head = lane_at(lane, lane->at);
        lane_claim(head, span);
        atomic_poke(&head->word, lane_word(step, (uint32_t)size));
        copy_few(lane_payload(head), messages[n].iov_base, size);
        lane->at += step;
        n++;
    } while (n < count && messages[n].iov_len == size && parts_there(messages + n) && lane->at < stop &&
             !run_is_even(lane, span));
    return n;
}

/* The sizes that are most usual, a word and a cache line, are known when this is compiled. */
static inline size_t run_write_alike(struct lane *lane, const struct iovec *messages, size_t count, size_t size,
                                     uint64_t stop, bool wide) {
    if (unlikely(!run_is_even(lane, lane_span(size)))) {
        return run_write_uneven(lane, messages, count, size, stop);
    }
    switch (size) {
    case sizeof(uint64_t):
        return run_write_same(lane, messages, count, sizeof(uint64_t), stop, false);
    case CACHE_LINE:
        return wide ? run_write_same(lane, messages, count, CACHE_LINE, stop, true)
                    : run_write_same(lane, messages, count, CACHE_LINE, stop, false);
    default:
        return run_write_same(lane, messages, count, size, stop, false);
    }
}

/* Where a short message may begin: not behind `end`, and so that it fits whatever is added to keep the next one whole. */
static inline uint64_t run_last_place(const struct lane *lane, uint64_t end) {
    const uint64_t most = lane_span(COPY_FEW) + CACHE_LINE + sizeof(struct lane_head);
    uint64_t place = lane->limit > most ? lane->limit - most : 0;
    return place < end ? place : end;
}

/* Writer: as many of the messages, of `most` bytes at most, as fit. Their number; 0: the first needs more than this. Nobody sees
 * them before run_commit, which gets *first. */
static inline size_t run_write(struct lane *lane, const struct iovec *messages, size_t count, size_t most,
                               uint64_t *first, bool wide) {
    const uint64_t end = lane->at + RUN_BYTES, stop = run_last_place(lane, end);
    size_t n = 0;
    while (n < count && lane->at < end) {
        size_t size = messages[n].iov_len;
        if (likely(n != 0 && size <= COPY_FEW && size <= most && lane->at < stop && parts_there(messages + n))) {
            n += run_write_alike(lane, messages + n, count - n, size, stop, wide);
            continue;
        }
        uint32_t span = lane_step(lane, size);
        if (unlikely(size > most || !lane_fits(lane, span) || !parts_there(messages + n))) {
            break;
        }
        struct lane_head *head = lane_at(lane, lane->at);
        lane_claim(head, span);
        uint64_t word = lane_word(span, (uint32_t)size);
        *first = n == 0 ? word : *first;
        atomic_poke(&head->word, n == 0 ? 0 : word); /* the first one's keeps them all back */
        copy_any(lane_payload(head), messages[n].iov_base, size);
        lane->at += span;
        n++;
    }
    if (n > 0) {
        weave("run.write.before");
        atomic_poke(&lane_at(lane, lane->at)->word, 0);
    }
    return n;
}

/* Writer: shows those that begin there. */
static inline void run_commit(const struct lane *lane, uint64_t begin, uint64_t first) {
    atomic_store(&lane_at(lane, begin)->word, first); /* as lane_commit */
}

/* ---- reading ---- */

/* Copies messages whose header is `word`, as long as they are: `most` at most, and there is one. Their number. */
static inline __attribute__((always_inline)) size_t
run_read_same(struct lane *lane, uint64_t word, size_t size, char *to, struct iovec *messages, size_t most, bool wide) {
    const uint32_t span = (uint32_t)word;
    const size_t step = (size + 7) & ~(size_t)7;
    const unsigned char *at = (const unsigned char *)lane_at(lane, lane->at);
    const struct lane_head *head = (const struct lane_head *)(const void *)at;
    struct iovec *next = messages, *const end = messages + most;
    do {
        lane_fetch(head, lane_span(size));
        if (wide) {
            wide_line(to, lane_payload(head));
        } else {
            copy_any(to, lane_payload(head), size);
        }
        *next++ = (struct iovec){to, size};
        to += step;
        at += span;
        head = (const struct lane_head *)(const void *)at;
    } while (next != end && atomic_load(&head->word) == word); /* pairs with lane_commit */
    const size_t n = (size_t)(next - messages);
    lane->at += n * span;
    return n;
}

/* The sizes that are most usual, a word and a cache line, are known when this is compiled. */
static inline size_t run_read_alike(struct lane *lane, uint64_t word, size_t size, char *to, struct iovec *messages,
                                    size_t most, bool wide) {
    switch (size) {
    case sizeof(uint64_t):
        return run_read_same(lane, word, sizeof(uint64_t), to, messages, most, false);
    case CACHE_LINE:
        return wide ? run_read_same(lane, word, CACHE_LINE, to, messages, most, true)
                    : run_read_same(lane, word, CACHE_LINE, to, messages, most, false);
    default:
        return run_read_same(lane, word, size, to, messages, most, false);
    }
}

/* How many messages of that size fit, of `most` at most. Dividing takes as long as copying some. */
static inline size_t run_fitting(size_t size, size_t capacity, size_t most) {
    size_t step = (size + 7) & ~(size_t)7;
    if (unlikely(size > capacity)) {
        return 0;
    }
    if (likely(most <= UINT32_MAX && step <= UINT32_MAX && (uint64_t)most * step <= capacity)) {
        return most;
    }
    size_t fit = step == 0 ? most : (capacity - size) / step + 1;
    return fit < most ? fit : most;
}

/* How many of that span a ring surely holds: one follows the other in memory, as far as it is mapped a second time. */
static inline size_t run_within(const struct lane *lane, uint32_t span) {
    return (size_t)((lane->mask + 1) >> (32 - __builtin_clz(span)));
}

/* Reader: copies the messages that are there, as many as fit, each 8-byte aligned in the buffer. Their number; messages says where
 * each one is. A header like the last one needs no second check, and taking the next one for where it was last time, the
 * processor need not wait for this one. */
static inline size_t run_read(struct lane *lane, char *buffer, size_t capacity, struct iovec *messages, size_t count,
                              bool wide) {
    size_t n = 0, used = 0;
    while (n < count) {
        uint64_t word = atomic_load(&lane_at(lane, lane->at)->word); /* pairs with lane_commit and run_commit */
        size_t size = (uint32_t)(word >> 32);
        size_t most = used > capacity ? 0 : run_fitting(size, capacity - used, count - n);
        if (word == 0 || most == 0 || !lane_sound(lane, (uint32_t)word, (uint32_t)size)) {
            break;
        }
        size_t within = run_within(lane, (uint32_t)word);
        most = within < most ? within : most;
        size_t some = run_read_alike(lane, word, size, buffer + used, messages + n, most, wide);
        n += some;
        used += some * ((size + 7) & ~(size_t)7);
    }
    return n;
}

#endif
