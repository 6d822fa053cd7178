/* SPDX-License-Identifier: MIT
 *
 * Requests in and out of a server's hands, see due.h.
 */
#include "chan/due.h"

#include <string.h>

#include "chan/aside.h"
#include "sync/party.h"

/* What a caller is told, by the code. */
static const char *reason(int code) {
    return code == -THIRL_EEXPIRED  ? "the request was older than its ?lifespan= when the server would have received it"
           : code == -THIRL_EFORMAT ? "the request was damaged on its way, and not delivered"
                                    : "the server gave the request back without an answer";
}

/* The caller of these wants no answer any more: of one call, or of all in a conversation. */
static void cancel(thirl *end, const struct mech_note *note) {
    struct end_way *way = &end->way[MECH_IN];
    for (uint64_t left = way->slots; left != 0; left &= left - 1) {
        struct thirl_msg *msg = &way->msg[__builtin_ctzll(left)];
        bool same = msg->note.kind == MECH_REQUEST && msg->note.whom == note->whom;
        if (same && (note->kind == MECH_GONE || msg->note.call == note->call)) {
            atomic_store(&msg->cancelled, true); /* pairs with the load in thirl_msg_cancelled */
        }
    }
}

/* Others see who has it: its answer may be what somebody waits for in a circle. */
static void show(struct due *due, const struct thirl_msg *msg) {
    const struct party *me = party_me();
    if (unlikely(me == NULL) && node_id() != 0 && party_join() == 0) {
        me = party_me();
    }
    struct slip_task *task = &due->tasks->task[msg->slot];
    atomic_poke(&task->thread, (uint64_t)(me != NULL ? me->number : 0));
    atomic_store(&task->call, msg->note.call);
}

/* Takes the next request; what else comes is dealt with. */
static inline int take(thirl *end, struct thirl_msg **msg, bool wait) {
    for (;;) {
        int rc = end_take(end, msg, wait);
        if (rc != 0) {
            return rc;
        }
        const struct mech_note *note = &(*msg)->note;
        if (likely(note->kind == MECH_REQUEST && note->failure == 0)) {
            (*msg)->owed = true;
            if (likely(end->due->tasks != NULL)) {
                show(end->due, *msg);
            }
            (*msg)->piece.again = (*msg)->note.again;
            return 0;
        }
        if (note->kind == MECH_REQUEST) {
            due_owe(end, note->call, note->whom, note->failure);
        } else if (note->kind == MECH_GONE || (note->kind == MECH_CANCEL && note->failure == 0)) {
            cancel(end, note);
            atomic_store(&end->due->parted, end->due->parted | (note->kind == MECH_GONE));
        }
        end_give_back(*msg);
        *msg = NULL;
    }
}

int64_t due_when(thirl *end) {
    int64_t when = end->due->count != 0 ? 0 : INT64_MAX;
    if (unlikely(aside_told(end))) {
        aside_show(end, when);
    }
    return when;
}

int due_take(thirl *end, struct thirl_msg **msg, bool wait) {
    struct due *due = end->due;
    if (unlikely(due->count != 0)) {
        *msg = &end->way[MECH_IN].msg[due->pending[due->first++ % THIRL_HELD_MAX]];
        due->count--;
        (void)due_when(end);
        return 0;
    }
    return take(end, msg, wait);
}

void due_look(thirl *end) {
    struct due *due = end->due;
    struct thirl_msg *msg = NULL;
    while (end->way[MECH_IN].slots != UINT64_MAX && take(end, &msg, false) == 0) {
        due->pending[(due->first + due->count++) % THIRL_HELD_MAX] = msg->slot;
        end_hand(end, MECH_IN);
    }
    (void)due_when(end);
}

/* ---- those who get no answer ---- */

static int tell(thirl *end, uint64_t call, uint64_t whom, int code) {
    struct {
        int32_t code;
        char text[128];
    } failed = {.code = -code};
    size_t length = strnlen(reason(code), sizeof failed.text);
    memcpy(failed.text, reason(code), length);
    struct mech_note note;
    size_t done = 0;
    mech_note_call(&note, MECH_FAILED, call, whom);
    int rc =
        end->mech->send_noted(end->state, &failed, offsetof(__typeof__(failed), text) + length, &done, &note, false);
    return done != 0 ? 0 : rc; /* what is kept leaves with the next one */
}

void due_owe(thirl *end, uint64_t call, uint64_t whom, int failure) {
    struct due *due = end->due;
    if (end_enter(end, MECH_OUT, INT64_MAX) != 0) {
        return;
    }
    int code = failure != 0 ? failure : -ECANCELED;
    if (tell(end, call, whom, code) == -EAGAIN && due->owed_count < DUE_OWED) {
        unsigned at = (due->owed_first + due->owed_count) % DUE_OWED;
        due->owed[at].call = call;
        due->owed[at].whom = whom;
        due->owed[at].code = code;
        atomic_store(&due->owed_count, due->owed_count + 1); /* pairs with the load in due_settle */
    }
    end_leave(end, MECH_OUT);
}

void due_settle(thirl *end) {
    struct due *due = end->due;
    if (end_enter(end, MECH_OUT, INT64_MAX) != 0) {
        return;
    }
    if (atomic_swap(&due->parted, 0) != 0) {
        (void)end->mech->look(end->state, MECH_OUT);
    }
    for (uint32_t n = due->owed_count; n > 0; n--) {
        unsigned at = due->owed_first++ % DUE_OWED;
        uint64_t call = due->owed[at].call, whom = due->owed[at].whom;
        int code = due->owed[at].code;
        due->owed_count--;
        if (tell(end, call, whom, code) == -EAGAIN) {
            unsigned last = (due->owed_first + due->owed_count++) % DUE_OWED;
            due->owed[last].call = call;
            due->owed[last].whom = whom;
            due->owed[last].code = code;
        }
    }
    end_leave(end, MECH_OUT);
}
