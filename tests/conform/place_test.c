/* SPDX-License-Identifier: MIT
 *
 * Messages in place: lent, put, taken and freed, in every order that is allowed, and some that are not.
 */
#include <stdlib.h>

#include "tests/conform/conform.h"

static thirl_msg *lend(thirl *end, size_t size, uint64_t seed) {
    thirl_msg *msg = NULL;
    must_be(thirl_loan(end, &msg, size, PATIENCE), 0);
    must(msg != NULL);
    must_be(thirl_msg_size(msg), size);
    conform_fill(thirl_msg_data(msg), size, seed);
    return msg;
}

static thirl_msg *take(thirl *end, size_t size, uint64_t seed) {
    thirl_msg *msg = NULL;
    must_be(thirl_take(end, &msg, PATIENCE), 0);
    must(msg != NULL);
    must_be(thirl_msg_size(msg), size);
    must(conform_intact(thirl_msg_data(msg), size, seed));
    return msg;
}

static void put(thirl *end, thirl_msg *msg) {
    must_be(thirl_put(end, &msg, PATIENCE), 0);
    must(msg == NULL);
}

#define SEVERAL 20

static void lend_several(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, "queue=1M");
    thirl_msg *loan[SEVERAL];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < SEVERAL; i++) {
            loan[i] = lend(end, (size_t)i * 101 + (size_t)round, (uint64_t)round * SEVERAL + (uint64_t)i);
        }
        for (int i = 0; i < SEVERAL; i++) {
            put(end, loan[i]);
        }
        conform_send(end, 33, 7777);
    }
    conform_recv(end, 1, 1);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void takes_several(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, lend_several);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=1M");
    thirl_msg *taken[SEVERAL];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < SEVERAL; i++) {
            taken[i] = take(end, (size_t)i * 101 + (size_t)round, (uint64_t)round * SEVERAL + (uint64_t)i);
            must_be(thirl_msg_number(taken[i]), round * (SEVERAL + 1) + i);
        }
        conform_recv(end, 33, 7777);
        for (int i = 0; i < SEVERAL; i++) {
            int k = (i * 7 + round) % SEVERAL; /* in another order than they came */
            must(conform_intact(thirl_msg_data(taken[k]), (size_t)(k * 101 + round), (uint64_t)(round * SEVERAL + k)));
            thirl_free(&taken[k]);
            must(taken[k] == NULL);
        }
    }
    conform_send(end, 1, 1);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* Loans leave in the order in which they were lent where they are the mechanism's, else in the order in which they are put. */
