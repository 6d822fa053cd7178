/* SPDX-License-Identifier: MIT
 *
 * Many messages in one call: the same messages, the same order, the same waits as one by one.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>

#include "tests/conform/conform.h"

#define BATCH 50
#define TOTAL 20000
#define LARGEST 700

/* Message number i has a size of its own, small ones more often, and its number in its pattern. Of each hundred many in a row are alike. */
static size_t size_of(uint64_t i) {
    return i % 100 >= 60 ? 8 + i / 100 % 57 : i % 7 == 0 ? (i * 131) % LARGEST : 8 + i % 5;
}

/* Takes messages from first on, at most so many, and checks each; how many came. */
static size_t take_some(thirl *end, uint64_t first, size_t most, thirl_time until, int *rc) {
    static _Alignas(8) char buffer[BATCH * (LARGEST + 8)];
    struct iovec messages[BATCH];
    size_t count = most < BATCH ? most : BATCH;
    *rc = thirl_recv_many(end, buffer, sizeof buffer, messages, &count, until);
    must(*rc == 0 ? count >= 1 && count <= most : count == 0);
    for (size_t i = 0; i < count; i++) {
        must_be(messages[i].iov_len, size_of(first + i));
        must((uintptr_t)messages[i].iov_base % 8 == 0);
        must(conform_intact(messages[i].iov_base, messages[i].iov_len, first + i));
    }
    return count;
}

static int give(thirl *end, uint64_t first, size_t *count, thirl_time until) {
    static char data[BATCH][LARGEST];
    struct iovec messages[BATCH];
    for (size_t i = 0; i < *count; i++) {
        messages[i] = (struct iovec){data[i], size_of(first + i)};
        conform_fill(data[i], messages[i].iov_len, first + i);
    }
    return thirl_send_many(end, messages, count, until);
}

