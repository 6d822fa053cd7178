/* SPDX-License-Identifier: MIT
 *
 * Publishers and subscribers: every subscriber gets what every publisher sends, in each publisher's order, or sees what it
 * missed; who is slow, stopped or dead harms nobody but itself, unless the publisher asked to wait.
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

struct item {
    uint32_t sender, number;
    char filling[56];
};

static void publish(thirl *end, uint32_t sender, uint32_t number) {
    struct item item = {.sender = sender, .number = number};
    conform_fill(item.filling, sizeof item.filling, sender * 100000 + number);
    must_be(thirl_send(end, &item, sizeof item, PATIENCE), 0);
}

static void check(const struct item *item) {
    must(conform_intact(item->filling, sizeof item->filling, item->sender * 100000 + item->number));
}

/* What thirl_recv says; with 0 an item that is whole. */
static int receive(thirl *end, struct item *item, thirl_time until) {
    size_t size = 0;
    int rc = thirl_recv(end, item, sizeof *item, &size, until);
    if (rc == 0) {
        must_be(size, sizeof *item);
        check(item);
    }
    return rc;
}

static void expect(thirl *end, uint32_t sender, uint32_t number) {
    struct item item;
    must_be(receive(end, &item, PATIENCE), 0);
    must_be(item.sender, sender);
    must_be(item.number, number);
}

static void expect_nothing(thirl *end) {
    struct item item;
    must_be(receive(end, &item, thirl_in_ms(20)), -ETIMEDOUT);
}

static void done(thirl **end) {
    must_be(thirl_close(end, PATIENCE), 0);
}

static uint32_t few(uint32_t usual) {
    return conform_sanitized() ? usual / 10 : usual;
}

static bool waits(const struct conform *c) {
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PUB, conform_address(c, 9, "full=block"), NULL);
    if (rc == 0) {
        must_be(thirl_close(&end, THIRL_NOW), 0);
    }
    return rc == 0;
}

static thirl *open_full(const struct conform *c, const char *options) {
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PUB, conform_address(c, 0, options), NULL);
    stock_need(rc != -EOPNOTSUPP, "it does not know this ?full=");
    must_be(rc, 0);
    return end;
}

/* ---- everybody gets everything ---- */

static void subscribe_and_take(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SUB, NULL);
    conform_tell(stage, 0);
    for (uint32_t i = 0; i < few(5000); i++) {
        expect(end, 1, i);
    }
    done(&end);
}

static void every_subscriber_gets_everything(struct conform *c) {
    struct peer peer[3];
    for (int i = 0; i < 3; i++) {
        conform_start(&peer[i], c, subscribe_and_take);
    }
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    for (int i = 0; i < 3; i++) {
        conform_hear(&peer[i]);
    }
    for (uint32_t i = 0; i < few(5000); i++) {
        publish(pub, 1, i);
    }
    for (int i = 0; i < 3; i++) {
        conform_join(&peer[i]);
    }
    done(&pub);
}

static void subscriber_may_come_first(struct conform *c) {
    thirl *sub = conform_open(c, THIRL_SUB, NULL);
    expect_nothing(sub);
    must_say("nobody");
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        publish(pub, 1, i);
    }
    for (uint32_t i = 0; i < 100; i++) {
        expect(sub, 1, i);
    }
    expect_nothing(sub);
    done(&pub);
    expect_nothing(sub); /* one that left is no error: others may come */
    done(&sub);
}

static void all_sizes_arrive(struct conform *c) {
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = conform_open(c, THIRL_PUB, NULL);
    uint64_t most = stock_limits(pub).message_max;
    for (size_t size = 0; size <= most; size = size < 130 ? size + 1 : size * 3) {
        conform_send(pub, size, size);
        conform_recv(sub, size, size);
    }
    if (most <= 4 << 20) {
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
    done(&pub);
    done(&sub);
}

static void many_at_once(struct conform *c) {
    enum { MANY = 32 };
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = conform_open(c, THIRL_PUB, NULL);
    struct item item[MANY], came[MANY];
    struct iovec vector[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        item[i] = (struct item){.sender = 2, .number = i};
        conform_fill(item[i].filling, sizeof item[i].filling, 200000 + i);
        vector[i] = (struct iovec){&item[i], sizeof item[i]};
    }
    size_t count = MANY;
    must_be(thirl_send_many(pub, vector, &count, PATIENCE), 0);
    must_be(count, MANY);
    for (uint32_t got = 0; got < MANY;) {
        count = MANY;
        must_be(thirl_recv_many(sub, came, sizeof came, vector, &count, PATIENCE), 0);
        for (size_t i = 0; i < count; i++, got++) {
            must_be(vector[i].iov_len, sizeof(struct item));
            must(memcmp(vector[i].iov_base, &item[got], sizeof *item) == 0);
        }
    }
    done(&pub);
    done(&sub);
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
    done(&pub);
    done(&sub);
}

static void publish_many(const struct conform *c, struct peer *stage) {
    uint32_t sender = (uint32_t)conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUB, waits(c) ? "full=block&queue=64K" : NULL);
    conform_tell(stage, 0);
    for (uint32_t i = 0; i < few(5000); i++) {
        publish(end, sender, i);
    }
    done(&end);
}

