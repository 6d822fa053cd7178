/* SPDX-License-Identifier: MIT
 *
 * ?lifespan and ?deadline over every mechanism that has them: what is too old is passed over, counted, and missed; a job that is too old is
 * told of; and who says nothing for too long is noticed, by every way of waiting.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/query.h"
#include "tests/conform/stock.h"

#define SHORT "lifespan=50ms"
#define LONG "lifespan=60s"
#define OLD (60 * MS)

struct counts {
    uint64_t expired, silences;
};

static int add(void *context, const struct thirl_seen *seen) {
    struct counts *counts = context;
    counts->expired += seen->expired;
    counts->silences += seen->silences;
    return 0;
}

static struct counts count(void) {
    struct counts counts = {0, 0};
    must_be(thirl_list(add, &counts), 0);
    return counts;
}

static void close_both(thirl **a, thirl **b) {
    (void)!thirl_close(a, THIRL_NOW);
    (void)!thirl_close(b, THIRL_NOW);
}

/* Into a buffer: whether a message that does not fit is old nobody looks. */
static int recv_some(thirl *end, thirl_time until) {
    static char buffer[65536];
    size_t got;
    return thirl_recv(end, buffer, sizeof buffer, &got, until);
}

static thirl *open_as(const struct conform *c, unsigned n, enum thirl_role role, const char *options) {
    thirl *end = NULL;
    must_be(thirl_open(&end, role, conform_address(c, n, options), NULL), 0);
    return end;
}

/* Both know each other, and nothing is on its way. */
static void meet(thirl *from, thirl *to) {
    char byte;
    int rc = -EAGAIN;
    for (int64_t until = conform_now() + 10000 * MS; rc != 0 && conform_now() < until;) {
        (void)!thirl_send(from, "x", 1, THIRL_NOW);
        rc = thirl_recv(to, &byte, 1, NULL, thirl_in_ms(5));
    }
    must_be(rc, 0);
    while (thirl_recv(to, &byte, 1, NULL, thirl_in_ms(20)) != -ETIMEDOUT) {}
}

/* Sends a message and takes it; under load it may have grown old meanwhile. How many went before it did not. */
static unsigned send_fresh(thirl *from, thirl *to, thirl_msg **msg) {
    for (unsigned tries = 0;; tries++) {
        must(tries < 20);
        conform_send(from, 40, 7);
        int rc = thirl_take(to, msg, thirl_in_ms(300));
        if (rc == 0) {
            must(thirl_msg_size(*msg) == 40 && conform_intact(thirl_msg_data(*msg), 40, 7));
            return tries;
        }
        must(rc == -ETIMEDOUT || rc == -THIRL_EEXPIRED);
    }
}

static void miss_some(thirl *from, thirl *to, unsigned some) {
    thirl_msg *msg = NULL;
    (void)send_fresh(from, to, &msg);
    uint64_t number = thirl_msg_number(msg), expired = count().expired;
    thirl_free(&msg);
    for (unsigned i = 0; i < some; i++) {
        conform_send(from, 1 + (size_t)i * 500, i);
    }
    conform_sleep(OLD);
    must_be(recv_some(to, THIRL_NOW), -EAGAIN);
    must_be(count().expired - expired, some);
    unsigned more = send_fresh(from, to, &msg);
    must_be(thirl_msg_lost(msg), some + more);
    must_be(thirl_msg_number(msg), number + some + more + 1);
    must_be(count().expired - expired, some + more);
    thirl_free(&msg);
    more = send_fresh(from, to, &msg);
    must_be(thirl_msg_lost(msg), more);
    thirl_free(&msg);
}

static void miss_many(thirl *from, thirl *to) {
    static char bytes[4][100], buffer[1000];
    struct iovec out[4], in[4] = {{NULL, 0}};
    size_t got = 4;
    int rc = -ETIMEDOUT;
    for (unsigned i = 0; i < 4; i++) {
        out[i] = (struct iovec){bytes[i], sizeof bytes[i]};
        conform_fill(bytes[i], sizeof bytes[i], i);
    }
    must_be(thirl_send_many(from, out, &got, PATIENCE), 0);
    conform_sleep(OLD);
    for (unsigned tries = 0; rc == -ETIMEDOUT && tries < 20; tries++) {
        conform_send(from, 50, 9);
        got = 4;
        rc = thirl_recv_many(to, buffer, sizeof buffer, in, &got, thirl_in_ms(300));
    }
    must_be(rc, 0);
    must(got == 1 && in[0].iov_len == 50 && conform_intact(in[0].iov_base, 50, 9));
}

