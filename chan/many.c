/* SPDX-License-Identifier: MIT
 *
 * Many messages in one call. Where the mechanism has nothing better, they go one by one, and come one at a time.
 */
#include "base/parts.h"
#include "chan/end.h"
#include "chan/errand.h"

static inline void count_many(struct node_count *count, size_t number, size_t bytes) {
    atomic_poke(&count->messages, count->messages + number);
    atomic_poke(&count->bytes, count->bytes + bytes);
}

/* ---- sending ---- */

struct sending {
    const struct iovec *messages;
    size_t count, next;
    size_t done; /* bytes of the next one that are on their way */
};

static void count_sent(thirl *end, struct sending *sending, size_t went, size_t bytes) {
    count_many(&end->seen->out, went, bytes);
    sending->next += went;
    sending->done = 0;
}

static int refuse_empty(const struct sending *sending) {
    return err_say(EINVAL, "thirl_send_many: message %zu has no data (NULL), but %zu bytes of it", sending->next,
                   sending->messages[sending->next].iov_len);
}

static int try_send_many(thirl *end, void *arguments, bool wait) {
    struct sending *sending = arguments;
    int rc = 0;
    while (rc == 0 && sending->next < sending->count) {
        const struct iovec *messages = sending->messages + sending->next;
        size_t went = sending->count - sending->next, bytes = 0;
        if (unlikely(!parts_there(messages))) {
            return refuse_empty(sending);
        }
        rc = end->mech->send_many != NULL && sending->done == 0
                 ? end->mech->send_many(end->state, messages, &went, &bytes)
                 : 1;
        if (rc == 1) {
            rc = end->mech->send(end->state, messages->iov_base, messages->iov_len, &sending->done, wait);
            went = rc == 0;
            bytes = messages->iov_len;
        }
        if (likely(went != 0)) {
            count_sent(end, sending, went, bytes);
        }
    }
    return rc;
}

/* The deadline has passed while a message was partly on its way: it counts as sent, and the rest of it follows. */
static int settle(thirl *end, struct sending *sending, int rc) {
    if (end == NULL || sending->done == 0 || (rc != -ETIMEDOUT && rc != -EAGAIN) || end->mech->settle == NULL) {
        return rc;
    }
    int entered = end_enter(end, MECH_OUT, INT64_MAX);
    if (entered != 0) {
        return entered;
    }
    const struct iovec *message = sending->messages + sending->next;
    int settled = end->mech->settle(end->state, message->iov_base, message->iov_len, sending->done);
    if (settled == 0 && !end->stream) {
        count_sent(end, sending, 1, message->iov_len);
    }
    end_leave(end, MECH_OUT);
    return settled != 0 ? settled : sending->next == sending->count ? 0 : rc;
}

int thirl_send_many(thirl *end, const struct iovec *messages, size_t *count, thirl_time until) {
    ERRAND_FROM_HERE();
    if (count == NULL || (messages == NULL && *count != 0)) {
        return err_say(EINVAL, "thirl_send_many: there are no messages, or no count of them (NULL)");
    }
    struct sending sending = {.messages = messages, .count = *count};
    *count = 0;
    if (end != NULL && end->asks) {
        return end_refuse_plain(end, "thirl_send_many");
    }
    until = end != NULL ? end_patience(end, until) : until;
    int rc = settle(end, &sending, end_do_straight(end, MECH_OUT, try_send_many, &sending, until));
    *count = sending.next;
    return rc;
}

/* ---- receiving ---- */

struct receiving {
    void *buffer;
    size_t capacity;
    struct iovec *messages;
    size_t count, got, bytes;
};

static int try_recv_many(thirl *end, void *arguments, bool wait) {
    struct receiving *receiving = arguments;
    struct iovec *messages = receiving->messages;
    int rc;
    receiving->got = receiving->count;
    if (end->mech->recv_many != NULL) {
        rc = end->mech->recv_many(end->state, receiving->buffer, receiving->capacity, messages, &receiving->got,
                                  &receiving->bytes);
        for (size_t i = 0; end->mech->take == NULL && i < (rc == 0 ? receiving->got : 1); i++) {
            (void)end_number(end, rc);
        }
    } else {
        rc = end->mech->recv(end->state, receiving->buffer, receiving->capacity, &messages->iov_len, wait);
        messages->iov_base = receiving->buffer;
        receiving->got = rc == 0;
        receiving->bytes = messages->iov_len;
        (void)end_number(end, rc);
    }
    if (rc == 0) {
        count_many(&end->seen->in, receiving->got, receiving->bytes);
    } else if (rc == -EMSGSIZE) {
        return err_say(EMSGSIZE, "%s: the message has %zu bytes, the buffer %zu: receive it again with more",
                       end->address, messages->iov_len, receiving->capacity);
    }
    return end_answer(rc);
}

int thirl_recv_many(thirl *end, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                    thirl_time until) {
    ERRAND_FROM_HERE();
    if (messages == NULL || count == NULL || *count == 0 || (buffer == NULL && capacity != 0)) {
        return err_say(EINVAL, "thirl_recv_many: there is no buffer, or no room for a message in messages (NULL or 0)");
    }
    struct receiving receiving = {.buffer = buffer, .capacity = capacity, .messages = messages, .count = *count};
    *count = 0;
    if (end != NULL && end->asks) {
        return end_refuse_plain(end, "thirl_recv_many");
    }
    int rc = end_do_straight(end, MECH_IN, try_recv_many, &receiving, until);
    *count = rc == 0 ? receiving.got : 0;
    return rc;
}