static void many_publishers_keep_their_order(struct conform *c) {
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
    struct item item;
    for (uint32_t i = 0; i < PUBLISHERS * few(5000); i++) {
        must_be(receive(sub, &item, PATIENCE), 0);
        must(item.sender < PUBLISHERS);
        must_be(item.number, next[item.sender]);
        next[item.sender]++;
    }
    expect_nothing(sub);
    done(&sub);
    for (int i = 0; i < PUBLISHERS; i++) {
        conform_join(&peer[i]);
    }
}

/* ---- who comes late ---- */

static void late_comer_begins_at_the_end(struct conform *c) {
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 1000; i++) {
        publish(pub, 1, i);
    }
    thirl *sub = conform_open(c, THIRL_SUB, NULL);
    publish(pub, 1, 1000);
    thirl_msg *msg = NULL;
    must_be(thirl_take(sub, &msg, PATIENCE), 0);
    must_be(((struct item *)thirl_msg_data(msg))->number, 1000);
    must_be(thirl_msg_number(msg), 1000);
    must_be(thirl_msg_lost(msg), 0);
    thirl_free(&msg);
    done(&sub);
    done(&pub);
}

static void history_comes_first(struct conform *c) {
    thirl *pub = conform_open(c, THIRL_PUB, NULL), *other = conform_open(c, THIRL_PUB, NULL), *sub = NULL;
    int rc = thirl_open(&sub, THIRL_SUB, conform_address(c, 0, "history=10"), NULL);
    stock_need(rc != -EOPNOTSUPP, "it keeps no history");
    must_be(rc, 0);
    done(&sub);
    for (uint32_t i = 0; i < few(20000); i++) {
        publish(pub, 1, i);
    }
    publish(other, 2, 0);
    sub = conform_open(c, THIRL_SUB, "history=10");
    uint32_t next = few(20000) - 10, two = 0;
    for (int i = 0; i < 11; i++) {
        struct item item;
        must_be(receive(sub, &item, PATIENCE), 0);
        must_be(item.number, item.sender == 1 ? next : two);
        next += item.sender == 1;
        two += item.sender == 2;
    }
    must_be(next, few(20000));
    expect_nothing(sub);
    publish(pub, 1, next);
    expect(sub, 1, next);
    done(&sub);
    done(&other);
    done(&pub);
    pub = conform_open(c, THIRL_PUB, "history=1"); /* what nobody has to ask for */
    publish(pub, 1, 1);
    publish(pub, 1, 2);
    sub = conform_open(c, THIRL_SUB, NULL);
    expect(sub, 1, 2);
    expect_nothing(sub);
    done(&sub);
    done(&pub);
}

/* ---- who is slow ---- */

