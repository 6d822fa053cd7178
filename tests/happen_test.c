/* SPDX-License-Identifier: MIT
 *
 * Events and what is done once (include/thirl/lock.h): what each call answers, between threads and between processes.
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
#include "include/thirl/lock.h"
#include "sync/order.h"
#include "sync/token.h"
#include "tests/member.h"
#include "tests/room.h"

static struct board {
    thirl_event event, back;
    thirl_once once;
    uint64_t passed, done;
    uint32_t ready, go;
} * board;

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(uint32_t flags) {
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_event_init(&board->event, flags), 0);
    assert_int_equal(thirl_event_init(&board->back, flags), 0);
}

/* ---- events ---- */

static void events_of_one_thread(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= THIRL_LOCK_AUTOMATIC; flags += THIRL_LOCK_AUTOMATIC) {
        anew(flags);
        int again = flags == 0 ? 0 : -EAGAIN;
        assert_int_equal(thirl_event_wait(&board->event, THIRL_NOW), -EAGAIN);
        int64_t began = clock_now();
        assert_int_equal(thirl_event_wait(&board->event, thirl_in_ms(70)), -ETIMEDOUT);
        assert_true(clock_now() - began >= 70 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
        assert_int_equal(party_me()->slip->wait.kind, 0);
        assert_int_equal(thirl_event_set(&board->event), 0);
        assert_int_equal(thirl_event_set(&board->event), 0);
        assert_int_equal(thirl_event_wait(&board->event, THIRL_NEVER), 0);
        assert_int_equal(thirl_event_wait(&board->event, THIRL_NOW), again);
        assert_int_equal(thirl_event_set(&board->event), 0);
        assert_int_equal(thirl_event_reset(&board->event), 0);
        assert_int_equal(thirl_event_reset(&board->event), 0);
        assert_int_equal(thirl_event_wait(&board->event, THIRL_NOW), -EAGAIN);
        assert_int_equal(thirl_event_deinit(&board->event), 0);
        assert_int_equal(thirl_event_wait(&board->event, THIRL_NOW), -EINVAL);
        assert_int_equal(thirl_event_set(&board->event), -EINVAL);
        assert_int_equal(thirl_event_reset(&board->event), -EINVAL);
        assert_int_equal(thirl_event_deinit(&board->event), -EINVAL);
    }
    assert_int_equal(thirl_event_init(&board->event, 1), -EINVAL);
    assert_int_equal(thirl_event_init(NULL, 0), -EINVAL);
    assert_int_equal(thirl_event_wait(NULL, THIRL_NOW), -EINVAL);
    assert_int_equal(thirl_event_set(NULL), -EINVAL);
}

static int pass(void *argument) {
    (void)argument;
    (void)atomic_add(&board->ready, 1u);
    CHECK(thirl_event_wait(&board->event, thirl_in_ms(9000)) == 0);
    (void)atomic_add(&board->passed, UINT64_C(1));
    return 0;
}

/* Who waits for a lock, on this whole machine. */
static unsigned waiters(enum slip_kind kind) {
    struct knot graph = {.all = false};
    unsigned found = 0;
    assert_int_equal(order_look(&graph), 0);
    for (unsigned i = 0; i < graph.count; i++)
        found += graph.process[graph.thread[i].process].alive && graph.thread[i].slip.wait.kind == kind;
    knot_free(&graph);
    return found;
}

static void await_waiters(enum slip_kind kind, unsigned count) {
    for (int64_t until = clock_now() + 9 * CLOCK_S; waiters(kind) != count;) {
        assert_true(clock_now() < until);
        room_sleep(CLOCK_MS);
    }
    room_sleep(5 * CLOCK_MS); /* from the slip to the futex */
}

/* All who wait pass, also when it is reset at once; of an automatic one exactly as many as it is set. */
static void events_between_processes(void **state) {
    (void)state;
    pid_t child[3];
    anew(0);
    for (int c = 0; c < 3; c++) child[c] = room_fork(pass, NULL);
    await_waiters(SLIP_EVENT, 3);
    assert_int_equal(thirl_event_set(&board->event), 0);
    assert_int_equal(thirl_event_reset(&board->event), 0);
    for (int c = 0; c < 3; c++) assert_int_equal(room_reap(child[c]), 0);
    assert_int_equal(thirl_event_wait(&board->event, THIRL_NOW), -EAGAIN);
    anew(THIRL_LOCK_AUTOMATIC);
    for (int c = 0; c < 3; c++) child[c] = room_fork(pass, NULL);
    await_waiters(SLIP_EVENT, 3);
    for (uint64_t n = 1; n <= 3; n++) {
        assert_int_equal(thirl_event_set(&board->event), 0);
        for (int64_t until = clock_now() + 9 * CLOCK_S; atomic_load(&board->passed) != n;) {
            assert_true(clock_now() < until);
            room_sleep(CLOCK_MS / 5);
        }
        room_sleep(20 * CLOCK_MS);
        assert_int_equal(atomic_load(&board->passed), n);
    }
    for (int c = 0; c < 3; c++) assert_int_equal(room_reap(child[c]), 0);
    assert_int_equal(thirl_event_wait(&board->event, THIRL_NOW), -EAGAIN);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 1000
#else
#define ROUNDS 5000
#endif

static uint64_t plain; /* only the events keep the threads apart: for ThreadSanitizer */

static void *answer(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        if (thirl_event_wait(&board->event, THIRL_NEVER) != 0) abort();
        if (argument != NULL && thirl_event_reset(&board->event) != 0) abort();
        plain++;
        if (thirl_event_set(&board->back) != 0) abort();
    }
    return NULL;
}

