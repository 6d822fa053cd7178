/* SPDX-License-Identifier: MIT
 *
 * Passive things of the registry: what they may be called, who may make them, what is no such thing, what a kernel that says no is answered
 * with, and what is left over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "include/thirl/thirl.h"
#include "mem/lot.h"
#include "mem/node.h"
#include "tests/member.h"
#include "tests/refuse.h"

#define SIZE 4096

static void fill_in(void *map, void *context) {
    memcpy(map, context, 8);
}

static char content[8] = "content";

static struct lot_plan plan_of(const char *file) {
    return (struct lot_plan){.file = file,
                             .what = "the thing",
                             .writable = true,
                             .make = true,
                             .bytes = SIZE,
                             .mode = 0600,
                             .begin = fill_in,
                             .context = content};
}

static int open_one(struct lot *lot, const char *file) {
    const struct lot_plan plan = plan_of(file);
    return lot_open(lot, &plan);
}

static int make_one(const char *file) {
    struct lot lot;
    CHECK(open_one(&lot, file) == 0 && lot.made && lot.size == SIZE);
    CHECK(memcmp(lot.map, content, sizeof content) == 0);
    lot_close(&lot);
    return 0;
}

static bool said(const char *text) {
    return strstr(thirl_why(), text) != NULL;
}

/* A child that has joined, in a registry where nothing was refused yet, and with one thing in it. */
static int settle(void) {
    CHECK(node_join() == 0);
    return make_one("there");
}

#define CHECK_SETTLED CHECK(settle() == 0)
#define CHECK_REFUSED(call)                                                                                            \
    do {                                                                                                               \
        int refused = call;                                                                                            \
        if (refused != 0) return refused;                                                                              \
    } while (0)

/* Where the kernel lets itself be told to say no. */
#define IN_A_CHILD_THAT_IS_REFUSED(name)                                                                               \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        int rc = room_run(do_##name, NULL);                                                                            \
        if (rc == REFUSE_SKIP) skip();                                                                                 \
        assert_int_equal(rc, 0);                                                                                       \
    }

/* ---- names ---- */

static void names_become_files_and_names_again(void **state) {
    static const struct {
        const char *name, *file;
    } each[] = {
        {"plant", "plant"}, {"shm://plant", "plant"}, {"plant/area", "plant%2Farea"},
        {".x.y", "%2Ex.y"}, {"a b\x7f", "a%20b%7F"},  {"50%?", "50%25%3F"},
        {"a+b", "a%2Bb"},   {"\xc3\xa4", "%C3%A4"},
    };
    char file[LOT_NAME_MAX], shown[LOT_SHOWN_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        assert_int_equal(lot_name(file, shown, "state", each[i].name), 0);
        assert_string_equal(file, each[i].file);
    }
    assert_int_equal(lot_name(file, shown, "state", "tcp://x"), -THIRL_EADDRESS);
    assert_int_equal(lot_name(file, shown, "state", "shm://"), -THIRL_EADDRESS);
    assert_int_equal(lot_name(file, shown, "state", NULL), -THIRL_EADDRESS);
    assert_true(said("a state needs a name"));
}

static void a_name_may_be_as_long_as_its_file(void **state) {
    char file[LOT_NAME_MAX], shown[LOT_SHOWN_MAX], name[LOT_NAME_MAX];
    size_t most = 0;
    (void)state;
    memset(name, 'n', sizeof name);
    for (; most + 1 < sizeof name; most++) {
        name[most + 1] = '\0';
        if (lot_name(file, shown, "state", name) != 0) break;
        name[most + 1] = 'n';
    }
    assert_true(most > 240 && most + strlen("+wish") < 256); /* another file beside it has room */
    assert_int_equal(lot_name(file, shown, "state", name), -ENAMETOOLONG);
    assert_true(said("longer than a file name may be"));
}

struct listed {
    unsigned count;
    char name[8][LOT_SHOWN_MAX];
    struct lot_line line[8];
};

static int keep(void *context, const struct lot_line *line) {
    struct listed *all = context;
    memcpy(all->name[all->count], line->name, sizeof line->name);
    all->line[all->count++] = *line;
    return all->count == 8;
}

