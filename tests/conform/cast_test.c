/* SPDX-License-Identifier: MIT
 *
 * Publishers and subscribers: every subscriber gets what every publisher sends, in each publisher's order, or sees what it
 * missed; who is slow delays nobody, unless the publisher asked to wait.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"
#include "tests/conform/press.h"
#include "tests/conform/stock.h"

/* ---- everybody gets everything ---- */

static void subscribe_and_take(const struct conform *c, struct peer *stage) {
    thirl *end = press_subscribe(c, stage, NULL);
    for (uint32_t i = 0; i < press_few(5000); i++) {
        press_expect(end, 1, i);
    }
    press_done(&end);
}

static void every_subscriber_gets_everything(struct conform *c) {
    struct peer peer[3];
    for (int i = 0; i < 3; i++) {
        conform_start(&peer[i], c, subscribe_and_take);
    }
    thirl *pub = conform_open(c, THIRL_PUB, stock_meets(c) ? "full=block" : NULL); /* else a queue is short there */
    press_admit(peer, 3);
    for (uint32_t i = 0; i < press_few(5000); i++) {
        press_publish(pub, 1, i);
    }
    for (int i = 0; i < 3; i++) {
        conform_join(&peer[i]);
    }
    press_done(&pub);
}

static void subscriber_may_come_first(struct conform *c) {
    thirl *sub = conform_open(c, THIRL_SUB, NULL);
    press_expect_nothing(sub);
    if ((c->line->roles & CONFORM_MEETS) != 0) {
        must_say("nobody");
    }
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        press_publish(pub, 1, i);
    }
    for (uint32_t i = 0; i < 100; i++) {
        press_expect(sub, 1, i);
    }
    press_expect_nothing(sub);
    press_done(&pub);
    if (!stock_meets(c)) {
        press_expect_nothing(sub); /* one that left is no error: others may come */
    }
    press_done(&sub);
}

static void all_sizes_arrive(struct conform *c) {
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = conform_open(c, THIRL_PUB, NULL);
    uint64_t most = conform_limits(pub).message_max;
    most = stock_meets(c) && most > conform_limits(pub).queue / 4 ? conform_limits(pub).queue / 4 : most;
    bool whole = most == conform_limits(pub).message_max;
    for (size_t size = 0; size <= most; size = size < 130 ? size + 1 : size * 3) {
        conform_send(pub, size, size);
        conform_recv(sub, size, size);
    }
    if (whole && most <= 4 << 20) {
        conform_send(pub, (size_t)most, 7);
        conform_recv(sub, (size_t)most, 7);
        char *large = malloc((size_t)most + 1);
        must(large != NULL);
        must_be(thirl_send(pub, large, (size_t)most + 1, PATIENCE), -EMSGSIZE);
        free(large);
    }
    conform_send(pub, 100, 8);
    size_t size;
    char small[8];
    must_be(thirl_recv(sub, small, sizeof small, &size, PATIENCE), -EMSGSIZE);
    must_be(size, 100);
    conform_recv(sub, 100, 8);
    press_done(&pub);
    press_done(&sub);
}

static void many_at_once(struct conform *c) {
    enum { MANY = 32 };
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = conform_open(c, THIRL_PUB, NULL);
    struct press_item item[MANY], came[MANY];
    struct iovec vector[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        item[i] = (struct press_item){.sender = 2, .number = i};
        conform_fill(item[i].filling, sizeof item[i].filling, 200000 + i);
        vector[i] = (struct iovec){&item[i], sizeof item[i]};
    }
    size_t count = MANY;
    must_be(thirl_send_many(pub, vector, &count, PATIENCE), 0);
    must_be(count, MANY);
    struct iovec nothing[] = {{NULL, 1}};
    count = 1;
    must_be(thirl_send_many(pub, nothing, &count, PATIENCE), -EINVAL);
    for (uint32_t got = 0; got < MANY;) {
        count = MANY;
        must_be(thirl_recv_many(sub, came, sizeof came, vector, &count, PATIENCE), 0);
        for (size_t i = 0; i < count; i++, got++) {
            must_be(vector[i].iov_len, sizeof(struct press_item));
            must(memcmp(vector[i].iov_base, &item[got], sizeof *item) == 0);
        }
    }
    press_done(&pub);
    press_done(&sub);
}

