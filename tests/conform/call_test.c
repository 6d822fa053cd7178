/* SPDX-License-Identifier: MIT
 *
 * Calls: each is answered, by the server that has it or by an error; in any order, from any thread, whoever dies.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"
#include "tests/conform/stock.h"

#define SOON_ENOUGH (100 * MS)
#define STOP UINT64_MAX /* a request that ends its server */

/* A request is two words: what is asked, and anything. The answer is what was asked plus one, and who answers. */
struct words {
    uint64_t what, with;
};

static struct words words_of(thirl_msg *msg) {
    struct words words;
    must_be(thirl_msg_size(msg), sizeof words);
    memcpy(&words, thirl_msg_data(msg), sizeof words);
    return words;
}

static void answer(thirl *end, thirl_msg **request) {
    struct words words = words_of(*request);
    words.what++;
    words.with = (uint64_t)getpid();
    must_be(thirl_reply(end, request, &words, sizeof words, PATIENCE), 0);
    must(*request == NULL);
}

/* Serves until it is asked to stop. */
static void serve(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    conform_tell(stage, 0);
    for (bool more = true; more;) {
        thirl_msg *request;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        more = words_of(request).what != STOP;
        answer(end, &request);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static struct words call(thirl *end, uint64_t what) {
    const struct words words = {what, 7};
    thirl_msg *reply;
    must_be(thirl_call(end, &words, sizeof words, &reply, PATIENCE), 0);
    struct words got = words_of(reply);
    must_be(got.what, what + 1);
    thirl_free(&reply);
    return got;
}

static void stop(thirl *end, struct peer *server) {
    (void)call(end, STOP);
    conform_join(server);
}

/* Stops one of several: who has been stopped before may not have left yet. */
static void stop_one(thirl *end) {
    const struct words words = {STOP, 7};
    thirl_msg *reply;
    int rc;
    do {
        rc = thirl_call(end, &words, sizeof words, &reply, PATIENCE);
        must(rc == 0 || rc == -THIRL_ECLOSED);
    } while (rc != 0);
    thirl_free(&reply);
}

static uint64_t ask(thirl *end, uint64_t what) {
    const struct words words = {what, 7};
    uint64_t id = 0;
    must_be(thirl_ask(end, &words, sizeof words, &id, PATIENCE), 0);
    must(id != 0);
    return id;
}

/* ---- what is sent is answered ---- */

static void echo(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    conform_tell(stage, 0);
    for (bool more = true; more;) {
        thirl_msg *request;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        size_t size = thirl_msg_size(request);
        more = size != 3;
        char *copy = malloc(size + 1);
        must(copy != NULL);
        memcpy(copy, thirl_msg_data(request), size);
        must_be(thirl_reply(end, &request, copy, size, PATIENCE), 0);
        free(copy);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void answers_every_size(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, echo);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    size_t most = (size_t)stock_limits(end).message_max;
    most = most < 250000 ? most : 250000;
    const size_t sizes[] = {0, 1, 8, 39, 40, 41, 100, 4096, 60000, most, 3};
    char *data = malloc(most);
    must(data != NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        thirl_msg *reply;
        conform_fill(data, sizes[i], i);
        must_be(thirl_call(end, data, sizes[i], &reply, PATIENCE), 0);
        must_be(thirl_msg_size(reply), sizes[i]);
        must(conform_intact(thirl_msg_data(reply), sizes[i], i));
        must(thirl_msg_call(reply) != 0);
        thirl_free(&reply);
    }
    thirl_msg *reply = NULL;
    uint64_t id;
    size_t above = (size_t)stock_limits(end).message_max + 1;
    char *large = calloc(1, above);
    must(large != NULL);
    must_be(thirl_call(end, large, above, &reply, PATIENCE), -EMSGSIZE);
    must_say("?queue=");
    must_be(thirl_ask(end, large, above, &id, PATIENCE), -EMSGSIZE);
    must(reply == NULL && id == 0);
    free(large);
    free(data);
    conform_join(&peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* Takes as many as it may hold, and answers the newest first. */
static void serve_backwards(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    conform_tell(stage, 0);
    thirl_msg *held[40];
    for (unsigned served = 0; served < 1000;) {
        unsigned n = 0;
        while (n < 40 && served + n < 1000) {
            must_be(thirl_take(end, &held[n], PATIENCE), 0);
            n++;
        }
        served += n;
        while (n > 0) {
            answer(end, &held[--n]);
        }
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_thousand_are_in_flight(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, serve_backwards);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    uint64_t id[1000], came = 0;
    bool got[1000] = {false};
    for (uint64_t i = 0; i < 1000; i++) {
        id[i] = ask(end, i);
    }
    thirl_msg *reply;
    /* The last one by its number: all others come before it, and wait. */
    for (uint64_t i = 999; i >= 990; i--) {
        uint64_t one = id[i];
        must_be(thirl_answer(end, &one, &reply, PATIENCE), 0);
        must_be(words_of(reply).what, i + 1);
        got[i] = true;
        thirl_free(&reply);
        came++;
    }
    bool turned = false;
    for (uint64_t last = 0; came < 1000; came++) {
        uint64_t any = 0;
        must_be(thirl_answer(end, &any, &reply, PATIENCE), 0);
        uint64_t i = words_of(reply).what - 1;
        must(i < 1000 && !got[i] && id[i] == any);
        got[i] = true;
        turned |= i < last;
        last = i;
        thirl_free(&reply);
    }
    must(turned);
    uint64_t any = 0;
    must_be(thirl_answer(end, &any, &reply, THIRL_NOW), -ENOENT);
    must_be(thirl_answer(end, &id[5], &reply, THIRL_NOW), -ENOENT);
    conform_join(&peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void serve_parts(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    conform_tell(stage, 0);
    for (bool more = true; more;) {
        thirl_msg *request;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        uint64_t parts = words_of(request).what;
        more = parts != STOP;
        for (uint64_t i = 0; more && i < parts; i++) {
            must_be(thirl_reply_part(end, request, &i, sizeof i, PATIENCE), 0);
        }
        answer(end, &request);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void an_answer_may_be_many(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, serve_parts);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    const struct words words = {200, 0};
    thirl_msg *reply;
    must_be(thirl_call(end, &words, sizeof words, &reply, PATIENCE), THIRL_MORE);
    uint64_t id = thirl_msg_call(reply), other = ask(end, 3), part;
    for (uint64_t i = 0; i < 200; i++) {
        memcpy(&part, thirl_msg_data(reply), sizeof part);
        must_be(part, i);
        thirl_free(&reply);
        must_be(thirl_answer(end, &id, &reply, PATIENCE), i < 199 ? THIRL_MORE : 0);
    }
    must_be(words_of(reply).what, 201);
    thirl_free(&reply);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), -ENOENT);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t any = 0;
        must_be(thirl_answer(end, &any, &reply, PATIENCE), i < 3 ? THIRL_MORE : 0);
        must(any == other);
        thirl_free(&reply);
    }
    stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- what the server is told ---- */

static void the_deadline_is_carried(struct conform *c) {
    thirl *server = conform_open(c, THIRL_SERVE, NULL), *end = conform_open(c, THIRL_CALL, NULL);
    thirl_msg *request, *reply;
    const struct words words = {1, 2};
    thirl_time until = thirl_in_ms(5000);
    uint64_t id[2];
    /* Both ends are this thread's: who serves must look before who calls can go on. */
    must_be(thirl_ask(end, &words, sizeof words, &id[0], THIRL_NOW), -EAGAIN);
    must_say("no server took the request");
    must_be(thirl_take(server, &request, thirl_in_ms(60)), -ETIMEDOUT);
    must_be(thirl_ask(end, &words, sizeof words, &id[0], until), 0);
    must_be(thirl_ask(end, &words, sizeof words, &id[1], THIRL_NEVER), 0);
    must_be(thirl_take(server, &request, PATIENCE), 0);
    int64_t told = thirl_msg_deadline(request).ns;
    must(told <= until.ns && told > until.ns - 100);
    must_be(thirl_msg_call(request), (int64_t)id[0]);
    must_be(thirl_msg_cancelled(request), 0);
    must_be(thirl_msg_again(request), 0);
    answer(server, &request);
    must_be(thirl_take(server, &request, PATIENCE), 0);
    must_be(thirl_msg_deadline(request).ns, THIRL_NEVER.ns);
    answer(server, &request);
    for (int i = 0; i < 2; i++) {
        must_be(thirl_answer(end, &id[i], &reply, PATIENCE), 0);
        must_be(words_of(reply).what, 2);
        thirl_free(&reply);
    }
    /* The call's own deadline ends it, whatever the waiting's. */
    must_be(thirl_ask(end, &words, sizeof words, &id[0], thirl_in_ms(50)), 0);
    int64_t began = conform_now();
    uint64_t any = 0;
    must_be(thirl_answer(end, &any, &reply, PATIENCE), -ETIMEDOUT);
    must(any == id[0] && conform_now() - began < 2000 * MS && conform_now() - began > 40 * MS);
    must_say("before the deadline");
    must_be(thirl_answer(end, &any, &reply, THIRL_NOW), -ENOENT);
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(thirl_close(&server, PATIENCE), 0);
}

static void await_cancel(thirl_msg *request) {
    int64_t until = conform_now() + 5000 * MS;
    while (!thirl_msg_cancelled(request)) {
        must(conform_now() < until);
        conform_sleep(MS / 10);
    }
}

static void the_server_hears_of_a_cancel(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, serve);
    conform_hear(&peer);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);

    thirl *server = conform_open(c, THIRL_SERVE, NULL);
    end = conform_open(c, THIRL_CALL, NULL);
    const struct words words = {1, 2};
    uint64_t id, other;
    thirl_msg *request, *next, *reply;
    must_be(thirl_ask(end, &words, sizeof words, &id, THIRL_NOW), -EAGAIN);
    must_be(thirl_take(server, &request, thirl_in_ms(60)), -ETIMEDOUT);
    id = ask(end, 1);
    must_be(thirl_take(server, &request, PATIENCE), 0);
    other = ask(end, 5); /* it is seen beyond another request */
    must_be(thirl_cancel(end, id), 0);
    must_be(thirl_cancel(end, id), -ENOENT);
    await_cancel(request);
    must_be(thirl_reply(server, &request, &words, sizeof words, PATIENCE), -ECANCELED);
    must(request == NULL);
    must_be(thirl_take(server, &next, PATIENCE), 0);
    must_be(words_of(next).what, 5);
    answer(server, &next);
    must_be(thirl_answer(end, &other, &reply, PATIENCE), 0);
    thirl_free(&reply);
    /* What is cancelled before anybody takes it is never taken. */
    id = ask(end, 9);
    other = ask(end, 10);
    must_be(thirl_cancel(end, id), 0);
    must_be(thirl_take(server, &next, PATIENCE), 0);
    if (words_of(next).what == 9) { /* taken before the cancel came to be read */
        thirl_free(&next);
        must_be(thirl_take(server, &next, PATIENCE), 0);
    }
    must_be(words_of(next).what, 10);
    answer(server, &next);
    must_be(thirl_answer(end, &other, &reply, PATIENCE), 0);
    thirl_free(&reply);
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(thirl_close(&server, PATIENCE), 0);
}

static void what_is_given_back_is_no_silence(struct conform *c) {
    thirl *server = conform_open(c, THIRL_SERVE, NULL), *end = conform_open(c, THIRL_CALL, NULL);
    thirl_msg *request, *reply;
    uint64_t id;
    must_be(thirl_ask(end, "x", 1, &id, THIRL_NOW), -EAGAIN);
    must_be(thirl_take(server, &request, thirl_in_ms(60)), -ETIMEDOUT);
    id = ask(end, 1);
    must_be(thirl_take(server, &request, PATIENCE), 0);
    thirl_free(&request);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), -ECANCELED);
    must_say("gave the request back");
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(thirl_close(&server, PATIENCE), 0);
}

static void plain_calls_are_refused(struct conform *c) {
    thirl *server = conform_open(c, THIRL_SERVE, NULL), *end = conform_open(c, THIRL_CALL, NULL);
    char byte = 0;
    size_t size;
    uint64_t id = 0;
    thirl_msg *msg;
    must_be(thirl_send(end, &byte, 1, PATIENCE), -THIRL_EROLE);
    must_say("thirl_call");
    must_be(thirl_recv(end, &byte, 1, &size, PATIENCE), -THIRL_EROLE);
    must_say("thirl_call");
    must_be(thirl_take(end, &msg, PATIENCE), -THIRL_EROLE);
    must_be(thirl_loan(end, &msg, 1, PATIENCE), -THIRL_EROLE);
    must_be(thirl_send(server, &byte, 1, PATIENCE), -THIRL_EROLE);
    must_say("thirl_reply");
    must_be(thirl_recv(server, &byte, 1, &size, PATIENCE), -THIRL_EROLE);
    must_be(thirl_call(server, &byte, 1, &msg, PATIENCE), -THIRL_EROLE);
    must_be(thirl_ask(server, &byte, 1, &id, PATIENCE), -THIRL_EROLE);
    must_be(thirl_answer(server, &id, &msg, PATIENCE), -THIRL_EROLE);
    must_be(thirl_reply(end, &msg, &byte, 1, PATIENCE), -THIRL_EROLE);
    must_be(thirl_reply(server, &msg, &byte, 1, PATIENCE), -EINVAL);
    must_be(thirl_answer(end, &id, &msg, THIRL_NOW), -ENOENT);
    thirl *other = NULL;
    must_be(thirl_open(&other, THIRL_PAIR, conform_address(c, 0, NULL), NULL), -THIRL_EROLE);
    must_say("call");
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(thirl_close(&server, PATIENCE), 0);
}

static void nobody_serves(struct conform *c) {
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    thirl_msg *reply;
    int64_t began = conform_now();
    must_be(thirl_call(end, "x", 1, &reply, thirl_in_ms(80)), -ETIMEDOUT);
    must(conform_now() - began >= 79 * MS && conform_now() - began < 2000 * MS);
    must_say("no server took the request");
    must_be(thirl_call(end, "x", 1, &reply, THIRL_NOW), -EAGAIN);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- many ---- */

static void servers_share(struct conform *c) {
    struct peer peer[2];
    conform_start(&peer[0], c, serve);
    conform_start(&peer[1], c, serve);
    conform_hear(&peer[0]);
    conform_hear(&peer[1]);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    unsigned share[2] = {0, 0}, in_flight = 0;
    /* Both are there from the moment on when both have answered. */
    for (int64_t until = conform_now() + 10000 * MS; share[0] == 0 || share[1] == 0;) {
        must(conform_now() < until);
        uint64_t who = call(end, 1).with;
        share[who == (uint64_t)peer[1].pid]++;
    }
    share[0] = share[1] = 0;
    for (unsigned sent = 0; sent < 1000 || in_flight > 0;) {
        while (sent < 1000 && in_flight < 20) {
            (void)ask(end, sent++);
            in_flight++;
        }
        uint64_t any = 0;
        thirl_msg *reply;
        must_be(thirl_answer(end, &any, &reply, PATIENCE), 0);
        share[words_of(reply).with == (uint64_t)peer[1].pid]++;
        thirl_free(&reply);
        in_flight--;
    }
    must(share[0] >= 20 && share[1] >= 20); /* the one that the machine lets run less gets less */
    stop_one(end);
    stop_one(end);
    conform_join(&peer[0]);
    conform_join(&peer[1]);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static unsigned each_client(void) {
    return conform_sanitized() ? 100 : 1000;
}

static void call_often(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_CALL, "queue=4K");
    for (uint64_t i = 0; i < each_client(); i++) {
        (void)call(end, i);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void serve_all(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, "queue=4K");
    conform_tell(stage, 0);
    for (unsigned i = 0; i < 12 * each_client(); i++) {
        thirl_msg *request;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        answer(end, &request);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* More than a server polls at once. */
static void clients_take_turns(struct conform *c) {
    struct peer server, client[12];
    conform_start(&server, c, serve_all);
    for (int i = 0; i < 12; i++) {
        conform_start(&client[i], c, call_often);
    }
    conform_hear(&server);
    for (int i = 0; i < 12; i++) {
        conform_tell(&client[i], 0);
    }
    for (int i = 0; i < 12; i++) {
        conform_join(&client[i]);
    }
    conform_join(&server);
}

/* Most are silent, one speaks, now and then another: nobody is forgotten. */
static void the_silent_are_heard(struct conform *c) {
    enum { CLIENTS = 60 };
    struct peer peer;
    conform_start(&peer, c, serve);
    conform_hear(&peer);
    thirl *end[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        must_be(thirl_open(&end[i], THIRL_CALL, conform_address(c, 0, "queue=4K"), NULL), 0);
        (void)call(end[i], (uint64_t)i);
    }
    int64_t longest = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            int64_t began = conform_now();
            (void)call(end[i], (uint64_t)i);
            (void)call(end[(i * 7) % CLIENTS], (uint64_t)i);
            int64_t took = conform_now() - began;
            longest = took > longest ? took : longest;
        }
    }
    (void)longest;
    stop(end[3], &peer);
    for (int i = 0; i < CLIENTS; i++) {
        must_be(thirl_close(&end[i], PATIENCE), 0);
    }
}

struct crew {
    thirl *end;
    uint64_t first;
};

static void *call_in_thread(void *arguments) {
    struct crew *crew = arguments;
    for (uint64_t i = 0; i < each_client(); i++) {
        (void)call(crew->end, crew->first + i);
    }
    return NULL;
}

/* Whichever thread receives hands the answers to those who wait for them. */
static void threads_share_an_end(struct conform *c) {
    struct peer peer[2];
    conform_start(&peer[0], c, serve);
    conform_start(&peer[1], c, serve);
    conform_hear(&peer[0]);
    conform_hear(&peer[1]);
    thirl *end = conform_open(c, THIRL_CALL, c->with[0] == '\0' ? "wait=sleep" : NULL);
    pthread_t thread[4];
    struct crew crew[4];
    int64_t began = conform_now();
    for (uint64_t i = 0; i < 4; i++) {
        crew[i] = (struct crew){end, i << 32};
        must_be(pthread_create(&thread[i], NULL, call_in_thread, &crew[i]), 0);
    }
    for (uint64_t i = 0; i < 4; i++) {
        must_be(pthread_join(thread[i], NULL), 0);
    }
    /* A lost wake-up costs a slice of 50 ms at the least. */
    must(conform_sanitized() || c->with[0] != '\0' || conform_now() - began < 4000 * (int64_t)each_client() * MS / 100);
    stop_one(end);
    stop_one(end);
    conform_join(&peer[0]);
    conform_join(&peer[1]);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void *call_until_closed(void *arguments) {
    thirl_msg *reply;
    must_be(thirl_call(arguments, "x", 1, &reply, PATIENCE), -THIRL_ECLOSED);
    return NULL;
}

static void *answer_until_cancelled(void *arguments) {
    const struct crew *crew = arguments;
    uint64_t id = crew->first;
    thirl_msg *reply;
    must_be(thirl_answer(crew->end, &id, &reply, PATIENCE), -ECANCELED);
    return NULL;
}

static void hold_many(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    conform_tell(stage, 0);
    thirl_msg *held[4];
    for (int i = 0; i < 4; i++) {
        must_be(thirl_take(end, &held[i], PATIENCE), 0);
    }
    conform_hear(stage);
    must_be(thirl_close(&end, THIRL_NOW), 0);
    for (int i = 0; i < 4; i++) {
        thirl_free(&held[i]);
    }
}

static void a_close_and_a_cancel_wake(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, hold_many);
    conform_hear(&peer);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    pthread_t thread[4];
    struct crew crew = {end, ask(end, 1)};
    must_be(pthread_create(&thread[3], NULL, answer_until_cancelled, &crew), 0);
    for (int i = 0; i < 3; i++) {
        must_be(pthread_create(&thread[i], NULL, call_until_closed, end), 0);
    }
    conform_sleep(50 * MS);
    int64_t began = conform_now();
    must_be(thirl_cancel(end, crew.first), 0);
    must_be(pthread_join(thread[3], NULL), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
    for (int i = 0; i < 3; i++) {
        must_be(pthread_join(thread[i], NULL), 0);
    }
    must(conform_now() - began < 5000 * MS);
    conform_tell(&peer, 0);
    conform_join(&peer);
}

static void *serve_in_thread(void *arguments) {
    thirl *end = arguments;
    for (;;) {
        thirl_msg *request;
        int rc = thirl_take(end, &request, PATIENCE);
        if (rc == -THIRL_ECLOSED) {
            return NULL;
        }
        must_be(rc, 0);
        answer(end, &request);
    }
}

static void threads_share_a_server(struct conform *c) {
    struct peer client[2];
    for (int i = 0; i < 2; i++) {
        conform_start(&client[i], c, call_often);
    }
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    pthread_t thread[3];
    for (int i = 0; i < 3; i++) {
        must_be(pthread_create(&thread[i], NULL, serve_in_thread, end), 0);
    }
    for (int i = 0; i < 2; i++) {
        conform_tell(&client[i], 0);
    }
    for (int i = 0; i < 2; i++) {
        conform_join(&client[i]);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    for (int i = 0; i < 3; i++) {
        must_be(pthread_join(thread[i], NULL), 0);
    }
}

/* ---- death, and leaving ---- */

/* Takes one request, says so, and waits. */
static void hold_one(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    thirl_msg *request;
    conform_tell(stage, 0);
    must_be(thirl_take(end, &request, PATIENCE), 0);
    conform_tell(stage, thirl_msg_again(request) == 1);
    conform_hear(stage);
    if (words_of(request).what == STOP) {
        must_be(thirl_close(&end, THIRL_NOW), 0);
        thirl_free(&request);
        return;
    }
    answer(end, &request);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_dead_server_fails_its_calls(struct conform *c) {
    int64_t best = INT64_MAX;
    struct peer peer[3], last;
    for (int i = 0; i < 3; i++) {
        conform_start(&peer[i], c, hold_one);
    }
    conform_start(&last, c, serve);
    conform_hear(&last);
    thirl *end = NULL;
    for (int i = 0; i < 3; i++) {
        conform_hear(&peer[i]);
    }
    end = conform_open(c, THIRL_CALL, NULL);
    uint64_t id[64];
    unsigned asked = 0;
    struct pollfd polled[3] = {{peer[0].wire, POLLIN, 0}, {peer[1].wire, POLLIN, 0}, {peer[2].wire, POLLIN, 0}};
    for (int held = 0; held < 3;) { /* until each has one in its hands */
        must(asked < 64);
        id[asked] = ask(end, asked);
        asked++;
        (void)poll(polled, 3, 100);
        for (int i = 0; i < 3; i++) {
            if ((polled[i].revents & POLLIN) != 0) {
                must_be(conform_hear(&peer[i]), 0);
                polled[i].fd = -1;
                polled[i].revents = 0;
                held++;
            }
        }
    }
    unsigned answered = 0, died = 0;
    for (int i = 0; i < 3; i++) {
        char text[32];
        snprintf(text, sizeof text, "pid %d ", (int)peer[i].pid);
        int64_t began = conform_now();
        conform_kill(&peer[i]);
        for (bool named = false; !named;) { /* more than one may have waited in the queue of the one before */
            uint64_t any = 0;
            thirl_msg *reply;
            int rc = thirl_answer(end, &any, &reply, PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED);
            must(any != 0);
            answered += rc == 0;
            died += rc != 0;
            named = rc != 0 && strstr(thirl_why(), text) != NULL;
            if (rc == 0) {
                must_be(words_of(reply).with, last.pid);
            }
            thirl_free(&reply);
        }
        int64_t took = conform_now() - began;
        best = took < best ? took : best;
    }
    must(best < SOON_ENOUGH);
    while (answered + died < asked) {
        uint64_t any = 0;
        thirl_msg *reply;
        int rc = thirl_answer(end, &any, &reply, PATIENCE);
        must(rc == 0 || rc == -THIRL_EPEERDIED);
        thirl_free(&reply);
        answered += rc == 0;
        died += rc != 0;
    }
    (void)id;
    for (uint64_t i = 0; i < 20; i++) {
        must_be(call(end, i).with, last.pid);
    }
    stop(end, &last);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void another_server_gets_it(struct conform *c) {
    struct peer first, second;
    conform_start(&first, c, hold_one);
    conform_start(&second, c, hold_one);
    thirl *end = conform_open(c, THIRL_CALL, "retry");
    conform_hear(&first);
    conform_hear(&second);
    uint64_t id = ask(end, 40);
    struct pollfd polled[2] = {{first.wire, POLLIN, 0}, {second.wire, POLLIN, 0}};
    must(poll(polled, 2, 20000) == 1);
    bool is_first = (polled[0].revents & POLLIN) != 0;
    struct peer *has = is_first ? &first : &second, *other = is_first ? &second : &first;
    must_be(conform_hear(has), 0);
    conform_kill(has);
    conform_tell(other, 0); /* it goes on at once */
    thirl_msg *reply;
    must_be(thirl_answer(end, &id, &reply, PATIENCE), 0);
    must_be(words_of(reply).what, 41);
    must_be(words_of(reply).with, other->pid);
    thirl_free(&reply);
    must_be(conform_hear(other), 1); /* it was told that somebody had it before */
    conform_join(other);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_server_may_leave(struct conform *c) {
    struct peer peer[2];
    conform_start(&peer[0], c, hold_one);
    conform_start(&peer[1], c, hold_one);
    conform_hear(&peer[0]);
    conform_hear(&peer[1]);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    uint64_t id = ask(end, STOP);
    thirl_msg *reply;
    struct pollfd polled[2] = {{peer[0].wire, POLLIN, 0}, {peer[1].wire, POLLIN, 0}};
    must(poll(polled, 2, 20000) == 1);
    struct peer *has = &peer[polled[1].revents != 0], *other = &peer[polled[1].revents == 0];
    must_be(conform_hear(has), 0);
    conform_tell(has, 0);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), -THIRL_ECLOSED);
    conform_names(c, has->pid);
    conform_join(has);
    id = ask(end, 8);
    must_be(conform_hear(other), 0);
    conform_tell(other, 0);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), 0);
    must_be(words_of(reply).with, other->pid);
    thirl_free(&reply);
    conform_join(other);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void ask_and_wait(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    for (uint64_t i = 0; i < 5; i++) {
        (void)ask(end, i);
    }
    conform_tell(stage, 0);
    if (conform_hear(stage) == 1) {
        must_be(thirl_close(&end, PATIENCE), 0);
    }
    conform_hear(stage);
}

static void a_client_goes(struct conform *c, bool dies) {
    struct peer client, other;
    conform_start(&client, c, ask_and_wait);
    conform_start(&other, c, call_often);
    thirl *server = conform_open(c, THIRL_SERVE, NULL);
    thirl_msg *held[5];
    for (int i = 0; i < 5; i++) {
        must_be(thirl_take(server, &held[i], PATIENCE), 0);
    }
    conform_hear(&client);
    if (dies) {
        conform_kill(&client);
    } else {
        conform_tell(&client, 1);
    }
    int64_t began = conform_now();
    await_cancel(held[2]);
    must(conform_now() - began < 2000 * MS);
    const struct words words = {0, 0};
    for (int i = 0; i < 5; i++) {
        must(thirl_reply(server, &held[i], &words, sizeof words, PATIENCE) < 0);
        must(held[i] == NULL);
    }
    conform_tell(&other, 0);
    for (unsigned i = 0; i < each_client(); i++) {
        thirl_msg *request;
        must_be(thirl_take(server, &request, PATIENCE), 0);
        answer(server, &request);
    }
    conform_join(&other);
    if (!dies) {
        conform_tell(&client, 0);
        conform_join(&client);
    }
    must_be(thirl_close(&server, PATIENCE), 0);
}

static void a_dead_client_harms_nobody(struct conform *c) {
    a_client_goes(c, true);
}

static void a_client_may_close_with_calls_in_flight(struct conform *c) {
    a_client_goes(c, false);
}

static void stopped_is_not_dead(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, serve);
    conform_hear(&peer);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    (void)call(end, 1);
    must_be(kill(peer.pid, SIGSTOP), 0);
    uint64_t id = ask(end, 10);
    thirl_msg *reply;
    must_be(thirl_answer(end, &id, &reply, thirl_in_ms(300)), -ETIMEDOUT);
    must_be(kill(peer.pid, SIGCONT), 0);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), 0);
    must_be(words_of(reply).what, 11);
    thirl_free(&reply);
    stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_child_is_told(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, serve);
    conform_hear(&peer);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    (void)call(end, 1);
    pid_t pid = fork();
    if (pid == 0) {
        thirl_msg *reply;
        uint64_t id = 0;
        must_be(thirl_call(end, "x", 1, &reply, PATIENCE), -THIRL_EFORKED);
        must_be(thirl_answer(end, &id, &reply, PATIENCE), -THIRL_EFORKED);
        must_be(thirl_close(&end, PATIENCE), -THIRL_EFORKED);
        end = conform_open(c, THIRL_CALL, NULL);
        (void)call(end, 5);
        must_be(thirl_close(&end, PATIENCE), 0);
        _exit(0);
    }
    int status;
    must_be(waitpid(pid, &status, 0), pid);
    must_be(status, 0);
    stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- what is shown ---- */

struct listed {
    unsigned clients, servers;
    bool right;
};

static int see(void *context, const struct thirl_seen *seen) {
    struct listed *listed = context;
    bool calls = strcmp(seen->role, "call") == 0;
    if (strcmp(seen->state, "linked") != 0) {
        return 0;
    }
    listed->clients += calls;
    listed->servers += !calls;
    bool counts = calls ? (seen->sent == 3 && seen->received == 3) || (seen->sent == 5 && seen->received == 0)
                        : seen->sent == 3 && seen->received == 8;
    listed->right = listed->right && counts && strcmp(seen->peer, calls ? "1 server" : "2 clients") == 0;
    return 0;
}

static void call_thrice(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    for (uint64_t i = 0; i < 3; i++) {
        (void)call(end, i);
    }
    conform_tell(stage, 0);
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void the_list_shows_them(struct conform *c) {
    struct peer client, idle;
    conform_start(&client, c, call_thrice);
    conform_start(&idle, c, ask_and_wait);
    thirl *server = conform_open(c, THIRL_SERVE, NULL);
    thirl_msg *request, *held[5];
    for (int i = 0; i < 5; i++) {
        must_be(thirl_take(server, &held[i], PATIENCE), 0);
    }
    conform_hear(&idle);
    conform_tell(&client, 0);
    for (int i = 0; i < 3; i++) {
        must_be(thirl_take(server, &request, PATIENCE), 0);
        answer(server, &request);
    }
    conform_hear(&client);
    struct listed listed = {.right = true};
    must_be(thirl_list(see, &listed), 0);
    must_be(listed.clients, 2);
    must_be(listed.servers, 1);
    must(listed.right);
    for (int i = 0; i < 5; i++) {
        thirl_free(&held[i]);
    }
    conform_tell(&client, 0);
    conform_join(&client);
    conform_kill(&idle);
    must_be(thirl_close(&server, PATIENCE), 0);
}

/* ---- any point ---- */

static const char *const points[] = {
    "desk.open.page",      "desk.accept.before", "desk.accept.after", "desk.send.written", "desk.send.after",
    "desk.arm.armed",      "desk.close.shown",   "talk.make.before",  "talk.make.named",   "talk.post.before",
    "talk.post.after",     "talk.end.file",      "door.make.created", "door.knock.seat",   "door.knock.counted",
    "door.answer.cleared", "call.ask.sent",      "call.answer.taken", "serve.reply.sent",
};
#define POINTS (sizeof points / sizeof *points)

static struct lot {
    unsigned point, pass;
    bool serves;
} lot;

static void play_a_part(const struct conform *c, struct peer *stage) {
    char order[80];
    snprintf(order, sizeof order, "%s:%u:kill", points[lot.point], lot.pass);
    setenv("THIRL_WEAVE_AT", order, 1);
    thirl *end = conform_open(c, lot.serves ? THIRL_SERVE : THIRL_CALL, "wait=sleep");
    conform_tell(stage, 0);
    for (uint64_t i = 0; i < 3; i++) {
        thirl_msg *msg = NULL;
        const struct words words = {i, 0};
        if (lot.serves) {
            if (thirl_take(end, &msg, thirl_in_ms(30)) == 0) {
                (void)!thirl_reply(end, &msg, &words, sizeof words, PATIENCE); /* it may have given up */
            }
        } else {
            (void)!thirl_call(end, &words, sizeof words, &msg, thirl_in_ms(40));
            thirl_free(&msg);
        }
    }
    (void)!thirl_close(&end, THIRL_NOW);
}

/* The survivor: a server goes on, a client's calls are answered, or fail at once. */
static void survive(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, lot.serves ? THIRL_CALL : THIRL_SERVE, "wait=sleep");
    conform_tell(stage, 0);
    for (int i = 0; i < 3; i++) {
        thirl_msg *msg = NULL;
        const struct words words = {1, 0};
        int64_t began = conform_now();
        if (lot.serves) {
            int rc = thirl_call(end, &words, sizeof words, &msg, thirl_in_ms(40));
            must(rc == 0 || rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED || rc == -ETIMEDOUT || rc == -ECANCELED);
            must(conform_now() - began < 3000 * MS);
            thirl_free(&msg);
        } else if (thirl_take(end, &msg, thirl_in_ms(30)) == 0) {
            struct words got = words_of(msg);
            got.what++;
            (void)!thirl_reply(end, &msg, &got, sizeof got, PATIENCE);
        }
    }
    conform_tell(stage, 1);
    conform_hear(stage);
    /* And with one who lives all is well. */
    if (lot.serves) {
        (void)call(end, 7);
    } else {
        thirl_msg *msg;
        const struct words words = {8, 0};
        int rc;
        do { /* a request of the dead may have waited */
            must_be(thirl_take(end, &msg, PATIENCE), 0);
            rc = thirl_reply(end, &msg, &words, sizeof words, PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED || rc == -ECANCELED);
        } while (rc != 0);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void and_with_the_next(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, lot.serves ? THIRL_SERVE : THIRL_CALL, NULL);
    if (lot.serves) {
        thirl_msg *msg;
        must_be(thirl_take(end, &msg, PATIENCE), 0);
        answer(end, &msg);
    } else {
        (void)call(end, 7);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void kill_at(struct conform *c, unsigned first, unsigned last) {
    unsigned killed = 0, trials = 0;
    uint64_t seen = 0;
    for (unsigned i = 4 * first; i < 4 * last; i++) {
        lot = (struct lot){i / 4, 1 + i % 2, i / 2 % 2 == 0};
        if ((conform_sanitized() || c->with[0] != '\0') && lot.pass != 1) {
            continue; /* it looks at the code that is passed, not at the moment */
        }
        struct peer victim, survivor, next;
        conform_start(&victim, c, play_a_part);
        conform_start(&survivor, c, survive);
        conform_start(&next, c, and_with_the_next);
        char byte[8];
        while (recv(victim.wire, byte, sizeof byte, 0) > 0) {}
        int status = 0;
        must_be(waitpid(victim.pid, &status, 0), victim.pid);
        must(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        killed += WIFSIGNALED(status);
        seen |= WIFSIGNALED(status) ? UINT64_C(1) << lot.point : 0;
        trials++;
        close(victim.wire);
        must_be(conform_hear(&survivor), 0);
        must_be(conform_hear(&survivor), 1);
        conform_tell(&next, 0);
        conform_tell(&survivor, 0);
        conform_join(&survivor);
        conform_join(&next);
    }
    stock_need(killed > trials / 4, "it passes few of these points");
    must(c->with[0] != '\0' ||
         (unsigned)__builtin_popcountll(seen) + 1 >= last - first); /* one may be passed by chance only */
    char path[256];
    (void)snprintf(path, sizeof path, "%s/chan", c->registry);
    must_be(conform_lines_of(path), 0);
}

static void any_point_of_opening_may_kill(struct conform *c) {
    kill_at(c, 0, 4);
}

static void any_point_of_sending_may_kill(struct conform *c) {
    kill_at(c, 4, 7);
}

static void any_point_of_meeting_may_kill(struct conform *c) {
    kill_at(c, 7, 13);
}

static void any_point_of_knocking_may_kill(struct conform *c) {
    kill_at(c, 13, 16);
}

static void any_point_of_calling_may_kill(struct conform *c) {
    kill_at(c, 16, POINTS);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(answers_every_size, CONFORM_CALL),
        CONFORM_FOR(a_thousand_are_in_flight, CONFORM_CALL),
        CONFORM_FOR(an_answer_may_be_many, CONFORM_CALL),
        CONFORM_FOR(the_deadline_is_carried, CONFORM_CALL),
        CONFORM_FOR(the_server_hears_of_a_cancel, CONFORM_CALL),
        CONFORM_FOR(what_is_given_back_is_no_silence, CONFORM_CALL),
        CONFORM_FOR(plain_calls_are_refused, CONFORM_CALL),
        CONFORM_FOR(nobody_serves, CONFORM_CALL),
        CONFORM_FOR(servers_share, CONFORM_CALL),
        CONFORM_FOR(clients_take_turns, CONFORM_CALL),
        CONFORM_FOR(the_silent_are_heard, CONFORM_CALL),
        CONFORM_FOR(threads_share_an_end, CONFORM_CALL),
        CONFORM_FOR(threads_share_a_server, CONFORM_CALL),
        CONFORM_FOR(a_close_and_a_cancel_wake, CONFORM_CALL),
        CONFORM_FOR(a_dead_server_fails_its_calls, CONFORM_CALL),
        CONFORM_FOR(another_server_gets_it, CONFORM_CALL),
        CONFORM_FOR(a_server_may_leave, CONFORM_CALL),
        CONFORM_FOR(a_dead_client_harms_nobody, CONFORM_CALL),
        CONFORM_FOR(a_client_may_close_with_calls_in_flight, CONFORM_CALL),
        CONFORM_FOR(stopped_is_not_dead, CONFORM_CALL),
        CONFORM_FOR(a_child_is_told, CONFORM_CALL),
        CONFORM_FOR(the_list_shows_them, CONFORM_CALL),
        CONFORM_FOR(any_point_of_opening_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_sending_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_meeting_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_knocking_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_calling_may_kill, CONFORM_CALL),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
