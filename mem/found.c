/* SPDX-License-Identifier: MIT
 *
 * Making a channel, see found.h.
 */
#define _GNU_SOURCE
#include "mem/found.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/weave.h"
#include "mem/node.h"

#define FRESH_MAX (NODE_NAME_MAX + 8)

int found_space(int roll) {
    int rc = fd_take_space(roll, FOUND_SIZE);
    return rc != 0 ? err_system(-rc, "the registry has no room for a channel") : 0;
}

/* Where this process makes one: no channel's name begins with a dot. */
static void fresh_path(char path[FRESH_MAX], uint64_t node) {
    char name[NODE_NAME_MAX];
    node_name(name, node);
    (void)snprintf(path, FRESH_MAX, "chan/.%s", name);
}

static void remove_fresh(const char *path) {
    char roll[FRESH_MAX + 8];
    (void)snprintf(roll, sizeof roll, "%s/roll", path);
    (void)unlinkat(node_dir(), roll, 0);
    (void)unlinkat(node_dir(), path, AT_REMOVEDIR);
}

static int cannot_make(int code, const char *shown) {
    return err_system(code, "the channel %s cannot be made in the registry", shown);
}

/* Its directory and its roll, with their modes whatever the umask; the bit that hands the group on stays. */
static int furnish(const char *path, unsigned mode, const char *shown) {
    unsigned wider = 0700 | (mode & 0070 ? 0070u : 0) | (mode & 0007 ? 0007u : 0);
    struct stat status;
    int dir = openat(node_dir(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int roll = dir < 0 ? -1 : openat(dir, "roll", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    bool right = roll >= 0 && fstat(dir, &status) == 0 && fchmod(dir, wider | (status.st_mode & S_ISGID)) == 0 &&
                 fchmod(roll, mode) == 0;
    int rc = right ? found_space(roll) : cannot_make(errno, shown);
    fd_close(&roll);
    fd_close(&dir);
    return rc;
}

/* The channel has its name already, from somebody who was faster. Or its directory was left over, and has no roll: it gets this one, for those
 * who may enter it. */
static void lend_roll(const char *fresh, const char *path) {
    char from[FRESH_MAX + 8], to[PATH_MAX];
    struct stat status;
    (void)snprintf(from, sizeof from, "%s/roll", fresh);
    (void)snprintf(to, sizeof to, "%s/roll", path);
    if (fstatat(node_dir(), path, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        fchmodat(node_dir(), from, status.st_mode & 0666, 0) == 0) {
        (void)linkat(node_dir(), from, node_dir(), to, 0);
    }
}

int found_channel(const char *path, unsigned mode, const char *shown) {
    char fresh[FRESH_MAX];
    struct proc self;
    proc_self(&self);
    fresh_path(fresh, node_id() != 0 ? node_id() : proc_number(&self)); /* who only cleans has not joined */
    remove_fresh(fresh);                                                /* if an earlier try was not able to */
    weave("found.make.before");
    int rc = node_make_dir("chan", 0);
    if (rc == 0 && mkdirat(node_dir(), fresh, 0700) != 0) {
        rc = -errno;
    }
    rc = rc != 0 ? cannot_make(-rc, shown) : furnish(fresh, mode, shown);
    weave("found.make.furnished");
    if (rc == 0 && renameat(node_dir(), fresh, node_dir(), path) == 0) {
        weave("found.make.named");
        return 0;
    }
    if (rc == 0 && (errno == EEXIST || errno == ENOTEMPTY)) {
        lend_roll(fresh, path);
    } else if (rc == 0 && errno != ENOENT) { /* ENOENT: a sweep took it for a dead one's */
        rc = cannot_make(errno, shown);
    }
    remove_fresh(fresh);
    return rc;
}

void found_clean(const char *name) {
    uint64_t node;
    char path[FRESH_MAX];
    if (node_parse(name + 1, strlen(name + 1), &node) && !node_alive(node)) {
        fresh_path(path, node);
        remove_fresh(path);
    }
}
