/* SPDX-License-Identifier: MIT
 *
 * Many messages at once. Those in a row that are short and of one size stand behind one header, a run, so that a line carries as many as it
 * can: one copy takes a run out. Others have a header each, and the first one's holds all back. The same rules as in mem/lane.h; inline, because
 * here instructions count. `wide` is wide_here's: one register then holds a cache line.
 *
 *     run: [span, LANE_RUN, number, size][message][message]...[message]      each rounded up to 8; the span ends with the last
 *
 * A reader in the midst of one shows, for each message, the position that a record of its own would have had: what stands before it is free.
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

/* Writes messages of that size end to end, as long as they are of it and have data: `most` at most. Their number. */
static inline __attribute__((always_inline)) size_t run_fill_some(unsigned char *to, const struct iovec *messages,
                                                                  size_t most, size_t size, bool wide) {
    size_t n = 0;
    atomic_claim(to + LANE_CLAIM);
#pragma GCC unroll 8
    for (; n < most; n++) {
        const void *data = messages[n].iov_base;
        if (unlikely(messages[n].iov_len != size || data == NULL)) {
            break;
        }
        if (wide) {
            wide_line(to + n * lane_round(size), data);
        } else {
            copy_few(to + n * lane_round(size), data, size);
        }
    }
    return n;
}

/* The same, a line after the other: so many messages are in one. That and the size may be known when this is compiled. */
static inline __attribute__((always_inline)) size_t run_fill(unsigned char *to, const struct iovec *messages,
                                                             size_t most, size_t size, size_t of_a_line, bool wide) {
    size_t n = 0, some = of_a_line;
    while (most - n >= of_a_line && some == of_a_line) {
        some = run_fill_some(to + n * lane_round(size), messages + n, of_a_line, size, wide);
        n += some;
    }
    return some == of_a_line ? n + run_fill_some(to + n * lane_round(size), messages + n, most - n, size, wide) : n;
}

/* As many of the messages as fit behind one header, up to about that position, and are of the first one's size, which is a short one: none if that
 * would be but one. The sizes that are most usual, a word and a cache line, are known when this is compiled. */
static inline size_t run_write_alike(struct lane *lane, const struct iovec *messages, size_t count, uint64_t end,
                                     uint64_t *word, bool wide) {
    const size_t size = messages->iov_len, step = lane_round(size);
    const uint64_t heads = 2 * sizeof(struct lane_head); /* its own, and the one behind it */
    const uint64_t room = lane->limit > lane->at + heads ? lane->limit - lane->at - heads : 0;
    const size_t bytes = (size_t)(room < end - lane->at ? room : end - lane->at);
    size_t most = likely(count <= RUN_BYTES / COPY_FEW && count * step <= bytes)
                      ? count
                      : bytes / step; /* dividing takes as long as copying some */
    most = most < count ? most : count;
    unsigned char *to = lane_payload(lane_at(lane, lane->at));
    if (size == sizeof(uint64_t)) {
        most = run_fill(to, messages, most, sizeof(uint64_t), CACHE_LINE / sizeof(uint64_t), false);
    } else if (size == CACHE_LINE && wide) {
        most = run_fill(to, messages, most, CACHE_LINE, 1, true);
    } else {
        most = run_fill(to, messages, most, size, 1, false);
    }
    if (unlikely(most < 2)) {
        return 0;
    }
    const uint32_t span = (uint32_t)(sizeof(struct lane_head) + most * step);
    lane->at += span;
    *word = lane_word(span, lane_run((uint32_t)most, (uint32_t)size));
    return most;
}

/* A message with a header of its own: 1; 0, it does not fit. */
static inline size_t run_write_one(struct lane *lane, const struct iovec *message, uint64_t *word) {
    const uint32_t span = lane_step(lane, message->iov_len);
    if (unlikely(!lane_fits(lane, span) || !parts_there(message))) {
        return 0;
    }
    struct lane_head *head = lane_at(lane, lane->at);
    lane_claim(head, span);
    copy_any(lane_payload(head), message->iov_base, message->iov_len);
    lane->at += span;
    *word = lane_word(span, (uint32_t)message->iov_len);
    return 1;
}

/* Writer: as many of the messages, of `most` bytes at most, as fit. Their number, and adds their bytes; 0: the first needs more than this. Nobody
 * sees them before run_commit, which gets *first. */
