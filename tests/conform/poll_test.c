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
#include "tests/conform/query.h"

static bool readable(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* Not readable within one -EAGAIN; more tries only for what may happen in between. */
static void must_calm_down(thirl *end, int fd) {
    for (int tries = 0; tries < 20; tries++) {
        must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
        must_be(thirl_fd(end), fd); /* which lights nothing */
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

/* A loop that asks for the descriptor in each round sleeps, too. */
static void idles_dark(const struct conform *c, enum thirl_role role) {
    thirl *end = conform_open(c, role, NULL);
    must(thirl_fd(end) >= 0);
    must_calm_down(end, thirl_fd(end));
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_worker_with_nothing_to_do_stays_dark(struct conform *c) {
    idles_dark(c, THIRL_PULL);
}

static void a_subscriber_that_hears_nothing_stays_dark(struct conform *c) {
    idles_dark(c, THIRL_SUB);
}

static void a_watcher_of_nothing_stays_dark(struct conform *c) {
    idles_dark(c, THIRL_WATCH);
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

/* ---- calls ---- */

static void ask_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = NULL;
    for (uint64_t word; (word = conform_hear(stage)) != 0;) {
        if (end == NULL) {
            end = conform_open(c, THIRL_CALL, NULL);
        }
        must_be(query_call(end, word).what, word + 1);
        conform_tell(stage, word);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* Not readable within some takes in vain. */
static void must_have_nothing(thirl *end, int fd) {
    thirl_msg *request;
    for (int tries = 0; tries < 5; tries++) {
        must_be(thirl_take(end, &request, THIRL_NOW), -EAGAIN);
        must_be(thirl_fd(end), fd);
        if (!readable(fd, 0)) {
            return;
        }
    }
    must(!"readable for ever");
}

/* A loop that never waits elsewhere than in poll. */
static void serve_one(const struct conform *c, thirl *end, int fd) {
    thirl_msg *request = NULL;
    int64_t until = conform_now() + 10000 * MS;
    int rc = -EAGAIN;
    while (rc == -EAGAIN) {
        must(conform_now() < until && readable(fd, 10000));
        rc = at_once(c, thirl_take(end, &request, THIRL_NOW));
    }
    must_be(rc, 0);
    query_answer(end, &request);
}

#define CALLERS 12 /* more than are polled */

static void a_loop_serves_all_who_come(struct conform *c) {
    struct peer caller[CALLERS];
    for (unsigned i = 0; i < CALLERS; i++) {
        conform_start(&caller[i], c, ask_on_demand);
    }
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    int fd = thirl_fd(end);
    must(fd >= 0);
    must_be(thirl_fd(end), fd);
    must_have_nothing(end, fd);
    for (uint64_t word = 1; word <= 20; word++) { /* one after the other: each finds it dark */
        for (unsigned i = 0; i < CALLERS; i++) {
            conform_tell(&caller[i], word);
            serve_one(c, end, fd);
            must_be(conform_hear(&caller[i]), word);
            must_have_nothing(end, fd);
        }
    }
    for (uint64_t word = 1; word <= 20; word++) { /* and all at once */
        for (unsigned i = 0; i < CALLERS; i++) {
            conform_tell(&caller[i], word);
        }
        for (unsigned i = 0; i < CALLERS; i++) {
            serve_one(c, end, fd);
        }
        for (unsigned i = 0; i < CALLERS; i++) {
            must_be(conform_hear(&caller[i]), word);
        }
        must_have_nothing(end, fd);
    }
    for (unsigned i = 0; i < CALLERS; i++) {
        conform_tell(&caller[i], 0);
        conform_join(&caller[i]);
    }
    must_have_nothing(end, fd);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void answer_when_told(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    conform_tell(stage, 0);
    for (;;) {
        thirl_msg *request;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        conform_tell(stage, 1);
        if (conform_hear(stage) == 0) {
            thirl_free(&request);
            break;
        }
        query_answer(end, &request);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* What the descriptor promises: 0 or an error of that call. */
static int answered(const struct conform *c, thirl *end, int fd, uint64_t wanted) {
    thirl_msg *reply = NULL;
    int64_t until = conform_now() + 10000 * MS;
    for (;;) {
        uint64_t id = 0;
        must(conform_now() < until && readable(fd, 10000));
        int rc = at_once(c, thirl_answer(end, &id, &reply, THIRL_NOW));
        if (rc != -EAGAIN) {
            must_be(id, wanted);
            thirl_free(&reply);
            return rc;
        }
    }
}

static void must_stay_dark(thirl *end, int fd) {
    for (int tries = 0; tries < 5; tries++) {
        uint64_t id = 0;
        thirl_msg *reply;
        int rc = thirl_answer(end, &id, &reply, THIRL_NOW);
        must(rc == -EAGAIN || rc == -ENOENT); /* nothing yet, or nothing is in flight */
        if (!readable(fd, 0)) {
            return;
        }
    }
    must(!"readable for ever");
}

static void a_loop_hears_of_answers(struct conform *c) {
    struct peer server;
    conform_start(&server, c, answer_when_told);
    conform_hear(&server);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    int fd = thirl_fd(end);
    must(fd >= 0);
    for (uint64_t i = 1; i <= 50; i++) {
        uint64_t id = query_ask(end, i);
        conform_hear(&server);
        must_stay_dark(end, fd);
        if (i % 5 == 0) {
            struct pollfd other = {.fd = -1};
            must_be(poll(&other, 1, 20), 0);
        }
        conform_tell(&server, 1);
        must_be(answered(c, end, fd, id), 0);
    }
    uint64_t id = query_ask(end, 1);
    conform_hear(&server);
    must_stay_dark(end, fd);
    conform_kill(&server);
    int64_t began = conform_now();
    must_be(answered(c, end, fd, id), -THIRL_EPEERDIED);
    must(conform_now() - began < 2000 * MS);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- what lies aside in an end of calls ---- */

/* Takes two, and answers each when it is told; the third never. */
static void answer_two(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    thirl_msg *request[3];
    conform_tell(stage, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            must_be(thirl_take(end, &request[i], PATIENCE), 0);
        }
        conform_hear(stage);
        for (int i = 0; i < 2; i++) {
            query_answer(end, &request[i]);
        }
    }
    must_be(thirl_take(end, &request[2], PATIENCE), 0);
    conform_tell(stage, 0);
    conform_hear(stage);
    thirl_free(&request[2]);
    (void)!thirl_close(&end, THIRL_NOW); /* the caller has given up, and does not listen */
}

static void take_by_number(thirl *end, uint64_t id) {
    thirl_msg *reply;
    must_be(thirl_answer(end, &id, &reply, PATIENCE), 0);
    thirl_free(&reply);
}

static void must_lie_there(const struct conform *c, thirl *end, int fd, uint64_t id) {
    struct thirl_want want = {.end = end, .wanted = THIRL_WANT_MESSAGE};
    must(readable(fd, 0) && readable(fd, 0));
    must_be(thirl_wait(&want, 1, THIRL_NOW), 1);
    must_be(answered(c, end, fd, id), 0);
    must_stay_dark(end, fd);
}

struct chooser {
    thirl *end;
    uint64_t got;
    int tube; /* beside which it waits; -1: beside nothing */
};

static void *choose_one(void *argument) {
    struct chooser *chooser = argument;
    struct thirl_want wants[] = {{.end = chooser->end, .wanted = THIRL_WANT_MESSAGE},
                                 {.fd = chooser->tube, .wanted = POLLIN}};
    thirl_msg *reply;
    int rc = -EAGAIN;
    while (rc == -EAGAIN) {
        must_be(thirl_wait(wants, 2, PATIENCE), 1);
        chooser->got = 0;
        rc = thirl_answer(chooser->end, &chooser->got, &reply, THIRL_NOW);
    }
    must_be(rc, 0);
    thirl_free(&reply);
    return NULL;
}

/* Two answers come, and one thread waits for the second by its number: the first is the other's, who sleeps. */
static void put_aside_for_another(thirl *end, struct peer *server, int tube) {
    struct chooser chooser = {.end = end, .tube = tube};
    uint64_t first = query_ask(end, 1), second = query_ask(end, 2);
    pthread_t thread;
    must_be(pthread_create(&thread, NULL, choose_one, &chooser), 0);
    conform_sleep(5 * MS);
    conform_tell(server, 0);
    take_by_number(end, second);
    must_be(pthread_join(thread, NULL), 0);
    must_be(chooser.got, first);
}

static void a_loop_hears_of_what_lies_aside(struct conform *c) {
    struct peer server;
    int tube[2];
    conform_start(&server, c, answer_two);
    conform_hear(&server);
    must_be(pipe(tube), 0);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    int fd = thirl_fd(end);
    must(fd >= 0);
    uint64_t first = query_ask(end, 1), second = query_ask(end, 2);
    must_be(thirl_fd(end), fd);
    must_stay_dark(end, fd);
    conform_tell(&server, 0);
    take_by_number(end, second); /* and with it comes the first */
    must_lie_there(c, end, fd, first);
    put_aside_for_another(end, &server, -1);
    put_aside_for_another(end, &server, tube[0]);
    must_stay_dark(end, fd);
    for (int by_choice = 0; by_choice < 2; by_choice++) {
        const struct words words = {3, 7};
        struct thirl_want want = {.end = end, .wanted = THIRL_WANT_MESSAGE};
        uint64_t id, got = 0;
        thirl_msg *reply;
        int64_t began = conform_now();
        must_be(thirl_ask(end, &words, sizeof words, &id, thirl_in_ms(200)), 0);
        must_stay_dark(end, fd);
        int rc = -EAGAIN;
        for (; rc == -EAGAIN; rc = thirl_answer(end, &got, &reply, THIRL_NOW)) {
            must(by_choice ? thirl_wait(&want, 1, PATIENCE) == 1 : readable(fd, 10000));
        }
        must_be(rc, -ETIMEDOUT);
        must_be(got, id);
        must(conform_now() - began >= 200 * MS && conform_now() - began < 5000 * MS);
        must_stay_dark(end, fd);
    }
    conform_hear(&server);
    conform_tell(&server, 0);
    conform_join(&server);
    must_be(thirl_close(&end, PATIENCE), 0);
    close(tube[0]);
    close(tube[1]);
}

static void ask_twice(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    uint64_t id[2] = {query_ask(end, 1), query_ask(end, 2)};
    conform_tell(stage, 0);
    for (int i = 0; i < 2; i++) {
        take_by_number(end, id[i]);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* Whoever asks whether a request was cancelled takes in what has come behind it. */
static void a_loop_hears_of_requests_that_lie_aside(struct conform *c) {
    struct peer caller;
    thirl_msg *request;
    conform_start(&caller, c, ask_twice);
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    int fd = thirl_fd(end);
    must(fd >= 0);
    must_be(thirl_take(end, &request, PATIENCE), 0);
    conform_hear(&caller);
    int64_t until = conform_now() + 10000 * MS;
    struct thirl_want want = {.end = end, .wanted = THIRL_WANT_MESSAGE};
    for (int tries = 0; tries < 20; tries++) {
        must_be(thirl_msg_cancelled(request), 0);
        must(conform_now() < until && readable(fd, 10000));
        must_be(thirl_wait(&want, 1, PATIENCE), 1);
    }
    query_answer(end, &request);
    must(readable(fd, 0) && readable(fd, 0));
    must_be(thirl_take(end, &request, THIRL_NOW), 0);
    query_answer(end, &request);
    must_have_nothing(end, fd);
    conform_join(&caller);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* The same end in thirl_wait, beside a descriptor. */
static void a_server_waits_beside_others(struct conform *c) {
    struct peer caller;
    int tube[2];
    conform_start(&caller, c, ask_on_demand);
    must_be(pipe(tube), 0);
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    for (uint64_t word = 1; word <= 50; word++) {
        struct thirl_want wants[] = {{.end = end, .wanted = THIRL_WANT_MESSAGE}, {.fd = tube[0], .wanted = POLLIN}};
        thirl_msg *request;
        conform_tell(&caller, word);
        int rc = -EAGAIN;
        while (rc == -EAGAIN) {
            must_be(thirl_wait(wants, 2, PATIENCE), 1);
            must_be(wants[0].ready, THIRL_WANT_MESSAGE);
            rc = thirl_take(end, &request, THIRL_NOW);
        }
        must_be(rc, 0);
        wants[0].wanted = THIRL_WANT_ROOM;
        must_be(thirl_wait(wants, 2, PATIENCE), 1);
        query_answer(end, &request);
        must_be(conform_hear(&caller), word);
        must_be(write(tube[1], "x", 1), 1);
        wants[0].wanted = THIRL_WANT_MESSAGE;
        must_be(thirl_wait(wants, 2, PATIENCE), 1);
        must_be(wants[1].ready, POLLIN);
        char byte;
        must_be(read(tube[0], &byte, 1), 1);
    }
    conform_tell(&caller, 0);
    conform_join(&caller);
    must_be(thirl_close(&end, PATIENCE), 0);
    close(tube[0]);
    close(tube[1]);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(is_readable_while_there_is_something),
        CONFORM(is_readable_when_the_peer_dies),
        CONFORM_FOR(a_worker_with_nothing_to_do_stays_dark, CONFORM_QUEUE),
        CONFORM_FOR(a_subscriber_that_hears_nothing_stays_dark, CONFORM_CAST),
        CONFORM_FOR(a_watcher_of_nothing_stays_dark, CONFORM_EVENT),
        CONFORM(joins_an_epoll),
        CONFORM(shares_with_a_blocking_receiver),
        CONFORM_FOR(a_loop_serves_all_who_come, CONFORM_CALL),
        CONFORM_FOR(a_loop_hears_of_answers, CONFORM_CALL),
        CONFORM_FOR(a_loop_hears_of_what_lies_aside, CONFORM_CALL),
        CONFORM_FOR(a_loop_hears_of_requests_that_lie_aside, CONFORM_CALL),
        CONFORM_FOR(a_server_waits_beside_others, CONFORM_CALL),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
