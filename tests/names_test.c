/* SPDX-License-Identifier: MIT
 *
 * What channels and the files of their ends are called, and the places of ends: how many there may be, what a file that is cut short or may
 * not be written is answered with.
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

#include "mem/place.h"
#include "tests/member.h"
#include "tests/refuse.h"

#define DEAD UINT64_C(0x1234567800010000) /* a node that nobody has */

static bool said(const char *text) {
    return strstr(thirl_why(), text) != NULL;
}

/* ---- names ---- */

static void a_name_comes_back_from_its_directory(void **state) {
    static const char *const names[] = {"camera", "a/b", ".x", "100%", "\x01\x7f\xff", "a b"};
    static const char *const none[] = {"", "%", "%2", "a%", "a%4", "%g0", "%0g", "%unix.x", "%2f"};
    char channel[256], name[256];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(roll_encode(channel, "shm", names[i]), 0);
        assert_true(roll_decode(channel, name));
        assert_string_equal(name, names[i]);
        assert_int_equal(roll_encode(channel, "unix", names[i]), 0);
        assert_false(roll_decode(channel, name));
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_false(roll_decode(none[i], name));
}

static void a_name_may_be_as_long_as_a_directory(void **state) {
    char channel[256], name[256], longest[257];
    (void)state;
    memset(longest, 'n', sizeof longest);
    longest[256] = '\0';
    assert_int_equal(roll_encode(channel, "shm", longest), -ENAMETOOLONG);
    assert_false(roll_decode(longest, name));
    longest[255] = '\0';
    assert_int_equal(roll_encode(channel, "shm", longest), 0);
    assert_true(roll_decode(channel, name));
    assert_string_equal(name, longest);
    longest[253] = ' '; /* three bytes more */
    assert_int_equal(roll_encode(channel, "shm", longest), -ENAMETOOLONG);
    assert_int_equal(roll_encode(channel, "shm", ""), -THIRL_EADDRESS);
}

