/* SPDX-License-Identifier: MIT
 *
 * Packets of many senders: read, counted, put together. The input holds packets as they are, and orders to build some, whose
 * payload follows from where it belongs: so every message that becomes whole can be checked.
 */
#include <errno.h>

#include "tests/fuzz/fuzz.h"
#include "wire/frag.h"

#define MAX 5000

static uint8_t byte_at(const struct frag_head *head, size_t at) {
    return (uint8_t)(head->node * 31 + head->end * 17 + head->message * 7 + at);
}

static void check_whole(struct frag *frag, const struct frag_head *head, bool built) {
    size_t size;
    const uint8_t *data = frag_whole(frag, &size);
    must(size == head->total && size <= MAX);
    for (size_t i = 0; built && i < size; i++) {
        must(data[i] == byte_at(head, i));
    }
    frag_free(frag);
}

static size_t build(struct food *food, uint8_t packet[FRAG_HEAD + 256]) {
    struct frag_head head = {.type = FRAG_DATA};
    uint64_t who = food_number(food, 1);
    head.node = 1 + (who & 3);
    head.end = who >> 2 & 1;
    head.message = who >> 3 & 7;
    head.packet = (uint32_t)food_number(food, 1);
    head.total = 1 + (uint32_t)food_number(food, 2) % MAX;
    head.piece = 1 + (uint32_t)food_number(food, 1);
    head.offset = (uint32_t)food_number(food, 1) * head.piece;
    head.offset = head.offset < head.total ? head.offset : 0;
    frag_write(packet, &head);
    for (size_t i = 0; i < frag_size(&head); i++) {
        packet[FRAG_HEAD + i] = byte_at(&head, head.offset + i);
    }
    return FRAG_HEAD + frag_size(&head);
}

/* As whoever receives packets does it. */
static void take(struct frag *frag, const uint8_t *packet, size_t size, bool built) {
    struct frag_head head;
    int rc = fuzz_answer(frag_read(packet, size, &head));
    if (rc != 0) {
        must((rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION) && !built);
        return;
    }
    must(frag_size(&head) == size - FRAG_HEAD);
    if (frag_came_before(frag, &head) || frag_is_whole(&head) || head.type != FRAG_DATA) {
        return;
    }
    const struct iovec part[] = {
        {(void *)(uintptr_t)(packet + FRAG_HEAD), (size - FRAG_HEAD) / 2},
        {(void *)(uintptr_t)(packet + FRAG_HEAD + (size - FRAG_HEAD) / 2), size - FRAG_HEAD - (size - FRAG_HEAD) / 2}};
    rc = frag_put(frag, &head, part, 2);
    must(rc == 0 || rc == 1 || rc == -THIRL_EFORMAT || rc == -ENOBUFS);
    must(rc != -ENOBUFS || !frag->lossy);
    must(frag->held <= frag->room && frag->parts <= FRAG_PARTS);
    if (rc == 1) {
        check_whole(frag, &head, built);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    struct frag frag;
    uint8_t packet[FRAG_HEAD + 256];
    uint64_t flags = food_number(&food, 1);
    bool mixed = (flags & 2) != 0; /* foreign packets may spoil the content of built ones */
    frag_init(&frag, MAX, (size_t)(flags & 4 ? 2 : 4) * MAX, (flags & 1) != 0);
    while (food.left != 0) {
        size_t some = food_number(&food, 1);
        if (mixed && some != 0) {
            const uint8_t *from = food_bytes(&food, some, &some);
            take(&frag, from, some, false);
        } else {
            some = build(&food, packet);
            take(&frag, packet, some, !mixed);
        }
    }
    frag_deinit(&frag);
    return 0;
}
