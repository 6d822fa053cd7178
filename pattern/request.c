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
    struct call *call;
    uint64_t id; /* the call's: its place may be another's as soon as the request is gone */
    const void *data;
    size_t size, done;     /* done: it counts as sent, but a part of it has not left yet */
    struct mech_note note; /* of the last try */
};

static void begin(struct asking *asking, struct flight *f, struct call *call, uint64_t id, const void *data,
                  size_t size) {
    asking->f = f;
    asking->call = call;
    asking->id = id;
    asking->data = data;
    asking->size = size;
    asking->done = 0;
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
static int go_on(thirl *end, struct asking *asking) {
    int rc = end->mech->send_noted(end->state, asking->data, asking->size, &asking->done, &asking->note, false);
    return rc == -EAGAIN ? rc : 0;
}

static int try_ask(thirl *end, void *arguments, bool wait) {
    struct asking *asking = arguments;
    struct call *call = asking->call;
    (void)wait;
    while (likely(asking->done == 0)) {
        struct mech_note *note = &asking->note;
        uint64_t whom = 0;
        int rc = end->mech->choose(end->state, &whom);
        if (rc != 0) {
            return rc;
        }
        flight_lock(asking->f);
        if (unlikely(call->id != asking->id || call->state != CALL_LEAVING)) {
            flight_unlock(end, asking->f);
            return err_say(ECANCELED, "%s: the call was cancelled by another thread", end->address);
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
static int do_ask(thirl *end, struct asking *asking, thirl_time until) {
    int rc = end_do_straight(end, MECH_OUT, try_ask, asking, until);
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

int request_send(thirl *end, struct flight *f, const void *data, size_t size, thirl_time until, unsigned wanted,
                 uint64_t *id) {
    int64_t deadline = until.ns > 0 ? until.ns : clock_after(clock_now(), end->timeout);
    if (data == NULL && size != 0) {
        return err_say(EINVAL, "thirl_call: there is no data (NULL), but %zu bytes of it", size);
    }
    flight_lock(f);
    struct call *call = flight_begin(f, end->address, deadline);
    if (call != NULL) {
        call->wanted = wanted;
        *id = call->id;
    }
    if (deadline < f->earliest) {
        atomic_poke(&f->earliest, deadline);
    }
    flight_unlock(end, f);
    if (call == NULL) {
        return -EBUSY;
    }
    int rc = end->retry ? keep_request(end, call, data, size) : 0;
    struct asking asking;
    begin(&asking, f, call, *id, data, size);
    rc = rc != 0 ? rc : do_ask(end, &asking, until);
    if (rc != 0) {
        flight_lock(f);
        flight_end(f, call);
        flight_unlock(end, f);
        *id = 0;
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
        begin(&asking, f, call, call->id, call->request, call->size);
    }
    flight_unlock(end, f);
    if (!homeless) {
        return true; /* another thread was faster */
    }
    int rc = do_ask(end, &asking, THIRL_NOW);
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
