/* SPDX-License-Identifier: MIT
 *
 * Answers, and to whom they belong, see answer.h.
 */
#include "pattern/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/weave.h"
#include "chan/errand.h"
#include "pattern/request.h"

#define RESEND 3 /* try_answer: a call is homeless; tell nobody */
#define FAILED                                                                                                         \
    4 /* likewise: the call has failed, as a->code says, which is not to be taken for the failure of a wait */
#define REASON_MOST 150

/* A conversation is over, and with it the calls that it had. */
static void lose_all(thirl *end, struct flight *f, const struct mech_note *note) {
    char why[FLIGHT_WHY];
    (void)snprintf(why, sizeof why, "%s", thirl_why());
    flight_lock(f);
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
    flight_unlock(end, f);
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
static inline int hand_over(struct answering *a, struct call *call, struct thirl_msg *msg, bool last) {
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

/* What came for a call before it was asked for, or how it ended. Likewise. */
static __attribute__((noinline)) int from_stash(thirl *end, struct answering *a, struct call *call) {
    if (call->first == NULL) {
        a->call = call->id;
        a->code = err_say(-call->code, "%s", call->why);
        flight_end(a->f, call);
        return FAILED;
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
static inline int from_table(thirl *end, struct answering *a) {
    struct flight *f = a->f;
    struct call *call = a->id != 0 ? flight_find(f, a->id) : f->ready_first;
    if (a->id != 0 && call == NULL) {
        return err_say(ENOENT, "%s: there is no call %llu (any more)", end->address, (unsigned long long)a->id);
    }
    if (a->id == 0 && f->count == 0) {
        return err_say(ENOENT, "%s: no call is in flight that could be answered", end->address);
    }
    errand_own.call = a->id; /* should this thread go on to wait */
    errand_own.whom = call != NULL && a->id != 0 ? call->whom : 0;
    if (call != NULL && (call->first != NULL || call->state == CALL_OVER)) {
        return from_stash(end, a, call);
    }
    if (unlikely(f->homeless != 0 && !a->patient && (call == NULL || call->state == CALL_HOMELESS))) {
        return RESEND;
    }
    return unlikely(f->stashed > FLIGHT_STASH_MOST)
               ? err_say(ENOBUFS, "%s: %zu bytes of answers to other calls wait: take those first", end->address,
                         f->stashed)
               : -EAGAIN;
}

/* What has come is not for this thread, or not an answer as most are: kept for whom it is for. -EAGAIN: it was not this one's. */
static __attribute__((noinline)) int receive_other(thirl *end, struct answering *a, struct call *call,
                                                   struct thirl_msg *msg, bool *wait) {
    struct flight *f = a->f;
    const struct mech_note *note = &msg->note;
    bool wanted = a->id != 0 ? call->id == a->id : call->wanted == 0;
    if (unlikely(note->failure != 0)) {
        flight_fail(f, call, note->failure, thirl_why());
    } else if (note->kind == MECH_FAILED) {
        int code;
        char why[FLIGHT_WHY];
        read_failure(end, msg, &code, why);
        flight_fail(f, call, code, why);
    } else {
        int rc = flight_stash(f, call, msg->piece.data, msg->piece.size, note->kind == MECH_REPLY);
        if (rc != 0) {
            flight_fail(f, call, rc, thirl_why());
        }
    }
    end_give_back(msg);
    if (!wanted) {
        end_hand(end, MECH_IN);
        *wait = false; /* they come in when this one leaves the gate */
    }
    return -EAGAIN;
}

/* Something has come for a call: the user's, now or later. -EAGAIN: not this one's. */
static inline __attribute__((always_inline)) int receive(thirl *end, struct answering *a, struct thirl_msg *msg, bool *wait) {
    const struct mech_note *note = &msg->note;
    struct call *call = flight_find(a->f, note->call);
    if (unlikely(call == NULL || call->whom != note->whom ||
                 (call->state != CALL_OUT && call->state != CALL_LEAVING))) {
        end_give_back(msg); /* of one that was cancelled, or is too late */
        return -EAGAIN;
    }
    bool wanted = a->id != 0 ? call->id == a->id : call->wanted == 0;
    bool answers = note->failure == 0 && note->kind != MECH_FAILED;
    if (likely(wanted && answers && call->first == NULL && call->state == CALL_OUT)) {
        return hand_over(a, call, msg, note->kind == MECH_REPLY);
    }
    return receive_other(end, a, call, msg, wait);
}

static inline __attribute__((always_inline)) int try_answer(thirl *end, void *arguments, bool wait) {
    struct answering *a = arguments;
    for (;;) {
        flight_lock(a->f);
        int rc = from_table(end, a);
        flight_unlock(end, a->f);
        if (rc != -EAGAIN) {
            return rc;
        }
        struct thirl_msg *msg;
        rc = end_take(end, &msg, wait);
        if (rc != 0) {
            return rc;
        }
        weave("answer.take.after");
        if (msg->note.kind == MECH_GONE) {
            lose_all(end, a->f, &msg->note);
            end_give_back(msg);
            wait = false;
            continue;
        }
        size_t size = msg->piece.size;
        flight_lock(a->f);
        rc = receive(end, a, msg, &wait);
        flight_unlock(end, a->f);
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
    flight_lock(f);
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
    flight_unlock(end, f);
    return some;
}

static inline __attribute__((always_inline)) int await(thirl *end, struct answering *a, thirl_time until) {
    int64_t final = flight_deadline(end, until);
    for (;;) {
        int64_t earliest = atomic_peek(&a->f->earliest), limit = final < earliest || final == 0 ? final : earliest;
        if (a->patient && final != 0) {
            int64_t soon = clock_after(clock_now(), FLIGHT_HOMELESS_NS);
            limit = soon < limit ? soon : limit;
        }
        int rc = end_do_straight(end, MECH_IN, try_answer, a, THIRL_TIME(limit));
        errand_own.call = errand_own.whom = 0;
        if (rc == FAILED) {
            return a->code;
        }
        bool late = rc == -ETIMEDOUT || rc == -EAGAIN;
        if (rc == RESEND) {
            a->patient = !request_again(end, a->f, a->id);
            continue;
        }
        a->patient = false;
        if (!late) {
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

int answer_await(thirl *end, struct answering *a, thirl_time until) {
    return await(end, a, until);
}

int answer_await_one(thirl *end, struct flight *f, uint64_t id, thirl_msg **reply, thirl_time until) {
    struct answering a = {.f = f, .id = id};
    int rc = await(end, &a, until);
    *reply = a.msg;
    if (likely(rc == 0)) {
        return 0; /* that was the last of it, and the call is no more */
    }
    flight_lock(f);
    struct call *call = flight_find(f, id);
    if (call != NULL) {
        call->wanted--;
        flight_show(f, call);
    }
    bool left = call != NULL && call->ready;
    flight_unlock(end, f);
    if (unlikely(left) && end_enter(end, MECH_IN, INT64_MAX) == 0) {
        end_hand(end, MECH_IN); /* whoever takes any finds it now */
        end_leave(end, MECH_IN);
    }
    return rc != -ENOENT ? rc
                         : err_say(ECANCELED, "%s: call %llu was cancelled by another thread, or answered to it",
                                   end->address, (unsigned long long)id);
}
