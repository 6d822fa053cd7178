/* SPDX-License-Identifier: MIT
 *
 * What is shared, and several users: the permission bits and the group of an area, a state, a cache or a lock say who may read it, and who may
 * change it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/area.h"
#include "include/thirl/cache.h"
#include "include/thirl/lock.h"
#include "include/thirl/state.h"
#include "tests/member.h"
#include "tests/room.h"

#define NOBODY 65534
#define GUESTS 4242
#define SOON thirl_in_ms(5000)

/* ---- the same of each kind: makes one with a value in it, and looks at it, or changes it ---- */

static int make_area(const char *name, uint32_t mode, uint32_t group) {
    const struct thirl_area_options o = {.size = sizeof o, .mode = mode, .group = group};
    thirl_area *area;
    thirl_at word;
    int rc = thirl_area_open(&area, name, &o);
    if (rc == 0) {
        rc = thirl_area_root(area, "value", &word, SOON);
        *(uint64_t *)thirl_area_pointer(area, word, 8) = 5;
        thirl_area_close(&area);
    }
    return rc;
}

static int use_area(const char *name, enum thirl_access access) {
    const struct thirl_area_options o = {.size = sizeof o, .access = access};
    thirl_area *area;
    thirl_at word, block;
    int rc = thirl_area_open(&area, name, &o);
    if (rc == 0) {
        CHECK(thirl_area_root(area, "value", &word, SOON) == 0);
        CHECK(*(uint64_t *)thirl_area_pointer(area, word, 8) == 5);
        CHECK(thirl_area_alloc(area, 100, &block, SOON) == (access == THIRL_ACCESS_READ ? -EACCES : 0));
        thirl_area_close(&area);
    }
    return rc;
}

static int make_state(const char *name, uint32_t mode, uint32_t group) {
    const struct thirl_state_options o = {.size = sizeof o, .mode = mode, .group = group};
    thirl_state *state;
    int rc = thirl_state_open(&state, name, &o);
    if (rc == 0) {
        rc = thirl_state_set(state, "5", 2, SOON);
        thirl_state_close(&state);
    }
    return rc;
}

static int use_state(const char *name, enum thirl_access access) {
    const struct thirl_state_options o = {.size = sizeof o, .access = access};
    thirl_state *state;
    char value[8];
    size_t size;
    uint64_t version = 0;
    int rc = thirl_state_open(&state, name, &o);
    if (rc == 0) {
        CHECK(thirl_state_get(state, value, sizeof value, &size, NULL) == 0 && strcmp(value, "5") == 0);
        CHECK(thirl_state_wait(state, &version, SOON) == 0);
        CHECK(thirl_state_set(state, "5", 2, SOON) == (access == THIRL_ACCESS_READ ? -EACCES : 0));
        thirl_state_close(&state);
    }
    return rc;
}

static int make_cache(const char *name, uint32_t mode, uint32_t group) {
    const struct thirl_cache_options o = {.size = sizeof o, .bytes = 1 << 20, .mode = mode, .group = group};
    thirl_cache *cache;
    int rc = thirl_cache_open(&cache, name, &o);
    if (rc == 0) {
        rc = thirl_cache_put(cache, "key", 3, "5", 2, THIRL_NEVER, SOON);
        thirl_cache_close(&cache);
    }
    return rc;
}

static int use_cache(const char *name, enum thirl_access access) {
    const struct thirl_cache_options o = {.size = sizeof o, .there = 1, .access = access};
    thirl_cache *cache;
    char value[8];
    size_t size;
    int rc = thirl_cache_open(&cache, name, &o);
    if (rc == 0) {
        CHECK(thirl_cache_copy(cache, "key", 3, value, sizeof value, &size, NULL) == 0 && strcmp(value, "5") == 0);
        CHECK(thirl_cache_put(cache, "key", 3, "5", 2, THIRL_NEVER, SOON) ==
              (access == THIRL_ACCESS_READ ? -EACCES : 0));
        thirl_cache_close(&cache);
    }
    return rc;
}

