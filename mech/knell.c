/* SPDX-License-Identifier: MIT
 *
 * Events over a pair, see knell.h.
 */
#include "mech/knell.h"

#include <endian.h>
#include <string.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/weave.h"
#include "mem/node.h"

#define PIECE 12u /* bytes of a message of the pair */

#define CALL(self, slot, ...) ((self)->inner->slot((self)->inside, ##__VA_ARGS__))

/* ---- sending ---- */

static int tell(struct knell *k, uint32_t event, uint64_t times) {
    unsigned char piece[PIECE];
    const uint32_t word = htole32(event);
    const uint64_t count = htole64(times);
    size_t done = 0;
    memcpy(piece, &word, sizeof word);
    memcpy(piece + sizeof word, &count, sizeof count);
    weave("knell.tell.before");
    int rc = CALL(k, send, piece, PIECE, &done, false);
    if (unlikely(rc == -EAGAIN && done != 0)) {
        rc = CALL(k, settle, piece, PIECE, done); /* it counts as sent, and its rest leaves with the next one */
    }
    weave("knell.tell.after");
    return rc;
}

/* What waits, as far as there is room. 0: none of it does any more; or what the pair says. Whoever is gone needs none of it. */
static int push(struct knell *k) {
    int rc = 0;
    while (rc == 0 && unlikely(toll_any(&k->toll))) {
        uint64_t times;
        uint32_t event = toll_see(&k->toll, &times);
        rc = tell(k, event, times);
        if (rc == 0) {
            toll_take(&k->toll, times);
        }
    }
    if (unlikely(rc != 0 && rc != -EAGAIN)) {
        toll_free(&k->toll);
    }
    return rc;
}

static bool is_alone(const struct knell *k) {
    return atomic_peek(&k->seen->state) == NODE_END_WAITING;
}

HOT int knell_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct knell *k = self;
    uint32_t event;
    (void)wait; /* what finds no room is counted instead */
    int rc = toll_read(k->address, data, size, &event);
    if (unlikely(rc != 0)) {
        return rc;
    }
    rc = push(k);
    rc = rc == 0 ? tell(k, event, 1) : rc;
    if (unlikely(rc == -EAGAIN && !is_alone(k) && toll_takes(&k->toll, event))) {
        toll_add(&k->toll, event, 1);
        weave("knell.count.after");
        rc = 0;
    }
    *done = rc == 0 ? size : 0;
    return rc;
}

int knell_flush(void *self, uint64_t *left) {
    struct knell *k = self;
    uint64_t waits = toll_sum(&k->toll);
    int rc = k->sends ? push(k) : 0;
    *left = waits;
    if (rc == 0) {
        rc = CALL(k, flush, left);
    }
    return rc;
}

/* ---- receiving ---- */

static int refuse(struct knell *k, const char *what) {
    struct node_count *in = &k->seen->in;
    atomic_poke(&in->refused, in->refused + 1);
    return err_say(EBADMSG, "%s: the notifier sent %s; it was passed over", k->address, what);
}

int knell_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct knell *k = self;
    unsigned char piece[PIECE];
    uint32_t word;
    uint64_t count;
    size_t got = 0;
    *size = TOLL_WORD;
    int rc = CALL(k, recv, piece, capacity < TOLL_WORD ? 0 : PIECE, &got, wait);
    if (unlikely(rc != 0)) {
        return rc == -EMSGSIZE && capacity >= TOLL_WORD ? refuse(k, "a message, and to a watcher nobody sends any")
                                                        : rc;
    }
    if (unlikely(got != PIECE)) {
        return refuse(k, "a message that is no event");
    }
    memcpy(&word, piece, sizeof word);
    memcpy(&count, piece + sizeof word, sizeof count);
    word = le32toh(word);
    note->times = le64toh(count);
    if (unlikely(word >> 31 != 0 || note->times == 0)) {
        return refuse(k, "an event that is none");
    }
    memcpy(buffer, &word, TOLL_WORD);
    return 0;
}

HOT int knell_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct mech_note note;
    return knell_recv_noted(self, buffer, capacity, size, &note, wait);
}

/* ---- waiting ---- */

/* Is there room for an event: in the pair, or in the table? */
static bool has_room(struct knell *k) {
    return push(k) != -EAGAIN || (!is_alone(k) && !toll_is_full(&k->toll));
}

bool knell_ready(void *self, enum mech_way way) {
    struct knell *k = self;
    return (way == MECH_OUT && toll_any(&k->toll) && has_room(k)) || CALL(k, ready, way);
}

int knell_look(void *self, enum mech_way way) {
    struct knell *k = self;
    return way == MECH_OUT && toll_any(&k->toll) && has_room(k) ? 0 : CALL(k, look, way);
}

int knell_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct knell *k = self;
    return CALL(k, arm, way, watch);
}

int64_t knell_disarm(void *self, enum mech_way way) {
    struct knell *k = self;
    return CALL(k, disarm, way);
}

int knell_fd(void *self, enum mech_way way, int *fd) {
    struct knell *k = self;
    if (way == MECH_OUT) {
        (void)push(k);
    }
    return CALL(k, fd, way, fd);
}

/* ---- the end ---- */

int knell_open(void *self, const struct mech_open *open, const struct mech *inner) {
    struct knell *k = self;
    struct mech_open copy = *open;
    k->inner = inner;
    k->inside = (char *)self + KNELL_ROOM;
    k->seen = open->seen;
    k->address = open->seen->address;
    k->sends = open->sends;
    k->toll.places = toll_places(open->options.queue);
    copy.mech = inner;
    copy.options.max = PIECE;
    return CALL(k, open, &copy);
}

void knell_close(void *self) {
    struct knell *k = self;
    toll_free(&k->toll);
    CALL(k, close);
}

void knell_deinit(void *self) {
    struct knell *k = self;
    CALL(k, deinit);
}

void knell_bound(struct thirl_limits *limits, uint64_t places) {
    limits->message_max = limits->atomic_max = TOLL_WORD;
    limits->queue_messages = places;
    limits->ordered = 0; /* one that is told again joins the one that waits */
    limits->reliable = 1;
    limits->priorities = 1;
    limits->descriptors = 0;
    limits->senders = limits->receivers = 1;
}

void knell_limits(void *self, struct thirl_limits *limits) {
    struct knell *k = self;
    CALL(k, limits, limits);
    knell_bound(limits, k->toll.places);
}

int knell_peer(void *self, struct thirl_peer *peer) {
    struct knell *k = self;
    return CALL(k, peer, peer);
}

int knell_pidfd(void *self, int *fd) {
    struct knell *k = self;
    return CALL(k, pidfd, fd);
}

int knell_hand(void *self, char *address, size_t capacity) {
    struct knell *k = self;
    return CALL(k, hand, address, capacity);
}
