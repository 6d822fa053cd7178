/* SPDX-License-Identifier: MIT
 *
 * What goes with a message besides its bytes, and who the peer is: what an end's limits promise holds, what they do not
 * promise is refused with a sentence.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/conform/conform.h"

static bool promises(const struct conform *c) {
    struct thirl_limits limits = {.size = sizeof limits};
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    must_be(thirl_limits(end, &limits), 0);
    must_be(thirl_close(&end, THIRL_NOW), 0);
    return limits.descriptors != 0;
}

static int attached(thirl *end, size_t size, int fd, unsigned times) {
    thirl_msg *msg = NULL;
    must_be(thirl_loan(end, &msg, size, PATIENCE), 0);
    conform_fill(thirl_msg_data(msg), size, times);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < times; i++) {
        rc = thirl_msg_attach(msg, fd);
    }
    if (rc != 0) {
        thirl_free(&msg);
        return rc;
    }
    return thirl_put(end, &msg, PATIENCE);
}

static void refuses_descriptors(const struct conform *c) {
    thirl *a = NULL, *b = NULL;
    if (strncmp(c->line->prefix, "auto:", 5) != 0) { /* which would be something else then */
        must_be(thirl_open(&a, THIRL_PAIR, conform_address(c, 1, "descriptors=1"), NULL), -EOPNOTSUPP);
        must_say("descriptors");
    }
    conform_both(c, 1, NULL, &a, &b);
    must_be(attached(a, 10, 0, 1), -EOPNOTSUPP);
    must_say("descriptors");
    conform_send(a, 10, 1);
    conform_recv(b, 10, 1);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void descriptors_travel_or_are_refused(struct conform *c) {
    if (!promises(c)) {
        refuses_descriptors(c);
        return;
    }
    thirl *a, *b;
    conform_both(c, 0, "descriptors=2", &a, &b);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    unsigned before = conform_lines_of("/proc/self/fd");
    eventfd_t sum = 0;
    for (unsigned i = 0; i < 60; i++) {
        static const size_t sizes[] = {0, 1, 64, 5000, 60000};
        size_t size = sizes[i % 5];
        thirl_msg *msg = NULL;
        must_be(attached(i % 2 ? a : b, size, event, i % 3), 0);
        must_be(thirl_take(i % 2 ? b : a, &msg, PATIENCE), 0);
        must_be(thirl_msg_size(msg), size);
        must(conform_intact(thirl_msg_data(msg), size, i % 3));
        must_be(thirl_msg_descriptors(msg), i % 3);
        for (unsigned k = 0; k < i % 3 && i % 4 != 0; k++) {
            int fd = thirl_msg_detach(msg, k);
            must(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
            must_be(eventfd_write(fd, 1), 0);
            must_be(close(fd), 0);
            sum++;
        }
        thirl_free(&msg);
    }
    eventfd_t value = 0;
    must_be(eventfd_read(event, &value), 0);
    must_be(value, sum);
    must_be(attached(a, 1, event, 3), -EOPNOTSUPP);
    must_say("?descriptors=3");
    must_be(conform_lines_of("/proc/self/fd"), before);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
    must_be(close(event), 0);
}

static void raw_is_refused_where_there_is_none(struct conform *c) {
    thirl *end;
    bool queue = (c->line->roles & CONFORM_QUEUE) != 0; /* raw, such a mechanism is a queue and nothing else */
    struct thirl_limits claims = conform_claims(c);
    int rc = thirl_open(&end, queue ? THIRL_PUSH : THIRL_PAIR, conform_address(c, 0, "raw"), NULL);
    if (rc == -THIRL_EROLE) { /* one way only */
        rc = thirl_open(&end, THIRL_READ, conform_address(c, 0, "raw"), NULL);
    }
    must_be(rc, claims.raw ? 0 : -EOPNOTSUPP);
    if (rc != 0) {
        must_say("raw");
    }
    must_be(thirl_close(&end, THIRL_NOW), 0);
}

static void come_and_wait(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 1);
    (void)conform_hear(stage);
}

/* Of another process, so that its end can be waited for. */
static void names_the_process_for_good(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, come_and_wait);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 1, 1);
    int fd = thirl_peer_pidfd(end);
    if (fd < 0) {
        must_be(fd, -EOPNOTSUPP);
        must_say("pidfd");
        conform_kill(&peer);
    } else {
        struct pollfd life = {.fd = fd, .events = POLLIN};
        must_be(fcntl(fd, F_GETFD), FD_CLOEXEC);
        must_be(poll(&life, 1, 0), 0);
        conform_kill(&peer);
        must_be(poll(&life, 1, 10000), 1);
        must_be(close(fd), 0);
    }
    must_be(thirl_close(&end, THIRL_NOW), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(descriptors_travel_or_are_refused),
        CONFORM(raw_is_refused_where_there_is_none),
        CONFORM(names_the_process_for_good),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
