/* SPDX-License-Identifier: MIT
 *
 * The receiving ends of a hub, see ear.h. A worker's message is finished when it is freed; one that was copied out, when the worker comes
 * for the next one, or closes.
 */
#include "mech/ear.h"

#include "base/err.h"
#include "base/parts.h"
#include "base/weave.h"
#include "mech/tell.h"

static bool is_worker(const struct chain *e) {
    return (e->hears & 1u << FRAME_AGAIN) != 0;
}

/* A cookie names a message and its connection, of which an end has one after the other; 0 names none. */
#define COOKIE(l) ((l)->serial << 40 | (l)->delivered)

/* What thirl_recv delivered last is finished by the next receive: the pusher forgets it. */
static void finish(struct chain *e) {
    struct link *l = e->way[MECH_IN].at;
    if (l && l->owes) {
        weave("ear.done.before");
        l->owes = tell_send(l, FRAME_DONE, l->delivered - 1) == -EAGAIN;
        weave("ear.done.after");
    }
}

static void note_message(struct chain *e, struct mech_note *note) {
    struct link *l = e->way[MECH_IN].at;
    uint64_t lost;
    bool again, keeps = note && note->keeps;
    struct node_count *in = &e->seen->in;
    tell_take(l, &lost, &again);
    if (lost != 0) {
        atomic_poke(&in->lost, in->lost + lost);
        l->delivered += lost;
    }
    if (note) {
        note->lost = lost;
        note->again = again;
        note->number = l->delivered;
    }
    l->delivered++;
    l->owes = is_worker(e) && !keeps;
    if (keeps) {
        note->cookie = COOKIE(l);
    }
}

/* The number on this connection of the message with that cookie; -1: it came over another one, which is gone. */
static int64_t number_of(const struct link *l, uint64_t cookie) {
    return l && cookie >> 40 == l->serial ? (int64_t)(cookie & ((UINT64_C(1) << 40) - 1)) - 1 : -1;
}

void ear_free(void *self, struct mech_piece *piece, enum mech_way way) {
    struct chain *e = self;
    struct link *l = e->way[MECH_IN].at;
    int64_t number = number_of(l, piece->cookie);
    (void)way; /* a worker lends nothing */
    if (number >= 0) {
        weave("ear.done.before");
        (void)tell_send(l, FRAME_DONE,
                        (uint64_t)number); /* there is room: as many as are in our hands are on their way */
        weave("ear.done.after");
    }
}

int ear_requeue(void *self, struct mech_piece *piece) {
    struct chain *e = self;
    struct link *l = e->way[MECH_IN].at;
    int64_t number = number_of(l, piece->cookie);
    if (number < 0) {
        return err_say(THIRL_EPEERDIED, "%s: who pushed that message is gone, and nobody can give it to another one",
                       e->meet.address);
    }
    weave("ear.back.before");
    int rc = tell_send(l, FRAME_BACK, (uint64_t)number);
    weave("ear.back.after");
    return rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED
               ? err_say(-rc, "%s: who pushed that message, %s, is gone", e->meet.address, l->who.text)
               : rc;
}

int ear_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct chain *e = self;
    finish(e);
    int rc = haul_recv(e, buffer, capacity, size, wait);
    if (rc == 0) {
        weave("ear.take.after");
        note_message(e, note);
    }
    return rc;
}

HOT int ear_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    return ear_recv_noted(self, buffer, capacity, size, NULL, wait);
}

/* A worker gets one at a time: it has all of them in its hands, and can say of each that it is finished only by the next call. */
int ear_recv_many(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count, size_t *bytes) {
    struct chain *e = self;
    if (is_worker(e)) {
        messages->iov_base = buffer;
        *count = 1;
        int rc = ear_recv_noted(self, buffer, capacity, &messages->iov_len, NULL, false);
        *bytes = messages->iov_len;
        return rc;
    }
    int rc = haul_recv_many(self, buffer, capacity, messages, count, bytes);
    if (rc == 0) {
        note_message(e, NULL);
    }
    return rc;
}

int ear_open(struct chain *e, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    e->part = MEET_CALLER;
    e->hears = open->role == THIRL_SUB ? 1u << FRAME_LOST | 1u << FRAME_FIRST | 1u << FRAME_CUT : 1u << FRAME_AGAIN;
    return haul_open(e, open, kind, place);
}

void ear_close(void *self) {
    struct chain *e = self;
    finish(e);
    haul_close(e);
    e->way[MECH_IN].at = NULL; /* what was taken and is freed later went back with the connection */
}

void ear_limits(void *self, struct thirl_limits *limits) {
    const struct chain *e = self;
    haul_limits(self, limits);
    limits->receivers = 0;
    limits->reliable = is_worker(e);
    limits->descriptors = 0;
}

void ear_claims_sub(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->receivers = 0;
    limits->reliable = 0;
    limits->full = THIRL_FULL_DROP_NEWEST;
}

void ear_claims_pull(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->receivers = 0;
}
