/* SPDX-License-Identifier: MIT
 *
 * Bytes in several places, as a struct iovec names them: for callers whose system call wants one block. Any room may use it; it
 * never blocks.
 */
#ifndef BASE_PARTS_H
#define BASE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/copy.h"

/* NULL can only be where there are no bytes. */
static inline bool parts_there(const struct iovec *part) {
    return likely(part->iov_base != NULL) || part->iov_len == 0;
}

/* Bytes of all of them. */
static inline size_t parts_size(const struct iovec *part, size_t parts) {
    size_t size = 0;
    for (size_t i = 0; i < parts; i++) {
        size += part[i].iov_len;
    }
    return size;
}

/* Joins them, and takes them apart again: fills one after the other. */
static inline void parts_gather(void *block, const struct iovec *part, unsigned parts) {
    char *at = block;
    for (unsigned i = 0; i < parts; i++) {
        copy_any(at, part[i].iov_base, part[i].iov_len);
        at += part[i].iov_len;
    }
}

static inline void parts_scatter(const struct iovec *part, unsigned parts, const void *block, size_t size) {
    const char *at = block;
    size_t some = part->iov_len < size ? part->iov_len : size;
    copy_over(part->iov_base, at, some); /* the block may be the last part */
    for (unsigned i = 1; i < parts && size != some; i++) {
        at += some;
        size -= some;
        some = part[i].iov_len < size ? part[i].iov_len : size;
        copy_over(part[i].iov_base, at, some);
    }
}

/* What was received into a block, which may be the last part, goes to where it is wanted: *at is that place, or it is scattered where `at` is NULL. */
static inline void parts_give(const struct iovec *part, unsigned parts, const void *block, size_t size,
                              const void **at) {
    if (at != NULL) {
        *at = block;
    } else {
        parts_scatter(part, parts, block, size);
    }
}

#endif