static void old_ones_are_passed_over(struct conform *c) {
    static const char *const options[][2] = {{SHORT, LONG}, {LONG, SHORT}, {"crc&" SHORT, "crc&" LONG}};
    for (unsigned i = 0; i < 3; i++) { /* the sender's or the receiver's, whichever is shorter */
        thirl *a = open_as(c, i, THIRL_PAIR, options[i][0]), *b = open_as(c, i, THIRL_PAIR, options[i][1]);
        meet(a, b);
        miss_some(a, b, 3 + i);
        miss_many(a, b);
        conform_send(b, 300, 1);
        (void)recv_some(a, THIRL_NOW);
        close_both(&a, &b);
    }
}

static void loans_grow_old_from_their_put(struct conform *c) {
    thirl *a = open_as(c, 0, THIRL_PAIR, "lifespan=300ms"), *b = open_as(c, 0, THIRL_PAIR, "lifespan=300ms");
    thirl_msg *msg = NULL;
    meet(a, b);
    must_be(thirl_loan(a, &msg, 64, PATIENCE), 0);
    conform_sleep(350 * MS);
    conform_fill(thirl_msg_data(msg), 64, 5);
    must_be(thirl_put(a, &msg, PATIENCE), 0);
    int rc = thirl_take(b, &msg, thirl_in_ms(500));
    must(rc == 0 || count().expired == 1); /* this process was stopped meanwhile */
    must(rc != 0 || (thirl_msg_size(msg) == 64 && conform_intact(thirl_msg_data(msg), 64, 5)));
    thirl_free(&msg);
    close_both(&a, &b);
}

static void subscribers_miss_old_ones(struct conform *c) {
    thirl *sub = open_as(c, 0, THIRL_SUB, LONG), *pub = open_as(c, 0, THIRL_PUB, SHORT);
    meet(pub, sub);
    miss_some(pub, sub, 3);
    miss_many(pub, sub);
    close_both(&pub, &sub);
}

