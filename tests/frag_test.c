/* SPDX-License-Identifier: MIT
 *
 * Messages on packets: what is written is read back, every lie is refused, senders are kept apart, and room is bounded.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/frag.h"

static struct frag frag;

static struct frag_label label_of(uint64_t node, uint32_t message, uint32_t total, uint32_t offset, uint32_t piece) {
    return (struct frag_label){FRAG_DATA, node,  3,    message * 100 + offset / piece, message, total,
                               offset,    piece, false};
}

static unsigned char pattern(uint64_t node, uint32_t message, uint32_t at) {
    return (unsigned char)(node * 7 + message * 13 + at * 31 + at / 251);
}

/* Puts in one piece, in two parts of memory. */
static int put(uint64_t node, uint32_t message, uint32_t total, uint32_t offset, uint32_t piece) {
    struct frag_label label = label_of(node, message, total, offset, piece);
    unsigned char data[64];
    size_t size = frag_size(&label);
    assert_true(size <= sizeof data);
    for (uint32_t i = 0; i < size; i++) {
        data[i] = pattern(node, message, offset + i);
    }
    struct iovec parts[] = {{data, size / 3}, {data + size / 3, sizeof data - size / 3}};
    return frag_put(&frag, &label, parts, 2);
}

static void expect_whole(uint64_t node, uint32_t message, uint32_t total) {
    size_t size = 0;
    const unsigned char *data = frag_whole(&frag, &size);
    assert_int_equal(size, total);
    for (uint32_t i = 0; i < total; i++) {
        assert_int_equal(data[i], pattern(node, message, i));
    }
    frag_free(&frag);
}

static bool same_label(const struct frag_label *a, const struct frag_label *b) {
    return a->type == b->type && a->node == b->node && a->end == b->end && a->packet == b->packet &&
           a->message == b->message && a->total == b->total && a->offset == b->offset && a->piece == b->piece &&
           a->brief == b->brief;
}

/* Writes the label at the beginning; where it ends. */
static unsigned char *write_label(unsigned char *wire, const struct frag_label *label) {
    if (label->brief) {
        frag_write_brief(wire, label);
        return wire + FRAG_BRIEF;
    }
    frag_write(wire, label);
    return wire + FRAG_LABEL;
}

static void head_round_trip(void **state) {
    (void)state;
    const struct frag_label in[] = {
        {FRAG_DATA, UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0, 1, false},
        {FRAG_DATA, 1, 0, 0, 0, FRAG_SIZE_MAX, 100, 100, false},
        {FRAG_DATA, 0x1122334455667788, 5, 6, 7, 1000, 990, 10, false},
        {FRAG_NOTE, 9, 1, 2, 3, 16, 0, 16, false},
        {FRAG_DATA, UINT64_MAX, UINT32_MAX, 0, 0, 0, 0, 1, true},
        {FRAG_DATA, 1, 0, 0, 0, FRAG_SIZE_MAX, 0, FRAG_SIZE_MAX, true},
        {FRAG_TIME_CRC, 0x1122334455667788, 0x99aabbcc, 0, 0, 1000, 0, 1000, true},
    };
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
        unsigned char wire[FRAG_LABEL];
        struct frag_label out = {0};
        unsigned char *end = write_label(wire, &in[i]);
        assert_int_equal(frag_read(end, (size_t)(end - wire) + frag_size(&in[i]), &out), 0);
        assert_true(same_label(&in[i], &out));
    }
}

