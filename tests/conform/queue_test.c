/* SPDX-License-Identifier: MIT
 *
 * Queues: every message arrives whole and in its turn; a full one waits; what waits is kept where that is claimed, listed, and
 * removed on demand. Raw ends speak to programs that know nothing of thirl.
 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/conform/conform.h"
#include "tests/conform/stock.h"

static const size_t sizes[] = {0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, 65536, 1 << 20};
#define SIZES (sizeof sizes / sizeof *sizes)

/* ---- messages ---- */

static void push_sizes(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    for (size_t i = 0; i < SIZES; i++) {
        if (sizes[i] <= conform_limits(end).message_max) {
            conform_send(end, sizes[i], i);
        }
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void queues_every_size(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, push_sizes);
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    conform_tell(&peer, 0);
    struct thirl_limits limits = conform_limits(end);
    for (size_t i = 0; i < SIZES; i++) {
        if (sizes[i] <= limits.message_max) {
            conform_recv(end, sizes[i], i);
        }
    }
    stock_ends(end, c);
    must(stock_meets(c) || strstr(thirl_why(), "nothing arrived") != NULL);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void push_odd_ones(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    conform_send(end, 100, 1);
    conform_send(end, conform_limits(end).message_max < 50000 ? 1000 : 50000, 2);
    conform_send(end, 0, 3);
    conform_send(end, 10, 4);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void queue_keeps_what_does_not_fit(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, push_odd_ones);
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    conform_tell(&peer, 0);
    char small[99];
    size_t size = 0, large = conform_limits(end).message_max < 50000 ? 1000 : 50000;
    must_be(thirl_recv(end, small, sizeof small, &size, PATIENCE), -EMSGSIZE);
    must_be(size, 100);
    struct pollfd polled = {.fd = thirl_fd(end), .events = POLLIN};
    must(polled.fd >= 0);
    must_be(poll(&polled, 1, 0), 1);
    must_be(at_once(c, thirl_recv(end, NULL, 0, &size, THIRL_NOW)), -EMSGSIZE);
    must_be(size, 100);
    conform_recv(end, 100, 1);
    must_be(thirl_recv(end, small, sizeof small, &size, PATIENCE), -EMSGSIZE);
    must_be(size, large);
    thirl_msg *msg = NULL;
    must_be(thirl_take(end, &msg, PATIENCE), 0);
    must_be(thirl_msg_size(msg), large);
    must(conform_intact(thirl_msg_data(msg), large, 2));
    thirl_free(&msg);
    size = 5;
    must_be(thirl_recv(end, NULL, 0, &size, PATIENCE), 0);
    must_be(size, 0);
    must_be(thirl_take(end, &msg, PATIENCE), 0);
    must_be(thirl_msg_size(msg), 10);
    must(conform_intact(thirl_msg_data(msg), 10, 4));
    thirl_free(&msg);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* Three at a time are in the hands of one worker, as large as can be. */
#define HELD 3
#define ROUNDS 12

static size_t large_for(thirl *end) {
    uint64_t most = conform_limits(end).message_max;
    return most < 200000 ? (size_t)most : 200000;
}

static void push_large_ones(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    size_t size = large_for(end);
    conform_tell(stage, size);
    for (uint64_t i = 0; i < ROUNDS * HELD; i++) {
        thirl_msg *msg = NULL;
        must_be(thirl_loan(end, &msg, size, PATIENCE), 0);
        conform_fill(thirl_msg_data(msg), size, i);
        must_be(thirl_put(end, &msg, PATIENCE), 0);
        if (i % HELD == HELD - 1) {
            conform_hear(stage);
        }
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void jobs_are_held_in_any_order(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, push_large_ones);
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    conform_tell(&peer, 0);
    size_t size = conform_hear(&peer);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        thirl_msg *held[HELD] = {NULL};
        for (uint64_t i = 0; i < HELD; i++) {
            must_be(thirl_take(end, &held[i], PATIENCE), 0);
            must_be(thirl_msg_size(held[i]), size);
        }
        for (uint64_t i = 0; i < HELD; i++) {
            uint64_t which = (i * 2 + round) % HELD;
            must(conform_intact(thirl_msg_data(held[which]), size, round * HELD + which));
            must_be(thirl_done(&held[which]), 0);
        }
        conform_tell(&peer, 0);
    }
    if (stock_meets(c)) {
        stock_ends(end, c); /* the last is finished when it asks again */
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void queue_refuses_one_byte_more(struct conform *c) {
    stock_need(!stock_meets(c), "the sender knows what the receiver takes");
    thirl *in = conform_open(c, THIRL_PULL, "max=5000"), *out = conform_open(c, THIRL_PUSH, "max=5000");
    static char data[5001];
    must_be(conform_limits(out).message_max, 5000);
    must_be(thirl_send(out, data, 5001, PATIENCE), -EMSGSIZE);
    must_say("5000");
    thirl_msg *msg = NULL;
    must_be(thirl_loan(out, &msg, 5001, PATIENCE), -EMSGSIZE);
    conform_send(out, 5000, 1);
    conform_recv(in, 5000, 1);
    must_be(thirl_recv(out, data, 1, NULL, THIRL_NOW), -THIRL_EROLE);
    must_be(thirl_send(in, data, 1, THIRL_NOW), -THIRL_EROLE);
    must_be(thirl_close(&out, PATIENCE), 0);
    /* What a sender may send, and this receiver does not take, is an error there and no more than that. */
    out = conform_open(c, THIRL_PUSH, NULL);
    conform_send(out, 5001, 2);
    conform_send(out, 7, 3);
    size_t size = 0;
    must_be(thirl_recv(in, data, sizeof data, &size, PATIENCE), -THIRL_EFORMAT);
    must_say("?max");
    conform_recv(in, 7, 3);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

/* ---- waiting ---- */

static void full_queue_waits(struct conform *c) {
    stock_need(!stock_meets(c), "a receiver has only a few at once, and the last is finished when it asks again");
    thirl *in = conform_open(c, THIRL_PULL, NULL), *out = conform_open(c, THIRL_PUSH, NULL);
    stock_need(conform_limits(out).reliable, "drops when it is full");
    static char data[4000];
    uint64_t count = 0;
    int rc;
    for (;; count++) {
        conform_fill(data, sizeof data, count);
        if ((rc = at_once(c, thirl_send(out, data, sizeof data, THIRL_NOW))) != 0) {
            break;
        }
        must(count < 100000);
    }
    must_be(rc, -EAGAIN);
    must(count > 0);
    int64_t before = conform_now();
    must_be(thirl_send(out, data, sizeof data, thirl_in_ms(80)), -ETIMEDOUT);
    must_say("full");
    must(conform_now() - before >= 79 * MS && conform_now() - before < 3000 * MS);
    struct pollfd polled = {.fd = thirl_fd(out), .events = POLLIN};
    for (uint64_t i = 0; i < count; i++) {
        conform_recv(in, sizeof data, i);
    }
    must_be(poll(&polled, 1, 5000), 1);
    before = conform_now();
    must_be(thirl_recv(in, data, sizeof data, NULL, thirl_in_ms(80)), -ETIMEDOUT);
    must(conform_now() - before >= 79 * MS && conform_now() - before < 3000 * MS);
    conform_send(out, 5, 77);
    conform_recv(in, 5, 77);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

/* A message that is partly on its way when the deadline comes leaves whole. */
static void half_a_message_is_finished(struct conform *c) {
    stock_need(!stock_meets(c), "the last message is finished when the receiver asks again");
    thirl *in = conform_open(c, THIRL_PULL, NULL), *out = conform_open(c, THIRL_PUSH, NULL);
    struct thirl_limits limits = conform_limits(out);
    stock_need(limits.message_max > limits.atomic_max && limits.reliable, "messages are never cut");
    size_t size = (size_t)limits.queue * 3;
    char *data = malloc(size);
    must(data != NULL);
    conform_fill(data, size, 1);
    must_be(thirl_send(out, data, size, thirl_in_ms(60)), 0); /* its rest is kept by the end */
    must_be(thirl_send(out, "x", 1, THIRL_NOW), -EAGAIN);
    must_be(thirl_recv(in, data, 0, NULL, THIRL_NOW), -EAGAIN);
    size_t got = 0;
    int sent = -EAGAIN, rc = -EAGAIN;
    for (int64_t until = conform_now() + 20000 * MS; (sent != 0 || rc != 0) && conform_now() < until;) {
        sent = sent == 0 ? 0 : thirl_send(out, "yz", 2, THIRL_NOW);
        rc = rc == 0 ? 0 : thirl_recv(in, data, size, &got, THIRL_NOW);
    }
    must_be(sent, 0);
    must_be(rc, 0);
    must_be(got, size);
    must(conform_intact(data, size, 1));
    must_be(thirl_recv(in, data, size, &got, PATIENCE), 0);
    must_be(got, 2);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
    free(data);
}

static void push_on_word(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    for (uint64_t size; (size = conform_hear(stage)) != 0;) {
        conform_send(end, size, size);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void descriptor_wakes_a_receiver(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, push_on_word);
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    stock_need(conform_limits(end).pollable, "no descriptor");
    struct pollfd polled = {.fd = thirl_fd(end), .events = POLLIN};
    must(polled.fd >= 0);
    size_t large = conform_limits(end).message_max < 40000 ? 1000 : 40000;
    for (uint64_t i = 0; i < 20; i++) {
        size_t size = i % 5 == 4 ? large : 10 + i;
        conform_tell(&peer, size);
        char *data = malloc(size);
        size_t got = 0;
        int rc = -EAGAIN;
        for (int64_t until = conform_now() + 10000 * MS; rc == -EAGAIN && conform_now() < until;) {
            must_be(poll(&polled, 1, 10000), 1);
            rc = thirl_recv(end, data, size, &got, THIRL_NOW);
        }
        must_be(rc, 0);
        must_be(got, size);
        must(conform_intact(data, size, size));
        free(data);
    }
    conform_tell(&peer, 0);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* ---- priorities ---- */

static void push_priority(thirl *end, uint32_t priority, size_t size) {
    thirl_msg *msg = NULL;
    must_be(thirl_loan(end, &msg, size, PATIENCE), 0);
    must_be(thirl_msg_set_priority(msg, priority), 0);
    conform_fill(thirl_msg_data(msg), size, priority);
    must_be(thirl_put(end, &msg, PATIENCE), 0);
}

static void pull_priority(thirl *end, uint32_t priority, size_t size) {
    thirl_msg *msg = NULL;
    must_be(thirl_take(end, &msg, PATIENCE), 0);
    must_be(thirl_msg_priority(msg), priority);
    must_be(thirl_msg_size(msg), size);
    must(conform_intact(thirl_msg_data(msg), size, priority));
    thirl_free(&msg);
}

static void highest_priority_first(struct conform *c, const char *options) {
    thirl *in = conform_open(c, THIRL_PULL, options), *out = conform_open(c, THIRL_PUSH, options);
    uint32_t levels = conform_limits(out).priorities;
    thirl_msg *msg = NULL;
    must(levels >= 1);
    if (levels == 1) {
        must_be(thirl_loan(out, &msg, 1, PATIENCE), 0);
        must_be(thirl_msg_set_priority(msg, 1), -EOPNOTSUPP);
        thirl_free(&msg);
        conform_skip("all messages are equal there, and it says so");
    }
    must_be(thirl_loan(out, &msg, 1, PATIENCE), 0);
    must_be(thirl_msg_set_priority(msg, levels), -EINVAL);
    must_say("highest");
    thirl_free(&msg);
    push_priority(out, 0, 10);
    push_priority(out, 1, 11);
    push_priority(out, levels - 1, 12);
    push_priority(out, 0, 13);
    push_priority(out, 1, 14);
    pull_priority(in, levels - 1, 12);
    pull_priority(in, 1, 11);
    pull_priority(in, 1, 14);
    pull_priority(in, 0, 10);
    pull_priority(in, 0, 13);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

static void priorities_hold(struct conform *c) {
    highest_priority_first(c, NULL);
}

static void urgent_overtakes_a_large_one(struct conform *c) {
    thirl *in = conform_open(c, THIRL_PULL, NULL), *out = conform_open(c, THIRL_PUSH, NULL);
    struct thirl_limits limits = conform_limits(out);
    stock_need(limits.priorities > 1 && limits.message_max > limits.atomic_max,
               "no priorities, or messages are never cut");
    size_t large = (size_t)limits.atomic_max + 1;
    push_priority(out, 1, large);
    push_priority(out, 2, large);
    push_priority(out, 3, 8);
    pull_priority(in, 3, 8);
    pull_priority(in, 2, large);
    pull_priority(in, 1, large);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

/* ---- what is kept ---- */

static void push_and_go(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    for (uint64_t i = 0; i < 5; i++) {
        conform_send(end, 100 + i, i);
    }
    conform_tell(stage, 0);
    if (conform_hear(stage) == 0) {
        must_be(thirl_close(&end, PATIENCE), 0);
        conform_tell(stage, 0);
    } else {
        (void)pause();
    }
}

static void receiver_may_come_later(struct conform *c) {
    stock_need(stock_keeps(c), "messages are not kept");
    for (uint64_t killed = 0; killed < 2; killed++) {
        struct peer peer;
        conform_start(&peer, c, push_and_go);
        conform_hear(&peer);
        conform_tell(&peer, killed);
        if (killed) {
            conform_kill(&peer);
        } else {
            conform_hear(&peer);
            conform_join(&peer);
        }
        if (killed == 0) {
            stock_need(stock_left().count != 0, "messages are not kept");
        }
        struct stock_left found = stock_left();
        must_be(found.count, 1);
        must_be(found.messages, 5);
        must_be(found.ends, 0);
        thirl *end = conform_open(c, THIRL_PULL, NULL);
        must_be(stock_left().ends, 1);
        must_be(thirl_clean(found.address), -EBUSY);
        for (uint64_t i = 0; i < 5; i++) {
            conform_recv(end, 100 + i, i);
        }
        must_be(thirl_close(&end, PATIENCE), 0);
        must_be(stock_left().count, 0);
    }
}

static void leftovers_are_removed_on_demand(struct conform *c) {
    stock_need(stock_keeps(c), "messages are not kept");
    struct peer peer;
    conform_start(&peer, c, push_and_go);
    conform_hear(&peer);
    conform_tell(&peer, 1);
    conform_kill(&peer);
    stock_need(stock_left().count != 0, "messages are not kept");
    /* Ends of other channels come and go, and sweep: what has messages stays. */
    thirl *other = NULL;
    must_be(thirl_open(&other, THIRL_PULL, conform_address(c, 1, NULL), NULL), 0);
    must_be(thirl_close(&other, PATIENCE), 0);
    struct stock_left found = stock_left();
    must_be(found.count, 1);
    must_be(found.messages, 5);
    must_be(thirl_clean("mq://something-else"), -ENOENT);
    must_be(thirl_clean(found.address), 5);
    must_be(stock_left().count, 0);
    must_be(thirl_clean(found.address), -ENOENT);
    must_say("left nothing");
    must(stock_is_kept(c));
    must_be(conform_lines_of(c->registry) > 0, true);
}

/* ---- raw ---- */

static void raw_ends_carry_packets(struct conform *c) {
    thirl *in = NULL;
    int rc = thirl_open(&in, THIRL_PULL, conform_address(c, 0, "raw"), NULL);
    stock_need(rc != -EOPNOTSUPP, "no raw form");
    must_be(rc, 0);
    thirl *out = conform_open(c, THIRL_PUSH, "raw");
    struct thirl_limits limits = conform_limits(out);
    must_be(limits.raw, 1);
    must_be(limits.message_max, limits.atomic_max);
    conform_send(out, 0, 1);
    conform_recv(in, 0, 1);
    conform_send(out, (size_t)limits.message_max, 2);
    conform_recv(in, (size_t)limits.message_max, 2);
    char *data = calloc(1, (size_t)limits.message_max + 1);
    must(data != NULL);
    must_be(thirl_send(out, data, (size_t)limits.message_max + 1, PATIENCE), -EMSGSIZE);
    must(strlen(thirl_why()) > 60); /* the limit, and how to raise it */
    conform_send(out, 100, 3);
    size_t got = 0;
    must_be(thirl_recv(in, data, 99, &got, PATIENCE), -EMSGSIZE);
    must_be(got, 100);
    conform_recv(in, 100, 3);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
    free(data);
    struct stock_left found = stock_left();
    if (found.count != 0) {
        must_be(thirl_clean(found.address), 0);
        must_be(stock_left().count, 0);
    }
}

static void raw_priorities_hold(struct conform *c) {
    stock_need(conform_claims(c).raw, "no raw form");
    highest_priority_first(c, "raw");
    struct stock_left found = stock_left();
    must(found.count == 0 || thirl_clean(found.address) == 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(queues_every_size, CONFORM_QUEUE),
        CONFORM_FOR(queue_keeps_what_does_not_fit, CONFORM_QUEUE),
        CONFORM_FOR(jobs_are_held_in_any_order, CONFORM_QUEUE),
        CONFORM_FOR(queue_refuses_one_byte_more, CONFORM_QUEUE),
        CONFORM_FOR(full_queue_waits, CONFORM_QUEUE),
        CONFORM_FOR(half_a_message_is_finished, CONFORM_QUEUE),
        CONFORM_FOR(descriptor_wakes_a_receiver, CONFORM_QUEUE),
        CONFORM_FOR(priorities_hold, CONFORM_QUEUE),
        CONFORM_FOR(urgent_overtakes_a_large_one, CONFORM_QUEUE),
        CONFORM_FOR(receiver_may_come_later, CONFORM_QUEUE),
        CONFORM_FOR(leftovers_are_removed_on_demand, CONFORM_QUEUE),
        CONFORM_FOR(raw_ends_carry_packets, CONFORM_QUEUE),
        CONFORM_FOR(raw_priorities_hold, CONFORM_QUEUE),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
