/* SPDX-License-Identifier: MIT
 *
 * The wire's frames and greetings: what is written is read back, every lie is refused, and the box never loses a byte.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/frame.h"
#include "wire/slip.h"

static void head_round_trip(void **state) {
    (void)state;
    const uint32_t sizes[] = {0, 1, 255, 256, 65536, FRAME_SIZE_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        unsigned char wire[FRAME_HEAD];
        struct frame_head in = {.size = sizes[i], .number = (uint16_t)(i * 13007), .type = FRAME_DATA}, out;
        frame_write_head(wire, &in);
        assert_int_equal(frame_read_head(wire, &out), 0);
        assert_int_equal(out.size, in.size);
        assert_int_equal(out.number, in.number);
        assert_int_equal(out.type, FRAME_DATA);
    }
}

static void head_layout(void **state) {
    (void)state;
    unsigned char wire[FRAME_HEAD];
    const unsigned char expected[FRAME_HEAD] = {0x78, 0x56, 0x34, 0x12, 0xcd, 0xab, 1, 0xa7};
    const struct frame_head head = {.size = 0x12345678, .number = 0xabcd, .type = FRAME_DATA};
    frame_write_head(wire, &head);
    assert_memory_equal(wire, expected, FRAME_HEAD);
}

static void head_lies(void **state) {
    (void)state;
    unsigned char wire[FRAME_HEAD];
    struct frame_head head = {.size = 5, .type = FRAME_DATA}, out;
    frame_write_head(wire, &head);
    wire[7] ^= 1;
    assert_int_equal(frame_read_head(wire, &out), -THIRL_EFORMAT);
    assert_true(strlen(thirl_why()) > 10);
    head.size = FRAME_SIZE_MAX + 1u;
    frame_write_head(wire, &head);
    assert_int_equal(frame_read_head(wire, &out), -THIRL_EFORMAT);
    head = (struct frame_head){.type = FRAME_BYE};
    frame_write_head(wire, &head);
    assert_int_equal(frame_read_head(wire, &out), 0);
    head.size = 1;
    frame_write_head(wire, &head);
    assert_int_equal(frame_read_head(wire, &out), -THIRL_EFORMAT);
    for (unsigned type = 0; type < 256; type++) {
        head = (struct frame_head){.type = (uint8_t)type};
        frame_write_head(wire, &head);
        bool known = type == FRAME_DATA || type == FRAME_BYE || type == FRAME_NOTED || type == FRAME_CUT;
        assert_int_equal(frame_read_head(wire, &out), known ? 0 : -THIRL_EFORMAT);
        head.size = FRAME_TELL;
        frame_write_head(wire, &head);
        known = type == FRAME_DATA || type == FRAME_NOTED || type == FRAME_LOST || type == FRAME_AGAIN ||
                type == FRAME_DONE || type == FRAME_BACK || type == FRAME_FIRST || type == FRAME_EVENT;
        assert_int_equal(frame_read_head(wire, &out), known ? 0 : -THIRL_EFORMAT);
    }
    unsigned char number[FRAME_TELL];
    frame_write_tell(number, UINT64_C(0x8877665544332211));
    assert_int_equal(number[0], 0x11);
    assert_true(frame_read_tell(number) == UINT64_C(0x8877665544332211));
}

static void mark_lies(void **state) {
    (void)state;
    unsigned char wire[FRAME_MARK + 5] = {0};
    struct frame_head out, head = {.size = 5, .type = FRAME_DATA};
    frame_write_mark(wire, &head);
    assert_true(frame_is_marked(wire, 8));
    assert_false(frame_is_marked(wire, 7));
    assert_int_equal(frame_read_mark(wire, sizeof(wire), &out), 0);
    assert_int_equal(out.size, 5);
    for (size_t size = 8; size < sizeof(wire); size++) {
        assert_int_equal(frame_read_mark(wire, size, &out), -THIRL_EFORMAT);
    }
    head = (struct frame_head){.size = 70000, .type = FRAME_ROOM};
    frame_write_mark(wire, &head);
    assert_int_equal(frame_read_mark(wire, FRAME_MARK, &out), 0);
    assert_int_equal(out.type, FRAME_ROOM);
    assert_int_equal(out.size, 70000);
    assert_int_equal(frame_read_mark(wire, FRAME_MARK + 1, &out), -THIRL_EFORMAT);
    wire[FRAME_MARK - 1] ^= 1;
    assert_int_equal(frame_read_mark(wire, FRAME_MARK, &out), -THIRL_EFORMAT);
}

static void hello_round_trip(void **state) {
    (void)state;
    unsigned char wire[FRAME_HELLO];
    struct frame_hello out;
    const struct frame_hello in = {.features = 0x30000,
                                   .kind = FRAME_HELLO_BUSY,
                                   .role = THIRL_WRITE,
                                   .stream = true,
                                   .code = 7004,
                                   .max = UINT64_C(1) << 40,
                                   .pid = {123, -1},
                                   .type = {.bytes = 48, .layout = UINT64_MAX, .alignment = 8, .name = "frame"}};
    frame_write_hello(wire, &in);
    assert_int_equal(frame_read_hello(wire, &out), 0);
    assert_int_equal(out.version, FRAME_VERSION);
    assert_int_equal(out.features, in.features);
    assert_memory_equal(&out.type, &in.type, sizeof in.type);
    assert_int_equal(out.kind, in.kind);
    assert_int_equal(out.role, in.role);
    assert_true(out.stream);
    assert_int_equal(out.code, in.code);
    assert_int_equal(out.max, in.max);
    assert_int_equal(out.pid[0], 123);
    assert_int_equal(out.pid[1], -1);
}

static void hello_lies(void **state) {
    (void)state;
    unsigned char good[FRAME_HELLO], wire[FRAME_HELLO];
    struct frame_hello out;
    const struct frame_hello in = {.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR};
    frame_write_hello(good, &in);
    for (int i = 0; i < 8; i++) {
        memcpy(wire, good, sizeof(wire));
        wire[i] ^= 0x20;
        assert_int_equal(frame_read_hello(wire, &out), -THIRL_EFORMAT);
    }
    const struct {
        int at;
        unsigned char value;
        int answer;
    } lies[] = {{8, 9, -THIRL_EVERSION},
                {9, 1, -THIRL_EVERSION},
                {12, 4, -THIRL_EVERSION},
                {14, 1, 0},
                {12, 1, 0},
                {10, 63, -THIRL_EFORMAT},
                {16, 0, -THIRL_EFORMAT},
                {16, 5, -THIRL_EFORMAT},
                {18, 2, -THIRL_EFORMAT},
                {67, 1, -THIRL_EFORMAT},
                {68, 1, -THIRL_EFORMAT},
                {68, 'a', 0},
                {23, 0x80, -THIRL_EFORMAT}};
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        memcpy(wire, good, sizeof(wire));
        wire[lies[i].at] = lies[i].value;
        assert_int_equal(frame_read_hello(wire, &out), lies[i].answer);
    }
    wire[8] = 9;
    assert_int_equal(frame_read_hello(wire, &out), -THIRL_EVERSION);
    assert_non_null(strstr(thirl_why(), "version 9"));
    assert_non_null(strstr(thirl_why(), "version 2"));
}

static void noise(void **state) {
    (void)state;
    unsigned char wire[FRAME_HELLO];
    struct frame_hello hello;
    struct frame_head head;
    srand(7);
    for (int round = 0; round < 100000; round++) {
        for (size_t i = 0; i < sizeof(wire); i++) {
            wire[i] = (unsigned char)rand();
        }
        assert_int_equal(frame_read_hello(wire, &hello), -THIRL_EFORMAT);
        int rc = frame_read_head(wire, &head);
        assert_true(rc == -THIRL_EFORMAT || (rc == 0 && head.size <= FRAME_SIZE_MAX));
    }
}

static void roles(void **state) {
    (void)state;
    static const uint32_t fits[][2] = {
        {THIRL_PAIR, THIRL_PAIR},    {THIRL_WRITE, THIRL_READ}, {THIRL_READ, THIRL_WRITE}, {THIRL_PUSH, THIRL_PULL},
        {THIRL_PULL, THIRL_PUSH},    {THIRL_PUB, THIRL_SUB},    {THIRL_SUB, THIRL_PUB},    {THIRL_NOTIFY, THIRL_WATCH},
        {THIRL_WATCH, THIRL_NOTIFY}, {THIRL_CALL, THIRL_SERVE}, {THIRL_SERVE, THIRL_CALL}};
    for (uint32_t a = 0; a < 14; a++) {
        for (uint32_t b = 0; b < 14; b++) {
            bool fit = false;
            for (size_t i = 0; i < sizeof fits / sizeof *fits; i++) {
                fit = fit || (fits[i][0] == a && fits[i][1] == b);
            }
            assert_int_equal(frame_match_roles(a, b), fit ? 0 : -THIRL_EROLE);
        }
    }
    for (uint32_t own = 0; own < 2; own++) {
        for (uint32_t other = 0; other < 2; other++) {
            int rc = frame_match_features(own * FRAME_CRC | 0x10000, other * FRAME_CRC);
            assert_int_equal(rc, own == other ? 0 : -THIRL_EROLE);
            assert_true(own == other || strstr(thirl_why(), own != 0 ? "without a CRC" : "with a CRC") != NULL);
            rc = frame_match_features(own * FRAME_TIME | FRAME_CRC, other * FRAME_TIME | FRAME_CRC);
            assert_int_equal(rc, own == other ? 0 : -THIRL_EROLE);
            assert_true(own == other || strstr(thirl_why(), own != 0 ? "never grow old" : "?lifespan") != NULL);
        }
    }
    (void)frame_match_roles(THIRL_PAIR, THIRL_READ);
    assert_non_null(strstr(thirl_why(), "pair"));
    assert_non_null(strstr(thirl_why(), "read"));
}

static void box_keeps_order(void **state) {
    (void)state;
    struct frame_box box = {0};
    unsigned char in = 0, out = 0;
    srand(3);
    for (int round = 0; round < 20000; round++) {
        size_t size = (size_t)(rand() % 300);
        assert_int_equal(frame_box_room(&box, size), 0);
        assert_true(box.capacity - box.to >= size);
        for (size_t i = 0; i < size; i++) {
            box.data[box.to++] = in++;
        }
        size_t held = frame_box_held(&box);
        size_t drop = held ? (size_t)rand() % (held + 1) : 0;
        for (size_t i = 0; i < drop; i++) {
            assert_int_equal(box.data[box.from + i], out++);
        }
        frame_box_drop(&box, drop);
    }
    assert_true(box.capacity < 65536);
    frame_box_free(&box);
    assert_null(box.data);
}

static size_t put(struct frame_box *box, uint32_t size, uint8_t type) {
    const struct frame_head head = {.size = size, .type = type};
    assert_int_equal(frame_box_room(box, FRAME_HEAD + size), 0);
    frame_write_head(box->data + box->to, &head);
    memset(box->data + box->to + FRAME_HEAD, FRAME_BYE, size); /* must not be taken for a head */
    box->to += FRAME_HEAD + size;
    return FRAME_HEAD + size;
}