static void take_all(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, "queue=16K");
    int rc = 0;
    (void)stage;
    for (uint64_t i = 0; i < TOTAL;) {
        i += take_some(end, i, TOTAL - i, PATIENCE, &rc);
        must_be(rc, 0);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void sends_many_in_order(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, take_all);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=16K");
    for (uint64_t i = 0; i < TOTAL;) {
        size_t count = TOTAL - i < 1 + i % BATCH ? TOTAL - i : 1 + i % BATCH, wanted = count;
        must_be(give(end, i, &count, PATIENCE), 0);
        must_be(count, wanted);
        i += count;
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* What does not fit waits, and what was sent before the deadline is told. */
static void says_how_many_went(struct conform *c) {
    thirl *a, *b;
    uint64_t sent = 0, got = 0;
    int rc;
    conform_both(c, 0, "queue=8K", &a, &b);
    do {
        size_t count = BATCH;
        rc = give(a, sent, &count, THIRL_NOW);
        sent += count;
        must(sent < 1000000);
    } while (rc == 0);
    must_be(rc, -EAGAIN);
    must_say("full");
    do { /* some find a little more room, later */
        size_t count = BATCH;
        rc = give(a, sent, &count, thirl_in_ms(30));
        sent += count;
    } while (rc == 0 && sent < 1000000);
    must_be(rc, -ETIMEDOUT);
    while (got < sent) {
        got += take_some(b, got, sent - got, PATIENCE, &rc);
        must_be(rc, 0);
    }
    must_be(take_some(b, got, BATCH, THIRL_NOW, &rc), 0);
    must_be(rc, -EAGAIN);
    must_be(take_some(b, got, BATCH, thirl_in_ms(10), &rc), 0);
    must_be(rc, -ETIMEDOUT);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void fits_its_buffer(struct conform *c) {
    thirl *a, *b;
    char buffer[64];
    struct iovec messages[4];
    size_t count;
    conform_both(c, 0, NULL, &a, &b);
    for (int i = 0; i < 3; i++) {
        must_be(thirl_send(a, "0123456789abcdef0123456789abcdef0123456789", 40, PATIENCE), 0);
    }
    count = 4;
    must_be(thirl_recv_many(b, buffer, 39, messages, &count, PATIENCE), -EMSGSIZE);
    must_be(count, 0);
    must_be(messages[0].iov_len, 40);
    for (int i = 0; i < 3; i++) {
        count = 4;
        must_be(thirl_recv_many(b, buffer, sizeof buffer, messages, &count, PATIENCE), 0);
        must_be(count, 1); /* a second one would not fit */
        must_be(messages[0].iov_len, 40);
    }
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void refuses_nonsense(struct conform *c) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    struct iovec message = {NULL, 1};
    size_t count = 1;
    char byte;
    must_be(thirl_send_many(end, &message, &count, THIRL_NOW), -EINVAL);
    must_be(count, 0);
    must_say("no data (NULL)");
    must_be(thirl_send_many(end, NULL, &count, THIRL_NOW), 0); /* of none there is nothing to do */
    count = 1;
    must_be(thirl_send_many(end, NULL, &count, THIRL_NOW), -EINVAL);
    must_be(thirl_send_many(end, &message, NULL, THIRL_NOW), -EINVAL);
    count = 0;
    must_be(thirl_recv_many(end, &byte, 1, &message, &count, THIRL_NOW), -EINVAL);
    count = 1;
    must_be(thirl_recv_many(end, NULL, 1, &message, &count, THIRL_NOW), -EINVAL);
    must_be(thirl_recv_many(end, &byte, 1, NULL, &count, THIRL_NOW), -EINVAL);
    must_be(thirl_close(&end, THIRL_NOW), 0);
    must_be(thirl_send_many(end, &message, &count, THIRL_NOW), -EINVAL);
}

/* Those before one without data went, and that one is named. */
static void stops_where_data_is_missing(struct conform *c) {
    thirl *a, *b;
    char data[] = "abcdefgh", got[64];
    struct iovec messages[5];
    size_t size;
    conform_both(c, 0, NULL, &a, &b);
    for (size_t missing = 0; missing < 5; missing++) {
        size_t count = 5;
        for (size_t i = 0; i < 5; i++) {
            messages[i] = (struct iovec){i == missing ? NULL : data + i, 3 + missing % 2 * 5 * (i == 0)};
        }
        must_be(thirl_send_many(a, messages, &count, PATIENCE), -EINVAL);
        must_be(count, missing);
        char said[32];
        snprintf(said, sizeof said, "message %zu has no data", missing);
        must_say(said);
        for (size_t i = 0; i < missing; i++) {
            must_be(thirl_recv(b, got, sizeof got, &size, PATIENCE), 0);
            must(size == messages[i].iov_len && memcmp(got, data + i, size) == 0);
        }
        must_be(thirl_recv(b, got, sizeof got, &size, THIRL_NOW), -EAGAIN);
    }
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

/* What was sent by one call is received by copy, a few at a time, and in place, where it is held a while and freed in another order. */
static void receive_in_any_way(thirl *end, uint64_t *got, uint64_t left, uint64_t turn, int fd) {
    char buffer[LARGEST];
    thirl_msg *held[3] = {NULL};
    size_t size = 0;
    int rc;
    if (fd >= 0) {
        struct pollfd there = {.fd = fd, .events = POLLIN};
        must_be(poll(&there, 1, 5000), 1);
    }
    switch (turn % 4) {
    case 0:
        must_be(thirl_recv(end, buffer, sizeof buffer, &size, PATIENCE), 0);
        must(size == size_of(*got) && conform_intact(buffer, size, *got));
        (*got)++;
        break;
    case 1:
        must_be(size_of(*got) > 0 ? thirl_recv(end, buffer, 0, &size, PATIENCE) : -EMSGSIZE, -EMSGSIZE); /* it stays */
        *got += take_some(end, *got, 1 + turn % 5, PATIENCE, &rc);
        must_be(rc, 0);
        break;
    case 2:
        for (size_t i = 0; i < 3 && i < left; i++) {
            must_be(thirl_take(end, &held[i], PATIENCE), 0);
            must_be(thirl_msg_number(held[i]), *got + 1); /* conform_both has sent one */
            must_be(thirl_msg_size(held[i]), size_of(*got));
            (*got)++;
        }
        for (size_t i = 0; i < 3; i++) {
            size_t which = (i + turn) % 3;
            uint64_t number = held[which] != NULL ? thirl_msg_number(held[which]) - 1 : 0;
            must(held[which] == NULL ||
                 conform_intact(thirl_msg_data(held[which]), thirl_msg_size(held[which]), number));
            thirl_free(&held[which]);
        }
        break;
    default:
        *got += take_some(end, *got, BATCH, PATIENCE, &rc);
        must_be(rc, 0);
    }
}

static void comes_in_any_way(struct conform *c) {
    thirl *a, *b;
    uint64_t sent = 0, got = 0, turn = 0;
    conform_both(c, 0, NULL, &a, &b);
    for (int round = 0; round < 80; round++) {
        size_t count = 1 + (size_t)round * 7 % BATCH;
        int rc = give(a, sent, &count, THIRL_NOW);
        must(rc == 0 || rc == -EAGAIN); /* some hold few messages */
        sent += count;
        while (got < sent) {
            receive_in_any_way(b, &got, sent - got, turn++, round < 40 ? -1 : thirl_fd(b));
        }
    }
    must_be(take_some(b, got, BATCH, THIRL_NOW, &(int){0}), 0);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void take_until_killed(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, "queue=16K");
    int rc = 0;
    uint64_t got = 0;
    while (got < TOTAL / 4) {
        got += take_some(end, got, BATCH, PATIENCE, &rc);
        must_be(rc, 0);
    }
    conform_tell(stage, got);
    conform_sleep(60000 * MS);
}

static void tells_of_a_death(struct conform *c) {
    struct peer peer;
    int rc = 0;
    conform_start(&peer, c, take_until_killed);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=16K");
    uint64_t sent = 0;
    struct pollfd full = {.fd = peer.wire, .events = POLLIN}; /* it takes no more; before that it may only be slow */
    for (bool slow = true; (rc == 0 || (rc == -ETIMEDOUT && slow)) && sent < TOTAL;) {
        size_t count = BATCH;
        slow = poll(&full, 1, 0) == 0;
        rc = give(end, sent, &count, thirl_in_ms(200));
        sent += count;
    }
    must_be(rc, -ETIMEDOUT);
    must(sent >= conform_hear(&peer));
    conform_kill(&peer);
    size_t count = BATCH;
    must_be(give(end, sent, &count, PATIENCE), -THIRL_EPEERDIED);
    must_be(count, 0);
    must_be(thirl_close(&end, THIRL_NOW) >= 0, 1);
}

static const size_t mixed[] = {5, 0, 3000, 17, 50000, 1, 8192, 8193, 64, 64, 0, 30000};
#define MIXED (sizeof mixed / sizeof *mixed)

static void take_mixed(const struct conform *c, struct peer *stage) {
    static _Alignas(8) char buffer[1 << 17];
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    (void)stage;
    for (uint64_t i = 0; i < 100 * MIXED;) {
        struct iovec messages[BATCH];
        size_t count = BATCH;
        thirl_msg *msg = NULL;
        if (i % 3 == 0) { /* between them, one in place: numbers go on */
            must_be(thirl_take(end, &msg, PATIENCE), 0);
            must_be(thirl_msg_number(msg), i);
            must(thirl_msg_size(msg) == mixed[i % MIXED] &&
                 conform_intact(thirl_msg_data(msg), thirl_msg_size(msg), i));
            thirl_free(&msg);
            i++;
            continue;
        }
        must_be(thirl_recv_many(end, buffer, sizeof buffer, messages, &count, PATIENCE), 0);
        for (size_t k = 0; k < count; k++, i++) {
            must_be(messages[k].iov_len, mixed[i % MIXED]);
            must(conform_intact(messages[k].iov_base, messages[k].iov_len, i));
        }
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* Large ones among small ones, and empty ones. */
static void mixes_sizes(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, take_mixed);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    static char data[MIXED][50000];
    for (uint64_t i = 0; i < 100 * MIXED; i += MIXED) {
        struct iovec messages[MIXED];
        size_t count = MIXED;
        for (size_t k = 0; k < MIXED; k++) {
            messages[k] = (struct iovec){data[k], mixed[k]};
            conform_fill(data[k], mixed[k], i + k);
        }
        must_be(thirl_send_many(end, messages, &count, PATIENCE), 0);
        must_be(count, MIXED);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(sends_many_in_order),
        CONFORM(says_how_many_went),
        CONFORM(fits_its_buffer),
        CONFORM(refuses_nonsense),
        CONFORM(stops_where_data_is_missing),
        CONFORM(comes_in_any_way),
        CONFORM(tells_of_a_death),
        CONFORM(mixes_sizes),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
