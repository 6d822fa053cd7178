/* SPDX-License-Identifier: MIT
 *
 * Shared state: what is read is always whole, whoever writes and wherever he is killed; readers never wait and write nothing.
 * A writer is killed at each instruction of a write, and at each named point; a reader is held at each instruction while
 * others write. A part of them where a sanitizer makes it long.
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/weave.h"
#include "include/thirl/state.h"
#include "mem/cell.h"
#include "tests/point.h"
#include "tests/room.h"
#include "tests/step.h"

#define WORDS 40

static struct board {
    uint32_t ready, go, torn, reads, writes;
    int64_t at;
} * board;

/* A value all of whose words follow from the first. */
static size_t fill(uint64_t *value, uint64_t number) {
    size_t words = 1 + number % WORDS;
    for (size_t i = 0; i < words; i++) {
        value[i] = number * UINT64_C(0x9e3779b97f4a7c15) + i;
    }
    return words * sizeof *value;
}

/* The number of a whole value; 0: it is torn. */
static uint64_t number_of(const uint64_t *value, size_t size, uint64_t version) {
    uint64_t same[WORDS];
    return size == fill(same, version) && memcmp(value, same, size) == 0 ? version : 0;
}

static int set(thirl_state *s, uint64_t number) {
    uint64_t value[WORDS];
    size_t size = fill(value, number);
    return thirl_state_set(s, value, size, thirl_in_ms(20000));
}

static uint64_t get(thirl_state *s) {
    uint64_t value[WORDS], version = 0;
    size_t size = 0;
    int rc = thirl_state_get(s, value, sizeof value, &size, &version);
    assert_int_equal(rc, 0);
    uint64_t number = number_of(value, size, version);
    assert_int_not_equal(number, 0);
    return number;
}

static thirl_state *open_state(uint32_t access) {
    struct thirl_state_options o = {.size = sizeof o, .max = WORDS * sizeof(uint64_t), .access = access};
    thirl_state *s = NULL;
    int rc = thirl_state_open(&s, "plant/state", &o);
    if (rc != 0) {
        (void)fprintf(stderr, "%s\n", thirl_why());
    }
    return rc == 0 ? s : NULL;
}