static void threads_take_turns(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= THIRL_LOCK_AUTOMATIC; flags += THIRL_LOCK_AUTOMATIC) {
        pthread_t thread;
        anew(flags);
        plain = 0;
        assert_int_equal(pthread_create(&thread, NULL, answer, flags == 0 ? board : NULL), 0);
        for (int i = 0; i < ROUNDS; i++) {
            plain++;
            assert_int_equal(thirl_event_set(&board->event), 0);
            assert_int_equal(thirl_event_wait(&board->back, THIRL_NEVER), 0);
            if (flags == 0) assert_int_equal(thirl_event_reset(&board->back), 0);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(plain, 2 * ROUNDS);
    }
}

#define KILLS 60

static int pass_for_ever(void *argument) {
    (void)argument;
    for (;;) {
        CHECK(thirl_event_wait(&board->event, thirl_in_ms(20000)) == 0);
        (void)atomic_add(&board->passed, UINT64_C(1));
    }
}

/* Of two that wait for an automatic event one is killed at random: somebody passes each time that it is set, but for what a dead one had
 * passed and not noted down yet. */
static void random_kills_of_waiters(void **state) {
    (void)state;
    pid_t child[2];
    anew(THIRL_LOCK_AUTOMATIC);
    for (int c = 0; c < 2; c++) child[c] = room_fork(pass_for_ever, NULL);
    await_waiters(SLIP_EVENT, 2);
    for (int k = 0; k < KILLS; k++) {
        int c = (int)room_dice(2);
        assert_int_equal(thirl_event_set(&board->event), 0);
        for (uint64_t spin = room_dice(20000); spin > 0; spin--) atomic_pause();
        kill(child[c], SIGKILL);
        assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
        for (int64_t until = clock_now() + 9 * CLOCK_S; token_count(atomic_load(board->event.thirl_own)) != 0;) {
            assert_true(clock_now() < until);
            room_sleep(CLOCK_MS / 5);
        }
        child[c] = room_fork(pass_for_ever, NULL);
    }
    await_waiters(SLIP_EVENT, 2); /* what was passed is noted down */
    for (int c = 0; c < 2; c++) {
        kill(child[c], SIGKILL);
        assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
    }
    assert_true(board->passed <= KILLS && board->passed >= KILLS / 4);
}

/* ---- once ---- */

static void once_of_one_thread(void **state) {
    (void)state;
    memset(board, 0, sizeof *board);
    assert_int_equal(thirl_once_end(&board->once, 1), -EPERM);
    assert_int_equal(thirl_once_begin(&board->once, THIRL_NOW), THIRL_ONCE_YOURS);
    assert_int_equal(thirl_once_begin(&board->once, THIRL_NOW), -EDEADLK);
    assert_int_equal(party_me()->slip->held, 1);
    assert_int_equal(thirl_once_end(&board->once, 0), 0); /* it could not be done */
    assert_int_equal(thirl_once_begin(&board->once, THIRL_NEVER), THIRL_ONCE_YOURS);
    assert_int_equal(thirl_once_end(&board->once, 1), 0);
    assert_int_equal(thirl_once_begin(&board->once, THIRL_NOW), 0);
    assert_int_equal(thirl_once_end(&board->once, 1), -EPERM);
    assert_int_equal(party_me()->slip->held, 0);
    assert_int_equal(thirl_once_begin(NULL, THIRL_NOW), -EINVAL);
    assert_int_equal(thirl_once_end(NULL, 1), -EPERM);
    assert_int_equal(thirl_mutex_init((thirl_mutex *)(void *)&board->event, 0), 0);
    assert_int_equal(thirl_once_begin((thirl_once *)(void *)&board->event, THIRL_NOW), -EINVAL);
}

static int do_it(void *argument) {
    bool slowly = argument != NULL;
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->go, 1));
    int rc = thirl_once_begin(&board->once, thirl_in_ms(9000));
    CHECK(rc == 0 || rc == THIRL_ONCE_YOURS);
    if (rc != 0) {
        CHECK(board->done == 0);
        if (slowly) room_sleep(20 * CLOCK_MS);
        atomic_poke(&board->done, UINT64_C(1));
        CHECK(thirl_once_end(&board->once, 1) == 0);
    }
    CHECK(board->done == 1);
    return 0;
}

