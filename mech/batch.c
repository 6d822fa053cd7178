/* SPDX-License-Identifier: MIT
 *
 * Many frames at once, see batch.h.
 */
#include "mech/batch.h"

#include <string.h>

#include "base/err.h"
#include "base/parts.h"
#include "mech/pull.h"

/* Puts frames together until the room is used up or one is too large for that; how many, and *size of all. */
static size_t gather(struct link *l, const struct iovec *messages, size_t count, size_t *size) {
    size_t n = 0, at = 0;
    while (n < count && parts_there(messages + n) && messages[n].iov_len <= LINK_SMALL_MAX &&
           messages[n].iov_len <= l->terms.send_max && at + FRAME_HEAD + messages[n].iov_len <= LINK_BATCH_MAX) {
        const struct frame_head head = {
            .size = (uint32_t)messages[n].iov_len, .number = (uint16_t)(l->number_out + n), .type = FRAME_DATA};
        frame_write_head(l->small + at, &head);
        if (head.size != 0) {
            memcpy(l->small + at + FRAME_HEAD, messages[n].iov_base, head.size);
        }
        at += FRAME_HEAD + head.size;
        n++;
    }
    *size = at;
    return n;
}

int batch_send(struct link *l, const struct iovec *messages, size_t *count) {
    size_t there = *count, size, at = 0;
    *count = 0;
    if (l->terms.raw || l->terms.packets || l->terms.bytes || there < 2) {
        return 1;
    }
    int rc = link_begin(l, false);
    if (rc != 0 || l->sent != 0) {
        return rc != 0 ? rc : -EAGAIN;
    }
    size_t n = gather(l, messages, there, &size);
    if (n < 2) {
        return 1;
    }
    ssize_t went = link_write(l, l->small, size);
    if (went < 0) {
        return (int)went;
    }
    for (size_t i = 0; i < n && at < (size_t)went; i++) {
        size_t frame = FRAME_HEAD + messages[i].iov_len, left = (size_t)went - at;
        if (left < frame) { /* its rest leaves before anything else does */
            memcpy(l->front, l->small + at, FRAME_HEAD);
            l->ahead = FRAME_HEAD;
            l->sent = left;
            rc = link_settle(l, messages[i].iov_base, messages[i].iov_len);
        } else {
            l->number_out++;
        }
        if (rc != 0) {
            return *count != 0 ? 0 : rc;
        }
        at += frame;
        (*count)++;
    }
    return 0;
}

/* Is a whole message at hand, of at most so many bytes? */
static bool is_whole(struct link *l, size_t capacity) {
    struct frame_head head;
    (void)gate_enter(&l->reading, INT64_MAX);
    size_t held = frame_box_held(&l->box);
    bool whole = held >= FRAME_HEAD && frame_read_head(l->box.data + l->box.from, &head) == 0 &&
                 head.type == FRAME_DATA && head.size < FRAME_LARGE && held - FRAME_HEAD >= head.size &&
                 head.size <= capacity;
    gate_leave(&l->reading);
    return whole;
}

void batch_recv(struct link *l, void *buffer, size_t capacity, struct iovec *messages, size_t *count) {
    size_t most = *count, at = messages[0].iov_len, size;
    for (*count = 1; *count < most && !l->unusual && !l->terms.bytes; (*count)++) {
        at = (at + 7) & ~(size_t)7;
        if (at > capacity || !is_whole(l, capacity - at) ||
            pull_recv(l, (char *)buffer + at, capacity - at, &size, false) != 0) {
            break;
        }
        messages[*count] = (struct iovec){(char *)buffer + at, size};
        at += size;
    }
}