/* The short way agrees with the long one, and takes nothing that that would refuse. */
static void whole_messages(void **state) {
    unsigned char wire[FRAG_LABEL];
    struct frag_label out = {0}, same = {0};
    (void)state;
    for (int brief = 0; brief < 2; brief++) {
        const struct frag_label good = {FRAG_DATA, UINT64_MAX - 1, 7, brief ? 0 : 8, brief ? 0 : 9, 100, 0, 100, brief};
        const uint32_t kind = frag_kind(FRAG_DATA, brief);
        const unsigned char *end = write_label(wire, &good);
        const size_t bytes = (size_t)(end - wire), size = bytes + 100;
        assert_true(frag_read_whole(end, bytes, size, kind, &out));
        assert_false(frag_read_whole(end, bytes - 1, size, kind, &out)); /* it lies in two pieces */
        assert_int_equal(frag_read(end, size, &same), 0);
        assert_true(same_label(&out, &good) && same_label(&same, &good));
        assert_int_equal(frag_read_whole(end, bytes, size - 1, kind, &out), brief);
        assert_int_equal(frag_read_whole(end, bytes, size + 1, kind, &out), brief);
        assert_int_equal(out.total, brief ? 101 : 100);
        assert_false(frag_read_whole(end, bytes, size, frag_kind(FRAG_CRC, brief), &out));
        /* Who takes brief ones takes the others; who counts packets takes no brief ones. */
        assert_int_equal(frag_read_whole(end, bytes, size, frag_kind(FRAG_DATA, true), &out), true);
        assert_int_equal(frag_read_whole(end, bytes, size, frag_kind(FRAG_DATA, false), &out), !brief);
        for (size_t i = 0; i < bytes * 8; i++) { /* any bit of it */
            (void)write_label(wire, &good);
            wire[i / 8] ^= (unsigned char)(1u << i % 8);
            bool whole = frag_read_whole(end, bytes, size, kind, &out);
            assert_true(!whole || frag_read(end, size, &same) == 0);
            assert_true(!whole || (same.type == FRAG_DATA && frag_is_whole(&same) && same_label(&out, &same)));
        }
    }
    const struct frag_label bad[] = {
        {FRAG_DATA, 0, 7, 8, 9, 100, 0, 100, false},   {FRAG_DATA, 1, 7, 8, 9, 100, 0, 50, false},
        {FRAG_DATA, 1, 7, 8, 9, 200, 100, 100, false}, {FRAG_DATA, 1, 7, 8, 9, 0, 0, 0, false},
        {FRAG_NOTE, 1, 7, 8, 9, 100, 0, 100, false},   {FRAG_DATA, 0, 7, 0, 0, 100, 0, 100, true},
        {FRAG_NOTE, 1, 7, 0, 0, 100, 0, 100, true},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const unsigned char *end = write_label(wire, &bad[i]);
        size_t size = (size_t)(end - wire) + (bad[i].total == 0 ? 0 : 100);
        assert_false(frag_read_whole(end, (size_t)(end - wire), size, frag_kind(FRAG_DATA, true), &out));
        assert_false(frag_read_whole(end, (size_t)(end - wire), size, frag_kind(FRAG_DATA, false), &out));
    }
}

/* Behind a large piece there may be padding, which its sender puts there as far as the packet goes; behind a small one there is none, and where it may
 * be the label is brief. */
static void padding(void **state) {
    unsigned char wire[2 * FRAG_TAIL];
    struct frag_label label = {FRAG_DATA, 1, 2, 3, 4, 0, 0, 100000, false}, out = {0};
    const uint32_t kind = frag_kind(FRAG_DATA, true);
    (void)state;
    for (size_t size = FRAG_LARGE - 70; size < FRAG_LARGE + 200; size++) {
        label.total = (uint32_t)size;
        label.brief = false;
        size_t tail = frag_tail(wire, &label, size, 100000), pad = tail - FRAG_LABEL;
        const unsigned char *end = wire + tail;
        assert_true(size > FRAG_LARGE ? (size + tail) % 64 == 0 && pad <= FRAG_PAD : pad == 0);
        assert_int_equal(frag_read(end, size + tail, &out), 0);
        assert_true(frag_size(&out) == size && frag_read_whole(end, tail, size + tail, kind, &out) &&
                    out.total == size);
        for (size_t more = 0; more < 70; more++) {
            bool fits = more == 0 || (size > FRAG_LARGE && more <= FRAG_PAD);
            assert_int_equal(frag_read(end, size + more + FRAG_LABEL, &out), fits ? 0 : -THIRL_EFORMAT);
            assert_int_equal(frag_read_whole(end, tail, size + more + FRAG_LABEL, kind, &out), fits);
        }
        assert_int_equal(frag_read(end, size - 1 + FRAG_LABEL, &out), -THIRL_EFORMAT);
        assert_false(frag_read_whole(end, tail, size - 1 + FRAG_LABEL, kind, &out));
        for (size_t room = 0; room < 70; room++) { /* no packet gets larger than it may be */
            size_t bound = frag_tail(wire, &label, size, size + FRAG_LABEL + room);
            assert_true(bound <= FRAG_LABEL + room && bound <= pad + FRAG_LABEL);
        }
        label.brief = true;
        tail = frag_tail(wire, &label, size, 100000);
        assert_int_equal(tail, size > FRAG_LARGE ? pad + FRAG_LABEL : FRAG_BRIEF);
        assert_int_equal(frag_read(wire + tail, size + tail, &out), 0);
        assert_true(out.total == size && out.brief == (size <= FRAG_LARGE));
        label.total++; /* of a larger message */
        assert_true(frag_tail(wire, &label, size, 100000) >= FRAG_LABEL);
    }
}

