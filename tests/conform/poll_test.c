/* SPDX-License-Identifier: MIT
 *
 * thirl_fd: readable while there is something to answer, and not for long when there is not.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/conform/conform.h"

static bool readable(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* Not readable within one -EAGAIN; more tries only for what may happen in between. */
static void must_calm_down(thirl *end, int fd) {
    for (int tries = 0; tries < 3; tries++) {
        must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
        if (!readable(fd, 0)) {
            return;
        }
    }
    must(!"readable for ever");
}

static void send_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = NULL;
    for (uint64_t word; (word = conform_hear(stage)) != 0;) {
        if (end == NULL) {
            end = conform_open(c, THIRL_PAIR, NULL);
        }
        conform_sleep(word % 3 == 0 ? 30 * MS : 0);
        conform_send(end, 10, word);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void is_readable_while_there_is_something(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, send_on_demand);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    int fd = thirl_fd(end);
    must(fd >= 0);
    must_be(thirl_fd(end), fd);
    must_calm_down(end, fd);
    for (uint64_t word = 1; word < 100; word++) {
        conform_tell(&peer, word);
        int64_t until = conform_now() + 5000 * MS;
        for (;;) { /* once too often is allowed while the peer arrives */
            must(conform_now() < until);
            must(readable(fd, 5000));
            int rc = thirl_recv(end, NULL, 0, NULL, THIRL_NOW);
            if (rc == -EMSGSIZE) {
                break;
            }
            must_be(rc, -EAGAIN);
        }
        must(readable(fd, 0));
        must(readable(fd, 0));
        conform_recv(end, 10, word);
        must_calm_down(end, fd);
    }
    conform_tell(&peer, 1);
    conform_tell(&peer, 2);
    conform_sleep(20 * MS);
    conform_recv(end, 10, 1);
    must(readable(fd, 5000)); /* one is left */
    conform_recv(end, 10, 2);
    must_calm_down(end, fd);
    conform_tell(&peer, 0);
    must(readable(fd, 5000));
    while (thirl_recv(end, NULL, 0, NULL, THIRL_NOW) == -EAGAIN) {
        must(readable(fd, 5000));
    }
    must_be(at_once(c, thirl_recv(end, NULL, 0, NULL, THIRL_NOW)), -THIRL_ECLOSED);
    must(readable(fd, 0));
    must_be(at_once(c, thirl_recv(end, NULL, 0, NULL, THIRL_NOW)), -THIRL_ECLOSED);
    must(readable(fd, 0));
    conform_join(&peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 1);
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void is_readable_when_the_peer_dies(struct conform *c) {
    int64_t least = INT64_MAX;
    struct peer peer;
    for (int i = 0; i < 3; i++) {
        conform_start(&peer, c, stay);
        thirl *end = conform_open(c, THIRL_PAIR, NULL);
        int fd = thirl_fd(end);
        must(fd >= 0);
        conform_recv(end, 1, 1);
        must_calm_down(end, fd);
        int64_t began = conform_now();
        conform_kill(&peer);
        int rc = -EAGAIN;
        while (rc == -EAGAIN) {
            must(conform_now() - began < 2000 * MS);
            must(readable(fd, 2000));
            rc = thirl_recv(end, NULL, 0, NULL, THIRL_NOW);
        }
        must_be(rc, -THIRL_EPEERDIED);
        least = conform_now() - began < least ? conform_now() - began : least;
        must_calm_down(end, fd);
        must_be(thirl_close(&end, THIRL_NOW), 0);
    }
    must(least < 100 * MS);
}

static void joins_an_epoll(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, send_on_demand);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 55};
    int loop = epoll_create1(EPOLL_CLOEXEC);
    must_be(epoll_ctl(loop, EPOLL_CTL_ADD, thirl_fd(end), &event), 0);
    uint64_t got = 0;
    for (uint64_t i = 1; i <= 100; i++) {
        conform_tell(&peer, i);
    }
    while (got < 100) {
        struct epoll_event ready = {0};
        must_be(epoll_wait(loop, &ready, 1, 5000), 1);
        must_be(ready.data.u64, 55);
        char data[10];
        int rc = thirl_recv(end, data, sizeof data, NULL, THIRL_NOW);
        must(rc == 0 || rc == -EAGAIN);
        if (rc == 0) {
            must(conform_intact(data, sizeof data, ++got));
        }
    }
    conform_tell(&peer, 0);
    int rc;
    while ((rc = thirl_recv(end, NULL, 0, NULL, THIRL_NOW)) == -EAGAIN) {
        struct epoll_event ready;
        must_be(epoll_wait(loop, &ready, 1, 5000), 1);
    }
    must_be(rc, -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
    close(loop);
    conform_join(&peer);
}

/* ---- together with blocking receives ---- */

#define SHARED 3000

struct share {
    thirl *end;
    uint32_t got;
};

static void *receive_blocking(void *argument) {
    struct share *share = argument;
    char data[100];
    while (thirl_recv(share->end, data, sizeof data, NULL, PATIENCE) == 0) {
        share->got++;
    }
    must_say("closed");
    return NULL;
}

static void send_many(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (uint64_t i = 0; i < SHARED; i++) {
        conform_send(end, 10, i);
        if (i % 100 == 0) {
            conform_sleep(2 * MS);
        }
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void shares_with_a_blocking_receiver(struct conform *c) {
    struct peer peer;
    pthread_t thread;
    conform_start(&peer, c, send_many);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    int fd = thirl_fd(end);
    struct share share = {.end = end};
    must_be(pthread_create(&thread, NULL, receive_blocking, &share), 0);
    uint32_t got = 0;
    int rc = 0;
    while (rc == 0 || rc == -EAGAIN) {
        must(readable(fd, 10000));
        char data[100];
        rc = thirl_recv(end, data, sizeof data, NULL, THIRL_NOW);
        got += rc == 0;
    }
    must_be(rc, -THIRL_ECLOSED);
    must_be(pthread_join(thread, NULL), 0);
    must_be(got + share.got, SHARED);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(is_readable_while_there_is_something),
        CONFORM(is_readable_when_the_peer_dies),
        CONFORM(joins_an_epoll),
        CONFORM(shares_with_a_blocking_receiver),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