static void slow_one_delays_nobody(struct conform *c) {
    thirl *slow = conform_open(c, THIRL_SUB, NULL), *quick = conform_open(c, THIRL_SUB, NULL);
    thirl *pub = conform_open(c, THIRL_PUB, "queue=64K");
    stock_need(stock_limits(pub).full == THIRL_FULL_DROP_OLDEST, "its publishers wait");
    uint32_t total = few(20000);
    for (uint32_t i = 0; i < total; i++) {
        publish(pub, 1, i);
        expect(quick, 1, i);
    }
    uint64_t next = 0, lost = 0, listed = 0;
    for (bool last = false; !last;) {
        thirl_msg *msg = NULL;
        must_be(thirl_take(slow, &msg, PATIENCE), 0);
        const struct item *item = thirl_msg_data(msg);
        check(item);
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
    expect_nothing(slow);
    done(&pub);
    done(&quick);
    done(&slow);
}

static void latest_is_all_that_comes(struct conform *c) {
    thirl *slow = conform_open(c, THIRL_SUB, NULL), *quick = conform_open(c, THIRL_SUB, NULL);
    thirl *pub = open_full(c, "full=latest&queue=64K");
    must_be(stock_limits(pub).full, THIRL_FULL_LATEST);
    for (uint32_t i = 0; i < 3000; i++) {
        publish(pub, 1, i);
        expect(quick, 1, i);
    }
    thirl_msg *msg = NULL;
    must_be(thirl_take(slow, &msg, PATIENCE), 0);
    must_be(thirl_msg_number(msg), 2999);
    must_be(thirl_msg_lost(msg), 2999);
    check(thirl_msg_data(msg));
    thirl_free(&msg);
    expect_nothing(slow);
    publish(pub, 1, 3000);
    expect(slow, 1, 3000);
    done(&pub);
    done(&quick);
    done(&slow);
}

static uint32_t fill(thirl *pub, uint32_t from) {
    struct item item = {.sender = 1};
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

static void take_when_told(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SUB, NULL);
    conform_tell(stage, 0);
    uint32_t total = (uint32_t)conform_hear(stage);
    conform_sleep(50 * MS);
    for (uint32_t i = 0; i < total; i++) {
        expect(end, 1, i);
    }
    conform_tell(stage, 1);
    conform_hear(stage);
    done(&end);
}

static void block_waits_for_the_slowest(struct conform *c) {
    stock_need(waits(c), "its publishers wait for nobody");
    struct peer peer;
    conform_start(&peer, c, take_when_told);
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=16K");
    conform_hear(&peer);
    thirl *quick = conform_open(c, THIRL_SUB, NULL);
    must(stock_limits(pub).reliable);
    uint32_t full = 0;
    struct item item = {.sender = 1};
    for (int rc = 0; rc == 0; full += rc == 0) {
        item.number = full;
        conform_fill(item.filling, sizeof item.filling, 100000 + full);
        rc = thirl_send(pub, &item, sizeof item, thirl_in_ms(20));
        must(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0) {
            expect(quick, 1, full);
        }
    }
    must_say("full");
    conform_names(c, peer.pid);
    must(full > 50);
    conform_tell(&peer, full + 500);
    for (uint32_t i = full; i < full + 500; i++) {
        publish(pub, 1, i); /* is woken when there is room */
        expect(quick, 1, i);
    }
    must_be(conform_hear(&peer), 1);
    conform_tell(&peer, 0);
    conform_join(&peer);
    done(&quick);
    done(&pub);
}

static void fail_says_so_at_once(struct conform *c) {
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = open_full(c, "full=fail&queue=16K");
    uint32_t full = fill(pub, 0);
    int64_t began = conform_now();
    struct item item = {.sender = 1};
    must_be(thirl_send(pub, &item, sizeof item, thirl_in_ms(5000)), -EAGAIN);
    must_say("full");
    must(conform_now() - began < 1000 * MS);
    for (uint32_t i = 0; i < full; i++) {
        expect(sub, 1, i);
    }
    publish(pub, 1, full);
    expect(sub, 1, full);
    done(&pub);
    done(&sub);
}

static void newest_may_be_dropped(struct conform *c) {
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *pub = open_full(c, "full=drop-newest&queue=16K");
    uint64_t listed = 0, next = 0, lost = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        publish(pub, 1, i);
    }
    must_be(thirl_list(stock_lost, &listed), 0);
    must(listed > 0 && listed < 1000);
    struct item item;
    while (receive(sub, &item, thirl_in_ms(50)) == 0) {
        must_be(item.number, next);
        next++;
    }
    must_be(next + listed, 1000);
    publish(pub, 1, 1000);
    thirl_msg *msg = NULL;
    must_be(thirl_take(sub, &msg, PATIENCE), 0);
    lost = thirl_msg_lost(msg);
    must_be(lost, listed);
    thirl_free(&msg);
    done(&pub);
    done(&sub);
}

static void slow_one_may_be_cut_off(struct conform *c) {
    thirl *slow = conform_open(c, THIRL_SUB, NULL), *quick = conform_open(c, THIRL_SUB, NULL);
    thirl *pub = open_full(c, "full=disconnect&queue=16K"), *other = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 2000; i++) {
        publish(pub, 1, i);
        expect(quick, 1, i);
    }
    struct item item;
    must_be(receive(slow, &item, PATIENCE), -ECONNRESET);
    must_say("too slow");
    expect_nothing(slow);
    publish(pub, 1, 2000);
    expect(quick, 1, 2000);
    publish(other, 2, 0); /* others it still hears */
    expect(slow, 2, 0);
    expect(quick, 2, 0);
    done(&other);
    done(&pub);
    done(&quick);
    done(&slow);
}

