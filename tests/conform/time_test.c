/* SPDX-License-Identifier: MIT
 *
 * Deadlines are kept, signals disturb nothing, and a wait ends when another thread closes the end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/conform/conform.h"

#define LATE (50 * MS)
#define TRIES 20 /* a busy machine may be late; it is not so each time */

typedef int conform_call(thirl *end, thirl_time until);

static int receive(thirl *end, thirl_time until) {
    char byte;
    return thirl_recv(end, &byte, 1, NULL, until);
}

static int take(thirl *end, thirl_time until) {
    thirl_msg *msg = NULL;
    int rc = thirl_take(end, &msg, until);
    thirl_free(&msg);
    return rc;
}

static char block[20000];

static int send_block(thirl *end, thirl_time until) {
    return thirl_send(end, block, sizeof block, until);
}

static int loan_block(thirl *end, thirl_time until) {
    thirl_msg *msg = NULL;
    int rc = thirl_loan(end, &msg, sizeof block, until);
    return rc == 0 ? thirl_put(end, &msg, until) : rc;
}

/* It comes back at the deadline: never before, and at least once in TRIES not much later. */
static void keep_deadline(thirl *end, conform_call *call, int64_t ms, bool soon) {
    int64_t least = INT64_MAX;
    for (int i = 0; i < TRIES && least > LATE; i++) {
        int64_t began = conform_now();
        must_be(call(end, soon ? THIRL_SOON : thirl_in_ms(ms)), -ETIMEDOUT);
        int64_t late = conform_now() - began - ms * MS;
        must(late >= 0);
        least = late < least ? late : least;
    }
    must(least <= LATE);
    must(thirl_why()[0] != '\0');
}

static void keeps_deadlines_alone(struct conform *c) {
    thirl *end = conform_open(c, THIRL_PAIR, "timeout=70ms");
    conform_call *const calls[] = {receive, take, send_block, loan_block};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        int64_t began = conform_now();
        must_be(calls[i](end, THIRL_NOW), -EAGAIN);
        must(conform_now() - began < 1000 * MS);
        keep_deadline(end, calls[i], 30, false);
        keep_deadline(end, calls[i], 70, true);
        must_be(calls[i](end, thirl_in_ms(-5)), -ETIMEDOUT);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 1);
    conform_hear(stage);
    (void)!thirl_close(&end, THIRL_NOW);
}

/* What was lent may have a place of its own beside the queue. */
static void stuff(const struct conform *c, thirl *end) {
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(end, &limits), 0);
    while (limits.lends != 0 && loan_block(end, THIRL_NOW) == 0) {}
    while (send_block(end, THIRL_NOW) == 0 || send_block(end, conform_while(c)) == 0) {}
}

static void keeps_deadlines_with_a_peer(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, stay);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=64K&timeout=70ms");
    conform_call *const calls[] = {receive, take, send_block, loan_block};
    conform_recv(end, 1, 1);
    stuff(c, end);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        must_be(calls[i](end, THIRL_NOW), -EAGAIN);
        conform_names(c, 0);
        keep_deadline(end, calls[i], 30, false);
        keep_deadline(end, calls[i], 130, false);
        keep_deadline(end, calls[i], 70, true);
    }
    conform_tell(&peer, 0);
    conform_join(&peer);
    (void)!thirl_close(&end, THIRL_NOW);
}

/* ---- what close says ---- */

static void receive_late(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 0);
    conform_recv(end, 50, 0);
    uint64_t left = conform_hear(stage);
    for (uint64_t i = 1; i <= 10 - left; i++) {
        conform_recv(end, 50, i);
    }
    conform_hear(stage);
    (void)!thirl_close(&end, THIRL_NOW);
}

static void says_what_was_not_taken(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, receive_late);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 1, 0);
    for (uint64_t i = 0; i <= 10; i++) {
        conform_send(end, 50, i);
    }
    conform_sleep(100 * MS); /* it takes the first one, most likely */
    int64_t began = conform_now();
    int left = thirl_close(&end, thirl_in_ms(80));
    int64_t took = conform_now() - began;
    must(left >= 0 && left <= 10); /* what the kernel has taken over for the peer is taken */
    must(end == NULL);
    must(left == 0 || took >= 80 * MS);
    conform_tell(&peer, (uint64_t)left);
    conform_tell(&peer, 0);
    conform_join(&peer);
}

/* ---- signals ---- */

static volatile sig_atomic_t storms;

static void count_storm(int signal) {
    (void)signal;
    storms++;
}

static void storm(bool on) {
    struct sigaction action = {.sa_handler = count_storm};
    sigemptyset(&action.sa_mask);
    must_be(sigaction(SIGALRM, &action, NULL), 0);
    int us = !on ? 0 : conform_sanitized() ? 2000 : 200;
    const struct itimerval every = {{0, us}, {0, us}};
    must_be(setitimer(ITIMER_REAL, &every, NULL), 0);
}