static void processes_do_it_once(void **state) {
    (void)state;
    for (int i = 0; i < 10; i++) {
        pid_t child[4];
        memset(board, 0, sizeof *board);
        for (int c = 0; c < 4; c++) child[c] = room_fork(do_it, i % 2 == 0 ? board : NULL);
        assert_true(member_wait(&board->ready, 4));
        atomic_store(&board->go, 1);
        for (int c = 0; c < 4; c++) assert_int_equal(room_reap(child[c]), 0);
        assert_int_equal(thirl_once_begin(&board->once, THIRL_NOW), 0);
    }
}

static void *do_it_in_a_thread(void *argument) {
    int rc = thirl_once_begin(argument, THIRL_NEVER);
    if (rc == THIRL_ONCE_YOURS) {
        plain++;
        if (thirl_once_end(argument, 1) != 0) abort();
    } else if (rc != 0 || plain != 1) {
        abort();
    }
    return NULL;
}

static void threads_do_it_once(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        pthread_t thread[4];
        memset(board, 0, sizeof *board);
        plain = 0;
        for (int t = 0; t < 4; t++)
            assert_int_equal(pthread_create(&thread[t], NULL, do_it_in_a_thread, &board->once), 0);
        for (int t = 0; t < 4; t++) assert_int_equal(pthread_join(thread[t], NULL), 0);
        assert_int_equal(plain, 1);
    }
}

static int begin_and_stay(void *argument) {
    (void)argument;
    CHECK(thirl_once_begin(&board->once, THIRL_NOW) > 0);
    atomic_store(&board->ready, 1);
    CHECK(member_wait(&board->go, 1));
    return 0;
}

/* Who does it dies: the next one is told, and does it again; also one who was told dies, and the next is told. Stopped is not dead. */
static void the_next_is_told(void **state) {
    (void)state;
    memset(board, 0, sizeof *board);
    for (int deaths = 0; deaths < 2; deaths++) {
        atomic_store(&board->ready, 0);
        pid_t child = room_fork(begin_and_stay, NULL);
        assert_true(member_wait(&board->ready, 1));
        assert_int_equal(thirl_once_begin(&board->once, THIRL_NOW), -EAGAIN);
        kill(child, SIGSTOP);
        assert_int_equal(thirl_once_begin(&board->once, thirl_in_ms(120)), -ETIMEDOUT);
        kill(child, SIGKILL);
        assert_int_equal(room_reap(child), 128 + SIGKILL);
    }
    int64_t began = clock_now();
    assert_int_equal(thirl_once_begin(&board->once, thirl_in_ms(9000)), THIRL_OWNER_DIED);
    assert_true(clock_now() - began < CLOCK_S);
    assert_int_equal(thirl_once_end(&board->once, 0), 0);
    assert_int_equal(thirl_once_begin(&board->once, THIRL_NOW),
                     THIRL_OWNER_DIED); /* nobody has said that all is well */
    assert_int_equal(thirl_once_end(&board->once, 1), 0);
    assert_int_equal(thirl_once_begin(&board->once, THIRL_NOW), 0);
    assert_int_equal(party_me()->slip->held, 0);
}

/* Who does it is killed at random, until somebody is done: each is told that begins behind a dead one, and nobody waits for ever. */
static int take_long(void *argument) {
    (void)argument;
    for (;;) {
        int rc = thirl_once_begin(&board->once, thirl_in_ms(20000));
        CHECK(rc == THIRL_OWNER_DIED || (rc == THIRL_ONCE_YOURS && atomic_load(&board->done) == 0));
        atomic_store(&board->done, UINT64_C(1));
        (void)atomic_add(&board->ready, 1u);
        CHECK(member_wait(&board->go, 1));
    }
}

static void random_kills_of_who_does_it(void **state) {
    (void)state;
    pid_t child[3];
    memset(board, 0, sizeof *board);
    for (int c = 0; c < 3; c++) child[c] = room_fork(take_long, NULL);
    assert_true(member_wait(&board->ready, 1));
    for (int k = 0; k < 40; k++) {
        int c = (int)room_dice(3);
        room_sleep((int64_t)room_dice(2000) * CLOCK_US);
        kill(child[c], SIGKILL);
        assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
        child[c] = room_fork(take_long, NULL);
    }
    for (int c = 0; c < 3; c++) {
        kill(child[c], SIGKILL);
        assert_int_equal(room_reap(child[c]), 128 + SIGKILL);
    }
    assert_int_equal(thirl_once_begin(&board->once, thirl_in_ms(9000)), THIRL_OWNER_DIED);
    assert_int_equal(thirl_once_end(&board->once, 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_one_thread),        cmocka_unit_test(events_between_processes),
        cmocka_unit_test(threads_take_turns),          cmocka_unit_test(random_kills_of_waiters),
        cmocka_unit_test(once_of_one_thread),          cmocka_unit_test(processes_do_it_once),
        cmocka_unit_test(threads_do_it_once),          cmocka_unit_test(the_next_is_told),
        cmocka_unit_test(random_kills_of_who_does_it),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
