/* SPDX-License-Identifier: MIT
 *
 * Sealing messages, see enclose.h.
 */
#include "mech/enclose.h"

#include <endian.h>
#include <string.h>

#include "base/crc.h"
#include "base/parts.h"

#define LENT_FROM ((size_t)4096)   /* larger messages are written where they are sent from */
#define MANY_EACH ((size_t)4096)   /* larger ones go alone, */
#define MANY_BYTES ((size_t)65536) /* and so many bytes at once */

static inline void close_seal(const struct seal *s, unsigned char *data, size_t size) {
    if ((s->kind & SEAL_TIME) != 0) {
        stamp_write(&s->stamp, data + size);
        size += STAMP;
    }
    if ((s->kind & SEAL_CRC) != 0) {
        const uint32_t crc = htole32(crc_add(0, data, size));
        memcpy(data + size, &crc, SEAL_SUM);
    }
}

static inline void enclose(const struct seal *s, unsigned char *to, const void *data, size_t size) {
    if (size != 0) {
        memcpy(to, data, size);
    }
    close_seal(s, to, size);
}

void enclose_limits(void *self, struct thirl_limits *limits) {
    struct seal *s = self;
    SEALED_CALL(s, limits, limits);
    limits->message_max -= limits->message_max < s->tail ? limits->message_max : s->tail;
    limits->atomic_max -= limits->atomic_max < s->tail ? limits->atomic_max : s->tail;
}

const char *const enclose_names[] = {"", "CRC", "time", "time and CRC"};

/* What the mechanism says of sizes is of sealed messages. */
static int explain(struct seal *s, int rc) {
    struct thirl_limits limits = {.size = sizeof limits};
    if (likely(rc != -EMSGSIZE)) {
        return rc;
    }
    enclose_limits(s, &limits);
    return err_add(rc, "%zu of these bytes are its %s, so that %llu are left for the message", s->tail,
                   enclose_names[s->kind], (unsigned long long)limits.message_max);
}

/* Before memory is taken for it: can it be sent at all? */
static int check_size(struct seal *s, size_t size) {
    struct thirl_limits limits = {.size = sizeof limits};
    enclose_limits(s, &limits);
    if (size <= limits.message_max) {
        return 0;
    }
    return err_say(
        EMSGSIZE, "%s: a message of %zu bytes is larger than the %llu that it can carry with a %s: see ?max and ?queue",
        s->address, size, (unsigned long long)limits.message_max, enclose_names[s->kind]);
}

static int send_lent(struct seal *s, const void *data, size_t size) {
    struct mech_piece piece = {.data = NULL};
    int rc = SEALED_CALL(s, loan, &piece, size + s->tail);
    if (rc == 0) {
        enclose(s, piece.data, data, size);
        piece.size = size + s->tail;
        rc = SEALED_CALL(s, put, &piece);
    }
    return rc;
}

static int send_any(struct seal *s, const void *data, size_t size, size_t *done, const struct mech_note *note,
                    bool wait) {
    int rc = 0;
    if (unlikely(s->under_way && *done == 0)) {
        return -EAGAIN; /* another thread's message is in the buffer */
    }
    if (unlikely(size > s->out.room - s->tail)) {
        rc = check_size(s, size);
    }
    if (rc == 0 && *done == 0 && s->lends && size > LENT_FROM && note == NULL) {
        rc = send_lent(s, data, size);
        if (rc != -EBUSY) { /* all that it lends is lent */
            return explain(s, rc);
        }
        rc = 0;
    }
    rc = rc == 0 ? enclose_reserve(s, &s->out, size + s->tail) : rc;
    if (unlikely(rc != 0)) {
        return rc;
    }
    if (likely(*done == 0)) {
        enclose(s, s->out.data, data, size);
    }
    rc = note == NULL ? SEALED_CALL(s, send, s->out.data, size + s->tail, done, wait)
                      : SEALED_CALL(s, send_noted, s->out.data, size + s->tail, done, note, wait);
    s->under_way = rc == -EAGAIN && *done != 0;
    return explain(s, rc);
}

int enclose_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    return send_any(self, data, size, done, NULL, wait);
}

int enclose_send_noted(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                       bool wait) {
    return send_any(self, data, size, done, note, wait);
}

int enclose_settle(void *self, const void *data, size_t size, size_t done) {
    struct seal *s = self;
    (void)data;
    s->under_way = false;
    return SEALED_CALL(s, settle, s->out.data, size + s->tail, done);
}

int enclose_send_many(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    struct seal *s = self;
    size_t wanted = *count < SEAL_MANY_OUT ? *count : SEAL_MANY_OUT, used = 0, n = 0;
    *count = 0;
    int rc = s->under_way ? -EAGAIN : enclose_reserve(s, &s->out, MANY_BYTES);
    if (rc != 0) {
        return rc;
    }
    while (n < wanted && parts_there(messages + n) && messages[n].iov_len <= MANY_EACH &&
           MANY_BYTES - used >= messages[n].iov_len + s->tail) {
        s->many[n] = (struct iovec){s->out.data + used, messages[n].iov_len + s->tail};
        enclose(s, s->out.data + used, messages[n].iov_base, messages[n].iov_len);
        used += s->many[n].iov_len;
        n++;
    }
    if (n == 0) {
        return 1;
    }
    rc = SEALED_CALL(s, send_many, s->many, &n, bytes);
    *bytes = parts_size(messages, *count = n);
    return explain(s, rc);
}

int enclose_loan(void *self, struct mech_piece *piece, size_t size) {
    struct seal *s = self;
    if (size > SIZE_MAX - s->tail) {
        return check_size(s, size);
    }
    int rc = SEALED_CALL(s, loan, piece, size + s->tail);
    piece->capacity -= rc == 0 ? s->tail : 0;
    return explain(s, rc);
}

int enclose_put(void *self, struct mech_piece *piece) {
    struct seal *s = self;
    close_seal(s, piece->data, piece->size);
    piece->size += s->tail;
    piece->capacity += s->tail;
    return SEALED_CALL(s, put, piece);
}
