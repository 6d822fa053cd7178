/* SPDX-License-Identifier: MIT
 *
 * Opening sealed messages, see seal.h, and the end that does it; enclose.c seals. What is received by copy goes straight to where the caller wants
 * it if the CRC fits there too, else through a buffer that grows; either way it is checked where no other process can change it. Damage in the middle
 * of many messages is told by the calls after the one that brings the others.
 */
#include "mech/seal.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/parts.h"
#include "mech/enclose.h"
#include "mech/pledge.h"

#define ROOM_FIRST ((size_t)4096) /* of each buffer */
#define STALE_MOST 4096           /* so many old ones are passed over before whoever calls looks at his deadline */

/* ---- receiving ---- */

static int tell_stale(const struct seal *s, const struct damage *d, const char *from, const char *who) {
    return err_say(THIRL_EEXPIRED,
                   "%s: job %llu%s%s expired: it is %lld ms old and has a lifespan of %lld ms; it was passed over and "
                   "counts as done",
                   s->address, (unsigned long long)d->number, from, who, (long long)(d->age / CLOCK_MS),
                   (long long)(d->allowed / CLOCK_MS));
}

static int tell(struct seal *s, const struct damage *d) {
    char who[NODE_PEER_MAX];
    node_end_who(s->seen, who);
    who[sizeof who - 1] = '\0';
    const char *from = who[0] != '\0' ? " from " : "";
    if (d->verdict == STAMP_STALE) {
        return tell_stale(s, d, from, who);
    }
    if (d->verdict == STAMP_FOREIGN) {
        return err_say(EBADMSG,
                       "%s: message %llu%s%s was sent by another clock, of another host or time namespace, so that "
                       "nobody knows how old it is; it was passed over: open both ends without ?lifespan",
                       s->address, (unsigned long long)d->number, from, who);
    }
    if (d->size < s->tail) {
        return err_say(EBADMSG,
                       "%s: message %llu%s%s is damaged: it has %zu bytes, and its %s alone %zu; it was passed over",
                       s->address, (unsigned long long)d->number, from, who, d->size, enclose_names[s->kind], s->tail);
    }
    if ((s->kind & SEAL_CRC) == 0 || d->brought == d->computed) {
        return err_say(EBADMSG, "%s: message %llu%s%s is damaged: its time is no time; it was passed over", s->address,
                       (unsigned long long)d->number, from, who);
    }
    return err_say(
        EBADMSG, "%s: message %llu%s%s is damaged: its CRC is %08x, but its %zu bytes come to %08x; it was passed over",
        s->address, (unsigned long long)d->number, from, who, d->brought, d->size - s->tail, d->computed);
}

static int tell_untold(struct seal *s) {
    int rc = tell(s, &s->untold[s->untold_from++]);
    wrap_bell_ring(&s->bell, s->untold_from != s->untold_to);
    return rc;
}

/* Looks at a sealed message, which counts as received. */
static inline enum stamp_verdict judge(struct seal *s, const unsigned char *data, size_t size, struct damage *d) {
    struct node_count *in = &s->seen->in;
    *d = (struct damage){.verdict = STAMP_DAMAGED, .number = s->number++, .size = size};
    if (likely(size >= s->tail)) {
        d->verdict = STAMP_GOOD;
        if ((s->kind & SEAL_CRC) != 0) {
            memcpy(&d->brought, data + size - SEAL_SUM, SEAL_SUM);
            d->brought = le32toh(d->brought);
            d->computed = crc_add(0, data, size - SEAL_SUM);
            d->verdict = d->brought == d->computed ? STAMP_GOOD : STAMP_DAMAGED;
        }
        if (likely(d->verdict == STAMP_GOOD) && (s->kind & SEAL_TIME) != 0) {
            d->verdict = stamp_judge(&s->stamp, data + size - s->tail, &d->age, &d->allowed);
        }
    }
    if (unlikely(d->verdict == STAMP_STALE)) {
        atomic_poke(&in->expired, in->expired + 1);
    } else if (unlikely(d->verdict != STAMP_GOOD)) {
        atomic_poke(&in->refused, in->refused + 1);
    }
    return d->verdict;
}

