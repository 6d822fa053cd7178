/* SPDX-License-Identifier: MIT
 *
 * Addresses and the options in them; and options as a program of another version may set them.
 */
#include <errno.h>

#include "tests/fuzz/fuzz.h"
#include "wire/addr.h"

static void check(const struct addr *addr, const char *text) {
    must(addr->scheme_length > 0 && addr->scheme_length < strlen(text));
    must(memcmp(text + addr->scheme_length, "://", 3) == 0);
    must(strlen(addr->rest) < ADDR_MAX);
    must(addr->options.size == sizeof addr->options);
    must(addr->options.wait <= THIRL_WAIT_SLEEP && addr->options.mode <= 0777);
    must(addr->options.type <= THIRL_DATAGRAM && addr->options.raw <= 1);
    must(addr->options.spy == NULL || strlen(addr->options.spy) < ADDR_MAX);
    must(addr->options.hurt == NULL || strlen(addr->options.hurt) < ADDR_MAX);
    must(addr->options.descriptors <= THIRL_DESCRIPTORS_MAX && addr->options.timeout >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    union {
        struct thirl_options options;
        char bytes[sizeof(struct thirl_options) + 16];
    } given = {.options = THIRL_OPTIONS};
    struct addr addr;
    size_t some;
    bool with_options = (food_number(&food, 1) & 1) != 0;
    if (with_options) {
        const uint8_t *from = food_bytes(&food, sizeof given, &some);
        memcpy(given.bytes, from, some);
        given.options.size = given.options.size > sizeof given ? sizeof given : given.options.size;
        given.options.spy = given.options.spy == NULL ? NULL : "/dev/null"; /* pointers are the program's own */
        given.options.hurt = given.options.hurt == NULL ? NULL : "7:loss";
    }
    char *text = malloc(food.left + 1);
    must(text != NULL);
    memcpy(text, food.at, food.left);
    text[food.left] = '\0';
    int rc = addr_parse(&addr, text, with_options ? &given.options : NULL);
    must(rc == 0 || rc == -THIRL_EADDRESS || rc == -EINVAL || rc == -THIRL_EVERSION);
    if (fuzz_answer(rc) == 0) {
        check(&addr, text);
    }
    free(text);
    return 0;
}
