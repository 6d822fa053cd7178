/* SPDX-License-Identifier: MIT
 *
 * Byte streams: WRITE and READ.
 */
#include <poll.h>
#include <stdlib.h>

#include "tests/conform/conform.h"

#define TOTAL ((size_t)6 << 20)

static const size_t chunks[] = {1, 2, 3, 7, 64, 1000, 4096, 5001, 65537, 300001};

static unsigned char *content(void) {
    unsigned char *bytes = malloc(TOTAL);
    must(bytes != NULL);
    conform_fill(bytes, TOTAL, 42);
    return bytes;
}

static void write_odd(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_WRITE, "queue=256K");
    unsigned char *bytes = content();
    size_t size = 0;
    for (size_t at = 0, i = 0; at < TOTAL; at += size, i++) {
        size = chunks[i * 7 % (sizeof chunks / sizeof *chunks)];
        size = size < TOTAL - at ? size : TOTAL - at;
        if (i % 5 == 0) {
            thirl_msg *msg = NULL;
            size = size < 5000 ? size : 5000;
            must_be(thirl_loan(end, &msg, size, PATIENCE), 0);
            memcpy(thirl_msg_data(msg), bytes + at, size);
            must_be(thirl_put(end, &msg, PATIENCE), 0);
        } else {
            must_be(thirl_send(end, bytes + at, size, PATIENCE), 0);
        }
        must_be(thirl_send(end, bytes, 0, PATIENCE), 0); /* nothing of it is seen */
    }
    char byte;
    thirl_msg *msg = NULL;
    must_be(thirl_recv(end, &byte, 1, NULL, PATIENCE), -THIRL_EROLE);
    must_be(thirl_take(end, &msg, PATIENCE), -THIRL_EROLE);
    must_say("receive");
    must_be(thirl_close(&end, PATIENCE), 0);
    free(bytes);
    (void)stage;
}

static void reads_all_of_it(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, write_odd);
    thirl *end = conform_open(c, THIRL_READ, NULL);
    unsigned char *bytes = content(), *buffer = malloc(TOTAL);
    thirl_msg *msg = NULL;
    int rc = 0;
    size_t at = 0, size;
    must(buffer != NULL);
    for (size_t i = 0;; i++) {
        if (i % 4 == 0) {
            if ((rc = thirl_take(end, &msg, PATIENCE)) != 0) {
                break;
            }
            size = thirl_msg_size(msg);
            must(size <= TOTAL - at && memcmp(thirl_msg_data(msg), bytes + at, size) == 0);
            thirl_free(&msg);
        } else {
            size = chunks[i * 3 % (sizeof chunks / sizeof *chunks)];
            if ((rc = thirl_recv(end, buffer, size, &size, PATIENCE)) != 0) {
                must_be(size, 0);
                break;
            }
            must(size > 0 && size <= TOTAL - at && memcmp(buffer, bytes + at, size) == 0);
        }
        at += size;
        if (i == 5) { /* nothing was asked for */
            size = 1;
            must_be(at_once(c, thirl_recv(end, buffer, 0, &size, THIRL_NOW)), 0);
            must_be(size, 0);
        }
    }
    must_be(rc, THIRL_END);
    must_be(at, TOTAL);
    for (int i = 0; i < 3; i++) {
        size = 1;
        must_be(at_once(c, thirl_recv(end, buffer, 10, &size, i == 0 ? THIRL_NOW : PATIENCE)), THIRL_END);
        must_be(size, 0);
        must_be(thirl_take(end, &msg, PATIENCE), THIRL_END);
        must(msg == NULL);
    }
    must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_EROLE);
    must_say("send");
    must_be(thirl_loan(end, &msg, 1, PATIENCE), -THIRL_EROLE);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
    free(bytes);
    free(buffer);
}

static void read_some(const struct conform *c, struct peer *stage) {
    char buffer[100];
    size_t size;
    thirl *end = conform_open(c, THIRL_READ, NULL);
    must_be(thirl_recv(end, buffer, 1, &size, PATIENCE), 0);
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void hears_that_nobody_reads_any_more(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, read_some);
    thirl *end = conform_open(c, THIRL_WRITE, "queue=64K");
    static char data[40000];
    must_be(thirl_send(end, data, 10, PATIENCE), 0);
    conform_tell(&peer, 0);
    int rc = 0;
    for (int i = 0; rc == 0 && i < 1000; i++) {
        rc = thirl_send(end, data, sizeof data, PATIENCE);
    }
    must_be(rc, -THIRL_ECLOSED);
    must_be(at_once(c, thirl_send(end, data, 1, THIRL_NOW)), -THIRL_ECLOSED);
    (void)!thirl_close(&end, PATIENCE);
    conform_join(&peer);
}