#define STORM_MS 700

/* Back and forth with pauses, so that both really sleep; then a flood, so that a queue is full. */
static void weather(thirl *end, bool first) {
    storm(true);
    int64_t until = conform_now() + STORM_MS * MS;
    uint64_t i = 0;
    for (bool last = false; !last; i++) {
        if (first) {
            last = conform_now() > until;
            conform_send(end, last ? 0 : 1 + i % 3000, i);
            conform_recv(end, 5, i);
        } else {
            static char buffer[4000];
            size_t size = 0;
            must_be(thirl_recv(end, buffer, sizeof buffer, &size, PATIENCE), 0);
            must(conform_intact(buffer, size, i));
            last = size == 0;
            if (i % 7 == 0) {
                usleep(300);
            }
            conform_send(end, 5, i);
        }
    }
    for (i = 0; i < 2000; i++) {
        if (first) {
            conform_send(end, 2000, i);
        } else {
            conform_recv(end, 2000, i);
        }
    }
    must(storms > 10);
    must_be(thirl_close(&end, PATIENCE), 0);
    storm(false);
}

static void weather_it(const struct conform *c, struct peer *stage) {
    (void)stage;
    weather(conform_open(c, THIRL_PAIR, "queue=64K"), false);
}

static void weathers_a_storm_of_signals(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, weather_it);
    weather(conform_open(c, THIRL_PAIR, "queue=64K"), true);
    conform_join(&peer);
}

/* ---- close by another thread ---- */

struct waiter {
    thirl *end;
    conform_call *call;
    int rc;
    pthread_t thread;
    pid_t tid;     /* 0: it has not begun */
    int64_t spent; /* of the processor, before the call */
};

static int64_t spent_by(clockid_t clock) {
    struct timespec at;
    must_be(clock_gettime(clock, &at), 0);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static void *wait_long(void *argument) {
    struct waiter *waiter = argument;
    waiter->spent = spent_by(CLOCK_THREAD_CPUTIME_ID);
    __atomic_store_n(&waiter->tid, gettid(), __ATOMIC_RELEASE);
    waiter->rc = waiter->call(waiter->end, THIRL_NEVER);
    must(waiter->rc != 0);
    must_be(waiter->rc, -THIRL_ECLOSED);
    must(thirl_why()[0] != '\0');
    return NULL;
}

/* Is it in the call: does it sleep there, or has it spun for a while? Who begins behind the close would begin with nothing. */
static bool is_inside(struct waiter *waiter) {
    char path[64], text[512];
    pid_t tid = __atomic_load_n(&waiter->tid, __ATOMIC_ACQUIRE);
    clockid_t clock;
    if (tid == 0) {
        return false;
    }
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    must(size > 0);
    close(fd);
    text[size] = '\0';
    const char *name_ends = strrchr(text, ')');
    must(name_ends != NULL);
    must_be(pthread_getcpuclockid(waiter->thread, &clock), 0);
    return name_ends[2] == 'S' || spent_by(clock) - waiter->spent > 5 * MS;
}

static void close_under(thirl *end, conform_call *const *calls, int count) {
    struct waiter waiters[4];
    for (int i = 0; i < count; i++) {
        waiters[i] = (struct waiter){.end = end, .call = calls[i]};
        must_be(pthread_create(&waiters[i].thread, NULL, wait_long, &waiters[i]), 0);
    }
    for (int i = 0; i < count; i++) {
        while (!is_inside(&waiters[i])) {
            conform_sleep(MS);
        }
    }
    conform_sleep(20 * MS);
    int64_t began = conform_now();
    (void)!thirl_close(&end, thirl_in_ms(1));
    for (int i = 0; i < count; i++) {
        must_be(pthread_join(waiters[i].thread, NULL), 0);
    }
    must(conform_now() - began < 2000 * MS);
}

static void wakes_the_waiters_at_close(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, stay);
    conform_call *const calls[] = {receive, send_block, receive, send_block};
    conform_call *const in_place[] = {take, loan_block};
    thirl *end = conform_open(c, THIRL_PAIR, "queue=64K");
    conform_recv(end, 1, 1);
    stuff(c, end);
    close_under(end, calls, 4);
    conform_tell(&peer, 0);
    conform_join(&peer);
    close_under(conform_open(c, THIRL_PAIR, NULL), calls, 4); /* nobody at the other end */
    close_under(conform_open(c, THIRL_PAIR, "wait=spin"), in_place, 2);
    close_under(conform_open(c, THIRL_PAIR, "wait=sleep"), in_place, 2);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(keeps_deadlines_alone),       CONFORM(keeps_deadlines_with_a_peer), CONFORM(says_what_was_not_taken),
        CONFORM(weathers_a_storm_of_signals), CONFORM(wakes_the_waiters_at_close),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
