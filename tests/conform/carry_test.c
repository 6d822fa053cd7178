/* SPDX-License-Identifier: MIT
 *
 * Messages arrive: whole, unchanged, once, in order; and what is too large or comes too early is said.
 */
#define _GNU_SOURCE
#include <stdlib.h>

#include "tests/conform/conform.h"

static const size_t sizes[] = {0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, 65536, 1 << 20};
#define SIZES (sizeof sizes / sizeof *sizes)

#define LARGE ((uint64_t)4 << 20)

static size_t largest(thirl *end) {
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(end, &limits), 0);
    return (size_t)(limits.message_max < LARGE ? limits.message_max : LARGE);
}

static void answer_sizes(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, "queue=8M");
    for (size_t i = 0; i < SIZES; i++) {
        if (sizes[i] <= largest(end)) {
            conform_recv(end, sizes[i], i);
            conform_send(end, sizes[i], i + 100);
        }
    }
    conform_recv(end, conform_hear(stage), 1000);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void sends_every_size(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, answer_sizes);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=8M");
    conform_send(end, sizes[0], 0); /* now the peer is there, and the limits are those of the two */
    conform_recv(end, sizes[0], 100);
    for (size_t i = 1; i < SIZES; i++) {
        if (sizes[i] <= largest(end)) {
            conform_send(end, sizes[i], i);
            conform_recv(end, sizes[i], i + 100);
        }
    }
    conform_tell(&peer, largest(end));
    conform_send(end, largest(end), 1000);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void refuse_none(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, "max=60000&queue=256K");
    conform_send(end, 1, 1);
    conform_recv(end, 60000, 2);
    conform_recv(end, 5, 3);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void refuses_one_byte_more(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, refuse_none);
    thirl *end = conform_open(c, THIRL_PAIR, "max=60000&queue=256K");
    struct thirl_limits limits = {.size = sizeof limits};
    static char data[60001];
    thirl_msg *msg = (thirl_msg *)data;
    conform_fill(data, 60000, 2);
    conform_recv(end, 1, 1);
    must_be(thirl_limits(end, &limits), 0);
    must_be(limits.message_max, 60000);
    must_be(thirl_send(end, data, 60001, PATIENCE), -EMSGSIZE);
    must_say("60000");
    must_be(at_once(c, thirl_send(end, data, 60001, THIRL_NOW)), -EMSGSIZE);
    must_be(thirl_loan(end, &msg, 60001, PATIENCE), -EMSGSIZE);
    must(msg == NULL);
    must_be(thirl_send(end, data, 60000, PATIENCE), 0);
    conform_send(end, 5, 3);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* What the peer takes may be less than what this end could send. */
static void take_little(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, "max=1000");
    conform_send(end, 1, 1);
    conform_tell(stage, 0);
    size_t size = 0;
    char data[2000];
    int rc = thirl_recv(end, data, sizeof data, &size, PATIENCE);
    must(rc == 0 || rc == -EMSGSIZE || rc == -THIRL_EFORMAT);
    must(rc != 0 || conform_intact(data, size, 2));
    (void)!thirl_close(&end, THIRL_NOW);
}

static void meets_a_smaller_peer(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, take_little);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 1, 1);
    conform_hear(&peer);
    char data[1001];
    conform_fill(data, sizeof data, 2);
    int rc = thirl_send(end, data, sizeof data, PATIENCE);
    must(rc == 0 || rc == -EMSGSIZE);
    if (rc != 0) {
        must_say("1000");
        must_be(thirl_send(end, data, 1000, PATIENCE), 0);
    }
    (void)!thirl_close(&end, thirl_in_ms(1000));
    conform_join(&peer);
}

static void send_two(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 100, 1);
    conform_send(end, 10000, 2);
    conform_send(end, 0, 3);
    conform_recv(end, 1, 4);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void keeps_what_does_not_fit(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, send_two);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    char small[99];
    size_t size = 0;
    for (int i = 0; i < 3; i++) {
        must_be(thirl_recv(end, small, sizeof small, &size, PATIENCE), -EMSGSIZE);
        must_be(size, 100);
        must_say("100");
    }
    must_be(at_once(c, thirl_recv(end, small, 0, &size, THIRL_NOW)), -EMSGSIZE);
    must_be(size, 100);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -EMSGSIZE);
    conform_recv(end, 100, 1);
    must_be(thirl_recv(end, small, sizeof small, &size, PATIENCE), -EMSGSIZE);
    must_be(size, 10000);
    thirl_msg *msg = NULL;
    must_be(thirl_take(end, &msg, PATIENCE), 0);
    must_be(thirl_msg_size(msg), 10000);
    must(conform_intact(thirl_msg_data(msg), 10000, 2));
    must_be(thirl_msg_number(msg), 1);
    thirl_free(&msg);
    size = 5;
    must_be(thirl_recv(end, NULL, 0, &size, PATIENCE), 0);
    must_be(size, 0);
    conform_send(end, 1, 4);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* ---- both directions at once ---- */

