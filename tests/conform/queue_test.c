/* SPDX-License-Identifier: MIT
 *
 * Queues: each message reaches one receiver, whole, once; many senders and receivers come, go and die; what waits is kept where
 * that is claimed, listed, and removed on demand. Raw ends speak to programs that know nothing of thirl.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"

static const size_t sizes[] = {0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, 65536, 1 << 20};
#define SIZES (sizeof sizes / sizeof *sizes)

static struct thirl_limits limits_of(thirl *end) {
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(end, &limits), 0);
    return limits;
}

/* What the line cannot do it says itself: then there is nothing to try. */
static void need(bool claimed, const char *what) {
    if (!claimed) {
        conform_skip(what);
    }
}

/* ---- messages ---- */

static void push_sizes(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    for (size_t i = 0; i < SIZES; i++) {
        if (sizes[i] <= limits_of(end).message_max) {
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
    struct thirl_limits limits = limits_of(end);
    for (size_t i = 0; i < SIZES; i++) {
        if (sizes[i] <= limits.message_max) {
            conform_recv(end, sizes[i], i);
        }
    }
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_say("nothing arrived");
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void push_odd_ones(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    conform_send(end, 100, 1);
    conform_send(end, limits_of(end).message_max < 50000 ? 1000 : 50000, 2);
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
    size_t size = 0, large = limits_of(end).message_max < 50000 ? 1000 : 50000;
    must_be(thirl_recv(end, small, sizeof small, &size, PATIENCE), -EMSGSIZE);
    must_be(size, 100);
    struct pollfd polled = {.fd = thirl_fd(end), .events = POLLIN};
    must(polled.fd >= 0);
    must_be(poll(&polled, 1, 0), 1);
    must_be(thirl_recv(end, NULL, 0, &size, THIRL_NOW), -EMSGSIZE);
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

static void queue_refuses_one_byte_more(struct conform *c) {
    thirl *in = conform_open(c, THIRL_PULL, "max=5000"), *out = conform_open(c, THIRL_PUSH, "max=5000");
    static char data[5001];
    must_be(limits_of(out).message_max, 5000);
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

/* ---- many ---- */

#define SENDERS 4
#define EACH 2000

struct item {
    uint32_t sender, number;
    char filling[56];
};

static uint32_t each(void) {
    return conform_sanitized() ? EACH / 10 : EACH;
}

static void push_many(const struct conform *c, struct peer *stage) {
    uint32_t sender = (uint32_t)conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    size_t large = limits_of(end).message_max < 30000 ? (size_t)limits_of(end).message_max : 30000;
    char *data = malloc(large);
    must(data != NULL);
    for (uint32_t i = 0; i < each(); i++) {
        size_t size = i % 50 == 7 ? large : sizeof(struct item);
        struct item item = {.sender = sender, .number = i};
        conform_fill(data, size, sender * 100000 + i);
        memcpy(data, &item, 8);
        must_be(thirl_send(end, data, size, PATIENCE), 0);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    free(data);
}

/* The bytes behind the first eight are as the sender filled them. */
static void check_item(char *data, size_t size, size_t large, struct item *item) {
    must(size == sizeof(struct item) || size == large);
    memcpy(item, data, 8);
    char *filled = malloc(size);
    must(filled != NULL);
    conform_fill(filled, size, item->sender * 100000 + item->number);
    must(memcmp(data + 8, filled + 8, size - 8) == 0);
    free(filled);
}

static void many_senders_keep_their_order(struct conform *c) {
    struct peer peer[SENDERS];
    need(conform_claims(c).reliable, "messages may be lost");
    for (int i = 0; i < SENDERS; i++) {
        conform_start(&peer[i], c, push_many);
    }
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    need(limits_of(end).senders == 0, "one sender only");
    for (int i = 0; i < SENDERS; i++) {
        conform_tell(&peer[i], (uint64_t)i);
    }
    uint32_t next[SENDERS] = {0};
    size_t large = limits_of(end).message_max < 30000 ? (size_t)limits_of(end).message_max : 30000;
    char *data = malloc(large);
    must(data != NULL);
    for (uint32_t i = 0; i < SENDERS * each(); i++) {
        size_t size;
        struct item item;
        must_be(thirl_recv(end, data, large, &size, PATIENCE), 0);
        check_item(data, size, large, &item);
        must(item.sender < SENDERS);
        must_be(item.number, next[item.sender]);
        next[item.sender]++;
    }
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&end, PATIENCE), 0);
    for (int i = 0; i < SENDERS; i++) {
        conform_join(&peer[i]);
    }
    free(data);
}

static void push_many_and_one(const struct conform *c, struct peer *stage) {
    uint32_t sender = (uint32_t)conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    char data[sizeof(struct item)];
    for (uint32_t i = 0; i <= each(); i++) {
        struct item item = {.sender = sender, .number = i};
        if (i == each()) {
            conform_tell(stage, i); /* so far without a pause */
            conform_hear(stage);
        }
        conform_fill(data, sizeof data, sender * 100000 + i);
        memcpy(data, &item, 8);
        must_be(thirl_send(end, data, sizeof data, PATIENCE), 0);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static int lost_of(void *context, const struct thirl_seen *seen) {
    uint64_t *lost = context;
    *lost += seen->pid == getpid() ? seen->lost : 0;
    return 0;
}

static uint32_t take_items(thirl *end, unsigned char *came, int64_t patience_ms) {
    char data[sizeof(struct item)];
    struct item item;
    size_t size;
    uint32_t taken = 0;
    for (int rc; (rc = thirl_recv(end, data, sizeof data, &size, thirl_in_ms(patience_ms))) != -ETIMEDOUT; taken++) {
        must_be(rc, 0);
        check_item(data, size, sizeof data, &item);
        must(item.sender < SENDERS && item.number <= each());
        must_be(came[item.sender * (EACH + 1) + item.number], 0); /* never twice */
        came[item.sender * (EACH + 1) + item.number] = 1;
    }
    return taken;
}

/* What does not claim to be reliable may lose messages, but no one doubles, and all that are missing are counted. */
static void what_is_lost_is_counted(struct conform *c) {
    need(!conform_claims(c).reliable, "nothing is lost");
    need(strncmp(c->with, "hurt", 4) != 0, "what is lost on purpose has no number yet");
    struct peer peer[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        conform_start(&peer[i], c, push_many_and_one);
    }
    thirl *end = conform_open(c, THIRL_PULL, "queue=16K");
    unsigned char *came = calloc(SENDERS, EACH + 1);
    must(came != NULL);
    for (int i = 0; i < SENDERS; i++) {
        conform_tell(&peer[i], (uint64_t)i);
    }
    for (int i = 0; i < SENDERS; i++) {
        must_be(conform_hear(&peer[i]), each()); /* nobody has received so far: most is lost */
    }
    uint32_t taken = take_items(end, came, 200);
    must(taken > 0 && taken < SENDERS * each());
    for (int i = 0; i < SENDERS; i++) {
        conform_tell(&peer[i], 0);
        conform_join(&peer[i]);
    }
    taken += take_items(end, came, 200);
    uint64_t lost = 0, unseen = 0; /* before a sender's first message came, nobody could miss any */
    must_be(thirl_list(lost_of, &lost), 0);
    for (int i = 0; i < SENDERS; i++) {
        const unsigned char *of = came + i * (EACH + 1);
        must_be(of[each()], 1);
        for (uint32_t j = 0; of[j] == 0; j++) {
            unseen++;
        }
    }
    must_be(taken + lost + unseen, SENDERS * (each() + 1));
    must_be(thirl_close(&end, PATIENCE), 0);
    free(came);
}

static void only_receiver_stays_so(struct conform *c) {
    need(conform_claims(c).receivers == 1, "any number of receivers");
    thirl *end = conform_open(c, THIRL_PULL, NULL), *other = NULL;
    must_be(thirl_open(&other, THIRL_PULL, conform_address(c, 0, NULL), NULL), -EBUSY);
    must_say("another");
    must_be(limits_of(end).receivers, 1);
    must_be(thirl_close(&end, PATIENCE), 0);
    end = conform_open(c, THIRL_PULL, NULL);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* Tells every message that it gets, and ends when nothing more comes. */
static void pull_some(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    size_t large = limits_of(end).message_max < 30000 ? (size_t)limits_of(end).message_max : 30000, size;
    char *data = malloc(large);
    must(data != NULL);
    conform_tell(stage, UINT64_MAX);
    for (;;) {
        int rc = thirl_recv(end, data, large, &size, thirl_in_ms(conform_sanitized() ? 6000 : 2000));
        if (rc != 0) {
            must_be(rc, -ETIMEDOUT);
            break;
        }
        struct item item;
        check_item(data, size, large, &item);
        conform_tell(stage, (uint64_t)item.sender << 32 | item.number);
    }
    conform_tell(stage, UINT64_MAX);
    must_be(thirl_close(&end, PATIENCE), 0);
    free(data);
}

static void each_message_reaches_one(struct conform *c) {
    struct peer in[3], out[2];
    need(conform_claims(c).receivers == 0, "one receiver only");
    for (int i = 0; i < 3; i++) {
        conform_start(&in[i], c, pull_some);
    }
    for (int i = 0; i < 2; i++) {
        conform_start(&out[i], c, push_many);
    }
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    bool many = limits_of(end).receivers == 0 && limits_of(end).senders == 0;
    must_be(thirl_close(&end, THIRL_NOW), 0);
    need(many, "one receiver only");
    for (int i = 0; i < 3; i++) {
        must_be(conform_hear(&in[i]), UINT64_MAX);
    }
    for (int i = 0; i < 2; i++) {
        conform_tell(&out[i], (uint64_t)i);
    }
    unsigned char *got = calloc(2, EACH);
    must(got != NULL);
    uint32_t total = 0, share[3] = {0};
    struct pollfd polled[3];
    for (int i = 0; i < 3; i++) {
        polled[i] = (struct pollfd){in[i].wire, POLLIN, 0};
    }
    for (int open = 3; open > 0;) {
        must(poll(polled, 3, 20000) > 0);
        for (int i = 0; i < 3; i++) {
            uint64_t word = (polled[i].revents & POLLIN) != 0 ? conform_hear(&in[i]) : 0;
            if ((polled[i].revents & POLLIN) == 0) {
                continue;
            }
            if (word == UINT64_MAX) {
                polled[i].fd = -1;
                open--;
                continue;
            }
            must(word >> 32 < 2 && (uint32_t)word < each());
            must_be(got[(word >> 32) * EACH + (uint32_t)word], 0); /* never twice */
            got[(word >> 32) * EACH + (uint32_t)word] = 1;
            total++;
            share[i]++;
        }
    }
    must_be(total, 2 * each());
    must(share[0] < total && share[1] < total && share[2] < total);
    for (int i = 0; i < 3; i++) {
        conform_join(&in[i]);
    }
    for (int i = 0; i < 2; i++) {
        conform_join(&out[i]);
    }
    free(got);
}

/* ---- waiting ---- */

static void full_queue_waits(struct conform *c) {
    thirl *in = conform_open(c, THIRL_PULL, NULL), *out = conform_open(c, THIRL_PUSH, NULL);
    need(limits_of(out).reliable, "drops when it is full");
    static char data[4000];
    uint64_t count = 0;
    int rc;
    for (;; count++) {
        conform_fill(data, sizeof data, count);
        if ((rc = thirl_send(out, data, sizeof data, THIRL_NOW)) != 0) {
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
    thirl *in = conform_open(c, THIRL_PULL, NULL), *out = conform_open(c, THIRL_PUSH, NULL);
    struct thirl_limits limits = limits_of(out);
    need(limits.message_max > limits.atomic_max && limits.reliable, "messages are never cut");
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
    need(limits_of(end).pollable, "no descriptor");
    struct pollfd polled = {.fd = thirl_fd(end), .events = POLLIN};
    must(polled.fd >= 0);
    size_t large = limits_of(end).message_max < 40000 ? 1000 : 40000;
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
    uint32_t levels = limits_of(out).priorities;
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
    struct thirl_limits limits = limits_of(out);
    need(limits.priorities > 1 && limits.message_max > limits.atomic_max, "no priorities, or messages are never cut");
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

struct found {
    unsigned count;
    uint64_t messages, ends;
    char address[320];
};

static int find(void *context, const struct thirl_left *left) {
    struct found *found = context;
    found->count++;
    found->messages += left->messages;
    found->ends += left->ends;
    must_be(left->uid, geteuid());
    (void)snprintf(found->address, sizeof found->address, "%s", left->address);
    return 0;
}

static struct found find_left(void) {
    struct found found = {0};
    must_be(thirl_left(find, &found), 0);
    return found;
}

static bool is_kept(struct conform *c) {
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    int rc = thirl_send(end, "x", 1, thirl_in_ms(50));
    bool kept = rc == 0;
    if (kept) {
        thirl *in = conform_open(c, THIRL_PULL, NULL);
        conform_sleep(MS);
        char byte;
        must_be(thirl_recv(in, &byte, 1, NULL, PATIENCE), 0);
        must_be(thirl_close(&in, PATIENCE), 0);
    }
    must_be(thirl_close(&end, THIRL_NOW), 0);
    return kept && find_left().count == 0; /* and an empty queue goes with its last end */
}

/* Asked by a process of its own: the stage stays a stranger to the registry. Where nothing is kept, what is sent waits for a
 * receiver, or is lost. */
static bool keeps(struct conform *c) {
    int status = -1;
    if (!conform_claims(c).reliable) {
        return false;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        exit(is_kept(c) ? 0 : 77);
    }
    must_be(waitpid(pid, &status, 0), pid);
    return status == 0;
}

static void receiver_may_come_later(struct conform *c) {
    need(keeps(c), "messages are not kept");
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
            need(find_left().count != 0, "messages are not kept");
        }
        struct found found = find_left();
        must_be(found.count, 1);
        must_be(found.messages, 5);
        must_be(found.ends, 0);
        thirl *end = conform_open(c, THIRL_PULL, NULL);
        must_be(find_left().ends, 1);
        must_be(thirl_clean(found.address), -EBUSY);
        for (uint64_t i = 0; i < 5; i++) {
            conform_recv(end, 100 + i, i);
        }
        must_be(thirl_close(&end, PATIENCE), 0);
        must_be(find_left().count, 0);
    }
}

static void leftovers_are_removed_on_demand(struct conform *c) {
    need(keeps(c), "messages are not kept");
    struct peer peer;
    conform_start(&peer, c, push_and_go);
    conform_hear(&peer);
    conform_tell(&peer, 1);
    conform_kill(&peer);
    need(find_left().count != 0, "messages are not kept");
    /* Ends of other channels come and go, and sweep: what has messages stays. */
    thirl *other = NULL;
    must_be(thirl_open(&other, THIRL_PULL, conform_address(c, 1, NULL), NULL), 0);
    must_be(thirl_close(&other, PATIENCE), 0);
    struct found found = find_left();
    must_be(found.count, 1);
    must_be(found.messages, 5);
    must_be(thirl_clean("mq://something-else"), -ENOENT);
    must_be(thirl_clean(found.address), 5);
    must_be(find_left().count, 0);
    must_be(thirl_clean(found.address), -ENOENT);
    must_say("left nothing");
    must(is_kept(c));
    must_be(conform_lines_of(c->registry) > 0, true);
}

/* ---- death ---- */

/* Dies at the k-th pass of a point: k in the upper half, its number in the list below in the lower. */
static const char *const points[] = {
    "push.piece.sent",   "draw.piece.taken",   "turn.give.after",     "queue.open.noted",  "queue.close.between",
    "kept.put.written",  "kept.remove.before", "kept.remove.between", "node.join.before",  "roll.begin.locked",
    "roll.card.written", "roll.finish.before", "roll.finish.renamed", "roll.finish.after", "roll.leave.file",
    "roll.leave.told",   "roll.remove.card",   "roll.remove.roll",    "hail.want.shown",   "hail.wake.between",
    "sysv.make.before",  "sysv.make.after",    "wait.sleep.before",
};
#define POINTS (sizeof points / sizeof *points)

static void die_at(uint64_t point, unsigned pass) {
    char order[80];
    (void)snprintf(order, sizeof order, "%s:%u:kill", points[point], pass);
    (void)setenv("THIRL_WEAVE_AT", order, 1);
}

/* A message of three packets, or as many as there can be; a small queue has room for it, and for little more. */
static size_t some_pieces(thirl *end) {
    struct thirl_limits limits = limits_of(end);
    return limits.atomic_max * 2 + 1 < limits.message_max ? (size_t)limits.atomic_max * 2 + 1
                                                          : (size_t)limits.message_max;
}

/* A message of several packets, of which two fit into the queue. */
static size_t few_pieces(thirl *end) {
    struct thirl_limits limits = limits_of(end);
    size_t most = some_pieces(end), least = (size_t)limits.atomic_max + 1;
    return limits.queue > 6 * limits.atomic_max || most < least ? most : least;
}

static void push_half(const struct conform *c, struct peer *stage) {
    die_at(0, 2);
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    conform_send(end, some_pieces(end), 1);
}

static void await_end(struct peer *peer) {
    struct pollfd polled = {.fd = peer->wire, .events = POLLIN};
    must_be(poll(&polled, 1, 20000), 1);
    conform_kill(peer);
}

/* The half of a message that a dead sender left harms nobody, and is counted. */
static void sender_dies_in_mid_message(struct conform *c) {
    struct peer peer;
    need(conform_claims(c).message_max > conform_claims(c).atomic_max, "messages are never cut");
    conform_start(&peer, c, push_half);
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    struct thirl_limits limits = limits_of(end);
    need(limits.message_max > limits.atomic_max, "messages are never cut");
    conform_tell(&peer, 0);
    await_end(&peer);
    char byte;
    uint64_t lost = 0;
    must_be(thirl_recv(end, &byte, 1, NULL, thirl_in_ms(400)), -ETIMEDOUT);
    must_be(thirl_list(lost_of, &lost), 0);
    must_be(lost, 1);
    thirl *out = conform_open(c, THIRL_PUSH, NULL);
    conform_send(out, (size_t)limits.atomic_max * 2, 5);
    conform_recv(end, (size_t)limits.atomic_max * 2, 5);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void pull_half(const struct conform *c, struct peer *stage) {
    die_at(1, 2);
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    conform_tell(stage, 0);
    conform_recv(end, some_pieces(end), 1);
}

/* A receiver dies with half a message in its hands: the next one gets the turn, and everything that is whole. */
static void receiver_dies_in_mid_message(struct conform *c) {
    struct peer peer;
    need(conform_claims(c).message_max > conform_claims(c).atomic_max, "messages are never cut");
    conform_start(&peer, c, pull_half);
    conform_hear(&peer);
    thirl *out = conform_open(c, THIRL_PUSH, NULL);
    struct thirl_limits limits = limits_of(out);
    need(limits.message_max > limits.atomic_max && limits.receivers == 0,
         "messages are never cut, or it has one receiver");
    thirl *in = conform_open(c, THIRL_PULL, NULL);
    conform_send(out, some_pieces(out), 1);
    await_end(&peer);
    conform_send(out, some_pieces(out), 3);
    conform_recv(in, some_pieces(out), 3);
    must_be(thirl_recv(in, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

struct lot {
    unsigned point, pass;
    bool sends;
};

static struct lot lot;

static void take_part(const struct conform *c, struct peer *stage) {
    die_at(lot.point, lot.pass);
    thirl *end = conform_open(c, lot.sends ? THIRL_PUSH : THIRL_PULL, NULL);
    conform_tell(stage, 0);
    for (uint64_t i = 0; i < 4; i++) {
        if (lot.sends) {
            conform_send(end, i == 1 ? few_pieces(end) : 20, i);
        } else {
            char *data = malloc(few_pieces(end));
            size_t size;
            must(data != NULL);
            (void)!thirl_recv(end, data, few_pieces(end), &size, thirl_in_ms(20));
            free(data);
        }
    }
    (void)!thirl_close(&end, THIRL_NOW);
}

/* Fresh ends find a queue that works, whatever a dead one left: at most whole messages, in their order. */
static void take_stock(struct conform *c, bool sent) {
    thirl *in = conform_open(c, THIRL_PULL, NULL), *out = conform_open(c, THIRL_PUSH, NULL);
    size_t large = few_pieces(in), size;
    char *data = malloc(large);
    must(data != NULL);
    conform_send(out, large, 50);
    conform_send(out, 21, 51);
    uint64_t next = 0;
    for (bool done = false; !done;) {
        must_be(thirl_recv(in, data, large, &size, PATIENCE), 0);
        uint64_t seed = size == 21 ? 51 : 50;
        if (size == 20 || (sent && size == large && !conform_intact(data, size, 50))) {
            for (seed = next; seed < 4 && !conform_intact(data, size, seed); seed++) {}
            next = seed + 1;
        }
        must(conform_intact(data, size, seed));
        done = size == 21;
    }
    free(data);
    must_be(thirl_recv(in, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

static void any_point_may_kill(struct conform *c) {
    need(conform_claims(c).reliable, "messages may be lost");
    need(!conform_claims(c).reliable || keeps(c), "messages are not kept");
    unsigned killed = 0;
    for (unsigned i = 0; i < 2 * 3 * POINTS; i++) {
        lot = (struct lot){i / 6, 1 + i % 3, i / 3 % 2 == 0};
        if (conform_sanitized() && lot.pass != 1) {
            continue; /* it looks at the code that is passed, not at the moment */
        }
        struct peer peer, other;
        conform_start(&peer, c, take_part);
        char byte;
        bool opened = recv(peer.wire, &byte, 1, 0) > 0;
        if (opened && !lot.sends) {
            struct lot kept = lot;
            lot = (struct lot){POINTS - 1, 1000, true};
            conform_start(&other, c, take_part);
            conform_hear(&other);
            conform_join(&other);
            lot = kept;
        }
        must(recv(peer.wire, &byte, 1, 0) == 0);
        int status = 0;
        must_be(waitpid(peer.pid, &status, 0), peer.pid);
        must(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        killed += WIFSIGNALED(status);
        close(peer.wire);
        pid_t pid = fork(); /* the stage itself stays a stranger to the registry */
        if (pid == 0) {
            take_stock(c, true);
            struct found found = find_left();
            must_be(found.count, 0);
            exit(0);
        }
        must_be(waitpid(pid, &status, 0), pid);
        must_be(status, 0);
    }
    need(killed > POINTS / (conform_sanitized() ? 4 : 2), "it passes few of these points");
    char path[256];
    (void)snprintf(path, sizeof path, "%s/chan", c->registry);
    must_be(conform_lines_of(path), 0);
}

/* ---- raw ---- */

static void raw_ends_carry_packets(struct conform *c) {
    thirl *in = NULL;
    int rc = thirl_open(&in, THIRL_PULL, conform_address(c, 0, "raw"), NULL);
    need(rc != -EOPNOTSUPP, "no raw form");
    must_be(rc, 0);
    thirl *out = conform_open(c, THIRL_PUSH, "raw");
    struct thirl_limits limits = limits_of(out);
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
    struct found found = find_left();
    if (found.count != 0) {
        must_be(thirl_clean(found.address), 0);
        must_be(find_left().count, 0);
    }
}

static void raw_priorities_hold(struct conform *c) {
    highest_priority_first(c, "raw");
    struct found found = find_left();
    must(found.count == 0 || thirl_clean(found.address) == 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(queues_every_size, CONFORM_QUEUE),
        CONFORM_FOR(queue_keeps_what_does_not_fit, CONFORM_QUEUE),
        CONFORM_FOR(queue_refuses_one_byte_more, CONFORM_QUEUE),
        CONFORM_FOR(many_senders_keep_their_order, CONFORM_QUEUE),
        CONFORM_FOR(what_is_lost_is_counted, CONFORM_QUEUE),
        CONFORM_FOR(only_receiver_stays_so, CONFORM_QUEUE),
        CONFORM_FOR(each_message_reaches_one, CONFORM_QUEUE),
        CONFORM_FOR(full_queue_waits, CONFORM_QUEUE),
        CONFORM_FOR(half_a_message_is_finished, CONFORM_QUEUE),
        CONFORM_FOR(descriptor_wakes_a_receiver, CONFORM_QUEUE),
        CONFORM_FOR(priorities_hold, CONFORM_QUEUE),
        CONFORM_FOR(urgent_overtakes_a_large_one, CONFORM_QUEUE),
        CONFORM_FOR(receiver_may_come_later, CONFORM_QUEUE),
        CONFORM_FOR(leftovers_are_removed_on_demand, CONFORM_QUEUE),
        CONFORM_FOR(sender_dies_in_mid_message, CONFORM_QUEUE),
        CONFORM_FOR(receiver_dies_in_mid_message, CONFORM_QUEUE),
        CONFORM_FOR(any_point_may_kill, CONFORM_QUEUE),
        CONFORM_FOR(raw_ends_carry_packets, CONFORM_QUEUE),
        CONFORM_FOR(raw_priorities_hold, CONFORM_QUEUE),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
