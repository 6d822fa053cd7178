/* SPDX-License-Identifier: MIT
 *
 * Subscribers to patterns of topics: every publisher on every topic that fits is heard from its beginning, whenever it comes, however it
 * goes; nobody else is; and nothing stays behind.
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

#define TOPICS 100

static const char *const points[] = {
    "wish.show.before",    "wish.show.after",     "topics.refresh.before", "topics.join.before", "topics.join.after",
    "wish.each.seen",      "topics.arm.before",   "feed.meet.before",      "feed.meet.after",    "roll.retire.before",
    "roll.retire.after",   "topics.close.before", "wish.withdraw.after",   "topics.close.left",  "wish.remove.before",
    "wish.remove.emptied", "wish.grant.before",   "wish.grant.marked",     "post.one.before",    "post.one.after",
    "wish.grant.after",    "wish.ring.said",      "pub.join.before",       "pub.send.committed", "pub.close.gone",
};
#define POINTS (sizeof points / sizeof *points)

static thirl *open_topic(const struct conform *c, enum thirl_role role, const char *topic, const char *options) {
    char address[200];
    thirl *end = NULL;
    options = options != NULL ? options : conform_sealed(c) ? "crc" : NULL;
    (void)snprintf(address, sizeof address, "shm://%s%s%s", topic, options != NULL ? "?" : "",
                   options != NULL ? options : "");
    must_be(thirl_open(&end, role, address, NULL), 0);
    return end;
}

static void say(thirl *end, uint32_t word) {
    must_be(thirl_send(end, &word, sizeof word, PATIENCE), 0);
}

/* The next message is that word, on that topic. */
static void expect(thirl *end, const char *topic, uint32_t word) {
    thirl_msg *msg = NULL;
    must_be(thirl_take(end, &msg, PATIENCE), 0);
    must_be(thirl_msg_size(msg), sizeof word);
    must_be(*(uint32_t *)thirl_msg_data(msg), word);
    must_be(strcmp(thirl_msg_topic(msg), topic), 0);
    thirl_free(&msg);
}

static void expect_nothing(thirl *end) {
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
}

static unsigned entries(const struct conform *c, const char *directory) {
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", c->registry, directory);
    return access(path, F_OK) == 0 ? conform_lines_of(path) : 0;
}

static void every_topic_that_fits_is_heard(struct conform *c) {
    thirl *front = open_topic(c, THIRL_PUB, "camera/front", NULL), *deep = open_topic(c, THIRL_PUB, "camera/a/b", NULL);
    thirl *other = open_topic(c, THIRL_PUB, "sound/front", NULL);
    thirl *pair = open_topic(c, THIRL_PAIR, "camera/pair", NULL);
    say(front, 1);
    thirl *one = open_topic(c, THIRL_SUB, "camera/*", NULL), *all = open_topic(c, THIRL_SUB, "camera/**", NULL);
    thirl *plain = open_topic(c, THIRL_SUB, "camera/front", NULL);
    expect_nothing(one); /* that was before */
    say(front, 2);
    say(deep, 3);
    say(other, 4);
    expect(one, "camera/front", 2);
    expect(plain, "camera/front", 2);
    expect_nothing(one);
    thirl_msg *msg = NULL;
    unsigned seen = 0;
    for (int i = 0; i < 2; i++) {
        must_be(thirl_take(all, &msg, PATIENCE), 0);
        uint32_t word = *(uint32_t *)thirl_msg_data(msg);
        must_be(strcmp(thirl_msg_topic(msg), word == 2 ? "camera/front" : "camera/a/b"), 0);
        seen |= 1u << word;
        thirl_free(&msg);
    }
    must_be(seen, 1u << 2 | 1u << 3);
    thirl *back = open_topic(c, THIRL_PUB, "camera/back", NULL);
    say(back, 5);
    expect(one, "camera/back", 5);
    expect(all, "camera/back", 5);
    expect_nothing(plain);
    thirl *ends[] = {front, deep, other, pair, one, all, plain, back, NULL};
    for (size_t i = 0; ends[i] != NULL; i++) {
        must_be(thirl_close(&ends[i], PATIENCE), 0);
    }
    must_be(entries(c, "chan"), 0);
    must_be(entries(c, "wish"), 0);
}

