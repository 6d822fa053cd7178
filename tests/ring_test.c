/* SPDX-License-Identifier: MIT
 *
 * Circles through channels: processes that call each other, that wait for each other's messages, and that hold a lock meanwhile. They are found
 * from outside, one is told if it asked for that, and who only is slow, or could be served by another thread, is in none.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/doctor.h"
#include "include/thirl/lock.h"
#include "tests/member.h"
#include "tests/room.h"

#define MOST 3

static struct board {
    thirl_mutex mutex;
    thirl_rwlock rwlock;
    thirl_cond cond;
    uint32_t ready, go, told, answered;
} * board;

static const char *kind; /* of the addresses */
static const char *option;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(const char *how, const char *with) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_mutex_init(&board->mutex, 0), 0);
    assert_int_equal(thirl_rwlock_init(&board->rwlock, 0), 0);
    assert_int_equal(thirl_cond_init(&board->cond, 0), 0);
    kind = how;
    option = with;
}

static void address(char out[200], int number) {
    if (strcmp(kind, "shm") == 0) {
        (void)snprintf(out, 200, "shm://ring/%d%s", number, option);
    } else {
        (void)snprintf(out, 200, "unix://%s/ring%d%s", room_path, number, option);
    }
}

/* What the first holds while it calls, and the second takes to answer. */
enum locks { NONE, MUTEX, WRITE_WRITE, WRITE_READ, READ_WRITE, COND };

struct seat {
    int own, of;
    enum locks locks;
    bool helped; /* another thread serves, too */
};

static int take(enum locks locks, bool first) {
    bool reads = locks == (first ? READ_WRITE : WRITE_READ);
    return locks == NONE                     ? 0
           : locks == MUTEX || locks == COND ? thirl_mutex_lock(&board->mutex, THIRL_NEVER)
           : reads                           ? thirl_rwlock_read(&board->rwlock, THIRL_NEVER)
                                             : thirl_rwlock_write(&board->rwlock, THIRL_NEVER);
}

static int give(enum locks locks) {
    return locks == NONE                     ? 0
           : locks == MUTEX || locks == COND ? thirl_mutex_unlock(&board->mutex)
                                             : thirl_rwlock_unlock(&board->rwlock);
}

/* The second: what it does before it answers. It comes back from the condition variable when the first has signalled, with the mutex in its
 * hand. */
static int prepare(enum locks locks, thirl *serve, thirl_msg **request) {
    if (locks == COND) {
        return thirl_cond_wait(&board->cond, &board->mutex, THIRL_NEVER);
    }
    int rc = thirl_take(serve, request, THIRL_NEVER);
    return rc == 0 ? take(locks, false) : rc;
}

static int call_next(thirl *next) {
    thirl_msg *answer = NULL;
    int rc = thirl_call(next, "on", 2, &answer, THIRL_NEVER);
    thirl_free(&answer);
    if (rc == -EDEADLK) {
        CHECK(strstr(thirl_why(), "waiting in a circle: this thread") != NULL);
        (void)atomic_add(&board->told, 1u);
        return 0;
    }
    CHECK(rc == 0);
    (void)atomic_add(&board->answered, 1u);
    return 0;
}

static void *serve_too(void *end) {
    thirl_msg *request = NULL;
    if (thirl_take(end, &request, THIRL_NEVER) == 0 && thirl_reply(end, &request, "ok", 2, THIRL_NEVER) != 0) abort();
    return NULL;
}

/* Over a connection a caller knows its server when it has met it. */
static int meet(thirl *serve, thirl *call) {
    pthread_t helper;
    thirl_msg *answer = NULL;
    CHECK(pthread_create(&helper, NULL, serve_too, serve) == 0);
    int rc = thirl_call(call, "?", 1, &answer, thirl_in_ms(20000));
    thirl_free(&answer);
    CHECK(rc == 0 && pthread_join(helper, NULL) == 0);
    return 0;
}

