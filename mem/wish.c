/* SPDX-License-Identifier: MIT
 *
 * Wishes: made, seen, granted, removed.
 */
#define _GNU_SOURCE
#include "mem/wish.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/layout.h"
#include "base/weave.h"
#include "mem/post.h"

#define WISH_MAGIC "thirl.ws"
#define WISH_VERSION 1
#define WISH_SIZE 4096
#define WISH_PATH 64

struct want { /* the file */
    uint64_t news;
    char magic[8];
    uint32_t version, flags;
    char pattern[NODE_ADDRESS_MAX];
};
LAYOUT(want, 344, pattern, 24);

static void path_of(char path[WISH_PATH], struct roll_end end, const char *behind) {
    char node[NODE_NAME_MAX];
    node_name(node, end.node);
    (void)snprintf(path, WISH_PATH, "wish/%s.%u%s", node, end.number, behind);
}

/* ---- making and removing ---- */

static int make_want(struct wish *wish, const struct want *want, unsigned mode) {
    int fd = openat(wish->dir, "want", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int rc = fd < 0 || fchmod(fd, mode) != 0 || fallocate(fd, 0, 0, WISH_SIZE) != 0 ? -errno : 0;
    rc = rc != 0 ? rc : fd_write(fd, want, sizeof *want);
    void *map = rc != 0 ? MAP_FAILED : mmap(NULL, WISH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    rc = rc == 0 && map == MAP_FAILED ? -fd_map_error() : rc;
    if (rc == 0) {
        wish->news = map;
        (void)madvise(map, WISH_SIZE, MADV_DONTFORK);
    }
    fd_close(&fd);
    return rc;
}

static void empty(int dir) {
    (void)unlinkat(dir, "want", 0);
    (void)unlinkat(dir, WISH_BELL, 0);
    int news = openat(dir, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *list = news < 0 ? NULL : roll_list(news);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        (void)unlinkat(news, entry->d_name, 0);
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    fd_close(&news);
    (void)unlinkat(dir, "new", AT_REMOVEDIR);
}

/* False: something of it is still there. */
static bool remove_wish(const char *path) {
    for (int tries = 0; tries < 4; tries++) { /* a sender may be making a file in new/ */
        int dir = openat(node_dir(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (dir < 0) {
            return errno == ENOENT;
        }
        weave("wish.remove.before");
        empty(dir);
        fd_close(&dir);
        weave("wish.remove.emptied");
        if (unlinkat(node_dir(), path, AT_REMOVEDIR) == 0 || errno == ENOENT) {
            return true;
        }
    }
    return false;
}

int wish_make(struct wish *wish, const char *pattern, uint32_t flags, struct roll_end self, unsigned mode,
              const char *address) {
    char unfinished[WISH_PATH];
    struct want want = {.magic = WISH_MAGIC, .version = WISH_VERSION, .flags = flags};
    (void)snprintf(want.pattern, sizeof want.pattern, "%s", pattern);
    *wish = (struct wish){.dir = -1, .self = self};
    path_of(unfinished, self, "~");
    unsigned wider = (mode & 0070 ? 0070u : 0) | (mode & 0007 ? 0007u : 0);
    (void)node_make_dir("wish", wider);
    int rc = mkdirat(node_dir(), unfinished, 0700 | wider) != 0 ? -errno : 0;
    if (rc == 0) {
        wish->dir = openat(node_dir(), unfinished, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = wish->dir < 0 || mkdirat(wish->dir, "new", 0700 | wider) != 0 ? -errno : make_want(wish, &want, mode);
    }
    if (rc != 0) {
        wish_drop(wish);
        return err_system(-rc, "%s: what it wishes to hear cannot be written to the registry", address);
    }
    return 0;
}

int wish_show(struct wish *wish, const char *address) {
    char path[WISH_PATH], unfinished[WISH_PATH];
    path_of(path, wish->self, "");
    path_of(unfinished, wish->self, "~");
    weave("wish.show.before");
    if (renameat(node_dir(), unfinished, node_dir(), path) != 0) {
        return err_system(errno, "%s: what it wishes to hear cannot be shown in the registry", address);
    }
    weave("wish.show.after");
    return 0;
}

void wish_withdraw(struct wish *wish) {
    if (wish->dir >= 0) {
        (void)unlinkat(wish->dir, "want", 0);
        weave("wish.withdraw.after");
    }
}

void wish_drop(struct wish *wish) {
    if (wish->news != NULL) {
        (void)munmap(wish->news, WISH_SIZE);
        wish->news = NULL;
    }
    char path[WISH_PATH];
    fd_close(&wish->dir);
    path_of(path, wish->self, "");
    bool gone = remove_wish(path);
    path_of(path, wish->self, "~");
    if (!remove_wish(path) || !gone) {
        node_stay();
    }
}

/* ---- what is to be looked at ---- */

static int mark(int dir, const char *channel) {
    int news = openat(dir, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int fd = news < 0 ? -1 : openat(news, channel, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? -errno : 0;
    fd_close(&fd);
    fd_close(&news);
    return rc;
}

int wish_note(const struct wish *wish, const char *channel) {
    int rc = mark(wish->dir, channel);
    return rc == 0 ? 0 : err_system(-rc, "the registry cannot be written");
}

int wish_each(const struct wish *wish, int (*seen)(void *context, const char *channel), void *context) {
    int news = openat(wish->dir, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *list = news < 0 ? NULL : roll_list(news);
    int rc = list == NULL ? -errno : 0;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        if (*entry->d_name == '.') {
            continue;
        }
        int said = seen(context, entry->d_name);
        weave("wish.each.seen");
        if (said == 0) {
            (void)unlinkat(news, entry->d_name, 0);
        }
        rc = rc == 0 ? said : rc;
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    fd_close(&news);
    return rc;
}

/* ---- the sender's side ---- */

/* Reads that wish, of whom it may be a lie: false, it is none, or of no interest. */
static bool read_want(int dir, struct want *want) {
    int fd = openat(dir, "want", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    ssize_t got = fd < 0 ? -1 : fd_read_at(fd, want, sizeof *want, 0);
    fd_close(&fd);
    want->pattern[sizeof want->pattern - 1] = '\0';
    return got == (ssize_t)sizeof *want && memcmp(want->magic, WISH_MAGIC, sizeof want->magic) == 0 &&
           want->version == WISH_VERSION;
}

struct asked {
    const struct roll *roll;
    const char *file, *name;
    uint32_t flags;
    wish_fits *fits;
};

/* Calls it for each wish of a living end that fits. */
static int each(const struct asked *asked,
                int (*seen)(const struct asked *, int dir, const struct want *, struct roll_end)) {
    int wishes = openat(node_dir(), "wish", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = wishes < 0 ? NULL : roll_list(wishes);
    int rc = 0;
    for (struct dirent *entry; list != NULL && rc == 0 && (entry = readdir(list)) != NULL;) {
        struct roll_end end = {0, 0};
        struct want want;
        const char *dot = strchr(entry->d_name, '.');
        char *behind = NULL;
        if (dot == NULL || !node_parse(entry->d_name, (size_t)(dot - entry->d_name), &end.node)) {
            continue;
        }
        end.number = (uint32_t)strtoul(dot + 1, &behind, 10);
        int dir = *behind != '\0' ? -1 : openat(wishes, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (dir >= 0 && read_want(dir, &want) && asked->fits(want.pattern, asked->name) && node_alive(end.node)) {
            rc = seen(asked, dir, &want, end);
        }
        fd_close(&dir);
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    fd_close(&wishes);
    return rc;
}

/* Who is full, or may not be written to, hears nothing; that is no reason not to send. */
static int grant(const struct asked *asked, int dir, const struct want *want, struct roll_end end) {
    weave("wish.grant.before");
    if (mark(dir, asked->roll->name) != 0) {
        return 0;
    }
    weave("wish.grant.marked");
    int rc = want->flags == asked->flags ? post_one(asked->roll, asked->file, &end) : 0;
    if (faccessat(dir, "want", F_OK, 0) != 0 && errno == ENOENT) {
        post_back(asked->roll, &end); /* it may not have seen the post: pairs with wish_withdraw */
    }
    weave("wish.grant.after");
    return rc;
}

int wish_grant(const struct roll *roll, const char *file, const char *name, uint32_t flags, wish_fits *fits) {
    const struct asked asked = {roll, file, name, flags, fits};
    return each(&asked, grant);
}

static int ring(const struct asked *asked, int dir, const struct want *want, struct roll_end end) {
    static uint64_t rung;
    const char byte = 1;
    (void)asked;
    (void)end;
    uint64_t other = want->news ^ (uint64_t)clock_now() ^ atomic_add(&rung, 1) << 48 ^ node_id();
    int fd = openat(dir, "want", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        (void)fd_write_at(fd, &other, sizeof other, 0);
    }
    fd_close(&fd);
    weave("wish.ring.said");
    /* For reading too: a FIFO that its owner has closed would be SIGPIPE. */
    fd = openat(dir, WISH_BELL, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        (void)!write(fd, &byte, 1);
    }
    fd_close(&fd);
    return 0;
}

void wish_ring(const char *name, wish_fits *fits) {
    const struct asked asked = {.name = name, .fits = fits};
    (void)each(&asked, ring);
}

/* ---- the dead ---- */

void wish_clean(void) {
    int wishes = openat(node_dir(), "wish", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = wishes < 0 ? NULL : roll_list(wishes);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        const char *dot = strchr(entry->d_name, '.');
        uint64_t node;
        char path[WISH_PATH];
        if (dot != NULL && node_parse(entry->d_name, (size_t)(dot - entry->d_name), &node) && !node_alive(node) &&
            strlen(entry->d_name) < WISH_PATH - 8) {
            (void)snprintf(path, sizeof path, "wish/%.55s", entry->d_name);
            (void)remove_wish(path);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    fd_close(&wishes);
}
