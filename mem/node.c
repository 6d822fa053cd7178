/* SPDX-License-Identifier: MIT
 *
 * This process's own node: the directory, the file, its lock, life words and lines.
 */
#define _GNU_SOURCE
#include "mem/node.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mem/nodefile.h"

#ifdef __GLIBC__
#define LIFE_AT 0
#else
#define LIFE_AT 4 /* musl's */
#endif

static struct {
    pthread_mutex_t lock;
    uint32_t epoch; /* of the process that joined; released last */
    int dir, file;
    uint64_t id;
    struct node_file *map;
    size_t taken; /* bytes of the file that have their space */
    char path[256];
} own = {.lock = PTHREAD_MUTEX_INITIALIZER, .dir = -1, .file = -1};

static void before_fork(void) {
    (void)pthread_mutex_lock(&own.lock);
}

static void after_fork(void) {
    (void)pthread_mutex_unlock(&own.lock);
}

static int open_dir(void) {
    const char *given = getenv("THIRL_DIR");
    bool named = given != NULL && *given != '\0';
    if (named && strlen(given) >= sizeof own.path) {
        return err_say(ENAMETOOLONG, "THIRL_DIR is longer than the %zu bytes that it may have", sizeof own.path - 1);
    }
    if (named) {
        (void)snprintf(own.path, sizeof own.path, "%s", given);
    } else {
        (void)snprintf(own.path, sizeof own.path, "/dev/shm/thirl-%u", (unsigned)geteuid());
    }
    own.dir = open(own.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (named ? 0 : O_NOFOLLOW));
    struct stat status;
    if (own.dir < 0 || fstat(own.dir, &status) != 0) {
        return err_system(
            errno, "the registry directory %s cannot be opened: set THIRL_DIR to a place that you may read", own.path);
    }
    if (!named && status.st_uid != geteuid()) {
        fd_close(&own.dir);
        return err_say(EACCES, "%s belongs to uid %u: somebody else made it; remove it or set THIRL_DIR", own.path,
                       (unsigned)status.st_uid);
    }
    return 0;
}

int node_make_dir(const char *name, unsigned wider) {
    struct stat status;
    if (mkdirat(own.dir, name, 0700) != 0) {
        return errno == EEXIST ? 0 : -errno;
    }
    bool shared = fstat(own.dir, &status) == 0 && (status.st_mode & S_ISGID) != 0;
    unsigned mode = 0700 | wider | (shared ? S_ISGID | (status.st_mode & 0770) : 0);
    return mode == 0700 || fchmodat(own.dir, name, mode, 0) == 0 ? 0 : -errno;
}

static int make_dir(void) {
    int rc = open_dir();
    if (rc == -ENOENT) {
        rc = fd_make_dirs(own.path, 0700);
        rc = rc == 0
                 ? open_dir()
                 : err_system(-rc,
                              "the registry directory %s cannot be made: set THIRL_DIR to a place on a tmpfs that you "
                              "may write",
                              own.path);
    }
    if (rc != 0) {
        return rc;
    }
    rc = node_make_dir("node", 0);
    rc = rc != 0 ? rc : node_make_dir("chan", 0);
    if (rc != 0) {
        return err_system(-rc, "the registry directory %s cannot be written", own.path);
    }
    return 0;
}

/* Grows the part of the file that may be touched. */
static int take_space(size_t size) {
    const size_t step = 65536;
    size = (size + step - 1) / step * step;
    size = size > NODE_FILE_SIZE ? NODE_FILE_SIZE : size;
    if (size <= own.taken) {
        return 0;
    }
    while (fallocate(own.file, FALLOC_FL_KEEP_SIZE, (off_t)own.taken, (off_t)(size - own.taken)) != 0) {
        if (errno != EINTR) {
            return err_system(errno, "no room for this process in the registry %s", own.path);
        }
    }
    own.taken = size;
    return 0;
}

