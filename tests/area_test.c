/* SPDX-License-Identifier: MIT
 *
 * Areas: named, inherited, raw; growth that everybody sees; a full file system; blocks that survive, and come back; a process killed at
 * each named point of its way.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
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
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/weave.h"
#include "include/thirl/area.h"
#include "tests/point.h"
#include "tests/member.h"
#include "tests/room.h"

#define SOON thirl_in_ms(20000)

static int clear(void **state) {
    (void)state;
    (void)!thirl_area_remove("plant/area", 0);
    return 0;
}

static thirl_area *open_area(const char *address, uint64_t bytes, uint32_t access) {
    struct thirl_area_options o = {.size = sizeof o, .bytes = bytes, .limit = 64 << 20, .access = access};
    thirl_area *a = NULL;
    if (thirl_area_open(&a, address, &o) != 0) {
        (void)fprintf(stderr, "%s\n", thirl_why());
    }
    return a;
}

static struct thirl_area_info info(thirl_area *a) {
    struct thirl_area_info i = {.size = sizeof i};
    assert_int_equal(thirl_area_info(a, &i), 0);
    return i;
}

static void says_what_is_wrong(void **state) {
    (void)state;
    thirl_area *a = NULL;
    thirl_at at = 0;
    struct thirl_area_options o = {.size = sizeof o, .access = THIRL_ACCESS_READ};
    assert_int_equal(thirl_area_open(&a, "plant/area", &o), -ENOENT);
    assert_int_equal(thirl_area_open(&a, NULL, &o), -EINVAL);
    assert_int_equal(thirl_area_open(&a, "fd://77", &o), -EBADF);
    assert_int_equal(thirl_area_open(&a, "tcp://x:1", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_area_remove("plant/area", 0), -ENOENT);
    o = (struct thirl_area_options){.size = sizeof o, .raw = 1};
    assert_int_equal(thirl_area_open(&a, "sysv://jobs", &o), -THIRL_EADDRESS);
    a = open_area("plant/area", 1 << 16, THIRL_ACCESS_WRITE);
    assert_non_null(a);
    assert_int_equal(thirl_area_free(a, 4096, SOON), -EINVAL);
    assert_int_equal(thirl_area_swap(a, 3, &at, SOON), -EINVAL);
    assert_int_equal(thirl_area_alloc(a, 128 << 20, &at, SOON), -ENOSPC);
    assert_non_null(strstr(thirl_why(), "may grow to"));
    thirl_area *reader = open_area("shm://plant/area", 0, THIRL_ACCESS_READ);
    assert_int_equal(thirl_area_alloc(reader, 10, &at, SOON), -EACCES);
    assert_int_equal(thirl_area_root(reader, "none", &at, SOON), -ENOENT);
    assert_null(thirl_area_pointer(a, 0, 8));
    assert_null(thirl_area_pointer(a, thirl_area_bytes(a) - 7, 8));
    assert_non_null(thirl_area_pointer(a, thirl_area_bytes(a) - 8, 8));
    thirl_area_close(&reader);
    thirl_area_close(&a);
    assert_int_equal(thirl_area_alloc(a, 10, &at, SOON), -EINVAL);
}

/* ---- two processes ---- */

/* A list that grows in another process, beyond what was there: a word of each node refers to the next. */
struct link {
    thirl_at next;
    uint64_t number;
};
#define LINKS 3000

static int build(void *address) {
    thirl_area *a = open_area(address, 1 << 16, THIRL_ACCESS_WRITE);
    thirl_at root, block;
    if (a == NULL || thirl_area_root(a, "list", &root, SOON) != 0) {
        return 1;
    }
    for (uint64_t i = 1; i <= LINKS; i++) {
        if (thirl_area_alloc(a, 100 + i % 50, &block, SOON) != 0) {
            return 2;
        }
        struct link *link = thirl_area_pointer(a, block, sizeof *link);
        *link = (struct link){0, i};
        thirl_at place = block;
        if (thirl_area_swap(a, root, &block, SOON) != 0 || /* the old first one is in hand now */
            (block != 0 && thirl_area_swap(a, place + offsetof(struct link, next), &block, SOON) != 0)) {
            return 3;
        }
    }
    return thirl_area_alloc(a, 5000, &block, SOON) != 0; /* and dies with one in hand */
}