static int clear(void **state) {
    (void)state;
    (void)!thirl_state_remove("plant/state");
    memset(board, 0, sizeof *board);
    return 0;
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void says_what_is_wrong(void **state) {
    (void)state;
    thirl_state *s = NULL;
    struct thirl_state_options o = {.size = sizeof o, .access = THIRL_ACCESS_READ};
    assert_int_equal(thirl_state_open(&s, "plant/state", &o), -ENOENT);
    assert_non_null(strstr(thirl_why(), "a writer makes it"));
    assert_int_equal(thirl_state_open(&s, "", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_state_open(&s, "tcp://x:1", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_state_open(&s, NULL, NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_state_remove("plant/state"), -ENOENT);
    s = open_state(THIRL_ACCESS_WRITE);
    assert_non_null(s);
    uint64_t value[WORDS + 1] = {0}, version = 7;
    size_t size = 0;
    assert_int_equal(thirl_state_max(s), WORDS * sizeof(uint64_t));
    assert_int_equal(thirl_state_get(s, value, sizeof value, &size, &version), -ENODATA);
    assert_int_equal(version, 0);
    assert_int_equal(thirl_state_wait(s, &version, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_state_set(s, value, sizeof value, THIRL_NOW), -EMSGSIZE);
    assert_int_equal(thirl_state_set(s, NULL, 8, THIRL_NOW), -EINVAL);
    assert_int_equal(set(s, 1), 0);
    assert_int_equal(set(s, 2), 0);
    assert_int_equal(thirl_state_get(s, value, 15, &size, NULL), -EMSGSIZE);
    assert_int_equal(size, 24);
    assert_int_equal(get(s), 2);
    thirl_state *reader = open_state(THIRL_ACCESS_READ), *larger = NULL;
    assert_int_equal(thirl_state_set(reader, value, 8, THIRL_NOW), -EACCES);
    assert_int_equal(get(reader), 2);
    o = (struct thirl_state_options){.size = sizeof o, .max = 4096};
    assert_int_equal(thirl_state_open(&larger, "shm://plant/state", &o), -EMSGSIZE);
    thirl_state_close(&reader);
    thirl_state_close(&s);
    thirl_state_close(&s);
    assert_int_equal(thirl_state_get(s, value, 8, &size, NULL), -EINVAL);
    s = open_state(THIRL_ACCESS_READ); /* its writer has gone, the value has not */
    assert_int_equal(get(s), 2);
    thirl_state_close(&s);
}

static int in_a_child(void *s) {
    uint64_t word = 0;
    size_t size;
    bool told =
        thirl_state_get(s, &word, 8, &size, NULL) == -THIRL_EFORKED && thirl_state_set(s, &word, 8, THIRL_NOW) < 0;
    thirl_state *inherited = s;
    thirl_state_close(&inherited);
    thirl_state *own = open_state(THIRL_ACCESS_WRITE);
    return !(told && own != NULL && set(own, 2) == 0);
}

/* Of each size, into a buffer of its size and into a large one; what stands around them stays. */
static void copies_values_of_every_size(void **state) {
    (void)state;
    enum { LARGEST = 40000, AROUND = 64 };
    static unsigned char value[LARGEST], buffer[LARGEST + 2 * AROUND];
    struct thirl_state_options o = {.size = sizeof o, .max = LARGEST};
    thirl_state *s = NULL;
    assert_int_equal(thirl_state_open(&s, "plant/state", &o), 0);
    for (size_t size = 1, step = 1; size <= LARGEST; size += step, step = size < 1100 ? 1 : 1777) {
        for (size_t i = 0; i < size; i++) value[i] = (unsigned char)(size * 31 + i * 7 + i / 256);
        assert_int_equal(thirl_state_set(s, value, size, THIRL_NOW), 0);
        for (int large = 0; large < 2; large++) {
            size_t got = 0;
            memset(buffer, 0xa5, size + 2 * (size_t)AROUND);
            assert_int_equal(thirl_state_get(s, buffer + AROUND, large ? LARGEST : size, &got, NULL), 0);
            assert_true(got == size && memcmp(buffer + AROUND, value, size) == 0);
            assert_true(buffer[AROUND - 1] == 0xa5 && buffer[AROUND + size] == 0xa5);
        }
        size_t needed = 0;
        memset(buffer, 0xa5, AROUND);
        assert_int_equal(thirl_state_get(s, buffer, size - 1, &needed, NULL), -EMSGSIZE);
        assert_true(needed == size && buffer[0] == 0xa5);
    }
    thirl_state_close(&s);
}

static void is_told_of_a_fork(void **state) {
    (void)state;
    thirl_state *s = open_state(THIRL_ACCESS_WRITE);
    assert_int_equal(set(s, 1), 0);
    assert_int_equal(room_run(in_a_child, s), 0);
    assert_int_equal(get(s), 2);
    thirl_state_close(&s);
}

/* ---- many at once ---- */

static int write_many(void *count) {
    thirl_state *s = open_state(THIRL_ACCESS_WRITE);
    (void)atomic_add(&board->ready, 1u);
    for (uint64_t i = 0; s != NULL && i < *(uint64_t *)count; i++) {
        uint64_t value[WORDS];
        /* Which number a value will get only its writer's turn says: so the version does not matter here. */
        size_t size = fill(value, i + 1);
        if (thirl_state_set(s, value, size, thirl_in_ms(20000)) != 0) {
            return 1;
        }
    }
    return s == NULL;
}

static void reads_whole_values(void **state) {
    (void)state;
    uint64_t count = 30000;
    pid_t child[2] = {room_fork(write_many, &count), room_fork(write_many, &count)};
    while (atomic_load(&board->ready) != 2) {
        room_sleep(CLOCK_MS);
    }
    thirl_state *s = open_state(THIRL_ACCESS_READ);
    uint64_t value[WORDS], same[WORDS], version = 0, before = 0;
    for (size_t size; before < 2 * count;) {
        int rc = thirl_state_get(s, value, sizeof value, &size, &version);
        if (rc == -ENODATA || rc == -EAGAIN) {
            continue;
        }
        assert_int_equal(rc, 0);
        assert_true(version >= before);
        uint64_t number = value[0] * UINT64_C(0xf1de83e19937733d); /* the inverse of the factor */
        assert_true(number >= 1 && number <= count);
        assert_int_equal(fill(same, number), size);
        assert_memory_equal(value, same, size);
        before = version;
    }
    assert_int_equal(version, 2 * count);
    assert_int_equal(room_reap(child[0]), 0);
    assert_int_equal(room_reap(child[1]), 0);
    thirl_state_close(&s);
}

static void *write_thread(void *s) {
    for (int i = 0; i < 3000; i++) {
        uint64_t value[WORDS];
        (void)!thirl_state_set(s, value, fill(value, 1), thirl_in_ms(20000));
    }
    return NULL;
}

static void threads_share_a_handle(void **state) {
    (void)state;
    thirl_state *s = open_state(THIRL_ACCESS_WRITE);
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, write_thread, s), 0);
    }
    for (uint64_t version = 0, value[WORDS], same[WORDS]; version < 6000;) {
        size_t size;
        if (thirl_state_get(s, value, sizeof value, &size, &version) == 0) {
            assert_int_equal(size, fill(same, 1));
            assert_memory_equal(value, same, size);
        }
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    thirl_state_close(&s);
}

/* ---- waiting ---- */

static int tell_later(void *nothing) {
    (void)nothing;
    thirl_state *s = open_state(THIRL_ACCESS_WRITE);
    for (uint64_t i = 2; s != NULL && i < 12; i++) {
        room_sleep(20 * CLOCK_MS);
        board->at = clock_now();
        if (set(s, i) != 0) {
            return 1;
        }
    }
    return s == NULL;
}

static void wakes_who_waits(void **state) {
    (void)state;
    thirl_state *s = open_state(THIRL_ACCESS_WRITE);
    assert_int_equal(set(s, 1), 0);
    thirl_state *reader = open_state(THIRL_ACCESS_READ);
    uint64_t version = 1;
    int64_t began = clock_now(), quickest = INT64_MAX;
    assert_int_equal(thirl_state_wait(reader, &version, thirl_in_ms(80)), -ETIMEDOUT);
    assert_true(clock_now() - began >= 80 * CLOCK_MS);
    pid_t child = room_fork(tell_later, NULL);
    while (version < 11) {
        assert_int_equal(thirl_state_wait(reader, &version, thirl_in_ms(20000)), 0);
        int64_t late = clock_now() - board->at;
        quickest = late < quickest ? late : quickest;
    }
    assert_int_equal(room_reap(child), 0);
    assert_true(quickest < 5 * CLOCK_MS); /* rung, not found at the end of a slice */
    thirl_state_close(&reader);
    thirl_state_close(&s);
}

/* ---- death ---- */

static int write_and_mark(void *nothing) {
    (void)nothing;
    thirl_state *s = open_state(THIRL_ACCESS_WRITE);
    if (s == NULL || set(s, 1) != 0 || set(s, 2) != 0 || set(s, 3) != 0) {
        return 1;
    }
    step_mark();
    int rc = set(s, 4);
    step_mark();
    return rc;
}

/* What is there behind a writer that stands, or died, somewhere in number 4; and the next one goes on. */
static void look_behind(thirl_state *s, bool dead) {
    uint64_t seen = get(s);
    assert_true(seen == 3 || seen == 4);
    if (dead) {
        assert_int_equal(set(s, seen + 1), 0);
        assert_int_equal(get(s), seen + 1);
        assert_int_equal(set(s, seen + 2), 0);
        assert_int_equal(get(s), seen + 2);
    }
}

static void survives_a_kill_at_each_instruction(void **state) {
    (void)state;
    unsigned at = 0, stride = room_is_brief() ? 5 : 1;
#if defined(__SANITIZE_ADDRESS__)
    stride = 24;
#endif
    for (bool inside = true; inside && at < 20000; at += stride) {
        pid_t child = step_begin(write_and_mark, NULL);
        if (child < 0) {
            print_message("skip: no process can be traced here\n");
            return;
        }
        inside = step_on(child, at);
        thirl_state *s = open_state(THIRL_ACCESS_WRITE);
        assert_non_null(s);
        look_behind(s, false); /* a reader is never held up by one who stands still */
        step_kill(child);
        look_behind(s, true);
        thirl_state_close(&s);
        assert_int_equal(thirl_state_remove("plant/state"), 0);
    }
    assert_true(at > 20);
    print_message("a write was killed at %u of its instructions\n", at / stride);
}

static int write_on_order(void *order) {
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    for (int i = 0; i < 4; i++) { /* opened anew: the points of making and naming are passed, too */
        thirl_state *s = open_state(THIRL_ACCESS_WRITE);
        if (s == NULL || set(s, (uint64_t)i + 1) != 0) {
            return 1;
        }
        thirl_state_close(&s);
    }
    return 0;
}

static void survives_a_kill_at_each_point(void **state) {
    (void)state;
    size_t at = 0;
    unsigned killed = 0;
    for (const char *name; (name = point_next(&at, "cell. lot.make")) != NULL;) {
        for (int pass = 1; pass <= 4; pass++) {
            char order[96];
            (void)snprintf(order, sizeof order, "%s:%d:kill", name, pass);
            int status = room_run(write_on_order, order);
            assert_true(status == 0 || status == 128 + SIGKILL);
            killed += status != 0;
            thirl_state *s = open_state(THIRL_ACCESS_WRITE);
            assert_non_null(s);
            uint64_t value[WORDS], version = 0;
            size_t size;
            int rc = thirl_state_get(s, value, sizeof value, &size, &version);
            assert_true(rc == 0 || rc == -ENODATA);
            assert_true(rc != 0 || number_of(value, size, version) != 0);
            assert_int_equal(set(s, version + 1), 0);
            assert_int_equal(get(s), version + 1);
            thirl_state_close(&s);
            assert_int_equal(thirl_state_remove("plant/state"), 0);
            assert_int_equal(room_entries("area"), 0);
        }
    }
    assert_true(killed >= 16);
}

static int read_and_mark(void *nothing) {
    (void)nothing;
    thirl_state *s = open_state(THIRL_ACCESS_READ);
    uint64_t value[WORDS], version = 0;
    size_t size = 0;
    if (s == NULL) {
        return 1;
    }
    step_mark();
    int rc = thirl_state_get(s, value, sizeof value, &size, &version);
    step_mark();
    return rc != 0 || number_of(value, size, version) == 0;
}

/* A reader stands at each of its instructions while values are written, as many as it takes to overtake it and some others, and goes on. */
static void a_reader_may_be_overtaken_anywhere(void **state) {
    (void)state;
    unsigned at = 0, stride = room_is_brief() ? 3 : 1;
#if defined(__SANITIZE_ADDRESS__)
    stride = 40;
#endif
    step_on_one_processor();
    thirl_state *s = open_state(THIRL_ACCESS_WRITE);
    uint64_t number = 1;
    assert_int_equal(set(s, number), 0);
    for (bool inside = true; inside && at < 20000; at += stride) {
        for (unsigned turn = 0; turn < 2; turn++) {
            unsigned writes = turn == 0 ? CELL_SLOTS - 1 : 1 + at % (2 * CELL_SLOTS);
            pid_t child = step_begin(read_and_mark, NULL);
            if (child < 0) {
                print_message("skip: no process can be traced here\n");
                thirl_state_close(&s);
                return;
            }
            inside = step_on(child, at);
            for (unsigned i = 0; i < writes; i++) {
                assert_int_equal(set(s, ++number), 0);
            }
            assert_int_equal(step_let(child), 0);
        }
    }
    assert_true(at > 10);
    thirl_state_close(&s);
}

/* A file that lies about itself, and one of another kind. */
static void refuses_what_is_no_state(void **state) {
    (void)state;
    thirl_state *s = open_state(THIRL_ACCESS_WRITE);
    assert_int_equal(set(s, 1), 0);
    char path[200];
    (void)snprintf(path, sizeof path, "%s/area/plant%%2Fstate", room_path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    uint64_t lie = UINT64_MAX;
    thirl_state *other = NULL;
    /* The size of the value that stands there now: in the slot of number 1. */
    assert_int_equal(fseek(file, (long)(offsetof(struct cell_head, bytes) + sizeof lie), SEEK_SET), 0);
    assert_int_equal(fwrite(&lie, sizeof lie, 1, file), 1);
    assert_int_equal(fflush(file), 0);
    uint64_t value[WORDS];
    size_t size;
    assert_int_equal(thirl_state_get(s, value, sizeof value, &size, NULL), -THIRL_EFORMAT);
    const uint64_t most[] = {UINT64_MAX, 0, 1 << 20}; /* as many bytes as cannot be, none, and more than the file has */
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        assert_int_equal(fseek(file, (long)offsetof(struct cell_head, max), SEEK_SET), 0);
        assert_int_equal(fwrite(&most[i], sizeof most[i], 1, file), 1);
        assert_int_equal(fflush(file), 0);
        assert_int_equal(thirl_state_open(&other, "plant/state", NULL), -THIRL_EFORMAT);
        assert_non_null(strstr(thirl_why(), "says that it holds"));
    }
    rewind(file);
    assert_int_equal(fwrite(&lie, sizeof lie, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(thirl_state_open(&other, "plant/state", NULL), -THIRL_EFORMAT);
    thirl_state_close(&s);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {
        T(says_what_is_wrong),
        T(copies_values_of_every_size),
        T(is_told_of_a_fork),
        T(reads_whole_values),
        T(threads_share_a_handle),
        T(wakes_who_waits),
        T(survives_a_kill_at_each_instruction),
        T(survives_a_kill_at_each_point),
        T(a_reader_may_be_overtaken_anywhere),
        T(refuses_what_is_no_state),
    };
#if defined(__SANITIZE_THREAD__) /* sees threads, and nothing of processes */
    const struct CMUnitTest threads[] = {T(threads_share_a_handle)};
    (void)tests;
    return cmocka_run_group_tests(threads, begin, room_end);
#else
    return cmocka_run_group_tests(tests, begin, room_end);
#endif
}
