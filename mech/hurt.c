/* SPDX-License-Identifier: MIT
 *
 * Faults on purpose, see hurt.h. A try answers EAGAIN although it need not, once in a call: whoever waits arms, and is told
 * to try again, because the inner one was not tried and may not know that there is something. Where messages may be lost, doubled or swapped they go through
 * copies, and nothing is lent; nor where bits are turned over, for what a peer wrote is not to be written to. Two messages are
 * swapped by the receiver, and only when both are there, so that none is held back.
 */
#define _GNU_SOURCE
#include "mech/hurt.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "mech/harm.h"
#include "mech/wrap.h"
#include "mem/node.h"

struct held {
    unsigned char *data;
    size_t room, size;
    struct mech_note note;
};

struct hurt {
    struct wrap wrap;
    struct harm harm;
    struct dice dice[2]; /* by way, as later */
    struct later {       /* an error that a second try met, for the next call */
        int code;        /* 0: none */
        char why[256];
    } later[2];
    bool feigned[2]; /* by way: the last EAGAIN was none of the inner one's */
    bool stream;
    size_t base, limit;  /* OUT, on a stream: the piece of the caller's bytes that is on its way; base == limit: none */
    struct held held[2]; /* IN: messages in hand, the next one is held[next] */
    unsigned count, next;
    struct taken { /* IN: what lies in place and did not fit yet */
        bool out;
        struct mech_piece piece;
        struct mech_note note;
    } taken;
    struct wrap_bell bell; /* thirl_fd, where messages may be in hand */
    struct node_end *seen;
    char address[NODE_ADDRESS_MAX];
};

#define CALL(self, slot, ...) ((self)->wrap.inner->slot((self)->wrap.inside, ##__VA_ARGS__))

/* ---- what all calls have before them ---- */

static void keep_error(struct hurt *h, enum mech_way way, int rc) {
    h->later[way].code = rc;
    (void)strncpy(h->later[way].why, thirl_why(), sizeof h->later[way].why - 1);
}

/* Delay, error, EAGAIN: 0 when the try goes on. begun: a message is partly on its way, and no error may come in between. */
static int before(struct hurt *h, enum mech_way way, bool begun) {
    struct dice *dice = &h->dice[way];
    struct later *later = &h->later[way];
    dice_begin(dice, &h->harm);
    h->feigned[way] = false;
    if (later->code != 0) {
        int rc = later->code;
        later->code = 0;
        return rc > 0 ? rc : err_say(-rc, "%s", later->why);
    }
    if (dice_once(dice, HARM_DELAY)) {
        const struct timespec rest = clock_spec((int64_t)dice_below(dice, (uint64_t)h->harm.rule[HARM_DELAY].value));
        (void)nanosleep(&rest, NULL);
    }
    if (!begun && dice_once(dice, HARM_FAIL)) {
        return err_say((int)-h->harm.rule[HARM_FAIL].value, "%s: ?hurt= lets call %llu to %s fail", h->address,
                       (unsigned long long)dice->call, way == MECH_IN ? "receive" : "send");
    }
    h->feigned[way] = dice_once(dice, HARM_AGAIN);
    return h->feigned[way] ? -EAGAIN : 0;
}

/* ---- sending ---- */

static int pass(struct hurt *h, const void *data, size_t size, size_t *done, const struct mech_note *note, bool wait) {
    return note == NULL ? CALL(h, send, data, size, done, wait) : CALL(h, send_noted, data, size, done, note, wait);
}

/* On a stream: sends a piece of the rest. The inner one wants the same piece until it has all of it. */
static int send_piece(struct hurt *h, const char *data, size_t size, size_t *done, bool wait) {
    if (h->base == h->limit) {
        size_t rest = size - *done;
        bool cut = rest > 1 && dice_due(&h->dice[MECH_OUT], HARM_SHORT);
        h->base = *done;
        h->limit = *done + (cut ? 1 + (size_t)dice_below(&h->dice[MECH_OUT], rest) : rest);
    }
    size_t went = *done - h->base;
    int rc = pass(h, data + h->base, h->limit - h->base, &went, NULL, wait);
    if (rc == 0) {
        *done = h->base = h->limit;
        h->feigned[MECH_OUT] = *done != size;
        return h->feigned[MECH_OUT] ? -EAGAIN : 0;
    }
    *done = h->base + went;
    if (rc != -EAGAIN || went == 0) {
        h->base = h->limit = 0;
    }
    return rc;
}

/* Would it have been sent? */
static bool fits(struct hurt *h, size_t size) {
    struct thirl_limits limits = {.size = sizeof limits};
    CALL(h, limits, &limits);
    return size <= limits.message_max;
}

