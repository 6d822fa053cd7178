/* SPDX-License-Identifier: MIT
 *
 * Crowds at queues: many senders and receivers come, go and die; each message reaches one receiver, once, or is counted as lost.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"
#include "tests/conform/stock.h"

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
    size_t large = conform_limits(end).message_max < 30000 ? (size_t)conform_limits(end).message_max : 30000;
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
    stock_need(conform_claims(c).reliable, "messages may be lost");
    for (int i = 0; i < SENDERS; i++) {
        conform_start(&peer[i], c, push_many);
    }
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    stock_need(conform_limits(end).senders == 0, "one sender only");
    for (int i = 0; i < SENDERS; i++) {
        conform_tell(&peer[i], (uint64_t)i);
    }
    uint32_t next[SENDERS] = {0};
    size_t large = conform_limits(end).message_max < 30000 ? (size_t)conform_limits(end).message_max : 30000;
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
    stock_need(!conform_claims(c).reliable, "nothing is lost");
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
    must_be(thirl_list(stock_lost, &lost), 0);
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
    stock_need(conform_claims(c).receivers == 1, "any number of receivers");
    thirl *end = conform_open(c, THIRL_PULL, NULL), *other = NULL;
    must_be(thirl_open(&other, THIRL_PULL, conform_address(c, 0, NULL), NULL), -EBUSY);
    must_say("another");
    must_be(conform_limits(end).receivers, 1);
    must_be(thirl_close(&end, PATIENCE), 0);
    end = conform_open(c, THIRL_PULL, NULL);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* Tells every message that it gets, each sender's in order, and ends when nothing more comes. */
static void pull_some(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    size_t large = conform_limits(end).message_max < 30000 ? (size_t)conform_limits(end).message_max : 30000, size;
    char *data = malloc(large);
    uint32_t next[SENDERS] = {0};
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
        must(item.sender < SENDERS && item.number >= next[item.sender]);
        next[item.sender] = item.number + 1;
        conform_tell(stage, (uint64_t)item.sender << 32 | item.number);
    }
    conform_tell(stage, UINT64_MAX);
    must_be(thirl_close(&end, PATIENCE), 0);
    free(data);
}

static void each_message_reaches_one(struct conform *c) {
    struct peer in[3], out[2];
    stock_need(conform_claims(c).receivers == 0, "one receiver only");
    for (int i = 0; i < 3; i++) {
        conform_start(&in[i], c, pull_some);
    }
    for (int i = 0; i < 2; i++) {
        conform_start(&out[i], c, push_many);
    }
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    bool many = conform_limits(end).receivers == 0 && conform_limits(end).senders == 0;
    must_be(thirl_close(&end, THIRL_NOW), 0);
    stock_need(many, "one receiver only");
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

/* A message of three packets, or as many as there can be; a small queue has room for it, and for little more. */
static size_t some_pieces(thirl *end) {
    struct thirl_limits limits = conform_limits(end);
    uint64_t size = limits.atomic_max * 2 + 8; /* more than two packets, with a CRC as well */
    return (size_t)(size < limits.message_max ? size : limits.message_max);
}

/* A message of several packets, of which two fit into the queue. */
static size_t few_pieces(thirl *end) {
    struct thirl_limits limits = conform_limits(end);
    size_t most = some_pieces(end), least = (size_t)limits.atomic_max + 1;
    if (limits.message_max == limits.atomic_max) {
        return 10000; /* never cut: the largest would be alone in the queue */
    }
    return limits.queue > 6 * limits.atomic_max || most < least ? most : least;
}

static void push_half(const struct conform *c, struct peer *stage) {
    conform_die_at(points[0], 2);
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
    stock_need(conform_claims(c).message_max > conform_claims(c).atomic_max, "messages are never cut");
    stock_need(!stock_meets(c), "each connection has its one sender, and half a message ends with it");
    conform_start(&peer, c, push_half);
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    struct thirl_limits limits = conform_limits(end);
    stock_need(limits.message_max > limits.atomic_max, "messages are never cut");
    conform_tell(&peer, 0);
    await_end(&peer);
    char byte;
    uint64_t lost = 0;
    must_be(thirl_recv(end, &byte, 1, NULL, thirl_in_ms(400)), -ETIMEDOUT);
    must_be(thirl_list(stock_lost, &lost), 0);
    must_be(lost, 1);
    thirl *out = conform_open(c, THIRL_PUSH, NULL);
    conform_send(out, (size_t)limits.atomic_max * 2, 5);
    conform_recv(end, (size_t)limits.atomic_max * 2, 5);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void pull_half(const struct conform *c, struct peer *stage) {
    conform_die_at(points[1], 2);
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    conform_tell(stage, 0);
    conform_recv(end, some_pieces(end), 1);
}

/* A receiver dies with half a message in its hands: the next one gets the turn, and everything that is whole. */
static void receiver_dies_in_mid_message(struct conform *c) {
    struct peer peer;
    stock_need(conform_claims(c).message_max > conform_claims(c).atomic_max, "messages are never cut");
    stock_need(!stock_meets(c), "each connection has its one receiver, and half a message ends with it");
    conform_start(&peer, c, pull_half);
    conform_hear(&peer);
    thirl *out = conform_open(c, THIRL_PUSH, NULL);
    struct thirl_limits limits = conform_limits(out);
    stock_need(limits.message_max > limits.atomic_max && limits.receivers == 0,
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
    conform_die_at(points[lot.point], lot.pass);
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
    /* Where each sender has a lane of his own, a dead one's may be the last that is looked at. */
    bool lanes = strcmp(c->line->name, "shm-queue") == 0;
    for (bool done = false; !done || lanes;) {
        int rc = thirl_recv(in, data, large, &size, done ? thirl_in_ms(1) : PATIENCE);
        if (done && rc == -ETIMEDOUT) {
            break;
        }
        must_be(rc, 0);
        uint64_t seed = size == 21 ? 51 : 50;
        if (size == 20 || (sent && size == large && !conform_intact(data, size, 50))) {
            for (seed = next; seed < 4 && !conform_intact(data, size, seed); seed++) {}
            next = seed + 1;
        }
        must(conform_intact(data, size, seed));
        done = done || size == 21;
    }
    free(data);
    must_be(thirl_recv(in, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

static void any_point_may_kill(struct conform *c) {
    if (strncmp(c->line->prefix, "auto:", 5) == 0) {
        conform_skip("its points are those of what it runs over, and of auto_test");
    }
    stock_need(conform_claims(c).reliable, "messages may be lost");
    stock_need(!conform_claims(c).reliable || stock_keeps(c), "messages are not kept");
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
            struct stock_left found = stock_left();
            must_be(found.count, 0);
            exit(0);
        }
        must_be(waitpid(pid, &status, 0), pid);
        must_be(status, 0);
    }
    stock_need(killed > POINTS / (conform_sanitized() ? 4 : 2), "it passes few of these points");
    must_be(conform_channels(c), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(many_senders_keep_their_order, CONFORM_QUEUE),
        CONFORM_FOR(what_is_lost_is_counted, CONFORM_QUEUE),
        CONFORM_FOR(only_receiver_stays_so, CONFORM_QUEUE),
        CONFORM_FOR(each_message_reaches_one, CONFORM_QUEUE),
        CONFORM_FOR(sender_dies_in_mid_message, CONFORM_QUEUE),
        CONFORM_FOR(receiver_dies_in_mid_message, CONFORM_QUEUE),
        CONFORM_FOR(any_point_may_kill, CONFORM_QUEUE),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
