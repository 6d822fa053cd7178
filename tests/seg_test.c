/* SPDX-License-Identifier: MIT
 *
 * Segments: mirrored, taken before they are touched, refused when they are not what they should be; and how memory is let go of.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mem/seg.h"
#include "mem/shed.h"
#include "tests/room.h"

#define SKIPPED 77

static size_t page;

static int begin(void **state) {
    page = (size_t)sysconf(_SC_PAGESIZE);
    return room_begin(state);
}

static void remove_file(const char *name) {
    assert_int_equal(unlinkat(room_dir, name, 0), 0);
}

static void ring_is_mirrored(void **state) {
    (void)state;
    for (size_t ring = 1; ring < (8u << 20); ring = ring * 7 + 1) {
        struct seg own, other;
        assert_int_equal(seg_make(&own, room_dir, "a", 100, ring, 0600, "a segment"), 0);
        assert_int_equal(seg_map(&other, room_dir, "a", 100, "a segment"), 0);
        assert_true(own.ring >= ring && own.ring % page == 0 && (own.ring & (own.ring - 1)) == 0);
        assert_true(own.ring == page || own.ring / 2 < ring);
        assert_int_equal(own.head, page);
        assert_int_equal(other.head, own.head);
        assert_int_equal(other.ring, own.ring);
        unsigned char *first = own.base + own.head, *second = first + own.ring;
        memset(own.base, 'h', own.head);
        for (size_t i = 0; i < own.ring; i += page / 2) first[i] = (unsigned char)(i / page * 31 + i);
        assert_memory_equal(first, second, own.ring);
        memset(second - 100, 'w', 200); /* over the wrap, in one piece */
        for (int i = 0; i < 100; i++) assert_int_equal(first[i], 'w');
        second[own.ring - 1] = 'z';
        assert_int_equal(first[own.ring - 1], 'z');
        assert_memory_equal(own.base, other.base, own.head + 2 * own.ring);
        assert_int_equal(own.base[own.head - 1], 'h');
        seg_unmap(&other);
        seg_unmap(&own);
        remove_file("a");
    }
}

static void has_no_ring_when_none_is_asked_for(void **state) {
    struct seg own, other;
    (void)state;
    assert_int_equal(seg_make(&own, room_dir, "a", 3 * page + 1, 0, 0600, "a segment"), 0);
    assert_int_equal(own.head, 4 * page);
    assert_int_equal(own.head, seg_round(3 * page + 1));
    assert_int_equal(own.ring, 0);
    assert_int_equal(seg_map(&other, room_dir, "a", 4 * page, "a segment"), 0);
    assert_int_equal(other.ring, 0);
    own.base[4 * page - 1] = 7;
    assert_int_equal(other.base[4 * page - 1], 7);
    seg_unmap(&own);
    seg_unmap(&other);
    remove_file("a");
}

static void gives_everything_back(void **state) {
    struct seg own;
    unsigned char there;
    (void)state;
    unsigned before = room_descriptors();
    assert_int_equal(seg_make(&own, room_dir, "a", 1, page, 0600, "a segment"), 0);
    unsigned char *base = own.base;
    assert_int_equal(mincore(base, 3 * page, (unsigned char[3]){0}), 0);
    seg_unmap(&own);
    seg_unmap(&own);
    for (size_t i = 0; i < 3; i++) assert_int_equal(mincore(base + i * page, page, &there), -1);
    assert_int_equal(seg_make(&own, room_dir, "a", 1, page, 0600, "a segment"), -EEXIST);
    assert_null(own.base);
    remove_file("a");
    assert_int_equal(seg_map(&own, room_dir, "a", 1, "a segment"), -ENOENT);
    assert_null(own.base);
    assert_int_equal(seg_make(&own, room_dir, "a", 1, SIZE_MAX, 0600, "a segment"), -EFBIG);
    assert_int_equal(seg_make(&own, room_dir, "a", 1, SIZE_MAX / 2 + 2, 0600, "a segment"), -EFBIG);
    assert_int_equal(room_descriptors(), before);
    assert_int_equal(room_entries(""), 0);
}

static void mode_is_what_was_asked_for(void **state) {
    static const unsigned modes[] = {0600, 0640, 0666, 0400};
    (void)state;
    mode_t before = umask(0);
    for (size_t i = 0; i < 12; i++) {
        struct seg own;
        struct stat status;
        unsigned mode = modes[i % 4];
        (void)umask(i < 4 ? 0 : i < 8 ? 0077 : 0777);
        assert_int_equal(seg_make(&own, room_dir, "a", 1, page, mode, "a segment"), 0);
        assert_int_equal(fstatat(room_dir, "a", &status, 0), 0);
        assert_int_equal(status.st_mode & 07777, mode);
        seg_unmap(&own);
        remove_file("a");
    }
    (void)umask(before);
}

/* ---- in children, because they die of it ---- */

static struct seg shared;