static void label_layout(void **state) {
    (void)state;
    const struct frag_label label = {
        FRAG_DATA, 0x0807060504030201, 0x14131211, 0x24232221, 0x34333231, 0x44, 0x20, 0x10, true};
    const unsigned char expected[FRAG_LABEL] = {
        1,    2, 3, 4, 5,    6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34,
        0x44, 0, 0, 0, 0x20, 0, 0, 0, 0x10, 0,    0,    0,    0,    0,    0,    0,    0x9d, 'q',  4,    1};
    const unsigned char brief[FRAG_BRIEF] = {1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x9d, 'q', 4, 0x81};
    unsigned char wire[FRAG_LABEL];
    frag_write(wire, &label);
    assert_memory_equal(wire, expected, FRAG_LABEL);
    frag_write_brief(wire, &label);
    assert_memory_equal(wire, brief, FRAG_BRIEF);
}

static int reread(struct frag_label label, size_t payload) {
    unsigned char wire[FRAG_LABEL];
    struct frag_label out;
    const unsigned char *end = write_label(wire, &label);
    return frag_read(end, (size_t)(end - wire) + payload, &out);
}

static void head_lies(void **state) {
    (void)state;
    unsigned char wire[FRAG_LABEL];
    struct frag_label out, good = label_of(5, 1, 100, 50, 10);
    assert_int_equal(reread(good, 10), 0);
    assert_int_equal(reread(good, 9), -THIRL_EFORMAT);
    assert_int_equal(reread(good, 11), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "10"));
    struct frag_label bad = good;
    bad.node = 0;
    assert_int_equal(reread(bad, 10), -THIRL_EFORMAT);
    bad = good, bad.piece = 0;
    assert_int_equal(reread(bad, 0), -THIRL_EFORMAT);
    bad = good, bad.offset = 55;
    assert_int_equal(reread(bad, 10), -THIRL_EFORMAT);
    bad = good, bad.offset = 100;
    assert_int_equal(reread(bad, 0), -THIRL_EFORMAT);
    bad = good, bad.total = FRAG_SIZE_MAX + 1u;
    assert_int_equal(reread(bad, 10), -THIRL_EFORMAT);
    bad = good, bad.type = FRAG_NOTE; /* a note is never cut */
    assert_int_equal(reread(bad, 10), -THIRL_EFORMAT);
    for (unsigned type = 0; type < 256; type++) {
        bad = label_of(5, 1, 10, 0, 10), bad.type = (uint8_t)type;
        bool known = (type & 0x7f) >= FRAG_DATA && (type & 0x7f) <= FRAG_TIME_CRC;
        /* Its highest bit is the brief label's, of which the bytes before are another sender. */
        assert_int_equal(reread(bad, 10), known ? 0 : -THIRL_EFORMAT);
        bad.brief = true, bad.type = (uint8_t)(type & 0x7f);
        assert_int_equal(reread(bad, 10), known ? 0 : -THIRL_EFORMAT);
    }
    bad = label_of(0, 1, 10, 0, 10), bad.brief = true;
    assert_int_equal(reread(bad, 10), -THIRL_EFORMAT);
    frag_write(wire, &good);
    assert_int_equal(frag_read(wire + FRAG_LABEL, FRAG_LABEL - 1, &out), -THIRL_EFORMAT);
    for (size_t size = 0; size < FRAG_BRIEF; size++) {
        assert_int_equal(frag_read(wire + FRAG_LABEL, size, &out), -THIRL_EFORMAT);
    }
    assert_non_null(strstr(thirl_why(), "?raw"));
    wire[FRAG_LABEL - 4] ^= 1;
    assert_int_equal(frag_read(wire + FRAG_LABEL, FRAG_LABEL + 10, &out), -THIRL_EFORMAT);
    wire[FRAG_LABEL - 4] ^= 1;
    wire[FRAG_LABEL - 2]++;
    assert_int_equal(frag_read(wire + FRAG_LABEL, FRAG_LABEL + 10, &out), -THIRL_EVERSION);
    assert_non_null(strstr(thirl_why(), "version 4"));
    memcpy(wire, "\x9dthq\3\1", 7); /* as versions up to 3 had it */
    memset(wire + FRAG_LABEL - 4, 0, 4);
    assert_int_equal(frag_read(wire + FRAG_LABEL, FRAG_LABEL + 10, &out), -THIRL_EVERSION);
    assert_non_null(strstr(thirl_why(), "version 3"));
}