/* An old message is passed over, and what it told as lost with it: what its sender sends next says so. */
static void skip(struct seal *s, uint64_t lost) {
    if (s->wrap.inner->skip != NULL) {
        SEALED_CALL(s, skip);
    } else {
        s->passed += lost + 1;
    }
}

/* How many were passed over before this one. */
static inline uint64_t take_passed(struct seal *s) {
    uint64_t passed = s->passed;
    s->passed = 0;
    return passed;
}

/* What the inner one answers besides messages: the next peer's begin with 0. */
static int pass_on(struct seal *s, int rc) {
    if (unlikely(rc == -THIRL_EPEERDIED || rc == -THIRL_EFORMAT)) {
        s->number = s->passed = 0;
    }
    return rc;
}

/* Of a message that is passed over: what came with it, and the message itself where it is to be given back. */
static void drop(struct seal *s, struct mech_note *note) {
    for (unsigned i = 0; i < note->count; i++) {
        fd_close(&note->descriptor[i]);
    }
    note->count = 0;
    if (note->keeps && s->wrap.inner->free != NULL) {
        struct mech_piece piece = {.cookie = note->cookie};
        SEALED_CALL(s, free, &piece, MECH_IN);
    }
}

static int recv_inner(struct seal *s, void *to, size_t room, size_t *got, struct mech_note *note, bool wait) {
    return note != NULL && s->wrap.inner->recv_noted != NULL ? SEALED_CALL(s, recv_noted, to, room, got, note, wait)
                                                             : SEALED_CALL(s, recv, to, room, got, wait);
}

/* One message, whatever it is worth: 0 and *verdict; or what there is else. */
static int recv_one(struct seal *s, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait,
                    struct damage *d) {
    size_t got = 0;
    if (note != NULL) {
        note->lies = false; /* it is checked where nobody else writes */
    }
    for (;;) {
        bool straight = capacity >= s->in.room; /* most likely there is room for the tail, too */
        void *to = straight ? buffer : s->in.data;
        size_t room = straight ? capacity : s->in.room - s->tail < capacity ? s->in.room : capacity + s->tail;
        int rc = recv_inner(s, to, room, &got, note, wait);
        if (likely(rc == 0)) {
            if (likely(judge(s, to, got, d) == STAMP_GOOD)) {
                *size = got - s->tail;
                if (!straight && *size != 0) {
                    memcpy(buffer, to, *size);
                }
            }
            return 0;
        }
        *size = rc == -EMSGSIZE && got >= s->tail ? got - s->tail : 0;
        if (rc != -EMSGSIZE || *size > capacity) {
            return pass_on(s, rc);
        }
        rc = enclose_reserve(s, &s->in, got);
        if (rc != 0) {
            return rc;
        }
    }
}

static int recv_any(struct seal *s, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct damage d;
    if (unlikely(s->untold_from != s->untold_to)) {
        return tell_untold(s);
    }
    for (unsigned stale = 0; stale < STALE_MOST; stale++) {
        int rc = recv_one(s, buffer, capacity, size, note, wait, &d);
        if (rc != 0) {
            return rc;
        }
        if (note != NULL) {
            d.number = s->wrap.inner->numbers ? note->number : d.number;
            note->number = d.number;
        }
        if (likely(d.verdict == STAMP_GOOD)) {
            uint64_t passed = take_passed(s);
            if (note != NULL) {
                note->lost += passed;
            }
            return 0;
        }
        uint64_t lost = note != NULL ? note->lost : 0;
        if (note != NULL) {
            drop(s, note);
            note->lost = 0;
        }
        if (d.verdict != STAMP_STALE || s->jobs) {
            return tell(s, &d);
        }
        skip(s, lost);
    }
    *size = 0;
    return -EAGAIN;
}

static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    return recv_any(self, buffer, capacity, size, NULL, wait);
}

static int recv_noted_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    return recv_any(self, buffer, capacity, size, note, wait);
}

