/* SPDX-License-Identifier: MIT
 *
 * Messages on packets: the label behind each piece of a message, and the putting together of pieces that come from many
 * senders in turn. A message that fits is one packet, and where none is lost its label is brief: who sent it. Knows no descriptors
 * and no lives: receiving is the caller's, and so is knowing that a sender will never finish. All numbers on the wire are
 * little-endian. What was read is checked here, once; what a sender announces is bounded before memory is taken for it.
 */
#ifndef WIRE_FRAG_H
#define WIRE_FRAG_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/atomic.h"
#include "include/thirl/thirl.h"

#define FRAG_LABEL 40      /* bytes of a label, at most */
#define FRAG_BRIEF 16      /* of a brief one */
#define FRAG_MAGIC 0x719du /* the first 2 of its last 4: then the version, and the type */
#define FRAG_LARGE 8192    /* bytes: between a larger piece and its label there may be */
#define FRAG_PAD 63        /* so many, of which nothing is said */
#define FRAG_TAIL (FRAG_PAD + FRAG_LABEL)
#define FRAG_VERSION 4            /* of everything in this file */
#define FRAG_SIZE_MAX 0x7fffffffu /* largest message */
#define FRAG_PARTS 32             /* unfinished messages that one receiver puts together at the same time */
#define FRAG_SENDERS 64           /* senders whose packets are counted */

enum frag_type {
    FRAG_DATA = 1, /* a piece of a message */
    FRAG_NOTE,     /* a message of the engines, never of the user; one packet */
    FRAG_CRC,      /* FRAG_DATA of a message with a CRC, with a time, with both: its receiver must expect it */
    FRAG_TIME,
    FRAG_TIME_CRC,
};

/* The type of pieces of messages behind which stands what the bits say: 1 a CRC, 2 a time; and back. */
static inline uint8_t frag_data(unsigned sealed) {
    return (uint8_t)(sealed == 0 ? FRAG_DATA : FRAG_NOTE + sealed);
}

static inline unsigned frag_sealed(uint8_t type) {
    return type <= FRAG_NOTE ? 0 : type - (unsigned)FRAG_NOTE;
}

struct frag_label {
    uint8_t type;     /* enum frag_type */
    uint64_t node;    /* the sender: its process, never 0, */
    uint32_t end;     /* and which end of it */
    uint32_t packet;  /* counts the sender's packets */
    uint32_t message; /* counts its messages */
    uint32_t total;   /* bytes of the message */
    uint32_t offset;  /* where this piece belongs */
    uint32_t piece;   /* bytes of each piece but the last; not 0 */
    bool brief;       /* may be: of a whole message it says who sent it, and not packet and message */
};

/* How the label of each packet of that type ends: in its last 4 bytes. */
static inline uint32_t frag_kind(uint8_t type, bool brief) {
    return FRAG_MAGIC | FRAG_VERSION << 16 | (uint32_t)type << 24 | (uint32_t)brief << 31;
}

static inline void frag_write(unsigned char out[FRAG_LABEL], const struct frag_label *label) {
    const uint64_t word[5] = {htole64(label->node), htole64(label->end | (uint64_t)label->packet << 32),
                              htole64(label->message | (uint64_t)label->total << 32),
                              htole64(label->offset | (uint64_t)label->piece << 32),
                              htole64((uint64_t)frag_kind(label->type, false) << 32)};
    memcpy(out, word, sizeof word);
}

static inline void frag_write_brief(unsigned char out[FRAG_BRIEF], const struct frag_label *label) {
    const uint64_t word[2] = {htole64(label->node), htole64(label->end | (uint64_t)frag_kind(label->type, true) << 32)};
    memcpy(out, word, sizeof word);
}

/* Can a piece of that size be what stands before a label, in so many bytes? */
static inline bool frag_fits(size_t bytes, size_t piece) {
    return bytes == piece || (piece > FRAG_LARGE && bytes - piece <= FRAG_PAD);
}

/* All that stands behind that piece in a packet of `packet` bytes at most; its bytes. A label that may be brief is, behind a
 * whole message that is not large. Large packets have whole lines: a kernel that copies what lies on lines to where it lies on lines again takes less
 * time for it. */
static inline size_t frag_tail(unsigned char out[FRAG_TAIL], const struct frag_label *label, size_t piece,
                               size_t packet) {
    size_t pad = 0;
    if (likely(label->brief && piece == label->total && piece <= FRAG_LARGE)) {
        frag_write_brief(out, label);
        return FRAG_BRIEF;
    }
    if (unlikely(piece > FRAG_LARGE)) {
        pad = -(piece + FRAG_LABEL) % (FRAG_PAD + 1);
        pad = pad < packet - piece - FRAG_LABEL ? pad : packet - piece - FRAG_LABEL;
        memset(out, 0, pad);
    }
    frag_write(out + pad, label);
    return pad + FRAG_LABEL;
}

/* Of a packet of `size` bytes that ends before `end`, where its last FRAG_LABEL bytes, or all that it has, lie in one piece. 0;
 * -THIRL_EFORMAT: it is not thirl's, or lies; -THIRL_EVERSION naming both. */
int frag_read(const unsigned char *end, size_t size, struct frag_label *);

/* Of such a packet, of which `here` bytes lie before `end` in one piece: is it a whole message whose label is one of them, and ends so, or so and is
 * not brief? Then frag_read would say 0 and the same label; else there is none. Inlined, for most packets are. */