/* ---- who dies, stops, comes and goes ---- */

static void subscribe_and_rest(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SUB, NULL);
    conform_tell(stage, 0);
    conform_hear(stage);
    done(&end);
}

static void dead_subscriber_holds_nobody_up(struct conform *c) {
    stock_need(waits(c), "its publishers wait for nobody");
    struct peer peer;
    conform_start(&peer, c, subscribe_and_rest);
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=16K");
    conform_hear(&peer);
    uint32_t full = fill(pub, 0);
    conform_kill(&peer);
    int64_t began = conform_now();
    publish(pub, 1, full);
    must(conform_now() - began < (conform_sanitized() ? 1000 : 100) * MS);
    for (uint32_t i = 1; i < 1000; i++) {
        publish(pub, 1, full + i);
    }
    done(&pub);
}

static void stopped_subscriber_is_waited_for(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, subscribe_and_rest);
    bool block = waits(c);
    thirl *lossy = conform_open(c, THIRL_PUB, "queue=16K");
    thirl *pub = block ? conform_open(c, THIRL_PUB, "full=block&queue=16K") : NULL;
    conform_hear(&peer);
    must_be(kill(peer.pid, SIGSTOP), 0);
    for (uint32_t i = 0; i < 5000; i++) {
        publish(lossy, 1, i);
    }
    if (block) {
        (void)fill(pub, 0);
        int64_t began = conform_now();
        struct item item = {.sender = 1};
        must_be(thirl_send(pub, &item, sizeof item, thirl_in_ms(200)), -ETIMEDOUT);
        must(conform_now() - began >= 200 * MS);
    }
    must_be(kill(peer.pid, SIGCONT), 0);
    conform_tell(&peer, 0);
    conform_join(&peer);
    done(&lossy);
    if (block) {
        publish(pub, 1, 0); /* it has left */
        done(&pub);
    }
}

static void publish_and_die(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        publish(end, 1, i);
    }
    conform_tell(stage, 0);
    conform_hear(stage);
}

static void dead_publisher_is_told_of_once(struct conform *c) {
    for (int seen = 0; seen < 2; seen++) {
        struct peer peer;
        conform_start(&peer, c, publish_and_die);
        thirl *sub = NULL;
        /* The stage must have subscribed before it begins, and begins before the peer has said so: by history where late. */
        must_be(thirl_open(&sub, THIRL_SUB, conform_address(c, 0, "history=100"), NULL), 0);
        conform_hear(&peer);
        if (seen) {
            expect(sub, 1, 0);
        }
        conform_kill(&peer);
        for (uint32_t i = seen ? 1 : 0; i < 100; i++) {
            expect(sub, 1, i);
        }
        struct item item;
        must_be(receive(sub, &item, PATIENCE), -THIRL_EPEERDIED);
        conform_names(c, peer.pid);
        expect_nothing(sub);
        thirl *pub = conform_open(c, THIRL_PUB, NULL);
        publish(pub, 2, 0);
        expect(sub, 2, 0);
        done(&pub);
        expect_nothing(sub);
        done(&sub);
    }
}

static void sleeper_hears_of_death(struct conform *c) {
    struct peer peer[3];
    for (int i = 0; i < 3; i++) {
        conform_start(&peer[i], c, publish_and_die);
    }
    thirl *sub = conform_open(c, THIRL_SUB, "history=100&wait=sleep");
    struct item item;
    for (int i = 0; i < 3; i++) {
        conform_hear(&peer[i]);
    }
    for (int i = 0; i < 300; i++) {
        must_be(receive(sub, &item, PATIENCE), 0);
    }
    for (int i = 0; i < 3; i++) {
        conform_kill(&peer[i]);
        int64_t began = conform_now();
        must_be(receive(sub, &item, PATIENCE), -THIRL_EPEERDIED);
        must(conform_now() - began < (conform_sanitized() ? 2000 : 500) * MS);
    }
    expect_nothing(sub);
    done(&sub);
}

static void publish_and_leave(const struct conform *c, struct peer *stage) {
    uint32_t sender = (uint32_t)conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        publish(end, sender, i);
    }
    done(&end);
}

