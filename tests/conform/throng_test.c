/* SPDX-License-Identifier: MIT
 *
 * Crowds of subscribers, and those among them that sleep or poll.
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

/* ---- crowds ---- */

enum { PROCESSES = 8, CROWD_MESSAGES = 20 };
static unsigned crowd_each;

static void crowd(const struct conform *c, struct peer *stage) {
    thirl **end = calloc(crowd_each, sizeof(void *));
    must(end != NULL);
    for (unsigned i = 0; i < crowd_each; i++) {
        end[i] = conform_open(c, THIRL_SUB, NULL);
    }
    conform_tell(stage, 0);
    for (unsigned i = 0; i < crowd_each; i++) {
        for (uint32_t j = 0; j < CROWD_MESSAGES; j++) {
            press_expect(end[i], 1, j);
        }
    }
    conform_tell(stage, 1);
    for (unsigned i = 0; i < crowd_each; i++) {
        press_done(&end[i]);
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
        press_publish(pub, 1, i);
    }
    for (int i = 0; i < PROCESSES; i++) {
        must_be(conform_hear(&peer[i]), 1);
    }
    press_done(&pub);
    for (int i = 0; i < PROCESSES; i++) {
        conform_join(&peer[i]);
    }
}

static void sixty_four_subscribers(struct conform *c) {
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
    gather(c, 64, NULL);
    if (press_waits(c)) {
        gather(c, 64, "full=block&queue=4096");
    }
}

static void thousand_subscribers(struct conform *c) {
    if (strncmp(c->line->prefix, "auto:", 5) == 0) {
        conform_skip("as many as what it runs over has, and each joins twice");
    }
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
    stock_need(!conform_sanitized() && c->with[0] == '\0', "enough of them elsewhere");
    gather(c, 1000, press_waits(c) ? "full=block&queue=4096" : NULL);
}

/* ---- sleeping ---- */

static void sleep_for_each(const struct conform *c, struct peer *stage) {
    thirl *end = press_subscribe(c, stage, "wait=sleep");
    for (uint32_t i = 0; i < 30; i++) {
        press_expect(end, 1, i);
        conform_tell(stage, i);
    }
    press_done(&end);
}

static void sleepers_are_woken(struct conform *c) {
    struct peer peer[4];
    for (int i = 0; i < 4; i++) {
        conform_start(&peer[i], c, sleep_for_each);
    }
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    press_admit(peer, 4);
    int64_t longest = 0;
    for (uint32_t i = 0; i < 30; i++) {
        conform_sleep(3 * MS);
        int64_t began = conform_now();
        press_publish(pub, 1, i);
        for (int j = 0; j < 4; j++) {
            must_be(conform_hear(&peer[j]), i);
        }
        int64_t took = conform_now() - began;
        longest += took > 40 * MS;
    }
    must(longest < (conform_sanitized() ? 25 : 15)); /* else each would have slept for 50 ms and more */
    for (int i = 0; i < 4; i++) {
        conform_join(&peer[i]);
    }
    press_done(&pub);
}

static bool lit(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

static void poll_for_each(const struct conform *c, struct peer *stage) {
    thirl *end = press_subscribe(c, stage, NULL);
    int fd = thirl_fd(end);
    must(fd >= 0);
    for (uint32_t i = 0; i < 30;) {
        struct press_item item;
        must(lit(fd, 20000));
        int rc = press_receive(end, &item, THIRL_NOW);
        must(rc == 0 || rc == -EAGAIN);
        if (rc == 0) {
            must_be(item.number, i);
            conform_tell(stage, i++);
        }
    }
    press_done(&end);
}

static void descriptor_tells_of_messages(struct conform *c) {
    struct peer peer[3];
    for (int i = 0; i < 3; i++) {
        conform_start(&peer[i], c, i == 2 ? sleep_for_each : poll_for_each);
    }
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    press_admit(peer, 3);
    unsigned late = 0;
    for (uint32_t i = 0; i < 30; i++) {
        conform_sleep(2 * MS);
        int64_t began = conform_now();
        press_publish(pub, 1, i);
        for (int j = 0; j < 3; j++) {
            must_be(conform_hear(&peer[j]), i);
        }
        late += conform_now() - began > 40 * MS;
    }
    must(late < (conform_sanitized() ? 25 : 15));
    for (int i = 0; i < 3; i++) {
        conform_join(&peer[i]);
    }
    press_done(&pub);
}

static void descriptor_tells_of_room(struct conform *c) {
    stock_need(!stock_meets(c), STOCK_ONE_LISTENS);
    stock_need(press_waits(c), "its publishers wait for nobody");
    thirl *pub = conform_open(c, THIRL_PUB, "full=block&queue=16K"), *sub = conform_open(c, THIRL_SUB, NULL);
    int fd = thirl_fd(pub);
    must(fd >= 0);
    must(lit(fd, 1000));
    uint32_t full = press_fill(pub, 0);
    /* A subscriber that dies rings nobody: so it is lit every 50 ms, and a try in vain makes it dark again. For a smaller message
     * there may be room. */
    int64_t early = 0, began = conform_now();
    for (; early < 10 && lit(fd, 10); early++) {
        must_be(press_fill(pub, full), full);
    }
    must(early <= 2 + (conform_now() - began) / (50 * MS));
    for (uint32_t i = 0; i < full; i++) {
        press_expect(sub, 1, i);
    }
    must(lit(fd, 20000));
    press_publish(pub, 1, full);
    press_expect(sub, 1, full);
    press_done(&sub);
    press_done(&pub);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(sixty_four_subscribers, CONFORM_CAST),   CONFORM_FOR(thousand_subscribers, CONFORM_CAST),
        CONFORM_FOR(sleepers_are_woken, CONFORM_CAST),       CONFORM_FOR(descriptor_tells_of_messages, CONFORM_CAST),
        CONFORM_FOR(descriptor_tells_of_room, CONFORM_CAST),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