static int touch(const char *path, int64_t seconds_ago) {
    int fd = openat(room_dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct timespec now, times[2];
    CHECK(fd >= 0 && clock_gettime(CLOCK_REALTIME, &now) == 0);
    now.tv_sec -= seconds_ago;
    times[0] = times[1] = now;
    CHECK(futimens(fd, times) == 0);
    CHECK(close(fd) == 0);
    return 0;
}

static bool is_there(const char *path) {
    return faccessat(room_dir, path, F_OK, 0) == 0;
}

static int do_only_things_are_listed(void *nothing) {
    static const char *const none[] = {"area/.hidden", "area/beside+wish"};
    struct listed all = {.count = 0};
    char longest[32 + 255];
    (void)nothing;
    CHECK(lot_list(keep, &all) == 0 && all.count == 0); /* there is not even a place for them */
    CHECK_SETTLED;
    CHECK(make_one("a%2Fb%zz%4%") == 0);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) CHECK(touch(none[i], 0) == 0);
    CHECK(mkdirat(room_dir, "area/directory", 0700) == 0);
    CHECK(symlinkat("there", room_dir, "area/link") == 0);
    CHECK(lot_list(keep, &all) == 0 && all.count == 2);
    for (unsigned i = 0; i < 2; i++) {
        bool odd = strcmp(all.name[i], "shm://there") != 0;
        CHECK(!odd || strcmp(all.name[i], "shm://a/b%zz%4%") == 0);
        CHECK(memcmp(all.line[i].magic, content, 8) == 0);
        CHECK(all.line[i].bytes == SIZE && all.line[i].mode == 0600 && all.line[i].uid == geteuid());
    }
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "area/", 5);
    longest[5 + 255] = '\0';
    CHECK(touch(longest, 0) == 0);
    all.count = 0;
    CHECK(lot_list(keep, &all) == 0 && all.count == 3);
    all.count = 7;
    CHECK(lot_list(keep, &all) == 1); /* whoever has seen enough */
    return 0;
}
IN_A_CHILD(only_things_are_listed)

static int do_what_may_not_be_read_is_listed_without_its_first_bytes(void *nothing) {
    struct listed all = {.count = 0};
    (void)nothing;
    CHECK_SETTLED;
    CHECK_REFUSED(refuse_where(SYS_openat, EACCES, 2, O_NONBLOCK, O_NONBLOCK));
    CHECK(lot_list(keep, &all) == 0 && all.count == 1);
    CHECK(memcmp(all.line[0].magic, "\0\0\0\0\0\0\0\0", 8) == 0 && all.line[0].bytes == SIZE);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_may_not_be_read_is_listed_without_its_first_bytes)

/* ---- left over ---- */

static int do_what_stands_beside_nothing_is_swept(void *nothing) {
    static const char *const stays[] = {"area/there+wish", "area/fresh+wish", "area/old", "area/old+"};
    char longest[5 + 256] = "area/";
    (void)nothing;
    lot_sweep(); /* there is no place for them yet */
    CHECK_SETTLED;
    memset(longest + 5, 'x', 255);
    longest[5 + 254] = '+';
    longest[5 + 255] = '\0';
    CHECK(touch("area/there+wish", 1000) == 0);
    CHECK(touch("area/fresh+wish", 0) == 0);
    CHECK(touch("area/old", 1000) == 0);
    CHECK(touch("area/old+", 1000) == 0);
    CHECK(touch("area/gone+wish", 1000) == 0);
    CHECK(touch(longest, 1000) == 0);
    CHECK(touch("area/+", 1000) == 0);
    lot_sweep();
    CHECK(!is_there("area/gone+wish") && !is_there(longest) && !is_there("area/+"));
    for (size_t i = 0; i < sizeof stays / sizeof *stays; i++) CHECK(is_there(stays[i]));
    return 0;
}
IN_A_CHILD(what_stands_beside_nothing_is_swept)

/* ---- what is no such thing ---- */

static int do_what_is_no_thing_is_told(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK_SETTLED;
    unsigned before = room_descriptors();
    CHECK(touch("area/empty", 0) == 0);
    CHECK(open_one(&lot, "empty") == -THIRL_EFORMAT && said("the thing is no file"));
    CHECK(mkfifoat(room_dir, "area/fifo", 0600) == 0);
    CHECK(open_one(&lot, "fifo") == -THIRL_EFORMAT);
    CHECK(symlinkat("there", room_dir, "area/link") == 0);
    CHECK(open_one(&lot, "link") == -ELOOP);
    struct lot_plan plan = plan_of("none");
    plan.make = false;
    CHECK(lot_open(&lot, &plan) == -ENOENT && lot.fd == -1 && lot.map == NULL);
    plan = plan_of("there");
    plan.map = SIZE_MAX;
    CHECK(lot_open(&lot, &plan) == -EFBIG && said("64-bit process"));
    plan.map = UINT64_C(1) << 61; /* there is no such address space */
    CHECK(lot_open(&lot, &plan) == -ENOMEM && lot.fd == -1 && said("the thing cannot be mapped"));
    CHECK(lot_remove("fifo", "the thing") == 0);
    CHECK(lot_remove("fifo", "the thing") == -ENOENT && said("there is no the thing"));
    CHECK(mkdirat(room_dir, "area/directory", 0700) == 0);
    CHECK(lot_remove("directory", "the thing") == -EISDIR && said("the thing cannot be removed"));
    CHECK(room_descriptors() == before);
    return 0;
}
IN_A_CHILD(what_is_no_thing_is_told)

