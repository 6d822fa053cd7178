/* SPDX-License-Identifier: MIT
 *
 * Publishers and subscribers that die, stop, come and go: it harms nobody but themselves, and what was committed arrives.
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

/* ---- who dies, stops, comes and goes ---- */

static void subscribe_and_rest(const struct conform *c, struct peer *stage) {
    thirl *end = press_subscribe(c, stage, NULL);
    conform_hear(stage);
    press_done(&end);
}

/* How long a publisher was held up by a subscriber that was killed. */
static int64_t held_up(const struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, subscribe_and_rest);
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=16K");
    press_admit(&peer, 1);
    uint32_t full = press_fill(pub, 0);
    conform_kill(&peer);
    int64_t began = conform_now();
    press_publish(pub, 1, full);
    int64_t took = conform_now() - began;
    for (uint32_t i = 1; i < 1000; i++) {
        press_publish(pub, 1, full + i);
    }
    press_done(&pub);
    return took;
}

static void dead_subscriber_holds_nobody_up(struct conform *c) {
    stock_need(press_waits(c), "its publishers wait for nobody");
    int64_t took = INT64_MAX;
    for (int tries = 0; tries < 4 && took > 100 * MS;
         tries++) { /* a machine that is busy elsewhere is late by chance */
        took = held_up(c);
    }
    must(took < (conform_sanitized() ? 1000 : 100) * MS);
}

static void stopped_subscriber_is_waited_for(struct conform *c) {
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
    struct peer peer;
    conform_start(&peer, c, subscribe_and_rest);
    bool block = press_waits(c);
    thirl *lossy = conform_open(c, THIRL_PUB, "queue=16K");
    thirl *pub = block ? conform_open(c, THIRL_PUB, "full=block&queue=16K") : NULL;
    press_admit(&peer, 1);
    must_be(kill(peer.pid, SIGSTOP), 0);
    for (uint32_t i = 0; i < 5000; i++) {
        press_publish(lossy, 1, i);
    }
    if (block) {
        (void)press_fill(pub, 0);
        int64_t began = conform_now();
        struct press_item item = {.sender = 1};
        must_be(thirl_send(pub, &item, sizeof item, thirl_in_ms(200)), -ETIMEDOUT);
        must(conform_now() - began >= 200 * MS);
    }
    must_be(kill(peer.pid, SIGCONT), 0);
    conform_tell(&peer, 0);
    conform_join(&peer);
    press_done(&lossy);
    if (block) {
        press_publish(pub, 1, 0); /* it has left */
        press_done(&pub);
    }
}

static void publish_and_die(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        press_publish(end, 1, i);
    }
    conform_tell(stage, 0);
    conform_hear(stage);
}

static void dead_publisher_is_told_of_once(struct conform *c) {
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
    for (int seen = 0; seen < 2; seen++) {
        struct peer peer;
        conform_start(&peer, c, publish_and_die);
        thirl *sub = NULL;
        /* The stage must have subscribed before it begins, and begins before the peer has said so: by history where late. */
        must_be(thirl_open(&sub, THIRL_SUB, conform_address(c, 0, "history=100"), NULL), 0);
        conform_hear(&peer);
        if (seen) {
            press_expect(sub, 1, 0);
        }
        conform_kill(&peer);
        for (uint32_t i = seen ? 1 : 0; i < 100; i++) {
            press_expect(sub, 1, i);
        }
        struct press_item item;
        must_be(press_receive(sub, &item, PATIENCE), -THIRL_EPEERDIED);
        conform_names(c, peer.pid);
        press_expect_nothing(sub);
        thirl *pub = conform_open(c, THIRL_PUB, NULL);
        press_publish(pub, 2, 0);
        press_expect(sub, 2, 0);
        press_done(&pub);
        press_expect_nothing(sub);
        press_done(&sub);
    }
}

static void sleeper_hears_of_death(struct conform *c) {
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
    struct peer peer[3];
    for (int i = 0; i < 3; i++) {
        conform_start(&peer[i], c, publish_and_die);
    }
    thirl *sub = conform_open(c, THIRL_SUB, "history=100&wait=sleep");
    struct press_item item;
    for (int i = 0; i < 3; i++) {
        conform_hear(&peer[i]);
    }
    for (int i = 0; i < 300; i++) {
        must_be(press_receive(sub, &item, PATIENCE), 0);
    }
    for (int i = 0; i < 3; i++) {
        conform_kill(&peer[i]);
        int64_t began = conform_now();
        must_be(press_receive(sub, &item, PATIENCE), -THIRL_EPEERDIED);
        must(conform_now() - began < (conform_sanitized() ? 5000 : 1500) * MS);
    }
    press_expect_nothing(sub);
    press_done(&sub);
}