static unsigned walk(thirl_area *a) {
    thirl_at at;
    assert_int_equal(thirl_area_root(a, "list", &at, SOON), 0);
    unsigned links = 0;
    uint64_t number = LINKS;
    for (at = *(thirl_at *)thirl_area_pointer(a, at, 8); at != 0; links++) {
        const struct link *link = thirl_area_pointer(a, at, sizeof *link);
        assert_non_null(link);
        assert_int_equal(link->number, number--);
        assert_int_equal(thirl_area_at(a, link), at);
        at = link->next;
    }
    return links;
}

static void others_see_what_grows(void **state) {
    (void)state;
    thirl_area *a = open_area("plant/area", 1 << 16, THIRL_ACCESS_WRITE);
    uint64_t before = thirl_area_bytes(a);
    void *base = thirl_area_base(a);
    assert_int_equal(before, 1 << 16);
    assert_int_equal(room_run(build, (void *)(uintptr_t) "plant/area"), 0);
    assert_true(thirl_area_bytes(a) > before);
    assert_ptr_equal(thirl_area_base(a), base);
    assert_int_equal(walk(a), LINKS);
    assert_int_equal(info(a).blocks, LINKS + 1);
    assert_int_equal(thirl_area_recover(a, SOON), 1);
    assert_int_equal(info(a).blocks, LINKS);
    thirl_area *reader = open_area("plant/area", 0, THIRL_ACCESS_READ);
    assert_int_equal(walk(reader), LINKS);
    thirl_area_close(&reader);
    thirl_area_close(&a);
    a = open_area("plant/area", 0, THIRL_ACCESS_WRITE); /* it stays */
    assert_int_equal(walk(a), LINKS);
    thirl_area_close(&a);
    assert_int_equal(thirl_area_remove("plant/area", 0), 0);
    assert_int_equal(room_entries("area"), 0);
}

static struct walks { uint32_t ready, done; } * walks; /* shared */

/* Walks all the time: what it sees is there, in order, and never more than the area says that it has. */
static int walk_meanwhile(void *nothing) {
    (void)nothing;
    thirl_area *a = open_area("plant/area", 0, THIRL_ACCESS_READ);
    thirl_at root, at;
    uint64_t before = 0;
    if (a == NULL) return 1;
    (void)atomic_add(&walks->ready, 1u);
    for (bool last = false; !last;) {
        last = atomic_load(&walks->done) != 0;
        uint64_t number = UINT64_MAX;
        if (thirl_area_root(a, "list", &root, SOON) != 0) continue; /* there is none yet */
        for (at = atomic_load((thirl_at *)thirl_area_pointer(a, root, 8)); at != 0;) {
            const struct link *link = thirl_area_pointer(a, at, sizeof *link);
            if (link == NULL || atomic_peek(&link->number) >= number) return 2;
            number = atomic_peek(&link->number);
            at = atomic_load(&link->next);
            if (at == 0 && last && number != 1) return 3;
        }
        if (thirl_area_bytes(a) < before) return 4;
        before = thirl_area_bytes(a);
    }
    thirl_area_close(&a);
    return before > 1 << 16 ? 0 : 5;
}