static inline size_t run_write(struct lane *lane, const struct iovec *messages, size_t count, size_t most,
                               size_t *bytes, uint64_t *first, bool wide) {
    const uint64_t end = lane->at + RUN_BYTES;
    size_t n = 0;
    while (n < count && lane->at < end && messages[n].iov_len <= most) {
        const size_t size = messages[n].iov_len;
        struct lane_head *head = lane_at(lane, lane->at);
        uint64_t word = 0;
        size_t some =
            size - 1 < COPY_FEW ? run_write_alike(lane, messages + n, count - n, end, &word, wide) : 0; /* not of 0 */
        some = unlikely(some == 0) ? run_write_one(lane, messages + n, &word) : some;
        if (unlikely(some == 0)) {
            break;
        }
        *first = n == 0 ? word : *first;
        atomic_poke(&head->word, n == 0 ? 0 : word); /* the first one's keeps them all back */
        n += some;
        *bytes += some * size;
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

struct run {             /* of a reader, in the midst of one */
    uint32_t left, size; /* so many messages, each so large */
};

static inline void run_enter(struct run *run, uint32_t size) {
    *run = (struct run){lane_run_count(size), lane_run_size(size)};
}

/* From the position of the next message to that of the one behind it, or, behind the last, of the next record. */
static inline uint32_t run_span(const struct run *run) {
    return (uint32_t)(lane_round(run->size) + (run->left == 1 ? sizeof(struct lane_head) : 0));
}

/* A line at a time: memcpy moves so many bytes by another way, and was a fifth slower where their lines come from another processor. */
static inline void run_copy_out(char *to, const char *from, size_t bytes) {
    size_t at = 0;
    for (; bytes - at > COPY_FEW; at += COPY_FEW) {
        copy_few(to + at, from + at, COPY_FEW);
    }
    copy_few(to + at, from + at, bytes - at);
}

/* Copies so many messages of the run. */
static inline void run_empty(struct lane *lane, struct run *run, char *to, struct iovec *messages, size_t count) {
    if (count == 0) {
        return;
    }
    const size_t size = run->size, step = lane_round(size), bytes = (count - 1) * step + size;
    const struct lane_head *head = lane_at(lane, lane->at);
    for (size_t i = 0; i < bytes; i += CACHE_LINE) {
        lane_fetch((const struct lane_head *)(const void *)((const char *)head + i), 0);
    }
    run_copy_out(to, lane_payload(head), bytes);
#pragma GCC unroll 4
    for (size_t i = 0; i < count; i++, to += step) {
        messages[i] = (struct iovec){to, size};
    }
    lane->at += count * step + (count == run->left ? sizeof *head : 0);
    run->left -= (uint32_t)count;
}

/* How many messages of the run fit into that, of `most` at most. */
static inline size_t run_fitting(const struct run *run, size_t capacity, size_t most) {
    const size_t step = lane_round(run->size);
    most = most < run->left ? most : run->left;
    if (likely(most * step <= capacity)) {
        return most;
    }
    size_t fit =
        capacity < run->size ? 0 : (capacity - run->size) / step + 1; /* dividing takes as long as copying some */
    return fit < most ? fit : most;
}

/* Copies the message at the lane's position, which has a header of its own. */
static inline void run_copy_one(struct lane *lane, uint32_t span, uint32_t size, char *to, struct iovec *message) {
    const struct lane_head *head = lane_at(lane, lane->at);
    lane_fetch(head, span);
    copy_any(to, lane_payload(head), size);
    *message = (struct iovec){to, size};
    lane->at += span;
}

/* Reader: copies the messages that are there, as many as fit, each 8-byte aligned in the buffer. Their number; messages says where
 * each one is, *bytes how large they are together. What does not lie in the lane is left, and what is damaged. */
static inline size_t run_read(struct lane *lane, struct run *run, char *buffer, size_t capacity, struct iovec *messages,
                              size_t count, size_t *bytes) {
    size_t n = 0, used = 0;
    *bytes = 0;
    while (n < count && used <= capacity) {
        uint32_t span = 0, size = 0;
        size_t some = 0;
        if (run->left == 0) {
            if (lane_look_away(lane, &span, &size) != 1) {
                break;
            }
            if (lane_is_run(size)) {
                run_enter(run, size);
            }
        }
        if (run->left != 0) {
            size = run->size;
            some = run_fitting(run, capacity - used, count - n);
            run_empty(lane, run, buffer + used, messages + n, some);
        } else if ((size & LANE_RUN) == 0 && size <= capacity - used) {
            some = 1;
            run_copy_one(lane, span, size, buffer + used, messages + n);
        }
        if (some == 0) {
            break;
        }
        n += some;
        used += some * lane_round(size);
        *bytes += some * size;
    }
    return n;
}

#endif