static void joins_in_any_order(void **state) {
    (void)state;
    frag_init(&frag, 1000, 4000, true);
    for (uint32_t message = 0; message < 20; message++) {
        uint32_t total = 11 + message * 5, pieces = (total - 1) / 10 + 1;
        for (uint32_t i = 0; i < pieces; i++) {
            uint32_t at = (i * 7 + message) % pieces; /* each once, unless 7 divides their number */
            at = pieces % 7 == 0 ? i : at;
            assert_int_equal(put(1, message, total, at * 10, 10), i + 1 == pieces);
        }
        expect_whole(1, message, total);
        assert_int_equal(frag.held, 0);
    }
    assert_int_equal(frag.lost, 0);
    frag_deinit(&frag);
}

static void keeps_senders_apart(void **state) {
    (void)state;
    frag_init(&frag, 1000, 100000, false);
    for (uint32_t offset = 0; offset < 300; offset += 30) {
        for (uint64_t node = 1; node <= FRAG_PARTS; node++) {
            int rc = put(node, 9, 300, offset, 30);
            assert_int_equal(rc, offset == 270);
            if (rc == 1) {
                expect_whole(node, 9, 300);
            }
        }
    }
    assert_int_equal(frag.parts, 0);
    /* Two messages of one sender at once: the second overtakes by its priority. */
    assert_int_equal(put(7, 1, 20, 0, 10), 0);
    assert_int_equal(put(7, 2, 20, 0, 10), 0);
    assert_int_equal(put(7, 2, 20, 10, 10), 1);
    expect_whole(7, 2, 20);
    assert_int_equal(put(7, 1, 20, 10, 10), 1);
    expect_whole(7, 1, 20);
    frag_deinit(&frag);
}

static void takes_a_piece_once(void **state) {
    (void)state;
    frag_init(&frag, 1000, 4000, true);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(put(1, 1, 30, 10, 10), 0);
        assert_int_equal(put(1, 1, 30, 20, 10), 0);
    }
    assert_int_equal(put(1, 1, 30, 0, 10), 1);
    expect_whole(1, 1, 30);
    frag_deinit(&frag);
}

static void refuses_contradictions(void **state) {
    (void)state;
    frag_init(&frag, 100, 4000, false);
    assert_int_equal(put(1, 1, 101, 0, 10), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "?max"));
    assert_int_equal(frag.parts, 0);
    assert_int_equal(put(1, 1, 30, 0, 10), 0);
    assert_int_equal(put(1, 1, 40, 10, 10), -THIRL_EFORMAT);
    assert_int_equal(put(1, 1, 30, 15, 15), -THIRL_EFORMAT);
    assert_int_equal(put(1, 1, 30, 10, 10), 0);
    assert_int_equal(put(1, 1, 30, 20, 10), 1);
    expect_whole(1, 1, 30);
    frag_deinit(&frag);
}

