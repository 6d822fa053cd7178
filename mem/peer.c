/* SPDX-License-Identifier: MIT
 *
 * Other processes' nodes: are they alive, who are they, what have they open.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mem/nodefile.h"
#include "mem/shed.h"

#define DOUBT_NS CLOCK_S

void node_name(char name[NODE_NAME_MAX], uint64_t id) {
    (void)snprintf(name, NODE_NAME_MAX, "%016llx", (unsigned long long)id);
}

bool node_parse(const char *name, size_t length, uint64_t *id) {
    if (length != NODE_NAME_MAX - 1) {
        return false;
    }
    *id = 0;
    for (size_t i = 0; i < length; i++) {
        const char *digits = "0123456789abcdef";
        const char *digit = name[i] == '\0' ? NULL : strchr(digits, name[i]);
        if (digit == NULL) {
            return false;
        }
        *id = *id << 4 | (uint64_t)(digit - digits);
    }
    return *id != 0;
}

/* A node of this very process, made by this copy of the library or another: must not be opened. */
static bool is_own(uint64_t id) {
    uint64_t own = node_id();
    if (own == 0) { /* not joined, but another copy of the library in this program may have */
        struct proc self;
        proc_self(&self);
        own = (uint64_t)proc_number(&self) << 32;
    }
    return id >> 32 == own >> 32;
}

int node_open_file(uint64_t id) {
    char path[8 + NODE_NAME_MAX];
    memcpy(path, "node/", 5);
    node_name(path + 5, id);
    return openat(node_dir(), path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW); /* a FIFO would block */
}

static bool is_locked(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

int64_t node_file_holder(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    return held && lock.l_pid > 0 ? lock.l_pid : 0;
}

bool node_alive(uint64_t id) {
    if (is_own(id)) {
        return true;
    }
    int fd = node_open_file(id);
    bool alive = fd >= 0 ? is_locked(fd) : errno != ENOENT;
    fd_close(&fd);
    return alive;
}

static int check(const struct node_file *file, const struct stat *status, uint64_t id) {
    if (status->st_size < (off_t)sizeof *file || memcmp(file->magic, NODE_MAGIC, sizeof file->magic) != 0) {
        return err_say(THIRL_EFORMAT, "the registry file node/%016llx is not thirl's, or is damaged: remove it",
                       (unsigned long long)id);
    }
    if (file->version != NODE_VERSION || file->size != sizeof *file || file->end_size != sizeof(struct node_end)) {
        return err_say(THIRL_EVERSION,
                       "process %lld uses layout %u (%u bytes) of the registry, this one layout %u (%zu bytes)",
                       (long long)file->who.pid, file->version, file->size, NODE_VERSION, sizeof *file);
    }
    return 0;
}

int node_map_file(int fd, uint64_t id, size_t most, struct node_file **map, size_t *size) {
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return err_system(errno, "the registry file node/%016llx cannot be read", (unsigned long long)id);
    }
    *size = status.st_size < (off_t)sizeof(struct node_file) ? sizeof(struct node_file) : (size_t)status.st_size;
    *map = NULL;
    struct node_file none = {.magic = ""};
    if (status.st_size < (off_t)sizeof none) {
        return check(&none, &status, id);
    }
    *size = *size < most ? *size : most;
    *map = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
    if (*map == MAP_FAILED) {
        return err_system(fd_map_error(), "the registry file node/%016llx cannot be mapped", (unsigned long long)id);
    }
    int rc = check(*map, &status, id);
    if (rc != 0) {
        (void)munmap(*map, *size);
    }
    return rc;
}

int node_read_file(int fd, uint64_t id, struct node_file *file) {
    struct stat status;
    ssize_t got = fstat(fd, &status) == 0 ? fd_read_at(fd, file, sizeof *file, 0) : -1;
    if (got != (ssize_t)sizeof *file) {
        memset(file, 0, sizeof *file);
        status.st_size = 0;
    }
    file->who.exe[sizeof file->who.exe - 1] = '\0';
    return check(file, &status, id);
}

int node_read_part(int fd, const struct node_file *file, enum node_part part, void **copy, uint32_t *count) {
    const struct node_part_place *place = &node_part_places[part];
    uint32_t has = file->has[part] < place->most ? file->has[part] : place->most;
    *copy = has == 0 ? NULL : malloc(has * place->each);
    *count = 0;
    if (*copy == NULL) {
        return has == 0 ? 0 : err_say(ENOMEM, "no memory to look at the processes of the registry");
    }
    ssize_t got = fd_read_at(fd, *copy, has * place->each, (off_t)place->at);
    *count = got < 0 ? 0 : (uint32_t)((size_t)got / place->each);
    return 0;
}