/* Opens the seals of messages that came, and leaves out what is not to be handed out. How many are left. */
static size_t open_seals(struct seal *s, struct iovec *messages, size_t count) {
    size_t good = 0;
    s->untold_from = s->untold_to = 0;
    for (size_t i = 0; i < count; i++) {
        struct damage *d = &s->untold[s->untold_to];
        enum stamp_verdict verdict = judge(s, messages[i].iov_base, messages[i].iov_len, d);
        if (likely(verdict == STAMP_GOOD)) {
            messages[good++] = (struct iovec){messages[i].iov_base, messages[i].iov_len - s->tail};
            (void)take_passed(s);
        } else if (verdict == STAMP_STALE && !s->jobs) {
            skip(s, 0);
        } else {
            s->untold_to++;
        }
    }
    return good;
}

static int recv_next(struct seal *s, void *buffer, size_t capacity, struct iovec *message, size_t *count,
                     size_t *bytes) {
    message->iov_base = buffer;
    *count = 1;
    int rc = recv_any(s, buffer, capacity, &message->iov_len, NULL, false);
    *bytes = message->iov_len;
    return rc;
}

static int recv_many_slot(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                          size_t *bytes) {
    struct seal *s = self;
    *count = *count < SEAL_MANY_IN ? *count : SEAL_MANY_IN;
    int rc = s->untold_from != s->untold_to ? tell_untold(s)
                                            : SEALED_CALL(s, recv_many, buffer, capacity, messages, count, bytes);
    if (rc == -EMSGSIZE) { /* because of its tail, perhaps */
        return recv_next(s, buffer, capacity, messages, count, bytes);
    }
    if (rc != 0) {
        return pass_on(s, rc);
    }
    *count = open_seals(s, messages, *count);
    *bytes = parts_size(messages, *count);
    if (*count == 0) {
        rc = s->untold_from != s->untold_to ? tell_untold(s) : recv_next(s, buffer, capacity, messages, count, bytes);
    }
    wrap_bell_ring(&s->bell, s->untold_from != s->untold_to);
    return rc;
}

static int requeue_slot(void *self, struct mech_piece *piece) {
    struct seal *s = self;
    piece->size += s->tail;
    return SEALED_CALL(s, requeue, piece);
}

static int take_slot(void *self, struct mech_piece *piece) {
    struct seal *s = self;
    struct damage d;
    if (unlikely(s->untold_from != s->untold_to)) {
        return tell_untold(s);
    }
    for (unsigned stale = 0; stale < STALE_MOST; stale++) {
        int rc = SEALED_CALL(s, take, piece);
        if (unlikely(rc != 0)) {
            return pass_on(s, rc);
        }
        if (likely(judge(s, piece->data, piece->size, &d) == STAMP_GOOD)) {
            piece->size -= s->tail;
            piece->lost += take_passed(s);
            return 0;
        }
        d.number = piece->number;
        SEALED_CALL(s, free, piece, MECH_IN);
        if (d.verdict != STAMP_STALE || s->jobs) {
            return tell(s, &d);
        }
        skip(s, piece->lost);
    }
    return -EAGAIN;
}

static void free_slot(void *self, struct mech_piece *piece, enum mech_way way) {
    struct seal *s = self;
    piece->size += s->tail;
    piece->capacity += way == MECH_OUT ? s->tail : 0;
    SEALED_CALL(s, free, piece, way);
}

/* ---- waiting ---- */

static bool holds(const struct seal *s, enum mech_way way) {
    return way == MECH_IN && s->untold_from != s->untold_to;
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    struct seal *s = self;
    return holds(s, way) ? 1 : SEALED_CALL(s, arm, way, watch);
}

static bool ready_slot(void *self, enum mech_way way) {
    struct seal *s = self;
    return holds(s, way) || SEALED_CALL(s, ready, way);
}

static int look_slot(void *self, enum mech_way way) {
    struct seal *s = self;
    return holds(s, way) ? 0 : SEALED_CALL(s, look, way);
}

