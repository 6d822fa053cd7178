/* SPDX-License-Identifier: MIT
 *
 * Ringing and sleeping: no ring is lost, whoever pays for the order; none comes early; a descriptor gets its byte.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/futex.h"
#include "mem/bell.h"
#include "tests/room.h"

#if defined(__SANITIZE_THREAD__)
#define BURSTS 300
#else
#define BURSTS 3000
#endif

/* Two ways, so that two can hand over to each other; position is the data. */
struct way {
    LINE_ALIGNED uint64_t position;
    LINE_ALIGNED struct bell_sleeper sleeper;
    LINE_ALIGNED struct bell_rope rope;
};

static struct way *way;
static uint64_t wakes;
static bool heavy;

static int begin(void **state) {
    (void)state;
    heavy = futex_fence_join();
    way = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return way == MAP_FAILED ? -1 : 0;
}

static int clear(void **state) {
    (void)state;
    memset(way, 0, 2 * sizeof *way);
    wakes = 0;
    return 0;
}

static void commit(struct way *to, struct bell *bell, uint64_t position) {
    atomic_poke(&to->position, position);
    if (bell_tell(bell) != 0) {
        (void)bell_ring(bell, position);
    }
}

/* Sleeps until the position is reached, as the rooms above do it; false when that takes so long that a ring was lost. */
static bool await(struct way *from, uint64_t want, bool with) {
    while (atomic_peek(&from->position) < want) {
        uint32_t seen = bell_arm(&from->sleeper, &from->rope, want, with);
        int rc = 0;
        if (atomic_peek(&from->position) < want) {
            rc = futex_wait(&from->rope.count, seen, clock_now() + 5 * CLOCK_S);
        }
        bell_disarm(&from->sleeper);
        if (rc == -ETIMEDOUT) {
            return false;
        }
    }
    return true;
}

/* ---- handing over, with bursts long enough for the ringer to become calm ---- */

static uint64_t burst(uint64_t turn) {
    return turn % 7 == 0 ? 100 : 1;
}

static int answer(void *with) {
    struct bell bell;
    uint64_t want = 0, said = 0;
    bell_begin(&bell, &way[1].rope, &way[1].sleeper, with != NULL, &wakes);
    for (uint64_t turn = 0; turn < BURSTS; turn++) {
        want += burst(turn);
        if (!await(&way[0], want, with != NULL)) return 1;
        for (uint64_t i = turn % 3 ? room_dice(200) : 0; i > 0; i--) atomic_pause();
        commit(&way[1], &bell, ++said);
    }
    return 0;
}

static void *answer_in_thread(void *with) {
    return answer(with) == 0 ? NULL : way;
}

static void hand_over(bool with) {
    struct bell bell;
    uint64_t said = 0;
    bell_begin(&bell, &way[0].rope, &way[0].sleeper, with, &wakes);
    for (uint64_t turn = 0; turn < BURSTS; turn++) {
        for (uint64_t i = burst(turn); i > 0; i--) commit(&way[0], &bell, ++said);
        for (uint64_t i = turn % 2 ? room_dice(200) : 0; i > 0; i--) atomic_pause();
        assert_true(await(&way[1], turn + 1, with));
    }
}

static void assert_nobody_sleeps(void) {
    assert_int_equal(way[0].sleeper.attention, 0);
    assert_int_equal(way[1].sleeper.attention, 0);
}

static void loses_no_ring(void **state) {
    (void)state;
    for (int with = 0; with <= (heavy ? 1 : 0); with++) {
        (void)clear(NULL);
        pid_t child = room_fork(answer, with ? way : NULL);
        hand_over(with);
        assert_int_equal(room_reap(child), 0);
        assert_nobody_sleeps();
    }
}

static void loses_no_ring_between_threads(void **state) {
    pthread_t thread;
    void *failed;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, answer_in_thread, heavy ? way : NULL), 0);
    hand_over(heavy);
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    assert_nobody_sleeps();
}

/* ---- what rings, and what does not ---- */

static void notes_the_time_of_one_ring_in_eight(void **state) {
    struct bell bell;
    int timed = 0;
    (void)state;
    bell_begin(&bell, &way->rope, &way->sleeper, heavy, &wakes);
    for (int i = 0; i < 2 * BELL_TIMED; i++) {
        int64_t before = clock_now();
        (void)bell_arm(&way->sleeper, &way->rope, 0, heavy);
        assert_false(bell_ring(&bell, 1));
        bool noted = way->rope.at >= before && way->rope.at <= clock_now();
        assert_int_equal(noted, bell_timed(&way->sleeper));
        timed += noted;
        bell_disarm(&way->sleeper);
    }
    assert_int_equal(timed, 2);
    bell_end(&bell);
}

