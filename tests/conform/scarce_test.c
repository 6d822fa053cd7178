/* SPDX-License-Identifier: MIT
 *
 * When the system has no more: a full or missing registry, no descriptors, files that may not grow. A sentence, no damage,
 * and service again as soon as there is enough.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/conform/conform.h"

static void exchange(thirl *a, thirl *b) {
    for (uint64_t i = 0; i < 100; i++) {
        conform_send(a, i * 10, i);
        conform_recv(b, i * 10, i);
    }
}

static void close_both(thirl **a, thirl **b) {
    must_be(thirl_close(a, PATIENCE), 0);
    must_be(thirl_close(b, PATIENCE), 0);
}

static void survives_a_full_registry(struct conform *c) {
    thirl *a, *b, *end[64];
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", c->registry, "tmpfs", 0, "size=1m") != 0) {
        conform_skip("a small tmpfs can be mounted by root only");
    }
    conform_both(c, 100, "queue=64K", &a, &b);
    unsigned before = conform_channels(c), opened = 0;
    int rc = 0;
    while (opened < 64 &&
           (rc = thirl_open(&end[opened], THIRL_PAIR, conform_address(c, opened, "queue=64K"), NULL)) == 0) {
        opened++;
    }
    if (strcmp(c->line->name, "shm") == 0) {
        must_be(rc, -ENOSPC);
        must(opened > 0);
    } else {
        must(rc == 0 || rc == -ENOSPC || (rc == -EMFILE && strstr(thirl_why(), "raise") != NULL));
    }
    must(rc == 0 || thirl_why()[0] != '\0');
    must(strcmp(c->line->name, "shm") != 0 ||
         conform_channels(c) == before + opened); /* the one that failed left nothing */
    exchange(a, b);
    for (unsigned i = 0; i < opened; i++) {
        must_be(thirl_close(&end[i], PATIENCE), 0);
    }
    must_be(conform_channels(c), before);
    conform_both(c, 0, "queue=64K", &end[0], &end[1]);
    exchange(end[0], end[1]);
    close_both(&end[0], &end[1]);
    exchange(a, b);
    close_both(&a, &b);
}

static void says_that_nothing_fits_at_all(struct conform *c) {
    thirl *end = NULL;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", c->registry, "tmpfs", 0, "size=16k") != 0) {
        conform_skip("a small tmpfs can be mounted by root only");
    }
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), NULL), -ENOSPC);
    must(end == NULL && thirl_why()[0] != '\0');
    must_be(conform_channels(c), 0);
}

static void survives_without_descriptors(struct conform *c) {
    thirl *a, *b, *end[2];
    int rc = 0;
    conform_both(c, 100, "queue=64K", &a, &b);
    unsigned before = conform_channels(c);
    must(thirl_fd(a) >= 0); /* the waits below need no new one */
    unsigned open_now = conform_lines_of("/proc/self/fd");
    int last = dup(0);
    must(last >= 0);
    close(last);
    for (int room = 0; room < 8; room++) {
        struct rlimit old, few;
        must_be(getrlimit(RLIMIT_NOFILE, &old), 0);
        few = old;
        few.rlim_cur = (rlim_t)last + (rlim_t)room;
        must_be(setrlimit(RLIMIT_NOFILE, &few), 0);
        rc = thirl_open(&end[0], THIRL_PAIR, conform_address(c, 0, "queue=64K"), NULL);
        must(rc == 0 || rc == -EMFILE);
        must(rc == 0 || (end[0] == NULL && thirl_why()[0] != '\0'));
        must(room > 0 || rc == -EMFILE);
        exchange(a, b);
        must_be(setrlimit(RLIMIT_NOFILE, &old), 0);
        must_be(thirl_close(&end[0], PATIENCE), 0);
        must_be(conform_lines_of("/proc/self/fd"), open_now);
    }
    conform_both(c, 0, NULL, &end[0], &end[1]);
    exchange(end[0], end[1]);
    close_both(&end[0], &end[1]);
    must_be(conform_channels(c), before);
    close_both(&a, &b);
}

