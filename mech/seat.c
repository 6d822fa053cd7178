/* SPDX-License-Identifier: MIT
 *
 * Seats, see seat.h. /proc shows numbers as they are in the PID namespace of its mount: where that is not this process's
 * own, nothing is believed.
 */
#define _GNU_SOURCE
#include "mech/seat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"

#define LOOKS 3 /* the kernel tells its locks in pieces: one may slip between two of them as others come and go */

const struct link_who seat_nobody = {
    .pidfd = -1, .uid = UINT32_MAX, .gid = UINT32_MAX, .name = "?", .text = "a process that cannot be seen from here"};

int seat_take(int fd) {
    int rc;
    while ((rc = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EINTR) {}
    if (rc == 0) {
        return 0;
    }
    return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

/* For the moment of the question this is a lock of its own; who is kept out by it tries again. */
static bool is_taken(int fd) {
    bool taken = flock(fd, LOCK_SH | LOCK_NB) != 0;
    if (!taken) {
        (void)flock(fd, LOCK_UN);
    }
    return taken;
}

static bool is_our_proc(void) {
    char text[24] = "";
    ssize_t length = readlink("/proc/self", text, sizeof text - 1);
    return length > 0 && strtoll(text, NULL, 10) == getpid();
}

/* "1: FLOCK  ADVISORY  WRITE 123 00:0f:757674 0 EOF". 0: it is not among them; -1: they cannot be read. */
static int64_t look(int fd) {
    char line[160];
    struct stat file;
    int64_t holder = 0;
    FILE *locks = fstat(fd, &file) == 0 && is_our_proc() ? fopen("/proc/locks", "re") : NULL;
    if (locks == NULL) {
        return -1;
    }
    while (holder == 0 && fgets(line, sizeof line, locks) != NULL) {
        long long pid;
        unsigned major_number, minor_number;
        unsigned long long inode;
        if (sscanf(line, "%*u: FLOCK ADVISORY WRITE %lld %x:%x:%llu", &pid, &major_number, &minor_number, &inode) ==
                4 &&
            inode == file.st_ino && makedev(major_number, minor_number) == file.st_dev) {
            holder = pid;
        }
    }
    (void)fclose(locks);
    return holder;
}

/* Who holds it. 0: nobody; -1: somebody who cannot be seen from here. */
static int64_t find(int fd) {
    int64_t holder = 0;
    for (int i = 0; i < LOOKS && holder == 0; i++) {
        holder = look(fd);
        if (holder <= 0 && !is_taken(fd)) {
            return 0;
        }
    }
    return holder > 0 ? holder : -1;
}

bool seat_holder(int fd, struct link_who *who) {
    char path[40];
    struct stat process;
    *who = seat_nobody;
    int64_t pid = find(fd), again;
    if (pid <= 0) {
        return pid != 0;
    }
    who->pid = pid;
    (void)snprintf(path, sizeof path, "/proc/%lld", (long long)pid);
    if (stat(path, &process) == 0) {
        who->uid = process.st_uid;
        who->gid = process.st_gid;
    }
    link_know(who, proc_pidfd(pid));
    /* Asked again: the number may have become another process's before there was a descriptor of it. */
    if (!who->dead && (again = find(fd)) != pid) {
        if (again < 0) {
            fd_close(&who->pidfd);
            *who = seat_nobody;
            return true;
        }
        who->dead = true;
    }
    return !who->dead;
}

/* "NSpid:	2160	1": its numbers in all namespaces, from ours inwards */
bool seat_is_of(const struct link_who *who, int64_t pid) {
    char path[40], line[256];
    bool found = false, listed = false;
    (void)snprintf(path, sizeof path, "/proc/%lld/status", (long long)who->pid);
    FILE *status = who->pid > 0 ? fopen(path, "re") : NULL;
    while (status != NULL && !listed && fgets(line, sizeof line, status) != NULL) {
        listed = strncmp(line, "NSpid:", 6) == 0;
        for (char *at = line + 6, *end; listed && !found; at = end) {
            found = strtoll(at, &end, 10) == pid && end != at;
            if (end == at) {
                break;
            }
        }
    }
    if (status != NULL) {
        (void)fclose(status);
    }
    return found || !listed;
}
