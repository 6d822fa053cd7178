/* SPDX-License-Identifier: MIT
 *
 * ?crc where it is not for both, or for nobody: ends that do not agree find out, and what has no place for a CRC says so.
 */
#include <stdlib.h>
#include <unistd.h>

#include "tests/conform/stock.h"

static int meet_alone(const struct conform *c, thirl *there, const char *options) {
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PAIR, conform_address(c, 0, options), NULL);
    for (int64_t until = conform_now() + 10000 * MS; rc == 0 && conform_now() < until;) {
        char byte;
        rc = thirl_recv(there, &byte, 1, NULL,
                        THIRL_NOW); /* the one who comes second is told; after a while, that may be this one */
        rc = rc == -EAGAIN ? thirl_send(end, "x", 1, THIRL_NOW) : rc;
        rc = rc == -EAGAIN ? 0 : rc != 0 ? rc : 1;
    }
    if (rc < 0) {
        must_say("CRC");
        must_say("?crc");
    }
    (void)!thirl_close(&end, THIRL_NOW);
    return rc;
}

static void wants_both_alike(struct conform *c) {
    thirl *a, *b;
    for (int sealed = 0; sealed < 2; sealed++) {
        const char *here = sealed ? "crc" : NULL, *other = sealed ? NULL : "crc=on";
        must_be(thirl_open(&a, THIRL_PAIR, conform_address(c, 0, here), NULL), 0);
        must_be(meet_alone(c, a, other), -THIRL_EROLE);
        must_be(meet_alone(c, a, other), -THIRL_EROLE);
        must_be(thirl_close(&a, THIRL_NOW), 0);
        conform_both(c, 0, here, &a, &b); /* nothing of that is left */
        conform_send(a, 10, 1);
        conform_recv(b, 10, 1);
        (void)!thirl_close(&a, thirl_in_ms(1000));
        (void)!thirl_close(&b, thirl_in_ms(1000));
    }
}

/* Of a pusher and a worker that know each other, one is told. */
static int meet_worker(thirl *in, thirl *out) {
    char byte;
    int rc = -EAGAIN;
    for (int64_t until = conform_now() + 10000 * MS; rc == -EAGAIN && conform_now() < until;) {
        rc = thirl_send(out, "x", 1, THIRL_NOW);
        rc = rc == -EAGAIN ? thirl_recv(in, &byte, 1, NULL, THIRL_NOW) : rc;
    }
    return rc;
}

static void never_takes_it_for_the_message(struct conform *c) {
    thirl *in = NULL, *out = NULL;
    char buffer[64];
    for (int sealed = 0; sealed < 2; sealed++) {
        const char *here = sealed ? "crc" : NULL, *other = sealed ? NULL : "crc";
        must_be(thirl_open(&in, THIRL_PULL, conform_address(c, (unsigned)sealed, here), NULL), 0);
        int rc = thirl_open(&out, THIRL_PUSH, conform_address(c, (unsigned)sealed, other), NULL);
        if (rc == 0 && stock_meets(c)) {
            must_be(meet_worker(in, out), -THIRL_EROLE);
            must_say("?crc");
            must_be(thirl_close(&out, THIRL_NOW), 0);
        } else if (rc == 0) {                              /* nobody there tells the one of the other: the packets do */
            bool strangers = conform_claims(c).cross_host; /* anybody can send there: those who do are no errors */
            must_be(thirl_send(out, "not for you", 11, PATIENCE), 0);
            must_be(thirl_recv(in, buffer, sizeof buffer, NULL, thirl_in_ms(500)),
                    strangers ? -ETIMEDOUT : -THIRL_EROLE);
            must_say("?crc");
            must_be(stock_refused(), 1);
            (void)!thirl_close(&out, PATIENCE);
        } else {
            must_be(rc, -THIRL_EROLE);
            must_say("CRC");
        }
        must_be(thirl_open(&out, THIRL_PUSH, conform_address(c, (unsigned)sealed, here), NULL), 0);
        conform_send(out, 20, 1);
        conform_recv(in, 20, 1);
        stock_ends(in, c);
        must_be(thirl_close(&out, PATIENCE), 0);
        must_be(thirl_close(&in, PATIENCE), 0);
    }
}

/* What waits in the kernel for somebody who comes later knows what it is. */
static void leave_one(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *out = conform_open(c, THIRL_PUSH, "crc");
    conform_send(out, 30, 1);
    (void)!thirl_close(&out, THIRL_NOW);
}

static void knows_what_was_left(struct conform *c) {
    struct peer peer;
    char buffer[64];
    stock_need(stock_keeps(c), "nothing is kept");
    conform_start(&peer, c, leave_one);
    conform_join(&peer);
    thirl *in = NULL;
    int rc = thirl_open(&in, THIRL_PULL, conform_address(c, 0, NULL), NULL);
    if (rc == -THIRL_EROLE) { /* what lies there keeps the card */
        must_say("CRC");
        in = conform_open(c, THIRL_PULL, "crc");
        conform_recv(in, 30, 1);
        must_be(thirl_close(&in, PATIENCE), 0);
        return;
    }
    must_be(thirl_recv(in, buffer, sizeof buffer, NULL, PATIENCE), -THIRL_EROLE);
    must_say("CRC");
    must_be(stock_refused(), 1);
    must_be(thirl_close(&in, PATIENCE), 0);
    conform_start(&peer, c, leave_one);
    conform_join(&peer);
    in = conform_open(c, THIRL_PULL, "crc");
    conform_recv(in, 30, 1);
    must_be(thirl_close(&in, PATIENCE), 0);
}

static void refuses(const struct conform *c, enum thirl_role role, const char *options, const char *part) {
    thirl *end = NULL;
    must_be(thirl_open(&end, role, conform_address(c, 1, options), NULL), -EOPNOTSUPP);
    must_say(part);
    must(end == NULL);
}

static void streams_and_strangers_have_none(struct conform *c) {
    refuses(c, THIRL_WRITE, "crc", "a stream of bytes");
    refuses(c, THIRL_READ, "crc", "a stream of bytes");
    if (conform_claims(c).raw) {
        refuses(c, (c->line->roles & CONFORM_QUEUE) != 0 ? THIRL_PUSH : THIRL_WRITE, "raw&crc", "?raw");
    }
}

static void events_have_none(struct conform *c) {
    refuses(c, THIRL_WATCH, "crc", "no place for one");
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(wants_both_alike),
        CONFORM_FOR(never_takes_it_for_the_message, CONFORM_QUEUE),
        CONFORM_FOR(knows_what_was_left, CONFORM_QUEUE),
        CONFORM(streams_and_strangers_have_none),
        CONFORM_FOR(events_have_none, CONFORM_EVENT),
    };
    (void)unsetenv("CONFORM_WITH"); /* it says itself who has one */
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
