/* SPDX-License-Identifier: MIT
 *
 * Heads, marked packets and greetings, and what a box holds of frames. Whatever is accepted is written back as it came.
 */
#include "tests/fuzz/fuzz.h"
#include "wire/frame.h"

static void read_head(const unsigned char *in) {
    unsigned char out[FRAME_HEAD];
    struct frame_head head;
    int rc = frame_read_head(in, &head);
    must(rc == 0 || rc == -THIRL_EFORMAT);
    if (fuzz_answer(rc) == 0) {
        must(head.size <= FRAME_SIZE_MAX);
        frame_write_head(out, &head);
        must(memcmp(in, out, sizeof out) == 0);
    }
}

static void read_mark(const uint8_t *in, size_t size) {
    struct frame_head head;
    if (size != 0 && frame_is_marked(in, size)) {
        int rc = frame_read_mark(in, size, &head);
        must(rc == 0 || rc == -THIRL_EFORMAT);
        must(fuzz_answer(rc) != 0 || head.type == FRAME_ROOM || head.size == size - FRAME_MARK);
    }
}

static void read_hello(const uint8_t *in) {
    unsigned char out[FRAME_HELLO];
    struct frame_hello hello, again;
    int rc = frame_read_hello(in, &hello);
    must(rc == 0 || rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION);
    if (fuzz_answer(rc) == 0) {
        must(frame_may_greet(in, FRAME_HELLO));
        frame_write_hello(out, &hello);
        must(frame_read_hello(out, &again) == 0);
        must(again.kind == hello.kind && again.max == hello.max && again.code == hello.code);
        (void)frame_match_roles(THIRL_PAIR, hello.role);
    }
}

static void fill_box(struct food *food) {
    struct frame_box box = {0};
    while (food->left != 0) {
        size_t size, skip = food_number(food, 1);
        const uint8_t *from = food_bytes(food, food_number(food, 1), &size);
        must(frame_box_room(&box, size) == 0);
        if (size != 0) {
            memcpy(box.data + box.to, from, size);
            box.to += size;
        }
        (void)frame_box_ends(&box, skip, false);
        size_t held = frame_box_held(&box);
        frame_box_drop(&box, skip % 3 == 0 && held != 0 ? skip % held : 0);
        must(box.from <= box.to && box.to <= box.capacity);
    }
    frame_box_free(&box);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    uint64_t what = food_number(&food, 1) % 4;
    if (what == 0 && food.left >= FRAME_HEAD) {
        read_head(food.at);
    } else if (what == 1) {
        read_mark(food.at, food.left);
    } else if (what == 2 && food.left >= FRAME_HELLO) {
        read_hello(food.at);
    } else if (what == 3) {
        fill_box(&food);
    }
    return 0;
}
