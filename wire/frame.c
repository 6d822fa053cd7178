/* SPDX-License-Identifier: MIT
 *
 * Messages on a byte stream: building and checking. See frame.h.
 */
#include "wire/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static const unsigned char magic[8] = {'t', 'h', 'i', 'r', 'l', '\r', '\n', 0x1a};

static void store(unsigned char *out, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        out[i] = (unsigned char)(value >> (8 * i));
    }
}

static uint64_t fetch(const unsigned char *in, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)in[i] << (8 * i);
    }
    return value;
}

int frame_read_head(const unsigned char in[FRAME_HEAD], struct frame_head *head) {
    head->size = (uint32_t)fetch(in, 4);
    head->number = (uint16_t)fetch(in + 4, 2);
    head->type = in[6];
    if (unlikely(in[7] != FRAME_LAST)) {
        return err_say(THIRL_EFORMAT,
                       "the peer sent bytes that are no frame (last byte of its head 0x%02x, not 0x%02x)", in[7],
                       FRAME_LAST);
    }
    if (likely(head->type == FRAME_DATA || head->type == FRAME_NOTED)) {
        if (unlikely(head->size > FRAME_SIZE_MAX)) {
            return err_say(THIRL_EFORMAT, "the peer announced a frame of %u bytes; a frame has at most %u", head->size,
                           FRAME_SIZE_MAX);
        }
        return 0;
    }
    if (frame_is_tell(head->type)) {
        return head->size == FRAME_TELL
                   ? 0
                   : err_say(THIRL_EFORMAT, "the peer sent a number of %u bytes; it has %d", head->size, FRAME_TELL);
    }
    if (head->type != FRAME_BYE && head->type != FRAME_CUT) {
        return err_say(THIRL_EFORMAT, "the peer sent a frame of the unknown type %u", head->type);
    }
    if (head->size != 0) {
        return err_say(THIRL_EFORMAT, "the peer said goodbye with %u bytes behind it; there may be none", head->size);
    }
    return 0;
}

void frame_write_tell(unsigned char out[FRAME_TELL], uint64_t value) {
    store(out, value, FRAME_TELL);
}

uint64_t frame_read_tell(const unsigned char in[FRAME_TELL]) {
    return fetch(in, FRAME_TELL);
}

void frame_write_mark(unsigned char out[FRAME_MARK], const struct frame_head *head) {
    memcpy(out, FRAME_WORD, 8);
    frame_write_head(out + 8, head);
}

int frame_read_mark(const unsigned char *in, size_t size, struct frame_head *head) {
    if (size < FRAME_MARK) {
        return err_say(THIRL_EFORMAT, "the peer sent a marked packet of %zu bytes; a head has %d", size, FRAME_MARK);
    }
    if (in[14] == FRAME_ROOM && in[15] == FRAME_LAST) {
        *head = (struct frame_head){.size = (uint32_t)fetch(in + 8, 4), .type = FRAME_ROOM};
        return size == FRAME_MARK ? 0 : err_say(THIRL_EFORMAT, "the peer sent an announcement of %zu bytes", size);
    }
    int rc = frame_read_head(in + 8, head);
    if (rc == 0 && head->size != size - FRAME_MARK) {
        return err_say(THIRL_EFORMAT, "the peer announced %u bytes in a packet of %zu", head->size, size - FRAME_MARK);
    }
    return rc;
}

void frame_write_hello(unsigned char out[FRAME_HELLO], const struct frame_hello *hello) {
    memset(out, 0, FRAME_HELLO);
    memcpy(out, magic, sizeof(magic));
    store(out + 8, FRAME_VERSION, 2);
    store(out + 10, FRAME_HELLO, 2);
    store(out + 12, hello->features, 4);
    out[16] = hello->kind;
    out[17] = hello->role;
    out[18] = hello->stream;
    out[19] = hello->descriptors;
    store(out + 20, hello->code, 4);
    store(out + 24, hello->max, 8);
    store(out + 32, (uint64_t)hello->pid[0], 8);
    store(out + 40, (uint64_t)hello->pid[1], 8);
    store(out + 48, hello->type.bytes, 8);
    store(out + 56, hello->type.layout, 8);
    store(out + 64, hello->type.alignment, 4);
    memcpy(out + 68, hello->type.name, TYPE_NAME);
}

bool frame_may_greet(const unsigned char *in, size_t size) {
    return memcmp(in, magic, size < sizeof(magic) ? size : sizeof(magic)) == 0;
}

