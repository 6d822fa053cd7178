/* SPDX-License-Identifier: MIT
 *
 * Sending and receiving by copy. The first try is straight; everything that has to wait goes through end_do.
 */
#include "chan/errand.h"

struct sending {
    const void *data;
    size_t size, done;
    const struct mech_note *note; /* of those that have one */
};

HOT static int try_send(thirl *end, void *arguments, bool wait) {
    struct sending *sending = arguments;
    int rc = end->send(end->state, sending->data, sending->size, &sending->done, wait);
    if (rc == 0) {
        end_count(&end->seen->out, sending->size);
    }
    return rc;
}

HOT static inline int try_send_noted(thirl *end, void *arguments, bool wait) {
    struct sending *sending = arguments;
    int rc = end->mech->send_noted(end->state, sending->data, sending->size, &sending->done, sending->note, wait);
    if (rc == 0) {
        end_count(&end->seen->out, sending->size);
    }
    return rc;
}

static __attribute__((noinline)) int settle_partly(thirl *end, struct sending *sending, int rc) {
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
        return err_add(rc, "%zu of %zu bytes were sent", sending->done, sending->size);
    }
    return settled;
}

/* The deadline may have passed while a message was partly on its way. */
static inline int settle(thirl *end, struct sending *sending, int rc) {
    bool partly = sending->done != 0 && (rc == -ETIMEDOUT || rc == -EAGAIN);
    return unlikely(partly) && end->mech->settle != NULL ? settle_partly(end, sending, rc) : rc;
}

/* The first try did not do it; still under the gate. */
static __attribute__((noinline)) int send_on(thirl *end, struct sending *sending, thirl_time until, int rc) {
    until = end_patience(end, until);
    bool waits = rc == -EAGAIN && until.ns != 0;
    if (waits) {
        end_wait_begins(end, MECH_OUT);
    }
    end_leave_straight(end, MECH_OUT);
    if (rc != -EAGAIN) {
        return rc;
    }
    rc = (waits ? end_go_on : end_do)(end, MECH_OUT, try_send, sending, until);
    return settle(end, sending, rc);
}

/* Everything but the straight way. */
static __attribute__((noinline)) int send_slowly(thirl *end, const void *data, size_t size, thirl_time until) {
    struct sending sending = {data, size, 0, NULL};
    if (unlikely(end != NULL && end->asks)) {
        return end_refuse_plain(end, "thirl_send");
    }
    if (data == NULL && size != 0) {
        return err_say(EINVAL, "thirl_send: there is no data (NULL), but %zu bytes of it", size);
    }
    until = end != NULL ? end_patience(end, until) : until;
    return settle(end, &sending, end_do(end, MECH_OUT, try_send, &sending, until));
}

HOT int thirl_send(thirl *end, const void *data, size_t size, thirl_time until) {
    if (likely(end != NULL) && likely(data != NULL) && end_is_direct(end, until) && end_enter_straight(end, MECH_OUT)) {
        struct sending sending = {data, size, 0, NULL};
        ASIDE(sending);
        ASIDE(until);
        int rc = end->send(end->state, data, size, &sending.done, end->patient);
        if (unlikely(rc != 0)) {
            ERRAND_FROM_HERE();
            return send_on(end, &sending, until, rc);
        }
        end_count(&end->seen->out, sending.size);
        end_leave_straight(end, MECH_OUT);
        return 0;
    }
    ERRAND_FROM_HERE();
    return send_slowly(end, data, size, until);
}

int end_send_noted(thirl *end, const void *data, size_t size, const struct mech_note *note, thirl_time until) {
    struct sending sending = {data, size, 0, note};
    return settle(end, &sending, end_do_straight(end, MECH_OUT, try_send_noted, &sending, end_patience(end, until)));
}

struct receiving {
    void *buffer;
    size_t capacity, *size;
};

static int unfit(const thirl *end, size_t capacity, size_t size) {
    return err_say(EMSGSIZE, "%s: the message has %zu bytes, the buffer %zu: receive it again with more", end->address,
                   size, capacity);
}

HOT static int try_recv(thirl *end, void *arguments, bool wait) {
    struct receiving *receiving = arguments;
    int rc = end->recv(end->state, receiving->buffer, receiving->capacity, receiving->size, wait);
    (void)end_number(end, rc);
    if (rc == 0) {
        end_count(&end->seen->in, *receiving->size);
    }
    return rc == -EMSGSIZE ? unfit(end, receiving->capacity, *receiving->size) : end_answer(rc);
}

/* As send_on. */
static __attribute__((noinline)) int recv_on(thirl *end, struct receiving *receiving, thirl_time until, int rc) {
    if (rc == -EAGAIN && end_is_keen(end, MECH_IN, until) &&
        (rc = end_linger(end, MECH_IN, try_recv, receiving)) == 0) {
        end_leave_straight(end, MECH_IN);
        return 0;
    }
    bool waits = rc == -EAGAIN && until.ns != 0;
    if (end->patient) {
        (void)end_number(end, rc);
    }
    if (waits) {
        end_wait_begins(end, MECH_IN);
    }
    end_leave_straight(end, MECH_IN);
    if (rc == -EMSGSIZE) {
        return unfit(end, receiving->capacity, *receiving->size);
    }
    *receiving->size = 0;
    return rc != -EAGAIN ? end_answer(rc) : (waits ? end_go_on : end_do)(end, MECH_IN, try_recv, receiving, until);
}

static __attribute__((noinline)) int recv_slowly(thirl *end, void *buffer, size_t capacity, size_t *size,
                                                 thirl_time until) {
    size_t unasked = 0;
    struct receiving receiving = {buffer, capacity, size != NULL ? size : &unasked};
    *receiving.size = 0;
    if (unlikely(end != NULL && end->asks)) {
        return end_refuse_plain(end, "thirl_recv");
    }
    if (buffer == NULL && capacity != 0) {
        return err_say(EINVAL, "thirl_recv: there is no buffer (NULL), but %zu bytes of it", capacity);
    }
    return end_do(end, MECH_IN, try_recv, &receiving, until);
}

HOT int thirl_recv(thirl *end, void *buffer, size_t capacity, size_t *size, thirl_time until) {
    if (likely(end != NULL) && likely(buffer != NULL) && likely(size != NULL) && end_is_direct(end, until) &&
        end_enter_straight(end, MECH_IN)) {
        struct receiving receiving = {buffer, capacity, size};
        ASIDE(receiving);
        ASIDE(until);
        int rc = end->recv(end->state, buffer, capacity, size, end_may_wait(end, MECH_IN, until));
        if (unlikely(rc != 0)) {
            ERRAND_FROM_HERE();
            return recv_on(end, &receiving, until, rc);
        }
        if (end->patient) {
            end->way[MECH_IN].next++;
        }
        end_count(&end->seen->in, *receiving.size);
        end_leave_straight(end, MECH_IN);
        return 0;
    }
    ERRAND_FROM_HERE();
    return recv_slowly(end, buffer, capacity, size, until);
}
