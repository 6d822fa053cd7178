/* SPDX-License-Identifier: MIT
 *
 * PUB and SUB over connections: everybody gets everything, or knows exactly how much is missing; who is slow delays nobody unless
 * the publisher wants to wait; who comes late or dies harms nobody.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/crew.h"
#include "tests/famine.h"
#include "tests/point.h"

#define BODY 1000
#define FLOOD 6000u
#define OVER_A_PATH(test)                                                                                              \
    { #test, test, NULL, NULL, (void *)(uintptr_t) "unix://%s/s" }

static char buffer[4096];

static void everybody_gets_all(void **state) {
    crew_at(*state, NULL);
    thirl *pub = crew_open(THIRL_PUB), *sub[3] = {crew_open(THIRL_SUB), crew_open(THIRL_SUB), crew_open(THIRL_SUB)};
    static const size_t sizes[] = {8, 9, 64, 2000, 8192, 8193, 30000, 100};
    size_t size = 7;
    for (uint64_t n = 0; n < 400; n++) {
        assert_int_equal(crew_send(pub, n, sizes[n % 8], THIRL_NOW), 0);
        for (int i = 0; i < 3; i++) {
            struct crew_message m = crew_next(sub[i]);
            assert_int_equal(m.number, n);
            assert_int_equal(m.lost, 0);
        }
    }
    assert_int_equal(thirl_send(pub, "", 0, LONG), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(thirl_recv(sub[i], buffer, sizeof buffer, &size, LONG), 0);
        assert_int_equal(size, 0);
    }
    struct thirl_peer peer = {.size = sizeof peer};
    assert_int_equal(thirl_peer(pub, &peer), 0);
    assert_int_equal(thirl_peer(sub[0], &peer), 0);
    assert_int_equal(thirl_send(sub[0], "x", 1, LONG), -THIRL_EROLE);
    assert_int_equal(thirl_recv(pub, buffer, 1, &size, LONG), -THIRL_EROLE);
    assert_int_equal(thirl_close(&pub, LONG), 0);
    for (int i = 0; i < 3; i++) { /* that it left is no news: the next one may come */
        assert_int_equal(thirl_recv(sub[i], buffer, 8, &size, thirl_in_ms(30)), -ETIMEDOUT);
    }
    pub = crew_open(THIRL_PUB);
    for (int i = 0; i < 3; i++) {
        int rc = -EAGAIN;
        for (int64_t until = clock_now() + 8 * CLOCK_S; rc != 0 && clock_now() < until;) {
            assert_int_equal(crew_send(pub, 3, BODY, LONG), 0);
            rc = thirl_recv(sub[i], buffer, sizeof buffer, &size, thirl_in_ms(10));
            assert_true(rc == 0 || rc == -ETIMEDOUT);
        }
        assert_int_equal(rc, 0);
    }
    assert_int_equal(thirl_close(&pub, LONG), 0);
    crew_close(sub, 3);
}

static void without_subscribers(void **state) {
    crew_at(*state, NULL);
    thirl *pub = crew_open(THIRL_PUB);
    for (uint64_t n = 0; n < 1000; n++) {
        assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), 0);
    }
    struct thirl_peer peer = {.size = sizeof peer};
    assert_int_equal(thirl_peer(pub, &peer), -ENOTCONN);
    thirl *sub = crew_open(THIRL_SUB);
    assert_int_equal(crew_send(pub, 1000, BODY, THIRL_NOW), 0);
    assert_int_equal(crew_next(sub).number, 1000);
    assert_int_equal(thirl_close(&sub, LONG), 0);
    assert_int_equal(crew_send(pub, 1001, BODY, THIRL_NOW), 0);
    assert_int_equal(thirl_close(&pub, LONG), 0);
}

/* ---- the slow one ---- */

/* What has come to the slow one by now: the last number; *sum grows by what came and what it says was lost. */
static uint64_t drain(thirl *slow, uint64_t last, uint64_t *sum) {
    struct crew_message m;
    while (crew_take(slow, &m, thirl_in_ms(200)) == 0) {
        assert_int_equal(m.number, last + 1 + m.lost);
        last = m.number;
        *sum += 1 + m.lost;
    }
    return last;
}

