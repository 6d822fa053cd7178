/* SPDX-License-Identifier: MIT
 *
 * fork while ends are open: the child's copies answer -THIRL_EFORKED, its own ends work, the parent notices nothing.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"

static void echo(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    static char buffer[10000];
    size_t size;
    while (thirl_recv(end, buffer, sizeof buffer, &size, PATIENCE) == 0) {
        must_be(thirl_send(end, buffer, size, PATIENCE), 0);
    }
    must_say("closed");
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void is_refused_everything(thirl *end, thirl_msg *taken, thirl_msg *loan) {
    thirl_msg *msg = NULL;
    char byte;
    size_t size = 7;
    struct thirl_limits limits = {.size = sizeof limits};
    struct thirl_peer peer = {.size = sizeof peer};
    must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_EFORKED);
    must_say("fork");
    must_be(thirl_send(end, "x", 1, THIRL_NOW), -THIRL_EFORKED);
    must_be(thirl_recv(end, &byte, 1, &size, PATIENCE), -THIRL_EFORKED);
    must_be(thirl_loan(end, &msg, 1, PATIENCE), -THIRL_EFORKED);
    must_be(thirl_take(end, &msg, PATIENCE), -THIRL_EFORKED);
    must(msg == NULL);
    must_be(thirl_put(end, &loan, PATIENCE), -THIRL_EFORKED);
    must(loan == NULL);
    thirl_free(&taken);
    must(taken == NULL);
    must_be(thirl_fd(end), -THIRL_EFORKED);
    must_be(thirl_limits(end, &limits), -THIRL_EFORKED);
    must_be(thirl_peer(end, &peer), -THIRL_EFORKED);
    must_be(thirl_close(&end, PATIENCE), -THIRL_EFORKED);
    must(end == NULL);
}

static void work_alone(const struct conform *c) {
    thirl *a, *b;
    conform_both(c, 1, NULL, &a, &b);
    for (uint64_t i = 0; i < 100; i++) {
        conform_send(a, i, i);
        conform_recv(b, i, i);
    }
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void must_end_well(pid_t pid) {
    int status = -1;
    must_be(waitpid(pid, &status, 0), pid);
    must_be(status, 0);
}

static void refuses_the_child_and_serves_the_parent(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, echo);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (uint64_t i = 0; i < 6; i++) {
        thirl_msg *taken = NULL, *loan = NULL;
        conform_send(end, 200, i);
        must_be(thirl_take(end, &taken, PATIENCE), 0);
        must_be(thirl_loan(end, &loan, 300, PATIENCE), 0);
        conform_fill(thirl_msg_data(loan), 300, i);
        fflush(NULL);
        pid_t pid = fork();
        must(pid >= 0);
        if (pid == 0) {
            is_refused_everything(end, taken, loan);
            if (i % 2 == 0) {
                work_alone(c);
            }
            fflush(NULL);
            if (i % 3 == 0) {
                exit(0);
            }
            _exit(0);
        }
        if (i < 3) { /* while the child does that, and when it has gone */
            conform_sleep(2 * MS);
        } else {
            must_end_well(pid);
        }
        must(conform_intact(thirl_msg_data(taken), 200, i));
        thirl_free(&taken);
        must_be(thirl_put(end, &loan, PATIENCE), 0);
        conform_recv(end, 300, i);
        for (uint64_t k = 0; k < 50; k++) {
            conform_send(end, 1000 + k, k);
            conform_recv(end, 1000 + k, k);
        }
        if (i < 3) {
            must_end_well(pid);
        }
    }
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* A child that outlives its parent holds what it inherited, and yet the parent's death is known. */
static void fork_and_die(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 10, 1);
    conform_recv(end, 20, 2);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        conform_hear(stage); /* the stage ends, or says so */
        _exit(0);
    }
    conform_tell(stage, 0);
    for (;;) {
        pause();
    }
}

static void be_next(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 30, 3);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void knows_a_parent_from_its_child(struct conform *c) {
    struct peer peer, next;
    conform_start(&peer, c, fork_and_die);
    conform_start(&next, c, be_next);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 10, 1);
    conform_send(end, 20, 2);
    conform_hear(&peer);
    struct peer orphan = {.wire = dup(peer.wire)};
    conform_kill(&peer);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_EPEERDIED);
    must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_EPEERDIED);
    conform_tell(&next, 0);
    conform_recv(end, 30, 3);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&next);
    conform_tell(&orphan, 0);
}

/* The child opens the other end of its parent's channel. */
static void talks_with_its_own_child(struct conform *c) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        must_be(thirl_close(&end, PATIENCE), -THIRL_EFORKED);
        end = conform_open(c, THIRL_PAIR, NULL);
        conform_recv(end, 100, 1);
        conform_send(end, 50000, 2);
        must_be(thirl_close(&end, PATIENCE), 0);
        _exit(0);
    }
    conform_send(end, 100, 1);
    conform_recv(end, 50000, 2);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    must_end_well(pid);
    must_be(thirl_close(&end, PATIENCE), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(refuses_the_child_and_serves_the_parent),
        CONFORM(knows_a_parent_from_its_child),
        CONFORM(talks_with_its_own_child),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
