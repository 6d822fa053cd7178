/* SPDX-License-Identifier: MIT
 *
 * Large messages that say which they are, see large.h.
 */
#include "tests/large.h"

#include <stdio.h>
#include <string.h>

#define EACH 512
#define FACTOR UINT64_C(1000003)

void large_fill(void *data, size_t size, uint64_t number) {
    for (size_t i = 0; i + 8 <= size; i += EACH) {
        memcpy((char *)data + i, &(uint64_t){number * FACTOR + i}, 8);
    }
}

bool large_intact(const void *data, size_t size, uint64_t number) {
    for (size_t i = 0; i + 8 <= size; i += EACH) {
        if (memcmp((const char *)data + i, &(uint64_t){number * FACTOR + i}, 8) != 0) return false;
    }
    return true;
}

uint64_t large_number(const void *data) {
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word / FACTOR;
}

int large_put(thirl *end, size_t size, uint64_t number, thirl_time until) {
    thirl_msg *msg;
    int rc = thirl_loan(end, &msg, size, until);
    if (rc != 0) return rc;
    large_fill(thirl_msg_data(msg), size, number);
    return thirl_put(end, &msg, until);
}

bool large_take(thirl *end, thirl_msg **msg, size_t size, uint64_t number) {
    return thirl_take(end, msg, LARGE_SOON) == 0 && thirl_msg_size(*msg) == size &&
           large_intact(thirl_msg_data(*msg), size, number);
}

thirl *large_open(const char *address, enum thirl_role role, const char *options) {
    char whole[200];
    thirl *end = NULL;
    (void)snprintf(whole, sizeof whole, "%s%s", address, options);
    if (thirl_open(&end, role, whole, NULL) != 0) (void)fprintf(stderr, "%s\n", thirl_why());
    return end;
}

static int add_left(void *context, const struct thirl_left *left) {
    struct thirl_left *sum = context;
    sum->messages += left->messages;
    sum->bytes += left->bytes;
    return 0;
}

struct thirl_left large_left(void) {
    struct thirl_left sum = {0};
    return thirl_left(add_left, &sum) == 0 ? sum : (struct thirl_left){.messages = UINT64_MAX};
}
