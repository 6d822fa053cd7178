/* SPDX-License-Identifier: MIT
 *
 * Peers die one after the other, more of them than any list has places: who only receives, or only sends, goes on with the next.
 */
#include "tests/conform/conform.h"

#define PEERS 12

/* Opens when it is told to, says or hears one message, and stands until it is killed. */
static void live(const struct conform *c, struct peer *stage, void (*once)(thirl *, size_t, uint64_t)) {
    uint64_t number = conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    once(end, 10 + number, number);
    conform_tell(stage, 0);
    conform_hear(stage);
}

static void say_one(const struct conform *c, struct peer *stage) {
    live(c, stage, conform_send);
}

static void hear_one(const struct conform *c, struct peer *stage) {
    live(c, stage, conform_recv);
}

static void start_all(struct conform *c, struct peer peer[PEERS], void (*run)(const struct conform *, struct peer *)) {
    for (int i = 0; i < PEERS; i++) {
        conform_start(&peer[i], c, run);
    }
}

static void who_only_receives_outlives_them(struct conform *c) {
    struct peer peer[PEERS];
    start_all(c, peer, say_one);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (uint64_t i = 0; i < PEERS; i++) {
        conform_tell(&peer[i], i);
        conform_recv(end, 10 + i, i);
        conform_hear(&peer[i]);
        conform_kill(&peer[i]);
        must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_EPEERDIED);
        conform_names(c, peer[i].pid);
    }
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must(thirl_close(&end, THIRL_NOW) >= 0);
}

static void who_only_sends_outlives_them(struct conform *c) {
    struct peer peer[PEERS];
    start_all(c, peer, hear_one);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (uint64_t i = 0; i < PEERS; i++) {
        conform_tell(&peer[i], i);
        conform_send(end, 10 + i, i);
        conform_hear(&peer[i]);
        conform_kill(&peer[i]);
        int rc;
        do {
            rc = thirl_send(end, "x", 1, PATIENCE); /* the news of a death may be a little slower than a message */
        } while (rc == 0);
        must_be(rc, -THIRL_EPEERDIED);
    }
    must(thirl_close(&end, THIRL_NOW) >= 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(who_only_receives_outlives_them),
        CONFORM(who_only_sends_outlives_them),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
