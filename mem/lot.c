/* SPDX-License-Identifier: MIT
 *
 * Making, finding and removing what stands in area/.
 */
#define _GNU_SOURCE
#include "mem/lot.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mem/node.h"

#define TRIES 16       /* somebody removes it as often as this one finds it */
#define HALF_MADE_S 60 /* the first of two files is there for so long without the second: its maker is dead */

int lot_name(char file[LOT_NAME_MAX], char shown[LOT_SHOWN_MAX], const char *kind, const char *name) {
    size_t n = 0;
    if (name == NULL || strncmp(name, "shm://", 6) == 0) {
        name = name == NULL ? "" : name + 6;
    } else if (strstr(name, "://") != NULL) {
        return err_say(THIRL_EADDRESS, "\"%.80s\" is no name of a %s: NAME or shm://NAME is", name, kind);
    }
    for (const char *c = name; *c != '\0'; c++) {
        bool plain = *c > ' ' && *c < 127 && *c != '/' && *c != '%' && *c != '?' && *c != '+' && !(*c == '.' && n == 0);
        if (n + 3 > LOT_NAME_MAX - 8) {
            return err_say(ENAMETOOLONG, "the name \"%.40s…\" of a %s is longer than a file name may be", name, kind);
        }
        n += (size_t)snprintf(file + n, LOT_NAME_MAX - n, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    if (n == 0) {
        return err_say(THIRL_EADDRESS, "a %s needs a name", kind);
    }
    (void)snprintf(shown, LOT_SHOWN_MAX, "%s shm://%.250s", kind, name);
    return 0;
}

void lot_registry(uint64_t registry[2]) {
    struct stat status;
    bool known = fstat(node_dir(), &status) == 0;
    registry[0] = known ? (uint64_t)status.st_dev : 0;
    registry[1] = known ? (uint64_t)status.st_ino : 0;
}

int lot_belongs(const uint64_t registry[2], const char *what) {
    uint64_t here[2];
    lot_registry(here);
    return memcmp(here, registry, sizeof here) == 0
               ? 0
               : err_say(EXDEV, "%s was made in another registry: who uses it cannot be known here", what);
}

void lot_begin(struct lot_head *head, const char *magic, uint32_t version, size_t size) {
    memcpy(head->magic, magic, sizeof head->magic);
    head->version = version;
    head->size = (uint32_t)size;
}

int lot_check(const struct lot_head *head, uint64_t bytes, const char *magic, uint32_t version, size_t size,
              const char *what) {
    if (bytes < size || memcmp(head->magic, magic, sizeof head->magic) != 0) {
        return err_say(THIRL_EFORMAT, "%s is something else, or is damaged", what);
    }
    return head->version == version && head->size == size
               ? 0
               : err_say(THIRL_EVERSION, "%s has layout %u (%u bytes), this library's has layout %u (%zu bytes)", what,
                         head->version, head->size, version, size);
}

int lot_options(void *own, size_t size, const void *given, const char *call) {
    size_t has = 0;
    if (given != NULL) {
        memcpy(&has, given, sizeof has);
    }
    if (given != NULL && (has < sizeof has || has > size)) {
        return err_say(EINVAL, "%s: set the size field of the options to their sizeof first", call);
    }
    memcpy(own, given != NULL ? given : own, given != NULL ? has : 0);
    return 0;
}

int lot_reserve(int fd, uint64_t from, uint64_t to, const char *what) {
    if (to > INT64_MAX || !fd_may_grow(to)) {
        return err_say(EFBIG, "%s needs a file of %llu bytes, more than this process may make: raise ulimit -f", what,
                       (unsigned long long)to);
    }
    while (fallocate(fd, 0, (off_t)from, (off_t)(to - from)) != 0) {
        if (errno == ENOSPC) {
            return err_say(ENOSPC,
                           "%s needs %llu bytes, and the file system it lies in is full: make room there, point "
                           "THIRL_DIR elsewhere, or ask for less",
                           what, (unsigned long long)to);
        }
        if (errno != EINTR) {
            return err_system(errno, "%s cannot take %llu bytes for itself", what, (unsigned long long)to);
        }
    }
    return 0;
}

static int map(struct lot *lot, uint64_t file, uint64_t most, const char *what) {
    uint64_t all = most > file ? most : file;
    if (all > SIZE_MAX / 2) {
        return err_say(EFBIG, "%s has %llu bytes, more than a %zu-bit process can map", what, (unsigned long long)all,
                       8 * sizeof(void *));
    }
    size_t bytes = (size_t)all;
    lot->size = (size_t)file;
    int protection = lot->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *at = mmap(NULL, bytes, protection, MAP_SHARED, lot->fd, 0);
    if (at == MAP_FAILED) {
        return err_system(fd_map_error(), "%s cannot be mapped", what);
    }
    (void)madvise(at, bytes, MADV_DONTFORK);
    lot->map = at;
    lot->mapped = bytes;
    return 0;
}

static int give_name(struct lot *lot, int dir, const struct lot_plan *plan) {
    char path[40];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", lot->fd);
    weave("lot.make.before");
    int rc = linkat(AT_FDCWD, path, dir, plan->file, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
    weave("lot.make.after");
    return rc == 0 || rc == -EEXIST ? rc : err_system(-rc, "%s cannot get its name in the registry", plan->what);
}

/* Its permissions; the group first, for a change of it may take bits away. */
static int admit(int fd, const struct lot_plan *plan) {
    if (plan->group != 0 && fchown(fd, (uid_t)-1, (gid_t)(plan->group - 1)) != 0) {
        return err_system(errno, "%s cannot belong to group %u: only who is in it, or root, may say so", plan->what,
                          plan->group - 1);
    }
    return fchmod(fd, plan->mode) == 0 ? 0 : err_system(errno, "%s cannot get the mode 0%o", plan->what, plan->mode);
}

/* -EEXIST: somebody was faster. */
static int make(struct lot *lot, int dir, const struct lot_plan *plan) {
    lot->fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (lot->fd < 0) {
        return err_system(errno, "%s cannot be made in the registry", plan->what);
    }
    int rc = lot_reserve(lot->fd, 0, plan->bytes, plan->what);
    rc = rc != 0 ? rc : admit(lot->fd, plan);
    rc = rc != 0 ? rc : map(lot, plan->bytes, plan->map, plan->what);
    if (rc == 0) {
        plan->begin(lot->map, plan->context);
        rc = give_name(lot, dir, plan);
    }
    lot->made = rc == 0;
    lot_sweep(); /* now and then is often enough */
    return rc;
}

static int find(struct lot *lot, int dir, const struct lot_plan *plan) {
    int access = (plan->writable ? O_RDWR : O_RDONLY) | O_NONBLOCK; /* were it a FIFO, it would block */
    struct stat status;
    lot->fd = openat(dir, plan->file, access | O_CLOEXEC | O_NOFOLLOW);
    if (lot->fd < 0) {
        return errno == ENOENT ? -ENOENT : err_system(errno, "%s cannot be opened", plan->what);
    }
    if (fstat(lot->fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0) {
        return err_say(THIRL_EFORMAT, "%s is no file in the registry, or is empty", plan->what);
    }
    return map(lot, (uint64_t)status.st_size, plan->map, plan->what);
}

int lot_open(struct lot *lot, const struct lot_plan *plan) {
    *lot = (struct lot){.fd = -1, .writable = plan->writable};
    int base = node_dir();
    if (base < 0) {
        return base;
    }
    int made = plan->make ? node_make_dir("area", 0) : 0;
    if (made != 0) {
        return err_system(-made, "%s cannot be made in the registry", plan->what);
    }
    int dir = openat(base, "area", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int rc = dir >= 0 ? -EEXIST : errno == ENOENT ? -ENOENT : err_system(errno, "%s cannot be looked for", plan->what);
    for (int tries = 0; rc == -EEXIST && tries < TRIES; tries++) {
        rc = find(lot, dir, plan);
        if (rc == -ENOENT && plan->make) {
            lot_close(lot);
            rc = make(lot, dir, plan);
        }
        if (rc != 0) {
            lot_close(lot);
        }
    }
    fd_close(&dir);
    return rc == -EEXIST ? err_say(EAGAIN, "%s is made and removed again and again", plan->what) : rc;
}

void lot_close(struct lot *lot) {
    if (lot->map != NULL) {
        (void)munmap(lot->map, lot->mapped);
        lot->map = NULL;
    }
    fd_close(&lot->fd);
}

int lot_remove(const char *file, const char *what) {
    char path[LOT_NAME_MAX + 8];
    int base = node_dir();
    if (base < 0) {
        return base;
    }
    (void)snprintf(path, sizeof path, "area/%s", file);
    weave("lot.remove.before");
    return unlinkat(base, path, 0) == 0 ? 0
           : errno == ENOENT            ? err_say(ENOENT, "there is no %s in the registry", what)
                                        : err_system(errno, "%s cannot be removed", what);
}

/* ---- all of them ---- */

static DIR *open_all(void) {
    int base = node_dir(), dir = base < 0 ? -1 : openat(base, "area", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *list = dir < 0 ? NULL : fdopendir(dir);
    if (list == NULL) {
        fd_close(&dir);
    }
    return list;
}

/* What lot_name made of a name, turned back. */
static void read_name(char name[LOT_SHOWN_MAX], const char *file) {
    size_t n = (size_t)snprintf(name, LOT_SHOWN_MAX, "shm://");
    for (const char *c = file; *c != '\0' && n + 1 < LOT_SHOWN_MAX; c++, n++) {
        unsigned byte = 0;
        int read = 0;
        if (*c == '%' && sscanf(c + 1, "%2x%n", &byte, &read) == 1 && read == 2) {
            name[n] = (char)byte;
            c += 2;
        } else {
            name[n] = *c;
        }
    }
    name[n] = '\0';
}

static bool look_at(struct lot_line *line, int dir, const char *file) {
    struct stat status;
    *line = (struct lot_line){.file = file};
    if (*file == '.' || strchr(file, '+') != NULL || fstatat(dir, file, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode)) {
        return false;
    }
    int fd = openat(dir, file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        (void)fd_read_at(fd, line->magic, sizeof line->magic, 0);
        fd_close(&fd);
    }
    read_name(line->name, file);
    line->bytes = (uint64_t)status.st_size;
    line->uid = status.st_uid;
    line->mode = status.st_mode & 0777u;
    return true;
}

int lot_list(int (*see)(void *, const struct lot_line *), void *context) {
    DIR *list = open_all();
    struct lot_line line;
    int rc = 0;
    for (struct dirent *entry; list != NULL && rc == 0 && (entry = readdir(list)) != NULL;) {
        rc = look_at(&line, dirfd(list), entry->d_name) ? see(context, &line) : 0;
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return rc;
}

static bool is_left_over(int dir, const char *file, size_t base) {
    char main[LOT_NAME_MAX];
    struct stat status;
    struct timespec now;
    (void)snprintf(main, sizeof main, "%.*s", (int)base, file);
    return fstatat(dir, main, &status, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT &&
           fstatat(dir, file, &status, AT_SYMLINK_NOFOLLOW) == 0 && clock_gettime(CLOCK_REALTIME, &now) == 0 &&
           now.tv_sec - status.st_mtim.tv_sec > HALF_MADE_S;
}

void lot_sweep(void) {
    DIR *list = open_all();
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        size_t base = strcspn(entry->d_name, "+");
        if (entry->d_name[base] == '+' && is_left_over(dirfd(list), entry->d_name, base)) {
            weave("lot.sweep.before");
            (void)unlinkat(dirfd(list), entry->d_name, 0);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
}