/* A publisher that is called on and on, a fast one who gets all, a slow one who does not receive for a while. */
static void gaps_are_exact(void **state, const char *options) {
    crew_at(*state, options);
    thirl *pub = crew_open(THIRL_PUB), *fast = crew_open(THIRL_SUB), *slow = crew_open(THIRL_SUB);
    uint64_t sum = 0, last = UINT64_MAX, lost = 0;
    int64_t longest = 0;
    for (uint64_t n = 0; n < FLOOD; n++) {
        int64_t began = clock_now();
        assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), 0);
        longest = clock_now() - began > longest ? clock_now() - began : longest;
        struct crew_message m = crew_next(fast);
        assert_int_equal(m.number, n);
        assert_int_equal(m.lost, 0);
    }
    assert_true(longest < 2 * CLOCK_S); /* not even the slowest machine waits like one who waits for somebody */
    last = drain(slow, last, &sum);
    assert_true(sum > 10);
    for (uint64_t n = FLOOD; last != n - 1 || n == FLOOD; n++) {
        assert_true(n < FLOOD + 1000);
        assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), 0);
        assert_int_equal(crew_next(fast).number, n);
        last = drain(slow, last, &sum);
    }
    assert_int_equal(sum, last + 1);
    lost = crew_lost("pub");
    assert_true(lost > 0);
    assert_int_equal(crew_lost("sub"), lost);
    assert_int_equal(thirl_close(&fast, LONG), 0);
    assert_int_equal(thirl_close(&slow, LONG), 0);
    assert_int_equal(thirl_close(&pub, LONG), 0);
}

static void newest_go(void **state) {
    gaps_are_exact(state, NULL);
}

static void oldest_go(void **state) {
    gaps_are_exact(state, "full=drop-oldest");
}

static void latest_stays(void **state) {
    gaps_are_exact(state, "full=latest");
}

static void fills_up(thirl *pub, thirl *fast, uint64_t *n, int code) {
    int rc = 0;
    for (*n = 0; rc == 0; *n += rc == 0) {
        assert_true(*n < FLOOD);
        rc = crew_send(pub, *n, BODY, thirl_in_ms(50));
        if (rc == 0) {
            assert_int_equal(crew_next(fast).number, *n);
        }
    }
    assert_int_equal(rc, code);
}

static void publisher_waits(void **state) {
    crew_at(*state, "full=block");
    thirl *pub = crew_open(THIRL_PUB), *fast = crew_open(THIRL_SUB), *slow = crew_open(THIRL_SUB);
    uint64_t n;
    fills_up(pub, fast, &n, -ETIMEDOUT);
    assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), -EAGAIN);
    struct crew_message m;
    assert_int_equal(crew_take(fast, &m, THIRL_NOW), -EAGAIN); /* nobody got what not everybody could */
    struct pollfd polled = {.fd = thirl_fd(pub), .events = POLLIN};
    uint64_t next = 0;
    for (; crew_take(slow, &m, thirl_in_ms(100)) == 0; next++) {
        assert_int_equal(m.number, next);
        assert_int_equal(m.lost, 0);
    }
    assert_int_equal(poll(&polled, 1, 5000), 1);
    assert_int_equal(crew_send(pub, n, BODY, LONG), 0);
    for (; next <= n; next++) {
        assert_int_equal(crew_next(slow).number, next);
    }
    assert_int_equal(crew_lost("pub"), 0);
    assert_int_equal(thirl_close(&pub, LONG), 0);
    thirl *both[] = {fast, slow};
    crew_close(both, 2);
}

static void publisher_is_told(void **state) {
    crew_at(*state, "full=fail");
    thirl *pub = crew_open(THIRL_PUB), *fast = crew_open(THIRL_SUB), *slow = crew_open(THIRL_SUB);
    uint64_t n;
    fills_up(pub, fast, &n, -EAGAIN);
    int64_t began = clock_now();
    assert_int_equal(crew_send(pub, n, BODY, LONG), -EAGAIN);
    assert_true(clock_now() - began < CLOCK_S);
    assert_int_equal(thirl_close(&slow, LONG), 0);
    for (int i = 0, rc = -EAGAIN; rc != 0; i++) {
        assert_true(i < 1000);
        (void)usleep(1000);
        rc = crew_send(pub, n, BODY, LONG);
    }
    assert_int_equal(crew_next(fast).number, n);
    assert_int_equal(thirl_close(&pub, LONG), 0);
    assert_int_equal(thirl_close(&fast, LONG), 0);
}