static void who_has_come_and_gone_is_heard(struct conform *c) {
    thirl *sub = open_topic(c, THIRL_SUB, "brief/*", NULL);
    thirl *pub = open_topic(c, THIRL_PUB, "brief/one", NULL);
    for (uint32_t i = 0; i < 3; i++) {
        say(pub, i);
    }
    must_be(thirl_close(&pub, PATIENCE), 0);
    for (uint32_t i = 0; i < 3; i++) {
        expect(sub, "brief/one", i);
    }
    expect_nothing(sub);
    conform_sleep(30 * MS);
    expect_nothing(sub); /* and leaves where nobody is left */
    must_be(entries(c, "chan"), 0);
    pub = open_topic(c, THIRL_PUB, "brief/one", NULL);
    say(pub, 9);
    expect(sub, "brief/one", 9);
    must_be(thirl_close(&sub, PATIENCE), 0);
    must_be(thirl_close(&pub, PATIENCE), 0);
    must_be(entries(c, "chan"), 0);
}

/* A publisher that waits for its subscribers waits for one that has not even looked. */
static void publish_much(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *pub =
        open_topic(c, THIRL_PUB, "slow/one", conform_sealed(c) ? "queue=8K&full=block&crc" : "queue=8K&full=block");
    conform_tell(stage, 0);
    for (uint32_t i = 0; i < 5000; i++) {
        say(pub, i);
    }
    must_be(thirl_close(&pub, PATIENCE), 0);
}

static void who_waits_waits_for_patterns(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, publish_much);
    thirl *sub = open_topic(c, THIRL_SUB, "slow/*", NULL);
    conform_tell(&peer, 0);
    conform_hear(&peer);
    conform_sleep(100 * MS); /* its queue is full by now */
    for (uint32_t i = 0; i < 5000; i++) {
        expect(sub, "slow/one", i);
    }
    conform_join(&peer);
    must_be(thirl_close(&sub, PATIENCE), 0);
}

static void speak_when_told(const struct conform *c, struct peer *stage) {
    for (uint32_t i = 0; i < 5; i++) {
        char topic[32];
        conform_hear(stage);
        conform_sleep(20 * MS);
        (void)snprintf(topic, sizeof topic, "wake/%u", i);
        thirl *pub = open_topic(c, THIRL_PUB, topic, NULL);
        conform_tell(stage, (uint64_t)conform_now());
        say(pub, i);
        must_be(thirl_close(&pub, PATIENCE), 0);
    }
}

/* Its sleep would last a second by itself. */
static void new_topic_wakes(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, speak_when_told);
    thirl *sub = open_topic(c, THIRL_SUB, "wake/*", conform_sealed(c) ? "wait=sleep&crc" : "wait=sleep");
    int fd = -1, quick = 0;
    for (uint32_t i = 0; i < 5; i++) {
        char topic[32];
        (void)snprintf(topic, sizeof topic, "wake/%u", i);
        conform_tell(&peer, 0);
        if (i == 2) {
            struct thirl_want want = {.end = sub, .wanted = THIRL_WANT_MESSAGE};
            must_be(thirl_wait(&want, 1, PATIENCE), 1);
        } else if (i > 2) {
            fd = fd < 0 ? thirl_fd(sub) : fd;
            must(fd >= 0);
            for (int rc = -EAGAIN; rc == -EAGAIN;) {
                struct pollfd polled = {.fd = fd, .events = POLLIN};
                must_be(poll(&polled, 1, 20000), 1);
                size_t size;
                uint32_t word;
                rc = thirl_recv(sub, &word, sizeof word, &size, THIRL_NOW);
                must(rc == -EAGAIN || (rc == 0 && word == i));
            }
        }
        if (i <= 2) {
            expect(sub, topic, i);
        }
        quick += conform_now() - (int64_t)conform_hear(&peer) < 40 * MS;
    }
    must(quick >= 3);
    conform_join(&peer);
    must_be(thirl_close(&sub, PATIENCE), 0);
}

static void publish_and_die(const struct conform *c, struct peer *stage) {
    thirl *pub = open_topic(c, THIRL_PUB, "death/one", NULL);
    say(pub, 1);
    conform_tell(stage, 0);
    conform_hear(stage);
}

static void death_of_a_publisher_is_told(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, publish_and_die);
    conform_hear(&peer);
    thirl *sub = open_topic(c, THIRL_SUB, "death/**", conform_sealed(c) ? "history=1&crc" : "history=1");
    thirl *other = open_topic(c, THIRL_PUB, "death/two", NULL);
    expect(sub, "death/one", 1);
    conform_kill(&peer);
    thirl_msg *msg = NULL;
    must_be(thirl_take(sub, &msg, PATIENCE), -THIRL_EPEERDIED);
    must_say("shm://death/one");
    say(other, 2);
    expect(sub, "death/two", 2);
    must_be(thirl_close(&sub, PATIENCE), 0);
    must_be(thirl_close(&other, PATIENCE), 0);
    must_be(entries(c, "chan"), 0);
}