/* What came and went before the subscriber looked is there, and nothing twice. */
static void who_left_was_heard(struct conform *c) {
    enum { VISITORS = 6 };
    struct peer peer[VISITORS];
    for (int i = 0; i < VISITORS; i++) {
        conform_start(&peer[i], c, publish_and_leave);
    }
    thirl *sub = conform_open(c, THIRL_SUB, NULL);
    for (int i = 0; i < VISITORS; i++) {
        conform_tell(&peer[i], (uint64_t)i);
        conform_join(&peer[i]);
    }
    uint32_t next[VISITORS] = {0};
    struct item item;
    for (int i = 0; i < VISITORS * 20; i++) {
        must_be(receive(sub, &item, PATIENCE), 0);
        must(item.sender < VISITORS);
        must_be(item.number, next[item.sender]);
        next[item.sender]++;
    }
    expect_nothing(sub);
    done(&sub);
}

static void come_and_go(const struct conform *c, struct peer *stage) {
    for (int i = 0; i < 40; i++) {
        thirl *end = conform_open(c, THIRL_SUB, i % 2 == 0 ? "history=3" : NULL);
        struct item item;
        uint32_t last = 0;
        for (int j = 0; j < 5 + i % 7; j++) {
            must_be(receive(end, &item, PATIENCE), 0);
            must(j == 0 || item.number == last + 1);
            last = item.number;
        }
        done(&end);
    }
    conform_tell(stage, 1);
}

static void coming_and_going_harms_nobody(struct conform *c) {
    stock_need(waits(c), "it may lose messages anyway");
    struct peer peer[2];
    conform_start(&peer[0], c, come_and_go);
    conform_start(&peer[1], c, come_and_go);
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=16K"), *sub = conform_open(c, THIRL_SUB, NULL);
    struct pollfd polled[2] = {{peer[0].wire, POLLIN, 0}, {peer[1].wire, POLLIN, 0}};
    uint32_t i = 0;
    while ((polled[0].revents & polled[1].revents & POLLIN) == 0) {
        for (int j = 0; j < 100; j++, i++) {
            publish(pub, 1, i);
            expect(sub, 1, i);
        }
        must(poll(polled, 2, 0) >= 0);
    }
    conform_join(&peer[0]);
    conform_join(&peer[1]);
    expect_nothing(sub);
    done(&sub);
    done(&pub);
}

/* ---- crowds ---- */

enum { PROCESSES = 8, CROWD_MESSAGES = 20 };
static unsigned crowd_each;

static void crowd(const struct conform *c, struct peer *stage) {
    thirl **end = calloc(crowd_each, sizeof *end);
    must(end != NULL);
    for (unsigned i = 0; i < crowd_each; i++) {
        end[i] = conform_open(c, THIRL_SUB, NULL);
    }
    conform_tell(stage, 0);
    for (unsigned i = 0; i < crowd_each; i++) {
        for (uint32_t j = 0; j < CROWD_MESSAGES; j++) {
            expect(end[i], 1, j);
        }
    }
    conform_tell(stage, 1);
    for (unsigned i = 0; i < crowd_each; i++) {
        done(&end[i]);
    }
    free(end);
}

static void gather(struct conform *c, unsigned subscribers, const char *options) {
    struct peer peer[PROCESSES];
    crowd_each = subscribers / PROCESSES;
    for (int i = 0; i < PROCESSES; i++) {
        conform_start(&peer[i], c, crowd);
    }
    thirl *pub = conform_open(c, THIRL_PUB, options);
    for (int i = 0; i < PROCESSES; i++) {
        conform_hear(&peer[i]);
    }
    for (uint32_t i = 0; i < CROWD_MESSAGES; i++) {
        publish(pub, 1, i);
    }
    for (int i = 0; i < PROCESSES; i++) {
        must_be(conform_hear(&peer[i]), 1);
    }
    done(&pub);
    for (int i = 0; i < PROCESSES; i++) {
        conform_join(&peer[i]);
    }
}

static void sixty_four_subscribers(struct conform *c) {
    gather(c, 64, NULL);
    if (waits(c)) {
        gather(c, 64, "full=block&queue=4096");
    }
}

static void thousand_subscribers(struct conform *c) {
    stock_need(!conform_sanitized() && c->with[0] == '\0', "enough of them elsewhere");
    gather(c, 1000, waits(c) ? "full=block&queue=4096" : NULL);
}

/* ---- sleeping ---- */

static void sleep_for_each(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SUB, "wait=sleep");
    conform_tell(stage, 0);
    for (uint32_t i = 0; i < 30; i++) {
        expect(end, 1, i);
        conform_tell(stage, i);
    }
    done(&end);
}