/* Each message tells what its own publisher's subscriber has missed; also by a pattern. */
static void each_publisher_has_its_gap(struct conform *c) {
    thirl *pub[2] = {NULL, NULL}, *sub[2] = {NULL, NULL};
    (void)c;
    must_be(thirl_open(&sub[0], THIRL_SUB, "shm://age/x?" LONG, NULL), 0);
    must_be(thirl_open(&sub[1], THIRL_SUB, "shm://age/*?" LONG, NULL), 0);
    must_be(thirl_open(&pub[0], THIRL_PUB, "shm://age/x?" SHORT, NULL), 0);
    must_be(thirl_open(&pub[1], THIRL_PUB, "shm://age/x?" LONG, NULL), 0);
    for (unsigned i = 0; i < 5; i++) {
        conform_send(pub[0], 8, i);
        conform_send(pub[1], 9, i);
    }
    conform_sleep(OLD);
    for (unsigned s = 0; s < 2; s++) {
        for (unsigned i = 0; i < 5; i++) {
            thirl_msg *msg = NULL;
            must_be(thirl_take(sub[s], &msg, PATIENCE), 0);
            must(thirl_msg_size(msg) == 9 && thirl_msg_lost(msg) == 0);
            must_be(thirl_msg_number(msg), i);
            thirl_free(&msg);
        }
        must_be(recv_some(sub[s], THIRL_NOW), -EAGAIN);
    }
    must_be(count().expired, 10);
    for (unsigned s = 0; s < 2; s++) {
        thirl_msg *msg = NULL;
        unsigned more = send_fresh(pub[0], sub[s], &msg);
        must_be(thirl_msg_lost(msg), 5 + more + s); /* the second has also missed or taken what the first took */
        thirl_free(&msg);
        if (s == 0) {
            conform_sleep(OLD);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        (void)!thirl_close(&pub[i], THIRL_NOW);
        (void)!thirl_close(&sub[i], THIRL_NOW);
    }
}

/* A late subscriber gets of the history what is still worth something. */
static void history_grows_old(struct conform *c) {
    thirl *pub = open_as(c, 0, THIRL_PUB, SHORT "&history=10"), *sub;
    thirl_msg *msg = NULL;
    for (unsigned i = 0; i < 4; i++) {
        conform_send(pub, 40, 7);
    }
    conform_sleep(OLD);
    sub = open_as(c, 0, THIRL_SUB, LONG);
    must(recv_some(sub, thirl_in_ms(20)) == -ETIMEDOUT);
    unsigned more = send_fresh(pub, sub, &msg);
    must_be(thirl_msg_lost(msg), 4 + more);
    thirl_free(&msg);
    close_both(&pub, &sub);
}

/* Nothing that was to be done vanishes in silence: each is told, once, and is done with. */
static void old_jobs_are_told(struct conform *c) {
    thirl *pull = open_as(c, 0, THIRL_PULL, LONG), *push = open_as(c, 0, THIRL_PUSH, SHORT);
    thirl_msg *msg = NULL;
    (void)send_fresh(push, pull, &msg);
    must_be(thirl_done(&msg), 0);
    uint64_t expired = count().expired;
    unsigned told = 0;
    for (unsigned i = 0; i < 4; i++) {
        conform_send(push, 100 + (size_t)i * 700, i);
    }
    conform_sleep(OLD);
    for (unsigned i = 0; i < 4; i++) {
        char buffer[4000];
        size_t got;
        int rc = i % 2 == 0 ? thirl_take(pull, &msg, thirl_in_ms(5000))
                            : thirl_recv(pull, buffer, sizeof buffer, &got, thirl_in_ms(5000));
        must(rc == -THIRL_EEXPIRED || (rc == -ETIMEDOUT && !conform_claims(c).reliable));
        if (rc == -THIRL_EEXPIRED) {
            must_say("expired: it is ");
            must_say("lifespan of 50 ms");
            told++;
        }
    }
    must_be(count().expired - expired, told);
    must_be(recv_some(pull, THIRL_NOW), -EAGAIN);
    (void)send_fresh(push, pull, &msg);
    must_be(thirl_done(&msg), 0);
    must_be(thirl_close(&push, PATIENCE), 0);
    must_be(thirl_close(&pull, PATIENCE), 0);
}

static void both_ends_say_so(struct conform *c) {
    static const char *const options[][2] = {{LONG, NULL}, {NULL, LONG}, {LONG "&crc", LONG}, {"crc", LONG}};
    bool pair = (c->line->roles & CONFORM_PAIR) != 0, cast = (c->line->roles & CONFORM_CAST) != 0;
    enum thirl_role in = pair ? THIRL_PAIR : cast ? THIRL_SUB : THIRL_PULL;
    enum thirl_role out = pair ? THIRL_PAIR : cast ? THIRL_PUB : THIRL_PUSH;
    for (unsigned i = 0; i < 4; i++) {
        thirl *a = open_as(c, i, in, options[i][0]), *b = NULL;
        int rc = thirl_open(&b, out, conform_address(c, i, options[i][1]), NULL);
        for (int64_t until = conform_now() + 5000 * MS; rc != -THIRL_EROLE && conform_now() < until;) {
            rc = thirl_send(b, "x", 1, THIRL_NOW);
            rc = rc == -THIRL_EROLE ? rc : recv_some(a, thirl_in_ms(10));
            if (stock_refused() != 0) {
                rc = -THIRL_EROLE; /* over udp it is only counted */
            }
            must(rc != 0 && rc != -EMSGSIZE);
        }
        must_be(rc, -THIRL_EROLE);
        close_both(&a, &b);
    }
}

/* ---- calls ---- */

static uint64_t ask(thirl *client) {
    uint64_t id = 0;
    must_be(thirl_ask(client, "what", 4, &id, PATIENCE), 0);
    return id;
}

static int answer_of(thirl *client, uint64_t id, thirl_time until) {
    thirl_msg *reply = NULL;
    int rc = thirl_answer(client, &id, &reply, until);
    must((reply != NULL) == (rc == 0));
    must(rc != 0 || (thirl_msg_size(reply) == 4 && memcmp(thirl_msg_data(reply), "this", 4) == 0));
    thirl_free(&reply);
    return rc;
}

/* The server answers all that it sees for a while; how many. */
static unsigned serve(thirl *server, int64_t ms) {
    thirl_msg *request;
    unsigned served = 0;
    while (thirl_take(server, &request, thirl_in_ms(ms)) == 0) {
        must(thirl_msg_size(request) == 4 && memcmp(thirl_msg_data(request), "what", 4) == 0);
        must_be(thirl_reply(server, &request, "this", 4, PATIENCE), 0);
        served++;
    }
    return served;
}

static void begin_calls(const struct conform *c, const char *of_client, const char *of_server, thirl **client,
                        thirl **server) {
    *server = open_as(c, 0, THIRL_SERVE, of_server);
    *client = open_as(c, 0, THIRL_CALL, of_client);
    query_meet(c, *server, *client);
    for (int rc = -THIRL_EEXPIRED; rc != 0;) { /* the first one waits until they know each other */
        uint64_t id = ask(*client);
        (void)serve(*server, 10);
        rc = answer_of(*client, id, PATIENCE);
        must(rc == 0 || rc == -THIRL_EEXPIRED);
    }
}

static void old_requests_are_told(struct conform *c) {
    static const char *const of[][2] = {{SHORT, LONG}, {LONG, SHORT}, {SHORT "&crc", LONG "&crc"}};
    for (unsigned i = 0; i < 3; i++) {
        thirl *client, *server;
        uint64_t id[3];
        begin_calls(c, of[i][0], of[i][1], &client, &server);
        uint64_t expired = count().expired;
        for (unsigned n = 0; n < 3; n++) {
            id[n] = ask(client);
        }
        conform_sleep(OLD);
        must_be(serve(server, 0), 0); /* it sees none of them, */
        must_be(count().expired - expired, 3);
        for (unsigned n = 0; n < 3; n++) { /* and each caller hears of his, long before he has waited enough */
            must_be(answer_of(client, id[n], PATIENCE), -THIRL_EEXPIRED);
            must_say("older than its ?lifespan=");
        }
        uint64_t last = ask(client); /* the next is done, or has grown old once more because this machine is slow */
        bool seen = serve(server, 10) == 1;
        int rc = answer_of(client, last, PATIENCE);
        must(rc == 0 ? seen : rc == -THIRL_EEXPIRED);
        close_both(&client, &server);
    }
}

static void old_answers_are_told(struct conform *c) {
    thirl *client, *server;
    begin_calls(c, SHORT, LONG, &client, &server);
    unsigned told = 0;
    for (unsigned tries = 0; told < 3; tries++) {
        must(tries < 20);
        uint64_t id = ask(client), expired = count().expired;
        if (serve(server, 10) == 0) { /* the request was it */
            must_be(answer_of(client, id, PATIENCE), -THIRL_EEXPIRED);
            continue;
        }
        conform_sleep(OLD);
        must_be(answer_of(client, id, PATIENCE), -THIRL_EEXPIRED);
        must_say("an answer");
        must_say("has a lifespan of 50 ms");
        must_be(count().expired - expired, 1);
        told++;
    }
    close_both(&client, &server);
}

static void callers_say_so_too(struct conform *c) {
    static const char *const options[][2] = {{LONG, NULL}, {NULL, LONG}, {LONG "&crc", LONG}, {"crc", LONG}};
    for (unsigned i = 0; i < 4; i++) {
        thirl *server = open_as(c, i, THIRL_SERVE, options[i][0]), *client = NULL;
        int rc = thirl_open(&client, THIRL_CALL, conform_address(c, i, options[i][1]), NULL);
        for (int64_t until = conform_now() + 5000 * MS; rc != -THIRL_EROLE && conform_now() < until;) {
            uint64_t id;
            thirl_msg *request = NULL;
            rc = thirl_ask(client, "x", 1, &id, THIRL_NOW);
            rc = rc == -THIRL_EROLE ? rc : thirl_take(server, &request, thirl_in_ms(10));
            must(request == NULL);
        }
        must_be(rc, -THIRL_EROLE);
        close_both(&client, &server);
    }
}

static void is_not_for_all(struct conform *c) {
    static const struct {
        enum thirl_role role;
        unsigned group;
    } refused[] = {{THIRL_WRITE, CONFORM_STREAM},
                   {THIRL_READ, CONFORM_STREAM},
                   {THIRL_NOTIFY, CONFORM_EVENT},
                   {THIRL_WATCH, CONFORM_EVENT}};
    for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
        thirl *end = NULL;
        if ((c->line->roles & refused[i].group) != 0) {
            must_be(thirl_open(&end, refused[i].role, conform_address(c, i, SHORT), NULL), -EOPNOTSUPP);
            must_say("lifespan");
        }
        if ((c->line->roles & CONFORM_CALL) != 0) {
            must_be(thirl_open(&end, THIRL_CALL, conform_address(c, i, "deadline=1s"), NULL), -EOPNOTSUPP);
            must_say("deadline of its own");
        }
    }
}