static void messages_have_numbers(struct conform *c) {
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 5; i++) {
        thirl_msg *msg = NULL;
        must_be(thirl_loan(pub, &msg, 8, PATIENCE), 0);
        memset(thirl_msg_data(msg), (int)i, 8);
        must_be(thirl_put(pub, &msg, PATIENCE), 0);
        must_be(thirl_take(sub, &msg, PATIENCE), 0);
        must_be(thirl_msg_number(msg), i);
        must_be(thirl_msg_lost(msg), 0);
        must_be(thirl_msg_size(msg), 8);
        must_be(*(char *)thirl_msg_data(msg), (char)i);
        thirl_free(&msg);
    }
    press_done(&pub);
    press_done(&sub);
}

static void publish_many(const struct conform *c, struct peer *stage) {
    uint32_t sender = (uint32_t)conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUB, press_waits(c) ? "full=block&queue=64K" : NULL);
    conform_tell(stage, 0);
    for (uint32_t i = 0; i < press_few(5000); i++) {
        press_publish(end, sender, i);
    }
    press_done(&end);
}

static void many_publishers_keep_their_order(struct conform *c) {
    stock_need(conform_claims(c).senders != 1, "one publisher only");
    enum { PUBLISHERS = 4 };
    struct peer peer[PUBLISHERS];
    for (int i = 0; i < PUBLISHERS; i++) {
        conform_start(&peer[i], c, publish_many);
    }
    thirl *sub = conform_open(c, THIRL_SUB, NULL);
    for (int i = 0; i < PUBLISHERS; i++) {
        conform_tell(&peer[i], (uint64_t)i);
    }
    uint32_t next[PUBLISHERS] = {0};
    struct press_item item;
    for (uint32_t i = 0; i < PUBLISHERS * press_few(5000); i++) {
        must_be(press_receive(sub, &item, PATIENCE), 0);
        must(item.sender < PUBLISHERS);
        must_be(item.number, next[item.sender]);
        next[item.sender]++;
    }
    press_expect_nothing(sub);
    press_done(&sub);
    for (int i = 0; i < PUBLISHERS; i++) {
        conform_join(&peer[i]);
    }
}

/* ---- who comes late ---- */

static void late_comer_begins_at_the_end(struct conform *c) {
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 1000; i++) {
        press_publish(pub, 1, i);
    }
    thirl *sub = conform_open(c, THIRL_SUB, NULL);
    press_publish(pub, 1, 1000);
    thirl_msg *msg = NULL;
    must_be(thirl_take(sub, &msg, PATIENCE), 0);
    must_be(((struct press_item *)thirl_msg_data(msg))->number, 1000);
    must_be(thirl_msg_number(msg), 1000);
    must_be(thirl_msg_lost(msg), 0);
    thirl_free(&msg);
    press_done(&sub);
    press_done(&pub);
}

static void history_comes_first(struct conform *c) {
    stock_need(conform_claims(c).senders != 1, "one publisher only");
    thirl *pub = conform_open(c, THIRL_PUB, NULL), *other = conform_open(c, THIRL_PUB, NULL), *sub = NULL;
    int rc = thirl_open(&sub, THIRL_SUB, conform_address(c, 0, "history=10"), NULL);
    stock_need(rc != -EOPNOTSUPP, "it keeps no history");
    must_be(rc, 0);
    press_done(&sub);
    for (uint32_t i = 0; i < press_few(20000); i++) {
        press_publish(pub, 1, i);
    }
    press_publish(other, 2, 0);
    sub = conform_open(c, THIRL_SUB, "history=10");
    uint32_t next = press_few(20000) - 10, two = 0;
    for (int i = 0; i < 11; i++) {
        struct press_item item;
        must_be(press_receive(sub, &item, PATIENCE), 0);
        must_be(item.number, item.sender == 1 ? next : two);
        next += item.sender == 1;
        two += item.sender == 2;
    }
    must_be(next, press_few(20000));
    press_expect_nothing(sub);
    press_publish(pub, 1, next);
    press_expect(sub, 1, next);
    press_done(&sub);
    press_done(&other);
    press_done(&pub);
    pub = conform_open(c, THIRL_PUB, "history=1"); /* what nobody has to ask for */
    press_publish(pub, 1, 1);
    press_publish(pub, 1, 2);
    sub = conform_open(c, THIRL_SUB, NULL);
    press_expect(sub, 1, 2);
    press_expect_nothing(sub);
    press_done(&sub);
    press_done(&pub);
}