static void puts_in_any_order(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(a, &limits), 0);
    thirl_msg *one = lend(a, 100, 1), *two = lend(a, 200, 2), *three = lend(a, 300, 3);
    put(a, three);
    put(a, one);
    put(a, two);
    bool seen[4] = {false};
    for (int i = 1; i <= 3; i++) {
        thirl_msg *msg = NULL;
        must_be(thirl_take(b, &msg, PATIENCE), 0);
        size_t which = thirl_msg_size(msg) / 100;
        must(which >= 1 && which <= 3 && !seen[which]);
        must(!limits.zero_copy || which == (size_t)i);
        must(conform_intact(thirl_msg_data(msg), which * 100, which));
        seen[which] = true;
        thirl_free(&msg);
    }
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void leaves_no_trace_of_the_unsent(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, "queue=64K", &a, &b);
    for (uint64_t i = 0; i < 500; i++) {
        thirl_msg *unsent = lend(a, 1000, 1), *sent = lend(a, 500, i), *more = lend(a, 10, 2);
        if (i % 2 == 0) {
            put(a, sent);
            thirl_free(&unsent);
        } else {
            thirl_free(&unsent);
            put(a, sent);
        }
        thirl_free(&more);
        must(unsent == NULL && more == NULL);
        thirl_msg *taken = take(b, 500, i);
        must_be(thirl_msg_number(taken), i + 1); /* behind the one of conform_both */
        thirl_free(&taken);
    }
    must_be(thirl_recv(b, NULL, 0, NULL, thirl_in_ms(10)), -ETIMEDOUT);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void trims(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    static const size_t to[] = {1000, 999, 8, 1, 0};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        thirl_msg *loan = lend(a, 1000, i);
        must_be(thirl_msg_trim(loan, 1001), -EINVAL);
        must_be(thirl_msg_trim(loan, SIZE_MAX), -EINVAL);
        must_be(thirl_msg_trim(loan, to[i]), 0);
        must_be(thirl_msg_size(loan), to[i]);
        put(a, loan);
        conform_send(a, 64, 64);
        thirl_msg *taken = take(b, to[i], i);
        thirl_free(&taken);
        conform_recv(b, 64, 64);
    }
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void holds_so_many_and_no_more(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    thirl_msg *msg[THIRL_HELD_MAX], *more = NULL;
    for (uint64_t i = 0; i < THIRL_HELD_MAX; i++) {
        msg[i] = lend(a, 40, i);
    }
    must_be(thirl_loan(a, &more, 40, PATIENCE), -EBUSY);
    must(more == NULL);
    must_say("64");
    unsigned ahead = conform_room(a, THIRL_HELD_MAX); /* of them fit into the queue at once */
    for (uint64_t i = 0; i < THIRL_HELD_MAX; i++) {
        put(a, msg[i]);
        if (i + 1 >= ahead) {
            msg[i + 1 - ahead] = take(b, 40, i + 1 - ahead);
        }
    }
    conform_send(a, 50, 50);
    for (uint64_t i = THIRL_HELD_MAX + 1 - ahead; i < THIRL_HELD_MAX; i++) {
        msg[i] = take(b, 40, i);
    }
    must_be(thirl_take(b, &more, PATIENCE), -EBUSY);
    must(more == NULL);
    thirl_free(&msg[63]);
    more = take(b, 50, 50);
    for (int i = 0; i < THIRL_HELD_MAX - 1; i++) {
        thirl_free(&msg[i]);
    }
    must_be(thirl_msg_size(more), 50);
    thirl_free(&more);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

/* The oldest is held, as long as three times as many come and go as can be held at once. */
static void holds_one_for_long(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    conform_send(a, 40, 1);
    thirl_msg *oldest = take(b, 40, 1);
    for (uint64_t i = 0; i < 3 * THIRL_HELD_MAX; i++) {
        conform_send(a, 48, i);
        thirl_msg *next = take(b, 48, i);
        thirl_free(&next);
    }
    must(conform_intact(thirl_msg_data(oldest), 40, 1));
    thirl_free(&oldest);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void outlives_the_end(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    conform_send(a, 5000, 1);
    conform_send(a, 300, 2);
    thirl_msg *one = take(b, 5000, 1), *two = take(b, 300, 2);
    thirl_msg *loan = lend(a, 777, 3), *other = lend(b, 700, 4);
    (void)!thirl_close(&b, THIRL_NOW);
    (void)!thirl_close(&a, THIRL_NOW);
    must(conform_intact(thirl_msg_data(one), 5000, 1));
    thirl_free(&one);
    must(conform_intact(thirl_msg_data(two), 300, 2));
    conform_fill(thirl_msg_data(loan), 777, 9);
    thirl_free(&loan);
    must(conform_intact(thirl_msg_data(two), 300, 2));
    thirl_free(&two);
    thirl_free(&other);
    must(one == NULL && two == NULL && loan == NULL && other == NULL);
    thirl_free(&one);
}

static void put_late(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 1);
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* Under hurt it may be refused before anything is tried, and the message is gone with that. */
static int put_at_once(const struct conform *c, thirl *end, thirl_msg **msg) {
    int rc = thirl_put(end, msg, THIRL_NOW);
    return rc == -EAGAIN && conform_hurt(c) ? -THIRL_ECLOSED : rc;
}

static void is_null_after_a_failure(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, put_late);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 1, 1);
    thirl_msg *loan = lend(end, 100, 1), *other = lend(end, 100, 1);
    conform_tell(&peer, 0);
    conform_join(&peer);
    if (conform_claims(c).cross_host) { /* what is sent before the goodbye is read was sent too early to know of it */
        must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    }
    must_be(thirl_put(end, &loan, PATIENCE), -THIRL_ECLOSED);
    must(loan == NULL);
    must_be(put_at_once(c, end, &other), -THIRL_ECLOSED);
    must(other == NULL);
    must_be(thirl_take(end, &loan, PATIENCE), -THIRL_ECLOSED);
    must(loan == NULL);
    must_be(thirl_loan(end, &loan, 1, THIRL_NOW) == 0 ? put_at_once(c, end, &loan) : -THIRL_ECLOSED, -THIRL_ECLOSED);
    must(loan == NULL);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* A message that is held while its sender's process is killed stays as it was. */
static void send_and_stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 100000, 5);
    conform_send(end, 100, 6);
    conform_hear(stage);
}

static void outlives_the_sender(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, send_and_stay);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    thirl_msg *one = take(end, 100000, 5), *two = take(end, 100, 6), *none = NULL;
    conform_kill(&peer);
    must_be(thirl_take(end, &none, PATIENCE), -THIRL_EPEERDIED);
    must(conform_intact(thirl_msg_data(one), 100000, 5));
    must(conform_intact(thirl_msg_data(two), 100, 6));
    thirl_free(&two);
    must(conform_intact(thirl_msg_data(one), 100000, 5));
    thirl_free(&one);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* What a mechanism does not claim is refused with a sentence, not lost. */
static void refuses_notes_that_it_does_not_claim(struct conform *c) {
    thirl *a, *b;
    thirl_msg *loan = NULL;
    struct thirl_limits limits = {.size = sizeof limits};
    conform_both(c, 0, NULL, &a, &b);
    must_be(thirl_limits(a, &limits), 0);
    must_be(thirl_loan(a, &loan, 8, PATIENCE), 0);
    must(limits.priorities >= 1);
    must_be(thirl_msg_set_priority(loan, limits.priorities), limits.priorities > 1 ? -EINVAL : -EOPNOTSUPP);
    must_say("priorit");
    must_be(thirl_msg_set_priority(loan, 0), 0);
    must_be(thirl_msg_priority(loan), 0);
    if (!limits.descriptors) {
        must_be(thirl_msg_attach(loan, 0), -EOPNOTSUPP);
        must_say("descriptors cannot travel");
    }
    must_be(thirl_msg_descriptors(loan), 0);
    must_be(thirl_msg_detach(loan, 0), -ENOENT);
    thirl_free(&loan);
    must_be(thirl_close(&a, THIRL_NOW), 0);
    must_be(thirl_close(&b, THIRL_NOW), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(refuses_notes_that_it_does_not_claim),
        CONFORM(takes_several),
        CONFORM(puts_in_any_order),
        CONFORM(leaves_no_trace_of_the_unsent),
        CONFORM(trims),
        CONFORM(outlives_the_end),
        CONFORM(holds_so_many_and_no_more),
        CONFORM(holds_one_for_long),
        CONFORM(is_null_after_a_failure),
        CONFORM(outlives_the_sender),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
