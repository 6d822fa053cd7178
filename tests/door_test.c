/* SPDX-License-Identifier: MIT
 *
 * A door: who knocked is heard, once each; whoever sleeps behind it is woken; garbage in its file harms nobody.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/futex.h"
#include "mem/door.h"
#include "tests/room.h"

#define KNOCKERS 3
#if defined(__SANITIZE_THREAD__)
#define KNOCKS 3000
#else
#define KNOCKS 30000
#endif

static uint32_t asleep;

static struct door make(const char *file) {
    struct door door;
    assert_int_equal(door_make(&door, room_dir, file, 0600, "test"), 0);
    door.asleep = &asleep;
    asleep = 0;
    return door;
}

static void hears_each_once(void **state) {
    (void)state;
    struct door door = make("a"), theirs;
    uint32_t seat;
    assert_int_equal(door_open(&theirs, room_dir, "a", "test"), 0);
    theirs.asleep = &asleep;
    assert_false(door_heard(&door));
    assert_false(door_answer(&door, &seat));
    const uint32_t seats[] = {4095, 0, 63, 64, 700};
    for (size_t i = 0; i < 5; i++) {
        assert_false(door_knock(&theirs, seats[i])); /* nobody sleeps */
        assert_false(door_knock(&theirs, seats[i] + DOOR_SEATS));
    }
    assert_true(door_heard(&door));
    bool came[5] = {false};
    for (int n = 0; n < 5; n++) {
        assert_true(door_answer(&door, &seat));
        for (size_t i = 0; i < 5; i++) {
            if (seats[i] == seat) {
                assert_false(came[i]);
                came[i] = true;
                seat = UINT32_MAX;
            }
        }
        assert_int_equal(seat, UINT32_MAX);
    }
    assert_false(door_answer(&door, &seat));
    assert_false(door_heard(&door));
    uint32_t seen = door_arm(&door, &asleep);
    assert_true(door_knock(&theirs, 9));
    assert_int_equal(futex_wait(&door.page->count, seen, clock_now() + CLOCK_S), -EAGAIN);
    door_disarm(&asleep);
    assert_int_equal(asleep, 0);
    door_close(&theirs);
    door_close(&door);
    assert_int_equal(unlinkat(room_dir, "a", 0), 0);
}

static void garbage_is_no_more_than_work(void **state) {
    (void)state;
    struct door door = make("b");
    memset(door.page, 0xff, sizeof *door.page);
    uint32_t seat, answers = 0;
    while (door_answer(&door, &seat)) {
        assert_true(seat < DOOR_SEATS);
        answers++;
    }
    assert_int_equal(answers, DOOR_SEATS);
    door.page->groups = UINT64_MAX; /* and nobody there */
    assert_false(door_answer(&door, &seat));
    door_close(&door);
    struct door other;
    int fd = openat(room_dir, "b", O_RDWR);
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(door_open(&other, room_dir, "b", "test"), -THIRL_EFORMAT);
    assert_int_equal(ftruncate(fd, 100000), 0);
    assert_int_equal(door_open(&other, room_dir, "b", "test"), -THIRL_EFORMAT);
    close(fd);
    assert_int_equal(unlinkat(room_dir, "b", 0), 0);
    assert_int_equal(door_open(&other, room_dir, "b", "test"), -ENOENT);
    assert_int_equal(mkfifoat(room_dir, "b", 0600), 0);
    assert_int_equal(door_open(&other, room_dir, "b", "test"), -THIRL_EFORMAT);
    assert_int_equal(unlinkat(room_dir, "b", 0), 0);
}

static struct hall {
    struct door door;
    uint32_t said[KNOCKERS]; /* each its own, before it knocks */
} hall;

static void *knock_often(void *argument) {
    uint32_t who = (uint32_t)(uintptr_t)argument;
    for (uint32_t i = 1; i <= KNOCKS; i++) {
        atomic_store(&hall.said[who], i);
        (void)door_knock(&hall.door, who * 70);
        if (i % 64 == 0) {
            room_sleep(20 * CLOCK_US); /* so that the owner sleeps now and then */
        }
    }
    return NULL;
}

static void no_knock_is_missed(void **state) {
    (void)state;
    pthread_t thread[KNOCKERS];
    uint32_t heard[KNOCKERS] = {0}, late = 0, seat;
    hall.door = make("c");
    for (uintptr_t i = 0; i < KNOCKERS; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, knock_often, (void *)i), 0);
    }
    while (heard[0] < KNOCKS || heard[1] < KNOCKS || heard[2] < KNOCKS) {
        while (door_answer(&hall.door, &seat)) {
            assert_true(seat % 70 == 0 && seat / 70 < KNOCKERS);
            heard[seat / 70] = atomic_load(&hall.said[seat / 70]); /* pairs with the store in knock_often */
        }
        uint32_t seen = door_arm(&hall.door, &asleep);
        if (!door_heard(&hall.door) && (heard[0] < KNOCKS || heard[1] < KNOCKS || heard[2] < KNOCKS)) {
            int rc = futex_wait(&hall.door.page->count, seen, clock_now() + 2 * CLOCK_S);
            late += rc == -ETIMEDOUT;
        }
        door_disarm(&asleep);
    }
    for (int i = 0; i < KNOCKERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    assert_int_equal(late, 0);
    door_close(&hall.door);
    assert_int_equal(unlinkat(room_dir, "c", 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hears_each_once),
        cmocka_unit_test(garbage_is_no_more_than_work),
        cmocka_unit_test(no_knock_is_missed),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