static void slow_one_is_cut_off(void **state) {
    crew_at(*state, "full=disconnect");
    thirl *pub = crew_open(THIRL_PUB), *fast = crew_open(THIRL_SUB), *slow = crew_open(THIRL_SUB);
    for (uint64_t n = 0; n < FLOOD; n++) {
        assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), 0);
        assert_int_equal(crew_next(fast).number, n);
    }
    struct crew_message m;
    uint64_t next = 0;
    int rc;
    while ((rc = crew_take(slow, &m, LONG)) == 0) {
        assert_int_equal(m.number, next++);
    }
    assert_int_equal(rc, -ECONNRESET);
    assert_non_null(strstr(thirl_why(), "too slow"));
    assert_true(next > 0 && next < FLOOD);
    assert_int_equal(crew_take(slow, &m, THIRL_NOW), -EAGAIN); /* it joins again */
    for (uint64_t n = FLOOD; n < FLOOD + 3; n++) {
        assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), 0);
        assert_int_equal(crew_next(fast).number, n);
        assert_int_equal(crew_next(slow).number, n);
    }
    assert_int_equal(thirl_close(&pub, LONG), 0);
    thirl *both[] = {fast, slow};
    crew_close(both, 2);
}

/* Bounds of its own: a history, of which who is slow gets what comes last, too. */
static void latest_and_history(void **state) {
    gaps_are_exact(state, "full=latest&history=5");
}

static void larger_than_it_may_be(void **state) {
    crew_at(*state, "max=1000");
    thirl *pub = crew_open(THIRL_PUB), *sub = crew_open(THIRL_SUB);
    assert_int_equal(crew_send(pub, 0, 1001, LONG), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "1001 bytes is larger than the 1000 that ?max= allows"));
    assert_int_equal(crew_send(pub, 0, 1000, LONG), 0);
    assert_int_equal(crew_next(sub).number, 0);
    assert_int_equal(thirl_close(&pub, LONG), 0);
    assert_int_equal(thirl_close(&sub, LONG), 0);
}

/* Whether nothing is dropped in silence follows from what a full end does. */
static void limits_say_what_is_full(void **state) {
    static const struct {
        const char *options;
        unsigned full, reliable;
    } kinds[] = {{NULL, THIRL_FULL_DROP_NEWEST, 0},
                 {"full=drop-oldest", THIRL_FULL_DROP_OLDEST, 0},
                 {"full=block", THIRL_FULL_BLOCK, 1},
                 {"full=fail", THIRL_FULL_FAIL, 1}};
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct thirl_limits limits = {.size = sizeof limits};
        crew_at(*state, kinds[i].options);
        thirl *pub = crew_open(THIRL_PUB);
        assert_int_equal(thirl_limits(pub, &limits), 0);
        assert_int_equal(limits.full, kinds[i].full);
        assert_int_equal(limits.reliable, kinds[i].reliable);
        assert_int_equal(thirl_close(&pub, LONG), 0);
    }
}

static int wait_for_room(thirl *pub, thirl_time until) {
    struct thirl_want want = {.end = pub, .fd = -1, .wanted = THIRL_WANT_ROOM};
    return thirl_wait(&want, 1, until);
}

/* Of a publisher that waits for the slow one thirl_wait says when it has caught up, and brings him what he is behind with; of others
 * there is room always. */
static void a_wait_is_for_the_slow_one(void **state) {
    crew_at(*state, "full=block");
    thirl *pub = crew_open(THIRL_PUB), *fast = crew_open(THIRL_SUB), *slow = crew_open(THIRL_SUB);
    assert_int_equal(wait_for_room(pub, THIRL_NOW), 1);
    uint64_t n, next = 0;
    fills_up(pub, fast, &n, -ETIMEDOUT);
    assert_int_equal(wait_for_room(pub, thirl_in_ms(30)), -ETIMEDOUT);
    struct crew_message m;
    for (int rc = 0; rc != 1;) {
        while (crew_take(slow, &m, THIRL_NOW) == 0) {
            assert_int_equal(m.number, next++);
        }
        rc = wait_for_room(pub, thirl_in_ms(5000));
        assert_int_equal(rc, 1);
    }
    assert_int_equal(crew_send(pub, n, BODY, LONG), 0);
    while (next <= n) {
        assert_int_equal(crew_next(slow).number, next++);
    }
    assert_int_equal(thirl_close(&pub, LONG), 0);
    thirl *both[] = {fast, slow};
    crew_close(both, 2);
    crew_at(*state, "full=drop-oldest&queue=64K");
    pub = crew_open(THIRL_PUB);
    slow = crew_open(THIRL_SUB);
    for (n = 0; n < 2000; n++) {
        assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), 0);
        assert_int_equal(wait_for_room(pub, THIRL_NOW), 1);
    }
    assert_int_equal(thirl_close(&slow, LONG), 0);
    assert_int_equal(thirl_close(&pub, LONG), 0);
}

