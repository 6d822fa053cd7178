/* SPDX-License-Identifier: MIT
 *
 * Sending and receiving by copy. The first try is straight; everything that has to wait goes through end_do.
 */
#include "chan/end.h"

struct sending {
    const void *data;
    size_t size, done;
};

static int try_send(thirl *end, void *arguments, bool wait) {
    struct sending *sending = arguments;
    int rc = end->mech->send(end->state, sending->data, sending->size, &sending->done, wait);
    if (rc == 0) {
        end_count(&end->seen->out, sending->size);
    }
    return rc;
}

/* The deadline has passed while a message was partly on its way. */
static int settle(thirl *end, struct sending *sending, int rc) {
    if (sending->done == 0 || (rc != -ETIMEDOUT && rc != -EAGAIN) || end->mech->settle == NULL) {
        return rc;
    }
    int entered = end_enter(end, MECH_OUT, INT64_MAX);
    if (entered != 0) {
        return entered;
    }
    int settled = end->mech->settle(end->state, sending->data, sending->size, sending->done);
    if (settled == 0 && !end->stream) {
        end_count(&end->seen->out, sending->size);
    }
    end_leave(end, MECH_OUT);
    if (settled == 0 && end->stream) {
        return err_add(rc, "; %zu of %zu bytes were sent", sending->done, sending->size);
    }
    return settled;
}

int thirl_send(thirl *end, const void *data, size_t size, thirl_time until) {
    struct sending sending = {data, size, 0};
    if (unlikely(end == NULL || end->mech->blocks)) {
        return settle(end, &sending, end_do(end, MECH_OUT, try_send, &sending, until));
    }
    int rc = end_enter(end, MECH_OUT, 0);
    if (likely(rc == 0)) {
        rc = end->mech->send(end->state, data, size, &sending.done, false);
        if (likely(rc == 0)) {
            end_count(&end->seen->out, size);
        }
        end_leave(end, MECH_OUT);
    }
    if (unlikely(rc == -EAGAIN)) {
        rc = end_do(end, MECH_OUT, try_send, &sending, until);
        return settle(end, &sending, rc);
    }
    return rc;
}

struct receiving {
    void *buffer;
    size_t capacity, *size;
};

static int try_recv(thirl *end, void *arguments, bool wait) {
    struct receiving *receiving = arguments;
    int rc = end->mech->recv(end->state, receiving->buffer, receiving->capacity, receiving->size, wait);
    if (rc == 0) {
        end_count(&end->seen->in, *receiving->size);
    }
    return rc;
}

int thirl_recv(thirl *end, void *buffer, size_t capacity, size_t *size, thirl_time until) {
    size_t unasked;
    size = size == NULL ? &unasked : size;
    *size = 0;
    if (unlikely(end == NULL || end->mech->blocks)) {
        struct receiving receiving = {buffer, capacity, size};
        return end_do(end, MECH_IN, try_recv, &receiving, until);
    }
    int rc = end_enter(end, MECH_IN, 0);
    if (likely(rc == 0)) {
        rc = end->mech->recv(end->state, buffer, capacity, size, false);
        if (likely(rc == 0)) {
            end_count(&end->seen->in, *size);
        }
        end_leave(end, MECH_IN);
    }
    if (unlikely(rc == -EAGAIN)) {
        struct receiving receiving = {buffer, capacity, size};
        return end_do(end, MECH_IN, try_recv, &receiving, until);
    }
    return rc;
}
