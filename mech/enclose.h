/* SPDX-License-Identifier: MIT
 *
 * The half of a seal that sends (seal.h): what stands behind a message is put there. What is sent by copy is put together in a buffer that grows, or,
 * if it is large and the mechanism lends room, there; a loan is sealed where it lies. And what both halves have.
 */
#ifndef MECH_ENCLOSE_H
#define MECH_ENCLOSE_H

#include <stdlib.h>

#include "base/err.h"
#include "mech/seal.h"
#include "mech/wrap.h"
#include "mem/node.h"

#define SEAL_MANY_OUT 64 /* messages that are sealed at once, */
#define SEAL_MANY_IN 256 /* and opened */

struct box {
    unsigned char *data;
    size_t room;
};

struct damage {
    enum stamp_verdict verdict;
    uint64_t number;
    size_t size;
    uint32_t brought, computed;
    int64_t age, allowed; /* of a stale one, ns */
};

struct seal {
    struct wrap wrap;
    struct node_end *seen;
    struct box out, in;
    bool lends;     /* OUT: what is sent by copy may be lent as well, to the same effect */
    bool under_way; /* OUT: out holds a message of which a part has left */
    struct iovec many[SEAL_MANY_OUT];
    unsigned kind; /* seal_kind */
    size_t tail;   /* so many bytes of a message inside are not the user's */
    struct stamp stamp;
    bool jobs;       /* IN: what grew old is told, not passed over */
    uint64_t number; /* IN: of the next message of this peer */
    uint64_t passed; /* IN: passed over since the last one, where the mechanism does not keep that itself */
    struct damage untold[SEAL_MANY_IN]; /* IN: for the next calls */
    unsigned untold_from, untold_to;    /* alike: none */
    struct wrap_bell bell;              /* thirl_fd, where something untold is to light it */
    char address[NODE_ADDRESS_MAX];
};

#define SEALED_CALL(self, slot, ...) ((self)->wrap.inner->slot((self)->wrap.inside, ##__VA_ARGS__))

static inline int enclose_reserve(const struct seal *s, struct box *box, size_t size) {
    if (likely(size <= box->room)) {
        return 0;
    }
    unsigned char *larger = realloc(box->data, size);
    if (larger == NULL) {
        return err_say(ENOMEM, "%s: no memory for a message of %zu bytes", s->address, size);
    }
    box->data = larger;
    box->room = size;
    return 0;
}

/* What stands behind a message, by seal_kind. */
extern const char *const enclose_names[];

/* The slots of the way OUT, and what they say of sizes. */
void enclose_limits(void *self, struct thirl_limits *);
int enclose_send(void *self, const void *, size_t, size_t *done, bool wait);
int enclose_send_noted(void *self, const void *, size_t, size_t *done, const struct mech_note *, bool wait);
int enclose_settle(void *self, const void *, size_t, size_t done);
int enclose_send_many(void *self, const struct iovec *, size_t *count, size_t *bytes);
int enclose_loan(void *self, struct mech_piece *, size_t);
int enclose_put(void *self, struct mech_piece *);

#endif
