/* SPDX-License-Identifier: MIT
 *
 * Messages that show what became of them: each carries its conversation, its number and a sum over all of its bytes, and its
 * size follows from its number. Sent and received by copy, by calls for many, and in place in turn.
 */
#ifndef TESTS_CRASH_TALK_H
#define TESTS_CRASH_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/thirl/thirl.h"

#define TALK_MAX 1024 /* bytes of the largest message */
#define TALK_TORN 7   /* answer of talk_recv: what was received is no message, or damaged */

struct talk {
    uint32_t conversation;
    uint32_t size;
    uint64_t number;
};

/* A message lies in so many bytes that are aligned for words. */
#define TALK_ROOM (24 + TALK_MAX)

/* Writes it; its size. */
size_t talk_write(void *message, uint32_t conversation, uint64_t number);

/* 0 or TALK_TORN. */
int talk_read(const void *message, size_t size, struct talk *);

/* 0, or what thirl_send, thirl_send_many, thirl_loan or thirl_put said. */
int talk_send(thirl *, uint32_t conversation, uint64_t number, thirl_time until);

/* 0, TALK_TORN, or what thirl_recv or thirl_take said. in_place: take and free. */
int talk_recv(thirl *, bool in_place, struct talk *, thirl_time until);

#endif