static void sleepers_are_woken(struct conform *c) {
    struct peer peer[4];
    for (int i = 0; i < 4; i++) {
        conform_start(&peer[i], c, sleep_for_each);
    }
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    for (int i = 0; i < 4; i++) {
        conform_hear(&peer[i]);
    }
    int64_t longest = 0;
    for (uint32_t i = 0; i < 30; i++) {
        conform_sleep(3 * MS);
        int64_t began = conform_now();
        publish(pub, 1, i);
        for (int j = 0; j < 4; j++) {
            must_be(conform_hear(&peer[j]), i);
        }
        int64_t took = conform_now() - began;
        longest += took > 40 * MS;
    }
    must(longest < 10); /* each would have slept for 50 ms and more */
    for (int i = 0; i < 4; i++) {
        conform_join(&peer[i]);
    }
    done(&pub);
}

static bool lit(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

static void poll_for_each(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SUB, NULL);
    int fd = thirl_fd(end);
    must(fd >= 0);
    conform_tell(stage, 0);
    for (uint32_t i = 0; i < 30;) {
        struct item item;
        must(lit(fd, 20000));
        int rc = receive(end, &item, THIRL_NOW);
        must(rc == 0 || rc == -EAGAIN);
        if (rc == 0) {
            must_be(item.number, i);
            conform_tell(stage, i++);
        }
    }
    done(&end);
}

static void descriptor_tells_of_messages(struct conform *c) {
    struct peer peer[3];
    for (int i = 0; i < 3; i++) {
        conform_start(&peer[i], c, i == 2 ? sleep_for_each : poll_for_each);
    }
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    for (int i = 0; i < 3; i++) {
        conform_hear(&peer[i]);
    }
    unsigned late = 0;
    for (uint32_t i = 0; i < 30; i++) {
        conform_sleep(2 * MS);
        int64_t began = conform_now();
        publish(pub, 1, i);
        for (int j = 0; j < 3; j++) {
            must_be(conform_hear(&peer[j]), i);
        }
        late += conform_now() - began > 40 * MS;
    }
    must(late < 10);
    for (int i = 0; i < 3; i++) {
        conform_join(&peer[i]);
    }
    done(&pub);
}

static void descriptor_tells_of_room(struct conform *c) {
    stock_need(waits(c), "its publishers wait for nobody");
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=16K"), *sub = conform_open(c, THIRL_SUB, NULL);
    int fd = thirl_fd(pub);
    must(fd >= 0);
    must(lit(fd, 1000));
    uint32_t full = fill(pub, 0);
    unsigned early = 0;
    for (int i = 0; i < 5 && lit(fd, 10); i++) {
        early++; /* once too often now and then */
        (void)!thirl_send(pub, "", 0, THIRL_NOW);
    }
    must(early < 5);
    for (uint32_t i = 0; i < full; i++) {
        expect(sub, 1, i);
    }
    must(lit(fd, 20000));
    publish(pub, 1, full);
    expect(sub, 1, full);
    done(&sub);
    done(&pub);
}

/* ---- claims ---- */

static void what_is_not_carried_is_refused(struct conform *c) {
    thirl *end = NULL;
    struct thirl_limits claims = conform_claims(c);
    must_be(claims.senders, 0);
    must_be(claims.receivers, 0);
    must_be(thirl_open(&end, THIRL_SUB, conform_address(c, 0, "full=block"), NULL) != 0, 1);
    must(end == NULL);
    end = conform_open(c, THIRL_SUB, NULL);
    must_be(thirl_send(end, "x", 1, THIRL_NOW), -THIRL_EROLE);
    done(&end);
    end = conform_open(c, THIRL_PUB, NULL);
    must_be(stock_limits(end).message_max, claims.message_max);
    must_be(thirl_send(end, "x", 1, PATIENCE), 0); /* to nobody */
    done(&end);
}

/* ---- seats ---- */

enum { PUBLISHERS_MANY = 150 }; /* more than a subscriber has room for at first */

static void hear_many(const struct conform *c, struct peer *stage) {
    char order[80];
    (void)snprintf(order, sizeof order, "%s:1:kill",
                   conform_hear(stage) == 0 ? "feed.grow.copied" : "feed.grow.renamed");
    (void)setenv("THIRL_WEAVE_AT", order, 1);
    thirl *end = conform_open(c, THIRL_SUB, NULL);
    conform_tell(stage, 0);
    struct item item;
    while (receive(end, &item, PATIENCE) == 0) {}
}

