/* SPDX-License-Identifier: MIT
 *
 * Requests on their way to a server, see request.h.
 */
#include "pattern/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/weave.h"

struct asking {
    struct flight *f;
    struct call *call; /* NULL: there is none yet */
    uint64_t id;       /* the call's: its place may be another's as soon as the request is gone */
    uint64_t *named;   /* where the user finds that, from its beginning on */
    int64_t deadline;
    unsigned wanted;
    const void *data;
    size_t size, done;     /* done: it counts as sent, but a part of it has not left yet */
    struct mech_note note; /* of the last try */
};

static void begin(struct asking *asking, struct flight *f, struct call *call, const void *data, size_t size) {
    asking->f = f;
    asking->call = call;
    asking->id = call != NULL ? call->id : 0;
    asking->data = data;
    asking->size = size;
    asking->done = 0;
}

/* The call itself, under the gate of the calls. */
static inline int begin_call(const thirl *end, struct asking *asking) {
    struct flight *f = asking->f;
    struct call *call = flight_begin(f, end->address, asking->deadline);
    if (unlikely(call == NULL)) {
        return -EBUSY;
    }
    call->wanted = asking->wanted;
    asking->call = call;
    asking->id = call->id;
    atomic_store(asking->named, call->id); /* another thread may cancel it by that */
    if (asking->deadline < f->earliest) {
        atomic_poke(&f->earliest, asking->deadline);
    }
    return 0;
}

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
static __attribute__((noinline)) int go_on(thirl *end, struct asking *asking) {
    int rc = end->mech->send_noted(end->state, asking->data, asking->size, &asking->done, &asking->note, false);
    return rc == -EAGAIN ? rc : 0;
}

static inline __attribute__((always_inline)) int try_ask(thirl *end, void *arguments, bool wait) {
    struct asking *asking = arguments;
    (void)wait;
    while (likely(asking->done == 0)) {
        struct mech_note *note = &asking->note;
        uint64_t whom = 0;
        int rc = end->mech->choose(end->state, &whom);
        flight_lock(asking->f);
        int begun = asking->call == NULL ? begin_call(end, asking) : 0;
        struct call *call = asking->call;
        if (unlikely(begun != 0)) {
            flight_unlock(end, asking->f);
            return begun;
        }
        if (unlikely(call->id != asking->id || call->state != CALL_LEAVING)) {
            flight_unlock(end, asking->f);
            return err_say(ECANCELED, "%s: the call was cancelled by another thread", end->address);
        }
        if (unlikely(rc != 0)) {
            flight_unlock(end, asking->f);
            return rc;
        }
        call->whom = whom;
        call->lost = false;
        mech_note_call(note, MECH_REQUEST, call->id, whom);
        note->deadline = call->deadline;
        note->again = call->again;
        flight_unlock(end, asking->f);
        rc = end->mech->send_noted(end->state, asking->data, asking->size, &asking->done, note, false);
        weave("request.send.after");
        bool sent = rc == 0 || (rc == -EAGAIN && asking->done != 0);
        asking->done = sent ? asking->done : 0;
        flight_lock(asking->f);
        if (sent) {
            settle_sent(end, asking->f, call, asking->id);
        } else if (call->id == asking->id) {
            call->whom = 0;
            call->lost = false;
        }
        flight_unlock(end, asking->f);
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
static inline int do_ask(thirl *end, struct asking *asking, thirl_time until) {
    int rc = end_do_straight(end, MECH_OUT, try_ask, asking, until);
    return rc != 0 && asking->done != 0 ? 0 : rc;
}

/* With ?retry: the call, and a copy of its request. */
static __attribute__((noinline)) int keep_request(thirl *end, struct asking *asking) {
    const size_t size = asking->size;
    flight_lock(asking->f);
    int rc = begin_call(end, asking);
    flight_unlock(end, asking->f);
    if (rc != 0) {
        return rc;
    }
    struct call *call = asking->call; /* nobody else knows of it */
    if (call->room < size) {
        void *larger = realloc(call->request, size);
        if (larger == NULL) {
            return err_say(ENOMEM, "%s: no memory for a copy of the request (%zu bytes)", end->address, size);
        }
        call->request = larger;
        call->room = size;
    }
    if (size != 0) {
        memcpy(call->request, asking->data, size);
    }
    call->size = size;
    return 0;
}

static __attribute__((noinline)) void give_up(thirl *end, struct asking *asking) {
    flight_lock(asking->f);
    struct call *call = flight_find(asking->f, asking->id); /* another thread may have cancelled it */
    if (call != NULL) {
        flight_end(asking->f, call);
    }
    flight_unlock(end, asking->f);
    atomic_store(asking->named, 0); /* as in begin_call */
}

int request_send(thirl *end, struct flight *f, const void *data, size_t size, thirl_time until, unsigned wanted,
                 uint64_t *id) {
    int64_t deadline = until.ns > 0 ? until.ns : clock_after(clock_now(), end->timeout);
    if (data == NULL && size != 0) {
        return err_say(EINVAL, "thirl_call: there is no data (NULL), but %zu bytes of it", size);
    }
    struct asking asking;
    begin(&asking, f, NULL, data, size);
    asking.deadline = deadline;
    asking.wanted = wanted;
    asking.named = id;
    int rc = end->retry ? keep_request(end, &asking) : 0;
    rc = rc != 0 ? rc : do_ask(end, &asking, until);
    if (unlikely(rc != 0)) {
        give_up(end, &asking);
    }
    return rc;
}

bool request_again(thirl *end, struct flight *f, uint64_t id) {
    flight_lock(f);
    struct call *call = id != 0 ? flight_find(f, id) : NULL;
    for (unsigned i = 0; id == 0 && call == NULL && i < f->places; i++) {
        call = f->place[i]->state == CALL_HOMELESS ? f->place[i] : NULL;
    }
    bool homeless = call != NULL && call->state == CALL_HOMELESS;
    if (homeless) {
        call->state = CALL_LEAVING;
        f->homeless--;
    }
    struct asking asking;
    if (homeless) {
        begin(&asking, f, call, call->request, call->size);
    }
    flight_unlock(end, f);
    if (!homeless) {
        return true; /* another thread was faster */
    }
    int rc = end_do(end, MECH_OUT, try_ask, &asking, THIRL_NOW);
    rc = asking.done != 0 ? 0 : rc; /* as in do_ask */
    if (rc == 0) {
        return true;
    }
    flight_lock(f);
    if (call->id != asking.id || call->state != CALL_LEAVING) {
        rc = 0; /* it is another's by now */
    } else if (rc == -EAGAIN) {
        call->state = CALL_HOMELESS;
        f->homeless++;
        f->next_try = clock_after(clock_now(), FLIGHT_HOMELESS_NS);
    } else {
        flight_fail(f, call, rc, thirl_why());
    }
    flight_unlock(end, f);
    return rc != -EAGAIN;
}
