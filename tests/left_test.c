/* SPDX-License-Identifier: MIT
 *
 * What channels have left, listed and removed: beside things in the registry that are nobody's, damaged notes, and where nothing can be
 * opened.
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
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mech/kept.h"
#include "tests/member.h"
#include "tests/quota.h"

#define SOON thirl_in_ms(20000)

struct sum {
    unsigned count, ends;
    uint64_t messages;
    int stop; /* what the first is answered with */
    char address[NODE_ADDRESS_MAX];
};

static int add(void *context, const struct thirl_left *left) {
    struct sum *sum = context;
    sum->count++;
    sum->ends += left->ends;
    sum->messages += left->messages;
    (void)snprintf(sum->address, sizeof sum->address, "%s", left->address);
    return sum->stop;
}

static struct sum left(void) {
    struct sum sum = {.count = 0};
    int rc = thirl_left(add, &sum);
    return rc == 0 ? sum : (struct sum){.count = 999};
}

static int cleans(const char *address, int code, const char *why) {
    int rc = thirl_clean(address);
    CHECK(rc == code && strstr(thirl_why(), why) != NULL);
    return 0;
}

static int open_end(thirl **end, enum thirl_role role, const char *address) {
    CHECK(thirl_open(end, role, address, NULL) == 0);
    return 0;
}

/* So many jobs, and nobody is there any more. */
static int leave(const char *address, unsigned jobs) {
    thirl *end;
    CHECK(open_end(&end, THIRL_PUSH, address) == 0);
    for (unsigned i = 0; i < jobs; i++) {
        CHECK(thirl_send(end, "job", 3, SOON) == 0);
    }
    CHECK(thirl_close(&end, THIRL_NOW) >= 0);
    return 0;
}

static const char *in_chan(const char *file) {
    static char path[300];
    (void)snprintf(path, sizeof path, "%s/chan/%s", room_path, file);
    return path;
}

static int make(const char *file) {
    int fd = open(in_chan(file), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
    return 0;
}

/* ---- shared memory ---- */

/* What is listed can be opened, and cleaned; and so can each address of that name. */
static int do_names_are_shown_as_they_can_be_opened(void *nothing) {
    static const char *const names[][3] = {{"shm://a/b c", "shm://a/b c", "shm://a%2Fb%20c"},
                                           {"shm://a%25b", "shm://a%25b", "shm://a%25b?queue=64K"},
                                           {"shm://what%3f", "shm://what%3F", "shm://wha%74%3F"}};
    (void)nothing;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (int way = 0; way < 3; way++) {
            CHECK(leave(names[i][0], 3) == 0);
            struct sum sum = left();
            CHECK(sum.count == 1 && sum.messages == 3 && sum.ends == 0 && strcmp(sum.address, names[i][1]) == 0);
            CHECK(cleans(names[i][way], 3, "") == 0);
            CHECK(left().count == 0 && room_entries("chan") == 0);
        }
    }
    CHECK(cleans("shm://", -ENOENT, "has left nothing") == 0);
    CHECK(cleans("shm://a%2", -ENOENT, "has left nothing") == 0);
    return 0;
}
IN_A_CHILD(names_are_shown_as_they_can_be_opened)

#define QUESTIONS "????????????????????????????????????????????????????????????????????????"

/* In the registry there may be anything. */
static int do_what_is_no_channel_is_passed_over(void *nothing) {
    static const char *const names[] = {"x%", "x%4", "x%zz", "%mq.x%4", ".hidden", (QUESTIONS QUESTIONS)};
    (void)nothing;
    CHECK(leave("shm://work", 2) == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK(mkdir(in_chan(names[i]), 0700) == 0);
    }
    CHECK(make("file") == 0 && make("%mq.file") == 0 && symlink("/proc", in_chan("link")) == 0);
    CHECK(make("work/stranger") == 0 && make("work/0123456789abcdef.7.rx") == 0);
    struct sum sum = left();
    CHECK(sum.count == 1 && sum.messages == 2);
    CHECK(cleans("shm://x%", -ENOENT, "has left nothing") == 0);
    CHECK(cleans("shm://file", -ENOTDIR, "") == 0);
    CHECK(cleans("shm://.hidden", -ENOENT, "has left nothing") == 0);
    CHECK(cleans("mq://nothing", -ENOENT, "has left nothing") == 0);
    CHECK(cleans("shm://work", 2, "") == 0);
    CHECK(left().count == 0);
    return 0;
}
IN_A_CHILD(what_is_no_channel_is_passed_over)

