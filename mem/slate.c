/* SPDX-License-Identifier: MIT
 *
 * The slips of this process's threads, and those of others.
 */
#define _GNU_SOURCE
#include "mem/slate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "mem/nodefile.h"

int slate_open(void) {
    return node_join();
}

/* A slip is read while its thread writes it: word by word, for whoever reads looks twice. */
typedef uint64_t __attribute__((may_alias)) word;
#define WORDS (sizeof(struct slip) / sizeof(word))
#define HOLDS_AT (offsetof(struct slip, hold) / sizeof(word))
_Static_assert(sizeof(struct slip) % sizeof(word) == 0, "a slip is whole words");

/* What is held comes last and backwards, so that nothing that is there all the time moves past (slip_drop_middle). */
static void copy_out(struct slip *copy, const struct slip *slip) {
    const word *from = (const void *)slip;
    word *to = (void *)copy;
    for (size_t i = 0; i < HOLDS_AT; i++) to[i] = atomic_load(&from[i]);   /* pairs with the stores in slip.h */
    for (size_t i = WORDS; i-- > HOLDS_AT;) to[i] = atomic_load(&from[i]); /* likewise */
}

static void clear(struct slip *slip) {
    for (size_t i = 0; i < WORDS; i++) {
        atomic_poke((word *)(void *)slip + i, 0);
    }
}

/* Called by one thread at a time, as threads join the wing of locks. */
struct slip *slate_take(void) {
    for (uint32_t i = 0; i < NODE_SLIPS; i++) {
        struct slip *slips = node_slips(i + 1);
        if (slips == NULL) {
            return NULL;
        }
        if (atomic_load(&slips[i].thread) == 0) { /* pairs with slate_give */
            clear(&slips[i]);
            return &slips[i];
        }
    }
    return NULL;
}

void slate_give(struct slip *slip) {
    atomic_store(&slip->thread, 0);
}

struct tour {
    int (*seen)(void *context, const struct slate_seen *);
    void *context;
};

static int show(const struct tour *tour, const struct node_file *file, const struct slip *slips, uint32_t most,
                bool alive) {
    char exe[sizeof file->who.exe];
    memcpy(exe, file->who.exe, sizeof exe);
    exe[sizeof exe - 1] = '\0';
    struct slate_seen seen = {
        .id = file->id, .pid_space = file->who.pid_space, .pid = file->who.pid, .exe = exe, .alive = alive};
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < most; i++) {
        if (atomic_load(&slips[i].thread) == 0) { /* pairs with the store in party_join */
            continue;
        }
        struct slip copy;
        copy_out(&copy, &slips[i]);
        seen.slip = &copy;
        rc = tour->seen(tour->context, &seen);
    }
    return rc;
}

/* How many slips of the file have their space: those beyond are holes, or were never used. */
static uint32_t slips_of(const struct node_file *file) {
    uint32_t slips = atomic_load(&file->slips); /* pairs with the release in node_slips */
    return slips < NODE_SLIPS ? slips : NODE_SLIPS;
}

static int visit(void *context, uint64_t id, bool alive) {
    const struct tour *tour = context;
    int fd = node_open_file(id);
    struct node_file *file = NULL;
    size_t size = 0;
    int rc = 0;
    bool there = fd >= 0 && node_map_file(fd, id, &file, &size) == 0;
    /* One that cannot be read (another user's, another version's) hides no other. */
    if (there && size >= NODE_FILE_SIZE) {
        const void *slips = (const char *)file + NODE_SLIPS_AT;
        rc = show(context, file, slips, slips_of(file), alive);
    } else {
        const struct slate_seen unread = {.id = id, .exe = "", .alive = alive};
        rc = tour->seen(tour->context, &unread);
    }
    if (there) (void)munmap(file, size);
    fd_close(&fd);
    return rc;
}

int slate_each(int (*seen)(void *context, const struct slate_seen *), void *context) {
    struct tour tour = {seen, context};
    int rc = node_each(visit, &tour);
    const struct node_file *own = node_file();
    if (rc == 0 && own != NULL && own->slips != 0) {
        rc = show(&tour, own, node_slips(0), slips_of(own), true);
    }
    return rc == -ENOENT ? 0 : rc; /* nobody has made a registry yet */
}