static void send_twin(struct hurt *h, const void *data, size_t size, const struct mech_note *note) {
    size_t done = 0;
    int rc = pass(h, data, size, &done, note, false);
    if (rc == -EAGAIN && done != 0 && h->wrap.inner->settle != NULL) {
        rc = CALL(h, settle, data, size, done);
    }
    if (rc != 0 && rc != -EAGAIN) {
        keep_error(h, MECH_OUT, rc);
    }
}

static int send_any(struct hurt *h, const void *data, size_t size, size_t *done, const struct mech_note *note,
                    bool wait) {
    struct dice *dice = &h->dice[MECH_OUT];
    int rc = before(h, MECH_OUT, *done != 0);
    if (rc == 0 && h->stream) {
        rc = send_piece(h, data, size, done, wait);
    } else if (rc == 0 && *done == 0 && dice_due(dice, HARM_LOSE) && fits(h, size)) {
        atomic_poke(&h->seen->out.lost, h->seen->out.lost + 1);
    } else if (rc == 0) {
        rc = pass(h, data, size, done, note, wait);
        if (rc == 0 && dice_due(dice, HARM_DOUBLE)) {
            send_twin(h, data, size, note);
        }
    }
    return dice_end(dice, rc);
}

static int send_slot(void *self, const void *data, size_t size, size_t *done, bool wait) {
    return send_any(self, data, size, done, NULL, wait);
}

static int send_noted_slot(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                           bool wait) {
    return send_any(self, data, size, done, note, wait);
}

static int settle_slot(void *self, const void *data, size_t size, size_t done) {
    struct hurt *h = self;
    size_t base = h->base, limit = h->limit;
    h->dice[MECH_OUT].open = false;
    h->base = h->limit = 0;
    if (!h->stream) {
        return CALL(h, settle, data, size, done);
    }
    return base == limit || h->wrap.inner->settle == NULL
               ? 0
               : CALL(h, settle, (const char *)data + base, limit - base, done - base);
}

static size_t fewer(struct dice *dice, size_t count) {
    return count > 1 && dice_once(dice, HARM_SHORT) ? 1 + (size_t)dice_below(dice, count) : count;
}

static int send_many_slot(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    struct hurt *h = self;
    struct dice *dice = &h->dice[MECH_OUT];
    if (h->base != h->limit) {
        *count = 0;
        return 1; /* a piece is on its way */
    }
    int rc = before(h, MECH_OUT, false);
    *count = rc != 0 ? 0 : fewer(dice, *count);
    rc = rc != 0 ? rc : CALL(h, send_many, messages, count, bytes);
    return rc == 1 ? rc : dice_end(dice, rc); /* 1: it goes on in send */
}

static int loan_slot(void *self, struct mech_piece *piece, size_t size) {
    struct hurt *h = self;
    int rc = before(h, MECH_OUT, false);
    return dice_end(&h->dice[MECH_OUT], rc != 0 ? rc : CALL(h, loan, piece, size));
}

/* ---- receiving ---- */