static int touch(void *offset) {
    (void)signal(SIGSEGV, SIG_DFL);
    return ((volatile unsigned char *)shared.base)[*(size_t *)offset] != 0;
}

static int write_to(void *offset) {
    (void)signal(SIGSEGV, SIG_DFL);
    struct seg other;
    if (seg_map(&other, room_dir, "a", 1, "a segment") != 0) return 1;
    ((volatile unsigned char *)other.base)[*(size_t *)offset] = 1;
    return 0;
}

static void is_not_inherited_nor_written_by_others(void **state) {
    (void)state;
    const struct rlimit none = {0, 0};
    assert_int_equal(setrlimit(RLIMIT_CORE, &none), 0);
    assert_int_equal(seg_make(&shared, room_dir, "a", 1, page, 0600, "a segment"), 0);
    for (size_t i = 0; i < 3; i++) {
        size_t offset = i * page + 8;
        assert_int_equal(room_run(touch, &offset), 128 + SIGSEGV);
        assert_int_equal(room_run(write_to, &offset), 128 + SIGSEGV);
    }
    assert_int_equal(shared.base[8], 0);
    seg_unmap(&shared);
    remove_file("a");
}

static int grow_beyond_limit(void *nothing) {
    struct seg own;
    const struct rlimit limit = {8 * page, 8 * page};
    (void)nothing;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    if (seg_make(&own, room_dir, "big", 1, 8 * page, 0600, "a segment") != -EFBIG) return 2;
    if (strstr(thirl_why(), "ulimit -f") == NULL) return 3;
    if (faccessat(room_dir, "big", F_OK, 0) == 0) return 4;
    if (seg_make(&own, room_dir, "fits", 4 * page, 4 * page, 0600, "a segment") != 0) return 5;
    memset(own.base, 1, 8 * page);
    return unlinkat(room_dir, "fits", 0) == 0 ? 0 : 6;
}

/* What lies behind the ring is no reason to make nothing: there is as much of it as may be. */
static int grow_pool_up_to_limit(void *nothing) {
    struct seg own, other;
    struct rlimit usual, limit;
    (void)nothing;
    if (getrlimit(RLIMIT_FSIZE, &usual) != 0) return 1;
    limit = (struct rlimit){8 * page, usual.rlim_max};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    if (seg_make_pooled(&own, room_dir, "some", page, page, 16 * page, 0600, "a segment") != 0) return 3;
    if (own.pool == 0 || own.pool % (2 * page) != 0 || own.pool > 6 * page) return 4;
    if (seg_map(&other, room_dir, "some", page, "a segment") != -THIRL_EFORMAT)
        return 5; /* it wants none with a pool */
    if (seg_map_pooled(&other, room_dir, "some", page, "a segment") != 0 || other.pool != own.pool) return 6;
    seg_unmap(&other);
    seg_unmap(&own);
    limit.rlim_cur = 2 * page;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 7;
    if (seg_make_pooled(&own, room_dir, "none", page, page, 16 * page, 0600, "a segment") != 0 || own.pool != 0)
        return 8;
    seg_unmap(&own);
    if (setrlimit(RLIMIT_FSIZE, &usual) != 0) return 9;
    return unlinkat(room_dir, "some", 0) == 0 && unlinkat(room_dir, "none", 0) == 0 ? 0 : 10;
}

static void a_pool_is_as_large_as_may_be(void **state) {
    struct seg own;
    (void)state;
    assert_int_equal(room_run(grow_pool_up_to_limit, NULL), 0);
    int rc = seg_make_pooled(&own, room_dir, "a", page, page, UINT64_MAX, 0600, "a segment");
    assert_true(rc == -ENOMEM || rc == -EFBIG); /* there is no such address space, or no such file */
    assert_null(own.base);
    assert_int_equal(faccessat(room_dir, "a", F_OK, 0), -1);
}

static void respects_the_limit_of_file_sizes(void **state) {
    (void)state;
    assert_int_equal(room_run(grow_beyond_limit, NULL), 0);
}

static int fill_file_system(void *nothing) {
    char path[sizeof room_path + 8], option[32];
    struct seg one, two, three;
    (void)nothing;
    (void)snprintf(path, sizeof path, "%s/tiny", room_path);
    (void)snprintf(option, sizeof option, "size=%zu", 16 * page);
    if (mkdir(path, 0700) != 0 && errno != EEXIST) return 1;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", path, "tmpfs", 0, option) != 0) {
        return SKIPPED;
    }
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return 2;
    if (seg_make(&one, dir, "one", page, 8 * page, 0600, "a segment") != 0) return 3;
    if (seg_make(&two, dir, "two", page, 8 * page, 0600, "a segment") != -ENOSPC) return 4;
    if (strstr(thirl_why(), "?queue=") == NULL) return 5;
    if (faccessat(dir, "two", F_OK, 0) == 0) return 6;
    if (seg_make(&three, dir, "three", page, 4 * page, 0600, "a segment") != 0) return 7;
    memset(one.base, 1, 9 * page); /* would be SIGBUS, had the space not been taken */
    memset(three.base, 1, 5 * page);
    return 0;
}

