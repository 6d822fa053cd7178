/* SPDX-License-Identifier: MIT
 *
 * Writing and checking numbered messages.
 */
#include "tests/crash/talk.h"

#include <string.h>

#define MAGIC UINT32_C(0x7418a11c)

struct text {
    uint32_t magic, conversation;
    uint64_t number;
    uint32_t size, sum;
    unsigned char bytes[TALK_MAX];
};

#define HEAD offsetof(struct text, bytes)
_Static_assert(sizeof(struct text) == TALK_ROOM, "as it says");

static uint32_t size_of(uint64_t number) {
    return (uint32_t)(HEAD + number * 89 % (TALK_MAX / 2));
}

static uint32_t sum_of(const struct text *text, uint32_t size) {
    uint32_t sum = text->conversation * 31 + (uint32_t)text->number;
    for (uint32_t i = 0; i < size - HEAD; i++) {
        sum = (sum ^ text->bytes[i]) * UINT32_C(16777619);
    }
    return sum;
}

size_t talk_write(void *message, uint32_t conversation, uint64_t number) {
    struct text *text = message;
    uint32_t size = size_of(number);
    text->magic = MAGIC;
    text->conversation = conversation;
    text->number = number;
    text->size = size;
    for (uint32_t i = 0; i < size - HEAD; i++) {
        text->bytes[i] = (unsigned char)(number + i * 7 + conversation);
    }
    text->sum = sum_of(text, size);
    return size;
}

int talk_read(const void *message, size_t size, struct talk *talk) {
    const struct text *text = message;
    if (size < HEAD || size > HEAD + TALK_MAX || text->magic != MAGIC || text->size != size ||
        size_of(text->number) != size || sum_of(text, (uint32_t)size) != text->sum) {
        return TALK_TORN;
    }
    *talk = (struct talk){text->conversation, text->size, text->number};
    return 0;
}

int talk_send(thirl *end, uint32_t conversation, uint64_t number, thirl_time until) {
    struct text text;
    (void)talk_write(&text, conversation, number);
    if (number % 4 == 0) {
        return thirl_send(end, &text, text.size, until);
    }
    if (number % 4 == 2) {
        const struct iovec message = {&text, text.size};
        size_t count = 1;
        return thirl_send_many(end, &message, &count, until);
    }
    thirl_msg *loan;
    int rc = thirl_loan(end, &loan, text.size, until);
    if (rc != 0) {
        return rc;
    }
    memcpy(thirl_msg_data(loan), &text, text.size);
    return thirl_put(end, &loan, until);
}

int talk_recv(thirl *end, bool in_place, struct talk *talk, thirl_time until) {
    struct text text;
    size_t size;
    static _Thread_local unsigned turn;
    *talk = (struct talk){0};
    if (!in_place && turn++ % 2 == 0) {
        struct iovec message;
        size_t count = 1;
        int rc = thirl_recv_many(end, &text, sizeof text, &message, &count, until);
        return rc != 0 ? rc : talk_read(&text, message.iov_len, talk);
    }
    if (!in_place) {
        int rc = thirl_recv(end, &text, sizeof text, &size, until);
        return rc != 0 ? rc : talk_read(&text, size, talk);
    }
    thirl_msg *msg;
    int rc = thirl_take(end, &msg, until);
    if (rc != 0) {
        return rc;
    }
    size = thirl_msg_size(msg);
    memcpy(&text, thirl_msg_data(msg), size < sizeof text ? size : sizeof text);
    thirl_free(&msg);
    return talk_read(&text, size, talk);
}
