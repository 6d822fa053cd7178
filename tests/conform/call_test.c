/* SPDX-License-Identifier: MIT
 *
 * Calls: each is answered, by the server that has it or by an error, in any order; the server hears of deadlines and cancels.
 */
#include <stdlib.h>

#include "tests/conform/conform.h"
#include "tests/conform/query.h"

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
    size_t most = (size_t)conform_limits(end).message_max;
    most = most < 250000 ? most : 250000;
    const size_t sizes[] = {0, 1, 8, 39, 40, 41, 100, 4096, 60000, most, 3};
    char *data = malloc(most);
    must(data != NULL);
    thirl_msg *reply = NULL;
    uint64_t id;
    size_t above = (size_t)conform_limits(end).message_max + 1;
    char *large = calloc(1, above);
    must(large != NULL);
    must_be(thirl_call(end, large, above, &reply, PATIENCE), -EMSGSIZE);
    must_say("?queue=");
    must_be(thirl_ask(end, large, above, &id, PATIENCE), -EMSGSIZE);
    must(reply == NULL && id == 0);
    free(large);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        conform_fill(data, sizes[i], i);
        must_be(thirl_call(end, data, sizes[i], &reply, PATIENCE), 0);
        must_be(thirl_msg_size(reply), sizes[i]);
        must(conform_intact(thirl_msg_data(reply), sizes[i], i));
        must(thirl_msg_call(reply) != 0);
        thirl_free(&reply);
    }
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
            query_answer(end, &held[--n]);
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
        id[i] = query_ask(end, i);
    }
    thirl_msg *reply;
    /* The last one by its number: all others come before it, and wait. */
    for (uint64_t i = 999; i >= 990; i--) {
        uint64_t one = id[i];
        must_be(thirl_answer(end, &one, &reply, PATIENCE), 0);
        must_be(query_words(reply).what, i + 1);
        got[i] = true;
        thirl_free(&reply);
        came++;
    }
    bool turned = false;
    for (uint64_t last = 0; came < 1000; came++) {
        uint64_t any = 0;
        must_be(thirl_answer(end, &any, &reply, PATIENCE), 0);
        uint64_t i = query_words(reply).what - 1;
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
        uint64_t parts = query_words(request).what;
        more = parts != STOP;
        for (uint64_t i = 0; more && i < parts; i++) {
            must_be(thirl_reply_part(end, request, &i, sizeof i, PATIENCE), 0);
        }
        query_answer(end, &request);
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
    uint64_t id = thirl_msg_call(reply), other = query_ask(end, 3), part;
    for (uint64_t i = 0; i < 200; i++) {
        memcpy(&part, thirl_msg_data(reply), sizeof part);
        must_be(part, i);
        thirl_free(&reply);
        must_be(thirl_answer(end, &id, &reply, PATIENCE), i < 199 ? THIRL_MORE : 0);
    }
    must_be(query_words(reply).what, 201);
    thirl_free(&reply);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), -ENOENT);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t any = 0;
        must_be(thirl_answer(end, &any, &reply, PATIENCE), i < 3 ? THIRL_MORE : 0);
        must(any == other);
        thirl_free(&reply);
    }
    query_stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- what the server is told ---- */

static void the_deadline_is_carried(struct conform *c) {
    thirl *server = conform_open(c, THIRL_SERVE, NULL), *end = conform_open(c, THIRL_CALL, NULL);
    thirl_msg *request, *reply;
    const struct words words = {1, 2};
    thirl_time until = thirl_in_ms(5000);
    uint64_t id[2];
    query_meet(c, server, end);
    must_be(thirl_ask(end, &words, sizeof words, &id[0], until), 0);
    must_be(thirl_ask(end, &words, sizeof words, &id[1], THIRL_NEVER), 0);
    must_be(thirl_take(server, &request, PATIENCE), 0);
    int64_t told = thirl_msg_deadline(request).ns;
    /* Over a connection it is the time that is left of it: plus that of the way. */
    must(told > until.ns - 100 && told <= until.ns + (query_shares(c) ? 0 : 3000 * MS));
    must_be(thirl_msg_call(request), (int64_t)id[0]);
    must_be(thirl_msg_cancelled(request), 0);
    must_be(thirl_msg_again(request), 0);
    query_answer(server, &request);
    must_be(thirl_take(server, &request, PATIENCE), 0);
    must_be(thirl_msg_deadline(request).ns, THIRL_NEVER.ns);
    query_answer(server, &request);
    for (int i = 0; i < 2; i++) {
        must_be(thirl_answer(end, &id[i], &reply, PATIENCE), 0);
        must_be(query_words(reply).what, 2);
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

static void the_server_hears_of_a_cancel(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, query_serve);
    conform_hear(&peer);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    query_stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);

    thirl *server = conform_open(c, THIRL_SERVE, NULL);
    end = conform_open(c, THIRL_CALL, NULL);
    const struct words words = {1, 2};
    uint64_t id, other;
    thirl_msg *request, *next, *reply;
    query_meet(c, server, end);
    id = query_ask(end, 1);
    must_be(thirl_take(server, &request, PATIENCE), 0);
    other = query_ask(end, 5); /* it is seen beyond another request */
    must_be(thirl_cancel(end, id), 0);
    must_be(thirl_cancel(end, id), -ENOENT);
    query_cancelled(request);
    must_be(thirl_reply(server, &request, &words, sizeof words, PATIENCE), -ECANCELED);
    must(request == NULL);
    must_be(thirl_take(server, &next, PATIENCE), 0);
    must_be(query_words(next).what, 5);
    query_answer(server, &next);
    must_be(thirl_answer(end, &other, &reply, PATIENCE), 0);
    thirl_free(&reply);
    /* What is cancelled before anybody takes it is never taken. */
    id = query_ask(end, 9);
    other = query_ask(end, 10);
    must_be(thirl_cancel(end, id), 0);
    must_be(thirl_take(server, &next, PATIENCE), 0);
    if (query_words(next).what == 9) { /* taken before the cancel came to be read */
        thirl_free(&next);
        must_be(thirl_take(server, &next, PATIENCE), 0);
    }
    must_be(query_words(next).what, 10);
    query_answer(server, &next);
    must_be(thirl_answer(end, &other, &reply, PATIENCE), 0);
    thirl_free(&reply);
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(thirl_close(&server, PATIENCE), 0);
}

static void what_is_given_back_is_no_silence(struct conform *c) {
    thirl *server = conform_open(c, THIRL_SERVE, NULL), *end = conform_open(c, THIRL_CALL, NULL);
    thirl_msg *request, *reply;
    uint64_t id;
    query_meet(c, server, end);
    id = query_ask(end, 1);
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
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