static void watch_life(struct node_peer *peer, const struct node_file *file, uint32_t number) {
    uint32_t at = atomic_peek(&file->life_at);
    bool lies = at % sizeof(uint32_t) != 0 || at >= sizeof(struct node_life);
    const uint32_t *word = (const uint32_t *)(const void *)&file->life[number % NODE_LIVES] + (lies ? 0 : at / 4);
    uint32_t value = lies ? 0 : atomic_load(word);
    peer->life = (value & ROBUST_OWNER) != 0 && (value & ROBUST_DIED) == 0 ? word : NULL;
    peer->life_value = value;
    peer->doubt = peer->life == NULL ? clock_now() + DOUBT_NS : 0; /* it may be ending already */
}

int node_peer_open(struct node_peer *peer, uint64_t id, uint32_t number) {
    *peer = (struct node_peer){.id = id, .fd = -1};
    if (is_own(id)) {
        struct proc self;
        proc_self(&self);
        peer->pid = self.pid;
        peer->uid = geteuid();
        peer->gid = getegid();
        peer->pid_space = self.pid_space;
        memcpy(peer->exe, self.exe, sizeof peer->exe);
        return 0;
    }
    peer->fd = node_open_file(id);
    if (peer->fd < 0) {
        return errno == ENOENT ? -ESRCH : err_system(errno, "the peer's file in the registry cannot be opened");
    }
    /* Only the front part: who it is, and its life words. */
    struct node_file *file;
    size_t kept, page = (size_t)sysconf(_SC_PAGESIZE);
    kept = (offsetof(struct node_file, end) + page - 1) / page * page;
    int rc = node_map_file(peer->fd, id, kept, &file, &kept);
    if (rc != 0) {
        fd_close(&peer->fd);
        return rc;
    }
    (void)madvise(file, kept, MADV_DONTFORK);
    peer->map = file;
    peer->pid = file->who.pid;
    peer->uid = file->uid;
    peer->gid = file->gid;
    peer->pid_space = file->who.pid_space;
    memcpy(peer->exe, file->who.exe, sizeof peer->exe);
    peer->exe[sizeof peer->exe - 1] = '\0';
    watch_life(peer, file, number);
    if (!is_locked(peer->fd)) {
        node_peer_close(peer);
        return -ESRCH;
    }
    return 0;
}

void node_peer_close(struct node_peer *peer) {
    if (peer->map != NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        shed(peer->map, (offsetof(struct node_file, end) + page - 1) / page * page);
        peer->map = NULL;
    }
    peer->life = NULL;
    if (peer->id != 0 && !is_own(peer->id)) {
        fd_close(&peer->fd);
    }
    peer->id = 0;
}

void node_peer_lean(struct node_peer *peer) {
    if (peer->id != 0 && !is_own(peer->id)) {
        fd_close(&peer->fd);
    }
}

bool node_peer_alive(struct node_peer *peer) {
    if (is_own(peer->id)) {
        return true;
    }
    bool changed = node_peer_changed(peer);
    if (changed) {
        (void)futex_wake(peer->life, INT_MAX); /* the kernel woke one, and others may sleep on it */
    }
    if (peer->fd >= 0 ? !is_locked(peer->fd) : !node_alive(peer->id)) {
        return false;
    }
    if (changed) {
        peer->life = NULL; /* the thread that held it has ended, the process has not, or not yet */
        peer->doubt = clock_now() + DOUBT_NS;
    } else if (peer->doubt != 0 && clock_now() > peer->doubt) {
        peer->doubt = 0;
    }
    return true;
}

/* 0: no more than that; a directory of a tmpfs, and it alone, says by its size how many it has. */
static unsigned count_names(int fd, DIR *dir, unsigned most) {
    struct stat status;
    unsigned count = 0;
    if (fstat(fd, &status) == 0 && status.st_size <= (off_t)most * 20) {
        return 0;
    }
    while (readdir(dir) != NULL) {
        count++;
    }
    rewinddir(dir);
    return count;
}

int node_each(int (*seen)(void *context, uint64_t id, bool alive), void *context) {
    return node_some(UINT_MAX, seen, context);
}