/* The other user's process lives, and has it. */
static int make_lock(const char *name, uint32_t mode, uint32_t group) {
    const struct thirl_lock_options o = {.size = sizeof o, .mode = mode, .group = group};
    thirl_lock *lock;
    int rc = thirl_lock_open(&lock, name, THIRL_LOCK_MUTEX, &o);
    return rc != 0 ? rc : thirl_mutex_lock(lock->mutex, THIRL_NOW);
}

static int use_lock(const char *name, enum thirl_access access) {
    thirl_lock *lock;
    (void)access;
    int rc = thirl_lock_open(&lock, name, THIRL_LOCK_MUTEX, NULL);
    if (rc == 0) {
        CHECK(thirl_mutex_lock(lock->mutex, THIRL_NOW) == -EAGAIN);
        thirl_lock_close(&lock);
    }
    return rc;
}

static const struct kind {
    const char *name;
    int (*make)(const char *, uint32_t mode, uint32_t group);
    int (*use)(const char *, enum thirl_access);
} kinds[] = {{"area", make_area, use_area},
             {"state", make_state, use_state},
             {"cache", make_cache, use_cache},
             {"lock", make_lock, use_lock}};
#define KINDS (sizeof kinds / sizeof *kinds)
#define LOCK (KINDS - 1) /* whoever uses a lock changes it */

/* ---- who may what ---- */

static const struct right {
    uint32_t mode;
    bool reads[2], writes[2]; /* others, and who is in the group */
} rights[] = {{0600, {false, false}, {false, false}},
              {0640, {false, true}, {false, false}},
              {0660, {false, true}, {false, true}},
              {0644, {true, true}, {false, false}},
              {0666, {true, true}, {true, true}}};
#define RIGHTS (sizeof rights / sizeof *rights)

static const char *name_of(char out[32], size_t kind, size_t right) {
    (void)snprintf(out, 32, "%s/%04o", kinds[kind].name, rights[right].mode);
    return out;
}

static bool is_there(size_t kind, size_t right) {
    return kind != LOCK || rights[right].reads[1] == rights[right].writes[1];
}

static int use_all(void *in_group) {
    bool member = in_group != NULL;
    char name[32];
    CHECK(setgroups(0, NULL) == 0 && setgid(member ? GUESTS : NOBODY) == 0 && setuid(NOBODY) == 0);
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t r = 0; r < RIGHTS; r++) {
            if (!is_there(k, r)) continue;
            int reads = k == LOCK ? 0 : kinds[k].use(name_of(name, k, r), THIRL_ACCESS_READ);
            int writes = kinds[k].use(name_of(name, k, r), THIRL_ACCESS_WRITE);
            bool may_read = k == LOCK || rights[r].reads[member], may_write = rights[r].writes[member];
            if (reads != (may_read ? 0 : -EACCES) || writes != (may_write ? 0 : -EACCES)) {
                (void)fprintf(stderr, "%s, %s: read %d, write %d (%s)\n", name, member ? "member" : "other", reads,
                              writes, thirl_why());
                return 1;
            }
        }
        CHECK(kinds[k].make("root's", 0660, 1) == -EPERM); /* it is in that group no more */
        CHECK(strstr(thirl_why(), "group 0") != NULL);
    }
    return 0;
}

/* The registry lets all of them in. */
static int do_each_file_says_who_may(void *nothing) {
    (void)nothing;
    char path[200], name[32];
    const char *const below[] = {"", "/node", "/chan", "/area"};
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        (void)snprintf(path, sizeof path, "%s/open%s", room_path, below[i]);
        CHECK(mkdir(path, 0777) == 0 && chmod(path, 0777) == 0);
    }
    (void)snprintf(path, sizeof path, "%s/open", room_path);
    CHECK(chmod(room_path, 0755) == 0 && setenv("THIRL_DIR", path, 1) == 0);
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t r = 0; r < RIGHTS; r++) {
            CHECK(!is_there(k, r) || kinds[k].make(name_of(name, k, r), rights[r].mode, GUESTS + 1) == 0);
        }
    }
    CHECK(room_run(use_all, NULL) == 0);
    CHECK(room_run(use_all, path) == 0);
    return 0;
}

static void each_file_says_who_may(void **state) {
    (void)state;
    if (geteuid() != 0) {
        print_message("skip: only root can be several users\n");
        skip();
    }
    assert_int_equal(room_run(do_each_file_says_who_may, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_file_says_who_may)};
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
