/* SPDX-License-Identifier: MIT
 *
 * The table of events: how large it gets, what is none, and counts that have an end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem/tally.h"
#include "tests/member.h"
#include "tests/refuse.h"

#define LEAST 64 /* words of the smallest */
#if defined(SYS_mmap2)
#define MAPPING SYS_mmap2
#else
#define MAPPING SYS_mmap
#endif

static int open_of(struct tally *tally, uint64_t bytes) {
    return tally_open(tally, room_dir, bytes, 0600, "shm://x");
}

static bool said(const char *text) {
    return strstr(thirl_why(), text) != NULL;
}

static void is_as_large_as_was_asked_for(void **state) {
    static const struct {
        uint64_t bytes;
        uint32_t slots;
    } each[] = {{0, LEAST}, {LEAST * 8, LEAST}, {LEAST * 8 + 1, 2 * LEAST}, {UINT64_MAX, 1 << 20}};
    struct tally tally;
    (void)state;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        assert_int_equal(open_of(&tally, each[i].bytes), 0);
        assert_int_equal(tally.slots, each[i].slots);
        tally_close(&tally);
        tally_close(&tally);
        assert_int_equal(open_of(&tally, 0), 0); /* as it is */
        assert_int_equal(tally.slots, each[i].slots);
        tally_close(&tally);
        assert_int_equal(unlinkat(room_dir, "tally", 0), 0);
    }
}

static void what_is_no_table_is_refused(void **state) {
    struct tally tally;
    (void)state;
    unsigned before = room_descriptors();
    const struct {
        uint32_t slots, version;
        size_t size;
        int answer;
    } each[] = {
        {LEAST / 2, TALLY_VERSION, 4096, -THIRL_EFORMAT},
        {1 << 21, TALLY_VERSION, 4096, -THIRL_EFORMAT},
        {LEAST + 1, TALLY_VERSION, 4096, -THIRL_EFORMAT},
        {LEAST, TALLY_VERSION, sizeof(struct tally_head) + LEAST * 8 - 1, -THIRL_EFORMAT},
        {LEAST, TALLY_VERSION + 1, 4096, -THIRL_EVERSION},
    };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        assert_int_equal(open_of(&tally, 0), 0);
        tally.head->slots = each[i].slots;
        tally.head->version = each[i].version;
        tally_close(&tally);
        int fd = openat(room_dir, "tally", O_RDWR | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, (off_t)each[i].size), 0);
        assert_int_equal(close(fd), 0);
        assert_int_equal(open_of(&tally, 0), each[i].answer);
        assert_null(tally.head);
        assert_int_equal(unlinkat(room_dir, "tally", 0), 0);
    }
    assert_int_equal(mkfifoat(room_dir, "tally", 0600), 0);
    assert_int_equal(open_of(&tally, 0), -THIRL_EFORMAT);
    assert_int_equal(unlinkat(room_dir, "tally", 0), 0);
    assert_int_equal(mkdirat(room_dir, "tally", 0700), 0);
    assert_int_equal(open_of(&tally, 0), -EISDIR);
    assert_true(said("shm://x: the table of events cannot be opened"));
    assert_int_equal(room_descriptors(), before);
}

static void what_was_told_too_often_is_told_twice(void **state) {
    struct tally tally;
    uint32_t event, count;
    (void)state;
    assert_int_equal(open_of(&tally, 0), 0);
    assert_int_equal(tally_add(&tally, 7), 0);
    assert_true(tally_see(&tally, &event, &count));
    uint64_t *word = &tally.word[tally.at];
    *word |= UINT32_MAX;
    assert_int_equal(tally_add(&tally, 7), 0);
    assert_int_equal(tally_add(&tally, 7), 0);
    uint64_t sum = 0;
    while (tally_see(&tally, &event, &count)) {
        assert_int_equal(event, 7);
        tally_take(&tally, &count);
        sum += count;
    }
    assert_true(sum == UINT64_C(2) + UINT32_MAX);
    for (uint32_t i = 0; i < LEAST; i++) assert_int_equal(tally_add(&tally, i), 0);
    assert_int_equal(tally_add(&tally, LEAST), -EAGAIN);
    assert_int_equal(tally_add(&tally, 7), 0);
    assert_false(tally_has_room(&tally));
    tally_close(&tally);
}