static int do_what_is_in_use_is_left_alone(void *nothing) {
    thirl *push, *pull, *pair;
    (void)nothing;
    CHECK(open_end(&push, THIRL_PUSH, "shm://used") == 0 && open_end(&pull, THIRL_PULL, "shm://used") == 0);
    CHECK(open_end(&pair, THIRL_PAIR, "shm://pair") == 0);
    CHECK(thirl_send(push, "job", 3, SOON) == 0);
    struct sum sum = left();
    CHECK(sum.count == 1 && sum.messages == 1 && sum.ends == 2);
    CHECK(cleans("shm://used", -EBUSY, "is in use") == 0);
    CHECK(cleans("shm://pair", -EBUSY, "is in use") == 0);
    CHECK(thirl_recv(pull, NULL, 0, NULL, SOON) == -EMSGSIZE);
    CHECK(thirl_close(&pair, THIRL_NOW) == 0 && thirl_close(&pull, THIRL_NOW) == 0);
    CHECK(cleans("shm://used", -EBUSY, "is in use") == 0);
    CHECK(thirl_close(&push, THIRL_NOW) >= 0);
    CHECK(cleans("auto://used", 1, "") == 0);
    return 0;
}
IN_A_CHILD(what_is_in_use_is_left_alone)

static int die_with_a_pair(void *nothing) {
    thirl *end;
    (void)nothing;
    CHECK(open_end(&end, THIRL_PAIR, "shm://dead") == 0);
    return kill(getpid(), SIGKILL);
}

/* A channel that keeps nothing goes, but nothing was left in it. */
static int do_the_dead_of_a_pair_have_left_nothing(void *nothing) {
    (void)nothing;
    CHECK(room_run(die_with_a_pair, NULL) == 128 + SIGKILL && room_entries("chan") == 1);
    CHECK(left().count == 0);
    CHECK(cleans("shm://dead", -ENOENT, "has left nothing") == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(the_dead_of_a_pair_have_left_nothing)

static int do_a_listing_ends_when_told(void *nothing) {
    struct sum sum = {.stop = 77};
    (void)nothing;
    CHECK(leave("shm://one", 1) == 0 && leave("shm://two", 1) == 0);
    CHECK(thirl_left(add, &sum) == 77 && sum.count == 1);
    CHECK(left().count == 2);
    CHECK(cleans("shm://one", 1, "") == 0 && cleans("shm://two", 1, "") == 0);
    return 0;
}
IN_A_CHILD(a_listing_ends_when_told)

/* Nobody has opened anything yet; or the registry cannot be used. */
static int do_without_a_registry_nothing_is_left(void *nothing) {
    (void)nothing;
    CHECK(left().count == 0);
    CHECK(cleans("shm://x", -ENOENT, "has left nothing") == 0);
    return 0;
}
IN_A_CHILD(without_a_registry_nothing_is_left)

static int do_a_registry_that_cannot_be_opened_shows_nothing(void *nothing) {
    (void)nothing;
    CHECK(setenv("THIRL_DIR", "/proc/version", 1) == 0);
    struct sum sum = {.count = 0};
    (void)!thirl_left(add, &sum);
    CHECK(sum.count == 0 && thirl_clean("shm://x") < 0);
    return 0;
}
IN_A_CHILD(a_registry_that_cannot_be_opened_shows_nothing)

/* ---- queues of the kernel ---- */

static char queue[64]; /* an address of this test's own */

static const char *named(const char *what) {
    (void)snprintf(queue, sizeof queue, "mq://left-%d-%s", (int)getpid(), what);
    return queue;
}

/* A file in the directory of that channel. */
static const char *beside(const char *address, const char *file) {
    static char name[200];
    (void)snprintf(name, sizeof name, "%%mq.%s/%s", address + 5, file);
    return name;
}

static int rewrite(const char *address, const struct kept *kept, size_t size) {
    int fd = open(in_chan(beside(address, "kept")), O_WRONLY | O_TRUNC | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, kept, size) == (ssize_t)size && close(fd) == 0);
    return 0;
}

static int do_a_damaged_note_is_no_note(void *nothing) {
    struct kept kept, other;
    (void)nothing;
    const char *address = named("note");
    CHECK(leave(address, 2) == 0 && left().count == 1);
    int fd = open(in_chan(beside(address, "kept")), O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, &kept, sizeof kept) == sizeof kept && close(fd) == 0);
    CHECK(make(beside(address, "kept.stranger")) == 0 && make(beside(address, "kept~")) == 0);
    for (int i = 0; i < 6; i++) {
        other = kept;
        other.magic[0] = i == 0 ? 'x' : other.magic[0];
        other.version += i == 1;
        (void)snprintf(other.address, sizeof other.address, "%s",
                       i == 2   ? "dove://x"
                       : i == 3 ? "shm://x"
                       : i == 4 ? "udp://127.0.0.1:1"
                                : kept.address);
        CHECK(rewrite(address, &other, i == 5 ? sizeof other - 1 : sizeof other) == 0);
        CHECK(left().count == 0);
        CHECK(cleans(address, -ENOENT, "has left nothing") == 0);
    }
    char path[300];
    (void)snprintf(path, sizeof path, "%s", in_chan(beside(address, "kept")));
    CHECK(unlink(path) == 0 && symlink("/dev/null", path) == 0); /* whoever follows it would be led astray */
    CHECK(left().count == 0);
    thirl *end =
        NULL; /* an end that comes makes its queue anew, or finds it: where it is stands in the note, not in the link */
    (void)!thirl_open(&end, THIRL_PULL, address, NULL);
    if (end != NULL) {
        CHECK(thirl_close(&end, THIRL_NOW) >= 0);
    }
    (void)unlink(path);
    int made = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(made >= 0 && write(made, &kept, sizeof kept) == sizeof kept && close(made) == 0);
    int rc = thirl_clean(address);
    CHECK(rc >= 0 && left().count == 0);
    return 0;
}
IN_A_CHILD(a_damaged_note_is_no_note)