/* ---- who is slow ---- */

static void slow_one_delays_nobody(struct conform *c) {
    thirl *slow = conform_open(c, THIRL_SUB, NULL), *quick = conform_open(c, THIRL_SUB, NULL);
    thirl *pub = conform_open(c, THIRL_PUB, "queue=64K");
    stock_need(conform_limits(pub).full == THIRL_FULL_DROP_OLDEST, "its publishers wait");
    uint32_t total = press_few(20000);
    for (uint32_t i = 0; i < total; i++) {
        press_publish(pub, 1, i);
        press_expect(quick, 1, i);
    }
    uint64_t next = 0, lost = 0, listed = 0;
    for (bool last = false; !last;) {
        thirl_msg *msg = NULL;
        must_be(thirl_take(slow, &msg, PATIENCE), 0);
        const struct press_item *item = thirl_msg_data(msg);
        press_check(item);
        must_be(thirl_msg_number(msg), item->number);
        must_be(thirl_msg_number(msg), next + thirl_msg_lost(msg));
        lost += thirl_msg_lost(msg);
        next = thirl_msg_number(msg) + 1;
        last = next == total;
        thirl_free(&msg);
    }
    must(lost > 0 && lost < total);
    must_be(thirl_list(stock_lost, &listed), 0);
    must_be(listed, lost);
    press_expect_nothing(slow);
    press_done(&pub);
    press_done(&quick);
    press_done(&slow);
}

static void latest_is_all_that_comes(struct conform *c) {
    stock_need(!stock_meets(c), "what has left cannot be taken back");
    thirl *slow = conform_open(c, THIRL_SUB, NULL), *quick = conform_open(c, THIRL_SUB, NULL);
    thirl *pub = press_open_full(c, "full=latest&queue=64K");
    must_be(conform_limits(pub).full, THIRL_FULL_LATEST);
    for (uint32_t i = 0; i < 3000; i++) {
        press_publish(pub, 1, i);
        press_expect(quick, 1, i);
    }
    thirl_msg *msg = NULL;
    must_be(thirl_take(slow, &msg, PATIENCE), 0);
    must_be(thirl_msg_number(msg), 2999);
    must_be(thirl_msg_lost(msg), 2999);
    press_check(thirl_msg_data(msg));
    thirl_free(&msg);
    press_expect_nothing(slow);
    press_publish(pub, 1, 3000);
    press_expect(slow, 1, 3000);
    press_done(&pub);
    press_done(&quick);
    press_done(&slow);
}

static void take_when_told(const struct conform *c, struct peer *stage) {
    thirl *end = press_subscribe(c, stage, NULL);
    uint32_t total = (uint32_t)conform_hear(stage);
    conform_sleep(50 * MS);
    for (uint32_t i = 0; i < total; i++) {
        press_expect(end, 1, i);
    }
    conform_tell(stage, 1);
    conform_hear(stage);
    press_done(&end);
}

static void block_waits_for_the_slowest(struct conform *c) {
    stock_need(press_waits(c), "its publishers wait for nobody");
    struct peer peer;
    conform_start(&peer, c, take_when_told);
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=16K");
    press_admit(&peer, 1);
    thirl *quick = conform_open(c, THIRL_SUB, NULL);
    must(conform_limits(pub).reliable);
    uint32_t full = 0;
    struct press_item item = {.sender = 1};
    for (int rc = 0; rc == 0; full += rc == 0) {
        item.number = full;
        conform_fill(item.filling, sizeof item.filling, 100000 + full);
        rc = thirl_send(pub, &item, sizeof item, thirl_in_ms(20));
        must(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0) {
            press_expect(quick, 1, full);
        }
    }
    must_say("full");
    conform_names(c, peer.pid);
    must(full > 20);
    conform_tell(&peer, full + 500);
    for (uint32_t i = full; i < full + 500; i++) {
        press_publish(pub, 1, i); /* is woken when there is room */
        press_expect(quick, 1, i);
    }
    must_be(conform_hear(&peer), 1);
    conform_tell(&peer, 0);
    conform_join(&peer);
    press_done(&quick);
    press_done(&pub);
}

