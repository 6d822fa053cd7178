/* SPDX-License-Identifier: MIT
 *
 * Packets of many senders: read, counted, put together. The input holds packets as they are, and orders to build some, whose
 * payload follows from where it belongs: so every message that becomes whole can be checked.
 */
#include <errno.h>

#include "tests/fuzz/fuzz.h"
#include "wire/frag.h"

#define MAX 5000

static uint8_t byte_at(const struct frag_label *label, size_t at) {
    return (uint8_t)(label->node * 31 + label->end * 17 + label->message * 7 + at);
}

static void check_whole(struct frag *frag, const struct frag_label *label, bool built) {
    size_t size;
    const uint8_t *data = frag_whole(frag, &size);
    must(size == label->total && size <= MAX);
    for (size_t i = 0; built && i < size; i++) {
        must(data[i] == byte_at(label, i));
    }
    frag_free(frag);
}

static size_t build(struct food *food, uint8_t packet[FRAG_LABEL + 256]) {
    struct frag_label label = {.type = FRAG_DATA};
    uint64_t who = food_number(food, 1);
    label.node = 1 + (who & 3);
    label.end = who >> 2 & 1;
    label.message = who >> 3 & 7;
    label.packet = (uint32_t)food_number(food, 1);
    label.total = 1 + (uint32_t)food_number(food, 2) % MAX;
    label.piece = 1 + (uint32_t)food_number(food, 1);
    label.offset = (uint32_t)food_number(food, 1) * label.piece;
    label.offset = label.offset < label.total ? label.offset : 0;
    for (size_t i = 0; i < frag_size(&label); i++) {
        packet[i] = byte_at(&label, label.offset + i);
    }
    label.brief = (who >> 6 & 1) != 0;
    return frag_size(&label) + frag_tail(packet + frag_size(&label), &label, frag_size(&label), FRAG_LABEL + 256);
}

/* As whoever receives packets does it, of `size` bytes with their label. */
static void take(struct frag *frag, const uint8_t *payload, const uint8_t *end, size_t size, bool built) {
    struct frag_label label, same = {0}, other;
    int rc = fuzz_answer(frag_read(end, size, &label));
    const size_t here = size < FRAG_LABEL ? size : FRAG_LABEL;
    bool whole = frag_read_whole(end, here, size, frag_kind(FRAG_DATA, true), &same);
    bool counted = frag_read_whole(end, here, size, frag_kind(FRAG_DATA, false), &other);
    must(!counted || whole);
    must(!whole || (rc == 0 && label.type == FRAG_DATA && frag_is_whole(&label)));
    must(!whole || (label.node == same.node && label.end == same.end && label.packet == same.packet));
    must(!whole || (label.message == same.message && label.total == same.total && label.piece == same.piece));
    must(!whole || (label.brief == same.brief && counted == !label.brief));
    must(!built || whole == frag_is_whole(&label));
    if (rc != 0) {
        must((rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION) && !built);
        return;
    }
    const size_t bytes = size - (label.brief ? FRAG_BRIEF : FRAG_LABEL);
    must(frag_fits(bytes, frag_size(&label)));
    if (label.brief || frag_came_before(frag, &label) || frag_is_whole(&label) || label.type != FRAG_DATA) {
        return;
    }
    const size_t half = bytes / 2;
    const struct iovec part[] = {{(void *)(uintptr_t)payload, half},
                                 {(void *)(uintptr_t)(payload + half), bytes - half}};
    rc = frag_put(frag, &label, part, 2);
    must(rc == 0 || rc == 1 || rc == -THIRL_EFORMAT || rc == -ENOBUFS);
    must(rc != -ENOBUFS || !frag->lossy);
    must(frag->held <= frag->room && frag->parts <= FRAG_PARTS);
    if (rc == 1) {
        check_whole(frag, &label, built);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    struct frag frag;
    uint8_t packet[FRAG_LABEL + 256];
    uint64_t flags = food_number(&food, 1);
    bool mixed = (flags & 2) != 0; /* foreign packets may spoil the content of built ones */
    frag_init(&frag, MAX, (size_t)(flags & 4 ? 2 : 4) * MAX, (flags & 1) != 0);
    while (food.left != 0) {
        size_t some = food_number(&food, 1);
        if (mixed && some != 0) {
            const uint8_t *from = food_bytes(&food, some, &some);
            const uint8_t *end = from + (some < FRAG_LABEL ? some : FRAG_LABEL); /* its label comes first */
            take(&frag, end, end, some, false);
        } else {
            some = build(&food, packet);
            take(&frag, packet, packet + some, some, !mixed);
        }
    }
    frag_deinit(&frag);
    return 0;
}