static int fd_slot(void *self, enum mech_way way, int *fd) {
    struct seal *s = self;
    int rc = SEALED_CALL(s, fd, way, fd);
    if (rc != 0 || way == MECH_OUT || s->wrap.inner->recv_many == NULL) {
        return rc;
    }
    rc = s->bell.epoll >= 0 ? 0 : wrap_bell_make(&s->bell, *fd, s->address);
    wrap_bell_ring(&s->bell, holds(s, way));
    *fd = s->bell.epoll;
    return rc;
}

/* ---- the end ---- */

static void empty_boxes(struct seal *s) {
    free(s->out.data);
    free(s->in.data);
    s->out.data = s->in.data = NULL;
}

static int open_slot(void *self, const struct mech_open *open) {
    struct seal *s = self;
    struct mech_open copy;
    wrap_begin(self, sizeof *s, open, &copy);
    s->seen = open->seen;
    wrap_bell_init(&s->bell);
    (void)strncpy(s->address, open->address, sizeof s->address - 1);
    s->kind = seal_kind(&open->options);
    s->tail = seal_tail(s->kind);
    stamp_init(&s->stamp, open->options.lifespan);
    s->jobs = open->role == THIRL_PULL;
    if (open->stream) {
        return err_say(EOPNOTSUPP, "%s: ?%s is for messages, and this role has a stream of bytes: use pair",
                       open->address, (s->kind & SEAL_CRC) != 0 ? "crc" : "lifespan");
    }
    s->lends =
        open->role == THIRL_PAIR && s->wrap.inner->loan != NULL; /* elsewhere a full queue may drop what is sent */
    copy.options.max += s->tail;
    int rc = enclose_reserve(s, &s->out, ROOM_FIRST);
    rc = rc == 0 ? enclose_reserve(s, &s->in, ROOM_FIRST) : rc;
    rc = rc == 0 ? SEALED_CALL(s, open, &copy) : rc;
    if (rc != 0) {
        empty_boxes(s);
    }
    return rc;
}

static void close_slot(void *self) {
    struct seal *s = self;
    wrap_bell_close(&s->bell);
    SEALED_CALL(s, close);
}

static void deinit_slot(void *self) {
    struct seal *s = self;
    SEALED_CALL(s, deinit);
    empty_boxes(s);
}

int seal_wrap(const struct mech **mech, const char *address, const struct thirl_options *options) {
    const char *option = options->lifespan != 0 ? "lifespan" : "crc";
    if (options->raw != 0) {
        return err_say(EOPNOTSUPP, "%s: ?raw adds nothing to what is sent, so there is no ?%s with it", address,
                       option);
    }
    if (!(*mech)->crc) {
        return err_say(EOPNOTSUPP, "%s: %s has no ?%s in this role: its messages have no place for one", address,
                       (*mech)->scheme, option);
    }
    if (((*mech)->roles & (1u << THIRL_CALL | 1u << THIRL_SERVE)) != 0) {
        return pledge_wrap(mech);
    }
    struct mech *outer = wrap_make(*mech, sizeof(struct seal));
    if (outer == NULL) {
        return -ENOMEM;
    }
#define SEALED(slot) outer->slot = outer->slot == NULL ? NULL : slot##_slot
#define ENCLOSED(slot) outer->slot = outer->slot == NULL ? NULL : enclose_##slot
    ENCLOSED(send);
    ENCLOSED(settle);
    SEALED(recv);
    ENCLOSED(send_many);
    SEALED(recv_many);
    ENCLOSED(send_noted);
    SEALED(recv_noted);
    ENCLOSED(loan);
    ENCLOSED(put);
    SEALED(take);
    SEALED(free);
    SEALED(requeue);
    SEALED(ready);
#undef SEALED
#undef ENCLOSED
    outer->close = close_slot;
    outer->deinit = deinit_slot;
    outer->look = look_slot;
    outer->arm = arm_slot;
    outer->fd = fd_slot;
    outer->limits = enclose_limits;
    if (options->lifespan != 0 && outer->take == NULL) {
        outer->recv_noted = recv_noted_slot; /* so that a gap shows in the numbers */
        outer->numbers = true;
    }
    outer->open = open_slot;
    *mech = outer;
    return 0;
}
