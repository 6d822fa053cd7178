/* SPDX-License-Identifier: MIT
 *
 * The slips of all processes: those of a file that cannot be read, is cut short, or says that it has more than there is; tables that are
 * used up; a process that has not joined, or has no memory left.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "mem/nodefile.h"
#include "mem/slate.h"
#include "tests/member.h"

#define OTHER UINT64_C(0x1234567800010000) /* a node that nobody has */

static bool said(const char *text) {
    return strstr(thirl_why(), text) != NULL;
}

static const char *file_of(uint64_t id) {
    static char path[32];
    memcpy(path, "node/", 5);
    node_name(path + 5, id);
    return path;
}

/* The file of another process, which is dead: with a slip of a thread, and so many bytes. */
static int leave_file(off_t size, uint32_t slips) {
    struct node_file file = *node_file();
    struct slip slip = {.thread = 77};
    int fd = openat(room_dir, file_of(OTHER), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    file.id = OTHER;
    file.ends = 0;
    memset(file.has, 0, sizeof file.has);
    file.has[NODE_SLIPS] = slips;
    CHECK(fd >= 0 && fd_write_at(fd, &file, sizeof file, 0) == (ssize_t)sizeof file);
    CHECK(fd_write_at(fd, &slip, sizeof slip, (off_t)node_part_places[NODE_SLIPS].at) == (ssize_t)sizeof slip);
    CHECK(ftruncate(fd, size) == 0 && close(fd) == 0);
    return 0;
}

struct seen {
    unsigned count, slips, unread;
    int answer;
};

static int see(void *context, const struct slate_seen *one) {
    struct seen *seen = context;
    seen->count++;
    seen->slips += one->slip != NULL;
    seen->unread += one->slip == NULL && *one->exe == '\0' && one->id == OTHER;
    return seen->answer;
}

static struct seen each(int answer, int expected) {
    struct seen seen = {.answer = answer};
    if (slate_each(see, &seen) != expected) seen.count = 99;
    return seen;
}

static int do_slips_of_all_are_seen(void *nothing) {
    (void)nothing;
    CHECK(slate_open() == 0);
    CHECK(each(0, 0).count == 0); /* nobody has one */
    struct slip *slip[2] = {slate_take(), NULL};
    atomic_store(&slip[0]->thread, 1);
    slip[1] = slate_take();
    CHECK(slip[1] == slip[0] + 1);
    atomic_store(&slip[1]->thread, 2);
    CHECK(each(0, 0).slips == 2);
    CHECK(leave_file(NODE_FILE_SIZE, 1) == 0);
    CHECK(each(0, 0).slips == 3);
    struct seen seen = each(5, 5); /* whoever has seen enough */
    CHECK(seen.count == 1 && seen.slips == 1);
    CHECK(unlinkat(room_dir, file_of(OTHER), 0) == 0);
    seen = each(5, 5);
    CHECK(seen.count == 1 && seen.slips == 1);
    CHECK(leave_file(NODE_FILE_SIZE, UINT32_MAX) == 0); /* says that it has more than there can be */
    CHECK(each(0, 0).slips == 3);
    slate_give(slip[0]);
    slate_give(slip[1]);
    CHECK(each(0, 0).slips == 1);
    return 0;
}
IN_A_CHILD(slips_of_all_are_seen)

static int do_who_cannot_be_read_hides_no_other(void *nothing) {
    (void)nothing;
    CHECK(slate_open() == 0);
    atomic_store(&slate_take()->thread, 1);
    const off_t sizes[] = {100, sizeof(struct node_file), NODE_FILE_SIZE - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK(leave_file(sizes[i], 1) == 0);
        struct seen seen = each(0, 0);
        CHECK(seen.count == 2 && seen.slips == 1 && seen.unread == 1);
        seen = each(5, 5);
        CHECK(seen.count == 1 && seen.unread == 1);
    }
    CHECK(unlinkat(room_dir, file_of(OTHER), 0) == 0 && symlinkat("/", room_dir, file_of(OTHER)) == 0);
    struct seen seen = each(0, 0);
    CHECK(seen.count == 2 && seen.slips == 1 && seen.unread == 1);
    return 0;
}
IN_A_CHILD(who_cannot_be_read_hides_no_other)

static int note(void *context, const struct slip_process *process) {
    struct slip_process *last = context;
    *last = *process;
    return process->id == OTHER ? 5 : 0;
}

static int do_who_has_not_joined_sees_others(void *nothing) {
    struct slip_process last = {0};
    (void)nothing;
    CHECK(slate_list(true, note, &last) == 0 && last.id == 0); /* there is no node yet: nobody joined */
    CHECK(each(0, 0).count == 0);
    CHECK(slate_take() == NULL && slate_serve() == NULL && slate_pairs() == NULL);
    return 0;
}

static int do_before_there_is_a_registry_there_is_nobody(void *nothing) {
    CHECK(setenv("THIRL_DIR", "/nowhere/at/all", 1) == 0);
    CHECK(do_who_has_not_joined_sees_others(nothing) == 0);
    CHECK(setenv("THIRL_DIR", "/proc/nothing", 1) == 0);
    CHECK(slate_open() < 0 && said("/proc/nothing"));
    return 0;
}
IN_A_CHILD(before_there_is_a_registry_there_is_nobody)

static int leave_a_file(void *nothing) {
    (void)nothing;
    CHECK(slate_open() == 0);
    return leave_file(NODE_FILE_SIZE, 1);
}

static int do_who_has_not_joined_sees_the_dead(void *nothing) {
    (void)nothing;
    CHECK(room_run(leave_a_file, NULL) == 0);
    struct slip_process last = {0};
    CHECK(each(0, 0).slips == 1);
    CHECK(slate_list(true, note, &last) == 5 && last.id == OTHER && last.slips == 1 && !last.alive && last.here == 0);
    CHECK(last.pairs == NULL && last.modules == 0);
    CHECK(node_id() == 0);
    return 0;
}
IN_A_CHILD(who_has_not_joined_sees_the_dead)

static int do_what_cannot_be_read_is_not_listed(void *nothing) {
    struct slip_process last = {0};
    (void)nothing;
    CHECK(slate_open() == 0);
    CHECK(leave_file(100, 1) == 0);
    CHECK(slate_list(true, note, &last) == 0 && last.id == node_id() && last.modules > 0);
    CHECK(unlinkat(room_dir, file_of(OTHER), 0) == 0 && symlinkat("/", room_dir, file_of(OTHER)) == 0);
    CHECK(slate_list(false, note, &last) == 0 && last.id == node_id() && last.modules == 0);
    return 0;
}
IN_A_CHILD(what_cannot_be_read_is_not_listed)

/* ---- what is used up ---- */

static int do_tables_are_used_up(void *nothing) {
    struct slip_tasks *tasks[64];
    (void)nothing;
    CHECK(slate_open() == 0);
    for (unsigned i = 0; i < 64; i++) {
        tasks[i] = slate_serve();
        CHECK(tasks[i] != NULL && tasks[i] == tasks[0] + i);
    }
    CHECK(slate_serve() == NULL);
    tasks[7]->task[3].call = 1;
    slate_unserve(tasks[7]);
    CHECK(slate_serve() == tasks[7] && tasks[7]->task[3].call == 0);
    for (unsigned i = 0; i < node_part_places[NODE_SLIPS].most; i++) {
        struct slip *slip = slate_take();
        CHECK(slip != NULL && slip->held == 0);
        atomic_store(&slip->thread, 1);
    }
    CHECK(slate_take() == NULL);
    return 0;
}
IN_A_CHILD(tables_are_used_up)

static int do_who_has_no_memory_is_told(void *nothing) {
    struct slip_process last = {0};
    struct rlimit usual, limit;
    (void)nothing;
    CHECK(slate_open() == 0);
    CHECK(leave_file(NODE_FILE_SIZE, node_part_places[NODE_SLIPS].most) == 0);
    CHECK(node_part_places[NODE_SLIPS].most * sizeof(struct slip) > 200 * 1024); /* more than lies about */
    CHECK(slate_list(true, note, &last) == 5);
    CHECK(getrlimit(RLIMIT_AS, &usual) == 0);
    limit = (struct rlimit){4096, usual.rlim_max};
    last.id = 0;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    int rc = slate_list(true, note, &last);
    CHECK(setrlimit(RLIMIT_AS, &usual) == 0);
    CHECK(rc == -ENOMEM && last.id == 0 && said("no memory to look at the processes"));
    return 0;
}

static void who_has_no_memory_is_told(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* it is the sanitizer that would have none */
#endif
    assert_int_equal(room_run(do_who_has_no_memory_is_told, NULL), 0);
}

/* ---- modules and addresses ---- */

#define SKIPPED 77
#define DEEP 6 /* directories of 40 bytes: more than a module's path may have */

static unsigned listed(const char *path) {
    const struct slip_module *module = node_part(NODE_MODULES, 1);
    unsigned found = 0;
    for (uint32_t i = 0; i < node_file()->has[NODE_MODULES]; i++) {
        found += strcmp(module[i].path, path) == 0;
        if (module[i].path[0] != '\0' && (module[i].path[0] != '/' || module[i].start >= module[i].end)) return 99;
    }
    return found;
}

/* Some library is loaded once more, from a path that is too long to be told. */
static int do_what_has_no_place_for_its_path_is_left_out(void *nothing) {
    char path[512], content[4096];
    Dl_info own;
    size_t length = strlen(room_path);
    (void)nothing;
    CHECK(dladdr((void *)(uintptr_t)_cmocka_run_group_tests, &own) != 0);
    memcpy(path, room_path, length + 1);
    for (int i = 0; i < DEEP; i++, length += 40) {
        memset(path + length, 'd', 40);
        path[length] = '/';
        path[length + 40] = '\0';
        CHECK(mkdir(path, 0700) == 0);
    }
    memcpy(path + length, "/lib.so", 8);
    int from = open(own.dli_fname, O_RDONLY | O_CLOEXEC), to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    CHECK(from >= 0 && to >= 0);
    for (ssize_t got; (got = read(from, content, sizeof content)) > 0;) CHECK(write(to, content, (size_t)got) == got);
    CHECK(close(from) == 0 && close(to) == 0);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return SKIPPED; /* nothing may be loaded from there */
    CHECK(slate_open() == 0);
    CHECK(listed(node_file()->who.exe) == 1 && listed(path) == 0);
    return 0;
}

static void what_has_no_place_for_its_path_is_left_out(void **state) {
    (void)state;
    int rc = room_run(do_what_has_no_place_for_its_path_is_left_out, NULL);
    if (rc == SKIPPED) skip();
    assert_int_equal(rc, 0);
}

static int do_lines_have_addresses(void *nothing) {
    char address[NODE_ADDRESS_MAX];
    struct node_end *line;
    (void)nothing;
    CHECK(node_end_take(&line, "shm://camera", THIRL_PUB, true) == 0);
    uint64_t number = (uint64_t)(line - node_file()->end) + 1;
    slate_address(node_id(), number, address);
    CHECK(strcmp(address, "shm://camera") == 0);
    slate_address(node_id(), 0, address);
    CHECK(*address == '\0');
    slate_address(node_id(), NODE_ENDS + 1, address);
    CHECK(*address == '\0');
    slate_address(OTHER, number, address);
    CHECK(*address == '\0');
    CHECK(leave_file(NODE_FILE_SIZE, 1) == 0);
    int fd = openat(room_dir, file_of(OTHER), O_RDWR | O_CLOEXEC);
    CHECK(fd_write_at(fd, "shm://there", 12,
                      (off_t)(offsetof(struct node_file, end) + offsetof(struct node_end, address))) == 12);
    slate_address(OTHER, 1, address);
    CHECK(strcmp(address, "shm://there") == 0);
    CHECK(ftruncate(fd, 100) == 0 && close(fd) == 0);
    slate_address(OTHER, 1, address);
    CHECK(*address == '\0');
    return 0;
}
IN_A_CHILD(lines_have_addresses)

int main(void) {
#define T(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        T(slips_of_all_are_seen),
        T(who_cannot_be_read_hides_no_other),
        T(before_there_is_a_registry_there_is_nobody),
        T(who_has_not_joined_sees_the_dead),
        T(what_cannot_be_read_is_not_listed),
        T(tables_are_used_up),
        T(who_has_no_memory_is_told),
        T(what_has_no_place_for_its_path_is_left_out),
        T(lines_have_addresses),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