static void publish_topics(const struct conform *c, struct peer *stage) {
    uint32_t self = (uint32_t)conform_hear(stage);
    for (uint32_t i = 0; i < TOPICS; i++) {
        char topic[40];
        (void)snprintf(topic, sizeof topic, "many/%u/%u", self, i);
        thirl *pub = open_topic(c, THIRL_PUB, topic, NULL);
        for (uint32_t k = 0; k < 3; k++) {
            say(pub, self * 1000 + i * 3 + k);
        }
        must_be(thirl_close(&pub, PATIENCE), 0);
    }
    conform_tell(stage, 0);
}

static void topics_come_and_go(struct conform *c) {
    struct peer peer[2];
    static unsigned char came[2][TOPICS * 3];
    for (int i = 0; i < 2; i++) {
        conform_start(&peer[i], c, publish_topics);
    }
    thirl *sub = open_topic(c, THIRL_SUB, "many/**", NULL);
    for (int i = 0; i < 2; i++) {
        conform_tell(&peer[i], (uint64_t)i);
    }
    for (uint32_t n = 0; n < 2 * TOPICS * 3; n++) {
        thirl_msg *msg = NULL;
        must_be(thirl_take(sub, &msg, PATIENCE), 0);
        uint32_t word = *(uint32_t *)thirl_msg_data(msg), who = word / 1000, i = word % 1000;
        char topic[40];
        must(who < 2 && i < TOPICS * 3 && came[who][i]++ == 0);
        (void)snprintf(topic, sizeof topic, "many/%u/%u", who, i / 3);
        must_be(strcmp(thirl_msg_topic(msg), topic), 0);
        must_be(thirl_msg_number(msg), i % 3);
        must_be(thirl_msg_lost(msg), 0);
        thirl_free(&msg);
    }
    for (int i = 0; i < 2; i++) {
        conform_hear(&peer[i]);
        conform_join(&peer[i]);
    }
    for (int i = 0; i < 200 && entries(c, "chan") != 0; i++) {
        (void)!thirl_recv(sub, NULL, 0, NULL, thirl_in_ms(10));
    }
    must_be(entries(c, "chan"), 0);
    must_be(thirl_close(&sub, PATIENCE), 0);
    must_be(entries(c, "wish"), 0);
}

static void refusals_say_what_to_do(struct conform *c) {
    thirl *end = NULL;
    must_be(thirl_open(&end, THIRL_PUB, "shm://camera/*", NULL), -THIRL_EADDRESS);
    must_say("one topic");
    must_be(thirl_open(&end, THIRL_SUB, "unix://@camera*", NULL), -THIRL_EADDRESS);
    must_say("thirl_wait");
    must_be(thirl_open(&end, THIRL_SUB, "shm://camera/a**", NULL), -THIRL_EADDRESS);
    must_say("**");
    must_be(thirl_open(&end, THIRL_SUB, "shm://camera/*?full=block", NULL), -EINVAL);
    must_say("full");
    must_be(entries(c, "wish"), 0);
}

/* What is without a CRC is told of once, and waited for by nobody. */
static void other_kinds_are_told_of(struct conform *c) {
    stock_need(*c->with == '\0', "it opens its ends with ?crc by itself");
    thirl *sub = open_topic(c, THIRL_SUB, "sealed/*", "crc");
    thirl *bare = open_topic(c, THIRL_PUB, "sealed/bare", "queue=4K&full=fail");
    thirl *good = open_topic(c, THIRL_PUB, "sealed/good", "crc");
    say(good, 1);
    thirl_msg *msg = NULL;
    int told = 0;
    for (int i = 0; i < 2; i++) {
        int rc = thirl_take(sub, &msg, PATIENCE);
        must(rc == 0 || rc == -THIRL_EROLE);
        if (rc != 0) {
            must_say("sealed/bare");
            told++;
        } else {
            must_be(strcmp(thirl_msg_topic(msg), "sealed/good"), 0);
            thirl_free(&msg);
        }
    }
    must_be(told, 1);
    for (uint32_t i = 0; i < 1000; i++) {
        say(bare, i);
    }
    must_be(thirl_close(&sub, PATIENCE), 0);
    must_be(thirl_close(&bare, PATIENCE), 0);
    must_be(thirl_close(&good, PATIENCE), 0);
}

/* ---- kills ---- */

static struct lot {
    unsigned point, pass;
    bool sends;
} lot;