static void takes_its_space_at_once(void **state) {
    (void)state;
    int rc = room_run(fill_file_system, NULL);
    if (rc == SKIPPED) {
        print_message("skip: a file system of its own needs the right to mount (root)\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

/* ---- what is no segment ---- */

static void make_file(const char *name, off_t size) {
    int fd = openat(room_dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static void refuses_what_is_no_segment(void **state) {
    struct seg seg;
    (void)state;
    unsigned before = room_descriptors();
    off_t sizes[] = {0,
                     1,
                     (off_t)page - 1,
                     (off_t)page + 1,
                     (off_t)(2 * page - 1),
                     (off_t)(2 * page + 8),
                     (off_t)(4 * page),
                     (off_t)(6 * page),
                     (off_t)1 << 46 | (off_t)page << 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        make_file("a", sizes[i]);
        assert_int_equal(seg_map(&seg, room_dir, "a", page, "a segment"), -THIRL_EFORMAT);
        assert_null(seg.base);
        remove_file("a");
    }
    make_file("a", (off_t)page + ((off_t)1 << 61)); /* the right form, but there is no such address space */
    assert_true(seg_map(&seg, room_dir, "a", page, "a segment") < 0);
    assert_null(seg.base);
    remove_file("a");
    make_file("a", (off_t)(2 * page) + ((off_t)1 << 62)); /* likewise, with a pool that none has */
    assert_int_equal(seg_map_pooled(&seg, room_dir, "a", page, "a segment"), -THIRL_EFORMAT);
    remove_file("a");
    assert_int_equal(mkdirat(room_dir, "a", 0700), 0);
    assert_int_equal(seg_map(&seg, room_dir, "a", page, "a segment"), -THIRL_EFORMAT);
    assert_int_equal(unlinkat(room_dir, "a", AT_REMOVEDIR), 0);
    assert_int_equal(mkfifoat(room_dir, "a", 0600), 0);
    assert_int_equal(seg_map(&seg, room_dir, "a", page, "a segment"), -THIRL_EFORMAT);
    remove_file("a");
    make_file("b", (off_t)(2 * page));
    assert_int_equal(symlinkat("b", room_dir, "a"), 0);
    assert_int_equal(seg_map(&seg, room_dir, "a", page, "a segment"), -ELOOP);
    assert_int_equal(seg_make(&seg, room_dir, "a", page, page, 0600, "a segment"), -EEXIST);
    remove_file("a");
    remove_file("b");
    assert_int_equal(room_descriptors(), before);
}

static bool is_mapped(const unsigned char *at) {
    return msync((void *)(uintptr_t)at, page, MS_ASYNC) == 0;
}

static void neighbours_go_together(void **state) {
    static const unsigned order[] = {2, 0, 4, 1};
    (void)state;
    for (unsigned nested = 0; nested < 2; nested++) {
        unsigned char *base = mmap(NULL, 6 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(base != MAP_FAILED);
        shed_begin();
        for (unsigned i = 0; i < 4; i++) {
            if (nested) shed_begin();
            shed(base + order[i] * page, page - i); /* some of a page is all of it */
            if (nested) shed_end();
            assert_true(is_mapped(base + order[i] * page));
        }
        shed_end();
        for (unsigned i = 0; i < 6; i++) assert_int_equal(is_mapped(base + i * page), i == 3 || i == 5);
        shed(base + 3 * page, page);
        shed(base + 5 * page, page);
        assert_false(is_mapped(base + 3 * page) || is_mapped(base + 5 * page));
    }
}

static void more_than_it_remembers_goes_at_once(void **state) {
    enum { MANY = 300 };
    (void)state;
    unsigned char *base = mmap(NULL, 2 * MANY * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    shed_begin();
    for (unsigned i = 0; i < MANY; i++) shed(base + 2 * i * page, page);
    assert_true(is_mapped(base));
    assert_false(is_mapped(base + 2 * (MANY - 1) * page));
    shed_end();
    for (unsigned i = 0; i < 2 * MANY; i++) assert_int_equal(is_mapped(base + i * page), i % 2);
    assert_int_equal(munmap(base, 2 * MANY * page), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_go_together),
        cmocka_unit_test(more_than_it_remembers_goes_at_once),
        cmocka_unit_test(ring_is_mirrored),
        cmocka_unit_test(has_no_ring_when_none_is_asked_for),
        cmocka_unit_test(gives_everything_back),
        cmocka_unit_test(mode_is_what_was_asked_for),
        cmocka_unit_test(is_not_inherited_nor_written_by_others),
        cmocka_unit_test(a_pool_is_as_large_as_may_be),
        cmocka_unit_test(respects_the_limit_of_file_sizes),
        cmocka_unit_test(takes_its_space_at_once),
        cmocka_unit_test(refuses_what_is_no_segment),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
