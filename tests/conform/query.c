/* SPDX-License-Identifier: MIT
 *
 * What tests of calls share, see query.h.
 */
#include "tests/conform/query.h"

#include <unistd.h>

struct words query_words(thirl_msg *msg) {
    struct words words;
    must_be(thirl_msg_size(msg), sizeof words);
    memcpy(&words, thirl_msg_data(msg), sizeof words);
    return words;
}

void query_answer(thirl *end, thirl_msg **request) {
    struct words words = query_words(*request);
    words.what++;
    words.with = (uint64_t)getpid();
    must_be(thirl_reply(end, request, &words, sizeof words, PATIENCE), 0);
    must(*request == NULL);
}

struct words query_call(thirl *end, uint64_t what) {
    const struct words words = {what, 7};
    thirl_msg *reply;
    must_be(thirl_call(end, &words, sizeof words, &reply, PATIENCE), 0);
    struct words got = query_words(reply);
    must_be(got.what, what + 1);
    thirl_free(&reply);
    return got;
}

uint64_t query_ask(thirl *end, uint64_t what) {
    const struct words words = {what, 7};
    uint64_t id = 0;
    must_be(thirl_ask(end, &words, sizeof words, &id, PATIENCE), 0);
    must(id != 0);
    return id;
}

void query_serve(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    conform_tell(stage, 0);
    for (bool more = true; more;) {
        thirl_msg *request;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        more = query_words(request).what != STOP;
        query_answer(end, &request);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

void query_stop(thirl *end, struct peer *server) {
    (void)query_call(end, STOP);
    conform_join(server);
}

void query_stop_one(thirl *end) {
    const struct words words = {STOP, 7};
    thirl_msg *reply;
    int rc;
    do {
        rc = thirl_call(end, &words, sizeof words, &reply, PATIENCE);
        must(rc == 0 || rc == -THIRL_ECLOSED);
    } while (rc != 0);
    thirl_free(&reply);
}

void query_cancelled(thirl_msg *request) {
    int64_t until = conform_now() + 5000 * MS;
    while (!thirl_msg_cancelled(request)) {
        must(conform_now() < until);
        conform_sleep(MS / 10);
    }
}

unsigned query_each(void) {
    return conform_sanitized() ? 100 : 1000;
}

void query_often(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_CALL, "queue=4K");
    for (uint64_t i = 0; i < query_each(); i++) {
        (void)query_call(end, i);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

void query_hold(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, NULL);
    thirl_msg *request;
    conform_tell(stage, 0);
    must_be(thirl_take(end, &request, PATIENCE), 0);
    conform_tell(stage, thirl_msg_again(request) == 1);
    conform_hear(stage);
    if (query_words(request).what == STOP) {
        must_be(thirl_close(&end, THIRL_NOW), 0);
        thirl_free(&request);
        return;
    }
    query_answer(end, &request);
    must_be(thirl_close(&end, PATIENCE), 0);
}

void query_leave(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    for (uint64_t i = 0; i < 5; i++) {
        (void)query_ask(end, i);
    }
    conform_tell(stage, 0);
    if (conform_hear(stage) == 1) {
        must_be(thirl_close(&end, PATIENCE), 0);
    }
    conform_hear(stage);
}

bool query_shares(const struct conform *c) {
    return conform_claims(c).receivers != 1;
}

void query_meet(const struct conform *c, thirl *server, thirl *client) {
    thirl_msg *request;
    uint64_t id;
    if (query_shares(c)) {
        must_be(thirl_ask(client, "x", 1, &id, THIRL_NOW), -EAGAIN);
        must_say("no server took the request");
    }
    must_be(thirl_take(server, &request, thirl_in_ms(60)), -ETIMEDOUT);
}