/* Who closes while somebody is behind, and does not wait, is told how much was not delivered: all that he does not get. */
static void a_close_says_what_is_left(void **state) {
    crew_at(*state, "full=drop-oldest&queue=1M");
    thirl *pub = crew_open(THIRL_PUB), *slow = crew_open(THIRL_SUB);
    uint64_t sent = 0, came = 0;
    for (; sent < 1000; sent++) {
        assert_int_equal(crew_send(pub, sent, BODY, THIRL_NOW), 0);
    }
    int left = thirl_close(&pub, thirl_in_ms(20));
    assert_true(left > 0);
    struct crew_message m;
    for (; crew_take(slow, &m, thirl_in_ms(100)) == 0; came++) {
        assert_int_equal(m.number, came);
        assert_int_equal(m.lost, 0);
    }
    assert_in_range(came, sent - (uint64_t)left, sent - (uint64_t)left + 1); /* of one a part was on its way */
    assert_int_equal(thirl_close(&slow, LONG), 0);
}

/* Without memory for what somebody is behind with it is lost to him, and he is told how much. */
static void no_memory_is_a_gap(void **state) {
    static const char *const options[] = {"full=drop-oldest", "full=latest"};
    for (unsigned i = 0; i < 2; i++) {
        crew_at(*state, options[i]);
        thirl *pub = crew_open(THIRL_PUB), *slow = crew_open(THIRL_SUB);
        uint64_t n = 0, sum = 0;
        assert_int_equal(crew_send(pub, n++, BODY, THIRL_NOW), 0);
        uint64_t last = crew_next(slow).number;
        if (!famine_begin()) {
            crew_close(&slow, 1);
            crew_close(&pub, 1);
            skip();
        }
        int rc = 0;
        for (; n < 2000 && rc == 0; n += rc == 0) {
            rc = crew_send(pub, n, BODY, THIRL_NOW);
        }
        famine_end();
        assert_int_equal(rc, 0);
        last = drain(slow, last, &sum);
        assert_true(last < n - 1);
        assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), 0);
        last = drain(slow, last, &sum);
        assert_int_equal(last, n);
        assert_int_equal(sum, last);
        assert_true(crew_lost("pub") > 0);
        assert_int_equal(thirl_close(&slow, LONG), 0);
        assert_int_equal(thirl_close(&pub, LONG), 0);
    }
}

/* ---- late, dead, second ---- */

static void late_ones_get_the_history(void **state) {
    crew_at(*state, "history=5&queue=64K");
    thirl *pub = crew_open(THIRL_PUB), *sub[2];
    uint64_t n = 0;
    for (; n < 1000; n++) {
        assert_int_equal(crew_send(pub, n, BODY, THIRL_NOW), 0);
    }
    for (int i = 0; i < 2; i++, n++) {
        sub[i] = crew_open(THIRL_SUB);
        assert_int_equal(crew_send(pub, n, 300, THIRL_NOW), 0);
        for (uint64_t k = n - 5; k <= n; k++) {
            struct crew_message m = crew_next(sub[i]);
            assert_int_equal(m.number, k);
            assert_int_equal(m.lost, 0);
        }
    }
    assert_int_equal(crew_next(sub[0]).number, n - 1);
    for (; n < 1010; n++) { /* fewer than five fit into the bound of bytes */
        assert_int_equal(crew_send(pub, n, 20000, THIRL_NOW), 0);
        assert_int_equal(crew_next(sub[0]).number, n);
        assert_int_equal(crew_next(sub[1]).number, n);
    }
    thirl *late = crew_open(THIRL_SUB);
    assert_int_equal(crew_send(pub, n, 300, THIRL_NOW), 0);
    for (uint64_t k = n - 3; k <= n; k++) {
        assert_int_equal(crew_next(late).number, k);
    }
    assert_int_equal(thirl_close(&pub, LONG), 0);
    crew_close(sub, 2);
    crew_close(&late, 1);
}