static void forgets_what_has_no_beginning(void **state) {
    (void)state;
    frag_init(&frag, 1000, 4000, false);
    assert_int_equal(put(1, 1, 30, 10, 10), 0);
    assert_int_equal(frag.parts, 0);
    assert_int_equal(frag.lost, 0);
    assert_int_equal(put(1, 1, 30, 20, 10), 0);
    assert_int_equal(frag.lost, 1);
    assert_int_equal(put(1, 2, 11, 0, 10), 0);
    assert_int_equal(put(1, 2, 11, 10, 10), 1);
    expect_whole(1, 2, 11);
    frag_deinit(&frag);
}

static void bounds_what_is_unfinished(void **state) {
    (void)state;
    frag_init(&frag, 1000, 3100, false);
    for (uint64_t node = 1; node <= 3; node++) {
        assert_int_equal(put(node, 1, 1000, 0, 50), 0);
    }
    assert_int_equal(put(4, 1, 1000, 0, 50), -ENOBUFS);
    assert_non_null(strstr(thirl_why(), "3 unfinished"));
    assert_true(frag.held <= 3100);
    frag_drop(&frag, &frag.part[FRAG_PARTS - 1]);
    assert_int_equal(frag.lost, 1);
    assert_int_equal(put(4, 1, 1000, 0, 50), 0);
    frag_deinit(&frag);
    /* Small ones: it is their number that is bounded. */
    frag_init(&frag, 1000, 1 << 20, false);
    for (uint64_t node = 1; node <= FRAG_PARTS; node++) {
        assert_int_equal(put(node, 1, 20, 0, 10), 0);
    }
    assert_int_equal(put(100, 1, 20, 0, 10), -ENOBUFS);
    frag_deinit(&frag);
    for (int lossy = 0; lossy < 2; lossy++) { /* one that does not fit by itself, and so none has to go for it */
        frag_init(&frag, 1000, 500, lossy != 0);
        assert_int_equal(put(1, 1, 1000, 0, 50), -ENOBUFS);
        assert_int_equal(put(1, 2, 100, 0, 50), 0);
        frag_deinit(&frag);
    }
}

static void gives_up_the_oldest_where_lossy(void **state) {
    (void)state;
    frag_init(&frag, 1000, 3100, true);
    for (uint64_t node = 1; node <= 3; node++) {
        assert_int_equal(put(node, 1, 1000, 0, 50), 0);
    }
    assert_int_equal(put(1, 1, 1000, 50, 50), 0); /* now the second is the oldest */
    assert_int_equal(put(4, 1, 1000, 0, 50), 0);
    assert_int_equal(frag.lost, 1);
    assert_int_equal(frag.parts, 3);
    for (uint32_t offset = 100; offset < 1000; offset += 50) {
        assert_int_equal(put(1, 1, 1000, offset, 50), offset == 950);
    }
    expect_whole(1, 1, 1000);
    frag_deinit(&frag);
}

static bool came(uint64_t node, uint32_t packet) {
    struct frag_label label = label_of(node, 0, 10, 0, 10);
    label.packet = packet;
    return frag_came_before(&frag, &label);
}

