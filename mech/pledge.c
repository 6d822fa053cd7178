/* SPDX-License-Identifier: MIT
 *
 * Pledging calls, see pledge.h. What is sent is put together in a buffer that grows; what came is judged where it lies.
 */
#include "mech/pledge.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "mech/stamp.h"
#include "mech/wrap.h"
#include "mem/node.h"
#include "wire/slip.h"

#define ROOM_FIRST ((size_t)4096)

struct pledge {
    struct wrap wrap;
    struct node_end *seen;
    bool crc, ages;
    size_t tail;
    struct stamp stamp;
    unsigned char *data; /* OUT */
    size_t room;
    char address[NODE_ADDRESS_MAX];
};

#define CALL(self, slot, ...) ((self)->wrap.inner->slot((self)->wrap.inside, ##__VA_ARGS__))

static void limits_slot(void *self, struct thirl_limits *limits) {
    struct pledge *p = self;
    CALL(p, limits, limits);
    limits->message_max -= limits->message_max < p->tail ? limits->message_max : p->tail;
    limits->atomic_max -= limits->atomic_max < p->tail ? limits->atomic_max : p->tail;
}

/* ---- sending ---- */

static int reserve(struct pledge *p, size_t size) {
    struct thirl_limits limits = {.size = sizeof limits};
    if (likely(size <= p->room - p->tail)) {
        return 0;
    }
    limits_slot(p, &limits);
    if (size > limits.message_max) {
        return err_say(
            EMSGSIZE,
            "%s: a message of %zu bytes is larger than the %llu that it can carry beside the %zu that ?crc and "
            "?lifespan take: see ?max and ?queue=",
            p->address, size, (unsigned long long)limits.message_max, p->tail);
    }
    unsigned char *larger = realloc(p->data, size + p->tail);
    if (larger == NULL) {
        return err_say(ENOMEM, "%s: no memory for a message of %zu bytes", p->address, size);
    }
    p->data = larger;
    p->room = size + p->tail;
    return 0;
}

/* A deadline as the mechanism carries it: as it is, or as what is left of it. */
static int64_t deadline_out(const struct pledge *p, const struct mech_note *note) {
    if (note->kind != MECH_REQUEST || note->deadline == INT64_MAX) {
        return INT64_MAX;
    }
    return p->wrap.inner->clocked ? note->deadline : note->deadline - clock_now();
}

static int64_t deadline_in(const struct pledge *p, int64_t left) {
    return left == INT64_MAX || p->wrap.inner->clocked ? left : clock_after(clock_now(), left);
}

static int send_noted_slot(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                           bool wait) {
    struct pledge *p = self;
    if (likely(*done == 0)) {
        int rc = reserve(p, size);
        if (rc != 0) {
            return rc;
        }
        if (size != 0) {
            memcpy(p->data, data, size);
        }
        size_t end = size;
        if (p->ages) {
            stamp_write(&p->stamp, p->data + end);
            end += STAMP;
        }
        if (p->crc) {
            const struct slip slip = {note->call, deadline_out(p, note), (uint8_t)note->kind, note->again};
            slip_write(p->data, end, &slip, true);
        }
    }
    return CALL(p, send_noted, p->data, size + p->tail, done, note, wait);
}

/* ---- receiving ---- */

static const char *what(const struct mech_note *note) {
    return note->kind == MECH_REQUEST ? "a request" : note->kind == MECH_CANCEL ? "a cancellation" : "an answer";
}

static int refuse(struct pledge *p, const struct mech_note *note, const char *why) {
    struct node_count *in = &p->seen->in;
    atomic_poke(&in->refused, in->refused + 1);
    return err_say(THIRL_EFORMAT, "%s: %s, of call %llu, was not delivered: %s", p->address, what(note),
                   (unsigned long long)note->call, why);
}

/* With its CRC: is it what was sent? *size is that of what stands before the slip then. */
static int check_crc(struct pledge *p, const unsigned char *data, size_t *size, struct mech_note *note) {
    struct slip slip;
    if (slip_read(data, size, &slip, true) != 0) {
        char why[160];
        (void)strncpy(why, thirl_why(), sizeof why - 1);
        why[sizeof why - 1] = '\0';
        return refuse(p, note, why);
    }
    if (slip.call != note->call || slip.kind != note->kind || slip.again != note->again) {
        return refuse(p, note, "it was damaged on its way: what came beside it is not what its CRC is of");
    }
    if (note->kind == MECH_REQUEST) {
        note->deadline = deadline_in(p, slip.left);
    }
    return 0;
}