static void others_read_while_it_grows(void **state) {
    (void)state;
    pid_t child[2];
    walks = mmap(NULL, sizeof *walks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(walks != MAP_FAILED);
    thirl_area *a = open_area("plant/area", 1 << 16, THIRL_ACCESS_WRITE);
    for (int i = 0; i < 2; i++) child[i] = room_fork(walk_meanwhile, NULL);
    for (int i = 0; atomic_load(&walks->ready) < 2 && i < 20000; i++) room_sleep(CLOCK_MS);
    assert_int_equal(room_run(build, (void *)(uintptr_t) "plant/area"), 0);
    atomic_store(&walks->done, 1u);
    for (int i = 0; i < 2; i++) assert_int_equal(room_reap(child[i]), 0);
    assert_int_equal(walk(a), LINKS);
    thirl_area_close(&a);
    (void)munmap(walks, sizeof *walks);
}

static int use_inherited(void *argument) {
    return build(argument);
}

static void is_passed_on(void **state) {
    (void)state;
    thirl_area *a = open_area(NULL, 1 << 16, THIRL_ACCESS_WRITE);
    assert_non_null(a);
    int fd = thirl_area_fd(a, THIRL_ACCESS_WRITE), read_only = thirl_area_fd(a, THIRL_ACCESS_READ);
    assert_true(fd >= 0 && read_only >= 0);
    char address[40];
    (void)snprintf(address, sizeof address, "fd://%d", fd);
    assert_int_equal(room_run(use_inherited, address), 0);
    assert_int_equal(walk(a), LINKS);
    assert_int_equal(ftruncate(fd, 4096), -1); /* nobody cuts it off */
    (void)snprintf(address, sizeof address, "fd://%d", read_only);
    thirl_area *b = NULL;
    assert_int_equal(thirl_area_open(&b, address, NULL), -EACCES);
    b = open_area(address, 0, THIRL_ACCESS_READ);
    assert_int_equal(walk(b), LINKS);
    thirl_area_close(&b);
    thirl_area_close(&a);
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(read_only), 0);
}

static int in_a_child(void *a) {
    thirl_at at;
    bool told =
        thirl_area_alloc(a, 8, &at, SOON) == -THIRL_EFORKED && thirl_area_fd(a, THIRL_ACCESS_READ) == -THIRL_EFORKED;
    thirl_area *inherited = a;
    thirl_area_close(&inherited);
    return !told;
}

static void is_told_of_a_fork(void **state) {
    (void)state;
    thirl_area *a = open_area("plant/area", 1 << 16, THIRL_ACCESS_WRITE);
    assert_int_equal(room_run(in_a_child, a), 0);
    thirl_area_close(&a);
}

/* ---- space ---- */

static int fill_up(void *nothing) {
    (void)nothing;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", room_path, "tmpfs", 0, "size=2m") != 0) {
        return 77;
    }
    thirl_area *a = open_area("full", 1 << 16, THIRL_ACCESS_WRITE);
    thirl_at at;
    int rc = 0;
    for (int i = 0; a != NULL && rc == 0 && i < 1000; i++) {
        rc = thirl_area_alloc(a, 50000, &at, SOON);
        if (rc == 0) {
            memset(thirl_area_pointer(a, at, 50000), 1, 50000); /* no SIGBUS */
        }
    }
    struct thirl_area_options o = {.size = sizeof o, .bytes = 8 << 20};
    thirl_area *b;
    return !(rc == -ENOSPC && strstr(thirl_why(), "full") != NULL && thirl_area_open(&b, "other", &o) == -ENOSPC &&
             room_entries("area") <= 1 + (int)(thirl_area_remove("other", 0) == 0));
}

/* A segment of another program that promised itself more than there is: who opens it is told, and does not die of it later. */
static int open_with_holes(void *nothing) {
    (void)nothing;
    struct thirl_area_options o = {.size = sizeof o, .raw = 1, .access = THIRL_ACCESS_READ};
    thirl_area *a = NULL;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/dev/shm", "tmpfs", 0, "size=2m") != 0) {
        return 77;
    }
    int fd = shm_open("/holes", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 1 << 20) != 0 || thirl_area_open(&a, "shm://holes", &o) != 0 ||
        *(char *)thirl_area_pointer(a, (1 << 20) - 1, 1) != 0) {
        return 1;
    }
    thirl_area_close(&a);
    if (ftruncate(fd, 8 << 20) != 0 || thirl_area_open(&a, "shm://holes", &o) != -ENOSPC) {
        return 2;
    }
    o.access = THIRL_ACCESS_WRITE;
    return !(strstr(thirl_why(), "full") != NULL && thirl_area_open(&a, "shm://holes", &o) == -ENOSPC);
}