/* One bit of what came, in the caller's own memory. */
static void flip(struct hurt *h, void *data, size_t size) {
    struct dice *dice = &h->dice[MECH_IN];
    if (size != 0 && dice_once(dice, HARM_FLIP)) {
        size_t bit = (size_t)dice_below(dice, (uint64_t)size * 8);
        ((unsigned char *)data)[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

/* A message that is larger than the buffer is asked for again, by the library or its user: that is the same call. */
static int end_recv(struct hurt *h, int rc) {
    (void)dice_end(&h->dice[MECH_IN], rc == -EMSGSIZE ? -EAGAIN : rc);
    return rc;
}

static bool make_room(struct hurt *h, struct held *m, size_t size) {
    unsigned char *larger = realloc(m->data, size);
    if (larger == NULL) {
        (void)err_say(ENOMEM, "%s: no memory for a message of %zu bytes", h->address, size);
        return false;
    }
    m->data = larger;
    m->room = size;
    return true;
}

static int fetch(struct hurt *h, struct held *m, bool wait) {
    int rc = -EMSGSIZE;
    m->size = 4096;
    while (rc == -EMSGSIZE) {
        if (m->size > m->room && !make_room(h, m, m->size)) {
            return -ENOMEM;
        }
        m->note.count = m->note.priority = 0;
        rc = h->wrap.inner->recv_noted != NULL ? CALL(h, recv_noted, m->data, m->room, &m->size, &m->note, wait)
                                               : CALL(h, recv, m->data, m->room, &m->size, wait);
    }
    return rc;
}

/* Gets a message into the hand, and where the dice say so the one behind it, to let that pass. */
static int fill(struct hurt *h, bool wait) {
    int rc = fetch(h, &h->held[0], wait);
    if (rc != 0) {
        return rc;
    }
    h->count = 1;
    h->next = 0;
    if (dice_due(&h->dice[MECH_IN], HARM_SWAP)) {
        rc = fetch(h, &h->held[1], false);
        if (rc == 0) {
            h->count = 2;
            h->next = 1;
        } else if (rc != -EAGAIN) {
            keep_error(h, MECH_IN, rc);
        }
    }
    return 0;
}

static void drop_descriptors(struct mech_note *note) {
    for (unsigned i = 0; i < note->count; i++) {
        fd_close(&note->descriptor[i]);
    }
    note->count = 0;
}

/* thirl_fd stays readable while a message is in hand. */
static void ring(struct hurt *h) {
    wrap_bell_ring(&h->bell, h->count != 0 || h->later[MECH_IN].code != 0);
}

static int recv_held(struct hurt *h, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    int rc = h->count != 0 ? 0 : before(h, MECH_IN, false);
    rc = rc != 0 || h->count != 0 ? rc : fill(h, wait);
    if (rc == 0) {
        struct held *m = &h->held[h->next];
        *size = m->size;
        if (m->size > capacity) {
            rc = -EMSGSIZE;
        } else {
            memcpy(buffer, m->data, m->size); /* never NULL when capacity is not 0 */
            flip(h, buffer, m->size);
            if (note != NULL) {
                *note = m->note;
            } else {
                drop_descriptors(&m->note);
            }
            h->count--;
            h->next = 0;
        }
    }
    ring(h);
    return end_recv(h, rc);
}

static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct hurt *h = self;
    struct dice *dice = &h->dice[MECH_IN];
    if (h->harm.rule[HARM_SWAP].on) {
        return recv_held(h, buffer, capacity, size, NULL, wait);
    }
    int rc = before(h, MECH_IN, false);
    if (rc == 0) {
        capacity = h->stream ? fewer(dice, capacity) : capacity;
        rc = CALL(h, recv, buffer, capacity, size, wait);
    }
    if (rc == 0) {
        flip(h, buffer, *size);
    }
    return end_recv(h, rc);
}

static int recv_noted_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct hurt *h = self;
    struct dice *dice = &h->dice[MECH_IN];
    if (h->harm.rule[HARM_SWAP].on) {
        return recv_held(h, buffer, capacity, size, note, wait);
    }
    int rc = before(h, MECH_IN, false);
    note->lies = false; /* bits are turned over in the buffer */
    if (rc == 0) {
        capacity = h->stream ? fewer(dice, capacity) : capacity;
        rc = CALL(h, recv_noted, buffer, capacity, size, note, wait);
    }
    if (rc == 0) {
        flip(h, buffer, *size);
    }
    return end_recv(h, rc);
}

static int recv_many_slot(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                          size_t *bytes) {
    struct hurt *h = self;
    struct dice *dice = &h->dice[MECH_IN];
    int rc = before(h, MECH_IN, false);
    *count = rc != 0 ? 0 : fewer(dice, *count);
    rc = rc != 0 ? rc : CALL(h, recv_many, buffer, capacity, messages, count, bytes);
    if (rc == 0 && dice_due(dice, HARM_FLIP)) {
        const struct iovec *one = &messages[dice_below(dice, *count)];
        flip(h, one->iov_base, one->iov_len);
    }
    return end_recv(h, rc);
}

static int take_slot(void *self, struct mech_piece *piece) {
    struct hurt *h = self;
    int rc = before(h, MECH_IN, false);
    return dice_end(&h->dice[MECH_IN], rc != 0 ? rc : CALL(h, take, piece));
}

/* What lies in place, copied: there a bit may be turned over. One that does not fit is asked for again. */
static int recv_taken_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct hurt *h = self;
    struct taken *t = &h->taken;
    (void)wait;
    int rc = t->out ? 0 : before(h, MECH_IN, false);
    if (rc == 0 && !t->out) {
        t->note = (struct mech_note){.failure = 0};
        rc = CALL(h, take_noted, &t->piece, &t->note, wait);
        t->out = rc == 0;
    }
    if (rc == 0) {
        *size = t->piece.size;
        rc = t->piece.size > capacity ? -EMSGSIZE : 0;
    }
    if (rc == 0) {
        if (*size != 0) {
            memcpy(buffer, t->piece.data, *size);
        }
        flip(h, buffer, *size);
        *note = t->note;
        CALL(h, free, &t->piece, MECH_IN);
        t->out = false;
    }
    return end_recv(h, rc);
}

static int take_noted_slot(void *self, struct mech_piece *piece, struct mech_note *note, bool wait) {
    struct hurt *h = self;
    int rc = before(h, MECH_IN, false);
    return dice_end(&h->dice[MECH_IN], rc != 0 ? rc : CALL(h, take_noted, piece, note, wait));
}

/* ---- waiting ---- */