static void many_publishers_find_a_seat(struct conform *c) {
    struct peer victim[2];
    thirl *pub[PUBLISHERS_MANY];
    stock_need(waits(c), "its publishers wait for nobody");
    for (int i = 0; i < 2; i++) {
        conform_start(&victim[i], c, hear_many);
        conform_tell(&victim[i], (uint64_t)i);
    }
    thirl *sub = conform_open(c, THIRL_SUB, NULL);
    for (int i = 0; i < 2; i++) {
        conform_hear(&victim[i]);
    }
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < PUBLISHERS_MANY; i++) {
            if (round == 0) {
                pub[i] = conform_open(c, THIRL_PUB, "full=block&queue=4096");
            }
            for (uint32_t j = 0; j < 30; j++) {
                publish(pub[i], i, round * 30 + j);
            }
        }
        uint32_t next[PUBLISHERS_MANY] = {0};
        for (uint32_t i = 0; i < 30 * PUBLISHERS_MANY; i++) {
            struct item item;
            must_be(receive(sub, &item, PATIENCE), 0);
            must(item.sender < PUBLISHERS_MANY);
            must_be(item.number, round * 30 + next[item.sender]);
            next[item.sender]++;
        }
        expect_nothing(sub);
    }
    for (uint32_t i = 0; i < PUBLISHERS_MANY; i++) {
        done(&pub[i]);
    }
    done(&sub);
    for (int i = 0; i < 2; i++) {
        int status = 0;
        close(victim[i].wire);
        must_be(waitpid(victim[i].pid, &status, 0), victim[i].pid);
        must(WIFSIGNALED(status));
    }
}

/* ---- killed anywhere ---- */

static const char *const points[] = {
    "pub.join.before",     "pub.send.before",  "pub.send.written",  "pub.send.committed", "pub.send.newest",
    "pub.tell.polled",     "pub.arm.before",   "pub.room.raised",   "pub.close.before",   "pub.close.gone",
    "cast.raise.before",   "cast.raise.said",  "crowd.ring.after",  "post.all.before",    "post.all.after",
    "sub.join.before",     "sub.join.counted", "sub.answer.before", "sub.recv.before",    "sub.recv.published",
    "sub.arm.before",      "sub.close.before", "feed.sit.before",   "feed.meet.before",   "feed.meet.after",
    "feed.tidy.before",    "cast.read.copied", "fan.bell.made",     "hail.want.shown",    "roll.finish.before",
    "roll.finish.renamed", "roll.leave.file",
};
#define POINTS (sizeof points / sizeof *points)

static struct lot {
    unsigned point, pass;
    bool sends, block;
} lot;

static void take_part(const struct conform *c, struct peer *stage) {
    char order[80];
    (void)snprintf(order, sizeof order, "%s:%u:kill", points[lot.point], lot.pass);
    (void)setenv("THIRL_WEAVE_AT", order, 1);
    thirl *end = conform_open(c, lot.sends ? THIRL_PUB : THIRL_SUB,
                              !lot.sends  ? "history=2"
                              : lot.block ? "full=block&queue=4096"
                                          : "full=latest&queue=4096");
    conform_tell(stage, 0);
    if (!lot.sends && lot.block) {
        must(thirl_fd(end) >= 0);
    }
    struct item item;
    for (uint32_t i = 0; i < 200; i++) {
        if (lot.sends) {
            item = (struct item){.sender = 7, .number = i};
            conform_fill(item.filling, sizeof item.filling, 700000 + i);
            (void)!thirl_send(end, &item, sizeof item, thirl_in_ms(2));
        } else {
            (void)!receive(end, &item, thirl_in_ms(2));
        }
    }
    (void)!thirl_close(&end, THIRL_NOW);
}

/* The survivors go on: what comes from the victim is whole, and what they say to each other arrives. */
static void survive(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, take_part);
    thirl *sub = conform_open(c, THIRL_SUB, NULL), *polled = conform_open(c, THIRL_SUB, NULL);
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=4096");
    must(thirl_fd(polled) >= 0);
    struct pollfd end = {.fd = peer.wire, .events = POLLIN | POLLRDHUP};
    uint32_t sent = 0;
    uint64_t byte;
    struct item item;
    for (bool over = false; !over;) {
        over = poll(&end, 1, 0) == 1 && recv(peer.wire, &byte, sizeof byte, MSG_DONTWAIT) == 0;
        if (sent % 64 == 63) {
            done(&pub);
            pub = conform_open(c, THIRL_PUB, "full=block&queue=4096");
        }
        publish(pub, 1, sent);
        for (int rc = 0; rc == 0 || rc == -THIRL_EPEERDIED;) {
            rc = receive(sub, &item, PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED);
            if (rc == 0 && item.sender == 1) {
                must_be(item.number, sent);
                break;
            }
        }
        while (receive(polled, &item, THIRL_NOW) == 0) {}
        sent++;
    }
    publish(pub, 1, sent);
    done(&sub);
    sub = conform_open(c, THIRL_SUB, "history=1");
    expect(sub, 1, sent);
    done(&sub);
    done(&polled);
    done(&pub);
    close(peer.wire);
    int status = 0;
    must_be(waitpid(peer.pid, &status, 0), peer.pid);
    must(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    exit(WIFSIGNALED(status) ? 3 : 4);
}