static int do_other_layouts_are_told(void *nothing) {
    struct lot_head head;
    uint64_t registry[2];
    (void)nothing;
    lot_begin(&head, "thirl.xx", 3, 64);
    CHECK(lot_check(&head, 64, "thirl.xx", 3, 64, "it") == 0);
    CHECK(lot_check(&head, 63, "thirl.xx", 3, 64, "it") == -THIRL_EFORMAT);
    CHECK(lot_check(&head, 64, "thirl.xy", 3, 64, "it") == -THIRL_EFORMAT);
    CHECK(lot_check(&head, 64, "thirl.xx", 4, 64, "it") == -THIRL_EVERSION);
    CHECK(lot_check(&head, 64, "thirl.xx", 3, 56, "it") == -THIRL_EVERSION && said("layout 3 (64 bytes)"));
    lot_registry(registry);
    CHECK(lot_belongs(registry, "it") == 0);
    registry[1]++;
    CHECK(lot_belongs(registry, "it") == -EXDEV && said("made in another registry"));
    return 0;
}
IN_A_CHILD(other_layouts_are_told)

static void options_say_how_large_they_are(void **state) {
    struct {
        size_t size;
        int one, two;
    } own = {sizeof own, 1, 2}, given = {sizeof given, 5, 6};
    (void)state;
    assert_int_equal(lot_options(&own, sizeof own, NULL, "call"), 0);
    assert_int_equal(own.one, 1);
    given.size = sizeof(size_t) - 1;
    assert_int_equal(lot_options(&own, sizeof own, &given, "call"), -EINVAL);
    given.size = sizeof given + 1;
    assert_int_equal(lot_options(&own, sizeof own, &given, "call"), -EINVAL);
    assert_true(said("call: set the size field"));
    given.size = offsetof(__typeof__(given), two); /* of an older program */
    assert_int_equal(lot_options(&own, sizeof own, &given, "call"), 0);
    assert_int_equal(own.one, 5);
    assert_int_equal(own.two, 2);
}

/* ---- a kernel that says no ---- */

static int do_no_more_than_a_process_may_make(void *nothing) {
    struct rlimit usual, limit;
    struct lot lot;
    (void)nothing;
    CHECK(getrlimit(RLIMIT_FSIZE, &usual) == 0);
    limit = (struct rlimit){SIZE, usual.rlim_max};
    CHECK_SETTLED;
    struct lot_plan plan = plan_of("new");
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    plan.bytes = SIZE + 1;
    CHECK(lot_open(&lot, &plan) == -EFBIG && said("ulimit -f"));
    CHECK(lot_reserve(-1, 0, UINT64_MAX, "it") == -EFBIG);
    CHECK(lot_reserve(-1, 0, SIZE, "it") == -EBADF && said("it cannot take 4096 bytes"));
    CHECK(!is_there("area/new"));
    CHECK(setrlimit(RLIMIT_FSIZE, &usual) == 0);
    CHECK(lot_open(&lot, &plan) == 0);
    lot_close(&lot);
    return 0;
}
IN_A_CHILD(no_more_than_a_process_may_make)

