/* SPDX-License-Identifier: MIT
 *
 * Many who call, and who serve: servers share, clients take turns, threads have one end together, a forked child is told, the list shows them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"
#include "tests/conform/query.h"
#include "tests/conform/stock.h"

/* ---- processes ---- */

static void servers_share(struct conform *c) {
    struct peer peer[2];
    stock_need(query_shares(c), "one server listens there, and a second one is refused");
    conform_start(&peer[0], c, query_serve);
    conform_start(&peer[1], c, query_serve);
    conform_hear(&peer[0]);
    conform_hear(&peer[1]);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    unsigned share[2] = {0, 0}, in_flight = 0;
    /* Both are there from the moment on when both have answered. */
    for (int64_t until = conform_now() + 10000 * MS; share[0] == 0 || share[1] == 0;) {
        must(conform_now() < until);
        uint64_t who = query_call(end, 1).with;
        share[who == (uint64_t)peer[1].pid]++;
    }
    share[0] = share[1] = 0;
    /* The one that the machine lets run less gets less, and may get nothing for a while. */
    const int64_t until = conform_now() + 10000 * MS;
    for (unsigned sent = 0; sent < 1000 || in_flight > 0;) {
        bool fair = share[0] >= 20 && share[1] >= 20;
        while ((sent < 1000 || (!fair && conform_now() < until)) && in_flight < 20) {
            (void)query_ask(end, sent++);
            in_flight++;
        }
        uint64_t any = 0;
        thirl_msg *reply;
        must_be(thirl_answer(end, &any, &reply, PATIENCE), 0);
        share[query_words(reply).with == (uint64_t)peer[1].pid]++;
        thirl_free(&reply);
        in_flight--;
    }
    must(share[0] >= 20 && share[1] >= 20);
    query_stop_one(end);
    query_stop_one(end);
    conform_join(&peer[0]);
    conform_join(&peer[1]);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void serve_all(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SERVE, "queue=4K");
    conform_tell(stage, 0);
    for (unsigned i = 0; i < 12 * query_each(); i++) {
        thirl_msg *request;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        query_answer(end, &request);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* More than a server polls at once. */
static void clients_take_turns(struct conform *c) {
    struct peer server, client[12];
    conform_start(&server, c, serve_all);
    for (int i = 0; i < 12; i++) {
        conform_start(&client[i], c, query_often);
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
    conform_start(&peer, c, query_serve);
    conform_hear(&peer);
    thirl *end[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        must_be(thirl_open(&end[i], THIRL_CALL, conform_address(c, 0, "queue=4K"), NULL), 0);
        (void)query_call(end[i], (uint64_t)i);
    }
    int64_t longest = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            int64_t began = conform_now();
            (void)query_call(end[i], (uint64_t)i);
            (void)query_call(end[(i * 7) % CLIENTS], (uint64_t)i);
            int64_t took = conform_now() - began;
            longest = took > longest ? took : longest;
        }
    }
    (void)longest;
    query_stop(end[3], &peer);
    for (int i = 0; i < CLIENTS; i++) {
        must_be(thirl_close(&end[i], PATIENCE), 0);
    }
}

/* ---- threads, and a fork ---- */

struct crew {
    thirl *end;
    uint64_t first;
};

static void *call_in_thread(void *arguments) {
    struct crew *crew = arguments;
    for (uint64_t i = 0; i < query_each(); i++) {
        (void)query_call(crew->end, crew->first + i);
    }
    return NULL;
}

/* Whichever thread receives hands the answers to those who wait for them. */
static void threads_share_an_end(struct conform *c) {
    struct peer peer[2];
    int servers = query_shares(c) ? 2 : 1;
    for (int i = 0; i < servers; i++) {
        conform_start(&peer[i], c, query_serve);
        conform_hear(&peer[i]);
    }
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
    must(conform_sanitized() || c->with[0] != '\0' || conform_now() - began < 4000 * (int64_t)query_each() * MS / 100);
    for (int i = 0; i < servers; i++) {
        query_stop_one(end);
    }
    for (int i = 0; i < servers; i++) {
        conform_join(&peer[i]);
    }
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
    struct crew crew = {end, query_ask(end, 1)};
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
        query_answer(end, &request);
    }
}

static void threads_share_a_server(struct conform *c) {
    struct peer client[2];
    for (int i = 0; i < 2; i++) {
        conform_start(&client[i], c, query_often);
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
    conform_sleep(200 * MS); /* all of them wait by now: none begins to when the end is gone */
    must_be(thirl_close(&end, PATIENCE), 0);
    for (int i = 0; i < 3; i++) {
        must_be(pthread_join(thread[i], NULL), 0);
    }
}

static void a_child_is_told(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, query_serve);
    conform_hear(&peer);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    (void)query_call(end, 1);
    pid_t pid = fork();
    if (pid == 0) {
        thirl_msg *reply;
        uint64_t id = 0;
        must_be(thirl_call(end, "x", 1, &reply, PATIENCE), -THIRL_EFORKED);
        must_be(thirl_answer(end, &id, &reply, PATIENCE), -THIRL_EFORKED);
        must_be(thirl_close(&end, PATIENCE), -THIRL_EFORKED);
        end = conform_open(c, THIRL_CALL, NULL);
        (void)query_call(end, 5);
        must_be(thirl_close(&end, PATIENCE), 0);
        _exit(0);
    }
    int status;
    must_be(waitpid(pid, &status, 0), pid);
    must_be(status, 0);
    query_stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- what is shown ---- */

struct listed {
    unsigned clients, servers;
    bool right, shares;
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
    bool named = listed->shares ? strcmp(seen->peer, calls ? "1 server" : "2 clients") == 0
                 : calls        ? seen->peer[0] != '\0'
                                : strcmp(seen->peer, "2 ends") == 0;
    listed->right = listed->right && counts && named;
    return 0;
}

static void call_thrice(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    for (uint64_t i = 0; i < 3; i++) {
        (void)query_call(end, i);
    }
    conform_tell(stage, 0);
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void the_list_shows_them(struct conform *c) {
    struct peer client, idle;
    conform_start(&client, c, call_thrice);
    conform_start(&idle, c, query_leave);
    thirl *server = conform_open(c, THIRL_SERVE, NULL);
    thirl_msg *request, *held[5];
    for (int i = 0; i < 5; i++) {
        must_be(thirl_take(server, &held[i], PATIENCE), 0);
    }
    conform_hear(&idle);
    conform_tell(&client, 0);
    for (int i = 0; i < 3; i++) {
        must_be(thirl_take(server, &request, PATIENCE), 0);
        query_answer(server, &request);
    }
    conform_hear(&client);
    struct listed listed = {.right = true, .shares = query_shares(c)};
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

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(servers_share, CONFORM_CALL),          CONFORM_FOR(clients_take_turns, CONFORM_CALL),
        CONFORM_FOR(the_silent_are_heard, CONFORM_CALL),   CONFORM_FOR(threads_share_an_end, CONFORM_CALL),
        CONFORM_FOR(threads_share_a_server, CONFORM_CALL), CONFORM_FOR(a_close_and_a_cancel_wake, CONFORM_CALL),
        CONFORM_FOR(a_child_is_told, CONFORM_CALL),        CONFORM_FOR(the_list_shows_them, CONFORM_CALL),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