static void box_ends(void **state) {
    (void)state;
    struct frame_box box = {0};
    assert_false(frame_box_ends(&box, 0, false));
    size_t first = put(&box, 40, FRAME_DATA);
    (void)put(&box, 0, FRAME_DATA);
    (void)put(&box, 17, FRAME_DATA);
    assert_false(frame_box_ends(&box, 0, false));
    (void)put(&box, 0, FRAME_BYE);
    assert_int_equal(frame_box_ends(&box, 0, false), FRAME_BYE);
    box.data[box.to - 2] = FRAME_CUT;
    assert_int_equal(frame_box_ends(&box, 0, false), FRAME_CUT);
    box.data[box.to - FRAME_HEAD] = 1; /* with bytes of its own it is none */
    assert_int_equal(frame_box_ends(&box, 0, false), 0);
    box.data[box.to - FRAME_HEAD] = 0;
    box.data[box.to - 2] = FRAME_BYE;
    frame_box_drop(&box, FRAME_HEAD + 10); /* in the midst of the first payload */
    assert_true(frame_box_ends(&box, first - FRAME_HEAD - 10, false));
    assert_false(frame_box_ends(&box, 3, false));
    assert_false(frame_box_ends(&box, 100000, false));
    box.to--;
    assert_false(frame_box_ends(&box, first - FRAME_HEAD - 10, false));
    frame_box_free(&box);
}