static bool holds(const struct hurt *h, enum mech_way way) {
    return h->feigned[way] || h->later[way].code != 0 || (way == MECH_IN && h->count != 0);
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    struct hurt *h = self;
    return holds(h, way) ? 1 : CALL(h, arm, way, watch);
}

static bool ready_slot(void *self, enum mech_way way) {
    struct hurt *h = self;
    return holds(h, way) || CALL(h, ready, way);
}

static int look_slot(void *self, enum mech_way way) {
    struct hurt *h = self;
    return holds(h, way) ? 0 : CALL(h, look, way);
}

static int fd_slot(void *self, enum mech_way way, int *fd) {
    struct hurt *h = self;
    int rc = CALL(h, fd, way, fd);
    if (rc != 0 || !h->harm.rule[HARM_SWAP].on || way == MECH_OUT) {
        return rc;
    }
    rc = h->bell.epoll >= 0 ? 0 : wrap_bell_make(&h->bell, *fd, h->address);
    ring(h);
    *fd = h->bell.epoll;
    return rc;
}

/* ---- the end ---- */

static void limits_slot(void *self, struct thirl_limits *limits) {
    struct hurt *h = self;
    CALL(h, limits, limits);
    limits->reliable &= !h->harm.rule[HARM_LOSE].on && !h->harm.rule[HARM_DOUBLE].on;
    limits->ordered &= !h->harm.rule[HARM_SWAP].on;
    limits->zero_copy &= !harm_copies(&h->harm);
}

static int open_slot(void *self, const struct mech_open *open) {
    struct hurt *h = self;
    struct mech_open copy;
    struct thirl_limits claims = {.size = sizeof claims};
    wrap_begin(self, sizeof *h, open, &copy);
    h->wrap.inner->claims(&claims);
    int rc = harm_read(&h->harm, open->address, open->options.hurt, &claims, open->stream);
    if (rc != 0) {
        return rc;
    }
    wrap_bell_init(&h->bell);
    h->seen = open->seen;
    (void)strncpy(h->address, open->address, sizeof h->address - 1);
    dice_init(&h->dice[MECH_IN], h->harm.seed, MECH_IN);
    dice_init(&h->dice[MECH_OUT], h->harm.seed, MECH_OUT);
    rc = CALL(h, open, &copy);
    h->stream = open->stream || *open->bytes;
    if (rc == 0 && *open->bytes && harm_breaks(&h->harm)) {
        rc =
            harm_read(&h->harm, open->address, open->options.hurt, &claims, true); /* says what does not fit a stream */
        if (rc != 0) {
            CALL(h, close);
            CALL(h, deinit);
        }
    }
    return rc;
}

static void close_slot(void *self) {
    struct hurt *h = self;
    wrap_bell_close(&h->bell);
    CALL(h, close);
}

static void deinit_slot(void *self) {
    struct hurt *h = self;
    for (unsigned i = 0; i < 2; i++) {
        unsigned in_use = h->count == 2 || (h->count == 1 && h->next == i);
        if (in_use) {
            drop_descriptors(&h->held[i].note);
        }
        free(h->held[i].data);
    }
    CALL(h, deinit);
}

int hurt_wrap(const struct mech **mech, const char *address, const struct thirl_options *options) {
    struct harm harm;
    struct thirl_limits claims = {.size = sizeof claims};
    (*mech)->claims(&claims);
    int rc = harm_read(&harm, address, options->hurt, &claims, false);
    struct mech *outer = rc != 0 ? NULL : wrap_make(*mech, sizeof(struct hurt));
    if (outer == NULL) {
        return rc != 0 ? rc : -ENOMEM;
    }
#define HURT(slot) outer->slot = outer->slot == NULL ? NULL : slot##_slot
    HURT(send);
    HURT(recv);
    HURT(send_many);
    HURT(recv_many);
    HURT(send_noted);
    HURT(recv_noted);
    HURT(loan);
    HURT(take);
    HURT(take_noted);
    HURT(ready);
#undef HURT
    outer->settle = settle_slot; /* even where the inner one never stops half-way */
    if (harm_copies(&harm)) {
        outer->loan = NULL;
        outer->put = NULL;
        outer->take = NULL;
        outer->recv_noted = outer->take_noted != NULL ? recv_taken_slot : outer->recv_noted;
        outer->take_noted = NULL;
        outer->free = NULL;
        outer->requeue = NULL;
    }
    if (harm_breaks(&harm)) { /* message by message */
        outer->send_many = NULL;
        outer->recv_many = NULL;
    }
    outer->open = open_slot;
    outer->close = close_slot;
    outer->deinit = deinit_slot;
    outer->look = look_slot;
    outer->arm = arm_slot;
    outer->fd = fd_slot;
    outer->limits = limits_slot;
    *mech = outer;
    return 0;
}
