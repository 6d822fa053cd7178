/* SPDX-License-Identifier: MIT
 *
 * A peer goes: it closes, it is killed, it is stopped; and another one takes its place.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/conform/conform.h"

#define SOON_ENOUGH (100 * MS)
#define NEVER_SO_LATE (900 * MS)
#define ROUNDS 3 /* at least one is as fast as promised, whatever else the machine does */

static void send_many_and_stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (uint64_t i = 0; i < conform_room(end, 100); i++) {
        conform_send(end, i * 3, i);
    }
    conform_tell(stage, 0);
    conform_hear(stage);
    must_be(thirl_close(&end, thirl_in_ms(1000)), 0);
}

static void receives_all_before_the_goodbye(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, send_many_and_stay);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 0, 0);
    conform_hear(&peer);
    conform_tell(&peer, 0);
    for (uint64_t i = 1; i < conform_room(end, 100); i++) {
        conform_recv(end, i * 3, i);
    }
    for (int i = 0; i < 3; i++) {
        must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
        conform_names(c, 0);
        must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_ECLOSED);
        must_be(at_once(c, thirl_send(end, "x", 1, THIRL_NOW)), -THIRL_ECLOSED);
    }
    conform_join(&peer);
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(60)), -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void be_next(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (uint64_t i = 0; i < 50; i++) {
        conform_send(end, i, i + 1000);
        conform_recv(end, i, i + 2000);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* What did not leave a host that is alone with it dies there, with the one who sent it. */
static void let_it_arrive(const struct conform *c) {
    conform_sleep(conform_claims(c).cross_host ? 300 * MS : 0);
}

static void goes_on_with_the_next(struct conform *c) {
    struct peer peer, next;
    conform_start(&peer, c, send_many_and_stay);
    conform_start(&next, c, be_next);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 0, 0);
    conform_send(end, 10, 1);
    conform_hear(&peer);
    let_it_arrive(c);
    conform_kill(&peer);
    for (uint64_t i = 1; i < conform_room(end, 100); i++) {
        conform_recv(end, i * 3, i);
    }
    int64_t began = conform_now();
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_EPEERDIED);
    must(conform_now() - began < NEVER_SO_LATE);
    conform_names(c, peer.pid);
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(60)), -ETIMEDOUT);
    must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_EPEERDIED);
    conform_names(c, peer.pid);
    must_be(at_once(c, thirl_send(end, "x", 1, THIRL_NOW)), -EAGAIN);
    must_be(thirl_send(end, "x", 1, thirl_in_ms(60)), -ETIMEDOUT);
    conform_tell(&next, 0);
    for (uint64_t i = 0; i < 50; i++) {
        thirl_msg *msg = NULL;
        must_be(thirl_take(end, &msg, PATIENCE), 0);
        must_be(thirl_msg_number(msg), i);
        must_be(thirl_msg_size(msg), i);
        must(conform_intact(thirl_msg_data(msg), i, i + 1000));
        thirl_free(&msg);
        conform_send(end, i, i + 2000);
    }
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&next);
}

/* The survivor says nothing to the dead before the next one is there: both ways are told, and then both work. */
static void tells_late_what_happened(struct conform *c) {
    struct peer peer, next;
    conform_start(&peer, c, send_many_and_stay);
    conform_start(&next, c, be_next);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 0, 0);
    conform_send(end, 5, 5);
    conform_hear(&peer);
    let_it_arrive(c);
    conform_kill(&peer);
    conform_tell(&next, 0);
    conform_sleep(50 * MS);
    for (uint64_t i = 1; i < conform_room(end, 100); i++) {
        conform_recv(end, i * 3, i);
    }
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_EPEERDIED);
    must_be(thirl_send(end, NULL, 0, PATIENCE), -THIRL_EPEERDIED);
    for (uint64_t i = 0; i < 50; i++) {
        conform_recv(end, i, i + 1000);
        conform_send(end, i, i + 2000);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&next);
}