static int do_a_full_file_system_is_told(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK_SETTLED;
    CHECK_REFUSED(refuse(SYS_fallocate, ENOSPC));
    CHECK(open_one(&lot, "new") == -ENOSPC && said("file system it lies in is full"));
    CHECK(!is_there("area/new") && lot.fd == -1);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(a_full_file_system_is_told)

static int do_who_gets_no_descriptor_makes_nothing(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK_SETTLED;
    CHECK_REFUSED(refuse_where(SYS_openat, EMFILE, 2, O_TMPFILE, O_TMPFILE));
    CHECK(open_one(&lot, "new") == -EMFILE && said("the thing cannot be made in the registry"));
    CHECK(open_one(&lot, "there") == 0);
    lot_close(&lot);
    CHECK_REFUSED(refuse_where(SYS_openat, EMFILE, 2, O_DIRECTORY, O_DIRECTORY));
    CHECK(open_one(&lot, "there") == -EMFILE && said("the thing cannot be looked for"));
    struct listed all = {.count = 0};
    CHECK(lot_list(keep, &all) == 0 && all.count == 0);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(who_gets_no_descriptor_makes_nothing)

static int do_what_gets_no_mode_gets_no_name(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK_SETTLED;
    CHECK_REFUSED(refuse(SYS_fchmod, EROFS));
    CHECK(open_one(&lot, "new") == -EROFS && said("cannot get the mode 0600"));
    CHECK(!is_there("area/new"));
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_gets_no_mode_gets_no_name)

static int do_what_gets_no_group_gets_no_name(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK_SETTLED;
    CHECK_REFUSED(refuse(SYS_fchown, EPERM));
    struct lot_plan plan = plan_of("new");
    plan.group = 42 + 1;
    CHECK(lot_open(&lot, &plan) == -EPERM && said("cannot belong to group 42"));
    CHECK(!is_there("area/new"));
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_gets_no_group_gets_no_name)

static int do_what_cannot_be_mapped_gets_no_name(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK_SETTLED;
    CHECK_REFUSED(refuse_where(SYS_mmap, EAGAIN, 3, MAP_SHARED, MAP_SHARED));
    CHECK(open_one(&lot, "new") == -ENOMEM && said("the thing cannot be mapped"));
    CHECK(open_one(&lot, "there") == -ENOMEM);
    CHECK(!is_there("area/new") && lot.fd == -1);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_cannot_be_mapped_gets_no_name)

static int do_what_cannot_be_named_is_told(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK_SETTLED;
    CHECK_REFUSED(refuse(SYS_linkat, EACCES));
    CHECK(open_one(&lot, "new") == -EACCES && said("cannot get its name") && lot.map == NULL && lot.fd == -1);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_cannot_be_named_is_told)

/* Whoever finds it gone makes it, and finds it made: again and again, but not for ever. */
static int do_what_comes_and_goes_is_told(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK_SETTLED;
    unsigned before = room_descriptors();
    CHECK_REFUSED(refuse(SYS_linkat, EEXIST));
    CHECK(open_one(&lot, "new") == -EAGAIN && said("made and removed again and again"));
    CHECK(room_descriptors() == before);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_comes_and_goes_is_told)

static int do_who_cannot_look_is_told(void *nothing) {
    struct lot lot;
    uint64_t registry[2], none[2] = {0, 0};
    struct listed all = {.count = 0};
    (void)nothing;
    CHECK_SETTLED;
    lot_registry(registry);
    CHECK(touch("area/gone+wish", 1000) == 0);
    CHECK_REFUSED(refuse_fstatat(ENOMEM));
    CHECK(lot_list(keep, &all) == 0 && all.count == 0);
    lot_sweep();
    CHECK(is_there("area/gone+wish")); /* it is not known that it stands beside nothing */
    CHECK_REFUSED(refuse_fstat(EIO));
    CHECK(open_one(&lot, "there") == -THIRL_EFORMAT);
    CHECK(lot_belongs(registry, "it") == -EXDEV);
    lot_registry(registry);
    CHECK(memcmp(registry, none, sizeof none) == 0);
    CHECK(lot_list(keep, &all) == 0 && all.count == 0);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(who_cannot_look_is_told)

static int do_where_no_place_can_be_made_nothing_is(void *nothing) {
    struct lot lot;
    (void)nothing;
    CHECK(node_join() == 0);
    CHECK_REFUSED(refuse(SYS_mkdirat, EROFS));
    CHECK(open_one(&lot, "new") == -EROFS && said("the thing cannot be made"));
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(where_no_place_can_be_made_nothing_is)

static int do_without_a_registry_there_is_nothing(void *nothing) {
    struct lot lot;
    struct listed all = {.count = 0};
    (void)nothing;
    CHECK(setenv("THIRL_DIR", "/nowhere/at/all", 1) == 0);
    CHECK(open_one(&lot, "x") == -ENOENT);
    CHECK(lot_remove("x", "it") == -ENOENT && said("/nowhere/at/all"));
    CHECK(lot_list(keep, &all) == 0 && all.count == 0);
    lot_sweep();
    return 0;
}
IN_A_CHILD(without_a_registry_there_is_nothing)

int main(void) {
#define T(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        T(names_become_files_and_names_again),
        T(a_name_may_be_as_long_as_its_file),
        T(only_things_are_listed),
        T(what_may_not_be_read_is_listed_without_its_first_bytes),
        T(what_stands_beside_nothing_is_swept),
        T(what_is_no_thing_is_told),
        T(other_layouts_are_told),
        T(options_say_how_large_they_are),
        T(no_more_than_a_process_may_make),
        T(a_full_file_system_is_told),
        T(who_gets_no_descriptor_makes_nothing),
        T(what_gets_no_mode_gets_no_name),
        T(what_gets_no_group_gets_no_name),
        T(what_cannot_be_mapped_gets_no_name),
        T(what_cannot_be_named_is_told),
        T(what_comes_and_goes_is_told),
        T(who_cannot_look_is_told),
        T(where_no_place_can_be_made_nothing_is),
        T(without_a_registry_there_is_nothing),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