int node_some(unsigned most, int (*seen)(void *context, uint64_t id, bool alive), void *context) {
    int base = node_dir();
    if (base < 0) {
        return base;
    }
    int fd = openat(base, "node", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        fd_close(&fd);
        return err_system(errno, "the registry cannot be read");
    }
    int rc = 0;
    unsigned names = most == UINT_MAX ? 0 : count_names(fd, dir, most), at = 0;
    unsigned first = names > most ? (unsigned)((uint64_t)clock_now() % names) : 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL; at++) {
        uint64_t id;
        const char *name = entry->d_name;
        if (names > most && (at % names + names - first) % names >= most) {
            continue;
        }
        bool unfinished = *name == '.';
        if (!node_parse(name + unfinished, strlen(name + unfinished), &id) || is_own(id)) {
            continue;
        }
        if (!unfinished) {
            rc = seen(context, id, node_alive(id));
            continue;
        }
        int file = openat(fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (file >= 0 && !is_locked(file)) {
            (void)unlinkat(fd, name, 0); /* its maker died, or will find it gone and try again */
        }
        fd_close(&file);
    }
    (void)closedir(dir);
    return rc;
}

void node_remove(uint64_t id) {
    char path[8 + NODE_NAME_MAX];
    memcpy(path, "node/", 5);
    node_name(path + 5, id);
    weave("node.remove.before");
    (void)unlinkat(node_dir(), path, 0);
    weave("node.remove.after");
}

/* The lines that a listing has collected. */
struct lines {
    struct node_line *line;
    size_t count, room;
    int failed;
};

static int keep(struct lines *lines, const struct node_file *file, const struct node_end *seen, bool alive) {
    if (lines->count == lines->room) {
        size_t room = lines->room == 0 ? 64 : 2 * lines->room;
        struct node_line *line = realloc(lines->line, room * sizeof *line);
        if (line == NULL) {
            return err_say(ENOMEM, "no memory to list the registry");
        }
        lines->line = line;
        lines->room = room;
    }
    struct {
        struct node_end end;
        char exe[256];
    } *copy = aligned_alloc(CACHE_LINE, (sizeof *copy + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (copy == NULL) {
        return err_say(ENOMEM, "no memory to list the registry");
    }
    copy->end = *seen;
    copy->end.address[sizeof copy->end.address - 1] = '\0';
    copy->end.peer[sizeof copy->end.peer - 1] = '\0';
    memcpy(copy->exe, file->who.exe, sizeof copy->exe);
    copy->exe[sizeof copy->exe - 1] = '\0';
    lines->line[lines->count++] = (struct node_line){&copy->end, file->who.pid, copy->exe, alive};
    return 0; // cppcheck-suppress memleak ; the line has it
}

static int collect_file(struct lines *lines, const struct node_file *file, size_t size, bool alive) {
    size_t most = (size - offsetof(struct node_file, end)) / sizeof(struct node_end);
    most = most < NODE_ENDS ? most : NODE_ENDS;
    size_t ends = atomic_load(&file->ends); /* pairs with the release in node_end_take */
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ends && i < most; i++) {
        if (atomic_load(&file->end[i].state) != NODE_END_FREE) {
            rc = keep(lines, file, &file->end[i], alive);
        }
    }
    return rc;
}

static int collect(void *context, uint64_t id, bool alive) {
    struct lines *lines = context;
    int fd = node_open_file(id);
    struct node_file *file = NULL;
    size_t size = 0;
    /* A node that cannot be read (another user's, another version's) does not hide the others. */
    if (fd >= 0 && node_map_file(fd, id, SIZE_MAX, &file, &size) == 0 && file != NULL) {
        lines->failed = collect_file(lines, file, size, alive);
        (void)munmap(file, size);
    }
    fd_close(&fd);
    return lines->failed;
}

static int by_address(const void *a, const void *b) {
    const struct node_line *left = a, *right = b;
    int order = strcmp(left->end->address, right->end->address);
    return order != 0 ? order : (left->pid > right->pid) - (left->pid < right->pid);
}

int node_list(int (*seen)(void *context, const struct node_line *), void *context) {
    struct lines lines = {0};
    int rc = node_each(collect, &lines);
    if (rc == 0 && node_file() != NULL) {
        rc = collect_file(&lines, node_file(), NODE_FILE_SIZE, true);
    }
    rc = rc == -ENOENT ? 0 : rc; /* nobody has made a registry yet */
    if (lines.count != 0) {
        qsort(lines.line, lines.count, sizeof *lines.line, by_address);
    }
    for (size_t i = 0; i < lines.count; i++) {
        rc = rc == 0 ? seen(context, &lines.line[i]) : rc;
        free((void *)lines.line[i].end);
    }
    free(lines.line);
    return rc;
}

void node_describe(const struct node_peer *node, struct thirl_peer *peer) {
    struct proc own;
    proc_self(&own);
    peer->pid = node->pid_space == own.pid_space ? node->pid : 0;
    peer->uid = node->uid;
    peer->gid = node->gid;
    memcpy(peer->exe, node->exe, sizeof peer->exe);
}
