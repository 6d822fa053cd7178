/* SPDX-License-Identifier: MIT
 *
 * The caller's side: requests out, answers in, and each to whom it belongs. Any thread that waits for an answer receives whatever
 * comes: its own it takes along, the others' it puts aside and wakes who waits for them (end_hand).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/weave.h"
#include "pattern/flight.h"
#include "chan/errand.h"

#define RESEND 3                    /* try_answer: a call is homeless; tell nobody */
#define HOMELESS_NS (10 * CLOCK_MS) /* between two tries to find another server, while answers may come for others */
#define REASON_MOST 150

static struct flight *make_calls(thirl *end, int *rc) {
    *rc = end_enter(end, MECH_OUT, INT64_MAX);
    if (*rc != 0) {
        return NULL;
    }
    struct flight *f = end->pattern;
    if (f == NULL) {
        f = flight_make();
        end->forget = flight_free;
        atomic_store(&end->pattern, f);
    }
    end_leave(end, MECH_OUT);
    *rc = f == NULL ? err_say(ENOMEM, "%s: no memory for calls", end->address) : 0;
    return f;
}

/* The end's calls; made by the first that needs them. NULL: this is no CALL end, or there is no memory: it says which. */
static struct flight *calls_of(thirl *end, const char *call, int *rc) {
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

static void lock(struct flight *f) {
    (void)gate_enter(&f->gate, INT64_MAX);
}

static void unlock(struct flight *f) {
    gate_leave(&f->gate);
}

static int64_t absolute(const thirl *end, thirl_time until) {
    return until.ns >= 0 ? until.ns : clock_after(clock_now(), end->timeout);
}

/* ---- requests ---- */

struct asking {
    struct flight *f;
    struct call *call;
    uint64_t id; /* the call's: its place may be another's as soon as the request is gone */
    const void *data;
    size_t size, done; /* done: it counts as sent, but a part of it has not left yet */
    struct mech_note note;
};

/* The request has gone, or it has not: what is the call now? */
static void settle_sent(thirl *end, struct flight *f, struct call *call, uint64_t id) {
    if (call->id != id) {
        return; /* it is answered already, and over */
    }
    if (call->state == CALL_LEAVING && call->lost) {
        flight_lose(f, call, end->retry, call->code, call->why);
    } else if (call->state == CALL_LEAVING) {
        call->state = CALL_OUT;
    }
    call->lost = false;
}

/* Goes on with one that counts as sent: if its server is gone by now, its answer will say so. */
static int go_on(thirl *end, struct asking *asking) {
    int rc = end->mech->send_noted(end->state, asking->data, asking->size, &asking->done, &asking->note, false);
    return rc == -EAGAIN ? rc : 0;
}

static int try_ask(thirl *end, void *arguments, bool wait) {
    struct asking *asking = arguments;
    struct call *call = asking->call;
    (void)wait;
    while (likely(asking->done == 0)) {
        struct mech_note note = {.kind = MECH_REQUEST};
        int rc = end->mech->choose(end->state, &note.whom);
        if (rc != 0) {
            return rc;
        }
        lock(asking->f);
        if (unlikely(call->id != asking->id || call->state != CALL_LEAVING)) {
            unlock(asking->f);
            return err_say(ECANCELED, "%s: the call was cancelled by another thread", end->address);
        }
        call->whom = note.whom;
        call->lost = false;
        note.call = call->id;
        note.deadline = call->deadline;
        note.again = call->again;
        unlock(asking->f);
        asking->done = 0;
        rc = end->mech->send_noted(end->state, asking->data, asking->size, &asking->done, &note, false);
        weave("call.ask.sent");
        bool sent = rc == 0 || (rc == -EAGAIN && asking->done != 0);
        asking->done = sent ? asking->done : 0;
        asking->note = note;
        lock(asking->f);
        if (sent) {
            settle_sent(end, asking->f, call, asking->id);
        } else if (call->id == asking->id) {
            call->whom = 0;
            call->lost = false;
        }
        unlock(asking->f);
        if (sent) {
            end_count(&end->seen->out, asking->size);
        }
        if (rc != -THIRL_EPEERDIED && rc != -THIRL_ECLOSED && rc != -THIRL_EFORMAT) {
            return rc;
        }
        /* It had nothing of this one yet: another server. */
    }
    return go_on(end, asking);
}

/* What is kept counts as sent, and leaves with the next one. */
static int do_ask(thirl *end, struct asking *asking, thirl_time until) {
    int rc = end_do(end, MECH_OUT, try_ask, asking, until);
    return rc != 0 && asking->done != 0 ? 0 : rc;
}

static int keep_request(thirl *end, struct call *call, const void *data, size_t size) {
    if (call->room < size) {
        void *larger = realloc(call->request, size);
        if (larger == NULL) {
            return err_say(ENOMEM, "%s: no memory for a copy of the request (%zu bytes)", end->address, size);
        }
        call->request = larger;
        call->room = size;
    }
    if (size != 0) {
        memcpy(call->request, data, size);
    }
    call->size = size;
    return 0;
}

/* Sends a request: *call is in flight with 0, and wanted by so many threads. */
static int ask(thirl *end, struct flight *f, const void *data, size_t size, thirl_time until, unsigned wanted,
               uint64_t *id) {
    int64_t deadline = until.ns > 0 ? until.ns : clock_after(clock_now(), end->timeout);
    if (data == NULL && size != 0) {
        return err_say(EINVAL, "thirl_call: there is no data (NULL), but %zu bytes of it", size);
    }
    lock(f);
    struct call *call = flight_begin(f, end->address, deadline);
    if (call != NULL) {
        call->wanted = wanted;
        *id = call->id;
    }
    if (deadline < f->earliest) {
        atomic_poke(&f->earliest, deadline);
    }
    unlock(f);
    if (call == NULL) {
        return -EBUSY;
    }
    int rc = end->retry ? keep_request(end, call, data, size) : 0;
    struct asking asking = {.f = f, .call = call, .id = *id, .data = data, .size = size};
    rc = rc != 0 ? rc : do_ask(end, &asking, until);
    if (rc != 0) {
        lock(f);
        flight_end(f, call);
        unlock(f);
        *id = 0;
    }
    return rc;
}

/* ---- answers ---- */

struct answering {
    struct flight *f;
    uint64_t id;    /* 0: any */
    bool patient;   /* a homeless call has just been tried in vain */
    uint64_t call;  /* whose answer it is */
    thirl_msg *msg; /* NULL: it failed */
};

/* A conversation is over, and with it the calls that it had. */
static void lose_all(thirl *end, struct flight *f, const struct mech_note *note) {
    char why[FLIGHT_WHY];
    (void)snprintf(why, sizeof why, "%s", thirl_why());
    lock(f);
    for (unsigned i = 0; i < f->places; i++) {
        struct call *call = f->place[i];
        if (call->whom != note->whom || (call->state != CALL_OUT && call->state != CALL_LEAVING)) {
            continue;
        }
        if (call->state == CALL_LEAVING) { /* another thread is sending it this very moment, and sees to the rest */
            call->lost = true;
            call->code = note->failure;
            (void)snprintf(call->why, sizeof call->why, "%s", why);
        } else {
            flight_lose(f, call, end->retry, note->failure, why);
        }
    }
    unlock(f);
    end_hand(end, MECH_IN);
}

static void read_failure(const thirl *end, const struct thirl_msg *msg, int *code, char why[FLIGHT_WHY]) {
    int32_t said = 0;
    size_t size = msg->piece.size;
    if (size >= sizeof said) {
        memcpy(&said, msg->piece.data, sizeof said);
    }
    *code = said > 0 && said < 8000 ? -said : -ECANCELED;
    const char *text = (const char *)msg->piece.data + sizeof said;
    size = size > sizeof said ? size - sizeof said : 0;
    int used = snprintf(why, FLIGHT_WHY, "%.40s: ", end->address);
    for (size_t i = 0; i < size && i < REASON_MOST && used < FLIGHT_WHY - 1; i++) {
        why[used++] = text[i] >= ' ' && text[i] < 127 ? text[i] : '?';
    }
    why[used] = '\0';
}

/* Gives the user an answer; the gate of the calls is held. */
static int hand_over(struct answering *a, struct call *call, struct thirl_msg *msg, bool last) {
    msg->note.call = call->id;
    a->call = call->id;
    a->msg = msg;
    if (last) {
        flight_end(a->f, call);
        return 0;
    }
    call->begun = true;
    flight_show(a->f, call);
    return THIRL_MORE;
}

/* What came for a call before it was asked for, or how it ended; -EAGAIN: nothing. Likewise. */
static int from_stash(thirl *end, struct answering *a, struct call *call) {
    if (call->first == NULL && call->state != CALL_OVER) {
        return -EAGAIN;
    }
    if (call->first == NULL) {
        int code = call->code;
        a->call = call->id;
        (void)err_say(-code, "%s", call->why);
        flight_end(a->f, call);
        return code;
    }
    struct thirl_msg *msg;
    int rc = end_fill(end, &msg, call->first->data, call->first->size);
    if (rc != 0) {
        return rc;
    }
    struct answer *answer = flight_stashed(a->f, call);
    bool last = answer->last;
    flight_used(a->f, answer);
    return hand_over(a, call, msg, last);
}

/* Without receiving: the call that is asked for, or any that has something. -EAGAIN: nothing, so far. */
static int from_table(thirl *end, struct answering *a) {
    struct flight *f = a->f;
    struct call *call = a->id != 0 ? flight_find(f, a->id) : f->ready_first;
    if (a->id != 0 && call == NULL) {
        return err_say(ENOENT, "%s: there is no call %llu (any more)", end->address, (unsigned long long)a->id);
    }
    if (a->id == 0 && f->count == 0) {
        return err_say(ENOENT, "%s: no call is in flight that could be answered", end->address);
    }
    if (call != NULL) {
        int rc = from_stash(end, a, call);
        if (rc != -EAGAIN) {
            return rc;
        }
    }
    if (unlikely(f->homeless != 0 && !a->patient && (call == NULL || call->state == CALL_HOMELESS))) {
        return RESEND;
    }
    return unlikely(f->stashed > FLIGHT_STASH_MOST)
               ? err_say(ENOBUFS, "%s: %zu bytes of answers to other calls wait: take those first", end->address,
                         f->stashed)
               : -EAGAIN;
}

/* Something has come for a call: the user's, now or later. -EAGAIN: not this one's. */
static int receive(thirl *end, struct answering *a, struct thirl_msg *msg, bool *wait) {
    struct flight *f = a->f;
    const struct mech_note *note = &msg->note;
    struct call *call = flight_find(f, note->call);
    bool known = call != NULL && call->whom == note->whom && (call->state == CALL_OUT || call->state == CALL_LEAVING);
    int rc = -EAGAIN;
    if (!known) {
        end_give_back(msg); /* of one that was cancelled, or is too late */
        return rc;
    }
    bool wanted = a->id != 0 ? call->id == a->id : call->wanted == 0;
    if (unlikely(note->failure != 0)) {
        flight_fail(f, call, note->failure, thirl_why());
        end_give_back(msg);
    } else if (note->kind == MECH_FAILED) {
        int code;
        char why[FLIGHT_WHY];
        read_failure(end, msg, &code, why);
        flight_fail(f, call, code, why);
        end_give_back(msg);
    } else if (wanted && call->first == NULL && call->state == CALL_OUT) {
        return hand_over(a, call, msg, note->kind == MECH_REPLY);
    } else {
        rc = flight_stash(f, call, msg->piece.data, msg->piece.size, note->kind == MECH_REPLY);
        if (rc != 0) {
            flight_fail(f, call, rc, thirl_why());
        }
        end_give_back(msg);
    }
    if (!wanted) {
        end_hand(end, MECH_IN);
        *wait = false; /* they come in when this one leaves the gate */
    }
    return -EAGAIN;
}

static int try_answer(thirl *end, void *arguments, bool wait) {
    struct answering *a = arguments;
    for (;;) {
        lock(a->f);
        int rc = from_table(end, a);
        unlock(a->f);
        if (rc != -EAGAIN) {
            return rc;
        }
        struct thirl_msg *msg;
        rc = end_take(end, &msg, wait);
        if (rc != 0) {
            return rc;
        }
        weave("call.answer.taken");
        if (msg->note.kind == MECH_GONE) {
            lose_all(end, a->f, &msg->note);
            end_give_back(msg);
            wait = false;
            continue;
        }
        size_t size = msg->piece.size;
        lock(a->f);
        rc = receive(end, a, msg, &wait);
        unlock(a->f);
        end_count(&end->seen->in, size);
        if (rc != -EAGAIN) {
            return rc;
        }
    }
}

/* Calls whose deadline has passed fail. true: there were some. */
static bool expire(thirl *end, struct flight *f) {
    int64_t now = clock_now(), earliest = INT64_MAX;
    bool some = false;
    lock(f);
    for (unsigned i = 0; now >= f->earliest && i < f->places; i++) {
        struct call *call = f->place[i];
        bool open = call->state == CALL_OUT || call->state == CALL_HOMELESS;
        if (open && call->deadline <= now) {
            char why[FLIGHT_WHY];
            (void)snprintf(why, sizeof why, "%.120s: no answer came before the deadline", end->address);
            flight_fail(f, call, -ETIMEDOUT, why);
            some = true;
        } else if (open || call->state == CALL_LEAVING) {
            earliest = call->deadline < earliest ? call->deadline : earliest;
        }
    }
    if (now >= f->earliest) {
        atomic_poke(&f->earliest, earliest);
    }
    unlock(f);
    return some;
}

/* Sends one that has lost its server to another, if there is one now. false: there is none. */
static bool resend(thirl *end, struct flight *f, uint64_t id) {
    lock(f);
    struct call *call = id != 0 ? flight_find(f, id) : NULL;
    for (unsigned i = 0; id == 0 && call == NULL && i < f->places; i++) {
        call = f->place[i]->state == CALL_HOMELESS ? f->place[i] : NULL;
    }
    bool homeless = call != NULL && call->state == CALL_HOMELESS;
    if (homeless) {
        call->state = CALL_LEAVING;
        f->homeless--;
    }
    struct asking asking = {.f = f, .call = call};
    if (homeless) {
        asking.id = call->id;
        asking.data = call->request;
        asking.size = call->size;
    }
    unlock(f);
    if (!homeless) {
        return true; /* another thread was faster */
    }
    int rc = do_ask(end, &asking, THIRL_NOW);
    if (rc == 0) {
        return true;
    }
    lock(f);
    if (call->id != asking.id || call->state != CALL_LEAVING) {
        rc = 0; /* it is another's by now */
    } else if (rc == -EAGAIN) {
        call->state = CALL_HOMELESS;
        f->homeless++;
    } else {
        flight_fail(f, call, rc, thirl_why());
    }
    unlock(f);
    return rc != -EAGAIN;
}

/* Waits for what try_answer looks for. */
static int await(thirl *end, struct answering *a, thirl_time until) {
    int64_t final = absolute(end, until);
    for (;;) {
        int64_t earliest = atomic_peek(&a->f->earliest), limit = final < earliest || final == 0 ? final : earliest;
        if (a->patient && final != 0) {
            int64_t soon = clock_after(clock_now(), HOMELESS_NS);
            limit = soon < limit ? soon : limit;
        }
        lock(a->f);
        const struct call *call = a->id != 0 ? flight_find(a->f, a->id) : NULL;
        errand_own.call = a->id;
        errand_own.whom = call != NULL ? call->whom : 0;
        unlock(a->f);
        int rc = end_do(end, MECH_IN, try_answer, a, THIRL_TIME(limit));
        errand_own.call = errand_own.whom = 0;
        bool late = rc == -ETIMEDOUT || rc == -EAGAIN;
        if (rc == RESEND) {
            a->patient = !resend(end, a->f, a->id);
            continue;
        }
        a->patient = false;
        if (!late || a->call != 0) {
            return rc;
        }
        if (earliest != INT64_MAX && clock_now() >= earliest && expire(end, a->f)) {
            continue;
        }
        if (final == 0 || clock_now() >= final) {
            return rc;
        }
    }
}

static int await_one(thirl *end, struct flight *f, uint64_t id, thirl_msg **reply, thirl_time until) {
    struct answering a = {.f = f, .id = id};
    int rc = await(end, &a, until);
    *reply = a.msg;
    lock(f);
    struct call *call = flight_find(f, id);
    if (call != NULL) {
        call->wanted--;
        flight_show(f, call);
    }
    unlock(f);
    return rc != -ENOENT ? rc
                         : err_say(ECANCELED, "%s: call %llu was cancelled by another thread, or answered to it",
                                   end->address, (unsigned long long)id);
}

/* ---- the public face ---- */

/* A close waits for the threads that are in here, as it does for those that sleep: they come back to the table of calls. */
static void enter(thirl *end) {
    end_wait_begins(end, MECH_OUT);
}

static int leave(thirl *end, int rc) {
    (void)atomic_sub(&end->way[MECH_OUT].waiters, 1);
    return rc;
}

int thirl_ask(thirl *end, const void *data, size_t size, uint64_t *id, thirl_time until) {
    ERRAND_FROM_HERE();
    int rc;
    if (id == NULL) {
        return err_say(EINVAL, "thirl_ask: there is no place for the number of the call (NULL)");
    }
    *id = 0;
    struct flight *f = calls_of(end, "thirl_ask", &rc);
    if (f == NULL) {
        return rc;
    }
    enter(end);
    return leave(end, ask(end, f, data, size, until, 0, id));
}

/* Waits for that call, from now on by its number. */
static int answer_one(thirl *end, struct flight *f, uint64_t id, thirl_msg **reply, thirl_time until) {
    lock(f);
    struct call *call = flight_find(f, id);
    if (call != NULL) {
        call->wanted++;
        flight_show(f, call);
    }
    unlock(f);
    return call == NULL ? err_say(ENOENT, "%s: there is no call %llu (any more)", end->address, (unsigned long long)id)
                        : await_one(end, f, id, reply, until);
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
    rc = await(end, &a, until);
    *id = a.call;
    *reply = a.msg;
    return leave(end, rc);
}

static int cancel(thirl *end, struct flight *f, uint64_t id) {
    int rc = end_enter(end, MECH_OUT, INT64_MAX);
    if (rc != 0) {
        return rc;
    }
    lock(f);
    struct call *call = flight_find(f, id);
    struct mech_note note = {.kind = MECH_CANCEL, .call = id};
    bool out = call != NULL && call->state == CALL_OUT;
    if (call != NULL) {
        note.whom = call->whom;
        flight_end(f, call);
    }
    unlock(f);
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
    until.ns = until.ns == -1 ? absolute(end, until) : until.ns; /* one time limit for both halves */
    enter(end);
    uint64_t id = 0;
    rc = ask(end, f, data, size, until, 1, &id);
    if (rc != 0) {
        return leave(end, rc);
    }
    rc = await_one(end, f, id, reply, until);
    if (*reply == NULL && (rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EBUSY || rc == -ENOBUFS)) {
        give_up(end, f, id, rc);
    }
    return leave(end, rc);
}