static void a_full_file_system_is_an_error(void **state) {
    (void)state;
    int rc = room_run(fill_up, NULL), other = room_run(open_with_holes, NULL);
    if (rc == 77 || other == 77) {
        print_message("skip: may not mount here\n");
        skip();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(other, 0);
}

/* The node that a page lies on, from 1, as the kernel says; 0: it does not say. */
static uint32_t node_of(const void *page) {
    int node = -1;
    return syscall(SYS_get_mempolicy, &node, NULL, 0, page, MPOL_F_NODE | MPOL_F_ADDR) == 0 ? (uint32_t)node + 1 : 0;
}

/* What /proc says of the mapping that an address lies in, in KiB. */
static unsigned long smaps(const void *at, const char *word) {
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    unsigned long from, to, size = 0;
    size_t length = strlen(word);
    bool there = false;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) there = from <= (uintptr_t)at && (uintptr_t)at < to;
        if (there && strncmp(line, word, length) == 0) size = strtoul(line + length, NULL, 10);
    }
    if (file != NULL) (void)fclose(file);
    return size;
}

/* How much of it lies in huge pages. */
static unsigned long huge_kib(const void *at) {
    return smaps(at, "KernelPageSize:") == 2048 ? smaps(at, "Size:") : smaps(at, "ShmemPmdMapped:");
}

/* Pages of 2 MiB that nobody else can have. */
static long huge_pages_set_aside(void) {
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
    long count = 0;
    if (file != NULL && fscanf(file, "%ld", &count) != 1) count = 0;
    if (file != NULL) (void)fclose(file);
    return count;
}

static void what_cannot_be_had_is_said(void **state) {
    (void)state;
    struct thirl_area_options o = {.size = sizeof o, .bytes = 4 << 20, .huge = 1, .numa = 1};
    bool set_aside = huge_pages_set_aside() > 2;
    for (int named = 0; named < 2; named++) {
        thirl_area *a;
        thirl_at at;
        assert_int_equal(thirl_area_open(&a, named ? "plant/area" : NULL, &o), 0);
        struct thirl_area_info i = info(a);
        assert_true(i.huge != 0 || strstr(i.note, "no huge pages") != NULL);
        assert_true(i.numa == 1 || strstr(i.note, "NUMA") != NULL);
        print_message("huge %u, numa %u: %s\n", i.huge, i.numa, i.note);
        assert_int_equal(thirl_area_alloc(a, 1 << 20, &at, SOON), 0);
        memset(thirl_area_pointer(a, at, 1 << 20), 1, 1 << 20);
        assert_true(i.numa == 0 || node_of(thirl_area_pointer(a, at, 1)) == 1);
        assert_true(i.huge == 0 || huge_kib(thirl_area_base(a)) != 0);
        assert_true(named || !set_aside || smaps(thirl_area_base(a), "KernelPageSize:") == 2048);
        thirl_area_close(&a);
    }
    o.numa = 900;
    thirl_area *a;
    assert_int_equal(thirl_area_open(&a, NULL, &o), 0);
    assert_int_equal(info(a).numa, 0);
    assert_non_null(strstr(info(a).note, "NUMA"));
    thirl_area_close(&a);
}

/* What has so many KiB in huge pages says so, and what has not, why. */
static bool is_huge(thirl_area *a, unsigned long kib) {
    struct thirl_area_info i = info(a);
    return i.huge ? huge_kib(thirl_area_base(a)) == kib && *i.note == '\0' : strstr(i.note, "no room for one") != NULL;
}

static int read_through_huge_pages(void *address) {
    const struct thirl_area_options o = {
        .size = sizeof o, .access = THIRL_ACCESS_READ, .huge = 1, .raw = address != NULL};
    thirl_area *a;
    CHECK(thirl_area_open(&a, address != NULL ? address : "large/area", &o) == 0);
    CHECK(is_huge(a, thirl_area_bytes(a) >> 21 << 11));
    thirl_area_close(&a);
    return 0;
}