static void counts_loss_and_order(void **state) {
    (void)state;
    frag_init(&frag, 100, 100, true);
    uint32_t base = UINT32_MAX - 2; /* it goes round */
    assert_false(came(1, base));
    assert_false(came(1, base + 1));
    assert_true(came(1, base + 1));
    assert_int_equal(frag.twice, 1);
    assert_false(came(1, base + 5));
    assert_int_equal(frag.lost, 3);
    assert_false(came(1, base + 3));
    assert_int_equal(frag.late, 1);
    assert_int_equal(frag.lost, 2);
    assert_true(came(1, base + 3));
    assert_false(came(1, base + 200));
    assert_true(came(1, base + 100)); /* too long ago to know */
    assert_false(came(2, 77));
    assert_true(came(2, 76)); /* of one that has been talking: as likely seen by somebody else, or forgotten */
    assert_int_equal(frag.lost, 196);
    assert_false(came(3, 2)); /* of one that has just begun: it is not missed, */
    assert_false(came(3, 0)); /* but it may still come */
    assert_true(came(3, 2));
    assert_true(came(3, 0));
    assert_false(came(3, 1));
    assert_int_equal(frag.lost, 196);
    assert_false(came(1, base + 201));
    for (uint64_t node = 4; node < 4 + FRAG_SENDERS; node++) {
        assert_false(came(node, 0));
    }
    assert_false(came(1, base + 201)); /* forgotten: others have come since */
    frag_deinit(&frag);
    frag_init(&frag, 100, 100, false);
    assert_false(came(1, 5));
    assert_false(came(1, 5));
    assert_int_equal(frag.lost + frag.twice + frag.late, 0);
    frag_deinit(&frag);
}

/* Who wants each sender's packets in their order gets none that is late: it stays lost, and what comes next says how many are missing before it. */
static void drops_what_is_late_where_in_order(void **state) {
    (void)state;
    frag_init(&frag, 100, 100, true);
    frag.in_order = true;
    assert_false(came(1, 100));
    assert_false(came(1, 300));
    assert_int_equal(frag.gap, 199);
    assert_true(came(1, 299));
    assert_int_equal(frag.late, 1);
    assert_true(came(1, 299));
    assert_true(came(1, 236)); /* too long ago to know */
    assert_int_equal(frag.late, 1);
    assert_int_equal(frag.twice, 2);
    assert_true(came(1, 237));
    assert_int_equal(frag.late, 2);
    assert_int_equal(frag.lost, 199);
    assert_false(came(1, 301));
    assert_int_equal(frag.gap, 0);
    frag_deinit(&frag);
}

/* Whatever comes: no crash, no more memory than allowed, and afterwards it works as before. */
static void survives_garbage(void **state) {
    (void)state;
    srand(1);
    for (int round = 0; round < 2; round++) {
        frag_init(&frag, 5000, 20000, round == 1);
        for (int i = 0; i < 200000; i++) {
            unsigned char wire[FRAG_LABEL + 64];
            struct frag_label label = label_of((uint64_t)(rand() % 40), (uint32_t)(rand() % 5),
                                               (uint32_t)(rand() % 6000), (uint32_t)(rand() % 8) * 16, 16);
            label.piece = (uint32_t)(rand() % 4) * 16;
            frag_write(wire, &label);
            if (rand() % 4 == 0) {
                wire[rand() % FRAG_LABEL] ^= (unsigned char)(1u << rand() % 8);
            }
            size_t size = label.piece == 0 || label.offset > label.total ? 0 : frag_size(&label);
            if (frag_read(wire + FRAG_LABEL, FRAG_LABEL + (rand() % 8 == 0 ? (size_t)(rand() % 65) : size), &label) ==
                    0 &&
                !frag_came_before(&frag, &label) && !frag_is_whole(&label)) {
                struct iovec part = {wire + FRAG_LABEL, 64};
                int rc = frag_put(&frag, &label, &part, 1);
                if (rc == 1) {
                    frag_free(&frag);
                }
            }
            assert_true(frag.held <= 20000 && frag.parts <= FRAG_PARTS);
        }
        frag_deinit(&frag);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_round_trip),
        cmocka_unit_test(whole_messages),
        cmocka_unit_test(padding),
        cmocka_unit_test(label_layout),
        cmocka_unit_test(head_lies),
        cmocka_unit_test(joins_in_any_order),
        cmocka_unit_test(keeps_senders_apart),
        cmocka_unit_test(takes_a_piece_once),
        cmocka_unit_test(refuses_contradictions),
        cmocka_unit_test(forgets_what_has_no_beginning),
        cmocka_unit_test(bounds_what_is_unfinished),
        cmocka_unit_test(gives_up_the_oldest_where_lossy),
        cmocka_unit_test(counts_loss_and_order),
        cmocka_unit_test(drops_what_is_late_where_in_order),
        cmocka_unit_test(survives_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
