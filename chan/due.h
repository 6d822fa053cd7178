/* SPDX-License-Identifier: MIT
 *
 * What a server owes: requests that wait for the user, requests that he has, and callers who are to be told that there will be no
 * answer. Used by chan, and by the room of the pattern that answers.
 */
#ifndef CHAN_DUE_H
#define CHAN_DUE_H

#include "base/slip.h"
#include "chan/end.h"

#define DUE_OWED 256

struct due {
    struct slip_tasks *tasks; /* where others see what is taken; NULL: nowhere */
    /* Under the gate of the way IN: requests that came before something that was looked for; in order. */
    uint8_t pending[THIRL_HELD_MAX];
    unsigned first, count;
    /* Under the gate of the way OUT: calls that nobody will answer, and whose callers had no room to hear that. */
    struct {
        uint64_t call, whom;
        int code;
    } owed[DUE_OWED];
    unsigned owed_first;
    uint32_t owed_count;
    uint32_t parted; /* a conversation is over, which the way OUT has not heard of */
};

/* As try_take: the next request for the user. */
int due_take(thirl *, struct thirl_msg **, bool wait);

/* A request goes back to its slot: it is in nobody's hands any more. Under the gate of the way IN. */
static inline void due_done(const struct due *due, unsigned slot) {
    if (due->tasks != NULL) {
        atomic_poke(&due->tasks->task[slot].call, UINT64_C(0));
    }
}

/* Takes in what has arrived, without waiting, so that what was cancelled is known; under the gate of the way IN. */
void due_look(thirl *);

/* The end's `when`, see aside.h; under the gate of the way IN. */
int64_t due_when(thirl *);

/* A request was given back without an answer, or (note->failure) may not be used: tells its caller, now or later. The gate of the way OUT is
 * not held. due_settle tells those who are left. */
void due_owe(thirl *, uint64_t call, uint64_t whom, int failure);
static inline bool due_is_unsettled(const struct due *due) {
    return (atomic_load(&due->owed_count) | atomic_load(&due->parted)) != 0;
}
void due_settle(thirl *);

#endif
