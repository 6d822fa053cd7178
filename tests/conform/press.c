/* SPDX-License-Identifier: MIT
 *
 * What tests of publishers share, see press.h.
 */
#include "tests/conform/press.h"

#include "tests/conform/stock.h"

void press_publish(thirl *end, uint32_t sender, uint32_t number) {
    struct press_item item = {.sender = sender, .number = number};
    conform_fill(item.filling, sizeof item.filling, sender * 100000 + number);
    must_be(thirl_send(end, &item, sizeof item, PATIENCE), 0);
}

void press_check(const struct press_item *item) {
    must(conform_intact(item->filling, sizeof item->filling, item->sender * 100000 + item->number));
}

/* What thirl_recv says; with 0 an item that is whole. */
int press_receive(thirl *end, struct press_item *item, thirl_time until) {
    size_t size = 0;
    int rc = thirl_recv(end, item, sizeof *item, &size, until);
    if (rc == 0) {
        must_be(size, sizeof *item);
        press_check(item);
    }
    return rc;
}

void press_expect(thirl *end, uint32_t sender, uint32_t number) {
    struct press_item item;
    must_be(press_receive(end, &item, PATIENCE), 0);
    must_be(item.sender, sender);
    must_be(item.number, number);
}

void press_expect_nothing(thirl *end) {
    struct press_item item;
    must_be(press_receive(end, &item, thirl_in_ms(20)), -ETIMEDOUT);
}

void press_done(thirl **end) {
    must_be(thirl_close(end, PATIENCE), 0);
}

uint32_t press_few(uint32_t usual) {
    return conform_sanitized() ? usual / 10 : usual;
}

bool press_waits(const struct conform *c) {
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PUB, conform_address(c, 9, "full=block"), NULL);
    if (rc == 0) {
        must_be(thirl_close(&end, THIRL_NOW), 0);
    }
    return rc == 0;
}

thirl *press_open_full(const struct conform *c, const char *options) {
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PUB, conform_address(c, 0, options), NULL);
    stock_need(rc != -EOPNOTSUPP, "it does not know this ?full=");
    must_be(rc, 0);
    return end;
}

uint32_t press_fill(thirl *pub, uint32_t from) {
    struct press_item item = {.sender = 1};
    uint32_t i = from;
    for (;; i++) {
        item.number = i;
        conform_fill(item.filling, sizeof item.filling, 100000 + i);
        int rc = thirl_send(pub, &item, sizeof item, thirl_in_ms(5));
        if (rc != 0) {
            must(rc == -ETIMEDOUT || rc == -EAGAIN);
            return i;
        }
        must(i < from + 1000000);
    }
}

thirl *press_subscribe(const struct conform *c, struct peer *stage, const char *options) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_SUB, options);
    conform_tell(stage, 0);
    return end;
}

void press_admit(struct peer *peer, int count) {
    for (int i = 0; i < count; i++) {
        conform_tell(&peer[i], 0);
    }
    for (int i = 0; i < count; i++) {
        conform_hear(&peer[i]);
    }
}