/* Also where the kernel gives files in memory none by itself: as it grows, whoever opens it, and what other programs made. */
static void has_huge_pages_by_name(void **state) {
    (void)state;
    char name[64], address[2][80];
    struct thirl_area_options o = {.size = sizeof o, .bytes = 1 << 20, .limit = 16 << 20, .huge = 1};
    thirl_area *a;
    assert_int_equal(thirl_area_open(&a, "large/area", &o), 0);
    assert_int_equal(info(a).huge, 0);
    assert_non_null(strstr(info(a).note, "smaller than one"));
    assert_int_equal(thirl_area_grow(a, 7 << 20, SOON), 0);
    bool there = info(a).huge != 0;
    if (there) {
        assert_true(is_huge(a, 6144));
        memset(thirl_area_pointer(a, 6 << 20, 1 << 20), 1, 1 << 20);
        assert_int_equal(room_run(read_through_huge_pages, NULL), 0);
    }
    thirl_area_close(&a);
    if (!there) {
        print_message("skip: no huge pages here\n");
        skip();
    }
    (void)snprintf(name, sizeof name, "thirl-area-huge-%d", (int)getpid());
    (void)snprintf(address[0], sizeof address[0], "shm://%s", name);
    (void)snprintf(address[1], sizeof address[1], "sysv://0x%x", 0x7e000000 + (unsigned)getpid());
    o.raw = 1, o.bytes = 5 << 20;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(thirl_area_open(&a, address[i], &o), 0);
        assert_true(is_huge(a, 4096));
        assert_int_equal(room_run(read_through_huge_pages, address[i]), 0);
        thirl_area_close(&a);
        assert_int_equal(thirl_area_remove(address[i], 1), 0);
    }
}

/* ---- raw ---- */

static void is_what_shm_open_gives(void **state) {
    (void)state;
    char name[64], address[80];
    (void)snprintf(name, sizeof name, "/thirl-area-test-%d", (int)getpid());
    (void)snprintf(address, sizeof address, "shm:/%s", name);
    struct thirl_area_options o = {.size = sizeof o, .bytes = 8192, .raw = 1};
    thirl_area *a = NULL, *b = NULL;
    thirl_at at;
    assert_int_equal(thirl_area_open(&a, address, &o), 0);
    assert_int_equal(thirl_area_alloc(a, 8, &at, SOON), -EOPNOTSUPP);
    assert_int_equal(thirl_area_bytes(a), 8192);
    int fd = shm_open(name, O_RDWR, 0);
    char *there = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(fd >= 0 && there != MAP_FAILED);
    there[5] = 7;
    assert_int_equal(((char *)thirl_area_base(a))[5], 7);
    assert_int_equal(thirl_area_grow(a, 16384, SOON), 0);
    there[10000] = 8;
    assert_int_equal(*(char *)thirl_area_pointer(a, 10000, 1), 8);
    o.access = THIRL_ACCESS_READ;
    assert_int_equal(thirl_area_open(&b, address, &o), 0);
    assert_int_equal(thirl_area_bytes(b), 16384);
    assert_int_equal(*(char *)thirl_area_pointer(b, 10000, 1), 8);
    thirl_area_close(&b);
    thirl_area_close(&a);
    assert_int_equal(thirl_area_remove(address, 1), 0);
    assert_int_equal(shm_open(name, O_RDWR, 0), -1);
    (void)munmap(there, 16384);
    (void)close(fd);
}

static void is_what_shmget_gives(void **state) {
    (void)state;
    char address[64];
    key_t key = 0x7e000000 | (getpid() & 0xffffff);
    (void)snprintf(address, sizeof address, "sysv://0x%x", (unsigned)key);
    struct thirl_area_options o = {.size = sizeof o, .bytes = 8192, .raw = 1};
    thirl_area *a = NULL;
    if (thirl_area_open(&a, address, &o) == -ENOSYS) {
        print_message("skip: no System V segments here\n");
        return;
    }
    assert_non_null(a);
    char *there = shmat(shmget(key, 0, 0), NULL, 0);
    assert_ptr_not_equal(there, (void *)-1);
    there[5] = 7;
    assert_int_equal(((char *)thirl_area_base(a))[5], 7);
    assert_int_equal(thirl_area_bytes(a), 8192);
    assert_int_equal(thirl_area_grow(a, 16384, SOON), -EOPNOTSUPP);
    assert_int_equal(thirl_area_fd(a, THIRL_ACCESS_READ), -EOPNOTSUPP);
    assert_int_equal(shmdt(there), 0);
    thirl_area_close(&a);
    assert_int_equal(thirl_area_remove(address, 1), 0);
    assert_int_equal(thirl_area_remove(address, 1), -ENOENT);
}

/* ---- death ---- */