static void only_files_of_ends_are_taken_apart(void **state) {
    static const char *const none[] = {"card",
                                       "0123456789abcdef",
                                       "0123456789abcdef.",
                                       "12.3.tx",
                                       "0123456789abcdef.3",
                                       "0123456789abcdef.3x.tx",
                                       "0123456789abcdeg.3.tx",
                                       "0000000000000000.3.tx",
                                       "0123456789abcdef..tx"};
    struct roll_end end;
    const char *kind;
    char file[ROLL_FILE_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_false(roll_parse(none[i], &end, &kind));
    roll_file(file, (struct roll_end){DEAD, 77}, "claim");
    assert_true(roll_parse(file, &end, &kind));
    assert_true(end.node == DEAD && end.number == 77);
    assert_string_equal(kind, "claim");
}

static int count(void *number, const char *channel) {
    (void)channel;
    return ++*(int *)number == 2 ? -EBUSY : 0;
}

static int do_channels_are_listed_until_somebody_has_enough(void *nothing) {
    struct roll roll[3];
    static const char *const names[] = {"a", "b", "c"};
    int number = 0;
    (void)nothing;
    CHECK(node_dir() >= 0);
    CHECK(roll_each(count, &number) == 0 && number == 0); /* nobody has made a place for them */
    for (int i = 0; i < 3; i++) CHECK(member_join(&roll[i], names[i]) == 0);
    CHECK(mkdirat(room_dir, "chan/.unfinished", 0700) == 0);
    CHECK(roll_each(count, &number) == -EBUSY && number == 2);
    number = 10;
    CHECK(roll_each(count, &number) == 0 && number == 13);
    int refused = refuse_where(SYS_openat, EMFILE, 2, O_DIRECTORY | O_NOFOLLOW, O_DIRECTORY);
    if (refused != 0) return 0; /* not here */
    CHECK(roll_each(count, &number) == -EMFILE && number == 13 && said("cannot be listed"));
    CHECK(roll_list(roll[0].dir) == NULL);
    return 0;
}
IN_A_CHILD(channels_are_listed_until_somebody_has_enough)

/* ---- places ---- */

/* A page of places, and its file: of so many bytes. */
static unsigned char *page_of(int *file, uint64_t bytes) {
    *file = openat(room_dir, "roll", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(*file >= 0);
    assert_int_equal(ftruncate(*file, (off_t)bytes), 0);
    unsigned char *page = mmap(NULL, PLACE_MAP, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
    assert_true(page != MAP_FAILED);
    return page;
}

static void forget(unsigned char *page, int file) {
    assert_int_equal(munmap(page, PLACE_MAP), 0);
    assert_int_equal(close(file), 0);
}

static void say_top(unsigned char *page, uint32_t top) {
    memcpy(page + PLACE_AT, &top, sizeof top);
}

static void places_have_an_end(void **state) {
    int file;
    uint32_t at;
    (void)state;
    unsigned char *page = page_of(&file, PLACE_MAP);
    struct place *near = (void *)(page + PLACE_AT + 8), *far = (void *)(page + PLACE_FAR);
    for (uint32_t i = 0; i < PLACE_MOST; i++) (i < PLACE_NEAR ? &near[i] : &far[i - PLACE_NEAR])->node = DEAD;
    say_top(page, PLACE_MOST);
    assert_int_equal(place_take(page, file, 1, 1, PLACE_BOTH, "shm://x", &at), -EMFILE);
    assert_true(said("shm://x has 131072 ends"));
    say_top(page, UINT32_MAX); /* which is a lie */
    assert_int_equal(place_take(page, file, 1, 1, PLACE_BOTH, "shm://x", &at), -EMFILE);
    assert_false(place_beyond(page, PLACE_FAR));
    place_clean(file);
    for (uint32_t i = 0; i < PLACE_MOST; i++) {
        assert_int_equal((i < PLACE_NEAR ? &near[i] : &far[i - PLACE_NEAR])->node, 0);
    }
    assert_int_equal(place_take(page, file, 1, 1, PLACE_BOTH, "shm://x", &at), 0);
    assert_int_equal(at, 0);
    forget(page, file);
}

static void what_may_not_be_written_is_left(void **state) {
    int file;
    uint32_t at;
    (void)state;
    unsigned char *page = page_of(&file, PLACE_FAR);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(place_take(page, file, DEAD, i, PLACE_BOTH, "shm://x", &at), 0);
        assert_int_equal(at, i);
    }
    int other = openat(room_dir, "roll", O_RDONLY | O_CLOEXEC);
    place_clean(other);
    struct place place;
    at = 0;
    for (int i = 0; i < 3; i++) assert_true(place_next(page, PLACE_FAR, PLACE_BOTH, &at, &place));
    place_clean(file);
    at = 0;
    assert_false(place_next(page, PLACE_FAR, PLACE_BOTH, &at, &place));
    assert_int_equal(close(other), 0);
    forget(page, file);
}

static int do_a_file_may_grow_no_further(void *nothing) {
    struct rlimit usual, limit;
    int file;
    uint32_t at;
    (void)nothing;
    CHECK(getrlimit(RLIMIT_FSIZE, &usual) == 0);
    limit = (struct rlimit){PLACE_FAR, usual.rlim_max};
    unsigned char *page = page_of(&file, PLACE_FAR);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    for (uint32_t i = 0; i < PLACE_NEAR; i++) {
        CHECK(place_take(page, file, DEAD, i, PLACE_BOTH, "shm://x", &at) == 0);
    }
    CHECK(place_take(page, file, DEAD, 99, PLACE_BOTH, "shm://x", &at) == -EFBIG && said("no room for one more end"));
    place_leave(page, 5);
    CHECK(place_take(page, file, DEAD, 99, PLACE_BOTH, "shm://x", &at) == 0 && at == 5);
    CHECK(setrlimit(RLIMIT_FSIZE, &usual) == 0);
    CHECK(place_take(page, file, DEAD, 99, PLACE_BOTH, "shm://x", &at) == 0 && at == PLACE_NEAR);
    forget(page, file);
    CHECK(place_take(page, file, DEAD, 99, PLACE_BOTH, "shm://x", &at) == -EBADF && said("how large it is"));
    return 0;
}
IN_A_CHILD(a_file_may_grow_no_further)

int main(void) {
#define T(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        T(a_name_comes_back_from_its_directory),
        T(a_name_may_be_as_long_as_a_directory),
        T(only_files_of_ends_are_taken_apart),
        T(channels_are_listed_until_somebody_has_enough),
        T(places_have_an_end),
        T(what_may_not_be_written_is_left),
        T(a_file_may_grow_no_further),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