/* Runs in a time namespace of its own: its clock is not the other's. */
static int send_by_another_clock(const char *address) {
    thirl *push = NULL;
    pid_t pid = fork(); /* a namespace of time is for children */
    if (pid == 0) {
        bool sent = thirl_open(&push, THIRL_PUSH, address, NULL) == 0 && thirl_send(push, "job", 3, PATIENCE) == 0;
        _exit(sent && thirl_close(&push, PATIENCE) == 0 ? 0 : 1);
    }
    int status = 1;
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void clocks_are_told_apart(struct conform *c) {
    pid_t pid = fork();
    if (pid == 0) {
        bool apart = unshare(CLONE_NEWTIME) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWTIME) == 0;
        _exit(apart ? send_by_another_clock(conform_address(c, 0, LONG)) : 77);
    }
    int status = 0;
    must(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    stock_need(WEXITSTATUS(status) != 77, "no time namespaces here");
    must_be(WEXITSTATUS(status), 0);
    thirl *pull = open_as(c, 0, THIRL_PULL, LONG);
    must_be(recv_some(pull, PATIENCE), -THIRL_EFORMAT);
    must_say("by another clock");
    must_be(stock_refused(), 1);
    must_be(thirl_close(&pull, PATIENCE), 0);
}

/* ---- silence ---- */

static void expect_silence(int rc) {
    must_be(rc, -THIRL_ESILENT);
    must_say("sent nothing for");
    must_say("deadline is 10.000 ms");
}

/* Every way of waiting, on an end that hears nothing. */
static void hear_nothing(const struct conform *c, thirl *end) {
    struct thirl_want want = {.end = end, .wanted = THIRL_WANT_MESSAGE};
    thirl_msg *msg = NULL;
    uint64_t before = count().silences;
    char byte;
    size_t got;
    int64_t began = conform_now();
    expect_silence(thirl_recv(end, &byte, 1, &got, PATIENCE));
    expect_silence(thirl_take(end, &msg, PATIENCE));
    expect_silence(thirl_recv(end, &byte, 1, &got, THIRL_NEVER));
    int rc = -EAGAIN;
    while (rc == -EAGAIN && conform_now() - began < 10000 * MS) {
        rc = thirl_recv(end, &byte, 1, &got, THIRL_NOW);
    }
    expect_silence(rc);
    for (unsigned i = 0; i < 3; i++) {
        do { /* where only a try can tell it may be asked for once too often */
            must_be(thirl_wait(&want, 1, PATIENCE), 1);
            rc = thirl_recv(end, &byte, 1, &got, THIRL_NOW);
        } while (rc == -EAGAIN);
        expect_silence(rc);
    }
    must_be(count().silences - before, 7);
    must(conform_now() - began >= 60 * MS);
    int fd = conform_claims(c).pollable ? thirl_fd(end) : -1;
    for (unsigned i = 0; fd >= 0 && i < 3; i++) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        began = conform_now();
        do {
            must_be(poll(&polled, 1, 10000), 1);
            rc = thirl_recv(end, &byte, 1, &got, THIRL_NOW);
        } while (rc == -EAGAIN && conform_now() - began < 10000 * MS);
        expect_silence(rc);
    }
}

