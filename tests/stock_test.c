/* SPDX-License-Identifier: MIT
 *
 * Areas, states, caches and locks as a whole: what is listed of them, who counts as using one, what is thrown away and what is not.
 */
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/area.h"
#include "include/thirl/cache.h"
#include "include/thirl/lock.h"
#include "include/thirl/state.h"
#include "tests/member.h"

struct seen {
    unsigned count, users;
    char text[1000]; /* "address kind bytes, …" */
};

static int see(void *context, const struct thirl_thing *thing) {
    struct seen *seen = context;
    size_t used = strlen(seen->text);
    (void)snprintf(
        seen->text + used, sizeof seen->text - used, "%s %s %s,", thing->address, thing->kind,
        thing->bytes >= 64 && (thing->mode == 0640 || thing->mode == 0660) && thing->uid == geteuid() ? "well" : "ill");
    seen->count++;
    seen->users += thing->users;
    return 0;
}

static struct seen look(void) {
    struct seen seen = {0};
    assert_int_equal(thirl_things(see, &seen), 0);
    return seen;
}

static thirl_area *area(const char *name) {
    const struct thirl_area_options o = {.size = sizeof o, .mode = 0640};
    thirl_area *area;
    return thirl_area_open(&area, name, &o) == 0 ? area : NULL;
}

static thirl_state *state(const char *name) {
    const struct thirl_state_options o = {.size = sizeof o, .mode = 0640};
    thirl_state *state;
    return thirl_state_open(&state, name, &o) == 0 ? state : NULL;
}

static thirl_lock *lock(const char *name) {
    const struct thirl_lock_options o = {.size = sizeof o, .mode = 0660};
    thirl_lock *lock;
    return thirl_lock_open(&lock, name, THIRL_LOCK_MUTEX, &o) == 0 ? lock : NULL;
}

static thirl_cache *cache(const char *name) {
    const struct thirl_cache_options o = {.size = sizeof o, .mode = 0640, .bytes = 1 << 20};
    thirl_cache *cache;
    return thirl_cache_open(&cache, name, &o) == 0 ? cache : NULL;
}

static int do_lists_and_discards(void *nothing) {
    (void)nothing;
    CHECK(look().count == 0); /* nobody has made a directory for them */
    thirl_cache *c = cache("shm://web/pages");
    thirl_state *s = state("a b%c"), *again = state("shm://a b%c");
    thirl_area *a = area("plan");
    thirl_lock *l = lock("turn");
    CHECK(c != NULL && s != NULL && again != NULL && a != NULL && l != NULL);
    struct seen seen = look();
    CHECK(strcmp(seen.text,
                 "shm://a b%c state well,shm://plan area well,shm://turn lock well,shm://web/pages cache well,") == 0);
    CHECK(seen.users == 5);
    CHECK(thirl_discard("web/pages") == -EBUSY && strstr(thirl_why(), "1 handle first") != NULL);
    CHECK(thirl_discard("a b%c") == -EBUSY && strstr(thirl_why(), "2 handles first") != NULL);
    CHECK(thirl_discard("nothing") == -ENOENT);
    CHECK(thirl_discard("tcp://x:1") == -THIRL_EADDRESS);
    thirl_cache_close(&c);
    thirl_state_close(&s);
    thirl_area_close(&a);
    CHECK(thirl_discard("turn") == -EBUSY);
    thirl_lock_close(&l);
    CHECK(thirl_discard("turn") == 0);
    CHECK(look().users == 1);
    CHECK(thirl_discard("shm://web/pages") == 0);
    CHECK(thirl_discard("plan") == 0);
    CHECK(thirl_discard("a b%c") == -EBUSY);
    thirl_state_close(&again);
    CHECK(room_entries("area") == 2);
    CHECK(thirl_discard("a b%c") == 0);
    CHECK(room_entries("area") == 0 && look().count == 0);
    return 0;
}
IN_A_CHILD(lists_and_discards)

static int die_with_one(void *nothing) {
    (void)nothing;
    CHECK(cache("c") != NULL);
    return raise(SIGKILL);
}

static int stay_with_one(void *nothing) {
    (void)nothing;
    CHECK(cache("c") != NULL);
    (void)pause();
    return 0;
}

/* The dead use nothing, and what they used stays; who is stopped is not dead. */
static void the_dead_use_nothing(void **context) {
    (void)context;
    assert_int_equal(room_run(die_with_one, NULL), 128 + SIGKILL);
    struct seen seen = look();
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.users, 0);
    pid_t child = room_fork(stay_with_one, NULL);
    for (int i = 0; i < 2000 && look().users == 0; i++) room_sleep(1000000);
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(look().users, 1);
    assert_int_equal(thirl_discard("c"), -EBUSY);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(room_reap(child), 128 + SIGKILL);
    assert_int_equal(thirl_discard("c"), 0);
    assert_int_equal(room_entries("area"), 0);
}

static void put_file(const char *name, const char *content, int old) {
    char path[200];
    (void)snprintf(path, sizeof path, "%s/area/%s", room_path, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    const struct timespec times[2] = {{.tv_sec = time(NULL) - old}, {.tv_sec = time(NULL) - old}};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

/* What is none of them is shown, and left alone. */
static void strangers_are_left_alone(void **context) {
    (void)context;
    put_file("notes", "dear diary", 0);
    struct seen seen = look();
    assert_string_equal(seen.text, "shm://notes ? ill,");
    assert_int_equal(thirl_discard("notes"), -THIRL_EFORMAT);
    assert_int_equal(room_entries("area"), 1);
    (void)unlinkat(room_dir, "area/notes", 0);
}

/* A state's maker has two files to make: the first one alone goes, when nobody can be at work on the second any more. */
static void half_made_things_go(void **context) {
    (void)context;
    put_file("old+wish", "x", 100);
    put_file("new+wish", "x", 0);
    put_file("whole+wish", "x", 100);
    put_file("whole", "x", 100);
    assert_int_equal(look().count, 1);
    assert_int_equal(thirl_discard("nothing"), -ENOENT);
    assert_int_equal(room_entries("area"), 3);
    (void)unlinkat(room_dir, "area/new+wish", 0);
    (void)unlinkat(room_dir, "area/whole", 0);
    assert_int_equal(room_entries("area"), 1);
    thirl_cache *c = cache("x"); /* whoever makes one looks for them, too */
    assert_non_null(c);
    assert_int_equal(room_entries("area"), 1);
    thirl_cache_close(&c);
    assert_int_equal(thirl_discard("x"), 0);
}

static int sweep_with(void *order) {
    return setenv("THIRL_WEAVE_AT", order, 1) != 0 || thirl_discard("nothing") != -ENOENT;
}

static void a_sweeper_may_be_killed(void **context) {
    (void)context;
    char order[] = "lot.sweep.before:1:kill";
    put_file("old+wish", "x", 100);
    assert_int_equal(room_run(sweep_with, order), 128 + SIGKILL);
    assert_int_equal(thirl_discard("nothing"), -ENOENT);
    assert_int_equal(room_entries("area"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_and_discards),       cmocka_unit_test(the_dead_use_nothing),
        cmocka_unit_test(strangers_are_left_alone), cmocka_unit_test(half_made_things_go),
        cmocka_unit_test(a_sweeper_may_be_killed),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
