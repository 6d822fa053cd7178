/* SPDX-License-Identifier: MIT
 *
 * Messages on a byte stream: the eight bytes before each message, the greeting that two strangers exchange first, and
 * the buffer in which frames collect. Where the kernel keeps boundaries a message is a bare packet, and only what is no
 * plain message is a marked one. Knows no descriptors: reading and writing are the caller's. All numbers on the wire
 * are little-endian. What was read is checked here, once.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/atomic.h"
#include "base/type.h"
#include "include/thirl/thirl.h"

#define FRAME_HEAD 8                 /* bytes before each payload */
#define FRAME_WIDE 64                /* and on a stream before a large one: the head, then nothing that is looked at. */
#define FRAME_LARGE 32768u           /* So large. The kernel copies faster what begins a cache line */
#define FRAME_WORD "\x9dthirl\r\x1b" /* eight bytes that a marked packet begins with; then a head, then a payload */
#define FRAME_MARK 16                /* bytes before the payload of a marked packet: the word and a head */
#define FRAME_HELLO 128              /* bytes of a greeting */
#define FRAME_TELL 8                 /* bytes of a payload that is one number */
#define FRAME_VERSION 2              /* of everything in this file */
#define FRAME_SIZE_MAX 0x7fffffffu   /* largest payload */
#define FRAME_LAST 0xa7 /* last byte of every head: a stream that lost its place is noticed at the next frame */

enum frame_type {
    FRAME_DATA = 1,
    FRAME_BYE,   /* the sender closed its end; nothing follows, no payload */
    FRAME_ROOM,  /* marked packets only: size says how large packets are from now on, at most; no payload */
    FRAME_NOTED, /* data, with descriptors that come with its first byte; only to who takes some by its greeting */
    FRAME_CUT,   /* BYE to a subscriber who takes its messages too slowly: it may call again */
    /* What a hub and its callers tell each other: the payload is one number. What is said of a message precedes it. */
    FRAME_LOST,  /* so many were dropped before the next message */
    FRAME_AGAIN, /* not 0: the next message was given to another worker before */
    FRAME_DONE,  /* the message with that number, from 0 on this connection, is finished */
    FRAME_BACK,  /* that one is given back unfinished */
    FRAME_FIRST, /* the number of the next message, to who did not hear the first one */
    FRAME_EVENT, /* an event, 31 bits, and how often it was told, the low 32 bits */
};

struct frame_head {
    uint32_t size;   /* of the payload */
    uint16_t number; /* counts data frames, noted ones among them, from 0, modulo 2^16 */
    uint8_t type;
};

static inline void frame_write_head(unsigned char out[FRAME_HEAD], const struct frame_head *head) {
    for (unsigned i = 0; i < 4; i++) {
        out[i] = (unsigned char)(head->size >> (8 * i));
    }
    out[4] = (unsigned char)head->number;
    out[5] = (unsigned char)(head->number >> 8);
    out[6] = head->type;
    out[7] = FRAME_LAST;
}

/* Bytes before a payload of that size, on a stream. */
static inline size_t frame_ahead(size_t size) {
    return size < FRAME_LARGE ? FRAME_HEAD : FRAME_WIDE;
}

/* A packet's own bytes may begin with the word too: then it is sent as a marked one, and so is an empty message, which
 * would look like the end. */
static inline bool frame_is_marked(const void *packet, size_t size) {
    return size >= 8 && memcmp(packet, FRAME_WORD, 8) == 0;
}

static inline bool frame_is_tell(uint8_t type) {
    return type >= FRAME_LOST && type <= FRAME_EVENT;
}

void frame_write_tell(unsigned char out[FRAME_TELL], uint64_t value);
uint64_t frame_read_tell(const unsigned char in[FRAME_TELL]);

void frame_write_mark(unsigned char out[FRAME_MARK], const struct frame_head *);

/* Of a whole marked packet of `size` bytes. 0, or -THIRL_EFORMAT with a sentence. */
int frame_read_mark(const unsigned char *in, size_t size, struct frame_head *);

/* 0, or -THIRL_EFORMAT with a sentence. */
int frame_read_head(const unsigned char in[FRAME_HEAD], struct frame_head *);

enum frame_hello_kind {
    FRAME_HELLO_CALL = 1, /* may I join? */
    FRAME_HELLO_JOIN,     /* yes */
    FRAME_HELLO_BUSY,     /* no: both ends are taken, by pid[0] and pid[1] */
    FRAME_HELLO_REFUSE,   /* no: code says why */
};

#define FRAME_CRC 1u  /* feature: every message has a CRC; both sides say so, or none */
#define FRAME_TIME 2u /* likewise: a time */

struct frame_hello {
    uint16_t version;
    uint32_t
        features; /* FRAME_CRC, FRAME_TIME; the low half must be understood by the other side, the high half may be ignored */
    uint8_t kind;        /* enum frame_hello_kind */
    uint8_t role;        /* enum thirl_role of the sender */
    bool stream;         /* bytes without boundaries */
    uint8_t descriptors; /* how many the sender of this greeting takes with one message */
    uint32_t code;       /* of a refusal: positive, an errno value or enum thirl_error */
    uint64_t max;        /* largest payload that the sender of this greeting accepts */
    int64_t pid[2];      /* as the sender sees them */
    struct type type;    /* what its messages are */
};

/* Fills in magic, version and length itself. */
void frame_write_hello(unsigned char out[FRAME_HELLO], const struct frame_hello *);

/* Can these first bytes be of a greeting? */
bool frame_may_greet(const unsigned char *in, size_t size);

/* 0; -THIRL_EFORMAT: that is no greeting; -THIRL_EVERSION naming both (then only version is filled). */
int frame_read_hello(const unsigned char in[FRAME_HELLO], struct frame_hello *);

/* 0, or -THIRL_EROLE with a sentence when an end with role `own` cannot be joined to one with role `other`. */
int frame_match_roles(uint32_t own, uint32_t other);

/* The same of their features: what stands behind each message. */
int frame_match_features(uint32_t own, uint32_t other);

/* Bytes that came and were not taken yet: data[from .. to). */
struct frame_box {
    unsigned char *data;
    size_t capacity, from, to;
};

static inline size_t frame_box_held(const struct frame_box *b) {
    return b->to - b->from;
}

/* Takes bytes out; an empty box starts again at its beginning. */
static inline void frame_box_drop(struct frame_box *b, size_t size) {
    b->from += size;
    if (b->from == b->to) b->from = b->to = 0;
}

/* Makes room for `size` more bytes behind what is held: moves what is there, allocates only when the box is too
 * small. 0 or -ENOMEM. */
int frame_box_room(struct frame_box *, size_t size);
void frame_box_free(struct frame_box *);

/* Walks the frames held, the first of which begins after `skip` bytes: FRAME_BYE or FRAME_CUT when they end with that, else 0.
 * Of packets no payload is large. */
uint8_t frame_box_ends(const struct frame_box *, size_t skip, bool packets);

#endif
