/* SPDX-License-Identifier: MIT
 *
 * Many records of a lane at once: written behind a first one that holds them all back, and copied out. Messages in a row tend to be
 * of one size, and then little is to be asked of each. The same rules as in mem/lane.h; inline, because here instructions count.
 */
#ifndef MEM_RUN_H
#define MEM_RUN_H

#include <sys/uio.h>

#include "base/weave.h"
#include "mem/lane.h"

#define RUN_BYTES 4096 /* are committed together, or a little more: the reader can begin */

/* ---- writing ---- */

/* Writes short messages of one size, the first of which fits, as far as they reach and begin before stop. Their number. */
static inline __attribute__((always_inline)) size_t run_write_same(struct lane *lane, const struct iovec *messages,
                                                                   size_t count, size_t size, uint64_t stop) {
    size_t n = 0;
    do {
        uint32_t span = lane_step(lane, size);
        struct lane_head *head = lane_at(lane, lane->at);
        lane_claim(head, span);
        atomic_poke(&head->word, lane_word(span, (uint32_t)size));
        lane_copy_short(lane_payload(head), messages[n].iov_base, size);
        lane->at += span;
        n++;
    } while (n < count && messages[n].iov_len == size && lane->at < stop);
    return n;
}

/* The sizes that are most usual, a word and a cache line, are known when this is compiled. */
static inline size_t run_write_alike(struct lane *lane, const struct iovec *messages, size_t count, size_t size,
                                     uint64_t stop) {
    switch (size) {
    case sizeof(uint64_t):
        return run_write_same(lane, messages, count, sizeof(uint64_t), stop);
    case CACHE_LINE:
        return run_write_same(lane, messages, count, CACHE_LINE, stop);
    default:
        return run_write_same(lane, messages, count, size, stop);
    }
}

/* Where a short message may begin: not behind `end`, and so that it fits whatever is added to keep the next one whole. */
static inline uint64_t run_last_place(const struct lane *lane, uint64_t end) {
    const uint64_t most = lane_span(LANE_SHORT) + CACHE_LINE + sizeof(struct lane_head);
    uint64_t place = lane->limit > most ? lane->limit - most : 0;
    return place < end ? place : end;
}

/* Writer: as many of the messages, of `most` bytes at most, as fit. Their number; 0: the first needs more than this. Nobody sees
 * them before run_commit, which gets *first. */
static inline size_t run_write(struct lane *lane, const struct iovec *messages, size_t count, size_t most,
                               uint64_t *first) {
    const uint64_t end = lane->at + RUN_BYTES, stop = run_last_place(lane, end);
    size_t n = 0;
    while (n < count && lane->at < end) {
        size_t size = messages[n].iov_len;
        if (likely(n != 0 && size <= LANE_SHORT && size <= most && lane->at < stop)) {
            n += run_write_alike(lane, messages + n, count - n, size, stop);
            continue;
        }
        uint32_t span = lane_step(lane, size);
        if (unlikely(size > most || !lane_fits(lane, span))) {
            break;
        }
        struct lane_head *head = lane_at(lane, lane->at);
        lane_claim(head, span);
        uint64_t word = lane_word(span, (uint32_t)size);
        *first = n == 0 ? word : *first;
        atomic_poke(&head->word, n == 0 ? 0 : word); /* the first one's keeps them all back */
        lane_copy(lane_payload(head), messages[n].iov_base, size);
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
static inline __attribute__((always_inline)) size_t run_read_same(struct lane *lane, uint64_t word, size_t size,
                                                                  char *to, struct iovec *messages, size_t most) {
    const uint32_t span = (uint32_t)word;
    const size_t step = (size + 7) & ~(size_t)7;
    size_t n = 0;
    do {
        const struct lane_head *head = lane_at(lane, lane->at);
        if (n != 0 && atomic_load(&head->word) != word) { /* pairs with lane_commit */
            break;
        }
        lane_fetch(head, span);
        lane_copy(to, lane_payload(head), size);
        messages[n] = (struct iovec){to, size};
        to += step;
        lane->at += span;
    } while (++n < most);
    return n;
}

/* The sizes that are most usual, a word and a cache line, are known when this is compiled. */
static inline size_t run_read_alike(struct lane *lane, uint64_t word, size_t size, char *to, struct iovec *messages,
                                    size_t most) {
    switch (size) {
    case sizeof(uint64_t):
        return run_read_same(lane, word, sizeof(uint64_t), to, messages, most);
    case CACHE_LINE:
        return run_read_same(lane, word, CACHE_LINE, to, messages, most);
    default:
        return run_read_same(lane, word, size, to, messages, most);
    }
}

/* How many messages of that size fit. */
static inline size_t run_fitting(size_t size, size_t capacity) {
    size_t step = (size + 7) & ~(size_t)7;
    return size > capacity ? 0 : step == 0 ? SIZE_MAX : (capacity - size) / step + 1;
}

/* Reader: copies the messages that are there, as many as fit, each 8-byte aligned in the buffer. Their number; messages says where
 * each one is. A header like the last one needs no second check, and taking the next one for where it was last time, the
 * processor need not wait for this one. */
static inline size_t run_read(struct lane *lane, char *buffer, size_t capacity, struct iovec *messages, size_t count) {
    size_t n = 0, used = 0;
    while (n < count) {
        uint64_t word = atomic_load(&lane_at(lane, lane->at)->word); /* pairs with lane_commit and run_commit */
        size_t size = (uint32_t)(word >> 32), most = count - n;
        size_t fit = used > capacity ? 0 : run_fitting(size, capacity - used);
        most = fit < most ? fit : most;
        if (word == 0 || most == 0 || !lane_sound(lane, (uint32_t)word, (uint32_t)size)) {
            break;
        }
        size_t some = run_read_alike(lane, word, size, buffer + used, messages + n, most);
        n += some;
        used += some * ((size + 7) & ~(size_t)7);
    }
    return n;
}

#endif