static int do_each_end_counts_once(void *nothing) {
    thirl *a, *b, *more;
    (void)nothing;
    const char *address = named("ends");
    CHECK(open_end(&a, THIRL_PUSH, address) == 0 && open_end(&b, THIRL_PULL, address) == 0);
    CHECK(open_end(&more, THIRL_PUSH, address) == 0);
    CHECK(thirl_send(a, "job", 3, SOON) == 0);
    struct sum sum = left();
    CHECK(sum.count == 1 && sum.ends == 3 && sum.messages == 1 && strcmp(sum.address, address) == 0);
    CHECK(cleans(address, -EBUSY, "is in use") == 0);
    CHECK(thirl_close(&more, THIRL_NOW) >= 0 && thirl_close(&b, THIRL_NOW) >= 0 && thirl_close(&a, THIRL_NOW) >= 0);
    CHECK(cleans(address, 1, "") == 0);
    address = named("pair");
    CHECK(open_end(&a, THIRL_PAIR, address) == 0 && open_end(&b, THIRL_PAIR, address) == 0);
    sum = left();
    CHECK(sum.count == 2 && sum.ends == 4); /* an inbox each, of a channel with two ends */
    sum = (struct sum){.stop = 5};
    CHECK(thirl_left(add, &sum) == 5 && sum.count == 1);
    CHECK(thirl_close(&a, THIRL_NOW) >= 0 && thirl_close(&b, THIRL_NOW) >= 0);
    CHECK(left().count == 0);
    return 0;
}
IN_A_CHILD(each_end_counts_once)

/* Where no descriptor is left, less is listed, and nothing breaks. */
static int do_without_descriptors_less_is_shown(void *nothing) {
    struct rlimit before, now;
    (void)nothing;
    const char *address = named("few");
    CHECK(leave(address, 1) == 0 && leave("shm://few", 1) == 0 && left().count == 2);
    int next = dup(0);
    CHECK(next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
    unsigned seen = 0;
    now = before;
    for (int more = 0; more < 8; more++) {
        now.rlim_cur = (rlim_t)next + (rlim_t)more;
        struct sum sum = {.count = 0};
        CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
        (void)!thirl_left(add, &sum);
        int rc = more < 4 ? thirl_clean("mq://other") : -ENOENT;
        CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0 && rc < 0);
        CHECK(sum.count >= seen && sum.count <= 2);
        seen = sum.count;
    }
    CHECK(seen == 2 && room_descriptors() != 0);
    CHECK(cleans(address, 1, "") == 0 && cleans("shm://few", 1, "") == 0);
    return 0;
}
IN_A_CHILD(without_descriptors_less_is_shown)

static int set_up(void **state) {
    static int quota;
    quota = quota_take(false);
    (void)quota;
    return member_begin(state);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        TEST(names_are_shown_as_they_can_be_opened),
        TEST(what_is_no_channel_is_passed_over),
        TEST(what_is_in_use_is_left_alone),
        TEST(the_dead_of_a_pair_have_left_nothing),
        TEST(a_listing_ends_when_told),
        TEST(without_a_registry_nothing_is_left),
        TEST(a_registry_that_cannot_be_opened_shows_nothing),
        TEST(a_damaged_note_is_no_note),
        TEST(each_end_counts_once),
        TEST(without_descriptors_less_is_shown),
    };
    return cmocka_run_group_tests(tests, set_up, room_end);
}