/* true: it was killed. */
static bool kill_at(struct conform *c, struct lot chosen) {
    lot = chosen;
    fflush(NULL);
    pid_t pid = fork(); /* the stage itself stays a stranger to the registry */
    if (pid == 0) {
        survive(c);
    }
    int status = 0;
    must_be(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 3 && WEXITSTATUS(status) != 4)) {
        fprintf(stderr, "killed at %s, pass %u, %s\n", points[lot.point], lot.pass, lot.sends ? "pub" : "sub");
        conform_fail(__FILE__, __LINE__, "the survivors go on");
    }
    return WEXITSTATUS(status) == 3;
}

static void any_point_may_kill(struct conform *c) {
    stock_need(strncmp(c->with, "hurt", 4) != 0, "what is hurt on purpose comes when it likes");
    unsigned killed[POINTS] = {0};
    for (unsigned i = 0; i < 8 * POINTS; i++) {
        struct lot next = {i / 8, i % 2 == 0 ? 1 : 3, i / 2 % 2 == 0, i / 4 % 2 == 0};
        if (!conform_sanitized() ||
            next.pass == 1) { /* a sanitizer looks at the code that is passed, not at the moment */
            killed[next.point] += kill_at(c, next);
        }
    }
    for (unsigned i = 0; i < POINTS; i++) {
        /* What is passed only when another end sleeps just then may have been missed. */
        for (unsigned tries = 0; killed[i] == 0 && tries < 40; tries++) {
            killed[i] += kill_at(c, (struct lot){i, 1, tries % 2 == 0, tries / 2 % 2 == 0});
        }
        if (killed[i] == 0) {
            fprintf(stderr, "never killed at %s\n", points[i]);
        }
        must(killed[i] != 0);
    }
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(every_subscriber_gets_everything, CONFORM_CAST),
        CONFORM_FOR(subscriber_may_come_first, CONFORM_CAST),
        CONFORM_FOR(all_sizes_arrive, CONFORM_CAST),
        CONFORM_FOR(many_at_once, CONFORM_CAST),
        CONFORM_FOR(messages_have_numbers, CONFORM_CAST),
        CONFORM_FOR(many_publishers_keep_their_order, CONFORM_CAST),
        CONFORM_FOR(late_comer_begins_at_the_end, CONFORM_CAST),
        CONFORM_FOR(history_comes_first, CONFORM_CAST),
        CONFORM_FOR(slow_one_delays_nobody, CONFORM_CAST),
        CONFORM_FOR(latest_is_all_that_comes, CONFORM_CAST),
        CONFORM_FOR(block_waits_for_the_slowest, CONFORM_CAST),
        CONFORM_FOR(fail_says_so_at_once, CONFORM_CAST),
        CONFORM_FOR(newest_may_be_dropped, CONFORM_CAST),
        CONFORM_FOR(slow_one_may_be_cut_off, CONFORM_CAST),
        CONFORM_FOR(dead_subscriber_holds_nobody_up, CONFORM_CAST),
        CONFORM_FOR(stopped_subscriber_is_waited_for, CONFORM_CAST),
        CONFORM_FOR(dead_publisher_is_told_of_once, CONFORM_CAST),
        CONFORM_FOR(sleeper_hears_of_death, CONFORM_CAST),
        CONFORM_FOR(who_left_was_heard, CONFORM_CAST),
        CONFORM_FOR(coming_and_going_harms_nobody, CONFORM_CAST),
        CONFORM_FOR(sixty_four_subscribers, CONFORM_CAST),
        CONFORM_FOR(thousand_subscribers, CONFORM_CAST),
        CONFORM_FOR(sleepers_are_woken, CONFORM_CAST),
        CONFORM_FOR(descriptor_tells_of_messages, CONFORM_CAST),
        CONFORM_FOR(descriptor_tells_of_room, CONFORM_CAST),
        CONFORM_FOR(what_is_not_carried_is_refused, CONFORM_CAST),
        CONFORM_FOR(many_publishers_find_a_seat, CONFORM_CAST),
        CONFORM_FOR(any_point_may_kill, CONFORM_CAST),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