static void publish_when_told(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PUB, NULL);
    conform_tell(stage, 0);
    conform_hear(stage);
    conform_sleep(20 * MS);
    press_publish(end, 1, 0);
    conform_hear(stage);
}

/* Whoever waits for many hears of a message, and of a death; with a descriptor among them, too. */
static void one_of_many_has_news(struct conform *c) {
    for (int with_descriptor = 0; with_descriptor < 2; with_descriptor++) {
        struct peer peer;
        conform_start(&peer, c, publish_when_told);
        thirl *sub = conform_open(c, THIRL_SUB, NULL), *other = NULL;
        must_be(thirl_open(&other, THIRL_SUB, conform_address(c, 1, NULL), NULL), 0);
        struct thirl_want want[] = {{.end = other, .wanted = THIRL_WANT_MESSAGE},
                                    {.end = sub, .wanted = THIRL_WANT_MESSAGE},
                                    {.fd = with_descriptor ? peer.wire : -1, .wanted = POLLRDNORM}};
        struct press_item item;
        conform_hear(&peer);
        (void)press_receive(sub, &item, THIRL_NOW); /* has met the publisher */
        conform_tell(&peer, 0);
        int rc;
        while ((rc = thirl_wait(want, 3, PATIENCE)) > 0 && press_receive(sub, &item, THIRL_NOW) == -EAGAIN) {}
        must_be(rc, 1);
        must_be(item.number, 0);
        must_be(thirl_wait(want, 2, thirl_in_ms(20)), -ETIMEDOUT);
        must_be(kill(peer.pid, SIGKILL), 0);
        int64_t began = conform_now();
        while ((rc = thirl_wait(want, 2, PATIENCE)) > 0 && press_receive(sub, &item, THIRL_NOW) == -EAGAIN) {}
        must(rc == 1 && conform_now() - began < (conform_sanitized() ? 5000 : 1000) * MS);
        must_say("died");
        press_done(&sub);
        press_done(&other);
        conform_kill(&peer);
    }
}

static void publish_and_leave(const struct conform *c, struct peer *stage) {
    uint32_t sender = (uint32_t)conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PUB, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        press_publish(end, sender, i);
    }
    press_done(&end);
}

/* What came and went before the subscriber looked is there, and nothing twice. */
static void who_left_was_heard(struct conform *c) {
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
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
    struct press_item item;
    for (int i = 0; i < VISITORS * 20; i++) {
        must_be(press_receive(sub, &item, PATIENCE), 0);
        must(item.sender < VISITORS);
        must_be(item.number, next[item.sender]);
        next[item.sender]++;
    }
    press_expect_nothing(sub);
    press_done(&sub);
}

static void come_and_go(const struct conform *c, struct peer *stage) {
    for (int i = 0; i < 40; i++) {
        thirl *end = conform_open(c, THIRL_SUB, i % 2 == 0 ? "history=3" : NULL);
        struct press_item item;
        uint32_t last = 0;
        for (int j = 0; j < 5 + i % 7; j++) {
            must_be(press_receive(end, &item, PATIENCE), 0);
            must(j == 0 || item.number == last + 1);
            last = item.number;
        }
        press_done(&end);
    }
    conform_tell(stage, 1);
}

static void coming_and_going_harms_nobody(struct conform *c) {
    stock_need(press_waits(c), "it may lose messages anyway");
    struct peer peer[2];
    conform_start(&peer[0], c, come_and_go);
    conform_start(&peer[1], c, come_and_go);
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=16K"), *sub = conform_open(c, THIRL_SUB, NULL);
    struct pollfd polled[2] = {{peer[0].wire, POLLIN, 0}, {peer[1].wire, POLLIN, 0}};
    uint32_t i = 0;
    while ((polled[0].revents & polled[1].revents & POLLIN) == 0) {
        for (int j = 0; j < 100; j++, i++) {
            press_publish(pub, 1, i);
            press_expect(sub, 1, i);
        }
        must(poll(polled, 2, 0) >= 0);
    }
    conform_join(&peer[0]);
    conform_join(&peer[1]);
    press_expect_nothing(sub);
    press_done(&sub);
    press_done(&pub);
}

/* ---- seats ---- */

enum { PUBLISHERS_MANY = 150 }; /* more than a subscriber has room for at first */

