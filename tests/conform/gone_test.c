/* SPDX-License-Identifier: MIT
 *
 * Who dies or leaves in the middle of a call: the other side knows at once, and goes on.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/query.h"
#include "tests/conform/stock.h"

#define SOON_ENOUGH (100 * MS)

static void a_dead_server_fails_its_calls(struct conform *c) {
    stock_need(query_shares(c), "one server listens there: see the_next_server_gets_it");
    int64_t best = INT64_MAX;
    struct peer peer[3], last;
    for (int i = 0; i < 3; i++) {
        conform_start(&peer[i], c, query_hold);
    }
    conform_start(&last, c, query_serve);
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
        id[asked] = query_ask(end, asked);
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
                must_be(query_words(reply).with, last.pid);
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
        must_be(query_call(end, i).with, last.pid);
    }
    query_stop(end, &last);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void another_server_gets_it(struct conform *c) {
    stock_need(query_shares(c), "one server listens there: see the_next_server_gets_it");
    struct peer first, second;
    conform_start(&first, c, query_hold);
    conform_start(&second, c, query_hold);
    thirl *end = conform_open(c, THIRL_CALL, "retry");
    conform_hear(&first);
    conform_hear(&second);
    uint64_t id = query_ask(end, 40);
    struct pollfd polled[2] = {{first.wire, POLLIN, 0}, {second.wire, POLLIN, 0}};
    must(poll(polled, 2, 20000) == 1);
    bool is_first = (polled[0].revents & POLLIN) != 0;
    struct peer *has = is_first ? &first : &second, *other = is_first ? &second : &first;
    must_be(conform_hear(has), 0);
    conform_kill(has);
    conform_tell(other, 0); /* it goes on at once */
    thirl_msg *reply;
    must_be(thirl_answer(end, &id, &reply, PATIENCE), 0);
    must_be(query_words(reply).what, 41);
    must_be(query_words(reply).with, other->pid);
    thirl_free(&reply);
    must_be(conform_hear(other), 1); /* it was told that somebody had it before */
    conform_join(other);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_server_may_leave(struct conform *c) {
    stock_need(query_shares(c), "one server listens there: see the_next_server_gets_it");
    struct peer peer[2];
    conform_start(&peer[0], c, query_hold);
    conform_start(&peer[1], c, query_hold);
    conform_hear(&peer[0]);
    conform_hear(&peer[1]);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    uint64_t id = query_ask(end, STOP);
    thirl_msg *reply;
    struct pollfd polled[2] = {{peer[0].wire, POLLIN, 0}, {peer[1].wire, POLLIN, 0}};
    must(poll(polled, 2, 20000) == 1);
    struct peer *has = &peer[polled[1].revents != 0], *other = &peer[polled[1].revents == 0];
    must_be(conform_hear(has), 0);
    conform_tell(has, 0);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), -THIRL_ECLOSED);
    conform_names(c, has->pid);
    conform_join(has);
    id = query_ask(end, 8);
    must_be(conform_hear(other), 0);
    conform_tell(other, 0);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), 0);
    must_be(query_words(reply).with, other->pid);
    thirl_free(&reply);
    conform_join(other);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_client_goes(struct conform *c, bool dies) {
    struct peer client, other;
    conform_start(&client, c, query_leave);
    conform_start(&other, c, query_often);
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
    query_cancelled(held[2]);
    must(conform_now() - began < 2000 * MS);
    const struct words words = {0, 0};
    for (int i = 0; i < 5; i++) {
        must(thirl_reply(server, &held[i], &words, sizeof words, PATIENCE) < 0);
        must(held[i] == NULL);
    }
    conform_tell(&other, 0);
    for (unsigned i = 0; i < query_each(); i++) {
        thirl_msg *request;
        must_be(thirl_take(server, &request, PATIENCE), 0);
        query_answer(server, &request);
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
    conform_start(&peer, c, query_serve);
    conform_hear(&peer);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    (void)query_call(end, 1);
    must_be(kill(peer.pid, SIGSTOP), 0);
    uint64_t id = query_ask(end, 10);
    thirl_msg *reply;
    must_be(thirl_answer(end, &id, &reply, thirl_in_ms(300)), -ETIMEDOUT);
    must_be(kill(peer.pid, SIGCONT), 0);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), 0);
    must_be(query_words(reply).what, 11);
    thirl_free(&reply);
    query_stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_second_server_is_refused(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, query_serve);
    conform_hear(&peer);
    thirl *second = NULL;
    int rc = thirl_open(&second, THIRL_SERVE, conform_address(c, 0, NULL), NULL);
    must_be(rc, query_shares(c) ? 0 : -EBUSY);
    if (rc != 0) {
        must_say("there can be one server here");
        conform_names(c, peer.pid);
    }
    must_be(thirl_close(&second, PATIENCE), 0);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    must_be(query_call(end, 1).with, peer.pid);
    query_stop(end, &peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void hold_later(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    query_hold(c, stage);
}

/* A server holds a call, and dies or leaves; then there is another one. */
static void a_server_goes(struct conform *c, bool dies, bool retry) {
    struct peer first, second;
    conform_start(&first, c, query_hold);
    conform_start(&second, c, hold_later);
    thirl *end = conform_open(c, THIRL_CALL, retry ? "retry" : NULL);
    conform_hear(&first);
    uint64_t id = query_ask(end, dies ? 40 : STOP);
    must_be(conform_hear(&first), 0);
    int64_t began = conform_now();
    if (dies) {
        conform_kill(&first);
    } else {
        conform_tell(&first, 0);
    }
    thirl_msg *reply;
    if (!retry) {
        must_be(thirl_answer(end, &id, &reply, PATIENCE), dies ? -THIRL_EPEERDIED : -THIRL_ECLOSED);
        must(conform_now() - began < SOON_ENOUGH * (conform_sanitized() ? 10 : 1));
        conform_names(c, first.pid);
        must_be(thirl_call(end, "x", 1, &reply, thirl_in_ms(20)), -ETIMEDOUT);
    }
    if (!dies) {
        conform_join(&first);
    }
    conform_tell(&second, 0);
    must_be(conform_hear(&second), 0);
    conform_tell(&second, 0); /* it goes on at once */
    id = retry ? id : query_ask(end, 40);
    must_be(thirl_answer(end, &id, &reply, PATIENCE), 0);
    must_be(query_words(reply).with, second.pid);
    thirl_free(&reply);
    must_be(conform_hear(&second), retry); /* was it told that somebody had it before? */
    conform_join(&second);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void the_next_server_gets_it(struct conform *c) {
    a_server_goes(c, true, true);
}

static void a_dead_server_is_named(struct conform *c) {
    a_server_goes(c, true, false);
}

static void a_server_that_leaves_is_named(struct conform *c) {
    a_server_goes(c, false, false);
}

/* ---- any point ---- */

static const char *const shared[] = {
    "desk.open.page",          "hark.accept.before", "hark.accept.after",  "outlet.headed.written",
    "desk.send.after",         "hark.arm.armed",     "desk.close.shown",   "talk.make.before",
    "talk.make.named",         "talk.post.before",   "talk.post.after",    "talk.end.file",
    "door.make.created",       "door.knock.seat",    "door.knock.counted", "door.answer.cleared",
    "request.send.after",      "answer.take.after",  "serve.reply.sent",   "outlet.headed.before",
    "outlet.headed.committed",
};
#define POINTS (sizeof shared / sizeof *shared)

static const char *const wired[] = {
    "letter.send.before", "letter.send.after", "caller.recv.after", "clerk.recv.after", "hub.join.after",
    "hub.close.before",   "haul.close.before", "meet.hello.after",  "meet.join.before", "meet.join.after",
    "request.send.after", "answer.take.after", "serve.reply.sent",
};
#define WIRED (sizeof wired / sizeof *wired)

static struct lot {
    unsigned point, pass;
    bool serves;
} lot;

static void play_a_part(const struct conform *c, struct peer *stage) {
    conform_die_at(query_shares(c) ? shared[lot.point] : wired[lot.point], lot.pass);
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
            struct words got = query_words(msg);
            got.what++;
            (void)!thirl_reply(end, &msg, &got, sizeof got, PATIENCE);
        }
    }
    conform_tell(stage, 1);
    conform_hear(stage);
    /* And with one who lives all is well. */
    if (lot.serves) {
        thirl_msg *reply;
        int rc;
        do { /* over a network a request may leave before the goodbye is read */
            rc = thirl_call(end, &(struct words){7, 0}, sizeof(struct words), &reply, PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED);
        } while (rc != 0);
        must_be(query_words(reply).what, 8);
        thirl_free(&reply);
    } else {
        struct words got;
        do { /* requests of the dead may have waited, and over a network an answer to the dead may still leave */
            thirl_msg *msg;
            must_be(thirl_take(end, &msg, PATIENCE), 0);
            got = query_words(msg);
            got.what++;
            int rc = thirl_reply(end, &msg, &got, sizeof got, PATIENCE);
            must(rc == 0 || rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED || rc == -ECANCELED);
        } while (got.what != 8);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void and_with_the_next(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, lot.serves ? THIRL_SERVE : THIRL_CALL, NULL);
    if (lot.serves) {
        thirl_msg *msg;
        must_be(thirl_take(end, &msg, PATIENCE), 0);
        query_answer(end, &msg);
    } else {
        (void)query_call(end, 7);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* One dies at that point, the other survives, and gets on with a third. Did it die? */
static bool kill_one(struct conform *c) {
    struct peer victim, survivor, next;
    conform_start(&victim, c, play_a_part);
    conform_start(&survivor, c, survive);
    conform_start(&next, c, and_with_the_next);
    char byte[8];
    while (recv(victim.wire, byte, sizeof byte, 0) > 0) {}
    int status = 0;
    must_be(waitpid(victim.pid, &status, 0), victim.pid);
    must(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    close(victim.wire);
    must_be(conform_hear(&survivor), 0);
    must_be(conform_hear(&survivor), 1);
    conform_tell(&next, 0);
    conform_tell(&survivor, 0);
    conform_join(&survivor);
    conform_join(&next);
    return WIFSIGNALED(status);
}

static void kill_at(struct conform *c, bool wires, unsigned first, unsigned last) {
    stock_need(wires != query_shares(c), "it has no such points");
    unsigned killed = 0, trials = 0;
    uint64_t seen = 0;
    for (int round = 0; round < 3 && (unsigned)__builtin_popcountll(seen) < last - first; round++) {
        for (unsigned i = 4 * first; i < 4 * last; i++) {
            lot = (struct lot){i / 4, 1 + i % 2, i / 2 % 2 == 0};
            bool once =
                conform_sanitized() || c->with[0] != '\0'; /* they look at the code that is passed, not at the moment */
            if ((once && lot.pass != 1) || (round != 0 && (seen >> lot.point & 1) != 0)) {
                continue;
            }
            bool died = kill_one(c);
            killed += died;
            seen |= (uint64_t)died << lot.point;
            trials++;
        }
    }
    stock_need(killed > trials / 5, "it passes few of these points");
    must(c->with[0] != '\0' ||
         (unsigned)__builtin_popcountll(seen) + 1 >= last - first); /* one may be passed by chance only */
    must(wires || conform_channels(c) == 0);
}

static void any_point_of_opening_may_kill(struct conform *c) {
    kill_at(c, false, 0, 4);
}

static void any_point_of_sending_may_kill(struct conform *c) {
    kill_at(c, false, 4, 7);
}

static void any_point_of_meeting_may_kill(struct conform *c) {
    kill_at(c, false, 7, 13);
}

static void any_point_of_knocking_may_kill(struct conform *c) {
    kill_at(c, false, 13, 16);
}

static void any_point_of_calling_may_kill(struct conform *c) {
    kill_at(c, false, 16, POINTS);
}

static void any_point_of_a_message_may_kill(struct conform *c) {
    kill_at(c, true, 0, 4);
}

static void any_point_of_a_connection_may_kill(struct conform *c) {
    kill_at(c, true, 4, 10);
}

static void any_point_over_a_connection_may_kill(struct conform *c) {
    kill_at(c, true, 10, WIRED);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(a_dead_server_fails_its_calls, CONFORM_CALL),
        CONFORM_FOR(another_server_gets_it, CONFORM_CALL),
        CONFORM_FOR(a_server_may_leave, CONFORM_CALL),
        CONFORM_FOR(a_dead_client_harms_nobody, CONFORM_CALL),
        CONFORM_FOR(a_client_may_close_with_calls_in_flight, CONFORM_CALL),
        CONFORM_FOR(stopped_is_not_dead, CONFORM_CALL),
        CONFORM_FOR(a_second_server_is_refused, CONFORM_CALL),
        CONFORM_FOR(the_next_server_gets_it, CONFORM_CALL),
        CONFORM_FOR(a_dead_server_is_named, CONFORM_CALL),
        CONFORM_FOR(a_server_that_leaves_is_named, CONFORM_CALL),
        CONFORM_FOR(any_point_of_opening_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_sending_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_meeting_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_knocking_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_calling_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_a_message_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_of_a_connection_may_kill, CONFORM_CALL),
        CONFORM_FOR(any_point_over_a_connection_may_kill, CONFORM_CALL),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