static void second_is_refused(void **state) {
    crew_at(*state, NULL);
    thirl *pub = crew_open(THIRL_PUB), *other = NULL;
    char pid[24];
    (void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_int_equal(thirl_open(&other, THIRL_PUB, crew_address, NULL), -EBUSY);
    assert_non_null(strstr(thirl_why(), crew_address[0] == 'u' ? pid : "127.0.0.1"));
    static const enum thirl_role others[] = {THIRL_PULL, THIRL_PAIR, THIRL_PUSH, THIRL_READ};
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(thirl_open(&other, others[i], crew_address, NULL), -THIRL_EROLE);
        assert_non_null(strstr(thirl_why(), "role"));
    }
    thirl *sub = crew_open(THIRL_SUB);
    assert_int_equal(crew_send(pub, 1, BODY, THIRL_NOW), 0);
    assert_int_equal(crew_next(sub).number, 1);
    assert_int_equal(thirl_close(&pub, LONG), 0);
    pub = crew_open(THIRL_PUB); /* free again */
    assert_int_equal(thirl_close(&pub, LONG), 0);
    assert_int_equal(thirl_close(&sub, LONG), 0);
}

static void publish_on(void) {
    thirl *pub = NULL;
    ok(thirl_open(&pub, THIRL_PUB, crew_address, NULL));
    for (uint64_t n = 0;; n++) {
        ok(thirl_send(pub, &n, sizeof n, LONG));
        (void)usleep(1000);
    }
}

static void publisher_dies_and_another_comes(void **state) {
    crew_at(*state, NULL);
    thirl *sub = crew_open(THIRL_SUB); /* nobody is there */
    size_t size;
    uint64_t n = 0, last = 0;
    assert_int_equal(thirl_recv(sub, &n, sizeof n, &size, thirl_in_ms(20)), -ETIMEDOUT);
    for (int round = 0; round < 3; round++) {
        pid_t pid = peer_start(publish_on);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(thirl_recv(sub, &n, sizeof n, &size, LONG), 0);
            assert_true(i == 0 || n == last + 1);
            last = n;
        }
        peer_slay(pid);
        int rc;
        while ((rc = thirl_recv(sub, &n, sizeof n, &size, LONG)) == 0) {
            assert_int_equal(n, last + 1); /* what it had sent comes first */
            last = n;
        }
        assert_int_equal(rc, -THIRL_EPEERDIED);
        assert_int_equal(thirl_recv(sub, &n, sizeof n, &size, thirl_in_ms(20)), -ETIMEDOUT);
    }
    assert_int_equal(thirl_close(&sub, LONG), 0);
}

static void subscribe_and_wait(void) {
    thirl *sub = NULL;
    uint64_t n;
    size_t size;
    ok(thirl_open(&sub, THIRL_SUB, crew_address, NULL));
    for (;;) {
        ok(thirl_recv(sub, &n, sizeof n, &size, LONG));
    }
}

