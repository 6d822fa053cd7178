/* SPDX-License-Identifier: MIT
 *
 * Messages on packets: cutting, counting, putting together. See frag.h.
 */
#include "wire/frag.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static inline uint32_t fetch32(const unsigned char *in) {
    uint32_t value;
    memcpy(&value, in, sizeof value);
    return le32toh(value);
}

static inline int check(const struct frag_label *label, size_t size) {
    if (label->type < FRAG_DATA || label->type > FRAG_TIME_CRC) {
        return err_say(THIRL_EFORMAT, "a packet is of the unknown type %u", label->type);
    }
    if (label->node == 0 || label->piece == 0 || label->total > FRAG_SIZE_MAX ||
        (label->offset != 0 && (label->offset % label->piece != 0 || label->offset >= label->total)) ||
        (label->type == FRAG_NOTE && !frag_is_whole(label))) {
        return err_say(THIRL_EFORMAT, "a packet contradicts itself (byte %u of %u, in pieces of %u)", label->offset,
                       label->total, label->piece);
    }
    if (!label->brief && !frag_fits(size - FRAG_LABEL, frag_size(label))) {
        return err_say(THIRL_EFORMAT, "a packet of %zu bytes brings %zu of its message and should bring %zu", size,
                       size - FRAG_LABEL, frag_size(label));
    }
    return 0;
}

/* Versions up to 3 began with it. */
static unsigned past_version(const unsigned char *end, size_t size) {
    static const unsigned char magic[] = {0x9d, 't', 'h', 'q'};
    const unsigned char *in = end - FRAG_LABEL;
    return size >= FRAG_LABEL && memcmp(in, magic, sizeof magic) == 0 ? in[sizeof magic] : 0;
}

static __attribute__((noinline)) int say_foreign(const unsigned char *end, size_t size, unsigned version) {
    version = version == 0 ? past_version(end, size) : version;
    return version == 0
               ? err_say(THIRL_EFORMAT,
                         "a packet of %zu bytes is not thirl's: whoever sent it needs the raw form (?raw)", size)
               : err_say(THIRL_EVERSION,
                         "the sender cuts messages by version %u of thirl's packets, this library by version %d",
                         version, FRAG_VERSION);
}

HOT int frag_read(const unsigned char *end, size_t size, struct frag_label *label) {
    const uint32_t ends = size >= FRAG_BRIEF ? fetch32(end - 4) : 0;
    if (unlikely((ends & 0xffffff) != (FRAG_MAGIC | FRAG_VERSION << 16))) {
        return say_foreign(end, size, (ends & 0xffff) == FRAG_MAGIC ? ends >> 16 & 0xff : 0);
    }
    const bool brief = (ends >> 31) != 0;
    if (unlikely(!brief && size < FRAG_LABEL)) {
        return say_foreign(end, size, 0);
    }
    const unsigned char *in = end - (brief ? FRAG_BRIEF : FRAG_LABEL);
    *label = (struct frag_label){.type = ends >> 24 & 0x7f, .brief = brief, .end = fetch32(in + 8)};
    memcpy(&label->node, in, sizeof label->node);
    label->node = le64toh(label->node);
    if (brief) {
        label->total = (uint32_t)(size - FRAG_BRIEF);
        label->piece = label->total == 0 ? 1 : label->total;
    } else {
        label->packet = fetch32(in + 12);
        label->message = fetch32(in + 16);
        label->total = fetch32(in + 20);
        label->offset = fetch32(in + 24);
        label->piece = fetch32(in + 28);
    }
    return check(label, size);
}

void frag_init(struct frag *frag, size_t max, size_t room, bool lossy) {
    *frag = (struct frag){.max = max < FRAG_SIZE_MAX ? max : FRAG_SIZE_MAX, .room = room, .lossy = lossy};
}

void frag_deinit(struct frag *frag) {
    for (size_t i = 0; i < FRAG_PARTS; i++) {
        free(frag->part[i].data);
    }
    free(frag->spare);
    *frag = (struct frag){.max = 0};
}

/* ---- counting packets ---- */

static struct frag_sender *find_sender(struct frag *frag, const struct frag_label *label) {
    struct frag_sender *oldest = &frag->sender[0];
    for (unsigned i = 0; i < FRAG_SENDERS; i++) {
        struct frag_sender *sender = &frag->sender[(frag->latest + i) % FRAG_SENDERS];
        if (sender->node == label->node && sender->end == label->end) {
            frag->latest = (unsigned)(sender - frag->sender);
            return sender;
        }
        oldest = sender->touched < oldest->touched ? sender : oldest;
    }
    /* A sender's first packet has the number 0: of one that has just begun, those before this one may be on their way. */
    *oldest = (struct frag_sender){
        .node = label->node, .end = label->end, .top = label->packet - 1, .number = (uint64_t)label->packet - 1};
    oldest->window = label->packet < 64 ? UINT64_MAX << label->packet : UINT64_MAX;
    frag->latest = (unsigned)(oldest - frag->sender);
    return oldest;
}