static void fail_says_so_at_once(struct conform *c) {
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = press_open_full(c, "full=fail&queue=16K");
    uint32_t full = press_fill(pub, 0);
    int64_t began = conform_now();
    struct press_item item = {.sender = 1};
    must_be(thirl_send(pub, &item, sizeof item, thirl_in_ms(5000)), -EAGAIN);
    must_say("full");
    must(conform_now() - began < 1000 * MS);
    stock_need(!stock_meets(c), "so far; the last one leaves with the next call, and there is none in between");
    for (uint32_t i = 0; i < full; i++) {
        press_expect(sub, 1, i);
    }
    press_publish(pub, 1, full);
    press_expect(sub, 1, full);
    press_done(&pub);
    press_done(&sub);
}

static void newest_may_be_dropped(struct conform *c) {
    stock_need(!stock_meets(c) || !conform_claims(c).cross_host, "the kernel makes room while nobody receives");
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = press_open_full(c, "full=drop-newest&queue=16K");
    uint64_t listed = 0, next = 0, lost = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        press_publish(pub, 1, i);
    }
    must_be(thirl_list(stock_lost, &listed), 0);
    must(listed > 0 && listed < 4000);
    struct press_item item;
    while (press_receive(sub, &item, thirl_in_ms(50)) == 0) {
        must_be(item.number, next);
        next++;
    }
    must_be(next + listed, 4000);
    press_publish(pub, 1, 4000);
    thirl_msg *msg = NULL;
    must_be(thirl_take(sub, &msg, PATIENCE), 0);
    lost = thirl_msg_lost(msg);
    must_be(lost, listed);
    thirl_free(&msg);
    press_done(&pub);
    press_done(&sub);
}

static void slow_one_may_be_cut_off(struct conform *c) {
    stock_need(conform_claims(c).senders != 1, "one publisher only");
    thirl *slow = conform_open(c, THIRL_SUB, NULL), *quick = conform_open(c, THIRL_SUB, NULL);
    thirl *pub = press_open_full(c, "full=disconnect&queue=16K"), *other = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 2000; i++) {
        press_publish(pub, 1, i);
        press_expect(quick, 1, i);
    }
    struct press_item item;
    must_be(press_receive(slow, &item, PATIENCE), -ECONNRESET);
    must_say("too slow");
    press_expect_nothing(slow);
    press_publish(pub, 1, 2000);
    press_expect(quick, 1, 2000);
    press_publish(other, 2, 0); /* others it still hears */
    press_expect(slow, 2, 0);
    press_expect(quick, 2, 0);
    press_done(&other);
    press_done(&pub);
    press_done(&quick);
    press_done(&slow);
}

/* ---- claims ---- */

static void what_is_not_carried_is_refused(struct conform *c) {
    thirl *end = NULL;
    struct thirl_limits claims = conform_claims(c);
    stock_need(claims.senders != 1, "one publisher only");
    must_be(claims.senders, 0);
    must_be(claims.receivers, 0);
    must_be(thirl_open(&end, THIRL_SUB, conform_address(c, 0, "full=block"), NULL) != 0, 1);
    must(end == NULL);
    end = conform_open(c, THIRL_SUB, NULL);
    must_be(thirl_send(end, "x", 1, THIRL_NOW), -THIRL_EROLE);
    press_done(&end);
    end = conform_open(c, THIRL_PUB, NULL);
    must_be(conform_limits(end).message_max, claims.message_max - (conform_sealed(c) ? 4 : 0));
    must_be(thirl_send(end, "x", 1, PATIENCE), 0); /* to nobody */
    press_done(&end);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(every_subscriber_gets_everything, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(subscriber_may_come_first, CONFORM_CAST),
        CONFORM_FOR(all_sizes_arrive, CONFORM_CAST),
        CONFORM_FOR(many_at_once, CONFORM_CAST),
        CONFORM_FOR(messages_have_numbers, CONFORM_CAST),
        CONFORM_FOR(many_publishers_keep_their_order, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(late_comer_begins_at_the_end, CONFORM_CAST),
        CONFORM_FOR(history_comes_first, CONFORM_CAST),
        CONFORM_FOR(slow_one_delays_nobody, CONFORM_CAST),
        CONFORM_FOR(latest_is_all_that_comes, CONFORM_CAST),
        CONFORM_FOR(block_waits_for_the_slowest, CONFORM_CAST),
        CONFORM_FOR(fail_says_so_at_once, CONFORM_CAST),
        CONFORM_FOR(newest_may_be_dropped, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(slow_one_may_be_cut_off, CONFORM_CAST),
        CONFORM_FOR(what_is_not_carried_is_refused, CONFORM_CAST),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