static void survives_a_small_file_limit(struct conform *c) {
    thirl *a, *b;
    (void)signal(SIGXFSZ, SIG_DFL);
    struct rlimit old, few;
    must_be(getrlimit(RLIMIT_FSIZE, &old), 0);
    static const rlim_t limits[] = {0, 100, 4096, 20000, 100000, 1 << 20};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        few = old;
        few.rlim_cur = limits[i];
        must_be(setrlimit(RLIMIT_FSIZE, &few), 0);
        int rc = thirl_open(&a, THIRL_PAIR, conform_address(c, 0, NULL), NULL);
        must_be(setrlimit(RLIMIT_FSIZE, &old), 0);
        if (strcmp(c->line->name, "shm") == 0) {
            must_be(rc, -EFBIG);
        } else {
            must(rc == 0 || rc == -EFBIG);
        }
        must(rc == 0 || thirl_why()[0] != '\0');
        must_be(thirl_close(&a, PATIENCE), 0);
        must_be(conform_channels(c), 0);
    }
    conform_both(c, 0, NULL, &a, &b);
    exchange(a, b);
    close_both(&a, &b);
}

/* ---- directories ---- */

static void become_nobody(void) {
    if (geteuid() == 0) {
        must_be(setgid(65534), 0);
        must_be(setuid(65534), 0);
    }
}

/* Without a registry, only the mechanisms that need it refuse. */
static void must_refuse(const struct conform *c, int code, const char *part) {
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), NULL);
    if (strcmp(c->line->name, "shm") == 0) {
        must_be(rc, code);
    }
    if (rc != 0 && !c->line->path) {
        must_say(part);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void makes_a_missing_directory(struct conform *c) {
    thirl *a, *b;
    char path[256];
    struct stat status;
    snprintf(path, sizeof path, "%s/not/yet/there", c->directory);
    must_be(setenv("THIRL_DIR", path, 1), 0);
    conform_both(c, 0, NULL, &a, &b);
    exchange(a, b);
    close_both(&a, &b);
    must_be(stat(path, &status), 0);
    must_be(status.st_mode & 0777, 0700);
}

static void says_that_the_directory_cannot_be(struct conform *c) {
    must_be(setenv("THIRL_DIR", "/proc/nowhere", 1), 0);
    must_refuse(c, -ENOENT, "/proc/nowhere");
}

static void says_that_the_directory_is_a_file(struct conform *c) {
    char path[256];
    snprintf(path, sizeof path, "%s/file", c->directory);
    must_be(close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
    must_be(setenv("THIRL_DIR", path, 1), 0);
    must_refuse(c, -ENOTDIR, path);
}

static void says_that_it_may_not_write(struct conform *c) {
    must_be(chmod(c->directory, 0755), 0);
    must_be(chmod(c->registry, 0555), 0);
    become_nobody();
    must_refuse(c, -EACCES, c->registry);
}

static void says_that_it_is_read_only(struct conform *c) {
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", c->registry, "tmpfs", MS_RDONLY, "size=1m") != 0) {
        conform_skip("a read-only tmpfs can be mounted by root only");
    }
    must_refuse(c, -EROFS, c->registry);
}

/* Where nobody has said where the registry is, it is at a place that others may have taken first. */
static void says_that_the_directory_is_another_users(struct conform *c) {
    char path[64];
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/dev/shm", "tmpfs", 0, "size=1m") != 0) {
        conform_skip("an empty /dev/shm can be mounted by root only");
    }
    snprintf(path, sizeof path, "/dev/shm/thirl-%u", (unsigned)geteuid());
    must_be(unsetenv("THIRL_DIR"), 0);
    must_be(mkdir(path, 0777), 0);
    must_be(chown(path, 65534, 65534), 0);
    must_refuse(c, -EACCES, "belongs to uid 65534");
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(survives_a_full_registry),          CONFORM_ONLY(says_that_nothing_fits_at_all, "shm"),
        CONFORM(survives_without_descriptors),      CONFORM(survives_a_small_file_limit),
        CONFORM(makes_a_missing_directory),         CONFORM(says_that_the_directory_cannot_be),
        CONFORM(says_that_the_directory_is_a_file), CONFORM(says_that_it_may_not_write),
        CONFORM(says_that_it_is_read_only),         CONFORM_ONLY(says_that_the_directory_is_another_users, "shm"),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
