/* SPDX-License-Identifier: MIT
 *
 * What tests of publishers and subscribers share: numbered messages, whole or not.
 */
#ifndef TESTS_CONFORM_PRESS_H
#define TESTS_CONFORM_PRESS_H

#include "tests/conform/conform.h"

struct press_item {
    uint32_t sender, number;
    char filling[56];
};

void press_publish(thirl *, uint32_t sender, uint32_t number); /* waits */
void press_check(const struct press_item *);                   /* it is as it was published */

/* What thirl_recv says; with 0 an item that is whole. */
int press_receive(thirl *, struct press_item *, thirl_time until);

/* The next one is this; nothing comes for a while. */
void press_expect(thirl *, uint32_t sender, uint32_t number);
void press_expect_nothing(thirl *);

void press_done(thirl **); /* closes it: everything was delivered */

/* Publishes from that number on until the queue is full: the first number that did not go. */
uint32_t press_fill(thirl *pub, uint32_t from);

uint32_t press_few(uint32_t usual); /* fewer, under a sanitizer */

/* Can publishers of this line wait for their subscribers? Opens a publisher with ?full=, or skips the test. */
bool press_waits(const struct conform *);
thirl *press_open_full(const struct conform *, const char *options);

/* In a peer: a subscriber that opens once the publisher is there, for one who comes first is heard of with its next call only. */
thirl *press_subscribe(const struct conform *, struct peer *stage, const char *options);

/* With the publisher open: lets so many peers subscribe, and returns when all have. */
void press_admit(struct peer *, int count);

#endif