/* The first of a ring calls unasked; the others to answer. */
static int sit(void *argument) {
    const struct seat *seat = argument;
    char own[200], next[200];
    thirl *serve, *call;
    thirl_msg *request = NULL;
    pthread_t helper;
    address(own, seat->own);
    address(next, (seat->own + 1) % seat->of);
    CHECK(thirl_open(&serve, THIRL_SERVE, own, NULL) == 0 && thirl_open(&call, THIRL_CALL, next, NULL) == 0);
    CHECK(strcmp(kind, "shm") == 0 || meet(serve, call) == 0);
    CHECK(seat->own == 0 || seat->locks != COND || take(COND, false) == 0);
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->ready, (uint32_t)seat->of));
    if (seat->helped && seat->own == 0) {
        CHECK(pthread_create(&helper, NULL, serve_too, serve) == 0);
        room_sleep(50 * CLOCK_MS); /* it sleeps by then */
    }
    if (seat->own == 0) {
        CHECK(take(seat->locks, true) == 0);
        CHECK(thirl_cond_signal(&board->cond) == 0);
        CHECK(call_next(call) == 0);
        CHECK(give(seat->locks) == 0);
        if (!seat->helped && seat->locks == NONE) { /* whose request has waited all the time */
            (void)(thirl_take(serve, &request, thirl_in_ms(300)) == 0 &&
                   thirl_reply(serve, &request, "ok", 2, THIRL_NOW));
        }
    } else {
        CHECK(prepare(seat->locks, serve, &request) >= 0);
        CHECK(seat->locks != NONE || call_next(call) == 0);
        CHECK(give(seat->locks) == 0);
        (void)!thirl_reply(serve, &request, "ok", 2, THIRL_NEVER); /* who was told may have given up */
    }
    CHECK(!seat->helped || seat->own != 0 || pthread_join(helper, NULL) == 0);
    CHECK(member_wait(&board->go, 1));
    (void)thirl_close(&call, THIRL_NOW);
    (void)thirl_close(&serve, THIRL_NOW);
    return 0;
}

static bool finds(size_t count, const char *wanted, int tries) {
    bool found = false;
    for (int i = 0; i < tries && !found; i++) {
        struct thirl_doctor *seen;
        assert_int_equal(thirl_doctor_look(&seen), 0);
        found = seen->circles == 1 && seen->circle[0]->count == count;
        for (size_t j = 0; found && j < count; j++) {
            const struct thirl_thread *t = seen->thread[seen->circle[0]->thread[j]];
            bool lock = t->wait->address[0] == '\0';
            assert_true(t->stuck && t->wait->from.offset != 0 && strstr(t->wait->from.path, "ring_test") != NULL);
            assert_true(lock || ((strcmp(t->wait->kind, wanted) == 0 || strcmp(t->wait->kind, "room") == 0) &&
                                 strstr(t->wait->address, "ring") != NULL));
        }
        thirl_doctor_free(&seen);
        if (!found) room_sleep(20 * CLOCK_MS);
    }
    return found;
}

static void run(struct seat like, pid_t child[MOST]) {
    static struct seat seat[MOST];
    for (int i = 0; i < like.of; i++) {
        seat[i] = like;
        seat[i].own = i;
        child[i] = room_fork(sit, &seat[i]);
    }
}

static void end(const pid_t *child, int count, int how) {
    for (int i = 0; i < count && how == SIGKILL; i++) kill(child[i], SIGSTOP); /* before any sees another die */
    for (int i = 0; i < count && how == SIGKILL; i++) kill(child[i], SIGKILL);
    for (int i = 0; i < count; i++) assert_int_equal(room_reap(child[i]), how == SIGKILL ? 128 + SIGKILL : 0);
}

static const char *const kinds[] = {"shm", "unix"};

static void a_ring_of_callers_is_found(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        for (int of = 2; of <= MOST; of++) {
            pid_t child[MOST];
            anew(kinds[k], "");
            run((struct seat){.of = of}, child);
            assert_true(finds((size_t)of, "answer", 100));
            end(child, of, SIGKILL);
        }
    }
}

static void a_ring_through_a_lock_is_found(void **state) {
    (void)state;
    for (enum locks locks = MUTEX; locks <= COND; locks++) {
        pid_t child[MOST];
        anew(kinds[locks % 2], "");
        run((struct seat){.of = 2, .locks = locks}, child);
        assert_true(finds(2, "answer", 100));
        end(child, 2, SIGKILL);
    }
}

/* The caller, whose address says so; it lets go, and the other one goes on. */
static void one_of_a_ring_through_a_lock_is_told(void **state) {
    (void)state;
    for (enum locks locks = MUTEX; locks <= COND; locks++) {
        pid_t child[MOST];
        anew(kinds[(locks + 1) % 2], "?deadlock=fail");
        run((struct seat){.of = 2, .locks = locks}, child);
        assert_true(member_wait(&board->told, 1));
        atomic_store(&board->go, 1);
        end(child, 2, 0);
        assert_int_equal(board->told, 1);
    }
}