#define FLOW 200000
#define FLOW_MAX 3000

static uint32_t flow_size(uint32_t number, uint64_t seed) {
    uint32_t x = (uint32_t)(number * UINT64_C(2654435761) + seed * 40503u);
    return x % 64 == 0 ? x >> 8 & 2047 : x >> 16 & 63;
}

/* Sends whenever it can and receives whatever is there, by one thread that never blocks on one of the two alone; but when nothing
 * moves it leaves the processor, which may be what the peer waits for. */
static void flow(thirl *end, uint64_t mine, uint64_t theirs, uint32_t total) {
    char out[FLOW_MAX], in[FLOW_MAX];
    uint32_t sent = 0, got = 0;
    for (unsigned idle = 0; sent < total || got < total; idle++) {
        int rc = -EAGAIN;
        uint32_t before = sent + got;
        for (; sent < total; sent++) {
            uint32_t size = flow_size(sent, mine);
            conform_fill(out, size, mine + sent);
            if ((rc = thirl_send(end, out, size, THIRL_NOW)) != 0) {
                must_be(rc, -EAGAIN);
                break;
            }
        }
        /* Everything is sent, or the queue is full: then the peer's is to be emptied, at least by one. */
        size_t size = 0;
        while (got < total) {
            bool rests = idle > 100 && sent < total;
            rc = thirl_recv(end, in, sizeof in, &size, rests ? thirl_in_ms(1) : sent < total ? THIRL_NOW : PATIENCE);
            if (rc != 0) {
                must_be(rc, rests ? -ETIMEDOUT : -EAGAIN);
                break;
            }
            must_be(size, flow_size(got, theirs));
            must(conform_intact(in, size, theirs + got));
            got++;
        }
        idle = sent + got == before ? idle : 0;
    }
}

/* Where few messages can wait, the two take turns at the processor for all of them. */
static uint32_t flow_total(const struct conform *c) {
    struct thirl_limits claims = conform_claims(c);
    bool narrow = claims.queue_messages != 0 && claims.queue_messages < 100;
    return narrow ? FLOW / 40 : conform_many(c, FLOW);
}

static void flow_back(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, "queue=256K");
    flow(end, 1u << 30, 0, flow_total(c));
    size_t size;
    must_be(thirl_recv(end, &size, sizeof size, &size, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void keeps_order_both_ways(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, flow_back);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=256K");
    flow(end, 0, 1u << 30, flow_total(c));
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* ---- a full queue ---- */

#define BLOCK 5000

static void empty_late(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, "queue=64K");
    conform_send(end, 1, 0);
    uint64_t count = conform_hear(stage);
    for (uint64_t i = 0; i < count; i++) {
        conform_recv(end, BLOCK, i);
    }
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    conform_tell(stage, 0);
    conform_hear(stage);
    conform_sleep(100 * MS); /* the stage blocks in a send meanwhile */
    for (uint64_t i = 0; i < 100; i++) {
        conform_recv(end, BLOCK, 1000 + i);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void holds_a_full_queue(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, empty_late);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=64K");
    static char data[BLOCK];
    conform_recv(end, 1, 0);
    uint64_t count = 0;
    int rc;
    for (;; count++) {
        conform_fill(data, BLOCK, count);
        rc = thirl_send(end, data, BLOCK, THIRL_NOW);
        rc = rc == -EAGAIN ? thirl_send(end, data, BLOCK, conform_while(c)) : rc;
        if (rc != 0) {
            break;
        }
        must(count < 1000);
    }
    must_be(rc, -ETIMEDOUT);
    must(count > 2);
    for (int i = 0; i < 2; i++) {
        must_be(thirl_send(end, data, BLOCK, thirl_in_ms(60)), -ETIMEDOUT);
        must_be(thirl_send(end, data, BLOCK, THIRL_NOW), -EAGAIN);
    }
    conform_names(c, 0);
    conform_tell(&peer, count);
    conform_hear(&peer);
    conform_tell(&peer, 0);
    for (uint64_t i = 0; i < 100; i++) {
        conform_send(end, BLOCK, 1000 + i);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(sends_every_size),        CONFORM(refuses_one_byte_more), CONFORM(meets_a_smaller_peer),
        CONFORM(keeps_what_does_not_fit), CONFORM(keeps_order_both_ways), CONFORM(holds_a_full_queue),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