static void write_and_die(const struct conform *c, struct peer *stage) {
    static char data[3000];
    thirl *end = conform_open(c, THIRL_WRITE, NULL);
    conform_fill(data, sizeof data, 3);
    must_be(thirl_send(end, data, sizeof data, PATIENCE), 0);
    conform_tell(stage, 0);
    conform_hear(stage);
}

/* A torn stream must not look like one that is complete. */
static void tells_death_from_the_end(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, write_and_die);
    thirl *end = conform_open(c, THIRL_READ, NULL);
    char data[3050]; /* what was received is said first, and with the next call that it is all */
    size_t size, at = 0;
    /* All of it waits while nobody reads; but hurt may have cut it into more pieces than there are packets in a queue. */
    size_t early = conform_hurt(c) ? 3000 - 5 : 10;
    for (; at < early; at += size) {
        must_be(thirl_recv(end, data + at, early - at, &size, PATIENCE), 0);
    }
    conform_hear(&peer);
    conform_kill(&peer);
    while (at < 3000) {
        must_be(thirl_recv(end, data + at, sizeof data - at, &size, PATIENCE), 0);
        at += size;
    }
    must(conform_intact(data, 3000, 3));
    must_be(thirl_recv(end, data, 1, &size, PATIENCE), -THIRL_EPEERDIED);
    must_be(size, 0);
    must_be(thirl_recv(end, data, 1, &size, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void has_one_of_each(struct conform *c) {
    thirl *end = conform_open(c, THIRL_WRITE, NULL), *same = NULL;
    int rc = thirl_open(&same, THIRL_WRITE, conform_address(c, 0, NULL), NULL);
    if (rc == 0) {
        rc = thirl_send(same, "x", 1, thirl_in_ms(3000));
    }
    must(rc == -EBUSY || rc == -THIRL_EROLE);
    must_be(thirl_close(&same, THIRL_NOW), 0);
    must_be(thirl_close(&end, THIRL_NOW), 0);
}

static void read_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_READ, NULL);
    static char buffer[1 << 20];
    size_t size;
    must_be(thirl_recv(end, buffer, 1, &size, PATIENCE), 0);
    conform_tell(stage, 1);
    conform_hear(stage);
    int rc;
    while ((rc = thirl_recv(end, buffer, sizeof buffer, &size, thirl_in_ms(100))) == 0) {}
    must_be(rc, -ETIMEDOUT);
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static bool readable(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

static void has_a_descriptor_for_room(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, read_on_demand);
    thirl *end = conform_open(c, THIRL_WRITE, "queue=64K");
    int fd = thirl_fd(end);
    must(fd >= 0);
    must_be(thirl_fd(end), fd);
    must_be(thirl_send(end, "x", 1, PATIENCE), 0);
    must_be(conform_hear(&peer), 1);
    must(readable(fd, 5000));
    must(readable(fd, 0));
    static char data[1000];
    uint64_t sent = 0;
    int rc, quiet = 0;
    for (int i = 0; i < 20000 && quiet < 3; i++) { /* a part of a block may be sent, too, and is not counted */
        while ((rc = at_once(c, thirl_send(end, data, sizeof data, THIRL_NOW))) == 0) {
            sent += sizeof data;
        }
        must_be(rc, -EAGAIN);
        must(sent < 10000000);
        quiet = readable(fd, 0) ? 0 : quiet + 1;
    }
    must_be(quiet, 3);
    must(strstr(thirl_why(), "the queue (0 bytes)") == NULL);
    conform_tell(&peer, 0);
    must(readable(fd, 5000));
    must_be(thirl_send(end, data, 1, PATIENCE), 0);
    conform_tell(&peer, 0);
    conform_join(&peer);
    must(readable(fd, 5000)); /* it has closed */
    while ((rc = thirl_send(end, data, 1, THIRL_NOW)) == 0 || rc == -EAGAIN) {
        must(readable(fd, 5000));
    }
    must_be(rc, -THIRL_ECLOSED);
    must(readable(fd, 0));
    (void)!thirl_close(&end, THIRL_NOW);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(reads_all_of_it, CONFORM_STREAM),
        CONFORM_FOR(hears_that_nobody_reads_any_more, CONFORM_STREAM),
        CONFORM_FOR(tells_death_from_the_end, CONFORM_STREAM),
        CONFORM_FOR(has_one_of_each, CONFORM_STREAM),
        CONFORM_FOR(has_a_descriptor_for_room, CONFORM_STREAM),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