static void one_of_a_ring_is_told(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        for (int of = 2; of <= MOST; of++) {
            pid_t child[MOST];
            anew(kinds[k], "?deadlock=fail");
            run((struct seat){.of = of}, child);
            assert_true(member_wait(&board->told, 1));
            assert_true(member_wait(&board->answered, (uint32_t)of - 1));
            atomic_store(&board->go, 1);
            end(child, of, 0);
            assert_int_equal(board->told, 1);
        }
    }
}

/* A thread that could answer: no circle, and nobody is told. */
static void a_ring_with_help_is_none(void **state) {
    (void)state;
    pid_t child[MOST];
    anew("shm", "?deadlock=fail");
    run((struct seat){.of = 3, .helped = true}, child);
    assert_true(member_wait(&board->answered, 3));
    atomic_store(&board->go, 1);
    end(child, 3, 0);
    assert_int_equal(board->told, 0);
}

/* ---- pairs ---- */

static int listen_only(void *argument) {
    char where[200], byte;
    size_t size;
    thirl *pair;
    (void)argument;
    address(where, 9);
    CHECK(thirl_open(&pair, THIRL_PAIR, where, NULL) == 0);
    CHECK(thirl_send(pair, "x", 1, thirl_in_ms(20000)) == 0 &&
          thirl_recv(pair, &byte, 1, &size, thirl_in_ms(20000)) == 0);
    int rc = thirl_recv(pair, &byte, 1, &size, THIRL_NEVER);
    if (rc == -EDEADLK) {
        CHECK(strstr(thirl_why(), "waits for a message from") != NULL);
        (void)atomic_add(&board->told, 1u);
        CHECK(thirl_send(pair, "x", 1, THIRL_NEVER) == 0);
        rc = 0;
    }
    CHECK(rc == 0);
    CHECK(thirl_close(&pair, thirl_in_ms(9000)) == 0);
    return 0;
}

static void two_that_listen_only(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        bool told = k >= 2;
        anew(kinds[k % 2], told ? "?deadlock=fail" : "");
        pid_t child[2] = {room_fork(listen_only, NULL), room_fork(listen_only, NULL)};
        assert_true(told || finds(2, "message", 100));
        assert_true(!told || member_wait(&board->told, 1));
        end(child, 2, told ? 0 : SIGKILL);
        assert_int_equal(board->told, told);
    }
}

/* Two that play ball, and sleep each time: whoever looks never sees them stuck, and they are never told. */
static int play(void *first) {
    char where[200], ball = 'b';
    size_t size;
    thirl *pair;
    address(where, 9);
    CHECK(thirl_open(&pair, THIRL_PAIR, where, NULL) == 0);
    while (atomic_load(&board->go) == 0) {
        CHECK(first == NULL || thirl_send(pair, &ball, 1, thirl_in_ms(20000)) == 0);
        int rc = thirl_recv(pair, &ball, 1, &size, thirl_in_ms(20000));
        CHECK(rc == 0 || (atomic_load(&board->go) != 0 && (rc == -THIRL_ECLOSED || rc == THIRL_END)));
        CHECK(rc != 0 || first != NULL || thirl_send(pair, &ball, 1, thirl_in_ms(20000)) == 0);
        (void)atomic_add(&board->answered, 1u);
    }
    (void)thirl_close(&pair, THIRL_NOW);
    return 0;
}

static void players_are_not_stuck(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        anew(kinds[k], "?deadlock=fail&wait=sleep");
        pid_t child[2] = {room_fork(play, board), room_fork(play, NULL)};
        assert_true(member_wait(&board->answered, 10));
        assert_false(finds(2, "message", 20));
        atomic_store(&board->go, 1);
        end(child, 2, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_of_callers_is_found), cmocka_unit_test(a_ring_through_a_lock_is_found),
        cmocka_unit_test(one_of_a_ring_is_told),      cmocka_unit_test(one_of_a_ring_through_a_lock_is_told),
        cmocka_unit_test(a_ring_with_help_is_none),   cmocka_unit_test(two_that_listen_only),
        cmocka_unit_test(players_are_not_stuck),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