/* Messages put the moment off. */
static void hear_some(thirl *from, thirl *to) {
    int64_t last = 0; /* no later than the last message came */
    for (unsigned i = 0; i < 10; i++) {
        int64_t began = conform_now();
        conform_sleep(2 * MS);
        conform_send(from, 40, i);
        thirl_msg *msg = NULL;
        int rc = thirl_take(to, &msg, PATIENCE);
        must(rc == 0 || (rc == -THIRL_ESILENT && conform_now() - last > 10 * MS));
        last = began;
        if (rc != 0) {
            must_be(thirl_take(to, &msg, PATIENCE), 0);
        }
        thirl_free(&msg);
    }
}

static void silence_is_told(struct conform *c) {
    bool pair = (c->line->roles & CONFORM_PAIR) != 0, cast = (c->line->roles & CONFORM_CAST) != 0;
    thirl *in = open_as(c, 0, pair ? THIRL_PAIR : cast ? THIRL_SUB : THIRL_PULL, "deadline=10ms"), *out;
    hear_nothing(c, in);
    must_say("nobody");
    out = open_as(c, 0, pair ? THIRL_PAIR : cast ? THIRL_PUB : THIRL_PUSH, NULL);
    conform_send(out, 1, 1);
    int rc;
    do { /* its time ran on meanwhile */
        rc = recv_some(in, PATIENCE);
    } while (rc == -THIRL_ESILENT);
    must_be(rc, 0);
    hear_some(out, in);
    hear_nothing(c, in);
    unsigned roles = c->line->roles & ~(unsigned)CONFORM_TWIN;
    must(roles == CONFORM_QUEUE || roles == CONFORM_CAST || strstr(thirl_why(), "nobody") == NULL);
    close_both(&out, &in);
}

