/* SPDX-License-Identifier: MIT
 *
 * What lies behind the messages of calls, with its CRC and without. What is accepted is written back as it came.
 */
#include "tests/fuzz/fuzz.h"
#include "wire/slip.h"

#define MAX 4096

static void read_one(const uint8_t *message, size_t size, bool crc) {
    struct slip slip;
    size_t payload = size;
    int rc = slip_read(message, &payload, &slip, crc);
    must(rc == 0 || rc == -THIRL_EFORMAT);
    if (fuzz_answer(rc) != 0) {
        must(payload == size);
        return;
    }
    must(payload + slip_size(crc) == size && slip.kind < 8 && slip.left >= 0);
    unsigned char again[MAX];
    struct slip same;
    if (size <= sizeof again) {
        memcpy(again, message, payload);
        slip_write(again, payload, &slip, crc);
        must(slip_read(again, &size, &same, crc) == 0);
        must(size == payload && same.call == slip.call && same.kind == slip.kind && same.again == slip.again &&
             same.left == slip.left);
    }
}

/* An honest one with one bit turned is found out where there is a CRC. */
static void damage(struct food *food) {
    unsigned char message[256 + SLIP + SLIP_CRC];
    struct slip slip = {.call = food_number(food, 8), .left = (int64_t)(food_number(food, 8) >> 1)};
    slip.kind = food_number(food, 1) & 7;
    uint64_t bit = food_number(food, 2);
    size_t size;
    const uint8_t *from = food_bytes(food, 256, &size);
    memcpy(message, from, size);
    slip_write(message, size, &slip, true);
    size_t whole = size + slip_size(true), payload = whole;
    must(slip_read(message, &payload, &slip, true) == 0 && payload == size);
    message[bit / 8 % whole] ^= (unsigned char)(1u << bit % 8);
    must(fuzz_answer(slip_read(message, &whole, &slip, true)) == -THIRL_EFORMAT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    uint64_t what = food_number(&food, 1) % 3;
    if (what == 2) {
        damage(&food);
    } else {
        read_one(food.at, food.left, what == 1);
    }
    return 0;
}