/* Killed, stopped, gone in order: the others get everything, at once. */
static void subscribers_come_and_go(void **state) {
    crew_at(*state, NULL);
    thirl *pub = crew_open(THIRL_PUB), *sub = crew_open(THIRL_SUB);
    pid_t stopped = peer_start(subscribe_and_wait), pid = 0;
    uint64_t n = 0;
    for (unsigned round = 0; round < 6; round++) {
        pid = peer_start(subscribe_and_wait);
        for (unsigned i = 0; i < 300; i++, n++) {
            assert_int_equal(thirl_send(pub, &n, sizeof n, THIRL_NOW), 0);
            assert_int_equal(crew_next(sub).number, n);
            (void)usleep(100);
        }
        assert_int_equal(kill(round == 2 ? stopped : pid, round == 2 ? SIGSTOP : SIGCONT), 0);
        peer_slay(pid);
    }
    peer_slay(stopped);
    struct thirl_peer peer = {.size = sizeof peer};
    int rc = 0;
    for (int i = 0; i < 2000 && (rc = thirl_peer(pub, &peer)) == 0 && peer.pid != getpid(); i++) {
        (void)usleep(1000);
        rc = crew_send(pub, n, 8, THIRL_NOW);
    }
    assert_int_equal(thirl_close(&sub, LONG), 0);
    assert_int_equal(crew_send(pub, n, 8, LONG), 0);
    for (int i = 0; i < 2000 && (rc = thirl_peer(pub, &peer)) == 0; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(rc, -ENOTCONN); /* all of them are buried */
    assert_int_equal(thirl_close(&pub, LONG), 0);
}

/* ---- at each point ---- */

static char order[96];

/* Until it is killed, or has left. There is a slow one, so that it has losses to tell of, and halves of messages. */
static void publish_and_die(void) {
    must(setenv("THIRL_WEAVE_AT", order, 1) == 0);
    thirl *pub = NULL;
    ok(thirl_open(&pub, THIRL_PUB, crew_address, NULL));
    for (uint64_t n = 0; n < 300; n++) {
        int rc = crew_send(pub, n, 3000, LONG);
        must(rc == 0);
        (void)usleep(200);
    }
    (void)thirl_close(&pub, THIRL_NOW);
}

static void subscribe_slowly_and_leave(void) {
    thirl *sub = NULL;
    struct crew_message m;
    ok(thirl_open(&sub, THIRL_SUB, crew_address, NULL));
    for (int i = 0; i < 4; i++) {
        (void)usleep(20000);
        if (crew_take(sub, &m, thirl_in_ms(i == 0 ? 2000 : 50)) != 0) {
            break;
        }
    }
    (void)thirl_close(&sub, THIRL_NOW);
}

/* Everything that the publisher has sent comes whole and in order, and what is missing is counted. */
static void hear_out(thirl *sub) {
    struct crew_message m;
    uint64_t next = 0;
    int rc;
    while ((rc = crew_take(sub, &m, thirl_in_ms(100))) == 0) {
        assert_true(next == 0 || m.number == next + m.lost);
        next = m.number + 1;
    }
    assert_true(rc == -THIRL_EPEERDIED || rc == -ETIMEDOUT);
}

/* Did it die there? A subscriber lives through it, and hears the next publisher. */
static bool dies_at(const char *kind, const char *name) {
    (void)snprintf(order, sizeof order, "%s:1:kill", name);
    crew_at(kind, "full=drop-oldest&queue=16K");
    thirl *sub = crew_open(THIRL_SUB);
    pid_t slow = peer_start(subscribe_slowly_and_leave), pid = peer_start(publish_and_die);
    hear_out(sub);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    order[0] = '\0';
    pid_t next = peer_start(publish_on);
    struct crew_message m;
    int rc;
    while ((rc = crew_take(sub, &m, LONG)) == -THIRL_EPEERDIED) {} /* it may not have looked before */
    assert_int_equal(rc, 0);
    peer_slay(next);
    peer_slay(slow);
    crew_close(&sub, 1);
    return WIFSIGNALED(status);
}

static unsigned meet(const char *name, bool killed) {
    static const char *const kinds[] = {"unix://%s/s", "unix://%s/s?type=seqpacket", "tcp://127.0.0.1:%u"};
    unsigned met = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        met += dies_at(kinds[i], name);
    }
    (void)killed;
    return met;
}

static void any_point_may_kill(void **state) {
    (void)state;
    assert_true(point_all("crier. hub.", 12, meet, true));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_point_may_kill),
        CREW_OVER_ALL(everybody_gets_all),
        CREW_OVER_ALL(without_subscribers),
        CREW_OVER_ALL(newest_go),
        CREW_OVER_ALL(oldest_go),
        CREW_OVER_ALL(latest_stays),
        OVER_A_PATH(latest_and_history),
        OVER_A_PATH(larger_than_it_may_be),
        OVER_A_PATH(limits_say_what_is_full),
        OVER_A_PATH(a_wait_is_for_the_slow_one),
        OVER_A_PATH(a_close_says_what_is_left),
        {"no_memory_is_a_gap seqpacket", no_memory_is_a_gap, NULL, NULL,
         (void *)(uintptr_t) "unix://%s/s?type=seqpacket"}, /* of which nothing is half sent */
        CREW_OVER_ALL(publisher_waits),
        CREW_OVER_ALL(publisher_is_told),
        CREW_OVER_ALL(slow_one_is_cut_off),
        CREW_OVER_ALL(late_ones_get_the_history),
        CREW_OVER_ALL(second_is_refused),
        CREW_OVER_ALL(publisher_dies_and_another_comes),
        CREW_OVER_ALL(subscribers_come_and_go),
    };
    crew_filter(argc, argv);
    return cmocka_run_group_tests_name("crier", tests, peer_setup, peer_teardown);
}