static void rings_only_for_sleepers(void **state) {
    struct bell bell;
    (void)state;
    bell_begin(&bell, &way->rope, &way->sleeper, heavy, &wakes);
    assert_int_equal(bell_tell(&bell), 0);
    assert_int_equal(bell_arm(&way->sleeper, &way->rope, 0, heavy), 0);
    assert_int_equal(bell_tell(&bell), 1);
    assert_false(bell_ring(&bell, 1));
    assert_int_equal(way->rope.count, 1);
    assert_int_equal(wakes, 1);
    assert_false(bell_timed(&way->sleeper));
    assert_int_equal(way->rope.at, 0);
    (void)bell_arm(&way->sleeper, &way->rope, 0, heavy);
    assert_int_equal(bell_tell(&bell), 2);
    bell_disarm(&way->sleeper);
    bell_disarm(&way->sleeper);
    assert_int_equal(bell_tell(&bell), 0);
    bell_gone(&way->sleeper);
    assert_int_equal(bell_tell(&bell), BELL_GONE);
    assert_false(bell_ring(&bell, 1));
    assert_int_equal(wakes, 1);
    bell_end(&bell);
    bell_end(&bell);
}

static void holds_back_until_wanted(void **state) {
    struct bell bell;
    (void)state;
    bell_begin(&bell, &way->rope, &way->sleeper, heavy, &wakes);
    uint32_t seen = bell_arm(&way->sleeper, &way->rope, UINT64_C(1) << 40, heavy);
    assert_int_equal(bell_tell(&bell), 1);
    assert_false(bell_ring(&bell, 0));
    assert_false(bell_ring(&bell, (UINT64_C(1) << 40) - 1));
    assert_int_equal(way->rope.count, seen);
    assert_int_equal(wakes, 0);
    assert_false(bell_ring(&bell, UINT64_C(1) << 40));
    assert_int_equal(way->rope.count, seen + 1);
    assert_false(bell_ring(&bell, UINT64_MAX)); /* it is on its way: once is enough */
    assert_int_equal(wakes, 1);
    bell_disarm(&way->sleeper);
    bell_end(&bell);
}

/* Each who sleeps is rung for once, however they come, give up and come again. */
static void rings_once_for_each(void **state) {
    struct bell bell;
    unsigned sleepers = 0, due = 0;
    uint64_t rung = 0;
    (void)state;
    (void)bell_arm(&way->sleeper, &way->rope, 0, heavy);
    bell_begin(&bell, &way->rope, &way->sleeper, heavy, &wakes);
    assert_false(bell_ring(&bell, 1)); /* for one who slept before there was a bell */
    assert_int_equal(wakes, ++rung);
    bell_disarm(&way->sleeper);
    for (int step = 0; step < 100000; step++) {
        uint64_t what = room_dice(10);
        if (what < 3 && sleepers < 5) {
            (void)bell_arm(&way->sleeper, &way->rope, 0, heavy);
            sleepers++;
            due++;
        } else if (what < 6 && sleepers > 0) {
            bell_disarm(&way->sleeper);
            sleepers--;
            due = due < sleepers ? due : sleepers; /* one that was rung for may have got up, or one that was not */
        } else {
            bool rings = bell_tell(&bell) != 0;
            if (rings) assert_false(bell_ring(&bell, 1));
            if (wakes != rung + (due > 0)) assert_int_equal(wakes, rung + (due > 0));
            rung = wakes;
            due -= due > 0;
        }
    }
    while (sleepers-- > 0) bell_disarm(&way->sleeper);
    bell_end(&bell);
}

/* A ringer that keeps finding nobody stops to fence; one that finds a sleeper begins again. */
static void gives_the_fence_back(void **state) {
    struct bell bell;
    (void)state;
    for (int with = 0; with <= (heavy ? 1 : 0); with++) {
        bell_begin(&bell, &way->rope, &way->sleeper, with, &wakes);
        for (int round = 0; round < 3; round++) {
            assert_int_equal(way->rope.fenced, 1);
            assert_true(bell.fenced);
            for (int i = 0; i < 1000; i++) assert_int_equal(bell_tell(&bell), 0);
            assert_int_equal(way->rope.fenced, !with);
            assert_int_equal(bell.fenced, !with);
            (void)bell_arm(&way->sleeper, &way->rope, 0, with);
            assert_int_equal(bell_tell(&bell), 1);
            assert_false(bell_ring(&bell, 1));
            bell_disarm(&way->sleeper);
        }
        bell_end(&bell);
    }
}