static int do_a_process_may_make_no_larger_file(void *nothing) {
    struct rlimit usual, limit;
    struct tally tally;
    (void)nothing;
    CHECK(getrlimit(RLIMIT_FSIZE, &usual) == 0);
    limit = (struct rlimit){LEAST * 8, usual.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(open_of(&tally, 0) == -EFBIG && tally.head == NULL && said("ulimit -f"));
    CHECK(faccessat(room_dir, "tally", F_OK, 0) != 0);
    CHECK(setrlimit(RLIMIT_FSIZE, &usual) == 0);
    CHECK(open_of(&tally, 0) == 0);
    tally_close(&tally);
    return 0;
}
IN_A_CHILD(a_process_may_make_no_larger_file)

/* What was made so far is nobody's, and the next one makes it anew. */
static int do_what_gets_no_mode_is_no_table(void *nothing) {
    struct tally tally;
    (void)nothing;
    int rc = refuse(SYS_fchmod, EROFS);
    if (rc != 0) return rc;
    CHECK(open_of(&tally, 0) == -EROFS && tally.head == NULL && said("cannot get the mode 0600"));
    CHECK(faccessat(room_dir, "tally", F_OK, 0) != 0);
    return 0;
}

static int do_what_cannot_be_looked_at_is_no_table(void *nothing) {
    struct tally tally;
    (void)nothing;
    CHECK(open_of(&tally, 0) == 0);
    tally_close(&tally);
    int rc = refuse_fstat(EIO);
    if (rc != 0) return rc;
    CHECK(open_of(&tally, 0) == -THIRL_EFORMAT && tally.head == NULL);
    return 0;
}

/* Neither by who makes it nor by who finds it. */
static int do_what_cannot_be_mapped_is_no_table(void *found) {
    struct tally tally = {.head = NULL};
    if (found != NULL) {
        CHECK(open_of(&tally, 0) == 0);
        tally_close(&tally);
    }
    int rc = refuse_where(MAPPING, ENOMEM, 3, MAP_SHARED, MAP_SHARED);
    if (rc != 0) return rc;
    unsigned before = room_descriptors();
    CHECK(open_of(&tally, 0) == -ENOMEM && said("shm://x: the table of events cannot be mapped"));
    CHECK(tally.head == NULL && room_descriptors() == before);
    CHECK((faccessat(room_dir, "tally", F_OK, 0) == 0) == (found != NULL));
    return 0;
}

static void a_kernel_may_give_no_memory(void **state) {
    (void)state;
    static char yes;
    int first = room_run(do_what_cannot_be_mapped_is_no_table, NULL);
    int second = room_run(do_what_cannot_be_mapped_is_no_table, &yes);
    if (first == REFUSE_SKIP || second == REFUSE_SKIP) skip();
    assert_int_equal(first, 0);
    assert_int_equal(second, 0);
}

static void a_kernel_may_say_no(void **state) {
    (void)state;
    int first = room_run(do_what_gets_no_mode_is_no_table, NULL);
    int second = room_run(do_what_cannot_be_looked_at_is_no_table, NULL);
    if (first == REFUSE_SKIP || second == REFUSE_SKIP) skip();
    assert_int_equal(first, 0);
    assert_int_equal(second, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(is_as_large_as_was_asked_for, member_clear),
        cmocka_unit_test_setup(what_is_no_table_is_refused, member_clear),
        cmocka_unit_test_setup(what_was_told_too_often_is_told_twice, member_clear),
        cmocka_unit_test_setup(a_process_may_make_no_larger_file, member_clear),
        cmocka_unit_test_setup(a_kernel_may_say_no, member_clear),
        cmocka_unit_test_setup(a_kernel_may_give_no_memory, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
