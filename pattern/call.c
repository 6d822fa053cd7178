/* SPDX-License-Identifier: MIT
 *
 * The caller's side, as the user sees it: requests go out by request.h, answers come in by answer.h.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "chan/errand.h"
#include "pattern/answer.h"
#include "pattern/request.h"

static __attribute__((noinline)) struct flight *make_calls(thirl *end, int *rc) {
    *rc = end_enter(end, MECH_OUT, INT64_MAX);
    if (*rc != 0) {
        return NULL;
    }
    struct flight *f = end->pattern;
    if (f == NULL) {
        f = flight_make();
        end->forget = flight_free;
        end->when = f == NULL ? NULL : flight_when;
        atomic_store(&end->pattern, f);
    }
    end_leave(end, MECH_OUT);
    *rc = f == NULL ? err_say(ENOMEM, "%s: no memory for calls", end->address) : 0;
    return f;
}

/* The end's calls; made by the first that needs them. NULL: this is no CALL end, or there is no memory: it says which. */
static inline struct flight *calls_of(thirl *end, const char *call, int *rc) {
    if (end == NULL || end->epoch != proc_epoch()) {
        *rc = end_refuse(end, MECH_IN);
        return NULL;
    }
    if (!end->asks || end->due != NULL) {
        *rc = err_say(THIRL_EROLE, "%s: %s is for ends with the role call", end->address, call);
        return NULL;
    }
    struct flight *f = atomic_load(&end->pattern); /* pairs with the release in make_calls */
    return likely(f != NULL) ? f : make_calls(end, rc);
}

/* A close waits for the threads that are in here, as it does for those that sleep: they come back to the table of calls. */
static void enter(thirl *end) {
    end_wait_begins(end, MECH_OUT);
}

static int leave(thirl *end, int rc) {
    end_wait_ends(end, MECH_OUT);
    return rc;
}

int thirl_ask(thirl *end, const void *data, size_t size, uint64_t *id, thirl_time until) {
    ERRAND_FROM_HERE();
    int rc;
    if (id == NULL) {
        return err_say(EINVAL, "thirl_ask: there is no place for the number of the call (NULL)");
    }
    atomic_store(id, UINT64_C(0)); /* another thread may look for it, see request.c */
    struct flight *f = calls_of(end, "thirl_ask", &rc);
    if (f == NULL) {
        return rc;
    }
    enter(end);
    return leave(end, request_send(end, f, data, size, until, 0, id));
}

/* Waits for that call, from now on by its number. */
static int answer_one(thirl *end, struct flight *f, uint64_t id, thirl_msg **reply, thirl_time until) {
    flight_lock(f);
    struct call *call = flight_find(f, id);
    if (call != NULL) {
        call->wanted++;
        flight_show(f, call);
    }
    flight_unlock(end, f);
    return call == NULL ? err_say(ENOENT, "%s: there is no call %llu (any more)", end->address, (unsigned long long)id)
                        : answer_await_one(end, f, id, reply, until);
}

int thirl_answer(thirl *end, uint64_t *id, thirl_msg **reply, thirl_time until) {
    ERRAND_FROM_HERE();
    int rc;
    if (id == NULL || reply == NULL) {
        return err_say(EINVAL, "thirl_answer: there is no place for the call or for its answer (NULL)");
    }
    *reply = NULL;
    struct flight *f = calls_of(end, "thirl_answer", &rc);
    if (f == NULL) {
        return rc;
    }
    enter(end);
    if (*id != 0) {
        return leave(end, answer_one(end, f, *id, reply, until));
    }
    struct answering a = {.f = f};
    rc = answer_await(end, &a, until);
    *id = a.call;
    *reply = a.msg;
    return leave(end, rc);
}

static int cancel(thirl *end, struct flight *f, uint64_t id) {
    int rc = end_enter(end, MECH_OUT, INT64_MAX);
    if (rc != 0) {
        return rc;
    }
    flight_lock(f);
    struct call *call = flight_find(f, id);
    bool out = call != NULL && call->state == CALL_OUT, leaving = call != NULL && call->state == CALL_LEAVING;
    struct mech_note note;
    mech_note_call(&note, MECH_CANCEL, id, call != NULL ? call->whom : 0);
    if (call != NULL) {
        flight_end(f, call);
    }
    flight_unlock(end, f);
    if (leaving) {
        end_hand(end, MECH_OUT); /* whoever waits to send it has not to wait any more */
    }
    size_t done = 0;
    if (out) {
        /* It is told when it can be: whether it listens is no concern of the caller's any more. */
        (void)end->mech->send_noted(end->state, "", 0, &done, &note, false);
    }
    end_leave(end, MECH_OUT);
    if (call == NULL) {
        return err_say(ENOENT, "%s: there is no call %llu (any more)", end->address, (unsigned long long)id);
    }
    return 0;
}

int thirl_cancel(thirl *end, uint64_t id) {
    int rc;
    struct flight *f = calls_of(end, "thirl_cancel", &rc);
    if (f == NULL) {
        return rc;
    }
    enter(end);
    rc = cancel(end, f, id);
    if (rc == 0 && end_enter(end, MECH_IN, INT64_MAX) == 0) {
        end_hand(end, MECH_IN); /* who waits for it is to know */
        end_leave(end, MECH_IN);
    }
    return leave(end, rc);
}

/* Nobody waits for it any more: says so, behind what was said already. */
static void give_up(thirl *end, struct flight *f, uint64_t id, int rc) {
    char why[256];
    (void)snprintf(why, sizeof why, "%s", thirl_why());
    bool cancelled = cancel(end, f, id) == 0;
    (void)err_say(-rc, "%s%s", why, cancelled ? "; the call is cancelled" : "");
}

int thirl_call(thirl *end, const void *data, size_t size, thirl_msg **reply, thirl_time until) {
    ERRAND_FROM_HERE();
    int rc;
    if (reply == NULL) {
        return err_say(EINVAL, "thirl_call: there is no place for the answer (NULL)");
    }
    *reply = NULL;
    struct flight *f = calls_of(end, "thirl_call", &rc);
    if (f == NULL) {
        return rc;
    }
    until.ns = until.ns == -1 ? flight_deadline(end, until) : until.ns; /* one time limit for both halves */
    enter(end);
    uint64_t id = 0;
    rc = request_send(end, f, data, size, until, 1, &id);
    if (rc != 0) {
        return leave(end, rc);
    }
    rc = answer_await_one(end, f, id, reply, until);
    if (*reply == NULL && (rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EBUSY || rc == -ENOBUFS)) {
        give_up(end, f, id, rc);
    }
    return leave(end, rc);
}
