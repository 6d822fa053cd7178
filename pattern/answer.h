/* SPDX-License-Identifier: MIT
 *
 * Answers to the calls of a CALL end. Any thread that waits for one receives whatever comes: its own it takes along, the others' it
 * puts aside and wakes who waits for them (end_hand).
 */
#ifndef PATTERN_ANSWER_H
#define PATTERN_ANSWER_H

#include "pattern/flight.h"

struct answering {
    struct flight *f;
    uint64_t id;    /* 0: any */
    bool patient;   /* a homeless call has just been tried in vain */
    uint64_t call;  /* whose answer it is */
    thirl_msg *msg; /* NULL: it failed, */
    int code;       /* so */
};

/* Waits for the next answer to a->id: 0, THIRL_MORE, how the call failed, or an error. */
int answer_await(thirl *, struct answering *, thirl_time until);

/* Waits for one that is wanted by its number, and is so no longer when this returns. */
int answer_await_one(thirl *, struct flight *, uint64_t id, thirl_msg **reply, thirl_time until);

#endif