static void take_part(const struct conform *c, struct peer *stage) {
    char where[100];
    (void)snprintf(where, sizeof where, "%s:%u:kill", points[lot.point], lot.pass);
    must_be(setenv("THIRL_WEAVE_AT", where, 1), 0);
    thirl *sub = lot.sends ? NULL : open_topic(c, THIRL_SUB, "kill/*", NULL);
    conform_tell(stage, 0);
    bool leaves = strncmp(points[lot.point], "roll.retire", 11) == 0; /* so it has to be there when a topic ends */
    for (uint32_t i = 0; i < (leaves && !lot.sends ? 40 : 3); i++) {
        thirl *pub = lot.sends ? open_topic(c, THIRL_PUB, i == 1 ? "kill/b" : "kill/a", NULL) : NULL;
        uint32_t word;
        size_t size;
        for (uint32_t k = 0; k < 2; k++) {
            if (lot.sends) {
                say(pub, i * 2 + k);
            } else {
                (void)!thirl_recv(sub, &word, sizeof word, &size, thirl_in_ms(25));
            }
        }
        if (lot.sends) {
            must_be(thirl_close(&pub, PATIENCE), 0);
        }
    }
    if (!lot.sends) {
        must_be(thirl_close(&sub, PATIENCE), 0);
    }
}

/* The survivor subscribes before, or publishes beside, and works on. */
static void survive(const struct conform *c, struct peer *victim) {
    thirl *sub = open_topic(c, THIRL_SUB, "kill/*", NULL), *pub = NULL;
    char byte;
    uint32_t next = 0;
    (void)!recv(victim->wire, &byte, 1, 0);
    for (uint32_t i = 0; i < 3; i++) {
        pub = open_topic(c, THIRL_PUB, "kill/mine",
                         conform_sealed(c) ? "full=block&queue=4K&crc" : "full=block&queue=4K");
        for (uint32_t k = 0; k < 2; k++, next++) {
            say(pub, 100 + next);
        }
        for (uint32_t mine = 0; mine < 2;) {
            uint32_t word;
            size_t size;
            int rc = thirl_recv(sub, &word, sizeof word, &size, PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED);
            mine += rc == 0 && word == 98 + next + mine;
            must(rc != 0 || word < 6 || word >= 98 + next);
        }
        must_be(thirl_close(&pub, PATIENCE), 0);
    }
    while (recv(victim->wire, &byte, 1, 0) > 0) {}
    must_be(thirl_close(&sub, PATIENCE), 0);
}

/* Did the victim die? Nothing is left of it then. */
static bool kill_one(struct conform *c) {
    struct peer peer;
    int status = 0;
    conform_start(&peer, c, take_part);
    pid_t pid = fork(); /* the stage itself stays a stranger to the registry */
    if (pid == 0) {
        survive(c, &peer);
        exit(0);
    }
    must_be(waitpid(pid, &status, 0), pid);
    must_be(status, 0);
    must_be(waitpid(peer.pid, &status, 0), peer.pid);
    must(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    bool died = WIFSIGNALED(status);
    close(peer.wire);
    pid = fork();
    if (pid == 0) {
        thirl *sub = open_topic(c, THIRL_SUB, "kill/*", NULL);
        must_be(thirl_close(&sub, PATIENCE), 0);
        exit(0);
    }
    must_be(waitpid(pid, &status, 0), pid);
    must_be(status, 0);
    if (entries(c, "chan") != 0 || entries(c, "wish") != 0) {
        fprintf(stderr, "left behind after %s, pass %u, %s\n", points[lot.point], lot.pass,
                lot.sends ? "publisher" : "subscriber");
    }
    must_be(entries(c, "chan"), 0);
    must_be(entries(c, "wish"), 0);
    return died;
}

/* Who passes a point depends on who comes first: so again, until somebody has died there. */
static void any_point_may_kill(struct conform *c) {
    for (unsigned p = 0; p < POINTS; p++) {
        unsigned killed = 0;
        for (unsigned i = 0; i < 4 || (killed == 0 && i < 24); i++) {
            lot = (struct lot){p, 1 + i % 2, i / 2 % 2 == 0};
            if (!conform_sanitized() || lot.pass == 1) {
                killed += kill_one(c);
            }
        }
        if (killed == 0) {
            fprintf(stderr, "nobody died at %s\n", points[p]);
        }
        must(killed != 0);
    }
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_ONLY(every_topic_that_fits_is_heard, "shm-cast"),
        CONFORM_ONLY(who_has_come_and_gone_is_heard, "shm-cast"),
        CONFORM_ONLY(who_waits_waits_for_patterns, "shm-cast"),
        CONFORM_ONLY(new_topic_wakes, "shm-cast"),
        CONFORM_ONLY(death_of_a_publisher_is_told, "shm-cast"),
        CONFORM_ONLY(topics_come_and_go, "shm-cast"),
        CONFORM_ONLY(refusals_say_what_to_do, "shm-cast"),
        CONFORM_ONLY(other_kinds_are_told_of, "shm-cast"),
        CONFORM_ONLY(any_point_may_kill, "shm-cast"),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
