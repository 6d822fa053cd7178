/* SPDX-License-Identifier: MIT
 *
 * The server's side: answers out, and what a request says of itself. Requests come in by thirl_take, see chan/due.h.
 */
#include "base/weave.h"
#include "chan/due.h"
#include "chan/errand.h"

/* A request of this end that can still be answered. */
static inline int check(thirl *end, const thirl_msg *request, const char *call) {
    if (end == NULL || end->epoch != proc_epoch()) {
        (void)end_refuse(end, MECH_OUT);
        return end == NULL ? -EINVAL : -THIRL_EFORKED;
    }
    if (end->due == NULL) {
        return err_say(THIRL_EROLE, "%s: %s is for ends with the role serve", end->address, call);
    }
    if (request == NULL || request->end != end || request->way != MECH_IN || !request->owed) {
        return err_say(EINVAL, "%s: that is no request that this end of %s has taken", call, end->address);
    }
    if (atomic_load(&request->cancelled)) { /* pairs with the store in due.c */
        return err_say(ECANCELED, "%s: the caller wants no answer to this request any more", end->address);
    }
    return 0;
}

static inline int answer(thirl *end, const thirl_msg *request, enum mech_kind kind, const void *data, size_t size,
                  thirl_time until) {
    if (data == NULL && size != 0) {
        return err_say(EINVAL, "thirl_reply: there is no data (NULL), but %zu bytes of it", size);
    }
    struct mech_note note;
    mech_note_call(&note, kind, request->note.call, request->note.whom);
    return end_send_noted(end, data, size, &note, until);
}

int thirl_reply(thirl *end, thirl_msg **slot, const void *data, size_t size, thirl_time until) {
    ERRAND_FROM_HERE();
    thirl_msg *request = slot == NULL ? NULL : *slot;
    int rc = check(end, request, "thirl_reply");
    rc = rc != 0 ? rc : answer(end, request, MECH_REPLY, data, size, until);
    weave("serve.reply.sent");
    if (rc == 0) {
        request->owed = false;
    }
    if (slot != NULL) {
        thirl_free(slot); /* what is still owed is told to the caller */
    }
    return rc;
}

int thirl_reply_part(thirl *end, thirl_msg *request, const void *data, size_t size, thirl_time until) {
    ERRAND_FROM_HERE();
    int rc = check(end, request, "thirl_reply_part");
    return rc != 0 ? rc : answer(end, request, MECH_PART, data, size, until);
}

thirl_time thirl_msg_deadline(const thirl_msg *request) {
    return request == NULL || request->note.kind != MECH_REQUEST ? THIRL_NEVER : THIRL_TIME(request->note.deadline);
}

int thirl_msg_cancelled(thirl_msg *request) {
    if (request == NULL || request->note.kind != MECH_REQUEST) {
        return 0;
    }
    thirl *end = request->end;
    if (!atomic_load(&request->cancelled) && end->pieces == 0 && end_enter(end, MECH_IN, INT64_MAX) == 0) {
        due_look(end);
        end_leave(end, MECH_IN);
    }
    return atomic_load(&request->cancelled);
}

uint64_t thirl_msg_call(const thirl_msg *msg) {
    return msg == NULL || msg->note.kind == MECH_PLAIN ? 0 : msg->note.call;
}