/* Between a head and a large payload there is more, unless it came as a packet. */
static void box_ends_behind_large(void **state) {
    (void)state;
    assert_int_equal(frame_ahead(FRAME_LARGE - 1), FRAME_HEAD);
    assert_int_equal(frame_ahead(FRAME_LARGE), FRAME_WIDE);
    for (int packets = 0; packets < 2; packets++) {
        struct frame_box box = {0};
        (void)put(&box, FRAME_LARGE, FRAME_DATA);
        size_t between = packets ? 0 : FRAME_WIDE - FRAME_HEAD;
        assert_int_equal(frame_box_room(&box, between), 0);
        memset(box.data + box.to, FRAME_LAST, between);
        box.to += between;
        (void)put(&box, 0, FRAME_BYE);
        assert_int_equal(frame_box_ends(&box, 0, packets), FRAME_BYE);
        assert_int_equal(frame_box_ends(&box, 0, !packets), 0);
        frame_box_free(&box);
    }
}

/* What is late has no time left, and not no deadline. */
static void a_late_call_has_no_time_left(void **state) {
    (void)state;
    const int64_t left[] = {-1, INT64_MIN, 0, 15, 16, INT64_MAX}, read[] = {0, 0, 0, 0, 16, INT64_MAX};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        unsigned char message[8 + SLIP + SLIP_CRC] = "payload";
        const struct slip in = {.call = 7 + i, .left = left[i], .kind = 3, .again = i % 2 == 0};
        struct slip out;
        size_t size = sizeof message;
        slip_write(message, 8, &in, true);
        assert_int_equal(slip_read(message, &size, &out, true), 0);
        assert_true(size == 8 && out.left == read[i]);
        assert_true(out.call == in.call && out.kind == in.kind && out.again == in.again);
    }
}

/* Nor has one of which a peer says that it is later than late. */
static void a_slip_that_lies_has_no_time_left(void **state) {
    (void)state;
    unsigned char message[SLIP] = "";
    const struct slip in = {.call = 7, .left = 1600};
    struct slip out;
    size_t size = sizeof message;
    slip_write(message, 0, &in, false);
    message[SLIP - 1] |= 0x80;
    assert_int_equal(slip_read(message, &size, &out, false), 0);
    assert_true(size == 0 && out.call == 7 && out.left == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_round_trip),
        cmocka_unit_test(head_layout),
        cmocka_unit_test(head_lies),
        cmocka_unit_test(hello_round_trip),
        cmocka_unit_test(hello_lies),
        cmocka_unit_test(noise),
        cmocka_unit_test(roles),
        cmocka_unit_test(box_keeps_order),
        cmocka_unit_test(box_ends),
        cmocka_unit_test(box_ends_behind_large),
        cmocka_unit_test(mark_lies),
        cmocka_unit_test(a_late_call_has_no_time_left),
        cmocka_unit_test(a_slip_that_lies_has_no_time_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