/* ---- while it waits ---- */

static void stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, "queue=64K");
    conform_send(end, 1, 1);
    conform_tell(stage, 0);
    conform_hear(stage);
    (void)!thirl_close(&end, THIRL_NOW);
}

struct killer {
    pid_t pid;
    int64_t when;
};

static void *kill_soon(void *argument) {
    struct killer *killer = argument;
    conform_sleep(150 * MS); /* the survivor sleeps by then */
    killer->when = conform_now();
    must_be(kill(killer->pid, SIGKILL), 0);
    return NULL;
}

static void tell_a_waiter(struct conform *c, const char *options, bool sender) {
    static char data[9000];
    struct peer peers[ROUNDS];
    int64_t least = INT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        conform_start(&peers[i], c, stay);
        thirl *end = conform_open(c, THIRL_PAIR, options);
        conform_recv(end, 1, 1);
        conform_hear(&peers[i]);
        while (sender && (thirl_send(end, data, sizeof data, THIRL_NOW) == 0 ||
                          thirl_send(end, data, sizeof data, conform_while(c)) == 0)) {}
        struct killer killer = {.pid = peers[i].pid};
        pthread_t thread;
        must_be(pthread_create(&thread, NULL, kill_soon, &killer), 0);
        int rc =
            sender ? thirl_send(end, data, sizeof data, PATIENCE) : thirl_recv(end, data, sizeof data, NULL, PATIENCE);
        int64_t now = conform_now();
        must_be(rc, -THIRL_EPEERDIED);
        must_be(pthread_join(thread, NULL), 0);
        must(now - killer.when < NEVER_SO_LATE);
        least = now - killer.when < least ? now - killer.when : least;
        conform_kill(&peers[i]);
        (void)!thirl_close(&end, THIRL_NOW);
    }
    must(least < SOON_ENOUGH);
}

static void tells_a_waiting_receiver(struct conform *c) {
    tell_a_waiter(c, "queue=64K", false);
    tell_a_waiter(c, "wait=sleep", false);
    tell_a_waiter(c, "wait=spin", false);
}

static void tells_a_waiting_sender(struct conform *c) {
    tell_a_waiter(c, "queue=64K", true);
    tell_a_waiter(c, "queue=64K&wait=spin", true);
}

/* ---- stopped is not dead ---- */

static void answer_and_stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 1);
    conform_recv(end, 10, 2);
    conform_send(end, 20, 3);
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void never_takes_the_stopped_for_dead(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, answer_and_stay);
    thirl *end = conform_open(c, THIRL_PAIR, NULL), *third = NULL;
    conform_recv(end, 1, 1);
    must_be(kill(peer.pid, SIGSTOP), 0);
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(750)), -ETIMEDOUT);
    conform_send(end, 10, 2);
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(750)), -ETIMEDOUT);
    struct thirl_peer who = {.size = sizeof who};
    must_be(thirl_peer(end, &who), 0);
    must_be(who.pid, !conform_claims(c).cross_host ? peer.pid : 0);
    int rc = thirl_open(&third, THIRL_PAIR, conform_address(c, 0, NULL), NULL);
    rc = rc == 0 ? thirl_recv(third, NULL, 0, NULL, thirl_in_ms(500)) : rc;
    must(rc == -EBUSY || rc == -ETIMEDOUT);
    must_be(thirl_close(&third, THIRL_NOW), 0);
    must_be(kill(peer.pid, SIGCONT), 0);
    conform_recv(end, 20, 3);
    conform_tell(&peer, 0);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

/* ---- before a word was said ---- */

static void only_open(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_tell(stage, 0);
    conform_hear(stage);
    (void)end;
}