int frame_read_hello(const unsigned char in[FRAME_HELLO], struct frame_hello *hello) {
    memset(hello, 0, sizeof(*hello));
    if (memcmp(in, magic, sizeof(magic)) != 0) {
        return err_say(THIRL_EFORMAT,
                       "the peer does not speak thirl (its greeting begins with bytes %02x %02x %02x %02x)", in[0],
                       in[1], in[2], in[3]);
    }
    hello->version = (uint16_t)fetch(in + 8, 2);
    if (hello->version != FRAME_VERSION) {
        return err_say(THIRL_EVERSION, "the peer speaks version %u of thirl's wire, this library version %d",
                       hello->version, FRAME_VERSION);
    }
    hello->features = (uint32_t)fetch(in + 12, 4);
    uint32_t unknown = hello->features & 0xffff & ~(FRAME_CRC | FRAME_TIME);
    if (unknown != 0) {
        return err_say(THIRL_EVERSION,
                       "the peer (wire version %u) wants features 0x%x, which this library (version %d) does not have",
                       hello->version, unknown, FRAME_VERSION);
    }
    hello->kind = in[16];
    hello->role = in[17];
    hello->stream = in[18] != 0;
    hello->descriptors = in[19];
    hello->code = (uint32_t)fetch(in + 20, 4);
    hello->max = fetch(in + 24, 8);
    hello->pid[0] = (int64_t)fetch(in + 32, 8);
    hello->pid[1] = (int64_t)fetch(in + 40, 8);
    hello->type = (struct type){
        .bytes = fetch(in + 48, 8), .layout = fetch(in + 56, 8), .alignment = (uint32_t)fetch(in + 64, 4)};
    memcpy(hello->type.name, in + 68, TYPE_NAME);
    if (fetch(in + 10, 2) != FRAME_HELLO || hello->kind < FRAME_HELLO_CALL || hello->kind > FRAME_HELLO_REFUSE ||
        in[18] > 1 || hello->code > INT32_MAX || !type_sound(&hello->type)) {
        return err_say(THIRL_EFORMAT, "the peer's greeting is damaged (length %u, kind %u)",
                       (unsigned)fetch(in + 10, 2), hello->kind);
    }
    return 0;
}

static const char *role_name(uint32_t role) {
    switch (role) {
#define NAME(name, number, text)                                                                                       \
    case THIRL_##name:                                                                                                 \
        return text;
        THIRL_ROLES(NAME)
#undef NAME
    default:
        return "unknown";
    }
}

int frame_match_roles(uint32_t own, uint32_t other) {
    static const uint8_t match[] = {
        [THIRL_PAIR] = THIRL_PAIR,  [THIRL_WRITE] = THIRL_READ,   [THIRL_READ] = THIRL_WRITE,
        [THIRL_PUSH] = THIRL_PULL,  [THIRL_PULL] = THIRL_PUSH,    [THIRL_PUB] = THIRL_SUB,
        [THIRL_SUB] = THIRL_PUB,    [THIRL_NOTIFY] = THIRL_WATCH, [THIRL_WATCH] = THIRL_NOTIFY,
        [THIRL_CALL] = THIRL_SERVE, [THIRL_SERVE] = THIRL_CALL};
    if (own < sizeof(match) && match[own] != 0 && match[own] == other) {
        return 0;
    }
    return err_say(THIRL_EROLE,
                   "this end's role is %s and the other's is %s; pair goes with pair, write with read, push with pull, "
                   "pub with sub, notify with watch, call with serve",
                   role_name(own), role_name(other));
}

int frame_match_features(uint32_t own, uint32_t other) {
    if (((own ^ other) & FRAME_CRC) != 0) {
        return err_say(THIRL_EROLE,
                       (own & FRAME_CRC) == 0
                           ? "the other end carries messages with a CRC, and this one has none: open it with ?crc"
                           : "the other end carries messages without a CRC, and this one has one (?crc): open both "
                             "alike");
    }
    if (((own ^ other) & FRAME_TIME) != 0) {
        return err_say(THIRL_EROLE,
                       (own & FRAME_TIME) == 0
                           ? "the other end carries messages that grow old, and this one does not: open it with "
                             "?lifespan"
                           : "the other end carries messages that never grow old, and this one's do (?lifespan): open "
                             "both alike");
    }
    return 0;
}

int frame_box_room(struct frame_box *b, size_t size) {
    if (likely(b->capacity - b->to >= size)) {
        return 0;
    }
    size_t held = frame_box_held(b);
    if (b->from) {
        memmove(b->data, b->data + b->from, held);
        b->from = 0;
        b->to = held;
    }
    if (b->capacity - b->to >= size) {
        return 0;
    }
    size_t capacity = b->capacity * 2 > held + size ? b->capacity * 2 : held + size;
    unsigned char *data = realloc(b->data, capacity);
    if (!data) {
        return err_say(ENOMEM, "no memory for %zu bytes of received frames", capacity);
    }
    b->data = data;
    b->capacity = capacity;
    return 0;
}

void frame_box_free(struct frame_box *b) {
    free(b->data);
    *b = (struct frame_box){0};
}

uint8_t frame_box_ends(const struct frame_box *b, size_t skip, bool packets) {
    size_t held = frame_box_held(b);
    while (skip <= held && held - skip >= FRAME_HEAD) {
        const unsigned char *in = b->data + b->from + skip;
        if (in[7] != FRAME_LAST) {
            return 0;
        }
        if (in[6] == FRAME_BYE || in[6] == FRAME_CUT) {
            return fetch(in, 4) == 0 ? in[6] : 0;
        }
        size_t size = (size_t)fetch(in, 4);
        skip += (packets ? FRAME_HEAD : frame_ahead(size)) + size;
    }
    return 0;
}