/* ---- descriptors ---- */

static int bytes_in(int fd) {
    char bytes[64];
    ssize_t n = read(fd, bytes, sizeof bytes);
    return n < 0 ? 0 : (int)n;
}

static void writes_a_byte_for_each_round(void **state) {
    struct bell bell;
    int fifo[2];
    (void)state;
    assert_int_equal(pipe2(fifo, O_NONBLOCK | O_CLOEXEC), 0);
    bell_begin(&bell, &way->rope, &way->sleeper, heavy, &wakes);
    bell_poll(&way->sleeper, &way->rope, heavy);
    assert_int_equal(bell_tell(&bell), BELL_POLLED);
    assert_true(bell_ring(&bell, 1)); /* the descriptor is not open */
    assert_true(bell_ring(&bell, 1));
    bell.fifo = dup(fifo[1]);
    for (int round = 0; round < 40000; round++) { /* more than the counter of rounds holds */
        for (int i = 0; i < 3; i++) {
            assert_int_equal(bell_tell(&bell), BELL_POLLED);
            assert_false(bell_ring(&bell, 1));
        }
        if (bytes_in(fifo[0]) != 1) assert_int_equal(round, -1);
        bell_poll(&way->sleeper, &way->rope, heavy);
    }
    assert_int_equal(bytes_in(fifo[0]), 0);
    assert_int_equal(wakes, 0);
    bell_end(&bell);
    close(fifo[0]);
    close(fifo[1]);
}

/* However often the descriptor was asked for while nothing came, the next that comes gets its byte; from a new ringer too. */
static void forgets_no_round(void **state) {
    struct bell bell;
    int fifo[2];
    (void)state;
    assert_int_equal(pipe2(fifo, O_NONBLOCK | O_CLOEXEC), 0);
    uint32_t asked[] = {1, 2, 1000, 16382, 16383, 16384, 16385, 32768, 65536};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        for (int fresh = 0; fresh < 2; fresh++) {
            bell_begin(&bell, &way->rope, &way->sleeper, heavy, &wakes);
            bell.fifo = dup(fifo[1]);
            for (int turn = 0; turn < 2; turn++) {
                for (uint32_t n = 0; n < asked[i]; n++) bell_poll(&way->sleeper, &way->rope, false);
                assert_false(bell_ring(&bell, 1));
                assert_int_equal(bytes_in(fifo[0]), 1);
            }
            bell_end(&bell);
        }
    }
    /* As many rounds as the counter has values, each answered by a ringer that then ends. */
    for (int i = 0; i < 20000; i++) {
        bell_begin(&bell, &way->rope, &way->sleeper, heavy, &wakes);
        bell.fifo = fifo[1];
        bell_poll(&way->sleeper, &way->rope, false);
        assert_false(bell_ring(&bell, 1));
        if (bytes_in(fifo[0]) != 1) assert_int_equal(i, -1);
    }
    close(fifo[0]);
    close(fifo[1]);
}

static void is_not_blocked_by_a_full_descriptor(void **state) {
    struct bell bell;
    int fifo[2];
    (void)state;
    char bytes[4096] = "";
    assert_int_equal(pipe2(fifo, O_NONBLOCK | O_CLOEXEC), 0);
    while (write(fifo[1], bytes, sizeof bytes) > 0) continue;
    while (write(fifo[1], bytes, 1) > 0) continue;
    bell_begin(&bell, &way->rope, &way->sleeper, heavy, &wakes);
    bell.fifo = dup(fifo[1]);
    bell_poll(&way->sleeper, &way->rope, heavy);
    assert_false(bell_ring(&bell, 1));
    bell_end(&bell);
    close(fifo[0]);
    close(fifo[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(notes_the_time_of_one_ring_in_eight, clear),
        cmocka_unit_test_setup(rings_only_for_sleepers, clear),
        cmocka_unit_test_setup(holds_back_until_wanted, clear),
        cmocka_unit_test_setup(rings_once_for_each, clear),
        cmocka_unit_test_setup(gives_the_fence_back, clear),
        cmocka_unit_test_setup(writes_a_byte_for_each_round, clear),
        cmocka_unit_test_setup(forgets_no_round, clear),
        cmocka_unit_test_setup(is_not_blocked_by_a_full_descriptor, clear),
        cmocka_unit_test_setup(loses_no_ring, clear),
        cmocka_unit_test_setup(loses_no_ring_between_threads, clear),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