HOT bool frag_came_before(struct frag *frag, const struct frag_label *label) {
    if (!frag->lossy) {
        return false;
    }
    struct frag_sender *sender = find_sender(frag, label);
    sender->touched = ++frag->turn;
    uint32_t ahead = label->packet - sender->top;
    if (unlikely(frag->in_order && ahead > UINT32_MAX / 2)) {
        uint32_t behind = sender->top - label->packet;
        bool again = behind >= 64 || (sender->window >> behind & 1) != 0;
        sender->window |= again ? 0 : UINT64_C(1) << behind;
        frag->twice += again;
        frag->late += !again;
        return true;
    }
    if (ahead == 0 || ahead > UINT32_MAX / 2) {
        uint32_t behind = sender->top - label->packet;
        if (behind >= 64 || (sender->window >> behind & 1) != 0) {
            frag->twice++;
            return true;
        }
        sender->window |= UINT64_C(1) << behind;
        frag->late++;
        frag->lost -= sender->missing != 0; /* it was missed when a later one came */
        sender->missing -= sender->missing != 0;
        return false;
    }
    frag->lost += ahead - 1;
    sender->missing += ahead - 1;
    sender->window = ahead >= 64 ? 1 : sender->window << ahead | 1;
    sender->top = label->packet;
    sender->number += ahead;
    frag->number = sender->number;
    frag->gap = ahead - 1 + sender->skipped;
    sender->skipped = 0;
    return false;
}

void frag_skip(struct frag *frag) {
    frag->sender[frag->latest].skipped += frag->gap + 1;
}

/* ---- putting together ---- */

static uint32_t pieces_of(const struct frag_label *label) {
    return (label->total - 1) / label->piece + 1;
}

static struct frag_part *find_part(struct frag *frag, const struct frag_label *label) {
    for (size_t i = 0; frag->parts != 0 && i < FRAG_PARTS; i++) {
        struct frag_part *part = &frag->part[i];
        if (part->node == label->node && part->end == label->end && part->message == label->message) {
            return part;
        }
    }
    return NULL;
}

/* Keeps the larger of two buffers for the next message. */
static void give_back(struct frag *frag, struct frag_part *part) {
    frag->held -= part->room;
    frag->parts--;
    if (part->room > frag->spare_room) {
        free(frag->spare);
        frag->spare = part->data;
        frag->spare_room = part->room;
    } else {
        free(part->data);
    }
    *part = (struct frag_part){.node = 0};
}

void frag_drop(struct frag *frag, struct frag_part *part) {
    give_back(frag, part);
    frag->lost++;
}

void frag_free(struct frag *frag) {
    give_back(frag, frag->whole);
    frag->whole = NULL;
}

static struct frag_part *find_free(struct frag *frag, size_t need) {
    for (;;) {
        struct frag_part *oldest = NULL, *unused = NULL;
        for (size_t i = 0; i < FRAG_PARTS; i++) {
            struct frag_part *part = &frag->part[i];
            if (part->node == 0) {
                unused = part;
            } else if (oldest == NULL || part->touched < oldest->touched) {
                oldest = part;
            }
        }
        if (unused != NULL && frag->room - frag->held >= need) {
            return unused;
        }
        if (!frag->lossy || oldest == NULL) {
            return NULL;
        }
        frag_drop(frag, oldest);
    }
}

static int begin(struct frag *frag, const struct frag_label *label, struct frag_part **begun) {
    if (label->total > frag->max) {
        return err_say(THIRL_EFORMAT, "a message of %u bytes is announced; this end accepts %zu (?max)", label->total,
                       frag->max);
    }
    size_t bits = (pieces_of(label) + 7) / 8, need = label->total + bits;
    struct frag_part *part = find_free(frag, need);
    if (part == NULL) {
        return err_say(ENOBUFS,
                       "%u unfinished messages with %zu bytes are held already, and %u bytes more do not fit (?max)",
                       frag->parts, frag->held, label->total);
    }
    *part = (struct frag_part){.data = frag->spare, .room = frag->spare_room};
    frag->spare = NULL;
    frag->spare_room = 0;
    if (part->room < need || part->room > frag->room - frag->held) {
        free(part->data);
        part->data = malloc(need);
        part->room = part->data == NULL ? 0 : need;
        if (part->data == NULL) {
            return err_say(ENOMEM, "no memory for a message of %u bytes", label->total);
        }
    }
    memset(part->data + label->total, 0, bits);
    part->node = label->node;
    part->end = label->end;
    part->message = label->message;
    part->total = label->total;
    part->piece = label->piece;
    part->missing = pieces_of(label);
    frag->held += part->room;
    frag->parts++;
    *begun = part;
    return 0;
}

int frag_put(struct frag *frag, const struct frag_label *label, const struct iovec *from, unsigned count) {
    struct frag_part *part = find_part(frag, label);
    if (part == NULL) {
        if (!frag->lossy && label->offset != 0) {
            frag->lost +=
                label->offset + (uint64_t)label->piece >= label->total; /* whoever took its beginning is gone */
            return 0;
        }
        int rc = begin(frag, label, &part);
        if (rc != 0) {
            return rc;
        }
    }
    if (part->total != label->total || part->piece != label->piece) {
        return err_say(THIRL_EFORMAT, "a piece of a message of %u bytes contradicts the others, which say %u",
                       label->total, part->total);
    }
    part->touched = ++frag->turn;
    uint32_t index = label->offset / label->piece;
    unsigned char *there = &part->data[part->total + index / 8], bit = (unsigned char)(1u << index % 8);
    if ((*there & bit) != 0) {
        return 0;
    }
    unsigned char *to = part->data + label->offset;
    size_t left = frag_size(label);
    for (unsigned i = 0; i < count && left != 0; i++) {
        size_t some = from[i].iov_len < left ? from[i].iov_len : left;
        memcpy(to, from[i].iov_base, some);
        to += some;
        left -= some;
    }
    *there |= bit;
    if (--part->missing != 0) {
        return 0;
    }
    frag->whole = part;
    return 1;
}