static void waits_for_the_next_when_one_dies_silent(struct conform *c) {
    struct peer peer, next;
    conform_start(&peer, c, only_open);
    conform_start(&next, c, be_next);
    conform_hear(&peer);
    conform_kill(&peer);
    thirl *end = conform_open(c, THIRL_PAIR, NULL); /* finds what the dead one has left */
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(80)), -ETIMEDOUT);
    conform_tell(&next, 0);
    for (uint64_t i = 0; i < 50; i++) {
        conform_recv(end, i, i + 1000);
        conform_send(end, i, i + 2000);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&next);
}

/* A message has gone to it, and an answer is waited for that will not come. */
static void tells_of_one_that_never_answered(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, only_open);
    conform_hear(&peer);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    int sent = thirl_send(end, "hello", 5, thirl_in_ms(300));
    conform_kill(&peer);
    if (sent == -ETIMEDOUT) { /* ends meet by a greeting there, and nothing has gone to it */
        must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(80)), -ETIMEDOUT);
        must_be(thirl_close(&end, PATIENCE), 0);
        return;
    }
    must_be(sent, 0);
    int64_t began = conform_now();
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_EPEERDIED);
    must(conform_now() - began < NEVER_SO_LATE);
    conform_names(c, peer.pid);
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_EPEERDIED);
    must_be(at_once(c, thirl_send(end, "x", 1, THIRL_NOW)), -EAGAIN);
    must(thirl_close(&end, THIRL_NOW) >= 0);
}

/* A process that ends without closing is a death, too. */
static void just_exit(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 7, 7);
    conform_recv(end, 8, 8);
    _exit(0);
}

static void takes_an_exit_for_a_death(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, just_exit);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 7, 7);
    conform_send(end, 8, 8);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_EPEERDIED);
    must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_EPEERDIED);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void speak_and_go(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 10, 1);
    conform_recv(end, 10, 2);
    conform_tell(stage, 1);
    must_be(conform_hear(stage), 1);
    must(thirl_close(&end, THIRL_NOW) >= 0);
}

/* It spoke with an end that was closed, and goes while the next one has found it: whoever waits for that one and for something else, sleeps. */
static void who_goes_from_another_end_keeps_nobody_busy(struct conform *c) {
    struct peer peer;
    int tube[2];
    struct timespec before, after;
    must_be(pipe(tube), 0);
    conform_start(&peer, c, speak_and_go);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 10, 1);
    conform_send(end, 10, 2);
    must_be(conform_hear(&peer), 1);
    must(thirl_close(&end, THIRL_NOW) >= 0);
    end = conform_open(c, THIRL_PAIR, NULL);
    struct thirl_want wants[] = {{.end = end, .fd = -1, .wanted = THIRL_WANT_MESSAGE},
                                 {.fd = tube[0], .wanted = POLLIN}};
    must_be(thirl_wait(wants, 2, thirl_in_ms(20)), -ETIMEDOUT); /* so that it has found it */
    conform_tell(&peer, 1);
    conform_join(&peer);
    must_be(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
    must_be(thirl_wait(wants, 2, thirl_in_ms(300)), -ETIMEDOUT);
    must_be(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
    int64_t spent = (after.tv_sec - before.tv_sec) * 1000 * MS + after.tv_nsec - before.tv_nsec;
    must(spent < (conform_sanitized() ? 150 : 60) * MS);
    must_be(thirl_close(&end, THIRL_NOW), 0);
    close(tube[0]);
    close(tube[1]);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(receives_all_before_the_goodbye),  CONFORM(goes_on_with_the_next),
        CONFORM(tells_late_what_happened),         CONFORM(tells_a_waiting_receiver),
        CONFORM(tells_a_waiting_sender),           CONFORM(never_takes_the_stopped_for_dead),
        CONFORM(takes_an_exit_for_a_death),        CONFORM(waits_for_the_next_when_one_dies_silent),
        CONFORM(tells_of_one_that_never_answered), CONFORM_ONLY(who_goes_from_another_end_keeps_nobody_busy, "shm"),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