const struct node_part_place node_part_places[NODE_PART_COUNT] = {
#define NODE_PART(name, type, most, step)                                                                              \
    {NODE_PARTS_AT + offsetof(struct node_parts, part_##name), sizeof(type), most, step},
    NODE_PARTS(NODE_PART)
#undef NODE_PART
};

/* Likewise of a part: few processes have anything there. */
static bool take_part(enum node_part part, uint32_t count) {
    const struct node_part_place *place = &node_part_places[part];
    uint32_t had = own.map->has[part], step = place->step;
    if (had != 0 && count <= had) {
        return true;
    }
    count = count == 0 ? step : (count + step - 1) / step * step;
    while (fallocate(own.file, FALLOC_FL_KEEP_SIZE, (off_t)place->at, (off_t)(count * place->each)) != 0) {
        if (errno != EINTR) {
            return false;
        }
    }
    atomic_store(&own.map->has[part], count); /* pairs with the load in node_read_part */
    return true;
}

void *node_part(enum node_part part, uint32_t count) {
    void *first = NULL;
    (void)pthread_mutex_lock(&own.lock);
    if (own.epoch != 0 && own.epoch == proc_epoch() && count <= node_part_places[part].most && take_part(part, count)) {
        first = (char *)own.map + node_part_places[part].at;
    }
    (void)pthread_mutex_unlock(&own.lock);
    return first;
}

static void describe(struct node_file *file) {
    memcpy(file->magic, NODE_MAGIC, sizeof file->magic);
    file->version = NODE_VERSION;
    file->size = sizeof *file;
    file->end_size = sizeof(struct node_end);
    file->id = own.id;
    file->uid = geteuid();
    file->gid = getegid();
    proc_self(&file->who);
    file->life_at = LIFE_AT;
}

/* Makes the file under a name that sweepers take for unfinished, locks it, and only then gives it its own. A sweeper that
 * comes in between may remove it: then rename finds nothing, and another id is tried. */
static int make_file(void) {
    struct proc who;
    proc_self(&who);
    uint32_t low;
    if (getrandom(&low, sizeof low, 0) != sizeof low) {
        return err_system(errno, "no random number for the id of this process");
    }
    own.id = (uint64_t)proc_number(&who) << 32 | (low & UINT32_C(0xffff0000));
    char name[NODE_NAME_MAX], unfinished[32], finished[32];
    node_name(name, own.id);
    (void)snprintf(unfinished, sizeof unfinished, "node/.%s", name);
    (void)snprintf(finished, sizeof finished, "node/%s", name);
    own.file = openat(own.dir, unfinished, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (own.file < 0) {
        return err_system(errno, "the registry %s cannot be written", own.path);
    }
    weave("node.join.created");
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc = 0;
    if (fcntl(own.file, F_SETLK, &lock) != 0) {
        rc = err_system(errno, "the file system of the registry %s has no record locks", own.path);
    } else if (ftruncate(own.file, NODE_FILE_SIZE) != 0) {
        rc = err_system(errno, "no room for this process in the registry %s", own.path);
    }
    own.taken = 0;
    rc = rc != 0 ? rc : take_space(sizeof(struct node_file));
    if (rc == 0) {
        own.map = mmap(NULL, NODE_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, own.file, 0);
        if (own.map == MAP_FAILED) {
            rc = err_system(fd_map_error(), "the file of this process in the registry cannot be mapped");
        } else {
            (void)madvise(own.map, NODE_FILE_SIZE, MADV_DONTFORK);
            describe(own.map);
            weave("node.join.before");
            if (renameat(own.dir, unfinished, own.dir, finished) != 0) {
                rc = err_system(errno, "the registry %s changed while this process joined", own.path);
                (void)munmap(own.map, NODE_FILE_SIZE);
            }
        }
    }
    weave("node.join.after");
    if (rc != 0) {
        (void)unlinkat(own.dir, unfinished, 0);
        own.map = NULL;
        fd_close(&own.file);
    }
    return rc;
}

static int join(void) {
    uint32_t epoch = proc_begin();
    if (epoch == 0) {
        return -ENOMEM;
    }
    if (own.epoch == epoch) {
        return 0;
    }
    static bool watched;
    if (!watched) {
        watched = pthread_atfork(before_fork, after_fork, after_fork) == 0;
    }
    /* A forked child: the mapping was not inherited; the descriptors were, and closing them drops none of its parent's
     * locks. */
    own.map = NULL;
    fd_close(&own.file);
    fd_close(&own.dir);
    int rc = tube_reserve();
    rc = rc != 0 ? err_system(-rc, "no descriptor is left for this process to join the registry")
         : fd_may_grow(NODE_FILE_SIZE)
             ? make_dir()
             : err_say(EFBIG, "this process may not make files of %zu bytes: raise ulimit -f", NODE_FILE_SIZE);
    for (int tries = 0; rc == 0 && own.map == NULL && tries < 8; tries++) {
        rc = make_file();
        rc = rc == -ENOENT ? 0 : rc;
    }
    if (rc == 0 && own.map == NULL) {
        rc = err_say(EAGAIN, "the registry %s keeps being swept while this process joins", own.path);
    }
    if (rc != 0) {
        fd_close(&own.dir);
    } else {
        atomic_store(&own.epoch, epoch); /* pairs with the loads in node_file and node_id */
    }
    return rc;
}

static int take_line(struct node_end **end) {
    for (uint32_t i = 0; i < NODE_ENDS; i++) {
        if (i >= own.map->ends) {
            int rc = take_space(offsetof(struct node_file, end) + (size_t)(i + 1) * sizeof(struct node_end));
            if (rc != 0) {
                return rc;
            }
            atomic_store(&own.map->ends, i + 1); /* pairs with the load in node_list */
        }
        if (atomic_load(&own.map->end[i].state) == NODE_END_FREE) { /* pairs with node_end_free */
            *end = &own.map->end[i];
            return 0;
        }
    }
    return err_say(EMFILE, "this process has %d ends open, which is the most", NODE_ENDS);
}

static uint32_t stays;

void node_stay(void) {
    atomic_store(&stays, 1);
}

/* A process that ends in order takes its file along. Of one that dies, or has left something behind, the next sweep takes it: it is what
 * leads the sweep to the rest. */

__attribute__((destructor)) static void leave(void) {
    const struct node_file *file = node_file();
    for (uint32_t i = 0; file != NULL && i < file->ends; i++) {
        if (atomic_load(&file->end[i].state) != NODE_END_FREE) {
            return;
        }
    }
    if (file != NULL && !atomic_load(&stays)) {
        node_remove(own.id);
    }
}

int node_join(void) {
    (void)pthread_mutex_lock(&own.lock);
    int rc = join();
    (void)pthread_mutex_unlock(&own.lock);
    return rc;
}

int node_end_take(struct node_end **end, const char *address, uint32_t role, bool need) {
    (void)pthread_mutex_lock(&own.lock);
    int rc = join();
    rc = rc != 0 ? rc : take_line(end);
    if (rc != 0 && !need) {
        *end = aligned_alloc(CACHE_LINE, sizeof **end);
        rc = *end == NULL ? err_say(ENOMEM, "%s: no memory for an end", address) : 0;
    }
    if (rc == 0) {
        memset(*end, 0, sizeof **end);
        (*end)->role = role;
        (void)strncpy((*end)->address, address, sizeof((*end)->address) - 1);
        atomic_store(&(*end)->state, NODE_END_WAITING);
    }
    (void)pthread_mutex_unlock(&own.lock);
    return rc;
}

void node_end_free(struct node_end *end) {
    if (own.map != NULL && end >= own.map->end && end < own.map->end + NODE_ENDS) {
        atomic_store(&end->state, NODE_END_FREE);
    } else {
        free(end);
    }
}

void node_end_name(struct node_end *end, const char who[NODE_PEER_MAX]) {
    for (size_t i = 0; i < NODE_PEER_MAX; i++) {
        atomic_poke(&end->peer[i], who[i]); /* somebody may be reading it, for a sentence */
    }
}

void node_end_peer(struct node_end *end, int64_t pid, const char *name) {
    char who[NODE_PEER_MAX] = "";
    if (pid != 0) {
        (void)snprintf(who, sizeof who, "pid %lld (%s)", (long long)pid, name);
    } else {
        (void)snprintf(who, sizeof who, "%s", name);
    }
    node_end_name(end, who);
    atomic_poke(&end->whom, pid > 0 ? (uint64_t)pid << 16 | 1 : 0);
    atomic_store(&end->state, who[0] == '\0' ? NODE_END_WAITING : NODE_END_LINKED);
}

void node_end_whom(struct node_end *end, uint64_t id) {
    atomic_poke(&end->whom, id);
}

void node_end_who(const struct node_end *end, char who[NODE_PEER_MAX]) {
    for (size_t i = 0; i < NODE_PEER_MAX; i++) {
        who[i] = atomic_peek(&end->peer[i]);
    }
    who[NODE_PEER_MAX - 1] = '\0';
}

int node_dir(void) {
    (void)pthread_mutex_lock(&own.lock);
    int rc = own.dir < 0 ? open_dir() : 0;
    rc = rc == 0 ? own.dir : rc;
    (void)pthread_mutex_unlock(&own.lock);
    return rc;
}

const struct node_file *node_file(void) {
    uint32_t epoch = atomic_load(&own.epoch); /* pairs with the release in join */
    return epoch != 0 && epoch == proc_epoch() ? own.map : NULL;
}

int node_own_file(void) {
    return node_file() != NULL ? own.file : -1;
}

uint64_t node_id(void) {
    uint32_t epoch = atomic_load(&own.epoch); /* likewise */
    return epoch != 0 && epoch == proc_epoch() ? own.id : 0;
}

const uint32_t *node_life_word(uint32_t number) {
    struct node_life *life = &own.map->life[number % NODE_LIVES];
    (void)pthread_mutex_lock(&own.lock);
    if (!life->made) {
        pthread_mutexattr_t attr;
        (void)pthread_mutexattr_init(&attr);
        (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        life->made = pthread_mutex_init(&life->held, &attr) == 0;
        (void)pthread_mutexattr_destroy(&attr);
    }
    /* Taken and never given back: what counts is what the kernel does to the word when the holder ends. */
    int rc = life->made ? pthread_mutex_trylock(&life->held) : EINVAL;
    if (rc == EOWNERDEAD) {
        rc = pthread_mutex_consistent(&life->held);
    }
    uint32_t *word = (uint32_t *)(void *)life + LIFE_AT / sizeof(uint32_t);
    if (rc == 0 && (atomic_load(word) & ROBUST_OWNER) != (uint32_t)syscall(SYS_gettid)) {
        own.map->life_at = sizeof *life; /* a C library that keeps it elsewhere: there is none */
    } else if (rc == 0) {
        (void)__atomic_fetch_or(word, ROBUST_WAITERS, __ATOMIC_ACQ_REL);
    }
    bool there = (rc == 0 || rc == EBUSY) && own.map->life_at == LIFE_AT;
    (void)pthread_mutex_unlock(&own.lock);
    return there ? word : NULL;
}