static void hear_many(const struct conform *c, struct peer *stage) {
    conform_die_at(conform_hear(stage) == 0 ? "feed.grow.copied" : "feed.grow.renamed", 1);
    thirl *end = conform_open(c, THIRL_SUB, NULL);
    conform_tell(stage, 0);
    struct press_item item;
    while (press_receive(end, &item, PATIENCE) == 0) {}
}

static void many_publishers_find_a_seat(struct conform *c) {
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
    struct peer victim[2];
    thirl *pub[PUBLISHERS_MANY];
    stock_need(press_waits(c), "its publishers wait for nobody");
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
                press_publish(pub[i], i, round * 30 + j);
            }
        }
        uint32_t next[PUBLISHERS_MANY] = {0};
        for (uint32_t i = 0; i < 30 * PUBLISHERS_MANY; i++) {
            struct press_item item;
            must_be(press_receive(sub, &item, PATIENCE), 0);
            must(item.sender < PUBLISHERS_MANY);
            must_be(item.number, round * 30 + next[item.sender]);
            next[item.sender]++;
        }
        press_expect_nothing(sub);
    }
    for (uint32_t i = 0; i < PUBLISHERS_MANY; i++) {
        press_done(&pub[i]);
    }
    press_done(&sub);
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
    conform_die_at(points[lot.point], lot.pass);
    thirl *end = conform_open(c, lot.sends ? THIRL_PUB : THIRL_SUB,
                              !lot.sends  ? "history=2"
                              : lot.block ? "full=block&queue=4096"
                                          : "full=latest&queue=4096");
    conform_tell(stage, 0);
    if (!lot.sends && lot.block) {
        must(thirl_fd(end) >= 0);
    }
    struct press_item item;
    for (uint32_t i = 0; i < 100; i++) {
        if (lot.sends) {
            item = (struct press_item){.sender = 7, .number = i};
            conform_fill(item.filling, sizeof item.filling, 700000 + i);
            (void)!thirl_send(end, &item, sizeof item, thirl_in_ms(2));
        } else {
            (void)!press_receive(end, &item, thirl_in_ms(2));
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
    struct press_item item;
    for (bool over = false; !over;) {
        over = poll(&end, 1, 0) == 1 && recv(peer.wire, &byte, sizeof byte, MSG_DONTWAIT) == 0;
        if (sent % 64 == 63) {
            press_done(&pub);
            pub = conform_open(c, THIRL_PUB, "full=block&queue=4096");
        }
        press_publish(pub, 1, sent);
        for (int rc = 0; rc == 0 || rc == -THIRL_EPEERDIED;) {
            rc = press_receive(sub, &item, PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED);
            if (rc == 0 && item.sender == 1) {
                must_be(item.number, sent);
                break;
            }
        }
        while (press_receive(polled, &item, THIRL_NOW) == 0) {}
        sent++;
    }
    press_publish(pub, 1, sent);
    press_done(&sub);
    sub = conform_open(c, THIRL_SUB, "history=1");
    press_expect(sub, 1, sent);
    press_done(&sub);
    press_done(&polled);
    press_done(&pub);
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
    if (strncmp(c->line->prefix, "auto:", 5) == 0) {
        conform_skip("its points are those of what it runs over, and of auto_test");
    }
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
    stock_need(!conform_hurt(c), "what is hurt on purpose comes when it likes");
    unsigned killed[POINTS] = {0};
    int64_t began = conform_now();
    for (unsigned i = 0; i < 2 * POINTS && !conform_sanitized(); i++) {
        killed[i / 2] += kill_at(c, (struct lot){i / 2, i / 4 % 2 == 0 ? 1 : 3, i % 2 == 0, i / 8 % 2 == 0});
    }
    for (unsigned i = 0; i < POINTS; i++) {
        if (conform_sanitized() && conform_now() - began > 20000 * MS) {
            break; /* as many as there was time for */
        }
        /* What is passed only when another end sleeps just then may have been missed; a sanitizer looks at the code that is
         * passed, not at the moment. */
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
        CONFORM_FOR(dead_subscriber_holds_nobody_up, CONFORM_CAST),
        CONFORM_FOR(stopped_subscriber_is_waited_for, CONFORM_CAST),
        CONFORM_FOR(dead_publisher_is_told_of_once, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(sleeper_hears_of_death, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(one_of_many_has_news, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(who_left_was_heard, CONFORM_CAST),
        CONFORM_FOR(coming_and_going_harms_nobody, CONFORM_CAST),
        CONFORM_FOR(many_publishers_find_a_seat, CONFORM_CAST),
        CONFORM_FOR(any_point_may_kill, CONFORM_CAST | CONFORM_MEETS),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