static int live_on_order(void *order) {
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) {
        return 1;
    }
    thirl_area *a = open_area("plant/area", 1 << 15, THIRL_ACCESS_WRITE);
    thirl_at root, block = 0;
    if (a == NULL || thirl_area_root(a, "all", &root, SOON) != 0) {
        return 1;
    }
    for (int i = 0; i < 20; i++) {
        if (thirl_area_alloc(a, 3000, &block, SOON) != 0 || thirl_area_swap(a, root, &block, SOON) != 0 ||
            (block != 0 && thirl_area_free(a, block, SOON) != 0) || thirl_area_alloc(a, 1000, &block, SOON) != 0 ||
            thirl_area_grow(a, thirl_area_bytes(a) + 1, SOON) != 0) {
            return 2;
        }
    }
    return 0;
}

static void survives_a_kill_at_each_point(void **state) {
    (void)state;
    size_t at = 0;
    unsigned killed = 0;
    for (const char *name; (name = point_next(&at, "arena. redo.c area. lot.make")) != NULL;) {
        unsigned before = killed;
        for (int pass = 1; pass <= 9; pass += 4) {
            char order[96];
            (void)snprintf(order, sizeof order, "%s:%d:kill", name, pass);
            int status = room_run(live_on_order, order);
            assert_true(status == 0 || status == 128 + SIGKILL);
            killed += status != 0;
            thirl_area *a = open_area("plant/area", 1 << 15, THIRL_ACCESS_WRITE);
            assert_non_null(a);
            assert_true(thirl_area_recover(a, SOON) >= 0);
            thirl_at root, block = 0;
            assert_int_equal(thirl_area_root(a, "all", &root, SOON), 0);
            assert_int_equal(thirl_area_swap(a, root, &block, SOON), 0);
            assert_int_equal(block != 0 ? thirl_area_free(a, block, SOON) : 0, 0);
            assert_int_equal(info(a).used, 0); /* nothing has leaked */
            thirl_area_close(&a);
            assert_int_equal(thirl_area_remove("plant/area", 0), 0);
        }
        assert_true(killed > before);
    }
    print_message("killed at named points: %u times\n", killed);
}

/* Who is stopped in the midst of it is not dead: others wait for it as long as they like, and nothing that it has is given to them. */
static void bears_a_stop_at_each_point(void **state) {
    (void)state;
    size_t at = 0;
    unsigned stopped = 0;
    for (const char *name; (name = point_next(&at, "arena. redo.c area. lot.make")) != NULL;) {
        char order[96];
        int status = 0;
        (void)snprintf(order, sizeof order, "%s:2:stop", name);
        pid_t child = room_fork(live_on_order, order);
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        if (WIFSTOPPED(status)) {
            stopped++;
            thirl_area *a = open_area("plant/area", 1 << 15, THIRL_ACCESS_WRITE);
            thirl_at block = 0;
            assert_non_null(a);
            int rc = thirl_area_alloc(a, 100, &block, thirl_in_ms(70));
            assert_true(rc == 0 || rc == -ETIMEDOUT);
            assert_true(rc != 0 || thirl_area_free(a, block, SOON) == 0);
            (void)kill(child, SIGCONT);
            assert_int_equal(room_reap(child), 0);
            assert_true(thirl_area_recover(a, SOON) >= 0);
            assert_true(info(a).blocks <= 2); /* what its root refers to; what it had in hand is back */
            thirl_area_close(&a);
        } else {
            assert_int_equal(WEXITSTATUS(status), 0);
        }
        assert_int_equal(thirl_area_remove("plant/area", 0), 0);
    }
    print_message("stopped at named points: %u times\n", stopped);
    assert_true(stopped > 5);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {
        T(says_what_is_wrong),
        T(others_see_what_grows),
        T(others_read_while_it_grows),
        T(is_passed_on),
        T(is_told_of_a_fork),
        T(a_full_file_system_is_an_error),
        T(what_cannot_be_had_is_said),
        T(has_huge_pages_by_name),
        T(is_what_shm_open_gives),
        T(is_what_shmget_gives),
        T(survives_a_kill_at_each_point),
        T(bears_a_stop_at_each_point),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
