/* SPDX-License-Identifier: MIT
 *
 * Work queues in shared memory: a job has one worker, who says when it is done; what he leaves undone, another one gets, marked; and what
 * was sent outlives its pusher.
 */
#include <signal.h>
#include <unistd.h>

#include "tests/conform/conform.h"
#include "tests/conform/stock.h"

static thirl_msg *take(thirl *end, size_t size, uint64_t seed, int again) {
    thirl_msg *msg = NULL;
    must_be(thirl_take(end, &msg, PATIENCE), 0);
    must_be(thirl_msg_size(msg), size);
    must(conform_intact(thirl_msg_data(msg), size, seed));
    must_be(thirl_msg_again(msg), again);
    return msg;
}

/* ---- one job ---- */

static void job_is_done_or_given_back(struct conform *c) {
    thirl *out = conform_open(c, THIRL_PUSH, NULL), *a = conform_open(c, THIRL_PULL, NULL);
    thirl *b = conform_open(c, THIRL_PULL, NULL);
    for (uint64_t i = 0; i < 4; i++) {
        conform_send(out, 10 + i, i);
    }
    thirl_msg *first = take(a, 10, 0, 0), *second = take(b, 11, 1, 0), *third = take(a, 12, 2, 0);
    must_be(thirl_msg_number(third), 2);
    must_be(stock_left().messages, 4); /* held is not done */
    must_be(thirl_done(&second), 0);
    must(second == NULL);
    must_be(thirl_done(&second), -EINVAL);
    must_be(thirl_requeue(&first), 0);
    must(first == NULL);
    first = take(b, 10, 0, 1);
    must_be(thirl_requeue(&first), 0);
    first = take(a, 10, 0, 1); /* again its own */
    thirl_free(&first);
    must_be(stock_left().messages, 2);
    conform_recv(b, 13, 3);
    must_be(stock_left().messages, 2); /* of what was received by copy the next call says that it is done */
    must_be(thirl_recv(b, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(stock_left().messages, 1);
    must_be(thirl_loan(out, &first, 1, PATIENCE), 0);
    must_be(thirl_done(&first), -EINVAL);
    must_be(thirl_requeue(&first), -EINVAL);
    thirl_free(&first);
    must_be(thirl_done(&third), 0);
    must_be(stock_left().count, 0);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
    must_be(conform_channels(c), 0);
}

/* Also where a message is gone once it was received. */
static void others_cannot_give_back(struct conform *c) {
    stock_need(strcmp(c->line->name, "shm-queue") != 0 && strcmp(c->line->name, "auto-queue") != 0 && !stock_meets(c),
               "it can");
    stock_need(conform_claims(c).reliable, "messages may be lost");
    thirl *in = conform_open(c, THIRL_PULL, NULL), *out = conform_open(c, THIRL_PUSH, NULL);
    conform_send(out, 20, 1);
    thirl_msg *msg = take(in, 20, 1, 0);
    must_be(thirl_requeue(&msg), -EOPNOTSUPP);
    must(msg != NULL && conform_intact(thirl_msg_data(msg), 20, 1));
    must_be(thirl_done(&msg), 0);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

static void taken_jobs_outlive_close(struct conform *c) {
    thirl *out = conform_open(c, THIRL_PUSH, "queue=4K"), *a = conform_open(c, THIRL_PULL, NULL);
    conform_send(out, 1000, 1);
    conform_send(out, 1000, 2);
    conform_send(out, 1000, 3);
    thirl_msg *first = take(a, 1000, 1, 0), *second = take(a, 1000, 2, 0);
    must_be(thirl_close(&a, PATIENCE), 0);
    a = conform_open(c, THIRL_PULL, NULL);
    conform_recv(a, 1000, 3);
    must_be(thirl_recv(a, NULL, 0, NULL, thirl_in_ms(120)), -ETIMEDOUT);
    static const char large[3000];
    must_be(thirl_send(out, large, sizeof large, thirl_in_ms(20)), -ETIMEDOUT);
    must(conform_intact(thirl_msg_data(first), 1000, 1)); /* nobody has got it, and nobody wrote there */
    must_be(thirl_requeue(&second), 0);
    second = take(a, 1000, 2, 1);
    must_be(thirl_done(&second), 0);
    must_be(thirl_done(&first), 0);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(conform_channels(c), 0);
}

static void full_is_a_matter_of_choice(struct conform *c) {
    thirl *out = conform_open(c, THIRL_PUSH, "queue=4K&full=fail"), *in = conform_open(c, THIRL_PULL, NULL);
    must_be(conform_limits(out).full, THIRL_FULL_FAIL);
    unsigned sent = 0;
    int rc;
    while ((rc = thirl_send(out, "0123456", 8, PATIENCE)) == 0) {
        sent++;
    }
    must_be(rc, -EAGAIN); /* although it had time */
    must_say("full");
    must_be(sent, conform_limits(out).queue_messages);
    thirl_msg *msg = NULL;
    must_be(thirl_loan(out, &msg, 8, PATIENCE), -EAGAIN);
    must_be(thirl_close(&out, PATIENCE), 0);
    for (; sent > 0; sent--) {
        char text[8];
        must_be(thirl_recv(in, text, 8, NULL, PATIENCE), 0);
    }
    out = conform_open(c, THIRL_PUSH, "queue=4K&full=drop-newest");
    for (uint64_t i = 0; i < 10; i++) {
        conform_send(out, 1000, i);
    }
    for (uint64_t i = 0; i < 4; i++) {
        msg = take(in, 1000, i, 0);
        must_be(thirl_msg_lost(msg), 0);
        thirl_free(&msg);
    }
    conform_send(out, 500, 50);
    msg = take(in, 500, 50, 0);
    must_be(thirl_msg_lost(msg), 6);
    must_be(thirl_msg_number(msg), 4);
    thirl_free(&msg);
    uint64_t lost = 0;
    must_be(thirl_list(stock_lost, &lost), 0);
    must_be(lost, 6);
    must_be(thirl_close(&out, PATIENCE), 0);
    static const char *const others[] = {"full=drop-oldest", "full=latest", "full=disconnect"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        must_be(thirl_open(&out, THIRL_PUSH, conform_address(c, 0, others[i]), NULL), -EOPNOTSUPP);
    }
    must_be(thirl_close(&in, PATIENCE), 0);
    must_be(conform_channels(c), 0);
}

static void loans_keep_their_turn(struct conform *c) {
    thirl *out = conform_open(c, THIRL_PUSH, "queue=4K"), *in = conform_open(c, THIRL_PULL, NULL);
    for (uint64_t round = 0; round < 200; round++) {
        thirl_msg *a = NULL, *b = NULL, *d = NULL;
        must_be(thirl_loan(out, &a, 100, PATIENCE), 0);
        must_be(thirl_loan(out, &b, 200, PATIENCE), 0);
        must_be(thirl_loan(out, &d, 300, PATIENCE), 0);
        conform_fill(thirl_msg_data(a), 100, round);
        conform_fill(thirl_msg_data(d), 250, round + 1);
        must_be(thirl_msg_trim(d, 250), 0);
        must_be(thirl_put(out, &d, PATIENCE), 0);
        must_be(thirl_recv(in, NULL, 0, NULL, THIRL_NOW), -EAGAIN); /* held back */
        thirl_free(&b);
        must_be(thirl_recv(in, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
        must_be(thirl_put(out, &a, PATIENCE), 0);
        conform_recv(in, 100, round);
        conform_recv(in, 250, round + 1);
    }
    thirl_msg *kept = NULL;
    must_be(thirl_loan(out, &kept, 100, PATIENCE), 0);
    conform_send(out, 10, 5);
    must_be(thirl_close(&out, PATIENCE), 0); /* what was sent behind a loan does not wait for who will never put it */
    conform_recv(in, 10, 5);
    memset(thirl_msg_data(kept), 1, 100);
    thirl_free(&kept);
    must_be(thirl_close(&in, PATIENCE), 0);
    must_be(conform_channels(c), 0);
}

/* ---- several workers ---- */

static void hold_one(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    thirl_msg *msg = NULL;
    conform_tell(stage, 0);
    must_be(thirl_take(end, &msg, PATIENCE), 0);
    conform_tell(stage, thirl_msg_number(msg));
    if (conform_hear(stage) == 0) {
        must_be(thirl_done(&msg), 0);
        must_be(thirl_close(&end, PATIENCE), 0);
    } else {
        (void)pause();
    }
}

static void idle_worker_takes_it(struct conform *c) {
    struct peer busy[2];
    for (int i = 0; i < 2; i++) {
        conform_start(&busy[i], c, hold_one);
        conform_hear(&busy[i]);
    }
    thirl *out = conform_open(c, THIRL_PUSH, NULL);
    conform_send(out, 10, 0);
    conform_send(out, 10, 1);
    uint64_t held = conform_hear(&busy[0]) + conform_hear(&busy[1]);
    must_be(held, 1); /* number 0 and number 1 */
    thirl *in = conform_open(c, THIRL_PULL, NULL);
    for (uint64_t i = 2; i < 1000; i++) { /* neither those who work nor what they have hold anything up */
        conform_send(out, 10, i);
        conform_recv(in, 10, i);
    }
    must_be(thirl_recv(in, NULL, 0, NULL, thirl_in_ms(120)), -ETIMEDOUT);
    must_be(stock_left().messages, 2);
    /* One is stopped, which is no death; one dies. */
    (void)kill(busy[0].pid, SIGSTOP);
    conform_kill(&busy[1]);
    int64_t before = conform_now();
    thirl_msg *msg = NULL;
    must_be(thirl_take(in, &msg, PATIENCE), 0);
    must(conform_now() - before < 2000 * MS);
    must_be(thirl_msg_again(msg), 1);
    must_be(thirl_done(&msg), 0);
    must_be(thirl_recv(in, NULL, 0, NULL, thirl_in_ms(200)), -ETIMEDOUT);
    must_be(stock_left().messages, 1);
    (void)kill(busy[0].pid, SIGCONT);
    conform_tell(&busy[0], 0);
    conform_join(&busy[0]);
    must_be(stock_left().count, 0);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
    must_be(conform_channels(c), 0);
}

/* ---- pushers that are gone ---- */

static void push_with_a_loan_out(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    thirl_msg *msg = NULL;
    for (uint64_t i = 0; i < 20; i++) {
        must_be(thirl_loan(end, &msg, 30, PATIENCE), 0);
        conform_send(end, 100 + i, i);
    }
    conform_tell(stage, 0);
    (void)pause();
}

/* What was sent behind loans that are never put is delivered. */
static void dead_pushers_loans_hide_nothing(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, push_with_a_loan_out);
    conform_hear(&peer);
    thirl *in = conform_open(c, THIRL_PULL, NULL);
    must_be(thirl_recv(in, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    conform_kill(&peer);
    for (uint64_t i = 0; i < 20; i++) {
        conform_recv(in, 100 + i, i);
    }
    must_be(thirl_recv(in, NULL, 0, NULL, thirl_in_ms(60)), -ETIMEDOUT);
    must_be(stock_left().count, 0);
    must_be(thirl_close(&in, PATIENCE), 0);
    must_be(conform_channels(c), 0);
}

/* A pusher closes in a process that lives on, before anybody came; nobody sweeps that away, and it goes when it is done. */
static void closed_pushers_jobs_wait(struct conform *c) {
    thirl *out = conform_open(c, THIRL_PUSH, NULL), *in = NULL;
    conform_send(out, 10, 1);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(stock_left().messages, 1);
    must_be(stock_left().ends, 0);
    must_be(thirl_open(&in, THIRL_PAIR, conform_address(c, 0, NULL), NULL), -THIRL_EROLE);
    out = conform_open(c, THIRL_PUSH, NULL);
    conform_send(out, 10, 2);
    in = conform_open(c, THIRL_PULL, NULL);
    for (int i = 0; i < 2; i++) {
        char data[10];
        must_be(thirl_recv(in, data, sizeof data, NULL, PATIENCE), 0);
    }
    must_be(thirl_close(&in, PATIENCE), 0);
    must_be(stock_left().count, 0);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(conform_channels(c), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_ONLY(job_is_done_or_given_back, "shm-queue"),
        CONFORM_FOR(others_cannot_give_back, CONFORM_QUEUE),
        CONFORM_ONLY(taken_jobs_outlive_close, "shm-queue"),
        CONFORM_ONLY(full_is_a_matter_of_choice, "shm-queue"),
        CONFORM_ONLY(loans_keep_their_turn, "shm-queue"),
        CONFORM_ONLY(idle_worker_takes_it, "shm-queue"),
        CONFORM_ONLY(dead_pushers_loans_hide_nothing, "shm-queue"),
        CONFORM_ONLY(closed_pushers_jobs_wait, "shm-queue"),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
