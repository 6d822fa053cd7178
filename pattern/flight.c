/* SPDX-License-Identifier: MIT
 *
 * The table of calls in flight, see flight.h.
 */
#include "pattern/flight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

/* The first moment at which something is to be answered, or looked for. */
static int64_t first(const struct flight *f) {
    int64_t next = f->homeless != 0 && f->next_try < f->earliest ? f->next_try : f->earliest;
    return f->ready_first != NULL ? 0 : next;
}

void flight_tell(thirl *end, struct flight *f) {
    aside_show(end, first(f));
}

int64_t flight_when(thirl *end) {
    struct flight *f = end->pattern;
    flight_lock(f);
    int64_t when = first(f);
    flight_unlock(end, f);
    return when;
}

int64_t flight_deadline(const thirl *end, thirl_time until) {
    return until.ns >= 0 ? until.ns : clock_after(clock_now(), end->timeout);
}

struct flight *flight_make(void) {
    struct flight *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return NULL;
    }
    f->place = calloc(FLIGHT_MOST, sizeof(struct call *));
    if (f->place == NULL) {
        free(f);
        return NULL;
    }
    f->earliest = INT64_MAX;
    uint64_t chance = 0; /* so that no two ends of a machine count the same calls: a circle is found by them */
    (void)getrandom(&chance, sizeof chance, GRND_NONBLOCK);
    f->serial = chance >> 22; /* numbers of calls stay below 2^60 */
    gate_init(&f->gate);
    return f;
}

static void free_answers(struct answer *first) {
    while (first != NULL) {
        struct answer *next = first->next;
        free(first);
        first = next;
    }
}

void flight_free(void *flight) {
    struct flight *f = flight;
    if (f == NULL) {
        return;
    }
    for (unsigned i = 0; i < f->places; i++) {
        free_answers(f->place[i]->first);
        free(f->place[i]->request);
        free(f->place[i]);
    }
    free_answers(f->spare);
    free(f->place);
    free(f);
}

struct call *flight_add(struct flight *f, const char *address) {
    struct call *call = f->places < FLIGHT_MOST ? calloc(1, sizeof *call) : NULL;
    if (call != NULL) {
        call->id = f->places;
        f->place[f->places++] = call;
    } else if (f->places == FLIGHT_MOST) {
        (void)err_say(EBUSY, "%s: %u calls are in flight, which is the most: take some answers first", address,
                      FLIGHT_MOST);
    } else {
        (void)err_say(ENOMEM, "%s: no memory for a call", address);
    }
    return call;
}

static void hide(struct flight *f, struct call *call) {
    if (!call->ready) {
        return;
    }
    *(call->before != NULL ? &call->before->after : &f->ready_first) = call->after;
    *(call->after != NULL ? &call->after->before : &f->ready_last) = call->before;
    call->ready = false;
}

void flight_clear(struct flight *f, struct call *call) {
    struct answer *answer;
    hide(f, call);
    while ((answer = flight_stashed(f, call)) != NULL) {
        flight_used(f, answer);
    }
    f->homeless -= call->state == CALL_HOMELESS;
}

void flight_show(struct flight *f, struct call *call) {
    bool has = call->first != NULL || (call->state == CALL_OVER && call->code != 0);
    if (!has || call->wanted != 0) {
        hide(f, call);
    } else if (!call->ready) {
        call->before = f->ready_last;
        call->after = NULL;
        *(f->ready_last != NULL ? &f->ready_last->after : &f->ready_first) = call;
        f->ready_last = call;
        call->ready = true;
    }
}

/* ---- answers ---- */

int flight_stash(struct flight *f, struct call *call, const void *data, size_t size, bool last) {
    struct answer *answer = f->spare;
    if (answer != NULL) {
        f->spare = answer->next;
    }
    if (answer == NULL || answer->room < size) {
        size_t room = size < 64 ? 64 : size;
        struct answer *larger = realloc(answer, sizeof *answer + room);
        if (larger == NULL) {
            free(answer);
            return err_say(ENOMEM, "no memory for an answer of %zu bytes", size);
        }
        answer = larger;
        answer->room = room;
    }
    answer->next = NULL;
    answer->size = size;
    answer->last = last;
    if (size != 0) {
        memcpy(answer->data, data, size);
    }
    *(call->last != NULL && call->first != NULL ? &call->last->next : &call->first) = answer;
    call->last = answer;
    f->stashed += size;
    call->state = last ? CALL_OVER : call->state;
    flight_show(f, call);
    return 0;
}

struct answer *flight_stashed(struct flight *f, struct call *call) {
    struct answer *answer = call->first;
    if (answer != NULL) {
        call->first = answer->next;
        f->stashed -= answer->size;
    }
    return answer;
}

void flight_used(struct flight *f, struct answer *answer) {
    if (answer->room > FLIGHT_STASH_MOST / 64) {
        free(answer);
        return;
    }
    answer->next = f->spare;
    f->spare = answer;
}

/* ---- ends without one ---- */

void flight_fail(struct flight *f, struct call *call, int code, const char *why) {
    f->homeless -= call->state == CALL_HOMELESS;
    call->state = CALL_OVER;
    call->code = code;
    (void)snprintf(call->why, sizeof call->why, "%s", why);
    flight_show(f, call);
}

void flight_lose(struct flight *f, struct call *call, bool retry, int code, const char *why) {
    if (!retry || call->begun || call->first != NULL) {
        flight_fail(f, call, code, why);
        return;
    }
    f->homeless += call->state != CALL_HOMELESS;
    f->next_try = 0;
    call->state = CALL_HOMELESS;
    call->again = true;
    call->whom = 0;
}