static void reader_hears_silence(struct conform *c) {
    thirl *in = open_as(c, 0, THIRL_READ, "deadline=10ms"), *out = open_as(c, 0, THIRL_WRITE, NULL);
    char byte;
    size_t got;
    conform_sleep(15 * MS);
    expect_silence(thirl_recv(in, &byte, 1, &got, PATIENCE));
    expect_silence(thirl_recv(in, &byte, 1, &got, PATIENCE));
    close_both(&out, &in);
}

static void watcher_hears_silence(struct conform *c) {
    thirl *watch = open_as(c, 0, THIRL_WATCH, "deadline=10ms");
    uint32_t event;
    size_t got;
    expect_silence(thirl_recv(watch, &event, sizeof event, &got, PATIENCE));
    expect_silence(thirl_recv(watch, &event, sizeof event, &got, PATIENCE));
    (void)!thirl_close(&watch, THIRL_NOW);
}

static void senders_count_their_own(struct conform *c) {
    bool pair = (c->line->roles & CONFORM_PAIR) != 0, cast = (c->line->roles & CONFORM_CAST) != 0;
    thirl *in = open_as(c, 0, pair ? THIRL_PAIR : cast ? THIRL_SUB : THIRL_PULL, NULL);
    thirl *out = open_as(c, 0, pair ? THIRL_PAIR : cast ? THIRL_PUB : THIRL_PUSH, "deadline=10ms");
    int64_t began = conform_now();
    conform_send(out, 8, 1);
    uint64_t before = count().silences;
    conform_sleep(55 * MS);
    conform_send(out, 8, 1);
    uint64_t counted = count().silences - before;
    must(counted >= 5 && counted <= (uint64_t)((conform_now() - began) / (10 * MS)) + 1);
    close_both(&out, &in);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(old_ones_are_passed_over),
        CONFORM_ONLY(loans_grow_old_from_their_put, "shm"),
        CONFORM_FOR(subscribers_miss_old_ones, CONFORM_CAST),
        CONFORM_ONLY(each_publisher_has_its_gap, "shm-cast"),
        CONFORM_FOR(history_grows_old, CONFORM_CAST | CONFORM_MEETS),
        CONFORM_FOR(old_jobs_are_told, CONFORM_QUEUE),
        CONFORM(both_ends_say_so),
        CONFORM_FOR(both_ends_say_so, CONFORM_QUEUE),
        CONFORM_FOR(both_ends_say_so, CONFORM_CAST),
        CONFORM_FOR(old_requests_are_told, CONFORM_CALL),
        CONFORM_FOR(old_answers_are_told, CONFORM_CALL),
        CONFORM_FOR(callers_say_so_too, CONFORM_CALL),
        CONFORM_FOR(is_not_for_all, 0),
        CONFORM_ONLY(clocks_are_told_apart, "mq"),
        CONFORM(silence_is_told),
        CONFORM_FOR(silence_is_told, CONFORM_CAST),
        CONFORM_FOR(silence_is_told, CONFORM_QUEUE),
        CONFORM_FOR(reader_hears_silence, CONFORM_STREAM),
        CONFORM_FOR(watcher_hears_silence, CONFORM_EVENT),
        CONFORM(senders_count_their_own),
        CONFORM_FOR(senders_count_their_own, CONFORM_CAST),
        CONFORM_FOR(senders_count_their_own, CONFORM_QUEUE),
    };
    (void)unsetenv("CONFORM_WITH"); /* it says itself who has what */
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