static inline __attribute__((always_inline)) bool frag_read_whole(const unsigned char *end, size_t here, size_t size,
                                                                  uint32_t kind, struct frag_label *label) {
    uint64_t word[5];
    if (unlikely(here < FRAG_BRIEF)) {
        return false;
    }
    memcpy(&word[4], end - 8, sizeof word[4]);
    word[4] = le64toh(word[4]);
    const uint32_t ends = (uint32_t)(word[4] >> 32), brief = frag_kind(0, true) ^ frag_kind(0, false);
    if (likely(ends == kind && (ends & brief) != 0)) {
        memcpy(word, end - FRAG_BRIEF, sizeof *word);
        *label = (struct frag_label){.type = end[-1] & 0x7f,
                                     .node = le64toh(*word),
                                     .end = (uint32_t)word[4],
                                     .total = (uint32_t)(size - FRAG_BRIEF),
                                     .piece = size == FRAG_BRIEF ? 1 : (uint32_t)(size - FRAG_BRIEF),
                                     .brief = true};
        return label->node != 0;
    }
    if (ends != (kind & ~brief) || here < FRAG_LABEL) {
        return false;
    }
    memcpy(word, end - FRAG_LABEL, 4 * sizeof *word);
    *label = (struct frag_label){.type = end[-1],
                                 .node = le64toh(word[0]),
                                 .end = (uint32_t)le64toh(word[1]),
                                 .packet = (uint32_t)(le64toh(word[1]) >> 32),
                                 .message = (uint32_t)le64toh(word[2]),
                                 .total = (uint32_t)(le64toh(word[2]) >> 32),
                                 .offset = (uint32_t)le64toh(word[3]),
                                 .piece = (uint32_t)(le64toh(word[3]) >> 32)};
    return label->node != 0 && frag_fits(size - FRAG_LABEL, label->total) && label->offset == 0 && label->piece != 0 &&
           label->total <= label->piece && label->total <= FRAG_SIZE_MAX;
}

/* Bytes of the payload of that packet. */
static inline size_t frag_size(const struct frag_label *label) {
    return label->total - label->offset < label->piece ? label->total - label->offset : label->piece;
}

static inline bool frag_is_whole(const struct frag_label *label) {
    return label->offset == 0 && label->total <= label->piece;
}

/* A message that is not whole yet. */
struct frag_part {
    uint64_t node; /* 0: this place is free */
    uint32_t end, message;
    uint32_t total, piece, missing; /* missing: pieces */
    unsigned char *data;            /* total bytes, and behind them a bit for each piece that is there */
    size_t room;
    uint64_t touched;
    bool doomed; /* the caller's */
};

struct frag_sender {
    uint64_t node;
    uint32_t end, top; /* the highest packet that came */
    uint64_t window;   /* bit n: packet top - n came, or is not waited for */
    uint64_t missing;  /* packets that are counted as lost, and may still come */
    uint64_t number;   /* of `top`, without an end; where in_order */
    uint64_t skipped;  /* of its packets, since the last one that was handed out: frag_skip */
    uint64_t touched;
};

struct frag {
    size_t max, room, held; /* bytes of one message, of all unfinished ones, and those that are held now */
    bool lossy;
    bool
        in_order; /* set by whoever wants each sender's packets in their order: one that is late is dropped, and stays lost */
    uint64_t number,
        gap; /* in_order: of the packet that came last: its number, and how many of its sender are missing before it */
    uint64_t turn;
    unsigned parts;
    unsigned latest; /* of the senders: who sent last */
    struct frag_part *whole;
    uint64_t lost;        /* messages that were begun and not finished; where lossy, packets that never came too */
    uint64_t twice, late; /* packets that came again, and out of order; where lossy */
    unsigned char *spare; /* the last buffer that was given back */
    size_t spare_room;
    struct frag_sender sender[FRAG_SENDERS];
    struct frag_part part[FRAG_PARTS];
};

/* max: larger messages are refused; room: for all unfinished messages. lossy: packets may be lost, doubled or reordered: that
 * is counted, and room for a new message is made by giving up the one that has waited longest. Not lossy: the pieces of one
 * message come in their order. */
void frag_init(struct frag *, size_t max, size_t room, bool lossy);
void frag_deinit(struct frag *);

/* Counts a packet, where lossy. true: it came before, or too late, forget it. */
bool frag_came_before(struct frag *, const struct frag_label *);

/* The packet that came last was passed over: the gap before the next one of its sender has it, and its own. in_order. */
void frag_skip(struct frag *);

/* Takes over a piece of a message that is not one packet. 0: more must come, or, where not lossy, its beginning never came and it is
 * forgotten; 1: the message is whole: see frag_whole.
 * -THIRL_EFORMAT: it contradicts an earlier piece, or the message is larger than max; -ENOBUFS: no room, and nothing may be given up (see
 * frag_drop); -ENOMEM. After an error the piece is not taken. Not while a whole message is there. */
int frag_put(struct frag *, const struct frag_label *, const struct iovec *part, unsigned parts);

/* The message that has become whole, until frag_free. */
static inline const void *frag_whole(const struct frag *frag, size_t *size) {
    *size = frag->whole->total;
    return frag->whole->data;
}
void frag_free(struct frag *);

/* Gives up an unfinished message, and counts it as lost. */
void frag_drop(struct frag *, struct frag_part *);

#endif