static int check_time(struct pledge *p, const unsigned char *stamp, const struct mech_note *note) {
    struct node_count *in = &p->seen->in;
    int64_t age = 0, allowed = 0;
    switch (stamp_judge(&p->stamp, stamp, &age, &allowed)) {
    case STAMP_GOOD:
        return 0;
    case STAMP_STALE:
        atomic_poke(&in->expired, in->expired + 1);
        return err_say(
            THIRL_EEXPIRED,
            "%s: %s, of call %llu, expired: it was %lld ms old and has a lifespan of %lld ms; it was passed over",
            p->address, what(note), (unsigned long long)note->call, (long long)(age / CLOCK_MS),
            (long long)(allowed / CLOCK_MS));
    case STAMP_FOREIGN:
        return refuse(
            p, note,
            "it was sent by another clock, of another host or time namespace, so that nobody knows how old it "
            "is: open both ends without ?lifespan");
    case STAMP_DAMAGED:
        break;
    }
    return refuse(p, note, "it was damaged on its way: its time is no time");
}

/* What came, *size bytes of it: *size is the message's then, or note->failure says why there is none. Whoever wants no answer any more, or
 * is told that there is none, may learn that late. */
static void judge(struct pledge *p, const unsigned char *data, size_t *size, struct mech_note *note) {
    size_t end = *size;
    if (note->kind == MECH_GONE) {
        return;
    }
    bool ages = p->ages && note->kind != MECH_CANCEL && note->kind != MECH_FAILED;
    int rc = end < p->tail ? refuse(p, note, "it was cut short on its way") : 0;
    if (rc == 0 && p->crc) {
        rc = check_crc(p, data, &end, note);
    }
    if (rc == 0 && ages) {
        rc = check_time(p, data + *size - p->tail, note);
    }
    note->failure = rc;
    *size = rc == 0 ? *size - p->tail : 0;
}

static int recv_noted_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct pledge *p = self;
    int rc = CALL(p, recv_noted, buffer, capacity, size, note, wait);
    if (likely(rc == 0)) {
        judge(p, buffer, size, note);
    }
    return rc;
}

static int take_noted_slot(void *self, struct mech_piece *piece, struct mech_note *note, bool wait) {
    struct pledge *p = self;
    int rc = CALL(p, take_noted, piece, note, wait);
    if (likely(rc == 0)) {
        judge(p, piece->data, &piece->size, note);
    }
    return rc;
}

/* ---- the end ---- */

static int open_slot(void *self, const struct mech_open *open) {
    struct pledge *p = self;
    struct mech_open copy;
    wrap_begin(self, sizeof *p, open, &copy);
    p->seen = open->seen;
    (void)strncpy(p->address, open->address, sizeof p->address - 1);
    p->crc = open->options.crc != 0;
    p->ages = open->options.lifespan != 0;
    p->tail = (p->ages ? STAMP : 0) + (p->crc ? slip_size(true) : 0);
    stamp_init(&p->stamp, open->options.lifespan);
    copy.options.max += p->tail;
    p->data = malloc(ROOM_FIRST);
    if (p->data == NULL) {
        return err_say(ENOMEM, "%s: no memory for a message", open->address);
    }
    p->room = ROOM_FIRST;
    int rc = CALL(p, open, &copy);
    if (rc != 0) {
        free(p->data);
    }
    return rc;
}

static void deinit_slot(void *self) {
    struct pledge *p = self;
    CALL(p, deinit);
    free(p->data);
}

int pledge_wrap(const struct mech **mech) {
    struct mech *outer = wrap_make(*mech, sizeof(struct pledge));
    if (outer == NULL) {
        return -ENOMEM;
    }
#define PLEDGED(slot) outer->slot = outer->slot == NULL ? NULL : slot##_slot
    PLEDGED(recv_noted);
    PLEDGED(take_noted);
#undef PLEDGED
    outer->deinit = deinit_slot;
    outer->limits = limits_slot;
    outer->send_noted = send_noted_slot;
    outer->open = open_slot;
    *mech = outer;
    return 0;
}
