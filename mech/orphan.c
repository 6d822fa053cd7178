/* SPDX-License-Identifier: MIT
 *
 * Listing and removing what is left in work queues of shared memory. See orphan.h.
 */
#define _GNU_SOURCE
#include "mech/orphan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/weave.h"
#include "mem/claim.h"
#include "wire/addr.h"

/* The address of the channel whose directory has that name, as it can be opened; false: no channel has. */
static bool address_of(char address[NODE_ADDRESS_MAX], const char *channel) {
    char name[256];
    if (*channel == '.' || !roll_decode(channel, name)) {
        return false;
    }
    size_t n = (size_t)snprintf(address, NODE_ADDRESS_MAX, "shm://");
    for (const char *c = name; *c != '\0' && n + 3 < NODE_ADDRESS_MAX; c++) {
        bool plain = *c != '%' && *c != '?';
        n += (size_t)snprintf(address + n, NODE_ADDRESS_MAX - n, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    return true;
}

/* What is in one channel. */
struct found {
    unsigned ends, pushers; /* that live; that have left files */
    struct carrier_left left;
};

static void look_at(int dir, const char *file, struct roll_end end, struct found *found) {
    char claims[ROLL_FILE_MAX];
    struct stat status;
    uint64_t bytes;
    bool closed;
    roll_file(claims, end, "claim");
    if (faccessat(dir, claims, F_OK, 0) != 0) {
        return;
    }
    found->pushers++;
    found->left.packets += claim_rest(dir, file, claims, &bytes, &closed);
    found->left.bytes += bytes;
    found->ends += !closed && node_alive(end.node);
    found->left.uid = fstatat(dir, file, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_uid : 0;
}

static struct found look_through(int dir) {
    struct found found = {0};
    DIR *list = roll_list(dir);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (!roll_parse(entry->d_name, &end, &kind)) {
            continue;
        }
        if (strcmp(kind, "tx") == 0) {
            look_at(dir, entry->d_name, end, &found);
        } else if (strcmp(kind, "rx") == 0) {
            found.ends += node_alive(end.node);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return found;
}

int orphan_list(int (*seen)(void *context, const struct kept_line *), void *context) {
    int fd = node_dir() < 0 ? -1 : openat(node_dir(), "chan", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    int rc = 0;
    for (struct dirent *entry; list != NULL && rc == 0 && (entry = readdir(list)) != NULL;) {
        char address[NODE_ADDRESS_MAX];
        int dir = !address_of(address, entry->d_name)
                      ? -1
                      : openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (dir < 0) {
            continue;
        }
        struct found found = look_through(dir);
        fd_close(&dir);
        if (found.left.packets != 0) {
            const struct kept_line line = {address, found.left, found.ends};
            rc = seen(context, &line);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    } else {
        fd_close(&fd);
    }
    return rc;
}

/* All files of pushers in a locked channel in which nobody is. */
static void remove_pushers(int dir) {
    DIR *list = roll_list(dir);
    if (list == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (roll_parse(entry->d_name, &end, &kind) && (strcmp(kind, "tx") == 0 || strcmp(kind, "claim") == 0)) {
            weave("orphan.remove.before");
            (void)unlinkat(dir, entry->d_name, 0);
        }
    }
    (void)closedir(list);
}

static int clean_channel(const char *name, int64_t until, uint64_t *thrown) {
    struct roll roll;
    bool alone = false;
    int rc = roll_visit(&roll, name, until, &alone);
    if (rc != 0) {
        return rc;
    }
    struct found found = look_through(roll.dir);
    rc = found.ends != 0 ? -EBUSY : found.pushers == 0 ? -ENOENT : 0;
    if (rc == 0) {
        remove_pushers(roll.dir);
        *thrown = found.left.packets;
    }
    roll_visited(&roll, alone || rc == 0);
    return rc;
}

int orphan_clean(const char *address, int64_t until, uint64_t *thrown) {
    struct addr addr;
    char channel[256];
    *thrown = 0;
    if (strncmp(address, "shm://", 6) != 0 || addr_parse(&addr, address, NULL) != 0 ||
        roll_encode(channel, "shm", addr.rest) != 0) {
        return -ENOENT;
    }
    return clean_channel(channel, until, thrown);
}
